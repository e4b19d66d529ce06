/* coir/ev.h - libev's API on Coir's loops.
 *
 * The API of libev 4.33 under its own names, as its manual documents it: a
 * program written for libev includes this file instead of ev.h, links with
 * libcoir instead of libev, and is otherwise left alone. The functions have
 * other names for the linker, so that libev itself may be in the same process.
 *
 * It is a face over coir/loop.h: an ev_loop is a coir_loop, a watcher here
 * lies in the same memory as one there, with its times in seconds. What
 * differs from libev is listed in docs/guide/coming-from-libev.md. */
#ifndef EV_H_
#define EV_H_

#include <signal.h>
#include <sys/stat.h>

#ifdef __cplusplus
#define EV_CPP(x) x
#if __cplusplus >= 201103L
#define EV_NOEXCEPT noexcept
#else
#define EV_NOEXCEPT
#endif
#else
#define EV_CPP(x)
#define EV_NOEXCEPT
#endif
#define EV_THROW EV_NOEXCEPT /* the name before libev 4.25 */
/* Of a callback that is a parameter: of its type since C++17. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define EV__CB_NOEXCEPT noexcept
#else
#define EV__CB_NOEXCEPT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- configuration ------------------------------------------------------- */

/* What libev can be compiled without is always there; the macros that say so
 * are kept for programs that look at them. */
#ifndef EV_FEATURES
#define EV_FEATURES 0x7f
#endif
#define EV_FEATURE_CODE ((EV_FEATURES)&1)
#define EV_FEATURE_DATA ((EV_FEATURES)&2)
#define EV_FEATURE_CONFIG ((EV_FEATURES)&4)
#define EV_FEATURE_API ((EV_FEATURES)&8)
#define EV_FEATURE_WATCHERS ((EV_FEATURES)&16)
#define EV_FEATURE_BACKENDS ((EV_FEATURES)&32)
#define EV_FEATURE_OS ((EV_FEATURES)&64)

#ifndef EV_COMPAT3
#define EV_COMPAT3 1
#endif
#ifndef EV_MULTIPLICITY
#define EV_MULTIPLICITY 1
#endif
#ifndef EV_PROTOTYPES
#define EV_PROTOTYPES 1
#endif
#ifndef EV_MINPRI
#define EV_MINPRI (-2)
#endif
#ifndef EV_MAXPRI
#define EV_MAXPRI 2
#endif
#ifndef EV_PERIODIC_ENABLE
#define EV_PERIODIC_ENABLE 1
#endif
#ifndef EV_STAT_ENABLE
#define EV_STAT_ENABLE 1
#endif
#ifndef EV_PREPARE_ENABLE
#define EV_PREPARE_ENABLE 1
#endif
#ifndef EV_CHECK_ENABLE
#define EV_CHECK_ENABLE 1
#endif
#ifndef EV_IDLE_ENABLE
#define EV_IDLE_ENABLE 1
#endif
#ifndef EV_FORK_ENABLE
#define EV_FORK_ENABLE 1
#endif
#ifndef EV_CLEANUP_ENABLE
#define EV_CLEANUP_ENABLE 1
#endif
#ifndef EV_SIGNAL_ENABLE
#define EV_SIGNAL_ENABLE 1
#endif
#ifndef EV_CHILD_ENABLE
#define EV_CHILD_ENABLE 1
#endif
#ifndef EV_ASYNC_ENABLE
#define EV_ASYNC_ENABLE 1
#endif
#ifndef EV_EMBED_ENABLE
#define EV_EMBED_ENABLE 1
#endif
#ifndef EV_WALK_ENABLE
#define EV_WALK_ENABLE 0
#endif

#ifndef EV_TSTAMP_T
#define EV_TSTAMP_T double
#endif
typedef EV_TSTAMP_T ev_tstamp; /* seconds; the library's are doubles */

#ifndef EV_ATOMIC_T
#define EV_ATOMIC_T sig_atomic_t volatile
#endif

