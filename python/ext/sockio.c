/* sockio.c - receiving and sending: the system calls directly, and without
 * giving up the GIL unless much is transferred. */
#include "socket.h"

/* Up to this a transfer is made with the GIL held. */
#define SHORT_LEN 65536

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

/* Does who asks for no bytes wait until there are some? */
static inline int
waits_for_nothing(const struct use *u)
{
    return u->timeout_ns != 0 && coir__kind_of(u->op)->is_lenient;
}

/* MSG_WAITALL waits for all of it, where the kernel would if the descriptor
 * blocked: that needs no limit of time, with one Python's sockets don't. */
static inline int
wants_all(PyObject *op, int flags)
{
    return COIR__UNLIKELY(flags & MSG_WAITALL) && BASE->type == SOCK_STREAM &&
           !(flags & (MSG_DONTWAIT | MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)) &&
           coir__sock_timeout_ns(op) == COIR_FOREVER;
}

/* As receive_into(), all that comes before the end of the stream. */
static Py_ssize_t
receive_all(PyObject *op, char *buf, Py_ssize_t len, int flags)
{
    struct use u = use_of(op, IN, "recv");
    int err = use_begin(&u, 0);
    Py_ssize_t done = 0;
    while (err == 0 && done < len) {
        ssize_t n = receive(fd_of(op), buf + done, len - done, flags);
        if (n == 0)
            break;
        if (n > 0)
            done += n;
        else
            err = use_again(&u, errno);
    }
    sock_of(op)->drained &= (uint8_t)~BIT(IN);
    use_end(&u);
    return err == 0 ? done : -1;
}

/* Into the caller's memory; -1 with an exception. */
static Py_ssize_t
receive_into(PyObject *op, void *buf, Py_ssize_t len, int flags)
{
    if (wants_all(op, flags))
        return receive_all(op, buf, len, flags);
    struct use u = use_of(op, IN, "recv");
    use_heed_flags(&u, flags);
    int plain = flags == 0 && len > 0;
    int err = use_begin(&u, plain);
    if (COIR__UNLIKELY(len == 0) && err == 0 && waits_for_nothing(&u))
        err = coir__use_poll(&u);
    ssize_t n = -1;
    while (err == 0) {
        n = receive(fd_of(op), buf, len, flags);
        if (COIR__LIKELY(n >= 0))
            break;
        err = coir__use_failed(&u, errno);
    }
    if (err > 0)
        n = 0;
    else if (n >= 0 && plain && len <= SHORT_LEN)
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

Py_ssize_t
coir__sock_receive(PyObject *op, void *buf, Py_ssize_t len, int64_t limit_ns,
                   char **where)
{
    struct use u = use_of(op, IN, "recv");
    if (limit_ns < u.timeout_ns)
        u.timeout_ns = limit_ns;
    if (buf == NULL && len > SHORT_LEN)
        len = SHORT_LEN;
    *where = buf != NULL ? buf : scratch;
    int err = use_begin(&u, 1);
    ssize_t n = -1;
    while (err == 0) {
        n = receive(fd_of(op), *where, len, 0);
        if (COIR__LIKELY(n >= 0))
            break;
        err = use_again(&u, errno);
    }
    if (n >= 0 && len <= SHORT_LEN)
        use_done(&u, n, len);
    use_end(&u);
    return n;
}

/* recv() with names, which eventlet's has. */
static PyObject *
recv_named(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"bufsize", "flags"};
    PyObject *in[2] = {NULL, NULL};
    if (coir__named_arguments("recv", names, 2, args, nargs, kwnames, in) < 0)
        return NULL;
    return coir__sock_recv(op, in,
                           in[0] == NULL   ? 0
                           : in[1] == NULL ? 1
                                           : 2,
                           NULL);
}

