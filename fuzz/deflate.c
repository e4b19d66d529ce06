/* deflate.c - fuzz target: compressed messages.
 *
 * The input is what a peer might send as compressed data, in one frame and in
 * several, which must give the same, but where the window is smaller than
 * zlib's (see websocket.c); and it is data of our own, which must arrive as it
 * was sent, however it is cut into fragments. */
#include "harness.h"

#include <coir/websocket.h>

#include <stdlib.h>
#include <string.h>

enum { LIMIT = 30000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
zeros(void *buf, size_t len)
{
    memset(buf, 0, len);
}

static unsigned
window_bits(unsigned how)
{
    return 9 + (how >> 4) % 7;
}

static coir_ws *
make(int role, unsigned how)
{
    coir_ws *ws = NULL;
    coir_ws_attr attr = {.role = role,
                         .max_message = LIMIT,
                         .random = zeros,
                         .deflate = {.is_on = 1,
                                     .threshold = 1,
                                     .server_bits = (uint8_t)window_bits(how),
                                     .client_bits = (uint8_t)window_bits(how),
                                     .server_no_takeover = (how & 1) != 0,
                                     .client_no_takeover = (how & 1) != 0,
                                     .level = how & 2 ? 1 : 9,
                                     .mem = how & 4 ? 1 : 9}};
    CHECK_EQ(coir_ws_new(&ws, &attr), 0);
    return ws;
}

/* As the payload of a message from a server, in frames of `step` bytes. The
 * message is copied to `out`. Returns its length or the error. */
static ssize_t
unpack(coir_ws *ws, const uint8_t *data, size_t size, size_t step,
       uint8_t *out)
{
    size_t at = 0;
    coir_ws_event e;
    do {
        const size_t n = size - at < step ? size - at : step;
        const int is_end = at + n == size;
        uint8_t *frame = malloc(10 + n);
        frame[0] = (uint8_t)((is_end ? 0x80 : 0) | (at == 0 ? 0x42 : 0));
        size_t head = 2;
        if (n <= 125) {
            frame[1] = (uint8_t)n;
        }
        else {
            frame[1] = 126;
            frame[2] = (uint8_t)(n >> 8);
            frame[3] = (uint8_t)n;
            head = 4;
        }
        memcpy(frame + head, data + at, n);
        ssize_t used = coir_ws_receive(ws, frame, head + n, &e);
        if (used >= 0) {
            CHECK_EQ(used, head + n);
            CHECK_EQ(e.type != 0, is_end);
            if (is_end)
                memcpy(out, e.data, e.len);
        }
        free(frame);
        if (used < 0)
            return used;
        at += n;
    } while (at < size);
    CHECK(e.len <= LIMIT);
    return (ssize_t)e.len;
}

static void
pass(coir_ws *from, coir_ws *to, const uint8_t *data, size_t size, size_t step)
{
    size_t at = 0;
    coir_ws_event e = {0};
    do {
        const size_t n = size - at < step ? size - at : step;
        struct iovec f[2];
        const int is_end = at + n == size;
        CHECK_EQ(coir_ws_send(from, COIR_WS_BINARY, data + at, n,
                              is_end ? 0 : COIR_WS_MORE, f),
                 0);
        at += n;
        const size_t len = f[0].iov_len + f[1].iov_len;
        uint8_t *wire = malloc(len);
        memcpy(wire, f[0].iov_base, f[0].iov_len);
        if (f[1].iov_len > 0)
            memcpy(wire + f[0].iov_len, f[1].iov_base, f[1].iov_len);
        CHECK_EQ(coir_ws_receive(to, wire, len, &e), len);
        CHECK_EQ(e.type != 0, is_end);
        if (is_end) {
            CHECK_EQ(e.len, size);
            CHECK_EQ(memcmp(e.data, data, size), 0);
        }
        free(wire);
    } while (at < size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 2000)
        return 0;
    const unsigned how = data[0];
    const size_t step = 1 + data[1], cut = data[2] % (size - 2);
    static uint8_t whole[LIMIT], parts[LIMIT];
    data += 3;
    size -= 3;
    coir_ws *a = make(COIR_WS_CLIENT, how), *b = make(COIR_WS_CLIENT, how);
    /* Two messages, so that the second begins in what the first left. */
    for (int i = 0; i < 2; i++) {
        const uint8_t *p = i == 0 ? data : data + cut;
        const size_t n = i == 0 ? cut : size - cut;
        ssize_t x = unpack(a, p, n, n + (n == 0), whole);
        ssize_t y = unpack(b, p, n, step, parts);
        const int may_differ =
            window_bits(how) < 15 &&
            (x == COIR_WS_EDEFLATE || y == COIR_WS_EDEFLATE);
        if (!may_differ)
            CHECK_EQ(x, y);
        if (x < 0 || y < 0)
            break;
        CHECK_EQ(memcmp(whole, parts, (size_t)x), 0);
    }
    coir_ws_free(a);
    coir_ws_free(b);
    coir_ws *c = make(COIR_WS_CLIENT, how), *s = make(COIR_WS_SERVER, how);
    pass(c, s, data, cut, step);
    pass(c, s, data + cut, size - cut, step);
    pass(s, c, data, size, size + (size == 0));
    pass(s, c, data, size, step);
    coir_ws_free(c);
    coir_ws_free(s);
    CHECK_EQ(coir_test_live_blocks(), 0);
    return 0;
}
