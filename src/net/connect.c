/* connect.c - making sockets, connections, addresses.
 *
 * accept() reports errors of the connection it takes, which is given up then:
 * it is tried again. With errors of the system's, no descriptors say, the
 * connection stays where it is, so the next call, which always tries first,
 * finds it.
 *
 * connect() goes on without us. To ask it again gives the result, whoever was
 * told of it: EALREADY as long as there is none. That of a Unix socket whose
 * listener has no room fails instead, and there is nothing to wait for: it is
 * tried at intervals. */
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/internal.h"

/* --- making -------------------------------------------------------------- */

/* Bytes in a row, which end only with the connection. Those of a Unix socket
 * do where descriptors were passed, those of other protocols at records. */
static int
is_tcp(int domain, int type, int protocol)
{
    return (domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM &&
           (protocol == 0 || protocol == IPPROTO_TCP);
}

int
coir_socket_open(coir_socket **out, int domain, int type, int protocol)
{
    int fd = coir__sys_socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC,
                              protocol);
    if (fd < 0)
        return coir__error_of(errno);
    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    int err = coir__socket_new(out, fd, 1, is_tcp(domain, type, protocol));
    if (err < 0)
        (void)coir__sys_close(fd);
    return err;
}

/* Both, or none. */
static int
make_two(coir_socket *out[2], const int fds[2], int is_socket)
{
    coir_socket *made[2];
    int err = coir__socket_new(&made[0], fds[0], is_socket, 0);
    if (err == 0) {
        err = coir__socket_new(&made[1], fds[1], is_socket, 0);
        if (err == 0) {
            out[0] = made[0];
            out[1] = made[1];
            return 0;
        }
        (void)coir_socket_close(made[0]);
    }
    else
        (void)coir__sys_close(fds[0]);
    (void)coir__sys_close(fds[1]);
    return err;
}

int
coir_socket_pair(coir_socket *out[2], int domain, int type, int protocol)
{
    int fds[2];
    if (coir__sys_socketpair(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC,
                             protocol, fds) < 0)
        return coir__error_of(errno);
    return make_two(out, fds, 1);
}

int
coir_pipe(coir_socket **reader, coir_socket **writer)
{
    int fds[2];
    if (coir__sys_pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
        return coir__error_of(errno);
    coir_socket *both[2];
    int err = make_two(both, fds, 0);
    if (err == 0) {
        *reader = both[0];
        *writer = both[1];
    }
    return err;
}

static int
option(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof value;
    return coir__sys_getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0
               ? -1
               : value;
}

int
coir_socket_adopt(coir_socket **out, int fd)
{
    int status = coir__sys_fcntl(fd, F_GETFL, 0),
        flags = coir__sys_fcntl(fd, F_GETFD, 0);
    if (status < 0 || flags < 0)
        return COIR_ERRNO(errno);
    int type = option(fd, SO_TYPE);
    int is_stream = type == SOCK_STREAM && is_tcp(option(fd, SO_DOMAIN), type,
                                                  option(fd, SO_PROTOCOL));
    coir_socket *s;
    int err = coir__socket_new(&s, fd, type >= 0, is_stream);
    if (err < 0)
        return err;
    if (coir__sys_fcntl(fd, F_SETFL, status | O_NONBLOCK) < 0 ||
        coir__sys_fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) {
        err = COIR_ERRNO(errno);
        (void)coir_socket_release(s, &fd);
        return err;
    }
    *out = s;
    return 0;
}

/* --- listening ----------------------------------------------------------- */

int
coir_bind(coir_socket *s, const struct sockaddr *addr, socklen_t len)
{
    coir__use u;
    int err = coir__use_enter(&u, s, COIR__IN, "", 0, COIR__CLOSED);
    if (err == 0 && coir__sys_bind(s->fd, addr, len) < 0)
        err = coir__error_of(errno);
    return (int)coir__use_end(&u, err);
}

int
coir_listen(coir_socket *s, int backlog)
{
    coir__use u;
    int err = coir__use_enter(&u, s, COIR__IN, "", 0, COIR__CLOSED);
    if (err == 0 && coir__sys_listen(s->fd, backlog) < 0)
        err = coir__error_of(errno);
    return (int)coir__use_end(&u, err);
}

int
coir_shutdown(coir_socket *s, int how)
{
    coir__use u;
    int err = coir__use_enter(&u, s, COIR__IN, "", 0, COIR__CLOSED);
    if (err == 0 && coir__sys_shutdown(s->fd, how) < 0)
        err = coir__error_of(errno);
    return (int)coir__use_end(&u, err);
}

/* --- names and options --------------------------------------------------- */

int
coir_getsockname(coir_socket *s, struct sockaddr *addr, socklen_t *len)
{
    coir__use u;
    int err = coir__use_enter(&u, s, COIR__IN, "", 0, COIR__CLOSED);
    if (err == 0 && coir__sys_getsockname(s->fd, addr, len) < 0)
        err = coir__error_of(errno);
    return (int)coir__use_end(&u, err);
}

int
coir_getpeername(coir_socket *s, struct sockaddr *addr, socklen_t *len)
{
    coir__use u;
    int err = coir__use_enter(&u, s, COIR__IN, "", 0, COIR__CLOSED);
    if (err == 0 && coir__sys_getpeername(s->fd, addr, len) < 0)
        err = coir__error_of(errno);
    return (int)coir__use_end(&u, err);
}

int
coir_getsockopt(coir_socket *s, int level, int name, void *value,
                socklen_t *len)
{
    coir__use u;
    int err = coir__use_enter(&u, s, COIR__IN, "", 0, COIR__CLOSED);
    if (err == 0 && coir__sys_getsockopt(s->fd, level, name, value, len) < 0)
        err = coir__error_of(errno);
    return (int)coir__use_end(&u, err);
}

int
coir_setsockopt(coir_socket *s, int level, int name, const void *value,
                socklen_t len)
{
    coir__use u;
    int err = coir__use_enter(&u, s, COIR__IN, "", 0, COIR__CLOSED);
    if (err == 0 && coir__sys_setsockopt(s->fd, level, name, value, len) < 0)
        err = coir__error_of(errno);
    return (int)coir__use_end(&u, err);
}

/* --- accepting ----------------------------------------------------------- */

/* Errors of one connection; those of the network are passed on by Linux. */
static int
is_of_connection(int e)
{
    switch (e) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return 1;
    default:
        return 0;
    }
}

