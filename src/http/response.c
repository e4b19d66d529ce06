/* response.c - responses.
 *
 * A head is built in x->out as its fields are given; what the server adds
 * itself comes at the end, when it is known how the body goes on. A small body
 * is copied behind it, and both are sent in one call; a larger one goes with
 * it by writev().
 *
 *     NOT_BEGUN --begin--> BEGUN --first bytes, flush--> SENDING --> SENT
 *         ^                  |
 *         +---- restart -----+---- flush, of an interim one
 *
 * An error while writing is kept (`write_error`): what the client has is not
 * known any more, so nothing else is written, and the connection is closed. */
#include "http/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define NOT_KNOWN UINT64_MAX
/* One writev(): head, chunk's line, data, chunk's end. */
#define VECTORS 32
/* Of what the server adds to a head. */
#define ADDED_MAX 192
#define FILE_PIECE (1024 * 1024)
#define FILE_COPY 16384

static inline void
put(coir__http_x *x, const void *text, size_t len)
{
    memcpy(x->out + x->out_len, text, len);
    x->out_len += len;
}

#define PUT(x, literal) put(x, literal, sizeof(literal) - 1)

static int
room(coir__http_x *x, size_t len)
{
    if (coir__likely(x->out_size - x->out_len >= len))
        return 0;
    return coir__http_x_reserve_out(x, x->out_len + len);
}

/* --- the head ------------------------------------------------------------ */

static void
forget(coir__http_x *x)
{
    x->out_len = 0;
    x->length = NOT_KNOWN;
    x->state = COIR_HTTP_NOT_BEGUN;
    x->given = 0;
    x->status = 0;
    x->interim = 0;
}

void
coir__http_response_reset(coir__http_x *x)
{
    forget(x);
    x->sent = 0;
    x->wrote = 0;
    x->aborted = 0;
    x->write_error = 0;
}

/* "HTTP/1.1 200 OK\r\n" */
static int
put_status(coir__http_x *x, int status, const char *reason, size_t len)
{
    if (room(x, len + 16) < 0)
        return COIR_ENOMEM;
    char digits[4] = {(char)('0' + status / 100),
                      (char)('0' + status / 10 % 10),
                      (char)('0' + status % 10), ' '};
    PUT(x, "HTTP/1.1 ");
    put(x, digits, 4);
    put(x, reason, len);
    PUT(x, "\r\n");
    return 0;
}

int
coir_http_begin_n(coir_http_exchange *pub, int status, const char *reason,
                  size_t len)
{
    coir__http_x *x = coir__http_of(pub);
    if (coir__unlikely(x->state != COIR_HTTP_NOT_BEGUN || status < 100 ||
                       status > 999 || status == 100))
        return COIR_EINVAL;
    if (reason == NULL) {
        reason = coir_http_reason(status);
        len = strlen(reason);
    }
    else if (coir_http_check_reason(reason, len) < 0)
        return COIR_EINVAL;
    if (put_status(x, status, reason, len) < 0)
        return COIR_ENOMEM;
    x->status = status;
    x->interim = status < 200 && status != 101;
    x->state = COIR_HTTP_BEGUN;
    return 0;
}

int
coir_http_begin(coir_http_exchange *x, int status, const char *reason)
{
    return coir_http_begin_n(x, status, reason,
                             reason != NULL ? strlen(reason) : 0);
}

/* Fields that mean something to the server. 1: it is to be left out; 0; or
 * COIR_EINVAL. */
