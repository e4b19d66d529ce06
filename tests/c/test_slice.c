/* test_slice.c - what only slices do: share the thread's stack, be moved. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coir/coro.h>

#include "harness.h"

#define V(n) ((void *)(intptr_t)(n))

static coir_coro *
new_coro(int policy, coir_coro_fn fn, void *arg)
{
    coir_coro *co = NULL;
    coir_coro_attr attr = {.policy = policy, .parent = coir_coro_main()};
    CHECK_EQ(coir_coro_new(&co, fn, arg, &attr), 0);
    return co;
}

static coir_coro *
new_slice(coir_coro_fn fn, void *arg)
{
    return new_coro(COIR_POLICY_SLICE, fn, arg);
}

static void *
switch_to(coir_coro *co, void *value)
{
    void *out = NULL;
    CHECK_EQ(coir_coro_switch(co, value, &out), 0);
    return out;
}

static void
end(coir_coro *co)
{
    CHECK_EQ(coir_coro_cancel(co), 0);
    CHECK_EQ(coir_coro_free(co), 0);
}

/* Fill `left` bytes of stack with a pattern of `seed`, a kilobyte a frame, and
 * call `bottom` below; what was written must be there when it returns. */
static int
at_depth(size_t left, unsigned seed, int (*bottom)(void *), void *arg)
{
    volatile unsigned char room[1024];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = (unsigned char)(seed * 37 + left / 1024 + i);
    int err = left > sizeof room
                  ? at_depth(left - sizeof room, seed, bottom, arg)
                  : bottom(arg);
    for (size_t i = 0; i < sizeof room; i++)
        CHECK_EQ(room[i], (unsigned char)(seed * 37 + left / 1024 + i));
    return err;
}

static int
wait_for_main(void *arg)
{
    (void)arg;
    return coir_coro_switch(coir_coro_main(), NULL, NULL);
}

/* arg: bytes of stack to fill before waiting. */
static int
body_waits_deep(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    size_t depth = (size_t)(intptr_t)arg;
    return at_depth(depth, (unsigned)depth, wait_for_main, NULL);
}

TEST(slice, recurses_deeper_than_a_dedicated_stack)
{
    size_t depth = 3 << 20;
    if (coir_test_is_slow())
        depth /= 8;
    coir_coro *a = new_slice(body_waits_deep, V(depth));
    coir_coro *b = new_slice(body_waits_deep, V(depth + 1));
    for (int i = 0; i < 2; i++) {
        switch_to(a, NULL);
        switch_to(b, NULL);
        coir_thread_check();
        if (i == 0) {
            CHECK(coir_coro_stack_used(a) > depth);
            CHECK_EQ(coir_coro_stack_saved(a), coir_coro_stack_used(a));
            CHECK_EQ(coir_coro_stack_saved(b), coir_coro_stack_used(b));
        }
    }
    CHECK_EQ(coir_coro_free(a), 0);
    CHECK_EQ(coir_coro_free(b), 0);
}

/* -- only the overlap is copied ------------------------------------------- */

static int
switch_to_arg(void *arg)
{
    return coir_coro_switch(arg, NULL, NULL);
}

/* A: waits for the dedicated one shallow, then deep. */
static int
body_a(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    CHECK_EQ(switch_to_arg(arg), 0);
    CHECK_EQ(at_depth(50000, 1, switch_to_arg, arg), 0);
    return 0;
}

static int
body_b(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(at_depth(1000, 2, switch_to_arg, arg), 0);
    return 0;
}

static int
body_director(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    coir_coro *self = coir_coro_current();
    coir_coro *a = new_slice(body_a, self);
    coir_coro *b = new_slice(body_b, self);
    CHECK_EQ(coir_coro_set_parent(a, self), 0);
    CHECK_EQ(coir_coro_set_parent(b, self), 0);

    switch_to(a, NULL); /* below main's frames: nothing to move */
    CHECK_EQ(coir_coro_stack_saved(a), 0);
    switch_to(b, NULL); /* below a's */
    CHECK_EQ(coir_coro_stack_saved(a), 0);
    CHECK_EQ(coir_coro_stack_saved(b), 0);

    switch_to(a, NULL); /* a grows into b's place */
    CHECK_EQ(coir_coro_stack_saved(a), 0);
    CHECK_EQ(coir_coro_stack_saved(b), coir_coro_stack_used(b));

    switch_to(b, NULL); /* what a has grown by has to go, no more */
    size_t saved = coir_coro_stack_saved(a);
    CHECK(saved >= 50000);
    CHECK(saved < coir_coro_stack_used(a));
    CHECK_EQ(coir_coro_stack_saved(b), 0);

    switch_to(a, NULL);
    CHECK_EQ(coir_coro_state(a), COIR_CORO_FINISHED);
    switch_to(b, NULL);
    CHECK_EQ(coir_coro_state(b), COIR_CORO_FINISHED);
    CHECK_EQ(coir_coro_free(a), 0);
    CHECK_EQ(coir_coro_free(b), 0);
    return 0;
}

