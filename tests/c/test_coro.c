/* test_coro.c - coroutines: include/coir/coro.h, on both policies.
 *
 * Values that are switched are small numbers, V(n), so that a wrong one is
 * readable in a failed check. */
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coir/coro.h>

#include "coir_config.h"
#include "harness.h"

#define V(n) ((void *)(intptr_t)(n))

enum {
    NEW = COIR_CORO_NEW,
    RUNNING = COIR_CORO_RUNNING,
    SUSPENDED = COIR_CORO_SUSPENDED,
    FINISHED = COIR_CORO_FINISHED
};

static coir_coro *
new_child(int policy, coir_coro *parent, coir_coro_fn fn, void *arg)
{
    coir_coro *co = NULL;
    coir_coro_attr attr = {.policy = policy, .parent = parent};
    CHECK_EQ(coir_coro_new(&co, fn, arg, &attr), 0);
    CHECK(co != NULL);
    CHECK_EQ(coir_coro_state(co), NEW);
    return co;
}

static coir_coro *
new_coro(int policy, coir_coro_fn fn, void *arg)
{
    return new_child(policy, NULL, fn, arg);
}

static void *
switch_to(coir_coro *co, void *value)
{
    void *out = V(-1);
    CHECK_EQ(coir_coro_switch(co, value, &out), 0);
    CHECK_EQ(coir_coro_switch_failed(), 0);
    return out;
}

/* Unwind it if need be, and free it. */
static void
end(coir_coro *co)
{
    CHECK_EQ(coir_coro_cancel(co), 0);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
}

/* -- bodies --------------------------------------------------------------- */

/* Gives back arg. */
static int
body_return(void *arg, void *value, void **result)
{
    (void)value;
    *result = arg;
    return 0;
}

/* Fails with the number in arg. */
static int
body_fail(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    return (int)(intptr_t)arg;
}

/* Hands each value it gets, plus one, to its parent, until an error comes,
 * which it passes on. */
static int
body_echo(void *arg, void *value, void **result)
{
    (void)arg;
    (void)result;
    for (;;) {
        coir_coro *parent = coir_coro_parent(coir_coro_current());
        int err = coir_coro_switch(parent, V((intptr_t)value + 1), &value);
        if (err < 0)
            return err;
    }
}

/* Waits once, then fails with the number in arg if it is an error, or ends. */
static int
body_wait(void *arg, void *value, void **result)
{
    coir_coro *parent = coir_coro_parent(coir_coro_current());
    int err = coir_coro_switch(parent, value, &value);
    *result = value;
    return (intptr_t)arg < 0 ? (int)(intptr_t)arg : err;
}

/* -- values and ends ------------------------------------------------------ */

static int
body_sees_arg_and_value(void *arg, void *value, void **result)
{
    CHECK_EQ(arg, V(10));
    CHECK_EQ(value, V(20));
    CHECK_NULL(*result);
    *result = V(30);
    return 0;
}

TEST_EACH_POLICY(coro, runs_and_returns_its_result)
{
    coir_coro *co = new_coro(policy, body_sees_arg_and_value, V(10));
    CHECK_EQ(switch_to(co, V(20)), V(30));
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_state(coir_coro_main()), RUNNING);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, result_is_null_unless_set)
{
    coir_coro *co = new_coro(policy, body_fail, V(0));
    CHECK_NULL(switch_to(co, V(5)));
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, out_may_be_null)
{
    coir_coro *co = new_coro(policy, body_echo, NULL);
    CHECK_EQ(coir_coro_switch(co, V(1), NULL), 0);
    CHECK_EQ(coir_coro_switch(co, V(1), NULL), 0);
    CHECK_EQ(coir_coro_throw(co, -77, NULL), -77);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, values_go_both_ways)
{
    coir_coro *co = new_coro(policy, body_echo, NULL);
    for (intptr_t i = 0; i < 10000; i++)
        CHECK_EQ(switch_to(co, V(i)), V(i + 1));
    end(co);
}

TEST_EACH_POLICY(coro, errors_go_to_the_parent)
{
    static const int errors[] = {-1, COIR_ENOMEM, -1000, INT32_MIN};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        coir_coro *co = new_coro(policy, body_fail, V(errors[i]));
        void *out = V(7);
        CHECK_EQ(coir_coro_switch(co, NULL, &out), errors[i]);
        CHECK_EQ(out, V(7));
        CHECK_EQ(coir_coro_switch_failed(), 0);
        CHECK_EQ(coir_coro_state(co), FINISHED);
        CHECK_EQ(coir_coro_free(co), 0);
    }
}

TEST_EACH_POLICY(coro, being_cancelled_is_a_normal_end)
{
    coir_coro *co = new_coro(policy, body_fail, V(COIR_ECANCELED));
    CHECK_EQ(coir_coro_switch(co, NULL, NULL), 0);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, finishes_to_its_parent_not_to_who_switched)
{
    /* main starts `parent`, which waits; main runs `child`: its end goes to
     * `parent`, whose end comes to main. */
    coir_coro *parent = new_coro(policy, body_echo, NULL);
    switch_to(parent, V(0));
    coir_coro *child = new_child(policy, parent, body_return, V(41));
    CHECK_EQ(coir_coro_parent(child), parent);
    CHECK_EQ(switch_to(child, NULL), V(42)); /* by way of the parent's echo */
    CHECK_EQ(coir_coro_state(child), FINISHED);
    CHECK_EQ(coir_coro_state(parent), SUSPENDED);

    coir_coro *failing = new_child(policy, parent, body_fail, V(-9));
    CHECK_EQ(coir_coro_switch(failing, NULL, NULL), -9);
    CHECK_EQ(coir_coro_state(parent), FINISHED); /* the echo passes it on */
    CHECK_EQ(coir_coro_free(child), 0);
    CHECK_EQ(coir_coro_free(failing), 0);
    CHECK_EQ(coir_coro_free(parent), 0);
}

TEST_EACH_POLICY(coro, finishes_to_the_nearest_living_ancestor)
{
    coir_coro *a = new_coro(policy, body_echo, NULL);
    coir_coro *b = new_child(policy, a, body_return, V(1));
    coir_coro *c = new_child(policy, b, body_return, V(2));
    coir_coro *d = new_child(policy, c, body_return, V(3));
    CHECK_EQ(switch_to(a, V(0)), V(1));
    CHECK_EQ(switch_to(b, NULL), V(2)); /* to a, which echoes */
    CHECK_EQ(switch_to(c, NULL), V(3)); /* past b */
    CHECK_EQ(switch_to(d, NULL), V(4)); /* past c and b */
    CHECK_EQ(coir_coro_throw(a, -5, NULL), -5);
    CHECK_EQ(coir_coro_free(d), 0);
    CHECK_EQ(coir_coro_free(c), 0);
    CHECK_EQ(coir_coro_free(b), 0);
    CHECK_EQ(coir_coro_free(a), 0);
}

