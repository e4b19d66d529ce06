/* test_async.c - waking a loop from other threads and signal handlers. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "loop_helper.h"

typedef struct counted {
    coir_async async;
    atomic_int calls;
} counted;

static void
count(coir_loop *loop, coir_async *w, int revents)
{
    (void)loop;
    CHECK_EQ(revents, COIR_ASYNC);
    ((counted *)(void *)w)->calls++;
}

static void
start(coir_loop *loop, counted *c)
{
    c->calls = 0;
    coir_async_init(&c->async, count);
    CHECK_EQ(coir_async_start(loop, &c->async), 0);
}

TEST_EACH_BACKEND(async, sent_from_the_same_thread)
{
    coir_loop *loop = backend_loop(backend);
    counted a, b;
    start(loop, &a);
    start(loop, &b);
    CHECK(!coir_async_pending(&a.async));
    coir_async_send(loop, &a.async);
    coir_async_send(loop, &a.async);
    CHECK(coir_async_pending(&a.async));
    CHECK(!coir_async_pending(&b.async));
    (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(a.calls, 1);
    CHECK_EQ(b.calls, 0);
    CHECK(!coir_async_pending(&a.async));
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(a.calls, 1);
    coir_async_stop(loop, &a.async);
    coir_async_stop(loop, &b.async);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

static void
trace_name(coir_loop *loop, coir_async *w, int revents)
{
    (void)loop;
    (void)revents;
    trace(w->data);
}

TEST_EACH_BACKEND(async, called_in_the_order_of_starting)
{
    static char names[][2] = {"a", "b", "c"};
    coir_loop *loop = backend_loop(backend);
    coir_async w[3];
    for (int i = 0; i < 3; i++) {
        coir_async_init(&w[i], trace_name);
        w[i].data = names[i];
        CHECK_EQ(coir_async_start(loop, &w[i]), 0);
    }
    for (int i = 3; i-- > 0;)
        coir_async_send(loop, &w[i]);
    (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_TRACE("a b c");
    for (int i = 0; i < 3; i++)
        coir_async_stop(loop, &w[i]);
    coir_loop_free(loop);
}

static coir_loop *shared_loop;

static void *
send_after_a_while(void *w)
{
    (void)usleep(2000);
    coir_async_send(shared_loop, w);
    return NULL;
}

TEST_EACH_BACKEND(async, ends_a_wait_from_another_thread)
{
    skip_what_valgrind_cannot(backend);
    coir_loop *loop = shared_loop = backend_loop(backend);
    counted a;
    start(loop, &a);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, send_after_a_while, &a.async), 0);
    while (a.calls == 0)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    coir_async_stop(loop, &a.async);
    coir_loop_free(loop);
}

static void *
wake_after_a_while(void *loop)
{
    (void)usleep(2000);
    coir_loop_wakeup(loop);
    return NULL;
}

TEST_EACH_BACKEND(async, wakeup_ends_a_wait)
{
    skip_what_valgrind_cannot(backend);
    coir_loop *loop = backend_loop(backend);
    counted a;
    start(loop, &a);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, wake_after_a_while, loop), 0);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(a.calls, 0);
    coir_async_stop(loop, &a.async);
    coir_loop_free(loop);
}

/* Each sender waits until its last one was seen: a lost wake-up hangs. */
enum { SENDERS = 4 };
static counted stress[SENDERS];
static int rounds;

static void *
send_many(void *arg)
{
    counted *c = arg;
    for (int i = 0; i < rounds; i++) {
        int before = c->calls;
        coir_async_send(shared_loop, &c->async);
        while (c->calls == before)
            (void)sched_yield();
    }
    return NULL;
}

TEST_EACH_BACKEND(async, nothing_is_lost_between_threads)
{
    skip_what_valgrind_cannot(backend);
    coir_test_timeout(60);
    coir_loop *loop = shared_loop = backend_loop(backend);
    rounds = coir_test_is_slow() ? 200 : 5000;
    pthread_t threads[SENDERS];
    for (int i = 0; i < SENDERS; i++)
        start(loop, &stress[i]);
    for (int i = 0; i < SENDERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, send_many, &stress[i]), 0);
    int done = 0;
    while (done < SENDERS) {
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
        done = 0;
        for (int i = 0; i < SENDERS; i++)
            done += stress[i].calls >= rounds;
    }
    for (int i = 0; i < SENDERS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(stress[i].calls, rounds);
        coir_async_stop(loop, &stress[i].async);
    }
    coir_loop_free(loop);
}

static counted from_handler;

static void
handler(int signum)
{
    (void)signum;
    /* Sending keeps it. NOLINTNEXTLINE(bugprone-signal-handler) */
    errno = 77;
    /* NOLINTNEXTLINE(bugprone-signal-handler): allowed there */
    coir_async_send(shared_loop, &from_handler.async);
    if (errno != 77)
        _exit(1);
}

TEST_EACH_BACKEND(async, sent_from_a_signal_handler)
{
    skip_what_valgrind_cannot(backend);
    coir_loop *loop = shared_loop = backend_loop(backend);
    start(loop, &from_handler);
    CHECK(signal(SIGUSR1, handler) != SIG_ERR);
    CHECK_EQ(raise(SIGUSR1), 0);
    (void)coir_loop_run(loop, COIR_RUN_ONCE);
    CHECK_EQ(from_handler.calls, 1);
    coir_async_stop(loop, &from_handler.async);
    coir_loop_free(loop);
}

TEST(async, without_memory_it_does_not_start)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    counted a;
    coir_async_init(&a.async, count);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_async_start(loop, &a.async), COIR_ENOMEM);
    CHECK(!coir_is_active(&a.async));
    coir_loop_free(loop);
}

TEST(async, does_not_wait_once_it_was_sent)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    counted a;
    start(loop, &a);
    coir_async_send(loop, &a.async);
    (void)coir_loop_run(loop, COIR_RUN_ONCE); /* fails if it would wait */
    CHECK_EQ(a.calls, 1);
    CHECK_EQ(f.last_wait, 0);
    coir_async_stop(loop, &a.async);
    coir_loop_free(loop);
}
