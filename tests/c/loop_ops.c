/* loop_ops.c - programs on watchers and loops, see loop_ops.h.
 *
 * The loops run on a clock and a kernel of our own. The kernel has a few
 * descriptors per loop, which are ready, closed or failing as the program
 * says; a wait reports them, and passes time. In a wait other threads may act
 * too: the program says so in its next byte.
 *
 * Each operation takes what it needs from the string, and each callback and
 * each wait takes a byte; when there are none left, everything comes to an
 * end. So the length of the string bounds what is done.
 *
 * A watcher's memory is allocated by itself, and filled with rubbish when it
 * is freed, which may be as soon as it is neither active nor pending. */
#include "loop_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "loop/backend.h"
#include "loop/internal.h"
#include "loop_model.h"

enum {
    OUTER_SLOTS = 16, /* the others are of the inner loop */
    EMBED_FD = 0,     /* by which the inner loop tells of events */
    STALE = 100000,   /* from a generation to one that never was */
    MAX_CALLS = 10    /* callbacks within callbacks */
};
#define AUDIT_WAIT_NS (100 * COIR_NS_PER_MS)
/* No program gets there. */
#define LAST_TIME (INT64_C(1) << 60)

/* Few enough that they are shared; some need the loop's array to grow. */
static const int fd_numbers[MODEL_FDS] = {60, 61, 62,  63,  70,
                                          90, 99, 130, 260, 300};
static const int signals[MODEL_SIGNALS] = {SIGUSR2, SIGWINCH, SIGURG};
static const char *const kind_names[KINDS] = {
    "once", "io",      "timer", "periodic", "idle", "prepare", "check",
    "fork", "cleanup", "async", "signal",   "stat", "embed",   "edge"};

typedef union any {
    coir_watcher base;
    coir_io io;
    coir_timer timer;
    coir_periodic periodic;
    coir_idle idle;
    coir_prepare prepare;
    coir_check check;
    coir_fork fork;
    coir_cleanup cleanup;
    coir_async async;
    coir_signal signal;
    coir_stat stat;
    coir_embed embed;
    coir_edge edge;
} any;

typedef struct kernel_fd {
    int events; /* watched for; 0: not registered */
    uint32_t generation;
    int is_open;
    int error; /* of modify() */
    int ready;
    int told; /* edge-triggered: is not told again */
} kernel_fd;

typedef struct side {
    coir_loop *loop;
    model m;
    kernel_fd fds[MODEL_FDS];
    int reset_errors; /* how often reset() still fails */
    int stale;        /* the next wait reports a registration that is gone */
} side;

static struct {
    const uint8_t *next;
    const uint8_t *end;
    side sides[2];
    any *slots[MODEL_SLOTS];
    model_world world;
    int calls;    /* callbacks under way */
    int draining; /* callbacks are to do nothing */
    int freeing;  /* the loops go */
    int trace;
    int64_t last_version;
    char dir[40]; /* of files; "": none yet */
    char paths[MODEL_FILES][48];
} o;

loop_ops_counts loop_ops_counted;

/* That a compiler does not leave out before a free(). */
static void *(*const volatile overwrite)(void *, int, size_t) = memset;

static void step(void);

/* --- helpers ------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static void
note(const char *format, ...)
{
    if (!o.trace)
        return;
    va_list args;
    va_start(args, format);
    (void)printf("%*s", 2 * o.calls, "");
    (void)vprintf(format, args);
    (void)printf("\n");
    (void)fflush(stdout);
    va_end(args);
}

static int
is_over(void)
{
    return o.next == o.end;
}

static unsigned
byte(void)
{
    return is_over() ? 0 : *o.next++;
}

static side *
side_of(int slot)
{
    return &o.sides[slot >= OUTER_SLOTS];
}

static model_item *
item_of(int slot)
{
    return &side_of(slot)->m.items[slot];
}

static long
failures(void)
{
    return coir_test_failures(COIR_TEST_ALLOC);
}

/* From nothing to a day, and for ever; many are equal. */
static int64_t
duration(void)
{
    unsigned b = byte();
    if (b >= 0xfe)
        return b == 0xff ? COIR_FOREVER : -5;
    return (int64_t)(b & 15) << ((b >> 4) * 3);
}

static int
fd_index(int fd)
{
    for (int i = 0; i < MODEL_FDS; i++)
        if (fd_numbers[i] == fd)
            return i;
    return -1;
}

/* --- comparing ----------------------------------------------------------- */

static void
compare_watcher(const side *s, int slot)
{
    const model_item *w = &s->m.items[slot];
    const any *real = o.slots[slot];
    CHECK_EQ(real != NULL, w->kind != KIND_NONE);
    if (real == NULL)
        return;
    CHECK_EQ(coir_is_active(&real->base), w->active);
    CHECK_EQ(coir_is_pending(&real->base), w->pending);
    CHECK_EQ(real->base.priority, w->priority);
    if (w->pending)
        CHECK_EQ(real->base.revents, w->revents);
    if (w->kind == KIND_TIMER)
        CHECK_EQ(coir_timer_remaining(s->loop, &real->timer),
                 w->active ? w->deadline - s->m.now : w->timeout);
    if (w->kind == KIND_PERIODIC && w->active)
        CHECK_EQ(real->periodic.at_ns, w->at);
    if (w->kind == KIND_EDGE && w->active)
        CHECK_EQ(real->edge.events, w->events);
    if (w->kind == KIND_ASYNC)
        CHECK_EQ(coir_async_pending(&real->async), w->sent);
    if (w->kind == KIND_STAT && w->active) {
        CHECK_EQ(real->stat.attr.st_nlink != 0, w->version != 0);
        CHECK_EQ(real->stat.attr.st_size, w->version);
    }
}