static int
body_adds_100(void *arg, void *value, void **result)
{
    (void)arg;
    *result = V((intptr_t)value + 100);
    return 0;
}

TEST_EACH_POLICY(coro, starts_a_parent_that_was_not_started)
{
    coir_coro *grandparent = new_coro(policy, body_adds_100, NULL);
    coir_coro *parent = new_child(policy, grandparent, body_adds_100, NULL);
    coir_coro *child = new_child(policy, parent, body_return, V(1));
    CHECK_EQ(switch_to(child, NULL), V(201));
    CHECK_EQ(coir_coro_state(parent), FINISHED);
    CHECK_EQ(coir_coro_state(grandparent), FINISHED);
    CHECK_EQ(coir_coro_free(child), 0);
    CHECK_EQ(coir_coro_free(parent), 0);
    CHECK_EQ(coir_coro_free(grandparent), 0);
}

static int
body_must_not_run(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    FAIL("this body must not run");
    return 0;
}

TEST_EACH_POLICY(coro, an_error_ends_parents_that_were_not_started)
{
    coir_coro *grandparent = new_coro(policy, body_must_not_run, NULL);
    coir_coro *parent =
        new_child(policy, grandparent, body_must_not_run, NULL);
    coir_coro *child = new_child(policy, parent, body_fail, V(-8));
    CHECK_EQ(coir_coro_switch(child, NULL, NULL), -8);
    CHECK_EQ(coir_coro_state(parent), FINISHED);
    CHECK_EQ(coir_coro_state(grandparent), FINISHED);
    CHECK_EQ(coir_coro_free(child), 0);
    CHECK_EQ(coir_coro_free(parent), 0);
    CHECK_EQ(coir_coro_free(grandparent), 0);
}

/* -- who is who ----------------------------------------------------------- */

static int
body_looks_around(void *arg, void *value, void **result)
{
    coir_coro *self = coir_coro_current();
    CHECK_EQ(self, *(coir_coro **)arg);
    CHECK_EQ(coir_coro_state(self), RUNNING);
    CHECK_EQ(coir_coro_parent(self), coir_coro_main());
    CHECK_EQ(coir_coro_state(coir_coro_main()), SUSPENDED);
    coir_thread_check();
    CHECK_EQ(coir_coro_switch(coir_coro_main(), NULL, &value), 0);
    CHECK_EQ(coir_coro_current(), self);
    CHECK_EQ(coir_coro_state(self), RUNNING);
    *result = NULL;
    return 0;
}

TEST_EACH_POLICY(coro, states_and_current)
{
    coir_coro *main_co = coir_coro_main();
    CHECK(main_co != NULL);
    CHECK_EQ(coir_coro_current(), main_co);
    CHECK_NULL(coir_coro_parent(main_co));
    CHECK_EQ(coir_coro_state(main_co), RUNNING);
    coir_coro *co;
    co = new_coro(policy, body_looks_around, &co);
    CHECK_EQ(coir_coro_parent(co), main_co);
    CHECK_EQ(coir_coro_policy(co), policy);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_state(co), SUSPENDED);
    CHECK_EQ(coir_coro_current(), main_co);
    CHECK_EQ(coir_coro_state(main_co), RUNNING);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_parent(co), main_co);
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK_EQ(coir_coro_main(), main_co);
}

static int
body_makes_child(void *arg, void *value, void **result)
{
    coir_coro *child = new_coro((int)(intptr_t)arg, body_return, NULL);
    CHECK_EQ(coir_coro_parent(child), coir_coro_current());
    (void)value;
    *result = child;
    return 0;
}

TEST_EACH_POLICY(coro, parent_is_who_made_it)
{
    coir_coro *co = new_coro(policy, body_makes_child, V(policy));
    coir_coro *child = switch_to(co, NULL);
    CHECK_EQ(coir_coro_parent(child), co);
    switch_to(child, NULL); /* ends here, past co */
    CHECK_EQ(coir_coro_free(child), 0);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, names)
{
    coir_coro_attr attr = {.policy = policy, .name = "fibre"};
    coir_coro *co = NULL;
    CHECK_EQ(coir_coro_new(&co, body_return, NULL, &attr), 0);
    CHECK_STR(coir_coro_name(co), "fibre");
    CHECK_EQ(coir_coro_free(co), 0);
    co = new_coro(policy, body_return, NULL);
    CHECK_STR(coir_coro_name(co), "");
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK(coir_coro_name(coir_coro_main()) != NULL);
}

TEST_EACH_POLICY(coro, user_is_null_and_stays_as_set)
{
    coir_coro *co = new_coro(policy, body_echo, NULL);
    CHECK_NULL(co->user);
    co->user = V(5);
    switch_to(co, NULL);
    CHECK_EQ(co->user, V(5));
    end(co);
}

/* -- making and freeing --------------------------------------------------- */

TEST_EACH_POLICY(coro, in_callers_memory)
{
    coir_coro_attr attr = {.policy = policy};
    coir_coro co;
    for (int i = 0; i < 3; i++) { /* the same memory, again and again */
        memset(&co, 0xee, sizeof co);
        CHECK_EQ(coir_coro_init(&co, body_echo, NULL, &attr), 0);
        CHECK_NULL(co.user);
        CHECK_EQ(switch_to(&co, V(1)), V(2));
        CHECK_EQ(coir_coro_fini(&co), COIR_EBUSY);
        CHECK_EQ(switch_to(&co, V(2)), V(3));
        CHECK_EQ(coir_coro_cancel(&co), 0);
        CHECK_EQ(coir_coro_fini(&co), 0);
    }
    CHECK_EQ(coir_coro_init(&co, body_must_not_run, NULL, &attr), 0);
    CHECK_EQ(coir_coro_fini(&co), 0); /* never started */
}

TEST(coro, attributes_may_be_left_out)
{
    coir_coro *co = NULL;
    CHECK_EQ(coir_coro_new(&co, body_return, V(3), NULL), 0);
    CHECK_EQ(coir_coro_policy(co), COIR_POLICY_DEDICATED);
    CHECK_EQ(coir_coro_parent(co), coir_coro_main());
    CHECK_EQ(switch_to(co, NULL), V(3));
    CHECK_EQ(coir_coro_free(co), 0);
}

static int
body_frees_itself(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    CHECK_EQ(coir_coro_free(coir_coro_current()), COIR_EBUSY);
    return 0;
}

