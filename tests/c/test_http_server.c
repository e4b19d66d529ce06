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
