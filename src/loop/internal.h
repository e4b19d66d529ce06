/* internal.h - what the files of the loop share. */
#ifndef COIR__LOOP_INTERNAL_H
#define COIR__LOOP_INTERNAL_H

#include <coir/op.h>

#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/platform.h"
#include "loop/backend.h"

#define COIR__PRIORITIES (COIR_MAXPRI - COIR_MINPRI + 1)

/* In `active` of timers, periodics and stats: those of coir/ev.h, whose times
 * are doubles in seconds in the same places. */
#define COIR__SECONDS 0x40000000
/* In `active` of watchers that the loop runs for itself. */
#define COIR__OWN 0x20000000

/* In `active` of a coir_edge, which stands in the list of a descriptor among
 * coir_io watchers. */
#define COIR__EDGE 0x10000000
/* In `registered` of a descriptor: edge-triggered, for both directions. */
#define COIR__REGISTERED_EDGE 0x40
/* Among events that a backend reports: an end, an error or urgent data has
 * come, too. One read that falls short says nothing then, and there need not
 * be another event: in `ready` of a coir_edge, to be tried once more. */
#define COIR__ONCE_MORE 0x20
/* In `ready` of a coir_edge: an audit found that its number is not, or not
 * any more, that of its file. */
#define COIR__NOT_OURS 0x10
/* In `ready` of a coir_edge: it always is. */
#define COIR__ALWAYS 0x40

/* --- pieces of a loop ---------------------------------------------------- */

/* What is known of one descriptor number. */
typedef struct coir__fd {
    coir_io *head;       /* its watchers */
    uint32_t generation; /* of its registration; stale events have another */
    int next_change;     /* in the list of changed ones; -1 ends it */
    uint8_t registered;  /* events the backend watches for */
    uint8_t changed;     /* 0, or enum coir__fd_change */
    uint8_t always;      /* cannot be watched, is always ready: a file */
    uint8_t kept;        /* registered, but nobody waits for it */
} coir__fd;

/* Kernel objects are to be made anew. */
enum coir__reset {
    COIR__RESET_STALE = 1, /* since the backend reports what is gone */
    COIR__RESET_FORK = 2   /* in a child; fork watchers are to be called */
};

enum coir__fd_change {
    COIR__FD_CHANGED = 1, /* in the list */
    COIR__FD_RENEW = 2,   /* and may be another file */
    COIR__FD_DROP = 4     /* and is not to be kept */
};

/* Watchers of one type; `active` is the index + 1. */
typedef struct coir__array {
    coir_watcher **items;
    int count;
    int size;
} coir__array;

/* One in the heap of periodics; `active` is the index + 1, and flags. */
typedef struct coir__periodic_entry {
    int64_t at;
    coir_periodic *w;
} coir__periodic_entry;

/* `state` of an operation: see op.c. */
enum coir__op_state {
    COIR__OP_IDLE,
    COIR__OP_KERNEL,
    COIR__OP_WAITING,
    COIR__OP_DONE
};

typedef struct coir__op_place {
    coir_op *op; /* NULL: free */
    uint32_t generation;
    unsigned next_free;
    int fresh; /* started in a child before the loop ran there */
} coir__op_place;

/* In `next` of buffers: not in the list, and its end. */
enum { COIR__BUFFER_USED = -2, COIR__BUFFER_LAST = -1 };

struct coir_buffers {
    coir_loop *loop;
    coir_buffers *next_group;
    unsigned count;
    size_t size; /* of each */
    char *memory;
    int *next;    /* by buffer */
    int free;     /* head of the list of free ones */
    int group;    /* the backend's name for it */
    void *kernel; /* the backend's, if the kernel chooses the buffers */
};

typedef struct coir__timers coir__timers; /* timer.c */

struct coir_loop {
    int64_t now;  /* monotonic, of this turn */
    int64_t wall; /* the same moment on the wall clock */
    int active;   /* watchers that keep it running */
    int depth;
    int done; /* enum coir_break_how */
    unsigned iteration;

    /* Stacks: what is fed last is called first, as in libev. */
    coir_watcher *pending[COIR__PRIORITIES];
    unsigned pending_mask; /* bit: that stack may be other than empty */
    unsigned pending_count;

