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
 * The edge lies in memory of its own, struct link: when the last reference to
 * the socket goes in another thread while its loop blocks, that is left to
 * the loop. */
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <structmember.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { IN, OUT };
#define BIT(dir) ((uint8_t)(1U << (dir)))
static const int event_of[2] = {COIR_READ, COIR_WRITE};

/* Up to this a transfer is made with the GIL held. */
#define SHORT_LEN 65536

/* What Linux tells of a listener of Unix sockets that has no room: nothing.
 * connect() is tried again after this. */
#define RETRY_NS (5 * COIR_NS_PER_MS)

/* The loop's share of a socket. */
struct link {
    coir_ready parcel; /* to the loop: stop and free this */
    coir_edge edge;
    LoopObject *loop; /* strong; NULL while the parcel is on its way */
    PyObject *socket; /* borrowed; NULL: it is gone */
};

struct sock {
    struct link *link;  /* owned; NULL: nobody has waited yet */
    coir_list lines[2]; /* who waits in link->loop */
    coir_list strangers;
    PyObject *weakreflist;
    double timeout; /* seconds; negative: none */
    int64_t timeout_ns;
    int io_refs; /* files made of it that are open */
    char closed;
    char ref;        /* its waits keep the loop running */
    uint8_t drained; /* bit per direction: as explained above */
    uint8_t turn;    /* the same: somebody has it */
    uint8_t is_stream;
    uint8_t is_full; /* the last recv() filled its buffer */
    uint8_t is_torn; /* a sendall() ended in the midst of its bytes */
};

/* Begins every _socket.socket: checked when the type is made. */
struct base {
    PyObject_HEAD int fd;
    int family;
    int type;
    int proto;
};

static PyTypeObject *socket_type; /* strong, as all of these */
static PyTypeObject *base_type;
static Py_ssize_t sock_at; /* where struct sock begins */
static PyObject *get_default_timeout;
static PyObject *accepted_class, *resolve_address, *closed_error, *torn_error,
    *switch_error, *default_timeout; /* see set_hooks() */

#define BASE ((struct base *)op)

static inline int
fd_of(PyObject *op)
{
    return BASE->fd;
}

static inline struct sock *
sock_of(PyObject *op)
{
    return (struct sock *)((char *)op + sock_at);
}

/* --- the edge ------------------------------------------------------------ */

static void
link_free(struct link *l)
{
    Py_XDECREF((PyObject *)l->loop);
    PyMem_Free(l);
}

static void
parcel_came(coir_ready *r, LoopObject *loop)
{
    struct link *l = (struct link *)r; /* its first member */
    coir_edge_stop(loop->loop, &l->edge);
    link_free(l);
}

/* May this thread change the loop's watchers now? */
static inline int
is_at_hand(const LoopObject *loop)
{
    return !loop->blocks;
}

