/* waiter.c - Waiter and MultipleWaiter of gevent. */
#include "link.h"

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
    if (coir__tuple_arguments("Waiter", names, 1, args, kwargs, &hub) < 0)
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
    if (coir__tuple_arguments("Waiter", names, 1, args, kwargs, &source) < 0)
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
    const char *name = coir__type_name(Py_TYPE(op));
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

COIR__DEFINE_ONE(waiter_switch, "switch", "value")

static PyMethodDef waiter_methods[] = {
    {"get", waiter_get, METH_NOARGS,
     "get($self)\n--\n\n"
     "What it was brought by switch(), or the exception of throw(); waits\n"
     "for it if nothing came yet."},
    {"switch", COIR__ONE(waiter_switch),
     "switch($self, value)\n--\n\n"
     "Bring a value to who waits in get(), or keep it for who will call "
     "that."},
    {"switch_args", waiter_switch_args, METH_VARARGS,
     "switch_args($self, *args)\n--\n\nswitch() with the tuple."},
    {"throw", waiter_throw, METH_VARARGS,
     "throw($self, type, value=None, traceback=None)\n--\n\n"
     "The same with an exception."},
    {"clear", waiter_clear_state, METH_NOARGS,
     "clear($self)\n--\n\nForget what it was brought."},
    {"ready", waiter_ready, METH_NOARGS,
     "ready($self)\n--\n\nWhether it keeps a value or an exception."},
    {"successful", waiter_successful, METH_NOARGS,
     "successful($self)\n--\n\nWhether it keeps a value."},
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
    .tp_doc = "Waiter(hub=None)\n--\n\n"
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

COIR__DEFINE_ONE(multiple_switch, "switch", "value")

static PyMethodDef multiple_methods[] = {
    {"get", multiple_get, METH_NOARGS,
     "get($self)\n--\n\nThe next value; waits for it."},
    {"switch", COIR__ONE(multiple_switch),
     "switch($self, value)\n--\n\nAdd a value."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject multiple_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name =
        "coir.gevent._waiter.MultipleWaiter",
    .tp_basicsize = sizeof(WaiterObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "MultipleWaiter(hub=None)\n--\n\n"
              "A Waiter that keeps all it is brought, in order.",
    .tp_methods = multiple_methods,
    .tp_base = &waiter_type,
};

int
coir__waiter_types_init(PyObject *module)
{
    if (PyModule_AddType(module, &waiter_type) < 0)
        return -1;
    return PyModule_AddType(module, &multiple_type);
}
