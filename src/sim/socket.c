/* socket.c - descriptors of the simulated network: what a kernel does.
 *
 * The calls are those of the system, with its errno values, for sockets that
 * never block; src/net makes them through src/sim/sys.h and does not know the
 * difference. A descriptor is a number from COIR__SIM_FD on, which is above
 * those that most processes have, in the table of its simulation.
 *
 * States of a stream socket:
 *
 *     NEW --> LISTENING
 *     NEW --> CONNECTING --> CONNECTED, or NEW again, with an error
 *     (accepted, or of a pair) CONNECTED
 *
 * An attempt to connect is a timer: when it comes the first packet has reached
 * the other host. If there is a listener it has the stream at once, and the
 * answer is the first packet on it.
 *
 * What the loop watches is told when it waits, as a kernel does: edges once,
 * from coir__sim_fire(); levels as long as they are so. */
#include "sim/network.h"
#include "sim/sys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* For connecting, the first time; then twice as long, ... */
#define AGAIN_NS COIR_NS_PER_S
#define TRIES_MAX 6
#define FIRST_PORT 32768
#define LAST_PORT 60999
/* Of streams that need no network. */
#define LOCAL_BUFFER ((size_t)64 * 1024)

/* --- the table ----------------------------------------------------------- */

static coir__sim_socket *
lookup(const coir__sim *sim, int fd)
{
    if (sim == NULL || fd < COIR__SIM_FD ||
        fd - COIR__SIM_FD >= sim->net.table_size)
        return NULL;
    return sim->net.table[fd - COIR__SIM_FD];
}

coir__sim_socket *
coir__sim_socket_get(int fd)
{
    coir__sim_socket *s = lookup(coir__sim_here(), fd);
    if (s == NULL)
        errno = EBADF;
    return s;
}

int
coir__sim_owns(int fd)
{
    return lookup(coir__sim_here(), fd) != NULL;
}

/* The lowest free number, or -1. */
static int
free_number(coir__sim *sim)
{
    struct coir__sim_network *net = &sim->net;
    for (int i = 0; i < net->table_size; i++)
        if (net->table[i] == NULL)
            return i;
    int size = net->table_size > 0 ? 2 * net->table_size : 16;
    coir__sim_socket **table =
        coir_realloc(net->table, (size_t)size * sizeof(*table));
    if (table == NULL)
        return -1;
    memset(table + net->table_size, 0,
           (size_t)(size - net->table_size) * sizeof(*table));
    int i = net->table_size;
    net->table = table;
    net->table_size = size;
    return i;
}

/* NULL, and errno: no memory. */
static coir__sim_socket *
socket_new(coir__sim *sim, int domain, int type)
{
    coir__sim_host *host = coir__sim_host_here(sim);
    int number = free_number(sim);
    coir__sim_socket *s =
        host != NULL && number >= 0 ? coir_calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    s->sim = sim;
    s->fd = number + COIR__SIM_FD;
    s->host = host;
    s->domain = domain;
    s->type = type;
    s->to_accept_tail = &s->to_accept;
    coir__sim_packets_init(&s->inbox);
    sim->net.table[number] = s;
    return s;
}

static void
socket_free(coir__sim_socket *s)
{
    struct coir__sim_network *net = &s->sim->net;
    coir__sim_socket **at = &net->fired;
    while (*at != NULL && *at != s)
        at = &(*at)->next_fired;
    if (*at != NULL) {
        *at = s->next_fired;
        if (*at == NULL)
            net->fired_tail = at;
    }
    coir_timer_stop(s->sim->loop, &s->timer);
    coir__sim_packets_free(&s->inbox);
    net->table[s->fd - COIR__SIM_FD] = NULL;
    coir_free(s);
}

/* --- readiness ----------------------------------------------------------- */

size_t
coir__sim_room(const coir__sim_socket *s)
{
    const coir__sim_half *half = &s->stream->to[!s->side];
    return half->unread < half->limit ? half->limit - half->unread : 0;
}

