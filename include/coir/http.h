/* coir/http.h - HTTP/1.1 and HTTP/1.0 messages: a strict parser, and what is
 * checked before a message is written (RFC 9110, RFC 9112).
 *
 *     coir_http_field fields[100];
 *     coir_http_head head = {.fields = fields, .capacity = 100};
 *     coir_http_parser parser;
 *     coir_http_parser_init(&parser, NULL);
 *     ... read into buf, until:
 *     ssize_t used = coir_http_parse_request(&parser, buf, len, &head);
 *     if (used == COIR_EAGAIN)
 *         ... read more behind it, and ask again
 *     else if (used < 0)
 *         ... answer coir_http_error_status((int)used), then close
 *     else
 *         ... buf + head.target.at, head.target.len; the body follows
 *
 *     coir_http_body body;
 *     coir_http_body_init(&body, &head, NULL);
 *     used = coir_http_body_next(&body, buf, len, &data);
 *
 * Nothing is allocated and nothing is copied: what a head tells are offsets
 * into the caller's buffer, in which the head must lie in one piece. The
 * buffer may grow and move between calls, if its bytes stay the same.
 *
 * Strict: what RFC 9112 lets a recipient refuse or repair is refused, for two
 * recipients that repair differently see different messages. Each reason has
 * an error of its own. After an error nothing more of that connection can be
 * trusted: answer once, and close.
 *
 * Owner:   all memory is the caller's; there is nothing to free.
 * Threads: any; each object is used by one at a time.
 * Blocks:  never. */
#ifndef COIR_HTTP_H
#define COIR_HTTP_H

#include <coir/base.h>

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- errors -------------------------------------------------------------- */

/* Why a message is refused: name, number, status of the answer, text. For
 * coir_strerror() they are errors as all others. */