static int
heed(coir__http_x *x, int id, const char *value, size_t len)
{
    switch (id) {
    case COIR_FIELD_DATE:
        x->given |= COIR__HTTP_GAVE_DATE;
        return 0;
    case COIR_FIELD_SERVER:
        x->given |= COIR__HTTP_GAVE_SERVER;
        return 0;
    case COIR_FIELD_CONTENT_LENGTH: {
        uint64_t length = 0;
        for (size_t i = 0; i < len; i++) {
            if (value[i] < '0' || value[i] > '9' ||
                length > (INT64_MAX - 9) / 10)
                return COIR_EINVAL;
            length = 10 * length + (uint64_t)(value[i] - '0');
        }
        if (len == 0 || (x->length != NOT_KNOWN && x->length != length))
            return COIR_EINVAL;
        x->length = length;
        return 1;
    }
    case COIR_FIELD_CONNECTION:
        if (x->status == 101 || x->status == 426)
            return 0;
        if (coir_http_equal(value, len, "close", 5))
            x->keep = 0;
        else if (!coir_http_equal(value, len, "keep-alive", 10))
            return COIR_EINVAL;
        return 1;
    case COIR_FIELD_UPGRADE:
        return x->status == 101 || x->status == 426 ? 0 : COIR_EINVAL;
    case COIR_FIELD_PROXY_AUTHENTICATE:
        return 0;
    default:
        return coir_http_is_hop_by_hop(id) ? COIR_EINVAL : 0;
    }
}

int
coir_http_add_field_n(coir_http_exchange *pub, const char *name,
                      size_t name_len, const char *value, size_t value_len)
{
    coir__http_x *x = coir__http_of(pub);
    if (coir__unlikely(x->state != COIR_HTTP_BEGUN))
        return x->state == COIR_HTTP_NOT_BEGUN ? COIR_EINVAL : COIR_EBUSY;
    if (coir__unlikely(
            coir_http_check_field(name, name_len, value, value_len) < 0))
        return COIR_EINVAL;
    int id = coir_http_field_id(name, name_len);
    if (id != COIR_FIELD_OTHER) {
        int heeded = heed(x, id, value, value_len);
        if (coir__unlikely(heeded != 0))
            return heeded < 0 ? heeded : 0;
    }
    if (room(x, name_len + value_len + 4) < 0)
        return COIR_ENOMEM;
    put(x, name, name_len);
    PUT(x, ": ");
    put(x, value, value_len);
    PUT(x, "\r\n");
    return 0;
}

int
coir_http_add_field(coir_http_exchange *x, const char *name, const char *value)
{
    return coir_http_add_field_n(x, name, strlen(name), value, strlen(value));
}

int
coir_http_set_length(coir_http_exchange *pub, uint64_t length)
{
    coir__http_x *x = coir__http_of(pub);
    if (x->state != COIR_HTTP_BEGUN)
        return x->state == COIR_HTTP_NOT_BEGUN ? COIR_EINVAL : COIR_EBUSY;
    if (length > INT64_MAX || (x->length != NOT_KNOWN && x->length != length))
        return COIR_EINVAL;
    x->length = length;
    return 0;
}

int
coir_http_restart(coir_http_exchange *pub)
{
    coir__http_x *x = coir__http_of(pub);
    if (x->state > COIR_HTTP_BEGUN)
        return COIR_EBUSY;
    forget(x);
    return 0;
}

int
coir_http_response_state(const coir_http_exchange *x)
{
    return coir__http_of(x)->state;
}

/* --- what the server adds ------------------------------------------------ */

static void
put_date(coir__http_x *x)
{
    coir_http_server *s = x->pub.server;
    int64_t now_s = coir_loop_wall_now(s->loop) / COIR_NS_PER_S;
    if (coir__unlikely(now_s != s->date_s)) {
        char date[COIR_HTTP_DATE_SIZE];
        coir_http_date(now_s, date);
        s->date_len =
            (size_t)snprintf(s->date, sizeof s->date, "Date: %s\r\n", date);
        s->date_s = now_s;
    }
    put(x, s->date, s->date_len);
}

static void
put_length(coir__http_x *x, uint64_t length)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + length % 10);
        length /= 10;
    } while (length > 0);
    PUT(x, "Content-Length: ");
    put(x, digits + at, sizeof digits - at);
    PUT(x, "\r\n");
}

/* May another request follow this one? What was not read of its body has to be
 * dropped first, so it must not be too much, nor never come. */
