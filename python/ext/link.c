/* link.c - objects to wait for and to link to: what events, results and locks
 * have in common.
 *
 * Three lists make one queue, in the order of their numbers:
 * - greenlets that wait;
 * - threads that wait as a whole: they have no hub, hence no other greenlets,
 *   and one need not be made only for a lock;
 * - links, functions to be called. One stands in the ready queue of the loop
 *   of the thread that linked it from the time when the object becomes ready
 *   until it is called, and is unlinked then. Meanwhile it keeps the object
 *   alive, and can still be unlinked.
 *
 * The child of a fork has one thread: those that waited as a whole are left
 * out there, and so is what was counted as woken. */
#include "link.h"

#include <pthread.h>

/* The memory of a thread that waits; not on its stack, which goes away if the
 * interpreter ends it in there. */
typedef struct {
    coir_node node;
    PyThread_type_lock lock; /* released to wake it */
    unsigned forks;
    int number;
    uint8_t woken; /* enum coir_link_wake, 0: not yet */
    uint8_t again; /* it is to be given what comes next */
} blocked_thread;

typedef struct {
    coir_node node;
    coir_node in_loop; /* in loop->links while it stands in `ready` there */
    coir_ready ready;
    LinkableObject *owner; /* borrowed; strong while it is queued */
    LoopObject *loop;      /* strong, or NULL: linked where there is no hub */
    PyObject *callback;    /* strong */
    int number;
    uint8_t queued; /* enum */
} link_entry;

enum { LINK_IDLE, LINK_QUEUED, LINK_ASK, LINK_NOW };

static unsigned forks;

static void
forked(void)
{
    forks++;
}

/* --- who is first -------------------------------------------------------- */

#define OWNER(type, member, n) ((type *)((char *)(n)-offsetof(type, member)))

/* Numbers have 31 bits, and wrap around. */
static inline int
is_before(int a, int b)
{
    return (int)(((unsigned)a - (unsigned)b) << 1) < 0;
}

static inline blocked_thread *
first_thread(LinkableObject *self)
{
    while (self->threads.head != NULL) {
        blocked_thread *b = OWNER(blocked_thread, node, self->threads.head);
        if (COIR__LIKELY(b->forks == forks))
            return b;
        coir__list_remove(&b->node); /* it is not there in this process */
    }
    return NULL;
}

static void
wake_thread(LinkableObject *self, blocked_thread *b, int how)
{
    coir__list_remove(&b->node);
    b->woken = (uint8_t)how;
    self->woken++;
    PyThread_release_lock(b->lock);
}

static void
wake_greenlet(LinkableObject *self, coir_wait *w, int how)
{
    self->woken++;
    coir__wake(w, how == COIR_LINK_GIVEN ? Py_NewRef(Py_True) : NULL);
}

void
coir__linkable_check_fork(LinkableObject *self)
{
    if (COIR__UNLIKELY(self->forks != forks)) {
        self->forks = forks;
        self->woken = 0;
    }
}

int
coir__linkable_give(LinkableObject *self)
{
    coir_node *n = self->waiters.head;
    coir_wait *w = n != NULL ? coir__wait_of(n) : NULL;
    blocked_thread *b = first_thread(self);
    if (b != NULL && w != NULL) {
        if (is_before(b->number, w->tag))
            w = NULL;
        else
            b = NULL;
    }
    if (w != NULL && w->again)
        wake_greenlet(self, w, COIR_LINK_GIVEN);
    else if (b != NULL && b->again)
        wake_thread(self, b, COIR_LINK_GIVEN);
    else
        return 0;
    return 1;
}

/* --- links --------------------------------------------------------------- */

static void
link_free(link_entry *k)
{
    LoopObject *loop = k->loop;
    PyObject *callback = k->callback;
    PyMem_Free(k);
    Py_XDECREF(loop);
    Py_DECREF(callback);
}

/* It is not to be called. Returns whether it held its owner. */
static int
link_dequeue(link_entry *k)
{
    int held = k->queued == LINK_QUEUED || k->queued == LINK_ASK;
    coir__list_remove(&k->in_loop);
    coir__list_remove(&k->ready.node);
    k->queued = LINK_IDLE;
    return held;
}

