/* waitq.c - the wait queue.
 *
 * A list of waiters under a lock, which also guards the state of the object
 * that has the queue. Whoever takes a waiter out of the list, under the lock,
 * decides how its wait ends: the one that wakes it, of whichever thread, or,
 * in its own thread, the end of its time or a cancel (leave()). Taking out
 * comes first and waking after the lock is given up, so a waiter that was
 * taken out and does not run yet knows that its wake-up is on its way.
 *
 * A select has a waiter in each of its queues. They stand for one wait, whose
 * end is decided by an exchange that only one of them can win: see select.c. A
 * waiter that has lost is taken out by whoever comes across it and is nobody.
 *
 * The waiter of a green thread lies in its control block, for its stack may be
 * a slice that is elsewhere by then; that of an OS thread on its stack, and is
 * not touched after `word` was set; that of a callback is the caller's.
 *
 * Waking a green thread of another hub: its parcel goes to that hub's inbox.
 *
 * The lock is taken for some dozen instructions, so others spin, then yield.
 * A process of one thread does without it.
 *
 * In the child of a fork nobody is left who waits, or who could give up a
 * lock: one thread lives on there, and it did neither. So a lock has another
 * value in each process, coir__waitq_mark() when it is free and one more when
 * it is taken; by any other value it is known to be of a process before, and
 * the list with it, both of which count as free and empty then. Nothing has to
 * look for them. */
#include "sync/waitq.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS 100

/* The list is not of this process, or not of one yet. */
static void
begin_list(coir_waitq *q)
{
    q->head = q->tail = NULL;
    __atomic_store_n(&q->count, 0, __ATOMIC_RELAXED);
}

void
coir__waitq_lock_slowly(coir_waitq *q, int was)
{
    const int taken = coir__waitq_mark() | 1;
    for (int spins = 0; was == taken; spins++) {
        while (__atomic_load_n(&q->lock, __ATOMIC_RELAXED) == taken)
            if (++spins >= SPINS)
                (void)sched_yield();
        was = __atomic_exchange_n(&q->lock, taken, __ATOMIC_ACQUIRE);
    }
    if (was != coir__waitq_mark())
        begin_list(q);
}

/* --- the list ------------------------------------------------------------ */

void
coir__waitq_renew(coir_waitq *q)
{
    __atomic_store_n(&q->lock, coir__waitq_mark(), __ATOMIC_RELAXED);
    begin_list(q);
}

static inline void
append(coir_waitq *q, coir_waitq *guard, coir_waiter *w)
{
    w->forks = coir__forks;
    w->guard = guard;
    w->next = NULL;
    w->prev = q->tail;
    if (q->tail != NULL)
        q->tail->next = w;
    else
        q->head = w;
    q->tail = w;
    __atomic_store_n(&q->count, q->count + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&w->queue, q, __ATOMIC_RELAXED);
}

void
coir__waitq_append(coir_waitq *q, coir_waitq *guard, coir_waiter *w)
{
    append(q, guard, w);
}

/* After this nothing of `w` is touched, if it was not taken out to be woken:
 * one that sees that it is out may go. */
static inline void
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
    __atomic_store_n(&q->count, q->count - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&w->queue, NULL, __ATOMIC_RELEASE);
}

int
coir__waitq_leave(coir_waiter *w)
{
    /* Only its owner puts it there; if it is gone it does not come back. The
     * object stays until the wait has returned. */
    coir_waitq *q = __atomic_load_n(&w->queue, __ATOMIC_ACQUIRE);
    if (q == NULL || w->forks != coir__forks)
        return 0;
    coir_waitq *guard = w->guard;
    coir__waitq_lock(guard);
    int in_time = w->queue == q;
    if (in_time)
        take_out(q, w);
    coir__waitq_unlock(guard);
    return in_time;
}

static inline int
take(coir_waitq *q, coir_waiter *w)
{
    int lives = coir__likely(w->select == NULL) || coir__select_claim(w);
    take_out(q, w);
    return lives;
}

int
coir__waitq_take(coir_waitq *q, coir_waiter *w)
{
    return take(q, w);
}

coir_waiter *
coir__waitq_pop_head(coir_waitq *q)
{
    coir_waiter *w;
    while ((w = q->head) != NULL)
        if (coir__likely(take(q, w)))
            break;
    return w;
}

unsigned
coir_waitq_count(const coir_waitq *queue)
{
    int lock = __atomic_load_n(&queue->lock, __ATOMIC_RELAXED);
    if (coir__unlikely((lock & ~1) != coir__waitq_mark()))
        return 0; /* it is of the process that forked this one */
    return __atomic_load_n(&queue->count, __ATOMIC_RELAXED);
}

/* --- who waits ----------------------------------------------------------- */

static COIR__THREAD_LOCAL coir__native native;

const void *
coir__thread_as_owner(void)
{
    return &native;
}

static inline int
may_wait(const coir__caller *caller, int64_t timeout_ns)
{
    const coir_green *g = caller->green;
    int err = coir__likely(g != NULL) ? coir__may_wait(g)
              : caller->may_wait      ? 0
                                      : COIR_EINVAL;
    return coir__unlikely(timeout_ns == 0) && err != COIR_ECANCELED
               ? COIR_ETIMEDOUT
               : err;
}

