/* ev.c - eventlet's Event, and its sleep().
 *
 * An Event keeps what it was sent. Who waits is woken with it, in the order in
 * which they came; what they get was decided by then, so reset() takes nothing
 * away from them. An exception is handed over as the tuple it was sent as, and
 * raised by the one who waited: each with the traceback of the sender alone.
 *
 * GreenThread has a coir_ev within it; an Event object for that is made when
 * somebody asks for it. */
#include "ev.h"
#include "green.h"

#include <math.h>

/* coir_wait.tag of who is brought an exception. */
enum { BROUGHT_VALUE, BROUGHT_ERROR };

/* --- the hub ------------------------------------------------------------- */

/* The hub's greenlet has ended: have another one made for its loop. */
static HubObject *
revive(coir_pythread *t)
{
    PyObject *module = PyImport_ImportModule("coir.eventlet.hubs.hub");
    PyObject *res = NULL;
    if (module != NULL)
        res = PyObject_CallMethod(module, "revive", NULL);
    Py_XDECREF(module);
    Py_XDECREF(res);
    return res != NULL ? coir__hub_get(t) : NULL;
}

HubObject *
coir__ev_hub_slowly(coir_pythread *t, HubObject *hub)
{
    if (hub->base.block->state == GREENLET_DEAD) {
        hub = revive(t);
        if (hub == NULL)
            return NULL;
    }
    GreenletObject *g = t->current;
    const GreenletObject *parent = g->block->parent;
    if (parent == &hub->base || parent == NULL || g == &hub->base)
        return hub;
    if (coir__greenlet_set_parent(g, (PyObject *)hub) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return NULL;
        PyErr_Clear(); /* it is an ancestor of the hub */
    }
    return hub;
}

/* --- results ------------------------------------------------------------- */

void
coir__ev_raise(PyObject *args)
{
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    PyObject *first = n > 0 ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (first != NULL && PyExceptionInstance_Check(first) &&
        (n < 3 || PyTuple_GET_ITEM(args, 2) == Py_None))
        coir__error_give(Py_NewRef(first));
    else if (first != NULL && !PyExceptionInstance_Check(first) &&
             !PyExceptionClass_Check(first))
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes, or instances, not %.100s",
                     Py_TYPE(first)->tp_name);
    else
        coir__green_raise(&PyTuple_GET_ITEM(args, 0), n);
}

/* What was sent. */
static PyObject *
result_of(coir_ev *ev)
{
    if (ev->exc == NULL)
        return Py_NewRef(ev->result);
    PyObject *exc = Py_NewRef(ev->exc);
    coir__ev_raise(exc);
    Py_DECREF(exc);
    return NULL;
}

PyObject *
coir__ev_wait(coir_ev *ev, PyObject *owner, int64_t timeout_ns)
{
    if (ev->result != NULL)
        return result_of(ev);
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__ev_hub(t) : NULL;
    coir_wait *w = hub != NULL ? coir__wait_get(t) : NULL;
    if (w == NULL)
        return NULL;
    /* Other threads may have run while the hub was made. */
    if (COIR__UNLIKELY(ev->result != NULL))
        return result_of(ev);
    w->tag = BROUGHT_VALUE;
    w->may_expire = 1;
    int how;
    PyObject *res =
        coir__park(t, hub, &ev->waiters, "wait", owner, timeout_ns, &how);
    if (COIR__UNLIKELY(res != NULL && how == COIR_WOKEN_BY_WAKE &&
                       w->tag == BROUGHT_ERROR)) {
        coir__ev_raise(res);
        Py_CLEAR(res);
    }
    return res;
}

