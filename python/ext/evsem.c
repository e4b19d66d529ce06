/* evsem.c - eventlet's Semaphore, BoundedSemaphore and Lock.
 *
 * release() counts one more and wakes the first that waits, who takes it when
 * its turn comes. Until then the count tells of it, and whoever does not want
 * to wait may take it: then the one that was woken waits on, at the head of
 * the line. Who is ready to wait never goes before those that wait already.
 * `woken` counts those that were woken and did not run yet. */
#include "ev.h"

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    PyObject *dict; /* strong, or NULL: what programs set */
    Py_ssize_t counter;
    coir_list waiters;
    Py_ssize_t woken;
    PyObject *original; /* strong: of a BoundedSemaphore; or NULL */
} SemaphoreObject;

#define SELF ((SemaphoreObject *)op)

static PyTypeObject semaphore_type, bounded_type, lock_type;
static PyObject *str_acquire, *str_release; /* strong */

static int
is_ours(const PyObject *op)
{
    return Py_IS_TYPE(op, &semaphore_type) || Py_IS_TYPE(op, &lock_type) ||
           Py_IS_TYPE(op, &bounded_type);
}

/* --- taking and giving --------------------------------------------------- */

static void
wake_next(SemaphoreObject *self)
{
    if (self->counter > 0 && self->waiters.head != NULL) {
        self->woken++;
        coir__wake(coir__wait_of(self->waiters.head), NULL);
    }
}

static inline void
give(SemaphoreObject *self)
{
    self->counter++;
    if (COIR__UNLIKELY(self->waiters.head != NULL))
        wake_next(self);
}

static inline int
is_free(const SemaphoreObject *self)
{
    return self->counter > 0 && self->waiters.head == NULL && self->woken == 0;
}

/* Wait until there is one to be taken. 1, 0 after the time, or -1. */
static int
wait_and_take(SemaphoreObject *self, int64_t ns)
{
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__ev_hub(t) : NULL;
    coir_wait *w = hub != NULL ? coir__wait_get(t) : NULL;
    if (w == NULL)
        return -1;
    /* Other threads may have run while the hub was made. */
    if (COIR__UNLIKELY(is_free(self))) {
        self->counter--;
        return 1;
    }
    int64_t until = ns != COIR_FOREVER ? coir_clock_monotonic() + ns : 0;
    for (int again = 0;; again = 1) {
        int how = COIR_WOKEN_WAITS;
        w->was_woken = 0;
        w->may_expire = 1;
        if (again && ns != COIR_FOREVER) {
            ns = until - coir_clock_monotonic();
            ns = ns > 0 ? ns : 0;
        }
        PyObject *res = (again ? coir__park_first : coir__park)(
            t, hub, &self->waiters, "acquire", (PyObject *)self, ns, &how);
        int was_late = how == COIR_WOKEN_BY_TIME && w->was_woken;
        if (how == COIR_WOKEN_BY_WAKE || w->was_woken) {
            self->woken--;
            w->was_woken = 0;
        }
        if (res == NULL || was_late)
            wake_next(self);
        if (res == NULL)
            return -1;
        Py_DECREF(res);
        if (how == COIR_WOKEN_BY_TIME)
            return 0;
        if (self->counter > 0)
            break;
    }
    self->counter--;
    return 1;
}

static inline int
take(SemaphoreObject *self, int64_t ns)
{
    if (COIR__LIKELY(is_free(self))) {
        self->counter--;
        return 1;
    }
    return wait_and_take(self, ns);
}

