/* test_http_conn.c - connections of the HTTP server: how they come, raw
 * streams, limits, stopping, the access log. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "http_helper.h"

/* --- how they come ------------------------------------------------------- */

static int
say_who(coir_http_exchange *x, void *arg)
{
    char text[200];
    unsigned port = 99;
    const char *peer = coir_http_peer(x, &port);
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    (void)arg;
    CHECK_EQ(coir_http_local_addr(x, (struct sockaddr *)&addr, &len), 0);
    len = sizeof addr;
    CHECK_EQ(coir_http_peer_addr(x, (struct sockaddr *)&addr, &len), 0);
    CHECK(coir_http_connection_fd(x) >= 0);
    CHECK_NULL(coir_http_transport_state(x));
    CHECK_EQ(coir_http_connection_data(x) != NULL,
             coir_http_request_number(x) > 1);
    coir_http_set_connection_data(x, text);
    int n = snprintf(text, sizeof text, "%d %u %s %d", coir_http_listener(x),
                     coir_http_request_number(x), peer, port != 0);
    CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    return coir_http_send(x, text, (size_t)n);
}

TEST(http_conn, come_by_several_listeners)
{
    coir_http_server *s;
    struct sockaddr_in6 any = {.sin6_family = AF_UNSPEC};
    socklen_t len = sizeof any;
    char path[200], host[220];
    (void)snprintf(path, sizeof path, "%s/socket", coir_test_dir());
    (void)snprintf(host, sizeof host, "unix:%s", path);
    CHECK_EQ(coir_http_server_new(&s, say_who, NULL, NULL), 0);
    CHECK_EQ(coir_http_server_bind(s, "127.0.0.1", "0", 0, NULL, NULL), 0);
    CHECK_EQ(coir_http_server_bind(s, host, NULL, 0, NULL, NULL), 1);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_NEW);
    CHECK_EQ(coir_http_server_start(s), 0);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_RUNNING);
    /* While it runs. */
    CHECK_EQ(coir_http_server_bind(s, NULL, "0", 0, NULL, NULL), 2);
    CHECK_EQ(coir_http_server_fd(s, 3), -1);

    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    CHECK_STR(r.body, "0 1 127.0.0.1 1");
    ask(c, GET, &r);
    CHECK_STR(r.body, "0 2 127.0.0.1 1");
    (void)coir_socket_close(c);
    CHECK_EQ(coir_unix_connect(&c, path, LONG), 0);
    ask(c, GET, &r);
    CHECK_STR(r.body, "1 1  0");
    (void)coir_socket_close(c);
    /* An address of IPv4 at a listener for both. */
    if (getsockname(coir_http_server_fd(s, 2), (struct sockaddr *)&any,
                    &len) == 0 &&
        any.sin6_family == AF_INET6) {
        struct sockaddr_in v4 = {.sin_family = AF_INET,
                                 .sin_port = any.sin6_port,
                                 .sin_addr.s_addr = htonl(0x7f0000fe)};
        CHECK_EQ(coir_socket_open(&c, AF_INET, SOCK_STREAM, 0), 0);
        v4.sin_port = 0;
        CHECK_EQ(coir_bind(c, (struct sockaddr *)&v4, sizeof v4), 0);
        v4.sin_port = any.sin6_port;
        CHECK_EQ(coir_connect(c, (struct sockaddr *)&v4, sizeof v4, LONG), 0);
        ask(c, GET, &r);
        CHECK_STR(r.body, "2 1 127.0.0.254 1");
        (void)coir_socket_close(c);
    }
    drop(s);
    leave();
}

