/* test_sync.c - events, semaphores, locks, conditions, queues; green threads
 * on a clock that stands still, and native threads. */
#include <coir/sync.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "green_helper.h"
#include "hub_helper.h"

/* --- events -------------------------------------------------------------- */

static coir_event event;

static int
wait_event(void *arg)
{
    int err = coir_event_wait(&event, 10 * S);
    trace(err == 0 ? arg : coir_strerror(err));
    return err;
}

TEST(sync, event_wakes_all_in_order)
{
    begin();
    coir_green *g[3] = {spawn(wait_event, "a"), spawn(wait_event, "b"),
                        spawn(wait_event, "c")};
    CHECK_EQ(coir_sleep(S), 0);
    CHECK_STR(coir_green_waits_for(g[0]), "event");
    coir_event_set(&event);
    coir_event_clear(&event); /* they were woken all the same */
    CHECK(!coir_event_is_set(&event));
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("a b c");
    for (int i = 0; i < 3; i++)
        CHECK_EQ(join(g[i]), 0);
    coir_event_set(&event);
    CHECK_EQ(coir_event_wait(&event, 0), 0);
    coir_event_init(&event);
    CHECK_EQ(coir_event_wait(&event, 0), COIR_ETIMEDOUT);
    CHECK_EQ(f.waited, S);
    finish();
}

TEST(sync, event_timed_out_and_cancelled)
{
    begin();
    coir_green *a = spawn(wait_event, "a"), *b = spawn(wait_event, "b"),
               *c = spawn(wait_event, "c");
    CHECK_EQ(coir_sleep(S), 0);
    coir_cancel(b);
    CHECK_EQ(join(b), COIR_ECANCELED);
    CHECK_EQ(join(a), COIR_ETIMEDOUT);
    CHECK_EQ(join(c), COIR_ETIMEDOUT);
    CHECK_NULL(event.queue.head);
    CHECK_NULL(event.queue.tail);
    finish();
}

/* --- semaphores ---------------------------------------------------------- */

static coir_semaphore semaphore;

static int
take(void *arg)
{
    int err = coir_semaphore_acquire(&semaphore, 10 * S);
    trace(err == 0 ? arg : coir_strerror(err));
    return err;
}

TEST(sync, semaphore_serves_in_order)
{
    begin();
    coir_semaphore_init(&semaphore, 2);
    coir_green *g[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++)
        g[i] = spawn(take, names[i]);
    CHECK_EQ(coir_sleep(S), 0);
    CHECK_TRACE("a b");
    CHECK_EQ(coir_semaphore_count(&semaphore), 0);
    coir_semaphore_release(&semaphore, 1);
    /* It is c's already, whoever comes. */
    CHECK_EQ(coir_semaphore_acquire(&semaphore, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_sleep(S), 0);
    CHECK_TRACE("c");
    coir_cancel(g[3]);
    coir_semaphore_release(&semaphore, 3);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("cancelled e");
    CHECK_EQ(coir_semaphore_count(&semaphore), 2);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(join(g[i]), i == 3 ? COIR_ECANCELED : 0);
    CHECK_EQ(coir_semaphore_acquire(&semaphore, 0), 0);
    finish();
}

/* Given and cancelled in the same turn: what was given is not lost. */
TEST(sync, semaphore_cancelled_after_it_was_given)
{
    begin();
    coir_semaphore_init(&semaphore, 0);
    coir_green *g = spawn(take, "a");
    CHECK_EQ(coir_sleep(S), 0);
    coir_semaphore_release(&semaphore, 1);
    coir_cancel(g);
    CHECK_EQ(join(g), 0);
    CHECK_TRACE("a");
    CHECK_EQ(coir_semaphore_count(&semaphore), 0);
    finish();
}

/* --- mutexes ------------------------------------------------------------- */

static coir_mutex mutex;

static int
hold(void *arg)
{
    CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), 0);
    trace(arg);
    CHECK_EQ(coir_sleep(S), 0);
    CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    return 0;
}

