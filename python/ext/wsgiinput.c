/* wsgiinput.c - wsgi.input: the body of a request, as a file.
 *
 * read() takes bytes from the server straight into what it returns; lines are
 * looked for in a buffer, which is made by the first readline() and from then
 * on is what read() begins with. Memory is taken as bytes come, never because
 * a client has announced them. All of it waits as the server does, thus in the
 * greenlet alone.
 *
 * After an error the same error comes again: nobody takes a part of a body for
 * all of it. */
#include "wsgi.h"

#define FIRST_SIZE ((Py_ssize_t)8192)
#define LINE_BUFFER ((Py_ssize_t)8192)

typedef struct {
    PyObject_HEAD RequestObject *request; /* strong */
    PyObject *error; /* strong: it failed with that; or NULL */
    char *buf;       /* owned: read, and not asked for yet; or NULL */
    Py_ssize_t at, end, size;
    int is_at_end;
} InputObject;

#define SELF ((InputObject *)op)

PyObject *
coir__input_new(RequestObject *r)
{
    InputObject *in = PyObject_GC_New(InputObject, &coir__input_type);
    if (in == NULL)
        return NULL;
    in->request = (RequestObject *)Py_NewRef((PyObject *)r);
    in->error = NULL;
    in->buf = NULL;
    in->at = in->end = in->size = 0;
    in->is_at_end = 0;
    PyObject_GC_Track(in);
    return (PyObject *)in;
}

/* Some bytes from the server, 0 at the end, or -1 with an exception. */
static Py_ssize_t
receive(InputObject *in, char *buf, Py_ssize_t len)
{
    RequestObject *r = in->request;
    if (in->is_at_end || len == 0)
        return 0;
    if (in->error != NULL) {
        coir__error_give(Py_NewRef(in->error));
        return -1;
    }
    if (coir__request_enter(r) < 0)
        return -1;
    ssize_t n = coir_http_read(r->x, buf, (size_t)len);
    if (n < 0) {
        (void)coir__request_raise(r, COIR_HTTP_READER, (int)n);
        if (PyErr_ExceptionMatches(coir__wsgi.request_error)) {
            in->error = coir__error_take();
            coir__error_give(Py_NewRef(in->error));
        }
    }
    coir__request_leave(r);
    in->is_at_end = n == 0;
    return n < 0 ? -1 : (Py_ssize_t)n;
}

/* What is in the buffer, at most `len`. */
static Py_ssize_t
take_buffered(InputObject *in, char *buf, Py_ssize_t len)
{
    Py_ssize_t n = in->end - in->at;
    if (n > len)
        n = len;
    if (n > 0) {
        memcpy(buf, in->buf + in->at, (size_t)n);
        in->at += n;
    }
    return n;
}

/* --- read ---------------------------------------------------------------- */

/* How many bytes it makes sense to have room for at first. */
static Py_ssize_t
guess(const InputObject *in, Py_ssize_t len)
{
    const RequestObject *r = in->request;
    int64_t known = r->x != NULL ? coir_http_body_length(r->x) : 0;
    Py_ssize_t most = 16 * FIRST_SIZE;
    if (known >= 0 && known < most)
        most = (Py_ssize_t)known + 1; /* so that the end is seen at once */
    if (most < in->end - in->at)
        most = in->end - in->at;
    return len < most ? len : most;
}

/* `len` bytes, or all if it is negative. */
static PyObject *
read_bytes(InputObject *in, Py_ssize_t len)
{
    if (len < 0)
        len = PY_SSIZE_T_MAX;
    if (in->is_at_end && in->at == in->end)
        return PyBytes_FromStringAndSize(NULL, 0);
    Py_ssize_t room = guess(in, len), done = 0;
    PyObject *res = PyBytes_FromStringAndSize(NULL, room);
    if (res == NULL)
        return NULL;
    done = take_buffered(in, PyBytes_AS_STRING(res), room);
    while (done < len) {
        if (done == room) {
            room = room < 4 ? FIRST_SIZE : room;
            room = len - room < room ? len : room * 2;
            if (_PyBytes_Resize(&res, room) < 0)
                return NULL;
        }
        Py_ssize_t n = receive(in, PyBytes_AS_STRING(res) + done, room - done);
        if (n < 0) {
            Py_DECREF(res);
            return NULL;
        }
        if (n == 0)
            break;
        done += n;
    }
    if (done < room && _PyBytes_Resize(&res, done) < 0)
        return NULL;
    return res;
}