/* All that can be seen is as the models say. */
static void
compare(void)
{
    for (int i = 0; i < 2; i++) {
        const side *s = &o.sides[i];
        if (s->loop == NULL)
            continue;
        for (int slot = 0; slot < MODEL_SLOTS; slot++)
            if (side_of(slot) == s)
                compare_watcher(s, slot);
        CHECK_EQ(coir_loop_pending_count(s->loop), s->m.pending_count);
        CHECK_EQ(s->loop->active, s->m.active);
        CHECK_EQ(coir_loop_now(s->loop), s->m.now);
        CHECK_EQ(coir_loop_wall_now(s->loop), s->m.wall);
        CHECK_EQ(coir_loop_iteration(s->loop), s->m.iteration);
        unsigned depth = 0;
        for (int f = 0; f < s->m.depth; f++)
            depth += s->m.frames[f].phase != PHASE_INVOKE_ALONE;
        CHECK_EQ(coir_loop_depth(s->loop), depth);
    }
}

static void
verify(const side *s)
{
    compare();
    if (s->loop != NULL)
        coir_loop_verify(s->loop);
}

/* --- clock and kernel ---------------------------------------------------- */

static int64_t
fake_monotonic(void *user)
{
    (void)user;
    return o.world.monotonic;
}

static int64_t
fake_wall(void *user)
{
    (void)user;
    return o.world.wall;
}

/* Returns 0 if that is too much. */
static int
pass_time(int64_t ns)
{
    if (ns > LAST_TIME - o.world.monotonic)
        return 0;
    if (ns > 0) {
        o.world.monotonic += ns;
        o.world.wall += ns;
    }
    return 1;
}

static void
fake_sleep(void *user, int64_t ns)
{
    side *s = user;
    note("sleep %jd", (intmax_t)ns);
    model_on_sleep(&s->m, ns);
    (void)pass_time(ns);
}

static int
fake_init(coir_loop *loop)
{
    loop->backend_data = loop->clock.user;
    return 0;
}

static void
fake_fini(coir_loop *loop)
{
    (void)loop;
}

static void
on_syserr(const char *call)
{
    note("%s failed", call);
}

static int
fake_reset(coir_loop *loop)
{
    side *s = loop->backend_data;
    int err = s->reset_errors > 0 ? EMFILE : 0;
    note("reset: %d", err);
    model_on_reset(&s->m, err);
    if (err != 0)
        s->reset_errors--;
    for (int i = 0; i < MODEL_FDS && err == 0; i++)
        s->fds[i].events = 0;
    return err;
}

static int
fake_modify(coir_loop *loop, int fd, int events)
{
    side *s = loop->backend_data;
    int i = fd_index(fd);
    if (i < 0) {
        CHECK_EQ(fd, loop->wake_fd);
        return 0;
    }
    kernel_fd *k = &s->fds[i];
    int err = events == 0 ? 0 : !k->is_open ? EBADF : k->error;
    note("modify %d %d: %d", fd, events, err);
    model_on_modify(&s->m, i, events, err);
    if (err == 0) {
        k->events = events;
        k->told = 0;
        k->generation = loop->fds[fd].generation;
    }
    return err;
}

static int
fake_audit(coir_loop *loop, int fd)
{
    side *s = loop->backend_data;
    int i = fd_index(fd);
    if (i < 0)
        return 0;
    int err = s->fds[i].events != 0 ? 0 : EBADF;
    model_on_audit(&s->m, i, err);
    if (err != 0)
        note("audit %d: %d", fd, err);
    return err;
}

static int
fake_descriptor(coir_loop *loop)
{
    (void)loop;
    return fd_numbers[EMBED_FD];
}

static int
ready(const side *s, int i)
{
    const side *inner = &o.sides[1];
    int events = s->fds[i].ready & s->fds[i].events;
    if (s->fds[i].events & COIR__REGISTERED_EDGE)
        events &= ~s->fds[i].told;
    if (s == &o.sides[0] && i == EMBED_FD && inner->loop != NULL &&
        (s->fds[i].events & COIR_READ)) {
        int some = inner->m.eventfd;
        for (int j = 0; j < MODEL_FDS; j++)
            some |= ready(inner, j);
        events |= some ? COIR_READ : 0;
    }
    return events;
}

/* Returns whether there was anything to report. */
static int
report(side *s, unsigned from)
{
    int some = 0;
    if (s->m.eventfd) {
        int fd = s->loop->wake_fd;
        note("woken");
        model_on_woken(&s->m);
        coir__io_ready(s->loop, fd, s->loop->fds[fd].generation, COIR_READ);
        some = 1;
    }
    for (unsigned n = 0; n < MODEL_FDS; n++) {
        int i = (int)((from + n) % MODEL_FDS);
        int events = ready(s, i);
        if (events == 0)
            continue;
        note("ready %d %d", fd_numbers[i], events);
        s->fds[i].told |= events;
        model_on_ready(&s->m, i, events);
        coir__io_ready(s->loop, fd_numbers[i], s->fds[i].generation, events);
        some = 1;
    }
    if (s->stale) {
        note("stale");
        model_on_stale(&s->m);
        coir__io_ready(s->loop, fd_numbers[1], STALE, COIR_READ);
        s->stale = 0;
        some = 1;
    }
    return some;
}

