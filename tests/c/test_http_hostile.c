/* test_http_hostile.c - clients that mean no good, or are many; and a system
 * that has no more memory or descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_helper.h"
#include "http/server.h"

static int
echo(coir_http_exchange *x, void *arg)
{
    char buf[3000];
    ssize_t n;
    (void)arg;
    int err = coir_http_begin(x, 200, NULL);
    while (err == 0 && (n = coir_http_read(x, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : coir_http_write(x, buf, (size_t)n);
    return err;
}

/* --- resets -------------------------------------------------------------- */

/* Close so that the other side gets a reset. */
static void
reset(coir_socket *c)
{
    struct linger linger = {1, 0};
    CHECK_EQ(coir_setsockopt(c, SOL_SOCKET, SO_LINGER, &linger, sizeof linger),
             0);
    (void)coir_socket_close(c);
}

TEST(http_hostile, resets_at_each_byte_leave_nothing)
{
    static const char request[] =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\n12345\r\n0\r\n\r\n"
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    coir_http_server *s = serve(echo, NULL, NULL);
    for (size_t i = 0; i < sizeof request; i++)
        for (int waits = 0; waits < 2; waits++) {
            coir_socket *c = dial(s);
            say_n(c, request, i);
            if (waits) {
                (void)coir_yield();
                (void)coir_sleep(100000);
            }
            if (i % 2)
                reset(c);
            else
                (void)coir_socket_close(c);
        }
    UNTIL(s, connections, 0);
    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    CHECK_EQ(r.status, 200);
    drop(s);
    hear_end(c);
    leave();
}

static int
write_for_ever(coir_http_exchange *x, void *arg)
{
    static char data[100000];
    int err = coir_http_begin(x, 200, NULL);
    while (err == 0)
        err = coir_http_write(x, data, sizeof data);
    *(int *)arg += 1;
    return err;
}

TEST(http_hostile, resets_end_responses)
{
    int ended = 0;
    coir_http_server *s = serve(write_for_ever, &ended, NULL);
    for (int i = 0; i < 20; i++) {
        coir_socket *c = dial(s);
        char buf[1000];
        say(c, GET);
        if (i % 2)
            read_to(c, buf, sizeof buf);
        reset(c);
    }
    UNTIL(s, connections, 0);
    CHECK_EQ(ended, 20);
    CHECK_EQ(counters(s).aborted, 20);
    drop(s);
    leave();
}

/* --- floods -------------------------------------------------------------- */

static int
flood_size(void)
{
    return coir_test_is_slow() ? 500 : 20000;
}

static int
flood(void *arg)
{
    coir_socket *c = arg;
    for (int i = 0; i < flood_size(); i++)
        say(c, GET);
    return 0;
}

TEST(http_hostile, pipelined_floods_wait_in_the_kernel)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_socket *c = dial(s), *other = dial(s);
    coir_green *g = spawn(flood, c);
    size_t base = 0;
    reply r;
    /* Nobody reads, so it must come to rest. */
    while (counters(s).requests == 0)
        (void)coir_yield();
    uint64_t before;
    do {
        before = counters(s).requests;
        (void)coir_sleep(20 * MS);
        base = coir_test_live_bytes();
    } while (counters(s).requests != before);
    CHECK(counters(s).buffers < 200000);
    CHECK(base < 2000000);
    ask(other, GET, &r);
    CHECK_EQ(r.status, 200);
    for (int i = 0; i < flood_size(); i++) {
        hear(c, &r);
        CHECK_STR(r.body, "hello");
    }
    CHECK_EQ(join(g), 0);
    drop(s);
    hear_end(c);
    hear_end(other);
    leave();
}

TEST(http_hostile, a_flood_does_not_keep_others_waiting)
{
    coir_http_server *s = serve(hello, NULL, NULL);
    coir_socket *c = dial(s), *other = dial(s);
    static char many[100 * sizeof GET];
    reply r;
    for (size_t i = 0; i < 100; i++)
        memcpy(many + i * (sizeof GET - 1), GET, sizeof GET);
    say(c, many);
    say(other, GET);
    hear(other, &r);
    CHECK_EQ(r.status, 200);
    CHECK(counters(s).requests < 50);
    (void)coir_socket_close(c);
    (void)coir_socket_close(other);
    drop(s);
    leave();
}

