/* test_io.c - descriptors in the event loop. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io_helper.h"

TEST_EACH_BACKEND(io, called_as_long_as_it_is_ready)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    CHECK_EQ(s.calls, 0);
    put(fds[1]);
    until(loop, &s, 3);
    CHECK_EQ(s.events, COIR_READ);
    take(fds[0]);
    s.calls = 0;
    turn(loop);
    turn(loop);
    CHECK_EQ(s.calls, 0);
    coir_io_stop(loop, &w);
    put(fds[1]);
    turn(loop);
    CHECK_EQ(s.calls, 0);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, reading_and_writing_are_told_apart)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io reader, writer, both;
    seen r, w, b;
    watch(loop, &reader, &r, fds[0], COIR_READ);
    watch(loop, &writer, &w, fds[0], COIR_WRITE);
    watch(loop, &both, &b, fds[0], COIR_READ | COIR_WRITE);
    until(loop, &w, 1);
    CHECK_EQ(r.calls, 0);
    CHECK_EQ(w.events, COIR_WRITE);
    CHECK_EQ(b.events, COIR_WRITE);
    put(fds[1]);
    until(loop, &r, 1);
    CHECK_EQ(r.events, COIR_READ);
    while (b.events != (COIR_READ | COIR_WRITE))
        until(loop, &b, b.calls + 1);
    coir_io_stop(loop, &writer);
    coir_io_stop(loop, &both);
    turn(loop);
    w.calls = 0;
    turn(loop);
    CHECK_EQ(w.calls, 0);
    coir_io_stop(loop, &reader);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, modify_changes_what_it_waits_for)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    CHECK_EQ(s.calls, 0);
    coir_io_modify(loop, &w, COIR_WRITE);
    until(loop, &s, 1);
    CHECK_EQ(s.events, COIR_WRITE);
    coir_io_modify(loop, &w, 0);
    turn(loop);
    s.calls = 0;
    put(fds[1]);
    turn(loop);
    CHECK_EQ(s.calls, 0);
    coir_io_stop(loop, &w);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, closed_by_the_peer_is_readable)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    (void)close(fds[1]);
    until(loop, &s, 1);
    CHECK_EQ(s.events, COIR_READ);
    coir_io_stop(loop, &w);
    (void)close(fds[0]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, pipe_without_reader_is_writable)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    (void)close(fds[0]);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[1], COIR_WRITE);
    until(loop, &s, 1);
    CHECK_EQ(s.events, COIR_WRITE);
    coir_io_stop(loop, &w);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, regular_file_is_always_ready)
{
    coir_loop *loop = backend_loop(backend);
    FILE *file = tmpfile();
    CHECK(file != NULL);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fileno(file), COIR_READ | COIR_WRITE);
    until(loop, &s, 3);
    CHECK_EQ(s.events, COIR_READ | COIR_WRITE);
    coir_io_modify(loop, &w, COIR_READ);
    turn(loop);
    until(loop, &s, s.calls + 1);
    CHECK_EQ(s.events, COIR_READ);
    coir_io_stop(loop, &w);
    turn(loop);
    s.calls = 0;
    turn(loop);
    CHECK_EQ(s.calls, 0);
    (void)fclose(file);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, number_that_is_not_open_is_an_error)
{
    coir_loop *loop = backend_loop(backend);
    coir_io w;
    seen s;
    watch(loop, &w, &s, 700, COIR_READ);
    until(loop, &s, 1);
    CHECK(s.events & COIR_ERROR);
    CHECK(!coir_is_active(&w));
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_NOWAIT), 0);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, closed_behind_its_back_is_an_error)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io first, second;
    seen a, b;
    watch(loop, &first, &a, fds[0], COIR_READ);
    watch(loop, &second, &b, fds[0], COIR_WRITE);
    until(loop, &b, 1);
    coir_io_modify(loop, &second, COIR_READ);
    turn(loop);
    (void)close(fds[0]);
    coir_feed_event(loop, &first, COIR_CUSTOM); /* callbacks ran */
    until(loop, &a, 2);
    CHECK(a.events & COIR_ERROR);
    CHECK(b.events & COIR_ERROR);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, closed_between_runs_is_an_error)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    (void)close(fds[0]);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(s.calls, 1);
    CHECK(s.events & COIR_ERROR);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

static void
ignore_timer(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
}

static int to_close;

static void
run_and_close(coir_loop *loop, coir_timer *w, int revents)
{
    (void)w;
    (void)revents;
    coir_timer nested;
    coir_timer_init(&nested, ignore_timer, 10 * MS, 0);
    coir_timer_start(loop, &nested);
    /* Time enough to look at all descriptors. */
    (void)coir_loop_run(loop, COIR_RUN_ONCE);
    coir_timer_stop(loop, &nested);
    (void)close(to_close);
}

