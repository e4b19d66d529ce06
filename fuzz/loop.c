/* loop.c - fuzz target: programs on watchers and loops against a model, see
 * tests/c/loop_ops.h. With COIR_TEST_TRACE it says what an input does. */
#include "harness.h"
#include "loop_ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    loop_ops_run(data, size);
    CHECK_EQ(coir_test_live_blocks(), 0);
    return 0;
}
