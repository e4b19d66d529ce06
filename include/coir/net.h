/* coir/net.h - sockets and pipes for green threads: calls that wait.
 *
 *     static int
 *     echo(void *arg)
 *     {
 *         coir_socket *s = arg;
 *         char buf[4096];
 *         ssize_t n;
 *         while ((n = coir_read(s, buf, sizeof buf, COIR_FOREVER)) > 0 &&
 *                coir_write_all(s, buf, (size_t)n, NULL, COIR_FOREVER) == 0)
 *             ;
 *         return coir_socket_close(s);
 *     }
 *
 * A call that would block makes its green thread wait; the others of its OS
 * thread run. Many may wait for one socket, some to read and some to write:
 * they are served in the order of coming.
 *
 * Owner:   a coir_socket owns its descriptor. Options are set on the
 *          descriptor itself, coir_socket_fd(); it must not be closed.
 * Threads: any. In the OS thread whose hub first waited for a socket waiting
 *          is cheapest: no system call. A thread gets a hub with its first
 *          wait.
 * Forks:   sockets work on in the child.
 * Blocks:  what takes a timeout, the green thread only: nanoseconds,
 *          COIR_FOREVER for no limit, 0 not to wait. One that need not wait
 *          lets others run now and then, but with timeout 0.
 * Errors:  COIR_ERRNO(e) for what the kernel refused; COIR_ETIMEDOUT,
 *          COIR_ECANCELED, COIR_EDEADLK, COIR_EINVAL as for all waits (see
 *          coir/hub.h); COIR_ECLOSED once it is closed; COIR_ETORN after an
 *          interrupted transfer; COIR_ENOMEM. After an error nothing was read
 *          or written, but where it is said. There is no SIGPIPE. */
#ifndef COIR_NET_H
#define COIR_NET_H

#include <coir/hub.h>

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A socket, a pipe, a terminal: whatever can be waited for. */
typedef struct coir_socket coir_socket;

/* --- making and closing -------------------------------------------------- */

/* As socket(2), socketpair(2) and pipe(2); non-blocking and close-on-exec. */
COIR_API int coir_socket_open(coir_socket **out, int domain, int type,
                              int protocol);
COIR_API int coir_socket_pair(coir_socket *out[2], int domain, int type,
                              int protocol);
COIR_API int coir_pipe(coir_socket **reader, coir_socket **writer);

/* Take over a descriptor, which becomes non-blocking and close-on-exec. */
COIR_API int coir_socket_adopt(coir_socket **out, int fd);

/* Close it and let go of it. Those who wait for it get COIR_ECLOSED. It may
 * not be used any more but by others who hold it. */
COIR_API int coir_socket_close(coir_socket *s);

/* One more who will close it. The first one does; others get COIR_ECLOSED from
 * then on, until each has closed it, too. Returns it. */
COIR_API coir_socket *coir_socket_hold(coir_socket *s);

/* As closing, but the descriptor stays open and is the caller's. */
COIR_API int coir_socket_release(coir_socket *s, int *fd);

/* -1 once it is closed. */
COIR_API int coir_socket_fd(const coir_socket *s);

/* --- connections --------------------------------------------------------- */

/* As bind(2), listen(2) and shutdown(2). */
COIR_API int coir_bind(coir_socket *s, const struct sockaddr *addr,
                       socklen_t len);
COIR_API int coir_listen(coir_socket *s, int backlog);
COIR_API int coir_shutdown(coir_socket *s, int how);

/* As getsockname(2), getpeername(2), getsockopt(2) and setsockopt(2); these
 * know sockets of simulations, too. */
COIR_API int coir_getsockname(coir_socket *s, struct sockaddr *addr,
                              socklen_t *len);
COIR_API int coir_getpeername(coir_socket *s, struct sockaddr *addr,
                              socklen_t *len);
COIR_API int coir_getsockopt(coir_socket *s, int level, int name, void *value,
                             socklen_t *len);
COIR_API int coir_setsockopt(coir_socket *s, int level, int name,
                             const void *value, socklen_t len);

/* As accept(2); `addr` and `len` may be NULL. Connections that were given up
 * meanwhile are passed over. COIR_ERRNO(EMFILE) and the like: it may be called
 * again, the connection waits. */
COIR_API int coir_accept(coir_socket *s, coir_socket **out,
                         struct sockaddr *addr, socklen_t *len,
                         int64_t timeout_ns);

/* As connect(2), to the end. Interrupted, it may be called again, and goes on
 * with the same connection. */
COIR_API int coir_connect(coir_socket *s, const struct sockaddr *addr,
                          socklen_t len, int64_t timeout_ns);

