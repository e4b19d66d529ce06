/* greenlink.c - around gevent's Greenlet: links that run in a greenlet of
 * their own, iwait() and wait(), and where a greenlet was spawned.
 *
 * iwait() is linked to everything it waits for, and notes in a list what is
 * ready, in that order; who iterates is woken when there is as much of it as
 * it wants: one for each step of iwait(), all at once for wait(). */
#include "green.h"

#include <stddef.h>
#include <string.h>

/* --- where something was spawned ----------------------------------------- */

/* The last one taken, borrowed: the next is mostly the same. */
static coir_spawn_stack *last_stack;

coir_spawn_stack *
coir__spawn_stack_take(int limit)
{
    coir_pyplace places[COIR_SPAWN_PLACES];
    int count = coir_pystate_places(PyThreadState_Get(), places, limit);
    if (count <= 0)
        return NULL;
    coir_spawn_stack *s = last_stack;
    if (s != NULL && s->count == count) {
        int i = 0;
        while (i < count && s->places[i].code == places[i].code &&
               s->places[i].lasti == places[i].lasti)
            i++;
        if (i == count) {
            s->refs++;
            return s;
        }
    }
    size_t size = (unsigned)count * sizeof(coir_pyplace);
    s = PyMem_Malloc(sizeof *s + size);
    if (s == NULL)
        return NULL;
    s->refs = 1;
    s->count = count;
    memcpy(s->places, places, size);
    for (int i = 0; i < count; i++)
        Py_INCREF(places[i].code);
    last_stack = s;
    return s;
}

void
coir__spawn_stack_free(coir_spawn_stack *s)
{
    if (--s->refs > 0)
        return;
    if (last_stack == s)
        last_stack = NULL;
    for (int i = 0; i < s->count; i++)
        Py_DECREF(s->places[i].code);
    PyMem_Free(s);
}

/* What looks like a frame to the traceback module. */
typedef struct {
    PyObject_HEAD PyObject *code; /* strong */
    PyObject *back;               /* strong: another one, or None */
    int line;
} FrameObject;

static void
frame_dealloc(PyObject *op)
{
    FrameObject *f = (FrameObject *)op;
    Py_XDECREF(f->code);
    Py_XDECREF(f->back);
    Py_TYPE(op)->tp_free(op);
}

static PyObject *
frame_get_line(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((FrameObject *)op)->line);
}

static PyObject *
frame_get_code(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(((FrameObject *)op)->code);
}

static PyObject *
frame_get_back(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(((FrameObject *)op)->back);
}

static PyObject *
frame_get_globals(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyGetSetDef frame_getset[] = {
    {"f_code", frame_get_code, NULL, "The code object.", NULL},
    {"f_lineno", frame_get_line, NULL, "The line in it.", NULL},
    {"f_back", frame_get_back, NULL, "The one that called it.", NULL},
    {"f_globals", frame_get_globals, NULL, "Not kept: None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject frame_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.greenlet._Frame",
    .tp_basicsize = sizeof(FrameObject),
    .tp_dealloc = frame_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "Where a frame was when a greenlet was spawned.",
    .tp_getset = frame_getset,
};

PyObject *
coir__spawn_stack_frames(const coir_spawn_stack *s)
{
    PyObject *inner = Py_NewRef(Py_None);
    for (int i = s != NULL ? s->count : 0; i-- > 0;) {
        FrameObject *f = PyObject_New(FrameObject, &frame_type);
        if (f == NULL) {
            Py_DECREF(inner);
            return NULL;
        }
        PyCodeObject *code = s->places[i].code;
        f->code = Py_NewRef((PyObject *)code);
        f->back = inner;
        f->line = PyCode_Addr2Line(code, s->places[i].lasti);
        inner = (PyObject *)f;
    }
    return inner;
}

/* --- links in a greenlet of their own ------------------------------------ */

typedef struct {
    PyObject_HEAD PyObject *callback; /* strong */
} LinkObject;

/* It is `callback` to all who compare or ask for attributes. */
static PyObject *
link_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"callback", NULL};
    PyObject *callback;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:SpawnedLink", names,
                                     &callback))
        return NULL;
    if (!PyCallable_Check(callback))
        return PyErr_Format(PyExc_TypeError, "Expected callable: %R",
                            callback);
    PyObject *op = type->tp_alloc(type, 0);
    if (op != NULL)
        ((LinkObject *)op)->callback = Py_NewRef(callback);
    return op;
}