TEST_EACH_POLICY(coro, alive_is_not_freed)
{
    CHECK_EQ(coir_coro_free(NULL), 0);
    coir_coro *co = new_coro(policy, body_echo, NULL);
    switch_to(co, V(1));
    CHECK_EQ(coir_coro_free(co), COIR_EBUSY);
    CHECK_EQ(switch_to(co, V(1)), V(2));
    end(co);

    co = new_coro(policy, body_frees_itself, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_free(co), 0);

    co = new_coro(policy, body_must_not_run, NULL);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, wrong_attributes_are_refused)
{
    const coir_coro_attr wrong[] = {
        {.policy = -1},
        {.policy = COIR_POLICY_SLICE + 1},
        {.policy = policy, .reserve = 8},
        {.policy = policy, .reserve = 17},
        {.policy = policy, .reserve = SIZE_MAX - 15},
        {.policy = COIR_POLICY_DEDICATED, .stack_size = COIR_STACK_MAX + 1},
        {.policy = COIR_POLICY_DEDICATED, .stack_size = SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        coir_coro *co = NULL;
        CHECK_EQ(coir_coro_new(&co, body_return, NULL, &wrong[i]),
                 COIR_EINVAL);
        CHECK_NULL(co);
        coir_coro block, before;
        memset(&block, 0xee, sizeof block);
        before = block;
        CHECK_EQ(coir_coro_init(&block, body_return, NULL, &wrong[i]),
                 COIR_EINVAL);
        CHECK(memcmp(&block, &before, sizeof block) == 0);
    }
    CHECK_EQ(coir_thread_set_stack_size(COIR_STACK_MAX + 1), COIR_EINVAL);
}

/* -- parents -------------------------------------------------------------- */

TEST_EACH_POLICY(coro, parents_can_change)
{
    coir_coro *a = new_coro(policy, body_echo, NULL);
    coir_coro *b = new_coro(policy, body_wait, NULL);
    switch_to(a, V(0));
    switch_to(b, V(0));
    CHECK_EQ(coir_coro_set_parent(b, a), 0);
    CHECK_EQ(coir_coro_parent(b), a);
    CHECK_EQ(switch_to(b, V(10)), V(11)); /* b ends into a, which echoes */
    CHECK_EQ(coir_coro_state(b), FINISHED);
    CHECK_EQ(coir_coro_set_parent(b, coir_coro_main()), 0);
    CHECK_EQ(coir_coro_free(b), 0);
    end(a);
}

TEST_EACH_POLICY(coro, parents_form_no_cycle)
{
    coir_coro *a = new_coro(policy, body_return, NULL);
    coir_coro *b = new_child(policy, a, body_return, NULL);
    coir_coro *c = new_child(policy, b, body_return, NULL);
    CHECK_EQ(coir_coro_set_parent(a, a), COIR_ECYCLE);
    CHECK_EQ(coir_coro_set_parent(a, b), COIR_ECYCLE);
    CHECK_EQ(coir_coro_set_parent(a, c), COIR_ECYCLE);
    CHECK_EQ(coir_coro_set_parent(b, c), COIR_ECYCLE);
    CHECK_EQ(coir_coro_parent(a), coir_coro_main());
    CHECK_EQ(coir_coro_parent(b), a);
    CHECK_EQ(coir_coro_set_parent(c, a), 0);
    CHECK_EQ(coir_coro_set_parent(b, c), 0);
    CHECK_EQ(coir_coro_set_parent(c, b), COIR_ECYCLE);
    end(b);
    end(c);
    end(a);
}

TEST_EACH_POLICY(coro, main_has_no_parent)
{
    coir_coro *co = new_coro(policy, body_return, NULL);
    CHECK_EQ(coir_coro_set_parent(coir_coro_main(), co), COIR_EINVAL);
    CHECK_EQ(coir_coro_set_parent(co, NULL), COIR_EINVAL);
    CHECK_EQ(coir_coro_set_parent(coir_coro_main(), NULL), COIR_EINVAL);
    CHECK_EQ(coir_coro_parent(co), coir_coro_main());
    CHECK_NULL(coir_coro_parent(coir_coro_main()));
    CHECK_EQ(coir_coro_free(co), 0);
}

/* -- switching to the odd ones -------------------------------------------- */

static int
body_switches_to_itself(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    coir_coro *self = coir_coro_current();
    CHECK_EQ(switch_to(self, V(8)), V(8));
    void *out = V(3);
    CHECK_EQ(coir_coro_throw(self, -6, &out), -6);
    CHECK_EQ(out, V(3));
    *result = V(9);
    return 0;
}

TEST_EACH_POLICY(coro, to_itself)
{
    CHECK_EQ(switch_to(coir_coro_main(), V(4)), V(4));
    CHECK_EQ(coir_coro_throw(coir_coro_main(), -5, NULL), -5);
    coir_coro *co = new_coro(policy, body_switches_to_itself, NULL);
    CHECK_EQ(switch_to(co, NULL), V(9));
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, to_a_finished_one_goes_to_its_living_ancestor)
{
    coir_coro *a = new_coro(policy, body_echo, NULL);
    coir_coro *b = new_child(policy, a, body_return, NULL);
    coir_coro *c = new_child(policy, b, body_return, NULL);
    switch_to(a, NULL);
    switch_to(b, NULL);
    switch_to(c, NULL);
    CHECK_EQ(switch_to(c, V(5)), V(6)); /* a echoes */
    CHECK_EQ(switch_to(b, V(7)), V(8));
    CHECK_EQ(coir_coro_throw(c, -12, NULL), -12); /* a passes it on */
    CHECK_EQ(coir_coro_state(a), FINISHED);
    CHECK_EQ(switch_to(c, V(9)), V(9)); /* that is main, who runs */
    CHECK_EQ(coir_coro_throw(c, -13, NULL), -13);
    CHECK_EQ(coir_coro_free(c), 0);
    CHECK_EQ(coir_coro_free(b), 0);
    CHECK_EQ(coir_coro_free(a), 0);
}

static int
body_switches_to_arg(void *arg, void *value, void **result)
{
    return coir_coro_switch(arg, value, result);
}

TEST_EACH_POLICY(coro, siblings_switch_to_each_other)
{
    coir_coro *a = new_coro(policy, body_echo, NULL);
    coir_coro *b = new_coro(policy, body_switches_to_arg, a);
    /* main -> b -> a -> main: the echo goes to its parent. */
    CHECK_EQ(switch_to(b, V(50)), V(51));
    CHECK_EQ(coir_coro_state(a), SUSPENDED);
    CHECK_EQ(coir_coro_state(b), SUSPENDED);
    CHECK_EQ(switch_to(b, V(60)), V(60)); /* b's end */
    CHECK_EQ(coir_coro_free(b), 0);
    end(a);
}

/* -- throw and cancel ----------------------------------------------------- */

TEST_EACH_POLICY(coro, throw_to_one_that_was_not_started)
{
    coir_coro *co = new_coro(policy, body_must_not_run, NULL);
    void *out = V(6);
    CHECK_EQ(coir_coro_throw(co, -21, &out), -21);
    CHECK_EQ(out, V(6));
    CHECK_EQ(coir_coro_switch_failed(), 0);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);

    /* The parent gets it, not the one who threw. */
    coir_coro *parent = new_coro(policy, body_wait, V(-30));
    switch_to(parent, NULL);
    co = new_child(policy, parent, body_must_not_run, NULL);
    CHECK_EQ(coir_coro_throw(co, -22, NULL), -30);
    CHECK_EQ(coir_coro_state(parent), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK_EQ(coir_coro_free(parent), 0);
}

TEST_EACH_POLICY(coro, throw_to_a_suspended_one)
{
    coir_coro *co = new_coro(policy, body_echo, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_throw(co, -21, NULL), -21);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
}

static int
body_survives_errors(void *arg, void *value, void **result)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        value = V(99);
        int err = coir_coro_switch(coir_coro_main(), V(i), &value);
        CHECK_EQ(err, -100 - i);
        CHECK_EQ(value, V(99));
    }
    *result = V(4);
    return 0;
}

