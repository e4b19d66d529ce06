/* test_select.c - waiting for one of several, and by callbacks. */
#include <coir/sync.h>
#include <pthread.h>
#include <stdlib.h>

#include "green_helper.h"
#include "hub/internal.h"
#include "loop_helper.h"

static fake f;
static coir_loop *loop;

static coir_queue q, r;
static coir_event event;
static coir_semaphore semaphore;
static coir_group group;

static void
begin(void)
{
    loop = fake_loop(&f);
    CHECK(coir__hub_make(loop) != NULL);
    CHECK_EQ(coir_queue_init(&q, 0), 0);
    CHECK_EQ(coir_queue_init(&r, 0), 0);
}

static void
finish(void)
{
    CHECK_EQ(coir_waitq_count(&q.getters) + coir_waitq_count(&q.putters), 0);
    CHECK_EQ(coir_waitq_count(&r.getters) + coir_waitq_count(&r.putters), 0);
    CHECK_EQ(coir_waitq_count(&event.queue), 0);
    CHECK_EQ(coir_waitq_count(&semaphore.queue), 0);
    coir_queue_fini(&q);
    coir_queue_fini(&r);
    CHECK_EQ(coir_hub_fini(), 0);
    coir_loop_free(loop);
}

/* Wait to get from q, or to put `arg` into r. */
static int
get_or_put(void *arg)
{
    coir_case cases[] = {{COIR_CASE_GET, 1, &q, NULL},
                         {COIR_CASE_PUT, 1, &r, arg}};
    int at = coir_select(cases, 2, 10 * S);
    if (at < 0)
        trace(coir_strerror(at));
    else if (cases[at].result < 0)
        trace(coir_strerror(cases[at].result));
    else
        trace(cases[at].item);
    for (int i = 0; i < 2; i++) /* what has not happened is as it was */
        CHECK(i == at || cases[i].result == 1);
    return at;
}

static int
get_from(void *arg)
{
    void *item;
    int err = coir_queue_get(arg, &item, 10 * S);
    trace(err == 0 ? item : coir_strerror(err));
    return err;
}