#define COIR_HTTP_ERRORS(X)                                                   \
    X(COIR_HTTP_EEMPTY, 1, 400, "more than one empty line before a request")  \
    X(COIR_HTTP_EREQUEST, 2, 400, "not a request line of HTTP/1")             \
    X(COIR_HTTP_EMETHOD, 3, 400, "the method is no token")                    \
    X(COIR_HTTP_EMETHODLEN, 4, 501, "the method is too long")                 \
    X(COIR_HTTP_ETARGET, 5, 400, "the request target is not valid")           \
    X(COIR_HTTP_ETARGETLEN, 6, 414, "the request target is too long")         \
    X(COIR_HTTP_EFORM, 7, 400,                                                \
      "the form of the request target does not fit the method")               \
    X(COIR_HTTP_EAUTHORITY, 8, 400,                                           \
      "the authority of the request target is not valid")                     \
    X(COIR_HTTP_EVERSION, 9, 400, "no valid HTTP version")                    \
    X(COIR_HTTP_EUNSUPPORTED, 10, 505,                                        \
      "a version of HTTP other than 1.0 and 1.1")                             \
    X(COIR_HTTP_ESTATUS, 11, 502, "not a status line of HTTP/1")              \
    X(COIR_HTTP_EREASON, 12, 502, "the reason phrase is not valid")           \
    X(COIR_HTTP_ECR, 13, 400, "CR without LF")                                \
    X(COIR_HTTP_ELF, 14, 400, "LF without CR")                                \
    X(COIR_HTTP_ENUL, 15, 400, "NUL in a field's value")                      \
    X(COIR_HTTP_ECONTROL, 16, 400, "control character in a field's value")    \
    X(COIR_HTTP_ENAME, 17, 400, "a field's name is no token")                 \
    X(COIR_HTTP_ECOLON, 18, 400, "a field without a colon")                   \
    X(COIR_HTTP_ESPACE, 19, 400, "space before a field's colon")              \
    X(COIR_HTTP_EFOLD, 20, 400, "a field folded over lines")                  \
    X(COIR_HTTP_ELINELEN, 21, 431, "a line is too long")                      \
    X(COIR_HTTP_EFIELDS, 22, 431, "too many fields")                          \
    X(COIR_HTTP_EHEADLEN, 23, 431, "the head is too long")                    \
    X(COIR_HTTP_ENOHOST, 24, 400, "no Host field")                            \
    X(COIR_HTTP_EHOSTS, 25, 400, "more than one Host field")                  \
    X(COIR_HTTP_EHOST, 26, 400, "the Host field is not valid")                \
    X(COIR_HTTP_ELENGTH, 27, 400, "the Content-Length is no number")          \
    X(COIR_HTTP_ELENGTHS, 28, 400, "more than one Content-Length")            \
    X(COIR_HTTP_EOVERFLOW, 29, 413, "the Content-Length is too large")        \
    X(COIR_HTTP_EBODYLEN, 30, 413, "the body is too large")                   \
    X(COIR_HTTP_ENOLENGTH, 31, 411, "a body without a Content-Length")        \
    X(COIR_HTTP_ECODING, 32, 400, "the Transfer-Encoding is not valid")       \
    X(COIR_HTTP_ECODINGS, 33, 400,                                            \
      "chunked is not the last coding, or not "                               \
      "applied once")                                                         \
    X(COIR_HTTP_EUNKNOWN, 34, 501, "a transfer coding other than chunked")    \
    X(COIR_HTTP_EBOTH, 35, 400,                                               \
      "both a Transfer-Encoding and a Content-Length")                        \
    X(COIR_HTTP_EOLDCODING, 36, 400, "a Transfer-Encoding in HTTP/1.0")       \
    X(COIR_HTTP_ECONNECT, 37, 400, "a CONNECT request with a body")           \
    X(COIR_HTTP_ECONNECTION, 38, 400, "the Connection field is not valid")    \
    X(COIR_HTTP_EUPGRADE, 39, 400, "the Upgrade field is not valid")          \
    X(COIR_HTTP_EEXPECT, 40, 417, "an expectation other than 100-continue")   \
    X(COIR_HTTP_ECHUNK, 41, 400, "the size of a chunk is not valid")          \
    X(COIR_HTTP_ECHUNKLEN, 42, 413, "a chunk is too large")                   \
    X(COIR_HTTP_EEXTENSION, 43, 400, "a chunk's extension is not valid")      \
    X(COIR_HTTP_EOVERHEAD, 44, 413, "too much beside the data of chunks")     \
    X(COIR_HTTP_ECHUNKEND, 45, 400, "no CR LF behind the data of a chunk")    \
    X(COIR_HTTP_ETRAILER, 46, 400, "a field that must not be in trailers")    \
    X(COIR_HTTP_ETRAILERLEN, 47, 431, "the trailers are too long")            \
    X(COIR_HTTP_ECUT, 48, 400, "the message ended too early")

enum coir_http_error {
#define COIR__HTTP_ERROR(name, number, status, text) name = -12288 - (number),
    COIR_HTTP_ERRORS(COIR__HTTP_ERROR)
#undef COIR__HTTP_ERROR
};

/* The status a server answers with: 400, 413 and so on; 500 for what is no
 * enum coir_http_error. (502 is for a gateway, whose peer answered so.) */
COIR_API int coir_http_error_status(int error);

/* The text above, or that of coir_strerror(); never NULL, static. */
COIR_API const char *coir_http_error_text(int error);

/* --- limits -------------------------------------------------------------- */

enum coir_http_leniency {
    /* A line may end with LF alone (RFC 9112, 2.2). */
    COIR_HTTP_BARE_LF = 1,
    /* Fields folded over lines are joined, in the buffer, which must be
     * writable then: CR LF become spaces (RFC 9112, 5.2). */
    COIR_HTTP_FOLDED = 2,
    /* Content-Length may be there several times, if all are equal (RFC 9110,
     * 8.6). */
    COIR_HTTP_SAME_LENGTHS = 4,
    /* Bytes from 0x80 may be in a target's path and query. */
    COIR_HTTP_RAW_TARGET = 8,
    /* The space behind a status may miss where the reason does, too. */
    COIR_HTTP_NO_REASON_SPACE = 16,
    /* A request of HTTP/1.1 may be without a Host field. */
    COIR_HTTP_NO_HOST = 32,
    /* Not lenient: a request's chunked body is refused, with 411. */
    COIR_HTTP_NEED_LENGTH = 64
};

/* What is accepted. A limit of 0 stands for the default; lengths are bytes
 * and count the line's end. */
