/* test_overflow.c - a dedicated stack that overflows is reported; all other
 * faults are left to whom they belong. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <coir/coro.h>

#include "harness.h"

/* Not a tail call, and not to be seen through. */
static int
recurse(volatile char *above)
{
    volatile char room[500];
    room[0] = *above;
    if (room[0] == 1) /* never: compilers warn of what cannot end */
        return 0;
    int below = recurse(room);
    return below + room[0];
}

static int (*volatile endless)(volatile char *) = recurse;

static int
body_overflows(void *arg, void *value, void **result)
{
    volatile char c = 0;
    (void)arg;
    (void)value;
    (void)result;
    return endless(&c);
}

static int
body_writes_to(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    *(volatile char *)arg = 1;
    return 0;
}

static int
body_raises(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    raise(SIGSEGV);
    return 0;
}

static void
run(coir_coro_fn fn, void *arg, coir_coro_attr attr)
{
    coir_coro *co = NULL;
    CHECK_EQ(coir_coro_new(&co, fn, arg, &attr), 0);
    CHECK_EQ(coir_coro_switch(co, NULL, NULL), 0);
    CHECK_EQ(coir_coro_free(co), 0);
}

TEST(overflow, is_reported)
{
    static const char *const texts[] = {"stack overflow", "\"weaver\"",
                                        "stack of 65536 bytes",
                                        "high-water mark 65536 bytes"};
    for (int i = 0; i < 4; i++) {
        CHECK_DIES(SIGABRT, texts[i])
        {
            run(body_overflows, NULL, (coir_coro_attr){.name = "weaver"});
        }
    }
}

TEST(overflow, names_the_size_asked_for)
{
    CHECK_DIES(SIGABRT, "stack of 1048576 bytes")
    {
        run(body_overflows, NULL, (coir_coro_attr){.stack_size = 1 << 20});
    }
    CHECK_DIES(SIGABRT, "unnamed")
    {
        run(body_overflows, NULL, (coir_coro_attr){.stack_size = 1 << 20});
    }
}

TEST(overflow, is_reported_with_protected_guards)
{
    CHECK_DIES(SIGABRT, "\"weaver\"")
    {
        coir_stack_pool_attr attr = {.guard = COIR_GUARD_MPROTECT};
        CHECK_EQ(coir_thread_set_pool_attr(&attr), 0);
        run(body_overflows, NULL, (coir_coro_attr){.name = "weaver"});
    }
}

TEST(overflow, is_reported_after_many_coroutines)
{
    CHECK_DIES(SIGABRT, "\"last\"")
    {
        char c;
        for (int i = 0; i < 1000; i++)
            run(body_writes_to, &c, (coir_coro_attr){.name = "early"});
        run(body_overflows, NULL, (coir_coro_attr){.name = "last"});
    }
}

static void *
thread_overflows(void *arg)
{
    (void)arg;
    run(body_overflows, NULL, (coir_coro_attr){.name = "elsewhere"});
    return NULL;
}

TEST(overflow, is_reported_in_any_thread)
{
    CHECK_DIES(SIGABRT, "\"elsewhere\"")
    {
        char c;
        pthread_t thread;
        run(body_writes_to, &c, (coir_coro_attr){0});
        CHECK_EQ(pthread_create(&thread, NULL, thread_overflows, NULL), 0);
        pthread_join(thread, NULL);
    }
}

/* -- not ours ------------------------------------------------------------- */

TEST(overflow, other_faults_kill_as_ever)
{
    CHECK_DIES(SIGSEGV, "")
    {
        run(body_writes_to, (void *)16, (coir_coro_attr){0});
    }
    CHECK_DIES(SIGSEGV, "")
    {
        run(body_raises, NULL, (coir_coro_attr){0});
    }
}

static void
on_segv(int sig)
{
    (void)sig;
    static const char text[] = "the program's own handler\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    _exit(3);
}

static void
on_segv_info(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_addr == (void *)16)
        on_segv(sig);
}

TEST(overflow, other_faults_go_to_the_previous_handler)
{
    CHECK_DIES(0, "the program's own handler")
    {
        CHECK(signal(SIGSEGV, on_segv) != SIG_ERR);
        run(body_writes_to, (void *)16, (coir_coro_attr){0});
    }
    CHECK_DIES(0, "the program's own handler")
    {
        struct sigaction action = {.sa_flags = SA_SIGINFO};
        action.sa_sigaction = on_segv_info;
        CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
        run(body_writes_to, (void *)16, (coir_coro_attr){0});
    }
}

TEST(overflow, a_slice_overflows_the_threads_stack)
{
    if (coir_test_on_valgrind())
        SKIP("valgrind extends the stack by itself");
    CHECK_DIES(SIGSEGV, "")
    {
        run(body_overflows, NULL,
            (coir_coro_attr){.policy = COIR_POLICY_SLICE});
    }
}

/* -- switched off --------------------------------------------------------- */

/* Run it in a child that is expected to die; did it write a report? */
static void
check_dies_in_silence(void)
{
    CHECK_DIES(COIR_TEST_ASAN ? 0 : SIGSEGV, "so far so good")
    {
        fprintf(stderr, "so far so good\n");
        run(body_overflows, NULL, (coir_coro_attr){.name = "weaver"});
    }
}

TEST(overflow, report_can_be_switched_off)
{
    coir_overflow_report(0);
    check_dies_in_silence();
}

TEST(overflow, report_can_be_switched_off_by_the_environment)
{
    CHECK_EQ(setenv("COIR_OVERFLOW_REPORT", "0", 1), 0);
    check_dies_in_silence();
}

TEST(overflow, a_program_keeps_its_alternate_stack)
{
    static char memory[128 * 1024];
    stack_t own = {.ss_sp = memory, .ss_size = sizeof memory};
    stack_t before;
    CHECK_EQ(sigaltstack(&own, &before), 0);
    char c;
    run(body_writes_to, &c, (coir_coro_attr){0});
    stack_t now;
    CHECK_EQ(sigaltstack(NULL, &now), 0);
    CHECK_EQ(now.ss_sp, memory);
    CHECK_DIES(SIGABRT, "\"weaver\"")
    {
        run(body_overflows, NULL, (coir_coro_attr){.name = "weaver"});
    }
    CHECK_EQ(coir_thread_fini(), 0);
    CHECK_EQ(sigaltstack(&before, &now), 0);
    CHECK_EQ(now.ss_sp, memory);
}
