/* loop.c - the type Loop: running what is ready, and the loop of libcoir.
 *
 * A turn of run() first runs what is ready, callbacks and greenlets in the
 * order in which they came, up to a budget; then the loop of libcoir, which
 * blocks only if nothing is ready, and then without the GIL. Its watchers'
 * callbacks run there, or make others ready.
 *
 * Greenlets that leave the processor go on to the next ready one by
 * themselves, see hub.c; they use up the same budget.
 *
 * Errors of callbacks go to the error handler, the hub as a rule. Its own
 * errors are reported as unraisable, but GreenletExit leaves run(): that is
 * how a hub is destroyed.
 *
 * Python's signal handlers run in the main thread between turns. So that a
 * signal that comes right before the loop blocks is not slept through, the
 * interpreter is asked to write to a pipe (signal.set_wakeup_fd()), unless the
 * program uses that itself. */
#include "ev.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

/* Greenlets and callbacks between two looks at descriptors and timers; fewer
 * if they take longer than the interpreter lets a thread run. */
#define BUDGET 128
#define BUDGET_NS (5 * COIR_NS_PER_MS)
/* The same, for those that callbacks switch to. */
#define DIRECT_NS (50 * COIR_NS_PER_MS)

/* --- times --------------------------------------------------------------- */

int64_t
coir__seconds_to_ns(double seconds)
{
    if (!(seconds > 0))
        return 0;
    double ns = ceil(seconds * (double)COIR_NS_PER_S);
    return ns < 9e18 ? (int64_t)ns : COIR_FOREVER;
}

int
coir__timeout_ns(PyObject *seconds, int64_t *ns)
{
    if (seconds == Py_None) {
        *ns = COIR_FOREVER;
        return 0;
    }
    double s = PyFloat_AsDouble(seconds);
    if (s == -1 && PyErr_Occurred())
        return -1;
    if (isnan(s)) {
        PyErr_SetString(PyExc_ValueError, "a timeout must be a number, "
                                          "not NaN");
        return -1;
    }
    *ns = coir__seconds_to_ns(s);
    return 0;
}

/* --- errors -------------------------------------------------------------- */

/* Call the error handler; 0, or -1 with an exception. */
static int
tell_handler(LoopObject *loop, PyObject *context, PyObject *exc)
{
    PyObject *handler =
        PyObject_GetAttr((PyObject *)loop, coir__core.str_handle_error);
    if (handler == NULL)
        return -1;
    PyObject *tb = PyException_GetTraceback(exc);
    PyObject *res = PyObject_CallFunctionObjArgs(
        handler, context, (PyObject *)Py_TYPE(exc), exc,
        tb != NULL ? tb : Py_None, NULL);
    Py_DECREF(handler);
    Py_XDECREF(tb);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

void
coir__loop_error(LoopObject *loop, PyObject *context)
{
    PyObject *exc = coir__error_take();
    if (exc == NULL)
        return;
    if (tell_handler(loop, context != NULL ? context : Py_None, exc) < 0) {
        PyObject *second = coir__error_take();
        int ends = PyErr_GivenExceptionMatches(second, coir__core.exit);
        if (ends && loop->pending_error == NULL) {
            loop->pending_error = second; /* it is to leave run() */
        }
        else if (ends) {
            Py_DECREF(second);
        }
        else { /* the loop goes on whatever happens */
            coir__error_give(second);
            PyErr_WriteUnraisable((PyObject *)loop);
        }
    }
    Py_DECREF(exc);
}

/* --- running ------------------------------------------------------------- */

static __thread PyThreadState *released;

static LoopObject *
object_of(coir_loop *loop)
{
    return coir_loop_user(loop);
}

static void
release_gil(coir_loop *loop)
{
    LoopObject *self = object_of(loop);
    /* Without a wait it is the interpreter that lets others have it. */
    if (!self->may_block)
        return;
    self->blocks = 1;
    /* What was called on the way here, fork and prepare watchers and others
     * that had the GIL meanwhile, may have made something ready. */
    if (COIR__UNLIKELY(self->ready.head != NULL))
        coir_loop_wakeup(loop);
    released = PyEval_SaveThread();
}

static void
acquire_gil(coir_loop *loop)
{
    LoopObject *self = object_of(loop);
    if (!self->blocks)
        return;
    int saved = errno;
    PyEval_RestoreThread(released);
    self->blocks = 0;
    errno = saved;
}

static int
alive(const LoopObject *self)
{
    if (self->loop != NULL)
        return 1;
    PyErr_SetString(PyExc_ValueError, "operation on destroyed loop");
    return 0;
}

void
coir__loop_check_budget(LoopObject *self)
{
    if (self->loop == NULL ||
        coir_clock_monotonic() - coir_loop_now(self->loop) > BUDGET_NS)
        self->left = 0;
    if (self->left == 0 && self->in_order) {
        self->is_tired = 1; /* nothing comes in between a batch */
        self->left = BUDGET;
    }
}

/* Have those that callbacks have switched to used the processor for too long
 * in this turn? What this thread waits for it on a busy machine is nobody's
 * fault. That clock costs a system call; it is read with the eighth one for
 * the first time, and with each eighth again. */
static int
uses_much(LoopObject *self)
{
    struct timespec ts;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) < 0)
        return 1;
    int64_t now_ns = (int64_t)ts.tv_sec * COIR_NS_PER_S + ts.tv_nsec;
    if (self->direct == 8)
        self->direct_cpu_ns = now_ns;
    return now_ns - self->direct_cpu_ns > BUDGET_NS;
}