/* An optional size: None and negative ones are -1. 0, or -1. */
static int
size_arg(const char *name, PyObject *const *args, Py_ssize_t nargs,
         Py_ssize_t *size)
{
    *size = -1;
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes at most 1 argument (%zd given)", name, nargs);
        return -1;
    }
    if (nargs == 0 || args[0] == Py_None)
        return 0;
    *size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (*size == -1 && PyErr_Occurred())
        return -1;
    if (*size < 0)
        *size = -1;
    return 0;
}

static PyObject *
input_read(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t size;
    if (size_arg("read", args, nargs, &size) < 0)
        return NULL;
    return read_bytes(SELF, size);
}

static PyObject *
input_readinto(PyObject *op, PyObject *arg)
{
    Py_buffer buf;
    if (PyObject_GetBuffer(arg, &buf, PyBUF_WRITABLE) < 0)
        return NULL;
    Py_ssize_t n = take_buffered(SELF, buf.buf, buf.len);
    if (n == 0)
        n = receive(SELF, buf.buf, buf.len);
    PyBuffer_Release(&buf);
    return n >= 0 ? PyLong_FromSsize_t(n) : NULL;
}

static PyObject *
input_read1(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t size;
    if (size_arg("read1", args, nargs, &size) < 0)
        return NULL;
    Py_ssize_t room = guess(SELF, size < 0 ? FIRST_SIZE : size);
    PyObject *res = PyBytes_FromStringAndSize(NULL, room);
    if (res == NULL)
        return NULL;
    Py_ssize_t n = take_buffered(SELF, PyBytes_AS_STRING(res), room);
    if (n == 0)
        n = receive(SELF, PyBytes_AS_STRING(res), room);
    if (n < 0)
        Py_CLEAR(res);
    else if (n < room)
        (void)_PyBytes_Resize(&res, n);
    return res;
}

/* --- lines --------------------------------------------------------------- */

