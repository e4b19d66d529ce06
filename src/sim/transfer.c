/* transfer.c - sending and receiving in the simulated network.
 *
 * A stream takes what there is room for, and gives what has arrived: a call
 * that falls short has filled it, or emptied it, as with the kernel's. Who
 * found it full is told when half of it is free again. */
#include "sim/network.h"
#include "sim/sys.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define DATAGRAM_MAX 65507

static int
fail(int e)
{
    errno = e;
    return -1;
}

static size_t
total(const struct msghdr *msg)
{
    size_t len = 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++)
        len += msg->msg_iov[i].iov_len;
    return len;
}

/* What went wrong meanwhile, once. */
static int
take_error(coir__sim_socket *s)
{
    int e = s->error;
    s->error = 0;
    return e;
}

/* --- sending ------------------------------------------------------------- */

static ssize_t
send_stream(coir__sim_socket *s, const struct msghdr *msg)
{
    coir__sim_stream *stream = s->stream;
    coir__sim_half *half = &stream->to[!s->side];
    if ((s->shut & COIR__SIM_NO_WRITING) || stream->is_reset ||
        (stream->is_instant && stream->end[!s->side] == NULL &&
         !stream->to_be_accepted))
        return fail(EPIPE);
    size_t len = total(msg), room = coir__sim_room(s);
    if (stream->is_messages && len > half->limit)
        return fail(EMSGSIZE);
    if (len > room) {
        half->is_full = 1;
        if (room == 0 || stream->is_messages)
            return fail(EAGAIN);
        len = room;
    }
    if ((len > 0 || stream->is_messages) &&
        coir__sim_stream_send(stream, s->side, COIR__SIM_DATA, msg->msg_iov, 0,
                              len) != 0)
        return fail(ENOBUFS);
    return (ssize_t)len;
}

/* Between sockets of one host: at once, and none is lost. */
static ssize_t
send_to_path(coir__sim_socket *s, const struct msghdr *msg, size_t len)
{
    coir__sim_path path = s->peer_path;
    if (msg->msg_name != NULL) {
        int e = coir__sim_read_path(msg->msg_name, msg->msg_namelen, &path);
        if (e != 0)
            return fail(e);
    }
    if (path.len == 0)
        return fail(ENOTCONN);
    coir__sim_socket *to = coir__sim_find_path(s, &path);
    if (to == NULL || to->type != SOCK_DGRAM)
        return fail(ECONNREFUSED);
    if (to->inbox_len + len > COIR__SIM_INBOX_MAX)
        return fail(ENOBUFS);
    coir__sim_packet *packet =
        coir__sim_packet_new(COIR__SIM_DATA, msg->msg_iov, 0, len);
    if (packet == NULL)
        return fail(ENOBUFS);
    packet->from_path = s->path;
    to->inbox_len += len;
    coir__sim_packets_add(&to->inbox, packet);
    coir__sim_fire(to, COIR_READ);
    return (ssize_t)len;
}

static ssize_t
send_datagram(coir__sim_socket *s, const struct msghdr *msg)
{
    size_t len = total(msg);
    if (len > DATAGRAM_MAX)
        return fail(EMSGSIZE);
    if (s->domain == AF_UNIX)
        return send_to_path(s, msg, len);
    coir__sim_address to = s->peer;
    int e = 0;
    if (msg->msg_name != NULL)
        e = coir__sim_read_address(s, msg->msg_name, msg->msg_namelen, &to);
    else if (to.host == NULL)
        e = EDESTADDRREQ;
    if (e != 0)
        return fail(e == EADDRNOTAVAIL ? EHOSTUNREACH : e);
    if (to.host == NULL) {
        to.host = s->host;
        to.is_loopback = 1;
    }
    if (!s->is_bound)
        e = coir__sim_bind_for(s, &to);
    if (e != 0)
        return fail(e);
    coir__sim_packet *packet =
        coir__sim_packet_new(COIR__SIM_DATA, msg->msg_iov, 0, len);
    if (packet == NULL)
        return fail(ENOBUFS);
    packet->from = s->local;
    packet->from.host = s->host;
    packet->from.family = to.family;
    packet->from.is_loopback = to.is_loopback;
    e = coir__sim_datagram_send(s->sim, &to, packet);
    coir_free(packet);
    return e != 0 ? fail(ENOBUFS) : (ssize_t)len;
}