static int
may_keep(const coir__http_x *x)
{
    const coir_http_server *s = x->pub.server;
    if (!x->keep || coir__http_stops(s) ||
        (s->options.flags & COIR_HTTP_NO_KEEP_ALIVE) ||
        x->conn->requests >= s->options.max_requests)
        return 0;
    if (coir__likely(x->head.framing == COIR_HTTP_NO_BODY))
        return 1;
    return !x->must_continue && !x->read_error &&
           (x->head.framing == COIR_HTTP_CHUNKED ||
            x->body.left <= s->options.max_drain);
}

static void
put_framing(coir__http_x *x)
{
    if (!coir_http_may_have_body(x->head.method_id, x->status)) {
        x->mode = COIR__HTTP_NO_BODY;
        if (x->length != NOT_KNOWN && x->status != 204 &&
            (x->head.method_id == COIR_HTTP_HEAD || x->status == 304))
            put_length(x, x->length);
    }
    else if (coir__likely(x->length != NOT_KNOWN)) {
        x->mode = COIR__HTTP_BY_LENGTH;
        put_length(x, x->length);
    }
    else if (x->head.version >= 11) {
        x->mode = COIR__HTTP_BY_CHUNKS;
        PUT(x, "Transfer-Encoding: chunked\r\n");
    }
    else {
        x->mode = COIR__HTTP_BY_CLOSE;
        x->keep = 0;
    }
}

/* The end of a head, from which on it is SENDING. */
static int
end_head(coir__http_x *x)
{
    const coir_http_server *s = x->pub.server;
    size_t name_len = s->server_name != NULL ? strlen(s->server_name) : 0;
    if (room(x, ADDED_MAX + name_len) < 0)
        return COIR_ENOMEM;
    if (!x->interim) {
        if (name_len > 0 && !(x->given & COIR__HTTP_GAVE_SERVER)) {
            PUT(x, "Server: ");
            put(x, s->server_name, name_len);
            PUT(x, "\r\n");
        }
        if (!(x->given & COIR__HTTP_GAVE_DATE) &&
            !(s->options.flags & COIR_HTTP_NO_DATE))
            put_date(x);
        put_framing(x);
        x->keep = (uint8_t)may_keep(x);
        if (x->upgraded)
            x->keep = 0;
        else if (!x->keep)
            PUT(x, "Connection: close\r\n");
        else if (coir__unlikely(x->head.version < 11))
            PUT(x, "Connection: keep-alive\r\n");
    }
    PUT(x, "\r\n");
    x->state = COIR_HTTP_SENDING;
    return 0;
}

/* --- writing ------------------------------------------------------------- */

int
coir__http_write_all(coir__http_x *x, struct iovec *iov, int count, int more)
{
    coir__http_conn *c = x->conn;
    if (coir__unlikely(x->write_error))
        return x->write_error;
    while (count > 0) {
        ssize_t n = coir__http_conn_writev(c, iov, count, more);
        if (coir__likely(n >= 0)) {
            x->wrote += (uint64_t)n;
            x->moved[COIR_HTTP_WRITER] += (uint64_t)n;
            coir__http_advance(&iov, &count, (size_t)n);
            continue;
        }
        if (n == COIR_EAGAIN)
            n = coir__http_wait_client(x, COIR_HTTP_WRITER, c->want_write);
        if (n < 0)
            return x->write_error = (int)n;
    }
    return 0;
}

/* All of several pieces, of which the first `first` are already there. */
typedef struct pieces {
    struct iovec iov[VECTORS];
    int count;
} pieces;

static inline void
add(pieces *p, const void *base, size_t len)
{
    p->iov[p->count].iov_base = (void *)(uintptr_t)base;
    p->iov[p->count].iov_len = len;
    p->count += len > 0;
}

/* What is in x->out, and `p` is empty again. */
static int
write_pieces(coir__http_x *x, pieces *p, int more)
{
    int err = coir__http_write_all(x, p->iov, p->count, more);
    p->count = 0;
    return err;
}