static void
send_to(int slot)
{
    if (item_of(slot)->kind != KIND_ASYNC || !item_of(slot)->active)
        return;
    note("send %d", slot);
    model_send(&side_of(slot)->m, slot);
    coir_async_send(side_of(slot)->loop, &o.slots[slot]->async);
}

static void
feed_signal(unsigned s)
{
    s %= MODEL_SIGNALS;
    note("feed_signal %u", s);
    for (int i = 0; i < 2; i++)
        if (o.sides[i].loop != NULL)
            model_signal(&o.sides[i].m, (int)s);
    coir_feed_signal(signals[s]);
}

static void
wake_up(side *s)
{
    note("wakeup");
    model_wakeup(&s->m);
    coir_loop_wakeup(s->loop);
}

/* Ready for what the highest bits say, and for nothing else. */
static void
become_ready(side *s, unsigned b)
{
    kernel_fd *k = &s->fds[b % MODEL_FDS];
    note("fd %d: ready %u", fd_numbers[b % MODEL_FDS], b >> 6);
    k->ready = (int)(b >> 6);
    k->told &= ~k->ready; /* more of it */
}

/* Something happens during a wait, perhaps. Returns what it is to return. */
static int
happen(side *s, unsigned what, int64_t timeout)
{
    switch (what % 8) {
    case 0:
        send_to((int)(byte() % MODEL_SLOTS));
        break;
    case 1:
        feed_signal(byte());
        break;
    case 2:
        wake_up(s);
        break;
    case 3:
        become_ready(s, byte() | 0xc0);
        break;
    case 4:
        note("interrupted");
        (void)pass_time(timeout == COIR_FOREVER ? 1 : timeout / 2);
        model_on_interrupt(&s->m);
        return EINTR;
    default:
        break;
    }
    return 0;
}

static void
break_all(side *s)
{
    note("break all");
    s->m.done = COIR_BREAK_ALL;
    coir_loop_break(s->loop, COIR_BREAK_ALL);
}

/* The edge that watches a descriptor, or NULL. */
static const model_item *
edge_of(const side *s, int fd)
{
    for (int i = 0; i < MODEL_SLOTS; i++)
        if (s->m.items[i].kind == KIND_EDGE && s->m.items[i].active &&
            s->m.items[i].fd == fd)
            return &s->m.items[i];
    return NULL;
}

/* Nothing is to be waited for that cannot come any more. */
static void
check_wait(const side *s, int64_t timeout)
{
    for (int i = 0; i < MODEL_FDS; i++) {
        const kernel_fd *k = &s->fds[i];
        const model_item *edge = edge_of(s, i);
        if (timeout > AUDIT_WAIT_NS && s->loop->backend->audit != NULL &&
            edge == NULL && s->m.fds[i].registered && k->events == 0)
            coir_test_fail(__FILE__, __LINE__,
                           "descriptor %d is closed, and waited for",
                           fd_numbers[i]);
        if (timeout > 0 && edge != NULL && k->ready & k->told & edge->events)
            coir_test_fail(__FILE__, __LINE__,
                           "descriptor %d is ready, and waited for",
                           fd_numbers[i]);
    }
}

static int
fake_wait(coir_loop *loop, int64_t timeout)
{
    side *s = loop->backend_data;
    loop_ops_counted.waits++;
    note("wait of %d: %jd", (int)(s - o.sides), (intmax_t)timeout);
    model_on_wait(&s->m, timeout);
    check_wait(s, timeout);
    verify(s);
    int over = is_over() && !o.draining;
    unsigned what = o.draining ? 7 : byte();
    int err = happen(s, what, timeout);
    int some = report(s, what);
    if (err == 0 && !some && (timeout == COIR_FOREVER || !pass_time(timeout)))
        over = 1;
    if (over) {
        if (err == 0)
            model_on_interrupt(&s->m);
        break_all(s);
        return EINTR;
    }
    return err;
}

#define BACKEND                                                               \
    .flag = COIR_BACKEND_EPOLL, .name = "fake", .embeddable = 1,              \
    .init = fake_init, .fini = fake_fini, .reset = fake_reset,                \
    .modify = fake_modify, .wait = fake_wait, .descriptor = fake_descriptor

/* As poll; as epoll, without edges and with. */
static const coir__backend backends[3] = {
    {BACKEND},
    {BACKEND, .audit = fake_audit},
    {BACKEND, .audit = fake_audit, .edge = 1},
};

/* --- callbacks ----------------------------------------------------------- */

/* The program goes on, for a little. */
static void
act(side *s)
{
    if (o.draining)
        return;
    if (is_over()) {
        const model_frame *f = s->m.frames + s->m.depth;
        if (s->m.depth > 0 && f[-1].phase != PHASE_INVOKE_ALONE &&
            !(f[-1].flags & COIR_RUN_NOWAIT))
            break_all(s);
        return;
    }
    unsigned steps = byte() % 4;
    if (o.calls >= MAX_CALLS)
        return;
    o.calls++;
    while (steps-- > 0 && !is_over())
        step();
    o.calls--;
}

