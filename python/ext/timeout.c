/* timeout.c - the type Timeout, and sleep().
 *
 * A Timeout that is pending stands in the list of its loop, has an active
 * timer there, and once that has fired, a place in the ready queue. What takes
 * it out of these, cancel() or the end of a `with`, can be sure that it is not
 * raised any more. While it is pending it is kept alive, and so is the
 * greenlet it is for. */
#include "timeout.h"

#include <math.h>

/* --- Timeout ------------------------------------------------------------- */

#define SELF ((TimeoutObject *)op)

void
coir__timeout_stop(TimeoutObject *self)
{
    LoopObject *loop = self->loop;
    if (loop == NULL)
        return;
    GreenletObject *green = self->green;
    PyObject *throws = self->throws;
    PyObject *by = self->by;
    self->loop = NULL;
    self->green = NULL;
    self->throws = NULL;
    self->by = NULL;
    coir__list_remove(&self->node);
    coir__list_remove(&self->ready.node);
    if (loop->loop != NULL &&
        (coir_is_active(&self->timer) || coir_is_pending(&self->timer))) {
        if (!self->ref && coir_is_active(&self->timer))
            coir_loop_ref(loop->loop);
        coir_timer_stop(loop->loop, &self->timer);
    }
    self->timer.active = self->timer.pending = 0;
    if (COIR__UNLIKELY(by != NULL)) {
        coir__standin_stop(by);
        Py_DECREF(by);
    }
    Py_DECREF(loop);
    Py_DECREF(green);
    Py_XDECREF(throws);
    Py_DECREF(self); /* being pending */
}

void
coir__timeout_stop_node(coir_node *n)
{
    coir__timeout_stop(
        (TimeoutObject *)((char *)n - offsetof(TimeoutObject, node)));
}

GreenletObject *
coir__timeout_of(coir_node *n)
{
    return ((TimeoutObject *)((char *)n - offsetof(TimeoutObject, node)))
        ->green;
}

static void
time_is_over(coir_loop *loop, coir_timer *timer, int Py_UNUSED(revents))
{
    TimeoutObject *self = timer->data;
    if (!self->ref)
        coir_loop_ref(loop); /* it counted as long as it was active */
    coir__loop_due(self->loop, &self->ready, timer);
}

static int
is_exception(PyObject *exc)
{
    return PyExceptionInstance_Check(exc) || PyExceptionClass_Check(exc);
}

/* What greenlets of a thread get by throw(); errors go to the hub. */
static void throw(LoopObject * loop, PyObject *self, GreenletObject *green,
                  PyObject *exc)
{
    PyObject *res;
    if (is_exception(exc)) {
        res = coir__greenlet_throw(green, exc, NULL, NULL);
    }
    else {
        PyObject *text = PyUnicode_FromFormat(
            "exceptions must be classes, or instances, not %s",
            Py_TYPE(exc)->tp_name);
        res = text != NULL
                  ? coir__greenlet_throw(green, PyExc_TypeError, text, NULL)
                  : NULL;
        Py_XDECREF(text);
    }
    if (res == NULL)
        coir__loop_error(loop, self);
    Py_XDECREF(res);
}

static PyObject *timeout_on_expiration(PyObject *op, PyObject *const *args,
                                       Py_ssize_t nargs, PyObject *kwnames);

/* Raise it, by way of _on_expiration() where a subclass has its own. */
static void
deliver(coir_ready *r, LoopObject *loop)
{
    TimeoutObject *self =
        (TimeoutObject *)((char *)r - offsetof(TimeoutObject, ready));
    PyObject *op = Py_NewRef((PyObject *)self);
    GreenletObject *green =
        (GreenletObject *)Py_NewRef((PyObject *)self->green);
    PyObject *throws = Py_NewRef(self->throws != NULL ? self->throws : op);
    coir__timeout_stop(self);
    if (Py_TYPE(op) == &coir__timeout_type ||
        !PyObject_TypeCheck(op, &coir__timeout_type)) {
        if (green->block->state != GREENLET_DEAD)
            throw(loop, op, green, throws);
    }
    else {
        PyObject *res = PyObject_CallMethod(op, "_on_expiration", "OO",
                                            (PyObject *)green, throws);
        if (res == NULL)
            coir__loop_error(loop, op);
        Py_XDECREF(res);
    }
    Py_DECREF(green);
    Py_DECREF(throws);
    Py_DECREF(op);
}

