/* coir/op.h - operations that complete: read, write, accept, connect.
 *
 * A watcher says that a call would not block; an operation is the call. It is
 * started, and its callback is given what the call returned. With io_uring the
 * kernel does it, many at one system call. With the other backends the loop
 * tries the call, waits if need be, and tries again; the results are the same.
 *
 *     coir_op op;
 *     coir_op_recv(&op, received, fd, buf, sizeof buf, 0);
 *     coir_op_start(loop, &op);
 *
 *     static void
 *     received(coir_loop *loop, coir_op *op)
 *     {
 *         ... op->result bytes, or a negative errno value ...
 *     }
 *
 * Owner:   from start until its callback, an operation and all memory it names
 *          belong to the loop, or the kernel. Those that go on (_many) give
 *          COIR_OP_MORE with each result but the last.
 * Threads: the thread that runs the loop. It cannot move to another thread
 *          while operations are in progress.
 * Blocks:  nothing; but with the backends that wait, reads and writes of
 *          regular files are done at once and take what the disk takes.
 *          SIGPIPE is not raised for sockets.
 * Order:   operations of one kind on one descriptor should be started one
 *          after the other; who goes first is not defined.
 * Errors:  0 or a COIR_E* error; errno values come as results only.
 *
 * An operation that is in progress keeps the loop running. In the child after
 * a fork all of them end with -ECANCELED; the parent's go on. */
#ifndef COIR_OP_H
#define COIR_OP_H

#include <coir/loop.h>

#include <stddef.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_op coir_op;
typedef struct coir_buffers coir_buffers;
typedef void coir_op_fn(coir_loop *loop, coir_op *op);

enum coir_op_kind {
    COIR_OP_ACCEPT,
    COIR_OP_CONNECT,
    COIR_OP_RECV,
    COIR_OP_SEND,
    COIR_OP_RECVMSG,
    COIR_OP_SENDMSG,
    COIR_OP_READ,
    COIR_OP_WRITE
};

enum coir_op_flags {
    COIR_OP_MORE = 1 /* more results will come */
};

struct coir_op {
    coir_op_fn *cb;
    void *data;     /* the caller's */
    int result;     /* [ro] of the call, or a negative errno value */
    unsigned flags; /* [ro] enum coir_op_flags */
    void *buffer;   /* [ro] the one received into, of coir_op_recv_many() */
    uint8_t kind;
    uint8_t many;
    uint8_t state;
    uint8_t blocking;
    int fd;
    int arg;
    unsigned index;
    void *memory;
    size_t len;
    coir_buffers *buffers;
    coir_op *next;
    int64_t offset;
    socklen_t *addrlen;
    coir_io io;
};

/* Set up an operation that is not in progress; `data` is left alone. */
static inline void
coir__op_init(coir_op *op, coir_op_fn *cb, int kind, int fd,
              const void *memory, size_t len, int arg)
{
    op->cb = cb;
    op->kind = (uint8_t)kind;
    op->many = 0;
    op->state = 0;
    op->fd = fd;
    op->memory = (void *)(uintptr_t)memory;
    op->len = len;
    op->arg = arg;
    op->addrlen = NULL;
    op->buffers = NULL;
}

/* As accept4(2); the result is a descriptor. `addr` and `len` may be NULL. */
static inline void
coir_op_accept(coir_op *op, coir_op_fn *cb, int fd, struct sockaddr *addr,
               socklen_t *len, int flags)
{
    coir__op_init(op, cb, COIR_OP_ACCEPT, fd, addr, 0, flags);
    op->addrlen = len;
}

/* Accept on and on, until an error or coir_op_cancel(). */
static inline void
coir_op_accept_many(coir_op *op, coir_op_fn *cb, int fd, int flags)
{
    coir__op_init(op, cb, COIR_OP_ACCEPT, fd, NULL, 0, flags);
    op->many = 1;
}

/* As connect(2), to the end: 0, or why there is no connection. */
static inline void
coir_op_connect(coir_op *op, coir_op_fn *cb, int fd,
                const struct sockaddr *addr, socklen_t len)
{
    coir__op_init(op, cb, COIR_OP_CONNECT, fd, addr, len, 0);
}

/* As recv(2), send(2), recvmsg(2) and sendmsg(2). */
static inline void
coir_op_recv(coir_op *op, coir_op_fn *cb, int fd, void *buf, size_t len,
             int flags)
{
    coir__op_init(op, cb, COIR_OP_RECV, fd, buf, len, flags);
}

static inline void
coir_op_send(coir_op *op, coir_op_fn *cb, int fd, const void *buf, size_t len,
             int flags)
{
    coir__op_init(op, cb, COIR_OP_SEND, fd, buf, len, flags);
}

static inline void
coir_op_recvmsg(coir_op *op, coir_op_fn *cb, int fd, struct msghdr *msg,
                int flags)
{
    coir__op_init(op, cb, COIR_OP_RECVMSG, fd, msg, 0, flags);
}

static inline void
coir_op_sendmsg(coir_op *op, coir_op_fn *cb, int fd, const struct msghdr *msg,
                int flags)
{
    coir__op_init(op, cb, COIR_OP_SENDMSG, fd, msg, 0, flags);
}

/* Receive on and on, into buffers of a group that lie in op->buffer: the
 * callback's, until coir_buffers_release(). Ends with 0 at the end of the
 * stream, with -ENOBUFS when all buffers are in use, with another error, or
 * after coir_op_cancel(). */
static inline void
coir_op_recv_many(coir_op *op, coir_op_fn *cb, int fd, coir_buffers *buffers,
                  int flags)
{
    coir__op_init(op, cb, COIR_OP_RECV, fd, NULL, 0, flags);
    op->buffers = buffers;
    op->many = 1;
}

/* As pread(2) and pwrite(2), or with offset -1 as read(2) and write(2). */
static inline void
coir_op_read(coir_op *op, coir_op_fn *cb, int fd, void *buf, size_t len,
             int64_t offset)
{
    coir__op_init(op, cb, COIR_OP_READ, fd, buf, len, 0);
    op->offset = offset;
}

static inline void
coir_op_write(coir_op *op, coir_op_fn *cb, int fd, const void *buf, size_t len,
              int64_t offset)
{
    coir__op_init(op, cb, COIR_OP_WRITE, fd, buf, len, 0);
    op->offset = offset;
}

/* In progress: started, and the last result was not given yet. */
#define coir_op_is_active(op) ((op)->state != 0)

/* Start it. The callback is called in a later turn of the loop, never from
 * here. COIR_ENOMEM: not started. */
COIR_API int coir_op_start(coir_loop *loop, coir_op *op);

/* End it early. The callback still comes: with -ECANCELED, or with the result
 * if that was quicker. Nothing if it is not in progress. */
COIR_API void coir_op_cancel(coir_loop *loop, coir_op *op);

/* --- groups of buffers --------------------------------------------------- */

/* A group of `count` buffers (rounded up to a power of 2, at most 32,768) of
 * `size` bytes each, for coir_op_recv_many() in this loop: memory is needed
 * for what has arrived only, not for each connection that waits. COIR_EINVAL;
 * COIR_ENOMEM. */
COIR_API int coir_buffers_new(coir_buffers **out, coir_loop *loop,
                              unsigned count, size_t size);
/* No operation may be using it; before the loop is freed. NULL is ignored. */
COIR_API void coir_buffers_free(coir_buffers *buffers);
/* The buffer may be received into again. */
COIR_API void coir_buffers_release(coir_buffers *buffers, void *buffer);

#ifdef __cplusplus
}
#endif

#endif