TEST(select, one_happens)
{
    begin();
    coir_green *a = spawn(get_or_put, "a"), *b = spawn(get_or_put, "b"),
               *c = spawn(get_or_put, "c");
    CHECK_EQ(coir_yield(), 0);
    CHECK_STR(coir_green_waits_for(a), "select");
    CHECK_EQ(coir_waitq_count(&q.getters), 3);
    CHECK_EQ(coir_waitq_count(&r.putters), 3);
    CHECK_EQ(coir_queue_put(&q, "x", 0), 0); /* a's */
    CHECK_EQ(get_from(&r), 0);               /* not from a */
    CHECK_EQ(coir_queue_put(&q, "y", 0), 0); /* not to b */
    CHECK_EQ(coir_queue_put(&q, "z", 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_queue_get(&r, NULL, 0), COIR_ETIMEDOUT);
    CHECK_EQ(join(a), 0);
    CHECK_EQ(join(b), 1);
    CHECK_EQ(join(c), 0);
    CHECK_TRACE("b x b y");
    finish();
}

/* Two that meet are agreed, in both directions; one does not meet itself. */
TEST(select, of_two_with_each_other)
{
    begin();
    coir_case own[] = {{COIR_CASE_GET, 0, &q, NULL},
                       {COIR_CASE_PUT, 0, &q, "own"}};
    CHECK_EQ(coir_select(own, 2, S), COIR_ETIMEDOUT);
    coir_green *a = spawn(get_or_put, "a");
    CHECK_EQ(coir_yield(), 0);
    coir_case cases[] = {{COIR_CASE_PUT, 0, &q, "x"},
                         {COIR_CASE_GET, 0, &r, NULL}};
    int at = coir_select(cases, 2, S);
    CHECK_EQ(join(a), at);
    CHECK_EQ(coir_select(cases, 2, S), COIR_ETIMEDOUT);
    finish();
}

TEST(select, timed_out_and_cancelled)
{
    begin();
    coir_green *a = spawn(get_or_put, "a"), *b = spawn(get_or_put, "b");
    CHECK_EQ(coir_sleep(S), 0);
    coir_cancel(b);
    CHECK_EQ(coir_waitq_count(&q.getters), 1);
    CHECK_EQ(join(b), COIR_ECANCELED);
    CHECK_EQ(join(a), COIR_ETIMEDOUT);
    CHECK_EQ(f.waited, 10 * S);
    CHECK_TRACE("cancelled timed out");
    coir_case none[] = {{COIR_CASE_NONE, 0, NULL, NULL},
                        {COIR_CASE_NONE, 0, NULL, NULL}};
    CHECK_EQ(coir_select(none, 2, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_select(none, 2, S), COIR_ETIMEDOUT);
    CHECK_EQ(coir_select(none, 0, S), COIR_ETIMEDOUT);
    CHECK_EQ(f.waited, 12 * S);
    none[1].kind = COIR_CASE_PEEK + 1;
    CHECK_EQ(coir_select(none, 2, S), COIR_EINVAL);
    none[1] = (coir_case){COIR_CASE_PEEK, 0, &q, NULL};
    CHECK_EQ(coir_select(none, 2, S), COIR_EINVAL); /* it is a channel */
    coir_deadline d;
    coir_deadline_begin(&d, S);
    CHECK_EQ(coir_select(none, 1, COIR_FOREVER), COIR_ETIMEDOUT);
    CHECK(coir_deadline_end(&d));
    finish();
}

/* What was handed over is not lost by a cancel that comes after it. */
TEST(select, cancelled_after_it_happened)
{
    begin();
    coir_green *a = spawn(get_or_put, "a");
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_queue_put(&q, "x", 0), 0);
    coir_cancel(a);
    CHECK_EQ(join(a), 0);
    CHECK_TRACE("x");
    finish();
}

TEST(select, closed)
{
    begin();
    coir_green *a = spawn(get_or_put, "a");
    CHECK_EQ(coir_yield(), 0);
    coir_queue_close(&r);
    CHECK_EQ(join(a), 1);
    CHECK_EQ(get_or_put("b"), 1);
    CHECK_TRACE("closed closed");
    finish();
}

/* Every kind, at once and after a wait. */
TEST(select, each_kind)
{
    begin();
    coir_queue full;
    CHECK_EQ(coir_queue_init(&full, 1), 0);
    coir_semaphore_init(&semaphore, 0);
    coir_group_init(&group, 1);
    coir_case all[] = {{COIR_CASE_EVENT, 0, &event, NULL},
                       {COIR_CASE_AVAILABLE, 0, &semaphore, NULL},
                       {COIR_CASE_ACQUIRE, 0, &semaphore, NULL},
                       {COIR_CASE_GROUP, 0, &group, NULL},
                       {COIR_CASE_PEEK, 0, &full, NULL},
                       {COIR_CASE_GET, 0, &full, NULL}};
    CHECK_EQ(coir_select(all, 6, 0), COIR_ETIMEDOUT);
    coir_event_set(&event);
    CHECK_EQ(coir_select(all, 6, 0), 0);
    coir_event_clear(&event);
    coir_semaphore_release(&semaphore, 1);
    CHECK_EQ(coir_select(all, 2, 0), 1);
    CHECK_EQ(coir_select(all + 2, 4, 0), 0);
    CHECK_EQ(coir_semaphore_count(&semaphore), 0);
    CHECK_EQ(coir_group_done(&group), 0);
    CHECK_EQ(coir_select(all, 6, 0), 3);
    coir_group_add(&group, 1);
    CHECK_EQ(coir_queue_put(&full, "x", 0), 0);
    CHECK_EQ(coir_select(all, 5, 0), 4);
    CHECK_STR(all[4].item, "x");
    CHECK_EQ(coir_select(all + 5, 1, 0), 0);
    CHECK_STR(all[5].item, "x");
    CHECK_EQ(coir_queue_count(&full), 0);
    all[5] = (coir_case){COIR_CASE_PUT, 0, &full, "y"};
    CHECK_EQ(coir_select(all, 6, 0), 5);
    CHECK_EQ(coir_select(all + 5, 1, 0), COIR_ETIMEDOUT);
    CHECK_EQ(get_from(&full), 0);
    CHECK_TRACE("y");
    coir_queue_fini(&full);
    finish();
}

static coir_queue boxes[20];

static int
get_any(void *arg)
{
    coir_case cases[20];
    for (int i = 0; i < 20; i++) /* in no order; two of each of the last */
        cases[i] = (coir_case){COIR_CASE_GET, 0, &boxes[i * 7 % 18], NULL};
    int at = coir_select(cases, 20, COIR_FOREVER);
    CHECK(at >= 0);
    CHECK(cases[at].item == cases[at].object);
    trace(arg);
    return at * 7 % 18;
}

TEST(select, of_many)
{
    begin();
    for (int i = 0; i < 18; i++)
        CHECK_EQ(coir_queue_init(&boxes[i], 0), 0);
    for (int i = 0; i < 18; i++) {
        coir_green *g = spawn(get_any, "g");
        CHECK_EQ(coir_yield(), 0);
        CHECK_EQ(coir_queue_put(&boxes[i], &boxes[i], 0), 0);
        CHECK_EQ(join(g), i);
        for (int j = 0; j < 18; j++)
            CHECK_EQ(coir_waitq_count(&boxes[j].getters), 0);
    }
    finish();
}

TEST(select, is_fair)
{
    begin();
    int taken[3] = {0, 0, 0};
    coir_case cases[3];
    coir_semaphore_init(&semaphore, 3000);
    for (int i = 0; i < 3; i++)
        cases[i] = (coir_case){COIR_CASE_ACQUIRE, 0, &semaphore, NULL};
    for (int i = 0; i < 3000; i++)
        taken[coir_select(cases, 3, 0)]++;
    for (int i = 0; i < 3; i++)
        CHECK(taken[i] > 900);
    coir_semaphore_init(&semaphore, 0);
    finish();
}

TEST(select, without_memory)
{
    begin();
    coir_case c = {COIR_CASE_GET, 0, &q, NULL};
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_select(&c, 1, S), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_select(&c, 1, S), COIR_ETIMEDOUT);
    long calls = coir_test_calls(COIR_TEST_ALLOC);
    CHECK_EQ(coir_select(&c, 1, S), COIR_ETIMEDOUT);
    CHECK_EQ(coir_test_calls(COIR_TEST_ALLOC), calls);
    coir_queue unbounded;
    CHECK_EQ(coir_queue_init(&unbounded, COIR_QUEUE_UNBOUNDED), 0);
    c = (coir_case){COIR_CASE_PUT, 0, &unbounded, "x"};
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_select(&c, 1, S), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_select(&c, 1, S), 0);
    coir_queue_fini(&unbounded);
    finish();
}