typedef struct coir_http_options {
    unsigned flags;        /* enum coir_http_leniency; 0 */
    uint32_t max_line;     /* request line, status line; 8192 */
    uint32_t max_field;    /* one field; 8192 */
    uint32_t max_fields;   /* fields of a head; 100 */
    uint32_t max_head;     /* a whole head; 65536 */
    uint32_t max_overhead; /* of chunks: what their size lines exceed 16 bytes
                              and twice the data by, in sum; 16384 */
    uint32_t max_trailers; /* all trailers; 8192 */
    uint64_t max_body;     /* data of a body; INT64_MAX */
} coir_http_options;

/* --- heads --------------------------------------------------------------- */

/* Bytes of the caller's buffer; len 0 and at 0: not there. */
typedef struct coir_http_span {
    uint32_t at;
    uint32_t len;
} coir_http_span;

/* Methods: the registered ones that servers meet. */
#define COIR_HTTP_METHODS(X)                                                  \
    X(COIR_HTTP_GET, "GET")                                                   \
    X(COIR_HTTP_HEAD, "HEAD")                                                 \
    X(COIR_HTTP_POST, "POST")                                                 \
    X(COIR_HTTP_PUT, "PUT")                                                   \
    X(COIR_HTTP_DELETE, "DELETE")                                             \
    X(COIR_HTTP_CONNECT, "CONNECT")                                           \
    X(COIR_HTTP_OPTIONS, "OPTIONS")                                           \
    X(COIR_HTTP_TRACE, "TRACE")                                               \
    X(COIR_HTTP_PATCH, "PATCH")

enum coir_http_method {
    COIR_HTTP_OTHER, /* see coir_http_head.method */
#define COIR__HTTP_METHOD(name, text) name,
    COIR_HTTP_METHODS(COIR__HTTP_METHOD)
#undef COIR__HTTP_METHOD
};

