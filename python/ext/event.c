/* event.c - Event and AsyncResult. */
#include "link.h"

static PyTypeObject result_type;

static inline void
notify_all(LinkableObject *self)
{
    if (coir__linkable_is_awaited(self)) {
        coir__linkable_check_fork(self);
        coir__linkable_notify(self, INT_MAX);
    }
}

/* Those that waited for it and have not run yet are to run before the caller,
 * who need not wait. 0, or -1 with an exception. */
static int
let_woken_run(LinkableObject *self)
{
    coir__linkable_check_fork(self);
    return COIR__LIKELY(self->woken == 0) ? 0 : coir__yield_if_possible();
}

/* The argument `timeout` of a method that has no other. */
static int
get_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
            PyObject **timeout, int64_t *ns)
{
    static const char *const names[] = {"timeout"};
    *timeout = NULL;
    *ns = COIR_FOREVER;
    if (nargs == 0 && kwnames == NULL)
        return 0;
    if (coir__arguments("wait", names, 1, args, nargs, kwnames, timeout) < 0)
        return -1;
    return coir__timeout_arg(*timeout, ns);
}

/* Wait, once: enum coir_link_wake, or -1 with an exception. */
static inline int
wait_once(LinkableObject *self, const char *what, int64_t ns)
{
    int number = -1, lost;
    return coir__linkable_wait(self, (PyObject *)self, what, ns, &number,
                               &lost);
}

/* --- Event --------------------------------------------------------------- */

typedef struct {
    LinkableObject link;
    int is_set;
} EventObject;

#define SELF ((EventObject *)op)

static int
event_is_ready(const LinkableObject *op)
{
    return ((const EventObject *)op)->is_set;
}

static PyObject *
event_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    return coir__linkable_new(type, event_is_ready);
}

static int
event_init(PyObject *Py_UNUSED(op), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    return PyArg_ParseTupleAndKeywords(args, kwargs, ":Event", names) ? 0 : -1;
}

static PyObject *
event_is_set(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->is_set);
}

static PyObject *
event_set(PyObject *op, PyObject *Py_UNUSED(unused))
{
    SELF->is_set = 1;
    notify_all(&SELF->link);
    Py_RETURN_NONE;
}

static PyObject *
event_clear(PyObject *op, PyObject *Py_UNUSED(unused))
{
    SELF->is_set = 0;
    Py_RETURN_NONE;
}

static PyObject *
event_wait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    PyObject *timeout;
    int64_t ns;
    if (get_timeout(args, nargs, kwnames, &timeout, &ns) < 0)
        return NULL;
    if (SELF->is_set) {
        if (let_woken_run(&SELF->link) < 0)
            return NULL;
        Py_RETURN_TRUE;
    }
    int how = wait_once(&SELF->link, "wait", ns);
    if (how < 0 ||
        (how == COIR_LINK_TIME && coir__timeout_is_over(timeout) < 0))
        return NULL;
    return PyBool_FromLong(how != COIR_LINK_TIME);
}

static PyObject *
event_reset(PyObject *op, PyObject *Py_UNUSED(unused))
{
    coir__linkable_forget(&SELF->link);
    Py_RETURN_NONE;
}

static PyObject *
event_show(PyObject *op, const char *format, const char *state)
{
    PyObject *module =
        PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__module__");
    if (module == NULL)
        return NULL;
    PyObject *text =
        PyUnicode_FromFormat(format, module, coir__type_name(Py_TYPE(op)), op,
                             state, coir__linkable_count(&SELF->link));
    Py_DECREF(module);
    return text;
}

static PyObject *
event_repr(PyObject *op)
{
    return event_show(op, "<%S.%s at %p: %s>", SELF->is_set ? "set" : "unset");
}

static PyObject *
event_str(PyObject *op)
{
    return event_show(op, "<%S.%s at %p %s _links[%zd]>",
                      SELF->is_set ? "set" : "clear");
}

