/* hub.c - the hub: parking, waking, and who goes on next.
 *
 * A greenlet that parks stands in a list and leaves the processor. If the head
 * of the ready queue is a greenlet, and the loop has been looked at lately, it
 * is switched to at once; else the hub is, which runs what is ready. So in the
 * midst of work the hub's own greenlet is seldom run.
 *
 * What a greenlet waits in, coir_wait, belongs to its block and is made when
 * it first waits. It is referred to by the list, the timer and the ready
 * queue, which are left
 * - by coir__wake() or the timer, which put it into the ready queue;
 * - by who takes it from there and switches to it;
 * - or, if somebody else switches to the greenlet, throws into it, or
 *   collects it, by coir__wait_left(), before any Python code runs there.
 *
 * A waiting greenlet is kept alive by its wait. If that has no timer, only who
 * owns the list can ever wake it: so the collector is to see that reference as
 * the owner's, see coir__list_traverse(), and finds those nobody can wake.
 *
 * A thread's hub is made when it first waits, by the class that
 * set_hub_class() was given, and destroyed with the thread. */
#include "ev.h"
#include "running.h"

#include <time.h>

#define WAITS_KEPT 1000
/* Of a suspended greenlet, from its stack pointer on: down to where it left
 * Python's evaluation loop, and that one's own. Measured: less is slower. */
#define FETCH_STACK ((size_t)768)
#define FETCH_FRAME ((size_t)128)
/* How far into a cache line a block may begin. */
#define BLOCK_SKEW ((size_t)48)

static PyObject *hub_class;   /* strong */
static int idle_threads;      /* that will do nothing by themselves */
static coir_wait *free_waits; /* linked by `timer.data` */
static int free_waits_count;

/* --- waits --------------------------------------------------------------- */

