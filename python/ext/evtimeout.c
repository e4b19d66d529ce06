/* evtimeout.c - eventlet's Timeout: started when it is made.
 *
 * What raises it is gevent's, see timeout.c; the two types are not related as
 * Python sees it. One of no time, or less, stands in the ready queue at once:
 * among all that is due it is first come, first served. */
#include "ev.h"
#include "timeout.h"

typedef struct {
    TimeoutObject base;
    char armed;     /* it was started, and not cancelled since */
    uint64_t stamp; /* coir__ev_stamp() when it was started */
} EvTimeoutObject;

#define SELF ((EvTimeoutObject *)op)
#define BASE (&SELF->base)

static PyTypeObject evtimeout_type;

static int
start(PyObject *op)
{
    TimeoutObject *self = BASE;
    if (coir__timeout_is_pending(self)) {
        PyErr_Format(PyExc_AssertionError,
                     "%R is already started; to restart it, cancel it first",
                     op);
        return -1;
    }
    SELF->armed = 0;
    if (self->ns == COIR_FOREVER)
        return 0;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    coir__ev_use(hub);
    PyObject *exc = self->exception;
    if (exc == Py_None || PyBool_Check(exc))
        exc = NULL;
    SELF->armed = 1;
    SELF->stamp = coir__ev_stamp(hub->loop);
    coir__timeout_start(self, t, hub, exc);
    if (self->ns == 0) {
        coir_timer_stop(self->loop->loop, &self->timer);
        double seconds = PyFloat_AsDouble(self->seconds); /* it was one */
        coir__loop_ready_past(self->loop, &self->ready,
                              coir__seconds_to_ns(-seconds));
    }
    return 0;
}

/* As its class has it, which may be derived from ours. */
static int
start_as_told(PyObject *op)
{
    if (COIR__LIKELY(Py_IS_TYPE(op, &evtimeout_type)))
        return start(op);
    PyObject *res = PyObject_CallMethod(op, "start", NULL);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static int
set_and_start(PyObject *op, PyObject *seconds, PyObject *exception)
{
    int64_t ns;
    if (coir__timeout_ns(seconds, &ns) < 0)
        return -1;
    coir__timeout_stop(BASE);
    BASE->ns = ns;
    Py_XSETREF(BASE->seconds, Py_NewRef(seconds));
    Py_XSETREF(BASE->exception, Py_NewRef(exception));
    return start_as_told(op);
}

static const char *const init_names[] = {"seconds", "exception"};

static PyObject *
evtimeout_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *op = coir__timeout_new(type, args, kwargs);
    if (op != NULL)
        BASE->priority = 0; /* as all that is due, by its time */
    if (op != NULL && args != NULL)
        Py_XSETREF(BASE->base.args, Py_NewRef(args));
    return op;
}

static int
evtimeout_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"seconds", "exception", NULL};
    PyObject *seconds = Py_None, *exception = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:Timeout", names,
                                     &seconds, &exception))
        return -1;
    return set_and_start(op, seconds, exception);
}

static PyObject *
evtimeout_vectorcall(PyObject *Py_UNUSED(type), PyObject *const *args,
                     size_t nargsf, PyObject *kwnames)
{
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *in[] = {Py_None, Py_None};
    if (coir__arguments("Timeout", init_names, 2, args, nargs, kwnames, in) <
        0)
        return NULL;
    PyObject *tuple = PyTuple_New(nargs);
    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < nargs; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    PyObject *op = evtimeout_new(&evtimeout_type, tuple, NULL);
    Py_DECREF(tuple);
    if (op != NULL && set_and_start(op, in[0], in[1]) < 0)
        Py_CLEAR(op);
    return op;
}

static PyObject *
evtimeout_start(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return start(op) == 0 ? Py_NewRef(op) : NULL;
}

static PyObject *
evtimeout_cancel(PyObject *op, PyObject *Py_UNUSED(unused))
{
    SELF->armed = 0;
    const coir_pythread *t = coir__pythread;
    if (t != NULL && t->hub != NULL && t->hub->loop != NULL &&
        BASE->loop == t->hub->loop && coir__timeout_is_pending(BASE)) {
        int64_t due = coir_loop_now(BASE->loop->loop) +
                      coir_timer_remaining(BASE->loop->loop, &BASE->timer);
        coir__ev_note_canceled(t->hub, due, SELF->stamp);
    }
    coir__timeout_stop(BASE);
    Py_RETURN_NONE;
}

