/* socket.h - what the files of the type Socket share, and waiting for
 * descriptors. See socket.c. */
#ifndef COIR_SOCKET_H
#define COIR_SOCKET_H

#include "hub.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

/* --- sockets ------------------------------------------------------------- */

enum { IN, OUT };
#define BIT(dir) ((uint8_t)(1U << (dir)))

struct link; /* the loop's share of it */

/* What we add to the base's fields. */
struct sock {
    struct link *link;  /* owned; NULL: nobody has waited yet */
    coir_list lines[2]; /* who waits in link->loop */
    coir_list strangers;
    PyObject *weakreflist;
    double timeout;  /* seconds; negative: none */
    PyObject *twin;  /* strong, or NULL: another object on the same number */
    int io_refs;     /* files made of it that are open */
    unsigned forks;  /* in which process somebody waited last */
    uint8_t drained; /* bit per direction: see socket.c */
    uint8_t turn;    /* the same: somebody has it */
    uint8_t kind;    /* whose hooks: see coir__sockets */
    char closed;
    uint8_t is_full; /* the last recv() filled its buffer */
    unsigned is_stream : 1;
    unsigned ref : 1;      /* its waits keep the loop running */
    unsigned is_torn : 1;  /* a sendall() ended in the midst of its bytes */
    unsigned is_guest : 1; /* the number is the twin's, not ours */
};

/* Begins every _socket.socket: checked when the type is made. */
struct base {
    PyObject_HEAD int fd;
    int family;
    int type;
    int proto;
};

/* What sockets of one API need of Python; all are strong. See set_hooks() in
 * socktype.c. */
struct coir__kind {
    PyTypeObject *cls; /* whose instances are of this kind */
    PyObject *accepted, *resolve, *closed, *torn, *switched;
    PyObject *default_timeout;
    PyObject *adopted, *opened, *crowded;
    /* As eventlet's: the peer's reset is an end, who is not connected waits,
     * others are not let first, and a timeout is for each wait. */
    int is_lenient;
};

enum { COIR__KINDS = 2 };

/* There is one type, with kinds: the first one is for who is of no other. */
struct coir__sockets {
    PyTypeObject *type;
    PyTypeObject *base;
    Py_ssize_t at; /* where struct sock begins */
    PyObject *get_default_timeout;
    struct coir__kind kinds[COIR__KINDS];
    unsigned forks; /* how many there were above this process */
};

extern struct coir__sockets coir__sockets COIR__HIDDEN;

#define BASE ((struct base *)op)

static inline int
fd_of(PyObject *op)
{
    return BASE->fd;
}

static inline struct sock *
sock_of(PyObject *op)
{
    return (struct sock *)((char *)op + coir__sockets.at);
}

static inline const struct coir__kind *
coir__kind_of(PyObject *op)
{
    return &coir__sockets.kinds[sock_of(op)->kind];
}

/* How long a call may wait. */
static inline int64_t
coir__sock_timeout_ns(PyObject *op)
{
    double timeout = sock_of(op)->timeout;
    return COIR__LIKELY(timeout < 0) ? COIR_FOREVER
                                     : coir__seconds_to_ns(timeout);
}

/* The loop is to know of it no more. */
COIR__HIDDEN void coir__sock_unlink(struct sock *s);
/* End all waits. */
COIR__HIDDEN void coir__sock_wake(struct sock *s);
/* The number that was its; as close(). */
COIR__HIDDEN int coir__sock_close_number(struct sock *s, int fd);
/* Make one, of a number that is known not to block (`is_ready`) or None, as
 * _socket.socket.__init__(). */
COIR__HIDDEN uint8_t coir__sock_kind(PyTypeObject *type);
COIR__HIDDEN int coir__sock_make(PyObject *op, int family, int type, int proto,
                                 PyObject *fileno, int is_ready);
/* What its number is to be, whatever the timeout. 0, or -1 with OSError. */
COIR__HIDDEN int coir__sock_set_nonblocking(PyObject *op);
COIR__HIDDEN int coir__sock_set_timeout(PyObject *op, PyObject *value);
/* May more be sent? 0, or -1 with an exception. */
COIR__HIDDEN int coir__sock_check_torn(PyObject *op);

/* --- one call ------------------------------------------------------------ */

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
    return (struct use){op, what, dir, 0, coir__sock_timeout_ns(op), -1};
}

static inline void
use_heed_flags(struct use *u, int flags)
{
    if (COIR__UNLIKELY(flags & MSG_DONTWAIT))
        u->timeout_ns = 0;
}

/* How long it may wait yet; 0 if it is too late. */
COIR__HIDDEN int64_t coir__use_left(struct use *u);
/* A call would have blocked. 0: try again; -1 with an exception. */
COIR__HIDDEN int coir__use_wait(struct use *u);
/* Wait until the kernel says it is ready. The same. */
COIR__HIDDEN int coir__use_poll(struct use *u);
/* Receiving left `e`. The same; 1: that is the end of the stream. */
COIR__HIDDEN int coir__use_failed(struct use *u, int e);
COIR__HIDDEN int coir__use_begin_slowly(struct use *u);
COIR__HIDDEN void coir__sock_pass_turn(struct sock *s, int dir);

static inline int
is_crowded(const struct sock *s, int dir)
{
    return s->lines[dir].head != NULL || (s->turn & BIT(dir));
}

/* TimeoutError, OSError of an errno value, InvalidSwitchError. Return -1. */
COIR__HIDDEN int coir__set_timed_out(void);
COIR__HIDDEN int coir__set_oserror(int e);
COIR__HIDDEN int coir__set_bad_switch(const char *what, PyObject *op);

