/* test_op.c - operations that complete, on each backend. */
#include <arpa/inet.h>
#include <coir/op.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop_helper.h"

static int calls;
static int results[256];

static void
note(coir_loop *loop, coir_op *op)
{
    (void)loop;
    if (!(op->flags & COIR_OP_MORE))
        CHECK(!coir_op_is_active(op));
    CHECK(calls < 256);
    results[calls++] = op->result;
}

static void
start(coir_loop *loop, coir_op *op)
{
    int before = calls;
    CHECK_EQ(coir_op_start(loop, op), 0);
    CHECK_EQ(calls, before); /* never from there */
    CHECK(coir_op_is_active(op));
    coir_loop_verify(loop);
}

static void
until(coir_loop *loop, int n)
{
    while (calls < n)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    coir_loop_verify(loop);
}

static void
make_pair(int fds[2], int flags)
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | flags, 0, fds), 0);
}

static void
close_pair(const int fds[2])
{
    (void)close(fds[0]);
    (void)close(fds[1]);
}

TEST_EACH_BACKEND(op, send_and_recv)
{
    coir_loop *loop = backend_loop(backend);
    for (int flags = 0; flags <= SOCK_NONBLOCK; flags += SOCK_NONBLOCK) {
        int fds[2];
        make_pair(fds, flags);
        coir_op in, out;
        char buf[16] = "";
        coir_op_recv(&in, note, fds[0], buf, sizeof buf, 0);
        start(loop, &in);
        calls = 0;
        CHECK(coir_loop_run(loop, COIR_RUN_NOWAIT) > 0);
        CHECK_EQ(calls, 0);
        coir_op_send(&out, note, fds[1], "hello", 5, 0);
        start(loop, &out);
        until(loop, 2);
        CHECK_EQ(results[0], 5);
        CHECK_EQ(results[1], 5);
        CHECK_STR(buf, "hello");
        CHECK_EQ(coir_loop_run(loop, 0), 0); /* nothing keeps it running */
        /* The end, and a peer that is gone, without a signal. */
        (void)close(fds[1]);
        coir_op_recv(&in, note, fds[0], buf, sizeof buf, 0);
        start(loop, &in);
        until(loop, 3);
        CHECK_EQ(results[2], 0);
        coir_op_send(&out, note, fds[0], "x", 1, 0);
        start(loop, &out);
        until(loop, 4);
        CHECK_EQ(results[3], -EPIPE);
        (void)close(fds[0]);
    }
    coir_loop_free(loop);
}

/* A backend may guess whether a receive will have to wait: either guess is
 * wrong here at times. */
TEST_EACH_BACKEND(op, receives_that_wait_and_that_do_not)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    for (int i = 0; i < 12; i++) {
        int waits = i & 2, closed = i == 11;
        coir_op op;
        char byte = 0, sent = (char)('a' + i);
        coir_op_recv(&op, note, fds[0], &byte, 1, 0);
        calls = 0;
        if (waits)
            start(loop, &op);
        for (int turn = 0; waits && turn < 20; turn++)
            (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
        CHECK_EQ(calls, 0);
        if (closed)
            (void)close(fds[1]);
        else
            CHECK_EQ(write(fds[1], &sent, 1), 1);
        if (!waits)
            start(loop, &op);
        until(loop, 1);
        CHECK_EQ(results[0], closed ? 0 : 1);
        CHECK_EQ(byte, closed ? 0 : sent);
    }
    (void)close(fds[0]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, messages)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    char a[4] = "", b[4] = "";
    struct iovec from[2] = {{"abc", 3}, {"def", 3}};
    struct iovec to[2] = {{a, 3}, {b, 3}};
    struct msghdr sent = {.msg_iov = from, .msg_iovlen = 2};
    struct msghdr received = {.msg_iov = to, .msg_iovlen = 2};
    coir_op in, out;
    coir_op_recvmsg(&in, note, fds[0], &received, 0);
    coir_op_sendmsg(&out, note, fds[1], &sent, 0);
    start(loop, &in);
    start(loop, &out);
    until(loop, 2);
    CHECK_EQ(results[0], 6);
    CHECK_EQ(results[1], 6);
    CHECK_STR(a, "abc");
    CHECK_STR(b, "def");
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, full_buffer_is_waited_for)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, SOCK_NONBLOCK);
    static char block[65536];
    while (write(fds[1], block, sizeof block) > 0)
        ;
    coir_op out;
    coir_op_send(&out, note, fds[1], block, sizeof block, 0);
    start(loop, &out);
    for (int i = 0; i < 3; i++)
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(calls, 0);
    while (calls == 0) {
        (void)!read(fds[0], block, sizeof block);
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    }
    CHECK(results[0] > 0);
    close_pair(fds);
    coir_loop_free(loop);
}

