/* tcp_proxy.c - passes connections on to a Unix socket, without copying bytes
 * through the program.
 *     tcp_proxy PORT PATH */
#include <coir.h>
#include <stdio.h>

typedef struct way {
    coir_socket *from;
    coir_socket *to;
} way;

/* One direction, to its end; the other one may go on. */
static int
pass(void *arg)
{
    const way *w = arg;
    ssize_t n;
    while ((n = coir_splice(w->from, w->to, 1 << 16, COIR_FOREVER)) > 0)
        ;
    return n < 0 ? (int)n : coir_shutdown(w->to, SHUT_WR);
}

static const char *path;

static int
serve(void *client)
{
    coir_socket *server;
    int err = coir_unix_connect(&server, path, 10 * COIR_NS_PER_S);
    if (err == 0) {
        way there = {client, server}, back = {server, client};
        coir_scope *scope;
        err = coir_scope_begin(&scope);
        if (err == 0) { /* if one direction fails the other one is ended */
            (void)coir_scope_spawn(scope, pass, &there, NULL);
            (void)coir_scope_spawn(scope, pass, &back, NULL);
            err = coir_scope_end(scope);
        }
        (void)coir_socket_close(server);
    }
    (void)coir_socket_close(client);
    return err;
}

int
main(int argc, char **argv)
{
    coir_green_attr attr = {.name = "proxy", .detached = 1};
    coir_socket *listener, *client;
    if (argc != 3)
        return fprintf(stderr, "usage: tcp_proxy PORT PATH\n"), 1;
    path = argv[2];
    int err = coir_tcp_listen(&listener, NULL, argv[1], 1024);
    while (err == 0 && (err = coir_accept(listener, &client, NULL, NULL,
                                          COIR_FOREVER)) == 0)
        err = coir_spawn(NULL, serve, client, &attr);
    return fprintf(stderr, "tcp_proxy: %s\n", coir_strerror(err)), 1;
}
