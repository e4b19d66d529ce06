/* gate_helper.h - calls of a pool that last until a gate is opened. */
#ifndef COIR_TEST_GATE_HELPER_H
#define COIR_TEST_GATE_HELPER_H

#include <coir/pool.h>
#include <coir/sync.h>

static coir_semaphore begun, gate;

/* What is called: says that it has begun, and waits. */
static inline int
pass_gate(void *arg)
{
    (void)arg;
    coir_semaphore_release(&begun, 1);
    return coir_semaphore_acquire(&gate, COIR_FOREVER);
}

/* A green thread that keeps a thread of the pool busy with that. */
static inline int
occupy(void *pool)
{
    return coir_blocking(pool, pass_gate, NULL, NULL, NULL, COIR_FOREVER);
}

#endif