TEST(slice, only_the_overlap_is_copied)
{
    coir_coro *director = new_coro(COIR_POLICY_DEDICATED, body_director, NULL);
    switch_to(director, NULL);
    CHECK_EQ(coir_coro_free(director), 0);
}

/* -- main is moved, too --------------------------------------------------- */

static int
switch_three_times(void *arg)
{
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coir_coro_switch(arg, NULL, NULL), 0);
        coir_thread_check();
    }
    return 0;
}

static int
body_waits_four_times(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(at_depth(20000 * i, 5, wait_for_main, NULL), 0);
    return 0;
}

TEST(slice, main_gives_way_when_it_has_grown)
{
    coir_coro *co = new_slice(body_waits_four_times, NULL);
    switch_to(co, NULL); /* starts here, high up */
    CHECK_EQ(at_depth(100000, 6, switch_three_times, co), 0);
    switch_to(co, NULL);
    CHECK_EQ(coir_coro_state(co), COIR_CORO_FINISHED);
    CHECK_EQ(coir_coro_free(co), 0);
}

/* -- at random ------------------------------------------------------------ */

enum { ACTORS = 16 };

static coir_coro *actors[ACTORS + 1]; /* the last is main */
static coir_test_random random_state;
static long steps_left;

/* Wander from actor to actor, each time from another depth. */
static int
wander(void *arg)
{
    (void)arg;
    size_t moves = 1 + coir_test_random_below(&random_state, 4);
    while (moves-- > 0) {
        size_t next = steps_left > 0
                          ? coir_test_random_below(&random_state, ACTORS + 1)
                          : ACTORS;
        steps_left--;
        int err = coir_coro_switch(actors[next], NULL, NULL);
        if (err < 0)
            return err;
    }
    return 0;
}

static int
body_wanders(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    for (;;) {
        size_t depth = coir_test_random_below(&random_state, 60000);
        int err = at_depth(depth, (unsigned)(intptr_t)arg, wander, NULL);
        if (err < 0)
            return err;
    }
}

static void
run_wanderers(int with_dedicated)
{
    coir_test_timeout(60);
    coir_test_random_init(&random_state);
    steps_left = coir_test_is_slow() ? 200 : 8000;
    for (int i = 0; i < ACTORS; i++)
        actors[i] =
            new_coro(with_dedicated && i % 3 == 0 ? COIR_POLICY_DEDICATED
                                                  : COIR_POLICY_SLICE,
                     body_wanders, V(i));
    if (with_dedicated) {
        for (int i = 0; i < ACTORS; i += 3) {
            coir_coro_attr attr = {.stack_size = 256 << 10};
            CHECK_EQ(coir_coro_free(actors[i]), 0);
            CHECK_EQ(coir_coro_new(&actors[i], body_wanders, V(i), &attr), 0);
        }
    }
    actors[ACTORS] = coir_coro_main();
    while (steps_left > 0) {
        size_t depth = coir_test_random_below(&random_state, 60000);
        CHECK_EQ(at_depth(depth, 99, wander, NULL), 0);
    }
    for (int i = 0; i < ACTORS; i++)
        end(actors[i]);
}

TEST(slice, random_depths)
{
    run_wanderers(0);
}

TEST(slice, random_depths_beside_dedicated_ones)
{
    run_wanderers(1);
}

/* -- started by one with a stack of its own ------------------------------- */

typedef struct begun {
    size_t count, failed;
    coir_coro **slices;
    coir_coro *self;
    char *highest, *lowest; /* where they began */
} begun;

static int
body_waits_for_starter(void *arg, void *value, void **result)
{
    begun *s = arg;
    char *here = __builtin_frame_address(0);
    (void)result;
    if (s->highest == NULL || here > s->highest)
        s->highest = here;
    if (s->lowest == NULL || here < s->lowest)
        s->lowest = here;
    return coir_coro_switch(value, NULL, NULL);
}