coir_wait *
coir__wait_get(coir_pythread *t)
{
    coir_block *b = t->current->block;
    if (COIR__LIKELY(b->wait != NULL))
        return b->wait;
    coir_wait *w = free_waits;
    if (w != NULL) {
        free_waits = w->timer.data;
        free_waits_count--;
    }
    else {
        w = PyMem_Malloc(sizeof *w);
        if (w == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    memset(w, 0, sizeof *w);
    w->green = t->current;
    b->wait = w;
    return w;
}

static void
stop_timer(coir_wait *w)
{
    if (coir_is_active(&w->timer) || coir_is_pending(&w->timer)) {
        if (w->loop->loop != NULL)
            coir_timer_stop(w->loop->loop, &w->timer);
        w->timer.active = w->timer.pending = 0;
    }
}

/* It waits no more; in this thread. Whether it held its greenlet. */
static int
end_wait(coir_wait *w)
{
    int held = w->holds;
    w->is_waiting = 0;
    w->holds = 0;
    w->may_expire = 0;
    stop_timer(w);
    if (w->is_foreign) {
        w->is_foreign = 0;
        w->loop->foreign_waits--;
    }
    return held;
}

void
coir__wait_left(coir_wait *w)
{
    coir__list_remove(&w->node);
    coir__list_remove(&w->ready.node);
    w->was_woken = w->woken == COIR_WOKEN_BY_WAKE;
    w->woken = COIR_WOKEN_BY_OTHER;
    if (end_wait(w))
        Py_DECREF(w->green); /* it runs, or is being collected */
}

void
coir__wait_free(coir_wait *w)
{
    if (w->is_waiting) {
        w->holds = 0;
        coir__wait_left(w);
    }
    LoopObject *loop = w->loop;
    PyObject *value = w->value;
    if (free_waits_count < WAITS_KEPT) {
        w->timer.data = free_waits;
        free_waits = w;
        free_waits_count++;
    }
    else {
        PyMem_Free(w);
    }
    Py_XDECREF(value);
    Py_XDECREF(loop);
}

int
coir__list_traverse(const coir_list *list, visitproc visit, void *arg)
{
    for (coir_node *n = list->head; n != NULL; n = n->next) {
        const coir_wait *w = coir__wait_of(n);
        if (w->holds && !coir_is_active(&w->timer))
            Py_VISIT((PyObject *)w->green);
    }
    return 0;
}

static void
make_ready(coir_wait *w)
{
    coir__list_remove(&w->node);
    w->woken = COIR_WOKEN_BY_WAKE;
    if (COIR__UNLIKELY(w->loop->tells))
        coir__loop_told(w->loop, &w->ready);
    else
        coir__loop_ready(w->loop, &w->ready);
}

void
coir__wake(coir_wait *w, PyObject *value)
{
    assert(w->is_waiting && w->woken == COIR_WOKEN_WAITS);
    w->value = value;
    w->throws = 0;
    make_ready(w);
}

void
coir__wake_with_error(coir_wait *w, PyObject *exc)
{
    assert(w->is_waiting && w->woken == COIR_WOKEN_WAITS);
    w->value = exc;
    w->throws = 1;
    make_ready(w);
}

static void
time_is_over(coir_loop *Py_UNUSED(loop), coir_timer *timer,
             int Py_UNUSED(revents))
{
    coir_wait *w = (coir_wait *)((char *)timer - offsetof(coir_wait, timer));
    if (!w->is_waiting)
        return;
    if (w->woken != COIR_WOKEN_WAITS) {
        if (!w->may_expire || timer->deadline_ns > coir__stamp_of(&w->ready))
            return;
        w->was_woken = 1;
        coir__list_remove(&w->ready.node);
    }
    coir__list_remove(&w->node);
    w->woken = COIR_WOKEN_BY_TIME;
    coir__loop_due(w->loop, &w->ready, timer);
}

/* --- leaving ------------------------------------------------------------- */

/* It was taken from the ready queue, in its own thread: what it is brought.
 * Returns its greenlet, a new reference. */
static GreenletObject *
take(coir_wait *w, coir_payload *p)
{
    PyObject *value = w->value;
    w->value = NULL;
    p->kwargs = NULL;
    p->packed = 0;
    if (COIR__UNLIKELY(w->woken == COIR_WOKEN_BY_TIME))
        Py_CLEAR(value);
    if (COIR__UNLIKELY(w->throws && w->woken == COIR_WOKEN_BY_WAKE)) {
        p->value = NULL;
        coir__error_give(value);
    }
    else {
        p->value = value != NULL ? value : Py_NewRef(Py_None);
    }
    if (!end_wait(w))
        Py_INCREF(w->green);
    return w->green;
}

void
coir__resume(coir_ready *r, LoopObject *loop)
{
    coir_wait *w = (coir_wait *)r;
    coir_pythread *t = coir__pythread_get();
    if (t == NULL) {
        PyErr_Clear();
        return;
    }
    coir_payload p;
    GreenletObject *g = take(w, &p);
    PyObject *res = coir__greenlet_switch(t, g, p);
    if (res == NULL) /* it has ended */
        coir__loop_error(loop, (PyObject *)g);
    Py_XDECREF(res);
    Py_DECREF(g);
}

void
coir__go_on(coir_wait *w)
{
    const coir_pythread *t = coir__pythread_get();
    if (t == NULL) {
        PyErr_Clear();
        return;
    }
    if (t->hub == NULL || t->current != &t->hub->base ||
        w->loop != t->hub->loop)
        return;
    coir__list_remove(&w->ready.node);
    coir__resume(&w->ready, w->loop);
}

/* A subclass written in Python may want to know: 0, or -1 if it refused. */
static COIR__COLD int
call_switch_out(GreenletObject *g)
{
    static PyObject *name;
    if (name == NULL)
        name = PyUnicode_InternFromString("switch_out");
    PyObject *func = PyObject_GetAttr((PyObject *)g, name);
    if (func == NULL) {
        PyErr_Clear();
        return 0;
    }
    PyObject *res = PyObject_CallNoArgs(func);
    Py_DECREF(func);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static inline int
has_switch_out(const GreenletObject *g)
{
    static PyObject *name;
    if (COIR__LIKELY(!PyType_HasFeature(Py_TYPE(g), Py_TPFLAGS_HEAPTYPE) &&
                     g->dict == NULL))
        return 0;
    if (name == NULL)
        name = PyUnicode_InternFromString("switch_out");
    if (_PyType_Lookup(Py_TYPE(g), name) != NULL)
        return 1;
    return g->dict != NULL && PyDict_Contains(g->dict, name) > 0;
}

/* May the running greenlet wait? 0, or -1 with an exception. */
static inline int
may_leave(coir_pythread *t, HubObject *hub)
{
    if (COIR__UNLIKELY(has_switch_out(t->current)) &&
        call_switch_out(t->current) < 0)
        return -1;
    if (COIR__UNLIKELY(t->current == &hub->base)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_AssertionError,
                            "Cannot switch to MAINLOOP from MAINLOOP");
        return -1;
    }
    if (COIR__UNLIKELY(hub->loop == NULL || hub->loop->destroyed)) {
        PyErr_SetString(coir__core.error, "the hub was destroyed");
        return -1;
    }
    return 0;
}

static inline const coir_wait *
wait_at(const coir_node *n)
{
    return n != NULL && ((const coir_ready *)n)->kind == NULL
               ? (const coir_wait *)n
               : NULL;
}

/* Where there are many greenlets, most are not in the cache, and what a switch
 * reads is known only bit by bit: the wait, the object, the block, the stack.
 * So while one runs, have these fetched of the four after it: each needs what
 * the switch before has had fetched. With 10,000 greenlets it halves the time
 * of a switch.
 *
 * Inlined before anything else is done with it: GCC takes a function that
 * does nothing but prefetch for one that does nothing. */
static inline __attribute__((always_inline)) void
fetch(const void *at, size_t size)
{
    /* A number: there may be nothing yet. */
    for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch((const void *)((uintptr_t)at + i));
}

static inline __attribute__((always_inline)) void
fetch_ahead(const coir_node *n)
{
    const coir_wait *w = wait_at(n);
    if (w == NULL || (w = wait_at(w->ready.node.next)) == NULL)
        return;
    const coir_block *b = w->green->block;
    fetch(b->co->ctx.sp, FETCH_STACK);
    fetch(b->py.frame, FETCH_FRAME);
    w = wait_at(w->ready.node.next);
    if (w == NULL)
        return;
    fetch(w->green->block, sizeof(coir_block) + BLOCK_SKEW);
    w = wait_at(w->ready.node.next);
    if (w == NULL)
        return;
    __builtin_prefetch(w->green);
    if ((w = wait_at(w->ready.node.next)) != NULL)
        fetch(w, sizeof *w);
}

/* Leave the running greenlet, which stands in its wait: to the next ready one,
 * or the hub. Returns what it is brought. */
static inline PyObject *
go(coir_pythread *t, HubObject *hub, coir_wait *w, int *how)
{
    LoopObject *loop = hub->loop;
    coir_node *n = loop->ready.head;
    const coir_ready *r = (const coir_ready *)n; /* its first member */
    coir_payload p = {NULL, NULL, 0};
    GreenletObject *to = &hub->base;
    if (COIR__LIKELY(
            n != NULL && loop->left > 0 && r->kind == NULL &&
            (t->tracefunc == NULL || coir__trace_only_counts(t->tracefunc)) &&
            (coir__is_current(loop, r) || coir__batch_begins(loop)))) {
        coir__loop_use_budget(loop);
        coir__list_remove(n);
        coir_wait *next = (coir_wait *)n; /* ready, its first member */
        fetch_ahead(loop->ready.head);
        if (COIR__UNLIKELY(next == w)) {
            to = take(w, &p);
            *how = w->woken;
            Py_DECREF(to); /* it runs */
            return p.value;
        }
        to = take(next, &p);
        PyObject *res = coir__greenlet_park(t, to, p, w, how);
        Py_DECREF(to);
        return res;
    }
    p.value = Py_NewRef(coir__core.empty_tuple); /* it may be started by it */
    p.packed = 1;
    return coir__greenlet_park(t, to, p, w, how);
}

static COIR__COLD PyObject *
leave_loop(coir_pythread *t, HubObject *hub, coir_wait *w, int *how)
{
    coir_running r;
    coir__running_take(t, &r);
    PyObject *res = go(t, hub, w, how);
    coir__running_put_back(t, &r);
    return res;
}

static inline PyObject *
leave(coir_pythread *t, HubObject *hub, coir_wait *w, int *how)
{
    if (COIR__UNLIKELY(t->running_loop != NULL))
        return leave_loop(t, hub, w, how);
    return go(t, hub, w, how);
}

enum { PARK_FIRST = 1, PARK_OWN = 2 };

static inline PyObject *
park(coir_pythread *t, HubObject *hub, coir_list *list, int flags,
     const char *what, PyObject *object, int64_t timeout_ns, int *how)
{
    coir_wait *w = coir__wait_get(t);
    if (COIR__UNLIKELY(w == NULL || may_leave(t, hub) < 0))
        return NULL;
    LoopObject *loop = hub->loop;
    if (COIR__UNLIKELY(w->loop != loop))
        Py_XSETREF(w->loop, (LoopObject *)Py_NewRef((PyObject *)loop));
    if (COIR__UNLIKELY(w->value != NULL))
        Py_CLEAR(w->value); /* handed over, and left there */
    w->woken = COIR_WOKEN_WAITS;
    w->was_woken = 0;
    w->throws = 0;
    w->what = what;
    w->object = object;
    w->since_ns = coir_loop_now(loop->loop);
    w->is_waiting = 1;
    w->holds = 1;
    Py_INCREF(w->green);
    if (list != NULL) {
        if (!(flags & PARK_OWN)) {
            w->is_foreign = 1;
            loop->foreign_waits++;
        }
        if (flags & PARK_FIRST)
            coir__list_prepend(list, &w->node);
        else
            coir__list_append(list, &w->node);
    }
    if (timeout_ns != COIR_FOREVER) {
        coir_loop_now_update(loop->loop);
        coir_timer_init(&w->timer, time_is_over, timeout_ns, 0);
        coir_timer_start(loop->loop, &w->timer);
        coir__loop_armed(loop);
    }
    return leave(t, hub, w, how);
}

PyObject *
coir__park(coir_pythread *t, HubObject *hub, coir_list *list, const char *what,
           PyObject *object, int64_t timeout_ns, int *how)
{
    return park(t, hub, list, 0, what, object, timeout_ns, how);
}

PyObject *
coir__park_first(coir_pythread *t, HubObject *hub, coir_list *list,
                 const char *what, PyObject *object, int64_t timeout_ns,
                 int *how)
{
    return park(t, hub, list, PARK_FIRST, what, object, timeout_ns, how);
}

PyObject *
coir__park_own(coir_pythread *t, HubObject *hub, coir_list *list,
               const char *what, PyObject *object, int64_t timeout_ns,
               int *how)
{
    return park(t, hub, list, PARK_OWN, what, object, timeout_ns, how);
}

int
coir__yield(coir_pythread *t, HubObject *hub, int64_t ago_ns)
{
    coir_wait *w = coir__wait_get(t);
    if (COIR__UNLIKELY(w == NULL || may_leave(t, hub) < 0))
        return -1;
    if (COIR__UNLIKELY(w->loop != hub->loop))
        Py_XSETREF(w->loop, (LoopObject *)Py_NewRef((PyObject *)hub->loop));
    if (COIR__UNLIKELY(w->value != NULL))
        Py_CLEAR(w->value);
    w->woken = COIR_WOKEN_BY_WAKE;
    w->was_woken = 0;
    w->throws = 0;
    w->what = "sleep";
    w->object = NULL;
    w->is_waiting = 1;
    w->holds = 1;
    Py_INCREF(w->green);
    if (COIR__LIKELY(ago_ns == 0))
        coir__ready_append(hub->loop, &w->ready);
    else
        coir__loop_ready_past(hub->loop, &w->ready, ago_ns);
    int how;
    PyObject *res = leave(t, hub, w, &how);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* --- hubs ---------------------------------------------------------------- */

HubObject *
coir__hub_if_any(coir_pythread *t)
{
    HubObject *hub = t->hub;
    return hub != NULL && hub->loop != NULL && !hub->loop->destroyed ? hub
                                                                     : NULL;
}

static COIR__COLD HubObject *
make_hub(coir_pythread *t)
{
    if (hub_class == NULL) {
        PyObject *module = PyImport_ImportModule("coir.gevent.hub");
        if (module == NULL)
            return NULL;
        Py_DECREF(module);
        if (hub_class == NULL) {
            PyErr_SetString(PyExc_RuntimeError, "there is no hub class");
            return NULL;
        }
    }
    PyObject *hub = PyObject_CallNoArgs(hub_class);
    if (hub == NULL)
        return NULL;
    if (!PyObject_TypeCheck(hub, &coir__hub_type)) {
        PyErr_Format(PyExc_TypeError, "%R is no hub", hub);
        Py_DECREF(hub);
        return NULL;
    }
    Py_XSETREF(t->hub, (HubObject *)hub);
    return t->hub;
}

HubObject *
coir__hub_get(coir_pythread *t)
{
    HubObject *hub = coir__hub_if_any(t);
    return COIR__LIKELY(hub != NULL) ? hub : make_hub(t);
}

void
coir__hub_thread_ends(HubObject *hub)
{
    if (hub->loop == NULL)
        return;
    hub->loop->depth = 0; /* its greenlet is never resumed */
    coir__loop_destroy(hub->loop);
}

int
coir__other_threads(void)
{
    PyThreadState *ts =
        PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    int count = -1; /* this one */
    for (; ts != NULL; ts = PyThreadState_Next(ts))
        count++;
    return count - idle_threads;
}

/* --- the type ------------------------------------------------------------ */

#define SELF ((HubObject *)op)

static PyObject *
hub_switch(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    if (nargs > 0 || t->hub != SELF || SELF->loop == NULL ||
        t->current == &SELF->base) {
        if (has_switch_out(t->current) && call_switch_out(t->current) < 0)
            return NULL;
        coir_payload p = {NULL, NULL, 1};
        p.value = PyTuple_New(nargs);
        if (p.value == NULL)
            return NULL;
        for (Py_ssize_t i = 0; i < nargs; i++)
            PyTuple_SET_ITEM(p.value, i, Py_NewRef(args[i]));
        return coir__greenlet_switch(t, &SELF->base, p);
    }
    coir_wait *w = coir__wait_get(t);
    if (w == NULL || may_leave(t, SELF) < 0)
        return NULL;
    if (w->loop != SELF->loop)
        Py_XSETREF(w->loop, (LoopObject *)Py_NewRef((PyObject *)SELF->loop));
    Py_CLEAR(w->value);
    w->woken = COIR_WOKEN_WAITS;
    w->was_woken = 0;
    w->what = "switch";
    w->object = NULL;
    w->since_ns = coir_loop_now(w->loop->loop);
    /* Who is to switch back refers to it, nobody else. */
    w->is_waiting = 1;
    w->holds = 0;
    int how;
    return leave(t, SELF, w, &how);
}

static PyObject *
hub_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return coir__greenlet_type.tp_new(type, args, kwargs);
}

static PyObject *
hub_get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    LoopObject *loop = SELF->loop;
    if (loop == NULL)
        Py_RETURN_NONE;
    return Py_NewRef(loop->stand_in != NULL ? loop->stand_in
                                            : (PyObject *)loop);
}

static int
hub_set_loop(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    LoopObject *old = SELF->loop;
    int is_loop = value != NULL && PyObject_TypeCheck(value, &coir__loop_type);
    if (!is_loop && value != NULL && value != Py_None && old != NULL) {
        Py_XSETREF(old->stand_in, Py_NewRef(value));
        return 0;
    }
    if (old != NULL && old->stand_in != NULL) {
        coir__standin_release(old);
        Py_CLEAR(old->stand_in);
    }
    if (!is_loop) {
        Py_CLEAR(SELF->loop);
        return 0;
    }
    Py_XSETREF(SELF->loop, (LoopObject *)Py_NewRef(value));
    return 0;
}

static int
hub_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->loop);
    return coir__greenlet_type.tp_traverse(op, visit, arg);
}

