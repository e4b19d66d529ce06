/* green.c - the type gevent.Greenlet: spawning, ending, links, killing.
 *
 * A Greenlet is a greenlet whose parent is the hub, and whose body is C:
 *
 *     NEW --start()--> QUEUED --turn--> STARTED --> finished
 *      |  \start_later()-> LATER --timer--/
 *      \--kill(), throw(), also of QUEUED and LATER--> CANCELLED, finished
 *
 * To start it, the coir_ready within it stands in the loop's queue; there is
 * no callback object. When it has ended, whoever joins it is woken; they stand
 * in a list of their own. For other links, and only if there are any, the same
 * coir_ready stands in the queue once more. While it does, the queue owns a
 * reference to the Greenlet.
 *
 * An iwait() or a group that is the only link is told at once: it only takes
 * notes.
 *
 * `_run` is what it runs. Given to the constructor it is kept here, unless the
 * class is one that has a `_run` of its own: then in the instance's dict, so
 * that it goes before that. A class with a `run` of its own runs that. */
#include "green.h"

#include <stddef.h>

coir_green_state coir__green = {.track_tree = 1};

/* What the queue's reference is to, from the switch to the body's begin. */
static __thread GreenObject *starting
    __attribute__((tls_model("initial-exec")));

/* --- small things -------------------------------------------------------- */

static GreenObject *
green_of(coir_ready *r)
{
    return (GreenObject *)((char *)r - offsetof(GreenObject, ready));
}

int
coir__green_ready(GreenObject *g)
{
    return g->finished || coir__green_dead(g);
}

HubObject *
coir__green_hub(GreenObject *g)
{
    PyObject *parent = (PyObject *)g->base.block->parent;
    if (parent != NULL && PyObject_TypeCheck(parent, &coir__hub_type))
        return (HubObject *)parent;
    PyErr_Format(PyExc_TypeError,
                 "Cannot convert %.200s to a hub: it is the parent of a "
                 "Greenlet",
                 parent != NULL ? Py_TYPE(parent)->tp_name : "None");
    return NULL;
}

/* The loop it is to be called in, NULL with an exception. */
LoopObject *
coir__green_loop(GreenObject *g)
{
    HubObject *hub = coir__green_hub(g);
    if (hub == NULL)
        return NULL;
    if (hub->loop != NULL && hub->loop->loop != NULL)
        return hub->loop;
    PyErr_SetString(PyExc_RuntimeError,
                    "the hub of this Greenlet was destroyed");
    return NULL;
}

int
coir__green_set_rare(GreenObject *g, enum coir_green_rare which,
                     PyObject *value)
{
    if (g->rare == NULL && value == NULL)
        return 0;
    if (g->rare == NULL)
        g->rare = PyMem_Calloc(COIR_GREEN_RARE, sizeof *g->rare);
    if (g->rare == NULL) {
        Py_DECREF(value);
        PyErr_NoMemory();
        return -1;
    }
    Py_XSETREF(g->rare[which], value);
    return 0;
}

/* --- links --------------------------------------------------------------- */

/* As `del list[0]`, of a list that is not empty, for which memory may lack. */
static PyObject *
take_first(PyObject *list)
{
    Py_ssize_t left = PyList_GET_SIZE(list) - 1;
    PyObject *first = PyList_GET_ITEM(list, 0);
    for (Py_ssize_t i = 0; i < left; i++)
        PyList_SET_ITEM(list, i, PyList_GET_ITEM(list, i + 1));
    Py_SET_SIZE(list, left);
    return first;
}

static void
call_links(GreenObject *g, LoopObject *loop)
{
    while (g->links != NULL) {
        PyObject *link = g->links;
        if (!PyList_CheckExact(link)) {
            g->links = NULL;
        }
        else {
            if (PyList_GET_SIZE(link) == 0)
                return;
            /* A link may remove others, or add some. */
            link = take_first(link);
        }
        PyObject *res = PyObject_CallOneArg(link, (PyObject *)g);
        if (res == NULL) {
            PyObject *exc = coir__error_take();
            PyObject *context = PyTuple_Pack(2, link, (PyObject *)g);
            if (context == NULL)
                PyErr_Clear();
            coir__error_give(exc);
            coir__loop_error(loop, context);
            Py_XDECREF(context);
        }
        Py_XDECREF(res);
        Py_DECREF(link);
    }
}

