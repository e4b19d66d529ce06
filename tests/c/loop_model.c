/* loop_model.c - the plain model of a loop, see loop_model.h: watchers,
 * descriptors, time.
 *
 * Pending watchers are ordered by priority, then by when they were fed, the
 * last first. What is fed at once in an order that is not specified has one
 * epoch and one rank; timers that expire together have ranks. */
#include "loop_model.h"

#include <errno.h>
#include <string.h>

#include "loop/internal.h"

/* As in the loop: how often the wall clock is looked at, what is a jump, and
 * the least interval of periodics. */
#define WALL_CHECK_NS (COIR_NS_PER_S / 2)
#define JUMP_NS COIR_NS_PER_S
#define MIN_INTERVAL_NS 122070

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

model_frame *
model__top(model *m)
{
    return m->depth > 0 ? &m->frames[m->depth - 1] : NULL;
}

/* --- pending watchers ---------------------------------------------------- */

void
model__feed(model *m, int item, int revents, uint64_t rank)
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

void
model__unfeed(model *m, int item)
{
    m->pending_count -= (unsigned)m->items[item].pending;
    m->items[item].pending = 0;
}

void
model__feed_kind(model *m, model_kind kind, int revents)
{
    m->epoch++;
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (m->items[i].active && m->items[i].kind == kind)
            model__feed(m, i, revents, 0);
}

int
model__has_kind(const model *m, model_kind kind)
{
    for (int i = 0; i < MODEL_ITEMS; i++)
        if (m->items[i].active && m->items[i].kind == kind)
            return 1;
    return 0;
}

/* Is `a` to be called before `b`? */
int
model__comes_before(const model_item *a, const model_item *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    return a->rank < b->rank;
}

/* One that nothing comes before; -1: none is pending. */
int
model__first_pending(const model *m)
{
    int first = -1;
    for (int i = 0; i < MODEL_ITEMS && m->pending_count > 0; i++)
        if (m->items[i].pending &&
            (first < 0 || model__comes_before(&m->items[i], &m->items[first])))
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
    model__feed(m, item, revents, 0);
}

int
model_clear(model *m, int item)
{
    int revents = m->items[item].pending ? m->items[item].revents : 0;
    model__unfeed(m, item);
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

void
model__start_embed_io(model *m, int item)
{
    model_item *w = &m->items[item];
    const coir_embed *real = (const coir_embed *)w->real;
    w->resets = m->inner->resets;
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
    model__start_embed_io(m, item);
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
    if (w->kind == KIND_SIGNAL && !has_signal(m, w->signum) &&
        !m->signal_pending)
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
    model__unfeed(m, item);
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
    model__unfeed(m, item);
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
    model__unfeed(m, item);
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
            model__feed(m, i, got, 0);
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
            model__unfeed(m, item);
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
    model__unfeed(m, item);
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
    model__resolve(m);
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
            model__feed(m, i, COIR_ERROR | COIR_READ | COIR_WRITE, 0);
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
            model__feed(m, i, got, 0);
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
void
model__resolve(model *m)
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
        model__proceed_to_modify(m);
        CHECK(model__top(m)->phase == PHASE_APPLY && m->reset == 0);
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
void
model__check_applied(model *m)
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

int
model__has_changes(const model *m)
{
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].changed)
            return 1;
    return m->wake_changed;
}

int
model__has_always(const model *m)
{
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].always)
            return 1;
    return 0;
}

void
model__feed_always(model *m)
{
    m->epoch++;
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].always)
            feed_watchers(m, fd, COIR_READ | COIR_WRITE);
}

void
model_on_reset(model *m, int err)
{
    model__proceed(m);
    CHECK(model__top(m)->phase == PHASE_APPLY && m->reset != 0);
    if (err != 0)
        return; /* tried again */
    if (m->reset == COIR__RESET_FORK) {
        /* A new eventfd, and a look at who was about to send. */
        model__unfeed(m, ITEM_WAKE);
        m->eventfd = 0;
        for (int i = 0; i < MODEL_SLOTS; i++)
            if (m->items[i].kind == KIND_ASYNC && m->items[i].active &&
                m->items[i].sent) {
                m->async_pending = 1;
                model_wakeup(m);
            }
    }
    m->reset = 0;
    m->resets++;
    for (int fd = 0; fd < MODEL_FDS; fd++)
        if (m->fds[fd].registered || m->fds[fd].always) {
            m->fds[fd].registered = 0;
            change(m, fd, 1);
        }
}

void
model_on_audit(model *m, int fd, int err)
{
    model_frame *f = model__top(m);
    CHECK(f != NULL && f->phase == PHASE_WAIT);
    CHECK(m->fds[fd].registered && !m->fds[fd].changed);
    if (!f->fed_always && model__has_always(m)) {
        model__feed_always(m);
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
            model__feed(m, i, COIR_SIGNAL, 0);
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
    model__feed(m, ITEM_WAKE, COIR_READ, 0);
}

void
model__run_wake(model *m, int revents)
{
    if (revents & COIR_READ)
        m->eventfd = 0;
    m->wake_pending = 0;
    m->epoch++;
    for (int s = 0; s < MODEL_SIGNALS && m->signal_pending; s++)
        if (m->signals[s]) {
            feed_signal(m, s);
            m->signals[s] = 0; /* also if nobody watches it any more */
        }
    m->signal_pending = 0;
    for (int i = 0; i < MODEL_SLOTS && m->async_pending; i++)
        if (m->items[i].kind == KIND_ASYNC && m->items[i].active &&
            m->items[i].sent) {
            m->items[i].sent = 0;
            model__feed(m, i, COIR_ASYNC, 0);
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
int64_t
model__due_in(const model *m, int64_t slack)
{
    __int128 due = COIR_FOREVER;
    int next = next_timer(m, COIR_FOREVER);
    if (next >= 0 && m->items[next].deadline < COIR_FOREVER) {
        due = m->items[next].deadline - m->now;
        if (due > 0)
            due += slack;
    }
    for (int i = 0; i < MODEL_SLOTS; i++) {
        const model_item *w = &m->items[i];
        __int128 in = (__int128)w->at - m->wall;
        if (w->kind == KIND_PERIODIC && w->active && in < due)
            due = in;
    }
    return due > 0 ? (int64_t)due : 0;
}

void
model__expire_timers(model *m)
{
    m->epoch++;
    uint64_t rank = 0;
    for (int i; rank < MODEL_TIMERS && (i = next_timer(m, m->now)) >= 0;) {
        model_item *w = &m->items[i];
        model__feed(m, i, COIR_TIMER, rank++);
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

void
model__expire_periodics(model *m)
{
    m->epoch++;
    for (int i = 0; i < MODEL_SLOTS; i++) {
        model_item *w = &m->items[i];
        if (w->kind != KIND_PERIODIC || !w->active || w->at > m->wall)
            continue;
        model__feed(m, i, COIR_PERIODIC, (uint64_t)w->at ^ UINT64_C(1) << 63);
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

void
model__feed_idle(model *m)
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
                model__feed(m, i, COIR_IDLE, 0);
                found = 1;
            }
        if (found)
            return;
    }
}
