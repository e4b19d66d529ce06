/* test_sync_stress.c - all of coir/sync.h at once, by green threads of several
 * hubs and by native threads, with timeouts and cancels at random.
 *
 * Everyone does one random thing after another with the same few objects, and
 * checks what it relies on: that it is alone, that what it gets was put. A
 * green thread ends after some, or when it is cancelled, and is followed by
 * another one. When the time is over the queues are closed, and everyone is to
 * end: who has missed a wake-up never does. Then all that was put, taken and
 * counted has to add up.
 *
 * COIR_STRESS_SECONDS makes it last longer, COIR_TEST_SEED makes the same
 * choices, though not at the same times. */
#include <coir/sync.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "hub/internal.h"

#define MS COIR_NS_PER_MS
#define S COIR_NS_PER_S

enum { HUBS = 4, GREENS = 200, NATIVES = 4, UNITS = 20, PARTIES = 5 };

static uint64_t base_seed;
static int stop; /* atomic */

typedef struct hub_thread {
    unsigned index;
    int greens;
    coir_green *green[GREENS];
    unsigned spawned;
    coir_group callbacks; /* that have to be called yet */
} hub_thread;

/* One that takes part. */
typedef struct actor {
    coir_test_random random;
    hub_thread *hub; /* NULL: a native thread */
} actor;

static size_t
below(actor *a, size_t limit)
{
    return coir_test_random_below(&a->random, limit);
}

static int64_t
some_timeout(actor *a)
{
    size_t kind = below(a, 4);
    return kind == 0   ? 0
           : kind == 1 ? (int64_t)below(a, 200000)
                       : COIR_FOREVER;
}

/* Let others run, in the midst of something. */
static void
linger(actor *a)
{
    if (a->hub != NULL && below(a, 4) == 0)
        (void)coir_yield();
}

static void
add(long *count, long n)
{
    (void)__atomic_add_fetch(count, n, __ATOMIC_RELAXED);
}

static long
get(const long *count)
{
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}

/* An error that a wait may end with. */
static int
may_fail(int err)
{
    return err == COIR_ETIMEDOUT || err == COIR_ECANCELED;
}

/* --- locks --------------------------------------------------------------- */

static coir_mutex mutex = COIR_MUTEX_RECURSIVE_INIT;
static long in_mutex, counted; /* under the mutex */
static long sections;

static int
use_mutex(actor *a)
{
    int err = coir_mutex_lock(&mutex, some_timeout(a));
    if (err < 0)
        return err;
    CHECK_EQ(in_mutex++, 0);
    linger(a);
    if (below(a, 8) == 0) {
        CHECK_EQ(coir_mutex_lock(&mutex, 0), 0);
        CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    }
    counted++;
    add(&sections, 1);
    CHECK_EQ(--in_mutex, 0);
    CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    return 0;
}

static coir_rwlock rwlock = COIR_RWLOCK_INIT;
static long readers, writers, writes;
static long written; /* under the lock */

static int
use_rwlock(actor *a)
{
    if (below(a, 4) == 0) {
        int err = coir_rwlock_write(&rwlock, some_timeout(a));
        if (err < 0)
            return err;
        add(&writers, 1);
        CHECK_EQ(get(&writers), 1);
        linger(a);
        CHECK_EQ(get(&readers), 0);
        written++;
        add(&writes, 1);
        add(&writers, -1);
    }
    else {
        int err = coir_rwlock_read(&rwlock, some_timeout(a));
        if (err < 0)
            return err;
        add(&readers, 1);
        long seen = written;
        linger(a);
        CHECK_EQ(get(&writers), 0);
        CHECK_EQ(seen, written);
        add(&readers, -1);
    }
    CHECK_EQ(coir_rwlock_unlock(&rwlock), 0);
    return 0;
}

static coir_semaphore semaphore = COIR_SEMAPHORE_INIT(UNITS);
static long holders;

