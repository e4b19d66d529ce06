/* test_http_time.c - what the HTTP server does when time passes, on a clock
 * that stands still, and with a host of its own: one that handles a request
 * when the test says so, and whose waits let time pass in steps. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coir/http_server.h>

#include "loop_helper.h"

static coir_loop *loop;
static fake clock_now;
static coir_http_exchange *started[16];
static int started_count;
static int cancel_reason;
static int closed_count, stopped_count;
static int64_t step_ns;         /* of time, while a handler waits */
static void (*each_step)(void); /* what the client does then */
static int woken[2], wake_result[2];
static int64_t last_timeout_ns;
static int refuses;
static char logged[4096];

static void
turn(void)
{
    for (int i = 0; i < 3; i++)
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    coir_loop_verify(loop);
}

static void
pass(int64_t ns)
{
    fake_advance(&clock_now, ns);
    turn();
}

static int
host_start(void *ctx, coir_http_exchange *x)
{
    CHECK_STR(ctx, "ctx");
    CHECK_NULL(x->user);
    if (refuses)
        return COIR_ENOMEM;
    CHECK(started_count < 16);
    started[started_count++] = x;
    return 0;
}

static int
host_wait(void *ctx, coir_http_exchange *x, int slot, int64_t timeout_ns)
{
    int64_t end = timeout_ns == COIR_FOREVER
                      ? COIR_FOREVER
                      : clock_now.monotonic + timeout_ns;
    CHECK_STR(ctx, "ctx");
    x->waiting[slot] = x;
    last_timeout_ns = timeout_ns;
    woken[slot] = 0;
    while (!woken[slot]) {
        if (clock_now.monotonic >= end) {
            x->waiting[slot] = NULL;
            return COIR_ETIMEDOUT;
        }
        pass(step_ns);
        if (each_step != NULL)
            each_step();
        turn();
    }
    x->waiting[slot] = NULL;
    return wake_result[slot];
}

static void
host_wake(void *ctx, coir_http_exchange *x, int slot, int result)
{
    CHECK_STR(ctx, "ctx");
    CHECK_EQ(x->waiting[slot], x);
    CHECK_EQ(woken[slot], 0);
    woken[slot] = 1;
    wake_result[slot] = result;
}

static void
host_cancel(void *ctx, coir_http_exchange *x, int reason)
{
    CHECK_STR(ctx, "ctx");
    CHECK(x != NULL);
    cancel_reason = reason;
}

static void
host_log(void *ctx, const char *line, size_t len)
{
    CHECK_STR(ctx, "ctx");
    CHECK(len < sizeof logged);
    memcpy(logged, line, len);
    logged[len] = '\0';
}

static void
host_closed(void *ctx, void *data)
{
    CHECK_STR(ctx, "ctx");
    CHECK_STR(data, "data");
    closed_count++;
}

static void
host_stopped(void *ctx, coir_http_server *s)
{
    CHECK_STR(ctx, "ctx");
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_STOPPED);
    stopped_count++;
}

static const coir_http_host host = {host_start,   host_wait, host_wake,
                                    host_cancel,  host_log,  host_closed,
                                    host_stopped, NULL};

static coir_http_server *
new_server(const coir_http_server_options *options)
{
    static char ctx[] = "ctx";
    coir__clock clock = {fake_monotonic, fake_wall, fake_sleep, &clock_now};
    coir_http_server *s;
    if (loop == NULL) {
        clock_now.monotonic = 1000 * S;
        clock_now.wall = FAKE_WALL;
        CHECK_EQ(coir__loop_new_with(&loop, COIR_LOOP_NOENV,
                                     &coir__backend_epoll, &clock),
                 0);
    }
    step_ns = S;
    CHECK_EQ(coir_http_server_new_on(&s, loop, &host, ctx, options), 0);
    CHECK_EQ(coir_http_server_ctx(s), (intptr_t)ctx);
    CHECK_EQ(coir_http_server_loop(s), (intptr_t)loop);
    return s;
}