/* --- pipes and files ----------------------------------------------------- */

TEST_EACH_BACKEND(op, pipes)
{
    coir_loop *loop = backend_loop(backend);
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        int fds[2];
        CHECK_EQ(pipe2(fds, flags), 0);
        calls = 0;
        coir_op in, out;
        char buf[8] = "";
        coir_op_read(&in, note, fds[0], buf, sizeof buf, -1);
        start(loop, &in);
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
        CHECK_EQ(calls, 0);
        coir_op_write(&out, note, fds[1], "piped", 5, -1);
        start(loop, &out);
        until(loop, 2);
        CHECK_EQ(results[0] + results[1], 10);
        CHECK_STR(buf, "piped");
        close_pair(fds);
    }
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, files)
{
    coir_loop *loop = backend_loop(backend);
    char path[] = "/tmp/coir-op-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    (void)unlink(path);
    coir_op op;
    coir_op_write(&op, note, fd, "0123456789", 10, 0);
    start(loop, &op);
    until(loop, 1);
    CHECK_EQ(results[0], 10);
    char buf[8] = "";
    coir_op_read(&op, note, fd, buf, 3, 4);
    start(loop, &op);
    until(loop, 2);
    CHECK_EQ(results[1], 3);
    CHECK_STR(buf, "456");
    for (int i = 0; i < 2; i++) { /* from where the file stands */
        coir_op_read(&op, note, fd, buf, 5, -1);
        start(loop, &op);
        until(loop, 3 + i);
        CHECK_EQ(results[2 + i], 5);
    }
    CHECK_STR(buf, "56789");
    coir_op_read(&op, note, fd, buf, 5, 10);
    start(loop, &op);
    until(loop, 5);
    CHECK_EQ(results[4], 0);
    (void)close(fd);
    coir_loop_free(loop);
}

/* --- connections --------------------------------------------------------- */

