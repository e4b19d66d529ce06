/* wsgifile.c - wsgi.file_wrapper: a file as a response.
 *
 * Returned by the application, the file's bytes go from its position to its
 * end, or as many of them as Content-Length says, from the kernel's cache to
 * the socket. So a part of a file is sent by one who seeks to where it begins
 * and announces its length.
 *
 * Only what is known to give the bytes of its descriptor is sent so: the
 * io module's FileIO and BufferedReader, and BufferedRandom. Everything else
 * that has a descriptor, a GzipFile for instance, may mean other bytes: it is
 * read, as are files that are no regular ones. In iteration it is always read,
 * as middleware may do. */
#include "wsgi.h"

#include <errno.h>
#include <sys/stat.h>

typedef struct {
    PyObject_HEAD PyObject *file; /* strong */
    PyObject *size;               /* strong: of a block */
    PyObject *close;              /* strong: the file's, or NULL */
} WrapperObject;

#define SELF ((WrapperObject *)op)

/* Types whose bytes are those of their descriptor: strong, found once. */
static PyTypeObject *raw_type, *plain_types[2];

static int
find_types(void)
{
    static const char *const names[] = {"BufferedReader", "BufferedRandom"};
    PyObject *io = PyImport_ImportModule("_io");
    for (size_t i = 0; io != NULL && i < 2 && raw_type == NULL; i++)
        plain_types[i] = (PyTypeObject *)PyObject_GetAttrString(io, names[i]);
    if (io != NULL && raw_type == NULL)
        raw_type = (PyTypeObject *)PyObject_GetAttrString(io, "FileIO");
    Py_XDECREF(io);
    return raw_type != NULL && plain_types[0] != NULL ? 0 : -1;
}

/* Is it a file whose bytes are those of its descriptor? -1: an exception. */
static int
is_plain(PyObject *file)
{
    if (raw_type == NULL && find_types() < 0)
        return -1;
    PyTypeObject *type = Py_TYPE(file);
    if (type == raw_type)
        return 1;
    if (type != plain_types[0] && type != plain_types[1])
        return 0;
    PyObject *raw = PyObject_GetAttrString(file, "raw");
    int plain = raw != NULL ? Py_IS_TYPE(raw, raw_type) : -1;
    Py_XDECREF(raw);
    if (plain == 1 && type == plain_types[1]) {
        PyObject *res = PyObject_CallMethod(file, "flush", NULL);
        plain = res != NULL ? 1 : -1;
        Py_XDECREF(res);
    }
    return plain;
}

/* Its descriptor, where it is at, and how many bytes follow. 1; 0: it is no
 * regular file; or -1 with an exception. */
static int
look_at(PyObject *file, int *fd, off_t *at, uint64_t *left)
{
    *fd = PyObject_AsFileDescriptor(file);
    if (*fd < 0)
        return -1;
    struct stat st;
    if (fstat(*fd, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    PyObject *pos = PyObject_CallMethod(file, "tell", NULL);
    long long n = pos != NULL ? PyLong_AsLongLong(pos) : -1;
    Py_XDECREF(pos);
    if (n < 0)
        return PyErr_Occurred() ? -1 : 0;
    *at = (off_t)n;
    *left = n < st.st_size ? (uint64_t)(st.st_size - n) : 0;
    return 1;
}

int
coir__response_sendfile(RequestObject *r, PyObject *op)
{
    int fd;
    off_t at;
    uint64_t left;
    int plain = is_plain(SELF->file);
    if (plain > 0)
        plain = look_at(SELF->file, &fd, &at, &left);
    if (plain <= 0 || !r->has_started)
        return plain < 0 ? -1 : 0;
    if (coir__request_enter(r) < 0)
        return -1;
    int err = 0;
    if (r->length >= 0) {
        uint64_t wanted = (uint64_t)r->length - r->sent;
        left = left < wanted ? left : wanted;
    }
    else if (coir_http_response_state(r->x) == COIR_HTTP_BEGUN) {
        r->length = (int64_t)left;
        err = coir_http_set_length(r->x, left);
    }
    if (err == 0 && left > 0)
        err = coir_http_sendfile(r->x, fd, at, left);
    if (err == COIR_EEOF)
        PyErr_SetString(PyExc_OSError,
                        "the file became shorter while it was sent");
    else if (err < 0)
        (void)coir__request_raise(r, COIR_HTTP_WRITER, err);
    else
        r->sent += left;
    coir__request_leave(r);
    return err < 0 ? -1 : 1;
}

/* --- the type ------------------------------------------------------------ */

static PyObject *
wrapper_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"filelike", "block_size", NULL};
    PyObject *file;
    Py_ssize_t size = 65536;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|n:FileWrapper", names,
                                     &file, &size))
        return NULL;
    WrapperObject *self = (WrapperObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->file = Py_NewRef(file);
    self->size = PyLong_FromSsize_t(size);
    self->close = PyObject_GetAttr(file, coir__wsgi.str_close);
    if (self->close == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    if (self->size == NULL || PyErr_Occurred())
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
wrapper_next(PyObject *op)
{
    if (SELF->file == NULL)
        return NULL;
    PyObject *data =
        PyObject_CallMethodOneArg(SELF->file, coir__wsgi.str_read, SELF->size);
    if (data == NULL)
        return NULL;
    int some = PyObject_IsTrue(data);
    if (some <= 0)
        Py_CLEAR(data);
    return data;
}

static PyObject *
wrapper_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return SELF->close != NULL ? PyObject_CallNoArgs(SELF->close)
                               : Py_NewRef(Py_None);
}

static int
wrapper_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->file);
    Py_VISIT(SELF->close);
    return 0;
}

static int
wrapper_clear(PyObject *op)
{
    Py_CLEAR(SELF->file);
    Py_CLEAR(SELF->close);
    return 0;
}

static void
wrapper_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)wrapper_clear(op);
    Py_XDECREF(SELF->size);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef wrapper_methods[] = {
    {"close", wrapper_close, METH_NOARGS,
     "close($self)\n--\n\nThe file's, if it has one."},
    {NULL, NULL, 0, NULL},
};

static PyObject *
wrapper_get_file(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->file != NULL ? SELF->file : Py_None);
}

static PyGetSetDef wrapper_getset[] = {
    {"filelike", wrapper_get_file, NULL, "What is sent.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__file_wrapper_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.FileWrapper",
    .tp_basicsize = sizeof(WrapperObject),
    .tp_dealloc = wrapper_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "FileWrapper(filelike, block_size=65536)\n--\n\n"
              "wsgi.file_wrapper: has a file sent, by the kernel if it can,\n"
              "from where it is at.",
    .tp_traverse = wrapper_traverse,
    .tp_clear = wrapper_clear,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = wrapper_next,
    .tp_methods = wrapper_methods,
    .tp_getset = wrapper_getset,
    .tp_new = wrapper_new,
};
