/* test_fork.c - green threads in the child of a fork. */
#include <coir/look.h>
#include <coir/net.h>
#include <coir/sync.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "green_helper.h"
#include "io_helper.h"
#include "sync/waitq.h"

#include "hub_helper.h" /* names a variable as others their parameters */

/* TSan's fibers count as threads, and of a process with threads it does not
 * follow the children. */
static void
skip_what_tsan_cannot(void)
{
    if (COIR_TEST_TSAN)
        SKIP("TSan reports races in the child of a fork");
}

static void
prepare(void)
{
    skip_what_tsan_cannot();
    begin();
}

/* The child of a test ends as the test does: with nothing left. */
static void
end_child(void)
{
    finish();
    CHECK_EQ(coir_thread_fini(), 0);
    CHECK_EQ(coir_test_live_blocks(), 0);
    CHECK_EQ(coir_test_mapped_bytes(), 0);
    _exit(0);
}

/* It ended with this exit status. */
static void
expect_status(int pid, int status)
{
    int got;
    CHECK(pid > 0);
    CHECK_EQ(waitpid(pid, &got, 0), pid);
    CHECK(WIFEXITED(got));
    CHECK_EQ(WEXITSTATUS(got), status);
}

static int
say(void *arg)
{
    trace(arg);
    return 3;
}

static int
sleep_one(void *arg)
{
    (void)arg;
    return coir_sleep(S);
}

static void
is_as_new(void)
{
    trace_text[0] = '\0';
    int64_t before = f.monotonic;
    coir_green *a = spawn(say, "a");
    coir_green *b = spawn(sleep_one, NULL);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_EQ(join(a), 3);
    CHECK_EQ(join(b), 0);
    CHECK_EQ(f.monotonic - before, S);
    CHECK_TRACE("a");
}

/* --- who lives on -------------------------------------------------------- */

static coir_event never = COIR_EVENT_INIT;

static int
wait_for_ever(void *arg)
{
    (void)arg;
    return coir_event_wait(&never, COIR_FOREVER);
}

static int
wait_until(void *arg)
{
    return coir_event_wait(&never, *(int64_t *)arg);
}

static int
park(void *arg)
{
    (void)arg;
    return coir_park("x", NULL, COIR_FOREVER);
}

static int
join_it(void *arg)
{
    return coir_join(arg, NULL);
}

static void
fini(void *value)
{
    trace(value);
}

static int
with_value(void *arg)
{
    static const char key;
    CHECK_EQ(coir_local_set(&key, arg, fini), 0);
    return coir_sleep(5 * S);
}

TEST(fork, only_main)
{
    prepare();
    coir_green *ended = spawn(say, "ended");
    CHECK_EQ(coir_yield(), 0);
    int64_t time = 7 * S;
    coir_green *g[] = {spawn(wait_for_ever, NULL),
                       spawn(wait_until, &time),
                       spawn(sleep_one, NULL),
                       spawn(park, NULL),
                       spawn(with_value, (void *)(uintptr_t) "value"),
                       spawn(join_it, coir_self()),
                       NULL};
    coir_detach(spawn(sleep_one, NULL));
    CHECK_EQ(coir_yield(), 0);
    g[6] = spawn(say, "did not run");
    CHECK_TRACE("ended");
    int pid = coir_hub_fork();
    if (pid == 0) {
        CHECK_EQ(coir_hub_run(), 0);
        CHECK_EQ(coir_green_state(g[0]), COIR_GREEN_ENDED);
        CHECK_STR(coir_green_waits_for(g[0]), "");
        coir_cancel(g[0]);
        CHECK_EQ(coir_unpark(g[3], 1), 0);
        for (int i = 0; i < 7; i++)
            CHECK_EQ(join(g[i]), COIR_ECANCELED);
        CHECK_EQ(join(ended), 3);
        coir_event_set(&never);
        is_as_new();
        end_child();
    }
    expect_status(pid, 0);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(coir_green_state(g[i]), COIR_GREEN_WAITING);
    coir_cancel(g[0]);
    coir_cancel(g[5]);
    CHECK_EQ(coir_unpark(g[3], 5), 1);
    CHECK_EQ(coir_hub_run(), 0);
    int results[] = {
        COIR_ECANCELED, COIR_ETIMEDOUT, 0, 5, 0, COIR_ECANCELED, 3};
    for (int i = 0; i < 7; i++)
        CHECK_EQ(join(g[i]), results[i]);
    CHECK_EQ(join(ended), 3);
    CHECK_TRACE("did not run value");
    finish();
}