/* The socket needs it no more. */
static void
unlink_edge(struct sock *s)
{
    struct link *l = s->link;
    if (l == NULL)
        return;
    s->link = NULL;
    s->drained = s->turn = 0;
    l->socket = NULL;
    LoopObject *loop = l->loop;
    if (loop->loop == NULL) {
        link_free(l);
    }
    else if (is_at_hand(loop)) {
        coir_edge_stop(loop->loop, &l->edge);
        link_free(l);
    }
    else {
        l->loop = NULL;
        l->parcel.run = parcel_came;
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

static void
wake_everybody(struct sock *s)
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
    struct link *l =
        (struct link *)((char *)edge - offsetof(struct link, edge));
    PyObject *op = l->socket;
    if (op == NULL)
        return;
    struct sock *s = sock_of(op);
    if (COIR__UNLIKELY(revents & COIR_ERROR)) {
        /* The loop has stopped it: the number was closed, and may be somebody
         * else's by now, or there was no memory. */
        if (!coir__fd_is_open(BASE->fd))
            BASE->fd = -1;
        unlink_edge(s);
        wake_everybody(s);
        return;
    }
    for (int dir = IN; dir <= OUT; dir++)
        if (revents & event_of[dir]) {
            s->drained &= (uint8_t)~BIT(dir);
            give_turn(s, dir);
        }
}

/* Have the edge tell in this loop, if it does not in another one. */
static int
link_edge(PyObject *op, LoopObject *loop)
{
    struct sock *s = sock_of(op);
    if (s->link != NULL) {
        if (COIR__LIKELY(s->link->loop->loop != NULL))
            return 0;
        unlink_edge(s); /* that loop was destroyed */
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
    l->socket = op;
    l->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    s->link = l;
    return 0;
}

/* --- errors -------------------------------------------------------------- */

static int
set_timed_out(void)
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
set_closed(void)
{
    if (closed_error != NULL) {
        PyObject *exc = PyObject_CallNoArgs(closed_error);
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
    PyErr_Format(
        switch_error != NULL ? switch_error : PyExc_RuntimeError,
        "Invalid switch into %s() of %R: somebody switched to a greenlet "
        "that waits",
        what, op);
    return -1;
}

/* --- waiting ------------------------------------------------------------- */

/* One call on a socket, on the caller's stack. */
struct use {
    PyObject *op;
    const char *what;
    int dir;
    int has_turn;
    int64_t timeout_ns;
    int64_t deadline_ns; /* once it has waited; else -1 */
};

static inline struct use
use_of(PyObject *op, int dir, const char *what)
{
    return (struct use){op, what, dir, 0, sock_of(op)->timeout_ns, -1};
}

static inline void
use_heed_flags(struct use *u, int flags)
{
    if (COIR__UNLIKELY(flags & MSG_DONTWAIT))
        u->timeout_ns = 0;
}

/* How long it may wait yet; 0 if it is too late. */
static int64_t
time_left(struct use *u)
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

static inline int
is_crowded(const struct sock *s, int dir)
{
    return s->lines[dir].head != NULL || (s->turn & BIT(dir));
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

static void
pass_turn(struct sock *s, int dir)
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

static inline void
use_end(struct use *u)
{
    if (COIR__UNLIKELY(u->has_turn))
        pass_turn(sock_of(u->op), u->dir);
}

/* A wait in line ended early. */
static COIR__COLD void
leave_line(struct sock *s, int dir, int had_turn)
{
    if (s->link == NULL || s->link->loop->loop == NULL)
        return;
    if (had_turn)
        pass_turn(s, dir);
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
            return set_closed();
        u->has_turn = (s->turn & BIT(u->dir)) != 0;
        return 0;
    }
    const coir_wait *w = t->current->block->wait;
    leave_line(s, u->dir, w != NULL && w->was_woken);
    if (res == NULL)
        return -1;
    Py_DECREF(res);
    return how == COIR_WOKEN_BY_TIME ? set_timed_out()
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
        return set_closed();
    s->drained &= (uint8_t)~BIT(u->dir);
    return how > 0 ? 0 : set_timed_out();
}

/* A call would have blocked. 0: try again; -1 with an exception. */
static int
use_wait(struct use *u)
{
    struct sock *s = sock_of(u->op);
    int64_t left = time_left(u);
    if (left == 0)
        return set_timed_out();
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

/* Begin a call. Behind those who came before; and not at all if the last one
 * fell short, when this one is `plain`. 0: try. */
static inline int
use_begin(struct use *u, int plain)
{
    struct sock *s = sock_of(u->op);
    if (COIR__LIKELY(!is_crowded(s, u->dir) &&
                     !(plain && (s->drained & BIT(u->dir)))))
        return 0;
    if (u->timeout_ns == 0 || !is_linked_here(s) || fd_of(u->op) < 0)
        return 0;
    return use_wait(u);
}

/* A system call left `e`. 0: try again; -1 with an exception. */
static inline int
use_again(struct use *u, int e)
{
    if (e == EAGAIN && u->timeout_ns != 0)
        return use_wait(u);
    if (e == EINTR)
        return PyErr_CheckSignals();
    return coir__set_oserror(e);
}

/* `n` of `len` bytes were transferred, with the GIL held all the time. */
static inline void
use_done(const struct use *u, Py_ssize_t n, Py_ssize_t len)
{
    struct sock *s = sock_of(u->op);
    if (s->is_stream && n > 0 && n < len)
        s->drained |= BIT(u->dir);
    else
        s->drained &= (uint8_t)~BIT(u->dir);
}

/* --- receiving ----------------------------------------------------------- */

static inline ssize_t
receive(int fd, void *buf, Py_ssize_t len, int flags)
{
    ssize_t n;
    if (COIR__LIKELY(len <= SHORT_LEN))
        return recv(fd, buf, (size_t)len, flags);
    int e;
    Py_BEGIN_ALLOW_THREADS n = recv(fd, buf, (size_t)len, flags);
    e = errno;
    Py_END_ALLOW_THREADS errno = e;
    return n;
}

/* Into the caller's memory; -1 with an exception. */
static Py_ssize_t
receive_into(PyObject *op, void *buf, Py_ssize_t len, int flags)
{
    struct use u = use_of(op, IN, "recv");
    use_heed_flags(&u, flags);
    int plain = flags == 0 && len > 0;
    int err = use_begin(&u, plain);
    ssize_t n = -1;
    while (err == 0) {
        n = receive(fd_of(op), buf, len, flags);
        if (COIR__LIKELY(n >= 0))
            break;
        err = use_again(&u, errno);
    }
    if (n >= 0 && plain && len <= SHORT_LEN)
        use_done(&u, n, len);
    use_end(&u);
    return n;
}

/* Used with the GIL only, and not while anybody else may have it. Who waits
 * for data keeps no buffer meanwhile. */
static char scratch[SHORT_LEN];

/* One attempt: the bytes, or NULL and errno, 0 with an exception. */
static inline PyObject *
receive_bytes(PyObject *op, struct use *u, Py_ssize_t len, int flags,
              int plain)
{
    struct sock *s = sock_of(op);
    if (len <= SHORT_LEN && !s->is_full) {
        ssize_t n = recv(fd_of(op), scratch, (size_t)len, flags);
        if (n < 0)
            return NULL;
        if (plain)
            use_done(u, n, len);
        s->is_full = n == len && len >= 4096;
        PyObject *res = PyBytes_FromStringAndSize(scratch, n);
        if (res == NULL)
            errno = 0;
        return res;
    }
    PyObject *res = PyBytes_FromStringAndSize(NULL, len);
    if (res == NULL) {
        errno = 0;
        return NULL;
    }
    ssize_t n = receive(fd_of(op), PyBytes_AS_STRING(res), len, flags);
    if (n < 0) {
        int e = errno;
        Py_DECREF(res);
        errno = e;
        return NULL;
    }
    if (plain && len <= SHORT_LEN)
        use_done(u, n, len);
    s->is_full = n == len;
    if (n < len && _PyBytes_Resize(&res, n) < 0)
        errno = 0;
    return res;
}

static PyObject *
sock_recv(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    int flags = 0;
    if (coir__check_count("recv", nargs, 1, 2) < 0)
        return NULL;
    Py_ssize_t len = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if ((len == -1 && PyErr_Occurred()) ||
        (nargs > 1 && coir__to_int(args[1], &flags) < 0))
        return NULL;
    if (len < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    struct use u = use_of(op, IN, "recv");
    use_heed_flags(&u, flags);
    int plain = flags == 0 && len > 0;
    int err = use_begin(&u, plain);
    PyObject *res = NULL;
    while (err == 0) {
        res = receive_bytes(op, &u, len, flags, plain);
        if (COIR__LIKELY(res != NULL))
            break;
        err = errno != 0 ? use_again(&u, errno) : -1;
    }
    use_end(&u);
    return res;
}

static PyObject *
sock_recv_into(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"buffer", "nbytes", "flags", NULL};
    Py_buffer buf;
    Py_ssize_t len = 0;
    int flags = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "w*|ni:recv_into", names,
                                     &buf, &len, &flags))
        return NULL;
    Py_ssize_t n = -1;
    if (len < 0)
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv_into");
    else if (len > buf.len)
        PyErr_SetString(PyExc_ValueError,
                        "buffer too small for requested bytes");
    else
        n = receive_into(op, buf.buf, len > 0 ? len : buf.len, flags);
    PyBuffer_Release(&buf);
    return n >= 0 ? PyLong_FromSsize_t(n) : NULL;
}

/* --- sending ------------------------------------------------------------- */

static inline ssize_t
transmit(int fd, const void *buf, Py_ssize_t len, int flags)
{
    ssize_t n;
    if (COIR__LIKELY(len <= SHORT_LEN))
        return send(fd, buf, (size_t)len, flags);
    int e;
    Py_BEGIN_ALLOW_THREADS n = send(fd, buf, (size_t)len, flags);
    e = errno;
    Py_END_ALLOW_THREADS errno = e;
    return n;
}

/* Some of it, or if `all`, all. Returns how much was sent; less than all of
 * it with an exception, as is -1. */
static Py_ssize_t
send_bytes(struct use *u, const char *buf, Py_ssize_t len, int flags, int all)
{
    PyObject *op = u->op;
    Py_ssize_t done = 0;
    int plain = len > 0;
    use_heed_flags(u, flags);
    int err = use_begin(u, plain);
    while (err == 0) {
        ssize_t n = transmit(fd_of(op), buf + done, len - done, flags);
        if (COIR__UNLIKELY(n < 0)) {
            err = use_again(u, errno);
            continue;
        }
        if (plain && len - done <= SHORT_LEN)
            use_done(u, n, len - done);
        done += n;
        if (!all || done >= len)
            break;
        if (u->timeout_ns != COIR_FOREVER && u->timeout_ns != 0 &&
            time_left(u) == 0)
            err = set_timed_out();
        else
            err = PyErr_CheckSignals();
    }
    use_end(u);
    return err == 0 || done > 0 ? done : -1;
}

/* The bytes an interrupted sendall() did not send are missing in the stream:
 * nothing that is sent after them makes sense. */
static COIR__COLD int
set_torn(PyObject *op)
{
    PyErr_Format(torn_error != NULL ? torn_error : PyExc_ConnectionError,
                 "a sendall() on %R was interrupted after some of its bytes; "
                 "resume() allows to send more",
                 op);
    return -1;
}

static inline int
check_torn(PyObject *op)
{
    return COIR__UNLIKELY(sock_of(op)->is_torn) ? set_torn(op) : 0;
}

static PyObject *
sock_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    static const char *const names[] = {"data", "flags", "timeout"};
    PyObject *given[3] = {NULL, NULL, NULL};
    if (coir__check_count("send", nargs, 0, 3) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < nargs; i++)
        given[i] = args[i];
    for (Py_ssize_t k = 0; kwnames != NULL && k < PyTuple_GET_SIZE(kwnames);
         k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        int i = 0;
        while (i < 3 && PyUnicode_CompareWithASCIIString(name, names[i]) != 0)
            i++;
        if (i == 3 || given[i] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "send() got an unexpected argument %R", name);
            return NULL;
        }
        given[i] = args[nargs + k];
    }
    if (given[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "send() needs data");
        return NULL;
    }
    int flags = 0;
    struct use u = use_of(op, OUT, "send");
    if ((given[1] != NULL && coir__to_int(given[1], &flags) < 0) ||
        (given[2] != NULL && given[2] != default_timeout &&
         coir__timeout_ns(given[2], &u.timeout_ns) < 0))
        return NULL;
    Py_buffer buf;
    if (PyObject_GetBuffer(given[0], &buf, PyBUF_SIMPLE) < 0)
        return NULL;
    Py_ssize_t n = -1;
    if (check_torn(op) == 0)
        n = send_bytes(&u, buf.buf, buf.len, flags, 0);
    PyBuffer_Release(&buf);
    return n >= 0 ? PyLong_FromSsize_t(n) : NULL;
}

