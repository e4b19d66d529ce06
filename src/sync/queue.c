/* queue.c - a queue of pointers; without room for any, a channel.
 *
 * Somebody waits to get only while it is empty, and to put only while it is
 * full. So an item is handed to the first who waits to get, and room to the
 * first who waits to put, by whoever makes it: what they wait for has happened
 * before they run.
 *
 * The items lie in a ring, which is as large as the capacity, so that to put
 * needs no memory; that of an unbounded queue is doubled when it is full. What
 * is to be allocated is so without the lock, for a ring of the size that was
 * seen: if it is another one by then, the work was in vain. */
#include "sync/waitq.h"

#include <string.h>

#define CAPACITY_MAX (1U << 30)
#define FIRST_SIZE 16

/* It is read without the lock, too. */
static inline void
set_count(coir_queue *q, unsigned count)
{
    __atomic_store_n(&q->count, count, __ATOMIC_RELAXED);
}

/* --- the ring ------------------------------------------------------------ */

static inline void
append(coir_queue *q, void *item)
{
    unsigned tail = q->head + q->count;
    q->items[tail < q->size ? tail : tail - q->size] = item;
    set_count(q, q->count + 1);
}

static inline void
prepend(coir_queue *q, void *item)
{
    q->head = (q->head > 0 ? q->head : q->size) - 1;
    q->items[q->head] = item;
    set_count(q, q->count + 1);
}

static inline void *
take(coir_queue *q)
{
    void *item = q->items[q->head];
    if (++q->head == q->size)
        q->head = 0;
    set_count(q, q->count - 1);
    return item;
}

int
coir__queue_grow(coir_queue *q, unsigned size)
{
    coir__waitq_lock(&q->getters);
    unsigned old_size = q->size;
    coir__waitq_unlock(&q->getters);
    if (size <= old_size)
        size = old_size >= FIRST_SIZE ? 2 * old_size : FIRST_SIZE;
    if (size > CAPACITY_MAX)
        return COIR_ENOMEM;
    void **items = coir_malloc(size * sizeof *items);
    if (items == NULL)
        return COIR_ENOMEM;
    coir__waitq_lock(&q->getters);
    void **unused = items;
    if (q->size == old_size) {
        unsigned to_end = q->size - q->head;
        if (to_end > q->count)
            to_end = q->count;
        if (q->count > 0) {
            memcpy(items, q->items + q->head, to_end * sizeof *items);
            memcpy(items + to_end, q->items,
                   (q->count - to_end) * sizeof *items);
        }
        unused = q->items;
        q->items = items;
        q->size = size;
        q->head = 0;
    }
    coir__waitq_unlock(&q->getters);
    coir_free(unused);
    return 0;
}

/* --- with the lock held -------------------------------------------------- */

static inline int
try_put(coir_queue *q, void *item, int front, coir__wakes *wakes)
{
    if (q->closed)
        return COIR_ECLOSED;
    /* First, as those who peek are not to see what is not put after all. */
    if (coir__unlikely(q->count == q->size && q->count < q->capacity))
        return COIR__MUST_GROW;
    coir_waiter *w;
    while ((w = coir__waitq_pop(&q->getters)) != NULL) {
        w->value = item;
        coir__wakes_add(wakes, w);
        if (!w->variant)
            return 0;
    }
    if (q->count >= q->capacity)
        return COIR__MUST_WAIT;
    if (front)
        prepend(q, item);
    else
        append(q, item);
    return 0;
}

/* Their list has no lock of its own. */
static inline coir_waiter *
pop_putter(coir_queue *q)
{
    if (q->putters.head == NULL)
        return NULL;
    coir__waitq_check(&q->putters);
    return coir__waitq_pop(&q->putters);
}

/* Room is for those who wait for it. */
static void
let_put(coir_queue *q, coir__wakes *wakes)
{
    coir_waiter *w;
    while (q->count < q->capacity && q->count < q->size &&
           (w = pop_putter(q)) != NULL) {
        if (w->variant)
            prepend(q, w->value);
        else
            append(q, w->value);
        coir__wakes_add(wakes, w);
    }
}

static inline int
try_get(coir_queue *q, void **item, coir__wakes *wakes)
{
    if (q->count > 0) {
        *item = take(q);
        if (coir__unlikely(q->putters.head != NULL))
            let_put(q, wakes);
        return 0;
    }
    coir_waiter *w = pop_putter(q);
    if (w == NULL)
        return q->closed ? COIR_ECLOSED : COIR__MUST_WAIT;
    *item = w->value;
    coir__wakes_add(wakes, w);
    return 0;
}

int
coir__queue_try_put(coir_queue *q, void *item, coir__wakes *wakes)
{
    return try_put(q, item, 0, wakes);
}

int
coir__queue_try_get(coir_queue *q, void **item, coir__wakes *wakes)
{
    return try_get(q, item, wakes);
}