static int child_status;

static int
fork_here(void *arg)
{
    coir_deadline deadline;
    coir_deadline_begin(&deadline, 3 * S);
    int pid = coir_hub_fork();
    if (pid == 0) {
        CHECK(coir_self() == coir_self()->hub->main);
        CHECK_EQ(coir_hub_run(), 0);
        CHECK_EQ(coir_hub_fini(), COIR_EBUSY);
        CHECK_EQ(coir_deadline_remaining(), 3 * S);
        CHECK_EQ(coir_sleep(5 * S), COIR_ETIMEDOUT);
        CHECK_EQ(coir_deadline_end(&deadline), 1);
        is_as_new();
        coir_detach(spawn(say, "not waited for"));
        return child_status;
    }
    (void)coir_deadline_end(&deadline);
    *(int *)arg = pid;
    return 0;
}

static int
cause_deadlock(void *arg)
{
    int pid = coir_hub_fork();
    if (pid == 0) {
        CHECK(close(STDERR_FILENO) == 0);
        coir_detach(spawn(wait_for_ever, NULL));
        int err = coir_hub_run();
        _exit(err == COIR_EDEADLK ? 0 : 1);
    }
    *(int *)arg = pid;
    return 0;
}

/* It has the place of the main one in every respect. */
TEST(fork, only_the_one_that_forks)
{
    prepare();
    child_status = 42;
    int pid;
    coir_green *other = spawn(sleep_one, NULL);
    coir_green *g = spawn(fork_here, &pid);
    CHECK_EQ(join(g), 0);
    expect_status(pid, 42);
    if (getenv("QEMU_LD_PREFIX") == NULL) {
        g = spawn(cause_deadlock, &pid);
        CHECK_EQ(join(g), 0);
        expect_status(pid, 0);
    }
    CHECK_EQ(join(other), 0);
    finish();
}

/* The handler of fork() has done nothing but to hide the hub. */
TEST(fork, by_the_plain_call)
{
    prepare();
    coir_green *g = spawn(sleep_one, NULL), *p = spawn(park, NULL);
    CHECK_EQ(coir_yield(), 0);
    int pid = fork();
    if (pid == 0) {
        CHECK_EQ(coir_green_state(g), COIR_GREEN_WAITING);
        CHECK_EQ(coir_unpark(p, 1), 1); /* to no avail */
        coir_cancel(coir_self());
        CHECK_EQ(coir_yield(), COIR_ECANCELED);
        coir_shield_begin();
        CHECK_EQ(join(g), COIR_ECANCELED);
        CHECK_EQ(join(p), COIR_ECANCELED);
        is_as_new();
        end_child();
    }
    expect_status(pid, 0);
    pid = fork();
    if (pid == 0) {
        coir_dump(-1); /* whatever comes first */
        CHECK_EQ(coir_green_state(g), COIR_GREEN_ENDED);
        CHECK_EQ(join(g), COIR_ECANCELED);
        CHECK_EQ(join(p), COIR_ECANCELED);
        end_child();
    }
    expect_status(pid, 0);
    coir_cancel(p);
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(join(p), COIR_ECANCELED);
    finish();
}

TEST(fork, again_in_the_child)
{
    prepare();
    coir_detach(spawn(sleep_one, NULL));
    CHECK_EQ(coir_yield(), 0);
    int pid = fork();
    if (pid == 0) {
        pid = fork(); /* before the first was put in order */
        if (pid == 0) {
            coir_detach(spawn(sleep_one, NULL));
            CHECK_EQ(coir_yield(), 0);
            pid = coir_hub_fork();
            if (pid == 0) {
                is_as_new();
                end_child();
            }
            expect_status(pid, 0);
            CHECK_EQ(coir_hub_run(), 0);
            is_as_new();
            end_child();
        }
        expect_status(pid, 0);
        is_as_new();
        end_child();
    }
    expect_status(pid, 0);
    CHECK_EQ(coir_hub_run(), 0);
    finish();
}

static int callback_pid;

static void
fork_in_callback(coir_loop *l, coir_timer *w, int revents)
{
    (void)l;
    (void)w;
    (void)revents;
    callback_pid = coir_hub_fork();
}

static void
plain_fork_in_callback(coir_loop *l, coir_timer *w, int revents)
{
    (void)l;
    (void)w;
    (void)revents;
    callback_pid = fork();
}

