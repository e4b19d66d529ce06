/* wsconn.c - WebSocket connections: the codec on the raw stream of an
 * exchange.
 *
 * Who receives is marked, and reads into one buffer, which is small while
 * little comes. Who sends holds `sending` from making a frame until it has
 * left: compressed frames must leave in the order in which they were made, and
 * a frame in one piece. What the codec has due is written by whoever holds it
 * then: after each frame, before it is given back.
 *
 * The end of the server comes as COIR_ECANCELED of the read that waits, in its
 * first step, when writing still works: then the peer is told 1001. The caller
 * frees the connection, and that waits for the peer's answer. */
#include "websocket.h"

#include <coir/http_server.h>
#include <coir/sync.h>

#include <string.h>

#include "base/platform.h"

#define SMALL_SIZE 4096
#define BIG_SIZE 65536

struct coir_websocket {
    coir_http_exchange *x;
    coir_ws *codec;
    coir_mutex sending;
    coir_ws_handshake handshake;
    int64_t write_timeout_ns, close_timeout_ns;
    uint8_t *buf;
    size_t size, pos, len; /* of it; what was not looked at */
    size_t next_size;
    uint8_t is_receiving;
    int error; /* of reading, for all calls from now on */
};

static int64_t
now_ns(const coir_websocket *ws)
{
    return coir_loop_now(coir_http_server_loop(ws->x->server));
}

/* --- the opening handshake ----------------------------------------------- */

static void
take_fields(coir_ws_handshake *h, const coir_http_exchange *x)
{
    const coir_http_head *head = x->head;
    for (size_t i = 0; i < head->count; i++) {
        const coir_http_field *f = &head->fields[i];
        coir_ws_handshake_field(h, x->base + f->name.at, f->name.len,
                                x->base + f->value.at, f->value.len);
    }
}

static int
check(coir_ws_handshake *h, const coir_http_exchange *x,
      const coir_websocket_options *o)
{
    const coir_http_head *head = x->head;
    take_fields(h, x);
    int err = coir_ws_handshake_check_request(
        h, x->base + head->method.at, head->method.len, head->version % 10);
    if (err == 0 && o->check_origin != NULL &&
        !o->check_origin(h->origin, h->origin_len, o->arg))
        err = COIR_WS_EORIGIN;
    return err;
}

/* Answer what cannot be answered by 101. Returns `error`, or why it could not
 * be. */
static int
refuse(coir_http_exchange *x, int error)
{
    const int status = coir_ws_error_code(error);
    const char *text = coir_ws_strerror(error);
    int err = coir_http_begin(x, status, NULL);
    if (err == 0)
        err = coir_http_add_field(x, "Content-Type", "text/plain");
    if (err == 0 && status == 426) {
        err = coir_http_add_field(x, "Upgrade", "websocket");
        if (err == 0)
            err = coir_http_add_field(x, "Sec-WebSocket-Version", "13");
    }
    if (err == 0 && status == 405)
        err = coir_http_add_field(x, "Allow", "GET");
    if (err == 0)
        err = coir_http_send(x, text, strlen(text));
    return err < 0 ? err : error;
}

static int
add_more(coir_http_exchange *x, const char *fields)
{
    int err = 0;
    while (err == 0 && fields != NULL && *fields != '\0') {
        const char *colon = strchr(fields, ':');
        const char *end = strstr(fields, "\r\n");
        if (colon == NULL || end == NULL || colon > end)
            return COIR_EINVAL;
        const char *value = colon + 1;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        err = coir_http_add_field_n(x, fields, (size_t)(colon - fields), value,
                                    (size_t)(end - value));
        fields = end + 2;
    }
    return err;
}

static int
upgrade(coir_http_exchange *x, const coir_ws_handshake *h, const char *more)
{
    char extensions[128];
    int err = coir_http_begin(x, 101, NULL);
    if (err == 0)
        err = coir_http_add_field(x, "Upgrade", "websocket");
    if (err == 0)
        err = coir_http_add_field(x, "Connection", "Upgrade");
    if (err == 0)
        err = coir_http_add_field(x, "Sec-WebSocket-Accept", h->accept);
    if (err == 0 && h->protocol != NULL)
        err = coir_http_add_field(x, "Sec-WebSocket-Protocol", h->protocol);
    if (err == 0 && coir_ws_handshake_extensions(h, extensions) > 0)
        err = coir_http_add_field(x, "Sec-WebSocket-Extensions", extensions);
    if (err == 0)
        err = add_more(x, more);
    if (err == 0)
        err = coir_http_upgrade(x);
    if (err < 0)
        (void)coir_http_restart(x); /* if that is possible still */
    return err;
}

