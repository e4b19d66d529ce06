/* compat0.c - without the names of libev 3, ev_loop is a type. */
#define EV_COMPAT3 0
#include "case.h"

#if EV_MULTIPLICITY
static void
run(ev_loop *loop)
{
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(loop, &w);
    ev_run(loop, 0);
}

CASE(EV_COMPAT3)
{
    run(ev_default_loop(0));
}
#endif