TEST(sync, mutex_is_handed_over)
{
    begin();
    coir_green *a = spawn(hold, "a"), *b = spawn(hold, "b");
    CHECK_EQ(coir_yield(), 0);
    CHECK(coir_mutex_is_locked(&mutex));
    CHECK_EQ(coir_mutex_unlock(&mutex), COIR_EINVAL);
    CHECK_EQ(coir_mutex_lock(&mutex, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_mutex_lock(&mutex, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), 0); /* behind b */
    CHECK_TRACE("a b");
    CHECK_EQ(f.waited, 2 * S);
    CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), COIR_EDEADLK);
    CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    CHECK(!coir_mutex_is_locked(&mutex));
    (void)join(a);
    (void)join(b);
    finish();
}

TEST(sync, mutex_recursive)
{
    begin();
    coir_mutex m = COIR_MUTEX_RECURSIVE_INIT;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_mutex_lock(&m, COIR_FOREVER), 0);
    for (int i = 0; i < 3; i++) {
        CHECK(coir_mutex_is_locked(&m));
        CHECK_EQ(coir_mutex_unlock(&m), 0);
    }
    CHECK_EQ(coir_mutex_unlock(&m), COIR_EINVAL);
    coir_mutex_init(&m, 0);
    CHECK_EQ(coir_mutex_lock(&m, 0), 0);
    CHECK_EQ(coir_mutex_lock(&m, 0), COIR_EDEADLK);
    finish();
}

/* --- conditions ---------------------------------------------------------- */

static coir_condition condition;
static int items;

static int
consume(void *arg)
{
    int err = coir_mutex_lock(&mutex, COIR_FOREVER);
    while (err == 0 && items == 0)
        err = coir_condition_wait(&condition, &mutex, 10 * S);
    if (err == 0)
        items--;
    trace(err == 0 ? arg : coir_strerror(err));
    CHECK_EQ(coir_mutex_unlock(&mutex), 0); /* owned in any case */
    return err;
}

TEST(sync, condition)
{
    begin();
    coir_green *g[4] = {spawn(consume, "a"), spawn(consume, "b"),
                        spawn(consume, "c"), spawn(consume, "d")};
    CHECK_EQ(coir_sleep(S), 0);
    CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), 0);
    items = 1;
    coir_condition_notify(&condition);
    CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    CHECK_EQ(join(g[0]), 0);
    coir_cancel(g[1]);
    CHECK_EQ(join(g[1]), COIR_ECANCELED);
    CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), 0);
    items = 1;
    coir_condition_notify_all(&condition);
    CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    CHECK_EQ(join(g[2]), 0);
    CHECK_EQ(join(g[3]), COIR_ETIMEDOUT);
    CHECK_TRACE("a cancelled c timed out");
    CHECK_EQ(coir_condition_wait(&condition, &mutex, S), COIR_EINVAL);
    finish();
}

/* However often it was locked. */
TEST(sync, condition_and_a_recursive_mutex)
{
    begin();
    coir_mutex m = COIR_MUTEX_RECURSIVE_INIT;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_mutex_lock(&m, 0), 0);
    CHECK_EQ(coir_condition_wait(&condition, &m, S), COIR_ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        CHECK(coir_mutex_is_locked(&m));
        CHECK_EQ(coir_mutex_unlock(&m), 0);
    }
    CHECK(!coir_mutex_is_locked(&m));
    finish();
}

static int
has_items(void *arg)
{
    CHECK(coir_mutex_is_locked(&mutex));
    return items >= (intptr_t)arg;
}

static int
add_items(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++) {
        CHECK_EQ(coir_sleep(S), 0);
        CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), 0);
        items++;
        coir_condition_notify(&condition);
        CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    }
    return 0;
}

TEST(sync, condition_wait_for)
{
    begin();
    coir_green *g = spawn(add_items, (void *)3);
    CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), 0);
    CHECK_EQ(coir_condition_wait_for(&condition, &mutex, has_items, (void *)2,
                                     10 * S),
             0);
    CHECK_EQ(f.waited, 2 * S);
    CHECK_EQ(coir_condition_wait_for(&condition, &mutex, has_items, (void *)4,
                                     10 * S),
             COIR_ETIMEDOUT); /* of all waits together */
    CHECK_EQ(f.waited, 12 * S);
    CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    CHECK_EQ(join(g), 0);
    finish();
}

