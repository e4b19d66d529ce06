/* loop.c - making, asking and setting loops. */
#include "case.h"

CASE(ev_is_default_loop)
{
    DEFAULT_LOOP;
    say("%d", ev_is_default_loop(EV_A));
}

#if EV_MULTIPLICITY
CASE(ev_is_default_loop_of_another)
{
    (void)ev_default_loop(0);
    struct ev_loop *other = ev_loop_new(0);
    say("%d", ev_is_default_loop(other));
    ev_loop_destroy(other);
}

CASE(ev_default_loop)
{
    struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
    say("one %d", loop != NULL);
    say("the same %d", ev_default_loop(EVBACKEND_SELECT) == loop);
    say("EV_DEFAULT %d, _UC %d", EV_DEFAULT == loop, EV_DEFAULT_UC == loop);
}

CASE(ev_loop_new)
{
    struct ev_loop *first = ev_loop_new(EVFLAG_AUTO);
    struct ev_loop *second = ev_loop_new(EVFLAG_AUTO);
    say("%d %d", first != NULL && second != NULL, first != second);
    ev_loop_destroy(first);
    ev_loop_destroy(second);
}

static void
say_backend(unsigned flags)
{
    struct ev_loop *loop = ev_loop_new(flags);
    if (loop == NULL)
        say("%x: none", flags);
    else
        say("%x: %x", flags, ev_backend(loop));
    ev_loop_destroy(loop);
}

CASE(ev_backend)
{
    (void)unsetenv("LIBEV_FLAGS");
    (void)unsetenv("COIR_BACKEND");
    say_backend(EVFLAG_AUTO);
    say_backend(EVBACKEND_SELECT);
    say_backend(EVBACKEND_POLL);
    say_backend(EVBACKEND_EPOLL);
    say_backend(EVBACKEND_SELECT | EVBACKEND_POLL);
    say_backend(EVBACKEND_KQUEUE | EVBACKEND_EPOLL);
}

CASE(ev_backend_not_supported)
{
    say_backend(EVBACKEND_KQUEUE | EVFLAG_NOENV);
    say_backend(EVBACKEND_DEVPOLL | EVFLAG_NOENV);
    say_backend(EVBACKEND_PORT | EVFLAG_NOENV);
}

CASE(ev_backend_linuxaio)
{
    say_backend(EVBACKEND_LINUXAIO | EVFLAG_NOENV);
}

CASE(ev_backend_iouring)
{
    struct ev_loop *loop = ev_loop_new(EVBACKEND_IOURING | EVFLAG_NOENV);
    /* The kernel may refuse it. */
    say("%d", loop == NULL || ev_backend(loop) == EVBACKEND_IOURING);
}

/* LIBEV_FLAGS replaces the flags, but for EVFLAG_NOENV. */
CASE(EVFLAG_NOENV)
{
    (void)unsetenv("COIR_BACKEND");
    (void)setenv("LIBEV_FLAGS", "2", 1);
    say_backend(EVFLAG_AUTO);
    say_backend(EVBACKEND_SELECT);
    say_backend(EVFLAG_NOENV);
    say_backend(EVFLAG_NOENV | EVBACKEND_SELECT);
    (void)setenv("LIBEV_FLAGS", "1", 1);
    say_backend(EVFLAG_AUTO);
}

CASE(ev_loop_destroy)
{
    struct ev_loop *loop = ev_loop_new(0);
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0.01, 0);
    NAME(&timer, "timer");
    ev_timer_start(loop, &timer);
    ev_run(loop, 0);
    ev_loop_destroy(loop);
    ev_loop_destroy(NULL);
    say("destroyed");
}

CASE(ev_loop_destroy_with_active_watchers)
{
    struct ev_loop *loop = ev_loop_new(0);
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0, 0);
    ev_io io;
    ev_io_init(&io, say_io, 0, EV_READ);
    ev_timer_start(loop, &timer);
    ev_io_start(loop, &io);
    ev_loop_destroy(loop);
    say("still active %d %d", !!ev_is_active(&timer), !!ev_is_active(&io));
}

