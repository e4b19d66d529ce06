/* httpread.c - reading requests of HTTP from a connection that Python code
 * owns, in a green thread of its own.
 *
 * A reader takes bytes from a source and keeps what was not used yet, so that
 * requests may be pipelined, and what follows an upgrade can be handed over.
 * It is the file of that connection, too: with read() and readline() as
 * socket.makefile() has them.
 *
 * Sources: sockets of coir.gevent are read by sockio.c, without a frame of
 * Python. Others by their recv(). Files by readline() and read() of just as
 * much as is needed, so that nothing is kept here that belongs to others.
 *
 * A reader that is empty has no buffer, if that was large: what arrives is
 * received into memory that all share. While it waits, anything may happen to
 * it: another greenlet may read, or close it. What is known of the buffer is
 * read again after each wait.
 *
 * Limits of time: for the first byte of a request, once one has been read
 * (idle), for the whole head, and for each wait inside a body. */
#include "httpread.h"

#include "socket.h"

#include <stddef.h>
#include <string.h>

/* What a read asks for, and how much of an empty buffer is kept. */
#define READ_SIZE 65536
#define KEPT_SIZE 4096
/* Fields that can be parsed at once. */
#define MAX_FIELDS 1000
/* Requests in a row that nobody had to wait for. */
#define MAX_TURNS 16

#define SELF ((HTTPReaderObject *)op)

PyObject *coir__http_error;
PyObject *coir__http_input_error;

static struct {
    PyObject *recv, *read, *readline;
} names;

/* --- errors -------------------------------------------------------------- */

static const char *
code_of(int error)
{
    switch (error) {
#define COIR__HTTP_CODE(name, number, status, text)                           \
    case name:                                                                \
        return #name;
        COIR_HTTP_ERRORS(COIR__HTTP_CODE)
#undef COIR__HTTP_CODE
    default:
        return "COIR_HTTP_ETIMEDOUT";
    }
}

static void
raise_with(PyObject *type, int status, const char *text, const char *code)
{
    PyObject *exc = PyObject_CallFunction(type, "s", text);
    PyObject *reason = exc != NULL ? PyUnicode_FromString(text) : NULL;
    PyObject *number = exc != NULL ? PyLong_FromLong(status) : NULL;
    PyObject *name = exc != NULL ? PyUnicode_FromString(code) : NULL;
    if (reason != NULL && number != NULL && name != NULL &&
        PyObject_SetAttrString(exc, "status", number) == 0 &&
        PyObject_SetAttrString(exc, "reason", reason) == 0 &&
        PyObject_SetAttrString(exc, "code", name) == 0)
        PyErr_SetObject(type, exc);
    Py_XDECREF(exc);
    Py_XDECREF(reason);
    Py_XDECREF(number);
    Py_XDECREF(name);
}

void
coir__http_raise(PyObject *type, int error)
{
    raise_with(type, coir_http_error_status(error),
               coir_http_error_text(error), code_of(error));
}

/* --- the buffer ---------------------------------------------------------- */

