/* test_edge.c - descriptors that are registered once. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io_helper.h"

typedef struct told {
    coir_edge edge;
    int calls;
    int events;
} told;

static void
tell(coir_loop *loop, coir_edge *w, int revents)
{
    (void)loop;
    told *t = (told *)(void *)w;
    t->calls++;
    t->events = revents;
}

static void
nothing(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
}

static void
start(coir_loop *loop, told *t, int fd)
{
    t->calls = t->events = 0;
    coir_edge_init(&t->edge, tell, fd);
    CHECK_EQ(coir_edge_start(loop, &t->edge), 0);
}

/* Wait as a user does; what it was told. */
static int
wait_for(coir_loop *loop, told *t, int events)
{
    int ready = coir_edge_wait(loop, &t->edge, events);
    if (ready)
        return ready;
    int calls = t->calls;
    CHECK(coir_loop_run(loop, COIR_RUN_ONCE) >= 0);
    while (t->calls == calls)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(t->calls, calls + 1);
    coir_loop_verify(loop);
    return t->events;
}

TEST_EACH_BACKEND(edge, one_call_per_wait)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
        put(fds[1]);
        while (t.calls == i)
            (void)coir_loop_run(loop, COIR_RUN_ONCE);
        CHECK_EQ(t.events, COIR_READ);
        turn(loop); /* not read, and not told again */
        CHECK_EQ(t.calls, i + 1);
        take(fds[0]);
    }
    CHECK_EQ(coir_edge_close(loop, &t.edge), 0);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(edge, ready_before_it_is_waited_for)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    put(fds[1]);
    CHECK_EQ(wait_for(loop, &t, COIR_READ), COIR_READ);
    take(fds[0]);
    put(fds[1]); /* comes while nobody waits */
    turn(loop);
    CHECK_EQ(wait_for(loop, &t, COIR_READ), COIR_READ);
    take(fds[0]);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    CHECK_EQ(wait_for(loop, &t, COIR_WRITE), COIR_WRITE);
    int calls = t.calls; /* and it waits to read still */
    put(fds[1]);
    while (t.calls == calls)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(t.events, COIR_READ);
    coir_edge_stop(loop, &t.edge);
    (void)close(fds[0]);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(edge, two_waiters_of_one_descriptor)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    char block[4096] = {0};
    while (write(fds[0], block, sizeof block) > 0)
        ;
    told t;
    start(loop, &t, fds[0]);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_WRITE), 0);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    turn(loop);
    CHECK_EQ(t.calls, 0);
    put(fds[1]);
    while (t.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(t.events, COIR_READ);
    while (read(fds[1], block, sizeof block) > 0)
        ;
    while (t.calls == 1)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(t.events, COIR_WRITE);
    coir_loop_verify(loop);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    (void)coir_edge_close(loop, &t.edge);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(edge, end_of_file_is_told)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    turn(loop);
    (void)close(fds[1]);
    while (t.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(t.events, COIR_READ);
    (void)coir_edge_close(loop, &t.edge);
    coir_loop_free(loop);
}

/* One event for both: a read that falls short is not the last one then. */
TEST_EACH_BACKEND(edge, end_of_file_that_came_with_the_last_bytes)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    turn(loop);
    put(fds[1]);
    (void)close(fds[1]);
    while (t.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    char block[10];
    CHECK_EQ(read(fds[0], block, sizeof block), 1);
    CHECK_EQ(wait_for(loop, &t, COIR_READ), COIR_READ);
    CHECK_EQ(read(fds[0], block, sizeof block), 0);
    (void)coir_edge_close(loop, &t.edge);
    coir_loop_free(loop);
}

/* The same, noted while nobody waits. */
TEST_EACH_BACKEND(edge, end_of_file_that_nobody_waited_for)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    put(fds[1]);
    CHECK_EQ(wait_for(loop, &t, COIR_READ), COIR_READ);
    char block[10];
    CHECK_EQ(read(fds[0], block, sizeof block), 1);
    put(fds[1]);
    (void)close(fds[1]);
    turn(loop);
    CHECK_EQ(wait_for(loop, &t, COIR_READ), COIR_READ);
    CHECK_EQ(read(fds[0], block, sizeof block), 1);
    CHECK_EQ(wait_for(loop, &t, COIR_READ), COIR_READ);
    CHECK_EQ(read(fds[0], block, sizeof block), 0);
    (void)coir_edge_close(loop, &t.edge);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(edge, cancelled_wait)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    CHECK_EQ(coir_loop_run(loop, 0), 0); /* waits for nothing */
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_NOWAIT), 1);
    coir_edge_cancel(loop, &t.edge, COIR_READ);
    put(fds[1]);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    turn(loop);
    CHECK_EQ(t.calls, 0);
    CHECK_EQ(wait_for(loop, &t, COIR_READ), COIR_READ);
    /* Also one that is to be told already. */
    take(fds[0]);
    (void)coir_edge_wait(loop, &t.edge, COIR_READ);
    int calls = t.calls;
    coir_feed_fd_event(loop, fds[0], COIR_READ);
    coir_edge_cancel(loop, &t.edge, COIR_READ | COIR_WRITE);
    CHECK(!coir_is_pending(&t.edge));
    turn(loop);
    CHECK_EQ(t.calls, calls);
    (void)coir_edge_close(loop, &t.edge);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(edge, closed_and_opened_again_under_the_same_number)
{
    coir_loop *loop = backend_loop(backend);
    for (int i = 0; i < 10; i++) {
        int fds[2];
        make_pair(fds);
        told t, peer;
        start(loop, &t, fds[0]);
        start(loop, &peer, fds[1]);
        if (i % 3 != 0)
            CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
        if (i % 2 == 0)
            turn(loop);
        put(fds[1]);
        if (i % 4 == 0)
            turn(loop);
        CHECK_EQ(coir_edge_close(loop, &t.edge), 0);
        int again = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK_EQ(again, fds[0]);
        (void)close(again);
        /* The other side sees the end: nothing keeps the file open. */
        CHECK_EQ(wait_for(loop, &peer, COIR_READ), COIR_READ);
        char c;
        CHECK(read(fds[1], &c, 1) <= 0);
        (void)coir_edge_close(loop, &peer.edge);
        coir_loop_verify(loop);
    }
    turn(loop);
    coir_loop_free(loop);
}

