/* semaphore.c - a count, of which one is taken at a time.
 *
 * While somebody waits the count is 0: what is released goes to the first who
 * waits, and nobody who comes later can be quicker. */
#include "sync/waitq.h"

void
coir_semaphore_init(coir_semaphore *s, unsigned count)
{
    *s = (coir_semaphore)COIR_SEMAPHORE_INIT(count);
}

/* It is read without the lock, too. */
static inline void
set_count(coir_semaphore *s, unsigned count)
{
    __atomic_store_n(&s->count, count, __ATOMIC_RELAXED);
}

int
coir__semaphore_try(coir_semaphore *s, int looks)
{
    if (s->count == 0)
        return COIR__MUST_WAIT;
    if (!looks)
        set_count(s, s->count - 1);
    return 0;
}

int
coir_semaphore_acquire(coir_semaphore *s, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    coir__waitq_lock(&s->queue);
    if (coir__likely(s->count > 0)) {
        set_count(s, s->count - 1);
        coir__waitq_unlock(&s->queue);
        return 0;
    }
    void *none = NULL;
    return coir__waitq_wait(&s->queue, s, "semaphore", &none, 0, timeout_ns);
}

void
coir_semaphore_release(coir_semaphore *s, unsigned count)
{
    coir__wakes wakes = {NULL, NULL};
    coir_waiter *w;
    coir__waitq_lock(&s->queue);
    while (count > 0 && (w = coir__waitq_pop(&s->queue)) != NULL) {
        count -= !w->variant;
        coir__wakes_add(&wakes, w);
    }
    set_count(s, s->count + count);
    coir__waitq_unlock(&s->queue);
    coir__wake(&wakes);
}

unsigned
coir_semaphore_count(const coir_semaphore *s)
{
    return __atomic_load_n(&s->count, __ATOMIC_RELAXED);
}