static int
link_traverse(PyObject *op, visitproc visit, void *arg)
{
    if (PyType_HasFeature(Py_TYPE(op), Py_TPFLAGS_HEAPTYPE))
        Py_VISIT(Py_TYPE(op));
    Py_VISIT(((LinkObject *)op)->callback);
    return 0;
}

static int
link_clear(PyObject *op)
{
    Py_CLEAR(((LinkObject *)op)->callback);
    return 0;
}

static void
link_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)link_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static int
is_wanted(PyObject *op, PyObject *source)
{
    int kind = PyObject_TypeCheck(op, &coir__link_types[COIR_LINK_VALUE])
                   ? COIR_LINK_VALUE
               : PyObject_TypeCheck(op, &coir__link_types[COIR_LINK_EXCEPTION])
                   ? COIR_LINK_EXCEPTION
                   : COIR_LINK_ANY;
    if (kind == COIR_LINK_ANY)
        return 1;
    PyObject *res = PyObject_CallMethod(source, "successful", NULL);
    int ok = res != NULL ? PyObject_IsTrue(res) : -1;
    Py_XDECREF(res);
    return ok < 0 ? -1 : ok == (kind == COIR_LINK_VALUE);
}

static PyObject *
link_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *source;
    if (!PyArg_ParseTuple(args, "O:SpawnedLink", &source))
        return NULL;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)
        return PyErr_Format(PyExc_TypeError,
                            "SpawnedLink takes no keyword arguments");
    int wanted = is_wanted(op, source);
    if (wanted < 0)
        return NULL;
    if (!wanted)
        Py_RETURN_NONE;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return NULL;
    GreenletObject *g = coir__greenlet_new(((LinkObject *)op)->callback,
                                           (GreenletObject *)hub);
    if (g == NULL)
        return NULL;
    coir_payload p = {Py_NewRef(source), NULL, 0};
    PyObject *res = coir__greenlet_switch(t, g, p);
    Py_DECREF(g);
    Py_XDECREF(res);
    return res != NULL ? Py_NewRef(Py_None) : NULL;
}

static int
is_link(PyObject *op)
{
    return PyObject_TypeCheck(op, &coir__link_types[COIR_LINK_ANY]);
}

