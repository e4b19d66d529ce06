/* evqueue.c - eventlet's LightQueue, Queue, PriorityQueue and LifoQueue.
 *
 * They are gevent's queues, see queue.c and queueitems.c, but for this: one of
 * size zero is a channel. It has as many places as there are getters that wait
 * for an item, and who puts something there lets them run before it goes on.
 * Where a callback of the hub cannot wait, it lets those run that do. */
#include "ev.h"
#include "queue.h"

#include <stddef.h>

static PyTypeObject light_type, queue_type, lifo_type, priority_type;
static PyObject *str_init_, *str_get, *str_put, *str_qsize; /* strong */

/* --- whose turn it is ---------------------------------------------------- */

static Py_ssize_t
standing(const coir_line *l)
{
    return l->woken + coir__list_length(&l->list);
}

/* How many may be put; PY_SSIZE_T_MAX without a limit. `more`: getters that
 * are about to wait. */
static Py_ssize_t
room(const QueueObject *q, Py_ssize_t n, Py_ssize_t more)
{
    if (q->maxsize < 0)
        return PY_SSIZE_T_MAX;
    if (q->maxsize > 0)
        return q->maxsize - n;
    return standing(&q->getters) + more - n;
}

static void
wake_first(coir_line *l, PyObject *value)
{
    l->woken++;
    coir__wake(coir__wait_of(l->list.head), Py_XNewRef(value));
}

static void
wake_some(QueueObject *q, coir_line *l, Py_ssize_t more)
{
    if (COIR__LIKELY(l->list.head == NULL))
        return;
    PyObject *exc = coir__error_take();
    Py_ssize_t n = coir__queue_size(q);
    if (n < 0) {
        PyErr_WriteUnraisable((PyObject *)q);
        n = 0;
    }
    if (l == &q->putters)
        n = room(q, n, more);
    while (l->list.head != NULL && l->woken < n)
        wake_first(l, NULL);
    coir__error_give(exc);
}

/* Wait in line. 1: look again; 2: go ahead in any case; 0: the time is over;
 * -1 with an exception. */
static int
wait_in_line(QueueObject *q, coir_line *l, coir_patience *p, const char *what)
{
    int how;
    PyObject *value =
        coir__patience_wait(p, &l->list, (PyObject *)q, what, what, &how);
    if (COIR__LIKELY(value != NULL)) {
        int turn = value == Py_True ? 2 : 1;
        Py_DECREF(value);
        if (how == COIR_WOKEN_BY_TIME)
            return 0;
        l->woken--;
        return turn;
    }
    if (p->was_woken) {
        l->woken--;
        Py_CLEAR(p->value);
        wake_some(q, l, 0);
    }
    return -1;
}

/* As coir__patience_begin(), for one of eventlet's. */
static int
begin(coir_patience *p, PyObject *block, PyObject *timeout)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL || coir__ev_hub(t) == NULL)
        return -1;
    int may_wait = coir__patience_begin(p, block, timeout);
    if (may_wait == 0 && p->in_hub &&
        (block == NULL || PyObject_IsTrue(block) > 0)) {
        PyErr_SetString(PyExc_AssertionError,
                        "Cannot switch to MAINLOOP from MAINLOOP");
        return -1;
    }
    return may_wait;
}

/* --- get ----------------------------------------------------------------- */

static PyObject *
take(QueueObject *q)
{
    PyObject *item = coir__queue_get_item(q, 0);
    if (COIR__UNLIKELY(item == NULL))
        wake_some(q, &q->getters, 0);
    wake_some(q, &q->putters, 0);
    return item;
}

/* In the hub: have those put something who wait for that. */
static PyObject *
get_in_hub(QueueObject *q)
{
    while (q->putters.list.head != NULL) {
        coir_wait *w = coir__wait_of(q->putters.list.head);
        wake_first(&q->putters, Py_True);
        coir__go_on(w);
        Py_ssize_t n = coir__queue_size(q);
        if (n < 0)
            return NULL;
        if (n > 0)
            return take(q);
    }
    PyErr_SetNone(coir__exc_empty);
    return NULL;
}