static int
hub_clear(PyObject *op)
{
    Py_CLEAR(SELF->loop);
    return coir__greenlet_type.tp_clear(op);
}

static void
hub_dealloc(PyObject *op)
{
    if (coir__greenlet_resurrect(op))
        return;
    Py_CLEAR(SELF->loop);
    coir__ev_forget_canceled(SELF);
    coir__greenlet_type.tp_dealloc(op);
}

static PyMethodDef hub_methods[] = {
    {"switch", (PyCFunction)(void (*)(void))hub_switch, METH_FASTCALL,
     "switch($self)\n--\n\n"
     "Wait until somebody switches back to the calling greenlet; meanwhile\n"
     "others run. Returns what that brings."},
    {NULL, NULL, 0, NULL},
};

static PyObject *
hub_get_uses_eventlet(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((HubObject *)op)->uses_eventlet);
}

static int
hub_set_uses_eventlet(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    HubObject *hub = (HubObject *)op;
    int uses = value != NULL ? PyObject_IsTrue(value) : 0;
    if (uses < 0)
        return -1;
    hub->uses_eventlet = (char)uses;
    if (hub->loop != NULL && uses)
        coir__loop_keep_order(hub->loop);
    else if (hub->loop != NULL && hub->loop->in_order)
        coir__loop_leave_order(hub->loop);
    return 0;
}

