/* watcher.c - watchers of a loop as Python objects.
 *
 * One C type, of which the kinds are subtypes that differ in what they are
 * made with and in a few attributes. A watcher that is active keeps itself
 * alive, and stands in a list of its loop, which stops it when it is
 * destroyed.
 *
 * Children are waited for by descriptors of their processes (pidfd), one
 * each, so that a loop reaps nobody whom it was not asked for, in any loop of
 * any thread. Where there are none, or no more, or the loop has no room for
 * one, a timer looks for the child: SIGCHLD may be the program's. For a
 * process that is no more, somebody else has reaped it, it fires at once. Only
 * any child (pid 0), and those that are traced, are waited for by SIGCHLD. */
#include "watcher.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static PyTypeObject watcher_type;
static PyTypeObject kind_types[KINDS];

#define NO_PIDFD (-1)
#define BY_TIMER (-2) /* in place of a pidfd */
#define POLL_NS (INT64_C(20) * 1000000)

/* --- starting and stopping ----------------------------------------------- */

static int
start_any(WatcherObject *self)
{
    coir_loop *loop = self->loop->loop;
    switch ((enum watcher_kind)self->kind) {
    case KIND_IO:
        return coir_io_start(loop, &self->w.io);
    case KIND_TIMER:
        coir_timer_start(loop, &self->w.timer);
        return 0;
    case KIND_SIGNAL:
        return coir_signal_start(loop, &self->w.signal);
    case KIND_CHILD:
        if (self->pidfd == BY_TIMER) {
            coir_timer_start(loop, &self->w.timer);
            return 0;
        }
        return self->pidfd >= 0 ? coir_io_start(loop, &self->w.io)
                                : coir_signal_start(loop, &self->w.signal);
    case KIND_STAT:
        return coir_stat_start(loop, &self->w.stat);
    case KIND_IDLE:
        return coir_idle_start(loop, &self->w.idle);
    case KIND_PREPARE:
        return coir_prepare_start(loop, &self->w.prepare);
    case KIND_CHECK:
        return coir_check_start(loop, &self->w.check);
    case KIND_FORK:
        return coir_fork_start(loop, &self->w.fork);
    default:
        return coir_async_start(loop, &self->w.async);
    }
}

static void
stop_any(WatcherObject *self)
{
    coir_loop *loop = self->loop->loop;
    switch ((enum watcher_kind)self->kind) {
    case KIND_IO:
        coir_io_stop(loop, &self->w.io);
        break;
    case KIND_TIMER:
        coir_timer_stop(loop, &self->w.timer);
        break;
    case KIND_SIGNAL:
        coir_signal_stop(loop, &self->w.signal);
        break;
    case KIND_CHILD:
        if (self->pidfd >= 0)
            coir_io_stop(loop, &self->w.io);
        else if (self->pidfd == BY_TIMER)
            coir_timer_stop(loop, &self->w.timer);
        else
            coir_signal_stop(loop, &self->w.signal);
        break;
    case KIND_STAT:
        coir_stat_stop(loop, &self->w.stat);
        break;
    case KIND_IDLE:
        coir_idle_stop(loop, &self->w.idle);
        break;
    case KIND_PREPARE:
        coir_prepare_stop(loop, &self->w.prepare);
        break;
    case KIND_CHECK:
        coir_check_stop(loop, &self->w.check);
        break;
    case KIND_FORK:
        coir_fork_stop(loop, &self->w.fork);
        break;
    default:
        coir_async_stop(loop, &self->w.async);
        break;
    }
}

void
coir__watcher_apply_ref(WatcherObject *self)
{
    int unrefd = self->is_active && self->no_ref;
    if (unrefd && !self->is_unrefd)
        coir_loop_unref(self->loop->loop);
    else if (!unrefd && self->is_unrefd)
        coir_loop_ref(self->loop->loop);
    self->is_unrefd = (uint8_t)unrefd;
}