CASE(ev_loop_destroy_default)
{
    struct ev_loop *loop = ev_default_loop(0);
    ev_loop_destroy(loop);
    say("EV_DEFAULT_UC %d", EV_DEFAULT_UC == NULL);
    loop = ev_default_loop(0);
    say("anew %d, is default %d", loop != NULL, ev_is_default_loop(loop));
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0.01, 0);
    NAME(&timer, "timer");
    ev_timer_start(loop, &timer);
    ev_run(loop, 0);
}

/* Watchers of one loop are nothing to another. */
CASE(ev_loop_new_apart)
{
    struct ev_loop *first = ev_default_loop(0);
    struct ev_loop *second = ev_loop_new(0);
    ev_timer a, b;
    ev_timer_init(&a, say_timer, 0, 0);
    NAME(&a, "first");
    ev_timer_init(&b, say_timer, 0, 0);
    NAME(&b, "second");
    ev_timer_start(first, &a);
    ev_timer_start(second, &b);
    ev_run(second, 0);
    ev_run(first, 0);
    ev_loop_destroy(second);
}

static void *
run_in_thread(void *arg)
{
    struct ev_loop *loop = (struct ev_loop *)arg;
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0.01, 0);
    NAME(&timer, "in a thread");
    ev_timer_start(loop, &timer);
    ev_run(loop, 0);
    return arg;
}

CASE(ev_loop_new_in_thread)
{
    struct ev_loop *loop = ev_loop_new(0);
    pthread_t thread;
    need(pthread_create(&thread, NULL, run_in_thread, loop) == 0, "thread");
    (void)pthread_join(thread, NULL);
    ev_loop_destroy(loop);
}
#endif

/* --- time ---------------------------------------------------------------- */

CASE(ev_now)
{
    DEFAULT_LOOP;
    ev_tstamp now = ev_now(EV_A);
    say("near the clock %d", fabs(now - ev_time()) < 2);
    ev_sleep(0.02);
    say("stands still %d", ev_now(EV_A) == now);
}

ON(timer, say_progress)
{
    static ev_tstamp before;
    say("later %d", ev_now(EV_A) > before);
    before = ev_now(EV_A);
    if (w->repeat == 0 || (w->repeat -= 0.01) < 0.015)
        ev_timer_stop(EV_A_ w);
}

CASE(ev_now_in_callbacks)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_progress, 0.01, 0.04);
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

CASE(ev_now_update)
{
    DEFAULT_LOOP;
    ev_now_update(EV_A);
    ev_tstamp now = ev_now(EV_A);
    ev_sleep(0.03);
    ev_now_update(EV_A);
    say("%d", ev_now(EV_A) - now > 0.025);
}

/* Timers are relative to ev_now(): after long work they are short of it. */
CASE(ev_now_update_and_timers)
{
    DEFAULT_LOOP;
    ev_now_update(EV_A);
    ev_sleep(0.05);
    ev_timer stale, fresh;
    ev_timer_init(&stale, say_timer, 0.03, 0);
    NAME(&stale, "stale");
    ev_timer_init(&fresh, say_timer, 0.03, 0);
    NAME(&fresh, "fresh");
    ev_timer_start(EV_A_ &stale);
    ev_now_update(EV_A);
    ev_timer_start(EV_A_ &fresh);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("fresh is active %d", !!ev_is_active(&fresh));
    ev_run(EV_A_ 0);
}

CASE(ev_suspend)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_now_update(EV_A);
    ev_timer_init(&w, say_timer, 0.05, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_suspend(EV_A);
    ev_sleep(0.1);
    ev_resume(EV_A);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("still active %d", !!ev_is_active(&w));
    say("remaining %d", ev_timer_remaining(EV_A_ &w) > 0.02);
    ev_run(EV_A_ 0);
}

/* A periodic whose time passed meanwhile is set to its next time. */
CASE(ev_resume)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 0, 0.05, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    ev_tstamp before = ev_periodic_at(&w);
    ev_suspend(EV_A);
    ev_sleep(0.12);
    ev_resume(EV_A);
    say("moved on %d", ev_periodic_at(&w) > before);
    ev_run(EV_A_ EVRUN_ONCE);
}

/* --- settings ------------------------------------------------------------ */

