/* lock.c - Semaphore, BoundedSemaphore, RLock, and the lock of threads.
 *
 * `counter` is what is free. release() adds one and wakes the first who waits,
 * unless so many are awake already; who is awake takes one when it runs, if it
 * is still there. Meanwhile others may take it: a greenlet that releases and
 * acquires in a loop need not switch each time. But who has been disappointed
 * once is first in the queue, and is given what the next release() brings,
 * before it is counted. So nobody starves.
 *
 * Who is killed after it was woken, or given, and before it ran, passes that
 * on. */
#include "link.h"

#include <math.h>

/* The longest timeout of a thread's lock in seconds: threading.TIMEOUT_MAX. */
#define TIMEOUT_MAX_S 9223372036.0

typedef struct {
    LinkableObject link;
    Py_ssize_t counter;
    Py_ssize_t initial; /* BoundedSemaphore */
} SemaphoreObject;

#define SELF ((SemaphoreObject *)op)
#define FAST (PyCFunction)(void (*)(void))

static PyTypeObject semaphore_type;
static PyTypeObject bounded_type;
static PyTypeObject lock_type;

/* --- taking and giving --------------------------------------------------- */

/* Wake as many as there is something for, beside those who are awake. */
static void
wake(SemaphoreObject *self)
{
    coir__linkable_check_fork(&self->link);
    Py_ssize_t count = self->counter - self->link.woken;
    if (count > INT_MAX)
        count = INT_MAX;
    coir__linkable_notify(&self->link, count > 0 ? (int)count : 0);
}

/* 0, or -1 with OverflowError. */
static inline int
give(SemaphoreObject *self)
{
    if (COIR__UNLIKELY(self->counter == PY_SSIZE_T_MAX)) {
        PyErr_SetString(PyExc_OverflowError, "released too many times");
        return -1;
    }
    if (COIR__LIKELY(!coir__linkable_is_awaited(&self->link))) {
        self->counter++;
        return 0;
    }
    if (self->counter >= 0 && coir__linkable_give(&self->link))
        return 0;
    self->counter++;
    if (self->counter > 0)
        wake(self);
    return 0;
}

/* Who was to have it is gone. */
static void
pass_on(SemaphoreObject *self, int what)
{
    PyObject *exc = coir__error_take();
    if (what == COIR_LINK_GIVEN)
        (void)give(self); /* it was counted before */
    else if (coir__linkable_is_awaited(&self->link))
        wake(self);
    coir__error_give(exc);
}

/* 1, 0 if the time is over, or -1 with an exception. */
static int
wait_and_take(SemaphoreObject *self, PyObject *object, int64_t ns)
{
    int64_t start = ns != COIR_FOREVER ? coir_clock_monotonic() : 0;
    int64_t left = ns;
    int number = -1, lost;
    for (;;) {
        int how = coir__linkable_wait(&self->link, object, "acquire", left,
                                      &number, &lost);
        if (how == COIR_LINK_GIVEN)
            return 1;
        if (how < 0) {
            if (lost)
                pass_on(self, lost);
            return -1;
        }
        if (how == COIR_LINK_TIME)
            return 0;
        if (self->counter > 0) {
            self->counter--;
            return 1;
        }
        if (ns != COIR_FOREVER) {
            left = ns - (coir_clock_monotonic() - start);
            if (left <= 0)
                return 0;
        }
    }
}

static inline int
take(SemaphoreObject *self, PyObject *object, int block, int64_t ns)
{
    if (COIR__LIKELY(self->counter > 0)) {
        self->counter--;
        return 1;
    }
    return block ? wait_and_take(self, object, ns) : 0;
}

/* --- Semaphore ----------------------------------------------------------- */

static int
semaphore_is_ready(const LinkableObject *op)
{
    return ((const SemaphoreObject *)op)->counter > 0;
}

static PyObject *
semaphore_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *op = coir__linkable_type.tp_new(type, args, kwargs);
    if (op != NULL) {
        SELF->link.is_ready = semaphore_is_ready;
        SELF->link.calls_if_ready = 1;
        SELF->counter = SELF->initial = 1;
    }
    return op;
}

