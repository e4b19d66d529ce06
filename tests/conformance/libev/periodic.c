/* periodic.c - ev_periodic. */
#include "case.h"

ON(periodic, say_and_stop)
{
    say("%s: %s", (const char *)w->data, names_of(revents));
    ev_periodic_stop(EV_A_ w);
}

static ev_tstamp
soon(ev_periodic *w, ev_tstamp now) EV_NOEXCEPT
{
    return now + 0.02;
}

CASE(ev_periodic_init)
{
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 1.5, 2.5, soon);
    say("offset %g, interval %g, reschedule_cb %d, active %d, pending %d, "
        "priority %d",
        w.offset, w.interval, w.reschedule_cb == soon, ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_periodic_set)
{
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 1.5, 2.5, soon);
    ev_periodic_set(&w, 3, 4, NULL);
    say("offset %g, interval %g, reschedule_cb %d", w.offset, w.interval,
        w.reschedule_cb != NULL);
}

/* No interval: once, at an absolute time. */
CASE(ev_periodic_absolute)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_tstamp at = ev_time() + 0.03;
    ev_periodic_init(&w, say_periodic, at, 0, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    say("at the offset %d", fabs(ev_periodic_at(&w) - at) < 1e-5);
    say("runs on %d", ev_run(EV_A_ 0));
    say("not early %d", ev_time() >= at - 0.0001);
    say("active %d", ev_is_active(&w));
}

CASE(ev_periodic_in_the_past)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, ev_time() - 1000, 0, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ EVRUN_NOWAIT));
}

static void
check_interval(EV_P_ ev_tstamp offset, ev_tstamp interval)
{
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, offset, interval, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    for (int i = 0; i < 3; i++) {
        ev_tstamp at = ev_periodic_at(&w);
        ev_tstamp n = (at - offset) / interval;
        say("in the future %d, a multiple %d", at > ev_now(EV_A),
            fabs(n - floor(n + 0.5)) < 1e-3);
        ev_run(EV_A_ EVRUN_ONCE);
        say("called in time %d", ev_now(EV_A) >= at - 0.001);
    }
    ev_periodic_stop(EV_A_ &w);
}

/* At offset + n * interval. */
CASE(ev_periodic_interval)
{
    DEFAULT_LOOP;
    check_interval(EV_A_ 0.01, 0.05);
}

/* However many of them there were since 1970. */
CASE(ev_periodic_interval_inexact)
{
    DEFAULT_LOOP;
    check_interval(EV_A_ 0, 0.07);
    check_interval(EV_A_ 0.123, 1 / 17.);
}

CASE(ev_periodic_at)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 0, 3600, NULL);
    ev_periodic_start(EV_A_ &w);
    ev_tstamp at = ev_periodic_at(&w);
    say("whole hour %d, ahead %d, less than an hour %d", fmod(at, 3600) == 0,
        at > ev_now(EV_A), at <= ev_now(EV_A) + 3600);
}

/* What was missed comes once; the next time is in the future. */
CASE(ev_periodic_late)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 0, 0.02, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    ev_sleep(0.1);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("in the future %d", ev_periodic_at(&w) > ev_now(EV_A));
}

static int reschedules;

static ev_tstamp
counting(ev_periodic *w, ev_tstamp now) EV_NOEXCEPT
{
    reschedules++;
    return now + 0.01;
}

CASE(ev_periodic_reschedule_cb)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 5, 7, counting); /* not looked at */
    NAME(&w, "periodic");
    say("%d", reschedules);
    ev_periodic_start(EV_A_ &w);
    say("%d", reschedules);
    ev_run(EV_A_ EVRUN_ONCE);
    say("%d", reschedules);
    ev_run(EV_A_ EVRUN_ONCE);
    say("%d", reschedules);
    ev_periodic_stop(EV_A_ &w);
}

static ev_tstamp given_now;
static ev_periodic *given_watcher;

static ev_tstamp
keeping(ev_periodic *w, ev_tstamp now) EV_NOEXCEPT
{
    given_now = now;
    given_watcher = w;
    return now + 3600;
}

CASE(ev_periodic_reschedule_cb_arguments)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 0, 0, keeping);
    ev_periodic_start(EV_A_ &w);
    say("watcher %d, now %d, at %d", given_watcher == &w,
        fabs(given_now - ev_now(EV_A)) < 1e-3,
        fabs(ev_periodic_at(&w) - given_now - 3600) < 1e-3);
}

/* For ever: an idle rule. */
static ev_tstamp
never(ev_periodic *w, ev_tstamp now) EV_NOEXCEPT
{
    return now + 1e30;
}

CASE(ev_periodic_never)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 0, 0, never);
    ev_periodic_start(EV_A_ &w);
    say("runs on %d", !!ev_run(EV_A_ EVRUN_NOWAIT));
}

CASE(ev_periodic_start)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_and_stop, 0, 0, soon);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    say("active %d", !!ev_is_active(&w));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_periodic_stop)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 0, 0.01, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    ev_feed_event(EV_A_ &w, EV_PERIODIC);
    ev_periodic_stop(EV_A_ &w);
    say("active %d, pending %d", ev_is_active(&w), ev_is_pending(&w));
    say("runs on %d", ev_run(EV_A_ 0));
}

/* Changed fields count after it. */
CASE(ev_periodic_again)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_and_stop, 0, 3600, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    w.interval = 0.01;
    ev_periodic_again(EV_A_ &w);
    say("soon %d", ev_periodic_at(&w) < ev_now(EV_A) + 1);
    ev_run(EV_A_ 0);
}

CASE(ev_periodic_again_starts)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_and_stop, ev_time() + 0.01, 0, NULL);
    NAME(&w, "periodic");
    ev_periodic_again(EV_A_ &w);
    say("active %d", !!ev_is_active(&w));
    ev_run(EV_A_ 0);
}

CASE(ev_periodic_order)
{
    DEFAULT_LOOP;
    static ev_periodic w[5];
    static const char *const names[] = {"2", "0", "4", "1", "3"};
    ev_tstamp base = ev_time() - 10;
    for (int i = 0; i < 5; i++) {
        ev_periodic_init(&w[i], say_periodic, base + atoi(names[i]), 0, NULL);
        NAME(&w[i], names[i]);
        ev_periodic_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
}

ON(periodic, later)
{
    static int times;
    say("called");
    if (++times == 3)
        return;
    ev_periodic_set(w, ev_now(EV_A) + 0.01, 0, NULL);
    ev_periodic_start(EV_A_ w);
}

CASE(ev_periodic_start_in_callback)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, later, ev_time(), 0, NULL);
    ev_periodic_start(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

#if EV_MULTIPLICITY
/* Jumps of the clock are then found by looking; all else is the same. */
CASE(EVFLAG_NOTIMERFD)
{
    struct ev_loop *loop = loop_with(EVFLAG_NOTIMERFD);
    ev_periodic w;
    ev_periodic_init(&w, say_and_stop, 0, 0.02, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(loop, &w);
    say("runs on %d", ev_run(loop, 0));
}
#endif

/* Before timers that expire in the same turn: fed later. */
CASE(ev_periodic_and_timer)
{
    DEFAULT_LOOP;
    ev_periodic periodic;
    ev_timer timer;
    ev_periodic_init(&periodic, say_periodic, 1, 0, NULL);
    NAME(&periodic, "periodic");
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "timer");
    ev_periodic_start(EV_A_ &periodic);
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_NOWAIT);
}
