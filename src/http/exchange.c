/* exchange.c - what a handler asks of a request, and raw streams.
 *
 * All of it runs in green threads, in straight lines: try, and wait after
 * EAGAIN. A wait is known by its slot, so that one may read while another one
 * writes. It ends by the loop (the descriptor is ready), by the host (its
 * timeout, a cancel), or by the server (`killed`), after which no other one
 * begins. */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- waiting ------------------------------------------------------------- */

int
coir__http_wait(coir__http_x *x, int slot, int events, int64_t timeout_ns)
{
    coir__http_conn *c = x->conn;
    coir_http_server *s = x->pub.server;
    uint8_t bit = (uint8_t)(1 << slot);
    if (x->killed)
        return x->killed;
    if (c->lost)
        return COIR_ECLOSED;
    if (x->waits & bit)
        return COIR_EBUSY;
    if (coir_edge_wait(s->loop, &c->edge, events) != 0)
        return 0;
    x->waits |= bit;
    x->want[slot] = (uint8_t)events;
    int err = s->host->wait(s->ctx, &x->pub, slot, timeout_ns);
    if (x->waits & bit) { /* it was ended by something else */
        x->waits &= (uint8_t)~bit;
        int other = x->waits ? x->want[!slot] : 0;
        coir_edge_cancel(s->loop, &c->edge, events & ~other);
    }
    return err;
}

/* How long it may wait in all for what has moved. */
static int64_t
allowed(const coir_http_server *s, uint64_t moved)
{
    const coir_http_server_options *o = &s->options;
    if (o->rate_grace_ns == COIR_FOREVER || o->min_rate == UINT32_MAX)
        return COIR_FOREVER;
    uint64_t seconds = moved / o->min_rate;
    if (seconds > INT32_MAX)
        return COIR_FOREVER;
    int64_t more = (int64_t)seconds * COIR_NS_PER_S;
    return o->rate_grace_ns < COIR_FOREVER - more ? o->rate_grace_ns + more
                                                  : COIR_FOREVER;
}

int
coir__http_wait_client(coir__http_x *x, int slot, int events)
{
    coir_http_server *s = x->pub.server;
    int64_t left = allowed(s, x->moved[slot]);
    if (left != COIR_FOREVER) {
        left -= x->waited_ns[slot];
        if (left < 0)
            left = 0;
    }
    int64_t before = coir_loop_now(s->loop);
    int err = coir__http_wait(x, slot, events, left);
    x->waited_ns[slot] += coir_loop_now(s->loop) - before;
    if (err == COIR_ETIMEDOUT && !x->killed) {
        if (slot == COIR_HTTP_READER)
            s->counters.read_timeouts++;
        else
            s->counters.write_timeouts++;
    }
    return err;
}

/* --- the body ------------------------------------------------------------ */

/* The trailers of a chunked body: dropped. 0; COIR_EAGAIN; an error. */
static ssize_t
take_trailers(coir__http_x *x)
{
    coir_http_field fields[64];
    coir_http_head head;
    head.fields = fields;
    head.capacity = sizeof fields / sizeof fields[0];
    ssize_t used = coir_http_parse_trailers(
        &x->body, &x->trailers, x->buf + x->pos, x->len - x->pos, &head);
    if (used < 0)
        return used;
    x->pos += (size_t)used;
    return 0;
}

ssize_t
coir__http_body_take(coir__http_x *x, char *buf, size_t len)
{
    coir_http_body *body = &x->body;
    size_t got = 0;
    while (body->state == COIR_HTTP_BODY_DATA && got < len) {
        if (x->pos == x->len)
            return got > 0 ? (ssize_t)got : COIR_EAGAIN;
        size_t here = x->len - x->pos;
        if (here > len - got)
            here = len - got; /* no more data than there is room for */
        coir_http_span data;
        ssize_t used = coir_http_body_next(body, x->buf + x->pos, here, &data);
        if (used < 0)
            return used;
        if (buf != NULL && data.len > 0)
            memcpy(buf + got, x->buf + x->pos + data.at, data.len);
        got += data.len;
        x->pos += (size_t)used;
        if (body->state == COIR_HTTP_BODY_TRAILERS)
            coir_http_parser_init(&x->trailers, &x->pub.server->parser);
    }
    if (got > 0)
        return (ssize_t)got;
    if (body->state == COIR_HTTP_BODY_TRAILERS)
        return take_trailers(x);
    return 0;
}

