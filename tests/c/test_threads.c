/* test_threads.c - each thread has its own coroutines and nobody else's. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coir/coro.h>

#include "harness.h"

#define V(n) ((void *)(intptr_t)(n))

static pthread_t
start_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, fn, arg), 0);
    return thread;
}

static void *
run_thread(void *(*fn)(void *), void *arg)
{
    void *result = NULL;
    CHECK_EQ(pthread_join(start_thread(fn, arg), &result), 0);
    return result;
}

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

static coir_coro *
new_echo(int policy)
{
    coir_coro *co = NULL;
    coir_coro_attr attr = {.policy = policy};
    CHECK_EQ(coir_coro_new(&co, body_echo, NULL, &attr), 0);
    return co;
}

/* Many switches among a few coroutines, of both policies. */
static void *
thread_switches(void *arg)
{
    intptr_t rounds = (intptr_t)arg;
    enum { COUNT = 10 };
    coir_coro *cos[COUNT];
    for (int i = 0; i < COUNT; i++)
        cos[i] = new_echo(i % 2);
    for (intptr_t round = 0; round < rounds; round++) {
        for (int i = 0; i < COUNT; i++) {
            void *out = NULL;
            CHECK_EQ(coir_coro_switch(cos[i], V(round + i), &out), 0);
            CHECK_EQ(out, V(round + i + 1));
        }
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(coir_coro_cancel(cos[i]), 0);
        CHECK_EQ(coir_coro_free(cos[i]), 0);
    }
    coir_thread_check();
    return NULL;
}

TEST(threads, each_switches_its_own)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    intptr_t rounds = coir_test_is_slow() ? 300 : 10000;
    for (int i = 0; i < THREADS; i++)
        threads[i] = start_thread(thread_switches, V(rounds));
    thread_switches(V(rounds));
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(threads, come_and_go)
{
    int count = coir_test_is_slow() ? 20 : 500;
    for (int i = 0; i < count; i++)
        run_thread(thread_switches, V(2));
}

static void *
thread_main(void *arg)
{
    coir_coro *main_co = coir_coro_main();
    CHECK(main_co != NULL);
    CHECK_NE(main_co, arg);
    CHECK_EQ(coir_coro_current(), main_co);
    CHECK_NULL(coir_coro_parent(main_co));
    return main_co;
}

TEST(threads, each_has_a_main_coroutine)
{
    coir_coro *main_co = coir_coro_main();
    CHECK(run_thread(thread_main, main_co) != NULL);
    CHECK_EQ(coir_coro_main(), main_co);
}

/* -- foreign coroutines --------------------------------------------------- */

static void
check_foreign(coir_coro *theirs)
{
    void *out = V(7);
    CHECK_EQ(coir_coro_switch(theirs, NULL, &out), COIR_ETHREAD);
    CHECK_EQ(coir_coro_switch_failed(), 1);
    CHECK_EQ(coir_coro_throw(theirs, -5, &out), COIR_ETHREAD);
    CHECK_EQ(coir_coro_cancel(theirs), COIR_ETHREAD);
    CHECK_EQ(out, V(7));

    coir_coro_attr attr = {.parent = theirs};
    coir_coro *co = NULL;
    CHECK_EQ(coir_coro_new(&co, body_echo, NULL, &attr), COIR_ETHREAD);
    CHECK_NULL(co);
    co = new_echo(COIR_POLICY_DEDICATED);
    CHECK_EQ(coir_coro_set_parent(co, theirs), COIR_ETHREAD);
    CHECK_EQ(coir_coro_parent(co), coir_coro_main());
    CHECK_EQ(coir_coro_set_parent(theirs, co), COIR_ETHREAD);
    CHECK_EQ(coir_coro_free(co), 0);
}

static void *
thread_is_foreign(void *theirs)
{
    check_foreign(theirs);
    return NULL;
}

/* As its first call, in a thread that has never heard of coroutines. */
static void *
thread_switches_foreign(void *theirs)
{
    CHECK_EQ(coir_coro_switch(theirs, NULL, NULL), COIR_ETHREAD);
    return NULL;
}

TEST_EACH_POLICY(threads, foreign_coroutines_are_refused)
{
    coir_coro *co = new_echo(policy);
    run_thread(thread_is_foreign, co); /* not started */
    CHECK_EQ(coir_coro_state(co), COIR_CORO_NEW);
    void *out = NULL;
    CHECK_EQ(coir_coro_switch(co, V(1), &out), 0);
    run_thread(thread_is_foreign, co); /* suspended */
    run_thread(thread_switches_foreign, co);
    CHECK_EQ(coir_coro_parent(co), coir_coro_main());
    CHECK_EQ(coir_coro_switch(co, V(5), &out), 0);
    CHECK_EQ(out, V(6));
    CHECK_EQ(coir_coro_cancel(co), 0);
    run_thread(thread_is_foreign, co); /* finished */
    CHECK_EQ(coir_coro_free(co), 0);
}

static void *
thread_leaves_finished(void *arg)
{
    coir_coro *co = new_echo((int)(intptr_t)arg);
    CHECK_EQ(coir_coro_switch(co, NULL, NULL), 0);
    CHECK_EQ(coir_coro_cancel(co), 0);
    return co;
}

