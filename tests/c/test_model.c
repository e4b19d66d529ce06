/* test_model.c - random programs of coroutines against a plain model.
 *
 * The model is a few arrays: who is in which state, who is whose parent, who
 * runs, and what it was brought. Whichever coroutine runs picks the next
 * operation at random, works out on the model what must happen, and does it.
 * Whoever runs then, which may be another one, compares: is it me who should
 * run, did I get the value or error that the model says, are all states and
 * parents as it says? In between each keeps patterns on its stack at several
 * depths of recursion, which must be there when it comes back.
 *
 * An operation that failed for want of memory (injected) must have changed
 * nothing: then the model goes back by one step.
 *
 * COIR_TEST_SEED repeats a run, COIR_TEST_STEPS makes it longer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coir/coro.h>

#include "harness.h"

enum { SLOTS = 24, MAIN = 0, FREE = -1, MAX_DEPTH = 6 };

enum {
    NEW = COIR_CORO_NEW,
    RUNNING = COIR_CORO_RUNNING,
    SUSPENDED = COIR_CORO_SUSPENDED,
    FINISHED = COIR_CORO_FINISHED
};

/* -- the model ------------------------------------------------------------ */

typedef struct model {
    int state[SLOTS]; /* enum coir_coro_state or FREE; MAIN is never FREE */
    int parent[SLOTS];
    int prepared[SLOTS];   /* NEW, and has its stack */
    int cancelling[SLOTS]; /* coir_coro_cancel() calls that wait for it */
    int current;
    int from;       /* whom the last switch left */
    int status;     /* what it brought to the current one */
    intptr_t value; /* if status is 0 */
} model;

static model m;
static model before; /* the operation under way */
static coir_coro *co[SLOTS];

static int
is_ancestor(int slot, int other)
{
    for (;; other = m.parent[other]) {
        if (other == slot)
            return 1;
        if (other == MAIN)
            return 0;
    }
}

/* Switch to `to`, or whoever stands in for it. */
static void
model_transfer(int to, int status, intptr_t value)
{
    for (;; to = m.parent[to]) {
        if (m.state[to] == NEW && status < 0)
            m.state[to] = FINISHED; /* without running */
        if (m.state[to] != FINISHED)
            break;
        if (status == COIR_ECANCELED) {
            status = 0;
            value = 0;
        }
    }
    m.status = status;
    m.value = value;
    if (to == m.current)
        return; /* comes back at once */
    if (m.state[m.current] == RUNNING)
        m.state[m.current] = SUSPENDED;
    m.from = m.current;
    m.state[to] = RUNNING;
    m.current = to;
}

/* An error that was thrown into one that is not started finishes it, and goes
 * to its parent; even if it cannot be delivered there. */
static void
finish_unstarted(int to, int error)
{
    for (; m.state[to] == NEW || m.state[to] == FINISHED; to = m.parent[to]) {
        if (m.state[to] == FINISHED && error == COIR_ECANCELED)
            return; /* arrives as a value further up */
        m.state[to] = FINISHED;
        if (error == COIR_ECANCELED)
            return;
    }
}

static void
model_finish(int to, int status, intptr_t value)
{
    m.state[m.current] = FINISHED;
    model_transfer(to, status, value);
}

/* -- comparing ------------------------------------------------------------ */

static coir_coro *hook_from, *hook_to;

static void
on_switch(coir_coro *from, coir_coro *to, int event, void *user)
{
    (void)event;
    (void)user;
    hook_from = from;
    hook_to = to;
}

/* All that can be asked is as the model says. */
static void
compare(void)
{
    CHECK_EQ(coir_coro_current(), co[m.current]);
    CHECK_EQ(coir_coro_main(), co[MAIN]);
    for (int i = 0; i < SLOTS; i++) {
        if (m.state[i] == FREE)
            continue;
        CHECK_EQ(coir_coro_state(co[i]), m.state[i]);
        CHECK_EQ(coir_coro_parent(co[i]), i == MAIN ? NULL : co[m.parent[i]]);
        if (i == MAIN)
            continue;
        CHECK_EQ(coir_coro_stack_used(co[i]) > 0, m.state[i] == SUSPENDED);
        CHECK(coir_coro_stack_saved(co[i]) <= coir_coro_stack_used(co[i]));
    }
    coir_thread_check();
}

