/* loop_model.c - the plain model of a loop, see loop_model.h.
 *
 * A turn is a machine of phases, a frame per coir_loop_run() under way:
 *
 *     INVOKE_FIRST -> [INVOKE_FORK] -> [INVOKE_PREPARE] -> APPLY -> WAIT
 *                           ^                                        |
 *                           +------------ INVOKE_LAST <--------------+
 *
 * It moves when the loop is seen to do something, not before: then it passes
 * all phases in which nothing is left to be seen, and stops at one in which
 * this may come. Watchers of the loop's own are called in passing. So nothing
 * needs to be known of the loop but what it must do.
 *
 * Pending watchers are ordered by priority, then by when they were fed, the
 * last first. What is fed at once in an order that is not specified has one
 * epoch and one rank; timers that expire together have ranks. */
#include "loop_model.h"

#include <errno.h>
#include <string.h>

#include "loop/internal.h"

/* As in the loop: how often the wall clock is looked at, and what is a jump;
 * how long it waits at most while it looks for closed descriptors, and for
 * jumps. */
#define WALL_CHECK_NS (COIR_NS_PER_S / 2)
#define JUMP_NS COIR_NS_PER_S
#define AUDIT_WAIT_NS (100 * COIR_NS_PER_MS)
#define JUMP_WAIT_NS (60 * COIR_NS_PER_S)
#define MIN_INTERVAL_NS 122070

static void proceed(model *m);
static void resolve(model *m);

void
model_init(model *m, model_world *world)
{
    memset(m, 0, sizeof *m);
    m->world = world;
    m->now = m->wall_checked = world->monotonic;
    m->wall = world->wall;
    m->wall_offset = m->wall - m->now;
    m->wake_changed = 1;
    m->taking_back = m->unresolved = m->direct = m->closing = -1;
    m->items[ITEM_WAKE] = (model_item){
        .kind = KIND_IO, .own = 1, .active = 1, .fd = -1, .priority = 2};
}

static int64_t
after(int64_t now, int64_t timeout)
{
    __int128 at = (__int128)now + (timeout > 0 ? timeout : 0);
    return at < COIR_FOREVER ? (int64_t)at : COIR_FOREVER;
}

static model_frame *
top(model *m)
{
    return m->depth > 0 ? &m->frames[m->depth - 1] : NULL;
}

/* --- pending watchers ---------------------------------------------------- */

static void
feed(model *m, int item, int revents, uint64_t rank)
{
    model_item *w = &m->items[item];
    if (w->pending) {
        w->revents |= revents;
        return;
    }
    w->pending = 1;
    w->revents = revents;
    w->epoch = m->epoch;
    w->rank = rank;
    m->pending_count++;
}

static void
unfeed(model *m, int item)
{
    m->pending_count -= (unsigned)m->items[item].pending;
    m->items[item].pending = 0;
}

static void
feed_kind(model *m, model_kind kind, int revents)
{
    m->epoch++;
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (m->items[i].active && m->items[i].kind == kind)
            feed(m, i, revents, 0);
}

static int
has_kind(const model *m, model_kind kind)
{
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (m->items[i].active && m->items[i].kind == kind)
            return 1;
    return 0;
}

/* Is `a` to be called before `b`? */
static int
comes_before(const model_item *a, const model_item *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    return a->rank < b->rank;
}

/* One that nothing comes before; -1: none is pending. */
static int
first_pending(const model *m)
{
    int first = -1;
    for (int i = 0; i < MODEL_ITEMS && m->pending_count > 0; i++)
        if (m->items[i].pending &&
            (first < 0 || comes_before(&m->items[i], &m->items[first])))
            first = i;
    return first;
}

static void
clamp(model_item *w)
{
    if (w->priority < COIR_MINPRI)
        w->priority = COIR_MINPRI;
    if (w->priority > COIR_MAXPRI)
        w->priority = COIR_MAXPRI;
}

void
model_feed(model *m, int item, int revents)
{
    clamp(&m->items[item]);
    m->epoch++;
    feed(m, item, revents, 0);
}

int
model_clear(model *m, int item)
{
    int revents = m->items[item].pending ? m->items[item].revents : 0;
    unfeed(m, item);
    return revents;
}

void
model_invoke(model *m, int item, int revents)
{
    m->direct = item;
    m->direct_events = revents;
}

/* --- starting and stopping ----------------------------------------------- */

static void
change(model *m, int fd, int renew)
{
    m->fds[fd].changed = 1;
    m->fds[fd].renew |= renew;
}

static int
is_on_fd(const model_item *w)
{
    return w->active && (w->kind == KIND_IO || w->kind == KIND_EDGE);
}

