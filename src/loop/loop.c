/* loop.c - loops, their turns, and the watchers that need nothing else.
 *
 * A turn of coir_loop_run():
 *
 *     fork watchers, if this is a new process     called at once
 *     prepare watchers                            called at once
 *     changed descriptors -> backend
 *     wait; timers, periodics, idle, check are fed in this order
 *     all that is pending is called
 *
 * Pending watchers stand on one stack per priority, and the top of the highest
 * is called first: a check watcher, fed last, comes before the others of its
 * priority, as documented. Timers are fed in one batch, in their order.
 *
 * A watcher is off its stack before it is called and never touched after:
 * its memory may be gone. Callbacks may do anything to the loop but free it,
 * also run it: everything they can change is read again after them. */
#include "loop/internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fork.h"

/* A wall clock that is off by more than this has been set. */
#define JUMP_NS COIR_NS_PER_S
/* Between two looks at the wall clock. */
#define WALL_CHECK_NS (COIR_NS_PER_S / 2)
/* While descriptors wait for their audit, and while clock jumps can only be
 * found by looking, a wait takes no longer. */
#define AUDIT_WAIT_NS (100 * COIR_NS_PER_MS)
#define JUMP_WAIT_NS (60 * COIR_NS_PER_S)
/* By default timers are late by so much at most; what is shorter than so many
 * times the slack is exact. */
#define TIMER_SLACK_NS COIR_NS_PER_MS
#define EXACT_SLACKS 16
/* Timers that are called in a turn: what is fetched to sort and feed them
 * should still be in the cache when they are called; and descriptors wait for
 * their turn meanwhile. */
#define TIMER_BUDGET 1024

coir_loop *coir__default_loop;

/* --- errors -------------------------------------------------------------- */

static COIR__THREAD_LOCAL char explanation[200];
static void (*syserr_fn)(const char *call);

void
coir__loop_explain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
    (void)vsnprintf(explanation, sizeof explanation, format, args);
    va_end(args);
}

const char *
coir_loop_error(void)
{
    return explanation;
}

void
coir_set_syserr(void (*fn)(const char *call))
{
    syserr_fn = fn;
}

void
coir__syserr(const char *call)
{
    if (syserr_fn != NULL) {
        syserr_fn(call);
        return;
    }
    (void)fprintf(stderr, "coir: %s failed: %s\n", call, strerror(errno));
    abort();
}

/* --- clocks -------------------------------------------------------------- */

static int64_t
read_clock(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * COIR_NS_PER_S + t.tv_nsec;
}

