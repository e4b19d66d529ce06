/* periodic.c - watchers on the wall clock.
 *
 * A binary heap by the time of the next call; there are few of them. They are
 * compared with the wall clock itself, so that they follow it; when it was set
 * (a jump of more than a second) all are reckoned anew, since one that waits
 * for next noon must not wait for a day that is gone. The kernel tells of
 * jumps through a timerfd where it can, else they are seen at the next look at
 * the clock. */
#include "loop/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* libev's least interval, 2^-13 s. */
#define MIN_INTERVAL_NS INT64_C(122070)
#define INDEX(w) (((w)->active & ~(COIR__SECONDS | COIR__OWN)) - 1)

/* --- the next time, in nanoseconds --------------------------------------- */

/* The next of offset + n * interval that is later than now. */
static int64_t
next_interval(int64_t offset, int64_t interval, int64_t now)
{
    if (interval < MIN_INTERVAL_NS)
        interval = MIN_INTERVAL_NS;
    __int128 since = (__int128)now - offset;
    __int128 n = since / interval;
    if (since % interval < 0)
        n--; /* towards the past */
    __int128 at = offset + (n + 1) * interval;
    return at < COIR_FOREVER ? (int64_t)at : COIR_FOREVER;
}

/* --- and in seconds: those of coir/ev.h ---------------------------------- */

static double
seconds_of(const int64_t *field)
{
    double seconds;
    memcpy(&seconds, field, sizeof seconds);
    return seconds;
}

/* floor(), which the C library has apart. */
static double
round_down(double x)
{
    if (!(x > -0x1p53 && x < 0x1p53))
        return x; /* whole already, or not a number */
    double whole = (double)(int64_t)x;
    return whole - (x < whole);
}

/* In doubles, as the caller reckons: an interval cut to nanoseconds would be
 * off by seconds after the many of them that there were since 1970. */
static double
next_interval_seconds(double offset, double interval, double now)
{
    if (interval < MIN_INTERVAL_NS * 1e-9)
        interval = MIN_INTERVAL_NS * 1e-9;
    double at = offset + round_down((now - offset) / interval) * interval;
    while (at <= now) {
        if (at + interval == at)
            return now; /* too large to be added to */
        at += interval;
    }
    return at;
}

static double
reckon_seconds(coir_periodic *w, double now)
{
    if (w->reschedule != NULL) {
        double (*fn)(coir_periodic *, double) =
            (double (*)(coir_periodic *, double))(void (*)(void))w->reschedule;
        return fn(w, now);
    }
    double offset = seconds_of(&w->offset_ns);
    double interval = seconds_of(&w->interval_ns);
    return interval > 0 ? next_interval_seconds(offset, interval, now)
                        : offset;
}

static void
set_at(coir_periodic *w, int64_t at)
{
    if (w->active & COIR__SECONDS) {
        double seconds = coir__to_seconds(at);
        memcpy(&w->at_ns, &seconds, sizeof seconds);
    }
    else
        w->at_ns = at;
}

/* --- in either ----------------------------------------------------------- */

/* Of the interval: 1, 0 for none, -1 for one that makes no sense. */
static int
interval_sign(const coir_periodic *w, int flags)
{
    if (flags & COIR__SECONDS) {
        double interval = seconds_of(&w->interval_ns);
        return (interval > 0) - (interval < 0);
    }
    return (w->interval_ns > 0) - (w->interval_ns < 0);
}

/* Set when it is to be called after `now`, and return that; for one without a
 * rule, its offset. `reached`: its present time is not later than now. */
static int64_t
reckon(coir_periodic *w, int64_t now, int reached)
{
    if (w->active & COIR__SECONDS) {
        double from = coir__to_seconds(now);
        /* A double is too coarse to tell the two apart. */
        if (reached && from < seconds_of(&w->at_ns))
            from = seconds_of(&w->at_ns);
        double at = reckon_seconds(w, from);
        memcpy(&w->at_ns, &at, sizeof at);
        return coir__from_seconds(at);
    }
    if (w->reschedule != NULL)
        w->at_ns = w->reschedule(w, now);
    else if (w->interval_ns > 0)
        w->at_ns = next_interval(w->offset_ns, w->interval_ns, now);
    else
        w->at_ns = w->offset_ns;
    return w->at_ns;
}

