/* queueitems.c - what holds the items of a queue.
 *
 * First-in-first-out queues keep items in a ring of our own until somebody
 * asks for the attribute `queue`: then in a deque, to which changes may be
 * made behind our back. The others have a list from the start.
 *
 * Subclasses may override qsize, _qsize, _put, _get, _peek, _init and
 * _create_queue, as those of the standard library's queues and gevent's do;
 * which ones is looked up once per object. */
#include "queue.h"

PyObject *coir__queue_names[QUEUE_NAMES];

/* Strong, and never released. */
static PyObject *heappush, *heappop, *heapify, *deque;
static PyObject *str_append, *str_popleft, *str_extend, *str_pop;

static int
load(PyObject **to, const char *module, const char *name)
{
    if (*to != NULL)
        return 0;
    PyObject *m = PyImport_ImportModule(module);
    PyObject *value = m != NULL ? PyObject_GetAttrString(m, name) : NULL;
    Py_XDECREF(m);
    Py_XSETREF(*to, value);
    return value != NULL ? 0 : -1;
}

int
coir__queue_items_load(void)
{
    if (deque != NULL)
        return 0;
    if (load(&heappush, "heapq", "heappush") < 0 ||
        load(&heappop, "heapq", "heappop") < 0 ||
        load(&heapify, "heapq", "heapify") < 0)
        return -1;
    return load(&deque, "collections", "deque");
}

int
coir__queue_items_init(void)
{
    static PyObject **const to[] = {&str_append, &str_popleft, &str_extend,
                                    &str_pop};
    static const char *const names[] = {
        "_qsize",        "_put",    "_get",   "_peek", "_init",
        "_create_queue", "qsize",   "put",    "get",   "peek",
        "append",        "popleft", "extend", "pop",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        PyObject **name =
            i < QUEUE_NAMES ? &coir__queue_names[i] : to[i - QUEUE_NAMES];
        if (*name == NULL)
            *name = PyUnicode_InternFromString(names[i]);
        if (*name == NULL)
            return -1;
    }
    return 0;
}

/* --- the ring ------------------------------------------------------------ */