/* Read more into the buffer. As receive(). */
static Py_ssize_t
fill_buffer(InputObject *in)
{
    if (in->at > 0) {
        memmove(in->buf, in->buf + in->at, (size_t)(in->end - in->at));
        in->end -= in->at;
        in->at = 0;
    }
    if (in->end == in->size) {
        if (in->size > PY_SSIZE_T_MAX / 4) {
            PyErr_NoMemory();
            return -1;
        }
        Py_ssize_t size = in->size == 0 ? LINE_BUFFER : in->size * 2;
        char *buf = PyMem_Realloc(in->buf, (size_t)size);
        if (buf == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        in->buf = buf;
        in->size = size;
    }
    Py_ssize_t n = receive(in, in->buf + in->end, in->size - in->end);
    if (n > 0)
        in->end += n;
    return n;
}

/* A line of at most `len` bytes; b"" at the end. */
static PyObject *
read_line(InputObject *in, Py_ssize_t len)
{
    if (len < 0)
        len = PY_SSIZE_T_MAX;
    Py_ssize_t seen = 0; /* of the line, without an end in it */
    for (;;) {
        Py_ssize_t here = in->end - in->at;
        Py_ssize_t most = here < len ? here : len;
        const char *line = in->buf + in->at;
        const char *nl = most > seen
                             ? memchr(line + seen, '\n', (size_t)(most - seen))
                             : NULL;
        Py_ssize_t n = nl != NULL ? nl - line + 1 : -1;
        if (n < 0 && most == len)
            n = len;
        if (n < 0) {
            seen = most;
            Py_ssize_t more = fill_buffer(in);
            if (more < 0)
                return NULL;
            if (more > 0)
                continue;
            n = in->end - in->at;
        }
        PyObject *res =
            PyBytes_FromStringAndSize(n > 0 ? in->buf + in->at : NULL, n);
        if (res != NULL)
            in->at += n;
        return res;
    }
}

static PyObject *
input_readline(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t size;
    if (size_arg("readline", args, nargs, &size) < 0)
        return NULL;
    return read_line(SELF, size);
}

static PyObject *
input_readlines(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t hint, total = 0;
    if (size_arg("readlines", args, nargs, &hint) < 0)
        return NULL;
    PyObject *list = PyList_New(0);
    while (list != NULL && (hint <= 0 || total < hint)) {
        PyObject *line = read_line(SELF, -1);
        if (line != NULL && PyBytes_GET_SIZE(line) == 0) {
            Py_DECREF(line);
            break;
        }
        if (line == NULL || PyList_Append(list, line) < 0)
            Py_CLEAR(list);
        else
            total += PyBytes_GET_SIZE(line);
        Py_XDECREF(line);
    }
    return list;
}

static PyObject *
input_next(PyObject *op)
{
    PyObject *line = read_line(SELF, -1);
    if (line != NULL && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

/* --- the type ------------------------------------------------------------ */

static PyObject *
input_true(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_TRUE;
}

static PyObject *
input_false(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_FALSE;
}

static PyObject *
input_get_closed(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

/* Who closes its input keeps nobody from answering: the body is left. */
static PyObject *
input_close(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_NONE;
}

static int
input_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->request);
    Py_VISIT(SELF->error);
    return 0;
}

static int
input_clear(PyObject *op)
{
    /* The request is what everything here stands on: it stays. */
    Py_CLEAR(SELF->error);
    return 0;
}

static void
input_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    PyMem_Free(SELF->buf);
    Py_XDECREF(SELF->error);
    Py_DECREF(SELF->request);
    PyObject_GC_Del(op);
}

#define FAST(f) (PyCFunction)(void (*)(void)) f, METH_FASTCALL

static PyMethodDef input_methods[] = {
    {"read", FAST(input_read),
     "read($self, size=-1)\n--\n\n"
     "So many bytes of the body, fewer only at its end; all that is left\n"
     "without a size. Waits for the client.\n\n"
     "Raises ClientDisconnected, ClientTimeout, BodyError or BodyTooLarge,\n"
     "all of them RequestError and OSError: a body that is not complete\n"
     "never looks as if it was."},
    {"read1", FAST(input_read1),
     "read1(size=-1) -> bytes\n\n"
     "What is here, at most size bytes; waits only if there is nothing."},
    {"readinto", input_readinto, METH_O,
     "readinto($self, buffer, /)\n--\n\n"
     "What is here, into a buffer; waits only if there is nothing."},
    {"readline", FAST(input_readline),
     "readline($self, size=-1)\n--\n\n"
     "A line with its end, but not more than size bytes."},
    {"readlines", FAST(input_readlines),
     "readlines($self, hint=-1)\n--\n\n"
     "All lines; with a hint, no more once they have so many bytes."},
    {"readable", input_true, METH_NOARGS, "readable() -> True"},
    {"writable", input_false, METH_NOARGS, "writable() -> False"},
    {"seekable", input_false, METH_NOARGS, "seekable() -> False"},
    {"flush", input_close, METH_NOARGS, "flush() -> None"},
    {"close", input_close, METH_NOARGS,
     "close($self)\n--\n\nDoes nothing: it is the server's."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef input_getset[] = {
    {"closed", input_get_closed, NULL, "Always false.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__input_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.HTTPInput",
    .tp_basicsize = sizeof(InputObject),
    .tp_dealloc = input_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "wsgi.input: the body of a request, as a file.",
    .tp_traverse = input_traverse,
    .tp_clear = input_clear,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = input_next,
    .tp_methods = input_methods,
    .tp_getset = input_getset,
};