static int
semaphore_set(SemaphoreObject *self, PyObject *value, PyObject *hub)
{
    Py_ssize_t counter = 1;
    if (value != NULL) {
        counter = PyNumber_AsSsize_t(value, PyExc_OverflowError);
        if (counter == -1 && PyErr_Occurred())
            return -1;
    }
    if (counter < 0) {
        PyErr_SetString(PyExc_ValueError,
                        "a semaphore's value must not be negative");
        return -1;
    }
    self->counter = self->initial = counter;
    if (hub != NULL && hub != Py_None)
        Py_XSETREF(self->link.hub, Py_NewRef(hub));
    return 0;
}

static int
semaphore_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"value", "hub", NULL};
    PyObject *value = NULL, *hub = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:Semaphore", names,
                                     &value, &hub))
        return -1;
    return semaphore_set(SELF, value, hub);
}

static PyObject *
semaphore_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf,
                     PyObject *kwnames)
{
    static const char *const names[] = {"value", "hub"};
    PyObject *in[] = {NULL, NULL};
    if (coir__arguments(coir__type_name((PyTypeObject *)type), names, 2, args,
                        PyVectorcall_NARGS(nargsf), kwnames, in) < 0)
        return NULL;
    PyObject *op = semaphore_new((PyTypeObject *)type, NULL, NULL);
    if (op != NULL && semaphore_set(SELF, in[0], in[1]) < 0)
        Py_CLEAR(op);
    return op;
}

/* What `took` says, of an acquire(). */
static inline PyObject *
taken(int took, int block, PyObject *timeout)
{
    if (COIR__UNLIKELY(took < 0 || (took == 0 && block &&
                                    coir__timeout_is_over(timeout) < 0)))
        return NULL;
    return PyBool_FromLong(took);
}

/* The arguments of Semaphore.acquire(). 0, or -1 with an exception. */
static int
acquire_arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                  int *block, PyObject **timeout, int64_t *ns)
{
    static const char *const names[] = {"blocking", "timeout"};
    PyObject *in[] = {Py_True, Py_None};
    if (coir__arguments("acquire", names, 2, args, nargs, kwnames, in) < 0)
        return -1;
    *block = PyObject_IsTrue(in[0]);
    *timeout = in[1];
    return *block < 0 ? -1 : coir__timeout_arg(in[1], ns);
}

static PyObject *
semaphore_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    int block = 1;
    PyObject *timeout = NULL;
    int64_t ns = COIR_FOREVER;
    if (COIR__UNLIKELY(nargs > 0 || kwnames != NULL) &&
        acquire_arguments(args, nargs, kwnames, &block, &timeout, &ns) < 0)
        return NULL;
    return taken(take(SELF, op, block, ns), block, timeout);
}

static PyObject *
semaphore_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (Py_TYPE(op) == &semaphore_type || Py_TYPE(op) == &bounded_type ||
        Py_TYPE(op) == &lock_type)
        return take(SELF, op, 1, COIR_FOREVER) < 0 ? NULL : Py_NewRef(Py_True);
    return PyObject_CallMethod(op, "acquire", NULL);
}

static PyObject *
semaphore_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (give(SELF) < 0)
        return NULL;
    return PyLong_FromSsize_t(SELF->counter);
}

static PyObject *
semaphore_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
               Py_ssize_t Py_UNUSED(nargs))
{
    PyObject *res = Py_TYPE(op) == &semaphore_type
                        ? semaphore_release(op, NULL)
                        : PyObject_CallMethod(op, "release", NULL);
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    Py_RETURN_NONE;
}

static PyObject *
semaphore_locked(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->counter <= 0);
}

static PyObject *
semaphore_wait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    static const char *const names[] = {"timeout"};
    PyObject *timeout = NULL;
    int64_t ns;
    if (coir__arguments("wait", names, 1, args, nargs, kwnames, &timeout) <
            0 ||
        coir__timeout_arg(timeout, &ns) < 0)
        return NULL;
    if (SELF->counter <= 0) {
        int number = -1, lost;
        int how =
            coir__linkable_wait(&SELF->link, op, "wait", ns, &number, &lost);
        /* It leaves what it was woken for to the next. */
        if (how < 0 ? lost : how)
            pass_on(SELF, how < 0 ? lost : how);
        if (how < 0)
            return NULL;
    }
    return PyLong_FromSsize_t(SELF->counter);
}

