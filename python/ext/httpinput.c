/* httpinput.c - the body of a request, as wsgi.input.
 *
 * The bytes come through the reader of the connection. `pending` of those in
 * its buffer are data of the body that the decoder has passed already; behind
 * them comes what it has not looked at. What is read in one go and is not
 * there yet is received into the memory it is returned in.
 *
 * What ends in an error stays in it: who reads on after half of a chunk would
 * take it for something else. One greenlet reads at a time. */
#include "httpread.h"

#include "socket.h"

#include <stddef.h>
#include <string.h>

/* What is allocated before it is known to come. */
#define PIECE 65536

#define SELF ((HTTPInputObject *)op)

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    HTTPReaderObject *reader; /* strong */
    PyObject *rfile;          /* strong: the reader, or what it reads from */
    PyObject *socket;         /* strong: to be told 100 (Continue); NULL */
    coir_http_body body;
    coir_http_parser trailers;
    size_t pending;
    uint64_t position;
    uint64_t came;          /* bytes of it, framing included */
    int64_t waited_ns;      /* for these */
    int64_t content_length; /* -1: none */
    int error;              /* enum coir_http_error; 0 */
    uint8_t may_continue, is_busy, in_trailers;
} HTTPInputObject;

static PyObject *str_sendall, *continue_response; /* strong */

/* --- errors -------------------------------------------------------------- */

static int
set_error(HTTPInputObject *in)
{
    if (in->error != COIR_HTTP_ECUT)
        coir__http_raise(coir__http_input_error, in->error);
    else if (in->body.framing == COIR_HTTP_CHUNKED)
        PyErr_SetString(PyExc_OSError,
                        "unexpected end of file while parsing chunked data");
    else
        PyErr_Format(PyExc_OSError,
                     "unexpected end of file while reading request at "
                     "position %llu",
                     (unsigned long long)in->position);
    return -1;
}

static int
fail(HTTPInputObject *in, int error)
{
    in->error = error;
    return set_error(in);
}

/* --- data ---------------------------------------------------------------- */

/* Of `has` bytes that are there, take what is of trailers. 0; 1: they are not
 * complete; -1 with an exception. */
static int
take_trailers(HTTPInputObject *in, size_t has)
{
    HTTPReaderObject *r = in->reader;
    coir_http_field fields[64];
    coir_http_head head = {.fields = fields, .capacity = 64};
    if (!in->in_trailers) {
        coir_http_parser_init(&in->trailers, &r->options);
        in->in_trailers = 1;
    }
    ssize_t used = coir_http_parse_trailers(&in->body, &in->trailers,
                                            r->buf + r->start, has, &head);
    if (used == COIR_EAGAIN)
        return 1;
    if (used < 0)
        return fail(in, (int)used);
    coir__httpreader_use(r, (size_t)used);
    return 0;
}

/* The same up to data. */
static int
take_framing(HTTPInputObject *in, size_t has)
{
    HTTPReaderObject *r = in->reader;
    if (in->body.state == COIR_HTTP_BODY_TRAILERS)
        return take_trailers(in, has);
    coir_http_span data = {0, 0};
    ssize_t used =
        coir_http_body_next(&in->body, r->buf + r->start, has, &data);
    if (used < 0)
        return fail(in, (int)used);
    in->pending = data.len;
    coir__httpreader_use(r, (size_t)used - data.len);
    return 0;
}

static int
take_end(HTTPInputObject *in)
{
    int err = coir_http_body_eof(&in->body);
    return err < 0 ? fail(in, err) : 0;
}

/* How long the next part may be waited for. */
static int64_t
limit_of(const HTTPInputObject *in)
{
    const HTTPReaderObject *r = in->reader;
    if (r->body_rate == 0 || r->body_ns == COIR_FOREVER)
        return r->body_ns;
    double left = (double)(r->body_ns - in->waited_ns) +
                  (double)in->came / r->body_rate * 1e9;
    return left >= (double)r->body_ns ? r->body_ns
           : left > 1                 ? (int64_t)left
                                      : 1;
}

/* A wait that began then is over, and has brought so much, or has failed. */
static void
note_wait(HTTPInputObject *in, int64_t since_ns, Py_ssize_t n)
{
    in->waited_ns += coir_clock_monotonic() - since_ns;
    if (n > 0)
        in->came += (uint64_t)n;
}

/* Wait until data are pending. 1; 0 at the end; -1 with an exception. Up to
 * `want` bytes, or a line, are going to be read. */
