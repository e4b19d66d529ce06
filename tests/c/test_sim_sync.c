/* test_sim_sync.c - green threads and what they wait for, under many seeds.
 *
 * Each program uses one primitive in all ways at once, with green threads that
 * are cancelled and waits that time out, and counts: nothing is lost, nothing
 * is there twice, whoever waited too long was told so. COIR_SIM_RUNS=10000
 * for a thorough run. */
#include <coir/sim.h>
#include <coir/sync.h>

#include "harness.h"

#define RUNS 1000
#define MS COIR_NS_PER_MS
#define CHECKS COIR_SIM_CHECK

static unsigned
below(unsigned limit)
{
    return (unsigned)coir_sim_random_below(limit);
}

/* Now and then none, else for ever or a short time. */
static int64_t
some_timeout(void)
{
    switch (below(4)) {
    case 0:
        return 0;
    case 1:
        return (int64_t)below(2000) * 1000;
    default:
        return COIR_FOREVER;
    }
}

/* Others run, some time passes, or neither. */
static void
pause_a_bit(void)
{
    switch (below(4)) {
    case 0:
        (void)coir_yield();
        break;
    case 1:
        (void)coir_sleep((int64_t)below(1000) * 1000);
        break;
    }
}

static int
is_early_end(int err)
{
    return err == COIR_ETIMEDOUT || err == COIR_ECANCELED;
}

static coir_green *
spawn(coir_green_fn *fn, void *arg)
{
    coir_green *g;
    CHECKS(coir_spawn(&g, fn, arg, NULL) == 0);
    return g;
}

static void
join_all(coir_green **g, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CHECKS(coir_join(g[i], NULL) == 0);
}

/* Cancels some of them at some time. */
typedef struct victims {
    coir_green **g;
    unsigned count;
} victims;

static int
cancel_some(void *arg)
{
    const victims *v = arg;
    for (unsigned i = 0; i < v->count; i++) {
        pause_a_bit();
        if (below(3) == 0)
            coir_cancel(v->g[i]);
    }
    return 0;
}

static void
run_with_cancels(coir_green **g, unsigned count)
{
    victims v = {g, count};
    coir_green *killer = spawn(cancel_some, &v);
    CHECKS(coir_join(killer, NULL) == 0);
    join_all(g, count);
}

static void
passes(coir_green_fn *program)
{
    coir_sim_report report;
    coir_test_timeout(600);
    if (coir_sim_search(program, NULL, coir_test_is_slow() ? 20 : RUNS, NULL,
                        &report) != 0)
        coir_test_fail(__FILE__, __LINE__, "seed %llu: %s",
                       (unsigned long long)report.seed, report.message);
}

/* --- event --------------------------------------------------------------- */

typedef struct event_world {
    coir_event event;
    int sets; /* so far */
} event_world;

static int
wait_for_event(void *arg)
{
    event_world *w = arg;
    for (int i = 0; i < 3; i++) {
        int before = w->sets, was_set = coir_event_is_set(&w->event);
        int64_t timeout_ns = some_timeout();
        int err = coir_event_wait(&w->event, timeout_ns);
        if (err == 0)
            CHECKS(was_set || w->sets > before);
        else
            CHECKS(err == COIR_ETIMEDOUT ? timeout_ns != COIR_FOREVER
                                         : err == COIR_ECANCELED);
        pause_a_bit();
    }
    return 0;
}

static int
set_and_clear(void *arg)
{
    event_world *w = arg;
    for (int i = 0; i < 8; i++) {
        w->sets++;
        coir_event_set(&w->event);
        CHECKS(coir_event_wait(&w->event, 0) == 0);
        pause_a_bit();
        coir_event_clear(&w->event);
        CHECKS(!coir_event_is_set(&w->event));
        pause_a_bit();
    }
    w->sets++;
    coir_event_set(&w->event);
    return 0;
}

static int
use_event(void *arg)
{
    (void)arg;
    event_world w = {.sets = 0};
    coir_event_init(&w.event);
    coir_green *g[6];
    for (int i = 0; i < 5; i++)
        g[i] = spawn(wait_for_event, &w);
    g[5] = spawn(set_and_clear, &w);
    run_with_cancels(g, 5);
    join_all(g + 5, 1);
    return 0;
}

