/* test_pool.c - blocking calls on threads.
 *
 * What is to last lasts until a gate is opened: a semaphore that the call
 * takes from, on its thread without a hub. */
#include <coir/pool.h>
#include <coir/sync.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate_helper.h"
#include "green_helper.h"
#include "harness.h"

#define MS COIR_NS_PER_MS
#define FOREVER COIR_FOREVER

static atomic_int drops, runs;

static void
finish(void)
{
    CHECK_EQ(coir_pool_fini(FOREVER), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

/* A pool of `max` threads. */
static coir_pool *
pool_of(unsigned max)
{
    coir_pool *pool;
    coir_pool_attr attr = {.name = "a pool of the tests", .max_threads = max};
    CHECK_EQ(coir_pool_new(&pool, &attr), 0);
    CHECK(coir_hub_get() != NULL);
    return pool;
}

static void
free_pool(coir_pool *pool)
{
    CHECK_EQ(coir_pool_free(pool, FOREVER), 0);
}

static coir_pool_stats
stats(coir_pool *pool)
{
    coir_pool_stats s;
    coir_pool_get_stats(pool, &s);
    return s;
}

static int
count(void *arg)
{
    (void)arg;
    return atomic_fetch_add(&runs, 1);
}

static void
drop(void *arg)
{
    (void)arg;
    atomic_fetch_add(&drops, 1);
}

/* In which a thread gets to begin a call. */
static int64_t
a_while(void)
{
    return coir_test_is_slow() ? 500 * MS : 20 * MS;
}

static void
until_dropped(int n)
{
    while (atomic_load(&drops) < n)
        (void)coir_sleep(1);
}

static void
until_threads(coir_pool *pool, unsigned n)
{
    while (stats(pool).threads != n)
        (void)coir_sleep(1);
}

typedef struct call {
    coir_pool *pool;
    coir_blocking_fn *fn;
    void (*drop)(void *arg);
    int64_t timeout_ns;
    int result;
} call;

static int
make_call(void *arg)
{
    call *c = arg;
    return coir_blocking(c->pool, c->fn, c, c->drop, &c->result,
                         c->timeout_ns);
}

static void
wait_begun(void)
{
    CHECK_EQ(coir_semaphore_acquire(&begun, FOREVER), 0);
}

/* --- where it runs ------------------------------------------------------- */

static int
where(void *arg)
{
    *(pthread_t *)arg = pthread_self();
    return 42;
}

TEST(pool, thread_without_hub_makes_the_call_itself)
{
    pthread_t t;
    int result = 0;
    CHECK_EQ(coir_blocking(NULL, where, &t, NULL, &result, 0), 0);
    CHECK_EQ(result, 42);
    CHECK(pthread_equal(t, pthread_self()));
    CHECK_EQ(stats(NULL).threads, 0);
}

TEST(pool, call_is_made_on_a_thread)
{
    CHECK(coir_hub_get() != NULL);
    for (int i = 0; i < 100; i++) {
        pthread_t t;
        int result = 0;
        CHECK_EQ(coir_blocking(NULL, where, &t, NULL, &result, FOREVER), 0);
        CHECK_EQ(result, 42);
        CHECK(!pthread_equal(t, pthread_self()));
    }
    CHECK_EQ(coir_blocking(NULL, count, NULL, drop, NULL, FOREVER), 0);
    CHECK_EQ(runs, 1);
    CHECK_EQ(drops, 0);
    finish();
    CHECK_EQ(stats(NULL).done, 101);
    CHECK_EQ(stats(NULL).threads, 0);
}

TEST(pool, others_go_on_meanwhile)
{
    coir_pool *pool = pool_of(1);
    call c = {.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER};
    coir_green *g = spawn(make_call, &c);
    wait_begun();
    CHECK_STR(coir_green_waits_for(g), "a blocking call");
    coir_semaphore_release(&gate, 1);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(c.result, 0);
    free_pool(pool);
    finish();
}

static int
look_at_thread(void *arg)
{
    sigset_t blocked;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    CHECK(sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGCHLD));
    CHECK(!sigismember(&blocked, SIGSEGV) && !sigismember(&blocked, SIGABRT));
    CHECK_EQ(pthread_getname_np(pthread_self(), arg, 16), 0);
    return 0;
}

TEST(pool, threads_have_names_and_block_signals)
{
    coir_pool *pool = pool_of(1);
    char name[16];
    CHECK_EQ(coir_blocking(pool, look_at_thread, name, NULL, NULL, FOREVER),
             0);
    CHECK_STR(name, "a pool of the t");
    CHECK_EQ(coir_blocking(coir_pool_lane(COIR_LANE_DNS), look_at_thread, name,
                           NULL, NULL, FOREVER),
             0);
    CHECK_STR(name, "coir-dns");
    sigset_t blocked;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    CHECK(!sigismember(&blocked, SIGTERM));
    free_pool(pool);
    finish();
}

static void
call_in_callback(coir_call *c)
{
    *(int *)c->data = coir_blocking(NULL, count, NULL, drop, NULL, FOREVER);
}

TEST(pool, callback_must_not_wait)
{
    int result = 0;
    coir_call c = {.fn = call_in_callback, .data = &result};
    coir_hub_post(coir_hub_get(), &c);
    while (result == 0)
        CHECK_EQ(coir_sleep(1), 0);
    CHECK_EQ(result, COIR_EINVAL);
    CHECK_EQ(drops, 1);
    CHECK_EQ(runs, 0);
    finish();
}

/* --- waits that end early ------------------------------------------------ */

TEST(pool, call_is_left_to_itself_when_time_is_over)
{
    coir_pool *pool = pool_of(1);
    int result = 1;
    CHECK_EQ(coir_blocking(pool, pass_gate, NULL, drop, &result, a_while()),
             COIR_ETIMEDOUT);
    CHECK_EQ(drops, 0); /* it is in use */
    CHECK_EQ(stats(pool).running, 1);
    CHECK_EQ(result, 1);
    coir_semaphore_release(&gate, 1);
    until_dropped(1);
    free_pool(pool);
    CHECK_EQ(drops, 1);
    finish();
}

TEST(pool, call_is_left_to_itself_when_cancelled)
{
    coir_pool *pool = pool_of(1);
    call c = {
        .pool = pool, .fn = pass_gate, .drop = drop, .timeout_ns = FOREVER};
    coir_green *g = spawn(make_call, &c);
    wait_begun();
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    CHECK_EQ(drops, 0);
    coir_semaphore_release(&gate, 1);
    free_pool(pool);
    CHECK_EQ(drops, 1);
    finish();
}

TEST(pool, call_not_begun_is_taken_back)
{
    coir_pool *pool = pool_of(1);
    call first = {.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER};
    call c = {.pool = pool, .fn = count, .drop = drop, .timeout_ns = FOREVER};
    coir_green *g = spawn(make_call, &first);
    wait_begun();
    coir_green *cancelled = spawn(make_call, &c);
    CHECK_EQ(coir_blocking(pool, count, NULL, drop, NULL, MS), COIR_ETIMEDOUT);
    CHECK_EQ(drops, 1);
    CHECK_EQ(coir_blocking(pool, count, NULL, NULL, NULL, MS), COIR_ETIMEDOUT);
    CHECK_EQ(stats(pool).queued, 1);
    CHECK(stats(pool).oldest_ns >= MS);
    coir_cancel(cancelled);
    CHECK_EQ(join(cancelled), COIR_ECANCELED);
    CHECK_EQ(drops, 2);
    CHECK_EQ(stats(pool).queued, 0);
    CHECK_EQ(stats(pool).oldest_ns, 0);
    coir_semaphore_release(&gate, 1);
    CHECK_EQ(join(g), 0);
    free_pool(pool);
    CHECK_EQ(runs, 0);
    finish();
}

static int
call_and_wait(void *arg)
{
    int err = make_call(arg);
    CHECK_EQ(coir_sleep(MS), COIR_ECANCELED);
    return err;
}

TEST(pool, without_drop_a_call_that_has_begun_is_waited_for)
{
    coir_pool *pool = pool_of(1);
    call c = {
        .pool = pool, .fn = pass_gate, .timeout_ns = FOREVER, .result = 1};
    coir_green *g = spawn(call_and_wait, &c);
    wait_begun();
    coir_cancel(g);
    CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_green_state(g), COIR_GREEN_WAITING);
    coir_semaphore_release(&gate, 1);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(c.result, 0);
    free_pool(pool);
    finish();
}