static int
accept_now(int fd, struct sockaddr *addr, socklen_t *len)
{
    int got;
    do
        got = coir__sys_accept4(fd, addr, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (got < 0 && is_of_connection(errno));
    return got;
}

int
coir_accept(coir_socket *s, coir_socket **out, struct sockaddr *addr,
            socklen_t *len, int64_t timeout_ns)
{
    coir__use u;
    int fd = -1;
    coir_socket *made = NULL;
    int err =
        coir__use_begin(&u, s, COIR__IN, "socket, to accept", timeout_ns, 0);
    if (err == 0) /* before there is a connection that would be lost */
        err = coir__socket_new(&made, -1, 1, s->is_stream);
    COIR__TRY(&u, err, fd, accept_now(s->fd, addr, len));
    if (err == 0) {
        made->fd = fd;
        *out = made;
    }
    else if (made != NULL)
        coir__socket_drop(made);
    return (int)coir__use_end(&u, err);
}

/* --- connecting ---------------------------------------------------------- */

#define RETRY_MIN_NS COIR_NS_PER_MS
#define RETRY_MAX_NS (50 * COIR_NS_PER_MS)

/* The listener has no room: a little later. */
static int
pause_connect(coir__use *u, int64_t *pause_ns)
{
    if (u->timeout_ns == 0)
        return COIR_ETIMEDOUT;
    if (!u->waited) {
        u->deadline_ns = coir__deadline_after(coir_hub_get(), u->timeout_ns);
        u->waited = 1;
    }
    int64_t left = coir__remaining(u->deadline_ns);
    if (left == 0)
        return COIR_ETIMEDOUT;
    coir__use_set_idle(u);
    int err = coir_sleep(left < *pause_ns ? left : *pause_ns);
    if (*pause_ns < RETRY_MAX_NS)
        *pause_ns *= 2;
    return err == 0 ? coir__use_set_busy(u) : err;
}

static int
connect_again(coir__use *u, int e, int64_t *pause_ns)
{
    switch (e) {
    case EINPROGRESS:
    case EALREADY:
    case EINTR:
        return coir__use_wait(u);
    case EAGAIN:
        return pause_connect(u, pause_ns);
    default:
        return coir__error_of(e);
    }
}

int
coir_connect(coir_socket *s, const struct sockaddr *addr, socklen_t len,
             int64_t timeout_ns)
{
    coir__use u;
    int64_t pause_ns = RETRY_MIN_NS;
    int err =
        coir__use_begin(&u, s, COIR__OUT, "socket, to connect", timeout_ns, 0);
    while (err == 0 && coir__sys_connect(s->fd, addr, len) < 0) {
        if (errno == EISCONN && u.waited)
            break; /* that was us */
        err = connect_again(&u, errno, &pause_ns);
    }
    return (int)coir__use_end(&u, err);
}

/* --- by name ------------------------------------------------------------- */

static int
listen_at(coir_socket **out, const struct addrinfo *a, int backlog)
{
    static const int on = 1, off = 0;
    coir_socket *s = NULL;
    int err = coir_socket_open(&s, a->ai_family, SOCK_STREAM, IPPROTO_TCP);
    if (s == NULL)
        return err;
    int fd = s->fd;
    if (coir__sys_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) <
            0 ||
        (a->ai_family == AF_INET6 && (a->ai_flags & AI_PASSIVE) &&
         coir__sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off,
                              sizeof off) < 0) ||
        coir__sys_bind(fd, a->ai_addr, a->ai_addrlen) < 0 ||
        coir__sys_listen(fd, backlog) < 0) {
        err = coir__error_of(errno);
        (void)coir_socket_close(s);
        return err;
    }
    *out = s;
    return 0;
}

