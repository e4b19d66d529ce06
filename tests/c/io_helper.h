/* io_helper.h - socket pairs, and who watches them, for the tests of
 * descriptors. */
#ifndef COIR_TESTS_IO_HELPER_H
#define COIR_TESTS_IO_HELPER_H

#include <sys/socket.h>
#include <unistd.h>

#include "loop_helper.h"

typedef struct seen {
    int calls;
    int events;
} seen;

static inline void
note(coir_loop *loop, coir_io *w, int revents)
{
    (void)loop;
    seen *s = w->data;
    s->calls++;
    s->events = revents;
}

static inline void
watch(coir_loop *loop, coir_io *w, seen *s, int fd, int events)
{
    coir_io_init(w, note, fd, events);
    w->data = s;
    *s = (seen){0, 0};
    CHECK_EQ(coir_io_start(loop, w), 0);
}

static inline void
turn(coir_loop *loop)
{
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    coir_loop_verify(loop);
}

/* Until the watcher was called; the harness ends a test that hangs. */
static inline void
until(coir_loop *loop, const seen *s, int calls)
{
    while (s->calls < calls)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    coir_loop_verify(loop);
}

static inline void
make_pair(int fds[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

static inline void
close_pair(const int fds[2])
{
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static inline void
put(int fd)
{
    CHECK_EQ(write(fd, "x", 1), 1);
}

static inline void
take(int fd)
{
    char c;
    CHECK_EQ(read(fd, &c, 1), 1);
}

#endif