TEST(pool, without_drop_deadlines_wait_too)
{
    coir_pool *pool = pool_of(1);
    call c = {.pool = pool,
              .fn = pass_gate,
              .timeout_ns = 2 * a_while(),
              .result = 1};
    coir_deadline d;
    coir_deadline_begin(&d, a_while());
    coir_green *g = spawn(make_call, &c);
    (void)coir_deadline_end(&d);
    wait_begun();
    CHECK_EQ(coir_sleep(2 * a_while()), 0);
    CHECK_EQ(coir_green_state(g), COIR_GREEN_WAITING);
    coir_semaphore_release(&gate, 1);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(c.result, 0);
    free_pool(pool);
    finish();
}

TEST(pool, nothing_is_begun_without_time_or_by_the_cancelled)
{
    coir_pool *pool = pool_of(1);
    CHECK_EQ(coir_blocking(pool, count, NULL, drop, NULL, 0), COIR_ETIMEDOUT);
    coir_cancel(coir_self());
    CHECK_EQ(coir_blocking(pool, count, NULL, drop, NULL, FOREVER),
             COIR_ECANCELED);
    CHECK_EQ(drops, 2);
    CHECK_EQ(stats(pool).threads, 0);
    coir_shield_begin();
    free_pool(pool);
    coir_shield_end();
    CHECK_EQ(runs, 0);
    finish();
}

