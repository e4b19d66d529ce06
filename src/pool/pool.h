/* pool.h - jobs of a pool, for the layers above it. See pool.c. */
#ifndef COIR__POOL_POOL_H
#define COIR__POOL_POOL_H

#include <coir/pool.h>

/* In memory of whoever submits it, until `run` is called or it was withdrawn.
 */
typedef struct coir__job {
    struct coir__job *next, *prev;
    coir_pool *pool; /* NULL: not in a queue */
    int64_t since_ns;
    /* Called once: on a thread of the pool with 0; or on another one with the
     * reason why there will be none. Must not wait then. */
    void (*run)(struct coir__job *job, int err);
} coir__job;

/* Have it run. An error: it will not be. */
int coir__pool_submit(coir_pool *pool, coir__job *job);

/* Take it back. Returns whether that was in time: it will not be run. */
int coir__pool_withdraw(coir_pool *pool, coir__job *job);

#endif