TEST(http_conn, replace_a_unix_socket_that_was_left_over)
{
    coir_http_server *s, *other;
    char path[200], host[220];
    (void)snprintf(path, sizeof path, "%s/socket", coir_test_dir());
    (void)snprintf(host, sizeof host, "unix:%s", path);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(coir_http_server_new(&s, say_who, NULL, NULL), 0);
        CHECK_EQ(coir_http_server_bind(s, host, NULL, 0, NULL, NULL), 0);
        CHECK_EQ(coir_http_server_new(&other, say_who, NULL, NULL), 0);
        CHECK_EQ(coir_http_server_bind(other, host, NULL, 0, NULL, NULL),
                 COIR_ERRNO(EADDRINUSE));
        coir_http_server_free(other);
        coir_http_server_free(s); /* leaves the path */
    }
    /* A file is not replaced. */
    CHECK_EQ(unlink(path), 0);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    (void)close(fd);
    CHECK_EQ(coir_http_server_new(&s, say_who, NULL, NULL), 0);
    CHECK_EQ(coir_http_server_bind(s, host, NULL, 0, NULL, NULL),
             COIR_ERRNO(EADDRINUSE));
    CHECK_EQ(coir_http_server_bind(s, "unix:@coir test http_conn", NULL, 0,
                                   NULL, NULL),
             0);
    CHECK_EQ(coir_http_server_bind(s, "unix:", NULL, 0, NULL, NULL),
             COIR_EINVAL);
    CHECK_EQ(coir_http_server_bind(s, "localhost", "0", 0, NULL, NULL),
             COIR_EINVAL);
    CHECK_EQ(coir_http_server_bind(s, "::1", NULL, 0, NULL, NULL),
             COIR_EINVAL);
    coir_http_server_free(s);
    leave();
}

TEST(http_conn, share_a_port_with_another_server)
{
    coir_http_server *a, *b;
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    char port[20];
    CHECK_EQ(coir_http_server_new(&a, say_who, NULL, NULL), 0);
    CHECK_EQ(coir_http_server_new(&b, say_who, NULL, NULL), 0);
    CHECK_EQ(coir_http_server_bind(a, "127.0.0.1", "0", COIR_HTTP_REUSE_PORT,
                                   NULL, NULL),
             0);
    CHECK_EQ(
        getsockname(coir_http_server_fd(a, 0), (struct sockaddr *)&addr, &len),
        0);
    (void)snprintf(port, sizeof port, "%u", ntohs(addr.sin_port));
    CHECK_EQ(coir_http_server_bind(b, "127.0.0.1", port, 0, NULL, NULL),
             COIR_ERRNO(EADDRINUSE));
    CHECK_EQ(coir_http_server_bind(b, "127.0.0.1", port, COIR_HTTP_REUSE_PORT,
                                   NULL, NULL),
             0);
    CHECK_EQ(coir_http_server_start(a), 0);
    CHECK_EQ(coir_http_server_start(b), 0);
    coir_socket *c[20];
    reply r;
    for (int i = 0; i < 20; i++) {
        c[i] = dial(a);
        ask(c[i], GET, &r);
        CHECK_EQ(r.status, 200);
    }
    CHECK_EQ(counters(a).accepted + counters(b).accepted, 20);
    coir_http_server_free(a);
    coir_http_server_free(b);
    for (int i = 0; i < 20; i++)
        (void)coir_socket_close(c[i]);
    leave();
}

TEST(http_conn, are_adopted)
{
    coir_http_server_options options = {.max_connections = 1};
    coir_http_server *s;
    int fds[2], more[2];
    coir_socket *c;
    reply r;
    CHECK_EQ(coir_http_server_new(&s, say_who, NULL, &options), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_EQ(coir_http_server_adopt(s, fds[0], NULL, NULL), 0);
    CHECK_EQ(coir_socket_adopt(&c, fds[1]), 0);
    /* A new one is not given up for another. */
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, more), 0);
    CHECK_EQ(coir_http_server_adopt(s, more[0], NULL, NULL), COIR_EBUSY);
    ask(c, GET, &r);
    CHECK_STR(r.body, "-1 1  0");
    /* An idle one is. */
    CHECK_EQ(dup2(more[1], more[0]), more[0]);
    CHECK_EQ(coir_http_server_adopt(s, more[0], NULL, NULL), 0);
    hear_end(c);
    CHECK_EQ(counters(s).evicted, 1);
    coir_http_server_stop(s, 0, 0);
    CHECK_EQ(coir_http_server_adopt(s, more[1], NULL, NULL), COIR_ECLOSED);
    CHECK_EQ(coir_http_server_start(s), COIR_ECLOSED);
    CHECK_EQ(coir_http_server_listen(s, 0, NULL, NULL), COIR_ECLOSED);
    coir_http_server_free(s);
    CHECK_EQ(coir_http_server_new(&s, say_who, NULL, NULL), 0);
    CHECK_EQ(coir_http_server_adopt(s, -1, NULL, NULL), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_http_server_listen(s, -1, NULL, NULL), COIR_EINVAL);
    coir_http_server_free(s);
    coir_http_server_free(NULL);
    leave();
}

