/* lock.c - Semaphore, BoundedSemaphore, and the lock of threads.
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
#include "lock.h"

#include "ev.h"

#include <math.h>

/* The longest timeout of a thread's lock in seconds: threading.TIMEOUT_MAX. */
#define TIMEOUT_MAX_S 9223372036.0

#define SELF ((SemaphoreObject *)op)
#define FAST (PyCFunction)(void (*)(void))

static PyTypeObject bounded_type;

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

int
coir__semaphore_give_slowly(SemaphoreObject *self)
{
    if (COIR__UNLIKELY(self->counter == PY_SSIZE_T_MAX)) {
        PyErr_SetString(PyExc_OverflowError, "released too many times");
        return -1;
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
        (void)coir__semaphore_give(self); /* it was counted before */
    else if (coir__linkable_is_awaited(&self->link))
        wake(self);
    coir__error_give(exc);
}

int
coir__semaphore_wait(SemaphoreObject *self, PyObject *object, int64_t ns)
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

int
coir__semaphore_take_again(SemaphoreObject *self, PyObject *object, int *has)
{
    *has = coir__semaphore_take(self, object, 1, COIR_FOREVER) > 0;
    if (*has)
        return 0;
    PyObject *exc = coir__error_take();
    *has = coir__semaphore_take(self, object, 1, COIR_FOREVER) > 0;
    if (!*has)
        PyErr_Clear();
    coir__error_give(exc);
    return -1;
}

/* --- Semaphore ----------------------------------------------------------- */

static int
semaphore_is_ready(const LinkableObject *op)
{
    return ((const SemaphoreObject *)op)->counter > 0;
}

PyObject *
coir__semaphore_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                    PyObject *Py_UNUSED(kwargs))
{
    PyObject *op = coir__linkable_new(type, semaphore_is_ready);
    if (op != NULL) {
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
                        "semaphore initial value must be >= 0");
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
    PyObject *op = coir__semaphore_new((PyTypeObject *)type, NULL, NULL);
    if (op != NULL && semaphore_set(SELF, in[0], in[1]) < 0)
        Py_CLEAR(op);
    return op;
}

int
coir__acquire_args(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                   coir_acquire *how)
{
    static const char *const names[] = {"blocking", "timeout"};
    PyObject *in[] = {Py_True, Py_None};
    if (coir__arguments("acquire", names, 2, args, nargs, kwnames, in) < 0)
        return -1;
    how->block = PyObject_IsTrue(in[0]);
    how->timeout = in[1];
    return how->block < 0 ? -1 : coir__timeout_arg(in[1], &how->ns);
}

static int
semaphore_take(PyObject *op, int block, int64_t ns)
{
    return coir__semaphore_take(SELF, op, block, ns);
}

static PyObject *
semaphore_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    return coir__acquire(op, args, nargs, kwnames, semaphore_take);
}

static PyObject *
semaphore_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (Py_TYPE(op) == &coir__semaphore_type || Py_TYPE(op) == &bounded_type)
        return coir__semaphore_take(SELF, op, 1, COIR_FOREVER) < 0
                   ? NULL
                   : Py_NewRef(Py_True);
    return PyObject_CallMethod(op, "acquire", NULL);
}

static PyObject *
semaphore_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (coir__semaphore_give(SELF) < 0)
        return NULL;
    return PyLong_FromSsize_t(SELF->counter);
}

/* None, if there is a result. */
static PyObject *
no_result(PyObject *res)
{
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    Py_RETURN_NONE;
}

