/* file.c - calls on regular files.
 *
 *     transfer --> at once, with RWF_NOWAIT: what the page cache has
 *              --> the rest: an operation of the loop, if the kernel does
 *                  those (io_uring), or a call on a thread of the lane
 *
 * A wait can end while the kernel, or a thread, still has the buffer. So the
 * rest goes through a buffer of its own, on the heap, which is given up with
 * the wait and freed by whoever is done with it last. The copy costs less than
 * a tenth of what has just been waited for.
 *
 * All other calls go to a thread, with a copy of what they are to work on. */
#include <coir/file.h>
#include <coir/op.h>
#include <coir/pool.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "loop/internal.h"
#include "net/internal.h"

/* So much goes through one buffer when reading; the next part may be in the
 * page cache by then. */
#define PART ((size_t)1 << 20)

enum kind { READ, WRITE, OPEN, CLOSE, SYNC, DATASYNC, STAT };

/* A call that may be left to itself. */
typedef struct job {
    enum kind kind;
    int fd;
    int flags;
    mode_t mode;
    off_t offset; /* -1: where the file is */
    size_t len;
    ssize_t result; /* or an error */
    struct stat st;
    /* While the kernel has it. */
    coir_op op;
    coir_green *green; /* that waits; NULL: left to itself */
    int finished;
    coir__guest guest; /* of the hub, if left to itself */
    char data[];       /* a path, or what is read or written */
} job;

static coir_pool *
lane(void)
{
    return coir_pool_lane(COIR_LANE_FILE);
}

/* A call that is made often, and need not wait, lets others run now and then.
 */
static int
breathe(int64_t timeout_ns)
{
    coir_hub *hub = coir__hub_if_any();
    if (hub == NULL || hub->current == NULL || timeout_ns == 0 ||
        ++hub->calls_made <= COIR__CALLS_MAX)
        return 0;
    hub->calls_made = 0;
    hub->left = 0;
    return coir_yield();
}

/* --- on a thread --------------------------------------------------------- */

static ssize_t
make_call(job *j)
{
    switch (j->kind) {
    case READ:
        return j->offset < 0 ? read(j->fd, j->data, j->len)
                             : pread(j->fd, j->data, j->len, j->offset);
    case WRITE:
        return j->offset < 0 ? write(j->fd, j->data, j->len)
                             : pwrite(j->fd, j->data, j->len, j->offset);
    case OPEN:
        return open(j->data, j->flags, j->mode);
    case CLOSE:
        return close(j->fd);
    case SYNC:
        return fsync(j->fd);
    case DATASYNC:
        return fdatasync(j->fd);
    default:
        return j->fd < 0 ? stat(j->data, &j->st) : fstat(j->fd, &j->st);
    }
}

static int
run(void *arg)
{
    job *j = arg;
    do
        j->result = make_call(j);
    while (j->result < 0 && errno == EINTR && j->kind != CLOSE);
    if (j->result < 0)
        j->result = coir__error_of(errno);
    return 0;
}

/* Nobody waits for it any more, or it will not be done. */
static void
drop(void *arg)
{
    job *j = arg;
    if (j->kind == OPEN && j->result >= 0)
        (void)close((int)j->result);
    if (j->kind == CLOSE && j->result == COIR_EINVAL) /* not done */
        (void)close(j->fd);
    coir_free(j);
}

static job *
job_new(enum kind kind, int fd, const void *data, size_t len)
{
    job *j = coir_malloc(sizeof *j + len);
    if (j == NULL)
        return NULL;
    *j = (job){.kind = kind,
               .fd = fd,
               .offset = -1,
               .len = len,
               .result = COIR_EINVAL};
    if (data != NULL)
        memcpy(j->data, data, len);
    return j;
}

/* 0: the job is the caller's, with its result. Else it is gone. */
static int
on_thread(job *j, int64_t timeout_ns)
{
    return coir_blocking(lane(), run, j, drop, NULL, timeout_ns);
}

