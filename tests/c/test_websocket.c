/* test_websocket.c - the codec of WebSocket and its handshake. */
#include "harness.h"

#include <coir/websocket.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- helpers ------------------------------------------------------------- */

static void
fixed_random(void *buf, size_t len)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    coir_ws_mask(buf, memset(buf, 0, len), len, mask, 0);
}

static coir_ws *
make(coir_ws_attr attr)
{
    coir_ws *ws = NULL;
    CHECK_EQ(coir_ws_new(&ws, &attr), 0);
    return ws;
}

static coir_ws_attr
deflating(int role)
{
    return (coir_ws_attr){.role = role,
                          .deflate = {.is_on = 1, .threshold = 1}};
}

/* Give it all, in pieces of `step`, each with a guard page right behind it.
 * Returns the error, or 0; `event` is the last that came. */
static int
feed(coir_ws *ws, const uint8_t *data, size_t len, size_t step,
     coir_ws_event *event, int *events)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t size = (step + page - 1) / page * page;
    uint8_t *map = mmap(NULL, size + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    CHECK_EQ(mprotect(map + size, page, PROT_NONE), 0);
    *events = 0;
    static uint8_t kept[200];
    memset(event, 0, sizeof *event);
    int err = 0;
    for (size_t at = 0; at < len && err == 0; at += step) {
        size_t n = len - at < step ? len - at : step;
        uint8_t *p = map + size - n;
        memcpy(p, data + at, n);
        while (n > 0 && err == 0) {
            coir_ws_event e;
            ssize_t used = coir_ws_receive(ws, p, n, &e);
            if (used < 0) {
                err = (int)used;
                break;
            }
            CHECK((size_t)used <= n);
            CHECK(e.type != 0 || (size_t)used == n);
            p += used;
            n -= (size_t)used;
            if (e.type != 0) {
                ++*events;
                *event = e;
                if (e.len <= sizeof kept) {
                    memcpy(kept, e.data, e.len);
                    event->data = kept;
                }
            }
        }
    }
    CHECK_EQ(munmap(map, size + page), 0);
    return err;
}

static size_t
flatten(const struct iovec frame[2], uint8_t *out)
{
    memcpy(out, frame[0].iov_base, frame[0].iov_len);
    if (frame[1].iov_len > 0)
        memcpy(out + frame[0].iov_len, frame[1].iov_base, frame[1].iov_len);
    return frame[0].iov_len + frame[1].iov_len;
}

/* --- UTF-8 --------------------------------------------------------------- */

static int
is_utf8_plain(const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c = s[i];
        int more = c < 0x80       ? 0
                   : c >> 5 == 6  ? 1
                   : c >> 4 == 14 ? 2
                   : c >> 3 == 30 ? 3
                                  : -1;
        if (more < 0 || i + (size_t)more >= len)
            return 0;
        if (more > 0)
            c &= 0x3fU >> more;
        for (int k = 1; k <= more; k++) {
            if (s[i + (size_t)k] >> 6 != 2)
                return 0;
            c = c << 6 | (s[i + (size_t)k] & 63);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return 0;
        i += (size_t)more + 1;
    }
    return 1;
}

