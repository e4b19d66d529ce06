/* test_look.c - seeing inside: information, backtraces, dumps, deadlocks. */
#include <coir/look.h>
#include <coir/sync.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hub_helper.h"
#include "sync/waitq.h"

/* What is printed between the two, to stderr too. */
static char text[64 * 1024];
static int capture_fd = -1, saved_fd = -1;

static void
capture_begin(void)
{
    char name[] = "/tmp/coir-look-XXXXXX";
    capture_fd = mkstemp(name);
    CHECK(capture_fd >= 0);
    CHECK_EQ(unlink(name), 0);
    saved_fd = dup(STDERR_FILENO);
    CHECK(dup2(capture_fd, STDERR_FILENO) >= 0);
}

/* How much so far. */
static off_t
captured(void)
{
    struct stat status;
    CHECK_EQ(fstat(capture_fd, &status), 0);
    return status.st_size;
}

static void
capture_end(void)
{
    CHECK(dup2(saved_fd, STDERR_FILENO) >= 0);
    ssize_t n = pread(capture_fd, text, sizeof text - 1, 0);
    CHECK(n >= 0);
    text[n] = '\0';
    (void)close(saved_fd);
    (void)close(capture_fd);
}

static const char *
dump(void)
{
    capture_begin();
    coir_dump(STDERR_FILENO);
    capture_end();
    return text;
}

static void
check_says(const char *part)
{
    if (strstr(text, part) == NULL)
        coir_test_fail(__FILE__, __LINE__, "\"%s\" is not in:\n%s", part,
                       text);
}

static void
check_does_not_say(const char *part)
{
    if (strstr(text, part) != NULL)
        coir_test_fail(__FILE__, __LINE__, "\"%s\" is in:\n%s", part, text);
}

/* Is there code that unwinds the suspended? */
static int
can_unwind(void)
{
    return strcmp(coir_ctx_backend(), "ucontext") != 0;
}

__attribute__((noinline)) static coir_green *
spawn(coir_green_fn *fn, void *arg, const char *name)
{
    coir_green *g;
    coir_green_attr attr = {.name = name};
    CHECK_EQ(coir_spawn(&g, fn, arg, &attr), 0);
    return g;
}

static int
join(coir_green *g)
{
    int result = 1234;
    CHECK_EQ(coir_join(g, &result), 0);
    return result;
}

static coir_event never = COIR_EVENT_INIT;
static coir_mutex left = COIR_MUTEX_INIT, right = COIR_MUTEX_INIT;

/* A frame of its own: what comes after it keeps it. */
__attribute__((noinline)) static int
wait_in_here(void)
{
    int err = coir_event_wait(&never, COIR_FOREVER);
    __asm__ volatile("" ::: "memory");
    return err;
}

__attribute__((noinline)) static int
waiter(void *arg)
{
    (void)arg;
    int err = wait_in_here();
    __asm__ volatile("" ::: "memory");
    return err;
}

/* --- information --------------------------------------------------------- */

static int
deadline_sleeper(void *arg)
{
    (void)arg;
    coir_deadline d;
    coir_deadline_begin(&d, 5 * S);
    int err = coir_event_wait(&never, COIR_FOREVER);
    (void)coir_deadline_end(&d);
    return err;
}

TEST(look, information)
{
    begin();
    coir_green *a = spawn(waiter, NULL, "a");
    coir_green *b = spawn(deadline_sleeper, NULL, NULL);
    coir_green_info info;
    coir_green_get_info(a, &info);
    CHECK_EQ(info.state, COIR_GREEN_READY);
    CHECK_STR(info.what, "");
    CHECK_EQ(coir_sleep(S), 0);

    coir_green_get_info(a, &info);
    CHECK_EQ(info.id, 2);
    CHECK_STR(info.name, "a");
    CHECK_EQ(info.state, COIR_GREEN_WAITING);
    CHECK_STR(info.what, "event");
    CHECK_EQ(info.object, &never);
    CHECK_EQ(info.waiting_ns, S);
    CHECK_EQ(info.left_ns, COIR_FOREVER);
    CHECK_EQ(info.spawner, 1);
    CHECK(info.spawned_at != NULL);
    CHECK(info.fn == waiter);
    CHECK(info.stack_size >= 16384);
    CHECK(info.stack_used > 0 && info.stack_used < info.stack_size);
    CHECK(!info.is_main && !info.is_detached && !info.is_cancelled);

    coir_green_get_info(b, &info);
    CHECK_EQ(info.id, 3);
    CHECK_STR(info.name, "");
    CHECK_EQ(info.left_ns, 4 * S);

    coir_green_get_info(coir_self(), &info);
    CHECK_EQ(info.id, 1);
    CHECK(info.is_main);
    CHECK_EQ(info.state, COIR_GREEN_RUNNING);
    CHECK_NULL(info.spawned_at);
    CHECK_EQ(info.stack_used, 0);

    coir_shield_begin();
    coir_cancel(a);
    coir_green_get_info(a, &info);
    CHECK(info.is_cancelled);
    coir_cancel(b);
    CHECK_EQ(join(a), COIR_ECANCELED);
    CHECK_EQ(join(b), COIR_ECANCELED);
    coir_shield_end();
    coir_green *c = spawn(waiter, NULL, "c");
    coir_green_get_info(c, &info);
    CHECK_EQ(info.id, 4); /* not used again */
    coir_cancel(c);
    (void)join(c);
    finish();
}