int
coir__sim_readiness(const coir__sim_socket *s)
{
    int events = s->error != 0 ? COIR_READ | COIR_WRITE : 0;
    if (s->type == SOCK_DGRAM)
        return events | COIR_WRITE |
               (s->inbox.head != NULL || (s->shut & COIR__SIM_NO_READING)
                    ? COIR_READ
                    : 0);
    switch (s->state) {
    case COIR__SIM_NEW:
        return COIR_READ | COIR_WRITE; /* it has hung up */
    case COIR__SIM_LISTENING:
        return events | (s->to_accept != NULL ? COIR_READ : 0);
    case COIR__SIM_CONNECTING:
        return events;
    }
    const coir__sim_half *in = &s->stream->to[s->side];
    if (in->ready.head != NULL || in->at_end ||
        (s->shut & COIR__SIM_NO_READING))
        events |= COIR_READ;
    if (coir__sim_room(s) > 0 || s->stream->is_reset ||
        (s->shut & COIR__SIM_NO_WRITING))
        events |= COIR_WRITE;
    return events;
}

void
coir__sim_fire(coir__sim_socket *s, int events)
{
    if (s == NULL || !s->watched || !s->is_edge)
        return;
    s->fired |= events;
    if (s->in_fired)
        return;
    struct coir__sim_network *net = &s->sim->net;
    s->in_fired = 1;
    s->next_fired = NULL;
    *net->fired_tail = s;
    net->fired_tail = &s->next_fired;
}

static void
tell(coir__sim_socket *s, int events)
{
    coir_loop *loop = s->sim->loop;
    const coir__sim_stream *stream = s->stream;
    /* An end that comes together with bytes has no event of its own. */
    if (s->error != 0 || (stream != NULL && stream->to[s->side].at_end))
        events |= COIR__ONCE_MORE;
    coir__io_ready(loop, s->fd, loop->fds[s->fd].generation, events);
}

int
coir__sim_network_tell(coir__sim *sim)
{
    struct coir__sim_network *net = &sim->net;
    int any = net->fired != NULL;
    coir__sim_socket *s;
    while ((s = net->fired) != NULL) {
        int events = s->fired & s->watched;
        net->fired = s->next_fired;
        if (net->fired == NULL)
            net->fired_tail = &net->fired;
        s->in_fired = s->fired = 0;
        if (events != 0)
            tell(s, events);
    }
    for (int i = 0; i < net->table_size; i++) {
        s = net->table[i];
        if (s == NULL || !s->watched || s->is_edge)
            continue;
        int events = coir__sim_readiness(s) & s->watched;
        if (events != 0) {
            tell(s, events);
            any = 1;
        }
    }
    return any;
}

int
coir__sim_network_modify(coir__sim *sim, int fd, int events)
{
    coir__sim_socket *s = lookup(sim, fd);
    if (s == NULL)
        return events == 0 ? 0 : fd < COIR__SIM_FD ? EOPNOTSUPP : EBADF;
    s->watched = events & (COIR_READ | COIR_WRITE);
    s->is_edge = (events & COIR__REGISTERED_EDGE) != 0;
    s->fired = 0;
    int ready = coir__sim_readiness(s);
    if (ready != 0)
        coir__sim_fire(s, ready);
    return 0;
}

/* --- addresses ----------------------------------------------------------- */

static int
is_internet(const coir__sim_socket *s)
{
    return s->domain == AF_INET || s->domain == AF_INET6;
}

static uint8_t
is_ip4_loopback(struct in_addr ip)
{
    return ntohl(ip.s_addr) >> 24 == 127;
}

static void
read_ip4(const coir__sim_socket *s, struct in_addr ip, coir__sim_address *out)
{
    out->family = AF_INET;
    out->is_loopback = is_ip4_loopback(ip);
    out->host = out->is_loopback ? s->host : coir__sim_host_by_ip4(s->sim, ip);
}