static PyObject *
semaphore_repr(PyObject *op)
{
    return PyUnicode_FromFormat(
        "<%s at %p counter=%zd _links[%zd]>", coir__type_name(Py_TYPE(op)), op,
        SELF->counter, coir__linkable_count(&SELF->link));
}

static PyObject *
semaphore_get_counter(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(SELF->counter);
}

static int
semaphore_set_counter(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "cannot delete the counter");
        return -1;
    }
    Py_ssize_t counter = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    if (counter == -1 && PyErr_Occurred())
        return -1;
    SELF->counter = counter;
    return 0;
}

static PyMethodDef semaphore_methods[] = {
    {"acquire", FAST semaphore_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire(blocking=True, timeout=None) -> bool\n\n"
     "Take one; blocks until there is one, for `timeout` seconds at most,\n"
     "not at all if `blocking` is false. Whether it was taken."},
    {"_py3k_acquire", FAST semaphore_acquire, METH_FASTCALL | METH_KEYWORDS,
     "As acquire()."},
    {"release", semaphore_release, METH_NOARGS,
     "release() -> int\n\n"
     "Add one, and wake who waits longest. Does not block. Returns how many\n"
     "are free."},
    {"locked", semaphore_locked, METH_NOARGS,
     "locked() -> bool\n\nWhether acquire() would block."},
    {"wait", FAST semaphore_wait, METH_FASTCALL | METH_KEYWORDS,
     "wait(timeout=None) -> int\n\n"
     "Block until acquire() would not, for `timeout` seconds at most.\n"
     "Returns how many are free now: none, if others were quicker."},
    {"__enter__", semaphore_enter, METH_NOARGS, NULL},
    {"__exit__", FAST semaphore_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getset[] = {
    {"counter", semaphore_get_counter, semaphore_set_counter,
     "How many are free.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject semaphore_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.lock.Semaphore",
    .tp_basicsize = sizeof(SemaphoreObject),
    .tp_dealloc = coir__linkable_dealloc,
    .tp_repr = semaphore_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Semaphore(value=1, hub=None)\n\n"
              "`value` of something that is taken and given back, by\n"
              "greenlets and threads. Who waits longest gets it first.",
    .tp_traverse = coir__linkable_traverse,
    .tp_clear = coir__linkable_clear,
    .tp_methods = semaphore_methods,
    .tp_getset = semaphore_getset,
    .tp_base = &coir__linkable_type,
    .tp_init = semaphore_init,
    .tp_new = semaphore_new,
    .tp_vectorcall = semaphore_vectorcall,
};

/* --- BoundedSemaphore ---------------------------------------------------- */

static COIR__COLD PyObject *
over_released(PyObject *op)
{
    PyObject *type = PyObject_GetAttrString(op, "_OVER_RELEASE_ERROR");
    if (type != NULL)
        PyErr_SetString(type, Py_TYPE(op) == &lock_type
                                  ? "release unlocked lock"
                                  : "Semaphore released too many times");
    Py_XDECREF(type);
    return NULL;
}

static PyObject *
bounded_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (COIR__UNLIKELY(SELF->counter >= SELF->initial))
        return over_released(op);
    if (give(SELF) < 0)
        return NULL;
    return PyLong_FromSsize_t(SELF->counter);
}

static PyObject *
bounded_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
             Py_ssize_t Py_UNUSED(nargs))
{
    PyObject *res = Py_TYPE(op) == &bounded_type || Py_TYPE(op) == &lock_type
                        ? bounded_release(op, NULL)
                        : PyObject_CallMethod(op, "release", NULL);
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    Py_RETURN_NONE;
}

static PyObject *
bounded_at_fork(PyObject *op, PyObject *Py_UNUSED(unused))
{
    coir__linkable_forget(&SELF->link);
    SELF->counter = SELF->initial;
    Py_RETURN_NONE;
}

static PyObject *
bounded_get_initial(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(SELF->initial);
}

static PyMethodDef bounded_methods[] = {
    {"release", bounded_release, METH_NOARGS,
     "release() -> int\n\n"
     "As Semaphore.release(), but ValueError is raised if none was taken."},
    {"__exit__", FAST bounded_exit, METH_FASTCALL, NULL},
    {"_at_fork_reinit", bounded_at_fork, METH_NOARGS,
     "_at_fork_reinit() -> None\n\nFor the child of a fork: all are free."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef bounded_getset[] = {
    {"_initial_value", bounded_get_initial, NULL, "How many there are.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject bounded_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name =
        "coir.gevent.lock.BoundedSemaphore",
    .tp_basicsize = sizeof(SemaphoreObject),
    .tp_dealloc = coir__linkable_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "BoundedSemaphore(value=1, hub=None)\n\n"
              "A Semaphore that is not released more often than acquired.",
    .tp_traverse = coir__linkable_traverse,
    .tp_clear = coir__linkable_clear,
    .tp_methods = bounded_methods,
    .tp_getset = bounded_getset,
    .tp_base = &semaphore_type,
    .tp_init = semaphore_init,
    .tp_new = semaphore_new,
    .tp_vectorcall = semaphore_vectorcall,
};

/* --- the lock of threads ------------------------------------------------- */

static PyObject *
lock_vectorcall(PyObject *type, PyObject *const *Py_UNUSED(args),
                size_t nargsf, PyObject *kwnames)
{
    if (PyVectorcall_NARGS(nargsf) > 0 || kwnames != NULL) {
        PyErr_SetString(PyExc_TypeError, "lock() takes no arguments");
        return NULL;
    }
    return semaphore_new((PyTypeObject *)type, NULL, NULL);
}

static int
lock_init(PyObject *Py_UNUSED(op), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    return PyArg_ParseTupleAndKeywords(args, kwargs, ":lock", names) ? 0 : -1;
}

/* The arguments of threading.Lock.acquire(). 0, or -1 with an exception. */
static int
lock_arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
               int *block, int64_t *ns)
{
    static const char *const names[] = {"blocking", "timeout"};
    PyObject *in[] = {Py_True, NULL};
    if (coir__arguments("acquire", names, 2, args, nargs, kwnames, in) < 0)
        return -1;
    *block = PyObject_IsTrue(in[0]);
    if (*block < 0)
        return -1;
    if (in[1] == NULL || in[1] == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(in[1]);
    if (seconds == -1) {
        if (PyErr_Occurred())
            return -1;
        return 0;
    }
    if (!*block)
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a "
                                          "non-blocking call");
    else if (isnan(seconds) || seconds < 0)
        PyErr_SetString(PyExc_ValueError, "timeout value must be a "
                                          "non-negative number");
    else if (seconds > TIMEOUT_MAX_S)
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
    else
        *ns = coir__seconds_to_ns(seconds);
    return PyErr_Occurred() ? -1 : 0;
}

/* Who tries again and again is not to keep others from running. */
static int
yield_if_possible(void)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return -1;
    HubObject *hub = coir__hub_if_any(t);
    if (hub == NULL || t->current == &hub->base)
        return 0;
    return coir__yield(t, hub, 0);
}

static PyObject *
lock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    int block = 1;
    int64_t ns = COIR_FOREVER;
    if (COIR__UNLIKELY(nargs > 0 || kwnames != NULL) &&
        lock_arguments(args, nargs, kwnames, &block, &ns) < 0)
        return NULL;
    int took = take(SELF, op, block, ns);
    if (took < 0 || (took == 0 && !block && yield_if_possible() < 0))
        return NULL;
    return PyBool_FromLong(took);
}

static PyObject *
lock_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (COIR__UNLIKELY(SELF->counter >= SELF->initial))
        return over_released(op);
    if (give(SELF) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
lock_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<%s %s object at %p>",
                                SELF->counter <= 0 ? "locked" : "unlocked",
                                Py_TYPE(op)->tp_name, op);
}