static int64_t
reckon(const model *m, const model_item *w)
{
    if (w->rule != NULL)
        return w->rule(w->offset, w->interval, m->wall);
    if (w->interval <= 0)
        return w->offset;
    int64_t interval =
        w->interval < MIN_INTERVAL_NS ? MIN_INTERVAL_NS : w->interval;
    __int128 since = (__int128)m->wall - w->offset;
    __int128 n = since / interval - (since % interval < 0);
    __int128 at = w->offset + (n + 1) * interval;
    return at < COIR_FOREVER ? (int64_t)at : COIR_FOREVER;
}

static int
has_signal(const model *m, int signum)
{
    for (int i = 0; i < MODEL_SLOTS; i++)
        if (m->items[i].active && m->items[i].kind == KIND_SIGNAL &&
            m->items[i].signum == signum)
            return 1;
    return 0;
}

/* A watcher that the loop keeps for item `of`. */
static void
start_part(model *m, int part, model_item w)
{
    CHECK(!m->items[part].active);
    w.own = 1;
    w.pending = 0;
    m->items[part] = w;
    model_start(m, part);
}

static void
start_embed_io(model *m, int item)
{
    const model_item *w = &m->items[item];
    const coir_embed *real = (const coir_embed *)w->real;
    start_part(m, ITEM_PART_A + item,
               (model_item){.kind = KIND_IO,
                            .priority = w->priority,
                            .fd = w->fd,
                            .events = COIR_READ,
                            .is_new = 1,
                            .real = (const coir_watcher *)&real->io});
}

static void
start_parts(model *m, int item)
{
    const model_item *w = &m->items[item];
    if (w->kind == KIND_STAT) {
        start_part(m, ITEM_PART_A + item,
                   (model_item){.kind = KIND_TIMER,
                                .priority = w->priority,
                                .timeout = w->interval,
                                .repeat = w->interval});
        return;
    }
    const coir_embed *real = (const coir_embed *)w->real;
    start_embed_io(m, item);
    start_part(m, ITEM_PART_B + item,
               (model_item){.kind = KIND_PREPARE,
                            .priority = COIR_MINPRI,
                            .real = (const coir_watcher *)&real->prepare});
    start_part(m, ITEM_PART_C + item,
               (model_item){.kind = KIND_FORK,
                            .real = (const coir_watcher *)&real->fork});
}

/* An edge does while it is waited for. */
static int
keeps_running(const model_item *w)
{
    return !w->own && w->kind != KIND_CLEANUP && w->kind != KIND_EDGE;
}

void
model_start(model *m, int item)
{
    model_item *w = &m->items[item];
    if (w->active)
        return;
    clamp(w);
    if (w->kind == KIND_SIGNAL && !has_signal(m, w->signum))
        m->signals[w->signum] = 0;
    w->active = 1;
    m->active += keeps_running(w);
    switch (w->kind) {
    case KIND_IO:
        change(m, w->fd, w->is_new);
        w->is_new = 0;
        break;
    case KIND_EDGE:
        w->events = w->ready = 0;
        if (m->fds[w->fd].registered || m->fds[w->fd].always ||
            m->fds[w->fd].changed)
            change(m, w->fd, 1);
        break;
    case KIND_TIMER:
        w->deadline = after(m->now, w->timeout);
        w->sequence = ++m->sequence;
        break;
    case KIND_PERIODIC:
        w->at = reckon(m, w);
        break;
    case KIND_ASYNC:
        w->sent = 0;
        break;
    case KIND_STAT:
        w->version = m->world->versions[w->file];
        start_parts(m, item);
        break;
    case KIND_EMBED:
        start_parts(m, item);
        break;
    default:
        break;
    }
}

void
model_start_failed(model *m, int item)
{
    if (m->items[item].kind == KIND_EMBED) /* its io was started first */
        change(m, m->items[item].fd, 1);
}

void
model_stop(model *m, int item)
{
    model_item *w = &m->items[item];
    if (w->kind == KIND_EDGE)
        model_edge_cancel(m, item, COIR_READ | COIR_WRITE);
    unfeed(m, item);
    if (!w->active)
        return;
    if (is_on_fd(w))
        change(m, w->fd, 0);
    w->active = 0;
    m->active -= keeps_running(w);
    if (w->kind == KIND_TIMER)
        w->timeout = w->deadline - m->now;
    if (w->kind == KIND_STAT || w->kind == KIND_EMBED)
        model_stop(m, ITEM_PART_A + item);
    if (w->kind == KIND_EMBED) {
        model_stop(m, ITEM_PART_B + item);
        model_stop(m, ITEM_PART_C + item);
    }
}

void
model_modify(model *m, int item, int events)
{
    model_item *w = &m->items[item];
    w->events = events;
    if (w->active)
        change(m, w->fd, 0);
}

static void
move(model *m, model_item *w, int64_t timeout)
{
    w->deadline = after(m->now, timeout);
    w->sequence = ++m->sequence;
}