static void
drop(coir_ready *r)
{
    coir__timeout_stop(
        (TimeoutObject *)((char *)r - offsetof(TimeoutObject, ready)));
}

static const coir_ready_kind deliver_kind = {deliver, drop, NULL};

static PyObject *
timeout_on_expiration(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    static const char *const names[] = {"prev_greenlet", "ex"};
    PyObject *in[] = {NULL, NULL};
    if (coir__arguments("_on_expiration", names, 2, args, nargs, kwnames, in) <
        0)
        return NULL;
    if (in[0] == NULL || in[1] == NULL || !greenlet_check(in[0])) {
        PyErr_SetString(PyExc_TypeError,
                        "_on_expiration() takes a greenlet and an exception");
        return NULL;
    }
    GreenletObject *green = (GreenletObject *)in[0];
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return NULL;
    if (green->block->state != GREENLET_DEAD)
        throw(hub->loop, op, green, in[1]);
    Py_RETURN_NONE;
}

/* Pending in the loop, for the running greenlet. */
static void
be_pending(TimeoutObject *self, coir_pythread *t, LoopObject *loop,
           PyObject *throws)
{
    coir__timeout_stop(self); /* in a loop that was destroyed */
    self->throws = Py_XNewRef(throws);
    self->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    self->green = (GreenletObject *)Py_NewRef((PyObject *)t->current);
    Py_INCREF(self);
    coir__list_append(&loop->timeouts, &self->node);
}

void
coir__timeout_start(TimeoutObject *self, coir_pythread *t, HubObject *hub,
                    PyObject *throws)
{
    LoopObject *loop = hub->loop;
    be_pending(self, t, loop, throws);
    coir_loop_now_update(loop->loop);
    coir_timer_init(&self->timer, time_is_over, self->ns, 0);
    self->timer.data = self;
    self->timer.priority = self->priority;
    coir_timer_start(loop->loop, &self->timer);
    coir__loop_armed(loop);
    if (!self->ref)
        coir_loop_unref(loop->loop);
}

static PyObject *
is_over(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->by != NULL && SELF->loop != NULL &&
        SELF->ready.node.list == NULL)
        coir__loop_ready(SELF->loop, &SELF->ready);
    Py_RETURN_NONE;
}

static PyMethodDef is_over_def = {"is_over", is_over, METH_NOARGS, NULL};

/* The same by a timer of what stands in the loop's place. */
static COIR__COLD int
start_by_stand_in(TimeoutObject *self, coir_pythread *t, LoopObject *loop,
                  PyObject *throws)
{
    PyObject *timer =
        coir__standin_timer(loop, self->seconds, self->ref, self->priority);
    PyObject *func = PyCFunction_New(&is_over_def, (PyObject *)self);
    int err = -1;
    if (timer != NULL && func != NULL && loop->loop != NULL) {
        be_pending(self, t, loop, throws);
        self->by = Py_NewRef(timer);
        err = coir__standin_start(timer, func);
    }
    if (err < 0) {
        PyObject *exc = coir__error_take();
        coir__timeout_stop(self);
        coir__error_give(exc);
    }
    Py_XDECREF(func);
    Py_XDECREF(timer);
    return err;
}

static int
start(TimeoutObject *self)
{
    if (coir__timeout_is_pending(self)) {
        PyErr_Format(PyExc_AssertionError,
                     "%R is already started; to restart it, cancel it first",
                     (PyObject *)self);
        return -1;
    }
    if (self->ns == COIR_FOREVER)
        return 0;
    if (self->closed) {
        PyErr_Format(PyExc_AssertionError, "%R was closed", (PyObject *)self);
        return -1;
    }
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    PyObject *exc = self->exception;
    if (exc == Py_None || exc == Py_False || PyUnicode_Check(exc))
        exc = NULL;
    if (COIR__UNLIKELY(hub->loop->stand_in != NULL))
        return start_by_stand_in(self, t, hub->loop, exc);
    coir__timeout_start(self, t, hub, exc);
    return 0;
}

