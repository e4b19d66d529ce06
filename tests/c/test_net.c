/* test_net.c - sockets and pipes for green threads. */
#include <coir/net.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "green_helper.h"
#include "hub/internal.h"
#include "io_helper.h"
#include "net/internal.h"

static coir_loop *loop;

/* This thread's hub, on a loop with this backend. */
static void
begin(const coir__backend *backend)
{
    loop = backend_loop(backend);
    CHECK(coir__hub_make(loop) != NULL);
}

static void
finish(void)
{
    CHECK_EQ(coir_hub_fini(), 0);
    coir_loop_verify(loop);
    coir_loop_free(loop);
}

/* Until `g` waits for this; the harness ends a test that hangs. */
static void
until_it_waits(const coir_green *g, const char *what)
{
    while (strcmp(coir_green_waits_for(g), what) != 0)
        CHECK_EQ(coir_sleep(MS), 0);
}

static void
pair(coir_socket *s[2])
{
    CHECK_EQ(coir_socket_pair(s, AF_UNIX, SOCK_STREAM, 0), 0);
}

static void
close_both(coir_socket *s[2])
{
    CHECK_EQ(coir_socket_close(s[0]), 0);
    CHECK_EQ(coir_socket_close(s[1]), 0);
}

/* A listener on a port of its own of the loopback, and its address. */
static coir_socket *
listener(struct sockaddr_in *addr)
{
    coir_socket *s;
    CHECK_EQ(coir_tcp_listen(&s, "127.0.0.1", "0", 128), 0);
    socklen_t len = sizeof *addr;
    CHECK_EQ(getsockname(coir_socket_fd(s), (struct sockaddr *)addr, &len), 0);
    return s;
}

/* A TCP connection. */
static void
tcp_pair(coir_socket *s[2])
{
    struct sockaddr_in addr;
    coir_socket *l = listener(&addr);
    CHECK_EQ(coir_socket_open(&s[0], AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(s[0], (struct sockaddr *)&addr, sizeof addr,
                          COIR_FOREVER),
             0);
    CHECK_EQ(coir_accept(l, &s[1], NULL, NULL, COIR_FOREVER), 0);
    CHECK_EQ(coir_socket_close(l), 0);
}

/* So that little is on the way. */
static void
narrow(coir_socket *s[2])
{
    static const int size = 1;
    for (int i = 0; i < 2; i++) {
        int fd = coir_socket_fd(s[i]);
        CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
        CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    }
}

/* --- reading and writing ------------------------------------------------- */

static int
echo(void *arg)
{
    coir_socket *s = arg;
    char buf[256];
    ssize_t n;
    while ((n = coir_read(s, buf, sizeof buf, COIR_FOREVER)) > 0)
        CHECK_EQ(coir_write_all(s, buf, (size_t)n, NULL, COIR_FOREVER), 0);
    CHECK_EQ(coir_socket_close(s), 0);
    return (int)n;
}

TEST_EACH_BACKEND(net, echo_over_tcp)
{
    begin(backend);
    coir_socket *s[2];
    tcp_pair(s);
    coir_green *g = spawn(echo, s[1]);
    char buf[256];
    for (int i = 1; i < 100; i++) {
        memset(buf, i, sizeof buf);
        CHECK_EQ(coir_write(s[0], buf, (size_t)i, COIR_FOREVER), i);
        CHECK_EQ(coir_read_exact(s[0], buf, (size_t)i, NULL, COIR_FOREVER), 0);
        CHECK_EQ(buf[i - 1], i);
    }
    CHECK_EQ(coir_shutdown(s[0], SHUT_WR), 0);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, COIR_FOREVER), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    finish();
}

/* Many times what the kernel holds, through short reads and writes. */
enum { BULK = 3000000 };

static int
send_bulk(void *arg)
{
    char *data = malloc(BULK);
    for (int i = 0; i < BULK; i++)
        data[i] = (char)(i * 7 + i / 1000);
    size_t done;
    CHECK_EQ(coir_write_all(arg, data, BULK, &done, COIR_FOREVER), 0);
    CHECK_EQ(done, BULK);
    CHECK_EQ(coir_shutdown(arg, SHUT_WR), 0);
    free(data);
    return 0;
}

static void
receive_bulk(coir_socket *s)
{
    char buf[5000];
    int at = 0;
    ssize_t n;
    while ((n = coir_recv(s, buf, sizeof buf, 0, COIR_FOREVER)) > 0)
        for (int i = 0; i < n; i++, at++)
            if (buf[i] != (char)(at * 7 + at / 1000))
                FAIL("wrong bytes");
    CHECK_EQ(n, 0);
    CHECK_EQ(at, BULK);
}

TEST_EACH_BACKEND(net, bulk_both_ways)
{
    begin(backend);
    coir_socket *s[2];
    tcp_pair(s);
    coir_green *a = spawn(send_bulk, s[0]), *b = spawn(send_bulk, s[1]);
    receive_bulk(s[0]);
    receive_bulk(s[1]);
    CHECK_EQ(join(a), 0);
    CHECK_EQ(join(b), 0);
    close_both(s);
    finish();
}

TEST_EACH_BACKEND(net, pipe_from_end_to_end)
{
    begin(backend);
    coir_socket *s[2];
    char buf[100];
    CHECK_EQ(coir_pipe(&s[0], &s[1]), 0);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_write(s[1], "abc", 3, 0), 3);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, COIR_FOREVER), 3);
    CHECK_EQ(coir_recv(s[0], buf, sizeof buf, 0, 0), COIR_ERRNO(ENOTSOCK));
    CHECK_EQ(coir_socket_close(s[0]), 0);
    CHECK_EQ(coir_write(s[1], "abc", 3, COIR_FOREVER), COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_socket_close(s[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, end_that_came_with_the_last_bytes)
{
    begin(backend);
    coir_socket *s[2];
    char buf[100];
    tcp_pair(s);
    coir_green *g = spawn(echo, s[1]);
    CHECK_EQ(coir_write(s[0], "1", 1, COIR_FOREVER), 1);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, COIR_FOREVER), 1);
    CHECK_EQ(coir_write(s[0], "2", 1, COIR_FOREVER), 1);
    CHECK_EQ(coir_shutdown(s[0], SHUT_WR), 0);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, COIR_FOREVER), 1);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    finish();
}

static int
close_soon(void *arg)
{
    CHECK_EQ(coir_sleep(5 * MS), 0);
    return coir_socket_close(arg);
}

TEST_EACH_BACKEND(net, close_wakes_those_who_wait)
{
    begin(backend);
    coir_socket *s[2];
    char buf[100];
    pair(s);
    coir_green *g = spawn(close_soon, s[0]);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, COIR_FOREVER), COIR_ECLOSED);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(coir_read(s[1], buf, sizeof buf, COIR_FOREVER), 0);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, wait_that_times_out)
{
    begin(backend);
    coir_socket *s[2];
    char buf[100];
    pair(s);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_wait_fd(coir_socket_fd(s[0]), COIR_READ, MS),
             COIR_ETIMEDOUT);
    CHECK_EQ(coir_wait_fd(coir_socket_fd(s[0]), COIR_READ | COIR_WRITE, S),
             COIR_WRITE);
    CHECK_EQ(coir_socket_wait(s[0], COIR_READ, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_write(s[1], "x", 1, 0), 1);
    CHECK_EQ(coir_socket_wait(s[0], COIR_READ, S), COIR_READ);
    CHECK_EQ(coir_wait_fd(coir_socket_fd(s[0]), COIR_READ, S), COIR_READ);
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, S), 1);
    close_both(s);
    finish();
}

/* --- many on one socket -------------------------------------------------- */

/* Reads one message, and says which. */
static int
read_letter(void *arg)
{
    char c[2] = "";
    ssize_t n = coir_read(arg, c, 1, 10 * S);
    if (n != 1)
        return (int)n;
    trace(c);
    return c[0];
}

