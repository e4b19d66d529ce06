/* evhub.c - what eventlet's hub tells of its timers.
 *
 * There, whatever is to happen is a timer in a heap: a sleep, a Timeout, a
 * green thread that is to start, a greenlet that was woken. Here these are
 * things of several kinds, found where they stand. A timer of eventlet's that
 * is cancelled stays in the heap until its time comes, unless it has not got
 * there yet, or until most of a large heap is cancelled ones. Here it is gone
 * at once, and only noted: how many there would be is all there is to know. */
#include "ev.h"
#include "timeout.h"

/* Those that were cancelled. */
typedef struct {
    int64_t due_ns;
    uint64_t stamp; /* of the turn that drops it; 0: it waits for its time */
} canceled;

struct coir_ev_canceled {
    int count, cap;
    canceled *all;
};

/* Fewer are never too many. */
#define FEW 1000

uint64_t
coir__ev_stamp(const LoopObject *loop)
{
    return ((uint64_t)coir_loop_iteration(loop->loop) << 32) + loop->batch + 1;
}

static void
prune(HubObject *hub)
{
    struct coir_ev_canceled *c = hub->canceled;
    int64_t now = coir_clock_monotonic();
    uint64_t stamp = coir__ev_stamp(hub->loop);
    int kept = 0;
    for (int i = 0; i < c->count; i++)
        if (c->all[i].due_ns > now &&
            (c->all[i].stamp == 0 || c->all[i].stamp == stamp))
            c->all[kept++] = c->all[i];
    c->count = kept;
}

static int
grow(struct coir_ev_canceled *c)
{
    int cap = c->cap > 0 ? 2 * c->cap : 64;
    canceled *all = PyMem_Realloc(c->all, (size_t)cap * sizeof *all);
    if (all == NULL)
        return -1;
    c->all = all;
    c->cap = cap;
    return 0;
}

void
coir__ev_note_canceled(HubObject *hub, int64_t due_ns, uint64_t scheduled)
{
    if (hub->loop == NULL || hub->loop->loop == NULL)
        return;
    if (hub->canceled == NULL)
        hub->canceled = PyMem_Calloc(1, sizeof *hub->canceled);
    struct coir_ev_canceled *c = hub->canceled;
    if (c == NULL)
        return; /* it is not counted */
    if (c->count == c->cap) {
        prune(hub);
        if (c->count * 2 >= c->cap && grow(c) < 0)
            c->count = 0;
        if (c->cap == 0)
            return;
    }
    uint64_t stamp = coir__ev_stamp(hub->loop);
    c->all[c->count].due_ns = due_ns;
    c->all[c->count++].stamp = stamp == scheduled ? stamp : 0;
    if (c->count >= FEW / 2) {
        int all = coir_loop_active_count(hub->loop->loop) + c->count;
        if (all > FEW && c->count * 2 >= all)
            c->count = 0;
    }
}

void
coir__ev_forget_canceled(HubObject *hub)
{
    if (hub->canceled != NULL) {
        PyMem_Free(hub->canceled->all);
        PyMem_Free(hub->canceled);
        hub->canceled = NULL;
    }
}

/* --- functions ----------------------------------------------------------- */

/* This thread's hub, borrowed, if it has a loop. NULL without an exception. */
static HubObject *
hub_if_any(void)
{
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_if_any(t) : NULL;
    return hub != NULL && hub->loop->loop != NULL ? hub : NULL;
}

static PyObject *
ev_stamp(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    const HubObject *hub = hub_if_any();
    if (hub == NULL && PyErr_Occurred())
        return NULL;
    return PyLong_FromUnsignedLongLong(hub != NULL ? coir__ev_stamp(hub->loop)
                                                   : 0);
}

