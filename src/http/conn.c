/* conn.c - connections. See server.h for their states.
 *
 * Everything here runs in the loop, but for coir__http_conn_next() and
 * coir__http_conn_end(), which a green thread calls when its handler is done;
 * nothing waits. Who waits for the descriptor asks coir_edge_wait() in one
 * place, park(), and if that says that it is ready after all goes round again.
 *
 * A connection that fails in a state without a handler is closed at once. With
 * one its end is told by the error of what the handler does. */
#include "http/server.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/internal.h"

/* --- lists --------------------------------------------------------------- */

static void
list_remove(coir__http_list *list, coir__http_conn *c)
{
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        list->tail = c->prev;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        list->head = c->next;
    list->count--;
}

static void
list_append(coir__http_list *list, coir__http_conn *c)
{
    c->next = NULL;
    c->prev = list->tail;
    if (list->tail != NULL)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
    list->count++;
}

static inline void
move_until(coir__http_conn *c, int state, int64_t deadline_ns)
{
    coir_http_server *s = c->server;
    list_remove(&s->lists[c->state], c);
    c->state = (uint8_t)state;
    c->deadline_ns = deadline_ns;
    list_append(&s->lists[state], c);
    if (coir__unlikely(deadline_ns < s->timer_ns))
        coir__http_wake_at(s, deadline_ns);
}

void
coir__http_conn_move(coir__http_conn *c, int state, int64_t timeout_ns)
{
    move_until(c, state, coir__http_after(c->server, timeout_ns));
}

/* --- input and output ---------------------------------------------------- */

/* What a transport said of reading or writing. */
static ssize_t
wanted(ssize_t n, uint8_t *want)
{
    if (n == COIR_HTTP_WANT_READ)
        *want = COIR_READ;
    else if (n == COIR_HTTP_WANT_WRITE)
        *want = COIR_WRITE;
    else
        return n;
    return COIR_EAGAIN;
}

static ssize_t
read_transport(coir__http_conn *c, void *buf, size_t len)
{
    ssize_t n = wanted(c->transport->read(c->transport_state, buf, len),
                       &c->want_read);
    if (n == COIR_EAGAIN)
        c->dry = 1;
    else if (n > 0) {
        c->want_read = COIR_READ;
        c->dry = !c->transport->pending(c->transport_state);
    }
    return n;
}

ssize_t
coir__http_conn_read(coir__http_conn *c, void *buf, size_t len)
{
    if (c->dry)
        return COIR_EAGAIN;
    ssize_t n;
    if (coir__unlikely(c->transport != NULL))
        n = read_transport(c, buf, len);
    else {
        do
            n = recv(c->edge.fd, buf, len, 0);
        while (coir__unlikely(n < 0 && errno == EINTR));
        if (n < 0)
            n = errno == EAGAIN ? COIR_EAGAIN : COIR_ERRNO(errno);
        /* At the end, and after an error, there is more to be told. */
        c->dry = n == COIR_EAGAIN || (n > 0 && (size_t)n < len);
        c->want_read = COIR_READ;
    }
    if (n > 0)
        c->server->counters.bytes_read += (uint64_t)n;
    return n;
}

static ssize_t
write_plain(int fd, const struct iovec *iov, int count, int more)
{
    int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    ssize_t n;
    do {
        if (coir__likely(count == 1))
            n = send(fd, iov->iov_base, iov->iov_len, flags);
        else {
            struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                 .msg_iovlen = (size_t)count};
            n = sendmsg(fd, &msg, flags);
        }
    } while (coir__unlikely(n < 0 && errno == EINTR));
    return n;
}

ssize_t
coir__http_conn_writev(coir__http_conn *c, const struct iovec *iov, int count,
                       int more)
{
    ssize_t n;
    if (coir__unlikely(count > IOV_MAX))
        count = IOV_MAX;
    if (coir__unlikely(c->transport != NULL))
        n = wanted(c->transport->writev(c->transport_state, iov, count),
                   &c->want_write);
    else {
        n = write_plain(c->edge.fd, iov, count, more);
        if (coir__unlikely(n < 0))
            n = errno == EAGAIN ? COIR_EAGAIN : COIR_ERRNO(errno);
        c->want_write = COIR_WRITE;
    }
    if (coir__likely(n > 0))
        c->server->counters.bytes_written += (uint64_t)n;
    return n;
}

/* Have the callback called for these: 1; 0: it is ready, try again. */
static int
park(coir__http_conn *c, int events)
{
    if (coir_edge_wait(c->server->loop, &c->edge, events) == 0)
        return 1;
    c->dry = 0;
    return 0;
}

