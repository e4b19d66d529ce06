/* test_http_server.c - requests and responses. */
#include "http_helper.h"

TEST(http_server, answers_one_request_after_another)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_socket *c = dial(s);
    reply r;
    for (int i = 0; i < 3; i++) {
        ask(c, GET, &r);
        CHECK_EQ(r.status, 200);
        CHECK_STR(r.body, "hello");
        CHECK(strstr(r.head, "\r\nDate: ") != NULL);
        CHECK_EQ(r.closes, 0);
    }
    CHECK_EQ(counters(s).requests, 3);
    CHECK_EQ(counters(s).by_class[2], 3);
    CHECK_EQ(counters(s).idle, 1);
    drop(s);
    hear_end(c);
    leave();
}

TEST(http_server, closes_when_the_client_asks_for_it)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_socket *c = dial(s);
    reply r;
    ask(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &r);
    CHECK_EQ(r.status, 200);
    CHECK_EQ(r.closes, 1);
    hear_end(c);
    c = dial(s);
    ask(c, "GET / HTTP/1.0\r\n\r\n", &r);
    CHECK_EQ(r.status, 200);
    hear_end(c);
    UNTIL(s, connections, 0);
    drop(s);
    leave();
}

TEST(http_server, keeps_a_connection_of_http_1_0_that_asks_for_it)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_socket *c = dial(s);
    reply r;
    for (int i = 0; i < 2; i++) {
        ask(c, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &r);
        CHECK(strstr(r.head, "\r\nConnection: keep-alive\r\n") != NULL);
    }
    drop(s);
    hear_end(c);
    leave();
}

/* --- one after the other ------------------------------------------------- */

typedef struct order {
    coir_http_server *server;
    uint64_t read[3]; /* heads, when each handler began */
    int count;
} order;

static int
note_order(coir_http_exchange *x, void *arg)
{
    order *o = arg;
    o->read[o->count++] = counters(o->server).requests;
    return hello(x, NULL);
}

