/* websocket.c - WebSocketCodec: libcoir's codec for Python, without input and
 * output; and the exceptions of coir.websocket.
 *
 * What came is handed over as it is made: text as str, the rest as bytes, each
 * copied once out of the codec's memory. The codec unmasks in place, so it is
 * given a copy of what the caller has, or memory of our own (wsstream.c). */
#include "websocket.h"

PyObject *coir__ws_error, *coir__ws_protocol_error, *coir__ws_closed,
    *coir__ws_handshake_error;

#define SELF ((CodecObject *)op)

/* --- errors -------------------------------------------------------------- */

PyObject *
coir__ws_raise(int error)
{
    if (error == COIR_ENOMEM)
        return PyErr_NoMemory();
    if (error == COIR_ECLOSED) {
        PyErr_SetString(coir__ws_closed, "a close frame was sent");
        return NULL;
    }
    if (error == COIR_EINVAL || error == COIR_ENOSYS) {
        PyErr_SetString(PyExc_ValueError, coir_ws_strerror(error));
        return NULL;
    }
    const int is_handshake = error <= COIR_WS_EMETHOD;
    PyObject *args = Py_BuildValue("(is)", coir_ws_error_code(error),
                                   coir_ws_strerror(error));
    if (args != NULL)
        PyErr_SetObject(is_handshake ? coir__ws_handshake_error
                                     : coir__ws_protocol_error,
                        args);
    Py_XDECREF(args);
    return NULL;
}

/* --- options ------------------------------------------------------------- */

static int
size_of(PyObject *value, size_t *out)
{
    if (value == NULL)
        return 0;
    if (value == Py_None) {
        *out = SIZE_MAX;
        return 0;
    }
    Py_ssize_t n = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n <= 0) {
        PyErr_SetString(PyExc_ValueError, "a limit must be positive");
        return -1;
    }
    *out = (size_t)n;
    return 0;
}

int
coir__ws_limits(coir_ws_attr *attr, PyObject *max_message, PyObject *max_frame,
                PyObject *max_fragments)
{
    size_t fragments = 0;
    if (size_of(max_message, &attr->max_message) < 0 ||
        size_of(max_frame, &attr->max_frame) < 0 ||
        size_of(max_fragments, &fragments) < 0)
        return -1;
    attr->max_fragments =
        fragments > UINT32_MAX ? UINT32_MAX : (unsigned)fragments;
    return 0;
}

int
coir__ws_deflate(coir_ws_deflate *out, PyObject *deflate)
{
    memset(out, 0, sizeof *out);
    if (deflate == NULL || deflate == Py_None)
        return 0;
    int server_alone, client_alone, server_bits, client_bits, level, mem;
    Py_ssize_t threshold;
    if (!PyTuple_Check(deflate)) {
        PyErr_SetString(PyExc_TypeError, "deflate must be a tuple or None");
        return -1;
    }
    if (!PyArg_ParseTuple(deflate, "ppiiiin", &server_alone, &client_alone,
                          &server_bits, &client_bits, &level, &mem,
                          &threshold))
        return -1;
    if (server_bits < 0 || server_bits > 15 || client_bits < 0 ||
        client_bits > 15 || level < 0 || level > 9 || mem < 0 || mem > 9 ||
        threshold < 0) {
        PyErr_SetString(PyExc_ValueError, "deflate: out of range");
        return -1;
    }
    out->is_on = 1;
    out->server_no_takeover = (uint8_t)server_alone;
    out->client_no_takeover = (uint8_t)client_alone;
    out->server_bits = (uint8_t)server_bits;
    out->client_bits = (uint8_t)client_bits;
    out->level = (int8_t)level;
    out->mem = (uint8_t)mem;
    out->threshold = (size_t)threshold;
    return 0;
}

PyObject *
coir__ws_codec_new(const coir_ws_attr *attr)
{
    PyTypeObject *type = &coir__ws_codec_type;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL)
        return NULL;
    SELF->attr = *attr;
    int err = coir_ws_new(&SELF->ws, attr);
    if (err == 0)
        return op;
    Py_DECREF(op);
    return coir__ws_raise(err);
}

