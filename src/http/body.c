/* body.c - bodies: by length, in chunks, until the close.
 *
 * A chunked body is read by a machine that takes bytes one at a time outside
 * of data, so it does not matter how they are split (RFC 9112, 7.1):
 *
 *     SIZE - digits - SIZE_LF -> DATA ... -> DATA_CR -> DATA_LF -> SIZE
 *       \ blank, ; -> extensions /    \ size 0 -> LAST -> trailers or done
 *
 * Extensions are read by their grammar and forgotten. What beside the data is
 * sent has a limit (`overhead`): each size line costs its length, each chunk
 * earns 16 bytes, each byte of data two. */
#include "http/internal.h"

#include <assert.h>
#include <string.h>

enum step {
    SIZE,       /* a digit must be next */
    DIGITS,     /* more digits, or what ends them */
    EXT_BLANK,  /* blanks before ; */
    EXT_NAME,   /* a name must be next */
    EXT_NAMED,  /* in it */
    EXT_EQUALS, /* blanks before = or ; */
    EXT_VALUE,  /* a value must be next */
    EXT_VALUED, /* in it, a token */
    EXT_QUOTED, /* in it, a quoted string */
    EXT_ESCAPE, /* behind \ in it */
    EXT_CLOSED, /* behind it */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LAST, /* behind the line of the last chunk */
    LAST_LF
};

void
coir_http_body_init(coir_http_body *body, const coir_http_head *head,
                    const coir_http_options *options)
{
    *body = (coir_http_body){
        .options = options != NULL ? options : &coir__http_defaults,
        .framing = head != NULL ? head->framing : COIR_HTTP_CHUNKED};
    int64_t length = head != NULL ? head->content_length : -1;
    if (body->framing == COIR_HTTP_NO_BODY)
        body->state = COIR_HTTP_BODY_DONE;
    else if (body->framing == COIR_HTTP_LENGTH)
        body->left = (uint64_t)length;
    else if (body->framing == COIR_HTTP_UNTIL_CLOSE)
        body->left = coir__max_body(body->options);
}

/* --- chunks -------------------------------------------------------------- */

static inline int
blank_or(char c, int step, int otherwise)
{
    return coir__is_blank(c) ? step : otherwise;
}

/* What follows a byte of an extension; -1: it does not belong there. The end
 * of the line is the caller's. */
static int
extension_step(int step, char c)
{
    int token = coir__is(c, COIR__TOKEN);
    switch (step) {
    case EXT_BLANK:
        return c == ';' ? EXT_NAME : blank_or(c, EXT_BLANK, -1);
    case EXT_NAME:
        return token ? EXT_NAMED : blank_or(c, EXT_NAME, -1);
    case EXT_NAMED:
        if (token)
            return EXT_NAMED;
        /* fall through */
    case EXT_EQUALS:
        if (c == '=')
            return EXT_VALUE;
        return c == ';' ? EXT_NAME : blank_or(c, EXT_EQUALS, -1);
    case EXT_VALUE:
        if (c == '"')
            return EXT_QUOTED;
        return token ? EXT_VALUED : blank_or(c, EXT_VALUE, -1);
    case EXT_VALUED:
        if (token)
            return EXT_VALUED;
        /* fall through */
    case EXT_CLOSED:
        return c == ';' ? EXT_NAME : blank_or(c, EXT_BLANK, -1);
    case EXT_QUOTED:
        if (c == '"')
            return EXT_CLOSED;
        if (c == '\\')
            return EXT_ESCAPE;
        return coir__is_text(c) ? EXT_QUOTED : -1;
    default: /* EXT_ESCAPE */
        return coir__is_text(c) ? EXT_QUOTED : -1;
    }
}

static int
may_end_line(int step)
{
    return step == DIGITS || step == EXT_NAMED || step == EXT_VALUED ||
           step == EXT_CLOSED;
}

static inline unsigned
hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

static int
add_digit(coir_http_body *body, char c)
{
    if (body->digits == 16 || body->left > (INT64_MAX >> 4))
        return COIR_HTTP_ECHUNKLEN;
    body->digits++;
    body->left = body->left << 4 | hex_digit(c);
    return DIGITS;
}

/* The size of a chunk that has data. */
static int
check_size(coir_http_body *body)
{
    uint64_t max = coir__max_body(body->options);
    if (body->left > max - body->total)
        return COIR_HTTP_EBODYLEN;
    body->total += body->left;
    return DATA;
}

/* A size is known. */
static int
begin_chunk(coir_http_body *body)
{
    body->digits = 0;
    body->overhead -= body->overhead < 16 ? body->overhead : 16;
    return body->left == 0 ? LAST : check_size(body);
}

/* A line ends where it need not be looked at for anything else: at LF. */
static inline int
bare_lf(const coir_http_body *body, int step)
{
    return (body->options->flags & COIR_HTTP_BARE_LF) != 0 ? step
                                                           : COIR_HTTP_ELF;
}

static inline uint32_t
max_overhead(const coir_http_body *body)
{
    return coir__limit(body->options->max_overhead, 16384);
}

/* One byte of a size line. */
static int
size_step(coir_http_body *body, int step, char c)
{
    if (++body->overhead > max_overhead(body))
        return COIR_HTTP_EOVERHEAD;
    if (step == SIZE_LF)
        return c == '\n' ? begin_chunk(body) : COIR_HTTP_ECR;
    if (step <= DIGITS && coir__is(c, COIR__HEX))
        return add_digit(body, c);
    if (may_end_line(step)) {
        if (c == '\r')
            return SIZE_LF;
        if (c == '\n')
            return bare_lf(body, 0) < 0 ? COIR_HTTP_ELF : begin_chunk(body);
    }
    if (step == SIZE)
        return COIR_HTTP_ECHUNK;
    if (step == DIGITS && c != ';' && !coir__is_blank(c))
        return COIR_HTTP_ECHUNK;
    step = extension_step(step == DIGITS ? EXT_CLOSED : step, c);
    return step < 0 ? COIR_HTTP_EEXTENSION : step;
}

