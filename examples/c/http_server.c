/* http_server.c - an HTTP server: a green thread for each request.
 *     http_server [PORT]
 *     curl http://127.0.0.1:8080/           GET: says what it was asked
 *     curl -d text http://127.0.0.1:8080/   sends the body back, as it comes
 *     SIGTERM: answer what has been asked, at most 10 s, and end; again: now
 */
#include <coir.h>
#include <signal.h>
#include <stdio.h>

static int
echo(coir_http_exchange *x)
{
    char buf[16384];
    ssize_t n;
    int err = 0;
    while (err == 0 && (n = coir_http_read(x, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : coir_http_write(x, buf, (size_t)n);
    return err;
}

static int
serve(coir_http_exchange *x, void *arg)
{
    const coir_http_head *head = x->head;
    char text[256];
    coir_http_begin(x, 200, NULL);
    coir_http_add_field(x, "Content-Type", "text/plain");
    if (coir_http_body_length(x) != 0)
        return echo(x);
    int len = snprintf(text, sizeof text, "%.*s, %s: you asked for %.*s\n",
                       (int)head->method.len, x->base + head->method.at,
                       coir_http_peer(x, NULL),
                       head->target.len < 100 ? (int)head->target.len : 100,
                       x->base + head->target.at);
    return coir_http_send(x, text, (size_t)len);
}

static void
stop(coir_loop *loop, coir_signal *w, int revents)
{
    int64_t grace_ns = 10 * COIR_NS_PER_S;
    if (coir_http_server_state(w->data) >= COIR_HTTP_STOPPING)
        grace_ns = 0;
    coir_http_server_stop(w->data, grace_ns, COIR_NS_PER_S);
}

int
main(int argc, char **argv)
{
    coir_http_server_options options = {.log_format = COIR_HTTP_LOG_COMMON,
                                        .log_fd = 1};
    coir_http_server *server;
    coir_signal term;
    int err = coir_http_server_new(&server, serve, NULL, &options);
    if (err < 0 || (err = coir_http_server_bind(server, "127.0.0.1",
                                                argc > 1 ? argv[1] : "8080", 0,
                                                NULL, NULL)) < 0)
        return fprintf(stderr, "http_server: %s\n", coir_strerror(err)), 1;
    coir_signal_init(&term, stop, SIGTERM);
    term.data = server;
    coir_signal_start(coir_hub_loop(coir_hub_get()), &term);
    err = coir_http_server_start(server);
    if (err == 0)
        err = coir_http_server_join(server, COIR_FOREVER);
    coir_signal_stop(coir_hub_loop(coir_hub_get()), &term);
    coir_http_server_free(server);
    return err == 0 ? 0 : 1;
}