    coir__fd *fds;
    int fd_count;       /* length of fds */
    int fd_changes;     /* head of the list, -1 if empty */
    int fd_changes_end; /* its last one, if there is one */
    int fd_drop;        /* some are registrations not to be kept */
    int fd_audit;       /* the next one to audit */
    int fd_dirty;       /* how many to audit until all have been */
    int64_t fd_audited; /* when that was done last */
    int *always;        /* those that are always ready */
    int always_count;
    int always_size;
    const coir__backend *backend;
    void *backend_data;

    coir__timers *timers;
    coir__periodic_entry *periodics; /* a heap, see periodic.c */
    int periodic_count;
    int periodic_size;

    coir__array prepares, checks, forks, cleanups, asyncs, embeds;
    coir__array idles[COIR__PRIORITIES];
    int idle_count;

    coir__op_place *ops; /* operations in progress */
    unsigned op_size;
    unsigned op_free; /* head of the list of free places */
    coir_op *op_done; /* with results to be delivered */
    coir_op **op_done_tail;
    coir_watcher op_watcher;
    coir_buffers *buffers;

    coir_stat *stats;
    int inotify_fd; /* -1: none, -2: not tried yet */
    coir_io inotify_io;

    /* Wake-ups: see async.c. */
    atomic_int wake_wanted;  /* it blocks, or is about to */
    atomic_int wake_pending; /* and is to look at the next two */
    atomic_int async_pending;
    atomic_int signal_pending;
    int wake_fd; /* eventfd, -1: none yet */
    coir_io wake_io;
    int signal_fd;       /* -1: none */
    sigset_t signal_set; /* that come by it */
    coir_io signal_io;
    int timer_fd; /* tells of jumps of the wall clock; -1: none */
    coir_io timer_io;

    unsigned flags;
    int reset; /* enum coir__reset */
    int pid;
    unsigned forks_seen;  /* of coir__forks, base/fork.h */
    unsigned resets;      /* so far: the backend's descriptor is another */
    int64_t wall_offset;  /* wall clock - monotonic */
    int64_t wall_checked; /* monotonic: when the wall clock was read */
    int64_t io_collect;
    int64_t timer_collect;
    int64_t timer_slack;
    int64_t timer_exact;   /* with a shorter timeout there is no slack */
    unsigned timer_budget; /* are called in a turn at most */
    int bare_callbacks; /* of ev.h without EV_MULTIPLICITY: no loop argument */
    void (*invoke_pending)(coir_loop *loop);
    void (*release)(coir_loop *loop);
    void (*acquire)(coir_loop *loop);
    void *user;
    coir__clock clock;
};

/* --- loop.c -------------------------------------------------------------- */

extern coir_loop *coir__default_loop;

/* A system call failed for a reason that may pass: see coir_set_syserr(). */
void coir__syserr(const char *call);

/* Sets loop->reset if this is a new process. */
void coir__check_fork(coir_loop *loop);

/* For coir_loop_verify(): print it and abort. */
_Noreturn void coir__damaged(const char *what);