TEST(http_conn, wait_while_the_server_pauses)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_http_server_pause(s);
    coir_socket *c = dial(s);
    reply r;
    say(c, GET);
    (void)coir_sleep(5 * MS);
    CHECK_EQ(counters(s).accepted, 0);
    CHECK_EQ(coir_http_server_start(s), 0);
    hear(c, &r);
    CHECK_EQ(r.status, 200);
    drop(s);
    hear_end(c);
    leave();
}

/* --- pipelining ---------------------------------------------------------- */

static int
repeat_target(coir_http_exchange *x, void *arg)
{
    (void)arg;
    if (x->head->target.len % 2 == 0)
        (void)coir_sleep(1 * MS); /* others do not overtake it */
    CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    return coir_http_send(x, x->base + x->head->target.at,
                          x->head->target.len);
}

TEST(http_conn, are_answered_in_order)
{
    coir_http_server *s = serve(repeat_target, NULL, NULL);
    coir_socket *c = dial(s);
    char text[64 * 60], path[20];
    size_t len = 0;
    reply r;
    for (int i = 0; i < 60; i++)
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
                                i % 5 == 0 ? i : 100 + i);
    say_n(c, text, len);
    for (int i = 0; i < 60; i++) {
        hear(c, &r);
        (void)snprintf(path, sizeof path, "/%d", i % 5 == 0 ? i : 100 + i);
        CHECK_STR(r.body, path);
    }
    drop(s);
    hear_end(c);
    leave();
}

/* --- raw streams --------------------------------------------------------- */

typedef struct raw {
    coir_http_exchange *x;
    int result;
} raw;

static int
send_later(void *arg)
{
    raw *todo = arg;
    struct iovec iov[2] = {{"la", 2}, {"ter", 3}};
    (void)coir_sleep(1 * MS);
    todo->result = coir_http_raw_writev(todo->x, iov, 2, LONG);
    return 0;
}