TEST(websocket, utf8_of_all_pairs_and_some_longer)
{
    uint8_t s[24];
    memset(s, 'a', sizeof s);
    const uint8_t starts[] = {0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
                              0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0,
                              0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    for (size_t i = 0; i < sizeof starts; i++)
        for (int b = 0; b < 256; b++)
            for (size_t len = 1; len <= 5; len++) {
                memset(s, 0x80, sizeof s);
                s[16] = starts[i];
                s[17] = (uint8_t)b;
                CHECK_EQ(coir_ws_is_utf8(s + 16, len),
                         is_utf8_plain(s + 16, len));
                memset(s, 'x', 16);
                s[16 + len] = 'y';
                CHECK_EQ(coir_ws_is_utf8(s, 17 + len),
                         is_utf8_plain(s, 17 + len));
            }
    CHECK(coir_ws_is_utf8(NULL, 0));
}

TEST(websocket, mask_is_the_same_at_any_length_and_offset)
{
    uint8_t from[200], to[202];
    const uint8_t mask[4] = {1, 20, 133, 255};
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (uint8_t)(7 * i);
    for (size_t len = 0; len <= sizeof from; len++)
        for (size_t offset = 0; offset < 5; offset++) {
            memset(to, 0xaa, sizeof to);
            coir_ws_mask(to + 1, from, len, mask, offset);
            for (size_t i = 0; i < len; i++)
                CHECK_EQ(to[i + 1], from[i] ^ mask[(i + offset) & 3]);
            CHECK_EQ(to[len + 1], 0xaa);
        }
}

/* --- frames -------------------------------------------------------------- */

typedef struct frame_case {
    int role; /* of who receives */
    int deflate;
    int error, type, code; /* of the last event */
    int events;
    const char *data; /* hex */
    const char *text;
} frame_case;

#define S COIR_WS_SERVER
#define C COIR_WS_CLIENT

static const frame_case frame_cases[] = {
    /* RFC 6455, 5.7 */
    {C, 0, 0, COIR_WS_TEXT, 0, 1, "810548656c6c6f", "Hello"},
    {S, 0, 0, COIR_WS_TEXT, 0, 1, "818537fa213d7f9f4d5158", "Hello"},
    {C, 0, 0, COIR_WS_TEXT, 0, 1, "010348656c80026c6f", "Hello"},
    {C, 0, 0, COIR_WS_PING, 0, 1, "890548656c6c6f", "Hello"},
    {S, 0, 0, COIR_WS_PONG, 0, 1, "8a8537fa213d7f9f4d5158", "Hello"},
    /* Empty ones, and control frames in the midst of a message. */
    {C, 0, 0, COIR_WS_TEXT, 0, 1, "8100", ""},
    {S, 0, 0, COIR_WS_BINARY, 0, 1, "828000000000", ""},
    {C, 0, 0, COIR_WS_BINARY, 0, 1, "020000008000", ""},
    {C, 0, 0, COIR_WS_TEXT, 0, 2, "0103e282ac8901798001 61",
     "\xe2\x82\xac"
     "a"},
    {C, 0, 0, COIR_WS_TEXT, 0, 1, "0101e2000182 8001ac", "\xe2\x82\xac"},
    {C, 0, 0, COIR_WS_PONG, 0, 3, "8100 8900 8a00", ""},
    /* Close */
    {C, 0, 0, COIR_WS_CLOSE, 1005, 1, "8800", ""},
    {C, 0, 0, COIR_WS_CLOSE, 1000, 1, "880203e8", ""},
    {C, 0, 0, COIR_WS_CLOSE, 4999, 1, "88041387 4f4b ffff", "OK"},
    {C, 0, COIR_WS_ECLOSE, 0, 0, 0, "880103", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "88020000", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "880203e7", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "880203ec", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "880203ed", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "880203ee", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "880203f7", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "88020bb7", ""},
    {C, 0, COIR_WS_ECODE, 0, 0, 0, "88021388", ""},
    {C, 0, COIR_WS_EREASON, 0, 0, 0, "880303e8ff", ""},
    /* Heads */
    {C, 0, COIR_WS_ERSV, 0, 0, 0, "c100", ""},
    {C, 0, COIR_WS_ERSV, 0, 0, 0, "a100", ""},
    {C, 1, COIR_WS_ERSV, 0, 0, 0, "9100", ""},
    {C, 1, COIR_WS_ERSV, 0, 0, 0, "c900", ""},
    {C, 1, COIR_WS_ERSV, 0, 0, 0, "0100c000", ""},
    {C, 0, COIR_WS_EOPCODE, 0, 0, 0, "8300", ""},
    {C, 0, COIR_WS_EOPCODE, 0, 0, 0, "8700", ""},
    {C, 0, COIR_WS_EOPCODE, 0, 0, 0, "8b00", ""},
    {C, 0, COIR_WS_EOPCODE, 0, 0, 0, "8f00", ""},
    {S, 0, COIR_WS_ENOMASK, 0, 0, 0, "8100", ""},
    {S, 0, COIR_WS_ENOMASK, 0, 0, 0, "8800", ""},
    {C, 0, COIR_WS_EMASKED, 0, 0, 0, "818000000000", ""},
    {C, 0, COIR_WS_ELENGTH, 0, 0, 0, "817e007d", ""},
    {C, 0, COIR_WS_ELENGTH, 0, 0, 0, "817f000000000000ffff", ""},
    {C, 0, COIR_WS_EHUGE, 0, 0, 0, "817f8000000000000000", ""},
    {C, 0, COIR_WS_ECONTROL, 0, 0, 0, "897e007e", ""},
    {C, 0, COIR_WS_ECONTROL, 0, 0, 0, "887f", ""},
    {C, 0, COIR_WS_ESPLIT, 0, 0, 0, "0900", ""},
    {C, 0, COIR_WS_ENOSTART, 0, 0, 0, "8000", ""},
    {C, 0, COIR_WS_ENOSTART, 0, 0, 1, "81008000", ""},
    {C, 0, COIR_WS_ENESTED, 0, 0, 0, "01008100", ""},
    /* Text */
    {C, 0, COIR_WS_EUTF8, 0, 0, 0, "8101ff", ""},
    {C, 0, COIR_WS_EUTF8, 0, 0, 0, "8102e282", ""},
    {C, 0, COIR_WS_EUTF8, 0, 0, 0, "0102e2828000", ""},
    {C, 0, COIR_WS_EUTF8, 0, 0, 0, "0103eda080", ""},
    {C, 0, COIR_WS_EUTF8, 0, 0, 0, "0104f4908080", ""},
    /* Sizes: the limits are 300 bytes and 3 fragments; a frame of 200 */
    {C, 0, COIR_WS_EMESSAGE, 0, 0, 0, "827f7fffffffffffffff", ""},
    {C, 0, COIR_WS_EMESSAGE, 0, 0, 0, "827e012d", ""},
    {C, 0, COIR_WS_EFRAGMENTS, 0, 0, 0, "0200 0000 0000 0000", ""},
    /* RFC 7692, 7.2.3 */
    {C, 1, 0, COIR_WS_TEXT, 0, 1, "c107f248cdc9c90700", "Hello"},
    {C, 1, 0, COIR_WS_TEXT, 0, 1, "4103f248cd8004c9c90700", "Hello"},
    {C, 1, 0, COIR_WS_TEXT, 0, 2, "c107f248cdc9c90700 c105f200110000",
     "Hello"},
    {C, 1, 0, COIR_WS_TEXT, 0, 1, "c10b000500faff48656c6c6f00", "Hello"},
    {C, 1, 0, COIR_WS_TEXT, 0, 1, "c108f348cdc9c9070000", "Hello"},
    {C, 1, 0, COIR_WS_TEXT, 0, 2, "c108f348cdc9c9070000 c105f200110000",
     "Hello"},
    {C, 1, 0, COIR_WS_TEXT, 0, 1, "c10df248050000 00ffffcac9c90700", "Hello"},
    {C, 1, 0, COIR_WS_BINARY, 0, 1, "c20100", ""},
    {C, 1, 0, COIR_WS_TEXT, 0, 1, "810548656c6c6f", "Hello"},
    {C, 1, COIR_WS_EDEFLATE, 0, 0, 0, "c201ff", ""},
    {C, 1, COIR_WS_EDEFLATE, 0, 0, 0, "c203f248cd", ""},
    {C, 1, COIR_WS_EDEFLATE, 0, 0, 0, "c105f200110000", ""},
    {C, 1, COIR_WS_EUTF8, 0, 0, 0, "c107000100feffff00", ""},
};

#undef S
#undef C

static size_t
unhex(const char *s, uint8_t *out)
{
    size_t n = 0;
    while (*s != '\0') {
        if (*s == ' ') {
            s++;
            continue;
        }
        char digits[3] = {s[0], s[1], 0};
        out[n++] = (uint8_t)strtoul(digits, NULL, 16);
        s += 2;
    }
    return n;
}

static void
check_frames(const frame_case *c, size_t step)
{
    uint8_t data[64];
    const size_t len = unhex(c->data, data);
    coir_ws_attr attr = {.role = c->role,
                         .max_message = 300,
                         .max_fragments = 3,
                         .deflate = {.is_on = c->deflate != 0}};
    coir_ws *ws = make(attr);
    coir_ws_event e;
    int events;
    int err = feed(ws, data, len, step, &e, &events);
    if (err != c->error || events != c->events)
        coir_test_fail(__FILE__, __LINE__,
                       "%s in steps of %zu: %s (%d), %d events", c->data, step,
                       coir_ws_strerror(err), err, events);
    if (err < 0) {
        uint8_t due[COIR_WS_MAX_DUE];
        CHECK_EQ(coir_ws_state(ws), COIR_WS_FAILED | COIR_WS_SENT_CLOSE);
        CHECK_EQ(coir_ws_receive(ws, data, len, &e), err);
        size_t n = coir_ws_take_due(ws, due);
        size_t head = c->role == COIR_WS_SERVER ? 2 : 6;
        CHECK(n > head + 2);
        CHECK_EQ(due[0], 0x88);
        if (c->role == COIR_WS_CLIENT)
            coir_ws_mask(due + 6, due + 6, n - 6, due + 2, 0);
        CHECK_EQ(due[head] << 8 | due[head + 1], coir_ws_error_code(err));
    }
    else {
        CHECK_EQ(e.type, c->type);
        CHECK_EQ(e.code, c->code);
        CHECK_EQ(e.len, strlen(c->text));
        CHECK(e.len == 0 || memcmp(e.data, c->text, e.len) == 0);
    }
    coir_ws_free(ws);
}

TEST(websocket, frames_whole_and_split_at_every_byte)
{
    for (size_t i = 0; i < sizeof frame_cases / sizeof *frame_cases; i++) {
        const frame_case *c = &frame_cases[i];
        if (c->deflate && !coir_ws_has_deflate())
            continue;
        for (size_t step = 1; step <= 16; step++)
            check_frames(c, step);
        check_frames(c, 64);
    }
}

TEST(websocket, frame_limit_is_of_the_wire)
{
    coir_ws *ws =
        make((coir_ws_attr){.role = COIR_WS_CLIENT, .max_frame = 200});
    uint8_t head[] = {0x82, 0x7e, 0, 201};
    coir_ws_event e;
    CHECK_EQ(coir_ws_receive(ws, head, sizeof head, &e), COIR_WS_EFRAME);
    coir_ws_free(ws);
}

TEST(websocket, announced_lengths_take_no_memory)
{
    coir_ws *ws = make(
        (coir_ws_attr){.role = COIR_WS_CLIENT, .max_message = SIZE_MAX / 2});
    const size_t before = coir_test_live_bytes();
    uint8_t head[] = {0x82, 0x7f, 0, 0, 1, 0, 0, 0, 0, 0, 'x'};
    coir_ws_event e;
    CHECK_EQ(coir_ws_receive(ws, head, sizeof head, &e), sizeof head);
    CHECK_EQ(e.type, 0);
    CHECK(coir_test_live_bytes() - before <= 64);
    coir_ws_free(ws);
}

TEST(websocket, whole_message_stays_where_it_lies)
{
    coir_ws *ws = make((coir_ws_attr){.role = COIR_WS_CLIENT});
    uint8_t data[] = {0x82, 2, 'a', 'b', 0x82, 1, 'c'};
    coir_ws_event e;
    CHECK_EQ(coir_ws_receive(ws, data, sizeof data, &e), 4);
    CHECK_EQ(e.data, data + 2);
    CHECK_EQ(coir_ws_receive(ws, data + 4, 3, &e), 3);
    CHECK_EQ(e.data, data + 6);
    coir_ws_free(ws);
}

TEST(websocket, frames_are_made_as_the_rfc_shows)
{
    struct iovec f[2];
    uint8_t out[64];
    coir_ws *s = make((coir_ws_attr){.role = COIR_WS_SERVER});
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "Hello", 5, 0, f), 0);
    CHECK_EQ(flatten(f, out), 7);
    CHECK_EQ(memcmp(out, "\x81\x05Hello", 7), 0);
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "Hel", 3, COIR_WS_MORE, f), 0);
    CHECK_EQ(flatten(f, out), 5);
    CHECK_EQ(memcmp(out, "\x01\x03Hel", 5), 0);
    CHECK_EQ(coir_ws_send(s, COIR_WS_BINARY, "lo", 2, 0, f), COIR_EINVAL);
    CHECK_EQ(coir_ws_send(s, COIR_WS_PING, "Hello", 5, 0, f), 0);
    CHECK_EQ(flatten(f, out), 7);
    CHECK_EQ(memcmp(out, "\x89\x05Hello", 7), 0);
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "lo", 2, 0, f), 0);
    CHECK_EQ(flatten(f, out), 4);
    CHECK_EQ(memcmp(out, "\x80\x02lo", 4), 0);
    coir_ws_free(s);
    coir_ws *c =
        make((coir_ws_attr){.role = COIR_WS_CLIENT, .random = fixed_random});
    CHECK_EQ(coir_ws_send(c, COIR_WS_TEXT, "Hello", 5, 0, f), 0);
    CHECK_EQ(flatten(f, out), 11);
    CHECK_EQ(memcmp(out, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11),
             0);
    coir_ws_free(c);
}