void
model_again(model *m, int item)
{
    model_item *w = &m->items[item];
    unfeed(m, item);
    if (w->active && w->repeat > 0)
        move(m, w, w->repeat);
    else if (w->active)
        model_stop(m, item);
    else if (w->repeat > 0) {
        w->timeout = w->repeat;
        model_start(m, item);
    }
}

void
model_defer(model *m, int item, int64_t timeout)
{
    model_item *w = &m->items[item];
    unfeed(m, item);
    if (w->active) {
        move(m, w, timeout);
        return;
    }
    w->timeout = timeout;
    model_start(m, item);
}

void
model_periodic_again(model *m, int item)
{
    model_stop(m, item);
    model_start(m, item);
}

int
model_once_room(const model *m)
{
    for (int i = 0; i < MODEL_ONCES; i++)
        if (!m->items[ITEM_ONCE + 2 * i].active &&
            !m->items[ITEM_ONCE + 2 * i + 1].active &&
            !m->items[ITEM_ONCE + 2 * i].pending)
            return i;
    return -1;
}

void
model_once(model *m, int which, int fd, int events, int64_t timeout)
{
    int item = ITEM_ONCE + 2 * which;
    if (fd >= 0)
        start_part(
            m, item,
            (model_item){
                .kind = KIND_IO, .fd = fd, .events = events, .is_new = 1});
    if (timeout >= 0)
        start_part(m, item + 1,
                   (model_item){.kind = KIND_TIMER,
                                .timeout = timeout,
                                .repeat = COIR_FOREVER});
    m->active++;
}

/* --- descriptors --------------------------------------------------------- */

/* The only watcher of a descriptor; -1: there are others, or none. */
static int
only_watcher(const model *m, int fd)
{
    int only = -1;
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (is_on_fd(&m->items[i]) && m->items[i].fd == fd) {
            if (only >= 0)
                return -1;
            only = i;
        }
    return only;
}

int
model_wanted(const model *m, int fd)
{
    int events = 0, only = only_watcher(m, fd);
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (is_on_fd(&m->items[i]) && m->items[i].fd == fd)
            events |= m->items[i].events;
    if (m->can_edge && only >= 0 && m->items[only].kind == KIND_EDGE &&
        (events || (m->fds[fd].registered & COIR__REGISTERED_EDGE)))
        return COIR_READ | COIR_WRITE | COIR__REGISTERED_EDGE;
    return events;
}

static void
change_unless_edge(model *m, int fd)
{
    if (!(m->fds[fd].registered & COIR__REGISTERED_EDGE))
        change(m, fd, 0);
}

/* Returns what is to be told. */
static int
edge_ready(model *m, model_item *w, int events)
{
    int got = w->events & events;
    w->ready |= events & ~got;
    if (got) {
        w->events &= ~got;
        m->active -= w->events == 0;
        change_unless_edge(m, w->fd);
    }
    return got;
}

static void
feed_watchers(model *m, int fd, int events)
{
    for (int i = 0; i < MODEL_ITEMS; i++) {
        model_item *w = &m->items[i];
        if (!is_on_fd(w) || w->fd != fd)
            continue;
        int got = w->kind == KIND_EDGE ? edge_ready(m, w, events)
                                       : w->events & events;
        if (got)
            feed(m, i, got, 0);
    }
}

int
model_edge_wait(model *m, int item, int events)
{
    model_item *w = &m->items[item];
    int ready = w->ready & events;
    if (ready) {
        if (!(w->ready & COIR__ALWAYS))
            w->ready &= ~ready;
        return ready;
    }
    m->active += w->events == 0;
    w->events |= events;
    change_unless_edge(m, w->fd);
    return 0;
}

void
model_edge_cancel(model *m, int item, int events)
{
    model_item *w = &m->items[item];
    if (w->pending) {
        w->revents &= ~events;
        if (w->revents == 0)
            unfeed(m, item);
    }
    if (!w->active || !(w->events & events))
        return;
    w->events &= ~events;
    m->active -= w->events == 0;
    change_unless_edge(m, w->fd);
}

void
model_edge_close(model *m, int item)
{
    model_item *w = &m->items[item];
    model_edge_cancel(m, item, COIR_READ | COIR_WRITE);
    unfeed(m, item);
    if (!w->active)
        return;
    w->active = 0;
    if (m->fds[w->fd].registered & COIR__REGISTERED_EDGE)
        m->fds[w->fd].registered = 0;
    else
        m->closing = w->fd;
}

void
model_edge_closed(model *m)
{
    CHECK_EQ(m->taking_back, -1);
    int fd = m->closing;
    m->closing = -1;
    if (fd < 0)
        return;
    model_fd *d = &m->fds[fd];
    if (d->always && model_wanted(m, fd) == 0)
        d->always = 0;
    resolve(m);
    CHECK(d->always || d->registered == model_wanted(m, fd));
}

