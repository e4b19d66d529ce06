/* child.c - child processes.
 *
 * The default loop watches SIGCHLD from its beginning, and reaps every child
 * of the process: one that ends before somebody starts a watcher for it, in
 * the same turn, is not missed. One child is reaped per call, so that a
 * watcher of any child has been called before its rpid and rstatus are
 * overwritten; as libev does it, child watchers get the highest priority for
 * that. */
#include "loop/internal.h"

#include <errno.h>
#include <sys/wait.h>

#define BUCKETS 16

/* Of the default loop, the only one. */
static coir_signal sigchld;
static coir_child *children[BUCKETS];

coir__child_fn *_Atomic coir__child_reaped;

static coir_child **
bucket(int pid)
{
    return &children[(unsigned)pid % BUCKETS];
}

static void
tell(coir_loop *loop, coir_child *list, int pid, int status)
{
    int traced = WIFSTOPPED(status) || WIFCONTINUED(status);
    for (coir_child *w = list; w != NULL; w = w->next) {
        if ((w->pid != pid && w->pid != 0) || (traced && !(w->trace & 1)))
            continue;
        if (!w->pending) /* else it must stay on its stack */
            w->priority = COIR_MAXPRI;
        w->rpid = pid;
        w->rstatus = status;
        coir__feed(loop, (coir_watcher *)w, COIR_CHILD);
    }
}

static void
reap(coir_loop *loop, coir_signal *w, int revents)
{
    (void)revents;
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED);
    if (pid <= 0)
        return;
    coir__child_fn *reaped = atomic_load(&coir__child_reaped);
    if (reaped != NULL)
        reaped(pid, status);
    /* First ourselves, for the next child: those fed now come before. */
    coir__feed(loop, (coir_watcher *)w, COIR_SIGNAL);
    tell(loop, *bucket(pid), pid, status);
    if (bucket(pid) != bucket(0))
        tell(loop, *bucket(0), pid, status);
}

int
coir__children_init(coir_loop *loop)
{
    coir_signal_init(&sigchld, reap, SIGCHLD);
    sigchld.priority = COIR_MAXPRI;
    int err = coir_signal_start(loop, &sigchld);
    if (err == COIR_EBUSY)
        return 0; /* another loop watches it: no children for this one */
    if (err < 0)
        return err;
    sigchld.active |= COIR__OWN;
    loop->active--;
    return 0;
}

void
coir__children_fini(coir_loop *loop)
{
    if (coir_is_active(&sigchld)) {
        loop->active++;
        coir_signal_stop(loop, &sigchld);
    }
    for (int i = 0; i < BUCKETS; i++)
        children[i] = NULL;
}

int
coir_child_start(coir_loop *loop, coir_child *w)
{
    if (coir_is_active(w))
        return 0;
    if (!coir_loop_is_default(loop) || w->pid < 0)
        return COIR_EINVAL;
    coir__clamp_priority((coir_watcher *)w);
    w->next = *bucket(w->pid);
    *bucket(w->pid) = w;
    w->active = 1;
    loop->active++;
    return 0;
}

void
coir_child_stop(coir_loop *loop, coir_child *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return;
    coir_child **at = bucket(w->pid);
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    w->active = 0;
    loop->active--;
}

void
coir__children_walk(coir_loop *loop,
                    void (*cb)(coir_loop *loop, int type, void *w))
{
    for (int i = 0; i < BUCKETS; i++)
        for (coir_child *w = children[i], *next; w != NULL; w = next) {
            next = w->next;
            cb(loop, COIR_CHILD, w);
        }
}