size_t
coir__http_body_room(coir__http_x *x)
{
    if (x->pos == x->len)
        x->pos = x->len = x->head_len;
    else if (x->len == x->size) {
        size_t left = x->len - x->pos;
        memmove(x->buf + x->head_len, x->buf + x->pos, left);
        x->pos = x->head_len;
        x->len = x->pos + left;
    }
    return x->size - x->len;
}

/* "100 Continue", if the client waits for that. */
static int
let_continue(coir__http_x *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    x->must_continue = 0;
    if (x->state >= COIR_HTTP_SENDING)
        return 0;
    struct iovec iov = {(void *)(uintptr_t)text, sizeof text - 1};
    return coir__http_write_all(x, &iov, 1, 0);
}

/* Read more: straight to `buf`, then it returns how much; or, and it returns
 * COIR_EAGAIN, to where body_take() finds it. */
static ssize_t
read_more(coir__http_x *x, char *buf, size_t len)
{
    coir__http_conn *c = x->conn;
    for (;;) {
        ssize_t n;
        int direct = x->pos == x->len && x->body.left > 0 &&
                     (x->body.framing == COIR_HTTP_LENGTH ||
                      x->body.left >= COIR__HTTP_ROOM);
        if (direct)
            n = coir__http_conn_read(
                c, buf, len < x->body.left ? len : (size_t)x->body.left);
        else {
            size_t room = coir__http_body_room(x);
            n = coir__http_conn_read(c, x->buf + x->len, room);
        }
        if (n > 0) {
            x->moved[COIR_HTTP_READER] += (uint64_t)n;
            if (direct) {
                coir_http_body_skip(&x->body, (uint64_t)n);
                return n;
            }
            x->len += (size_t)n;
            return COIR_EAGAIN;
        }
        if (n == 0)
            return COIR_EEOF;
        if (n != COIR_EAGAIN)
            return n;
        int err = coir__http_wait_client(x, COIR_HTTP_READER, c->want_read);
        if (err < 0)
            return err;
        c->dry = 0;
    }
}

ssize_t
coir_http_read(coir_http_exchange *pub, void *buf, size_t len)
{
    coir__http_x *x = coir__http_of(pub);
    if (x->read_error)
        return x->read_error;
    if (x->killed)
        return x->killed;
    if (x->upgraded)
        return COIR_EINVAL;
    ssize_t n = 0;
    while (len > 0) {
        n = coir__http_body_take(x, buf, len);
        if (n != COIR_EAGAIN)
            break;
        if (coir__unlikely(x->must_continue)) {
            n = let_continue(x);
            if (n < 0)
                break;
        }
        n = read_more(x, buf, len);
        if (n != COIR_EAGAIN)
            break;
    }
    if (n == 0 && len > 0)
        x->must_continue = 0; /* all of it came without */
    /* Who is cancelled may go on later, the others not. */
    if (n < 0 && n != COIR_ECANCELED && n != COIR_EBUSY && !x->killed)
        x->read_error = (int)n;
    return n;
}

size_t
coir_http_readable(coir_http_exchange *pub)
{
    const coir__http_x *x = coir__http_of(pub);
    size_t here = x->len - x->pos;
    return here < x->body.left ? here : (size_t)x->body.left;
}

int64_t
coir_http_body_length(const coir_http_exchange *x)
{
    switch (x->head->framing) {
    case COIR_HTTP_LENGTH:
        return x->head->content_length;
    case COIR_HTTP_CHUNKED:
        return -1;
    default:
        return 0;
    }
}

/* --- the connection ------------------------------------------------------ */

/* As inet_ntop(), which takes longer than the rest of a line of the log. */
static void
print_v4(const uint8_t *addr, char *out)
{
    for (int i = 0; i < 4; i++) {
        unsigned n = addr[i];
        if (n >= 100)
            *out++ = (char)('0' + n / 100);
        if (n >= 10)
            *out++ = (char)('0' + n / 10 % 10);
        *out++ = (char)('0' + n % 10);
        *out++ = i < 3 ? '.' : '\0';
    }
}