static PyObject *
wait_and_get(QueueObject *q, PyObject *block, PyObject *timeout)
{
    coir_patience p;
    int may_wait = begin(&p, block, timeout);
    if (may_wait < 0)
        return NULL;
    if (!may_wait && p.in_hub)
        return get_in_hub(q);
    if (!may_wait) {
        PyErr_SetNone(coir__exc_empty);
        return NULL;
    }
    PyObject *res = NULL;
    for (;;) {
        wake_some(q, &q->putters, 1);
        int turn = wait_in_line(q, &q->getters, &p, "get");
        if (turn < 0)
            break;
        Py_ssize_t n = coir__queue_size(q);
        if (n < 0)
            break;
        /* Who comes too late leaves those alone who were woken in time. */
        if (n > (turn ? 0 : q->getters.woken)) {
            res = take(q);
            break;
        }
        if (!turn) {
            PyErr_SetNone(coir__exc_empty);
            break;
        }
    }
    return coir__patience_end(&p, res);
}

static inline PyObject *
get(QueueObject *q, PyObject *block, PyObject *timeout)
{
    Py_ssize_t n = coir__queue_size(q);
    if (COIR__LIKELY(n > 0))
        return take(q);
    return n < 0 ? NULL : wait_and_get(q, block, timeout);
}

/* --- put ----------------------------------------------------------------- */

static PyObject *
fill(QueueObject *q, PyObject *item, int in_hub)
{
    int err = coir__queue_put_item(q, item);
    if (COIR__UNLIKELY(err < 0))
        wake_some(q, &q->putters, 0);
    coir_node *first = q->getters.list.head;
    coir_wait *w = first != NULL ? coir__wait_of(first) : NULL;
    wake_some(q, &q->getters, 0);
    /* A channel: who gets it runs first. */
    if (err == 0 && q->maxsize == 0 && !in_hub)
        err = coir__ev_yield();
    else if (err == 0 && in_hub && w != NULL && w->node.list == NULL)
        coir__go_on(w);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

/* A channel, for which somebody waits: but they may be about to go. 1 if it
 * was put, 0 if not, or -1 with an exception. */
static int
fill_channel(QueueObject *q, PyObject *item, int in_hub)
{
    if (!in_hub && coir__ev_yield() < 0)
        return -1;
    Py_ssize_t n = coir__queue_size(q);
    if (n < 0 || room(q, n, 0) <= 0)
        return n < 0 ? -1 : 0;
    PyObject *res = fill(q, item, in_hub);
    Py_XDECREF(res);
    return res != NULL ? 1 : -1;
}

static PyObject *
wait_and_put(QueueObject *q, PyObject *item, PyObject *block,
             PyObject *timeout)
{
    coir_patience p;
    int may_wait = begin(&p, block, timeout);
    if (may_wait < 0)
        return NULL;
    Py_ssize_t n = coir__queue_size(q);
    if (n < 0)
        return NULL;
    PyObject *res = NULL;
    if (q->maxsize == 0 && room(q, n, 0) > 0) {
        int done = fill_channel(q, item, p.in_hub);
        if (done != 0) {
            res = done > 0 ? Py_NewRef(Py_None) : NULL;
            return may_wait ? coir__patience_end(&p, res) : res;
        }
    }
    if (!may_wait) {
        PyErr_SetNone(coir__exc_full);
        return NULL;
    }
    for (;;) {
        int turn = wait_in_line(q, &q->putters, &p, "put");
        if (turn < 0)
            break;
        n = coir__queue_size(q);
        if (n < 0)
            break;
        if (turn && (turn == 2 || room(q, n, 0) > 0)) {
            res = fill(q, item, turn == 2);
            break;
        }
        if (!turn) {
            PyErr_SetNone(coir__exc_full);
            break;
        }
    }
    return coir__patience_end(&p, res);
}

static inline PyObject *
put(QueueObject *q, PyObject *item, PyObject *block, PyObject *timeout)
{
    Py_ssize_t n = 0;
    if (q->maxsize >= 0 && (n = coir__queue_size(q)) < 0)
        return NULL;
    if (COIR__UNLIKELY(q->maxsize >= 0 && n >= q->maxsize))
        return wait_and_put(q, item, block, timeout);
    if (coir__queue_put_item(q, item) < 0)
        return NULL;
    wake_some(q, &q->getters, 0);
    Py_RETURN_NONE;
}

/* --- methods ------------------------------------------------------------- */

#define SELF ((QueueObject *)op)

static int
is_ours(const PyObject *op)
{
    return Py_IS_TYPE(op, &queue_type) || Py_IS_TYPE(op, &light_type) ||
           Py_IS_TYPE(op, &lifo_type) || Py_IS_TYPE(op, &priority_type);
}

static PyObject *
queue_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    static const char *const names[] = {"block", "timeout"};
    PyObject *in[2] = {NULL, NULL};
    if ((nargs > 0 || kwnames != NULL) &&
        coir__parse("get", args, nargs, kwnames, 0, 2, names, in) < 0)
        return NULL;
    return get(SELF, in[0], in[1]);
}

