/* sockconn.c - making sockets, connections, and the base's methods that may
 * have to wait: these are called, and called again once it is ready. */
#include "socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

/* What Linux tells of a listener of Unix sockets that has no room: nothing.
 * connect() is tried again after this. */
#define RETRY_NS (5 * COIR_NS_PER_MS)

/* --- addresses ----------------------------------------------------------- */

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

/* A host that only a datagram is sent to, or that is no name. */
static int
is_no_name(PyObject *host)
{
    return PyUnicode_Check(host) &&
           (PyUnicode_GET_LENGTH(host) == 0 ||
            PyUnicode_CompareWithASCIIString(host, "<broadcast>") == 0);
}

/* The address with its host looked up, a new reference. */
static PyObject *
resolved(PyObject *op, PyObject *address)
{
    if (coir__kind_of(op)->resolve == NULL ||
        (BASE->family != AF_INET && BASE->family != AF_INET6) ||
        !PyTuple_Check(address) || PyTuple_GET_SIZE(address) < 2 ||
        is_numeric(PyTuple_GET_ITEM(address, 0)))
        return Py_NewRef(address);
    return PyObject_CallFunctionObjArgs(coir__kind_of(op)->resolve, op,
                                        address, NULL);
}

/* Arguments whose address, the one at `at`, has its host looked up: a new
 * reference. The base would do that itself, and block. */
static PyObject *
with_resolved(PyObject *op, PyObject *args, Py_ssize_t at)
{
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    PyObject *old = at > 0 && at < n ? PyTuple_GET_ITEM(args, at) : NULL;
    if (old == NULL || !PyTuple_Check(old) || PyTuple_GET_SIZE(old) < 2 ||
        is_no_name(PyTuple_GET_ITEM(old, 0)))
        return Py_NewRef(args);
    PyObject *address = resolved(op, old);
    if (address == NULL)
        return NULL;
    PyObject *res = address != old ? PyTuple_New(n) : Py_NewRef(args);
    for (Py_ssize_t i = 0; i < n && res != NULL && res != args; i++)
        PyTuple_SET_ITEM(
            res, i, Py_NewRef(i == at ? address : PyTuple_GET_ITEM(args, i)));
    Py_DECREF(address);
    return res;
}

/* --- the base's methods that may have to wait ---------------------------- */

const char *const coir__base_names[COIR__BASE_COUNT] = {
    "recvfrom", "recvfrom_into", "recvmsg",  "recvmsg_into", "sendto",
    "sendmsg",  "sendmsg_afalg", "_accept",  "connect_ex",   "settimeout",
    "detach",   "bind",          "shutdown",
};
PyObject *coir__base_methods[COIR__BASE_COUNT];

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
    PyObject *res = PyObject_Call(coir__base_methods[which], all, kwargs);
    Py_DECREF(all);
    return res;
}

/* Does who asks for no bytes wait until there are some? */
static int
is_for_nothing(enum retried which, const struct use *u, PyObject *args)
{
    if (which > RECVFROM_INTO || !coir__kind_of(u->op)->is_lenient ||
        u->timeout_ns == 0 || PyTuple_GET_SIZE(args) == 0)
        return 0;
    int is_true = PyObject_IsTrue(PyTuple_GET_ITEM(args, 0));
    if (is_true < 0)
        PyErr_Clear();
    return is_true == 0;
}

/* The base's method raised an error; returns as coir__use_failed(). */
static int
failed(enum retried which, struct use *u)
{
    if (which > RECVFROM_INTO || !coir__kind_of(u->op)->is_lenient ||
        !PyErr_ExceptionMatches(PyExc_OSError))
        return -1;
    PyObject *exc = coir__error_take();
    PyObject *number = PyObject_GetAttrString(exc, "errno");
    int e = number != NULL && PyLong_Check(number) ? (int)PyLong_AsLong(number)
                                                   : -1;
    Py_XDECREF(number);
    PyErr_Clear();
    if (e != ECONNRESET && e != ESHUTDOWN && e != EPIPE && e != ENOTCONN) {
        coir__error_give(exc);
        return -1;
    }
    Py_DECREF(exc);
    return coir__use_failed(u, e);
}