int
coir__sim_read_address(const coir__sim_socket *s, const struct sockaddr *addr,
                       socklen_t len, coir__sim_address *out)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    int is_any;
    memset(out, 0, sizeof *out);
    if (addr->sa_family != s->domain)
        return EAFNOSUPPORT;
    if (s->domain == AF_INET) {
        if (len < sizeof in)
            return EINVAL;
        memcpy(&in, addr, sizeof in);
        out->port = ntohs(in.sin_port);
        read_ip4(s, in.sin_addr, out);
        is_any = in.sin_addr.s_addr == INADDR_ANY;
    }
    else {
        if (len < sizeof in6)
            return EINVAL;
        memcpy(&in6, addr, sizeof in6);
        out->port = ntohs(in6.sin6_port);
        is_any = IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
            memcpy(&in.sin_addr, &in6.sin6_addr.s6_addr[12], 4);
            read_ip4(s, in.sin_addr, out);
        }
        else {
            out->family = AF_INET6;
            out->is_loopback = (uint8_t)IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
            out->host = out->is_loopback
                            ? s->host
                            : coir__sim_host_by_ip6(s->sim, &in6.sin6_addr);
        }
    }
    return out->host == NULL && !is_any ? EADDRNOTAVAIL : 0;
}

static struct in_addr
ip4_of(const coir__sim_address *a)
{
    static const struct in_addr any = {INADDR_ANY};
    if (a->is_loopback)
        return (struct in_addr){htonl(INADDR_LOOPBACK)};
    return a->host != NULL && a->family == AF_INET ? a->host->ip4 : any;
}

static struct in6_addr
ip6_of(const coir__sim_address *a)
{
    if (a->host != NULL && a->family == AF_INET) {
        struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
        struct in_addr ip = ip4_of(a);
        memcpy(&mapped.s6_addr[12], &ip, 4);
        return mapped;
    }
    if (a->is_loopback)
        return in6addr_loopback;
    return a->host != NULL ? a->host->ip6 : in6addr_any;
}

static void
write_out(struct sockaddr *addr, socklen_t *len, const void *from, size_t size)
{
    if (addr == NULL || len == NULL)
        return;
    memcpy(addr, from, *len < size ? *len : size);
    *len = (socklen_t)size;
}

void
coir__sim_write_address(int domain, const coir__sim_address *a,
                        const coir__sim_path *path, struct sockaddr *addr,
                        socklen_t *len)
{
    if (domain == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_port = htons(a->port),
                                 .sin_addr = ip4_of(a)};
        write_out(addr, len, &in, sizeof in);
    }
    else if (domain == AF_INET6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                                   .sin6_port = htons(a->port),
                                   .sin6_addr = ip6_of(a)};
        write_out(addr, len, &in6, sizeof in6);
    }
    else {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        memcpy(un.sun_path, path->name, path->len);
        write_out(addr, len, &un,
                  offsetof(struct sockaddr_un, sun_path) + path->len);
    }
}

int
coir__sim_read_path(const struct sockaddr *addr, socklen_t len,
                    coir__sim_path *out)
{
    size_t begin = offsetof(struct sockaddr_un, sun_path);
    memset(out, 0, sizeof *out);
    if (addr->sa_family != AF_UNIX)
        return EAFNOSUPPORT;
    if (len <= begin || len > sizeof(struct sockaddr_un))
        return EINVAL;
    const char *name = (const char *)addr + begin;
    out->len = len - begin;
    if (name[0] != '\0') /* with its NUL, however it was given */
        out->len = strnlen(name, out->len - 1) + 1;
    memcpy(out->name, name, out->len);
    return 0;
}

/* --- who is where -------------------------------------------------------- */

static int
is_same_path(const coir__sim_path *a, const coir__sim_path *b)
{
    return a->len == b->len && memcmp(a->name, b->name, a->len) == 0;
}

/* Does what is sent to `to` come to this socket? */
static int
is_reached(const coir__sim_socket *s, const coir__sim_address *to)
{
    if (!s->is_bound || s->host != to->host || s->local.port != to->port)
        return 0;
    if (s->domain != to->family && (s->domain != AF_INET6 || s->ipv6_only))
        return 0;
    return s->local.host == NULL || (s->local.family == to->family &&
                                     s->local.is_loopback == to->is_loopback);
}

static int
is_kind(const coir__sim_socket *s, int type)
{
    return s != NULL && is_internet(s) && s->type == type;
}

static coir__sim_socket *
find_reached(coir__sim *sim, int type, const coir__sim_address *to)
{
    for (int i = 0; i < sim->net.table_size; i++) {
        coir__sim_socket *s = sim->net.table[i];
        if (is_kind(s, type) && is_reached(s, to) &&
            (type == SOCK_DGRAM || s->state == COIR__SIM_LISTENING))
            return s;
    }
    return NULL;
}