#ifdef EV_COMMON
#error "EV_COMMON cannot be changed: libcoir has laid out the watchers. \
Put a watcher into a structure of your own instead."
#endif
#define EV_COMMON void *data;

#define EV_INLINE static inline
#define EV_API_DECL extern

#define EV_VERSION_MAJOR 4
#define EV_VERSION_MINOR 33

struct ev_loop;

#if EV_MULTIPLICITY
#define EV_P struct ev_loop *loop
#define EV_P_ EV_P,
#define EV_A loop
#define EV_A_ EV_A,
#define EV_DEFAULT_UC ev_default_loop_uc_()
#define EV_DEFAULT_UC_ EV_DEFAULT_UC,
#define EV_DEFAULT ev_default_loop(0)
#define EV_DEFAULT_ EV_DEFAULT,
#else
#define EV_P void
#define EV_P_
#define EV_A
#define EV_A_
#define EV_DEFAULT
#define EV_DEFAULT_
#define EV_DEFAULT_UC
#define EV_DEFAULT_UC_
#endif

/* --- constants ----------------------------------------------------------- */

/* Events: what to wait for, and what a callback is told. */
enum {
    EV_UNDEF = (int)0xFFFFFFFF,
    EV_NONE = 0x00,
    EV_READ = 0x01,
    EV_WRITE = 0x02,
    EV__IOFDSET = 0x80,
    EV_IO = EV_READ,
    EV_TIMER = 0x00000100,
#if EV_COMPAT3
    EV_TIMEOUT = EV_TIMER,
#endif
    EV_PERIODIC = 0x00000200,
    EV_SIGNAL = 0x00000400,
    EV_CHILD = 0x00000800,
    EV_STAT = 0x00001000,
    EV_IDLE = 0x00002000,
    EV_PREPARE = 0x00004000,
    EV_CHECK = 0x00008000,
    EV_EMBED = 0x00010000,
    EV_FORK = 0x00020000,
    EV_CLEANUP = 0x00040000,
    EV_ASYNC = 0x00080000,
    EV_CUSTOM = 0x01000000,
    EV_ERROR = (int)0x80000000
};

/* For ev_default_loop() and ev_loop_new(). */
enum {
    EVFLAG_AUTO = 0x00000000U,
    EVFLAG_NOENV = 0x01000000U,
    EVFLAG_FORKCHECK = 0x02000000U,
    EVFLAG_NOINOTIFY = 0x00100000U,
#if EV_COMPAT3
    EVFLAG_NOSIGFD = 0,
#endif
    EVFLAG_SIGNALFD = 0x00200000U,
    EVFLAG_NOSIGMASK = 0x00400000U,
    EVFLAG_NOTIMERFD = 0x00800000U
};

enum {
    EVBACKEND_SELECT = 0x00000001U,
    EVBACKEND_POLL = 0x00000002U,
    EVBACKEND_EPOLL = 0x00000004U,
    EVBACKEND_KQUEUE = 0x00000008U,   /* never supported */
    EVBACKEND_DEVPOLL = 0x00000010U,  /* never supported */
    EVBACKEND_PORT = 0x00000020U,     /* never supported */
    EVBACKEND_LINUXAIO = 0x00000040U, /* never supported */
    EVBACKEND_IOURING = 0x00000080U,
    EVBACKEND_ALL = 0x000000FFU,
    EVBACKEND_MASK = 0x0000FFFFU
};

enum { EVRUN_NOWAIT = 1, EVRUN_ONCE = 2 };
enum { EVBREAK_CANCEL = 0, EVBREAK_ONE = 1, EVBREAK_ALL = 2 };

/* --- watchers ------------------------------------------------------------ */

#ifndef EV_CB_DECLARE
#define EV_CB_DECLARE(type) void (*cb)(EV_P_ struct type * w, int revents);
#endif
#ifndef EV_CB_INVOKE
#define EV_CB_INVOKE(watcher, revents) (watcher)->cb(EV_A_(watcher), (revents))
#endif
#define EV_CB(type, name) void name(EV_P_ struct ev_##type *w, int revents)