static int
make(coir_websocket **out, coir_http_exchange *x, const coir_ws_handshake *h,
     const coir_websocket_options *o)
{
    const coir_ws_attr attr = {.role = COIR_WS_SERVER,
                               .max_message = o->max_message,
                               .max_frame = o->max_frame,
                               .max_fragments = o->max_fragments,
                               .deflate = h->deflate};
    coir_websocket *ws = coir_calloc(1, sizeof *ws);
    if (ws == NULL)
        return COIR_ENOMEM;
    int err = coir_ws_new(&ws->codec, &attr);
    if (err < 0) {
        coir_free(ws);
        return err;
    }
    ws->x = x;
    ws->handshake = *h;
    ws->write_timeout_ns =
        o->write_timeout_ns != 0 ? o->write_timeout_ns : 20 * COIR_NS_PER_S;
    ws->close_timeout_ns =
        o->close_timeout_ns != 0 ? o->close_timeout_ns : 5 * COIR_NS_PER_S;
    ws->next_size = SMALL_SIZE;
    coir_mutex_init(&ws->sending, 0);
    *out = ws;
    return 0;
}

static void
destroy(coir_websocket *ws)
{
    coir_ws_free(ws->codec);
    coir_free(ws->buf);
    coir_free(ws);
}

int
coir_websocket_accept(coir_http_exchange *x,
                      const coir_websocket_options *options,
                      coir_websocket **out)
{
    static const coir_websocket_options by_default;
    const coir_websocket_options *o = options != NULL ? options : &by_default;
    coir_ws_handshake h;
    coir_websocket *ws;
    int err =
        coir_ws_handshake_init(&h, COIR_WS_SERVER, o->protocols, &o->deflate);
    if (err < 0)
        return err;
    if (coir_http_response_state(x) != COIR_HTTP_NOT_BEGUN)
        return COIR_EINVAL;
    err = check(&h, x, o);
    if (err < 0)
        return refuse(x, err);
    err = make(&ws, x, &h, o);
    if (err < 0)
        return err;
    err = upgrade(x, &h, o->fields);
    if (err < 0) {
        destroy(ws);
        return err;
    }
    (void)coir_http_raw_heed_stop(x, 1);
    *out = ws;
    return 0;
}

/* --- sending ------------------------------------------------------------- */

static int
write_due(coir_websocket *ws)
{
    int err = 0;
    while (err == 0 && coir_ws_has_due(ws->codec)) {
        uint8_t due[COIR_WS_MAX_DUE];
        struct iovec iov = {due, coir_ws_take_due(ws->codec, due)};
        err = coir_http_raw_writev(ws->x, &iov, 1, ws->write_timeout_ns);
    }
    return err;
}

/* What is due is written by who holds the mutex; wait for it only if it must
 * have left. */
static int
send_due(coir_websocket *ws)
{
    if (!coir_ws_has_due(ws->codec))
        return 0;
    int err = coir_mutex_lock(&ws->sending, ws->write_timeout_ns);
    if (err < 0)
        return err;
    err = write_due(ws);
    coir_mutex_unlock(&ws->sending);
    return err;
}

int
coir_websocket_send(coir_websocket *ws, int type, const void *data, size_t len,
                    unsigned flags)
{
    struct iovec frame[2];
    int err = coir_mutex_lock(&ws->sending, COIR_FOREVER);
    if (err < 0)
        return err;
    err = coir_ws_send(ws->codec, type, data, len, flags, frame);
    if (err == 0)
        err = coir_http_raw_writev(ws->x, frame, frame[1].iov_len > 0 ? 2 : 1,
                                   ws->write_timeout_ns);
    if (err == 0)
        err = write_due(ws);
    coir_mutex_unlock(&ws->sending);
    return err;
}

int
coir_websocket_ping(coir_websocket *ws, const void *data, size_t len)
{
    return coir_websocket_send(ws, COIR_WS_PING, data, len, 0);
}

static int
send_close(coir_websocket *ws, int code, const char *reason)
{
    uint8_t frame[COIR_WS_MAX_DUE];
    int err = coir_mutex_lock(&ws->sending, ws->write_timeout_ns);
    if (err < 0)
        return err;
    ssize_t n = coir_ws_close(ws->codec, code, reason,
                              reason != NULL ? strlen(reason) : 0, frame);
    if (n > 0) {
        struct iovec iov = {frame, (size_t)n};
        err = coir_http_raw_writev(ws->x, &iov, 1, ws->write_timeout_ns);
    }
    else if (n != COIR_ECLOSED) { /* one was sent already: that will do */
        err = (int)n;
    }
    coir_mutex_unlock(&ws->sending);
    return err;
}

/* --- receiving ----------------------------------------------------------- */

