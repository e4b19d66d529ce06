/* op.c - operations that complete.
 *
 * Each one in progress has a place in a table, whose index and generation are
 * its name in the kernel: a completion never carries a pointer. What becomes
 * of it:
 *
 *     start --> KERNEL   the backend does it, and tells coir__op_done()
 *           --> WAITING  tried, would block; `io` waits, then it is tried
 * again KERNEL, WAITING --> DONE   in the loop's list of results, delivered in
 *                                the next turn, by a watcher of the loop's
 *     DONE --> idle, the callback is called; or, if it goes on, back again
 *
 * The kernel may write to an operation's memory until it has completed, so
 * cancelling only asks for that, and a loop that is freed waits for it. */
#include "loop/internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if COIR__HAVE_VALGRIND
#include <valgrind/memcheck.h>
#endif

#define NOWHERE UINT_MAX /* ends the list of free places */
/* Results of one operation that goes on, per turn. */
#define BUDGET 16

/* --- the table ----------------------------------------------------------- */

static int
grow(coir_loop *loop)
{
    unsigned size = loop->op_size > 0 ? 2 * loop->op_size : 16;
    coir__op_place *ops = coir_realloc(loop->ops, size * sizeof *ops);
    if (ops == NULL)
        return COIR_ENOMEM;
    for (unsigned i = loop->op_size; i < size; i++)
        ops[i] = (coir__op_place){.next_free = i + 1 < size ? i + 1 : NOWHERE};
    loop->ops = ops;
    loop->op_free = loop->op_size;
    loop->op_size = size;
    return 0;
}

static int
take_place(coir_loop *loop, coir_op *op)
{
    if (loop->op_free == NOWHERE && grow(loop) < 0)
        return COIR_ENOMEM;
    op->index = loop->op_free;
    coir__op_place *place = &loop->ops[op->index];
    loop->op_free = place->next_free;
    place->op = op;
    loop->active++;
    return 0;
}

static void
leave_place(coir_loop *loop, coir_op *op)
{
    coir__op_place *place = &loop->ops[op->index];
    place->op = NULL;
    place->generation++;
    place->next_free = loop->op_free;
    loop->op_free = op->index;
    op->state = COIR__OP_IDLE;
    loop->active--;
}

/* --- buffers ------------------------------------------------------------- */

/* A list of those that are not in use; of no interest while the kernel has the
 * group. */
static void
link_free(coir_buffers *b)
{
    b->free = COIR__BUFFER_LAST;
    for (unsigned i = b->count; i-- > 0;)
        if (b->next[i] != COIR__BUFFER_USED) {
            b->next[i] = b->free;
            b->free = (int)i;
        }
}

static void
unregister(coir_buffers *b)
{
    b->loop->backend->buffers_fini(b);
    link_free(b);
}

static void *
take(coir_buffers *b, unsigned index)
{
    b->next[index] = COIR__BUFFER_USED;
    return b->memory + index * b->size;
}

static void *
take_any(coir_buffers *b)
{
    if (b->kernel != NULL || b->free == COIR__BUFFER_LAST)
        return NULL;
    unsigned index = (unsigned)b->free;
    b->free = b->next[index];
    return take(b, index);
}

/* The backend's kernel objects are of another process, the parent, or they are
 * to be made anew for another reason: they must not be touched. */
static int
is_stale(coir_loop *loop)
{
    coir__check_fork(loop);
    return loop->reset != 0;
}

/* --- results ------------------------------------------------------------- */

static void
done(coir_loop *loop, coir_op *op, int result, unsigned flags)
{
    op->state = COIR__OP_DONE;
    op->result = result;
    op->flags = flags;
    op->next = NULL;
    *loop->op_done_tail = op;
    loop->op_done_tail = &op->next;
}

static void
deliver(coir_loop *loop, coir_watcher *w, int revents)
{
    (void)w;
    (void)revents;
    coir_op *op = loop->op_done, *next;
    loop->op_done = NULL;
    loop->op_done_tail = &loop->op_done;
    for (; op != NULL; op = next) {
        next = op->next;
        if (!(op->flags & COIR_OP_MORE))
            leave_place(loop, op);
        else
            op->state = COIR__OP_KERNEL;
        op->cb(loop, op);
    }
}

void
coir__ops_init(coir_loop *loop)
{
    loop->op_free = NOWHERE;
    loop->op_done_tail = &loop->op_done;
    COIR__INIT(&loop->op_watcher, deliver);
    loop->op_watcher.active = COIR__OWN;
}

void
coir__ops_feed(coir_loop *loop)
{
    coir__feed(loop, &loop->op_watcher, COIR_CUSTOM);
}

