/* timeout.c - the types Timeout and Waiter, and sleep().
 *
 * A Timeout that is pending stands in the list of its loop, has an active
 * timer there, and once that has fired, a place in the ready queue. What takes
 * it out of these, cancel() or the end of a `with`, can be sure that it is not
 * raised any more. While it is pending it is kept alive, and so is the
 * greenlet it is for. */
#include "timeout.h"

#include <math.h>

/* --- arguments ----------------------------------------------------------- */

static int
find_name(const char *const *names, int max, PyObject *name)
{
    for (int i = 0; i < max; i++)
        if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0)
            return i;
    return -1;
}

int
coir__arguments(const char *func, const char *const *names, int max,
                PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                PyObject **out)
{
    if (COIR__UNLIKELY(nargs > max)) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes at most %d arguments (%zd given)", func, max,
                     nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    if (kwnames == NULL)
        return 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        int at = find_name(names, max, name);
        if (at < nargs) {
            PyErr_Format(PyExc_TypeError,
                         at < 0 ? "%s() got an unexpected keyword argument %R"
                                : "%s() got multiple values for argument %R",
                         func, name);
            return -1;
        }
        out[at] = args[nargs + i];
    }
    return 0;
}

/* A dict of keyword arguments and a tuple instead of a vector. */
static int
tuple_arguments(const char *func, const char *const *names, int max,
                PyObject *args, PyObject *kwargs, PyObject **out)
{
    if (coir__arguments(func, names, max, &PyTuple_GET_ITEM(args, 0),
                        PyTuple_GET_SIZE(args), NULL, out) < 0)
        return -1;
    PyObject *name, *value;
    Py_ssize_t pos = 0;
    while (kwargs != NULL && PyDict_Next(kwargs, &pos, &name, &value)) {
        int at = find_name(names, max, name);
        if (at < PyTuple_GET_SIZE(args)) {
            PyErr_Format(PyExc_TypeError,
                         at < 0 ? "%s() got an unexpected keyword argument %R"
                                : "%s() got multiple values for argument %R",
                         func, name);
            return -1;
        }
        out[at] = value;
    }
    return 0;
}

void
coir__raise_named(const char *name, const char *format, ...)
{
    PyObject *module = PyImport_ImportModule("coir.gevent.exceptions");
    PyObject *type =
        module != NULL ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    if (type == NULL)
        return;
    va_list args;
    va_start(args, format);
    PyErr_FormatV(type, format, args);
    va_end(args);
    Py_DECREF(type);
}

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
                                       Py_ssize_t nargs);

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
timeout_on_expiration(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !greenlet_check(args[0])) {
        PyErr_SetString(PyExc_TypeError,
                        "_on_expiration() takes a greenlet and an exception");
        return NULL;
    }
    GreenletObject *green = (GreenletObject *)args[0];
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return NULL;
    if (green->block->state != GREENLET_DEAD)
        throw(hub->loop, op, green, args[1]);
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
    if (tuple_arguments("Timeout", init_names, FIELDS, args, kwargs, in) < 0)
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

static PyObject *
timeout_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (Py_TYPE(op) == &coir__timeout_type) {
        SELF->closed = 1;
        coir__timeout_stop(SELF);
    }
    else {
        PyObject *res = PyObject_CallMethod(op, "close", NULL);
        if (res == NULL)
            return NULL;
        Py_DECREF(res);
    }
    if (nargs > 1 && args[1] == op && SELF->exception == Py_False)
        Py_RETURN_TRUE;
    Py_RETURN_NONE;
}

static PyObject *
timeout_get_pending(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(coir__timeout_is_pending(SELF));
}

static PyObject *
timeout_get(PyObject *op, void *closure)
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

static PyObject *
timeout_repr(PyObject *op)
{
    const char *name = strrchr(Py_TYPE(op)->tp_name, '.');
    PyObject *text = PyUnicode_FromFormat(
        "<%s at %p seconds=%S", name != NULL ? name + 1 : Py_TYPE(op)->tp_name,
        op, SELF->seconds);
    if (text != NULL && SELF->exception != Py_None)
        PyUnicode_AppendAndDel(
            &text, PyUnicode_FromFormat(" exception=%R", SELF->exception));
    if (text != NULL)
        PyUnicode_AppendAndDel(
            &text, PyUnicode_FromString(
                       coir__timeout_is_pending(SELF) ? " pending>" : ">"));
    return text;
}