/* --- how many threads ---------------------------------------------------- */

TEST(pool, grows_to_its_limit)
{
    enum { CALLS = 8 };
    coir_pool *pool = pool_of(3);
    call c[CALLS];
    coir_green *g[CALLS];
    for (int i = 0; i < CALLS; i++) {
        c[i] = (call){.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER};
        g[i] = spawn(make_call, &c[i]);
    }
    for (int i = 0; i < 3; i++)
        wait_begun();
    coir_pool_stats s = stats(pool);
    CHECK_EQ(s.max_threads, 3);
    CHECK_EQ(s.threads, 3);
    CHECK_EQ(s.running, 3);
    CHECK_EQ(s.queued, CALLS - 3);
    coir_pool_set_limit(pool, 5);
    for (int i = 0; i < 2; i++)
        wait_begun();
    CHECK_EQ(stats(pool).queued, CALLS - 5);
    coir_pool_set_limit(pool, 0); /* 1 */
    coir_semaphore_release(&gate, 4);
    until_threads(pool, 1);
    CHECK_EQ(stats(pool).max_threads, 1);
    coir_semaphore_release(&gate, CALLS);
    for (int i = 0; i < CALLS; i++)
        CHECK_EQ(join(g[i]), 0);
    free_pool(pool);
    finish();
}

TEST(pool, idle_threads_end)
{
    coir_pool *pool;
    CHECK_EQ(coir_pool_new(&pool, &(coir_pool_attr){.idle_ns = MS}), 0);
    CHECK(coir_hub_get() != NULL);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(coir_blocking(pool, count, NULL, NULL, NULL, FOREVER), 0);
        until_threads(pool, 0);
    }
    CHECK_EQ(runs, 5);
    CHECK_EQ(coir_pool_new(&pool, &(coir_pool_attr){.idle_ns = -1}),
             COIR_EINVAL);
    free_pool(pool);
    finish();
}

