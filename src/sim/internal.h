/* internal.h - what the files of the simulation share. */
#ifndef COIR__SIM_INTERNAL_H
#define COIR__SIM_INTERNAL_H

#include <coir/sim.h>

#include "hub/internal.h"
#include "loop/internal.h"

/* splitmix64: any state is a good one, and near seeds give far numbers. */
typedef struct coir__random {
    uint64_t state;
} coir__random;

static inline uint64_t
coir__mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t
coir__random_next(coir__random *random)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    return coir__mix(random->state);
}

/* From 0 to limit - 1, 0 if the limit is; the bias is below limit / 2^64. */
static inline uint64_t
coir__random_below(coir__random *random, uint64_t limit)
{
    if (limit <= 1)
        return 0;
    return (uint64_t)(((unsigned __int128)coir__random_next(random) * limit) >>
                      64);
}

/* True so often, of COIR_SIM_ALWAYS times. */
static inline int
coir__random_chance(coir__random *random, unsigned chance)
{
    return chance > 0 && coir__random_below(random, COIR_SIM_ALWAYS) < chance;
}

/* How the next one to run is chosen. */
enum coir__sim_order {
    COIR__SIM_ANY,     /* each with equal chances */
    COIR__SIM_PRIORITY /* by priorities that change now and then */
};

/* See network.h. */
struct coir__sim_network {
    coir__sim_host *hosts, **hosts_tail;
    uint32_t host_count;
    struct coir__sim_link *links;
    coir_sim_link usual;             /* where nothing else was said */
    struct coir__sim_socket **table; /* by number, from COIR__SIM_FD on */
    int table_size;
    struct coir__sim_socket *fired, **fired_tail;
    struct coir__sim_stream *streams;
    struct coir__sim_datagram *datagrams;
};

struct coir__sim {
    coir_hub *hub;
    coir_loop *loop;
    coir_coro *runner; /* that called coir_sim_run() */
    coir_coro program; /* where the main green thread runs */
    coir_green_fn *fn;
    void *arg;
    coir_sim_options options;
    coir__clock clock;
    int64_t now_ns;

    /* schedule.c */
    coir_green **ready; /* taken from the hub's queue, in no order */
    size_t ready_count;
    size_t ready_size;
    coir_green *last; /* that was switched to */
    uint64_t spawned;
    int order;        /* enum coir__sim_order */
    unsigned preempt; /* chances: that a call that need not wait yields, */
    unsigned change;  /* and that the priority of one that yields falls */
    int64_t lowest;   /* priority so far */

    /* A stream of numbers for each, so that what one of them draws leaves the
     * others' decisions as they are. */
    coir__random choices, times, network, numbers;

    int failed;
    int is_stuck; /* nothing can happen any more */
    struct coir__sim_network net;
    coir_sim_report report;
};

/* Something was decided: a number for the hash, and a line for the trace. */
void coir__sim_decided(coir__sim *sim, uint64_t value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One step more; the run may fail, and not return. */
void coir__sim_step(coir__sim *sim);

/* This thread's, NULL if there is none. */
coir__sim *coir__sim_here(void);

/* host.c, wire.c, socket.c: the network. */
void coir__sim_network_init(coir__sim *sim);
void coir__sim_network_fini(coir__sim *sim);
/* Tell the loop what has become ready. Returns whether there was anything. */
int coir__sim_network_tell(coir__sim *sim);
/* As the backend's. */
int coir__sim_network_modify(coir__sim *sim, int fd, int events);

/* schedule.c */
int coir__sim_schedule_init(coir__sim *sim); /* 0 or COIR_ENOMEM */
void coir__sim_schedule_fini(coir__sim *sim);

#endif