void
model_feed_fd(model *m, int fd, int revents)
{
    m->epoch++;
    if (!m->fds[fd].changed)
        feed_watchers(m, fd, revents);
}

static void
kill_watchers(model *m, int fd)
{
    m->epoch++;
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (is_on_fd(&m->items[i]) && m->items[i].fd == fd) {
            model_stop(m, i);
            feed(m, i, COIR_ERROR | COIR_READ | COIR_WRITE, 0);
        }
}

/* Edges are told once and for all; others in each turn, if there is memory to
 * note it. */
static void
always_ready(model *m, int fd)
{
    m->epoch++;
    for (int i = 0; i < MODEL_ITEMS; i++) {
        model_item *w = &m->items[i];
        if (!is_on_fd(w) || w->fd != fd)
            continue;
        if (w->kind == KIND_IO) {
            m->unresolved = fd;
            m->failures = coir_test_failures(COIR_TEST_ALLOC);
            continue;
        }
        int got = edge_ready(m, w, COIR_READ | COIR_WRITE);
        w->ready = COIR_READ | COIR_WRITE | COIR__ALWAYS;
        if (got)
            feed(m, i, got, 0);
    }
}

static void
modified(model *m, int fd, int events, int err)
{
    m->fds[fd].registered = 0;
    if (err == 0)
        m->fds[fd].registered = events;
    else if (err == EPERM)
        always_ready(m, fd);
    else
        kill_watchers(m, fd);
}

/* Noting what is always ready may have failed. */
static void
resolve(model *m)
{
    int fd = m->unresolved;
    m->unresolved = -1;
    if (fd >= 0 && coir_test_failures(COIR_TEST_ALLOC) > m->failures)
        kill_watchers(m, fd);
    else if (fd >= 0)
        m->fds[fd].always = 1;
}

void
model_on_modify(model *m, int fd, int events, int err)
{
    model_fd *d = &m->fds[fd];
    if (m->taking_back >= 0) {
        CHECK_EQ(fd, m->taking_back);
        CHECK_EQ(events, 0);
        m->taking_back = -1;
        modified(m, fd, 0, m->taking_error);
        return;
    }
    if (fd != m->closing) {
        proceed(m);
        CHECK(top(m)->phase == PHASE_APPLY && m->reset == 0);
        CHECK(d->changed);
    }
    CHECK_EQ(events, model_wanted(m, fd));
    CHECK(events != d->registered || (events != 0 && d->renew));
    CHECK(!d->always || d->renew || events == 0);
    CHECK(events != 0 || err == 0);
    d->always = 0;
    if (fd != m->closing)
        d->changed = d->renew = 0;
    if (err != 0 && d->registered) {
        m->taking_back = fd;
        m->taking_error = err;
        return;
    }
    modified(m, fd, events, err);
}

/* Was the backend told of all? */
static void
check_applied(model *m)
{
    for (int fd = 0; fd < MODEL_FDS; fd++) {
        model_fd *d = &m->fds[fd];
        int events = model_wanted(m, fd);
        if (d->always && (events == 0 || (d->changed && d->renew)))
            d->always = 0;
        if (!d->always) {
            CHECK_EQ(d->registered, events);
            CHECK(!d->changed || !d->renew || events == 0);
        }
        d->changed = d->renew = 0;
    }
    m->wake_changed = 0;
}

static int
has_changes(const model *m)
{
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].changed)
            return 1;
    return m->wake_changed;
}

static int
has_always(const model *m)
{
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].always)
            return 1;
    return 0;
}

static void
feed_always(model *m)
{
    m->epoch++;
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].always)
            feed_watchers(m, fd, COIR_READ | COIR_WRITE);
}

void
model_on_reset(model *m, int err)
{
    proceed(m);
    CHECK(top(m)->phase == PHASE_APPLY && m->reset != 0);
    if (err != 0)
        return; /* tried again */
    if (m->reset == COIR__RESET_FORK) {
        /* A new eventfd, and a look at who was about to send. */
        unfeed(m, ITEM_WAKE);
        m->eventfd = 0;
        m->async_pending = 1;
        model_wakeup(m);
    }
    m->reset = 0;
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].registered || m->fds[fd].always) {
            m->fds[fd].registered = 0;
            change(m, fd, 1);
        }
}

void
model_on_audit(model *m, int fd, int err)
{
    model_frame *f = top(m);
    CHECK(f != NULL && f->phase == PHASE_WAIT);
    CHECK(m->fds[fd].registered && !m->fds[fd].changed);
    if (!f->fed_always && has_always(m)) {
        feed_always(m);
        f->fed_always = 1;
    }
    model_time_update(m);
    if (err == 0)
        return;
    m->fds[fd].registered = 0;
    kill_watchers(m, fd);
}

