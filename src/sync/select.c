/* select.c - to wait for one of several cases; and to wait by a callback.
 *
 * A select first tries its cases one by one, from a random one on, so that
 * none is passed over for ever. If none can happen it takes a block from the
 * hub with a waiter for each, locks all of the objects, in the order of their
 * addresses, tries once more, and stands in line everywhere. So while it looks
 * nobody can find it, and two selects that meet need not agree: one of them
 * looks, with the locks, and the other one waits.
 *
 * Whoever takes one of its waiters out of a line has to be the first one:
 * `happened` goes from 0 to the index of that waiter by an exchange, or to
 * GIVEN_UP by its own thread, when its time is over or it is cancelled. Those
 * who come later take out the waiter all the same and look for the next. The
 * exchange comes before the taking out, and a select returns when all of its
 * waiters are out, so that nobody finds its block freed.
 *
 * The block does not lie on the stack, which may be a slice, and is used
 * again. An OS thread without a hub has it on the heap, too, if it is large.
 */
#include "sync/waitq.h"

#include <stddef.h>
#include <stdlib.h>

#define SMALL 8
#define GIVEN_UP (-1)

/* Beside indexes and errors: it stands in line; look again. */
enum { IN_LINE = INT32_MIN, AGAIN };

typedef struct coir__select {
    coir_waiter self; /* who is woken; in no queue */
    int happened;     /* 0, index + 1 of the waiter that was, GIVEN_UP */
    unsigned count;
    unsigned lock_count;
    unsigned room;                   /* waiters there is memory for */
    struct coir__select *next, **at; /* of all of this hub */
    struct coir__select *next_unused;
    coir_waitq **locks; /* in order; room for as many */
    coir_waiter waiters[];
} coir__select;

/* --- a case -------------------------------------------------------------- */

typedef struct coir__place {
    coir_waitq *queue; /* NULL: nowhere */
    coir_waitq *guard;
} coir__place;

/* Where one waits for it. */
static coir__place
place_of(const coir_case *c)
{
    switch (c->kind) {
    case COIR_CASE_EVENT: {
        coir_event *e = c->object;
        return (coir__place){&e->queue, &e->queue};
    }
    case COIR_CASE_ACQUIRE:
    case COIR_CASE_AVAILABLE: {
        coir_semaphore *s = c->object;
        return (coir__place){&s->queue, &s->queue};
    }
    case COIR_CASE_GROUP: {
        coir_group *g = c->object;
        return (coir__place){&g->queue, &g->queue};
    }
    case COIR_CASE_PUT: {
        coir_queue *q = c->object;
        return (coir__place){&q->putters, &q->getters};
    }
    case COIR_CASE_GET:
    case COIR_CASE_PEEK: {
        coir_queue *q = c->object;
        return (coir__place){&q->getters, &q->getters};
    }
    default:
        return (coir__place){NULL, NULL};
    }
}

/* With the lock held: do it, if it can be done. 0, COIR_ECLOSED, COIR_EINVAL,
 * or what must be done first. */
static int
try_case(coir_case *c, coir__wakes *wakes)
{
    switch (c->kind) {
    case COIR_CASE_EVENT:
        return coir__event_try(c->object);
    case COIR_CASE_ACQUIRE:
    case COIR_CASE_AVAILABLE:
        return coir__semaphore_try(c->object, c->kind == COIR_CASE_AVAILABLE);
    case COIR_CASE_GROUP:
        return coir__group_try(c->object);
    case COIR_CASE_PUT:
        return coir__queue_try_put(c->object, c->item, wakes);
    case COIR_CASE_GET:
        return coir__queue_try_get(c->object, &c->item, wakes);
    default:
        return coir__queue_try_peek(c->object, &c->item);
    }
}

static int
is_case(const coir_case *c)
{
    return c->kind >= COIR_CASE_NONE && c->kind <= COIR_CASE_PEEK;
}

/* Is it over, so that there is nothing to wait for? */
static int
has_happened(int err)
{
    return err == 0 || err == COIR_ECLOSED;
}

/* With the lock held: stand in line. */
static void
wait_for(const coir_case *c, coir_waiter *w)
{
    coir__place place = place_of(c);
    w->value = c->kind == COIR_CASE_PUT ? c->item : NULL;
    w->result = 0;
    w->variant = c->kind == COIR_CASE_AVAILABLE || c->kind == COIR_CASE_PEEK;
    if (place.queue != place.guard)
        coir__waitq_check(place.queue);
    coir__waitq_append(place.queue, place.guard, w);
}

/* It was woken by this one. */
static void
finish(coir_case *c, const coir_waiter *w)
{
    c->result = w->result;
    if (w->result == 0 &&
        (c->kind == COIR_CASE_GET || c->kind == COIR_CASE_PEEK))
        c->item = w->value;
}

/* Try one alone: 0 if it happened, or an error, or COIR__MUST_WAIT; then `w`
 * stands in line, if it is not NULL. */
