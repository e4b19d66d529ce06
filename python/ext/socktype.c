/* socktype.c - the type Socket. It is made when it is first asked for, as its
 * base must be imported. */
#include "socket.h"

#include <poll.h>
#include <pthread.h>
#include <structmember.h>
#include <unistd.h>

/* --- making -------------------------------------------------------------- */

static int
sock_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"family", "type", "proto", "fileno", NULL};
    int family = -1, type = -1, proto = -1;
    PyObject *fileno = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|iiiO:socket", names,
                                     &family, &type, &proto, &fileno))
        return -1;
    return coir__sock_make(op, family, type, proto, fileno, 0);
}

uint8_t
coir__sock_kind(PyTypeObject *type)
{
    PyTypeObject *cls = coir__sockets.kinds[1].cls;
    return cls != NULL && PyType_IsSubtype(type, cls);
}

/* --- two objects for one number ------------------------------------------ */

/* One of them owns it: a guest has that of its twin, and closes it by that;
 * the twin of others, which is a plain socket, has theirs. */

static PyObject *
sock_share(PyObject *op, PyObject *args)
{
    PyObject *twin, *fileno;
    int family, type, proto, is_ready;
    if (!PyArg_ParseTuple(args, "OOiiip:_share", &twin, &fileno, &family,
                          &type, &proto, &is_ready) ||
        coir__sock_make(op, family, type, proto, fileno, is_ready) < 0)
        return NULL;
    sock_of(op)->is_guest = 1;
    Py_XSETREF(sock_of(op)->twin, Py_NewRef(twin));
    Py_RETURN_NONE;
}

static PyObject *
sock_set_view(PyObject *op, PyObject *view)
{
    if (!PyObject_TypeCheck(view, coir__sockets.base) ||
        PyObject_TypeCheck(view, coir__sockets.type) ||
        sock_of(op)->is_guest || fd_of(view) != BASE->fd) {
        PyErr_SetString(PyExc_TypeError,
                        "_set_view() needs a plain socket of its number");
        return NULL;
    }
    Py_XSETREF(sock_of(op)->twin, Py_NewRef(view));
    Py_RETURN_NONE;
}

static PyObject *
sock_get_twin(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *twin = sock_of(op)->twin;
    return Py_NewRef(twin != NULL ? twin : Py_None);
}

/* The number goes: have a guest's twin do that by the method `name`, and the
 * twin of others know. NULL with an exception; NotImplemented: there is none.
 */
static PyObject *
leave_twin(PyObject *op, const char *name)
{
    struct sock *s = sock_of(op);
    PyObject *twin = s->twin;
    if (twin == NULL)
        return Py_NewRef(Py_NotImplemented);
    if (!s->is_guest) {
        ((struct base *)twin)->fd = -1;
        return Py_NewRef(Py_NotImplemented);
    }
    Py_INCREF(twin);
    PyObject *res = PyObject_CallMethod(twin, name, NULL);
    Py_DECREF(twin);
    return res;
}

/* --- closing ------------------------------------------------------------- */

static PyObject *
sock_real_close(PyObject *op, PyObject *Py_UNUSED(args))
{
    int fd = BASE->fd;
    if (fd < 0)
        Py_RETURN_NONE;
    struct sock *s = sock_of(op);
    BASE->fd = -1;
    coir__sock_wake(s);
    if (COIR__UNLIKELY(s->twin != NULL)) {
        if (s->is_guest)
            coir__sock_unlink(s);
        PyObject *res = leave_twin(op, "close");
        if (res != Py_NotImplemented)
            return res;
        Py_DECREF(res);
    }
    int err = coir__sock_close_number(s, fd);
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
    if (Py_TYPE(op) == (PyTypeObject *)coir__kind_of(op)->accepted)
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
    PyObject *res = PyObject_CallOneArg(coir__base_methods[DETACH], op);
    coir__sock_wake(s);
    coir__sock_unlink(s);
    if (COIR__UNLIKELY(s->twin != NULL) && res != NULL) {
        PyObject *left = leave_twin(op, "detach");
        if (left == NULL)
            Py_CLEAR(res);
        Py_XDECREF(left);
    }
    return res;
}

