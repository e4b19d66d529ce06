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
 * and a call that comes while others are in line, or have the turn, goes to
 * the end of the line without trying. Who has been taken out always tries:
 * nothing is read for one that was cancelled or timed out.
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
 * socket is closed then; the number, which may be somebody's, is not.
 *
 * The child of a fork goes on with copies, in which nobody waits and no other
 * thread is in a call. That is noticed when a socket is first used there. */
#include "net/internal.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <unistd.h>

#include "loop/internal.h"

#define BIT(dir) ((uint8_t)(1U << (dir)))

static const int event_of[2] = {COIR_READ, COIR_WRITE};

static inline coir_waitq *
guard_of(coir_socket *s)
{
    return &s->lines[COIR__IN];
}

static inline void
lock(coir_socket *s)
{
    coir__waitq_lock(guard_of(s));
}

static inline void
unlock(coir_socket *s)
{
    coir__waitq_unlock(guard_of(s));
}

static inline void
set_turn(coir_socket *s, int dir, int is_given)
{
    atomic_store_explicit(&s->turn[dir], (unsigned char)is_given,
                          memory_order_relaxed);
}

static inline void
set_hub(coir_socket *s, coir_hub *hub)
{
    atomic_store_explicit(&s->hub, hub, memory_order_relaxed);
}

/* --- its edge ------------------------------------------------------------ */

/* With the lock: take the first one out, to try, if there is one. */
static void
give_turn(coir_socket *s, int dir, coir__wakes *wakes)
{
    coir_waiter *w = coir__waitq_pop(&s->lines[dir]);
    set_turn(s, dir, w != NULL);
    if (w != NULL)
        coir__wakes_add(wakes, w);
}

/* With the lock, in the thread of its hub: as if nobody had waited yet. */
static void
unbind(coir_socket *s)
{
    coir__guest_remove(&s->guest);
    s->drained = 0;
    set_turn(s, COIR__IN, 0);
    set_turn(s, COIR__OUT, 0);
    set_hub(s, NULL);
}

/* The loop cannot watch it, and has stopped the edge. */
static void
is_broken(coir_socket *s)
{
    int lost = (s->edge.ready & COIR__NOT_OURS) ||
               coir__sys_fcntl(s->fd, F_GETFD, 0) < 0;
    int err = lost ? COIR_ECLOSED : COIR_ENOMEM;
    coir__wakes wakes = {NULL, NULL};
    if (lost)
        atomic_fetch_or(&s->state, COIR__CLOSED | COIR__GONE);
    lock(s);
    unbind(s);
    coir__waitq_pop_all(&s->lines[COIR__IN], &wakes, err);
    coir__waitq_pop_all(&s->lines[COIR__OUT], &wakes, err);
    unlock(s);
    coir__wake(&wakes);
}

static void
is_ready(coir_loop *loop, coir_edge *edge, int revents)
{
    (void)loop;
    coir_socket *s = COIR__CONTAINER(edge, coir_socket, edge);
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
    coir_socket *s = COIR__CONTAINER(guest, coir_socket, guest);
    coir__wakes nobody = {NULL, NULL};
    lock(s);
    coir_edge_stop(s->hub->loop, &s->edge);
    coir__waitq_pop_all(&s->lines[COIR__IN], &nobody, 0);
    coir__waitq_pop_all(&s->lines[COIR__OUT], &nobody, 0);
    unbind(s);
    unlock(s);
}

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
    set_hub(s, hub);
    return 0;
}

/* With the lock: have the edge tell. Returns whether it is ready already. */
static int
ask_edge(coir_socket *s, int dir)
{
    if (coir_edge_wait(s->hub->loop, &s->edge, event_of[dir]) == 0)
        return 0;
    s->drained &= (uint8_t)~BIT(dir);
    return 1;
}

/* Nobody waits any more, nor is another thread in a call. */
COIR__COLD void
coir__socket_forked(coir_socket *s)
{
    s->forks = coir__forks;
    const coir_hub *mine = coir__hub_if_any();
    atomic_fetch_and(&s->state, ~COIR__BUSY_MASK);
    lock(s); /* and its list is found empty, as it is of another process */
    coir__waitq_check(&s->lines[COIR__OUT]);
    coir__waitq_check(&s->strangers);
    set_turn(s, COIR__IN, 0);
    set_turn(s, COIR__OUT, 0);
    coir_hub *hub = s->hub;
    if (hub != NULL && hub->forks != coir__forks)
        set_hub(s, NULL); /* its thread is not here */
    else if (hub != NULL && hub == mine)
        coir_edge_cancel(hub->loop, &s->edge, COIR_READ | COIR_WRITE);
    unlock(s);
}

/* --- waiting in its hub -------------------------------------------------- */

void
coir__use_set_idle(coir__use *u)
{
    u->busy = 0;
    uint64_t before = coir__state_sub(u->s, COIR__BUSY);
    if (coir__unlikely(before & COIR__CLOSED))
        coir__socket_last(u->s, u->s->fd, before, before - COIR__BUSY);
}

