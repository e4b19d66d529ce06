/* waitq.c - the wait queue.
 *
 * A list of waiters under a lock, which also guards the state of the object
 * that has the queue. Whoever takes a waiter out of the list, under the lock,
 * decides how its wait ends: the one that wakes it, of whichever thread, or,
 * in its own thread, the end of its time or a cancel (leave()). Taking out
 * comes first and waking after the lock is given up, so a waiter that was
 * taken out and does not run yet knows that its wake-up is on its way.
 *
 * The waiter of a green thread lies in its control block, for its stack may be
 * a slice that is elsewhere by then; that of an OS thread on its stack, and is
 * not touched after `word` was set.
 *
 * Waking a green thread of another hub: its parcel goes to that hub's inbox.
 *
 * The lock is taken for some dozen instructions, so others spin, then yield.
 *
 * In the child of a fork nobody is left who waits, or who could give up a
 * lock: one thread lives on there, and it did neither. So a lock has another
 * value in each process, mark() when it is free and one more when it is taken;
 * by any other value it is known to be of a process before, and the list with
 * it, both of which count as free and empty then. Nothing has to look for
 * them. */
#include "sync/waitq.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fork.h"

#define SPINS 100

/* A lock that is free, in this process. 0 in one that was not forked, so that
 * objects begin with it there. */
static inline int
mark(void)
{
    return (int)(coir__forks << 1);
}

/* The list is not of this process, or not of one yet. */
static void
begin_list(coir_waitq *q)
{
    q->head = q->tail = NULL;
}

/* It was found in state `was`. */
static COIR__COLD void
lock_slowly(coir_waitq *q, int was)
{
    const int taken = mark() | 1;
    for (int spins = 0; was == taken; spins++) {
        while (__atomic_load_n(&q->lock, __ATOMIC_RELAXED) == taken)
            if (++spins >= SPINS)
                (void)sched_yield();
        was = __atomic_exchange_n(&q->lock, taken, __ATOMIC_ACQUIRE);
    }
    if (was != mark())
        begin_list(q);
}

void
coir__waitq_lock(coir_waitq *q)
{
    int was = __atomic_exchange_n(&q->lock, mark() | 1, __ATOMIC_ACQUIRE);
    if (coir__unlikely(was != mark()))
        lock_slowly(q, was);
}

void
coir__waitq_unlock(coir_waitq *q)
{
    __atomic_store_n(&q->lock, mark(), __ATOMIC_RELEASE);
}

/* --- the list ------------------------------------------------------------ */

/* Before anything is done with a list, which may be under another one's lock.
 */
static inline void
check_list(coir_waitq *q)
{
    int lock = __atomic_load_n(&q->lock, __ATOMIC_RELAXED);
    if (coir__unlikely((lock & ~1) != mark())) {
        __atomic_store_n(&q->lock, mark(), __ATOMIC_RELAXED);
        begin_list(q);
    }
}

static void
append(coir_waitq *q, coir_waiter *w)
{
    check_list(q);
    w->next = NULL;
    w->prev = q->tail;
    if (q->tail != NULL)
        q->tail->next = w;
    else
        q->head = w;
    q->tail = w;
    __atomic_store_n(&w->queue, q, __ATOMIC_RELAXED);
}

static void
take_out(coir_waitq *q, coir_waiter *w)
{
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        q->tail = w->prev;
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        q->head = w->next;
    __atomic_store_n(&w->queue, NULL, __ATOMIC_RELAXED);
}

/* Returns whether it was still there. */
static int
take_out_in_time(coir_waiter *w)
{
    /* Only we put it there; if it is gone it does not come back. The object
     * stays until we have returned. */
    coir_waitq *q = __atomic_load_n(&w->queue, __ATOMIC_RELAXED);
    if (q == NULL || w->forks != coir__forks)
        return 0;
    coir__waitq_lock(w->guard);
    int in_time = w->queue == q;
    if (in_time)
        take_out(q, w);
    coir__waitq_unlock(w->guard);
    return in_time;
}

coir_waiter *
coir__waitq_pop(coir_waitq *q)
{
    check_list(q);
    coir_waiter *w = q->head;
    if (w != NULL)
        take_out(q, w);
    return w;
}

/* --- who waits ----------------------------------------------------------- */

/* Its address tells OS threads without a hub apart. */
static COIR__THREAD_LOCAL char thread_id;

coir__caller
coir__caller_get(void)
{
    const coir_hub *hub = coir__hub_if_any();
    if (hub == NULL)
        return (coir__caller){NULL, 1};
    return (coir__caller){hub->current, hub->current != NULL};
}