static PyMethodDef lock_methods[] = {
    {"acquire", FAST lock_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire(blocking=True, timeout=-1) -> bool\n\n"
     "Lock it; blocks until it is free, for `timeout` seconds at most, not\n"
     "at all if `blocking` is false. Whether it was locked."},
    {"acquire_lock", FAST lock_acquire, METH_FASTCALL | METH_KEYWORDS,
     "As acquire()."},
    {"release", lock_release, METH_NOARGS,
     "release() -> None\n\n"
     "Unlock it, and wake who waits longest. Anybody may."},
    {"release_lock", lock_release, METH_NOARGS, "As release()."},
    {"locked_lock", semaphore_locked, METH_NOARGS, "As locked()."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject lock_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.thread.LockType",
    .tp_basicsize = sizeof(SemaphoreObject),
    .tp_dealloc = coir__linkable_dealloc,
    .tp_repr = lock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "lock()\n\nA lock, as _thread.lock, for greenlets and threads.",
    .tp_traverse = coir__linkable_traverse,
    .tp_clear = coir__linkable_clear,
    .tp_methods = lock_methods,
    .tp_base = &bounded_type,
    .tp_init = lock_init,
    .tp_new = semaphore_new,
    .tp_vectorcall = lock_vectorcall,
};

/* --- RLock --------------------------------------------------------------- */

#undef SELF

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    SemaphoreObject *block; /* strong, never NULL: who has it has this */
    PyObject *owner;        /* strong: a greenlet, or NULL */
    Py_ssize_t count;       /* how often it is to release it */
} RLockObject;

