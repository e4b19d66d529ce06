/* test_cxx.cpp - C++ exceptions in coroutines: they unwind to the body and no
 * further, and those being handled belong to their coroutine. */
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include <coir.h>

#include "harness.h"

namespace {

coir_coro *
new_coro(int policy, coir_coro_fn fn, void *arg)
{
    coir_coro *co = nullptr;
    coir_coro_attr attr = {};
    attr.policy = policy;
    attr.parent = coir_coro_main();
    CHECK_EQ(coir_coro_new(&co, fn, arg, &attr), 0);
    return co;
}

void
switch_to(coir_coro *co)
{
    CHECK_EQ(coir_coro_switch(co, nullptr, nullptr), 0);
}

struct counter {
    int *count;
    ~counter()
    {
        ++*count;
    }
};

int
throw_below(int depth, int *destroyed)
{
    counter c = {destroyed};
    if (depth == 0)
        throw std::runtime_error("from below");
    return throw_below(depth - 1, destroyed) + 1;
}

int
body_throws_and_catches(void *arg, void *, void **)
{
    try {
        throw_below(10, static_cast<int *>(arg));
    } catch (const std::runtime_error &e) {
        CHECK_STR(e.what(), "from below");
        return 0;
    }
    FAIL("nothing was thrown");
}

/* Handles an exception of its own while others do the same. */
int
body_switches_in_catch(void *arg, void *, void **)
{
    std::string name = "number " + std::to_string((intptr_t)arg);
    for (int i = 0; i < 5; i++) {
        try {
            throw std::runtime_error(name);
        } catch (const std::exception &) {
            switch_to(coir_coro_main());
            try {
                throw; /* the one that is handled: ours */
            } catch (const std::exception &e) {
                CHECK_STR(e.what(), name.c_str());
                switch_to(coir_coro_main());
            }
            CHECK(std::current_exception() != nullptr);
        }
        CHECK(std::current_exception() == nullptr);
        switch_to(coir_coro_main());
    }
    return 0;
}

/* Switches away from a destructor, while an exception passes by. */
struct switcher {
    ~switcher()
    {
        CHECK_EQ(std::uncaught_exceptions(), 1);
        switch_to(coir_coro_main());
        CHECK_EQ(std::uncaught_exceptions(), 1);
    }
};

int
body_switches_while_unwinding(void *arg, void *, void **)
{
    try {
        switcher s;
        throw static_cast<int>((intptr_t)arg);
    } catch (int n) {
        CHECK_EQ(n, (intptr_t)arg);
    }
    CHECK_EQ(std::uncaught_exceptions(), 0);
    return 0;
}

/* A cancelled switch as an exception, so that destructors run. */
struct cancelled {};

void
wait_or_throw()
{
    if (coir_coro_switch(coir_coro_main(), nullptr, nullptr) < 0)
        throw cancelled();
}

int
body_unwinds_by_exception(void *arg, void *, void **)
{
    counter c = {static_cast<int *>(arg)};
    try {
        counter inner = {static_cast<int *>(arg)};
        for (;;)
            wait_or_throw();
    } catch (const cancelled &) {
        return COIR_ECANCELED;
    }
}

int
body_throws_out(void *, void *, void **)
{
    throw std::runtime_error("nobody catches this");
}

int
body_exits_in_catch(void *, void *, void **)
{
    try {
        throw 1;
    } catch (int) {
        coir_coro_exit(coir_coro_main(), 0, nullptr);
    }
}

TEST_EACH_POLICY(cxx, exceptions_are_caught_inside)
{
    int destroyed = 0;
    coir_coro *co = new_coro(policy, body_throws_and_catches, &destroyed);
    switch_to(co);
    CHECK_EQ(destroyed, 11);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(cxx, handled_exceptions_belong_to_their_coroutine)
{
    coir_coro *cos[4];
    for (int i = 0; i < 4; i++)
        cos[i] = new_coro(policy, body_switches_in_catch,
                          reinterpret_cast<void *>((intptr_t)i));
    try {
        throw std::logic_error("of main");
    } catch (const std::logic_error &) {
        for (int round = 0; round < 16; round++) {
            for (int i = 0; i < 4; i++) {
                switch_to(cos[i ^ (round & 1)]);
                try {
                    throw;
                } catch (const std::logic_error &e) {
                    CHECK_STR(e.what(), "of main");
                }
            }
        }
    }
    CHECK(std::current_exception() == nullptr);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(coir_coro_state(cos[i]), COIR_CORO_FINISHED);
        CHECK_EQ(coir_coro_free(cos[i]), 0);
    }
}

TEST_EACH_POLICY(cxx, switch_while_unwinding)
{
    coir_coro *cos[3];
    for (int i = 0; i < 3; i++) {
        cos[i] = new_coro(policy, body_switches_while_unwinding,
                          reinterpret_cast<void *>((intptr_t)i));
        switch_to(cos[i]);
        CHECK_EQ(std::uncaught_exceptions(), 0);
    }
    for (int i = 0; i < 3; i++) {
        switch_to(cos[i]);
        CHECK_EQ(coir_coro_state(cos[i]), COIR_CORO_FINISHED);
        CHECK_EQ(coir_coro_free(cos[i]), 0);
    }
}

TEST_EACH_POLICY(cxx, cancel_can_unwind_by_exception)
{
    int destroyed = 0;
    coir_coro *co = new_coro(policy, body_unwinds_by_exception, &destroyed);
    switch_to(co);
    switch_to(co);
    CHECK_EQ(destroyed, 0);
    CHECK_EQ(coir_coro_cancel(co), 0);
    CHECK_EQ(destroyed, 2);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST_EACH_POLICY(cxx, uncaught_ends_in_terminate)
{
    CHECK_DIES(SIGABRT, "nobody catches this")
    {
        coir_coro *co = new_coro(policy, body_throws_out, nullptr);
        switch_to(co);
    }
}

TEST_EACH_POLICY(cxx, exit_in_a_catch_block_leaves_others_alone)
{
    if (COIR_TEST_ASAN || coir_test_on_valgrind())
        SKIP("the exception is not unwound, and so is never freed");
    coir_coro *co = new_coro(policy, body_exits_in_catch, nullptr);
    switch_to(co);
    CHECK(std::current_exception() == nullptr);
    CHECK_EQ(std::uncaught_exceptions(), 0);
    CHECK_EQ(coir_coro_free(co), 0);
    int destroyed = 0;
    co = new_coro(policy, body_throws_and_catches, &destroyed);
    switch_to(co);
    CHECK_EQ(coir_coro_free(co), 0);
}

} // namespace