TEST_EACH_POLICY(coro, a_thrown_error_can_be_handled)
{
    coir_coro *co = new_coro(policy, body_survives_errors, NULL);
    switch_to(co, NULL);
    for (int i = 0; i < 3; i++) {
        void *out = NULL;
        CHECK_EQ(coir_coro_throw(co, -100 - i, &out), 0);
        CHECK_EQ(out, V(i < 2 ? i + 1 : 4));
    }
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, throw_needs_an_error)
{
    coir_coro *co = new_coro(policy, body_must_not_run, NULL);
    void *out = V(2);
    CHECK_EQ(coir_coro_throw(co, 0, &out), COIR_EINVAL);
    CHECK_EQ(coir_coro_switch_failed(), 1);
    CHECK_EQ(coir_coro_throw(co, 5, &out), COIR_EINVAL);
    CHECK_EQ(out, V(2));
    CHECK_EQ(coir_coro_state(co), NEW);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, cancel_unwinds)
{
    coir_coro *co = new_coro(policy, body_must_not_run, NULL);
    CHECK_EQ(coir_coro_cancel(co), 0); /* never started */
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_cancel(co), 0); /* finished */
    CHECK_EQ(coir_coro_free(co), 0);

    co = new_coro(policy, body_echo, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_cancel(co), 0);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_cancel(co), 0);
    CHECK_EQ(coir_coro_free(co), 0);
}

static int
body_sees_cancel(void *arg, void *value, void **result)
{
    coir_coro *self = coir_coro_current();
    int err = coir_coro_switch(coir_coro_main(), NULL, &value);
    CHECK_EQ(err, COIR_ECANCELED);
    CHECK_EQ(coir_coro_parent(self), arg); /* who cancelled */
    *result = V(1);
    return 0;
}

static int
body_cancels(void *arg, void *value, void **result)
{
    (void)value;
    CHECK_EQ(coir_coro_cancel(arg), 0);
    CHECK_EQ(coir_coro_state(arg), FINISHED);
    *result = V(77);
    return 0;
}

TEST_EACH_POLICY(coro, who_cancels_becomes_the_parent)
{
    coir_coro *co = new_coro(policy, body_sees_cancel, NULL);
    coir_coro *killer = new_coro(policy, body_cancels, co);
    co->arg = killer;
    /* body_sees_cancel reads its argument at the start, so set it first. */
    switch_to(co, NULL);
    CHECK_EQ(switch_to(killer, NULL), V(77));
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK_EQ(coir_coro_free(killer), 0);
}

static int
body_refuses_to_die(void *arg, void *value, void **result)
{
    (void)arg;
    (void)result;
    for (int i = 0; i < 4; i++) {
        int err = coir_coro_switch(coir_coro_main(), V(i), &value);
        CHECK_EQ(err, i < 3 ? COIR_ECANCELED : 0);
    }
    return 0;
}

TEST_EACH_POLICY(coro, cancel_can_be_refused)
{
    coir_coro *co = new_coro(policy, body_refuses_to_die, NULL);
    switch_to(co, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coir_coro_cancel(co), COIR_EBUSY);
        CHECK_EQ(coir_coro_switch_failed(), 0);
        CHECK_EQ(coir_coro_state(co), SUSPENDED);
    }
    CHECK_EQ(coir_coro_free(co), COIR_EBUSY);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, cancelled_with_another_error_has_finished)
{
    coir_coro *co = new_coro(policy, body_wait, V(-40));
    switch_to(co, NULL);
    end(co);
}

static int
body_cancels_wrong_ones(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    coir_coro *self = coir_coro_current();
    CHECK_EQ(coir_coro_cancel(self), COIR_EINVAL);
    CHECK_EQ(coir_coro_switch_failed(), 1);
    CHECK_EQ(coir_coro_cancel(coir_coro_main()), COIR_EINVAL);
    CHECK_EQ(coir_coro_cancel(coir_coro_parent(self)), COIR_EINVAL);
    CHECK_EQ(coir_coro_state(coir_coro_parent(self)), SUSPENDED);
    return 0;
}

static int
body_runs_child(void *arg, void *value, void **result)
{
    (void)value;
    int policy = (int)(intptr_t)arg;
    coir_coro *child = new_coro(policy, body_cancels_wrong_ones, NULL);
    switch_to(child, NULL);
    CHECK_EQ(coir_coro_free(child), 0);
    *result = V(1);
    return 0;
}

TEST_EACH_POLICY(coro, cancel_refuses_the_running_and_ancestors)
{
    CHECK_EQ(coir_coro_cancel(coir_coro_main()), COIR_EINVAL);
    coir_coro *co = new_coro(policy, body_runs_child, V(policy));
    CHECK_EQ(switch_to(co, NULL), V(1));
    CHECK_EQ(coir_coro_free(co), 0);
}

/* -- exit ----------------------------------------------------------------- */

typedef struct exit_plan {
    coir_coro *to;
    int status;
    void *value;
} exit_plan;

static int
exit_from_depth(const exit_plan *plan, int depth)
{
    if (depth > 0) {
        volatile int returned = exit_from_depth(plan, depth - 1);
        return returned;
    }
    if (plan != NULL)
        coir_coro_exit(plan->to, plan->status, plan->value);
    return 0;
}

static int
body_exits(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    (void)exit_from_depth(arg, 20);
    FAIL("exit returned");
    return 0;
}

