/* httprequest.c - the head of a request, as Python sees it.
 *
 * One piece of memory: the object, its fields, the bytes of the head. Strings
 * are made when they are asked for. */
#include "httpread.h"

#include <string.h>

#define SELF ((HTTPRequestObject *)op)

PyObject *
coir__httprequest_new(const char *buf, size_t len, const coir_http_head *head)
{
    size_t fields = head->count * sizeof(coir_http_field);
    HTTPRequestObject *r =
        PyObject_NewVar(HTTPRequestObject, &coir__httprequest_type,
                        (Py_ssize_t)(fields + len));
    if (r == NULL)
        return NULL;
    r->head = *head;
    r->head.fields = (coir_http_field *)(void *)r->memory;
    r->head.capacity = head->count;
    r->buf = r->memory + fields;
    r->len = len;
    memcpy(r->memory, head->fields, fields);
    memcpy(r->buf, buf, len);
    return (PyObject *)r;
}

static void
request_dealloc(PyObject *op)
{
    PyObject_Free(op);
}

/* --- attributes ---------------------------------------------------------- */

static PyObject *
get_method(PyObject *op, void *Py_UNUSED(closure))
{
    return coir__environ_method(SELF->buf, &SELF->head);
}

static PyObject *
get_target(PyObject *op, void *Py_UNUSED(closure))
{
    return coir__environ_text(SELF->buf, SELF->head.target);
}

static PyObject *
get_version(PyObject *op, void *Py_UNUSED(closure))
{
    return coir__environ_version(&SELF->head);
}

static PyObject *
get_requestline(PyObject *op, void *Py_UNUSED(closure))
{
    const char *from = SELF->buf + SELF->head.method.at;
    const char *to = SELF->buf + SELF->len;
    const char *lf = memchr(from, '\n', (size_t)(to - from));
    if (lf != NULL)
        to = lf > from && lf[-1] == '\r' ? lf - 1 : lf;
    return PyUnicode_DecodeLatin1(from, to - from, NULL);
}

static PyObject *
pair_of(PyObject *op, const coir_http_field *f)
{
    PyObject *name = coir__environ_text(SELF->buf, f->name);
    PyObject *value = coir__environ_text(SELF->buf, f->value);
    PyObject *pair = NULL;
    if (name != NULL && value != NULL)
        pair = PyTuple_Pack(2, name, value);
    Py_XDECREF(name);
    Py_XDECREF(value);
    return pair;
}

static PyObject *
get_headers(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *list = PyList_New((Py_ssize_t)SELF->head.count);
    for (uint32_t i = 0; list != NULL && i < SELF->head.count; i++) {
        PyObject *pair = pair_of(op, &SELF->head.fields[i]);
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
    }
    return list;
}

static PyObject *
get_raw(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBytes_FromStringAndSize(SELF->buf, (Py_ssize_t)SELF->len);
}

static PyObject *
get_content_length(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->head.content_length < 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(SELF->head.content_length);
}

static PyObject *
get_chunked(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->head.framing == COIR_HTTP_CHUNKED);
}

static PyObject *
get_has_body(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->head.framing != COIR_HTTP_NO_BODY);
}

static PyObject *
get_flag(PyObject *op, void *closure)
{
    return PyBool_FromLong(SELF->head.flags & *(const uint16_t *)closure);
}

static PyObject *
get_is_upgrade(PyObject *op, void *Py_UNUSED(closure))
{
    const coir_http_head *head = &SELF->head;
    return PyBool_FromLong(
        coir_http_has_token(head, SELF->buf, COIR_FIELD_UPGRADE,
                            "websocket") ||
        coir_http_has_token(head, SELF->buf, COIR_FIELD_CONNECTION,
                            "upgrade"));
}

/* --- methods ------------------------------------------------------------- */

static const coir_http_field *
find(PyObject *op, PyObject *name, const coir_http_field *after)
{
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(name, &len);
    if (text == NULL)
        return NULL;
    return coir_http_find_name(&SELF->head, SELF->buf, text, (size_t)len,
                               after);
}

static PyObject *
request_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError,
                     "get() takes 1 or 2 arguments (%zd given)", nargs);
        return NULL;
    }
    const coir_http_field *f = find(op, args[0], NULL);
    if (f != NULL)
        return coir__environ_text(SELF->buf, f->value);
    if (PyErr_Occurred())
        return NULL;
    return Py_NewRef(nargs > 1 ? args[1] : Py_None);
}