/* `me` runs: was it to, and with this? */
static void
arrived(int me, int status, void *value)
{
    coir_test_fail_none();
    CHECK_EQ(me, m.current);
    CHECK_EQ(status, m.status);
    if (status == 0)
        CHECK_EQ(value, m.value);
    if (hook_to != NULL) {
        CHECK_EQ(hook_to, co[me]);
        CHECK_EQ(hook_from, co[m.from]);
        hook_to = NULL;
    }
    compare();
}

/* -- operations ----------------------------------------------------------- */

static coir_test_random random_state;
static long steps_left;
static int ending;   /* main wants everybody to return */
static int policies; /* bit per policy to choose from */
static int with_failures;
static intptr_t last_value;
static long counts[12]; /* of operations, to see that all happen */

static size_t
below(size_t limit)
{
    return coir_test_random_below(&random_state, limit);
}

/* Make one of the next calls for memory fail, now and then. */
static void
maybe_fail(void)
{
    if (!with_failures || below(3) != 0)
        return;
    if (below(2))
        coir_test_fail_alloc((long)below(3));
    else
        coir_test_fail_map((long)below(2));
}

static long
failures(void)
{
    return coir_test_failures(COIR_TEST_ALLOC) +
           coir_test_failures(COIR_TEST_MMAP);
}

static int
pick(void)
{
    int slot;
    do
        slot = (int)below(SLOTS);
    while (m.state[slot] == FREE);
    return slot;
}

static int
random_error(void)
{
    static const int errors[] = {COIR_ECANCELED, COIR_ENOMEM, -100, -12345};
    return errors[below(4)];
}

typedef enum transfer { SWITCH, THROW, CANCEL } transfer;

/* Leave for another one; returns the status it came back with. */
static int
do_transfer(int me, transfer kind, int to)
{
    int error = kind == SWITCH  ? 0
                : kind == THROW ? random_error()
                                : COIR_ECANCELED;
    void *value = (void *)++last_value;
    before = m;
    if (kind == CANCEL) {
        m.parent[to] = me;
        m.cancelling[to]++;
    }
    model_transfer(to, error, kind == SWITCH ? last_value : 0);
    long failed_before = failures();
    maybe_fail();
    void *out = NULL;
    int err = kind == SWITCH  ? coir_coro_switch(co[to], value, &out)
              : kind == THROW ? coir_coro_throw(co[to], error, &out)
                              : coir_coro_cancel(co[to]);
    if (coir_coro_switch_failed()) {
        coir_test_fail_none();
        CHECK_EQ(err, COIR_ENOMEM);
        CHECK_EQ(failures(), failed_before + 1);
        CHECK_NULL(out);
        m = before;
        if (kind == THROW)
            finish_unstarted(to, error);
        compare();
        return 0;
    }
    if (kind != CANCEL) {
        arrived(me, err, out);
        return err;
    }
    m.cancelling[to]--;
    CHECK_EQ(err, m.state[to] == FINISHED ? 0 : COIR_EBUSY);
    arrived(me, m.status, (void *)m.value);
    return m.status;
}

static int
do_cancel(int me, int to)
{
    if (m.state[to] == NEW || m.state[to] == FINISHED) {
        m.state[to] = FINISHED;
        CHECK_EQ(coir_coro_cancel(co[to]), 0);
        compare();
        return 0;
    }
    if (is_ancestor(to, me)) {
        CHECK_EQ(coir_coro_cancel(co[to]), COIR_EINVAL);
        compare();
        return 0;
    }
    return do_transfer(me, CANCEL, to);
}

static int body(void *arg, void *value, void **result);

