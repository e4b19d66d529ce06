/* parse.c - heads: lines, and what is in each.
 *
 * A head that is there in one piece is parsed in one pass: each byte is looked
 * at once, by scan.h. One that is not complete leaves two offsets in the
 * parser: where the line begins that has no end yet, and how far no end was
 * found. The next call looks for this end only; complete lines are parsed, so
 * that an error is found with its line, and forgotten. When the empty line is
 * there, the whole head is parsed once more, which cannot fail any more.
 * So nothing need be kept between calls but the parser, and a head costs at
 * most twice what it costs in one piece.
 *
 * The same error, however the bytes come: within a head the first byte that
 * is wrong decides, and the first limit that is reached, whichever is first.
 * A line is never looked at beyond its limit (`end`), even if there is more.
 * What fields mean together (framing.c) is asked when the head is complete. */
#include "http/internal.h"

#include <assert.h>
#include <string.h>

#include "http/scan.h"

enum { STARTED = 1 }; /* the first line is complete */

#define MAX_METHOD 32

/* A head that is being parsed. */
typedef struct cursor {
    const char *buf;
    const char *p;   /* where the line begins */
    const char *end; /* what may be looked at for this line */
    const char *cap; /* ... for the head */
    coir_http_head *head;
    unsigned flags;      /* enum coir_http_leniency */
    int at_end, at_cap;  /* what it is when these are reached */
    uint32_t max_fields; /* and no more than there is room for */
    uint32_t max_field;
    uint32_t max_line;
    int head_error; /* for a head that is too long */
    int repeated;
} cursor;

void
coir_http_parser_init(coir_http_parser *parser,
                      const coir_http_options *options)
{
    *parser = (coir_http_parser){
        .options = options != NULL ? options : &coir__http_defaults};
}

static inline coir_http_span
span(const cursor *c, const char *p, const char *end)
{
    return (coir_http_span){(uint32_t)(p - c->buf), (uint32_t)(end - p)};
}

static void
cursor_init(cursor *c, const coir_http_parser *parser, const char *buf,
            size_t len, coir_http_head *head)
{
    const coir_http_options *o = parser->options;
    uint32_t max = coir__limit(o->max_fields, 100);
    if (max > head->capacity)
        max = head->capacity;
    if (max > UINT16_MAX)
        max = UINT16_MAX; /* coir_http_head.first */
    c->buf = buf;
    c->p = buf + parser->line;
    c->head = head;
    c->flags = o->flags;
    c->max_fields = max;
    c->max_field = coir__limit(o->max_field, 8192);
    c->max_line = coir__limit(o->max_line, 8192);
    c->head_error = COIR_HTTP_EHEADLEN;
    c->repeated = 0;
    uint32_t max_head = coir__limit(o->max_head, 65536);
    c->cap = buf + (len < max_head ? len : max_head);
    c->at_cap = len < max_head ? COIR_EAGAIN : c->head_error;
}

/* No byte of a line is looked at beyond its limit. */
static inline void
begin_line(cursor *c, uint32_t max, int error)
{
    if (coir__unlikely((size_t)(c->cap - c->p) >= max)) {
        c->end = c->p + max;
        c->at_end = error;
    }
    else {
        c->end = c->cap;
        c->at_end = c->at_cap;
    }
}

/* Is it certain that the line is not complete? No end of it is before
 * parser->at. What has reached a limit is parsed, for an earlier error. */
static inline int
is_incomplete(const cursor *c, const coir_http_parser *parser)
{
    const char *at = c->buf + parser->at;
    if (coir__likely(at <= c->p) || c->at_end != COIR_EAGAIN)
        return 0;
    return at >= c->end || memchr(at, '\n', (size_t)(c->end - at)) == NULL;
}

/* The line ends at `p`: 0 and *next behind it, or an error; `other` if what
 * is there is no line end. */
