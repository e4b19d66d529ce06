/* test_sim.c - simulation: time, schedules, failures, determinism, and that it
 * finds bugs that were put there to be found.
 *
 * COIR_SIM_RUNS says how many seeds each program is run with that is to pass:
 * some hundred unless it is set. */
#include <coir/sim.h>
#include <coir/sync.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define MS COIR_NS_PER_MS
#define S COIR_NS_PER_S

static coir_sim_report report;

static coir_green *
spawn(coir_green_fn *fn, void *arg)
{
    coir_green *g;
    COIR_SIM_CHECK(coir_spawn(&g, fn, arg, NULL) == 0);
    return g;
}

/* Each run's verdict is the test's; seeds from 0. */
static void
passes(coir_green_fn *program, uint64_t runs)
{
    int err = coir_sim_search(program, NULL, coir_test_is_slow() ? 30 : runs,
                              NULL, &report);
    if (err != 0)
        coir_test_fail(__FILE__, __LINE__, "seed %llu: %s",
                       (unsigned long long)report.seed, report.message);
}

/* Some seed of so many finds what is wrong, and finds it again. */
static void
fails(coir_green_fn *program, uint64_t runs, const char *why)
{
    coir_sim_options options = {.flags = COIR_SIM_QUIET};
    CHECK_EQ(coir_sim_search(program, NULL, runs, &options, &report), 1);
    if (strstr(report.message, why) == NULL)
        CHECK_STR(report.message, why);
    coir_sim_report again;
    options.seed = report.seed;
    CHECK_EQ(coir_sim_run(program, NULL, &options, &again), 1);
    CHECK_EQ(again.hash, report.hash);
    CHECK_STR(again.message, report.message);
}

/* --- runs ---------------------------------------------------------------- */

static int
return_arg(void *arg)
{
    return (int)(intptr_t)arg;
}

TEST(sim, runs_a_program)
{
    CHECK_EQ(coir_sim_run(return_arg, (void *)7, NULL, &report), 0);
    CHECK_EQ(report.result, 7);
    CHECK_STR(report.message, "");
    CHECK_EQ(coir_sim_active(), 0);
}

TEST(sim, program_that_returns_an_error_has_failed)
{
    coir_sim_options options = {.seed = 5, .flags = COIR_SIM_QUIET};
    CHECK_EQ(coir_sim_run(return_arg, (void *)(intptr_t)COIR_ECLOSED, &options,
                          &report),
             1);
    CHECK_EQ(report.result, COIR_ECLOSED);
    CHECK_EQ(report.seed, 5);
    CHECK_STR(report.message, "the program returned -11 (closed)");
}

TEST(sim, needs_a_program_and_a_thread_without_hub)
{
    CHECK_EQ(coir_sim_run(NULL, NULL, NULL, NULL), COIR_EINVAL);
    CHECK(coir_hub_get() != NULL);
    CHECK_EQ(coir_sim_run(return_arg, NULL, NULL, NULL), COIR_EBUSY);
    CHECK_EQ(coir_sim_search(return_arg, NULL, 3, NULL, NULL), COIR_EBUSY);
    CHECK_EQ(coir_hub_fini(), 0);
    CHECK_EQ(coir_sim_run(return_arg, NULL, NULL, NULL), 0);
}

TEST(sim, without_memory_does_not_run)
{
    EACH_ALLOC_FAILURE(n)
    {
        report.message[0] = '?';
        int err = coir_sim_run(return_arg, NULL, NULL, &report);
        CHECK(err == 0 || err == COIR_ENOMEM);
        CHECK_EQ(report.message[0], err == 0 ? '\0' : '?');
        CHECK_EQ(coir_thread_fini(), 0);
    }
}

static int
run_inside(void *arg)
{
    (void)arg;
    COIR_SIM_CHECK(coir_sim_active());
    COIR_SIM_CHECK(coir_sim_run(return_arg, NULL, NULL, NULL) == COIR_EBUSY);
    COIR_SIM_CHECK(coir_hub_fini() == 0);
    COIR_SIM_CHECK(coir_self() != NULL);
    return 0;
}

TEST(sim, has_a_hub_that_stays)
{
    passes(run_inside, 1);
}

/* --- time ---------------------------------------------------------------- */

static int
sleep_for_an_hour(void *arg)
{
    (void)arg;
    int64_t before = coir_clock_monotonic(), wall = coir_clock_wall();
    COIR_SIM_CHECK(coir_sleep(3600 * S) == 0);
    int64_t passed = coir_clock_monotonic() - before;
    COIR_SIM_CHECK(passed >= 3600 * S && passed < 3601 * S);
    COIR_SIM_CHECK(coir_clock_wall() - wall == passed);
    coir_clock_sleep(S);
    COIR_SIM_CHECK(coir_clock_monotonic() - before == passed + S);
    return 0;
}