static void
end(coir_http_server *s)
{
    coir_http_server_free(s);
    CHECK_EQ(stopped_count, 1);
    coir_loop_verify(loop);
    CHECK_EQ(coir_loop_active_count(loop), 0);
    coir_loop_free(loop);
}

static int
dial_by(coir_http_server *s, const coir_http_transport *transport)
{
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    CHECK_EQ(coir_http_server_adopt(s, fds[0], transport, fds), 0);
    turn();
    return fds[1];
}

static int
dial(coir_http_server *s)
{
    return dial_by(s, NULL);
}

static void
say(int fd, const char *text)
{
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    turn();
}

/* What there is to be read; "-": nothing, "": the end. */
static const char *
heard(int fd)
{
    static char text[4096];
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n < 0 && errno == EAGAIN)
        return "-";
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static int
status_heard(int fd)
{
    int status = -1;
    (void)sscanf(heard(fd), "HTTP/1.1 %d", &status);
    return status;
}

/* Answer what was started. */
static void
answer(void)
{
    for (int i = 0; i < started_count; i++) {
        coir_http_exchange *x = started[i];
        do {
            static char data[] = "data";
            coir_http_set_connection_data(x, data);
            CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
            CHECK_EQ(coir_http_send(x, "hello", 5), 0);
        } while (coir_http_finish(x));
    }
    started_count = 0;
    turn();
}

