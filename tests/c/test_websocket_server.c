/* test_websocket_server.c - WebSocket connections on exchanges of the HTTP
 * server. The client is the codec's other role on a socket. */
#include "http_helper.h"

#include <coir/hub.h>
#include <coir/sync.h>
#include <coir/websocket.h>

#define UPGRADE                                                               \
    "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"                 \
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"                    \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* --- clients ------------------------------------------------------------- */

typedef struct client {
    coir_socket *socket;
    coir_ws *ws;
    uint8_t buf[70000];
    size_t pos, len;
} client;

static client *
shake(const coir_http_server *s, const char *more, coir_ws_deflate deflate)
{
    client *c = calloc(1, sizeof *c);
    char request[1000];
    reply r;
    (void)snprintf(request, sizeof request, UPGRADE "%s\r\n", more);
    c->socket = dial(s);
    ask(c->socket, request, &r);
    CHECK_EQ(r.status, 101);
    CHECK(strstr(r.head, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
                         "\r\n") != NULL);
    coir_ws_attr attr = {
        .role = COIR_WS_CLIENT, .deflate = deflate, .max_message = SIZE_MAX};
    CHECK_EQ(coir_ws_new(&c->ws, &attr), 0);
    return c;
}

static client *
open_client(const coir_http_server *s)
{
    return shake(s, "", (coir_ws_deflate){0});
}

static void
put(client *c, int type, const void *data, size_t len, unsigned flags)
{
    struct iovec f[2];
    CHECK_EQ(coir_ws_send(c->ws, type, data, len, flags, f), 0);
    say_n(c->socket, f[0].iov_base, f[0].iov_len);
}

static void
put_close(client *c, int code)
{
    uint8_t frame[COIR_WS_MAX_DUE];
    ssize_t n = coir_ws_close(c->ws, code, NULL, 0, frame);
    CHECK(n > 0);
    say_n(c->socket, (char *)frame, (size_t)n);
}

static coir_ws_event
get(client *c)
{
    coir_ws_event e;
    for (;;) {
        if (c->pos < c->len) {
            ssize_t n =
                coir_ws_receive(c->ws, c->buf + c->pos, c->len - c->pos, &e);
            CHECK(n >= 0);
            c->pos += (size_t)n;
            if (e.type != 0)
                return e;
        }
        ssize_t n = coir_read(c->socket, c->buf, sizeof c->buf, LONG);
        CHECK(n > 0);
        c->pos = 0;
        c->len = (size_t)n;
    }
}

static void
get_message(client *c, int type, const void *data, size_t len)
{
    coir_ws_event e = get(c);
    CHECK_EQ(e.type, type);
    CHECK_EQ(e.len, len);
    CHECK_EQ(memcmp(e.data, data, len), 0);
}

static void
answer_close(client *c, int code)
{
    coir_ws_event e = get(c);
    uint8_t due[COIR_WS_MAX_DUE];
    CHECK_EQ(e.type, COIR_WS_CLOSE);
    CHECK_EQ(e.code, code);
    size_t n = coir_ws_take_due(c->ws, due);
    if (n > 0)
        say_n(c->socket, (char *)due, n);
}

static void
end_client(client *c)
{
    hear_end(c->socket);
    coir_ws_free(c->ws);
    free(c);
}

/* --- handlers ------------------------------------------------------------ */

typedef struct outcome {
    const coir_websocket_options *options;
    int accept, recv, code; /* the last result, and close frame */
    int messages;
} outcome;

static int
echo(coir_http_exchange *x, void *arg)
{
    outcome *o = arg;
    coir_websocket *ws;
    coir_ws_event e = {0};
    o->accept = coir_websocket_accept(x, o->options, &ws);
    if (o->accept < 0)
        return 0;
    while ((o->recv = coir_websocket_recv(ws, &e, COIR_FOREVER)) == 0 &&
           e.type != COIR_WS_CLOSE) {
        o->messages++;
        CHECK_EQ(coir_websocket_send(ws, e.type, e.data, e.len, 0), 0);
    }
    o->code = e.code;
    coir_websocket_free(ws);
    return 0;
}