CASE(ev_set_userdata)
{
    DEFAULT_LOOP;
    static int mine;
    say("%d", ev_userdata(EV_A) == NULL);
    ev_set_userdata(EV_A_ &mine);
    say("%d", ev_userdata(EV_A) == &mine);
}

CASE(ev_userdata)
{
    DEFAULT_LOOP;
    char text[] = "mine";
    ev_set_userdata(EV_A_ text);
    say("%s", (const char *)ev_userdata(EV_A));
    ev_set_userdata(EV_A_ NULL);
    say("%d", ev_userdata(EV_A) == NULL);
}

/* A loop that finds an event does not look again before the time is over. */
CASE(ev_set_io_collect_interval)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_io w;
    ev_io_init(&w, say_io, fds[0], EV_READ);
    NAME(&w, "io");
    ev_io_start(EV_A_ &w);
    ev_set_io_collect_interval(EV_A_ 0.05);
    ev_tstamp start = ev_time();
    ev_run(EV_A_ EVRUN_ONCE);
    say("waited %d", ev_time() - start > 0.04);
    ev_set_io_collect_interval(EV_A_ 0);
    start = ev_time();
    ev_run(EV_A_ EVRUN_ONCE);
    say("waited %d", ev_time() - start > 0.04);
}

CASE(ev_set_timeout_collect_interval)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_now_update(EV_A);
    ev_timer_init(&a, say_timer, 0.01, 0);
    NAME(&a, "first");
    ev_timer_init(&b, say_timer, 0.03, 0);
    NAME(&b, "second");
    ev_timer_start(EV_A_ &a);
    ev_timer_start(EV_A_ &b);
    ev_set_timeout_collect_interval(EV_A_ 0.08);
    ev_run(EV_A_ EVRUN_ONCE);
    say("both at once %d", !ev_is_active(&a) && !ev_is_active(&b));
}

/* --- bookkeeping --------------------------------------------------------- */

ON(prepare, say_iteration)
{
    static unsigned last;
    if (last != 0)
        say("next %d", ev_iteration(EV_A) == last + 1);
    last = ev_iteration(EV_A);
}

CASE(ev_iteration)
{
    DEFAULT_LOOP;
    ev_prepare w;
    ev_prepare_init(&w, say_iteration);
    ev_prepare_start(EV_A_ &w);
    for (int i = 0; i < 4; i++) {
        say("%u", ev_iteration(EV_A));
        ev_run(EV_A_ EVRUN_NOWAIT);
    }
}

ON(timer, say_depth)
{
    say("in a callback %u", ev_depth(EV_A));
    if (ev_depth(EV_A) < 3) {
        ev_timer_set(w, 0, 0);
        ev_timer_start(EV_A_ w);
        ev_run(EV_A_ 0);
        say("back in %u", ev_depth(EV_A));
    }
}

CASE(ev_depth)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_depth, 0, 0);
    ev_timer_start(EV_A_ &w);
    say("outside %u", ev_depth(EV_A));
    ev_run(EV_A_ 0);
    say("outside %u", ev_depth(EV_A));
}

/* A watcher that is not to keep the loop running. */
CASE(ev_unref)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    ev_signal_start(EV_A_ &w);
    ev_unref(EV_A);
    say("returned %d", ev_run(EV_A_ 0));
    say("active %d", !!ev_is_active(&w));
    ev_ref(EV_A);
    ev_signal_stop(EV_A_ &w);
    say("returned %d", ev_run(EV_A_ 0));
}

/* A reference with no watcher keeps it running. */
CASE(ev_ref)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_ref(EV_A);
    ev_timer_init(&w, say_timer, 0.01, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    say("returned %d", ev_run(EV_A_ EVRUN_ONCE));
    say("returned %d", ev_run(EV_A_ EVRUN_NOWAIT));
    ev_unref(EV_A);
    say("returned %d", ev_run(EV_A_ 0));
}

CASE(ev_pending_count)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_init(&a, say_timer);
    NAME(&a, "a");
    ev_init(&b, say_timer);
    NAME(&b, "b");
    ev_set_priority(&b, 2);
    say("%u", ev_pending_count(EV_A));
    ev_feed_event(EV_A_ &a, EV_TIMER);
    ev_feed_event(EV_A_ &b, EV_TIMER);
    ev_feed_event(EV_A_ &b, EV_CUSTOM);
    say("%u", ev_pending_count(EV_A));
    ev_invoke_pending(EV_A);
    say("%u", ev_pending_count(EV_A));
}