void
coir__linkable_drop_node(coir_node *n)
{
    link_entry *k = OWNER(link_entry, in_loop, n);
    if (link_dequeue(k))
        Py_DECREF(k->owner);
}

/* Unlink it, if it is to be called still, and call it. */
static void
link_call(link_entry *k, LoopObject *loop)
{
    LinkableObject *self = k->owner;
    k->queued = LINK_IDLE;
    if (self->calls_if_ready && !self->is_ready(self))
        return; /* next time */
    PyObject *callback = Py_NewRef(k->callback);
    coir__list_remove(&k->node);
    self->unlinked++;
    link_free(k);
    PyObject *res = PyObject_CallOneArg(callback, (PyObject *)self);
    if (res == NULL) {
        PyObject *exc = coir__error_take();
        PyObject *context = PyTuple_Pack(2, callback, (PyObject *)self);
        PyErr_Clear();
        coir__error_give(exc);
        if (loop != NULL)
            coir__loop_error(loop, context);
        else
            PyErr_WriteUnraisable(callback);
        Py_XDECREF(context);
    }
    Py_XDECREF(res);
    Py_DECREF(callback);
}

static void
run_link(coir_ready *r, LoopObject *loop)
{
    link_entry *k = OWNER(link_entry, ready, r);
    LinkableObject *self = k->owner;
    coir__list_remove(&k->in_loop);
    link_call(k, loop);
    Py_DECREF(self);
}

static void
drop_link(coir_ready *r)
{
    coir__linkable_drop_node(&OWNER(link_entry, ready, r)->in_loop);
}

static const coir_ready_kind link_kind = {run_link, drop_link, NULL};

/* The loop of this thread's hub, borrowed, or NULL. */
static LoopObject *
own_loop(void)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL) {
        PyErr_Clear();
        return NULL;
    }
    HubObject *hub = coir__hub_if_any(t);
    return hub != NULL ? hub->loop : NULL;
}

static int
is_alive(const LoopObject *loop)
{
    return loop != NULL && loop->loop != NULL && !loop->destroyed;
}

/* Have it called by its hub; or by this thread's, if that is gone; or, if
 * there is none, at once. Whether there is more to do, by call_those_now(). */
static int
link_queue(link_entry *k)
{
    if (k->queued != LINK_IDLE)
        return 0;
    if (!is_alive(k->loop)) {
        LoopObject *loop = own_loop();
        Py_XSETREF(k->loop, (LoopObject *)Py_XNewRef((PyObject *)loop));
        if (loop == NULL) {
            k->queued = LINK_NOW;
            return 1;
        }
    }
    Py_INCREF(k->owner);
    coir__list_append(&k->loop->links, &k->in_loop);
    if (COIR__UNLIKELY(k->loop->stand_in != NULL)) {
        k->queued = LINK_ASK;
        coir__list_append(&k->loop->held, &k->ready.node);
        return 1;
    }
    k->queued = LINK_QUEUED;
    coir__loop_ready(k->loop, &k->ready);
    return 0;
}

static void
call_those_now(LinkableObject *self)
{
    Py_INCREF(self);
    coir_node *n = self->links.head;
    while (n != NULL) {
        link_entry *k = OWNER(link_entry, node, n);
        if (k->queued == LINK_ASK) {
            k->queued = LINK_QUEUED;
            coir__standin_ask(k->loop);
        }
        else if (k->queued == LINK_NOW) {
            link_call(k, NULL);
        }
        else {
            n = n->next;
            continue;
        }
        n = self->links.head; /* any may have gone */
    }
    Py_DECREF(self);
}

