/* coir/loop.h - event loop.
 *
 * A loop waits for descriptors, time, signals and the like, and calls the
 * callbacks of watchers. A watcher is a structure of the caller's:
 *
 *     static void
 *     readable(coir_loop *loop, coir_io *w, int revents)
 *     {
 *         ... read(w->fd, ...) ...
 *     }
 *
 *     coir_io w;
 *     coir_io_init(&w, readable, fd, COIR_READ);
 *     coir_io_start(loop, &w);
 *     coir_loop_run(loop, 0);
 *
 * Semantics are those of libev 4.33, whose API on the same loops is in
 * coir/ev.h; here times are integers in nanoseconds and errors are returned.
 *
 * Owner:   the caller owns every watcher. While it is active or pending its
 *          memory must stay, and only what is marked [rw] may be changed. Once
 *          X_stop() has returned the loop knows nothing of it.
 * Threads: a loop belongs to the thread that runs it. Only coir_async_send(),
 *          coir_async_pending(), coir_feed_signal() and coir_loop_wakeup() may
 *          be called from other threads, and from signal handlers.
 * Blocks:  coir_loop_run() alone. Nothing here switches coroutines; a callback
 *          that does must not run the loop it was called by in another one.
 * Errors:  functions that return int give 0 or a COIR_E* error, unless said
 *          otherwise, and change nothing on failure. */
#ifndef COIR_LOOP_H
#define COIR_LOOP_H

#include <coir/base.h>

#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_loop coir_loop;

/* Times are in nanoseconds: of the loop's clock, which is monotonic, or, where
 * it says "wall clock", since 1970-01-01 UTC. */
#define COIR_NS_PER_S INT64_C(1000000000)
#define COIR_NS_PER_MS INT64_C(1000000)
/* As a timeout: never. Deadlines are cut off there. */
#define COIR_FOREVER INT64_MAX

/* What a watcher waits for, and what it is told; values are libev's. */
enum coir_events {
    COIR_NONE = 0,
    COIR_READ = 0x01,   /* reading does not block, or fails */
    COIR_WRITE = 0x02,  /* writing does not block, or fails */
    COIR__FDSET = 0x80, /* set by coir_io_init(): fd may be another file */
    COIR_TIMER = 0x0100,
    COIR_PERIODIC = 0x0200,
    COIR_SIGNAL = 0x0400,
    COIR_CHILD = 0x0800,
    COIR_STAT = 0x1000,
    COIR_IDLE = 0x2000,
    COIR_PREPARE = 0x4000,
    COIR_CHECK = 0x8000,
    COIR_EMBED = 0x010000,
    COIR_FORK = 0x020000,
    COIR_CLEANUP = 0x040000,
    COIR_ASYNC = 0x080000,
    COIR_CUSTOM = 0x01000000,    /* never sent by a loop itself */
    COIR_ERROR = (int)0x80000000 /* the watcher was stopped: its
                                    descriptor is closed, or memory ran
                                    out */
};

/* Of the watchers that are pending, those of higher priority are called
 * first; an idle watcher waits until no other of its priority is pending. */
#define COIR_MINPRI (-2)
#define COIR_MAXPRI 2

/* --- watchers ------------------------------------------------------------ */

/* What all watchers begin with. `data` is the caller's [rw]; `priority` and
 * `cb` may be set while the watcher is neither active nor pending. */
#define COIR_WATCHER(type)                                                    \
    void *data;                                                               \
    void (*cb)(coir_loop * loop, struct type * w, int revents);               \
    struct coir_watcher *pending_next;                                        \
    struct coir_watcher **pending_at;                                         \
    int priority;                                                             \
    int revents;                                                              \
    int active;                                                               \
    int pending;

/* Watchers of coir/ev.h lie in the same memory under other types. */
#define COIR_WATCHER_ATTR __attribute__((may_alias))

typedef struct coir_watcher {
    COIR_WATCHER(coir_watcher)
} COIR_WATCHER_ATTR coir_watcher;

