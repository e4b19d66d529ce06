/* wsgistream.c - environ["coir.upgrade"], and the stream of bytes that a
 * connection is from then on: with what a socket has, for those who speak
 * another protocol than HTTP.
 *
 * The stream is that of the exchange: it ends with the call of the
 * application. One greenlet may read while another one writes. */
#include "wsgi.h"
#include "socket.h"

typedef struct {
    PyObject_HEAD RequestObject *request; /* strong */
    PyObject *weakreflist;
    int64_t timeout_ns;
    double timeout; /* seconds; negative: none */
    int is_closed;
    int heeds_stop;
} StreamObject;

#define SELF ((StreamObject *)op)

/* --- upgrading ----------------------------------------------------------- */

static int
has_field(PyObject *headers, const char *wanted)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        PyObject *pair = PyList_GET_ITEM(headers, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2)
            continue;
        PyObject *name = PyTuple_GET_ITEM(pair, 0);
        const char *s = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        if (s == NULL)
            PyErr_Clear();
        else if (PyOS_stricmp(s, wanted) == 0)
            return 1;
    }
    return 0;
}

/* Connection: Upgrade is always the same. 0, or -1 with an exception. */
static int
add_connection(PyObject *headers)
{
    PyObject *pair = Py_BuildValue("(ss)", "Connection", "Upgrade");
    int err = pair != NULL ? PyList_Append(headers, pair) : -1;
    Py_XDECREF(pair);
    return err;
}

static int
begin(RequestObject *r, PyObject *status, PyObject *headers)
{
    if (r->has_started || r->is_upgraded) {
        PyErr_SetString(PyExc_RuntimeError,
                        "there is a response already: a connection is "
                        "upgraded before start_response(), and once");
        return -1;
    }
    if (has_field(headers, "upgrade") && !has_field(headers, "connection") &&
        add_connection(headers) < 0)
        return -1;
    if (coir__response_begin(r, status, headers) < 0)
        return -1;
    int err = coir_http_upgrade(r->x);
    if (err == 0) {
        r->is_upgraded = 1;
        return 0;
    }
    r->has_started = 0;
    if (err != COIR_EINVAL)
        return coir__request_raise(r, COIR_HTTP_WRITER, err);
    (void)coir_http_restart(r->x);
    PyErr_SetString(PyExc_ValueError,
                    "this request cannot be answered so: a connection is "
                    "upgraded by 101, or by 2xx to CONNECT");
    return -1;
}

static PyObject *
upgrade(PyObject *op, PyObject *args)
{
    RequestObject *r = (RequestObject *)op;
    PyObject *status, *given = NULL;
    if (!PyArg_ParseTuple(args, "UO:upgrade", &status, &given))
        return NULL;
    PyObject *headers = PySequence_List(given);
    if (headers == NULL)
        return NULL;
    int err = coir__request_enter(r);
    if (err == 0) {
        err = begin(r, status, headers);
        coir__request_leave(r);
    }
    Py_DECREF(headers);
    if (err < 0)
        return NULL;
    StreamObject *s = PyObject_GC_New(StreamObject, &coir__http_stream_type);
    if (s == NULL)
        return NULL;
    s->request = (RequestObject *)Py_NewRef((PyObject *)r);
    s->weakreflist = NULL;
    s->timeout_ns = COIR_FOREVER;
    s->timeout = -1;
    s->is_closed = 0;
    s->heeds_stop = 0;
    PyObject_GC_Track(s);
    return (PyObject *)s;
}

PyMethodDef coir__upgrade_def = {
    "upgrade", upgrade, METH_VARARGS,
    "upgrade($self, status, headers)\n--\n\n"
    "Answer by 101, or to CONNECT by 2xx, and have the connection as a "
    "stream\n"
    "of bytes, which looks like a socket, until the application returns;\n"
    "what that returns is ignored."};

/* --- bytes --------------------------------------------------------------- */

static int
enter(PyObject *op)
{
    if (SELF->is_closed || SELF->request->x == NULL)
        return coir__set_oserror(EBADF);
    return coir__request_enter(SELF->request);
}

