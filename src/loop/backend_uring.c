/* backend_uring.c - Linux io_uring, as a poller.
 *
 * One request per watched descriptor that ends with its first event. It is
 * made again before the next wait, so that watchers are called as long as
 * their descriptor is ready. Requests are handed over in the system call that
 * waits: a turn is one system call, whatever changed.
 *
 * A completion carries the descriptor and the generation of its registration,
 * as with epoll; of a request that was taken back, or whose slot changed, it
 * is known by its generation and ignored.
 *
 * A request keeps its file open, whoever closes the number. The audit compares
 * the file that the number means with the one that was registered, by device
 * and inode; so descriptors without an inode of their own (eventfd, epoll)
 * cannot be told from each other. Of an edge, which is registered for each
 * wait, only whether the number is open is looked at.
 *
 * Operations (coir/op.h) are requests of their own, named by their place in
 * the loop's table.
 *
 * With DEFER_TASKRUN a ring belongs to the thread that made it. It is made
 * again if another one waits. */
#include "loop/internal.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#if COIR__HAVE_LIBURING
#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 256
/* user_data of requests whose completion says nothing. */
#define SILENT UINT64_MAX
/* In user_data: the rest of that half is the index of an operation. */
#define OPERATION UINT64_C(0x80000000)
/* A receive that takes more calls than that waits for data. Not one: the
 * kernel completes a part of those that began by waiting in each call. */
#define SOON 8
/* Groups of buffers at a time. */
#define GROUPS 256

typedef struct uring_fd {
    dev_t dev;
    ino_t ino;
    uint32_t generation; /* of the request, if armed */
    uint8_t armed;
    uint8_t queued;   /* in `todo` */
    uint8_t waits;    /* its last receive waited long for data */
    uint32_t started; /* the number of calls before that */
} uring_fd;

typedef struct uring {
    struct io_uring ring;
    uring_fd *fds; /* by descriptor */
    int *todo;     /* descriptors whose request is to be made */
    int size;      /* of both */
    int todo_count;
    uint8_t groups[GROUPS]; /* in use? */
    int can_poll_first;     /* IORING_RECVSEND_POLL_FIRST */
    uint32_t calls;         /* of io_uring_enter() */
} uring;

/* --- the ring ------------------------------------------------------------ */

static int
make_ring(uring *u)
{
    static const unsigned setups[] = {IORING_SETUP_SINGLE_ISSUER |
                                          IORING_SETUP_DEFER_TASKRUN,
                                      IORING_SETUP_COOP_TASKRUN, 0};
    int err = 0;
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        struct io_uring_params params = {
            .flags = setups[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = 16 * ENTRIES};
        err = -io_uring_queue_init_params(ENTRIES, &u->ring, &params);
        /* Linux 5.19; the first setup is of 6.1. */
        u->can_poll_first = i == 0;
        if (err == 0 && !(params.features & IORING_FEAT_EXT_ARG)) {
            io_uring_queue_exit(&u->ring);
            return ENOSYS; /* before Linux 5.11 */
        }
        if (err != EINVAL) /* of a kernel that lacks a flag */
            return err;
    }
    return err;
}

static int
uring_init(coir_loop *loop)
{
    uring *u = coir_calloc(1, sizeof *u);
    if (u == NULL)
        return COIR_ENOMEM;
    int err = make_ring(u);
    if (err != 0) {
        coir_free(u);
        if (err == ENOMEM || err == EMFILE || err == ENFILE) {
            coir__loop_explain("io_uring_setup: %s", strerror(err));
            return COIR_ENOMEM;
        }
        coir__loop_explain(
            "io_uring_setup: %s%s", strerror(err),
            err == EPERM ? " (sysctl kernel.io_uring_disabled, or a seccomp "
                           "filter, as containers have)"
            : err == ENOSYS ? " (Linux 5.11 or later is needed)"
                            : "");
        return COIR_ENOSYS;
    }
    loop->backend_data = u;
    return 0;
}

static void
uring_fini(coir_loop *loop)
{
    uring *u = loop->backend_data;
    io_uring_queue_exit(&u->ring);
    coir_free(u->fds);
    coir_free(u->todo);
    coir_free(u);
}

static int
uring_reset(coir_loop *loop)
{
    uring *u = loop->backend_data;
    uring fresh = {0};
    int err = make_ring(&fresh);
    if (err != 0)
        return err;
    /* In a child this takes away its copy; the parent's requests stay. */
    io_uring_queue_exit(&u->ring);
    u->ring = fresh.ring;
    u->can_poll_first = fresh.can_poll_first;
    u->todo_count = 0;
    if (u->fds != NULL)
        memset(u->fds, 0, (size_t)u->size * sizeof *u->fds);
    return 0;
}

/* --- requests ------------------------------------------------------------ */

static uint64_t
name(int fd, uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint32_t)fd;
}

