/* ev.c - what coir/ev.h declares, by calls of the loop's own functions.
 *
 * The header gives libev's names; for the linker each is coir_ followed by
 * it. A watcher of libev's is handed on as it is: the assertions below say
 * that it has the same layout as the loop's. Its times are doubles where the
 * loop has integers, which it is told by COIR__SECONDS.
 *
 * libev's functions cannot fail: they abort. Here a watcher that cannot be
 * started is told so, by EV_ERROR. */
#include "loop/internal.h"

#include <stddef.h>
#include <string.h>

#define EV_PROTOTYPES 0
#include <coir/ev.h>

#define SAME(type, ours, theirs)                                              \
    _Static_assert(offsetof(coir_##type, ours) ==                             \
                           offsetof(struct ev_##type, theirs) &&              \
                       sizeof((coir_##type){0}.ours) ==                       \
                           sizeof((struct ev_##type){0}.theirs),              \
                   "the layout of ev_" #type)
#define SAME_WATCHER(type)                                                    \
    SAME(type, active, active);                                               \
    SAME(type, pending, pending);                                             \
    SAME(type, priority, priority);                                           \
    SAME(type, revents, events_pending_);                                     \
    SAME(type, data, data);                                                   \
    SAME(type, cb, cb);                                                       \
    _Static_assert(offsetof(coir_##type, pending_next) ==                     \
                           offsetof(struct ev_##type, pending_links_) &&      \
                       sizeof(coir_##type) == sizeof(struct ev_##type),       \
                   "the size of ev_" #type)

SAME_WATCHER(watcher);
SAME_WATCHER(io);
SAME(io, next, next);
SAME(io, fd, fd);
SAME(io, events, events);
SAME_WATCHER(timer);
SAME(timer, timeout_ns, at);
SAME(timer, repeat_ns, repeat);
SAME_WATCHER(periodic);
SAME(periodic, at_ns, at);
SAME(periodic, offset_ns, offset);
SAME(periodic, interval_ns, interval);
SAME(periodic, reschedule, reschedule_cb);
SAME_WATCHER(signal);
SAME(signal, next, next);
SAME(signal, signum, signum);
SAME_WATCHER(child);
SAME(child, trace, flags);
SAME(child, pid, pid);
SAME(child, rpid, rpid);
SAME(child, rstatus, rstatus);
SAME_WATCHER(stat);
SAME(stat, next, next);
SAME(stat, timer, timer);
SAME(stat, interval_ns, interval);
SAME(stat, path, path);
SAME(stat, prev, prev);
SAME(stat, attr, attr);
SAME(stat, wd, wd);
SAME_WATCHER(idle);
SAME_WATCHER(prepare);
SAME_WATCHER(check);
SAME_WATCHER(fork);
SAME_WATCHER(cleanup);
SAME_WATCHER(embed);
SAME(embed, other, other);
SAME(embed, io, io);
SAME(embed, prepare, prepare);
SAME(embed, fork, fork);
SAME_WATCHER(async);
SAME(async, sent, sent);
_Static_assert((int)EV__IOFDSET == (int)COIR__FDSET, "EV__IOFDSET");
_Static_assert(EV_MINPRI == COIR_MINPRI && EV_MAXPRI == COIR_MAXPRI,
               "priorities");

/* --- without a loop ------------------------------------------------------ */

COIR_API int coir_ev_version_major(void);
COIR_API int coir_ev_version_minor(void);
COIR_API unsigned coir_ev_supported_backends(void);
COIR_API unsigned coir_ev_recommended_backends(void);
COIR_API unsigned coir_ev_embeddable_backends(void);
COIR_API double coir_ev_time(void);
COIR_API void coir_ev_sleep(double delay);
COIR_API void coir_ev_set_allocator(void *(*cb)(void *ptr, long size));
COIR_API void coir_ev_set_syserr_cb(void (*cb)(const char *msg));
COIR_API void coir_ev_feed_signal(int signum);

int
coir_ev_version_major(void)
{
    return EV_VERSION_MAJOR;
}

int
coir_ev_version_minor(void)
{
    return EV_VERSION_MINOR;
}

unsigned
coir_ev_supported_backends(void)
{
    return coir_loop_supported();
}

unsigned
coir_ev_recommended_backends(void)
{
    return coir_loop_recommended();
}

unsigned
coir_ev_embeddable_backends(void)
{
    return coir_loop_embeddable();
}

double
coir_ev_time(void)
{
    return coir__to_seconds(coir_clock_wall());
}

void
coir_ev_sleep(double delay)
{
    coir_clock_sleep(coir__from_seconds(delay));
}

static void *(*allocator)(void *ptr, long size);

static void *
allocate(void *ptr, size_t size)
{
    return allocator(ptr, (long)size);
}

void
coir_ev_set_allocator(void *(*cb)(void *ptr, long size))
{
    allocator = cb;
    coir_set_allocator(cb != NULL ? allocate : NULL);
}

void
coir_ev_set_syserr_cb(void (*cb)(const char *msg))
{
    coir_set_syserr(cb);
}

void
coir_ev_feed_signal(int signum)
{
    coir_feed_signal(signum);
}

/* --- loops --------------------------------------------------------------- */

COIR_API extern coir_loop *coir_ev_default_loop_ptr;
COIR_API coir_loop *coir_ev_default_loop_uc(void);
COIR_API coir_loop *coir_ev_default_loop(unsigned flags);
COIR_API int coir_ev_default_loop_bare(unsigned flags);
COIR_API coir_loop *coir_ev_loop_new(unsigned flags);
COIR_API void coir_ev_loop_destroy(coir_loop *loop);

coir_loop *coir_ev_default_loop_ptr;

coir_loop *
coir_ev_default_loop_uc(void)
{
    return coir__default_loop;
}

coir_loop *
coir_ev_default_loop(unsigned flags)
{
    coir_ev_default_loop_ptr = coir_loop_default(flags);
    return coir_ev_default_loop_ptr;
}

/* For programs compiled without EV_MULTIPLICITY, whose callbacks are not given
 * a loop. Returns whether there is one. */
int
coir_ev_default_loop_bare(unsigned flags)
{
    coir_loop *loop = coir_ev_default_loop(flags);
    if (loop != NULL)
        loop->bare_callbacks = 1;
    return loop != NULL;
}

coir_loop *
coir_ev_loop_new(unsigned flags)
{
    coir_loop *loop;
    return coir_loop_new(&loop, flags) < 0 ? NULL : loop;
}

void
coir_ev_loop_destroy(coir_loop *loop)
{
    int was_default = loop != NULL && coir_loop_is_default(loop);
    coir_loop_free(loop);
    if (was_default)
        coir_ev_default_loop_ptr = NULL;
}

/* FORWARD: the same under both names. */
#define FORWARD0(type, name, to)                                              \
    COIR_API type coir_ev_##name(coir_loop *loop);                            \
    type coir_ev_##name(coir_loop *loop)                                      \
    {                                                                         \
        return to(loop);                                                      \
    }
#define FORWARD1(type, name, to, type1)                                       \
    COIR_API type coir_ev_##name(coir_loop *loop, type1 a);                   \
    type coir_ev_##name(coir_loop *loop, type1 a)                             \
    {                                                                         \
        return to(loop, a);                                                   \
    }
#define FORWARD2(type, name, to, type1, type2)                                \
    COIR_API type coir_ev_##name(coir_loop *loop, type1 a, type2 b);          \
    type coir_ev_##name(coir_loop *loop, type1 a, type2 b)                    \
    {                                                                         \
        return to(loop, a, b);                                                \
    }

typedef void loop_fn(coir_loop *loop);
typedef void walk_fn(coir_loop *loop, int type, void *w);

FORWARD0(void, loop_fork, coir_loop_fork)
FORWARD0(unsigned, backend, coir_loop_backend)
FORWARD0(void, now_update, coir_loop_now_update)
FORWARD1(int, run, coir_loop_run, int)
FORWARD1(void, break, coir_loop_break, int)
FORWARD0(void, ref, coir_loop_ref)
FORWARD0(void, unref, coir_loop_unref)
FORWARD0(void, invoke_pending, coir_loop_invoke_pending)
FORWARD0(unsigned, iteration, coir_loop_iteration)
FORWARD0(unsigned, depth, coir_loop_depth)
FORWARD0(void, verify, coir_loop_verify)
FORWARD1(void, set_userdata, coir_loop_set_user, void *)
FORWARD0(void *, userdata, coir_loop_user)
FORWARD1(void, set_invoke_pending_cb, coir_loop_set_invoke_pending, loop_fn *)
FORWARD2(void, set_loop_release_cb, coir_loop_set_release, loop_fn *,
         loop_fn *)
FORWARD0(unsigned, pending_count, coir_loop_pending_count)
FORWARD0(void, suspend, coir_loop_suspend)
FORWARD0(void, resume, coir_loop_resume)
FORWARD2(void, walk, coir_loop_walk, int, walk_fn *)
FORWARD2(void, feed_event, coir_feed_event, void *, int)
FORWARD2(void, feed_fd_event, coir_feed_fd_event, int, int)
FORWARD1(void, feed_signal_event, coir_feed_signal_event, int)
FORWARD2(void, invoke, coir_invoke, void *, int)
FORWARD1(int, clear_pending, coir_clear_pending, void *)

/* Without EV_MULTIPLICITY: the default loop, which the callback is not told.
 */
COIR_API void coir_ev_walk_bare(int types, void (*cb)(int type, void *w));

static COIR__THREAD_LOCAL void (*bare_walk)(int type, void *w);

static void
walk_bare(coir_loop *loop, int type, void *w)
{
    (void)loop;
    bare_walk(type, w);
}

void
coir_ev_walk_bare(int types, void (*cb)(int type, void *w))
{
    bare_walk = cb;
    coir_loop_walk(coir__default_loop, types, walk_bare);
}

COIR_API double coir_ev_now(coir_loop *loop);
COIR_API void coir_ev_set_io_collect_interval(coir_loop *loop,
                                              double interval);
COIR_API void coir_ev_set_timeout_collect_interval(coir_loop *loop,
                                                   double interval);
COIR_API void coir_ev_once(coir_loop *loop, int fd, int events, double timeout,
                           void (*cb)(int, void *), void *arg);

double
coir_ev_now(coir_loop *loop)
{
    return coir__to_seconds(coir_loop_wall_now(loop));
}

void
coir_ev_set_io_collect_interval(coir_loop *loop, double interval)
{
    coir_loop_set_io_collect(loop, coir__from_seconds(interval));
}

void
coir_ev_set_timeout_collect_interval(coir_loop *loop, double interval)
{
    coir_loop_set_timer_collect(loop, coir__from_seconds(interval));
}

void
coir_ev_once(coir_loop *loop, int fd, int events, double timeout,
             void (*cb)(int, void *), void *arg)
{
    int64_t ns = timeout < 0 ? -1 : coir__from_seconds(timeout);
    if (coir_once(loop, fd, events, ns, cb, arg) < 0)
        cb(EV_ERROR | EV_READ | EV_WRITE | EV_TIMER, arg);
}

/* --- watchers ------------------------------------------------------------ */

static void
started(coir_loop *loop, void *w, int err)
{
    if (err < 0)
        coir_feed_event(loop, w, EV_ERROR);
}

#define START(type, call)                                                     \
    COIR_API void coir_ev_##type##_start(coir_loop *loop, coir_##type *w);    \
    void coir_ev_##type##_start(coir_loop *loop, coir_##type *w)              \
    {                                                                         \
        started(loop, w, call);                                               \
    }
#define STOP(type)                                                            \
    FORWARD1(void, type##_stop, coir_##type##_stop, coir_##type *)
#define START_STOP(type)                                                      \
    START(type, coir_##type##_start(loop, w))                                 \
    STOP(type)

START_STOP(io)
START_STOP(signal)
START_STOP(child)
START_STOP(idle)
START_STOP(prepare)
START_STOP(check)
START_STOP(fork)
START_STOP(cleanup)
START_STOP(embed)
START_STOP(async)
START(periodic, coir__periodic_start(loop, w, COIR__SECONDS))
STOP(periodic)
START(stat, coir__stat_start(loop, w, COIR__SECONDS))
STOP(stat)
STOP(timer)
FORWARD1(void, stat_stat, coir_stat_stat, coir_stat *)
FORWARD1(void, embed_sweep, coir_embed_sweep, coir_embed *)
FORWARD1(void, async_send, coir_async_send, coir_async *)

COIR_API void coir_ev_timer_start(coir_loop *loop, coir_timer *w);
COIR_API void coir_ev_timer_again(coir_loop *loop, coir_timer *w);
COIR_API double coir_ev_timer_remaining(coir_loop *loop, struct ev_timer *w);
COIR_API void coir_ev_periodic_again(coir_loop *loop, coir_periodic *w);

void
coir_ev_timer_start(coir_loop *loop, coir_timer *w)
{
    coir__timer_start(loop, w, COIR__SECONDS);
}

void
coir_ev_timer_again(coir_loop *loop, coir_timer *w)
{
    coir__timer_again(loop, w, COIR__SECONDS);
}

double
coir_ev_timer_remaining(coir_loop *loop, struct ev_timer *w)
{
    if (!w->active)
        return w->at;
    return coir__to_seconds(coir_timer_remaining(loop, (coir_timer *)w));
}

void
coir_ev_periodic_again(coir_loop *loop, coir_periodic *w)
{
    coir_periodic_stop(loop, w);
    started(loop, w, coir__periodic_start(loop, w, COIR__SECONDS));
}