TEST(websocket, lengths_take_their_shortest_form)
{
    static const struct {
        size_t len, head;
    } cases[] = {{125, 2}, {126, 4}, {65535, 4}, {65536, 10}};
    static uint8_t data[65536];
    coir_ws *s = make((coir_ws_attr){.role = COIR_WS_SERVER});
    coir_ws *c = make((coir_ws_attr){.role = COIR_WS_CLIENT});
    for (size_t i = 0; i < 4; i++) {
        struct iovec f[2];
        coir_ws_event e;
        static uint8_t wire[65536 + 14];
        CHECK_EQ(coir_ws_send(s, COIR_WS_BINARY, data, cases[i].len, 0, f), 0);
        CHECK_EQ(f[0].iov_len, cases[i].head);
        size_t n = flatten(f, wire);
        CHECK_EQ(coir_ws_receive(c, wire, n, &e), n);
        CHECK_EQ(e.len, cases[i].len);
    }
    coir_ws_free(s);
    coir_ws_free(c);
}

TEST(websocket, what_must_not_be_sent_is_refused)
{
    struct iovec f[2];
    uint8_t out[COIR_WS_MAX_DUE], long_text[130];
    memset(long_text, 'x', sizeof long_text);
    coir_ws *s = make((coir_ws_attr){.role = COIR_WS_SERVER});
    CHECK_EQ(coir_ws_send(s, COIR_WS_PING, long_text, 126, 0, f), COIR_EINVAL);
    CHECK_EQ(coir_ws_send(s, COIR_WS_PONG, "", 0, COIR_WS_MORE, f),
             COIR_EINVAL);
    CHECK_EQ(coir_ws_send(s, COIR_WS_CLOSE, "", 0, 0, f), COIR_EINVAL);
    CHECK_EQ(coir_ws_send(s, 3, "", 0, 0, f), COIR_EINVAL);
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "\xff", 1, 0, f), COIR_WS_EUTF8);
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "\xc3", 1, 0, f), COIR_WS_EUTF8);
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "\xc3", 1, COIR_WS_MORE, f), 0);
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "\xa4", 1, 0, f), 0);
    CHECK_EQ(coir_ws_close(s, 1005, "", 0, out), COIR_EINVAL);
    CHECK_EQ(coir_ws_close(s, 999, "", 0, out), COIR_EINVAL);
    CHECK_EQ(coir_ws_close(s, 0, "x", 1, out), COIR_EINVAL);
    CHECK_EQ(coir_ws_close(s, 1000, long_text, 124, out), COIR_EINVAL);
    CHECK_EQ(coir_ws_close(s, 1000, "\xff", 1, out), COIR_WS_EREASON);
    CHECK_EQ(coir_ws_state(s), 0);
    CHECK_EQ(coir_ws_close(s, 1000, long_text, 123, out), 127);
    CHECK_EQ(coir_ws_close(s, 1000, "", 0, out), COIR_ECLOSED);
    CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, "", 0, 0, f), COIR_ECLOSED);
    coir_ws_free(s);
}