/* --- by waiting ---------------------------------------------------------- */

static int
direction(const coir_op *op)
{
    switch (op->kind) {
    case COIR_OP_CONNECT:
    case COIR_OP_SEND:
    case COIR_OP_SENDMSG:
    case COIR_OP_WRITE:
        return COIR_WRITE;
    default:
        return COIR_READ;
    }
}

/* For calls that have no flag not to block. */
static int
would_block(const coir_op *op)
{
    struct pollfd p = {.fd = op->fd,
                       .events =
                           direction(op) == COIR_WRITE ? POLLOUT : POLLIN};
    return poll(&p, 1, 0) == 0;
}

static ssize_t
connect_to(coir_op *op)
{
    int flags = op->blocking ? fcntl(op->fd, F_GETFL) : 0;
    if (op->blocking)
        (void)fcntl(op->fd, F_SETFL, flags | O_NONBLOCK);
    int n = connect(op->fd, op->memory, (socklen_t)op->len);
    int err = errno;
    if (op->blocking)
        (void)fcntl(op->fd, F_SETFL, flags);
    errno = err;
    return n;
}

/* Again, once something became of it. */
static ssize_t
connected(coir_op *op)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(op->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -1;
    errno = err;
    return err == 0 ? 0 : -1;
}

static ssize_t
write_to(const coir_op *op)
{
    if (op->offset >= 0)
        return pwrite(op->fd, op->memory, op->len, op->offset);
    /* So much a pipe that is ready takes without blocking. */
    size_t len = op->blocking && op->len > PIPE_BUF ? PIPE_BUF : op->len;
    return write(op->fd, op->memory, len);
}

static ssize_t
call(coir_op *op, int again)
{
    int flags = op->arg | MSG_DONTWAIT | MSG_NOSIGNAL;
    switch (op->kind) {
    case COIR_OP_ACCEPT:
        return accept4(op->fd, op->memory, op->addrlen, op->arg);
    case COIR_OP_CONNECT:
        return again ? connected(op) : connect_to(op);
    case COIR_OP_RECV:
        return recv(op->fd, op->memory, op->len, flags);
    case COIR_OP_SEND:
        return send(op->fd, op->memory, op->len, flags);
    case COIR_OP_RECVMSG:
        return recvmsg(op->fd, op->memory, flags);
    case COIR_OP_SENDMSG:
        return sendmsg(op->fd, op->memory, flags);
    case COIR_OP_READ:
        return op->offset >= 0 ? pread(op->fd, op->memory, op->len, op->offset)
                               : read(op->fd, op->memory, op->len);
    default:
        return write_to(op);
    }
}

/* Returns whether there is a result. */
static int
attempt(coir_op *op, int again, int *result)
{
    if (op->blocking && op->kind != COIR_OP_CONNECT && would_block(op))
        return 0;
    ssize_t n;
    do
        n = call(op, again);
    while (n < 0 && errno == EINTR);
    /* connect(): EAGAIN is final, a Unix socket whose queue is full. */
    if (n < 0 && errno == (op->kind == COIR_OP_CONNECT ? EINPROGRESS : EAGAIN))
        return 0;
    *result = n < 0 ? -errno : n > INT_MAX ? INT_MAX : (int)n;
    return 1;
}

/* One that goes on gives results until there are none, or enough for now.
 * Returns 0 if it is to wait on. */
static int
attempt_many(coir_loop *loop, coir_op *op)
{
    for (int i = 0; i < BUDGET; i++) {
        op->buffer = NULL;
        if (op->buffers != NULL) {
            op->memory = op->buffer = take_any(op->buffers);
            op->len = op->buffers->size;
            if (op->buffer == NULL) {
                op->result = -ENOBUFS;
                return 1;
            }
        }
        int got = attempt(op, 1, &op->result);
        if ((!got || op->result <= 0) && op->buffer != NULL &&
            op->buffers != NULL) {
            coir_buffers_release(op->buffers, op->buffer);
            op->buffer = NULL;
        }
        if (!got)
            return 0;
        if (op->kind == COIR_OP_ACCEPT && op->result == -ECONNABORTED)
            continue;
        if (op->result < 0 || (op->result == 0 && op->kind == COIR_OP_RECV))
            return 1;
        op->flags = COIR_OP_MORE;
        op->cb(loop, op);
        if (op->state != COIR__OP_WAITING)
            return 0; /* cancelled */
    }
    return 0;
}