static void
run_links(coir_ready *r, LoopObject *loop)
{
    GreenObject *g = green_of(r);
    g->notifies = 0;
    call_links(g, loop);
    Py_DECREF(g);
}

static const coir_ready_kind links_kind; /* see below */

/* Where its links are to be called, borrowed; NULL if there is no such place:
 * its thread ends, for instance. */
static LoopObject *
loop_for_links(GreenObject *g)
{
    PyObject *exc = coir__error_take();
    LoopObject *loop = coir__green_loop(g);
    if (loop == NULL && coir__pythread != NULL) {
        PyErr_Clear();
        HubObject *hub = coir__hub_if_any(coir__pythread);
        loop = hub != NULL ? hub->loop : NULL;
    }
    coir__error_give(exc);
    return loop;
}

/* It has ended: have its links called, unless they are going to be. */
static int
schedule_links(GreenObject *g)
{
    if (g->notifies || g->links == NULL)
        return 0;
    if (Py_IS_TYPE(g->links, &coir__iwait_type)) {
        PyObject *iwait = g->links;
        g->links = NULL;
        int err = coir__iwait_notify(iwait, (PyObject *)g);
        Py_DECREF(iwait);
        return err;
    }
    /* Who kills one that never ran may count on that it is still in there. */
    if (g->start == COIR_GREEN_STARTED &&
        Py_IS_TYPE(g->links, &coir__group_link_type)) {
        int told = coir__group_tell(g->links, (PyObject *)g);
        if (told != 0) {
            Py_CLEAR(g->links);
            return told < 0 ? -1 : 0;
        }
    }
    if (PyList_CheckExact(g->links) && PyList_GET_SIZE(g->links) == 0)
        return 0;
    LoopObject *loop = loop_for_links(g);
    if (loop == NULL)
        return 0;
    g->notifies = 1;
    g->ready.kind = &links_kind;
    Py_INCREF(g);
    coir__loop_soon(loop, &g->ready);
    return 0;
}

int
coir__green_link(GreenObject *g, PyObject *callback)
{
    if (g->links == NULL) {
        g->links = Py_NewRef(callback);
    }
    else if (PyList_CheckExact(g->links)) {
        if (PyList_Append(g->links, callback) < 0)
            return -1;
    }
    else {
        PyObject *list = PyList_New(2);
        if (list == NULL)
            return -1;
        PyList_SET_ITEM(list, 0, g->links);
        PyList_SET_ITEM(list, 1, Py_NewRef(callback));
        g->links = list;
    }
    return coir__green_ready(g) ? schedule_links(g) : 0;
}

int
coir__green_unlink(GreenObject *g, PyObject *callback)
{
    PyObject *links = g->links;
    if (links == NULL)
        return 0;
    int same = 0;
    if (!PyList_CheckExact(links)) {
        Py_INCREF(links);
        same = PyObject_RichCompareBool(links, callback, Py_EQ);
        if (same > 0 && g->links == links)
            Py_CLEAR(g->links);
        Py_DECREF(links);
        return same < 0 ? -1 : 0;
    }
    Py_INCREF(links);
    for (Py_ssize_t i = 0; same == 0 && i < PyList_GET_SIZE(links); i++) {
        PyObject *link = Py_NewRef(PyList_GET_ITEM(links, i));
        same = PyObject_RichCompareBool(link, callback, Py_EQ);
        if (same > 0 && i < PyList_GET_SIZE(links) &&
            PyList_GET_ITEM(links, i) == link)
            same = PyList_SetSlice(links, i, i + 1, NULL) < 0 ? -1 : 1;
        Py_DECREF(link);
    }
    Py_DECREF(links);
    return same < 0 ? -1 : 0;
}

/* --- the end ------------------------------------------------------------- */

/* Wake who joins it, call its links. 0, or -1 with an exception. */
static int
announce(GreenObject *g)
{
    g->finished = 1;
    int err = schedule_links(g);
    while (g->waiters.head != NULL)
        coir__wake(coir__wait_of(g->waiters.head), NULL);
    return err;
}

