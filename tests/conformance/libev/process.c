/* process.c - ev_signal, ev_child, ev_fork, ev_cleanup. */
#include "case.h"

/* --- ev_signal ----------------------------------------------------------- */

CASE(ev_signal_init)
{
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGTERM);
    say("SIGTERM %d, active %d, pending %d, priority %d", w.signum == SIGTERM,
        ev_is_active(&w), ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_signal_set)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGTERM);
    NAME(&w, "w");
    ev_signal_set(&w, SIGUSR2);
    ev_signal_start(EV_A_ &w);
    (void)raise(SIGUSR2);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_signal_start)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "w");
    ev_signal_start(EV_A_ &w);
    say("active %d", !!ev_is_active(&w));
    for (int i = 0; i < 3; i++) {
        (void)raise(SIGUSR1);
        ev_run(EV_A_ EVRUN_ONCE);
    }
}

/* The signal's default action is back. */
CASE(ev_signal_stop)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    ev_signal_start(EV_A_ &w);
    struct sigaction action;
    (void)sigaction(SIGUSR1, NULL, &action);
    say("default %d", action.sa_handler == SIG_DFL);
    ev_signal_stop(EV_A_ &w);
    (void)sigaction(SIGUSR1, NULL, &action);
    say("default %d", action.sa_handler == SIG_DFL);
    (void)raise(SIGUSR1);
    say("not reached");
}

CASE(ev_signal_stop_one_of_two)
{
    DEFAULT_LOOP;
    ev_signal a, b;
    ev_signal_init(&a, say_signal, SIGUSR1);
    NAME(&a, "a");
    ev_signal_init(&b, say_signal, SIGUSR1);
    NAME(&b, "b");
    ev_signal_start(EV_A_ &a);
    ev_signal_start(EV_A_ &b);
    (void)raise(SIGUSR1);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_signal_stop(EV_A_ &a);
    (void)raise(SIGUSR1);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_signal_priorities)
{
    DEFAULT_LOOP;
    ev_signal a, b;
    ev_signal_init(&a, say_signal, SIGUSR1);
    NAME(&a, "usr1");
    ev_signal_init(&b, say_signal, SIGUSR2);
    NAME(&b, "usr2");
    ev_set_priority(&b, 1);
    ev_signal_start(EV_A_ &a);
    ev_signal_start(EV_A_ &b);
    (void)raise(SIGUSR1);
    (void)raise(SIGUSR2);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_signal_order)
{
    DEFAULT_LOOP;
    static const int signals[] = {SIGUSR1, SIGHUP, SIGUSR2, SIGTERM};
    static const char *const names[] = {"usr1", "hup", "usr2", "term"};
    static ev_signal w[4];
    for (int i = 0; i < 4; i++) {
        ev_signal_init(&w[i], say_signal, signals[i]);
        NAME(&w[i], names[i]);
        ev_signal_start(EV_A_ &w[i]);
    }
    for (int i = 0; i < 4; i++)
        ev_feed_signal(signals[i]);
    ev_run(EV_A_ EVRUN_ONCE);
}

/* The library's own interest in it is none of the program's business. */
CASE(ev_signal_sigchld)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGCHLD);
    NAME(&w, "chld");
    ev_signal_start(EV_A_ &w);
    (void)raise(SIGCHLD);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_signal_stop(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_signal_started_again)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "w");
    ev_signal_start(EV_A_ &w);
    (void)raise(SIGUSR1);
    ev_signal_stop(EV_A_ &w);
    ev_signal_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* Several that came before the loop looked are one call. */
CASE(ev_signal_coalesced)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "w");
    ev_signal_start(EV_A_ &w);
    for (int i = 0; i < 5; i++)
        (void)raise(SIGUSR1);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

ON(signal, break_loop)
{
    say("ends");
    ev_break(EV_A_ EVBREAK_ALL);
}