static PyObject *
timeout_str(PyObject *op)
{
    PyObject *seconds = SELF->seconds, *exc = SELF->exception;
    if (seconds == Py_None)
        return PyUnicode_FromString("");
    PyObject *one = PyLong_FromLong(1);
    int is_one =
        one != NULL ? PyObject_RichCompareBool(seconds, one, Py_EQ) : -1;
    Py_XDECREF(one);
    if (is_one < 0)
        return NULL;
    const char *s = is_one ? "" : "s";
    if (exc == Py_None)
        return PyUnicode_FromFormat("%S second%s", seconds, s);
    if (exc == Py_False)
        return PyUnicode_FromFormat("%S second%s (silent)", seconds, s);
    return PyUnicode_FromFormat("%S second%s: %S", seconds, s, exc);
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

#define FAST (PyCFunction)(void (*)(void))

static PyMethodDef timeout_methods[] = {
    {"start", timeout_start, METH_NOARGS,
     "start() -> None\n\n"
     "From now on, after `seconds`, it is raised in the calling greenlet."},
    {"start_new", FAST timeout_start_new,
     METH_FASTCALL | METH_KEYWORDS | METH_CLASS,
     "start_new(timeout=None, exception=None, ref=True) -> Timeout\n\n"
     "A new one, started. A Timeout given instead of seconds is started,\n"
     "unless it is pending, and returned."},
    {"_start_new_or_dummy", FAST timeout_start_new_or_dummy,
     METH_FASTCALL | METH_KEYWORDS | METH_STATIC,
     "_start_new_or_dummy(timeout, exception=None, ref=True) -> Timeout\n\n"
     "A new one, started, that is closed when it is cancelled."},
    {"_on_expiration", FAST timeout_on_expiration, METH_FASTCALL,
     "_on_expiration(greenlet, exception) -> None\n\n"
     "Called in the hub when it expires; to be overridden."},
    {"cancel", timeout_cancel, METH_NOARGS,
     "cancel() -> None\n\n"
     "It will not be raised; nothing, if it is not pending."},
    {"close", timeout_close, METH_NOARGS,
     "close() -> None\n\nAs cancel(); it cannot be started again."},
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
    {"pending", timeout_get_pending, NULL,
     "Whether it is started, and was neither raised nor cancelled.", NULL},
    {"seconds", timeout_get, timeout_set, "None: never.", NULL},
    {"exception", timeout_get, timeout_set,
     "What is raised instead. A string: more text. False: itself, but a\n"
     "`with` keeps it to itself.",
     (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__timeout_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.timeout.Timeout",
    .tp_basicsize = sizeof(TimeoutObject),
    .tp_dealloc = coir__timeout_dealloc,
    .tp_repr = timeout_repr,
    .tp_str = timeout_str,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc =
        "Timeout(seconds=None, exception=None, ref=True, priority=-1)\n\n"
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

/* --- Waiter -------------------------------------------------------------- */

/* One greenlet waits in it, for one value. */
typedef struct {
    PyObject_HEAD PyObject *hub; /* strong */
    PyObject *greenlet;          /* strong: who waits; NULL once it is woken */
    PyObject *value;             /* strong, or NULL for None */
    PyObject *exception; /* strong: None after a value, a tuple after an
                            exception; NULL: nothing came */
    coir_list waiting;
    /* MultipleWaiter only. */
    PyObject *values; /* strong: a list, or NULL */
    Py_ssize_t first; /* that was not taken yet */
} WaiterObject;

#define SELF ((WaiterObject *)op)

static PyTypeObject waiter_type;
static PyTypeObject multiple_type;

int
coir__is_waiter(PyObject *op)
{
    return PyObject_TypeCheck(op, &waiter_type);
}

static void
waiter_reset(WaiterObject *self)
{
    PyObject *old[] = {self->greenlet, self->value, self->exception};
    self->greenlet = self->value = self->exception = NULL;
    for (int i = 0; i < 3; i++)
        Py_XDECREF(old[i]);
}

static int
waiter_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"hub"};
    PyObject *hub = Py_None;
    if (tuple_arguments("Waiter", names, 1, args, kwargs, &hub) < 0)
        return -1;
    if (hub == Py_None) {
        coir_pythread *t = coir__pythread_get();
        hub = t != NULL ? (PyObject *)coir__hub_get(t) : NULL;
        if (hub == NULL)
            return -1;
    }
    Py_XSETREF(SELF->hub, Py_NewRef(hub));
    waiter_reset(SELF);
    if (PyObject_TypeCheck(op, &multiple_type)) {
        Py_XSETREF(SELF->values, PyList_New(0));
        SELF->first = 0;
        if (SELF->values == NULL)
            return -1;
    }
    return 0;
}

/* It has been woken: from the hub, as is expected of a Waiter, at once. */
static void
go_on(WaiterObject *self, coir_wait *w)
{
    Py_CLEAR(self->greenlet);
    coir__go_on(w);
}

static void
bring(WaiterObject *self, PyObject *value)
{
    coir_node *n = self->waiting.head;
    if (n == NULL) {
        Py_XSETREF(self->value, Py_NewRef(value));
        Py_XSETREF(self->exception, Py_NewRef(Py_None));
        return;
    }
    coir_wait *w = coir__wait_of(n);
    coir__wake(w, Py_NewRef(value));
    go_on(self, w);
}

static PyObject *
waiter_switch(PyObject *op, PyObject *value)
{
    bring(SELF, value);
    Py_RETURN_NONE;
}

static PyObject *
call_switch(PyObject *op, PyObject *value)
{
    if (Py_TYPE(op) == &waiter_type)
        return waiter_switch(op, value);
    return PyObject_CallMethod(op, "switch", "(O)", value);
}

static PyObject *
waiter_switch_args(PyObject *op, PyObject *args)
{
    return call_switch(op, args);
}

/* The exception that throw(typ, val, tb) stands for, or NULL. */
static PyObject *
make_exception(PyObject *args)
{
    PyObject *typ = Py_None, *val = Py_None, *tb = Py_None;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &typ, &val, &tb))
        return NULL;
    PyObject *exc;
    if (PyExceptionInstance_Check(typ))
        exc = Py_NewRef(typ);
    else if (!PyExceptionClass_Check(typ))
        return PyErr_Format(PyExc_TypeError,
                            "exceptions must be classes, or instances, "
                            "not %s",
                            Py_TYPE(typ)->tp_name);
    else if (PyObject_IsInstance(val, typ) == 1)
        exc = Py_NewRef(val);
    else if (val == Py_None)
        exc = PyObject_CallNoArgs(typ);
    else if (PyTuple_Check(val))
        exc = PyObject_Call(typ, val, NULL);
    else
        exc = PyObject_CallOneArg(typ, val);
    if (exc != NULL && !PyExceptionInstance_Check(exc)) {
        PyErr_Format(PyExc_TypeError,
                     "calling %R should have made an "
                     "exception, not %R",
                     typ, exc);
        Py_CLEAR(exc);
    }
    if (exc != NULL && tb != Py_None && PyException_SetTraceback(exc, tb) < 0)
        Py_CLEAR(exc);
    return exc;
}

