/* run.c - ev_run, ev_break, and the order within a turn. */
#include "case.h"

CASE(ev_run_without_watchers)
{
    DEFAULT_LOOP;
    say("%d", ev_run(EV_A_ 0));
}

CASE(ev_run_until_none_is_active)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    say("%d", ev_run(EV_A_ 0));
}

/* It returns whether watchers are active, so "call it again". */
CASE(ev_run_returns)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_timer_init(&a, break_one, 0, 0);
    ev_timer_init(&b, say_timer, 100, 0);
    ev_timer_start(EV_A_ &a);
    ev_timer_start(EV_A_ &b);
    say("%d", !!ev_run(EV_A_ 0));
    ev_timer_stop(EV_A_ &b);
    say("%d", !!ev_run(EV_A_ 0));
}

CASE(EVRUN_NOWAIT)
{
    DEFAULT_LOOP;
    ev_timer later, now;
    ev_timer_init(&later, say_timer, 100, 0);
    NAME(&later, "later");
    ev_timer_init(&now, say_timer, 0, 0);
    NAME(&now, "now");
    ev_timer_start(EV_A_ &later);
    say("%d", !!ev_run(EV_A_ EVRUN_NOWAIT));
    ev_timer_start(EV_A_ &now);
    say("%d", !!ev_run(EV_A_ EVRUN_NOWAIT));
}

CASE(EVRUN_ONCE)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_timer_init(&a, say_timer, 0.01, 0);
    NAME(&a, "first");
    ev_timer_init(&b, say_timer, 0.06, 0);
    NAME(&b, "second");
    ev_now_update(EV_A);
    ev_timer_start(EV_A_ &a);
    ev_timer_start(EV_A_ &b);
    say("%d", !!ev_run(EV_A_ EVRUN_ONCE));
    say("%d", !!ev_run(EV_A_ EVRUN_ONCE));
    say("%d", !!ev_run(EV_A_ EVRUN_ONCE));
}

CASE(ev_run_flags_together)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 100, 0);
    ev_timer_start(EV_A_ &w);
    say("%d", !!ev_run(EV_A_ EVRUN_NOWAIT | EVRUN_ONCE));
}

/* --- ev_break ------------------------------------------------------------ */

static int how;

ON(timer, inner_break)
{
    say("inner callback");
    ev_break(EV_A_ how);
}

ON(timer, outer)
{
    say("outer callback");
    ev_timer inner;
    ev_timer_init(&inner, inner_break, 0, 0.005);
    ev_timer_start(EV_A_ &inner);
    ev_run(EV_A_ 0);
    ev_timer_stop(EV_A_ &inner);
    say("inner run returned");
}

static void
nest(int how_to_break)
{
    DEFAULT_LOOP;
    how = how_to_break;
    ev_timer w, more;
    ev_timer_init(&w, outer, 0, 0);
    ev_timer_init(&more, say_timer, 0.1, 0);
    NAME(&more, "more");
    ev_timer_start(EV_A_ &w);
    ev_timer_start(EV_A_ &more);
    say("returned %d", !!ev_run(EV_A_ 0));
}

CASE(EVBREAK_ONE)
{
    nest(EVBREAK_ONE);
}

CASE(EVBREAK_ALL)
{
    nest(EVBREAK_ALL);
}

ON(timer, break_and_cancel)
{
    say("callback");
    ev_break(EV_A_ EVBREAK_ONE);
    ev_break(EV_A_ EVBREAK_CANCEL);
}

CASE(EVBREAK_CANCEL)
{
    DEFAULT_LOOP;
    ev_timer w, more;
    ev_timer_init(&w, break_and_cancel, 0, 0);
    ev_timer_init(&more, say_timer, 0.02, 0);
    NAME(&more, "more");
    ev_timer_start(EV_A_ &w);
    ev_timer_start(EV_A_ &more);
    say("returned %d", ev_run(EV_A_ 0));
}

/* The other pending watchers are called before the run ends. */
CASE(ev_break_calls_what_is_pending)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_init(&a, break_one);
    ev_set_priority(&a, 1);
    ev_init(&b, say_timer);
    NAME(&b, "b");
    ev_feed_event(EV_A_ &a, EV_TIMER);
    ev_feed_event(EV_A_ &b, EV_TIMER);
    ev_timer keep;
    ev_timer_init(&keep, say_timer, 100, 0);
    ev_timer_start(EV_A_ &keep);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("pending %u", ev_pending_count(EV_A));
}

/* Outside of ev_run() it has no effect on the next one. */
CASE(ev_break_before_run)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_break(EV_A_ EVBREAK_ALL);
    say("returned %d", ev_run(EV_A_ 0));
}

ON(prepare, break_in_prepare)
{
    say("prepare");
    ev_break(EV_A_ EVBREAK_ONE);
}

/* A break in a prepare watcher: nothing is waited for. */
CASE(ev_break_in_prepare)
{
    DEFAULT_LOOP;
    ev_timer timer;
    ev_prepare prepare;
    ev_check check;
    ev_timer_init(&timer, say_timer, 100, 0);
    ev_prepare_init(&prepare, break_in_prepare);
    ev_check_init(&check, say_check);
    NAME(&check, "check");
    ev_timer_start(EV_A_ &timer);
    ev_prepare_start(EV_A_ &prepare);
    ev_check_start(EV_A_ &check);
    say("returned %d", !!ev_run(EV_A_ 0));
}

/* --- the order ----------------------------------------------------------- */

ON(io, say_and_drain)
{
    say("%s: %s", (const char *)w->data, names_of(revents));
    drain(w->fd);
}

