/* socket.c - the type Socket: Python's own _socket.socket, green.
 *
 * It is a subclass of the interpreter's type, so that everything that takes
 * one of those takes ours, and what does not wait is inherited. The descriptor
 * never blocks, as the base's own timeout is 0; ours is beside it, with the
 * rest of struct sock, after the base's fields.
 *
 * A call tries the system call first and waits when that would block. It is
 * told by a coir_edge, which is made when somebody first waits and registered
 * with that thread's loop for the life of the socket: to wait costs no system
 * call. After a transfer on a TCP stream that fell short the next call waits
 * at once, for it would find nothing (`drained`).
 *
 * Lines. Who has to wait stands in the line of its direction. When the socket
 * is ready the first one is taken out, has the turn and tries. If that would
 * block after all it goes back to the head of the line; when its call is over
 * the turn goes to the next one, or the edge is asked to tell again. So
 *
 *     a line is empty, or one has the turn, or the edge waits for it
 *
 * and a call that comes while others are in line, or have the turn, goes to
 * the end of the line without trying. Who was given the turn and is killed
 * before it ran passes it on.
 *
 * Other threads. The edge cannot tell those who wait in another loop: these
 * are strangers, each with a watcher of its own for that wait. So are all of
 * a socket whose `ref` is false.
 *
 * Closing takes all out, who find the number gone. Who closes the number
 * behind our back is found out by the loop; the socket has no number then.
 *
 * Kinds. What a socket needs of Python depends on whose API it is of, and so
 * do some habits: an instance of the class that was given with `lenient` is
 * eventlet's. There who comes while others are in line tries nevertheless, and
 * has to wait at their end only if that is allowed (`crowded`).
 *
 * Twins. Two objects may stand for one number. A guest is a green face of
 * another object: that one owns the number, and is closed by it; if that is a
 * socket, too, the guest looks before each call whether it still has it. Else
 * the twin is a plain socket which was made of the number of this one, for
 * those who ask for it, and loses it when this one is closed.
 *
 * The edge lies in memory of its own, struct link: when the last reference to
 * the socket goes in another thread while its loop blocks, that is left to
 * the loop. */
#include "socket.h"

#include <poll.h>
#include <unistd.h>

struct coir__sockets coir__sockets;

static const int event_of[2] = {COIR_READ, COIR_WRITE};

/* The loop's share of a socket. */
struct link {
    union {
        LoopObject *loop;  /* strong */
        coir_ready parcel; /* without a socket: to the loop, to free this */
    };
    coir_edge edge; /* its data: the socket, borrowed; NULL: that is gone */
};

/* --- the edge ------------------------------------------------------------ */

static void
link_free(struct link *l)
{
    l->loop->waits_fds--;
    Py_DECREF((PyObject *)l->loop);
    PyMem_Free(l);
}

static void
parcel_came(coir_ready *r, LoopObject *loop)
{
    struct link *l = (struct link *)r; /* its first member */
    coir_edge_stop(loop->loop, &l->edge);
    PyMem_Free(l);
}

/* The loop has gone, with its edges. */
static void
drop_parcel(coir_ready *r)
{
    coir__list_remove(&r->node);
    PyMem_Free(r); /* the link */
}

static const coir_ready_kind parcel_kind = {parcel_came, drop_parcel, NULL};

/* May this thread change the loop's watchers now? */
static inline int
is_at_hand(const LoopObject *loop)
{
    return !loop->blocks;
}

/* The socket needs it no more. */
void
coir__sock_unlink(struct sock *s)
{
    struct link *l = s->link;
    if (l == NULL)
        return;
    s->link = NULL;
    s->drained = s->turn = 0;
    l->edge.data = NULL;
    LoopObject *loop = l->loop;
    if (loop->loop == NULL) {
        link_free(l);
    }
    else if (is_at_hand(loop)) {
        coir_edge_stop(loop->loop, &l->edge);
        link_free(l);
    }
    else {
        loop->waits_fds--;
        l->parcel = (coir_ready){.kind = &parcel_kind};
        coir__loop_ready(loop, &l->parcel);
        Py_DECREF((PyObject *)loop);
    }
}