coir__sim_socket *
coir__sim_find_receiver(coir__sim *sim, const coir__sim_address *to)
{
    return find_reached(sim, SOCK_DGRAM, to);
}

coir__sim_socket *
coir__sim_find_path(const coir__sim_socket *from, const coir__sim_path *path)
{
    const struct coir__sim_network *net = &from->sim->net;
    for (int i = 0; i < net->table_size; i++) {
        coir__sim_socket *s = net->table[i];
        if (s != NULL && s->domain == AF_UNIX && s->is_bound &&
            s->host == from->host && is_same_path(&s->path, path))
            return s;
    }
    return NULL;
}

/* Is the port of `a` somebody else's who would be in the way? */
static int
is_taken(const coir__sim_socket *s, const coir__sim_address *a)
{
    const struct coir__sim_network *net = &s->sim->net;
    for (int i = 0; i < net->table_size; i++) {
        const coir__sim_socket *other = net->table[i];
        if (other == s || !is_kind(other, s->type) || !other->is_bound ||
            other->host != s->host || other->local.port != a->port)
            continue;
        if (other->local.host == NULL || a->host == NULL ||
            (other->local.family == a->family &&
             other->local.is_loopback == a->is_loopback))
            return 1;
    }
    return 0;
}

static int
choose_port(coir__sim_socket *s, coir__sim_address *a)
{
    coir__sim_host *host = s->host;
    assert(host != NULL);
    for (int i = FIRST_PORT; i <= LAST_PORT; i++) {
        if (++host->last_port > LAST_PORT)
            host->last_port = FIRST_PORT;
        a->port = host->last_port;
        if (!is_taken(s, a))
            return 0;
    }
    return EADDRINUSE;
}

/* Give it this address: 0 or an errno value. */
static int
bind_to(coir__sim_socket *s, coir__sim_address *a)
{
    if (a->host != NULL && a->host != s->host)
        return EADDRNOTAVAIL;
    int e = 0;
    if (a->port == 0)
        e = choose_port(s, a);
    else if (is_taken(s, a))
        e = EADDRINUSE;
    if (e == 0) {
        s->local = *a;
        s->is_bound = 1;
    }
    return e;
}

int
coir__sim_bind_for(coir__sim_socket *s, const coir__sim_address *peer)
{
    coir__sim_address a = {.host = s->host,
                           .family = peer->family,
                           .is_loopback = peer->is_loopback};
    if (!s->is_bound)
        return bind_to(s, &a);
    if (s->local.host == NULL) {
        a.port = s->local.port;
        s->local = a;
    }
    return 0;
}

static int
fail(int e)
{
    errno = e;
    return -1;
}

int
coir__sim_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    if (s->is_bound || s->state != COIR__SIM_NEW)
        return fail(EINVAL);
    int e;
    if (s->domain == AF_UNIX) {
        coir__sim_path path;
        e = coir__sim_read_path(addr, len, &path);
        if (e == 0 && coir__sim_find_path(s, &path) != NULL)
            e = EADDRINUSE;
        if (e == 0) {
            s->path = path;
            s->is_bound = 1;
        }
    }
    else {
        coir__sim_address a;
        e = coir__sim_read_address(s, addr, len, &a);
        if (e == 0)
            e = bind_to(s, &a);
    }
    return e != 0 ? fail(e) : 0;
}

int
coir__sim_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    const coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    coir__sim_write_address(s->domain, &s->local, &s->path, addr, len);
    return 0;
}

int
coir__sim_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    const coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    if (s->type == SOCK_DGRAM ? s->peer.host == NULL && s->peer_path.len == 0
                              : s->state != COIR__SIM_CONNECTED)
        return fail(ENOTCONN);
    coir__sim_write_address(s->domain, &s->peer, &s->peer_path, addr, len);
    return 0;
}

/* --- making -------------------------------------------------------------- */

int
coir__sim_socket_open(int domain, int type, int protocol)
{
    (void)protocol;
    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    int is_ip = domain == AF_INET || domain == AF_INET6;
    if (!is_ip && domain != AF_UNIX)
        return fail(EAFNOSUPPORT);
    if (type != SOCK_STREAM && type != SOCK_DGRAM &&
        (type != SOCK_SEQPACKET || is_ip))
        return fail(EPROTONOSUPPORT);
    const coir__sim_socket *s = socket_new(coir__sim_here(), domain, type);
    return s != NULL ? s->fd : -1;
}