static PyObject *
sock_sendall(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    int flags = 0;
    if (coir__check_count("sendall", nargs, 1, 2) < 0 ||
        (nargs > 1 && coir__to_int(args[1], &flags) < 0) || check_torn(op) < 0)
        return NULL;
    Py_buffer buf;
    if (PyObject_GetBuffer(args[0], &buf, PyBUF_SIMPLE) < 0)
        return NULL;
    struct use u = use_of(op, OUT, "sendall");
    Py_ssize_t len = buf.len, n = send_bytes(&u, buf.buf, len, flags, 1);
    PyBuffer_Release(&buf);
    if (COIR__LIKELY(n == len))
        Py_RETURN_NONE;
    /* Other errors of the system's are the end of the connection anyway. */
    if (n > 0 && u.timeout_ns != 0 && sock_of(op)->is_stream &&
        fd_of(op) >= 0 &&
        (!PyErr_ExceptionMatches(PyExc_OSError) ||
         PyErr_ExceptionMatches(PyExc_TimeoutError)))
        sock_of(op)->is_torn = 1;
    return NULL;
}

static PyObject *
sock_resume(PyObject *op, PyObject *Py_UNUSED(unused))
{
    sock_of(op)->is_torn = 0;
    Py_RETURN_NONE;
}

/* --- the base's methods that may have to wait ---------------------------- */

/* Those that can be tried again as a whole. */
enum retried {
    RECVFROM,
    RECVFROM_INTO,
    RECVMSG,
    RECVMSG_INTO,
    SENDTO,
    SENDMSG,
    SENDMSG_AFALG,
    ACCEPT,
    CONNECT_EX,
    SETTIMEOUT,
    DETACH,
    BASE_COUNT
};

