/* test_loop_model.c - random programs on watchers and loops against a plain
 * model, see loop_ops.h.
 *
 * COIR_TEST_SEED repeats a run, COIR_TEST_STEPS is how many programs it has,
 * COIR_TEST_TRACE shows what they do. */
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "loop_model.h"
#include "loop_ops.h"

enum { MAX_LEN = 4000 };

static void
run_programs(long programs, size_t max_len)
{
    static uint8_t program[MAX_LEN];
    const char *steps = getenv("COIR_TEST_STEPS");
    if (steps != NULL)
        programs = atol(steps);
    else if (coir_test_is_slow())
        programs /= 20;
    coir_test_timeout(60);
    coir_test_random random;
    coir_test_random_init(&random);
    for (long n = 0; n < programs; n++) {
        size_t len = 1 + coir_test_random_below(&random, max_len);
        for (size_t i = 0; i < len; i++)
            program[i] = (uint8_t)coir_test_random_below(&random, 256);
        loop_ops_run(program, len);
    }
}

/* All that programs can do happens. */
static void
check_counts(void)
{
    if (coir_test_is_slow())
        return; /* too few of them */
    for (size_t i = 0; i < loop_ops_count; i++)
        CHECK(loop_ops_counted.operations[i] > 0);
    for (int kind = 0; kind < KINDS; kind++)
        CHECK(loop_ops_counted.calls[kind] > 0);
    CHECK(loop_ops_counted.failures > 0);
}

TEST(loop_model, short_programs)
{
    run_programs(20000, 100);
}

TEST(loop_model, long_programs)
{
    run_programs(500, MAX_LEN);
    check_counts();
}