#ifndef EV_DECL_PRIORITY
#define EV_DECL_PRIORITY int priority;
#endif

/* Names that end in an underscore are the library's own. */
#define EV_WATCHER(type)                                                      \
    EV_COMMON                                                                 \
    EV_CB_DECLARE(type)                                                       \
    void *pending_links_[2];                                                  \
    EV_DECL_PRIORITY                                                          \
    int events_pending_;                                                      \
    int active;                                                               \
    int pending;

#define EV_WATCHER_LIST(type)                                                 \
    EV_WATCHER(type)                                                          \
    struct ev_watcher_list *next;

#define EV_WATCHER_TIME(type)                                                 \
    EV_WATCHER(type)                                                          \
    ev_tstamp at;

/* Every watcher may be looked at as one of the first three. */
#define EV__ALIAS __attribute__((may_alias))

typedef struct ev_watcher {
    EV_WATCHER(ev_watcher)
} EV__ALIAS ev_watcher;

typedef struct ev_watcher_list {
    EV_WATCHER_LIST(ev_watcher_list)
} EV__ALIAS ev_watcher_list;

typedef struct ev_watcher_time {
    EV_WATCHER_TIME(ev_watcher_time)
} EV__ALIAS ev_watcher_time;

typedef struct ev_io {
    EV_WATCHER_LIST(ev_io)
    int fd;     /* read-only */
    int events; /* read-only */
} ev_io;

typedef struct ev_timer {
    EV_WATCHER_TIME(ev_timer)
    ev_tstamp repeat;
    void *links_[3];
    long long times_[3];
} ev_timer;

typedef struct ev_periodic {
    EV_WATCHER_TIME(ev_periodic)
    ev_tstamp offset;
    ev_tstamp interval;
    ev_tstamp (*reschedule_cb)(struct ev_periodic *w,
                               ev_tstamp now) EV_NOEXCEPT;
} ev_periodic;

typedef struct ev_signal {
    EV_WATCHER_LIST(ev_signal)
    int signum; /* read-only */
} ev_signal;

typedef struct ev_child {
    EV_WATCHER_LIST(ev_child)
    int flags;
    int pid; /* read-only */
    int rpid;
    int rstatus;
} ev_child;

typedef struct stat ev_statdata;

typedef struct ev_stat {
    EV_WATCHER_LIST(ev_stat)
    ev_timer timer;
    ev_tstamp interval; /* read-only, as are the next three */
    const char *path;
    ev_statdata prev;
    ev_statdata attr; /* st_nlink 0: the file does not exist */
    int wd;
} ev_stat;

typedef struct ev_idle {
    EV_WATCHER(ev_idle)
} ev_idle;

typedef struct ev_prepare {
    EV_WATCHER(ev_prepare)
} ev_prepare;

typedef struct ev_check {
    EV_WATCHER(ev_check)
} ev_check;

typedef struct ev_fork {
    EV_WATCHER(ev_fork)
} ev_fork;

typedef struct ev_cleanup {
    EV_WATCHER(ev_cleanup)
} ev_cleanup;

typedef struct ev_embed {
    EV_WATCHER(ev_embed)
    struct ev_loop *other; /* read-only */
    ev_io io;
    ev_prepare prepare;
    ev_fork fork;
} ev_embed;

typedef struct ev_async {
    EV_WATCHER(ev_async)
    EV_ATOMIC_T sent;
} ev_async;

union ev_any_watcher {
    struct ev_watcher w;
    struct ev_watcher_list wl;
    struct ev_io io;
    struct ev_timer timer;
    struct ev_periodic periodic;
    struct ev_signal signal;
    struct ev_child child;
    struct ev_stat stat;
    struct ev_idle idle;
    struct ev_prepare prepare;
    struct ev_check check;
    struct ev_fork fork;
    struct ev_cleanup cleanup;
    struct ev_embed embed;
    struct ev_async async;
};

/* --- functions ----------------------------------------------------------- */

#if EV_PROTOTYPES