static const char *const base_names[BASE_COUNT] = {
    "recvfrom",   "recvfrom_into", "recvmsg",       "recvmsg_into",
    "sendto",     "sendmsg",       "sendmsg_afalg", "_accept",
    "connect_ex", "settimeout",    "detach",
};
static PyObject *base_methods[BASE_COUNT]; /* strong; NULL: not there */

/* Which argument of those that can be tried again are the flags. */
static int
flags_of(enum retried which, PyObject *args)
{
    Py_ssize_t n = PyTuple_GET_SIZE(args), at = 2;
    if (which == RECVFROM || which == SENDTO)
        at = 1;
    if (n <= at || which > SENDMSG || (which == SENDTO && n < 3) ||
        !PyLong_Check(PyTuple_GET_ITEM(args, at)))
        return 0;
    int overflow;
    long flags =
        PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(args, at), &overflow);
    return overflow ? 0 : (int)flags;
}

/* Call the base's method. */
static PyObject *
call_base(enum retried which, PyObject *op, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    PyObject *all = PyTuple_New(n + 1);
    if (all == NULL)
        return NULL;
    PyTuple_SET_ITEM(all, 0, Py_NewRef(op));
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    PyObject *res = PyObject_Call(base_methods[which], all, kwargs);
    Py_DECREF(all);
    return res;
}

static PyObject *
retry(enum retried which, PyObject *op, PyObject *args, PyObject *kwargs)
{
    int dir = which < SENDTO || which == ACCEPT ? IN : OUT;
    if (base_methods[which] == NULL) {
        PyErr_SetString(PyExc_AttributeError, base_names[which]);
        return NULL;
    }
    if (which == SENDMSG && check_torn(op) < 0)
        return NULL;
    struct use u = use_of(op, dir, base_names[which]);
    if (which == ACCEPT)
        u.what = "accept";
    use_heed_flags(&u, flags_of(which, args));
    PyObject *res = NULL;
    int err = use_begin(&u, 0);
    while (err == 0) {
        res = call_base(which, op, args, kwargs);
        if (res != NULL || u.timeout_ns == 0 ||
            !PyErr_ExceptionMatches(PyExc_BlockingIOError))
            break;
        PyErr_Clear();
        err = use_wait(&u);
    }
    sock_of(op)->drained &= (uint8_t)~BIT(dir);
    use_end(&u);
    return res;
}

static PyObject *
sock_recvfrom(PyObject *op, PyObject *args)
{
    return retry(RECVFROM, op, args, NULL);
}

static PyObject *
sock_recvfrom_into(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return retry(RECVFROM_INTO, op, args, kwargs);
}

static PyObject *
sock_recvmsg(PyObject *op, PyObject *args)
{
    return retry(RECVMSG, op, args, NULL);
}

static PyObject *
sock_recvmsg_into(PyObject *op, PyObject *args)
{
    return retry(RECVMSG_INTO, op, args, NULL);
}

static PyObject *
sock_sendto(PyObject *op, PyObject *args)
{
    return retry(SENDTO, op, args, NULL);
}

/* Buffers from an iterator, which would be used up by the first attempt. */
static PyObject *
sock_sendmsg(PyObject *op, PyObject *args)
{
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    if (n == 0)
        return call_base(SENDMSG, op, args, NULL); /* says what is wrong */
    PyObject *again = PyTuple_New(n);
    if (again == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *arg = PyTuple_GET_ITEM(args, i);
        if (i < 2 && PyIter_Check(arg))
            arg = PySequence_List(arg);
        else
            Py_INCREF(arg);
        if (arg == NULL) {
            Py_DECREF(again);
            return NULL;
        }
        PyTuple_SET_ITEM(again, i, arg);
    }
    PyObject *res = retry(SENDMSG, op, again, NULL);
    Py_DECREF(again);
    return res;
}

static PyObject *
sock_sendmsg_afalg(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return retry(SENDMSG_AFALG, op, args, kwargs);
}

static PyObject *
sock_accept_raw(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return retry(ACCEPT, op, coir__core.empty_tuple, NULL);
}

/* --- making -------------------------------------------------------------- */

static int
set_timeout(PyObject *op, PyObject *value)
{
    struct sock *s = sock_of(op);
    if (value == Py_None) {
        s->timeout = -1;
        s->timeout_ns = COIR_FOREVER;
        return 0;
    }
    double seconds = PyFloat_AsDouble(value);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    if (!(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError,
                        seconds < 0 ? "Timeout value out of range"
                                    : "Invalid value NaN (not a number)");
        return -1;
    }
    s->timeout = seconds;
    s->timeout_ns = coir__seconds_to_ns(seconds);
    return 0;
}

static int
set_usual_timeout(PyObject *op)
{
    PyObject *value = PyObject_CallNoArgs(get_default_timeout);
    int err = value != NULL ? set_timeout(op, value) : -1;
    Py_XDECREF(value);
    return err;
}

static int
init_base(PyObject *op, int family, int type, int proto, PyObject *fileno)
{
    PyObject *args = Py_BuildValue("(iiiO)", family, type, proto, fileno);
    int err = args != NULL ? base_type->tp_init(op, args, NULL) : -1;
    Py_XDECREF(args);
    return err;
}

static int
set_nonblocking(PyObject *op)
{
    int on = 1;
    return ioctl(fd_of(op), FIONBIO, &on) == 0 ? 0 : coir__set_oserror(errno);
}