static PyObject *
queue_put(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    static const char *const names[] = {"item", "block", "timeout"};
    PyObject *in[3] = {NULL, NULL, NULL};
    if (COIR__LIKELY(nargs == 1 && kwnames == NULL))
        in[0] = args[0];
    else if (coir__parse("put", args, nargs, kwnames, 1, 3, names, in) < 0)
        return NULL;
    return put(SELF, in[0], in[1], in[2]);
}

/* The short forms call what a subclass may have put in the place of the long
 * ones. */
static PyObject *
queue_get_nowait(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!is_ours(op))
        return PyObject_CallMethodOneArg(op, str_get, Py_False);
    return get(SELF, Py_False, NULL);
}

static PyObject *
queue_put_nowait(PyObject *op, PyObject *item)
{
    if (!is_ours(op)) {
        PyObject *args[] = {op, item, Py_False};
        return PyObject_VectorcallMethod(str_put, args, 3, NULL);
    }
    return put(SELF, item, Py_False, NULL);
}

static PyObject *
queue_qsize(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_ssize_t n = coir__queue_base_qsize(SELF);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

/* Of a subclass that has a qsize() of its own: see queue_new(). */
static PyObject *
queue_size_by_method(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyObject_CallMethodNoArgs(op, str_qsize);
}

static PyObject *
queue_empty(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_ssize_t n = coir__queue_size(SELF);
    return n < 0 ? NULL : PyBool_FromLong(n == 0);
}

static PyObject *
queue_full(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_ssize_t n = coir__queue_size(SELF);
    return n < 0 ? NULL
                 : PyBool_FromLong(SELF->maxsize >= 0 && n >= SELF->maxsize);
}

static PyObject *
queue_putting(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSsize_t(standing(&SELF->putters));
}

static PyObject *
queue_getting(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSsize_t(standing(&SELF->getters));
}

static int
set_maxsize(QueueObject *q, PyObject *value)
{
    Py_ssize_t n = -1;
    if (value != NULL && value != Py_None) {
        n = PyNumber_AsSsize_t(value, NULL);
        if (n == -1 && PyErr_Occurred())
            return -1;
    }
    q->maxsize = n < 0 ? -1 : n;
    return 0;
}

static PyObject *
queue_resize(PyObject *op, PyObject *size)
{
    if (set_maxsize(SELF, size) < 0)
        return NULL;
    wake_some(SELF, &SELF->putters, 0);
    Py_RETURN_NONE;
}

static PyObject *
queue_task_done(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (--SELF->unfinished == 0)
        while (SELF->joiners.head != NULL)
            coir__wake(coir__wait_of(SELF->joiners.head), NULL);
    Py_RETURN_NONE;
}

static PyObject *
queue_join(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->unfinished <= 0)
        Py_RETURN_NONE;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__ev_hub(t) : NULL;
    if (hub == NULL)
        return NULL;
    if (SELF->unfinished <= 0) /* by now, as other threads may have run */
        Py_RETURN_NONE;
    int how;
    PyObject *res =
        coir__park(t, hub, &SELF->joiners, "join", op, COIR_FOREVER, &how);
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    Py_RETURN_NONE;
}

/* --- what may be overridden ---------------------------------------------- */