static int
copy_and_write(coir__http_x *x, const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++)
        put(x, iov[i].iov_base, iov[i].iov_len);
    struct iovec all = {x->out, x->out_len};
    x->out_len = 0;
    return coir__http_write_all(x, &all, 1, 0);
}

/* What is pending of the head, and `total` bytes of data, framed; `last`:
 * nothing follows. */
static int
write_data(coir__http_x *x, const struct iovec *iov, int count, size_t total,
           int last)
{
    pieces p;
    int chunked = x->mode == COIR__HTTP_BY_CHUNKS;
    if (x->mode == COIR__HTTP_NO_BODY)
        count = 0;
    else if (coir__likely(!chunked && x->out_len > 0 &&
                          total <= x->out_size - x->out_len))
        return copy_and_write(x, iov, count);
    if (chunked && total > 0) {
        if (room(x, COIR_HTTP_CHUNK_SIZE) < 0)
            return x->write_error = COIR_ENOMEM;
        x->out_len += coir_http_chunk_head(total, x->out + x->out_len);
    }
    p.count = 0;
    add(&p, x->out, x->out_len);
    x->out_len = 0;
    for (int i = 0; i < count; i++) {
        if (p.count == VECTORS - 2) {
            int err = write_pieces(x, &p, 1);
            if (err < 0)
                return err;
        }
        add(&p, iov[i].iov_base, iov[i].iov_len);
    }
    if (chunked && total > 0)
        add(&p, "\r\n", 2);
    if (chunked && last)
        add(&p, "0\r\n\r\n", 5);
    return write_pieces(x, &p, 0);
}

static int
may_write(coir__http_x *x)
{
    if (coir__unlikely(x->killed))
        return x->killed;
    if (coir__unlikely(x->write_error))
        return x->write_error;
    if (coir__unlikely(x->state == COIR_HTTP_NOT_BEGUN || x->interim ||
                       x->upgraded))
        return COIR_EINVAL;
    return 0;
}

static int
write_body(coir__http_x *x, const struct iovec *iov, int count, int last)
{
    int err = may_write(x);
    if (coir__unlikely(err < 0))
        return err;
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (last && x->length == NOT_KNOWN && x->state == COIR_HTTP_BEGUN &&
        (total > 0 || coir_http_may_have_body(x->head.method_id, x->status)))
        x->length = total;
    if (coir__unlikely(x->length != NOT_KNOWN && total > x->length - x->sent))
        return COIR_EINVAL;
    if (coir__unlikely(x->state == COIR_HTTP_SENT))
        return total > 0 ? COIR_EINVAL : 0;
    if (total == 0 && !last)
        return 0;
    if (coir__likely(x->state == COIR_HTTP_BEGUN)) {
        err = end_head(x);
        if (err < 0)
            return err;
    }
    x->sent += total;
    if (last || x->sent == x->length)
        x->state = COIR_HTTP_SENT;
    /* Less than was announced: the client is to see that. */
    if (last && x->length != NOT_KNOWN && x->sent < x->length &&
        x->mode == COIR__HTTP_BY_LENGTH)
        x->aborted = 1;
    return write_data(x, iov, count, total, last);
}

int
coir_http_writev(coir_http_exchange *x, const struct iovec *iov, int count)
{
    return write_body(coir__http_of(x), iov, count, 0);
}

int
coir_http_write(coir_http_exchange *x, const void *buf, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    return write_body(coir__http_of(x), &iov, 1, 0);
}

int
coir_http_sendv(coir_http_exchange *x, const struct iovec *iov, int count)
{
    return write_body(coir__http_of(x), iov, count, 1);
}

int
coir_http_send(coir_http_exchange *x, const void *buf, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    return write_body(coir__http_of(x), &iov, 1, 1);
}