/* --- messages ------------------------------------------------------------ */

TEST(websocket_server, echoes_messages_of_all_sizes)
{
    static char data[60000];
    outcome o = {0};
    coir_http_server *s = serve(echo, &o, NULL);
    client *c = open_client(s);
    memset(data, 'x', sizeof data);
    for (size_t len = 0; len < sizeof data; len = 3 * len + 1) {
        put(c, COIR_WS_TEXT, data, len, 0);
        get_message(c, COIR_WS_TEXT, data, len);
        put(c, COIR_WS_BINARY, data, len, 0);
        get_message(c, COIR_WS_BINARY, data, len);
    }
    put_close(c, 1000);
    answer_close(c, 1000);
    end_client(c);
    CHECK_EQ(o.recv, 0);
    CHECK_EQ(o.code, 1000);
    CHECK_EQ(counters(s).upgraded, 1);
    drop(s);
    leave();
}

TEST(websocket_server, takes_what_came_with_the_request)
{
    outcome o = {0};
    coir_http_server *s = serve(echo, &o, NULL);
    coir_socket *c = dial(s);
    char frame[6 + 4];
    say_n(c, UPGRADE "\r\n\x81\x82\0\0\0\0hi\x81\x82\0\0",
          sizeof UPGRADE - 1 + 2 + 8 + 4);
    say_n(c, "\0\0ho", 4);
    reply r;
    hear(c, &r);
    CHECK_EQ(r.status, 101);
    read_to(c, frame, 8);
    CHECK_EQ(memcmp(frame, "\x81\x02hi\x81\x02ho", 8), 0);
    (void)coir_socket_close(c);
    UNTIL(s, connections, 0);
    CHECK_EQ(o.recv, COIR_EEOF);
    drop(s);
    leave();
}

TEST(websocket_server, joins_fragments_and_answers_pings)
{
    outcome o = {0};
    coir_http_server *s = serve(echo, &o, NULL);
    client *c = open_client(s);
    put(c, COIR_WS_TEXT, "a", 1, COIR_WS_MORE);
    put(c, COIR_WS_PING, "1", 1, 0);
    get_message(c, COIR_WS_PONG, "1", 1);
    put(c, COIR_WS_TEXT, "b", 1, COIR_WS_MORE);
    put(c, COIR_WS_PONG, "", 0, 0);
    put(c, COIR_WS_TEXT, "c", 1, 0);
    get_message(c, COIR_WS_TEXT, "abc", 3);
    put_close(c, 0);
    answer_close(c, 1005);
    end_client(c);
    CHECK_EQ(o.code, 1005);
    CHECK_EQ(o.messages, 1);
    drop(s);
    leave();
}

TEST(websocket_server, compresses)
{
    if (!coir_ws_has_deflate())
        SKIP("built without zlib");
    static char data[50000];
    coir_websocket_options options = {.deflate = {.is_on = 1}};
    outcome o = {.options = &options};
    coir_http_server *s = serve(echo, &o, NULL);
    client *c = shake(s, "Sec-WebSocket-Extensions: permessage-deflate\r\n",
                      (coir_ws_deflate){.is_on = 1});
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)('a' + i % 17);
    put(c, COIR_WS_TEXT, data, sizeof data, 0);
    coir_ws_event e = get(c);
    CHECK(e.was_compressed);
    CHECK_EQ(e.len, sizeof data);
    CHECK(counters(s).bytes_read < 5000);
    put_close(c, 1000);
    answer_close(c, 1000);
    end_client(c);
    drop(s);
    leave();
}

/* --- handshakes ---------------------------------------------------------- */

static int
only_example(const char *origin, size_t len, void *arg)
{
    CHECK_STR(arg, "arg");
    return origin != NULL && len == 7 && memcmp(origin, "example", 7) == 0;
}