TEST_EACH_POLICY(coro, exit_goes_where_it_is_told)
{
    /* Its parent is main; it exits to the echo instead, which answers. */
    coir_coro *echo = new_coro(policy, body_echo, NULL);
    switch_to(echo, NULL);
    exit_plan plan = {echo, 0, V(70)};
    coir_coro *co = new_coro(policy, body_exits, &plan);
    CHECK_EQ(switch_to(co, NULL), V(71));
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);

    plan = (exit_plan){echo, -33, NULL};
    co = new_coro(policy, body_exits, &plan);
    CHECK_EQ(coir_coro_switch(co, NULL, NULL), -33);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_state(echo), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK_EQ(coir_coro_free(echo), 0);

    plan = (exit_plan){coir_coro_main(), 0, V(72)};
    co = new_coro(policy, body_exits, &plan);
    CHECK_EQ(switch_to(co, NULL), V(72));
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, exit_to_a_new_one)
{
    coir_coro *next = new_coro(policy, body_adds_100, NULL);
    CHECK_EQ(coir_coro_prepare(next), 0);
    exit_plan plan = {next, 0, V(5)};
    coir_coro *co = new_coro(policy, body_exits, &plan);
    CHECK_EQ(switch_to(co, NULL), V(105));
    CHECK_EQ(coir_coro_state(next), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK_EQ(coir_coro_free(next), 0);
}

/* -- prepare, reserve ----------------------------------------------------- */

TEST_EACH_POLICY(coro, prepare_takes_the_stack)
{
    coir_coro *co = new_coro(policy, body_return, V(1));
    CHECK_EQ(coir_coro_prepare(co), 0);
    CHECK_EQ(coir_coro_state(co), NEW);
    if (policy == COIR_POLICY_DEDICATED) {
        coir_test_fail_call(COIR_TEST_ALLOC, 0, 1000, 12);
        coir_test_fail_call(COIR_TEST_MMAP, 0, 1000, 12);
    }
    CHECK_EQ(switch_to(co, NULL), V(1));
    coir_test_fail_none();
    CHECK_EQ(coir_coro_prepare(co), COIR_EINVAL);
    CHECK_EQ(coir_coro_free(co), 0);

    co = new_coro(policy, body_echo, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_prepare(co), COIR_EINVAL);
    end(co);
    CHECK_EQ(coir_coro_prepare(coir_coro_main()), COIR_EINVAL);

    co = new_coro(policy, body_must_not_run, NULL);
    CHECK_EQ(coir_coro_prepare(co), 0);
    CHECK_EQ(coir_coro_free(co), 0); /* with its stack */
    co = new_coro(policy, body_must_not_run, NULL);
    CHECK_EQ(coir_coro_prepare(co), 0);
    CHECK_EQ(coir_coro_throw(co, -5, NULL), -5);
    CHECK_EQ(coir_coro_free(co), 0);
}

static int
body_uses_reserve(void *arg, void *value, void **result)
{
    size_t size = (size_t)(intptr_t)arg;
    coir_coro *self = coir_coro_current();
    char *reserve = coir_coro_reserve(self);
    char *local = (char *)&value;
    CHECK(reserve != NULL);
    CHECK_EQ((uintptr_t)reserve % 16, 0);
    if (coir_coro_policy(self) == COIR_POLICY_DEDICATED && !COIR_TEST_ASAN) {
        CHECK(local < reserve);
        void *low, *high;
        CHECK_EQ(coir_coro_stack_bounds(self, &low, &high), 0);
        CHECK(reserve - local < 4096);
    }
    memset(reserve, 0x3c, size);
    CHECK_EQ(coir_coro_switch(coir_coro_main(), NULL, NULL), 0);
    CHECK_EQ(coir_coro_reserve(self), reserve);
    for (size_t i = 0; i < size; i++)
        CHECK_EQ(reserve[i], 0x3c);
    (void)result;
    return 0;
}

TEST_EACH_POLICY(coro, reserve_is_the_owners)
{
    static const size_t sizes[] = {16, 512, 4096, 16384, 40000};
    coir_coro *cos[5];
    for (int i = 0; i < 5; i++) {
        coir_coro_attr attr = {.policy = policy, .reserve = sizes[i]};
        CHECK_EQ(coir_coro_new(&cos[i], body_uses_reserve, V(sizes[i]), &attr),
                 0);
        switch_to(cos[i], NULL);
        CHECK(coir_coro_reserve(cos[i]) != NULL);
    }
    for (int i = 4; i >= 0; i--) {
        switch_to(cos[i], NULL);
        CHECK_EQ(coir_coro_state(cos[i]), FINISHED);
        CHECK_NULL(coir_coro_reserve(cos[i]));
        CHECK_EQ(coir_coro_free(cos[i]), 0);
    }
    coir_coro *none = new_coro(policy, body_echo, NULL);
    switch_to(none, NULL);
    CHECK_NULL(coir_coro_reserve(none));
    CHECK_NULL(coir_coro_reserve(coir_coro_main()));
    end(none);
}

/* -- stacks --------------------------------------------------------------- */

static int
body_checks_bounds(void *arg, void *value, void **result)
{
    (void)result;
    coir_coro *self = coir_coro_current();
    void *low = NULL, *high = NULL;
    CHECK_EQ(coir_coro_stack_bounds(self, &low, &high), 0);
    if (!COIR_TEST_ASAN) { /* its locals may lie on a fake stack */
        CHECK((char *)&value >= (char *)low);
        CHECK((char *)&value < (char *)high);
    }
    CHECK((size_t)((char *)high - (char *)low) >= (size_t)(intptr_t)arg);
    CHECK_EQ(coir_coro_switch(coir_coro_main(), NULL, NULL), 0);
    return 0;
}

TEST_EACH_POLICY(coro, stack_bounds)
{
    static const size_t sizes[] = {0, 16384, 100000, 1 << 20};
    void *main_low = NULL, *main_high = NULL;
    CHECK_EQ(coir_coro_stack_bounds(coir_coro_main(), &main_low, &main_high),
             0);
    if (!COIR_TEST_ASAN) {
        CHECK((char *)&main_low >= (char *)main_low);
        CHECK((char *)&main_low < (char *)main_high);
    }
    for (int i = 0; i < 4; i++) {
        size_t size = policy == COIR_POLICY_SLICE ? 0
                      : sizes[i] > 0              ? sizes[i]
                                                  : COIR_STACK_DEFAULT;
        coir_coro_attr attr = {.policy = policy, .stack_size = sizes[i]};
        coir_coro *co = NULL;
        CHECK_EQ(coir_coro_new(&co, body_checks_bounds, V(size), &attr), 0);
        void *low = V(1), *high = V(2);
        CHECK_EQ(coir_coro_stack_bounds(co, &low, &high), COIR_EDEAD);
        CHECK_EQ(low, V(1));
        CHECK_EQ(high, V(2));
        switch_to(co, NULL);
        CHECK_EQ(coir_coro_stack_bounds(co, &low, &high), 0);
        if (policy == COIR_POLICY_SLICE) {
            CHECK_EQ(low, main_low);
            CHECK_EQ(high, main_high);
        }
        else {
            CHECK(low >= main_high || high <= main_low);
        }
        switch_to(co, NULL);
        CHECK_EQ(coir_coro_stack_bounds(co, &low, &high), COIR_EDEAD);
        CHECK_EQ(coir_coro_free(co), 0);
    }
}

TEST(coro, default_stack_size_can_be_set)
{
    CHECK_EQ(coir_thread_set_stack_size(300000), 0);
    coir_coro *co =
        new_coro(COIR_POLICY_DEDICATED, body_checks_bounds, V(300000));
    switch_to(co, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK_EQ(coir_thread_set_stack_size(0), 0);
    co = new_coro(COIR_POLICY_DEDICATED, body_echo, NULL);
    switch_to(co, NULL);
    void *low, *high;
    CHECK_EQ(coir_coro_stack_bounds(co, &low, &high), 0);
    CHECK((char *)high - (char *)low < 100000);
    end(co);
}

static int wait_below(size_t depth);

__attribute__((noinline)) static int
wait_below(size_t depth)
{
    volatile char room[1000];
    for (size_t i = 0; i < sizeof room; i += 100)
        room[i] = (char)depth;
    int err = depth > 0 ? wait_below(depth - 1)
                        : coir_coro_switch(coir_coro_main(), NULL, NULL);
    for (size_t i = 0; i < sizeof room; i += 100)
        CHECK_EQ(room[i], (char)depth);
    return err;
}

static int
body_waits_at_depth(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    return wait_below((size_t)(intptr_t)arg);
}

TEST_EACH_POLICY(coro, stack_in_use_grows_with_depth)
{
    size_t used[2];
    for (int i = 0; i < 2; i++) {
        coir_coro *co = new_coro(policy, body_waits_at_depth, V(i * 20));
        CHECK_EQ(coir_coro_stack_used(co), 0);
        CHECK_EQ(coir_coro_stack_saved(co), 0);
        CHECK_EQ(coir_coro_stack_high_water(co), 0);
        switch_to(co, NULL);
        used[i] = coir_coro_stack_used(co);
        CHECK(used[i] > 0);
        if (policy == COIR_POLICY_SLICE) {
            /* Main, who was above it, runs: all of it was moved away. */
            CHECK_EQ(coir_coro_stack_saved(co), used[i]);
            CHECK_EQ(coir_coro_stack_high_water(co), 0);
        }
        else {
            CHECK_EQ(coir_coro_stack_saved(co), 0);
            CHECK(coir_coro_stack_high_water(co) >= used[i]);
        }
        switch_to(co, NULL);
        CHECK_EQ(coir_coro_stack_used(co), 0);
        CHECK_EQ(coir_coro_stack_saved(co), 0);
        CHECK_EQ(coir_coro_free(co), 0);
    }
    CHECK(used[1] > used[0]);
    if (!COIR_TEST_ASAN && COIR__CONTEXT_ASM)
        CHECK(used[0] < 2000);
}

TEST(coro, stacks_come_from_the_threads_pool)
{
    coir_stack_pool_attr attr = {.guard = COIR_GUARD_MPROTECT};
    CHECK_EQ(coir_thread_set_pool_attr(&attr), 0);
    coir_stack_pool *pool = coir_thread_pool();
    CHECK(pool != NULL);
    coir_stack_pool_stats s;
    coir_coro *cos[10];
    for (int i = 0; i < 10; i++) {
        cos[i] = new_coro(COIR_POLICY_DEDICATED, body_echo, NULL);
        coir_stack_pool_get_stats(pool, &s);
        CHECK_EQ(s.in_use, i); /* none before the first switch */
        switch_to(cos[i], NULL);
    }
    coir_stack_pool_get_stats(pool, &s);
    CHECK_EQ(s.in_use, 10);
    CHECK_EQ(s.guard, COIR_GUARD_MPROTECT);
    for (int i = 0; i < 10; i++)
        end(cos[i]);
    coir_stack_pool_get_stats(pool, &s);
    CHECK_EQ(s.in_use, 0);
    CHECK_EQ(s.idle_warm, 10);
    CHECK_EQ(coir_thread_pool(), pool);
    attr.guard = COIR_GUARD_NONE; /* too late */
    CHECK_EQ(coir_thread_set_pool_attr(&attr), COIR_EBUSY);
}

TEST(coro, finished_coroutines_hand_their_stacks_on)
{
    coir_stack_pool_stats s;
    for (int i = 0; i < 10000; i++) {
        coir_coro *co = new_coro(COIR_POLICY_DEDICATED, body_return, V(i));
        CHECK_EQ(switch_to(co, NULL), V(i));
        CHECK_EQ(coir_coro_free(co), 0);
    }
    coir_stack_pool_get_stats(coir_thread_pool(), &s);
    CHECK(s.high_water <= 2);
}

/* -- without memory ------------------------------------------------------- */

TEST_EACH_POLICY(coro, new_without_memory_leaves_out_alone)
{
    EACH_ALLOC_FAILURE(n)
    {
        coir_coro *co = NULL;
        coir_coro_attr attr = {.policy = policy, .reserve = 64};
        int err = coir_coro_new(&co, body_return, NULL, &attr);
        if (err < 0) {
            CHECK_EQ(err, COIR_ENOMEM);
            CHECK_NULL(co);
        }
        else {
            CHECK_EQ(coir_coro_free(co), 0);
        }
        CHECK_EQ(coir_thread_fini(), 0); /* so that main is made anew, too */
    }
    CHECK(coir_test_failures(COIR_TEST_ALLOC) > 0);
}

/* Switch; where there was no memory for it, see that nothing happened, and
 * try again. */
static int
switch_patiently(coir_coro *co, void *value, void **out)
{
    coir_coro *self = coir_coro_current();
    int state = coir_coro_state(co);
    void *before = *out;
    int err = coir_coro_switch(co, value, out);
    if (err == COIR_ENOMEM && coir_coro_switch_failed()) {
        CHECK_EQ(*out, before);
        CHECK_EQ(coir_coro_state(co), state);
        CHECK_EQ(coir_coro_current(), self);
        coir_thread_check();
        err = coir_coro_switch(co, value, out);
    }
    CHECK_EQ(coir_coro_switch_failed(), 0);
    return err;
}

static int
body_patient_echo(void *arg, void *value, void **result)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        value = V((intptr_t)value + 1);
        CHECK_EQ(switch_patiently(coir_coro_main(), value, &value), 0);
    }
    *result = V(1000);
    return 0;
}