int
coir__loop_may_switch(LoopObject *self)
{
    if (self->direct == 0 || self->stop || self->pending_error != NULL)
        return 0;
    int64_t now_ns = coir_clock_monotonic();
    if (self->direct == 1)
        self->direct_ns = now_ns;
    self->direct++;
    if (now_ns - self->direct_ns > DIRECT_NS ||
        (COIR__UNLIKELY((self->direct & 7) == 0) && uses_much(self)))
        self->direct = 0;
    return self->direct != 0;
}

/* Run what is ready, within the budget. */
static void
run_ready(LoopObject *self)
{
    self->left = BUDGET;
    while (coir__ready_any(self) && self->left > 0 && !self->stop &&
           self->pending_error == NULL) {
        coir_ready *r = (coir_ready *)self->ready.head; /* its first member */
        if (!coir__is_current(self, r) && !coir__batch_begins(self))
            break;
        coir__loop_use_budget(self);
        coir__list_remove(&r->node);
        if (r->kind != NULL)
            r->kind->run(r, self);
        else
            coir__resume(r, self);
    }
    self->left = 0;
}

/* Run Python's signal handlers. */
static void
check_signals(LoopObject *self)
{
    if (COIR__UNLIKELY(PyErr_CheckSignals() < 0))
        coir__loop_error(self, NULL);
}

/* Others that hold no GIL now may make something happen in a loop in which by
 * itself nothing can: threads that are not known to be idle. */
static int
others_may_wake(LoopObject *self)
{
    return self->foreign_waits > 0 && coir__other_threads() > 0;
}

/* Somebody else is told of signals, see set_wakeup_fd() in gevent.signal. One
 * that another thread of the process takes, or that comes right before the
 * loop blocks, does not end that: so it is not for long. */
static int signals_go_elsewhere;

#define SIGNAL_GUARD_NS (50 * COIR_NS_PER_MS)

static void
guard_is_over(coir_loop *Py_UNUSED(loop), coir_timer *Py_UNUSED(timer),
              int Py_UNUSED(revents))
{
}

static int
run_guarded(LoopObject *self, int flags)
{
    coir_loop *loop = self->loop;
    coir_loop_now_update(loop);
    coir_timer_init(&self->signal_guard, guard_is_over, SIGNAL_GUARD_NS, 0);
    coir_timer_start(loop, &self->signal_guard);
    coir_loop_unref(loop); /* it is not to keep it running */
    int active = coir_loop_run(loop, flags);
    if (self->loop != NULL) {
        if (coir_is_active(&self->signal_guard))
            coir_timer_stop(loop, &self->signal_guard);
        coir_loop_ref(loop);
        active = coir_loop_is_active(loop);
    }
    return active;
}

