/* http_pieces.h - HTTP messages, whole and in pieces, for the fuzz targets and
 * for test_http_random.c.
 *
 * An input is a few bytes of choices, then a message. It is parsed in one
 * piece and in several, each in memory of its own that ends where the bytes
 * end; the results must be the same, and keep what coir/http.h promises. */
#ifndef COIR_TESTS_HTTP_PIECES_H
#define COIR_TESTS_HTTP_PIECES_H

#include <coir/http.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "harness.h"

#define PIECES_FIELDS 32

typedef struct pieces_choice {
    coir_http_options options;
    size_t step; /* bytes of a piece */
    int method;  /* of the request that is answered */
} pieces_choice;

typedef struct pieces_head {
    coir_http_head head;
    coir_http_field fields[PIECES_FIELDS];
    ssize_t used;
    char *buf; /* as the parser left it */
} pieces_head;

typedef struct pieces_body {
    int error; /* of any part; 0 */
    int state;
    size_t used;
    size_t len;
    char *data;
} pieces_body;

/* Takes the choices off the input. Small limits are reached sooner. */
static inline pieces_choice
pieces_choose(const uint8_t **data, size_t *size)
{
    pieces_choice c = {.step = 1};
    if (*size < 3)
        return c;
    const uint8_t *d = *data;
    c.options.flags = d[0] & 0x7f;
    if (d[0] & 0x80)
        c.options = (coir_http_options){.flags = d[0] & 0x7f,
                                        .max_line = 60,
                                        .max_field = 50,
                                        .max_fields = 5,
                                        .max_head = 200,
                                        .max_overhead = d[1] % 40 + 1,
                                        .max_trailers = 60,
                                        .max_body = 100};
    c.step = 1U + d[1];
    c.method = d[2] % (COIR_HTTP_PATCH + 1);
    *data += 3;
    *size -= 3;
    return c;
}

static inline char *
pieces_copy(const char *from, size_t len)
{
    char *to = malloc(len > 0 ? len : 1);
    CHECK(to != NULL);
    return len > 0 ? memcpy(to, from, len) : to;
}

static inline ssize_t
pieces_parse(const pieces_choice *c, int response, coir_http_parser *parser,
             const char *buf, size_t len, pieces_head *out)
{
    memset(&out->head, 0x5a, sizeof(out->head));
    memset(out->fields, 0x5a, sizeof(out->fields));
    out->head.fields = out->fields;
    out->head.capacity = PIECES_FIELDS;
    return response ? coir_http_parse_response(parser, buf, len, c->method,
                                               &out->head)
                    : coir_http_parse_request(parser, buf, len, &out->head);
}

/* A line that is not complete may be wrong, and only one of two that got it in
 * other pieces have seen that. The end of the line shows it to both. */
static inline ssize_t
pieces_end_line(const pieces_choice *c, int response, coir_http_parser *parser,
                const char *buf, size_t len)
{
    pieces_head h;
    char *text = malloc(len + 1);
    CHECK(text != NULL);
    memcpy(text, buf, len);
    text[len] = '\n';
    ssize_t used = pieces_parse(c, response, parser, text, len + 1, &h);
    free(text);
    return used > 0 ? COIR_EAGAIN : used;
}

/* In pieces of `step` bytes. What was joined in one is there in the next. */
static inline void
pieces_parse_pieces(const pieces_choice *c, int response, const char *text,
                    size_t size, size_t step, pieces_head *out)
{
    coir_http_parser parser;
    coir_http_parser_init(&parser, &c->options);
    size_t len = step < size ? step : size;
    out->buf = pieces_copy(text, len);
    for (;;) {
        out->used = pieces_parse(c, response, &parser, out->buf, len, out);
        if (out->used != COIR_EAGAIN)
            return;
        if (len == size) {
            out->used = pieces_end_line(c, response, &parser, out->buf, len);
            return;
        }
        size_t more = size - len < step ? size - len : step;
        char *buf = pieces_copy(text, len + more);
        memcpy(buf, out->buf, len);
        free(out->buf);
        out->buf = buf;
        len += more;
    }
}

static inline void
pieces_check_span(coir_http_span span, size_t len)
{
    CHECK(span.at <= len && span.len <= len - span.at);
}

