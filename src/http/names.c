/* names.c - names of fields, methods and statuses.
 *
 * Names are found by a hash without collisions: of the length and four of the
 * bytes, of any case. `MULTIPLIER` was searched for; a new name in
 * COIR_HTTP_FIELDS takes another one, see http.every_name_has_its_id. */
#include "http/internal.h"

#include <assert.h>
#include <string.h>

#define MULTIPLIER UINT32_C(0xec9a2d77)

static const struct {
    const char *text;
    uint8_t len;
} names[COIR_FIELD_IDS] = {[COIR_FIELD_OTHER] = {"", 0},
#define NAME(id, text) [id] = {text, sizeof(text) - 1},
                           COIR_HTTP_FIELDS(NAME)
#undef NAME
};

/* By hash: the id. By id: the name in lower case. Written before main(). */
static uint8_t slots[256];
static char lower[COIR_FIELD_IDS][32];

_Static_assert(COIR_FIELD_IDS <= 256, "an id is a byte");

static inline uint32_t
hash(const char *s, size_t len)
{
    uint32_t bytes = (uint32_t)(uint8_t)s[0] |
                     (uint32_t)(uint8_t)s[len / 2] << 8 |
                     (uint32_t)(uint8_t)s[len - 2] << 16 |
                     (uint32_t)(uint8_t)s[len - 1] << 24;
    return ((bytes | UINT32_C(0x20202020)) + (uint32_t)len) * MULTIPLIER >> 24;
}

__attribute__((constructor)) static void
fill_slots(void)
{
    for (unsigned id = 1; id < COIR_FIELD_IDS; id++) {
        uint8_t *slot = &slots[hash(names[id].text, names[id].len)];
        assert(*slot == 0 || *slot == id);
        *slot = (uint8_t)id;
        for (size_t i = 0; i < names[id].len; i++)
            lower[id][i] = coir__lower(names[id].text[i]);
    }
}

static inline uint64_t
load8(const char *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

static inline uint32_t
load4(const char *p)
{
    uint32_t x;
    memcpy(&x, p, 4);
    return x;
}

/* Is a token the same as one of letters and hyphens in lower case? Among the
 * bytes of tokens, only a letter in upper case becomes one of these with the
 * bit 0x20. */
static inline int
same_token(const char *name, const char *text, size_t len)
{
    const uint64_t bits8 = UINT64_C(0x2020202020202020);
    const uint32_t bits4 = UINT32_C(0x20202020);
    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8) {
            if ((load8(name + i) | bits8) != load8(text + i))
                return 0;
        }
        return (load8(name + len - 8) | bits8) == load8(text + len - 8);
    }
    if (len >= 4)
        return (load4(name) | bits4) == load4(text) &&
               (load4(name + len - 4) | bits4) == load4(text + len - 4);
    for (size_t i = 0; i < len; i++) {
        if ((name[i] | 0x20) != text[i])
            return 0;
    }
    return 1;
}

int
coir__http_known(const char *name, size_t len)
{
    if (coir__unlikely(len < 2 || len >= sizeof(lower[0])))
        return COIR_FIELD_OTHER;
    unsigned id = slots[hash(name, len)];
    if (names[id].len != len || !same_token(name, lower[id], len))
        return COIR_FIELD_OTHER;
    return (int)id;
}

int
coir_http_field_id(const char *name, size_t len)
{
    int id = coir__http_known(name, len);
    return coir_http_equal(name, len, names[id].text, names[id].len)
               ? id
               : COIR_FIELD_OTHER;
}

const char *
coir_http_field_name(int id)
{
    return id > 0 && id < COIR_FIELD_IDS ? names[id].text : "";
}

int
coir_http_is_hop_by_hop(int id)
{
    switch (id) {
    case COIR_FIELD_CONNECTION:
    case COIR_FIELD_KEEP_ALIVE:
    case COIR_FIELD_PROXY_AUTHENTICATE:
    case COIR_FIELD_PROXY_AUTHORIZATION:
    case COIR_FIELD_PROXY_CONNECTION:
    case COIR_FIELD_TE:
    case COIR_FIELD_TRAILER:
    case COIR_FIELD_TRANSFER_ENCODING:
    case COIR_FIELD_UPGRADE:
        return 1;
    default:
        return 0;
    }
}

/* --- looking up ---------------------------------------------------------- */

const coir_http_field *
coir_http_find(const coir_http_head *head, int id,
               const coir_http_field *after)
{
    assert(id > 0 && id < COIR_FIELD_IDS);
    uint32_t i = after != NULL ? (uint32_t)(after - head->fields) + 1
                               : head->first[id] - 1U;
    for (; i < head->count; i++) {
        if (head->fields[i].id == (uint32_t)id)
            return &head->fields[i];
    }
    return NULL;
}

