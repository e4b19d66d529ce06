/* embed.c - ev_embed: a loop in another. There is none without
 * EV_MULTIPLICITY. */
#include "case.h"

#if EV_MULTIPLICITY
static struct ev_loop *
embeddable(void)
{
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    need(loop != NULL, "ev_loop_new");
    return loop;
}

CASE(ev_embed_init)
{
    struct ev_loop *inner = embeddable();
    ev_embed w;
    ev_embed_init(&w, say_embed, inner);
    say("other %d, active %d, pending %d, priority %d", w.other == inner,
        ev_is_active(&w), ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_embed_set)
{
    struct ev_loop *inner = embeddable();
    ev_embed w;
    ev_embed_init(&w, NULL, ev_default_loop(0));
    ev_embed_set(&w, inner);
    say("other %d", w.other == inner);
}

ON(io, say_where)
{
    say("%s: %s, in the default loop %d", (const char *)w->data,
        names_of(revents), ev_is_default_loop(loop));
    drain(w->fd);
}

/* Without a callback it is swept by itself. */
CASE(ev_embed_start)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct ev_loop *inner = embeddable();
    int fds[2];
    make_pipe(fds);
    ev_io io;
    ev_io_init(&io, say_where, fds[0], EV_READ);
    NAME(&io, "io");
    ev_io_start(inner, &io);
    ev_embed w;
    ev_embed_init(&w, NULL, inner);
    ev_embed_start(loop, &w);
    say("active %d", !!ev_is_active(&w));
    ev_run(loop, EVRUN_NOWAIT);
    put(fds[1], "x");
    ev_run(loop, EVRUN_ONCE);
    put(fds[1], "x");
    ev_run(loop, EVRUN_ONCE);
}

ON(embed, sweep)
{
    say("embed: %s", names_of(revents));
    ev_embed_sweep(EV_A_ w);
    say("swept");
}

CASE(ev_embed_sweep)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct ev_loop *inner = embeddable();
    int fds[2];
    make_pipe(fds);
    ev_io io;
    ev_io_init(&io, say_where, fds[0], EV_READ);
    NAME(&io, "io");
    ev_io_start(inner, &io);
    ev_embed w;
    ev_embed_init(&w, sweep, inner);
    ev_embed_start(loop, &w);
    ev_run(loop, EVRUN_NOWAIT);
    put(fds[1], "x");
    ev_run(loop, EVRUN_ONCE);
}

CASE(ev_embed_sweep_directly)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct ev_loop *inner = embeddable();
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "inner timer");
    ev_timer_start(inner, &timer);
    ev_embed w;
    ev_embed_init(&w, NULL, inner);
    ev_embed_sweep(loop, &w);
    say("swept");
}

CASE(ev_embed_stop)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct ev_loop *inner = embeddable();
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_io io;
    ev_io_init(&io, say_where, fds[0], EV_READ);
    NAME(&io, "io");
    ev_io_start(inner, &io);
    ev_embed w;
    ev_embed_init(&w, NULL, inner);
    ev_embed_start(loop, &w);
    ev_embed_stop(loop, &w);
    say("active %d, runs on %d", ev_is_active(&w), ev_run(loop, 0));
}

/* It counts as an active watcher. */
CASE(ev_embed_counts)
{
    struct ev_loop *loop = ev_default_loop(0);
    ev_embed w;
    ev_embed_init(&w, NULL, embeddable());
    ev_embed_start(loop, &w);
    say("runs on %d", !!ev_run(loop, EVRUN_NOWAIT));
    ev_embed_stop(loop, &w);
    say("runs on %d", ev_run(loop, EVRUN_NOWAIT));
}

/* A watcher started in the inner loop while the outer one runs. */
static struct ev_loop *inner_loop;
static ev_io late_io;

ON(timer, start_late)
{
    say("timer");
    ev_io_start(inner_loop, &late_io);
}

CASE(ev_embed_watcher_started_later)
{
    struct ev_loop *loop = ev_default_loop(0);
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    inner_loop = embeddable();
    ev_io_init(&late_io, say_where, fds[0], EV_READ);
    NAME(&late_io, "io");
    ev_embed w;
    ev_embed_init(&w, NULL, inner_loop);
    ev_embed_start(loop, &w);
    ev_timer timer;
    ev_timer_init(&timer, start_late, 0.01, 0);
    ev_timer_start(loop, &timer);
    ev_run(loop, EVRUN_ONCE);
    ev_run(loop, EVRUN_NOWAIT);
}

/* The check that the manual advises before one embeds. */
CASE(ev_embed_or_not)
{
    unsigned flags = ev_embeddable_backends() & ev_recommended_backends();
    struct ev_loop *loop = flags ? ev_loop_new(flags | EVFLAG_NOENV) : NULL;
    say("%d",
        loop != NULL && (ev_backend(loop) & ev_embeddable_backends()) != 0);
}
#endif