/* On a slice, whose stack is elsewhere while others write what it gets. */
TEST(select, on_a_slice)
{
    begin();
    coir_green_attr attr = {.policy = COIR_POLICY_SLICE};
    coir_green *g[3];
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        CHECK_EQ(
            coir_spawn(&g[i], get_or_put, (void *)(uintptr_t)names[i], &attr),
            0);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_queue_put(&q, "x", 0), 0);
    CHECK_EQ(get_from(&r), 0);
    CHECK_EQ(coir_queue_put(&q, "y", 0), 0);
    CHECK_EQ(join(g[0]) + join(g[1]) + join(g[2]), 1);
    CHECK_TRACE("b x b y");
    finish();
}

/* --- callbacks ----------------------------------------------------------- */

static void
called(coir_callback *cb)
{
    CHECK_NULL(coir_self());
    trace(cb->what.result < 0     ? coir_strerror(cb->what.result)
          : cb->what.item == NULL ? cb->data
                                  : cb->what.item);
}

static void
start(coir_callback *cb, const char *name, int kind, void *object)
{
    *cb = (coir_callback){.fn = called,
                          .data = (void *)(uintptr_t)name,
                          .what = {kind, 0, object, NULL}};
    CHECK_EQ(coir_callback_start(cb, coir_hub_get()), 0);
}