int
coir__ev_send(coir_ev *ev, PyObject *result, PyObject *exc)
{
    if (ev->result != NULL) {
        PyErr_SetString(PyExc_AssertionError,
                        "Trying to re-send() an already-triggered event.");
        return -1;
    }
    ev->result = Py_NewRef(result);
    ev->exc = Py_XNewRef(exc);
    while (ev->waiters.head != NULL) {
        coir_wait *w = coir__wait_of(ev->waiters.head);
        w->tag = exc != NULL ? BROUGHT_ERROR : BROUGHT_VALUE;
        coir__wake(w, Py_NewRef(exc != NULL ? exc : result));
    }
    return 0;
}

int
coir__ev_traverse(coir_ev *ev, visitproc visit, void *arg)
{
    Py_VISIT(ev->result);
    Py_VISIT(ev->exc);
    return coir__list_traverse(&ev->waiters, visit, arg);
}

void
coir__ev_clear(coir_ev *ev)
{
    Py_CLEAR(ev->result);
    Py_CLEAR(ev->exc);
}

PyObject *
coir__ev_waiters(const coir_list *list)
{
    PyObject *set = PySet_New(NULL);
    for (coir_node *n = list->head; set != NULL && n != NULL; n = n->next)
        if (PySet_Add(set, (PyObject *)coir__wait_of(n)->green) < 0)
            Py_CLEAR(set);
    return set;
}

/* --- Event --------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    PyObject *dict;  /* strong, or NULL: what programs set */
    PyObject *owner; /* strong: what `ev` lies in; NULL: here */
    coir_ev *ev;
    coir_ev own;
    char is_made; /* reset() was called, as is done when it is made */
} EventObject;

#define SELF ((EventObject *)op)

static PyObject *not_used; /* strong: stands for no result */
static PyTypeObject event_type;

static PyObject *
not_used_repr(PyObject *Py_UNUSED(op))
{
    return PyUnicode_FromString("NOT_USED");
}

static PyTypeObject not_used_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.eventlet.event.NOT_USED",
    .tp_basicsize = sizeof(PyObject),
    .tp_repr = not_used_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Stands for the result of an Event that was sent none.",
};

static PyObject *
event_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    PyObject *op = type->tp_alloc(type, 0);
    if (op != NULL)
        SELF->ev = &SELF->own;
    return op;
}

/* Its class is derived from ours, and may override what others call. */
static inline int
may_override(PyObject *op)
{
    return !Py_IS_TYPE(op, &event_type);
}

/* Call a method of no arguments: is what it returns true? -1 with an
 * exception. */
static int
ask(PyObject *op, const char *name)
{
    PyObject *res = PyObject_CallMethod(op, name, NULL);
    int is_true = res != NULL ? PyObject_IsTrue(res) : -1;
    Py_XDECREF(res);
    return is_true;
}

static int
event_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Event", names))
        return -1;
    SELF->is_made = 0;
    if (may_override(op))
        return ask(op, "reset") < 0 ? -1 : 0;
    coir__ev_clear(SELF->ev);
    SELF->is_made = 1;
    return 0;
}

PyObject *
coir__ev_event_of(PyObject *owner, coir_ev *ev)
{
    PyObject *op = event_type.tp_alloc(&event_type, 0);
    if (op != NULL) {
        SELF->owner = Py_NewRef(owner);
        SELF->ev = ev;
        SELF->is_made = 1;
    }
    return op;
}

int
coir__ev_event_renew(PyObject **event)
{
    PyObject *op = event_new(&event_type, NULL, NULL);
    if (op == NULL)
        return -1;
    SELF->is_made = 1;
    Py_XSETREF(*event, op);
    return 0;
}

void
coir__ev_event_send_once(PyObject *op)
{
    if (PyObject_TypeCheck(op, &event_type) && SELF->ev->result == NULL)
        (void)coir__ev_send(SELF->ev, Py_None, NULL);
}

static PyObject *
event_reset(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->is_made && SELF->ev->result == NULL) {
        PyErr_SetString(PyExc_AssertionError,
                        "Trying to re-reset() a fresh event.");
        return NULL;
    }
    coir__ev_clear(SELF->ev);
    SELF->is_made = 1;
    Py_RETURN_NONE;
}