/* A number that is known not to block: `is_ready`. */
static int
init(PyObject *op, int family, int type, int proto, PyObject *fileno,
     int is_ready)
{
    struct sock *s = sock_of(op);
    int is_given = fileno != Py_None, blocks = 1;
    unlink_edge(s);
    if (!is_given) {
        family = family != -1 ? family : AF_INET;
        type = type != -1 ? type : SOCK_STREAM;
        proto = proto != -1 ? proto : 0;
    }
    if (type != -1) {
        blocks = !(type & SOCK_NONBLOCK);
        type |= SOCK_NONBLOCK; /* makes the base's timeout 0 */
    }
    if (init_base(op, family, type, proto, fileno) < 0)
        return -1;
    if (type == -1) {
        PyObject *res =
            PyObject_CallFunction(base_methods[SETTIMEOUT], "Oi", op, 0);
        if (res == NULL)
            return -1;
        Py_DECREF(res);
    }
    else if (is_given && !is_ready && set_nonblocking(op) < 0)
        return -1;
    s->is_stream = (BASE->family == AF_INET || BASE->family == AF_INET6) &&
                   BASE->type == SOCK_STREAM &&
                   (BASE->proto == 0 || BASE->proto == IPPROTO_TCP);
    s->closed = 0;
    s->ref = 1;
    if (blocks)
        return set_usual_timeout(op);
    s->timeout = 0;
    s->timeout_ns = 0;
    return 0;
}

static int
sock_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"family", "type", "proto", "fileno", NULL};
    int family = -1, type = -1, proto = -1;
    PyObject *fileno = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|iiiO:socket", names,
                                     &family, &type, &proto, &fileno))
        return -1;
    return init(op, family, type, proto, fileno, 0);
}

/* --- accepting ----------------------------------------------------------- */

/* The address as _socket makes it; NULL without an exception: ask that. */
static PyObject *
make_address(const struct sockaddr_storage *addr, socklen_t len)
{
    char host[INET6_ADDRSTRLEN];
    if (addr->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        return Py_BuildValue("(si)", host, ntohs(in->sin_port));
    }
    if (addr->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)addr;
        (void)inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        return Py_BuildValue("(siII)", host, ntohs(in->sin6_port),
                             ntohl(in->sin6_flowinfo), in->sin6_scope_id);
    }
    if (addr->ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)addr;
        size_t path = (size_t)len - offsetof(struct sockaddr_un, sun_path);
        if ((size_t)len > offsetof(struct sockaddr_un, sun_path) &&
            un->sun_path[0] == 0)
            return PyBytes_FromStringAndSize(un->sun_path, (Py_ssize_t)path);
        if ((size_t)len <= offsetof(struct sockaddr_un, sun_path))
            path = 0;
        return PyUnicode_DecodeFSDefaultAndSize(
            un->sun_path, (Py_ssize_t)strnlen(un->sun_path, path));
    }
    PyErr_SetString(PyExc_OSError, "the peer's address is of no family that "
                                   "is known here");
    return NULL;
}