CASE(ev_signal_ends_wait)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_timer timer;
    ev_signal_init(&w, break_loop, SIGUSR1);
    ev_signal_start(EV_A_ &w);
    ev_timer_init(&timer, give_up, 10, 0);
    ev_timer_start(EV_A_ &timer);
    pid_t parent = getpid();
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        ev_sleep(0.03);
        (void)kill(parent, SIGUSR1);
        _exit(0);
    }
    ev_run(EV_A_ 0);
    need(waitpid(pid, NULL, 0) == pid || errno == ECHILD, "waitpid");
}

/* System calls are restarted. */
CASE(ev_signal_restarts)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    ev_signal_start(EV_A_ &w);
    struct sigaction action;
    (void)sigaction(SIGUSR1, NULL, &action);
    say("SA_RESTART %d", !!(action.sa_flags & SA_RESTART));
}

static int
is_blocked(int signum)
{
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, signum);
}

static void
block(int signum)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, signum);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

CASE(ev_signal_unblocks)
{
    DEFAULT_LOOP;
    block(SIGUSR1);
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    ev_signal_start(EV_A_ &w);
    say("blocked %d", is_blocked(SIGUSR1));
}

#if EV_MULTIPLICITY
CASE(EVFLAG_NOSIGMASK)
{
    struct ev_loop *loop = loop_with(EVFLAG_NOSIGMASK);
    block(SIGUSR1);
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    ev_signal_start(loop, &w);
    say("blocked %d", is_blocked(SIGUSR1));
}

CASE(EVFLAG_SIGNALFD)
{
    struct ev_loop *loop = loop_with(EVFLAG_SIGNALFD);
    ev_signal a, b;
    ev_signal_init(&a, say_signal, SIGUSR1);
    NAME(&a, "usr1");
    ev_signal_init(&b, say_signal, SIGUSR2);
    NAME(&b, "usr2");
    ev_set_priority(&b, 1);
    ev_signal_start(loop, &a);
    ev_signal_start(loop, &b);
    say("blocked %d %d", is_blocked(SIGUSR1), is_blocked(SIGUSR2));
    (void)raise(SIGUSR1);
    (void)raise(SIGUSR2);
    ev_run(loop, EVRUN_ONCE);
    ev_signal_stop(loop, &a);
    ev_signal_stop(loop, &b);
    say("blocked %d %d", is_blocked(SIGUSR1), is_blocked(SIGUSR2));
}

CASE(ev_signal_in_another_loop)
{
    struct ev_loop *loop = ev_loop_new(0);
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "w");
    ev_signal_start(loop, &w);
    (void)raise(SIGUSR1);
    ev_run(loop, EVRUN_ONCE);
    ev_signal_stop(loop, &w);
    ev_loop_destroy(loop);
}

/* Free for another loop once it is stopped in the first. */
CASE(ev_signal_from_loop_to_loop)
{
    struct ev_loop *first = ev_default_loop(0);
    struct ev_loop *second = ev_loop_new(0);
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "w");
    ev_signal_start(first, &w);
    (void)raise(SIGUSR1);
    ev_run(first, EVRUN_ONCE);
    ev_signal_stop(first, &w);
    ev_signal_start(second, &w);
    (void)raise(SIGUSR1);
    ev_run(second, EVRUN_ONCE);
}

/* Not allowed: a signal belongs to one loop. */
CASE(ev_signal_in_two_loops)
{
    struct ev_loop *first = ev_default_loop(0);
    struct ev_loop *second = ev_loop_new(0);
    ev_signal a, b;
    ev_signal_init(&a, say_signal, SIGUSR1);
    NAME(&a, "a");
    ev_signal_init(&b, say_signal, SIGUSR1);
    NAME(&b, "b");
    ev_signal_start(first, &a);
    ev_signal_start(second, &b);
    ev_run(second, EVRUN_NOWAIT);
    say("active %d", !!ev_is_active(&b));
}
#endif