/* Steals the value. */
static int
report_result(GreenObject *g, PyObject *value)
{
    Py_XSETREF(g->value, value);
    return announce(g);
}

/* What it failed with is the pending exception. Returns 0, or -1 with an
 * exception, if the hub doesn't want to hear of it. */
int
coir__green_report_error(GreenObject *g)
{
    PyObject *exc = coir__error_take();
    if (PyErr_GivenExceptionMatches(exc, coir__core.exit))
        return report_result(g, exc); /* being asked to end is no error */
    PyObject *tb = PyException_GetTraceback(exc);
    Py_XSETREF(g->exc, Py_NewRef(exc));
    if (coir__green_set_rare(g, COIR_GREEN_TRACEBACK, Py_XNewRef(tb)) < 0)
        PyErr_Clear(); /* it is in the exception, too */
    int err = announce(g);
    HubObject *hub = err == 0 ? coir__green_hub(g) : NULL;
    if (hub != NULL) {
        PyObject *args[] = {(PyObject *)hub, (PyObject *)g,
                            (PyObject *)Py_TYPE(exc), exc,
                            tb != NULL ? tb : Py_None};
        Py_INCREF(hub);
        PyObject *res = PyObject_VectorcallMethod(
            coir__green.str_handle_error, args,
            5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        /* A handler's own error goes through it as one of ours. */
        if (res == NULL && hub->loop != NULL &&
            !PyErr_ExceptionMatches(coir__core.exit)) {
            coir__loop_error(hub->loop, (PyObject *)g);
            res = Py_NewRef(Py_None);
        }
        Py_DECREF(hub);
        Py_XDECREF(res);
        err = res != NULL ? 0 : -1;
    }
    else if (err == 0) { /* its parent is to know */
        err = -1;
        coir__error_give(Py_NewRef(exc));
    }
    Py_XDECREF(tb);
    Py_DECREF(exc);
    return err;
}

/* The same by way of a subclass's _report_error(exc_info). */
int
coir__green_report(GreenObject *g)
{
    if (Py_IS_TYPE(g, &coir__green_type))
        return coir__green_report_error(g);
    PyObject *exc = coir__error_take();
    PyObject *tb = PyException_GetTraceback(exc);
    PyObject *res = NULL;
    PyObject *info = PyTuple_Pack(3, (PyObject *)Py_TYPE(exc), exc,
                                  tb != NULL ? tb : Py_None);
    if (info != NULL)
        res = PyObject_CallMethodOneArg((PyObject *)g,
                                        coir__green.str_report_error, info);
    Py_XDECREF(info);
    Py_XDECREF(tb);
    Py_DECREF(exc);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* It needs no longer what it was to run. */
void
coir__green_drop_run(GreenObject *g)
{
    Py_CLEAR(g->run);
    Py_CLEAR(g->args);
    (void)coir__green_set_rare(g, COIR_GREEN_KWARGS, NULL);
    PyObject *dict = g->base.dict;
    if (dict != NULL && !Py_IS_TYPE(g, &coir__green_type)) {
        PyObject *exc = coir__error_take();
        if (PyDict_DelItem(dict, coir__green.str__run) < 0)
            PyErr_Clear();
        coir__error_give(exc);
    }
}

/* --- the body ------------------------------------------------------------ */

/* The collector need not know what the queue owns: no use to look at, again
 * and again, when very many have been spawned. */
static void
hide(GreenObject *g)
{
    PyObject_GC_UnTrack(g);
}

static void
show(GreenObject *g)
{
    if (!PyObject_GC_IsTracked((PyObject *)g))
        PyObject_GC_Track(g);
}

/* There will be no other start. */
void
coir__green_cancel_start(GreenObject *g)
{
    uint8_t was = g->start;
    if (was == COIR_GREEN_STARTED)
        return;
    g->start = COIR_GREEN_CANCELLED;
    if (was == COIR_GREEN_QUEUED) {
        coir__list_remove(&g->ready.node);
        show(g);
        Py_DECREF(g); /* never the last: the caller has one */
    }
    PyObject *timer = Py_XNewRef(coir__green_rare(g, COIR_GREEN_TIMER));
    if (timer == NULL)
        return;
    (void)coir__green_set_rare(g, COIR_GREEN_TIMER, NULL);
    coir__standin_stop(timer);
    Py_DECREF(timer);
}

static PyObject *
call(PyObject *run, PyObject *args, PyObject *kwargs)
{
    if (kwargs != NULL)
        return PyObject_Call(run, args, kwargs);
    return PyObject_Vectorcall(run, &PyTuple_GET_ITEM(args, 0),
                               (size_t)PyTuple_GET_SIZE(args), NULL);
}

static PyObject *
call_run(GreenObject *g)
{
    coir_block *b = g->base.block;
    PyObject *run =
        g->run != NULL ? Py_NewRef(g->run)
                       : PyObject_GetAttr((PyObject *)g, coir__green.str__run);
    if (run == NULL)
        return NULL;
    PyObject *args =
        Py_NewRef(g->args != NULL ? g->args : coir__core.empty_tuple);
    PyObject *kwargs = Py_XNewRef(coir__green_rare(g, COIR_GREEN_KWARGS));
    if (COIR__LIKELY(b->entry != NULL && b->state == GREENLET_ACTIVE &&
                     b->callable == NULL)) {
        /* The references are the block's: the collector must know them to
         * find a greenlet that is reachable only from itself. */
        b->callable = run;
        b->args = args;
        b->kwargs = kwargs;
        return call(run, args, kwargs);
    }
    /* Somebody calls run() in another greenlet, or in an overridden one. */
    PyObject *res = call(run, args, kwargs);
    Py_DECREF(run);
    Py_DECREF(args);
    Py_XDECREF(kwargs);
    return res;
}

PyObject *
coir__green_run(GreenObject *g)
{
    coir__green_cancel_start(g);
    g->start = COIR_GREEN_STARTED;
    PyObject *res = call_run(g);
    int err = COIR__LIKELY(res != NULL) ? report_result(g, res)
                                        : coir__green_report(g);
    coir__green_drop_run(g);
    return err == 0 ? Py_NewRef(Py_None) : NULL;
}

/* The coir_entry. */
static PyObject *
green_entry(GreenletObject *base)
{
    GreenObject *g = (GreenObject *)base;
    if (starting == g) {
        starting = NULL;
        Py_DECREF(g); /* running, it is its thread's */
    }
    return coir__green_run(g);
}

/* It could not begin, for lack of memory perhaps: that is its error. */
static PyObject *
fail_start(GreenObject *g)
{
    PyObject *exc = coir__error_take();
    g->start = COIR_GREEN_CANCELLED;
    coir__green_drop_run(g);
    coir__error_give(exc);
    return coir__green_report(g) == 0 ? Py_NewRef(Py_None) : NULL;
}

/* Its turn has come. */
static void
run_start(coir_ready *r, LoopObject *loop)
{
    GreenObject *g = green_of(r);
    coir_pythread *t = coir__pythread_get();
    show(g);
    if (t == NULL) {
        g->start = COIR_GREEN_CANCELLED;
        coir__loop_error(loop, NULL);
        Py_DECREF(g);
        return;
    }
    if (COIR__UNLIKELY(g->base.block->state == GREENLET_DEAD)) {
        /* greenlet.throw(g), the base's: nobody was told. */
        g->start = COIR_GREEN_CANCELLED;
        if (coir__green_report_early_death(g, NULL, 0) < 0)
            coir__loop_error(loop, (PyObject *)g);
        Py_DECREF(g);
        return;
    }
    g->start = COIR_GREEN_STARTED;
    /* The hub must not keep it: one that nobody else knows is to end. */
    int gives = g->base.block->entry != NULL;
    if (gives)
        starting = g;
    coir_payload p = {Py_NewRef(coir__core.empty_tuple), NULL, 1};
    PyObject *res = coir__greenlet_switch(t, &g->base, p);
    /* One that gives is gone, maybe, unless it is there to be begun still. */
    if (res == NULL &&
        (gives ? starting == g : g->base.block->state == GREENLET_NEW))
        res = fail_start(g);
    if (res == NULL)
        coir__loop_error(loop, gives && starting != g ? NULL : (PyObject *)g);
    Py_XDECREF(res);
    if (!gives) {
        Py_DECREF(g);
    }
    else if (starting == g) { /* it could not be switched to */
        starting = NULL;
        Py_DECREF(g);
    }
}

static void
drop(coir_ready *r)
{
    GreenObject *g = green_of(r);
    coir__list_remove(&r->node);
    if (g->start == COIR_GREEN_QUEUED) {
        g->start = COIR_GREEN_CANCELLED;
        show(g);
    }
    g->notifies = 0;
    Py_DECREF(g);
}

/* It will never run: as if it had been killed, but nobody is told. */
static void
end_unstarted(GreenObject *g)
{
    coir__green_cancel_start(g);
    if (g->finished || g->start != COIR_GREEN_CANCELLED)
        return;
    PyObject *exc = PyObject_CallNoArgs(coir__core.exit);
    if (exc == NULL)
        PyErr_WriteUnraisable((PyObject *)g);
    Py_XSETREF(g->value, exc);
    g->finished = 1;
    coir__green_drop_run(g);
}

static void
forget_start(coir_ready *r)
{
    GreenObject *g = green_of(r);
    Py_INCREF(g);
    end_unstarted(g);
    Py_DECREF(g);
}

static const coir_ready_kind links_kind = {run_links, drop, drop};
static const coir_ready_kind start_kind = {run_start, drop, forget_start};

void
coir__green_forget_later(PyObject *op)
{
    if (green_check(op) && ((GreenObject *)op)->start == COIR_GREEN_LATER)
        end_unstarted((GreenObject *)op);
}

PyObject *
coir__green_queued(PyObject *Py_UNUSED(module), PyObject *op)
{
    if (!PyObject_TypeCheck(op, &coir__loop_type))
        return PyErr_Format(PyExc_TypeError, "not a loop: %R", op);
    PyObject *list = PyList_New(0);
    coir_node *at = list ? ((LoopObject *)op)->ready.head : NULL;
    for (; at != NULL; at = at->next) {
        coir_ready *r = (coir_ready *)at; /* its first member */
        if (r->kind == &start_kind &&
            PyList_Append(list, (PyObject *)green_of(r)) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

static int
call_spawn_callbacks(PyObject *op)
{
    PyObject *all = PySequence_Tuple(coir__green.spawn_callbacks);
    if (all == NULL)
        return -1;
    int err = 0;
    for (Py_ssize_t i = 0; err == 0 && i < PyTuple_GET_SIZE(all); i++) {
        PyObject *res = PyObject_CallOneArg(PyTuple_GET_ITEM(all, i), op);
        Py_XDECREF(res);
        err = res != NULL ? 0 : -1;
    }
    Py_DECREF(all);
    return err;
}

int
coir__green_start(GreenObject *g)
{
    if (g->start != COIR_GREEN_NEW)
        return 0;
    if (coir__green.spawn_callbacks != NULL &&
        call_spawn_callbacks((PyObject *)g) < 0)
        return -1;
    LoopObject *loop = coir__green_loop(g);
    if (loop == NULL)
        return -1;
    g->start = COIR_GREEN_QUEUED;
    g->ready.kind = &start_kind;
    Py_INCREF(g);
    hide(g);
    coir__loop_soon(loop, &g->ready);
    return 0;
}

static PyObject *
start_by_timer(PyObject *op, PyObject *Py_UNUSED(unused))
{
    GreenObject *g = (GreenObject *)op;
    if (g->start != COIR_GREEN_LATER)
        Py_RETURN_NONE;
    (void)coir__green_set_rare(g, COIR_GREEN_TIMER, NULL);
    LoopObject *loop = coir__green_loop(g);
    if (loop == NULL) {
        g->start = COIR_GREEN_CANCELLED;
        return NULL;
    }
    Py_INCREF(g);
    run_start(&g->ready, loop);
    Py_RETURN_NONE;
}

static PyMethodDef start_by_timer_def = {"start", start_by_timer, METH_NOARGS,
                                         NULL};

int
coir__green_start_later(GreenObject *g, PyObject *seconds)
{
    if (g->start != COIR_GREEN_NEW)
        return 0;
    if (coir__green.spawn_callbacks != NULL &&
        call_spawn_callbacks((PyObject *)g) < 0)
        return -1;
    LoopObject *loop = coir__green_loop(g);
    if (loop == NULL)
        return -1;
    PyObject *res = NULL;
    PyObject *by =
        Py_NewRef(loop->stand_in != NULL ? loop->stand_in : (PyObject *)loop);
    PyObject *timer = PyObject_CallMethod(by, "timer", "(O)", seconds);
    Py_DECREF(by);
    PyObject *func = PyCFunction_New(&start_by_timer_def, (PyObject *)g);
    if (timer != NULL && func != NULL &&
        coir__green_set_rare(g, COIR_GREEN_TIMER, Py_NewRef(timer)) == 0) {
        g->start = COIR_GREEN_LATER;
        res = PyObject_CallMethod(timer, "start", "(O)", func);
        if (res == NULL) {
            g->start = COIR_GREEN_NEW;
            (void)coir__green_set_rare(g, COIR_GREEN_TIMER, NULL);
        }
    }
    Py_XDECREF(func);
    Py_XDECREF(timer);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* --- making one ---------------------------------------------------------- */

int
coir__green_has_own(PyTypeObject *type, PyObject *name, PyObject *own)
{
    if (type == &coir__green_type)
        return 1;
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    if (found == NULL)
        return -1;
    Py_DECREF(found);
    return found == own;
}

PyObject *
coir__green_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                PyObject *Py_UNUSED(kwargs))
{
    PyObject *op = coir__greenlet_type.tp_new(type, NULL, NULL);
    if (op == NULL)
        return NULL;
    int own =
        coir__green_has_own(type, coir__green.str_run, coir__green.own_run);
    if (own < 0) {
        Py_DECREF(op);
        return NULL;
    }
    if (own)
        ((GreenObject *)op)->base.block->entry = green_entry;
    return op;
}

/* The dict that `spawner` shares with what it spawns: a new reference, NULL
 * for one of its own for each, or with an exception. */
static PyObject *
locals_of(PyObject *spawner)
{
    PyObject *found;
    if (green_check(spawner)) {
        GreenObject *g = (GreenObject *)spawner;
        if (g->locals == NULL || g->locals == Py_None)
            Py_XSETREF(g->locals, PyDict_New());
        return Py_XNewRef(g->locals);
    }
    if (((GreenletObject *)spawner)->block->flags & GREENLET_MAIN)
        return NULL;
    found = PyObject_GetAttr(spawner, coir__green.str_locals);
    if (found != NULL && found != Py_None)
        return found;
    Py_XDECREF(found);
    PyErr_Clear();
    found = PyDict_New();
    if (found != NULL &&
        PyObject_SetAttr(spawner, coir__green.str_locals, found) < 0)
        Py_CLEAR(found);
    return found;
}

static int
frames_limit(PyTypeObject *type)
{
    if (type == &coir__green_type)
        return 10;
    PyObject *limit =
        PyObject_GetAttr((PyObject *)type, coir__green.str_limit);
    long n = limit != NULL ? PyLong_AsLong(limit) : -1;
    Py_XDECREF(limit);
    if (n == -1 && PyErr_Occurred())
        return -1;
    return n > COIR_SPAWN_PLACES ? COIR_SPAWN_PLACES : n < 0 ? 0 : (int)n;
}

/* Note by whom and where it was made. */
static int
track(GreenObject *g, GreenletObject *spawner)
{
    g->tracked = 1;
    PyObject *ref = PyWeakref_NewRef((PyObject *)spawner, NULL);
    if (ref == NULL)
        return -1;
    Py_XSETREF(g->spawner, ref);
    PyObject *locals = locals_of((PyObject *)spawner);
    if (locals == NULL && PyErr_Occurred())
        return -1;
    Py_XSETREF(g->locals, locals);
    int limit = frames_limit(Py_TYPE(g));
    if (limit < 0)
        return -1;
    coir_spawn_stack *old = g->stack;
    g->stack = coir__spawn_stack_take(limit);
    if (old != NULL)
        coir__spawn_stack_free(old);
    return 0;
}

static int
inherit_context(GreenObject *g)
{
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL)
        return -1;
    int err = coir_pystate_set_context(&g->base.block->py, NULL, context);
    Py_DECREF(context);
    return err;
}

static COIR__COLD int
not_callable(void)
{
    PyErr_SetString(PyExc_TypeError,
                    "The run argument or self._run must be callable");
    return -1;
}

/* `run` is what was given, None or NULL for nothing. */
static int
init_run(GreenObject *g, PyObject *run)
{
    int own = coir__green_has_own(Py_TYPE(g), coir__green.str__run,
                                  coir__green.own__run);
    if (own < 0)
        return -1;
    if (run != NULL && run != Py_None) {
        if (!PyCallable_Check(run))
            return not_callable();
        if (!own)
            return PyObject_SetAttr((PyObject *)g, coir__green.str__run, run);
        Py_XSETREF(g->run, Py_NewRef(run));
        return 0;
    }
    if (own)
        return 0;
    run = PyObject_GetAttr((PyObject *)g, coir__green.str__run);
    if (run == NULL)
        return -1;
    int ok = PyCallable_Check(run);
    Py_DECREF(run);
    return ok ? 0 : not_callable();
}

/* Steals `args` and `kwargs`, which may be NULL. */
static int
init(GreenObject *g, PyObject *run, PyObject *args, PyObject *kwargs)
{
    Py_XSETREF(g->args, args);
    if (coir__green_set_rare(g, COIR_GREEN_KWARGS, kwargs) < 0)
        return -1;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    GreenletObject *spawner = t->current;
    if (COIR__UNLIKELY(g->base.block->state != GREENLET_NEW)) {
        if (coir__greenlet_set_parent(&g->base, (PyObject *)hub) < 0)
            return -1;
    }
    else if ((GreenletObject *)hub != g->base.block->parent) {
        coir__block_set_parent(g->base.block,
                               (GreenletObject *)Py_NewRef((PyObject *)hub));
    }
    if (init_run(g, run) < 0)
        return -1;
    if (COIR__UNLIKELY(coir__green.copy_context) && inherit_context(g) < 0)
        return -1;
    return coir__green.track_tree ? track(g, spawner) : 0;
}

int
coir__green_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *run = NULL;
    PyObject *rest = NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        kwargs = PyDict_Copy(kwargs);
        if (kwargs == NULL)
            return -1;
        PyObject *given = PyDict_GetItemWithError(kwargs, coir__green.str_run);
        if (given != NULL && n > 0) {
            PyErr_SetString(PyExc_TypeError,
                            "Greenlet() got multiple values for 'run'");
            goto fail;
        }
        if (given != NULL) {
            run = Py_NewRef(given);
            if (PyDict_DelItem(kwargs, coir__green.str_run) < 0)
                goto fail;
            if (PyDict_GET_SIZE(kwargs) == 0)
                Py_CLEAR(kwargs);
        }
        else if (PyErr_Occurred()) {
            goto fail;
        }
    }
    else {
        kwargs = NULL;
    }
    if (n > 0)
        run = Py_NewRef(PyTuple_GET_ITEM(args, 0));
    if (n > 1) {
        rest = PyTuple_GetSlice(args, 1, n);
        if (rest == NULL)
            goto fail;
    }
    int err = init((GreenObject *)op, run, rest, kwargs);
    Py_XDECREF(run);
    return err;

fail:
    Py_XDECREF(run);
    Py_XDECREF(kwargs);
    return -1;
}

/* May instances be made without calling the class? */
static inline int
is_plain(const PyTypeObject *type)
{
    return type->tp_new == coir__green_new &&
           type->tp_init == coir__green_init;
}

/* Take what is to be run, and the other arguments, out of a vectorcall. All
 * are new references or NULL; 0, or -1 with an exception. */
static int
split_arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                PyObject **run, PyObject **rest, PyObject **kwargs)
{
    if (nargs > 0)
        *run = Py_NewRef(args[0]);
    if (nargs > 1) {
        *rest = PyTuple_New(nargs - 1);
        if (*rest == NULL)
            return -1;
        for (Py_ssize_t i = 1; i < nargs; i++)
            PyTuple_SET_ITEM(*rest, i - 1, Py_NewRef(args[i]));
    }
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_Compare(key, coir__green.str_run) == 0) {
            if (*run != NULL) {
                PyErr_SetString(PyExc_TypeError,
                                "Greenlet() got multiple values for 'run'");
                return -1;
            }
            *run = Py_NewRef(args[nargs + i]);
            continue;
        }
        if (*kwargs == NULL && (*kwargs = PyDict_New()) == NULL)
            return -1;
        if (PyDict_SetItem(*kwargs, key, args[nargs + i]) < 0)
            return -1;
    }
    return 0;
}