static int
is_known_family(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* A socket of the class of all that are accepted. */
static PyObject *
make_accepted(PyObject *op, PyObject *fileno, int is_ready)
{
    PyTypeObject *cls = (PyTypeObject *)accepted_class;
    if (cls == NULL)
        cls = socket_type;
    PyObject *made = cls->tp_new(cls, coir__core.empty_tuple, NULL);
    if (made != NULL && init(made, BASE->family, BASE->type, BASE->proto,
                             fileno, is_ready) < 0)
        Py_CLEAR(made);
    return made;
}

/* The base's own way, for families of which it alone knows the addresses. */
static PyObject *
accept_by_base(PyObject *op)
{
    PyObject *pair = sock_accept_raw(op, NULL);
    if (pair == NULL)
        return NULL;
    PyObject *made = make_accepted(op, PyTuple_GET_ITEM(pair, 0), 0);
    PyObject *res = NULL;
    if (made != NULL)
        res = PyTuple_Pack(2, made, PyTuple_GET_ITEM(pair, 1));
    Py_XDECREF(made);
    Py_DECREF(pair);
    return res;
}

static PyObject *
sock_accept(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!is_known_family(BASE->family))
        return accept_by_base(op);
    struct sockaddr_storage addr;
    socklen_t len = 0;
    struct use u = use_of(op, IN, "accept");
    int fd = -1, err = use_begin(&u, 0);
    while (err == 0) {
        len = sizeof addr;
        addr.ss_family = (sa_family_t)BASE->family;
        fd = accept4(fd_of(op), (struct sockaddr *)&addr, &len,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            break;
        err = use_again(&u, errno);
    }
    use_end(&u);
    if (fd < 0)
        return NULL;
    PyObject *number = PyLong_FromLong(fd), *made = NULL, *address = NULL,
             *res = NULL;
    if (number != NULL)
        made = make_accepted(op, number, 1);
    if (made == NULL)
        (void)close(fd);
    else
        address = make_address(&addr, len);
    if (address != NULL)
        res = PyTuple_Pack(2, made, address);
    Py_XDECREF(number);
    Py_XDECREF(made);
    Py_XDECREF(address);
    return res;
}

/* --- connecting ---------------------------------------------------------- */

/* Does it need no look-up? */
static int
is_numeric(PyObject *host)
{
    unsigned char addr[sizeof(struct in6_addr)];
    if (!PyUnicode_Check(host) || !PyUnicode_IS_ASCII(host))
        return 0;
    const char *text = PyUnicode_AsUTF8(host);
    if (text == NULL) {
        PyErr_Clear();
        return 0;
    }
    return inet_pton(AF_INET, text, addr) == 1 ||
           inet_pton(AF_INET6, text, addr) == 1;
}

/* The address with its host looked up, a new reference. */
static PyObject *
resolved(PyObject *op, PyObject *address)
{
    if (resolve_address == NULL ||
        (BASE->family != AF_INET && BASE->family != AF_INET6) ||
        !PyTuple_Check(address) || PyTuple_GET_SIZE(address) < 2 ||
        is_numeric(PyTuple_GET_ITEM(address, 0)))
        return Py_NewRef(address);
    return PyObject_CallFunctionObjArgs(resolve_address, op, address, NULL);
}

/* One attempt: 0, an errno value, or -1 with an exception. */
static int
try_connect(PyObject *op, PyObject *address)
{
    PyObject *argv[2] = {op, address};
    PyObject *res =
        PyObject_Vectorcall(base_methods[CONNECT_EX], argv, 2, NULL);
    if (res == NULL)
        return -1;
    int e = (int)PyLong_AsLong(res);
    Py_DECREF(res);
    return e;
}

/* Let time pass. 0, or -1 with an exception. */
static int
pause_connect(struct use *u)
{
    int64_t left = time_left(u);
    if (left == 0)
        return set_timed_out();
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    int how = COIR_WOKEN_WAITS;
    PyObject *res = coir__park(t, hub, &sock_of(u->op)->strangers, u->what,
                               u->op, left < RETRY_NS ? left : RETRY_NS, &how);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* 0, an errno value, or -1 with an exception. To ask again what became of it
 * gives the result, whoever was told of it; EALREADY if there is none. */
static int
connect_to(PyObject *op, PyObject *address)
{
    struct use u = use_of(op, OUT, "connect");
    sock_of(op)->drained = 0;
    sock_of(op)->is_torn = 0;
    int has_waited = 0, e;
    for (;;) {
        e = try_connect(op, address);
        if (u.timeout_ns == 0 || e == 0 || e == -1)
            break;
        int err = 0;
        if (e == EINPROGRESS || (e == EALREADY && has_waited))
            err = use_wait(&u);
        else if (e == EAGAIN && BASE->family == AF_UNIX)
            err = pause_connect(&u);
        else if (e != EINTR)
            break;
        else
            err = PyErr_CheckSignals();
        if (err < 0) {
            e = -1;
            break;
        }
        has_waited = 1;
    }
    use_end(&u);
    return e == EISCONN && has_waited ? 0 : e;
}

static PyObject *
sock_connect(PyObject *op, PyObject *address)
{
    PyObject *to = resolved(op, address);
    if (to == NULL)
        return NULL;
    int e = connect_to(op, to);
    Py_DECREF(to);
    if (e > 0)
        (void)coir__set_oserror(e);
    if (e != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
sock_connect_ex(PyObject *op, PyObject *address)
{
    PyObject *to = resolved(op, address);
    if (to == NULL)
        return NULL;
    int e = connect_to(op, to);
    Py_DECREF(to);
    if (e < 0 && PyErr_ExceptionMatches(PyExc_TimeoutError)) {
        PyErr_Clear();
        e = EAGAIN;
    }
    return e >= 0 ? PyLong_FromLong(e) : NULL;
}

/* --- closing ------------------------------------------------------------- */

static PyObject *
sock_real_close(PyObject *op, PyObject *Py_UNUSED(args))
{
    int fd = BASE->fd;
    if (fd < 0)
        Py_RETURN_NONE;
    struct sock *s = sock_of(op);
    struct link *l = s->link;
    BASE->fd = -1;
    wake_everybody(s);
    int err;
    if (l != NULL && l->loop->loop != NULL && is_at_hand(l->loop)) {
        err = coir_edge_close(l->loop->loop, &l->edge);
        s->link = NULL;
        s->drained = 0;
        link_free(l);
    }
    else {
        unlink_edge(s);
        err = close(fd);
    }
    /* The peer may have closed it first: see CPython's bpo-30319. */
    if (err < 0 && errno != ECONNRESET && errno != EINTR) {
        (void)coir__set_oserror(errno);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
close_now(PyObject *op)
{
    static PyObject *name;
    if (Py_TYPE(op) == (PyTypeObject *)accepted_class)
        return sock_real_close(op, NULL);
    if (name == NULL)
        name = PyUnicode_InternFromString("_real_close");
    return PyObject_CallMethodNoArgs(op, name); /* ssl has another one */
}

static PyObject *
sock_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    struct sock *s = sock_of(op);
    s->closed = 1;
    if (s->io_refs > 0)
        Py_RETURN_NONE;
    return close_now(op);
}

static PyObject *
sock_decref_socketios(PyObject *op, PyObject *Py_UNUSED(unused))
{
    struct sock *s = sock_of(op);
    if (s->io_refs > 0)
        s->io_refs--;
    if (s->closed && s->io_refs <= 0)
        return close_now(op);
    Py_RETURN_NONE;
}

static PyObject *
sock_detach(PyObject *op, PyObject *Py_UNUSED(unused))
{
    struct sock *s = sock_of(op);
    s->closed = 1;
    PyObject *res = PyObject_CallOneArg(base_methods[DETACH], op);
    wake_everybody(s);
    unlink_edge(s);
    return res;
}

static void
sock_finalize(PyObject *op)
{
    PyObject *exc = coir__error_take();
    unlink_edge(sock_of(op));
    coir__error_give(exc);
    if (base_type->tp_finalize != NULL)
        base_type->tp_finalize(op); /* warns, and closes it */
}

/* --- its timeout and the like -------------------------------------------- */

static PyObject *
sock_get_timeout(PyObject *op, void *Py_UNUSED(closure))
{
    double timeout = sock_of(op)->timeout;
    if (timeout < 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(timeout);
}

static int
sock_set_timeout(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    return set_timeout(op, value != NULL ? value : Py_None);
}

static PyObject *
sock_gettimeout(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return sock_get_timeout(op, NULL);
}

static PyObject *
sock_settimeout(PyObject *op, PyObject *value)
{
    if (set_timeout(op, value) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
sock_setblocking(PyObject *op, PyObject *flag)
{
    int blocks = PyObject_IsTrue(flag);
    if (blocks < 0)
        return NULL;
    sock_of(op)->timeout = blocks ? -1 : 0;
    sock_of(op)->timeout_ns = blocks ? COIR_FOREVER : 0;
    Py_RETURN_NONE;
}

static PyObject *
sock_getblocking(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(sock_of(op)->timeout_ns != 0);
}

static PyObject *
sock_get_ref(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(sock_of(op)->ref);
}

static int
sock_set_ref(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int ref = value != NULL ? PyObject_IsTrue(value) : 1;
    if (ref < 0)
        return -1;
    sock_of(op)->ref = (char)ref;
    return 0;
}

/* For those who transfer by themselves, _ssl: who did not get all they want
 * may have found that out by other means than EAGAIN, so ask the kernel. */
static PyObject *
sock_wait_io(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    int events;
    if (coir__check_count("_wait_io", nargs, 1, 2) < 0 ||
        coir__to_int(args[0], &events) < 0)
        return NULL;
    if (events != COIR_READ && events != COIR_WRITE) {
        PyErr_SetString(PyExc_ValueError, "events must be 1 or 2");
        return NULL;
    }
    struct use u = use_of(op, events == COIR_READ ? IN : OUT,
                          events == COIR_READ ? "recv" : "send");
    if (nargs > 1 && coir__timeout_ns(args[1], &u.timeout_ns) < 0)
        return NULL;
    struct pollfd p = {.fd = fd_of(op),
                       .events =
                           (short)(events == COIR_READ ? POLLIN : POLLOUT)};
    if (p.fd >= 0 && poll(&p, 1, 0) > 0)
        Py_RETURN_NONE;
    int err = use_wait(&u);
    use_end(&u);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* --- the type ------------------------------------------------------------ */

static int
sock_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    /* Those in line are kept alive by the loop, not by us. */
    if (base_type->tp_traverse != NULL)
        return base_type->tp_traverse(op, visit, arg);
    return 0;
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))
#define WITH_KEYWORDS (METH_VARARGS | METH_KEYWORDS)

static PyMethodDef sock_methods[] = {
    {"recv", FAST(sock_recv), METH_FASTCALL,
     "recv(bufsize[, flags]) -> bytes\n\n"
     "Receive up to bufsize bytes; empty at the end of the stream. Waits\n"
     "until there are some, up to the socket's timeout."},
    {"recv_into", FAST(sock_recv_into), WITH_KEYWORDS,
     "recv_into(buffer[, nbytes[, flags]]) -> int\n\n"
     "Receive into a writable buffer, up to nbytes bytes (0: its size).\n"
     "Returns how many. Waits as recv()."},
    {"recvfrom", sock_recvfrom, METH_VARARGS,
     "recvfrom(bufsize[, flags]) -> (bytes, address)\n\n"
     "As recv(), with the address of the sender."},
    {"recvfrom_into", FAST(sock_recvfrom_into), WITH_KEYWORDS,
     "recvfrom_into(buffer[, nbytes[, flags]]) -> (int, address)\n\n"
     "As recv_into(), with the address of the sender."},
    {"recvmsg", sock_recvmsg, METH_VARARGS,
     "recvmsg(bufsize[, ancbufsize[, flags]]) -> (data, ancdata, flags,\n"
     "address)\n\nReceive data and ancillary data. Waits as recv()."},
    {"recvmsg_into", sock_recvmsg_into, METH_VARARGS,
     "recvmsg_into(buffers[, ancbufsize[, flags]]) -> (nbytes, ancdata,\n"
     "flags, address)\n\nThe same into writable buffers."},
    {"send", FAST(sock_send), METH_FASTCALL | METH_KEYWORDS,
     "send(data, flags=0, timeout=...) -> int\n\n"
     "Send some of the bytes and return how many. Waits until some can be\n"
     "sent, up to the timeout in seconds, by default the socket's."},
    {"sendall", FAST(sock_sendall), METH_FASTCALL,
     "sendall(data[, flags]) -> None\n\n"
     "Send all of the bytes; the timeout is for all of it. After an error\n"
     "it is unknown how many were sent. If it was not the system's, neither\n"
     "sendall() nor send() work from then on, until resume()."},
    {"resume", sock_resume, METH_NOARGS,
     "resume() -> None\n\n"
     "Allow to send after a sendall() that was interrupted."},
    {"sendto", sock_sendto, METH_VARARGS,
     "sendto(data[, flags], address) -> int\n\n"
     "Send to an address. Waits as send()."},
    {"sendmsg", sock_sendmsg, METH_VARARGS,
     "sendmsg(buffers[, ancdata[, flags[, address]]]) -> int\n\n"
     "Send data and ancillary data. Waits as send()."},
    {"sendmsg_afalg", FAST(sock_sendmsg_afalg), WITH_KEYWORDS,
     "sendmsg_afalg([msg], *, op[, iv[, assoclen[, flags]]]) -> int\n\n"
     "Send to an AF_ALG socket. Waits as send()."},
    {"_accept", sock_accept_raw, METH_NOARGS,
     "_accept() -> (int, address)\n\n"
     "As accept(), but with the number of the descriptor."},
    {"accept", sock_accept, METH_NOARGS,
     "accept() -> (socket, address)\n\n"
     "Take a connection: a new socket, and the peer's address. Waits for\n"
     "one, up to the socket's timeout."},
    {"connect", sock_connect, METH_O,
     "connect(address) -> None\n\n"
     "Connect to an address, the host of which is looked up. Waits until it\n"
     "is connected, up to the socket's timeout."},
    {"connect_ex", sock_connect_ex, METH_O,
     "connect_ex(address) -> int\n\n"
     "As connect(), but returns errno, 0 for success, instead of raising\n"
     "OSError."},
    {"_real_close", FAST(sock_real_close), METH_VARARGS,
     "_real_close() -> None\n\n"
     "Close the descriptor. Who waits for it gets an error."},
    {"close", sock_close, METH_NOARGS,
     "close() -> None\n\n"
     "Close the socket, once all files made of it are closed."},
    {"_decref_socketios", sock_decref_socketios, METH_NOARGS,
     "_decref_socketios() -> None\n\nA file made of it was closed."},
    {"detach", sock_detach, METH_NOARGS,
     "detach() -> int\n\n"
     "Give up the descriptor, which stays open, and does not block."},
    {"settimeout", sock_settimeout, METH_O,
     "settimeout(timeout) -> None\n\n"
     "Limit how long calls may wait, in seconds: None for no limit, 0 not\n"
     "to wait at all."},
    {"gettimeout", sock_gettimeout, METH_NOARGS,
     "gettimeout() -> float | None\n\nWhat settimeout() set."},
    {"setblocking", sock_setblocking, METH_O,
     "setblocking(flag) -> None\n\n"
     "True: as settimeout(None), False: as settimeout(0)."},
    {"getblocking", sock_getblocking, METH_NOARGS,
     "getblocking() -> bool\n\nFalse if the timeout is 0."},
    {"_wait_io", FAST(sock_wait_io), METH_FASTCALL,
     "_wait_io(events[, timeout]) -> None\n\n"
     "Wait until it can be read from (1) or written to (2), up to the\n"
     "timeout, by default the socket's."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef sock_getset[] = {
    {"timeout", sock_get_timeout, sock_set_timeout,
     "Seconds that calls may wait; None: no limit.", NULL},
    {"ref", sock_get_ref, sock_set_ref,
     "Whether waiting for it keeps the loop running.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* Offsets are set when the type is made. */
static PyMemberDef sock_members[] = {
    {"_io_refs", T_INT, offsetof(struct sock, io_refs), 0,
     "Files made of it that are open."},
    {"_closed", T_BOOL, offsetof(struct sock, closed), 0,
     "close() was called."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct sock, weakreflist),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot sock_slots[] = {
    {Py_tp_doc, "A socket the waits of which are green."},
    {Py_tp_init, sock_init},
    {Py_tp_traverse, sock_traverse},
    {Py_tp_finalize, sock_finalize},
    {Py_tp_methods, sock_methods},
    {Py_tp_getset, sock_getset},
    {Py_tp_members, sock_members},
    {0, NULL},
};

/* What we read from the base directly is where we think it is? */
static int
check_base(PyTypeObject *type)
{
    static const struct {
        const char *name;
        Py_ssize_t at;
    } members[] = {
        {"family", offsetof(struct base, family)},
        {"type", offsetof(struct base, type)},
        {"proto", offsetof(struct base, proto)},
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        PyObject *member =
            PyObject_GetAttrString((PyObject *)type, members[i].name);
        int is_good =
            member != NULL && Py_TYPE(member) == &PyMemberDescr_Type &&
            ((PyMemberDescrObject *)member)->d_member->offset == members[i].at;
        Py_XDECREF(member);
        if (!is_good) {
            PyErr_Format(PyExc_ImportError,
                         "_socket.socket is not as coir knows it: '%s'",
                         members[i].name);
            return -1;
        }
    }
    return 0;
}

static int
find_base(void)
{
    PyObject *module = PyImport_ImportModule("_socket");
    if (module == NULL)
        return -1;
    PyObject *type = PyObject_GetAttrString(module, "socket");
    get_default_timeout = PyObject_GetAttrString(module, "getdefaulttimeout");
    Py_DECREF(module);
    if (type == NULL || get_default_timeout == NULL)
        return -1;
    base_type = (PyTypeObject *)type;
    for (int i = 0; i < BASE_COUNT; i++) {
        base_methods[i] = PyObject_GetAttrString(type, base_names[i]);
        if (base_methods[i] == NULL)
            PyErr_Clear();
    }
    return check_base(base_type);
}

static int
make_type(void)
{
    if (find_base() < 0)
        return -1;
    Py_ssize_t align = (Py_ssize_t) _Alignof(struct sock);
    sock_at = (base_type->tp_basicsize + align - 1) / align * align;
    for (PyMemberDef *m = sock_members; m->name != NULL; m++)
        m->offset += sock_at;
    PyType_Spec spec = {
        .name = "coir._core.Socket",
        .basicsize = (int)(sock_at + (Py_ssize_t)sizeof(struct sock)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = sock_slots,
    };
    PyObject *bases = PyTuple_Pack(1, (PyObject *)base_type);
    if (bases == NULL)
        return -1;
    socket_type = (PyTypeObject *)PyType_FromSpecWithBases(&spec, bases);
    Py_DECREF(bases);
    return socket_type != NULL ? 0 : -1;
}

/* --- functions ----------------------------------------------------------- */

static PyObject *
get_socket_type(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (socket_type == NULL && make_type() < 0)
        return NULL;
    return Py_NewRef((PyObject *)socket_type);
}

static PyObject *
set_hooks(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"accepted", "resolve",         "closed", "torn",
                            "switched", "default_timeout", NULL};
    static PyObject **const hooks[] = {&accepted_class, &resolve_address,
                                       &closed_error,   &torn_error,
                                       &switch_error,   &default_timeout};
    PyObject *given[6] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|$O!OOOOO:set_socket_hooks", names, &PyType_Type,
            &given[0], &given[1], &given[2], &given[3], &given[4], &given[5]))
        return NULL;
    if (given[0] != NULL &&
        (socket_type == NULL ||
         !PyType_IsSubtype((PyTypeObject *)given[0], socket_type))) {
        PyErr_SetString(PyExc_TypeError, "accepted must be a Socket class");
        return NULL;
    }
    for (int i = 0; i < 6; i++)
        if (given[i] != NULL)
            Py_XSETREF(*hooks[i], Py_NewRef(given[i]));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"socket_type", get_socket_type, METH_NOARGS,
     "socket_type() -> type\n\n"
     "The type Socket, a subclass of _socket.socket."},
    {"set_socket_hooks", FAST(set_hooks), WITH_KEYWORDS,
     "set_socket_hooks(*, accepted=, resolve=, closed=, torn=, switched=,\n"
     "default_timeout=) -> None\n\n"
     "What Socket needs of Python: the class of sockets that are accepted,\n"
     "resolve(socket, address) for names of hosts, exceptions, and the value\n"
     "of send()'s timeout that means the socket's."},
    {NULL, NULL, 0, NULL},
};

int
coir__socket_types_init(PyObject *module)
{
    if (PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddFunctions(module, coir__waitfd_methods);
}