static int
await_data(HTTPInputObject *in, size_t want, int line)
{
    HTTPReaderObject *r = in->reader;
    for (;;) {
        size_t has = coir__httpreader_has(r);
        if (in->pending > has)
            in->pending = has; /* somebody has read past us */
        if (in->pending > 0)
            return 1;
        if (in->error != 0)
            return set_error(in);
        if (in->body.state == COIR_HTTP_BODY_DONE)
            return 0;
        int more = has > 0 ? take_framing(in, has) : 1;
        if (more < 0)
            return -1;
        if (more == 0)
            continue;
        /* The caller's are for the data that come after the framing. */
        size_t most = want;
        int is_line = line;
        if (in->body.left == 0 || in->body.state != COIR_HTTP_BODY_DATA) {
            most = r->options.max_line;
            is_line = 1;
        }
        else if (most > in->body.left)
            most = (size_t)in->body.left;
        int64_t since_ns = coir_clock_monotonic();
        Py_ssize_t n = coir__httpreader_fill(r, most, is_line, limit_of(in));
        note_wait(in, since_ns, n);
        if (n < 0 || (n == 0 && take_end(in) < 0))
            return -1;
    }
}

/* Copy up to `want` of those that are pending. */
static size_t
take_data(HTTPInputObject *in, char *to, size_t want)
{
    size_t n = in->pending < want ? in->pending : want;
    if (to != NULL)
        memcpy(to, in->reader->buf + in->reader->start, n);
    in->pending -= n;
    in->position += n;
    coir__httpreader_use(in->reader, n);
    return n;
}

/* Data that are not there yet, into the caller's memory, if they can come
 * that way: as await_data(); 2: they cannot. */
static int
receive_data(HTTPInputObject *in, char *to, size_t room, size_t *done)
{
    HTTPReaderObject *r = in->reader;
    if (in->pending > 0 || in->error != 0 || coir__httpreader_has(r) > 0 ||
        in->body.state != COIR_HTTP_BODY_DATA || in->body.left == 0 ||
        r->kind != COIR_SOURCE_GREEN)
        return 2;
    if (room > in->body.left)
        room = (size_t)in->body.left;
    int64_t since_ns = coir_clock_monotonic();
    Py_ssize_t n = coir__httpreader_direct(r, to, room, limit_of(in));
    note_wait(in, since_ns, n);
    if (n <= 0)
        return n < 0 ? -1 : take_end(in);
    coir_http_body_skip(&in->body, (uint64_t)n);
    in->position += (uint64_t)n;
    *done += (size_t)n;
    return 1;
}

/* --- reading ------------------------------------------------------------- */

