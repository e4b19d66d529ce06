/* test_http_random.c - the parser of coir/http.h on random bytes: the checks
 * of the fuzz targets (http_pieces.h), on messages that are changed and joined
 * by chance. COIR_TEST_STEPS says how many; COIR_TEST_SEED repeats a run. */
#include <stdio.h>

#include "http_pieces.h"

#define ROOM 1024

static const char *const parts[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /a?b HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "a;b=\"c\\\"\";d\r\n0123456789\r\n00\r\nX-A: b\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.0 404 \r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab",
    "OPTIONS * HTTP/1.0\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n",
    "Connection: upgrade, close\r\nUpgrade: websocket/13\r\n",
    "Expect: 100-continue\r\n",
    "a: b\r\n c\r\n\td\r\n",
    "\r\n",
    "\r",
    "\n",
    " ",
    ":",
    "0",
    "\x80",
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))
#define WHOLE 8

static void
change(coir_test_random *random, char *text, size_t len)
{
    static const char bytes[] = "\r\n :;,\t\"0f\x7f\xff=";
    size_t at = coir_test_random_below(random, len);
    text[at] = bytes[coir_test_random_below(random, sizeof(bytes))];
}

static size_t
make(coir_test_random *random, char text[ROOM])
{
    size_t len = 3;
    uint64_t choice = coir_test_random_next(random);
    memcpy(text, &choice, 3);
    /* Most without leniency: there the ways are longer. */
    if (coir_test_random_below(random, 4) != 0)
        text[0] &= (char)0x80;
    size_t count = 1 + coir_test_random_below(random, 5);
    for (size_t n = 0; n < count; n++) {
        /* Heads and bodies are first, and begin what is joined, mostly. */
        size_t among = n == 0 || n % 3 == 2 ? WHOLE : PARTS;
        const char *part = parts[coir_test_random_below(random, among)];
        size_t more = strlen(part);
        if (len + more > ROOM)
            break;
        while (more-- > 0)
            text[len++] = *part++;
    }
    for (size_t n = coir_test_random_below(random, 3); n > 0; n--)
        change(random, text + 3, len - 3);
    return len;
}

static void
run(void (*each)(const uint8_t *data, size_t size))
{
    const char *steps = getenv("COIR_TEST_STEPS");
    long count = steps != NULL         ? atol(steps)
                 : coir_test_is_slow() ? 500
                                       : 5000;
    coir_test_random random;
    coir_test_random_init(&random);
    while (count-- > 0) {
        char text[ROOM];
        size_t len = make(&random, text);
        each((const uint8_t *)text, len);
    }
}

static void
requests(const uint8_t *data, size_t size)
{
    pieces_messages(data, size, 0);
}

static void
responses(const uint8_t *data, size_t size)
{
    pieces_messages(data, size, 1);
}

TEST(http_random, requests)
{
    run(requests);
}

TEST(http_random, responses)
{
    run(responses);
}

TEST(http_random, chunks)
{
    run(pieces_chunks);
}