static int
note(coir_green *g, void *arg)
{
    (void)arg;
    trace(coir_green_name(g));
    return strcmp(coir_green_name(g), "b") == 0 ? 7 : 0;
}

TEST(look, each_of_them)
{
    CHECK_EQ(coir_green_each(note, NULL), 0); /* no hub */
    begin();
    coir_green *g[3] = {spawn(waiter, NULL, "a"), spawn(waiter, NULL, "b"),
                        spawn(waiter, NULL, "c")};
    CHECK_EQ(coir_green_each(note, NULL), 7);
    CHECK_TRACE("main a b");
    for (int i = 0; i < 3; i++) {
        coir_cancel(g[i]);
        (void)join(g[i]);
    }
    CHECK_EQ(coir_green_each(note, NULL), 0);
    finish();
}

/* --- backtraces ---------------------------------------------------------- */

/* The frame of that function, which ends within 512 bytes; -1: none. */
static int
frame_of(int (*fn)(void), const void *const *addresses, int count)
{
    for (int i = 0; i < count; i++) {
        uintptr_t at = (uintptr_t)addresses[i];
        if (at > (uintptr_t)fn && at - (uintptr_t)fn < 512)
            return i;
    }
    return -1;
}

/* Not to be unrolled. */
static int dive(int depth);
static int (*volatile dive_on)(int depth) = dive;

static int
dive(int depth)
{
    int err = depth > 0 ? dive_on(depth - 1) : wait_in_here();
    __asm__ volatile("" ::: "memory");
    return err;
}

static int
diver(void *arg)
{
    int err = dive(*(int *)arg);
    __asm__ volatile("" ::: "memory");
    return err;
}

static void
check_backtraces(int policy)
{
    if (!can_unwind())
        SKIP("the backend ucontext cannot");
    begin();
    int depth = 20;
    coir_green_attr attr = {.policy = policy};
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, diver, &depth, &attr), 0);
    const void *a[100];
    CHECK_EQ(coir_green_backtrace(g, a, 100), 0); /* not begun */
    CHECK_EQ(coir_yield(), 0);
    int count = coir_green_backtrace(g, a, 100);
    CHECK(count > depth + 2 && count < 100);
    int at = frame_of(wait_in_here, a, count);
    CHECK(at > 0);
    for (int i = 2; i <= depth; i++) /* recursion */
        CHECK_EQ(a[at + i], a[at + 2]);
    CHECK(a[at + depth + 2] != a[at + 2]);
    CHECK_EQ(coir_green_backtrace(g, a, 5), 5); /* no more than fit */
    CHECK_EQ(coir_green_backtrace(g, a, 0), 0);

    /* It goes on as if nothing had been. */
    coir_event_set(&never);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_green_state(g), COIR_GREEN_ENDED);
    CHECK_EQ(coir_green_backtrace(g, a, 100), 0);
    CHECK_EQ(join(g), 0);
    finish();
}

TEST(look, backtrace)
{
    check_backtraces(COIR_POLICY_DEDICATED);
}

/* One slice at a time is in its place, and can be looked at. */
TEST(look, backtrace_of_a_slice)
{
    if (!can_unwind())
        SKIP("the backend ucontext cannot");
    begin();
    coir_green_attr attr = {.policy = COIR_POLICY_SLICE};
    coir_green *g[2];
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coir_spawn(&g[i], waiter, NULL, &attr), 0);
    CHECK_EQ(coir_yield(), 0);
    const void *a[100];
    for (int i = 0; i < 2; i++) {
        int count = coir_green_backtrace(g[i], a, 100);
        if (coir_coro_stack_saved(g[i]->co) > 0)
            CHECK_EQ(count, 0);
        else
            CHECK(frame_of(wait_in_here, a, count) > 0);
    }
    coir_event_set(&never);
    CHECK_EQ(coir_hub_run(), 0);
    (void)join(g[0]);
    (void)join(g[1]);
    finish();
}