/* The arguments of acquire(). 0, or -1 with an exception. */
static int
parse_acquire(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
              int *blocking, int64_t *ns)
{
    static const char *const names[] = {"blocking", "timeout"};
    PyObject *in[] = {Py_True, Py_None};
    if (coir__arguments("acquire", names, 2, args, nargs, kwnames, in) < 0)
        return -1;
    *blocking = PyObject_IsTrue(in[0]);
    if (*blocking < 0)
        return -1;
    if (in[1] == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(in[1]);
    if (seconds == -1) /* as threading has it: no limit */
        return PyErr_Occurred() ? -1 : 0;
    if (seconds < 0)
        PyErr_SetString(PyExc_ValueError,
                        "timeout value must be strictly positive");
    else if (!*blocking)
        PyErr_SetString(PyExc_ValueError,
                        "can't specify timeout for non-blocking acquire");
    else
        return coir__timeout_ns(in[1], ns);
    return -1;
}

static PyObject *
semaphore_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    int64_t ns = COIR_FOREVER;
    int blocking = 1;
    if ((nargs > 0 || kwnames != NULL) &&
        parse_acquire(args, nargs, kwnames, &blocking, &ns) < 0)
        return NULL;
    if (!blocking) {
        int free = SELF->counter > 0;
        SELF->counter -= free;
        return PyBool_FromLong(free);
    }
    int taken = take(SELF, ns);
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

/* May it be released? 0, or -1 with an exception. */
static int
check_release(PyObject *op)
{
    if (PyObject_TypeCheck(op, &lock_type) && SELF->counter > 0) {
        PyErr_SetString(PyExc_RuntimeError, "release unlocked lock");
        return -1;
    }
    if (SELF->original == NULL || !PyObject_TypeCheck(op, &bounded_type))
        return 0;
    PyObject *counter = PyLong_FromSsize_t(SELF->counter);
    int full = counter != NULL
                   ? PyObject_RichCompareBool(counter, SELF->original, Py_GE)
                   : -1;
    Py_XDECREF(counter);
    if (full > 0)
        PyErr_SetString(PyExc_ValueError, "Semaphore released too many times");
    return full != 0 ? -1 : 0;
}

static PyObject *
semaphore_release(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    static const char *const names[] = {"blocking"};
    PyObject *in[] = {Py_True};
    if ((nargs > 0 || kwnames != NULL) &&
        coir__arguments("release", names, 1, args, nargs, kwnames, in) < 0)
        return NULL;
    if (!Py_IS_TYPE(op, &semaphore_type) && check_release(op) < 0)
        return NULL;
    give(SELF);
    Py_RETURN_TRUE;
}

static PyObject *
semaphore_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *res = is_ours(op) ? semaphore_acquire(op, NULL, 0, NULL)
                                : PyObject_CallMethodNoArgs(op, str_acquire);
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    Py_RETURN_NONE;
}

static PyObject *
semaphore_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
               Py_ssize_t Py_UNUSED(nargs))
{
    PyObject *res = is_ours(op) ? semaphore_release(op, NULL, 0, NULL)
                                : PyObject_CallMethodNoArgs(op, str_release);
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    Py_RETURN_NONE;
}

/* --- the types ----------------------------------------------------------- */

static int
set_counter(SemaphoreObject *self, PyObject *value)
{
    Py_ssize_t n = 1;
    PyObject *number = NULL;
    if (value != NULL) {
        number = PyNumber_Long(value);
        if (number == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_TypeError,
                         "Semaphore() expect value :: int, actual: %R %R",
                         (PyObject *)Py_TYPE(value), value);
        }
        if (number == NULL)
            return -1;
        n = PyLong_AsSsize_t(number);
        Py_DECREF(number);
        if (n == -1 && PyErr_Occurred())
            return -1;
    }
    if (n < 0) {
        PyErr_Format(PyExc_ValueError,
                     "Semaphore() expect value >= 0, actual: %zd", n);
        return -1;
    }
    self->counter = n;
    return 0;
}

static int
semaphore_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"value", NULL};
    PyObject *value = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Semaphore", names,
                                     &value) ||
        set_counter(SELF, value) < 0)
        return -1;
    if (PyObject_TypeCheck(op, &bounded_type))
        Py_XSETREF(SELF->original,
                   value != NULL ? Py_NewRef(value) : PyLong_FromLong(1));
    return 0;
}