/* Descriptor: called as long as it is ready. A regular file is always. */
typedef struct coir_io {
    COIR_WATCHER(coir_io)
    struct coir_io *next;
    int fd;     /* [ro] */
    int events; /* [ro] COIR_READ | COIR_WRITE */
} COIR_WATCHER_ATTR coir_io;

/* Descriptor of which the caller alone knows all reads and writes: registered
 * once for its life, and edge-triggered where the backend can, so that waiting
 * for it costs no system call. The caller tries first, and waits after EAGAIN,
 * or after a read or write that fell short. Called once per wait. */
typedef struct coir_edge {
    COIR_WATCHER(coir_edge)
    struct coir_io *next;
    int fd;     /* [ro] */
    int events; /* [ro] waited for */
    int ready;  /* became ready while nobody waited for it */
} COIR_WATCHER_ATTR coir_edge;

/* Timer: after some time, then again at intervals. Never early, up to 1 ms
 * late (coir_loop_set_timer_slack()); in the order of their deadlines, those
 * with the same in that in which they were started. 1,024 are called in a
 * turn. */
typedef struct coir_timer {
    COIR_WATCHER(coir_timer)
    int64_t timeout_ns; /* until the first call; after a stop: what was left */
    int64_t repeat_ns;  /* [rw] 0: once */
    struct coir_timer *next;
    struct coir_timer *child;
    struct coir_timer **at;
    int64_t filed_ns;
    int64_t deadline_ns;
    uint64_t sequence;
} COIR_WATCHER_ATTR coir_timer;

/* Wall clock: at offset + n * interval, at `offset` once if the interval is 0,
 * or when `reschedule` says; follows jumps of the clock. */
typedef struct coir_periodic {
    COIR_WATCHER(coir_periodic)
    int64_t at_ns;       /* [ro] when it is to be called next */
    int64_t offset_ns;   /* [rw] */
    int64_t interval_ns; /* [rw] */
    /* [rw] Gives the next time, later than now_ns. May neither stop, start
     * nor free any periodic watcher. */
    int64_t (*reschedule)(struct coir_periodic *w, int64_t now_ns);
} COIR_WATCHER_ATTR coir_periodic;

/* Signal: called in the loop some time after it came; several may be one. A
 * signal can be watched in one loop at a time. */
typedef struct coir_signal {
    COIR_WATCHER(coir_signal)
    struct coir_signal *next;
    int signum; /* [ro] */
} COIR_WATCHER_ATTR coir_signal;

/* Child process: its end, with `trace` also stops and continuations. In the
 * default loop only, which reaps all children of the process. */
typedef struct coir_child {
    COIR_WATCHER(coir_child)
    struct coir_child *next;
    int trace;
    int pid;     /* [ro] 0: any */
    int rpid;    /* [rw] whose status it is */
    int rstatus; /* [rw] as from waitpid() */
} COIR_WATCHER_ATTR coir_child;

/* File: the result of lstat() on a path changed. Looked at when inotify says
 * so and every `interval_ns`. */
typedef struct coir_stat {
    COIR_WATCHER(coir_stat)
    struct coir_stat *next;
    coir_timer timer;
    int64_t interval_ns; /* [ro] 0: about 5 s; at least 0.1 s */
    const char *path;    /* [ro] not copied */
    struct stat prev;    /* [ro] */
    struct stat attr;    /* [ro] st_nlink 0: does not exist */
    int wd;
} COIR_WATCHER_ATTR coir_stat;

/* Called in each turn in which nothing of its priority or above is pending;
 * the loop does not block while there is one. */
typedef struct coir_idle {
    COIR_WATCHER(coir_idle)
} COIR_WATCHER_ATTR coir_idle;

/* Called in each turn, the last before the loop blocks ... */
typedef struct coir_prepare {
    COIR_WATCHER(coir_prepare)
} COIR_WATCHER_ATTR coir_prepare;