static void
called(coir_loop *loop, coir_watcher *w, int revents)
{
    int slot = (int)(intptr_t)w->data;
    side *s = side_of(slot);
    model_kind kind = s->m.items[slot].kind;
    note("%s %d is called with %#x", kind_names[kind], slot,
         (unsigned)revents);
    CHECK_EQ(loop, s->loop);
    loop_ops_counted.calls[kind]++;
    model_on_call(&s->m, slot, revents);
    compare();
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

static void
on_once(int revents, void *arg)
{
    int which = (int)(intptr_t)arg % MODEL_ONCES;
    side *s = &o.sides[(intptr_t)arg / MODEL_ONCES];
    note("once %d is called with %#x", which, (unsigned)revents);
    loop_ops_counted.calls[KIND_NONE]++;
    model_on_once(&s->m, which, revents);
    compare();
    act(s);
}

static void
on_hook(coir_loop *loop)
{
    side *s = loop->backend_data;
    int skip = !o.draining && !is_over() && byte() % 4 == 0;
    note("hook of %d%s", (int)(s - o.sides),
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
    if (o.dir[0] == '\0') {
        (void)snprintf(o.dir, sizeof o.dir, "/tmp/coir-loop-XXXXXX");
        CHECK(mkdtemp(o.dir) != NULL);
        for (int i = 0; i < MODEL_FILES; i++)
            (void)snprintf(o.paths[i], sizeof o.paths[i], "%s/%d", o.dir, i);
    }
    return o.paths[file];
}

static void
set_file(int file, int64_t version)
{
    const char *path = path_of(file);
    note("file %d: version %jd", file, (intmax_t)version);
    o.world.versions[file] = version;
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

static void
remove_files(void)
{
    if (o.dir[0] == '\0')
        return;
    for (int i = 0; i < MODEL_FILES; i++)
        (void)unlink(o.paths[i]);
    (void)rmdir(o.dir);
}

static void
init_io(any *real, model_item *w)
{
    unsigned b = byte();
    w->fd = b % 32 == 31 ? -1 : (int)(b % MODEL_FDS);
    w->events = b % 32 == 30 ? 4 : (int)(b >> 6);
    w->is_new = 1;
    coir_io_init(&real->io, on_io, w->fd < 0 ? -1 : fd_numbers[w->fd],
                 w->events);
}

static void
init_edge(any *real, model_item *w)
{
    unsigned b = byte();
    w->fd = b % 32 == 31 ? -1 : (int)(b % MODEL_FDS);
    coir_edge_init(&real->edge, on_edge, w->fd < 0 ? -1 : fd_numbers[w->fd]);
}

static void
init_periodic(any *real, model_item *w)
{
    unsigned b = byte();
    w->offset = o.world.wall + duration() % LAST_TIME;
    if (b % 8 == 7)
        w->offset = b & 8 ? INT64_MIN : COIR_FOREVER;
    w->interval = b & 16 ? duration() : 0;
    w->rule = b & 32 ? rule : NULL;
    coir_periodic_init(&real->periodic, on_periodic, w->offset, w->interval,
                       b & 32 ? reschedule : NULL);
}

static void
init_stat(any *real, model_item *w)
{
    w->file = (int)(byte() % MODEL_FILES);
    coir_stat_init(&real->stat, on_stat, path_of(w->file), duration());
}

static void
init_embed(any *real, model_item *w)
{
    w->sweeps = byte() & 1;
    w->fd = EMBED_FD;
    w->real = &real->base;
    coir_embed_init(&real->embed, w->sweeps ? NULL : on_embed,
                    o.sides[1].loop);
}

static void
init_kind(any *real, model_item *w)
{
    switch (w->kind) {
    case KIND_IO:
        init_io(real, w);
        break;
    case KIND_TIMER:
        w->timeout = duration();
        w->repeat = byte() & 1 ? duration() : 0;
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
        w->signum = (int)(byte() % (MODEL_SIGNALS + 1)) - 1;
        coir_signal_init(&real->signal, on_signal,
                         w->signum < 0 ? SIGKILL : signals[w->signum]);
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

static int
start_real(coir_loop *loop, model_kind kind, any *w)
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

static void
stop_real(coir_loop *loop, model_kind kind, any *w)
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

/* --- operations on a watcher --------------------------------------------- */

static void
op_init(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    model_kind kind = (model_kind)(1 + byte() % (KINDS - 1));
    if (w->active || w->pending)
        return;
    if (kind == KIND_EMBED && (s != &o.sides[0] || o.sides[1].loop == NULL))
        kind = KIND_IO;
    if (o.slots[slot] == NULL) {
        o.slots[slot] = malloc(sizeof(any));
        CHECK(o.slots[slot] != NULL);
        memset(o.slots[slot], 0xdb, sizeof(any));
    }
    any *real = o.slots[slot];
    *w = (model_item){.kind = kind};
    init_kind(real, w);
    unsigned b = byte();
    w->priority = b >= 0xfe ? (b == 0xfe ? 99 : -99) : (int)(b % 5) - 2;
    real->base.priority = w->priority;
    real->base.data = (void *)(intptr_t)slot;
    note("%d: init %s, priority %d", slot, kind_names[kind], w->priority);
}

/* What a start is to return, but for want of memory. */
static int
expected_error(const side *s, const model_item *w)
{
    const side *other = &o.sides[s == &o.sides[0]];
    if (w->active)
        return 0;
    if (w->kind == KIND_IO && (w->fd < 0 || w->events == 4))
        return COIR_EINVAL;
    if (w->kind == KIND_EDGE && w->fd < 0)
        return COIR_EINVAL;
    if (w->kind == KIND_PERIODIC && w->rule == NULL && w->interval < 0)
        return COIR_EINVAL;
    if (w->kind == KIND_SIGNAL && w->signum < 0)
        return COIR_EINVAL;
    if (w->kind == KIND_SIGNAL && other->loop != NULL)
        for (int i = 0; i < MODEL_SLOTS; i++)
            if (other->m.items[i].kind == KIND_SIGNAL &&
                other->m.items[i].active &&
                other->m.items[i].signum == w->signum)
                return COIR_EBUSY;
    return 0;
}

static void
op_start(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    any *real = o.slots[slot];
    if (w->kind == KIND_EDGE && w->fd >= 0 &&
        (edge_of(s, w->fd) != NULL || !s->fds[w->fd].is_open))
        return; /* it is the owner's, who knows better */
    int expected = expected_error(s, w);
    long before = failures();
    int err = start_real(s->loop, w->kind, real);
    note("%d: start %s: %d", slot, kind_names[w->kind], err);
    w->priority = w->active ? w->priority : real->base.priority;
    if (failures() > before) {
        CHECK_EQ(err, COIR_ENOMEM);
        model_start_failed(&s->m, slot);
        return;
    }
    CHECK_EQ(err, expected);
    if (err < 0)
        return;
    if (w->kind == KIND_STAT && !w->active) /* its default is the loop's */
        w->interval = real->stat.timer.repeat_ns;
    model_start(&s->m, slot);
}

static void
op_init_and_start(side *s, int slot)
{
    op_init(s, slot);
    if (o.slots[slot] != NULL)
        op_start(s, slot);
}

static void
op_stop(side *s, int slot)
{
    note("%d: stop", slot);
    model_stop(&s->m, slot);
    stop_real(s->loop, s->m.items[slot].kind, o.slots[slot]);
}

static void
op_free(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    if (w->active || w->pending)
        return;
    note("%d: free", slot);
    overwrite(o.slots[slot], 0xdb, sizeof(any));
    free(o.slots[slot]);
    o.slots[slot] = NULL;
    w->kind = KIND_NONE;
}

static void
op_stop_and_free(side *s, int slot)
{
    op_stop(s, slot);
    op_free(s, slot);
}

static int
some_events(void)
{
    static const int events[] = {
        COIR_READ,   COIR_WRITE, COIR_READ | COIR_WRITE,
        COIR_CUSTOM, COIR_NONE,  COIR_ERROR,
        COIR_TIMER,  COIR_ASYNC};
    return events[byte() % 8];
}

static void
op_feed(side *s, int slot)
{
    if (s->m.items[slot].sweeps)
        return; /* has no callback */
    int events = some_events();
    note("%d: feed %#x", slot, (unsigned)events);
    model_feed(&s->m, slot, events);
    coir_feed_event(s->loop, o.slots[slot], events);
}

static void
op_clear(side *s, int slot)
{
    note("%d: clear", slot);
    CHECK_EQ(coir_clear_pending(s->loop, o.slots[slot]),
             model_clear(&s->m, slot));
}

static void
op_invoke(side *s, int slot)
{
    if (s->m.items[slot].sweeps || o.calls >= MAX_CALLS)
        return;
    int events = some_events();
    note("%d: invoke %#x", slot, (unsigned)events);
    model_invoke(&s->m, slot, events);
    coir_invoke(s->loop, o.slots[slot], events);
}

static void
op_set_priority(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    if (w->active || w->pending)
        return;
    w->priority = (int)(byte() % 5) - 2;
    o.slots[slot]->base.priority = w->priority;
}

/* What only some types have; `more` by different bytes. */
static void
op_change(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    any *real = o.slots[slot];
    switch (w->kind) {
    case KIND_IO: {
        int events = (int)(byte() % 4);
        note("%d: modify %d", slot, events);
        model_modify(&s->m, slot, events);
        coir_io_modify(s->loop, &real->io, events);
        break;
    }
    case KIND_TIMER:
        w->repeat = real->timer.repeat_ns = duration();
        note("%d: repeat %jd", slot, (intmax_t)w->repeat);
        break;
    case KIND_PERIODIC:
        w->interval = real->periodic.interval_ns = duration();
        note("%d: interval %jd", slot, (intmax_t)w->interval);
        break;
    case KIND_EDGE: {
        int events = (int)(byte() % 4);
        note("%d: cancel %d", slot, events);
        model_edge_cancel(&s->m, slot, events);
        coir_edge_cancel(s->loop, &real->edge, events);
        break;
    }
    case KIND_STAT:
        note("%d: stat", slot);
        w->version = o.world.versions[w->file];
        coir_stat_stat(s->loop, &real->stat);
        break;
    default:
        break;
    }
}

static void
again_periodic(side *s, int slot)
{
    int expected =
        s->m.items[slot].rule == NULL && s->m.items[slot].interval < 0
            ? COIR_EINVAL
            : 0;
    long before = failures();
    int err = coir_periodic_again(s->loop, &o.slots[slot]->periodic);
    note("%d: again: %d", slot, err);
    CHECK_EQ(err, failures() > before ? COIR_ENOMEM : expected);
    if (err == 0)
        model_periodic_again(&s->m, slot);
}

static void
sweep(side *s, int slot)
{
    side *inner = &o.sides[1];
    if (!model_has_room(&inner->m) || o.freeing)
        return;
    note("%d: sweep", slot);
    model_run(&inner->m, COIR_RUN_NOWAIT);
    coir_embed_sweep(s->loop, &o.slots[slot]->embed);
    model_ran(&inner->m);
}

/* Do what it becomes ready for until that would block, and wait. */
static void
wait_for_edge(side *s, int slot)
{
    const model_item *w = &s->m.items[slot];
    int events = (int)(byte() % 4);
    if (!w->active)
        return;
    s->fds[w->fd].ready &= ~events;
    int expected = model_edge_wait(&s->m, slot, events);
    note("%d: wait for %d: %d", slot, events, expected);
    CHECK_EQ(coir_edge_wait(s->loop, &o.slots[slot]->edge, events), expected);
}

static void
op_again(side *s, int slot)
{
    switch (s->m.items[slot].kind) {
    case KIND_TIMER:
        note("%d: again", slot);
        model_again(&s->m, slot);
        coir_timer_again(s->loop, &o.slots[slot]->timer);
        break;
    case KIND_PERIODIC:
        again_periodic(s, slot);
        break;
    case KIND_EMBED:
        sweep(s, slot);
        break;
    case KIND_EDGE:
        wait_for_edge(s, slot);
        break;
    case KIND_ASYNC:
        send_to(slot);
        break;
    default:
        break;
    }
}

static void
op_defer(side *s, int slot)
{
    if (s->m.items[slot].kind != KIND_TIMER)
        return;
    int64_t timeout = duration();
    note("%d: defer %jd", slot, (intmax_t)timeout);
    model_defer(&s->m, slot, timeout);
    coir_timer_defer(s->loop, &o.slots[slot]->timer, timeout);
}

static void
close_fd(kernel_fd *k)
{
    k->is_open = k->events = k->told = 0;
}

static void
op_close_edge(side *s, int slot)
{
    const model_item *w = &s->m.items[slot];
    if (w->kind != KIND_EDGE || w->fd < 0 ||
        (!w->active && edge_of(s, w->fd) != NULL))
        return;
    note("%d: close", slot);
    model_edge_close(&s->m, slot);
    /* There is no such descriptor really. */
    CHECK_EQ(coir_edge_close(s->loop, &o.slots[slot]->edge), -1);
    model_edge_closed(&s->m);
    close_fd(&s->fds[w->fd]);
}

/* --- operations on a loop ------------------------------------------------ */

static void
op_run(side *s, unsigned b)
{
    static const int flags[] = {0, COIR_RUN_NOWAIT, COIR_RUN_ONCE,
                                COIR_RUN_NOWAIT | COIR_RUN_ONCE};
    if (!model_has_room(&s->m) || o.freeing)
        return;
    note("run %d of %d", flags[b % 4], (int)(s - o.sides));
    model_run(&s->m, flags[b % 4]);
    int active = coir_loop_run(s->loop, flags[b % 4]);
    model_ran(&s->m);
    CHECK_EQ(active, s->m.active);
    note("ran %d", (int)(s - o.sides));
}

static void
op_invoke_pending(side *s, unsigned b)
{
    (void)b;
    if (!model_has_room(&s->m))
        return;
    note("invoke_pending of %d", (int)(s - o.sides));
    model_invoke_pending(&s->m);
    coir_loop_invoke_pending(s->loop);
    model_invoked_pending(&s->m);
}

static void
op_break(side *s, unsigned b)
{
    note("break %u", b % 3);
    s->m.done = (int)(b % 3);
    coir_loop_break(s->loop, (int)(b % 3));
}

static void
op_ref(side *s, unsigned b)
{
    note("%s", b & 1 ? "ref" : "unref");
    s->m.active += b & 1 ? 1 : -1;
    if (b & 1)
        coir_loop_ref(s->loop);
    else
        coir_loop_unref(s->loop);
}

static void
op_update(side *s, unsigned b)
{
    note("update %u", b % 3);
    switch (b % 3) {
    case 0:
        model_time_update(&s->m);
        coir_loop_now_update(s->loop);
        break;
    case 1:
        model_suspend(&s->m);
        coir_loop_suspend(s->loop);
        break;
    default:
        model_resume(&s->m);
        coir_loop_resume(s->loop);
    }
}

static void
op_collect(side *s, unsigned b)
{
    int64_t ns = duration();
    if (ns < 0 || ns > COIR_NS_PER_S)
        ns = 0;
    note("collect %u %jd", b & 1, (intmax_t)ns);
    if (b & 1) {
        s->m.io_collect = ns;
        coir_loop_set_io_collect(s->loop, ns);
    }
    else {
        s->m.timer_collect = ns;
        coir_loop_set_timer_collect(s->loop, ns);
    }
}

static void
op_hook(side *s, unsigned b)
{
    note("hook %u", b & 1);
    s->m.hook = b & 1;
    coir_loop_set_invoke_pending(s->loop, b & 1 ? on_hook : NULL);
}

static void
op_fork(side *s, unsigned b)
{
    note("fork");
    s->m.reset = COIR__RESET_FORK;
    s->reset_errors = b % 4 == 3 ? 2 : 0;
    coir_loop_fork(s->loop);
}

static void
op_stale(side *s, unsigned b)
{
    (void)b;
    s->stale = 1;
}

static void
op_once(side *s, unsigned b)
{
    int which = model_once_room(&s->m);
    int fd = b % 16 < MODEL_FDS ? (int)(b % 16) : -1;
    int64_t timeout = duration();
    if (which < 0 || o.freeing || timeout == COIR_FOREVER)
        return;
    long before = failures();
    int events = 1 + (int)((b >> 4) % 3);
    int arg = (int)(s - o.sides) * MODEL_ONCES + which;
    int err = coir_once(s->loop, fd < 0 ? -1 : fd_numbers[fd], events, timeout,
                        on_once, (void *)(intptr_t)arg);
    note("once %d: fd %d, events %d, timeout %jd: %d", which, fd, events,
         (intmax_t)timeout, err);
    if (failures() > before)
        CHECK_EQ(err, COIR_ENOMEM);
    else if (fd < 0 && timeout < 0)
        CHECK_EQ(err, COIR_EINVAL);
    else {
        CHECK_EQ(err, 0);
        model_once(&s->m, which, fd, events, timeout);
    }
}

static struct {
    unsigned seen; /* slots; a bit each */
    unsigned stops;
} walk;

static void
on_walk(coir_loop *loop, int type, void *w)
{
    static const int types[KINDS] = {0,
                                     COIR_READ,
                                     COIR_TIMER,
                                     COIR_PERIODIC,
                                     COIR_IDLE,
                                     COIR_PREPARE,
                                     COIR_CHECK,
                                     COIR_FORK,
                                     COIR_CLEANUP,
                                     COIR_ASYNC,
                                     COIR_SIGNAL,
                                     COIR_STAT,
                                     COIR_EMBED,
                                     0};
    int slot = (int)(intptr_t)((coir_watcher *)w)->data;
    side *s = side_of(slot);
    CHECK_EQ(loop, s->loop);
    CHECK(!(walk.seen & 1U << slot));
    walk.seen |= 1U << slot;
    CHECK_EQ(type, types[s->m.items[slot].kind]);
    if (walk.stops & 1U << slot % 8) {
        model_stop(&s->m, slot);
        stop_real(loop, s->m.items[slot].kind, o.slots[slot]);
    }
}

static void
op_walk(side *s, unsigned b)
{
    note("walk, stops %#x", b);
    unsigned active = 0;
    for (int i = 0; i < MODEL_SLOTS; i++)
        active |= s->m.items[i].active && s->m.items[i].kind != KIND_EDGE
                      ? 1U << i
                      : 0;
    walk.seen = 0;
    walk.stops = b;
    coir_loop_walk(s->loop, -1, on_walk);
    CHECK_EQ(walk.seen, active);
}

/* --- operations on the world --------------------------------------------- */

static void
op_feed_fd(side *s, unsigned b)
{
    int fd = (int)(b % MODEL_FDS);
    note("feed fd %d, %u", fd_numbers[fd], b >> 6);
    model_feed_fd(&s->m, fd, (int)(b >> 6));
    coir_feed_fd_event(s->loop, fd_numbers[fd], (int)(b >> 6));
}

static void
op_feed_signal(side *s, unsigned b)
{
    int signum = (int)(b % MODEL_SIGNALS);
    if (b & 0x80) {
        feed_signal(b & 0x7f);
        return;
    }
    note("feed_signal_event %d", signum);
    model_signal_event(&s->m, signum);
    coir_feed_signal_event(s->loop, signals[signum]);
}

static void
op_wake(side *s, unsigned b)
{
    (void)b;
    wake_up(s);
}

static void
op_ready(side *s, unsigned b)
{
    become_ready(s, b);
}

static void
op_fd_error(side *s, unsigned b)
{
    static const int errors[] = {0, EPERM, EPERM, ENOMEM, EBADF, ENOENT};
    int err = errors[(b >> 4) % 6];
    note("fd %d: error %d", fd_numbers[b % MODEL_FDS], err);
    s->fds[b % MODEL_FDS].error = err;
}

/* Close, close and open another file; or open. */
static void
op_close(side *s, unsigned b)
{
    kernel_fd *k = &s->fds[b % MODEL_FDS];
    if (edge_of(s, (int)(b % MODEL_FDS)) != NULL)
        return;
    note("fd %d: %s", fd_numbers[b % MODEL_FDS],
         b & 0x80   ? "open"
         : b & 0x40 ? "close, open"
                    : "close");
    if (!(b & 0x80))
        close_fd(k);
    k->is_open = (b & 0xc0) != 0;
}

static void
op_time(side *s, unsigned b)
{
    (void)s;
    int64_t ns = (int64_t)(b & 15) << ((b >> 4) * 3);
    note("time %jd", (intmax_t)ns);
    (void)pass_time(ns);
}

static void
op_jump(side *s, unsigned b)
{
    (void)s;
    int64_t ns = (int64_t)(b & 7) << ((b >> 4) * 3);
    note("jump %s%jd", b & 8 ? "-" : "", (intmax_t)ns);
    if (b & 8)
        ns = -ns;
    if (o.world.wall + ns < 2 * LAST_TIME && o.world.wall + ns > -LAST_TIME)
        o.world.wall += ns;
}

static void
op_file(side *s, unsigned b)
{
    (void)s;
    set_file((int)(b % MODEL_FILES), b & 0x80 ? 0 : ++o.last_version);
}

static void
op_fail_alloc(side *s, unsigned b)
{
    (void)s;
    note("allocation %u fails", b % 4);
    coir_test_fail_alloc((long)(b % 4));
}

/* --- the program --------------------------------------------------------- */

typedef struct operation {
    int weight;
    void (*on_watcher)(side *s, int slot);
    void (*on_loop)(side *s, unsigned b);
} operation;

static const operation operations[] = {
    {6, op_init_and_start, NULL},
    {1, op_init, NULL},
    {3, op_start, NULL},
    {3, op_stop, NULL},
    {1, op_free, NULL},
    {2, op_stop_and_free, NULL},
    {2, op_feed, NULL},
    {1, op_clear, NULL},
    {1, op_invoke, NULL},
    {1, op_set_priority, NULL},
    {2, op_change, NULL},
    {3, op_again, NULL},
    {2, op_defer, NULL},
    {1, op_close_edge, NULL},
    {6, NULL, op_run},
    {1, NULL, op_invoke_pending},
    {1, NULL, op_break},
    {1, NULL, op_ref},
    {1, NULL, op_update},
    {1, NULL, op_collect},
    {1, NULL, op_hook},
    {1, NULL, op_fork},
    {1, NULL, op_stale},
    {1, NULL, op_once},
    {1, NULL, op_walk},
    {1, NULL, op_feed_fd},
    {1, NULL, op_feed_signal},
    {1, NULL, op_wake},
    {3, NULL, op_ready},
    {2, NULL, op_fd_error},
    {1, NULL, op_close},
    {2, NULL, op_time},
    {1, NULL, op_jump},
    {1, NULL, op_file},
    {1, NULL, op_fail_alloc},
};

const size_t loop_ops_count = sizeof operations / sizeof *operations;

static size_t
pick(unsigned b)
{
    int total = 0;
    for (size_t i = 0; i < loop_ops_count; i++)
        total += operations[i].weight;
    int left = (int)b % total;
    size_t i = 0;
    while (left >= operations[i].weight)
        left -= operations[i++].weight;
    return i;
}

/* One operation. */
static void
step(void)
{
    size_t i = pick(byte());
    unsigned b = byte();
    loop_ops_counted.operations[i]++;
    const operation *op = &operations[i];
    int slot = (int)(b % MODEL_SLOTS);
    side *s = op->on_watcher != NULL ? side_of(slot) : &o.sides[b >> 5 & 1];
    if (s->loop == NULL)
        s = &o.sides[s == &o.sides[0]];
    if (op->on_watcher == NULL)
        op->on_loop(s, byte());
    else if (s == side_of(slot) &&
             (o.slots[slot] != NULL || op->on_watcher == op_init ||
              op->on_watcher == op_init_and_start))
        op->on_watcher(s, slot);
    verify(s);
}

static void
open_side(side *s, const coir__backend *backend)
{
    coir__clock clock = {fake_monotonic, fake_wall, fake_sleep, s};
    for (int i = 0; i < MODEL_FDS; i++)
        s->fds[i].is_open = 1;
    CHECK_EQ(coir__loop_new_with(&s->loop,
                                 COIR_LOOP_NOENV | COIR_LOOP_NOINOTIFY,
                                 backend, &clock),
             0);
    model_init(&s->m, &o.world);
    s->m.can_edge = backend->edge;
}

static int
has_onces(const side *s)
{
    for (int i = ITEM_ONCE; i < ITEM_WAKE; i++)
        if (s->m.items[i].active || s->m.items[i].pending)
            return 1;
    return 0;
}

/* They cannot be taken back: let all of them happen. */
static void
drain_onces(side *s)
{
    for (int n = 0; s->loop != NULL && has_onces(s); n++) {
        CHECK(n < 10);
        for (int i = 0; i < MODEL_FDS; i++)
            s->fds[i] = (kernel_fd){.is_open = 1,
                                    .ready = 3,
                                    .events = s->fds[i].events,
                                    .generation = s->fds[i].generation};
        o.world.monotonic += LAST_TIME / 16;
        o.world.wall += LAST_TIME / 16;
        op_run(s, 1);
    }
}

static void
close_side(side *s, int stop)
{
    if (s->loop == NULL)
        return;
    for (int i = 0; i < MODEL_SLOTS && stop; i++)
        if (side_of(i) == s && o.slots[i] != NULL)
            op_stop(s, i);
    verify(s);
    note("free the loop");
    model_free(&s->m);
    coir_loop_free(s->loop);
    model_invoked_pending(&s->m);
    s->loop = NULL;
    for (int i = 0; i < MODEL_SLOTS; i++)
        if (side_of(i) == s) {
            free(o.slots[i]);
            o.slots[i] = NULL;
        }
}

void
loop_ops_run(const uint8_t *program, size_t len)
{
    memset(&o, 0, sizeof o);
    o.next = program;
    o.end = program + len;
    o.trace = getenv("COIR_TEST_TRACE") != NULL;
    o.world.monotonic = 1000 * COIR_NS_PER_S;
    o.world.wall = INT64_C(1000000000) * COIR_NS_PER_S;
    coir_set_syserr(on_syserr);
    long before = failures();

    unsigned how = byte();
    open_side(&o.sides[0], &backends[(how & 3) % 3]);
    if (how & 4)
        open_side(&o.sides[1], &backends[(how >> 4 & 3) % 3]);
    if (o.sides[1].loop != NULL) {
        o.sides[0].m.inner = &o.sides[1].m;
        o.sides[1].m.outer = &o.sides[0].m;
    }
    while (!is_over() && byte() != 0xff) /* 0xff: keep some for the end */
        step();

    coir_test_fail_none();
    o.draining = 1;
    for (int i = 0; i < 2; i++) {
        if (o.sides[i].loop == NULL)
            continue;
        op_hook(&o.sides[i], 0);
        drain_onces(&o.sides[i]);
    }
    o.draining = 0;
    o.freeing = 1;
    close_side(&o.sides[0], how & 8);
    close_side(&o.sides[1], how & 8);
    coir_test_fail_none();
    coir_set_syserr(NULL);
    remove_files();
    loop_ops_counted.failures += failures() - before;
}