static int
listener(struct sockaddr_in *addr, int flags)
{
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    CHECK(fd >= 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET};
    addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof *addr;
    CHECK_EQ(bind(fd, (struct sockaddr *)addr, len), 0);
    CHECK_EQ(listen(fd, 128), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

TEST_EACH_BACKEND(op, connect_and_accept)
{
    coir_loop *loop = backend_loop(backend);
    for (int flags = 0; flags <= SOCK_NONBLOCK; flags += SOCK_NONBLOCK) {
        struct sockaddr_in addr, peer = {0};
        socklen_t len = sizeof peer;
        int server = listener(&addr, flags);
        int client = socket(AF_INET, SOCK_STREAM | flags, 0);
        calls = 0;
        coir_op in, out;
        coir_op_accept(&in, note, server, (struct sockaddr *)&peer, &len,
                       SOCK_CLOEXEC);
        start(loop, &in);
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
        CHECK_EQ(calls, 0);
        coir_op_connect(&out, note, client, (struct sockaddr *)&addr,
                        sizeof addr);
        start(loop, &out);
        until(loop, 2);
        CHECK_EQ(out.result, 0);
        CHECK(in.result > 0);
        CHECK_EQ(fcntl(in.result, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(peer.sin_addr.s_addr, addr.sin_addr.s_addr);
        CHECK_EQ(len, sizeof peer);
        (void)close(in.result);
        (void)close(client);
        (void)close(server);
        /* Nobody there. */
        client = socket(AF_INET, SOCK_STREAM | flags, 0);
        CHECK_EQ(fcntl(client, F_GETFL) & O_NONBLOCK, flags);
        coir_op_connect(&out, note, client, (struct sockaddr *)&addr,
                        sizeof addr);
        start(loop, &out);
        until(loop, 3);
        CHECK_EQ(results[2], -ECONNREFUSED);
        CHECK_EQ(fcntl(client, F_GETFL) & O_NONBLOCK, flags);
        (void)close(client);
    }
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, accepts_on_and_on)
{
    enum { COUNT = 40 };
    coir_loop *loop = backend_loop(backend);
    struct sockaddr_in addr;
    int server = listener(&addr, SOCK_NONBLOCK);
    coir_op op;
    coir_op_accept_many(&op, note, server, SOCK_NONBLOCK);
    start(loop, &op);
    int clients[COUNT];
    for (int i = 0; i < COUNT; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(connect(clients[i], (struct sockaddr *)&addr, sizeof addr),
                 0);
        if (i % 7 == 0)
            (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    }
    until(loop, COUNT);
    CHECK(coir_op_is_active(&op));
    CHECK_EQ(op.flags, COIR_OP_MORE);
    coir_op_cancel(loop, &op);
    until(loop, COUNT + 1);
    CHECK_EQ(results[COUNT], -ECANCELED);
    CHECK_EQ(op.flags, 0);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    for (int i = 0; i < COUNT; i++) {
        CHECK(results[i] > 0);
        (void)close(results[i]);
        (void)close(clients[i]);
    }
    (void)close(server);
    coir_loop_free(loop);
}

static void
accept_and_cancel(coir_loop *loop, coir_op *op)
{
    note(loop, op);
    if (op->result >= 0)
        coir_op_cancel(loop, op);
}

TEST_EACH_BACKEND(op, cancelled_by_its_callback)
{
    coir_loop *loop = backend_loop(backend);
    struct sockaddr_in addr;
    int server = listener(&addr, 0);
    int clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(connect(clients[i], (struct sockaddr *)&addr, sizeof addr),
                 0);
    }
    coir_op op;
    coir_op_accept_many(&op, accept_and_cancel, server, 0);
    start(loop, &op);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK(calls >= 2);
    CHECK_EQ(results[calls - 1], -ECANCELED);
    for (int i = 0; i < calls - 1; i++)
        (void)close(results[i]);
    for (int i = 0; i < 3; i++)
        (void)close(clients[i]);
    (void)close(server);
    coir_loop_free(loop);
}

/* --- groups of buffers --------------------------------------------------- */

static coir_buffers *group;
static void *kept[8];
static int kept_count;
static char text[64];

static void
collect(coir_loop *loop, coir_op *op)
{
    note(loop, op);
    if (op->result <= 0) {
        CHECK_NULL(op->buffer);
        return;
    }
    CHECK(op->buffer != NULL);
    strncat(text, op->buffer, (size_t)op->result);
    coir_buffers_release(group, op->buffer);
}

static void
keep(coir_loop *loop, coir_op *op)
{
    note(loop, op);
    if (op->result > 0)
        kept[kept_count++] = op->buffer;
}

TEST_EACH_BACKEND(op, receives_on_and_on)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, SOCK_NONBLOCK);
    CHECK_EQ(coir_buffers_new(&group, loop, 3, 4), 0);
    coir_op op;
    coir_op_recv_many(&op, collect, fds[0], group, 0);
    start(loop, &op);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(write(fds[1], "ab", 2), 2);
        while (strlen(text) < 2 * (size_t)(i + 1))
            (void)coir_loop_run(loop, COIR_RUN_ONCE);
    }
    CHECK_STR(text, "abababababab");
    CHECK_EQ(write(fds[1], "0123456789", 10), 10); /* more than one holds */
    while (strlen(text) < 22)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_STR(text + 12, "0123456789");
    (void)close(fds[1]);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(results[calls - 1], 0);
    CHECK(!coir_op_is_active(&op));
    (void)close(fds[0]);
    coir_buffers_free(group);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, without_a_free_buffer_it_ends)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    CHECK_EQ(coir_buffers_new(&group, loop, 4, 2), 0);
    coir_op op;
    coir_op_recv_many(&op, keep, fds[0], group, 0);
    start(loop, &op);
    CHECK_EQ(write(fds[1], "0123456789", 10), 10);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(calls, 5);
    CHECK_EQ(results[4], -ENOBUFS);
    CHECK_EQ(kept_count, 4);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(memcmp(kept[i], "01234567" + 2 * (ptrdiff_t)i, 2), 0);
        coir_buffers_release(group, kept[i]);
    }
    coir_op_recv_many(&op, collect, fds[0], group, 0); /* goes on there */
    start(loop, &op);
    while (strlen(text) < 2)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_STR(text, "89");
    coir_op_cancel(loop, &op);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    close_pair(fds);
    coir_buffers_free(group);
    coir_loop_free(loop);
}