static size_t
buffer_of(coir__sim *sim, const coir_sim_link *link)
{
    static const size_t sizes[] = {1024, 8192, 65536};
    if (link->buffer > 0)
        return link->buffer;
    return sizes[coir__random_below(&sim->network, 3)];
}

static void
attach(coir__sim_socket *s, coir__sim_stream *stream, int side)
{
    s->stream = stream;
    s->side = side;
    s->state = COIR__SIM_CONNECTED;
    stream->end[side] = s;
}

/* Two that are connected. */
static int
make_pair(int fds[2], int domain, int type)
{
    coir__sim *sim = coir__sim_here();
    coir__sim_stream *stream = coir__sim_stream_new(sim, 1);
    if (stream == NULL)
        return fail(ENOMEM);
    coir__sim_socket *s[2];
    s[0] = socket_new(sim, domain, type);
    s[1] = s[0] != NULL ? socket_new(sim, domain, type) : NULL;
    if (s[1] == NULL) {
        if (s[0] != NULL)
            socket_free(s[0]);
        coir__sim_stream_check(stream);
        return fail(ENOMEM);
    }
    stream->is_messages = type != SOCK_STREAM;
    for (int i = 0; i < 2; i++) {
        stream->to[i].limit = LOCAL_BUFFER;
        attach(s[i], stream, i);
        fds[i] = s[i]->fd;
    }
    return 0;
}

int
coir__sim_socketpair(int domain, int type, int protocol, int fds[2])
{
    (void)protocol;
    if (domain != AF_UNIX)
        return fail(EOPNOTSUPP);
    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    /* Datagrams, too, are in order there, and none is lost. */
    return make_pair(fds, AF_UNIX,
                     type == SOCK_STREAM ? SOCK_STREAM : SOCK_SEQPACKET);
}

int
coir__sim_pipe(int fds[2])
{
    if (make_pair(fds, AF_UNIX, SOCK_STREAM) < 0)
        return -1;
    coir__sim_socket_get(fds[0])->shut = COIR__SIM_NO_WRITING;
    coir__sim_socket_get(fds[1])->shut = COIR__SIM_NO_READING;
    return 0;
}

int
coir__sim_listen(int fd, int backlog)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    if (s->type == SOCK_DGRAM)
        return fail(EOPNOTSUPP);
    if (s->state != COIR__SIM_NEW && s->state != COIR__SIM_LISTENING)
        return fail(EINVAL);
    if (!s->is_bound) {
        coir__sim_address any = {.family = (uint8_t)s->domain};
        int e = is_internet(s) ? bind_to(s, &any) : EINVAL;
        if (e != 0)
            return fail(e);
    }
    s->state = COIR__SIM_LISTENING;
    s->backlog = backlog > 0 ? backlog : 1;
    return 0;
}

/* --- connecting ---------------------------------------------------------- */

static void syn_arrives(coir_loop *loop, coir_timer *timer, int revents);

static void
give_up(coir__sim_socket *s, int e)
{
    s->state = COIR__SIM_NEW;
    s->error = e;
    coir__sim_fire(s, COIR_READ | COIR_WRITE);
}

/* No answer: send it again. */
static void
syn_again(coir__sim_socket *s)
{
    if (s->tries == TRIES_MAX) {
        give_up(s, ETIMEDOUT);
        return;
    }
    coir__sim_at(s->sim, &s->timer, syn_arrives, s,
                 s->sim->now_ns + (AGAIN_NS << s->tries));
    s->tries++;
}

/* A stream from `s` to `listener`, to be accepted there. NULL: no memory. */
static coir__sim_stream *
stream_to(coir__sim_socket *s, coir__sim_socket *listener)
{
    coir__sim *sim = s->sim;
    coir__sim_stream *stream = coir__sim_stream_new(sim, s->domain == AF_UNIX);
    if (stream == NULL)
        return NULL;
    stream->address[0] = s->local;
    stream->address[1] = s->peer;
    stream->path[0] = s->path;
    stream->path[1] = s->peer_path;
    stream->is_messages = s->type == SOCK_SEQPACKET;
    for (int i = 0; i < 2; i++)
        stream->to[i].limit =
            stream->is_instant
                ? LOCAL_BUFFER
                : buffer_of(sim, coir__sim_link_between(
                                     sim, stream->address[!i].host,
                                     stream->address[i].host));
    stream->to_be_accepted = 1;
    *listener->to_accept_tail = stream;
    listener->to_accept_tail = &stream->next_to_accept;
    listener->to_accept_count++;
    s->stream = stream;
    s->side = 0;
    stream->end[0] = s;
    coir__sim_fire(listener, COIR_READ);
    return stream;
}