static PyObject *
queue_base_init(PyObject *op, PyObject *Py_UNUSED(maxsize))
{
    PyObject *fresh = NULL;
    if (SELF->kind != FIFO && (fresh = PyList_New(0)) == NULL)
        return NULL;
    coir__queue_ring_clear(SELF);
    Py_XSETREF(SELF->queue, fresh);
    Py_RETURN_NONE;
}

static PyObject *
queue_base_put(PyObject *op, PyObject *item)
{
    return coir__queue_base_put(SELF, item) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
queue_base_get(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__queue_base_get(SELF);
}

static PyObject *
queue_put_bookkeeping(PyObject *op, PyObject *Py_UNUSED(unused))
{
    SELF->unfinished++;
    Py_RETURN_NONE;
}

/* --- attributes ---------------------------------------------------------- */

static PyObject *
queue_get_maxsize(PyObject *op, void *Py_UNUSED(closure))
{
    return SELF->maxsize < 0 ? Py_NewRef(Py_None)
                             : PyLong_FromSsize_t(SELF->maxsize);
}

static int
queue_set_maxsize(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    return set_maxsize(SELF, value);
}

static PyObject *
queue_get_queue(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->queue == NULL && coir__queue_use_deque(SELF) < 0)
        return NULL;
    return Py_NewRef(SELF->queue);
}

static int
queue_set_queue(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete queue");
        return -1;
    }
    Py_INCREF(value);
    coir__queue_ring_clear(SELF);
    Py_XSETREF(SELF->queue, value);
    return 0;
}

static PyObject *
queue_get_line(PyObject *op, void *closure)
{
    return coir__ev_waiters(closure == NULL ? &SELF->getters.list
                                            : &SELF->putters.list);
}

static PyObject *
queue_get_unfinished(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(SELF->unfinished);
}

static int
queue_set_unfinished(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_ssize_t n = value != NULL ? PyLong_AsSsize_t(value) : 0;
    if (n == -1 && PyErr_Occurred())
        return -1;
    SELF->unfinished = n;
    return 0;
}

static PyObject *
queue_format(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *maxsize = queue_get_maxsize(op, NULL);
    PyObject *text = NULL;
    if (maxsize != NULL)
        text = PyUnicode_FromFormat("maxsize=%R", maxsize);
    Py_XDECREF(maxsize);
    Py_ssize_t size = text != NULL ? coir__queue_base_qsize(SELF) : 0;
    if (size < 0)
        PyErr_Clear(); /* it holds them in some way of its own */
    if (size > 0) {
        PyObject *items = queue_get_queue(op, NULL);
        if (items == NULL)
            Py_CLEAR(text);
        COIR__APPEND(text, " queue=%R", items);
        Py_XDECREF(items);
    }
    Py_ssize_t n = standing(&SELF->getters);
    if (n > 0)
        COIR__APPEND(text, " getters[%zd]", n);
    n = standing(&SELF->putters);
    if (n > 0)
        COIR__APPEND(text, " putters[%zd]", n);
    if (SELF->counts && SELF->unfinished > 0)
        COIR__APPEND(text, " tasks=%zd", SELF->unfinished);
    return text;
}

static PyObject *
show(PyObject *op, const char *format)
{
    PyObject *text = PyObject_CallMethod(op, "_format", NULL);
    PyObject *res = NULL;
    if (text != NULL && *format != 0)
        res = PyUnicode_FromFormat(format, coir__type_name(Py_TYPE(op)), op,
                                   text);
    else if (text != NULL)
        res = PyUnicode_FromFormat("<%s %S>", coir__type_name(Py_TYPE(op)),
                                   text);
    Py_XDECREF(text);
    return res;
}

static PyObject *
queue_repr(PyObject *op)
{
    return show(op, "<%s at %p %S>");
}

static PyObject *
queue_str(PyObject *op)
{
    return show(op, "");
}

/* --- making and collecting ----------------------------------------------- */

/* Has the type a method of its own of that name? */
static int
overrides(PyTypeObject *type, PyTypeObject *base, PyObject *name)
{
    PyObject *mine = PyObject_GetAttr((PyObject *)type, name);
    PyObject *theirs = PyObject_GetAttr((PyObject *)base, name);
    int res = mine == NULL || theirs == NULL ? -1 : mine != theirs;
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return res;
}