static PyGetSetDef hub_getset[] = {
    {"_uses_eventlet", hub_get_uses_eventlet, hub_set_uses_eventlet,
     "Whether code written for eventlet waits in it, in eventlet's order.",
     NULL},
    {"loop", hub_get_loop, hub_set_loop,
     "Its event loop; None once it was "
     "destroyed.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__hub_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.HubBase",
    .tp_basicsize = sizeof(HubObject),
    .tp_dealloc = hub_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The greenlet that runs a loop: base of gevent's Hub.",
    .tp_traverse = hub_traverse,
    .tp_clear = hub_clear,
    .tp_methods = hub_methods,
    .tp_getset = hub_getset,
    .tp_base = &coir__greenlet_type,
    .tp_new = hub_new,
};

/* --- functions ----------------------------------------------------------- */

static PyObject *
get_hub(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args),
        PyObject *Py_UNUSED(kwargs))
{
    coir_pythread *t = coir__pythread_get();
    return t != NULL ? Py_XNewRef((PyObject *)coir__hub_get(t)) : NULL;
}

static PyObject *
get_hub_if_exists(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    PyObject *hub = (PyObject *)coir__hub_if_any(t);
    return Py_NewRef(hub != NULL ? hub : Py_None);
}

static PyObject *
set_hub(PyObject *Py_UNUSED(module), PyObject *hub)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    if (hub != Py_None && !PyObject_TypeCheck(hub, &coir__hub_type)) {
        PyErr_Format(PyExc_TypeError, "%R is no hub", hub);
        return NULL;
    }
    Py_XSETREF(t->hub, hub != Py_None ? (HubObject *)Py_NewRef(hub) : NULL);
    Py_RETURN_NONE;
}