static int
call_again(void *arg)
{
    return coir_blocking(((call *)arg)->pool, count, NULL, NULL, NULL,
                         FOREVER);
}

/* On a thread that has a hub of its own, and needs the same pool. */
static int
call_from_green_threads(void *arg)
{
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        g[i] = spawn(call_again, arg);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(join(g[i]), 0);
    return 0;
}

TEST(pool, calls_in_calls_do_not_use_up_the_threads)
{
    coir_pool *pool = pool_of(1);
    call plain = {
        .pool = pool, .fn = call_again, .timeout_ns = FOREVER, .result = 1};
    CHECK_EQ(make_call(&plain), 0);
    CHECK_EQ(plain.result, 0);
    while (stats(pool).running > 0)
        CHECK_EQ(coir_sleep(1), 0);
    CHECK_EQ(stats(pool).done, 1); /* the inner one was made in place */
    call c[2];
    coir_green *g[2];
    for (int i = 0; i < 2; i++) {
        c[i] = (call){.pool = pool,
                      .fn = call_from_green_threads,
                      .timeout_ns = FOREVER,
                      .result = 1};
        g[i] = spawn(make_call, &c[i]);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(join(g[i]), 0);
        CHECK_EQ(c[i].result, 0);
    }
    CHECK_EQ(runs, 7);
    CHECK_EQ(coir_blocking(pool, count, NULL, NULL, NULL, FOREVER), 0);
    CHECK_EQ(stats(pool).max_threads, 1);
    free_pool(pool);
    finish();
}

/* --- failures ------------------------------------------------------------ */

TEST(pool, without_memory)
{
    coir_pool *pool = NULL;
    CHECK(coir_hub_get() != NULL);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_pool_new(&pool, NULL), COIR_ENOMEM);
    CHECK_NULL(pool);
    int result = 1;
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_blocking(NULL, count, NULL, drop, &result, FOREVER),
             COIR_ENOMEM);
    CHECK_EQ(drops, 1);
    CHECK_EQ(runs, 0);
    CHECK_EQ(result, 1);
    finish();
}

TEST(pool, without_any_thread)
{
    coir_pool *pool = pool_of(4);
    coir_test_fail_call(COIR_TEST_THREAD, 0, 1, EAGAIN);
    CHECK_EQ(coir_blocking(pool, count, NULL, drop, NULL, FOREVER),
             COIR_ERRNO(EAGAIN));
    CHECK_EQ(drops, 1);
    CHECK_EQ(stats(pool).refused, 1);
    CHECK_EQ(stats(pool).threads, 0);
    CHECK_EQ(stats(pool).queued, 0);
    CHECK_EQ(coir_blocking(pool, count, NULL, drop, NULL, FOREVER), 0);
    CHECK_EQ(runs, 1);
    free_pool(pool);
    finish();
}

TEST(pool, with_fewer_threads_than_wanted)
{
    enum { CALLS = 4 };
    coir_pool *pool = pool_of(4);
    call c[CALLS];
    coir_green *g[CALLS];
    coir_test_fail_call(COIR_TEST_THREAD, 1, 1000, EAGAIN);
    for (int i = 0; i < CALLS; i++) {
        c[i] = (call){.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER};
        g[i] = spawn(make_call, &c[i]);
    }
    wait_begun();
    coir_semaphore_release(&gate, CALLS);
    for (int i = 0; i < CALLS; i++) {
        CHECK_EQ(join(g[i]), 0);
        CHECK_EQ(c[i].result, 0);
    }
    CHECK_EQ(stats(pool).threads, 1);
    coir_test_fail_none();
    free_pool(pool);
    finish();
}

/* --- closing ------------------------------------------------------------- */

static int
nothing(void *arg)
{
    (void)arg;
    return 0;
}