/* Room for a request; hands over what is there if it is full. NULL: the
 * kernel takes no more until its completions are read. */
static struct io_uring_sqe *
next_request(uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL) {
        (void)io_uring_submit(&u->ring);
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

static int
reserve(uring *u, int fd)
{
    if (fd < u->size)
        return 0;
    int size = u->size > 0 ? u->size : 64;
    while (size <= fd)
        size *= 2;
    uring_fd *fds = coir_realloc(u->fds, (size_t)size * sizeof *fds);
    if (fds == NULL)
        return ENOMEM;
    memset(fds + u->size, 0, (size_t)(size - u->size) * sizeof *fds);
    u->fds = fds;
    int *todo = coir_realloc(u->todo, (size_t)size * sizeof *todo);
    if (todo == NULL)
        return ENOMEM; /* fds is longer than it need be */
    u->todo = todo;
    u->size = size;
    return 0;
}

static void
queue(uring *u, int fd)
{
    if (!u->fds[fd].queued) {
        u->fds[fd].queued = 1;
        u->todo[u->todo_count++] = fd;
    }
}

/* Take the request back; what it may still complete with is stale. */
static void
disarm(uring *u, int fd)
{
    uring_fd *f = &u->fds[fd];
    if (!f->armed)
        return;
    f->armed = 0;
    struct io_uring_sqe *sqe = next_request(u);
    if (sqe == NULL)
        return; /* then it goes with its first event */
    io_uring_prep_poll_remove(sqe, name(fd, f->generation));
    io_uring_sqe_set_data64(sqe, SILENT);
}

static int
uring_modify(coir_loop *loop, int fd, int events)
{
    uring *u = loop->backend_data;
    if (events == 0) {
        if (fd < u->size)
            disarm(u, fd);
        return 0;
    }
    int err = reserve(u, fd);
    if (err != 0)
        return err;
    disarm(u, fd);
    if (loop->fds[fd].head->active & COIR__EDGE) {
        u->fds[fd].ino = 0; /* it is waited for too often to ask for it */
        queue(u, fd);
        return 0;
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        return errno;
    u->fds[fd].dev = st.st_dev;
    u->fds[fd].ino = st.st_ino;
    queue(u, fd);
    return 0;
}

static int
uring_audit(coir_loop *loop, int fd)
{
    uring *u = loop->backend_data;
    struct stat st;
    if (fstat(fd, &st) == 0 &&
        (u->fds[fd].ino == 0 ||
         (st.st_dev == u->fds[fd].dev && st.st_ino == u->fds[fd].ino)))
        return 0;
    disarm(u, fd);
    return EBADF;
}

/* Make the requests that are to be made. */
static void
arm_all(coir_loop *loop, uring *u)
{
    while (u->todo_count > 0) {
        int fd = u->todo[u->todo_count - 1];
        uring_fd *f = &u->fds[fd];
        const coir__fd *slot = &loop->fds[fd];
        if (slot->registered && !f->armed) {
            struct io_uring_sqe *sqe = next_request(u);
            if (sqe == NULL)
                return; /* in the next turn */
            f->armed = 1;
            f->generation = slot->generation;
            io_uring_prep_poll_add(
                sqe, fd,
                (slot->registered & COIR_READ ? (unsigned)POLLIN : 0) |
                    (slot->registered & COIR_WRITE ? (unsigned)POLLOUT : 0));
            io_uring_sqe_set_data64(sqe, name(fd, f->generation));
        }
        f->queued = 0;
        u->todo_count--;
    }
}

/* --- operations ---------------------------------------------------------- */

/* Is a receive to wait before it is tried? To try in vain takes time, and more
 * so to wait for what is there. It is expected to be as the last time. A
 * guess: the number may be another file by now. */
static int
will_wait(uring *u, const coir_op *op)
{
    if (!u->can_poll_first || op->fd < 0 || reserve(u, op->fd) != 0)
        return 0;
    uring_fd *f = &u->fds[op->fd];
    f->started = u->calls;
    return f->waits;
}

/* It completed: how many calls later? */
static void
note_wait(const coir_loop *loop, uring *u, const struct io_uring_cqe *cqe)
{
    uint64_t data = io_uring_cqe_get_data64(cqe);
    unsigned index = (unsigned)(data & (OPERATION - 1));
    if (index >= loop->op_size ||
        loop->ops[index].generation != (uint32_t)(data >> 32))
        return;
    const coir_op *op = loop->ops[index].op;
    if (op == NULL || op->kind != COIR_OP_RECV || op->fd < 0 ||
        op->fd >= u->size)
        return;
    uring_fd *f = &u->fds[op->fd];
    f->waits = !(cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) &&
               u->calls - f->started > SOON;
}

static void
prepare(uring *u, struct io_uring_sqe *sqe, const coir_op *op)
{
    unsigned len = op->len < INT_MAX ? (unsigned)op->len : INT_MAX;
    switch (op->kind) {
    case COIR_OP_ACCEPT:
        if (op->many)
            io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, op->arg);
        else
            io_uring_prep_accept(sqe, op->fd, op->memory, op->addrlen,
                                 op->arg);
        break;
    case COIR_OP_CONNECT:
        io_uring_prep_connect(sqe, op->fd, op->memory, (socklen_t)op->len);
        break;
    case COIR_OP_RECV:
        io_uring_prep_recv(sqe, op->fd, op->memory, len, op->arg);
        if (will_wait(u, op))
            sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
        if (op->many) {
            sqe->ioprio |= IORING_RECV_MULTISHOT;
            sqe->flags |= IOSQE_BUFFER_SELECT;
            sqe->buf_group = (uint16_t)op->buffers->group;
        }
        break;
    case COIR_OP_SEND:
        io_uring_prep_send(sqe, op->fd, op->memory, len,
                           op->arg | MSG_NOSIGNAL);
        break;
    case COIR_OP_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->memory, (unsigned)op->arg);
        break;
    case COIR_OP_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->memory,
                              (unsigned)op->arg | MSG_NOSIGNAL);
        break;
    case COIR_OP_READ:
        io_uring_prep_read(sqe, op->fd, op->memory, len, (uint64_t)op->offset);
        break;
    default:
        io_uring_prep_write(sqe, op->fd, op->memory, len,
                            (uint64_t)op->offset);
    }
}