TEST(sim, time_is_virtual)
{
    int64_t before = coir_clock_monotonic();
    passes(sleep_for_an_hour, 100);
    CHECK(report.time_ns >= 3600 * S);
    CHECK(coir_clock_monotonic() - before < 60 * S);
}

static int
sleep_exactly(void *arg)
{
    (void)arg;
    int64_t before = coir_clock_monotonic();
    for (int i = 0; i < 10; i++)
        COIR_SIM_CHECK(coir_sleep(S) == 0);
    COIR_SIM_CHECK(coir_clock_monotonic() - before == 10 * S);
    return 0;
}

TEST(sim, time_is_exact_where_that_is_asked_for)
{
    coir_sim_options options = {.step_ns = -1, .late_ns = -1};
    CHECK_EQ(coir_sim_search(sleep_exactly, NULL, 20, &options, NULL), 0);
}

static int
poll_a_clock(void *arg)
{
    (void)arg;
    int64_t end = coir_clock_monotonic() + MS;
    while (coir_clock_monotonic() < end)
        COIR_SIM_CHECK(coir_yield() == 0);
    return 0;
}

TEST(sim, time_passes_for_one_that_polls_a_clock)
{
    passes(poll_a_clock, 5);
}

/* --- ends ---------------------------------------------------------------- */

static int
yield_for_ever(void *arg)
{
    for (;;)
        COIR_SIM_CHECK(coir_yield() == 0);
    return arg != NULL;
}

static int
sleep_for_ever(void *arg)
{
    for (;;)
        COIR_SIM_CHECK(coir_sleep(S) == 0);
    return arg != NULL;
}

TEST(sim, livelock_is_a_failure)
{
    coir_sim_options options = {.flags = COIR_SIM_QUIET, .max_steps = 1000};
    CHECK_EQ(coir_sim_run(yield_for_ever, NULL, &options, &report), 1);
    CHECK_STR(report.message, "1000 steps and no end: a livelock?");
    CHECK_EQ(coir_sim_run(sleep_for_ever, NULL, &options, &report), 1);
    CHECK_STR(report.message, "1000 steps and no end: a livelock?");
}

static int
wait_for_ever(void *arg)
{
    return coir_park("nothing", arg, COIR_FOREVER);
}

TEST(sim, deadlock_ends_the_wait_of_main)
{
    fails(wait_for_ever, 1, "the program returned -10 (would wait for ever)");
}

static void
refused(coir_loop *loop, coir_io *w, int revents)
{
    (void)loop;
    *(int *)w->data = revents;
}

static int
watch_what_is_not_simulated(void *arg)
{
    (void)arg;
    int seen = 0;
    coir_io w;
    coir_io_init(&w, refused, STDIN_FILENO, COIR_READ);
    w.data = &seen;
    COIR_SIM_CHECK(coir_io_start(coir_hub_loop(coir_hub_get()), &w) == 0);
    COIR_SIM_CHECK(coir_sleep(S) == 0);
    COIR_SIM_CHECK(seen & COIR_ERROR);
    return 0;
}

TEST(sim, descriptors_of_the_kernel_cannot_be_watched)
{
    passes(watch_what_is_not_simulated, 1);
}

static void
check_in_callback(coir_call *call)
{
    COIR_SIM_CHECK(call == NULL);
}

static int
fail_in_callback(void *arg)
{
    static coir_call call = {check_in_callback, NULL, NULL};
    (void)arg;
    coir_hub_post(coir_hub_get(), &call);
    return wait_for_ever(NULL);
}

TEST(sim, check_in_a_callback_of_the_hub_fails)
{
    fails(fail_in_callback, 1, "call == NULL");
}

static int
fail_a_check(void *arg)
{
    COIR_SIM_CHECK(arg == NULL);
    return 0;
}

static int
fail_in_another(void *arg)
{
    (void)spawn(wait_for_ever, arg);
    coir_green_attr slice = {.policy = COIR_POLICY_SLICE};
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        COIR_SIM_CHECK(coir_spawn(&g[i], sleep_for_ever, NULL, &slice) == 0);
    (void)spawn(fail_a_check, &report);
    return wait_for_ever(NULL);
}

TEST(sim, failed_run_leaves_nothing)
{
    fails(fail_in_another, 1, "arg == NULL");
    coir_thread_check();
    fails(fail_in_another, 1, "arg == NULL");
    coir_thread_check();
}