static PyObject *
evtimeout_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!SELF->armed && start_as_told(op) < 0)
        return NULL;
    return Py_NewRef(op);
}

static PyObject *
evtimeout_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    return coir__timeout_exit(op, args, nargs,
                              Py_IS_TYPE(op, &evtimeout_type)
                                  ? evtimeout_cancel(op, NULL)
                                  : PyObject_CallMethod(op, "cancel", NULL));
}

static PyObject *
evtimeout_get_timer(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->armed ? op : Py_None);
}

static PyObject *
evtimeout_get_is_timeout(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    Py_RETURN_TRUE;
}

static int
evtimeout_set(PyObject *op, PyObject *value, void *closure)
{
    if (value == NULL)
        value = Py_None;
    if (closure != NULL) {
        Py_XSETREF(BASE->exception, Py_NewRef(value));
        return 0;
    }
    int64_t ns;
    if (coir__timeout_ns(value, &ns) < 0)
        return -1;
    if (!coir__timeout_is_pending(BASE))
        BASE->ns = ns;
    Py_XSETREF(BASE->seconds, Py_NewRef(value));
    return 0;
}

static PyObject *
evtimeout_str(PyObject *op)
{
    const PyObject *exc = BASE->exception;
    return coir__timeout_text(BASE, exc != Py_None && exc != Py_True,
                              "%S second%s (%S)");
}

static PyMethodDef evtimeout_methods[] = {
    {"start", evtimeout_start, METH_NOARGS,
     "start($self)\n--\n\n"
     "Have it raised in the calling green thread after its time; itself. Not\n"
     "needed for a new one."},
    {"cancel", evtimeout_cancel, METH_NOARGS,
     "cancel($self)\n--\n\n"
     "It will not be raised; nothing, if it is not pending."},
    {"__enter__", evtimeout_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))evtimeout_exit, METH_FASTCALL,
     NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef evtimeout_getset[] = {
    {"pending", coir__timeout_get_pending, NULL,
     "Whether it is going to be raised.", NULL},
    {"timer", evtimeout_get_timer, NULL,
     "What counts the time: itself; None once it was cancelled.", NULL},
    {"is_timeout", evtimeout_get_is_timeout, NULL, "True.", NULL},
    {"seconds", coir__timeout_get, evtimeout_set, "None: never.", NULL},
    {"exception", coir__timeout_get, evtimeout_set,
     "What is raised instead; None, True: itself. False: itself, but a "
     "`with`\n"
     "keeps it to itself.",
     (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject evtimeout_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.eventlet.timeout.Timeout",
    .tp_basicsize = sizeof(EvTimeoutObject),
    .tp_dealloc = coir__timeout_dealloc,
    .tp_repr = coir__timeout_repr,
    .tp_str = evtimeout_str,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc =
        "Timeout(seconds=None, exception=None)\n--\n\n"
        "An exception that raises itself, or `exception`, in the green "
        "thread\n"
        "that made it after some seconds, unless it is cancelled. As a\n"
        "context manager it is cancelled at the end of the block, which it\n"
        "leaves silently if `exception` is False.",
    .tp_traverse = coir__timeout_traverse,
    .tp_clear = coir__timeout_clear,
    .tp_weaklistoffset = offsetof(TimeoutObject, weakreflist),
    .tp_methods = evtimeout_methods,
    .tp_getset = evtimeout_getset,
    .tp_init = evtimeout_init,
    .tp_new = evtimeout_new,
    .tp_vectorcall = evtimeout_vectorcall,
};

int
coir__evtimeout_types_init(PyObject *module)
{
    evtimeout_type.tp_base = (PyTypeObject *)PyExc_BaseException;
    if (PyType_Ready(&evtimeout_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "EvTimeout",
                                 (PyObject *)&evtimeout_type);
}