static int
body_starts_slices(void *arg, void *value, void **result)
{
    begun *s = arg;
    (void)value;
    (void)result;
    s->self = coir_coro_current();
    for (size_t i = 0; i < s->count; i++) {
        s->slices[i] = new_slice(body_waits_for_starter, s);
        if (i > 0)
            coir_test_fail_alloc(0); /* others may have to be saved */
        int err = coir_coro_switch(s->slices[i], s->self, NULL);
        coir_test_fail_none();
        if (err < 0) {
            CHECK_EQ(err, COIR_ENOMEM);
            coir_thread_check();
            s->failed++;
            switch_to(s->slices[i], s->self);
        }
    }
    return 0;
}

TEST(slice, any_number_that_a_dedicated_one_starts_have_room)
{
    /* One below the other they would fill the thread's stack in the end. */
    begun s = {.count = 2000};
    s.slices = calloc(s.count, sizeof *s.slices);
    CHECK(s.slices != NULL);
    coir_coro *co = new_coro(COIR_POLICY_DEDICATED, body_starts_slices, &s);
    switch_to(co, NULL);
    CHECK(s.highest - s.lowest < 100000);
    CHECK(s.failed > 0 && s.failed < s.count / 8);
    for (size_t i = 0; i < s.count; i++)
        end(s.slices[i]);
    CHECK_EQ(coir_coro_free(co), 0);
    free(s.slices);
}

/* -- without memory ------------------------------------------------------- */

/* As wait_for_main(), but the failure may be meant for this switch. */
static int
wait_for_main_or_try_again(void *arg)
{
    int err = wait_for_main(arg);
    if (!coir_coro_switch_failed())
        return err;
    CHECK_EQ(err, COIR_ENOMEM);
    coir_thread_check();
    return wait_for_main(arg);
}

static int
body_waits_without_memory(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(at_depth(20000 * i, 5, wait_for_main_or_try_again, NULL), 0);
    return 0;
}

TEST(slice, switch_without_memory_moves_nothing)
{
    enum { COUNT = 5 };
    coir_coro *cos[COUNT];
    for (int i = 0; i < COUNT; i++)
        cos[i] = new_slice(body_waits_without_memory, NULL);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < COUNT; i++) {
            coir_test_fail_alloc(round % 2);
            int err = coir_coro_switch(cos[i], NULL, NULL);
            coir_test_fail_none();
            if (coir_coro_switch_failed()) {
                CHECK_EQ(err, COIR_ENOMEM);
                coir_thread_check();
                CHECK_EQ(coir_coro_switch(cos[i], NULL, NULL), 0);
            }
            else {
                CHECK_EQ(err, 0);
            }
        }
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(coir_coro_state(cos[i]), COIR_CORO_FINISHED);
        CHECK_EQ(coir_coro_free(cos[i]), 0);
    }
}

static int
body_starts_slice_then_ends(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    coir_coro *self = coir_coro_current();
    coir_coro *slice = arg;
    slice->user = self;
    switch_to(slice, NULL);
    coir_test_fail_call(COIR_TEST_ALLOC, 0, 1000, 12);
    return 0;
}

static int
body_back_to_user(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    coir_coro *starter = coir_coro_current()->user;
    return at_depth(10000, 3, switch_to_arg, starter);
}

TEST(slice, an_end_that_cannot_reach_main_is_reported)
{
    /* A dedicated one ends, the slice that it started lies below main's
     * frames, and there is no memory to move it: nothing is left to return to,
     * and to say so is all that can be done. */
    CHECK_DIES(SIGABRT, "out of memory")
    {
        coir_coro *slice = new_slice(body_back_to_user, NULL);
        coir_coro *co = new_coro(COIR_POLICY_DEDICATED,
                                 body_starts_slice_then_ends, slice);
        switch_to(co, NULL);
    }
}

/* -- memory --------------------------------------------------------------- */

TEST(slice, a_suspended_one_costs_its_live_bytes)
{
    size_t count = coir_test_is_slow() ? 1000 : 100000;
    coir_coro **cos = calloc(count, sizeof *cos);
    CHECK(cos != NULL);
    size_t before = coir_test_live_bytes();
    size_t live = 0;
    for (size_t i = 0; i < count; i++) {
        cos[i] = new_slice(body_waits_deep, V(0));
        switch_to(cos[i], NULL);
        live += coir_coro_stack_saved(cos[i]);
    }
    size_t beyond = (coir_test_live_bytes() - before - live) / count;
    printf("%zu bytes beyond %zu live ones\n", beyond, live / count);
    CHECK(beyond <= 400);
    for (size_t i = 0; i < count; i++)
        end(cos[i]);
    free(cos);
}
