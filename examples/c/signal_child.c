/* signal_child.c - signals and child processes as events.
 *
 * A child tells that it is there by a signal, and is told to end by another
 * one; then a second child ends by itself. The callbacks are called from the
 * loop like any others, not from signal handlers: they may do anything. */
#include <coir.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static coir_child child;

static void on_end(coir_loop *loop, coir_child *w, int revents);

/* Start body() in a process of its own and wait for its end. */
static void
spawn(coir_loop *loop, void (*body)(void))
{
    pid_t pid = fork();
    if (pid < 0)
        exit(1);
    if (pid == 0) {
        body();
        _exit(7);
    }
    coir_child_init(&child, on_end, pid, 0);
    if (coir_child_start(loop, &child) < 0)
        exit(1);
}

static void
report_and_wait(void)
{
    kill(getppid(), SIGUSR1);
    for (;;)
        pause();
}

static void
do_nothing(void)
{
}

static void
on_report(coir_loop *loop, coir_signal *w, int revents)
{
    printf("the child is there\n");
    kill(child.pid, SIGTERM);
    coir_signal_stop(loop, w);
}

static void
on_end(coir_loop *loop, coir_child *w, int revents)
{
    coir_child_stop(loop, w); /* it is not stopped by itself */
    if (WIFSIGNALED(w->rstatus)) {
        printf("it was ended by signal %d\n", WTERMSIG(w->rstatus));
        fflush(stdout); /* not to be printed by the child as well */
        spawn(loop, do_nothing);
    }
    else
        printf("the second one returned %d\n", WEXITSTATUS(w->rstatus));
}

int
main(void)
{
    coir_loop *loop = coir_loop_default(0); /* the one for children */
    coir_signal report;
    coir_signal_init(&report, on_report, SIGUSR1);
    if (loop == NULL || coir_signal_start(loop, &report) < 0)
        return 1;
    spawn(loop, report_and_wait);
    coir_loop_run(loop, 0);
    coir_loop_free(loop);
    return 0;
}