/* --- what is due --------------------------------------------------------- */

TEST(websocket, last_ping_is_answered_and_close_is_echoed)
{
    coir_ws *c =
        make((coir_ws_attr){.role = COIR_WS_CLIENT, .random = fixed_random});
    uint8_t in[] = {0x89, 1, 'a', 0x89, 1, 'b', 0x88, 3, 3, 0xe9, 'x', 1, 2};
    uint8_t due[COIR_WS_MAX_DUE];
    coir_ws_event e;
    CHECK(!coir_ws_has_due(c));
    CHECK_EQ(coir_ws_receive(c, in, sizeof in, &e), 3);
    CHECK_EQ(coir_ws_receive(c, in + 3, sizeof in - 3, &e), 3);
    CHECK_EQ(e.type, COIR_WS_PING);
    CHECK(coir_ws_has_due(c));
    CHECK_EQ(coir_ws_receive(c, in + 6, sizeof in - 6, &e), 5);
    CHECK_EQ(e.type, COIR_WS_CLOSE);
    CHECK_EQ(e.code, 1001);
    CHECK_EQ(coir_ws_state(c), COIR_WS_GOT_CLOSE | COIR_WS_SENT_CLOSE);
    CHECK_EQ(coir_ws_take_due(c, due), 7 + 8);
    CHECK_EQ(due[0], 0x8a);
    CHECK_EQ(due[6], 'b' ^ 0x37);
    CHECK_EQ(due[7], 0x88);
    CHECK_EQ((due[13] ^ 0x37) << 8 | (due[14] ^ 0xfa), 1001);
    CHECK_EQ(coir_ws_take_due(c, due), 0);
    /* What comes after it is skipped. */
    CHECK_EQ(coir_ws_receive(c, in + 11, 2, &e), 2);
    CHECK_EQ(e.type, 0);
    coir_ws_free(c);
}

TEST(websocket, close_that_was_sent_needs_no_answer)
{
    coir_ws *s = make((coir_ws_attr){.role = COIR_WS_SERVER});
    uint8_t out[COIR_WS_MAX_DUE],
        in[] = {0x89, 0x80, 0, 0, 0, 0, 0x88, 0x80, 0, 0, 0, 0};
    coir_ws_event e;
    CHECK_EQ(coir_ws_close(s, 0, NULL, 0, out), 2);
    CHECK_EQ(memcmp(out, "\x88\0", 2), 0);
    CHECK_EQ(coir_ws_receive(s, in, sizeof in, &e), 6);
    CHECK_EQ(coir_ws_receive(s, in + 6, 6, &e), 6);
    CHECK_EQ(e.code, 1005);
    CHECK(!coir_ws_has_due(s));
    coir_ws_free(s);
}

/* --- both sides ---------------------------------------------------------- */

/* Send `data` in fragments from one to the other, which gets it in pieces. */
static void
pass(coir_ws *from, coir_ws *to, coir_test_random *r, int type,
     const uint8_t *data, size_t len, uint8_t *wire)
{
    size_t at = 0, n = 0;
    int is_done = 0;
    const unsigned plain =
        coir_test_random_below(r, 4) == 0 ? COIR_WS_PLAIN : 0;
    while (!is_done) {
        struct iovec f[2];
        size_t part = coir_test_random_below(r, 3) == 0
                          ? coir_test_random_below(r, len - at + 1)
                          : len - at;
        is_done = at + part == len && coir_test_random_below(r, 4) != 0;
        CHECK_EQ(coir_ws_send(from, type, data + at, part,
                              plain | (is_done ? 0 : COIR_WS_MORE), f),
                 0);
        n += flatten(f, wire + n);
        at += part;
        if (coir_test_random_below(r, 4) == 0) {
            CHECK_EQ(coir_ws_send(from, COIR_WS_PONG, "p", 1, 0, f), 0);
            n += flatten(f, wire + n);
        }
    }
    const size_t step = 1 + coir_test_random_below(r, n);
    int messages = 0;
    for (size_t from_at = 0; from_at < n;) {
        size_t give = n - from_at < step ? n - from_at : step;
        while (give > 0) {
            coir_ws_event e;
            ssize_t used = coir_ws_receive(to, wire + from_at, give, &e);
            CHECK(used >= 0);
            from_at += (size_t)used;
            give -= (size_t)used;
            if (e.type == type) {
                messages++;
                CHECK_EQ(e.len, len);
                CHECK_EQ(memcmp(e.data, data, len), 0);
            }
            else
                CHECK(e.type == 0 || e.type == COIR_WS_PONG);
        }
    }
    CHECK_EQ(messages, 1);
    if (coir_test_random_below(r, 8) == 0) {
        coir_ws_trim(from);
        coir_ws_trim(to);
    }
}

