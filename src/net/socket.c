/* socket.c - descriptors that green threads wait for.
 *
 * A call tries the system call first, and waits when that would block. It is
 * told by one coir_edge per socket, which is registered with the loop of the
 * first hub that has to wait for it, for the rest of its life: to wait costs
 * no system call. After a transfer on a stream that fell short the next call
 * waits at once, for it would find nothing (`drained`).
 *
 * Lines. Who has to wait stands in the line of its direction. When the socket
 * is ready the first one is taken out, has the turn and tries. If that would
 * block after all it goes back to the head of the line; when its call is over
 * the turn goes to the next, or the edge is asked to tell again. So
 *
 *     a line is empty, or one has the turn, or the edge waits for it
 *
 * and a call that comes meanwhile, while there is a crowd, goes to the end of
 * the line without trying. What is taken out always tries: nothing is read by
 * one that was cancelled or timed out.
 *
 * Other threads. A hub other than that of the edge cannot be told by it. Those
 * who wait there are strangers: each has a watcher of its own in its loop, for
 * that wait. They are in no line, only in a list, for close.
 *
 * Closing takes all out and wakes them. Any thread may do it, while others are
 * in calls. The number is closed at once if no thread is in a system call with
 * it, else by the last of these, for it must not mean another file then; the
 * memory goes with the last one that holds it: the owner, and each call. Both
 * are counted in one word, `state`. The edge is stopped by the thread that has
 * it, if need be by a parcel.
 *
 * Who closes the number itself, behind our back, is found out by the loop. The
 * socket is closed then; the number, which may be somebody's, is not. */
#include "net/internal.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define BIT(dir) ((uint8_t)(1U << (dir)))

static const int event_of[2] = {COIR_READ, COIR_WRITE};

static inline coir_waitq *
guard_of(coir_socket *s)
{
    return &s->lines[0];
}

static inline void
lock(coir_socket *s)
{
    coir__waitq_lock(guard_of(s));
    coir__waitq_check(&s->lines[1]);
    coir__waitq_check(&s->strangers);
}

static inline void
unlock(coir_socket *s)
{
    coir__waitq_unlock(guard_of(s));
}

/* --- what the loop says -------------------------------------------------- */

/* With the lock: take the first one out, if there is one, to try. */
static void
give_turn(coir_socket *s, int dir, coir__wakes *wakes)
{
    coir_waiter *w = coir__waitq_pop(&s->lines[dir]);
    s->turn[dir] = w != NULL;
    if (w != NULL)
        coir__wakes_add(wakes, w);
}

/* With the lock, in the thread of its hub: as if nobody had waited yet. */
static void
unbind(coir_socket *s)
{
    coir__guest_remove(&s->guest);
    s->drained = 0;
    s->turn[0] = s->turn[1] = 0;
    atomic_store_explicit(&s->hub, NULL, memory_order_relaxed);
}

/* The loop cannot watch it, and has stopped the edge. */
static void
is_broken(coir_socket *s)
{
    int lost = fcntl(s->fd, F_GETFD) < 0;
    if (lost)
        atomic_fetch_or(&s->state, COIR__CLOSED | COIR__GONE);
    lock(s);
    unbind(s);
    coir__wakes wakes = {NULL, NULL};
    for (int dir = 0; dir < 2; dir++)
        coir__waitq_pop_all(&s->lines[dir], &wakes,
                            lost ? COIR_ECLOSED : COIR_ENOMEM);
    unlock(s);
    coir__wake(&wakes);
}

static void
is_ready(coir_loop *loop, coir_edge *edge, int revents)
{
    (void)loop;
    coir_socket *s = (coir_socket *)(void *)edge;
    if (coir__unlikely(revents & COIR_ERROR)) {
        is_broken(s);
        return;
    }
    coir__wakes wakes = {NULL, NULL};
    lock(s);
    for (int dir = 0; dir < 2; dir++)
        if (revents & event_of[dir]) {
            s->drained &= (uint8_t)~BIT(dir);
            give_turn(s, dir, &wakes);
        }
    unlock(s);
    coir__wake(&wakes);
}