TEST(callback, is_made_by_the_hub)
{
    begin();
    coir_callback a, b;
    start(&a, "a", COIR_CASE_EVENT, &event);
    start(&b, "b", COIR_CASE_EVENT, &event);
    CHECK_EQ(coir_sleep(S), 0);
    CHECK_TRACE("");
    coir_event_set(&event);
    coir_event_clear(&event);
    CHECK_TRACE("");
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("a b");
    CHECK_EQ(coir_callback_stop(&a), 0);
    coir_event_set(&event);
    start(&a, "at once", COIR_CASE_EVENT, &event);
    CHECK_TRACE("");
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("at once");
    a.what.kind = COIR_CASE_NONE;
    CHECK_EQ(coir_callback_start(&a, coir_hub_get()), COIR_EINVAL);
    finish();
}

TEST(callback, stands_in_line)
{
    begin();
    coir_semaphore_init(&semaphore, 0);
    coir_callback a, b, c, d, e;
    start(&a, "a", COIR_CASE_ACQUIRE, &semaphore);
    start(&b, "b", COIR_CASE_AVAILABLE, &semaphore);
    start(&c, "c", COIR_CASE_ACQUIRE, &semaphore);
    start(&d, "d", COIR_CASE_ACQUIRE, &semaphore);
    start(&e, "e", COIR_CASE_AVAILABLE, &semaphore);
    CHECK_EQ(coir_callback_stop(&c), 1);
    CHECK_EQ(coir_callback_stop(&c), 0);
    coir_semaphore_release(&semaphore, 1);
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("a");
    coir_semaphore_release(&semaphore, 2);
    CHECK_EQ(coir_callback_stop(&d), 0); /* it has its own */
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("b d e");
    CHECK_EQ(coir_semaphore_count(&semaphore), 1);
    finish();
}

TEST(callback, gets_and_puts)
{
    begin();
    coir_callback a, b, c;
    start(&a, "a", COIR_CASE_GET, &q);
    start(&b, "b", COIR_CASE_GET, &q);
    CHECK_EQ(coir_queue_put(&q, "x", 0), 0);
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("x");
    coir_queue_close(&q);
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("closed");
    c = (coir_callback){.fn = called, .what = {COIR_CASE_PUT, 0, &r, "y"}};
    CHECK_EQ(coir_callback_start(&c, coir_hub_get()), 0);
    start(&a, "a", COIR_CASE_GET, &r);
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("y y");
    finish();
}

TEST(callback, without_memory)
{
    begin();
    coir_queue unbounded;
    CHECK_EQ(coir_queue_init(&unbounded, COIR_QUEUE_UNBOUNDED), 0);
    coir_callback c = {.fn = called,
                       .what = {COIR_CASE_PUT, 0, &unbounded, "x"}};
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_callback_start(&c, coir_hub_get()), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_callback_start(&c, coir_hub_get()), 0);
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("x");
    CHECK_EQ(get_from(&unbounded), 0);
    coir_queue_fini(&unbounded);
    finish();
}

/* --- between threads ----------------------------------------------------- */

static coir_callback from_thread;
static coir_event was_called;

static void
set_was_called(coir_callback *cb)
{
    CHECK(cb == &from_thread);
    CHECK_STR(cb->what.item, "from a thread");
    coir_event_set(&was_called);
}

static void *
put_once(void *arg)
{
    CHECK_EQ(coir_queue_put(arg, "from a thread", COIR_FOREVER), 0);
    return NULL;
}