static void
wake_all(coir_list *list)
{
    while (list->head != NULL)
        coir__wake(coir__wait_of(list->head), NULL);
}

void
coir__sock_wake(struct sock *s)
{
    s->turn = 0;
    wake_all(&s->lines[IN]);
    wake_all(&s->lines[OUT]);
    wake_all(&s->strangers);
}

/* Take the first one out, to try, if there is one. */
static void
give_turn(struct sock *s, int dir)
{
    coir_node *n = s->lines[dir].head;
    if (n == NULL) {
        s->turn &= (uint8_t)~BIT(dir);
        return;
    }
    s->turn |= BIT(dir);
    coir__wake(coir__wait_of(n), NULL);
}

static void
edge_tells(coir_loop *Py_UNUSED(loop), coir_edge *edge, int revents)
{
    PyObject *op = edge->data;
    if (op == NULL)
        return;
    struct sock *s = sock_of(op);
    LoopObject *loop = s->link->loop;
    if (COIR__UNLIKELY(revents & COIR_ERROR)) {
        /* The loop has stopped it: the number was closed, and may be somebody
         * else's by now, or there was no memory. */
        if (!coir__fd_is_open(BASE->fd))
            BASE->fd = -1;
        coir__sock_unlink(s);
        coir__sock_wake(s);
        return;
    }
    loop->tells = loop->in_order;
    for (int dir = IN; dir <= OUT; dir++)
        if (revents & event_of[dir]) {
            s->drained &= (uint8_t)~BIT(dir);
            give_turn(s, dir);
        }
    loop->tells = 0;
}