static void
do_create(void)
{
    int slot = 1;
    while (slot < SLOTS && m.state[slot] != FREE)
        slot++;
    if (slot == SLOTS)
        return;
    int parent = below(3) ? pick() : m.current;
    int policy = policies == 3  ? (int)below(2)
                 : policies & 1 ? COIR_POLICY_DEDICATED
                                : COIR_POLICY_SLICE;
    coir_coro_attr attr = {
        .policy = policy,
        .parent = co[parent],
        .stack_size = (size_t)256 << (10 + below(2)),
        .reserve = below(4) ? 0 : 16 * below(100),
    };
    maybe_fail();
    co[slot] = NULL;
    int err = coir_coro_new(&co[slot], body, (void *)(intptr_t)slot, &attr);
    coir_test_fail_none();
    if (err < 0) {
        CHECK_EQ(err, COIR_ENOMEM);
        CHECK_NULL(co[slot]);
        return;
    }
    m.state[slot] = NEW;
    m.parent[slot] = parent;
    m.prepared[slot] = 0;
    m.cancelling[slot] = 0;
    compare();
}

static void
do_free(int slot)
{
    if (slot == MAIN)
        return;
    if (m.state[slot] != NEW && m.state[slot] != FINISHED) {
        CHECK_EQ(coir_coro_free(co[slot]), COIR_EBUSY);
        compare();
        return;
    }
    /* Nobody may name it any more. */
    if (m.cancelling[slot] > 0)
        return;
    for (int i = 1; i < SLOTS; i++) {
        if (m.state[i] != FREE && m.parent[i] == slot)
            return;
    }
    CHECK_EQ(coir_coro_free(co[slot]), 0);
    m.state[slot] = FREE;
    compare();
}

static void
do_set_parent(int slot, int parent)
{
    int expected = slot == MAIN                ? COIR_EINVAL
                   : is_ancestor(slot, parent) ? COIR_ECYCLE
                                               : 0;
    CHECK_EQ(coir_coro_set_parent(co[slot], co[parent]), expected);
    if (expected == 0)
        m.parent[slot] = parent;
    compare();
}

static void
do_prepare(int slot)
{
    maybe_fail();
    int err = coir_coro_prepare(co[slot]);
    coir_test_fail_none();
    if (m.state[slot] != NEW) {
        CHECK_EQ(err, COIR_EINVAL);
    }
    else if (err < 0) {
        CHECK_EQ(err, COIR_ENOMEM);
        CHECK(!m.prepared[slot]);
    }
    else {
        m.prepared[slot] = 1;
    }
    compare();
}

/* Finish from here, without unwinding; returns if there is nowhere to go. */
static void
do_exit(int me)
{
    int to = pick();
    int alive =
        m.state[to] == SUSPENDED || (m.state[to] == NEW && m.prepared[to]);
    if (me == MAIN || !alive)
        return;
    int status = below(3) ? 0 : random_error();
    intptr_t value = ++last_value;
    model_finish(to, status, value);
    coir_coro_exit(co[to], status, (void *)value);
}

/* -- lives ---------------------------------------------------------------- */

typedef struct ending_of {
    int status;
    intptr_t value;
} ending_of;

static unsigned char
pattern(int me, int depth, size_t i)
{
    return (unsigned char)(me * 31 + depth * 7 + (int)(i % 251));
}

/* One operation. Returns the status that was brought, if any was. */
static int
step(int me)
{
    size_t dice = below(100);
    int op = dice < 40   ? 0
             : dice < 48 ? 1
             : dice < 56 ? 2
             : dice < 72 ? 3
             : dice < 84 ? 4
             : dice < 90 ? 5
             : dice < 94 ? 6
             : dice < 95 ? 7
                         : 8;
    counts[op]++;
    switch (op) {
    case 0:
        return do_transfer(me, SWITCH, pick());
    case 1:
        return do_transfer(me, THROW, pick());
    case 2:
        return do_cancel(me, pick());
    case 3:
        do_create();
        return 0;
    case 4:
        do_free(pick());
        return 0;
    case 5:
        do_set_parent(pick(), pick());
        return 0;
    case 6:
        do_prepare(pick());
        return 0;
    case 7:
        do_exit(me);
        return 0;
    default:
        return 0;
    }
}

