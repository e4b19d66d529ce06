/* fork.c - the hub in the child of a fork.
 *
 * A handler of fork() takes the hub from its thread (coir__hub), which costs
 * nothing that is not done anyway: who finds none asks coir__hub_back(), and
 * gets it back in order. All that is of other threads can be left as it is.
 *
 * One green thread lives on: the one that runs, or, if the hub itself does,
 * main. So nobody else waits, or can be waited for. What the others wait for
 * is told so by `leave`, as by a cancel; a queue of coir/sync.h, which may be
 * locked by a thread that is not here, knows by itself (see sync/waitq.c).
 * Their stacks go back to the pool as they are. Control blocks stay where
 * somebody may still ask about them. */
#include "hub/internal.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

/* Of this thread: not put in order yet. */
static COIR__THREAD_LOCAL coir_hub *forked;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
in_child(void)
{
    if (coir__hub != NULL) {
        forked = coir__hub;
        forked->forks++; /* as coir__forks */
    }
    coir__hub = NULL;
}

static void
watch(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

void
coir__hub_watch_forks(void)
{
    (void)pthread_once(&once, watch);
}

/* It will never run again. */
static void
drop(coir_hub *hub, coir_green *g)
{
    coir_timer_stop(hub->loop, &g->timer);
    coir__forget_locals(g);
    coir__scope_forget(g);
    coir__scopes_give_up(g);
    g->what = "";
    g->joiner = NULL;
    g->deadlines = NULL;
    g->state = COIR_GREEN_ENDED;
    g->result = COIR_ECANCELED;
    if (g == &hub->first) {
        g->disposed = g->detached = 1; /* its stack is the thread's */
        return;
    }
    hub->alive--;
    /* One that did not run yet may have the coroutine of one that ended. */
    if (!g->kept && coir_coro_fini(&g->coro) < 0)
        coir__coro_abandon(&g->coro);
    if (g->detached)
        coir__dispose(hub, g);
}

/* In the place of main, which is not counted. */
static void
make_main(coir_hub *hub, coir_green *g)
{
    coir__scope_forget(g);
    g->detached = 1;
    hub->main = g;
    hub->alive--;
    hub->greens--;
}

/* Take `g` out of what it waits for, which is told the same way as when it is
 * cancelled. That may wake others. */
static void
end_wait(coir_green *g)
{
    if (g->state == COIR_GREEN_WAITING && g->leave != NULL)
        (void)g->leave(g);
}

/* The hub itself has forked, in a callback: main goes on. */
static void
resume_main(coir_hub *hub)
{
    coir_green *g = hub->main;
    int result =
        g->state == COIR_GREEN_READY ? g->wake_result : COIR_ECANCELED;
    g->state = COIR_GREEN_WAITING;
    coir__ready(hub, g, result);
}

static void
put_in_order(coir_hub *hub)
{
    coir_green *self = hub->current != NULL ? hub->current : hub->main;
    /* Whatever else was sent concerns those who are dropped. */
    atomic_store(&hub->inbox, NULL);
    atomic_store(&hub->calls, NULL);
    atomic_store(&hub->senders, 0);
    for (coir_green *g = hub->all; g != NULL; g = g->next)
        end_wait(g);
    for (coir_green *g = hub->all; g != NULL; g = g->next) {
        int was_sent = atomic_exchange(&g->cancel_sent, 0);
        if (g->disposed) {
            if (was_sent)
                coir__dispose(hub, g); /* which waited for it */
        }
        else if (g != self && g->state != COIR_GREEN_ENDED)
            drop(hub, g);
    }
    hub->ready = NULL;
    hub->ready_tail = &hub->ready;
    hub->main_waits_for_all = 0;
    self->joiner = NULL;
    if (self != hub->main)
        make_main(hub, self);
    if (hub->current == NULL)
        resume_main(hub);
}

coir_hub *
coir__hub_back(void)
{
    coir_hub *hub = forked;
    if (hub == NULL)
        return NULL;
    forked = NULL;
    coir__hub = hub;
    put_in_order(hub);
    return hub;
}

int
coir_hub_fork(void)
{
    pid_t pid = fork();
    if (pid < 0)
        return COIR_ERRNO(errno);
    if (pid == 0)
        (void)coir__hub_if_any();
    return (int)pid;
}