/* Seconds, exception, ref, priority, _one_shot. */
enum { SECONDS, EXCEPTION, REF, PRIORITY, ONE_SHOT, FIELDS };

static const char *const init_names[] = {"seconds", "exception", "ref",
                                         "priority", "_one_shot"};

static int
set_fields(TimeoutObject *self, PyObject *const *in)
{
    int64_t ns = COIR_FOREVER;
    PyObject *seconds = in[SECONDS] != NULL ? in[SECONDS] : Py_None;
    if (seconds != Py_None && coir__timeout_ns(seconds, &ns) < 0)
        return -1;
    int ref = in[REF] != NULL ? PyObject_IsTrue(in[REF]) : 1;
    int one = in[ONE_SHOT] != NULL ? PyObject_IsTrue(in[ONE_SHOT]) : 0;
    long priority = in[PRIORITY] != NULL && in[PRIORITY] != Py_None
                        ? PyLong_AsLong(in[PRIORITY])
                        : -1;
    if (ref < 0 || one < 0 || (priority == -1 && PyErr_Occurred()))
        return -1;
    self->ns = ns;
    self->ref = (char)ref;
    self->one_shot = (char)one;
    self->closed = 0;
    self->priority = priority < COIR_MINPRI   ? COIR_MINPRI
                     : priority > COIR_MAXPRI ? COIR_MAXPRI
                                              : (int)priority;
    Py_XSETREF(self->seconds, Py_NewRef(seconds));
    Py_XSETREF(self->exception,
               Py_NewRef(in[EXCEPTION] != NULL ? in[EXCEPTION] : Py_None));
    return 0;
}

PyObject *
coir__timeout_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                  PyObject *Py_UNUSED(kwargs))
{
    TimeoutObject *self = (TimeoutObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->base.args = Py_NewRef(coir__core.empty_tuple);
    self->seconds = Py_NewRef(Py_None);
    self->exception = Py_NewRef(Py_None);
    self->ns = COIR_FOREVER;
    self->ready.kind = &deliver_kind;
    self->ref = 1;
    self->priority = -1;
    return (PyObject *)self;
}

static int
timeout_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *in[FIELDS] = {NULL};
    if (coir__tuple_arguments("Timeout", init_names, FIELDS, args, kwargs,
                              in) < 0)
        return -1;
    coir__timeout_stop(SELF);
    Py_XSETREF(SELF->base.args, Py_NewRef(coir__core.empty_tuple));
    return set_fields(SELF, in);
}

static TimeoutObject *
make(PyObject *const *in)
{
    PyObject *op = coir__timeout_new(&coir__timeout_type, NULL, NULL);
    if (op != NULL && set_fields(SELF, in) < 0)
        Py_CLEAR(op);
    return SELF;
}

static PyObject *
timeout_vectorcall(PyObject *Py_UNUSED(type), PyObject *const *args,
                   size_t nargsf, PyObject *kwnames)
{
    PyObject *in[FIELDS] = {NULL};
    if (coir__arguments("Timeout", init_names, FIELDS, args,
                        PyVectorcall_NARGS(nargsf), kwnames, in) < 0)
        return NULL;
    return (PyObject *)make(in);
}

/* An instance of a subclass, as cls(seconds, exception, ref=..). */
static PyObject *
make_subclass(PyObject *cls, PyObject *const *in)
{
    PyObject *args = PyTuple_Pack(2, in[SECONDS] ? in[SECONDS] : Py_None,
                                  in[EXCEPTION] ? in[EXCEPTION] : Py_None);
    PyObject *kwargs =
        Py_BuildValue("{s:O,s:O}", "ref", in[REF] ? in[REF] : Py_True,
                      "_one_shot", in[ONE_SHOT] ? in[ONE_SHOT] : Py_False);
    PyObject *op = args != NULL && kwargs != NULL
                       ? PyObject_Call(cls, args, kwargs)
                       : NULL;
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return op;
}