/* One turn. Returns whether there is anything left to do. */
static int
turn(LoopObject *self, int flags)
{
    run_ready(self);
    if (self->stop || self->pending_error != NULL || self->loop == NULL)
        return 1;
    /* Before the queue is looked at: other threads may run here. */
    if (self->ready.head == NULL && !(flags & COIR_RUN_NOWAIT))
        coir__loop_watch_signals(self);
    int held = 0;
    if (self->ready.head != NULL)
        flags |= COIR_RUN_NOWAIT;
    else if (!(flags & COIR_RUN_NOWAIT)) {
        flags = COIR_RUN_ONCE;
        if (!coir_loop_is_active(self->loop)) {
            if (!others_may_wake(self))
                return 0;
            held = 1;
            coir_loop_ref(self->loop);
        }
    }
    self->may_block = !(flags & COIR_RUN_NOWAIT);
    int is_between = coir__is_between(self), is_first = !self->ready.head;
    self->direct = self->ready.head == NULL;
    int active;
    if (COIR__UNLIKELY(signals_go_elsewhere && self->is_default &&
                       self->may_block))
        active = run_guarded(self, flags);
    else
        active = coir_loop_run(self->loop, flags);
    self->may_block = 0;
    coir__ready_looked(self, is_between, is_first);
    self->direct = 0;
    if (held && self->loop != NULL) {
        coir_loop_unref(self->loop);
        active = 1;
    }
    check_signals(self);
    return active > 0 || coir__ready_any(self);
}

/* Nothing was done to the loop while it ran; or `destroy` is late. */
static void
run_ends(LoopObject *self)
{
    if (--self->depth == 0 && self->destroyed && self->loop != NULL)
        coir__loop_destroy(self);
}

int
coir__loop_run(LoopObject *self, int flags)
{
    int some = 1;
    self->depth++;
    self->stop = 0;
    do {
        some = turn(self, flags);
    } while (some && !self->stop && self->pending_error == NULL &&
             !self->destroyed && self->loop != NULL &&
             !(flags & (COIR_RUN_ONCE | COIR_RUN_NOWAIT)));
    self->stop = 0;
    run_ends(self);
    if (self->pending_error != NULL) {
        PyObject *exc = self->pending_error;
        self->pending_error = NULL;
        coir__error_give(exc);
        return -1;
    }
    return some;
}

/* --- signals ------------------------------------------------------------- */

static int signal_pipe[2] = {-1, -1};
static int signal_pid;

static void
signal_came(coir_loop *loop, coir_io *w, int revents)
{
    char bytes[64];
    if (COIR__UNLIKELY(revents & COIR_ERROR)) {
        /* Somebody closed it, and its number may be his now: the next time
         * there is to be another. It has been stopped, thus counted twice. */
        LoopObject *self =
            (LoopObject *)((char *)w - offsetof(LoopObject, signal_io));
        coir_loop_ref(loop);
        self->watches_signals = 0;
        signal_pipe[0] = -1;
        signal_pid = 0;
        return;
    }
    while (read(w->fd, bytes, sizeof bytes) > 0)
        ;
}

/* Ask the interpreter to write to the pipe, unless somebody else does. */
static int
own_wakeup_fd(void)
{
    PyObject *signal = PyImport_ImportModule("_signal");
    PyObject *old = NULL;
    if (signal != NULL)
        old = PyObject_CallMethod(signal, "set_wakeup_fd", "i", -1);
    long fd = old != NULL ? PyLong_AsLong(old) : -2;
    Py_XDECREF(old);
    if (fd == -1 || (fd >= 0 && fd == signal_pipe[1])) {
        /* None; or one that is shared with the process that forked. */
        for (int i = 0; i < 2 && signal_pipe[0] >= 0; i++)
            (void)close(signal_pipe[i]);
        fd = -2;
        if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
            signal_pipe[0] = signal_pipe[1] = -1;
        else
            fd = signal_pipe[1];
    }
    PyObject *res = NULL;
    if (fd >= 0) {
        PyObject *set = PyObject_GetAttrString(signal, "set_wakeup_fd");
        PyObject *args = Py_BuildValue("(l)", fd);
        PyObject *kwargs =
            Py_BuildValue("{s:O}", "warn_on_full_buffer", Py_False);
        if (set != NULL && args != NULL && kwargs != NULL)
            res = PyObject_Call(set, args, kwargs);
        Py_XDECREF(set);
        Py_XDECREF(args);
        Py_XDECREF(kwargs);
    }
    Py_XDECREF(signal);
    PyErr_Clear(); /* not the main thread: then no handlers run here */
    Py_XDECREF(res);
    return signal_pipe[0] >= 0;
}

static PyObject *
signals_elsewhere(PyObject *Py_UNUSED(module), PyObject *flag)
{
    int is = PyObject_IsTrue(flag);
    if (is < 0)
        return NULL;
    signals_go_elsewhere = is;
    return PyLong_FromLong(signal_pid == getpid() ? signal_pipe[1] : -1);
}