static void
check_switches_with_failures(int call, int first_policy, int second_policy)
{
    EACH_FAILURE(call, n)
    {
        coir_coro *cos[6];
        int count = 0;
        for (int i = 0; i < 6; i++) {
            coir_coro_attr attr = {.policy =
                                       i % 2 ? second_policy : first_policy};
            cos[count] = NULL;
            if (coir_coro_new(&cos[count], body_patient_echo, NULL, &attr) ==
                0)
                count++;
        }
        CHECK(count >= 5);
        for (intptr_t round = 0; round < 4; round++) {
            for (int i = 0; i < count; i++) {
                void *out = V(-1);
                CHECK_EQ(switch_patiently(cos[i], V(10 * i), &out), 0);
                CHECK_EQ(out, V(round < 3 ? 10 * i + 1 : 1000));
            }
        }
        for (int i = 0; i < count; i++)
            CHECK_EQ(coir_coro_free(cos[i]), 0);
        CHECK_EQ(coir_thread_fini(), 0);
        CHECK_EQ(coir_test_live_blocks(), 0);
    }
    CHECK(coir_test_failures(call) > 0);
}

TEST_EACH_POLICY(coro, switches_with_failing_allocations)
{
    check_switches_with_failures(COIR_TEST_ALLOC, policy, policy);
}

