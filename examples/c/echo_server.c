/* echo_server.c - an echo server: a green thread for each connection.
 *     echo_server [PORT]         SIGUSR1: print what all of them do */
#include <coir.h>
#include <signal.h>
#include <stdio.h>

static int
echo(void *conn)
{
    char buf[1024];
    ssize_t n;
    while ((n = coir_read(conn, buf, sizeof buf, COIR_FOREVER)) > 0)
        if (coir_write_all(conn, buf, (size_t)n, NULL, COIR_FOREVER) < 0)
            break;
    return coir_socket_close(conn);
}

static void
dump(coir_loop *loop, coir_signal *w, int revents)
{
    coir_dump(1);
}

int
main(int argc, char **argv)
{
    coir_green_attr attr = {.name = "echo", .detached = 1};
    coir_socket *server, *conn;
    coir_signal usr1;
    int err = coir_tcp_listen(&server, "127.0.0.1",
                              argc > 1 ? argv[1] : "7000", 4096);
    coir_signal_init(&usr1, dump, SIGUSR1);
    coir_signal_start(coir_hub_loop(coir_hub_get()), &usr1);
    while (err == 0 &&
           (err = coir_accept(server, &conn, NULL, NULL, COIR_FOREVER)) == 0)
        err = coir_spawn(NULL, echo, conn, &attr);
    return fprintf(stderr, "echo_server: %s\n", coir_strerror(err)), 1;
}