static PyObject *
retry(enum retried which, PyObject *op, PyObject *args, PyObject *kwargs)
{
    int dir = which < SENDTO || which == ACCEPT ? IN : OUT;
    if (coir__base_methods[which] == NULL) {
        PyErr_SetString(PyExc_AttributeError, coir__base_names[which]);
        return NULL;
    }
    if (which == SENDMSG && coir__sock_check_torn(op) < 0)
        return NULL;
    struct use u = use_of(op, dir, coir__base_names[which]);
    if (which == ACCEPT)
        u.what = "accept";
    use_heed_flags(&u, flags_of(which, args));
    PyObject *res = NULL;
    int err = use_begin(&u, 0);
    if (err == 0 && is_for_nothing(which, &u, args))
        err = coir__use_poll(&u);
    while (err == 0) {
        res = call_base(which, op, args, kwargs);
        if (res != NULL || u.timeout_ns == 0)
            break;
        if (PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
            PyErr_Clear();
            err = coir__use_wait(&u);
        }
        else
            err = failed(which, &u);
    }
    sock_of(op)->drained &= (uint8_t)~BIT(dir);
    use_end(&u);
    if (err <= 0)
        return res;
    return which == RECVFROM ? PyBytes_FromStringAndSize(NULL, 0)
                             : PyLong_FromLong(0);
}

PyObject *
coir__sock_recvfrom(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"bufsize", "flags"};
    PyObject *in[2] = {NULL, NULL};
    if (kwargs == NULL)
        return retry(RECVFROM, op, args, NULL);
    if (coir__tuple_arguments("recvfrom", names, 2, args, kwargs, in) < 0)
        return NULL;
    PyObject *all = PyTuple_Pack(in[0] == NULL   ? 0
                                 : in[1] == NULL ? 1
                                                 : 2,
                                 in[0], in[1]);
    PyObject *res = all != NULL ? retry(RECVFROM, op, all, NULL) : NULL;
    Py_XDECREF(all);
    return res;
}

PyObject *
coir__sock_recvfrom_into(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return retry(RECVFROM_INTO, op, args, kwargs);
}

PyObject *
coir__sock_recvmsg(PyObject *op, PyObject *args)
{
    return retry(RECVMSG, op, args, NULL);
}

PyObject *
coir__sock_recvmsg_into(PyObject *op, PyObject *args)
{
    return retry(RECVMSG_INTO, op, args, NULL);
}

PyObject *
coir__sock_sendto(PyObject *op, PyObject *args)
{
    PyObject *to = with_resolved(op, args, PyTuple_GET_SIZE(args) - 1);
    if (to == NULL)
        return NULL;
    PyObject *res = retry(SENDTO, op, to, NULL);
    Py_DECREF(to);
    return res;
}

static PyObject *
sendmsg_by_name(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"buffers", "ancdata", "flags",
                                        "address"};
    PyObject *zero = PyLong_FromLong(0), *all = NULL;
    PyObject *in[] = {NULL, coir__core.empty_tuple, zero, Py_None};
    if (zero != NULL &&
        coir__tuple_arguments("sendmsg", names, 4, args, kwargs, in) == 0) {
        if (in[0] != NULL)
            all = PyTuple_Pack(4, in[0], in[1], in[2], in[3]);
        else
            PyErr_SetString(PyExc_TypeError, "sendmsg() needs buffers");
    }
    Py_XDECREF(zero);
    PyObject *res = all != NULL ? coir__sock_sendmsg(op, all, NULL) : NULL;
    Py_XDECREF(all);
    return res;
}

/* Buffers from an iterator, which would be used up by the first attempt. */
PyObject *
coir__sock_sendmsg(PyObject *op, PyObject *args, PyObject *kwargs)
{
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)
        return sendmsg_by_name(op, args, kwargs);
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
    PyObject *to = with_resolved(op, again, 3);
    Py_DECREF(again);
    if (to == NULL)
        return NULL;
    PyObject *res = retry(SENDMSG, op, to, NULL);
    Py_DECREF(to);
    return res;
}

PyObject *
coir__sock_sendmsg_afalg(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return retry(SENDMSG_AFALG, op, args, kwargs);
}

PyObject *
coir__sock_accept_raw(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return retry(ACCEPT, op, coir__core.empty_tuple, NULL);
}

/* --- making -------------------------------------------------------------- */

