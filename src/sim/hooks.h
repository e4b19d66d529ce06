/* hooks.h - what the layers below ask of a simulation.
 *
 * Each hook is behind a test of a word that is 0 outside of simulations. */
#ifndef COIR__SIM_HOOKS_H
#define COIR__SIM_HOOKS_H

#include <coir/hub.h>

#include "base/platform.h"

typedef struct coir__sim coir__sim;
typedef struct coir__sim_host coir__sim_host;

/* What a simulation knows of a green thread, in its control block. */
typedef struct coir__sim_green {
    coir__sim_host *host; /* where it runs */
    uint64_t id;          /* main is 1, others in the order of their spawn */
    int64_t priority;
} coir__sim_green;

/* From the hub: one was spawned; and let those that are ready run, in the
 * order of the simulation. */
void coir__sim_spawned(coir_hub *hub, coir_green *g);
void coir__sim_run_ready(coir_hub *hub);

/* With no green thread ready: did the loop find nothing to wait for? */
int coir__sim_is_stuck(coir_hub *hub);

/* coir_blocking(). */
int coir__sim_blocking(int (*fn)(void *arg), void *arg,
                       void (*drop)(void *arg), int *result,
                       int64_t timeout_ns);
/* Look a name up: 0, and `*name` is an address as text; 1: there is no such
 * host; or an error. */
int coir__sim_resolve(const char **name, int family, int64_t timeout_ns);

/* How many simulations there are in this process. */
extern __attribute__((visibility("hidden"))) int coir__sims;

COIR__COLD void coir__sim_may_switch(int64_t timeout_ns);

/* At the start of a call that may wait, unless the timeout is 0, with nothing
 * locked: one that would not have to may let others run as well. */
static inline void
coir__sim_point(int64_t timeout_ns)
{
    if (coir__unlikely(__atomic_load_n(&coir__sims, __ATOMIC_RELAXED) != 0))
        coir__sim_may_switch(timeout_ns);
}

#endif
