/* transfer.c - reading and writing.
 *
 * Each call tries the system call until it succeeds or fails for good; see
 * socket.c for what is between. Of a TCP stream a transfer that fell short is
 * known to have emptied, or filled, what the kernel holds, but for the kinds
 * of reading that look at other things than the next bytes (`PLAIN`).
 *
 * Sockets are written to with MSG_NOSIGNAL. For other descriptors SIGPIPE is
 * held off during the call, and taken away if it came. */
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/internal.h"

/* Flags with which falling short says that there is no more. */
#define PLAIN (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL | MSG_MORE)

static inline int64_t
timeout_of(int flags, int64_t timeout_ns)
{
    return coir__unlikely(flags & MSG_DONTWAIT) ? 0 : timeout_ns;
}

static inline int
is_plain(int flags, size_t len)
{
    return (flags & ~PLAIN) == 0 && len > 0;
}

/* --- writing without SIGPIPE --------------------------------------------- */

static ssize_t
writev_quietly(int fd, const struct iovec *iov, int count)
{
    sigset_t pipe_only, before, pending;
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigemptyset(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    int was_blocked = sigismember(&before, SIGPIPE);
    if (was_blocked)
        (void)sigpending(&pending);
    ssize_t n = coir__sys_writev(fd, iov, count);
    int e = errno;
    if (n < 0 && e == EPIPE && !sigismember(&pending, SIGPIPE)) {
        static const struct timespec now = {0, 0};
        (void)sigtimedwait(&pipe_only, NULL, &now);
    }
    if (!was_blocked)
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = e;
    return n;
}

/* --- sending and receiving ----------------------------------------------- */

static inline ssize_t
receive(coir_socket *s, void *buf, size_t len, int flags, int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int plain = is_plain(flags, len);
    int err = coir__use_begin(&u, s, COIR__IN, "socket, to receive",
                              timeout_of(flags, timeout_ns), plain);
    COIR__TRY(&u, err, n,
              coir__sys_recv(s->fd, buf, len, flags | MSG_DONTWAIT));
    if (err == 0 && plain)
        coir__use_done(&u, n, len);
    return coir__use_end(&u, err == 0 ? n : err);
}

/* Not of messages. */
static int
is_of_bytes(const coir_socket *s)
{
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
           type == SOCK_STREAM;
}

/* MSG_WAITALL: as much as was asked for, if nothing comes in between. */
static ssize_t
receive_all(coir_socket *s, char *buf, size_t len, int flags,
            int64_t timeout_ns)
{
    (void)coir_socket_hold(s);
    ssize_t n = receive(s, buf, len, flags, timeout_ns);
    if (n > 0 && (size_t)n < len && !(flags & MSG_PEEK) &&
        timeout_of(flags, timeout_ns) != 0 && is_of_bytes(s)) {
        size_t done = (size_t)n;
        int64_t deadline_ns = coir__deadline_after(coir__hub, timeout_ns);
        while (done < len && n > 0) {
            n = receive(s, buf + done, len - done, flags,
                        coir__remaining(deadline_ns));
            if (n > 0)
                done += (size_t)n;
        }
        n = (ssize_t)done; /* what stopped it shows with the next call */
    }
    coir__socket_drop(s);
    return n;
}

ssize_t
coir_recv(coir_socket *s, void *buf, size_t len, int flags, int64_t timeout_ns)
{
    return coir__unlikely(flags & MSG_WAITALL)
               ? receive_all(s, buf, len, flags, timeout_ns)
               : receive(s, buf, len, flags, timeout_ns);
}

ssize_t
coir_send(coir_socket *s, const void *buf, size_t len, int flags,
          int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int plain = is_plain(flags, len);
    int err = coir__use_begin(&u, s, COIR__OUT, "socket, to send",
                              timeout_of(flags, timeout_ns), plain);
    COIR__TRY(
        &u, err, n,
        coir__sys_send(s->fd, buf, len, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    if (err == 0 && plain)
        coir__use_done(&u, n, len);
    return coir__use_end(&u, err == 0 ? n : err);
}

ssize_t
coir_recvfrom(coir_socket *s, void *buf, size_t len, int flags,
              struct sockaddr *addr, socklen_t *addr_len, int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, s, COIR__IN, "socket, to receive",
                              timeout_of(flags, timeout_ns), 0);
    COIR__TRY(&u, err, n,
              coir__sys_recvfrom(s->fd, buf, len, flags | MSG_DONTWAIT, addr,
                                 addr_len));
    return coir__use_end(&u, err == 0 ? n : err);
}

ssize_t
coir_sendto(coir_socket *s, const void *buf, size_t len, int flags,
            const struct sockaddr *addr, socklen_t addr_len,
            int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, s, COIR__OUT, "socket, to send",
                              timeout_of(flags, timeout_ns), 0);
    COIR__TRY(&u, err, n,
              coir__sys_sendto(s->fd, buf, len,
                               flags | MSG_DONTWAIT | MSG_NOSIGNAL, addr,
                               addr_len));
    return coir__use_end(&u, err == 0 ? n : err);
}

ssize_t
coir_recvmsg(coir_socket *s, struct msghdr *msg, int flags, int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, s, COIR__IN, "socket, to receive",
                              timeout_of(flags, timeout_ns), 0);
    COIR__TRY(&u, err, n, coir__sys_recvmsg(s->fd, msg, flags | MSG_DONTWAIT));
    return coir__use_end(&u, err == 0 ? n : err);
}