PyObject *
coir__sock_recv(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    int flags = 0;
    if (COIR__UNLIKELY(kwnames != NULL))
        return recv_named(op, args, nargs, kwnames);
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
    if (wants_all(op, flags)) {
        PyObject *all = PyBytes_FromStringAndSize(NULL, len);
        Py_ssize_t n = -1;
        if (all != NULL)
            n = receive_all(op, PyBytes_AS_STRING(all), len, flags);
        if (n < 0)
            Py_CLEAR(all);
        else if (n < len)
            (void)_PyBytes_Resize(&all, n);
        return all;
    }
    struct use u = use_of(op, IN, "recv");
    use_heed_flags(&u, flags);
    int plain = flags == 0 && len > 0;
    int err = use_begin(&u, plain);
    if (COIR__UNLIKELY(len == 0) && err == 0 && waits_for_nothing(&u))
        err = coir__use_poll(&u);
    PyObject *res = NULL;
    while (err == 0) {
        res = receive_bytes(op, &u, len, flags, plain);
        if (COIR__LIKELY(res != NULL))
            break;
        err = errno != 0 ? coir__use_failed(&u, errno) : -1;
    }
    use_end(&u);
    return err > 0 ? PyBytes_FromStringAndSize(NULL, 0) : res;
}

PyObject *
coir__sock_recv_into(PyObject *op, PyObject *args, PyObject *kwargs)
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
            !coir__kind_of(op)->is_lenient && coir__use_left(u) == 0)
            err = coir__set_timed_out();
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
    PyObject *torn = coir__kind_of(op)->torn;
    PyErr_Format(torn != NULL ? torn : PyExc_ConnectionError,
                 "a sendall() on %R was interrupted after some of its bytes; "
                 "resume() allows to send more",
                 op);
    return -1;
}

int
coir__sock_check_torn(PyObject *op)
{
    return COIR__UNLIKELY(sock_of(op)->is_torn) ? set_torn(op) : 0;
}

PyObject *
coir__sock_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
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
        (given[2] != NULL && given[2] != coir__kind_of(op)->default_timeout &&
         coir__timeout_ns(given[2], &u.timeout_ns) < 0))
        return NULL;
    Py_buffer buf;
    if (PyObject_GetBuffer(given[0], &buf, PyBUF_SIMPLE) < 0)
        return NULL;
    Py_ssize_t n = -1;
    if (coir__sock_check_torn(op) == 0)
        n = send_bytes(&u, buf.buf, buf.len, flags, 0);
    PyBuffer_Release(&buf);
    return n >= 0 ? PyLong_FromSsize_t(n) : NULL;
}

static COIR__COLD PyObject *
sendall_by_name(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const char *const names[] = {"data", "flags"};
    PyObject *in[] = {NULL, NULL};
    if (coir__named_arguments("sendall", names, 2, args, nargs, kwnames, in) <
        0)
        return NULL;
    if (in[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "sendall() needs data");
        return NULL;
    }
    return coir__sock_sendall(op, in, in[1] != NULL ? 2 : 1, NULL);
}

PyObject *
coir__sock_sendall(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    int flags = 0;
    if (COIR__UNLIKELY(kwnames != NULL))
        return sendall_by_name(op, args, nargs, kwnames);
    if (coir__check_count("sendall", nargs, 1, 2) < 0 ||
        (nargs > 1 && coir__to_int(args[1], &flags) < 0))
        return NULL;
    return coir__sock_send_all(op, args[0], flags, COIR_FOREVER);
}

PyObject *
coir__sock_send_all(PyObject *op, PyObject *data, int flags, int64_t limit_ns)
{
    Py_buffer buf;
    if (coir__sock_check_torn(op) < 0 ||
        PyObject_GetBuffer(data, &buf, PyBUF_SIMPLE) < 0)
        return NULL;
    struct use u = use_of(op, OUT, "sendall");
    if (limit_ns < u.timeout_ns)
        u.timeout_ns = limit_ns;
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

PyObject *
coir__sock_resume(PyObject *op, PyObject *Py_UNUSED(unused))
{
    sock_of(op)->is_torn = 0;
    Py_RETURN_NONE;
}
