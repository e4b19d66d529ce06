/* loop_ops_world.c - clock, kernel, and the comparison with the models.
 *
 * The kernel has a few descriptors per loop, which are ready, closed or
 * failing as the program says; a wait reports them, and passes time. In a wait
 * other threads may act too: the program says so in its next byte. When it has
 * none left each wait ends its run. */
#include "loop_ops_world.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#define AUDIT_WAIT_NS (100 * COIR_NS_PER_MS)
enum { STALE = 100000 }; /* from a generation to one that never was */

ops_state ops;
loop_ops_counts loop_ops_counted;

/* Few enough that they are shared; some need the loop's array to grow. */
const int ops_fd_numbers[MODEL_FDS] = {60, 61, 62,  63,  70,
                                       90, 99, 130, 260, 300};
const int ops_signals[MODEL_SIGNALS] = {SIGUSR2, SIGWINCH, SIGURG};
const char *const ops_kind_names[KINDS] = {
    "once", "io",      "timer", "periodic", "idle", "prepare", "check",
    "fork", "cleanup", "async", "signal",   "stat", "embed",   "edge"};

/* --- helpers ------------------------------------------------------------- */

void
ops_note(const char *format, ...)
{
    if (!ops.trace)
        return;
    va_list args;
    va_start(args, format);
    (void)printf("%*s", 2 * ops.calls, "");
    (void)vprintf(format, args);
    (void)printf("\n");
    (void)fflush(stdout);
    va_end(args);
}

int
ops_is_over(void)
{
    return ops.next == ops.end;
}

unsigned
ops_byte(void)
{
    return ops_is_over() ? 0 : *ops.next++;
}

side *
ops_side_of(int slot)
{
    return &ops.sides[slot >= OUTER_SLOTS];
}

static model_item *
item_of(int slot)
{
    return &ops_side_of(slot)->m.items[slot];
}

long
ops_failures(void)
{
    return coir_test_failures(COIR_TEST_ALLOC);
}

/* From nothing to a day, and for ever; many are equal. */
int64_t
ops_duration(void)
{
    unsigned b = ops_byte();
    if (b >= 0xfe)
        return b == 0xff ? COIR_FOREVER : -5;
    return (int64_t)(b & 15) << ((b >> 4) * 3);
}

static int
fd_index(int fd)
{
    for (int i = 0; i < MODEL_FDS; i++)
        if (ops_fd_numbers[i] == fd)
            return i;
    return -1;
}

/* --- comparing ----------------------------------------------------------- */

/* Several of them watch the descriptor of the same loop: who is told first is
 * not defined, nor thus what the others have been told meanwhile. */
static int
has_several_embeds(const side *s)
{
    int count = 0;
    for (int i = 0; i < MODEL_SLOTS; i++)
        count += s->m.items[i].kind == KIND_EMBED && s->m.items[i].active;
    return count > 1;
}

