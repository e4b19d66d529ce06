/* websocket_echo.c - an HTTP server whose WebSockets send back what comes.
 *
 *     websocket_echo [PORT]
 *
 * Everybody may connect; a page that a browser shows as "/" does. */
#include <coir.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char page[] =
    "<!doctype html><title>echo</title>\n"
    "<input id=i autofocus><pre id=o></pre><script>\n"
    "const ws = new WebSocket(`ws://${location.host}/echo`);\n"
    "const put = text => o.textContent += text + '\\n';\n"
    "ws.onmessage = event => put(event.data);\n"
    "ws.onclose = event => put(`closed: ${event.code}`);\n"
    "i.onchange = () => { ws.send(i.value); i.value = ''; };\n"
    "</script>\n";

static int
echo(coir_http_exchange *x)
{
    const coir_websocket_options options = {
        .deflate = {.is_on = (uint8_t)coir_ws_has_deflate()},
        .max_message = 16 << 20,
    };
    coir_websocket *ws;
    coir_ws_event e;
    int err = coir_websocket_accept(x, &options, &ws);
    if (err < 0)
        return 0; /* it was answered */
    while ((err = coir_websocket_recv(ws, &e, COIR_FOREVER)) == 0 &&
           e.type != COIR_WS_CLOSE) {
        err = coir_websocket_send(ws, e.type, e.data, e.len, COIR_WS_VALID);
        if (err < 0)
            break;
    }
    if (err < 0 && err != COIR_EEOF)
        fprintf(stderr, "%s\n", coir_ws_strerror(err));
    coir_websocket_free(ws);
    return 0;
}

static int
handle(coir_http_exchange *x, void *arg)
{
    (void)arg;
    if (x->head->target.len != 1)
        return echo(x);
    int err = coir_http_begin(x, 200, NULL);
    if (err == 0)
        err = coir_http_add_field(x, "Content-Type", "text/html");
    return err == 0 ? coir_http_send(x, page, sizeof page - 1) : err;
}

int
main(int argc, char **argv)
{
    const char *port = argc > 1 ? argv[1] : "8080";
    coir_http_server *server;
    int err = coir_http_server_new(&server, handle, NULL, NULL);
    if (err == 0)
        err = coir_http_server_bind(server, "127.0.0.1", port, 0, NULL, NULL);
    if (err >= 0)
        err = coir_http_server_start(server);
    if (err < 0) {
        fprintf(stderr, "%s\n", coir_strerror(err));
        return 1;
    }
    printf("http://127.0.0.1:%s/\n", port);
    fflush(stdout);
    err = coir_http_server_join(server, COIR_FOREVER);
    coir_http_server_free(server);
    return err < 0;
}