TEST(sim_sync, event)
{
    passes(use_event);
}

/* --- semaphore ----------------------------------------------------------- */

typedef struct semaphore_world {
    coir_semaphore semaphore;
    unsigned taken;
    unsigned limit;
} semaphore_world;

static int
use_unit(void *arg)
{
    semaphore_world *w = arg;
    for (int i = 0; i < 4; i++) {
        int err = coir_semaphore_acquire(&w->semaphore, some_timeout());
        if (err < 0) {
            CHECKS(is_early_end(err));
            continue;
        }
        CHECKS(++w->taken <= w->limit);
        pause_a_bit();
        w->taken--;
        coir_semaphore_release(&w->semaphore, 1);
    }
    return 0;
}

static int
use_semaphore(void *arg)
{
    (void)arg;
    semaphore_world w = {.limit = 1 + below(3)};
    coir_semaphore_init(&w.semaphore, w.limit);
    coir_green *g[6];
    for (int i = 0; i < 6; i++)
        g[i] = spawn(use_unit, &w);
    run_with_cancels(g, 6);
    CHECKS(w.taken == 0);
    CHECKS(coir_semaphore_count(&w.semaphore) == w.limit);
    return 0;
}

TEST(sim_sync, semaphore)
{
    passes(use_semaphore);
}

/* --- mutex --------------------------------------------------------------- */

typedef struct mutex_world {
    coir_mutex mutex;
    coir_condition condition;
    const coir_green *inside;
    unsigned tickets;
    unsigned got;
    int done;
} mutex_world;

static int
lock_and_unlock(void *arg)
{
    mutex_world *w = arg;
    const coir_green *me = coir_self();
    for (int i = 0; i < 4; i++) {
        int err = coir_mutex_lock(&w->mutex, some_timeout());
        if (err < 0) {
            CHECKS(is_early_end(err));
            continue;
        }
        CHECKS(w->inside == NULL);
        w->inside = me;
        if (w->mutex.recursive) {
            CHECKS(coir_mutex_lock(&w->mutex, COIR_FOREVER) == 0);
            pause_a_bit();
            CHECKS(coir_mutex_unlock(&w->mutex) == 0);
        }
        else
            CHECKS(coir_mutex_lock(&w->mutex, COIR_FOREVER) == COIR_EDEADLK);
        pause_a_bit();
        CHECKS(w->inside == me && coir_mutex_is_locked(&w->mutex));
        w->inside = NULL;
        CHECKS(coir_mutex_unlock(&w->mutex) == 0);
    }
    CHECKS(coir_mutex_unlock(&w->mutex) == COIR_EINVAL);
    return 0;
}

static int
use_mutex(void *arg)
{
    (void)arg;
    mutex_world w = {.inside = NULL};
    coir_mutex_init(&w.mutex, (int)below(2));
    coir_green *g[6];
    for (int i = 0; i < 6; i++)
        g[i] = spawn(lock_and_unlock, &w);
    run_with_cancels(g, 6);
    CHECKS(!coir_mutex_is_locked(&w.mutex));
    return 0;
}

TEST(sim_sync, mutex)
{
    passes(use_mutex);
}

/* --- condition ----------------------------------------------------------- */

/* Takes tickets until there will be none. A notification that reaches one that
 * is cancelled would be lost, so that one hands it on. */
static int
take_tickets(void *arg)
{
    mutex_world *w = arg;
    int err = coir_mutex_lock(&w->mutex, COIR_FOREVER);
    if (err < 0) {
        CHECKS(err == COIR_ECANCELED);
        return 0;
    }
    for (;;) {
        err = 0;
        while (w->tickets == 0 && !w->done && err != COIR_ECANCELED) {
            int64_t timeout_ns = below(2) ? COIR_FOREVER : MS;
            err = coir_condition_wait(&w->condition, &w->mutex, timeout_ns);
            CHECKS(err == 0 || is_early_end(err));
            CHECKS(w->mutex.owner == coir_self());
        }
        if (w->tickets == 0)
            break;
        w->tickets--;
        w->got++;
    }
    CHECKS(coir_mutex_unlock(&w->mutex) == 0);
    return 0;
}