/* There is nobody but main who could go on. */
TEST(fork, in_a_callback)
{
    for (int plain = 0; plain < 2; plain++) {
        prepare();
        coir_green *g = spawn(sleep_one, NULL);
        coir_timer timer;
        coir_timer_init(&timer,
                        plain ? plain_fork_in_callback : fork_in_callback,
                        S / 2, 0);
        coir_timer_start(loop, &timer);
        int err = coir_event_wait(&never, 10 * S);
        if (callback_pid == 0) {
            CHECK_EQ(err, COIR_ECANCELED);
            CHECK_EQ(join(g), COIR_ECANCELED);
            is_as_new();
            end_child();
        }
        CHECK_EQ(err, COIR_ETIMEDOUT);
        expect_status(callback_pid, 0);
        CHECK_EQ(join(g), 0);
        finish();
    }
}

static void
set_and_fork(coir_loop *l, coir_timer *w, int revents)
{
    coir_event_set(w->data);
    fork_in_callback(l, w, revents);
}

/* What main waited for has happened: it is told so in the child, too. */
TEST(fork, in_a_callback_that_woke_main)
{
    prepare();
    coir_event event = COIR_EVENT_INIT;
    coir_timer timer;
    coir_timer_init(&timer, set_and_fork, S, 0);
    timer.data = &event;
    coir_timer_start(loop, &timer);
    CHECK_EQ(coir_event_wait(&event, 10 * S), 0);
    if (callback_pid == 0)
        end_child();
    expect_status(callback_pid, 0);
    finish();
}

