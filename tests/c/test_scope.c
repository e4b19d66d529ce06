/* test_scope.c - scopes of green threads, on a clock that stands still. */
#include <coir/hub.h>
#include <coir/sync.h>
#include <stdlib.h>

#include "hub/internal.h"
#include "loop_helper.h"

static fake f;
static coir_loop *loop;
static coir_scope *scope;
static int64_t start;

static void
begin(void)
{
    loop = fake_loop(&f);
    CHECK(coir__hub_make(loop) != NULL);
    start = f.monotonic;
}

static void
finish(void)
{
    CHECK_EQ(coir_hub_fini(), 0);
    coir_loop_free(loop);
}

/* "2": sleeps for 2 s, then says so; "x" if that was cut short. */
static int
sleeper(void *arg)
{
    const char *name = arg;
    int err = coir_sleep((name[0] - '0') * S);
    trace(err == 0 ? name : "x");
    return err;
}

/* Fails after 1 s, with what it is given. */
static int
failing(void *arg)
{
    CHECK_EQ(coir_sleep(1 * S), 0);
    trace("fail");
    return *(int *)arg;
}

static void
spawn(coir_scope *s, coir_green_fn *fn, const void *arg)
{
    CHECK_EQ(coir_scope_spawn(s, fn, (void *)(uintptr_t)arg, NULL), 0);
}

TEST(scope, ends_when_all_in_it_have)
{
    begin();
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, sleeper, "3");
    spawn(scope, sleeper, "1");
    spawn(scope, sleeper, "2");
    CHECK_TRACE("");
    CHECK_EQ(coir_scope_end(scope), 0);
    CHECK_TRACE("1 2 3");
    CHECK_EQ(f.monotonic - start, 3 * S);
    CHECK_EQ(coir_scope_begin(&scope), 0);
    CHECK_EQ(coir_scope_end(scope), 0); /* an empty one: at once */
    finish();
}

TEST(scope, has_no_place_for_nothing)
{
    begin();
    CHECK_EQ(coir_scope_begin(&scope), 0);
    CHECK_EQ(coir_scope_spawn(scope, NULL, NULL, NULL), COIR_EINVAL);
    coir_green_attr attr = {.policy = 77};
    CHECK_EQ(coir_scope_spawn(scope, sleeper, NULL, &attr), COIR_EINVAL);
    CHECK_EQ(coir_scope_end(scope), 0);
    finish();
}

static int
spawn_two_more(void *arg)
{
    spawn(arg, sleeper, "2");
    CHECK_EQ(coir_sleep(1 * S), 0);
    spawn(arg, sleeper, "4");
    return 0;
}

TEST(scope, those_in_it_may_spawn_in_it)
{
    begin();
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, spawn_two_more, scope);
    CHECK_EQ(coir_scope_end(scope), 0);
    CHECK_TRACE("2 4");
    CHECK_EQ(f.monotonic - start, 5 * S);
    finish();
}

TEST(scope, one_that_fails_cancels_the_others)
{
    begin();
    int error = -77, later = -78;
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, sleeper, "5");
    spawn(scope, failing, &error);
    spawn(scope, failing, &later); /* ready already when it is cancelled */
    spawn(scope, sleeper, "7");
    CHECK_EQ(coir_scope_end(scope), -77);
    CHECK_EQ(f.monotonic - start, 1 * S);
    CHECK_TRACE("fail fail x x");
    CHECK_EQ(coir_is_cancelled(coir_self()), 0);
    finish();
}

TEST(scope, one_that_fails_ends_the_waits_of_the_owner)
{
    begin();
    int error = -77;
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, failing, &error);
    CHECK_EQ(coir_sleep(9 * S), COIR_ECANCELED);
    CHECK_EQ(f.monotonic - start, 1 * S);
    CHECK_EQ(coir_sleep(1 * S), COIR_ECANCELED);
    CHECK_EQ(coir_scope_is_cancelled(scope), 1);
    CHECK_EQ(coir_is_cancelled(coir_self()), 1);
    CHECK_EQ(coir_scope_spawn(scope, sleeper, "1", NULL), COIR_ECANCELED);
    CHECK_EQ(coir_scope_end(scope), -77);
    CHECK_EQ(coir_is_cancelled(coir_self()), 0);
    CHECK_EQ(coir_sleep(1 * S), 0);
    finish();
}

TEST(scope, cancelling_it_is_no_failure)
{
    begin();
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, sleeper, "5");
    CHECK_EQ(coir_sleep(1 * S), 0);
    coir_scope_cancel(scope);
    coir_scope_cancel(scope);
    CHECK_EQ(coir_scope_end(scope), 0);
    CHECK_TRACE("x");
    CHECK_EQ(f.monotonic - start, 1 * S);
    finish();
}