static inline int
line_end(const cursor *c, const char *p, const char **next, int other)
{
    if (p == c->end)
        return c->at_end;
    if (coir__likely(*p == '\r')) {
        if (c->end - p < 2)
            return c->at_end;
        *next = p + 2;
        return coir__likely(p[1] == '\n') ? 0 : COIR_HTTP_ECR;
    }
    *next = p + 1;
    if (*p == '\n')
        return (c->flags & COIR_HTTP_BARE_LF) != 0 ? 0 : COIR_HTTP_ELF;
    return other;
}

/* --- the first line ------------------------------------------------------ */

/* "HTTP/1.1" at *at; moves behind it. */
static inline int
parse_version(cursor *c, const char **at)
{
    static const char form[] = "HTTP/1.";
    const char *p = *at;
    if (coir__likely(c->end - p >= 8 && memcmp(p, "HTTP/1.1", 8) == 0)) {
        c->head->version = 11;
        *at = p + 8;
        return 0;
    }
    for (size_t i = 0; i < sizeof(form) - 1; i++, p++) {
        if (p == c->end)
            return c->at_end;
        if (coir__unlikely(*p != form[i]))
            return i == 5 && coir__is(*p, COIR__DIGIT) ? COIR_HTTP_EUNSUPPORTED
                                                       : COIR_HTTP_EVERSION;
    }
    if (p == c->end)
        return c->at_end;
    if (!coir__is(*p, COIR__DIGIT))
        return COIR_HTTP_EVERSION;
    /* One that speaks 1.2 understands 1.1 (RFC 9110, 2.5). */
    c->head->version = *p == '0' ? 10 : 11;
    *at = p + 1;
    return 0;
}

/* Its end, or an error. */
static inline int
parse_method(cursor *c, const char **end)
{
    const char *p = c->p;
    const char *limit = c->end - p > MAX_METHOD ? p + MAX_METHOD + 1 : c->end;
    while (p < limit && coir__is(*p, COIR__TOKEN))
        p++;
    if (coir__unlikely(p - c->p > MAX_METHOD))
        return COIR_HTTP_EMETHODLEN;
    if (p == c->end)
        return c->at_end;
    if (coir__unlikely(p == c->p || *p != ' '))
        return p > c->p && (*p == '\r' || *p == '\n') ? COIR_HTTP_EREQUEST
                                                      : COIR_HTTP_EMETHOD;
    *end = p;
    return 0;
}

static int
bad_target(char c)
{
    return c == ' ' || c == '\r' || c == '\n' ? COIR_HTTP_EREQUEST
                                              : COIR_HTTP_ETARGET;
}

static int
parse_request_line(cursor *c)
{
    coir_http_head *head = c->head;
    const char *p = c->p, *next = p;
    int err = parse_method(c, &p);
    if (err < 0)
        return err;
    const char *target = p + 1;
    const char *end = coir__scan_target(
        target, c->end, (c->flags & COIR_HTTP_RAW_TARGET) != 0);
    if (end == c->end)
        return c->at_end;
    if (coir__unlikely(*end != ' ' || end == target))
        return bad_target(*end);
    const char *version_end = end + 1;
    if ((err = parse_version(c, &version_end)) < 0)
        return err;
    if ((err = line_end(c, version_end, &next, COIR_HTTP_EREQUEST)) < 0)
        return err;
    head->method = span(c, c->p, p);
    head->method_id = (uint8_t)coir_http_method_id(c->p, head->method.len);
    head->target = span(c, target, end);
    c->p = next;
    return coir__http_target(head, c->buf);
}

/* Three digits, behind the version and a space. */
static int
parse_status(cursor *c, const char **at)
{
    const char *p = *at;
    unsigned status = 0;
    for (unsigned i = 0; i < 4; i++, p++) {
        if (p == c->end)
            return c->at_end;
        if (i == 0 ? *p != ' ' : !coir__is(*p, COIR__DIGIT))
            return COIR_HTTP_ESTATUS;
        status = i == 0 ? 0 : status * 10 + (unsigned)(*p - '0');
    }
    if (status < 100)
        return COIR_HTTP_ESTATUS;
    c->head->status = (uint16_t)status;
    *at = p;
    return 0;
}