#define FAST (PyCFunction)(void (*)(void))

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS,
     "is_set($self)\n--\n\nWhether set() was called, and not clear()."},
    {"isSet", event_is_set, METH_NOARGS, "isSet($self)\n--\n\nAs is_set()."},
    {"set", event_set, METH_NOARGS,
     "set($self)\n--\n\n"
     "Wake all who wait, in the order in which they came, even if it is\n"
     "cleared before they run. Does not block."},
    {"clear", event_clear, METH_NOARGS,
     "clear($self)\n--\n\nFrom now on wait() blocks."},
    {"wait", FAST event_wait, METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Block until it is set: whether that was within `timeout` seconds."},
    {"_reset_internal_locks", event_reset, METH_NOARGS,
     "_reset_internal_locks($self)\n--\n\nFor the child of a fork."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject event_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.event.Event",
    .tp_basicsize = sizeof(EventObject),
    .tp_repr = event_repr,
    .tp_str = event_str,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "Event()\n--\n\n"
              "A flag that greenlets, and threads, wait for, as\n"
              "threading.Event. May be used from any thread.",
    .tp_methods = event_methods,
    .tp_base = &coir__linkable_type,
    .tp_init = event_init,
    .tp_new = event_new,
};

/* --- AsyncResult --------------------------------------------------------- */

#undef SELF

typedef struct {
    LinkableObject link;
    PyObject *value; /* strong; NULL: not set */
    PyObject *type;  /* strong; NULL: no exception is set */
    PyObject *exc;   /* strong */
    PyObject *tb;    /* strong: its traceback when it was set, or None */
    PyObject *index; /* strong or NULL: imap()'s */
} ResultObject;

#define SELF ((ResultObject *)op)

static int
result_is_ready(const LinkableObject *op)
{
    const ResultObject *self = (const ResultObject *)op;
    return self->value != NULL || self->type != NULL;
}

static PyObject *
result_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
           PyObject *Py_UNUSED(kwargs))
{
    return coir__linkable_new(type, result_is_ready);
}

static int
result_init(PyObject *Py_UNUSED(op), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    return PyArg_ParseTupleAndKeywords(args, kwargs, ":AsyncResult", names)
               ? 0
               : -1;
}

static PyObject *
result_set(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"value"};
    PyObject *value = Py_None;
    if (coir__arguments("set", names, 1, args, nargs, kwnames, &value) < 0)
        return NULL;
    Py_XSETREF(SELF->value, Py_NewRef(value));
    notify_all(&SELF->link);
    Py_RETURN_NONE;
}

static PyObject *
result_set_exception(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    static const char *const names[] = {"exception", "exc_info"};
    PyObject *in[] = {NULL, Py_None};
    if (coir__arguments("set_exception", names, 2, args, nargs, kwnames, in) <
        0)
        return NULL;
    if (in[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "set_exception() needs an exception");
        return NULL;
    }
    PyObject *type = (PyObject *)Py_TYPE(in[0]), *exc = in[0], *tb = Py_None;
    int given = PyObject_IsTrue(in[1]);
    if (given < 0)
        return NULL;
    PyObject *info = given ? PySequence_Tuple(in[1]) : NULL;
    if (given && (info == NULL ||
                  !PyArg_ParseTuple(info, "OOO:exc_info", &type, &exc, &tb))) {
        Py_XDECREF(info);
        return NULL;
    }
    PyObject *old[] = {SELF->type, SELF->exc, SELF->tb};
    SELF->type = Py_NewRef(type);
    SELF->exc = Py_NewRef(exc);
    SELF->tb = Py_NewRef(tb);
    Py_XDECREF(info);
    for (int i = 0; i < 3; i++)
        Py_XDECREF(old[i]);
    notify_all(&SELF->link);
    Py_RETURN_NONE;
}

/* Raise what it holds, with the traceback it had when it was set. */
static PyObject *
raise_result(ResultObject *self)
{
    PyObject *exc = self->exc;
    if (PyExceptionInstance_Check(exc)) {
        Py_INCREF(exc);
        if (PyException_SetTraceback(exc, self->tb) == 0)
            PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    else if (PyExceptionClass_Check(self->type)) {
        PyErr_SetObject(self->type, exc);
    }
    else {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must derive from "
                     "BaseException, not %R",
                     exc);
    }
    return NULL;
}

static PyObject *
get_result(PyObject *op, int block, PyObject *timeout)
{
    if (!result_is_ready(&SELF->link)) {
        if (!block) {
            coir__timeout_raise(NULL);
            return NULL;
        }
        int64_t ns;
        if (coir__timeout_arg(timeout, &ns) < 0)
            return NULL;
        int how = wait_once(&SELF->link, "get", ns);
        if (how == COIR_LINK_TIME)
            coir__timeout_raise(timeout);
        if (how <= 0)
            return NULL;
    }
    return SELF->value != NULL ? Py_NewRef(SELF->value) : raise_result(SELF);
}

static PyObject *
result_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"block", "timeout"};
    PyObject *in[] = {Py_True, Py_None};
    if (coir__arguments("get", names, 2, args, nargs, kwnames, in) < 0)
        return NULL;
    int block = PyObject_IsTrue(in[0]);
    return block >= 0 ? get_result(op, block, in[1]) : NULL;
}

