/* echo.h - what the echo servers in C share: where they listen.
 *
 * Each serves 127.0.0.1 on a port of the kernel's choice, prints it, and runs
 * until it is killed. All read into ECHO_BUFFER bytes, so that a message of up
 * to 1 KiB is a short read: one that has emptied the socket. A server made of
 * green threads has its buffer on each one's stack, one made of callbacks has
 * one for all. None sets options on a connection. */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHO_BUFFER 2048

static inline void
echo_die(const char *what)
{
    perror(what);
    exit(1);
}

/* `flags`: SOCK_NONBLOCK or 0. */
static inline int
echo_listen(int flags)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 ||
        listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        echo_die("listen");
    printf("port %u\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

#endif