/* ... and the first, of its priority, after. */
typedef struct coir_check {
    COIR_WATCHER(coir_check)
} COIR_WATCHER_ATTR coir_check;

/* Called in the child, before anything else, after a fork was detected. */
typedef struct coir_fork {
    COIR_WATCHER(coir_fork)
} COIR_WATCHER_ATTR coir_fork;

/* Called by coir_loop_free(). It does not keep the loop running. */
typedef struct coir_cleanup {
    COIR_WATCHER(coir_cleanup)
} COIR_WATCHER_ATTR coir_cleanup;

/* Another loop inside this one. `cb` may be NULL: then it is swept when it has
 * events; else that is what the callback is to do. */
typedef struct coir_embed {
    COIR_WATCHER(coir_embed)
    coir_loop *other; /* [ro] */
    coir_io io;
    coir_prepare prepare;
    coir_fork fork;
} COIR_WATCHER_ATTR coir_embed;

/* Wake-up from another thread or a signal handler; several may be one. */
typedef struct coir_async {
    COIR_WATCHER(coir_async)
    int sent;
} COIR_WATCHER_ATTR coir_async;

/* Set all fields but `data`. Not while the watcher is active or pending. */
#define COIR__INIT(w, callback)                                               \
    do {                                                                      \
        (w)->active = 0;                                                      \
        (w)->pending = 0;                                                     \
        (w)->priority = 0;                                                    \
        (w)->cb = (callback);                                                 \
    } while (0)

typedef void coir_io_fn(coir_loop *loop, coir_io *w, int revents);
typedef void coir_edge_fn(coir_loop *loop, coir_edge *w, int revents);
typedef void coir_timer_fn(coir_loop *loop, coir_timer *w, int revents);
typedef void coir_periodic_fn(coir_loop *loop, coir_periodic *w, int revents);
typedef void coir_signal_fn(coir_loop *loop, coir_signal *w, int revents);
typedef void coir_child_fn(coir_loop *loop, coir_child *w, int revents);
typedef void coir_stat_fn(coir_loop *loop, coir_stat *w, int revents);
typedef void coir_idle_fn(coir_loop *loop, coir_idle *w, int revents);
typedef void coir_prepare_fn(coir_loop *loop, coir_prepare *w, int revents);
typedef void coir_check_fn(coir_loop *loop, coir_check *w, int revents);
typedef void coir_fork_fn(coir_loop *loop, coir_fork *w, int revents);
typedef void coir_cleanup_fn(coir_loop *loop, coir_cleanup *w, int revents);
typedef void coir_embed_fn(coir_loop *loop, coir_embed *w, int revents);
typedef void coir_async_fn(coir_loop *loop, coir_async *w, int revents);

static inline void
coir_io_init(coir_io *w, coir_io_fn *cb, int fd, int events)
{
    COIR__INIT(w, cb);
    w->fd = fd;
    w->events = events | COIR__FDSET;
}

static inline void
coir_edge_init(coir_edge *w, coir_edge_fn *cb, int fd)
{
    COIR__INIT(w, cb);
    w->fd = fd;
    w->events = 0;
    w->ready = 0;
}

static inline void
coir_timer_init(coir_timer *w, coir_timer_fn *cb, int64_t timeout_ns,
                int64_t repeat_ns)
{
    COIR__INIT(w, cb);
    w->timeout_ns = timeout_ns;
    w->repeat_ns = repeat_ns;
}

static inline void
coir_periodic_init(coir_periodic *w, coir_periodic_fn *cb, int64_t offset_ns,
                   int64_t interval_ns,
                   int64_t (*reschedule)(coir_periodic *w, int64_t now_ns))
{
    COIR__INIT(w, cb);
    w->offset_ns = offset_ns;
    w->interval_ns = interval_ns;
    w->reschedule = reschedule;
}

static inline void
coir_signal_init(coir_signal *w, coir_signal_fn *cb, int signum)
{
    COIR__INIT(w, cb);
    w->signum = signum;
}