static int
upgrade(coir_http_exchange *x, void *arg)
{
    char buf[100];
    raw todo = {x, 1};
    (void)arg;
    CHECK_EQ(coir_http_upgrade(x), COIR_EINVAL);
    CHECK_EQ(coir_http_raw_read(x, buf, 1, 0), COIR_EINVAL);
    CHECK_EQ(coir_http_raw_writev(x, NULL, 0, 0), COIR_EINVAL);
    CHECK_EQ(coir_http_raw_shutdown(x), COIR_EINVAL);
    if (x->head->method_id == COIR_HTTP_CONNECT)
        CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    else {
        CHECK_EQ(coir_http_begin(x, 101, NULL), 0);
        CHECK_EQ(coir_http_add_field(x, "Connection", "Upgrade"), 0);
        CHECK_EQ(coir_http_add_field(x, "Upgrade", "x"), 0);
    }
    CHECK_EQ(coir_http_upgrade(x), 0);
    CHECK_EQ(coir_http_write(x, "a", 1), COIR_EINVAL);
    CHECK_EQ(coir_http_raw_read(x, buf, 3, 0), 3);
    CHECK_EQ(memcmp(buf, "one", 3), 0);
    CHECK_EQ(coir_http_raw_read(x, buf, sizeof buf, 0), 3);
    CHECK_EQ(memcmp(buf, "two", 3), 0);
    CHECK_EQ(coir_http_raw_read(x, buf, sizeof buf, 1 * MS), COIR_ETIMEDOUT);
    /* One waits to read, another one writes. */
    coir_green *g = spawn(send_later, &todo);
    CHECK_EQ(coir_http_raw_read(x, buf, sizeof buf, LONG), 5);
    CHECK_EQ(memcmp(buf, "three", 5), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(todo.result, 0);
    CHECK_EQ(coir_http_raw_shutdown(x), 0);
    struct iovec iov = {"x", 1};
    CHECK_EQ(coir_http_raw_writev(x, &iov, 1, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_http_raw_read(x, buf, sizeof buf, LONG), 0);
    return 0;
}

TEST(http_conn, become_raw_streams)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        "Upgrade: x\r\n\r\nonetwo",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nonetwo"};
    for (int i = 0; i < 2; i++) {
        coir_http_server *s = serve(upgrade, NULL, NULL);
        coir_socket *c = dial(s);
        char head[200], line[100];
        say(c, requests[i]);
        size_t len = 0;
        do {
            read_line(c, line, sizeof line);
            if (strncmp(line, "Date: ", 6) != 0)
                len += (size_t)snprintf(head + len, sizeof head - len, "%s",
                                        line);
        } while (strcmp(line, "\r\n") != 0);
        if (i == 0)
            CHECK_STR(head, "HTTP/1.1 101 Switching Protocols\r\n"
                            "Connection: Upgrade\r\nUpgrade: x\r\n\r\n");
        else
            CHECK_STR(head, "HTTP/1.1 200 OK\r\n\r\n");
        read_to(c, line, 5);
        CHECK_EQ(memcmp(line, "later", 5), 0);
        say(c, "three");
        CHECK_EQ(coir_shutdown(c, SHUT_WR), 0);
        hear_end(c);
        UNTIL(s, connections, 0);
        CHECK_EQ(counters(s).upgraded, 1);
        drop(s);
        leave();
    }
}

static int
write_in_vain(coir_http_exchange *x, void *arg)
{
    static char data[1 << 20];
    struct iovec iov = {data, sizeof data};
    int err = 0;
    CHECK_EQ(coir_http_begin(x, 101, NULL), 0);
    CHECK_EQ(coir_http_upgrade(x), 0);
    while (err == 0) {
        iov = (struct iovec){data, sizeof data};
        err = coir_http_raw_writev(x, &iov, 1, 1 * MS);
    }
    CHECK_EQ(err, COIR_ETIMEDOUT);
    iov = (struct iovec){data, sizeof data};
    CHECK_EQ(coir_http_raw_writev(x, &iov, 1, 1 * MS), COIR_ETORN);
    *(int *)arg = 1;
    return 0;
}

TEST(http_conn, raw_streams_are_torn_by_an_interrupted_write)
{
    int done = 0;
    coir_http_server *s = serve(write_in_vain, &done, NULL);
    coir_socket *c = dial(s);
    say(c, GET);
    while (!done)
        (void)coir_sleep(1 * MS);
    (void)coir_socket_close(c);
    drop(s);
    leave();
}

/* --- limits -------------------------------------------------------------- */

static int active, most;

static int
take_time(coir_http_exchange *x, void *arg)
{
    if (++active > most)
        most = active;
    (void)coir_sleep(2 * MS);
    active--;
    return hello(x, arg);
}

static int
ask_twice(void *arg)
{
    coir_socket *c = dial(arg);
    reply r;
    for (int i = 0; i < 2; i++) {
        ask(c, GET, &r);
        CHECK_EQ(r.status, 200);
    }
    (void)coir_socket_close(c);
    return 0;
}

TEST(http_conn, wait_while_many_are_active)
{
    coir_http_server_options options = {.max_active = 3};
    coir_http_server *s = serve(take_time, NULL, &options);
    coir_green *g[20];
    for (int i = 0; i < 20; i++)
        g[i] = spawn(ask_twice, s);
    UNTIL(s, queued, 17);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(join(g[i]), 0);
    CHECK_EQ(most, 3);
    CHECK_EQ(counters(s).requests, 40);
    drop(s);
    leave();
}

TEST(http_conn, end_after_so_many_requests)
{
    coir_http_server_options options = {.max_requests = 2};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    CHECK_EQ(r.closes, 0);
    ask(c, GET GET, &r);
    CHECK_EQ(r.closes, 1);
    hear_end(c);
    drop(s);
    leave();
}

TEST(http_conn, that_are_idle_give_way_to_new_ones)
{
    coir_http_server_options options = {.max_connections = 4};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c[8];
    reply r;
    for (int i = 0; i < 8; i++) {
        c[i] = dial(s);
        ask(c[i], GET, &r);
        CHECK_EQ(r.status, 200);
        CHECK(counters(s).connections <= 4);
        if (i == 3) /* the oldest is not the first any more */
            ask(c[0], GET, &r);
    }
    CHECK_EQ(counters(s).evicted, 4);
    for (int i = 1; i <= 3; i++)
        hear_end(c[i]);
    hear_end(c[0]);
    ask(c[4], GET, &r);
    CHECK_EQ(r.status, 200);
    for (int i = 4; i < 8; i++)
        (void)coir_socket_close(c[i]);
    drop(s);
    leave();
}

static coir_event go = COIR_EVENT_INIT;

static int
wait_to_go(coir_http_exchange *x, void *arg)
{
    int err = coir_event_wait(&go, LONG);
    if (arg != NULL)
        *(int *)arg = err;
    return err < 0 ? err : hello(x, NULL);
}

TEST(http_conn, that_are_too_many_wait_in_the_kernel)
{
    coir_http_server_options options = {.max_connections = 2};
    coir_http_server *s = serve(wait_to_go, NULL, &options);
    coir_socket *c[4];
    reply r;
    for (int i = 0; i < 4; i++) {
        c[i] = dial(s);
        say(c[i], GET);
    }
    UNTIL(s, active, 2);
    unsigned turns = coir_loop_iteration(coir_http_server_loop(s));
    (void)coir_sleep(20 * MS);
    /* It does not spin. */
    CHECK(coir_loop_iteration(coir_http_server_loop(s)) - turns < 10);
    CHECK_EQ(counters(s).accepted, 2);
    CHECK(counters(s).accept_pauses >= 1);
    coir_event_set(&go);
    for (int i = 0; i < 4; i++) {
        hear(c[i], &r);
        CHECK_EQ(r.status, 200);
        (void)coir_socket_close(c[i]);
    }
    drop(s);
    leave();
}

/* --- stopping ------------------------------------------------------------ */

TEST(http_conn, are_served_to_the_end_when_the_server_stops)
{
    coir_http_server *s = serve(wait_to_go, NULL, NULL);
    coir_socket *idle = dial(s), *busy = dial(s), *fresh = dial(s);
    coir_socket *half = dial(s), *unseen;
    reply r;
    coir_event_set(&go);
    ask(idle, GET, &r);
    coir_event_clear(&go);
    say(busy, GET);
    say(half, "GET / HTTP/1.1\r\n");
    UNTIL(s, active, 1);
    UNTIL(s, reading, 1);
    unseen = dial(s); /* not even accepted */
    say(unseen, GET);
    coir_http_server_stop(s, LONG, LONG);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_STOPPING);
    CHECK_EQ(coir_http_server_fd(s, 0), -1);
    CHECK_EQ(coir_http_server_join(s, 5 * MS), COIR_ETIMEDOUT);
    say(fresh, GET);
    say(half, "Host: a\r\n\r\n");
    UNTIL(s, active, 4);
    coir_event_set(&go);
    coir_socket *served[] = {busy, fresh, half, unseen};
    for (int i = 0; i < 4; i++) {
        hear(served[i], &r);
        CHECK_EQ(r.status, 200);
        CHECK_EQ(r.closes, 1);
        hear_end(served[i]);
    }
    hear_end(idle);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_STOPPED);
    coir_http_server_free(s);
    leave();
}