static PyObject *
request_get_all(PyObject *op, PyObject *name)
{
    PyObject *list = PyList_New(0);
    const coir_http_field *f = NULL;
    while (list != NULL && (f = find(op, name, f)) != NULL) {
        PyObject *value = coir__environ_text(SELF->buf, f->value);
        if (value == NULL || PyList_Append(list, value) < 0)
            Py_CLEAR(list);
        Py_XDECREF(value);
    }
    if (list != NULL && PyErr_Occurred())
        Py_CLEAR(list);
    return list;
}

static PyObject *
request_fill_environ(PyObject *op, PyObject *env)
{
    if (!PyDict_Check(env)) {
        PyErr_Format(PyExc_TypeError, "a dict is needed, not %.100s",
                     Py_TYPE(env)->tp_name);
        return NULL;
    }
    if (coir__environ_fill(env, SELF->buf, &SELF->head) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
request_input(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError,
                     "input() takes 1 or 2 arguments (%zd given)", nargs);
        return NULL;
    }
    PyObject *socket = NULL;
    if (nargs > 1 && (SELF->head.flags & COIR_HTTP_CONTINUE))
        socket = args[1];
    return coir__httpinput_new(args[0], &SELF->head, socket);
}

static PyObject *
request_repr(PyObject *op)
{
    PyObject *line = get_requestline(op, NULL);
    PyObject *res =
        line != NULL ? PyUnicode_FromFormat("<HTTPRequest %R>", line) : NULL;
    Py_XDECREF(line);
    return res;
}

/* --- the type ------------------------------------------------------------ */

static uint16_t keep_alive = COIR_HTTP_KEEP_ALIVE;
static uint16_t expects = COIR_HTTP_CONTINUE;
static uint16_t upgrades = COIR_HTTP_UPGRADE;

static PyGetSetDef request_getset[] = {
    {"method", get_method, NULL, "\"GET\" and so on.", NULL},
    {"target", get_target, NULL, "The target as it was sent, in latin-1.",
     NULL},
    {"version", get_version, NULL, "\"HTTP/1.1\" or \"HTTP/1.0\".", NULL},
    {"requestline", get_requestline, NULL, "The first line, in latin-1.",
     NULL},
    {"headers", get_headers, NULL,
     "A new list of (name, value), in order, as they were sent.", NULL},
    {"raw", get_raw, NULL, "The bytes of the head.", NULL},
    {"content_length", get_content_length, NULL,
     "Content-Length; None: there is none.", NULL},
    {"chunked", get_chunked, NULL, "Whether the body is chunked.", NULL},
    {"has_body", get_has_body, NULL, "Whether a body follows.", NULL},
    {"keep_alive", get_flag, NULL, "Whether the connection may persist.",
     &keep_alive},
    {"upgrade", get_flag, NULL,
     "Whether it asks for another protocol, in valid form.", &upgrades},
    {"asks_upgrade", get_is_upgrade, NULL,
     "Whether it looks as if it asked: Connection: upgrade, or\n"
     "Upgrade: websocket.",
     NULL},
    {"expects_continue", get_flag, NULL,
     "Whether the client waits for 100 (Continue).", &expects},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef request_methods[] = {
    {"get", (PyCFunction)(void (*)(void))request_get, METH_FASTCALL,
     "get($self, name, default=None, /)\n--\n\n"
     "The value of the first field of that name, of any case."},
    {"get_all", request_get_all, METH_O,
     "get_all($self, name, /)\n--\n\nThe values of all of them."},
    {"fill_environ", request_fill_environ, METH_O,
     "fill_environ($self, environ, /)\n--\n\n"
     "Put into a dict what WSGI tells of a request: REQUEST_METHOD,\n"
     "PATH_INFO, QUERY_STRING, SERVER_PROTOCOL, CONTENT_TYPE,\n"
     "CONTENT_LENGTH and HTTP_*. Fields with an underscore are left out."},
    {"input", (PyCFunction)(void (*)(void))request_input, METH_FASTCALL,
     "input($self, reader, socket=None, /)\n--\n\n"
     "The body that follows. The socket is told 100 (Continue), if the\n"
     "client waits for that."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject coir__httprequest_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.HTTPRequest",
    .tp_basicsize = offsetof(HTTPRequestObject, memory),
    .tp_itemsize = 1,
    .tp_dealloc = request_dealloc,
    .tp_repr = request_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "The head of a request that was read. Immutable.",
    .tp_methods = request_methods,
    .tp_getset = request_getset,
};