static PyObject *
waiter_throw(PyObject *op, PyObject *args)
{
    if (SELF->waiting.head == NULL) {
        Py_XSETREF(SELF->exception, Py_NewRef(args));
        Py_RETURN_NONE;
    }
    PyObject *exc = make_exception(args);
    if (exc == NULL)
        return NULL;
    coir_node *n = SELF->waiting.head; /* any code may have run */
    if (n == NULL) {
        Py_XSETREF(SELF->exception, PyTuple_Pack(1, exc));
        Py_DECREF(exc);
        if (SELF->exception == NULL)
            return NULL;
        Py_RETURN_NONE;
    }
    coir_wait *w = coir__wait_of(n);
    coir__wake_with_error(w, exc);
    go_on(SELF, w);
    Py_RETURN_NONE;
}

static PyObject *
waiter_wait(WaiterObject *self)
{
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return NULL;
    Py_XSETREF(self->greenlet, Py_NewRef((PyObject *)t->current));
    int how;
    /* The caller holds it; a reference from here the collector would not see,
     * and so not find a greenlet that nobody can wake. */
    PyObject *res = coir__park_own(t, hub, &self->waiting, "switch",
                                   (PyObject *)self, COIR_FOREVER, &how);
    if (self->greenlet == (PyObject *)t->current)
        Py_CLEAR(self->greenlet);
    return res;
}

static PyObject *
waiter_get(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->exception == NULL) {
        if (SELF->greenlet == NULL)
            return waiter_wait(SELF);
        coir__raise_named("ConcurrentObjectUseError",
                          "This Waiter is already used by %R", SELF->greenlet);
        return NULL;
    }
    if (SELF->exception == Py_None)
        return Py_NewRef(SELF->value != NULL ? SELF->value : Py_None);
    PyObject *exc = make_exception(SELF->exception);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return NULL;
}

static PyObject *
waiter_clear_state(PyObject *op, PyObject *Py_UNUSED(unused))
{
    waiter_reset(SELF);
    Py_RETURN_NONE;
}

static PyObject *
waiter_ready(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->exception != NULL);
}