TEST(http_hostile, endless_heads_and_lines_are_refused)
{
    static const char *const begins[] = {
        "GET /", "GET / HTTP/1.1\r\nHost: ", "GET / HTTP/1.1\r\n", ""};
    static const char *const fillers[] = {
        "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa", "A: b\r\n", "\r\n"};
    static const int status[] = {414, 431, 431, 400};
    coir_http_server *s = serve(hello, NULL, NULL);
    for (int i = 0; i < 4; i++) {
        coir_socket *c = dial(s);
        reply r;
        say(c, begins[i]);
        while (counters(s).bad_requests == (uint64_t)i)
            say(c, fillers[i]);
        hear(c, &r);
        CHECK_EQ(r.status, status[i]);
        CHECK(counters(s).buffers < 300000);
        hear_end(c);
    }
    drop(s);
    leave();
}

/* --- many ---------------------------------------------------------------- */

static void
raise_limit(void)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static rlim_t
limit_of_files(void)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_cur;
}

/* Ask, and say how long it took. */
static int64_t
ask_anew(const coir_http_server *s)
{
    reply r;
    int64_t from = coir_clock_monotonic();
    coir_socket *c = dial(s);
    ask(c, GET, &r);
    CHECK_EQ(r.status, 200);
    int64_t took = coir_clock_monotonic() - from;
    (void)coir_socket_close(c);
    return took;
}

/* A client that is nobody's but the kernel's: the server comes to know of it
 * when its loop runs. */
static int
dial_raw(const coir_http_server *s)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(
        getsockname(coir_http_server_fd(s, 0), (struct sockaddr *)&addr, &len),
        0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&addr, len), 0);
    return fd;
}

static void
say_raw(int fd, const char *text)
{
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void
many_idle(int count)
{
    coir_http_server_options options = {.max_connections =
                                            (uint32_t)count + 10};
    coir_http_server *s = serve(hello, NULL, &options);
    int *fds = malloc((size_t)count * sizeof *fds);
    CHECK(fds != NULL);
    (void)ask_anew(s);
    UNTIL(s, connections, 0);
    /* A third is new, a third has sent a part of a head, and the others wait
     * between two requests. */
    size_t before = coir_test_live_bytes();
    for (int i = 0; i < count; i++) {
        fds[i] = dial_raw(s);
        if (i % 3 == 1)
            say_raw(fds[i], "GET / HTTP/1.1\r\nHo");
        else if (i % 3 == 2)
            say_raw(fds[i], GET);
        if (i % 100 == 0)
            UNTIL(s, connections, (uint64_t)i + 1);
    }
    UNTIL(s, responses, (uint64_t)(count / 3) + 1);
    UNTIL(s, reading, (uint64_t)((count + 1) / 3));
    CHECK_EQ(counters(s).connections, count);
    CHECK_EQ(counters(s).active, 0);
    size_t each = (coir_test_live_bytes() - before) / (size_t)count;
    printf("# %zu bytes for each of %d connections, %zu for itself\n", each,
           count, sizeof(coir__http_conn));
    CHECK(each >= sizeof(coir__http_conn) && each <= 1024);
    int64_t best = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        int64_t took = ask_anew(s);
        if (took < best)
            best = took;
    }
    printf("# a new client is served in %d us\n", (int)(best / 1000));
    CHECK(best < (coir_test_is_slow() ? 1000 : 100) * MS);
    for (int i = 0; i < count; i++)
        (void)close(fds[i]);
    free(fds);
    drop(s);
    leave();
}

TEST(http_hostile, a_thousand_idle_clients_are_small)
{
    raise_limit();
    if (limit_of_files() < 2200)
        SKIP("too few descriptors");
    many_idle(1000);
}

/* 10,000, where that is asked for: COIR_TEST_CONNECTIONS=10000. */
TEST(http_hostile, as_many_idle_clients_as_asked_for_are_small)
{
    const char *text = getenv("COIR_TEST_CONNECTIONS");
    if (text == NULL)
        SKIP("COIR_TEST_CONNECTIONS is not set");
    raise_limit();
    int count = atoi(text);
    if (limit_of_files() < 2 * (rlim_t)count + 50)
        SKIP("too few descriptors");
    coir_test_timeout(120);
    many_idle(count);
}