/* --- locks for readers and writers --------------------------------------- */

static coir_rwlock rwlock;

static int
read_it(void *arg)
{
    int err = coir_rwlock_read(&rwlock, 10 * S);
    trace(err == 0 ? arg : coir_strerror(err));
    if (err < 0)
        return err;
    CHECK_EQ(coir_sleep(S), 0);
    return coir_rwlock_unlock(&rwlock);
}

static int
write_it(void *arg)
{
    int err = coir_rwlock_write(&rwlock, 10 * S);
    trace(err == 0 ? arg : coir_strerror(err));
    if (err < 0)
        return err;
    CHECK_EQ(coir_rwlock_read(&rwlock, COIR_FOREVER), COIR_EDEADLK);
    CHECK_EQ(coir_rwlock_write(&rwlock, COIR_FOREVER), COIR_EDEADLK);
    CHECK_EQ(coir_sleep(S), 0);
    return coir_rwlock_unlock(&rwlock);
}

/* Those who come later wait behind a writer. */
TEST(sync, rwlock_starves_nobody)
{
    begin();
    coir_rwlock_init(&rwlock);
    coir_green *g[] = {spawn(read_it, "r1"),  spawn(read_it, "r2"),
                       spawn(write_it, "w3"), spawn(read_it, "r4"),
                       spawn(read_it, "r5"),  spawn(write_it, "w6"),
                       spawn(write_it, "w7"), spawn(read_it, "r8")};
    CHECK_EQ(coir_yield(), 0);
    CHECK_TRACE("r1 r2");
    CHECK_STR(coir_green_waits_for(g[2]), "rwlock, to write");
    CHECK_STR(coir_green_waits_for(g[3]), "rwlock, to read");
    CHECK_EQ(coir_waitq_count(&rwlock.queue), 6);
    CHECK_EQ(coir_rwlock_read(&rwlock, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("w3 r4 r5 w6 w7 r8");
    CHECK_EQ(f.waited, 6 * S);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(join(g[i]), 0);
    CHECK_EQ(coir_rwlock_unlock(&rwlock), COIR_EINVAL);
    CHECK_EQ(coir_rwlock_write(&rwlock, 0), 0);
    CHECK_EQ(coir_rwlock_unlock(&rwlock), 0);
    finish();
}

/* Readers behind a writer that gives up need not wait any more. */
TEST(sync, rwlock_writer_that_gives_up)
{
    begin();
    coir_rwlock_init(&rwlock);
    CHECK_EQ(coir_rwlock_read(&rwlock, 0), 0);
    coir_green *w = spawn(write_it, "w"), *r = spawn(read_it, "r");
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_rwlock_write(&rwlock, S), COIR_ETIMEDOUT);
    coir_cancel(w);
    CHECK_EQ(join(w), COIR_ECANCELED);
    CHECK_EQ(coir_yield(), 0);
    CHECK_TRACE("cancelled r");
    CHECK_EQ(join(r), 0);
    CHECK_EQ(coir_rwlock_unlock(&rwlock), 0);
    CHECK_EQ(coir_rwlock_unlock(&rwlock), COIR_EINVAL);
    finish();
}

TEST(sync, rwlock_is_let_go_by_its_writer_only)
{
    begin();
    coir_rwlock_init(&rwlock);
    coir_green *w = spawn(write_it, "w");
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_rwlock_unlock(&rwlock), COIR_EINVAL);
    CHECK_EQ(join(w), 0);
    finish();
}

/* --- barriers, groups, once ---------------------------------------------- */

static coir_barrier barrier;

static int
meet(void *arg)
{
    int last = coir_barrier_wait(&barrier, 10 * S);
    trace(last < 0 ? coir_strerror(last) : last ? "last" : arg);
    return last;
}