static inline void
coir_child_init(coir_child *w, coir_child_fn *cb, int pid, int trace)
{
    COIR__INIT(w, cb);
    w->pid = pid;
    w->trace = trace;
}

static inline void
coir_stat_init(coir_stat *w, coir_stat_fn *cb, const char *path,
               int64_t interval_ns)
{
    COIR__INIT(w, cb);
    w->path = path;
    w->interval_ns = interval_ns;
    w->wd = -2;
}

static inline void
coir_idle_init(coir_idle *w, coir_idle_fn *cb)
{
    COIR__INIT(w, cb);
}

static inline void
coir_prepare_init(coir_prepare *w, coir_prepare_fn *cb)
{
    COIR__INIT(w, cb);
}

static inline void
coir_check_init(coir_check *w, coir_check_fn *cb)
{
    COIR__INIT(w, cb);
}

static inline void
coir_fork_init(coir_fork *w, coir_fork_fn *cb)
{
    COIR__INIT(w, cb);
}

static inline void
coir_cleanup_init(coir_cleanup *w, coir_cleanup_fn *cb)
{
    COIR__INIT(w, cb);
}

static inline void
coir_embed_init(coir_embed *w, coir_embed_fn *cb, coir_loop *other)
{
    COIR__INIT(w, cb);
    w->other = other;
}

static inline void
coir_async_init(coir_async *w, coir_async_fn *cb)
{
    COIR__INIT(w, cb);
    w->sent = 0;
}

/* For any type of watcher. */
#define coir_is_active(w) ((w)->active != 0)
#define coir_is_pending(w) ((w)->pending != 0)

/* --- starting and stopping ----------------------------------------------- */

/* Starting an active watcher does nothing, nor does stopping one that is not;
 * stopping also takes a pending call back. An active watcher keeps the loop
 * running: see coir_loop_unref().
 *
 * Timers never fail to start. Else to start fails with COIR_ENOMEM, and with
 * COIR_EINVAL if a field makes no sense. A descriptor that cannot be watched
 * is found out by the loop, which then stops its watchers and calls them with
 * COIR_ERROR; so it does when somebody closed it. */
COIR_API int coir_io_start(coir_loop *loop, coir_io *w);
COIR_API void coir_io_stop(coir_loop *loop, coir_io *w);
/* Wait for other events from now on; the watcher may be active. */
COIR_API void coir_io_modify(coir_loop *loop, coir_io *w, int events);

/* From now on `fd` must not be closed but by coir_edge_close(). Nothing is
 * waited for yet, and the loop is not kept running. */
COIR_API int coir_edge_start(coir_loop *loop, coir_edge *w);
/* A call would have blocked: wait for COIR_READ or COIR_WRITE, or both, in
 * addition to what is waited for already. If some of them have become ready
 * meanwhile these are returned, and nothing is added: try again. Else 0, and
 * the callback will come, once for all that is ready by then; until that
 * it keeps the loop running. */
COIR_API int coir_edge_wait(coir_loop *loop, coir_edge *w, int events);
/* Wait for these no more. */
COIR_API void coir_edge_cancel(coir_loop *loop, coir_edge *w, int events);
/* Stop; the descriptor stays open, and may be watched by others. */
COIR_API void coir_edge_stop(coir_loop *loop, coir_edge *w);
/* Stop and close(). Returns what that does, errno set. */
COIR_API int coir_edge_close(coir_loop *loop, coir_edge *w);

COIR_API void coir_timer_start(coir_loop *loop, coir_timer *w);
COIR_API void coir_timer_stop(coir_loop *loop, coir_timer *w);
/* Active and repeating: as if it had fired now, without the call. Active and
 * not repeating: stop. Else, if it repeats: start with its interval. */
COIR_API void coir_timer_again(coir_loop *loop, coir_timer *w);
/* Until it fires, or if not active, `timeout_ns`. */
COIR_API int64_t coir_timer_remaining(coir_loop *loop, const coir_timer *w);
/* When the next timer is due, by coir_clock_monotonic(), or earlier: of one
 * that is far off no more is known. COIR_FOREVER: there are none. */