/* The main thread's loop is about to block. */
void
coir__loop_watch_signals(LoopObject *self)
{
    if (COIR__LIKELY(self->watches_signals || !self->is_default) ||
        signals_go_elsewhere)
        return;
    self->watches_signals = 1;
    if (signal_pid != getpid()) { /* else a loop before this one has it */
        if (!own_wakeup_fd())
            return;
        signal_pid = getpid();
    }
    coir_io_init(&self->signal_io, signal_came, signal_pipe[0], COIR_READ);
    if (coir_io_start(self->loop, &self->signal_io) == 0)
        coir_loop_unref(self->loop);
}

static void
stop_signals(LoopObject *self)
{
    if (coir_is_active(&self->signal_io)) {
        coir_loop_ref(self->loop);
        coir_io_stop(self->loop, &self->signal_io);
    }
    self->watches_signals = 0;
}

/* --- making and destroying ----------------------------------------------- */

static const struct {
    const char *name;
    unsigned flag;
} flag_names[] = {
    {"io_uring", COIR_BACKEND_IOURING}, {"iouring", COIR_BACKEND_IOURING},
    {"epoll", COIR_BACKEND_EPOLL},      {"poll", COIR_BACKEND_POLL},
    {"select", COIR_BACKEND_SELECT},    {"noenv", COIR_LOOP_NOENV},
    {"forkcheck", COIR_LOOP_FORKCHECK}, {"noinotify", COIR_LOOP_NOINOTIFY},
    {"signalfd", COIR_LOOP_SIGNALFD},   {"nosigmask", COIR_LOOP_NOSIGMASK},
};

static int
flag_of(PyObject *name, unsigned *flags)
{
    const char *s = PyUnicode_AsUTF8(name);
    if (s == NULL)
        return -1;
    for (size_t i = 0; i < sizeof flag_names / sizeof *flag_names; i++)
        if (PyOS_stricmp(s, flag_names[i].name) == 0) {
            *flags |= flag_names[i].flag;
            return 0;
        }
    PyErr_Format(PyExc_ValueError,
                 "invalid backend or flag: %R; there are io_uring, epoll, "
                 "poll, select, noenv, forkcheck, noinotify, signalfd and "
                 "nosigmask",
                 name);
    return -1;
}

/* None, a number, "epoll,noenv", or a sequence of names. */
static int
parse_flags(PyObject *op, unsigned *flags)
{
    *flags = 0;
    if (op == NULL || op == Py_None)
        return 0;
    if (PyLong_Check(op)) {
        unsigned long n = PyLong_AsUnsignedLong(op);
        *flags = (unsigned)n;
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *list;
    if (PyUnicode_Check(op)) {
        PyObject *comma = PyUnicode_FromString(",");
        list = comma != NULL ? PyUnicode_Split(op, comma, -1) : NULL;
        Py_XDECREF(comma);
    }
    else {
        list = PySequence_List(op);
    }
    int err = list != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; err == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *name =
            PyObject_CallMethod(PyList_GET_ITEM(list, i), "strip", NULL);
        err = name != NULL ? 0 : -1;
        if (name != NULL && PyUnicode_GetLength(name) > 0)
            err = flag_of(name, flags);
        Py_XDECREF(name);
    }
    Py_XDECREF(list);
    return err;
}

static void
raise_no_loop(int err)
{
    if (err == COIR_ENOMEM && (errno == EMFILE || errno == ENFILE)) {
        PyErr_SetFromErrno(PyExc_OSError);
        return;
    }
    const char *why = coir_loop_error();
    PyErr_Format(err == COIR_ENOMEM ? PyExc_MemoryError : PyExc_SystemError,
                 "cannot make an event loop: %s",
                 why[0] != '\0' ? why : coir_strerror(err));
}

static PyObject *
loop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"flags", "default", NULL};
    PyObject *flags_op = NULL, *is_default = NULL;
    unsigned flags;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:loop", names,
                                     &flags_op, &is_default) ||
        parse_flags(flags_op, &flags) < 0)
        return NULL;
    int first = is_default != NULL ? PyObject_IsTrue(is_default) : 0;
    if (first < 0)
        return NULL;
    LoopObject *self = (LoopObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    errno = 0;
    int err = coir_loop_new(&self->loop, flags);
    if (err < 0) {
        raise_no_loop(err);
        Py_DECREF(self);
        return NULL;
    }
    self->flags = flags;
    self->is_default = first;
    self->thread = PyThread_get_thread_ident();
    coir_loop_set_user(self->loop, self);
    coir_loop_set_release(self->loop, release_gil, acquire_gil);
    /* Now, so that its descriptors do not take the numbers of those that the
     * program closes under its watchers. */
    coir__loop_watch_signals(self);
    return (PyObject *)self;
}