static void
converse(coir_ws_deflate deflate, int rounds)
{
    static uint8_t data[100000], wire[400000];
    coir_test_random r;
    coir_test_random_init(&r);
    coir_ws_attr attr = {.role = COIR_WS_SERVER, .deflate = deflate};
    coir_ws *s = make(attr);
    attr.role = COIR_WS_CLIENT;
    coir_ws *c = make(attr);
    for (int i = 0; i < rounds; i++) {
        size_t len = coir_test_random_below(&r, 6) == 0
                         ? coir_test_random_below(&r, sizeof data)
                         : coir_test_random_below(&r, 300);
        const int type =
            coir_test_random_below(&r, 2) ? COIR_WS_TEXT : COIR_WS_BINARY;
        const size_t letters = type == COIR_WS_TEXT ? 26 : 256;
        const uint8_t base = type == COIR_WS_TEXT ? 'a' : 0;
        const size_t run = 1 + coir_test_random_below(&r, 8);
        for (size_t k = 0; k < len; k++)
            data[k] =
                k % run
                    ? data[k - 1]
                    : (uint8_t)(base + coir_test_random_below(&r, letters));
        if (coir_test_random_below(&r, 2))
            pass(s, c, &r, type, data, len, wire);
        else
            pass(c, s, &r, type, data, len, wire);
    }
    coir_ws_free(s);
    coir_ws_free(c);
}

TEST(websocket, conversation)
{
    converse((coir_ws_deflate){0}, coir_test_is_slow() ? 100 : 1000);
}

TEST(websocket, conversation_compressed)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    const int rounds = coir_test_is_slow() ? 20 : 300;
    converse((coir_ws_deflate){.is_on = 1, .threshold = 1}, rounds);
    converse((coir_ws_deflate){.is_on = 1,
                               .server_bits = 9,
                               .client_bits = 10,
                               .level = 9,
                               .mem = 9},
             rounds);
    converse((coir_ws_deflate){.is_on = 1,
                               .threshold = 1,
                               .server_no_takeover = 1,
                               .client_no_takeover = 1,
                               .mem = 1},
             rounds);
    converse((coir_ws_deflate){.is_on = 1, .server_bits = 8, .client_bits = 8},
             rounds);
}

/* --- permessage-deflate -------------------------------------------------- */

TEST(websocket, messages_use_what_was_before_unless_agreed_otherwise)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    char text[300];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23);
    for (int alone = 0; alone < 2; alone++) {
        coir_ws_attr attr = deflating(COIR_WS_SERVER);
        attr.deflate.server_no_takeover = (uint8_t)alone;
        coir_ws *s = make(attr);
        struct iovec f[2];
        CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, text, 300, 0, f), 0);
        const size_t first = f[0].iov_len;
        CHECK_EQ(coir_ws_send(s, COIR_WS_TEXT, text, 300, 0, f), 0);
        if (alone)
            CHECK_EQ(f[0].iov_len, first);
        else
            CHECK(f[0].iov_len < first / 2);
        coir_ws_free(s);
    }
}

TEST(websocket, short_messages_are_not_compressed)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    coir_ws_attr attr = deflating(COIR_WS_SERVER);
    attr.deflate.threshold = 100;
    coir_ws *s = make(attr);
    char text[100] = {0};
    struct iovec f[2];
    CHECK_EQ(coir_ws_send(s, COIR_WS_BINARY, text, 99, 0, f), 0);
    CHECK_EQ(*(uint8_t *)f[0].iov_base, 0x82);
    CHECK_EQ(coir_ws_send(s, COIR_WS_BINARY, text, 100, 0, f), 0);
    CHECK_EQ(*(uint8_t *)f[0].iov_base, 0xc2);
    CHECK_EQ(coir_ws_send(s, COIR_WS_BINARY, text, 100, COIR_WS_PLAIN, f), 0);
    CHECK_EQ(*(uint8_t *)f[0].iov_base, 0x82);
    coir_ws_free(s);
}

TEST(websocket, bomb_takes_no_more_memory_than_the_limit)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    const size_t size = 8 << 20;
    uint8_t *zeros = calloc(1, size), *wire = malloc(size);
    coir_ws *s = make(deflating(COIR_WS_SERVER));
    struct iovec f[2];
    CHECK_EQ(coir_ws_send(s, COIR_WS_BINARY, zeros, size, 0, f), 0);
    const size_t n = flatten(f, wire);
    CHECK(n < size / 500);
    coir_ws_attr attr = deflating(COIR_WS_CLIENT);
    attr.max_message = 100000;
    coir_ws *c = make(attr);
    const size_t before = coir_test_live_bytes();
    coir_ws_event e;
    /* The last byte but one is enough to see that it is too much. */
    CHECK_EQ(coir_ws_receive(c, wire, n, &e), COIR_WS_EMESSAGE);
    CHECK(coir_test_live_bytes() <= before);
    coir_ws_free(c);
    attr.max_message = size - 1;
    c = make(attr);
    CHECK_EQ(coir_ws_receive(c, wire + 0, n, &e), COIR_WS_EMESSAGE);
    coir_ws_free(c);
    attr.max_message = size;
    c = make(attr);
    CHECK_EQ(coir_ws_receive(c, wire, n, &e), n);
    CHECK_EQ(e.len, size);
    CHECK(e.was_compressed);
    coir_ws_free(c);
    coir_ws_free(s);
    free(zeros);
    free(wire);
}

TEST(websocket, what_is_unpacked_may_have_a_limit_of_its_own)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    coir_ws_attr attr = deflating(COIR_WS_CLIENT);
    attr.max_message = 10;
    attr.max_unpacked = 4;
    uint8_t plain[] = {0x82, 5, 'H', 'e', 'l', 'l', 'o'};
    uint8_t packed[] = {0xc2, 7, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 7, 0};
    coir_ws *ws = make(attr);
    coir_ws_event e;
    CHECK_EQ(coir_ws_receive(ws, plain, sizeof plain, &e), sizeof plain);
    CHECK_EQ(coir_ws_receive(ws, packed, sizeof packed, &e), COIR_WS_EMESSAGE);
    coir_ws_free(ws);
}

TEST(websocket, empty_blocks_end_at_the_limit_too)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    coir_ws_attr attr = deflating(COIR_WS_CLIENT);
    attr.max_message = 1000;
    coir_ws *c = make(attr);
    uint8_t frame[] = {0x02 | 0x40, 5, 0, 0, 0, 0xff, 0xff};
    int err = 0, frames = 0;
    while (err == 0 && frames < 10000) {
        coir_ws_event e;
        uint8_t copy[sizeof frame];
        memcpy(copy, frame, sizeof frame);
        ssize_t used = coir_ws_receive(c, copy, sizeof copy, &e);
        err = used < 0 ? (int)used : 0;
        frame[0] = 0;
        frames++;
    }
    CHECK_EQ(err, COIR_WS_EMESSAGE);
    CHECK(frames < 500);
    coir_ws_free(c);
}