static PyObject *
get_loop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    return Py_NewRef(t->next_loop != NULL ? t->next_loop : Py_None);
}

static PyObject *
set_loop(PyObject *Py_UNUSED(module), PyObject *loop)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    Py_XSETREF(t->next_loop, loop != Py_None ? Py_NewRef(loop) : NULL);
    Py_RETURN_NONE;
}

static PyObject *
get_hub_class(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(hub_class != NULL ? hub_class : Py_None);
}

static PyObject *
set_hub_class(PyObject *Py_UNUSED(module), PyObject *cls)
{
    Py_XSETREF(hub_class, Py_NewRef(cls));
    Py_RETURN_NONE;
}

static PyObject *
add_idle_threads(PyObject *Py_UNUSED(module), PyObject *count)
{
    long n = PyLong_AsLong(count);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    idle_threads += (int)n;
    Py_RETURN_NONE;
}

static PyObject *
patiently(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "patiently() needs a function");
        return NULL;
    }
    const struct timespec while_others_free = {.tv_nsec = 10000000};
    PyObject *res;
    while ((res = PyObject_Vectorcall(args[0], args + 1, (size_t)nargs - 1,
                                      NULL)) == NULL &&
           PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        Py_BEGIN_ALLOW_THREADS(void) nanosleep(&while_others_free, NULL);
        Py_END_ALLOW_THREADS
    }
    return res;
}