/* Begin a call. Behind those who came before; and not at all if the last one
 * fell short, when this one is `plain`. 0: try. */
static inline int
use_begin(struct use *u, int plain)
{
    struct sock *s = sock_of(u->op);
    if (COIR__LIKELY(!is_crowded(s, u->dir) && !s->is_guest &&
                     !(plain && (s->drained & BIT(u->dir)))))
        return 0;
    return coir__use_begin_slowly(u);
}

/* A system call left `e`. 0: try again; -1 with an exception. */
static inline int
use_again(struct use *u, int e)
{
    if (e == EAGAIN && u->timeout_ns != 0)
        return coir__use_wait(u);
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

static inline void
use_end(struct use *u)
{
    if (COIR__UNLIKELY(u->has_turn))
        coir__sock_pass_turn(sock_of(u->op), u->dir);
}

/* --- methods ------------------------------------------------------------- */

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
    BIND,
    SHUTDOWN,
    COIR__BASE_COUNT
};

extern const char *const coir__base_names[COIR__BASE_COUNT] COIR__HIDDEN;
/* Strong; NULL: this Python has none. */
extern PyObject *coir__base_methods[COIR__BASE_COUNT] COIR__HIDDEN;

/* Receive up to `len` bytes into `buf`, or if that is NULL, into memory that
 * all share, to be used up before anybody else may run; *where is which. Waits
 * as recv(), but no longer than `limit_ns`. 0 at the end; -1 with an
 * exception. For sockets whose recv() is ours only. */
COIR__HIDDEN Py_ssize_t coir__sock_receive(PyObject *op, void *buf,
                                           Py_ssize_t len, int64_t limit_ns,
                                           char **where);
COIR__HIDDEN PyObject *coir__sock_recv(PyObject *op, PyObject *const *args,
                                       Py_ssize_t nargs, PyObject *kwnames);
COIR__HIDDEN PyObject *coir__sock_recv_into(PyObject *op, PyObject *args,
                                            PyObject *kwargs);
COIR__HIDDEN PyObject *coir__sock_send(PyObject *op, PyObject *const *args,
                                       Py_ssize_t nargs, PyObject *kwnames);
COIR__HIDDEN PyObject *coir__sock_sendall(PyObject *op, PyObject *const *args,
                                          Py_ssize_t nargs, PyObject *kwnames);
/* The same, in no more time than that either. */
COIR__HIDDEN PyObject *coir__sock_send_all(PyObject *op, PyObject *data,
                                           int flags, int64_t limit_ns);
COIR__HIDDEN PyObject *coir__sock_resume(PyObject *op, PyObject *unused);
COIR__HIDDEN PyObject *coir__sock_recvfrom(PyObject *op, PyObject *args,
                                           PyObject *kwargs);
COIR__HIDDEN PyObject *coir__sock_recvfrom_into(PyObject *op, PyObject *args,
                                                PyObject *kwargs);
COIR__HIDDEN PyObject *coir__sock_recvmsg(PyObject *op, PyObject *args);
COIR__HIDDEN PyObject *coir__sock_recvmsg_into(PyObject *op, PyObject *args);
COIR__HIDDEN PyObject *coir__sock_sendto(PyObject *op, PyObject *args);
COIR__HIDDEN PyObject *coir__sock_sendmsg(PyObject *op, PyObject *args,
                                          PyObject *kwargs);
COIR__HIDDEN PyObject *coir__sock_sendmsg_afalg(PyObject *op, PyObject *args,
                                                PyObject *kwargs);
COIR__HIDDEN PyObject *coir__sock_accept_raw(PyObject *op, PyObject *unused);
COIR__HIDDEN PyObject *coir__sock_accept(PyObject *op, PyObject *unused);
COIR__HIDDEN PyObject *coir__sock_connect(PyObject *op, PyObject *address);
COIR__HIDDEN PyObject *coir__sock_connect_ex(PyObject *op, PyObject *address);

/* --- waiting for descriptors --------------------------------------------- */

/* Wait for `fd` by a watcher of its own, in `list` (may be NULL), `ref`: and
 * keep the loop running. Returns the events; 0 when time is over; or -1 with
 * an exception. `what` and `op`, which may be NULL, are for reports. */
COIR__HIDDEN int coir__wait_alone(coir_pythread *t, HubObject *hub, int fd,
                                  int events, coir_list *list, int ref,
                                  const char *what, PyObject *op,
                                  int64_t timeout_ns);

COIR__HIDDEN extern PyMethodDef coir__waitfd_methods[];

static inline int
coir__fd_is_open(int fd)
{
    return fd >= 0 && fcntl(fd, F_GETFD) >= 0;
}

/* Arguments of methods: 0, or -1 with an exception. */
static inline int
coir__check_count(const char *name, Py_ssize_t nargs, Py_ssize_t min,
                  Py_ssize_t max)
{
    if (COIR__LIKELY(nargs >= min && nargs <= max))
        return 0;
    PyErr_Format(PyExc_TypeError,
                 "%s() takes from %zd to %zd arguments (%zd given)", name, min,
                 max, nargs);
    return -1;
}

static inline int
coir__to_int(PyObject *arg, int *value)
{
    long l = PyLong_AsLong(arg);
    if (l == -1 && PyErr_Occurred())
        return -1;
    if (l < INT32_MIN || l > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C int");
        return -1;
    }
    *value = (int)l;
    return 0;
}

#endif
