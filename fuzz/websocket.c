/* websocket.c - fuzz target: frames and fields of handshakes.
 *
 * The first two bytes say who receives, and how; the rest comes as a whole to
 * one codec, and in pieces to another. Both must say the same. What the codec
 * made of it is sent back by its other half, and has to arrive. An allocation
 * may fail.
 *
 * With a window that is smaller than zlib's one of them may fail that the
 * other does not: zlib notices that data reaches back further than that only
 * where it reaches out of what it has unpacked at once, which depends on the
 * pieces. */
#include "harness.h"

#include <coir/websocket.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came, as one number: everything that can be told apart. */
typedef struct story {
    uint64_t hash;
    unsigned events;
    int error;
} story;

static void
tell(story *s, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ p[i]) * 0x100000001b3;
}

/* A message goes back the way it came. */
static void
echo(coir_ws *from, coir_ws *to, const coir_ws_event *e)
{
    struct iovec f[2];
    if (coir_ws_state(from) & COIR_WS_SENT_CLOSE)
        return;
    const unsigned flags = e->was_compressed ? 0 : COIR_WS_PLAIN;
    CHECK_EQ(coir_ws_send(from, e->type, e->data, e->len, flags, f), 0);
    const size_t len = f[0].iov_len + f[1].iov_len;
    uint8_t *wire = malloc(len);
    memcpy(wire, f[0].iov_base, f[0].iov_len);
    if (f[1].iov_len > 0)
        memcpy(wire + f[0].iov_len, f[1].iov_base, f[1].iov_len);
    coir_ws_event back;
    CHECK_EQ(coir_ws_receive(to, wire, len, &back), len);
    CHECK_EQ(back.type, e->type);
    CHECK_EQ(back.len, e->len);
    CHECK_EQ(memcmp(back.data, e->data, e->len), 0);
    free(wire);
}

static story
receive(const coir_ws_attr *attr, const uint8_t *data, size_t size,
        size_t step, coir_ws *echo_to)
{
    story s = {0xcbf29ce484222325, 0, 0};
    coir_ws *ws = NULL;
    CHECK_EQ(coir_ws_new(&ws, attr), 0);
    for (size_t at = 0; at < size && s.error == 0; at += step) {
        size_t n = size - at < step ? size - at : step;
        uint8_t *piece = malloc(n), *p = piece; /* with a redzone behind it */
        memcpy(piece, data + at, n);
        while (n > 0 && s.error == 0) {
            coir_ws_event e;
            ssize_t used = coir_ws_receive(ws, p, n, &e);
            if (used < 0) {
                s.error = (int)used;
                break;
            }
            CHECK((size_t)used <= n);
            p += used;
            n -= (size_t)used;
            if (e.type == 0)
                continue;
            CHECK(e.len <= attr->max_message);
            CHECK(e.type != COIR_WS_TEXT || coir_ws_is_utf8(e.data, e.len));
            s.events++;
            tell(&s, &e.type, sizeof e.type);
            tell(&s, &e.code, sizeof e.code);
            tell(&s, e.data, e.len);
            if (echo_to != NULL && e.type <= COIR_WS_BINARY)
                echo(ws, echo_to, &e);
        }
        free(piece);
    }
    uint8_t due[COIR_WS_MAX_DUE];
    size_t len = coir_ws_take_due(ws, due);
    CHECK(len <= sizeof due);
    coir_ws_free(ws);
    return s;
}

static void
zeros(void *buf, size_t len)
{
    memset(buf, 0, len);
}

/* Lines, as fields of a head for both sides. */
static void
shake_hands(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"Sec-WebSocket-Extensions",
                                        "Sec-WebSocket-Protocol",
                                        "Connection",
                                        "Upgrade",
                                        "Sec-WebSocket-Key",
                                        "Sec-WebSocket-Version",
                                        "Sec-WebSocket-Accept",
                                        "Origin"};
    static const char *const ours[] = {"chat", "a", NULL};
    coir_ws_deflate d = {.is_on = 1, .server_bits = 12};
    for (int role = 0; role < 2; role++) {
        coir_ws_handshake h;
        char out[128];
        CHECK_EQ(coir_ws_handshake_init(&h, role, ours, &d), 0);
        for (size_t at = 0; at < size;) {
            const char *name = names[data[at++] & 7];
            const uint8_t *end = memchr(data + at, '\n', size - at);
            size_t len = end != NULL ? (size_t)(end - data) - at : size - at;
            char *value = malloc(len + (len == 0));
            memcpy(value, data + at, len);
            coir_ws_handshake_field(&h, name, strlen(name), value, len);
            free(value);
            at += len + (end != NULL);
        }
        (void)coir_ws_handshake_check_request(&h, "GET", 3, 1);
        (void)coir_ws_handshake_check_response(&h, 101);
        CHECK(coir_ws_handshake_extensions(&h, out) < sizeof out);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const unsigned how = data[0];
    const size_t step = 1 + data[1] % 64U;
    data += 2;
    size -= 2;
    if (how & 128) {
        shake_hands(data, size);
        return 0;
    }
    coir_ws_attr attr = {.role = how & 1,
                         .max_message = how & 2 ? 500 : 20000,
                         .max_fragments = how & 4 ? 4 : 0,
                         .random = zeros};
    const int has_small_window = (how & 8) && (how & 64);
    if (how & 8)
        attr.deflate =
            (coir_ws_deflate){.is_on = 1,
                              .threshold = 1,
                              .server_bits = has_small_window ? 9 : 15,
                              .client_bits = has_small_window ? 10 : 15,
                              .server_no_takeover = (how & 16) != 0,
                              .client_no_takeover = (how & 16) != 0};
    if (how & 32)
        coir_test_fail_alloc((long)(step % 8));
    coir_ws *peer = NULL;
    coir_ws_attr other = attr;
    other.role = !attr.role;
    other.max_message = SIZE_MAX;
    if (how & 32) {
        /* Only that nothing breaks: who fails first is not the same. */
        coir_ws *ws = NULL;
        uint8_t *copy = malloc(size + (size == 0));
        memcpy(copy, data, size);
        if (coir_ws_new(&ws, &attr) == 0) {
            coir_ws_event e;
            size_t at = 0;
            ssize_t used;
            while (at < size &&
                   (used = coir_ws_receive(ws, copy + at, size - at, &e)) >= 0)
                at += (size_t)used;
        }
        coir_test_fail_none();
        coir_ws_free(ws);
        free(copy);
    }
    CHECK_EQ(coir_ws_new(&peer, &other), 0);
    story whole = receive(&attr, data, size, size + (size == 0), peer);
    coir_ws_free(peer);
    story parts = receive(&attr, data, size, step, NULL);
    const int may_differ =
        has_small_window &&
        (whole.error == COIR_WS_EDEFLATE || parts.error == COIR_WS_EDEFLATE);
    if (!may_differ) {
        CHECK_EQ(whole.error, parts.error);
        CHECK_EQ(whole.events, parts.events);
        CHECK_EQ(whole.hash, parts.hash);
    }
    CHECK_EQ(coir_test_live_blocks(), 0);
    return 0;
}
