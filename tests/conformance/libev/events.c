/* events.c - feeding, invoking and clearing; what holds for all watchers. */
#include "case.h"

CASE(ev_feed_event)
{
    DEFAULT_LOOP;
    ev_io w; /* not active: it need not be */
    ev_init(&w, say_io);
    NAME(&w, "io");
    ev_feed_event(EV_A_ &w, EV_READ);
    say("pending %d, active %d", !!ev_is_pending(&w), !!ev_is_active(&w));
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("pending %d", !!ev_is_pending(&w));
}

CASE(ev_feed_event_twice)
{
    DEFAULT_LOOP;
    ev_io w;
    ev_init(&w, say_io);
    NAME(&w, "io");
    ev_feed_event(EV_A_ &w, EV_READ);
    ev_feed_event(EV_A_ &w, EV_WRITE | EV_CUSTOM);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

ON(io, feed_itself)
{
    static int times;
    say("%d: %s", ++times, names_of(revents));
    if (times < 3)
        ev_feed_event(EV_A_ w, EV_CUSTOM);
}

CASE(ev_feed_event_to_itself)
{
    DEFAULT_LOOP;
    ev_io w;
    ev_init(&w, feed_itself);
    ev_feed_event(EV_A_ &w, EV_READ);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_feed_event_priority_out_of_range)
{
    DEFAULT_LOOP;
    ev_io first, second;
    ev_init(&first, say_io);
    NAME(&first, "first");
    ev_set_priority(&first, EV_MAXPRI);
    ev_init(&second, say_io);
    NAME(&second, "second");
    ev_set_priority(&second, EV_MINPRI);
    ev_feed_event(EV_A_ &second, EV_READ);
    ev_feed_event(EV_A_ &first, EV_READ);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_feed_event_of_every_kind)
{
    DEFAULT_LOOP;
    static const int kinds[] = {EV_READ,   EV_WRITE,   EV_TIMER, EV_PERIODIC,
                                EV_SIGNAL, EV_CHILD,   EV_STAT,  EV_IDLE,
                                EV_EMBED,  EV_PREPARE, EV_CHECK, EV_FORK,
                                EV_ASYNC,  EV_CLEANUP, EV_CUSTOM};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        ev_idle w;
        ev_init(&w, say_idle);
        NAME(&w, "fed");
        ev_feed_event(EV_A_ &w, kinds[i]);
        ev_run(EV_A_ EVRUN_NOWAIT);
    }
}

CASE(ev_feed_fd_event)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    ev_io reader, writer, both;
    ev_io_init(&reader, say_io, fds[0], EV_READ);
    NAME(&reader, "reader");
    ev_io_init(&writer, say_io, fds[0], EV_WRITE);
    NAME(&writer, "writer");
    ev_set_priority(&writer, -1);
    ev_io_init(&both, say_io, fds[0], EV_READ | EV_WRITE);
    NAME(&both, "both");
    ev_set_priority(&both, -2);
    ev_io_start(EV_A_ &reader);
    ev_io_start(EV_A_ &writer);
    ev_io_start(EV_A_ &both);
    ev_run(EV_A_ EVRUN_NOWAIT); /* takes the changes over */
    say("fed");
    ev_feed_fd_event(EV_A_ fds[0], EV_READ);
    say("pending %d %d %d", !!ev_is_pending(&reader), !!ev_is_pending(&writer),
        !!ev_is_pending(&both));
    ev_invoke_pending(EV_A);
}

CASE(ev_feed_fd_event_without_watchers)
{
    DEFAULT_LOOP;
    ev_feed_fd_event(EV_A_ 5, EV_READ);
    say("%u", ev_pending_count(EV_A));
}

CASE(ev_feed_signal_event)
{
    DEFAULT_LOOP;
    ev_signal a, b, other;
    ev_signal_init(&a, say_signal, SIGUSR1);
    NAME(&a, "a");
    ev_set_priority(&a, 1);
    ev_signal_init(&b, say_signal, SIGUSR1);
    NAME(&b, "b");
    ev_signal_init(&other, say_signal, SIGUSR2);
    NAME(&other, "other");
    ev_signal_start(EV_A_ &a);
    ev_signal_start(EV_A_ &b);
    ev_signal_start(EV_A_ &other);
    ev_feed_signal_event(EV_A_ SIGUSR1);
    say("pending %d %d %d", !!ev_is_pending(&a), !!ev_is_pending(&b),
        !!ev_is_pending(&other));
    ev_invoke_pending(EV_A);
}

CASE(ev_feed_signal_event_not_watched)
{
    DEFAULT_LOOP;
    ev_feed_signal_event(EV_A_ SIGUSR1);
    ev_feed_signal_event(EV_A_ - 1);
    ev_feed_signal_event(EV_A_ 10000);
    say("%u", ev_pending_count(EV_A));
}