static PyObject *
call_start(PyObject *op)
{
    if (Py_TYPE(op) == &coir__timeout_type) {
        if (start(SELF) < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    return PyObject_CallMethod(op, "start", NULL);
}

/* Start one that was given or made: steals it. */
static PyObject *
started(PyObject *op)
{
    if (op == NULL)
        return NULL;
    PyObject *res = call_start(op);
    if (res == NULL)
        Py_CLEAR(op);
    Py_XDECREF(res);
    return op;
}

static PyObject *
start_new(PyObject *cls, PyObject *const *in)
{
    PyObject *op = in[SECONDS];
    if (op != NULL && PyObject_TypeCheck(op, &coir__timeout_type)) {
        Py_INCREF(op);
        return coir__timeout_is_pending(SELF) ? op : started(op);
    }
    return started(cls == (PyObject *)&coir__timeout_type
                       ? (PyObject *)make(in)
                       : make_subclass(cls, in));
}

static PyObject *
timeout_start_new(PyObject *cls, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    static const char *const names[] = {"timeout", "exception", "ref",
                                        "_one_shot"};
    PyObject *in[FIELDS] = {NULL};
    if (coir__arguments("start_new", names, 4, args, nargs, kwnames, in) < 0)
        return NULL;
    in[ONE_SHOT] = in[PRIORITY];
    in[PRIORITY] = NULL;
    return start_new(cls, in);
}

static PyObject *
timeout_start_new_or_dummy(PyObject *Py_UNUSED(module), PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"timeout", "exception", "ref"};
    PyObject *in[FIELDS] = {NULL};
    if (coir__arguments("_start_new_or_dummy", names, 3, args, nargs, kwnames,
                        in) < 0)
        return NULL;
    in[ONE_SHOT] = Py_True;
    return start_new((PyObject *)&coir__timeout_type, in);
}

static PyObject *
timeout_start(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (start(SELF) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
timeout_cancel(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->one_shot)
        SELF->closed = 1;
    coir__timeout_stop(SELF);
    Py_RETURN_NONE;
}

static PyObject *
timeout_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    SELF->closed = 1;
    coir__timeout_stop(SELF);
    Py_RETURN_NONE;
}

static PyObject *
timeout_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (coir__timeout_is_pending(SELF))
        return Py_NewRef(op);
    return started(Py_NewRef(op));
}

PyObject *
coir__timeout_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *res)
{
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    if (nargs > 1 && args[1] == op && SELF->exception == Py_False)
        Py_RETURN_TRUE;
    Py_RETURN_NONE;
}

static PyObject *
timeout_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    return coir__timeout_exit(op, args, nargs,
                              Py_IS_TYPE(op, &coir__timeout_type)
                                  ? timeout_close(op, NULL)
                                  : PyObject_CallMethod(op, "close", NULL));
}

PyObject *
coir__timeout_get_pending(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(coir__timeout_is_pending(SELF));
}

PyObject *
coir__timeout_get(PyObject *op, void *closure)
{
    return Py_NewRef(closure == NULL ? SELF->seconds : SELF->exception);
}

static int
timeout_set(PyObject *op, PyObject *value, void *closure)
{
    PyObject **field = closure == NULL ? &SELF->seconds : &SELF->exception;
    Py_XSETREF(*field, Py_NewRef(value != NULL ? value : Py_None));
    return 0;
}

PyObject *
coir__timeout_repr(PyObject *op)
{
    PyObject *exc = SELF->exception;
    const char *pending = coir__timeout_is_pending(SELF) ? " pending" : "";
    const char *name = coir__type_name(Py_TYPE(op));
    if (exc == Py_None)
        return PyUnicode_FromFormat("<%s at %p seconds=%S%s>", name, op,
                                    SELF->seconds, pending);
    return PyUnicode_FromFormat("<%s at %p seconds=%S exception=%R%s>", name,
                                op, SELF->seconds, exc, pending);
}

PyObject *
coir__timeout_text(const TimeoutObject *self, int has_more,
                   const char *with_more)
{
    PyObject *seconds = self->seconds, *exc = self->exception;
    if (seconds == Py_None)
        return PyUnicode_FromString("");
    PyObject *one = PyLong_FromLong(1);
    int is_one =
        one != NULL ? PyObject_RichCompareBool(seconds, one, Py_EQ) : -1;
    Py_XDECREF(one);
    if (is_one < 0)
        return NULL;
    const char *s = is_one ? "" : "s";
    if (exc == Py_False)
        return PyUnicode_FromFormat("%S second%s (silent)", seconds, s);
    if (!has_more)
        return PyUnicode_FromFormat("%S second%s", seconds, s);
    return PyUnicode_FromFormat(with_more, seconds, s, exc);
}