TEST(sync, barrier)
{
    begin();
    coir_barrier_init(&barrier, 3);
    coir_green *g[] = {spawn(meet, "a"), spawn(meet, "b"), spawn(meet, "c"),
                       spawn(meet, "d"), spawn(meet, "e")};
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_yield(), 0);
    CHECK_TRACE("last a b");
    coir_cancel(g[3]); /* it has not come, then */
    CHECK_EQ(join(g[3]), COIR_ECANCELED);
    CHECK_EQ(coir_barrier_wait(&barrier, 0), COIR_ETIMEDOUT);
    coir_green *h = spawn(meet, "h");
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_barrier_wait(&barrier, 0), 1);
    CHECK_EQ(join(g[2]), 1);
    g[2] = spawn(meet, "i");
    CHECK_EQ(join(g[2]), COIR_ETIMEDOUT);
    CHECK_TRACE("cancelled e h timed out");
    CHECK_EQ(join(g[0]) + join(g[1]) + join(g[4]) + join(h), 0);
    coir_barrier_init(&barrier, 1);
    CHECK_EQ(coir_barrier_wait(&barrier, 0), 1);
    finish();
}

static coir_group group = COIR_GROUP_INIT(1);

static int
wait_group(void *arg)
{
    int err = coir_group_wait(&group, 10 * S);
    trace(err == 0 ? arg : coir_strerror(err));
    return err;
}

TEST(sync, group)
{
    begin();
    coir_green *a = spawn(wait_group, "a"), *b = spawn(wait_group, "b"),
               *c = spawn(wait_group, "c");
    CHECK_EQ(coir_yield(), 0);
    CHECK_STR(coir_green_waits_for(a), "group");
    coir_group_add(&group, 2);
    CHECK_EQ(coir_group_count(&group), 3);
    coir_cancel(b);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_group_done(&group), 0);
    coir_group_add(&group, 1); /* they are woken all the same */
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("cancelled a c");
    CHECK_EQ(coir_group_wait(&group, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_group_wait(&group, S), COIR_ETIMEDOUT);
    CHECK_EQ(coir_group_done(&group), 0);
    CHECK_EQ(coir_group_wait(&group, 0), 0);
    CHECK_EQ(coir_group_done(&group), COIR_EINVAL);
    CHECK_EQ(join(a) + join(c), 0);
    CHECK_EQ(join(b), COIR_ECANCELED);
    coir_group_init(&group, 0);
    CHECK_EQ(coir_group_wait(&group, COIR_FOREVER), 0);
    finish();
}

static coir_once_flag once = COIR_ONCE_FLAG_INIT;
static int attempts;

static int
set_up(void *arg)
{
    (void)arg;
    CHECK_EQ(coir_call_once(&once, set_up, NULL), COIR_EDEADLK);
    CHECK_EQ(coir_sleep(S), 0);
    return ++attempts < 2 ? COIR_ENOMEM : 5;
}

static int
call_once(void *arg)
{
    int err = coir_call_once(&once, set_up, NULL);
    trace(err == 0 ? arg : coir_strerror(err));
    return err;
}

/* The first one fails, so the second does it, and the third need not. */
TEST(sync, once)
{
    begin();
    coir_green *a = spawn(call_once, "a"), *b = spawn(call_once, "b"),
               *c = spawn(call_once, "c");
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_EQ(attempts, 2);
    CHECK_EQ(f.waited, 2 * S);
    CHECK_EQ(join(a), COIR_ENOMEM);
    CHECK_EQ(join(b) + join(c), 0);
    CHECK_EQ(call_once("d"), 0);
    finish();
}

/* --- queues -------------------------------------------------------------- */

static coir_queue queue;

static int
put_letters(void *arg)
{
    for (const char *c = arg; *c != '\0'; c++) {
        static char words[128][2];
        words[(int)*c][0] = *c;
        int err = coir_queue_put(&queue, words[(int)*c], 100 * S);
        if (err < 0)
            return err;
    }
    return 0;
}

static int
get_all(void *arg)
{
    void *item;
    int err;
    while ((err = coir_queue_get(&queue, &item, COIR_FOREVER)) == 0) {
        trace(item);
        CHECK_EQ(coir_sleep((intptr_t)arg * S), 0);
    }
    return err;
}