/* The class called with these arguments: a new reference. */
static PyObject *
green_make(PyTypeObject *type, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    if (!is_plain(type))
        return PyObject_Vectorcall((PyObject *)type, args, (size_t)nargs,
                                   kwnames);
    PyObject *run = NULL, *rest = NULL, *kwargs = NULL;
    PyObject *op = NULL;
    if (split_arguments(args, nargs, kwnames, &run, &rest, &kwargs) == 0)
        op = coir__green_new(type, NULL, NULL);
    if (op == NULL) {
        Py_XDECREF(rest);
        Py_XDECREF(kwargs);
    }
    else if (init((GreenObject *)op, run, rest, kwargs) < 0) {
        Py_CLEAR(op);
    }
    Py_XDECREF(run);
    return op;
}

PyObject *
coir__green_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf,
                       PyObject *kwnames)
{
    return green_make((PyTypeObject *)type, args, PyVectorcall_NARGS(nargsf),
                      kwnames);
}

PyObject *
coir__green_spawn(PyObject *type, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    PyObject *op = green_make((PyTypeObject *)type, args, nargs, kwnames);
    if (op == NULL)
        return NULL;
    int err;
    if (Py_IS_TYPE(op, &coir__green_type)) {
        err = coir__green_start((GreenObject *)op);
    }
    else {
        PyObject *res = PyObject_CallMethodNoArgs(op, coir__green.str_start);
        err = res != NULL ? 0 : -1;
        Py_XDECREF(res);
    }
    if (err < 0)
        Py_CLEAR(op);
    return op;
}

