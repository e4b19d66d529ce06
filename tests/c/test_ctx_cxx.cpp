/* test_ctx_cxx.cpp - C++ exceptions inside a context.
 *
 * AddressSanitizer must know whose stack it unwinds, which coroutines tell it
 * and bare contexts do not: these tests skip there. */
#include "harness.h"

#include <stdexcept>

#include <coir/ctx.h>

namespace {

alignas(64) char stack[256 * 1024];
coir_ctx here;
coir_ctx there;

void *
start(coir_ctx_fn fn, void *arg)
{
    return coir_ctx_start(&here, stack + sizeof stack, fn, arg);
}

void
skip_on_asan()
{
    if (COIR_TEST_ASAN)
        SKIP("a bare context does not tell AddressSanitizer of its stack");
}

struct counts {
    int destroyed;
    int caught;
};

struct guard {
    counts *c;
    ~guard()
    {
        c->destroyed++;
    }
};

__attribute__((noinline)) void
fail(counts *c, int depth)
{
    guard g = {c};
    if (depth == 0)
        throw std::runtime_error("inside");
    fail(c, depth - 1);
}

void
throw_and_catch(void *arg)
{
    counts *c = static_cast<counts *>(arg);
    for (;;) {
        try {
            fail(c, 5);
        } catch (const std::runtime_error &) {
            c->caught++;
        }
        coir_ctx_swap(&there, &here, nullptr);
    }
}

void
throw_uncaught(void *arg)
{
    fail(static_cast<counts *>(arg), 5);
}

} // namespace

TEST(ctx, exception_is_caught_inside_a_context)
{
    skip_on_asan();
    counts c = {0, 0};
    start(throw_and_catch, &c);
    CHECK_EQ(c.caught, 1);
    CHECK_EQ(c.destroyed, 6);
    coir_ctx_swap(&here, &there, nullptr);
    CHECK_EQ(c.caught, 2);
    CHECK_EQ(c.destroyed, 12);
}

TEST(ctx, exception_leaves_a_context_alone_that_is_suspended)
{
    skip_on_asan();
    counts c = {0, 0};
    start(throw_and_catch, &c);
    try {
        fail(&c, 3);
    } catch (const std::runtime_error &) {
        c.caught++;
    }
    CHECK_EQ(c.caught, 2);
    CHECK_EQ(c.destroyed, 10);
}

/* The search for a handler ends at the entry, not in the starter's frames. */
TEST(ctx, uncaught_exception_terminates)
{
    skip_on_asan();
    CHECK_DIES(SIGABRT, "terminate called")
    {
        counts c = {0, 0};
        try {
            start(throw_uncaught, &c);
        } catch (...) {
            c.caught++;
        }
    }
}