static void
ready(coir_loop *loop, coir_io *w, int revents)
{
    coir_op *op = w->data;
    if (revents & COIR_ERROR) /* and has stopped the watcher */
        op->result = -EBADF;
    else if (op->many ? !attempt_many(loop, op) : !attempt(op, 1, &op->result))
        return;
    coir__io_stop_own(loop, w);
    op->flags = 0;
    leave_place(loop, op);
    op->cb(loop, op);
}

/* What of an operation the kernel would need: of a file that may block. */
static int
look_at(coir_op *op)
{
    op->blocking = 0;
    if (op->kind != COIR_OP_ACCEPT && op->kind != COIR_OP_CONNECT &&
        op->kind != COIR_OP_READ && op->kind != COIR_OP_WRITE)
        return 0; /* they have a flag for it */
    int flags = fcntl(op->fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK)
        return 0;
    struct stat st;
    op->blocking = fstat(op->fd, &st) < 0 ||
                   !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
    return 0;
}

static int
start_waiting(coir_loop *loop, coir_op *op)
{
    coir_io_init(&op->io, ready, op->fd, direction(op));
    op->io.data = op;
    int err = op->fd < 0 ? -EBADF : look_at(op);
    if (err == 0) {
        /* First, as then nothing can fail any more. */
        if (coir__io_reserve(loop, op->fd) < 0)
            return COIR_ENOMEM;
        if (op->many || !attempt(op, 0, &err)) {
            op->state = COIR__OP_WAITING;
            (void)coir__io_start_own(loop, &op->io);
            return 0;
        }
    }
    op->buffer = NULL;
    done(loop, op, err, 0);
    return 0;
}

/* Valgrind does not see what the kernel writes without a system call. */
static void
show_to_valgrind(const coir_op *op, int result)
{
#if COIR__HAVE_VALGRIND
    if (result > 0 && (op->kind == COIR_OP_RECV || op->kind == COIR_OP_READ))
        VALGRIND_MAKE_MEM_DEFINED(
            op->buffers != NULL ? op->buffer : op->memory, (size_t)result);
#else
    (void)op;
    (void)result;
#endif
}

/* --- from the backend ---------------------------------------------------- */

int
coir__op_done(coir_loop *loop, unsigned index, uint32_t generation, int result,
              unsigned flags, int buffer)
{
    if (index >= loop->op_size || loop->ops[index].generation != generation ||
        loop->ops[index].op == NULL)
        return 1; /* in a child: of the parent's */
    coir_op *op = loop->ops[index].op;
    if (op->state == COIR__OP_DONE)
        return 0; /* its last result was not delivered yet */
    op->buffer = NULL;
    if (result == -EAGAIN || (result == -EINVAL && op->many)) {
        /* O_NONBLOCK, or a kernel that knows no operations that go on. */
        if (op->buffers != NULL && op->buffers->kernel != NULL)
            unregister(op->buffers);
        if (start_waiting(loop, op) < 0)
            done(loop, op, -ENOMEM, 0);
        return 1;
    }
    if (buffer >= 0)
        op->buffer = take(op->buffers, (unsigned)buffer);
    show_to_valgrind(op, result);
    done(loop, op, result, flags);
    return 1;
}

/* --- the operation ------------------------------------------------------- */

int
coir_op_start(coir_loop *loop, coir_op *op)
{
    assert(!coir_op_is_active(op));
    if (take_place(loop, op) < 0)
        return COIR_ENOMEM;
    op->flags = 0;
    int stale = loop->ops[op->index].fresh = is_stale(loop);
    if (loop->backend->op_start != NULL && !stale &&
        loop->backend->op_start(loop, op, loop->ops[op->index].generation)) {
        op->state = COIR__OP_KERNEL;
        return 0;
    }
    int err = start_waiting(loop, op);
    if (err < 0)
        leave_place(loop, op);
    return err;
}

void
coir_op_cancel(coir_loop *loop, coir_op *op)
{
    if (op->state == COIR__OP_KERNEL ||
        (op->state == COIR__OP_DONE && (op->flags & COIR_OP_MORE))) {
        if (is_stale(loop))
            return; /* it will be */
        loop->backend->op_cancel(loop, op->index,
                                 loop->ops[op->index].generation);
    }
    else if (op->state == COIR__OP_WAITING) {
        coir__io_stop_own(loop, &op->io);
        op->buffer = NULL;
        done(loop, op, -ECANCELED, 0);
    }
}

/* --- loops that go, and forks -------------------------------------------- */

/* Forget an operation with its result, if it has one. Returns whether the
 * kernel has it still. */