static int
use_semaphore(actor *a)
{
    int err = coir_semaphore_acquire(&semaphore, some_timeout(a));
    if (err < 0)
        return err;
    add(&holders, 1);
    CHECK(get(&holders) <= UNITS);
    linger(a);
    add(&holders, -1);
    coir_semaphore_release(&semaphore, 1);
    return 0;
}

/* --- conditions ---------------------------------------------------------- */

static coir_mutex token_mutex;
static coir_condition condition;
static long tokens, made, spent; /* under the mutex */

static int
has_token(void *arg)
{
    (void)arg;
    return tokens > 0 || __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static int
make_tokens(actor *a)
{
    int err = coir_mutex_lock(&token_mutex, some_timeout(a));
    if (err < 0)
        return err;
    long n = 1 + (long)below(a, 3);
    tokens += n;
    made += n;
    if (n > 1)
        coir_condition_notify_all(&condition);
    else
        coir_condition_notify(&condition);
    CHECK_EQ(coir_mutex_unlock(&token_mutex), 0);
    return 0;
}

static int
spend_token(actor *a)
{
    int err = coir_mutex_lock(&token_mutex, some_timeout(a));
    if (err < 0)
        return err;
    err = coir_condition_wait_for(&condition, &token_mutex, has_token, NULL,
                                  some_timeout(a));
    CHECK(coir_mutex_is_locked(&token_mutex));
    if (err == 0 && tokens > 0) {
        tokens--;
        spent++;
    }
    CHECK_EQ(coir_mutex_unlock(&token_mutex), 0);
    return err;
}

/* --- queues -------------------------------------------------------------- */

enum { QUEUES = 3 };

static coir_queue queues[QUEUES]; /* a channel, a small one, unbounded */
static long put_count, got_count;
static uint64_t put_sum, got_sum; /* atomic */

static void
account_put(const void *item)
{
    add(&put_count, 1);
    (void)__atomic_add_fetch(&put_sum, (uintptr_t)item, __ATOMIC_RELAXED);
}

static void
account_got(const void *item)
{
    CHECK_EQ((uintptr_t)item % 4, 3);
    add(&got_count, 1);
    (void)__atomic_add_fetch(&got_sum, (uintptr_t)item, __ATOMIC_RELAXED);
}

static void *
some_item(actor *a)
{
    return (void *)(uintptr_t)(coir_test_random_next(&a->random) | 3);
}

static int
put(actor *a)
{
    coir_queue *q = &queues[below(a, QUEUES)];
    void *item = some_item(a);
    if (coir_queue_count(q) > 100)
        return 0;
    int err = below(a, 3) == 0 ? coir_queue_put_front(q, item, some_timeout(a))
                               : coir_queue_put(q, item, some_timeout(a));
    if (err == 0)
        account_put(item);
    return err;
}

static int
take(actor *a)
{
    size_t which = below(a, QUEUES);
    void *item = NULL;
    int err;
    if (which > 0 && below(a, 4) == 0) {
        err = coir_queue_peek(&queues[which], &item, some_timeout(a));
        CHECK(err < 0 || (uintptr_t)item % 4 == 3);
        return err;
    }
    err = coir_queue_get(&queues[which], &item, some_timeout(a));
    if (err == 0)
        account_got(item);
    return err;
}

static int
use_select(actor *a)
{
    coir_case cases[4];
    for (int i = 0; i < 3; i++) {
        coir_queue *q = &queues[below(a, QUEUES)];
        int kind = below(a, 2) && coir_queue_count(q) < 100 ? COIR_CASE_PUT
                                                            : COIR_CASE_GET;
        cases[i] = (coir_case){.kind = kind, .object = q};
        if (kind == COIR_CASE_PUT)
            cases[i].item = some_item(a);
    }
    cases[3] = (coir_case){.kind = COIR_CASE_ACQUIRE, .object = &semaphore};
    int at = coir_select(cases, below(a, 2) ? 4 : 3, some_timeout(a));
    if (at < 0)
        return at;
    const coir_case *c = &cases[at];
    if (c->kind == COIR_CASE_ACQUIRE)
        coir_semaphore_release(&semaphore, 1);
    else if (c->result == 0 && c->kind == COIR_CASE_PUT)
        account_put(c->item);
    else if (c->result == 0)
        account_got(c->item);
    return c->result;
}

/* --- others -------------------------------------------------------------- */

static coir_event event;

static int
use_event(actor *a)
{
    size_t what = below(a, 4);
    if (what == 0)
        coir_event_set(&event);
    else if (what == 1)
        coir_event_clear(&event);
    else
        return coir_event_wait(&event, (int64_t)below(a, 100000));
    return 0;
}

static coir_barrier barrier = COIR_BARRIER_INIT(PARTIES);
static long met, firsts;

static int
use_barrier(actor *a)
{
    int err = coir_barrier_wait(&barrier, (int64_t)below(a, 500000));
    if (err < 0)
        return err;
    add(&met, 1);
    add(&firsts, err);
    return 0;
}

static void
called(coir_callback *cb)
{
    hub_thread *hub = cb->data;
    CHECK_EQ(cb->what.result, 0);
    coir_semaphore_release(&semaphore, 1);
    coir_free(cb);
    CHECK_EQ(coir_group_done(&hub->callbacks), 0);
}

static int
use_callback(actor *a)
{
    if (a->hub == NULL)
        return 0;
    coir_callback *cb = coir_malloc(sizeof *cb);
    CHECK(cb != NULL);
    *cb = (coir_callback){
        .fn = called,
        .data = a->hub,
        .what = {.kind = COIR_CASE_ACQUIRE, .object = &semaphore}};
    coir_group_add(&a->hub->callbacks, 1);
    CHECK_EQ(coir_callback_start(cb, coir_hub_get()), 0);
    if (below(a, 2) && coir_callback_stop(cb)) {
        coir_free(cb);
        CHECK_EQ(coir_group_done(&a->hub->callbacks), 0);
    }
    return 0;
}

static int
cancel_another(actor *a)
{
    if (a->hub == NULL || below(a, 8) != 0)
        return 0;
    coir_green *g = a->hub->green[below(a, (size_t)a->hub->greens)];
    if (g != NULL)
        coir_cancel(g);
    return 0;
}

/* --- those who take part ------------------------------------------------- */

static void
act(actor *a, int times)
{
    static int (*const acts[])(actor * a) = {
        use_mutex, use_rwlock,  use_semaphore, make_tokens,   spend_token,
        put,       put,         take,          take,          use_select,
        use_event, use_barrier, use_callback,  cancel_another};
    while (times-- > 0 && !__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        int err = acts[below(a, sizeof acts / sizeof acts[0])](a);
        if (err == COIR_ECLOSED || err == COIR_ECANCELED)
            break;
        CHECK(err == 0 || may_fail(err));
    }
}

static int
green_actor(void *arg)
{
    hub_thread *hub = arg;
    actor a = {.hub = hub};
    coir_test_random_seed(&a.random,
                          base_seed + hub->index * 1000003 + hub->spawned++);
    act(&a, 50);
    return 0;
}

static coir_green *
spawn_actor(hub_thread *hub)
{
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, green_actor, hub, NULL), 0);
    return g;
}