TEST(fork, many)
{
    prepare();
    coir_green *g[100];
    for (int i = 0; i < 100; i++)
        g[i] = spawn(sleep_one, NULL);
    for (int i = 0; i < 3000; i++)
        coir_detach(spawn(i % 3 ? sleep_one : wait_for_ever, NULL));
    CHECK_EQ(coir_yield(), 0);
    int pid = coir_hub_fork();
    if (pid == 0) {
        for (int i = 0; i < 100; i++)
            CHECK_EQ(join(g[i]), COIR_ECANCELED);
        is_as_new();
        end_child();
    }
    expect_status(pid, 0);
    coir_event_set(&never);
    CHECK_EQ(coir_hub_run(), 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(join(g[i]), 0);
    finish();
}

/* --- slices -------------------------------------------------------------- */

static int
deep_sleep(void *arg)
{
    volatile char frame[5000];
    frame[0] = 1;
    frame[sizeof frame - 1] = 2;
    int err = arg != NULL ? fork_here(arg) : coir_sleep(2 * S);
    return frame[0] + frame[sizeof frame - 1] == 3 ? err : -100;
}

TEST(fork, slices)
{
    prepare();
    child_status = 9;
    coir_green_attr slice = {.policy = COIR_POLICY_SLICE};
    coir_green *g[6];
    int pid = 0;
    for (int i = 0; i < 6; i++) {
        void *arg = i == 3 ? &pid : NULL;
        CHECK_EQ(coir_spawn(&g[i], deep_sleep, arg, &slice), 0);
    }
    coir_green *last = spawn(fork_here, &child_status);
    CHECK_EQ(join(g[3]), 0);
    expect_status(pid, 9);
    child_status = coir_hub_fork();
    if (child_status == 0) {
        coir_thread_check();
        for (int i = 0; i < 6; i++)
            if (i != 3)
                CHECK_EQ(join(g[i]), COIR_ECANCELED);
        coir_detach(last);
        CHECK_EQ(coir_spawn(&g[0], deep_sleep, NULL, &slice), 0);
        CHECK_EQ(join(g[0]), 0);
        is_as_new();
        end_child();
    }
    expect_status(child_status, 0);
    CHECK_EQ(join(last), 0);
    for (int i = 0; i < 6; i++)
        if (i != 3)
            CHECK_EQ(join(g[i]), 0);
    finish();
}

/* --- scopes -------------------------------------------------------------- */

static int
own_scope(void *arg)
{
    coir_scope *s;
    CHECK_EQ(coir_scope_begin(&s), 0);
    CHECK_EQ(coir_scope_spawn(s, sleep_one, NULL, NULL), 0);
    if (arg != NULL) {
        CHECK_EQ(coir_scope_spawn(s, fork_here, arg, NULL), 0);
    }
    return coir_scope_end(s);
}

TEST(fork, scopes)
{
    prepare();
    child_status = 5;
    int pid;
    coir_green *g = spawn(own_scope, &pid), *other = spawn(own_scope, NULL);
    coir_scope *s;
    CHECK_EQ(coir_scope_begin(&s), 0);
    CHECK_EQ(coir_scope_spawn(s, sleep_one, NULL, NULL), 0);
    CHECK_EQ(join(g), 0);
    expect_status(pid, 5);
    CHECK_EQ(coir_scope_spawn(s, sleep_one, NULL, NULL), 0);
    g = spawn(own_scope, NULL);
    CHECK_EQ(coir_yield(), 0);
    pid = coir_hub_fork();
    if (pid == 0) {
        CHECK_EQ(coir_scope_end(s), 0);
        CHECK_EQ(join(g), COIR_ECANCELED);
        (void)join(other); /* whether it had ended or not */
        is_as_new();
        end_child();
    }
    expect_status(pid, 0);
    CHECK_EQ(coir_scope_end(s), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(join(other), 0);
    finish();
}

/* --- what is waited for -------------------------------------------------- */

static coir_semaphore sem = COIR_SEMAPHORE_INIT(0);
static coir_mutex mutex = COIR_MUTEX_INIT;
static coir_condition condition = COIR_CONDITION_INIT;
static coir_queue queue;
static coir_event gate = COIR_EVENT_INIT;

static int
acquire(void *arg)
{
    (void)arg;
    return coir_semaphore_acquire(&sem, COIR_FOREVER);
}

static int
lock(void *arg)
{
    (void)arg;
    int err = coir_mutex_lock(&mutex, COIR_FOREVER);
    if (err == 0)
        err = coir_condition_wait(&condition, &mutex, COIR_FOREVER);
    return err == 0 ? coir_mutex_unlock(&mutex) : err;
}

static int
get(void *arg)
{
    void *item;
    (void)arg;
    return coir_queue_get(&queue, &item, COIR_FOREVER);
}

static int
put_one(void *arg)
{
    return coir_queue_put(&queue, arg, COIR_FOREVER);
}

static void *
in_thread(void *arg)
{
    coir_green_fn *const *fn = arg;
    CHECK_EQ((*fn)(NULL), 0);
    return NULL;
}

/* Locks are taken here as by a thread that is not there in the child. */
static void
hold_locks(void (*fn)(coir_waitq *q))
{
    fn(&sem.queue);
    fn(&mutex.queue);
    fn(&condition.queue);
    fn(&queue.getters);
    fn(&gate.queue);
}

TEST(fork, nobody_waits_in_the_child)
{
    static coir_green_fn *const waits[] = {acquire, lock, get};
    prepare();
    CHECK_EQ(coir_queue_init(&queue, 1), 0);
    pthread_t threads[3];
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, in_thread,
                                (void *)(uintptr_t)&waits[i]),
                 0);
    for (int i = 0; i < 3; i++)
        g[i] = spawn(waits[i], NULL);
    CHECK_EQ(coir_yield(), 0);
    hold_locks(coir__waitq_lock);
    int pid = coir_hub_fork();
    if (pid == 0) {
        void *item;
        for (int i = 0; i < 3; i++)
            CHECK_EQ(join(g[i]), COIR_ECANCELED);
        coir_event_set(&gate);
        CHECK_EQ(coir_event_wait(&gate, 0), 0);
        coir_semaphore_release(&sem, 2);
        CHECK_EQ(coir_semaphore_count(&sem), 2);
        CHECK_EQ(acquire(NULL), 0);
        CHECK_EQ(coir_queue_put(&queue, &f, 0), 0);
        CHECK_EQ(coir_queue_put(&queue, &f, S), COIR_ETIMEDOUT);
        coir_green *p = spawn(put_one, &loop);
        CHECK_EQ(coir_yield(), 0);
        CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
        CHECK(item == &f);
        CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
        CHECK(item == &loop);
        CHECK_EQ(join(p), 0);
        coir_mutex_init(&mutex, 0); /* whoever had locked it */
        CHECK_EQ(coir_mutex_lock(&mutex, 0), 0);
        CHECK_EQ(coir_condition_wait(&condition, &mutex, S), COIR_ETIMEDOUT);
        coir_condition_notify_all(&condition);
        CHECK_EQ(coir_mutex_unlock(&mutex), 0);
        coir_queue_close(&queue);
        coir_queue_fini(&queue);
        is_as_new();
        _exit(0);
    }
    hold_locks(coir__waitq_unlock);
    f.has_threads = 1; /* one of which may have the mutex */
    expect_status(pid, 0);
    coir_semaphore_release(&sem, 2);
    CHECK_EQ(coir_queue_put(&queue, NULL, COIR_FOREVER), 0);
    CHECK_EQ(coir_queue_put(&queue, NULL, COIR_FOREVER), 0);
    CHECK_EQ(join(g[0]), 0);
    CHECK_EQ(join(g[2]), 0);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    CHECK_EQ(pthread_join(threads[2], NULL), 0);
    /* Both wait for the condition, or will. */
    for (int waiting = 2; waiting > 0;) {
        CHECK_EQ(coir_mutex_lock(&mutex, COIR_FOREVER), 0);
        waiting -= condition.queue.head != NULL;
        coir_condition_notify(&condition);
        CHECK_EQ(coir_mutex_unlock(&mutex), 0);
        CHECK_EQ(coir_yield(), 0);
    }
    CHECK_EQ(join(g[1]), 0);
    CHECK_EQ(pthread_join(threads[1], NULL), 0);
    coir_queue_fini(&queue);
    finish();
}