#define EV__SYMBOL(name) __asm__("coir_" #name)

/* Functions without a loop. */
EV_API_DECL int ev_version_major(void) EV_NOEXCEPT
    EV__SYMBOL(ev_version_major);
EV_API_DECL int ev_version_minor(void) EV_NOEXCEPT
    EV__SYMBOL(ev_version_minor);
EV_API_DECL unsigned int ev_supported_backends(void) EV_NOEXCEPT
    EV__SYMBOL(ev_supported_backends);
EV_API_DECL unsigned int ev_recommended_backends(void) EV_NOEXCEPT
    EV__SYMBOL(ev_recommended_backends);
EV_API_DECL unsigned int ev_embeddable_backends(void) EV_NOEXCEPT
    EV__SYMBOL(ev_embeddable_backends);
EV_API_DECL ev_tstamp ev_time(void) EV_NOEXCEPT EV__SYMBOL(ev_time);
EV_API_DECL void ev_sleep(ev_tstamp delay) EV_NOEXCEPT EV__SYMBOL(ev_sleep);
EV_API_DECL void
ev_set_allocator(void *(*cb)(void *ptr, long size)EV__CB_NOEXCEPT) EV_NOEXCEPT
    EV__SYMBOL(ev_set_allocator);
EV_API_DECL void ev_set_syserr_cb(void (*cb)(const char *msg)
                                      EV__CB_NOEXCEPT) EV_NOEXCEPT
    EV__SYMBOL(ev_set_syserr_cb);
EV_API_DECL void ev_feed_signal(int signum) EV_NOEXCEPT
    EV__SYMBOL(ev_feed_signal);
EV_API_DECL struct ev_loop *ev_default_loop_uc_(void) EV_NOEXCEPT
    EV__SYMBOL(ev_default_loop_uc);

/* Functions of a loop. EV__0 declares one that takes nothing else, EV__N one
 * with more, whose parameters come last; arguments for the call in between.
 * Without EV_MULTIPLICITY they are inline, and fill in the default loop. */
#if EV_MULTIPLICITY
#define EV__0(type, name)                                                     \
    EV_API_DECL type name(struct ev_loop *loop) EV_NOEXCEPT EV__SYMBOL(name);
#define EV__N(type, name, arguments, ...)                                     \
    EV_API_DECL type name(struct ev_loop *loop, __VA_ARGS__)                  \
    EV_NOEXCEPT EV__SYMBOL(name);
#define EV__0_THROWS(type, name)                                              \
    EV_API_DECL type name(struct ev_loop *loop) EV__SYMBOL(name);
#define EV__N_THROWS(type, name, arguments, ...)                              \
    EV_API_DECL type name(struct ev_loop *loop, __VA_ARGS__) EV__SYMBOL(name);
#else
#define EV__LIST(...) __VA_ARGS__
#define EV__0(type, name)                                                     \
    EV_API_DECL type name##_coir_(struct ev_loop *) EV__SYMBOL(name);         \
    EV_INLINE type name(void)                                                 \
    {                                                                         \
        return name##_coir_(ev_default_loop_uc_());                           \
    }
#define EV__N(type, name, arguments, ...)                                     \
    EV_API_DECL type name##_coir_(struct ev_loop *, __VA_ARGS__)              \
        EV__SYMBOL(name);                                                     \
    EV_INLINE type name(__VA_ARGS__)                                          \
    {                                                                         \
        return name##_coir_(ev_default_loop_uc_(), EV__LIST arguments);       \
    }
#define EV__0_THROWS EV__0
#define EV__N_THROWS EV__N
#endif

#if EV_MULTIPLICITY
EV_API_DECL struct ev_loop *
ev_default_loop(unsigned int flags EV_CPP(= 0)) EV_NOEXCEPT
    EV__SYMBOL(ev_default_loop);
EV_API_DECL struct ev_loop *
ev_loop_new(unsigned int flags EV_CPP(= 0)) EV_NOEXCEPT
    EV__SYMBOL(ev_loop_new);
