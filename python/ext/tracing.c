/* tracing.c - greenlet.settrace().
 *
 * One function per thread, called as f(event, (origin, target)) in the
 * greenlet that was switched to, before anything else runs there; event is
 * "switch", or "throw" if an exception is brought. It may switch itself: what
 * the traced switch brings is out of the way by then.
 *
 * SwitchTracer is such a function in C, for the thread that looks whether
 * another one's greenlets let each other run: it counts switches, and knows
 * who runs. It costs some instructions per switch, as for a plain one
 * coir__trace_switch() does by itself what calling it would do. */
#include "state.h"

/* --- SwitchTracer -------------------------------------------------------- */

typedef struct {
    PyObject_HEAD unsigned long long switches;
    GreenletObject *main; /* strong: of the thread it was installed in */
    PyObject *active;     /* strong or NULL: if it does not follow */
    int follows;          /* active is who runs in that thread */
    int installed;
    PyObject *previous; /* strong or NULL: called, too */
    PyObject *dict;
    PyObject *weakreflist;
} TracerObject;

#define SELF ((TracerObject *)op)

static PyObject *
tracer_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *event, *pair;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "a tracer takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OO", &event, &pair))
        return NULL;
    SELF->switches++;
    SELF->follows = 0;
    PyObject *active = NULL;
    if (PyUnicode_Check(event) && PyTuple_Check(pair) &&
        PyTuple_GET_SIZE(pair) == 2 &&
        (PyUnicode_CompareWithASCIIString(event, "switch") == 0 ||
         PyUnicode_CompareWithASCIIString(event, "throw") == 0))
        active = PyTuple_GET_ITEM(pair, 1);
    coir_pythread *t = SELF->main->block->thread;
    if (active != NULL && t != NULL && active == (PyObject *)t->current) {
        SELF->follows = 1;
        active = NULL;
    }
    Py_XSETREF(SELF->active, Py_XNewRef(active));
    if (SELF->previous == NULL)
        Py_RETURN_NONE;
    PyObject *previous = Py_NewRef(SELF->previous);
    PyObject *res = PyObject_Call(previous, args, NULL);
    Py_DECREF(previous);
    return res;
}

int
coir__trace_only_counts(PyObject *func)
{
    return Py_TYPE(func)->tp_call == tracer_call &&
           ((TracerObject *)func)->previous == NULL &&
           ((TracerObject *)func)->active == NULL;
}

static PyObject *
tracer_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
           PyObject *Py_UNUSED(kwargs))
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL)
        return NULL;
    SELF->main = (GreenletObject *)Py_NewRef((PyObject *)t->main);
    SELF->previous = t->tracefunc; /* moves */
    t->tracefunc = Py_NewRef(op);
    SELF->installed = 1;
    return op;
}

static PyObject *
tracer_kill(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!SELF->installed)
        Py_RETURN_NONE;
    SELF->installed = 0;
    PyObject *previous = SELF->previous;
    SELF->previous = NULL;
    coir_pythread *t = SELF->main->block->thread;
    if (t != NULL && t->tracefunc == op) {
        t->tracefunc = previous;
        Py_DECREF(op); /* the caller has another */
    }
    else {
        Py_XDECREF(previous); /* somebody else's, or the thread is gone */
    }
    Py_RETURN_NONE;
}

static PyObject *
tracer_get_active(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *active = SELF->active;
    if (SELF->follows) {
        coir_pythread *t = SELF->main->block->thread;
        active = t != NULL ? (PyObject *)t->current : NULL;
    }
    return Py_NewRef(active != NULL ? active : Py_None);
}

static int
tracer_set_active(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    SELF->follows = 0;
    Py_XSETREF(SELF->active, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static PyObject *
tracer_get_previous(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->previous != NULL ? SELF->previous : Py_None);
}

static PyObject *
tracer_get_switches(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(SELF->switches);
}

static int
tracer_set_switches(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "the counter cannot be deleted");
        return -1;
    }
    unsigned long long n = PyLong_AsUnsignedLongLong(value);
    if (n == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    SELF->switches = n;
    return 0;
}