/* Do things, and call this again now and then. Returns 1 if the coroutine is
 * to finish as `*end` says; 0 to go on one level up. */
static int
live(int me, int depth, ending_of *end)
{
    const size_t size = 1 + below(1500);
    unsigned char room[size];
    volatile unsigned char *seen = room;
    for (size_t i = 0; i < size; i++)
        seen[i] = pattern(me, depth, i);

    int finishing = 0;
    while (!finishing) {
        int status = 0;
        size_t dice = below(100);
        if (steps_left == 0 && me == MAIN)
            finishing = 1;
        else if (steps_left == 0)
            status = do_transfer(me, SWITCH, MAIN);
        else if (dice < 10 && depth < MAX_DEPTH)
            finishing = live(me, depth + 1, end);
        else if (dice < 18 && depth > 0)
            break;
        else {
            steps_left--;
            status = step(me);
        }
        for (size_t i = 0; i < size; i++)
            CHECK_EQ((unsigned char)seen[i], pattern(me, depth, i));
        if (me == MAIN || finishing)
            continue;
        /* An error may be handled, or end it, by itself or another one. */
        if (ending || (status < 0 && below(2)) || below(60) == 0) {
            finishing = 1;
            end->status = status;
            end->value = status < 0 ? 0 : ++last_value;
            if (!ending && below(4) == 0)
                end->status = random_error();
        }
    }
    return finishing;
}

static int
body(void *arg, void *value, void **result)
{
    int me = (int)(intptr_t)arg;
    arrived(me, 0, value);
    ending_of end = {0, 0};
    while (!live(me, 0, &end))
        ;
    counts[9]++;
    int status = end.status;
    if (status == COIR_ECANCELED) /* a normal end */
        status = 0;
    model_finish(m.parent[me], status, status < 0 ? 0 : end.value);
    *result = (void *)end.value;
    return end.status;
}

static void
run_model(int which_policies, int failing)
{
    coir_test_timeout(60);
    const char *steps = getenv("COIR_TEST_STEPS");
    steps_left = steps != NULL         ? atol(steps)
                 : coir_test_is_slow() ? 5000
                                       : 150000;
    long steps_at_first = steps_left;
    policies = which_policies;
    with_failures = failing;
    coir_test_random_init(&random_state);
    for (int i = 1; i < SLOTS; i++)
        m.state[i] = FREE;
    co[MAIN] = coir_coro_main();
    m.state[MAIN] = RUNNING;
    m.current = MAIN;
    CHECK_EQ(coir_thread_set_hook(on_switch, NULL), 0);

    ending_of end;
    while (!live(MAIN, 0, &end))
        ;
    CHECK_EQ(m.current, MAIN);
    if (steps_at_first >= 5000) {
        for (int op = 0; op < 10; op++)
            CHECK(counts[op] > 0);
        /* Warm stacks need no memory: how often it fails is up to chance. */
        CHECK(!with_failures || coir_test_is_slow() || failures() > 10);
    }
    ending = 1;
    with_failures = 0;
    for (int i = 1; i < SLOTS; i++) {
        if (m.state[i] != FREE)
            do_cancel(MAIN, i);
    }
    for (int i = 1; i < SLOTS; i++) {
        if (m.state[i] != FREE) {
            CHECK_EQ(m.state[i], FINISHED);
            CHECK_EQ(coir_coro_free(co[i]), 0);
        }
    }
}

TEST(model, dedicated)
{
    run_model(1, 0);
}

TEST(model, slices)
{
    run_model(2, 0);
}

TEST(model, mixed)
{
    run_model(3, 0);
}

TEST(model, dedicated_with_failing_memory)
{
    run_model(1, 1);
}

TEST(model, slices_with_failing_memory)
{
    run_model(2, 1);
}

TEST(model, mixed_with_failing_memory)
{
    run_model(3, 1);
}