/* Room for n bytes behind what is there. 0, or -1 with MemoryError. */
static int
reserve(HTTPReaderObject *r, size_t n)
{
    size_t has = coir__httpreader_has(r);
    if (r->size - r->end >= n)
        return 0;
    if (r->start > 0 && has > 0)
        memmove(r->buf, r->buf + r->start, has);
    r->start = 0;
    r->end = has;
    if (r->size - has >= n)
        return 0;
    size_t size = r->size < 512 ? 512 : r->size;
    while (size - has < n)
        size *= 2;
    char *buf = PyMem_Realloc(r->buf, size);
    if (buf == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    r->buf = buf;
    r->size = size;
    return 0;
}

static int
append(HTTPReaderObject *r, const char *from, size_t n)
{
    if (n == 0)
        return 0;
    if (reserve(r, n) < 0)
        return -1;
    memcpy(r->buf + r->end, from, n);
    r->end += n;
    return 0;
}

static void
drop_buffer(HTTPReaderObject *r)
{
    PyMem_Free(r->buf);
    r->buf = NULL;
    r->start = r->end = r->size = 0;
}

void
coir__httpreader_use(HTTPReaderObject *r, size_t n)
{
    r->start += n;
    if (r->start < r->end)
        return;
    r->start = r->end = 0;
    if (r->size > KEPT_SIZE)
        drop_buffer(r);
}

/* --- sources ------------------------------------------------------------- */

/* What a method of the source returned, a new reference or NULL: bytes. Its
 * length; -1 with an exception. */
static Py_ssize_t
take_bytes(PyObject *res, Py_buffer *view)
{
    if (res == NULL || PyObject_GetBuffer(res, view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(res);
        return -1;
    }
    Py_DECREF(res); /* the view has another one */
    return view->len;
}

static Py_ssize_t
ask_socket(PyObject *source, size_t want, int64_t limit_ns, Py_buffer *view)
{
    PyObject *before, *size = PyLong_FromSize_t(want);
    if (size == NULL || coir__limit_socket(source, limit_ns, &before) < 0) {
        Py_XDECREF(size);
        return -1;
    }
    PyObject *res = PyObject_CallMethodOneArg(source, names.recv, size);
    Py_DECREF(size);
    coir__unlimit_socket(source, before);
    return take_bytes(res, view);
}

static Py_ssize_t
ask_file(PyObject *source, size_t want, int line, Py_buffer *view)
{
    PyObject *size = PyLong_FromSize_t(want);
    if (size == NULL)
        return -1;
    PyObject *res = PyObject_CallMethodOneArg(
        source, line ? names.readline : names.read, size);
    Py_DECREF(size);
    return take_bytes(res, view);
}

static int
set_closed(void)
{
    PyErr_SetString(PyExc_ValueError, "I/O operation on closed file.");
    return -1;
}

/* One read of the source: the bytes are at *where; `view`, if it has an
 * object, is to be released after they were used. */
static Py_ssize_t
ask(HTTPReaderObject *r, char *to, size_t want, int line, int64_t limit_ns,
    char **where, Py_buffer *view)
{
    view->obj = NULL;
    if (r->source == NULL)
        return set_closed();
    PyObject *source = Py_NewRef(r->source);
    Py_ssize_t n;
    if (r->kind == COIR_SOURCE_GREEN)
        n = coir__sock_receive(source, to, (Py_ssize_t)want, limit_ns, where);
    else {
        n = r->kind == COIR_SOURCE_SOCKET
                ? ask_socket(source, want, limit_ns, view)
                : ask_file(source, want, line, view);
        if (n < 0)
            view->obj = NULL;
        *where = n < 0 ? NULL : view->buf;
        if (n > (Py_ssize_t)want) {
            PyErr_SetString(PyExc_OSError,
                            "the connection gave more than it was asked for");
            PyBuffer_Release(view);
            n = -1;
        }
    }
    Py_DECREF(source);
    return n;
}

Py_ssize_t
coir__httpreader_fill(HTTPReaderObject *r, size_t want, int line,
                      int64_t limit_ns)
{
    char *where;
    Py_buffer view;
    if (r->kind != COIR_SOURCE_FILE)
        want = READ_SIZE;
    Py_ssize_t n = ask(r, NULL, want, line, limit_ns, &where, &view);
    if (n == 0)
        r->at_end = 1;
    if (n > 0 && r->source == NULL)
        n = set_closed(); /* meanwhile */
    if (n > 0 && append(r, where, (size_t)n) < 0)
        n = -1;
    if (view.obj != NULL)
        PyBuffer_Release(&view);
    return n;
}

Py_ssize_t
coir__httpreader_direct(HTTPReaderObject *r, char *to, size_t want,
                        int64_t limit_ns)
{
    char *where;
    Py_buffer view;
    Py_ssize_t n = ask(r, to, want, 0, limit_ns, &where, &view);
    if (n == 0)
        r->at_end = 1;
    if (n > 0 && where != to)
        memcpy(to, where, (size_t)n);
    if (view.obj != NULL)
        PyBuffer_Release(&view);
    return n;
}

/* --- requests ------------------------------------------------------------ */

/* When a wait for `limit_ns` that begins now is over. */
static int64_t
deadline_of(int64_t limit_ns)
{
    if (limit_ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t now = coir_clock_monotonic();
    return limit_ns < COIR_FOREVER - now ? now + limit_ns : COIR_FOREVER;
}

static int64_t
left_until(int64_t deadline_ns)
{
    if (deadline_ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t now = coir_clock_monotonic();
    return deadline_ns > now ? deadline_ns - now : 0;
}

/* Was it us who made the source time out? Then the exception is gone. */
static int
was_timeout(int64_t limit_ns)
{
    if (limit_ns == COIR_FOREVER ||
        !PyErr_ExceptionMatches(PyExc_TimeoutError))
        return 0;
    PyErr_Clear();
    return 1;
}

/* Nothing but a line's end, which may come before a request. */
static int
is_blank(const HTTPReaderObject *r)
{
    size_t has = coir__httpreader_has(r);
    return has == 0 ||
           (has <= 2 && memcmp(r->buf + r->start, "\r\n", has) == 0);
}

/* More of a head. 1; 0: there will be no request; -1 with an exception. */
static int
await_head(HTTPReaderObject *r, int64_t *deadline)
{
    int is_idle = is_blank(r);
    int64_t limit = r->requests > 0 ? r->idle_ns : r->head_ns;
    if (r->kind == COIR_SOURCE_FILE)
        limit = COIR_FOREVER; /* what times out there is its own business */
    else if (!is_idle) {
        if (*deadline < 0)
            *deadline = deadline_of(r->head_ns);
        limit = left_until(*deadline);
    }
    Py_ssize_t n = -1;
    if (limit > 0)
        n = coir__httpreader_fill(r, r->options.max_line, 1, limit);
    if (n > 0)
        return 1;
    if (n < 0 && limit > 0 && !was_timeout(limit))
        return -1;
    if (is_idle)
        return 0; /* a clean end, or idle for too long */
    if (n == 0)
        coir__http_raise(coir__http_error, COIR_HTTP_ECUT);
    else
        raise_with(coir__http_error, 408, "the head took too long",
                   code_of(0));
    return -1;
}

/* A client that sends one request after the other without waiting is not to
 * keep all others from running. 0, or -1 with an exception. */
static int
take_turns(HTTPReaderObject *r)
{
    if (coir__httpreader_has(r) == 0)
        r->turns = 0;
    else if (++r->turns == MAX_TURNS) {
        r->turns = 0;
        coir_pythread *t = coir__pythread_get();
        HubObject *hub = t != NULL ? coir__hub_if_any(t) : NULL;
        if (hub != NULL && t->current != &hub->base)
            return coir__yield(t, hub, 0);
        return t != NULL ? 0 : -1;
    }
    return 0;
}

/* Used between a call of the parser and the copy of what it found. */
static coir_http_field fields[MAX_FIELDS];

/* A request, None, or NULL with an exception. */
static PyObject *
read_request(HTTPReaderObject *r)
{
    coir_http_parser parser;
    coir_http_head head = {.fields = fields, .capacity = MAX_FIELDS};
    int64_t deadline = -1;
    if (take_turns(r) < 0)
        return NULL;
    coir_http_parser_init(&parser, &r->options);
    for (;;) {
        size_t has = coir__httpreader_has(r);
        ssize_t used = COIR_EAGAIN;
        if (has > 0)
            used = coir_http_parse_request(&parser, r->buf + r->start, has,
                                           &head);
        if (used > 0) {
            PyObject *request =
                coir__httprequest_new(r->buf + r->start, (size_t)used, &head);
            coir__httpreader_use(r, (size_t)used);
            r->requests++;
            return request;
        }
        if (used != COIR_EAGAIN) {
            coir__http_raise(coir__http_error, (int)used);
            return NULL;
        }
        int more = await_head(r, &deadline);
        if (more <= 0)
            return more < 0 ? NULL : Py_NewRef(Py_None);
    }
}

static PyObject *
reader_read_request(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (coir__check_count("read_request", nargs, 0, 1) < 0)
        return NULL;
    if (nargs > 0 && args[0] != Py_None) {
        Py_buffer line;
        if (PyObject_GetBuffer(args[0], &line, PyBUF_SIMPLE) < 0)
            return NULL;
        /* Before what is there. */
        size_t n = (size_t)line.len, has = coir__httpreader_has(SELF);
        int err = reserve(SELF, n);
        if (err == 0 && n > 0) {
            memmove(SELF->buf + SELF->start + n, SELF->buf + SELF->start, has);
            memcpy(SELF->buf + SELF->start, line.buf, n);
            SELF->end += n;
        }
        PyBuffer_Release(&line);
        if (err < 0)
            return NULL;
    }
    return read_request(SELF);
}

/* --- as a file ----------------------------------------------------------- */

/* Up to n bytes of the buffer. */
static PyObject *
take(HTTPReaderObject *r, size_t n)
{
    size_t has = coir__httpreader_has(r);
    if (n > has)
        n = has;
    PyObject *res = PyBytes_FromStringAndSize(n > 0 ? r->buf + r->start : NULL,
                                              (Py_ssize_t)n);
    if (res != NULL && n > 0)
        coir__httpreader_use(r, n);
    return res;
}

static PyObject *
reader_read(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t want = coir__http_size_arg("read", args, nargs);
    if (want < 0)
        return NULL;
    for (;;) {
        size_t has = coir__httpreader_has(SELF);
        if (has >= (size_t)want)
            break;
        Py_ssize_t n =
            coir__httpreader_fill(SELF, (size_t)want - has, 0, COIR_FOREVER);
        if (n < 0)
            return NULL;
        if (n == 0)
            break;
    }
    return take(SELF, (size_t)want);
}

static PyObject *
reader_read1(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t want = coir__http_size_arg("read1", args, nargs);
    if (want < 0)
        return NULL;
    if (want == PY_SSIZE_T_MAX)
        want = READ_SIZE;
    if (want > 0 && coir__httpreader_has(SELF) == 0 &&
        coir__httpreader_fill(SELF, (size_t)want, 0, COIR_FOREVER) < 0)
        return NULL;
    return take(SELF, (size_t)want);
}

static PyObject *
reader_readline(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t want = coir__http_size_arg("readline", args, nargs);
    if (want < 0)
        return NULL;
    size_t seen = 0;
    for (;;) {
        size_t has = coir__httpreader_has(SELF);
        char *from = SELF->buf + SELF->start, *lf = NULL;
        if (has > seen)
            lf = memchr(from + seen, '\n', has - seen);
        if (lf != NULL && lf - from < want)
            return take(SELF, (size_t)(lf - from) + 1);
        if (has >= (size_t)want)
            return take(SELF, (size_t)want);
        seen = has;
        size_t more = (size_t)want - has;
        Py_ssize_t n = coir__httpreader_fill(
            SELF, more < READ_SIZE ? more : READ_SIZE, 1, COIR_FOREVER);
        if (n < 0)
            return NULL;
        if (n == 0)
            return take(SELF, (size_t)want);
        if (coir__httpreader_has(SELF) < seen)
            seen = 0; /* somebody else has read, too */
    }
}

static PyObject *
reader_readinto(PyObject *op, PyObject *arg)
{
    Py_buffer view;
    if (PyObject_GetBuffer(arg, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    Py_ssize_t done = 0, n = 1;
    while (n > 0 && done < view.len) {
        size_t has = coir__httpreader_has(SELF);
        if (has == 0) {
            n = coir__httpreader_fill(SELF, (size_t)(view.len - done), 0,
                                      COIR_FOREVER);
            continue;
        }
        if (has > (size_t)(view.len - done))
            has = (size_t)(view.len - done);
        memcpy((char *)view.buf + done, SELF->buf + SELF->start, has);
        coir__httpreader_use(SELF, has);
        done += (Py_ssize_t)has;
    }
    PyBuffer_Release(&view);
    return n >= 0 ? PyLong_FromSsize_t(done) : NULL;
}

static PyObject *
reader_peek(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (coir__http_size_arg("peek", args, nargs) < 0)
        return NULL;
    if (coir__httpreader_has(SELF) == 0 &&
        coir__httpreader_fill(SELF, 1, 0, COIR_FOREVER) < 0)
        return NULL;
    return PyBytes_FromStringAndSize(SELF->buf + SELF->start,
                                     (Py_ssize_t)coir__httpreader_has(SELF));
}

static PyObject *
reader_take_buffered(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return take(SELF, SIZE_MAX);
}

static PyObject *
reader_iternext(PyObject *op)
{
    PyObject *line = reader_readline(op, NULL, 0);
    if (line != NULL && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

static PyObject *
reader_readlines(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    return coir__http_readlines(op, args, nargs, reader_iternext);
}

static PyObject *
reader_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_CLEAR(SELF->source);
    drop_buffer(SELF);
    Py_RETURN_NONE;
}

static PyObject *
reader_readable(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->source != NULL);
}

static PyObject *
reader_fileno(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->source == NULL) {
        (void)set_closed();
        return NULL;
    }
    return PyObject_CallMethod(SELF->source, "fileno", NULL);
}

static PyObject *
reader_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(op);
}

static PyObject *
reader_exit(PyObject *op, PyObject *Py_UNUSED(args))
{
    return reader_close(op, NULL);
}

/* --- attributes ---------------------------------------------------------- */

static PyObject *
get_source(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->source != NULL ? SELF->source : Py_None);
}

static PyObject *
get_itself(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(op);
}

static PyObject *
get_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->source == NULL);
}

static PyObject *
get_buffered(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(coir__httpreader_has(SELF));
}

static PyObject *
get_at_end(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->at_end);
}