static void *
run_hub(void *arg)
{
    hub_thread *hub = arg;
    for (int i = 0; i < hub->greens; i++)
        hub->green[i] = spawn_actor(hub);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        for (int i = 0; i < hub->greens; i++) {
            CHECK_EQ(coir_join(hub->green[i], NULL), 0);
            hub->green[i] = NULL;
            hub->green[i] = spawn_actor(hub);
        }
    for (int i = 0; i < hub->greens; i++) {
        CHECK_EQ(coir_join(hub->green[i], NULL), 0);
        hub->green[i] = NULL;
    }
    CHECK_EQ(coir_group_wait(&hub->callbacks, COIR_FOREVER), 0);
    CHECK_EQ(coir_hub_fini(), 0);
    return NULL;
}

static void *
run_native(void *arg)
{
    actor a = {.hub = NULL};
    coir_test_random_seed(&a.random, base_seed ^ (uintptr_t)arg << 32);
    act(&a, INT32_MAX);
    CHECK_NULL(coir__hub);
    return NULL;
}

/* Nobody can wait any more for what others would have to bring. */
static void
end_all(void)
{
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < QUEUES; i++)
        coir_queue_close(&queues[i]);
    CHECK_EQ(coir_mutex_lock(&token_mutex, COIR_FOREVER), 0);
    coir_condition_notify_all(&condition);
    CHECK_EQ(coir_mutex_unlock(&token_mutex), 0);
}