CASE(ev_invoke)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_init(&w, say_timer);
    NAME(&w, "timer");
    ev_invoke(EV_A_ &w, EV_TIMER | EV_CUSTOM);
    say("pending %d", !!ev_is_pending(&w));
    ev_feed_event(EV_A_ &w, EV_TIMER);
    ev_invoke(EV_A_ &w, EV_CUSTOM);
    say("pending %d", !!ev_is_pending(&w));
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_clear_pending)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    say("%d", ev_clear_pending(EV_A_ &w));
    ev_timer_start(EV_A_ &w);
    say("%d", ev_clear_pending(EV_A_ &w));
    ev_feed_event(EV_A_ &w, EV_CUSTOM);
    ev_feed_event(EV_A_ &w, EV_READ);
    say("%s", names_of(ev_clear_pending(EV_A_ &w)));
    say("pending %d, active %d", !!ev_is_pending(&w), !!ev_is_active(&w));
    say("%d", ev_clear_pending(EV_A_ &w));
    ev_run(EV_A_ 0);
}

ON(io, stop_peer)
{
    ev_io *peer = (ev_io *)w->data;
    say("called; the other is pending %d", !!ev_is_pending(peer));
    ev_io_stop(EV_A_ peer);
    say("the other is pending %d, active %d", !!ev_is_pending(peer),
        !!ev_is_active(peer));
}

/* Stopping takes the pending call back. */
CASE(ev_io_stop_while_pending)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    ev_io a, b;
    ev_io_init(&a, stop_peer, fds[0], EV_WRITE);
    ev_io_init(&b, stop_peer, fds[0], EV_WRITE);
    a.data = &b;
    b.data = &a;
    ev_io_start(EV_A_ &a);
    ev_io_start(EV_A_ &b);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_timer_stop_while_pending)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 5, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_feed_event(EV_A_ &w, EV_TIMER);
    ev_timer_stop(EV_A_ &w);
    say("pending %d", !!ev_is_pending(&w));
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* --- ev_init and the like ------------------------------------------------ */

CASE(ev_init)
{
    ev_timer w;
    memset(&w, 0xff, sizeof w);
    w.data = &w;
    ev_init(&w, say_timer);
    say("active %d, pending %d, priority %d, cb %d, data %d", ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w), ev_cb(&w) == say_timer,
        w.data == &w);
}

CASE(ev_init_and_set)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_init(&w, say_timer);
    NAME(&w, "timer");
    ev_timer_set(&w, 0.01, 0);
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

CASE(ev_is_active)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    say("%d", ev_is_active(&w));
    ev_timer_start(EV_A_ &w);
    say("%d", !!ev_is_active(&w));
    ev_run(EV_A_ 0);
    say("%d", ev_is_active(&w));
}

CASE(ev_is_pending)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    say("%d", ev_is_pending(&w));
    ev_feed_event(EV_A_ &w, EV_TIMER);
    say("%d", !!ev_is_pending(&w));
    ev_invoke_pending(EV_A);
    say("%d", ev_is_pending(&w));
}

ON(timer, look_at_itself)
{
    say("active %d, pending %d", !!ev_is_active(w), !!ev_is_pending(w));
    ev_timer_stop(EV_A_ w);
}

CASE(ev_is_active_in_callback)
{
    DEFAULT_LOOP;
    ev_timer once, often;
    ev_timer_init(&once, look_at_itself, 0, 0);
    ev_timer_init(&often, look_at_itself, 0.01, 0.01);
    ev_timer_start(EV_A_ &once);
    ev_timer_start(EV_A_ &often);
    ev_run(EV_A_ 0);
}

CASE(ev_cb)
{
    ev_io w;
    ev_io_init(&w, say_io, 0, EV_READ);
    say("%d %d", ev_cb(&w) == say_io, ev_cb(&w) == NULL);
}

ON(timer, change_cb)
{
    say("first");
    ev_set_cb(w, say_timer);
}

CASE(ev_set_cb)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_init(&w, change_cb);
    NAME(&w, "second");
    ev_feed_event(EV_A_ &w, EV_TIMER);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_feed_event(EV_A_ &w, EV_TIMER);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("%d", ev_cb(&w) == say_timer);
}

/* Changed while pending: the new one is called. */
CASE(ev_set_cb_while_pending)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_init(&w, give_up);
    NAME(&w, "new");
    ev_feed_event(EV_A_ &w, EV_TIMER);
    ev_set_cb(&w, say_timer);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_priority)
{
    ev_timer w;
    ev_init(&w, say_timer);
    say("%d", ev_priority(&w));
    ev_set_priority(&w, EV_MINPRI);
    say("%d", ev_priority(&w));
    ev_set_priority(&w, EV_MAXPRI);
    say("%d", ev_priority(&w));
}