static int
add_wait(PyObject *list, const coir_block *b, PyObject *of)
{
    const coir_wait *w = b->wait;
    if (w == NULL || !w->is_waiting || w->loop == NULL ||
        w->woken != COIR_WOKEN_WAITS || w->loop->loop == NULL ||
        (of != Py_None && (PyObject *)w->loop != of))
        return 0;
    double since = (double)(coir_clock_monotonic() - w->since_ns) / 1e9;
    PyObject *item =
        Py_BuildValue("(OsOd)", (PyObject *)b->self, w->what,
                      w->object != NULL ? w->object : Py_None, since);
    int err = item != NULL ? PyList_Append(list, item) : -1;
    Py_XDECREF(item);
    return err;
}

static PyObject *
waits(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *of = Py_None;
    coir_pythread *t = coir__pythread_get();
    if (t == NULL || !PyArg_ParseTuple(args, "|O:waits", &of))
        return NULL;
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    int err = add_wait(list, t->main->block, of);
    const coir_block *b = t->live;
    if (b != NULL)
        do {
            err = err < 0 ? err : add_wait(list, b, of);
            b = b->next;
        } while (b != t->live);
    if (err < 0)
        Py_CLEAR(list);
    return list;
}

static PyObject *
forget_threads(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    idle_threads = 0;
    Py_RETURN_NONE;
}