/* Make a call whose result is a number; `out` for what it fills in. */
static int
call(job *j, struct stat *out, int64_t timeout_ns)
{
    if (j == NULL)
        return COIR_ENOMEM;
    int err = on_thread(j, timeout_ns);
    if (err < 0)
        return err;
    int result = (int)j->result;
    if (result >= 0 && out != NULL)
        *out = j->st;
    coir_free(j);
    return result;
}

/* --- in the kernel ------------------------------------------------------- */

static void
completed(coir_loop *loop, coir_op *op)
{
    (void)loop;
    job *j = COIR__CONTAINER(op, job, op);
    j->finished = 1;
    j->result = op->result < 0 ? coir__error_of(-op->result) : op->result;
    if (j->green != NULL) {
        (void)coir_unpark(j->green, 0);
        return;
    }
    coir__guest_remove(&j->guest);
    drop(j);
}

static int
is_guest(const coir__guest *guest)
{
    const coir__guest *g = coir__hub->guests;
    while (g != NULL && g != guest)
        g = g->next;
    return g != NULL;
}

/* The hub is about to go: not before the kernel has done with the buffer. */
static void
leave_hub(coir__guest *guest)
{
    while (is_guest(guest))
        (void)coir_loop_run(coir__hub->loop, COIR_RUN_ONCE);
}

/* Is there a loop that has the kernel do it, for a green thread? */
static coir_loop *
completing_loop(void)
{
    const coir_hub *hub = coir__hub_if_any();
    return hub != NULL && hub->current != NULL &&
                   hub->loop->backend->op_start != NULL
               ? hub->loop
               : NULL;
}

/* As on_thread(). */
static int
in_kernel(coir_loop *loop, job *j, int64_t timeout_ns)
{
    int64_t deadline_ns = coir__deadline_after(coir__hub, timeout_ns);
    if (j->kind == READ)
        coir_op_read(&j->op, completed, j->fd, j->data, j->len, j->offset);
    else
        coir_op_write(&j->op, completed, j->fd, j->data, j->len, j->offset);
    j->green = coir_self();
    int err = coir_op_start(loop, &j->op);
    if (err < 0) {
        drop(j);
        return err;
    }
    while (!j->finished && err == 0)
        err = coir_park("a file", j, coir__remaining(deadline_ns));
    if (j->finished)
        return 0;
    j->green = NULL;
    j->guest.leave = leave_hub;
    coir__guest_add(coir__hub, &j->guest);
    coir_op_cancel(loop, &j->op);
    return err;
}

/* --- transfers ----------------------------------------------------------- */