/* The hub goes. Who waited in it never runs again. */
static void
hub_goes(coir__guest *guest)
{
    coir_socket *s =
        (coir_socket *)(void *)((char *)guest - offsetof(coir_socket, guest));
    lock(s);
    coir_edge_stop(s->hub->loop, &s->edge);
    coir__wakes never = {NULL, NULL};
    for (int dir = 0; dir < 2; dir++) {
        coir__waitq_pop_all(&s->lines[dir], &never, 0);
        s->crowd[dir] = 0;
    }
    unbind(s);
    unlock(s);
}

/* --- waiting in its hub -------------------------------------------------- */

/* With the lock. */
static int
bind_to(coir_socket *s, coir_hub *hub)
{
    coir_edge_init(&s->edge, is_ready, s->fd);
    int err = coir_edge_start(hub->loop, &s->edge);
    if (err < 0)
        return err;
    s->guest.leave = hub_goes;
    coir__guest_add(hub, &s->guest);
    atomic_store_explicit(&s->hub, hub, memory_order_relaxed);
    return 0;
}

/* With the lock: have the edge tell, if nobody has the turn. Returns whether
 * it has become ready already. */
static int
ask_edge(coir_socket *s, int dir)
{
    if (coir_edge_wait(s->hub->loop, &s->edge, event_of[dir]) == 0)
        return 0;
    s->drained &= (uint8_t)~BIT(dir);
    return 1;
}

void
coir__use_set_idle(coir__use *u)
{
    u->busy = 0;
    uint64_t before = atomic_fetch_sub(&u->s->state, COIR__BUSY);
    if (coir__unlikely(before & COIR__CLOSED))
        coir__socket_last(u->s, u->s->fd, before, before - COIR__BUSY);
}

int
coir__use_set_busy(coir__use *u)
{
    _Atomic uint64_t *at = &u->s->state;
    uint64_t state = atomic_load_explicit(at, memory_order_relaxed);
    do
        if (coir__unlikely(state & COIR__CLOSED))
            return COIR_ECLOSED;
    while (!atomic_compare_exchange_weak(at, &state, state + COIR__BUSY));
    u->busy = 1;
    return 0;
}

/* To the head of the line, where it was before. */
static void
to_head(coir_waitq *q, coir_waiter *w)
{
    if (q->head == w)
        return;
    q->tail = w->prev;
    w->prev->next = NULL;
    w->prev = NULL;
    w->next = q->head;
    q->head->prev = w;
    q->head = w;
}

/* With the lock, which this gives up. */
static int
wait_in_line(coir__use *u, coir_green *g)
{
    coir_socket *s = u->s;
    coir_waitq *line = &s->lines[u->dir];
    if ((u->turn || (line->head == NULL && !s->turn[u->dir])) &&
        ask_edge(s, u->dir)) {
        unlock(s);
        return 0;
    }
    coir__caller caller = {g, 1};
    int err;
    coir_waiter *w = coir__waitq_enter(line, guard_of(s), &caller, NULL,
                                       COIR_FOREVER, &err);
    assert(w != NULL); /* it may wait, and does */
    if (u->turn) {
        to_head(line, w);
        u->turn = 0;
        s->turn[u->dir] = 0;
    }
    if (!u->in_line) {
        u->in_line = 1;
        s->crowd[u->dir]++;
    }
    unlock(s);
    coir__use_set_idle(u);
    err = coir__waitq_block_until(w, u->what, s, u->deadline_ns);
    u->turn = err == 0;
    return err == 0 ? coir__use_set_busy(u) : err;
}

void
coir__use_leave_line(coir__use *u)
{
    coir_socket *s = u->s;
    int dir = u->dir;
    coir__wakes wakes = {NULL, NULL};
    lock(s);
    s->crowd[dir]--;
    int is_empty = s->lines[dir].head == NULL;
    if (s->hub == NULL || s->hub != coir__hub) {
        /* It was closed, or let go by the hub: nobody is in line. */
    }
    else if (u->turn) {
        /* If there is nothing left the next one need not try. */
        if (is_empty || !(s->drained & BIT(dir)) || ask_edge(s, dir))
            give_turn(s, dir, &wakes);
        else
            s->turn[dir] = 0;
    }
    else if (is_empty && !s->turn[dir])
        coir_edge_cancel(s->hub->loop, &s->edge, event_of[dir]);
    unlock(s);
    coir__wake(&wakes);
}

