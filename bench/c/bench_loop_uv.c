/* bench_loop_uv.c - the loop rows on libuv. Its timeouts are whole
 * milliseconds; others are rounded up. */
#include <uv.h>

#include "bench.h"

struct loop {
    uv_loop_t loop;
};

struct timer {
    uv_timer_t w;
};

struct io {
    uv_poll_t w;
};

struct async {
    uv_async_t w;
};

static void on_timer(struct timer *timer);
static void on_readable(struct io *io);
static void on_async(struct async *async);

static void
loop_open(struct loop *loop)
{
    if (uv_loop_init(&loop->loop) < 0)
        bench_die("uv_loop_init");
}

static inline void
loop_run(struct loop *loop)
{
    (void)uv_run(&loop->loop, UV_RUN_DEFAULT);
}

static inline void
loop_turn(struct loop *loop)
{
    (void)uv_run(&loop->loop, UV_RUN_NOWAIT);
}

static inline void
loop_break(struct loop *loop)
{
    uv_stop(&loop->loop);
}

static inline void
loop_now_update(struct loop *loop)
{
    uv_update_time(&loop->loop);
}

static void
loop_collect(struct loop *loop)
{
    (void)loop; /* it does always */
}

static void
timer_cb(uv_timer_t *w)
{
    on_timer((struct timer *)w);
}

static void
timer_init(struct loop *loop, struct timer *timer, unsigned repeat_ms)
{
    if (uv_timer_init(&loop->loop, &timer->w) < 0)
        bench_die("uv_timer_init");
    timer->w.data = (void *)(uintptr_t)repeat_ms;
}

static inline void
timer_start(struct loop *loop, struct timer *timer, unsigned us)
{
    (void)loop;
    if (uv_timer_start(&timer->w, timer_cb, (us + 999) / 1000,
                       (uintptr_t)timer->w.data) < 0)
        bench_die("uv_timer_start");
}

static inline void
timer_stop(struct loop *loop, struct timer *timer)
{
    (void)loop;
    (void)uv_timer_stop(&timer->w);
}

static inline void
timer_again(struct loop *loop, struct timer *timer)
{
    (void)loop;
    if (uv_timer_again(&timer->w) < 0)
        bench_die("uv_timer_again");
}

static void
poll_cb(uv_poll_t *w, int status, int events)
{
    (void)status;
    (void)events;
    on_readable((struct io *)w);
}

static void
io_init(struct loop *loop, struct io *io, int fd)
{
    if (uv_poll_init(&loop->loop, &io->w, fd) < 0)
        bench_die("uv_poll_init");
}

static inline void
io_start(struct loop *loop, struct io *io)
{
    (void)loop;
    if (uv_poll_start(&io->w, UV_READABLE, poll_cb) < 0)
        bench_die("uv_poll_start");
}

static inline void
io_stop(struct loop *loop, struct io *io)
{
    (void)loop;
    (void)uv_poll_stop(&io->w);
}

static void
async_cb(uv_async_t *w)
{
    on_async((struct async *)w);
}

static void
async_init(struct loop *loop, struct async *async)
{
    if (uv_async_init(&loop->loop, &async->w, async_cb) < 0)
        bench_die("uv_async_init");
}

static inline void
async_send(struct loop *loop, struct async *async)
{
    (void)loop;
    if (uv_async_send(&async->w) < 0)
        bench_die("uv_async_send");
}

static const char *
loop_version(void)
{
    return uv_version_string();
}

#include "loop_rows.h"