const coir_http_field *
coir_http_find_name(const coir_http_head *head, const char *buf,
                    const char *name, size_t len, const coir_http_field *after)
{
    size_t i = after != NULL ? (size_t)(after - head->fields) + 1 : 0;
    for (; i < head->count; i++) {
        const coir_http_field *f = &head->fields[i];
        if (coir_http_equal(buf + f->name.at, f->name.len, name, len))
            return f;
    }
    return NULL;
}

int
coir_http_has_token(const coir_http_head *head, const char *buf, int id,
                    const char *token)
{
    size_t len = strlen(token);
    const coir_http_field *f = NULL;
    while ((f = coir_http_find(head, id, f)) != NULL) {
        const char *value = buf + f->value.at;
        coir_http_span item;
        size_t at = 0;
        while (coir_http_list_next(value, f->value.len, &at, &item)) {
            if (coir_http_equal(value + item.at, item.len, token, len))
                return 1;
        }
    }
    return 0;
}

/* --- methods ------------------------------------------------------------- */

static const struct {
    const char *text;
    uint8_t len;
} methods[] = {[COIR_HTTP_OTHER] = {"", 0},
#define METHOD(id, text) [id] = {text, sizeof(text) - 1},
               COIR_HTTP_METHODS(METHOD)
#undef METHOD
};

#define METHODS (sizeof(methods) / sizeof(methods[0]))

int
coir_http_method_id(const char *method, size_t len)
{
    if (coir__likely(len == 3 && memcmp(method, "GET", 3) == 0))
        return COIR_HTTP_GET;
    for (size_t id = 1; id < METHODS; id++) {
        if (len == methods[id].len &&
            memcmp(method, methods[id].text, len) == 0)
            return (int)id;
    }
    return COIR_HTTP_OTHER;
}

const char *
coir_http_method_name(int method)
{
    return method > 0 && (size_t)method < METHODS ? methods[method].text : "";
}

/* --- statuses ------------------------------------------------------------ */

/* The registry of status codes (RFC 9110, 15, and those after it). */
#define REASONS(X)                                                            \
    X(100, "Continue")                                                        \
    X(101, "Switching Protocols")                                             \
    X(102, "Processing")                                                      \
    X(103, "Early Hints")                                                     \
    X(200, "OK")                                                              \
    X(201, "Created")                                                         \
    X(202, "Accepted")                                                        \
    X(203, "Non-Authoritative Information")                                   \
    X(204, "No Content")                                                      \
    X(205, "Reset Content")                                                   \
    X(206, "Partial Content")                                                 \
    X(207, "Multi-Status")                                                    \
    X(208, "Already Reported")                                                \
    X(226, "IM Used")                                                         \
    X(300, "Multiple Choices")                                                \
    X(301, "Moved Permanently")                                               \
    X(302, "Found")                                                           \
    X(303, "See Other")                                                       \
    X(304, "Not Modified")                                                    \
    X(305, "Use Proxy")                                                       \
    X(307, "Temporary Redirect")                                              \
    X(308, "Permanent Redirect")                                              \
    X(400, "Bad Request")                                                     \
    X(401, "Unauthorized")                                                    \
    X(402, "Payment Required")                                                \
    X(403, "Forbidden")                                                       \
    X(404, "Not Found")                                                       \
    X(405, "Method Not Allowed")                                              \
    X(406, "Not Acceptable")                                                  \
    X(407, "Proxy Authentication Required")                                   \
    X(408, "Request Timeout")                                                 \
    X(409, "Conflict")                                                        \
    X(410, "Gone")                                                            \
    X(411, "Length Required")                                                 \
    X(412, "Precondition Failed")                                             \
    X(413, "Content Too Large")                                               \
    X(414, "URI Too Long")                                                    \
    X(415, "Unsupported Media Type")                                          \
    X(416, "Range Not Satisfiable")                                           \
    X(417, "Expectation Failed")                                              \
    X(418, "I'm a Teapot")                                                    \
    X(421, "Misdirected Request")                                             \
    X(422, "Unprocessable Content")                                           \
    X(423, "Locked")                                                          \
    X(424, "Failed Dependency")                                               \
    X(425, "Too Early")                                                       \
    X(426, "Upgrade Required")                                                \
    X(428, "Precondition Required")                                           \
    X(429, "Too Many Requests")                                               \
    X(431, "Request Header Fields Too Large")                                 \
    X(451, "Unavailable For Legal Reasons")                                   \
    X(500, "Internal Server Error")                                           \
    X(501, "Not Implemented")                                                 \
    X(502, "Bad Gateway")                                                     \
    X(503, "Service Unavailable")                                             \
    X(504, "Gateway Timeout")                                                 \
    X(505, "HTTP Version Not Supported")                                      \
    X(506, "Variant Also Negotiates")                                         \
    X(507, "Insufficient Storage")                                            \
    X(508, "Loop Detected")                                                   \
    X(511, "Network Authentication Required")

const char *
coir_http_reason(int status)
{
    switch (status) {
#define CASE(code, text)                                                      \
    case code:                                                                \
        return text;
        REASONS(CASE)
#undef CASE
    default:
        return "";
    }
}