static int
give_tickets(void *arg)
{
    mutex_world *w = arg;
    for (int i = 0; i < 10; i++) {
        CHECKS(coir_mutex_lock(&w->mutex, COIR_FOREVER) == 0);
        unsigned n = 1 + below(2);
        w->tickets += n;
        for (; n > 0; n--)
            coir_condition_notify(&w->condition);
        CHECKS(coir_mutex_unlock(&w->mutex) == 0);
        pause_a_bit();
    }
    CHECKS(coir_mutex_lock(&w->mutex, COIR_FOREVER) == 0);
    w->done = 1;
    coir_condition_notify_all(&w->condition);
    CHECKS(coir_mutex_unlock(&w->mutex) == 0);
    return 0;
}

static int
use_condition(void *arg)
{
    (void)arg;
    mutex_world w = {.tickets = 0};
    coir_mutex_init(&w.mutex, 0);
    coir_condition_init(&w.condition);
    coir_green *g[6];
    for (int i = 0; i < 5; i++)
        g[i] = spawn(take_tickets, &w);
    g[5] = spawn(give_tickets, &w);
    run_with_cancels(g, 4); /* the fifth gets what is left */
    join_all(g + 4, 2);
    CHECKS(w.tickets == 0 && w.got >= 10);
    CHECKS(w.condition.queue.head == NULL);
    CHECKS(!coir_mutex_is_locked(&w.mutex));
    return 0;
}

TEST(sim_sync, condition)
{
    passes(use_condition);
}

/* --- queue --------------------------------------------------------------- */

enum { PUTTERS = 3, ITEMS = 5 };

typedef struct queue_world {
    coir_queue queue;
    unsigned next_putter;
    unsigned put[PUTTERS];         /* how many of this one's were put */
    unsigned last[4][PUTTERS];     /* by getter: the last that was got */
    unsigned got[PUTTERS * ITEMS]; /* how often */
    unsigned next_getter;
    int putting;
} queue_world;

static int
put_items(void *arg)
{
    queue_world *w = arg;
    unsigned me = w->next_putter++;
    for (unsigned i = 0; i < ITEMS; i++) {
        void *item = (void *)(uintptr_t)(me * ITEMS + i + 1);
        int err = coir_queue_put(&w->queue, item, some_timeout());
        if (err == 0)
            w->put[me] |= 1U << i;
        else
            CHECKS(is_early_end(err));
        pause_a_bit();
    }
    if (--w->putting == 0)
        coir_queue_close(&w->queue);
    return 0;
}

static int
get_items(void *arg)
{
    queue_world *w = arg;
    unsigned me = w->next_getter++;
    for (;;) {
        void *item = NULL;
        int err = coir_queue_get(&w->queue, &item, some_timeout());
        if (err == COIR_ECLOSED || err == COIR_ECANCELED)
            break;
        if (err == 0) {
            uintptr_t n = (uintptr_t)item - 1;
            CHECKS(n < PUTTERS * ITEMS);
            CHECKS(w->got[n]++ == 0);
            /* In order, of each that puts. */
            unsigned *last = &w->last[me][n / ITEMS];
            CHECKS(n % ITEMS + 1 > *last);
            *last = (unsigned)(n % ITEMS) + 1;
        }
        else {
            CHECKS(err == COIR_ETIMEDOUT && item == NULL);
            (void)coir_yield();
        }
        pause_a_bit();
    }
    return 0;
}

static int
use_queue(void *arg)
{
    (void)arg;
    queue_world w = {.putting = PUTTERS};
    CHECKS(coir_queue_init(&w.queue, below(4)) == 0);
    coir_green *g[4 + PUTTERS];
    for (int i = 0; i < 4; i++)
        g[i] = spawn(get_items, &w);
    for (int i = 0; i < PUTTERS; i++)
        g[4 + i] = spawn(put_items, &w);
    /* One getter stays, and those that put do not begin by being cancelled. */
    run_with_cancels(g + 1, 3);
    join_all(g, 1);
    join_all(g + 4, PUTTERS);
    for (unsigned i = 0; i < PUTTERS * ITEMS; i++)
        CHECKS(w.got[i] == (w.put[i / ITEMS] >> (i % ITEMS) & 1));
    CHECKS(coir_queue_count(&w.queue) == 0);
    CHECKS(coir_queue_put(&w.queue, &w, COIR_FOREVER) == COIR_ECLOSED);
    coir_queue_fini(&w.queue);
    return 0;
}