int
coir__use_set_busy(coir__use *u)
{
    if (coir__state_add(u->s, COIR__BUSY, COIR__CLOSED) & COIR__CLOSED)
        return COIR_ECLOSED;
    u->busy = 1;
    return 0;
}

/* The wait is to end early. */
static int
leave_line(coir_green *g)
{
    coir_socket *s = (coir_socket *)(uintptr_t)g->object;
    coir_waiter *w = g->wait_data;
    coir__socket_check_fork(s);
    int dir = __atomic_load_n(&w->queue, __ATOMIC_RELAXED) != guard_of(s);
    if (!coir__waitq_leave(w))
        return 0;
    lock(s);
    if (!coir__socket_is_crowded(s, dir) && s->hub == g->hub)
        coir_edge_cancel(g->hub->loop, &s->edge, event_of[dir]);
    unlock(s);
    return 1;
}

/* From the end of the line to its head, where it was before. */
static void
move_to_head(coir_waitq *line, coir_waiter *w)
{
    if (line->head == w)
        return;
    line->tail = w->prev;
    w->prev->next = NULL;
    w->prev = NULL;
    w->next = line->head;
    line->head->prev = w;
    line->head = w;
}

/* With the lock, which this gives up. */
static int
wait_in_line(coir__use *u, coir_green *g)
{
    coir_socket *s = u->s;
    coir_waitq *line = &s->lines[u->dir];
    if ((u->turn || !coir__socket_is_crowded(s, u->dir)) &&
        ask_edge(s, u->dir)) {
        unlock(s);
        return 0;
    }
    const coir__caller caller = {g, 1};
    int err;
    coir_waiter *w = coir__waitq_enter(line, guard_of(s), &caller, NULL,
                                       COIR_FOREVER, &err);
    assert(w != NULL); /* it was asked whether it may */
    if (u->turn) {
        move_to_head(line, w);
        u->turn = 0;
        set_turn(s, u->dir, 0);
    }
    unlock(s);
    coir__use_set_idle(u);
    err = coir__park(g->hub, g, u->what, s, u->deadline_ns, leave_line, w);
    if (err == 0)
        err = w->result;
    u->turn = err == 0;
    return err == 0 ? coir__use_set_busy(u) : err;
}

void
coir__use_pass_turn(coir__use *u)
{
    coir_socket *s = u->s;
    int dir = u->dir;
    coir__wakes wakes = {NULL, NULL};
    u->turn = 0;
    lock(s);
    if (s->hub != NULL && s->hub == coir__hub) {
        /* If there is nothing left the next one need not try. */
        if (s->lines[dir].head != NULL && (s->drained & BIT(dir)) &&
            !ask_edge(s, dir))
            set_turn(s, dir, 0);
        else
            give_turn(s, dir, &wakes);
    }
    unlock(s);
    coir__wake(&wakes);
}

/* --- waiting elsewhere --------------------------------------------------- */

typedef struct stranger {
    coir_io io;
    coir_waiter *waiter; /* NULL: it waits for a bare descriptor */
    coir_green *green;
} stranger;

static void
stranger_is_ready(coir_loop *loop, coir_io *io, int revents)
{
    const stranger *st = io->data;
    coir_io_stop(loop, io);
    if (revents & COIR_ERROR) /* it is closed, or there was no memory */
        revents = coir__sys_fcntl(io->fd, F_GETFD, 0) < 0 ? COIR_ERRNO(EBADF)
                                                          : COIR_ENOMEM;
    if (st->waiter == NULL || coir__waitq_leave(st->waiter))
        coir__ready(st->green->hub, st->green, revents);
}

static int
leave_as_stranger(coir_green *g)
{
    stranger *st = g->wait_data;
    coir_io_stop(g->hub->loop, &st->io);
    return st->waiter == NULL || coir__waitq_leave(st->waiter);
}

static stranger *
stranger_new(coir_green *g, int fd, int events, int *err)
{
    *err = COIR_ENOMEM;
    stranger *st = coir_malloc(sizeof *st);
    if (st == NULL)
        return NULL;
    st->waiter = NULL;
    st->green = g;
    coir_io_init(&st->io, stranger_is_ready, fd, events);
    st->io.data = st;
    *err = coir_io_start(g->hub->loop, &st->io);
    if (*err == 0)
        return st;
    coir_free(st);
    return NULL;
}

static void
stranger_free(stranger *st)
{
    coir_io_stop(st->green->hub->loop, &st->io);
    coir_free(st);
}

