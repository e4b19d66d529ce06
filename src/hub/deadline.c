/* deadline.c - deadlines of waits, and of all waits of a block. */
#include "hub/internal.h"

#include <assert.h>

#include "loop/internal.h"

static int64_t
now(const coir_hub *hub)
{
    if (hub == NULL)
        return coir_clock_monotonic();
    const coir__clock *clock = &hub->loop->clock;
    return clock->monotonic(clock->user);
}

int64_t
coir__deadline_after(const coir_hub *hub, int64_t timeout_ns)
{
    if (timeout_ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t from = now(hub);
    if (timeout_ns <= 0)
        return from;
    return timeout_ns < COIR_FOREVER - from ? from + timeout_ns : COIR_FOREVER;
}

void
coir_deadline_begin(coir_deadline *d, int64_t timeout_ns)
{
    coir_green *g = coir__running();
    d->at_ns = coir__deadline_after(coir__hub, timeout_ns);
    d->outer = NULL;
    if (g == NULL)
        return;
    d->outer = g->deadlines;
    g->deadlines = d;
    if (d->at_ns < g->deadline_ns)
        g->deadline_ns = d->at_ns;
}

int
coir_deadline_end(coir_deadline *d)
{
    coir_green *g = coir__running();
    if (g != NULL) {
        assert(g->deadlines == d);
        g->deadlines = d->outer;
        g->deadline_ns = g->inherited_ns;
        for (const coir_deadline *o = d->outer; o != NULL; o = o->outer)
            if (o->at_ns < g->deadline_ns)
                g->deadline_ns = o->at_ns;
    }
    return d->at_ns != COIR_FOREVER && now(coir__hub) >= d->at_ns;
}

int64_t
coir_deadline_remaining(void)
{
    const coir_green *g = coir__running();
    if (g == NULL || g->deadline_ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t left = g->deadline_ns - now(g->hub);
    return left > 0 ? left : 0;
}