TEST_EACH_BACKEND(io, closed_after_a_nested_run_is_an_error)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    to_close = fds[0];
    coir_timer timer;
    coir_timer_init(&timer, run_and_close, 0, 0);
    coir_timer_start(loop, &timer);
    until(loop, &s, 1);
    CHECK(s.events & COIR_ERROR);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, closed_while_the_array_of_descriptors_grows)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io low, high;
    seen s, other;
    watch(loop, &low, &s, fds[0], COIR_READ);
    turn(loop);
    loop->fd_audit = 20; /* the audit goes on there */
    int number = fcntl(fds[1], F_DUPFD_CLOEXEC, 100);
    CHECK(number >= 100);
    watch(loop, &high, &other, number, COIR_READ);
    (void)close(fds[0]);
    until(loop, &s, 1);
    CHECK(s.events & COIR_ERROR);
    coir_io_stop(loop, &high);
    (void)close(fds[1]);
    (void)close(number);
    coir_loop_free(loop);
}

static void
note_once(int revents, void *arg)
{
    *(int *)arg = revents;
}

TEST_EACH_BACKEND(io, closed_while_once_waits_is_an_error)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2], events = 0;
    make_pair(fds);
    CHECK_EQ(coir_once(loop, fds[0], COIR_READ, -1, note_once, &events), 0);
    turn(loop);
    (void)close(fds[0]);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK(events & COIR_ERROR);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

/* Poll and select watch whatever the number means. */
TEST_EACH_BACKEND(io, reused_behind_its_back_is_an_error)
{
    coir_loop *loop = backend_loop(backend);
    if (backend->audit == NULL)
        SKIP("this backend looks at the number each time");
    int fds[2], other[2];
    make_pair(fds);
    make_pair(other);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    CHECK_EQ(dup2(other[0], fds[0]), fds[0]);
    coir_feed_event(loop, &w, COIR_CUSTOM);
    until(loop, &s, 2);
    CHECK(s.events & COIR_ERROR);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    close_pair(fds);
    close_pair(other);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, number_reused_between_stop_and_start)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2], other[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    coir_io_stop(loop, &w);
    int number = fds[0];
    close_pair(fds);
    make_pair(other);
    CHECK_EQ(other[0], number);
    watch(loop, &w, &s, other[0], COIR_READ);
    turn(loop);
    put(other[1]);
    until(loop, &s, 1);
    CHECK_EQ(s.events, COIR_READ);
    coir_io_stop(loop, &w);
    close_pair(other);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, number_reused_while_stopped_is_seen_without_init)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2], other[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    coir_io_stop(loop, &w);
    turn(loop);
    int number = fds[0];
    close_pair(fds);
    make_pair(other);
    CHECK_EQ(other[0], number);
    CHECK_EQ(coir_io_start(loop, &w), 0);
    turn(loop);
    put(other[1]);
    until(loop, &s, 1);
    CHECK_EQ(s.events, COIR_READ);
    coir_io_stop(loop, &w);
    close_pair(other);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, file_that_lives_on_through_a_duplicate_is_forgotten)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2], other[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    put(fds[1]);
    coir_io_stop(loop, &w);
    int duplicate = dup(fds[0]);
    int number = fds[0];
    (void)close(fds[0]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, other), 0);
    CHECK_EQ(other[0], number);
    watch(loop, &w, &s, other[0], COIR_READ);
    for (int i = 0; i < 10; i++)
        turn(loop);
    CHECK_EQ(s.calls, 0);
    put(other[1]);
    until(loop, &s, 1);
    coir_io_stop(loop, &w);
    (void)close(duplicate);
    (void)close(fds[1]);
    close_pair(other);
    coir_loop_free(loop);
}

static void
stop_all(coir_loop *loop, coir_io *w, int revents)
{
    (void)revents;
    coir_io *ws = w->data;
    trace("stop");
    for (int i = 0; i < 3; i++)
        coir_io_stop(loop, &ws[i]);
    memset(ws, 0x55, 3 * sizeof *ws); /* they may go at once */
}

TEST_EACH_BACKEND(io, callback_may_stop_and_free_all_watchers)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io ws[3];
    for (int i = 0; i < 3; i++) {
        coir_io_init(&ws[i], stop_all, fds[0], COIR_WRITE);
        ws[i].data = ws;
        CHECK_EQ(coir_io_start(loop, &ws[i]), 0);
    }
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_TRACE("stop");
    turn(loop);
    close_pair(fds);
    coir_loop_free(loop);
}

