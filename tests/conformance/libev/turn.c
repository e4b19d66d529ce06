/* turn.c - ev_idle, ev_prepare, ev_check. */
#include "case.h"

CASE(ev_idle_init)
{
    ev_idle w;
    ev_idle_init(&w, say_idle);
    ev_idle_set(&w);
    say("active %d, pending %d, priority %d", ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

/* In every turn; and the loop does not block. */
CASE(ev_idle_start)
{
    DEFAULT_LOOP;
    ev_idle w;
    ev_timer timer;
    ev_idle_init(&w, say_idle);
    NAME(&w, "idle");
    ev_timer_init(&timer, give_up, 10, 0);
    ev_timer_start(EV_A_ &timer);
    ev_idle_start(EV_A_ &w);
    for (int i = 0; i < 3; i++)
        ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_idle_stop)
{
    DEFAULT_LOOP;
    ev_idle w;
    ev_timer timer;
    ev_idle_init(&w, say_idle);
    NAME(&w, "idle");
    ev_idle_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_idle_stop(EV_A_ &w);
    ev_timer_init(&timer, say_timer, 0.01, 0);
    NAME(&timer, "it blocks");
    ev_timer_start(EV_A_ &timer);
    say("runs on %d", ev_run(EV_A_ EVRUN_ONCE));
}

/* Not while something of its priority or above is pending. */
CASE(ev_idle_priorities)
{
    DEFAULT_LOOP;
    static ev_idle w[3];
    static const char *const names[] = {"idle -1", "idle 0", "idle 1"};
    for (int i = 0; i < 3; i++) {
        ev_idle_init(&w[i], say_idle);
        NAME(&w[i], names[i]);
        ev_set_priority(&w[i], i - 1);
        ev_idle_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("without the highest");
    ev_idle_stop(EV_A_ &w[2]);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("with a timer of priority 0");
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "timer");
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("with a timer of priority -1");
    ev_timer_set(&timer, 0, 0);
    ev_set_priority(&timer, -1);
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_idle_two_of_a_priority)
{
    DEFAULT_LOOP;
    ev_idle a, b;
    ev_idle_init(&a, say_idle);
    NAME(&a, "a");
    ev_idle_init(&b, say_idle);
    NAME(&b, "b");
    ev_idle_start(EV_A_ &a);
    ev_idle_start(EV_A_ &b);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

static int work_left = 3;

ON(idle, do_work)
{
    say("work %d", work_left);
    if (--work_left == 0)
        ev_idle_stop(EV_A_ w);
}

CASE(ev_idle_until_done)
{
    DEFAULT_LOOP;
    ev_idle w;
    ev_idle_init(&w, do_work);
    ev_idle_start(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

/* --- ev_prepare, ev_check ------------------------------------------------ */

CASE(ev_prepare_init)
{
    ev_prepare w;
    ev_prepare_init(&w, say_prepare);
    ev_prepare_set(&w);
    say("active %d, pending %d, priority %d", ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_check_init)
{
    ev_check w;
    ev_check_init(&w, say_check);
    ev_check_set(&w);
    say("active %d, pending %d, priority %d", ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_prepare_start)
{
    DEFAULT_LOOP;
    ev_prepare w;
    ev_timer timer;
    ev_prepare_init(&w, say_prepare);
    NAME(&w, "prepare");
    ev_prepare_start(EV_A_ &w);
    ev_timer_init(&timer, say_timer, 0.01, 0);
    NAME(&timer, "timer");
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_prepare_stop)
{
    DEFAULT_LOOP;
    ev_prepare w;
    ev_prepare_init(&w, say_prepare);
    NAME(&w, "prepare");
    ev_prepare_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_prepare_stop(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_check_start)
{
    DEFAULT_LOOP;
    ev_check check;
    ev_prepare prepare;
    ev_check_init(&check, say_check);
    NAME(&check, "check");
    ev_prepare_init(&prepare, say_prepare);
    NAME(&prepare, "prepare");
    ev_check_start(EV_A_ &check);
    ev_prepare_start(EV_A_ &prepare);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_check_stop)
{
    DEFAULT_LOOP;
    ev_check w;
    ev_check_init(&w, say_check);
    NAME(&w, "check");
    ev_check_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_check_stop(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

/* The first after the wait, if its priority is the highest. */
CASE(ev_check_is_first)
{
    DEFAULT_LOOP;
    ev_check check;
    ev_io io;
    ev_timer timer;
    int fds[2];
    make_pipe(fds);
    ev_check_init(&check, say_check);
    NAME(&check, "check");
    ev_set_priority(&check, EV_MAXPRI);
    ev_io_init(&io, say_io, fds[1], EV_WRITE);
    NAME(&io, "io");
    ev_set_priority(&io, EV_MAXPRI);
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "timer");
    ev_set_priority(&timer, 1);
    ev_timer_start(EV_A_ &timer);
    ev_check_start(EV_A_ &check);
    ev_io_start(EV_A_ &io);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_prepare_priorities)
{
    DEFAULT_LOOP;
    static ev_prepare w[4];
    static const char *const names[] = {"a 0", "b 2", "c 0", "d -2"};
    static const int priorities[] = {0, 2, 0, -2};
    for (int i = 0; i < 4; i++) {
        ev_prepare_init(&w[i], say_prepare);
        NAME(&w[i], names[i]);
        ev_set_priority(&w[i], priorities[i]);
        ev_prepare_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_prepare_stop(EV_A_ &w[0]);
    say("without a");
    ev_run(EV_A_ EVRUN_NOWAIT);
}

static int pipe_end;

ON(io, drain_it)
{
    say("io: %s", names_of(revents));
    drain(w->fd);
}

ON(prepare, start_io)
{
    static ev_io io;
    say("prepare");
    if (!ev_is_active(&io)) {
        ev_io_init(&io, drain_it, pipe_end, EV_READ);
        ev_io_start(EV_A_ &io);
    }
}

/* A watcher started in a prepare watcher is waited for in this turn. */
CASE(ev_prepare_starts_watchers)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    pipe_end = fds[0];
    put(fds[1], "x");
    ev_prepare w;
    ev_prepare_init(&w, start_io);
    ev_prepare_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

ON(prepare, stop_itself)
{
    say("%s", (const char *)w->data);
    ev_prepare_stop(EV_A_ w);
}

CASE(ev_prepare_stop_in_callback)
{
    DEFAULT_LOOP;
    ev_prepare a, b, c;
    ev_prepare_init(&a, stop_itself);
    NAME(&a, "a");
    ev_prepare_init(&b, stop_itself);
    NAME(&b, "b");
    ev_prepare_init(&c, stop_itself);
    NAME(&c, "c");
    ev_prepare_start(EV_A_ &a);
    ev_prepare_start(EV_A_ &b);
    ev_prepare_start(EV_A_ &c);
    say("runs on %d", ev_run(EV_A_ EVRUN_NOWAIT));
}

/* Neither ends a wait by itself: unref'd they are just along. */
CASE(ev_prepare_unref)
{
    DEFAULT_LOOP;
    ev_prepare prepare;
    ev_check check;
    ev_prepare_init(&prepare, say_prepare);
    NAME(&prepare, "prepare");
    ev_check_init(&check, say_check);
    NAME(&check, "check");
    ev_prepare_start(EV_A_ &prepare);
    ev_unref(EV_A);
    ev_check_start(EV_A_ &check);
    ev_unref(EV_A);
    say("runs on %d", ev_run(EV_A_ 0));
}
