/* test_http_parse.c - the parser of coir/http.h. */
#include <coir/http.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

/* --- memory that ends where a message ends ------------------------------- */

#define ROOM 262144
#define PAGE 65536 /* or less */

static char *room_end;

/* `len` bytes before a page that cannot be read. It stays mapped: it is made
 * without the call that the harness counts. */
static char *
guarded(const char *text, size_t len)
{
    if (room_end == NULL) {
        long room =
            syscall(SYS_mmap, NULL, ROOM + PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(room != -1);
        room_end = (char *)room + ROOM;
        CHECK_EQ(mprotect(room_end, PAGE, PROT_NONE), 0);
    }
    CHECK(len <= ROOM);
    return len > 0 ? memcpy(room_end - len, text, len) : room_end;
}

/* --- parsing in pieces --------------------------------------------------- */

#define FIELDS 200

typedef struct message {
    const char *text;
    size_t len;
    int response;
    int method; /* of the request of a response */
    coir_http_options options;
} message;

typedef struct result {
    ssize_t used;
    coir_http_head head;
    coir_http_field fields[FIELDS];
} result;

static ssize_t
parse_once(const message *m, coir_http_parser *parser, const char *buf,
           size_t len, result *r)
{
    r->head.fields = r->fields;
    r->head.capacity = FIELDS;
    if (m->response)
        return coir_http_parse_response(parser, buf, len, m->method, &r->head);
    return coir_http_parse_request(parser, buf, len, &r->head);
}

/* In two pieces, or in as many as there are bytes if `step`. What the head
 * was written to is another one each time. */
static ssize_t
parse_pieces(const message *m, size_t split, size_t step, result *out)
{
    coir_http_parser parser;
    coir_http_parser_init(&parser, &m->options);
    size_t len = split;
    for (;;) {
        result r;
        memset(&r, 0xa5, sizeof(r));
        char *buf = guarded(m->text, len);
        r.used = parse_once(m, &parser, buf, len, &r);
        if (r.used != COIR_EAGAIN || len == m->len) {
            *out = r;
            return r.used;
        }
        len = step == 0 || m->len - len < step ? m->len : len + step;
    }
}

static int
same_head(const result *a, const result *b)
{
    coir_http_head x = a->head, y = b->head;
    x.fields = y.fields = NULL;
    return memcmp(&x, &y, sizeof(x)) == 0 &&
           memcmp(a->fields, b->fields, x.count * sizeof(a->fields[0])) == 0;
}

/* Split at every byte, and byte by byte: the same. */
static result
parse_all(const message *m)
{
    static result whole, other;
    (void)parse_pieces(m, m->len, 0, &whole);
    size_t stride = m->len > 2000 ? m->len / 100 : 1;
    for (size_t split = 0; split < m->len; split += stride) {
        (void)parse_pieces(m, split, 0, &other);
        CHECK_EQ(other.used, whole.used);
        if (whole.used > 0)
            CHECK(same_head(&whole, &other));
    }
    (void)parse_pieces(m, 0, m->len > 20000 ? 37 : 1, &other);
    CHECK_EQ(other.used, whole.used);
    if (whole.used > 0)
        CHECK(same_head(&whole, &other));
    return whole;
}

static ssize_t
outcome(const char *text, unsigned flags)
{
    message m = {.text = text, .len = strlen(text), .options.flags = flags};
    return parse_all(&m).used;
}

/* A text that is refused, and why. */
#define REFUSED(error, text) CHECK_EQ(outcome(text, 0), error)
#define ACCEPTED(text) CHECK_EQ(outcome(text, 0), sizeof(text) - 1)

static const char *const begin = "GET / HTTP/1.1\r\nHost: a\r\n";

/* With a field, or several. */
static ssize_t
with_fields(const char *fields, unsigned flags)
{
    char text[4096];
    int n = snprintf(text, sizeof(text), "%s%s\r\n\r\n", begin, fields);
    CHECK(n > 0 && (size_t)n < sizeof(text));
    ssize_t used = outcome(text, flags);
    return used == n ? 0 : used;
}

#define FIELD_REFUSED(error, fields) CHECK_EQ(with_fields(fields, 0), error)
#define FIELD_ACCEPTED(fields) CHECK_EQ(with_fields(fields, 0), 0)

static result
parsed(const char *text)
{
    message m = {.text = text, .len = strlen(text)};
    result r = parse_all(&m);
    CHECK_EQ(r.used, m.len);
    return r;
}

static void
check_span(const char *text, coir_http_span span, const char *expected)
{
    char got[512];
    CHECK(span.len < sizeof(got));
    memcpy(got, text + span.at, span.len);
    got[span.len] = '\0';
    CHECK_STR(got, expected);
}

/* --- request lines ------------------------------------------------------- */

TEST(http, a_request_is_taken_apart)
{
    const char *text = "GET /a/b%20c?x=1&y HTTP/1.1\r\n"
                       "Host: example.com:8080\r\n"
                       "User-Agent:\t x y \t\r\n"
                       "X-Other_1:\r\n"
                       "\r\n";
    result r = parsed(text);
    const coir_http_head *h = &r.head;
    check_span(text, h->method, "GET");
    CHECK_EQ(h->method_id, COIR_HTTP_GET);
    CHECK_EQ(h->version, 11);
    CHECK_EQ(h->form, COIR_HTTP_ORIGIN);
    check_span(text, h->target, "/a/b%20c?x=1&y");
    check_span(text, h->path, "/a/b%20c");
    check_span(text, h->query, "x=1&y");
    check_span(text, h->authority, "example.com:8080");
    check_span(text, h->host, "example.com");
    CHECK_EQ(h->port, 8080);
    CHECK_EQ(h->framing, COIR_HTTP_NO_BODY);
    CHECK_EQ(h->content_length, -1);
    CHECK_EQ(h->flags, COIR_HTTP_KEEP_ALIVE);
    CHECK_EQ(h->count, 3);
    CHECK_EQ(r.fields[0].id, COIR_FIELD_HOST);
    CHECK_EQ(r.fields[1].id, COIR_FIELD_USER_AGENT);
    check_span(text, r.fields[1].name, "User-Agent");
    check_span(text, r.fields[1].value, "x y");
    CHECK_EQ(r.fields[2].id, COIR_FIELD_OTHER);
    check_span(text, r.fields[2].name, "X-Other_1");
    CHECK_EQ(r.fields[2].value.len, 0);
}

TEST(http, bytes_behind_a_head_are_left_alone)
{
    const char *text =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
        "abcGET / HTTP/1.1\r\n";
    message m = {.text = text, .len = strlen(text)};
    result r;
    CHECK_EQ(parse_pieces(&m, m.len, 0, &r), strstr(text, "abc") - text);
    CHECK_EQ(r.head.framing, COIR_HTTP_LENGTH);
    CHECK_EQ(r.head.content_length, 3);
}

TEST(http, a_parser_goes_on_with_the_next_head)
{
    const char *text = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                       "GET /22 HTTP/1.1\r\nHost: a\r\n\r\n";
    size_t len = strlen(text), at = 0;
    coir_http_parser parser;
    coir_http_parser_init(&parser, NULL);
    message m = {0};
    result none;
    CHECK_EQ(parse_once(&m, &parser, NULL, 0, &none), COIR_EAGAIN);
    for (size_t n = 1; n <= 2; n++) {
        result r;
        ssize_t used = COIR_EAGAIN;
        for (size_t end = at; used == COIR_EAGAIN; end++)
            used = parse_once(&m, &parser, text + at, end - at, &r);
        CHECK(used > 0);
        CHECK_EQ(r.head.path.len, n + 1);
        at += (size_t)used;
    }
    CHECK_EQ(at, len);
}

TEST(http, methods_are_tokens)
{
    result r = parsed("get / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(r.head.method_id, COIR_HTTP_OTHER);
    r = parsed("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(r.head.method.len, 8);
    ACCEPTED("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.0\r\n\r\n");
    REFUSED(COIR_HTTP_EMETHODLEN,
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456 / HTTP/1.0\r\n\r\n");
    REFUSED(COIR_HTTP_EMETHOD, "G(T / HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EMETHOD, " GET / HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EMETHOD, "GET\t/ HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EMETHOD, "\x16\x03\x01\x02");
    REFUSED(COIR_HTTP_EREQUEST, "GET\r\n");
}

TEST(http, a_request_line_has_three_parts)
{
    REFUSED(COIR_HTTP_EREQUEST, "GET /\r\n");
    REFUSED(COIR_HTTP_EREQUEST, "GET  / HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EVERSION, "GET /  HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EVERSION, "GET / \r\n");
    REFUSED(COIR_HTTP_EVERSION, "GET / x HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EREQUEST, "GET / HTTP/1.1 \r\n");
    REFUSED(COIR_HTTP_EREQUEST, "GET / HTTP/1.10\r\n");
    REFUSED(COIR_HTTP_ECR, "GET / HTTP/1.1\rHost: a\r\n");
    REFUSED(COIR_HTTP_ELF, "GET / HTTP/1.1\nHost: a\n\n");
}

TEST(http, versions)
{
    REFUSED(COIR_HTTP_EVERSION, "GET / http/1.1\r\n");
    REFUSED(COIR_HTTP_EVERSION, "GET / HTTP/1\r\n");
    REFUSED(COIR_HTTP_EVERSION, "GET / HTTP/1.x\r\n");
    REFUSED(COIR_HTTP_EVERSION, "GET / HTTP/x.1\r\n");
    REFUSED(COIR_HTTP_EUNSUPPORTED, "GET / HTTP/0.9\r\n");
    REFUSED(COIR_HTTP_EUNSUPPORTED, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    CHECK_EQ(parsed("GET / HTTP/1.0\r\n\r\n").head.version, 10);
    CHECK_EQ(parsed("GET / HTTP/1.2\r\nHost: a\r\n\r\n").head.version, 11);
}

TEST(http, one_empty_line_may_be_first)
{
    ACCEPTED("\r\nGET / HTTP/1.0\r\n\r\n");
    REFUSED(COIR_HTTP_EEMPTY, "\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    REFUSED(COIR_HTTP_ECR, "\rGET / HTTP/1.0\r\n\r\n");
    REFUSED(COIR_HTTP_ELF, "\nGET / HTTP/1.0\r\n\r\n");
}

TEST(http, forms_of_targets)
{
    result r = parsed("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(r.head.form, COIR_HTTP_ASTERISK);
    CHECK_EQ(r.head.path.len, 0);
    REFUSED(COIR_HTTP_EFORM, "GET * HTTP/1.1\r\nHost: a\r\n\r\n");

    const char *text = "CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    r = parsed(text);
    CHECK_EQ(r.head.form, COIR_HTTP_AUTHORITY);
    check_span(text, r.head.host, "b.example");
    CHECK_EQ(r.head.port, 443);
    REFUSED(COIR_HTTP_EFORM, "CONNECT / HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EFORM, "CONNECT http://a:1/ HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EAUTHORITY, "CONNECT a HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EAUTHORITY, "CONNECT :443 HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EAUTHORITY, "CONNECT a:65536 HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_ETARGET, "GET a:443 HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_ETARGET, "GET a HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_ETARGET, "GET ?a HTTP/1.1\r\n");
}

TEST(http, the_absolute_form_wins_over_host)
{
    const char *text =
        "GET http://b.example:81/p?q HTTP/1.1\r\nHost: a:82\r\n\r\n";
    result r = parsed(text);
    CHECK_EQ(r.head.form, COIR_HTTP_ABSOLUTE);
    check_span(text, r.head.scheme, "http");
    check_span(text, r.head.authority, "b.example:81");
    check_span(text, r.head.host, "b.example");
    CHECK_EQ(r.head.port, 81);
    check_span(text, r.head.path, "/p");
    check_span(text, r.head.query, "q");
    text = "GET http://b?q HTTP/1.0\r\n\r\n";
    r = parsed(text);
    CHECK_EQ(r.head.path.len, 0);
    check_span(text, r.head.query, "q");
    ACCEPTED("GET http://[2001:db8::1]:80 HTTP/1.0\r\n\r\n");
    REFUSED(COIR_HTTP_EAUTHORITY, "GET http:///p HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EAUTHORITY, "GET http://u@b/ HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EAUTHORITY, "GET http://b:x/ HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EAUTHORITY, "GET http://[::1/ HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_EHOST, "GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n");
}

TEST(http, bytes_of_targets)
{
    REFUSED(COIR_HTTP_ETARGET, "GET /a#b HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_ETARGET, "GET /a\x7f HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_ETARGET, "GET /\t HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_ETARGET, "GET /\xc3\xbc HTTP/1.1\r\n");
    REFUSED(COIR_HTTP_ETARGET,
            "GET /0123456789abcdef0123456789\x80 HTTP/1.1\r\n");
    const char *raw = "GET /0123456789abcdef\xc3\xbc HTTP/1.0\r\n\r\n";
    CHECK_EQ(outcome(raw, COIR_HTTP_RAW_TARGET), strlen(raw));
    CHECK_EQ(outcome("GET /\x7f HTTP/1.0\r\n", COIR_HTTP_RAW_TARGET),
             COIR_HTTP_ETARGET);
    /* What browsers send as it is. */
    ACCEPTED("GET /a|b?x={\"y\":[1]}^`\\<> HTTP/1.0\r\n\r\n");
}

/* --- fields -------------------------------------------------------------- */

TEST(http, names_are_tokens)
{
    FIELD_ACCEPTED("!#$%&'*+-.^_`|~09azAZ: x");
    FIELD_REFUSED(COIR_HTTP_ENAME, ": x");
    FIELD_REFUSED(COIR_HTTP_ENAME, "a(b: x");
    FIELD_REFUSED(COIR_HTTP_ENAME, "a\x80: x");
    FIELD_REFUSED(COIR_HTTP_ENAME, "abcdefghijklmnopq@rst: x");
    FIELD_REFUSED(COIR_HTTP_ENAME, "a b: x");
    FIELD_REFUSED(COIR_HTTP_ECOLON, "abc");
    FIELD_REFUSED(COIR_HTTP_ESPACE, "abc : x");
    FIELD_REFUSED(COIR_HTTP_ESPACE, "Content-Length \t: 5");
}

TEST(http, values_have_no_controls)
{
    FIELD_ACCEPTED("a: \x80\xff\ttab and space~");
    FIELD_REFUSED(COIR_HTTP_ECONTROL, "a: x\x01y");
    FIELD_REFUSED(COIR_HTTP_ECONTROL, "a: 0123456789abcdef\x7f");
    FIELD_REFUSED(COIR_HTTP_ECONTROL, "a: \x0b");
    FIELD_REFUSED(COIR_HTTP_ECR, "a: x\ry");
    FIELD_REFUSED(COIR_HTTP_ECR, "a: x\r\r\n");
    FIELD_REFUSED(COIR_HTTP_ELF, "a: x\ny: z");
    message m = {.text = "GET / HTTP/1.1\r\na: x\0y\r\n\r\n", .len = 26};
    CHECK_EQ(parse_all(&m).used, COIR_HTTP_ENUL);
    for (int c = 1; c < 256; c++) {
        char field[] = "a: 0123456789abc?e";
        field[16] = (char)c;
        int ok = c >= 0x20 ? c != 0x7f : c == '\t';
        CHECK_EQ(with_fields(field, 0) == 0, ok);
    }
}

TEST(http, folded_fields)
{
    FIELD_REFUSED(COIR_HTTP_EFOLD, "a: x\r\n y");
    FIELD_REFUSED(COIR_HTTP_EFOLD, "a: x\r\n\ty");
    REFUSED(COIR_HTTP_EFOLD, "GET / HTTP/1.1\r\n Host: a\r\n\r\n");
    CHECK_EQ(outcome("GET / HTTP/1.1\r\n Host: a\r\n\r\n", COIR_HTTP_FOLDED),
             COIR_HTTP_EFOLD);
    message m = {.text = "GET / HTTP/1.0\r\na:\r\n x\r\n\t  \r\n y\r\n"
                         "b: z\r\n\r\n",
                 .options.flags = COIR_HTTP_FOLDED};
    m.len = strlen(m.text);
    result r = parse_all(&m);
    CHECK_EQ(r.used, m.len);
    CHECK_EQ(r.head.count, 2);
    check_span(room_end - m.len, r.fields[0].value, "x  \t     y");
}

TEST(http, bare_line_feeds_if_allowed)
{
    const char *text = "GET / HTTP/1.1\nHost: a\r\nb: c\n\n";
    CHECK_EQ(outcome(text, COIR_HTTP_BARE_LF), strlen(text));
    text = "\nGET / HTTP/1.0\n\n";
    CHECK_EQ(outcome(text, COIR_HTTP_BARE_LF), strlen(text));
    CHECK_EQ(outcome("\n\nGET / HTTP/1.0\n\n", COIR_HTTP_BARE_LF),
             COIR_HTTP_EEMPTY);
    CHECK_EQ(with_fields("a: b\rc: d", COIR_HTTP_BARE_LF), COIR_HTTP_ECR);
}

/* --- Host ---------------------------------------------------------------- */

static ssize_t
host(const char *value)
{
    char text[256];
    int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost:%s\r\n\r\n",
                     value);
    ssize_t used = outcome(text, 0);
    return used == n ? 0 : used;
}

TEST(http, one_host)
{
    REFUSED(COIR_HTTP_ENOHOST, "GET / HTTP/1.1\r\n\r\n");
    REFUSED(COIR_HTTP_ENOHOST, "GET http://a/ HTTP/1.1\r\n\r\n");
    ACCEPTED("GET / HTTP/1.0\r\n\r\n");
    const char *text = "GET / HTTP/1.1\r\n\r\n";
    CHECK_EQ(outcome(text, COIR_HTTP_NO_HOST), strlen(text));
    FIELD_REFUSED(COIR_HTTP_EHOSTS, "Host: a");
    FIELD_REFUSED(COIR_HTTP_EHOSTS, "x: y\r\nhOST: b");
    REFUSED(COIR_HTTP_EHOSTS, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
}

TEST(http, hosts_are_valid)
{
    static const char *const good[] = {
        "",        "a",           "a:",         "a:0",          "a:65535",
        "1.2.3.4", "a.b-c_d~e",   "a%2db",      "a!$&'()*+,;=", "[::1]",
        "[::1]:8", "[::1.2.3.4]", "[v1.a:b]:1", ":80",
    };
    static const char *const bad[] = {
        "a b",
        "a@b",
        "a/b",
        "a:65536",
        "a:x",
        "a:1:2",
        "a%2",
        "a%zz",
        "[::1",
        "[::g]",
        "[::1]a",
        "[]",
        "[v1]",
        "[v.a]",
        "a\xc3\xbc",
        "a\"b",
        "a<b>",
        "[::1%25eth0]",
        "a, b",
        "[1:2:3:4:5:6:7:8:9]",
        "a\\b",
        "a?b",
        "[v1.]",
        "a#b",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]",
        "[v1.a/]",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_EQ(host(good[i]), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_EQ(host(bad[i]), COIR_HTTP_EHOST);
}

/* --- framing ------------------------------------------------------------- */

TEST(http, content_lengths)
{
    const char *text =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807"
        "\r\n\r\n";
    result r = parsed(text);
    CHECK_EQ(r.head.content_length, INT64_MAX);
    CHECK_EQ(r.head.framing, COIR_HTTP_LENGTH);
    text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 000\r\n\r\n";
    r = parsed(text);
    CHECK_EQ(r.head.content_length, 0);
    CHECK_EQ(r.head.framing, COIR_HTTP_NO_BODY);
    FIELD_REFUSED(COIR_HTTP_EOVERFLOW, "Content-Length: 9223372036854775808");
    FIELD_REFUSED(COIR_HTTP_EOVERFLOW,
                  "Content-Length: 99999999999999999999999999999999");
    static const char *const bad[] = {"",      "+1",  "-1",  "0x10", "1 2",
                                      "1.0",   "1e3", " ",   "1_0",  "\"1\"",
                                      "1;a=b", "a",   "\xb2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char field[64];
        (void)snprintf(field, sizeof(field), "Content-Length: %s", bad[i]);
        CHECK_EQ(with_fields(field, 0), COIR_HTTP_ELENGTH);
    }
    FIELD_REFUSED(COIR_HTTP_ELENGTHS, "Content-Length: 5, 5");
    FIELD_REFUSED(COIR_HTTP_ELENGTHS, "Content-Length: 5,");
    FIELD_REFUSED(COIR_HTTP_ELENGTHS,
                  "Content-Length: 5\r\ncontent-length: 5");
}

TEST(http, equal_lengths_if_allowed)
{
    const unsigned same = COIR_HTTP_SAME_LENGTHS;
    CHECK_EQ(with_fields("Content-Length: 5, 5,5", same), 0);
    CHECK_EQ(with_fields("Content-Length: 5\r\nContent-Length: 05", same), 0);
    CHECK_EQ(with_fields("Content-Length: 5\r\nContent-Length: 6", same),
             COIR_HTTP_ELENGTHS);
    CHECK_EQ(with_fields("Content-Length: 5, 6", same), COIR_HTTP_ELENGTHS);
    CHECK_EQ(with_fields("Content-Length: ,", same), COIR_HTTP_ELENGTH);
    CHECK_EQ(with_fields("Content-Length: 5, x", same), COIR_HTTP_ELENGTH);
}

TEST(http, transfer_encodings)
{
    FIELD_ACCEPTED("Transfer-Encoding: chunked");
    FIELD_ACCEPTED("transfer-encoding:CHUNKED\t");
    FIELD_REFUSED(COIR_HTTP_ECODING, "Transfer-Encoding:");
    FIELD_REFUSED(COIR_HTTP_ECODING, "Transfer-Encoding: ,");
    FIELD_REFUSED(COIR_HTTP_ECODING, "Transfer-Encoding: chunked,");
    FIELD_REFUSED(COIR_HTTP_ECODING, "Transfer-Encoding: , chunked");
    FIELD_REFUSED(COIR_HTTP_ECODING, "Transfer-Encoding: \"chunked\"");
    FIELD_REFUSED(COIR_HTTP_ECODINGS, "Transfer-Encoding: chunked, chunked");
    FIELD_REFUSED(COIR_HTTP_ECODINGS,
                  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
    FIELD_REFUSED(COIR_HTTP_ECODINGS, "Transfer-Encoding: chunked, gzip");
    FIELD_REFUSED(COIR_HTTP_ECODINGS, "Transfer-Encoding: chunked;a=b");
    FIELD_REFUSED(COIR_HTTP_ECODINGS, "Transfer-Encoding: identity");
    FIELD_REFUSED(COIR_HTTP_ECODINGS, "Transfer-Encoding: xchunked");
    FIELD_REFUSED(COIR_HTTP_ECODINGS, "Transfer-Encoding: chunked x");
    FIELD_REFUSED(COIR_HTTP_EUNKNOWN, "Transfer-Encoding: gzip, chunked");
    FIELD_REFUSED(COIR_HTTP_EUNKNOWN,
                  "Transfer-Encoding: gzip;q=1\r\nTransfer-Encoding: chunked");
    FIELD_REFUSED(COIR_HTTP_EBOTH,
                  "Transfer-Encoding: chunked\r\nContent-Length: 5");
    FIELD_REFUSED(COIR_HTTP_EBOTH,
                  "Content-Length: x\r\nTransfer-Encoding: y");
    REFUSED(COIR_HTTP_EOLDCODING,
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    const char *text =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    CHECK_EQ(parsed(text).head.framing, COIR_HTTP_CHUNKED);
    CHECK_EQ(outcome(text, COIR_HTTP_NEED_LENGTH), COIR_HTTP_ENOLENGTH);
}

TEST(http, connect_has_no_body)
{
    REFUSED(COIR_HTTP_ECONNECT, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n"
                                "Content-Length: 1\r\n\r\n");
    REFUSED(COIR_HTTP_ECONNECT, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n"
                                "Transfer-Encoding: chunked\r\n\r\n");
    ACCEPTED("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
}

TEST(http, bodies_have_a_limit)
{
    message m = {.text = "POST / HTTP/1.0\r\nContent-Length: 100\r\n\r\n",
                 .options.max_body = 100};
    m.len = strlen(m.text);
    CHECK_EQ(parse_all(&m).used, m.len);
    m.options.max_body = 99;
    CHECK_EQ(parse_all(&m).used, COIR_HTTP_EBODYLEN);
}

static int
flags(const char *version, const char *fields)
{
    char text[512];
    (void)snprintf(text, sizeof(text),
                   "GET / HTTP/%s\r\nHost: a\r\n%s\r\n\r\n", version, fields);
    return parsed(text).head.flags;
}

TEST(http, connections_that_stay)
{
    CHECK_EQ(flags("1.1", "a: b"), COIR_HTTP_KEEP_ALIVE);
    CHECK_EQ(flags("1.1", "Connection: Close"), 0);
    CHECK_EQ(flags("1.1", "Connection: keep-alive, close"), 0);
    CHECK_EQ(flags("1.1", "Connection: a\r\nConnection: b,close"), 0);
    CHECK_EQ(flags("1.0", "a: b"), 0);
    CHECK_EQ(flags("1.0", "Connection: Keep-Alive"), COIR_HTTP_KEEP_ALIVE);
    CHECK_EQ(flags("1.0", "Connection: keep-alive,close"), 0);
    CHECK_EQ(flags("1.1", "Connection:"), COIR_HTTP_KEEP_ALIVE);
    CHECK_EQ(flags("1.1", "Connection: ,, x"), COIR_HTTP_KEEP_ALIVE);
    FIELD_REFUSED(COIR_HTTP_ECONNECTION, "Connection: close keep-alive");
    FIELD_REFUSED(COIR_HTTP_ECONNECTION, "Connection: \"close\"");
    FIELD_REFUSED(COIR_HTTP_ECONNECTION, "Connection: a\r\nConnection: b;c");
}

TEST(http, upgrades)
{
    const int both = COIR_HTTP_KEEP_ALIVE | COIR_HTTP_UPGRADE;
    CHECK_EQ(flags("1.1", "Connection: Upgrade\r\nUpgrade: websocket"), both);
    CHECK_EQ(flags("1.1", "Connection: keep-alive, upgrade\r\n"
                          "Upgrade: h2c, a/1.0"),
             both);
    CHECK_EQ(flags("1.1", "Connection: upgrade"), COIR_HTTP_KEEP_ALIVE);
    CHECK_EQ(flags("1.1", "Connection: upgrade\r\nUpgrade:"),
             COIR_HTTP_KEEP_ALIVE);
    CHECK_EQ(flags("1.1", "Upgrade: websocket"), COIR_HTTP_KEEP_ALIVE);
    CHECK_EQ(flags("1.0", "Connection: upgrade\r\nUpgrade: websocket"), 0);
    FIELD_REFUSED(COIR_HTTP_EUPGRADE, "Connection: upgrade\r\nUpgrade: a b");
    FIELD_REFUSED(COIR_HTTP_EUPGRADE, "Connection: upgrade\r\nUpgrade: a/");
    FIELD_REFUSED(COIR_HTTP_EUPGRADE, "Connection: upgrade\r\nUpgrade: a/b/c");
}

TEST(http, expectations)
{
    const int keep = COIR_HTTP_KEEP_ALIVE;
    CHECK_EQ(flags("1.1", "Expect: 100-Continue\r\nContent-Length: 1"),
             keep | COIR_HTTP_CONTINUE);
    CHECK_EQ(flags("1.1", "Expect: 100-continue"), keep);
    CHECK_EQ(flags("1.0", "Expect: 100-continue\r\nContent-Length: 1"), 0);
    CHECK_EQ(flags("1.0", "Expect: x"), 0);
    FIELD_REFUSED(COIR_HTTP_EEXPECT, "Expect: 100-continue, x");
    FIELD_REFUSED(COIR_HTTP_EEXPECT, "Expect:");
    FIELD_REFUSED(COIR_HTTP_EEXPECT, "Expect: 100-continue\r\nExpect: x");
}

/* --- limits -------------------------------------------------------------- */

/* PREFIX, then `n` times c, then SUFFIX. */
static char *
padded(const char *prefix, size_t n, const char *suffix)
{
    size_t before = strlen(prefix), room = before + n + strlen(suffix) + 1;
    char *text = malloc(room);
    CHECK(text != NULL);
    (void)snprintf(text, room, "%s", prefix);
    memset(text + before, 'c', n);
    (void)snprintf(text + before + n, room - before - n, "%s", suffix);
    return text;
}

static void
append(char *text, size_t room, const char *more)
{
    size_t len = strlen(text);
    CHECK(strlen(more) < room - len);
    (void)snprintf(text + len, room - len, "%s", more);
}

static ssize_t
padded_outcome(const char *prefix, size_t n, const char *suffix,
               coir_http_options options)
{
    char *text = padded(prefix, n, suffix);
    message m = {.text = text, .len = strlen(text), .options = options};
    ssize_t used = parse_all(&m).used;
    used = used == (ssize_t)m.len ? 0 : used;
    free(text);
    return used;
}

TEST(http, request_lines_have_a_limit)
{
    const char *suffix = " HTTP/1.0\r\n\r\n"; /* 11 of it in the line */
    coir_http_options small = {.max_line = 64}, normal = {0};
    CHECK_EQ(padded_outcome("GET /", 64 - 16, suffix, small), 0);
    CHECK_EQ(padded_outcome("GET /", 64 - 15, suffix, small),
             COIR_HTTP_ETARGETLEN);
    CHECK_EQ(padded_outcome("GET /", 8192 - 16, suffix, normal), 0);
    CHECK_EQ(padded_outcome("GET /", 8192 - 15, suffix, normal),
             COIR_HTTP_ETARGETLEN);
    /* What is wrong before the limit is said first. */
    CHECK_EQ(padded_outcome("GET /#", 100, suffix, small), COIR_HTTP_ETARGET);
    CHECK_EQ(padded_outcome("GET /", 100, "#", small), COIR_HTTP_ETARGETLEN);
}

TEST(http, fields_have_a_limit)
{
    const char *prefix = "GET / HTTP/1.0\r\na:";
    coir_http_options small = {.max_field = 32}, normal = {0};
    CHECK_EQ(padded_outcome(prefix, 28, "\r\n\r\n", small), 0);
    CHECK_EQ(padded_outcome(prefix, 29, "\r\n\r\n", small),
             COIR_HTTP_ELINELEN);
    CHECK_EQ(padded_outcome(prefix, 8188, "\r\n\r\n", normal), 0);
    CHECK_EQ(padded_outcome(prefix, 8189, "\r\n\r\n", normal),
             COIR_HTTP_ELINELEN);
    CHECK_EQ(padded_outcome("GET / HTTP/1.0\r\n", 40, ": a\r\n\r\n", small),
             COIR_HTTP_ELINELEN);
    CHECK_EQ(padded_outcome("GET / HTTP/1.0\r\na:\x01", 40, "\r\n", small),
             COIR_HTTP_ECONTROL);
    small.flags = COIR_HTTP_FOLDED;
    CHECK_EQ(padded_outcome(prefix, 20, "\r\n 789012\r\n\r\n", small),
             COIR_HTTP_ELINELEN);
    CHECK_EQ(padded_outcome(prefix, 20, "\r\n 78901\r\n\r\n", small), 0);
}

TEST(http, fields_are_counted)
{
    char text[2048] = "GET / HTTP/1.0\r\n";
    message m = {.text = text};
    for (int i = 0; i < 100; i++)
        append(text, sizeof(text), "a: b\r\n");
    append(text, sizeof(text), "\r\n");
    m.len = strlen(text);
    CHECK_EQ(parse_all(&m).used, m.len);
    m.options.max_fields = 99;
    CHECK_EQ(parse_all(&m).used, COIR_HTTP_EFIELDS);
    m.options.max_fields = 101;
    text[m.len - 2] = '\0';
    append(text, sizeof(text), "a: b\r\n\r\n");
    m.len = strlen(text);
    CHECK_EQ(parse_all(&m).used, m.len);
    m.options.max_fields = 0;
    CHECK_EQ(parse_all(&m).used, COIR_HTTP_EFIELDS);
    /* As many as there is room for. */
    coir_http_parser parser;
    coir_http_parser_init(&parser, NULL);
    coir_http_field fields[2];
    coir_http_head head = {.fields = fields, .capacity = 2};
    CHECK_EQ(coir_http_parse_request(&parser, text, m.len, &head),
             COIR_HTTP_EFIELDS);
}

TEST(http, heads_have_a_limit)
{
    const char *prefix = "GET / HTTP/1.0\r\na:";
    coir_http_options small = {.max_head = 64};
    CHECK_EQ(padded_outcome(prefix, 64 - 22, "\r\n\r\n", small), 0);
    CHECK_EQ(padded_outcome(prefix, 64 - 21, "\r\n\r\n", small),
             COIR_HTTP_EHEADLEN);
    coir_http_options large = {.max_field = 100000};
    CHECK_EQ(padded_outcome(prefix, 65536 - 22, "\r\n\r\n", large), 0);
    CHECK_EQ(padded_outcome(prefix, 65536 - 21, "\r\n\r\n", large),
             COIR_HTTP_EHEADLEN);
}

TEST(http, an_error_is_said_again)
{
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\na b: c\r\n";
    coir_http_parser parser;
    coir_http_parser_init(&parser, NULL);
    message m = {0};
    result r;
    CHECK_EQ(parse_once(&m, &parser, text, 20, &r), COIR_EAGAIN);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(parse_once(&m, &parser, text, strlen(text), &r),
                 COIR_HTTP_ENAME);
}

/* --- responses ----------------------------------------------------------- */

static result
answered(const char *text, int method, ssize_t used)
{
    message m = {
        .text = text, .len = strlen(text), .response = 1, .method = method};
    result r = parse_all(&m);
    CHECK_EQ(r.used, used == 0 ? (ssize_t)m.len : used);
    return r;
}

#define RESPONSE(text) answered(text, COIR_HTTP_GET, 0)
#define RESPONSE_REFUSED(error, text)                                         \
    (void)answered(text, COIR_HTTP_GET, error)

TEST(http, a_response_is_taken_apart)
{
    const char *text = "HTTP/1.1 404 Not \xc3\xa4 Found\r\n"
                       "Content-Length: 12\r\n\r\n";
    result r = RESPONSE(text);
    CHECK_EQ(r.head.status, 404);
    CHECK_EQ(r.head.version, 11);
    check_span(text, r.head.reason, "Not \xc3\xa4 Found");
    CHECK_EQ(r.head.framing, COIR_HTTP_LENGTH);
    CHECK_EQ(r.head.flags, COIR_HTTP_KEEP_ALIVE);
    r = RESPONSE("HTTP/1.1 999 \r\n\r\n");
    CHECK_EQ(r.head.reason.len, 0);
    CHECK_EQ(r.head.framing, COIR_HTTP_UNTIL_CLOSE);
    CHECK_EQ(r.head.flags, 0);
}

TEST(http, status_lines)
{
    RESPONSE_REFUSED(COIR_HTTP_ESTATUS, "HTTP/1.1 200\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ESTATUS, "HTTP/1.1 20 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ESTATUS, "HTTP/1.1 2000 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ESTATUS, "HTTP/1.1 099 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ESTATUS, "HTTP/1.1  200 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ESTATUS, "HTTP/1.1\t200 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ESTATUS, "HTTP/1.1 -20 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_EVERSION, "\r\nHTTP/1.1 200 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_EVERSION, "ICY 200 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_EUNSUPPORTED, "HTTP/2.0 200 OK\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_EREASON, "HTTP/1.1 200 O\x01K\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ELF, "HTTP/1.1 200 OK\n\n");
    RESPONSE_REFUSED(COIR_HTTP_ECR, "HTTP/1.1 200 OK\rx\n\n");
    message m = {.text = "HTTP/1.1 200\r\n\r\n",
                 .len = 16,
                 .response = 1,
                 .options.flags = COIR_HTTP_NO_REASON_SPACE};
    CHECK_EQ(parse_all(&m).used, 16);
    m.text = "HTTP/1.1 2000\r\n\r\n";
    CHECK_EQ(parse_all(&m).used, COIR_HTTP_ESTATUS);
    m = (message){.text = "HTTP/1.1 200 0123456789\r\n\r\n",
                  .len = 27,
                  .response = 1,
                  .options.max_line = 25};
    CHECK_EQ(parse_all(&m).used, 27);
    m.options.max_line = 24;
    CHECK_EQ(parse_all(&m).used, COIR_HTTP_ELINELEN);
}

static int
framing(const char *status, const char *fields, int method)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "HTTP/1.1 %s X\r\n%s\r\n", status,
                   fields);
    return answered(text, method, 0).head.framing;
}

TEST(http, bodies_of_responses)
{
    const char *length = "Content-Length: 5\r\n";
    const char *chunked = "Transfer-Encoding: chunked\r\n";
    CHECK_EQ(framing("200", length, COIR_HTTP_GET), COIR_HTTP_LENGTH);
    CHECK_EQ(framing("200", chunked, COIR_HTTP_GET), COIR_HTTP_CHUNKED);
    CHECK_EQ(framing("200", "", COIR_HTTP_GET), COIR_HTTP_UNTIL_CLOSE);
    CHECK_EQ(framing("200", "Content-Length: 0\r\n", COIR_HTTP_GET),
             COIR_HTTP_NO_BODY);
    CHECK_EQ(framing("200", length, COIR_HTTP_HEAD), COIR_HTTP_NO_BODY);
    CHECK_EQ(framing("200", chunked, COIR_HTTP_HEAD), COIR_HTTP_NO_BODY);
    CHECK_EQ(framing("204", length, COIR_HTTP_GET), COIR_HTTP_NO_BODY);
    CHECK_EQ(framing("304", length, COIR_HTTP_GET), COIR_HTTP_NO_BODY);
    CHECK_EQ(framing("100", "", COIR_HTTP_GET), COIR_HTTP_NO_BODY);
    CHECK_EQ(framing("200", length, COIR_HTTP_CONNECT), COIR_HTTP_NO_BODY);
    CHECK_EQ(framing("407", length, COIR_HTTP_CONNECT), COIR_HTTP_LENGTH);
    RESPONSE_REFUSED(COIR_HTTP_EBOTH, "HTTP/1.1 200 X\r\nContent-Length: 5\r\n"
                                      "Transfer-Encoding: chunked\r\n\r\n");
    RESPONSE_REFUSED(COIR_HTTP_ELENGTHS,
                     "HTTP/1.1 200 X\r\nContent-Length: 5\r\n"
                     "Content-Length: 6\r\n\r\n");
    result r = answered("HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n",
                        COIR_HTTP_HEAD, 0);
    CHECK_EQ(r.head.content_length, 5);
    r = RESPONSE("HTTP/1.1 101 X\r\nConnection: upgrade\r\n"
                 "Upgrade: websocket\r\n\r\n");
    CHECK_EQ(r.head.flags, COIR_HTTP_KEEP_ALIVE | COIR_HTTP_UPGRADE);
    r = RESPONSE("HTTP/1.1 426 X\r\nConnection: upgrade\r\n"
                 "Content-Length: 0\r\nUpgrade: websocket\r\n\r\n");
    CHECK_EQ(r.head.flags, COIR_HTTP_KEEP_ALIVE);
    RESPONSE_REFUSED(COIR_HTTP_ECONNECTION,
                     "HTTP/1.1 200 X\r\nConnection: a b\r\n\r\n");
    message m = {.text = "HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\n",
                 .response = 1,
                 .options.max_body = 5};
    m.len = strlen(m.text);
    CHECK_EQ(parse_all(&m).used, COIR_HTTP_EBODYLEN);
}

/* --- bodies -------------------------------------------------------------- */

typedef struct decoded {
    int error; /* or 0 */
    int state;
    size_t used;
    size_t len;
    char data[4096];
} decoded;

/* By pieces of `step` bytes; what is not used of one is not given again, but
 * for what trailers begin with. */
static void
decode_pieces(const char *text, size_t len, size_t step,
              const coir_http_options *options, int in_place, decoded *d)
{
    coir_http_body body;
    coir_http_body_init(&body, NULL, options);
    memset(d, 0, sizeof(*d));
    while (d->used < len && body.state == COIR_HTTP_BODY_DATA) {
        size_t n = len - d->used < step ? len - d->used : step;
        char *buf = guarded(text + d->used, n);
        ssize_t used;
        if (in_place) {
            size_t out;
            used = coir_http_body_decode(&body, buf, n, &out);
            if (used >= 0) {
                memcpy(d->data + d->len, buf, out);
                d->len += out;
            }
        }
        else {
            coir_http_span data;
            used = coir_http_body_next(&body, buf, n, &data);
            if (used >= 0) {
                memcpy(d->data + d->len, buf + data.at, data.len);
                d->len += data.len;
            }
        }
        if (used < 0) {
            d->error = (int)used;
            return;
        }
        CHECK(used > 0 || body.state == COIR_HTTP_BODY_TRAILERS);
        d->used += (size_t)used;
    }
    d->state = body.state;
    d->error = coir_http_body_eof(&body);
}

static decoded
decode(const char *text, const coir_http_options *options)
{
    static decoded whole, other;
    size_t len = strlen(text);
    decode_pieces(text, len, len, options, 1, &whole);
    for (size_t step = 1; step <= len; step++) {
        for (int in_place = 0; in_place <= 1; in_place++) {
            decode_pieces(text, len, step, options, in_place, &other);
            CHECK_EQ(other.error, whole.error);
            CHECK_EQ(other.state, whole.state);
            if (whole.error == 0) {
                CHECK_EQ(other.used, whole.used);
                CHECK_EQ(other.len, whole.len);
                CHECK(memcmp(other.data, whole.data, whole.len) == 0);
            }
        }
    }
    return whole;
}

#define CHUNKED(text, expected)                                               \
    do {                                                                      \
        decoded d = decode(text, NULL);                                       \
        CHECK_EQ(d.error, 0);                                                 \
        CHECK_EQ(d.used, strlen(text));                                       \
        CHECK_STR(d.data, expected);                                          \
    } while (0)
#define CHUNKED_REFUSED(error_, text)                                         \
    CHECK_EQ(decode(text, NULL).error, error_)

TEST(http, chunks)
{
    CHUNKED("0\r\n\r\n", "");
    CHUNKED("3\r\nabc\r\n0\r\n\r\n", "abc");
    CHUNKED("3\r\nabc\r\n00a\r\n0123456789\r\n000\r\n\r\n", "abc0123456789");
    CHUNKED("A\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n", "0123456789\n");
    CHUNKED("000000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789");
    decoded d = decode("1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", NULL);
    CHECK_EQ(d.used, 11);
    CHECK_EQ(d.state, COIR_HTTP_BODY_DONE);
    CHUNKED_REFUSED(COIR_HTTP_ECUT, "5\r\nabc");
    CHUNKED_REFUSED(COIR_HTTP_ECUT, "5\r\nabcde\r\n0\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECUT, "");
}

TEST(http, sizes_of_chunks)
{
    CHUNKED_REFUSED(COIR_HTTP_ECHUNK, "\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNK, "x\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNK, "+1\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNK, "-1\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNK, " 1\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNK, "0x1\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNK, "1_0\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNKLEN, "8000000000000000\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNKLEN, "ffffffffffffffff\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNKLEN, "10000000000000000\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNKLEN, "00000000000000001\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECUT, "7fffffffffffffff\r\n");
    CHUNKED_REFUSED(COIR_HTTP_EBODYLEN, "1\r\na\r\n7fffffffffffffff\r\n");
}

TEST(http, lines_of_chunks)
{
    CHUNKED_REFUSED(COIR_HTTP_ECR, "1\rx");
    CHUNKED_REFUSED(COIR_HTTP_ELF, "1\na\n0\n\n");
    CHUNKED_REFUSED(COIR_HTTP_ELF, "1;a\na\r\n0\r\n\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNKEND, "1\r\nab");
    CHUNKED_REFUSED(COIR_HTTP_ECHUNKEND, "1\r\na\rb");
    CHUNKED_REFUSED(COIR_HTTP_ELF, "1\r\na\n0\r\n\r\n");
    CHUNKED_REFUSED(COIR_HTTP_ELF, "0\r\n\n");
    CHUNKED_REFUSED(COIR_HTTP_ECR, "0\r\n\rx");
    coir_http_options bare = {.flags = COIR_HTTP_BARE_LF};
    decoded d = decode("1\na\n2;x\r\nbc\r\n0\n\n", &bare);
    CHECK_EQ(d.error, 0);
    CHECK_STR(d.data, "abc");
}

TEST(http, extensions_of_chunks)
{
    CHUNKED("1;a\r\nx\r\n0;b=c\r\n\r\n", "x");
    CHUNKED("1;a=b;c;d=\"e;\\\"\\\\ f\t\"\r\nx\r\n0\r\n\r\n", "x");
}

TEST(http, extensions_that_are_not_valid)
{
    static const char *const bad[] = {
        "1;\r\n",    "1 \r\n",       "1;a=\r\n",     "1;=b\r\n",
        "1;a b\r\n", "1;a=b c\r\n",  "1;a=\"b\r\n",  "1;a=\"b\"c\r\n",
        "1;a \r\n",  "1;a=b \r\n",   "1;a==b\r\n",   "1;;a\r\n",
        "1 a\r\n",   "1;a=\"\x01\"", "1;a=\"\\\x01", "1;a=b=c\r\n",
        "1;(\r\n",   "1;a=(\r\n",    "1;a\x80",      "1;a=\"b\" \r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHUNKED_REFUSED(COIR_HTTP_EEXTENSION, bad[i]);
    CHUNKED("1 ; a = b\t;c ;d=e ; f\r\nx\r\n0\r\n\r\n", "x");
}

TEST(http, overhead_of_chunks)
{
    coir_http_options options = {.max_overhead = 40};
    /* "1;" and 36 bytes and CR LF. */
    decoded d = decode("1;abcdefghijklmnopqrstuvwxyzabcdefghij\r\na\r\n"
                       "0\r\n\r\n",
                       &options);
    CHECK_EQ(d.error, 0);
    d = decode("1;abcdefghijklmnopqrstuvwxyzabcdefghijk\r\n", &options);
    CHECK_EQ(d.error, COIR_HTTP_EOVERHEAD);
    /* 18 earned for 30: the fourth is too much. */
    d = decode("1;abcdefghijklmnopqrstuvwxyz\r\na\r\n"
               "1;abcdefghijklmnopqrstuvwxyz\r\na\r\n"
               "1;abcdefghijklmnopqrstuvwxyz\r\na\r\n"
               "1;abcdefghijklmnopqrstuvwxyz\r\na\r\n",
               &options);
    CHECK_EQ(d.error, COIR_HTTP_EOVERHEAD);
    /* Data pay for extensions of any number. */
    char text[8192] = "";
    for (int i = 0; i < 60; i++)
        append(text, sizeof(text),
               "10;abcdefghijklmnopqrstuvwxyz\r\n0123456789abcdef\r\n");
    append(text, sizeof(text), "0\r\n\r\n");
    d = decode(text, &options);
    CHECK_EQ(d.error, 0);
    CHECK_EQ(d.len, 960);
}

TEST(http, chunked_bodies_have_a_limit)
{
    coir_http_options options = {.max_body = 4};
    CHECK_EQ(decode("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", &options).error, 0);
    CHECK_EQ(decode("3\r\nabc\r\n2\r\n", &options).error, COIR_HTTP_EBODYLEN);
    CHECK_EQ(decode("5\r\n", &options).error, COIR_HTTP_EBODYLEN);
}

TEST(http, bodies_by_length)
{
    coir_http_head head = {.framing = COIR_HTTP_LENGTH, .content_length = 5};
    coir_http_body body;
    coir_http_span data;
    coir_http_body_init(&body, &head, NULL);
    CHECK_EQ(body.left, 5);
    CHECK_EQ(coir_http_body_next(&body, "abc", 3, &data), 3);
    CHECK_EQ(data.len, 3);
    CHECK_EQ(coir_http_body_eof(&body), COIR_HTTP_ECUT);
    CHECK_EQ(coir_http_body_next(&body, "defg", 4, &data), 2);
    CHECK_EQ(data.len, 2);
    CHECK_EQ(body.state, COIR_HTTP_BODY_DONE);
    CHECK_EQ(coir_http_body_next(&body, "g", 1, &data), 0);
    CHECK_EQ(coir_http_body_eof(&body), 0);
    coir_http_body_init(&body, &head, NULL);
    coir_http_body_skip(&body, 5);
    CHECK_EQ(body.state, COIR_HTTP_BODY_DONE);
    head.framing = COIR_HTTP_NO_BODY;
    coir_http_body_init(&body, &head, NULL);
    CHECK_EQ(body.state, COIR_HTTP_BODY_DONE);
}

TEST(http, bodies_until_the_close)
{
    coir_http_options options = {.max_body = 4};
    coir_http_head head = {.framing = COIR_HTTP_UNTIL_CLOSE};
    coir_http_body body;
    coir_http_span data;
    coir_http_body_init(&body, &head, &options);
    CHECK_EQ(coir_http_body_next(&body, "abc", 3, &data), 3);
    CHECK_EQ(body.state, COIR_HTTP_BODY_DATA);
    CHECK_EQ(coir_http_body_next(&body, "de", 2, &data), COIR_HTTP_EBODYLEN);
    CHECK_EQ(coir_http_body_next(&body, "d", 1, &data), 1);
    CHECK_EQ(coir_http_body_eof(&body), 0);
    CHECK_EQ(body.state, COIR_HTTP_BODY_DONE);
}

TEST(http, data_of_chunks_may_come_another_way)
{
    coir_http_body body;
    coir_http_span data;
    coir_http_body_init(&body, NULL, NULL);
    CHECK_EQ(coir_http_body_next(&body, "400\r\n", 5, &data), 5);
    CHECK_EQ(body.left, 1024);
    coir_http_body_skip(&body, 1000);
    CHECK_EQ(coir_http_body_next(&body, "0123456789abcdef", 16, &data), 16);
    CHECK_EQ(data.len, 16);
    coir_http_body_skip(&body, 8);
    CHECK_EQ(coir_http_body_next(&body, "\r\n0\r\n\r\n", 7, &data), 7);
    CHECK_EQ(body.state, COIR_HTTP_BODY_DONE);
}

/* --- trailers ------------------------------------------------------------ */

/* Split at every byte. */
static ssize_t
trailers(const char *text, const coir_http_options *options, uint32_t *count)
{
    size_t len = strlen(text);
    ssize_t first = 0;
    for (size_t split = 0; split <= len; split++) {
        coir_http_body body;
        coir_http_body_init(&body, NULL, options);
        coir_http_span data;
        CHECK_EQ(coir_http_body_next(&body, "0\r\nx", 4, &data), 3);
        CHECK_EQ(body.state, COIR_HTTP_BODY_TRAILERS);
        coir_http_field fields[FIELDS];
        coir_http_head head = {.fields = fields, .capacity = FIELDS};
        coir_http_parser parser;
        coir_http_parser_init(&parser, options);
        char *buf = guarded(text, split);
        ssize_t used =
            coir_http_parse_trailers(&body, &parser, buf, split, &head);
        if (used == COIR_EAGAIN) {
            buf = guarded(text, len);
            used = coir_http_parse_trailers(&body, &parser, buf, len, &head);
        }
        if (split == 0)
            first = used;
        CHECK_EQ(used, first);
        CHECK_EQ(body.state,
                 used > 0 ? COIR_HTTP_BODY_DONE : COIR_HTTP_BODY_TRAILERS);
        if (used > 0 && count != NULL)
            *count = head.count;
    }
    return first;
}

TEST(http, trailers_are_fields)
{
    uint32_t count;
    CHECK_EQ(trailers("a: b\r\nETag: c\r\n\r\nGET", NULL, &count), 17);
    CHECK_EQ(count, 2);
    CHECK_EQ(trailers("a b: c\r\n\r\n", NULL, NULL), COIR_HTTP_ENAME);
    CHECK_EQ(trailers("a: b\r\n c\r\n\r\n", NULL, NULL), COIR_HTTP_EFOLD);
    CHECK_EQ(trailers("a: b\n\r\n", NULL, NULL), COIR_HTTP_ELF);
    CHECK_EQ(trailers("a: b\r\n", NULL, NULL), COIR_EAGAIN);
    coir_http_options options = {.max_trailers = 16, .max_fields = 2};
    CHECK_EQ(trailers("a: 012345678\r\n\r\n", &options, NULL), 16);
    CHECK_EQ(trailers("a: 0123456789\r\n\r\n", &options, NULL),
             COIR_HTTP_ETRAILERLEN);
    CHECK_EQ(trailers("a:\r\nb:\r\nc:\r\n\r\n", &options, NULL),
             COIR_HTTP_EFIELDS);
}

TEST(http, trailers_that_would_change_a_message)
{
    static const char *const names[] = {
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Trailer",
        "Content-Encoding",
        "Content-Type",
        "Set-Cookie",
        "Authorization",
        "Connection",
        "Expect",
        "X-Forwarded-For",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "%s: x\r\n\r\n", names[i]);
        CHECK_EQ(trailers(text, NULL, NULL), COIR_HTTP_ETRAILER);
    }
}

/* --- helpers ------------------------------------------------------------- */

TEST(http, every_name_has_its_id)
{
#define CHECK_NAME(id, text)                                                  \
    CHECK_EQ(coir_http_field_id(text, sizeof(text) - 1), id);                 \
    CHECK_STR(coir_http_field_name(id), text);
    COIR_HTTP_FIELDS(CHECK_NAME)
    CHECK_EQ(coir_http_field_id("cONTENT-tYPE", 12), COIR_FIELD_CONTENT_TYPE);
    CHECK_EQ(coir_http_field_id("", 0), COIR_FIELD_OTHER);
    CHECK_EQ(coir_http_field_id("x", 1), COIR_FIELD_OTHER);
    CHECK_EQ(coir_http_field_id("Content\rType", 12), COIR_FIELD_OTHER);
    CHECK_EQ(coir_http_field_id("Content_Type", 12), COIR_FIELD_OTHER);
    CHECK_EQ(coir_http_field_id("Contend-Type", 12), COIR_FIELD_OTHER);
    CHECK_STR(coir_http_field_name(COIR_FIELD_OTHER), "");
    CHECK_STR(coir_http_field_name(COIR_FIELD_IDS), "");
    CHECK_STR(coir_http_field_name(-1), "");
}

TEST(http, fields_are_found)
{
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\nAccept: b, C\r\nx: 1\r\n"
                       "accept: \"d,e\" ,,f\r\nX: 2\r\n\r\n";
    result r = parsed(text);
    coir_http_head *h = &r.head;
    h->fields = r.fields;
    const coir_http_field *f = coir_http_find(h, COIR_FIELD_ACCEPT, NULL);
    CHECK_EQ(f - r.fields, 1);
    f = coir_http_find(h, COIR_FIELD_ACCEPT, f);
    CHECK_EQ(f - r.fields, 3);
    CHECK_NULL(coir_http_find(h, COIR_FIELD_ACCEPT, f));
    CHECK_NULL(coir_http_find(h, COIR_FIELD_COOKIE, NULL));
    f = coir_http_find_name(h, text, "X", 1, NULL);
    CHECK_EQ(f - r.fields, 2);
    f = coir_http_find_name(h, text, "X", 1, f);
    CHECK_EQ(f - r.fields, 4);
    CHECK_NULL(coir_http_find_name(h, text, "X", 1, f));
    CHECK(coir_http_has_token(h, text, COIR_FIELD_ACCEPT, "c"));
    CHECK(coir_http_has_token(h, text, COIR_FIELD_ACCEPT, "F"));
    CHECK(!coir_http_has_token(h, text, COIR_FIELD_ACCEPT, "d"));
    CHECK(!coir_http_has_token(h, text, COIR_FIELD_COOKIE, "d"));
}

TEST(http, members_of_lists)
{
    const char *text = " a ,,\t\"b\\\",c\" d,\"e, f";
    static const char *const expected[] = {"a", "\"b\\\",c\" d", "\"e, f"};
    coir_http_span item;
    size_t at = 0;
    char *value = guarded(text, strlen(text));
    for (int i = 0; i < 3; i++) {
        CHECK(coir_http_list_next(value, strlen(text), &at, &item));
        check_span(text, item, expected[i]);
    }
    CHECK(!coir_http_list_next(value, strlen(text), &at, &item));
    at = 0;
    CHECK(!coir_http_list_next(" , ", 3, &at, &item));
}

TEST(http, escapes_are_decoded)
{
    const char *in = "a%20b%2F%zz%4%C3%bc%00%";
    char buf[64];
    (void)snprintf(buf, sizeof(buf), "%s", in);
    size_t n = coir_http_percent_decode(buf, strlen(buf), buf);
    CHECK_EQ(n, 13);
    CHECK(memcmp(buf, "a b/%zz%4\xc3\xbc\0%", n) == 0);
    char *end = guarded("%4", 2);
    CHECK_EQ(coir_http_percent_decode(end, 2, buf), 2);
}

TEST(http, what_may_be_written)
{
    CHECK_EQ(coir_http_check_field("a", 1, "b \t\xff", 4), 0);
    CHECK_EQ(coir_http_check_field("", 0, "b", 1), COIR_HTTP_ENAME);
    CHECK_EQ(coir_http_check_field("a:", 2, "b", 1), COIR_HTTP_ENAME);
    CHECK_EQ(coir_http_check_field("a\r\n", 3, "b", 1), COIR_HTTP_ENAME);
    CHECK_EQ(coir_http_check_field("a", 1, "b\r\nc: d", 7), COIR_HTTP_ECR);
    CHECK_EQ(coir_http_check_field("a", 1, "b\nc: d", 6), COIR_HTTP_ELF);
    CHECK_EQ(coir_http_check_field("a", 1, "b\0", 2), COIR_HTTP_ENUL);
    CHECK_EQ(coir_http_check_field("a", 1, "\x7f", 1), COIR_HTTP_ECONTROL);
    CHECK_EQ(coir_http_check_reason("Not F\xc3\xb6und", 10), 0);
    CHECK_EQ(coir_http_check_reason("", 0), 0);
    CHECK_EQ(coir_http_check_reason("OK\r\nx: y", 8), COIR_HTTP_EREASON);
    CHECK(coir_http_is_hop_by_hop(COIR_FIELD_KEEP_ALIVE));
    CHECK(!coir_http_is_hop_by_hop(COIR_FIELD_CONTENT_LENGTH));
    CHECK(coir_http_is_token("a-b", 3));
    CHECK(!coir_http_is_token("a b", 3));
    CHECK(!coir_http_is_token("", 0));
}

TEST(http, names_of_methods_and_statuses)
{
#define CHECK_METHOD(id, text)                                                \
    CHECK_EQ(coir_http_method_id(text, sizeof(text) - 1), id);                \
    CHECK_STR(coir_http_method_name(id), text);
    COIR_HTTP_METHODS(CHECK_METHOD)
    CHECK_EQ(coir_http_method_id("get", 3), COIR_HTTP_OTHER);
    CHECK_STR(coir_http_method_name(COIR_HTTP_OTHER), "");
    CHECK_STR(coir_http_method_name(1000), "");
    CHECK_STR(coir_http_reason(200), "OK");
    CHECK_STR(coir_http_reason(418), "I'm a Teapot");
    CHECK_STR(coir_http_reason(299), "");
    CHECK(coir_http_may_have_body(COIR_HTTP_GET, 200));
    CHECK(!coir_http_may_have_body(COIR_HTTP_HEAD, 200));
    CHECK(!coir_http_may_have_body(COIR_HTTP_GET, 304));
    CHECK(!coir_http_may_have_body(COIR_HTTP_CONNECT, 200));
}

TEST(http, heads_of_chunks)
{
    char out[COIR_HTTP_CHUNK_SIZE];
    CHECK_EQ(coir_http_chunk_head(0, out), 3);
    CHECK(memcmp(out, "0\r\n", 3) == 0);
    CHECK_EQ(coir_http_chunk_head(0x1f4, out), 5);
    CHECK(memcmp(out, "1f4\r\n", 5) == 0);
    CHECK_EQ(coir_http_chunk_head(UINT64_MAX, out), 18);
    CHECK(memcmp(out, "ffffffffffffffff\r\n", 18) == 0);
}

TEST(http, errors_have_texts_and_statuses)
{
#define CHECK_ERROR(name, number, status, text)                               \
    CHECK_EQ(name, -12288 - (number));                                        \
    CHECK_EQ(coir_http_error_status(name), status);                           \
    CHECK_STR(coir_http_error_text(name), text);                              \
    CHECK_STR(coir_strerror(name), text);                                     \
    CHECK_EQ(coir_errno(name), EPROTO);
    COIR_HTTP_ERRORS(CHECK_ERROR)
    CHECK_EQ(coir_http_error_status(COIR_ENOMEM), 500);
    CHECK_STR(coir_http_error_text(COIR_ENOMEM), coir_strerror(COIR_ENOMEM));
}

/* --- dates --------------------------------------------------------------- */

static void
check_date(int64_t seconds, const char *expected)
{
    char out[COIR_HTTP_DATE_SIZE];
    int64_t back;
    coir_http_date(seconds, out);
    CHECK_STR(out, expected);
    CHECK_EQ(coir_http_parse_date(out, strlen(out), 0, &back), 0);
    CHECK_EQ(back, seconds);
}

TEST(http, dates_are_written)
{
    check_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
    check_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    check_date(-1, "Wed, 31 Dec 1969 23:59:59 GMT");
    check_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
    check_date(4107542399, "Sun, 28 Feb 2100 23:59:59 GMT");
    check_date(4107542400, "Mon, 01 Mar 2100 00:00:00 GMT");
    check_date(253402300799, "Fri, 31 Dec 9999 23:59:59 GMT");
    check_date(-62167219200, "Sat, 01 Jan 0000 00:00:00 GMT");
    char out[COIR_HTTP_DATE_SIZE];
    coir_http_date(INT64_MAX, out);
    CHECK_STR(out, "Fri, 31 Dec 9999 23:59:59 GMT");
    coir_http_date(INT64_MIN, out);
    CHECK_STR(out, "Sat, 01 Jan 0000 00:00:00 GMT");
}

static int64_t
date_of(const char *text, int64_t now)
{
    int64_t seconds = -7;
    size_t len = strlen(text);
    int err = coir_http_parse_date(guarded(text, len), len, now, &seconds);
    CHECK_EQ(err, seconds == -7 ? COIR_EINVAL : 0);
    return seconds;
}

TEST(http, dates_are_read)
{
    const int64_t in_1995 = 800000000, in_2026 = 1780000000;
    CHECK_EQ(date_of("Sun, 06 Nov 1994 08:49:37 GMT", 0), 784111777);
    CHECK_EQ(date_of("Sunday, 06-Nov-94 08:49:37 GMT", in_1995), 784111777);
    CHECK_EQ(date_of("Sunday, 06-Nov-94 08:49:37 GMT", in_2026), 784111777);
    CHECK_EQ(date_of("Friday, 06-Nov-26 08:49:37 GMT", in_1995), 1793954977);
    CHECK_EQ(date_of("Sun Nov  6 08:49:37 1994", 0), 784111777);
    CHECK_EQ(date_of("Wed Nov 16 08:49:37 1994", 0), 784975777);
    static const char *const bad[] = {
        "",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Jun 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 2100 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 GMT 1994",
        "784111777",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_EQ(date_of(bad[i], 0), -7);
}

/* --- names --------------------------------------------------------------- */

/* Each pair of bytes, at each end of what is compared. */
TEST(http_parse, compares_names_without_their_case)
{
    static const size_t lens[] = {1, 7, 8, 9, 17};
    for (size_t k = 0; k < sizeof lens / sizeof *lens; k++)
        for (int i = 0; i < 2 * 65536; i++) {
            char a[17], b[17];
            size_t at = i & 1 ? 0 : lens[k] - 1;
            int c = i >> 9, d = i >> 1 & 255;
            memset(a, 'x', sizeof a);
            memset(b, 'X', sizeof b);
            a[at] = (char)c;
            b[at] = (char)d;
            int upper_c = c >= 'a' && c <= 'z' ? c - 32 : c;
            int upper_d = d >= 'a' && d <= 'z' ? d - 32 : d;
            CHECK_EQ(coir_http_equal(a, lens[k], b, lens[k]),
                     upper_c == upper_d);
        }
    CHECK(!coir_http_equal("abc", 3, "abcd", 4));
    CHECK(coir_http_equal(NULL, 0, NULL, 0));
}