static int
resolve(struct addrinfo **list, int family, const char *host,
        const char *service)
{
    struct addrinfo hints = {.ai_family = family,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags =
                                 AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    int err = getaddrinfo(host, service, &hints, list);
    return err == 0            ? 0
           : err == EAI_MEMORY ? COIR_ENOMEM
           : err == EAI_SYSTEM ? coir__error_of(errno)
                               : COIR_EINVAL;
}

int
coir_tcp_listen(coir_socket **out, const char *host, const char *service,
                int backlog)
{
    struct addrinfo *list;
    if (service == NULL)
        return COIR_EINVAL;
    /* Any address of both families by one socket, if there is IPv6. */
    int err =
        resolve(&list, host == NULL ? AF_INET6 : AF_UNSPEC, host, service);
    if (err < 0)
        return err;
    list->ai_flags = host == NULL ? AI_PASSIVE : 0;
    err = listen_at(out, list, backlog);
    freeaddrinfo(list);
    if (host != NULL ||
        (err != COIR_ERRNO(EAFNOSUPPORT) && err != COIR_ERRNO(EADDRNOTAVAIL)))
        return err;
    err = resolve(&list, AF_INET, host, service);
    if (err < 0)
        return err;
    err = listen_at(out, list, backlog);
    freeaddrinfo(list);
    return err;
}

/* The length, or COIR_EINVAL. */
static int
unix_address(struct sockaddr_un *addr, const char *path)
{
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof addr->sun_path)
        return COIR_EINVAL;
    memset(addr, 0, sizeof *addr);
    addr->sun_family = AF_UNIX;
    memcpy(addr->sun_path, path, len);
    len += offsetof(struct sockaddr_un, sun_path);
    if (path[0] != '@')
        return (int)len + 1;
    addr->sun_path[0] = '\0';
    return (int)len; /* all of an abstract name counts, and no 0 at its end */
}

int
coir_unix_listen(coir_socket **out, const char *path, int backlog)
{
    struct sockaddr_un addr;
    int len = unix_address(&addr, path);
    if (len < 0)
        return len;
    coir_socket *s = NULL;
    int err = coir_socket_open(&s, AF_UNIX, SOCK_STREAM, 0);
    if (s == NULL)
        return err;
    if (coir__sys_bind(s->fd, (struct sockaddr *)&addr, (socklen_t)len) < 0 ||
        coir__sys_listen(s->fd, backlog) < 0) {
        err = coir__error_of(errno);
        (void)coir_socket_close(s);
        return err;
    }
    *out = s;
    return 0;
}

int
coir_unix_connect(coir_socket **out, const char *path, int64_t timeout_ns)
{
    struct sockaddr_un addr;
    int len = unix_address(&addr, path);
    if (len < 0)
        return len;
    coir_socket *s = NULL;
    int err = coir_socket_open(&s, AF_UNIX, SOCK_STREAM, 0);
    if (s == NULL)
        return err;
    err =
        coir_connect(s, (struct sockaddr *)&addr, (socklen_t)len, timeout_ns);
    if (err < 0) {
        (void)coir_socket_close(s);
        return err;
    }
    *out = s;
    return 0;
}
