/* sys.h - system calls on sockets, which in a simulation are answered by it.
 *
 *     coir__sys_recv(fd, buf, len, flags)
 *
 * is recv(), unless the descriptor is one of this thread's simulation. Where
 * there is no simulation in the process that costs the test of a word. */
#ifndef COIR__SIM_SYS_H
#define COIR__SIM_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <coir/sim.h>

#include "sim/hooks.h"

/* Descriptors of simulations are from here on. */
#define COIR__SIM_FD 1024

/* Is it one of this thread's simulation? */
int coir__sim_owns(int fd);

/* As the calls of the system, on descriptors that never block. */
int coir__sim_socket_open(int domain, int type, int protocol);
int coir__sim_socketpair(int domain, int type, int protocol, int fds[2]);
int coir__sim_pipe(int fds[2]);
int coir__sim_bind(int fd, const struct sockaddr *addr, socklen_t len);
int coir__sim_listen(int fd, int backlog);
int coir__sim_connect(int fd, const struct sockaddr *addr, socklen_t len);
int coir__sim_accept(int fd, struct sockaddr *addr, socklen_t *len);
int coir__sim_shutdown(int fd, int how);
int coir__sim_close(int fd);
int coir__sim_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int coir__sim_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int coir__sim_getsockopt(int fd, int level, int name, void *value,
                         socklen_t *len);
int coir__sim_setsockopt(int fd, int level, int name, const void *value,
                         socklen_t len);
ssize_t coir__sim_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t coir__sim_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t coir__sim_sendfile(int fd, int file_fd, off_t *offset, size_t count);
/* The events, COIR_READ and COIR_WRITE, that it is ready for; -1: no such
 * descriptor. */
int coir__sim_poll(int fd, int events);

/* --- what is made -------------------------------------------------------- */

static inline int
coir__sys_in_sim(void)
{
    return coir__unlikely(__atomic_load_n(&coir__sims, __ATOMIC_RELAXED)) &&
           coir_sim_active();
}

static inline int
coir__sys_socket(int domain, int type, int protocol)
{
    return coir__sys_in_sim() ? coir__sim_socket_open(domain, type, protocol)
                              : socket(domain, type, protocol);
}

static inline int
coir__sys_socketpair(int domain, int type, int protocol, int fds[2])
{
    return coir__sys_in_sim()
               ? coir__sim_socketpair(domain, type, protocol, fds)
               : socketpair(domain, type, protocol, fds);
}

static inline int
coir__sys_pipe2(int fds[2], int flags)
{
    return coir__sys_in_sim() ? coir__sim_pipe(fds) : pipe2(fds, flags);
}

/* --- what is done with it ------------------------------------------------ */

static inline int
coir__sys_is_sim(int fd)
{
    return coir__unlikely(__atomic_load_n(&coir__sims, __ATOMIC_RELAXED)) &&
           coir__sim_owns(fd);
}

static inline int
coir__sys_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return coir__sys_is_sim(fd) ? coir__sim_bind(fd, addr, len)
                                : bind(fd, addr, len);
}

static inline int
coir__sys_listen(int fd, int backlog)
{
    return coir__sys_is_sim(fd) ? coir__sim_listen(fd, backlog)
                                : listen(fd, backlog);
}

static inline int
coir__sys_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return coir__sys_is_sim(fd) ? coir__sim_connect(fd, addr, len)
                                : connect(fd, addr, len);
}

static inline int
coir__sys_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    return coir__sys_is_sim(fd) ? coir__sim_accept(fd, addr, len)
                                : accept4(fd, addr, len, flags);
}

static inline int
coir__sys_shutdown(int fd, int how)
{
    return coir__sys_is_sim(fd) ? coir__sim_shutdown(fd, how)
                                : shutdown(fd, how);
}

static inline int
coir__sys_close(int fd)
{
    return coir__sys_is_sim(fd) ? coir__sim_close(fd) : close(fd);
}

/* F_GETFD, F_SETFD, F_GETFL, F_SETFL: of a simulated one all is as it is to
 * be. */
static inline int
coir__sys_fcntl(int fd, int what, int flags)
{
    return coir__sys_is_sim(fd) ? 0 : fcntl(fd, what, flags);
}