/* Make a listening TCP socket, with SO_REUSEADDR. `host` is a numeric address,
 * or NULL for any, of IPv6 and IPv4; `service` a number. COIR_EINVAL: it is
 * none. */
COIR_API int coir_tcp_listen(coir_socket **out, const char *host,
                             const char *service, int backlog);

/* Stream sockets of this machine. A path that begins with '@' is a name in
 * Linux's abstract name space, without the '@'. COIR_EINVAL: too long. */
COIR_API int coir_unix_listen(coir_socket **out, const char *path,
                              int backlog);
COIR_API int coir_unix_connect(coir_socket **out, const char *path,
                               int64_t timeout_ns);

/* --- transfer ------------------------------------------------------------ */

/* As the system calls: they return what was transferred, which may be less
 * than asked for; reading gives 0 at the end. MSG_WAITALL is heeded, by
 * coir_recv() alone, and MSG_DONTWAIT is as timeout 0. */
COIR_API ssize_t coir_read(coir_socket *s, void *buf, size_t len,
                           int64_t timeout_ns);
COIR_API ssize_t coir_write(coir_socket *s, const void *buf, size_t len,
                            int64_t timeout_ns);
COIR_API ssize_t coir_readv(coir_socket *s, const struct iovec *iov, int count,
                            int64_t timeout_ns);
COIR_API ssize_t coir_writev(coir_socket *s, const struct iovec *iov,
                             int count, int64_t timeout_ns);
COIR_API ssize_t coir_recv(coir_socket *s, void *buf, size_t len, int flags,
                           int64_t timeout_ns);
COIR_API ssize_t coir_send(coir_socket *s, const void *buf, size_t len,
                           int flags, int64_t timeout_ns);
COIR_API ssize_t coir_recvfrom(coir_socket *s, void *buf, size_t len,
                               int flags, struct sockaddr *addr,
                               socklen_t *addr_len, int64_t timeout_ns);
COIR_API ssize_t coir_sendto(coir_socket *s, const void *buf, size_t len,
                             int flags, const struct sockaddr *addr,
                             socklen_t addr_len, int64_t timeout_ns);
COIR_API ssize_t coir_recvmsg(coir_socket *s, struct msghdr *msg, int flags,
                              int64_t timeout_ns);
COIR_API ssize_t coir_sendmsg(coir_socket *s, const struct msghdr *msg,
                              int flags, int64_t timeout_ns);

/* Transfer all of it. Returns 0; COIR_EEOF: the end came early. `*done`, if
 * not NULL, is set in any case: how much was transferred.
 *
 * If it is interrupted after a part, by a timeout or a cancel, the stream is
 * torn: who goes on as if nothing had happened takes the rest of this message
 * for the next one. So all reading, or all writing, fails with COIR_ETORN from
 * then on, until coir_socket_clear_torn(). */
COIR_API int coir_read_exact(coir_socket *s, void *buf, size_t len,
                             size_t *done, int64_t timeout_ns);
COIR_API int coir_write_all(coir_socket *s, const void *buf, size_t len,
                            size_t *done, int64_t timeout_ns);

/* The caller knows how to go on with a torn socket. */
COIR_API void coir_socket_clear_torn(coir_socket *s);

/* As sendfile(2): from a file. */
COIR_API ssize_t coir_sendfile(coir_socket *s, int file_fd, off_t *offset,
                               size_t count, int64_t timeout_ns);

/* Transfer at most `count` bytes of what there is in `from`, without copying
 * them: between sockets, or a socket and a pipe, or pipes. Returns how many; 0
 * at the end. Interrupted while it writes, bytes stay on the way: then `from`
 * is torn, and the next coir_splice() from it goes on with them. */
COIR_API ssize_t coir_splice(coir_socket *from, coir_socket *to, size_t count,
                             int64_t timeout_ns);

/* Bytes with descriptors, over a Unix socket. At most 253. Received ones are
 * close-on-exec; `*count` is for how many there is room, then how many came.
 */
COIR_API ssize_t coir_send_fds(coir_socket *s, const void *buf, size_t len,
                               const int *fds, size_t count,
                               int64_t timeout_ns);
COIR_API ssize_t coir_recv_fds(coir_socket *s, void *buf, size_t len, int *fds,
                               size_t *count, int64_t timeout_ns);

/* --- waiting only -------------------------------------------------------- */

/* Wait until reading or writing (COIR_READ, COIR_WRITE) would not block.
 * Returns which. */
COIR_API int coir_socket_wait(coir_socket *s, int events, int64_t timeout_ns);
/* The same for a descriptor that is somebody else's, a driver's say. */
COIR_API int coir_wait_fd(int fd, int events, int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif
