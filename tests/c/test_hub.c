/* test_hub.c - green threads, on a clock that stands still. */
#include <coir/look.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "green_helper.h"
#include "hub_helper.h"

static int
say(void *arg)
{
    trace(arg);
    return 7;
}

TEST(hub, spawned_run_when_this_one_waits)
{
    begin();
    coir_green *a = spawn(say, "a"), *b = spawn(say, "b");
    CHECK_TRACE("");
    CHECK_EQ(coir_green_state(a), COIR_GREEN_READY);
    CHECK_EQ(join(b), 7);
    CHECK_TRACE("a b");
    CHECK_EQ(coir_green_state(a), COIR_GREEN_ENDED);
    CHECK_EQ(join(a), 7);
    finish();
}

static int
say_three_times(void *arg)
{
    for (int i = 0; i < 3; i++) {
        trace(arg);
        CHECK_EQ(coir_yield(), 0);
    }
    return 0;
}

TEST(hub, yield_goes_round)
{
    begin();
    coir_green *a = spawn(say_three_times, "a");
    coir_green *b = spawn(say_three_times, "b");
    CHECK_EQ(coir_yield(), 0);
    trace("main");
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("a b main a b a b");
    CHECK_EQ(coir_hub_run(), 0); /* at once */
    (void)join(a);
    (void)join(b);
    CHECK_EQ(coir_yield(), 0);
    finish();
}

static int
sleeper(void *arg)
{
    const char *name = arg;
    int64_t before = f.monotonic;
    int64_t time = (name[0] - '0') * S;
    CHECK_EQ(coir_sleep(time), 0);
    CHECK_EQ(f.monotonic - before, time);
    trace(name);
    return 0;
}

TEST(hub, sleep)
{
    begin();
    coir_green *g[3] = {spawn(sleeper, "3"), spawn(sleeper, "1"),
                        spawn(sleeper, "2")};
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("1 2 3");
    for (int i = 0; i < 3; i++)
        (void)join(g[i]);
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_EQ(coir_sleep(-5), 0);
    finish();
}

static coir_timer ticker;

static void
tick(coir_loop *l, coir_timer *w, int revents)
{
    (void)w;
    (void)revents;
    CHECK_NULL(coir_self());
    CHECK_EQ(coir_sleep(S), COIR_EINVAL); /* callbacks must not */
    CHECK_EQ(coir_yield(), COIR_EINVAL);
    coir_timer_stop(l, &ticker);
}

/* One that never waits must not keep the loop from being looked at. */
TEST(hub, budget)
{
    begin();
    coir_timer_init(&ticker, tick, 0, S);
    coir_timer_start(loop, &ticker);
    int turns = 0;
    while (coir_is_active(&ticker)) {
        CHECK_EQ(coir_yield(), 0);
        CHECK(++turns < 1000);
    }
    CHECK(turns > 10);
    coir_hub_set_budget(coir_hub_get(), 1);
    CHECK_EQ(coir_yield(), 0);
    finish();
}

/* --- joining ------------------------------------------------------------- */

static int
wait_for_ever(void *arg)
{
    (void)arg;
    int err = coir_park("nothing", &f, COIR_FOREVER);
    trace(err == COIR_ECANCELED ? "cancelled" : "woken");
    return err;
}

static int
join_other(void *arg)
{
    coir_green *other = *(coir_green **)arg;
    return coir_join(other, NULL);
}

TEST(hub, join_that_is_given_up)
{
    begin();
    coir_green *g = spawn(wait_for_ever, NULL);
    coir_green *joiner;
    CHECK_EQ(coir_spawn(&joiner, join_other, &g, NULL), 0);
    CHECK_EQ(coir_yield(), 0);
    CHECK_STR(coir_green_waits_for(joiner), "join");
    CHECK_EQ(coir_join(g, NULL), COIR_EINVAL); /* one may */
    coir_cancel(joiner);
    CHECK_EQ(join(joiner), COIR_ECANCELED);
    CHECK_EQ(coir_unpark(g, 5), 1);
    CHECK_EQ(coir_unpark(g, 6), 0);
    CHECK_EQ(join(g), 5);
    CHECK_EQ(coir_join(coir_self(), NULL), COIR_EINVAL);
    CHECK_TRACE("woken");
    finish();
}

