/* echo_epoll.c - the limit: an echo server on nothing but epoll.
 *
 * A connection is registered once, for both directions, edge-triggered. A
 * short read has emptied the socket, and what comes later is a new edge, so a
 * request takes recv(), send() and its share of an epoll_wait(). What send()
 * does not take waits in memory of the connection, and then nothing is read
 * until it is gone. */
#include "echo.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>

struct conn {
    char *waits;        /* NULL: nothing does */
    uint32_t len, sent; /* of what waits */
};

/* By descriptor. */
static struct conn conns[1 << 16];
static int epoll;

static void
end(int fd)
{
    free(conns[fd].waits);
    conns[fd].waits = NULL;
    close(fd);
}

/* Whether all is gone; -1 if the connection is. */
static int
flush(int fd, struct conn *c)
{
    while (c->sent < c->len) {
        ssize_t n =
            send(fd, c->waits + c->sent, c->len - c->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        c->sent += (uint32_t)n;
    }
    free(c->waits);
    c->waits = NULL;
    return 1;
}

static int
keep(struct conn *c, const char *bytes, size_t len)
{
    c->waits = malloc(len);
    if (c->waits == NULL)
        return -1;
    memcpy(c->waits, bytes, len);
    c->len = (uint32_t)len;
    c->sent = 0;
    return 0;
}

/* 0 once there is nothing to do for now, -1 at the end. */
static int
serve(int fd)
{
    static char buffer[ECHO_BUFFER];
    struct conn *c = &conns[fd];
    if (c->waits != NULL) {
        int gone = flush(fd, c);
        if (gone <= 0)
            return gone;
    }
    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN ? 0 : -1;
        ssize_t sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return -1;
        if (sent < 0)
            sent = 0;
        if (sent < n)
            return keep(c, buffer + sent, (size_t)(n - sent));
        if ((size_t)n < sizeof buffer)
            return 0;
    }
}

static void
accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL,
                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP |
                                              EPOLLET,
                                    .data.fd = fd};
        if (fd >= (int)(sizeof conns / sizeof conns[0]) ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            echo_die("a connection too many");
    }
}

int
main(void)
{
    int listener = echo_listen(SOCK_NONBLOCK);
    struct epoll_event events[256] = {
        {.events = EPOLLIN | EPOLLET, .data.fd = listener}};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &events[0]) < 0)
        echo_die("epoll");
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if ((events[i].events & ~(uint32_t)EPOLLOUT) == 0 &&
                     conns[fd].waits == NULL)
                continue; /* there was room already */
            else if (serve(fd) < 0)
                end(fd);
        }
    }
}