/* --- closing ------------------------------------------------------------- */

static void
destroy(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    list_remove(&s->lists[c->state], c);
    if (c->x != NULL)
        coir__http_x_give(c);
    coir_free(c->partial);
    if (c->transport != NULL)
        c->transport->close(c->transport_state);
    if (c->data != NULL && s->host->closed != NULL)
        s->host->closed(s->ctx, c->data);
    /* If the number is another file's it is not ours to close. */
    if (coir__likely(!(c->edge.ready & COIR__NOT_OURS)))
        (void)coir_edge_close(s->loop, &c->edge);
    coir_free(c);
    s->connections--;
    coir__http_resume(s);
}

void
coir__http_conn_close(coir__http_conn *c)
{
    destroy(c);
}

/* The same between two messages: that it is the end is announced. */
static void
close_quietly(coir__http_conn *c)
{
    if (c->transport != NULL)
        (void)c->transport->shutdown(c->transport_state);
    destroy(c);
}

/* Read and drop what comes, so that the answer is not lost: to close with
 * bytes unread resets the connection. */
static void
linger(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    for (;;) {
        ssize_t n;
        if (c->dry)
            n = COIR_EAGAIN;
        else if (c->transport != NULL) {
            /* No matter what it says. */
            n = recv(c->edge.fd, s->scratch, sizeof s->scratch, 0);
            if (n < 0)
                n = errno == EAGAIN ? COIR_EAGAIN : COIR_ERRNO(errno);
            c->dry = n == COIR_EAGAIN;
        }
        else
            n = coir__http_conn_read(c, s->scratch, sizeof s->scratch);
        if (n == COIR_EAGAIN) {
            if (park(c, COIR_READ))
                return;
            continue;
        }
        if (n <= 0 || (uint64_t)n > c->left)
            break;
        c->left -= (uint64_t)n;
    }
    destroy(c);
}

int
coir__http_conn_half_close(coir__http_conn *c)
{
    if (c->transport != NULL)
        (void)c->transport->shutdown(c->transport_state);
    return shutdown(c->edge.fd, SHUT_WR) == 0;
}

static void
end(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    if (!coir__http_conn_half_close(c) || s->state >= COIR_HTTP_CLOSING) {
        destroy(c);
        return;
    }
    if (c->x != NULL)
        coir__http_x_give(c);
    c->left = COIR__HTTP_LINGER_MAX;
    int64_t timeout_ns = s->options.linger_timeout_ns;
    if (coir__http_stops(s) && timeout_ns > COIR__HTTP_LAST_NS)
        timeout_ns = COIR__HTTP_LAST_NS;
    coir__http_conn_move(c, COIR__HTTP_LINGERING, timeout_ns);
    linger(c);
}

/* Answer with no more than a status, from the loop, and end it. */
static void
refuse(coir__http_conn *c, int status)
{
    coir_http_server *s = c->server;
    coir__http_x *x = c->x;
    if (coir__http_refusal(x, status) < 0) {
        destroy(c);
        return;
    }
    struct iovec iov = {x->out, x->out_len};
    ssize_t n = coir__http_conn_writev(c, &iov, 1, 0);
    if (n > 0)
        x->wrote = (uint64_t)n;
    s->counters.responses++;
    s->counters.by_class[status / 100]++;
    coir__http_log(x);
    if (n == (ssize_t)x->out_len)
        end(c);
    else {
        s->counters.aborted++;
        destroy(c);
    }
}

/* There is no head, or no complete one. */
static void
refuse_headless(coir__http_conn *c, int status)
{
    c->x->head_len = 0;
    c->x->started_ns = coir_loop_now(c->server->loop);
    refuse(c, status);
}

/* No memory for it. */
static void
refuse_poor(coir__http_conn *c)
{
    c->server->counters.refused++;
    if (c->x != NULL)
        refuse_headless(c, 503);
    else
        destroy(c);
}

static void
refuse_bad(coir__http_conn *c, int why)
{
    if (coir__unlikely(why == COIR_ENOMEM)) {
        refuse_poor(c);
        return;
    }
    c->server->counters.bad_requests++;
    refuse_headless(c, coir_http_error_status(why));
}

/* --- heads --------------------------------------------------------------- */

enum next { NEXT_HEAD, NEXT_WAIT, NEXT_END, NEXT_BAD };