static int
look_at_main(void *arg)
{
    const void *a[100];
    int *found = arg;
    *found = coir_green_backtrace(coir_self()->hub->main, a, 100);
    return coir_green_backtrace(coir_self(), a, 100);
}

TEST(look, backtrace_of_main_and_of_oneself)
{
    if (!can_unwind())
        SKIP("the backend ucontext cannot");
    begin();
    int found = -1;
    coir_green *g = spawn(look_at_main, &found, NULL);
    CHECK(join(g) > 1);
    CHECK(found > 3);
    finish();
}

/* --- dump ---------------------------------------------------------------- */

static int
lock_both(coir_mutex *first, coir_mutex *second)
{
    CHECK_EQ(coir_mutex_lock(first, COIR_FOREVER), 0);
    CHECK_EQ(coir_yield(), 0);
    int err = coir_mutex_lock(second, COIR_FOREVER);
    CHECK_EQ(coir_mutex_unlock(first), 0);
    if (err == 0)
        CHECK_EQ(coir_mutex_unlock(second), 0);
    return err;
}

static int
left_first(void *arg)
{
    (void)arg;
    return lock_both(&left, &right);
}

static int
right_first(void *arg)
{
    (void)arg;
    return lock_both(&right, &left);
}

TEST(look, dump)
{
    coir_dump(STDERR_FILENO); /* no hub: nothing */
    begin();
    coir_green *a = spawn(waiter, NULL, "ann"), *b = spawn(diver, &f, NULL);
    CHECK_EQ(coir_mutex_lock(&left, COIR_FOREVER), 0);
    coir_green *c = spawn(left_first, NULL, "bob");
    coir_cancel(b);
    CHECK_EQ(coir_sleep(S), 0);
    coir_green *d = spawn(waiter, NULL, "eve");
    (void)dump();
    check_says("green threads of OS thread");
    check_says("#1 main");
    check_says("running");
    check_says("#2 \"ann\"");
    check_says("waits for event");
    check_says("        for 1000 ms, ");
    check_says("bytes of stack");
    check_says("ended\n        cancelled\n");
    check_says(", held by #1 \"main\"");
    check_says("#5 \"eve\"");
    check_says(" ready");
    check_says("spawned by #1 at ");
    check_does_not_say("cycle 1");
    if (can_unwind())
        check_says("(test_look+0x");
    /* Where the program has its symbols. */
    if (strstr(text, "(never)") != NULL) {
        check_says("(left)");
        check_says("spawned by #1 at spawn+0x");
        if (can_unwind()) {
            check_says("wait_in_here+0x");
            check_says("waiter+0x");
        }
        check_does_not_say("coir__park");
        check_does_not_say("coir__coro_entry");
        check_does_not_say(" body+0x");
    }
    else if (getenv("COIR_TEST_STRIPPED") == NULL) {
        FAIL("no symbols");
    }
    CHECK_EQ(coir_mutex_unlock(&left), 0);
    coir_cancel(a);
    coir_cancel(d);
    CHECK_EQ(coir_hub_run(), 0);
    coir_green *all[] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        (void)join(all[i]);
    finish();
}

TEST(look, dump_marks_cycles_while_others_go_on)
{
    begin();
    coir_green *a = spawn(left_first, NULL, "a");
    coir_green *b = spawn(right_first, NULL, "b");
    CHECK_EQ(coir_sleep(S), 0);
    (void)dump();
    check_says("cycle 1: wait for each other\n");
    check_says(", held by #2 \"a\"");
    check_says(", held by #3 \"b\"");
    coir_cancel(a);
    CHECK_EQ(join(a), COIR_ECANCELED);
    (void)dump();
    check_does_not_say("cycle 1");
    CHECK_EQ(join(b), 0);
    finish();
}

static int
lock_for_a_time(void *arg)
{
    (void)arg;
    CHECK_EQ(coir_mutex_lock(&right, COIR_FOREVER), 0);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_mutex_lock(&left, 2 * S), COIR_ETIMEDOUT);
    return coir_mutex_unlock(&right);
}