static int
try_alone(coir_case *c, coir_waiter *w)
{
    coir__place place = place_of(c);
    if (place.queue == NULL)
        return COIR__MUST_WAIT;
    for (;;) {
        coir__wakes wakes = {NULL, NULL};
        coir__waitq_lock(place.guard);
        int err = try_case(c, &wakes);
        if (err == COIR__MUST_WAIT && w != NULL)
            wait_for(c, w);
        coir__waitq_unlock(place.guard);
        coir__wake(&wakes);
        if (has_happened(err)) {
            c->result = err;
            return 0;
        }
        if (err != COIR__MUST_GROW)
            return err;
        err = coir__queue_grow(c->object, 0);
        if (err < 0)
            return err;
    }
}

/* --- the block ----------------------------------------------------------- */

static coir__select *
select_new(coir_hub *hub, unsigned count)
{
    coir__select *s = hub != NULL ? hub->unused_selects : NULL;
    if (count <= SMALL && s != NULL) {
        hub->unused_selects = s->next_unused;
        return s;
    }
    unsigned room = count > SMALL ? count : SMALL;
    s = coir_malloc(sizeof *s +
                    room * (sizeof s->waiters[0] + sizeof s->locks[0]));
    if (s == NULL)
        return NULL;
    s->room = room;
    s->locks = (coir_waitq **)(void *)&s->waiters[room];
    if (hub != NULL) {
        s->next = hub->selects;
        s->at = &hub->selects;
        if (s->next != NULL)
            s->next->at = &s->next;
        hub->selects = s;
    }
    return s;
}

static void
select_free(coir_hub *hub, coir__select *s)
{
    if (hub != NULL && s->room == SMALL) {
        s->next_unused = hub->unused_selects;
        hub->unused_selects = s;
        return;
    }
    if (hub != NULL) {
        *s->at = s->next;
        if (s->next != NULL)
            s->next->at = s->at;
    }
    coir_free(s);
}

/* With those of green threads that were abandoned. */
void
coir__selects_free(coir_hub *hub)
{
    coir__select *s;
    while ((s = hub->selects) != NULL) {
        hub->selects = s->next;
        coir_free(s);
    }
}

static int
compare_locks(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)(*(coir_waitq *const *)a);
    uintptr_t y = (uintptr_t)(*(coir_waitq *const *)b);
    return (x > y) - (x < y);
}

static void
sort_locks(coir_waitq **locks, unsigned count)
{
    if (count > SMALL) {
        qsort(locks, count, sizeof(coir_waitq *), compare_locks);
        return;
    }
    for (unsigned i = 1; i < count; i++) {
        coir_waitq *lock = locks[i];
        unsigned at = i;
        for (; at > 0 && (uintptr_t)locks[at - 1] > (uintptr_t)lock; at--)
            locks[at] = locks[at - 1];
        locks[at] = lock;
    }
}

/* Each once, in order. */
static void
gather_locks(coir__select *s, const coir_case *cases)
{
    unsigned all = 0, each = 0;
    for (unsigned i = 0; i < s->count; i++) {
        coir_waitq *lock = place_of(&cases[i]).guard;
        if (lock != NULL)
            s->locks[all++] = lock;
    }
    sort_locks(s->locks, all);
    for (unsigned i = 0; i < all; i++)
        if (each == 0 || s->locks[each - 1] != s->locks[i])
            s->locks[each++] = s->locks[i];
    s->lock_count = each;
}

static void
lock_all(coir__select *s)
{
    for (unsigned i = 0; i < s->lock_count; i++)
        coir__waitq_lock(s->locks[i]);
}

static void
unlock_all(coir__select *s)
{
    for (unsigned i = s->lock_count; i-- > 0;)
        coir__waitq_unlock(s->locks[i]);
}

/* --- how it ends --------------------------------------------------------- */

static int
decide(coir__select *s, int what)
{
    int none = 0;
    return __atomic_compare_exchange_n(&s->happened, &none, what, 0,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

int
coir__select_claim(coir_waiter *w)
{
    coir__select *s = w->select;
    return decide(s, (int)(w - s->waiters) + 1);
}

coir_waiter *
coir__select_self(coir_waiter *w)
{
    return &w->select->self;
}

static void
leave_all(coir__select *s)
{
    for (unsigned i = 0; i < s->count; i++)
        (void)coir__waitq_leave(&s->waiters[i]);
}

static int
give_up(coir__select *s)
{
    if (!decide(s, GIVEN_UP))
        return 0;
    leave_all(s);
    return 1;
}

static int
leave_green(coir_green *g)
{
    return give_up(g->wait_data);
}

static int
leave_thread(coir_waiter *self)
{
    return give_up(COIR__CONTAINER(self, coir__select, self));
}

/* --- select -------------------------------------------------------------- */

/* A number below `count`, from a generator of this hub's, so that a simulated
 * one is the same each time. */
static unsigned
any_below(coir_green *g, unsigned count)
{
    static COIR__THREAD_LOCAL uint32_t of_thread;
    uint32_t *state = g != NULL ? &g->hub->random : &of_thread;
    *state = *state * 1664525U + 1013904223U;
    return (unsigned)(((uint64_t)*state * count) >> 32);
}

/* The index of one that happened; COIR_ETIMEDOUT if there is none. */
static int
try_each(coir_case *cases, unsigned count, unsigned first)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned at = first + i < count ? first + i : first + i - count;
        int err = try_alone(&cases[at], NULL);
        if (err <= 0)
            return err < 0 ? err : (int)at;
    }
    return COIR_ETIMEDOUT;
}