/* --- ev_child ------------------------------------------------------------ */

ON(child, say_status)
{
    ev_child_stop(EV_A_ w);
    say("%s: %s, the right pid %d", (const char *)w->data, names_of(revents),
        w->pid == 0 || w->rpid == w->pid);
    if (WIFEXITED(w->rstatus))
        say("exited with %d", WEXITSTATUS(w->rstatus));
    else if (WIFSIGNALED(w->rstatus))
        say("killed by %d", WTERMSIG(w->rstatus));
}

static pid_t
child_with_status(int status)
{
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0)
        _exit(status);
    return pid;
}

CASE(ev_child_init)
{
    ev_child w;
    ev_child_init(&w, say_child, 1234, 1);
    say("pid %d, active %d, pending %d, priority %d", w.pid, ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_child_set)
{
    DEFAULT_LOOP;
    ev_child w;
    ev_child_init(&w, say_status, 1, 1);
    NAME(&w, "w");
    pid_t pid = child_with_status(3);
    ev_child_set(&w, pid, 0);
    say("pid %d", w.pid == pid);
    ev_child_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

CASE(ev_child_start)
{
    DEFAULT_LOOP;
    ev_child w;
    ev_child_init(&w, say_status, child_with_status(7), 0);
    NAME(&w, "w");
    ev_child_start(EV_A_ &w);
    say("active %d", !!ev_is_active(&w));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_child_killed)
{
    DEFAULT_LOOP;
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0)
        for (;;)
            (void)pause();
    ev_child w;
    ev_child_init(&w, say_status, pid, 0);
    NAME(&w, "w");
    ev_child_start(EV_A_ &w);
    (void)kill(pid, SIGKILL);
    ev_run(EV_A_ 0);
}

/* pid 0: any child. */
CASE(ev_child_any)
{
    DEFAULT_LOOP;
    ev_child w;
    ev_child_init(&w, say_status, 0, 0);
    NAME(&w, "any");
    pid_t pid = child_with_status(4);
    ev_child_start(EV_A_ &w);
    ev_run(EV_A_ 0);
    say("rpid %d", w.rpid == pid);
}

CASE(ev_child_and_any)
{
    DEFAULT_LOOP;
    ev_child any, one;
    ev_child_init(&any, say_status, 0, 0);
    NAME(&any, "any");
    ev_child_init(&one, say_status, child_with_status(5), 0);
    NAME(&one, "one");
    ev_child_start(EV_A_ &any);
    ev_child_start(EV_A_ &one);
    ev_run(EV_A_ 0);
}

static int statuses;

ON(child, sum_up)
{
    ev_child_stop(EV_A_ w);
    statuses += WEXITSTATUS(w->rstatus);
}

CASE(ev_child_several)
{
    DEFAULT_LOOP;
    static ev_child w[10];
    for (int i = 0; i < 10; i++) {
        ev_child_init(&w[i], sum_up, child_with_status(i), 0);
        ev_child_start(EV_A_ &w[i]);
    }
    say("runs on %d", ev_run(EV_A_ 0));
    say("%d", statuses);
}

/* One that ended before its watcher was started is not lost. */
CASE(ev_child_ended_before)
{
    DEFAULT_LOOP;
    pid_t pid = child_with_status(6);
    siginfo_t info;
    need(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0, "waitid");
    ev_child w;
    ev_child_init(&w, say_status, pid, 0);
    NAME(&w, "w");
    ev_child_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

ON(child, say_trace)
{
    if (WIFSTOPPED(w->rstatus)) {
        say("stopped");
        (void)kill(w->rpid, SIGCONT);
    }
    else if (WIFCONTINUED(w->rstatus)) {
        say("continued");
        (void)kill(w->rpid, SIGKILL);
    }
    else {
        say("ended");
        ev_child_stop(EV_A_ w);
    }
}

CASE(ev_child_trace)
{
    DEFAULT_LOOP;
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0)
        for (;;)
            (void)pause();
    ev_child w;
    ev_child_init(&w, say_trace, pid, 1);
    ev_child_start(EV_A_ &w);
    (void)kill(pid, SIGSTOP);
    ev_run(EV_A_ 0);
}

ON(timer, wake_child)
{
    pid_t pid = *(pid_t *)w->data;
    (void)kill(pid, SIGCONT);
    (void)kill(pid, SIGKILL);
}

CASE(ev_child_without_trace)
{
    DEFAULT_LOOP;
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0)
        for (;;)
            (void)pause();
    ev_child w;
    ev_timer timer;
    ev_child_init(&w, say_trace, pid, 0);
    ev_child_start(EV_A_ &w);
    ev_timer_init(&timer, wake_child, 0.05, 0);
    timer.data = &pid;
    ev_timer_start(EV_A_ &timer);
    (void)kill(pid, SIGSTOP);
    ev_run(EV_A_ 0);
}