TEST(hub, detached)
{
    begin();
    coir_green_attr attr = {.name = "d", .detached = 1};
    CHECK_EQ(coir_spawn(NULL, say, (void *)(uintptr_t) "a", &attr), 0);
    CHECK_EQ(coir_spawn(NULL, say, (void *)(uintptr_t) "b", NULL),
             COIR_EINVAL);
    coir_green *c = spawn(say, "c");
    coir_detach(c);
    coir_green *d = spawn(say, "d");
    CHECK_EQ(coir_hub_run(), 0);
    coir_detach(d); /* it has ended already */
    CHECK_TRACE("a c d");
    finish();
}

TEST(hub, many_are_used_again)
{
    begin();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2000; i++) {
            coir_green *g = spawn(say, "");
            coir_detach(g);
            trace_text[0] = '\0';
        }
        CHECK_EQ(coir_hub_run(), 0);
        trace_text[0] = '\0';
    }
    finish();
}

static int
sleep_long(void *arg)
{
    (void)arg;
    return coir_sleep(10 * S);
}

static int
unpark_main(void *arg)
{
    CHECK_EQ(coir_unpark(arg, 5), 0);
    return coir_sleep(S);
}

static int
room(void *arg)
{
    void *low, *high;
    CHECK_EQ(coir_coro_stack_bounds(coir_coro_current(), &low, &high), 0);
    *(size_t *)arg = (size_t)((char *)high - (char *)low);
    return 0;
}

static size_t
room_of(size_t stack_size)
{
    size_t size;
    coir_green_attr attr = {.stack_size = stack_size};
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, room, &size, &attr), 0);
    (void)join(g);
    return size;
}

TEST(hub, coroutines_are_used_again_only_with_the_stack_asked_for)
{
    begin();
    enum { KIB = 1024 };
    CHECK_EQ(coir_thread_set_stack_size(64 * KIB), 0);
    coir_green *old = spawn(say, "old");
    CHECK_EQ(coir_yield(), 0); /* has ended, but was not joined */
    CHECK_EQ(room_of(0), 64 * KIB);
    CHECK_EQ(room_of(256 * KIB), 256 * KIB);
    CHECK_EQ(room_of(0), 64 * KIB);
    CHECK_EQ(coir_thread_set_stack_size(128 * KIB), 0);
    (void)join(old);
    CHECK_EQ(room_of(0), 128 * KIB);
    CHECK_EQ(coir_thread_set_stack_size(32 * KIB), 0);
    CHECK_EQ(room_of(0), 32 * KIB);
    finish();
}

TEST(hub, unpark_ends_no_other_waits)
{
    begin();
    coir_green *g = spawn(sleep_long, NULL), *u;
    CHECK_EQ(coir_spawn(&u, unpark_main, coir_self(), NULL), 0);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_EQ(f.waited, 10 * S);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(join(u), 0);
    g = spawn(sleep_long, NULL);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_unpark(g, 5), 0);
    CHECK_EQ(join(g), 0);
    finish();
}

static int
end_at_once(void *arg)
{
    (void)arg;
    return 0;
}

/* Whatever main waits for, only coir_hub_run() ends with the last of them. */
TEST(hub, last_one_to_end_wakes_no_other_wait_of_main)
{
    begin();
    coir_green *g = spawn(end_at_once, NULL);
    CHECK_EQ(coir_park("x", coir_hub_get(), 5 * S), COIR_ETIMEDOUT);
    coir_detach(g);
    finish();
}

/* --- cancelling ---------------------------------------------------------- */

static int
stubborn(void *arg)
{
    (void)arg;
    CHECK_EQ(coir_sleep(100 * S), COIR_ECANCELED);
    CHECK_EQ(coir_sleep(S), COIR_ECANCELED); /* it stays so */
    CHECK_EQ(coir_yield(), COIR_ECANCELED);
    coir_shield_begin();
    CHECK_EQ(coir_sleep(S), 0);
    coir_shield_end();
    CHECK_EQ(coir_park("x", NULL, S), COIR_ECANCELED);
    return 3;
}

