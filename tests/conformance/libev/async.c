/* async.c - ev_async, ev_once. */
#include "case.h"

CASE(ev_async_init)
{
    ev_async w;
    ev_async_init(&w, say_async);
    ev_async_set(&w);
    say("active %d, pending %d, priority %d", ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_async_start)
{
    DEFAULT_LOOP;
    ev_async w;
    ev_async_init(&w, say_async);
    NAME(&w, "async");
    ev_async_start(EV_A_ &w);
    say("active %d, sent %d", !!ev_is_active(&w), ev_async_pending(&w));
    say("runs on %d", ev_run(EV_A_ EVRUN_NOWAIT));
}

CASE(ev_async_send)
{
    DEFAULT_LOOP;
    ev_async w;
    ev_async_init(&w, say_async);
    NAME(&w, "async");
    ev_async_start(EV_A_ &w);
    ev_async_send(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_async_send(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
}

/* Several that were sent before the loop looked are one call. */
CASE(ev_async_send_coalesced)
{
    DEFAULT_LOOP;
    ev_async w;
    ev_async_init(&w, say_async);
    NAME(&w, "async");
    ev_async_start(EV_A_ &w);
    for (int i = 0; i < 10; i++)
        ev_async_send(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

ON(async, say_sent)
{
    say("in the callback %d", !!ev_async_pending(w));
}

CASE(ev_async_pending)
{
    DEFAULT_LOOP;
    ev_async w;
    ev_async_init(&w, say_sent);
    ev_async_start(EV_A_ &w);
    say("%d", !!ev_async_pending(&w));
    ev_async_send(EV_A_ &w);
    say("%d", !!ev_async_pending(&w));
    ev_run(EV_A_ EVRUN_ONCE);
    say("%d", !!ev_async_pending(&w));
}

CASE(ev_async_stop)
{
    DEFAULT_LOOP;
    ev_async w;
    ev_async_init(&w, say_async);
    NAME(&w, "async");
    ev_async_start(EV_A_ &w);
    ev_async_send(EV_A_ &w);
    ev_async_stop(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

ON(async, send_again)
{
    static int times;
    say("call %d", ++times);
    if (times < 3)
        ev_async_send(EV_A_ w);
}

CASE(ev_async_send_in_callback)
{
    DEFAULT_LOOP;
    ev_async w;
    ev_async_init(&w, send_again);
    ev_async_start(EV_A_ &w);
    ev_async_send(EV_A_ &w);
    for (int i = 0; i < 4; i++)
        ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_async_order)
{
    DEFAULT_LOOP;
    static ev_async w[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        ev_async_init(&w[i], say_async);
        NAME(&w[i], names[i]);
        ev_async_start(EV_A_ &w[i]);
    }
    ev_async_send(EV_A_ &w[2]);
    ev_async_send(EV_A_ &w[0]);
    ev_async_send(EV_A_ &w[3]);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_async_priorities)
{
    DEFAULT_LOOP;
    ev_async low, high;
    ev_async_init(&low, say_async);
    NAME(&low, "low");
    ev_set_priority(&low, -1);
    ev_async_init(&high, say_async);
    NAME(&high, "high");
    ev_async_start(EV_A_ &low);
    ev_async_start(EV_A_ &high);
    ev_async_send(EV_A_ &high);
    ev_async_send(EV_A_ &low);
    ev_run(EV_A_ EVRUN_ONCE);
}

/* --- from elsewhere ------------------------------------------------------ */

static ev_async target;
#if EV_MULTIPLICITY
static struct ev_loop *target_loop;
#define TARGET_LOOP_ target_loop,
#else
#define TARGET_LOOP_
#endif

static void *
send_late(void *arg)
{
    ev_sleep(0.03);
    ev_async_send(TARGET_LOOP_ &target);
    return arg;
}

CASE(ev_async_send_from_thread)
{
    DEFAULT_LOOP;
#if EV_MULTIPLICITY
    target_loop = loop;
#endif
    ev_timer timer;
    ev_async_init(&target, say_async);
    NAME(&target, "async");
    ev_async_start(EV_A_ &target);
    ev_timer_init(&timer, give_up, 10, 0);
    ev_timer_start(EV_A_ &timer);
    pthread_t thread;
    need(pthread_create(&thread, NULL, send_late, NULL) == 0, "thread");
    ev_run(EV_A_ EVRUN_ONCE);
    (void)pthread_join(thread, NULL);
}

static void
send_in_handler(int signum)
{
    (void)signum;
    ev_async_send(TARGET_LOOP_ &target);
}

CASE(ev_async_send_from_handler)
{
    DEFAULT_LOOP;
#if EV_MULTIPLICITY
    target_loop = loop;
#endif
    ev_async_init(&target, say_async);
    NAME(&target, "async");
    ev_async_start(EV_A_ &target);
    (void)signal(SIGUSR1, send_in_handler);
    (void)raise(SIGUSR1);
    ev_run(EV_A_ EVRUN_ONCE);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int queued, taken;

static void *
send_many(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        (void)pthread_mutex_lock(&mutex);
        queued++;
        (void)pthread_mutex_unlock(&mutex);
        ev_async_send(TARGET_LOOP_ &target);
    }
    return arg;
}

ON(async, take_queued)
{
    (void)pthread_mutex_lock(&mutex);
    taken += queued;
    queued = 0;
    (void)pthread_mutex_unlock(&mutex);
    if (taken == 4000)
        ev_break(EV_A_ EVBREAK_ALL);
}

/* A queue with a lock, as the manual has it: nothing is lost. */
CASE(ev_async_send_from_threads)
{
    DEFAULT_LOOP;
#if EV_MULTIPLICITY
    target_loop = loop;
#endif
    ev_async_init(&target, take_queued);
    ev_async_start(EV_A_ &target);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        need(pthread_create(&threads[i], NULL, send_many, NULL) == 0,
             "thread");
    ev_run(EV_A_ 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    say("%d", taken);
}

/* --- ev_once ------------------------------------------------------------- */

static void
say_once(int revents, void *arg)
{
    say("%s: %s", (const char *)arg, names_of(revents));
}

#define ARG(text) ((void *)(text))

CASE(ev_once_timeout)
{
    DEFAULT_LOOP;
    ev_once(EV_A_ - 1, 0, 0.01, say_once, ARG("timeout"));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_once_readable)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_once(EV_A_ fds[0], EV_READ, -1, say_once, ARG("fd"));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_once_what_comes_first)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    ev_once(EV_A_ fds[0], EV_READ, 0.02, say_once, ARG("too late"));
    ev_run(EV_A_ 0);
    ev_once(EV_A_ fds[0], EV_WRITE, 5, say_once, ARG("in time"));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_once_both_events)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    put(fds[1], "x");
    ev_once(EV_A_ fds[0], EV_READ | EV_WRITE, -1, say_once, ARG("both"));
    ev_run(EV_A_ 0);
}

CASE(ev_once_at_once)
{
    DEFAULT_LOOP;
    ev_once(EV_A_ - 1, 0, 0, say_once, ARG("zero"));
    say("runs on %d", ev_run(EV_A_ EVRUN_NOWAIT));
}

CASE(ev_once_closed_fd)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    (void)close(fds[0]);
    ev_once(EV_A_ fds[0], EV_READ, 5, say_once, ARG("closed"));
    say("runs on %d", ev_run(EV_A_ 0));
}

#if EV_MULTIPLICITY
static struct ev_loop *chain_loop;

static void
chain(int revents, void *arg)
{
    int *left = (int *)arg;
    say("%d: %s", *left, names_of(revents));
    if (--*left > 0)
        ev_once(chain_loop, -1, 0, 0.001, chain, arg);
}

CASE(ev_once_in_callback)
{
    chain_loop = ev_default_loop(0);
    int left = 3;
    ev_once(chain_loop, -1, 0, 0.001, chain, &left);
    say("runs on %d", ev_run(chain_loop, 0));
}
#endif