#define FIELD(type, closure)                                                  \
    ((type *)(void *)((char *)op + *(size_t *)closure))

static PyObject *
get_timeout(PyObject *op, void *closure)
{
    int64_t ns = *FIELD(int64_t, closure);
    if (ns == COIR_FOREVER)
        Py_RETURN_NONE;
    return PyFloat_FromDouble((double)ns / 1e9);
}

static int
set_timeout(PyObject *op, PyObject *value, void *closure)
{
    return coir__timeout_ns(value != NULL ? value : Py_None,
                            FIELD(int64_t, closure));
}

static PyObject *
get_limit(PyObject *op, void *closure)
{
    return PyLong_FromUnsignedLong(*FIELD(uint32_t, closure));
}

static int
set_limit(PyObject *op, PyObject *value, void *closure)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "cannot be deleted");
        return -1;
    }
    unsigned long n = PyLong_AsUnsignedLong(value);
    if (n == (unsigned long)-1 && PyErr_Occurred())
        return -1;
    int is_fields =
        *(size_t *)closure == offsetof(HTTPReaderObject, options.max_fields);
    if (n > (is_fields ? MAX_FIELDS : INT32_MAX)) {
        PyErr_SetString(PyExc_ValueError, "the limit is too high");
        return -1;
    }
    *FIELD(uint32_t, closure) = (uint32_t)n;
    return 0;
}