TEST_EACH_BACKEND(net, readers_are_served_in_the_order_of_coming)
{
    begin(backend);
    coir_socket *s[2];
    CHECK_EQ(coir_socket_pair(s, AF_UNIX, SOCK_SEQPACKET, 0), 0);
    coir_green *g[5];
    for (int i = 0; i < 3; i++)
        g[i] = spawn(read_letter, s[0]);
    CHECK_EQ(coir_yield(), 0);
    CHECK_STR(coir_green_waits_for(g[2]), "socket, to read");
    CHECK_EQ(coir_write(s[1], "a", 1, 0), 1);
    CHECK_EQ(coir_write(s[1], "b", 1, 0), 1);
    CHECK_EQ(coir_write(s[1], "c", 1, 0), 1);
    /* They come later, and must not be first, though there is something. */
    char c;
    CHECK_EQ(coir_read(s[0], &c, 1, 0), COIR_ETIMEDOUT);
    g[3] = spawn(read_letter, s[0]);
    g[4] = spawn(read_letter, s[0]);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(join(g[i]), 'a' + i);
    CHECK_EQ(coir_write(s[1], "d", 1, 0), 1);
    CHECK_EQ(join(g[3]), 'd');
    CHECK_EQ(coir_write(s[1], "e", 1, 0), 1);
    CHECK_EQ(join(g[4]), 'e');
    CHECK_TRACE("a b c d e");
    close_both(s);
    finish();
}

TEST_EACH_BACKEND(net, first_in_line_that_gives_up_leaves_it_to_the_next)
{
    begin(backend);
    coir_socket *s[2];
    pair(s);
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        g[i] = spawn(read_letter, s[0]);
    CHECK_EQ(coir_sleep(MS), 0);
    coir_cancel(g[0]);
    CHECK_EQ(join(g[0]), COIR_ECANCELED);
    CHECK_EQ(coir_write(s[1], "ab", 2, 0), 2);
    CHECK_EQ(join(g[1]), 'a');
    CHECK_EQ(join(g[2]), 'b');
    close_both(s);
    finish();
}

/* A read that comes too late for the cancel has read what it returns. */
TEST_EACH_BACKEND(net, cancel_loses_nothing)
{
    begin(backend);
    coir_socket *s[2];
    pair(s);
    coir_green *g = spawn(read_letter, s[0]);
    CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_write(s[1], "a", 1, 0), 1);
    coir_hub *hub = coir_hub_get();
    hub->left = 0; /* have the loop looked at */
    while (coir_green_state(g) == COIR_GREEN_WAITING) {
        coir_green *current = hub->current;
        hub->current = NULL; /* as if by the hub */
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
        hub->current = current;
    }
    coir_cancel(g);
    CHECK_EQ(join(g), 'a');
    close_both(s);
    finish();
}

static int
read_under_a_deadline(void *arg)
{
    coir_deadline d;
    coir_deadline_begin(&d, 2 * MS);
    char c;
    ssize_t n = coir_read(arg, &c, 1, COIR_FOREVER);
    CHECK_EQ(coir_deadline_end(&d), 1);
    return (int)n;
}

static int
read_shielded(void *arg)
{
    coir_shield_begin();
    int got = read_letter(arg);
    coir_shield_end();
    char c;
    CHECK_EQ(coir_read(arg, &c, 1, COIR_FOREVER), COIR_ECANCELED);
    return got;
}

TEST_EACH_BACKEND(net, deadline_and_shield)
{
    begin(backend);
    coir_socket *s[2];
    pair(s);
    CHECK_EQ(join(spawn(read_under_a_deadline, s[0])), COIR_ETIMEDOUT);
    coir_green *g = spawn(read_shielded, s[0]);
    CHECK_EQ(coir_yield(), 0);
    coir_cancel(g);
    CHECK_EQ(coir_sleep(2 * MS), 0);
    CHECK_EQ(coir_write(s[1], "a", 1, 0), 1);
    CHECK_EQ(join(g), 'a');
    close_both(s);
    finish();
}

/* --- those that never have to wait --------------------------------------- */

static coir_socket *fountain[2];

/* There is always something, as each read is made up for. */
static int
drink(void *arg)
{
    char c = 0;
    ssize_t n = 1;
    (void)arg;
    while (n == 1) {
        n = coir_read(fountain[0], &c, 1, COIR_FOREVER);
        if (n == 1)
            n = coir_write(fountain[1], &c, 1, COIR_FOREVER);
        if (n < 0)
            CHECK_EQ(coir_write(fountain[1], &c, 1, 0), 1);
    }
    return (int)n;
}

TEST_EACH_BACKEND(net, one_that_never_waits_lets_others_run_and_can_be_ended)
{
    begin(backend);
    pair(fountain);
    CHECK_EQ(coir_write(fountain[1], "abc", 3, 0), 3);
    coir_green *g = spawn(drink, NULL);
    CHECK_EQ(coir_sleep(MS), 0); /* others, and timers */
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    coir_deadline d;
    coir_deadline_begin(&d, MS); /* inherited */
    g = spawn(drink, NULL);
    (void)coir_deadline_end(&d);
    CHECK_EQ(join(g), COIR_ETIMEDOUT);
    close_both(fountain);
    finish();
}

/* --- flags --------------------------------------------------------------- */

static int
send_in_pieces(void *arg)
{
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coir_sleep(MS), 0);
        CHECK_EQ(coir_send(arg, "0123456789", 10, 0, COIR_FOREVER), 10);
    }
    return 0;
}

TEST_EACH_BACKEND(net, all_of_it_by_recv)
{
    begin(backend);
    coir_socket *s[2];
    char buf[30] = "";
    pair(s);
    coir_green *g = spawn(send_in_pieces, s[1]);
    CHECK_EQ(coir_recv(s[0], buf, 30, MSG_WAITALL, COIR_FOREVER), 30);
    CHECK_EQ(memcmp(buf, "012345678901234567890123456789", 30), 0);
    CHECK_EQ(join(g), 0);
    close_both(s);
    CHECK_EQ(coir_socket_pair(s, AF_UNIX, SOCK_SEQPACKET, 0), 0);
    g = spawn(send_in_pieces, s[1]); /* each of which is whole */
    CHECK_EQ(coir_recv(s[0], buf, 30, MSG_WAITALL, COIR_FOREVER), 10);
    CHECK_EQ(join(g), 0);
    close_both(s);
    finish();
}

TEST_EACH_BACKEND(net, flags_of_recv)
{
    begin(backend);
    coir_socket *s[2];
    char buf[40] = "";
    tcp_pair(s);
    CHECK_EQ(coir_recv(s[0], buf, 1, MSG_DONTWAIT, COIR_FOREVER),
             COIR_ETIMEDOUT);
    CHECK_EQ(coir_recv(s[0], buf, 1, MSG_OOB, COIR_FOREVER),
             COIR_ERRNO(EINVAL));
    coir_green *g = spawn(send_in_pieces, s[1]);
    CHECK_EQ(coir_recv(s[0], buf, 30, MSG_WAITALL, COIR_FOREVER), 30);
    CHECK_EQ(memcmp(buf, "012345678901234567890123456789", 30), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(coir_write(s[1], "xyz", 3, 0), 3);
    CHECK_EQ(coir_recv(s[0], buf, 40, MSG_PEEK, COIR_FOREVER), 3);
    CHECK_EQ(coir_recv(s[0], buf, 40, MSG_PEEK, COIR_FOREVER), 3);
    CHECK_EQ(coir_recv(s[0], buf, 0, 0, COIR_FOREVER), 0);
    /* Not all came, and what did is kept. */
    CHECK_EQ(coir_recv(s[0], buf, 40, MSG_WAITALL, MS), 3);
    CHECK_EQ(coir_recv(s[0], buf, 40, MSG_WAITALL, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    CHECK_EQ(coir_recv(s[0], buf, 40, MSG_WAITALL, MS), 0);
    CHECK_EQ(coir_recv(s[0], buf, 40, 0, MS), 0); /* and again */
    CHECK_EQ(coir_socket_close(s[0]), 0);
    finish();
}

/* A read stops before urgent data, though more has come. */
TEST_EACH_BACKEND(net, urgent_data)
{
    begin(backend);
    coir_socket *s[2];
    char buf[40], c;
    tcp_pair(s);
    coir_green *g = spawn(read_letter, s[0]); /* has it registered */
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_write(s[1], "a", 1, COIR_FOREVER), 1);
    CHECK_EQ(join(g), 'a');
    g = spawn(read_letter, s[0]);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_write(s[1], "b12", 3, COIR_FOREVER), 3);
    CHECK_EQ(coir_send(s[1], "!", 1, MSG_OOB, COIR_FOREVER), 1);
    CHECK_EQ(coir_write(s[1], "345", 3, COIR_FOREVER), 3);
    CHECK_EQ(join(g), 'b');
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, 5 * S), 2);
    CHECK_EQ(coir_recv(s[0], &c, 1, MSG_OOB, COIR_FOREVER), 1);
    CHECK_EQ(c, '!');
    CHECK_EQ(coir_read(s[0], buf, sizeof buf, 5 * S), 3);
    close_both(s);
    finish();
}