static int io_calls;

static void
io_ready(coir_loop *loop, coir_io *w, int revents)
{
    (void)revents;
    io_calls++;
    coir_io_stop(loop, w);
}

TEST_EACH_BACKEND(edge, beside_other_watchers)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    coir_io io;
    start(loop, &t, fds[0]);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
        if (i >= 2)
            turn(loop); /* one after the other */
        coir_io_init(&io, io_ready, fds[0], COIR_READ);
        CHECK_EQ(coir_io_start(loop, &io), 0);
        turn(loop);
        put(fds[1]);
        while (io_calls <= i || t.calls <= i)
            (void)coir_loop_run(loop, COIR_RUN_ONCE);
        CHECK_EQ(io_calls, i + 1);
        CHECK_EQ(t.calls, i + 1);
        take(fds[0]);
        turn(loop);
        t.edge.ready = 0; /* it may have been told of, or not */
    }
    (void)coir_edge_close(loop, &t.edge);
    (void)close(fds[1]);
    turn(loop);
    coir_loop_free(loop);
}

/* The audit of an edge must not make it tell what is ready once more. */
TEST_EACH_BACKEND(edge, closed_behind_its_back_while_it_is_waited_for)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    coir_timer timer;
    coir_timer_init(&timer, nothing, 0, MS);
    coir_timer_start(loop, &timer);
    for (int i = 0; i < 20; i++)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(t.calls, 0);
    (void)close(fds[0]);
    while (t.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK(t.events & COIR_ERROR);
    CHECK(!coir_is_active(&t.edge));
    coir_timer_stop(loop, &timer);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

/* io_uring, for one, would have to ask at each wait. */
TEST(edge, replaced_behind_its_back_while_it_is_waited_for)
{
    coir_loop *loop = backend_loop(&coir__backend_epoll);
    int fds[2], other[2];
    make_pair(fds);
    make_pair(other);
    told t;
    start(loop, &t, fds[0]);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    turn(loop);
    CHECK_EQ(dup2(other[0], fds[0]), fds[0]);
    coir_timer timer;
    coir_timer_init(&timer, nothing, 0, MS);
    coir_timer_start(loop, &timer);
    while (t.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK(t.events & COIR_ERROR);
    coir_timer_stop(loop, &timer);
    put(other[1]); /* and it is not registered */
    turn(loop);
    CHECK_EQ(t.calls, 1);
    close_pair(fds);
    close_pair(other);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(edge, regular_file_is_always_ready)
{
    coir_loop *loop = backend_loop(backend);
    char path[] = "/tmp/coir-edge-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    (void)unlink(path);
    told t;
    start(loop, &t, fd);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(wait_for(loop, &t, COIR_READ | COIR_WRITE),
                 COIR_READ | COIR_WRITE);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(loop->always_count, 0); /* or it would not block any more */
    (void)coir_edge_close(loop, &t.edge);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(edge, works_after_a_fork)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    told t;
    start(loop, &t, fds[0]);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    turn(loop);
    pid_t child = fork();
    put(fds[1]);
    while (t.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    take(fds[0]);
    CHECK_EQ(wait_for(loop, &t, COIR_WRITE), COIR_WRITE);
    (void)coir_edge_close(loop, &t.edge);
    coir_loop_free(loop);
    if (child == 0)
        _exit(0);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    (void)close(fds[1]);
}

TEST_EACH_BACKEND(edge, not_open)
{
    coir_loop *loop = backend_loop(backend);
    told t;
    coir_edge_init(&t.edge, tell, -1);
    CHECK_EQ(coir_edge_start(loop, &t.edge), COIR_EINVAL);
    start(loop, &t, 500);
    CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
    while (t.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK(t.events & COIR_ERROR);
    CHECK(!coir_is_active(&t.edge));
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

TEST(edge, is_registered_once)
{
    fake f = {.edge = 1};
    coir_loop *loop = fake_loop(&f);
    told t;
    start(loop, &t, 7);
    turn(loop);
    CHECK_EQ(f.modifications, 0); /* not before it is waited for */
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_READ), 0);
        turn(loop);
        f.ready_fd = 7;
        f.ready_events = COIR_READ | COIR_WRITE;
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
        CHECK_EQ(t.events, COIR_READ);
        CHECK_EQ(coir_edge_wait(loop, &t.edge, COIR_WRITE), COIR_WRITE);
        t.events = 0;
    }
    CHECK_EQ(t.calls, 10);
    CHECK_EQ(f.modifications, 1);
    CHECK_EQ(f.modified_events,
             COIR_READ | COIR_WRITE | COIR__REGISTERED_EDGE);
    (void)coir_edge_close(loop, &t.edge);
    turn(loop);
    CHECK_EQ(f.modifications, 1); /* closing it was enough */
    coir_loop_free(loop);
}

TEST(edge, without_memory_it_does_not_start)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    told t;
    coir_edge_init(&t.edge, tell, 5000);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_edge_start(loop, &t.edge), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK(!coir_is_active(&t.edge));
    coir_edge_stop(loop, &t.edge);
    coir_loop_free(loop);
}

TEST(edge, close_takes_an_error_back)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    told t;
    start(loop, &t, fd);
    coir_feed_event(loop, &t.edge, COIR_ERROR | COIR_READ);
    CHECK_EQ(coir_edge_close(loop, &t.edge), 0);
    CHECK(!coir_is_pending(&t.edge));
    coir_loop_invoke_pending(loop);
    CHECK_EQ(t.calls, 0);
    coir_loop_free(loop);
}