static PyObject *
link_compare(PyObject *op, PyObject *other, int what)
{
    if (what != Py_EQ && what != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    if (is_link(other))
        other = ((LinkObject *)other)->callback;
    return PyObject_RichCompare(((LinkObject *)op)->callback, other, what);
}

static Py_hash_t
link_hash(PyObject *op)
{
    return PyObject_Hash(((LinkObject *)op)->callback);
}

static PyObject *
link_str(PyObject *op)
{
    return PyObject_Str(((LinkObject *)op)->callback);
}

static PyObject *
link_repr(PyObject *op)
{
    return PyObject_Repr(((LinkObject *)op)->callback);
}

static PyObject *
link_getattro(PyObject *op, PyObject *name)
{
    PyObject *res = PyObject_GenericGetAttr(op, name);
    if (res != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return res;
    PyErr_Clear();
    return PyObject_GetAttr(((LinkObject *)op)->callback, name);
}

static PyObject *
link_get_callback(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(((LinkObject *)op)->callback);
}

static PyGetSetDef link_getset[] = {
    {"callback", link_get_callback, NULL, "What it calls.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define LINK_TYPE(name, base, doc)                                            \
    {                                                                         \
        PyVarObject_HEAD_INIT(NULL, 0)                                        \
            .tp_name = "coir.gevent.greenlet." name,                          \
          .tp_basicsize = sizeof(LinkObject), .tp_dealloc = link_dealloc,     \
          .tp_repr = link_repr, .tp_hash = link_hash, .tp_call = link_call,   \
          .tp_str = link_str, .tp_getattro = link_getattro,                   \
          .tp_flags =                                                         \
              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,  \
          .tp_doc = doc, .tp_traverse = link_traverse,                        \
          .tp_clear = link_clear, .tp_richcompare = link_compare,             \
          .tp_getset = link_getset, .tp_base = base, .tp_new = link_new,      \
          .tp_free = PyObject_GC_Del,                                         \
    }

PyTypeObject coir__link_types[3] = {
    LINK_TYPE("SpawnedLink", NULL,
              "SpawnedLink(callback)\n--\n\n"
              "Calls the callback in a raw greenlet of its own."),
    LINK_TYPE("SuccessSpawnedLink", &coir__link_types[0],
              "SuccessSpawnedLink(callback)\n--\n\n"
              "The same, if what is linked has ended without an error."),
    LINK_TYPE("FailureSpawnedLink", &coir__link_types[0],
              "FailureSpawnedLink(callback)\n--\n\n"
              "The same, if what is linked has ended by an error."),
};

/* --- iwait() ------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD PyObject
        *objects;        /* strong: a list or tuple; NULL after the end */
    PyObject *done;      /* strong: a list, what is ready */
    Py_ssize_t next;     /* in `done` */
    Py_ssize_t left;     /* that may still be given */
    Py_ssize_t wanted;   /* wake when there are so many */
    PyObject *seconds;   /* strong: the timeout, or None */
    int64_t deadline_ns; /* COIR_FOREVER: none */
    Py_ssize_t linked;   /* plain Greenlets that have not told yet */
    coir_list waiters;
    int begun;
    int has_others; /* that are linked in Python, and unlinked in any case */
    int has_lost;   /* there was no memory to note one */
} IWaitObject;

static IWaitObject *
iwait_make(PyObject *objects, PyObject *seconds, PyObject *count)
{
    Py_ssize_t n = PyObject_Size(objects);
    if (n < 0)
        return NULL;
    if (count != Py_None) {
        Py_ssize_t most = PyNumber_AsSsize_t(count, PyExc_OverflowError);
        if (most == -1 && PyErr_Occurred())
            return NULL;
        if (most < n)
            n = most > 0 ? most : 0;
    }
    PyObject *fast = PySequence_Fast(objects, "iwait() needs a sequence");
    PyObject *done = PyList_New(0);
    if (fast == NULL || done == NULL)
        goto fail;
    IWaitObject *it = PyObject_GC_New(IWaitObject, &coir__iwait_type);
    if (it == NULL)
        goto fail;
    memset((char *)it + sizeof(PyObject), 0, sizeof *it - sizeof(PyObject));
    it->objects = fast;
    it->done = done;
    it->left = n;
    it->seconds = Py_NewRef(seconds);
    it->deadline_ns = COIR_FOREVER;
    PyObject_GC_Track(it);
    return it;

fail:
    Py_XDECREF(fast);
    Py_XDECREF(done);
    return NULL;
}

static int
iwait_traverse(PyObject *op, visitproc visit, void *arg)
{
    const IWaitObject *it = (IWaitObject *)op;
    Py_VISIT(it->objects);
    Py_VISIT(it->done);
    Py_VISIT(it->seconds);
    return coir__list_traverse(&it->waiters, visit, arg);
}

static int
iwait_clear(PyObject *op)
{
    IWaitObject *it = (IWaitObject *)op;
    Py_CLEAR(it->objects);
    Py_CLEAR(it->done);
    Py_CLEAR(it->seconds);
    return 0;
}

static void
iwait_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)iwait_clear(op);
    PyObject_GC_Del(op);
}

/* Can it be linked to without Python code? */
static int
is_plain(PyObject *op)
{
    return Py_IS_TYPE(op, &coir__green_type);
}

int
coir__iwait_notify(PyObject *op, PyObject *source)
{
    IWaitObject *it = (IWaitObject *)op;
    if (is_plain(source))
        it->linked--;
    if (it->objects == NULL || it->done == NULL)
        return 0; /* it has ended */
    if (PyList_Append(it->done, source) < 0) {
        PyErr_Clear(); /* who waits is to know */
        it->has_lost = 1;
    }
    if (it->waiters.head != NULL &&
        (PyList_GET_SIZE(it->done) >= it->wanted || it->has_lost))
        coir__wake(coir__wait_of(it->waiters.head), NULL);
    return 0;
}

/* As a link. */
static PyObject *
iwait_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *source;
    if (!PyArg_ParseTuple(args, "O:iwait", &source))
        return NULL;
    (void)kwargs;
    const coir_list *waiters = &((IWaitObject *)op)->waiters;
    coir_node *n = waiters->head;
    if (coir__iwait_notify(op, source) < 0)
        return NULL;
    if (n != NULL && waiters->head != n)
        coir__go_on(coir__wait_of(n));
    Py_RETURN_NONE;
}