TEST(look, wait_that_will_time_out_is_no_cycle)
{
    begin();
    coir_green *a = spawn(left_first, NULL, "a");
    coir_green *b = spawn(lock_for_a_time, NULL, "b");
    CHECK_EQ(coir_sleep(S), 0);
    (void)dump();
    check_says(
        "(left), held by #2 \"a\"\n        for 1000 ms, for 1000 ms more");
    check_does_not_say("cycle 1");
    CHECK_EQ(join(a), 0);
    CHECK_EQ(join(b), 0);
    finish();
}

static int
lock_and_end(void *arg)
{
    (void)arg;
    return coir_mutex_lock(&left, COIR_FOREVER);
}

static int
lock_left(void *arg)
{
    (void)arg;
    return coir_mutex_lock(&left, COIR_FOREVER);
}

TEST(look, dump_marks_locks_of_those_who_have_ended)
{
    begin();
    coir_green *a = spawn(lock_and_end, NULL, "gone");
    coir_green *b = spawn(lock_left, NULL, "b");
    CHECK_EQ(coir_sleep(S), 0);
    (void)dump();
    check_says("nobody will give up");
    check_says(", held by #2 \"gone\", which has ended");
    coir_cancel(b);
    (void)join(a);
    (void)join(b);
    finish();
}

TEST(look, dump_without_memory)
{
    begin();
    coir_green *a = spawn(left_first, NULL, "a");
    coir_green *b = spawn(right_first, NULL, "b");
    CHECK_EQ(coir_sleep(S), 0);
    EACH_ALLOC_FAILURE(n)
    {
        (void)dump();
        check_says("\"a\"");
        check_says("waits for mutex");
    }
    coir_cancel(a);
    CHECK_EQ(coir_hub_run(), 0);
    (void)join(a);
    (void)join(b);
    finish();
}

/* --- deadlocks ----------------------------------------------------------- */

static void
skip_where_threads_hide(void)
{
    if (COIR_TEST_TSAN || getenv("QEMU_LD_PREFIX") != NULL)
        SKIP("TSan and qemu have threads of their own, which might end waits");
}

TEST(look, deadlock_names_the_cycle)
{
    skip_where_threads_hide();
    begin();
    coir_green *a = spawn(left_first, NULL, "a");
    coir_green *b = spawn(right_first, NULL, "b");
    capture_begin();
    int err = coir_hub_run();
    capture_end();
    CHECK_EQ(err, COIR_EDEADLK);
    check_says("coir: deadlock: no green thread can ever run again\n");
    check_says("cycle 1: wait for each other\n");
    check_says("#1 main");
    check_says("waits for all others to end");
    coir_cancel(a);
    CHECK_EQ(coir_hub_run(), 0);
    (void)join(a);
    (void)join(b);
    finish();
}

static void
on_signal(int signum)
{
    (void)signum;
}

static coir_call wake_main;

static void
wake(coir_call *call)
{
    (void)coir_unpark(call->data, 5);
}

/* A thread that looks as if it had other things to do, until it posts. */
static void *
post_later(void *hub)
{
    while (
        !__atomic_load_n(&((coir_hub *)hub)->listed.asleep, __ATOMIC_RELAXED))
        (void)sched_yield();
    (void)usleep(10 * 1000); /* for the hub to be wrong in */
    coir_hub_post(hub, &wake_main);
    return NULL;
}

TEST(look, no_deadlock_while_others_could_wake)
{
    skip_where_threads_hide();
    coir_hub *hub = coir_hub_get();
    wake_main = (coir_call){.fn = wake, .data = coir_self()};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, post_later, hub), 0);
    CHECK_EQ(coir_park("me", NULL, COIR_FOREVER), 5);
    CHECK_EQ(pthread_join(thread, NULL), 0);

    capture_begin();
    CHECK_EQ(coir_park("me", NULL, COIR_FOREVER), COIR_EDEADLK);
    capture_end();
    CHECK_EQ(coir_hub_fini(), 0);
}

static void *
sleep_briefly(void *unused)
{
    (void)usleep(30 * 1000);
    return unused;
}

/* It is there when the hub falls asleep, and nobody says when it ends. */
TEST(look, a_thread_that_ends_hides_no_deadlock)
{
    skip_where_threads_hide();
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, sleep_briefly, NULL), 0);
    CHECK_EQ(pthread_detach(thread), 0);
    capture_begin();
    CHECK_EQ(coir_park("me", NULL, COIR_FOREVER), COIR_EDEADLK);
    capture_end();
    check_says("waits for me");
    CHECK_EQ(coir_hub_fini(), 0);
}

static void
post_in_handler(int signum)
{
    (void)signum;
    coir_hub_post(wake_main.data, &wake_main);
}