/* May release it. */
static void
stop(WatcherObject *self)
{
    PyObject *callback = self->callback, *args = self->args;
    int was_active = self->is_active;
    self->callback = self->args = NULL;
    if (self->loop != NULL && self->loop->loop != NULL) {
        if (was_active) {
            self->is_active = 0;
            coir__watcher_apply_ref(self);
        }
        stop_any(self); /* takes a pending call back, too */
    }
    self->is_active = 0;
    coir__list_remove(&self->node);
    Py_XDECREF(callback);
    Py_XDECREF(args);
    if (was_active)
        Py_DECREF(self);
}

void
coir__watcher_stop_node(coir_node *n)
{
    stop((WatcherObject *)((char *)n - offsetof(WatcherObject, node)));
}

PyObject *
coir__watcher_callback(coir_node *n)
{
    return ((WatcherObject *)((char *)n - offsetof(WatcherObject, node)))
        ->callback;
}

int
coir__watcher_is_alive(const WatcherObject *self)
{
    if (self->loop != NULL && self->loop->loop != NULL)
        return 1;
    PyErr_SetString(PyExc_ValueError, self->loop == NULL
                                          ? "operation on closed watcher"
                                          : "operation on destroyed loop");
    return 0;
}

static int
set_call(WatcherObject *self, PyObject *callback, PyObject *args)
{
    if (callback == NULL || !PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "Expected callable, not %R",
                     callback != NULL ? callback : Py_None);
        return -1;
    }
    Py_XSETREF(self->callback, Py_NewRef(callback));
    Py_XSETREF(self->args, Py_NewRef(args));
    return 0;
}

/* The watcher is started by the loop, with its callback set. */
static int
activate(WatcherObject *self)
{
    int err = start_any(self);
    if (err < 0) {
        if (err == COIR_ENOMEM)
            PyErr_NoMemory();
        else
            PyErr_Format(PyExc_ValueError, "cannot start %R: %s",
                         (PyObject *)self, coir_strerror(err));
        return -1;
    }
    if (!self->is_active) {
        self->is_active = 1;
        Py_INCREF(self);
        coir__list_append(&self->loop->watchers, &self->node);
    }
    coir__watcher_apply_ref(self);
    return 0;
}

/* --- being called -------------------------------------------------------- */

/* Call the callback; in the hub. The watcher may be gone after it. */
static void
call(WatcherObject *self, int revents)
{
    LoopObject *loop = self->loop;
    PyObject *callback = self->callback, *args = self->args, *res = NULL;
    if (callback == NULL || loop == NULL)
        return;
    Py_INCREF(self);
    Py_INCREF(loop);
    Py_INCREF(callback);
    Py_XINCREF(args);
    if (self->pass_events) {
        PyObject *first = Py_BuildValue("(i)", revents);
        PyObject *all = first != NULL ? PySequence_Concat(first, args) : NULL;
        Py_XDECREF(first);
        if (all != NULL)
            res = PyObject_Call(callback, all, NULL);
        Py_XDECREF(all);
    }
    else if (args == NULL || PyTuple_GET_SIZE(args) == 0) {
        res = PyObject_CallNoArgs(callback);
    }
    else {
        res = PyObject_Call(callback, args, NULL);
    }
    if (res == NULL)
        coir__loop_error(loop, (PyObject *)self);
    Py_XDECREF(res);
    Py_DECREF(callback);
    Py_XDECREF(args);
    /* One that fires once is not active any more. */
    if (self->is_active && self->w.any.active == 0)
        stop(self);
    Py_DECREF(loop);
    Py_DECREF(self);
}

static void
fires(coir_loop *Py_UNUSED(loop), coir_watcher *w, int revents)
{
    WatcherObject *self = w->data;
    if (revents & COIR_ERROR) {
        /* libcoir has stopped it: its descriptor is no more. */
        revents |= COIR_READ | COIR_WRITE;
        if (self->kind == KIND_IO)
            revents = self->w.io.events & (COIR_READ | COIR_WRITE);
    }
    call(self, revents);
}