static void
begin_head(coir__http_x *x, size_t used)
{
    coir_http_server *s = x->pub.server;
    x->head_len = used;
    x->pos = used;
    coir_http_body_init(&x->body, &x->head, &s->parser);
    x->started_ns = coir_loop_now(s->loop);
    x->conn->requests++;
    s->counters.requests++;
    coir__http_response_reset(x);
    /* Who has sent all of the body does not wait. */
    x->must_continue =
        (x->head.flags & COIR_HTTP_CONTINUE) != 0 &&
        (x->head.framing != COIR_HTTP_LENGTH || x->len - used < x->body.left);
    x->keep = (x->head.flags & COIR_HTTP_KEEP_ALIVE) != 0;
    x->read_error = 0;
    x->killed = 0;
    x->is_cancelled = 0;
    x->upgraded = 0;
    x->heeds_stop = 0;
    x->waits = 0;
    x->waited_ns[0] = x->waited_ns[1] = 0;
    x->moved[0] = x->moved[1] = 0;
}

/* Get the next head, from what is here and what can be read without waiting;
 * `*why` is the parser's error. */
static enum next
next_head(coir__http_conn *c, int *why)
{
    coir__http_x *x = c->x;
    for (;;) {
        if (x->len > 0) {
            ssize_t used =
                coir_http_parse_request(&c->parser, x->buf, x->len, &x->head);
            if (coir__likely(used >= 0)) {
                begin_head(x, (size_t)used);
                return NEXT_HEAD;
            }
            if (used != COIR_EAGAIN) {
                *why = (int)used;
                return NEXT_BAD;
            }
            if (x->len == x->size &&
                coir__http_x_reserve(x, x->size + 1) < 0) {
                *why = COIR_ENOMEM;
                return NEXT_BAD;
            }
        }
        ssize_t n = coir__http_conn_read(c, x->buf + x->len, x->size - x->len);
        if (coir__likely(n > 0))
            x->len += (size_t)n;
        else if (n == COIR_EAGAIN) {
            if (park(c, c->want_read))
                return NEXT_WAIT;
        }
        else
            return NEXT_END;
    }
}

/* Nothing more can be read now: keep what there is of a head. */
static void
rest(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    coir__http_x *x = c->x;
    if (coir__likely(x->len == 0)) {
        coir__http_x_give(c);
        if (coir__http_stops(s) && c->state != COIR__HTTP_HEAD)
            close_quietly(c);
        else if (c->state != COIR__HTTP_HEAD && c->state != COIR__HTTP_IDLE)
            coir__http_conn_move(c, COIR__HTTP_IDLE,
                                 s->options.idle_timeout_ns);
        return;
    }
    c->partial = coir_malloc((x->len + 63) & ~(size_t)63);
    if (c->partial == NULL) {
        refuse_poor(c);
        return;
    }
    memcpy(c->partial, x->buf, x->len);
    c->partial_len = (uint32_t)x->len;
    coir__http_x_give(c);
    if (c->state != COIR__HTTP_HEAD)
        coir__http_conn_move(c, COIR__HTTP_HEAD, s->options.head_timeout_ns);
}

static inline uint64_t
active(const coir_http_server *s)
{
    return s->lists[COIR__HTTP_ACTIVE].count +
           s->lists[COIR__HTTP_UNTIMED].count;
}

/* Into ACTIVE or QUEUED; the time it may take counts from its head. */
static void
move_from_head(coir__http_conn *c, int state)
{
    int64_t from = c->x->started_ns;
    int64_t timeout_ns = c->server->options.request_timeout_ns;
    move_until(c, state,
               timeout_ns < COIR_FOREVER - from ? from + timeout_ns
                                                : COIR_FOREVER);
}

static void
start(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    coir_http_exchange *pub = &c->x->pub;
    pub->user = NULL;
    pub->waiting[0] = pub->waiting[1] = NULL;
    c->row = 0;
    move_from_head(c, COIR__HTTP_ACTIVE);
    if (coir__unlikely(s->host->start(s->ctx, pub) < 0)) {
        s->counters.refused++;
        c->x->keep = 0;
        refuse(c, 503);
    }
    else
        s->begun = pub;
}

void
coir__http_conn_run_queue(coir_http_server *s)
{
    coir__http_list *queue = &s->lists[COIR__HTTP_QUEUED];
    while (coir__unlikely(queue->head != NULL) &&
           active(s) < s->options.max_active)
        start(queue->head);
}

/* A handler has ended. Those that wait for no more than the loop are started
 * by that. */