TEST(coro, switches_of_both_policies_with_failing_allocations)
{
    check_switches_with_failures(COIR_TEST_ALLOC, COIR_POLICY_DEDICATED,
                                 COIR_POLICY_SLICE);
}

TEST(coro, switches_with_failing_mappings)
{
    check_switches_with_failures(COIR_TEST_MMAP, COIR_POLICY_DEDICATED,
                                 COIR_POLICY_DEDICATED);
}

TEST(coro, first_switch_without_a_stack_can_be_tried_again)
{
    CHECK(coir_coro_main() != NULL);
    coir_coro *co = new_coro(COIR_POLICY_DEDICATED, body_return, V(3));
    for (int i = 0; i < 3; i++) {
        void *out = V(7);
        coir_test_fail_call(COIR_TEST_MMAP, 0, 1000, 12);
        CHECK_EQ(coir_coro_switch(co, NULL, &out), COIR_ENOMEM);
        coir_test_fail_none();
        CHECK_EQ(out, V(7));
        CHECK_EQ(coir_coro_switch_failed(), 1);
        CHECK_EQ(coir_coro_state(co), NEW);
        coir_thread_check();
    }
    CHECK_EQ(switch_to(co, NULL), V(3));
    CHECK_EQ(coir_coro_switch_failed(), 0);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(coro, an_enomem_of_its_own_is_no_failed_switch)
{
    coir_coro *co = new_coro(policy, body_fail, V(COIR_ENOMEM));
    CHECK_EQ(coir_coro_switch(co, NULL, NULL), COIR_ENOMEM);
    CHECK_EQ(coir_coro_switch_failed(), 0);
    CHECK_EQ(coir_coro_state(co), FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
}

/* Tries to start another one without memory, then ends. */
static int
body_fails_to_switch(void *arg, void *value, void **result)
{
    coir_coro *other = arg;
    coir_test_fail_call(COIR_TEST_MMAP, 0, 1000, 12);
    CHECK_EQ(coir_coro_switch(other, value, NULL), COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(coir_coro_switch_failed(), 1);
    *result = V(6);
    return 0;
}

TEST_EACH_POLICY(coro, a_failed_switch_is_forgotten_by_the_next)
{
    coir_coro *co = new_coro(policy, body_wait, NULL);
    switch_to(co, NULL); /* so that this one's stack is there */
    /* A size of its own, so that there is none in the pool. */
    coir_coro_attr attr = {.stack_size = 4 << 20};
    coir_coro *large = NULL;
    CHECK_EQ(coir_coro_new(&large, body_return, NULL, &attr), 0);
    coir_coro *failing = new_coro(policy, body_fails_to_switch, large);
    CHECK_EQ(switch_to(failing, NULL), V(6)); /* checks the flag */
    CHECK_EQ(coir_coro_free(failing), 0);
    CHECK_EQ(coir_coro_free(large), 0);
    end(co);
}

/* -- the hook ------------------------------------------------------------- */

typedef struct log_entry {
    coir_coro *from;
    coir_coro *to;
    int event;
    int from_state;
} log_entry;

static log_entry hook_log[100];
static size_t hook_count;

static void
log_switch(coir_coro *from, coir_coro *to, int event, void *user)
{
    CHECK_EQ(user, V(123));
    CHECK_EQ(coir_coro_current(), to);
    CHECK_EQ(coir_coro_state(to), RUNNING);
    CHECK(hook_count < 100);
    hook_log[hook_count++] =
        (log_entry){from, to, event, coir_coro_state(from)};
}

static void
check_log(size_t i, coir_coro *from, coir_coro *to, int event, int from_state)
{
    CHECK(i < hook_count);
    CHECK_EQ(hook_log[i].from, from);
    CHECK_EQ(hook_log[i].to, to);
    CHECK_EQ(hook_log[i].event, event);
    CHECK_EQ(hook_log[i].from_state, from_state);
}

static int
body_counts_hook(void *arg, void *value, void **result)
{
    (void)arg;
    CHECK_EQ(hook_count, 1); /* called before the body */
    int err = coir_coro_switch(coir_coro_main(), NULL, &value);
    CHECK_EQ(hook_count, 3); /* and before the switch returned */
    *result = NULL;
    return err;
}

TEST_EACH_POLICY(coro, hook_sees_every_switch)
{
    coir_coro *main_co = coir_coro_main();
    CHECK_EQ(coir_thread_set_hook(log_switch, V(123)), 0);
    coir_coro *co = new_coro(policy, body_counts_hook, NULL);
    switch_to(co, NULL);
    CHECK_EQ(hook_count, 2);
    CHECK_EQ(coir_coro_throw(co, -50, NULL), -50);
    CHECK_EQ(hook_count, 4);
    check_log(0, main_co, co, COIR_EVENT_SWITCH, SUSPENDED);
    check_log(1, co, main_co, COIR_EVENT_SWITCH, SUSPENDED);
    check_log(2, main_co, co, COIR_EVENT_THROW, SUSPENDED);
    check_log(3, co, main_co, COIR_EVENT_THROW, FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);

    hook_count = 0;
    co = new_coro(policy, body_return, NULL);
    switch_to(co, NULL);
    CHECK_EQ(hook_count, 2);
    check_log(1, co, main_co, COIR_EVENT_SWITCH, FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);

    CHECK_EQ(coir_thread_set_hook(NULL, NULL), 0);
    co = new_coro(policy, body_return, NULL);
    switch_to(co, NULL);
    CHECK_EQ(hook_count, 2);
    CHECK_EQ(coir_coro_free(co), 0);
}

/* -- floating point ------------------------------------------------------- */

static int
body_rounds(void *arg, void *value, void **result)
{
    (void)value;
    int mode = (int)(intptr_t)arg;
    CHECK_EQ(fesetround(mode), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(coir_coro_switch(coir_coro_main(), NULL, NULL), 0);
        CHECK_EQ(fegetround(), mode);
    }
    *result = NULL;
    return 0;
}

TEST_EACH_POLICY(coro, rounding_mode_is_each_ones_own)
{
#if COIR__FPU_STATE
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    coir_coro *cos[3];
    for (int i = 0; i < 3; i++)
        cos[i] = new_coro(policy, body_rounds, V(modes[i]));
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 3; i++) {
            switch_to(cos[i], NULL);
            CHECK_EQ(fegetround(), FE_TONEAREST);
        }
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_coro_free(cos[i]), 0);
#else
    (void)policy;
    (void)body_rounds;
    SKIP("built with -Dfpu_state=false");
#endif
}

/* -- the thread ----------------------------------------------------------- */

static int
body_tries_to_end_the_thread(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    CHECK_EQ(coir_thread_fini(), COIR_EBUSY);
    return 0;
}

TEST_EACH_POLICY(coro, thread_fini_needs_all_finished)
{
    CHECK_EQ(coir_thread_fini(), 0); /* nothing there yet */
    coir_coro *co = new_coro(policy, body_echo, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_thread_fini(), COIR_EBUSY);
    CHECK_EQ(switch_to(co, V(1)), V(2));
    end(co);
    co = new_coro(policy, body_tries_to_end_the_thread, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_free(co), 0);
    CHECK_EQ(coir_thread_fini(), 0);
    CHECK_EQ(coir_test_live_blocks(), 0);
    CHECK_EQ(coir_test_mapped_bytes(), 0);
    co = new_coro(policy, body_return, V(5)); /* and it begins anew */
    CHECK_EQ(switch_to(co, NULL), V(5));
    CHECK_EQ(coir_coro_free(co), 0);
}

/* -- many ----------------------------------------------------------------- */

/* `count`, or how many can be had of it here: guards that cost mappings are
 * few. */
static size_t
at_most(int policy, size_t count)
{
    if (coir_test_is_slow())
        return count < 500 ? count : 500;
    if (policy == COIR_POLICY_SLICE)
        return count;
    coir_coro *co = new_coro(policy, body_return, NULL);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_free(co), 0);
    coir_stack_pool_stats stats;
    coir_stack_pool_get_stats(coir_thread_pool(), &stats);
    size_t limit = stats.guard == COIR_GUARD_MADV ? count : 10000;
    return count < limit ? count : limit;
}

