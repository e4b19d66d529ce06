/* evalarm.c - alarms: what the timers of eventlet's hub are in the loop.
 *
 * One that is pending stands in the list of its loop, which owns a reference
 * to it, and has an active timer, or, once that has fired, a place in the
 * ready queue; one of no time has that from the start. It calls its function
 * in the hub, where that is expected to deal with errors itself. */
#include "ev.h"

typedef struct {
    PyObject_HEAD coir_ready ready;
    coir_node node;   /* in the loop's list, while it is pending */
    LoopObject *loop; /* strong while it is pending, else NULL */
    PyObject *func;   /* strong, as the next one; NULL: it is over */
    PyObject *arg;
    coir_timer timer;
} AlarmObject;

#define SELF ((AlarmObject *)op)
#define OF(member, p)                                                         \
    ((AlarmObject *)((char *)(p)-offsetof(AlarmObject, member)))

static PyTypeObject alarm_type;

/* It is not pending any more; the loop's reference is the caller's. */
static void
take_out(AlarmObject *self)
{
    LoopObject *loop = self->loop;
    coir__list_remove(&self->node);
    coir__list_remove(&self->ready.node);
    if (loop->loop != NULL)
        coir_timer_stop(loop->loop, &self->timer);
    self->loop = NULL;
    Py_DECREF((PyObject *)loop);
}

static void
stop(AlarmObject *self)
{
    if (self->loop == NULL)
        return;
    take_out(self);
    Py_CLEAR(self->func);
    Py_CLEAR(self->arg);
    Py_DECREF(self);
}

void
coir__alarm_stop_node(coir_node *n)
{
    stop(OF(node, n));
}

static void
time_is_over(coir_loop *Py_UNUSED(loop), coir_timer *timer,
             int Py_UNUSED(revents))
{
    AlarmObject *self = timer->data;
    coir__loop_due(self->loop, &self->ready, timer);
}

static void
run(coir_ready *r, LoopObject *loop)
{
    AlarmObject *self = OF(ready, r);
    PyObject *func = self->func, *arg = self->arg;
    self->func = self->arg = NULL;
    Py_INCREF((PyObject *)loop);
    take_out(self);
    PyObject *res = PyObject_CallOneArg(func, arg);
    if (res == NULL)
        coir__loop_error(loop, (PyObject *)self);
    Py_XDECREF(res);
    Py_DECREF(func);
    Py_DECREF(arg);
    Py_DECREF(self);
    Py_DECREF((PyObject *)loop);
}

static void
drop(coir_ready *r)
{
    stop(OF(ready, r));
}

static const coir_ready_kind alarm_kind = {run, drop, NULL};

static void
start(AlarmObject *self, HubObject *hub, double seconds)
{
    LoopObject *loop = hub->loop;
    self->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    Py_INCREF(self);
    coir__list_append(&loop->alarms, &self->node);
    if (!(seconds > 0)) {
        coir__loop_ready_past(loop, &self->ready,
                              coir__seconds_to_ns(-seconds));
        return;
    }
    coir_loop_now_update(loop->loop);
    coir_timer_init(&self->timer, time_is_over, coir__seconds_to_ns(seconds),
                    0);
    self->timer.data = self;
    coir_timer_start(loop->loop, &self->timer);
    coir__loop_armed(loop);
}

static PyObject *
ev_alarm(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "ev_alarm() takes 3 arguments");
        return NULL;
    }
    double seconds = PyFloat_AsDouble(args[0]);
    if (seconds == -1 && PyErr_Occurred())
        return NULL;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return NULL;
    coir__ev_use(hub);
    PyObject *op = alarm_type.tp_alloc(&alarm_type, 0);
    if (op == NULL)
        return NULL;
    SELF->ready.kind = &alarm_kind;
    SELF->func = Py_NewRef(args[1]);
    SELF->arg = Py_NewRef(args[2]);
    start(SELF, hub, seconds);
    return op;
}

static PyObject *
alarm_stop(PyObject *op, PyObject *Py_UNUSED(unused))
{
    stop(SELF);
    Py_RETURN_NONE;
}

static int
alarm_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)SELF->loop);
    Py_VISIT(SELF->func);
    Py_VISIT(SELF->arg);
    return 0;
}

static int
alarm_clear(PyObject *op)
{
    Py_INCREF(op);
    stop(SELF);
    Py_CLEAR(SELF->func);
    Py_CLEAR(SELF->arg);
    Py_DECREF(op);
    return 0;
}

/* The loop has a reference, so it is not pending. */
static void
alarm_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    Py_CLEAR(SELF->func);
    Py_CLEAR(SELF->arg);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef alarm_methods[] = {
    {"stop", alarm_stop, METH_NOARGS,
     "stop($self)\n--\n\nDo not call it, if that has not happened yet."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject alarm_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.EvAlarm",
    .tp_basicsize = sizeof(AlarmObject),
    .tp_dealloc = alarm_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "What ev_alarm() returns.",
    .tp_traverse = alarm_traverse,
    .tp_clear = alarm_clear,
    .tp_methods = alarm_methods,
};

static PyMethodDef functions[] = {
    {"ev_alarm", (PyCFunction)(void (*)(void))ev_alarm, METH_FASTCALL,
     "ev_alarm($module, seconds, func, arg, /)\n--\n\n"
     "Call func(arg) in this thread's hub, in so many seconds; of all that "
     "is\n"
     "due then, in the order of the times. Negative ones are in the past."},
    {NULL, NULL, 0, NULL},
};

int
coir__evalarm_types_init(PyObject *module)
{
    if (PyType_Ready(&alarm_type) < 0 ||
        PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "EvAlarm", (PyObject *)&alarm_type);
}
