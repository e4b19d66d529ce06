/* loop_ops.c - programs on watchers and loops, see loop_ops.h.
 *
 * Each operation takes what it needs from the string, and each callback and
 * each wait takes a byte; when there are none left, everything comes to an
 * end. So the length of the string bounds what is done.
 *
 * A watcher's memory is allocated by itself, and filled with rubbish when it
 * is freed, which may be as soon as it is neither active nor pending. */
#include "loop_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loop_ops_world.h"

/* That a compiler does not leave out before a free(). */
static void *(*const volatile overwrite)(void *, int, size_t) = memset;

/* --- operations on a watcher --------------------------------------------- */

static void
op_init(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    model_kind kind = (model_kind)(1 + ops_byte() % (KINDS - 1));
    if (w->active || w->pending)
        return;
    if (kind == KIND_EMBED &&
        (s != &ops.sides[0] || ops.sides[1].loop == NULL))
        kind = KIND_IO;
    if (ops.slots[slot] == NULL) {
        ops.slots[slot] = malloc(sizeof(any));
        CHECK(ops.slots[slot] != NULL);
        memset(ops.slots[slot], 0xdb, sizeof(any));
    }
    any *real = ops.slots[slot];
    *w = (model_item){.kind = kind};
    ops_init_kind(real, w);
    unsigned b = ops_byte();
    w->priority = b >= 0xfe ? (b == 0xfe ? 99 : -99) : (int)(b % 5) - 2;
    real->base.priority = w->priority;
    real->base.data = (void *)(intptr_t)slot;
    ops_note("%d: init %s, priority %d", slot, ops_kind_names[kind],
             w->priority);
}

