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

#include "hub/internal.h"
#include "io_helper.h"

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

static coir_green *
spawn(coir_green_fn *fn, const void *arg)
{
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, fn, (void *)(uintptr_t)arg, NULL), 0);
    return g;
}

static int
join(coir_green *g)
{
    int result = 1234;
    CHECK_EQ(coir_join(g, &result), 0);
    return result;
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