int
coir__queue_try_peek(coir_queue *q, void **item)
{
    if (q->capacity == 0)
        return COIR_EINVAL;
    if (q->count == 0)
        return q->closed ? COIR_ECLOSED : COIR__MUST_WAIT;
    *item = q->items[q->head];
    return 0;
}

/* --- operations ---------------------------------------------------------- */

static inline int
put(coir_queue *q, void *item, int front, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    for (;;) {
        coir__wakes wakes = {NULL, NULL};
        coir__waitq_lock(&q->getters);
        int err = try_put(q, item, front, &wakes);
        if (err == COIR__MUST_WAIT) {
            coir__waitq_check(&q->putters);
            return coir__waitq_wait(&q->putters, q, "queue, to put", &item,
                                    front, timeout_ns);
        }
        coir__waitq_unlock(&q->getters);
        coir__wake(&wakes);
        if (coir__likely(err != COIR__MUST_GROW))
            return err;
        err = coir__queue_grow(q, 0);
        if (err < 0)
            return err;
    }
}

int
coir_queue_put(coir_queue *q, void *item, int64_t timeout_ns)
{
    return put(q, item, 0, timeout_ns);
}

int
coir_queue_put_front(coir_queue *q, void *item, int64_t timeout_ns)
{
    return put(q, item, 1, timeout_ns);
}

int
coir_queue_get(coir_queue *q, void **item, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    coir__wakes wakes = {NULL, NULL};
    void *got = NULL;
    coir__waitq_lock(&q->getters);
    int err = try_get(q, &got, &wakes);
    if (err == COIR__MUST_WAIT)
        return coir__waitq_wait(&q->getters, q, "queue, to get", item, 0,
                                timeout_ns);
    coir__waitq_unlock(&q->getters);
    coir__wake(&wakes);
    if (err == 0)
        *item = got;
    return err;
}

int
coir_queue_peek(coir_queue *q, void **item, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    coir__waitq_lock(&q->getters);
    int err = coir__queue_try_peek(q, item);
    if (err == COIR__MUST_WAIT)
        return coir__waitq_wait(&q->getters, q, "queue, to peek", item, 1,
                                timeout_ns);
    coir__waitq_unlock(&q->getters);
    return err;
}

/* --- the whole queue ----------------------------------------------------- */

static int
is_capacity(unsigned capacity)
{
    return capacity <= CAPACITY_MAX || capacity == COIR_QUEUE_UNBOUNDED;
}

int
coir_queue_init(coir_queue *q, unsigned capacity)
{
    coir_queue fresh = {.capacity = capacity};
    if (!is_capacity(capacity))
        return COIR_EINVAL;
    if (capacity != COIR_QUEUE_UNBOUNDED && capacity > 0) {
        int err = coir__queue_grow(&fresh, capacity);
        if (err < 0)
            return err;
    }
    *q = fresh;
    return 0;
}

void
coir_queue_fini(coir_queue *q)
{
    coir_free(q->items);
    q->items = NULL;
}

void
coir_queue_close(coir_queue *q)
{
    coir__wakes wakes = {NULL, NULL};
    coir__waitq_lock(&q->getters);
    coir__waitq_check(&q->putters);
    q->closed = 1;
    coir__waitq_pop_all(&q->getters, &wakes, COIR_ECLOSED);
    coir__waitq_pop_all(&q->putters, &wakes, COIR_ECLOSED);
    coir__waitq_unlock(&q->getters);
    coir__wake(&wakes);
}

/* A channel has nothing to be looked at: those who wait to peek are told. */
static void
drop_lookers(coir_queue *q, coir__wakes *wakes)
{
    coir_waiter *next;
    for (coir_waiter *w = q->getters.head; w != NULL; w = next) {
        next = w->next;
        if (w->variant && coir__waitq_take(&q->getters, w)) {
            w->result = COIR_EINVAL;
            coir__wakes_add(wakes, w);
        }
    }
}

int
coir_queue_set_capacity(coir_queue *q, unsigned capacity)
{
    if (!is_capacity(capacity))
        return COIR_EINVAL;
    for (;;) {
        coir__wakes wakes = {NULL, NULL};
        coir__waitq_lock(&q->getters);
        coir__waitq_check(&q->putters);
        unsigned size = capacity != COIR_QUEUE_UNBOUNDED
                            ? capacity
                            : q->count + q->putters.count;
        int has_room = q->size >= size;
        if (has_room) {
            q->capacity = capacity;
            if (capacity == 0)
                drop_lookers(q, &wakes);
            let_put(q, &wakes);
        }
        coir__waitq_unlock(&q->getters);
        coir__wake(&wakes);
        if (has_room)
            return 0;
        int err = coir__queue_grow(q, size);
        if (err < 0)
            return err;
    }
}

unsigned
coir_queue_count(const coir_queue *q)
{
    return __atomic_load_n(&q->count, __ATOMIC_RELAXED);
}