TEST(hub, cancel)
{
    begin();
    coir_green *g = spawn(stubborn, NULL);
    CHECK_EQ(coir_sleep(S), 0);
    CHECK(!coir_is_cancelled(g));
    coir_cancel(g);
    coir_cancel(g);
    CHECK(coir_is_cancelled(g));
    CHECK_EQ(join(g), 3);
    CHECK_EQ(f.waited, 2 * S);
    finish();
}

static int
shielded(void *arg)
{
    (void)arg;
    coir_shield_begin();
    CHECK_EQ(coir_sleep(10 * S), 0);
    coir_shield_end();
    return coir_sleep(S);
}

TEST(hub, shield_defers_a_cancel)
{
    begin();
    coir_green *g = spawn(shielded, NULL);
    CHECK_EQ(coir_sleep(S), 0);
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    CHECK_EQ(f.waited, 10 * S);
    finish();
}

TEST(hub, cancelled_before_it_ran)
{
    begin();
    coir_green *g = spawn(say, "never");
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    CHECK_TRACE("");
    finish();
}

/* --- deadlines ----------------------------------------------------------- */

static int
child_of_deadline(void *arg)
{
    (void)arg;
    CHECK_EQ(coir_deadline_remaining(), 2 * S);
    return coir_sleep(10 * S);
}

TEST(hub, deadlines_nest_and_are_inherited)
{
    begin();
    coir_deadline outer, inner;
    CHECK_EQ(coir_deadline_remaining(), COIR_FOREVER);
    coir_deadline_begin(&outer, 5 * S);
    CHECK_EQ(coir_sleep(3 * S), 0);
    coir_deadline_begin(&inner, 10 * S); /* no later than the outer one */
    CHECK_EQ(coir_deadline_remaining(), 2 * S);
    coir_green *g = spawn(child_of_deadline, NULL);
    CHECK_EQ(coir_sleep(20 * S), COIR_ETIMEDOUT);
    CHECK_EQ(f.waited, 5 * S);
    CHECK_EQ(coir_deadline_remaining(), 0);
    CHECK_EQ(coir_sleep(S), COIR_ETIMEDOUT); /* it stays so */
    CHECK_EQ(coir_deadline_end(&inner), 0);
    CHECK_EQ(coir_deadline_end(&outer), 1);
    CHECK_EQ(coir_sleep(S), 0);
    CHECK_EQ(join(g), COIR_ETIMEDOUT);
    coir_deadline_begin(&outer, COIR_FOREVER);
    CHECK_EQ(coir_park("x", NULL, S), COIR_ETIMEDOUT); /* a wait's own */
    CHECK_EQ(coir_deadline_end(&outer), 0);
    finish();
}

/* --- values -------------------------------------------------------------- */

static const char key, other_key;
static int finished;

static void
fini(void *value)
{
    finished += *(int *)value;
}

static int
with_values(void *arg)
{
    static int one = 1, ten = 10;
    CHECK_NULL(coir_local_get(&key));
    CHECK_EQ(coir_local_set(&key, &one, fini), 0);
    CHECK_EQ(coir_local_set(&other_key, arg, NULL), 0);
    CHECK_EQ(coir_yield(), 0);
    CHECK(coir_local_get(&key) == &one);
    CHECK(coir_local_get(&other_key) == arg);
    CHECK_EQ(coir_local_set(&key, &ten, fini), 0);
    CHECK_EQ(finished, *(char *)arg - 'a' == 0 ? 1 : 12);
    return 0;
}

TEST(hub, values)
{
    begin();
    coir_green *a = spawn(with_values, "a"), *b = spawn(with_values, "b");
    (void)join(a);
    (void)join(b);
    CHECK_EQ(finished, 22);
    CHECK_NULL(coir_local_get(&key));
    finish();
}

/* --- deadlocks ----------------------------------------------------------- */

TEST(hub, deadlock_is_reported_to_main)
{
    if (COIR_TEST_TSAN || getenv("QEMU_LD_PREFIX") != NULL)
        SKIP("TSan and qemu have threads of their own, which might end waits");
    begin();
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    int saved = dup(STDERR_FILENO);
    CHECK(dup2(fds[1], STDERR_FILENO) >= 0);
    coir_green_attr attr = {.name = "lost"};
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, wait_for_ever, NULL, &attr), 0);
    CHECK_EQ(coir_hub_run(), COIR_EDEADLK);
    CHECK_EQ(coir_park("me", NULL, COIR_FOREVER), COIR_EDEADLK);
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    char text[2000];
    ssize_t n = read(fds[0], text, sizeof text - 1);
    CHECK(n > 0);
    text[n] = '\0';
    CHECK(strstr(text, "deadlock") != NULL);
    CHECK(strstr(text, "lost") != NULL);
    CHECK(strstr(text, "waits for nothing") != NULL);
    CHECK(strstr(text, "all others to end") != NULL);
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    (void)close(saved);
    (void)close(fds[0]);
    (void)close(fds[1]);
    finish();
}