COIR_API int64_t coir_loop_next_timer(coir_loop *loop);
/* Put the deadline of an active or a new timer off to now + `timeout_ns`. If
 * that is later than the present one nothing but a number is written and the
 * timer is moved when the old deadline comes: cheap for timeouts that are put
 * off with every byte received. */
COIR_API void coir_timer_defer(coir_loop *loop, coir_timer *w,
                               int64_t timeout_ns);

COIR_API int coir_periodic_start(coir_loop *loop, coir_periodic *w);
COIR_API void coir_periodic_stop(coir_loop *loop, coir_periodic *w);
/* Stop and start: to be called when its fields were changed. */
COIR_API int coir_periodic_again(coir_loop *loop, coir_periodic *w);

/* COIR_EBUSY: another loop watches this signal. */
COIR_API int coir_signal_start(coir_loop *loop, coir_signal *w);
COIR_API void coir_signal_stop(coir_loop *loop, coir_signal *w);

/* COIR_EINVAL: not the default loop. */
COIR_API int coir_child_start(coir_loop *loop, coir_child *w);
COIR_API void coir_child_stop(coir_loop *loop, coir_child *w);

COIR_API int coir_stat_start(coir_loop *loop, coir_stat *w);
COIR_API void coir_stat_stop(coir_loop *loop, coir_stat *w);
/* Read `attr` now, without a call for what changed. */
COIR_API void coir_stat_stat(coir_loop *loop, coir_stat *w);

COIR_API int coir_idle_start(coir_loop *loop, coir_idle *w);
COIR_API void coir_idle_stop(coir_loop *loop, coir_idle *w);
COIR_API int coir_prepare_start(coir_loop *loop, coir_prepare *w);
COIR_API void coir_prepare_stop(coir_loop *loop, coir_prepare *w);
COIR_API int coir_check_start(coir_loop *loop, coir_check *w);
COIR_API void coir_check_stop(coir_loop *loop, coir_check *w);
COIR_API int coir_fork_start(coir_loop *loop, coir_fork *w);
COIR_API void coir_fork_stop(coir_loop *loop, coir_fork *w);
COIR_API int coir_cleanup_start(coir_loop *loop, coir_cleanup *w);
COIR_API void coir_cleanup_stop(coir_loop *loop, coir_cleanup *w);

/* COIR_EINVAL: `other` has a backend that cannot be embedded. */
COIR_API int coir_embed_start(coir_loop *loop, coir_embed *w);
COIR_API void coir_embed_stop(coir_loop *loop, coir_embed *w);
/* Run the other loop once without blocking. */
COIR_API void coir_embed_sweep(coir_loop *loop, coir_embed *w);

COIR_API int coir_async_start(coir_loop *loop, coir_async *w);
COIR_API void coir_async_stop(coir_loop *loop, coir_async *w);
/* Any thread, signal handlers too. At most one system call, none if the loop
 * does not block or has been woken already. `w` must be active. */
COIR_API void coir_async_send(coir_loop *loop, coir_async *w);
/* Sent, and not called yet? Any thread. */
COIR_API int coir_async_pending(const coir_async *w);

/* --- loops --------------------------------------------------------------- */

/* For coir_loop_new() and coir_loop_default(), or-ed together; values are
 * libev's. Without a backend among them: the best that works. With several:
 * the first that works, the best first. The user decides before the program:
 * LIBEV_FLAGS of the environment (a number) replaces the flags, and the one
 * that COIR_BACKEND names ("epoll", "io_uring", "poll", "select") is tried
 * first. */
