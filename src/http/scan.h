/* scan.h - find the byte that ends a run, 16 bytes at a time.
 *
 * No byte from `end` on is read: what is left of less than a vector is looked
 * at byte by byte. */
#ifndef COIR__HTTP_SCAN_H
#define COIR__HTTP_SCAN_H

#include "http/internal.h"

#if COIR__SSE2
#include <emmintrin.h>

#define COIR__VECTORS 1
#define COIR__MASK_SHIFT 0

typedef __m128i coir__vector;

static inline coir__vector
coir__load(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* A set of bytes: 0xff where it has the one at that place. */
#define COIR__ALL(c) _mm_set1_epi8((char)(c))
#define COIR__IS(v, c) _mm_cmpeq_epi8(v, COIR__ALL(c))
#define COIR__UP_TO(v, c) _mm_cmpeq_epi8(_mm_min_epu8(v, COIR__ALL(c)), v)
#define COIR__FROM(v, c) _mm_cmpeq_epi8(_mm_max_epu8(v, COIR__ALL(c)), v)
#define COIR__OR(a, b) _mm_or_si128(a, b)
#define COIR__AND(a, b) _mm_and_si128(a, b)
#define COIR__BUT(a, b) _mm_andnot_si128(b, a)

static inline uint64_t
coir__mask(coir__vector set)
{
    return (uint64_t)(uint32_t)_mm_movemask_epi8(set);
}

#elif COIR__NEON
#include <arm_neon.h>

#define COIR__VECTORS 1
#define COIR__MASK_SHIFT 2

typedef uint8x16_t coir__vector;

static inline coir__vector
coir__load(const char *p)
{
    return vld1q_u8((const uint8_t *)p);
}

#define COIR__ALL(c) vdupq_n_u8((uint8_t)(c))
#define COIR__IS(v, c) vceqq_u8(v, COIR__ALL(c))
#define COIR__UP_TO(v, c) vcleq_u8(v, COIR__ALL(c))
#define COIR__FROM(v, c) vcgeq_u8(v, COIR__ALL(c))
#define COIR__OR(a, b) vorrq_u8(a, b)
#define COIR__AND(a, b) vandq_u8(a, b)
#define COIR__BUT(a, b) vbicq_u8(a, b)

/* Four bits for each byte. */
static inline uint64_t
coir__mask(coir__vector set)
{
    uint8x8_t half = vshrn_n_u16(vreinterpretq_u16_u8(set), 4);
    return vget_lane_u64(vreinterpret_u64_u8(half), 0);
}

#else
#define COIR__VECTORS 0
#endif

#if COIR__VECTORS
/* The place of the first byte of a set that is not empty. */
static inline size_t
coir__first(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask) >> COIR__MASK_SHIFT;
}
#endif

/* The first byte that no value has. */
static inline const char *
coir__scan_text(const char *p, const char *end)
{
#if COIR__VECTORS
    for (; end - p >= 16; p += 16) {
        coir__vector v = coir__load(p);
        uint64_t mask = coir__mask(
            COIR__OR(COIR__BUT(COIR__UP_TO(v, 0x1f), COIR__IS(v, '\t')),
                     COIR__IS(v, 0x7f)));
        if (mask != 0)
            return p + coir__first(mask);
    }
#endif
    while (p < end && coir__is_text(*p))
        p++;
    return p;
}

/* May be in a target. Visible ASCII but # (RFC 9112, 3.2: there is no
 * fragment); with `raw` what is above ASCII, too. */
static inline int
coir__is_target(char c, int raw)
{
    return (c > 0x20 && c < 0x7f && c != '#') || (raw && (uint8_t)c >= 0x80);
}

/* The first byte that no target has. */
static inline const char *
coir__scan_target(const char *p, const char *end, int raw)
{
#if COIR__VECTORS
    for (; end - p >= 16; p += 16) {
        coir__vector v = coir__load(p);
        coir__vector set =
            COIR__OR(COIR__UP_TO(v, 0x20),
                     COIR__OR(COIR__IS(v, '#'),
                              raw ? COIR__IS(v, 0x7f) : COIR__FROM(v, 0x7f)));
        uint64_t mask = coir__mask(set);
        if (mask != 0)
            return p + coir__first(mask);
    }
#endif
    while (p < end && coir__is_target(*p, raw))
        p++;
    return p;
}

/* The first byte that no token has. Most names are of letters and hyphens:
 * the vector looks for the end of these. */
static inline const char *
coir__scan_token(const char *p, const char *end)
{
#if COIR__VECTORS
    for (; end - p >= 16; p += 16) {
        coir__vector v = coir__load(p);
        coir__vector lower = COIR__OR(v, COIR__ALL(0x20));
        coir__vector set = COIR__OR(
            COIR__AND(COIR__FROM(lower, 'a'), COIR__UP_TO(lower, 'z')),
            COIR__IS(v, '-'));
        uint64_t mask = coir__mask(COIR__BUT(COIR__ALL(0xff), set));
        if (mask == 0)
            continue;
        p += coir__first(mask);
        if (coir__likely(*p == ':'))
            return p;
        break;
    }
#endif
    while (p < end && coir__is(*p, COIR__TOKEN))
        p++;
    return p;
}

#endif