static int
select_both(void *arg)
{
    coir_case cases[] = {{.kind = COIR_CASE_PUT, .object = &queue},
                         {.kind = COIR_CASE_EVENT, .object = &gate}};
    (void)arg;
    return coir_select(cases, 2, COIR_FOREVER);
}

static void
trace_callback(coir_callback *cb)
{
    trace(cb->data);
}

/* Nor do those who put, who select, or callbacks. */
TEST(fork, no_other_kind_waits_in_the_child)
{
    prepare();
    CHECK_EQ(coir_queue_init(&queue, 1), 0);
    CHECK_EQ(coir_queue_put(&queue, &loop, 0), 0);
    coir_callback cb = {.fn = trace_callback,
                        .data = (void *)(uintptr_t) "called",
                        .what = {.kind = COIR_CASE_ACQUIRE, .object = &sem}};
    CHECK_EQ(coir_callback_start(&cb, coir_hub_get()), 0);
    coir_green *a = spawn(put_one, &f), *b = spawn(select_both, NULL);
    CHECK_EQ(coir_yield(), 0);
    int pid = coir_hub_fork();
    if (pid == 0) {
        void *item;
        CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
        CHECK(item == &loop);
        CHECK_EQ(coir_queue_get(&queue, &item, 0), COIR_ETIMEDOUT);
        CHECK_EQ(coir_queue_set_capacity(&queue, 2), 0);
        coir_event_set(&gate);
        coir_semaphore_release(&sem, 1);
        CHECK_EQ(coir_sleep(S), 0);
        CHECK_EQ(coir_semaphore_count(&sem), 1);
        CHECK_TRACE("");
        CHECK_EQ(coir_callback_stop(&cb), 0);
        CHECK_EQ(join(a), COIR_ECANCELED);
        CHECK_EQ(join(b), COIR_ECANCELED);
        is_as_new();
        _exit(0);
    }
    expect_status(pid, 0);
    void *item;
    CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
    CHECK_EQ(coir_queue_get(&queue, &item, 0), 0);
    CHECK(item == &f);
    CHECK_EQ(join(a), 0);
    CHECK_EQ(join(b), 0);
    coir_semaphore_release(&sem, 1);
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_TRACE("called");
    coir_queue_fini(&queue);
    finish();
}

static int
write_much(void *arg)
{
    static const char much[65536];
    while (coir_write(arg, much, sizeof much, COIR_FOREVER) > 0)
        ;
    return 0;
}