static inline void
run_queue(coir_http_server *s)
{
    if (coir__unlikely(s->options.max_active != UINT32_MAX))
        coir__http_conn_run_queue(s);
}

/* A head is complete. Room for its body: it must not move any more. */
static int
make_room(coir__http_x *x)
{
    size_t room = COIR__HTTP_ROOM;
    if (coir__likely(x->head.framing == COIR_HTTP_NO_BODY))
        return 0;
    if (x->head.framing == COIR_HTTP_CHUNKED)
        room += x->pub.server->parser.max_trailers;
    return coir__http_x_reserve(x, x->head_len + room);
}

static void
dispatch(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    if (coir__unlikely(s->spare == NULL || make_room(c->x) < 0)) {
        s->counters.refused++;
        refuse(c, 503);
    }
    else if (coir__unlikely(active(s) >= s->options.max_active))
        move_from_head(c, COIR__HTTP_QUEUED);
    else
        start(c);
}

/* There may be something to read for the next head. */
static void
read_head(coir__http_conn *c)
{
    int why = 0;
    switch (next_head(c, &why)) {
    case NEXT_HEAD:
        dispatch(c);
        break;
    case NEXT_WAIT:
        rest(c);
        break;
    case NEXT_BAD:
        refuse_bad(c, why);
        break;
    case NEXT_END:
        destroy(c);
    }
}

static void
read_first(coir__http_conn *c)
{
    if (coir__unlikely(coir__http_x_take(c) < 0))
        refuse_poor(c);
    else
        read_head(c);
}

/* --- between two requests ------------------------------------------------ */

/* Drop the rest of a body: NEXT_HEAD when it is done. */
static enum next
drain(coir__http_conn *c)
{
    coir__http_x *x = c->x;
    for (;;) {
        ssize_t n = coir__http_body_take(x, NULL, SIZE_MAX);
        if (coir__likely(n == 0))
            return NEXT_HEAD;
        if (n > 0) {
            if ((uint64_t)n > c->left)
                return NEXT_BAD;
            c->left -= (uint64_t)n;
            continue;
        }
        if (n != COIR_EAGAIN)
            return NEXT_BAD;
        size_t room = coir__http_body_room(x);
        n = coir__http_conn_read(c, x->buf + x->len, room);
        if (n > 0)
            x->len += (size_t)n;
        else if (n == COIR_EAGAIN) {
            if (park(c, c->want_read))
                return NEXT_WAIT;
        }
        else
            return NEXT_END;
    }
}

/* What follows the request comes to the beginning of the buffer. */
static void
shift(coir__http_x *x)
{
    size_t left = x->len - x->pos;
    if (left > 0)
        memmove(x->buf, x->buf + x->pos, left);
    x->len = left;
    x->pos = 0;
}

static void
continue_draining(coir__http_conn *c)
{
    switch (drain(c)) {
    case NEXT_HEAD:
        shift(c->x);
        read_head(c);
        break;
    case NEXT_WAIT:
        break;
    case NEXT_BAD:
        end(c);
        break;
    case NEXT_END:
        destroy(c);
    }
}

/* In its green thread. A head is there: may it go on at once? Not before
 * those that wait for their turn; and after some it is for the loop to go on,
 * so that others are looked at. */
static int
go_on(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    if (make_room(c->x) < 0) {
        s->counters.refused++;
        refuse(c, 503);
        return 0;
    }
    int is_crowded = s->options.max_active != UINT32_MAX &&
                     s->lists[COIR__HTTP_QUEUED].head != NULL;
    if (coir__likely(!is_crowded && ++c->row < COIR__HTTP_ROW)) {
        move_from_head(c, COIR__HTTP_ACTIVE);
        return 1;
    }
    move_from_head(c, COIR__HTTP_QUEUED);
    if (is_crowded)
        run_queue(s);
    else
        coir_timer_start(s->loop, &s->queue_timer);
    return 0;
}

int
coir__http_conn_next(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    c->left = s->options.max_drain;
    enum next next = drain(c);
    int why = 0;
    if (coir__likely(next == NEXT_HEAD)) {
        shift(c->x);
        next = next_head(c, &why);
        if (next == NEXT_HEAD)
            return go_on(c);
        if (coir__likely(next == NEXT_WAIT))
            rest(c);
        else if (next == NEXT_BAD)
            refuse_bad(c, why);
        else
            destroy(c);
    }
    else if (next == NEXT_WAIT)
        coir__http_conn_move(c, COIR__HTTP_DRAINING,
                             s->options.linger_timeout_ns);
    else if (next == NEXT_BAD)
        end(c);
    else
        destroy(c);
    run_queue(s);
    return 0;
}