/* Room for what comes next. */
static int
make_room(coir_websocket *ws)
{
    const uint64_t wanted = coir_ws_wanted(ws->codec);
    size_t size = ws->next_size;
    if (wanted > size)
        size = wanted < BIG_SIZE ? (size_t)wanted : BIG_SIZE;
    ws->pos = ws->len = 0;
    if (ws->buf != NULL && ws->size == size)
        return 0;
    uint8_t *buf = coir_malloc(size);
    if (buf == NULL)
        return COIR_ENOMEM;
    coir_free(ws->buf);
    ws->buf = buf;
    ws->size = size;
    return 0;
}

static int
fill(coir_websocket *ws, int64_t timeout_ns)
{
    coir_ws_trim(ws->codec);
    int err = make_room(ws);
    if (err < 0)
        return err;
    ssize_t n = coir_http_raw_read(ws->x, ws->buf, ws->size, timeout_ns);
    if (n <= 0)
        return n == 0 ? COIR_EEOF : (int)n;
    ws->len = (size_t)n;
    if (ws->len == ws->size && ws->next_size < BIG_SIZE)
        ws->next_size *= 4;
    else if (ws->len <= SMALL_SIZE / 2)
        ws->next_size = SMALL_SIZE;
    return 0;
}

/* Reading has failed: what that means for the connection. */
static int
read_failed(coir_websocket *ws, int err)
{
    if (err == COIR_ETIMEDOUT || err == COIR_ENOMEM)
        return err;
    if (err == COIR_ECANCELED &&
        coir_http_server_state(ws->x->server) >= COIR_HTTP_STOPPING) {
        /* Who closes it reads on, until the server is done with it. */
        (void)coir_http_raw_heed_stop(ws->x, 0);
        (void)send_close(ws, 1001, "");
        return err;
    }
    return err == COIR_ECANCELED ? err : (ws->error = err);
}

/* Up to the next event that the caller is to see. */
static int
receive(coir_websocket *ws, coir_ws_event *event, int64_t deadline_ns)
{
    if (coir_ws_state(ws->codec) & COIR_WS_GOT_CLOSE)
        return COIR_ECLOSED;
    for (;;) {
        if (ws->pos < ws->len) {
            ssize_t n = coir_ws_receive(ws->codec, ws->buf + ws->pos,
                                        ws->len - ws->pos, event);
            if (n < 0) {
                (void)send_due(ws);
                return ws->error = (int)n;
            }
            ws->pos += (size_t)n;
            if (event->type == COIR_WS_TEXT || event->type == COIR_WS_BINARY)
                return 0;
            if (event->type != 0) {
                (void)send_due(ws); /* failing, it tells who writes next */
                if (event->type == COIR_WS_CLOSE)
                    return 0;
                continue;
            }
        }
        int64_t left = COIR_FOREVER;
        if (deadline_ns != COIR_FOREVER) {
            left = deadline_ns - now_ns(ws);
            if (left < 0)
                left = 0;
        }
        int err = fill(ws, left);
        if (err < 0)
            return read_failed(ws, err);
    }
}

int
coir_websocket_recv(coir_websocket *ws, coir_ws_event *event,
                    int64_t timeout_ns)
{
    if (ws->error < 0)
        return ws->error;
    if (ws->is_receiving)
        return COIR_EBUSY;
    int64_t deadline_ns = COIR_FOREVER;
    if (timeout_ns != COIR_FOREVER)
        deadline_ns = now_ns(ws) + (timeout_ns > 0 ? timeout_ns : 0);
    ws->is_receiving = 1;
    coir_ws_event e;
    int err = receive(ws, &e, deadline_ns);
    ws->is_receiving = 0;
    if (err == 0)
        *event = e;
    return err;
}

/* --- the end ------------------------------------------------------------- */

int
coir_websocket_close(coir_websocket *ws, int code, const char *reason)
{
    int err = send_close(ws, code, reason);
    if (err < 0)
        return err;
    int64_t deadline_ns = now_ns(ws) + ws->close_timeout_ns;
    (void)coir_http_raw_heed_stop(ws->x, 0);
    while (err == 0 && ws->error == 0 && !ws->is_receiving) {
        coir_ws_event e;
        int64_t left = deadline_ns - now_ns(ws);
        err = coir_websocket_recv(ws, &e, left > 0 ? left : 0);
    }
    return err == COIR_ECLOSED ? 0 : err;
}

void
coir_websocket_free(coir_websocket *ws)
{
    if (ws == NULL)
        return;
    if (ws->error == 0 && !(coir_ws_state(ws->codec) & COIR_WS_GOT_CLOSE))
        (void)coir_websocket_close(ws, 1000, "");
    destroy(ws);
}

const char *
coir_websocket_protocol(const coir_websocket *ws)
{
    return ws->handshake.protocol;
}

const coir_ws *
coir_websocket_codec(const coir_websocket *ws)
{
    return ws->codec;
}
