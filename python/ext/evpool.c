/* evpool.c - what of eventlet's GreenPool is done for each green thread.
 *
 * The rest of it is Python, in a class derived from this one. A GreenThread
 * knows its pool, and tells it of its end before its links are called. */
#include "ev.h"

#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD PyObject *sem; /* strong, as the next two; or NULL */
    PyObject *running;           /* a set of greenlets */
    PyObject *none_runs;         /* an Event: sent when none does any more */
    Py_ssize_t size;
} PoolObject;

#define SELF ((PoolObject *)op)

static PyObject *str_spawn_here; /* strong */

static int
is_complete(const PoolObject *self)
{
    if (self->sem != NULL && coir__evsem_check(self->sem) &&
        self->running != NULL && PySet_Check(self->running) &&
        self->none_runs != NULL)
        return 1;
    PyErr_SetString(PyExc_RuntimeError, "the pool is not initialized");
    return 0;
}

/* Does the caller run in a pool that is full? It might wait for itself. */
static int
is_reentrant(const PoolObject *self)
{
    if (COIR__LIKELY(coir__evsem_counter(self->sem) > 0))
        return 0;
    const coir_pythread *t = coir__pythread_get();
    return t != NULL ? PySet_Contains(self->running, (PyObject *)t->current)
                     : -1;
}

static PyObject *
spawn_here(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttr(op, str_spawn_here);
    if (method == NULL)
        return NULL;
    PyObject *res = PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return res;
}

/* Count a new one. 0, or -1 with an exception. */
static int
add(PoolObject *self, PyObject *green)
{
    if (PySet_GET_SIZE(self->running) == 0 &&
        coir__ev_event_renew(&self->none_runs) < 0)
        return -1;
    return PySet_Add(self->running, green);
}

static PyObject *
pool_spawn(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    if (!is_complete(SELF))
        return NULL;
    if (COIR__UNLIKELY(nargs < 1))
        return coir__ev_first_by_name(pool_spawn, "spawn", "function", op,
                                      args, kwnames);
    int here = is_reentrant(SELF);
    if (here != 0)
        return here > 0 ? spawn_here(op, args, nargs, kwnames) : NULL;
    if (coir__evsem_take(SELF->sem) < 0)
        return NULL;
    PyObject *tuple, *dict;
    ThreadObject *g = NULL;
    if (coir__ev_pack(args + 1, nargs - 1, kwnames, &tuple, &dict) == 0)
        g = coir__evthread_new(Py_NewRef(args[0]), tuple, dict);
    if (g == NULL || add(SELF, (PyObject *)g) < 0) {
        Py_XDECREF(g);
        coir__evsem_give(SELF->sem);
        return NULL;
    }
    g->pool = Py_NewRef(op);
    coir__evthread_start(&g->spawn, coir__pythread->hub);
    return (PyObject *)g;
}

/* One has ended. 0, or -1 with an exception. */
static int
done(PoolObject *self, PyObject *green)
{
    if (!is_complete(self))
        return -1;
    coir__evsem_give(self->sem);
    if (green != Py_None) {
        int found = PySet_Discard(self->running, green);
        if (found == 0)
            PyErr_SetObject(PyExc_KeyError, green);
        if (found <= 0)
            return -1;
    }
    if (coir__evsem_balance(self->sem) == self->size)
        coir__ev_event_send_once(self->none_runs);
    return 0;
}

int
coir__evpool_done(PyObject *op, PyObject *green)
{
    return done(SELF, green);
}

static PyObject *
pool_spawn_done(PyObject *op, PyObject *green)
{
    return done(SELF, green) == 0 ? Py_NewRef(Py_None) : NULL;
}

/* For those that spawn_n() starts. */
static PyObject *
pool_add(PyObject *op, PyObject *green)
{
    return is_complete(SELF) && add(SELF, green) == 0 ? Py_NewRef(Py_None)
                                                      : NULL;
}

static PyObject *
pool_is_reentrant(PyObject *op, PyObject *Py_UNUSED(unused))
{
    int here = is_complete(SELF) ? is_reentrant(SELF) : -1;
    return here < 0 ? NULL : PyBool_FromLong(here);
}

static int
pool_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->sem);
    Py_VISIT(SELF->running);
    Py_VISIT(SELF->none_runs);
    return 0;
}

static int
pool_clear(PyObject *op)
{
    Py_CLEAR(SELF->sem);
    Py_CLEAR(SELF->running);
    Py_CLEAR(SELF->none_runs);
    return 0;
}

static void
pool_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)pool_clear(op);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef pool_methods[] = {
    {"spawn", (PyCFunction)(void (*)(void))pool_spawn,
     METH_FASTCALL | METH_KEYWORDS,
     "spawn($self, function, *args, **kwargs)\n--\n\n"
     "Run ``function(*args, **kwargs)`` in the pool, waiting for a place."},
    {"_spawn_done", pool_spawn_done, METH_O,
     "_spawn_done($self, coro, /)\n--\n\nIt has ended."},
    {"_add", pool_add, METH_O, "_add($self, coro, /)\n--\n\nIt was spawned."},
    {"_is_reentrant", pool_is_reentrant, METH_NOARGS,
     "_is_reentrant($self)\n--\n\n"
     "Whether the caller is of the pool, and that is full."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef pool_members[] = {
    {"sem", T_OBJECT_EX, offsetof(PoolObject, sem), 0,
     "A Semaphore of the places that are free."},
    {"coroutines_running", T_OBJECT_EX, offsetof(PoolObject, running), 0,
     "A set of those that run."},
    {"no_coros_running", T_OBJECT_EX, offsetof(PoolObject, none_runs), 0,
     "An Event that is sent when none runs any more."},
    {"size", T_PYSSIZET, offsetof(PoolObject, size), 0,
     "How many may run at a time."},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject pool_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name =
        "coir.eventlet.greenpool.GreenPool",
    .tp_basicsize = sizeof(PoolObject),
    .tp_dealloc = pool_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Base of eventlet's GreenPool.",
    .tp_traverse = pool_traverse,
    .tp_clear = pool_clear,
    .tp_methods = pool_methods,
    .tp_members = pool_members,
    .tp_new = PyType_GenericNew,
};

int
coir__evpool_types_init(PyObject *module)
{
    str_spawn_here = PyUnicode_InternFromString("_spawn_here");
    if (str_spawn_here == NULL || PyType_Ready(&pool_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "EvGreenPool",
                                 (PyObject *)&pool_type);
}