static PyObject *
event_ready(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->ev->result != NULL);
}

static PyObject *
event_has_exception(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->ev->exc != NULL);
}

static PyObject *
event_has_result(PyObject *op, PyObject *Py_UNUSED(unused))
{
    const coir_ev *ev = SELF->ev;
    return PyBool_FromLong(ev->result != NULL && ev->exc == NULL);
}

static PyObject *
wait_for(PyObject *op, int64_t ns)
{
    return coir__ev_wait(SELF->ev, SELF->owner != NULL ? SELF->owner : op, ns);
}

/* `is_there`: what the method `asked` returns. */
static PyObject *
poll_if(PyObject *op, int is_there, const char *asked, PyObject *const *args,
        Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"notready"};
    PyObject *instead = Py_None;
    if (coir__arguments("poll", names, 1, args, nargs, kwnames, &instead) < 0)
        return NULL;
    if (!may_override(op))
        return is_there ? wait_for(op, COIR_FOREVER) : Py_NewRef(instead);
    is_there = ask(op, asked);
    if (is_there <= 0)
        return is_there == 0 ? Py_NewRef(instead) : NULL;
    return PyObject_CallMethod(op, "wait", NULL);
}

static PyObject *
event_poll(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    return poll_if(op, SELF->ev->result != NULL, "ready", args, nargs,
                   kwnames);
}

static PyObject *
event_poll_exception(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    return poll_if(op, SELF->ev->exc != NULL, "has_exception", args, nargs,
                   kwnames);
}

static PyObject *
event_poll_result(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    const coir_ev *ev = SELF->ev;
    return poll_if(op, ev->result != NULL && ev->exc == NULL, "has_result",
                   args, nargs, kwnames);
}

static PyObject *
event_wait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"timeout"};
    PyObject *timeout = Py_None;
    int64_t ns = COIR_FOREVER;
    if ((nargs > 0 || kwnames != NULL) &&
        (coir__arguments("wait", names, 1, args, nargs, kwnames, &timeout) <
             0 ||
         coir__timeout_ns(timeout, &ns) < 0))
        return NULL;
    return wait_for(op, ns);
}

static PyObject *
event_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"result", "exc"};
    PyObject *in[] = {Py_None, Py_None};
    if (coir__arguments("send", names, 2, args, nargs, kwnames, in) < 0)
        return NULL;
    PyObject *exc = NULL;
    if (in[1] != Py_None)
        exc = PyTuple_Check(in[1]) ? Py_NewRef(in[1]) : PyTuple_Pack(1, in[1]);
    if (exc == NULL && in[1] != Py_None)
        return NULL;
    int err = coir__ev_send(SELF->ev, in[0], exc);
    Py_XDECREF(exc);
    return err == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
event_send_exception(PyObject *op, PyObject *args)
{
    if (may_override(op))
        return PyObject_CallMethod(op, "send", "OO", Py_None, args);
    return coir__ev_send(SELF->ev, Py_None, args) == 0 ? Py_NewRef(Py_None)
                                                       : NULL;
}

static PyObject *
event_str(PyObject *op)
{
    const coir_ev *ev = SELF->ev;
    Py_ssize_t n = 0;
    for (coir_node *at = ev->waiters.head; at != NULL; at = at->next)
        n++;
    return PyUnicode_FromFormat("<%s at %p result=%R _exc=%R _waiters[%zd]>",
                                coir__type_name(Py_TYPE(op)), op,
                                ev->result != NULL ? ev->result : not_used,
                                ev->exc != NULL ? ev->exc : Py_None, n);
}

static PyObject *
event_get_result(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *result = SELF->ev->result;
    return Py_NewRef(result != NULL ? result : not_used);
}

static PyObject *
event_get_exc(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *exc = SELF->ev->exc;
    return Py_NewRef(exc != NULL ? exc : Py_None);
}