/* What the first has used is in the cache for the second. */
TEST(http_server, handles_a_request_before_it_reads_the_next)
{
    order o = {0};
    coir_socket *c[3];
    reply r;
    o.server = serve(note_order, &o, NULL);
    for (int i = 0; i < 3; i++)
        c[i] = dial(o.server);
    UNTIL(o.server, idle, 3);
    for (int i = 0; i < 3; i++)
        say(c[i], GET);
    for (int i = 0; i < 3; i++) {
        hear(c[i], &r);
        CHECK_EQ(r.status, 200);
        (void)coir_socket_close(c[i]);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(o.read[i], i + 1);
    drop(o.server);
    leave();
}

static int
stop_it(coir_http_exchange *x, void *arg)
{
    coir_http_server *s = *(coir_http_server **)arg;
    coir_http_server_stop(s, 0, 0);
    return hello(x, NULL);
}

TEST(http_server, may_be_stopped_by_a_handler_with_others_in_that_turn)
{
    coir_http_server *s;
    coir_socket *c[3];
    char byte;
    s = serve(stop_it, &s, NULL);
    for (int i = 0; i < 3; i++)
        c[i] = dial(s);
    UNTIL(s, idle, 3);
    for (int i = 0; i < 3; i++)
        say(c[i], GET);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    coir_http_server_free(s);
    for (int i = 0; i < 3; i++) {
        while (coir_read(c[i], &byte, 1, LONG) > 0)
            ;
        (void)coir_socket_close(c[i]);
    }
    leave();
}

/* --- bodies -------------------------------------------------------------- */

static int
echo(coir_http_exchange *x, void *arg)
{
    char buf[100];
    ssize_t n;
    (void)arg;
    int err = coir_http_begin(x, 200, NULL);
    while (err == 0 && (n = coir_http_read(x, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : coir_http_write(x, buf, (size_t)n);
    return err;
}

TEST(http_server, reads_a_body_by_its_length)
{
    coir_http_server *s = serve(echo, NULL, NULL);
    coir_socket *c = dial(s);
    reply r;
    ask(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345", &r);
    CHECK_STR(r.body, "12345");
    /* In pieces, with the next request behind it. */
    say(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12");
    (void)coir_sleep(2 * MS);
    say(c, "345" GET);
    hear(c, &r);
    CHECK_STR(r.body, "12345");
    hear(c, &r);
    CHECK_STR(r.body, "");
    drop(s);
    hear_end(c);
    leave();
}

TEST(http_server, reads_a_chunked_body)
{
    coir_http_server *s = serve(echo, NULL, NULL);
    coir_socket *c = dial(s);
    reply r;
    static const char request[] =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n";
    ask(c, request, &r);
    CHECK_STR(r.body, "abc0123456789abcdef");
    for (size_t i = 0; i < sizeof request - 1; i++) {
        say_n(c, request + i, 1);
        (void)coir_yield();
    }
    hear(c, &r);
    CHECK_STR(r.body, "abc0123456789abcdef");
    ask(c, GET, &r);
    CHECK_EQ(r.status, 200);
    drop(s);
    hear_end(c);
    leave();
}

/* --- responses ----------------------------------------------------------- */

/* What the handler is to do, and what came of it. */
typedef struct script {
    int (*run)(coir_http_exchange *x);
    int result;
} script;

static int
act(coir_http_exchange *x, void *arg)
{
    script *todo = arg;
    return todo->result = todo->run(x);
}

/* The response of a handler to one request; the connection stays open. */
static coir_http_server *
respond(script *todo, const char *request, reply *r, coir_socket **c)
{
    coir_http_server *s = serve(act, todo, NULL);
    *c = dial(s);
    say(*c, request);
    hear_some(*c, r, strncmp(request, "HEAD", 4) != 0);
    return s;
}

static int
run_empty(coir_http_exchange *x)
{
    int status = atoi(x->base + x->head->path.at + 1);
    CHECK_EQ(coir_http_begin(x, status, NULL), 0);
    return coir_http_send(x, "body", 4);
}

TEST(http_server, sends_no_body_where_there_must_be_none)
{
    script todo = {run_empty, 0};
    reply r;
    coir_socket *c;
    coir_http_server *s =
        respond(&todo, "HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\n", &r, &c);
    CHECK(strstr(r.head, "\r\nContent-Length: 4\r\n") != NULL);
    ask(c, "GET /204 HTTP/1.1\r\nHost: a\r\n\r\n", &r);
    CHECK_EQ(r.status, 204);
    CHECK(strstr(r.head, "Content-Length") == NULL);
    ask(c, "GET /304 HTTP/1.1\r\nHost: a\r\n\r\n", &r);
    CHECK_EQ(r.status, 304);
    /* What comes next is the next response, so nothing else was sent. */
    ask(c, "GET /200 HTTP/1.1\r\nHost: a\r\n\r\n", &r);
    CHECK_STR(r.body, "body");
    drop(s);
    hear_end(c);
    leave();
}

static int
run_pieces(coir_http_exchange *x)
{
    CHECK_EQ(coir_http_begin(x, 200, "Fine"), 0);
    CHECK_EQ(coir_http_response_state(x), COIR_HTTP_BEGUN);
    CHECK_EQ(coir_http_write(x, "", 0), 0);
    CHECK_EQ(coir_http_response_state(x), COIR_HTTP_BEGUN);
    CHECK_EQ(coir_http_write(x, "one ", 4), 0);
    CHECK_EQ(coir_http_response_state(x), COIR_HTTP_SENDING);
    CHECK_EQ(coir_http_add_field(x, "A", "b"), COIR_EBUSY);
    CHECK_EQ(coir_http_restart(x), COIR_EBUSY);
    CHECK_EQ(coir_http_begin(x, 200, NULL), COIR_EINVAL);
    CHECK_EQ(coir_http_send_error(x, 500), COIR_EBUSY);
    struct iovec iov[2] = {{"two ", 4}, {"three", 5}};
    return coir_http_writev(x, iov, 2);
}

TEST(http_server, sends_chunks_when_the_length_is_not_known)
{
    script todo = {run_pieces, 0};
    reply r;
    coir_socket *c;
    coir_http_server *s = respond(&todo, GET, &r, &c);
    CHECK(strstr(r.head, "HTTP/1.1 200 Fine\r\n") == r.head);
    CHECK_STR(r.body, "one two three");
    ask(c, GET, &r);
    CHECK_STR(r.body, "one two three");
    (void)coir_socket_close(c);
    /* To HTTP/1.0 the end of the connection is that of the body. */
    c = dial(s);
    ask(c, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &r);
    CHECK_STR(r.body, "one two three");
    CHECK_EQ(r.closes, 1);
    (void)coir_socket_close(c);
    drop(s);
    leave();
}

static int
run_many(coir_http_exchange *x)
{
    static char text[5000];
    struct iovec iov[200];
    for (int i = 0; i < 200; i++)
        iov[i] = (struct iovec){text + 25 * i, 25};
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 26);
    CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    if (x->head->path.len == 1)
        return coir_http_sendv(x, iov, 200);
    int err = coir_http_writev(x, iov, 100);
    return err < 0 ? err : coir_http_sendv(x, iov + 100, 100);
}

TEST(http_server, sends_many_pieces)
{
    script todo = {run_many, 0};
    reply r;
    coir_socket *c;
    coir_http_server *s = respond(&todo, GET, &r, &c);
    CHECK_EQ(r.len, 5000);
    for (size_t i = 0; i < r.len; i++)
        CHECK_EQ(r.body[i], 'a' + i % 26);
    CHECK(strstr(r.head, "\r\nContent-Length: 5000\r\n") != NULL);
    ask(c, "GET /chunks HTTP/1.1\r\nHost: a\r\n\r\n", &r);
    CHECK_EQ(r.len, 5000);
    for (size_t i = 0; i < r.len; i++)
        CHECK_EQ(r.body[i], 'a' + i % 26);
    drop(s);
    hear_end(c);
    leave();
}

static int
run_fields(coir_http_exchange *x)
{
    CHECK_EQ(coir_http_add_field(x, "A", "b"), COIR_EINVAL);
    CHECK_EQ(coir_http_write(x, "a", 1), COIR_EINVAL);
    CHECK_EQ(coir_http_set_length(x, 1), COIR_EINVAL);
    CHECK_EQ(coir_http_flush(x), COIR_EINVAL);
    CHECK_EQ(coir_http_begin(x, 99, NULL), COIR_EINVAL);
    CHECK_EQ(coir_http_begin(x, 100, NULL), COIR_EINVAL);
    CHECK_EQ(coir_http_begin(x, 1000, NULL), COIR_EINVAL);
    CHECK_EQ(coir_http_begin(x, 200, "a\r\nb"), COIR_EINVAL);
    CHECK_EQ(coir_http_begin(x, 201, NULL), 0);
    CHECK_EQ(coir_http_add_field(x, "A", "b\r\nC: d"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "A", "b\nC: d"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field_n(x, "A", 1, "b\0c", 3), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "A b", "c"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "A:", "c"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "", "c"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "Transfer-Encoding", "chunked"),
             COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "Upgrade", "x"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "connection", "x"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "Keep-Alive", "x"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "Trailer", "x"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "Content-Length", "+4"), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "Content-Length", ""), COIR_EINVAL);
    CHECK_EQ(coir_http_add_field(x, "Content-Length", "99999999999999999999"),
             COIR_EINVAL);
    CHECK_EQ(coir_http_restart(x), 0);
    CHECK_EQ(coir_http_response_state(x), COIR_HTTP_NOT_BEGUN);
    CHECK_EQ(coir_http_begin(x, 202, NULL), 0);
    CHECK_EQ(coir_http_add_field(x, "content-length", "4"), 0);
    CHECK_EQ(coir_http_add_field(x, "Content-Length", "5"), COIR_EINVAL);
    CHECK_EQ(coir_http_set_length(x, 5), COIR_EINVAL);
    CHECK_EQ(coir_http_set_length(x, 4), 0);
    CHECK_EQ(coir_http_add_field(x, "Date", "now"), 0);
    CHECK_EQ(coir_http_add_field(x, "Set-Cookie", "a=b"), 0);
    CHECK_EQ(coir_http_add_field(x, "Set-Cookie", "\xe4=\xff"), 0);
    CHECK_EQ(coir_http_write(x, "12345", 5), COIR_EINVAL);
    CHECK_EQ(coir_http_write(x, "1234", 4), 0);
    CHECK_EQ(coir_http_write(x, "5", 1), COIR_EINVAL);
    CHECK_EQ(coir_http_response_state(x), COIR_HTTP_SENT);
    return coir_http_send(x, "", 0);
}

TEST(http_server, refuses_what_would_break_a_response)
{
    script todo = {run_fields, 0};
    reply r;
    coir_socket *c;
    coir_http_server *s = respond(&todo, GET, &r, &c);
    CHECK_EQ(todo.result, 0);
    CHECK_STR(r.head, "HTTP/1.1 202 Accepted\r\n"
                      "Date: now\r\n"
                      "Set-Cookie: a=b\r\n"
                      "Set-Cookie: \xe4=\xff\r\n"
                      "Content-Length: 4\r\n\r\n");
    CHECK_STR(r.body, "1234");
    drop(s);
    hear_end(c);
    leave();
}

TEST(http_server, adds_its_name_and_no_date_as_asked)
{
    coir_http_server_options options = {.server_name = "Coir",
                                        .flags = COIR_HTTP_NO_DATE |
                                                 COIR_HTTP_NO_KEEP_ALIVE};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    CHECK_STR(r.head, "HTTP/1.1 200 OK\r\n"
                      "Content-Type: text/plain\r\n"
                      "Server: Coir\r\n"
                      "Content-Length: 5\r\n"
                      "Connection: close\r\n\r\n");
    hear_end(c);
    drop(s);
    options.server_name = "a\r\nb";
    CHECK_EQ(coir_http_server_new(&s, hello, NULL, &options), COIR_EINVAL);
    options = (coir_http_server_options){.head_timeout_ns = -1};
    CHECK_EQ(coir_http_server_new(&s, hello, NULL, &options), COIR_EINVAL);
    leave();
}

static int
run_nothing(coir_http_exchange *x)
{
    switch (x->base[x->head->path.at + 1]) {
    case 'b':
        return coir_http_begin(x, 200, NULL);
    case 'f':
        CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
        return COIR_EINVAL;
    case 'l':
        CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
        CHECK_EQ(coir_http_set_length(x, 10), 0);
        return coir_http_write(x, "less", 4);
    case 'm':
        CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
        CHECK_EQ(coir_http_write(x, "more", 4), 0);
        return COIR_EINVAL;
    case 'a':
        coir_http_abort(x);
        return 0;
    default:
        return 0;
    }
}

TEST(http_server, says_what_the_handler_has_left_unsaid)
{
    script todo = {run_nothing, 0};
    reply r;
    coir_socket *c;
    coir_http_server *s = respond(&todo, GET, &r, &c);
    CHECK_EQ(r.status, 500);
    CHECK_STR(r.body, "Internal Server Error\n");
    CHECK_EQ(r.closes, 0);
    ask(c, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n", &r);
    CHECK_EQ(r.status, 200);
    CHECK(strstr(r.head, "\r\nContent-Length: 0\r\n") != NULL);
    ask(c, "GET /f HTTP/1.1\r\nHost: a\r\n\r\n", &r);
    CHECK_EQ(r.status, 500);
    drop(s);
    hear_end(c);
    leave();
}

/* The text must not be complete, and the connection ends. */
static void
is_cut(coir_http_server *s, const char *request, const char *end)
{
    coir_socket *c = dial(s);
    char text[1000];
    size_t len = 0;
    ssize_t n;
    say(c, request);
    while ((n = coir_read(c, text + len, sizeof text - 1 - len, LONG)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    CHECK(len >= strlen(end));
    CHECK_STR(text + len - strlen(end), end);
    (void)coir_socket_close(c);
}

TEST(http_server, shows_that_a_response_is_not_complete)
{
    script todo = {run_nothing, 0};
    coir_http_server *s = serve(act, &todo, NULL);
    is_cut(s, "GET /l HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\nless");
    is_cut(s, "GET /m HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n4\r\nmore\r\n");
    is_cut(s, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n", "");
    CHECK_EQ(counters(s).aborted, 3);
    drop(s);
    leave();
}

static int
run_hints(coir_http_exchange *x)
{
    CHECK_EQ(coir_http_begin(x, 103, NULL), 0);
    CHECK_EQ(coir_http_add_field(x, "Link", "</a>"), 0);
    CHECK_EQ(coir_http_write(x, "a", 1), COIR_EINVAL);
    CHECK_EQ(coir_http_flush(x), 0);
    CHECK_EQ(coir_http_response_state(x), COIR_HTTP_NOT_BEGUN);
    return hello(x, NULL);
}

TEST(http_server, sends_interim_responses)
{
    script todo = {run_hints, 0};
    reply r;
    coir_socket *c;
    coir_http_server *s = respond(&todo, GET, &r, &c);
    CHECK_STR(r.head, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    hear(c, &r);
    CHECK_STR(r.body, "hello");
    (void)coir_socket_close(c);
    c = dial(s);
    ask(c, "GET / HTTP/1.0\r\n\r\n", &r);
    CHECK_EQ(r.status, 200);
    hear_end(c);
    drop(s);
    leave();
}

/* --- much ---------------------------------------------------------------- */

#define MUCH ((size_t)4 << 20)

static char *much; /* MUCH bytes that differ */

static void
make_much(void)
{
    much = malloc(MUCH);
    CHECK(much != NULL);
    for (size_t i = 0; i < MUCH; i++)
        much[i] = (char)(i * 2654435761U >> 13);
}

static int
run_much(coir_http_exchange *x)
{
    size_t at = 0;
    CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    CHECK_EQ(coir_http_set_length(x, MUCH), 0);
    int err = 0;
    while (err == 0 && at < MUCH) {
        size_t piece = MUCH - at < 1000003 ? MUCH - at : 1000003;
        err = coir_http_write(x, much + at, piece);
        at += piece;
    }
    return err;
}

static void
hear_much(coir_socket *c)
{
    char line[200], *got = malloc(MUCH);
    do
        read_line(c, line, sizeof line);
    while (strcmp(line, "\r\n") != 0);
    CHECK(got != NULL);
    for (size_t at = 0; at < MUCH; at += MUCH / 64) {
        if (at % (MUCH / 4) == 0)
            (void)coir_sleep(1 * MS); /* slower than the server */
        read_to(c, got + at, MUCH / 64);
    }
    CHECK_EQ(memcmp(got, much, MUCH), 0);
    free(got);
}

TEST(http_server, waits_for_a_client_that_reads_slowly)
{
    script todo = {run_much, 0};
    make_much();
    coir_http_server *s = serve(act, &todo, NULL);
    coir_socket *c = dial(s);
    say(c, GET);
    hear_much(c);
    drop(s);
    hear_end(c);
    free(much);
    leave();
}

static int
run_upload(coir_http_exchange *x)
{
    size_t at = 0;
    char buf[5000];
    ssize_t n;
    while ((n = coir_http_read(x, buf, sizeof buf)) > 0) {
        CHECK(at + (size_t)n <= MUCH);
        CHECK_EQ(memcmp(buf, much + at, (size_t)n), 0);
        at += (size_t)n;
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(at, MUCH);
    CHECK_EQ(coir_http_read(x, buf, sizeof buf), 0);
    return hello(x, NULL);
}

TEST(http_server, reads_much)
{
    script todo = {run_upload, 0};
    make_much();
    coir_http_server *s = serve(act, &todo, NULL);
    coir_socket *c = dial(s);
    char text[200];
    reply r;
    (void)snprintf(text, sizeof text,
                   "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                   MUCH);
    say(c, text);
    say_n(c, much, MUCH);
    hear(c, &r);
    CHECK_STR(r.body, "hello");
    say(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0, size = 1; at < MUCH; at += size, size = 3 * size + 1) {
        if (size > MUCH - at)
            size = MUCH - at;
        (void)snprintf(text, sizeof text, "%zx\r\n", size);
        say(c, text);
        say_n(c, much + at, size);
        say(c, "\r\n");
    }
    say(c, "0\r\n\r\n");
    hear(c, &r);
    CHECK_STR(r.body, "hello");
    drop(s);
    hear_end(c);
    free(much);
    leave();
}

/* --- files --------------------------------------------------------------- */

static int file_fd;

static int
run_file(coir_http_exchange *x)
{
    CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    switch (x->base[x->head->path.at + 1]) {
    case 'l':
        CHECK_EQ(coir_http_set_length(x, MUCH), 0);
        break;
    case 's': /* shorter than it is said to be */
        CHECK_EQ(coir_http_set_length(x, MUCH + 1), 0);
        return coir_http_sendfile(x, file_fd, 1, MUCH);
    case 'p': /* a part of it */
        CHECK_EQ(coir_http_set_length(x, 110), 0);
        CHECK_EQ(coir_http_write(x, "0123456789", 10), 0);
        return coir_http_sendfile(x, file_fd, 1000, 100);
    default:
        break;
    }
    return coir_http_sendfile(x, file_fd, 0, MUCH);
}

TEST(http_server, sends_files)
{
    script todo = {run_file, 0};
    char path[200];
    make_much();
    (void)snprintf(path, sizeof path, "%s/file", coir_test_dir());
    FILE *f = fopen(path, "w+");
    CHECK(f != NULL && fwrite(much, 1, MUCH, f) == MUCH && fflush(f) == 0);
    file_fd = fileno(f);
    coir_http_server *s = serve(act, &todo, NULL);
    coir_socket *c = dial(s);
    reply r;
    say(c, "GET /l HTTP/1.1\r\nHost: a\r\n\r\n");
    hear_much(c);
    ask(c, "GET /p HTTP/1.1\r\nHost: a\r\n\r\n", &r);
    CHECK_EQ(r.len, 110);
    CHECK_EQ(memcmp(r.body, "0123456789", 10), 0);
    CHECK_EQ(memcmp(r.body + 10, much + 1000, 100), 0);
    say(c, "HEAD /l HTTP/1.1\r\nHost: a\r\n\r\n");
    hear_some(c, &r, 0);
    say(c, "GET /c HTTP/1.1\r\nHost: a\r\n\r\n");
    char line[100];
    do
        read_line(c, line, sizeof line);
    while (strcmp(line, "\r\n") != 0);
    read_line(c, line, sizeof line);
    CHECK_EQ(strtoul(line, NULL, 16), MUCH);
    char *got = malloc(MUCH);
    CHECK(got != NULL);
    read_to(c, got, MUCH);
    CHECK_EQ(memcmp(got, much, MUCH), 0);
    free(got);
    read_to(c, line, 7);
    CHECK_EQ(memcmp(line, "\r\n0\r\n\r\n", 7), 0);
    (void)coir_socket_close(c);
    /* Too short. */
    c = dial(s);
    say(c, "GET /s HTTP/1.1\r\nHost: a\r\n\r\n");
    size_t len = 0;
    ssize_t n;
    got = malloc(MUCH);
    CHECK(got != NULL);
    while ((n = coir_read(c, got, MUCH, LONG)) > 0)
        len += (size_t)n;
    CHECK(len < MUCH + 1000 && len >= MUCH - 1);
    CHECK_EQ(todo.result, COIR_EEOF);
    free(got);
    (void)coir_socket_close(c);
    drop(s);
    (void)fclose(f);
    free(much);
    leave();
}

/* --- bodies that nobody reads -------------------------------------------- */

TEST(http_server, drops_a_small_body_that_was_not_read)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_socket *c = dial(s);
    char body[20000];
    reply r;
    memset(body, 'x', sizeof body);
    for (int i = 0; i < 3; i++) {
        say(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
        if (i == 1)
            (void)coir_sleep(1 * MS); /* it is answered before */
        say_n(c, body, 10000);
        if (i == 2)
            UNTIL(s, reading, 1); /* and holds no green thread meanwhile */
        say_n(c, body, 10000);
        hear(c, &r);
        CHECK_EQ(r.status, 200);
        CHECK_EQ(r.closes, 0);
    }
    say(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
           "3\r\n123\r\n0\r\n\r\n" GET);
    hear(c, &r);
    hear(c, &r);
    CHECK_EQ(r.status, 200);
    drop(s);
    hear_end(c);
    leave();
}

TEST(http_server, closes_instead_of_reading_a_large_body)
{
    coir_http_server_options options = {.max_drain = 1000};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c = dial(s);
    reply r;
    char body[20000];
    memset(body, 'x', sizeof body);
    say(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
    say_n(c, body, sizeof body);
    hear(c, &r);
    CHECK_EQ(r.status, 200);
    CHECK_EQ(r.closes, 1);
    hear_end(c);
    /* One whose size is not told. */
    c = dial(s);
    say(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
           "1000\r\n");
    say_n(c, body, 0x1000);
    hear(c, &r);
    CHECK_EQ(r.status, 200);
    hear_end(c);
    /* Nor one that will only come if it is asked for. */
    c = dial(s);
    ask(c,
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        "Expect: 100-continue\r\n\r\n",
        &r);
    CHECK_EQ(r.status, 200);
    CHECK_EQ(r.closes, 1);
    hear_end(c);
    drop(s);
    leave();
}

TEST(http_server, asks_for_a_body_when_it_is_read)
{
    coir_http_server *s = serve(echo, NULL, NULL);
    coir_socket *c = dial(s);
    char line[100];
    reply r;
    for (int i = 0; i < 2; i++) {
        say(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
               "Expect: 100-continue\r\n\r\n");
        read_line(c, line, sizeof line);
        CHECK_STR(line, "HTTP/1.1 100 Continue\r\n");
        read_line(c, line, sizeof line);
        CHECK_STR(line, "\r\n");
        ask(c, "12345", &r);
        CHECK_STR(r.body, "12345");
    }
    /* Unless it is there already. */
    ask(c,
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        "Expect: 100-continue\r\n\r\n12345",
        &r);
    CHECK_EQ(r.status, 200);
    CHECK_STR(r.body, "12345");
    drop(s);
    hear_end(c);
    leave();
}

static int
read_first(coir_http_exchange *x, void *arg)
{
    char buf[100];
    size_t len = 0;
    ssize_t n;
    (void)arg;
    while ((n = coir_http_read(x, buf + len, sizeof buf - len)) > 0)
        len += (size_t)n;
    int err = n < 0 ? (int)n : coir_http_begin(x, 200, NULL);
    return err < 0 ? err : coir_http_write(x, buf, len);
}

TEST(http_server, closed_after_a_body_that_was_not_waited_for)
{
    static const char *const bodies[] = {
        "Content-Length: 5\r\n\r\n12345",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
    };
    coir_http_server *s = serve(read_first, NULL, NULL);
    coir_socket *c = dial(s);
    char request[200];
    reply r;
    for (int i = 0; i < 4; i++) {
        (void)snprintf(request, sizeof request,
                       "PUT / HTTP/1.1\r\nHost: a\r\n"
                       "Expect: 100-continue\r\n%s",
                       bodies[i % 2]);
        ask(c, request, &r);
        CHECK_EQ(r.status, 200);
        CHECK_EQ(r.closes, 0);
        CHECK_STR(r.body, "12345");
    }
    drop(s);
    hear_end(c);
    leave();
}

static int
run_bad(coir_http_exchange *x)
{
    char buf[100];
    ssize_t n;
    while ((n = coir_http_read(x, buf, sizeof buf)) > 0)
        ;
    CHECK(n < 0);
    CHECK_EQ(coir_http_read(x, buf, sizeof buf), n);
    return (int)n;
}

TEST(http_server, answers_a_bad_body_once_and_closes)
{
    static const struct {
        const char *body;
        int status;
    } cases[] = {
        {"x\r\n", 400},
        {"-1\r\n", 400},
        {"3\r\nabcd\r\n", 400},
        {"ffffffffffffffffff\r\n", 413},
        {"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n", 400},
    };
    script todo = {run_bad, 0};
    coir_http_server *s = serve(act, &todo, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        coir_socket *c = dial(s);
        reply r;
        say(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
               "\r\n");
        say(c, cases[i].body);
        say(c, GET);
        hear(c, &r);
        CHECK_EQ(r.status, cases[i].status);
        CHECK_EQ(r.closes, 1);
        hear_end(c);
    }
    CHECK_EQ(counters(s).requests, 5);
    drop(s);
    leave();
}

/* --- what is no request -------------------------------------------------- */

TEST(http_server, answers_what_is_no_request_once_and_closes)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
         "Transfer-Encoding: chunked\r\n\r\n",
         400},
        {"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417},
        {"PUT / HTTP/1.1\r\nHost: a\r\n"
         "Content-Length: 99999999999999999999\r\n\r\n",
         413},
        {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, "
         "chunked\r\n\r\n",
         501},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
    };
    coir_http_server *s = serve(hello, NULL, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        coir_socket *c = dial(s);
        reply r;
        say(c, cases[i].text);
        say(c, GET); /* and this is not looked at */
        hear(c, &r);
        CHECK_EQ(r.status, cases[i].status);
        CHECK_EQ(r.closes, 1);
        hear_end(c);
        CHECK_EQ(counters(s).bad_requests, i + 1);
    }
    CHECK_EQ(counters(s).requests, 0);
    UNTIL(s, connections, 0);
    drop(s);
    leave();
}

TEST(http_server, accepts_heads_up_to_the_limit)
{
    coir_http_options limits = {.max_head = 30000, .max_field = 20000};
    coir_http_server_options options = {.parser = &limits};
    coir_http_server *s = serve(echo, NULL, &options);
    coir_socket *c = dial(s);
    char field[20000];
    reply r;
    memset(field, 'x', sizeof field);
    for (int i = 0; i < 2; i++) {
        say(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nA: ");
        say_n(c, field, 15000);
        (void)coir_yield();
        say(c, "\r\n\r\n123");
        hear(c, &r);
        CHECK_EQ(r.status, 200);
        CHECK_STR(r.body, "123");
    }
    say(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nA: ");
    say_n(c, field, sizeof field);
    hear(c, &r);
    CHECK_EQ(r.status, 431);
    hear_end(c);
    drop(s);
    leave();
}