extern struct ev_loop *ev_default_loop_ptr EV__SYMBOL(ev_default_loop_ptr);

EV_INLINE int
ev_is_default_loop(EV_P) EV_NOEXCEPT
{
    return EV_A == EV_DEFAULT_UC;
}
#else
EV_API_DECL int ev_default_loop(unsigned int flags EV_CPP(= 0)) EV_NOEXCEPT
    EV__SYMBOL(ev_default_loop_bare);

EV_INLINE int
ev_is_default_loop(void) EV_NOEXCEPT
{
    return 1;
}
#endif

EV__0(ev_tstamp, ev_now)
EV__0_THROWS(void, ev_loop_destroy)
EV__0(void, ev_loop_fork)
EV__0(unsigned int, ev_backend)
EV__0(void, ev_now_update)
EV__N_THROWS(int, ev_run, (flags), int flags EV_CPP(= 0))
EV__N(void, ev_break, (how), int how EV_CPP(= EVBREAK_ONE))
EV__0(void, ev_ref)
EV__0(void, ev_unref)
EV__N(void, ev_once, (fd, events, timeout, cb, arg), int fd, int events,
      ev_tstamp timeout, void (*cb)(int revents, void *arg), void *arg)
EV__0_THROWS(void, ev_invoke_pending)
EV__0(unsigned int, ev_iteration)
EV__0(unsigned int, ev_depth)
EV__0(void, ev_verify)
EV__N(void, ev_set_io_collect_interval, (interval), ev_tstamp interval)
EV__N(void, ev_set_timeout_collect_interval, (interval), ev_tstamp interval)
EV__N(void, ev_set_userdata, (data), void *data)
EV__0(void *, ev_userdata)
typedef void (*ev_loop_callback)(EV_P);
EV__N(void, ev_set_invoke_pending_cb, (cb), ev_loop_callback cb)
EV__N(void, ev_set_loop_release_cb, (release, acquire),
      void (*release)(EV_P) EV__CB_NOEXCEPT,
      void (*acquire)(EV_P) EV__CB_NOEXCEPT)
EV__0(unsigned int, ev_pending_count)
EV__0(void, ev_suspend)
EV__0(void, ev_resume)
#if EV_WALK_ENABLE && EV_MULTIPLICITY
EV__N(void, ev_walk, (types, cb), int types,
      void (*cb)(EV_P_ int type, void *w))
#elif EV_WALK_ENABLE
EV_API_DECL void ev_walk(int types, void (*cb)(int type, void *w)) EV_NOEXCEPT
    EV__SYMBOL(ev_walk_bare);
#endif

EV__N(void, ev_feed_event, (w, revents), void *w, int revents)
EV__N(void, ev_feed_fd_event, (fd, revents), int fd, int revents)
EV__N(void, ev_feed_signal_event, (signum), int signum)
EV__N_THROWS(void, ev_invoke, (w, revents), void *w, int revents)
EV__N(int, ev_clear_pending, (w), void *w)