static int
role_of(PyObject *role)
{
    if (PyUnicode_Check(role)) {
        if (PyUnicode_CompareWithASCIIString(role, "server") == 0)
            return COIR_WS_SERVER;
        if (PyUnicode_CompareWithASCIIString(role, "client") == 0)
            return COIR_WS_CLIENT;
    }
    PyErr_SetString(PyExc_ValueError, "role must be 'server' or 'client'");
    return -1;
}

static PyObject *
codec_new(PyTypeObject *Py_UNUSED(type), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "role",    "max_message",  "max_frame", "max_fragments",
        "deflate", "max_unpacked", NULL};
    PyObject *role, *message = NULL, *frame = NULL, *fragments = NULL;
    PyObject *deflate = NULL, *unpacked = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOOO:WebSocketCodec",
                                     names, &role, &message, &frame,
                                     &fragments, &deflate, &unpacked))
        return NULL;
    coir_ws_attr attr = {.role = role_of(role)};
    if (attr.role < 0 ||
        coir__ws_limits(&attr, message, frame, fragments) < 0 ||
        size_of(unpacked, &attr.max_unpacked) < 0 ||
        coir__ws_deflate(&attr.deflate, deflate) < 0)
        return NULL;
    return coir__ws_codec_new(&attr);
}

static void
codec_dealloc(PyObject *op)
{
    coir_ws_free(SELF->ws);
    Py_XDECREF(SELF->close_reason);
    Py_TYPE(op)->tp_free(op);
}

/* --- receiving ----------------------------------------------------------- */

static PyObject *
message_of(CodecObject *c, const coir_ws_event *e)
{
    const Py_ssize_t len = (Py_ssize_t)e->len;
    const char *data = (const char *)e->data;
    switch (e->type) {
    case COIR_WS_CLOSE:
        c->close_code = e->code;
        Py_XSETREF(c->close_reason, PyUnicode_DecodeUTF8(data, len, NULL));
        return c->close_reason != NULL ? Py_NewRef(Py_None) : NULL;
    case COIR_WS_TEXT:
    case COIR_WS_BINARY:
        c->messages_received++;
        c->bytes_received += e->len;
        if (e->type == COIR_WS_TEXT)
            return PyUnicode_DecodeUTF8(data, len, NULL);
        /* fall through */
    default:
        return PyBytes_FromStringAndSize(data, len);
    }
}

int
coir__ws_take(CodecObject *c, char *buf, size_t len, size_t *used, int *type,
              PyObject **out)
{
    coir_ws_event e;
    ssize_t n = coir_ws_receive(c->ws, buf, len, &e);
    if (n < 0) {
        *used = len;
        (void)coir__ws_raise((int)n);
        return -1;
    }
    *used = (size_t)n;
    c->wire_received += (size_t)n;
    *type = e.type;
    if (e.type == 0)
        return 0;
    *out = message_of(c, &e);
    return *out != NULL ? 1 : -1;
}

/* All events of `buf`, into `list`. 0, or -1 with an exception. */
static int
take_all(CodecObject *c, char *buf, size_t len, PyObject *list)
{
    for (;;) {
        size_t used;
        int type;
        PyObject *message;
        int res = coir__ws_take(c, buf, len, &used, &type, &message);
        if (res <= 0)
            return res;
        PyObject *pair;
        if (type == COIR_WS_CLOSE) {
            Py_DECREF(message);
            pair =
                Py_BuildValue("(i(iO))", type, c->close_code, c->close_reason);
        }
        else {
            pair = Py_BuildValue("(iN)", type, message);
        }
        int err = pair != NULL ? PyList_Append(list, pair) : -1;
        Py_XDECREF(pair);
        if (err < 0)
            return -1;
        buf += used;
        len -= used;
    }
}

static PyObject *
codec_receive_data(PyObject *op, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    char *copy = PyMem_Malloc((size_t)view.len + 1);
    PyObject *list = copy != NULL ? PyList_New(0) : PyErr_NoMemory();
    if (copy != NULL && list != NULL) {
        memcpy(copy, view.buf, (size_t)view.len);
        if (take_all(SELF, copy, (size_t)view.len, list) < 0) {
            /* What came before the error is told first; the codec will say
             * the same again. */
            if (PyList_GET_SIZE(list) > 0 &&
                PyErr_ExceptionMatches(coir__ws_protocol_error))
                PyErr_Clear();
            else
                Py_CLEAR(list);
        }
    }
    PyMem_Free(copy);
    PyBuffer_Release(&view);
    return list;
}