/* --- failures ------------------------------------------------------------ */

TEST(websocket, without_memory)
{
    coir_ws *ws = NULL;
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_ws_new(&ws, NULL), COIR_ENOMEM);
    CHECK_NULL(ws);
    ws = make((coir_ws_attr){.role = COIR_WS_CLIENT});
    uint8_t in[] = {0x02, 1, 'a'};
    coir_ws_event e;
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_ws_receive(ws, in, sizeof in, &e), COIR_ENOMEM);
    CHECK_EQ(coir_ws_receive(ws, in, sizeof in, &e), COIR_ENOMEM);
    CHECK_EQ(coir_ws_state(ws), COIR_WS_FAILED | COIR_WS_SENT_CLOSE);
    uint8_t due[COIR_WS_MAX_DUE];
    CHECK(coir_ws_take_due(ws, due) > 8);
    coir_ws_mask(due + 6, due + 6, 2, due + 2, 0);
    CHECK_EQ(due[6] << 8 | due[7], 1011);
    coir_ws_free(ws);
    /* A client that cannot mask can try again. */
    ws = make((coir_ws_attr){.role = COIR_WS_CLIENT});
    struct iovec f[2];
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_ws_send(ws, COIR_WS_TEXT, "\xc3", 1, COIR_WS_MORE, f),
             COIR_ENOMEM);
    CHECK_EQ(coir_ws_send(ws, COIR_WS_TEXT, "a", 1, 0, f), 0);
    coir_ws_free(ws);
}

TEST(websocket, without_memory_to_pack_and_unpack)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    static uint8_t data[20000], wire[30000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 3);
    size_t n = 0;
    EACH_ALLOC_FAILURE(i)
    {
        coir_ws *s = NULL;
        coir_ws_attr attr = deflating(COIR_WS_SERVER);
        if (coir_ws_new(&s, &attr) < 0)
            continue;
        struct iovec f[2];
        int err = coir_ws_send(s, COIR_WS_BINARY, data, sizeof data, 0, f);
        if (err < 0) {
            CHECK_EQ(err, COIR_ENOMEM);
            CHECK_EQ(coir_ws_send(s, COIR_WS_BINARY, data, 100, 0, f),
                     COIR_WS_EDEFLATE);
            CHECK_EQ(
                coir_ws_send(s, COIR_WS_BINARY, data, 100, COIR_WS_PLAIN, f),
                0);
        }
        else {
            n = flatten(f, wire);
        }
        coir_ws_free(s);
    }
    CHECK(n > 0);
    EACH_ALLOC_FAILURE(i)
    {
        coir_ws *c = NULL;
        coir_ws_attr attr = deflating(COIR_WS_CLIENT);
        if (coir_ws_new(&c, &attr) < 0)
            continue;
        coir_ws_event e;
        ssize_t used = coir_ws_receive(c, wire, n, &e);
        CHECK(used == COIR_ENOMEM || (size_t)used == n);
        coir_ws_free(c);
    }
}

TEST(websocket, last_block_without_memory)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    EACH_ALLOC_FAILURE(i)
    {
        uint8_t in[] = {0xc1, 8, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0};
        coir_ws *c = NULL;
        coir_ws_attr attr = deflating(COIR_WS_CLIENT);
        if (coir_ws_new(&c, &attr) < 0)
            continue;
        coir_ws_event e;
        ssize_t used = coir_ws_receive(c, in, sizeof in, &e);
        CHECK(used == COIR_ENOMEM || used == (ssize_t)sizeof in);
        coir_ws_free(c);
    }
}

TEST(websocket, bad_attributes)
{
    coir_ws *ws = NULL;
    coir_ws_attr attr = {.role = 2};
    CHECK_EQ(coir_ws_new(&ws, &attr), COIR_EINVAL);
    attr = deflating(COIR_WS_SERVER);
    attr.deflate.client_bits = 16;
    CHECK_EQ(coir_ws_new(&ws, &attr),
             coir_ws_has_deflate() ? COIR_EINVAL : COIR_ENOSYS);
    CHECK_NULL(ws);
    coir_ws_free(NULL);
    CHECK_STR(coir_ws_strerror(COIR_WS_EMESSAGE), "message is too big");
    CHECK_STR(coir_ws_strerror(COIR_ENOMEM), coir_strerror(COIR_ENOMEM));
    CHECK_EQ(coir_ws_error_code(COIR_ENOMEM), 1011);
}

/* --- the opening handshake ----------------------------------------------- */

static void
field(coir_ws_handshake *h, const char *name, const char *value)
{
    coir_ws_handshake_field(h, name, strlen(name), value, strlen(value));
}

static const char *const chat[] = {"chat", "superchat", NULL};
static const char rfc_key[] = "dGhlIHNhbXBsZSBub25jZQ==";

static void
good_request(coir_ws_handshake *h)
{
    field(h, "host", "example.org");
    field(h, "upgrade", "h2c, WebSocket");
    field(h, "connection", "keep-alive,\tUpgrade");
    field(h, "sec-websocket-version", " 13 ");
    field(h, "sec-websocket-key", rfc_key);
}

