/* framing.c - what the fields of a head mean together: for whom a request is,
 * how long its body is, whether the connection stays.
 *
 * Two that disagree about the length of a body read different messages from
 * then on, and one may have been hidden in it. So what could be read in two
 * ways is refused, where RFC 9112, 6.3, allows that: two lengths, a length
 * beside a coding, a coding in HTTP/1.0, a list where a number should be. */
#include "http/internal.h"

#include <string.h>

/* What is asked about. */
typedef struct message {
    coir_http_head *head;
    const char *buf;
    const coir_http_options *options;
    int repeated;
} message;

static const coir_http_field *
first(const message *m, int id)
{
    unsigned index = m->head->first[id];
    return index != 0 ? &m->head->fields[index - 1] : NULL;
}

/* The next one with its id; there is none in most heads. */
static const coir_http_field *
next(const message *m, const coir_http_field *field)
{
    if (coir__likely(!m->repeated))
        return NULL;
    return coir_http_find(m->head, (int)field->id, field);
}

static int
is(const message *m, const coir_http_field *field, const char *text,
   size_t len)
{
    return coir_http_equal(m->buf + field->value.at, field->value.len, text,
                           len);
}

#define IS(m, field, text) is(m, field, text, sizeof(text) - 1)

/* --- Content-Length ------------------------------------------------------ */

/* A number; -1 if the digits are none, -2 if they are too many. */
static int64_t
number(const char *p, size_t len)
{
    int64_t n = 0;
    int overflow = 0;
    for (size_t i = 0; i < len; i++) {
        if (!coir__is(p[i], COIR__DIGIT))
            return -1;
        int digit = p[i] - '0';
        overflow |= n > (INT64_MAX - digit) / 10;
        n = overflow ? 0 : n * 10 + digit;
    }
    return len == 0 ? -1 : overflow ? -2 : n;
}

/* One value of Content-Length that must be `*length`, if this is known. */
static int
add_length(int64_t *length, const char *p, size_t len)
{
    int64_t n = number(p, len);
    if (n < 0)
        return n == -1 ? COIR_HTTP_ELENGTH : COIR_HTTP_EOVERFLOW;
    if (*length >= 0 && *length != n)
        return COIR_HTTP_ELENGTHS;
    *length = n;
    return 0;
}

/* All members of all fields, where equal ones are allowed. */
static int
same_lengths(const message *m, const coir_http_field *f, int64_t *length)
{
    for (; f != NULL; f = next(m, f)) {
        const char *value = m->buf + f->value.at;
        coir_http_span item;
        size_t at = 0, members = 0;
        while (coir_http_list_next(value, f->value.len, &at, &item)) {
            int err = add_length(length, value + item.at, item.len);
            if (err < 0)
                return err;
            members++;
        }
        if (members == 0)
            return COIR_HTTP_ELENGTH;
    }
    return 0;
}

static int
content_length(const message *m)
{
    const coir_http_field *f = first(m, COIR_FIELD_CONTENT_LENGTH);
    int64_t length = -1;
    int err;
    if (f == NULL)
        return 0;
    if ((m->options->flags & COIR_HTTP_SAME_LENGTHS) != 0)
        err = same_lengths(m, f, &length);
    else if (next(m, f) != NULL ||
             memchr(m->buf + f->value.at, ',', f->value.len) != NULL)
        err = COIR_HTTP_ELENGTHS;
    else
        err = add_length(&length, m->buf + f->value.at, f->value.len);
    if (err == 0)
        m->head->content_length = length;
    return err;
}

/* --- Transfer-Encoding --------------------------------------------------- */