PyObject *
coir__ws_due(CodecObject *c)
{
    char buf[COIR_WS_MAX_DUE];
    size_t len = coir_ws_take_due(c->ws, buf);
    c->wire_sent += len;
    return PyBytes_FromStringAndSize(buf, (Py_ssize_t)len);
}

static PyObject *
codec_due(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__ws_due(SELF);
}

/* --- sending ------------------------------------------------------------- */

/* One object of the frame, or two if it is big and not to be copied. */
static int
frame_of(PyObject *message, struct iovec f[2], size_t join_limit,
         PyObject **frame, PyObject **rest)
{
    const size_t head = f[0].iov_len, body = f[1].iov_len;
    const int is_split = body > join_limit && PyBytes_CheckExact(message);
    *rest = NULL;
    *frame = PyBytes_FromStringAndSize(
        NULL, (Py_ssize_t)(is_split ? head : head + body));
    if (*frame == NULL)
        return -1;
    char *to = PyBytes_AS_STRING(*frame);
    memcpy(to, f[0].iov_base, head);
    if (is_split)
        *rest = Py_NewRef(message);
    else if (body > 0)
        memcpy(to + head, f[1].iov_base, body);
    return 0;
}

static int
make(CodecObject *c, PyObject *message, const void *data, size_t len, int type,
     unsigned flags, size_t join_limit, PyObject **frame, PyObject **rest)
{
    struct iovec f[2];
    int err = coir_ws_send(c->ws, type, data, len, flags, f);
    if (err < 0) {
        (void)coir__ws_raise(err);
        return -1;
    }
    if (frame_of(message, f, join_limit, frame, rest) < 0)
        return -1;
    c->wire_sent += f[0].iov_len + f[1].iov_len;
    if (type <= COIR_WS_BINARY) {
        c->bytes_sent += len;
        c->messages_sent += !(flags & COIR_WS_MORE);
    }
    coir_ws_trim(c->ws);
    return 0;
}

int
coir__ws_make(CodecObject *c, PyObject *message, int type, unsigned flags,
              size_t join_limit, PyObject **frame, PyObject **rest)
{
    if (PyUnicode_Check(message)) {
        if (type == 0)
            type = COIR_WS_TEXT;
        if (PyUnicode_IS_COMPACT_ASCII(message) &&
            (size_t)PyUnicode_GET_LENGTH(message) <= join_limit)
            return make(c, message, PyUnicode_DATA(message),
                        (size_t)PyUnicode_GET_LENGTH(message), type,
                        flags | COIR_WS_VALID, join_limit, frame, rest);
        PyObject *bytes = PyUnicode_AsUTF8String(message);
        if (bytes == NULL)
            return -1;
        int err = make(c, bytes, PyBytes_AS_STRING(bytes),
                       (size_t)PyBytes_GET_SIZE(bytes), type,
                       flags | COIR_WS_VALID, join_limit, frame, rest);
        Py_DECREF(bytes);
        return err;
    }
    if (type == 0)
        type = COIR_WS_BINARY;
    Py_buffer view;
    if (PyObject_GetBuffer(message, &view, PyBUF_SIMPLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError,
                         "a message is str or bytes-like, not %.100s",
                         Py_TYPE(message)->tp_name);
        return -1;
    }
    int err = make(c, message, view.buf, (size_t)view.len, type, flags,
                   join_limit, frame, rest);
    PyBuffer_Release(&view);
    return err;
}

static PyObject *
codec_encode(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"message", "more", "compress", "text", NULL};
    PyObject *message, *text = Py_None, *frame, *rest;
    int more = 0, compress = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$ppO:encode", names,
                                     &message, &more, &compress, &text))
        return NULL;
    int type = 0;
    if (text != Py_None) {
        int is_text = PyObject_IsTrue(text);
        if (is_text < 0)
            return NULL;
        type = is_text ? COIR_WS_TEXT : COIR_WS_BINARY;
    }
    const unsigned flags =
        (more ? COIR_WS_MORE : 0U) | (compress ? 0U : (unsigned)COIR_WS_PLAIN);
    if (coir__ws_make(SELF, message, type, flags, SIZE_MAX, &frame, &rest) < 0)
        return NULL;
    return frame;
}