static PyObject *
timeout_str(PyObject *op)
{
    return coir__timeout_text(SELF, SELF->exception != Py_None,
                              "%S second%s: %S");
}

static PyObject *
timeout_str_method(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return timeout_str(op);
}

static PyObject *
timeout_compare(PyObject *op, PyObject *other, int what)
{
    if (what != Py_LT)
        return PyBaseObject_Type.tp_richcompare(op, other, what);
    PyObject *seconds = PyObject_GetAttrString(other, "seconds");
    if (seconds == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return NULL;
        PyErr_Clear();
        seconds = Py_NewRef(other);
    }
    PyObject *res = PyObject_RichCompare(SELF->seconds, seconds, Py_LT);
    Py_DECREF(seconds);
    if (res == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        Py_RETURN_NOTIMPLEMENTED;
    }
    return res;
}

int
coir__timeout_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->seconds);
    Py_VISIT(SELF->exception);
    Py_VISIT(SELF->loop);
    Py_VISIT(SELF->green);
    Py_VISIT(SELF->throws);
    Py_VISIT(SELF->by);
    return ((PyTypeObject *)PyExc_BaseException)->tp_traverse(op, visit, arg);
}

/* Being pending is a reference the collector does not see, so it is not. */
int
coir__timeout_clear(PyObject *op)
{
    Py_XSETREF(SELF->seconds, Py_NewRef(Py_None));
    Py_XSETREF(SELF->exception, Py_NewRef(Py_None));
    return ((PyTypeObject *)PyExc_BaseException)->tp_clear(op);
}

void
coir__timeout_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    Py_CLEAR(SELF->seconds);
    Py_CLEAR(SELF->exception);
    PyObject_GC_Track(op);
    ((PyTypeObject *)PyExc_BaseException)->tp_dealloc(op);
}

/* A copy has the same seconds and exception, and is not pending. */
static PyObject *
timeout_reduce(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *dict = ((PyBaseExceptionObject *)op)->dict;
    PyObject *state = dict != NULL ? PyDict_Copy(dict) : PyDict_New();
    PyObject *args = PyObject_GetAttrString(op, "args");
    PyObject *res = NULL;
    if (state != NULL && args != NULL &&
        PyDict_SetItemString(state, "seconds", SELF->seconds) == 0 &&
        PyDict_SetItemString(state, "exception", SELF->exception) == 0)
        res = PyTuple_Pack(3, Py_TYPE(op), args, state);
    Py_XDECREF(state);
    Py_XDECREF(args);
    return res;
}

static PyObject *
timeout_setstate(PyObject *op, PyObject *state)
{
    int64_t ns = SELF->ns;
    PyObject *seconds =
        PyDict_Check(state) ? PyDict_GetItemString(state, "seconds") : NULL;
    if (seconds != NULL && coir__timeout_ns(seconds, &ns) < 0)
        return NULL;
    PyObject *res = PyObject_CallMethod(PyExc_BaseException, "__setstate__",
                                        "OO", op, state);
    if (res != NULL)
        SELF->ns = ns;
    return res;
}

#define FAST (PyCFunction)(void (*)(void))