PyObject *
coir__green_spawn_later(PyObject *type, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs < 1 || (nargs < 2 && kwnames == NULL &&
                      type == (PyObject *)&coir__green_type)) {
        PyErr_SetString(PyExc_TypeError,
                        "spawn_later() needs the seconds and a function");
        return NULL;
    }
    PyObject *op =
        green_make((PyTypeObject *)type, args + 1, nargs - 1, kwnames);
    if (op == NULL)
        return NULL;
    PyObject *res = PyObject_CallMethod(op, "start_later", "(O)", args[0]);
    if (res == NULL)
        Py_CLEAR(op);
    Py_XDECREF(res);
    return op;
}

/* --- collection ---------------------------------------------------------- */

int
coir__green_traverse(PyObject *op, visitproc visit, void *arg)
{
    GreenObject *g = (GreenObject *)op;
    Py_VISIT(g->links);
    Py_VISIT(g->run);
    Py_VISIT(g->args);
    Py_VISIT(g->value);
    Py_VISIT(g->exc);
    for (int i = 0; g->rare != NULL && i < COIR_GREEN_RARE; i++)
        Py_VISIT(g->rare[i]);
    Py_VISIT(g->spawner);
    Py_VISIT(g->locals);
    int err = coir__list_traverse(&g->waiters, visit, arg);
    return err == 0 ? coir__greenlet_type.tp_traverse(op, visit, arg) : err;
}

int
coir__green_clear(PyObject *op)
{
    GreenObject *g = (GreenObject *)op;
    Py_CLEAR(g->links);
    Py_CLEAR(g->run);
    Py_CLEAR(g->args);
    Py_CLEAR(g->value);
    Py_CLEAR(g->exc);
    for (int i = 0; g->rare != NULL && i < COIR_GREEN_RARE; i++)
        Py_CLEAR(g->rare[i]);
    Py_CLEAR(g->spawner);
    Py_CLEAR(g->locals);
    return coir__greenlet_type.tp_clear(op);
}

void
coir__green_dealloc(PyObject *op)
{
    GreenObject *g = (GreenObject *)op;
    if (coir__greenlet_resurrect(op))
        return;
    PyObject_GC_UnTrack(op);
    Py_TRASHCAN_BEGIN(op, coir__green_dealloc);
    (void)coir__green_clear(op);
    PyMem_Free(g->rare);
    if (g->stack != NULL)
        coir__spawn_stack_free(g->stack);
    g->stack = NULL;
    coir__greenlet_type.tp_dealloc(op);
    Py_TRASHCAN_END
}
