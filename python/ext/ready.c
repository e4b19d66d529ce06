/* ready.c - the ready queue, eventlet's order in it, and the type callback.
 *
 * Who is made ready goes to the end of the queue; the hub, and greenlets that
 * leave the processor, take the first one. Where nobody uses eventlet that is
 * all.
 *
 * eventlet's hub has a heap of timers instead: whoever is made ready is a
 * timer of no time, and a turn is
 *
 *     call what is due, by the times for which it was asked, but nothing that
 *     is asked for meanwhile;
 *     call those whose descriptors are ready
 *
 * Programs see that order, above all after somebody has kept the processor for
 * long. Here it is kept without a heap (`in_order`). What is called in a turn
 * is a batch; what is put in the queue belongs to the next one, and the number
 * of its batch tells where one ends. Before another batch begins the loop
 * looks at what else belongs to it, if timers may be due, if somebody in the
 * batch gave way to all others (`wants_look`), or if the budget is used up
 * (`is_tired`): once, or, when descriptors were ready, whose greenlets run
 * first and may take their time, twice.
 *
 *     told, those who waited for descriptors     at the head, between batches
 *     due, whose timers have fired               among the next batch, by time
 *
 * The time at which something was put in the queue is read only while there
 * are timers to compare it with (`is_timed`), or when something was ever to
 * happen in the past (`has_past`); else it is 0: before all timers. It shares
 * a word with the last bit of the batch. */
#include "hub.h"

/* What was to happen earlier is as if then. */
#define LONG_AGO (COIR_FOREVER / 4)

/* --- the queue ----------------------------------------------------------- */

static coir_ready *
ready_at(coir_node *n)
{
    return (coir_ready *)n; /* its first member */
}

void
coir__loop_ready(LoopObject *loop, coir_ready *r)
{
    coir__ready_append(loop, r);
    if (loop->blocks)
        coir_loop_wakeup(loop->loop);
}

void
coir__loop_keep_order(LoopObject *loop)
{
    loop->in_order = 1;
    loop->is_timed = 1; /* there may be timers */
}

void
coir__loop_told(LoopObject *loop, coir_ready *r)
{
    coir__list_append(&loop->told, &r->node);
}

/* Put `n` behind `at`, which is in `list`, or at the head if that is NULL. */
static void
insert_behind(coir_list *list, coir_node *at, coir_node *n)
{
    if (at == NULL) {
        coir__list_prepend(list, n);
        return;
    }
    n->list = list;
    n->prev = at;
    n->next = at->next;
    if (at->next != NULL)
        at->next->prev = n;
    else
        list->tail = n;
    at->next = n;
}

void
coir__loop_due(LoopObject *loop, coir_ready *r, const coir_timer *timer)
{
    if (!loop->in_order) {
        coir__loop_ready(loop, r);
        return;
    }
    coir__ready_mark(r, 0, timer->deadline_ns);
    /* They come in order, but for those of another priority. */
    coir_node *at = loop->due.tail;
    while (at != NULL && coir__stamp_of(ready_at(at)) > timer->deadline_ns)
        at = at->prev;
    insert_behind(&loop->due, at, &r->node);
}

void
coir__loop_ready_past(LoopObject *loop, coir_ready *r, int64_t ago_ns)
{
    coir__ready_append(loop, r);
    if (!loop->in_order || ago_ns == 0)
        return;
    loop->has_past = loop->is_timed = 1;
    int64_t ago = ago_ns < LONG_AGO ? ago_ns : LONG_AGO;
    int64_t then = coir_clock_monotonic() - ago;
    coir__ready_mark(r, loop->batch + 1, then);
    coir_node *at = r->node.prev;
    while (at != NULL && !coir__is_current(loop, ready_at(at)) &&
           (coir__stamp_of(ready_at(at)) == 0 ||
            coir__stamp_of(ready_at(at)) > then))
        at = at->prev;
    coir__list_remove(&r->node);
    insert_behind(&loop->ready, at, &r->node);
}

/* --- batches ------------------------------------------------------------- */