EV__N(void, ev_io_start, (w), ev_io *w)
EV__N(void, ev_io_stop, (w), ev_io *w)
EV__N(void, ev_timer_start, (w), ev_timer *w)
EV__N(void, ev_timer_stop, (w), ev_timer *w)
EV__N(void, ev_timer_again, (w), ev_timer *w)
EV__N(ev_tstamp, ev_timer_remaining, (w), ev_timer *w)
EV__N(void, ev_periodic_start, (w), ev_periodic *w)
EV__N(void, ev_periodic_stop, (w), ev_periodic *w)
EV__N(void, ev_periodic_again, (w), ev_periodic *w)
EV__N(void, ev_signal_start, (w), ev_signal *w)
EV__N(void, ev_signal_stop, (w), ev_signal *w)
EV__N(void, ev_child_start, (w), ev_child *w)
EV__N(void, ev_child_stop, (w), ev_child *w)
EV__N(void, ev_stat_start, (w), ev_stat *w)
EV__N(void, ev_stat_stop, (w), ev_stat *w)
EV__N(void, ev_stat_stat, (w), ev_stat *w)
EV__N(void, ev_idle_start, (w), ev_idle *w)
EV__N(void, ev_idle_stop, (w), ev_idle *w)
EV__N(void, ev_prepare_start, (w), ev_prepare *w)
EV__N(void, ev_prepare_stop, (w), ev_prepare *w)
EV__N(void, ev_check_start, (w), ev_check *w)
EV__N(void, ev_check_stop, (w), ev_check *w)
EV__N(void, ev_fork_start, (w), ev_fork *w)
EV__N(void, ev_fork_stop, (w), ev_fork *w)
EV__N(void, ev_cleanup_start, (w), ev_cleanup *w)
EV__N(void, ev_cleanup_stop, (w), ev_cleanup *w)
EV__N(void, ev_embed_start, (w), ev_embed *w)
EV__N(void, ev_embed_stop, (w), ev_embed *w)
EV__N(void, ev_embed_sweep, (w), ev_embed *w)
EV__N(void, ev_async_start, (w), ev_async *w)
EV__N(void, ev_async_stop, (w), ev_async *w)
EV__N(void, ev_async_send, (w), ev_async *w)

#endif /* EV_PROTOTYPES */

/* --- setting up watchers ------------------------------------------------- */

/* These evaluate the watcher more than once, other arguments at most once. */

#define ev_init(ev, cb_)                                                      \
    do {                                                                      \
        ((ev_watcher *)(void *)(ev))->active = 0;                             \
        ((ev_watcher *)(void *)(ev))->pending = 0;                            \
        ev_set_priority((ev), 0);                                             \
        ev_set_cb((ev), cb_);                                                 \
    } while (0)

#define ev_io_modify(ev, events_)                                             \
    do {                                                                      \
        (ev)->events = ((ev)->events & EV__IOFDSET) | (events_);              \
    } while (0)
#define ev_io_set(ev, fd_, events_)                                           \
    do {                                                                      \
        (ev)->fd = (fd_);                                                     \
        (ev)->events = (events_) | EV__IOFDSET;                               \
    } while (0)
#define ev_timer_set(ev, after_, repeat_)                                     \
    do {                                                                      \
        ((ev_watcher_time *)(void *)(ev))->at = (after_);                     \
        (ev)->repeat = (repeat_);                                             \
    } while (0)
#define ev_periodic_set(ev, ofs_, ival_, rcb_)                                \
    do {                                                                      \
        (ev)->offset = (ofs_);                                                \
        (ev)->interval = (ival_);                                             \
        (ev)->reschedule_cb = (rcb_);                                         \
    } while (0)
#define ev_signal_set(ev, signum_)                                            \
    do {                                                                      \
        (ev)->signum = (signum_);                                             \
    } while (0)
#define ev_child_set(ev, pid_, trace_)                                        \
    do {                                                                      \
        (ev)->pid = (pid_);                                                   \
        (ev)->flags = !!(trace_);                                             \
    } while (0)
#define ev_stat_set(ev, path_, interval_)                                     \
    do {                                                                      \
        (ev)->path = (path_);                                                 \
        (ev)->interval = (interval_);                                         \
        (ev)->wd = -2;                                                        \
    } while (0)
#define ev_idle_set(ev)
#define ev_prepare_set(ev)
#define ev_check_set(ev)
#define ev_embed_set(ev, other_)                                              \
    do {                                                                      \
        (ev)->other = (other_);                                               \
    } while (0)
#define ev_fork_set(ev)
#define ev_cleanup_set(ev)
#define ev_async_set(ev)

#define EV__INIT(ev, cb, set)                                                 \
    do {                                                                      \
        ev_init((ev), (cb));                                                  \
        set;                                                                  \
    } while (0)
#define ev_io_init(ev, cb, fd, events)                                        \
    EV__INIT(ev, cb, ev_io_set((ev), (fd), (events)))
#define ev_timer_init(ev, cb, after, repeat)                                  \
    EV__INIT(ev, cb, ev_timer_set((ev), (after), (repeat)))