static PyObject *
semaphore_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
               Py_ssize_t Py_UNUSED(nargs))
{
    return no_result(Py_TYPE(op) == &coir__semaphore_type
                         ? semaphore_release(op, NULL)
                         : PyObject_CallMethod(op, "release", NULL));
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
     "acquire($self, blocking=True, timeout=None)\n--\n\n"
     "Take one; blocks until there is one, for `timeout` seconds at most,\n"
     "not at all if `blocking` is false. Whether it was taken."},
    {"_py3k_acquire", FAST semaphore_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire_lock($self, blocking=True, timeout=-1)\n--\n\nAs acquire()."},
    {"release", semaphore_release, METH_NOARGS,
     "release($self)\n--\n\n"
     "Add one, and wake who waits longest. Does not block. Returns how many\n"
     "are free."},
    {"locked", semaphore_locked, METH_NOARGS,
     "locked($self)\n--\n\nWhether acquire() would block."},
    {"wait", FAST semaphore_wait, METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
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

PyTypeObject coir__semaphore_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.lock.Semaphore",
    .tp_basicsize = sizeof(SemaphoreObject),
    .tp_repr = semaphore_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "Semaphore(value=1, hub=None)\n--\n\n"
              "`value` of something that is taken and given back, by\n"
              "greenlets and threads. Who waits longest gets it first.",
    .tp_methods = semaphore_methods,
    .tp_getset = semaphore_getset,
    .tp_base = &coir__linkable_type,
    .tp_init = semaphore_init,
    .tp_new = coir__semaphore_new,
    .tp_vectorcall = semaphore_vectorcall,
};

/* --- BoundedSemaphore ---------------------------------------------------- */

static COIR__COLD int
over_released(PyObject *op)
{
    PyObject *type = PyObject_GetAttrString(op, "_OVER_RELEASE_ERROR");
    if (type != NULL)
        PyErr_SetString(type, Py_TYPE(op) == &coir__thread_lock_type
                                  ? "release unlocked lock"
                                  : "Semaphore released too many times");
    Py_XDECREF(type);
    return -1;
}

/* 0, or -1 with an exception. */
static inline int
bounded_give(PyObject *op)
{
    if (COIR__UNLIKELY(SELF->counter >= SELF->initial))
        return over_released(op);
    return coir__semaphore_give(SELF);
}

static PyObject *
bounded_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return bounded_give(op) < 0 ? NULL : PyLong_FromSsize_t(SELF->counter);
}

static PyObject *
bounded_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
             Py_ssize_t Py_UNUSED(nargs))
{
    PyObject *res =
        Py_TYPE(op) == &bounded_type || Py_TYPE(op) == &coir__thread_lock_type
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
     "release($self)\n--\n\n"
     "As Semaphore.release(), but ValueError is raised if none was taken."},
    {"__exit__", FAST bounded_exit, METH_FASTCALL, NULL},
    {"_at_fork_reinit", bounded_at_fork, METH_NOARGS,
     "_at_fork_reinit($self)\n--\n\nFor the child of a fork: all are free."},
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
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "BoundedSemaphore(value=1, hub=None)\n--\n\n"
              "A Semaphore that is not released more often than acquired.",
    .tp_methods = bounded_methods,
    .tp_getset = bounded_getset,
    .tp_base = &coir__semaphore_type,
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
    return coir__semaphore_new((PyTypeObject *)type, NULL, NULL);
}

static int
lock_init(PyObject *Py_UNUSED(op), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    return PyArg_ParseTupleAndKeywords(args, kwargs, ":lock", names) ? 0 : -1;
}

int
coir__thread_acquire_args(PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames, coir_acquire *how)
{
    static const char *const names[] = {"blocking", "timeout"};
    PyObject *in[] = {Py_True, NULL};
    if (coir__arguments("acquire", names, 2, args, nargs, kwnames, in) < 0)
        return -1;
    how->block = PyObject_IsTrue(in[0]);
    if (how->block < 0)
        return -1;
    if (in[1] == NULL || in[1] == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(in[1]);
    if (seconds == -1) {
        if (PyErr_Occurred())
            return -1;
        return 0;
    }
    if (!how->block)
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a "
                                          "non-blocking call");
    else if (isnan(seconds) || seconds < 0)
        PyErr_SetString(PyExc_ValueError, "timeout value must be a "
                                          "non-negative number");
    else if (seconds > TIMEOUT_MAX_S)
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
    else
        how->ns = coir__seconds_to_ns(seconds);
    return PyErr_Occurred() ? -1 : 0;
}

/* How often a lock is taken that is free before others get a turn. */
#define SPINS 10000

static unsigned spins;
static uint64_t spin_turn;

/* Native threads lose the GIL after a while. So whoever takes locks that are
 * free, and never waits, as those who ask a queue again and again, lets others
 * run, too; before it has the lock, so that nobody finds it taken for that.
 * 0, or -1 with an exception. */
