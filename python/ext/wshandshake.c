/* wshandshake.c - WebSocketHandshake: libcoir's opening handshake for Python.
 *
 * Fields are str, as WSGI and http.client have them: latin-1. Heads are made
 * as bytes; what the caller adds to them is checked for line ends, so that a
 * value from outside cannot add fields. */
#include "websocket.h"

typedef struct {
    PyObject_HEAD coir_ws_handshake h;
    char **protocols; /* ours, NULL at the end */
} HandshakeObject;

#define SELF ((HandshakeObject *)op)

static void
free_protocols(char **protocols)
{
    for (size_t i = 0; protocols != NULL && protocols[i] != NULL; i++)
        PyMem_Free(protocols[i]);
    PyMem_Free((void *)protocols);
}

/* Copy them; NULL with an exception. */
static char **
protocols_of(PyObject *list)
{
    PyObject *fast = PySequence_Fast(list, "protocols must be a sequence");
    if (fast == NULL)
        return NULL;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    char **out = PyMem_Calloc((size_t)count + 1, sizeof *out);
    if (out == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; out != NULL && i < count; i++) {
        const char *name = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(fast, i));
        size_t size = name != NULL ? strlen(name) + 1 : 0;
        if (name != NULL && (out[i] = PyMem_Malloc(size)) == NULL)
            PyErr_NoMemory();
        if (name == NULL || out[i] == NULL) {
            free_protocols(out);
            out = NULL;
            break;
        }
        memcpy(out[i], name, size);
    }
    Py_DECREF(fast);
    return out;
}

static PyObject *
handshake_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"role", "protocols", "deflate", NULL};
    const char *role_name;
    PyObject *protocols = NULL, *deflate = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|$OO:WebSocketHandshake",
                                     names, &role_name, &protocols, &deflate))
        return NULL;
    int role = strcmp(role_name, "server") == 0   ? COIR_WS_SERVER
               : strcmp(role_name, "client") == 0 ? COIR_WS_CLIENT
                                                  : -1;
    coir_ws_deflate d;
    if (coir__ws_deflate(&d, deflate) < 0)
        return NULL;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL)
        return NULL;
    if (protocols != NULL && protocols != Py_None &&
        (SELF->protocols = protocols_of(protocols)) == NULL) {
        Py_DECREF(op);
        return NULL;
    }
    int err = coir_ws_handshake_init(&SELF->h, role,
                                     (const char *const *)SELF->protocols, &d);
    if (err == 0)
        return op;
    Py_DECREF(op);
    if (err == COIR_ENOSYS)
        PyErr_SetString(PyExc_ValueError, "built without zlib: no deflate");
    else
        PyErr_SetString(PyExc_ValueError,
                        "bad role, subprotocol or parameter of deflate");
    return NULL;
}

static void
handshake_dealloc(PyObject *op)
{
    free_protocols(SELF->protocols);
    Py_TYPE(op)->tp_free(op);
}

static PyObject *
handshake_field(PyObject *op, PyObject *args)
{
    PyObject *name, *value;
    if (!PyArg_ParseTuple(args, "UU:field", &name, &value))
        return NULL;
    PyObject *n = PyUnicode_AsLatin1String(name);
    PyObject *v = PyUnicode_AsLatin1String(value);
    if (n != NULL && v != NULL) {
        coir_ws_handshake_field(
            &SELF->h, PyBytes_AS_STRING(n), (size_t)PyBytes_GET_SIZE(n),
            PyBytes_AS_STRING(v), (size_t)PyBytes_GET_SIZE(v));
        SELF->h.origin = NULL; /* it lies in `v` */
    }
    int err = n == NULL || v == NULL;
    Py_XDECREF(n);
    Py_XDECREF(v);
    return err ? NULL : Py_NewRef(Py_None);
}

static PyObject *
handshake_check_request(PyObject *op, PyObject *args)
{
    const char *method;
    Py_ssize_t len;
    int minor;
    if (!PyArg_ParseTuple(args, "s#i:check_request", &method, &len, &minor))
        return NULL;
    int err =
        coir_ws_handshake_check_request(&SELF->h, method, (size_t)len, minor);
    if (err < 0)
        return coir__ws_raise(err);
    Py_RETURN_NONE;
}

static PyObject *
handshake_check_response(PyObject *op, PyObject *status)
{
    long n = PyLong_AsLong(status);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    int err = coir_ws_handshake_check_response(
        &SELF->h, n >= 0 && n <= 999 ? (int)n : 0);
    if (err < 0)
        return coir__ws_raise(err);
    Py_RETURN_NONE;
}