const void *
coir__caller_id(const coir__caller *caller)
{
    return caller->green != NULL ? (const void *)caller->green
                                 : (const void *)&thread_id;
}

static int
leave(coir_green *g)
{
    return take_out_in_time(g->wait_data);
}

coir_waiter *
coir__waitq_append(coir_waitq *q, const coir__caller *caller, coir_waiter *own,
                   int64_t timeout_ns, int *err)
{
    return coir__waitq_append_to(q, q, caller, own, timeout_ns, err);
}

coir_waiter *
coir__waitq_append_to(coir_waitq *q, coir_waitq *guard,
                      const coir__caller *caller, coir_waiter *own,
                      int64_t timeout_ns, int *err)
{
    coir_green *g = caller->green;
    *err = g != NULL ? coir__may_wait(g) : caller->may_wait ? 0 : COIR_EINVAL;
    if (timeout_ns == 0 && *err != COIR_ECANCELED)
        *err = COIR_ETIMEDOUT;
    if (*err < 0)
        return NULL;
    coir_waiter *w = g != NULL ? &g->waiter : own;
    w->green = g;
    w->owner = coir__caller_id(caller);
    w->word = 0;
    w->result = 0;
    w->guard = guard;
    w->forks = coir__forks;
    append(q, w);
    return w;
}

/* Sleep until *word is not 0, or the time comes. */
static void
futex_wait(const int *word, int64_t deadline_ns)
{
    struct timespec at = {deadline_ns / COIR_NS_PER_S,
                          deadline_ns % COIR_NS_PER_S};
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, 0,
                  deadline_ns != COIR_FOREVER ? &at : NULL, NULL,
                  FUTEX_BITSET_MATCH_ANY);
}

static int
block_thread(coir_waiter *w, int64_t timeout_ns)
{
    int64_t deadline_ns = coir__deadline_after(NULL, timeout_ns);
    while (!__atomic_load_n(&w->word, __ATOMIC_ACQUIRE)) {
        futex_wait(&w->word, deadline_ns);
        if (deadline_ns != COIR_FOREVER &&
            coir_clock_monotonic() >= deadline_ns) {
            if (take_out_in_time(w))
                return COIR_ETIMEDOUT;
            deadline_ns = COIR_FOREVER; /* it is on its way */
        }
    }
    return w->result;
}

int
coir__waitq_block(coir_waiter *w, const char *what, const void *object,
                  int64_t timeout_ns)
{
    coir_green *g = w->green;
    if (g == NULL)
        return block_thread(w, timeout_ns);
    int err = coir__park(g->hub, g, what, object,
                         coir__deadline_after(g->hub, timeout_ns), leave, w);
    return err == 0 ? w->result : err;
}

int
coir__waitq_wait(coir_waitq *q, const coir__caller *caller, const char *what,
                 const void *object, int64_t timeout_ns)
{
    coir_waiter own;
    int err;
    coir_waiter *w = coir__waitq_append(q, caller, &own, timeout_ns, &err);
    coir__waitq_unlock(q);
    return w != NULL ? coir__waitq_block(w, what, object, timeout_ns) : err;
}

/* --- waking -------------------------------------------------------------- */

static void
open_parcel(coir__parcel *parcel)
{
    coir_green *g = COIR__CONTAINER(parcel, coir_green, parcel);
    coir__ready(g->hub, g, 0);
}

void
coir__waiter_wake(coir_waiter *w)
{
    coir_green *g = w->green;
    if (g == NULL) {
        /* Its memory may be gone once the word is set; the kernel only
         * looks up who sleeps at the address. */
        int *word = &w->word;
        __atomic_store_n(word, 1, __ATOMIC_RELEASE);
        (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        return;
    }
    if (coir__likely(g->hub == coir__hub)) {
        coir__ready(g->hub, g, 0);
        return;
    }
    g->parcel.open = open_parcel;
    coir__send(g->hub, &g->parcel);
}

coir_waiter *
coir__waitq_pop_all(coir_waitq *q)
{
    check_list(q);
    coir_waiter *list = q->head;
    for (coir_waiter *w = list; w != NULL; w = w->next)
        __atomic_store_n(&w->queue, NULL, __ATOMIC_RELAXED);
    q->head = q->tail = NULL;
    return list;
}

void
coir__waiter_wake_all(coir_waiter *list)
{
    while (list != NULL) {
        coir_waiter *next = list->next;
        coir__waiter_wake(list);
        list = next;
    }
}