void
model_on_ready(model *m, int fd, int events)
{
    m->epoch++;
    feed_watchers(m, fd, events);
}

void
model_on_stale(model *m)
{
    if (m->reset == 0)
        m->reset = COIR__RESET_STALE;
}

/* --- wake-ups ------------------------------------------------------------ */

void
model_wakeup(model *m)
{
    if (m->wake_pending)
        return;
    m->wake_pending = 1;
    if (m->wake_wanted)
        m->eventfd = 1;
    m->wake_wanted = 0;
}

void
model_send(model *m, int item)
{
    if (m->items[item].sent)
        return;
    m->items[item].sent = 1;
    m->async_pending = 1;
    model_wakeup(m);
}

void
model_signal(model *m, int signum)
{
    if (!has_signal(m, signum))
        return;
    m->signals[signum] = 1;
    m->signal_pending = 1;
    model_wakeup(m);
}

static void
feed_signal(model *m, int signum)
{
    if (!has_signal(m, signum))
        return;
    m->signals[signum] = 0;
    for (int i = 0; i < MODEL_SLOTS; i++)
        if (m->items[i].active && m->items[i].kind == KIND_SIGNAL &&
            m->items[i].signum == signum)
            feed(m, i, COIR_SIGNAL, 0);
}

void
model_signal_event(model *m, int signum)
{
    m->epoch++;
    feed_signal(m, signum);
}

void
model_on_woken(model *m)
{
    CHECK(m->eventfd);
    m->epoch++;
    feed(m, ITEM_WAKE, COIR_READ, 0);
}

static void
run_wake(model *m, int revents)
{
    if (revents & COIR_READ)
        m->eventfd = 0;
    m->wake_pending = 0;
    m->epoch++;
    for (int s = 0; s < MODEL_SIGNALS && m->signal_pending; s++)
        if (m->signals[s])
            feed_signal(m, s);
    m->signal_pending = 0;
    for (int i = 0; i < MODEL_SLOTS && m->async_pending; i++)
        if (m->items[i].kind == KIND_ASYNC && m->items[i].active &&
            m->items[i].sent) {
            m->items[i].sent = 0;
            feed(m, i, COIR_ASYNC, 0);
        }
    m->async_pending = 0;
}

/* --- time ---------------------------------------------------------------- */

static void
reschedule(model *m)
{
    for (int i = 0; i < MODEL_SLOTS; i++)
        if (m->items[i].kind == KIND_PERIODIC && m->items[i].active)
            m->items[i].at = reckon(m, &m->items[i]);
}

void
model_time_update(model *m)
{
    m->now = m->world->monotonic;
    m->wall = m->now + m->wall_offset;
    if (m->now - m->wall_checked < WALL_CHECK_NS)
        return;
    int64_t jump = m->world->wall - m->wall;
    m->wall_checked = m->now;
    m->wall = m->world->wall;
    m->wall_offset = m->wall - m->now;
    if (jump > JUMP_NS || jump < -JUMP_NS)
        reschedule(m);
}

void
model_suspend(model *m)
{
    model_time_update(m);
}

void
model_resume(model *m)
{
    int64_t before = m->now;
    model_time_update(m);
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (m->items[i].kind == KIND_TIMER && m->items[i].active)
            m->items[i].deadline =
                after(m->items[i].deadline, m->now - before);
    reschedule(m);
}

/* The timer that is due next, -1 if none is by `now`. */
static int
next_timer(const model *m, int64_t now)
{
    int next = -1;
    for (int i = 0; i < MODEL_ITEMS; i++) {
        const model_item *w = &m->items[i];
        const model_item *best = next >= 0 ? &m->items[next] : NULL;
        if (w->kind != KIND_TIMER || !w->active || w->deadline > now)
            continue;
        if (best == NULL || w->deadline < best->deadline ||
            (w->deadline == best->deadline && w->sequence < best->sequence))
            next = i;
    }
    return next;
}

/* How long until one is called; COIR_FOREVER if there is none. */
static int64_t
due_in(const model *m)
{
    __int128 due = COIR_FOREVER;
    int next = next_timer(m, COIR_FOREVER);
    if (next >= 0 && m->items[next].deadline < COIR_FOREVER)
        due = m->items[next].deadline - m->now;
    for (int i = 0; i < MODEL_SLOTS; i++) {
        const model_item *w = &m->items[i];
        __int128 in = (__int128)w->at - m->wall;
        if (w->kind == KIND_PERIODIC && w->active && in < due)
            due = in;
    }
    return due > 0 ? (int64_t)due : 0;
}