CASE(ev_invoke_pending)
{
    DEFAULT_LOOP;
    ev_timer low, high;
    ev_init(&low, say_timer);
    NAME(&low, "low");
    ev_set_priority(&low, EV_MINPRI);
    ev_init(&high, say_timer);
    NAME(&high, "high");
    ev_set_priority(&high, EV_MAXPRI);
    ev_feed_event(EV_A_ &high, EV_TIMER);
    ev_feed_event(EV_A_ &low, EV_TIMER);
    ev_invoke_pending(EV_A);
    say("once more");
    ev_invoke_pending(EV_A);
}

static void
invoke_or_not(EV_P)
{
    unsigned count = ev_pending_count(EV_A);
    if (count == 0)
        return;
    say("pending %u", count);
    while (ev_pending_count(EV_A))
        ev_invoke_pending(EV_A);
}

CASE(ev_set_invoke_pending_cb)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_now_update(EV_A);
    ev_timer_init(&a, say_timer, 0.001, 0);
    NAME(&a, "a");
    ev_timer_init(&b, say_timer, 0.002, 0);
    NAME(&b, "b");
    ev_timer_start(EV_A_ &a);
    ev_timer_start(EV_A_ &b);
    ev_set_invoke_pending_cb(EV_A_ invoke_or_not);
    ev_sleep(0.01);
    ev_run(EV_A_ 0);
    ev_set_invoke_pending_cb(EV_A_ ev_invoke_pending);
    ev_timer_set(&a, 0, 0);
    ev_timer_start(EV_A_ &a);
    ev_run(EV_A_ 0);
}

static void
leave_pending(EV_P)
{
}

/* One that calls nothing leaves them pending. */
CASE(ev_set_invoke_pending_cb_that_does_nothing)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_set_invoke_pending_cb(EV_A_ leave_pending);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("pending %u", ev_pending_count(EV_A));
    ev_invoke_pending(EV_A);
}

static int released;
static int acquired;

static void
on_release(EV_P) EV_NOEXCEPT
{
    released++;
}

static void
on_acquire(EV_P) EV_NOEXCEPT
{
    acquired++;
}

ON(timer, say_balance)
{
    say("in a callback: released %d, acquired as often %d", released > 0,
        released == acquired);
}

CASE(ev_set_loop_release_cb)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_balance, 0.01, 0);
    ev_timer_start(EV_A_ &w);
    ev_set_loop_release_cb(EV_A_ on_release, on_acquire);
    ev_run(EV_A_ 0);
    say("after: released %d, acquired as often %d", released > 0,
        released == acquired);
}

CASE(ev_set_loop_release_cb_reset)
{
    DEFAULT_LOOP;
    ev_set_loop_release_cb(EV_A_ on_release, on_acquire);
    ev_set_loop_release_cb(EV_A_ NULL, NULL);
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
    say("%d %d", released, acquired);
}

CASE(ev_verify)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io io;
    ev_timer timer;
    ev_periodic periodic;
    ev_idle idle;
    ev_io_init(&io, say_io, fds[0], EV_READ);
    ev_timer_init(&timer, say_timer, 5, 5);
    ev_periodic_init(&periodic, say_periodic, 0, 60, NULL);
    ev_idle_init(&idle, say_idle);
    ev_verify(EV_A);
    ev_io_start(EV_A_ &io);
    ev_timer_start(EV_A_ &timer);
    ev_periodic_start(EV_A_ &periodic);
    ev_idle_start(EV_A_ &idle);
    ev_verify(EV_A);
    ev_feed_event(EV_A_ &io, EV_READ);
    ev_verify(EV_A);
    ev_io_stop(EV_A_ &io);
    ev_timer_stop(EV_A_ &timer);
    ev_periodic_stop(EV_A_ &periodic);
    ev_idle_stop(EV_A_ &idle);
    ev_verify(EV_A);
    say("fine");
}