enum coir_loop_flags {
    COIR_LOOP_NOENV = 0x01000000,     /* do not look at the environment */
    COIR_LOOP_FORKCHECK = 0x02000000, /* find forks by getpid() in each turn */
    COIR_LOOP_NOINOTIFY = 0x00100000,
    COIR_LOOP_SIGNALFD = 0x00200000,  /* signals by signalfd, thus blocked */
    COIR_LOOP_NOSIGMASK = 0x00400000, /* leave the signal mask alone */
    COIR_LOOP_NOTIMERFD = 0x00800000, /* find clock jumps by looking */

    COIR_BACKEND_SELECT = 0x01,
    COIR_BACKEND_POLL = 0x02,
    COIR_BACKEND_EPOLL = 0x04,
    COIR_BACKEND_IOURING = 0x80,
    COIR_BACKEND_ALL = 0xff
};

/* Backends of this build, of those the good ones here, and those whose loops
 * can be embedded. */
COIR_API unsigned coir_loop_supported(void);
COIR_API unsigned coir_loop_recommended(void);
COIR_API unsigned coir_loop_embeddable(void);

/* Make a loop. COIR_ENOSYS: none of the backends works here; then
 * coir_loop_error() says why. COIR_ENOMEM: memory or descriptors; if those,
 * errno is EMFILE or ENFILE. */
COIR_API int coir_loop_new(coir_loop **out, unsigned flags);

/* The default loop; the first call makes it. NULL: as coir_loop_new(). It
 * belongs to the thread that runs it; to make it is not thread-safe. */
COIR_API coir_loop *coir_loop_default(unsigned flags);
COIR_API int coir_loop_is_default(const coir_loop *loop);

/* Why coir_loop_new() failed last in this thread, or did not take the first
 * backend that was asked for; "" if neither. The string is static. */
COIR_API const char *coir_loop_error(void);

/* Call the cleanup watchers and free it. Other watchers that are active stay
 * so, and must not be stopped any more. Not while it runs. NULL is ignored. */
COIR_API void coir_loop_free(coir_loop *loop);

enum coir_run_flags {
    COIR_RUN_NOWAIT = 1, /* one turn that does not block */
    COIR_RUN_ONCE = 2    /* one turn that blocks, unless something is ready */
};

/* Run until no watcher is active, or coir_loop_break(). May be called again
 * from a callback. Returns how many are active still: not an error. */
COIR_API int coir_loop_run(coir_loop *loop, int flags);

enum coir_break_how {
    COIR_BREAK_CANCEL = 0, /* take a break back */
    COIR_BREAK_ONE = 1,    /* the innermost coir_loop_run() */
    COIR_BREAK_ALL = 2     /* all of them */
};

/* Make coir_loop_run() return once the pending watchers were called. */
COIR_API void coir_loop_break(coir_loop *loop, int how);

/* Is there anything that keeps the loop running? */
COIR_API int coir_loop_is_active(const coir_loop *loop);

/* Count as one active watcher more, or less: unref() after a start keeps that
 * watcher from keeping the loop running; ref() before it is stopped. */
COIR_API void coir_loop_ref(coir_loop *loop);
COIR_API void coir_loop_unref(coir_loop *loop);

/* The loop's time, read once per turn; update it after long work. */
COIR_API int64_t coir_loop_now(const coir_loop *loop);
COIR_API int64_t coir_loop_wall_now(const coir_loop *loop); /* wall clock */
COIR_API void coir_loop_now_update(coir_loop *loop);

/* Keep timers from counting in between, as if no time had passed: around what
 * stops the process for long. Periodic watchers are set anew. */
COIR_API void coir_loop_suspend(coir_loop *loop);
COIR_API void coir_loop_resume(coir_loop *loop);

/* Block in any turn for so long at least, so that events, or timers, come in
 * batches. 0, the default: not. */
COIR_API void coir_loop_set_io_collect(coir_loop *loop, int64_t interval_ns);
COIR_API void coir_loop_set_timer_collect(coir_loop *loop,
                                          int64_t interval_ns);

/* Wake up for timers so much after the first deadline, 1 ms by default, to
 * call those that are due by then together. Those with a timeout of less than
 * 16 times that are exact. For timers started from now on; 0: all are. */