TEST(websocket_server, refuses_and_goes_on)
{
    static char arg[] = "arg";
    coir_websocket_options options = {.check_origin = only_example,
                                      .arg = arg};
    outcome o = {.options = &options};
    coir_http_server *s = serve(echo, &o, NULL);
    coir_socket *c = dial(s);
    reply r;
    ask(c, GET, &r);
    CHECK_EQ(r.status, 426);
    CHECK(strstr(r.head, "\r\nSec-WebSocket-Version: 13\r\n") != NULL);
    CHECK_EQ(o.accept, COIR_WS_EUPGRADE);
    ask(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", &r);
    CHECK_EQ(r.status, 405);
    CHECK(strstr(r.head, "\r\nAllow: GET\r\n") != NULL);
    ask(c, UPGRADE "\r\n", &r);
    CHECK_EQ(r.status, 403);
    CHECK_EQ(o.accept, COIR_WS_EORIGIN);
    ask(c,
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
        "upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
        &r);
    CHECK_EQ(r.status, 400);
    CHECK_EQ(o.accept, COIR_WS_EKEY);
    ask(c, UPGRADE "Origin: example\r\n\r\n", &r);
    CHECK_EQ(r.status, 101);
    (void)coir_socket_close(c);
    drop(s);
    leave();
}

TEST(websocket_server, chooses_a_subprotocol_and_adds_fields)
{
    static const char *const names[] = {"chat", "echo", NULL};
    coir_websocket_options options = {.protocols = names,
                                      .fields = "X-One: 1\r\nX-Two:2\r\n"};
    outcome o = {.options = &options};
    coir_http_server *s = serve(echo, &o, NULL);
    coir_socket *c = dial(s);
    reply r;
    ask(c, UPGRADE "Sec-WebSocket-Protocol: x, echo, chat\r\n\r\n", &r);
    CHECK(strstr(r.head, "\r\nSec-WebSocket-Protocol: echo\r\n") != NULL);
    CHECK(strstr(r.head, "\r\nX-One: 1\r\n") != NULL);
    CHECK(strstr(r.head, "\r\nX-Two: 2\r\n") != NULL);
    (void)coir_socket_close(c);
    drop(s);
    options.fields = "no field";
    s = serve(echo, &o, NULL);
    c = dial(s);
    ask(c, UPGRADE "\r\n", &r);
    CHECK_EQ(o.accept, COIR_EINVAL);
    (void)coir_socket_close(c);
    drop(s);
    leave();
}

static int
without_memory(coir_http_exchange *x, void *arg)
{
    coir_websocket *ws;
    int *failures = arg;
    int err;
    for (long n = 0; n < 100; n++) {
        coir_test_fail_alloc(n);
        err = coir_websocket_accept(x, NULL, &ws);
        coir_test_fail_none();
        if (err != COIR_ENOMEM)
            break;
        ++*failures;
    }
    CHECK_EQ(err, 0);
    coir_test_fail_alloc(0);
    coir_ws_event e;
    CHECK_EQ(coir_websocket_recv(ws, &e, LONG), COIR_ENOMEM);
    CHECK_EQ(coir_websocket_recv(ws, &e, LONG), 0);
    coir_websocket_free(ws);
    return 0;
}

TEST(websocket_server, without_memory)
{
    int failures = 0;
    coir_http_server *s = serve(without_memory, &failures, NULL);
    client *c = open_client(s);
    put(c, COIR_WS_TEXT, "x", 1, 0);
    answer_close(c, 1000);
    end_client(c);
    CHECK(failures >= 2);
    drop(s);
    leave();
}

/* --- bad peers ----------------------------------------------------------- */

TEST(websocket_server, tells_what_is_wrong)
{
    static const struct {
        const char *bytes;
        size_t len;
        int error, code;
    } cases[] = {
        {"\x81\x01x", 3, COIR_WS_ENOMASK, 1002},
        {"\xc1\x80\0\0\0\0", 6, COIR_WS_ERSV, 1002},
        {"\x81\x81\0\0\0\0\xff", 7, COIR_WS_EUTF8, 1007},
        {"\x82\xff\0\0\0\0\0\x11\0\0\0\0\0\0", 14, COIR_WS_EMESSAGE, 1009},
    };
    outcome o = {0};
    coir_http_server *s = serve(echo, &o, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        client *c = open_client(s);
        say_n(c->socket, cases[i].bytes, cases[i].len);
        coir_ws_event e = get(c);
        CHECK_EQ(e.code, cases[i].code);
        end_client(c);
        CHECK_EQ(o.recv, cases[i].error);
    }
    drop(s);
    leave();
}

/* --- waiting, closing ---------------------------------------------------- */

static int
impatient(coir_http_exchange *x, void *arg)
{
    coir_websocket *ws;
    coir_ws_event e;
    int *timeouts = arg;
    CHECK_EQ(coir_websocket_accept(x, NULL, &ws), 0);
    CHECK_EQ(coir_websocket_send(ws, COIR_WS_TEXT, "go", 2, 0), 0);
    while (*timeouts < 3) {
        CHECK_EQ(coir_websocket_recv(ws, &e, 1 * MS), COIR_ETIMEDOUT);
        ++*timeouts;
    }
    CHECK_EQ(coir_websocket_ping(ws, "p", 1), 0);
    CHECK_EQ(coir_websocket_recv(ws, &e, LONG), 0);
    CHECK_EQ(e.len, 2);
    CHECK_NULL(coir_websocket_protocol(ws));
    CHECK_EQ(coir_ws_state(coir_websocket_codec(ws)), 0);
    CHECK_EQ(coir_websocket_close(ws, 999, ""), COIR_EINVAL);
    CHECK_EQ(coir_websocket_close(ws, 4000, "enough"), 0);
    CHECK_EQ(coir_websocket_send(ws, COIR_WS_TEXT, "", 0, 0), COIR_ECLOSED);
    CHECK_EQ(coir_websocket_recv(ws, &e, LONG), COIR_ECLOSED);
    coir_websocket_free(ws);
    return 0;
}

TEST(websocket_server, receives_after_a_timeout_and_closes)
{
    int timeouts = 0;
    coir_http_server *s = serve(impatient, &timeouts, NULL);
    client *c = open_client(s);
    get_message(c, COIR_WS_TEXT, "go", 2);
    while (timeouts < 3)
        (void)coir_sleep(1 * MS);
    get_message(c, COIR_WS_PING, "p", 1);
    put(c, COIR_WS_TEXT, "ok", 2, 0);
    put(c, COIR_WS_TEXT, "dropped", 7, 0);
    coir_ws_event e = get(c);
    CHECK_EQ(e.code, 4000);
    CHECK_EQ(e.len, 6);
    uint8_t due[COIR_WS_MAX_DUE];
    say_n(c->socket, (char *)due, coir_ws_take_due(c->ws, due));
    end_client(c);
    drop(s);
    leave();
}

static int
hasty(coir_http_exchange *x, void *arg)
{
    const coir_websocket_options options = {.close_timeout_ns = 5 * MS};
    coir_websocket *ws;
    (void)arg;
    CHECK_EQ(coir_websocket_accept(x, &options, &ws), 0);
    CHECK_EQ(coir_websocket_close(ws, 1000, ""), COIR_ETIMEDOUT);
    coir_websocket_free(ws);
    return 0;
}

TEST(websocket_server, does_not_wait_for_ever_for_a_close_frame)
{
    coir_http_server *s = serve(hasty, NULL, NULL);
    client *c = open_client(s);
    coir_ws_event e = get(c);
    CHECK_EQ(e.code, 1000);
    end_client(c);
    drop(s);
    leave();
}

enum { SENDERS = 5, EACH = 40, SIZE = 20000 };

typedef struct sender {
    coir_websocket *ws;
    char letter;
} sender;

static int
send_many(void *arg)
{
    const sender *me = arg;
    char data[SIZE];
    memset(data, me->letter, sizeof data);
    for (int i = 0; i < EACH; i++)
        CHECK_EQ(
            coir_websocket_send(me->ws, COIR_WS_TEXT, data, sizeof data, 0),
            0);
    return 0;
}

static int
many_senders(coir_http_exchange *x, void *arg)
{
    coir_websocket *ws;
    sender senders[SENDERS];
    coir_green *green[SENDERS];
    int result;
    (void)arg;
    CHECK_EQ(coir_websocket_accept(x, NULL, &ws), 0);
    static const coir_green_attr attr = {.stack_size = 65536};
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (sender){ws, (char)('a' + i)};
        CHECK_EQ(coir_spawn(&green[i], send_many, &senders[i], &attr), 0);
    }
    coir_ws_event e;
    CHECK_EQ(coir_websocket_recv(ws, &e, LONG), 0);
    CHECK_EQ(coir_websocket_recv(ws, &e, 0), COIR_ETIMEDOUT);
    for (int i = 0; i < SENDERS; i++)
        CHECK_EQ(coir_join(green[i], &result), 0);
    coir_websocket_free(ws);
    return 0;
}