/* self.get(name=value), of a subclass. */
static PyObject *
call_get(PyObject *op, const char *name, PyObject *value)
{
    PyObject *get = PyObject_GetAttrString(op, "get");
    PyObject *kwargs = get != NULL ? Py_BuildValue("{sO}", name, value) : NULL;
    PyObject *res = NULL;
    if (kwargs != NULL)
        res = PyObject_Call(get, coir__core.empty_tuple, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(get);
    return res;
}

static PyObject *
result_result(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    static const char *const names[] = {"timeout"};
    PyObject *timeout = Py_None;
    if (coir__arguments("result", names, 1, args, nargs, kwnames, &timeout) <
        0)
        return NULL;
    if (!Py_IS_TYPE(op, &result_type))
        return call_get(op, "timeout", timeout);
    return get_result(op, 1, timeout);
}

static PyObject *
result_done(PyObject *op, PyObject *unused)
{
    if (!Py_IS_TYPE(op, &result_type))
        return PyObject_CallMethod(op, "ready", NULL);
    return coir__linkable_ready(op, unused);
}

static PyObject *
result_get_nowait(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!Py_IS_TYPE(op, &result_type))
        return call_get(op, "block", Py_False);
    return get_result(op, 0, NULL);
}

static PyObject *
result_get_value(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->value != NULL ? SELF->value : Py_None);
}

static PyObject *
result_wait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *timeout;
    int64_t ns;
    if (get_timeout(args, nargs, kwnames, &timeout, &ns) < 0)
        return NULL;
    if (result_is_ready(&SELF->link)) {
        if (let_woken_run(&SELF->link) < 0)
            return NULL;
        return result_get_value(op, NULL);
    }
    int how = wait_once(&SELF->link, "wait", ns);
    if (how < 0 ||
        (how == COIR_LINK_TIME && coir__timeout_is_over(timeout) < 0))
        return NULL;
    return result_get_value(op, NULL);
}

static PyObject *
result_successful(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->value != NULL);
}

static PyObject *
result_false(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_FALSE;
}

/* The link protocol: take over what `source` has. */
static PyObject *
result_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"source", NULL};
    PyObject *source;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:AsyncResult", names,
                                     &source))
        return NULL;
    PyObject *good = PyObject_CallMethod(source, "successful", NULL);
    int is_good = good != NULL ? PyObject_IsTrue(good) : -1;
    Py_XDECREF(good);
    if (is_good < 0)
        return NULL;
    PyObject *res = NULL;
    if (is_good) {
        PyObject *value = PyObject_GetAttrString(source, "value");
        if (value != NULL)
            res = PyObject_CallMethod(op, "set", "(O)", value);
        Py_XDECREF(value);
        return res;
    }
    PyObject *exc = PyObject_GetAttrString(source, "exception");
    PyObject *info =
        exc != NULL ? PyObject_GetAttrString(source, "exc_info") : NULL;
    if (exc != NULL && info == NULL &&
        PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        info = Py_NewRef(Py_None);
    }
    if (info != NULL)
        res = PyObject_CallMethod(op, "set_exception", "OO", exc, info);
    Py_XDECREF(exc);
    Py_XDECREF(info);
    return res;
}

static PyObject *
result_get_exception(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->type != NULL ? SELF->exc : Py_None);
}

static PyObject *
result_get_exc_info(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->type == NULL)
        return Py_NewRef(coir__core.empty_tuple);
    return PyTuple_Pack(3, SELF->type, SELF->exc, SELF->tb);
}

static PyObject *
result_get_index(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->index != NULL)
        return Py_NewRef(SELF->index);
    PyErr_SetString(PyExc_AttributeError, "_imap_task_index");
    return NULL;
}

static int
result_set_index(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(SELF->index, Py_XNewRef(value));
    return 0;
}

static PyObject *
result_repr(PyObject *op)
{
    const char *name = coir__type_name(Py_TYPE(op));
    Py_ssize_t links = coir__linkable_count(&SELF->link);
    if (SELF->type != NULL)
        return PyUnicode_FromFormat("<%s exception=%R _links[%zd]>", name,
                                    SELF->exc, links);
    if (SELF->value != NULL)
        return PyUnicode_FromFormat("<%s value=%R _links[%zd]>", name,
                                    SELF->value, links);
    return PyUnicode_FromFormat("<%s unset _links[%zd]>", name, links);
}

static int
result_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->value);
    Py_VISIT(SELF->type);
    Py_VISIT(SELF->exc);
    Py_VISIT(SELF->tb);
    Py_VISIT(SELF->index);
    return coir__linkable_traverse(op, visit, arg);
}