static PyObject *
semaphore_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
              PyObject *Py_UNUSED(kwargs))
{
    PyObject *op = type->tp_alloc(type, 0);
    if (op != NULL)
        SELF->counter = 1;
    return op;
}

static Py_ssize_t
waiting(const SemaphoreObject *self)
{
    Py_ssize_t n = self->woken;
    for (coir_node *at = self->waiters.head; at != NULL; at = at->next)
        n++;
    return n;
}

int
coir__evsem_check(PyObject *op)
{
    return PyObject_TypeCheck(op, &semaphore_type);
}

int
coir__evsem_take(PyObject *op)
{
    return take(SELF, COIR_FOREVER);
}

void
coir__evsem_give(PyObject *op)
{
    give(SELF);
}

Py_ssize_t
coir__evsem_counter(PyObject *op)
{
    return SELF->counter;
}

Py_ssize_t
coir__evsem_balance(PyObject *op)
{
    return SELF->counter - waiting(SELF);
}

static PyObject *
semaphore_locked(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->counter <= 0);
}

static PyObject *
semaphore_bounded(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_FALSE;
}

static PyObject *
lock_at_fork_reinit(PyObject *op, PyObject *Py_UNUSED(unused))
{
    while (SELF->waiters.head != NULL)
        coir__list_remove(SELF->waiters.head);
    SELF->woken = 0;
    SELF->counter = 1;
    Py_RETURN_NONE;
}

static PyObject *
semaphore_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<%s at %p c=%zd _w[%zd]>",
                                coir__type_name(Py_TYPE(op)), op,
                                SELF->counter, waiting(SELF));
}

static PyObject *
semaphore_str(PyObject *op)
{
    return PyUnicode_FromFormat("<%s c=%zd _w[%zd]>",
                                coir__type_name(Py_TYPE(op)), SELF->counter,
                                waiting(SELF));
}

static PyObject *
semaphore_get_counter(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(SELF->counter);
}

static int
semaphore_set_counter(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_ssize_t n = value != NULL ? PyLong_AsSsize_t(value) : -1;
    if (value == NULL)
        PyErr_SetString(PyExc_AttributeError, "can't delete attribute");
    if (n == -1 && PyErr_Occurred())
        return -1;
    SELF->counter = n;
    return 0;
}

static PyObject *
semaphore_get_waiters(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *list = PyList_New(0);
    for (coir_node *n = SELF->waiters.head; list != NULL && n != NULL;
         n = n->next)
        if (PyList_Append(list, (PyObject *)coir__wait_of(n)->green) < 0)
            Py_CLEAR(list);
    return list;
}

static PyObject *
semaphore_get_balance(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(SELF->counter - waiting(SELF));
}

static PyObject *
bounded_get_original(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->original != NULL ? SELF->original : Py_None);
}

static int
bounded_set_original(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(SELF->original, Py_XNewRef(value));
    return 0;
}

static int
semaphore_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->dict);
    Py_VISIT(SELF->original);
    return coir__list_traverse(&SELF->waiters, visit, arg);
}

static int
semaphore_clear(PyObject *op)
{
    Py_CLEAR(SELF->dict);
    Py_CLEAR(SELF->original);
    return 0;
}

static void
semaphore_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    while (SELF->waiters.head != NULL) /* they will never be woken */
        coir__list_remove(SELF->waiters.head);
    (void)semaphore_clear(op);
    Py_TYPE(op)->tp_free(op);
}