static int
failed(PyObject *op, int slot, int err)
{
    RequestObject *r = SELF->request;
    if (SELF->heeds_stop && err == COIR_ECANCELED && r->error[slot] == NULL &&
        !r->cancelled && slot == COIR_HTTP_READER) {
        PyErr_SetString(PyExc_ConnectionAbortedError, "the server stops");
        return -1;
    }
    if (r->error[slot] != NULL || err == COIR_ECANCELED)
        return coir__request_raise(r, slot, err);
    if (err == COIR_ETIMEDOUT)
        return coir__set_timed_out();
    if (err == COIR_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    if (err == COIR_ETORN) {
        PyErr_SetString(PyExc_ConnectionError,
                        "a sendall() was interrupted after some of its "
                        "bytes: nothing can follow them");
        return -1;
    }
    return coir__set_oserror(err == COIR_EBUSY  ? EBUSY
                             : err == COIR_EEOF ? ECONNRESET
                                                : coir_errno(err));
}

static Py_ssize_t
receive(PyObject *op, char *buf, Py_ssize_t len)
{
    if (enter(op) < 0)
        return -1;
    RequestObject *r = SELF->request;
    ssize_t n = coir_http_raw_read(r->x, buf, (size_t)len, SELF->timeout_ns);
    if (n < 0)
        (void)failed(op, COIR_HTTP_READER, (int)n);
    coir__request_leave(r);
    return n < 0 ? -1 : (Py_ssize_t)n;
}

static PyObject *
stream_heed_stop(PyObject *op, PyObject *arg)
{
    int heeds = PyObject_IsTrue(arg);
    if (heeds < 0 || enter(op) < 0)
        return NULL;
    (void)coir_http_raw_heed_stop(SELF->request->x, heeds);
    SELF->heeds_stop = heeds;
    coir__request_leave(SELF->request);
    Py_RETURN_NONE;
}

static PyObject *
stream_recv(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (coir__check_count("recv", nargs, 1, 2) < 0)
        return NULL;
    Py_ssize_t len = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (len < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    PyObject *res = PyBytes_FromStringAndSize(NULL, len);
    if (res == NULL || len == 0)
        return res;
    Py_ssize_t n = receive(op, PyBytes_AS_STRING(res), len);
    if (n < 0)
        Py_CLEAR(res);
    else if (n < len)
        (void)_PyBytes_Resize(&res, n);
    return res;
}

static PyObject *
stream_recv_into(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"buffer", "nbytes", "flags", NULL};
    Py_buffer buf;
    Py_ssize_t len = 0;
    int flags = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "w*|ni:recv_into", names,
                                     &buf, &len, &flags))
        return NULL;
    Py_ssize_t n = -1;
    if (len < 0 || len > buf.len)
        PyErr_SetString(PyExc_ValueError,
                        "buffer too small for requested bytes");
    else if (buf.len == 0)
        n = 0;
    else
        n = receive(op, buf.buf, len > 0 ? len : buf.len);
    PyBuffer_Release(&buf);
    return n >= 0 ? PyLong_FromSsize_t(n) : NULL;
}

/* All of it: how much, or -1 with an exception. */
static Py_ssize_t
transmit(PyObject *op, PyObject *data)
{
    Py_buffer buf;
    if (PyObject_GetBuffer(data, &buf, PyBUF_SIMPLE) < 0)
        return -1;
    Py_ssize_t len = buf.len;
    int err = enter(op);
    if (err == 0) {
        RequestObject *r = SELF->request;
        struct iovec iov = {buf.buf, (size_t)len};
        err = len > 0 ? coir_http_raw_writev(r->x, &iov, 1, SELF->timeout_ns)
                      : 0;
        if (err < 0)
            (void)failed(op, COIR_HTTP_WRITER, err);
        else
            r->sent += (uint64_t)len;
        coir__request_leave(r);
    }
    PyBuffer_Release(&buf);
    return err < 0 ? -1 : len;
}

static PyObject *
stream_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (coir__check_count("send", nargs, 1, 2) < 0)
        return NULL;
    Py_ssize_t n = transmit(op, args[0]);
    return n >= 0 ? PyLong_FromSsize_t(n) : NULL;
}

static PyObject *
stream_sendall(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (coir__check_count("sendall", nargs, 1, 2) < 0)
        return NULL;
    return transmit(op, args[0]) >= 0 ? Py_NewRef(Py_None) : NULL;
}

/* --- the rest of a socket ------------------------------------------------ */

static PyObject *
stream_settimeout(PyObject *op, PyObject *value)
{
    int64_t ns;
    if (coir__timeout_ns(value, &ns) < 0)
        return NULL;
    SELF->timeout = value == Py_None ? -1 : PyFloat_AsDouble(value);
    SELF->timeout_ns = ns;
    Py_RETURN_NONE;
}

static PyObject *
stream_gettimeout(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return SELF->timeout < 0 ? Py_NewRef(Py_None)
                             : PyFloat_FromDouble(SELF->timeout);
}