/* Fields that have an id: name, as it is written. */
#define COIR_HTTP_FIELDS(X)                                                   \
    X(COIR_FIELD_ACCEPT, "Accept")                                            \
    X(COIR_FIELD_ACCEPT_CHARSET, "Accept-Charset")                            \
    X(COIR_FIELD_ACCEPT_ENCODING, "Accept-Encoding")                          \
    X(COIR_FIELD_ACCEPT_LANGUAGE, "Accept-Language")                          \
    X(COIR_FIELD_ACCEPT_RANGES, "Accept-Ranges")                              \
    X(COIR_FIELD_AGE, "Age")                                                  \
    X(COIR_FIELD_ALLOW, "Allow")                                              \
    X(COIR_FIELD_ALT_SVC, "Alt-Svc")                                          \
    X(COIR_FIELD_AUTHORIZATION, "Authorization")                              \
    X(COIR_FIELD_CACHE_CONTROL, "Cache-Control")                              \
    X(COIR_FIELD_CONNECTION, "Connection")                                    \
    X(COIR_FIELD_CONTENT_DISPOSITION, "Content-Disposition")                  \
    X(COIR_FIELD_CONTENT_ENCODING, "Content-Encoding")                        \
    X(COIR_FIELD_CONTENT_LANGUAGE, "Content-Language")                        \
    X(COIR_FIELD_CONTENT_LENGTH, "Content-Length")                            \
    X(COIR_FIELD_CONTENT_LOCATION, "Content-Location")                        \
    X(COIR_FIELD_CONTENT_RANGE, "Content-Range")                              \
    X(COIR_FIELD_CONTENT_TYPE, "Content-Type")                                \
    X(COIR_FIELD_COOKIE, "Cookie")                                            \
    X(COIR_FIELD_DATE, "Date")                                                \
    X(COIR_FIELD_DNT, "DNT")                                                  \
    X(COIR_FIELD_ETAG, "ETag")                                                \
    X(COIR_FIELD_EXPECT, "Expect")                                            \
    X(COIR_FIELD_EXPIRES, "Expires")                                          \
    X(COIR_FIELD_FORWARDED, "Forwarded")                                      \
    X(COIR_FIELD_FROM, "From")                                                \
    X(COIR_FIELD_HOST, "Host")                                                \
    X(COIR_FIELD_IF_MATCH, "If-Match")                                        \
    X(COIR_FIELD_IF_MODIFIED_SINCE, "If-Modified-Since")                      \
    X(COIR_FIELD_IF_NONE_MATCH, "If-None-Match")                              \
    X(COIR_FIELD_IF_RANGE, "If-Range")                                        \
    X(COIR_FIELD_IF_UNMODIFIED_SINCE, "If-Unmodified-Since")                  \
    X(COIR_FIELD_KEEP_ALIVE, "Keep-Alive")                                    \
    X(COIR_FIELD_LAST_MODIFIED, "Last-Modified")                              \
    X(COIR_FIELD_LINK, "Link")                                                \
    X(COIR_FIELD_LOCATION, "Location")                                        \
    X(COIR_FIELD_MAX_FORWARDS, "Max-Forwards")                                \
    X(COIR_FIELD_ORIGIN, "Origin")                                            \
    X(COIR_FIELD_PRAGMA, "Pragma")                                            \
    X(COIR_FIELD_PRIORITY, "Priority")                                        \
    X(COIR_FIELD_PROXY_AUTHENTICATE, "Proxy-Authenticate")                    \
    X(COIR_FIELD_PROXY_AUTHORIZATION, "Proxy-Authorization")                  \
    X(COIR_FIELD_PROXY_CONNECTION, "Proxy-Connection")                        \
    X(COIR_FIELD_RANGE, "Range")                                              \
    X(COIR_FIELD_REFERER, "Referer")                                          \
    X(COIR_FIELD_RETRY_AFTER, "Retry-After")                                  \
    X(COIR_FIELD_SEC_CH_UA, "Sec-CH-UA")                                      \
    X(COIR_FIELD_SEC_CH_UA_MOBILE, "Sec-CH-UA-Mobile")                        \
    X(COIR_FIELD_SEC_CH_UA_PLATFORM, "Sec-CH-UA-Platform")                    \
    X(COIR_FIELD_SEC_FETCH_DEST, "Sec-Fetch-Dest")                            \
    X(COIR_FIELD_SEC_FETCH_MODE, "Sec-Fetch-Mode")                            \
    X(COIR_FIELD_SEC_FETCH_SITE, "Sec-Fetch-Site")                            \
    X(COIR_FIELD_SEC_FETCH_USER, "Sec-Fetch-User")                            \
    X(COIR_FIELD_SEC_WEBSOCKET_ACCEPT, "Sec-WebSocket-Accept")                \
    X(COIR_FIELD_SEC_WEBSOCKET_EXTENSIONS, "Sec-WebSocket-Extensions")        \
    X(COIR_FIELD_SEC_WEBSOCKET_KEY, "Sec-WebSocket-Key")                      \
    X(COIR_FIELD_SEC_WEBSOCKET_PROTOCOL, "Sec-WebSocket-Protocol")            \
    X(COIR_FIELD_SEC_WEBSOCKET_VERSION, "Sec-WebSocket-Version")              \
    X(COIR_FIELD_SERVER, "Server")                                            \
    X(COIR_FIELD_SET_COOKIE, "Set-Cookie")                                    \
    X(COIR_FIELD_STRICT_TRANSPORT_SECURITY, "Strict-Transport-Security")      \
    X(COIR_FIELD_TE, "TE")                                                    \
    X(COIR_FIELD_TRACEPARENT, "Traceparent")                                  \
    X(COIR_FIELD_TRAILER, "Trailer")                                          \
    X(COIR_FIELD_TRANSFER_ENCODING, "Transfer-Encoding")                      \
    X(COIR_FIELD_UPGRADE, "Upgrade")                                          \
    X(COIR_FIELD_UPGRADE_INSECURE_REQUESTS, "Upgrade-Insecure-Requests")      \
    X(COIR_FIELD_USER_AGENT, "User-Agent")                                    \
    X(COIR_FIELD_VARY, "Vary")                                                \
    X(COIR_FIELD_VIA, "Via")                                                  \
    X(COIR_FIELD_WWW_AUTHENTICATE, "WWW-Authenticate")                        \
    X(COIR_FIELD_X_FORWARDED_FOR, "X-Forwarded-For")                          \
    X(COIR_FIELD_X_FORWARDED_HOST, "X-Forwarded-Host")                        \
    X(COIR_FIELD_X_FORWARDED_PORT, "X-Forwarded-Port")                        \
    X(COIR_FIELD_X_FORWARDED_PROTO, "X-Forwarded-Proto")                      \
    X(COIR_FIELD_X_REAL_IP, "X-Real-IP")                                      \
    X(COIR_FIELD_X_REQUEST_ID, "X-Request-ID")                                \
    X(COIR_FIELD_X_REQUESTED_WITH, "X-Requested-With")