static void
wake_main_of(coir_call *call)
{
    coir_hub *hub = call->data;
    (void)coir_unpark(hub->main, 6);
}

TEST(look, signal_handlers_could_wake)
{
    coir_hub *hub = coir_hub_get();
    struct sigaction action = {.sa_handler = post_in_handler}, before;
    CHECK_EQ(sigaction(SIGALRM, &action, &before), 0);
    wake_main = (coir_call){.fn = wake_main_of, .data = hub};
    (void)ualarm(20 * 1000, 0);
    CHECK_EQ(coir_park("me", NULL, COIR_FOREVER), 6);
    CHECK_EQ(sigaction(SIGALRM, &before, NULL), 0);

    /* Those of faults do not count. */
    skip_where_threads_hide();
    action.sa_handler = on_signal;
    CHECK_EQ(sigaction(SIGFPE, &action, NULL), 0);
    capture_begin();
    CHECK_EQ(coir_park("me", NULL, COIR_FOREVER), COIR_EDEADLK);
    capture_end();
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST(look, deadlock_modes)
{
    skip_where_threads_hide();
    begin();
    struct sigaction action = {.sa_handler = on_signal}, before;
    CHECK_EQ(sigaction(SIGUSR1, &action, &before), 0);
    coir_hub_set_deadlock(coir_hub_get(), COIR_DEADLOCK_IDLE);
    capture_begin();
    CHECK_EQ(coir_park("me", NULL, COIR_FOREVER), COIR_EDEADLK);
    capture_end();
    check_says("waits for me");
    CHECK_EQ(sigaction(SIGUSR1, &before, NULL), 0);
    finish();

    coir_hub *hub = coir_hub_get();
    coir_hub_set_deadlock(hub, COIR_DEADLOCK_NEVER);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)alarm(0);
        (void)coir_park("me", NULL, COIR_FOREVER);
        _exit(3); /* it must not come back */
    }
    int status;
    (void)usleep(50 * 1000);
    CHECK_EQ(waitpid(child, &status, WNOHANG), 0);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(coir_hub_fini(), 0);
}

/* Two OS threads with hubs, each with a lock that the other one wants. */
static coir_event has_left = COIR_EVENT_INIT, has_right = COIR_EVENT_INIT;

static pthread_barrier_t both_told; /* who gives up would free the other */

static void *
other_thread(void *arg)
{
    int *result = arg;
    CHECK(coir_hub_get() != NULL);
    CHECK_EQ(coir_mutex_lock(&right, COIR_FOREVER), 0);
    coir_event_set(&has_right);
    CHECK_EQ(coir_event_wait(&has_left, COIR_FOREVER), 0);
    *result = coir_mutex_lock(&left, COIR_FOREVER);
    (void)pthread_barrier_wait(&both_told);
    CHECK_EQ(coir_mutex_unlock(&right), 0);
    CHECK_EQ(coir_hub_fini(), 0);
    return NULL;
}