static PyObject *
control(PyObject *op, PyObject *args, int type)
{
    PyObject *data = NULL, *frame, *rest;
    if (!PyArg_ParseTuple(args, type == COIR_WS_PING ? "|O:ping" : "|O:pong",
                          &data))
        return NULL;
    data = data != NULL ? Py_NewRef(data) : PyBytes_FromString("");
    if (data == NULL)
        return NULL;
    int err = coir__ws_make(SELF, data, type, 0, SIZE_MAX, &frame, &rest);
    Py_DECREF(data);
    return err < 0 ? NULL : frame;
}

static PyObject *
codec_ping(PyObject *op, PyObject *args)
{
    return control(op, args, COIR_WS_PING);
}

static PyObject *
codec_pong(PyObject *op, PyObject *args)
{
    return control(op, args, COIR_WS_PONG);
}

static PyObject *
codec_close(PyObject *op, PyObject *args)
{
    int code = 1000;
    const char *reason = "";
    Py_ssize_t len = 0;
    char buf[COIR_WS_MAX_DUE];
    if (!PyArg_ParseTuple(args, "|is#:close", &code, &reason, &len))
        return NULL;
    ssize_t n = coir_ws_close(SELF->ws, code, reason, (size_t)len, buf);
    if (n == COIR_EINVAL) {
        PyErr_Format(PyExc_ValueError,
                     "%d with a reason of %zd bytes cannot be sent", code,
                     len);
        return NULL;
    }
    if (n < 0)
        return coir__ws_raise((int)n);
    SELF->wire_sent += (size_t)n;
    return PyBytes_FromStringAndSize(buf, n);
}

/* --- the type ------------------------------------------------------------ */

#define FLAG(name, expression)                                                \
    static PyObject *get_##name(PyObject *op, void *Py_UNUSED(closure))       \
    {                                                                         \
        return PyBool_FromLong((expression) != 0);                            \
    }
FLAG(sent_close, coir_ws_state(SELF->ws) & COIR_WS_SENT_CLOSE)
FLAG(got_close, coir_ws_state(SELF->ws) & COIR_WS_GOT_CLOSE)
FLAG(failed, coir_ws_state(SELF->ws) & COIR_WS_FAILED)
FLAG(has_due, coir_ws_has_due(SELF->ws))
FLAG(compresses, SELF->attr.deflate.is_on)
#undef FLAG

static PyObject *
get_role(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(SELF->attr.role == COIR_WS_SERVER ? "server"
                                                                  : "client");
}

static PyObject *
get_close_code(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->close_code == 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(SELF->close_code);
}

static PyObject *
get_close_reason(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->close_reason != NULL ? SELF->close_reason
                                                : Py_None);
}

static PyObject *
get_wanted(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(coir_ws_wanted(SELF->ws));
}

static PyObject *
get_statistics(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_BuildValue(
        "{sKsKsKsKsKsK}", "messages_received", SELF->messages_received,
        "messages_sent", SELF->messages_sent, "bytes_received",
        SELF->bytes_received, "bytes_sent", SELF->bytes_sent, "wire_received",
        SELF->wire_received, "wire_sent", SELF->wire_sent);
}