static COIR__COLD int
spun(void)
{
    spins = 0;
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return -1;
    HubObject *hub = coir__hub_if_any(t);
    if (hub == NULL || t->current == &hub->base || hub->loop == NULL ||
        hub->loop->loop == NULL)
        return 0;
    uint64_t turn = coir__ev_stamp(hub->loop);
    if (turn == spin_turn)
        return coir__yield(t, hub, 0);
    spin_turn = turn;
    return 0;
}

int
coir__lock_refused(void)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return -1;
    const HubObject *hub = coir__hub_if_any(t);
    return hub != NULL && hub->uses_eventlet ? 0 : coir__yield_if_possible();
}

static inline int
lock_take(PyObject *op, int block, int64_t ns)
{
    if (block && COIR__UNLIKELY(++spins >= SPINS) && spun() < 0)
        return -1;
    return coir__semaphore_take(SELF, op, block, ns);
}

static PyObject *
lock_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return lock_take(op, 1, COIR_FOREVER) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *
lock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    return coir__thread_acquire(op, args, nargs, kwnames, lock_take);
}

static PyObject *
lock_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return bounded_give(op) < 0 ? NULL : Py_NewRef(Py_None);
}

/* threading.Condition asks by acquire(False) else, which may let others
 * run. */
static PyObject *
lock_is_owned(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->counter <= 0);
}

static PyObject *
lock_acquire_restore(PyObject *op, PyObject *Py_UNUSED(state))
{
    int has;
    int err = coir__semaphore_take_again(SELF, op, &has);
    return err == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
lock_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<%s %s object at %p>",
                                SELF->counter <= 0 ? "locked" : "unlocked",
                                Py_TYPE(op)->tp_name, op);
}

COIR__DEFINE_ONE(lock_acquire_restore, "_acquire_restore", "count_owner")

static PyMethodDef lock_methods[] = {
    {"__enter__", lock_enter, METH_NOARGS, NULL},
    {"acquire", FAST lock_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, blocking=True, timeout=-1)\n--\n\n"
     "Lock it; blocks until it is free, for `timeout` seconds at most, not\n"
     "at all if `blocking` is false. Whether it was locked."},
    {"acquire_lock", FAST lock_acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire_lock($self, blocking=True, timeout=-1)\n--\n\nAs acquire()."},
    {"release", lock_release, METH_NOARGS,
     "release($self)\n--\n\n"
     "Unlock it, and wake who waits longest. Anybody may."},
    {"release_lock", lock_release, METH_NOARGS,
     "release_lock($self)\n--\n\nAs release()."},
    {"locked_lock", semaphore_locked, METH_NOARGS,
     "locked_lock($self)\n--\n\nAs locked()."},
    {"_is_owned", lock_is_owned, METH_NOARGS,
     "_is_owned($self)\n--\n\nAs locked()."},
    {"_acquire_restore", COIR__ONE(lock_acquire_restore),
     "_acquire_restore($self, count_owner)\n--\n\n"
     "Lock it, for who has waited for a condition; also if it is killed."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject coir__thread_lock_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.thread.LockType",
    .tp_basicsize = sizeof(SemaphoreObject),
    .tp_repr = lock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc =
        "lock()\n--\n\nA lock, as _thread.lock, for greenlets and threads.",
    .tp_methods = lock_methods,
    .tp_base = &bounded_type,
    .tp_init = lock_init,
    .tp_vectorcall = lock_vectorcall,
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
     "get_green_ident($module, gr=None)\n--\n\n"
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

int
coir__lock_types_init(PyObject *module)
{
    if (PyModule_AddFunctions(module, functions) < 0 ||
        PyModule_AddType(module, &coir__semaphore_type) < 0 ||
        PyModule_AddType(module, &bounded_type) < 0 ||
        PyModule_AddType(module, &coir__thread_lock_type) < 0 ||
        set_error(&bounded_type, PyExc_ValueError) < 0 ||
        set_error(&coir__thread_lock_type, PyExc_RuntimeError) < 0)
        return -1;
    return coir__rlock_types_init(module);
}