/* --- waiting elsewhere --------------------------------------------------- */

typedef struct stranger {
    coir_io io;
    coir_waiter *waiter; /* NULL: waits for a bare descriptor */
    coir_green *green;
    int fd;
} stranger;

/* The loop has stopped the watcher: the descriptor is closed, or there was no
 * memory. */
static int
why_stopped(int fd)
{
    return fcntl(fd, F_GETFD) < 0 ? COIR_ERRNO(EBADF) : COIR_ENOMEM;
}

static void
stranger_is_ready(coir_loop *loop, coir_io *io, int revents)
{
    stranger *st = io->data;
    coir_io_stop(loop, io);
    int result = revents & COIR_ERROR ? why_stopped(st->fd) : revents;
    if (st->waiter == NULL)
        coir__ready(st->green->hub, st->green, result);
    else if (coir__waitq_leave(st->waiter)) {
        coir__wakes wakes = {st->waiter, st->waiter};
        st->waiter->next = NULL;
        st->waiter->result = result;
        coir__wake(&wakes);
    }
}

static stranger *
stranger_new(coir_hub *hub, coir_green *g, int fd, int events, int *err)
{
    stranger *st = coir_malloc(sizeof *st);
    *err = COIR_ENOMEM;
    if (st == NULL)
        return NULL;
    *st = (stranger){.green = g, .fd = fd};
    coir_io_init(&st->io, stranger_is_ready, fd, events);
    st->io.data = st;
    *err = coir_io_start(hub->loop, &st->io);
    if (*err == 0)
        return st;
    coir_free(st);
    return NULL;
}

static void
stranger_free(coir_hub *hub, stranger *st)
{
    coir_io_stop(hub->loop, &st->io);
    coir_free(st);
}

/* Returns the events, or an error. */
static int
wait_as_stranger(coir__use *u, coir_green *g, int events)
{
    coir_socket *s = u->s;
    int err;
    stranger *st = stranger_new(g->hub, g, s->fd, events, &err);
    if (st == NULL)
        return err;
    coir__caller caller = {g, 1};
    lock(s);
    if (atomic_load(&s->state) & COIR__CLOSED)
        err = COIR_ECLOSED;
    else
        st->waiter = coir__waitq_enter(&s->strangers, guard_of(s), &caller,
                                       NULL, COIR_FOREVER, &err);
    unlock(s);
    if (err == 0) {
        coir__use_set_idle(u);
        err = coir__waitq_block_until(st->waiter, u->what, s, u->deadline_ns);
    }
    stranger_free(g->hub, st);
    if (err >= 0) {
        int closed = coir__use_set_busy(u);
        return closed < 0 ? closed : err;
    }
    return err;
}

static int
leave_at_once(coir_green *g)
{
    (void)g;
    return 1;
}

/* The running green thread of this thread, that may wait. */
static int
waiting_green(coir_green **out)
{
    coir_hub *hub = coir_hub_get();
    if (hub == NULL)
        return COIR_ENOMEM;
    if (hub->current == NULL)
        return COIR_EINVAL;
    *out = hub->current;
    return coir__may_wait(hub->current);
}

/* Ask the kernel, without waiting: events, 0 or an error. */
static int
poll_now(int fd, int events)
{
    struct pollfd p = {.fd = fd,
                       .events = (short)((events & COIR_READ ? POLLIN : 0) |
                                         (events & COIR_WRITE ? POLLOUT : 0))};
    int n;
    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return coir__error_of(errno);
    if (p.revents & POLLNVAL)
        return COIR_ERRNO(EBADF);
    if (p.revents & (POLLERR | POLLHUP))
        return events;
    return (p.revents & POLLIN ? COIR_READ : 0) |
           (p.revents & POLLOUT ? COIR_WRITE : 0);
}