/* Out of range it is cut off at the start of the watcher. */
CASE(ev_set_priority)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 5, 0);
    ev_set_priority(&w, 100);
    ev_timer_start(EV_A_ &w);
    say("%d", ev_priority(&w));
    ev_timer_stop(EV_A_ &w);
    ev_set_priority(&w, -100);
    ev_timer_start(EV_A_ &w);
    say("%d", ev_priority(&w));
    ev_timer_stop(EV_A_ &w);
}

/* The priority holds for an io and a timer that are ready at once. */
CASE(ev_set_priority_across_types)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io io;
    ev_timer timer;
    ev_io_init(&io, say_io, fds[1], EV_WRITE);
    NAME(&io, "io");
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "timer");
    ev_set_priority(&io, -1);
    ev_set_priority(&timer, -2);
    ev_io_start(EV_A_ &io);
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_io_stop(EV_A_ &io);
    ev_timer_set(&timer, 0, 0);
    ev_set_priority(&timer, 2);
    ev_timer_start(EV_A_ &timer);
    ev_io_start(EV_A_ &io);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* --- starting and stopping ----------------------------------------------- */

#define TWICE(type, w)                                                        \
    do {                                                                      \
        ev_##type##_stop(EV_A_ w);                                            \
        ev_##type##_start(EV_A_ w);                                           \
        ev_##type##_start(EV_A_ w);                                           \
        say(#type ": active %d", !!ev_is_active(w));                          \
        ev_##type##_stop(EV_A_ w);                                            \
        say(#type ": active %d", !!ev_is_active(w));                          \
        ev_##type##_stop(EV_A_ w);                                            \
        say("runs %d", ev_run(EV_A_ EVRUN_NOWAIT));                           \
    } while (0)

/* A second start, and a second stop, do nothing. */
CASE(start_and_stop_twice)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io io;
    ev_io_init(&io, say_io, fds[0], EV_READ);
    TWICE(io, &io);
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 5, 0);
    TWICE(timer, &timer);
    ev_periodic periodic;
    ev_periodic_init(&periodic, say_periodic, 0, 3600, NULL);
    TWICE(periodic, &periodic);
    ev_signal sig;
    ev_signal_init(&sig, say_signal, SIGUSR1);
    TWICE(signal, &sig);
    ev_child child;
    ev_child_init(&child, say_child, 0, 0);
    TWICE(child, &child);
    ev_stat st;
    ev_stat_init(&st, say_stat, "/", 0);
    TWICE(stat, &st);
    ev_idle idle;
    ev_idle_init(&idle, say_idle);
    TWICE(idle, &idle);
    ev_prepare prepare;
    ev_prepare_init(&prepare, say_prepare);
    TWICE(prepare, &prepare);
    ev_check check;
    ev_check_init(&check, say_check);
    TWICE(check, &check);
    ev_fork forked;
    ev_fork_init(&forked, say_fork);
    TWICE(fork, &forked);
    ev_cleanup cleanup;
    ev_cleanup_init(&cleanup, say_cleanup);
    TWICE(cleanup, &cleanup);
    ev_async async;
    ev_async_init(&async, say_async);
    TWICE(async, &async);
}

/* An async or idle watcher with nothing to tell keeps the loop running, too;
 * what ev_run() returns says how many do. */
CASE(active_watchers_counted)
{
    DEFAULT_LOOP;
    ev_async async;
    ev_prepare prepare;
    ev_cleanup cleanup;
    ev_async_init(&async, say_async);
    ev_prepare_init(&prepare, say_prepare);
    NAME(&prepare, "prepare");
    ev_cleanup_init(&cleanup, say_cleanup);
    say("%d", ev_run(EV_A_ EVRUN_NOWAIT));
    ev_async_start(EV_A_ &async);
    say("%d", ev_run(EV_A_ EVRUN_NOWAIT) != 0);
    ev_prepare_start(EV_A_ &prepare);
    say("%d", ev_run(EV_A_ EVRUN_NOWAIT) != 0);
    ev_async_stop(EV_A_ &async);
    ev_prepare_stop(EV_A_ &prepare);
    say("%d", ev_run(EV_A_ EVRUN_NOWAIT));
}

ON(timer, stop_and_free)
{
    say("freed");
    ev_timer_stop(EV_A_ w);
    free(w);
}

/* The memory of a watcher may go in its callback. */
CASE(freed_in_callback)
{
    DEFAULT_LOOP;
    for (int i = 0; i < 3; i++) {
        ev_timer *w = (ev_timer *)malloc(sizeof *w);
        ev_timer_init(w, stop_and_free, 0.001 * i, 5);
        ev_timer_start(EV_A_ w);
    }
    ev_run(EV_A_ 0);
}
