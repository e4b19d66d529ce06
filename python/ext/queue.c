/* queue.c - the queues and the channel of gevent.queue.
 *
 * Who peeks stands in line with the getters and passes its turn on always.
 *
 * What they share with eventlet's is in queuebase.c. */
#include "queue.h"

#include <stddef.h>

static PyTypeObject simple_type, queue_type, lifo_type, priority_type;

/* --- get, peek, put ------------------------------------------------------ */

/* There is an item: take it, or look at it. */
static PyObject *
take(QueueObject *q, int peek)
{
    PyObject *item = coir__queue_get_item(q, peek);
    if (peek || COIR__UNLIKELY(item == NULL))
        coir__queue_wake(q, &q->getters, 0);
    coir__queue_wake(q, &q->putters, 0);
    return item;
}

/* A number below 0 is refused where it could make a difference. 0, or -1. */
static COIR__COLD int
check_timeout(PyObject *block, PyObject *timeout)
{
    int may_wait = block == NULL ? 1 : PyObject_IsTrue(block);
    if (may_wait <= 0 || !(PyFloat_Check(timeout) || PyIndex_Check(timeout)))
        return may_wait < 0 ? -1 : 0;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    if (!(seconds < 0))
        return 0; /* NaN as well: whoever waits refuses it */
    PyErr_SetString(PyExc_ValueError,
                    "'timeout' must be a non-negative number");
    return -1;
}

static inline int
is_given(const PyObject *timeout)
{
    return timeout != NULL && timeout != Py_None;
}

static PyObject *
get_or_wait(QueueObject *q, int peek, PyObject *block, PyObject *timeout)
{
    coir_patience p;
    if (is_given(timeout) && check_timeout(block, timeout) < 0)
        return NULL;
    if (q->is_shutdown) {
        PyErr_SetNone(coir__exc_shutdown);
        return NULL;
    }
    int may_wait = coir__patience_begin(&p, block, timeout);
    if (may_wait < 0)
        return NULL;
    if (!may_wait) {
        PyErr_SetNone(coir__exc_empty);
        return NULL;
    }
    PyObject *res = NULL;
    for (;;) {
        int turn = coir__queue_wait(q, &q->getters, &p, peek ? "peek" : "get",
                                    peek ? "Queue.peek" : "Queue.get");
        if (turn < 0)
            break;
        Py_ssize_t n = coir__queue_size(q);
        if (n < 0)
            break;
        /* Who comes too late leaves those alone who were woken in time. */
        if (n > (turn ? 0 : q->getters.woken)) {
            res = take(q, peek);
            break;
        }
        if (q->is_shutdown || !turn) {
            PyErr_SetNone(q->is_shutdown ? coir__exc_shutdown
                                         : coir__exc_empty);
            break;
        }
    }
    return coir__patience_end(&p, res);
}

static inline PyObject *
get_or_peek(QueueObject *q, int peek, PyObject *block, PyObject *timeout)
{
    Py_ssize_t n = coir__queue_size(q);
    if (COIR__LIKELY(n > 0))
        return take(q, peek);
    if (n < 0)
        return NULL;
    return get_or_wait(q, peek, block, timeout);
}

/* 1: there is a free place; 0: none; -1 with an exception. */
static inline int
has_room(QueueObject *q)
{
    if (q->is_shutdown) {
        PyErr_SetNone(coir__exc_shutdown);
        return -1;
    }
    if (q->maxsize < 0)
        return 1;
    Py_ssize_t n = coir__queue_size(q);
    return n < 0 ? -1 : n < q->maxsize;
}

static int
fill(QueueObject *q, PyObject *item)
{
    int err = coir__queue_put_item(q, item);
    if (COIR__UNLIKELY(err < 0))
        coir__queue_wake(q, &q->putters, 0);
    coir__queue_wake(q, &q->getters, 0);
    return err;
}