/* --- the heap ------------------------------------------------------------ */

static void
place(coir_loop *loop, int i, coir__periodic_entry e)
{
    loop->periodics[i] = e;
    e.w->active = (i + 1) | (e.w->active & COIR__SECONDS);
}

static void
up(coir_loop *loop, int i)
{
    coir__periodic_entry e = loop->periodics[i];
    while (i > 0 && e.at < loop->periodics[(i - 1) / 2].at) {
        place(loop, i, loop->periodics[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(loop, i, e);
}

static void
down(coir_loop *loop, int i)
{
    coir__periodic_entry e = loop->periodics[i];
    for (int child; (child = 2 * i + 1) < loop->periodic_count; i = child) {
        if (child + 1 < loop->periodic_count &&
            loop->periodics[child + 1].at < loop->periodics[child].at)
            child++;
        if (e.at <= loop->periodics[child].at)
            break;
        place(loop, i, loop->periodics[child]);
    }
    place(loop, i, e);
}

static void
remove_at(coir_loop *loop, int i)
{
    coir__periodic_entry last = loop->periodics[--loop->periodic_count];
    if (i == loop->periodic_count)
        return;
    loop->periodics[i] = last;
    up(loop, i);
    down(loop, INDEX(last.w));
}

static int
reserve(coir_loop *loop)
{
    if (loop->periodic_count < loop->periodic_size)
        return 0;
    int size = loop->periodic_size > 0 ? 2 * loop->periodic_size : 8;
    coir__periodic_entry *periodics =
        coir_realloc(loop->periodics, (size_t)size * sizeof *periodics);
    if (periodics == NULL)
        return COIR_ENOMEM;
    loop->periodics = periodics;
    loop->periodic_size = size;
    return 0;
}

/* --- jumps of the clock -------------------------------------------------- */

/* Far in the future, and cancelled when the clock is set. */
static void
arm_timerfd(coir_loop *loop)
{
    struct itimerspec never = {
        .it_value.tv_sec =
            (time_t)(loop->wall / COIR_NS_PER_S + INT64_C(3153600000))};
    (void)timerfd_settime(loop->timer_fd,
                          TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never,
                          NULL);
}

static void
clock_was_set(coir_loop *loop, coir_io *w, int revents)
{
    coir__io_retry(loop, w, revents);
    uint64_t times;
    (void)!read(w->fd, &times, sizeof times); /* ECANCELED: that is it */
    loop->wall_checked = loop->now - COIR_NS_PER_S;
    coir__time_update(loop);
    coir__periodics_reschedule(loop);
    arm_timerfd(loop);
}

/* Without it jumps are found a little later. */
static void
open_timerfd(coir_loop *loop)
{
    if (loop->timer_fd >= 0 || (loop->flags & COIR_LOOP_NOTIMERFD) ||
        loop->clock.wall != coir__clock_system.wall)
        return;
    int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        return;
    coir_io_init(&loop->timer_io, clock_was_set, fd, COIR_READ);
    loop->timer_io.priority = COIR_MAXPRI;
    if (coir__io_start_own(loop, &loop->timer_io) < 0) {
        (void)close(fd);
        return;
    }
    loop->timer_fd = fd;
    arm_timerfd(loop);
}

static void
close_timerfd(coir_loop *loop)
{
    if (loop->timer_fd < 0)
        return;
    coir__io_stop_own(loop, &loop->timer_io);
    (void)close(loop->timer_fd);
    loop->timer_fd = -1;
}

void
coir__periodics_forked(coir_loop *loop)
{
    if (loop->timer_fd < 0)
        return;
    close_timerfd(loop);
    open_timerfd(loop);
}

/* --- the watcher --------------------------------------------------------- */

/* Is there room, and do its fields make sense? */
static int
can_start(coir_loop *loop, const coir_periodic *w, int flags)
{
    if (w->reschedule == NULL && interval_sign(w, flags) < 0)
        return COIR_EINVAL;
    return coir_is_active(w) ? 0 : reserve(loop);
}

int
coir__periodic_start(coir_loop *loop, coir_periodic *w, int flags)
{
    if (coir_is_active(w))
        return 0;
    int err = can_start(loop, w, flags);
    if (err < 0)
        return err;
    w->active = flags; /* tells the unit */
    open_timerfd(loop);
    coir__clamp_priority((coir_watcher *)w);
    int64_t at = reckon(w, loop->wall, 0);
    int i = loop->periodic_count++;
    loop->periodics[i] = (coir__periodic_entry){at, w};
    up(loop, i);
    loop->active++;
    return 0;
}

int
coir_periodic_start(coir_loop *loop, coir_periodic *w)
{
    return coir__periodic_start(loop, w, 0);
}

void
coir_periodic_stop(coir_loop *loop, coir_periodic *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return;
    int i = INDEX(w);
    assert(i < loop->periodic_count && loop->periodics[i].w == w);
    remove_at(loop, i);
    w->active = 0;
    loop->active--;
    if (loop->periodic_count == 0)
        close_timerfd(loop);
}

int
coir_periodic_again(coir_loop *loop, coir_periodic *w)
{
    int flags = w->active & COIR__SECONDS;
    int err = can_start(loop, w, flags);
    if (err < 0)
        return err;
    coir_periodic_stop(loop, w);
    return coir__periodic_start(loop, w, flags);
}

int64_t
coir__periodics_next(const coir_loop *loop)
{
    int64_t at = loop->periodics[0].at;
    if (at <= loop->wall) /* perhaps by more than a number can say */
        return loop->now;
    /* It may be a year away, and the clocks on either side of 0. */
    if (at > COIR_FOREVER - COIR_FOREVER / 4)
        return COIR_FOREVER;
    return at - loop->wall + loop->now;
}

/* Not by coir_periodic_stop(): that would take back the call. */
static void
expire(coir_loop *loop)
{
    coir_periodic *w = loop->periodics[0].w;
    if (w->reschedule == NULL && interval_sign(w, w->active) <= 0) {
        remove_at(loop, 0);
        w->active = 0;
        loop->active--;
        return;
    }
    int64_t at = reckon(w, loop->wall, 1);
    if (at <= loop->wall) { /* a rule that does not get on */
        at = loop->wall + 1;
        set_at(w, at);
    }
    loop->periodics[0].at = at;
    down(loop, 0);
}

void
coir__periodics_expire(coir_loop *loop)
{
    coir__batch batch;
    coir__batch_init(&batch);
    while (loop->periodic_count > 0 && loop->periodics[0].at <= loop->wall) {
        coir__batch_add(&batch, (coir_watcher *)loop->periodics[0].w,
                        COIR_PERIODIC);
        expire(loop);
    }
    coir__batch_feed(loop, &batch);
    if (loop->periodic_count == 0)
        close_timerfd(loop);
}

void
coir__periodics_reschedule(coir_loop *loop)
{
    for (int i = 0; i < loop->periodic_count; i++) {
        coir__periodic_entry *e = &loop->periodics[i];
        e->at = reckon(e->w, loop->wall, 0);
    }
    for (int i = loop->periodic_count / 2; i-- > 0;)
        down(loop, i);
}

static int
compare(const void *a, const void *b)
{
    int64_t x = ((const coir__periodic_entry *)a)->at;
    int64_t y = ((const coir__periodic_entry *)b)->at;
    return (x > y) - (x < y);
}

void
coir__periodics_walk(coir_loop *loop,
                     void (*cb)(coir_loop *loop, int type, void *w))
{
    /* In order they are a heap, too, and one that is stopped leaves those
     * before it where they are. */
    if (loop->periodic_count > 0)
        qsort(loop->periodics, (size_t)loop->periodic_count,
              sizeof *loop->periodics, compare);
    for (int i = 0; i < loop->periodic_count; i++)
        place(loop, i, loop->periodics[i]);
    for (int i = loop->periodic_count; i-- > 0;)
        cb(loop, COIR_PERIODIC, loop->periodics[i].w);
}

void
coir__periodics_fini(coir_loop *loop)
{
    close_timerfd(loop);
    coir_free(loop->periodics);
}

void
coir__periodics_verify(coir_loop *loop)
{
    for (int i = 0; i < loop->periodic_count; i++) {
        const coir__periodic_entry *e = &loop->periodics[i];
        if (INDEX(e->w) != i)
            coir__damaged("a periodic was overwritten while active");
        if (i > 0 && loop->periodics[(i - 1) / 2].at > e->at)
            coir__damaged("the heap of periodics");
    }
}
