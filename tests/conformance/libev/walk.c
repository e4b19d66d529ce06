/* walk.c - ev_walk, which libev has only if compiled with EV_WALK_ENABLE. */
#ifndef EV_WALK_ENABLE
#define EV_WALK_ENABLE 1
#endif
#include "case.h"

static int seen;
static char mine;

/* The library may have watchers for itself, and show them. */
static void
count(EV_P_ int type, void *w)
{
    if (((ev_watcher *)w)->data != &mine)
        return;
    say("%s, active %d", names_of(type), !!ev_is_active((ev_watcher *)w));
    seen |= type;
}

static void
stop_timer(EV_P_ int type, void *w)
{
    ev_timer_stop(EV_A_(ev_timer *) w);
}

CASE(ev_walk)
{
    DEFAULT_LOOP;
    ev_io io;
    ev_timer timer;
    ev_periodic periodic;
    ev_signal sig;
    ev_child child;
    ev_idle idle;
    ev_prepare prepare;
    ev_check check;
    ev_fork forked;
    ev_async async;
    ev_io_init(&io, say_io, 0, EV_READ);
    io.data = &mine;
    ev_timer_init(&timer, say_timer, 5, 0);
    timer.data = &mine;
    ev_periodic_init(&periodic, say_periodic, 0, 3600, NULL);
    periodic.data = &mine;
    ev_signal_init(&sig, say_signal, SIGUSR1);
    sig.data = &mine;
    ev_child_init(&child, say_child, 0, 0);
    child.data = &mine;
    ev_idle_init(&idle, say_idle);
    idle.data = &mine;
    ev_prepare_init(&prepare, say_prepare);
    prepare.data = &mine;
    ev_check_init(&check, say_check);
    check.data = &mine;
    ev_fork_init(&forked, say_fork);
    forked.data = &mine;
    ev_async_init(&async, say_async);
    async.data = &mine;
    ev_io_start(EV_A_ &io);
    ev_timer_start(EV_A_ &timer);
    ev_periodic_start(EV_A_ &periodic);
    ev_signal_start(EV_A_ &sig);
    ev_child_start(EV_A_ &child);
    ev_idle_start(EV_A_ &idle);
    ev_prepare_start(EV_A_ &prepare);
    ev_check_start(EV_A_ &check);
    ev_fork_start(EV_A_ &forked);
    ev_async_start(EV_A_ &async);
    static const int types[] = {EV_IO,    EV_TIMER, EV_PERIODIC, EV_SIGNAL,
                                EV_CHILD, EV_IDLE,  EV_PREPARE,  EV_CHECK,
                                EV_FORK,  EV_ASYNC, EV_CLEANUP};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        ev_walk(EV_A_ types[i], count);
    seen = 0;
    ev_walk(EV_A_ EV_TIMER | EV_IDLE, count);
    say("seen %s", names_of(seen));
    ev_walk(EV_A_ EV_TIMER, stop_timer);
    say("active %d", !!ev_is_active(&timer));
}