static void
refusal_arrives(coir_loop *loop, coir_timer *timer, int revents)
{
    (void)loop;
    (void)revents;
    give_up(timer->data, ECONNREFUSED);
}

static void
syn_arrives(coir_loop *loop, coir_timer *timer, int revents)
{
    (void)loop;
    (void)revents;
    coir__sim_socket *s = timer->data;
    coir__sim *sim = s->sim;
    const coir__sim_host *from = s->local.host, *to = s->peer.host;
    const coir_sim_link *link = coir__sim_link_between(sim, from, to);
    coir__sim_socket *listener = find_reached(sim, SOCK_STREAM, &s->peer);
    coir__sim_decided(sim, s->peer.port, "%s -> %s: syn to port %u",
                      from->name, to->name, s->peer.port);
    if (coir__sim_is_parted(sim, from, to) ||
        coir__random_chance(&sim->network, link->drop) ||
        (listener != NULL && listener->to_accept_count > listener->backlog))
        syn_again(s);
    else if (listener == NULL)
        coir__sim_at(sim, timer, refusal_arrives, s,
                     coir__sim_arrival(sim, to, from, 0));
    else {
        coir__sim_stream *stream = stream_to(s, listener);
        if (stream == NULL ||
            coir__sim_stream_send(stream, 1, COIR__SIM_SYNACK, NULL, 0, 0) !=
                0)
            give_up(s, ENOBUFS);
    }
}

static int
connect_path(coir__sim_socket *s, const struct sockaddr *addr, socklen_t len)
{
    coir__sim_path path;
    int e = coir__sim_read_path(addr, len, &path);
    if (e != 0)
        return e;
    coir__sim_socket *to = coir__sim_find_path(s, &path);
    if (to == NULL)
        return path.name[0] != '\0' ? ENOENT : ECONNREFUSED;
    if (to->type != s->type)
        return EPROTOTYPE;
    s->peer_path = path;
    if (s->type == SOCK_DGRAM)
        return 0;
    if (to->state != COIR__SIM_LISTENING)
        return ECONNREFUSED;
    if (to->to_accept_count > to->backlog)
        return EAGAIN;
    if (stream_to(s, to) == NULL)
        return ENOMEM;
    s->state = COIR__SIM_CONNECTED;
    return 0;
}

static int
connect_address(coir__sim_socket *s, const struct sockaddr *addr,
                socklen_t len)
{
    coir__sim_address to;
    int e = coir__sim_read_address(s, addr, len, &to);
    if (e != 0)
        return e == EADDRNOTAVAIL ? EHOSTUNREACH : e;
    if (to.host == NULL) { /* any: this one */
        to.host = s->host;
        to.is_loopback = 1;
    }
    if (to.port == 0)
        return ECONNREFUSED;
    e = coir__sim_bind_for(s, &to);
    if (e != 0)
        return e;
    s->peer = to;
    if (s->type == SOCK_DGRAM)
        return 0;
    s->state = COIR__SIM_CONNECTING;
    s->is_attempt = 1;
    s->tries = 0;
    coir__sim_at(s->sim, &s->timer, syn_arrives, s,
                 coir__sim_arrival(s->sim, s->host, to.host, 0));
    return EINPROGRESS;
}

/* What became of an attempt made before: IS_MADE is told once. 0: there was
 * none. */
enum { IS_MADE = -1 };

static int
attempt_of(coir__sim_socket *s)
{
    int e = s->error;
    switch (s->state) {
    case COIR__SIM_LISTENING:
        return EINVAL;
    case COIR__SIM_CONNECTING:
        return EALREADY;
    case COIR__SIM_CONNECTED:
        if (!s->is_attempt)
            return EISCONN;
        s->is_attempt = 0;
        return IS_MADE;
    }
    s->error = 0;
    return e;
}