#define ev_periodic_init(ev, cb, ofs, ival, rcb)                              \
    EV__INIT(ev, cb, ev_periodic_set((ev), (ofs), (ival), (rcb)))
#define ev_signal_init(ev, cb, signum)                                        \
    EV__INIT(ev, cb, ev_signal_set((ev), (signum)))
#define ev_child_init(ev, cb, pid, trace)                                     \
    EV__INIT(ev, cb, ev_child_set((ev), (pid), (trace)))
#define ev_stat_init(ev, cb, path, interval)                                  \
    EV__INIT(ev, cb, ev_stat_set((ev), (path), (interval)))
#define ev_idle_init(ev, cb) EV__INIT(ev, cb, ev_idle_set((ev)))
#define ev_prepare_init(ev, cb) EV__INIT(ev, cb, ev_prepare_set((ev)))
#define ev_check_init(ev, cb) EV__INIT(ev, cb, ev_check_set((ev)))
#define ev_embed_init(ev, cb, other)                                          \
    EV__INIT(ev, cb, ev_embed_set((ev), (other)))
#define ev_fork_init(ev, cb) EV__INIT(ev, cb, ev_fork_set((ev)))
#define ev_cleanup_init(ev, cb) EV__INIT(ev, cb, ev_cleanup_set((ev)))
#define ev_async_init(ev, cb) EV__INIT(ev, cb, (ev)->sent = 0)

#define ev_is_pending(ev) (0 + ((ev_watcher *)(void *)(ev))->pending)
#define ev_is_active(ev) (0 + ((ev_watcher *)(void *)(ev))->active)
#define ev_async_pending(w) (+(w)->sent)
#define ev_periodic_at(ev) (+((ev_watcher_time *)(void *)(ev))->at)

#define ev_cb_(ev) (ev)->cb
#define ev_cb(ev) ((ev)->cb)
#ifndef ev_set_cb
#define ev_set_cb(ev, cb_) (ev_cb_(ev) = (cb_))
#endif

#if EV_MINPRI == EV_MAXPRI
#define ev_priority(ev) ((ev), EV_MINPRI)
#define ev_set_priority(ev, pri)                                              \
    ((void)(pri), ((ev_watcher *)(void *)(ev))->priority = EV_MINPRI)
#else
#define ev_priority(ev) (+((ev_watcher *)(void *)(ev))->priority)
#define ev_set_priority(ev, pri)                                              \
    (((ev_watcher *)(void *)(ev))->priority = (pri))
#endif

/* --- names of libev 3 ---------------------------------------------------- */

#if EV_COMPAT3
#define EVLOOP_NONBLOCK EVRUN_NOWAIT
#define EVLOOP_ONESHOT EVRUN_ONCE
#define EVUNLOOP_CANCEL EVBREAK_CANCEL
#define EVUNLOOP_ONE EVBREAK_ONE
#define EVUNLOOP_ALL EVBREAK_ALL
#if EV_PROTOTYPES
#ifdef __cplusplus /* the function has the name of the structure */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
EV_INLINE void
ev_loop(EV_P_ int flags)
{
    ev_run(EV_A_ flags);
}

#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif

EV_INLINE void
ev_unloop(EV_P_ int how)
{
    ev_break(EV_A_ how);
}

EV_INLINE void
ev_default_destroy(void)
{
    ev_loop_destroy(EV_DEFAULT);
}

EV_INLINE void
ev_default_fork(void)
{
    ev_loop_fork(EV_DEFAULT);
}

EV_INLINE unsigned int
ev_loop_count(EV_P)
{
    return ev_iteration(EV_A);
}

EV_INLINE unsigned int
ev_loop_depth(EV_P)
{
    return ev_depth(EV_A);
}

EV_INLINE void
ev_loop_verify(EV_P)
{
    ev_verify(EV_A);
}
#endif
#else
typedef struct ev_loop ev_loop;
#endif

#ifdef __cplusplus
}
#endif

#endif