static int
owner_of_two(void *arg)
{
    (void)arg;
    coir_scope *outer, *inner;
    CHECK_EQ(coir_scope_begin(&outer), 0);
    spawn(outer, sleeper, "8");
    CHECK_EQ(coir_scope_begin(&inner), 0);
    spawn(inner, sleeper, "9");
    CHECK_EQ(coir_scope_end(inner), COIR_ECANCELED);
    trace("inner");
    CHECK_EQ(coir_scope_end(outer), COIR_ECANCELED);
    trace("outer");
    return 5;
}

TEST(scope, cancelling_the_owner_reaches_all)
{
    begin();
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, owner_of_two, NULL, NULL), 0);
    CHECK_EQ(coir_sleep(1 * S), 0);
    coir_cancel(g);
    int result;
    CHECK_EQ(coir_join(g, &result), 0);
    CHECK_EQ(result, 5);
    CHECK_TRACE("x inner x outer");
    CHECK_EQ(f.monotonic - start, 1 * S);
    finish();
}

static int
stubborn(void *arg)
{
    coir_shield_begin();
    CHECK_EQ(coir_sleep(5 * S), 0);
    coir_shield_end();
    trace(arg);
    return 0;
}

TEST(scope, waits_for_those_that_clean_up)
{
    begin();
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, stubborn, "stubborn");
    coir_deadline d;
    coir_deadline_begin(&d, 2 * S);
    CHECK_EQ(coir_scope_end(scope), COIR_ETIMEDOUT);
    CHECK_EQ(f.monotonic - start, 5 * S);
    CHECK_TRACE("stubborn");
    CHECK_EQ(coir_deadline_end(&d), 1);
    finish();
}

TEST(scope, those_in_it_inherit_the_deadline)
{
    begin();
    coir_deadline d;
    coir_deadline_begin(&d, 2 * S);
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, sleeper, "1");
    spawn(scope, sleeper, "9");
    CHECK_EQ(coir_scope_end(scope), COIR_ETIMEDOUT);
    CHECK_EQ(f.monotonic - start, 2 * S);
    CHECK_TRACE("1 x");
    CHECK_EQ(coir_deadline_end(&d), 1);
    finish();
}

static int
inner_fails(void *arg)
{
    (void)arg;
    int error = -5;
    coir_scope *outer, *inner;
    CHECK_EQ(coir_scope_begin(&outer), 0);
    CHECK_EQ(coir_scope_begin(&inner), 0);
    spawn(inner, failing, &error);
    CHECK_EQ(coir_scope_end(inner), -5);
    CHECK_EQ(coir_sleep(1 * S), 0); /* the outer one is not concerned */
    CHECK_EQ(coir_scope_begin(&inner), 0);
    coir_scope_cancel(outer);
    CHECK_EQ(coir_sleep(1 * S), COIR_ECANCELED);
    CHECK_EQ(coir_scope_end(inner), 0);
    CHECK_EQ(coir_sleep(1 * S), COIR_ECANCELED);
    CHECK_EQ(coir_scope_end(outer), 0);
    CHECK_EQ(coir_sleep(1 * S), 0);
    return 0;
}

TEST(scope, nest)
{
    begin();
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, inner_fails, NULL, NULL), 0);
    CHECK_EQ(coir_join(g, NULL), 0);
    CHECK_TRACE("fail");
    finish();
}

static coir_event never;

static int
wait_for_ever(void *arg)
{
    coir_shield_begin();
    int err = coir_event_wait(&never, COIR_FOREVER);
    coir_shield_end();
    trace(arg);
    return err;
}

TEST(scope, deadlock_ends_it)
{
    if (COIR_TEST_TSAN || getenv("QEMU_LD_PREFIX") != NULL)
        SKIP("TSan and qemu have threads of their own, which might end waits");
    begin();
    CHECK_EQ(coir_scope_begin(&scope), 0);
    spawn(scope, wait_for_ever, "late");
    /* Nobody can end those in it: it is given up. */
    CHECK_EQ(coir_scope_end(scope), COIR_EDEADLK);
    coir_event_set(&never);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_TRACE("late");
    finish();
}

TEST(scope, without_memory)
{
    begin();
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_scope_begin(&scope), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_scope_begin(&scope), 0);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_scope_spawn(scope, sleeper, "1", NULL), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_scope_end(scope), 0);
    finish();
}

TEST(scope, of_slices)
{
    begin();
    coir_green_attr attr = {.policy = COIR_POLICY_SLICE};
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, owner_of_two, NULL, &attr), 0);
    CHECK_EQ(coir_sleep(1 * S), 0);
    coir_cancel(g);
    CHECK_EQ(coir_join(g, NULL), 0);
    CHECK_TRACE("x inner x outer");
    finish();
}