static void
poll_child(WatcherObject *self, int64_t after_ns)
{
    self->pidfd = BY_TIMER;
    self->w.timer.timeout_ns = after_ns;
    self->w.timer.repeat_ns = POLL_NS;
}

/* Has the child ended, or for pid 0 any? */
static void
child_fires(coir_loop *loop, coir_watcher *w, int revents)
{
    WatcherObject *self = w->data;
    int status;
    Py_INCREF(self);
    for (;;) {
        pid_t pid = waitpid(self->pid > 0 ? self->pid : -1, &status, WNOHANG);
        if (pid == 0 || (pid < 0 && errno == EINTR)) {
            if (self->pidfd >= 0 && (revents & COIR_ERROR)) {
                /* libcoir has stopped it. */
                (void)close(self->pidfd);
                poll_child(self, POLL_NS);
                coir_timer_start(loop, &self->w.timer);
            }
            break;
        }
        if (pid < 0) {
            if (self->pid <= 0)
                break;
            /* Somebody else has reaped it: its status is lost. */
            pid = 0;
            status = 0;
        }
        self->rpid = pid;
        self->rstatus = status;
        if (self->pid > 0) {
            stop_any(self);
            call(self, COIR_CHILD);
            break;
        }
        call(self, COIR_CHILD);
        if (!self->is_active)
            break;
    }
    Py_DECREF(self);
}

/* --- making -------------------------------------------------------------- */

static WatcherObject *
make(LoopObject *loop, enum watcher_kind kind, int ref, PyObject *priority)
{
    int level = 0;
    if (loop->loop == NULL) {
        PyErr_SetString(PyExc_ValueError, "operation on destroyed loop");
        return NULL;
    }
    if (priority != NULL && priority != Py_None) {
        level = (int)PyLong_AsLong(priority);
        if (level == -1 && PyErr_Occurred())
            return NULL;
    }
    PyTypeObject *type = &kind_types[kind];
    WatcherObject *self = (WatcherObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->kind = (uint8_t)kind;
    self->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    self->no_ref = !ref;
    self->pidfd = NO_PIDFD;
    COIR__INIT(&self->w.any, fires);
    self->w.any.data = self;
    self->w.any.priority = level < COIR_MINPRI   ? COIR_MINPRI
                           : level > COIR_MAXPRI ? COIR_MAXPRI
                                                 : level;
    return self;
}

int
coir__watcher_check_fd(PyObject *op, int *fd)
{
    long n = PyLong_AsLong(op);
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n < 0 || n > INT_MAX) {
        PyErr_Format(PyExc_ValueError, "fd must be non-negative: %R", op);
        return -1;
    }
    *fd = (int)n;
    return 0;
}

int
coir__watcher_check_events(int events)
{
    if ((events & ~(COIR_READ | COIR_WRITE | COIR__FDSET)) == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "illegal event mask: %d", events);
    return -1;
}

static PyObject *
loop_io(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "events", "ref", "priority", NULL};
    PyObject *fd_op, *priority = NULL;
    int events, ref = 1, fd;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Oi|pO:io", names, &fd_op,
                                     &events, &ref, &priority) ||
        coir__watcher_check_fd(fd_op, &fd) < 0 ||
        coir__watcher_check_events(events) < 0)
        return NULL;
    WatcherObject *self = make((LoopObject *)op, KIND_IO, ref, priority);
    if (self != NULL) {
        self->w.io.fd = fd;
        self->w.io.events = events | COIR__FDSET;
    }
    return (PyObject *)self;
}