static int
iwait_begin(IWaitObject *it)
{
    it->begun = 1;
    if (it->seconds != Py_None) {
        int64_t ns;
        if (coir__timeout_ns(it->seconds, &ns) < 0)
            return -1;
        if (ns != COIR_FOREVER)
            it->deadline_ns = coir_clock_monotonic() + ns;
    }
    PyObject *objects = Py_NewRef(it->objects);
    int err = 0;
    for (Py_ssize_t i = 0; err == 0 && i < PySequence_Fast_GET_SIZE(objects);
         i++) {
        PyObject *op = PySequence_Fast_GET_ITEM(objects, i);
        if (COIR__LIKELY(is_plain(op))) {
            it->linked++;
            err = coir__green_link((GreenObject *)op, (PyObject *)it);
            continue;
        }
        it->has_others = 1;
        Py_INCREF(op);
        PyObject *res =
            PyObject_CallMethod(op, "rawlink", "(O)", (PyObject *)it);
        Py_XDECREF(res);
        err = res != NULL ? 0 : -1;
        Py_DECREF(op);
    }
    Py_DECREF(objects);
    return err;
}

/* Unlink from whatever it is still linked to. Keeps a pending exception. */
static void
iwait_end(IWaitObject *it)
{
    PyObject *objects = it->objects;
    it->objects = NULL;
    it->left = 0;
    if (objects == NULL || (it->linked == 0 && !it->has_others)) {
        Py_XDECREF(objects);
        return;
    }
    PyObject *exc = coir__error_take();
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(objects); i++) {
        PyObject *op = Py_NewRef(PySequence_Fast_GET_ITEM(objects, i));
        if (is_plain(op)) {
            if (coir__green_unlink((GreenObject *)op, (PyObject *)it) < 0)
                PyErr_WriteUnraisable(op);
        }
        else {
            PyObject *res =
                PyObject_CallMethod(op, "unlink", "(O)", (PyObject *)it);
            if (res == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
                PyErr_Clear();
            else if (res == NULL)
                PyErr_WriteUnraisable(op);
            Py_XDECREF(res);
        }
        Py_DECREF(op);
    }
    Py_DECREF(objects);
    coir__error_give(exc);
}

/* Wait until `wanted` are done. 0, 1 after the timeout, or -1. */
static int
iwait_park(IWaitObject *it, Py_ssize_t wanted)
{
    if (!it->begun && iwait_begin(it) < 0)
        return -1;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    it->wanted = wanted;
    while (it->done != NULL && PyList_GET_SIZE(it->done) < wanted) {
        if (it->has_lost) {
            PyErr_NoMemory();
            return -1;
        }
        int64_t ns = COIR_FOREVER;
        if (it->deadline_ns != COIR_FOREVER) {
            ns = it->deadline_ns - coir_clock_monotonic();
            if (ns < 0)
                ns = 0;
        }
        int how;
        PyObject *res =
            coir__park(t, hub, &it->waiters, "wait", (PyObject *)it, ns, &how);
        if (res == NULL)
            return -1;
        Py_DECREF(res);
        if (how == COIR_WOKEN_BY_OTHER) {
            coir__raise_named("InvalidSwitchError",
                              "Invalid switch into iwait()");
            return -1;
        }
        if (how == COIR_WOKEN_BY_TIME)
            return it->done == NULL || PyList_GET_SIZE(it->done) < wanted;
    }
    return 0;
}

static PyObject *
iwait_next(PyObject *op)
{
    IWaitObject *it = (IWaitObject *)op;
    int err =
        it->left > 0 && it->objects != NULL ? iwait_park(it, it->next + 1) : 1;
    if (err != 0 || it->done == NULL ||
        it->next >= PyList_GET_SIZE(it->done)) {
        iwait_end(it);
        return NULL;
    }
    it->left--;
    return Py_NewRef(PyList_GET_ITEM(it->done, it->next++));
}

static PyObject *
iwait_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(op);
}

