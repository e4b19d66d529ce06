/* signal.c - signals.
 *
 * The handler of a signal notes it in a table and wakes the loop, whose
 * watchers are called later. With COIR_LOOP_SIGNALFD the signals are blocked
 * and read from a descriptor instead. The table is of the process: a signal
 * belongs to the loop that watches it. Only that loop's thread changes its
 * entry; handlers read it at any time, in any thread. */
#include "loop/internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define SIGNALS (NSIG - 1)

typedef struct signal_entry {
    atomic_int pending;
    coir_loop *_Atomic loop; /* NULL: nobody watches it */
    coir_signal *head;
    const coir_loop *last; /* that watched it; only to be compared */
} signal_entry;

static signal_entry table[SIGNALS];

static signal_entry *
entry(int signum)
{
    return signum > 0 && signum <= SIGNALS ? &table[signum - 1] : NULL;
}

/* --- coming in ----------------------------------------------------------- */

void
coir_feed_signal(int signum)
{
    signal_entry *e = entry(signum);
    coir_loop *loop = e != NULL ? atomic_load(&e->loop) : NULL;
    if (loop == NULL)
        return;
    atomic_store(&e->pending, 1);
    atomic_store(&loop->signal_pending, 1);
    coir_loop_wakeup(loop);
}

void
coir_feed_signal_event(coir_loop *loop, int signum)
{
    signal_entry *e = entry(signum);
    if (e == NULL || atomic_load(&e->loop) != loop)
        return;
    atomic_store(&e->pending, 0);
    for (coir_signal *w = e->head; w != NULL; w = w->next)
        coir__feed(loop, (coir_watcher *)w, COIR_SIGNAL);
}

void
coir__signals_collect(coir_loop *loop)
{
    for (int signum = SIGNALS; signum > 0; signum--) {
        signal_entry *e = entry(signum);
        if (!atomic_load(&e->pending))
            continue;
        const coir_loop *owner = atomic_load(&e->loop);
        if (owner == loop)
            coir_feed_signal_event(loop, signum);
        else if (owner == NULL && e->last == loop) {
            /* Nobody wants it any more, or just now somebody does again. */
            atomic_store(&e->pending, 0);
            if (atomic_load(&e->loop) != NULL)
                coir_feed_signal(signum);
        }
    }
}

static void
read_signals(coir_loop *loop, coir_io *w, int revents)
{
    coir__io_retry(loop, w, revents);
    struct signalfd_siginfo info[4];
    ssize_t n;
    do {
        n = read(w->fd, info, sizeof info);
        for (ssize_t i = 0; i < n / (ssize_t)sizeof *info; i++)
            coir_feed_signal_event(loop, (int)info[i].ssi_signo);
    } while (n == (ssize_t)sizeof info);
}

/* --- handlers and the descriptor ----------------------------------------- */

static void
mask(int how, int signum)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, signum);
    (void)pthread_sigmask(how, &set, NULL);
}

/* Returns whether the signal comes by the descriptor now. */
static int
add_to_descriptor(coir_loop *loop, int signum)
{
    if (!(loop->flags & COIR_LOOP_SIGNALFD))
        return 0;
    if (loop->signal_fd < 0)
        (void)sigemptyset(&loop->signal_set);
    (void)sigaddset(&loop->signal_set, signum);
    int fd = signalfd(loop->signal_fd, &loop->signal_set,
                      SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        goto fail;
    if (loop->signal_fd < 0) {
        coir_io_init(&loop->signal_io, read_signals, fd, COIR_READ);
        loop->signal_io.priority = COIR_MAXPRI;
        if (coir__io_start_own(loop, &loop->signal_io) < 0) {
            (void)close(fd);
            goto fail;
        }
        loop->signal_fd = fd;
    }
    mask(SIG_BLOCK, signum);
    return 1;

fail: /* a handler does as well */
    (void)sigdelset(&loop->signal_set, signum);
    return 0;
}

static int
is_by_descriptor(const coir_loop *loop, int signum)
{
    return loop->signal_fd >= 0 && sigismember(&loop->signal_set, signum) == 1;
}

static int
listen_to(coir_loop *loop, int signum)
{
    if (add_to_descriptor(loop, signum))
        return 0;
    struct sigaction action = {.sa_handler = coir_feed_signal,
                               .sa_flags = SA_RESTART};
    (void)sigfillset(&action.sa_mask);
    if (sigaction(signum, &action, NULL) < 0)
        return COIR_EINVAL; /* SIGKILL, and those of the C library */
    if (!(loop->flags & COIR_LOOP_NOSIGMASK))
        mask(SIG_UNBLOCK, signum);
    return 0;
}

static void
listen_no_more(coir_loop *loop, int signum)
{
    if (is_by_descriptor(loop, signum)) {
        (void)sigdelset(&loop->signal_set, signum);
        (void)signalfd(loop->signal_fd, &loop->signal_set, 0);
        mask(SIG_UNBLOCK, signum);
        return;
    }
    (void)signal(signum, SIG_DFL);
}

/* --- the watcher --------------------------------------------------------- */

int
coir_signal_start(coir_loop *loop, coir_signal *w)
{
    if (coir_is_active(w))
        return 0;
    signal_entry *e = entry(w->signum);
    if (e == NULL)
        return COIR_EINVAL;
    coir_loop *owner = atomic_load(&e->loop);
    if (owner != NULL && owner != loop)
        return COIR_EBUSY;
    if (owner == NULL) {
        /* One that came long ago is forgotten; but not one that came since
         * this loop last looked, before its watcher was stopped. */
        if (e->last != loop || !atomic_load(&loop->signal_pending))
            atomic_store(&e->pending, 0);
        e->last = loop;
        atomic_store(&e->loop, loop); /* the handler may run at once */
        int err = listen_to(loop, w->signum);
        if (err < 0) {
            atomic_store(&e->loop, NULL);
            return err;
        }
    }
    coir__clamp_priority((coir_watcher *)w);
    w->next = e->head;
    e->head = w;
    w->active = 1;
    loop->active++;
    return 0;
}

void
coir_signal_stop(coir_loop *loop, coir_signal *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return;
    signal_entry *e = entry(w->signum);
    assert(e != NULL && atomic_load(&e->loop) == loop);
    coir_signal **at = &e->head;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    w->active = 0;
    loop->active--;
    if (e->head == NULL) {
        listen_no_more(loop, w->signum);
        atomic_store(&e->loop, NULL);
    }
}

void
coir__signals_fini(coir_loop *loop)
{
    for (int signum = 1; signum <= SIGNALS; signum++) {
        signal_entry *e = entry(signum);
        if (atomic_load(&e->loop) == loop) {
            listen_no_more(loop, signum);
            e->head = NULL;
            atomic_store(&e->loop, NULL);
        }
        if (e->last == loop)
            e->last = NULL; /* another one may come to this address */
    }
    if (loop->signal_fd >= 0) {
        coir__io_stop_own(loop, &loop->signal_io);
        (void)close(loop->signal_fd);
        loop->signal_fd = -1;
    }
}

void
coir__signals_walk(coir_loop *loop,
                   void (*cb)(coir_loop *loop, int type, void *w))
{
    for (int signum = 1; signum <= SIGNALS; signum++) {
        signal_entry *e = entry(signum);
        if (atomic_load(&e->loop) != loop)
            continue;
        for (coir_signal *w = e->head, *next; w != NULL; w = next) {
            next = w->next;
            if (!(w->active & COIR__OWN))
                cb(loop, COIR_SIGNAL, w);
        }
    }
}