static PyObject *
loop_timer(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"after", "repeat", "ref", "priority", NULL};
    double after, repeat = 0;
    int ref = 1;
    PyObject *priority = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "d|dpO:timer", names,
                                     &after, &repeat, &ref, &priority))
        return NULL;
    if (!(repeat >= 0)) {
        PyErr_SetString(PyExc_ValueError, "repeat must be positive or zero");
        return NULL;
    }
    WatcherObject *self = make((LoopObject *)op, KIND_TIMER, ref, priority);
    if (self != NULL) {
        self->w.timer.timeout_ns = coir__seconds_to_ns(after);
        self->w.timer.repeat_ns = coir__seconds_to_ns(repeat);
    }
    return (PyObject *)self;
}

static PyObject *
loop_signal(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"signum", "ref", "priority", NULL};
    int signum, ref = 1;
    PyObject *priority = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|pO:signal", names,
                                     &signum, &ref, &priority))
        return NULL;
    if (signum < 1 || signum >= NSIG) {
        PyErr_Format(PyExc_ValueError, "illegal signal number: %d", signum);
        return NULL;
    }
    WatcherObject *self = make((LoopObject *)op, KIND_SIGNAL, ref, priority);
    if (self != NULL)
        self->w.signal.signum = signum;
    return (PyObject *)self;
}

static PyObject *
loop_child(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"pid", "trace", "ref", NULL};
    int pid, trace = 0, ref = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|ip:child", names, &pid,
                                     &trace, &ref))
        return NULL;
    if (!((LoopObject *)op)->is_default) {
        PyErr_SetString(PyExc_TypeError, "child watchers are only available "
                                         "on the default loop");
        return NULL;
    }
    WatcherObject *self = make((LoopObject *)op, KIND_CHILD, ref, NULL);
    if (self == NULL)
        return NULL;
    self->pid = pid;
    self->w.any.cb = child_fires;
    if (pid > 0 && !trace) {
        int err = ENOSYS;
#ifdef SYS_pidfd_open
        self->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        err = errno;
#endif
        if (self->pidfd < 0)
            poll_child(self, err == ESRCH ? 0 : POLL_NS);
    }
    if (self->pidfd >= 0) {
        self->w.io.fd = self->pidfd;
        self->w.io.events = COIR_READ | COIR__FDSET;
    }
    else if (self->pidfd == NO_PIDFD) {
        self->w.signal.signum = SIGCHLD;
    }
    return (PyObject *)self;
}

static PyObject *
loop_stat(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", "interval", "ref", "priority", NULL};
    PyObject *path, *bytes, *priority = NULL;
    double interval = 0;
    int ref = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|dpO:stat", names, &path,
                                     &interval, &ref, &priority) ||
        !PyUnicode_FSConverter(path, &bytes))
        return NULL;
    WatcherObject *self = make((LoopObject *)op, KIND_STAT, ref, priority);
    if (self == NULL) {
        Py_DECREF(bytes);
        return NULL;
    }
    self->path = bytes;
    self->interval = interval;
    self->w.stat.path = PyBytes_AS_STRING(bytes);
    self->w.stat.interval_ns = coir__seconds_to_ns(interval);
    self->w.stat.wd = -2;
    return (PyObject *)self;
}

/* Those that are made with nothing. */
static PyObject *
loop_plain(PyObject *op, PyObject *args, PyObject *kwargs,
           enum watcher_kind kind)
{
    static char *names[] = {"ref", "priority", NULL};
    int ref = 1;
    PyObject *priority = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pO", names, &ref,
                                     &priority))
        return NULL;
    return (PyObject *)make((LoopObject *)op, kind, ref, priority);
}

#define PLAIN(name, kind)                                                     \
    static PyObject *name(PyObject *op, PyObject *args, PyObject *kwargs)     \
    {                                                                         \
        return loop_plain(op, args, kwargs, kind);                            \
    }
PLAIN(loop_idle, KIND_IDLE)
PLAIN(loop_prepare, KIND_PREPARE)
PLAIN(loop_check, KIND_CHECK)
PLAIN(loop_fork, KIND_FORK)
PLAIN(loop_async, KIND_ASYNC)

#define METHOD(name, func, doc)                                               \
    {                                                                         \
        name, (PyCFunction)(void (*)(void))(func),                            \
            METH_VARARGS | METH_KEYWORDS, doc                                 \
    }