static void
expire_timers(model *m)
{
    m->epoch++;
    uint64_t rank = 0;
    for (int i; (i = next_timer(m, m->now)) >= 0;) {
        model_item *w = &m->items[i];
        feed(m, i, COIR_TIMER, rank++);
        if (w->repeat > 0) {
            w->deadline = after(w->deadline, w->repeat);
            if (w->deadline <= m->now)
                w->deadline = m->now + 1;
            w->sequence = ++m->sequence;
        }
        else {
            w->timeout = w->deadline - m->now;
            w->active = 0;
            m->active -= !w->own;
        }
    }
}

static void
expire_periodics(model *m)
{
    m->epoch++;
    for (int i = 0; i < MODEL_SLOTS; i++) {
        model_item *w = &m->items[i];
        if (w->kind != KIND_PERIODIC || !w->active || w->at > m->wall)
            continue;
        feed(m, i, COIR_PERIODIC, (uint64_t)w->at ^ UINT64_C(1) << 63);
        if (w->rule == NULL && w->interval <= 0) {
            w->active = 0;
            m->active--;
            continue;
        }
        w->at = reckon(m, w);
        if (w->at <= m->wall)
            w->at = m->wall + 1;
    }
}

static void
feed_idle(model *m)
{
    m->epoch++;
    for (int p = COIR_MAXPRI; p >= COIR_MINPRI; p--) {
        int found = 0;
        for (int i = 0; i < MODEL_ITEMS; i++)
            if (m->items[i].pending && m->items[i].priority == p)
                return;
        for (int i = 0; i < MODEL_SLOTS; i++)
            if (m->items[i].kind == KIND_IDLE && m->items[i].active &&
                m->items[i].priority == p) {
                feed(m, i, COIR_IDLE, 0);
                found = 1;
            }
        if (found)
            return;
    }
}

/* --- phases -------------------------------------------------------------- */

static void
invoke_phase(model *m, model_frame *f, model_phase phase)
{
    f->phase = phase;
    f->hook = m->hook;
    f->skip = 0;
}

static int64_t
wait_limit(const model *m)
{
    int64_t due = due_in(m);
    return due > m->timer_collect ? due : m->timer_collect;
}

/* Is there nothing yet that the wait is to end for? */
static int
waits_on(model *m, const model_frame *f)
{
    if (!f->blocks || f->interrupted || m->pending_count > 0 ||
        m->reset != 0 || m->wake_pending)
        return 0;
    model_time_update(m);
    return due_in(m) > 0;
}

static void
leave_wait(model *m, model_frame *f)
{
    m->wake_wanted = 0;
    if (!f->fed_always)
        feed_always(m);
    model_time_update(m);
    m->epoch++;
    if (m->wake_pending)
        feed(m, ITEM_WAKE, COIR_CUSTOM, 0);
    expire_timers(m);
    expire_periodics(m);
    feed_idle(m);
    feed_kind(m, KIND_CHECK, COIR_CHECK);
    invoke_phase(m, f, PHASE_INVOKE_LAST);
}

/* From the end of an INVOKE phase to the next one. */
static void
next_phase(model *m, model_frame *f)
{
    switch (f->phase) {
    case PHASE_INVOKE_LAST:
        if (m->active <= 0 || m->done != COIR_BREAK_CANCEL ||
            (f->flags & (COIR_RUN_ONCE | COIR_RUN_NOWAIT))) {
            f->phase = PHASE_DONE;
            break;
        }
        /* fall through */
    case PHASE_INVOKE_FIRST:
        if (m->reset == COIR__RESET_FORK && has_kind(m, KIND_FORK)) {
            feed_kind(m, KIND_FORK, COIR_FORK);
            invoke_phase(m, f, PHASE_INVOKE_FORK);
            return;
        }
        /* fall through */
    case PHASE_INVOKE_FORK:
        if (has_kind(m, KIND_PREPARE)) {
            feed_kind(m, KIND_PREPARE, COIR_PREPARE);
            invoke_phase(m, f, PHASE_INVOKE_PREPARE);
            return;
        }
        /* fall through */
    default:
        if (m->done == COIR_BREAK_CANCEL) {
            f->phase = PHASE_APPLY;
            return;
        }
        f->phase = PHASE_DONE;
    }
    if (m->done == COIR_BREAK_ONE)
        m->done = COIR_BREAK_CANCEL;
}

static model_frame *
push(model *m)
{
    CHECK(m->depth < MODEL_FRAMES);
    m->frames[m->depth++] = (model_frame){.before = m->world->running};
    m->world->running = m;
    return top(m);
}

static void
pop(model *m, model_phase phase)
{
    CHECK_EQ(top(m)->phase, phase);
    CHECK_EQ(m->world->running, m);
    m->world->running = top(m)->before;
    m->depth--;
}

/* The outer loop runs the inner one. */
static void
run_inner(model *m)
{
    model_run(m, COIR_RUN_NOWAIT);
    top(m)->is_sweep = 1;
}