/* Why a Transfer-Encoding is no "chunked" and nothing else. */
static int
bad_coding(const message *m, const coir_http_field *f)
{
    int members = 0, chunked = 0, last = 0;
    for (; f != NULL; f = next(m, f)) {
        const char *value = m->buf + f->value.at;
        coir_http_span item;
        size_t at = 0;
        while (coir_http_list_next(value, f->value.len, &at, &item)) {
            size_t len = 0;
            while (len < item.len &&
                   coir__is(value[item.at + len], COIR__TOKEN))
                len++;
            if (len == 0)
                return COIR_HTTP_ECODING;
            last = coir_http_equal(value + item.at, item.len, "chunked", 7);
            chunked += coir_http_equal(value + item.at, len, "chunked", 7);
            members++;
        }
    }
    if (members == 0 || (members == 1 && last))
        return COIR_HTTP_ECODING; /* none, or with commas around it */
    return last && chunked == 1 ? COIR_HTTP_EUNKNOWN : COIR_HTTP_ECODINGS;
}

static int
transfer_encoding(const message *m)
{
    const coir_http_field *f = first(m, COIR_FIELD_TRANSFER_ENCODING);
    if (f == NULL)
        return 0;
    if (m->head->version == 10)
        return COIR_HTTP_EOLDCODING;
    if (first(m, COIR_FIELD_CONTENT_LENGTH) != NULL)
        return COIR_HTTP_EBOTH;
    if (!IS(m, f, "chunked") || next(m, f) != NULL)
        return bad_coding(m, f);
    m->head->framing = COIR_HTTP_CHUNKED;
    return 0;
}

/* Sets framing by the fields alone; no length: `otherwise`. */
static int
body_length(const message *m, uint8_t otherwise)
{
    coir_http_head *head = m->head;
    head->framing = otherwise;
    int err = transfer_encoding(m);
    if (err == 0)
        err = content_length(m);
    if (err < 0)
        return err;
    if (head->content_length > 0)
        head->framing = COIR_HTTP_LENGTH;
    else if (head->content_length == 0)
        head->framing = COIR_HTTP_NO_BODY;
    return 0;
}

/* INT64_MAX at most, as no option allows more. */
static int
is_too_long(const message *m)
{
    return m->head->framing == COIR_HTTP_LENGTH &&
           (uint64_t)m->head->content_length > coir__max_body(m->options);
}

/* --- Connection, Upgrade ------------------------------------------------- */

enum { CLOSE = 1, KEEP_ALIVE = 2, UPGRADE = 4 };

/* What the members of all Connection fields say. */
static int
connection_tokens(const message *m, const coir_http_field *f, unsigned *said)
{
    for (; f != NULL; f = next(m, f)) {
        const char *value = m->buf + f->value.at;
        coir_http_span item;
        size_t at = 0;
        while (coir_http_list_next(value, f->value.len, &at, &item)) {
            const char *text = value + item.at;
            if (!coir_http_is_token(text, item.len))
                return COIR_HTTP_ECONNECTION;
            if (coir_http_equal(text, item.len, "close", 5))
                *said |= CLOSE;
            else if (coir_http_equal(text, item.len, "keep-alive", 10))
                *said |= KEEP_ALIVE;
            else if (coir_http_equal(text, item.len, "upgrade", 7))
                *said |= UPGRADE;
        }
    }
    return 0;
}

/* protocol-name ["/" protocol-version] (RFC 9110, 7.8) */
static int
is_protocol(const char *text, size_t len)
{
    const char *slash = memchr(text, '/', len);
    size_t name = slash != NULL ? (size_t)(slash - text) : len;
    return coir_http_is_token(text, name) &&
           (slash == NULL || coir_http_is_token(slash + 1, len - name - 1));
}

static int
upgrade(const message *m)
{
    const coir_http_field *f = first(m, COIR_FIELD_UPGRADE);
    int protocols = 0;
    for (; f != NULL; f = next(m, f)) {
        const char *value = m->buf + f->value.at;
        coir_http_span item;
        size_t at = 0;
        while (coir_http_list_next(value, f->value.len, &at, &item)) {
            if (!is_protocol(value + item.at, item.len))
                return COIR_HTTP_EUPGRADE;
            protocols++;
        }
    }
    if (protocols > 0)
        m->head->flags |= COIR_HTTP_UPGRADE;
    return 0;
}

