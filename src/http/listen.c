/* listen.c - listening sockets, and connections that come by them.
 *
 * Accepting is level-triggered, some at a time, so that those that are there
 * already are served meanwhile. When there are as many connections as may be,
 * or no descriptors, the oldest idle one is closed for the new one. If there
 * is none the watchers are stopped, so that the loop does not spin on what it
 * cannot accept, until a connection was closed or some time has passed, which
 * grows as long as it is in vain: descriptors may be used up by others, and
 * nobody tells when there are some again. */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BATCH 64
#define BACK_OFF_MIN (50 * COIR_NS_PER_MS)
#define BACK_OFF_MAX COIR_NS_PER_S
#define BACKLOG 4096

/* --- accepting ----------------------------------------------------------- */

static void
pause_for(coir_http_server *s, int64_t ns)
{
    for (coir__http_listener *l = s->listeners; l != NULL; l = l->next)
        coir_io_stop(s->loop, &l->io);
    s->paused = 1;
    s->counters.accept_pauses++;
    s->resume_ns = coir__http_after(s, ns);
    if (ns != COIR_FOREVER)
        coir__http_wake_at(s, s->resume_ns);
}

static void
back_off(coir_http_server *s)
{
    s->back_off_ns = s->back_off_ns == 0 ? BACK_OFF_MIN : 2 * s->back_off_ns;
    if (s->back_off_ns > BACK_OFF_MAX)
        s->back_off_ns = BACK_OFF_MAX;
    pause_for(s, s->back_off_ns);
}

static int
watch(coir_http_server *s)
{
    for (coir__http_listener *l = s->listeners; l != NULL; l = l->next) {
        int err = coir_io_start(s->loop, &l->io);
        if (err < 0)
            return err;
    }
    return 0;
}

void
coir__http_resume(coir_http_server *s)
{
    if (coir__likely(!s->paused))
        return;
    s->paused = 0;
    if (s->state == COIR_HTTP_RUNNING && watch(s) < 0)
        back_off(s);
}

/* accept() has failed. 1: try again; 0: not now. */
static int
may_go_on(coir_http_server *s, int error)
{
    switch (error) {
    case EAGAIN:
        return 0;
    case EINTR:
    case ECONNABORTED:
        return 1;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (coir__http_evict(s))
            return 1;
        if (s->state == COIR_HTTP_RUNNING)
            back_off(s);
        return 0;
    /* Of the network, before the connection came to be. */
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPERM:
        s->counters.accept_errors++;
        return 1;
    default:
        s->counters.accept_errors++;
        if (s->state == COIR_HTTP_RUNNING)
            back_off(s);
        return 0;
    }
}

/* Whether there may be more. */
static int
accept_one(coir__http_listener *l)
{
    coir_http_server *s = l->server;
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
    } addr;
    socklen_t len = sizeof addr;
    int fd = accept4(l->fd, &addr.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return may_go_on(s, errno);
    s->back_off_ns = 0;
    (void)coir__http_conn_new(s, fd, &addr.any, len, l->transport,
                              l->transport_ctx, l->number, l->is_tcp);
    return 1;
}

/* The loop says that there is one. */
static void
accept_some(coir__http_listener *l)
{
    coir_http_server *s = l->server;
    for (int i = 0; i < BATCH && s->state == COIR_HTTP_RUNNING; i++) {
        if (s->connections >= s->options.max_connections) {
            if (i > 0)
                return; /* there need not be another one */
            if (!coir__http_evict(s)) {
                /* An idle one may be old enough by then. */
                pause_for(s, COIR__HTTP_YOUNG_NS);
                return;
            }
        }
        if (!accept_one(l))
            return;
    }
}

static void
on_listener(coir_loop *loop, coir_io *w, int revents)
{
    (void)loop;
    coir__http_listener *l = (coir__http_listener *)w;
    coir_http_server *s = l->server;
    coir__http_hold(s);
    if (revents & COIR_ERROR) {
        s->counters.accept_errors++;
        back_off(s);
    }
    else
        accept_some(l);
    coir__http_let_go(s);
}

void
coir__http_accept_rest(coir_http_server *s)
{
    for (coir__http_listener *l = s->listeners; l != NULL; l = l->next) {
        coir_io_stop(s->loop, &l->io);
        while (s->accepts && accept_one(l))
            ;
    }
}

void
coir__http_close_listeners(coir_http_server *s)
{
    coir__http_listener *l;
    while ((l = s->listeners) != NULL) {
        s->listeners = l->next;
        coir_io_stop(s->loop, &l->io);
        (void)close(l->fd);
        coir_free(l);
    }
}

int
coir_http_server_start(coir_http_server *s)
{
    if (coir__http_stops(s))
        return COIR_ECLOSED;
    s->state = COIR_HTTP_RUNNING;
    s->accepts = 1;
    s->paused = 0;
    return watch(s);
}

void
coir_http_server_pause(coir_http_server *s)
{
    if (s->state != COIR_HTTP_RUNNING)
        return;
    s->state = COIR_HTTP_NEW;
    s->accepts = 0;
    for (coir__http_listener *l = s->listeners; l != NULL; l = l->next)
        coir_io_stop(s->loop, &l->io);
}

/* --- making -------------------------------------------------------------- */

static int
set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return COIR_ERRNO(errno);
    if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return COIR_ERRNO(errno);
    return 0;
}