int
coir_http_flush(coir_http_exchange *pub)
{
    coir__http_x *x = coir__http_of(pub);
    if (x->killed)
        return x->killed;
    if (x->write_error)
        return x->write_error;
    if (x->state != COIR_HTTP_BEGUN)
        return x->state == COIR_HTTP_NOT_BEGUN ? COIR_EINVAL : 0;
    if (x->interim && x->head.version < 11) {
        forget(x); /* it would not understand */
        return 0;
    }
    int err = end_head(x);
    if (err < 0)
        return err;
    struct iovec iov = {x->out, x->out_len};
    x->out_len = 0;
    if (x->upgraded)
        x->state = COIR_HTTP_SENT;
    err = coir__http_write_all(x, &iov, 1, 0);
    if (x->interim)
        forget(x);
    return err;
}

/* --- files --------------------------------------------------------------- */

static int
send_plain(coir__http_x *x, int file_fd, off_t offset, uint64_t count)
{
    coir__http_conn *c = x->conn;
    while (count > 0) {
        size_t piece = count < FILE_PIECE ? (size_t)count : FILE_PIECE;
        ssize_t n = sendfile(c->edge.fd, file_fd, &offset, piece);
        if (n > 0) {
            count -= (uint64_t)n;
            x->wrote += (uint64_t)n;
            x->moved[COIR_HTTP_WRITER] += (uint64_t)n;
            c->server->counters.bytes_written += (uint64_t)n;
        }
        else if (n == 0)
            return COIR_EEOF;
        else if (errno == EAGAIN) {
            int err = coir__http_wait_client(x, COIR_HTTP_WRITER, COIR_WRITE);
            if (err < 0)
                return err;
        }
        else if (errno != EINTR)
            return COIR_ERRNO(errno);
    }
    return 0;
}

/* Through memory, for transports, and for files that sendfile() cannot. */
static int
send_copied(coir__http_x *x, int file_fd, off_t offset, uint64_t count)
{
    char *buf = coir_malloc(FILE_COPY);
    int err = buf != NULL ? 0 : COIR_ENOMEM;
    while (err == 0 && count > 0) {
        size_t piece = count < FILE_COPY ? (size_t)count : FILE_COPY;
        ssize_t n = pread(file_fd, buf, piece, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = n == 0 ? COIR_EEOF : COIR_ERRNO(errno);
            break;
        }
        struct iovec iov = {buf, (size_t)n};
        err = coir__http_write_all(x, &iov, 1, 0);
        offset += n;
        count -= (uint64_t)n;
    }
    coir_free(buf);
    return err;
}

static int
send_file(coir__http_x *x, int file_fd, off_t offset, uint64_t count)
{
    if (x->conn->transport != NULL)
        return send_copied(x, file_fd, offset, count);
    uint64_t before = x->wrote;
    int err = send_plain(x, file_fd, offset, count);
    if ((err == COIR_ERRNO(EINVAL) || err == COIR_ERRNO(ENOSYS)) &&
        x->wrote == before)
        err = send_copied(x, file_fd, offset, count);
    return err;
}

int
coir_http_sendfile(coir_http_exchange *pub, int file_fd, off_t offset,
                   uint64_t count)
{
    coir__http_x *x = coir__http_of(pub);
    int err = may_write(x);
    if (err < 0)
        return err;
    if (count > INT64_MAX ||
        (x->length != NOT_KNOWN && count > x->length - x->sent) ||
        (x->state == COIR_HTTP_SENT && count > 0))
        return COIR_EINVAL;
    if (count == 0)
        return 0;
    if (x->state == COIR_HTTP_BEGUN) {
        err = end_head(x);
        if (err < 0)
            return err;
    }
    int chunked = x->mode == COIR__HTTP_BY_CHUNKS;
    if (chunked) {
        if (room(x, COIR_HTTP_CHUNK_SIZE) < 0)
            return x->write_error = COIR_ENOMEM;
        x->out_len += coir_http_chunk_head(count, x->out + x->out_len);
    }
    struct iovec iov = {x->out, x->out_len};
    x->out_len = 0;
    int no_body = x->mode == COIR__HTTP_NO_BODY;
    err = coir__http_write_all(x, &iov, iov.iov_len > 0, !no_body);
    if (err == 0 && !no_body)
        err = send_file(x, file_fd, offset, count);
    if (err == 0 && chunked) {
        iov = (struct iovec){(void *)(uintptr_t) "\r\n", 2};
        err = coir__http_write_all(x, &iov, 1, 0);
    }
    if (err < 0)
        return x->write_error = err;
    x->sent += count;
    if (x->sent == x->length)
        x->state = COIR_HTTP_SENT;
    return 0;
}