/* One byte outside of data. Returns the next step or an error. */
static int
chunk_step(coir_http_body *body, int step, char c)
{
    switch (step) {
    case DATA_CR:
        if (c == '\r')
            return DATA_LF;
        return c == '\n' ? bare_lf(body, SIZE) : COIR_HTTP_ECHUNKEND;
    case DATA_LF:
        return c == '\n' ? SIZE : COIR_HTTP_ECHUNKEND;
    case LAST:
        if (c == '\r')
            return LAST_LF;
        if (c != '\n') {
            body->state = COIR_HTTP_BODY_TRAILERS;
            return LAST;
        }
        if (bare_lf(body, LAST) < 0)
            return COIR_HTTP_ELF;
        body->state = COIR_HTTP_BODY_DONE;
        return LAST;
    case LAST_LF:
        if (c != '\n')
            return COIR_HTTP_ECR;
        body->state = COIR_HTTP_BODY_DONE;
        return LAST;
    default:
        return size_step(body, step, c);
    }
}

/* What chunks are made of mostly: CR LF behind data, and a line of a few
 * digits, if all of it is there. Returns the bytes used; 0: the machine is to
 * look. */
static inline size_t
plain_line(coir_http_body *body, const char *buf, size_t len)
{
    size_t i = 0, digits = 0;
    uint64_t size = 0;
    if (body->step == DATA_CR) {
        if (len < 2 || buf[0] != '\r' || buf[1] != '\n')
            return 0;
        i = 2;
    }
    else if (body->step != SIZE)
        return 0;
    for (; digits < 8 && i < len && coir__is(buf[i], COIR__HEX); i++) {
        size = size << 4 | hex_digit(buf[i]);
        digits++;
    }
    if (size == 0 || len - i < 2 || buf[i] != '\r' || buf[i + 1] != '\n')
        return 0;
    uint32_t cost = body->overhead + (uint32_t)digits + 2;
    if (cost > max_overhead(body))
        return 0;
    body->overhead = cost > 16 ? cost - 16 : 0;
    body->left = size;
    return i + 2;
}

/* Everything up to data, or the end. */
static ssize_t
between_chunks(coir_http_body *body, const char *buf, size_t len)
{
    size_t i = plain_line(body, buf, len);
    int step = body->step;
    if (coir__likely(i > 0) && (step = check_size(body)) < 0)
        return step;
    while (step != DATA && i < len) {
        step = chunk_step(body, step, buf[i]);
        if (step < 0)
            return step;
        if (body->state == COIR_HTTP_BODY_TRAILERS)
            break; /* the byte is theirs */
        i++;
        if (body->state == COIR_HTTP_BODY_DONE)
            break;
    }
    body->step = (uint8_t)step;
    return (ssize_t)i;
}

/* --- all ----------------------------------------------------------------- */

void
coir_http_body_skip(coir_http_body *body, uint64_t n)
{
    assert(n <= body->left && body->state == COIR_HTTP_BODY_DATA);
    body->left -= n;
    if (body->framing != COIR_HTTP_CHUNKED) {
        if (body->left == 0 && body->framing == COIR_HTTP_LENGTH)
            body->state = COIR_HTTP_BODY_DONE;
        return;
    }
    uint64_t earned = n > UINT32_MAX / 2 ? UINT32_MAX : 2 * n;
    body->overhead -=
        earned < body->overhead ? (uint32_t)earned : body->overhead;
    if (body->left == 0)
        body->step = DATA_CR;
}

ssize_t
coir_http_body_next(coir_http_body *body, const char *buf, size_t len,
                    coir_http_span *data)
{
    size_t at = 0;
    *data = (coir_http_span){0, 0};
    if (body->state != COIR_HTTP_BODY_DATA)
        return 0;
    if (body->framing == COIR_HTTP_CHUNKED && body->step != DATA) {
        ssize_t used = between_chunks(body, buf, len);
        if (used < 0 || body->step != DATA ||
            body->state != COIR_HTTP_BODY_DATA)
            return used;
        at = (size_t)used;
    }
    uint64_t n = len - at;
    if (n > UINT32_MAX)
        n = UINT32_MAX;
    if (n > body->left) {
        if (body->framing == COIR_HTTP_UNTIL_CLOSE)
            return COIR_HTTP_EBODYLEN;
        n = body->left;
    }
    *data = (coir_http_span){(uint32_t)at, (uint32_t)n};
    if (n > 0)
        coir_http_body_skip(body, n);
    return (ssize_t)(at + n);
}

ssize_t
coir_http_body_decode(coir_http_body *body, char *buf, size_t len, size_t *out)
{
    size_t i = 0, n = 0;
    while (i < len && body->state == COIR_HTTP_BODY_DATA) {
        coir_http_span data;
        ssize_t used = coir_http_body_next(body, buf + i, len - i, &data);
        if (used < 0)
            return used;
        if (data.len > 0 && n != i + data.at)
            memmove(buf + n, buf + i + data.at, data.len);
        n += data.len;
        i += (size_t)used;
        if (used == 0)
            break;
    }
    *out = n;
    return (ssize_t)i;
}

int
coir_http_body_eof(coir_http_body *body)
{
    if (body->framing == COIR_HTTP_UNTIL_CLOSE)
        body->state = COIR_HTTP_BODY_DONE;
    return body->state == COIR_HTTP_BODY_DONE ? 0 : COIR_HTTP_ECUT;
}