static int
option_of(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

static int
is_tcp(int fd)
{
    int domain = option_of(fd, SO_DOMAIN);
    return domain == AF_INET || domain == AF_INET6;
}

static void
set_no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int
coir_http_server_listen(coir_http_server *s, int fd,
                        const coir_http_transport *transport,
                        void *transport_ctx)
{
    if (coir__http_stops(s))
        return COIR_ECLOSED;
    if (option_of(fd, SO_TYPE) != SOCK_STREAM ||
        option_of(fd, SO_ACCEPTCONN) != 1)
        return COIR_EINVAL;
    int err = set_nonblocking(fd);
    if (err < 0)
        return err;
    coir__http_listener *l = coir_calloc(1, sizeof *l);
    if (l == NULL)
        return COIR_ENOMEM;
    l->server = s;
    l->fd = fd;
    l->transport = transport;
    l->transport_ctx = transport_ctx;
    l->is_tcp = is_tcp(fd);
    if (l->is_tcp)
        set_no_delay(fd); /* connections inherit it */
    coir_io_init(&l->io, on_listener, fd, COIR_READ);
    if (s->state == COIR_HTTP_RUNNING && !s->paused) {
        err = coir_io_start(s->loop, &l->io);
        if (err < 0) {
            coir_free(l);
            return err;
        }
    }
    l->number = s->listener_count++;
    l->next = s->listeners;
    s->listeners = l;
    return 0;
}

int
coir_http_server_fd(const coir_http_server *s, unsigned number)
{
    for (const coir__http_listener *l = s->listeners; l != NULL; l = l->next)
        if ((unsigned)l->number == number && !coir__http_stops(s))
            return l->fd;
    return -1;
}

int
coir_http_server_adopt(coir_http_server *s, int fd,
                       const coir_http_transport *transport,
                       void *transport_ctx)
{
    int err = set_nonblocking(fd);
    if (err == 0 && coir__http_stops(s))
        err = COIR_ECLOSED;
    if (err == 0 && s->connections >= s->options.max_connections &&
        !coir__http_evict(s))
        err = COIR_EBUSY;
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
    } addr;
    socklen_t len = sizeof addr;
    int known = getpeername(fd, &addr.any, &len) == 0;
    int tcp = is_tcp(fd);
    if (tcp)
        set_no_delay(fd);
    coir__http_hold(s);
    err = coir__http_conn_new(s, fd, known ? &addr.any : NULL, len, transport,
                              transport_ctx, -1, tcp);
    coir__http_let_go(s);
    return err;
}

/* --- addresses ----------------------------------------------------------- */

static int
open_listener(const struct sockaddr *addr, socklen_t len, unsigned flags)
{
    int fd =
        socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return COIR_ERRNO(errno);
    int on = 1, off = 0;
    int failed = 0;
    if (addr->sa_family != AF_UNIX)
        failed |= setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (flags & COIR_HTTP_REUSE_PORT)
        failed |= setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (addr->sa_family == AF_INET6)
        failed |=
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                       flags & COIR_HTTP_ONLY_V6 ? &on : &off, sizeof on);
    if (failed || bind(fd, addr, len) != 0 || listen(fd, BACKLOG) != 0) {
        int err = COIR_ERRNO(errno);
        (void)close(fd);
        return err;
    }
    return fd;
}

/* Is it a socket on which nobody listens any more? */
static int
is_left_over(const struct sockaddr_un *addr, socklen_t len)
{
    struct stat st;
    if (addr->sun_path[0] == '\0' || lstat(addr->sun_path, &st) != 0 ||
        !S_ISSOCK(st.st_mode))
        return 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    int refused = connect(fd, (const struct sockaddr *)addr, len) != 0 &&
                  errno == ECONNREFUSED;
    (void)close(fd);
    return refused;
}

static int
open_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof addr.sun_path)
        return COIR_EINVAL;
    memcpy(addr.sun_path, path, len + 1);
    socklen_t size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    if (path[0] == '@') {
        addr.sun_path[0] = '\0';
        size--; /* the name is as long as it is, without a NUL */
    }
    const struct sockaddr *any = (const struct sockaddr *)&addr;
    int fd = open_listener(any, size, 0);
    if (fd == COIR_ERRNO(EADDRINUSE) && is_left_over(&addr, size) &&
        unlink(path) == 0)
        fd = open_listener(any, size, 0);
    return fd;
}

static int
open_tcp(const char *host, const char *service, unsigned flags)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags =
                                 AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found;
    if (service == NULL)
        return COIR_EINVAL;
    if (host == NULL)
        host = "::";
    int error = getaddrinfo(host, service, &hints, &found);
    if (error != 0)
        return error == EAI_MEMORY ? COIR_ENOMEM : COIR_EINVAL;
    int fd = open_listener(found->ai_addr, found->ai_addrlen, flags);
    freeaddrinfo(found);
    return fd;
}

int
coir_http_server_bind(coir_http_server *s, const char *host,
                      const char *service, unsigned flags,
                      const coir_http_transport *transport,
                      void *transport_ctx)
{
    int fd;
    if (host != NULL && strncmp(host, "unix:", 5) == 0)
        fd = open_unix(host + 5);
    else
        fd = open_tcp(host, service, flags);
    if (host == NULL && fd == COIR_ERRNO(EAFNOSUPPORT))
        fd = open_tcp("0.0.0.0", service, flags); /* no IPv6 here */
    if (fd < 0)
        return fd;
    int err = coir_http_server_listen(s, fd, transport, transport_ctx);
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    return s->listener_count - 1;
}
