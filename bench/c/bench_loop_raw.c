/* bench_loop_raw.c - the rows of descriptors on bare system calls: what any
 * loop takes at least. Watchers are epoll_wait() with a pointer in each event,
 * operations are io_uring by liburing; nothing is checked that the rows do not
 * need, and nothing can be stopped. */
#include "bench.h"

#include <sys/epoll.h>
#include <sys/mman.h>

#if BENCH_HAVE_LIBURING
#include <liburing.h>
#endif

#define LOOP_IS_RAW
#define MAX_EVENTS 1024

struct loop {
    int epoll; /* -1: none */
    int done;
#if BENCH_HAVE_LIBURING
    int has_ring;
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
#endif
};

struct io {
    int fd;
};

static void on_readable(struct io *io);

static void
loop_open(struct loop *loop)
{
    loop->epoll = -1;
}

static inline void
loop_break(struct loop *loop)
{
    loop->done = 1;
}

static void
io_init(struct loop *loop, struct io *io, int fd)
{
    if (loop->epoll < 0)
        loop->epoll = epoll_create1(0);
    if (loop->epoll < 0)
        bench_die("epoll_create1");
    io->fd = fd;
}

static void
io_start(struct loop *loop, struct io *io)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = io};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, io->fd, &event) < 0)
        bench_die("epoll_ctl");
}

static void
run_epoll(const struct loop *loop)
{
    static struct epoll_event events[MAX_EVENTS];
    while (!loop->done) {
        int n = epoll_wait(loop->epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++)
            on_readable(events[i].data.ptr);
    }
}

#if BENCH_HAVE_LIBURING

#define LOOP_HAS_OPERATIONS
#define BUFFERS 4096
#define GROUP 1
#define ENTRIES 256
/* In user_data, beside the address of the operation. */
#define SENT 1U

struct op {
    int fd;
    int many;
};

static char memory[BUFFERS];

static void on_received(struct op *op);
static int is_waited_for(void);

static struct io_uring_sqe *
next_request(struct loop *loop)
{
    if (!loop->has_ring) {
        struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                                  IORING_SETUP_DEFER_TASKRUN |
                                                  IORING_SETUP_CQSIZE,
                                         .cq_entries = 16 * ENTRIES};
        if (io_uring_queue_init_params(ENTRIES, &loop->ring, &params) != 0)
            bench_die("io_uring_queue_init_params");
        loop->has_ring = 1;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    if (sqe == NULL) {
        (void)io_uring_submit(&loop->ring);
        sqe = io_uring_get_sqe(&loop->ring);
    }
    if (sqe == NULL)
        bench_die("no room for a request");
    return sqe;
}

static void
op_receive(struct loop *loop, struct op *op, int fd, char *byte)
{
    struct io_uring_sqe *sqe = next_request(loop);
    op->fd = fd;
    op->many = 0;
    io_uring_prep_recv(sqe, fd, byte, 1, 0);
    if (is_waited_for())
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    io_uring_sqe_set_data(sqe, op);
}

static void
offer(struct loop *loop, int index)
{
    io_uring_buf_ring_add(loop->buffers, memory + index, 1,
                          (unsigned short)index, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(loop->buffers, 1);
}

static void
make_buffers(struct loop *loop)
{
    size_t size = BUFFERS * sizeof(struct io_uring_buf);
    loop->buffers = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct io_uring_buf_reg reg = {.ring_addr =
                                       (uint64_t)(uintptr_t)loop->buffers,
                                   .ring_entries = BUFFERS,
                                   .bgid = GROUP};
    if (loop->buffers == MAP_FAILED ||
        io_uring_register_buf_ring(&loop->ring, &reg, 0) != 0)
        bench_die("io_uring_register_buf_ring");
    io_uring_buf_ring_init(loop->buffers);
    for (int i = 0; i < BUFFERS; i++)
        offer(loop, i);
}

static void
op_receive_many(struct loop *loop, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = next_request(loop);
    if (loop->buffers == NULL)
        make_buffers(loop);
    op->fd = fd;
    op->many = 1;
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data(sqe, op);
}

static void
op_send(struct loop *loop, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = next_request(loop);
    io_uring_prep_send(sqe, fd, "", 1, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, (uintptr_t)op | SENT);
}

static void
complete(struct loop *loop, const struct io_uring_cqe *cqe)
{
    if (cqe->res != 1)
        bench_die("an operation failed");
    if (cqe->user_data & SENT)
        return;
    struct op *op = io_uring_cqe_get_data(cqe);
    if (op->many) {
        offer(loop, (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT));
        if (!(cqe->flags & IORING_CQE_F_MORE))
            op_receive_many(loop, op, op->fd);
    }
    on_received(op);
}

static void
run_ring(struct loop *loop)
{
    while (!loop->done) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        (void)io_uring_submit_and_wait(&loop->ring, 1);
        io_uring_for_each_cqe(&loop->ring, head, cqe)
        {
            complete(loop, cqe);
            count++;
        }
        io_uring_cq_advance(&loop->ring, count);
    }
}

#endif

static void
loop_run(struct loop *loop)
{
    loop->done = 0;
#if BENCH_HAVE_LIBURING
    if (loop->has_ring) {
        run_ring(loop);
        return;
    }
#endif
    run_epoll(loop);
}

/* One that does not block: all it is for is to register what was started. */
static void
loop_turn(struct loop *loop)
{
#if BENCH_HAVE_LIBURING
    if (loop->has_ring)
        (void)io_uring_submit(&loop->ring);
#else
    (void)loop;
#endif
}

static const char *
loop_version(void)
{
    return "epoll, io_uring";
}

#include "loop_rows.h"

#if BENCH_HAVE_LIBURING
/* Whether a socket is empty when it is to be received from again, as is known
 * of the rows: if all are active the next byte is there. */
static int
is_waited_for(void)
{
    return ring.active < ring.count;
}
#endif