/* 0, or -1 with an exception. */
static int
begin(HTTPInputObject *in)
{
    if (in->is_busy) {
        PyErr_SetString(PyExc_RuntimeError,
                        "another greenlet reads this body");
        return -1;
    }
    if (in->socket == NULL || !in->may_continue || in->error != 0 ||
        in->body.state == COIR_HTTP_BODY_DONE)
        return 0;
    PyObject *socket = in->socket;
    in->socket = NULL;
    PyObject *res =
        PyObject_CallMethodOneArg(socket, str_sendall, continue_response);
    Py_DECREF(socket);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* How many bytes there can be at most, as far as that is known. */
static size_t
expected(const HTTPInputObject *in, size_t want)
{
    uint64_t left = in->pending + in->body.left;
    if (in->body.framing == COIR_HTTP_CHUNKED)
        left = SIZE_MAX;
    return left < want ? (size_t)left : want;
}

/* Make room for more, `done` bytes are used. 0 or -1; *out is NULL then. */
static int
grow(HTTPInputObject *in, PyObject **out, size_t done, size_t want)
{
    size_t size = done < PIECE ? done + PIECE : 2 * done;
    size_t most = done + expected(in, want - done);
    if (size > most)
        size = most;
    if (size > PY_SSIZE_T_MAX) {
        Py_CLEAR(*out);
        PyErr_NoMemory();
        return -1;
    }
    return _PyBytes_Resize(out, (Py_ssize_t)size);
}

static PyObject *
read_all(HTTPInputObject *in, size_t want)
{
    size_t done = 0;
    size_t size = expected(in, want);
    PyObject *out = PyBytes_FromStringAndSize(
        NULL, size < PIECE ? (Py_ssize_t)size : PIECE);
    int more = out != NULL ? 1 : -1;
    while (more > 0 && done < want) {
        if (done == (size_t)PyBytes_GET_SIZE(out) &&
            grow(in, &out, done, want) < 0)
            return NULL;
        char *to = PyBytes_AS_STRING(out) + done;
        size_t room = (size_t)PyBytes_GET_SIZE(out) - done;
        if (room > want - done)
            room = want - done;
        more = receive_data(in, to, room, &done);
        if (more != 2)
            continue;
        more = await_data(in, want - done, 0);
        if (more > 0)
            done += take_data(in, to, room);
    }
    if (more < 0)
        Py_CLEAR(out);
    else
        (void)_PyBytes_Resize(&out, (Py_ssize_t)done);
    return out;
}

static PyObject *
read_some(HTTPInputObject *in, size_t want)
{
    if (want == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    int more = 1;
    /* What does not come at once is received past the buffer. */
    if (coir__httpreader_has(in->reader) > 0 || in->body.left == 0)
        more = await_data(in, want, 0);
    if (more < 0)
        return NULL;
    if (more == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    if (in->pending >= want ||
        (in->pending > 0 && in->body.framing == COIR_HTTP_LENGTH &&
         in->body.left == 0)) {
        size_t n = in->pending < want ? in->pending : want;
        PyObject *out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
        if (out != NULL)
            take_data(in, PyBytes_AS_STRING(out), n);
        return out;
    }
    return read_all(in, want);
}

/* Append up to `want` pending bytes, up to LF. 1: the line is complete; 0; or
 * -1 with an exception, and *line is NULL. */
static int
append_line(HTTPInputObject *in, PyObject **line, size_t want)
{
    const char *from = in->reader->buf + in->reader->start;
    size_t n = in->pending < want ? in->pending : want;
    const char *lf = memchr(from, '\n', n);
    if (lf != NULL)
        n = (size_t)(lf - from) + 1;
    size_t has = *line != NULL ? (size_t)PyBytes_GET_SIZE(*line) : 0;
    if (*line == NULL)
        *line = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
    else
        (void)_PyBytes_Resize(line, (Py_ssize_t)(has + n));
    if (*line == NULL)
        return -1;
    take_data(in, PyBytes_AS_STRING(*line) + has, n);
    return lf != NULL || n == want;
}

static PyObject *
read_line(HTTPInputObject *in, size_t want)
{
    PyObject *line = NULL;
    int more = 1, is_done = want == 0;
    while (!is_done) {
        size_t has = line != NULL ? (size_t)PyBytes_GET_SIZE(line) : 0;
        more = await_data(in, want - has, 1);
        if (more <= 0)
            break;
        is_done = append_line(in, &line, want - has);
        if (is_done < 0)
            return NULL;
    }
    if (more < 0)
        Py_CLEAR(line);
    else if (line == NULL)
        line = PyBytes_FromStringAndSize(NULL, 0);
    return line;
}

/* --- methods ------------------------------------------------------------- */

Py_ssize_t
coir__http_size_arg(const char *name, PyObject *const *args, Py_ssize_t nargs)
{
    if (coir__check_count(name, nargs, 0, 1) < 0)
        return -1;
    if (nargs == 0 || args[0] == Py_None)
        return PY_SSIZE_T_MAX;
    Py_ssize_t n = PyNumber_AsSsize_t(args[0], NULL);
    if (n == -1 && PyErr_Occurred())
        return -1;
    return n < 0 ? PY_SSIZE_T_MAX : n;
}

PyObject *
coir__http_readlines(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     iternextfunc next)
{
    Py_ssize_t hint = coir__http_size_arg("readlines", args, nargs), sum = 0;
    if (hint < 0)
        return NULL;
    if (hint == 0)
        hint = PY_SSIZE_T_MAX;
    PyObject *list = PyList_New(0), *line = NULL;
    while (list != NULL && sum < hint && (line = next(op)) != NULL) {
        sum += PyBytes_GET_SIZE(line);
        if (PyList_Append(list, line) < 0)
            Py_CLEAR(list);
        Py_DECREF(line);
    }
    if (PyErr_Occurred())
        Py_CLEAR(list);
    return list;
}

/* The argument that may be left out, if it is given by its name: into *named,
 * to which *args points then. 0, or -1 with TypeError. */
static int
by_name(const char *func, const char *name, PyObject *const **args,
        Py_ssize_t *nargs, PyObject *kwnames, PyObject **named)
{
    if (COIR__LIKELY(kwnames == NULL))
        return 0;
    *named = coir__one_argument(func, name, *args, *nargs, kwnames);
    if (*named == NULL)
        return -1;
    *args = named;
    *nargs = 1;
    return 0;
}

static PyObject *
call(PyObject *op, PyObject *(*func)(HTTPInputObject *, size_t),
     const char *name, const char *size, PyObject *const *args,
     Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *named;
    if (by_name(name, size, &args, &nargs, kwnames, &named) < 0)
        return NULL;
    Py_ssize_t want = coir__http_size_arg(name, args, nargs);
    if (want < 0)
        return NULL;
    if (begin(SELF) < 0)
        return NULL;
    SELF->is_busy = 1;
    PyObject *res = func(SELF, (size_t)want);
    SELF->is_busy = 0;
    return res;
}

static PyObject *
input_read(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    return call(op, read_some, "read", "length", args, nargs, kwnames);
}

static PyObject *
input_readline(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    return call(op, read_line, "readline", "size", args, nargs, kwnames);
}

static PyObject *
input_iternext(PyObject *op)
{
    PyObject *line = call(op, read_line, "readline", NULL, NULL, 0, NULL);
    if (line != NULL && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

static PyObject *
input_next(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *line = input_iternext(op);
    if (line == NULL && !PyErr_Occurred())
        PyErr_SetNone(PyExc_StopIteration);
    return line;
}

static PyObject *
input_readlines(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    PyObject *named;
    if (by_name("readlines", "hint", &args, &nargs, kwnames, &named) < 0)
        return NULL;
    return coir__http_readlines(op, args, nargs, input_iternext);
}

static PyObject *
input_drain(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t most = coir__http_size_arg("drain", args, nargs);
    if (most < 0)
        return NULL;
    if (SELF->is_busy)
        Py_RETURN_FALSE;
    SELF->is_busy = 1;
    int more = 1;
    while ((uint64_t)SELF->body.left + SELF->pending <= (uint64_t)most &&
           (more = await_data(SELF, PIECE, 0)) > 0)
        most -= (Py_ssize_t)take_data(SELF, NULL, (size_t)most);
    SELF->is_busy = 0;
    if (more < 0) {
        if (!PyErr_ExceptionMatches(PyExc_OSError))
            return NULL;
        PyErr_Clear();
    }
    return PyBool_FromLong(more == 0);
}

static PyObject *
input_discard(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *res = input_drain(op, NULL, 0);
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    Py_RETURN_NONE;
}

/* --- attributes ---------------------------------------------------------- */

static PyObject *
get_object(PyObject *op, void *closure)
{
    PyObject *value = *(PyObject **)(void *)((char *)op + *(size_t *)closure);
    return Py_NewRef(value != NULL ? value : Py_None);
}

static int
set_socket(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(SELF->socket,
               value != NULL && value != Py_None ? Py_NewRef(value) : NULL);
    return 0;
}

static PyObject *
get_length(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->content_length < 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(SELF->content_length);
}

static PyObject *
get_position(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(SELF->position);
}

static PyObject *
get_chunked(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->body.framing == COIR_HTTP_CHUNKED);
}

static PyObject *
get_chunk_length(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->body.framing != COIR_HTTP_CHUNKED || SELF->position == 0)
        return PyLong_FromLong(-1);
    return PyLong_FromUnsignedLongLong(SELF->pending + SELF->body.left);
}

static PyObject *
get_failed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->error != 0);
}

static PyObject *
get_done(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->pending == 0 &&
                           SELF->body.state == COIR_HTTP_BODY_DONE);
}