const char *
coir_http_peer(coir_http_exchange *pub, unsigned *port)
{
    coir__http_x *x = coir__http_of(pub);
    const coir__http_conn *c = x->conn;
    unsigned number = 0;
    x->peer[0] = '\0';
    if (c->peer_len > 0 && c->peer.any.sa_family == AF_INET) {
        print_v4((const uint8_t *)&c->peer.v4.sin_addr, x->peer);
        number = ntohs(c->peer.v4.sin_port);
    }
    else if (c->peer_len > 0) {
        const struct in6_addr *v6 = &c->peer.v6.sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(v6)) /* of a listener for both */
            print_v4(&v6->s6_addr[12], x->peer);
        else
            (void)inet_ntop(AF_INET6, v6, x->peer, sizeof x->peer);
        number = ntohs(c->peer.v6.sin6_port);
    }
    if (port != NULL)
        *port = number;
    return x->peer;
}

int
coir_http_peer_addr(coir_http_exchange *pub, struct sockaddr *addr,
                    socklen_t *len)
{
    const coir__http_conn *c = coir__http_of(pub)->conn;
    if (c->peer_len == 0)
        return getpeername(c->edge.fd, addr, len) == 0 ? 0 : COIR_ERRNO(errno);
    memcpy(addr, &c->peer, *len < c->peer_len ? *len : c->peer_len);
    *len = c->peer_len;
    return 0;
}

int
coir_http_local_addr(coir_http_exchange *pub, struct sockaddr *addr,
                     socklen_t *len)
{
    int fd = coir_http_connection_fd(pub);
    return getsockname(fd, addr, len) == 0 ? 0 : COIR_ERRNO(errno);
}

int
coir_http_listener(const coir_http_exchange *pub)
{
    return coir__http_of(pub)->conn->listener;
}

int
coir_http_connection_fd(const coir_http_exchange *pub)
{
    return coir__http_of(pub)->conn->edge.fd;
}

void *
coir_http_transport_state(const coir_http_exchange *pub)
{
    return coir__http_of(pub)->conn->transport_state;
}

uint32_t
coir_http_request_number(const coir_http_exchange *pub)
{
    return coir__http_of(pub)->conn->requests;
}

int64_t
coir_http_started_ns(const coir_http_exchange *pub)
{
    return coir__http_of(pub)->started_ns;
}

void
coir_http_set_connection_data(coir_http_exchange *pub, void *data)
{
    coir__http_of(pub)->conn->data = data;
}

void *
coir_http_connection_data(const coir_http_exchange *pub)
{
    return coir__http_of(pub)->conn->data;
}

void
coir_http_close_after(coir_http_exchange *pub)
{
    coir__http_of(pub)->keep = 0;
}

void
coir_http_abort(coir_http_exchange *pub)
{
    coir__http_of(pub)->aborted = 1;
}

/* --- raw streams --------------------------------------------------------- */

int
coir_http_upgrade(coir_http_exchange *pub)
{
    coir__http_x *x = coir__http_of(pub);
    int is_tunnel =
        x->head.method_id == COIR_HTTP_CONNECT && x->status / 100 == 2;
    if (x->state != COIR_HTTP_BEGUN || x->upgraded ||
        !(x->status == 101 || is_tunnel) ||
        (x->head.framing != COIR_HTTP_NO_BODY &&
         x->body.state != COIR_HTTP_BODY_DONE))
        return COIR_EINVAL;
    x->upgraded = 1;
    if (x->conn->state == COIR__HTTP_ACTIVE)
        coir__http_conn_move(x->conn, COIR__HTTP_UNTIMED, COIR_FOREVER);
    int err = coir_http_flush(pub);
    x->pub.server->counters.upgraded += err == 0;
    return err;
}