void
coir__linkable_notify(LinkableObject *self, int count)
{
    coir_node *n = self->links.head;
    int now = 0;
    for (;;) {
        coir_node *waiting = count > 0 ? self->waiters.head : NULL;
        coir_wait *w = waiting != NULL ? coir__wait_of(waiting) : NULL;
        blocked_thread *b = count > 0 ? first_thread(self) : NULL;
        link_entry *k = n != NULL ? OWNER(link_entry, node, n) : NULL;
        if (w != NULL && b != NULL) {
            if (is_before(w->tag, b->number))
                b = NULL;
            else
                w = NULL;
        }
        if (k != NULL && !(w != NULL && is_before(w->tag, k->number)) &&
            !(b != NULL && is_before(b->number, k->number))) {
            n = n->next;
            now |= link_queue(k);
        }
        else if (w != NULL) {
            wake_greenlet(self, w, COIR_LINK_WOKEN);
            count--;
        }
        else if (b != NULL) {
            wake_thread(self, b, COIR_LINK_WOKEN);
            count--;
        }
        else {
            break;
        }
    }
    if (COIR__UNLIKELY(now))
        call_those_now(self);
}

static Py_ssize_t
length(const coir_list *list)
{
    Py_ssize_t n = 0;
    for (const coir_node *node = list->head; node != NULL; node = node->next)
        n++;
    return n;
}

Py_ssize_t
coir__linkable_count(const LinkableObject *self)
{
    return length(&self->waiters) + length(&self->threads) +
           length(&self->links);
}

/* --- waiting ------------------------------------------------------------- */

static int
thread_waits(blocked_thread *b, int64_t timeout_ns)
{
    int64_t deadline = timeout_ns != COIR_FOREVER
                           ? coir_clock_monotonic() + timeout_ns
                           : COIR_FOREVER;
    while (!b->woken) {
        PY_TIMEOUT_T us = -1;
        if (deadline != COIR_FOREVER) {
            int64_t left = deadline - coir_clock_monotonic();
            if (left <= 0)
                break;
            us = (left - 1) / 1000 + 1;
            if (us > PY_TIMEOUT_MAX)
                us = PY_TIMEOUT_MAX;
        }
        PyLockStatus status;
        Py_BEGIN_ALLOW_THREADS status =
            PyThread_acquire_lock_timed(b->lock, us, 1);
        Py_END_ALLOW_THREADS if (status == PY_LOCK_INTR &&
                                 PyErr_CheckSignals() < 0) return -1;
    }
    return 0;
}

static COIR__COLD int
wait_as_a_whole(LinkableObject *self, int64_t timeout_ns, int *number,
                int *lost)
{
    blocked_thread *b = PyMem_Calloc(1, sizeof *b);
    if (b == NULL || (b->lock = PyThread_allocate_lock()) == NULL) {
        PyMem_Free(b);
        PyErr_NoMemory();
        return -1;
    }
    (void)PyThread_acquire_lock(b->lock, NOWAIT_LOCK);
    b->forks = forks;
    b->again = *number >= 0;
    if (b->again) {
        coir__list_prepend(&self->threads, &b->node);
    }
    else {
        *number = (int)(self->next++ & INT_MAX);
        coir__list_append(&self->threads, &b->node);
    }
    b->number = *number;
    Py_INCREF(self);
    int err = thread_waits(b, timeout_ns);
    int woken = b->woken;
    coir__list_remove(&b->node);
    PyThread_free_lock(b->lock);
    PyMem_Free(b);
    if (woken && self->woken > 0)
        self->woken--;
    Py_DECREF(self);
    *lost = err < 0 ? woken : 0;
    return err < 0 ? -1 : woken;
}