static int
body_nests(void *arg, void *value, void **result)
{
    intptr_t left = (intptr_t)value;
    int policy = (int)(intptr_t)arg;
    if (left == 0) {
        *result = V(1);
        return 0;
    }
    coir_coro *child = new_coro(policy, body_nests, arg);
    void *below = switch_to(child, V(left - 1));
    CHECK_EQ(coir_coro_free(child), 0);
    *result = V((intptr_t)below + 1);
    return 0;
}

TEST_EACH_POLICY(coro, nested_starts)
{
    coir_test_timeout(60);
    /* Slices all lie on the thread's own stack, one below the other. */
    size_t room = COIR__CONTEXT_ASM ? 5000 : 1000;
    intptr_t depth =
        (intptr_t)at_most(policy, policy == COIR_POLICY_SLICE ? room : 100000);
    coir_coro *co = new_coro(policy, body_nests, V(policy));
    CHECK_EQ(switch_to(co, V(depth)), V(depth + 1));
    CHECK_EQ(coir_coro_free(co), 0);
}

/* A ring: each brings the value, plus one, to the next. */
typedef struct ring_node {
    coir_coro *co;
    struct ring_node *next;
} ring_node;

static int
body_ring(void *arg, void *value, void **result)
{
    ring_node *node = arg;
    int started = coir_coro_switch(coir_coro_main(), NULL, &value);
    if (started < 0)
        return started;
    for (;;) {
        coir_coro *next =
            node->next != NULL ? node->next->co : coir_coro_main();
        int err = coir_coro_switch(next, V((intptr_t)value + 1), &value);
        if (err < 0)
            return err;
    }
    (void)result;
}

TEST_EACH_POLICY(coro, a_hundred_thousand_suspended)
{
    coir_test_timeout(60);
    size_t count = at_most(policy, 100000);
    ring_node *nodes = calloc(count, sizeof *nodes);
    CHECK(nodes != NULL);
    size_t before = coir_test_rss();
    for (size_t i = 0; i < count; i++) {
        nodes[i].co = new_coro(policy, body_ring, &nodes[i]);
        nodes[i].next = i + 1 < count ? &nodes[i + 1] : NULL;
        switch_to(nodes[i].co, NULL);
    }
    for (int round = 0; round < 3; round++)
        CHECK_EQ(switch_to(nodes[0].co, V(0)), V(count));
    size_t each = (coir_test_rss() - before) / count;
    printf("%zu suspended: %zu bytes each\n", count, each);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(coir_coro_state(nodes[i].co), SUSPENDED);
    if (count == 100000 && COIR__CONTEXT_ASM) {
        /* One page of stack and its share of page tables; or what is live. */
        CHECK(each < (policy == COIR_POLICY_SLICE ? 1500 : 4800));
    }
    for (size_t i = 0; i < count; i++)
        end(nodes[i].co);
    free(nodes);
}

TEST_EACH_POLICY(coro, a_million_one_after_the_other)
{
    coir_test_timeout(60);
    int count = coir_test_is_slow() ? 10000 : 1000000;
    coir_coro_attr attr = {.policy = policy};
    coir_coro co;
    size_t before = 0;
    for (int i = 0; i < count; i++) {
        CHECK_EQ(coir_coro_init(&co, body_return, V(i), &attr), 0);
        CHECK_EQ(switch_to(&co, NULL), V(i));
        CHECK_EQ(coir_coro_fini(&co), 0);
        if (i == 1000)
            before = coir_test_live_bytes();
    }
    CHECK_EQ(coir_test_live_bytes(), before); /* nothing piles up */
}

TEST(coro, policies_mix)
{
    coir_coro *cos[20];
    for (int i = 0; i < 20; i++)
        cos[i] = new_coro(i % 3 ? COIR_POLICY_SLICE : COIR_POLICY_DEDICATED,
                          body_waits_at_depth, V(i));
    for (int i = 0; i < 20; i++)
        switch_to(cos[i], NULL);
    coir_thread_check();
    for (int i = 0; i < 20; i++) {
        int k = i * 7 % 20;
        switch_to(cos[k], NULL);
        CHECK_EQ(coir_coro_state(cos[k]), FINISHED);
        CHECK_EQ(coir_coro_free(cos[k]), 0);
        coir_thread_check();
    }
}