static PyMethodDef loop_methods[] = {
    METHOD("io", loop_io,
           "io($self, fd, events, ref=True, priority=None)\n--\n\n"
           "A watcher of a descriptor: events 1 (readable), 2 (writable)."),
    METHOD("timer", loop_timer,
           "timer($self, after, repeat=0.0, ref=True, priority=None)\n--\n\n"
           "A watcher of time: `after` seconds, then every `repeat`."),
    METHOD("signal", loop_signal,
           "signal($self, signum, ref=True, priority=None)\n--\n\n"
           "A watcher of a signal, whose Python handler it replaces."),
    METHOD("child", loop_child,
           "child($self, pid, trace=0, ref=True)\n--\n\n"
           "A watcher of the end of a child process, which it reaps."),
    METHOD("stat", loop_stat,
           "stat($self, path, interval=0.0, ref=True, priority=None)\n--\n\n"
           "A watcher of changes of a file."),
    METHOD("idle", loop_idle,
           "idle($self, ref=True, priority=None)\n--\n\n"
           "A watcher that is called when there is nothing else to do."),
    METHOD("prepare", loop_prepare,
           "prepare($self, ref=True, priority=None)\n--\n\n"
           "A watcher that is called before the loop blocks."),
    METHOD("check", loop_check,
           "check($self, ref=True, priority=None)\n--\n\n"
           "A watcher that is called after the loop has blocked."),
    METHOD("fork", loop_fork,
           "fork($self, ref=True, priority=None)\n--\n\n"
           "A watcher that is called in the child after a fork."),
    METHOD("async_", loop_async,
           "async_($self, ref=True, priority=None)\n--\n\n"
           "A watcher that other threads can call, by send()."),
    METHOD("async", loop_async,
           "async($self, ref=True, priority=None)\n--\n\nAs async_()."),
};

/* --- methods ------------------------------------------------------------- */

/* Read start()'s arguments: the callback, what it is called with, and of the
 * keywords the one that is allowed. */
static int
parse_start(PyObject *args, PyObject *kwargs, const char *keyword, int *flag,
            PyObject **callback, PyObject **rest)
{
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    *callback = n > 0 ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (kwargs != NULL) {
        PyObject *key, *value;
        Py_ssize_t at = 0;
        while (PyDict_Next(kwargs, &at, &key, &value)) {
            if (n == 0 &&
                PyUnicode_CompareWithASCIIString(key, "callback") == 0) {
                *callback = value;
                continue;
            }
            if (keyword == NULL ||
                PyUnicode_CompareWithASCIIString(key, keyword) != 0) {
                PyErr_Format(PyExc_TypeError,
                             "start() got an unexpected keyword argument %R",
                             key);
                return -1;
            }
            *flag = PyObject_IsTrue(value);
            if (*flag < 0)
                return -1;
        }
    }
    if (*callback == NULL) {
        PyErr_SetString(PyExc_TypeError, "start() needs something to call");
        return -1;
    }
    *rest = PyTuple_GetSlice(args, 1, n > 0 ? n : 1);
    return *rest != NULL ? 0 : -1;
}