static int
set_overridden(QueueObject *q, PyTypeObject *type, PyTypeObject *base)
{
    /* In the order of the flags; nobody peeks. */
    PyObject *const names[] = {str_qsize, coir__queue_names[1],
                               coir__queue_names[2], NULL, str_init_};
    for (int i = 0; i < 5; i++) {
        int over = names[i] != NULL ? overrides(type, base, names[i]) : 0;
        if (over < 0)
            return -1;
        q->over = (uint8_t)(q->over | over << i);
    }
    return 0;
}

static PyObject *
queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    if (coir__queue_load() < 0 || coir__queue_items_load() < 0)
        return NULL;
    PyTypeObject *base = PyType_IsSubtype(type, &lifo_type) ? &lifo_type
                         : PyType_IsSubtype(type, &priority_type)
                             ? &priority_type
                         : PyType_IsSubtype(type, &queue_type) ? &queue_type
                                                               : &light_type;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL)
        return NULL;
    SELF->kind = base == &lifo_type       ? LIFO
                 : base == &priority_type ? PRIORITY
                                          : FIFO;
    SELF->counts = base != &light_type;
    SELF->maxsize = -1;
    if (SELF->kind != FIFO)
        SELF->queue = PyList_New(0);
    if ((SELF->kind != FIFO && SELF->queue == NULL) ||
        (type != base && set_overridden(SELF, type, base) < 0))
        Py_CLEAR(op);
    return op;
}

static int
queue_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", NULL};
    PyObject *maxsize = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Queue", names,
                                     &maxsize) ||
        set_maxsize(SELF, maxsize) < 0)
        return -1;
    PyObject *res = SELF->over & OVER_INIT
                        ? PyObject_CallMethodOneArg(op, str_init_, maxsize)
                        : queue_base_init(op, maxsize);
    Py_XDECREF(res);
    SELF->unfinished = 0;
    return res != NULL ? 0 : -1;
}

static int
queue_traverse(PyObject *op, visitproc visit, void *arg)
{
    for (size_t i = 0; i < SELF->count; i++)
        Py_VISIT(SELF->ring[(SELF->head + i) & (SELF->cap - 1)]);
    Py_VISIT(SELF->queue);
    int err = coir__list_traverse(&SELF->getters.list, visit, arg);
    if (err == 0)
        err = coir__list_traverse(&SELF->putters.list, visit, arg);
    return err == 0 ? coir__list_traverse(&SELF->joiners, visit, arg) : err;
}

static int
queue_clear(PyObject *op)
{
    coir__queue_ring_clear(SELF);
    Py_CLEAR(SELF->queue);
    return 0;
}

static void
queue_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)queue_clear(op);
    PyMem_Free(SELF->ring);
    Py_TYPE(op)->tp_free(op);
}

/* --- types --------------------------------------------------------------- */