void
coir__http_conn_end(coir__http_conn *c, enum coir__http_end how)
{
    coir_http_server *s = c->server;
    if (how == COIR__HTTP_LINGER)
        end(c);
    else if (how == COIR__HTTP_IN_ORDER)
        close_quietly(c);
    else
        destroy(c);
    run_queue(s);
}

/* --- what the loop tells ------------------------------------------------- */

/* How long a new connection may take for its first request. */
static int64_t
first_timeout(const coir_http_server *s)
{
    int64_t timeout_ns = s->options.head_timeout_ns;
    return coir__http_stops(s) && timeout_ns > COIR__HTTP_LAST_NS
               ? COIR__HTTP_LAST_NS
               : timeout_ns;
}

static void
shake(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    for (;;) {
        uint8_t want = 0;
        int err =
            (int)wanted(c->transport->handshake(c->transport_state), &want);
        if (err == COIR_EAGAIN) {
            if (park(c, want))
                return;
            continue;
        }
        if (err == 0) {
            coir__http_conn_move(c, COIR__HTTP_HEAD, first_timeout(s));
            c->dry = 0;
            read_first(c);
            return;
        }
        s->counters.handshake_errors++;
        destroy(c);
        return;
    }
}

static void
wake(coir__http_conn *c, int revents)
{
    coir_http_server *s = c->server;
    coir__http_x *x = c->x;
    for (int slot = 0; slot < 2; slot++)
        if ((x->waits & 1 << slot) && (x->want[slot] & revents)) {
            x->waits &= (uint8_t) ~(1 << slot);
            s->host->wake(s->ctx, &x->pub, slot, 0);
        }
}

/* Somebody else closed its descriptor. */
static void
lose(coir__http_conn *c)
{
    c->lost = 1;
    if (c->state == COIR__HTTP_ACTIVE || c->state == COIR__HTTP_UNTIMED)
        coir__http_conn_kill(c, COIR_ECLOSED);
    else
        destroy(c);
}

static void
on_edge(coir_loop *loop, coir_edge *w, int revents)
{
    (void)loop;
    coir__http_conn *c = (coir__http_conn *)w;
    coir_http_server *s = c->server;
    coir__http_hold(s);
    s->begun = NULL;
    if (coir__unlikely(revents & COIR_ERROR))
        lose(c);
    else if (c->state == COIR__HTTP_ACTIVE || c->state == COIR__HTTP_UNTIMED)
        wake(c, revents);
    else {
        c->dry = 0;
        switch (c->state) {
        case COIR__HTTP_IDLE:
        case COIR__HTTP_HEAD:
            read_first(c);
            break;
        case COIR__HTTP_SHAKING:
            shake(c);
            break;
        case COIR__HTTP_DRAINING:
            continue_draining(c);
            break;
        case COIR__HTTP_LINGERING:
            linger(c);
            break;
        default:
            break;
        }
        if (s->begun != NULL && s->host->run != NULL)
            s->host->run(s->ctx, s->begun); /* `c` may be gone */
    }
    coir__http_let_go(s);
}

void
coir__http_conn_kill(coir__http_conn *c, int error)
{
    coir_http_server *s = c->server;
    coir__http_x *x = c->x;
    x->killed = error;
    if (error == COIR_ECLOSED && !c->lost)
        (void)shutdown(c->edge.fd, SHUT_RDWR);
    for (int slot = 0; slot < 2; slot++)
        if (x->waits & 1 << slot) {
            x->waits &= (uint8_t) ~(1 << slot);
            s->host->wake(s->ctx, &x->pub, slot, error);
        }
    if (!x->is_cancelled && s->host->cancel != NULL) {
        x->is_cancelled = 1;
        s->host->cancel(s->ctx, &x->pub,
                        error == COIR_ETIMEDOUT ? error : COIR_ECANCELED);
    }
}

void
coir__http_conn_tell(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    coir__http_x *x = c->x;
    if (!x->heeds_stop || !(x->waits & 1 << COIR_HTTP_READER))
        return;
    x->waits &= (uint8_t) ~(1 << COIR_HTTP_READER);
    s->host->wake(s->ctx, &x->pub, COIR_HTTP_READER, COIR_ECANCELED);
}