static uint64_t
operation_name(unsigned index, uint32_t generation)
{
    return (uint64_t)generation << 32 | OPERATION | index;
}

static int
uring_op_start(coir_loop *loop, coir_op *op, uint32_t generation)
{
    uring *u = loop->backend_data;
    if (op->buffers != NULL && op->buffers->kernel == NULL)
        return 0;
    struct io_uring_sqe *sqe = next_request(u);
    if (sqe == NULL)
        return 0;
    prepare(u, sqe, op);
    io_uring_sqe_set_data64(sqe, operation_name(op->index, generation));
    return 1;
}

static void
uring_op_cancel(coir_loop *loop, unsigned index, uint32_t generation)
{
    uring *u = loop->backend_data;
    struct io_uring_sqe *sqe = next_request(u);
    if (sqe == NULL)
        return;
    io_uring_prep_cancel64(sqe, operation_name(index, generation), 0);
    io_uring_sqe_set_data64(sqe, SILENT);
}

/* --- buffers ------------------------------------------------------------- */

static void
offer(coir_buffers *b, unsigned index)
{
    io_uring_buf_ring_add(b->kernel, b->memory + index * b->size,
                          (unsigned)b->size, (uint16_t)index,
                          (int)b->count - 1, 0);
    io_uring_buf_ring_advance(b->kernel, 1);
}

static void
uring_buffers_init(coir_buffers *b)
{
    uring *u = b->loop->backend_data;
    int group = 0;
    while (group < GROUPS && u->groups[group])
        group++;
    if (group == GROUPS)
        return;
    size_t size = b->count * sizeof(struct io_uring_buf);
    void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)shared,
                                   .ring_entries = b->count,
                                   .bgid = (uint16_t)group};
    if (io_uring_register_buf_ring(&u->ring, &reg, 0) != 0) {
        (void)munmap(shared, size);
        return; /* before Linux 5.19 */
    }
    u->groups[group] = 1;
    b->group = group;
    b->kernel = shared;
    io_uring_buf_ring_init(shared);
    for (unsigned i = 0; i < b->count; i++)
        if (b->next[i] != COIR__BUFFER_USED)
            offer(b, i);
}

static void
uring_buffers_fini(coir_buffers *b)
{
    uring *u = b->loop->backend_data;
    /* Fails if the ring was made anew: it is not registered there. If that is
     * still to be done it may be the parent's. */
    if (b->loop->reset == 0)
        (void)io_uring_unregister_buf_ring(&u->ring, b->group);
    (void)munmap(b->kernel, b->count * sizeof(struct io_uring_buf));
    u->groups[b->group] = 0;
    b->kernel = NULL;
}

/* --- waiting ------------------------------------------------------------- */

/* Returns 0 if the operation cannot take it yet. */
static int
complete_operation(coir_loop *loop, const struct io_uring_cqe *cqe)
{
    uint64_t data = io_uring_cqe_get_data64(cqe);
    return coir__op_done(loop, (unsigned)(data & (OPERATION - 1)),
                         (uint32_t)(data >> 32), cqe->res,
                         cqe->flags & IORING_CQE_F_MORE ? COIR_OP_MORE : 0,
                         cqe->flags & IORING_CQE_F_BUFFER
                             ? (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT)
                             : -1);
}