static PyObject *
ev_note_canceled(PyObject *Py_UNUSED(module), PyObject *args)
{
    double seconds;
    unsigned long long scheduled;
    if (!PyArg_ParseTuple(args, "dK:ev_note_canceled", &seconds, &scheduled))
        return NULL;
    HubObject *hub = hub_if_any();
    if (hub != NULL)
        coir__ev_note_canceled(
            hub, coir_clock_monotonic() + coir__seconds_to_ns(seconds),
            scheduled);
    else if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
ev_count_canceled(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    HubObject *hub = hub_if_any();
    if (hub == NULL && PyErr_Occurred())
        return NULL;
    if (hub == NULL || hub->canceled == NULL)
        return PyLong_FromLong(0);
    prune(hub);
    return PyLong_FromLong(hub->canceled->count);
}

static PyObject *
ev_forget_canceled(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    HubObject *hub = hub_if_any();
    if (hub == NULL && PyErr_Occurred())
        return NULL;
    if (hub != NULL)
        coir__ev_forget_canceled(hub);
    Py_RETURN_NONE;
}

/* Append (seconds from now, object, what is raised there or None). */
static int
add(PyObject *list, int64_t ns, PyObject *op, PyObject *throws)
{
    PyObject *item = Py_BuildValue("(dOO)", (double)ns / 1e9, op, throws);
    int err = item != NULL ? PyList_Append(list, item) : -1;
    Py_XDECREF(item);
    return err;
}

static int
add_wait(PyObject *list, const coir_block *b, const LoopObject *loop)
{
    const coir_wait *w = b->wait;
    if (w == NULL || !w->is_waiting || w->loop != loop)
        return 0;
    if (coir_is_active(&w->timer))
        return add(list, coir_timer_remaining(loop->loop, &w->timer),
                   (PyObject *)b->self, Py_None);
    if (w->woken != COIR_WOKEN_WAITS)
        return add(list, 0, (PyObject *)b->self, Py_None);
    return 0;
}

static PyObject *
ev_pending(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    const coir_pythread *t = coir__pythread_get();
    const HubObject *hub = hub_if_any();
    PyObject *list = t != NULL ? PyList_New(0) : NULL;
    if (list == NULL || hub == NULL)
        return list;
    const LoopObject *loop = hub->loop;
    coir_loop_now_update(loop->loop);
    int err = add_wait(list, t->main->block, loop);
    const coir_block *b = t->live;
    for (int more = b != NULL; more && err == 0; more = b != t->live) {
        err = add_wait(list, b, loop);
        b = b->next;
    }
    for (coir_node *n = loop->timeouts.head; n != NULL && err == 0;
         n = n->next) {
        TimeoutObject *timeout =
            (TimeoutObject *)((char *)n - offsetof(TimeoutObject, node));
        int64_t left = coir_is_active(&timeout->timer)
                           ? coir_timer_remaining(loop->loop, &timeout->timer)
                           : 0;
        err = add(list, left, (PyObject *)timeout->green, (PyObject *)timeout);
    }
    for (coir_node *n = loop->ready.head; n != NULL && err == 0; n = n->next) {
        SpawnObject *s = coir__evthread_of((coir_ready *)n);
        if (s != NULL)
            err = add(list, 0, (PyObject *)s, Py_None);
    }
    if (err < 0)
        Py_CLEAR(list);
    return list;
}

static PyMethodDef functions[] = {
    {"ev_stamp", ev_stamp, METH_NOARGS,
     "ev_stamp($module)\n--\n\n"
     "A number for the present turn of this thread's hub: another one when\n"
     "anything has run meanwhile."},
    {"ev_note_canceled", ev_note_canceled, METH_VARARGS,
     "ev_note_canceled($module, seconds, stamp, /)\n--\n\n"
     "A timer was cancelled so long before its time, that was scheduled at\n"
     "that ev_stamp()."},
    {"ev_count_canceled", ev_count_canceled, METH_NOARGS,
     "ev_count_canceled($module)\n--\n\n"
     "How many cancelled timers eventlet's hub would still have."},
    {"ev_forget_canceled", ev_forget_canceled, METH_NOARGS,
     "ev_forget_canceled($module)\n--\n\nCount them no more."},
    {"ev_pending", ev_pending, METH_NOARGS,
     "ev_pending($module)\n--\n\n"
     "(seconds, greenlet, timeout or None) of all that is to happen in this\n"
     "thread, but for callbacks: who is to go on or start, or is to be\n"
     "raised a Timeout in, and when."},
    {NULL, NULL, 0, NULL},
};

int
coir__evhub_types_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