/* Nobody waits in it, or will hear of it, any more. */
void
coir__loop_destroy(LoopObject *self)
{
    coir_loop *loop = self->loop;
    if (loop == NULL)
        return;
    if (self->depth > 0) {
        self->destroyed = 1; /* when it has returned */
        coir_loop_break(loop, COIR_BREAK_ALL);
        self->stop = 1;
        return;
    }
    stop_signals(self);
    while (self->watchers.head != NULL)
        coir__watcher_stop_node(self->watchers.head);
    while (self->timeouts.head != NULL)
        coir__timeout_stop_node(self->timeouts.head);
    while (self->alarms.head != NULL)
        coir__alarm_stop_node(self->alarms.head);
    while (self->links.head != NULL)
        coir__linkable_drop_node(self->links.head);
    self->loop = NULL;
    self->destroyed = 1;
    self->in_order = self->is_timed = 0;
    coir_loop_free(loop);
    coir__standin_release(self);
    while (coir__ready_any(self)) {
        coir_ready *r = (coir_ready *)self->ready.head;
        if (r->kind != NULL)
            r->kind->drop(r);
        else
            coir__list_remove(&r->node);
    }
}

static int
loop_traverse(PyObject *op, visitproc visit, void *arg)
{
    LoopObject *self = (LoopObject *)op;
    Py_VISIT(self->error_handler);
    Py_VISIT(self->stand_in);
    Py_VISIT(self->dict);
    Py_VISIT(self->pending_error);
    for (coir_node *n = self->ready.head; n != NULL; n = n->next)
        Py_VISIT((PyObject *)coir__callback_of((coir_ready *)n));
    return 0;
}

static int
loop_clear(PyObject *op)
{
    LoopObject *self = (LoopObject *)op;
    Py_CLEAR(self->error_handler);
    Py_CLEAR(self->stand_in);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->pending_error);
    return 0;
}

static void
loop_dealloc(PyObject *op)
{
    LoopObject *self = (LoopObject *)op;
    PyObject_GC_UnTrack(op);
    if (self->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    coir__loop_destroy(self);
    (void)loop_clear(op);
    Py_TYPE(op)->tp_free(op);
}

/* --- methods ------------------------------------------------------------- */

#define SELF ((LoopObject *)op)

static PyObject *
loop_run(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"nowait", "once", NULL};
    int nowait = 0, once = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pp:run", names, &nowait,
                                     &once) ||
        !alive(SELF))
        return NULL;
    Py_INCREF(op);
    int some = coir__loop_run(SELF, (nowait ? COIR_RUN_NOWAIT : 0) |
                                        (once ? COIR_RUN_ONCE : 0));
    Py_DECREF(op);
    return some < 0 ? NULL : PyBool_FromLong(some);
}

static PyObject *loop_run_callback(PyObject *op, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames);

static COIR__COLD PyObject *
run_callback_by_name(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    PyObject *func =
        coir__one_argument("run_callback", "func", args, nargs, kwnames);
    return func != NULL ? loop_run_callback(op, &func, 1, NULL) : NULL;
}

static PyObject *
loop_run_callback(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    if (COIR__UNLIKELY(kwnames != NULL))
        return run_callback_by_name(op, args, nargs, kwnames);
    if (nargs < 1 || args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        "run_callback() needs something to call");
        return NULL;
    }
    PyObject *tuple = NULL;
    if (nargs > 1) {
        tuple = PyTuple_New(nargs - 1);
        if (tuple == NULL)
            return NULL;
        for (Py_ssize_t i = 1; i < nargs; i++)
            PyTuple_SET_ITEM(tuple, i - 1, Py_NewRef(args[i]));
    }
    PyObject *cb = (PyObject *)coir__loop_call(SELF, args[0], tuple);
    Py_XDECREF(tuple);
    return cb;
}