static PyObject *
waiter_successful(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->exception == Py_None);
}

/* The link protocol: bring what `source` has. */
static PyObject *
waiter_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"source"};
    PyObject *source = NULL;
    if (tuple_arguments("Waiter", names, 1, args, kwargs, &source) < 0)
        return NULL;
    if (source == NULL) {
        PyErr_SetString(PyExc_TypeError, "a Waiter is called with a source");
        return NULL;
    }
    PyObject *exc = PyObject_GetAttrString(source, "exception");
    if (exc == NULL)
        return NULL;
    PyObject *res = NULL;
    if (exc == Py_None) {
        PyObject *value = PyObject_GetAttrString(source, "value");
        if (value != NULL)
            res = call_switch(op, value);
        Py_XDECREF(value);
    }
    else {
        res = PyObject_CallMethod(op, "throw", "(O)", exc);
    }
    Py_DECREF(exc);
    return res;
}

static PyObject *
waiter_repr(PyObject *op)
{
    const char *name = strrchr(Py_TYPE(op)->tp_name, '.');
    name = name != NULL ? name + 1 : Py_TYPE(op)->tp_name;
    PyObject *green = SELF->greenlet != NULL ? SELF->greenlet : Py_None;
    if (SELF->exception == NULL)
        return PyUnicode_FromFormat("<%s greenlet=%S>", name, green);
    if (SELF->exception == Py_None)
        return PyUnicode_FromFormat("<%s greenlet=%S value=%R>", name, green,
                                    SELF->value ? SELF->value : Py_None);
    return PyUnicode_FromFormat("<%s greenlet=%S exc_info=%R>", name, green,
                                SELF->exception);
}

static PyObject *
waiter_get_field(PyObject *op, void *closure)
{
    PyObject *value = *(PyObject **)((char *)op + (size_t)closure);
    return Py_NewRef(value != NULL ? value : Py_None);
}

static int
waiter_set_field(PyObject *op, PyObject *value, void *closure)
{
    PyObject **field = (PyObject **)((char *)op + (size_t)closure);
    Py_XSETREF(*field, Py_XNewRef(value));
    return 0;
}

static int
waiter_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->hub);
    Py_VISIT(SELF->greenlet);
    Py_VISIT(SELF->value);
    Py_VISIT(SELF->exception);
    Py_VISIT(SELF->values);
    return coir__list_traverse(&SELF->waiting, visit, arg);
}

static int
waiter_clear(PyObject *op)
{
    waiter_reset(SELF);
    Py_CLEAR(SELF->hub);
    Py_CLEAR(SELF->values);
    return 0;
}

static void
waiter_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    while (SELF->waiting.head != NULL) /* it will never be woken */
        coir__list_remove(SELF->waiting.head);
    (void)waiter_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef waiter_methods[] = {
    {"get", waiter_get, METH_NOARGS,
     "get() -> object\n\n"
     "What it was brought by switch(), or the exception of throw(); waits\n"
     "for it if nothing came yet."},
    {"switch", waiter_switch, METH_O,
     "switch($self, value, /)\n--\n\n"
     "Bring a value to who waits in get(), or keep it for who will call "
     "that."},
    {"switch_args", waiter_switch_args, METH_VARARGS,
     "switch_args(*args) -> None\n\nswitch() with the tuple."},
    {"throw", waiter_throw, METH_VARARGS,
     "throw(type, value=None, traceback=None) -> None\n\n"
     "The same with an exception."},
    {"clear", waiter_clear_state, METH_NOARGS,
     "clear() -> None\n\nForget what it was brought."},
    {"ready", waiter_ready, METH_NOARGS,
     "ready() -> bool\n\nWhether it keeps a value or an exception."},
    {"successful", waiter_successful, METH_NOARGS,
     "successful() -> bool\n\nWhether it keeps a value."},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name) (void *)offsetof(WaiterObject, name)