TEST(http_hostile, silent_clients_do_not_keep_others_waiting)
{
    coir_http_server_options options = {.max_connections = 8};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c[8];
    for (int i = 0; i < 8; i++)
        c[i] = dial(s);
    UNTIL(s, connections, 8);
    /* They are new, so it waits until the oldest is not any more. */
    CHECK(ask_anew(s) < 20 * S);
    CHECK_EQ(counters(s).evicted, 1);
    hear_end(c[0]);
    for (int i = 1; i < 8; i++)
        (void)coir_socket_close(c[i]);
    drop(s);
    leave();
}

/* --- descriptors --------------------------------------------------------- */

static rlim_t
leave_no_descriptors(void)
{
    struct rlimit limit;
    if (coir_test_on_valgrind())
        SKIP("valgrind has limits of its own");
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the next free one */
    CHECK(fd >= 0);
    (void)close(fd);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)fd;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

static void
set_descriptors(rlim_t count)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = count;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

TEST(http_hostile, without_descriptors_it_does_not_spin)
{
    coir_http_server_options options = {.max_connections = 1000};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_loop *loop = coir_http_server_loop(s);
    int fd = dial_raw(s);
    say_raw(fd, GET);
    rlim_t before = leave_no_descriptors();
    unsigned turns = coir_loop_iteration(loop);
    (void)coir_sleep(120 * MS);
    CHECK(coir_loop_iteration(loop) - turns < 20);
    CHECK_EQ(counters(s).accepted, 0);
    uint64_t pauses = counters(s).accept_pauses;
    CHECK(pauses >= 1 && pauses <= 10);
    set_descriptors(before);
    UNTIL(s, by_class[2], 1); /* nobody had to tell it */
    (void)close(fd);
    drop(s);
    leave();
}

TEST(http_hostile, without_descriptors_idle_clients_give_way)
{
    coir_http_server_options options = {.max_connections = 1000};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *idle = dial(s);
    reply r;
    ask(idle, GET, &r);
    int fd = dial_raw(s);
    say_raw(fd, GET);
    rlim_t before = leave_no_descriptors();
    UNTIL(s, by_class[2], 2);
    hear_end(idle);
    CHECK_EQ(counters(s).evicted, 1);
    set_descriptors(before);
    (void)close(fd);
    drop(s);
    leave();
}

/* --- memory -------------------------------------------------------------- */

/* All that a server does, with clients that take what they get. */
static int
whole_run(void)
{
    coir_http_server_options options = {.server_name = "Coir",
                                        .log_format = COIR_HTTP_LOG_COMMON};
    coir_http_server *s;
    int fds[2];
    static const char requests[] =
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\n12345\r\n0\r\n\r\n" GET;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    options.log_fd = open("/dev/null", O_WRONLY);
    int err = coir_http_server_new(&s, echo, NULL, &options);
    if (err == 0) {
        err = coir_http_server_bind(s, "127.0.0.1", "0", 0, NULL, NULL);
        if (err == 0)
            err = coir_http_server_start(s);
        if (err == 0)
            err = coir_http_server_adopt(s, fds[0], NULL, NULL);
        else
            (void)close(fds[0]);
        for (size_t i = 0; err == 0 && i < sizeof requests - 1; i += 50) {
            size_t len = sizeof requests - 1 - i;
            (void)send(fds[1], requests + i, len < 50 ? len : 50,
                       MSG_NOSIGNAL);
            (void)coir_loop_run(coir_http_server_loop(s), COIR_RUN_NOWAIT);
            (void)coir_yield();
            (void)coir_sleep(0);
        }
        (void)shutdown(fds[1], SHUT_WR);
        while (counters(s).connections > 0)
            if (coir_sleep(10000) < 0)
                (void)coir_yield();
        if (err == 0 && counters(s).by_class[2] != 2)
            err = COIR_ENOMEM;
        drop(s);
    }
    else
        (void)close(fds[0]);
    (void)close(fds[1]);
    (void)close(options.log_fd);
    return err;
}

TEST(http_hostile, without_memory_clients_are_refused)
{
    CHECK(coir_hub_get() != NULL);
    int failed = 0;
    EACH_ALLOC_FAILURE(n)
    {
        int err = whole_run();
        failed += err < 0;
        if (coir_test_failures(COIR_TEST_ALLOC) == 0)
            CHECK_EQ(err, 0);
    }
    CHECK(failed > 5);
    leave();
}