static void
check_all(void)
{
    CHECK_EQ(counted, sections);
    CHECK_EQ(written, writes);
    CHECK_EQ(made, spent + tokens);
    CHECK_EQ(met, firsts * PARTIES);
    CHECK_EQ(coir_semaphore_count(&semaphore), UNITS);
    CHECK(!coir_mutex_is_locked(&mutex) &&
          !coir_mutex_is_locked(&token_mutex));
    CHECK_EQ(coir_rwlock_unlock(&rwlock), COIR_EINVAL);
    for (int i = 0; i < QUEUES; i++) {
        void *item;
        while (coir_queue_get(&queues[i], &item, 0) == 0)
            account_got(item);
        CHECK_EQ(coir_waitq_count(&queues[i].getters), 0);
        CHECK_EQ(coir_waitq_count(&queues[i].putters), 0);
        coir_queue_fini(&queues[i]);
    }
    CHECK_EQ(put_count, got_count);
    CHECK_EQ(put_sum, got_sum);
    const coir_waitq *const all[] = {
        &mutex.queue,     &rwlock.queue, &semaphore.queue, &token_mutex.queue,
        &condition.queue, &event.queue,  &barrier.queue};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CHECK_EQ(coir_waitq_count(all[i]), 0);
        CHECK_NULL(all[i]->head);
        CHECK_NULL(all[i]->tail);
    }
}

TEST(sync_stress, nothing_is_lost)
{
    const char *text = getenv("COIR_STRESS_SECONDS");
    unsigned seconds = text != NULL ? (unsigned)atoi(text) : 1;
    static hub_thread hubs[HUBS];
    pthread_t threads[HUBS + NATIVES];
    coir_test_random random;
    coir_test_timeout(30 + seconds);
    coir_test_random_init(&random);
    base_seed = coir_test_random_next(&random);
    CHECK_EQ(coir_queue_init(&queues[0], 0), 0);
    CHECK_EQ(coir_queue_init(&queues[1], 3), 0);
    CHECK_EQ(coir_queue_init(&queues[2], COIR_QUEUE_UNBOUNDED), 0);
    for (uintptr_t i = 0; i < HUBS + NATIVES; i++) {
        if (i < HUBS) {
            hubs[i].index = (unsigned)i;
            hubs[i].greens = coir_test_is_slow() ? GREENS / 10 : GREENS;
        }
        CHECK_EQ(pthread_create(&threads[i], NULL,
                                i < HUBS ? run_hub : run_native,
                                i < HUBS ? (void *)&hubs[i] : (void *)i),
                 0);
    }
    coir_clock_sleep(seconds * S);
    end_all();
    for (int i = 0; i < HUBS + NATIVES; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    check_all();
    printf("# %ld mutex, %ld write, %ld spent, %ld got, %ld met; %u ended\n",
           sections, writes, spent, got_count, met,
           hubs[0].spawned + hubs[1].spawned + hubs[2].spawned +
               hubs[3].spawned);
    CHECK(sections > 0 && writes > 0 && spent > 0 && got_count > 0 && met > 0);
}