TEST(websocket, handshake_of_the_rfc)
{
    coir_ws_handshake h;
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_SERVER, chat, NULL), 0);
    good_request(&h);
    field(&h, "Sec-WebSocket-Protocol", "video");
    field(&h, "Sec-WebSocket-Protocol", "superchat, chat");
    field(&h, "Origin", "http://example.com");
    CHECK_EQ(coir_ws_handshake_check_request(&h, "GET", 3, 1), 0);
    CHECK_STR(h.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK_STR(h.protocol, "superchat");
    CHECK_EQ(h.origin_len, 18);
    char out[300];
    size_t n = coir_ws_handshake_response(&h, "X: y\r\n", out, sizeof out);
    out[n] = '\0';
    CHECK_STR(out, "HTTP/1.1 101 Switching Protocols\r\n"
                   "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                   "Sec-WebSocket-Protocol: superchat\r\nX: y\r\n\r\n");
    memset(out, '#', sizeof out);
    CHECK_EQ(coir_ws_handshake_response(&h, "X: y\r\n", out, 20), n);
    CHECK_EQ(out[20], '#');
    CHECK_EQ(out[19], 'i');
}

TEST(websocket, requests_that_are_refused)
{
    static const struct {
        int error, minor;
        const char *method;
        const char *name, *value; /* added to a good one */
        const char *without;
    } cases[] = {
        {COIR_WS_EMETHOD, 1, "POST", "", "", ""},
        {COIR_WS_EHTTP, 0, "GET", "", "", ""},
        {COIR_WS_EUPGRADE, 1, "GET", "", "", "Upgrade"},
        {COIR_WS_EUPGRADE, 1, "GET", "", "", "Connection"},
        {COIR_WS_EVERSION, 1, "GET", "", "", "Sec-WebSocket-Version"},
        {COIR_WS_EKEY, 1, "GET", "", "", "Sec-WebSocket-Key"},
        {COIR_WS_EVERSION, 1, "GET", "Sec-WebSocket-Version", "13", ""},
        {COIR_WS_EVERSION, 1, "GET", "Sec-WebSocket-Version", "8",
         "Sec-WebSocket-Version"},
        {COIR_WS_EKEY, 1, "GET", "Sec-WebSocket-Key", rfc_key, ""},
        {COIR_WS_EKEY, 1, "GET", "Sec-WebSocket-Key",
         "dGhlIHNhbXBsZSBub25jZQ=", "Sec-WebSocket-Key"},
        {COIR_WS_EKEY, 1, "GET", "Sec-WebSocket-Key",
         "dGhlIHNhbXBsZSBub25jZR==", "Sec-WebSocket-Key"},
        {COIR_WS_EKEY, 1, "GET", "Sec-WebSocket-Key",
         "dGhlIHNhbXBsZS!ub25jZQ==", "Sec-WebSocket-Key"},
        {COIR_WS_EFIELD, 1, "GET", "Sec-WebSocket-Extensions", "a b", ""},
        {COIR_WS_EFIELD, 1, "GET", "Sec-WebSocket-Extensions", "a;", ""},
        {COIR_WS_EFIELD, 1, "GET", "Sec-WebSocket-Extensions", "a; b=", ""},
        {COIR_WS_EFIELD, 1, "GET", "Sec-WebSocket-Extensions", "a; b=\"", ""},
        {COIR_WS_EFIELD, 1, "GET", "Sec-WebSocket-Extensions", "a; b=\"\"",
         ""},
        {COIR_WS_EFIELD, 1, "GET", "Sec-WebSocket-Extensions", "=", ""},
        {0, 1, "GET", "Sec-WebSocket-Extensions", ", a; b=\"c\" , d;e", ""},
        {0, 1, "GET", "Sec-WebSocket-Extensions", "", ""},
    };
    static const char *const good[][2] = {{"Upgrade", "websocket"},
                                          {"Connection", "upgrade"},
                                          {"Sec-WebSocket-Version", "13"},
                                          {"Sec-WebSocket-Key", rfc_key}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        coir_ws_handshake h;
        CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_SERVER, NULL, NULL), 0);
        for (size_t k = 0; k < 4; k++)
            if (strcmp(good[k][0], cases[i].without) != 0)
                field(&h, good[k][0], good[k][1]);
        field(&h, cases[i].name, cases[i].value);
        CHECK_EQ(coir_ws_handshake_check_request(&h, cases[i].method,
                                                 strlen(cases[i].method),
                                                 cases[i].minor),
                 cases[i].error);
    }
    coir_ws_handshake h;
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_SERVER, NULL, NULL), 0);
    good_request(&h);
    field(&h, "Origin", "a");
    field(&h, "Origin", "b");
    CHECK_EQ(coir_ws_handshake_check_request(&h, "GET", 3, 1), COIR_WS_EFIELD);
}

static void
check_offer(coir_ws_deflate ours, const char *offer, const char *answer)
{
    coir_ws_handshake h;
    char out[128];
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_SERVER, NULL, &ours), 0);
    good_request(&h);
    field(&h, "Sec-WebSocket-Extensions", offer);
    CHECK_EQ(coir_ws_handshake_check_request(&h, "GET", 3, 1), 0);
    coir_ws_handshake_extensions(&h, out);
    CHECK_STR(out, answer);
    CHECK_EQ(h.deflate.is_on, answer[0] != '\0');
}

#define PMD "permessage-deflate"

TEST(websocket, offers_of_compression)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    const coir_ws_deflate on = {.is_on = 1};
    const coir_ws_deflate small = {
        .is_on = 1, .server_bits = 12, .client_bits = 11};
    check_offer(on, PMD, PMD);
    check_offer((coir_ws_deflate){0}, PMD, "");
    check_offer(on, "x-webkit-deflate-frame, Permessage-Deflate", PMD);
    check_offer(on, PMD "; unknown", "");
    check_offer(on, PMD "; unknown, " PMD, PMD);
    check_offer(on, PMD "; server_no_context_takeover=1", "");
    check_offer(on, PMD "; server_max_window_bits", "");
    check_offer(on, PMD "; server_max_window_bits=16", "");
    check_offer(on, PMD "; server_max_window_bits=010", "");
    check_offer(on, PMD "; client_max_window_bits=7", "");
    check_offer(on, PMD "; client_max_window_bits; client_max_window_bits",
                "");
    check_offer(on, PMD "; server_max_window_bits=\"10\"",
                PMD "; server_max_window_bits=10");
    check_offer(on, PMD "; server_max_window_bits=8",
                PMD "; server_max_window_bits=8");
    check_offer(on, PMD "; client_max_window_bits",
                PMD "; client_max_window_bits=15");
    check_offer(small, PMD "; client_max_window_bits=15",
                PMD "; server_max_window_bits=12; client_max_window_bits=11");
    check_offer(small, PMD "; client_max_window_bits=9",
                PMD "; server_max_window_bits=12; client_max_window_bits=9");
    check_offer(small, PMD, PMD "; server_max_window_bits=12");
    check_offer(on,
                PMD "; server_no_context_takeover;client_no_context_takeover",
                PMD "; server_no_context_takeover; "
                    "client_no_context_takeover");
    check_offer((coir_ws_deflate){.is_on = 1, .server_no_takeover = 1}, PMD,
                PMD "; server_no_context_takeover");
}

