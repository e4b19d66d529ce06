/* timer.c - ev_timer. */
#include "case.h"

CASE(ev_timer_init)
{
    ev_timer w;
    ev_timer_init(&w, say_timer, 1.5, 2.5);
    say("repeat %g, active %d, pending %d, priority %d", w.repeat,
        ev_is_active(&w), ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_timer_set)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 100, 0);
    NAME(&w, "timer");
    ev_timer_set(&w, 0.01, 0.25);
    say("repeat %g", w.repeat);
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_timer_stop(EV_A_ &w);
    ev_timer_set(&w, 0, 0);
    ev_timer_start(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_timer_start)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.02, 0);
    NAME(&w, "timer");
    ev_now_update(EV_A);
    ev_tstamp start = ev_now(EV_A);
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
    say("not early %d, not late %d", ev_time() - start > 0.0199,
        ev_time() - start < 5);
    say("active %d", ev_is_active(&w));
}

CASE(ev_timer_stop)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 0.01);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_timer_stop(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

ON(timer, count_down)
{
    int *left = (int *)w->data;
    say("%d", *left);
    if (--*left == 0)
        ev_timer_stop(EV_A_ w);
}

CASE(ev_timer_repeats)
{
    DEFAULT_LOOP;
    ev_timer w;
    int left = 4;
    ev_timer_init(&w, count_down, 0.01, 0.005);
    w.data = &left;
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

/* What was missed comes once, and the next time is now. */
CASE(ev_timer_repeats_when_late)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 0.01);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_sleep(0.1);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("remaining %d", ev_timer_remaining(EV_A_ &w) > 0.001);
}

CASE(ev_timer_zero)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("active %d", ev_is_active(&w));
}

CASE(ev_timer_negative)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, -5, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("active %d", ev_is_active(&w));
}

/* For ever, or nearly. */
CASE(ev_timer_far)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_timer_init(&a, say_timer, 1e9, 0);
    ev_timer_init(&b, say_timer, 1e30, 1e30);
    ev_timer_start(EV_A_ &a);
    ev_timer_start(EV_A_ &b);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("%d %d", !!ev_is_active(&a), !!ev_is_active(&b));
    ev_timer_stop(EV_A_ &a);
    ev_timer_stop(EV_A_ &b);
}

CASE(ev_timer_order)
{
    DEFAULT_LOOP;
    static ev_timer w[20];
    static char names[20][4];
    ev_now_update(EV_A);
    for (int i = 0; i < 20; i++) {
        int rank = i * 7 % 20;
        (void)sprintf(names[i], "%d", rank);
        ev_timer_init(&w[i], say_timer, 0.001 * rank, 0);
        NAME(&w[i], names[i]);
        ev_timer_start(EV_A_ &w[i]);
    }
    ev_sleep(0.04);
    ev_run(EV_A_ EVRUN_NOWAIT); /* all in one turn */
}

/* The manual does not say in which order these come. */
CASE(ev_timer_order_of_equals)
{
    DEFAULT_LOOP;
    static ev_timer w[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++) {
        ev_timer_init(&w[i], say_timer, 0, 0);
        NAME(&w[i], names[i]);
        ev_timer_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_timer_order_across_turns)
{
    DEFAULT_LOOP;
    static ev_timer w[4];
    static const char *const names[] = {"d", "b", "c", "a"};
    static const double after[] = {0.08, 0.04, 0.06, 0.02};
    for (int i = 0; i < 4; i++) {
        ev_timer_init(&w[i], say_timer, after[i], 0);
        NAME(&w[i], names[i]);
        ev_timer_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ 0);
}

CASE(ev_timer_order_of_priorities)
{
    DEFAULT_LOOP;
    ev_timer early, late;
    ev_now_update(EV_A);
    ev_timer_init(&early, say_timer, 0.001, 0);
    NAME(&early, "early");
    ev_timer_init(&late, say_timer, 0.01, 0);
    NAME(&late, "late, but of high priority");
    ev_set_priority(&late, 1);
    ev_timer_start(EV_A_ &early);
    ev_timer_start(EV_A_ &late);
    ev_sleep(0.02);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

static double last_deadline;
static int fired, disorder;

typedef struct {
    ev_timer timer;
    double after;
} known;

ON(timer, check_order)
{
    known *k = (known *)w;
    disorder += k->after < last_deadline;
    last_deadline = k->after;
    fired++;
}

CASE(ev_timer_many)
{
    DEFAULT_LOOP;
    static known w[10000];
    unsigned x = 1;
    ev_now_update(EV_A);
    for (int i = 0; i < 10000; i++) {
        x = x * 1103515245 + 12345;
        w[i].after = (x >> 8 & 0xffff) * 1e-6;
        ev_timer_init(&w[i].timer, check_order, w[i].after, 0);
        ev_timer_start(EV_A_ &w[i].timer);
    }
    for (int i = 0; i < 10000; i += 3)
        ev_timer_stop(EV_A_ &w[i].timer);
    ev_run(EV_A_ 0);
    say("fired %d, out of order %d", fired, disorder);
}

/* --- ev_timer_again ------------------------------------------------------ */

CASE(ev_timer_again_starts)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_init(&w, say_timer);
    NAME(&w, "timer");
    w.repeat = 0.01;
    ev_timer_again(EV_A_ &w);
    say("active %d", !!ev_is_active(&w));
    ev_run(EV_A_ EVRUN_ONCE);
    say("active %d", !!ev_is_active(&w));
    ev_timer_stop(EV_A_ &w);
}

CASE(ev_timer_again_does_not_start)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 0);
    ev_timer_again(EV_A_ &w);
    say("active %d", ev_is_active(&w));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_timer_again_stops)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 0);
    ev_timer_start(EV_A_ &w);
    ev_timer_again(EV_A_ &w);
    say("active %d", ev_is_active(&w));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_timer_again_puts_off)
{
    DEFAULT_LOOP;
    ev_timer w, other;
    ev_now_update(EV_A);
    ev_timer_init(&w, say_timer, 0.02, 0.1);
    NAME(&w, "put off");
    ev_timer_init(&other, say_timer, 0.05, 0);
    NAME(&other, "other");
    ev_timer_start(EV_A_ &w);
    ev_timer_start(EV_A_ &other);
    ev_timer_again(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_timer_again_takes_pending_back)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 5, 5);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_feed_event(EV_A_ &w, EV_TIMER);
    ev_timer_again(EV_A_ &w);
    say("pending %d, active %d", ev_is_pending(&w), !!ev_is_active(&w));
}