CASE(ev_run_order_of_types)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_io io;
    ev_timer timer;
    ev_periodic periodic;
    ev_idle idle;
    ev_prepare prepare;
    ev_check check;
    ev_io_init(&io, say_and_drain, fds[0], EV_READ);
    NAME(&io, "io");
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "timer");
    ev_periodic_init(&periodic, say_periodic, 1, 0, NULL);
    NAME(&periodic, "periodic");
    ev_idle_init(&idle, say_idle);
    NAME(&idle, "idle");
    ev_prepare_init(&prepare, say_prepare);
    NAME(&prepare, "prepare");
    ev_check_init(&check, say_check);
    NAME(&check, "check");
    ev_check_start(EV_A_ &check);
    ev_idle_start(EV_A_ &idle);
    ev_periodic_start(EV_A_ &periodic);
    ev_timer_start(EV_A_ &timer);
    ev_io_start(EV_A_ &io);
    ev_prepare_start(EV_A_ &prepare);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("second turn");
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_run_order_of_priorities)
{
    DEFAULT_LOOP;
    static ev_check w[5];
    static char names[5][4];
    for (int i = 0; i < 5; i++) {
        (void)sprintf(names[i], "%d", (i * 2) % 5 - 2);
        ev_check_init(&w[i], say_check);
        ev_set_priority(&w[i], (i * 2) % 5 - 2);
        NAME(&w[i], names[i]);
        ev_check_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* Of one priority the one that was fed last comes first. */
CASE(ev_run_order_of_feeding)
{
    DEFAULT_LOOP;
    static ev_io w[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        ev_init(&w[i], say_io);
        NAME(&w[i], names[i]);
        ev_feed_event(EV_A_ &w[i], EV_READ);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
}

ON(timer, feed_more)
{
    ev_timer *high = (ev_timer *)w->data;
    say("low");
    if (high != NULL)
        ev_feed_event(EV_A_ high, EV_CUSTOM);
    w->data = NULL;
}

/* What a callback feeds at a higher priority comes before what is left. */
CASE(ev_run_higher_priority_cuts_in)
{
    DEFAULT_LOOP;
    ev_timer first, second, high;
    ev_init(&high, say_timer);
    ev_set_priority(&high, 1);
    NAME(&high, "high");
    ev_init(&second, feed_more);
    ev_init(&first, feed_more);
    second.data = NULL;
    first.data = &high;
    ev_feed_event(EV_A_ &second, EV_TIMER);
    ev_feed_event(EV_A_ &first, EV_TIMER);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

ON(timer, run_again)
{
    say("outer");
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("outer is left");
}

/* A run in a callback calls what the outer one has pending. */
CASE(ev_run_recursively)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_init(&a, run_again);
    ev_set_priority(&a, 1);
    ev_init(&b, say_timer);
    NAME(&b, "b");
    ev_feed_event(EV_A_ &a, EV_TIMER);
    ev_feed_event(EV_A_ &b, EV_TIMER);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* --- forks --------------------------------------------------------------- */

#if EV_MULTIPLICITY
CASE(ev_loop_fork)
{
    struct ev_loop *loop = ev_loop_new(0);
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_io io;
    ev_io_init(&io, say_and_drain, fds[0], EV_READ);
    NAME(&io, "io");
    ev_io_start(loop, &io);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        ev_loop_fork(loop);
        ev_run(loop, EVRUN_ONCE);
        say("in the child");
        _exit(0);
    }
    int status;
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    put(fds[1], "y");
    ev_run(loop, EVRUN_ONCE);
    say("in the parent");
}

/* It may be called at any time. */
CASE(ev_loop_fork_without_fork)
{
    struct ev_loop *loop = ev_default_loop(0);
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_io io;
    ev_timer timer;
    ev_io_init(&io, say_and_drain, fds[0], EV_READ);
    NAME(&io, "io");
    ev_timer_init(&timer, say_timer, 0.03, 0);
    NAME(&timer, "timer");
    ev_io_start(loop, &io);
    ev_run(loop, EVRUN_ONCE);
    ev_loop_fork(loop);
    put(fds[1], "y");
    ev_run(loop, EVRUN_ONCE);
    ev_timer_start(loop, &timer);
    ev_run(loop, EVRUN_ONCE);
}

CASE(EVFLAG_FORKCHECK)
{
    struct ev_loop *loop = loop_with(EVFLAG_FORKCHECK);
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_io io;
    ev_fork fork_watcher;
    ev_io_init(&io, say_and_drain, fds[0], EV_READ);
    NAME(&io, "io");
    ev_fork_init(&fork_watcher, say_fork);
    NAME(&fork_watcher, "fork");
    ev_io_start(loop, &io);
    ev_fork_start(loop, &fork_watcher);
    ev_run(loop, EVRUN_NOWAIT);
    put(fds[1], "y");
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        ev_run(loop, EVRUN_ONCE);
        _exit(0);
    }
    int status;
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    say("status %d", status);
}

/* The child of a loop that is not told of the fork. */
CASE(ev_loop_fork_missing)
{
    struct ev_loop *loop = ev_loop_new(0);
    ev_fork fork_watcher;
    ev_fork_init(&fork_watcher, say_fork);
    NAME(&fork_watcher, "fork");
    ev_fork_start(loop, &fork_watcher);
    ev_run(loop, EVRUN_NOWAIT);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        ev_run(loop, EVRUN_NOWAIT);
        say("in the child");
        _exit(0);
    }
    need(waitpid(pid, NULL, 0) == pid, "waitpid");
}
#endif