static PyObject *
event_get_waiters(PyObject *op, void *Py_UNUSED(closure))
{
    return coir__ev_waiters(&SELF->ev->waiters);
}

static int
event_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->dict);
    Py_VISIT(SELF->owner);
    return coir__ev_traverse(&SELF->own, visit, arg);
}

static int
event_clear(PyObject *op)
{
    SELF->ev = &SELF->own;
    Py_CLEAR(SELF->dict);
    Py_CLEAR(SELF->owner);
    coir__ev_clear(&SELF->own);
    return 0;
}

static void
event_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    while (SELF->own.waiters.head != NULL) /* they will never be woken */
        coir__list_remove(SELF->own.waiters.head);
    (void)event_clear(op);
    Py_TYPE(op)->tp_free(op);
}

#define FAST(func)                                                            \
    (PyCFunction)(void (*)(void))(func), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef event_methods[] = {
    {"wait", FAST(event_wait),
     "wait($self, timeout=None)\n--\n\n"
     "What was, or will be, sent: returned, or raised. Blocks until then,\n"
     "for `timeout` seconds at most; returns None after that."},
    {"send", FAST(event_send),
     "send($self, result=None, exc=None)\n--\n\n"
     "Bring a result, or an exception, to all that wait, now or later; once.\n"
     "`exc` is what throw() takes, several arguments as a tuple. Never\n"
     "blocks. Any thread."},
    {"send_exception", event_send_exception, METH_VARARGS,
     "send_exception($self, *args)\n--\n\n"
     "send() an exception: one, or what sys.exc_info() gives."},
    {"reset", event_reset, METH_NOARGS,
     "reset($self)\n--\n\nForget what was sent, so that it can be sent "
     "again."},
    {"ready", event_ready, METH_NOARGS,
     "ready($self)\n--\n\nWhether wait() returns at once."},
    {"has_exception", event_has_exception, METH_NOARGS,
     "has_exception($self)\n--\n\nWhether an exception was sent."},
    {"has_result", event_has_result, METH_NOARGS,
     "has_result($self)\n--\n\nWether something else was sent."},
    {"poll", FAST(event_poll),
     "poll($self, notready=None)\n--\n\n"
     "As wait(), but returns `notready` instead of blocking."},
    {"poll_exception", FAST(event_poll_exception),
     "poll_exception($self, notready=None)\n--\n\n"
     "Raise the exception that was sent, or return `notready`."},
    {"poll_result", FAST(event_poll_result),
     "poll_result($self, notready=None)\n--\n\n"
     "The result that was sent, or `notready`."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef event_getset[] = {
    {"_result", event_get_result, NULL, "What was sent, or NOT_USED.", NULL},
    {"_exc", event_get_exc, NULL, "The exception as a tuple, or None.", NULL},
    {"_waiters", event_get_waiters, NULL, "The greenlets that wait.", NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject event_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.eventlet.event.Event",
    .tp_basicsize = sizeof(EventObject),
    .tp_dealloc = event_dealloc,
    .tp_str = event_str,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc =
        "Event()\n--\n\n"
        "One result, or exception, for any number of green threads that\n"
        "wait for it. Who sends it may be in another thread.",
    .tp_traverse = event_traverse,
    .tp_clear = event_clear,
    .tp_weaklistoffset = offsetof(EventObject, weakreflist),
    .tp_dictoffset = offsetof(EventObject, dict),
    .tp_methods = event_methods,
    .tp_getset = event_getset,
    .tp_init = event_init,
    .tp_new = event_new,
};

#undef SELF

/* --- sleep --------------------------------------------------------------- */

int
coir__ev_yield(void)
{
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__ev_hub(t) : NULL;
    if (hub == NULL)
        return -1;
    coir__loop_want_look(hub->loop);
    return coir__yield(t, hub, 0);
}

static PyObject *
ev_sleep(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
         PyObject *kwnames)
{
    static const char *const names[] = {"seconds"};
    PyObject *in = NULL;
    if ((nargs > 0 || kwnames != NULL) &&
        coir__arguments("sleep", names, 1, args, nargs, kwnames, &in) < 0)
        return NULL;
    double seconds = in != NULL ? PyFloat_AsDouble(in) : 0;
    if (seconds == -1 && PyErr_Occurred())
        return NULL;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__ev_hub(t) : NULL;
    if (hub == NULL)
        return NULL;
    if (COIR__UNLIKELY(t->current == &hub->base)) {
        /* It happens, and for a moment it does no harm. */
        if (seconds <= 0)
            Py_RETURN_NONE;
        PyErr_SetString(PyExc_RuntimeError,
                        "do not call blocking functions from the mainloop");
        return NULL;
    }
    if (!(seconds > 0)) {
        coir__loop_want_look(hub->loop);
        int64_t ago = seconds < 0 ? coir__seconds_to_ns(-seconds) : 0;
        if (coir__yield(t, hub, ago) < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    int how;
    PyObject *res = coir__park(t, hub, NULL, "sleep", NULL,
                               coir__seconds_to_ns(seconds), &how);
    if (res == NULL)
        return NULL;
    Py_DECREF(res); /* who switches here ends it */
    Py_RETURN_NONE;
}

/* Who was woken, goes on next. */
static PyObject *
ev_hurry(PyObject *Py_UNUSED(module), PyObject *op)
{
    if (!greenlet_check(op))
        return PyErr_Format(PyExc_TypeError, "not a greenlet: %R", op);
    coir_wait *w = ((GreenletObject *)op)->block->wait;
    if (w != NULL && w->is_waiting && w->ready.node.list != NULL) {
        coir_list *list = w->ready.node.list;
        coir__list_remove(&w->ready.node);
        coir__list_prepend(list, &w->ready.node);
        coir__ready_mark(&w->ready, w->loop->batch, 0);
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"ev_hurry", ev_hurry, METH_O,
     "ev_hurry($module, greenlet, /)\n--\n\n"
     "If it was woken, let it go on before all others that were."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef public_functions[] = {
    {"sleep", FAST(ev_sleep),
     "sleep($module, seconds=0)\n--\n\n"
     "Let others run for so many seconds at least; with 0, or less, all that\n"
     "are ready, once."},
    {NULL, NULL, 0, NULL},
};

/* Add one as ev_NAME. 0, or -1 with an exception. */
static int
add_function(PyObject *module, PyMethodDef *def, PyObject *users_module)
{
    PyObject *name = PyUnicode_FromFormat("ev_%s", def->ml_name);
    PyObject *func = PyCFunction_NewEx(def, module, users_module);
    int err = -1;
    if (name != NULL && func != NULL)
        err = PyObject_SetAttr(module, name, func);
    Py_XDECREF(name);
    Py_XDECREF(func);
    return err;
}

int
coir__ev_add_functions(PyObject *module, PyMethodDef *defs)
{
    PyObject *users = PyUnicode_FromString("coir.eventlet.greenthread");
    int err = users != NULL ? 0 : -1;
    for (; err == 0 && defs->ml_name != NULL; defs++)
        err = add_function(module, defs, users);
    Py_XDECREF(users);
    return err;
}

static int
types_ready(void)
{
    if (PyType_Ready(&event_type) < 0 || PyType_Ready(&not_used_type) < 0)
        return -1;
    if (not_used == NULL)
        not_used = PyObject_New(PyObject, &not_used_type);
    return not_used != NULL ? 0 : -1;
}

int
coir__ev_types_init(PyObject *module)
{
    if (types_ready() < 0 || PyModule_AddFunctions(module, functions) < 0 ||
        coir__ev_add_functions(module, public_functions) < 0 ||
        PyModule_AddObjectRef(module, "EV_NOT_USED", not_used) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "EvEvent", (PyObject *)&event_type);
}
