/* wsstream.c - WebSocketBase: a codec on a stream, anything that has
 * recv_into() (or recv()) and sendall(). coir.websocket.WebSocket is made of
 * it.
 *
 * Calls of the stream may switch, or let other threads run. So who receives is
 * marked, and a second one is refused; who sends holds `lock`, from making a
 * frame, which for compressed ones must happen in the order in which they are
 * sent, until it has left. What the codec has due is sent by whoever holds the
 * lock then, before it is released.
 *
 * A send that is interrupted may have left a part of a frame: the connection
 * is broken then, and no frame can follow.
 *
 * The buffer is a bytearray, so that a stream that keeps a view of it cannot
 * come to hold freed memory. It is small while little comes.
 *
 * The subclass is told by its methods: _pong(data), _ended(code, reason),
 * _interrupted(exc). */
#include "websocket.h"

#include <stddef.h>
#include <structmember.h>

#define SMALL_SIZE 4096
#define BIG_SIZE 65536
#define HUGE_SIZE 262144
/* Payloads from this size on are sent by themselves, not copied. */
#define JOIN_LIMIT 65536

typedef struct {
    PyObject_HEAD CodecObject *codec; /* strong; NULL before __init__() */
    PyObject *stream;                 /* strong, as are the others */
    PyObject *recv; /* its recv_into(), or recv() if it lacks that */
    PyObject *sendall;
    PyObject *lock;
    PyObject *before_read; /* called then; or NULL, or None */
    PyObject *buffer;      /* bytearray */
    size_t at, len;        /* in it: what was not looked at yet */
    size_t size;           /* that it is to have */
    int close_code;        /* how it ended; 0: it has not */
    char has_recv_into, is_receiving, is_broken;
    char is_closing; /* who receives is in close(), and drops what comes */
    PyObject *dict;
    PyObject *weakreflist;
} BaseObject;

#define SELF ((BaseObject *)op)

static PyObject *str_acquire, *str_release, *str_pong, *str_ended,
    *str_recv_timed, *str_wait_for_end, *str_interrupted;

/* --- life ---------------------------------------------------------------- */

static int
base_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)SELF->codec);
    Py_VISIT(SELF->stream);
    Py_VISIT(SELF->recv);
    Py_VISIT(SELF->sendall);
    Py_VISIT(SELF->lock);
    Py_VISIT(SELF->before_read);
    Py_VISIT(SELF->buffer);
    Py_VISIT(SELF->dict);
    return 0;
}

static int
base_clear(PyObject *op)
{
    /* The codec stays: methods need it to be there, and it has no cycle. */
    Py_CLEAR(SELF->stream);
    Py_CLEAR(SELF->recv);
    Py_CLEAR(SELF->sendall);
    Py_CLEAR(SELF->lock);
    Py_CLEAR(SELF->before_read);
    Py_CLEAR(SELF->dict);
    return 0;
}

static void
base_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0)
        return;
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)base_clear(op);
    Py_CLEAR(SELF->codec);
    Py_CLEAR(SELF->buffer);
    Py_TYPE(op)->tp_free(op);
}

static int
base_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"stream", "codec", "lock", "initial", NULL};
    PyObject *stream, *codec, *lock;
    const char *initial = "";
    Py_ssize_t len = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!O|y#:WebSocketBase",
                                     names, &stream, &coir__ws_codec_type,
                                     &codec, &lock, &initial, &len))
        return -1;
    if (SELF->codec != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__() was called before");
        return -1;
    }
    PyObject *sendall = PyObject_GetAttrString(stream, "sendall");
    if (sendall == NULL)
        return -1;
    PyObject *recv = PyObject_GetAttrString(stream, "recv_into");
    SELF->has_recv_into = recv != NULL;
    if (recv == NULL) {
        PyErr_Clear();
        recv = PyObject_GetAttrString(stream, "recv");
    }
    PyObject *buffer =
        recv != NULL ? PyByteArray_FromStringAndSize(initial, len) : NULL;
    if (buffer == NULL) {
        Py_DECREF(sendall);
        Py_XDECREF(recv);
        return -1;
    }
    SELF->sendall = sendall;
    SELF->recv = recv;
    SELF->buffer = buffer;
    SELF->len = (size_t)len;
    SELF->size = SMALL_SIZE;
    SELF->stream = Py_NewRef(stream);
    SELF->lock = Py_NewRef(lock);
    SELF->codec = (CodecObject *)Py_NewRef(codec);
    return 0;
}