/* What a start is to return, but for want of memory. */
static int
expected_error(const side *s, const model_item *w)
{
    const side *other = &ops.sides[s == &ops.sides[0]];
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
    any *real = ops.slots[slot];
    if (w->kind == KIND_EDGE && w->fd >= 0 &&
        (ops_edge_of(s, w->fd) != NULL || !s->fds[w->fd].is_open))
        return; /* it is the owner's, who knows better */
    int expected = expected_error(s, w);
    long before = ops_failures();
    int err = ops_start_real(s->loop, w->kind, real);
    ops_note("%d: start %s: %d", slot, ops_kind_names[w->kind], err);
    w->priority = w->active ? w->priority : real->base.priority;
    if (ops_failures() > before) {
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
    if (ops.slots[slot] != NULL)
        op_start(s, slot);
}

static void
op_stop(side *s, int slot)
{
    ops_note("%d: stop", slot);
    model_stop(&s->m, slot);
    ops_stop_real(s->loop, s->m.items[slot].kind, ops.slots[slot]);
}

static void
op_free(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    if (w->active || w->pending)
        return;
    ops_note("%d: free", slot);
    overwrite(ops.slots[slot], 0xdb, sizeof(any));
    free(ops.slots[slot]);
    ops.slots[slot] = NULL;
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
    return events[ops_byte() % 8];
}

static void
op_feed(side *s, int slot)
{
    if (s->m.items[slot].sweeps)
        return; /* has no callback */
    int events = some_events();
    ops_note("%d: feed %#x", slot, (unsigned)events);
    model_feed(&s->m, slot, events);
    coir_feed_event(s->loop, ops.slots[slot], events);
}

static void
op_clear(side *s, int slot)
{
    ops_note("%d: clear", slot);
    CHECK_EQ(coir_clear_pending(s->loop, ops.slots[slot]),
             model_clear(&s->m, slot));
}

static void
op_invoke(side *s, int slot)
{
    if (s->m.items[slot].sweeps || ops.calls >= MAX_CALLS)
        return;
    int events = some_events();
    ops_note("%d: invoke %#x", slot, (unsigned)events);
    model_invoke(&s->m, slot, events);
    coir_invoke(s->loop, ops.slots[slot], events);
}

static void
op_set_priority(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    if (w->active || w->pending)
        return;
    w->priority = (int)(ops_byte() % 5) - 2;
    ops.slots[slot]->base.priority = w->priority;
}

/* What only some types have; `more` by different bytes. */
static void
op_change(side *s, int slot)
{
    model_item *w = &s->m.items[slot];
    any *real = ops.slots[slot];
    switch (w->kind) {
    case KIND_IO: {
        int events = (int)(ops_byte() % 4);
        ops_note("%d: modify %d", slot, events);
        model_modify(&s->m, slot, events);
        coir_io_modify(s->loop, &real->io, events);
        break;
    }
    case KIND_TIMER:
        w->repeat = real->timer.repeat_ns = ops_duration();
        ops_note("%d: repeat %jd", slot, (intmax_t)w->repeat);
        break;
    case KIND_PERIODIC:
        w->interval = real->periodic.interval_ns = ops_duration();
        ops_note("%d: interval %jd", slot, (intmax_t)w->interval);
        break;
    case KIND_EDGE: {
        int events = (int)(ops_byte() % 4);
        ops_note("%d: cancel %d", slot, events);
        model_edge_cancel(&s->m, slot, events);
        coir_edge_cancel(s->loop, &real->edge, events);
        break;
    }
    case KIND_STAT:
        ops_note("%d: stat", slot);
        w->version = ops.world.versions[w->file];
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
    long before = ops_failures();
    int err = coir_periodic_again(s->loop, &ops.slots[slot]->periodic);
    ops_note("%d: again: %d", slot, err);
    CHECK_EQ(err, ops_failures() > before ? COIR_ENOMEM : expected);
    if (err == 0)
        model_periodic_again(&s->m, slot);
}

static void
sweep(side *s, int slot)
{
    side *inner = &ops.sides[1];
    if (!model_has_room(&inner->m) || ops.freeing)
        return;
    ops_note("%d: sweep", slot);
    model_run(&inner->m, COIR_RUN_NOWAIT);
    coir_embed_sweep(s->loop, &ops.slots[slot]->embed);
    model_ran(&inner->m);
}

/* Do what it becomes ready for until that would block, and wait. */
static void
wait_for_edge(side *s, int slot)
{
    const model_item *w = &s->m.items[slot];
    int events = (int)(ops_byte() % 4);
    if (!w->active)
        return;
    s->fds[w->fd].ready &= ~events;
    int expected = model_edge_wait(&s->m, slot, events);
    ops_note("%d: wait for %d: %d", slot, events, expected);
    CHECK_EQ(coir_edge_wait(s->loop, &ops.slots[slot]->edge, events),
             expected);
}

static void
op_again(side *s, int slot)
{
    switch (s->m.items[slot].kind) {
    case KIND_TIMER:
        ops_note("%d: again", slot);
        model_again(&s->m, slot);
        coir_timer_again(s->loop, &ops.slots[slot]->timer);
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
        ops_send_to(slot);
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
    int64_t timeout = ops_duration();
    ops_note("%d: defer %jd", slot, (intmax_t)timeout);
    model_defer(&s->m, slot, timeout);
    coir_timer_defer(s->loop, &ops.slots[slot]->timer, timeout);
}

/* A backend that audits has registered the file, which is gone now; others
 * go by its number. */
static void
close_fd(side *s, int fd)
{
    kernel_fd *k = &s->fds[fd];
    k->is_open = k->told = 0;
    if (s->loop->backend->audit != NULL)
        k->events = 0;
}

static void
op_close_edge(side *s, int slot)
{
    const model_item *w = &s->m.items[slot];
    if (w->kind != KIND_EDGE || w->fd < 0 ||
        (!w->active && ops_edge_of(s, w->fd) != NULL))
        return;
    ops_note("%d: close", slot);
    model_edge_close(&s->m, slot);
    /* There is no such descriptor really. */
    CHECK_EQ(coir_edge_close(s->loop, &ops.slots[slot]->edge), -1);
    model_edge_closed(&s->m);
    close_fd(s, w->fd);
}

/* --- operations on a loop ------------------------------------------------ */

static void
op_run(side *s, unsigned b)
{
    static const int flags[] = {0, COIR_RUN_NOWAIT, COIR_RUN_ONCE,
                                COIR_RUN_NOWAIT | COIR_RUN_ONCE};
    if (!model_has_room(&s->m) || ops.freeing)
        return;
    ops_note("run %d of %d", flags[b % 4], (int)(s - ops.sides));
    model_run(&s->m, flags[b % 4]);
    int active = coir_loop_run(s->loop, flags[b % 4]);
    model_ran(&s->m);
    CHECK_EQ(active, s->m.active);
    ops_note("ran %d", (int)(s - ops.sides));
}

static void
op_invoke_pending(side *s, unsigned b)
{
    (void)b;
    if (!model_has_room(&s->m))
        return;
    ops_note("invoke_pending of %d", (int)(s - ops.sides));
    model_invoke_pending(&s->m);
    coir_loop_invoke_pending(s->loop);
    model_invoked_pending(&s->m);
}

static void
op_break(side *s, unsigned b)
{
    ops_note("break %u", b % 3);
    s->m.done = (int)(b % 3);
    coir_loop_break(s->loop, (int)(b % 3));
}

static void
op_ref(side *s, unsigned b)
{
    ops_note("%s", b & 1 ? "ref" : "unref");
    s->m.active += b & 1 ? 1 : -1;
    if (b & 1)
        coir_loop_ref(s->loop);
    else
        coir_loop_unref(s->loop);
}

static void
op_update(side *s, unsigned b)
{
    ops_note("update %u", b % 3);
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
    int64_t ns = ops_duration();
    if (ns < 0 || ns > COIR_NS_PER_S)
        ns = 0;
    ops_note("collect %u %jd", b & 3, (intmax_t)ns);
    if ((b & 3) == 3) {
        s->m.timer_slack = ns;
        coir_loop_set_timer_slack(s->loop, ns);
    }
    else if (b & 1) {
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
    ops_note("hook %u", b & 1);
    s->m.hook = b & 1;
    coir_loop_set_invoke_pending(s->loop, b & 1 ? ops_on_hook : NULL);
}

static void
op_fork(side *s, unsigned b)
{
    ops_note("fork");
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
    int64_t timeout = ops_duration();
    if (which < 0 || ops.freeing || timeout == COIR_FOREVER)
        return;
    long before = ops_failures();
    int events = 1 + (int)((b >> 4) % 3);
    int arg = (int)(s - ops.sides) * MODEL_ONCES + which;
    int err = coir_once(s->loop, fd < 0 ? -1 : ops_fd_numbers[fd], events,
                        timeout, ops_on_once, (void *)(intptr_t)arg);
    ops_note("once %d: fd %d, events %d, timeout %jd: %d", which, fd, events,
             (intmax_t)timeout, err);
    if (ops_failures() > before)
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
    side *s = ops_side_of(slot);
    CHECK_EQ(loop, s->loop);
    CHECK(!(walk.seen & 1U << slot));
    walk.seen |= 1U << slot;
    CHECK_EQ(type, types[s->m.items[slot].kind]);
    if (walk.stops & 1U << slot % 8) {
        model_stop(&s->m, slot);
        ops_stop_real(loop, s->m.items[slot].kind, ops.slots[slot]);
    }
}

static void
op_walk(side *s, unsigned b)
{
    ops_note("walk, stops %#x", b);
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
    ops_note("feed fd %d, %u", ops_fd_numbers[fd], b >> 6);
    model_feed_fd(&s->m, fd, (int)(b >> 6));
    coir_feed_fd_event(s->loop, ops_fd_numbers[fd], (int)(b >> 6));
}

static void
op_feed_signal(side *s, unsigned b)
{
    int signum = (int)(b % MODEL_SIGNALS);
    if (b & 0x80) {
        ops_feed_signal(b & 0x7f);
        return;
    }
    ops_note("feed_signal_event %d", signum);
    model_signal_event(&s->m, signum);
    coir_feed_signal_event(s->loop, ops_signals[signum]);
}

static void
op_wake(side *s, unsigned b)
{
    (void)b;
    ops_wake_up(s);
}

static void
op_ready(side *s, unsigned b)
{
    ops_become_ready(s, b);
}

static void
op_fd_error(side *s, unsigned b)
{
    static const int errors[] = {0, EPERM, EPERM, ENOMEM, EBADF, ENOENT};
    int err = errors[(b >> 4) % 6];
    ops_note("fd %d: error %d", ops_fd_numbers[b % MODEL_FDS], err);
    s->fds[b % MODEL_FDS].error = err;
}

/* Close, close and open another file; or open. */
static void
op_close(side *s, unsigned b)
{
    kernel_fd *k = &s->fds[b % MODEL_FDS];
    if (ops_edge_of(s, (int)(b % MODEL_FDS)) != NULL)
        return;
    ops_note("fd %d: %s", ops_fd_numbers[b % MODEL_FDS],
             b & 0x80   ? "open"
             : b & 0x40 ? "close, open"
                        : "close");
    if (!(b & 0x80))
        close_fd(s, (int)(b % MODEL_FDS));
    k->is_open = (b & 0xc0) != 0;
}

static void
op_time(side *s, unsigned b)
{
    (void)s;
    int64_t ns = (int64_t)(b & 15) << ((b >> 4) * 3);
    ops_note("time %jd", (intmax_t)ns);
    (void)ops_pass_time(ns);
}

static void
op_jump(side *s, unsigned b)
{
    (void)s;
    int64_t ns = (int64_t)(b & 7) << ((b >> 4) * 3);
    ops_note("jump %s%jd", b & 8 ? "-" : "", (intmax_t)ns);
    if (b & 8)
        ns = -ns;
    if (ops.world.wall + ns < 2 * LAST_TIME &&
        ops.world.wall + ns > -LAST_TIME)
        ops.world.wall += ns;
}

static void
op_file(side *s, unsigned b)
{
    (void)s;
    ops_set_file((int)(b % MODEL_FILES), b & 0x80 ? 0 : ++ops.last_version);
}

static void
op_fail_alloc(side *s, unsigned b)
{
    (void)s;
    ops_note("allocation %u fails", b % 4);
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
void
ops_step(void)
{
    size_t i = pick(ops_byte());
    unsigned b = ops_byte();
    loop_ops_counted.operations[i]++;
    const operation *op = &operations[i];
    int slot = (int)(b % MODEL_SLOTS);
    side *s =
        op->on_watcher != NULL ? ops_side_of(slot) : &ops.sides[b >> 5 & 1];
    if (s->loop == NULL)
        s = &ops.sides[s == &ops.sides[0]];
    if (op->on_watcher == NULL)
        op->on_loop(s, ops_byte());
    else if (s == ops_side_of(slot) &&
             (ops.slots[slot] != NULL || op->on_watcher == op_init ||
              op->on_watcher == op_init_and_start))
        op->on_watcher(s, slot);
    ops_verify(s);
}

static int
has_onces(const side *s)
{
    for (int i = ITEM_ONCE; i < ITEM_WAKE; i++)
        if (s->m.items[i].active || s->m.items[i].pending)
            return 1;
    return 0;
}

/* They cannot be taken back: let all of them happen. One whose descriptor was
 * closed does when the audit gets there, which looks at four in a turn. */
static void
drain_onces(side *s)
{
    int64_t longer = LAST_TIME / 1024; /* than any ops_duration() */
    for (int n = 0; s->loop != NULL && has_onces(s); n++) {
        CHECK(n < 10 + s->loop->fd_count / 4);
        for (int i = 0; i < MODEL_FDS; i++)
            s->fds[i] = (kernel_fd){.is_open = 1,
                                    .ready = 3,
                                    .events = s->fds[i].events,
                                    .generation = s->fds[i].generation};
        ops.world.monotonic += longer;
        ops.world.wall += longer;
        op_run(s, 1);
    }
}

static void
close_side(side *s, int stop)
{
    if (s->loop == NULL)
        return;
    for (int i = 0; i < MODEL_SLOTS && stop; i++)
        if (ops_side_of(i) == s && ops.slots[i] != NULL)
            op_stop(s, i);
    ops_verify(s);
    ops_note("free the loop");
    model_free(&s->m);
    coir_loop_free(s->loop);
    model_invoked_pending(&s->m);
    s->loop = NULL;
    for (int i = 0; i < MODEL_SLOTS; i++)
        if (ops_side_of(i) == s) {
            free(ops.slots[i]);
            ops.slots[i] = NULL;
        }
}

void
loop_ops_run(const uint8_t *program, size_t len)
{
    memset(&ops, 0, sizeof ops);
    ops.next = program;
    ops.end = program + len;
    ops.trace = getenv("COIR_TEST_TRACE") != NULL;
    ops.world.monotonic = 1000 * COIR_NS_PER_S;
    ops.world.wall = INT64_C(1000000000) * COIR_NS_PER_S;
    long before = ops_failures();

    unsigned how = ops_byte();
    ops_open_side(&ops.sides[0], how & 3);
    if (how & 4)
        ops_open_side(&ops.sides[1], how >> 4 & 3);
    if (ops.sides[1].loop != NULL) {
        ops.sides[0].m.inner = &ops.sides[1].m;
        ops.sides[1].m.outer = &ops.sides[0].m;
    }
    while (!ops_is_over() &&
           ops_byte() != 0xff) /* 0xff: keep some for the end */
        ops_step();

    coir_test_fail_none();
    ops.draining = 1;
    for (int i = 0; i < 2; i++) {
        if (ops.sides[i].loop == NULL)
            continue;
        op_hook(&ops.sides[i], 0);
        drain_onces(&ops.sides[i]);
    }
    ops.draining = 0;
    ops.freeing = 1;
    close_side(&ops.sides[0], how & 8);
    close_side(&ops.sides[1], how & 8);
    coir_test_fail_none();
    coir_set_syserr(NULL);
    ops_remove_files();
    loop_ops_counted.failures += ops_failures() - before;
}
