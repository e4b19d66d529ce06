/* bench_loop_ev.c - the loop rows on libev. */
#include <ev.h>

#include "bench.h"

#include <stdio.h>

struct loop {
    struct ev_loop *loop;
};

struct timer {
    ev_timer w;
};

struct io {
    ev_io w;
};

struct async {
    ev_async w;
};

static void on_timer(struct timer *timer);
static void on_readable(struct io *io);
static void on_async(struct async *async);

static void
loop_open(struct loop *loop)
{
    loop->loop = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (loop->loop == NULL)
        bench_die("ev_loop_new");
}

static inline void
loop_run(struct loop *loop)
{
    (void)ev_run(loop->loop, 0);
}

static inline void
loop_turn(struct loop *loop)
{
    (void)ev_run(loop->loop, EVRUN_NOWAIT);
}

static inline void
loop_break(struct loop *loop)
{
    ev_break(loop->loop, EVBREAK_ONE);
}

static inline void
loop_now_update(struct loop *loop)
{
    ev_now_update(loop->loop);
}

static void
loop_collect(struct loop *loop)
{
    ev_set_timeout_collect_interval(loop->loop, 1e-3);
}

static void
timer_cb(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    on_timer((struct timer *)w);
}

static void
timer_init(struct loop *loop, struct timer *timer, unsigned repeat_ms)
{
    (void)loop;
    ev_timer_init(&timer->w, timer_cb, 0., repeat_ms * 1e-3);
}

static inline void
timer_start(struct loop *loop, struct timer *timer, unsigned us)
{
    ev_timer_set(&timer->w, us * 1e-6, timer->w.repeat);
    ev_timer_start(loop->loop, &timer->w);
}

static inline void
timer_stop(struct loop *loop, struct timer *timer)
{
    ev_timer_stop(loop->loop, &timer->w);
}

static inline void
timer_again(struct loop *loop, struct timer *timer)
{
    ev_timer_again(loop->loop, &timer->w);
}

static void
io_cb(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop;
    (void)revents;
    on_readable((struct io *)w);
}

static void
io_init(struct loop *loop, struct io *io, int fd)
{
    (void)loop;
    ev_io_init(&io->w, io_cb, fd, EV_READ);
}

static inline void
io_start(struct loop *loop, struct io *io)
{
    ev_io_start(loop->loop, &io->w);
}

static inline void
io_stop(struct loop *loop, struct io *io)
{
    ev_io_stop(loop->loop, &io->w);
}

static void
async_cb(struct ev_loop *loop, ev_async *w, int revents)
{
    (void)loop;
    (void)revents;
    on_async((struct async *)w);
}

static void
async_init(struct loop *loop, struct async *async)
{
    ev_async_init(&async->w, async_cb);
    ev_async_start(loop->loop, &async->w);
}

static inline void
async_send(struct loop *loop, struct async *async)
{
    ev_async_send(loop->loop, &async->w);
}

static const char *
loop_version(void)
{
    static char version[16];
    (void)snprintf(version, sizeof(version), "%d.%d", ev_version_major(),
                   ev_version_minor());
    return version;
}

#include "loop_rows.h"
