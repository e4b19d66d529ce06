/* splice.c - transfer within the kernel: from files, between sockets.
 *
 * splice() needs a pipe on one side, and does not say which side it would have
 * to wait for. So there is an inner pipe of the socket that is read from, made
 * with the first call, and never waited for. When a call is
 * interrupted between its two halves bytes are left in it: they stay there,
 * the socket is marked as torn, since reading it would pass them over, and the
 * next coir_splice() goes on with them. */
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "net/internal.h"

/* What a pipe holds, unless it was made larger. */
#define PIPE_SIZE 65536

ssize_t
coir_sendfile(coir_socket *s, int file_fd, off_t *offset, size_t count,
              int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, s, COIR__OUT, "socket, to send a file",
                              timeout_ns, 0);
    COIR__TRY(&u, err, n, coir__sys_sendfile(s->fd, file_fd, offset, count));
    return coir__use_end(&u, err == 0 ? n : err);
}

/* The inner pipe of `s`, made if need be. */
static int
inner_pipe_get(coir__inner_pipe **out, coir_socket *s)
{
    coir__inner_pipe *inner = coir__inner_pipe_set(s, NULL);
    if (inner != NULL) {
        *out = inner;
        return 0;
    }
    inner = coir_calloc(1, sizeof *inner);
    if (inner == NULL)
        return COIR_ENOMEM;
    int fds[2];
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        int e = errno;
        coir_free(inner);
        return coir__error_of(e);
    }
    inner->reader = fds[0];
    inner->writer = fds[1];
    *out = coir__inner_pipe_set(s, inner);
    if (*out != inner)
        coir__inner_pipe_free(inner); /* another thread was quicker */
    return 0;
}

void
coir__inner_pipe_free(coir__inner_pipe *inner)
{
    if (inner == NULL)
        return;
    (void)close(inner->reader);
    (void)close(inner->writer);
    coir_free(inner);
}

static ssize_t
splice_now(int from, int to, size_t count)
{
    return coir__sys_splice(from, to, count,
                            SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

/* From the inner pipe, all that is in it. Returns how much, or an error. */
static ssize_t
drain(coir__inner_pipe *inner, coir_socket *to, int64_t timeout_ns)
{
    coir__use u;
    size_t sum = 0;
    int err = coir__use_begin(&u, to, COIR__OUT, "socket, to splice to",
                              timeout_ns, 0);
    while (err == 0 && inner->len > 0) {
        ssize_t n = splice_now(inner->reader, to->fd, inner->len);
        if (n < 0)
            err = coir__use_again(&u, errno);
        else {
            inner->len -= (size_t)n;
            sum += (size_t)n;
        }
    }
    return coir__use_end(&u, err == 0 ? (ssize_t)sum : err);
}

/* With the inner pipe's mutex. */
static ssize_t
splice_through(coir__inner_pipe *inner, coir_socket *from, coir_socket *to,
               size_t count, int64_t deadline_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, from, COIR__IN, "socket, to splice from",
                              coir__remaining(deadline_ns), 0);
    if (err == COIR_ETORN && inner->len > 0)
        err = 0;
    else if (err == 0)
        COIR__TRY(&u, err, n,
                  splice_now(from->fd, inner->writer,
                             count < PIPE_SIZE ? count : PIPE_SIZE));
    if (err == 0) {
        inner->len += (size_t)n;
        if (u.busy)
            coir__use_set_idle(&u);
        n = drain(inner, to, coir__remaining(deadline_ns));
        if (inner->len > 0)
            atomic_fetch_or(&from->state, COIR__TORN(COIR__IN));
        else
            atomic_fetch_and(&from->state, ~COIR__TORN(COIR__IN));
    }
    return coir__use_end(&u, err == 0 ? n : err);
}

ssize_t
coir_splice(coir_socket *from, coir_socket *to, size_t count,
            int64_t timeout_ns)
{
    coir__inner_pipe *inner = NULL;
    int err = inner_pipe_get(&inner, from);
    if (inner == NULL)
        return err;
    ssize_t n = 0;
    (void)coir_socket_hold(from); /* and with it the mutex */
    int64_t deadline_ns = coir__deadline_after(coir__hub, timeout_ns);
    err = coir_mutex_lock(&inner->mutex, timeout_ns);
    if (err == 0) {
        n = splice_through(inner, from, to, count, deadline_ns);
        (void)coir_mutex_unlock(&inner->mutex);
    }
    coir__socket_drop(from);
    return err == 0 ? n : err;
}