static void
note_time(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    *(int64_t *)w->data = coir_clock_monotonic();
}

TEST_EACH_BACKEND(io, wait_ends_when_a_timer_is_due_and_not_before)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    coir_loop_unref(loop);
    int64_t before = coir_clock_monotonic(), after = 0;
    coir_loop_now_update(loop);
    coir_timer timer;
    coir_timer_init(&timer, note_time, 5 * MS + 300000, 0);
    timer.data = &after;
    coir_timer_start(loop, &timer);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK(after - before >= 5 * MS + 300000);
    coir_loop_ref(loop);
    coir_io_stop(loop, &w);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, works_in_the_child_after_a_fork)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    pid_t child = fork();
    if (child == 0) {
        int mine[2];
        make_pair(mine);
        coir_io inner;
        seen t;
        watch(loop, &inner, &t, mine[0], COIR_READ);
        turn(loop);
        put(mine[1]);
        until(loop, &t, 1);
        put(fds[1]);
        until(loop, &s, 1);
        coir_io_stop(loop, &inner);
        coir_io_stop(loop, &w);
        coir_loop_free(loop);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    until(loop, &s, 1); /* the child's byte is still there */
    coir_io_stop(loop, &w);
    close_pair(fds);
    coir_loop_free(loop);
}

static void
check_many(const coir__backend *backend, rlim_t count)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = count + 100;
    if (limit.rlim_cur > limit.rlim_max)
        limit.rlim_max = limit.rlim_cur;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        SKIP("not so many descriptors here");
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    int n = (int)count - 10;
    coir_io *ws = calloc((size_t)n, sizeof *ws);
    int *dups = calloc((size_t)n, sizeof *dups);
    CHECK(ws != NULL && dups != NULL);
    seen s = {0, 0};
    for (int i = 0; i < n; i++) {
        dups[i] = dup(fds[0]);
        CHECK(dups[i] > 0);
        coir_io_init(&ws[i], note, dups[i], COIR_READ);
        ws[i].data = &s;
        CHECK_EQ(coir_io_start(loop, &ws[i]), 0);
    }
    turn(loop);
    CHECK_EQ(s.calls, 0);
    put(fds[1]);
    until(loop, &s, n);
    for (int i = 0; i < n; i++) {
        coir_io_stop(loop, &ws[i]);
        (void)close(dups[i]);
    }
    take(fds[0]);
    turn(loop);
    free(ws);
    free(dups);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(io, more_than_1024_descriptors)
{
    skip_what_emulators_cannot(backend);
    check_many(backend, 3000);
}

TEST_EACH_BACKEND(io, more_than_100000_descriptors)
{
    coir_test_timeout(60);
    if (coir_test_is_slow())
        SKIP("takes long");
    check_many(backend, 110000);
}

static void
interrupted(int signum)
{
    (void)signum;
}

TEST_EACH_BACKEND(io, signals_do_not_disturb_a_wait)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    CHECK(signal(SIGUSR1, interrupted) != SIG_ERR);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 200; i++)
            (void)kill(parent, SIGUSR1);
        put(fds[1]);
        _exit(0);
    }
    until(loop, &s, 1);
    CHECK_EQ(s.events, COIR_READ);
    int status;
    while (waitpid(child, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    coir_io_stop(loop, &w);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST(io, bad_arguments_are_refused)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_io w;
    coir_io_init(&w, note, -1, COIR_READ);
    CHECK_EQ(coir_io_start(loop, &w), COIR_EINVAL);
    coir_io_init(&w, note, 3, COIR_TIMER);
    CHECK_EQ(coir_io_start(loop, &w), COIR_EINVAL);
    coir_io_init(&w, note, INT32_MAX, COIR_READ);
    CHECK_EQ(coir_io_start(loop, &w), COIR_EINVAL);
    CHECK(!coir_is_active(&w));
    coir_loop_free(loop);
}

TEST(io, changes_are_told_in_their_order)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_io w[3];
    seen s;
    for (int i = 0; i < 3; i++)
        watch(loop, &w[i], &s, 30 + i, COIR_READ);
    turn(loop);
    CHECK_EQ(f.modifications, 3);
    CHECK_EQ(f.modified_fd, 32); /* the last */
    for (int i = 3; i-- > 0;)
        coir_io_stop(loop, &w[i]);
    turn(loop);
    CHECK_EQ(f.modified_fd, 30);
    coir_loop_free(loop);
}