enum coir_http_field_id {
    COIR_FIELD_OTHER,
#define COIR__HTTP_FIELD(name, text) name,
    COIR_HTTP_FIELDS(COIR__HTTP_FIELD)
#undef COIR__HTTP_FIELD
        COIR_FIELD_IDS
};

/* One field line. The value is without the spaces around it, and may be
 * empty; its bytes are VCHAR, space, tab, or 0x80 and above. */
typedef struct coir_http_field {
    coir_http_span name;
    coir_http_span value;
    uint32_t id; /* enum coir_http_field_id */
} coir_http_field;

/* Forms of a request target (RFC 9112, 3.2). */
enum coir_http_form {
    COIR_HTTP_ORIGIN,    /* /path?query */
    COIR_HTTP_ABSOLUTE,  /* scheme://authority/path?query */
    COIR_HTTP_AUTHORITY, /* host:port; of CONNECT, and only it */
    COIR_HTTP_ASTERISK   /* *; of OPTIONS, and only it */
};

/* How a body ends (RFC 9112, 6.3). */
enum coir_http_framing {
    COIR_HTTP_NO_BODY,    /* there is none; content_length may tell of one,
                             in answers to HEAD and 304 */
    COIR_HTTP_LENGTH,     /* content_length bytes, at least one */
    COIR_HTTP_CHUNKED,    /* with the last chunk and the trailers */
    COIR_HTTP_UNTIL_CLOSE /* with the connection; of responses */
};

enum coir_http_head_flags {
    COIR_HTTP_KEEP_ALIVE = 1, /* the connection may persist: by version and
                                 Connection (RFC 9112, 9.3) */
    COIR_HTTP_UPGRADE = 2,    /* Connection: upgrade, and an Upgrade field, in
                                 HTTP/1.1; of a response: status 101 */
    COIR_HTTP_CONTINUE = 4    /* Expect: 100-continue, in HTTP/1.1, and a body
                                 is to come */
};

/* The head of a request or a response. `fields` and `capacity` are set by the
 * caller, and stay as they are; the rest is written by the parser and means
 * something only after it returned the length of the head. */
typedef struct coir_http_head {
    coir_http_field *fields;
    uint32_t capacity; /* max_fields is no more than that */

    uint32_t count;         /* of fields */
    uint8_t method_id;      /* enum coir_http_method */
    uint8_t form;           /* enum coir_http_form */
    uint8_t framing;        /* enum coir_http_framing */
    uint8_t version;        /* 10 or 11; 11 for 1.2 to 1.9, too */
    uint16_t flags;         /* enum coir_http_head_flags */
    uint16_t status;        /* of a response */
    int32_t port;           /* of the authority; -1: none is given */
    int64_t content_length; /* -1: there is none */

    coir_http_span method; /* of a request */
    coir_http_span target; /* as it was sent */
    coir_http_span scheme; /* of the absolute form */
    /* Of the target if it has one, else the value of Host: what the request
     * is for (RFC 9112, 3.3). With port, without user. */
    coir_http_span authority;
    coir_http_span host;   /* the same without port; with [] around IPv6 */
    coir_http_span path;   /* from '/', not decoded; empty for other forms
                              than origin, but for an absolute with a path */
    coir_http_span query;  /* behind '?'; at 0: there was no '?' */
    coir_http_span reason; /* of a response; may be empty */

    /* Of each id the first field: its index and 1; 0: there is none. */
    uint16_t first[COIR_FIELD_IDS];
} coir_http_head;

/* How far the head that comes in was looked at. Small, so that a connection
 * can be idle with it alone: the fields may be anywhere else, other memory in
 * each call even. Its members are private. */
