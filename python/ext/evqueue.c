/* evqueue.c - eventlet's LightQueue, Queue, PriorityQueue and LifoQueue.
 *
 * They are gevent's queues, see queuebase.c and queueitems.c, but for this:
 * one of size zero is a channel. It has as many places as there are getters
 * that wait for an item, and who puts something there lets them run before it
 * goes on. A callback of the hub, which cannot wait, lets the others run. */
#include "ev.h"
#include "queue.h"

#include <stddef.h>

static PyTypeObject light_type, queue_type, lifo_type, priority_type;

/* Wait in line. 1: look again; 2: go ahead in any case; 0: the time is over;
 * -1 with an exception: also if the time was over before it was woken. */
static int
wait_in_line(QueueObject *q, coir_line *l, coir_patience *p, const char *what)
{
    int how;
    p->may_expire = 1;
    PyObject *value =
        coir__patience_wait(p, &l->list, (PyObject *)q, what, what, &how);
    if (COIR__LIKELY(value != NULL)) {
        int turn = value == Py_True ? 2 : 1;
        Py_DECREF(value);
        if (COIR__LIKELY(how == COIR_WOKEN_BY_WAKE)) {
            l->woken--;
            return turn;
        }
        if (!p->was_woken)
            return 0;
        l->woken--;
        coir__queue_wake(q, l, 0);
        PyErr_SetNone(l == &q->getters ? coir__exc_empty : coir__exc_full);
        return -1;
    }
    if (p->was_woken) {
        l->woken--;
        Py_CLEAR(p->value);
        coir__queue_wake(q, l, 0);
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
        coir__queue_wake(q, &q->getters, 0);
    coir__queue_wake(q, &q->putters, 0);
    return item;
}

/* In the hub: have those put something who wait for that. */
static PyObject *
get_in_hub(QueueObject *q)
{
    while (q->putters.list.head != NULL) {
        coir_wait *w = coir__wait_of(q->putters.list.head);
        coir__queue_wake_first(&q->putters, Py_True);
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
        coir__queue_wake(q, &q->putters, 1);
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
        coir__queue_wake(q, &q->putters, 0);
    coir_node *first = q->getters.list.head;
    coir_wait *w = first != NULL ? coir__wait_of(first) : NULL;
    coir__queue_wake(q, &q->getters, 0);
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
    if (n < 0 || coir__queue_room(q, n, 0) <= 0)
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
    if (q->maxsize == 0 && coir__queue_room(q, n, 0) > 0) {
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
        if (turn && (turn == 2 || coir__queue_room(q, n, 0) > 0)) {
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
    coir__queue_wake(q, &q->getters, 0);
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
    PyObject *in[2] = {NULL, NULL};
    if (coir__queue_get_args("get", args, nargs, kwnames, in) < 0)
        return NULL;
    return get(SELF, in[0], in[1]);
}

static PyObject *
queue_put(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    PyObject *in[3] = {NULL, NULL, NULL};
    if (coir__queue_put_args(args, nargs, kwnames, in) < 0)
        return NULL;
    return put(SELF, in[0], in[1], in[2]);
}

/* The short forms call what a subclass may have put in the place of the long
 * ones. */
static PyObject *
queue_get_nowait(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!is_ours(op))
        return PyObject_CallMethodOneArg(op, coir__queue_names[NAME_GET],
                                         Py_False);
    return get(SELF, Py_False, NULL);
}

static PyObject *
queue_put_nowait(PyObject *op, PyObject *item)
{
    if (!is_ours(op)) {
        PyObject *args[] = {op, item, Py_False};
        return PyObject_VectorcallMethod(coir__queue_names[NAME_PUT], args, 3,
                                         NULL);
    }
    return put(SELF, item, Py_False, NULL);
}

/* Of a subclass that has a qsize() of its own: see queue_new(). */
static PyObject *
queue_size_by_method(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyObject_CallMethodNoArgs(op, coir__queue_names[NAME_QSIZE]);
}

static PyObject *
queue_putting(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSsize_t(coir__queue_standing(&SELF->putters));
}

static PyObject *
queue_getting(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSsize_t(coir__queue_standing(&SELF->getters));
}

static int
set_maxsize(QueueObject *q, PyObject *value)
{
    Py_ssize_t n;
    if (coir__queue_read_size(value, &n) < 0)
        return -1;
    q->maxsize = n < 0 ? -1 : n;
    return 0;
}

static PyObject *
queue_resize(PyObject *op, PyObject *size)
{
    if (set_maxsize(SELF, size) < 0)
        return NULL;
    coir__queue_wake(SELF, &SELF->putters, 0);
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

static PyObject *
queue_put_bookkeeping(PyObject *op, PyObject *Py_UNUSED(unused))
{
    SELF->unfinished++;
    Py_RETURN_NONE;
}

/* --- attributes ---------------------------------------------------------- */

static int
queue_set_maxsize(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    return set_maxsize(SELF, value);
}

static PyObject *
queue_get_line(PyObject *op, void *closure)
{
    return coir__ev_waiters(closure == NULL ? &SELF->getters.list
                                            : &SELF->putters.list);
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
    PyObject *maxsize = coir__queue_get_maxsize(op, NULL);
    PyObject *text = NULL;
    if (maxsize != NULL)
        text = PyUnicode_FromFormat("maxsize=%R", maxsize);
    Py_XDECREF(maxsize);
    Py_ssize_t size = text != NULL ? coir__queue_base_qsize(SELF) : 0;
    if (size < 0)
        PyErr_Clear(); /* it holds them in some way of its own */
    if (size > 0) {
        PyObject *items = coir__queue_get_queue(op, NULL);
        if (items == NULL)
            Py_CLEAR(text);
        COIR__APPEND(text, " queue=%R", items);
        Py_XDECREF(items);
    }
    Py_ssize_t n = coir__queue_standing(&SELF->getters);
    if (n > 0)
        COIR__APPEND(text, " getters[%zd]", n);
    n = coir__queue_standing(&SELF->putters);
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

static PyObject *
queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    static PyTypeObject *const types[] = {&light_type, &queue_type,
                                          &priority_type, &lifo_type};
    static const enum coir_queue_name names[] = {
        NAME_QSIZE, NAME_PUT_,   NAME_GET_,  QUEUE_NAMES,
        NAME_INIT_, QUEUE_NAMES, QUEUE_NAMES};
    return coir__queue_make(type, types, names);
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
                        ? PyObject_CallMethodOneArg(
                              op, coir__queue_names[NAME_INIT_], maxsize)
                        : coir__queue_init_(op, maxsize);
    Py_XDECREF(res);
    SELF->unfinished = 0;
    return res != NULL ? 0 : -1;
}

/* --- types --------------------------------------------------------------- */

#define FAST(func)                                                            \
    (PyCFunction)(void (*)(void))(func), METH_FASTCALL | METH_KEYWORDS

COIR__DEFINE_ONE(queue_put_nowait, "put_nowait", "item")
COIR__DEFINE_ONE(queue_resize, "resize", "size")

static PyMethodDef light_methods[] = {
    {"get", FAST(queue_get),
     "get($self, block=True, timeout=None)\n--\n\n"
     "Take the next item, waiting for one, for `timeout` seconds at most;\n"
     "raises Empty after that, or at once if `block` is false."},
    {"put", FAST(queue_put),
     "put($self, item, block=True, timeout=None)\n--\n\n"
     "Add an item, waiting for a free place; raises Full as get() Empty."},
    {"get_nowait", queue_get_nowait, METH_NOARGS,
     "get_nowait($self)\n--\n\nget(False)"},
    {"put_nowait", COIR__ONE(queue_put_nowait),
     "put_nowait($self, item)\n--\n\nput(item, False)"},
    {"qsize", coir__queue_qsize_, METH_NOARGS,
     "qsize($self)\n--\n\nHow many items there are."},
    {"_qsize", queue_size_by_method, METH_NOARGS, NULL},
    {"empty", coir__queue_empty, METH_NOARGS,
     "empty($self)\n--\n\nqsize() == 0"},
    {"full", coir__queue_full, METH_NOARGS,
     "full($self)\n--\n\nWhether there are as many as may be."},
    {"putting", queue_putting, METH_NOARGS,
     "putting($self)\n--\n\nHow many green threads wait for a place."},
    {"getting", queue_getting, METH_NOARGS,
     "getting($self)\n--\n\nHow many wait for an item."},
    {"resize", COIR__ONE(queue_resize),
     "resize($self, size)\n--\n\n"
     "From now on there may be so many items; None: no limit."},
    {"_format", queue_format, METH_NOARGS, NULL},
    {"_init", coir__queue_init_, METH_O, NULL},
    {"_put", coir__queue_put_, METH_O, NULL},
    {"_get", coir__queue_get_, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef light_getset[] = {
    {"maxsize", coir__queue_get_maxsize, queue_set_maxsize,
     "How many items there may be; None: no limit.", NULL},
    {"queue", coir__queue_get_queue, coir__queue_set_queue,
     "What holds the items.", NULL},
    {"getters", queue_get_line, NULL, "Greenlets that wait for an item.",
     NULL},
    {"putters", queue_get_line, NULL, "Greenlets that wait for a place.",
     (void *)1},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef queue_methods[] = {
    {"task_done", coir__queue_task_done, METH_NOARGS,
     "task_done($self)\n--\n\nOne item less that is worked on."},
    {"join", queue_join, METH_NOARGS,
     "join($self)\n--\n\nWait until all that was put is done."},
    {"_put_bookkeeping", queue_put_bookkeeping, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"unfinished_tasks", coir__queue_get_unfinished, queue_set_unfinished,
     "How many items were put, and are not done.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define QUEUE_TYPE(name_, doc_, ...)                                          \
    {                                                                         \
        PyVarObject_HEAD_INIT(NULL, 0)                                        \
            .tp_name = "coir.eventlet.queue." name_,                          \
          .tp_basicsize = sizeof(QueueObject),                                \
          .tp_dealloc = coir__queue_dealloc, .tp_repr = queue_repr,           \
          .tp_str = queue_str,                                                \
          .tp_flags =                                                         \
              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,  \
          .tp_doc = (doc_), .tp_traverse = coir__queue_traverse,              \
          .tp_clear = coir__queue_clear,                                      \
          .tp_weaklistoffset = offsetof(QueueObject, weakreflist),            \
          .tp_dictoffset = offsetof(QueueObject, dict),                       \
          .tp_init = queue_init, .tp_new = queue_new, __VA_ARGS__             \
    }

static PyTypeObject light_type = QUEUE_TYPE(
    "LightQueue",
    "LightQueue(maxsize=None)\n--\n\n"
    "A queue of green threads. With a size of 0 it is a channel: put() waits\n"
    "until somebody gets the item.",
    .tp_methods = light_methods, .tp_getset = light_getset);

static PyTypeObject queue_type =
    QUEUE_TYPE("Queue",
               "Queue(maxsize=None)\n--\n\n"
               "A LightQueue that counts what was put and is not yet done.",
               .tp_methods = queue_methods, .tp_getset = queue_getset,
               .tp_base = &light_type);

static PyTypeObject priority_type =
    QUEUE_TYPE("PriorityQueue",
               "PriorityQueue(maxsize=None)\n--\n\n"
               "A Queue that gives the least item first.",
               .tp_base = &queue_type);

static PyTypeObject lifo_type =
    QUEUE_TYPE("LifoQueue",
               "LifoQueue(maxsize=None)\n--\n\n"
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
    for (size_t i = 0; i < 4; i++)
        if (PyType_Ready(types[i]) < 0 ||
            PyModule_AddObjectRef(module, names[i], (PyObject *)types[i]) < 0)
            return -1;
    return 0;
}