static int
leave_others(void *arg)
{
    (void)spawn(wait_for_ever, arg);
    (void)spawn(sleep_for_ever, arg);
    coir_green_attr slice = {.policy = COIR_POLICY_SLICE, .detached = 1};
    for (int i = 0; i < 5; i++)
        COIR_SIM_CHECK(coir_spawn(NULL, sleep_for_ever, NULL, &slice) == 0);
    (void)spawn(return_arg, NULL);
    COIR_SIM_CHECK(coir_sleep(5 * S) == 0);
    (void)spawn(return_arg, NULL);
    COIR_SIM_CHECK(coir_local_set(&report, &report, NULL) == 0);
    return 0;
}

TEST(sim, what_a_program_leaves_is_dropped)
{
    passes(leave_others, 50);
    coir_thread_check();
}

TEST(sim, check_outside_of_simulations_aborts)
{
    CHECK_DIES(SIGABRT, "one == 2")
    {
        int one = 1;
        COIR_SIM_CHECK(one == 2);
    }
}

/* --- determinism --------------------------------------------------------- */

static int
add_up(void *arg)
{
    unsigned *sum = arg;
    for (int i = 0; i < 5; i++) {
        unsigned seen = *sum;
        coir_sim_point();
        *sum = seen * 31 + (unsigned)coir_sim_random_below(7);
        COIR_SIM_CHECK(coir_sleep((int64_t)coir_sim_random_below(3) * MS) ==
                       0);
    }
    return 0;
}

static int
wander(void *arg)
{
    (void)arg;
    unsigned sum = 0;
    coir_green *g[10];
    for (int i = 0; i < 10; i++)
        g[i] = spawn(add_up, &sum);
    for (int i = 0; i < 10; i++)
        COIR_SIM_CHECK(coir_join(g[i], NULL) == 0);
    coir_sim_note("sum %u", sum);
    return 0;
}

TEST(sim, same_seed_does_the_same)
{
    coir_sim_options options = {.flags = COIR_SIM_TWICE};
    CHECK_EQ(coir_sim_search(wander, NULL, 100, &options, NULL), 0);
}

TEST(sim, other_seeds_do_other_things)
{
    uint64_t hashes[100];
    for (unsigned i = 0; i < 100; i++) {
        coir_sim_options options = {.seed = i};
        CHECK_EQ(coir_sim_run(wander, NULL, &options, &report), 0);
        hashes[i] = report.hash;
        for (unsigned j = 0; j < i; j++)
            CHECK_NE(hashes[i], hashes[j]);
    }
}

/* Whatever the machine, the compiler and where memory lies. A change of what
 * simulations decide changes it. */
TEST(sim, hash_is_the_same_everywhere)
{
    coir_sim_options options = {.seed = 1};
    CHECK_EQ(coir_sim_run(wander, NULL, &options, &report), 0);
    CHECK_EQ(report.hash, UINT64_C(0x5d8264a8e801ba5e));
}

static int
look_at_addresses(void *arg)
{
    static int runs;
    (void)arg;
    coir_sim_note("%d", runs++);
    return 0;
}

TEST(sim, finds_what_is_not_deterministic)
{
    coir_sim_options options = {.flags = COIR_SIM_TWICE | COIR_SIM_QUIET};
    CHECK_EQ(coir_sim_search(look_at_addresses, NULL, 9, &options, &report),
             1);
    CHECK(strstr(report.message, "the same seed did something else") != NULL);
}

TEST(sim, environment_chooses_seeds)
{
    CHECK_EQ(setenv("COIR_SIM_RUNS", "3", 1), 0);
    CHECK_EQ(coir_sim_search(return_arg, NULL, 99, NULL, &report), 0);
    CHECK_EQ(report.seed, 2);
    CHECK_EQ(setenv("COIR_SIM_SEED", "0x2a", 1), 0);
    CHECK_EQ(coir_sim_search(return_arg, NULL, 99, NULL, &report), 0);
    CHECK_EQ(report.seed, 42);
}

TEST(sim, numbers_are_in_range)
{
    uint64_t seen = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t n = coir_sim_random_below(10);
        CHECK(n < 10);
        seen |= UINT64_C(1) << n;
    }
    CHECK_EQ(seen, 1023);
    CHECK_EQ(coir_sim_random_below(0), 0);
    CHECK_NE(coir_sim_random(), coir_sim_random());
}

/* --- bugs that were put there -------------------------------------------- */

/* A lost wake-up: between the look at the flag and the wait others run. */
static coir_mutex mutex;
static coir_condition changed;
static int flag;

static int
set_flag(void *arg)
{
    (void)arg;
    COIR_SIM_CHECK(coir_mutex_lock(&mutex, COIR_FOREVER) == 0);
    flag = 1;
    coir_condition_notify(&changed);
    COIR_SIM_CHECK(coir_mutex_unlock(&mutex) == 0);
    return 0;
}