CASE(ev_child_stop)
{
    DEFAULT_LOOP;
    ev_child w;
    ev_timer timer;
    ev_child_init(&w, say_child, child_with_status(0), 0);
    ev_child_start(EV_A_ &w);
    ev_child_stop(EV_A_ &w);
    ev_timer_init(&timer, say_timer, 0.05, 0);
    NAME(&timer, "timer");
    ev_timer_start(EV_A_ &timer);
    say("runs on %d", ev_run(EV_A_ 0));
}

/* Every child is reaped, watched or not. */
CASE(ev_child_reaps_all)
{
    DEFAULT_LOOP;
    pid_t other = child_with_status(1);
    ev_child w;
    ev_timer timer;
    ev_child_init(&w, say_status, child_with_status(2), 0);
    NAME(&w, "w");
    ev_child_start(EV_A_ &w);
    ev_timer_init(&timer, say_timer, 0.05, 0);
    NAME(&timer, "timer");
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ 0);
    say("%d", waitpid(other, NULL, WNOHANG) < 0 && errno == ECHILD);
}

#if EV_MULTIPLICITY
/* Not allowed: children are the default loop's. */
CASE(ev_child_in_another_loop)
{
    (void)ev_default_loop(0);
    struct ev_loop *loop = ev_loop_new(0);
    ev_child w;
    ev_child_init(&w, say_child, 0, 0);
    NAME(&w, "w");
    ev_child_start(loop, &w);
    ev_run(loop, EVRUN_NOWAIT);
    say("active %d", !!ev_is_active(&w));
}
#endif

/* --- ev_fork ------------------------------------------------------------- */

