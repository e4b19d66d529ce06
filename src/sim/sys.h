/* sys.h - system calls on sockets, which a simulation answers in a simulation.
 *
 * Where there is none in the process each costs a test of a word. */
#ifndef COIR__SIM_SYS_H
#define COIR__SIM_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

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
/* The events, COIR_READ and COIR_WRITE, that it is ready for; -1: no such
 * descriptor. */
int coir__sim_poll(int fd, int events);

#endif