TEST_EACH_BACKEND(net, vectors)
{
    begin(backend);
    coir_socket *s[2];
    char a[2], b[3];
    struct iovec out[2] = {{(char[]){'1', '2', '3'}, 3},
                           {(char[]){'4', '5'}, 2}};
    struct iovec in[2] = {{a, 2}, {b, 3}};
    for (int round = 0; round < 2; round++) {
        if (round == 0)
            pair(s);
        else
            CHECK_EQ(coir_pipe(&s[0], &s[1]), 0);
        CHECK_EQ(coir_readv(s[0], in, 2, 0), COIR_ETIMEDOUT);
        CHECK_EQ(coir_writev(s[1], out, 2, COIR_FOREVER), 5);
        CHECK_EQ(coir_writev(s[1], out, -1, COIR_FOREVER), COIR_ERRNO(EINVAL));
        CHECK_EQ(coir_readv(s[0], in, 2, COIR_FOREVER), 5);
        CHECK_EQ(memcmp(a, "12", 2), 0);
        CHECK_EQ(memcmp(b, "345", 3), 0);
        close_both(s);
    }
    finish();
}

/* --- SIGPIPE ------------------------------------------------------------- */

TEST_EACH_BACKEND(net, no_sigpipe)
{
    begin(backend);
    coir_socket *s[2];
    struct iovec iov = {(char[]){'x'}, 1};
    sigset_t set, pending;
    CHECK_EQ(signal(SIGPIPE, SIG_DFL) == SIG_ERR, 0);
    pair(s);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    CHECK_EQ(coir_write(s[0], "x", 1, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_send(s[0], "x", 1, 0, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_writev(s[0], &iov, 1, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_socket_close(s[0]), 0);

    CHECK_EQ(coir_pipe(&s[0], &s[1]), 0);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    CHECK_EQ(coir_write(s[1], "x", 1, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_writev(s[1], &iov, 1, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(!sigismember(&pending, SIGPIPE));
    /* Blocked by the program, and its own is not taken away. */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGPIPE);
    CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    CHECK_EQ(coir_write(s[1], "x", 1, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(!sigismember(&pending, SIGPIPE));
    CHECK_EQ(raise(SIGPIPE), 0);
    CHECK_EQ(coir_write(s[1], "x", 1, 0), COIR_ERRNO(EPIPE));
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(sigismember(&pending, SIGPIPE));
    CHECK_EQ(coir_socket_close(s[1]), 0);
    finish();
}

/* --- accepting and connecting -------------------------------------------- */

static int accepted;

static int
accept_one(void *arg)
{
    coir_socket *s;
    int err = coir_accept(arg, &s, NULL, NULL, COIR_FOREVER);
    if (err < 0)
        return err;
    accepted++;
    return coir_socket_close(s);
}

TEST_EACH_BACKEND(net, several_accept)
{
    begin(backend);
    struct sockaddr_in addr;
    coir_socket *l = listener(&addr), *s[4];
    coir_green *g[4];
    for (int i = 0; i < 4; i++)
        g[i] = spawn(accept_one, l);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(coir_socket_open(&s[i], AF_INET, SOCK_STREAM, 0), 0);
        CHECK_EQ(coir_connect(s[i], (struct sockaddr *)&addr, sizeof addr, S),
                 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(join(g[i]), 0);
        CHECK_EQ(coir_socket_close(s[i]), 0);
    }
    CHECK_EQ(accepted, 4);
    CHECK_EQ(coir_socket_close(l), 0);
    finish();
}

TEST_EACH_BACKEND(net, accept_without_descriptors)
{
    if (coir_test_on_valgrind())
        SKIP("valgrind does not heed the limit in all system calls");
    begin(backend);
    struct sockaddr_in addr, from;
    socklen_t len = sizeof from;
    coir_socket *l = listener(&addr), *s, *got = NULL;
    CHECK_EQ(coir_accept(l, &got, NULL, NULL, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_accept(l, &got, NULL, NULL, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_socket_open(&s, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(s, (struct sockaddr *)&addr, sizeof addr, S), 0);
    struct rlimit old, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(coir_accept(l, &got, NULL, NULL, S), COIR_ERRNO(EMFILE));
    CHECK_NULL(got);
    coir_socket *pair_of[2] = {NULL, NULL};
    CHECK_EQ(coir_socket_open(&got, AF_INET, SOCK_STREAM, 0),
             COIR_ERRNO(EMFILE));
    CHECK_EQ(coir_socket_pair(pair_of, AF_UNIX, SOCK_STREAM, 0),
             COIR_ERRNO(EMFILE));
    CHECK_EQ(coir_pipe(&pair_of[0], &pair_of[1]), COIR_ERRNO(EMFILE));
    CHECK_EQ(coir_splice(s, l, 1, 0), COIR_ERRNO(EMFILE));
    CHECK_NULL(pair_of[0]);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    /* The connection has waited. */
    CHECK_EQ(coir_accept(l, &got, (struct sockaddr *)&from, &len, S), 0);
    CHECK_EQ(from.sin_family, AF_INET);
    CHECK_EQ(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_EQ(coir_socket_close(got), 0);
    CHECK_EQ(coir_socket_close(s), 0);
    CHECK_EQ(coir_socket_close(l), 0);
    finish();
}

TEST_EACH_BACKEND(net, connection_that_is_refused)
{
    begin(backend);
    struct sockaddr_in addr;
    coir_socket *l = listener(&addr), *s;
    CHECK_EQ(coir_socket_close(l), 0);
    CHECK_EQ(coir_socket_open(&s, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(s, (struct sockaddr *)&addr, sizeof addr, S),
             COIR_ERRNO(ECONNREFUSED));
    CHECK_EQ(coir_socket_close(s), 0);
    CHECK_EQ(coir_unix_connect(&s, "/nowhere/to/be/found", S),
             COIR_ERRNO(ENOENT));
    finish();
}

/* The kernel drops what comes to a listener that has no room. */
TEST_EACH_BACKEND(net, connection_that_takes_its_time)
{
    begin(backend);
    struct sockaddr_in addr;
    coir_socket *l, *s[8];
    CHECK_EQ(coir_tcp_listen(&l, "127.0.0.1", "0", 0), 0);
    socklen_t len = sizeof addr;
    CHECK_EQ(getsockname(coir_socket_fd(l), (struct sockaddr *)&addr, &len),
             0);
    int n = 0, err = 0;
    while (err == 0) {
        CHECK(n < 8);
        CHECK_EQ(coir_socket_open(&s[n], AF_INET, SOCK_STREAM, 0), 0);
        err = coir_connect(s[n], (struct sockaddr *)&addr, sizeof addr,
                           n == 0 ? S : 20 * MS);
        n++;
    }
    CHECK_EQ(err, COIR_ETIMEDOUT);
    coir_socket *got;
    CHECK_EQ(coir_accept(l, &got, NULL, NULL, S), 0);
    CHECK_EQ(coir_socket_close(got), 0);
    /* The kernel tries again after a second. */
    CHECK_EQ(
        coir_connect(s[n - 1], (struct sockaddr *)&addr, sizeof addr, 10 * S),
        0);
    for (int i = 0; i < n; i++)
        CHECK_EQ(coir_socket_close(s[i]), 0);
    CHECK_EQ(coir_socket_close(l), 0);
    finish();
}

static int
accept_later(void *arg)
{
    CHECK_EQ(coir_sleep(5 * MS), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(accept_one(arg), 0);
    return 0;
}

TEST_EACH_BACKEND(net, unix_listener_without_room)
{
    begin(backend);
    char name[40];
    (void)snprintf(name, sizeof name, "@coir-test-%d", (int)getpid());
    coir_socket *l, *a, *b = NULL;
    CHECK_EQ(coir_unix_listen(&l, name, 0), 0);
    CHECK_EQ(coir_unix_connect(&a, name, COIR_FOREVER), 0);
    CHECK_EQ(coir_unix_connect(&b, name, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_unix_connect(&b, name, 5 * MS), COIR_ETIMEDOUT);
    CHECK_NULL(b);
    coir_green *g = spawn(accept_later, l);
    CHECK_EQ(coir_unix_connect(&b, name, 10 * S), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(coir_unix_listen(&l, name, 0), COIR_ERRNO(EADDRINUSE));
    CHECK_EQ(coir_socket_close(a), 0);
    CHECK_EQ(coir_socket_close(b), 0);
    CHECK_EQ(coir_socket_close(l), 0);
    finish();
}

TEST_EACH_BACKEND(net, unix_listener_at_a_path)
{
    begin(backend);
    const char *path = "socket";
    char longer[200];
    CHECK_EQ(chdir(coir_test_dir()), 0); /* whose path may be too long */
    coir_socket *l, *a, *b;
    CHECK_EQ(coir_unix_listen(&l, path, 8), 0);
    CHECK_EQ(coir_unix_connect(&a, path, S), 0);
    CHECK_EQ(coir_accept(l, &b, NULL, NULL, S), 0);
    CHECK_EQ(coir_socket_close(l), 0);
    CHECK_EQ(coir_socket_close(a), 0);
    CHECK_EQ(coir_socket_close(b), 0);
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    CHECK_EQ(coir_unix_listen(&l, longer, 8), COIR_EINVAL);
    CHECK_EQ(coir_unix_connect(&a, "", S), COIR_EINVAL);
    finish();
}

TEST_EACH_BACKEND(net, tcp_listeners)
{
    begin(backend);
    coir_socket *l = NULL, *other = NULL;
    CHECK_EQ(coir_tcp_listen(&l, NULL, "0", 8), 0);
    struct sockaddr_in6 addr = {0}; /* or sockaddr_in, which begins alike */
    socklen_t len = sizeof addr;
    CHECK_EQ(getsockname(coir_socket_fd(l), (struct sockaddr *)&addr, &len),
             0);
    char port[10];
    in_port_t number = addr.sin6_port;
    (void)snprintf(port, sizeof port, "%d", ntohs(number));
    CHECK_EQ(coir_tcp_listen(&other, NULL, port, 8), COIR_ERRNO(EADDRINUSE));
    CHECK_EQ(coir_tcp_listen(&other, "127.0.0.1", port, 8),
             COIR_ERRNO(EADDRINUSE));
    /* It takes both families, if there are both. */
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = number};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(coir_socket_open(&other, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(other, (struct sockaddr *)&v4, sizeof v4, S), 0);
    CHECK_EQ(coir_socket_close(other), 0);
    CHECK_EQ(coir_tcp_listen(&other, "localhost", "0", 8), COIR_EINVAL);
    CHECK_EQ(coir_tcp_listen(&other, NULL, "http", 8), COIR_EINVAL);
    CHECK_EQ(coir_tcp_listen(&other, NULL, NULL, 8), COIR_EINVAL);
    CHECK_EQ(coir_socket_close(l), 0);
    finish();
}

/* --- datagrams ----------------------------------------------------------- */

TEST_EACH_BACKEND(net, datagrams)
{
    begin(backend);
    coir_socket *s[2];
    struct sockaddr_in addr[2];
    char buf[10];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(coir_socket_open(&s[i], AF_INET, SOCK_DGRAM, 0), 0);
        addr[i] = (struct sockaddr_in){.sin_family = AF_INET};
        addr[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        CHECK_EQ(coir_bind(s[i], (struct sockaddr *)&addr[i], sizeof addr[i]),
                 0);
        socklen_t len = sizeof addr[i];
        CHECK_EQ(getsockname(coir_socket_fd(s[i]), (struct sockaddr *)&addr[i],
                             &len),
                 0);
    }
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    CHECK_EQ(coir_recvfrom(s[1], buf, sizeof buf, 0, NULL, NULL, MS),
             COIR_ETIMEDOUT);
    CHECK_EQ(coir_sendto(s[0], "one", 3, 0, (struct sockaddr *)&addr[1],
                         sizeof addr[1], S),
             3);
    CHECK_EQ(coir_sendto(s[0], "twelve bytes", 12, 0,
                         (struct sockaddr *)&addr[1], sizeof addr[1], S),
             12);
    CHECK_EQ(coir_recvfrom(s[1], buf, sizeof buf, 0, (struct sockaddr *)&from,
                           &len, S),
             3);
    CHECK_EQ(from.sin_port, addr[0].sin_port);
    struct iovec iov = {buf, sizeof buf};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    CHECK_EQ(coir_recvmsg(s[1], &msg, 0, S), 10);
    CHECK(msg.msg_flags & MSG_TRUNC);
    msg = (struct msghdr){.msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_name = &addr[0],
                          .msg_namelen = sizeof addr[0]};
    iov.iov_len = 4;
    CHECK_EQ(coir_sendmsg(s[1], &msg, 0, S), 4);
    CHECK_EQ(coir_recv(s[0], buf, sizeof buf, 0, S), 4);
    /* Nobody is there any more: told by the next call. */
    CHECK_EQ(
        coir_connect(s[0], (struct sockaddr *)&addr[1], sizeof addr[1], S), 0);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    ssize_t n;
    do { /* io_uring closes some time after */
        CHECK_EQ(coir_send(s[0], "x", 1, 0, S), 1);
        n = coir_recv(s[0], buf, sizeof buf, 0, MS);
    } while (n == COIR_ETIMEDOUT);
    CHECK_EQ(n, COIR_ERRNO(ECONNREFUSED));
    CHECK_EQ(coir_recv(s[0], buf, sizeof buf, 0, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    finish();
}

/* --- all of it, or torn -------------------------------------------------- */

TEST_EACH_BACKEND(net, interrupted_read_tears)
{
    begin(backend);
    coir_socket *s[2];
    char buf[10];
    size_t done = 77;
    pair(s);
    CHECK_EQ(coir_read_exact(s[0], buf, 10, &done, MS), COIR_ETIMEDOUT);
    CHECK_EQ(done, 0);
    CHECK_EQ(coir_write(s[1], "123", 3, 0), 3); /* nothing was read: whole */
    CHECK_EQ(coir_read_exact(s[0], buf, 10, &done, MS), COIR_ETIMEDOUT);
    CHECK_EQ(done, 3);
    CHECK_EQ(coir_read(s[0], buf, 1, S), COIR_ETORN);
    CHECK_EQ(coir_recv(s[0], buf, 1, 0, S), COIR_ETORN);
    CHECK_EQ(coir_read_exact(s[0], buf, 1, &done, S), COIR_ETORN);
    CHECK_EQ(done, 0);
    CHECK_EQ(coir_write_all(s[0], "x", 1, NULL, S), 0); /* the other way */
    coir_socket_clear_torn(s[0]);
    CHECK_EQ(coir_write(s[1], "4567890", 7, 0), 7);
    CHECK_EQ(coir_read_exact(s[0], buf, 7, &done, S), 0);
    CHECK_EQ(done, 7);
    CHECK_EQ(coir_write(s[1], "12", 2, 0), 2);
    CHECK_EQ(coir_shutdown(s[1], SHUT_WR), 0);
    CHECK_EQ(coir_read_exact(s[0], buf, 3, &done, S), COIR_EEOF);
    CHECK_EQ(done, 2);
    CHECK_EQ(coir_read(s[0], buf, 3, S), 0); /* which does not tear */
    CHECK_EQ(coir_read_exact(s[0], buf, 0, &done, S), 0);
    close_both(s);
    finish();
}

static int
write_much(void *arg)
{
    size_t done;
    char *data = calloc(1, BULK);
    int err = coir_write_all(arg, data, BULK, &done, COIR_FOREVER);
    free(data);
    CHECK(done < BULK);
    return err;
}

TEST_EACH_BACKEND(net, interrupted_write_tears)
{
    begin(backend);
    coir_socket *s[2];
    char c;
    tcp_pair(s);
    narrow(s);
    coir_green *g = spawn(write_much, s[0]);
    until_it_waits(g, "socket, to write");
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    CHECK_EQ(coir_write(s[0], "x", 1, S), COIR_ETORN);
    CHECK_EQ(coir_send(s[0], "x", 1, 0, S), COIR_ETORN);
    CHECK_EQ(coir_read(s[0], &c, 1, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_read(s[1], &c, 1, S), 1);
    close_both(s);
    finish();
}

/* --- sendfile, splice, descriptors --------------------------------------- */

TEST_EACH_BACKEND(net, sendfile_to_the_end)
{
    begin(backend);
    coir_socket *s[2];
    tcp_pair(s);
    FILE *file = tmpfile();
    CHECK(file != NULL);
    for (int i = 0; i < BULK; i++)
        (void)putc((char)(i * 7 + i / 1000), file);
    CHECK_EQ(fflush(file), 0);
    coir_green *g = NULL;
    off_t at = 0;
    ssize_t n;
    CHECK_EQ(coir_sendfile(s[0], -1, &at, 1, S), COIR_ERRNO(EBADF));
    static coir_socket *to;
    to = s[1];
    (void)g;
    /* By turns: what fits, then what came. */
    char *all = malloc(BULK);
    size_t have = 0;
    while (have < BULK) {
        n = coir_sendfile(s[0], fileno(file), &at, BULK, 0);
        CHECK(n >= 0 || n == COIR_ETIMEDOUT);
        n = coir_read(to, all + have, BULK - have, S);
        CHECK(n > 0);
        have += (size_t)n;
    }
    CHECK_EQ(at, BULK);
    for (int i = 0; i < BULK; i++)
        if (all[i] != (char)(i * 7 + i / 1000))
            FAIL("wrong bytes");
    free(all);
    CHECK_EQ(coir_sendfile(s[0], fileno(file), &at, 1, S), 0);
    (void)fclose(file);
    close_both(s);
    finish();
}

static coir_socket *splice_ends[2];

static int
splice_all(void *arg)
{
    ssize_t n;
    (void)arg;
    while ((n = coir_splice(splice_ends[0], splice_ends[1], 1 << 20,
                            COIR_FOREVER)) > 0)
        ;
    if (n == 0)
        CHECK_EQ(coir_socket_close(splice_ends[1]), 0);
    return (int)n;
}

TEST_EACH_BACKEND(net, splice_between_sockets)
{
    begin(backend);
    coir_socket *a[2], *b[2];
    tcp_pair(a);
    pair(b);
    splice_ends[0] = a[1];
    splice_ends[1] = b[0];
    coir_green *g = spawn(splice_all, NULL), *h = spawn(send_bulk, a[0]);
    receive_bulk(b[1]);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(join(h), 0);
    close_both(a);
    CHECK_EQ(coir_socket_close(b[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, splice_that_is_interrupted_goes_on)
{
    begin(backend);
    coir_socket *a[2], *b[2];
    pair(a);
    CHECK_EQ(coir_pipe(&b[1], &b[0]), 0);
    splice_ends[0] = a[1];
    splice_ends[1] = b[0];
    CHECK_EQ(coir_splice(a[1], b[0], 100, MS), COIR_ETIMEDOUT); /* nothing */
    coir_green *g = spawn(splice_all, NULL), *h = spawn(send_bulk, a[0]);
    until_it_waits(g, "socket, to splice to");
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    char buf[5000];
    CHECK_EQ(coir_recv(a[1], buf, sizeof buf, 0, S), COIR_ETORN);
    g = spawn(splice_all, NULL);
    int at = 0;
    ssize_t n;
    while ((n = coir_read(b[1], buf, sizeof buf, COIR_FOREVER)) > 0)
        for (int i = 0; i < n; i++, at++)
            if (buf[i] != (char)(at * 7 + at / 1000))
                FAIL("wrong bytes");
    CHECK_EQ(n, 0);
    CHECK_EQ(at, BULK);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(join(h), 0);
    close_both(a);
    CHECK_EQ(coir_socket_close(b[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, descriptors_in_messages)
{
    begin(backend);
    coir_socket *s[2], *passed;
    char buf[4];
    int fds[3];
    pair(s);
    CHECK_EQ(pipe(fds), 0);
    fds[2] = fds[0];
    /* qemu leaves those open that there is no room for. */
    size_t sent = getenv("QEMU_LD_PREFIX") != NULL ? 1 : 3;
    CHECK_EQ(coir_send_fds(s[0], "abc", 3, fds, sent, S), 3);
    CHECK_EQ(coir_send_fds(s[0], "d", 1, NULL, 0, S), 1);
    int got[2];
    size_t count = 1; /* room for two, says the kernel, if three came */
    CHECK_EQ(coir_recv_fds(s[1], buf, 4, got, &count, S), 3);
    CHECK_EQ(count, 1);
    CHECK(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(coir_recv_fds(s[1], buf, 4, got, &count, S), 1);
    CHECK_EQ(count, 0);
    CHECK_EQ(coir_recv_fds(s[1], buf, 4, got, &count, MS), COIR_ETIMEDOUT);
    count = 254;
    CHECK_EQ(coir_recv_fds(s[1], buf, 4, got, &count, MS), COIR_EINVAL);
    CHECK_EQ(coir_send_fds(s[0], buf, 4, got, 254, MS), COIR_EINVAL);
    CHECK_EQ(coir_socket_adopt(&passed, got[0]), 0);
    CHECK_EQ(coir_read(passed, buf, 1, 0), COIR_ETIMEDOUT);
    put(fds[1]);
    CHECK_EQ(coir_read(passed, buf, 1, S), 1);
    CHECK_EQ(coir_socket_close(passed), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    close_both(s);
    finish();
}

/* --- closing ------------------------------------------------------------- */

static int
read_one(void *arg)
{
    char c;
    return (int)coir_read(arg, &c, 1, COIR_FOREVER);
}

static int
wait_for_it(void *arg)
{
    return coir_socket_wait(arg, COIR_READ, COIR_FOREVER);
}

TEST_EACH_BACKEND(net, closed_and_opened_again_under_the_same_number)
{
    begin(backend);
    coir_socket *s[2], *t[2];
    pair(s);
    int fd = coir_socket_fd(s[0]);
    coir_green *g[4] = {spawn(read_one, s[0]), spawn(read_one, s[0]),
                        spawn(write_much, s[0]), spawn(wait_for_it, s[0])};
    CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    char c;
    CHECK_EQ(coir_read(s[1], &c, 1, S), 1); /* it is closed already */
    pair(t);
    CHECK(coir_socket_fd(t[0]) == fd || coir_socket_fd(t[1]) == fd);
    coir_green *h = spawn(read_one, t[0]);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(join(g[i]), COIR_ECLOSED);
    CHECK_EQ(coir_write(t[1], "x", 1, 0), 1);
    CHECK_EQ(join(h), 1);
    close_both(t);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, several_hold_it)
{
    begin(backend);
    coir_socket *s[2];
    char c;
    pair(s);
    CHECK_EQ(coir_socket_hold(s[0]), s[0]);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    CHECK_EQ(coir_socket_fd(s[0]), -1);
    CHECK_EQ(coir_read(s[0], &c, 1, S), COIR_ECLOSED);
    CHECK_EQ(coir_shutdown(s[0], SHUT_WR), COIR_ECLOSED);
    CHECK_EQ(coir_splice(s[0], s[1], 1, S), COIR_ECLOSED);
    CHECK_EQ(coir_socket_wait(s[0], COIR_READ, S), COIR_ECLOSED);
    int fd = 5;
    CHECK_EQ(coir_socket_release(s[0], &fd), COIR_ECLOSED);
    CHECK_EQ(fd, 5);
    CHECK_EQ(coir_socket_close(s[0]), COIR_ECLOSED);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, released_and_adopted)
{
    begin(backend);
    coir_socket *s[2];
    char c;
    int fd;
    pair(s);
    coir_green *g = spawn(read_one, s[0]);
    CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_socket_release(s[0], &fd), 0);
    CHECK_EQ(join(g), COIR_ECLOSED);
    CHECK_EQ(coir_socket_adopt(&s[0], fd), 0);
    CHECK_EQ(coir_socket_fd(s[0]), fd);
    g = spawn(read_one, s[0]);
    CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_write(s[1], "x", 1, 0), 1);
    CHECK_EQ(join(g), 1);
    CHECK_EQ(coir_read(s[0], &c, 1, 0), COIR_ETIMEDOUT);
    close_both(s);
    CHECK_EQ(coir_socket_adopt(&s[0], -1), COIR_ERRNO(EBADF));
    finish();
}

TEST_EACH_BACKEND(net, closed_behind_its_back)
{
    begin(backend);
    coir_socket *s[2];
    pair(s);
    coir_green *g = spawn(read_one, s[0]);
    CHECK_EQ(coir_sleep(MS), 0);
    (void)close(coir_socket_fd(s[0]));
    CHECK_EQ(join(g), COIR_ECLOSED);
    CHECK_EQ(coir_socket_fd(s[0]), -1);
    int other = dup(coir_socket_fd(s[1]));
    CHECK_EQ(coir_socket_close(s[0]), COIR_ECLOSED);
    CHECK_EQ(close(other), 0); /* which it left alone */
    CHECK_EQ(coir_socket_close(s[1]), 0);

    pair(s); /* before it is first waited for */
    (void)close(coir_socket_fd(s[0]));
    CHECK_EQ(join(spawn(read_one, s[0])), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_socket_wait(s[0], COIR_READ, S), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_wait_fd(coir_socket_fd(s[0]), COIR_READ, S),
             COIR_ERRNO(EBADF));
    CHECK_EQ(coir_wait_fd(-1, COIR_READ, S), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_wait_fd(0, 0, S), COIR_EINVAL);
    CHECK_EQ(coir_socket_wait(s[0], 8, S), COIR_EINVAL);
    CHECK_EQ(coir_socket_close(s[0]), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_socket_close(s[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, regular_file)
{
    begin(backend);
    FILE *file = tmpfile();
    CHECK(file != NULL);
    coir_socket *s;
    char buf[10];
    CHECK_EQ(coir_socket_adopt(&s, dup(fileno(file))), 0);
    CHECK_EQ(coir_write_all(s, "0123456789", 10, NULL, S), 0);
    CHECK_EQ(coir_wait_fd(fileno(file), COIR_READ, S), COIR_READ);
    CHECK_EQ(lseek(coir_socket_fd(s), 0, SEEK_SET), 0);
    CHECK_EQ(coir_read_exact(s, buf, 10, NULL, S), 0);
    CHECK_EQ(coir_read(s, buf, 10, S), 0);
    CHECK_EQ(coir_socket_close(s), 0);
    (void)fclose(file);
    finish();
}

static void
in_a_callback(coir_loop *l, coir_timer *w, int revents)
{
    coir_socket *s = w->data;
    char c;
    (void)l;
    (void)revents;
    CHECK_EQ(coir_read(s, &c, 1, COIR_FOREVER), COIR_EINVAL);
    CHECK_EQ(coir_read(s, &c, 1, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_socket_wait(s, COIR_READ, S), COIR_EINVAL);
    CHECK_EQ(coir_wait_fd(coir_socket_fd(s), COIR_READ, S), COIR_EINVAL);
    CHECK_EQ(coir_write(s, "x", 1, COIR_FOREVER), 1);
}

TEST_EACH_BACKEND(net, callbacks_may_use_it_but_not_wait)
{
    begin(backend);
    coir_socket *s[2];
    pair(s);
    coir_timer timer;
    coir_timer_init(&timer, in_a_callback, 0, 0);
    timer.data = s[0];
    coir_timer_start(loop, &timer);
    CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(read_one(s[1]), 1);
    close_both(s);
    finish();
}

/* --- when things fail ---------------------------------------------------- */

TEST(net, without_memory_nothing_is_made)
{
    (void)coir_hub_get();
    struct sockaddr_in addr;
    coir_socket *l = listener(&addr), *s, *made[2], *nothing = (void *)&s;
    EACH_ALLOC_FAILURE(n)
    {
        made[0] = nothing;
        int err = coir_socket_open(&made[0], AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(made[0] == nothing, err == COIR_ENOMEM);
        if (err == 0)
            CHECK_EQ(coir_socket_close(made[0]), 0);
    }
    EACH_ALLOC_FAILURE(n)
    {
        made[0] = made[1] = nothing;
        int err = coir_socket_pair(made, AF_UNIX, SOCK_STREAM, 0);
        CHECK_EQ(made[0] == nothing, err == COIR_ENOMEM);
        CHECK_EQ(made[1] == nothing, err == COIR_ENOMEM);
        if (err == 0)
            close_both(made);
    }
    EACH_ALLOC_FAILURE(n)
    {
        made[0] = made[1] = nothing;
        int err = coir_pipe(&made[0], &made[1]);
        CHECK_EQ(made[0] == nothing, err == COIR_ENOMEM);
        if (err == 0)
            close_both(made);
    }
    EACH_ALLOC_FAILURE(n)
    {
        int fd = dup(coir_socket_fd(l)), err;
        err = coir_socket_adopt(&made[0], fd);
        if (err == 0)
            CHECK_EQ(coir_socket_close(made[0]), 0);
        else {
            CHECK_EQ(err, COIR_ENOMEM);
            CHECK_EQ(close(fd), 0); /* still the caller's */
        }
    }
    CHECK_EQ(coir_socket_open(&s, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(s, (struct sockaddr *)&addr, sizeof addr, S), 0);
    EACH_ALLOC_FAILURE(n)
    {
        made[0] = nothing;
        int err = coir_accept(l, &made[0], NULL, NULL, S);
        CHECK_EQ(made[0] == nothing, err == COIR_ENOMEM);
        if (err == 0) /* the connection has waited */
            CHECK_EQ(coir_socket_close(made[0]), 0);
    }
    CHECK_EQ(coir_socket_close(s), 0);
    CHECK_EQ(coir_socket_close(l), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST_EACH_BACKEND(net, wait_without_memory)
{
    begin(backend);
    coir_socket *s[2];
    char buf[10];
    pair(s);
    /* Of large numbers, for which the loop needs more room. */
    for (int i = 0; i < 2; i++) {
        int fd = fcntl(coir_socket_fd(s[i]), F_DUPFD_CLOEXEC, 200 + 100 * i);
        CHECK(fd >= 200);
        CHECK_EQ(coir_socket_close(s[i]), 0);
        CHECK_EQ(coir_socket_adopt(&s[i], fd), 0);
    }
    EACH_ALLOC_FAILURE(n)
    {
        int err = (int)coir_read(s[0], buf, 1, MS);
        CHECK(err == COIR_ETIMEDOUT || err == COIR_ENOMEM);
    }
    EACH_ALLOC_FAILURE(n)
    {
        int err = coir_wait_fd(coir_socket_fd(s[1]), COIR_READ, MS);
        CHECK(err == COIR_ETIMEDOUT || err == COIR_ENOMEM);
    }
    EACH_ALLOC_FAILURE(n)
    {
        int err = coir_socket_wait(s[1], COIR_READ, MS);
        CHECK(err == COIR_ETIMEDOUT || err == COIR_ENOMEM);
    }
    CHECK_EQ(coir_write(s[1], "x", 1, S), 1);
    coir_socket *p[2];
    CHECK_EQ(coir_pipe(&p[0], &p[1]), 0);
    EACH_ALLOC_FAILURE(n)
    {
        int err = (int)coir_splice(s[0], p[1], 10, MS);
        CHECK(err == 1 || err == COIR_ETIMEDOUT || err == COIR_ENOMEM);
    }
    CHECK_EQ(coir_read(p[0], buf, sizeof buf, S), 1); /* it was not lost */
    close_both(p);
    close_both(s);
    finish();
}

/* The kernel has no room for one more registration. */
TEST(net, registration_that_is_refused)
{
    fake f = {.edge = 1, .modify_error = ENOSPC};
    loop = fake_loop(&f);
    CHECK(coir__hub_make(loop) != NULL);
    coir_socket *s[2];
    char c;
    pair(s);
    CHECK_EQ(coir_read(s[0], &c, 1, S), COIR_ENOMEM);
    CHECK_EQ(coir_wait_fd(coir_socket_fd(s[0]), COIR_READ, S), COIR_ENOMEM);
    f.modify_error = 0;
    CHECK_EQ(coir_read(s[0], &c, 1, S), COIR_ETIMEDOUT);
    CHECK_EQ(coir_write(s[1], "x", 1, S), 1);
    CHECK_EQ(coir_read(s[0], &c, 1, S), 1);
    close_both(s);
    finish();
}

/* --- other threads ------------------------------------------------------- */

static void *
read_one_there(void *arg)
{
    return (void *)(intptr_t)read_one(arg);
}

static void *
close_there(void *arg)
{
    return (void *)(intptr_t)coir_socket_close(arg);
}

static intptr_t
thread_result(pthread_t thread)
{
    void *result;
    CHECK_EQ(pthread_join(thread, &result), 0);
    return (intptr_t)result;
}

static pthread_t
start_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, fn, arg), 0);
    return thread;
}

static void
until_a_stranger_waits(coir_socket *s)
{
    while (coir_waitq_count(&s->strangers) == 0)
        CHECK_EQ(coir_sleep(MS), 0);
}

TEST_EACH_BACKEND(net, used_by_several_threads)
{
    skip_what_valgrind_cannot(backend);
    begin(backend);
    coir_socket *s[2];
    pair(s);
    coir_green *g = spawn(read_one, s[0]); /* has its edge in this hub */
    CHECK_EQ(coir_yield(), 0);
    pthread_t there = start_thread(read_one_there, s[0]);
    until_a_stranger_waits(s[0]);
    CHECK_EQ(coir_write(s[1], "ab", 2, S), 2);
    CHECK_EQ(join(g), 1);
    CHECK_EQ(thread_result(there), 1);
    /* Closed by the thread that has the edge, ... */
    there = start_thread(read_one_there, s[0]);
    until_a_stranger_waits(s[0]);
    g = spawn(read_one, s[0]);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    CHECK_EQ(join(g), COIR_ECLOSED);
    CHECK_EQ(thread_result(there), COIR_ECLOSED);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    /* ... and by another one. */
    pair(s);
    g = spawn(read_one, s[0]);
    CHECK_EQ(coir_yield(), 0);
    there = start_thread(close_there, s[0]);
    CHECK_EQ(join(g), COIR_ECLOSED);
    CHECK_EQ(thread_result(there), 0);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    finish();
}

TEST_EACH_BACKEND(net, outlives_the_hub_that_waited_for_it)
{
    skip_what_valgrind_cannot(backend);
    begin(backend);
    coir_socket *s[2];
    pair(s);
    pthread_t there = start_thread(read_one_there, s[0]);
    CHECK_EQ(coir_sleep(2 * MS), 0);
    CHECK_EQ(coir_write(s[1], "a", 1, S), 1);
    CHECK_EQ(thread_result(there), 1);
    CHECK_NULL(coir__socket_hub(s[0]));
    coir_green *g = spawn(read_one, s[0]);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_write(s[1], "b", 1, S), 1);
    CHECK_EQ(join(g), 1);
    close_both(s);
    finish();
}

/* A thread that ends while green threads of it wait, which are abandoned. */
static void *
abandon_readers(void *arg)
{
    coir_green_attr attr = {.detached = 1};
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_spawn(NULL, read_one, arg, &attr), 0);
    CHECK_EQ(coir_yield(), 0);
    return NULL;
}

TEST(net, hub_that_is_abandoned)
{
    coir_socket *s[2];
    char c;
    pair(s);
    CHECK_EQ(thread_result(start_thread(abandon_readers, s[0])), 0);
    CHECK_EQ(coir_write(s[1], "a", 1, S), 1);
    CHECK_EQ(coir_read(s[0], &c, 1, S), 1);
    CHECK_EQ(coir_read(s[0], &c, 1, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_socket_close(s[1]), 0);
    /* Its memory is not given back, for they hold it. */
    CHECK_EQ(coir_socket_close(s[0]), 0);
    CHECK_EQ(coir_hub_fini(), 0);
    _exit(0);
}

/* Threads that read and write one pair of sockets, each message a byte, while
 * others are made and closed under everybody's hands. */
enum { TALKERS = 4, WORDS = 300 };

static coir_socket *shared[2];
static atomic_int heard, spoken;

static int
listen_all(void *arg)
{
    char c;
    ssize_t n;
    (void)arg;
    while ((n = coir_read(shared[0], &c, 1, COIR_FOREVER)) == 1)
        atomic_fetch_add(&heard, 1);
    return n == COIR_ECLOSED ? 0 : (int)n;
}

static int
talk(void *arg)
{
    (void)arg;
    for (int i = 0; i < WORDS; i++) {
        CHECK_EQ(coir_write(shared[1], "x", 1, COIR_FOREVER), 1);
        atomic_fetch_add(&spoken, 1);
        if (i % 16 == 0)
            CHECK_EQ(coir_yield(), 0);
    }
    return 0;
}

static void *
talk_and_listen(void *arg)
{
    (void)arg;
    coir_green *g[4];
    for (int i = 0; i < 4; i++)
        g[i] = spawn(i < 2 ? talk : listen_all, NULL);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(join(g[i]), 0);
    CHECK_EQ(coir_socket_close(shared[0]), COIR_ECLOSED);
    return NULL;
}

TEST(net, nothing_is_lost_between_threads)
{
    coir_test_timeout(60);
    pthread_t threads[TALKERS];
    CHECK_EQ(coir_socket_pair(shared, AF_UNIX, SOCK_SEQPACKET, 0), 0);
    for (int i = 0; i < TALKERS; i++) {
        (void)coir_socket_hold(shared[0]);
        threads[i] = start_thread(talk_and_listen, NULL);
    }
    while (atomic_load(&heard) < TALKERS * 2 * WORDS)
        CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_socket_close(shared[0]), 0);
    for (int i = 0; i < TALKERS; i++)
        CHECK_EQ(thread_result(threads[i]), 0);
    CHECK_EQ(atomic_load(&heard), TALKERS * 2 * WORDS);
    CHECK_EQ(coir_socket_close(shared[1]), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

/* Closed while other threads are in the middle of calls. */
static void *
poke(void *arg)
{
    char c;
    while (coir_read(arg, &c, 1, 0) == COIR_ETIMEDOUT)
        ;
    while (coir_read(arg, &c, 1, MS) != COIR_ECLOSED)
        ;
    CHECK_EQ(coir_socket_close(arg), COIR_ECLOSED);
    return NULL;
}

TEST(net, closed_while_others_are_in_calls)
{
    coir_test_timeout(60);
    int rounds = coir_test_is_slow() ? 10 : 100;
    for (int i = 0; i < rounds; i++) {
        coir_socket *s[2];
        pthread_t threads[3];
        pair(s);
        for (int k = 0; k < 3; k++)
            threads[k] = start_thread(poke, coir_socket_hold(s[0]));
        if (i % 2 == 0)
            (void)coir_socket_wait(s[1], COIR_WRITE, S);
        CHECK_EQ(coir_socket_close(s[0]), 0);
        for (int k = 0; k < 3; k++)
            CHECK_EQ(thread_result(threads[k]), 0);
        CHECK_EQ(coir_socket_close(s[1]), 0);
    }
    CHECK_EQ(coir_hub_fini(), 0);
}

/* --- forks --------------------------------------------------------------- */

TEST_EACH_BACKEND(net, works_on_after_a_fork)
{
    if (COIR_TEST_TSAN)
        SKIP("TSan knows no fibers in the child of a fork");
    begin(backend);
    coir_socket *s[2], *t[2];
    char c;
    pair(s);
    pair(t);
    coir_green *g = spawn(read_letter, s[0]), *h = spawn(wait_for_it, s[0]);
    CHECK_EQ(coir_sleep(MS), 0);
    pid_t pid = coir_hub_fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        /* Those who waited are gone, and in nobody's way. */
        CHECK_EQ(coir_read(s[0], &c, 1, MS), COIR_ETIMEDOUT);
        CHECK_EQ(coir_write(t[1], "c", 1, S), 1);
        CHECK_EQ(coir_read(t[0], &c, 1, S), 1);
        CHECK_EQ(coir_read(t[0], &c, 1, MS), COIR_ETIMEDOUT);
        CHECK_EQ(coir_write(s[0], "r", 1, S), 1);
        CHECK_EQ(coir_read(s[0], &c, 1, 10 * S), 1);
        CHECK_EQ(c, 'p');
        CHECK_EQ(coir_write(s[0], "x", 1, S), 1);
        CHECK_EQ(coir_socket_close(s[0]), 0);
        CHECK_EQ(coir_socket_close(t[0]), 0);
        _exit(0);
    }
    coir_cancel(h);
    CHECK_EQ(join(h), COIR_ECANCELED);
    coir_cancel(g); /* so that the child gets it */
    CHECK_EQ(join(g), COIR_ECANCELED);
    CHECK_EQ(coir_read(s[1], &c, 1, 10 * S), 1);
    CHECK_EQ(c, 'r');
    CHECK_EQ(coir_write(s[1], "p", 1, S), 1);
    CHECK_EQ(coir_read(s[1], &c, 1, 10 * S), 1);
    CHECK_EQ(c, 'x');
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(coir_write(t[1], "x", 1, S), 1);
    CHECK_EQ(coir_read(t[0], &c, 1, S), 1);
    close_both(s);
    close_both(t);
    finish();
}

/* --- much at once -------------------------------------------------------- */

static coir_test_random dice;
static int clients_done;

/* Says a few things and goes, often without a word. */
static int
rude_client(void *arg)
{
    const struct sockaddr_in *addr = arg;
    coir_socket *s;
    char buf[3000];
    memset(buf, 'x', sizeof buf);
    CHECK_EQ(coir_socket_open(&s, AF_INET, SOCK_STREAM, 0), 0);
    int err = coir_connect(s, (const struct sockaddr *)addr, sizeof *addr, S);
    size_t turns = coir_test_random_below(&dice, 5);
    for (size_t i = 0; err == 0 && i < turns; i++) {
        size_t len = 1 + coir_test_random_below(&dice, sizeof buf);
        err = coir_write_all(s, buf, len, NULL, S);
        if (err == 0)
            err = coir_read_exact(s, buf, len, NULL, S);
    }
    if (coir_test_random_below(&dice, 2)) {
        struct linger reset = {.l_onoff = 1};
        CHECK_EQ(setsockopt(coir_socket_fd(s), SOL_SOCKET, SO_LINGER, &reset,
                            sizeof reset),
                 0);
    }
    CHECK_EQ(coir_socket_close(s), 0);
    clients_done++;
    return 0;
}

static int
patient_echo(void *arg)
{
    coir_socket *s = arg;
    char buf[1000];
    ssize_t n;
    while ((n = coir_read(s, buf, sizeof buf, 5 * S)) > 0 &&
           coir_write_all(s, buf, (size_t)n, NULL, 5 * S) == 0)
        ;
    (void)coir_socket_close(s);
    return 0;
}

enum { LIVING = 64 };
static coir_green *living[LIVING];

static int
serve(void *arg)
{
    coir_socket *s;
    unsigned i = 0;
    int err;
    while ((err = coir_accept(arg, &s, NULL, NULL, COIR_FOREVER)) == 0) {
        coir_green **place = &living[i++ % LIVING];
        if (*place != NULL) {
            coir_cancel(*place);
            (void)join(*place);
        }
        *place = spawn(patient_echo, s);
    }
    for (i = 0; i < LIVING; i++)
        if (living[i] != NULL)
            (void)join(living[i]);
    return err;
}

/* Clients that reset, servers that are cancelled at any time. */
TEST_EACH_BACKEND(net, resets_and_kills)
{
    coir_test_timeout(60);
    begin(backend);
    coir_test_random_init(&dice);
    struct sockaddr_in addr;
    coir_socket *l = listener(&addr);
    coir_green *server = spawn(serve, l), *clients[100] = {NULL};
    int rounds = coir_test_is_slow() ? 2 : 6;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 100; i++)
            clients[i] = spawn(rude_client, &addr);
        for (int i = 0; i < 100; i++) {
            size_t later = coir_test_random_below(&dice, (size_t)(100 - i));
            if (coir_test_random_below(&dice, 4) == 0)
                coir_cancel(clients[(size_t)i + later]);
            (void)coir_join(clients[i], NULL);
        }
        coir_loop_verify(loop);
    }
    CHECK(clients_done > 0);
    CHECK_EQ(coir_socket_close(l), 0);
    CHECK_EQ(join(server), COIR_ECLOSED);
    finish();
}

/* Buffers as small as they get, in pieces of odd sizes. */
TEST_EACH_BACKEND(net, slow_peer_with_tiny_buffers)
{
    begin(backend);
    coir_socket *s[2];
    tcp_pair(s);
    narrow(s);
    coir_green *g = spawn(echo, s[1]);
    char out[3001], in[3001];
    for (int i = 0; i < 10; i++) {
        memset(out, 'a' + i, sizeof out);
        CHECK_EQ(coir_write_all(s[0], out, sizeof out, NULL, 10 * S), 0);
        CHECK_EQ(coir_read_exact(s[0], in, sizeof in, NULL, 10 * S), 0);
        CHECK_EQ(memcmp(in, out, sizeof in), 0);
    }
    CHECK_EQ(coir_shutdown(s[0], SHUT_WR), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(coir_socket_close(s[0]), 0);
    finish();
}

/* No more of them connect at a time than the listener keeps for those who
 * accept, or the kernel would put them off, and refuse them in the end. */
enum { CONNECTING = 100 };
static coir_semaphore may_connect;
static coir_event all_connected;
static int clients_connected, clients_wanted;

static int
be_served(void *arg)
{
    const struct sockaddr_in *addr = arg;
    coir_socket *s;
    CHECK_EQ(coir_semaphore_acquire(&may_connect, COIR_FOREVER), 0);
    CHECK_EQ(coir_socket_open(&s, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(s, (const struct sockaddr *)addr, sizeof *addr,
                          COIR_FOREVER),
             0);
    for (int i = 0; i < 3; i++) {
        char buf[64] = {(char)i};
        CHECK_EQ(coir_write_all(s, buf, sizeof buf, NULL, COIR_FOREVER), 0);
        CHECK_EQ(coir_read_exact(s, buf, sizeof buf, NULL, COIR_FOREVER), 0);
        CHECK_EQ(buf[0], i);
        if (i > 0)
            continue;
        coir_semaphore_release(&may_connect, 1);
        if (++clients_connected == clients_wanted)
            coir_event_set(&all_connected);
        CHECK_EQ(coir_event_wait(&all_connected, COIR_FOREVER), 0);
    }
    clients_done++;
    CHECK_EQ(coir_socket_close(s), 0);
    return 0;
}

static int
serve_all(void *arg)
{
    coir_socket *s;
    coir_green_attr attr = {.detached = 1};
    int err;
    while ((err = coir_accept(arg, &s, NULL, NULL, COIR_FOREVER)) == 0)
        CHECK_EQ(coir_spawn(NULL, echo, s, &attr), 0);
    return err;
}

/* The clients are another process, for it takes as many descriptors. */
TEST(net, ten_thousand_connections)
{
    coir_test_timeout(60);
    int count = coir_test_is_slow() ? 500 : 10000;
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < (rlim_t)count + 100)
        SKIP("not enough descriptors allowed");
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct sockaddr_in addr;
    coir_green_attr attr = {.detached = 1};
    coir_socket *l = listener(&addr);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_EQ(coir_socket_close(l), 0);
        coir_semaphore_init(&may_connect, CONNECTING);
        coir_event_init(&all_connected);
        clients_wanted = count;
        for (int i = 0; i < count; i++)
            CHECK_EQ(coir_spawn(NULL, be_served, &addr, &attr), 0);
        CHECK_EQ(coir_hub_run(), 0);
        CHECK_EQ(clients_done, count);
        _exit(0);
    }
    coir_green *server = spawn(serve_all, l);
    while (coir_waitq_count(&l->lines[COIR__IN]) == 0)
        CHECK_EQ(coir_sleep(MS), 0);
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0)
        CHECK_EQ(coir_sleep(5 * MS), 0);
    CHECK_EQ(status, 0);
    CHECK_EQ(coir_socket_close(l), 0);
    CHECK_EQ(join(server), COIR_ECLOSED);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}