static int
parse_status_line(cursor *c)
{
    const char *p = c->p, *next = p;
    int err = parse_version(c, &p);
    if (err == 0)
        err = parse_status(c, &p);
    if (err < 0)
        return err;
    if (p == c->end)
        return c->at_end;
    const char *reason = p;
    if (*p == ' ')
        reason = p + 1;
    else if ((c->flags & COIR_HTTP_NO_REASON_SPACE) == 0 ||
             (*p != '\r' && *p != '\n'))
        return COIR_HTTP_ESTATUS;
    p = coir__scan_text(reason, c->end);
    if ((err = line_end(c, p, &next, COIR_HTTP_EREASON)) < 0)
        return err;
    c->head->reason = span(c, reason, p);
    c->p = next;
    return 0;
}

/* --- fields -------------------------------------------------------------- */

/* What is wrong with a name that ends at `p`, with something else than a
 * colon, or is empty. */
static int
bad_name(const cursor *c, const char *p)
{
    if (p == c->p)
        return coir__is_blank(*p) ? COIR_HTTP_EFOLD : COIR_HTTP_ENAME;
    if (*p == '\r' || *p == '\n')
        return COIR_HTTP_ECOLON;
    if (!coir__is_blank(*p))
        return COIR_HTTP_ENAME;
    while (p < c->end && coir__is_blank(*p))
        p++;
    if (p == c->end)
        return c->at_end;
    return *p == ':' ? COIR_HTTP_ESPACE : COIR_HTTP_ENAME;
}

/* Spaces in place of line ends that a line with a blank follows: moves *next
 * and *end of a value on. */
static int
unfold(const cursor *c, const char **end, const char **next)
{
    for (;;) {
        if (*next == c->cap)
            return c->at_cap;
        if (!coir__is_blank(**next))
            return 0;
        if (*next >= c->end)
            return c->at_end;
        memset((char *)(uintptr_t)*end, ' ', (size_t)(*next - *end));
        *end = coir__scan_text(*next, c->end);
        int err;
        if (*end == c->end)
            return c->at_end;
        if ((err = line_end(c, *end, next, coir__http_bad_text(**end))) < 0)
            return err;
    }
}

static inline int
parse_field(cursor *c, coir_http_field *field)
{
    const char *name = c->p, *next = name;
    const char *colon = coir__scan_token(name, c->end);
    if (coir__unlikely(colon == c->end))
        return c->at_end;
    if (coir__unlikely(*colon != ':' || colon == name))
        return bad_name(c, colon);
    const char *value = colon + 1;
    const char *end = coir__scan_text(value, c->end);
    if (coir__unlikely(end == c->end))
        return c->at_end;
    int err = line_end(c, end, &next, 0);
    if (coir__unlikely(err < 0))
        return err;
    if (coir__unlikely(next == end + 1 && *end != '\n'))
        return coir__http_bad_text(*end);
    if (coir__unlikely((c->flags & COIR_HTTP_FOLDED) != 0) &&
        (err = unfold(c, &end, &next)) < 0)
        return err;
    while (value < end && coir__is_blank(*value))
        value++;
    while (value < end && coir__is_blank(end[-1]))
        end--;
    field->name = span(c, name, colon);
    field->value = span(c, value, end);
    field->id = (uint32_t)coir__http_known(name, field->name.len);
    c->p = next;
    return 0;
}