/* A guest's number goes with it, as its twin may be known to nobody. */
static void
leave_at_last(PyObject *op)
{
    int is_open = BASE->fd >= 0, is_guest = sock_of(op)->is_guest;
    if (is_guest)
        BASE->fd = -1;
    PyObject *res = is_open || !is_guest ? leave_twin(op, "close") : NULL;
    if (res == NULL && PyErr_Occurred())
        PyErr_WriteUnraisable(op);
    Py_XDECREF(res);
    Py_CLEAR(sock_of(op)->twin);
}

/* Is nobody to be told that it was not closed? With eventlet only of those
 * whose class says so. */
static int
goes_silently(PyObject *op)
{
    if (!coir__kind_of(op)->is_lenient)
        return 0;
    PyObject *tells =
        PyObject_GetAttrString((PyObject *)Py_TYPE(op), "_warns_unclosed");
    int res = tells != NULL ? PyObject_Not(tells) : 1;
    PyErr_Clear();
    Py_XDECREF(tells);
    return res != 0;
}

static void
sock_finalize(PyObject *op)
{
    PyObject *exc = coir__error_take();
    coir__sock_unlink(sock_of(op));
    if (COIR__UNLIKELY(sock_of(op)->twin != NULL))
        leave_at_last(op);
    if (BASE->fd >= 0 && goes_silently(op)) {
        int fd = BASE->fd;
        BASE->fd = -1; /* without a warning */
        (void)close(fd);
    }
    coir__error_give(exc);
    if (coir__sockets.base->tp_finalize != NULL)
        coir__sockets.base->tp_finalize(op); /* warns, and closes it */
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
    return coir__sock_set_timeout(op, value != NULL ? value : Py_None);
}

static PyObject *
sock_gettimeout(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return sock_get_timeout(op, NULL);
}