static PyObject *
wait_and_put(QueueObject *q, PyObject *item, PyObject *block,
             PyObject *timeout)
{
    coir_patience p;
    int may_wait = coir__patience_begin(&p, block, timeout);
    if (may_wait < 0)
        return NULL;
    if (!may_wait) {
        /* A callback can't let those run who are about to take items. */
        if (p.in_hub && q->getters.woken > 0) {
            Py_ssize_t n = coir__queue_size(q);
            if (n < 0)
                return NULL;
            if (n - q->getters.woken < q->maxsize)
                return fill(q, item) < 0 ? NULL : Py_NewRef(Py_None);
        }
        PyErr_SetNone(coir__exc_full);
        return NULL;
    }
    PyObject *res = NULL;
    for (;;) {
        int turn = coir__queue_wait(q, &q->putters, &p, "put", "Queue.put");
        if (turn < 0)
            break;
        int room = has_room(q);
        if (room < 0)
            break;
        if (room && turn) {
            if (fill(q, item) == 0)
                res = Py_NewRef(Py_None);
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
    int room = has_room(q);
    if (COIR__LIKELY(room > 0)) {
        if (COIR__UNLIKELY(is_given(timeout)) &&
            check_timeout(block, timeout) < 0)
            return NULL;
        return fill(q, item) < 0 ? NULL : Py_NewRef(Py_None);
    }
    return room < 0 ? NULL : wait_and_put(q, item, block, timeout);
}

static PyObject *
queue_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    PyObject *in[2] = {NULL, NULL};
    if (coir__queue_get_args("get", args, nargs, kwnames, in) < 0)
        return NULL;
    return get_or_peek((QueueObject *)op, 0, in[0], in[1]);
}

static PyObject *
queue_peek(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    PyObject *in[2] = {NULL, NULL};
    if (coir__queue_get_args("peek", args, nargs, kwnames, in) < 0)
        return NULL;
    return get_or_peek((QueueObject *)op, 1, in[0], in[1]);
}

static PyObject *
queue_put(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    PyObject *in[3] = {NULL, NULL, NULL};
    if (coir__queue_put_args(args, nargs, kwnames, in) < 0)
        return NULL;
    return put((QueueObject *)op, in[0], in[1], in[2]);
}

static int
is_ours(const PyObject *op)
{
    return Py_IS_TYPE(op, &queue_type) || Py_IS_TYPE(op, &simple_type) ||
           Py_IS_TYPE(op, &lifo_type) || Py_IS_TYPE(op, &priority_type);
}

/* The short forms call what a subclass may have put in the place of the long
 * ones. */
static PyObject *
queue_get_nowait(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!is_ours(op))
        return PyObject_CallMethodOneArg(op, coir__queue_names[NAME_GET],
                                         Py_False);
    return get_or_peek((QueueObject *)op, 0, Py_False, NULL);
}

static PyObject *
queue_peek_nowait(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!is_ours(op))
        return PyObject_CallMethodOneArg(op, coir__queue_names[NAME_PEEK],
                                         Py_False);
    return get_or_peek((QueueObject *)op, 1, Py_False, NULL);
}

static PyObject *
queue_put_nowait(PyObject *op, PyObject *item)
{
    if (!is_ours(op)) {
        PyObject *args[] = {op, item, Py_False};
        return PyObject_VectorcallMethod(coir__queue_names[NAME_PUT], args, 3,
                                         NULL);
    }
    return put((QueueObject *)op, item, Py_False, NULL);
}

static PyObject *
queue_next(PyObject *op)
{
    PyObject *item =
        is_ours(op)
            ? get_or_peek((QueueObject *)op, 0, NULL, NULL)
            : PyObject_CallMethodNoArgs(op, coir__queue_names[NAME_GET]);
    return coir__queue_next(item);
}

/* --- tasks, shutting down ------------------------------------------------ */

static PyObject *
queue_join(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"timeout"};
    QueueObject *q = (QueueObject *)op;
    PyObject *timeout = NULL;
    if (coir__arguments("join", names, 1, args, nargs, kwnames, &timeout) < 0)
        return NULL;
    if (q->unfinished == 0)
        Py_RETURN_TRUE;
    /* In the hub, too: it is told there what is wrong with that. */
    coir_patience p;
    if (coir__patience_begin(&p, NULL, timeout) < 0)
        return NULL;
    int how;
    PyObject *res =
        coir__patience_wait(&p, &q->joiners, op, "join", "Queue.join", &how);
    if (res != NULL)
        Py_SETREF(res, PyBool_FromLong(how == COIR_WOKEN_BY_WAKE));
    else
        Py_CLEAR(p.value);
    return coir__patience_end(&p, res);
}