static PyObject *
get_may_continue(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->may_continue);
}

static int
set_may_continue(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int flag = value != NULL ? PyObject_IsTrue(value) : 1;
    if (flag < 0)
        return -1;
    SELF->may_continue = (uint8_t)flag;
    return 0;
}

/* --- the type ------------------------------------------------------------ */

/* Steals nothing. `head` tells of the framing. */
static PyObject *
make(PyTypeObject *type, PyObject *rfile, const coir_http_head *head,
     PyObject *socket)
{
    HTTPReaderObject *r;
    if (PyObject_TypeCheck(rfile, &coir__httpreader_type))
        r = (HTTPReaderObject *)Py_NewRef(rfile);
    else if ((r = coir__httpreader_new(rfile)) == NULL)
        return NULL;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL) {
        Py_DECREF(r);
        return NULL;
    }
    SELF->reader = r;
    SELF->rfile = Py_NewRef(rfile);
    if (socket != NULL && socket != Py_None)
        SELF->socket = Py_NewRef(socket);
    SELF->may_continue = 1;
    SELF->content_length = head->content_length;
    coir_http_body_init(&SELF->body, head, &r->options);
    return op;
}

PyObject *
coir__httpinput_new(PyObject *rfile, const coir_http_head *head,
                    PyObject *socket)
{
    return make(&coir__httpinput_type, rfile, head, socket);
}