/* As soon as the thread of the pool sleeps, too. */
TEST(pool, idle_threads_hide_no_deadlock)
{
    if (COIR_TEST_TSAN || getenv("QEMU_LD_PREFIX") != NULL)
        SKIP("TSan and qemu have threads of their own, which might end waits");
    coir_event never = COIR_EVENT_INIT;
    CHECK(coir_hub_get() != NULL);
    CHECK_EQ(coir_blocking(NULL, nothing, NULL, NULL, NULL, FOREVER), 0);
    CHECK_EQ(coir_event_wait(&never, FOREVER), COIR_EDEADLK);
    finish();
}

TEST(pool, free_answers_those_not_begun)
{
    coir_pool *pool = pool_of(1);
    call running = {.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER};
    call queued = {
        .pool = pool, .fn = count, .drop = drop, .timeout_ns = FOREVER};
    coir_green *a = spawn(make_call, &running), *b = spawn(make_call, &queued);
    wait_begun();
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(stats(pool).queued, 1);
    CHECK_EQ(coir_pool_free(pool, 0), COIR_ETIMEDOUT);
    CHECK_EQ(join(b), COIR_ECLOSED);
    CHECK_EQ(drops, 1);
    CHECK_EQ(coir_blocking(pool, count, NULL, NULL, NULL, FOREVER),
             COIR_ECLOSED);
    CHECK_EQ(coir_pool_free(pool, MS), COIR_ETIMEDOUT);
    coir_semaphore_release(&gate, 1);
    free_pool(pool);
    CHECK_EQ(join(a), 0);
    CHECK_EQ(runs, 0);
    CHECK_EQ(coir_pool_free(NULL, 0), 0);
    CHECK_EQ(coir_pool_free(coir_pool_lane(COIR_LANE_USER), 0), COIR_EINVAL);
    finish();
}

static int
free_own(void *arg)
{
    return coir_pool_free(((call *)arg)->pool, FOREVER);
}

TEST(pool, own_thread_cannot_free_it)
{
    coir_pool *pool = pool_of(1);
    call c = {.pool = pool, .fn = free_own, .timeout_ns = FOREVER};
    CHECK_EQ(make_call(&c), 0);
    CHECK_EQ(c.result, COIR_EINVAL);
    free_pool(pool);
    finish();
}

static void *
free_it(void *arg)
{
    CHECK_EQ(coir_pool_free(arg, FOREVER), 0);
    return NULL;
}

TEST(pool, freed_by_a_native_thread)
{
    coir_pool *pool = pool_of(2);
    call c = {.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER};
    coir_green *g = spawn(make_call, &c);
    wait_begun();
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, free_it, pool), 0);
    coir_semaphore_release(&gate, 1);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    finish();
}

TEST(pool, lanes_start_anew)
{
    CHECK(coir_hub_get() != NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coir_blocking(NULL, count, NULL, NULL, NULL, FOREVER), 0);
        CHECK_EQ(coir_pool_fini(FOREVER), 0);
        CHECK_EQ(stats(NULL).threads, 0);
    }
    CHECK_EQ(runs, 3);
    finish();
}

/* --- forks --------------------------------------------------------------- */