typedef struct coir_http_parser {
    const coir_http_options *options;
    uint32_t line;  /* where the line begins that is not complete */
    uint32_t at;    /* no line ends before */
    uint32_t count; /* fields before the line */
    uint32_t flags;
} coir_http_parser;

/* `options` are the caller's, and live as long; NULL for the defaults. */
COIR_API void coir_http_parser_init(coir_http_parser *parser,
                                    const coir_http_options *options);

/* Parse the head of a request, which begins at buf[0]; one CR LF before it is
 * skipped. Returns the bytes used, behind which the body begins, and the
 * parser is ready for the next head; COIR_EAGAIN, if there is more to come:
 * call again with all of it, and more; an enum coir_http_error, found as
 * early as its line is complete, at the latest, and the same however the
 * bytes were split. Byte by byte it costs twice what it costs at once. */
COIR_API ssize_t coir_http_parse_request(coir_http_parser *parser,
                                         const char *buf, size_t len,
                                         coir_http_head *head);

/* The same for a response to a request of `method` (enum coir_http_method),
 * on which its framing depends. A response 100 to 199, but for 101, is
 * followed by another one. No empty line is skipped. */
COIR_API ssize_t coir_http_parse_response(coir_http_parser *parser,
                                          const char *buf, size_t len,
                                          int method, coir_http_head *head);

/* --- fields -------------------------------------------------------------- */

/* The id of a name, of any case; COIR_FIELD_OTHER. */
COIR_API int coir_http_field_id(const char *name, size_t len);

/* The name of an id as it is written, "Content-Type"; "" of others. */
COIR_API const char *coir_http_field_name(int id);

/* The first field with this id, or the next one behind `after`; or NULL. */
COIR_API const coir_http_field *coir_http_find(const coir_http_head *head,
                                               int id,
                                               const coir_http_field *after);

/* The same by name, of any case. `buf` is that of the head. */
COIR_API const coir_http_field *
coir_http_find_name(const coir_http_head *head, const char *buf,
                    const char *name, size_t len,
                    const coir_http_field *after);

/* Are these the same but for the case of ASCII letters? */
COIR_API int coir_http_equal(const char *a, size_t a_len, const char *b,
                             size_t b_len);

/* The next member of a list that commas separate: `*at` is 0 at first, and
 * the function's. Members are without spaces around them; empty ones are left
 * out; a comma in a quoted string separates nothing. Returns 1 and sets
 * `item` (an offset into `value`), or 0 at the end. */
COIR_API int coir_http_list_next(const char *value, size_t len, size_t *at,
                                 coir_http_span *item);

/* Has a list, in any of the fields with this id, this member, of any case? */
COIR_API int coir_http_has_token(const coir_http_head *head, const char *buf,
                                 int id, const char *token);

/* --- bodies -------------------------------------------------------------- */

enum coir_http_body_state {
    COIR_HTTP_BODY_DATA,     /* more data may come */
    COIR_HTTP_BODY_TRAILERS, /* trailers follow: coir_http_parse_trailers() */
    COIR_HTTP_BODY_DONE      /* what follows is another message */
};

/* Where in a body one is. Its members are private, but for `left`. */
typedef struct coir_http_body {
    const coir_http_options *options;
    uint64_t left;     /* bytes of data that come next, in one piece: of the
                          chunk or the body; until the close: at most */
    uint64_t total;    /* data of chunks so far, with `left` */
    uint32_t overhead; /* not yet paid for by data */
    uint32_t line;     /* bytes of the size line */
    uint8_t framing;
    uint8_t state; /* enum coir_http_body_state */
    uint8_t step;
    uint8_t digits;
} coir_http_body;

/* The body that follows `head`; of a chunked one without a head: NULL. */
COIR_API void coir_http_body_init(coir_http_body *body,
                                  const coir_http_head *head,
                                  const coir_http_options *options);

/* Take what comes next of a body: up to its next piece of data and with this.
 * Returns the bytes used, all of `len` unless data or the body end before;
 * `data` (an offset into buf) are those of them that are data, maybe none.
 * Call again with the rest, until it is used up or the state is not
 * COIR_HTTP_BODY_DATA any more; then it returns 0. Bytes used are not needed
 * any more, however they were split. Returns an enum coir_http_error, too. */