COIR_API void coir_loop_set_timer_slack(coir_loop *loop, int64_t slack_ns);

/* Make kernel objects anew, in the child after a fork; done at the next turn.
 * The watchers stay. May be called at any time, also in the parent. */
COIR_API void coir_loop_fork(coir_loop *loop);

/* Make a loop that blocks return to its callbacks. Any thread. */
COIR_API void coir_loop_wakeup(coir_loop *loop);

COIR_API unsigned coir_loop_backend(const coir_loop *loop); /* a flag */
COIR_API const char *coir_loop_backend_name(const coir_loop *loop);
/* Turns so far; and how many coir_loop_run() are active. */
COIR_API unsigned coir_loop_iteration(const coir_loop *loop);
COIR_API unsigned coir_loop_depth(const coir_loop *loop);
COIR_API unsigned coir_loop_pending_count(const coir_loop *loop);
/* Watchers and references that keep it running. */
COIR_API int coir_loop_active_count(const coir_loop *loop);
/* The descriptor it waits by, which becomes readable when there are events; it
 * stays the loop's. COIR_EINVAL: this backend has none. */
COIR_API int coir_loop_fd(coir_loop *loop);

COIR_API void coir_loop_set_user(coir_loop *loop, void *user);
COIR_API void *coir_loop_user(const coir_loop *loop);

/* Called instead of coir_loop_invoke_pending(), which it is to call, perhaps
 * elsewhere; NULL restores. */
COIR_API void coir_loop_set_invoke_pending(coir_loop *loop,
                                           void (*fn)(coir_loop *loop));
COIR_API void coir_loop_invoke_pending(coir_loop *loop);

/* Called before the loop blocks and after: to give up a lock meanwhile. */
COIR_API void coir_loop_set_release(coir_loop *loop,
                                    void (*release)(coir_loop *loop),
                                    void (*acquire)(coir_loop *loop));

/* Called with the name of a system call that failed for a reason which may
 * pass, errno set; it may wait and return, the call is then tried again.
 * NULL, the default: print it and abort. For all loops. */
COIR_API void coir_set_syserr(void (*fn)(const char *call));

/* Check what the loop knows; abort, with a message, if it is damaged. */
COIR_API void coir_loop_verify(coir_loop *loop);

/* --- events -------------------------------------------------------------- */

/* `w` is any watcher. Make it pending, as if the event had come; if it is
 * already, the events are or-ed. */
COIR_API void coir_feed_event(coir_loop *loop, void *w, int revents);
/* The same to all watchers of a descriptor that wait for one of them. */
COIR_API void coir_feed_fd_event(coir_loop *loop, int fd, int revents);
/* As if the signal had come. Any thread, signal handlers too. */
COIR_API void coir_feed_signal(int signum);
/* The same, now, for this loop's watchers. */
COIR_API void coir_feed_signal_event(coir_loop *loop, int signum);
/* Call it at once. */
COIR_API void coir_invoke(coir_loop *loop, void *w, int revents);
/* Take a pending call back. Returns its events, 0 if not pending. */
COIR_API int coir_clear_pending(coir_loop *loop, void *w);

/* Call `cb` once, when `fd` is ready (-1: none) or `timeout_ns` is over
 * (negative: never). There is no way to take it back. */
COIR_API int coir_once(coir_loop *loop, int fd, int events, int64_t timeout_ns,
                       void (*cb)(int revents, void *arg), void *arg);

/* Call `cb` for the active watchers of the given types, but edges. It may stop
 * the one it is given, and do nothing else with the loop. */
COIR_API void coir_loop_walk(coir_loop *loop, int types,
                             void (*cb)(coir_loop *loop, int type, void *w));

/* Both clocks, now; and sleep, blocking the thread. */
COIR_API int64_t coir_clock_monotonic(void);
COIR_API int64_t coir_clock_wall(void);
COIR_API void coir_clock_sleep(int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif
