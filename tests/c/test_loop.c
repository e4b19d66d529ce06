/* test_loop.c - turns of the event loop, and the watchers that need nothing
 * else. */
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop_helper.h"

/* Traces the name in w->data. */
#define TRACER(type)                                                          \
    static void trace_##type(coir_loop *loop, coir_##type *w, int revents)    \
    {                                                                         \
        (void)loop;                                                           \
        (void)revents;                                                        \
        trace(w->data);                                                       \
    }

TRACER(timer)
TRACER(idle)
TRACER(prepare)
TRACER(check)
TRACER(fork)
TRACER(cleanup)
TRACER(io)

static void
start_timer(coir_loop *loop, coir_timer *w, const char *name, int64_t ns)
{
    coir_timer_init(w, trace_timer, ns, 0);
    w->data = (void *)(uintptr_t)name;
    coir_timer_start(loop, w);
}

#define START(type, w, name)                                                  \
    do {                                                                      \
        coir_##type##_init(w, trace_##type);                                  \
        (w)->data = (void *)(uintptr_t)(name);                                \
        CHECK_EQ(coir_##type##_start(loop, w), 0);                            \
    } while (0)

TEST(loop, without_watchers_run_returns_at_once)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(f.last_wait, 0);
    CHECK_EQ(coir_loop_iteration(loop), 1);
    CHECK_EQ(coir_loop_depth(loop), 0);
    coir_loop_free(loop);
}

TEST(loop, turn_calls_prepare_then_waits_then_check_first)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_prepare prepare;
    coir_check check;
    coir_timer timer;
    START(prepare, &prepare, "prepare");
    START(check, &check, "check");
    start_timer(loop, &timer, "timer", 5 * S);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 2);
    CHECK_TRACE("prepare check timer");
    CHECK_EQ(f.waited, 5 * S);
    coir_loop_verify(loop);
    coir_prepare_stop(loop, &prepare);
    coir_check_stop(loop, &check);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_TRACE("");
    coir_loop_free(loop);
}

TEST(loop, pending_are_called_by_priority)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    static const char *const names[] = {"-2", "-1", "0", "1", "2"};
    coir_prepare w[5];
    for (int i = 0; i < 5; i++) {
        coir_prepare_init(&w[i], trace_prepare);
        w[i].priority = i - 2;
        w[i].data = (void *)(uintptr_t)names[i];
        coir_feed_event(loop, &w[i], COIR_CUSTOM);
    }
    CHECK_EQ(coir_loop_pending_count(loop), 5);
    coir_loop_verify(loop);
    coir_loop_invoke_pending(loop);
    CHECK_TRACE("2 1 0 -1 -2");
    CHECK_EQ(coir_loop_pending_count(loop), 0);
    coir_loop_free(loop);
}

static void
feed_other(coir_loop *loop, coir_prepare *w, int revents)
{
    trace("feeds");
    coir_feed_event(loop, w->data, revents);
}

TEST(loop, fed_by_a_callback_higher_priority_comes_next)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_prepare high, feeder, low;
    coir_prepare_init(&high, trace_prepare);
    high.priority = 1;
    high.data = (void *)(uintptr_t) "high";
    coir_prepare_init(&low, trace_prepare);
    low.data = (void *)(uintptr_t) "low";
    coir_prepare_init(&feeder, feed_other);
    feeder.data = &high;
    coir_feed_event(loop, &low, 1);
    coir_feed_event(loop, &feeder, 1);
    coir_loop_invoke_pending(loop);
    CHECK_TRACE("feeds high low");
    coir_loop_free(loop);
}

static int got_events;

static void
note_events(coir_loop *loop, coir_io *w, int revents)
{
    (void)loop;
    (void)w;
    got_events = revents;
}

TEST(loop, events_fed_twice_are_joined)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_io w;
    coir_io_init(&w, note_events, 0, COIR_READ);
    coir_feed_event(loop, &w, COIR_READ);
    coir_feed_event(loop, &w, COIR_CUSTOM);
    CHECK(coir_is_pending(&w));
    CHECK_EQ(coir_loop_pending_count(loop), 1);
    coir_loop_invoke_pending(loop);
    CHECK_EQ(got_events, COIR_READ | COIR_CUSTOM);
    CHECK(!coir_is_pending(&w));
    coir_loop_free(loop);
}

TEST(loop, clear_pending_takes_the_call_back)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_prepare w[3];
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        coir_prepare_init(&w[i], trace_prepare);
        w[i].data = (void *)(uintptr_t)names[i];
        coir_feed_event(loop, &w[i], COIR_CUSTOM);
    }
    CHECK_EQ(coir_clear_pending(loop, &w[1]), COIR_CUSTOM);
    CHECK_EQ(coir_clear_pending(loop, &w[1]), 0);
    coir_loop_verify(loop);
    coir_loop_invoke_pending(loop);
    CHECK_TRACE("c a"); /* what is fed last is called first */
    coir_loop_free(loop);
}

TEST(loop, priorities_out_of_range_are_clamped)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_prepare low, high;
    coir_prepare_init(&low, trace_prepare);
    coir_prepare_init(&high, trace_prepare);
    low.priority = -100;
    high.priority = 100;
    CHECK_EQ(coir_prepare_start(loop, &low), 0);
    CHECK_EQ(coir_prepare_start(loop, &high), 0);
    CHECK_EQ(low.priority, COIR_MINPRI);
    CHECK_EQ(high.priority, COIR_MAXPRI);
    coir_prepare_stop(loop, &low);
    coir_prepare_stop(loop, &high);
    coir_loop_free(loop);
}

static int idle_left;

static void
count_idle(coir_loop *loop, coir_idle *w, int revents)
{
    (void)revents;
    trace(w->data);
    if (--idle_left == 0)
        coir_idle_stop(loop, w);
}

TEST(loop, idle_keeps_from_blocking)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_idle idle;
    coir_timer timer;
    idle_left = 3;
    coir_idle_init(&idle, count_idle);
    idle.data = (void *)(uintptr_t) "idle";
    CHECK_EQ(coir_idle_start(loop, &idle), 0);
    start_timer(loop, &timer, "timer", S);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_TRACE("idle idle idle timer");
    CHECK_EQ(f.waited, S);
    coir_loop_free(loop);
}

TEST(loop, idle_waits_for_pending_of_its_priority)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_idle low, high;
    coir_timer timer;
    START(idle, &low, "low");
    coir_idle_init(&high, trace_idle);
    high.data = (void *)(uintptr_t) "high";
    high.priority = 1;
    CHECK_EQ(coir_idle_start(loop, &high), 0);
    start_timer(loop, &timer, "timer", 0);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("high timer"); /* nothing pending is as high as `high` */
    coir_idle_stop(loop, &high);
    start_timer(loop, &timer, "timer", 0);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("timer");
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("low");
    coir_loop_verify(loop);
    coir_idle_stop(loop, &low);
    coir_loop_free(loop);
}

static void
break_loop(coir_loop *loop, coir_timer *w, int revents)
{
    (void)revents;
    trace("break");
    coir_loop_break(loop, *(int *)w->data);
}

static void
run_nested(coir_loop *loop, coir_timer *w, int revents)
{
    (void)w;
    (void)revents;
    trace("in");
    CHECK_EQ(coir_loop_depth(loop), 1);
    (void)coir_loop_run(loop, 0);
    trace("out");
}

static void
check_break(int how, const char *expected)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer nested, breaker, after;
    coir_timer_init(&nested, run_nested, S, 0);
    coir_timer_init(&breaker, break_loop, 2 * S, 0);
    breaker.data = &how;
    coir_timer_start(loop, &nested);
    coir_timer_start(loop, &breaker);
    start_timer(loop, &after, "after", 3 * S);
    (void)coir_loop_run(loop, 0);
    CHECK_TRACE(expected);
    coir_timer_stop(loop, &after);
    coir_loop_free(loop);
}

TEST(loop, break_one_ends_the_innermost_run)
{
    check_break(COIR_BREAK_ONE, "in break out after");
}

TEST(loop, break_all_ends_all_runs)
{
    check_break(COIR_BREAK_ALL, "in break out");
}

TEST(loop, break_cancel_takes_a_break_back)
{
    check_break(COIR_BREAK_CANCEL, "in break after out");
}

TEST(loop, break_in_prepare_keeps_from_waiting)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    coir_prepare prepare;
    START(prepare, &prepare, "prepare");
    start_timer(loop, &timer, "timer", S);
    coir_feed_event(loop, &prepare, COIR_CUSTOM);
    coir_loop_break(loop, COIR_BREAK_ONE);
    /* run() forgets an earlier break. */
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    CHECK_TRACE("prepare prepare timer");
    coir_prepare_stop(loop, &prepare);
    coir_loop_free(loop);
}

TEST(loop, unref_lets_it_end)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    start_timer(loop, &timer, "timer", S);
    CHECK_EQ(coir_loop_active_count(loop), 1);
    coir_loop_unref(loop);
    CHECK_EQ(coir_loop_active_count(loop), 0);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_TRACE("");
    coir_loop_ref(loop);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_TRACE("timer");
    coir_loop_free(loop);
}

TEST(loop, nowait_does_not_wait)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    start_timer(loop, &timer, "timer", S);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_NOWAIT), 1);
    CHECK_EQ(f.last_wait, 0);
    CHECK_TRACE("");
    coir_timer_stop(loop, &timer);
    coir_loop_free(loop);
}

TEST(loop, time_stands_still_within_a_turn)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    int64_t now = coir_loop_now(loop);
    fake_advance(&f, 5 * S);
    CHECK_EQ(coir_loop_now(loop), now);
    coir_loop_now_update(loop);
    CHECK_EQ(coir_loop_now(loop), now + 5 * S);
    CHECK_EQ(coir_loop_wall_now(loop), FAKE_WALL + 5 * S);
    coir_loop_free(loop);
}

TEST(loop, suspended_time_does_not_count)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    start_timer(loop, &timer, "timer", 10 * S);
    coir_loop_suspend(loop);
    fake_advance(&f, 100 * S);
    coir_loop_resume(loop);
    CHECK_EQ(coir_timer_remaining(loop, &timer), 10 * S);
    (void)coir_loop_run(loop, 0);
    CHECK_TRACE("timer");
    CHECK_EQ(f.monotonic, 1110 * S);
    coir_loop_free(loop);
}

TEST(loop, timers_are_collected)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    coir_loop_set_timer_collect(loop, 500 * MS);
    start_timer(loop, &timer, "timer", MS);
    (void)coir_loop_run(loop, 0);
    CHECK_EQ(f.waited, 500 * MS);
    coir_loop_free(loop);
}

TEST(loop, descriptors_are_collected)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    coir_loop_set_io_collect(loop, 500 * MS);
    start_timer(loop, &timer, "timer", 2 * S);
    (void)coir_loop_run(loop, 0);
    CHECK_EQ(f.slept, 500 * MS);
    CHECK_EQ(f.waited, 1500 * MS);
    coir_loop_free(loop);
}

TEST(loop, collecting_does_not_end_a_run_before_its_timer)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    /* So far away that the wheel of timers turns once before, and collecting
     * takes as long as that. */
    coir_loop_set_io_collect(loop, S);
    start_timer(loop, &timer, "timer", 500 * MS);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
    CHECK_TRACE("timer");
    CHECK_EQ(f.slept + f.waited, 500 * MS);
    coir_loop_free(loop);
}

TEST(loop, fork_watchers_are_called_first_and_kernel_objects_made_anew)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_fork fork_watcher;
    coir_prepare prepare;
    START(fork, &fork_watcher, "fork");
    START(prepare, &prepare, "prepare");
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("prepare");
    CHECK_EQ(f.resets, 0);
    coir_loop_fork(loop);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("fork prepare");
    CHECK_EQ(f.resets, 1);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("prepare");
    coir_fork_stop(loop, &fork_watcher);
    coir_prepare_stop(loop, &prepare);
    coir_loop_free(loop);
}

TEST(loop, fork_is_found_by_itself)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_fork watcher;
    START(fork, &watcher, "fork");
    pid_t child = fork();
    if (child == 0) {
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
        _exit(f.resets == 1 && strcmp(trace_text, "fork") == 0 ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("");
    coir_fork_stop(loop, &watcher);
    coir_loop_free(loop);
}

TEST(loop, cleanup_is_called_when_it_goes)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_cleanup watcher;
    START(cleanup, &watcher, "cleanup");
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_TRACE("");
    coir_loop_free(loop);
    CHECK_TRACE("cleanup");
    coir_loop_free(NULL);
}

TEST(loop, cleanup_does_not_keep_it_running)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_cleanup watcher;
    START(cleanup, &watcher, "cleanup");
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK(coir_is_active(&watcher));
    coir_cleanup_stop(loop, &watcher);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
    CHECK_TRACE("");
}

static void
invoke_later(coir_loop *loop)
{
    trace("invoke");
    coir_loop_invoke_pending(loop);
}

TEST(loop, invoke_pending_can_be_replaced)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer timer;
    coir_loop_set_invoke_pending(loop, invoke_later);
    start_timer(loop, &timer, "timer", S);
    (void)coir_loop_run(loop, 0);
    CHECK_TRACE("invoke invoke timer");
    coir_loop_set_invoke_pending(loop, NULL);
    start_timer(loop, &timer, "timer", S);
    (void)coir_loop_run(loop, 0);
    CHECK_TRACE("timer");
    coir_loop_free(loop);
}

static void
release(coir_loop *loop)
{
    trace(coir_loop_user(loop));
}

static void
acquire(coir_loop *loop)
{
    (void)loop;
    trace("acquire");
}

TEST_EACH_BACKEND(loop, lock_is_released_while_it_waits)
{
    coir_loop *loop = backend_loop(backend);
    coir_timer timer;
    coir_loop_set_user(loop, (void *)(uintptr_t) "release");
    coir_loop_set_release(loop, release, acquire);
    start_timer(loop, &timer, "timer", MS);
    (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_TRACE("release acquire timer");
    coir_loop_free(loop);
}

static int once_events;

static void
once_called(int revents, void *arg)
{
    trace(arg);
    once_events = revents;
}

TEST(loop, once_times_out)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    CHECK_EQ(
        coir_once(loop, -1, 0, S, once_called, (void *)(uintptr_t) "once"), 0);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_TRACE("once");
    CHECK_EQ(once_events, COIR_TIMER);
    CHECK_EQ(coir_once(loop, -1, 0, -1, once_called, NULL), COIR_EINVAL);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(loop, once_is_ready)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(coir_once(loop, fds[1], COIR_WRITE, 60 * S, once_called,
                       (void *)(uintptr_t) "once"),
             0);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_TRACE("once");
    CHECK_EQ(once_events, COIR_WRITE);
    (void)close(fds[0]);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

static int walked;

static void
walk(coir_loop *loop, int type, void *w)
{
    walked |= type;
    if (type == COIR_IDLE)
        coir_idle_stop(loop, w);
}

TEST(loop, walk_shows_active_watchers_and_may_stop_them)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_idle idle[3];
    coir_timer timer;
    coir_prepare prepare;
    for (int i = 0; i < 3; i++)
        START(idle, &idle[i], "idle");
    START(prepare, &prepare, "prepare");
    start_timer(loop, &timer, "timer", S);
    coir_loop_walk(loop, -1, walk);
    CHECK_EQ(walked, COIR_IDLE | COIR_TIMER | COIR_PREPARE);
    for (int i = 0; i < 3; i++)
        CHECK(!coir_is_active(&idle[i]));
    walked = 0;
    coir_loop_walk(loop, COIR_TIMER, walk);
    CHECK_EQ(walked, COIR_TIMER);
    coir_timer_stop(loop, &timer);
    coir_prepare_stop(loop, &prepare);
    coir_loop_free(loop);
}

/* --- backends, environment ----------------------------------------------- */

TEST(loop, flags_choose_the_backend)
{
    static const unsigned flags[] = {COIR_BACKEND_EPOLL, COIR_BACKEND_POLL,
                                     COIR_BACKEND_SELECT};
    for (int i = 0; i < 3; i++) {
        coir_loop *loop;
        CHECK_EQ(coir_loop_new(&loop, COIR_LOOP_NOENV | flags[i]), 0);
        CHECK_EQ(coir_loop_backend(loop), flags[i]);
        coir_loop_free(loop);
    }
}

TEST(loop, environment_chooses_the_backend)
{
    coir_loop *loop;
    CHECK_EQ(setenv("COIR_BACKEND", "poll", 1), 0);
    CHECK_EQ(coir_loop_new(&loop, 0), 0);
    CHECK_STR(coir_loop_backend_name(loop), "poll");
    CHECK_STR(coir_loop_error(), "");
    coir_loop_free(loop);
    CHECK_EQ(coir_loop_new(&loop, COIR_LOOP_NOENV), 0);
    CHECK_STR(coir_loop_backend_name(loop), "epoll");
    coir_loop_free(loop);
    CHECK_EQ(setenv("COIR_BACKEND", "magic", 1), 0);
    CHECK_EQ(coir_loop_new(&loop, 0), 0);
    CHECK_STR(coir_loop_backend_name(loop), "epoll");
    CHECK_STR(coir_loop_error(), "COIR_BACKEND=magic: not one of epoll, "
                                 "io_uring, poll, select");
    coir_loop_free(loop);
}

TEST(loop, libevs_environment_chooses_the_backend)
{
    coir_loop *loop;
    CHECK_EQ(unsetenv("COIR_BACKEND"), 0);
    CHECK_EQ(setenv("LIBEV_FLAGS", "1", 1), 0);
    CHECK_EQ(coir_loop_new(&loop, 0), 0);
    CHECK_STR(coir_loop_backend_name(loop), "select");
    coir_loop_free(loop);
}

TEST(loop, default_loop_is_one)
{
    coir_loop *loop = coir_loop_default(0);
    CHECK(loop != NULL);
    CHECK_EQ(coir_loop_default(0), loop);
    CHECK(coir_loop_is_default(loop));
    coir_loop *other;
    CHECK_EQ(coir_loop_new(&other, 0), 0);
    CHECK(!coir_loop_is_default(other));
    coir_loop_free(other);
    coir_loop_free(loop);
    CHECK(!coir_loop_is_default(loop));
}

TEST(loop, without_memory_none_is_made)
{
    coir_loop *loop = NULL;
    EACH_ALLOC_FAILURE(n)
    {
        int err = coir_loop_new(&loop, COIR_LOOP_NOENV);
        coir_test_fail_none();
        if (err == 0)
            coir_loop_free(loop);
        else
            CHECK_EQ(err, COIR_ENOMEM);
    }
}

TEST(loop, without_memory_no_watcher_starts)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_idle idle;
    coir_idle_init(&idle, trace_idle);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_idle_start(loop, &idle), COIR_ENOMEM);
    CHECK(!coir_is_active(&idle));
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_NOWAIT), 0);
    coir_io io;
    coir_io_init(&io, trace_io, 3, COIR_READ);
    coir_test_fail_alloc(0);
    int err = coir_io_start(loop, &io);
    coir_test_fail_none();
    CHECK_EQ(err, 0); /* there is room for the first 64 from the start */
    coir_io_stop(loop, &io);
    coir_io_init(&io, trace_io, 1000, COIR_READ);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_io_start(loop, &io), COIR_ENOMEM);
    CHECK(!coir_is_active(&io));
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_once(loop, -1, 0, S, once_called, NULL), COIR_ENOMEM);
    coir_test_fail_none();
    coir_loop_verify(loop);
    coir_loop_free(loop);
}

TEST(loop, verify_finds_an_overwritten_watcher)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_prepare w;
    START(prepare, &w, "prepare");
    w.active = 7;
    CHECK_DIES(SIGABRT, "overwritten while active")
    {
        coir_loop_verify(loop);
    }
    w.active = 1;
    coir_prepare_stop(loop, &w);
    coir_loop_free(loop);
}

static int
modify_without_memory(coir_loop *loop, int fd, int events)
{
    (void)loop;
    (void)fd;
    return events != 0 ? ENOMEM : 0;
}

static void
no_async(coir_loop *loop, coir_async *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
}

static void
no_signal(coir_loop *loop, coir_signal *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
}

static void
no_periodic(coir_loop *loop, coir_periodic *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
}

static void
no_stat(coir_loop *loop, coir_stat *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
}

/* Else no thread would wake it any more, nor a signal. */
TEST(loop, own_descriptors_that_could_not_be_watched_are_tried_again)
{
    coir__backend backend = coir__backend_poll;
    backend.modify = modify_without_memory;
    coir_loop *loop;
    CHECK_EQ(coir__loop_new_with(&loop, COIR_LOOP_NOENV | COIR_LOOP_SIGNALFD,
                                 &backend, &coir__clock_system),
             0);
    coir_async async;
    coir_async_init(&async, no_async);
    CHECK_EQ(coir_async_start(loop, &async), 0);
    coir_signal sig;
    coir_signal_init(&sig, no_signal, SIGUSR2);
    CHECK_EQ(coir_signal_start(loop, &sig), 0);
    coir_periodic periodic;
    coir_periodic_init(&periodic, no_periodic, 0, 1000 * S, NULL);
    CHECK_EQ(coir_periodic_start(loop, &periodic), 0);
    coir_stat stat;
    coir_stat_init(&stat, no_stat, "/", 0);
    CHECK_EQ(coir_stat_start(loop, &stat), 0);
    const int fds[] = {loop->wake_fd, loop->signal_fd, loop->timer_fd,
                       loop->inotify_fd};
    for (int i = 0; i < 3; i++)
        (void)coir_loop_run(loop, COIR_RUN_ONCE); /* does not block */
    for (int i = 0; i < 4; i++)
        CHECK(fds[i] >= 0 && loop->fds[fds[i]].registered == 0);
    backend.modify = coir__backend_poll.modify;
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(loop->fds[fds[i]].registered, COIR_READ);
    coir_async_stop(loop, &async);
    coir_signal_stop(loop, &sig);
    coir_periodic_stop(loop, &periodic);
    coir_stat_stop(loop, &stat);
    coir_loop_free(loop);
}