static PyObject *
watcher_start(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *callback, *rest;
    int is_timer = SELF->kind == KIND_TIMER, is_io = SELF->kind == KIND_IO;
    int flag = is_timer; /* update the time first; pass the events */
    if (parse_start(args, kwargs,
                    is_timer ? "update"
                    : is_io  ? "pass_events"
                             : NULL,
                    &flag, &callback, &rest) < 0)
        return NULL;
    int err =
        coir__watcher_is_alive(SELF) ? set_call(SELF, callback, rest) : -1;
    Py_DECREF(rest);
    if (err < 0)
        return NULL;
    if (is_timer && flag)
        coir_loop_now_update(SELF->loop->loop);
    SELF->pass_events = is_io && flag;
    if (activate(SELF) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
timer_again(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *callback, *rest;
    int update = 1;
    if (parse_start(args, kwargs, "update", &update, &callback, &rest) < 0)
        return NULL;
    int err =
        coir__watcher_is_alive(SELF) ? set_call(SELF, callback, rest) : -1;
    Py_DECREF(rest);
    if (err < 0)
        return NULL;
    coir_loop *loop = SELF->loop->loop;
    if (update)
        coir_loop_now_update(loop);
    if (SELF->is_active) { /* as if it had kept the loop running all along */
        SELF->is_active = 0;
        coir__watcher_apply_ref(SELF);
        SELF->is_active = 1;
    }
    coir_timer_again(loop, &SELF->w.timer);
    if (SELF->w.any.active && !SELF->is_active) {
        SELF->is_active = 1;
        Py_INCREF(op);
        coir__list_append(&SELF->loop->watchers, &SELF->node);
    }
    if (SELF->w.any.active)
        coir__watcher_apply_ref(SELF);
    else
        stop(SELF);
    Py_RETURN_NONE;
}

static PyObject *
watcher_stop(PyObject *op, PyObject *Py_UNUSED(unused))
{
    stop(SELF);
    Py_RETURN_NONE;
}

static void
close_watcher(WatcherObject *self)
{
    Py_INCREF(self);
    stop(self);
    if (self->pidfd >= 0)
        (void)close(self->pidfd);
    self->pidfd = NO_PIDFD;
    Py_CLEAR(self->loop);
    Py_DECREF(self);
}

static PyObject *
watcher_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    close_watcher(SELF);
    Py_RETURN_NONE;
}

static PyObject *
watcher_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(op);
}

static PyObject *
watcher_exit(PyObject *op, PyObject *Py_UNUSED(args))
{
    return watcher_close(op, NULL);
}

static PyObject *
watcher_feed(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"revents", "callback"};
    PyObject *in[] = {NULL, NULL}, *first = PyTuple_GetSlice(args, 0, 2);
    int given = first != NULL ? coir__tuple_arguments("feed", names, 2, first,
                                                      kwargs, in)
                              : -1;
    Py_XDECREF(first); /* `args` and `kwargs` have them */
    if (given < 0)
        return NULL;
    if (in[0] == NULL || in[1] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "feed() needs events and something to call");
        return NULL;
    }
    long revents = PyLong_AsLong(in[0]);
    if (revents == -1 && PyErr_Occurred())
        return NULL;
    PyObject *rest = PyTuple_GetSlice(args, 2, PY_SSIZE_T_MAX);
    if (rest == NULL)
        return NULL;
    int err = coir__watcher_is_alive(SELF) ? set_call(SELF, in[1], rest) : -1;
    Py_DECREF(rest);
    if (err < 0)
        return NULL;
    coir_feed_event(SELF->loop->loop, &SELF->w.any, (int)revents);
    if (!SELF->is_active) { /* until it was called */
        SELF->is_active = 1;
        Py_INCREF(op);
        coir__list_append(&SELF->loop->watchers, &SELF->node);
    }
    Py_RETURN_NONE;
}

static PyObject *
async_send(PyObject *op, PyObject *Py_UNUSED(arg))
{
    if (!coir__watcher_is_alive(SELF))
        return NULL;
    coir_async_send(SELF->loop->loop, &SELF->w.async);
    Py_RETURN_NONE;
}

/* --- the types ----------------------------------------------------------- */