/* For coir_loop_error(). */
void coir__loop_explain(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

static inline int
coir__priority_index(const coir_watcher *w)
{
    return w->priority - COIR_MINPRI;
}

/* `pending` of a watcher that waits to be called: whose callback it has. */
enum coir__pending { COIR__PENDING = 1, COIR__PENDING_OWN = 2 };

static inline int
coir__pending_kind(const coir_watcher *w)
{
    return w->active & COIR__OWN ? COIR__PENDING_OWN : COIR__PENDING;
}

static inline void
coir__feed(coir_loop *loop, coir_watcher *w, int revents)
{
    if (w->pending) {
        w->revents |= revents;
        return;
    }
    int p = coir__priority_index(w);
    coir_watcher *top = loop->pending[p];
    w->pending = coir__pending_kind(w);
    w->revents = revents;
    w->pending_next = top;
    w->pending_at = &loop->pending[p];
    if (top != NULL)
        top->pending_at = &w->pending_next;
    loop->pending[p] = w;
    loop->pending_mask |= 1U << p;
    loop->pending_count++;
}

/* Take it off its stack, if it is on one; returns its events. */
static inline int
coir__unfeed(coir_loop *loop, coir_watcher *w)
{
    if (!w->pending)
        return 0;
    w->pending = 0;
    *w->pending_at = w->pending_next;
    if (w->pending_next != NULL)
        w->pending_next->pending_at = w->pending_at;
    loop->pending_count--;
    return w->revents;
}

/* For a batch that is to be called in the order in which it is fed. Put
 * onto the stacks, before anything else is fed, by coir__batch_feed(). */
typedef struct coir__batch {
    coir_watcher *head[COIR__PRIORITIES];
    coir_watcher **tail[COIR__PRIORITIES];
    unsigned count;
} coir__batch;

void coir__batch_init(coir__batch *batch);
void coir__batch_add(coir__batch *batch, coir_watcher *w, int revents);
void coir__batch_feed(coir_loop *loop, coir__batch *batch);

static inline void
coir__clamp_priority(coir_watcher *w)
{
    if (w->priority < COIR_MINPRI)
        w->priority = COIR_MINPRI;
    else if (w->priority > COIR_MAXPRI)
        w->priority = COIR_MAXPRI;
}

/* Arrays. add() clamps the priority, sets `active`, counts it for the loop. */
int coir__array_add(coir_loop *loop, coir__array *array, coir_watcher *w);
void coir__array_remove(coir_loop *loop, coir__array *array, coir_watcher *w);

/* Read the clocks; `slept` is how long at most has passed, for the detection
 * of jumps. Reschedules periodics if the wall clock jumped. */
void coir__time_update(coir_loop *loop);

/* Around the system call that blocks, in a backend. */
static inline void
coir__release(coir_loop *loop)
{
    if (coir__unlikely(loop->release != NULL))
        loop->release(loop);
}

static inline void
coir__acquire(coir_loop *loop)
{
    if (coir__unlikely(loop->acquire != NULL))
        loop->acquire(loop);
}

/* --- io.c ---------------------------------------------------------------- */

/* From a backend: this registration is ready for events. One that is stale
 * asks for a reset. */
void coir__io_ready(coir_loop *loop, int fd, uint32_t generation, int events);

/* Bring what the backend watches up to date with the watchers. */
void coir__io_apply(coir_loop *loop);
/* After a reset of the backend: nothing is registered. */
void coir__io_forget(coir_loop *loop);
/* Look whether registrations still hold: as many as are due by now. */
void coir__io_audit(coir_loop *loop, int idle);
/* Callbacks ran, and may have closed descriptors: all are to be audited. */
static inline void
coir__io_suspect(coir_loop *loop)
{
    loop->fd_dirty = loop->fd_count;
}
/* Feed the watchers of descriptors that are always ready. */
void coir__io_always(coir_loop *loop);
void coir__io_fini(coir_loop *loop);
void coir__io_verify(coir_loop *loop);
/* Stop all watchers of a descriptor and tell them COIR_ERROR. */
void coir__io_kill(coir_loop *loop, int fd);

/* An io watcher of the loop itself: does not count as active. */
int coir__io_start_own(coir_loop *loop, coir_io *w);
void coir__io_stop_own(coir_loop *loop, coir_io *w);
/* For callbacks of the loop's own descriptors, which nobody closes: if this
 * one could not be watched, for want of memory, it is tried again. */
static inline void
coir__io_retry(coir_loop *loop, coir_io *w, int revents)
{
    if (coir__unlikely(revents & COIR_ERROR))
        (void)coir__io_start_own(loop, w);
}

/* close() of a number that loops of other threads may be about to register:
 * they come to know by themselves when it means another file. ThreadSanitizer,
 * which looks at close(), would call it a race. */
static inline int
coir__close_watched(int fd)
{
    return (int)syscall(SYS_close, fd);
}

/* The next start of a watcher of this descriptor cannot fail. */
int coir__io_reserve(coir_loop *loop, int fd);

/* --- op.c ---------------------------------------------------------------- */

void coir__ops_init(coir_loop *loop);
/* Waits until the kernel is done with all of them. */
void coir__ops_fini(coir_loop *loop);
void coir__ops_forked(coir_loop *loop);
void coir__ops_verify(const coir_loop *loop);
/* Any whose memory the kernel may write to? */
int coir__ops_in_kernel(const coir_loop *loop);
/* The backend was reset. */
void coir__buffers_reset(coir_loop *loop);
/* Deliver what is done. */
void coir__ops_feed(coir_loop *loop);
/* From a backend: a result of the operation of this name; `buffer` is the
 * index of the one that was chosen, or -1. Returns 0 if the operation cannot
 * take it before its last one was delivered: to be told again next turn. */
int coir__op_done(coir_loop *loop, unsigned index, uint32_t generation,
                  int result, unsigned flags, int buffer);

/* --- timer.c ------------------------------------------------------------- */

int coir__timers_init(coir_loop *loop); /* makes loop->timers */
void coir__timers_fini(coir_loop *loop);
/* flags: COIR__SECONDS, COIR__OWN. */
void coir__timer_start(coir_loop *loop, coir_timer *w, int flags);
void coir__timer_again(coir_loop *loop, coir_timer *w, int flags);
/* Until when to wait: the first deadline, or a time before it, at which more
 * is known; COIR_FOREVER if there are none. */
int64_t coir__timers_next(coir_loop *loop);
/* The same for the wait itself, which may take longer by the slack. */
int64_t coir__timers_wake(coir_loop *loop);
/* Feed those whose deadline is not later than loop->now, in its order, as many
 * as are called in a turn; re-arm repeating ones. */
void coir__timers_expire(coir_loop *loop);
/* All deadlines are later by so much. */
void coir__timers_shift(coir_loop *loop, int64_t delta_ns);
void coir__timers_walk(coir_loop *loop,
                       void (*cb)(coir_loop *loop, coir_timer *w, void *arg),
                       void *arg);
void coir__timers_verify(coir_loop *loop);

/* --- periodic.c ---------------------------------------------------------- */

int coir__periodic_start(coir_loop *loop, coir_periodic *w, int flags);
int64_t coir__periodics_next(const coir_loop *loop); /* on the loop's clock */
void coir__periodics_expire(coir_loop *loop);
void coir__periodics_reschedule(coir_loop *loop); /* the wall clock jumped */
void coir__periodics_fini(coir_loop *loop);
void coir__periodics_verify(coir_loop *loop);
void coir__periodics_walk(coir_loop *loop,
                          void (*cb)(coir_loop *loop, int type, void *w));

/* --- async.c, signal.c, child.c, stat.c, embed.c ------------------------- */

/* The eventfd that ends a wait, and its watcher. 0, or COIR_ENOMEM. */
int coir__wake_init(coir_loop *loop);
void coir__wake_fini(coir_loop *loop);
void coir__signals_collect(coir_loop *loop);

/* The loop goes: take its signals from it. And its child watchers. */
void coir__signals_fini(coir_loop *loop);
/* The default loop reaps from the start. 0 or COIR_ENOMEM. */
int coir__children_init(coir_loop *loop);
void coir__children_fini(coir_loop *loop);
/* Told of every child whose status the default loop has got; or NULL. */
typedef void coir__child_fn(int pid, int status);
extern coir__child_fn *_Atomic coir__child_reaped;
void coir__stats_fini(coir_loop *loop);
int coir__stat_start(coir_loop *loop, coir_stat *w, int flags);

/* In the child after a fork, once the backend was reset. */
void coir__wake_forked(coir_loop *loop);
void coir__stats_forked(coir_loop *loop);
void coir__periodics_forked(coir_loop *loop);

/* For coir_loop_walk(). */
void coir__signals_walk(coir_loop *loop,
                        void (*cb)(coir_loop *loop, int type, void *w));
void coir__children_walk(coir_loop *loop,
                         void (*cb)(coir_loop *loop, int type, void *w));

/* --- seconds of coir/ev.h ------------------------------------------------ */

/* Rounded up, so that nothing is early; cut off at the ends of the range. */
int64_t coir__from_seconds(double seconds);
double coir__to_seconds(int64_t ns);

#endif