TEST_EACH_POLICY(threads, of_a_thread_that_has_ended)
{
    coir_coro *theirs = run_thread(thread_leaves_finished, V(policy));
    CHECK_EQ(coir_coro_state(theirs), COIR_CORO_FINISHED);
    check_foreign(theirs);
    CHECK_EQ(coir_coro_free(theirs), 0);
}

/* -- the end of a thread -------------------------------------------------- */

static void *
thread_leaves_nothing(void *arg)
{
    thread_switches(arg);
    CHECK(coir_test_mapped_bytes() > 0);
    return NULL;
}

TEST(threads, exit_frees_what_the_thread_held)
{
    run_thread(thread_leaves_nothing, V(3));
    CHECK_EQ(coir_test_live_blocks(), 0);
    CHECK_EQ(coir_test_mapped_bytes(), 0);
}

static void *
thread_ends_itself(void *arg)
{
    thread_switches(arg);
    CHECK_EQ(coir_thread_fini(), 0);
    CHECK_EQ(coir_thread_fini(), 0);
    thread_switches(arg); /* begins anew */
    pthread_exit(NULL);
}

TEST(threads, fini_before_the_end_is_allowed)
{
    run_thread(thread_ends_itself, V(3));
    CHECK_EQ(coir_test_live_blocks(), 0);
    CHECK_EQ(coir_test_mapped_bytes(), 0);
}

static void *
thread_abandons(void *arg)
{
    static coir_coro blocks[2][4];
    for (int i = 0; i < 4; i++) {
        coir_coro *co = &blocks[(intptr_t)arg][i];
        coir_coro_attr attr = {.policy = (int)(intptr_t)arg};
        CHECK_EQ(coir_coro_init(co, body_echo, NULL, &attr), 0);
        if (i > 0)
            CHECK_EQ(coir_coro_switch(co, NULL, NULL), 0);
    }
    return &blocks[(intptr_t)arg][0];
}

TEST_EACH_POLICY(threads, exit_abandons_suspended_coroutines)
{
    if (coir_test_on_valgrind())
        SKIP("they keep their memory for ever, which valgrind reports");
    /* They keep their memory for ever, so let a process of its own do it. */
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 20; i++) {
            coir_coro *theirs = run_thread(thread_abandons, V(policy));
            check_foreign(theirs);
            CHECK_EQ(coir_coro_free(&theirs[1]), COIR_EBUSY);
        }
        thread_switches(V(3)); /* and the rest goes on */
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* -- the stack of a thread ------------------------------------------------ */

static int
body_bounds(void *arg, void *value, void **result)
{
    (void)arg;
    (void)value;
    (void)result;
    void *low, *high, *main_low, *main_high;
    CHECK_EQ(coir_coro_stack_bounds(coir_coro_current(), &low, &high), 0);
    CHECK_EQ(coir_coro_stack_bounds(coir_coro_main(), &main_low, &main_high),
             0);
    CHECK_EQ(low, main_low);
    CHECK_EQ(high, main_high);
    if (!COIR_TEST_ASAN)
        CHECK((char *)&low > (char *)low && (char *)&low < (char *)high);
    return 0;
}

static void *
thread_bounds(void *arg)
{
    coir_coro *co = NULL;
    coir_coro_attr attr = {.policy = COIR_POLICY_SLICE};
    CHECK_EQ(coir_coro_new(&co, body_bounds, NULL, &attr), 0);
    CHECK_EQ(coir_coro_switch(co, NULL, NULL), 0);
    CHECK_EQ(coir_coro_free(co), 0);
    void *low = NULL, *high = NULL;
    CHECK_EQ(coir_coro_stack_bounds(coir_coro_main(), &low, &high), 0);
    size_t size = (size_t)((char *)high - (char *)low);
    CHECK(size >= (size_t)(intptr_t)arg / 2);
    CHECK(size <= (size_t)(intptr_t)arg * 2);
    return NULL;
}

TEST(threads, slices_run_on_the_threads_own_stack)
{
    static const size_t sizes[] = {512 << 10, 4 << 20};
    for (int i = 0; i < 2; i++) {
        pthread_attr_t attr;
        pthread_t thread;
        CHECK_EQ(pthread_attr_init(&attr), 0);
        CHECK_EQ(pthread_attr_setstacksize(&attr, sizes[i]), 0);
        CHECK_EQ(pthread_create(&thread, &attr, thread_bounds, V(sizes[i])),
                 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(pthread_attr_destroy(&attr), 0);
    }
}

static void *
thread_starts_without_memory(void *arg)
{
    (void)arg;
    coir_test_fail_alloc(0);
    CHECK_NULL(coir_coro_current());
    coir_test_fail_alloc(0);
    CHECK_NULL(coir_coro_main());
    coir_test_fail_alloc(0);
    CHECK_NULL(coir_thread_pool());
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_thread_set_hook(NULL, NULL), COIR_ENOMEM);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_thread_set_stack_size(1 << 20), COIR_ENOMEM);
    CHECK_EQ(coir_thread_fini(), 0);
    CHECK(coir_coro_current() != NULL);
    return NULL;
}

TEST(threads, without_memory_there_is_no_main_coroutine)
{
    run_thread(thread_starts_without_memory, NULL);
}