#define FAST(func)                                                            \
    (PyCFunction)(void (*)(void))(func), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef light_methods[] = {
    {"get", FAST(queue_get),
     "get(block=True, timeout=None) -> object\n\n"
     "Take the next item, waiting for one, for `timeout` seconds at most;\n"
     "raises Empty after that, or at once if `block` is false."},
    {"put", FAST(queue_put),
     "put(item, block=True, timeout=None) -> None\n\n"
     "Add an item, waiting for a free place; raises Full as get() Empty."},
    {"get_nowait", queue_get_nowait, METH_NOARGS,
     "get_nowait() -> object\n\nget(False)"},
    {"put_nowait", queue_put_nowait, METH_O,
     "put_nowait(item) -> None\n\nput(item, False)"},
    {"qsize", queue_qsize, METH_NOARGS,
     "qsize() -> int\n\nHow many items there are."},
    {"_qsize", queue_size_by_method, METH_NOARGS, NULL},
    {"empty", queue_empty, METH_NOARGS, "empty() -> bool\n\nqsize() == 0"},
    {"full", queue_full, METH_NOARGS,
     "full() -> bool\n\nWhether there are as many as may be."},
    {"putting", queue_putting, METH_NOARGS,
     "putting() -> int\n\nHow many green threads wait for a place."},
    {"getting", queue_getting, METH_NOARGS,
     "getting() -> int\n\nHow many wait for an item."},
    {"resize", queue_resize, METH_O,
     "resize(size) -> None\n\n"
     "From now on there may be so many items; None: no limit."},
    {"_format", queue_format, METH_NOARGS, NULL},
    {"_init", queue_base_init, METH_O, NULL},
    {"_put", queue_base_put, METH_O, NULL},
    {"_get", queue_base_get, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef light_getset[] = {
    {"maxsize", queue_get_maxsize, queue_set_maxsize,
     "How many items there may be; None: no limit.", NULL},
    {"queue", queue_get_queue, queue_set_queue, "What holds the items.", NULL},
    {"getters", queue_get_line, NULL, "Greenlets that wait for an item.",
     NULL},
    {"putters", queue_get_line, NULL, "Greenlets that wait for a place.",
     (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef queue_methods[] = {
    {"task_done", queue_task_done, METH_NOARGS,
     "task_done() -> None\n\nOne item less that is worked on."},
    {"join", queue_join, METH_NOARGS,
     "join() -> None\n\nWait until all that was put is done."},
    {"_put_bookkeeping", queue_put_bookkeeping, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"unfinished_tasks", queue_get_unfinished, queue_set_unfinished,
     "How many items were put, and are not done.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define QUEUE_TYPE(name_, doc_, ...)                                          \
    {                                                                         \
        PyVarObject_HEAD_INIT(NULL, 0)                                        \
            .tp_name = "coir.eventlet.queue." name_,                          \
          .tp_basicsize = sizeof(QueueObject), .tp_dealloc = queue_dealloc,   \
          .tp_repr = queue_repr, .tp_str = queue_str,                         \
          .tp_flags =                                                         \
              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,  \
          .tp_doc = (doc_), .tp_traverse = queue_traverse,                    \
          .tp_clear = queue_clear,                                            \
          .tp_weaklistoffset = offsetof(QueueObject, weakreflist),            \
          .tp_init = queue_init, .tp_new = queue_new, __VA_ARGS__             \
    }

static PyTypeObject light_type = QUEUE_TYPE(
    "LightQueue",
    "LightQueue(maxsize=None)\n\n"
    "A queue of green threads. With a size of 0 it is a channel: put() waits\n"
    "until somebody gets the item.",
    .tp_methods = light_methods, .tp_getset = light_getset);

static PyTypeObject queue_type =
    QUEUE_TYPE("Queue",
               "Queue(maxsize=None)\n\n"
               "A LightQueue that counts what was put and is not yet done.",
               .tp_methods = queue_methods, .tp_getset = queue_getset,
               .tp_base = &light_type);

static PyTypeObject priority_type =
    QUEUE_TYPE("PriorityQueue",
               "PriorityQueue(maxsize=None)\n\n"
               "A Queue that gives the least item first.",
               .tp_base = &queue_type);

static PyTypeObject lifo_type =
    QUEUE_TYPE("LifoQueue",
               "LifoQueue(maxsize=None)\n\n"
               "A Queue that gives the item first that was put last.",
               .tp_base = &queue_type);

int
coir__evqueue_types_init(PyObject *module)
{
    static PyTypeObject *const types[] = {&light_type, &queue_type,
                                          &priority_type, &lifo_type};
    static const char *const names[] = {"EvLightQueue", "EvQueue",
                                        "EvPriorityQueue", "EvLifoQueue"};
    if (coir__queue_items_init() < 0)
        return -1;
    str_init_ = PyUnicode_InternFromString("_init");
    str_get = PyUnicode_InternFromString("get");
    str_put = PyUnicode_InternFromString("put");
    str_qsize = PyUnicode_InternFromString("qsize");
    if (str_init_ == NULL || str_get == NULL || str_put == NULL ||
        str_qsize == NULL)
        return -1;
    for (size_t i = 0; i < 4; i++)
        if (PyType_Ready(types[i]) < 0 ||
            PyModule_AddObjectRef(module, names[i], (PyObject *)types[i]) < 0)
            return -1;
    return 0;
}
