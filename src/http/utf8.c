/* utf8.c - UTF-8 in pieces, and the mask of WebSocket.
 *
 * Both run over every byte of a text, so both have a way for many bytes at a
 * time: sixteen that are ASCII are seen at once, and masks are applied to
 * vectors (which compilers turn into what the CPU has). */
#include "websocket.h"

#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

static int
is_ascii16(const uint8_t *p)
{
    uint64_t a, b;
    memcpy(&a, p, 8);
    memcpy(&b, p + 8, 8);
    return ((a | b) & HIGH_BITS) == 0;
}

/* The first byte of a character that has more; what may follow it is less than
 * the whole of 80..BF where that would be overlong, a surrogate, or above
 * U+10FFFF. */
static int
begin(coir__utf8 *u, uint8_t b)
{
    u->low = 0x80;
    u->high = 0xbf;
    if (b >= 0xc2 && b <= 0xdf) {
        u->left = 1;
        return 1;
    }
    if (b >= 0xe0 && b <= 0xef) {
        u->left = 2;
        if (b == 0xe0)
            u->low = 0xa0;
        else if (b == 0xed)
            u->high = 0x9f;
        return 1;
    }
    if (b >= 0xf0 && b <= 0xf4) {
        u->left = 3;
        if (b == 0xf0)
            u->low = 0x90;
        else if (b == 0xf4)
            u->high = 0x8f;
        return 1;
    }
    return 0;
}

int
coir__utf8_check(coir__utf8 *u, const uint8_t *data, size_t len)
{
    if (len == 0)
        return 1; /* there may be no memory at all */
    const uint8_t *p = data, *end = data + len;
    coir__utf8 s = *u;
    while (p < end) {
        if (s.left == 0) {
            while (end - p >= 16 && is_ascii16(p))
                p += 16;
            while (p < end && *p < 0x80)
                p++;
            if (p == end)
                break;
            if (!begin(&s, *p++))
                return 0;
            continue;
        }
        if (*p < s.low || *p > s.high)
            return 0;
        s.low = 0x80;
        s.high = 0xbf;
        s.left--;
        p++;
    }
    *u = s;
    return 1;
}

int
coir_ws_is_utf8(const void *data, size_t len)
{
    coir__utf8 u = {0, 0, 0};
    return coir__utf8_check(&u, data, len) && u.left == 0;
}

typedef uint8_t vector __attribute__((vector_size(32)));

void
coir_ws_mask(void *out, const void *data, size_t len, const uint8_t mask[4],
             size_t offset)
{
    uint8_t *to = out;
    const uint8_t *from = data;
    uint8_t m[32];
    for (size_t i = 0; i < sizeof m; i++)
        m[i] = mask[(offset + i) & 3];
    vector mv, v;
    memcpy(&mv, m, sizeof mv);
    for (; len >= sizeof v; len -= sizeof v) {
        memcpy(&v, from, sizeof v);
        v ^= mv;
        memcpy(to, &v, sizeof v);
        from += sizeof v;
        to += sizeof v;
    }
    for (size_t i = 0; i < len; i++)
        to[i] = from[i] ^ m[i];
}