/* --- calls and threads --------------------------------------------------- */

static void
called(coir_call *call)
{
    CHECK_NULL(coir_self());
    (void)coir_unpark(call->data, 9);
}

static void *
post(void *arg)
{
    coir_call *call = arg;
    coir_green *g = call->data;
    coir_hub_post(g->hub, call);
    return NULL;
}

TEST(hub, call_from_another_thread)
{
    coir_call call = {.fn = called, .data = coir_self()};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, post, &call), 0);
    CHECK_EQ(coir_park("a call", NULL, COIR_FOREVER), 9);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

static void *
cancel(void *arg)
{
    coir_cancel(arg);
    coir_cancel(arg); /* on its way already, or there */
    return NULL;
}

static int
park_and_end(void *arg)
{
    pthread_t *thread = arg;
    CHECK_EQ(pthread_create(thread, NULL, cancel, coir_self()), 0);
    return coir_park("a cancel", NULL, COIR_FOREVER);
}

TEST(hub, cancel_from_another_thread)
{
    pthread_t thread;
    coir_green *g;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(coir_spawn(&g, park_and_end, &thread, NULL), 0);
        CHECK_EQ(coir_yield(), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(join(g), COIR_ECANCELED);
    }
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST(hub, cancel_that_comes_too_late)
{
    pthread_t thread;
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, say, (void *)(uintptr_t) "a", NULL), 0);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(pthread_create(&thread, NULL, cancel, g), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(join(g), 7); /* with the cancel still in the inbox */
    CHECK_EQ(coir_spawn(&g, say, (void *)(uintptr_t) "b", NULL), 0);
    CHECK_EQ(join(g), 7);
    CHECK_TRACE("a b");
    CHECK_EQ(coir_hub_fini(), 0);
}

static void *
own_hub(void *arg)
{
    coir_green *g = spawn(say, arg);
    CHECK_EQ(coir_hub_run(), 0);
    (void)join(g);
    return NULL;
}

TEST(hub, one_per_thread_and_freed_with_it)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, own_hub, (void *)(uintptr_t) "t"),
             0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_TRACE("t");
    CHECK_NULL(coir__hub); /* and none in this one */
}

TEST(hub, fini_only_when_all_have_ended)
{
    begin();
    coir_green *g = spawn(wait_for_ever, NULL);
    CHECK_EQ(coir_hub_fini(), COIR_EBUSY);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_hub_fini(), COIR_EBUSY);
    coir_cancel(g);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_EQ(coir_hub_fini(), COIR_EBUSY); /* not joined */
    (void)join(g);
    finish();
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST(hub, without_memory)
{
    EACH_ALLOC_FAILURE(n)
    {
        coir_green *g = NULL;
        int err = coir_spawn(&g, say, (void *)(uintptr_t) "x", NULL);
        coir_test_fail_none();
        CHECK(err == 0 || err == COIR_ENOMEM);
        CHECK_EQ(g != NULL, err == 0);
        if (g != NULL)
            (void)join(g);
        CHECK_EQ(coir_hub_fini(), 0);
    }
}

static int
deep(void *arg)
{
    char buf[2000];
    memset(buf, *(char *)arg, sizeof buf);
    CHECK_EQ(coir_sleep(S), 0);
    for (size_t i = 0; i < sizeof buf; i++)
        CHECK_EQ(buf[i], *(char *)arg);
    trace(arg);
    return 0;
}

TEST(hub, slices)
{
    begin();
    coir_green_attr attr = {.policy = COIR_POLICY_SLICE};
    coir_green *g[3];
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_spawn(&g[i], deep, (void *)(uintptr_t)names[i], &attr),
                 0);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("a b c");
    for (int i = 0; i < 3; i++)
        (void)join(g[i]);
    finish();
}