/* Also who sends a part of a head, or one that does not fit into a buffer. */
TEST(http_hostile, without_memory_each_client_is_told)
{
    enum { CLIENTS = 9 };
    coir_http_options parser = {.max_line = 2 * COIR__HTTP_BUFFER};
    coir_http_server_options options = {.parser = &parser};
    coir_http_server *s = serve(hello, NULL, &options);
    coir_socket *c[CLIENTS];
    static char large[COIR__HTTP_BUFFER + 1] = "GET /";
    reply r;
    memset(large + 5, 'a', sizeof large - 5);
    for (int i = 0; i < CLIENTS; i++)
        c[i] = dial(s);
    UNTIL(s, idle, CLIENTS);
    coir_test_fail_call(COIR_TEST_ALLOC, 0, 1000, ENOMEM);
    for (int i = 0; i < CLIENTS; i++) {
        if (i % 3 == 0)
            say(c[i], GET);
        else if (i % 3 == 1)
            say(c[i], "GET / HT");
        else
            say_n(c[i], large, sizeof large);
        if (i < CLIENTS / 2) /* then all in one turn */
            (void)coir_sleep(1 * MS);
    }
    for (int i = 0; i < CLIENTS; i++) {
        hear(c[i], &r);
        CHECK_EQ(r.status, 503);
        CHECK(r.closes);
        hear_end(c[i]);
    }
    CHECK_EQ(counters(s).refused, CLIENTS);
    coir_test_fail_none();
    c[0] = dial(s);
    ask(c[0], GET, &r);
    CHECK_EQ(r.status, 200);
    (void)coir_socket_close(c[0]);
    drop(s);
    leave();
}

/* --- threads ------------------------------------------------------------- */

static atomic_int asked;

static void *
thread_of_its_own(void *arg)
{
    (void)arg;
    coir_http_server *s = serve(hello, NULL, NULL);
    for (int i = 0; i < 50; i++) {
        coir_socket *c = dial(s);
        reply r;
        ask(c, GET GET, &r);
        hear(c, &r);
        CHECK_EQ(r.status, 200);
        atomic_fetch_add(&asked, 1);
        (void)coir_socket_close(c);
    }
    drop(s);
    leave();
    CHECK_EQ(coir_thread_fini(), 0);
    return NULL;
}

TEST(http_hostile, servers_in_several_threads_do_not_meet)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, thread_of_its_own, NULL),
                 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(atomic_load(&asked), 200);
}

/* --- at random ----------------------------------------------------------- */

/* A request says by its path what the handler is to do: a letter, a number. */
static int
obey(coir_http_exchange *x, void *arg)
{
    static char text[20000];
    const char *path = x->base + x->head->path.at;
    size_t n = strtoul(path + 2, NULL, 10), len = 0;
    char buf[700], sum[40];
    ssize_t got;
    (void)arg;
    memset(text, 'x', sizeof text);
    switch (path[1]) {
    case 'l': /* the length of the body */
        while ((got = coir_http_read(x, buf, 1 + n % sizeof buf)) > 0)
            len += (size_t)got;
        if (got < 0 || coir_http_begin(x, 200, NULL) < 0)
            return -1;
        return coir_http_send(x, sum,
                              (size_t)snprintf(sum, sizeof sum, "%zu", len));
    case 'c': /* chunks, and the body is not read */
        if (coir_http_begin(x, 200, NULL) < 0)
            return -1;
        for (; len < n; len += n / 3 + 1)
            if (coir_http_write(x, text,
                                n - len < n / 3 + 1 ? n - len : n / 3 + 1) < 0)
                return -1;
        return 0;
    case 'p': /* pieces of a known length, and some of the body is read */
        (void)coir_http_read(x, buf, 1 + n % sizeof buf);
        if (coir_http_begin(x, 200, NULL) < 0 || coir_http_set_length(x, n))
            return -1;
        (void)coir_yield();
        return coir_http_write(x, text, n / 2) < 0
                   ? -1
                   : coir_http_write(x, text, n - n / 2);
    case 's':
        (void)coir_sleep(100000);
        return coir_http_send_error(x, 404);
    default:
        return -1;
    }
}

typedef struct stroller {
    coir_http_server *server;
    coir_test_random random;
    int requests;
} stroller;

