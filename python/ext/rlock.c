/* rlock.c - RLock, and that of threads: a semaphore, and who has it. */
#include "lock.h"

#define FAST (PyCFunction)(void (*)(void))

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    SemaphoreObject *block; /* strong, never NULL: who has it has this */
    PyObject *owner;        /* strong: a greenlet, or NULL */
    Py_ssize_t count;       /* how often it is to release it */
} RLockObject;

#define SELF ((RLockObject *)op)

static PyTypeObject rlock_type, thread_rlock_type;

static PyObject *
rlock_make(PyTypeObject *type, PyTypeObject *block)
{
    PyObject *sem = coir__semaphore_new(block, NULL, NULL);
    PyObject *op = sem != NULL ? type->tp_alloc(type, 0) : NULL;
    if (op == NULL)
        Py_XDECREF(sem);
    else
        SELF->block = (SemaphoreObject *)sem;
    return op;
}

static PyObject *
rlock_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    return rlock_make(type, &coir__semaphore_type);
}

static int
rlock_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"hub", NULL};
    PyObject *hub = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:RLock", names, &hub))
        return -1;
    if (hub != NULL && hub != Py_None)
        Py_XSETREF(SELF->block->link.hub, Py_NewRef(hub));
    return 0;
}

/* The running greenlet, borrowed, or NULL with an exception. */
static inline PyObject *
current(void)
{
    coir_pythread *t = coir__pythread_get();
    return t != NULL ? (PyObject *)t->current : NULL;
}

/* 1, 0, or -1 with an exception. */
static inline int
rlock_take(PyObject *op, int block, int64_t ns)
{
    PyObject *me = current();
    if (COIR__UNLIKELY(me == NULL))
        return -1;
    if (SELF->owner == me) {
        SELF->count++;
        return 1;
    }
    Py_INCREF(me);
    int took = coir__semaphore_take(SELF->block, op, block, ns);
    if (took <= 0) {
        Py_DECREF(me);
        return took;
    }
    SELF->owner = me; /* nobody owned it */
    SELF->count = 1;
    return 1;
}

static PyObject *
rlock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    return coir__acquire(op, args, nargs, kwnames, rlock_take);
}

/* Of a class that cannot have methods of its own? */
static inline int
is_ours(const PyObject *op)
{
    return Py_IS_TYPE(op, &rlock_type) || Py_IS_TYPE(op, &thread_rlock_type);
}

static PyObject *
rlock_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!is_ours(op))
        return PyObject_CallMethod(op, "acquire", NULL);
    return rlock_take(op, 1, COIR_FOREVER) >= 0 ? Py_NewRef(Py_True) : NULL;
}

static PyObject *
rlock_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *me = current();
    if (COIR__UNLIKELY(me == NULL))
        return NULL;
    if (COIR__UNLIKELY(SELF->owner != me))
        return PyErr_Format(PyExc_RuntimeError,
                            "cannot release un-acquired lock. Owner: %R "
                            "Current: %R",
                            SELF->owner != NULL ? SELF->owner : Py_None, me);
    if (--SELF->count == 0) {
        SELF->owner = NULL;
        Py_DECREF(me); /* it runs */
        if (coir__semaphore_give(SELF->block) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
rlock_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
           Py_ssize_t Py_UNUSED(nargs))
{
    if (!is_ours(op))
        return PyObject_CallMethod(op, "release", NULL);
    return rlock_release(op, NULL);
}

static PyObject *
rlock_locked(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->block->counter <= 0);
}

static PyObject *
rlock_is_owned(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *me = current();
    return me != NULL ? PyBool_FromLong(SELF->owner == me) : NULL;
}

static PyObject *
rlock_recursion(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *me = current();
    return me != NULL ? PyLong_FromSsize_t(SELF->owner == me ? SELF->count : 0)
                      : NULL;
}

static PyObject *
rlock_release_save(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->count == 0) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    PyObject *state = Py_BuildValue("(nO)", SELF->count,
                                    SELF->owner ? SELF->owner : Py_None);
    if (state == NULL)
        return NULL;
    PyObject *owner = SELF->owner;
    SELF->count = 0;
    SELF->owner = NULL;
    int err = coir__semaphore_give(SELF->block);
    Py_XDECREF(owner);
    if (err < 0)
        Py_CLEAR(state);
    return state;
}

static PyObject *
rlock_acquire_restore(PyObject *op, PyObject *state)
{
    Py_ssize_t count;
    PyObject *owner;
    if (!PyArg_ParseTuple(state, "nO:_acquire_restore", &count, &owner))
        return NULL;
    int has, err = coir__semaphore_take_again(SELF->block, op, &has);
    if (has) {
        PyObject *exc = coir__error_take();
        SELF->count = count;
        Py_XSETREF(SELF->owner, Py_NewRef(owner));
        coir__error_give(exc);
    }
    return err == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
rlock_at_fork(PyObject *op, PyObject *Py_UNUSED(unused))
{
    coir__linkable_forget(&SELF->block->link);
    SELF->block->counter = 1;
    SELF->count = 0;
    Py_CLEAR(SELF->owner);
    Py_RETURN_NONE;
}

static PyObject *
rlock_repr(PyObject *op)
{
    const char *name = coir__type_name(Py_TYPE(op));
    PyObject *owner = SELF->owner;
    if (owner == NULL)
        return PyUnicode_FromFormat("<%s at %p _count=%zd _owner=None>", name,
                                    op, SELF->count);
    /* Its own repr() may show this lock. */
    return PyUnicode_FromFormat("<%s at %p _count=%zd _owner=<%s at %p>>",
                                name, op, SELF->count,
                                coir__type_name(Py_TYPE(owner)), owner);
}

static PyObject *
rlock_get_owner(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->owner != NULL ? SELF->owner : Py_None);
}