static int
are_events(int events)
{
    return events != 0 && (events & ~(COIR_READ | COIR_WRITE)) == 0;
}

int
coir_wait_fd(int fd, int events, int64_t timeout_ns)
{
    if (!are_events(events))
        return COIR_EINVAL;
    if (fd < 0)
        return COIR_ERRNO(EBADF);
    if (timeout_ns == 0) {
        int ready = poll_now(fd, events);
        return ready == 0 ? COIR_ETIMEDOUT : ready;
    }
    coir_green *g;
    int err = waiting_green(&g);
    if (err < 0)
        return err;
    stranger *st = stranger_new(g->hub, g, fd, events, &err);
    if (st == NULL)
        return err;
    err = coir__park(g->hub, g, "descriptor", NULL,
                     coir__deadline_after(g->hub, timeout_ns), leave_at_once,
                     NULL);
    stranger_free(g->hub, st);
    return err;
}

/* --- one call ------------------------------------------------------------ */

int
coir__use_wait(coir__use *u)
{
    coir_socket *s = u->s;
    if (u->timeout_ns == 0)
        return COIR_ETIMEDOUT;
    coir_green *g;
    int err = waiting_green(&g);
    if (err < 0)
        return err;
    coir_hub *hub = g->hub;
    hub->calls_made = 0;
    if (!u->waited) {
        u->deadline_ns = coir__deadline_after(hub, u->timeout_ns);
        u->waited = 1;
    }
    lock(s);
    if (atomic_load(&s->state) & COIR__CLOSED)
        err = COIR_ECLOSED;
    else if (s->hub == NULL)
        err = bind_to(s, hub);
    if (err == 0 && s->hub == hub)
        return wait_in_line(u, g);
    unlock(s);
    if (err == 0)
        err = wait_as_stranger(u, g, event_of[u->dir]);
    return err < 0 ? err : 0;
}

/* Let others run, which it does not while it never has to wait. */
static int
breathe(coir__use *u, coir_hub *hub)
{
    hub->calls_made = 0;
    if (u->timeout_ns == 0 || hub->current == NULL)
        return 0;
    coir__use_set_idle(u);
    hub->left = 0; /* and the loop be looked at */
    int err = coir_yield();
    if (err == 0 && hub->current->deadline_ns <= coir_loop_now(hub->loop))
        err = COIR_ETIMEDOUT;
    return err == 0 ? coir__use_set_busy(u) : err;
}

int
coir__use_begin_slowly(coir__use *u)
{
    coir_socket *s = u->s;
    coir_hub *hub = coir__hub;
    int err = 0;
    if (hub->calls_made > COIR__CALLS_MAX)
        err = breathe(u, hub);
    /* Behind those who came before. */
    if (err == 0 && s->crowd[u->dir] > 0 && s->hub == hub)
        err = coir__use_wait(u);
    return err;
}

int
coir_socket_wait(coir_socket *s, int events, int64_t timeout_ns)
{
    if (!are_events(events))
        return COIR_EINVAL;
    coir__use u;
    int ready =
        coir__use_enter(&u, s, COIR__IN, "socket", timeout_ns, COIR__CLOSED);
    if (ready == 0)
        ready = poll_now(s->fd, events);
    if (ready == 0) {
        coir_green *g;
        ready = timeout_ns == 0 ? COIR_ETIMEDOUT : waiting_green(&g);
        if (ready == 0) {
            u.deadline_ns = coir__deadline_after(g->hub, timeout_ns);
            ready = wait_as_stranger(&u, g, events);
        }
    }
    return (int)coir__use_end(&u, ready);
}

/* --- making and closing -------------------------------------------------- */

int
coir__socket_new(coir_socket **out, int fd, int is_socket, int is_stream)
{
    coir_socket *s = coir_calloc(1, sizeof *s);
    if (s == NULL)
        return COIR_ENOMEM;
    s->fd = fd;
    s->is_socket = is_socket != 0;
    s->is_stream = is_stream != 0;
    atomic_init(&s->state, COIR__HOLD);
    *out = s;
    return 0;
}