ssize_t
coir__sim_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    if (msg->msg_controllen > 0 || (flags & MSG_OOB))
        return fail(EOPNOTSUPP);
    int e = take_error(s);
    if (e != 0)
        return fail(e);
    if (s->type == SOCK_DGRAM)
        return send_datagram(s, msg);
    if (s->state == COIR__SIM_CONNECTING)
        return fail(EAGAIN);
    if (s->state != COIR__SIM_CONNECTED)
        return fail(s->stream != NULL ? EPIPE : ENOTCONN);
    return send_stream(s, msg);
}

/* --- receiving ----------------------------------------------------------- */

/* Copy from `skip` bytes on into the buffers of `msg`. */
static size_t
scatter(const struct msghdr *msg, size_t skip, const char *from, size_t len)
{
    size_t copied = 0;
    for (size_t i = 0; i < msg->msg_iovlen && copied < len; i++) {
        const struct iovec *v = &msg->msg_iov[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t n = v->iov_len - skip;
        if (n > len - copied)
            n = len - copied;
        memcpy((char *)v->iov_base + skip, from + copied, n);
        copied += n;
        skip = 0;
    }
    return copied;
}

/* So much was read: who sends may go on. */
static void
make_room(coir__sim_stream *stream, int side, size_t len)
{
    coir__sim_half *half = &stream->to[side];
    half->unread -= len;
    if (half->is_full && half->unread <= half->limit / 2) {
        half->is_full = 0;
        coir__sim_fire(stream->end[!side], COIR_WRITE);
    }
}

/* A message, of which the rest is lost, or as many bytes as there are. */
static size_t
read_ready(coir__sim_stream *stream, int side, struct msghdr *msg, int flags)
{
    coir__sim_half *half = &stream->to[side];
    coir__sim_packet *packet = half->ready.head;
    size_t room = total(msg), sum = 0;
    while (packet != NULL && (sum < room || stream->is_messages)) {
        coir__sim_packet *next = packet->next;
        size_t left = packet->len - packet->done;
        size_t n = scatter(msg, sum, packet->data + packet->done, left);
        sum += n;
        if (stream->is_messages && n < left) {
            msg->msg_flags |= MSG_TRUNC;
            n = left;
        }
        if (!(flags & MSG_PEEK)) {
            packet->done += n;
            make_room(stream, side, n);
            if (packet->done == packet->len)
                coir_free(coir__sim_packets_take(&half->ready));
        }
        if (stream->is_messages)
            break;
        packet = next;
    }
    return sum;
}

static ssize_t
receive_stream(coir__sim_socket *s, struct msghdr *msg, int flags)
{
    const coir__sim_half *half = &s->stream->to[s->side];
    msg->msg_namelen = 0;
    if (s->shut & COIR__SIM_NO_READING)
        return 0;
    if (half->ready.head != NULL)
        return (ssize_t)read_ready(s->stream, s->side, msg, flags);
    int e = take_error(s);
    if (e != 0)
        return fail(e);
    if (half->at_end || total(msg) == 0)
        return 0;
    return fail(EAGAIN);
}

static ssize_t
receive_datagram(coir__sim_socket *s, struct msghdr *msg, int flags)
{
    coir__sim_packet *packet = s->inbox.head;
    if (packet == NULL) {
        int e = take_error(s);
        if (e == 0 && (s->shut & COIR__SIM_NO_READING))
            return 0;
        return fail(e != 0 ? e : EAGAIN);
    }
    size_t n = scatter(msg, 0, packet->data, packet->len);
    if (n < packet->len)
        msg->msg_flags |= MSG_TRUNC;
    if (flags & MSG_TRUNC)
        n = packet->len;
    coir__sim_write_address(s->domain, &packet->from, &packet->from_path,
                            msg->msg_name, &msg->msg_namelen);
    if (!(flags & MSG_PEEK)) {
        s->inbox_len -= packet->len;
        coir_free(coir__sim_packets_take(&s->inbox));
    }
    return (ssize_t)n;
}

ssize_t
coir__sim_recvmsg(int fd, struct msghdr *msg, int flags)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    if (flags & (MSG_OOB | MSG_ERRQUEUE))
        return fail(EOPNOTSUPP);
    msg->msg_controllen = 0;
    msg->msg_flags = 0;
    if (s->type == SOCK_DGRAM)
        return receive_datagram(s, msg, flags);
    if (s->stream != NULL && s->state == COIR__SIM_CONNECTED)
        return receive_stream(s, msg, flags);
    int e = take_error(s);
    if (e == 0)
        e = s->state == COIR__SIM_CONNECTING ? EAGAIN : ENOTCONN;
    return fail(e);
}

