/* echo_coir.c - an echo server on libcoir, a green thread per connection. The
 * backend of its loop is chosen by the environment (COIR_BACKEND). */
#include <coir.h>

#include "echo.h"

static int
serve(void *arg)
{
    char buffer[ECHO_BUFFER];
    ssize_t n;
    while ((n = coir_read(arg, buffer, sizeof buffer, COIR_FOREVER)) > 0)
        if (coir_write_all(arg, buffer, (size_t)n, NULL, COIR_FOREVER) < 0)
            break;
    return coir_socket_close(arg);
}

int
main(void)
{
    static const coir_green_attr detached = {.detached = 1};
    coir_socket *listener, *conn;
    int err = coir_socket_adopt(&listener, echo_listen(0));
    while (err == 0) {
        err = coir_accept(listener, &conn, NULL, NULL, COIR_FOREVER);
        if (err == 0)
            err = coir_spawn(NULL, serve, conn, &detached);
    }
    fprintf(stderr, "echo_coir: %s\n", coir_strerror(err));
    return 1;
}