/* --- the type ------------------------------------------------------------ */

/* An attribute, a new reference; NULL: without an exception if there is none.
 */
static PyObject *
find(PyObject *op, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(op, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return value;
}

/* What kind of source it is; -1 with an exception. */
static int
source_kind(PyObject *source)
{
    PyObject *recv = find(source, names.recv), *read = NULL, *line = NULL;
    int kind = -1;
    if (recv != NULL) {
        /* That of coir._core.Socket, not overridden? */
        int is_ours = PyCFunction_Check(recv) &&
                      PyCFunction_GET_SELF(recv) == source &&
                      PyCFunction_GET_FUNCTION(recv) ==
                          (PyCFunction)(void (*)(void))coir__sock_recv;
        kind = is_ours ? COIR_SOURCE_GREEN : COIR_SOURCE_SOCKET;
    }
    else if (!PyErr_Occurred() && (read = find(source, names.read)) != NULL &&
             (line = find(source, names.readline)) != NULL)
        kind = COIR_SOURCE_FILE;
    else if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "neither a socket nor a file: %R",
                     source);
    Py_XDECREF(recv);
    Py_XDECREF(read);
    Py_XDECREF(line);
    return kind;
}

static PyObject *
make(PyTypeObject *type, PyObject *source)
{
    int kind = source_kind(source);
    if (kind < 0)
        return NULL;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL)
        return NULL;
    SELF->source = Py_NewRef(source);
    SELF->kind = (uint8_t)kind;
    SELF->idle_ns = SELF->head_ns = SELF->body_ns = COIR_FOREVER;
    SELF->options = (coir_http_options){.max_line = 8192,
                                        .max_field = 8192,
                                        .max_fields = 100,
                                        .max_head = 65536};
    return op;
}