static void
begin_sweep(model *m, model_sweep why, int slot)
{
    model_frame *f = top(m);
    f->sweep = why;
    f->sweeper = slot;
    f->embed = m->items[slot].real;
    run_inner(m->inner);
}

/* The inner loop has run. */
static void
end_sweep(model *m, model_frame *f)
{
    pop(m->inner, PHASE_DONE);
    if (f->sweep == SWEEP_PREPARE && has_changes(m->inner)) {
        run_inner(m->inner);
        return;
    }
    /* Its descriptor is a new one; unless somebody stopped it meanwhile. */
    if (f->sweep == SWEEP_FORK && m->items[f->sweeper].active &&
        m->items[f->sweeper].real == f->embed) {
        model_stop(m, ITEM_PART_A + f->sweeper);
        start_embed_io(m, f->sweeper);
    }
    f->sweep = SWEEP_NONE;
}

static void
run_stat(model *m, int slot)
{
    model_item *w = &m->items[slot];
    if (w->version == m->world->versions[w->file])
        return;
    w->version = m->world->versions[w->file];
    m->epoch++;
    feed(m, slot, COIR_STAT, 0);
}

static int
is_shown(int item)
{
    return item < MODEL_SLOTS || (item >= ITEM_ONCE && item < ITEM_WAKE);
}

/* The loop's own watcher that it calls next, or has called; -1: the next is
 * one of the program's. */
static int
next_own(const model *m)
{
    const model_item *first = &m->items[first_pending(m)];
    int own = -1, shown = 0;
    for (int i = 0; i < MODEL_ITEMS; i++) {
        const model_item *w = &m->items[i];
        if (!w->pending || comes_before(first, w))
            continue;
        if (is_shown(i))
            shown = 1;
        else if (own < 0 || !coir_is_pending(w->real))
            own = i;
    }
    /* Where the order is not specified, it follows what was done. */
    return own >= 0 && shown && coir_is_pending(m->items[own].real) ? -1 : own;
}

/* Call a watcher of the loop's own, if one is next. */
static int
run_own(model *m)
{
    int i = next_own(m);
    if (i < 0)
        return 0;
    unfeed(m, i);
    int slot = i % MODEL_SLOTS;
    if (i == ITEM_WAKE)
        run_wake(m, m->items[i].revents);
    else if (m->items[i].kind == KIND_TIMER)
        run_stat(m, slot);
    else if (i >= ITEM_PART_C) {
        model_stop(m, ITEM_PART_A + slot);
        m->inner->reset = COIR__RESET_FORK;
        begin_sweep(m, SWEEP_FORK, slot);
    }
    else if (i >= ITEM_PART_B) {
        if (has_changes(m->inner))
            begin_sweep(m, SWEEP_PREPARE, slot);
    }
    else if (m->items[slot].sweeps)
        begin_sweep(m, SWEEP_READABLE, slot);
    else {
        m->epoch++;
        feed(m, slot, COIR_EMBED, 0);
    }
    return 1;
}

static int
is_invoking(const model_frame *f)
{
    return f->phase != PHASE_APPLY && f->phase != PHASE_WAIT &&
           f->phase != PHASE_DONE;
}

/* Go on to where the loop can do something that shows, or return. */
static void
advance(model *m)
{
    CHECK_EQ(m->taking_back, -1);
    CHECK_EQ(m->direct, -1);
    resolve(m);
    model_frame *f = top(m);
    CHECK(f != NULL);
    if (f->phase == PHASE_WAIT && !waits_on(m, f))
        leave_wait(m, f);
    while (is_invoking(f) && !f->hook) {
        if (f->sweep != SWEEP_NONE) {
            CHECK(m->inner != NULL);
            if (m->world->running != m->inner ||
                top(m->inner)->phase != PHASE_DONE)
                return;
            end_sweep(m, f);
        }
        else if (!f->skip && m->pending_count > 0) {
            if (!run_own(m))
                return;
        }
        else if (f->phase == PHASE_INVOKE_ALONE)
            return;
        else
            next_phase(m, f);
    }
}

/* The loop did something: go on to where it can. Runs of the inner loop by
 * the outer one do not show by themselves. */
static void
proceed(model *m)
{
    model *inner = m->inner, *outer = m->outer;
    if (inner != NULL && m->world->running == inner && top(inner)->is_sweep)
        advance(inner);
    if (outer != NULL && m->world->running == outer)
        advance(outer);
    advance(m);
    while (outer != NULL && top(m)->is_sweep && top(m)->phase == PHASE_DONE) {
        advance(outer);
        CHECK_EQ(m->world->running, m);
        advance(m);
    }
    CHECK_EQ(m->world->running, m);
}

int
model_has_room(const model *m)
{
    return m->depth < MODEL_FRAMES / 4;
}