COIR_API ssize_t coir_http_body_next(coir_http_body *body, const char *buf,
                                     size_t len, coir_http_span *data);

/* All of that at once, in place: data move together to buf[0 .. *out - 1].
 * Returns the bytes used; what follows them stays where it is. */
COIR_API ssize_t coir_http_body_decode(coir_http_body *body, char *buf,
                                       size_t len, size_t *out);

/* `n` of body->left bytes came another way, as by a read into the memory of
 * whom they are for. */
COIR_API void coir_http_body_skip(coir_http_body *body, uint64_t n);

/* The connection was closed: 0 if the body was complete, or is now;
 * COIR_HTTP_ECUT. */
COIR_API int coir_http_body_eof(coir_http_body *body);

/* Parse the trailers of a chunked body, in state COIR_HTTP_BODY_TRAILERS, as a
 * head's fields: they lie in one piece, into `fields` and `count` of `head`,
 * which is another one than that of the message: a trailer never counts as a
 * field of a head. `parser` is a fresh one. Returns the bytes used, with those
 * of the empty line, and the body is done; COIR_EAGAIN; an error. Fields that
 * frame, route, or say how to process a message are refused
 * (RFC 9110, 6.5.1). */
COIR_API ssize_t coir_http_parse_trailers(coir_http_body *body,
                                          coir_http_parser *parser,
                                          const char *buf, size_t len,
                                          coir_http_head *head);

/* --- targets ------------------------------------------------------------- */

/* Decode %XX into `out`, which has room for `len` bytes and may be `in`.
 * What is no such escape stays as it is. Returns the bytes written. */
COIR_API size_t coir_http_percent_decode(const char *in, size_t len,
                                         char *out);

/* --- writing ------------------------------------------------------------- */

/* May this be written as a field? 0; COIR_HTTP_ENAME; COIR_HTTP_ECR,
 * COIR_HTTP_ELF, COIR_HTTP_ENUL, COIR_HTTP_ECONTROL of the value (with CR or
 * LF in it a response would be split). */
COIR_API int coir_http_check_field(const char *name, size_t name_len,
                                   const char *value, size_t value_len);

/* May this be written as a reason phrase? 0 or COIR_HTTP_EREASON. */
COIR_API int coir_http_check_reason(const char *reason, size_t len);

/* Is it a token, as methods and names are? */
COIR_API int coir_http_is_token(const char *text, size_t len);

/* Fields that belong to one connection and are the server's to write:
 * Connection, Keep-Alive, Proxy-Connection, Proxy-Authenticate,
 * Proxy-Authorization, TE, Trailer, Transfer-Encoding, Upgrade. */
COIR_API int coir_http_is_hop_by_hop(int id);

/* The id of a method: enum coir_http_method. */
COIR_API int coir_http_method_id(const char *method, size_t len);

/* "GET" of COIR_HTTP_GET; "" of others. */
COIR_API const char *coir_http_method_name(int method);

/* The registered reason: "Not Found" of 404; "" if there is none. */
COIR_API const char *coir_http_reason(int status);

/* May a response have a body? Not to HEAD, not with 1xx, 204, 304, nor 2xx to
 * CONNECT. */
COIR_API int coir_http_may_have_body(int method, int status);

#define COIR_HTTP_DATE_SIZE 30

/* Seconds since 1970 as "Sun, 06 Nov 1994 08:49:37 GMT", with a NUL. Years 0
 * to 9999; others are shown as the nearest. */
COIR_API void coir_http_date(int64_t seconds, char out[COIR_HTTP_DATE_SIZE]);

/* The date in any of the three formats (RFC 9110, 5.6.7). Returns 0 or
 * COIR_EINVAL. `now` tells the century of a year of two digits. */
COIR_API int coir_http_parse_date(const char *text, size_t len, int64_t now,
                                  int64_t *seconds);

#define COIR_HTTP_CHUNK_SIZE 18

/* The line before a chunk of `size` bytes: "1f4\r\n". Returns its length.
 * Behind the data goes CR LF; behind all of them "0\r\n\r\n". */
COIR_API size_t coir_http_chunk_head(uint64_t size,
                                     char out[COIR_HTTP_CHUNK_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
