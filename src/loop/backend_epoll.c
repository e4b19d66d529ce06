/* backend_epoll.c - Linux epoll, the default.
 *
 * One registration per descriptor, level-triggered or, for a coir_edge that
 * has it for itself, edge-triggered once and for all. An event carries the
 * descriptor and the generation of its registration. The kernel drops a
 * registration when the last duplicate of the file is closed, and keeps it
 * until then, whatever the number means meanwhile: EPOLL_CTL_MOD, which names
 * the pair of number and file, is the way to ask whether it is there, or
 * EPOLL_CTL_ADD, which fails then. */
#include "loop/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIN_EVENTS 128
#define MAX_EVENTS 8192
#define BESIDES (EPOLLERR | EPOLLHUP | EPOLLRDHUP | EPOLLPRI)
#define EDGE (EPOLLET | EPOLLRDHUP | EPOLLPRI)

typedef struct epoll {
    int fd;
    int count;     /* room in events */
    int no_pwait2; /* the kernel lacks epoll_pwait2(), before Linux 5.11 */
    struct epoll_event *events;
} epoll;

static int
epoll_init(coir_loop *loop)
{
    epoll *e = coir_calloc(1, sizeof *e);
    struct epoll_event *events = coir_malloc(MIN_EVENTS * sizeof *events);
    if (e == NULL || events == NULL)
        goto fail;
    e->events = events;
    e->count = MIN_EVENTS;
    e->fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->fd < 0) {
        coir__loop_explain("epoll_create1: %s", strerror(errno));
        int gone = errno == ENOSYS || errno == EPERM;
        coir_free(events);
        coir_free(e);
        return gone ? COIR_ENOSYS : COIR_ENOMEM;
    }
    loop->backend_data = e;
    return 0;

fail:
    coir_free(events);
    coir_free(e);
    return COIR_ENOMEM;
}

static void
epoll_fini(coir_loop *loop)
{
    epoll *e = loop->backend_data;
    (void)close(e->fd);
    coir_free(e->events);
    coir_free(e);
}

static int
epoll_reset(coir_loop *loop)
{
    epoll *e = loop->backend_data;
    /* First the new one: should it fail, the old one still works. */
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0 && (errno != EMFILE || e->fd < 0))
        return errno;
    if (e->fd >= 0)
        (void)close(e->fd);
    /* There is a descriptor now. */
    e->fd = fd >= 0 ? fd : epoll_create1(EPOLL_CLOEXEC);
    return e->fd >= 0 ? 0 : errno;
}

static int
control(const epoll *e, int op, int fd, uint32_t generation, int events)
{
    struct epoll_event event;
    event.events = (events & COIR_READ ? (uint32_t)EPOLLIN : 0) |
                   (events & COIR_WRITE ? (uint32_t)EPOLLOUT : 0) |
                   (events & COIR__REGISTERED_EDGE ? (uint32_t)EDGE : 0);
    event.data.u64 = (uint64_t)generation << 32 | (uint32_t)fd;
    return epoll_ctl(e->fd, op, fd, &event) == 0 ? 0 : errno;
}

static int
epoll_modify(coir_loop *loop, int fd, int events)
{
    const epoll *e = loop->backend_data;
    const coir__fd *slot = &loop->fds[fd];
    if (events == 0) {
        /* It may be closed, thus gone, or another file that never was. */
        (void)control(e, EPOLL_CTL_DEL, fd, 0, 0);
        return 0;
    }
    int op = slot->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int err = control(e, op, fd, slot->generation, events);
    if (err == ENOENT) /* closed and opened again */
        err = control(e, EPOLL_CTL_ADD, fd, slot->generation, events);
    else if (err == EEXIST) /* dup2() put the same file back */
        err = control(e, EPOLL_CTL_MOD, fd, slot->generation, events);
    return err;
}

/* Milliseconds, rounded up. */
static int
milliseconds(int64_t timeout_ns)
{
    if (timeout_ns == COIR_FOREVER)
        return -1;
    if (timeout_ns >= INT_MAX * COIR_NS_PER_MS)
        return INT_MAX;
    return (int)((timeout_ns + COIR_NS_PER_MS - 1) / COIR_NS_PER_MS);
}

/* The kernel's own form: two 64-bit words on every architecture. */
struct timeout {
    int64_t seconds;
    int64_t nanoseconds;
};

static int
blocking_wait(epoll *e, int64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
    /* Milliseconds would do for 0 and for ever, at less cost. */
    if (timeout_ns != 0 && timeout_ns != COIR_FOREVER && !e->no_pwait2) {
        struct timeout t = {timeout_ns / COIR_NS_PER_S,
                            timeout_ns % COIR_NS_PER_S};
        long n = syscall(SYS_epoll_pwait2, e->fd, e->events, e->count, &t,
                         NULL, (size_t)0);
        /* EPERM: a seccomp filter older than the call. */
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return (int)n;
        e->no_pwait2 = 1;
    }
#endif
    return epoll_wait(e->fd, e->events, e->count, milliseconds(timeout_ns));
}

static void
grow(epoll *e)
{
    if (e->count >= MAX_EVENTS)
        return;
    struct epoll_event *events =
        coir_realloc(e->events, 2 * (size_t)e->count * sizeof *events);
    if (events == NULL)
        return; /* the rest comes with the next turn */
    e->events = events;
    e->count *= 2;
}

static int
epoll_wait_events(coir_loop *loop, int64_t timeout_ns)
{
    epoll *e = loop->backend_data;
    coir__release(loop);
    int n = blocking_wait(e, timeout_ns);
    int err = errno;
    coir__acquire(loop);
    if (n < 0) {
        if (err == EINTR)
            return EINTR;
        errno = err;
        coir__syserr("epoll_wait");
        return 0;
    }
    for (int i = 0; i < n; i++) {
        uint32_t got = e->events[i].events;
        uint64_t data = e->events[i].data.u64;
        int events =
            (got & (EPOLLIN | BESIDES) ? COIR_READ : 0) |
            (got & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? COIR_WRITE : 0) |
            (got & BESIDES ? COIR__ONCE_MORE : 0);
        coir__io_ready(loop, (int)(uint32_t)data, (uint32_t)(data >> 32),
                       events);
    }
    if (n == e->count)
        grow(e);
    return 0;
}

static int
epoll_audit(coir_loop *loop, int fd)
{
    const epoll *e = loop->backend_data;
    const coir__fd *slot = &loop->fds[fd];
    if (!(slot->registered & COIR__REGISTERED_EDGE))
        return control(e, EPOLL_CTL_MOD, fd, slot->generation,
                       slot->registered);
    /* To modify it would report it once more. */
    int err = control(e, EPOLL_CTL_ADD, fd, slot->generation, 0);
    if (err == 0) /* another file */
        (void)control(e, EPOLL_CTL_DEL, fd, 0, 0);
    return err == EEXIST ? 0 : EBADF;
}

static int
epoll_descriptor(coir_loop *loop)
{
    const epoll *e = loop->backend_data;
    return e->fd;
}

const coir__backend coir__backend_epoll = {
    .flag = COIR_BACKEND_EPOLL,
    .name = "epoll",
    .edge = 1,
    .embeddable = 1,
    .lasting = 1,
    .init = epoll_init,
    .fini = epoll_fini,
    .reset = epoll_reset,
    .modify = epoll_modify,
    .wait = epoll_wait_events,
    .audit = epoll_audit,
    .descriptor = epoll_descriptor,
};