static int
is_regular(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Bytes, or an errno value, negative. */
static ssize_t
plainly(enum kind kind, int fd, void *buf, size_t len, off_t offset)
{
    ssize_t n;
    do
        if (kind == READ)
            n = offset < 0 ? read(fd, buf, len) : pread(fd, buf, len, offset);
        else
            n = offset < 0 ? write(fd, buf, len)
                           : pwrite(fd, buf, len, offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Some file systems have nothing but memory, and cannot tell. */
static int
is_in_memory(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return 0;
    switch ((unsigned long)fs.f_type) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP2_SUPER_MAGIC:
        return 1;
    default:
        return 0;
    }
}

/* What can be had at once: bytes, or an errno value, negative. */
static ssize_t
at_once(enum kind kind, int fd, void *buf, size_t len, off_t offset)
{
    struct iovec iov = {buf, len};
    ssize_t n = kind == READ ? preadv2(fd, &iov, 1, offset, RWF_NOWAIT)
                             : pwritev2(fd, &iov, 1, offset, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP && is_in_memory(fd))
        return plainly(kind, fd, buf, len, offset);
    return n < 0 ? -errno : n;
}

/* The rest, or a part of it. */
static ssize_t
transfer_rest(enum kind kind, int fd, void *buf, size_t len, off_t offset,
              int64_t timeout_ns)
{
    if (kind == READ && len > PART)
        len = PART;
    coir__caller caller = coir__caller_get();
    int err = coir__caller_may_wait(&caller, timeout_ns);
    if (err < 0)
        return err;
    job *j = job_new(kind, fd, kind == WRITE ? buf : NULL, len);
    if (j == NULL)
        return COIR_ENOMEM;
    j->offset = offset;
    coir_loop *loop = completing_loop();
    err = loop != NULL ? in_kernel(loop, j, timeout_ns)
                       : on_thread(j, timeout_ns);
    if (err < 0)
        return err;
    ssize_t n = j->result;
    if (kind == READ && n > 0)
        memcpy(buf, j->data, (size_t)n);
    coir_free(j);
    return n;
}

static ssize_t
transfer(enum kind kind, int fd, void *buf, size_t len, off_t offset,
         int64_t timeout_ns)
{
    if (coir__hub_if_any() == NULL) {
        ssize_t n = plainly(kind, fd, buf, len, offset);
        return n < 0 ? coir__error_of((int)-n) : n;
    }
    int64_t deadline_ns = coir__deadline_after(coir__hub, timeout_ns);
    ssize_t err = breathe(timeout_ns);
    size_t done = 0;
    while (err == 0) {
        char *at = (char *)buf + done;
        off_t from = offset < 0 ? -1 : offset + (off_t)done;
        ssize_t n = at_once(kind, fd, at, len - done, from);
        if (n < 0 && n != -EAGAIN && n != -EOPNOTSUPP && n != -ENOSYS &&
            n != -EINTR)
            err = coir__error_of((int)-n);
        else if (n < 0) {
            /* A pipe has given what it has. */
            if (done > 0 && !is_regular(fd))
                break;
            n = transfer_rest(kind, fd, at, len - done, from,
                              timeout_ns == 0 ? 0
                                              : coir__remaining(deadline_ns));
            if (n < 0)
                err = n;
        }
        if (n <= 0)
            break;
        done += (size_t)n;
        if (done == len)
            break;
    }
    return done > 0 ? (ssize_t)done : err;
}

ssize_t
coir_file_read(int fd, void *buf, size_t len, int64_t timeout_ns)
{
    return transfer(READ, fd, buf, len, -1, timeout_ns);
}

ssize_t
coir_file_write(int fd, const void *buf, size_t len, int64_t timeout_ns)
{
    return transfer(WRITE, fd, (void *)(uintptr_t)buf, len, -1, timeout_ns);
}

ssize_t
coir_file_pread(int fd, void *buf, size_t len, off_t offset,
                int64_t timeout_ns)
{
    return offset < 0 ? COIR_EINVAL
                      : transfer(READ, fd, buf, len, offset, timeout_ns);
}

ssize_t
coir_file_pwrite(int fd, const void *buf, size_t len, off_t offset,
                 int64_t timeout_ns)
{
    return offset < 0 ? COIR_EINVAL
                      : transfer(WRITE, fd, (void *)(uintptr_t)buf, len,
                                 offset, timeout_ns);
}

/* --- the others ---------------------------------------------------------- */

int
coir_file_open(const char *path, int flags, mode_t mode, int64_t timeout_ns)
{
    job *j = job_new(OPEN, -1, path, strlen(path) + 1);
    if (j != NULL) {
        j->flags = flags | O_CLOEXEC;
        j->mode = mode;
    }
    return call(j, NULL, timeout_ns);
}

int
coir_file_close(int fd, int64_t timeout_ns)
{
    job *j = job_new(CLOSE, fd, NULL, 0);
    if (j == NULL) {
        (void)close(fd);
        return COIR_ENOMEM;
    }
    return call(j, NULL, timeout_ns);
}

int
coir_file_sync(int fd, int data_only, int64_t timeout_ns)
{
    return call(job_new(data_only ? DATASYNC : SYNC, fd, NULL, 0), NULL,
                timeout_ns);
}

int
coir_file_stat(const char *path, struct stat *out, int64_t timeout_ns)
{
    return call(job_new(STAT, -1, path, strlen(path) + 1), out, timeout_ns);
}

int
coir_file_fstat(int fd, struct stat *out, int64_t timeout_ns)
{
    if (fd < 0)
        return COIR_ERRNO(EBADF);
    return call(job_new(STAT, fd, NULL, 0), out, timeout_ns);
}