static PyMethodDef timeout_methods[] = {
    {"__setstate__", timeout_setstate, METH_O, "Of a copy."},
    {"__reduce__", timeout_reduce, METH_NOARGS,
     "For copies, which are not pending."},
    {"start", timeout_start, METH_NOARGS,
     "start($self)\n--\n\n"
     "From now on, after `seconds`, it is raised in the calling greenlet."},
    {"start_new", FAST timeout_start_new,
     METH_FASTCALL | METH_KEYWORDS | METH_CLASS,
     "start_new($type, timeout=None, exception=None, ref=True, "
     "_one_shot=False)\n--\n\n"
     "A new one, started. A Timeout given instead of seconds is started,\n"
     "unless it is pending, and returned."},
    {"_start_new_or_dummy", FAST timeout_start_new_or_dummy,
     METH_FASTCALL | METH_KEYWORDS | METH_STATIC,
     "_start_new_or_dummy(timeout, exception=None, ref=True)\n--\n\n"
     "A new one, started, that is closed when it is cancelled."},
    {"_on_expiration", FAST timeout_on_expiration,
     METH_FASTCALL | METH_KEYWORDS,
     "_on_expiration($self, prev_greenlet, ex)\n--\n\n"
     "Called in the hub when it expires; to be overridden."},
    {"cancel", timeout_cancel, METH_NOARGS,
     "cancel($self)\n--\n\n"
     "It will not be raised; nothing, if it is not pending."},
    {"close", timeout_close, METH_NOARGS,
     "close($self)\n--\n\nAs cancel(); it cannot be started again."},
    {"__str__", timeout_str_method, METH_NOARGS | METH_COEXIST,
     "For users: how long, and what else there is to say.\n\n"
     "    >>> from gevent import Timeout\n"
     "    >>> for exception in None, False, 'reading the file', OSError:\n"
     "    ...     print(Timeout(2, exception))\n"
     "    2 seconds\n"
     "    2 seconds (silent)\n"
     "    2 seconds: reading the file\n"
     "    2 seconds: <class 'OSError'>\n"
     "    >>> str(Timeout(1)), str(Timeout(None))\n"
     "    ('1 second', '')\n"},
    {"__enter__", timeout_enter, METH_NOARGS, NULL},
    {"__exit__", FAST timeout_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef timeout_getset[] = {
    {"pending", coir__timeout_get_pending, NULL,
     "Whether it is started, and was neither raised nor cancelled.", NULL},
    {"seconds", coir__timeout_get, timeout_set, "None: never.", NULL},
    {"exception", coir__timeout_get, timeout_set,
     "What is raised instead. A string: more text. False: itself, but a\n"
     "`with` keeps it to itself.",
     (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__timeout_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.timeout.Timeout",
    .tp_basicsize = sizeof(TimeoutObject),
    .tp_dealloc = coir__timeout_dealloc,
    .tp_repr = coir__timeout_repr,
    .tp_str = timeout_str,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc =
        "Timeout(seconds=None, exception=None, ref=True, priority=-1, "
        "_one_shot=False)\n--\n\n"
        "An exception that, once started, raises itself, or `exception`, in\n"
        "the greenlet that started it after some seconds, when that waits.\n"
        "As a context manager it is started at the beginning and closed at\n"
        "the end: it is never raised outside. It is not raised early.\n\n"
        "    >>> import gevent\n"
        "    >>> from gevent import Timeout\n"
        "    >>> with Timeout(0.01, False):\n"
        "    ...     gevent.sleep(60)\n"
        "    ...     print('not reached')\n"
        "    >>> with Timeout(0.01, TimeoutError('too slow')):\n"
        "    ...     gevent.sleep(60)\n"
        "    Traceback (most recent call last):\n"
        "    ...\n"
        "    TimeoutError: too slow\n\n"
        "Without a `with` it must be closed in any case. Several may be\n"
        "pending at once, so look whose it is:\n\n"
        "    >>> limit = Timeout.start_new(0.01)\n"
        "    >>> try:\n"
        "    ...     gevent.sleep(60)\n"
        "    ... except Timeout as raised:\n"
        "    ...     print(raised is limit)\n"
        "    ... finally:\n"
        "    ...     limit.close()\n"
        "    True\n",
    .tp_traverse = coir__timeout_traverse,
    .tp_clear = coir__timeout_clear,
    .tp_richcompare = timeout_compare,
    .tp_weaklistoffset = offsetof(TimeoutObject, weakreflist),
    .tp_methods = timeout_methods,
    .tp_getset = timeout_getset,
    .tp_init = timeout_init,
    .tp_new = coir__timeout_new,
    .tp_vectorcall = timeout_vectorcall,
};

#undef SELF

int
coir__timeout_arg(PyObject *timeout, int64_t *ns)
{
    if (timeout == NULL)
        timeout = Py_None;
    if (COIR__LIKELY(!PyObject_TypeCheck(timeout, &coir__timeout_type)))
        return coir__timeout_ns(timeout, ns);
    const TimeoutObject *given = (TimeoutObject *)timeout;
    *ns = given->ns;
    if (coir__timeout_is_pending(given) && given->by == NULL) {
        int64_t left = coir_timer_remaining(given->loop->loop, &given->timer);
        *ns = left > 0 ? left : 0;
    }
    return 0;
}

int
coir__timeout_is_over(PyObject *timeout)
{
    if (timeout == NULL || !PyObject_TypeCheck(timeout, &coir__timeout_type))
        return 0;
    PyObject *exc = ((TimeoutObject *)timeout)->exception;
    if (exc == Py_None || exc == Py_False || PyUnicode_Check(exc))
        return 0;
    if (PyExceptionClass_Check(exc))
        PyErr_SetNone(exc);
    else if (PyExceptionInstance_Check(exc))
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    else
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes, or instances, not %s",
                     Py_TYPE(exc)->tp_name);
    return -1;
}

void
coir__timeout_raise(PyObject *seconds)
{
    PyObject *exc = seconds;
    if (coir__timeout_is_over(seconds) < 0)
        return;
    if (exc != NULL && PyObject_TypeCheck(exc, &coir__timeout_type)) {
        Py_INCREF(exc);
    }
    else {
        PyObject *in[FIELDS] = {seconds};
        exc = (PyObject *)make(in);
    }
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
}

/* --- sleep --------------------------------------------------------------- */

static PyObject *
do_sleep(coir_pythread *t, HubObject *hub, int64_t ns, int ref)
{
    LoopObject *loop = hub->loop;
    if (!ref) {
        Py_INCREF(loop);
        coir_loop_unref(loop->loop);
    }
    int how = COIR_WOKEN_WAITS;
    PyObject *res = coir__park(t, hub, NULL, "sleep", NULL, ns, &how);
    if (!ref) {
        if (loop->loop != NULL)
            coir_loop_ref(loop->loop);
        Py_DECREF(loop);
    }
    if (res != NULL && how != COIR_WOKEN_BY_TIME) {
        coir__raise_named("InvalidSwitchError",
                          "Invalid switch into sleep(): got %R", res);
        Py_CLEAR(res);
    }
    return res;
}

static PyObject *
sleep_(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
       PyObject *kwnames)
{
    static const char *const names[] = {"seconds", "ref"};
    PyObject *in[] = {NULL, NULL};
    if (coir__arguments("sleep", names, 2, args, nargs, kwnames, in) < 0)
        return NULL;
    double seconds = in[0] != NULL ? PyFloat_AsDouble(in[0]) : 0;
    if (seconds == -1 && PyErr_Occurred())
        return NULL;
    int ref = in[1] != NULL ? PyObject_IsTrue(in[1]) : 1;
    if (ref < 0)
        return NULL;
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "cannot sleep for NaN seconds");
        return NULL;
    }
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return NULL;
    if (COIR__UNLIKELY(hub->loop->stand_in != NULL))
        return coir__standin_sleep(hub, seconds, ref);
    if (seconds > 0)
        return do_sleep(t, hub, coir__seconds_to_ns(seconds), ref);
    if (coir__yield(t, hub, 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"sleep", FAST sleep_, METH_FASTCALL | METH_KEYWORDS,
     "sleep($module, seconds=0, ref=True)\n--\n\n"
     "Let others run for so many seconds at least; with 0 or less, those\n"
     "that are ready, once. With `ref` false it does not keep the loop\n"
     "running."},
    {NULL, NULL, 0, NULL},
};

int
coir__timeout_types_init(PyObject *module)
{
    if (!PyType_HasFeature(&coir__timeout_type, Py_TPFLAGS_READY)) {
        coir__timeout_type.tp_base = (PyTypeObject *)PyExc_BaseException;
        coir__timeout_type.tp_hash = PyBaseObject_Type.tp_hash;
    }
    if (PyModule_AddFunctions(module, functions) < 0 ||
        PyModule_AddType(module, &coir__timeout_type) < 0)
        return -1;
    return coir__waiter_types_init(module);
}