static int
is_ready(BaseObject *b)
{
    if (b->codec != NULL && b->lock != NULL)
        return 1;
    PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
    return 0;
}

/* --- sending ------------------------------------------------------------- */

static int
call(PyObject *callable, PyObject *arg)
{
    PyObject *func = Py_NewRef(callable);
    PyObject *res = PyObject_CallOneArg(func, arg);
    Py_DECREF(func);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static COIR__COLD int
raise_lost(void)
{
    PyObject *cause = coir__error_take();
    PyObject *exc =
        PyObject_CallFunction(coir__ws_closed, "s", "the connection is lost");
    if (exc == NULL) {
        Py_XDECREF(cause);
        return -1;
    }
    if (cause != NULL)
        PyException_SetCause(exc, cause);
    PyErr_SetObject(coir__ws_closed, exc);
    Py_DECREF(exc);
    return -1;
}

/* With the lock: a frame, or a part of one. */
static int
write_all(BaseObject *b, PyObject *bytes)
{
    if (b->is_broken || b->sendall == NULL)
        return raise_lost();
    if (PyBytes_GET_SIZE(bytes) == 0)
        return 0;
    /* Until it has returned. */
    b->is_broken = 1;
    if (call(b->sendall, bytes) < 0)
        return PyErr_ExceptionMatches(PyExc_ConnectionError) ? raise_lost()
                                                             : -1;
    b->is_broken = 0;
    return 0;
}

static int
write_due(BaseObject *b)
{
    while (coir_ws_has_due(b->codec->ws)) {
        PyObject *due = coir__ws_due(b->codec);
        int err = due == NULL || write_all(b, due) < 0;
        Py_XDECREF(due);
        if (err)
            return -1;
    }
    return 0;
}

static int
acquire(BaseObject *b)
{
    PyObject *res = PyObject_CallMethodNoArgs(b->lock, str_acquire);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* Release the lock, with or without a pending exception, and what became due
 * meanwhile. Returns `err`, or -1. */
static int
release(BaseObject *b, int err)
{
    if (err == 0)
        err = write_due(b);
    PyObject *exc = err < 0 ? coir__error_take() : NULL;
    PyObject *res = b->lock != NULL
                        ? PyObject_CallMethodNoArgs(b->lock, str_release)
                        : Py_NewRef(Py_None);
    if (res == NULL)
        err = -1;
    Py_XDECREF(res);
    if (exc != NULL)
        coir__error_give(exc);
    return err;
}

static int
send_due(BaseObject *b)
{
    if (!coir_ws_has_due(b->codec->ws))
        return 0;
    return acquire(b) < 0 ? -1 : release(b, 0);
}

/* With the lock: a message or a part of it. */
static int
send_part(BaseObject *b, PyObject *message, int type, unsigned flags)
{
    PyObject *frame, *rest;
    if (b->is_broken)
        return raise_lost();
    if (coir__ws_make(b->codec, message, type, flags, JOIN_LIMIT, &frame,
                      &rest) < 0)
        return -1;
    int err = write_all(b, frame);
    if (err == 0 && rest != NULL)
        err = write_all(b, rest);
    Py_DECREF(frame);
    Py_XDECREF(rest);
    return err;
}

static PyObject *
base_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    unsigned flags = 0;
    if (!is_ready(SELF))
        return NULL;
    const Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs != 1 || nkw > 1 ||
        (nkw == 1 && PyUnicode_CompareWithASCIIString(
                         PyTuple_GET_ITEM(kwnames, 0), "compress") != 0)) {
        PyErr_SetString(PyExc_TypeError,
                        "send() takes a message and compress=");
        return NULL;
    }
    if (nkw == 1) {
        int compress = PyObject_IsTrue(args[1]);
        if (compress < 0)
            return NULL;
        flags = compress ? 0 : COIR_WS_PLAIN;
    }
    Py_INCREF(op);
    int err = acquire(SELF);
    if (err == 0)
        err = release(SELF, send_part(SELF, args[0], 0, flags));
    Py_DECREF(op);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

static int
send_all_parts(BaseObject *b, PyObject *it)
{
    int type = 0, err = 0;
    PyObject *part = NULL, *next;
    while (err == 0 && (next = PyIter_Next(it)) != NULL) {
        if (part == NULL)
            type = PyUnicode_Check(next) ? COIR_WS_TEXT : COIR_WS_BINARY;
        else
            err = send_part(b, part, type, COIR_WS_MORE);
        if (err == 0)
            err = write_due(b);
        Py_XSETREF(part, next);
    }
    if (err == 0 && PyErr_Occurred()) {
        /* The peer has a part of a message, which nothing can take back. */
        err = -1;
        b->is_broken = part != NULL;
    }
    if (err == 0 && part == NULL) {
        PyErr_SetString(PyExc_ValueError, "a message of no parts");
        err = -1;
    }
    if (err == 0)
        err = send_part(b, part, type, 0);
    Py_XDECREF(part);
    return err;
}

static PyObject *
base_send_parts(PyObject *op, PyObject *parts)
{
    if (!is_ready(SELF))
        return NULL;
    PyObject *it = PyObject_GetIter(parts);
    if (it == NULL)
        return NULL;
    Py_INCREF(op);
    int err = acquire(SELF);
    if (err == 0)
        err = release(SELF, send_all_parts(SELF, it));
    Py_DECREF(op);
    Py_DECREF(it);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

/* Call what makes a control frame, with the lock, and send that. */
static PyObject *
base_send_control(PyObject *op, PyObject *args)
{
    if (!is_ready(SELF))
        return NULL;
    if (PyTuple_GET_SIZE(args) < 1) {
        PyErr_SetString(PyExc_TypeError, "_send_control() needs a name");
        return NULL;
    }
    PyObject *method =
        PyObject_GetAttr((PyObject *)SELF->codec, PyTuple_GET_ITEM(args, 0));
    PyObject *rest = PyTuple_GetSlice(args, 1, PY_SSIZE_T_MAX);
    Py_INCREF(op);
    int err = method == NULL || rest == NULL || acquire(SELF) < 0 ? -1 : 0;
    if (err == 0) {
        PyObject *frame = PyObject_Call(method, rest, NULL);
        err = frame != NULL ? write_all(SELF, frame) : -1;
        Py_XDECREF(frame);
        err = release(SELF, err);
    }
    Py_DECREF(op);
    Py_XDECREF(method);
    Py_XDECREF(rest);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- receiving ----------------------------------------------------------- */

/* It is over. 0, or -1 with an exception. */
static int
end(BaseObject *b, int code, const char *text)
{
    if (b->close_code != 0)
        return 0;
    b->close_code = code;
    PyObject *reason = b->codec->close_reason != NULL
                           ? Py_NewRef(b->codec->close_reason)
                           : PyUnicode_FromString(text);
    PyObject *res = NULL;
    if (reason != NULL) {
        PyObject *number = PyLong_FromLong(code);
        if (number != NULL)
            res = PyObject_CallMethodObjArgs((PyObject *)b, str_ended, number,
                                             reason, NULL);
        Py_XDECREF(number);
    }
    Py_XDECREF(reason);
    Py_XDECREF(res);
    b->is_broken = 1;
    return res != NULL ? 0 : -1;
}

/* The peer has broken the protocol: say so, and raise what is pending. */
static COIR__COLD PyObject *
receiving_failed(BaseObject *b)
{
    PyObject *exc = coir__error_take();
    PyObject *args = exc != NULL ? PyObject_GetAttrString(exc, "args") : NULL;
    PyErr_Clear();
    int code = 1011;
    if (args != NULL && PyTuple_Check(args) && PyTuple_GET_SIZE(args) == 2 &&
        PyLong_Check(PyTuple_GET_ITEM(args, 0)))
        code = (int)PyLong_AsLong(PyTuple_GET_ITEM(args, 0));
    Py_XDECREF(args);
    if (send_due(b) < 0)
        PyErr_Clear();
    if (end(b, code, "") < 0)
        PyErr_Clear();
    coir__error_give(exc);
    return NULL;
}

/* 0: go on; 1: it was the end; -1: an exception. The message is used up. */
static int
control_came(BaseObject *b, int type, PyObject *message)
{
    int err = 0;
    if (type == COIR_WS_PING) {
        err = send_due(b);
        /* Who has closed its side to us may still have sent messages. */
        if (err < 0 && PyErr_ExceptionMatches(coir__ws_closed)) {
            PyErr_Clear();
            err = 0;
        }
    }
    else if (type == COIR_WS_PONG) {
        PyObject *res =
            PyObject_CallMethodOneArg((PyObject *)b, str_pong, message);
        Py_XDECREF(res);
        err = res != NULL ? 0 : -1;
    }
    else {
        if (send_due(b) < 0) {
            if (!PyErr_ExceptionMatches(coir__ws_closed)) {
                Py_DECREF(message);
                return -1;
            }
            PyErr_Clear();
        }
        err = end(b, b->codec->close_code, "") < 0 ? -1 : 1;
    }
    Py_DECREF(message);
    return err;
}

/* Room in the buffer for what comes next. */
static int
make_room(BaseObject *b)
{
    const uint64_t wanted = coir_ws_wanted(b->codec->ws);
    size_t size = b->size;
    if (wanted > size)
        size = wanted > HUGE_SIZE ? HUGE_SIZE : (size_t)wanted;
    b->at = b->len = 0;
    if ((size_t)PyByteArray_GET_SIZE(b->buffer) == size)
        return 0;
    if (PyByteArray_Resize(b->buffer, (Py_ssize_t)size) == 0)
        return 0;
    PyErr_Clear(); /* somebody has a view of it */
    PyObject *buffer = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (buffer == NULL)
        return -1;
    Py_SETREF(b->buffer, buffer);
    return 0;
}

static Py_ssize_t
read_into(BaseObject *b, PyObject *buffer)
{
    PyObject *recv = Py_NewRef(b->recv), *res;
    const Py_ssize_t size = PyByteArray_GET_SIZE(buffer);
    Py_ssize_t n = -1;
    if (b->has_recv_into) {
        res = PyObject_CallOneArg(recv, buffer);
        if (res != NULL)
            n = PyNumber_AsSsize_t(res, PyExc_OverflowError);
    }
    else {
        PyObject *number = PyLong_FromSsize_t(size);
        res = number != NULL ? PyObject_CallOneArg(recv, number) : NULL;
        Py_XDECREF(number);
        char *data;
        if (res != NULL && PyBytes_AsStringAndSize(res, &data, &n) < 0)
            n = -1;
        else if (res != NULL && n <= size &&
                 PyByteArray_GET_SIZE(buffer) == size)
            memcpy(PyByteArray_AS_STRING(buffer), data, (size_t)n);
    }
    Py_XDECREF(res);
    Py_DECREF(recv);
    if (n > PyByteArray_GET_SIZE(buffer) || (n < 0 && !PyErr_Occurred())) {
        PyErr_SetString(PyExc_ValueError, "the stream gave a wrong length");
        return -1;
    }
    return n;
}

/* Reading has failed by a ConnectionError. 0: so it is lost; 1: read again, as
 * it was only the server that stops; -1. */
static COIR__COLD Py_ssize_t
lost(BaseObject *b)
{
    PyObject *exc = coir__error_take();
    PyObject *res =
        PyObject_CallMethodOneArg((PyObject *)b, str_interrupted, exc);
    int goes_on = res != NULL ? PyObject_IsTrue(res) : -1;
    Py_XDECREF(res);
    Py_XDECREF(exc);
    if (goes_on == 0)
        b->is_broken = 1;
    return goes_on;
}

/* Read. How much (or 1 for nothing yet); 0: the end, also if the connection
 * was lost; -1. */
static Py_ssize_t
fill(BaseObject *b)
{
    if (b->recv == NULL)
        return 0;
    if (COIR__UNLIKELY(b->before_read != NULL && b->before_read != Py_None)) {
        PyObject *func = Py_NewRef(b->before_read);
        PyObject *res = PyObject_CallNoArgs(func);
        Py_DECREF(func);
        Py_XDECREF(res);
        if (res == NULL)
            return -1;
    }
    if (make_room(b) < 0)
        return -1;
    PyObject *buffer = Py_NewRef(b->buffer);
    const size_t size = (size_t)PyByteArray_GET_SIZE(buffer);
    Py_ssize_t n = read_into(b, buffer);
    Py_DECREF(buffer);
    if (n < 0) {
        if (!PyErr_ExceptionMatches(PyExc_ConnectionError))
            return -1;
        return lost(b);
    }
    b->len = (size_t)n;
    if ((size_t)n == size && b->size < BIG_SIZE)
        b->size *= 4;
    else if ((size_t)n <= SMALL_SIZE / 2)
        b->size = SMALL_SIZE;
    return n;
}

static PyObject *
receive(BaseObject *b)
{
    while (b->close_code == 0) {
        if (b->at < b->len) {
            size_t used;
            int type;
            PyObject *message;
            int res = coir__ws_take(b->codec,
                                    PyByteArray_AS_STRING(b->buffer) + b->at,
                                    b->len - b->at, &used, &type, &message);
            b->at += used;
            if (COIR__UNLIKELY(res < 0))
                return receiving_failed(b);
            if (res > 0) {
                if (COIR__LIKELY(type <= COIR_WS_BINARY))
                    return message;
                if (control_came(b, type, message) < 0)
                    return NULL;
                continue;
            }
        }
        Py_ssize_t n = fill(b);
        if (n < 0 || (n == 0 && end(b, 1006, "the connection is lost") < 0))
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
receive_alone(PyObject *op)
{
    if (!is_ready(SELF))
        return NULL;
    if (SELF->is_receiving && SELF->is_closing)
        return PyObject_CallMethodNoArgs(op, str_wait_for_end);
    if (SELF->is_receiving) {
        PyErr_SetString(PyExc_RuntimeError,
                        "somebody else receives from this WebSocket");
        return NULL;
    }
    SELF->is_receiving = 1;
    Py_INCREF(op);
    PyObject *message = receive(SELF);
    SELF->is_receiving = 0;
    Py_DECREF(op);
    return message;
}

static PyObject *
base_recv(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    const Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs + nkw > 1 ||
        (nkw == 1 && PyUnicode_CompareWithASCIIString(
                         PyTuple_GET_ITEM(kwnames, 0), "timeout") != 0)) {
        PyErr_SetString(PyExc_TypeError, "recv() takes timeout=");
        return NULL;
    }
    if (nargs + nkw == 1 && args[0] != Py_None)
        return PyObject_CallMethodOneArg(op, str_recv_timed, args[0]);
    return receive_alone(op);
}

static PyObject *
base_iternext(PyObject *op)
{
    PyObject *message = receive_alone(op);
    if (message != Py_None)
        return message;
    Py_DECREF(message);
    return NULL;
}

/* --- the type ------------------------------------------------------------ */

static PyObject *
base_end(PyObject *op, PyObject *args)
{
    int code;
    const char *text = "";
    if (!is_ready(SELF) || !PyArg_ParseTuple(args, "i|s:_end", &code, &text))
        return NULL;
    return end(SELF, code, text) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
get_close_code(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->close_code == 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(SELF->close_code);
}

static PyObject *
get_is_receiving(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->is_receiving);
}

static PyObject *
get_is_broken(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->is_broken);
}

static PyObject *
get_has_input(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->at < SELF->len);
}

static PyGetSetDef base_getset[] = {
    {"close_code", get_close_code, NULL,
     "How it ended: the code of the peer's close frame, 1005 if that had\n"
     "none, 1006 if there was no close frame, the code that the peer was\n"
     "sent for an error; None while it has not ended.",
     NULL},
    {"_is_receiving", get_is_receiving, NULL, "Is somebody in recv()?", NULL},
    {"_is_broken", get_is_broken, NULL, "Can nothing be sent any more?", NULL},
    {"_has_input", get_has_input, NULL,
     "Were bytes read that were not looked at?", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef base_members[] = {
    {"stream", T_OBJECT, offsetof(BaseObject, stream), READONLY,
     "What it was made on."},
    {"codec", T_OBJECT, offsetof(BaseObject, codec), READONLY,
     "Its WebSocketCodec."},
    {"_before_read", T_OBJECT, offsetof(BaseObject, before_read), 0,
     "Called before each read, unless None."},
    {"_is_closing", T_BOOL, offsetof(BaseObject, is_closing), 0,
     "Whoever receives from now on waits for the end."},
    {NULL, 0, 0, 0, NULL},
};

#define FAST (PyCFunction)(void (*)(void))

static PyMethodDef base_methods[] = {
    {"recv", FAST base_recv, METH_FASTCALL | METH_KEYWORDS,
     "recv($self, timeout=None)\n--\n\n"
     "The next message; None at the end."},
    {"send", FAST base_send, METH_FASTCALL | METH_KEYWORDS,
     "send($self, message, *, compress=True)\n--\n\n"
     "Send str as text, bytes-like as binary."},
    {"send_parts", base_send_parts, METH_O,
     "send_parts($self, parts, /)\n--\n\n"
     "Send one message in fragments, as an iterable gives them."},
    {"_send_control", base_send_control, METH_VARARGS,
     "_send_control($self, name, /, *args)\n--\n\nSend what codec.name(*args) "
     "is."},
    {"_end", base_end, METH_VARARGS,
     "_end($self, code, text='', /)\n--\n\nIt has ended, unless it had "
     "before."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject coir__ws_base_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.WebSocketBase",
    .tp_basicsize = sizeof(BaseObject),
    .tp_dealloc = base_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "WebSocketBase(stream, codec, lock, initial=b'')\n--\n\n"
              "A codec on a stream. `initial`: what was read of it already.",
    .tp_traverse = base_traverse,
    .tp_clear = base_clear,
    .tp_weaklistoffset = offsetof(BaseObject, weakreflist),
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = base_iternext,
    .tp_methods = base_methods,
    .tp_members = base_members,
    .tp_getset = base_getset,
    .tp_dictoffset = offsetof(BaseObject, dict),
    .tp_init = base_init,
    .tp_new = PyType_GenericNew,
};

int
coir__wsstream_init(void)
{
    static const coir_name names[] = {{&str_acquire, "acquire"},
                                      {&str_release, "release"},
                                      {&str_pong, "_pong"},
                                      {&str_ended, "_ended"},
                                      {&str_recv_timed, "_recv_timed"},
                                      {&str_wait_for_end, "_wait_for_end"},
                                      {&str_interrupted, "_interrupted"}};
    return coir__intern(names, sizeof names / sizeof *names);
}