static void
check_queue(unsigned capacity)
{
    f.monotonic = 0;
    begin();
    CHECK_EQ(coir_queue_init(&queue, capacity), 0);
    coir_green *a = spawn(put_letters, "abcdef");
    coir_green *getter = spawn(get_all, (void *)1);
    CHECK_EQ(join(a), 0);
    CHECK(coir_queue_count(&queue) <= capacity);
    coir_green *b = spawn(put_letters, "gh");
    CHECK_EQ(join(b), 0);
    coir_queue_close(&queue);
    CHECK_EQ(join(getter), COIR_ECLOSED); /* and got what was in it */
    CHECK_TRACE("a b c d e f g h");
    CHECK_EQ(coir_queue_put(&queue, &queue, 0), COIR_ECLOSED);
    coir_queue_fini(&queue);
    finish();
}

TEST(sync, queue_with_room)
{
    check_queue(3);
    check_queue(100);
}

TEST(sync, queue_without_room_is_a_channel)
{
    check_queue(0);
}

TEST(sync, queue_waits_that_end)
{
    begin();
    void *item = &item;
    CHECK_EQ(coir_queue_init(&queue, 1), 0);
    CHECK_EQ(coir_queue_get(&queue, &item, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_queue_get(&queue, &item, S), COIR_ETIMEDOUT);
    CHECK(item == &item);
    CHECK_EQ(coir_queue_put(&queue, &queue, 0), 0);
    CHECK_EQ(coir_queue_put(&queue, &loop, S), COIR_ETIMEDOUT);
    coir_green *a = spawn(put_letters, "a"), *b = spawn(put_letters, "b");
    CHECK_EQ(coir_sleep(S), 0);
    coir_cancel(a);
    CHECK_EQ(join(a), COIR_ECANCELED);
    CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
    CHECK(item == &queue); /* neither the one that gave up, nor a's */
    CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
    CHECK_STR(item, "b");
    CHECK_EQ(join(b), 0);
    CHECK_EQ(coir_queue_put(&queue, &queue, 0), 0);
    coir_green *c = spawn(put_letters, "c");
    CHECK_EQ(coir_yield(), 0);
    coir_queue_close(&queue);
    CHECK_EQ(join(c), COIR_ECLOSED);
    CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
    CHECK_EQ(coir_queue_get(&queue, &item, S), COIR_ECLOSED);
    coir_queue_fini(&queue);
    CHECK_EQ(coir_queue_init(&queue, (1U << 30) + 1), COIR_EINVAL);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_queue_init(&queue, 10), COIR_ENOMEM);
    coir_test_fail_none();
    finish();
}

static int
take_letter(void *arg)
{
    void *item;
    int err = arg != NULL ? coir_queue_peek(&queue, &item, 10 * S)
                          : coir_queue_get(&queue, &item, 10 * S);
    trace(err == 0 ? item : coir_strerror(err));
    return err;
}

TEST(sync, queue_front)
{
    begin();
    CHECK_EQ(coir_queue_init(&queue, 3), 0);
    void *item;
    CHECK_EQ(coir_queue_put_front(&queue, "b", 0), 0);
    CHECK_EQ(coir_queue_put(&queue, "c", 0), 0);
    CHECK_EQ(coir_queue_put_front(&queue, "a", 0), 0);
    CHECK_EQ(coir_queue_put_front(&queue, "x", 0), COIR_ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
        trace(item);
    }
    CHECK_TRACE("a b c");
    coir_green *g = spawn(take_letter, NULL);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_queue_put_front(&queue, "d", 0), 0);
    CHECK_EQ(coir_queue_get(&queue, &item, 0), COIR_ETIMEDOUT);
    CHECK_EQ(join(g), 0);
    CHECK_TRACE("d");
    coir_queue_fini(&queue);
    finish();
}

static int
put_front_letter(void *arg)
{
    return coir_queue_put_front(&queue, arg, 10 * S);
}