static PyObject *
loop_handle_error(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"context", "type", "value", "tb", NULL};
    PyObject *context, *type, *value, *tb;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:handle_error", names,
                                     &context, &type, &value, &tb))
        return NULL;
    PyObject *handler = SELF->error_handler;
    if (handler == NULL) {
        /* Nobody cares: show it, and stop. */
        PyErr_Display(type, value, tb);
        SELF->stop = 1;
        Py_RETURN_NONE;
    }
    Py_INCREF(handler);
    PyObject *func = PyObject_GetAttr(handler, coir__core.str_handle_error);
    if (func == NULL) {
        PyErr_Clear();
        func = Py_NewRef(handler);
    }
    Py_DECREF(handler);
    PyObject *res =
        PyObject_CallFunctionObjArgs(func, context, type, value, tb, NULL);
    Py_DECREF(func);
    return res;
}

static PyObject *
loop_break(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"how", NULL};
    int how = COIR_BREAK_ONE;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|i:break_", names, &how) ||
        !alive(SELF))
        return NULL;
    SELF->stop = how != COIR_BREAK_CANCEL;
    coir_loop_break(SELF->loop, how);
    Py_RETURN_NONE;
}

static PyObject *
loop_destroy(PyObject *op, PyObject *Py_UNUSED(unused))
{
    int was = SELF->loop != NULL && !SELF->destroyed;
    coir__loop_destroy(SELF);
    return PyBool_FromLong(was);
}

static PyObject *
loop_reinit(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->loop != NULL) {
        if (signal_pid != getpid())
            stop_signals(SELF);
        coir_loop_fork(SELF->loop);
    }
    Py_RETURN_NONE;
}

static PyObject *
loop_ref(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!alive(SELF))
        return NULL;
    coir_loop_ref(SELF->loop);
    Py_RETURN_NONE;
}

static PyObject *
loop_unref(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!alive(SELF))
        return NULL;
    coir_loop_unref(SELF->loop);
    Py_RETURN_NONE;
}

static PyObject *
loop_now(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!alive(SELF))
        return NULL;
    return PyFloat_FromDouble((double)coir_loop_wall_now(SELF->loop) / 1e9);
}

static PyObject *
loop_update_now(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!alive(SELF))
        return NULL;
    coir_loop_now_update(SELF->loop);
    Py_RETURN_NONE;
}

static PyObject *
loop_verify(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!alive(SELF))
        return NULL;
    coir_loop_verify(SELF->loop);
    Py_RETURN_NONE;
}

static PyObject *
loop_nothing(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!alive(SELF))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
loop_fileno(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->loop == NULL)
        Py_RETURN_NONE;
    int fd = coir_loop_fd(SELF->loop);
    if (fd < 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(fd);
}

/* Its number is about to be used for something else. */
static PyObject *
loop_closing_fd(PyObject *op, PyObject *arg)
{
    long fd = PyLong_AsLong(arg);
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (!alive(SELF))
        return NULL;
    unsigned before = coir_loop_pending_count(SELF->loop);
    coir_feed_fd_event(SELF->loop, (int)fd, COIR_READ | COIR_WRITE);
    return PyBool_FromLong(coir_loop_pending_count(SELF->loop) != before);
}