/* Who waited when somebody else forked is not to act in the child, too; not
 * even to unwind. The main greenlet is: the process ends by it. */
static PyObject *
forget_others(PyObject *module, PyObject *Py_UNUSED(unused))
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    coir_block *b = t->live;
    if (b != NULL)
        do {
            coir_wait *w = b->wait;
            if (b->self != t->current && w != NULL && w->is_waiting) {
                coir__list_remove(&w->node);
                coir__list_remove(&w->ready.node);
                if (!end_wait(w))
                    Py_INCREF(b->self); /* never to be collected */
            }
            b = b->next;
        } while (b != t->live);
    LoopObject *loop = t->hub != NULL ? t->hub->loop : NULL;
    coir_node *n = loop != NULL ? loop->timeouts.head : NULL;
    while (n != NULL) {
        coir_node *next = n->next;
        const GreenletObject *g = coir__timeout_of(n);
        if (g != t->current && g != t->main)
            coir__timeout_stop_node(n);
        n = next;
    }
    if (loop != NULL && loop->loop != NULL) {
        Py_INCREF(loop);
        coir__loop_forget(t, loop);
        Py_DECREF(loop);
    }
    return forget_threads(module, NULL);
}

COIR__DEFINE_ONE(set_hub, "set_hub", "hub")
COIR__DEFINE_ONE(set_loop, "set_loop", "loop")

static PyMethodDef functions[] = {
    {"forget_others", forget_others, METH_NOARGS,
     "forget_others($module)\n--\n\n"
     "In the child after a fork: no other greenlet but the main one will go\n"
     "on, or start, and no callback that was queued is called."},
    {"forget_threads", forget_threads, METH_NOARGS,
     "forget_threads($module)\n--\n\n"
     "In the child after a fork: there are no threads that do nothing.\n"
     "Part of forget_others()."},
    {"get_hub", (PyCFunction)(void (*)(void))get_hub,
     METH_VARARGS | METH_KEYWORDS,
     "get_hub($module, *args, **kwargs)\n--\n\nThis thread's hub; it is made "
     "if there is "
     "none."},
    {"get_hub_if_exists", get_hub_if_exists, METH_NOARGS,
     "get_hub_if_exists($module)\n--\n\nThis thread's hub, or None."},
    {"set_hub", COIR__ONE(set_hub),
     "set_hub($module, hub)\n--\n\nMake it this thread's; None: none."},
    {"get_loop", get_loop, METH_NOARGS,
     "get_loop()\n\n"
     "The loop that this thread's next hub is to run. A hub that is\n"
     "destroyed without its loop leaves it there."},
    {"set_loop", COIR__ONE(set_loop),
     "set_loop(loop)\n\n"
     "Have this thread's next hub run it; None: one of its own."},
    {"get_hub_class", get_hub_class, METH_NOARGS,
     "get_hub_class($module)\n--\n\nWhat makes the hubs of threads."},
    {"set_hub_class", set_hub_class, METH_O,
     "set_hub_class($module, cls, /)\n--\n\nWhat is called, without "
     "arguments, "
     "to "
     "make a thread's hub."},
    {"add_idle_threads", add_idle_threads, METH_O,
     "add_idle_threads($module, count, /)\n--\n\n"
     "So many more threads (or less, if negative) do nothing by themselves,\n"
     "and will not end anybody's wait until they are given something to do."},
    {"patiently", (PyCFunction)(void (*)(void))patiently, METH_FASTCALL,
     "patiently($module, function, /, *args)\n--\n\n"
     "Call it, again and again while there is no memory for it. Blocks the\n"
     "thread, which is one that others count on."},
    {"waits", waits, METH_VARARGS,
     "waits($module, loop=None, /)\n--\n\n"
     "(greenlet, what, object, seconds) of each greenlet of this thread that\n"
     "waits: for what kind of event, of which object or None, and since "
     "when."},
    {NULL, NULL, 0, NULL},
};

int
coir__hub_types_init(PyObject *module)
{
    if (PyType_Ready(&coir__hub_type) < 0 ||
        PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "HubBase",
                                 (PyObject *)&coir__hub_type);
}