static PyObject *
queue_shutdown(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    static const char *const names[] = {"immediate"};
    QueueObject *q = (QueueObject *)op;
    PyObject *in = Py_False;
    if (coir__arguments("shutdown", names, 1, args, nargs, kwnames, &in) < 0)
        return NULL;
    int immediate = PyObject_IsTrue(in);
    if (immediate < 0)
        return NULL;
    q->is_shutdown = 1;
    while (immediate) {
        Py_ssize_t n = coir__queue_size(q);
        PyObject *item = n > 0 ? coir__queue_get_item(q, 0) : NULL;
        if (n < 0 || (n > 0 && item == NULL))
            return NULL;
        if (n == 0)
            break;
        Py_DECREF(item);
        if (q->unfinished > 0)
            q->unfinished--;
    }
    if (q->unfinished == 0)
        coir__queue_wake_joiners(q);
    coir__queue_wake(q, &q->putters, 0);
    coir__queue_wake(q, &q->getters, 0);
    Py_RETURN_NONE;
}

/* --- making one ---------------------------------------------------------- */

static PyObject *
queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    static PyTypeObject *const types[] = {&simple_type, &queue_type,
                                          &priority_type, &lifo_type};
    static const enum coir_queue_name names[] = {
        NAME_QSIZE_, NAME_PUT_,    NAME_GET_, NAME_PEEK_,
        NAME_INIT_,  NAME_CREATE_, NAME_QSIZE};
    return coir__queue_make(type, types, names);
}

/* None and what is not positive mean no limit. */
static int
set_maxsize(QueueObject *q, PyObject *value)
{
    Py_ssize_t n;
    if (coir__queue_read_size(value, &n) < 0)
        return -1;
    q->maxsize = n > 0 ? n : -1;
    return 0;
}

static int
queue_set_maxsize(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    QueueObject *q = (QueueObject *)op;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete maxsize");
        return -1;
    }
    if (set_maxsize(q, value) < 0)
        return -1;
    coir__queue_wake(q, &q->putters, 0);
    return 0;
}

/* The method _init() of a subclass, without items if there are none: those of
 * the standard library's queues take none. */
static int
call_init(QueueObject *q, PyObject *items)
{
    PyObject *maxsize = coir__queue_get_maxsize((PyObject *)q, NULL);
    if (maxsize == NULL)
        return -1;
    PyObject *res = PyObject_CallMethodObjArgs(
        (PyObject *)q, coir__queue_names[NAME_INIT_], maxsize, items, NULL);
    Py_DECREF(maxsize);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* What _init() does here: the items, or none if NULL, and no others. A
 * subclass may have a container of its own for them. */
static int
fill_anew(QueueObject *q, PyObject *items)
{
    if (COIR__LIKELY(!(q->over & OVER_CREATE))) {
        PyObject *res = coir__queue_init_((PyObject *)q, NULL);
        Py_XDECREF(res);
        return res == NULL ||
                       (items != NULL && coir__queue_add_items(q, items) < 0)
                   ? -1
                   : 0;
    }
    PyObject *queue = PyObject_CallMethodOneArg(
        (PyObject *)q, coir__queue_names[NAME_CREATE_],
        items != NULL ? items : coir__core.empty_tuple);
    if (queue == NULL)
        return -1;
    coir__queue_ring_clear(q);
    Py_XSETREF(q->queue, queue);
    return 0;
}

static int
init(QueueObject *q, PyObject *maxsize, PyObject *items, PyObject *unfinished)
{
    if (set_maxsize(q, maxsize) < 0)
        return -1;
    if (q->maxsize < 0 && maxsize != NULL && PyLong_Check(maxsize) &&
        PyObject_Not(maxsize) &&
        PyErr_WarnEx(PyExc_DeprecationWarning,
                     "Queue(0) is Queue(None), a queue without a limit; "
                     "for a channel use Channel",
                     1) < 0)
        return -1;
    int has_items = items != NULL ? PyObject_IsTrue(items) : 0;
    if (has_items < 0 ||
        (q->over & OVER_INIT ? call_init(q, has_items ? items : NULL)
                             : fill_anew(q, has_items ? items : NULL)) < 0)
        return -1;
    if (!q->counts)
        return 0;
    Py_ssize_t n = 0;
    if (unfinished != NULL && unfinished != Py_None) {
        n = PyNumber_AsSsize_t(unfinished, PyExc_OverflowError);
        if (n == -1 && PyErr_Occurred())
            return -1;
    }
    if (n == 0 && has_items) {
        n = PyObject_Size(items);
        if (n < 0) { /* an iterator, used up */
            PyErr_Clear();
            n = coir__queue_size(q);
        }
    }
    q->unfinished = n;
    return n < 0 && PyErr_Occurred() ? -1 : 0;
}

static int
simple_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", "items", NULL};
    PyObject *maxsize = NULL;
    PyObject *items = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:SimpleQueue", names,
                                     &maxsize, &items))
        return -1;
    return init((QueueObject *)op, maxsize, items, NULL);
}