static PyObject *
rlock_get_count(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(SELF->count);
}

static PyObject *
rlock_get_block(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)SELF->block);
}

static int
rlock_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->block);
    Py_VISIT(SELF->owner);
    return 0;
}

static int
rlock_clear(PyObject *op)
{
    Py_CLEAR(SELF->owner);
    return 0;
}

static void
rlock_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    Py_CLEAR(SELF->owner);
    Py_DECREF(SELF->block);
    Py_TYPE(op)->tp_free(op);
}

COIR__DEFINE_ONE(rlock_acquire_restore, "_acquire_restore", "count_owner")

static PyMethodDef rlock_methods[] = {
    {"acquire", FAST rlock_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, blocking=True, timeout=None)\n--\n\n"
     "Lock it, once more if the calling greenlet has it; else blocks until\n"
     "it is free, for `timeout` seconds at most, not at all if `blocking` is\n"
     "false. Whether it was locked."},
    {"release", rlock_release, METH_NOARGS,
     "release($self)\n--\n\n"
     "Undo one acquire() of the calling greenlet; after the last it is free.\n"
     "RuntimeError is raised in others."},
    {"locked", rlock_locked, METH_NOARGS,
     "locked($self)\n--\n\nWhether anybody has it."},
    {"__enter__", rlock_enter, METH_NOARGS, NULL},
    {"__exit__", FAST rlock_exit, METH_FASTCALL, NULL},
    {"_is_owned", rlock_is_owned, METH_NOARGS,
     "_is_owned($self)\n--\n\nWhether the calling greenlet has it."},
    {"_recursion_count", rlock_recursion, METH_NOARGS,
     "_recursion_count($self)\n--\n\nHow often the calling greenlet has it."},
    {"_release_save", rlock_release_save, METH_NOARGS,
     "_release_save($self)\n--\n\nFree it; for _acquire_restore()."},
    {"_acquire_restore", COIR__ONE(rlock_acquire_restore),
     "_acquire_restore($self, count_owner)\n--\n\nBlock until it is as it "
     "was."},
    {"_at_fork_reinit", rlock_at_fork, METH_NOARGS,
     "_at_fork_reinit($self)\n--\n\nFor the child of a fork: it is free."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef rlock_getset[] = {
    {"_owner", rlock_get_owner, NULL, "Which greenlet has it, or None.", NULL},
    {"_count", rlock_get_count, NULL, "How often.", NULL},
    {"_block", rlock_get_block, NULL, "What who has it has acquired.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject rlock_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.lock.RLock",
    .tp_basicsize = sizeof(RLockObject),
    .tp_dealloc = rlock_dealloc,
    .tp_repr = rlock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "RLock(hub=None)\n--\n\n"
              "A lock that who has it may acquire again; a greenlet has it,\n"
              "and only that one can release it.",
    .tp_traverse = rlock_traverse,
    .tp_clear = rlock_clear,
    .tp_weaklistoffset = offsetof(RLockObject, weakreflist),
    .tp_methods = rlock_methods,
    .tp_getset = rlock_getset,
    .tp_init = rlock_init,
    .tp_new = rlock_new,
};

/* --- the RLock of threads ------------------------------------------------ */

static PyObject *
thread_rlock_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                 PyObject *Py_UNUSED(kwargs))
{
    return rlock_make(type, &coir__thread_lock_type);
}

static int
thread_rlock_init(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(args),
                  PyObject *Py_UNUSED(kwargs))
{
    return 0; /* as _thread.RLock takes them */
}

static PyObject *
thread_rlock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    return coir__thread_acquire(op, args, nargs, kwnames, rlock_take);
}

static PyObject *
thread_rlock_release(PyObject *op, PyObject *unused)
{
    if (SELF->owner == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    return rlock_release(op, unused);
}

static PyObject *
thread_rlock_repr(PyObject *op)
{
    return PyUnicode_FromFormat(
        "<%s %s object owner=%zu count=%zd at %p>",
        SELF->block->counter <= 0 ? "locked" : "unlocked",
        Py_TYPE(op)->tp_name, (size_t)SELF->owner, SELF->count, op);
}

static PyMethodDef thread_rlock_methods[] = {
    {"acquire", FAST thread_rlock_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, blocking=True, timeout=-1)\n--\n\n"
     "Lock it, once more if the calling greenlet has it; else blocks until\n"
     "it is free, for `timeout` seconds at most, not at all if `blocking` is\n"
     "false. Whether it was locked."},
    {"release", thread_rlock_release, METH_NOARGS,
     "release($self)\n--\n\n"
     "Undo one acquire() of the calling greenlet; after the last it is free.\n"
     "RuntimeError is raised in others."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject thread_rlock_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.threading.RLock",
    .tp_basicsize = sizeof(RLockObject),
    .tp_repr = thread_rlock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "RLock()\n--\n\n"
              "An RLock with the arguments of threading.RLock.",
    .tp_methods = thread_rlock_methods,
    .tp_base = &rlock_type,
    .tp_init = thread_rlock_init,
    .tp_new = thread_rlock_new,
};

int
coir__rlock_types_init(PyObject *module)
{
    if (PyModule_AddType(module, &rlock_type) < 0 ||
        PyType_Ready(&thread_rlock_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "ThreadRLock",
                                 (PyObject *)&thread_rlock_type);
}
