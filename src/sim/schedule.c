/* schedule.c - who runs next, in a simulation.
 *
 * All who leave the processor come to the hub's coroutine (hub->left is 0),
 * and from there to here. Those that are ready are moved from the hub's queue
 * into an array, from which one is chosen:
 *
 *     any        each with equal chances: bugs that need few switches at the
 *                right places
 *     priority   the one of highest priority. Each gets one at random when it
 *                is spawned; one that is made to yield, and now and then one
 *                that yields itself, falls below all others. So one of them
 *                may be kept from running for long: bugs that need a certain
 *                order of long pieces.
 *
 * Which of the two, and how often calls that need not wait do, the seed says.
 * Now and then, and when nobody is ready, the loop is looked at.
 *
 * Numbers are the same on all machines: no addresses, no floating point. */
#include "sim/internal.h"

#include <inttypes.h>

int coir__sims;

/* Of COIR_SIM_ALWAYS times: how often the loop is looked at. */
#define LOOK 600
/* Room for so many that are ready, at first. */
#define READY_SIZE 16

int
coir__sim_schedule_init(coir__sim *sim)
{
    static const unsigned chances[] = {0, 300, 1500, 5000};
    coir__random *random = &sim->choices;
    sim->order =
        coir__random_below(random, 2) ? COIR__SIM_PRIORITY : COIR__SIM_ANY;
    sim->preempt = chances[coir__random_below(random, 4)];
    sim->change = chances[1 + coir__random_below(random, 3)];
    if (sim->options.preempt != 0)
        sim->preempt = sim->options.preempt;
    if (sim->preempt > COIR_SIM_ALWAYS)
        sim->preempt = 0;
    sim->ready_size = READY_SIZE;
    sim->ready = coir_malloc(sim->ready_size * sizeof(*sim->ready));
    return sim->ready != NULL ? 0 : COIR_ENOMEM;
}

void
coir__sim_schedule_fini(coir__sim *sim)
{
    coir_free(sim->ready);
}

void
coir__sim_spawned(coir_hub *hub, coir_green *g)
{
    coir__sim *sim = hub->sim;
    g->sim.id = ++sim->spawned;
    g->sim.priority = (int64_t)(coir__random_next(&sim->choices) >> 1);
    g->sim.host = hub->current != NULL ? hub->current->sim.host : NULL;
}

/* Move the queue into the array. Without memory for that the rest of it waits
 * there. */
static void
take_ready(coir__sim *sim)
{
    coir_hub *hub = sim->hub;
    while (hub->ready != NULL) {
        if (sim->ready_count == sim->ready_size) {
            size_t size = 2 * sim->ready_size;
            coir_green **ready =
                coir_realloc(sim->ready, size * sizeof(*ready));
            if (ready == NULL)
                return;
            sim->ready = ready;
            sim->ready_size = size;
        }
        coir_green *g = coir__hub_pop_ready(hub);
        /* Or one that waits by yielding would keep all others from running. */
        if (g == sim->last && coir__random_chance(&sim->choices, sim->change))
            g->sim.priority = --sim->lowest;
        sim->ready[sim->ready_count++] = g;
    }
}

static coir_green *
choose(coir__sim *sim)
{
    size_t chosen = 0;
    if (sim->order == COIR__SIM_ANY)
        chosen = coir__random_below(&sim->choices, sim->ready_count);
    else
        for (size_t i = 1; i < sim->ready_count; i++)
            if (sim->ready[i]->sim.priority > sim->ready[chosen]->sim.priority)
                chosen = i;
    coir_green *g = sim->ready[chosen];
    sim->ready[chosen] = sim->ready[--sim->ready_count];
    return g;
}

static void
run(coir__sim *sim, coir_green *g)
{
    coir__sim_step(sim);
    if (sim->options.step_ns > 0)
        sim->now_ns += (int64_t)coir__random_below(
            &sim->times, (uint64_t)sim->options.step_ns + 1);
    coir__sim_decided(sim, g->sim.id, "run %" PRIu64 " %s", g->sim.id,
                      coir_green_name(g));
    sim->last = g;
    sim->is_stuck = 0;
    coir__hub_run_one(sim->hub, g);
}

void
coir__sim_run_ready(coir_hub *hub)
{
    coir__sim *sim = hub->sim;
    for (;;) {
        take_ready(sim);
        if (sim->ready_count == 0)
            return;
        run(sim, choose(sim));
        if (coir__random_chance(&sim->choices, LOOK))
            break;
    }
    /* The hub is to see that there are some. */
    while (sim->ready_count > 0)
        coir__hub_push_ready(hub, sim->ready[--sim->ready_count]);
}

void
coir__sim_may_switch(int64_t timeout_ns)
{
    coir_hub *hub = coir__hub;
    if (timeout_ns == 0 || hub == NULL || hub->sim == NULL ||
        hub->current == NULL)
        return;
    coir__sim *sim = hub->sim;
    if (!coir__random_chance(&sim->choices, sim->preempt))
        return;
    hub->current->sim.priority = --sim->lowest;
    coir__hub_yield(hub, hub->current);
}
