/* waitq.h - the queue in which everything of coir/sync.h waits. See waitq.c.
 */
#ifndef COIR__SYNC_WAITQ_H
#define COIR__SYNC_WAITQ_H

#include <coir/sync.h>

#include "base/fork.h"
#include "hub/internal.h"

/* --- the lock ------------------------------------------------------------ */

/* One that is free, in this process. 0 in one that was not forked, so that
 * objects begin with it there. */
static inline int
coir__waitq_mark(void)
{
    return (int)(coir__forks << 1);
}

/* It was found in state `was`. */
COIR__COLD void coir__waitq_lock_slowly(coir_waitq *q, int was);

/* For a moment only: no call in between may wait, allocate or wake. */
static inline void
coir__waitq_lock(coir_waitq *q)
{
    int free = coir__waitq_mark();
    /* If this is the only thread it need not be taken: no other one can come
     * meanwhile. */
    int was = coir__single_threaded()
                  ? q->lock
                  : __atomic_exchange_n(&q->lock, free | 1, __ATOMIC_ACQUIRE);
    if (coir__unlikely(was != free))
        coir__waitq_lock_slowly(q, was);
}

static inline void
coir__waitq_unlock(coir_waitq *q)
{
    __atomic_store_n(&q->lock, coir__waitq_mark(), __ATOMIC_RELEASE);
}

/* Before something is done with a list that is under another one's lock: is it
 * of this process? Else it counts as empty. */
COIR__COLD void coir__waitq_renew(coir_waitq *q);

static inline void
coir__waitq_check(coir_waitq *q)
{
    int lock = __atomic_load_n(&q->lock, __ATOMIC_RELAXED);
    if (coir__unlikely(lock != coir__waitq_mark()))
        coir__waitq_renew(q);
}

/* --- who asks ------------------------------------------------------------ */

/* A green thread, an OS thread without a hub, or nobody who may wait. */
typedef struct coir__caller {
    coir_green *green;
    int may_wait;
} coir__caller;

static inline coir__caller
coir__caller_get(void)
{
    const coir_hub *hub = coir__hub_if_any();
    if (hub == NULL)
        return (coir__caller){NULL, 1};
    return (coir__caller){hub->current, hub->current != NULL};
}

/* As an owner of locks: an address that is this caller's alone. */
const void *coir__thread_as_owner(void);

static inline const void *
coir__caller_id(const coir__caller *caller)
{
    return caller->green != NULL ? (const void *)caller->green
                                 : coir__thread_as_owner();
}

/* --- waiting ------------------------------------------------------------- */

/* May the caller wait? 0, or why not; COIR_ETIMEDOUT if it does not want to.
 */
int coir__caller_may_wait(const coir__caller *caller, int64_t timeout_ns);

/* Wait in `q`, until woken or for timeout_ns. `object` is what it is for; it
 * begins with the queue that has the lock, which is held, and given up by
 * this: `q`, as a rule. `*value` and `variant` are for those who wake it, and
 * `*value` what these made of it. Returns the result that they gave it, 0 if
 * none; or why it did not wait, or was not woken. */
int coir__waitq_wait(coir_waitq *q, void *object, const char *what,
                     void **value, int variant, int64_t timeout_ns);

/* What that consists of. Stand in line, of an `object` whose lock is held. */
coir_waiter *coir__waitq_enter(coir_waitq *q, void *object,
                               const coir__caller *caller, coir_waiter *own,
                               int64_t timeout_ns, int *err);
void coir__waitq_append(coir_waitq *q, coir_waitq *guard, coir_waiter *w);
int coir__waitq_block(coir_waiter *w, const char *what, const void *object,
                      int64_t timeout_ns);
/* The same for a green thread, until `deadline_ns` of its loop's clock. */
int coir__waitq_block_until(coir_waiter *w, const char *what,
                            const void *object, int64_t deadline_ns);
int coir__waitq_block_thread(coir_waiter *w, int64_t timeout_ns,
                             int (*leave)(coir_waiter *w));
/* Returns whether it was still there; any thread. */
int coir__waitq_leave(coir_waiter *w);

/* --- waking -------------------------------------------------------------- */

/* With the lock held take waiters out and gather them; wake them once it is
 * given up. */
typedef struct coir__wakes {
    coir_waiter *first, *last;
} coir__wakes;

/* Take out this one. 0: it was one of a select that is over, leave it alone.
 */
int coir__waitq_take(coir_waitq *q, coir_waiter *w);
coir_waiter *coir__waitq_pop_head(coir_waitq *q);

/* The first who waits, taken out; NULL if there is none. */
static inline coir_waiter *
coir__waitq_pop(coir_waitq *q)
{
    return q->head != NULL ? coir__waitq_pop_head(q) : NULL;
}

static inline void
coir__wakes_add(coir__wakes *wakes, coir_waiter *w)
{
    w->next = NULL;
    if (wakes->first == NULL)
        wakes->first = w;
    else
        wakes->last->next = w;
    wakes->last = w;
}

void coir__wake_list(coir_waiter *first);

static inline void
coir__wake(const coir__wakes *wakes)
{
    if (wakes->first != NULL)
        coir__wake_list(wakes->first);
}

/* Take all out, with a result. */
static inline void
coir__waitq_pop_all(coir_waitq *q, coir__wakes *wakes, int result)
{
    coir_waiter *w;
    while ((w = coir__waitq_pop(q)) != NULL) {
        w->result = result;
        coir__wakes_add(wakes, w);
    }
}

/* --- selects (select.c) -------------------------------------------------- */

/* Is it this one that ends the select it is a part of? Asked with the lock of
 * its queue held. */
int coir__select_claim(coir_waiter *w);
/* Who is to be woken for it. */
coir_waiter *coir__select_self(coir_waiter *w);
void coir__callback_wake(coir_waiter *w);

/* What a case does, with the lock held: each returns 0 or COIR_ECLOSED, or one
 * of these. */
enum {
    COIR__MUST_WAIT = 1,
    COIR__MUST_GROW /* the queue, by coir__queue_grow(), without the lock */
};
int coir__event_try(coir_event *e);
int coir__semaphore_try(coir_semaphore *s, int looks);
int coir__group_try(coir_group *g);
int coir__queue_try_put(coir_queue *q, void *item, coir__wakes *wakes);
int coir__queue_try_get(coir_queue *q, void **item, coir__wakes *wakes);
int coir__queue_try_peek(coir_queue *q, void **item);

/* Have room for more items than there are, at least `size`; COIR_ENOMEM. */
int coir__queue_grow(coir_queue *q, unsigned size);

/* --- for reports --------------------------------------------------------- */

/* What waits for locks are called; to be told by their addresses. */
extern const char coir__what_mutex[];
extern const char coir__what_read[];
extern const char coir__what_write[];

/* Who has what is waited for so, as coir__caller_id(); NULL: nobody, or those
 * who read. */
const void *coir__mutex_owner(const void *mutex);
const void *coir__rwlock_writer(const void *lock);

#endif