TEST(op, groups_of_buffers_that_make_no_sense)
{
    coir_loop *loop = backend_loop(&coir__backend_epoll);
    coir_buffers *b = NULL;
    CHECK_EQ(coir_buffers_new(&b, loop, 0, 10), COIR_EINVAL);
    CHECK_EQ(coir_buffers_new(&b, loop, 40000, 10), COIR_EINVAL);
    CHECK_EQ(coir_buffers_new(&b, loop, 10, 0), COIR_EINVAL);
    EACH_ALLOC_FAILURE(n)
    {
        int err = coir_buffers_new(&b, loop, 10, 10);
        CHECK(err == 0 || err == COIR_ENOMEM);
        if (err == 0)
            coir_buffers_free(b);
        b = NULL;
    }
    coir_buffers_free(NULL);
    coir_loop_free(loop);
}

/* --- cancelling ---------------------------------------------------------- */

TEST_EACH_BACKEND(op, cancelled)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    coir_op op;
    char buf[8];
    for (int turns = 0; turns < 2; turns++) {
        coir_op_recv(&op, note, fds[0], buf, sizeof buf, 0);
        start(loop, &op);
        for (int i = 0; i < turns; i++)
            (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
        coir_op_cancel(loop, &op);
        coir_op_cancel(loop, &op);
        CHECK_EQ(calls, turns);
        until(loop, turns + 1);
        CHECK_EQ(results[turns], -ECANCELED);
        coir_op_cancel(loop, &op); /* over: nothing */
    }
    /* Nothing of the stream was taken. */
    CHECK_EQ(write(fds[1], "left", 4), 4);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(read(fds[0], buf, sizeof buf), 4);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, bad_descriptors)
{
    coir_loop *loop = backend_loop(backend);
    char buf[8];
    coir_op op[3];
    coir_op_recv(&op[0], note, 777, buf, sizeof buf, 0);
    coir_op_read(&op[1], note, -1, buf, sizeof buf, -1);
    coir_op_accept(&op[2], note, 777, NULL, NULL, 0);
    for (int i = 0; i < 3; i++)
        start(loop, &op[i]);
    until(loop, 3);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(results[i], -EBADF);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    coir_op_recv(&op[0], note, fd, buf, sizeof buf, 0);
    start(loop, &op[0]);
    until(loop, 4);
    CHECK_EQ(results[3], -ENOTSOCK);
    (void)close(fd);
    coir_loop_free(loop);
}

/* --- the loop ------------------------------------------------------------ */

static void
again(coir_loop *loop, coir_op *op)
{
    note(loop, op);
    CHECK_EQ(coir_op_start(loop, op), 0);
}

static void
end(coir_loop *loop, coir_timer *w, int revents)
{
    (void)w;
    (void)revents;
    coir_loop_break(loop, COIR_BREAK_ALL);
}

/* Each completes at once, and starts the next one. */
TEST_EACH_BACKEND(op, starves_nobody)
{
    coir_loop *loop = backend_loop(backend);
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    char buf[8];
    coir_op op;
    coir_op_read(&op, again, fd, buf, sizeof buf, -1);
    start(loop, &op);
    coir_timer timer;
    coir_timer_init(&timer, end, 0, 0);
    coir_timer_start(loop, &timer);
    (void)coir_loop_run(loop, 0);
    CHECK(calls < 100);
    coir_loop_free(loop); /* in progress */
    CHECK(!coir_op_is_active(&op));
    (void)close(fd);
}