/* Lines up to the empty one and with it. */
static int
parse_fields(cursor *c, coir_http_parser *parser)
{
    coir_http_head *head = c->head;
    for (;;) {
        begin_line(c, c->max_field, COIR_HTTP_ELINELEN);
        if (c->p == c->end)
            return c->at_end;
        if (is_incomplete(c, parser))
            return COIR_EAGAIN;
        if (*c->p == '\r' || *c->p == '\n')
            return line_end(c, c->p, &c->p, 0);
        if (parser->count == c->max_fields)
            return COIR_HTTP_EFIELDS;
        coir_http_field *field = &head->fields[parser->count];
        int err = parse_field(c, field);
        if (coir__unlikely(err < 0))
            return err;
        parser->count++;
        if (coir__likely(head->first[field->id] == 0))
            head->first[field->id] = (uint16_t)parser->count;
        else
            c->repeated |= field->id != COIR_FIELD_OTHER;
    }
}

/* --- heads --------------------------------------------------------------- */

/* What is not known from the first line on. */
static void
clear_head(coir_http_head *head)
{
    /* By libc: what the compiler makes of a known size begins slowly. */
    size_t len = sizeof(*head) - offsetof(coir_http_head, count);
    __asm__("" : "+r"(len));
    memset((char *)head + offsetof(coir_http_head, count), 0, len);
    head->port = -1;
    head->content_length = -1;
}

/* One empty line before a request is left out (RFC 9112, 2.2). */
static int
skip_empty_line(cursor *c)
{
    if (c->p == c->end)
        return c->at_end;
    if (coir__likely(*c->p != '\r' && *c->p != '\n'))
        return 0;
    const char *next = c->p;
    int err = line_end(c, c->p, &next, 0);
    if (err < 0)
        return err;
    if (next == c->end)
        return c->at_end;
    if (*next == '\r' || *next == '\n')
        return COIR_HTTP_EEMPTY;
    c->p = next;
    begin_line(c, c->max_line, COIR_HTTP_ETARGETLEN);
    return 0;
}

enum kind { REQUEST, RESPONSE, TRAILERS };

/* All lines from where the parser is. Returns 0, and c->p is behind them. */
static int
parse_lines(cursor *c, coir_http_parser *parser, enum kind kind)
{
    int err = 0;
    if ((parser->flags & STARTED) == 0) {
        clear_head(c->head);
        begin_line(c, c->max_line,
                   kind == REQUEST ? COIR_HTTP_ETARGETLEN
                                   : COIR_HTTP_ELINELEN);
        if (kind == REQUEST && (err = skip_empty_line(c)) < 0)
            return err;
        if (is_incomplete(c, parser))
            return COIR_EAGAIN;
        if (kind == REQUEST)
            err = parse_request_line(c);
        else if (kind == RESPONSE)
            err = parse_status_line(c);
        if (err < 0)
            return err;
        parser->flags |= STARTED;
    }
    return parse_fields(c, parser);
}

/* Remember where to go on. The last byte is looked at again if it ends a
 * line: whether that is folded is not known yet. */
static void
remember(coir_http_parser *parser, const cursor *c, size_t len)
{
    parser->line = (uint32_t)(c->p - c->buf);
    parser->at = (uint32_t)len - (len > 0 && c->buf[len - 1] == '\n');
}

static int
parse_head(cursor *c, coir_http_parser *parser, const char *buf, size_t len,
           coir_http_head *head, enum kind kind)
{
    if (len == 0)
        return COIR_EAGAIN; /* there may be no buffer */
    int resumed = parser->at != 0;
    cursor_init(c, parser, buf, len, head);
    if (kind == TRAILERS) {
        uint32_t max = coir__limit(parser->options->max_trailers, 8192);
        c->head_error = COIR_HTTP_ETRAILERLEN;
        c->cap = buf + (len < max ? len : max);
        c->at_cap = len < max ? COIR_EAGAIN : c->head_error;
    }
    coir_http_parser before = *parser;
    int err = parse_lines(c, parser, kind);
    if (err == COIR_EAGAIN)
        remember(parser, c, len);
    else if (err < 0)
        *parser = before; /* the same error, if it is asked again */
    else if (resumed) {
        coir_http_parser_init(parser, parser->options);
        return parse_head(c, parser, buf, len, head, kind);
    }
    return err;
}