TEST(sim_sync, queue)
{
    passes(use_queue);
}

/* --- join, cancel, shield, deadline -------------------------------------- */

static int
live_for_a_while(void *arg)
{
    int *cleaned = arg;
    int err = 0;
    for (int i = 0; i < 5 && err == 0; i++)
        err = coir_sleep((int64_t)below(2000) * 1000);
    CHECKS(err == 0 ||
           (err == COIR_ECANCELED && coir_is_cancelled(coir_self())));
    coir_shield_begin();
    CHECKS(coir_sleep(MS) == 0);
    coir_shield_end();
    ++*cleaned;
    return err;
}

/* Joins another one that may be cancelled, and so may this one. */
static int
join_another(void *arg)
{
    int cleaned = 0, result = 1, err;
    coir_green *g = spawn(live_for_a_while, &cleaned);
    pause_a_bit();
    int cancels = below(2) == 0;
    if (cancels)
        coir_cancel(g);
    err = coir_join(g, &result);
    if (err == COIR_ECANCELED) {
        CHECKS(result == 1);
        coir_cancel(g);
        coir_shield_begin();
        err = coir_join(g, &result);
        coir_shield_end();
        cancels = 1;
    }
    CHECKS(err == 0);
    CHECKS(result == 0 || (cancels && result == COIR_ECANCELED));
    /* One that was cancelled before it ran did not run. */
    CHECKS(cleaned == 1 || (cleaned == 0 && result == COIR_ECANCELED));
    ++*(int *)arg;
    return 0;
}

static int
use_join(void *arg)
{
    (void)arg;
    int ended = 0;
    coir_green *g[5];
    for (int i = 0; i < 5; i++)
        g[i] = spawn(join_another, &ended);
    run_with_cancels(g, 5);
    CHECKS(ended <= 5);
    CHECKS(coir_hub_run() == 0);
    return 0;
}

TEST(sim_sync, join_cancel_and_shield)
{
    passes(use_join);
}

static int
sleep_in_deadlines(void *arg)
{
    unsigned depth = (unsigned)(uintptr_t)arg;
    int64_t timeout_ns = (int64_t)below(3000) * 1000;
    coir_deadline d;
    coir_deadline_begin(&d, timeout_ns);
    CHECKS(coir_deadline_remaining() <= timeout_ns);
    if (depth > 0) {
        coir_green *g =
            spawn(sleep_in_deadlines, (void *)(uintptr_t)(depth - 1));
        coir_deadline forever;
        coir_deadline_begin(&forever, COIR_FOREVER);
        int err = coir_join(g, NULL);
        CHECKS(!coir_deadline_end(&forever));
        if (err < 0) {
            CHECKS(err == COIR_ETIMEDOUT ? coir_deadline_remaining() == 0
                                         : coir_is_cancelled(coir_self()));
            (void)coir_deadline_end(&d);
            coir_cancel(g);
            coir_shield_begin();
            /* The child has the deadlines that were in force here. */
            err = coir_join(g, NULL);
            coir_shield_end();
            CHECKS(err == 0 || err == COIR_ETIMEDOUT);
            if (err < 0)
                coir_detach(g);
            return 0;
        }
    }
    int64_t nap = (int64_t)below(3000) * 1000;
    int64_t begin = coir_clock_monotonic();
    int err = coir_sleep(nap);
    int64_t end = coir_clock_monotonic();
    if (err == 0)
        CHECKS(end >= begin + nap);
    else
        CHECKS(err == COIR_ECANCELED ||
               (err == COIR_ETIMEDOUT && coir_deadline_remaining() == 0));
    (void)coir_deadline_end(&d);
    return 0;
}

static int
use_deadlines(void *arg)
{
    (void)arg;
    coir_green *g[4];
    for (unsigned i = 0; i < 4; i++)
        g[i] = spawn(sleep_in_deadlines, (void *)(uintptr_t)i);
    join_all(g, 4);
    CHECKS(coir_hub_run() == 0);
    CHECKS(coir_deadline_remaining() == COIR_FOREVER);
    return 0;
}