TEST(http_conn, that_have_sent_their_request_are_not_closed_as_idle)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    say(c, GET); /* the server's loop has not run since */
    coir_http_server_stop(s, LONG, LONG);
    hear(c, &r);
    CHECK_EQ(r.closes, 1);
    hear_end(c);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    coir_http_server_free(s);
    leave();
}

TEST(http_conn, handlers_are_cancelled_after_the_grace)
{
    int result = 0;
    coir_http_server *s = serve(wait_to_go, &result, NULL);
    coir_socket *c = dial(s), *half = dial(s);
    reply r;
    say(c, GET);
    say(half, "GET");
    UNTIL(s, active, 1);
    UNTIL(s, reading, 1);
    coir_http_server_stop(s, 5 * MS, LONG);
    hear(c, &r);
    CHECK_EQ(r.status, 503);
    CHECK_EQ(r.closes, 1);
    CHECK_EQ(result, COIR_ECANCELED);
    hear_end(c);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    (void)coir_socket_close(half);
    coir_http_server_free(s);
    leave();
}

/* One that does not care for being cancelled. */
static int
stubborn(coir_http_exchange *x, void *arg)
{
    coir_shield_begin();
    (void)coir_event_wait(&go, LONG);
    coir_shield_end();
    *(int *)arg = coir_http_begin(x, 200, NULL);
    return coir_http_send(x, "late", 4);
}