/* The head is complete: ready for the next one. */
static ssize_t
complete(const cursor *c, coir_http_parser *parser)
{
    c->head->count = parser->count;
    c->head->first[COIR_FIELD_OTHER] = 0;
    coir_http_parser_init(parser, parser->options);
    return c->p - c->buf;
}

ssize_t
coir_http_parse_request(coir_http_parser *parser, const char *buf, size_t len,
                        coir_http_head *head)
{
    cursor c;
    int err = parse_head(&c, parser, buf, len, head, REQUEST);
    if (err < 0)
        return err;
    ssize_t used = complete(&c, parser);
    err = coir__http_finish_request(head, buf, parser->options, c.repeated);
    return err < 0 ? err : used;
}

ssize_t
coir_http_parse_response(coir_http_parser *parser, const char *buf, size_t len,
                         int method, coir_http_head *head)
{
    cursor c;
    int err = parse_head(&c, parser, buf, len, head, RESPONSE);
    if (err < 0)
        return err;
    ssize_t used = complete(&c, parser);
    err = coir__http_finish_response(head, buf, parser->options, c.repeated,
                                     method);
    return err < 0 ? err : used;
}

/* --- trailers ------------------------------------------------------------ */

/* Fields that a recipient must know before the body, or that say who sends,
 * where to, or what is done with it (RFC 9110, 6.5.1). */
static int
is_forbidden(uint32_t id)
{
    switch (id) {
    case COIR_FIELD_AGE:
    case COIR_FIELD_AUTHORIZATION:
    case COIR_FIELD_CACHE_CONTROL:
    case COIR_FIELD_CONTENT_ENCODING:
    case COIR_FIELD_CONTENT_LENGTH:
    case COIR_FIELD_CONTENT_RANGE:
    case COIR_FIELD_CONTENT_TYPE:
    case COIR_FIELD_COOKIE:
    case COIR_FIELD_DATE:
    case COIR_FIELD_EXPECT:
    case COIR_FIELD_EXPIRES:
    case COIR_FIELD_FORWARDED:
    case COIR_FIELD_HOST:
    case COIR_FIELD_IF_MATCH:
    case COIR_FIELD_IF_MODIFIED_SINCE:
    case COIR_FIELD_IF_NONE_MATCH:
    case COIR_FIELD_IF_RANGE:
    case COIR_FIELD_IF_UNMODIFIED_SINCE:
    case COIR_FIELD_LOCATION:
    case COIR_FIELD_MAX_FORWARDS:
    case COIR_FIELD_PRAGMA:
    case COIR_FIELD_RANGE:
    case COIR_FIELD_RETRY_AFTER:
    case COIR_FIELD_SET_COOKIE:
    case COIR_FIELD_VARY:
    case COIR_FIELD_WWW_AUTHENTICATE:
    case COIR_FIELD_X_FORWARDED_FOR:
    case COIR_FIELD_X_FORWARDED_HOST:
    case COIR_FIELD_X_FORWARDED_PORT:
    case COIR_FIELD_X_FORWARDED_PROTO:
    case COIR_FIELD_X_REAL_IP:
        return 1;
    default:
        return coir_http_is_hop_by_hop((int)id);
    }
}

ssize_t
coir_http_parse_trailers(coir_http_body *body, coir_http_parser *parser,
                         const char *buf, size_t len, coir_http_head *head)
{
    assert(body->state == COIR_HTTP_BODY_TRAILERS);
    cursor c;
    int err = parse_head(&c, parser, buf, len, head, TRAILERS);
    if (err < 0)
        return err;
    ssize_t used = complete(&c, parser);
    for (uint32_t i = 0; i < head->count; i++) {
        if (is_forbidden(head->fields[i].id))
            return COIR_HTTP_ETRAILER;
    }
    body->state = COIR_HTTP_BODY_DONE;
    return used;
}
