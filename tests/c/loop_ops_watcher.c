/* loop_ops_watcher.c - watchers of all types, and their callbacks.
 *
 * Each callback takes a byte of the program, how many operations are to be
 * done within it; when there are none left it ends its run. */
#include "loop_ops_world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- callbacks ----------------------------------------------------------- */

/* The program goes on, for a little. */
static void
act(side *s)
{
    if (ops.draining)
        return;
    if (ops_is_over()) {
        const model_frame *f = s->m.frames + s->m.depth;
        if (s->m.depth > 0 && f[-1].phase != PHASE_INVOKE_ALONE &&
            !(f[-1].flags & COIR_RUN_NOWAIT))
            ops_break_all(s);
        return;
    }
    unsigned steps = ops_byte() % 4;
    if (ops.calls >= MAX_CALLS)
        return;
    ops.calls++;
    while (steps-- > 0 && !ops_is_over())
        ops_step();
    ops.calls--;
}

static void
called(coir_loop *loop, coir_watcher *w, int revents)
{
    int slot = (int)(intptr_t)w->data;
    side *s = ops_side_of(slot);
    model_kind kind = s->m.items[slot].kind;
    ops_note("%s %d is called with %#x", ops_kind_names[kind], slot,
             (unsigned)revents);
    CHECK_EQ(loop, s->loop);
    loop_ops_counted.calls[kind]++;
    model_on_call(&s->m, slot, revents);
    ops_compare();
    act(s);
}

#define CALLBACK(type)                                                        \
    static void on_##type(coir_loop *loop, coir_##type *w, int revents)       \
    {                                                                         \
        called(loop, (coir_watcher *)w, revents);                             \
    }

CALLBACK(io)
CALLBACK(timer)
CALLBACK(periodic)
CALLBACK(idle)
CALLBACK(prepare)
CALLBACK(check)
CALLBACK(fork)
CALLBACK(cleanup)
CALLBACK(async)
CALLBACK(signal)
CALLBACK(stat)
CALLBACK(embed)
CALLBACK(edge)

void
ops_on_once(int revents, void *arg)
{
    int which = (int)(intptr_t)arg % MODEL_ONCES;
    side *s = &ops.sides[(intptr_t)arg / MODEL_ONCES];
    ops_note("once %d is called with %#x", which, (unsigned)revents);
    loop_ops_counted.calls[KIND_NONE]++;
    model_on_once(&s->m, which, revents);
    ops_compare();
    act(s);
}

void
ops_on_hook(coir_loop *loop)
{
    side *s = loop->backend_data;
    int skip = !ops.draining && !ops_is_over() && ops_byte() % 4 == 0;
    ops_note("hook of %d%s", (int)(s - ops.sides),
             skip ? ", which does nothing" : "");
    model_on_hook(&s->m, skip);
    if (!skip)
        coir_loop_invoke_pending(loop);
}

/* --- setting up watchers ------------------------------------------------- */

static int64_t
rule(int64_t offset, int64_t interval, int64_t now)
{
    /* With an interval of 0 or below it does not get on. */
    (void)offset;
    return interval < LAST_TIME ? now + interval : COIR_FOREVER;
}

static int64_t
reschedule(coir_periodic *w, int64_t now)
{
    return rule(w->offset_ns, w->interval_ns, now);
}

static const char *
path_of(int file)
{
    char *path = ops.paths[file];
    if (path[0] == '\0')
        (void)snprintf(path, sizeof ops.paths[file], "%s/%d", coir_test_dir(),
                       file);
    return path;
}

void
ops_set_file(int file, int64_t version)
{
    const char *path = path_of(file);
    ops_note("file %d: version %jd", file, (intmax_t)version);
    ops.world.versions[file] = version;
    if (version == 0) {
        (void)unlink(path);
        return;
    }
    /* The size tells versions apart; times are too coarse. */
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(ftruncate(fd, version), 0);
    CHECK_EQ(close(fd), 0);
}

void
ops_remove_files(void)
{
    for (int i = 0; i < MODEL_FILES; i++)
        if (ops.world.versions[i] != 0)
            (void)unlink(ops.paths[i]);
}

static void
init_io(any *real, model_item *w)
{
    unsigned b = ops_byte();
    w->fd = b % 32 == 31 ? -1 : (int)(b % MODEL_FDS);
    w->events = b % 32 == 30 ? 4 : (int)(b >> 6);
    w->is_new = 1;
    coir_io_init(&real->io, on_io, w->fd < 0 ? -1 : ops_fd_numbers[w->fd],
                 w->events);
}

static void
init_edge(any *real, model_item *w)
{
    unsigned b = ops_byte();
    w->fd = b % 32 == 31 ? -1 : (int)(b % MODEL_FDS);
    coir_edge_init(&real->edge, on_edge,
                   w->fd < 0 ? -1 : ops_fd_numbers[w->fd]);
}