static void
check_answer(coir_ws_deflate ours, const char *answer, int error)
{
    coir_ws_handshake h;
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_CLIENT, NULL, &ours), 0);
    field(&h, "Upgrade", "websocket");
    field(&h, "Connection", "Upgrade");
    field(&h, "Sec-WebSocket-Accept", h.accept);
    field(&h, "Sec-WebSocket-Extensions", answer);
    CHECK_EQ(coir_ws_handshake_check_response(&h, 101), error);
    CHECK_EQ(h.deflate.is_on, error == 0 && answer[0] != '\0');
}

TEST(websocket, answers_to_an_offer)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    const coir_ws_deflate on = {.is_on = 1}, off = {0};
    const coir_ws_deflate small = {.is_on = 1, .server_bits = 10};
    const int bad = COIR_WS_EEXTENSION;
    check_answer(on, "", 0);
    check_answer(on, PMD, 0);
    check_answer(off, PMD, bad);
    check_answer(on, "x-other", bad);
    check_answer(on, PMD "; unknown", bad);
    check_answer(on, PMD "; server_max_window_bits", bad);
    check_answer(on, PMD "; client_max_window_bits", bad);
    check_answer(on, PMD "; server_max_window_bits=12", 0);
    check_answer(on, PMD "; client_max_window_bits=8", 0);
    check_answer(small, PMD, bad);
    check_answer(small, PMD "; server_max_window_bits=11", bad);
    check_answer(small, PMD "; server_max_window_bits=10", 0);
    check_answer((coir_ws_deflate){.is_on = 1, .server_no_takeover = 1}, PMD,
                 bad);
    coir_ws_handshake h;
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_CLIENT, NULL, &on), 0);
    field(&h, "Sec-WebSocket-Extensions", PMD ", " PMD);
    CHECK_EQ(h.error, bad);
}

TEST(websocket, responses_that_are_refused)
{
    coir_ws_handshake h;
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_CLIENT, chat, NULL), 0);
    CHECK_EQ(coir_ws_handshake_check_response(&h, 200), COIR_WS_ESTATUS);
    CHECK_EQ(coir_ws_handshake_check_response(&h, 101), COIR_WS_EUPGRADE);
    field(&h, "Upgrade", "websocket");
    field(&h, "Connection", "upgrade");
    CHECK_EQ(coir_ws_handshake_check_response(&h, 101), COIR_WS_EACCEPT);
    coir_ws_handshake good = h;
    field(&good, "Sec-WebSocket-Accept", h.accept);
    field(&good, "Sec-WebSocket-Protocol", "chat");
    CHECK_EQ(coir_ws_handshake_check_response(&good, 101), 0);
    CHECK_STR(good.protocol, "chat");
    field(&good, "Sec-WebSocket-Protocol", "chat");
    CHECK_EQ(coir_ws_handshake_check_response(&good, 101), COIR_WS_EPROTOCOL);
    field(&h, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK_EQ(coir_ws_handshake_check_response(&h, 101), COIR_WS_EACCEPT);
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_CLIENT, chat, NULL), 0);
    field(&h, "Sec-WebSocket-Protocol", "video");
    CHECK_EQ(h.error, COIR_WS_EPROTOCOL);
    CHECK_EQ(coir_ws_handshake_init(&h, COIR_WS_CLIENT, chat, NULL), 0);
    field(&h, "Sec-WebSocket-Protocol", "chat, superchat");
    CHECK_EQ(h.error, COIR_WS_EPROTOCOL);
}

TEST(websocket, both_sides_agree)
{
    coir_ws_deflate d = {.is_on = coir_ws_has_deflate() != 0,
                         .server_bits = 11,
                         .client_no_takeover = 1};
    coir_ws_handshake c, s;
    char request[500], extensions[128];
    CHECK_EQ(coir_ws_handshake_init(&c, COIR_WS_CLIENT, chat, &d), 0);
    size_t n = coir_ws_handshake_request(&c, "h:1", "/x?y", "A: b\r\n",
                                         request, sizeof request);
    CHECK(n < sizeof request);
    request[n] = '\0';
    CHECK(strstr(request, "GET /x?y HTTP/1.1\r\nHost: h:1\r\n") == request);
    CHECK(strstr(request, "Protocol: chat, superchat\r\n") != NULL);
    CHECK_EQ(coir_ws_handshake_init(&s, COIR_WS_SERVER, chat, &d), 0);
    for (char *line = strstr(request, "\r\n") + 2; *line != '\r';
         line = strstr(line, "\r\n") + 2) {
        char *colon = strchr(line, ':');
        coir_ws_handshake_field(&s, line, (size_t)(colon - line), colon + 1,
                                (size_t)(strstr(line, "\r\n") - colon - 1));
    }
    CHECK_EQ(coir_ws_handshake_check_request(&s, "GET", 3, 1), 0);
    CHECK_STR(s.accept, c.accept);
    field(&c, "Upgrade", "websocket");
    field(&c, "Connection", "Upgrade");
    field(&c, "Sec-WebSocket-Accept", s.accept);
    field(&c, "Sec-WebSocket-Protocol", s.protocol);
    coir_ws_handshake_extensions(&s, extensions);
    if (extensions[0] != '\0')
        field(&c, "Sec-WebSocket-Extensions", extensions);
    CHECK_EQ(coir_ws_handshake_check_response(&c, 101), 0);
    CHECK_EQ(c.deflate.is_on, s.deflate.is_on);
    if (coir_ws_has_deflate()) {
        CHECK_EQ(c.deflate.server_bits, 11);
        CHECK_EQ(s.deflate.server_bits, 11);
        CHECK(s.deflate.client_no_takeover && c.deflate.client_no_takeover);
    }
}

TEST(websocket, bad_parameters_of_a_handshake)
{
    coir_ws_handshake h;
    static const char *const bad[] = {"a b", NULL}, *const empty[] = {"",
                                                                      NULL};
    CHECK_EQ(coir_ws_handshake_init(&h, 3, NULL, NULL), COIR_EINVAL);
    CHECK_EQ(coir_ws_handshake_init(&h, 0, bad, NULL), COIR_EINVAL);
    CHECK_EQ(coir_ws_handshake_init(&h, 0, empty, NULL), COIR_EINVAL);
    const coir_ws_deflate d = {.is_on = 1, .server_bits = 8};
    CHECK_EQ(coir_ws_handshake_init(&h, 0, NULL, &d),
             coir_ws_has_deflate() ? COIR_EINVAL : COIR_ENOSYS);
}