CASE(ev_fork_init)
{
    ev_fork w;
    ev_fork_init(&w, say_fork);
    ev_fork_set(&w);
    say("active %d, pending %d, priority %d", ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

static void
run_forked(EV_P)
{
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        ev_loop_fork(EV_A);
        ev_run(EV_A_ EVRUN_NOWAIT);
        say("in the child");
        _exit(0);
    }
    need(waitpid(pid, NULL, 0) == pid, "waitpid");
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("in the parent");
}

CASE(ev_fork_start)
{
    DEFAULT_LOOP;
    ev_fork w;
    ev_fork_init(&w, say_fork);
    NAME(&w, "fork");
    ev_fork_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    run_forked(EV_A);
}

CASE(ev_fork_stop)
{
    DEFAULT_LOOP;
    ev_fork w;
    ev_fork_init(&w, say_fork);
    ev_fork_start(EV_A_ &w);
    ev_fork_stop(EV_A_ &w);
    run_forked(EV_A);
}

/* Before the prepare watchers of that turn. */
CASE(ev_fork_before_prepare)
{
    DEFAULT_LOOP;
    ev_fork w;
    ev_prepare prepare;
    ev_fork_init(&w, say_fork);
    NAME(&w, "fork");
    ev_prepare_init(&prepare, say_prepare);
    NAME(&prepare, "prepare");
    ev_prepare_start(EV_A_ &prepare);
    ev_fork_start(EV_A_ &w);
    run_forked(EV_A);
}

/* All of a loop works on in the child. */
CASE(ev_fork_all_watchers)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io io;
    ev_timer timer;
    ev_signal sig;
    ev_async async;
    ev_io_init(&io, say_io, fds[0], EV_READ);
    NAME(&io, "io");
    ev_timer_init(&timer, say_timer, 0.01, 0);
    NAME(&timer, "timer");
    ev_signal_init(&sig, say_signal, SIGUSR1);
    NAME(&sig, "signal");
    ev_async_init(&async, say_async);
    NAME(&async, "async");
    ev_io_start(EV_A_ &io);
    ev_timer_start(EV_A_ &timer);
    ev_signal_start(EV_A_ &sig);
    ev_async_start(EV_A_ &async);
    ev_run(EV_A_ EVRUN_NOWAIT);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        ev_loop_fork(EV_A);
        while (ev_is_active(&timer)) /* a turn may see inner events alone */
            ev_run(EV_A_ EVRUN_ONCE);
        (void)raise(SIGUSR1);
        ev_run(EV_A_ EVRUN_ONCE);
        ev_async_send(EV_A_ &async);
        ev_run(EV_A_ EVRUN_ONCE);
        put(fds[1], "x");
        ev_run(EV_A_ EVRUN_ONCE);
        _exit(0);
    }
    need(waitpid(pid, NULL, 0) == pid, "waitpid");
    ev_io_stop(EV_A_ &io); /* it has something to read here, too */
    say("the parent");
    while (ev_is_active(&timer))
        ev_run(EV_A_ EVRUN_ONCE);
}

/* --- ev_cleanup ---------------------------------------------------------- */

CASE(ev_cleanup_init)
{
    ev_cleanup w;
    ev_cleanup_init(&w, say_cleanup);
    ev_cleanup_set(&w);
    say("active %d, pending %d, priority %d", ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_cleanup_start)
{
    DEFAULT_LOOP;
    ev_cleanup low, high;
    ev_cleanup_init(&low, say_cleanup);
    NAME(&low, "low");
    ev_set_priority(&low, -1);
    ev_cleanup_init(&high, say_cleanup);
    NAME(&high, "high");
    ev_set_priority(&high, 1);
    ev_cleanup_start(EV_A_ &low);
    ev_cleanup_start(EV_A_ &high);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("destroy");
    ev_loop_destroy(EV_A);
    say("destroyed");
}

/* It does not keep the loop running. */
CASE(ev_cleanup_start_does_not_count)
{
    DEFAULT_LOOP;
    ev_cleanup w;
    ev_cleanup_init(&w, say_cleanup);
    NAME(&w, "cleanup");
    ev_cleanup_start(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_cleanup_stop)
{
    DEFAULT_LOOP;
    ev_cleanup w;
    ev_cleanup_init(&w, say_cleanup);
    ev_cleanup_start(EV_A_ &w);
    ev_cleanup_stop(EV_A_ &w);
    ev_loop_destroy(EV_A);
    say("destroyed");
}

/* Other watchers may still be stopped in the callback. */
static ev_timer victim;

ON(cleanup, stop_victim)
{
    say("active %d", !!ev_is_active(&victim));
    ev_timer_stop(EV_A_ &victim);
    say("active %d", !!ev_is_active(&victim));
}

CASE(ev_cleanup_stops_others)
{
    DEFAULT_LOOP;
    ev_cleanup w;
    ev_cleanup_init(&w, stop_victim);
    ev_cleanup_start(EV_A_ &w);
    ev_timer_init(&victim, say_timer, 5, 0);
    ev_timer_start(EV_A_ &victim);
    ev_loop_destroy(EV_A);
}
