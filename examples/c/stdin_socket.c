/* stdin_socket.c - standard input and a socket in one loop.
 *
 * What comes from standard input goes through a socket to a peer, which sends
 * it back in capitals. The peer is in the same loop, at the other end of a
 * pair of sockets. The end of the input travels the same way: each side stops
 * its watcher, and when none is left the loop returns. Standard input may be a
 * terminal, a pipe or a file. */
#include <coir.h>
#include <ctype.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static coir_io input, sock, peer;
static ssize_t under_way; /* bytes that the peer has not sent back */

static void
on_input(coir_loop *loop, coir_io *w, int revents)
{
    char buf[1024];
    ssize_t n = read(w->fd, buf, sizeof buf);
    /* No more before this came back: then no write here ever blocks. */
    coir_io_stop(loop, w);
    if (n > 0 && write(sock.fd, buf, (size_t)n) == n)
        under_way = n;
    else
        shutdown(sock.fd, SHUT_WR);
}

static void
on_peer(coir_loop *loop, coir_io *w, int revents)
{
    char buf[1024];
    ssize_t n = read(w->fd, buf, sizeof buf);
    for (ssize_t i = 0; i < n; i++)
        buf[i] = (char)toupper((unsigned char)buf[i]);
    if (n > 0 && write(w->fd, buf, (size_t)n) == n)
        return;
    coir_io_stop(loop, w);
    close(w->fd);
}

static void
on_socket(coir_loop *loop, coir_io *w, int revents)
{
    char buf[1024];
    ssize_t n = read(w->fd, buf, sizeof buf);
    if (n <= 0) {
        puts("bye");
        coir_io_stop(loop, w);
        close(w->fd);
        return;
    }
    fwrite(buf, 1, (size_t)n, stdout);
    under_way -= n;
    if (under_way == 0)
        coir_io_start(loop, &input);
}

int
main(void)
{
    coir_loop *loop;
    int ends[2];
    if (coir_loop_new(&loop, 0) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return 1;
    coir_io_init(&input, on_input, STDIN_FILENO, COIR_READ);
    coir_io_init(&sock, on_socket, ends[0], COIR_READ);
    coir_io_init(&peer, on_peer, ends[1], COIR_READ);
    if (coir_io_start(loop, &input) < 0 || coir_io_start(loop, &sock) < 0 ||
        coir_io_start(loop, &peer) < 0)
        return 1;
    coir_loop_run(loop, 0);
    coir_loop_free(loop);
    return 0;
}
