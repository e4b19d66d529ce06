/* coir/look.h - seeing inside: who waits for what, and where.
 *
 *     coir_dump(STDERR_FILENO);
 *
 * prints all green threads of this OS thread: what each waits for, who holds
 * that, for how long, where it was spawned, and its stack of calls. The same
 * can be had piece by piece, for programs.
 *
 * Owner:   what is told about a green thread is a copy, but for strings, which
 *          are static or borrowed as they were from coir_green_attr.
 * Threads: a hub is looked at by its own thread: for another one, see
 *          coir_hub_post(). Not for signal handlers.
 * Blocks:  nothing here waits. A dump reads symbol tables: milliseconds.
 * Errors:  0 or a negative COIR_E* error. */
#ifndef COIR_LOOK_H
#define COIR_LOOK_H

#include <coir/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What can be told about a green thread. */
typedef struct coir_green_info {
    uint64_t id;      /* in its hub, never used again; the main one has 1 */
    const char *name; /* or "" */
    int state;        /* enum coir_green_state */
    int is_main;
    int is_detached;
    int is_cancelled;
    /* While it waits: */
    const char *what;   /* it waits for; else "" */
    const void *object; /* the same, by address; or NULL */
    int64_t waiting_ns; /* for so long */
    int64_t left_ns;    /* until its deadline; COIR_FOREVER: it has none */
    /* How it began; 0 and NULL of the main one: */
    uint64_t spawner;       /* id of the one that spawned it; 0: a callback */
    const void *spawned_at; /* code address behind the call */
    coir_green_fn *fn;
    size_t stack_size; /* 0: that of the OS thread */
    size_t stack_used; /* 0 of the running one */
} coir_green_info;

/* Of this thread. */
COIR_API void coir_green_get_info(const coir_green *g, coir_green_info *info);

/* Call `fn` for each green thread of this thread, the main one first, until it
 * returns other than 0, and return that; else 0. It must not wait, spawn, join
 * or detach. */
COIR_API int coir_green_each(int (*fn)(coir_green *g, void *arg), void *arg);

/* The code addresses of the calls that it is in, the innermost first, at most
 * `size` of them. Returns how many there are in `addresses`: 0 if it has not
 * begun or has ended, if its stack is a slice that is not in its place now, or
 * if this build cannot unwind (ucontext). */
COIR_API int coir_green_backtrace(const coir_green *g, const void **addresses,
                                  int size);

/* Print all green threads of this thread, and cycles of those who wait for
 * each other. */
COIR_API void coir_dump(int fd);

/* --- deadlocks ----------------------------------------------------------- */

enum coir_deadlock_mode {
    COIR_DEADLOCK_AUTO, /* when it is certain */
    COIR_DEADLOCK_IDLE, /* whenever nothing is ready and the loop has no
                           watchers: no other thread and no signal handler is
                           expected to wake anybody */
    COIR_DEADLOCK_NEVER
};

/* When all who could go on wait for ever it is reported on stderr, and the
 * main green thread's wait fails with COIR_EDEADLK. It is certain when all OS
 * threads of the process have hubs of which that holds, or are without a hub
 * in a wait of coir/sync.h that has no limit, and no signal has a handler,
 * which might use coir_hub_post(). */
COIR_API void coir_hub_set_deadlock(coir_hub *hub, int mode);

/* --- watchdog ------------------------------------------------------------ */

enum { COIR_BLOCK_FRAMES = 32 };

/* A green thread, or a callback of a loop, that does not let the others of
 * its OS thread run. */
typedef struct coir_block {
    int tid;            /* of the OS thread */
    int is_over;        /* it lets them run again; was reported before */
    int64_t blocked_ns; /* so far */
    int64_t cpu_ns;     /* of that, what it spent on a processor */
    /* As in coir_green_info; id 0: a callback, or not known. */
    uint64_t id;
    char name[32]; /* its beginning */
    uint64_t spawner;
    const void *spawned_at;
    coir_green_fn *fn;
    /* Its calls, as in coir_green_backtrace(); none if it is over. */
    int count;
    const void *addresses[COIR_BLOCK_FRAMES];
} coir_block;

typedef struct coir_watchdog_attr {
    int signum; /* sent to the OS thread for its backtrace; 0: a real-time
                   signal that nobody handles; -1: none, no backtraces */
    /* Called in the watchdog's own thread, where it must not use what waits;
     * NULL: print it on stderr. */
    void (*report)(const coir_block *block, void *arg);
    void *arg;
} coir_watchdog_attr;

/* Watch all hubs of the process, from a thread of its own: who keeps the
 * others from running for longer than limit_ns is reported, once, and once
 * more when that is over. A hub that is at rest is not looked at, nor one that
 * has nothing to run but who runs. The signal makes system calls that cannot
 * be restarted fail with EINTR. attr NULL for the defaults. At most one.
 * With COIR_WATCHDOG_MS=n in the environment it is started for the first hub.
 * Not in the child of a fork: there it may be started again.
 * COIR_EINVAL: less than a millisecond, or a signal that cannot be had;
 * COIR_EBUSY: there is one, or the signal has a handler; COIR_ENOMEM. */
COIR_API int coir_watchdog_start(int64_t limit_ns,
                                 const coir_watchdog_attr *attr);
/* Waits for its thread. Not from its own callback. */
COIR_API void coir_watchdog_stop(void);

#ifdef __cplusplus
}
#endif

#endif