/* --- what the server says ------------------------------------------------ */

/* The whole of a response that says no more than its status, in x->out. */
static int
make_error(coir__http_x *x, int status)
{
    const char *reason = coir_http_reason(status);
    size_t len = strlen(reason);
    forget(x);
    int err = put_status(x, status, reason, len);
    if (err < 0)
        return err;
    x->status = status;
    x->state = COIR_HTTP_BEGUN;
    int has_body = coir_http_may_have_body(COIR_HTTP_GET, status);
    if (has_body) {
        PUT(x, "Content-Type: text/plain\r\n");
        x->length = len + 1;
    }
    err = end_head(x);
    if (err == 0 && x->mode == COIR__HTTP_BY_LENGTH) {
        err = room(x, len + 1);
        if (err == 0) {
            put(x, reason, len);
            PUT(x, "\n");
            x->sent = len + 1;
        }
    }
    x->state = COIR_HTTP_SENT;
    return err;
}

int
coir_http_send_error(coir_http_exchange *pub, int status)
{
    coir__http_x *x = coir__http_of(pub);
    if (status < 200 || status > 599)
        return COIR_EINVAL;
    if (x->state > COIR_HTTP_BEGUN)
        return COIR_EBUSY;
    if (x->write_error)
        return x->write_error;
    int err = make_error(x, status);
    if (err < 0)
        return x->write_error = err;
    struct iovec iov = {x->out, x->out_len};
    x->out_len = 0;
    return coir__http_write_all(x, &iov, 1, 0);
}

int
coir__http_refusal(coir__http_x *x, int status)
{
    coir__http_response_reset(x);
    if (x->head_len == 0) {
        x->head.method_id = COIR_HTTP_OTHER;
        x->head.version = 11;
        x->head.framing = COIR_HTTP_NO_BODY;
    }
    x->keep = 0;
    x->upgraded = 0;
    x->must_continue = 0;
    x->read_error = 0;
    return make_error(x, status);
}

/* The handler has begun no response. */
static int
status_of_failure(const coir__http_x *x)
{
    if (x->killed)
        return 503;
    if (x->read_error == COIR_ETIMEDOUT)
        return 408;
    if (x->read_error < 0 && x->read_error != COIR_EEOF)
        return coir_http_error_status(x->read_error);
    return 500;
}

int
coir__http_complete(coir__http_x *x)
{
    if (coir__unlikely(x->write_error || x->aborted))
        return COIR_ECLOSED;
    if (coir__likely(x->state == COIR_HTTP_SENT))
        return 0;
    if (x->state == COIR_HTTP_NOT_BEGUN || x->interim ||
        (x->killed && x->state == COIR_HTTP_BEGUN)) {
        int status = status_of_failure(x);
        if (x->read_error || x->killed)
            x->keep = 0;
        return coir_http_send_error(&x->pub, status);
    }
    if (x->state == COIR_HTTP_BEGUN) {
        if (x->length != NOT_KNOWN && x->length > 0 &&
            coir_http_may_have_body(x->head.method_id, x->status))
            x->keep = 0; /* the handler was to say more */
        return write_body(x, NULL, 0, 1);
    }
    x->state = COIR_HTTP_SENT;
    if (x->mode == COIR__HTTP_BY_LENGTH)
        return COIR_ECLOSED; /* less than was announced */
    if (x->mode != COIR__HTTP_BY_CHUNKS)
        return 0;
    struct iovec iov = {(void *)(uintptr_t) "0\r\n\r\n", 5};
    return coir__http_write_all(x, &iov, 1, 0);
}