/* Those who wait to put at the front come in order, and do so. */
TEST(sync, queue_front_that_waits)
{
    begin();
    CHECK_EQ(coir_queue_init(&queue, 2), 0);
    CHECK_EQ(coir_queue_put(&queue, "a", 0), 0);
    CHECK_EQ(coir_queue_put(&queue, "b", 0), 0);
    coir_green *c = spawn(put_front_letter, "c"), *d = spawn(put_letters, "d");
    CHECK_EQ(coir_yield(), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(take_letter(NULL), 0);
    CHECK_TRACE("a c b d");
    CHECK_EQ(join(c) + join(d), 0);
    coir_queue_fini(&queue);
    finish();
}

TEST(sync, queue_peek)
{
    begin();
    void *item = NULL;
    CHECK_EQ(coir_queue_init(&queue, 2), 0);
    CHECK_EQ(coir_queue_peek(&queue, &item, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_queue_peek(&queue, &item, S), COIR_ETIMEDOUT);
    CHECK_NULL(item);
    coir_green *g[] = {spawn(take_letter, "peek"), spawn(take_letter, NULL),
                       spawn(take_letter, "peek"), spawn(take_letter, "peek")};
    CHECK_EQ(coir_yield(), 0);
    CHECK_STR(coir_green_waits_for(g[0]), "queue, to peek");
    /* Those who peek take nothing, whether before one that gets, or behind. */
    CHECK_EQ(coir_queue_put(&queue, "a", 0), 0);
    CHECK_EQ(coir_queue_put(&queue, "b", 0), 0);
    CHECK_EQ(coir_queue_put(&queue, "c", 0), 0);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("a a b b");
    CHECK_EQ(coir_queue_count(&queue), 2);
    CHECK_EQ(take_letter("peek"), 0);
    CHECK_EQ(take_letter(NULL), 0);
    CHECK_EQ(take_letter(NULL), 0);
    CHECK_TRACE("b b c");
    for (int i = 0; i < 4; i++)
        CHECK_EQ(join(g[i]), 0);
    coir_queue_close(&queue);
    CHECK_EQ(coir_queue_peek(&queue, &item, S), COIR_ECLOSED);
    coir_queue_fini(&queue);
    CHECK_EQ(coir_queue_init(&queue, 0), 0);
    CHECK_EQ(coir_queue_peek(&queue, &item, S), COIR_EINVAL);
    coir_queue_fini(&queue);
    finish();
}

TEST(sync, queue_unbounded)
{
    begin();
    CHECK_EQ(coir_queue_init(&queue, COIR_QUEUE_UNBOUNDED), 0);
    coir_green *g = spawn(take_letter, "peek");
    CHECK_EQ(coir_yield(), 0);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_queue_put(&queue, "a", 0), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_waitq_count(&queue.getters), 1); /* it has seen nothing */
    CHECK_EQ(coir_queue_put(&queue, "a", 0), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(take_letter(NULL), 0);
    CHECK_TRACE("a a");
    /* Some are taken meanwhile, so that the ring is not straight. */
    intptr_t in = 0, out = 0;
    void *item;
    while (in < 10000) {
        CHECK_EQ(coir_queue_put(&queue, (void *)in++, 0), 0);
        if (in % 3 == 0) {
            CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
            CHECK_EQ((intptr_t)item, out++);
        }
    }
    CHECK_EQ(coir_queue_count(&queue), in - out);
    coir_test_fail_alloc(0);
    long failures = coir_test_failures(COIR_TEST_ALLOC);
    for (; coir_test_failures(COIR_TEST_ALLOC) == failures; in++)
        if (coir_queue_put(&queue, (void *)in, 0) < 0)
            break;
    coir_test_fail_none();
    while (out < in) { /* the one that failed is not there */
        CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
        CHECK_EQ((intptr_t)item, out++);
    }
    CHECK_EQ(coir_queue_get(&queue, &item, 0), COIR_ETIMEDOUT);
    coir_queue_fini(&queue);
    finish();
}

TEST(sync, queue_capacity_changes)
{
    begin();
    CHECK_EQ(coir_queue_init(&queue, 1), 0);
    CHECK_EQ(coir_queue_put(&queue, "a", 0), 0);
    coir_green *b = spawn(put_letters, "bc"), *d = spawn(put_letters, "d");
    CHECK_EQ(coir_yield(), 0);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_queue_set_capacity(&queue, 3), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_queue_set_capacity(&queue, (1U << 30) + 1), COIR_EINVAL);
    CHECK_EQ(coir_queue_count(&queue), 1);
    CHECK_EQ(coir_queue_set_capacity(&queue, 2), 0); /* room for b */
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_queue_count(&queue), 2);
    CHECK_EQ(coir_queue_set_capacity(&queue, COIR_QUEUE_UNBOUNDED), 0);
    CHECK_EQ(join(b) + join(d), 0);
    CHECK_EQ(coir_queue_count(&queue), 4);
    CHECK_EQ(coir_queue_set_capacity(&queue, 1), 0);
    CHECK_EQ(coir_queue_put(&queue, "x", 0), COIR_ETIMEDOUT);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(take_letter(NULL), 0);
    CHECK_TRACE("a b d c");
    /* A channel, whose putters become those of a queue. */
    CHECK_EQ(coir_queue_set_capacity(&queue, 0), 0);
    b = spawn(put_letters, "b");
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_queue_count(&queue), 0);
    CHECK_EQ(coir_queue_set_capacity(&queue, 10), 0);
    CHECK_EQ(join(b), 0);
    CHECK_EQ(coir_queue_count(&queue), 1);
    CHECK_EQ(take_letter(NULL), 0);
    /* Where there is no place, none can be looked at. */
    coir_green *g = spawn(take_letter, "peek"), *h = spawn(take_letter, NULL);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_queue_set_capacity(&queue, 0), 0);
    CHECK_EQ(join(g), COIR_EINVAL);
    CHECK_EQ(coir_queue_put(&queue, "c", 0), 0);
    CHECK_EQ(join(h), 0);
    CHECK_TRACE("b invalid argument c");
    coir_queue_fini(&queue);
    finish();
}

