/* coir/pool.h - blocking calls on OS threads, while the green threads go on.
 *
 *     static int
 *     sum_up(void *arg)
 *     {
 *         ... a call that blocks, or a lot of work ...
 *         return 0;
 *     }
 *
 *     int result;
 *     coir_blocking(NULL, sum_up, &args, NULL, &result, COIR_FOREVER);
 *
 * The calls go to a pool of threads. There are three for the whole process,
 * the lanes, so that slow look-ups of names keep nobody from the files; more
 * can be made. Each starts threads as they are needed, up to its limit; those
 * that have had nothing to do for a while end.
 *
 * A thread that has no hub makes the call itself. So does a call on a thread
 * of a pool, as long as it uses no green threads there; and when it does, and
 * waits for another call, its pool may have one thread more meanwhile: calls
 * that make calls do not use up the threads that they wait for.
 *
 * Owner:   see coir_blocking() about `arg`. A pool lives until
 *          coir_pool_free(), the lanes for ever.
 * Threads: any. Those of a pool have all signals blocked but those of faults.
 *          When the process exits they are not waited for.
 * Forks:   the child has pools without threads, which start anew. The calls
 *          that were begun or queued are the parent's; in the child nothing
 *          comes of them, nor is `drop` called.
 * Blocks:  what takes a timeout.
 * Errors:  0 or a negative COIR_E* error. */
#ifndef COIR_POOL_H
#define COIR_POOL_H

#include <coir/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_pool coir_pool;

/* What is called on a thread of the pool; what it returns is the result. It
 * may wait as anybody may: it is a thread without a hub, which can make one.
 * Green threads that it leaves behind are abandoned when the thread ends. */
typedef int coir_blocking_fn(void *arg);

enum coir_lane {
    COIR_LANE_USER, /* the program's own calls */
    COIR_LANE_FILE, /* coir/file.h */
    COIR_LANE_DNS   /* coir/dns.h */
};

/* A pool that the process has always. */
COIR_API coir_pool *coir_pool_lane(enum coir_lane lane);

/* Call fn(arg) on a thread of `pool` (NULL: COIR_LANE_USER) and wait until it
 * has returned. 0: it has, and `*result` is what it returned, if `result` is
 * not NULL. Else it was not called, or it is left to itself: COIR_ETIMEDOUT,
 * COIR_ECANCELED; COIR_ENOMEM; COIR_ECLOSED; what pthread_create() said, as
 * COIR_ERRNO(), if there is no thread at all; COIR_EINVAL in a callback of the
 * loop or the hub.
 *
 * drop(arg), for calls that may be left to themselves, is called after any
 * error: once fn has returned, by the pool's thread, or now, if fn is not
 * called. So `arg` is the caller's again with 0, and drop's with an error. It
 * must not lie on the caller's stack.
 *
 * `drop` NULL, for the others: once fn has begun the wait lasts until it
 * returns, whatever timeouts and cancels say, and is successful. So `arg` is
 * the caller's in any case. It may lie on the stack, but for a green thread of
 * COIR_POLICY_SLICE. */
COIR_API int coir_blocking(coir_pool *pool, coir_blocking_fn *fn, void *arg,
                           void (*drop)(void *arg), int *result,
                           int64_t timeout_ns);

/* --- pools --------------------------------------------------------------- */

typedef struct coir_pool_attr {
    const char *name;     /* of its threads: the first 15 bytes; copied */
    unsigned max_threads; /* 0: 32 */
    int64_t idle_ns;      /* after which a thread ends; 0: 5 s */
    size_t stack_size;    /* of its threads; 0: the system's default */
} coir_pool_attr;

/* A pool of one's own. `attr` NULL for the defaults. COIR_ENOMEM;
 * COIR_EINVAL. */
COIR_API int coir_pool_new(coir_pool **out, const coir_pool_attr *attr);

/* Take no calls any more, answer those not begun with COIR_ECLOSED, wait until
 * those begun have returned and the threads have ended, then free the pool.
 * If the wait fails it is closed, but to be freed by another try. NULL is
 * ignored. COIR_EINVAL: a lane, or on a thread of this pool. */
COIR_API int coir_pool_free(coir_pool *pool, int64_t timeout_ns);

/* The same for the lanes, which are as new afterwards: before the library is
 * unloaded, say. */
COIR_API int coir_pool_fini(int64_t timeout_ns);

/* At most so many threads, at least 1. Those that are too many end when they
 * have done. */
COIR_API void coir_pool_set_limit(coir_pool *pool, unsigned max_threads);

typedef struct coir_pool_stats {
    unsigned max_threads;
    unsigned threads;   /* there are */
    unsigned running;   /* of them have a call */
    unsigned queued;    /* calls that wait for a thread */
    int64_t oldest_ns;  /* how long the first of these has waited */
    int64_t longest_ns; /* how long any has waited for its thread */
    uint64_t done;      /* calls that have returned */
    uint64_t dropped;   /* of those, by then nobody waited for so many */
    uint64_t refused;   /* times that a thread could not be had */
} coir_pool_stats;

/* `pool` NULL: COIR_LANE_USER. */
COIR_API void coir_pool_get_stats(coir_pool *pool, coir_pool_stats *out);

#ifdef __cplusplus
}
#endif

#endif