static coir_http_counters
counters(const coir_http_server *s)
{
    coir_http_counters c;
    coir_http_server_counters(s, &c);
    return c;
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

TEST(http_time, a_silent_client_is_closed)
{
    coir_http_server *s = new_server(NULL);
    int fd = dial(s);
    pass(20 * S - MS);
    CHECK_STR(heard(fd), "-");
    pass(2 * MS);
    CHECK_STR(heard(fd), "");
    CHECK_EQ(counters(s).head_timeouts, 1);
    CHECK_EQ(counters(s).connections, 0);
    (void)close(fd);
    end(s);
}

TEST(http_time, a_head_must_be_complete_in_time_however_it_comes)
{
    coir_http_server *s = new_server(NULL);
    int fd = dial(s);
    static const char slow[] = "GET / HTTP/1.1\r\nHost: abcdefghijk";
    for (int i = 0; i < 20; i++) {
        char byte[2] = {slow[i], '\0'};
        say(fd, byte);
        CHECK_STR(heard(fd), "-");
        CHECK_EQ(counters(s).reading, 1);
        pass(S);
    }
    pass(MS);
    CHECK_EQ(status_heard(fd), 408);
    CHECK_STR(heard(fd), "");
    CHECK_EQ(counters(s).lingering, 1);
    CHECK_EQ(counters(s).head_timeouts, 1);
    pass(5 * S + MS);
    CHECK_EQ(counters(s).connections, 0);
    (void)close(fd);
    end(s);
}

TEST(http_time, an_idle_client_is_closed)
{
    coir_http_server *s = new_server(NULL);
    int fd = dial(s);
    for (int i = 0; i < 3; i++) {
        pass((i == 0 ? 19 : 74) * S);
        say(fd, GET);
        answer();
        CHECK_EQ(status_heard(fd), 200);
        CHECK_EQ(counters(s).idle, 1);
    }
    pass(75 * S - MS);
    CHECK_STR(heard(fd), "-");
    pass(2 * MS);
    CHECK_STR(heard(fd), "");
    CHECK_EQ(counters(s).idle_timeouts, 1);
    CHECK_EQ(closed_count, 1);
    (void)close(fd);
    end(s);
}

TEST(http_time, a_later_head_has_its_time_from_its_first_byte)
{
    coir_http_server *s = new_server(NULL);
    int fd = dial(s);
    say(fd, GET);
    answer();
    (void)heard(fd);
    pass(60 * S);
    say(fd, "GET /");
    pass(19 * S);
    CHECK_STR(heard(fd), "-");
    say(fd, " HTTP");
    pass(S + MS);
    CHECK_EQ(status_heard(fd), 408);
    (void)close(fd);
    turn();
    CHECK_EQ(counters(s).connections, 0);
    end(s);
}

TEST(http_time, many_clients_are_closed_each_in_its_time)
{
    coir_http_server_options options = {.head_timeout_ns = 3 * S,
                                        .idle_timeout_ns = 5 * S};
    coir_http_server *s = new_server(&options);
    int fds[20];
    for (int i = 0; i < 20; i++) {
        fds[i] = dial(s);
        if (i % 2) {
            say(fds[i], GET);
            answer();
            CHECK_EQ(status_heard(fds[i]), 200);
        }
        pass(100 * MS);
    }
    pass(50 * MS);
    for (int i = 0; i < 70; i++) {
        for (int k = 0; k < 20; k++) {
            int64_t age = (20 - k + i) * 100 * MS + 50 * MS;
            int is_over = age > (k % 2 ? 5 : 3) * S;
            CHECK_STR(heard(fds[k]), is_over ? "" : "-");
        }
        pass(100 * MS);
    }
    for (int i = 0; i < 20; i++)
        (void)close(fds[i]);
    end(s);
}

/* --- bodies -------------------------------------------------------------- */

static int client;
static int stops_after;

static void
send_byte(void)
{
    if (stops_after-- > 0)
        CHECK_EQ(write(client, "x", 1), 1);
}

/* Read the body of what was started. */
static ssize_t
read_body(size_t *len)
{
    char buf[100];
    ssize_t n;
    CHECK_EQ(started_count, 1);
    *len = 0;
    while ((n = coir_http_read(started[0], buf, sizeof buf)) > 0)
        *len += (size_t)n;
    return n;
}

TEST(http_time, a_body_that_comes_too_slowly_is_not_waited_for)
{
    coir_http_server *s = new_server(NULL);
    size_t len;
    client = dial(s);
    stops_after = 1000;
    each_step = send_byte;
    say(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    int64_t from = clock_now.monotonic;
    CHECK_EQ(read_body(&len), COIR_ETIMEDOUT);
    /* 20 s and what its bytes have earned. */
    CHECK(len >= 19 && len <= 21);
    CHECK(clock_now.monotonic - from <= 22 * S);
    CHECK_EQ(counters(s).read_timeouts, 1);
    CHECK_EQ(coir_http_finish(started[0]), 0);
    CHECK_EQ(status_heard(client), 408);
    (void)close(client);
    turn();
    CHECK_EQ(counters(s).connections, 0);
    end(s);
}

TEST(http_time, a_body_that_comes_fast_enough_takes_its_time)
{
    coir_http_server_options options = {.min_rate = 1, .rate_grace_ns = S};
    coir_http_server *s = new_server(&options);
    size_t len;
    client = dial(s);
    stops_after = 1000;
    each_step = send_byte;
    say(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n");
    CHECK_EQ(read_body(&len), 0);
    CHECK_EQ(len, 500);
    answer();
    CHECK_EQ(status_heard(client), 200);
    (void)close(client);
    turn();
    end(s);
}

TEST(http_time, a_client_may_end_before_its_body)
{
    coir_http_server *s = new_server(NULL);
    size_t len;
    client = dial(s);
    say(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab");
    CHECK_EQ(shutdown(client, SHUT_WR), 0);
    CHECK_EQ(read_body(&len), COIR_EEOF);
    CHECK_EQ(len, 2);
    CHECK_EQ(coir_http_finish(started[0]), 0);
    CHECK_EQ(status_heard(client), 500);
    (void)close(client);
    turn();
    CHECK_EQ(counters(s).connections, 0);
    end(s);
}

TEST(http_time, a_response_that_is_not_read_is_given_up)
{
    static char data[1 << 20];
    coir_http_server *s = new_server(NULL);
    client = dial(s);
    say(client, GET);
    CHECK_EQ(coir_http_begin(started[0], 200, NULL), 0);
    int64_t from = clock_now.monotonic;
    CHECK_EQ(coir_http_send(started[0], data, sizeof data), COIR_ETIMEDOUT);
    int64_t took = clock_now.monotonic - from;
    CHECK(took >= 20 * S && took < 5000 * S);
    CHECK_EQ(counters(s).write_timeouts, 1);
    CHECK_EQ(coir_http_write(started[0], "a", 1), COIR_ETIMEDOUT);
    CHECK_EQ(coir_http_finish(started[0]), 0);
    CHECK_EQ(counters(s).connections, 0);
    CHECK_EQ(counters(s).aborted, 1);
    (void)close(client);
    end(s);
}

TEST(http_time, the_rest_of_a_body_is_not_waited_for_long)
{
    coir_http_server *s = new_server(NULL);
    client = dial(s);
    say(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab");
    answer();
    CHECK_EQ(status_heard(client), 200);
    CHECK_EQ(counters(s).reading, 1);
    pass(5 * S - MS);
    CHECK_STR(heard(client), "-");
    pass(2 * MS);
    CHECK_STR(heard(client), "");
    (void)close(client);
    end(s);
}

/* --- after an error ------------------------------------------------------ */

TEST(http_time, a_client_that_was_refused_is_listened_to_for_a_while)
{
    static char data[65536];
    coir_http_server *s = new_server(NULL);
    int fd = dial(s);
    say(fd, "nonsense\r\n\r\n");
    CHECK_EQ(status_heard(fd), 400);
    CHECK_STR(heard(fd), "");
    CHECK_EQ(write(fd, data, 1000), 1000);
    turn();
    CHECK_EQ(counters(s).lingering, 1);
    pass(5 * S + MS);
    CHECK_EQ(counters(s).connections, 0);
    CHECK(send(fd, data, 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
    (void)close(fd);
    /* Nor to all that it may send. */
    fd = dial(s);
    say(fd, "nonsense\r\n\r\n");
    size_t sent = 0;
    while (counters(s).connections > 0) {
        ssize_t n = send(fd, data, sizeof data, MSG_NOSIGNAL);
        CHECK(n > 0);
        sent += (size_t)n;
        turn();
    }
    CHECK(sent > 900000 && sent < 2000000);
    (void)close(fd);
    end(s);
}

/* --- requests ------------------------------------------------------------ */

TEST(http_time, a_request_has_a_deadline_if_that_is_asked_for)
{
    coir_http_server_options options = {.request_timeout_ns = 30 * S};
    coir_http_server *s = new_server(&options);
    size_t len;
    client = dial(s);
    /* It reads a body. */
    stops_after = 1000;
    each_step = send_byte;
    options.min_rate = UINT32_MAX;
    say(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n");
    pass(25 * S);
    CHECK_EQ(read_body(&len), COIR_ETIMEDOUT);
    CHECK(len >= 4 && len <= 6);
    CHECK_EQ(cancel_reason, COIR_ETIMEDOUT);
    CHECK_EQ(counters(s).request_timeouts, 1);
    CHECK_EQ(counters(s).active, 1);
    CHECK_EQ(coir_http_finish(started[0]), 0);
    CHECK_EQ(status_heard(client), 503);
    (void)close(client);
    turn();
    end(s);
}

TEST(http_time, the_deadline_of_a_request_ends_with_its_upgrade)
{
    coir_http_server_options options = {.request_timeout_ns = 30 * S};
    coir_http_server *s = new_server(&options);
    int fd = dial(s);
    say(fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
            "Upgrade: x\r\n\r\n");
    CHECK_EQ(coir_http_begin(started[0], 101, NULL), 0);
    CHECK_EQ(coir_http_add_field(started[0], "Upgrade", "x"), 0);
    CHECK_EQ(coir_http_upgrade(started[0]), 0);
    pass(20 * S);
    int other = dial(s);
    say(other, GET);
    pass(20 * S);
    CHECK_EQ(cancel_reason, 0);
    /* Others have theirs. */
    pass(20 * S);
    CHECK_EQ(cancel_reason, COIR_ETIMEDOUT);
    CHECK_EQ(counters(s).request_timeouts, 1);
    struct iovec a = {(char[]){"a"}, 1};
    CHECK(coir_http_raw_writev(started[0], &a, 1, COIR_FOREVER) >= 0);
    CHECK_EQ(coir_http_finish(started[0]), 0);
    CHECK_EQ(coir_http_finish(started[1]), 0);
    CHECK_EQ(status_heard(fd), 101);
    CHECK_EQ(status_heard(other), 503);
    (void)close(fd);
    (void)close(other);
    turn();
    end(s);
}

TEST(http_time, a_handler_that_is_late_may_still_answer)
{
    coir_http_server_options options = {.request_timeout_ns = 30 * S,
                                        .max_active = 1};
    coir_http_server *s = new_server(&options);
    int fd = dial(s), other = dial(s);
    say(fd, GET);
    say(other, GET);
    CHECK_EQ(counters(s).queued, 1);
    pass(31 * S);
    CHECK_EQ(cancel_reason, COIR_ETIMEDOUT);
    CHECK_EQ(counters(s).request_timeouts, 2);
    /* One that was waiting for its turn is answered at once. */
    CHECK_EQ(status_heard(other), 503);
    CHECK_EQ(coir_http_begin(started[0], 200, NULL), 0);
    CHECK_EQ(coir_http_write(started[0], "a", 1), COIR_ETIMEDOUT);
    CHECK_EQ(coir_http_finish(started[0]), 0);
    CHECK_EQ(status_heard(fd), 503);
    (void)close(fd);
    (void)close(other);
    turn();
    end(s);
}

TEST(http_time, a_host_that_cannot_start_is_answered_for)
{
    coir_http_server_options options = {.log_format = COIR_HTTP_LOG_COMMON};
    coir_http_server *s = new_server(&options);
    int fd = dial(s);
    refuses = 1;
    say(fd, GET);
    CHECK_EQ(status_heard(fd), 503);
    CHECK_EQ(counters(s).refused, 1);
    CHECK_STR(logged, "- - - [09/Sep/2001:01:46:40 +0000] "
                      "\"GET / HTTP/1.1\" 503 20\n");
    (void)close(fd);
    turn();
    CHECK_EQ(counters(s).connections, 0);
    end(s);
}

TEST(http_time, the_date_is_that_of_the_clock)
{
    coir_http_server *s = new_server(NULL);
    int fd = dial(s);
    for (int i = 0; i < 3; i++) {
        char date[60];
        say(fd, GET);
        answer();
        (void)snprintf(date, sizeof date,
                       "\r\nDate: Sun, 09 Sep 2001 01:46:%d GMT\r\n", 40 + i);
        CHECK(strstr(heard(fd), date) != NULL);
        pass(S);
    }
    (void)close(fd);
    turn();
    end(s);
}

/* --- stopping ------------------------------------------------------------ */

TEST(http_time, a_new_client_does_not_hold_the_end_up_for_long)
{
    coir_http_server *s = new_server(NULL);
    int fd = dial(s), half = dial(s);
    say(half, "GET / ");
    coir_http_server_stop(s, 100 * S, 100 * S);
    pass(500 * MS - MS);
    CHECK_EQ(stopped_count, 0);
    CHECK_STR(heard(fd), "-");
    pass(2 * MS);
    CHECK_STR(heard(fd), "");
    CHECK_EQ(status_heard(half), 408);
    (void)close(half);
    turn();
    CHECK_EQ(stopped_count, 1);
    (void)close(fd);
    end(s);
}

TEST(http_time, clients_that_were_answered_and_stay_do_not_hold_the_end_up)
{
    coir_http_server *s = new_server(NULL);
    int before = dial(s), after = dial(s);
    say(before, "nonsense\r\n\r\n");
    say(after, GET);
    CHECK_EQ(counters(s).lingering, 1);
    coir_http_server_stop(s, 100 * S, 100 * S);
    pass(500 * MS + MS);
    CHECK_EQ(counters(s).lingering, 0);
    CHECK_EQ(stopped_count, 0);
    answer();
    CHECK_EQ(status_heard(after), 200);
    CHECK_EQ(counters(s).lingering, 1);
    pass(500 * MS + MS);
    CHECK_EQ(stopped_count, 1);
    (void)close(before);
    (void)close(after);
    end(s);
}

TEST(http_time, a_client_that_was_just_served_may_ask_once_more)
{
    coir_http_server *s = new_server(NULL);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(s);
        say(fds[i], GET);
        answer();
        CHECK_EQ(status_heard(fds[i]), 200);
        if (i == 0)
            pass(600 * MS);
    }
    pass(300 * MS);
    coir_http_server_stop(s, 100 * S, 100 * S);
    turn();
    CHECK_STR(heard(fds[0]), ""); /* idle for long */
    CHECK_STR(heard(fds[1]), "-");
    say(fds[1], GET);
    answer();
    CHECK(strstr(heard(fds[1]), "\r\nConnection: close\r\n") != NULL);
    pass(500 * MS - MS);
    CHECK_STR(heard(fds[2]), "-");
    pass(2 * MS);
    CHECK_STR(heard(fds[2]), "");
    for (int i = 0; i < 3; i++)
        (void)close(fds[i]);
    turn();
    CHECK_EQ(stopped_count, 1);
    CHECK_EQ(counters(s).head_timeouts, 0);
    end(s);
}

TEST(http_time, the_steps_of_stopping_come_one_after_the_other)
{
    coir_http_server *s = new_server(NULL);
    int fd = dial(s);
    say(fd, GET);
    coir_http_server_stop(s, 10 * S, 5 * S);
    pass(10 * S - MS);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_STOPPING);
    CHECK_EQ(cancel_reason, 0);
    pass(2 * MS);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_CANCELING);
    CHECK_EQ(cancel_reason, COIR_ECANCELED);
    CHECK_STR(heard(fd), "-");
    pass(5 * S);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_CLOSING);
    CHECK_STR(heard(fd), "");
    pass(1000 * S);
    CHECK_EQ(stopped_count, 0);
    CHECK_EQ(coir_http_begin(started[0], 200, NULL), 0);
    CHECK_EQ(coir_http_send(started[0], "a", 1), COIR_ECLOSED);
    CHECK_EQ(coir_http_finish(started[0]), 0);
    CHECK_EQ(stopped_count, 1);
    (void)close(fd);
    end(s);
}

/* --- transports ---------------------------------------------------------- */

/* One that wants what the test says, then lets bytes pass as they are. */
static int shake_result, transports_closed, shut_down, pending_says;

static int
pass_open(void *ctx, int fd, void **state)
{
    CHECK_EQ(fd, ((int *)ctx)[0]);
    if (shake_result == COIR_ENOMEM)
        return COIR_ENOMEM;
    int *kept = malloc(sizeof *kept);
    CHECK(kept != NULL);
    *kept = fd;
    *state = kept;
    return 0;
}

static int
pass_handshake(void *state)
{
    CHECK(*(int *)state >= 0);
    return shake_result;
}

static ssize_t
pass_read(void *state, void *buf, size_t len)
{
    ssize_t n = read(*(int *)state, buf, len);
    return n < 0 && errno == EAGAIN ? COIR_HTTP_WANT_READ : n;
}

static ssize_t
pass_writev(void *state, const struct iovec *iov, int count)
{
    ssize_t n = writev(*(int *)state, iov, count);
    return n < 0 && errno == EAGAIN ? COIR_HTTP_WANT_WRITE : n;
}

static int
pass_pending(void *state)
{
    CHECK(*(int *)state >= 0);
    return pending_says;
}

static int
pass_shutdown(void *state)
{
    CHECK(*(int *)state >= 0);
    shut_down++;
    return 0;
}

static void
pass_close(void *state)
{
    free(state);
    transports_closed++;
}

static const coir_http_transport pass_through = {
    "pass",      pass_open,    pass_handshake, pass_read,
    pass_writev, pass_pending, pass_shutdown,  pass_close};

TEST(http_time, a_handshake_must_be_done_in_time)
{
    coir_http_server *s = new_server(NULL);
    shake_result = COIR_HTTP_WANT_READ;
    int fd = dial_by(s, &pass_through);
    CHECK_EQ(counters(s).shaking, 1);
    for (int i = 0; i < 9; i++) {
        say(fd, "x");
        pass(S);
    }
    CHECK_STR(heard(fd), "-");
    pass(S + MS);
    CHECK_STR(heard(fd), "");
    CHECK_EQ(counters(s).handshake_timeouts, 1);
    CHECK_EQ(transports_closed, 1);
    (void)close(fd);
    shake_result = COIR_EINVAL;
    fd = dial_by(s, &pass_through);
    CHECK_STR(heard(fd), "");
    CHECK_EQ(counters(s).handshake_errors, 1);
    (void)close(fd);
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    shake_result = COIR_ENOMEM;
    CHECK_EQ(coir_http_server_adopt(s, fds[0], &pass_through, fds),
             COIR_ENOMEM);
    (void)close(fds[1]);
    CHECK_EQ(transports_closed, 2);
    end(s);
}

TEST(http_time, a_transport_carries_requests)
{
    static char data[300000];
    for (pending_says = 0; pending_says < 2; pending_says++) {
        coir_http_server *s;
        stopped_count = 0;
        loop = NULL;
        s = new_server(NULL);
        shake_result = COIR_HTTP_WANT_WRITE;
        client = dial_by(s, &pass_through);
        shake_result = 0;
        say(client, GET);
        answer();
        CHECK_EQ(status_heard(client), 200);
        say(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n");
        size_t len;
        stops_after = 100;
        each_step = send_byte;
        step_ns = MS;
        CHECK_EQ(read_body(&len), 0);
        CHECK_EQ(len, 50);
        each_step = NULL;
        CHECK_EQ(*(int *)coir_http_transport_state(started[0]),
                 coir_http_connection_fd(started[0]));
        CHECK_EQ(coir_http_begin(started[0], 200, NULL), 0);
        CHECK_EQ(coir_http_set_length(started[0], sizeof data), 0);
        FILE *f = tmpfile();
        CHECK(f != NULL);
        CHECK_EQ(fwrite(data, 1, sizeof data, f), sizeof data);
        CHECK_EQ(fflush(f), 0);
        CHECK_EQ(coir_http_sendfile(started[0], fileno(f), 0, 50000), 0);
        (void)fclose(f);
        size_t got = strlen(heard(client));
        CHECK(got > 50); /* its head */
        coir_http_abort(started[0]);
        CHECK_EQ(coir_http_finish(started[0]), 0);
        started_count = 0;
        (void)close(client);
        client = dial_by(s, &pass_through);
        shut_down = 0;
        say(client, "nonsense\r\n\r\n");
        CHECK_EQ(status_heard(client), 400);
        CHECK_EQ(shut_down, 1);
        CHECK_STR(heard(client), "");
        (void)close(client);
        turn();
        CHECK_EQ(counters(s).connections, 0);
        end(s);
    }
}