/* --- callbacks may not wait, but wake ------------------------------------ */

static void
in_callback(coir_loop *l, coir_timer *w, int revents)
{
    (void)l;
    (void)w;
    (void)revents;
    CHECK_EQ(coir_event_wait(&event, S), COIR_EINVAL);
    CHECK_EQ(coir_event_wait(&event, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_mutex_lock(&mutex, S), COIR_EINVAL);
    coir_event_set(&event);
}

TEST(sync, callback)
{
    begin();
    CHECK_EQ(coir_mutex_lock(&mutex, S), 0);
    coir_timer timer;
    coir_timer_init(&timer, in_callback, S, 0);
    coir_timer_start(loop, &timer);
    CHECK_EQ(coir_event_wait(&event, COIR_FOREVER), 0);
    CHECK_EQ(coir_mutex_unlock(&mutex), 0);
    finish();
}

/* --- native threads ------------------------------------------------------ */

static void *
native_wait(void *arg)
{
    coir_event never = COIR_EVENT_INIT;
    CHECK_NULL(coir__hub);
    CHECK_EQ(coir_event_wait(&never, MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_event_wait(arg, COIR_FOREVER), 0);
    CHECK_NULL(coir__hub); /* it needs none */
    return NULL;
}

static void *
native_set(void *arg)
{
    coir_event *e = arg;
    while (coir_waitq_count(&e->queue) == 0)
        (void)sched_yield();
    coir_event_set(e);
    return NULL;
}

TEST(sync, native_thread_waits_for_a_green_one)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, native_wait, &event), 0);
    while (coir_waitq_count(&event.queue) == 0)
        CHECK_EQ(coir_yield(), 0);
    coir_event_set(&event);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST(sync, green_thread_waits_for_a_native_one)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, native_set, &event), 0);
    (void)coir_self();
    CHECK_EQ(coir_event_wait(&event, COIR_FOREVER), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

enum { PRODUCERS = 3, CONSUMERS = 4, NUMBERS = 1000 };

static void *
produce(void *arg)
{
    for (intptr_t i = 1; i <= NUMBERS; i++)
        CHECK_EQ(coir_queue_put(arg, (void *)i, COIR_FOREVER), 0);
    return NULL;
}

static intptr_t sum;

static int
consume_numbers(void *arg)
{
    void *item;
    while (coir_queue_get(arg, &item, COIR_FOREVER) == 0)
        sum += (intptr_t)item;
    return 0;
}

TEST(sync, queue_between_threads)
{
    intptr_t expected = PRODUCERS * NUMBERS * (NUMBERS + 1) / 2;
    for (unsigned capacity = 0; capacity < 20; capacity += 7) {
        sum = 0;
        CHECK_EQ(coir_queue_init(&queue, capacity), 0);
        pthread_t threads[PRODUCERS];
        coir_green *g[CONSUMERS];
        for (int i = 0; i < CONSUMERS; i++)
            g[i] = spawn(consume_numbers, &queue);
        for (int i = 0; i < PRODUCERS; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, produce, &queue), 0);
        while (sum < expected && coir_queue_count(&queue) <= capacity)
            CHECK_EQ(coir_sleep(MS), 0);
        coir_queue_close(&queue);
        for (int i = 0; i < CONSUMERS; i++)
            CHECK_EQ(join(g[i]), 0);
        for (int i = 0; i < PRODUCERS; i++)
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(sum, expected);
        coir_queue_fini(&queue);
    }
    CHECK_EQ(coir_hub_fini(), 0);
}