/* "name: value\r\n" for each, in bytes; NULL with an exception. */
static PyObject *
lines_of(PyObject *headers)
{
    PyObject *text = PyUnicode_FromString("");
    PyObject *it = text != NULL ? PyObject_GetIter(headers) : NULL;
    PyObject *pair;
    int err = it == NULL;
    while (!err && (pair = PyIter_Next(it)) != NULL) {
        PyObject *name, *value;
        if (!PyTuple_Check(pair)) {
            PyErr_SetString(PyExc_TypeError,
                            "headers are pairs of name and value");
            err = 1;
        }
        else if (!PyArg_ParseTuple(pair, "UU", &name, &value)) {
            err = 1;
        }
        else {
            PyObject *line = PyUnicode_FromFormat("%U: %U", name, value);
            if (line == NULL ||
                PyUnicode_FindChar(line, '\r', 0, PY_SSIZE_T_MAX, 1) != -1 ||
                PyUnicode_FindChar(line, '\n', 0, PY_SSIZE_T_MAX, 1) != -1 ||
                PyUnicode_FindChar(line, '\0', 0, PY_SSIZE_T_MAX, 1) != -1) {
                if (line != NULL)
                    PyErr_SetString(PyExc_ValueError, "line end in a header");
                err = 1;
            }
            else {
                Py_SETREF(text, PyUnicode_FromFormat("%U%U\r\n", text, line));
                err = text == NULL;
            }
            Py_XDECREF(line);
        }
        Py_DECREF(pair);
    }
    Py_XDECREF(it);
    if (err || PyErr_Occurred()) {
        Py_XDECREF(text);
        return NULL;
    }
    PyObject *bytes = PyUnicode_AsLatin1String(text);
    Py_DECREF(text);
    return bytes;
}

static PyObject *
handshake_response(PyObject *op, PyObject *args)
{
    PyObject *headers = NULL, *more = NULL;
    if (!PyArg_ParseTuple(args, "|O:response", &headers) ||
        (more = lines_of(headers != NULL ? headers
                                         : coir__core.empty_tuple)) == NULL)
        return NULL;
    const char *text = PyBytes_AS_STRING(more);
    size_t len = coir_ws_handshake_response(&SELF->h, text, NULL, 0);
    PyObject *out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (out != NULL)
        (void)coir_ws_handshake_response(&SELF->h, text,
                                         PyBytes_AS_STRING(out), len);
    Py_DECREF(more);
    return out;
}

static PyObject *
handshake_request(PyObject *op, PyObject *args)
{
    const char *host, *target;
    PyObject *headers = NULL, *more;
    if (!PyArg_ParseTuple(args, "ss|O:request", &host, &target, &headers))
        return NULL;
    if (strpbrk(host, "\r\n") != NULL || strpbrk(target, "\r\n ") != NULL) {
        PyErr_SetString(PyExc_ValueError, "line end in host or target");
        return NULL;
    }
    more = lines_of(headers != NULL ? headers : coir__core.empty_tuple);
    if (more == NULL)
        return NULL;
    const char *text = PyBytes_AS_STRING(more);
    size_t len =
        coir_ws_handshake_request(&SELF->h, host, target, text, NULL, 0);
    PyObject *out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (out != NULL)
        (void)coir_ws_handshake_request(&SELF->h, host, target, text,
                                        PyBytes_AS_STRING(out), len);
    Py_DECREF(more);
    return out;
}

static PyObject *
handshake_codec(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"max_message", "max_frame", "max_fragments", NULL};
    PyObject *message = NULL, *frame = NULL, *fragments = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOO:codec", names,
                                     &message, &frame, &fragments))
        return NULL;
    coir_ws_attr attr = {.role = SELF->h.role, .deflate = SELF->h.deflate};
    if (coir__ws_limits(&attr, message, frame, fragments) < 0)
        return NULL;
    return coir__ws_codec_new(&attr);
}

static PyObject *
get_protocol(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->h.protocol == NULL)
        Py_RETURN_NONE;
    return PyUnicode_FromString(SELF->h.protocol);
}

static PyObject *
get_accept(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(SELF->h.accept);
}

static PyObject *
get_key(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(SELF->h.key);
}

static PyObject *
get_extensions(PyObject *op, void *Py_UNUSED(closure))
{
    char text[128];
    size_t len = coir_ws_handshake_extensions(&SELF->h, text);
    return PyUnicode_FromStringAndSize(text, (Py_ssize_t)len);
}

static PyGetSetDef handshake_getset[] = {
    {"protocol", get_protocol, NULL, "The subprotocol agreed on, or None.",
     NULL},
    {"key", get_key, NULL, "The client's key.", NULL},
    {"accept", get_accept, NULL, "The answer to it.", NULL},
    {"extensions", get_extensions, NULL,
     "What is offered (client) or agreed to (server); '' for nothing.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef handshake_methods[] = {
    {"field", handshake_field, METH_VARARGS,
     "field($self, name, value, /)\n--\n\nA field of the peer's head."},
    {"check_request", handshake_check_request, METH_VARARGS,
     "check_request($self, method, minor, /)\n--\n\n"
     "Server: raises HandshakeError if the request cannot be answered by "
     "101."},
    {"check_response", handshake_check_response, METH_O,
     "check_response($self, status, /)\n--\n\nClient: the same of the "
     "answer."},
    {"response", handshake_response, METH_VARARGS,
     "response($self, headers=(), /)\n--\n\nThe server's head."},
    {"request", handshake_request, METH_VARARGS,
     "request($self, host, target, headers=(), /)\n--\n\nThe client's head."},
    {"codec", (PyCFunction)(void (*)(void))handshake_codec,
     METH_VARARGS | METH_KEYWORDS,
     "codec($self, *, max_message=1048576, max_frame=None, "
     "max_fragments=65536)\n--\n\n"
     "A WebSocketCodec with what was agreed on."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject coir__ws_handshake_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.WebSocketHandshake",
    .tp_basicsize = sizeof(HandshakeObject),
    .tp_dealloc = handshake_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc =
        "WebSocketHandshake(role, *, protocols=None, deflate=None)\n--\n\n"
        "One side of an opening handshake.",
    .tp_methods = handshake_methods,
    .tp_getset = handshake_getset,
    .tp_new = handshake_new,
};