int
coir__caller_may_wait(const coir__caller *caller, int64_t timeout_ns)
{
    return may_wait(caller, timeout_ns);
}

/* What it shares with others; `own` has no past. */
static inline coir_waiter *
enter(coir_waitq *q, void *object, coir_green *g, coir_waiter *own)
{
    coir_waiter *w = own;
    if (coir__likely(g != NULL)) {
        w = &g->waiter; /* whose other members never change */
        w->green = g;
        w->result = 0;
    }
    else
        *w = (coir_waiter){0};
    append(q, object, w);
    return w;
}

coir_waiter *
coir__waitq_enter(coir_waitq *q, void *object, const coir__caller *caller,
                  coir_waiter *own, int64_t timeout_ns, int *err)
{
    *err = may_wait(caller, timeout_ns);
    return *err == 0 ? enter(q, object, caller->green, own) : NULL;
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

int
coir__waitq_block_thread(coir_waiter *w, int64_t timeout_ns,
                         int (*leave)(coir_waiter *w))
{
    int64_t deadline_ns = coir__deadline_after(NULL, timeout_ns);
    while (!__atomic_load_n(&w->word, __ATOMIC_ACQUIRE)) {
        futex_wait(&w->word, deadline_ns);
        if (deadline_ns != COIR_FOREVER &&
            coir_clock_monotonic() >= deadline_ns) {
            if (leave(w))
                return COIR_ETIMEDOUT;
            deadline_ns = COIR_FOREVER; /* it is on its way */
        }
    }
    return w->result;
}

static int
leave_green(coir_green *g)
{
    return coir__waitq_leave(g->wait_data);
}

static inline int
block_until(coir_waiter *w, const char *what, const void *object,
            int64_t deadline_ns)
{
    coir_green *g = w->green;
    int err = coir__park(g->hub, g, what, object, deadline_ns, leave_green, w);
    return err == 0 ? w->result : err;
}

static COIR__NOINLINE int
block_thread(coir_waiter *w, const char *what, const void *object,
             int64_t timeout_ns)
{
    if (timeout_ns == COIR_FOREVER) {
        native.what = what;
        native.object = object;
        native.waiter = w;
        coir__native_falls_asleep(&native);
    }
    int result = coir__waitq_block_thread(w, timeout_ns, coir__waitq_leave);
    if (timeout_ns == COIR_FOREVER)
        coir__native_awakes(&native);
    return result;
}

int
coir__waitq_block_until(coir_waiter *w, const char *what, const void *object,
                        int64_t deadline_ns)
{
    return block_until(w, what, object, deadline_ns);
}

static inline int
block(coir_waiter *w, const char *what, const void *object, int64_t timeout_ns)
{
    const coir_green *g = w->green;
    if (coir__unlikely(g == NULL))
        return block_thread(w, what, object, timeout_ns);
    int64_t deadline_ns = COIR_FOREVER;
    if (timeout_ns != COIR_FOREVER)
        deadline_ns = coir__deadline_after(g->hub, timeout_ns);
    return block_until(w, what, object, deadline_ns);
}

int
coir__waitq_block(coir_waiter *w, const char *what, const void *object,
                  int64_t timeout_ns)
{
    return block(w, what, object, timeout_ns);
}

int
coir__waitq_wait(coir_waitq *q, void *object, const char *what, void **value,
                 int variant, int64_t timeout_ns)
{
    coir__caller caller = coir__caller_get();
    coir_waiter own;
    int err = may_wait(&caller, timeout_ns);
    if (coir__unlikely(err < 0)) {
        coir__waitq_unlock(object);
        return err;
    }
    coir_waiter *w = enter(q, object, caller.green, &own);
    w->value = *value;
    w->variant = (uint8_t)variant;
    coir__waitq_unlock(object);
    err = block(w, what, object, timeout_ns);
    if (err == 0)
        *value = w->value;
    return err;
}

/* --- waking -------------------------------------------------------------- */

static void
open_parcel(coir__parcel *parcel)
{
    coir_green *g = COIR__CONTAINER(parcel, coir_green, parcel);
    coir__ready(g->hub, g, 0);
}

static void
wake_thread(coir_waiter *w)
{
    /* Its memory may be gone once the word is set; the kernel only looks up
     * who sleeps at the address. */
    int *word = &w->word;
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void
wake(coir_waiter *w)
{
    if (coir__unlikely(w->select != NULL))
        w = coir__select_self(w);
    coir_green *g = w->green;
    if (coir__likely(g != NULL)) {
        if (coir__likely(g->hub == coir__hub)) {
            coir__ready(g->hub, g, 0);
            return;
        }
        g->parcel.open = open_parcel;
        coir__send(g->hub, &g->parcel);
    }
    else if (w->callback)
        coir__callback_wake(w);
    else
        wake_thread(w);
}

void
coir__wake_list(coir_waiter *first)
{
    while (first != NULL) {
        coir_waiter *next = first->next; /* it may be gone */
        wake(first);
        first = next;
    }
}
