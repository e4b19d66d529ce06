/* semaphore.c - a count, of which one is taken at a time.
 *
 * While somebody waits the count is 0: what is released goes to the first who
 * waits, and nobody who comes later can be quicker. */
#include "sync/waitq.h"

#include <assert.h>

void
coir_semaphore_init(coir_semaphore *s, unsigned count)
{
    *s = (coir_semaphore)COIR_SEMAPHORE_INIT(count);
}

int
coir_semaphore_acquire(coir_semaphore *s, int64_t timeout_ns)
{
    coir__waitq_lock(&s->queue);
    if (coir__likely(s->count > 0)) {
        assert(s->queue.head == NULL);
        __atomic_store_n(&s->count, s->count - 1, __ATOMIC_RELAXED);
        coir__waitq_unlock(&s->queue);
        return 0;
    }
    coir__caller caller = coir__caller_get();
    return coir__waitq_wait(&s->queue, &caller, "semaphore", s, timeout_ns);
}

void
coir_semaphore_release(coir_semaphore *s, unsigned count)
{
    coir_waiter *list = NULL, **tail = &list;
    coir__waitq_lock(&s->queue);
    for (; count > 0; count--) {
        coir_waiter *w = coir__waitq_pop(&s->queue);
        if (w == NULL)
            break;
        *tail = w;
        tail = &w->next;
    }
    *tail = NULL;
    __atomic_store_n(&s->count, s->count + count, __ATOMIC_RELAXED);
    coir__waitq_unlock(&s->queue);
    coir__waiter_wake_all(list);
}

unsigned
coir_semaphore_count(const coir_semaphore *s)
{
    return __atomic_load_n(&s->count, __ATOMIC_RELAXED);
}