static inline void
pieces_check_fields(const pieces_head *h, size_t len)
{
    CHECK(h->head.count <= PIECES_FIELDS);
    for (uint32_t i = 0; i < h->head.count; i++) {
        const coir_http_field *f = &h->fields[i];
        pieces_check_span(f->name, len);
        pieces_check_span(f->value, len);
        const char *name = h->buf + f->name.at;
        const char *value = h->buf + f->value.at;
        CHECK_EQ(coir_http_check_field(name, f->name.len, value, f->value.len),
                 0);
        CHECK_EQ(f->id, coir_http_field_id(name, f->name.len));
        if (f->value.len > 0) {
            CHECK(value[0] != ' ' && value[0] != '\t');
            CHECK(value[f->value.len - 1] != ' ' &&
                  value[f->value.len - 1] != '\t');
        }
        if (f->id != COIR_FIELD_OTHER)
            CHECK(coir_http_find(&h->head, (int)f->id, NULL) <= f);
    }
}

/* No line end is hidden in a head, and it ends with the first empty line. */
static inline void
pieces_check_lines(const pieces_head *h, const pieces_choice *c)
{
    int bare = (c->options.flags & COIR_HTTP_BARE_LF) != 0;
    size_t len = (size_t)h->used, line = 0, lines = 0;
    for (size_t i = 0; i < len; i++) {
        if (h->buf[i] == '\r')
            CHECK(i + 1 < len && h->buf[i + 1] == '\n');
        if (h->buf[i] != '\n')
            continue;
        CHECK(bare || (i > 0 && h->buf[i - 1] == '\r'));
        size_t text = i - line - (i > line && h->buf[i - 1] == '\r');
        if (text == 0)
            CHECK(i + 1 == len || line == 0);
        line = i + 1;
        lines += text > 0;
    }
    CHECK_EQ(line, len);
    CHECK_EQ(lines, h->head.count + 1);
}

/* How many fields have this name; `last` is one of them. */
static inline unsigned
pieces_count(const pieces_head *h, const char *name,
             const coir_http_field **last)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < h->head.count; i++) {
        const coir_http_field *f = &h->fields[i];
        if (f->name.len == strlen(name) &&
            strncasecmp(h->buf + f->name.at, name, f->name.len) == 0) {
            count++;
            *last = f;
        }
    }
    return count;
}

/* What messages are smuggled by, looked for once more, in a plain way. */
static inline void
pieces_check_framing(const pieces_head *h, const pieces_choice *c,
                     int response)
{
    const coir_http_head *head = &h->head;
    const coir_http_field *f = NULL;
    unsigned flags = c->options.flags;
    unsigned codings = pieces_count(h, "transfer-encoding", &f);
    if (codings > 0) {
        CHECK(codings == 1 && f->value.len == 7);
        CHECK(strncasecmp(h->buf + f->value.at, "chunked", 7) == 0);
        CHECK_EQ(head->version, 11);
    }
    unsigned lengths = pieces_count(h, "content-length", &f);
    CHECK(lengths <= 1 || (flags & COIR_HTTP_SAME_LENGTHS) != 0);
    CHECK(lengths == 0 || codings == 0);
    CHECK_EQ(lengths > 0, head->content_length >= 0);
    if (lengths == 1 && (flags & COIR_HTTP_SAME_LENGTHS) == 0) {
        int64_t n = 0;
        CHECK(f->value.len > 0);
        for (uint32_t i = 0; i < f->value.len; i++) {
            char digit = h->buf[f->value.at + i];
            CHECK(digit >= '0' && digit <= '9');
            n = n * 10 + (digit - '0');
        }
        CHECK_EQ(n, head->content_length);
    }
    if (response)
        return;
    unsigned hosts = pieces_count(h, "host", &f);
    CHECK(hosts == 1 || (hosts == 0 && (head->version == 10 ||
                                        (flags & COIR_HTTP_NO_HOST) != 0)));
    CHECK_EQ(head->framing, codings > 0                ? COIR_HTTP_CHUNKED
                            : head->content_length > 0 ? COIR_HTTP_LENGTH
                                                       : COIR_HTTP_NO_BODY);
}

static inline int
pieces_same(const pieces_head *a, const pieces_head *b)
{
    coir_http_head x = a->head, y = b->head;
    x.fields = y.fields = NULL;
    return memcmp(&x, &y, sizeof(x)) == 0 &&
           memcmp(a->fields, b->fields, x.count * sizeof(a->fields[0])) == 0;
}

