/* text.c - classes of bytes, lists, escapes, dates; texts of errors. */
#include "http/internal.h"

#include <string.h>

#define T COIR__TOKEN
#define H COIR__HOST
const uint8_t coir__http_class[256] = {
    ['!'] = T | H,
    ['#'] = T,
    ['$'] = T | H,
    ['%'] = T,
    ['&'] = T | H,
    ['\''] = T | H,
    ['('] = H,
    [')'] = H,
    ['*'] = T | H,
    ['+'] = T | H,
    [','] = H,
    ['-'] = T | H,
    ['.'] = T | H,
    ['0' ... '9'] = T | H | COIR__HEX | COIR__DIGIT,
    [';'] = H,
    ['='] = H,
    ['A' ... 'F'] = T | H | COIR__HEX | COIR__ALPHA,
    ['G' ... 'Z'] = T | H | COIR__ALPHA,
    ['^'] = T,
    ['_'] = T | H,
    ['`'] = T,
    ['a' ... 'f'] = T | H | COIR__HEX | COIR__ALPHA,
    ['g' ... 'z'] = T | H | COIR__ALPHA,
    ['|'] = T,
    ['~'] = T | H,
};
#undef T
#undef H

const coir_http_options coir__http_defaults; /* each 0: its default */

/* --- errors -------------------------------------------------------------- */

int
coir_http_error_status(int error)
{
    static const uint16_t statuses[] = {
#define STATUS(name, number, status, text) [number] = (status),
        COIR_HTTP_ERRORS(STATUS)
#undef STATUS
    };
    const int count = sizeof(statuses) / sizeof(statuses[0]);
    int number = -12288 - error;
    return number > 0 && number < count ? statuses[number] : 500;
}

const char *
coir_http_error_text(int error)
{
    return coir_strerror(error);
}

int
coir__http_bad_text(char c)
{
    switch (c) {
    case '\r':
        return COIR_HTTP_ECR;
    case '\n':
        return COIR_HTTP_ELF;
    case '\0':
        return COIR_HTTP_ENUL;
    default:
        return COIR_HTTP_ECONTROL;
    }
}

/* --- tokens and lists ---------------------------------------------------- */

int
coir_http_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!coir__is(text[i], COIR__TOKEN))
            return 0;
    }
    return len > 0;
}

/* Eight bytes with ASCII's capitals made small. The bit 0x80 of a byte tells
 * of each sum whether it is from 'A' on, and whether it is above 'Z'. */
static inline uint64_t
lower_word(const char *p)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t w;
    memcpy(&w, p, sizeof w);
    uint64_t low = w & 0x7f * ones;
    uint64_t from_a = low + (0x80 - 'A') * ones;
    uint64_t above_z = low + (0x7f - 'Z') * ones;
    return w | ((from_a ^ above_z) & ~w & 0x80 * ones) >> 2;
}

int
coir_http_equal(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t i = 0;
    if (a_len != b_len)
        return 0;
    if (a_len >= 8) {
        for (; i + 8 < a_len; i += 8) {
            if (lower_word(a + i) != lower_word(b + i))
                return 0;
        }
        i = a_len - 8; /* the last word may begin within the one before */
        return lower_word(a + i) == lower_word(b + i);
    }
    for (; i < a_len; i++) {
        if (coir__lower(a[i]) != coir__lower(b[i]))
            return 0;
    }
    return 1;
}

/* Behind the member that begins at `i`: its comma, or `len`. */
static size_t
member_end(const char *value, size_t len, size_t i)
{
    int quoted = 0;
    for (; i < len; i++) {
        if (value[i] == '"')
            quoted = !quoted;
        else if (quoted && value[i] == '\\' && i + 1 < len)
            i++;
        else if (!quoted && value[i] == ',')
            break;
    }
    return i;
}

int
coir_http_list_next(const char *value, size_t len, size_t *at,
                    coir_http_span *item)
{
    size_t i = *at;
    while (i < len && (coir__is_blank(value[i]) || value[i] == ','))
        i++;
    if (i == len) {
        *at = len;
        return 0;
    }
    size_t end = member_end(value, len, i);
    *at = end;
    while (coir__is_blank(value[end - 1]))
        end--;
    *item = (coir_http_span){(uint32_t)i, (uint32_t)(end - i)};
    return 1;
}

/* --- escapes ------------------------------------------------------------- */

static int
hex_value(char c)
{
    return coir__is(c, COIR__DIGIT) ? c - '0' : (c | 0x20) - 'a' + 10;
}

size_t
coir_http_percent_decode(const char *in, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] == '%' && len - i > 2 && coir__is(in[i + 1], COIR__HEX) &&
            coir__is(in[i + 2], COIR__HEX)) {
            out[n++] =
                (char)(hex_value(in[i + 1]) << 4 | hex_value(in[i + 2]));
            i += 2;
        }
        else
            out[n++] = in[i];
    }
    return n;
}

/* --- what is written ----------------------------------------------------- */

int
coir_http_check_field(const char *name, size_t name_len, const char *value,
                      size_t value_len)
{
    if (!coir_http_is_token(name, name_len))
        return COIR_HTTP_ENAME;
    for (size_t i = 0; i < value_len; i++) {
        if (!coir__is_text(value[i]))
            return coir__http_bad_text(value[i]);
    }
    return 0;
}

int
coir_http_check_reason(const char *reason, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!coir__is_text(reason[i]))
            return COIR_HTTP_EREASON;
    }
    return 0;
}

size_t
coir_http_chunk_head(uint64_t size, char out[COIR_HTTP_CHUNK_SIZE])
{
    unsigned digits = 1;
    while (digits < 16 && size >> (4 * digits) != 0)
        digits++;
    for (unsigned i = 0; i < digits; i++)
        out[i] = "0123456789abcdef"[size >> (4 * (digits - 1 - i)) & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}