/* Is there anything that belongs to the next batch, and is not in it yet? */
static int
is_to_look(LoopObject *loop)
{
    if (loop->told.head != NULL)
        return 1;
    if (loop->looks >= 1 + loop->has_told)
        return 0;
    if ((loop->wants_look || loop->is_tired) && loop->looks == 0)
        return 1;
    if (!loop->is_timed || loop->loop == NULL)
        return 0;
    int64_t next = coir_loop_next_timer(loop->loop);
    if (next == COIR_FOREVER) {
        loop->is_timed = loop->has_past;
        return 0;
    }
    return next <= coir_clock_monotonic();
}

int
coir__batch_begins_slowly(LoopObject *loop)
{
    if (is_to_look(loop))
        return 0;
    loop->batch++;
    loop->looks = loop->has_told = 0;
    return 1;
}

int
coir__ready_any(LoopObject *loop)
{
    if (COIR__UNLIKELY(loop->told.head != NULL) && coir__is_between(loop)) {
        coir_node *n;
        while ((n = loop->told.tail) != NULL) {
            coir__list_remove(n);
            coir__ready_mark(ready_at(n), loop->batch, 0);
            coir__list_prepend(&loop->ready, n);
        }
    }
    return loop->ready.head != NULL;
}

/* Put what is due among what is ready, by the times. */
static void
merge_due(LoopObject *loop)
{
    coir_node *at = loop->ready.head, *n;
    while ((n = loop->due.head) != NULL) {
        coir_ready *r = ready_at(n);
        int64_t stamp = coir__stamp_of(r);
        coir__ready_mark(r, loop->batch + 1, stamp);
        while (at != NULL && (coir__is_current(loop, ready_at(at)) ||
                              coir__stamp_of(ready_at(at)) < stamp))
            at = at->next;
        coir__list_remove(n);
        insert_behind(&loop->ready, at != NULL ? at->prev : loop->ready.tail,
                      n);
    }
}

void
coir__ready_looked(LoopObject *loop, int is_between, int is_first)
{
    if (!loop->in_order)
        return;
    merge_due(loop);
    if (!is_between)
        return;
    loop->wants_look = loop->is_tired = 0;
    loop->looks = (uint8_t)(is_first ? 1 : loop->looks + 1);
    loop->has_told = loop->told.head != NULL;
}

void
coir__loop_leave_order(LoopObject *loop)
{
    merge_due(loop);
    while (loop->told.head != NULL) {
        coir_node *n = loop->told.head;
        coir__list_remove(n);
        coir__ready_append(loop, ready_at(n));
    }
    loop->in_order = loop->is_timed = loop->has_past = 0;
    loop->tells = loop->wants_look = loop->is_tired = 0;
}

/* --- callbacks ----------------------------------------------------------- */

static CallbackObject *
callback_of(coir_ready *r)
{
    return (CallbackObject *)((char *)r - offsetof(CallbackObject, ready));
}

static void
run_callback(coir_ready *r, LoopObject *loop)
{
    CallbackObject *cb = callback_of(r);
    PyObject *func = cb->func, *args = cb->args;
    cb->func = cb->args = NULL;
    Py_CLEAR(cb->loop); /* who runs us holds it */
    if (func != NULL) {
        PyObject *res = args == NULL ? PyObject_CallNoArgs(func)
                                     : PyObject_Call(func, args, NULL);
        if (res == NULL)
            coir__loop_error(loop, (PyObject *)cb);
        else
            Py_DECREF(res);
        Py_DECREF(func);
        Py_XDECREF(args);
    }
    Py_DECREF(cb);
}

static void
callback_take_out(CallbackObject *cb)
{
    if (cb->loop != NULL && cb->ready.node.list != NULL) {
        coir__list_remove(&cb->ready.node);
        LoopObject *loop = cb->loop;
        cb->loop = NULL;
        Py_DECREF(loop);
        Py_DECREF(cb);
    }
}

static PyObject *
callback_stop(PyObject *op, PyObject *Py_UNUSED(unused))
{
    CallbackObject *cb = (CallbackObject *)op;
    PyObject *func = cb->func, *args = cb->args;
    cb->func = cb->args = NULL;
    callback_take_out(cb); /* the caller holds it still */
    Py_XDECREF(func);
    Py_XDECREF(args);
    Py_RETURN_NONE;
}