static int
queue_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", "items", "unfinished_tasks", NULL};
    PyObject *maxsize = NULL;
    PyObject *items = NULL;
    PyObject *unfinished = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO:Queue", names,
                                     &maxsize, &items, &unfinished))
        return -1;
    return init((QueueObject *)op, maxsize, items, unfinished);
}

/* --- the rest of a queue ------------------------------------------------- */

static Py_ssize_t
queue_length(PyObject *op)
{
    return coir__queue_size((QueueObject *)op);
}

static int
always_true(PyObject *Py_UNUSED(op))
{
    return 1;
}

static PyObject *
queue_qsize(PyObject *op, PyObject *Py_UNUSED(unused))
{
    QueueObject *q = (QueueObject *)op;
    Py_ssize_t n = q->over & OVER_QSIZE
                       ? coir__queue_call_qsize(q, NAME_QSIZE_)
                       : coir__queue_base_qsize(q);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

static PyObject *
queue_base_init(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const char *const names[] = {"maxsize", "items"};
    PyObject *in[] = {NULL, NULL};
    if (coir__arguments("_init", names, 2, args, nargs, kwnames, in) < 0)
        return NULL;
    if (in[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "_init() needs maxsize");
        return NULL;
    }
    if (fill_anew((QueueObject *)op, in[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
queue_create(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    static const char *const names[] = {"items"};
    PyObject *items = coir__core.empty_tuple;
    if (coir__arguments("_create_queue", names, 1, args, nargs, kwnames,
                        &items) < 0)
        return NULL;
    return coir__queue_create((QueueObject *)op, items);
}

static PyObject *
queue_base_peek(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__queue_base_peek((QueueObject *)op);
}

static PyObject *
queue_copy(PyObject *op, PyObject *Py_UNUSED(unused))
{
    QueueObject *q = (QueueObject *)op;
    PyObject *items = coir__queue_list(q);
    if (items == NULL)
        return NULL;
    PyObject *maxsize = coir__queue_get_maxsize(op, NULL);
    PyObject *res = NULL;
    if (maxsize != NULL && q->counts)
        res = PyObject_CallFunction((PyObject *)Py_TYPE(op), "OOn", maxsize,
                                    items, q->unfinished);
    else if (maxsize != NULL)
        res = PyObject_CallFunctionObjArgs((PyObject *)Py_TYPE(op), maxsize,
                                           items, NULL);
    Py_XDECREF(maxsize);
    Py_DECREF(items);
    return res;
}

/* " maxsize=.. queue=.." and so on. */
static PyObject *
describe(QueueObject *q, PyObject *text)
{
    if (q->maxsize >= 0)
        COIR__APPEND(text, " maxsize=%zd", q->maxsize);
    Py_ssize_t n = coir__queue_base_qsize(q);
    if (n < 0)
        PyErr_Clear();
    if (n > 0) {
        PyObject *items =
            q->queue != NULL ? Py_NewRef(q->queue) : coir__queue_list(q);
        if (items == NULL)
            Py_CLEAR(text);
        else
            COIR__APPEND(text,
                         q->queue != NULL ? " queue=%R" : " queue=deque(%R)",
                         items);
        Py_XDECREF(items);
    }
    if (q->getters.list.head != NULL)
        COIR__APPEND(text, " getters[%zd]",
                     coir__list_length(&q->getters.list));
    if (q->putters.list.head != NULL)
        COIR__APPEND(text, " putters[%zd]",
                     coir__list_length(&q->putters.list));
    if (q->unfinished > 0)
        COIR__APPEND(text, " tasks=%zd", q->unfinished);
    return text;
}

static PyObject *
format_queue(PyObject *op, int with_id)
{
    PyObject *name = PyType_GetName(Py_TYPE(op));
    if (name == NULL)
        return NULL;
    PyObject *text = with_id ? PyUnicode_FromFormat("<%U at %p", name, op)
                             : PyUnicode_FromFormat("<%U", name);
    Py_DECREF(name);
    if (text == NULL)
        return NULL;
    int inside = Py_ReprEnter(op);
    if (inside < 0) {
        Py_DECREF(text);
        return NULL;
    }
    if (inside) {
        COIR__APPEND(text, " ...");
    }
    else {
        text = describe((QueueObject *)op, text);
        Py_ReprLeave(op);
    }
    COIR__APPEND(text, ">");
    return text;
}

static PyObject *
queue_repr(PyObject *op)
{
    return format_queue(op, 1);
}

static PyObject *
queue_str(PyObject *op)
{
    return format_queue(op, 0);
}

static PyObject *
get_is_shutdown(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((QueueObject *)op)->is_shutdown);
}

/* --- types --------------------------------------------------------------- */

#define FAST(func) ((PyCFunction)(void (*)(void))(func))

COIR__DEFINE_ONE(queue_put_nowait, "put_nowait", "item")
COIR__DEFINE_ONE(coir__queue_put_, "_put", "item")

static PyMethodDef simple_methods[] = {
    {"get", FAST(queue_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, block=True, timeout=None)\n--\n\n"
     "Take the next item. If there is none, wait for one, at most `timeout`\n"
     "seconds; or, if not `block`, do not wait: then Empty is raised. In the\n"
     "hub it never waits. ShutDown is raised once no item can come any more."},
    {"get_nowait", queue_get_nowait, METH_NOARGS,
     "get_nowait($self)\n--\n\nget(False)."},
    {"put", FAST(queue_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, item, block=True, timeout=None)\n--\n\n"
     "Add an item. If the queue is full, wait for a free place, at most\n"
     "`timeout` seconds; or, if not `block`, do not wait: then Full is "
     "raised\n"
     "and the item is not in the queue. In the hub it never waits. ShutDown\n"
     "is raised if the queue was shut down."},
    {"put_nowait", COIR__ONE(queue_put_nowait),
     "put_nowait($self, item)\n--\n\nput(item, False)."},
    {"peek", FAST(queue_peek), METH_FASTCALL | METH_KEYWORDS,
     "peek($self, block=True, timeout=None)\n--\n\n"
     "The item that get() would take, which stays in the queue."},
    {"peek_nowait", queue_peek_nowait, METH_NOARGS,
     "peek_nowait($self)\n--\n\npeek(False)."},
    {"qsize", queue_qsize, METH_NOARGS,
     "qsize($self)\n--\n\nHow many items are in the queue."},
    {"empty", coir__queue_empty, METH_NOARGS,
     "empty($self)\n--\n\nWhether there is no item."},
    {"full", coir__queue_full, METH_NOARGS,
     "full($self)\n--\n\nWhether put() would have to wait."},
    {"copy", queue_copy, METH_NOARGS,
     "copy($self)\n--\n\nA queue of the same type with the same items."},
    {"_init", FAST(queue_base_init), METH_FASTCALL | METH_KEYWORDS,
     "_init($self, maxsize, items=())\n--\n\n"
     "Start with these items; may be overridden."},
    {"_create_queue", FAST(queue_create), METH_FASTCALL | METH_KEYWORDS,
     "_create_queue($self, items=())\n--\n\n"
     "What is to hold these items; may be overridden."},
    {"_qsize", coir__queue_qsize_, METH_NOARGS,
     "_qsize($self)\n--\n\nHow many items; may be overridden."},
    {"_put", COIR__ONE(coir__queue_put_),
     "_put($self, item)\n--\n\nAdd an item; may be overridden."},
    {"_get", coir__queue_get_, METH_NOARGS,
     "_get($self)\n--\n\nTake the next item; may be overridden."},
    {"_peek", queue_base_peek, METH_NOARGS,
     "_peek($self)\n--\n\nThe next item; may be overridden."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "For annotations: SimpleQueue[int]."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef queue_methods[] = {
    {"task_done", coir__queue_task_done, METH_NOARGS,
     "task_done($self)\n--\n\n"
     "One item that was taken has been dealt with. ValueError if there was\n"
     "none."},
    {"join", FAST(queue_join), METH_FASTCALL | METH_KEYWORDS,
     "join($self, timeout=None)\n--\n\n"
     "Wait until all items that were put have been dealt with, as\n"
     "task_done() counts them; at most `timeout` seconds. False if the time\n"
     "was over first."},
    {"shutdown", FAST(queue_shutdown), METH_FASTCALL | METH_KEYWORDS,
     "shutdown($self, immediate=False)\n--\n\n"
     "From now on put() raises ShutDown, and so does get() once the queue is\n"
     "empty; those who wait do so, too. If `immediate`, the items are "
     "dropped\n"
     "and count as dealt with."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef simple_getset[] = {
    {"maxsize", coir__queue_get_maxsize, queue_set_maxsize,
     "How many items there may be; None for no limit.", NULL},
    {"queue", coir__queue_get_queue, coir__queue_set_queue,
     "What holds the items.", NULL},
    {"hub", coir__queue_get_hub, NULL, "This thread's hub.", NULL},
    {"is_shutdown", get_is_shutdown, NULL, "Whether shutdown() was called.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"unfinished_tasks", coir__queue_get_unfinished, NULL,
     "How many items were put, but not dealt with.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyNumberMethods queue_number = {.nb_bool = always_true};
static PySequenceMethods queue_sequence = {.sq_length = queue_length};

static PyTypeObject simple_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.queue.SimpleQueue",
    .tp_basicsize = sizeof(QueueObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "SimpleQueue(maxsize=None, items=())\n--\n\n"
              "First in, first out, between greenlets and threads. Without a\n"
              "limit if `maxsize` is None or not positive. Iterating takes\n"
              "items until one is the class StopIteration.",
    .tp_new = queue_new,
    .tp_init = simple_init,
    .tp_dealloc = coir__queue_dealloc,
    .tp_traverse = coir__queue_traverse,
    .tp_clear = coir__queue_clear,
    .tp_repr = queue_repr,
    .tp_str = queue_str,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = queue_next,
    .tp_as_number = &queue_number,
    .tp_as_sequence = &queue_sequence,
    .tp_methods = simple_methods,
    .tp_getset = simple_getset,
    .tp_weaklistoffset = offsetof(QueueObject, weakreflist),
};

static PyTypeObject queue_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.queue.Queue",
    .tp_basicsize = sizeof(QueueObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "Queue(maxsize=None, items=(), unfinished_tasks=None)\n--\n\n"
              "A SimpleQueue that can be shut down, and that counts items\n"
              "until task_done() says that they have been dealt with. If\n"
              "`unfinished_tasks` is not given, it is the number of items.",
    .tp_base = &simple_type,
    .tp_init = queue_init,
    .tp_methods = queue_methods,
    .tp_getset = queue_getset,
};

static PyTypeObject lifo_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.queue.LifoQueue",
    .tp_basicsize = sizeof(QueueObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "A Queue whose last item is the first to be taken.",
    .tp_base = &queue_type,
};

static PyTypeObject priority_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.queue.PriorityQueue",
    .tp_basicsize = sizeof(QueueObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "A Queue whose lowest item is the first to be taken; items are\n"
              "mostly tuples (priority, value).",
    .tp_base = &queue_type,
};

int
coir__queue_types_init(PyObject *module)
{
    if (coir__queue_items_init() < 0 || PyType_Ready(&simple_type) < 0 ||
        PyType_Ready(&queue_type) < 0 || PyType_Ready(&lifo_type) < 0 ||
        PyType_Ready(&priority_type) < 0)
        return -1;
#if PY_VERSION_HEX < 0x030D0000
    /* Later ones have it in the standard library. */
    if (coir__exc_shutdown == NULL)
        coir__exc_shutdown =
            PyErr_NewExceptionWithDoc("coir.gevent.queue.ShutDown",
                                      "The queue was shut down.", NULL, NULL);
    if (coir__exc_shutdown == NULL ||
        PyModule_AddObjectRef(module, "ShutDown", coir__exc_shutdown) < 0)
        return -1;
#endif
    if (PyModule_AddObjectRef(module, "SimpleQueue",
                              (PyObject *)&simple_type) < 0 ||
        PyModule_AddObjectRef(module, "Queue", (PyObject *)&queue_type) < 0 ||
        PyModule_AddObjectRef(module, "LifoQueue", (PyObject *)&lifo_type) <
            0 ||
        PyModule_AddObjectRef(module, "PriorityQueue",
                              (PyObject *)&priority_type) < 0)
        return -1;
    return coir__channel_types_init(module);
}