int
coir__sock_set_timeout(PyObject *op, PyObject *value)
{
    struct sock *s = sock_of(op);
    if (value == Py_None) {
        s->timeout = -1;
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
    return 0;
}

static int
set_usual_timeout(PyObject *op)
{
    PyObject *value = PyObject_CallNoArgs(coir__sockets.get_default_timeout);
    int err = value != NULL ? coir__sock_set_timeout(op, value) : -1;
    Py_XDECREF(value);
    return err;
}

static int
init_base(PyObject *op, int family, int type, int proto, PyObject *fileno)
{
    PyObject *args = Py_BuildValue("(iiiO)", family, type, proto, fileno);
    int err = args != NULL ? coir__sockets.base->tp_init(op, args, NULL) : -1;
    Py_XDECREF(args);
    return err;
}

int
coir__sock_set_nonblocking(PyObject *op)
{
    int on = 1;
    return ioctl(fd_of(op), FIONBIO, &on) == 0 ? 0 : coir__set_oserror(errno);
}

/* A number that is known not to block: `is_ready`. */
int
coir__sock_make(PyObject *op, int family, int type, int proto,
                PyObject *fileno, int is_ready)
{
    struct sock *s = sock_of(op);
    int is_given = fileno != Py_None, blocks = 1;
    coir__sock_unlink(s);
    s->kind = coir__sock_kind(Py_TYPE(op));
    s->is_guest = 0;
    Py_CLEAR(s->twin);
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
            PyObject_CallFunction(coir__base_methods[SETTIMEOUT], "Oi", op, 0);
        if (res == NULL)
            return -1;
        Py_DECREF(res);
    }
    else if (is_given && !is_ready && coir__sock_set_nonblocking(op) < 0)
        return -1;
    s->is_stream = (BASE->family == AF_INET || BASE->family == AF_INET6) &&
                   BASE->type == SOCK_STREAM &&
                   (BASE->proto == 0 || BASE->proto == IPPROTO_TCP);
    s->closed = 0;
    s->ref = 1;
    s->forks = coir__sockets.forks;
    if (blocks)
        return set_usual_timeout(op);
    s->timeout = 0;
    return 0;
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
    const struct coir__kind *kind = coir__kind_of(op);
    PyTypeObject *cls = (PyTypeObject *)kind->accepted;
    if (cls == NULL)
        cls = coir__sockets.type;
    PyObject *made = cls->tp_new(cls, coir__core.empty_tuple, NULL);
    if (made != NULL && coir__sock_make(made, BASE->family, BASE->type,
                                        BASE->proto, fileno, is_ready) < 0)
        Py_CLEAR(made);
    return made;
}

/* As the class of the listener wants it, steals `made`. */
static PyObject *
adopted(PyObject *op, PyObject *made)
{
    const struct coir__kind *kind = coir__kind_of(op);
    PyObject *res = made;
    if (kind->opened != NULL) {
        res = PyObject_CallFunction(kind->opened, "i", fd_of(made));
        Py_XDECREF(res);
        res = res != NULL ? made : NULL;
    }
    if (res != NULL && kind->adopted != NULL &&
        Py_TYPE(op) != (PyTypeObject *)kind->accepted)
        res = PyObject_CallFunctionObjArgs(kind->adopted, op, made, NULL);
    if (res != made)
        Py_DECREF(made);
    return res;
}

/* The base's own way, for families of which it alone knows the addresses. */
static PyObject *
accept_by_base(PyObject *op)
{
    PyObject *pair = coir__sock_accept_raw(op, NULL);
    if (pair == NULL)
        return NULL;
    PyObject *made = make_accepted(op, PyTuple_GET_ITEM(pair, 0), 0);
    PyObject *res = NULL;
    if (made != NULL)
        made = adopted(op, made);
    if (made != NULL)
        res = PyTuple_Pack(2, made, PyTuple_GET_ITEM(pair, 1));
    Py_XDECREF(made);
    Py_DECREF(pair);
    return res;
}

PyObject *
coir__sock_accept(PyObject *op, PyObject *Py_UNUSED(unused))
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
        made = adopted(op, made);
    if (made != NULL)
        address = make_address(&addr, len);
    if (address != NULL)
        res = PyTuple_Pack(2, made, address);
    Py_XDECREF(number);
    Py_XDECREF(made);
    Py_XDECREF(address);
    return res;
}

/* --- connecting ---------------------------------------------------------- */

/* One attempt: 0, an errno value, or -1 with an exception. */
static int
try_connect(PyObject *op, PyObject *address)
{
    PyObject *argv[2] = {op, address};
    PyObject *res =
        PyObject_Vectorcall(coir__base_methods[CONNECT_EX], argv, 2, NULL);
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
    int64_t left = coir__use_left(u);
    if (left == 0)
        return coir__set_timed_out();
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
            err = coir__use_wait(&u);
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

PyObject *
coir__sock_connect(PyObject *op, PyObject *address)
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

PyObject *
coir__sock_connect_ex(PyObject *op, PyObject *address)
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
