/* httplimit.c - how long sockets may wait for a client, whatever timeout they
 * have themselves: of their own methods it is told by a lower timeout for the
 * time of a call; sendall() of coir._core.Socket takes it as an argument. */
#include "httpread.h"
#include "socket.h"

#include <errno.h>

static PyObject *str_gettimeout, *str_settimeout, *str_sendall; /* strong */

/* 0, or -1 with an exception. */
static int
make_name(PyObject **to, const char *text)
{
    if (*to == NULL)
        *to = PyUnicode_InternFromString(text);
    return *to != NULL ? 0 : -1;
}

/* Is this timeout of a socket above the limit? -1 with an exception. */
static int
is_above(PyObject *timeout, double limit)
{
    if (timeout == Py_None)
        return 1;
    double value = PyFloat_AsDouble(timeout);
    if (value == -1 && PyErr_Occurred())
        return -1;
    return limit < value;
}

int
coir__limit_socket(PyObject *socket, int64_t limit_ns, PyObject **before)
{
    *before = NULL;
    if (limit_ns == COIR_FOREVER)
        return 0;
    if (make_name(&str_gettimeout, "gettimeout") < 0 ||
        make_name(&str_settimeout, "settimeout") < 0)
        return -1;
    PyObject *old = PyObject_CallMethodNoArgs(socket, str_gettimeout);
    if (old == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    double limit = (double)limit_ns / 1e9;
    PyObject *seconds = NULL, *res = NULL;
    int above = is_above(old, limit);
    if (above > 0)
        seconds = PyFloat_FromDouble(limit);
    if (seconds != NULL)
        res = PyObject_CallMethodOneArg(socket, str_settimeout, seconds);
    Py_XDECREF(seconds);
    if (res == NULL) {
        Py_DECREF(old);
        return above == 0 ? 0 : -1;
    }
    Py_DECREF(res);
    *before = old;
    return 0;
}

void
coir__unlimit_socket(PyObject *socket, PyObject *before)
{
    if (before == NULL)
        return;
    PyObject *exc = coir__error_take();
    PyObject *res = PyObject_CallMethodOneArg(socket, str_settimeout, before);
    if (res == NULL && PyErr_ExceptionMatches(PyExc_OSError))
        PyErr_Clear(); /* closed meanwhile */
    else if (res == NULL)
        PyErr_WriteUnraisable(socket);
    Py_XDECREF(res);
    Py_DECREF(before);
    coir__error_give(exc);
}

/* --- sendall() ----------------------------------------------------------- */

/* Is it that of coir._core.Socket, not overridden? */
static int
is_ours(PyObject *socket, PyObject *method)
{
    return PyCFunction_Check(method) &&
           PyCFunction_GET_SELF(method) == socket &&
           PyCFunction_GET_FUNCTION(method) ==
               (PyCFunction)(void (*)(void))coir__sock_sendall;
}

/* *ns: what sending so much may take. 0, or -1 with an exception. */
static int
limit_of(PyObject *data, PyObject *timeout, PyObject *rate, int64_t *ns)
{
    long bytes_a_second = rate != Py_None ? PyLong_AsLong(rate) : 0;
    if ((bytes_a_second == -1 && PyErr_Occurred()) ||
        coir__timeout_ns(timeout, ns) < 0)
        return -1;
    if (*ns <= 0)
        *ns = COIR_FOREVER;
    if (*ns == COIR_FOREVER || bytes_a_second <= 0)
        return 0;
    Py_ssize_t len = PyObject_Length(data); /* bytes, or a view of them */
    if (len < 0)
        return -1;
    double more = (double)len / (double)bytes_a_second;
    *ns = coir__seconds_to_ns((double)*ns / 1e9 + more);
    return 0;
}

PyObject *
coir__http_sendall(PyObject *Py_UNUSED(module), PyObject *const *args,
                   Py_ssize_t nargs)
{
    int64_t limit_ns;
    if (coir__check_count("http_sendall", nargs, 4, 4) < 0 ||
        make_name(&str_sendall, "sendall") < 0 ||
        limit_of(args[1], args[2], args[3], &limit_ns) < 0)
        return NULL;
    PyObject *socket = args[0], *before = NULL, *res = NULL;
    PyObject *method = PyObject_GetAttr(socket, str_sendall);
    if (method == NULL)
        return NULL;
    int limited = limit_ns != COIR_FOREVER;
    if (is_ours(socket, method)) {
        limited = limit_ns < coir__sock_timeout_ns(socket);
        res = coir__sock_send_all(socket, args[1], 0, limit_ns);
    }
    else if (coir__limit_socket(socket, limit_ns, &before) == 0) {
        limited = before != NULL;
        res = PyObject_CallOneArg(method, args[1]);
        coir__unlimit_socket(socket, before);
    }
    Py_DECREF(method);
    if (res == NULL && limited && PyErr_ExceptionMatches(PyExc_TimeoutError)) {
        PyErr_Clear();
        errno = EPIPE;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return res;
}