ON(timer, again_shorter)
{
    say("repeat %g", w->repeat);
    w->repeat -= 0.005;
    if (w->repeat < 0.002)
        w->repeat = 0;
    ev_timer_again(EV_A_ w);
}

CASE(ev_timer_again_in_callback)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, again_shorter, 0, 0.015);
    ev_timer_start(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

/* --- fields -------------------------------------------------------------- */

CASE(ev_timer_remaining)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 5, 0);
    say("not started %g", ev_timer_remaining(EV_A_ &w));
    ev_now_update(EV_A);
    ev_timer_start(EV_A_ &w);
    ev_tstamp left = ev_timer_remaining(EV_A_ &w);
    say("started %d", left > 4.99 && left < 5.01);
    ev_sleep(0.05);
    ev_now_update(EV_A);
    left = ev_timer_remaining(EV_A_ &w);
    say("later %d", left > 4 && left < 4.96);
    ev_timer_stop(EV_A_ &w);
    say("stopped: the same %d",
        fabs(ev_timer_remaining(EV_A_ &w) - left) < 1e-3);
}

ON(timer, say_remaining)
{
    ev_tstamp left = ev_timer_remaining(EV_A_ w);
    say("repeat %g: remaining %d", w->repeat, left > 0);
    ev_timer_stop(EV_A_ w);
}

CASE(ev_timer_remaining_in_callback)
{
    DEFAULT_LOOP;
    ev_timer once, often;
    ev_timer_init(&once, say_remaining, 0.01, 0);
    ev_timer_init(&often, say_remaining, 0.02, 0.5);
    ev_timer_start(EV_A_ &once);
    ev_timer_start(EV_A_ &often);
    ev_run(EV_A_ 0);
}

/* Paused and taken up again with what was left. */
CASE(ev_timer_stop_and_start)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_now_update(EV_A);
    ev_timer_init(&w, say_timer, 0.1, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_sleep(0.05);
    ev_now_update(EV_A);
    ev_timer_stop(EV_A_ &w);
    ev_timer_start(EV_A_ &w);
    ev_tstamp left = ev_timer_remaining(EV_A_ &w);
    say("%d", left > 0 && left < 0.06);
    ev_run(EV_A_ 0);
}

/* A changed repeat counts from the next time on. */
CASE(ev_timer_repeat)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0.01, 100);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    w.repeat = 0.01;
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_ONCE);
    w.repeat = 0;
    ev_run(EV_A_ EVRUN_ONCE);
    say("active %d", ev_is_active(&w));
}

ON(timer, start_again)
{
    static int times;
    say("turn");
    if (++times == 3)
        return;
    ev_timer_set(w, 0, 0);
    ev_timer_start(EV_A_ w);
}

/* Started in its callback with no time: it waits for the next turn. */
CASE(ev_timer_start_in_callback)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, start_again, 0, 0);
    ev_timer_start(EV_A_ &w);
    for (int i = 0; i < 4; i++)
        say("runs on %d", !!ev_run(EV_A_ EVRUN_NOWAIT));
}

ON(timer, stop_other)
{
    say("stops the other");
    ev_timer_stop(EV_A_(ev_timer *) w->data);
}

/* Both expire in one turn; the first one's callback stops the second. */
CASE(ev_timer_stop_in_callback)
{
    DEFAULT_LOOP;
    ev_timer a, b;
    ev_now_update(EV_A);
    ev_timer_init(&a, stop_other, 0.001, 0);
    ev_timer_init(&b, say_timer, 0.002, 0);
    NAME(&b, "b");
    a.data = &b;
    ev_timer_start(EV_A_ &a);
    ev_timer_start(EV_A_ &b);
    ev_sleep(0.01);
    say("runs on %d", ev_run(EV_A_ 0));
}