static PyObject *
stream_shutdown(PyObject *op, PyObject *how)
{
    int n;
    if (coir__to_int(how, &n) < 0 || enter(op) < 0)
        return NULL;
    int err = n != SHUT_RD ? coir_http_raw_shutdown(SELF->request->x) : 0;
    if (err < 0)
        (void)failed(op, COIR_HTTP_WRITER, err);
    coir__request_leave(SELF->request);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
stream_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    RequestObject *r = SELF->request;
    if (!SELF->is_closed && r->x != NULL) {
        /* The rest happens when the application returns. */
        (void)coir_http_raw_shutdown(r->x);
        for (int slot = 0; slot < 2; slot++) {
            coir_wait *w = r->x->waiting[slot];
            r->result[slot] = COIR_ECLOSED;
            if (w != NULL && w->is_waiting && w->woken == COIR_WOKEN_WAITS)
                coir__wake(w, NULL);
        }
    }
    SELF->is_closed = 1;
    Py_RETURN_NONE;
}

static PyObject *
stream_fileno(PyObject *op, PyObject *Py_UNUSED(unused))
{
    const RequestObject *r = SELF->request;
    return PyLong_FromLong(
        SELF->is_closed || r->x == NULL ? -1 : coir_http_connection_fd(r->x));
}

static PyObject *
stream_getpeername(PyObject *op, PyObject *Py_UNUSED(unused))
{
    RequestObject *r = SELF->request;
    unsigned port = 0;
    if (SELF->is_closed || r->x == NULL) {
        (void)coir__set_oserror(EBADF);
        return NULL;
    }
    const char *addr = coir_http_peer(r->x, &port);
    return addr[0] != '\0' ? Py_BuildValue("(sI)", addr, port)
                           : PyUnicode_FromString("");
}

static PyObject *
stream_get_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->is_closed || SELF->request->x == NULL);
}

/* --- the type ------------------------------------------------------------ */

static PyObject *
stream_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(op);
}

static PyObject *
stream_exit(PyObject *op, PyObject *Py_UNUSED(args))
{
    return stream_close(op, NULL);
}

static int
stream_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->request);
    return 0;
}

static void
stream_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    Py_DECREF(SELF->request);
    PyObject_GC_Del(op);
}

#define FAST(f) (PyCFunction)(void (*)(void)) f, METH_FASTCALL

static PyMethodDef stream_methods[] = {
    {"heed_stop", stream_heed_stop, METH_O,
     "heed_stop($self, heeds, /)\n--\n\n"
     "Have recv() raise ConnectionAbortedError as soon as the server begins "
     "to "
     "stop,\nwhile sending goes on; or, having said farewell, no longer."},
    {"recv", FAST(stream_recv),
     "recv($self, size, flags=0, /)\n--\n\n"
     "Some bytes, b'' at the end. Waits. Flags are ignored."},
    {"recv_into", (PyCFunction)(void (*)(void))stream_recv_into,
     METH_VARARGS | METH_KEYWORDS,
     "recv_into($self, buffer, nbytes=0, flags=0)\n--\n\nThe same, into a "
     "buffer."},
    {"send", FAST(stream_send),
     "send($self, data, flags=0, /)\n--\n\nSend all of it, and return how "
     "much "
     "that "
     "was. Waits."},
    {"sendall", FAST(stream_sendall),
     "sendall($self, data, flags=0, /)\n--\n\nSend all of it. Waits. After a "
     "timeout nothing more can be sent."},
    {"settimeout", stream_settimeout, METH_O,
     "settimeout($self, seconds, /)\n--\n\n"
     "How long each call may wait; None: for ever."},
    {"gettimeout", stream_gettimeout, METH_NOARGS,
     "gettimeout() -> float | None"},
    {"shutdown", stream_shutdown, METH_O,
     "shutdown($self, how, /)\n--\n\nNo more will be sent (SHUT_WR, "
     "SHUT_RDWR)."},
    {"close", stream_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "No more of it; who waits gets an error. The connection is closed when\n"
     "the application returns."},
    {"fileno", stream_fileno, METH_NOARGS,
     "fileno($self)\n--\n\n"
     "Of its socket, not to be read from or written to; -1 if closed."},
    {"getpeername", stream_getpeername, METH_NOARGS,
     "getpeername($self)\n--\n\nThe client's address and port; '' of a "
     "Unix socket."},
    {"__enter__", stream_enter, METH_NOARGS, NULL},
    {"__exit__", stream_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_getset[] = {
    {"closed", stream_get_closed, NULL,
     "Whether it was closed, or the request is over.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__http_stream_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.HTTPStream",
    .tp_basicsize = sizeof(StreamObject),
    .tp_dealloc = stream_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "A connection as a stream of bytes, like a socket.",
    .tp_traverse = stream_traverse,
    .tp_weaklistoffset = offsetof(StreamObject, weakreflist),
    .tp_methods = stream_methods,
    .tp_getset = stream_getset,
};