static int
result_clear(PyObject *op)
{
    Py_CLEAR(SELF->value);
    Py_CLEAR(SELF->type);
    Py_CLEAR(SELF->exc);
    Py_CLEAR(SELF->tb);
    Py_CLEAR(SELF->index);
    return coir__linkable_clear(op);
}

static void
result_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)result_clear(op);
    coir__linkable_dealloc(op);
}

static PyMethodDef result_methods[] = {
    {"set", FAST result_set, METH_FASTCALL | METH_KEYWORDS,
     "set($self, value=None)\n--\n\n"
     "Hold the value and wake all who wait. Does not block."},
    {"set_result", FAST result_set, METH_FASTCALL | METH_KEYWORDS,
     "set_result($self, value=None)\n--\n\nAs set()."},
    {"set_exception", FAST result_set_exception, METH_FASTCALL | METH_KEYWORDS,
     "set_exception($self, exception, exc_info=None)\n--\n\n"
     "Hold an exception and wake all who wait. With `exc_info`, as\n"
     "sys.exc_info() returns it, it is raised with that traceback."},
    {"get", FAST result_get, METH_FASTCALL | METH_KEYWORDS,
     "get($self, block=True, timeout=None)\n--\n\n"
     "The value; or its exception is raised. Blocks until it has either,\n"
     "for `timeout` seconds at most, not at all if `block` is false; then\n"
     "Timeout is raised."},
    {"result", FAST result_result, METH_FASTCALL | METH_KEYWORDS,
     "result($self, timeout=None)\n--\n\nAs get()."},
    {"get_nowait", result_get_nowait, METH_NOARGS,
     "get_nowait($self)\n--\n\nAs get(block=False)."},
    {"wait", FAST result_wait, METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Block until it is ready, for `timeout` seconds at most. Returns its\n"
     "value, None if it has none."},
    {"successful", result_successful, METH_NOARGS,
     "successful($self)\n--\n\nWhether it holds a value."},
    {"done", result_done, METH_NOARGS, "done($self)\n--\n\nAs ready()."},
    {"cancel", result_false, METH_NOARGS,
     "cancel($self)\n--\n\nDoes nothing, and says so: False."},
    {"cancelled", result_false, METH_NOARGS, "cancelled($self)\n--\n\nFalse."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef result_getset[] = {
    {"value", result_get_value, NULL, "None if it holds none.", NULL},
    {"exception", result_get_exception, NULL, "None if it holds none.", NULL},
    {"exc_info", result_get_exc_info, NULL,
     "Type, exception and traceback; () if it holds none.", NULL},
    {"_imap_task_index", result_get_index, result_set_index,
     "A place in the order of results.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject result_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.event.AsyncResult",
    .tp_basicsize = sizeof(ResultObject),
    .tp_dealloc = result_dealloc,
    .tp_repr = result_repr,
    .tp_call = result_call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "AsyncResult()\n--\n\n"
              "A value, or an exception, that will come once. May be linked\n"
              "to a greenlet. May be used from any thread.\n\n"
              "    >>> import gevent\n"
              "    >>> from gevent.event import AsyncResult\n"
              "    >>> answer = AsyncResult()\n"
              "    >>> who = gevent.spawn(answer.get)\n"
              "    >>> answer.ready()\n"
              "    False\n"
              "    >>> answer.set(42)\n"
              "    >>> who.get(), answer.get(), answer.value\n"
              "    (42, 42, 42)\n\n"
              "Linked to a greenlet it takes over how that ends:\n\n"
              "    >>> copy = AsyncResult()\n"
              "    >>> gevent.spawn(int, '7').link(copy)\n"
              "    >>> copy.get(timeout=10)\n"
              "    7\n"
              "    >>> failure = AsyncResult()\n"
              "    >>> failure.set_exception(LookupError('nothing there'))\n"
              "    >>> failure.successful()\n"
              "    False\n"
              "    >>> failure.get()\n"
              "    Traceback (most recent call last):\n"
              "    ...\n"
              "    LookupError: nothing there\n",
    .tp_traverse = result_traverse,
    .tp_clear = result_clear,
    .tp_methods = result_methods,
    .tp_getset = result_getset,
    .tp_base = &coir__linkable_type,
    .tp_init = result_init,
    .tp_new = result_new,
};

int
coir__event_types_init(PyObject *module)
{
    if (coir__link_type_init(module) < 0 ||
        PyModule_AddType(module, &event_type) < 0)
        return -1;
    return PyModule_AddType(module, &result_type);
}