static int
tracer_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->main);
    Py_VISIT(SELF->active);
    Py_VISIT(SELF->previous);
    Py_VISIT(SELF->dict);
    return 0;
}

/* Not `main`, which others of its methods look at. */
static int
tracer_clear(PyObject *op)
{
    Py_CLEAR(SELF->active);
    Py_CLEAR(SELF->previous);
    Py_CLEAR(SELF->dict);
    return 0;
}

static void
tracer_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)tracer_clear(op);
    Py_CLEAR(SELF->main);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef tracer_methods[] = {
    {"kill", tracer_kill, METH_NOARGS,
     "kill($self)\n--\n\n"
     "Put back the trace function that was there before. Any thread."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tracer_getset[] = {
    {"greenlet_switch_counter", tracer_get_switches, tracer_set_switches,
     "How many switches there were; may be set.", NULL},
    {"active_greenlet", tracer_get_active, tracer_set_active,
     "Who was switched to last; may be set, until the next switch.", NULL},
    {"previous_trace_function", tracer_get_previous, NULL,
     "The one that was there before, which is called, too; or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject tracer_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.SwitchTracer",
    .tp_basicsize = sizeof(TracerObject),
    .tp_dealloc = tracer_dealloc,
    .tp_call = tracer_call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "SwitchTracer()\n--\n\n"
              "A trace function that counts the switches of this thread, and\n"
              "is installed at once. What was installed before is called, "
              "too.",
    .tp_traverse = tracer_traverse,
    .tp_clear = tracer_clear,
    .tp_weaklistoffset = offsetof(TracerObject, weakreflist),
    .tp_methods = tracer_methods,
    .tp_getset = tracer_getset,
    .tp_dictoffset = offsetof(TracerObject, dict),
    .tp_new = tracer_new,
};

#undef SELF

int
coir__tracing_types_init(PyObject *module)
{
    if (PyType_Ready(&tracer_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "SwitchTracer",
                                 (PyObject *)&tracer_type);
}

/* --- settrace() ---------------------------------------------------------- */

void
coir__trace_switch(coir_pythread *t, GreenletObject *from, coir_payload *p)
{
    if (coir__trace_only_counts(t->tracefunc)) {
        ((TracerObject *)t->tracefunc)->switches++;
        ((TracerObject *)t->tracefunc)->follows = 1;
        return;
    }
    PyThreadState *ts = t->tstate;
    PyObject *func = Py_NewRef(t->tracefunc);
    PyObject *exc = NULL;
    if (p->value == NULL)
        exc = coir__error_take();

    PyThreadState_EnterTracing(ts); /* it is not to be traced itself */
    PyObject *res =
        PyObject_CallFunction(func, "s(OO)", exc != NULL ? "throw" : "switch",
                              (PyObject *)from, (PyObject *)t->current);
    PyThreadState_LeaveTracing(ts);
    Py_DECREF(func);

    if (res != NULL) {
        Py_DECREF(res);
        if (exc != NULL)
            coir__error_give(exc);
        return;
    }
    PyObject *error = coir__error_take();
    Py_CLEAR(t->tracefunc);
    Py_CLEAR(p->value);
    Py_CLEAR(p->kwargs);
    Py_XDECREF(exc);
    coir__error_give(error);
}

PyObject *
coir__settrace(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *func;
    if (!PyArg_ParseTuple(args, "O", &func))
        return NULL;
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    PyObject *old = t->tracefunc;
    t->tracefunc = func == Py_None ? NULL : Py_NewRef(func);
    return old != NULL ? old : Py_NewRef(Py_None);
}

PyObject *
coir__gettrace(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    return Py_NewRef(t->tracefunc != NULL ? t->tracefunc : Py_None);
}