static void
compare_watcher(const side *s, int slot)
{
    const model_item *w = &s->m.items[slot];
    const any *real = ops.slots[slot];
    CHECK_EQ(real != NULL, w->kind != KIND_NONE);
    if (real == NULL)
        return;
    CHECK_EQ(coir_is_active(&real->base), w->active);
    CHECK_EQ(real->base.priority, w->priority);
    if (w->kind == KIND_EMBED && has_several_embeds(s))
        return;
    CHECK_EQ(coir_is_pending(&real->base), w->pending);
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
void
ops_compare(void)
{
    for (int i = 0; i < 2; i++) {
        const side *s = &ops.sides[i];
        if (s->loop == NULL)
            continue;
        for (int slot = 0; slot < MODEL_SLOTS; slot++)
            if (ops_side_of(slot) == s)
                compare_watcher(s, slot);
        if (!has_several_embeds(s))
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

void
ops_verify(const side *s)
{
    ops_compare();
    if (s->loop != NULL)
        coir_loop_verify(s->loop);
}

/* --- clock and kernel ---------------------------------------------------- */

static int64_t
fake_monotonic(void *user)
{
    (void)user;
    return ops.world.monotonic;
}

static int64_t
fake_wall(void *user)
{
    (void)user;
    return ops.world.wall;
}

/* Returns 0 if that is too much. */
int
ops_pass_time(int64_t ns)
{
    if (ns > LAST_TIME - ops.world.monotonic)
        return 0;
    if (ns > 0) {
        ops.world.monotonic += ns;
        ops.world.wall += ns;
    }
    return 1;
}

static void
fake_sleep(void *user, int64_t ns)
{
    side *s = user;
    ops_note("sleep %jd", (intmax_t)ns);
    model_on_sleep(&s->m, ns);
    (void)ops_pass_time(ns);
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
    ops_note("%s failed", call);
}

static int
fake_reset(coir_loop *loop)
{
    side *s = loop->backend_data;
    int err = s->reset_errors > 0 ? EMFILE : 0;
    ops_note("reset: %d", err);
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
    ops_note("modify %d %d: %d", fd, events, err);
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
        ops_note("audit %d: %d", fd, err);
    return err;
}

static int
fake_descriptor(coir_loop *loop)
{
    (void)loop;
    return ops_fd_numbers[EMBED_FD];
}

static int
ready(const side *s, int i)
{
    const side *inner = &ops.sides[1];
    int events = s->fds[i].ready & s->fds[i].events;
    if (s->fds[i].events & COIR__REGISTERED_EDGE)
        events &= ~s->fds[i].told;
    if (s == &ops.sides[0] && i == EMBED_FD && inner->loop != NULL &&
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
        ops_note("woken");
        model_on_woken(&s->m);
        coir__io_ready(s->loop, fd, s->loop->fds[fd].generation, COIR_READ);
        some = 1;
    }
    for (unsigned n = 0; n < MODEL_FDS; n++) {
        int i = (int)((from + n) % MODEL_FDS);
        int events = ready(s, i);
        if (events == 0)
            continue;
        ops_note("ready %d %d", ops_fd_numbers[i], events);
        s->fds[i].told |= events;
        model_on_ready(&s->m, i, events);
        coir__io_ready(s->loop, ops_fd_numbers[i], s->fds[i].generation,
                       events);
        some = 1;
    }
    if (s->stale) {
        ops_note("stale");
        model_on_stale(&s->m);
        coir__io_ready(s->loop, ops_fd_numbers[1], STALE, COIR_READ);
        s->stale = 0;
        some = 1;
    }
    return some;
}

void
ops_send_to(int slot)
{
    if (item_of(slot)->kind != KIND_ASYNC || !item_of(slot)->active)
        return;
    ops_note("send %d", slot);
    model_send(&ops_side_of(slot)->m, slot);
    coir_async_send(ops_side_of(slot)->loop, &ops.slots[slot]->async);
}

void
ops_feed_signal(unsigned s)
{
    s %= MODEL_SIGNALS;
    ops_note("feed_signal %u", s);
    for (int i = 0; i < 2; i++)
        if (ops.sides[i].loop != NULL)
            model_signal(&ops.sides[i].m, (int)s);
    coir_feed_signal(ops_signals[s]);
}

void
ops_wake_up(side *s)
{
    ops_note("wakeup");
    model_wakeup(&s->m);
    coir_loop_wakeup(s->loop);
}

/* Ready for what the highest bits say, and for nothing else. */
void
ops_become_ready(side *s, unsigned b)
{
    kernel_fd *k = &s->fds[b % MODEL_FDS];
    ops_note("fd %d: ready %u", ops_fd_numbers[b % MODEL_FDS], b >> 6);
    k->ready = (int)(b >> 6);
    k->told &= ~k->ready; /* more of it */
}

/* Something happens during a wait, perhaps. Returns what it is to return. */
static int
happen(side *s, unsigned what, int64_t timeout)
{
    switch (what % 8) {
    case 0:
        ops_send_to((int)(ops_byte() % MODEL_SLOTS));
        break;
    case 1:
        ops_feed_signal(ops_byte());
        break;
    case 2:
        ops_wake_up(s);
        break;
    case 3:
        ops_become_ready(s, ops_byte() | 0xc0);
        break;
    case 4:
        ops_note("interrupted");
        (void)ops_pass_time(timeout == COIR_FOREVER ? 1 : timeout / 2);
        model_on_interrupt(&s->m);
        return EINTR;
    default:
        break;
    }
    return 0;
}

void
ops_break_all(side *s)
{
    ops_note("break all");
    s->m.done = COIR_BREAK_ALL;
    coir_loop_break(s->loop, COIR_BREAK_ALL);
}

/* The edge that watches a descriptor, or NULL. */
const model_item *
ops_edge_of(const side *s, int fd)
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
        const model_item *edge = ops_edge_of(s, i);
        if (timeout > AUDIT_WAIT_NS && s->loop->backend->audit != NULL &&
            edge == NULL && s->m.fds[i].registered && k->events == 0)
            coir_test_fail(__FILE__, __LINE__,
                           "descriptor %d is closed, and waited for",
                           ops_fd_numbers[i]);
        if (timeout > 0 && edge != NULL && k->ready & k->told & edge->events)
            coir_test_fail(__FILE__, __LINE__,
                           "descriptor %d is ready, and waited for",
                           ops_fd_numbers[i]);
    }
}

static int
fake_wait(coir_loop *loop, int64_t timeout)
{
    side *s = loop->backend_data;
    loop_ops_counted.waits++;
    ops_note("wait of %d: %jd", (int)(s - ops.sides), (intmax_t)timeout);
    model_on_wait(&s->m, timeout);
    check_wait(s, timeout);
    ops_verify(s);
    int over = ops_is_over() && !ops.draining;
    unsigned what = ops.draining ? 7 : ops_byte();
    int err = happen(s, what, timeout);
    int some = report(s, what);
    if (err == 0 && !some &&
        (timeout == COIR_FOREVER || !ops_pass_time(timeout)))
        over = 1;
    if (over) {
        if (err == 0)
            model_on_interrupt(&s->m);
        ops_break_all(s);
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

void
ops_open_side(side *s, unsigned backend_of)
{
    const coir__backend *backend = &backends[backend_of % 3];
    coir__clock clock = {fake_monotonic, fake_wall, fake_sleep, s};
    for (int i = 0; i < MODEL_FDS; i++)
        s->fds[i].is_open = 1;
    coir_set_syserr(on_syserr);
    CHECK_EQ(coir__loop_new_with(&s->loop,
                                 COIR_LOOP_NOENV | COIR_LOOP_NOINOTIFY,
                                 backend, &clock),
             0);
    s->loop->timer_budget = MODEL_TIMERS;
    model_init(&s->m, &ops.world);
    s->m.can_edge = backend->edge;
}