TEST(websocket_server, many_may_send)
{
    coir_http_server *s = serve(many_senders, NULL, NULL);
    client *c = open_client(s);
    int counts[SENDERS] = {0};
    put(c, COIR_WS_PING, "p", 1, 0);
    put(c, COIR_WS_TEXT, "x", 1, 0);
    (void)coir_sleep(5 * MS); /* let them fill the connection */
    int pongs = 0;
    for (int i = 0; i < SENDERS * EACH + 1; i++) {
        coir_ws_event e = get(c);
        if (e.type == COIR_WS_PONG) {
            pongs++;
            continue;
        }
        CHECK_EQ(e.len, SIZE);
        for (size_t k = 1; k < e.len; k++)
            CHECK_EQ(e.data[k], e.data[0]);
        counts[e.data[0] - 'a']++;
    }
    for (int i = 0; i < SENDERS; i++)
        CHECK_EQ(counts[i], EACH);
    CHECK_EQ(pongs, 1);
    answer_close(c, 1000);
    end_client(c);
    drop(s);
    leave();
}

/* --- the server stops ---------------------------------------------------- */

TEST(websocket_server, stopping_server_says_that_it_goes_away)
{
    outcome o = {0};
    coir_http_server *s = serve(echo, &o, NULL);
    client *c = open_client(s), *d = open_client(s);
    put(c, COIR_WS_TEXT, "x", 1, 0);
    get_message(c, COIR_WS_TEXT, "x", 1);
    coir_http_server_stop(s, LONG, LONG);
    answer_close(c, 1001);
    end_client(c);
    answer_close(d, 1001);
    end_client(d);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    CHECK_EQ(o.recv, COIR_ECANCELED);
    coir_http_server_free(s);
    leave();
}

static int
busy(coir_http_exchange *x, void *arg)
{
    coir_websocket *ws;
    coir_ws_event e;
    coir_event *go = arg;
    CHECK_EQ(coir_websocket_accept(x, NULL, &ws), 0);
    CHECK_EQ(coir_event_wait(go, LONG), 0);
    CHECK_EQ(coir_websocket_recv(ws, &e, LONG), COIR_ECANCELED);
    coir_websocket_free(ws);
    return 0;
}

TEST(websocket_server, stop_is_seen_by_who_receives_later)
{
    coir_event go;
    coir_event_init(&go);
    coir_http_server *s = serve(busy, &go, NULL);
    client *c = open_client(s);
    coir_http_server_stop(s, LONG, LONG);
    coir_event_set(&go);
    answer_close(c, 1001);
    end_client(c);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    coir_http_server_free(s);
    leave();
}

TEST(websocket_server, silent_peer_does_not_keep_the_server)
{
    outcome o = {0};
    coir_http_server *s = serve(echo, &o, NULL);
    client *c = open_client(s);
    coir_http_server_stop(s, 1 * MS, 1 * MS);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    CHECK_EQ(get(c).code, 1001);
    end_client(c);
    coir_http_server_free(s);
    leave();
}