static void
callback_drop(coir_ready *r)
{
    PyObject *op = Py_NewRef((PyObject *)callback_of(r));
    (void)callback_stop(op, NULL);
    Py_DECREF(op);
}

static const coir_ready_kind callback_kind = {run_callback, callback_drop,
                                              callback_drop};

CallbackObject *
coir__callback_of(coir_ready *r)
{
    return r->kind == &callback_kind ? callback_of(r) : NULL;
}

CallbackObject *
coir__loop_call(LoopObject *loop, PyObject *func, PyObject *args)
{
    if (loop->loop == NULL) {
        PyErr_SetString(PyExc_ValueError, "operation on destroyed loop");
        return NULL;
    }
    CallbackObject *cb = PyObject_GC_New(CallbackObject, &coir__callback_type);
    if (cb == NULL)
        return NULL;
    cb->ready.node.list = NULL;
    cb->ready.kind = &callback_kind;
    cb->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    cb->func = Py_NewRef(func);
    cb->args = Py_XNewRef(args);
    PyObject_GC_Track(cb);
    Py_INCREF(cb); /* the queue's */
    coir__loop_ready(loop, &cb->ready);
    return cb;
}

static int
callback_is_pending(PyObject *op)
{
    return ((CallbackObject *)op)->func != NULL;
}

static PyObject *
callback_get_pending(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(callback_is_pending(op));
}

static PyObject *
callback_get(PyObject *op, void *closure)
{
    CallbackObject *cb = (CallbackObject *)op;
    PyObject *value = closure == NULL ? cb->func : cb->args;
    if (value == NULL && closure != NULL && cb->func != NULL)
        value = coir__core.empty_tuple;
    return Py_NewRef(value != NULL ? value : Py_None);
}

static PyObject *
callback_repr(PyObject *op)
{
    CallbackObject *cb = (CallbackObject *)op;
    if (cb->func == NULL)
        return PyUnicode_FromFormat("<callback at %p stopped>", op);
    if (cb->args == NULL)
        return PyUnicode_FromFormat("<callback at %p pending callback=%R>", op,
                                    cb->func);
    return PyUnicode_FromFormat("<callback at %p pending callback=%R args=%R>",
                                op, cb->func, cb->args);
}

static int
callback_traverse(PyObject *op, visitproc visit, void *arg)
{
    CallbackObject *cb = (CallbackObject *)op;
    Py_VISIT(cb->loop);
    Py_VISIT(cb->func);
    Py_VISIT(cb->args);
    return 0;
}

static int
callback_clear(PyObject *op)
{
    (void)callback_stop(op, NULL);
    return 0;
}

/* The queue has a reference, so it stands in none. */
static void
callback_dealloc(PyObject *op)
{
    CallbackObject *cb = (CallbackObject *)op;
    PyObject_GC_UnTrack(op);
    Py_CLEAR(cb->func);
    Py_CLEAR(cb->args);
    Py_CLEAR(cb->loop);
    PyObject_GC_Del(op);
}

static PyMethodDef callback_methods[] = {
    {"stop", callback_stop, METH_NOARGS,
     "stop($self)\n--\n\nDo not call it, if that has not happened yet."},
    {"close", callback_stop, METH_NOARGS, "close($self)\n--\n\nAs stop()."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef callback_getset[] = {
    {"pending", callback_get_pending, NULL, "Whether it will be called.",
     NULL},
    {"callback", callback_get, NULL, "What is called; None once it was.",
     NULL},
    {"args", callback_get, NULL, "With what.", (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyNumberMethods callback_number = {.nb_bool = callback_is_pending};

PyTypeObject coir__callback_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.callback",
    .tp_basicsize = sizeof(CallbackObject),
    .tp_dealloc = callback_dealloc,
    .tp_repr = callback_repr,
    .tp_as_number = &callback_number,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "What Loop.run_callback() returns. True until it was called.",
    .tp_traverse = callback_traverse,
    .tp_clear = callback_clear,
    .tp_methods = callback_methods,
    .tp_getset = callback_getset,
};

int
coir__ready_types_init(PyObject *module)
{
    if (PyType_Ready(&coir__callback_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "callback",
                                 (PyObject *)&coir__callback_type);
}