int
coir__linkable_wait(LinkableObject *self, PyObject *object, const char *what,
                    int64_t timeout_ns, int *number, int *lost)
{
    *lost = 0;
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return -1;
    coir__linkable_check_fork(self);
    HubObject *hub = coir__hub_if_any(t);
    if (COIR__UNLIKELY(hub == NULL)) {
        if (coir__other_threads() > 0)
            return wait_as_a_whole(self, timeout_ns, number, lost);
        hub = coir__hub_get(t);
        if (hub == NULL)
            return -1;
    }
    coir_wait *w = coir__wait_get(t);
    if (w == NULL)
        return -1;
    uint8_t again = *number >= 0;
    if (!again)
        *number = (int)(self->next++ & INT_MAX);
    w->tag = *number;
    w->again = again;
    int how = COIR_WOKEN_WAITS;
    PyObject *res = again ? coir__park_first(t, hub, &self->waiters, what,
                                             object, timeout_ns, &how)
                          : coir__park(t, hub, &self->waiters, what, object,
                                       timeout_ns, &how);
    if (COIR__LIKELY(res != NULL && how == COIR_WOKEN_BY_WAKE)) {
        int given = res == Py_True;
        Py_DECREF(res);
        if (self->woken > 0)
            self->woken--;
        return given ? COIR_LINK_GIVEN : COIR_LINK_WOKEN;
    }
    if (res != NULL && how == COIR_WOKEN_BY_TIME) {
        Py_DECREF(res);
        return COIR_LINK_TIME;
    }
    if (w->was_woken) {
        *lost = w->value == Py_True ? COIR_LINK_GIVEN : COIR_LINK_WOKEN;
        if (self->woken > 0)
            self->woken--;
        w->was_woken = 0;
        Py_CLEAR(w->value);
    }
    if (res != NULL) {
        coir__raise_named("InvalidSwitchError",
                          "Invalid switch into %s.wait(): %R",
                          coir__type_name(Py_TYPE(self)), res);
        Py_DECREF(res);
    }
    return -1;
}

/* Who tries again and again is not to keep others from running. */
int
coir__yield_if_possible(void)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return -1;
    HubObject *hub = coir__hub_if_any(t);
    if (hub == NULL || t->current == &hub->base)
        return 0;
    return coir__yield(t, hub, 0);
}

/* --- the type ------------------------------------------------------------ */

#define SELF ((LinkableObject *)op)

static int
never(const LinkableObject *Py_UNUSED(self))
{
    return 0;
}

PyObject *
coir__linkable_new(PyTypeObject *type,
                   int (*is_ready)(const LinkableObject *self))
{
    PyObject *op = type->tp_alloc(type, 0);
    if (op != NULL) {
        SELF->is_ready = is_ready;
        SELF->forks = forks;
    }
    return op;
}

static PyObject *
linkable_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
             PyObject *Py_UNUSED(kwargs))
{
    return coir__linkable_new(type, never);
}

static PyObject *
linkable_rawlink(PyObject *op, PyObject *callback)
{
    if (!PyCallable_Check(callback))
        return PyErr_Format(PyExc_TypeError, "Expected callable: %R",
                            callback);
    link_entry *k = PyMem_Calloc(1, sizeof *k);
    if (k == NULL)
        return PyErr_NoMemory();
    k->ready.kind = &link_kind;
    k->owner = SELF;
    k->loop = (LoopObject *)Py_XNewRef((PyObject *)own_loop());
    k->callback = Py_NewRef(callback);
    k->number = (int)(SELF->next++ & INT_MAX);
    coir__list_append(&SELF->links, &k->node);
    if (SELF->is_ready(SELF) && link_queue(k))
        call_those_now(SELF);
    Py_RETURN_NONE;
}

/* The first link that is equal to it; *error if comparing failed. */
static link_entry *
find_link(LinkableObject *self, PyObject *callback, int *error)
{
    coir_node *n = self->links.head;
    while (n != NULL) {
        link_entry *k = OWNER(link_entry, node, n);
        unsigned before = self->unlinked;
        PyObject *other = Py_NewRef(k->callback);
        int is = PyObject_RichCompareBool(other, callback, Py_EQ);
        Py_DECREF(other);
        *error = is < 0;
        if (is < 0)
            return NULL;
        if (self->unlinked != before) /* that did it */
            n = self->links.head;
        else if (is)
            return k;
        else
            n = n->next;
    }
    return NULL;
}

static PyObject *
linkable_unlink(PyObject *op, PyObject *callback)
{
    int error = 0;
    link_entry *k = find_link(SELF, callback, &error);
    if (error)
        return NULL;
    if (k != NULL) {
        coir__list_remove(&k->node);
        SELF->unlinked++;
        if (link_dequeue(k))
            Py_DECREF(op); /* the caller has it, too */
        link_free(k);
    }
    Py_RETURN_NONE;
}