static void
child_must_be_well(pid_t pid)
{
    int status;
    CHECK(pid > 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(pool, child_has_pools_without_threads)
{
    if (COIR_TEST_TSAN)
        SKIP("TSan allows no threads in the child of a process with threads");
    coir_pool *pool = pool_of(1);
    call c[2] = {{.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER},
                 {.pool = pool, .fn = pass_gate, .timeout_ns = FOREVER}};
    coir_green *g[2] = {spawn(make_call, &c[0]), spawn(make_call, &c[1])};
    wait_begun();
    CHECK_EQ(stats(pool).queued, 1);
    pid_t pid = fork();
    if (pid == 0) {
        coir_pool_stats s = stats(pool);
        CHECK_EQ(s.threads + s.queued + s.running, 0);
        int result = 0;
        CHECK_EQ(coir_blocking(pool, count, NULL, NULL, &result, FOREVER), 0);
        CHECK_EQ(coir_blocking(NULL, count, NULL, NULL, &result, FOREVER), 0);
        CHECK_EQ(result, 1);
        CHECK_EQ(coir_pool_free(pool, FOREVER), 0);
        _exit(0);
    }
    child_must_be_well(pid);
    coir_semaphore_release(&gate, 2);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(join(g[i]), 0);
    free_pool(pool);
    finish();
}

static int
fork_here(void *arg)
{
    pid_t pid = fork();
    if (pid != 0) {
        *(pid_t *)arg = pid;
        return 0;
    }
    return 0; /* and the child's only thread ends */
}

TEST(pool, fork_on_a_thread_of_the_pool)
{
    if (COIR_TEST_TSAN || COIR_TEST_ASAN || coir_test_on_valgrind())
        SKIP("the child ends by the end of its last thread");
    coir_pool *pool = pool_of(1);
    pid_t pid = -1;
    CHECK_EQ(coir_blocking(pool, fork_here, &pid, NULL, NULL, FOREVER), 0);
    child_must_be_well(pid);
    CHECK_EQ(coir_blocking(pool, count, NULL, NULL, NULL, FOREVER), 0);
    free_pool(pool);
    finish();
}

/* --- all at once --------------------------------------------------------- */

enum { HUBS = 3, GREENS = 20 };

static atomic_int calls_made, succeeded, failed;

typedef struct stress {
    coir_pool *pool;
    uint64_t seed;
    int calls;
} stress;

static int
work(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg % 64;
    atomic_fetch_add(&runs, 1);
    for (unsigned i = 0; i < n; i++)
        (void)sched_yield();
    return (int)n;
}

static int
stress_green(void *arg)
{
    stress *s = arg;
    coir_test_random random;
    coir_test_random_seed(&random, ++s->seed);
    for (int i = 0; i < s->calls; i++) {
        unsigned n = (unsigned)coir_test_random_below(&random, 64);
        int64_t timeout_ns =
            coir_test_random_below(&random, 2) == 0
                ? FOREVER
                : (int64_t)coir_test_random_below(&random, 200000) + 1;
        int result = -1;
        void *number = (void *)(uintptr_t)n;
        void (*fn)(void *) = coir_test_random_below(&random, 2) ? drop : NULL;
        int err =
            coir_blocking(s->pool, work, number, fn, &result, timeout_ns);
        CHECK(err == 0 ? result == (int)n : err == COIR_ETIMEDOUT);
        if (err == 0)
            atomic_fetch_add(&succeeded, 1);
        else if (fn != NULL)
            atomic_fetch_add(&failed, 1);
        atomic_fetch_add(&calls_made, 1);
    }
    return 0;
}

static void *
stress_hub(void *arg)
{
    coir_green *g[GREENS];
    CHECK(coir_hub_get() != NULL);
    for (int i = 0; i < GREENS; i++)
        g[i] = spawn(stress_green, arg);
    for (int i = 0; i < GREENS; i++)
        CHECK_EQ(join(g[i]), 0);
    CHECK_EQ(coir_hub_fini(), 0);
    return NULL;
}

TEST(pool, many_hubs_with_timeouts)
{
    coir_test_timeout(60);
    coir_test_random random;
    coir_test_random_init(&random);
    coir_pool *pool = pool_of(3);
    stress s[HUBS];
    pthread_t t[HUBS];
    int calls = coir_test_is_slow() ? 20 : 200;
    for (int i = 0; i < HUBS; i++) {
        s[i] = (stress){pool, coir_test_random_next(&random), calls};
        CHECK_EQ(pthread_create(&t[i], NULL, stress_hub, &s[i]), 0);
    }
    for (int i = 0; i < HUBS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    free_pool(pool);
    CHECK_EQ(calls_made, HUBS * GREENS * calls);
    CHECK_EQ(drops, failed);
    CHECK(runs >= succeeded);
    finish();
}