static inline int
coir__sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    return coir__sys_is_sim(fd) ? coir__sim_getsockname(fd, addr, len)
                                : getsockname(fd, addr, len);
}

static inline int
coir__sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    return coir__sys_is_sim(fd) ? coir__sim_getpeername(fd, addr, len)
                                : getpeername(fd, addr, len);
}

static inline int
coir__sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return coir__sys_is_sim(fd)
               ? coir__sim_getsockopt(fd, level, name, value, len)
               : getsockopt(fd, level, name, value, len);
}

static inline int
coir__sys_setsockopt(int fd, int level, int name, const void *value,
                     socklen_t len)
{
    return coir__sys_is_sim(fd)
               ? coir__sim_setsockopt(fd, level, name, value, len)
               : setsockopt(fd, level, name, value, len);
}

/* --- transfer ------------------------------------------------------------ */

/* By the calls for messages, with one buffer and an address. */
ssize_t coir__sim_receive(int fd, void *buf, size_t len, int flags,
                          struct sockaddr *addr, socklen_t *addr_len);
ssize_t coir__sim_send(int fd, const void *buf, size_t len, int flags,
                       const struct sockaddr *addr, socklen_t addr_len);

static inline ssize_t
coir__sys_recv(int fd, void *buf, size_t len, int flags)
{
    return coir__sys_is_sim(fd)
               ? coir__sim_receive(fd, buf, len, flags, NULL, NULL)
               : recv(fd, buf, len, flags);
}

static inline ssize_t
coir__sys_recvfrom(int fd, void *buf, size_t len, int flags,
                   struct sockaddr *addr, socklen_t *addr_len)
{
    return coir__sys_is_sim(fd)
               ? coir__sim_receive(fd, buf, len, flags, addr, addr_len)
               : recvfrom(fd, buf, len, flags, addr, addr_len);
}

static inline ssize_t
coir__sys_read(int fd, void *buf, size_t len)
{
    return coir__sys_is_sim(fd)
               ? coir__sim_receive(fd, buf, len, 0, NULL, NULL)
               : read(fd, buf, len);
}

static inline ssize_t
coir__sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return coir__sys_is_sim(fd) ? coir__sim_recvmsg(fd, msg, flags)
                                : recvmsg(fd, msg, flags);
}

static inline ssize_t
coir__sys_send(int fd, const void *buf, size_t len, int flags)
{
    return coir__sys_is_sim(fd) ? coir__sim_send(fd, buf, len, flags, NULL, 0)
                                : send(fd, buf, len, flags);
}

static inline ssize_t
coir__sys_sendto(int fd, const void *buf, size_t len, int flags,
                 const struct sockaddr *addr, socklen_t addr_len)
{
    return coir__sys_is_sim(fd)
               ? coir__sim_send(fd, buf, len, flags, addr, addr_len)
               : sendto(fd, buf, len, flags, addr, addr_len);
}

static inline ssize_t
coir__sys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return coir__sys_is_sim(fd) ? coir__sim_sendmsg(fd, msg, flags)
                                : sendmsg(fd, msg, flags);
}

ssize_t coir__sim_readv(int fd, const struct iovec *iov, int count);
ssize_t coir__sim_writev(int fd, const struct iovec *iov, int count);

static inline ssize_t
coir__sys_readv(int fd, const struct iovec *iov, int count)
{
    return coir__sys_is_sim(fd) ? coir__sim_readv(fd, iov, count)
                                : readv(fd, iov, count);
}

static inline ssize_t
coir__sys_writev(int fd, const struct iovec *iov, int count)
{
    return coir__sys_is_sim(fd) ? coir__sim_writev(fd, iov, count)
                                : writev(fd, iov, count);
}

static inline ssize_t
coir__sys_sendfile(int fd, int file_fd, off_t *offset, size_t count)
{
    return coir__sys_is_sim(fd)
               ? coir__sim_sendfile(fd, file_fd, offset, count)
               : sendfile(fd, file_fd, offset, count);
}

static inline ssize_t
coir__sys_splice(int from, int to, size_t count, unsigned flags)
{
    if (coir__sys_is_sim(from) || coir__sys_is_sim(to)) {
        errno = EOPNOTSUPP; /* there is no kernel to move pages */
        return -1;
    }
    return splice(from, NULL, to, NULL, count, flags);
}

#endif