static PyObject *
watcher_repr(PyObject *op)
{
    const char *name = coir__type_name(Py_TYPE(op));
    char details[60] = "";
    if (SELF->kind == KIND_IO)
        snprintf(details, sizeof details, " fd=%d events=%s", SELF->w.io.fd,
                 (const char *[]){"0", "READ", "WRITE",
                                  "READ|WRITE"}[SELF->w.io.events & 3]);
    else if (SELF->kind == KIND_CHILD)
        snprintf(details, sizeof details, " pid=%d rstatus=%d", SELF->pid,
                 SELF->rstatus);
    else if (SELF->kind == KIND_SIGNAL)
        snprintf(details, sizeof details, " signum=%d", SELF->w.signal.signum);
    PyObject *call = NULL;
    if (SELF->callback != NULL)
        call = PyUnicode_FromFormat(
            " callback=%R args=%R", SELF->callback,
            SELF->args != NULL ? SELF->args : coir__core.empty_tuple);
    else
        call = PyUnicode_FromString(SELF->loop == NULL ? " closed" : "");
    if (call == NULL)
        return NULL;
    PyObject *repr =
        PyUnicode_FromFormat("<%s at %p%s%s%s%U>", name, op, details,
                             SELF->w.any.active ? " active" : "",
                             SELF->w.any.pending ? " pending" : "", call);
    Py_DECREF(call);
    return repr;
}

static int
watcher_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->loop);
    Py_VISIT(SELF->callback);
    Py_VISIT(SELF->args);
    return 0;
}

static int
watcher_clear(PyObject *op)
{
    close_watcher(SELF);
    return 0;
}

