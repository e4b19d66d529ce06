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
    coir__waitq_lock(&e->queue);
    __atomic_store_n(&e->set, 1, __ATOMIC_RELEASE);
    coir_waiter *list = coir__waitq_pop_all(&e->queue);
    coir__waitq_unlock(&e->queue);
    coir__waiter_wake_all(list);
}

void
coir_event_clear(coir_event *e)
{
    coir__waitq_lock(&e->queue);
    __atomic_store_n(&e->set, 0, __ATOMIC_RELAXED);
    coir__waitq_unlock(&e->queue);
}

int
coir_event_is_set(const coir_event *e)
{
    return __atomic_load_n(&e->set, __ATOMIC_ACQUIRE);
}

int
coir_event_wait(coir_event *e, int64_t timeout_ns)
{
    if (coir_event_is_set(e))
        return 0;
    coir__caller caller = coir__caller_get();
    coir__waitq_lock(&e->queue);
    if (e->set) {
        coir__waitq_unlock(&e->queue);
        return 0;
    }
    return coir__waitq_wait(&e->queue, &caller, "event", e, timeout_ns);
}