TEST(sim_sync, deadlines)
{
    passes(use_deadlines);
}

/* --- lock for readers and writers ---------------------------------------- */

typedef struct rwlock_world {
    coir_rwlock lock;
    int readers, writers;
    int value;
} rwlock_world;

static int
read_and_write(void *arg)
{
    rwlock_world *w = arg;
    for (int i = 0; i < 4; i++) {
        int writes = below(3) == 0;
        int64_t timeout_ns = some_timeout();
        int err = writes ? coir_rwlock_write(&w->lock, timeout_ns)
                         : coir_rwlock_read(&w->lock, timeout_ns);
        if (err < 0) {
            CHECKS(is_early_end(err));
            continue;
        }
        w->readers += !writes;
        w->writers += writes;
        int seen = w->value += writes;
        pause_a_bit();
        CHECKS(w->value == seen);
        CHECKS(w->writers == 0 || (w->writers == 1 && w->readers == 0));
        w->readers -= !writes;
        w->writers -= writes;
        CHECKS(coir_rwlock_unlock(&w->lock) == 0);
    }
    return 0;
}

static int
use_rwlock(void *arg)
{
    (void)arg;
    rwlock_world w = {.value = 0};
    coir_rwlock_init(&w.lock);
    coir_green *g[6];
    for (int i = 0; i < 6; i++)
        g[i] = spawn(read_and_write, &w);
    run_with_cancels(g, 6);
    CHECKS(coir_waitq_count(&w.lock.queue) == 0);
    CHECKS(coir_rwlock_unlock(&w.lock) == COIR_EINVAL);
    return 0;
}

TEST(sim_sync, rwlock)
{
    passes(use_rwlock);
}

/* --- barrier, group, once ------------------------------------------------ */

enum { PARTIES = 3 };

typedef struct meeting {
    coir_barrier barrier;
    coir_group group;
    coir_once_flag once;
    int met, lasts;
    int set_up; /* 1 while it is under way, then 2 */
} meeting;

static int
set_up(void *arg)
{
    meeting *m = arg;
    CHECKS(m->set_up == 0);
    m->set_up = 1;
    pause_a_bit();
    int fails = below(3) == 0;
    m->set_up = fails ? 0 : 2;
    return fails ? COIR_ENOMEM : 0;
}

static int
meet(void *arg)
{
    meeting *m = arg;
    int err = coir_call_once(&m->once, set_up, m);
    CHECKS(err == 0 ? m->set_up == 2
                    : err == COIR_ENOMEM || err == COIR_ECANCELED);
    for (int i = 0; i < 4; i++) {
        err = coir_barrier_wait(&m->barrier, (int64_t)below(3000) * 1000);
        CHECKS(err >= 0 || is_early_end(err));
        m->met += err >= 0;
        m->lasts += err == 1;
        pause_a_bit();
    }
    CHECKS(coir_group_done(&m->group) == 0);
    return 0;
}

static int
use_meeting(void *arg)
{
    (void)arg;
    meeting m = {.met = 0};
    coir_barrier_init(&m.barrier, PARTIES);
    coir_green *g[7];
    for (int i = 0; i < 7; i++) {
        coir_group_add(&m.group, 1);
        g[i] = spawn(meet, &m);
    }
    int err = coir_group_wait(&m.group, some_timeout());
    CHECKS(err == 0 ? coir_group_count(&m.group) == 0 : err == COIR_ETIMEDOUT);
    run_with_cancels(g, 7);
    /* One that was cancelled before it ran has not come at all. */
    while (coir_group_done(&m.group) == 0)
        ;
    CHECKS(coir_group_wait(&m.group, COIR_FOREVER) == 0);
    CHECKS(m.met == m.lasts * PARTIES);
    CHECKS(coir_waitq_count(&m.barrier.queue) == 0);
    return 0;
}

TEST(sim_sync, barrier_group_and_once)
{
    passes(use_meeting);
}

/* --- select, callbacks --------------------------------------------------- */

enum { CALLBACKS = 4 };

typedef struct select_world {
    coir_queue queues[2];
    coir_semaphore semaphore;
    coir_callback callbacks[CALLBACKS];
    int waits[CALLBACKS]; /* has to be called yet */
    uintptr_t next;       /* to be put */
    uintptr_t put, got;   /* sums */
    unsigned taken;
} select_world;