static PyObject *
sock_settimeout(PyObject *op, PyObject *value)
{
    if (coir__sock_set_timeout(op, value) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
sock_setblocking(PyObject *op, PyObject *flag)
{
    int blocks = PyObject_IsTrue(flag);
    /* An error if it is closed, as Python's. */
    if (blocks < 0 || coir__sock_set_nonblocking(op) < 0)
        return NULL;
    sock_of(op)->timeout = blocks ? -1 : 0;
    Py_RETURN_NONE;
}

static PyObject *
sock_getblocking(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(coir__sock_timeout_ns(op) != 0);
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
    sock_of(op)->ref = ref > 0;
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
    int err = coir__use_poll(&u);
    use_end(&u);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* --- the type ------------------------------------------------------------ */

static int
sock_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(sock_of(op)->twin);
    /* Those in line are kept alive by the loop, not by us. */
    if (coir__sockets.base->tp_traverse != NULL)
        return coir__sockets.base->tp_traverse(op, visit, arg);
    /* Where there is one, it visits the type: twice would be once more than
     * an instance has references to it, and the collector would take a class
     * in use for garbage. */
    Py_VISIT(Py_TYPE(op));
    return 0;
}

static int
sock_clear(PyObject *op)
{
    Py_CLEAR(sock_of(op)->twin);
    if (coir__sockets.base->tp_clear != NULL)
        return coir__sockets.base->tp_clear(op);
    return 0;
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))
#define WITH_KEYWORDS (METH_VARARGS | METH_KEYWORDS)

static PyObject *
sock_bind(PyObject *op, PyObject *address)
{
    return PyObject_CallFunctionObjArgs(coir__base_methods[BIND], op, address,
                                        NULL);
}

static PyObject *
sock_shutdown(PyObject *op, PyObject *how)
{
    return PyObject_CallFunctionObjArgs(coir__base_methods[SHUTDOWN], op, how,
                                        NULL);
}

COIR__DEFINE_ONE(sock_bind, "bind", "address")
COIR__DEFINE_ONE(sock_shutdown, "shutdown", "how")
COIR__DEFINE_ONE(sock_settimeout, "settimeout", "howlong")
COIR__DEFINE_ONE(sock_setblocking, "setblocking", "flag")
COIR__DEFINE_ONE(coir__sock_connect, "connect", "address")
COIR__DEFINE_ONE(coir__sock_connect_ex, "connect_ex", "address")

static PyMethodDef sock_methods[] = {
    {"bind", COIR__ONE(sock_bind),
     "bind($self, address)\n--\n\n"
     "Give it an address; a host is looked up by libc."},
    {"shutdown", COIR__ONE(sock_shutdown),
     "shutdown($self, how)\n--\n\n"
     "Send no more, or receive no more, or both: SHUT_WR, SHUT_RD,\n"
     "SHUT_RDWR."},
    {"recv", FAST(coir__sock_recv), METH_FASTCALL | METH_KEYWORDS,
     "recv($self, bufsize, flags=0)\n--\n\n"
     "Receive up to bufsize bytes; empty at the end of the stream. Waits\n"
     "until there are some, up to the socket's timeout."},
    {"recv_into", FAST(coir__sock_recv_into), WITH_KEYWORDS,
     "recv_into($self, buffer, nbytes=0, flags=0)\n--\n\n"
     "Receive into a writable buffer, up to nbytes bytes (0: its size).\n"
     "Returns how many. Waits as recv()."},
    {"recvfrom", FAST(coir__sock_recvfrom), WITH_KEYWORDS,
     "recvfrom($self, bufsize, flags=0)\n--\n\n"
     "As recv(), with the address of the sender."},
    {"recvfrom_into", FAST(coir__sock_recvfrom_into), WITH_KEYWORDS,
     "recvfrom_into($self, buffer, nbytes=0, flags=0)\n--\n\n"
     "As recv_into(), with the address of the sender."},
    {"recvmsg", coir__sock_recvmsg, METH_VARARGS,
     "recvmsg($self, bufsize, ancbufsize=0, flags=0, /)\n--\n\n"
     "Receive data and ancillary data: (data, ancdata, flags, address).\n"
     "Waits as recv()."},
    {"recvmsg_into", coir__sock_recvmsg_into, METH_VARARGS,
     "recvmsg_into($self, buffers, ancbufsize=0, flags=0, /)\n--\n\n"
     "The same into writable buffers: (nbytes, ancdata, flags, address)."},
    {"send", FAST(coir__sock_send), METH_FASTCALL | METH_KEYWORDS,
     "send($self, data, flags=0, timeout=...)\n--\n\n"
     "Send some of the bytes and return how many. Waits until some can be\n"
     "sent, up to the timeout in seconds, by default the socket's."},
    {"sendall", FAST(coir__sock_sendall), METH_FASTCALL | METH_KEYWORDS,
     "sendall($self, data, flags=0)\n--\n\n"
     "Send all of the bytes; the timeout is for all of it. After an error\n"
     "it is unknown how many were sent. If it was not the system's, neither\n"
     "sendall() nor send() work from then on, until resume()."},
    {"resume", coir__sock_resume, METH_NOARGS,
     "resume($self)\n--\n\n"
     "Allow to send after a sendall() that was interrupted."},
    {"sendto", coir__sock_sendto, METH_VARARGS,
     "sendto($self, data, *flags_and_address)\n--\n\n"
     "Send to an address. Waits as send()."},
    {"sendmsg", FAST(coir__sock_sendmsg), WITH_KEYWORDS,
     "sendmsg($self, buffers, ancdata=(), flags=0, address=None)\n--\n\n"
     "Send data and ancillary data. Waits as send()."},
    {"sendmsg_afalg", FAST(coir__sock_sendmsg_afalg), WITH_KEYWORDS,
     "sendmsg_afalg([msg], *, op[, iv[, assoclen[, flags]]]) -> int\n\n"
     "Send to an AF_ALG socket. Waits as send()."},
    {"_accept", coir__sock_accept_raw, METH_NOARGS,
     "_accept($self)\n--\n\n"
     "As accept(), but with the number of the descriptor."},
    {"accept", coir__sock_accept, METH_NOARGS,
     "accept($self)\n--\n\n"
     "Take a connection: a new socket, and the peer's address. Waits for\n"
     "one, up to the socket's timeout."},
    {"connect", COIR__ONE(coir__sock_connect),
     "connect($self, address)\n--\n\n"
     "Connect to an address, the host of which is looked up. Waits until it\n"
     "is connected, up to the socket's timeout."},
    {"connect_ex", COIR__ONE(coir__sock_connect_ex),
     "connect_ex($self, address)\n--\n\n"
     "As connect(), but returns errno, 0 for success, instead of raising\n"
     "OSError."},
    {"_real_close", FAST(sock_real_close), METH_VARARGS,
     "_real_close($self)\n--\n\n"
     "Close the descriptor. Who waits for it gets an error."},
    {"close", sock_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "Close the socket, once all files made of it are closed."},
    {"_decref_socketios", sock_decref_socketios, METH_NOARGS,
     "_decref_socketios($self)\n--\n\nA file made of it was closed."},
    {"detach", sock_detach, METH_NOARGS,
     "detach($self)\n--\n\n"
     "Give up the descriptor, which stays open, and does not block."},
    {"settimeout", COIR__ONE(sock_settimeout),
     "settimeout($self, howlong)\n--\n\n"
     "Limit how long calls may wait, in seconds: None for no limit, 0 not\n"
     "to wait at all."},
    {"gettimeout", sock_gettimeout, METH_NOARGS,
     "gettimeout($self)\n--\n\nWhat settimeout() set."},
    {"setblocking", COIR__ONE(sock_setblocking),
     "setblocking($self, flag)\n--\n\n"
     "True: as settimeout(None), False: as settimeout(0)."},
    {"getblocking", sock_getblocking, METH_NOARGS,
     "getblocking($self)\n--\n\nFalse if the timeout is 0."},
    {"_wait_io", FAST(sock_wait_io), METH_FASTCALL,
     "_wait_io($self, events, timeout=None, /)\n--\n\n"
     "Wait until it can be read from (1) or written to (2), up to the\n"
     "timeout, by default the socket's."},
    {"_share", sock_share, METH_VARARGS,
     "_share($self, twin, fileno, family, type, proto, is_ready)\n--\n\n"
     "Be a green face of another object that has a descriptor, and closes\n"
     "it. is_ready: leave the descriptor's mode alone."},
    {"_set_view", sock_set_view, METH_O,
     "_set_view($self, sock, /)\n--\n\n"
     "Have a plain socket, made of the number of this one, lose that when\n"
     "this one is closed."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef sock_getset[] = {
    {"timeout", sock_get_timeout, sock_set_timeout,
     "Seconds that calls may wait; None: no limit.", NULL},
    {"ref", sock_get_ref, sock_set_ref,
     "Whether waiting for it keeps the loop running.", NULL},
    {"_twin", sock_get_twin, NULL,
     "What _share() or _set_view() was given, or None.", NULL},
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
    {Py_tp_clear, sock_clear},
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
    coir__sockets.get_default_timeout =
        PyObject_GetAttrString(module, "getdefaulttimeout");
    Py_DECREF(module);
    if (type == NULL || coir__sockets.get_default_timeout == NULL)
        return -1;
    coir__sockets.base = (PyTypeObject *)type;
    for (int i = 0; i < COIR__BASE_COUNT; i++) {
        coir__base_methods[i] =
            PyObject_GetAttrString(type, coir__base_names[i]);
        if (coir__base_methods[i] == NULL)
            PyErr_Clear();
    }
    return check_base(coir__sockets.base);
}

static void
count_fork(void)
{
    coir__sockets.forks++;
}

static int
make_type(void)
{
    if (find_base() < 0)
        return -1;
    if (pthread_atfork(NULL, NULL, count_fork) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t align = (Py_ssize_t) _Alignof(struct sock);
    coir__sockets.at =
        (coir__sockets.base->tp_basicsize + align - 1) / align * align;
    for (PyMemberDef *m = sock_members; m->name != NULL; m++)
        m->offset += coir__sockets.at;
    PyType_Spec spec = {
        .name = "coir._core.Socket",
        .basicsize = (int)(coir__sockets.at + (Py_ssize_t)sizeof(struct sock)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = sock_slots,
    };
    PyObject *bases = PyTuple_Pack(1, (PyObject *)coir__sockets.base);
    if (bases == NULL)
        return -1;
    coir__sockets.type =
        (PyTypeObject *)PyType_FromSpecWithBases(&spec, bases);
    Py_DECREF(bases);
    return coir__sockets.type != NULL ? 0 : -1;
}

/* --- functions ----------------------------------------------------------- */

static PyObject *
get_socket_type(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (coir__sockets.type == NULL && make_type() < 0)
        return NULL;
    return Py_NewRef((PyObject *)coir__sockets.type);
}

static PyObject *
set_hooks(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"accepted", "resolve",         "closed",  "torn",
                            "switched", "default_timeout", "adopted", "opened",
                            "crowded",  "lenient",         NULL};
    PyObject *given[9] = {NULL};
    int is_lenient = 0;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|$O!OOOOOOOOp:set_socket_hooks", names,
            &PyType_Type, &given[0], &given[1], &given[2], &given[3],
            &given[4], &given[5], &given[6], &given[7], &given[8],
            &is_lenient))
        return NULL;
    if (given[0] != NULL &&
        (coir__sockets.type == NULL ||
         !PyType_IsSubtype((PyTypeObject *)given[0], coir__sockets.type))) {
        PyErr_SetString(PyExc_TypeError, "accepted must be a Socket class");
        return NULL;
    }
    if (is_lenient && given[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "whose hooks are these?");
        return NULL;
    }
    struct coir__kind *kind = &coir__sockets.kinds[is_lenient];
    kind->is_lenient = is_lenient;
    if (is_lenient)
        Py_XSETREF(kind->cls, (PyTypeObject *)Py_NewRef(given[0]));
    PyObject **const hooks[] = {
        &kind->accepted, &kind->resolve,  &kind->closed,
        &kind->torn,     &kind->switched, &kind->default_timeout,
        &kind->adopted,  &kind->opened,   &kind->crowded};
    for (int i = 0; i < 9; i++)
        if (given[i] != NULL)
            Py_XSETREF(*hooks[i], Py_NewRef(given[i]));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"socket_type", get_socket_type, METH_NOARGS,
     "socket_type()\n\n"
     "The type Socket, a subclass of _socket.socket."},
    {"set_socket_hooks", FAST(set_hooks), WITH_KEYWORDS,
     "set_socket_hooks(*, accepted=, resolve=, closed=, torn=, switched=,\n"
     "default_timeout=, adopted=, opened=, crowded=, lenient=False) -> None\n"
     "\n"
     "What Socket needs of Python: the class of sockets that are accepted,\n"
     "resolve(socket, address) for names of hosts, exceptions, and the value\n"
     "of send()'s timeout that means the socket's; adopted(listener, socket)\n"
     "makes what listeners of other classes give of what was accepted,\n"
     "opened(number) is told of each that was, crowded(socket, what) is\n"
     "called before one more waits where somebody does. lenient: for\n"
     "instances of the class `accepted`, which behave as eventlet's then."},
    {NULL, NULL, 0, NULL},
};

int
coir__socket_types_init(PyObject *module)
{
    if (PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddFunctions(module, coir__waitfd_methods);
}
