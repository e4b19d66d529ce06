/* queuebase.c - what the queues of gevent.queue and of eventlet.queue have in
 * common: standing in line, and what does not depend on how they wait.
 *
 * An item stays in the queue until the greenlet that gets it runs. put() wakes
 * as many waiting getters as there are items, but hands nothing over: a getter
 * that is woken looks again, and if somebody was faster it waits on, at the
 * head of the line. So whoever is killed, or has no more patience, between
 * being woken and running takes nothing with it; it only has to pass its turn
 * on. The same holds for putters and free places. `woken` counts those who
 * were woken and did not run yet, so that nobody is woken in vain.
 *
 * What holds the items is in queueitems.c. */
#include "queue.h"

#define SELF ((QueueObject *)op)

/* --- whose turn it is ---------------------------------------------------- */

/* Of size zero are eventlet's channels only: as many places as getters. */
Py_ssize_t
coir__queue_room(const QueueObject *q, Py_ssize_t n, Py_ssize_t more)
{
    if (q->maxsize < 0)
        return PY_SSIZE_T_MAX;
    if (q->maxsize > 0)
        return q->maxsize - n;
    return coir__queue_standing(&q->getters) + more - n;
}

/* How many items are there; keeps a pending exception. */
static Py_ssize_t
size_in_any_case(QueueObject *q)
{
    if (COIR__LIKELY(q->queue == NULL &&
                     !(q->over & (OVER_QSIZE | OVER_SIZE))))
        return (Py_ssize_t)q->count; /* runs no code */
    PyObject *exc = coir__error_take();
    Py_ssize_t n = coir__queue_size(q);
    if (n < 0) {
        PyErr_WriteUnraisable((PyObject *)q);
        n = 0;
    }
    coir__error_give(exc);
    return n;
}

void
coir__queue_wake_some(QueueObject *q, coir_line *l, Py_ssize_t more)
{
    Py_ssize_t n = size_in_any_case(q);
    if (l == &q->putters)
        n = coir__queue_room(q, n, more);
    while (l->list.head != NULL && (l->woken < n || q->is_shutdown))
        coir__queue_wake_first(l, NULL);
}

int
coir__queue_wait(QueueObject *q, coir_line *l, coir_patience *p,
                 const char *what, const char *func)
{
    int how;
    PyObject *value =
        coir__patience_wait(p, &l->list, (PyObject *)q, what, func, &how);
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
        coir__queue_wake(q, l, 0);
    }
    return -1;
}

void
coir__queue_wake_joiners(QueueObject *q)
{
    while (q->joiners.head != NULL)
        coir__wake(coir__wait_of(q->joiners.head), NULL);
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
set_overridden(QueueObject *q, PyTypeObject *type, PyTypeObject *base,
               const enum coir_queue_name *names)
{
    for (int i = 0; i < COIR__QUEUE_OVER; i++) {
        if (names[i] == QUEUE_NAMES)
            continue;
        int over = overrides(type, base, coir__queue_names[names[i]]);
        if (over < 0)
            return -1;
        q->over = (uint8_t)(q->over | over << i);
    }
    return 0;
}

PyObject *
coir__queue_make(PyTypeObject *type, PyTypeObject *const *types,
                 const enum coir_queue_name *names)
{
    static const uint8_t kinds[] = {FIFO, FIFO, PRIORITY, LIFO};
    if (coir__queue_load() < 0 || coir__queue_items_load() < 0)
        return NULL;
    int i = 3;
    while (i > 0 && !PyType_IsSubtype(type, types[i]))
        i--;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL)
        return NULL;
    SELF->kind = kinds[i];
    SELF->counts = i > 0;
    SELF->maxsize = -1;
    if (SELF->kind != FIFO)
        SELF->queue = PyList_New(0);
    if ((SELF->kind != FIFO && SELF->queue == NULL) ||
        (type != types[i] && set_overridden(SELF, type, types[i], names) < 0))
        Py_CLEAR(op);
    return op;
}

int
coir__queue_read_size(PyObject *value, Py_ssize_t *n)
{
    *n = -1;
    if (value != NULL && value != Py_None)
        *n = PyNumber_AsSsize_t(value, NULL);
    return *n == -1 && PyErr_Occurred() ? -1 : 0;
}

int
coir__queue_traverse(PyObject *op, visitproc visit, void *arg)
{
    for (size_t i = 0; i < SELF->count; i++)
        Py_VISIT(SELF->ring[(SELF->head + i) & (SELF->cap - 1)]);
    Py_VISIT(SELF->queue);
    Py_VISIT(SELF->dict);
    int err = coir__list_traverse(&SELF->getters.list, visit, arg);
    if (err == 0)
        err = coir__list_traverse(&SELF->putters.list, visit, arg);
    return err == 0 ? coir__list_traverse(&SELF->joiners, visit, arg) : err;
}

int
coir__queue_clear(PyObject *op)
{
    coir__queue_ring_clear(SELF);
    Py_CLEAR(SELF->queue);
    Py_CLEAR(SELF->dict);
    return 0;
}

void
coir__queue_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)coir__queue_clear(op);
    PyMem_Free(SELF->ring);
    Py_TYPE(op)->tp_free(op);
}

/* --- methods ------------------------------------------------------------- */

PyObject *
coir__queue_empty(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_ssize_t n = coir__queue_size(SELF);
    return n < 0 ? NULL : PyBool_FromLong(n == 0);
}

PyObject *
coir__queue_full(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_ssize_t n = coir__queue_size(SELF);
    return n < 0 ? NULL
                 : PyBool_FromLong(SELF->maxsize >= 0 && n >= SELF->maxsize);
}

PyObject *
coir__queue_task_done(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (--SELF->unfinished == 0)
        coir__queue_wake_joiners(SELF);
    Py_RETURN_NONE;
}

PyObject *
coir__queue_init_(PyObject *op, PyObject *Py_UNUSED(maxsize))
{
    PyObject *fresh = NULL;
    if (SELF->kind != FIFO && (fresh = PyList_New(0)) == NULL)
        return NULL;
    coir__queue_ring_clear(SELF);
    Py_XSETREF(SELF->queue, fresh);
    Py_RETURN_NONE;
}

PyObject *
coir__queue_qsize_(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_ssize_t n = coir__queue_base_qsize(SELF);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

PyObject *
coir__queue_put_(PyObject *op, PyObject *item)
{
    return coir__queue_base_put(SELF, item) == 0 ? Py_NewRef(Py_None) : NULL;
}

PyObject *
coir__queue_get_(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__queue_base_get(SELF);
}

/* --- attributes ---------------------------------------------------------- */

PyObject *
coir__queue_get_maxsize(PyObject *op, void *Py_UNUSED(closure))
{
    return SELF->maxsize < 0 ? Py_NewRef(Py_None)
                             : PyLong_FromSsize_t(SELF->maxsize);
}

PyObject *
coir__queue_get_queue(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->queue == NULL && coir__queue_use_deque(SELF) < 0)
        return NULL;
    return Py_NewRef(SELF->queue);
}

int
coir__queue_set_queue(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete queue");
        return -1;
    }
    Py_XSETREF(SELF->queue, Py_NewRef(value));
    coir__queue_ring_clear(SELF);
    return 0;
}

PyObject *
coir__queue_get_unfinished(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(SELF->unfinished);
}