/* It is not active, which would keep it alive. */
static void
watcher_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    if (SELF->loop != NULL && SELF->loop->loop != NULL)
        stop_any(SELF);
    if (SELF->pidfd >= 0)
        (void)close(SELF->pidfd);
    Py_CLEAR(SELF->callback);
    Py_CLEAR(SELF->args);
    Py_CLEAR(SELF->path);
    Py_CLEAR(SELF->loop);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef watcher_methods[] = {
    METHOD("start", watcher_start,
           "start($self, callback, *args, **kwargs)\n--\n\n"
           "Call callback(*args) in the hub whenever it happens. A timer\n"
           "reads the clock first unless update=False; an io watcher hands\n"
           "over the events first if pass_events=True."),
    {"stop", watcher_stop, METH_NOARGS,
     "stop($self)\n--\n\nNo more, and not what is pending either."},
    {"close", watcher_close, METH_NOARGS,
     "close($self)\n--\n\nStop for good; it cannot be started again."},
    METHOD("feed", watcher_feed,
           "feed($self, revents, callback, *args)\n--\n\n"
           "Act as if it had happened."),
    {"__enter__", watcher_enter, METH_NOARGS, "Returns itself."},
    {"__exit__", watcher_exit, METH_VARARGS, "Closes it."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timer_methods[] = {
    METHOD("again", timer_again,
           "again($self, callback, *args, **kwargs)\n--\n\n"
           "Restart it with its interval; without one stop it."),
    {NULL, NULL, 0, NULL},
};

COIR__DEFINE_ONE(async_send, "send_ignoring_arg", "_ignored")

static PyMethodDef async_methods[] = {
    {"send", async_send, METH_NOARGS,
     "send($self)\n--\n\nHave it called in its loop. Any thread."},
    {"send_ignoring_arg", COIR__ONE(async_send),
     "send_ignoring_arg($self, _ignored)\n--\n\nAs send()."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject watcher_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.watcher",
    .tp_basicsize = sizeof(WatcherObject),
    .tp_dealloc = watcher_dealloc,
    .tp_repr = watcher_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "What a loop waits for, and calls when it happens.",
    .tp_traverse = watcher_traverse,
    .tp_clear = watcher_clear,
    .tp_weaklistoffset = offsetof(WatcherObject, weakreflist),
    .tp_methods = watcher_methods,
    .tp_getset = coir__watcher_getset,
};

static const struct {
    const char *name;
    PyMethodDef *methods;
} kinds[KINDS] = {
    [KIND_IO] = {"gevent.core.io", NULL},
    [KIND_TIMER] = {"gevent.core.timer", timer_methods},
    [KIND_SIGNAL] = {"gevent.core.signal", NULL},
    [KIND_CHILD] = {"gevent.core.child", NULL},
    [KIND_STAT] = {"gevent.core.stat", NULL},
    [KIND_IDLE] = {"gevent.core.idle", NULL},
    [KIND_PREPARE] = {"gevent.core.prepare", NULL},
    [KIND_CHECK] = {"gevent.core.check", NULL},
    [KIND_FORK] = {"gevent.core.fork", NULL},
    [KIND_ASYNC] = {"gevent.core.async_", async_methods},
};

/* timer(loop, *args, **kwargs) for loop.timer(*args, **kwargs). */
static PyObject *
kind_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    int kind = 0;
    while (kind < KINDS && type != &kind_types[kind])
        kind++;
    if (kind == KINDS)
        return PyErr_Format(PyExc_TypeError,
                            "cannot create '%.200s' instances", type->tp_name);
    const char *name = strrchr(kinds[kind].name, '.') + 1;
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    PyObject *loop = n > 0 ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (loop == NULL || !PyObject_TypeCheck(loop, &coir__loop_type))
        return PyErr_Format(PyExc_TypeError, "%s() needs a loop", name);
    PyObject *method = PyObject_GetAttrString(loop, name);
    PyObject *rest = method != NULL ? PyTuple_GetSlice(args, 1, n) : NULL;
    PyObject *res = rest != NULL ? PyObject_Call(method, rest, kwargs) : NULL;
    Py_XDECREF(rest);
    Py_XDECREF(method);
    return res;
}

static int
add_loop_methods(void)
{
    for (size_t i = 0; i < sizeof loop_methods / sizeof *loop_methods; i++) {
        PyObject *func = PyDescr_NewMethod(&coir__loop_type, &loop_methods[i]);
        if (func == NULL)
            return -1;
        int err = PyDict_SetItemString(coir__loop_type.tp_dict,
                                       loop_methods[i].ml_name, func);
        Py_DECREF(func);
        if (err < 0)
            return -1;
    }
    PyObject *max = PyLong_FromLong(COIR_MAXPRI);
    PyObject *min = PyLong_FromLong(COIR_MINPRI);
    int err =
        max == NULL || min == NULL ||
                PyDict_SetItemString(coir__loop_type.tp_dict, "MAXPRI", max) <
                    0 ||
                PyDict_SetItemString(coir__loop_type.tp_dict, "MINPRI", min) <
                    0 ||
                PyDict_SetItemString(coir__loop_type.tp_dict, "WatcherType",
                                     (PyObject *)&watcher_type) < 0
            ? -1
            : 0;
    Py_XDECREF(max);
    Py_XDECREF(min);
    PyType_Modified(&coir__loop_type);
    return err;
}

int
coir__watcher_types_init(PyObject *module)
{
    if (!PyType_HasFeature(&watcher_type, Py_TPFLAGS_READY)) {
        if (PyType_Ready(&watcher_type) < 0 || add_loop_methods() < 0)
            return -1;
        for (int i = 0; i < KINDS; i++) {
            PyTypeObject *type = &kind_types[i];
            Py_SET_REFCNT((PyObject *)type, 1);
            type->tp_name = kinds[i].name;
            type->tp_basicsize = sizeof(WatcherObject);
            type->tp_flags =
                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC;
            type->tp_new = kind_new;
            type->tp_doc = watcher_type.tp_doc;
            type->tp_traverse = watcher_traverse;
            type->tp_clear = watcher_clear;
            type->tp_methods = kinds[i].methods;
            type->tp_getset = coir__watcher_getsets[i];
            type->tp_base = &watcher_type;
            if (PyType_Ready(type) < 0)
                return -1;
        }
    }
    if (PyModule_AddObjectRef(module, "watcher", (PyObject *)&watcher_type) <
        0)
        return -1;
    for (int i = 0; i < KINDS; i++) {
        const char *name = strrchr(kinds[i].name, '.') + 1;
        if (PyModule_AddObjectRef(module, name, (PyObject *)&kind_types[i]) <
            0)
            return -1;
    }
    return 0;
}
