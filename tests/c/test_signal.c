/* test_signal.c - signals and child processes in the event loop. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop_helper.h"

static int calls;

static void
note(coir_loop *loop, coir_signal *w, int revents)
{
    (void)loop;
    CHECK_EQ(revents, COIR_SIGNAL);
    calls++;
    if (w->data != NULL)
        trace(w->data);
}

static void
start(coir_loop *loop, coir_signal *w, int signum)
{
    coir_signal_init(w, note, signum);
    w->data = NULL;
    CHECK_EQ(coir_signal_start(loop, w), 0);
}

static void
until(coir_loop *loop, int n)
{
    while (calls < n)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
}

TEST_EACH_BACKEND(signal, raised)
{
    coir_loop *loop = backend_loop(backend);
    coir_signal w;
    start(loop, &w, SIGUSR1);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(calls, 0);
    until(loop, 1);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    until(loop, 2);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(calls, 2); /* several may be one */
    coir_signal_stop(loop, &w);
    struct sigaction action;
    CHECK_EQ(sigaction(SIGUSR1, NULL, &action), 0);
    CHECK_EQ((intptr_t)action.sa_handler, (intptr_t)SIG_DFL);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(signal, several_watchers_and_signals)
{
    coir_loop *loop = backend_loop(backend);
    coir_signal a, b, c;
    start(loop, &a, SIGUSR1);
    start(loop, &b, SIGUSR1);
    start(loop, &c, SIGUSR2);
    CHECK_EQ(raise(SIGUSR1), 0);
    until(loop, 2);
    coir_signal_stop(loop, &a);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(raise(SIGUSR2), 0);
    until(loop, 4);
    CHECK_EQ(calls, 4);
    coir_signal_stop(loop, &b);
    coir_signal_stop(loop, &c);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(signal, by_descriptor)
{
    coir_loop *loop;
    int err = coir__loop_new_with(&loop, COIR_LOOP_NOENV | COIR_LOOP_SIGNALFD,
                                  backend, &coir__clock_system);
    if (err == COIR_ENOSYS)
        SKIP(coir_loop_error());
    CHECK_EQ(err, 0);
    coir_signal a, b;
    start(loop, &a, SIGUSR1);
    start(loop, &b, SIGUSR2);
    CHECK(loop->signal_fd >= 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    until(loop, 1);
    coir_signal_stop(loop, &a);
    CHECK_EQ(raise(SIGUSR2), 0);
    until(loop, 2);
    coir_signal_stop(loop, &b);
    sigset_t blocked;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    CHECK(!sigismember(&blocked, SIGUSR1));
    CHECK(!sigismember(&blocked, SIGUSR2));
    coir_loop_free(loop);
}

TEST(signal, belongs_to_one_loop)
{
    coir_loop *one = backend_loop(&coir__backend_poll);
    coir_loop *other = backend_loop(&coir__backend_poll);
    coir_signal a, b;
    start(one, &a, SIGUSR1);
    coir_signal_init(&b, note, SIGUSR1);
    CHECK_EQ(coir_signal_start(other, &b), COIR_EBUSY);
    CHECK(!coir_is_active(&b));
    coir_signal_stop(one, &a);
    CHECK_EQ(coir_signal_start(other, &b), 0);
    coir_signal_stop(other, &b);
    coir_loop_free(one);
    coir_loop_free(other);
}

TEST(signal, what_makes_no_sense_is_refused)
{
    coir_loop *loop = backend_loop(&coir__backend_poll);
    static const int bad[] = {0, -1, 10000, SIGKILL};
    for (int i = 0; i < 4; i++) {
        coir_signal w;
        coir_signal_init(&w, note, bad[i]);
        CHECK_EQ(coir_signal_start(loop, &w), COIR_EINVAL);
        CHECK(!coir_is_active(&w));
    }
    coir_feed_signal(0);
    coir_feed_signal(10000);
    coir_feed_signal(SIGUSR1); /* nobody watches it */
    coir_loop_free(loop);
}

TEST(signal, fed)
{
    coir_loop *loop = backend_loop(&coir__backend_poll);
    coir_signal w;
    start(loop, &w, SIGUSR1);
    coir_feed_signal(SIGUSR1);
    until(loop, 1);
    coir_feed_signal_event(loop, SIGUSR1);
    CHECK(coir_is_pending(&w));
    coir_loop_invoke_pending(loop);
    CHECK_EQ(calls, 2);
    coir_signal_stop(loop, &w);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(signal, not_lost_when_its_watcher_is_started_again)
{
    coir_loop *loop = backend_loop(backend);
    coir_signal w;
    start(loop, &w, SIGUSR1);
    CHECK_EQ(raise(SIGUSR1), 0);
    coir_signal_stop(loop, &w);
    start(loop, &w, SIGUSR1);
    until(loop, 1);
    /* But one that nobody watched for when the loop looked is. */
    CHECK_EQ(raise(SIGUSR1), 0);
    coir_signal_stop(loop, &w);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    start(loop, &w, SIGUSR1);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(calls, 1);
    coir_signal_stop(loop, &w);
    coir_loop_free(loop);
}

TEST(signal, blocked_one_is_let_through)
{
    coir_loop *loop = backend_loop(&coir__backend_poll);
    sigset_t set;
    CHECK_EQ(sigemptyset(&set), 0);
    CHECK_EQ(sigaddset(&set, SIGUSR1), 0);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    coir_signal w;
    start(loop, &w, SIGUSR1);
    CHECK_EQ(raise(SIGUSR1), 0);
    until(loop, 1);
    coir_signal_stop(loop, &w);
    coir_loop_free(loop);
}

/* It came for a watcher that is gone; what came since does not revive it. */
TEST(signal, one_that_nobody_wanted_is_forgotten)
{
    coir_loop *loop = backend_loop(&coir__backend_poll);
    coir_signal w, x;
    start(loop, &w, SIGUSR1);
    start(loop, &x, SIGUSR2);
    CHECK_EQ(raise(SIGUSR1), 0);
    coir_signal_stop(loop, &w);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(raise(SIGUSR2), 0);
    start(loop, &w, SIGUSR1);
    until(loop, 1);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(calls, 1);
    coir_signal_stop(loop, &w);
    coir_signal_stop(loop, &x);
    coir_loop_free(loop);
}

TEST(signal, loop_that_goes_lets_go_of_its_signals)
{
    coir_loop *loop = backend_loop(&coir__backend_poll);
    coir_signal w, x;
    start(loop, &w, SIGUSR1);
    coir_loop_free(loop);
    struct sigaction action;
    CHECK_EQ(sigaction(SIGUSR1, NULL, &action), 0);
    CHECK_EQ((intptr_t)action.sa_handler, (intptr_t)SIG_DFL);
    loop = backend_loop(&coir__backend_poll);
    start(loop, &x, SIGUSR1);
    coir_signal_stop(loop, &x);
    coir_loop_free(loop);
}

/* --- children ------------------------------------------------------------ */

static int ended;
static int last_pid, last_status;

static void
child_changed(coir_loop *loop, coir_child *w, int revents)
{
    (void)loop;
    CHECK_EQ(revents, COIR_CHILD);
    ended++;
    last_pid = w->rpid;
    last_status = w->rstatus;
}

static coir_loop *
default_loop(unsigned flags)
{
    coir_loop *loop = coir_loop_default(COIR_LOOP_NOENV | flags);
    if (loop == NULL)
        SKIP(coir_loop_error());
    return loop;
}

static pid_t
child(int status)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(status);
    CHECK(pid > 0);
    return pid;
}

static void
until_ended(coir_loop *loop, int n)
{
    while (ended < n)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
}

TEST(child, its_end_is_told)
{
    coir_loop *loop = default_loop(0);
    pid_t pid = child(7);
    coir_child w;
    coir_child_init(&w, child_changed, pid, 0);
    CHECK_EQ(coir_child_start(loop, &w), 0);
    until_ended(loop, 1);
    CHECK_EQ(last_pid, pid);
    CHECK(WIFEXITED(last_status));
    CHECK_EQ(WEXITSTATUS(last_status), 7);
    coir_child_stop(loop, &w);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

TEST(child, any_of_many)
{
    coir_loop *loop = default_loop(0);
    coir_child any, one;
    coir_child_init(&any, child_changed, 0, 0);
    CHECK_EQ(coir_child_start(loop, &any), 0);
    pid_t pids[20];
    for (int i = 0; i < 20; i++)
        pids[i] = child(i);
    coir_child_init(&one, child_changed, pids[7], 0);
    CHECK_EQ(coir_child_start(loop, &one), 0);
    until_ended(loop, 21);
    CHECK_EQ(one.rpid, pids[7]);
    CHECK_EQ(WEXITSTATUS(one.rstatus), 7);
    coir_child_stop(loop, &any);
    coir_child_stop(loop, &one);
    coir_loop_free(loop);
}

TEST(child, stops_are_told_to_who_traces)
{
    coir_loop *loop = default_loop(0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)raise(SIGSTOP);
        _exit(0);
    }
    coir_child traced, plain;
    coir_child_init(&traced, child_changed, pid, 1);
    coir_child_init(&plain, child_changed, pid, 0);
    CHECK_EQ(coir_child_start(loop, &traced), 0);
    CHECK_EQ(coir_child_start(loop, &plain), 0);
    until_ended(loop, 1);
    CHECK(WIFSTOPPED(last_status));
    CHECK_EQ(plain.pending, 0);
    CHECK_EQ(kill(pid, SIGCONT), 0);
    while (!WIFEXITED(last_status))
        until_ended(loop, ended + 1);
    coir_child_stop(loop, &traced);
    coir_child_stop(loop, &plain);
    coir_loop_free(loop);
}

TEST(child, only_in_the_default_loop)
{
    coir_loop *loop = backend_loop(&coir__backend_poll);
    coir_child w;
    coir_child_init(&w, child_changed, 1, 0);
    CHECK_EQ(coir_child_start(loop, &w), COIR_EINVAL);
    coir_loop_free(loop);
    loop = default_loop(0);
    coir_child_init(&w, child_changed, -5, 0);
    CHECK_EQ(coir_child_start(loop, &w), COIR_EINVAL);
    coir_loop_free(loop);
}