static int
ring_put(QueueObject *q, PyObject *item)
{
    if (q->count == q->cap) {
        size_t cap = q->cap > 0 ? 2 * q->cap : 8;
        PyObject **ring = PyMem_New(PyObject *, cap);
        if (ring == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (size_t i = 0; i < q->count; i++)
            ring[i] = q->ring[(q->head + i) & (q->cap - 1)];
        PyMem_Free(q->ring);
        q->ring = ring;
        q->cap = cap;
        q->head = 0;
    }
    q->ring[(q->head + q->count++) & (q->cap - 1)] = Py_NewRef(item);
    return 0;
}

static PyObject *
ring_get(QueueObject *q)
{
    PyObject *item = q->ring[q->head];
    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    return item;
}

void
coir__queue_ring_clear(QueueObject *q)
{
    while (q->count > 0)
        Py_DECREF(ring_get(q));
}

PyObject *
coir__queue_list(const QueueObject *q)
{
    if (q->queue != NULL)
        return PySequence_List(q->queue);
    PyObject *list = PyList_New((Py_ssize_t)q->count);
    for (size_t i = 0; list != NULL && i < q->count; i++)
        PyList_SET_ITEM(list, (Py_ssize_t)i,
                        Py_NewRef(q->ring[(q->head + i) & (q->cap - 1)]));
    return list;
}

int
coir__queue_use_deque(QueueObject *q)
{
    PyObject *list = coir__queue_list(q);
    if (list == NULL)
        return -1;
    PyObject *items = PyObject_CallOneArg(deque, list);
    Py_DECREF(list);
    if (items == NULL)
        return -1;
    Py_XSETREF(q->queue, items);
    coir__queue_ring_clear(q); /* runs nothing: the deque has them */
    return 0;
}

/* --- what may be overridden ---------------------------------------------- */

Py_ssize_t
coir__queue_base_qsize(const QueueObject *q)
{
    return q->queue == NULL ? (Py_ssize_t)q->count : PyObject_Size(q->queue);
}

int
coir__queue_base_put(QueueObject *q, PyObject *item)
{
    if (q->queue == NULL) {
        if (ring_put(q, item) < 0)
            return -1;
    }
    else {
        PyObject *args[] = {q->queue, item};
        PyObject *res =
            q->kind == PRIORITY
                ? PyObject_Vectorcall(heappush, args, 2, NULL)
                : PyObject_VectorcallMethod(str_append, args, 2, NULL);
        if (res == NULL)
            return -1;
        Py_DECREF(res);
    }
    if (q->counts)
        q->unfinished++;
    return 0;
}

PyObject *
coir__queue_base_get(QueueObject *q)
{
    if (q->queue != NULL) {
        if (q->kind == PRIORITY)
            return PyObject_CallOneArg(heappop, q->queue);
        return PyObject_CallMethodNoArgs(
            q->queue, q->kind == LIFO ? str_pop : str_popleft);
    }
    if (q->count == 0) {
        PyErr_SetString(PyExc_IndexError, "pop from an empty queue");
        return NULL;
    }
    return ring_get(q);
}

PyObject *
coir__queue_base_peek(const QueueObject *q)
{
    if (q->queue != NULL)
        return PySequence_GetItem(q->queue, q->kind == LIFO ? -1 : 0);
    if (q->count == 0) {
        PyErr_SetString(PyExc_IndexError, "peek into an empty queue");
        return NULL;
    }
    return Py_NewRef(q->ring[q->head]);
}

Py_ssize_t
coir__queue_call_qsize(QueueObject *q, enum coir_queue_name name)
{
    PyObject *res =
        PyObject_CallMethodNoArgs((PyObject *)q, coir__queue_names[name]);
    if (res == NULL)
        return -1;
    Py_ssize_t n = PyNumber_AsSsize_t(res, PyExc_OverflowError);
    Py_DECREF(res);
    return n < 0 && !PyErr_Occurred() ? 0 : n;
}

int
coir__queue_put_item(QueueObject *q, PyObject *item)
{
    if (COIR__LIKELY(!(q->over & OVER_PUT)))
        return coir__queue_base_put(q, item);
    PyObject *res = PyObject_CallMethodOneArg(
        (PyObject *)q, coir__queue_names[NAME_PUT_], item);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

PyObject *
coir__queue_get_item(QueueObject *q, int peek)
{
    if (COIR__UNLIKELY(q->over & (peek ? OVER_PEEK : OVER_GET)))
        return PyObject_CallMethodNoArgs(
            (PyObject *)q, coir__queue_names[peek ? NAME_PEEK_ : NAME_GET_]);
    return peek ? coir__queue_base_peek(q) : coir__queue_base_get(q);
}

PyObject *
coir__queue_create(const QueueObject *q, PyObject *items)
{
    if (q->kind == FIFO)
        return PyObject_CallOneArg(deque, items);
    PyObject *list = PySequence_List(items);
    PyObject *res = list != NULL && q->kind == PRIORITY
                        ? PyObject_CallOneArg(heapify, list)
                        : Py_XNewRef(list);
    if (res == NULL)
        Py_CLEAR(list);
    Py_XDECREF(res);
    return list;
}

int
coir__queue_add_items(QueueObject *q, PyObject *items)
{
    if (q->queue != NULL) {
        PyObject *res = PyObject_CallMethodOneArg(q->queue, str_extend, items);
        if (res != NULL && q->kind == PRIORITY)
            Py_SETREF(res, PyObject_CallOneArg(heapify, q->queue));
        Py_XDECREF(res);
        return res != NULL ? 0 : -1;
    }
    PyObject *it = PyObject_GetIter(items);
    if (it == NULL)
        return -1;
    PyObject *item;
    while ((item = PyIter_Next(it)) != NULL) {
        int err = ring_put(q, item);
        Py_DECREF(item);
        if (err < 0)
            break;
    }
    Py_DECREF(it);
    return PyErr_Occurred() ? -1 : 0;
}