#define FAST(func)                                                            \
    (PyCFunction)(void (*)(void))(func), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef semaphore_methods[] = {
    {"acquire", FAST(semaphore_acquire),
     "acquire($self, blocking=True, timeout=None)\n--\n\n"
     "Take one; if there is none, wait for it, for `timeout` seconds at most\n"
     "(None or -1: no limit). False if it was not taken."},
    {"release", FAST(semaphore_release),
     "release($self, blocking=True)\n--\n\n"
     "Put one back: True. Wakes the first that waits; never blocks. Any\n"
     "thread."},
    {"locked", semaphore_locked, METH_NOARGS,
     "locked($self)\n--\n\nWhether there is none to take."},
    {"bounded", semaphore_bounded, METH_NOARGS,
     "bounded($self)\n--\n\nFalse: release() never waits."},
    {"__enter__", semaphore_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))semaphore_exit, METH_FASTCALL,
     NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getset[] = {
    {"counter", semaphore_get_counter, semaphore_set_counter,
     "How many there are to take.", NULL},
    {"balance", semaphore_get_balance, NULL, "The same, less those that wait.",
     NULL},
    {"_waiters", semaphore_get_waiters, NULL, "The greenlets that wait.",
     NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define SEMAPHORE_TYPE(type_name_, doc_, ...)                                 \
    {                                                                         \
        PyVarObject_HEAD_INIT(NULL, 0)                                        \
            .tp_name = (type_name_),                                          \
          .tp_basicsize = sizeof(SemaphoreObject),                            \
          .tp_dealloc = semaphore_dealloc, .tp_repr = semaphore_repr,         \
          .tp_str = semaphore_str,                                            \
          .tp_flags =                                                         \
              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,  \
          .tp_doc = (doc_), .tp_traverse = semaphore_traverse,                \
          .tp_clear = semaphore_clear,                                        \
          .tp_weaklistoffset = offsetof(SemaphoreObject, weakreflist),        \
          .tp_dictoffset = offsetof(SemaphoreObject, dict),                   \
          .tp_init = semaphore_init, .tp_new = semaphore_new, __VA_ARGS__     \
    }

static PyTypeObject semaphore_type = SEMAPHORE_TYPE(
    "coir.eventlet.semaphore.Semaphore",
    "Semaphore(value=1)\n--\n\n"
    "A count that green threads, of any thread, take from and give back to.\n"
    "Who finds it at zero waits, first come, first served.",
    .tp_methods = semaphore_methods, .tp_getset = semaphore_getset);

static PyGetSetDef bounded_getset[] = {
    {"original_counter", bounded_get_original, bounded_set_original,
     "What it may not exceed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject bounded_type = SEMAPHORE_TYPE(
    "coir.eventlet.semaphore.BoundedSemaphore",
    "BoundedSemaphore(value=1)\n--\n\n"
    "A Semaphore of which no more may be given back than there were at the\n"
    "beginning: ValueError.",
    .tp_getset = bounded_getset, .tp_base = &semaphore_type);

static PyMethodDef lock_methods[] = {
    {"_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS,
     "_at_fork_reinit($self)\n--\n\nAs new: in the child after a fork."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject lock_type = SEMAPHORE_TYPE(
    "coir.eventlet.lock.Lock",
    "Lock(value=1)\n--\n\n"
    "A Semaphore that may not be released by whom nobody has acquired it:\n"
    "RuntimeError.",
    .tp_methods = lock_methods, .tp_base = &semaphore_type);

int
coir__evsem_types_init(PyObject *module)
{
    static PyTypeObject *const types[] = {&semaphore_type, &bounded_type,
                                          &lock_type};
    static const char *const names[] = {"EvSemaphore", "EvBoundedSemaphore",
                                        "EvLock"};
    str_acquire = PyUnicode_InternFromString("acquire");
    str_release = PyUnicode_InternFromString("release");
    if (str_acquire == NULL || str_release == NULL)
        return -1;
    for (size_t i = 0; i < 3; i++)
        if (PyType_Ready(types[i]) < 0 ||
            PyModule_AddObjectRef(module, names[i], (PyObject *)types[i]) < 0)
            return -1;
    return 0;
}