/* Returns the events, or an error. */
static int
wait_as_stranger(coir__use *u, coir_green *g, int events)
{
    coir_socket *s = u->s;
    int err;
    stranger *st = stranger_new(g, s->fd, events, &err);
    if (st == NULL)
        return err;
    const coir__caller caller = {g, 1};
    lock(s);
    if (atomic_load(&s->state) & COIR__CLOSED)
        err = COIR_ECLOSED;
    else
        st->waiter = coir__waitq_enter(&s->strangers, guard_of(s), &caller,
                                       NULL, COIR_FOREVER, &err);
    unlock(s);
    if (err == 0) {
        coir__use_set_idle(u);
        err = coir__park(g->hub, g, u->what, s, u->deadline_ns,
                         leave_as_stranger, st);
        if (err == 0)
            err = st->waiter->result; /* by close */
    }
    stranger_free(st);
    if (err < 0)
        return err;
    int closed = coir__use_set_busy(u);
    return closed < 0 ? closed : err;
}

/* --- one call ------------------------------------------------------------ */

/* The running green thread of this thread, if it may wait. */
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

/* One that never has to wait: let others run, and see whether it is to end. */
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
    coir_hub *hub = coir__hub;
    int err = 0;
    if (hub->calls_made > COIR__CALLS_MAX)
        err = breathe(u, hub);
    /* Behind those who came before. */
    if (err == 0 && coir__socket_is_crowded(u->s, u->dir) &&
        coir__socket_hub(u->s) == hub)
        err = coir__use_wait(u);
    return err;
}

/* --- waiting only -------------------------------------------------------- */

/* Ask the kernel, without waiting: events, 0 or an error. */
static int
poll_now(int fd, int events)
{
    if (coir__sys_is_sim(fd))
        return coir__sim_poll(fd, events);
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
    stranger *st = stranger_new(g, fd, events, &err);
    if (st == NULL)
        return err;
    err = coir__park(g->hub, g, "descriptor", NULL,
                     coir__deadline_after(g->hub, timeout_ns),
                     leave_as_stranger, st);
    stranger_free(st);
    return err;
}

/* --- making and closing -------------------------------------------------- */

int
coir__socket_new(coir_socket **out, int fd, int is_socket, int is_stream)
{
    coir_socket *s = coir_calloc(1, sizeof *s);
    if (s == NULL)
        return COIR_ENOMEM;
    s->fd = fd;
    s->forks = coir__forks;
    s->is_socket = is_socket != 0;
    s->is_stream = is_stream != 0;
    s->lines[COIR__IN].lock = s->lines[COIR__OUT].lock = s->strangers.lock =
        coir__waitq_mark();
    atomic_init(&s->state, COIR__HOLD);
    *out = s;
    return 0;
}

static int
close_number(int fd)
{
    return coir__sys_is_sim(fd) ? coir__sim_close(fd)
                                : coir__close_watched(fd);
}

/* The counts fell: what goes with the last one? */
COIR__COLD void
coir__socket_last(coir_socket *s, int fd, uint64_t before, uint64_t after)
{
    if ((before & COIR__BUSY_MASK) != 0 && (after & COIR__BUSY_MASK) == 0 &&
        !(after & COIR__GONE))
        (void)close_number(fd);
    if ((after & COIR__HOLD_MASK) == 0) {
        coir__inner_pipe_free(s->inner);
        coir_free(s);
    }
}

void
coir__socket_drop(coir_socket *s)
{
    uint64_t before = coir__state_sub(s, COIR__HOLD);
    if ((before & COIR__HOLD_MASK) == COIR__HOLD)
        coir__socket_last(s, -1, 0, 0);
}

/* In the thread of its hub: it was closed by another one. */
static void
stop_edge(coir__parcel *parcel)
{
    coir_socket *s = COIR__CONTAINER(parcel, coir_socket, parcel);
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
    int has_edge = 0, err = 0;
    lock(s);
    coir_hub *hub = s->hub;
    coir__waitq_pop_all(&s->lines[COIR__IN], &wakes, COIR_ECLOSED);
    coir__waitq_pop_all(&s->lines[COIR__OUT], &wakes, COIR_ECLOSED);
    coir__waitq_pop_all(&s->strangers, &wakes, COIR_ECLOSED);
    if (hub != NULL && hub == coir__hub_if_any()) {
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
    if (has_edge && closes && !coir__sys_is_sim(s->fd))
        err = coir_edge_close(hub->loop, &s->edge);
    else {
        if (has_edge)
            coir_edge_stop(hub->loop, &s->edge);
        if (closes)
            err = close_number(s->fd);
    }
    err = err < 0 && errno != EINTR ? coir__error_of(errno) : 0;
    coir__wake(&wakes);
    return err;
}

int
coir_socket_close(coir_socket *s)
{
    int err = COIR_ECLOSED;
    coir__socket_check_fork(s);
    uint64_t before = atomic_fetch_or(&s->state, COIR__CLOSED);
    if (!(before & COIR__CLOSED))
        err = turn_out(s, (before & COIR__BUSY_MASK) == 0);
    coir__socket_drop(s);
    return err;
}

int
coir_socket_release(coir_socket *s, int *fd)
{
    coir__socket_check_fork(s);
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