static int
connection(const message *m)
{
    const coir_http_field *f = first(m, COIR_FIELD_CONNECTION);
    unsigned said = 0;
    if (f != NULL && !m->repeated && IS(m, f, "keep-alive"))
        said = KEEP_ALIVE; /* as most do that have one */
    else if (f != NULL) {
        int err = connection_tokens(m, f, &said);
        if (err < 0)
            return err;
    }
    int stays = m->head->version == 11 || (said & KEEP_ALIVE) != 0;
    if (stays && (said & CLOSE) == 0)
        m->head->flags |= COIR_HTTP_KEEP_ALIVE;
    if ((said & UPGRADE) != 0 && m->head->version == 11)
        return upgrade(m);
    return 0;
}

/* --- requests ------------------------------------------------------------ */

/* The authority of the target goes before that of Host, which must be valid
 * all the same (RFC 9112, 3.2). */
static int
host(const message *m)
{
    coir_http_head *head = m->head;
    const coir_http_field *f = first(m, COIR_FIELD_HOST);
    if (f == NULL)
        return head->version == 10 ||
                       (m->options->flags & COIR_HTTP_NO_HOST) != 0
                   ? 0
                   : COIR_HTTP_ENOHOST;
    if (next(m, f) != NULL)
        return COIR_HTTP_EHOSTS;
    coir_http_span authority = head->authority, name = head->host;
    int32_t port = head->port;
    int err = coir__http_authority(head, m->buf, f->value, COIR_HTTP_EHOST);
    if (err == 0 && authority.at != 0) {
        head->authority = authority;
        head->host = name;
        head->port = port;
    }
    return err;
}

static int
expect(const message *m)
{
    const coir_http_field *f = first(m, COIR_FIELD_EXPECT);
    if (f == NULL || m->head->version == 10) /* RFC 9110, 10.1.1 */
        return 0;
    for (; f != NULL; f = next(m, f)) {
        if (!IS(m, f, "100-continue"))
            return COIR_HTTP_EEXPECT;
    }
    if (m->head->framing != COIR_HTTP_NO_BODY)
        m->head->flags |= COIR_HTTP_CONTINUE;
    return 0;
}

static int
request_body(const message *m)
{
    coir_http_head *head = m->head;
    int err = body_length(m, COIR_HTTP_NO_BODY);
    if (err < 0)
        return err;
    if (head->framing == COIR_HTTP_NO_BODY)
        return 0;
    if (head->method_id == COIR_HTTP_CONNECT) /* RFC 9110, 9.3.6 */
        return COIR_HTTP_ECONNECT;
    if (head->framing == COIR_HTTP_CHUNKED &&
        (m->options->flags & COIR_HTTP_NEED_LENGTH) != 0)
        return COIR_HTTP_ENOLENGTH;
    return is_too_long(m) ? COIR_HTTP_EBODYLEN : 0;
}

int
coir__http_finish_request(coir_http_head *head, const char *buf,
                          const coir_http_options *options, int repeated)
{
    message m = {head, buf, options, repeated};
    int err = host(&m);
    if (err == 0)
        err = request_body(&m);
    if (err == 0)
        err = connection(&m);
    if (err == 0)
        err = expect(&m);
    return err;
}

/* --- responses ----------------------------------------------------------- */

int
coir_http_may_have_body(int method, int status)
{
    if (status < 200 || status == 204 || status == 304 ||
        method == COIR_HTTP_HEAD)
        return 0;
    return method != COIR_HTTP_CONNECT || status >= 300;
}

int
coir__http_finish_response(coir_http_head *head, const char *buf,
                           const coir_http_options *options, int repeated,
                           int method)
{
    message m = {head, buf, options, repeated};
    int err = body_length(&m, COIR_HTTP_UNTIL_CLOSE);
    if (err < 0)
        return err;
    if (!coir_http_may_have_body(method, head->status))
        head->framing = COIR_HTTP_NO_BODY;
    if (is_too_long(&m))
        return COIR_HTTP_EBODYLEN;
    if ((err = connection(&m)) < 0)
        return err;
    if (head->status != 101)
        head->flags &= (uint16_t)~COIR_HTTP_UPGRADE;
    if (head->framing == COIR_HTTP_UNTIL_CLOSE)
        head->flags &= (uint16_t)~COIR_HTTP_KEEP_ALIVE;
    return 0;
}
