/* watcherattr.c - the attributes of a loop's watchers. */
#include "watcher.h"

#include <sys/stat.h>

/* --- of all -------------------------------------------------------------- */

static PyObject *
get_active(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->loop != NULL && SELF->w.any.active != 0);
}

static PyObject *
get_pending(PyObject *op, void *Py_UNUSED(closure))
{
    int pending = SELF->w.any.pending != 0;
    if (SELF->kind == KIND_ASYNC)
        pending |= coir_async_pending(&SELF->w.async);
    return PyBool_FromLong(SELF->loop != NULL && pending);
}

static PyObject *
get_ref(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(!SELF->no_ref);
}

static int
set_ref(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int ref = value != NULL ? PyObject_IsTrue(value) : 1;
    if (ref < 0 || !coir__watcher_is_alive(SELF))
        return -1;
    SELF->no_ref = !ref;
    coir__watcher_apply_ref(SELF);
    return 0;
}

static PyObject *
get_priority(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(SELF->w.any.priority);
}

static int
set_priority(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    long level = value != NULL ? PyLong_AsLong(value) : 0;
    if (level == -1 && PyErr_Occurred())
        return -1;
    if (SELF->w.any.active || SELF->w.any.pending) {
        PyErr_SetString(PyExc_AttributeError,
                        "Cannot set priority of an active watcher");
        return -1;
    }
    SELF->w.any.priority = (int)level;
    return 0;
}

static PyObject *
get_callback(PyObject *op, void *closure)
{
    PyObject *value = closure == NULL ? SELF->callback : SELF->args;
    return Py_NewRef(value != NULL ? value : Py_None);
}

