/* target.c - request targets, and hosts.
 *
 * A host is a name, an IPv4 address, which is a name as far as grammar goes,
 * or an address in brackets (RFC 3986, 3.2.2). A user before it is refused: it
 * serves only to deceive (RFC 9110, 4.2.4). */
#include "http/internal.h"

#include <arpa/inet.h>
#include <string.h>

/* The end of a name; NULL where an escape is broken. */
static const char *
name_end(const char *p, const char *end)
{
    for (;;) {
        while (p < end && coir__is(*p, COIR__HOST))
            p++;
        if (coir__likely(p == end || *p != '%'))
            return p;
        if (end - p < 3 || !coir__is(p[1], COIR__HEX) ||
            !coir__is(p[2], COIR__HEX))
            return NULL;
        p += 3;
    }
}

/* "v1.anything" */
static int
is_future_address(const char *p, const char *end)
{
    const char *digits = ++p;
    while (p < end && coir__is(*p, COIR__HEX))
        p++;
    if (p == digits || p == end || *p++ != '.' || p == end)
        return 0;
    while (p < end && (coir__is(*p, COIR__HOST) || *p == ':'))
        p++;
    return p == end;
}

static int
is_address(const char *p, const char *end)
{
    if (p < end && (*p == 'v' || *p == 'V'))
        return is_future_address(p, end);
    char text[INET6_ADDRSTRLEN];
    size_t len = (size_t)(end - p);
    if (len >= sizeof(text))
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (!coir__is(p[i], COIR__HEX) && p[i] != ':' && p[i] != '.')
            return 0;
        text[i] = p[i];
    }
    text[len] = '\0';
    struct in6_addr address;
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* The end of a host; NULL if it is none. */
static const char *
host_end(const char *p, const char *end)
{
    if (p == end || *p != '[')
        return name_end(p, end);
    const char *close = memchr(p, ']', (size_t)(end - p));
    if (close == NULL || !is_address(p + 1, close))
        return NULL;
    return close + 1;
}

/* Digits; none at all is no port. Returns -2 if it is not valid. */
static int32_t
port_value(const char *p, const char *end)
{
    int32_t port = p == end ? -1 : 0;
    for (; p < end; p++) {
        if (!coir__is(*p, COIR__DIGIT))
            return -2;
        port = port * 10 + (*p - '0');
        if (port > 65535)
            return -2;
    }
    return port;
}

int
coir__http_authority(coir_http_head *head, const char *buf,
                     coir_http_span authority, int error)
{
    const char *p = buf + authority.at, *end = p + authority.len;
    const char *host = host_end(p, end);
    if (host == NULL)
        return error;
    int32_t port = -1;
    if (host < end) {
        port = *host == ':' ? port_value(host + 1, end) : -2;
        if (port == -2)
            return error;
    }
    head->authority = authority;
    head->host = (coir_http_span){authority.at, (uint32_t)(host - p)};
    head->port = port;
    return 0;
}

static coir_http_span
span(const char *buf, const char *p, const char *end)
{
    return (coir_http_span){(uint32_t)(p - buf), (uint32_t)(end - p)};
}

/* What begins at `p`: a path and maybe a query. */
static void
path_and_query(coir_http_head *head, const char *buf, const char *p,
               const char *end)
{
    const char *mark = memchr(p, '?', (size_t)(end - p));
    head->path = span(buf, p, mark != NULL ? mark : end);
    if (mark != NULL)
        head->query = span(buf, mark + 1, end);
}

/* Where "://" begins behind a scheme; NULL. */
static const char *
scheme_end(const char *p, const char *end)
{
    if (!coir__is(*p, COIR__ALPHA))
        return NULL;
    while (p < end && (coir__is(*p, COIR__ALPHA | COIR__DIGIT) || *p == '+' ||
                       *p == '-' || *p == '.'))
        p++;
    return end - p >= 3 && memcmp(p, "://", 3) == 0 ? p : NULL;
}

static int
absolute(coir_http_head *head, const char *buf, const char *p, const char *end)
{
    const char *colon = scheme_end(p, end);
    if (colon == NULL)
        return COIR_HTTP_ETARGET;
    const char *host = colon + 3, *slash = host;
    while (slash < end && *slash != '/' && *slash != '?')
        slash++;
    int err = coir__http_authority(head, buf, span(buf, host, slash),
                                   COIR_HTTP_EAUTHORITY);
    if (err == 0 && head->host.len == 0) /* RFC 9110, 4.2.1 */
        err = COIR_HTTP_EAUTHORITY;
    if (err < 0)
        return err;
    head->form = COIR_HTTP_ABSOLUTE;
    head->scheme = span(buf, p, colon);
    path_and_query(head, buf, slash, end);
    return 0;
}

int
coir__http_target(coir_http_head *head, const char *buf)
{
    const char *p = buf + head->target.at, *end = p + head->target.len;
    if (head->method_id == COIR_HTTP_CONNECT) {
        if (*p == '/' || scheme_end(p, end) != NULL)
            return COIR_HTTP_EFORM;
        int err = coir__http_authority(head, buf, head->target,
                                       COIR_HTTP_EAUTHORITY);
        if (err == 0 && (head->host.len == 0 || head->port < 0))
            err = COIR_HTTP_EAUTHORITY;
        head->form = COIR_HTTP_AUTHORITY;
        return err;
    }
    if (*p == '/') {
        head->form = COIR_HTTP_ORIGIN;
        path_and_query(head, buf, p, end);
        return 0;
    }
    if (*p == '*' && end - p == 1) {
        head->form = COIR_HTTP_ASTERISK;
        return head->method_id == COIR_HTTP_OPTIONS ? 0 : COIR_HTTP_EFORM;
    }
    return absolute(head, buf, p, end);
}