/* Make one request at random, of which `*kind` and `*number` are known. */
static size_t
make_request(coir_test_random *random, char *out, char *kind, size_t *number,
             size_t *body)
{
    static const char kinds[] = "lcpsf";
    char chunk[40];
    *kind = kinds[coir_test_random_below(random, 5)];
    *number = coir_test_random_below(random, 3000);
    *body = coir_test_random_below(random, 3) > 0
                ? coir_test_random_below(random, 2000)
                : 0;
    int chunked = *body > 0 && coir_test_random_below(random, 2);
    int len =
        sprintf(out, "PUT /%c%zu HTTP/1.1\r\nHost: a\r\n", *kind, *number);
    if (!chunked)
        len += sprintf(out + len, "Content-Length: %zu\r\n\r\n", *body);
    else {
        sprintf(chunk, "%zx\r\n", *body);
        len +=
            sprintf(out + len, "Transfer-Encoding: chunked\r\n\r\n%s", chunk);
    }
    memset(out + len, 'y', *body);
    len += (int)*body;
    if (chunked)
        len += sprintf(out + len, "\r\n0\r\n\r\n");
    return (size_t)len;
}

static void
check_reply(const reply *r, char kind, size_t number, size_t body)
{
    char text[40];
    switch (kind) {
    case 'l':
        (void)snprintf(text, sizeof text, "%zu", body);
        CHECK_EQ(r->status, 200);
        CHECK_STR(r->body, text);
        break;
    case 'c':
    case 'p':
        CHECK_EQ(r->status, 200);
        CHECK_EQ(r->len, number);
        for (size_t i = 0; i < r->len; i++)
            CHECK_EQ(r->body[i], 'x');
        break;
    case 's':
        CHECK_EQ(r->status, 404);
        break;
    default:
        CHECK_EQ(r->status, 500);
    }
}

#define PIPELINED 4

/* One connection: some requests at once, in pieces, and their responses; or
 * an end before that. */
static int
stroll(void *arg)
{
    stroller *w = arg;
    coir_test_random *random = &w->random;
    coir_socket *c = dial(w->server);
    char *text = malloc(PIPELINED * 3000), kinds[PIPELINED];
    size_t numbers[PIPELINED], bodies[PIPELINED];
    reply *r = malloc(sizeof *r);
    CHECK(text != NULL && r != NULL);
    for (int round = 0; round < 5; round++) {
        size_t len = 0, at = 0;
        size_t count = 1 + coir_test_random_below(random, PIPELINED);
        for (size_t i = 0; i < count; i++)
            len += make_request(random, text + len, &kinds[i], &numbers[i],
                                &bodies[i]);
        int leaves = coir_test_random_below(random, 12) == 0;
        if (leaves)
            len = coir_test_random_below(random, len);
        while (at < len) {
            size_t piece = 1 + coir_test_random_below(random, 900);
            if (piece > len - at)
                piece = len - at;
            say_n(c, text + at, piece);
            at += piece;
            if (coir_test_random_below(random, 3) == 0)
                (void)coir_yield();
        }
        if (leaves)
            break;
        for (size_t i = 0; i < count; i++) {
            hear(c, r);
            check_reply(r, kinds[i], numbers[i], bodies[i]);
            CHECK_EQ(r->closes, 0);
            w->requests++;
        }
    }
    free(text);
    free(r);
    if (coir_test_random_below(random, 2))
        reset(c);
    else
        (void)coir_socket_close(c);
    return 0;
}

TEST(http_hostile, clients_and_handlers_at_random)
{
    coir_http_server_options options = {.max_active = 7};
    coir_test_random random;
    coir_test_random_init(&random);
    coir_http_server *s = serve(obey, NULL, &options);
    stroller *w = calloc(300, sizeof *w);
    coir_green *g[30];
    int count = coir_test_is_slow() ? 60 : 300;
    uint64_t requests = 0;
    CHECK(w != NULL);
    for (int i = 0; i < count; i += 30) {
        for (int k = 0; k < 30; k++) {
            w[i + k].server = s;
            coir_test_random_seed(&w[i + k].random,
                                  coir_test_random_next(&random));
            g[k] = spawn(stroll, &w[i + k]);
        }
        for (int k = 0; k < 30; k++) {
            CHECK_EQ(join(g[k]), 0);
            requests += (uint64_t)w[i + k].requests;
        }
    }
    UNTIL(s, connections, 0);
    CHECK(counters(s).requests >= requests);
    CHECK_EQ(counters(s).accepted, (uint64_t)count);
    free(w);
    drop(s);
    leave();
}
