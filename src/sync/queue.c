/* queue.c - a bounded queue of pointers; without room for any, a channel.
 *
 * Somebody waits to get only while it is empty, and to put only while it is
 * full. So an item is handed to the first who waits to get, and room to the
 * first who waits to put, by whoever makes it: what they wait for has happened
 * before they run. */
#include "sync/waitq.h"

int
coir_queue_init(coir_queue *q, unsigned capacity)
{
    if (capacity > 1U << 30)
        return COIR_EINVAL;
    void **items = NULL;
    if (capacity > 0) {
        items = coir_malloc(capacity * sizeof *items);
        if (items == NULL)
            return COIR_ENOMEM;
    }
    *q = (coir_queue){.items = items, .capacity = capacity};
    return 0;
}

void
coir_queue_fini(coir_queue *q)
{
    coir_free(q->items);
    q->items = NULL;
}

static void
append(coir_queue *q, void *item)
{
    unsigned tail = q->head + q->count;
    __atomic_store_n(&q->count, q->count + 1, __ATOMIC_RELAXED);
    q->items[tail < q->capacity ? tail : tail - q->capacity] = item;
}

static void *
take(coir_queue *q)
{
    void *item = q->items[q->head];
    __atomic_store_n(&q->count, q->count - 1, __ATOMIC_RELAXED);
    if (++q->head == q->capacity)
        q->head = 0;
    return item;
}

/* With the queue locked, which this unlocks: wait in one of its lists. */
static int
wait_in(coir_queue *q, coir_waitq *list, const char *what, void **value,
        int64_t timeout_ns)
{
    coir__caller caller = coir__caller_get();
    coir_waiter own;
    int err;
    coir_waiter *w = coir__waitq_append_to(list, &q->getters, &caller, &own,
                                           timeout_ns, &err);
    if (w != NULL)
        w->value = *value;
    coir__waitq_unlock(&q->getters);
    if (w == NULL)
        return err;
    err = coir__waitq_block(w, what, q, timeout_ns);
    if (err == 0)
        *value = w->value;
    return err;
}

int
coir_queue_put(coir_queue *q, void *item, int64_t timeout_ns)
{
    coir__waitq_lock(&q->getters);
    coir_waiter *getter = NULL;
    int err = 0;
    if (q->closed)
        err = COIR_ECLOSED;
    else if ((getter = coir__waitq_pop(&q->getters)) != NULL)
        getter->value = item;
    else if (q->count < q->capacity)
        append(q, item);
    else
        return wait_in(q, &q->putters, "queue, to put", &item, timeout_ns);
    coir__waitq_unlock(&q->getters);
    if (getter != NULL)
        coir__waiter_wake(getter);
    return err;
}

int
coir_queue_get(coir_queue *q, void **item, int64_t timeout_ns)
{
    coir__waitq_lock(&q->getters);
    coir_waiter *putter = NULL;
    void *got = NULL;
    int err = 0;
    if (q->count > 0) {
        got = take(q);
        putter = coir__waitq_pop(&q->putters);
        if (putter != NULL)
            append(q, putter->value);
    }
    else if ((putter = coir__waitq_pop(&q->putters)) != NULL)
        got = putter->value;
    else if (q->closed)
        err = COIR_ECLOSED;
    else
        return wait_in(q, &q->getters, "queue, to get", item, timeout_ns);
    coir__waitq_unlock(&q->getters);
    if (putter != NULL)
        coir__waiter_wake(putter);
    if (err == 0)
        *item = got;
    return err;
}

void
coir_queue_close(coir_queue *q)
{
    coir__waitq_lock(&q->getters);
    q->closed = 1;
    coir_waiter *lists[2] = {coir__waitq_pop_all(&q->getters),
                             coir__waitq_pop_all(&q->putters)};
    coir__waitq_unlock(&q->getters);
    for (int i = 0; i < 2; i++) {
        for (coir_waiter *w = lists[i]; w != NULL; w = w->next)
            w->result = COIR_ECLOSED;
        coir__waiter_wake_all(lists[i]);
    }
}

unsigned
coir_queue_count(const coir_queue *q)
{
    return __atomic_load_n(&q->count, __ATOMIC_RELAXED);
}