static void
account(select_world *w, const coir_case *c)
{
    if (c->kind == COIR_CASE_ACQUIRE)
        w->taken++;
    else if (c->result == 0 && c->kind == COIR_CASE_PUT)
        w->put += (uintptr_t)c->item;
    else if (c->result == 0)
        w->got += (uintptr_t)c->item;
}

static coir_case
some_case(select_world *w)
{
    coir_queue *q = &w->queues[below(2)];
    switch (below(3)) {
    case 0:
        return (coir_case){.kind = COIR_CASE_ACQUIRE, .object = &w->semaphore};
    case 1:
        return (coir_case){.kind = COIR_CASE_GET, .object = q};
    default:
        return (coir_case){
            .kind = COIR_CASE_PUT, .object = q, .item = (void *)++w->next};
    }
}

static int
select_some(void *arg)
{
    select_world *w = arg;
    for (int i = 0; i < 4; i++) {
        coir_case cases[3] = {some_case(w), some_case(w), some_case(w)};
        int at = coir_select(cases, 3, some_timeout());
        CHECKS(at >= 0 || is_early_end(at));
        if (at >= 0)
            account(w, &cases[at]);
        if (at >= 0 && cases[at].kind == COIR_CASE_ACQUIRE) {
            pause_a_bit();
            w->taken--;
            coir_semaphore_release(&w->semaphore, 1);
        }
        pause_a_bit();
    }
    return 0;
}

static void
called(coir_callback *cb)
{
    select_world *w = cb->data;
    CHECKS(w->waits[cb - w->callbacks]);
    w->waits[cb - w->callbacks] = 0;
    account(w, &cb->what);
    if (cb->what.kind == COIR_CASE_ACQUIRE) {
        w->taken--;
        coir_semaphore_release(&w->semaphore, 1);
    }
}

static int
start_and_stop(void *arg)
{
    select_world *w = arg;
    for (int i = 0; i < 12; i++) {
        unsigned which = below(CALLBACKS);
        coir_callback *cb = &w->callbacks[which];
        if (!w->waits[which]) {
            *cb =
                (coir_callback){.fn = called, .data = w, .what = some_case(w)};
            w->waits[which] = 1;
            CHECKS(coir_callback_start(cb, coir_hub_get()) == 0);
        }
        else if (below(2) && coir_callback_stop(cb))
            w->waits[which] = 0;
        pause_a_bit();
    }
    return 0;
}

/* Closes the queues when nobody has come to another for a while. */
static int
close_at_last(void *arg)
{
    select_world *w = arg;
    CHECKS(coir_sleep(100 * MS) == 0);
    coir_queue_close(&w->queues[0]);
    coir_queue_close(&w->queues[1]);
    return 0;
}

static int
use_select(void *arg)
{
    (void)arg;
    select_world w = {.next = 0};
    CHECKS(coir_queue_init(&w.queues[0], below(2)) == 0);
    CHECKS(coir_queue_init(&w.queues[1], 0) == 0);
    coir_semaphore_init(&w.semaphore, 2);
    coir_green *g[7];
    for (int i = 0; i < 5; i++)
        g[i] = spawn(select_some, &w);
    g[5] = spawn(start_and_stop, &w);
    g[6] = spawn(close_at_last, &w);
    run_with_cancels(g, 5);
    join_all(g + 5, 2);
    CHECKS(coir_sleep(MS) == 0);
    void *item;
    while (coir_queue_get(&w.queues[0], &item, 0) == 0)
        w.got += (uintptr_t)item;
    for (int i = 0; i < CALLBACKS; i++)
        CHECKS(!w.waits[i]);
    CHECKS(w.put == w.got);
    CHECKS(w.taken == 0 && coir_semaphore_count(&w.semaphore) == 2);
    for (int i = 0; i < 2; i++) {
        CHECKS(coir_waitq_count(&w.queues[i].getters) == 0);
        CHECKS(coir_waitq_count(&w.queues[i].putters) == 0);
        coir_queue_fini(&w.queues[i]);
    }
    return 0;
}

TEST(sim_sync, select_and_callbacks)
{
    passes(use_select);
}