static PyGetSetDef waiter_getset[] = {
    {"hub", waiter_get_field, waiter_set_field, "The hub it was made for.",
     FIELD(hub)},
    {"greenlet", waiter_get_field, waiter_set_field, "Who waits in it.",
     FIELD(greenlet)},
    {"value", waiter_get_field, waiter_set_field, "What it keeps.",
     FIELD(value)},
    {"exc_info", waiter_get_field, NULL,
     "What throw() was given; None if it keeps none.", FIELD(exception)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject waiter_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent._waiter.Waiter",
    .tp_basicsize = sizeof(WaiterObject),
    .tp_dealloc = waiter_dealloc,
    .tp_repr = waiter_repr,
    .tp_call = waiter_call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Waiter(hub=None)\n\n"
              "Where one greenlet waits for a value or an exception, which\n"
              "may also come first.\n\n"
              "    >>> import gevent\n"
              "    >>> from gevent.hub import Waiter\n"
              "    >>> waiter = Waiter()\n"
              "    >>> timer = gevent.get_hub().loop.timer(0.01)\n"
              "    >>> timer.start(waiter.switch, 'time is over')\n"
              "    >>> waiter.get()\n"
              "    'time is over'\n"
              "    >>> timer.close()\n\n"
              "What comes before anybody waits is kept:\n\n"
              "    >>> early = Waiter()\n"
              "    >>> _ = gevent.spawn(early.switch, 'first')\n"
              "    >>> gevent.sleep(0)\n"
              "    >>> early.ready(), early.get()\n"
              "    (True, 'first')\n"
              "    >>> early.throw(KeyError, 'second')\n"
              "    >>> early.get()\n"
              "    Traceback (most recent call last):\n"
              "    ...\n"
              "    KeyError: 'second'\n",
    .tp_traverse = waiter_traverse,
    .tp_clear = waiter_clear,
    .tp_methods = waiter_methods,
    .tp_getset = waiter_getset,
    .tp_init = waiter_init,
    .tp_new = PyType_GenericNew,
};

static PyObject *
multiple_switch(PyObject *op, PyObject *value)
{
    if (SELF->values == NULL || PyList_Append(SELF->values, value) < 0)
        return NULL;
    bring(SELF, Py_True);
    Py_RETURN_NONE;
}

static PyObject *
multiple_get(PyObject *op, PyObject *Py_UNUSED(unused))
{
    while (SELF->values != NULL &&
           SELF->first >= PyList_GET_SIZE(SELF->values)) {
        PyObject *res = waiter_get(op, NULL);
        if (res == NULL)
            return NULL;
        Py_DECREF(res);
        waiter_reset(SELF);
    }
    PyObject *values = SELF->values;
    if (values == NULL)
        return PyErr_Format(PyExc_RuntimeError, "%R was cleared", op);
    PyObject *value = Py_NewRef(PyList_GET_ITEM(values, SELF->first));
    PyList_SetItem(values, SELF->first, Py_NewRef(Py_None));
    SELF->first++;
    if (SELF->first == PyList_GET_SIZE(values)) {
        SELF->first = 0;
        if (PyList_SetSlice(values, 0, PyList_GET_SIZE(values), NULL) < 0)
            Py_CLEAR(value);
    }
    return value;
}

static PyMethodDef multiple_methods[] = {
    {"get", multiple_get, METH_NOARGS,
     "get() -> object\n\nThe next value; waits for it."},
    {"switch", multiple_switch, METH_O,
     "switch($self, value, /)\n--\n\nAdd a value."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject multiple_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name =
        "coir.gevent._waiter.MultipleWaiter",
    .tp_basicsize = sizeof(WaiterObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "MultipleWaiter(hub=None)\n\n"
              "A Waiter that keeps all it is brought, in order.",
    .tp_traverse = waiter_traverse,
    .tp_clear = waiter_clear,
    .tp_methods = multiple_methods,
    .tp_base = &waiter_type,
    .tp_init = waiter_init,
    .tp_new = PyType_GenericNew,
};

#undef SELF

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
     "sleep(seconds=0, ref=True) -> None\n\n"
     "Let others run for so many seconds at least; with 0 or less, those\n"
     "that are ready, once. With `ref` false it does not keep the loop\n"
     "running."},
    {NULL, NULL, 0, NULL},
};

static int
types_ready(void)
{
    if (PyType_HasFeature(&coir__timeout_type, Py_TPFLAGS_READY))
        return 0;
    coir__timeout_type.tp_base = (PyTypeObject *)PyExc_BaseException;
    coir__timeout_type.tp_hash = PyBaseObject_Type.tp_hash;
    if (PyType_Ready(&coir__timeout_type) < 0 ||
        PyType_Ready(&waiter_type) < 0)
        return -1;
    return PyType_Ready(&multiple_type);
}

int
coir__timeout_types_init(PyObject *module)
{
    if (types_ready() < 0 || PyModule_AddFunctions(module, functions) < 0 ||
        PyModule_AddObjectRef(module, "Waiter", (PyObject *)&waiter_type) <
            0 ||
        PyModule_AddObjectRef(module, "MultipleWaiter",
                              (PyObject *)&multiple_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Timeout",
                                 (PyObject *)&coir__timeout_type);
}