static PyObject *
iwait_exit(PyObject *op, PyObject *Py_UNUSED(args))
{
    iwait_end((IWaitObject *)op);
    Py_RETURN_NONE;
}

static PyMethodDef iwait_methods[] = {
    {"__enter__", iwait_enter, METH_NOARGS, NULL},
    {"__exit__", iwait_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject coir__iwait_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.WaitIterator",
    .tp_basicsize = sizeof(IWaitObject),
    .tp_dealloc = iwait_dealloc,
    .tp_call = iwait_call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "What iwait() returns.",
    .tp_traverse = iwait_traverse,
    .tp_clear = iwait_clear,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = iwait_next,
    .tp_methods = iwait_methods,
};

/* --- functions ----------------------------------------------------------- */

/* hub.join(timeout=timeout); true if there is no hub. */
static PyObject *
join_hub(PyObject *timeout)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    HubObject *hub = coir__hub_if_any(t);
    if (hub == NULL)
        Py_RETURN_TRUE;
    Py_INCREF(hub);
    PyObject *res =
        PyObject_CallMethod((PyObject *)hub, "join", "(O)", timeout);
    Py_DECREF(hub);
    return res;
}

static PyObject *
core_iwait(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"objects", "timeout", "count", NULL};
    PyObject *objects, *timeout = Py_None, *count = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:iwait", names,
                                     &objects, &timeout, &count))
        return NULL;
    if (objects != Py_None)
        return (PyObject *)iwait_make(objects, timeout, count);
    PyObject *res = join_hub(timeout);
    PyObject *list = res != NULL ? PyList_New(1) : NULL;
    if (list != NULL)
        PyList_SET_ITEM(list, 0, res);
    else
        Py_XDECREF(res);
    return list;
}

static PyObject *
core_wait(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"objects", "timeout", "count", NULL};
    PyObject *objects = Py_None, *timeout = Py_None, *count = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO:wait", names,
                                     &objects, &timeout, &count))
        return NULL;
    if (objects == Py_None)
        return join_hub(timeout);
    IWaitObject *it = iwait_make(objects, timeout, count);
    if (it == NULL)
        return NULL;
    Py_ssize_t wanted = it->left;
    int err = wanted > 0 ? iwait_park(it, wanted) : 0;
    iwait_end(it);
    PyObject *res = NULL;
    if (err >= 0)
        res = PyList_GetSlice(it->done, 0, wanted);
    Py_DECREF(it);
    return res;
}

PyDoc_STRVAR(
    iwait_doc,
    "iwait($module, objects, timeout=None, count=None)\n--\n\n"
    "Give the objects as they become ready, waiting for each.\n\n"
    ":param objects: a sequence of Greenlets, Events or what else has\n"
    "    rawlink(); None for the event loop as a whole\n"
    ":param timeout: seconds for all of it, None for no limit\n"
    ":param count: how many at most, None for all\n\n"
    "If not all of them are to be taken, use it in a ``with`` block, so that\n"
    "nothing is left behind at the objects.");

PyDoc_STRVAR(
    wait_doc,
    "wait($module, objects=None, timeout=None, count=None)\n--\n\n"
    "Wait for the objects and return a list of those that are ready, in the\n"
    "order in which they became it.\n\n"
    "The arguments are those of iwait(). For None, the default, it waits\n"
    "until there is nothing left to do for the event loop, and returns\n"
    "whether that was so before the timeout.");

static PyMethodDef module_functions[] = {
    {"iwait", _PyCFunction_CAST(core_iwait), METH_VARARGS | METH_KEYWORDS,
     iwait_doc},
    {"wait", _PyCFunction_CAST(core_wait), METH_VARARGS | METH_KEYWORDS,
     wait_doc},
    {NULL, NULL, 0, NULL},
};

int
coir__greenlink_types_init(PyObject *module)
{
    static PyTypeObject *const types[] = {
        &coir__link_types[0], &coir__link_types[1], &coir__link_types[2],
        &coir__iwait_type,    &frame_type,
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (PyType_Ready(types[i]) < 0)
            return -1;
    for (size_t i = 0; i < 3; i++)
        if (PyModule_AddType(module, types[i]) < 0)
            return -1;
    return PyModule_AddFunctions(module, module_functions);
}