TEST(http_conn, are_closed_in_the_end)
{
    int result = 1;
    coir_http_server *s = serve(stubborn, &result, NULL);
    coir_socket *c = dial(s);
    say(c, GET);
    UNTIL(s, active, 1);
    coir_http_server_stop(s, 2 * MS, 2 * MS);
    while (coir_http_server_state(s) != COIR_HTTP_CLOSING)
        (void)coir_sleep(1 * MS);
    hear_end(c); /* though the handler still runs */
    CHECK_EQ(result, 1);
    coir_http_server_free(s); /* so it stays for a while */
    coir_event_set(&go);
    leave();
    CHECK_EQ(result, 0);
}

TEST(http_conn, a_second_stop_shortens_the_first)
{
    int result = 0;
    coir_http_server *s = serve(wait_to_go, &result, NULL);
    coir_socket *c = dial(s);
    reply r;
    say(c, GET);
    UNTIL(s, active, 1);
    coir_http_server_stop(s, LONG, LONG);
    coir_http_server_stop(s, 2 * LONG, 2 * LONG);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_STOPPING);
    coir_http_server_stop(s, 0, LONG);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_CANCELING);
    hear(c, &r);
    CHECK_EQ(r.status, 503);
    hear_end(c);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    coir_http_server_free(s);
    leave();
}

static int
stop_here(coir_http_exchange *x, void *arg)
{
    (void)arg;
    coir_http_server_stop(x->server, LONG, LONG);
    return hello(x, NULL);
}

TEST(http_conn, a_handler_may_stop_the_server)
{
    coir_http_server *s = serve(stop_here, NULL, NULL);
    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    CHECK_EQ(r.status, 200);
    hear_end(c);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    coir_http_server_free(s);
    leave();
}

/* --- under load ---------------------------------------------------------- */

typedef struct load {
    coir_http_server *server;
    int answered;
} load;

static int
is_closed(coir_socket *c)
{
    char byte;
    return coir_recv(c, &byte, 1, MSG_PEEK, 0) == 0;
}

/* Ask until the server is gone. What was asked has to be answered. */
static int
keep_asking(void *arg)
{
    load *l = arg;
    coir_socket *c = dial(l->server);
    reply r;
    while (!is_closed(c)) {
        ask(c, GET, &r);
        CHECK_EQ(r.status, 200);
        CHECK_STR(r.body, "hello");
        l->answered++;
        if (r.closes) {
            hear_end(c);
            if (coir_http_server_state(l->server) >= COIR_HTTP_STOPPING)
                return 0;
            c = dial(l->server);
        }
        else if (l->answered % 7 == 0)
            (void)coir_sleep(1 * MS);
    }
    (void)coir_socket_close(c);
    return 0;
}

TEST(http_conn, none_fails_when_the_server_stops_under_load)
{
    load l = {serve(take_time, NULL, NULL), 0};
    coir_green *g[50];
    for (int i = 0; i < 50; i++)
        g[i] = spawn(keep_asking, &l);
    while (l.answered < 500)
        (void)coir_sleep(1 * MS);
    coir_http_server_stop(l.server, LONG, LONG);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(join(g[i]), 0);
    CHECK_EQ(coir_http_server_join(l.server, LONG), 0);
    coir_http_counters c = counters(l.server);
    CHECK_EQ(c.responses, c.by_class[2]);
    CHECK_EQ(c.responses, l.answered);
    CHECK_EQ(c.aborted, 0);
    coir_http_server_free(l.server);
    leave();
}

/* --- the access log ------------------------------------------------------ */

static void
read_log(int fd, char *out, size_t size)
{
    ssize_t n = pread(fd, out, size - 1, 0);
    CHECK(n >= 0);
    out[n] = '\0';
}

/* Drop what differs from run to run. */
static void
hide(char *text, const char *from, const char *to)
{
    char *at = text;
    while ((at = strstr(at, from)) != NULL) {
        at += strlen(from);
        char *end = strstr(at, to);
        CHECK(end != NULL);
        memmove(at, end, strlen(end) + 1);
    }
}