static PyObject *
linkable_linkcount(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSsize_t(coir__linkable_count(SELF));
}

PyObject *
coir__linkable_ready(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(SELF->is_ready(SELF));
}

void
coir__linkable_forget(LinkableObject *self)
{
    while (self->threads.head != NULL)
        coir__list_remove(self->threads.head);
    Py_CLEAR(self->hub);
    self->woken = 0;
    self->forks = forks;
}

static PyObject *
linkable_at_fork_reinit(PyObject *op, PyObject *Py_UNUSED(unused))
{
    coir__linkable_forget(SELF);
    Py_RETURN_NONE;
}

static PyObject *
linkable_get_hub(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(SELF->hub != NULL ? SELF->hub : Py_None);
}

static int
linkable_set_hub(PyObject *op, PyObject *hub, void *Py_UNUSED(closure))
{
    Py_XSETREF(SELF->hub, hub != Py_None ? Py_XNewRef(hub) : NULL);
    return 0;
}

int
coir__linkable_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->hub);
    for (coir_node *n = SELF->links.head; n != NULL; n = n->next) {
        const link_entry *k = OWNER(link_entry, node, n);
        Py_VISIT(k->callback);
        Py_VISIT(k->loop);
    }
    return coir__list_traverse(&SELF->waiters, visit, arg);
}

int
coir__linkable_clear(PyObject *op)
{
    Py_CLEAR(SELF->hub);
    while (SELF->links.head != NULL) {
        link_entry *k = OWNER(link_entry, node, SELF->links.head);
        coir__list_remove(&k->node);
        SELF->unlinked++;
        int held = link_dequeue(k);
        link_free(k);
        if (held)
            Py_DECREF(op);
    }
    return 0;
}

void
coir__linkable_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)coir__linkable_clear(op);
    while (SELF->waiters.head != NULL) /* only time can wake it now */
        coir__list_remove(SELF->waiters.head);
    while (SELF->threads.head != NULL)
        coir__list_remove(SELF->threads.head);
    Py_TYPE(op)->tp_free(op);
}

COIR__DEFINE_ONE(linkable_rawlink, "rawlink", "callback")
COIR__DEFINE_ONE(linkable_unlink, "unlink", "callback")

static PyMethodDef linkable_methods[] = {
    {"rawlink", COIR__ONE(linkable_rawlink),
     "rawlink($self, callback)\n--\n\n"
     "Call it once, with this object, in the hub when the object is ready.\n"
     "It must not block; its errors are reported to the hub."},
    {"unlink", COIR__ONE(linkable_unlink),
     "unlink($self, callback)\n--\n\nDo not call it; nothing, if that was "
     "done."},
    {"linkcount", linkable_linkcount, METH_NOARGS,
     "linkcount($self)\n--\n\nHow many wait for it or are linked to it."},
    {"ready", coir__linkable_ready, METH_NOARGS,
     "ready($self)\n--\n\nWhether waiting for it would not block."},
    {"_at_fork_reinit", linkable_at_fork_reinit, METH_NOARGS,
     "_at_fork_reinit($self)\n--\n\nFor the child of a fork."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef linkable_getset[] = {
    {"hub", linkable_get_hub, linkable_set_hub,
     "What it was made with; of no use.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__linkable_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name =
        "coir.gevent._abstract_linkable.AbstractLinkable",
    .tp_basicsize = sizeof(LinkableObject),
    .tp_dealloc = coir__linkable_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc =
        "Something that becomes ready, and can be waited for until then.",
    .tp_traverse = coir__linkable_traverse,
    .tp_clear = coir__linkable_clear,
    .tp_weaklistoffset = offsetof(LinkableObject, weakreflist),
    .tp_methods = linkable_methods,
    .tp_getset = linkable_getset,
    .tp_new = linkable_new,
};

int
coir__link_type_init(PyObject *module)
{
    static int watches_forks;
    if (!watches_forks)
        watches_forks = pthread_atfork(NULL, NULL, forked) == 0;
    return PyModule_AddType(module, &coir__linkable_type);
}