#define SELF ((RLockObject *)op)

static PyObject *
rlock_make(PyTypeObject *type, PyTypeObject *block)
{
    PyObject *sem = semaphore_new(block, NULL, NULL);
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
    return rlock_make(type, &semaphore_type);
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
rlock_take(RLockObject *self, int block, int64_t ns)
{
    PyObject *me = current();
    if (COIR__UNLIKELY(me == NULL))
        return -1;
    if (self->owner == me) {
        self->count++;
        return 1;
    }
    Py_INCREF(me);
    int took = take(self->block, (PyObject *)self, block, ns);
    if (took <= 0) {
        Py_DECREF(me);
        return took;
    }
    self->owner = me; /* nobody owned it */
    self->count = 1;
    return 1;
}

static PyObject *
rlock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    int block = 1;
    PyObject *timeout = NULL;
    int64_t ns = COIR_FOREVER;
    if (COIR__UNLIKELY(nargs > 0 || kwnames != NULL) &&
        acquire_arguments(args, nargs, kwnames, &block, &timeout, &ns) < 0)
        return NULL;
    return taken(rlock_take(SELF, block, ns), block, timeout);
}

static PyObject *
rlock_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return rlock_take(SELF, 1, COIR_FOREVER) >= 0 ? Py_NewRef(Py_True) : NULL;
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
        if (give(SELF->block) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
rlock_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
           Py_ssize_t Py_UNUSED(nargs))
{
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
    int err = give(SELF->block);
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
    if (!PyArg_ParseTuple(state, "nO:_acquire_restore", &count, &owner) ||
        take(SELF->block, op, 1, COIR_FOREVER) < 0)
        return NULL;
    SELF->count = count;
    Py_XSETREF(SELF->owner, Py_NewRef(owner));
    Py_RETURN_NONE;
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

static PyMethodDef rlock_methods[] = {
    {"acquire", FAST rlock_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire(blocking=True, timeout=None) -> bool\n\n"
     "Lock it, once more if the calling greenlet has it; else blocks until\n"
     "it is free, for `timeout` seconds at most, not at all if `blocking` is\n"
     "false. Whether it was locked."},
    {"release", rlock_release, METH_NOARGS,
     "release() -> None\n\n"
     "Undo one acquire() of the calling greenlet; after the last it is free.\n"
     "RuntimeError is raised in others."},
    {"locked", rlock_locked, METH_NOARGS,
     "locked() -> bool\n\nWhether anybody has it."},
    {"__enter__", rlock_enter, METH_NOARGS, NULL},
    {"__exit__", FAST rlock_exit, METH_FASTCALL, NULL},
    {"_is_owned", rlock_is_owned, METH_NOARGS,
     "_is_owned() -> bool\n\nWhether the calling greenlet has it."},
    {"_recursion_count", rlock_recursion, METH_NOARGS,
     "_recursion_count() -> int\n\nHow often the calling greenlet has it."},
    {"_release_save", rlock_release_save, METH_NOARGS,
     "_release_save() -> tuple\n\nFree it; for _acquire_restore()."},
    {"_acquire_restore", rlock_acquire_restore, METH_O,
     "_acquire_restore(state) -> None\n\nBlock until it is as it was."},
    {"_at_fork_reinit", rlock_at_fork, METH_NOARGS,
     "_at_fork_reinit() -> None\n\nFor the child of a fork: it is free."},
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
    .tp_doc = "RLock(hub=None)\n\n"
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
    return rlock_make(type, &lock_type);
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
    int block = 1;
    int64_t ns = COIR_FOREVER;
    if (COIR__UNLIKELY(nargs > 0 || kwnames != NULL) &&
        lock_arguments(args, nargs, kwnames, &block, &ns) < 0)
        return NULL;
    int took = rlock_take(SELF, block, ns);
    if (took < 0 || (took == 0 && !block && yield_if_possible() < 0))
        return NULL;
    return PyBool_FromLong(took);
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
     "acquire(blocking=True, timeout=-1) -> bool\n\n"
     "Lock it, once more if the calling greenlet has it; else blocks until\n"
     "it is free, for `timeout` seconds at most, not at all if `blocking` is\n"
     "false. Whether it was locked."},
    {"release", thread_rlock_release, METH_NOARGS,
     "release() -> None\n\n"
     "Undo one acquire() of the calling greenlet; after the last it is free.\n"
     "RuntimeError is raised in others."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject thread_rlock_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.threading.RLock",
    .tp_basicsize = sizeof(RLockObject),
    .tp_dealloc = rlock_dealloc,
    .tp_repr = thread_rlock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "RLock()\n\n"
              "An RLock with the arguments of threading.RLock.",
    .tp_traverse = rlock_traverse,
    .tp_clear = rlock_clear,
    .tp_methods = thread_rlock_methods,
    .tp_base = &rlock_type,
    .tp_init = thread_rlock_init,
    .tp_new = thread_rlock_new,
};

/* --- the ident of a greenlet as a thread --------------------------------- */

static PyObject *
get_ident(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    static const char *const names[] = {"gr"};
    PyObject *gr = Py_None;
    if (coir__arguments("get_ident", names, 1, args, nargs, kwnames, &gr) < 0)
        return NULL;
    if (gr == Py_None) {
        coir_pythread *t =
            coir__is_finalizing() ? coir__pythread : coir__pythread_get();
        if (t == NULL && PyErr_Occurred())
            return NULL;
        gr = t != NULL ? (PyObject *)t->current : Py_None;
    }
    return PyLong_FromVoidPtr(gr);
}

static PyMethodDef functions[] = {
    {"get_green_ident", FAST get_ident, METH_FASTCALL | METH_KEYWORDS,
     "get_green_ident(gr=None) -> int\n\n"
     "What tells the running greenlet, or the given one, from others."},
    {NULL, NULL, 0, NULL},
};

/* --- set-up -------------------------------------------------------------- */

static int
set_error(PyTypeObject *type, PyObject *error)
{
    if (PyDict_SetItemString(type->tp_dict, "_OVER_RELEASE_ERROR", error) < 0)
        return -1;
    PyType_Modified(type);
    return 0;
}

static int
types_ready(void)
{
    if (PyType_HasFeature(&thread_rlock_type, Py_TPFLAGS_READY))
        return 0;
    if (PyType_Ready(&semaphore_type) < 0 || PyType_Ready(&bounded_type) < 0 ||
        PyType_Ready(&lock_type) < 0 ||
        set_error(&bounded_type, PyExc_ValueError) < 0 ||
        set_error(&lock_type, PyExc_RuntimeError) < 0)
        return -1;
    if (PyType_Ready(&rlock_type) < 0)
        return -1;
    return PyType_Ready(&thread_rlock_type);
}

int
coir__lock_types_init(PyObject *module)
{
    if (types_ready() < 0 || PyModule_AddFunctions(module, functions) < 0 ||
        PyModule_AddObjectRef(module, "ThreadRLock",
                              (PyObject *)&thread_rlock_type) < 0 ||
        PyModule_AddObjectRef(module, "Semaphore",
                              (PyObject *)&semaphore_type) < 0 ||
        PyModule_AddObjectRef(module, "BoundedSemaphore",
                              (PyObject *)&bounded_type) < 0 ||
        PyModule_AddObjectRef(module, "LockType", (PyObject *)&lock_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "RLock", (PyObject *)&rlock_type);
}