static int64_t
system_monotonic(void *user)
{
    (void)user;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t
system_wall(void *user)
{
    (void)user;
    return read_clock(CLOCK_REALTIME);
}

static void
system_sleep(void *user, int64_t timeout_ns)
{
    (void)user;
    struct timespec t = {(time_t)(timeout_ns / COIR_NS_PER_S),
                         (long)(timeout_ns % COIR_NS_PER_S)};
    (void)nanosleep(&t, NULL);
}

const coir__clock coir__clock_system = {system_monotonic, system_wall,
                                        system_sleep, NULL};

COIR__THREAD_LOCAL const coir__clock *coir__clock_here;

static const coir__clock *
clock_here(void)
{
    const coir__clock *clock = coir__clock_here;
    return coir__likely(clock == NULL) ? &coir__clock_system : clock;
}

int64_t
coir_clock_monotonic(void)
{
    const coir__clock *clock = clock_here();
    return clock->monotonic(clock->user);
}

int64_t
coir_clock_wall(void)
{
    const coir__clock *clock = clock_here();
    return clock->wall(clock->user);
}

void
coir_clock_sleep(int64_t timeout_ns)
{
    const coir__clock *clock = clock_here();
    if (timeout_ns > 0)
        clock->sleep(clock->user, timeout_ns);
}

void
coir__time_update(coir_loop *loop)
{
    int64_t now = loop->clock.monotonic(loop->clock.user);
    loop->now = now;
    loop->wall = now + loop->wall_offset;
    if (now - loop->wall_checked < WALL_CHECK_NS)
        return; /* close enough, and a system call less */
    int64_t wall = loop->clock.wall(loop->clock.user);
    int64_t jump = wall - loop->wall;
    loop->wall_checked = now;
    loop->wall_offset = wall - now;
    loop->wall = wall;
    if (jump > JUMP_NS || jump < -JUMP_NS)
        coir__periodics_reschedule(loop);
}

int64_t
coir_loop_now(const coir_loop *loop)
{
    return loop->now;
}

int64_t
coir_loop_wall_now(const coir_loop *loop)
{
    return loop->wall;
}

void
coir_loop_now_update(coir_loop *loop)
{
    coir__time_update(loop);
}

void
coir_loop_suspend(coir_loop *loop)
{
    coir__time_update(loop);
}

void
coir_loop_resume(coir_loop *loop)
{
    int64_t before = loop->now;
    coir__time_update(loop);
    coir__timers_shift(loop, loop->now - before);
    coir__periodics_reschedule(loop);
}

/* --- pending watchers ---------------------------------------------------- */

void
coir__batch_init(coir__batch *batch)
{
    memset(batch, 0, sizeof *batch);
}

void
coir__batch_add(coir__batch *batch, coir_watcher *w, int revents)
{
    if (w->pending) {
        w->revents |= revents;
        return;
    }
    int p = coir__priority_index(w);
    if (batch->head[p] == NULL)
        batch->tail[p] = &batch->head[p];
    w->pending = coir__pending_kind(w);
    w->revents = revents;
    w->pending_at = batch->tail[p];
    *batch->tail[p] = w;
    batch->tail[p] = &w->pending_next;
    batch->count++;
}

void
coir__batch_feed(coir_loop *loop, coir__batch *batch)
{
    if (batch->count == 0)
        return;
    for (int p = 0; p < COIR__PRIORITIES; p++) {
        coir_watcher *first = batch->head[p];
        if (first == NULL)
            continue;
        coir_watcher *top = loop->pending[p];
        *batch->tail[p] = top;
        if (top != NULL)
            top->pending_at = batch->tail[p];
        first->pending_at = &loop->pending[p];
        loop->pending[p] = first;
        loop->pending_mask |= 1U << p;
    }
    loop->pending_count += batch->count;
}

static inline void
call(coir_loop *loop, coir_watcher *w, int revents, int kind)
{
    if (coir__unlikely(loop->bare_callbacks) && kind != COIR__PENDING_OWN)
        ((void (*)(coir_watcher *, int))(void (*)(void))w->cb)(w, revents);
    else
        w->cb(loop, w, revents);
}

void
coir_loop_invoke_pending(coir_loop *loop)
{
    if (loop->pending_count != 0)
        coir__io_suspect(loop);
    while (loop->pending_mask != 0) {
        /* Read again each time: a callback may feed one that is higher. */
        int p = (int)(sizeof(unsigned) * CHAR_BIT) - 1 -
                __builtin_clz(loop->pending_mask);
        coir_watcher *w = loop->pending[p];
        if (w == NULL) {
            loop->pending_mask &= ~(1U << p);
            continue;
        }
        coir_watcher *next = w->pending_next;
        loop->pending[p] = next;
        if (next != NULL) {
            next->pending_at = &loop->pending[p];
            __builtin_prefetch(next->pending_next, 1);
        }
        int kind = w->pending;
        w->pending = 0;
        loop->pending_count--;
        call(loop, w, w->revents, kind);
    }
}

static inline void
invoke_pending(coir_loop *loop)
{
    if (coir__unlikely(loop->invoke_pending != NULL))
        loop->invoke_pending(loop);
    else if (loop->pending_mask != 0)
        coir_loop_invoke_pending(loop);
}

unsigned
coir_loop_pending_count(const coir_loop *loop)
{
    return loop->pending_count;
}

void
coir_feed_event(coir_loop *loop, void *w, int revents)
{
    coir__clamp_priority(w); /* it may never have been started */
    coir__feed(loop, w, revents);
}

void
coir_invoke(coir_loop *loop, void *w, int revents)
{
    call(loop, w, revents, COIR__PENDING);
}

int
coir_clear_pending(coir_loop *loop, void *w)
{
    return coir__unfeed(loop, w);
}

/* --- watchers in arrays -------------------------------------------------- */

int
coir__array_add(coir_loop *loop, coir__array *array, coir_watcher *w)
{
    if (array->count == array->size) {
        int size = array->size > 0 ? 2 * array->size : 8;
        coir_watcher **items =
            coir_realloc(array->items, (size_t)size * sizeof *items);
        if (items == NULL)
            return COIR_ENOMEM;
        array->items = items;
        array->size = size;
    }
    coir__clamp_priority(w);
    array->items[array->count++] = w;
    w->active = array->count;
    loop->active++;
    return 0;
}

void
coir__array_remove(coir_loop *loop, coir__array *array, coir_watcher *w)
{
    int i = (w->active & ~COIR__OWN) - 1;
    assert(i >= 0 && i < array->count && array->items[i] == w);
    coir_watcher *last = array->items[--array->count];
    array->items[i] = last;
    last->active = (i + 1) | (last->active & COIR__OWN);
    w->active = 0;
    loop->active--;
}

static void
array_feed(coir_loop *loop, const coir__array *array, int revents)
{
    for (int i = 0; i < array->count; i++)
        coir__feed(loop, array->items[i], revents);
}

/* Start and stop of those that are just in an array. */
#define ARRAY_WATCHER(type)                                                   \
    int coir_##type##_start(coir_loop *loop, coir_##type *w)                  \
    {                                                                         \
        if (coir_is_active(w))                                                \
            return 0;                                                         \
        return coir__array_add(loop, &loop->type##s, (coir_watcher *)w);      \
    }                                                                         \
                                                                              \
    void coir_##type##_stop(coir_loop *loop, coir_##type *w)                  \
    {                                                                         \
        (void)coir__unfeed(loop, (coir_watcher *)w);                          \
        if (coir_is_active(w))                                                \
            coir__array_remove(loop, &loop->type##s, (coir_watcher *)w);      \
    }

ARRAY_WATCHER(prepare)
ARRAY_WATCHER(check)
ARRAY_WATCHER(fork)

/* It waits for the end of the loop, and does not keep it running. */
int
coir_cleanup_start(coir_loop *loop, coir_cleanup *w)
{
    if (coir_is_active(w))
        return 0;
    int err = coir__array_add(loop, &loop->cleanups, (coir_watcher *)w);
    if (err == 0)
        loop->active--;
    return err;
}

void
coir_cleanup_stop(coir_loop *loop, coir_cleanup *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return;
    loop->active++;
    coir__array_remove(loop, &loop->cleanups, (coir_watcher *)w);
}

int
coir_idle_start(coir_loop *loop, coir_idle *w)
{
    if (coir_is_active(w))
        return 0;
    coir_watcher *base = (coir_watcher *)w;
    coir__clamp_priority(base);
    int err =
        coir__array_add(loop, &loop->idles[coir__priority_index(base)], base);
    if (err == 0)
        loop->idle_count++;
    return err;
}

void
coir_idle_stop(coir_loop *loop, coir_idle *w)
{
    coir_watcher *base = (coir_watcher *)w;
    (void)coir__unfeed(loop, base);
    if (!coir_is_active(w))
        return;
    coir__array_remove(loop, &loop->idles[coir__priority_index(base)], base);
    loop->idle_count--;
}

/* Those of the highest priority, unless others of it or above are pending. */
static void
feed_idle(coir_loop *loop)
{
    for (int p = COIR__PRIORITIES - 1; p >= 0 && loop->pending[p] == NULL;
         p--) {
        if (loop->idles[p].count > 0) {
            array_feed(loop, &loop->idles[p], COIR_IDLE);
            return;
        }
    }
}

/* --- forks --------------------------------------------------------------- */

void
coir_loop_fork(coir_loop *loop)
{
    loop->reset = COIR__RESET_FORK;
}

void
coir__check_fork(coir_loop *loop)
{
    if (coir__unlikely(loop->forks_seen != coir__forks)) {
        loop->forks_seen = coir__forks;
        loop->reset = COIR__RESET_FORK;
    }
    if (coir__unlikely(loop->flags & COIR_LOOP_FORKCHECK)) {
        int pid = (int)getpid();
        if (pid != loop->pid)
            loop->reset = COIR__RESET_FORK;
        loop->pid = pid;
    }
}

static void
reset(coir_loop *loop)
{
    int forked = loop->reset == COIR__RESET_FORK;
    loop->reset = 0;
    int err;
    while ((err = loop->backend->reset(loop)) != 0) {
        errno = err;
        coir__syserr(loop->backend->name);
    }
    loop->resets++;
    coir__io_forget(loop);
    coir__buffers_reset(loop);
    if (forked) {
        coir__ops_forked(loop);
        coir__wake_forked(loop);
        coir__stats_forked(loop);
        coir__periodics_forked(loop);
    }
}

/* --- turns --------------------------------------------------------------- */

static int
may_block(coir_loop *loop, int flags)
{
    return !(flags & COIR_RUN_NOWAIT) && loop->active > 0 &&
           loop->idle_count == 0 && loop->always_count == 0 &&
           loop->pending_count == 0 && loop->op_done == NULL &&
           loop->reset == 0 && !atomic_load(&loop->wake_pending);
}

/* How long until `timer` or a periodic is due, at least. */
static int64_t
until(coir_loop *loop, int64_t timer)
{
    int64_t limit = timer == COIR_FOREVER ? COIR_FOREVER : timer - loop->now;
    if (loop->periodic_count > 0) {
        int64_t next = coir__periodics_next(loop) - loop->now;
        if (loop->timer_fd < 0 && next > JUMP_WAIT_NS)
            next = JUMP_WAIT_NS;
        if (next < limit)
            limit = next;
    }
    return limit > 0 ? limit : 0;
}

static int64_t
wait_limit(coir_loop *loop)
{
    int64_t limit = until(loop, coir__timers_wake(loop));
    return limit > loop->timer_collect ? limit : loop->timer_collect;
}

/* Sleep what the collection of events asks for. Returns what is left. */
static int64_t
collect(coir_loop *loop, int64_t limit, int64_t before)
{
    int64_t nap = loop->io_collect - (loop->now - before);
    if (nap > limit)
        nap = limit;
    if (nap <= 0)
        return limit;
    coir__release(loop);
    loop->clock.sleep(loop->clock.user, nap);
    coir__acquire(loop);
    return limit - nap;
}

/* Returns whether to wait on: what ended it was neither an event nor a signal
 * nor time that somebody waits for. */
static int
wait_once(coir_loop *loop, int64_t limit, int blocks)
{
    int audit = limit > AUDIT_WAIT_NS && loop->fd_dirty > 0 &&
                loop->backend->audit != NULL;
    int err = loop->backend->wait(loop, audit ? AUDIT_WAIT_NS : limit);
    if (!blocks || err != 0 || loop->pending_count != 0 ||
        loop->op_done != NULL || loop->reset != 0 ||
        atomic_load_explicit(&loop->wake_pending, memory_order_relaxed))
        return 0;
    coir__time_update(loop);
    if (audit)
        /* Nothing goes on: time to look for descriptors that were closed
         * behind our back. */
        coir__io_audit(loop, 1);
    if (coir__unlikely(loop->fd_drop))
        coir__io_apply(loop); /* or the same event would come again */
    return loop->pending_count == 0 &&
           until(loop, coir__timers_next(loop)) > 0;
}

/* Wait for events, and feed those of descriptors. */
static void
wait(coir_loop *loop, int flags)
{
    int64_t before = loop->now;
    coir__time_update(loop);
    /* Before wake_pending is looked at; whoever wakes us does it in the other
     * order: one of us sees the other. */
    (void)atomic_exchange(&loop->wake_wanted, 1); /* no dearer, and a full
                                                     barrier in emulators */
    int64_t limit = may_block(loop, flags) ? wait_limit(loop) : 0;
    int blocks = limit > 0; /* also if collecting takes all of it */
    if (coir__unlikely(loop->io_collect > 0) && blocks)
        limit = collect(loop, limit, before);
    loop->iteration++;
    while (wait_once(loop, limit, blocks))
        limit = wait_limit(loop);
    atomic_store_explicit(&loop->wake_wanted, 0, memory_order_relaxed);
    coir__io_always(loop);
    if (loop->op_done != NULL)
        coir__ops_feed(loop);
    coir__time_update(loop);
    if (loop->fd_dirty > 0)
        coir__io_audit(loop, 0);
    if (atomic_load_explicit(&loop->wake_pending, memory_order_relaxed))
        coir__feed(loop, (coir_watcher *)&loop->wake_io, COIR_CUSTOM);
}

static void
turn(coir_loop *loop, int flags)
{
    coir__check_fork(loop);
    if (coir__unlikely(loop->reset == COIR__RESET_FORK) &&
        loop->forks.count > 0) {
        array_feed(loop, &loop->forks, COIR_FORK);
        invoke_pending(loop);
    }
    if (loop->prepares.count > 0) {
        array_feed(loop, &loop->prepares, COIR_PREPARE);
        invoke_pending(loop);
    }
    if (loop->done != COIR_BREAK_CANCEL)
        return;
    if (coir__unlikely(loop->reset))
        reset(loop);
    coir__io_apply(loop);
    wait(loop, flags);
    coir__timers_expire(loop);
    if (loop->periodic_count > 0)
        coir__periodics_expire(loop);
    if (loop->idle_count > 0)
        feed_idle(loop);
    if (loop->checks.count > 0)
        array_feed(loop, &loop->checks, COIR_CHECK);
    invoke_pending(loop);
}

int
coir_loop_run(coir_loop *loop, int flags)
{
    loop->depth++;
    loop->done = COIR_BREAK_CANCEL;
    invoke_pending(loop); /* of the run that called us */
    do {
        turn(loop, flags);
    } while (loop->active > 0 && loop->done == COIR_BREAK_CANCEL &&
             !(flags & (COIR_RUN_ONCE | COIR_RUN_NOWAIT)));
    if (loop->done == COIR_BREAK_ONE)
        loop->done = COIR_BREAK_CANCEL;
    loop->depth--;
    coir__io_suspect(loop); /* who called us may close descriptors */
    return loop->active;
}

void
coir_loop_break(coir_loop *loop, int how)
{
    loop->done = how;
}

int
coir_loop_is_active(const coir_loop *loop)
{
    return loop->active > 0;
}

void
coir_loop_ref(coir_loop *loop)
{
    loop->active++;
}

void
coir_loop_unref(coir_loop *loop)
{
    loop->active--;
}

int
coir_loop_active_count(const coir_loop *loop)
{
    return loop->active;
}

int
coir_loop_fd(coir_loop *loop)
{
    if (loop->backend->descriptor == NULL)
        return COIR_EINVAL;
    return loop->backend->descriptor(loop);
}

unsigned
coir_loop_iteration(const coir_loop *loop)
{
    return loop->iteration;
}

unsigned
coir_loop_depth(const coir_loop *loop)
{
    return (unsigned)loop->depth;
}

/* --- settings ------------------------------------------------------------ */

void
coir_loop_set_io_collect(coir_loop *loop, int64_t interval_ns)
{
    loop->io_collect = interval_ns;
}

void
coir_loop_set_timer_collect(coir_loop *loop, int64_t interval_ns)
{
    loop->timer_collect = interval_ns;
}

void
coir_loop_set_timer_slack(coir_loop *loop, int64_t slack_ns)
{
    loop->timer_slack = slack_ns > 0 ? slack_ns : 0;
    loop->timer_exact = loop->timer_slack < COIR_FOREVER / EXACT_SLACKS
                            ? loop->timer_slack * EXACT_SLACKS
                            : COIR_FOREVER;
}

void
coir_loop_set_user(coir_loop *loop, void *user)
{
    loop->user = user;
}

void *
coir_loop_user(const coir_loop *loop)
{
    return loop->user;
}

void
coir_loop_set_invoke_pending(coir_loop *loop, void (*fn)(coir_loop *loop))
{
    loop->invoke_pending = fn == coir_loop_invoke_pending ? NULL : fn;
}

void
coir_loop_set_release(coir_loop *loop, void (*release)(coir_loop *loop),
                      void (*acquire)(coir_loop *loop))
{
    loop->release = release;
    loop->acquire = acquire;
}

/* --- backends ------------------------------------------------------------ */

/* The best first. */
static const coir__backend *const backends[] = {
    &coir__backend_epoll, &coir__backend_uring, &coir__backend_poll,
    &coir__backend_select};
#define BACKENDS (sizeof backends / sizeof *backends)

unsigned
coir_loop_supported(void)
{
    return COIR_BACKEND_EPOLL | COIR_BACKEND_POLL | COIR_BACKEND_SELECT |
           (COIR__HAVE_LIBURING ? COIR_BACKEND_IOURING : 0);
}

unsigned
coir_loop_recommended(void)
{
    return COIR_BACKEND_EPOLL | COIR_BACKEND_POLL | COIR_BACKEND_SELECT;
}

unsigned
coir_loop_embeddable(void)
{
    unsigned flags = 0;
    for (size_t i = 0; i < BACKENDS; i++)
        if (backends[i]->embeddable)
            flags |= backends[i]->flag;
    return flags & coir_loop_supported();
}

unsigned
coir_loop_backend(const coir_loop *loop)
{
    return loop->backend->flag;
}

const char *
coir_loop_backend_name(const coir_loop *loop)
{
    return loop->backend->name;
}

/* The environment, unless the program runs with rights of another user. */
static const char *
environment(unsigned flags, const char *name)
{
    return flags & COIR_LOOP_NOENV ? NULL : secure_getenv(name);
}

/* --- making and freeing -------------------------------------------------- */

static int
prepare_loop(coir_loop *loop, unsigned flags, const coir__clock *clock)
{
    loop->clock = *clock;
    loop->flags = flags;
    loop->timer_budget = TIMER_BUDGET;
    loop->fd_changes = -1;
    loop->inotify_fd = -2;
    loop->wake_fd = loop->signal_fd = loop->timer_fd = -1;
    coir__ops_init(loop);
    loop->pid = (int)getpid();
    loop->forks_seen = coir__forks;
    int64_t now = clock->monotonic(clock->user);
    loop->now = now;
    loop->wall = clock->wall(clock->user);
    loop->wall_offset = loop->wall - now;
    loop->wall_checked = now;
    return coir__timers_init(loop);
}

int
coir__loop_new_with(coir_loop **out, unsigned flags,
                    const coir__backend *backend, const coir__clock *clock)
{
    int saved;
    coir_loop *loop = coir_calloc(1, sizeof *loop);
    if (loop == NULL)
        return COIR_ENOMEM;
    int err = prepare_loop(loop, flags, clock);
    if (err < 0)
        goto fail_loop;
    loop->backend = backend;
    err = backend->init(loop);
    if (err < 0)
        goto fail_timers;
    err = coir__wake_init(loop);
    if (err < 0)
        goto fail_backend;
    *out = loop;
    return 0;

fail_backend:
    saved = errno;
    backend->fini(loop);
    coir__io_fini(loop);
    errno = saved;
fail_timers:
    coir__timers_fini(loop);
fail_loop:
    coir_free(loop);
    return err;
}

/* What the environment asks for: replaces flags, or names a backend, which is
 * then tried first. NULL: no name, or an unknown one, explained. */
static const coir__backend *
from_environment(unsigned *flags)
{
    const char *text = environment(*flags, "LIBEV_FLAGS");
    if (text != NULL)
        *flags = (unsigned)strtoul(text, NULL, 0);
    text = environment(*flags, "COIR_BACKEND");
    if (text == NULL || *text == '\0')
        return NULL;
    for (size_t i = 0; i < BACKENDS; i++)
        if (strcmp(text, backends[i]->name) == 0)
            return backends[i];
    coir__loop_explain("COIR_BACKEND=%s: not one of epoll, io_uring, poll, "
                       "select",
                       text);
    return NULL;
}

int
coir_loop_new(coir_loop **out, unsigned flags)
{
    explanation[0] = '\0';
    const coir__backend *first = from_environment(&flags);
    unsigned wanted = flags & COIR_BACKEND_ALL;
    if (wanted == 0)
        wanted = coir_loop_recommended();
    int err = COIR_ENOSYS;
    if (first != NULL)
        err = coir__loop_new_with(out, flags, first, &coir__clock_system);
    for (size_t i = 0; i < BACKENDS && err == COIR_ENOSYS; i++)
        if ((wanted & backends[i]->flag) && backends[i] != first)
            err = coir__loop_new_with(out, flags, backends[i],
                                      &coir__clock_system);
    if (err == 0)
        coir_loop_set_timer_slack(*out, TIMER_SLACK_NS);
    else if (explanation[0] == '\0')
        coir__loop_explain("%s", err == COIR_ENOSYS
                                     ? "none of the backends asked for is in "
                                       "this build"
                                     : coir_strerror(err));
    return err;
}

coir_loop *
coir_loop_default(unsigned flags)
{
    if (coir__default_loop != NULL)
        return coir__default_loop;
    coir_loop *loop;
    if (coir_loop_new(&loop, flags) < 0)
        return NULL;
    coir__default_loop = loop;
    if (coir__children_init(loop) < 0) {
        coir__loop_explain("%s", coir_strerror(COIR_ENOMEM));
        coir_loop_free(loop);
        return NULL;
    }
    return loop;
}

int
coir_loop_is_default(const coir_loop *loop)
{
    return loop == coir__default_loop;
}

static void
free_arrays(coir_loop *loop)
{
    coir_free(loop->prepares.items);
    coir_free(loop->checks.items);
    coir_free(loop->forks.items);
    coir_free(loop->cleanups.items);
    coir_free(loop->asyncs.items);
    coir_free(loop->embeds.items);
    for (int p = 0; p < COIR__PRIORITIES; p++)
        coir_free(loop->idles[p].items);
}

void
coir_loop_free(coir_loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->cleanups.count > 0) {
        array_feed(loop, &loop->cleanups, COIR_CLEANUP);
        invoke_pending(loop);
    }
    if (coir__default_loop == loop) {
        coir__children_fini(loop);
        coir__default_loop = NULL;
    }
    coir__ops_fini(loop);
    coir__signals_fini(loop);
    coir__stats_fini(loop);
    coir__periodics_fini(loop);
    coir__wake_fini(loop);
    loop->backend->fini(loop);
    coir__io_fini(loop);
    coir__timers_fini(loop);
    free_arrays(loop);
    coir_free(loop);
}

/* --- once ---------------------------------------------------------------- */

typedef struct once {
    coir_io io;
    coir_timer timer;
    void (*cb)(int revents, void *arg);
    void *arg;
} once;

static void
once_done(coir_loop *loop, once *o, int revents)
{
    void (*cb)(int, void *) = o->cb;
    void *arg = o->arg;
    coir__io_stop_own(loop, &o->io);
    coir_timer_stop(loop, &o->timer);
    loop->active--;
    coir_free(o);
    cb(revents, arg);
}

static void
once_ready(coir_loop *loop, coir_io *w, int revents)
{
    once *o = w->data;
    once_done(loop, o, revents | coir_clear_pending(loop, &o->timer));
}

static void
once_late(coir_loop *loop, coir_timer *w, int revents)
{
    once *o = w->data;
    once_done(loop, o, revents | coir_clear_pending(loop, &o->io));
}

int
coir_once(coir_loop *loop, int fd, int events, int64_t timeout_ns,
          void (*cb)(int revents, void *arg), void *arg)
{
    once *o = coir_calloc(1, sizeof *o);
    if (o == NULL)
        return COIR_ENOMEM;
    o->cb = cb;
    o->arg = arg;
    o->io.data = o->timer.data = o;
    coir_io_init(&o->io, once_ready, fd, events);
    /* Not once, so that it is active, and seen to be ours, when called. */
    coir_timer_init(&o->timer, once_late, timeout_ns, COIR_FOREVER);
    int err = fd >= 0 || timeout_ns >= 0 ? 0 : COIR_EINVAL;
    if (err == 0 && fd >= 0)
        err = coir__io_start_own(loop, &o->io);
    if (err < 0) {
        coir_free(o);
        return err;
    }
    if (timeout_ns >= 0)
        coir__timer_start(loop, &o->timer, COIR__OWN);
    loop->active++;
    return 0;
}