HTTPReaderObject *
coir__httpreader_new(PyObject *source)
{
    return (HTTPReaderObject *)make(&coir__httpreader_type, source);
}

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"source", NULL};
    PyObject *source;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:HTTPReader", keywords,
                                     &source))
        return NULL;
    return make(type, source);
}

static int
reader_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->source);
    return 0;
}

static int
reader_clear(PyObject *op)
{
    Py_CLEAR(SELF->source);
    return 0;
}

static void
reader_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)reader_clear(op);
    drop_buffer(SELF);
    Py_TYPE(op)->tp_free(op);
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))

static PyMethodDef reader_methods[] = {
    {"read_request", FAST(reader_read_request), METH_FASTCALL,
     "read_request($self, begin=None, /)\n--\n\n"
     "Read the head of a request. None: the connection ended before one\n"
     "began, or was idle for too long. HTTPError: it is refused; nothing\n"
     "more is to be read then.\n\n"
     "begin: bytes that were read before, and belong to it."},
    {"read", FAST(reader_read), METH_FASTCALL,
     "read($self, size=-1, /)\n--\n\n"
     "Read that many bytes, fewer only at the end; -1: up to the end."},
    {"read1", FAST(reader_read1), METH_FASTCALL,
     "read1($self, size=-1, /)\n--\n\n"
     "Read some bytes, up to that many; none at the end only."},
    {"readline", FAST(reader_readline), METH_FASTCALL,
     "readline($self, size=-1, /)\n--\n\n"
     "Read up to and with LF, or that many bytes."},
    {"readlines", FAST(reader_readlines), METH_FASTCALL,
     "readlines($self, hint=-1, /)\n--\n\n"
     "Read lines up to the end, or until they are that many bytes."},
    {"readinto", reader_readinto, METH_O,
     "readinto($self, buffer, /)\n--\n\nRead until it is full, or up to the "
     "end."},
    {"peek", FAST(reader_peek), METH_FASTCALL,
     "peek($self, size=0, /)\n--\n\nWhat comes next, some of it."},
    {"take_buffered", reader_take_buffered, METH_NOARGS,
     "take_buffered($self)\n--\n\n"
     "What was received and not read yet, for whoever reads on."},
    {"close", reader_close, METH_NOARGS,
     "close($self)\n--\n\nRead no more. The source is not closed."},
    {"readable", reader_readable, METH_NOARGS,
     "readable($self)\n--\n\nFalse once it was closed."},
    {"fileno", reader_fileno, METH_NOARGS,
     "fileno($self)\n--\n\nThe descriptor of the source."},
    {"__enter__", reader_enter, METH_NOARGS, NULL},
    {"__exit__", reader_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static size_t at_idle = offsetof(HTTPReaderObject, idle_ns);
static size_t at_head = offsetof(HTTPReaderObject, head_ns);
static size_t at_body = offsetof(HTTPReaderObject, body_ns);
static size_t at_rate = offsetof(HTTPReaderObject, body_rate);
static size_t at_line = offsetof(HTTPReaderObject, options.max_line);
static size_t at_field = offsetof(HTTPReaderObject, options.max_field);
static size_t at_fields = offsetof(HTTPReaderObject, options.max_fields);
static size_t at_max_head = offsetof(HTTPReaderObject, options.max_head);
static size_t at_flags = offsetof(HTTPReaderObject, options.flags);

static PyGetSetDef reader_getset[] = {
    {"raw", get_itself, NULL, "Itself; what has `_sock`.", NULL},
    {"_sock", get_source, NULL, "Where it reads from.", NULL},
    {"closed", get_closed, NULL, "Whether it was closed.", NULL},
    {"buffered", get_buffered, NULL,
     "Bytes that were received and not read yet.", NULL},
    {"at_end", get_at_end, NULL, "Whether the source has ended.", NULL},
    {"idle_timeout", get_timeout, set_timeout,
     "Seconds to wait for a further request; None: no limit.", &at_idle},
    {"head_timeout", get_timeout, set_timeout,
     "Seconds a whole head may take, and the first request to begin.",
     &at_head},
    {"body_timeout", get_timeout, set_timeout,
     "Seconds to wait for each part of a body.", &at_body},
    {"body_rate", get_limit, set_limit,
     "Bytes of a body for which all its waits may take a second more than\n"
     "`body_timeout`; 0: these have no limit.",
     &at_rate},
    {"max_line", get_limit, set_limit, "Bytes of a request line.", &at_line},
    {"max_field", get_limit, set_limit, "Bytes of a field.", &at_field},
    {"max_fields", get_limit, set_limit, "Fields of a head.", &at_fields},
    {"max_head", get_limit, set_limit, "Bytes of a head.", &at_max_head},
    {"leniency", get_limit, set_limit,
     "What is tolerated: the sum of HTTP_BARE_LF (1), HTTP_FOLDED (2),\n"
     "HTTP_SAME_LENGTHS (4), HTTP_RAW_TARGET (8), HTTP_NO_HOST (32).",
     &at_flags},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__httpreader_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.HTTPReader",
    .tp_basicsize = sizeof(HTTPReaderObject),
    .tp_dealloc = reader_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc =
        "HTTPReader(source)\n--\n\n"
        "Reads requests from a socket, or a file. It is a file, too, as\n"
        "socket.makefile(\"rb\") gives.",
    .tp_traverse = reader_traverse,
    .tp_clear = reader_clear,
    .tp_weaklistoffset = offsetof(HTTPReaderObject, weakreflist),
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = reader_iternext,
    .tp_methods = reader_methods,
    .tp_getset = reader_getset,
    .tp_new = reader_new,
};

/* --- the module ---------------------------------------------------------- */

static int
make_names(void)
{
    const coir_name all[] = {{&names.recv, "recv"},
                             {&names.read, "read"},
                             {&names.readline, "readline"}};
    return coir__intern(all, sizeof all / sizeof *all);
}

static int
make_errors(void)
{
    if (coir__http_error == NULL)
        coir__http_error = PyErr_NewExceptionWithDoc(
            "coir._core.HTTPError",
            "A request is refused: `status` and `reason` for the answer,\n"
            "`code`, which of coir/http.h.",
            PyExc_ValueError, NULL);
    if (coir__http_input_error == NULL)
        coir__http_input_error = PyErr_NewExceptionWithDoc(
            "coir._core.HTTPInputError",
            "The body of a request is refused; as HTTPError.", PyExc_OSError,
            NULL);
    return coir__http_error != NULL && coir__http_input_error != NULL ? 0 : -1;
}

int
coir__http_types_init(PyObject *module)
{
    static PyTypeObject *const types[] = {&coir__httpreader_type,
                                          &coir__httprequest_type,
                                          &coir__httpinput_type};
    if (make_names() < 0 || make_errors() < 0 || coir__httpinput_init() < 0)
        return -1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (PyModule_AddType(module, types[i]) < 0)
            return -1;
    if (PyModule_AddFunctions(module, coir__httphead_methods) < 0 ||
        PyModule_AddObjectRef(module, "HTTPError", coir__http_error) < 0 ||
        PyModule_AddObjectRef(module, "HTTPInputError",
                              coir__http_input_error) < 0 ||
        PyModule_AddIntConstant(module, "HTTP_BARE_LF", COIR_HTTP_BARE_LF) <
            0 ||
        PyModule_AddIntConstant(module, "HTTP_FOLDED", COIR_HTTP_FOLDED) < 0 ||
        PyModule_AddIntConstant(module, "HTTP_SAME_LENGTHS",
                                COIR_HTTP_SAME_LENGTHS) < 0 ||
        PyModule_AddIntConstant(module, "HTTP_RAW_TARGET",
                                COIR_HTTP_RAW_TARGET) < 0 ||
        PyModule_AddIntConstant(module, "HTTP_NO_HOST", COIR_HTTP_NO_HOST) < 0)
        return -1;
    return 0;
}