void
coir__http_conn_overdue(coir__http_conn *c)
{
    coir_http_counters *counters = &c->server->counters;
    switch (c->state) {
    case COIR__HTTP_SHAKING:
        counters->handshake_timeouts++;
        destroy(c);
        break;
    case COIR__HTTP_HEAD:
        if (coir__http_stops(c->server) && c->partial == NULL) {
            close_quietly(c);
            break;
        }
        counters->head_timeouts++;
        if (c->partial == NULL || coir__http_x_take(c) < 0)
            close_quietly(c);
        else
            refuse_headless(c, 408);
        break;
    case COIR__HTTP_IDLE:
        counters->idle_timeouts++;
        close_quietly(c);
        break;
    case COIR__HTTP_QUEUED:
        counters->request_timeouts++;
        refuse(c, 503);
        break;
    case COIR__HTTP_ACTIVE:
        counters->request_timeouts++;
        coir__http_conn_move(c, COIR__HTTP_UNTIMED, COIR_FOREVER);
        coir__http_conn_kill(c, COIR_ETIMEDOUT);
        break;
    default:
        destroy(c);
    }
}

void
coir__http_conn_stop(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    int64_t left_ns = c->deadline_ns - coir_loop_now(s->loop);
    if (left_ns > s->options.idle_timeout_ns - COIR__HTTP_LAST_NS) {
        /* Its client is at it, and the next request may be on its way. */
        coir__http_conn_move(c, COIR__HTTP_HEAD, COIR__HTTP_LAST_NS);
        return;
    }
    /* A request may have come that the loop has not seen. */
    coir_edge_cancel(s->loop, &c->edge, COIR_READ | COIR_WRITE);
    c->dry = 0;
    read_first(c);
}

int
coir__http_evict(coir_http_server *s)
{
    coir__http_conn *c = s->lists[COIR__HTTP_IDLE].head;
    if (c == NULL) {
        /* Or one that has not sent a request for a while. */
        c = s->lists[COIR__HTTP_HEAD].head;
        int64_t timeout_ns = s->options.head_timeout_ns;
        if (c == NULL || c->deadline_ns - timeout_ns + COIR__HTTP_YOUNG_NS >
                             coir_loop_now(s->loop))
            return 0;
    }
    s->counters.evicted++;
    close_quietly(c);
    return 1;
}

/* --- making -------------------------------------------------------------- */

static void
set_peer(coir__http_conn *c, const struct sockaddr *addr, socklen_t len)
{
    if (addr == NULL || len > sizeof c->peer ||
        (addr->sa_family != AF_INET && addr->sa_family != AF_INET6))
        return;
    memcpy(&c->peer, addr, len);
    c->peer_len = (uint16_t)len;
}

static coir__http_conn *
conn_new(coir_http_server *s, int fd, const coir_http_transport *transport,
         void *transport_ctx, int *err)
{
    coir__http_conn *c = coir_calloc(1, sizeof *c);
    *err = COIR_ENOMEM;
    if (c == NULL)
        return NULL;
    c->server = s;
    coir_edge_init(&c->edge, on_edge, fd);
    *err = coir_edge_start(s->loop, &c->edge);
    if (*err == 0 && transport != NULL) {
        *err = transport->open(transport_ctx, fd, &c->transport_state);
        if (*err < 0)
            coir_edge_stop(s->loop, &c->edge);
    }
    if (*err < 0) {
        coir_free(c);
        return NULL;
    }
    c->transport = transport;
    return c;
}

int
coir__http_conn_new(coir_http_server *s, int fd, const struct sockaddr *addr,
                    socklen_t addr_len, const coir_http_transport *transport,
                    void *transport_ctx, int listener, int is_tcp)
{
    int err;
    coir__http_conn *c = conn_new(s, fd, transport, transport_ctx, &err);
    if (c == NULL) {
        (void)close(fd);
        return err;
    }
    c->listener = listener;
    c->is_tcp = is_tcp != 0;
    c->want_read = COIR_READ;
    c->want_write = COIR_WRITE;
    set_peer(c, addr, addr_len);
    coir_http_parser_init(&c->parser, &s->parser);
    s->connections++;
    s->counters.accepted++;
    c->state = transport != NULL ? COIR__HTTP_SHAKING : COIR__HTTP_HEAD;
    list_append(&s->lists[c->state], c);
    move_until(c, c->state,
               coir__http_after(s, transport != NULL
                                       ? s->options.handshake_timeout_ns
                                       : first_timeout(s)));
    if (transport != NULL)
        shake(c);
    else if (!park(c, COIR_READ))
        read_first(c);
    return 0;
}
