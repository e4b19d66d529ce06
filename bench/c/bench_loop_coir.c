/* bench_loop_coir.c - the loop rows on coir/loop.h, with the backend that the
 * build names. */
#include <coir.h>

#include "bench.h"

struct loop {
    coir_loop *loop;
    coir_buffers *buffers;
};

struct timer {
    coir_timer w;
};

struct io {
    coir_io w;
};

struct async {
    coir_async w;
};

#define LOOP_HAS_OPERATIONS
struct op {
    coir_op op;
};

static void on_timer(struct timer *timer);
static void on_readable(struct io *io);
static void on_async(struct async *async);
static void on_received(struct op *op);

static void
loop_open(struct loop *loop)
{
    int err =
        coir_loop_new(&loop->loop, COIR_LOOP_NOENV | COIR_BACKEND_BENCHED);
    if (err < 0)
        bench_die(err == COIR_ENOSYS ? coir_loop_error() : coir_strerror(err));
}

static inline void
loop_run(struct loop *loop)
{
    (void)coir_loop_run(loop->loop, 0);
}

static inline void
loop_turn(struct loop *loop)
{
    (void)coir_loop_run(loop->loop, COIR_RUN_NOWAIT);
}

static inline void
loop_break(struct loop *loop)
{
    coir_loop_break(loop->loop, COIR_BREAK_ONE);
}

static inline void
loop_now_update(struct loop *loop)
{
    coir_loop_now_update(loop->loop);
}

static void
loop_collect(struct loop *loop)
{
    coir_loop_set_timer_collect(loop->loop, COIR_NS_PER_MS);
}

static void
timer_cb(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    on_timer((struct timer *)w);
}

static void
timer_init(struct loop *loop, struct timer *timer, unsigned repeat_ms)
{
    (void)loop;
    coir_timer_init(&timer->w, timer_cb, 0, repeat_ms * COIR_NS_PER_MS);
}

static inline void
timer_start(struct loop *loop, struct timer *timer, unsigned us)
{
    timer->w.timeout_ns = (int64_t)us * 1000;
    coir_timer_start(loop->loop, &timer->w);
}

static inline void
timer_stop(struct loop *loop, struct timer *timer)
{
    coir_timer_stop(loop->loop, &timer->w);
}

static inline void
timer_again(struct loop *loop, struct timer *timer)
{
    coir_timer_again(loop->loop, &timer->w);
}

static void
io_cb(coir_loop *loop, coir_io *w, int revents)
{
    (void)loop;
    (void)revents;
    on_readable((struct io *)w);
}

static void
io_init(struct loop *loop, struct io *io, int fd)
{
    (void)loop;
    coir_io_init(&io->w, io_cb, fd, COIR_READ);
}

static inline void
io_start(struct loop *loop, struct io *io)
{
    if (coir_io_start(loop->loop, &io->w) < 0)
        bench_die("coir_io_start");
}

static inline void
io_stop(struct loop *loop, struct io *io)
{
    coir_io_stop(loop->loop, &io->w);
}

static void
async_cb(coir_loop *loop, coir_async *w, int revents)
{
    (void)loop;
    (void)revents;
    on_async((struct async *)w);
}

static void
async_init(struct loop *loop, struct async *async)
{
    coir_async_init(&async->w, async_cb);
    if (coir_async_start(loop->loop, &async->w) < 0)
        bench_die("coir_async_start");
}

static inline void
async_send(struct loop *loop, struct async *async)
{
    coir_async_send(loop->loop, &async->w);
}

static void
received_cb(coir_loop *loop, coir_op *op)
{
    (void)loop;
    if (op->result != 1)
        bench_die("nothing was received");
    on_received((struct op *)op);
}

static void
received_many_cb(coir_loop *loop, coir_op *op)
{
    if (op->result != 1)
        bench_die("nothing was received");
    coir_buffers_release(op->buffers, op->buffer);
    if (!(op->flags & COIR_OP_MORE) && coir_op_start(loop, op) < 0)
        bench_die("coir_op_start");
    on_received((struct op *)op);
}

static void
sent_cb(coir_loop *loop, coir_op *op)
{
    (void)loop;
    if (op->result != 1)
        bench_die("nothing was sent");
}

static inline void
op_receive(struct loop *loop, struct op *op, int fd, char *byte)
{
    coir_op_recv(&op->op, received_cb, fd, byte, 1, 0);
    if (coir_op_start(loop->loop, &op->op) < 0)
        bench_die("coir_op_start");
}

static inline void
op_receive_many(struct loop *loop, struct op *op, int fd)
{
    if (loop->buffers == NULL &&
        coir_buffers_new(&loop->buffers, loop->loop, 4096, 1) < 0)
        bench_die("coir_buffers_new");
    coir_op_recv_many(&op->op, received_many_cb, fd, loop->buffers, 0);
    if (coir_op_start(loop->loop, &op->op) < 0)
        bench_die("coir_op_start");
}

static inline void
op_send(struct loop *loop, struct op *op, int fd)
{
    if (coir_op_is_active(&op->op))
        bench_die("the last byte is still being sent");

    coir_op_send(&op->op, sent_cb, fd, "", 1, 0);
    if (coir_op_start(loop->loop, &op->op) < 0)
        bench_die("coir_op_start");
}

static const char *
loop_version(void)
{
    return coir_version();
}

#include "loop_rows.h"