TEST(io, changes_of_a_turn_are_told_once)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_io w, x;
    seen s, t;
    watch(loop, &w, &s, 5, COIR_READ);
    watch(loop, &x, &t, 5, COIR_WRITE);
    turn(loop);
    CHECK_EQ(f.modifications, 1);
    CHECK_EQ(f.modified_events, COIR_READ | COIR_WRITE);
    coir_io_stop(loop, &w);
    CHECK_EQ(coir_io_start(loop, &w), 0); /* without init: the same file */
    turn(loop);
    CHECK_EQ(f.modifications, 1);
    coir_io_stop(loop, &x);
    turn(loop);
    CHECK_EQ(f.modifications, 2);
    CHECK_EQ(f.modified_events, COIR_READ);
    coir_io_stop(loop, &w);
    turn(loop);
    CHECK_EQ(f.modifications, 3);
    CHECK_EQ(f.modified_events, 0);
    coir_loop_free(loop);
}

/* Epoll, with what it is asked counted. */
static int counted_modifications, counted_waits;

static int
counted_modify(coir_loop *loop, int fd, int events)
{
    counted_modifications++;
    return coir__backend_epoll.modify(loop, fd, events);
}

static int
counted_wait(coir_loop *loop, int64_t timeout_ns)
{
    counted_waits++;
    return coir__backend_epoll.wait(loop, timeout_ns);
}

static int
modifications_of_a_turn(coir_loop *loop)
{
    counted_modifications = 0;
    turn(loop);
    return counted_modifications;
}

static void
note_timer(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    ++*(int *)w->data;
}

TEST(io, registration_is_kept_after_a_stop_until_its_first_event)
{
    coir__backend counted = coir__backend_epoll;
    counted.modify = counted_modify;
    counted.wait = counted_wait;
    coir_loop *loop = backend_loop(&counted);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    coir_io_stop(loop, &w);
    CHECK_EQ(modifications_of_a_turn(loop), 0);
    CHECK_EQ(coir_io_start(loop, &w), 0);
    CHECK_EQ(modifications_of_a_turn(loop), 1); /* is it there still? */
    CHECK_EQ(modifications_of_a_turn(loop), 0);
    put(fds[1]);
    turn(loop);
    CHECK_EQ(s.calls, 1);

    coir_io_stop(loop, &w);
    /* Nobody reads what is there: the next turn takes it back. */
    CHECK_EQ(modifications_of_a_turn(loop), 0);
    CHECK_EQ(modifications_of_a_turn(loop), 1);
    CHECK_EQ(modifications_of_a_turn(loop), 0);

    /* Nor does it keep a wait from blocking. */
    CHECK_EQ(coir_io_start(loop, &w), 0);
    turn(loop);
    CHECK_EQ(s.calls, 2);
    coir_io_stop(loop, &w);
    int fired = 0;
    coir_timer timer;
    coir_timer_init(&timer, note_timer, 5 * MS, 0);
    timer.data = &fired;
    coir_loop_now_update(loop);
    coir_timer_start(loop, &timer);
    counted_waits = 0;
    (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(fired, 1);
    CHECK(counted_waits <= 4);
    CHECK_EQ(s.calls, 2);

    CHECK_EQ(coir_io_start(loop, &w), 0);
    until(loop, &s, 3);
    coir_io_stop(loop, &w);
    close_pair(fds);
    turn(loop);
    coir_loop_free(loop);
}

TEST(io, refused_by_the_kernel_is_an_error)
{
    fake f = {.modify_error = ENOSPC}; /* max_user_watches */
    coir_loop *loop = fake_loop(&f);
    coir_io w;
    seen s;
    watch(loop, &w, &s, 5, COIR_READ);
    turn(loop);
    CHECK_EQ(s.calls, 1);
    CHECK(s.events & COIR_ERROR);
    CHECK(!coir_is_active(&w));
    coir_loop_free(loop);
}

TEST(io, fed_descriptor_events_reach_who_waits_for_them)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_io reader, writer;
    seen r, w;
    watch(loop, &reader, &r, 5, COIR_READ);
    watch(loop, &writer, &w, 5, COIR_WRITE);
    turn(loop);
    coir_feed_fd_event(loop, 5, COIR_READ);
    coir_feed_fd_event(loop, 6, COIR_READ);
    coir_feed_fd_event(loop, -1, COIR_READ);
    turn(loop);
    CHECK_EQ(r.calls, 1);
    CHECK_EQ(w.calls, 0);
    coir_io_stop(loop, &reader);
    coir_io_stop(loop, &writer);
    coir_loop_free(loop);
}