/* Not for one that is connected to somebody else. */
static int
is_from_peer(const coir__sim_socket *s, const coir__sim_packet *packet)
{
    return s->peer.host == NULL || (s->peer.host == packet->from.host &&
                                    s->peer.port == packet->from.port);
}

void
coir__sim_socket_receive(coir__sim *sim, const coir__sim_address *to,
                         coir__sim_packet *packet)
{
    coir__sim_socket *s = coir__sim_find_receiver(sim, to);
    if (s == NULL || !is_from_peer(s, packet) ||
        s->inbox_len + packet->len > COIR__SIM_INBOX_MAX) {
        coir_free(packet);
        return;
    }
    s->inbox_len += packet->len;
    coir__sim_packets_add(&s->inbox, packet);
    coir__sim_fire(s, COIR_READ);
}

/* --- in other forms ------------------------------------------------------ */

ssize_t
coir__sim_receive(int fd, void *buf, size_t len, int flags,
                  struct sockaddr *addr, socklen_t *addr_len)
{
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_name = addr};
    if (addr_len != NULL)
        msg.msg_namelen = *addr_len;
    ssize_t n = coir__sim_recvmsg(fd, &msg, flags);
    if (n >= 0 && addr_len != NULL)
        *addr_len = msg.msg_namelen;
    return n;
}

ssize_t
coir__sim_send(int fd, const void *buf, size_t len, int flags,
               const struct sockaddr *addr, socklen_t addr_len)
{
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    const struct msghdr msg = {.msg_iov = &iov,
                               .msg_iovlen = 1,
                               .msg_name = (void *)(uintptr_t)addr,
                               .msg_namelen = addr_len};
    return coir__sim_sendmsg(fd, &msg, flags);
}

ssize_t
coir__sim_readv(int fd, const struct iovec *iov, int count)
{
    if (count < 0)
        return fail(EINVAL);
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                         .msg_iovlen = (size_t)count};
    return coir__sim_recvmsg(fd, &msg, 0);
}

ssize_t
coir__sim_writev(int fd, const struct iovec *iov, int count)
{
    if (count < 0)
        return fail(EINVAL);
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                               .msg_iovlen = (size_t)count};
    return coir__sim_sendmsg(fd, &msg, 0);
}

ssize_t
coir__sim_sendfile(int fd, int file_fd, off_t *offset, size_t count)
{
    char buf[4096];
    off_t at = offset != NULL ? *offset : lseek(file_fd, 0, SEEK_CUR);
    if (at < 0)
        return -1;
    ssize_t n =
        pread(file_fd, buf, count < sizeof buf ? count : sizeof buf, at);
    if (n > 0)
        n = coir__sim_send(fd, buf, (size_t)n, 0, NULL, 0);
    if (n > 0 && offset != NULL)
        *offset = at + n;
    else if (n > 0)
        (void)lseek(file_fd, at + n, SEEK_SET);
    return n;
}

/* --- other calls --------------------------------------------------------- */

int
coir__sim_poll(int fd, int events)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    return s != NULL ? coir__sim_readiness(s) & events : -1;
}

int
coir__sim_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    int result = 0;
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY)
        result = s->ipv6_only;
    else if (level == SOL_SOCKET && name == SO_ERROR)
        result = take_error(s);
    else if (level == SOL_SOCKET && name == SO_TYPE)
        result = s->type;
    else if (level == SOL_SOCKET && name == SO_DOMAIN)
        result = s->domain;
    else if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        result = s->state == COIR__SIM_LISTENING;
    memcpy(value, &result, *len < sizeof result ? *len : sizeof result);
    if (*len > sizeof result)
        *len = sizeof result;
    return 0;
}

int
coir__sim_setsockopt(int fd, int level, int name, const void *value,
                     socklen_t len)
{
    coir__sim_socket *s = coir__sim_socket_get(fd);
    if (s == NULL)
        return -1;
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
        if (len < sizeof s->ipv6_only)
            return fail(EINVAL);
        memcpy(&s->ipv6_only, value, sizeof s->ipv6_only);
    }
    return 0; /* of no consequence here */
}