static PyObject *
input_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"rfile", "content_length", "socket",
                               "chunked_input", NULL};
    PyObject *rfile, *length, *socket = NULL;
    int is_chunked = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|Op:Input", keywords,
                                     &rfile, &length, &socket, &is_chunked))
        return NULL;
    coir_http_head head = {.content_length = -1, .version = 11};
    if (length != Py_None) {
        head.content_length = PyLong_AsLongLong(length);
        if (head.content_length == -1 && PyErr_Occurred())
            return NULL;
    }
    if (is_chunked)
        head.framing = COIR_HTTP_CHUNKED;
    else if (head.content_length > 0)
        head.framing = COIR_HTTP_LENGTH;
    return make(type, rfile, &head, socket);
}

static int
input_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->reader);
    Py_VISIT(SELF->rfile);
    Py_VISIT(SELF->socket);
    return 0;
}

static int
input_clear(PyObject *op)
{
    /* Not the reader: the methods rely on it, and it owns no cycle alone. */
    Py_CLEAR(SELF->rfile);
    Py_CLEAR(SELF->socket);
    return 0;
}

static void
input_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)input_clear(op);
    Py_CLEAR(SELF->reader);
    Py_TYPE(op)->tp_free(op);
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))

static PyMethodDef input_methods[] = {
    {"read", FAST(input_read), METH_FASTCALL | METH_KEYWORDS,
     "read($self, length=None)\n--\n\n"
     "Read that many bytes, fewer only at the end of the body; None or -1:\n"
     "all of it. HTTPInputError: it is not valid; OSError: the connection\n"
     "ended before the body did."},
    {"readline", FAST(input_readline), METH_FASTCALL | METH_KEYWORDS,
     "readline($self, size=None)\n--\n\n"
     "Read up to and with LF, or that many bytes."},
    {"readlines", FAST(input_readlines), METH_FASTCALL | METH_KEYWORDS,
     "readlines($self, hint=None)\n--\n\n"
     "Read lines up to the end, or until they are that many bytes."},
    {"next", input_next, METH_NOARGS, "next($self)\n--\n\nThe next line."},
    {"drain", FAST(input_drain), METH_FASTCALL,
     "drain($self, limit=None, /)\n--\n\n"
     "Read the rest and drop it, but no more than that many bytes. Whether\n"
     "that was the end, behind which another request may come."},
    {"_discard", input_discard, METH_NOARGS,
     "_discard($self)\n--\n\nRead the rest and drop it."},
    {NULL, NULL, 0, NULL},
};

static size_t at_rfile = offsetof(HTTPInputObject, rfile);
static size_t at_socket = offsetof(HTTPInputObject, socket);

static PyGetSetDef input_getset[] = {
    {"rfile", get_object, NULL, "Where the bytes come from.", &at_rfile},
    {"socket", get_object, set_socket,
     "What is told 100 (Continue) before the first read; None: nobody.",
     &at_socket},
    {"content_length", get_length, NULL, "Bytes of the body; None: unknown.",
     NULL},
    {"position", get_position, NULL, "Bytes that were read.", NULL},
    {"chunked_input", get_chunked, NULL, "Whether it is chunked.", NULL},
    {"chunk_length", get_chunk_length, NULL,
     "What is left of the chunk; -1 before the first one.", NULL},
    {"done", get_done, NULL, "Whether all of it was read.", NULL},
    {"_chunked_input_error", get_failed, NULL, "Whether it was refused.",
     NULL},
    {"send_100_continue_enabled", get_may_continue, set_may_continue,
     "Whether `socket` is told.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__httpinput_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.Input",
    .tp_basicsize = sizeof(HTTPInputObject),
    .tp_dealloc = input_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Input(rfile, content_length, socket=None,\n"
              "chunked_input=False)\n\n"
              "The body of a request, read from an HTTPReader, or from a\n"
              "file, of which no more is read than belongs to it.",
    .tp_traverse = input_traverse,
    .tp_clear = input_clear,
    .tp_weaklistoffset = offsetof(HTTPInputObject, weakreflist),
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = input_iternext,
    .tp_methods = input_methods,
    .tp_getset = input_getset,
    .tp_new = input_new,
};

int
coir__httpinput_init(void)
{
    if (str_sendall == NULL)
        str_sendall = PyUnicode_InternFromString("sendall");
    if (continue_response == NULL)
        continue_response =
            PyBytes_FromString("HTTP/1.1 100 Continue\r\n\r\n");
    return str_sendall != NULL && continue_response != NULL ? 0 : -1;
}