static void
init_periodic(any *real, model_item *w)
{
    unsigned b = ops_byte();
    w->offset = ops.world.wall + ops_duration() % LAST_TIME;
    if (b % 8 == 7)
        w->offset = b & 8 ? INT64_MIN : COIR_FOREVER;
    w->interval = b & 16 ? ops_duration() : 0;
    w->rule = b & 32 ? rule : NULL;
    coir_periodic_init(&real->periodic, on_periodic, w->offset, w->interval,
                       b & 32 ? reschedule : NULL);
}

static void
init_stat(any *real, model_item *w)
{
    w->file = (int)(ops_byte() % MODEL_FILES);
    coir_stat_init(&real->stat, on_stat, path_of(w->file), ops_duration());
}

static void
init_embed(any *real, model_item *w)
{
    w->sweeps = ops_byte() & 1;
    w->fd = EMBED_FD;
    w->real = &real->base;
    coir_embed_init(&real->embed, w->sweeps ? NULL : on_embed,
                    ops.sides[1].loop);
}

void
ops_init_kind(any *real, model_item *w)
{
    switch (w->kind) {
    case KIND_IO:
        init_io(real, w);
        break;
    case KIND_TIMER:
        w->timeout = ops_duration();
        w->repeat = ops_byte() & 1 ? ops_duration() : 0;
        coir_timer_init(&real->timer, on_timer, w->timeout, w->repeat);
        break;
    case KIND_PERIODIC:
        init_periodic(real, w);
        break;
    case KIND_IDLE:
        coir_idle_init(&real->idle, on_idle);
        break;
    case KIND_PREPARE:
        coir_prepare_init(&real->prepare, on_prepare);
        break;
    case KIND_CHECK:
        coir_check_init(&real->check, on_check);
        break;
    case KIND_FORK:
        coir_fork_init(&real->fork, on_fork);
        break;
    case KIND_CLEANUP:
        coir_cleanup_init(&real->cleanup, on_cleanup);
        break;
    case KIND_ASYNC:
        coir_async_init(&real->async, on_async);
        break;
    case KIND_SIGNAL:
        w->signum = (int)(ops_byte() % (MODEL_SIGNALS + 1)) - 1;
        coir_signal_init(&real->signal, on_signal,
                         w->signum < 0 ? SIGKILL : ops_signals[w->signum]);
        break;
    case KIND_STAT:
        init_stat(real, w);
        break;
    case KIND_EDGE:
        init_edge(real, w);
        break;
    default:
        init_embed(real, w);
    }
}

int
ops_start_real(coir_loop *loop, model_kind kind, any *w)
{
    switch (kind) {
    case KIND_IO:
        return coir_io_start(loop, &w->io);
    case KIND_TIMER:
        coir_timer_start(loop, &w->timer);
        return 0;
    case KIND_PERIODIC:
        return coir_periodic_start(loop, &w->periodic);
    case KIND_IDLE:
        return coir_idle_start(loop, &w->idle);
    case KIND_PREPARE:
        return coir_prepare_start(loop, &w->prepare);
    case KIND_CHECK:
        return coir_check_start(loop, &w->check);
    case KIND_FORK:
        return coir_fork_start(loop, &w->fork);
    case KIND_CLEANUP:
        return coir_cleanup_start(loop, &w->cleanup);
    case KIND_ASYNC:
        return coir_async_start(loop, &w->async);
    case KIND_SIGNAL:
        return coir_signal_start(loop, &w->signal);
    case KIND_STAT:
        return coir_stat_start(loop, &w->stat);
    case KIND_EDGE:
        return coir_edge_start(loop, &w->edge);
    default:
        return coir_embed_start(loop, &w->embed);
    }
}

void
ops_stop_real(coir_loop *loop, model_kind kind, any *w)
{
    switch (kind) {
    case KIND_IO:
        coir_io_stop(loop, &w->io);
        break;
    case KIND_TIMER:
        coir_timer_stop(loop, &w->timer);
        break;
    case KIND_PERIODIC:
        coir_periodic_stop(loop, &w->periodic);
        break;
    case KIND_IDLE:
        coir_idle_stop(loop, &w->idle);
        break;
    case KIND_PREPARE:
        coir_prepare_stop(loop, &w->prepare);
        break;
    case KIND_CHECK:
        coir_check_stop(loop, &w->check);
        break;
    case KIND_FORK:
        coir_fork_stop(loop, &w->fork);
        break;
    case KIND_CLEANUP:
        coir_cleanup_stop(loop, &w->cleanup);
        break;
    case KIND_ASYNC:
        coir_async_stop(loop, &w->async);
        break;
    case KIND_SIGNAL:
        coir_signal_stop(loop, &w->signal);
        break;
    case KIND_STAT:
        coir_stat_stop(loop, &w->stat);
        break;
    case KIND_EDGE:
        coir_edge_stop(loop, &w->edge);
        break;
    default:
        coir_embed_stop(loop, &w->embed);
    }
}