/* Nor those who write to a socket, whose line is not that with the lock. */
TEST(fork, nobody_writes_in_the_child)
{
    skip_what_tsan_cannot();
    coir_socket *r, *w;
    CHECK_EQ(coir_pipe(&r, &w), 0);
    coir_green *g = spawn(write_much, w);
    while (coir_green_state(g) != COIR_GREEN_WAITING)
        CHECK_EQ(coir_yield(), 0);
    int pid = coir_hub_fork();
    if (pid == 0) {
        CHECK_EQ(join(g), COIR_ECANCELED);
        CHECK_EQ(coir_socket_close(w), 0);
        CHECK_EQ(coir_sleep(1), 0);
        _exit(0);
    }
    expect_status(pid, 0);
    CHECK_EQ(coir_socket_close(w), 0);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(coir_socket_close(r), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

static void
not_called(coir_call *call)
{
    trace(call->data);
}

TEST(fork, posted_calls_are_dropped)
{
    prepare();
    coir_call call = {.fn = not_called, .data = (void *)(uintptr_t) "called"};
    coir_hub_post(coir_hub_get(), &call);
    int pid = coir_hub_fork();
    CHECK_EQ(coir_sleep(S), 0);
    if (pid == 0) {
        CHECK_TRACE("");
        end_child();
    }
    CHECK_TRACE("called");
    expect_status(pid, 0);
    finish();
}

/* --- kernel objects ------------------------------------------------------ */

typedef struct reader {
    coir_edge edge;
    coir_green *green;
    int bytes;
} reader;

static void
wake_reader(coir_loop *l, coir_edge *w, int revents)
{
    (void)l;
    CHECK_EQ(revents, COIR_READ);
    CHECK_EQ(coir_unpark(w->data, 0), 1);
}

/* Reads to the end. */
static int
read_all(void *arg)
{
    reader *r = arg;
    coir_loop *l = coir_hub_loop(coir_hub_get());
    coir_edge_init(&r->edge, wake_reader, r->edge.fd);
    r->edge.data = r->green = coir_self();
    CHECK_EQ(coir_edge_start(l, &r->edge), 0);
    for (;;) {
        char text[100];
        ssize_t n = read(r->edge.fd, text, sizeof text);
        if (n == 0)
            break;
        if (n > 0)
            r->bytes += (int)n;
        else if (!coir_edge_wait(l, &r->edge, COIR_READ))
            CHECK_EQ(coir_park("data", r, COIR_FOREVER), 0);
    }
    coir_edge_stop(l, &r->edge);
    return 0;
}

static int
read_pair(const char *text)
{
    int fds[2];
    make_pair(fds);
    reader r = {.edge.fd = fds[0]};
    coir_green *g = spawn(read_all, &r);
    for (const char *c = text; *c != '\0'; c++) {
        CHECK_EQ(coir_sleep(S / 1000), 0);
        CHECK_EQ(write(fds[1], c, 1), 1);
    }
    (void)close(fds[1]);
    CHECK_EQ(join(g), 0);
    (void)close(fds[0]);
    return r.bytes;
}

TEST_EACH_BACKEND(fork, kernel_objects_are_fresh)
{
    skip_what_tsan_cannot();
    loop = backend_loop(backend);
    CHECK(coir__hub_make(loop) != NULL);
    int fds[2];
    make_pair(fds);
    reader r = {.edge.fd = fds[0]};
    coir_green *g = spawn(read_all, &r);
    CHECK_EQ(coir_sleep(S / 1000), 0);
    int pid = coir_hub_fork();
    if (pid == 0) {
        /* The number is another file there, which the parent must not hear
         * of. */
        coir_edge_stop(loop, &r.edge);
        int other[2];
        make_pair(other);
        CHECK(dup2(other[0], fds[0]) == fds[0]);
        CHECK_EQ(join(g), COIR_ECANCELED);
        CHECK_EQ(read_pair("child"), 5);
        _exit(0);
    }
    expect_status(pid, 0);
    put(fds[1]);
    CHECK_EQ(coir_sleep(S / 1000), 0);
    put(fds[1]);
    (void)close(fds[1]);
    CHECK_EQ(join(g), 0);
    CHECK_EQ(r.bytes, 2);
    CHECK_EQ(read_pair("parent"), 6);
    (void)close(fds[0]);
    finish();
}

/* --- other threads ------------------------------------------------------- */

static void *
fork_in_thread(void *arg)
{
    int hub = *(int *)arg;
    coir_green *g = NULL;
    if (hub) {
        g = spawn(sleep_one, NULL);
        CHECK_EQ(coir_sleep(S / 1000), 0);
    }
    int pid = fork();
    if (pid == 0) {
        if (hub)
            CHECK_EQ(join(g), COIR_ECANCELED);
        g = spawn(say, "thread");
        CHECK_EQ(coir_sleep(S / 1000), 0);
        CHECK_EQ(join(g), 3);
        CHECK_TRACE("thread");
        coir_event_set(&gate); /* for which the other thread waits */
        CHECK_EQ(coir_hub_fini(), 0);
        _exit(0);
    }
    expect_status(pid, 0);
    if (hub) {
        coir_cancel(g);
        CHECK_EQ(join(g), COIR_ECANCELED);
    }
    coir_event_set(&gate);
    return NULL;
}

TEST(fork, in_another_thread)
{
    skip_what_tsan_cannot();
    for (int hub = 0; hub < 2; hub++) {
        coir_event_clear(&gate);
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, fork_in_thread, &hub), 0);
        CHECK_EQ(coir_event_wait(&gate, COIR_FOREVER), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    CHECK_EQ(coir_sleep(0), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}