/* Have the edge tell in this loop, if it does not in another one. */
static int
link_edge(PyObject *op, LoopObject *loop)
{
    struct sock *s = sock_of(op);
    if (s->link != NULL) {
        if (COIR__LIKELY(s->link->loop->loop != NULL))
            return 0;
        coir__sock_unlink(s); /* that loop was destroyed */
    }
    struct link *l = PyMem_Calloc(1, sizeof *l);
    if (l == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    coir_edge_init(&l->edge, edge_tells, BASE->fd);
    if (coir_edge_start(loop->loop, &l->edge) < 0) {
        PyMem_Free(l);
        PyErr_NoMemory();
        return -1;
    }
    l->edge.data = op;
    l->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    loop->waits_fds++;
    s->link = l;
    return 0;
}

int
coir__sock_close_number(struct sock *s, int fd)
{
    struct link *l = s->link;
    if (l == NULL || l->loop->loop == NULL || !is_at_hand(l->loop)) {
        coir__sock_unlink(s);
        return close(fd);
    }
    int err = coir_edge_close(l->loop->loop, &l->edge), e = errno;
    s->link = NULL;
    s->drained = 0;
    link_free(l);
    errno = e;
    return err;
}

/* --- errors -------------------------------------------------------------- */

int
coir__set_timed_out(void)
{
    PyErr_SetString(PyExc_TimeoutError, "timed out");
    return -1;
}

int
coir__set_oserror(int e)
{
    errno = e;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* It was closed while somebody waited. */
static COIR__COLD int
set_closed(PyObject *op)
{
    if (coir__kind_of(op)->closed != NULL) {
        PyObject *exc = PyObject_CallNoArgs(coir__kind_of(op)->closed);
        if (exc != NULL)
            PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_XDECREF(exc);
        return -1;
    }
    return coir__set_oserror(EBADF);
}

COIR__COLD int
coir__set_bad_switch(const char *what, PyObject *op)
{
    if (op == NULL)
        op = Py_None;
    /* Not of its kind: it may be no socket. */
    PyErr_Format(
        coir__sockets.kinds[0].switched != NULL
            ? coir__sockets.kinds[0].switched
            : PyExc_RuntimeError,
        "Invalid switch into %s() of %R: somebody switched to a greenlet "
        "that waits",
        what, op);
    return -1;
}

/* --- waiting ------------------------------------------------------------- */

/* How long it may wait yet; 0 if it is too late. */
int64_t
coir__use_left(struct use *u)
{
    if (u->timeout_ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t now = coir_clock_monotonic();
    if (u->deadline_ns < 0)
        u->deadline_ns = now < COIR_FOREVER - u->timeout_ns
                             ? now + u->timeout_ns
                             : COIR_FOREVER;
    return u->deadline_ns > now ? u->deadline_ns - now : 0;
}

/* Have the edge tell. Whether it is ready already. */
static inline int
ask_edge(struct sock *s, int dir)
{
    if (coir_edge_wait(s->link->loop->loop, &s->link->edge, event_of[dir]) ==
        0)
        return 0;
    s->drained &= (uint8_t)~BIT(dir);
    return 1;
}

void
coir__sock_pass_turn(struct sock *s, int dir)
{
    if (s->link == NULL || s->link->loop->loop == NULL)
        return;
    /* If there is nothing left the next one need not try. */
    if (s->lines[dir].head != NULL && (s->drained & BIT(dir)) &&
        is_at_hand(s->link->loop) && !ask_edge(s, dir))
        s->turn &= (uint8_t)~BIT(dir);
    else
        give_turn(s, dir);
}

/* A wait in line ended early. */
static COIR__COLD void
leave_line(struct sock *s, int dir, int had_turn)
{
    if (s->link == NULL || s->link->loop->loop == NULL)
        return;
    if (had_turn)
        coir__sock_pass_turn(s, dir);
    else if (!is_crowded(s, dir))
        coir_edge_cancel(s->link->loop->loop, &s->link->edge, event_of[dir]);
}

static inline int
wait_in_line(struct use *u, coir_pythread *t, HubObject *hub, int64_t left)
{
    struct sock *s = sock_of(u->op);
    coir_list *line = &s->lines[u->dir];
    if ((u->has_turn || !is_crowded(s, u->dir)) && ask_edge(s, u->dir))
        return 0;
    int how = COIR_WOKEN_WAITS, first = u->has_turn;
    if (first) {
        u->has_turn = 0;
        s->turn &= (uint8_t)~BIT(u->dir);
    }
    PyObject *res = (first ? coir__park_first : coir__park)(
        t, hub, line, u->what, u->op, left, &how);
    if (COIR__LIKELY(res != NULL && how == COIR_WOKEN_BY_WAKE)) {
        Py_DECREF(res);
        if (COIR__UNLIKELY(fd_of(u->op) < 0))
            return set_closed(u->op);
        u->has_turn = (s->turn & BIT(u->dir)) != 0;
        return 0;
    }
    const coir_wait *w = t->current->block->wait;
    leave_line(s, u->dir, w != NULL && w->was_woken);
    if (res == NULL)
        return -1;
    Py_DECREF(res);
    if (how == COIR_WOKEN_BY_TIME)
        return coir__set_timed_out();
    return coir__kind_of(u->op)->is_lenient
               ? 0
               : coir__set_bad_switch(u->what, u->op);
}

static int
wait_as_stranger(struct use *u, coir_pythread *t, HubObject *hub, int64_t left)
{
    struct sock *s = sock_of(u->op);
    int how = coir__wait_alone(t, hub, fd_of(u->op), event_of[u->dir],
                               &s->strangers, s->ref, u->what, u->op, left);
    if (how < 0)
        return -1;
    if (fd_of(u->op) < 0)
        return set_closed(u->op);
    s->drained &= (uint8_t)~BIT(u->dir);
    return how > 0 ? 0 : coir__set_timed_out();
}

/* In the child of a fork those who waited are no more, but the main greenlet.
 */
static COIR__COLD void
forget_the_parent(struct sock *s)
{
    s->forks = coir__sockets.forks;
    s->turn = 0;
    if (s->link == NULL || s->link->loop->loop == NULL)
        return;
    for (int dir = IN; dir <= OUT; dir++) {
        if (s->lines[dir].head == NULL)
            coir_edge_cancel(s->link->loop->loop, &s->link->edge,
                             event_of[dir]);
        else if (ask_edge(s, dir))
            give_turn(s, dir);
    }
}

static inline void
check_fork(struct sock *s)
{
    if (COIR__UNLIKELY(s->forks != coir__sockets.forks))
        forget_the_parent(s);
}

/* May one more wait? 0, or -1 with an exception. */
static COIR__COLD int
check_crowded(struct use *u)
{
    PyObject *res =
        PyObject_CallFunction(coir__kind_of(u->op)->crowded, "Os", u->op,
                              u->dir == IN ? "read" : "write");
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* A call would have blocked. 0: try again; -1 with an exception. */
int
coir__use_wait(struct use *u)
{
    struct sock *s = sock_of(u->op);
    check_fork(s);
    int64_t left = coir__use_left(u);
    if (left == 0)
        return coir__set_timed_out();
    if (coir__kind_of(u->op)->is_lenient)
        u->deadline_ns = -1;
    if (COIR__UNLIKELY(s->lines[u->dir].head != NULL) && !u->has_turn &&
        coir__kind_of(u->op)->crowded != NULL && check_crowded(u) < 0)
        return -1;
    if (COIR__UNLIKELY(fd_of(u->op) < 0))
        return coir__set_oserror(EBADF);
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    if (COIR__LIKELY(s->ref)) {
        if (link_edge(u->op, hub->loop) < 0)
            return -1;
        if (COIR__LIKELY(s->link->loop == hub->loop))
            return wait_in_line(u, t, hub, left);
    }
    return wait_as_stranger(u, t, hub, left);
}

int
coir__use_poll(struct use *u)
{
    int fd = fd_of(u->op);
    struct pollfd p = {.fd = fd,
                       .events = (short)(u->dir == IN ? POLLIN : POLLOUT)};
    if (fd >= 0 && poll(&p, 1, 0) > 0)
        return 0;
    return coir__use_wait(u);
}

COIR__COLD int
coir__use_failed(struct use *u, int e)
{
    if (u->timeout_ns != 0 && coir__kind_of(u->op)->is_lenient) {
        if (e == ECONNRESET || e == ESHUTDOWN || e == EPIPE)
            return 1;
        if (e == ENOTCONN)
            e = EAGAIN;
    }
    return use_again(u, e);
}

/* A guest's number is its twin's, if that tells. */
static COIR__COLD void
look_at_twin(PyObject *op)
{
    struct sock *s = sock_of(op);
    if (s->twin == NULL || BASE->fd < 0 ||
        !PyObject_TypeCheck(s->twin, coir__sockets.base) ||
        fd_of(s->twin) == BASE->fd)
        return;
    BASE->fd = -1;
    coir__sock_unlink(s);
    coir__sock_wake(s);
}

/* Is this thread's loop the one that tells? */
static inline int
is_linked_here(const struct sock *s)
{
    if (s->link == NULL)
        return 0;
    coir_pythread *t = coir__pythread;
    return t != NULL && t->hub != NULL && t->hub->loop == s->link->loop &&
           s->link->loop->loop != NULL;
}

/* Behind those who came before; and not at all if the last one fell short. */
int
coir__use_begin_slowly(struct use *u)
{
    struct sock *s = sock_of(u->op);
    if (s->is_guest)
        look_at_twin(u->op);
    check_fork(s);
    if (u->timeout_ns == 0 || !is_linked_here(s) || fd_of(u->op) < 0 ||
        (!is_crowded(s, u->dir) && !(s->drained & BIT(u->dir))) ||
        (is_crowded(s, u->dir) && coir__kind_of(u->op)->is_lenient))
        return 0;
    return coir__use_wait(u);
}