/* Stand in line for all; but if one can happen now, do that. Returns its
 * index, IN_LINE, AGAIN, or an error. */
static int
enter_all(coir__select *s, coir_case *cases)
{
    coir__wakes wakes = {NULL, NULL};
    int err = COIR__MUST_WAIT, at = -1;
    lock_all(s);
    while (err == COIR__MUST_WAIT && ++at < (int)s->count)
        if (cases[at].kind != COIR_CASE_NONE)
            err = try_case(&cases[at], &wakes);
    if (err == COIR__MUST_WAIT)
        for (unsigned i = 0; i < s->count; i++)
            if (cases[i].kind != COIR_CASE_NONE)
                wait_for(&cases[i], &s->waiters[i]);
    unlock_all(s);
    coir__wake(&wakes);
    if (err == COIR__MUST_WAIT)
        return IN_LINE;
    if (err == COIR__MUST_GROW)
        return AGAIN;
    if (!has_happened(err))
        return err;
    cases[at].result = err;
    return at;
}

static void
set_up(coir__select *s, const coir_case *cases, unsigned count, coir_green *g)
{
    s->self = (coir_waiter){.green = g};
    s->happened = 0;
    s->count = count;
    for (unsigned i = 0; i < count; i++)
        s->waiters[i] = (coir_waiter){.green = g, .select = s};
    gather_locks(s, cases);
}

/* It stands in line: wait. The index of what happened, or why not. */
static int
block(coir__select *s, coir_case *cases, int64_t timeout_ns)
{
    coir_green *g = s->self.green;
    int err;
    if (g != NULL)
        err = coir__park(g->hub, g, "select", cases,
                         coir__deadline_after(g->hub, timeout_ns), leave_green,
                         s);
    else
        err = coir__waitq_block_thread(&s->self, timeout_ns, leave_thread);
    if (err < 0)
        return err;
    leave_all(s);
    int at = s->happened - 1;
    finish(&cases[at], &s->waiters[at]);
    return at;
}

/* None could happen at once. */
static int
wait_for_any(coir_case *cases, unsigned count, coir_green *g,
             int64_t timeout_ns)
{
    coir_hub *hub = g != NULL ? g->hub : NULL;
    coir__select *s = select_new(hub, count);
    if (s == NULL)
        return COIR_ENOMEM;
    set_up(s, cases, count, g);
    int at = enter_all(s, cases);
    if (at == IN_LINE)
        at = block(s, cases, timeout_ns);
    select_free(hub, s);
    return at;
}

int
coir_select(coir_case *cases, unsigned count, int64_t timeout_ns)
{
    if (count > INT32_MAX)
        return COIR_EINVAL;
    for (unsigned i = 0; i < count; i++)
        if (!is_case(&cases[i]))
            return COIR_EINVAL;
    coir__sim_point(timeout_ns);
    coir__caller caller = coir__caller_get();
    int at;
    do {
        at = try_each(cases, count, any_below(caller.green, count));
        if (at != COIR_ETIMEDOUT)
            break;
        at = coir__caller_may_wait(&caller, timeout_ns);
        if (at == 0)
            at = wait_for_any(cases, count, caller.green, timeout_ns);
    } while (at == AGAIN);
    return at;
}

/* --- callbacks ----------------------------------------------------------- */

static void
make_call(coir_call *call)
{
    coir_callback *cb = COIR__CONTAINER(call, coir_callback, call);
    cb->fn(cb);
}

static void
post(coir_callback *cb)
{
    cb->call.fn = make_call;
    coir_hub_post(cb->hub, &cb->call);
}

void
coir__callback_wake(coir_waiter *w)
{
    coir_callback *cb = COIR__CONTAINER(w, coir_callback, waiter);
    finish(&cb->what, w);
    post(cb);
}

int
coir_callback_start(coir_callback *cb, coir_hub *hub)
{
    coir__place place = place_of(&cb->what);
    if (place.queue == NULL)
        return COIR_EINVAL;
    cb->hub = hub;
    cb->waiter = (coir_waiter){.callback = 1};
    int err = try_alone(&cb->what, &cb->waiter);
    if (err == COIR__MUST_WAIT) /* it may be gone already */
        return 0;
    if (err == 0)
        post(cb);
    return err;
}

int
coir_callback_stop(coir_callback *cb)
{
    return coir__waitq_leave(&cb->waiter);
}
