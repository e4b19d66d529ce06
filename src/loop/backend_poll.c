/* backend_poll.c - poll(), everywhere.
 *
 * One array of descriptors, and where in it each one is. The kernel is handed
 * all of it in every turn, and looks at what the number means then: nothing
 * can be registered wrongly. */
#include "loop/internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

typedef struct poll_set {
    struct pollfd *fds;
    int count;
    int size;
    int *index; /* in fds, by descriptor, + 1; 0: not there */
    int index_size;
} poll_set;

static int
poll_init(coir_loop *loop)
{
    loop->backend_data = coir_calloc(1, sizeof(poll_set));
    return loop->backend_data != NULL ? 0 : COIR_ENOMEM;
}

static void
poll_fini(coir_loop *loop)
{
    poll_set *p = loop->backend_data;
    coir_free(p->fds);
    coir_free(p->index);
    coir_free(p);
}

static int
poll_reset(coir_loop *loop)
{
    poll_set *p = loop->backend_data;
    p->count = 0;
    if (p->index != NULL)
        memset(p->index, 0, (size_t)p->index_size * sizeof *p->index);
    return 0;
}

static int
reserve(poll_set *p, int fd)
{
    if (fd >= p->index_size) {
        int size = p->index_size > 0 ? p->index_size : 64;
        while (size <= fd)
            size *= 2;
        int *index = coir_realloc(p->index, (size_t)size * sizeof *index);
        if (index == NULL)
            return ENOMEM;
        memset(index + p->index_size, 0,
               (size_t)(size - p->index_size) * sizeof *index);
        p->index = index;
        p->index_size = size;
    }
    if (p->count == p->size) {
        int size = p->size > 0 ? 2 * p->size : 16;
        struct pollfd *fds = coir_realloc(p->fds, (size_t)size * sizeof *fds);
        if (fds == NULL)
            return ENOMEM;
        p->fds = fds;
        p->size = size;
    }
    return 0;
}

static void
forget(poll_set *p, int fd)
{
    if (fd >= p->index_size || p->index[fd] == 0)
        return;
    struct pollfd last = p->fds[--p->count];
    p->fds[p->index[fd] - 1] = last;
    p->index[last.fd] = p->index[fd];
    p->index[fd] = 0;
}

static int
poll_modify(coir_loop *loop, int fd, int events)
{
    poll_set *p = loop->backend_data;
    if (events == 0) {
        forget(p, fd);
        return 0;
    }
    int err = reserve(p, fd);
    if (err != 0)
        return err;
    if (p->index[fd] == 0) {
        p->index[fd] = ++p->count;
        p->fds[p->count - 1].fd = fd;
    }
    p->fds[p->index[fd] - 1].events =
        (short)((events & COIR_READ ? POLLIN : 0) |
                (events & COIR_WRITE ? POLLOUT : 0));
    return 0;
}

static void
report(coir_loop *loop, const struct pollfd *ready)
{
    short got = ready->revents;
    if (coir__unlikely(got & POLLNVAL)) {
        coir__io_kill(loop, ready->fd);
        return;
    }
    int events = (got & (POLLIN | POLLERR | POLLHUP) ? COIR_READ : 0) |
                 (got & (POLLOUT | POLLERR | POLLHUP) ? COIR_WRITE : 0);
    coir__io_ready(loop, ready->fd, loop->fds[ready->fd].generation, events);
}

static int
poll_wait(coir_loop *loop, int64_t timeout_ns)
{
    poll_set *p = loop->backend_data;
    struct timespec timeout = {(time_t)(timeout_ns / COIR_NS_PER_S),
                               (long)(timeout_ns % COIR_NS_PER_S)};
    coir__release(loop);
    int n = ppoll(p->fds, (nfds_t)p->count,
                  timeout_ns == COIR_FOREVER ? NULL : &timeout, NULL);
    int err = errno;
    coir__acquire(loop);
    if (n < 0) {
        if (err == EINTR)
            return EINTR;
        errno = err;
        coir__syserr("ppoll");
        return 0;
    }
    for (int i = 0; i < p->count && n > 0; i++)
        if (p->fds[i].revents != 0) {
            n--;
            report(loop, &p->fds[i]);
        }
    return 0;
}

const coir__backend coir__backend_poll = {
    .flag = COIR_BACKEND_POLL,
    .name = "poll",
    .init = poll_init,
    .fini = poll_fini,
    .reset = poll_reset,
    .modify = poll_modify,
    .wait = poll_wait,
};