TEST_EACH_BACKEND(op, loop_freed_with_some_in_progress)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    struct sockaddr_in addr;
    int server = listener(&addr, 0);
    enum { COUNT = 100 };
    coir_op *ops = calloc(COUNT, sizeof *ops);
    char *buf = malloc(COUNT);
    CHECK(ops != NULL && buf != NULL);
    for (int i = 0; i < COUNT - 1; i++) {
        coir_op_recv(&ops[i], note, fds[0], buf + i, 1, 0);
        start(loop, &ops[i]);
    }
    coir_op_accept_many(&ops[COUNT - 1], note, server, 0);
    start(loop, &ops[COUNT - 1]);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    /* Results that will not be delivered: that descriptor is closed. */
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(client, (struct sockaddr *)&addr, sizeof addr), 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    coir_loop_free(loop);
    CHECK_EQ(calls, 0);
    /* Nobody writes here any more. */
    memset(buf, 1, COUNT);
    (void)!write(fds[1], "yyy", 3);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(buf[i], 1);
    free(buf);
    free(ops);
    (void)close(client);
    (void)close(server);
    close_pair(fds);
}

TEST_EACH_BACKEND(op, in_the_child_they_are_cancelled)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    char buf[8] = "", more[8] = "";
    coir_op op, other;
    coir_op_recv(&op, note, fds[0], buf, sizeof buf, 0);
    start(loop, &op);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    pid_t child = fork();
    if (child == 0) {
        /* Also one of the child's own, before the loop runs again. */
        int own[2];
        make_pair(own, 0);
        coir_op_recv(&other, note, own[0], more, sizeof more, 0);
        start(loop, &other);
        coir_op_cancel(loop, &op);
        until(loop, 1);
        CHECK_EQ(results[0], -ECANCELED);
        CHECK_EQ(write(own[1], "own", 3), 3);
        until(loop, 2);
        CHECK_STR(more, "own");
        coir_loop_free(loop);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(calls, 0);
    CHECK_EQ(write(fds[1], "parent", 6), 6);
    until(loop, 1);
    CHECK_STR(buf, "parent");
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, buffers_in_a_child)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    CHECK_EQ(coir_buffers_new(&group, loop, 4, 8), 0);
    coir_op op;
    coir_op_recv_many(&op, collect, fds[0], group, 0);
    start(loop, &op);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    pid_t child = fork();
    if (child == 0) {
        until(loop, 1);
        CHECK_EQ(results[0], -ECANCELED);
        int own[2];
        make_pair(own, 0);
        coir_op_recv_many(&op, collect, own[0], group, 0);
        start(loop, &op);
        CHECK_EQ(write(own[1], "own", 3), 3);
        while (strlen(text) < 3)
            (void)coir_loop_run(loop, COIR_RUN_ONCE);
        coir_buffers_free(group);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(write(fds[1], "parent", 6), 6);
    while (strlen(text) < 6)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_STR(text, "parent");
    coir_op_cancel(loop, &op);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_buffers_free(group);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(op, without_memory_it_does_not_start)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds, 0);
    int far = fcntl(fds[0], F_DUPFD, 900);
    char buf[8];
    EACH_ALLOC_FAILURE(n)
    {
        coir_op op;
        coir_op_recv(&op, note, far, buf, sizeof buf, 0);
        int err = coir_op_start(loop, &op);
        coir_test_fail_none();
        CHECK(err == 0 || err == COIR_ENOMEM);
        CHECK_EQ(coir_op_is_active(&op), err == 0);
        if (err == 0) {
            calls = 0;
            coir_op_cancel(loop, &op);
            until(loop, 1);
        }
        CHECK_EQ(coir_loop_run(loop, COIR_RUN_NOWAIT), 0);
    }
    (void)close(far);
    close_pair(fds);
    coir_loop_free(loop);
}

/* O_NONBLOCK on a socket does not keep the kernel from waiting. */
TEST(op, io_uring_waits_in_the_kernel)
{
    coir_loop *loop = backend_loop(&coir__backend_uring);
    int fds[2];
    make_pair(fds, SOCK_NONBLOCK);
    char buf[8];
    coir_op op;
    coir_op_recv(&op, note, fds[0], buf, sizeof buf, 0);
    start(loop, &op);
    for (int i = 0; i < 3; i++)
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(op.state, COIR__OP_KERNEL);
    coir_op_cancel(loop, &op);
    until(loop, 1);
    close_pair(fds);
    coir_loop_free(loop);
}