static int
drop(coir_loop *loop, unsigned index)
{
    coir_op *op = loop->ops[index].op;
    if (op->state == COIR__OP_WAITING)
        coir__io_stop_own(loop, &op->io);
    else if (op->state == COIR__OP_DONE) {
        if (op->kind == COIR_OP_ACCEPT && op->result >= 0)
            (void)close(op->result);
        if (op->flags & COIR_OP_MORE)
            op->state = COIR__OP_KERNEL;
    }
    if (op->state == COIR__OP_KERNEL)
        return 1;
    op->state = COIR__OP_IDLE;
    loop->ops[index].op = NULL;
    return 0;
}

void
coir__ops_fini(coir_loop *loop)
{
    int left = loop->op_size > 0;
    while (left) {
        left = 0;
        for (unsigned i = 0; i < loop->op_size; i++)
            if (loop->ops[i].op != NULL && drop(loop, i) && !is_stale(loop)) {
                loop->backend->op_cancel(loop, i, loop->ops[i].generation);
                left = 1;
            }
        loop->op_done = NULL;
        loop->op_done_tail = &loop->op_done;
        if (left)
            (void)loop->backend->wait(loop, COIR_FOREVER);
    }
    coir_free(loop->ops);
}

void
coir__ops_forked(coir_loop *loop)
{
    for (unsigned i = 0; i < loop->op_size; i++) {
        coir_op *op = loop->ops[i].op;
        if (op == NULL)
            continue;
        if (loop->ops[i].fresh) {
            loop->ops[i].fresh = 0;
            continue;
        }
        if (op->state == COIR__OP_DONE) {
            op->flags = 0; /* there is no more to come */
            continue;
        }
        if (op->state == COIR__OP_WAITING)
            coir__io_stop_own(loop, &op->io);
        op->buffer = NULL;
        done(loop, op, -ECANCELED, 0);
    }
}

void
coir__buffers_reset(coir_loop *loop)
{
    for (coir_buffers *b = loop->buffers; b != NULL; b = b->next_group) {
        if (b->kernel != NULL)
            unregister(b);
        else
            link_free(b);
        if (loop->backend->buffers_init != NULL)
            loop->backend->buffers_init(b);
    }
}

int
coir__ops_in_kernel(const coir_loop *loop)
{
    for (unsigned i = 0; i < loop->op_size; i++)
        if (loop->ops[i].op != NULL &&
            loop->ops[i].op->state == COIR__OP_KERNEL)
            return 1;
    return 0;
}

void
coir__ops_verify(const coir_loop *loop)
{
    for (unsigned i = 0; i < loop->op_size; i++) {
        const coir_op *op = loop->ops[i].op;
        if (op != NULL && (op->index != i || op->state == COIR__OP_IDLE))
            coir__damaged("an operation was overwritten while in progress");
    }
}

/* --- groups of buffers --------------------------------------------------- */

int
coir_buffers_new(coir_buffers **out, coir_loop *loop, unsigned count,
                 size_t size)
{
    if (count == 0 || count > 32768 || size == 0 || size > INT_MAX)
        return COIR_EINVAL;
    unsigned rounded = 1;
    while (rounded < count)
        rounded *= 2;
    coir_buffers *b = coir_calloc(1, sizeof *b);
    if (b == NULL)
        return COIR_ENOMEM;
    b->loop = loop;
    b->count = rounded;
    b->size = size;
    b->memory = coir_malloc(rounded * size);
    b->next = coir_calloc(rounded, sizeof *b->next);
    if (b->memory == NULL || b->next == NULL) {
        coir_free(b->memory);
        coir_free(b->next);
        coir_free(b);
        return COIR_ENOMEM;
    }
    b->next_group = loop->buffers;
    loop->buffers = b;
    link_free(b);
    if (loop->backend->buffers_init != NULL)
        loop->backend->buffers_init(b);
    *out = b;
    return 0;
}

void
coir_buffers_free(coir_buffers *b)
{
    if (b == NULL)
        return;
    if (b->kernel != NULL)
        b->loop->backend->buffers_fini(b);
    coir_buffers **at = &b->loop->buffers;
    while (*at != b)
        at = &(*at)->next_group;
    *at = b->next_group;
    coir_free(b->memory);
    coir_free(b->next);
    coir_free(b);
}

void
coir_buffers_release(coir_buffers *b, void *buffer)
{
    size_t index = (size_t)((char *)buffer - b->memory) / b->size;
    assert(index < b->count && b->next[index] == COIR__BUFFER_USED);
    b->next[index] = b->free;
    if (b->kernel != NULL && !is_stale(b->loop))
        b->loop->backend->buffers_release(b, (unsigned)index);
    else
        b->free = (int)index;
}
