/* embed.c - a loop inside another.
 *
 * The outer one watches the descriptor by which the inner one's backend tells
 * of events, and sweeps it then. What was changed in the inner loop reaches
 * its backend only in a turn of its own: a prepare watcher sees to it before
 * the outer one blocks. Its timers count only when it is swept. */
#include "loop/internal.h"

#include <stddef.h>

#define OWNER(w, member)                                                      \
    ((coir_embed *)(void *)((char *)(w) - offsetof(coir_embed, member)))

void
coir_embed_sweep(coir_loop *loop, coir_embed *w)
{
    (void)loop;
    (void)coir_loop_run(w->other, COIR_RUN_NOWAIT);
}

static void
readable(coir_loop *loop, coir_io *io, int revents)
{
    (void)revents;
    coir_embed *w = OWNER(io, io);
    if (w->cb != NULL) {
        coir__feed(loop, (coir_watcher *)w, COIR_EMBED);
        return;
    }
    coir_embed_sweep(loop, w);
}

static void
before_wait(coir_loop *loop, coir_prepare *prepare, int revents)
{
    (void)revents;
    coir_embed *w = OWNER(prepare, prepare);
    while (w->other->fd_changes >= 0)
        coir_embed_sweep(loop, w);
}

static void
stop_parts(coir_loop *loop, coir_embed *w)
{
    coir__io_stop_own(loop, &w->io);
    loop->active += coir_is_active(&w->prepare);
    coir_prepare_stop(loop, &w->prepare);
    loop->active += coir_is_active(&w->fork);
    coir_fork_stop(loop, &w->fork);
}

static void
forked(coir_loop *loop, coir_fork *fork, int revents)
{
    (void)revents;
    coir_embed *w = OWNER(fork, fork);
    /* Its descriptor changes with it. */
    coir_embed_stop(loop, w);
    coir_loop_fork(w->other);
    coir_embed_sweep(loop, w);
    if (coir_embed_start(loop, w) < 0)
        coir__feed(loop, (coir_watcher *)w, COIR_ERROR);
}

static int
start_parts(coir_loop *loop, coir_embed *w)
{
    int fd = w->other->backend->descriptor(w->other);
    coir_io_init(&w->io, readable, fd, COIR_READ);
    w->io.priority = w->priority;
    int err = coir__io_start_own(loop, &w->io);
    if (err < 0)
        return err;
    coir_prepare_init(&w->prepare, before_wait);
    w->prepare.priority = COIR_MINPRI; /* the last */
    err = coir_prepare_start(loop, &w->prepare);
    if (err < 0)
        return err;
    loop->active--;
    w->prepare.active |= COIR__OWN;
    coir_fork_init(&w->fork, forked);
    err = coir_fork_start(loop, &w->fork);
    if (err < 0)
        return err;
    loop->active--;
    w->fork.active |= COIR__OWN;
    return 0;
}

int
coir_embed_start(coir_loop *loop, coir_embed *w)
{
    if (coir_is_active(w))
        return 0;
    if (!w->other->backend->embeddable)
        return COIR_EINVAL;
    coir__clamp_priority((coir_watcher *)w);
    w->prepare.active = w->fork.active = 0;
    int err = start_parts(loop, w);
    if (err == 0)
        err = coir__array_add(loop, &loop->embeds, (coir_watcher *)w);
    if (err < 0)
        stop_parts(loop, w);
    return err;
}

void
coir_embed_stop(coir_loop *loop, coir_embed *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return;
    stop_parts(loop, w);
    coir__array_remove(loop, &loop->embeds, (coir_watcher *)w);
}