static void
complete_poll(coir_loop *loop, uring *u, uint64_t data, int res)
{
    int fd = (int)(uint32_t)data;
    uint32_t generation = (uint32_t)(data >> 32);
    if (fd >= u->size || !u->fds[fd].armed ||
        u->fds[fd].generation != generation)
        return; /* of a request that was taken back */
    u->fds[fd].armed = 0;
    if (loop->fds[fd].generation != generation || !loop->fds[fd].registered)
        return;
    if (res == -ECANCELED || res == -EINTR || res == -EAGAIN) {
        queue(u, fd);
        return;
    }
    if (res < 0) {
        coir__io_kill(loop, fd);
        return;
    }
    queue(u, fd);
    coir__io_ready(loop, fd, generation,
                   (res & (POLLIN | POLLERR | POLLHUP) ? COIR_READ : 0) |
                       (res & (POLLOUT | POLLERR | POLLHUP) ? COIR_WRITE : 0));
}

/* Show the kernel the requests made; how many it has not taken yet. The same
 * as io_uring_submit() does first. */
static unsigned
flush(uring *u)
{
    struct io_uring_sq *sq = &u->ring.sq;
    unsigned mask = *sq->kring_mask;
    for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++)
        sq->array[sq->sqe_head & mask] = sq->sqe_head & mask;
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

/* Hand over the requests and wait, in one system call. Not by liburing: that
 * waits on if a signal came when requests had been handed over, of which the
 * kernel says no word. Returns 0 or an errno value. */
static int
enter(coir_loop *loop, uring *u, int64_t timeout_ns)
{
    struct __kernel_timespec t = {timeout_ns / COIR_NS_PER_S,
                                  timeout_ns % COIR_NS_PER_S};
    struct io_uring_getevents_arg arg = {
        .sigmask_sz = NSIG / 8,
        .ts = timeout_ns == COIR_FOREVER ? 0 : (uint64_t)(uintptr_t)&t};
    unsigned count = flush(u);
    unsigned wanted =
        timeout_ns != 0 && io_uring_cq_ready(&u->ring) == 0 ? 1 : 0;
    int64_t deadline = timeout_ns < COIR_FOREVER - loop->now
                           ? loop->now + timeout_ns
                           : COIR_FOREVER;
    u->calls++;
    long n = syscall(__NR_io_uring_enter, u->ring.ring_fd, count, wanted,
                     IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg,
                     sizeof arg);
    if (n < 0)
        return errno;
    if (wanted && io_uring_cq_ready(&u->ring) == 0 &&
        loop->clock.monotonic(loop->clock.user) < deadline)
        return EINTR;
    return 0;
}

static int
uring_wait(coir_loop *loop, int64_t timeout_ns)
{
    uring *u = loop->backend_data;
    arm_all(loop, u);
    if (u->todo_count > 0)
        timeout_ns = 0; /* the kernel must first be rid of completions */
    coir__release(loop);
    int err = enter(loop, u, timeout_ns);
    coir__acquire(loop);
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        uint64_t data = io_uring_cqe_get_data64(cqe);
        if (data == SILENT)
            ;
        else if (!(data & OPERATION))
            complete_poll(loop, u, data, cqe->res);
        else {
            note_wait(loop, u, cqe);
            if (!complete_operation(loop, cqe))
                break; /* and what comes after it, in the next turn */
        }
        count++;
    }
    io_uring_cq_advance(&u->ring, count);
    if (err == EEXIST && !coir__ops_in_kernel(loop)) {
        if (loop->reset == 0)
            loop->reset = COIR__RESET_STALE; /* another thread's ring */
    }
    else if (err == EINTR)
        return EINTR;
    else if (err > 0 && err != ETIME && err != EAGAIN && err != EBUSY) {
        errno = err;
        coir__syserr("io_uring_enter");
    }
    return 0;
}

#else

static int
uring_init(coir_loop *loop)
{
    (void)loop;
    coir__loop_explain("io_uring: this libcoir was built without liburing");
    return COIR_ENOSYS;
}

#define uring_fini NULL
#define uring_reset NULL
#define uring_modify NULL
#define uring_wait NULL
#define uring_audit NULL
#define uring_op_start NULL
#define uring_op_cancel NULL
#define uring_buffers_init NULL
#define uring_buffers_fini NULL
#define offer NULL

#endif

const coir__backend coir__backend_uring = {
    .flag = COIR_BACKEND_IOURING,
    .name = "io_uring",
    .init = uring_init,
    .fini = uring_fini,
    .reset = uring_reset,
    .modify = uring_modify,
    .wait = uring_wait,
    .audit = uring_audit,
    .op_start = uring_op_start,
    .op_cancel = uring_op_cancel,
    .buffers_init = uring_buffers_init,
    .buffers_fini = uring_buffers_fini,
    .buffers_release = offer,
};
