/* event.c - a flag to wait for. */
#include "sync/waitq.h"

void
coir_event_init(coir_event *e)
{
    *e = (coir_event)COIR_EVENT_INIT;
}

void
coir_event_set(coir_event *e)
{
    coir__wakes wakes = {NULL, NULL};
    coir__waitq_lock(&e->queue);
    __atomic_store_n(&e->set, 1, __ATOMIC_RELEASE);
    coir__waitq_pop_all(&e->queue, &wakes, 0);
    coir__waitq_unlock(&e->queue);
    coir__wake(&wakes);
}

void
coir_event_clear(coir_event *e)
{
    /* What the caller looks at after this must not be older than this: one who
     * sets it says so first, and would be missed. A store would not do. */
    if (coir__single_threaded())
        e->set = 0;
    else
        (void)__atomic_exchange_n(&e->set, 0, __ATOMIC_SEQ_CST);
}

int
coir_event_is_set(const coir_event *e)
{
    return __atomic_load_n(&e->set, __ATOMIC_ACQUIRE);
}

int
coir__event_try(coir_event *e)
{
    return coir_event_is_set(e) ? 0 : COIR__MUST_WAIT;
}

int
coir_event_wait(coir_event *e, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    /* Not while it is being set: it may go once we return. */
    if (coir_event_is_set(e) &&
        !(__atomic_load_n(&e->queue.lock, __ATOMIC_ACQUIRE) & 1))
        return 0;
    coir__waitq_lock(&e->queue);
    if (coir_event_is_set(e)) {
        coir__waitq_unlock(&e->queue);
        return 0;
    }
    void *none = NULL;
    return coir__waitq_wait(&e->queue, e, "event", &none, 0, timeout_ns);
}