/* Some OS threads with many green ones each, and some without, on the same
 * mutex, condition and semaphore. */
enum { HUBS = 3, GREENS = 50, NATIVES = 3 };

static int rounds;
static long counter, passed; /* under the mutex */

static int
stress(void *arg)
{
    (void)arg;
    for (int i = 0; i < rounds; i++) {
        CHECK_EQ(coir_semaphore_acquire(&semaphore, COIR_FOREVER), 0);
        int err = coir_mutex_lock(&mutex, i % 7 == 0 ? 1000 : COIR_FOREVER);
        if (err == COIR_ETIMEDOUT)
            err = coir_mutex_lock(&mutex, COIR_FOREVER);
        CHECK_EQ(err, 0);
        CHECK(coir_mutex_is_locked(&mutex));
        CHECK(coir_semaphore_count(&semaphore) < 20);
        long seen = counter;
        if (coir__hub != NULL && i % 5 == 0)
            (void)coir_yield(); /* others want it meanwhile */
        counter = seen + 1;
        if (i % 3 == 0)
            coir_condition_notify(&condition);
        if (i % 11 == 0)
            (void)coir_condition_wait(&condition, &mutex, 100000);
        passed++;
        CHECK_EQ(coir_mutex_unlock(&mutex), 0);
        coir_semaphore_release(&semaphore, 1);
    }
    return 0;
}

static void *
native_stress(void *arg)
{
    (void)stress(arg);
    return NULL;
}

static void *
hub_stress(void *arg)
{
    coir_green *g[GREENS];
    for (int i = 0; i < GREENS; i++)
        g[i] = spawn(stress, arg);
    CHECK_EQ(coir_hub_run(), 0);
    for (int i = 0; i < GREENS; i++)
        CHECK_EQ(join(g[i]), 0);
    return NULL;
}

TEST(sync, nothing_is_lost_between_threads)
{
    coir_test_timeout(60);
    rounds = coir_test_is_slow() ? 10 : 100;
    coir_semaphore_init(&semaphore, 20);
    pthread_t threads[HUBS + NATIVES];
    for (int i = 0; i < HUBS + NATIVES; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL,
                                i < HUBS ? hub_stress : native_stress, NULL),
                 0);
    for (int i = 0; i < HUBS + NATIVES; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    long expected = (long)rounds * (HUBS * GREENS + NATIVES);
    CHECK_EQ(counter, expected);
    CHECK_EQ(passed, expected);
    CHECK_EQ(coir_semaphore_count(&semaphore), 20);
    CHECK_NULL(mutex.queue.head);
    CHECK(!coir_mutex_is_locked(&mutex));
}
