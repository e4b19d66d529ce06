/* embed.c - a loop inside another.
 *
 * The outer one watches the descriptor by which the inner one's backend tells
 * of events, and sweeps it then. What was changed in the inner loop reaches
 * its backend when it runs: a prepare watcher sees to it before the outer one
 * blocks, and that the descriptor is still the one. Its timers count only when
 * it is swept. Its callbacks may stop and free the watcher in any of this. */
#include "loop/internal.h"

#include <stddef.h>

/* Of the inner loop, at most, before the outer one blocks. */
#define MAX_TURNS 3

#define OWNER(w, member)                                                      \
    ((coir_embed *)(void *)((char *)(w)-offsetof(coir_embed, member)))

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
stop_parts(coir_loop *loop, coir_embed *w)
{
    coir__io_stop_own(loop, &w->io);
    loop->active += coir_is_active(&w->prepare);
    coir_prepare_stop(loop, &w->prepare);
    loop->active += coir_is_active(&w->fork);
    coir_fork_stop(loop, &w->fork);
}

/* It changes with stale registrations, and with a fork; numbers come back. */
static void *
which_descriptor(const coir_loop *other)
{
    return (void *)(uintptr_t)other->resets;
}

/* On the descriptor that the other loop has by now. */
static int
start_io(coir_loop *loop, coir_embed *w)
{
    coir__io_stop_own(loop, &w->io);
    coir_io_init(&w->io, readable, w->other->backend->descriptor(w->other),
                 COIR_READ);
    w->io.priority = w->priority;
    w->io.data = which_descriptor(w->other);
    return coir__io_start_own(loop, &w->io);
}

static void
restart_io(coir_loop *loop, coir_embed *w)
{
    if (start_io(loop, w) == 0)
        return;
    coir_embed_stop(loop, w);
    if (w->cb != NULL)
        coir__feed(loop, (coir_watcher *)w, COIR_ERROR);
}

/* Watch the descriptor that the other loop has by now. That goes for all that
 * embed it: callbacks may have stopped and freed the one that was swept, and
 * have started another in the same place. */
static void
follow(coir_loop *loop, const coir_loop *other)
{
    for (int i = loop->embeds.count - 1; i >= 0; i--) {
        coir_embed *w = (coir_embed *)loop->embeds.items[i];
        if (w->other == other && w->io.data != which_descriptor(other))
            restart_io(loop, w);
    }
}

/* In turns of its own, for those that cannot be watched and are to be told so.
 * But what is started and stopped in each turn must not keep us here. */
static void
tell_backend(coir_loop *other)
{
    int turns = 0;
    do {
        (void)coir_loop_run(other, COIR_RUN_NOWAIT);
        if (other->reset == 0)
            coir__io_apply(other);
    } while ((other->fd_changes >= 0 || other->pending_count > 0) &&
             ++turns < MAX_TURNS);
}

static void
before_wait(coir_loop *loop, coir_prepare *prepare, int revents)
{
    (void)revents;
    coir_loop *other = OWNER(prepare, prepare)->other;
    if (other->fd_changes >= 0)
        tell_backend(other);
    follow(loop, other);
}

/* Its descriptor changes with it, which before_wait() sees. */
static void
forked(coir_loop *loop, coir_fork *fork, int revents)
{
    (void)loop;
    (void)revents;
    coir_loop *other = OWNER(fork, fork)->other;
    coir_loop_fork(other);
    (void)coir_loop_run(other, COIR_RUN_NOWAIT);
}

/* Does not count for the loop, as the watchers of its own. */
static int
start_part(coir_loop *loop, coir_watcher *w, coir__array *array)
{
    int err = coir__array_add(loop, array, w);
    if (err == 0) {
        loop->active--;
        w->active |= COIR__OWN;
    }
    return err;
}

static int
start_parts(coir_loop *loop, coir_embed *w)
{
    w->io.active = w->io.pending = 0;
    coir_prepare_init(&w->prepare, before_wait);
    coir_fork_init(&w->fork, forked);
    w->prepare.priority = COIR_MINPRI; /* the last */
    int err = start_io(loop, w);
    if (err == 0)
        err = start_part(loop, (coir_watcher *)&w->prepare, &loop->prepares);
    if (err == 0)
        err = start_part(loop, (coir_watcher *)&w->fork, &loop->forks);
    return err;
}

int
coir_embed_start(coir_loop *loop, coir_embed *w)
{
    if (coir_is_active(w))
        return 0;
    if (!w->other->backend->embeddable)
        return COIR_EINVAL;
    coir__clamp_priority((coir_watcher *)w);
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