/* The trailers of a body, which are the same however they are split. */
static inline void
pieces_trailers(coir_http_body *body, const pieces_choice *c, const char *text,
                size_t len, size_t step, pieces_body *out)
{
    coir_http_parser parser;
    coir_http_parser_init(&parser, &c->options);
    char *all = malloc(len + 1); /* with the end of a line */
    CHECK(all != NULL);
    memcpy(all, text, len);
    all[len] = '\n';
    size_t have = step < len ? step : len;
    ssize_t used;
    for (;;) {
        pieces_head h;
        h.head.fields = h.fields;
        h.head.capacity = PIECES_FIELDS;
        char *buf = pieces_copy(all, have);
        used = coir_http_parse_trailers(body, &parser, buf, have, &h.head);
        memcpy(all, buf, have); /* what was joined stays so */
        h.buf = buf;
        if (used >= 0) {
            CHECK((size_t)used <= have);
            pieces_check_fields(&h, (size_t)used);
        }
        free(buf);
        if (used != COIR_EAGAIN || have > len)
            break;
        size_t more = len - have < step ? len - have : step;
        have += more > 0 ? more : 1;
    }
    free(all);
    if (used == COIR_EAGAIN || used > (ssize_t)len)
        out->error = COIR_HTTP_ECUT;
    else if (used < 0)
        out->error = (int)used;
    else
        out->used += (size_t)used;
}

/* A whole body, in pieces of `step` bytes. */
static inline void
pieces_body_pieces(const pieces_choice *c, const coir_http_head *head,
                   const char *text, size_t size, size_t step, int in_place,
                   pieces_body *out)
{
    coir_http_body body;
    coir_http_body_init(&body, head, &c->options);
    *out = (pieces_body){.data = malloc(size > 0 ? size : 1)};
    CHECK(out->data != NULL);
    while (out->used < size && body.state == COIR_HTTP_BODY_DATA) {
        size_t n = size - out->used < step ? size - out->used : step;
        char *buf = pieces_copy(text + out->used, n);
        coir_http_span data = {0, 0};
        size_t decoded = 0;
        ssize_t used = in_place
                           ? coir_http_body_decode(&body, buf, n, &decoded)
                           : coir_http_body_next(&body, buf, n, &data);
        if (used < 0) {
            free(buf);
            out->error = (int)used;
            return;
        }
        if (!in_place)
            decoded = data.len;
        CHECK((size_t)used <= n && data.at + decoded <= (size_t)used);
        CHECK(used > 0 || body.state == COIR_HTTP_BODY_TRAILERS);
        memcpy(out->data + out->len, buf + data.at, decoded);
        out->len += decoded;
        out->used += (size_t)used;
        free(buf);
    }
    if (body.state == COIR_HTTP_BODY_TRAILERS)
        pieces_trailers(&body, c, text + out->used, size - out->used, step,
                        out);
    if (out->error == 0)
        out->error = coir_http_body_eof(&body);
    out->state = body.state;
}

/* The same, in one piece and in several. Returns bytes used or an error. */
static inline ssize_t
pieces_check_body(const pieces_choice *c, const coir_http_head *head,
                  const char *text, size_t size)
{
    pieces_body whole, other;
    pieces_body_pieces(c, head, text, size, size + 1, 1, &whole);
    CHECK(whole.len <= whole.used && whole.used <= size);
    for (int in_place = 0; in_place <= 1; in_place++) {
        pieces_body_pieces(c, head, text, size, c->step, in_place, &other);
        CHECK_EQ(other.error, whole.error);
        if (whole.error == 0) {
            CHECK_EQ(other.used, whole.used);
            CHECK_EQ(other.len, whole.len);
            CHECK_EQ(other.state, whole.state);
            CHECK(memcmp(other.data, whole.data, whole.len) == 0);
        }
        free(other.data);
    }
    free(whole.data);
    return whole.error != 0 ? whole.error : (ssize_t)whole.used;
}

/* Messages one after the other, until one is refused or not complete. */
static inline void
pieces_messages(const uint8_t *data, size_t size, int response)
{
    pieces_choice c = pieces_choose(&data, &size);
    const char *text = (const char *)data;
    while (size > 0) {
        pieces_head whole, other;
        pieces_parse_pieces(&c, response, text, size, size, &whole);
        pieces_parse_pieces(&c, response, text, size, c.step, &other);
        ssize_t used = whole.used;
        CHECK_EQ(other.used, used);
        if (used > 0) {
            CHECK((size_t)used <= size);
            pieces_check_lines(&whole, &c);
            pieces_check_fields(&whole, (size_t)used);
            pieces_check_framing(&whole, &c, response);
            CHECK(pieces_same(&whole, &other));
            CHECK(memcmp(whole.buf, other.buf, (size_t)used) == 0);
        }
        free(whole.buf);
        free(other.buf);
        if (used <= 0)
            return;
        text += used;
        size -= (size_t)used;
        used = pieces_check_body(&c, &whole.head, text, size);
        if (used < 0)
            return;
        text += used;
        size -= (size_t)used;
    }
}

/* A chunked body by itself. */
static inline void
pieces_chunks(const uint8_t *data, size_t size)
{
    pieces_choice c = pieces_choose(&data, &size);
    (void)pieces_check_body(&c, NULL, (const char *)data, size);
}

#endif