static PyGetSetDef codec_getset[] = {
    {"role", get_role, NULL, "'server' or 'client'.", NULL},
    {"sent_close", get_sent_close, NULL,
     "Was a close frame sent, or is it due?", NULL},
    {"got_close", get_got_close, NULL, "Did one come?", NULL},
    {"failed", get_failed, NULL, "Has the peer broken the protocol?", NULL},
    {"has_due", get_has_due, NULL, "Would due() return something?", NULL},
    {"compresses", get_compresses, NULL, "Is permessage-deflate used?", NULL},
    {"close_code", get_close_code, NULL,
     "Of the close frame that came, 1005 if it had none; None before.", NULL},
    {"close_reason", get_close_reason, NULL, "The same.", NULL},
    {"wanted", get_wanted, NULL,
     "Bytes that are missing of the payload that comes now; after a frame\n"
     "that is too big, its length.",
     NULL},
    {"statistics", get_statistics, NULL,
     "A dict: messages and their bytes, and bytes of frames, in both\n"
     "directions.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef codec_methods[] = {
    {"receive_data", codec_receive_data, METH_O,
     "receive_data($self, data, /)\n--\n\n"
     "Events of what came: (opcode, message) pairs, text as str, the rest as\n"
     "bytes; of a close frame the message is (code, reason)."},
    {"due", codec_due, METH_NOARGS,
     "due($self)\n--\n\n"
     "Frames that are to be sent in answer: pong, close."},
    {"encode", (PyCFunction)(void (*)(void))codec_encode,
     METH_VARARGS | METH_KEYWORDS,
     "encode($self, message, *, more=False, compress=True, text=None)\n--\n\n"
     "The frame of a message, or of a part of one, of which more follows."},
    {"ping", codec_ping, METH_VARARGS,
     "ping($self, data=b'', /)\n--\n\nA ping frame."},
    {"pong", codec_pong, METH_VARARGS,
     "pong($self, data=b'', /)\n--\n\nA pong frame."},
    {"close", codec_close, METH_VARARGS,
     "close($self, code=1000, reason='', /)\n--\n\n"
     "A close frame; with code 0 an empty one."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject coir__ws_codec_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.WebSocketCodec",
    .tp_basicsize = sizeof(CodecObject),
    .tp_dealloc = codec_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "WebSocketCodec(role, *, max_message=1048576, max_frame=None,\n"
              "               max_fragments=65536, deflate=None,\n"
              "               max_unpacked=...)\n\n"
              "Frames to messages and back (RFC 6455, RFC 7692), without "
              "input\nand output.",
    .tp_methods = codec_methods,
    .tp_getset = codec_getset,
    .tp_new = codec_new,
};

static PyObject *
exception(PyObject *module, const char *name, PyObject *bases,
          const char *local)
{
    PyObject *exc = PyErr_NewException(name, bases, NULL);
    if (exc != NULL && PyModule_AddObjectRef(module, local, exc) < 0)
        Py_CLEAR(exc);
    return exc;
}

static int
exceptions_init(PyObject *module)
{
    coir__ws_error = exception(module, "coir.websocket.WebSocketError", NULL,
                               "WebSocketError");
    if (coir__ws_error == NULL)
        return -1;
    PyObject *both = PyTuple_Pack(2, coir__ws_error, PyExc_ConnectionError);
    if (both == NULL)
        return -1;
    coir__ws_protocol_error =
        exception(module, "coir.websocket.ProtocolError", coir__ws_error,
                  "WebSocketProtocolError");
    coir__ws_handshake_error =
        exception(module, "coir.websocket.HandshakeError", coir__ws_error,
                  "WebSocketHandshakeError");
    coir__ws_closed = exception(module, "coir.websocket.ConnectionClosed",
                                both, "WebSocketConnectionClosed");
    Py_DECREF(both);
    return coir__ws_protocol_error != NULL &&
                   coir__ws_handshake_error != NULL && coir__ws_closed != NULL
               ? 0
               : -1;
}

int
coir__websocket_types_init(PyObject *module)
{
    if (coir__ws_error == NULL) {
        if (exceptions_init(module) < 0)
            return -1;
    }
    else if (PyModule_AddObjectRef(module, "WebSocketError", coir__ws_error) <
                 0 ||
             PyModule_AddObjectRef(module, "WebSocketProtocolError",
                                   coir__ws_protocol_error) < 0 ||
             PyModule_AddObjectRef(module, "WebSocketHandshakeError",
                                   coir__ws_handshake_error) < 0 ||
             PyModule_AddObjectRef(module, "WebSocketConnectionClosed",
                                   coir__ws_closed) < 0) {
        return -1;
    }
    if (coir__wsstream_init() < 0 ||
        PyModule_AddIntConstant(module, "WEBSOCKET_DEFLATE",
                                coir_ws_has_deflate()) < 0)
        return -1;
    static const struct {
        PyTypeObject *type;
        const char *name;
    } types[] = {{&coir__ws_codec_type, "WebSocketCodec"},
                 {&coir__ws_handshake_type, "WebSocketHandshake"},
                 {&coir__ws_base_type, "WebSocketBase"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (PyType_Ready(types[i].type) < 0 ||
            PyModule_AddObjectRef(module, types[i].name,
                                  (PyObject *)types[i].type) < 0)
            return -1;
    return 0;
}
