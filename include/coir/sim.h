/* coir/sim.h - simulation: the same program, deterministic from a seed.
 *
 *     static int
 *     program(void *arg)
 *     {
 *         ... coir_spawn(), coir_mutex_lock(), coir_sleep(), ...
 *         COIR_SIM_CHECK(balance == 100);
 *         return 0;
 *     }
 *
 *     coir_sim_search(program, NULL, 1000, NULL, NULL);
 *
 * runs the program a thousand times, each time with another seed. In a
 * simulation the seed decides which of the ready green threads runs next, and
 * where calls that may wait let others run though they need not. Time is
 * virtual: when nothing is ready the clock jumps to the next timer, so that an
 * hour's sleep takes none. A run that fails is told with its seed, and that
 * seed does the same again, step by step:
 *
 *     COIR_SIM_SEED=37 ./program      with COIR_SIM_TRACE=1: say every step
 *
 * A run fails if the program returns a negative value, if a check fails, or if
 * it takes too many steps. (Where no green thread can ever run again the main
 * one's wait ends with COIR_EDEADLK, as elsewhere.)
 *
 * To be deterministic the program must not look at anything else: no files or
 * random numbers of the system, no other OS threads, forks or signals, no
 * addresses taken as numbers; clocks are those of coir/loop.h. And each run
 * has to begin alike, so what is static is to be set anew.
 *
 * Owner:   when the program returns, or fails, what it has left is dropped:
 *          green threads are not cancelled, their stacks not unwound. Memory
 *          that is theirs is lost, so a program that is to be run many times
 *          joins what it spawns.
 * Threads: a simulation is of the OS thread that began it; several threads may
 *          have one each.
 * Blocks:  coir_sim_run(), coir_sim_search(): the OS thread. */
#ifndef COIR_SIM_H
#define COIR_SIM_H

#include <coir/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How often, of COIR_SIM_ALWAYS times. */
#define COIR_SIM_ALWAYS 10000

enum coir_sim_flags {
    COIR_SIM_TRACE = 1, /* say every step on stderr */
    COIR_SIM_TWICE = 2, /* coir_sim_search(): run each seed twice, and fail
                           if the second run differs from the first */
    COIR_SIM_QUIET = 4  /* do not say on stderr what failed */
};

/* 0 in any of them: what the seed chooses, or a default. */
typedef struct coir_sim_options {
    uint64_t seed; /* the first one, of coir_sim_search() */
    unsigned flags;
    unsigned preempt;   /* how often a call that need not wait lets others
                           run; more than always: never */
    int64_t step_ns;    /* a step takes so long at most; 0: 1 us; negative:
                           no time */
    int64_t late_ns;    /* so much too late may a timer be; 0: 100 us;
                           negative: never */
    uint64_t max_steps; /* 0: 1,000,000 */
    size_t stack_size;  /* of the main green thread; 0: 256 KiB */
} coir_sim_options;

typedef struct coir_sim_report {
    uint64_t seed;
    uint64_t hash;  /* of all that was decided: equal for equal runs */
    uint64_t steps; /* how often a green thread was switched to */
    int64_t time_ns;
    int result;        /* what the program returned */
    char message[240]; /* why it failed, "" if it did not */
} coir_sim_report;

/* Run the program in the main green thread of a simulation. `options` NULL:
 * all 0; `report` may be NULL. Returns 0; 1 if it failed; COIR_EBUSY if this
 * thread has a hub already, COIR_ENOMEM, COIR_EINVAL: it did not run. */
COIR_API int coir_sim_run(coir_green_fn *program, void *arg,
                          const coir_sim_options *options,
                          coir_sim_report *report);

/* Run it with `runs` seeds, from options->seed on, until a run fails; the
 * report is of the last one. The environment may ask for other than that:
 * COIR_SIM_RUNS for so many, COIR_SIM_SEED for one seed only, COIR_SIM_TRACE=1
 * for COIR_SIM_TRACE. Returns as coir_sim_run(). */
COIR_API int coir_sim_search(coir_green_fn *program, void *arg, uint64_t runs,
                             const coir_sim_options *options,
                             coir_sim_report *report);

/* Is the caller in a simulation? */
COIR_API int coir_sim_active(void);

/* --- for the program ----------------------------------------------------- */

/* The run has failed, and ends here. Outside of simulations: print the message
 * and abort. */
COIR_API __attribute__((noreturn, format(printf, 1, 2))) void
coir_sim_fail(const char *format, ...);

#define COIR_SIM_CHECK(condition)                                             \
    do {                                                                      \
        if (!(condition))                                                     \
            coir_sim_fail("%s:%d: %s", __FILE__, __LINE__, #condition);       \
    } while (0)

/* A number from the seed; outside of simulations, from the system. */
COIR_API uint64_t coir_sim_random(void);
/* One from 0 to limit - 1; 0 if `limit` is. */
COIR_API uint64_t coir_sim_random_below(uint64_t limit);

/* In a simulation others may run here, as in a call that may wait; elsewhere
 * it does nothing. Between two accesses to memory it shows what others would
 * see if one of these accesses waited, as it may some day. */
COIR_API void coir_sim_point(void);

/* Into the trace, and its hash: that runs differ here shows what is not
 * deterministic. Outside of simulations it does nothing. */
COIR_API __attribute__((format(printf, 1, 2))) void
coir_sim_note(const char *format, ...);

/* --- the network --------------------------------------------------------- */

/* Sockets that are made in a simulation belong to it: they reach each other,
 * and nothing else. Each is of the host on which the green thread was that
 * made it. Hosts have addresses, from 10.0.0.1 and fd00::1 on in the order in
 * which they are first named; or that which is their name, if it is one.
 * 127.0.0.1 and ::1 are the host itself; names of the family AF_UNIX are each
 * host's own. */

/* The running green thread is on this host from now on, and those that it
 * spawns; before that, on "localhost". COIR_EINVAL: not in a simulation, or no
 * name; COIR_ENOMEM. */
COIR_API int coir_sim_host(const char *name);

/* Of a host, as text; `family` is AF_INET or AF_INET6. NULL: as above. */
COIR_API const char *coir_sim_address(const char *host, int family);

/* What happens on the way from one host to another. */
typedef struct coir_sim_link {
    int64_t delay_ns;    /* at least, */
    int64_t jitter_ns;   /* and so much more at most */
    int64_t bytes_per_s; /* 0: any number */
    size_t buffer;       /* a stream's, for what was not read yet; 0: what the
                            seed chooses */
    /* How often, of COIR_SIM_ALWAYS times, ... */
    unsigned drop;      /* a datagram is lost, a piece of a stream is late */
    unsigned duplicate; /* a datagram comes twice */
    unsigned reset;     /* a piece of a stream resets its connection */
} coir_sim_link;

/* From `from` to `to`, in this direction; NULL: from, or to, any host, for
 * which nothing else was said. Without it the seed chooses delays, and nothing
 * is lost. Returns as coir_sim_host(). */
COIR_API int coir_sim_set_link(const char *from, const char *to,
                               const coir_sim_link *link);

/* Nothing passes between two hosts, or does again: datagrams are lost, streams
 * wait, for some minutes. NULL: any other host. */
COIR_API int coir_sim_set_parted(const char *a, const char *b, int parted);

/* Reset the connections that there are between two hosts; NULL: any. */
COIR_API int coir_sim_reset(const char *a, const char *b);

#ifdef __cplusplus
}
#endif

#endif