TEST(callback, from_another_thread)
{
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(coir_queue_init(&q, 0), 0);
        coir_event_init(&was_called);
        from_thread = (coir_callback){.fn = set_was_called,
                                      .what = {COIR_CASE_GET, 0, &q, NULL}};
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, put_once, &q), 0);
        CHECK_EQ(coir_callback_start(&from_thread, coir_hub_get()), 0);
        CHECK_EQ(coir_event_wait(&was_called, COIR_FOREVER), 0);
        CHECK_EQ(coir_hub_fini(), 0); /* while that thread may yet be in it */
        CHECK_EQ(pthread_join(thread, NULL), 0);
        coir_queue_fini(&q);
    }
}

enum { HUBS = 3, GREENS = 8, NATIVES = 2, CHANNELS = 4 };

static coir_queue channels[CHANNELS];
static coir_event stop;
static unsigned enough;
static unsigned put_count, got_count; /* atomic */
static uint64_t put_sum, got_sum;     /* atomic */

static void
account(const coir_case *c)
{
    uint64_t item = (uint64_t)(uintptr_t)c->item;
    if (c->kind == COIR_CASE_PUT) {
        if (__atomic_add_fetch(&put_count, 1, __ATOMIC_RELAXED) == enough)
            coir_event_set(&stop);
        __atomic_add_fetch(&put_sum, item, __ATOMIC_RELAXED);
    }
    else {
        __atomic_add_fetch(&got_count, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&got_sum, item, __ATOMIC_RELAXED);
    }
}

/* Get from two of the channels or put into two, until enough was put. */
static int
mix(void *arg)
{
    coir_test_random random;
    coir_test_random_seed(&random, (uint64_t)(uintptr_t)arg);
    for (unsigned i = 0;; i++) {
        coir_case cases[5] = {{COIR_CASE_EVENT, 0, &stop, NULL}};
        for (int j = 1; j < 5; j++) {
            size_t c = coir_test_random_below(&random, CHANNELS);
            cases[j] = (coir_case){j < 3 ? COIR_CASE_GET : COIR_CASE_PUT, 0,
                                   &channels[c], NULL};
            if (j >= 3)
                cases[j].item =
                    (void *)(uintptr_t)(coir_test_random_next(&random) | 1);
        }
        int64_t timeout_ns = i % 4 == 0
                                 ? (int64_t)coir_test_random_below(&random, MS)
                                 : COIR_FOREVER;
        int at = coir_select(cases, 5, timeout_ns);
        if (at == 0)
            return 0;
        CHECK(at > 0 || (at == COIR_ETIMEDOUT && i % 4 == 0));
        if (at > 0)
            account(&cases[at]);
    }
}

static void *
native_mix(void *arg)
{
    (void)mix(arg);
    return NULL;
}

static void *
hub_mix(void *arg)
{
    coir_green *g[GREENS];
    for (uintptr_t i = 0; i < GREENS; i++)
        g[i] = spawn(mix, (void *)((uintptr_t)arg * GREENS + i + 1));
    for (int i = 0; i < GREENS; i++)
        CHECK_EQ(join(g[i]), 0);
    return NULL;
}

/* All put and get at once in the same channels: what was put was got, once. */
TEST(select, between_threads)
{
    coir_test_timeout(60);
    enough = coir_test_is_slow() ? 2000 : 50000;
    for (int i = 0; i < CHANNELS; i++)
        CHECK_EQ(coir_queue_init(&channels[i], i == 3 ? 2 : 0), 0);
    pthread_t threads[HUBS + NATIVES];
    for (uintptr_t i = 0; i < HUBS + NATIVES; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL,
                                i < HUBS ? hub_mix : native_mix,
                                (void *)(i + 1)),
                 0);
    for (int i = 0; i < HUBS + NATIVES; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < CHANNELS; i++) {
        coir_case rest = {COIR_CASE_GET, 0, &channels[i], NULL};
        while (coir_select(&rest, 1, 0) == 0)
            account(&rest);
        CHECK_EQ(coir_waitq_count(&channels[i].getters), 0);
        CHECK_EQ(coir_waitq_count(&channels[i].putters), 0);
        coir_queue_fini(&channels[i]);
    }
    CHECK(put_count >= enough);
    CHECK_EQ(put_count, got_count);
    CHECK_EQ(put_sum, got_sum);
}