TEST(look, deadlock_of_two_hubs)
{
    skip_where_threads_hide();
    CHECK(coir_hub_get() != NULL);
    pthread_t thread;
    int result = 1;
    CHECK_EQ(pthread_barrier_init(&both_told, NULL, 2), 0);
    CHECK_EQ(coir_mutex_lock(&left, COIR_FOREVER), 0);
    capture_begin();
    CHECK_EQ(pthread_create(&thread, NULL, other_thread, &result), 0);
    CHECK_EQ(coir_event_wait(&has_right, COIR_FOREVER), 0);
    coir_event_set(&has_left);
    CHECK_EQ(coir_mutex_lock(&right, COIR_FOREVER), COIR_EDEADLK);
    (void)pthread_barrier_wait(&both_told);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    capture_end();
    CHECK_EQ(result, COIR_EDEADLK); /* both are told */
    check_says("coir: deadlock");
    check_says("cycle 1");
    check_says("held by #1 \"main\" of OS thread");
    char *first = strstr(text, "green threads of OS thread");
    CHECK(first != NULL);
    CHECK(strstr(first + 1, "green threads of OS thread") != NULL);
    CHECK_NULL(strstr(first, "coir: deadlock")); /* once */
    CHECK_EQ(coir_mutex_unlock(&left), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

static void *
native_thread(void *arg)
{
    (void)arg;
    CHECK_EQ(coir_mutex_lock(&right, COIR_FOREVER), 0);
    coir_event_set(&has_right);
    CHECK_EQ(coir_mutex_lock(&left, COIR_FOREVER), 0);
    CHECK_EQ(coir_mutex_unlock(&right), 0);
    CHECK_EQ(coir_mutex_unlock(&left), 0);
    return NULL;
}

TEST(look, deadlock_with_a_thread_without_a_hub)
{
    skip_where_threads_hide();
    CHECK(coir_hub_get() != NULL);
    pthread_t thread;
    CHECK_EQ(coir_mutex_lock(&left, COIR_FOREVER), 0);
    CHECK_EQ(pthread_create(&thread, NULL, native_thread, NULL), 0);
    CHECK_EQ(coir_event_wait(&has_right, COIR_FOREVER), 0);
    while (__atomic_load_n(&left.queue.head, __ATOMIC_RELAXED) == NULL)
        (void)sched_yield();
    (void)usleep(10 * 1000); /* it is about to sleep */
    capture_begin();
    CHECK_EQ(coir_mutex_lock(&right, COIR_FOREVER), COIR_EDEADLK);
    capture_end();
    check_says("cycle 1");
    check_says("held by OS thread");
    CHECK_EQ(coir_mutex_unlock(&left), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

static void *
idle_thread(void *arg)
{
    int *fds = arg;
    char c;
    coir__idle_threads_add(1);
    CHECK_EQ(write(fds[3], "", 1), 1);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    coir__idle_threads_add(-1);
    return NULL;
}

TEST(look, idle_threads_of_the_library_do_not_hide_a_deadlock)
{
    skip_where_threads_hide();
    CHECK(coir_hub_get() != NULL);
    pthread_t thread;
    int fds[4];
    char c;
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(pipe(fds + 2), 0);
    CHECK_EQ(pthread_create(&thread, NULL, idle_thread, fds), 0);
    CHECK_EQ(read(fds[2], &c, 1), 1);
    capture_begin();
    CHECK_EQ(coir_event_wait(&never, COIR_FOREVER), COIR_EDEADLK);
    capture_end();
    CHECK_EQ(write(fds[1], "", 1), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 4; i++)
        (void)close(fds[i]);
    CHECK_EQ(coir_hub_fini(), 0);
}

/* The child has one thread, whatever the parent had. */
TEST(look, deadlock_in_a_child)
{
    skip_where_threads_hide();
    CHECK(coir_hub_get() != NULL);
    pthread_t thread;
    int fds[4];
    char c;
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(pipe(fds + 2), 0);
    CHECK_EQ(pthread_create(&thread, NULL, idle_thread, fds), 0);
    CHECK_EQ(read(fds[2], &c, 1), 1);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        _exit(coir_event_wait(&never, COIR_FOREVER) == COIR_EDEADLK ? 0 : 1);
    }
    int status = 1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(write(fds[1], "", 1), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 4; i++)
        (void)close(fds[i]);
    CHECK_EQ(coir_hub_fini(), 0);
}

/* --- watchdog ------------------------------------------------------------ */

#define LIMIT (20 * MS)

typedef struct seen {
    atomic_int blocked;
    atomic_int over;
    coir_block block;
    coir_block end;
} seen;

static seen s;

static void
on_block(const coir_block *block, void *arg)
{
    seen *to = arg;
    if (block->is_over) {
        to->end = *block;
        atomic_fetch_add(&to->over, 1);
    }
    else {
        to->block = *block;
        atomic_fetch_add(&to->blocked, 1);
    }
}

static const coir_watchdog_attr to_seen = {.report = on_block, .arg = &s};

/* Let no other run until that is reported. */
__attribute__((noinline)) static int
hog(void)
{
    int before = atomic_load(&s.blocked);
    while (atomic_load(&s.blocked) == before)
        ;
    return 0;
}

static int
hogger(void *arg)
{
    (void)arg;
    (void)hog();
    /* And let them run until the end of that is. */
    while (atomic_load(&s.over) < atomic_load(&s.blocked)) {
        int err = coir_sleep(MS);
        if (err < 0)
            return err;
    }
    return 0;
}

static int
sleep_long(void *arg)
{
    (void)arg;
    return coir_sleep(1000 * S);
}

/* With somebody who is kept from running. */
static void
run_hogger(const char *name)
{
    coir_green *other = spawn(sleep_long, NULL, "other");
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(join(spawn(hogger, NULL, name)), 0);
    coir_cancel(other);
    CHECK_EQ(join(other), COIR_ECANCELED);
}

TEST(look, watchdog)
{
    CHECK_EQ(coir_watchdog_start(LIMIT, &to_seen), 0);
    CHECK_EQ(coir_watchdog_start(LIMIT, &to_seen), COIR_EBUSY);
    run_hogger("a name that is cut off after a while");
    CHECK_EQ(atomic_load(&s.blocked), 1);
    CHECK(s.block.blocked_ns >= LIMIT);
    CHECK(s.block.cpu_ns >= 0);
    CHECK_EQ(s.block.tid, coir_hub_get()->listed.tid);
    CHECK(s.end.blocked_ns >= s.block.blocked_ns);
    CHECK_EQ(s.end.tid, s.block.tid);
    CHECK_EQ(s.end.count, 0);
    if (!COIR_TEST_TSAN) { /* delivers signals at system calls only */
        CHECK_EQ(s.block.id, 3);
        CHECK_STR(s.block.name, "a name that is cut off after a ");
        CHECK(s.block.fn == hogger);
        CHECK_EQ(s.block.spawner, 1);
        CHECK(s.block.spawned_at != NULL);
        CHECK_EQ(s.end.id, 3);
        CHECK(s.block.count > 2);
        CHECK_EQ(frame_of(hog, s.block.addresses, s.block.count), 0);
    }
    coir_watchdog_stop();
    coir_watchdog_stop();
    CHECK_EQ(coir_hub_fini(), 0);
}

static void
hog_in_callback(coir_loop *l, coir_timer *w, int revents)
{
    (void)l;
    (void)w;
    (void)revents;
    (void)hog();
}

TEST(look, watchdog_sees_callbacks)
{
    CHECK_EQ(coir_watchdog_start(LIMIT, &to_seen), 0);
    coir_timer timer;
    coir_timer_init(&timer, hog_in_callback, MS, 0);
    coir_timer_start(coir_hub_loop(coir_hub_get()), &timer);
    CHECK_EQ(coir_sleep(10 * MS), 0);
    CHECK_EQ(atomic_load(&s.blocked), 1);
    CHECK_EQ(s.block.id, 0);
    CHECK_STR(s.block.name, "");
    coir_watchdog_stop();
    CHECK_EQ(coir_hub_fini(), 0);
}

static int
sleep_awhile(void *arg)
{
    (void)arg;
    return coir_sleep(3 * LIMIT);
}

static int
yield_awhile(void *arg)
{
    (void)arg;
    int64_t end = coir_clock_monotonic() + 3 * LIMIT;
    while (coir_clock_monotonic() < end)
        CHECK_EQ(coir_yield(), 0);
    return 0;
}

static int
compute_awhile(void *arg)
{
    (void)arg;
    int64_t end = coir_clock_monotonic() + 3 * LIMIT;
    while (coir_clock_monotonic() < end)
        ;
    return 0;
}

/* Nothing to be said of those who sleep, yield, or run alone. */
TEST(look, watchdog_is_silent)
{
    if (coir_test_is_slow())
        SKIP("what is slow may keep others from running");
    CHECK_EQ(coir_watchdog_start(LIMIT, &to_seen), 0);
    coir_green *a = spawn(sleep_awhile, NULL, NULL);
    CHECK_EQ(join(a), 0);
    coir_green *b = spawn(yield_awhile, NULL, NULL);
    a = spawn(yield_awhile, NULL, NULL);
    CHECK_EQ(join(a), 0);
    CHECK_EQ(join(b), 0);
    int64_t end = coir_clock_monotonic() + 3 * LIMIT;
    while (coir_clock_monotonic() < end) /* main, alone */
        ;
    CHECK_EQ(join(spawn(compute_awhile, NULL, NULL)), 0);
    /* Others may have had the processor: then there was a block. */
    if (atomic_load(&s.blocked) > 0 && s.block.cpu_ns < LIMIT / 2)
        SKIP("too little of a processor");
    CHECK_EQ(atomic_load(&s.blocked), 0);
    coir_watchdog_stop();
    CHECK_EQ(coir_hub_fini(), 0);
}

static void *
hog_elsewhere(void *arg)
{
    (void)arg;
    run_hogger("elsewhere");
    CHECK_EQ(coir_hub_fini(), 0);
    return NULL;
}

TEST(look, watchdog_of_several_hubs)
{
    CHECK_EQ(coir_watchdog_start(LIMIT, &to_seen), 0);
    CHECK(coir_hub_get() != NULL);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, hog_elsewhere, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(atomic_load(&s.blocked), 1);
    CHECK_NE(s.block.tid, coir_hub_get()->listed.tid);
    if (!COIR_TEST_TSAN)
        CHECK_STR(s.block.name, "elsewhere");
    coir_watchdog_stop();
    CHECK_EQ(coir_hub_fini(), 0);
}

/* A thread that blocks the signal gives no answer; without one none is asked.
 */
TEST(look, watchdog_without_an_answer)
{
    sigset_t set;
    (void)sigfillset(&set);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    CHECK_EQ(coir_watchdog_start(LIMIT, &to_seen), 0);
    run_hogger("deaf");
    CHECK_EQ(s.block.count, 0);
    CHECK_EQ(s.block.id, 0);
    coir_watchdog_stop();
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0); /* too late */

    coir_watchdog_attr quiet = to_seen;
    quiet.signum = -1;
    CHECK_EQ(coir_watchdog_start(LIMIT, &quiet), 0);
    run_hogger("quiet");
    CHECK_EQ(atomic_load(&s.blocked), 2);
    CHECK_EQ(s.block.count, 0);
    coir_watchdog_stop();
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST(look, watchdog_prints)
{
    capture_begin();
    CHECK_EQ(coir_watchdog_start(LIMIT, NULL), 0);
    coir_green *g = spawn(sleep_awhile, NULL, "next");
    int64_t begun = coir_clock_monotonic(), passed;
    do { /* main is what blocks, until the watchdog has come to run */
        (void)sched_yield();
        passed = coir_clock_monotonic() - begun;
    } while (passed < 5 * LIMIT || (captured() == 0 && passed < 20 * S));
    CHECK_EQ(join(g), 0);
    coir_watchdog_stop();
    capture_end();
    check_says("coir: OS thread ");
    check_says(" has let no other run for ");
    check_says(" ms of that on a processor\n");
    check_says(" lets others run again, after ");
    if (!COIR_TEST_TSAN)
        check_says("#1");
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST(look, watchdog_refuses)
{
    coir_watchdog_attr attr = {.signum = NSIG};
    CHECK_EQ(coir_watchdog_start(LIMIT, &attr), COIR_EINVAL);
    attr.signum = -2;
    CHECK_EQ(coir_watchdog_start(LIMIT, &attr), COIR_EINVAL);
    attr.signum = SIGKILL;
    CHECK_EQ(coir_watchdog_start(LIMIT, &attr), COIR_EINVAL);
    CHECK_EQ(coir_watchdog_start(MS - 1, NULL), COIR_EINVAL);
    struct sigaction action = {.sa_handler = on_signal};
    CHECK_EQ(sigaction(SIGRTMIN + 1, &action, NULL), 0);
    attr.signum = SIGRTMIN + 1;
    CHECK_EQ(coir_watchdog_start(LIMIT, &attr), COIR_EBUSY);
    attr.signum = SIGRTMIN + 2;
    CHECK_EQ(coir_watchdog_start(LIMIT, &attr), 0);
    coir_watchdog_stop();
    CHECK_EQ(coir_watchdog_start(LIMIT, &attr), 0); /* its own handler */
    coir_watchdog_stop();
}

TEST(look, watchdog_from_the_environment)
{
    skip_where_threads_hide();
    CHECK_EQ(setenv("COIR_WATCHDOG_MS", "nonsense", 1), 0);
    CHECK(coir_hub_get() != NULL);
    CHECK_EQ(coir_hub_fini(), 0);
    CHECK_EQ(coir_watchdog_start(LIMIT, NULL), 0);
    coir_watchdog_stop();
    CHECK_EQ(setenv("COIR_WATCHDOG_MS", "20", 1), 0);
    CHECK(coir_hub_get() != NULL);
    CHECK_EQ(coir_watchdog_start(LIMIT, NULL), COIR_EBUSY);
    /* Neither its thread nor its handler hides a deadlock. */
    capture_begin();
    CHECK_EQ(coir_event_wait(&never, COIR_FOREVER), COIR_EDEADLK);
    capture_end();
    coir_watchdog_stop();
    CHECK_EQ(coir_hub_fini(), 0);
}

TEST(look, watchdog_is_not_in_a_child)
{
    if (COIR_TEST_TSAN)
        SKIP("TSan lets no child start a thread");
    CHECK_EQ(coir_watchdog_start(LIMIT, &to_seen), 0);
    CHECK(coir_hub_get() != NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (coir_watchdog_start(LIMIT, &to_seen) != 0)
            _exit(1);
        run_hogger("child");
        coir_watchdog_stop();
        _exit(atomic_load(&s.blocked) == 1 && s.block.tid == getpid() ? 0 : 2);
    }
    int status = 1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    coir_watchdog_stop();
    CHECK_EQ(coir_hub_fini(), 0);
}