static int
wait_for_flag(void *arg)
{
    int err = 0;
    if (arg != NULL) {
        COIR_SIM_CHECK(coir_mutex_lock(&mutex, COIR_FOREVER) == 0);
        while (!flag && err == 0)
            err = coir_condition_wait(&changed, &mutex, COIR_FOREVER);
    }
    else if (!flag) {
        COIR_SIM_CHECK(coir_mutex_lock(&mutex, COIR_FOREVER) == 0);
        err = coir_condition_wait(&changed, &mutex, COIR_FOREVER);
    }
    else
        return 0;
    COIR_SIM_CHECK(coir_mutex_unlock(&mutex) == 0);
    return err;
}

static int
both(coir_green_fn *a, coir_green_fn *b, void *arg)
{
    coir_green *g[2] = {spawn(a, arg), spawn(b, arg)};
    for (int i = 0; i < 2; i++) {
        int err = coir_join(g[i], NULL);
        if (err < 0)
            return err;
    }
    return 0;
}

static int
wake_up(void *arg)
{
    mutex = (coir_mutex)COIR_MUTEX_INIT;
    coir_condition_init(&changed);
    flag = 0;
    return both(wait_for_flag, set_flag, arg);
}

static int
wake_up_right(void *arg)
{
    (void)arg;
    return wake_up(&flag);
}

TEST(sim, finds_a_lost_wake_up)
{
    fails(wake_up, 200, "the program returned -10 (would wait for ever)");
    passes(wake_up_right, 500);
}

/* Locks in two orders. */
static coir_mutex locks[2];

static int
lock_both(int first, int second)
{
    COIR_SIM_CHECK(coir_mutex_lock(&locks[first], COIR_FOREVER) == 0);
    COIR_SIM_CHECK(coir_mutex_lock(&locks[second], COIR_FOREVER) == 0);
    COIR_SIM_CHECK(coir_mutex_unlock(&locks[second]) == 0);
    COIR_SIM_CHECK(coir_mutex_unlock(&locks[first]) == 0);
    return 0;
}

static int
lock_upwards(void *arg)
{
    (void)arg;
    return lock_both(0, 1);
}

static int
lock_downwards(void *arg)
{
    return arg != NULL ? lock_both(0, 1) : lock_both(1, 0);
}

static int
lock_in_two_orders(void *arg)
{
    memset(locks, 0, sizeof locks);
    return both(lock_upwards, lock_downwards, arg);
}

static int
lock_in_one_order(void *arg)
{
    (void)arg;
    return lock_in_two_orders(locks);
}

TEST(sim, finds_a_deadlock_by_order_of_locks)
{
    fails(lock_in_two_orders, 200,
          "the program returned -10 (would wait for ever)");
    passes(lock_in_one_order, 500);
}

/* A check and what relies on it, with a call that may wait in between. */
static int money;

static int
take_money(void *arg)
{
    if (arg != NULL)
        COIR_SIM_CHECK(coir_mutex_lock(&mutex, COIR_FOREVER) == 0);
    if (money >= 10) {
        if (arg == NULL)
            COIR_SIM_CHECK(coir_mutex_lock(&mutex, COIR_FOREVER) == 0);
        money -= 10;
        COIR_SIM_CHECK(money >= 0);
        if (arg == NULL)
            COIR_SIM_CHECK(coir_mutex_unlock(&mutex) == 0);
    }
    if (arg != NULL)
        COIR_SIM_CHECK(coir_mutex_unlock(&mutex) == 0);
    return 0;
}

static int
share_money(void *arg)
{
    mutex = (coir_mutex)COIR_MUTEX_INIT;
    money = 10;
    return both(take_money, take_money, arg);
}

static int
share_money_right(void *arg)
{
    (void)arg;
    return share_money(&money);
}

TEST(sim, finds_a_check_that_does_not_hold)
{
    fails(share_money, 200, "money >= 0");
    passes(share_money_right, 500);
}

/* Needs one of three to be kept from running while the two others go far. */
static int progress;

static int
go_far(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        progress++;
        COIR_SIM_CHECK(coir_yield() == 0);
    }
    return 0;
}

static int
start_late(void *arg)
{
    (void)arg;
    COIR_SIM_CHECK(progress < 40);
    return 0;
}

static int
race_far(void *arg)
{
    progress = 0;
    coir_green *g[3] = {spawn(start_late, arg), spawn(go_far, arg),
                        spawn(go_far, arg)};
    for (int i = 0; i < 3; i++)
        COIR_SIM_CHECK(coir_join(g[i], NULL) == 0);
    return 0;
}

TEST(sim, finds_what_needs_one_to_starve)
{
    fails(race_far, 1000, "progress < 40");
}