ssize_t
coir_sendmsg(coir_socket *s, const struct msghdr *msg, int flags,
             int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, s, COIR__OUT, "socket, to send",
                              timeout_of(flags, timeout_ns), 0);
    COIR__TRY(
        &u, err, n,
        coir__sys_sendmsg(s->fd, msg, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    return coir__use_end(&u, err == 0 ? n : err);
}

/* --- reading and writing ------------------------------------------------- */

ssize_t
coir_read(coir_socket *s, void *buf, size_t len, int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, s, COIR__IN, "socket, to read", timeout_ns,
                              len > 0);
    COIR__TRY(&u, err, n, coir__sys_read(s->fd, buf, len));
    if (err == 0)
        coir__use_done(&u, n, len);
    return coir__use_end(&u, err == 0 ? n : err);
}

static size_t
total(const struct iovec *iov, int count)
{
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    return len;
}

ssize_t
coir_readv(coir_socket *s, const struct iovec *iov, int count,
           int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err =
        coir__use_begin(&u, s, COIR__IN, "socket, to read", timeout_ns, 0);
    COIR__TRY(&u, err, n, coir__sys_readv(s->fd, iov, count));
    if (err == 0)
        coir__use_done(&u, n, total(iov, count));
    return coir__use_end(&u, err == 0 ? n : err);
}

/* One attempt, without a signal. */
static inline ssize_t
try_write(const coir_socket *s, const void *buf, size_t len)
{
    if (coir__likely(s->is_socket))
        return coir__sys_send(s->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    return writev_quietly(s->fd, &iov, 1);
}

ssize_t
coir_write(coir_socket *s, const void *buf, size_t len, int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err = coir__use_begin(&u, s, COIR__OUT, "socket, to write", timeout_ns,
                              len > 0);
    COIR__TRY(&u, err, n, try_write(s, buf, len));
    if (err == 0)
        coir__use_done(&u, n, len);
    return coir__use_end(&u, err == 0 ? n : err);
}

static ssize_t
try_writev(const coir_socket *s, const struct iovec *iov, int count)
{
    if (!s->is_socket)
        return writev_quietly(s->fd, iov, count);
    if (count < 0) {
        errno = EINVAL;
        return -1;
    }
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                         .msg_iovlen = (size_t)count};
    return coir__sys_sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t
coir_writev(coir_socket *s, const struct iovec *iov, int count,
            int64_t timeout_ns)
{
    coir__use u;
    ssize_t n = 0;
    int err =
        coir__use_begin(&u, s, COIR__OUT, "socket, to write", timeout_ns, 0);
    COIR__TRY(&u, err, n, try_writev(s, iov, count));
    if (err == 0)
        coir__use_done(&u, n, total(iov, count));
    return coir__use_end(&u, err == 0 ? n : err);
}

/* --- all of it ----------------------------------------------------------- */

/* The end of a transfer of `done` of `len` bytes. */
static int
all_end(coir__use *u, size_t *out, size_t done, size_t len, int err)
{
    if (done > 0 && done < len &&
        (err == COIR_ECANCELED || err == COIR_ETIMEDOUT ||
         err == COIR_EDEADLK))
        atomic_fetch_or(&u->s->state, COIR__TORN(u->dir));
    if (out != NULL)
        *out = done;
    return (int)coir__use_end(u, err);
}

int
coir_read_exact(coir_socket *s, void *buf, size_t len, size_t *done,
                int64_t timeout_ns)
{
    coir__use u;
    size_t have = 0;
    int err = coir__use_begin(&u, s, COIR__IN, "socket, to read", timeout_ns,
                              len > 0);
    while (err == 0 && have < len) {
        ssize_t n = coir__sys_read(s->fd, (char *)buf + have, len - have);
        if (n == 0)
            err = COIR_EEOF;
        else if (n < 0)
            err = coir__use_again(&u, errno);
        else {
            coir__use_done(&u, n, len - have);
            have += (size_t)n;
            if (have < len && s->is_stream)
                err = coir__use_wait(&u);
        }
    }
    return all_end(&u, done, have, len, err);
}

int
coir_write_all(coir_socket *s, const void *buf, size_t len, size_t *done,
               int64_t timeout_ns)
{
    coir__use u;
    size_t gone = 0;
    int err = coir__use_begin(&u, s, COIR__OUT, "socket, to write", timeout_ns,
                              len > 0);
    while (err == 0 && gone < len) {
        ssize_t n = try_write(s, (const char *)buf + gone, len - gone);
        if (n < 0)
            err = coir__use_again(&u, errno);
        else {
            coir__use_done(&u, n, len - gone);
            gone += (size_t)n;
            if (gone < len && s->is_stream)
                err = coir__use_wait(&u);
        }
    }
    return all_end(&u, done, gone, len, err);
}