static void
logged(int format, const char *request, char *out, size_t size)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/log", coir_test_dir());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd > 0);
    coir_http_server_options options = {.log_format = format, .log_fd = fd};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c = dial(s);
    reply r;
    say(c, request);
    hear_some(c, &r, strncmp(request, "HEAD", 4) != 0);
    (void)coir_socket_close(c);
    UNTIL(s, connections, 0);
    drop(s);
    read_log(fd, out, size);
    (void)close(fd);
}

TEST(http_conn, are_logged)
{
    char out[4096];
    logged(COIR_HTTP_LOG_COMMON, GET, out, sizeof out);
    hide(out, "[", "]");
    CHECK_STR(out, "127.0.0.1 - - [] \"GET / HTTP/1.1\" 200 5\n");
    logged(COIR_HTTP_LOG_COMMON, "HEAD / HTTP/1.0\r\n\r\n", out, sizeof out);
    hide(out, "[", "]");
    CHECK_STR(out, "127.0.0.1 - - [] \"HEAD / HTTP/1.0\" 200 -\n");
    logged(COIR_HTTP_LOG_COMBINED, GET, out, sizeof out);
    hide(out, "[", "]");
    CHECK_STR(out, "127.0.0.1 - - [] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n");
    leave();
}

TEST(http_conn, are_logged_with_what_they_say_escaped)
{
    static const char request[] =
        "GET /a HTTP/1.1\r\nHost: a\r\nReferer: http://b/\r\n"
        "User-Agent: x\"\\\t\xff\r\n\r\n";
    char out[4096];
    logged(COIR_HTTP_LOG_COMBINED, request, out, sizeof out);
    hide(out, "[", "]");
    CHECK_STR(out, "127.0.0.1 - - [] \"GET /a HTTP/1.1\" 200 5 "
                   "\"http://b/\" \"x\\\"\\\\\\x09\\xff\"\n");
    logged(COIR_HTTP_LOG_JSON, request, out, sizeof out);
    hide(out, "\"time\":\"", "\"");
    hide(out, "\"duration_us\":", ",");
    CHECK_STR(out,
              "{\"time\":\"\",\"remote\":\"127.0.0.1\",\"method\":\"GET\","
              "\"target\":\"/a\",\"version\":\"1.1\",\"status\":200,"
              "\"bytes\":5,\"duration_us\":,\"host\":\"a\","
              "\"referer\":\"http://b/\","
              "\"user_agent\":\"x\\\"\\\\\\u0009\\u00ff\"}\n");
    /* What is no request. */
    logged(COIR_HTTP_LOG_COMMON, "G\"T \x01\r\nHost: a\r\n\r\n", out,
           sizeof out);
    hide(out, "[", "]");
    CHECK_STR(out, "127.0.0.1 - - [] \"G\\\"T \\x01\" 400 12\n");
    logged(COIR_HTTP_LOG_JSON, "GET\n\n", out, sizeof out);
    hide(out, "\"time\":\"", "\"");
    hide(out, "\"duration_us\":", "}");
    CHECK_STR(out, "{\"time\":\"\",\"remote\":\"127.0.0.1\",\"raw\":\"GET\","
                   "\"status\":400,\"bytes\":12,\"duration_us\":}\n");
    leave();
}

TEST(http_conn, lose_lines_of_the_log_rather_than_wait)
{
    int fds[2];
    CHECK_EQ(pipe2(fds, O_NONBLOCK), 0);
    coir_http_server_options options = {.log_format = COIR_HTTP_LOG_COMMON,
                                        .log_fd = fds[1]};
    static char buf[4096];
    ssize_t n;
    while (write(fds[1], buf, sizeof buf) > 0)
        ;
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    ask(c, GET, &r);
    UNTIL(s, log_lost, 2);
    while (read(fds[0], buf, sizeof buf) > 0)
        ;
    ask(c, GET, &r);
    while ((n = read(fds[0], buf, sizeof buf)) < 0)
        (void)coir_sleep(1 * MS);
    CHECK(n > 0 && memcmp(buf, "127.0.0.1 - - [", 15) == 0);
    (void)coir_socket_close(c);
    drop(s);
    (void)close(fds[0]);
    (void)close(fds[1]);
    leave();
}