static int
set_callback(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value != NULL && value != Py_None && !PyCallable_Check(value)) {
        PyErr_Format(PyExc_TypeError, "Expected callable, not %R", value);
        return -1;
    }
    Py_XSETREF(SELF->callback, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static int
set_args(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value != NULL && value != Py_None && !PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "args must be a tuple or None");
        return -1;
    }
    Py_XSETREF(SELF->args, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static PyObject *
get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *loop = (PyObject *)SELF->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

PyGetSetDef coir__watcher_getset[] = {
    {"active", get_active, NULL, "Started, and not stopped.", NULL},
    {"pending", get_pending, NULL,
     "It has happened, and the callback will "
     "be called.",
     NULL},
    {"ref", get_ref, set_ref, "Whether it keeps the loop running.", NULL},
    {"priority", get_priority, set_priority,
     "From -2 to 2: pending ones of higher priority are called first.", NULL},
    {"callback", get_callback, set_callback, "What is called.", NULL},
    {"args", get_callback, set_args, "With what.", (void *)1},
    {"loop", get_loop, NULL, "Its loop; None once closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* --- by kind ------------------------------------------------------------- */

static PyObject *
io_get(PyObject *op, void *closure)
{
    if (closure == NULL)
        return PyLong_FromLong(SELF->w.io.fd);
    return PyLong_FromLong(SELF->w.io.events); /* libev's flag included */
}

static int
io_set(PyObject *op, PyObject *value, void *closure)
{
    int fd = 0, events = 0;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot be deleted");
        return -1;
    }
    if (closure == NULL ? coir__watcher_check_fd(value, &fd) < 0
                        : ((events = (int)PyLong_AsLong(value)) == -1 &&
                           PyErr_Occurred()) ||
                              coir__watcher_check_events(events) < 0)
        return -1;
    if (SELF->w.any.active) {
        PyErr_SetString(PyExc_AttributeError,
                        closure == NULL
                            ? "'io' watcher attribute 'fd' is read-only "
                              "while watcher is active"
                            : "'io' watcher attribute 'events' is read-only "
                              "while watcher is active");
        return -1;
    }
    if (closure == NULL)
        SELF->w.io.fd = fd;
    else
        SELF->w.io.events = events & (COIR_READ | COIR_WRITE);
    SELF->w.io.events |= COIR__FDSET;
    return 0;
}

static PyObject *
io_events_str(PyObject *op, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"0", "READ", "WRITE", "READ|WRITE"};
    return PyUnicode_FromString(names[SELF->w.io.events & 3]);
}

static PyObject *
timer_at(PyObject *op, void *Py_UNUSED(closure))
{
    int64_t at = SELF->w.timer.timeout_ns;
    if (coir_is_active(&SELF->w.timer))
        at = SELF->w.timer.deadline_ns;
    return PyFloat_FromDouble((double)at / 1e9);
}

static PyObject *
child_get(PyObject *op, void *closure)
{
    const int *fields[] = {&SELF->pid, &SELF->rpid, &SELF->rstatus};
    return PyLong_FromLong(*fields[(uintptr_t)closure]);
}

static int
child_set(PyObject *op, PyObject *value, void *closure)
{
    int *fields[] = {&SELF->pid, &SELF->rpid, &SELF->rstatus};
    long n = value != NULL ? PyLong_AsLong(value) : 0;
    if (n == -1 && PyErr_Occurred())
        return -1;
    *fields[(uintptr_t)closure] = (int)n;
    return 0;
}

/* None for a file that does not exist. */
static PyObject *
stat_result(const struct stat *s)
{
    if (s->st_nlink == 0)
        Py_RETURN_NONE;
    PyObject *os = PyImport_ImportModule("os");
    PyObject *res = NULL;
    if (os != NULL)
        res = PyObject_CallMethod(
            os, "stat_result", "((kKkkkkLddd))", (unsigned long)s->st_mode,
            (unsigned long long)s->st_ino, (unsigned long)s->st_dev,
            (unsigned long)s->st_nlink, (unsigned long)s->st_uid,
            (unsigned long)s->st_gid, (long long)s->st_size,
            (double)s->st_atim.tv_sec + 1e-9 * (double)s->st_atim.tv_nsec,
            (double)s->st_mtim.tv_sec + 1e-9 * (double)s->st_mtim.tv_nsec,
            (double)s->st_ctim.tv_sec + 1e-9 * (double)s->st_ctim.tv_nsec);
    Py_XDECREF(os);
    return res;
}

static PyObject *
stat_get(PyObject *op, void *closure)
{
    switch ((uintptr_t)closure) {
    case 0:
        return stat_result(&SELF->w.stat.attr);
    case 1:
        return stat_result(&SELF->w.stat.prev);
    case 2:
        if (SELF->w.stat.timer.repeat_ns > 0) /* it was started */
            return PyFloat_FromDouble((double)SELF->w.stat.timer.repeat_ns /
                                      1e9);
        return PyFloat_FromDouble(SELF->interval);
    case 4:
        return Py_NewRef(SELF->path);
    default:
        return PyUnicode_DecodeFSDefault(PyBytes_AS_STRING(SELF->path));
    }
}

static PyObject *
signal_get(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(SELF->w.signal.signum);
}

static PyGetSetDef io_getset[] = {
    {"fd", io_get, io_set, "The descriptor.", NULL},
    {"events", io_get, io_set, "1: readable, 2: writable.", (void *)1},
    {"events_str", io_events_str, NULL, "The same in words.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef timer_getset[] = {
    {"at", timer_at, NULL, "When it will be called, of the loop's clock.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef child_getset[] = {
    {"pid", child_get, NULL, "Of the process; 0: of any.", (void *)0},
    {"rpid", child_get, child_set, "Of the one that has ended.", (void *)1},
    {"rstatus", child_get, child_set, "As from os.waitpid().", (void *)2},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef stat_getset[] = {
    {"attr", stat_get, NULL, "As from os.stat(), now; None: not there.",
     (void *)0},
    {"prev", stat_get, NULL, "The same before the change.", (void *)1},
    {"interval", stat_get, NULL, "Seconds between looks.", (void *)2},
    {"path", stat_get, NULL, "Of the file.", (void *)3},
    {"_paths", stat_get, NULL, "The same as bytes.", (void *)4},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef signal_getset[] = {
    {"signum", signal_get, NULL, "Its number.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyGetSetDef *const coir__watcher_getsets[KINDS] = {
    [KIND_IO] = io_getset,         [KIND_TIMER] = timer_getset,
    [KIND_SIGNAL] = signal_getset, [KIND_CHILD] = child_getset,
    [KIND_STAT] = stat_getset,
};