/* What is left until `deadline_ns`, of a call that waits several times. */
static int64_t
time_left(const coir_http_server *s, int64_t deadline_ns)
{
    if (deadline_ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t left = deadline_ns - coir_loop_now(s->loop);
    return left > 0 ? left : 0;
}

ssize_t
coir_http_raw_read(coir_http_exchange *pub, void *buf, size_t len,
                   int64_t timeout_ns)
{
    coir__http_x *x = coir__http_of(pub);
    coir__http_conn *c = x->conn;
    if (!x->upgraded)
        return COIR_EINVAL;
    if (x->killed)
        return x->killed;
    if (x->heeds_stop && coir__http_stops(pub->server))
        return COIR_ECANCELED;
    size_t here = x->len - x->pos;
    if (here > 0 || len == 0) {
        if (here > len)
            here = len;
        memcpy(buf, x->buf + x->pos, here);
        x->pos += here;
        return (ssize_t)here;
    }
    int64_t deadline_ns = coir__http_after(pub->server, timeout_ns);
    for (;;) {
        ssize_t n = coir__http_conn_read(c, buf, len);
        if (n != COIR_EAGAIN)
            return n;
        int err = coir__http_wait(x, COIR_HTTP_READER, c->want_read,
                                  time_left(pub->server, deadline_ns));
        if (err < 0)
            return err;
        c->dry = 0;
    }
}

int
coir_http_raw_writev(coir_http_exchange *pub, struct iovec *iov, int count,
                     int64_t timeout_ns)
{
    coir__http_x *x = coir__http_of(pub);
    coir__http_conn *c = x->conn;
    if (!x->upgraded)
        return COIR_EINVAL;
    if (x->killed || x->write_error)
        return x->killed ? x->killed : x->write_error;
    if (x->waits & 1 << COIR_HTTP_WRITER)
        return COIR_EBUSY;
    int64_t deadline_ns = coir__http_after(pub->server, timeout_ns);
    int begun = 0;
    while (count > 0) {
        ssize_t n = coir__http_conn_writev(c, iov, count, 0);
        if (n == COIR_EAGAIN) {
            int err = coir__http_wait(x, COIR_HTTP_WRITER, c->want_write,
                                      time_left(pub->server, deadline_ns));
            if (err == 0)
                continue;
            if (begun || c->transport != NULL)
                x->write_error = COIR_ETORN;
            return err;
        }
        if (n < 0)
            return x->write_error = (int)n;
        begun = 1;
        x->wrote += (uint64_t)n;
        coir__http_advance(&iov, &count, (size_t)n);
    }
    return 0;
}

int
coir_http_raw_shutdown(coir_http_exchange *pub)
{
    coir__http_x *x = coir__http_of(pub);
    if (!x->upgraded)
        return COIR_EINVAL;
    if (x->write_error)
        return x->write_error;
    x->write_error = COIR_ERRNO(EPIPE);
    return coir__http_conn_half_close(x->conn) ? 0 : COIR_ERRNO(errno);
}

int
coir_http_raw_heed_stop(coir_http_exchange *pub, int heeds)
{
    coir__http_x *x = coir__http_of(pub);
    if (!x->upgraded)
        return COIR_EINVAL;
    x->heeds_stop = heeds != 0;
    return 0;
}

/* --- the end ------------------------------------------------------------- */

static void
count_response(coir__http_x *x, int failed)
{
    coir_http_counters *counters = &x->pub.server->counters;
    if (coir__unlikely(failed))
        counters->aborted++;
    if (coir__likely(x->status >= 100)) {
        counters->responses++;
        if (x->status < 600)
            counters->by_class[x->status / 100]++;
    }
}

/* May the client be sending still? Then to close at once would reset the
 * connection, and the response might be lost. */
static int
must_linger(const coir__http_x *x)
{
    return x->body.state != COIR_HTTP_BODY_DONE || x->pos < x->len ||
           (x->head.flags & COIR_HTTP_KEEP_ALIVE) || x->upgraded;
}

int
coir_http_finish(coir_http_exchange *pub)
{
    coir__http_x *x = coir__http_of(pub);
    coir__http_conn *c = x->conn;
    coir_http_server *s = pub->server;
    coir__http_hold(s);
    int failed = coir__http_complete(x) < 0 || x->aborted || c->lost;
    count_response(x, failed);
    if (s->options.log_format != COIR_HTTP_LOG_NONE)
        coir__http_log(x);
    int has_next = 0;
    if (coir__unlikely(failed))
        coir__http_conn_end(c, COIR__HTTP_CUT);
    else if (coir__likely(x->keep && !x->read_error && !x->killed))
        has_next = coir__http_conn_next(c);
    else
        coir__http_conn_end(c, must_linger(x) ? COIR__HTTP_LINGER
                                              : COIR__HTTP_IN_ORDER);
    coir__http_let_go(s);
    return has_next;
}