int
coir__sim_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    int e = s->type == SOCK_DGRAM ? 0 : attempt_of(s);
    if (e != 0)
        return e == IS_MADE ? 0 : fail(e);
    if (len < sizeof addr->sa_family)
        return fail(EINVAL);
    e = s->domain == AF_UNIX ? connect_path(s, addr, len)
                             : connect_address(s, addr, len);
    return e != 0 ? fail(e) : 0;
}

int
coir__sim_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    coir__sim_socket *listener = coir__sim_socket_get(fd);
    if (listener == NULL)
        return -1;
    if (listener->state != COIR__SIM_LISTENING)
        return fail(EINVAL);
    coir__sim_stream *stream = listener->to_accept;
    if (stream == NULL)
        return fail(EAGAIN);
    coir__sim_socket *s =
        socket_new(listener->sim, listener->domain, listener->type);
    if (s == NULL)
        return -1;
    listener->to_accept = stream->next_to_accept;
    if (listener->to_accept == NULL)
        listener->to_accept_tail = &listener->to_accept;
    listener->to_accept_count--;
    s->host = listener->host;
    s->local = stream->address[1];
    s->peer = stream->address[0];
    s->path = stream->path[1];
    s->peer_path = stream->path[0];
    stream->to_be_accepted = 0;
    attach(s, stream, 1);
    if (stream->is_reset)
        s->error = ECONNRESET;
    coir__sim_write_address(s->domain, &s->peer, &s->peer_path, addr, len);
    return s->fd;
}

/* --- ending -------------------------------------------------------------- */

/* Nothing more comes from `side`; with `abrupt`, an error is told. */
static void
end_half(coir__sim_stream *stream, int side, int abrupt)
{
    coir__sim_half *half = &stream->to[!side];
    if (stream->is_reset || (half->has_fin && !abrupt))
        return;
    half->has_fin = 1;
    if (coir__sim_stream_send(stream, side,
                              abrupt ? COIR__SIM_RST : COIR__SIM_FIN, NULL, 0,
                              0) != 0) {
        /* Without memory it is told at once, before what is on the way. */
        half->at_end = 1;
        coir__sim_fire(stream->end[!side], COIR_READ);
    }
}

int
coir__sim_shutdown(int fd, int how)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return fail(EINVAL);
    if (s->type == SOCK_DGRAM ? s->peer.host == NULL
                              : s->state != COIR__SIM_CONNECTED)
        return fail(ENOTCONN);
    if (how != SHUT_WR)
        s->shut |= COIR__SIM_NO_READING;
    if (how != SHUT_RD) {
        s->shut |= COIR__SIM_NO_WRITING;
        if (s->stream != NULL)
            end_half(s->stream, s->side, 0);
    }
    coir__sim_fire(s, coir__sim_readiness(s));
    return 0;
}

static void
close_end(coir__sim_stream *stream, int side, int abrupt)
{
    stream->holds++;
    stream->end[side] = NULL;
    end_half(stream, side, abrupt);
    stream->holds--;
    coir__sim_stream_check(stream);
}

int
coir__sim_close(int fd)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    coir__sim_stream *stream;
    while ((stream = s->to_accept) != NULL) {
        s->to_accept = stream->next_to_accept;
        stream->to_be_accepted = 0;
        close_end(stream, 1, 1);
    }
    /* What was not read makes it an abort, as with TCP. */
    if ((stream = s->stream) != NULL)
        close_end(stream, s->side, stream->to[s->side].ready.head != NULL);
    socket_free(s);
    return 0;
}

void
coir__sim_network_fini(coir__sim *sim)
{
    struct coir__sim_network *net = &sim->net;
    for (int i = 0; i < net->table_size; i++)
        if (net->table[i] != NULL)
            socket_free(net->table[i]);
    coir_free(net->table);
    coir__sim_wire_fini(sim);
    while (net->links != NULL) {
        coir__sim_link *link = net->links;
        net->links = link->next;
        coir_free(link);
    }
    while (net->hosts != NULL) {
        coir__sim_host *host = net->hosts;
        net->hosts = host->next;
        coir_free(host);
    }
}