static PyObject *
loop_callbacks(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *list = PyList_New(0);
    for (coir_node *n = SELF->ready.head; list != NULL && n != NULL;
         n = n->next) {
        PyObject *item = (PyObject *)coir__callback_of((coir_ready *)n);
        if (PyList_Append(list, item != NULL ? item : Py_None) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *
loop_repr(PyObject *op)
{
    if (SELF->loop == NULL)
        return PyUnicode_FromFormat("<%s at %p destroyed>",
                                    coir__type_name(Py_TYPE(op)), op);
    return PyUnicode_FromFormat(
        "<%s at %p %s%s pending=%u ref=%d fileno=%d>",
        coir__type_name(Py_TYPE(op)), op, coir_loop_backend_name(SELF->loop),
        SELF->is_default ? " default" : "",
        coir_loop_pending_count(SELF->loop),
        coir_loop_active_count(SELF->loop), coir_loop_fd(SELF->loop));
}

enum loop_field {
    LOOP_DEFAULT,
    LOOP_BACKEND,
    LOOP_BACKEND_INT,
    LOOP_FLAGS_INT,
    LOOP_FLAGS,
    LOOP_ACTIVE,
    LOOP_PENDING,
    LOOP_DEPTH,
    LOOP_ITERATION,
    LOOP_PTR,
    LOOP_SIGFD,
    LOOP_SIG_PENDING,
    LOOP_RESOLUTION,
    LOOP_WAITS,
};

static PyObject *
flags_as_names(unsigned flags)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0;
         list != NULL && i < sizeof flag_names / sizeof *flag_names; i++) {
        if (!(flags & flag_names[i].flag))
            continue;
        flags &= ~flag_names[i].flag;
        PyObject *name = PyUnicode_FromString(flag_names[i].name);
        if (name == NULL || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static PyObject *
loop_get(PyObject *op, void *closure)
{
    coir_loop *loop = SELF->loop;
    enum loop_field field = (enum loop_field)(uintptr_t)closure;
    switch (field) {
    case LOOP_PTR:
        return PyLong_FromVoidPtr(loop);
    case LOOP_WAITS:
        return PyBool_FromLong(SELF->blocks);
    case LOOP_RESOLUTION:
        return PyFloat_FromDouble(0.00001);
    case LOOP_DEFAULT:
        return PyBool_FromLong(loop != NULL && SELF->is_default);
    case LOOP_DEPTH:
        return PyLong_FromLong(SELF->depth);
    default:
        break;
    }
    if (!alive(SELF))
        return NULL;
    switch (field) {
    case LOOP_BACKEND:
        return PyUnicode_FromString(coir_loop_backend_name(loop));
    case LOOP_BACKEND_INT:
        return PyLong_FromUnsignedLong(coir_loop_backend(loop));
    case LOOP_FLAGS_INT:
        return PyLong_FromUnsignedLong(SELF->flags);
    case LOOP_FLAGS:
        return flags_as_names(SELF->flags);
    case LOOP_ACTIVE:
        return PyLong_FromLong(coir_loop_active_count(loop));
    case LOOP_PENDING:
        return PyLong_FromUnsignedLong(coir_loop_pending_count(loop));
    case LOOP_ITERATION:
        return PyLong_FromUnsignedLong(coir_loop_iteration(loop));
    case LOOP_SIGFD:
        return PyLong_FromLong(-1);
    default:
        return PyBool_FromLong(0);
    }
}

static PyObject *
loop_get_handler(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *handler = SELF->error_handler;
    return Py_NewRef(handler != NULL ? handler : Py_None);
}

static int
loop_set_handler(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == Py_None)
        value = NULL;
    Py_XSETREF(SELF->error_handler, Py_XNewRef(value));
    return 0;
}

COIR__DEFINE_ONE(loop_closing_fd, "closing_fd", "fd")

static PyMethodDef loop_methods[] = {
    {"run", (PyCFunction)(void (*)(void))loop_run,
     METH_VARARGS | METH_KEYWORDS,
     "run($self, nowait=False, once=False)\n--\n\n"
     "Run callbacks and watchers until none is left that keeps the loop\n"
     "going; one turn only with `once`, one that does not block with\n"
     "`nowait`. Returns whether there are any left."},
    {"run_callback", (PyCFunction)(void (*)(void))loop_run_callback,
     METH_FASTCALL | METH_KEYWORDS,
     "run_callback($self, func, *args)\n--\n\n"
     "Call func(*args) in the hub, soon, after all that was asked for\n"
     "before. Any thread; the loop is woken if it sleeps."},
    {"run_callback_threadsafe", (PyCFunction)(void (*)(void))loop_run_callback,
     METH_FASTCALL | METH_KEYWORDS,
     "run_callback_threadsafe($self, func, *args)\n--\n\n"
     "As run_callback()."},
    {"handle_error", (PyCFunction)(void (*)(void))loop_handle_error,
     METH_VARARGS | METH_KEYWORDS,
     "handle_error($self, context, type, value, tb)\n--\n\n"
     "Hand an error of a callback to error_handler: its handle_error(), or\n"
     "itself; without one print it and stop the loop."},
    {"break_", (PyCFunction)(void (*)(void))loop_break,
     METH_VARARGS | METH_KEYWORDS,
     "break_($self, how=1)\n--\n\nMake run() return; 2: all runs; 0: do "
     "not."},
    {"destroy", loop_destroy, METH_NOARGS,
     "destroy($self)\n--\n\n"
     "Stop all watchers and free the loop: at once, or if it is running,\n"
     "when it has returned. False if that was done before."},
    {"reinit", loop_reinit, METH_NOARGS,
     "reinit($self)\n--\n\nIn the child after a fork: make its kernel objects "
     "anew."},
    {"ref", loop_ref, METH_NOARGS,
     "ref($self)\n--\n\nCount one more that keeps the loop running."},
    {"unref", loop_unref, METH_NOARGS, "unref($self)\n--\n\nCount one less."},
    {"now", loop_now, METH_NOARGS,
     "now($self)\n--\n\nThe loop's time of day, in seconds, read once per "
     "turn."},
    {"update", loop_update_now, METH_NOARGS,
     "update($self)\n--\n\nAs update_now()."},
    {"update_now", loop_update_now, METH_NOARGS,
     "update_now($self)\n--\n\nRead the clock."},
    {"verify", loop_verify, METH_NOARGS,
     "verify($self)\n--\n\nAbort if the loop's data are damaged."},
    {"install_sigchld", loop_nothing, METH_NOARGS,
     "install_sigchld($self)\n--\n\n"
     "Nothing is to be done: child watchers use descriptors of processes."},
    {"reset_sigchld", loop_nothing, METH_NOARGS,
     "reset_sigchld($self)\n--\n\nAs install_sigchld()."},
    {"fileno", loop_fileno, METH_NOARGS,
     "fileno($self)\n--\n\nThe descriptor of its epoll set or ring."},
    {"closing_fd", COIR__ONE(loop_closing_fd),
     "closing_fd($self, fd)\n--\n\n"
     "The descriptor is about to be closed: make its watchers pending.\n"
     "Returns whether there were any."},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, field, doc)                                               \
    {                                                                         \
        name, loop_get, NULL, doc, (void *)(uintptr_t)(field)                 \
    }

static PyGetSetDef loop_getset[] = {
    FIELD("default", LOOP_DEFAULT, "Whether it is the main thread's."),
    FIELD("backend", LOOP_BACKEND, "Name of what waits for descriptors."),
    FIELD("backend_int", LOOP_BACKEND_INT, "The same as libev's flag."),
    FIELD("origflags", LOOP_FLAGS, "Names of the flags it was made with."),
    FIELD("origflags_int", LOOP_FLAGS_INT, "The same as a number."),
    FIELD("activecnt", LOOP_ACTIVE, "How many keep it running."),
    FIELD("pendingcnt", LOOP_PENDING, "How many watchers are pending."),
    FIELD("depth", LOOP_DEPTH, "How many runs are under way."),
    FIELD("iteration", LOOP_ITERATION, "Turns so far."),
    FIELD("waits", LOOP_WAITS, "Whether it sleeps until something happens."),
    FIELD("ptr", LOOP_PTR, "Address of the coir_loop; 0 once destroyed."),
    FIELD("sigfd", LOOP_SIGFD, "-1: signals come by a handler."),
    FIELD("sig_pending", LOOP_SIG_PENDING, "Not told: False."),
    FIELD("approx_timer_resolution", LOOP_RESOLUTION,
          "Short timers are late by about so many seconds when idle."),
    {"error_handler", loop_get_handler, loop_set_handler,
     "Gets the errors of callbacks, see handle_error(); or None.", NULL},
    {"_callbacks", loop_callbacks, NULL,
     "What is ready, in order; None stands for a greenlet.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__loop_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "gevent.core.loop",
    .tp_basicsize = sizeof(LoopObject),
    .tp_dealloc = loop_dealloc,
    .tp_repr = loop_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc =
        "loop(flags=None, default=False)\n--\n\n"
        "An event loop. `flags` names a backend (epoll, io_uring, poll,\n"
        "select) and options. `default`: it is the main thread's.",
    .tp_traverse = loop_traverse,
    .tp_clear = loop_clear,
    .tp_weaklistoffset = offsetof(LoopObject, weakreflist),
    .tp_dictoffset = offsetof(LoopObject, dict),
    .tp_methods = loop_methods,
    .tp_getset = loop_getset,
    .tp_new = loop_new,
};

/* --- functions ----------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"signals_elsewhere", signals_elsewhere, METH_O,
     "signals_elsewhere($module, flag, /)\n--\n\n"
     "Whether somebody else's descriptor is what the interpreter writes to\n"
     "when a signal comes. Returns the main loop's own; -1 for none."},
    {NULL, NULL, 0, NULL},
};

int
coir__loop_types_init(PyObject *module)
{
    if (PyType_Ready(&coir__loop_type) < 0 ||
        PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Loop", (PyObject *)&coir__loop_type);
}