/* The counts fell: what goes with the last one? */
COIR__COLD void
coir__socket_last(coir_socket *s, int fd, uint64_t before, uint64_t after)
{
    if ((before & COIR__BUSY_MASK) != 0 && (after & COIR__BUSY_MASK) == 0 &&
        !(after & COIR__GONE))
        (void)close(fd);
    if ((after & COIR__HOLD_MASK) == 0) {
        coir__inner_pipe_free(s->inner);
        coir_free(s);
    }
}

void
coir__socket_drop(coir_socket *s)
{
    uint64_t before = atomic_fetch_sub(&s->state, COIR__HOLD);
    if ((before & COIR__HOLD_MASK) == COIR__HOLD)
        coir__socket_last(s, -1, before & ~COIR__BUSY_MASK,
                          before - COIR__HOLD);
}

/* In the thread of its hub: it was closed by another one. */
static void
stop_edge(coir__parcel *parcel)
{
    coir_socket *s = (coir_socket *)(void *)((char *)parcel -
                                             offsetof(coir_socket, parcel));
    lock(s);
    if (s->hub != NULL) {
        coir_edge_stop(s->hub->loop, &s->edge);
        unbind(s);
    }
    unlock(s);
    coir__socket_drop(s);
}

/* It has just been marked as closed: everybody out. Closes the descriptor if
 * it is to, and returns what that did. */
static int
turn_out(coir_socket *s, int closes)
{
    coir__wakes wakes = {NULL, NULL};
    int has_edge = 0;
    lock(s);
    coir_hub *hub = s->hub;
    coir__waitq_pop_all(&s->lines[0], &wakes, COIR_ECLOSED);
    coir__waitq_pop_all(&s->lines[1], &wakes, COIR_ECLOSED);
    coir__waitq_pop_all(&s->strangers, &wakes, COIR_ECLOSED);
    if (hub != NULL && hub == coir__hub) {
        unbind(s);
        has_edge = 1;
    }
    else if (hub != NULL) {
        /* While it is locked the hub cannot go. */
        atomic_fetch_add(&s->state, COIR__HOLD);
        s->parcel.open = stop_edge;
        coir__send(hub, &s->parcel);
    }
    unlock(s);
    int err = 0;
    if (has_edge && closes)
        err = coir_edge_close(hub->loop, &s->edge);
    else if (has_edge)
        coir_edge_stop(hub->loop, &s->edge);
    else if (closes)
        err = close(s->fd);
    err = err < 0 && errno != EINTR ? COIR_ERRNO(errno) : 0;
    coir__wake(&wakes);
    return err;
}

int
coir_socket_close(coir_socket *s)
{
    int err = COIR_ECLOSED;
    uint64_t before = atomic_fetch_or(&s->state, COIR__CLOSED);
    if (!(before & COIR__CLOSED))
        err = turn_out(s, (before & COIR__BUSY_MASK) == 0);
    coir__socket_drop(s);
    return err;
}

int
coir_socket_release(coir_socket *s, int *fd)
{
    uint64_t before = atomic_fetch_or(&s->state, COIR__CLOSED | COIR__GONE);
    if (before & COIR__CLOSED)
        return COIR_ECLOSED;
    *fd = s->fd;
    (void)turn_out(s, 0);
    coir__socket_drop(s);
    return 0;
}

coir_socket *
coir_socket_hold(coir_socket *s)
{
    atomic_fetch_add(&s->state, COIR__HOLD);
    return s;
}

int
coir_socket_fd(const coir_socket *s)
{
    return atomic_load(&s->state) & COIR__CLOSED ? -1 : s->fd;
}

coir__inner_pipe *
coir__inner_pipe_set(coir_socket *s, coir__inner_pipe *inner)
{
    lock(s);
    if (s->inner == NULL)
        s->inner = inner;
    inner = s->inner;
    unlock(s);
    return inner;
}

void
coir_socket_clear_torn(coir_socket *s)
{
    atomic_fetch_and(&s->state,
                     ~(COIR__TORN(COIR__IN) | COIR__TORN(COIR__OUT)));
}
