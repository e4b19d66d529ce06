/* group.c - waiting for several: barriers, wait groups; and what is to be done
 * once. */
#include "sync/waitq.h"

#include <assert.h>

/* --- barriers: who waits has come ---------------------------------------- */

void
coir_barrier_init(coir_barrier *b, unsigned parties)
{
    *b = (coir_barrier)COIR_BARRIER_INIT(parties);
}

int
coir_barrier_wait(coir_barrier *b, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    coir__wakes wakes = {NULL, NULL};
    void *none = NULL;
    coir__waitq_lock(&b->queue);
    if (b->queue.count + 1 < b->parties)
        return coir__waitq_wait(&b->queue, b, "barrier", &none, 0, timeout_ns);
    coir__waitq_pop_all(&b->queue, &wakes, 0);
    coir__waitq_unlock(&b->queue);
    coir__wake(&wakes);
    return 1;
}

/* --- wait groups --------------------------------------------------------- */

void
coir_group_init(coir_group *g, unsigned count)
{
    *g = (coir_group)COIR_GROUP_INIT(count);
}

void
coir_group_add(coir_group *g, unsigned count)
{
    coir__waitq_lock(&g->queue);
    assert(count <= UINT32_MAX - g->count);
    __atomic_store_n(&g->count, g->count + count, __ATOMIC_RELAXED);
    coir__waitq_unlock(&g->queue);
}

int
coir_group_done(coir_group *g)
{
    coir__wakes wakes = {NULL, NULL};
    coir__waitq_lock(&g->queue);
    int err = g->count > 0 ? 0 : COIR_EINVAL;
    if (err == 0)
        __atomic_store_n(&g->count, g->count - 1, __ATOMIC_RELAXED);
    if (g->count == 0)
        coir__waitq_pop_all(&g->queue, &wakes, 0);
    coir__waitq_unlock(&g->queue);
    coir__wake(&wakes);
    return err;
}

int
coir__group_try(coir_group *g)
{
    return g->count == 0 ? 0 : COIR__MUST_WAIT;
}

int
coir_group_wait(coir_group *g, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    void *none = NULL;
    /* With the lock: who sees that it is done is to see all of it, and the
     * group may go then. */
    coir__waitq_lock(&g->queue);
    if (g->count > 0)
        return coir__waitq_wait(&g->queue, g, "group", &none, 0, timeout_ns);
    coir__waitq_unlock(&g->queue);
    return 0;
}

unsigned
coir_group_count(const coir_group *g)
{
    return __atomic_load_n(&g->count, __ATOMIC_RELAXED);
}

/* --- once ---------------------------------------------------------------- */

int
coir_call_once(coir_once_flag *o, int (*fn)(void *arg), void *arg)
{
    if (coir__likely(__atomic_load_n(&o->done, __ATOMIC_ACQUIRE)))
        return 0;
    int err = coir_mutex_lock(&o->mutex, COIR_FOREVER);
    if (err < 0)
        return err;
    if (!o->done) {
        err = fn(arg);
        if (err >= 0) {
            __atomic_store_n(&o->done, 1, __ATOMIC_RELEASE);
            err = 0;
        }
    }
    (void)coir_mutex_unlock(&o->mutex);
    return err;
}
