/* echo_ev.c - an echo server on libev. What send() does not take is not waited
 * for: the connection is closed, which no row brings about. */
#include "echo.h"

#include <errno.h>
#include <ev.h>

static void
on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    static char buffer[ECHO_BUFFER];
    (void)revents;
    ssize_t n = recv(w->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 && send(w->fd, buffer, (size_t)n, MSG_NOSIGNAL) == n)
        return;
    ev_io_stop(loop, w);
    close(w->fd);
    free(w);
}

static void
on_connection(struct ev_loop *loop, ev_io *w, int revents)
{
    int fd;
    (void)revents;
    while ((fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
           0) {
        ev_io *io = malloc(sizeof *io);
        if (io == NULL)
            echo_die("malloc");
        ev_io_init(io, on_readable, fd, EV_READ);
        ev_io_start(loop, io);
    }
}

int
main(void)
{
    struct ev_loop *loop = ev_default_loop(EVFLAG_NOENV | EVBACKEND_EPOLL);
    ev_io listener;
    if (loop == NULL)
        echo_die("ev_default_loop");
    ev_io_init(&listener, on_connection, echo_listen(SOCK_NONBLOCK), EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
}