void
model_run(model *m, int flags)
{
    model_frame *f = push(m);
    f->flags = flags;
    m->done = COIR_BREAK_CANCEL;
    invoke_phase(m, f, PHASE_INVOKE_FIRST);
}

void
model_ran(model *m)
{
    proceed(m);
    pop(m, PHASE_DONE);
}

void
model_invoke_pending(model *m)
{
    push(m)->phase = PHASE_INVOKE_ALONE;
}

void
model_invoked_pending(model *m)
{
    proceed(m);
    model_frame *f = top(m);
    CHECK(!f->hook && (f->skip || m->pending_count == 0));
    pop(m, PHASE_INVOKE_ALONE);
}

void
model_free(model *m)
{
    model_frame *f = push(m);
    f->phase = PHASE_INVOKE_ALONE;
    f->skip = !has_kind(m, KIND_CLEANUP);
    f->hook = m->hook && !f->skip;
    if (!f->skip)
        feed_kind(m, KIND_CLEANUP, COIR_CLEANUP);
}

/* --- what the loop does -------------------------------------------------- */

void
model_on_call(model *m, int item, int revents)
{
    if (m->direct >= 0) {
        CHECK_EQ(item, m->direct);
        CHECK_EQ(revents, m->direct_events);
        m->direct = -1;
        return;
    }
    proceed(m);
    CHECK(is_invoking(top(m)) && !top(m)->hook && !top(m)->skip);
    const model_item *w = &m->items[item];
    CHECK(w->pending);
    CHECK(!comes_before(&m->items[first_pending(m)], w));
    CHECK_EQ(revents, w->revents);
    unfeed(m, item);
}

void
model_on_once(model *m, int which, int revents)
{
    int item = ITEM_ONCE + 2 * which;
    proceed(m);
    CHECK(is_invoking(top(m)));
    const model_item *first = &m->items[first_pending(m)];
    int is_first = 0, expected = 0;
    for (int i = item; i < item + 2; i++) {
        if (!m->items[i].pending)
            continue;
        is_first |= !comes_before(first, &m->items[i]);
        expected |= m->items[i].revents;
    }
    CHECK(is_first);
    CHECK_EQ(revents, expected);
    model_stop(m, item);
    model_stop(m, item + 1);
    m->active--;
}

void
model_on_hook(model *m, int skip)
{
    proceed(m);
    CHECK(is_invoking(top(m)) && top(m)->hook);
    top(m)->hook = 0;
    top(m)->skip = skip;
}

/* Returns what io_collect asks for. */
static int64_t
begin_wait(model *m)
{
    model_frame *f = top(m);
    CHECK(f->phase == PHASE_APPLY && m->reset == 0);
    check_applied(m);
    int64_t before = m->now;
    model_time_update(m);
    m->wake_wanted = 1;
    m->iteration++;
    f->phase = PHASE_WAIT;
    f->fed_always = f->interrupted = f->early = 0;
    int blocks = !(f->flags & COIR_RUN_NOWAIT) && m->active > 0 &&
                 !has_kind(m, KIND_IDLE) && !has_always(m) &&
                 m->pending_count == 0 && !m->wake_pending;
    f->limit = blocks ? wait_limit(m) : 0;
    f->blocks = f->limit > 0;
    int64_t nap = m->io_collect - (m->now - before);
    if (m->io_collect == 0 || nap <= 0)
        return 0;
    return nap < f->limit ? nap : f->limit;
}

void
model_on_sleep(model *m, int64_t timeout)
{
    proceed(m);
    int64_t nap = begin_wait(m);
    /* Shorter to turn the wheel of timers. */
    CHECK(timeout > 0 && timeout <= nap);
    CHECK(timeout == nap || has_kind(m, KIND_TIMER));
    top(m)->limit -= timeout;
    top(m)->napped = timeout;
}

void
model_on_wait(model *m, int64_t timeout)
{
    model_frame *f = top(m);
    int64_t napped = f != NULL ? f->napped : 0;
    if (napped > 0)
        f->napped = 0;
    else {
        proceed(m);
        f = top(m);
        if (f->phase == PHASE_WAIT)
            f->limit = wait_limit(m);
        else
            CHECK_EQ(begin_wait(m), 0);
    }
    CHECK(timeout >= 0 && timeout <= f->limit);
    CHECK(timeout > 0 || f->limit == 0 || napped > 0);
    if (timeout < f->limit && timeout != AUDIT_WAIT_NS &&
        (timeout + napped != JUMP_WAIT_NS || !has_kind(m, KIND_PERIODIC))) {
        /* To turn the wheel of timers, and for those that were put off. */
        CHECK(has_kind(m, KIND_TIMER));
        CHECK(++f->early <= 8 * MODEL_ITEMS);
    }
}

void
model_on_interrupt(model *m)
{
    top(m)->interrupted = 1;
}
