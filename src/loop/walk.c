/* walk.c - looking at a loop: which watchers it has, and whether its data are
 * sound.
 *
 * A callback of coir_loop_walk() may stop the watcher it is given. What is
 * found to be damaged ends the process: it was overwritten while the loop
 * needed it. */
#include "loop/internal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct timer_walk {
    void (*cb)(coir_loop *loop, int type, void *w);
} timer_walk;

static void
walk_timer(coir_loop *loop, coir_timer *w, void *arg)
{
    if (!(w->active & COIR__OWN))
        ((timer_walk *)arg)->cb(loop, COIR_TIMER, w);
}

static void
walk_array(coir_loop *loop, coir__array *array, int type,
           void (*cb)(coir_loop *loop, int type, void *w))
{
    /* Downwards: one that is stopped is replaced by one already seen. */
    for (int i = array->count; i-- > 0;)
        if (!(array->items[i]->active & COIR__OWN))
            cb(loop, type, array->items[i]);
}

static void
walk_arrays(coir_loop *loop, int types,
            void (*cb)(coir_loop *loop, int type, void *w))
{
    if (types & COIR_IDLE)
        for (int p = 0; p < COIR__PRIORITIES; p++)
            walk_array(loop, &loop->idles[p], COIR_IDLE, cb);
    if (types & COIR_PREPARE)
        walk_array(loop, &loop->prepares, COIR_PREPARE, cb);
    if (types & COIR_CHECK)
        walk_array(loop, &loop->checks, COIR_CHECK, cb);
    if (types & COIR_FORK)
        walk_array(loop, &loop->forks, COIR_FORK, cb);
    if (types & COIR_CLEANUP)
        walk_array(loop, &loop->cleanups, COIR_CLEANUP, cb);
    if (types & COIR_ASYNC)
        walk_array(loop, &loop->asyncs, COIR_ASYNC, cb);
    if (types & COIR_EMBED)
        walk_array(loop, &loop->embeds, COIR_EMBED, cb);
}

void
coir_loop_walk(coir_loop *loop, int types,
               void (*cb)(coir_loop *loop, int type, void *w))
{
    if (types & COIR_READ)
        for (int fd = 0; fd < loop->fd_count; fd++)
            for (coir_io *w = loop->fds[fd].head, *next; w != NULL; w = next) {
                next = w->next;
                if (!(w->active & (COIR__OWN | COIR__EDGE)))
                    cb(loop, COIR_READ, w);
            }
    if (types & COIR_TIMER) {
        timer_walk arg = {cb};
        coir__timers_walk(loop, walk_timer, &arg);
    }
    if (types & COIR_PERIODIC)
        coir__periodics_walk(loop, cb);
    if (types & COIR_SIGNAL)
        coir__signals_walk(loop, cb);
    if ((types & COIR_CHILD) && coir_loop_is_default(loop))
        coir__children_walk(loop, cb);
    if (types & COIR_STAT)
        for (coir_stat *w = loop->stats, *next; w != NULL; w = next) {
            next = w->next;
            cb(loop, COIR_STAT, w);
        }
    walk_arrays(loop, types, cb);
}

void
coir__damaged(const char *what)
{
    (void)fprintf(stderr, "coir: the loop is damaged: %s\n", what);
    abort();
}

static void
verify_array(const coir__array *array)
{
    for (int i = 0; i < array->count; i++) {
        const coir_watcher *w = array->items[i];
        if ((w->active & ~COIR__OWN) != i + 1)
            coir__damaged("a watcher was overwritten while active");
        if (w->priority < COIR_MINPRI || w->priority > COIR_MAXPRI)
            coir__damaged("a priority was changed while active");
    }
}

static void
verify_pending(const coir_loop *loop)
{
    unsigned count = 0;
    for (int p = 0; p < COIR__PRIORITIES; p++) {
        coir_watcher *const *at = &loop->pending[p];
        for (; *at != NULL; at = &(*at)->pending_next, count++) {
            if (!(*at)->pending || (*at)->pending_at != at)
                coir__damaged("a watcher was overwritten while pending");
            if (coir__priority_index(*at) != p)
                coir__damaged("a priority was changed while pending");
        }
        if (loop->pending[p] != NULL && !(loop->pending_mask & 1U << p))
            coir__damaged("pending_mask");
    }
    if (count != loop->pending_count)
        coir__damaged("pending_count");
}

void
coir_loop_verify(coir_loop *loop)
{
    verify_pending(loop);
    coir__io_verify(loop);
    coir__timers_verify(loop);
    coir__periodics_verify(loop);
    coir__ops_verify(loop);
    int idles = 0;
    for (int p = 0; p < COIR__PRIORITIES; p++) {
        verify_array(&loop->idles[p]);
        idles += loop->idles[p].count;
    }
    if (idles != loop->idle_count)
        coir__damaged("idle_count");
    verify_array(&loop->prepares);
    verify_array(&loop->checks);
    verify_array(&loop->forks);
    verify_array(&loop->cleanups);
    verify_array(&loop->asyncs);
    verify_array(&loop->embeds);
}
