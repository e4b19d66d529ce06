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
 * An iwait() that is the only link is told at once: it only takes notes.
 *
 * `_run` is what it runs. Given to the constructor it is kept here, unless the
 * class is one that has a `_run` of its own: then in the instance's dict, so
 * that it goes before that. A class with a `run` of its own runs that. */
#include "green.h"

#include <stddef.h>

/* greenlet.GreenletTree and such can be had; config.track_greenlet_tree. */
static int track_tree = 1;
/* Greenlets start in a copy of their spawner's context, not in an empty one.
 */
static int copy_context;
/* A set, strong; NULL if there are none. */
static PyObject *spawn_callbacks;
/* What the queue's reference is to, from the switch to the body's begin. */
static GreenObject *starting;
/* Greenlet.run and Greenlet._run as they are in the type: borrowed. */
static PyObject *own_run;
static PyObject *own__run;

static PyObject *str__run; /* strong, as are all names */
static PyObject *str_run;
static PyObject *str_name;
static PyObject *str_locals;
static PyObject *str_limit;
static PyObject *str_start;
static PyObject *str_join;
static PyObject *str_kill;
static PyObject *str_handle_error;
static PyObject *str_report_error;
static PyObject *str_self;
static PyObject *str___name__;

/* --- small things -------------------------------------------------------- */

static GreenObject *
green_of(coir_ready *r)
{
    return (GreenObject *)((char *)r - offsetof(GreenObject, ready));
}

static inline int
is_current(const GreenObject *g)
{
    const coir_pythread *t = coir__pythread;
    return t != NULL && t->current == &g->base;
}

static inline int
is_dead(const GreenObject *g)
{
    if (g->start == COIR_GREEN_QUEUED || is_current(g))
        return 0; /* without a look at its block, which is cold */
    return g->start == COIR_GREEN_CANCELLED ||
           g->base.block->state == GREENLET_DEAD;
}

int
coir__green_ready(GreenObject *g)
{
    return g->finished || is_dead(g);
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
static LoopObject *
loop_of(GreenObject *g)
{
    HubObject *hub = coir__green_hub(g);
    if (hub == NULL)
        return NULL;
    if (hub->loop == NULL || hub->loop->loop == NULL)
        PyErr_SetString(PyExc_RuntimeError,
                        "the hub of this Greenlet was destroyed");
    return PyErr_Occurred() ? NULL : hub->loop;
}

/* --- links --------------------------------------------------------------- */

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
            link = Py_NewRef(PyList_GET_ITEM(g->links, 0));
            if (PyList_SetSlice(g->links, 0, 1, NULL) < 0)
                coir__loop_error(loop, (PyObject *)g);
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
    if (PyList_CheckExact(g->links) && PyList_GET_SIZE(g->links) == 0)
        return 0;
    LoopObject *loop = loop_of(g);
    if (loop == NULL)
        return -1;
    g->notifies = 1;
    g->ready.run = run_links;
    Py_INCREF(g);
    coir__loop_ready(loop, &g->ready);
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
static COIR__COLD int
report_error(GreenObject *g)
{
    PyObject *exc = coir__error_take();
    if (PyErr_GivenExceptionMatches(exc, coir__core.exit))
        return report_result(g, exc); /* being asked to end is no error */
    PyObject *tb = PyException_GetTraceback(exc);
    g->exc = exc;
    g->tb = tb;
    Py_INCREF(exc);
    Py_XINCREF(tb);
    int err = announce(g);
    HubObject *hub = err == 0 ? coir__green_hub(g) : NULL;
    if (hub != NULL) {
        PyObject *args[] = {(PyObject *)hub, (PyObject *)g,
                            (PyObject *)Py_TYPE(exc), exc,
                            tb != NULL ? tb : Py_None};
        Py_INCREF(hub);
        PyObject *res = PyObject_VectorcallMethod(
            str_handle_error, args, 5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(hub);
        Py_XDECREF(res);
        err = res != NULL ? 0 : -1;
    }
    else {
        err = -1;
    }
    Py_XDECREF(tb);
    Py_DECREF(exc);
    return err;
}

/* The same by way of a subclass's _report_error(exc_info). */
static COIR__COLD int
report_error_of(GreenObject *g)
{
    if (Py_IS_TYPE(g, &coir__green_type))
        return report_error(g);
    PyObject *exc = coir__error_take();
    PyObject *tb = PyException_GetTraceback(exc);
    PyObject *res = NULL;
    PyObject *info = PyTuple_Pack(3, (PyObject *)Py_TYPE(exc), exc,
                                  tb != NULL ? tb : Py_None);
    if (info != NULL)
        res = PyObject_CallMethodOneArg((PyObject *)g, str_report_error, info);
    Py_XDECREF(info);
    Py_XDECREF(tb);
    Py_DECREF(exc);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* It needs no longer what it was to run. */
static void
drop_run(GreenObject *g)
{
    Py_CLEAR(g->run);
    Py_CLEAR(g->args);
    Py_CLEAR(g->kwargs);
    PyObject *dict = g->base.dict;
    if (dict != NULL && !Py_IS_TYPE(g, &coir__green_type)) {
        PyObject *exc = coir__error_take();
        if (PyDict_DelItem(dict, str__run) < 0)
            PyErr_Clear();
        coir__error_give(exc);
    }
}

static int report_early_death(GreenObject *g, PyObject *const *args,
                              Py_ssize_t nargs);

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
static void
cancel_start(GreenObject *g)
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
    PyObject *timer = g->timer;
    if (timer == NULL)
        return;
    g->timer = NULL;
    static const char *const names[] = {"stop", "close"};
    PyObject *exc = coir__error_take();
    for (size_t i = 0; i < 2; i++) {
        PyObject *res = PyObject_CallMethod(timer, names[i], NULL);
        if (res == NULL)
            PyErr_WriteUnraisable(timer);
        Py_XDECREF(res);
    }
    coir__error_give(exc);
    Py_DECREF(timer);
}

static PyObject *
call_run(GreenObject *g)
{
    coir_block *b = g->base.block;
    /* The block has references of its own while it runs: the collector must
     * know them to find one that is reachable only from itself. */
    b->callable = g->run != NULL ? Py_NewRef(g->run)
                                 : PyObject_GetAttr((PyObject *)g, str__run);
    if (b->callable == NULL)
        return NULL;
    b->args = Py_NewRef(g->args != NULL ? g->args : coir__core.empty_tuple);
    b->kwargs = Py_XNewRef(g->kwargs);
    if (b->kwargs == NULL)
        return PyObject_Vectorcall(b->callable, &PyTuple_GET_ITEM(b->args, 0),
                                   (size_t)PyTuple_GET_SIZE(b->args), NULL);
    return PyObject_Call(b->callable, b->args, b->kwargs);
}

static PyObject *
run_body(GreenObject *g)
{
    cancel_start(g);
    g->start = COIR_GREEN_STARTED;
    PyObject *res = call_run(g);
    int err =
        COIR__LIKELY(res != NULL) ? report_result(g, res) : report_error_of(g);
    drop_run(g);
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
    return run_body(g);
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
        if (report_early_death(g, NULL, 0) < 0)
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

static int
call_spawn_callbacks(PyObject *op)
{
    PyObject *all = PySequence_Tuple(spawn_callbacks);
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

static int
start(GreenObject *g)
{
    if (g->start != COIR_GREEN_NEW)
        return 0;
    if (spawn_callbacks != NULL && call_spawn_callbacks((PyObject *)g) < 0)
        return -1;
    LoopObject *loop = loop_of(g);
    if (loop == NULL)
        return -1;
    g->start = COIR_GREEN_QUEUED;
    g->ready.run = run_start;
    Py_INCREF(g);
    coir__loop_ready(loop, &g->ready);
    hide(g);
    return 0;
}

static PyObject *
start_by_timer(PyObject *op, PyObject *Py_UNUSED(unused))
{
    GreenObject *g = (GreenObject *)op;
    PyObject *timer = g->timer;
    if (g->start != COIR_GREEN_LATER)
        Py_RETURN_NONE;
    g->timer = NULL;
    Py_XDECREF(timer);
    LoopObject *loop = loop_of(g);
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

static int
start_later(GreenObject *g, PyObject *seconds)
{
    if (g->start != COIR_GREEN_NEW)
        return 0;
    if (spawn_callbacks != NULL && call_spawn_callbacks((PyObject *)g) < 0)
        return -1;
    LoopObject *loop = loop_of(g);
    if (loop == NULL)
        return -1;
    PyObject *res = NULL;
    PyObject *timer =
        PyObject_CallMethod((PyObject *)loop, "timer", "(O)", seconds);
    PyObject *func = PyCFunction_New(&start_by_timer_def, (PyObject *)g);
    if (timer != NULL && func != NULL) {
        g->start = COIR_GREEN_LATER;
        g->timer = Py_NewRef(timer);
        res = PyObject_CallMethod(timer, "start", "(O)", func);
        if (res == NULL) {
            g->start = COIR_GREEN_NEW;
            Py_CLEAR(g->timer);
        }
    }
    Py_XDECREF(func);
    Py_XDECREF(timer);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* --- making one ---------------------------------------------------------- */

/* Is this attribute, of a class that may be derived, still the one of ours?
 * -1 with an exception. */
static int
has_own(PyTypeObject *type, PyObject *name, PyObject *own)
{
    if (type == &coir__green_type)
        return 1;
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    if (found == NULL)
        return -1;
    Py_DECREF(found);
    return found == own;
}

static PyObject *
green_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    PyObject *op = coir__greenlet_type.tp_new(type, NULL, NULL);
    if (op == NULL)
        return NULL;
    int own = has_own(type, str_run, own_run);
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
    found = PyObject_GetAttr(spawner, str_locals);
    if (found != NULL && found != Py_None)
        return found;
    Py_XDECREF(found);
    PyErr_Clear();
    found = PyDict_New();
    if (found != NULL && PyObject_SetAttr(spawner, str_locals, found) < 0)
        Py_CLEAR(found);
    return found;
}

static int
frames_limit(PyTypeObject *type)
{
    if (type == &coir__green_type)
        return 10;
    PyObject *limit = PyObject_GetAttr((PyObject *)type, str_limit);
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
    int own = has_own(Py_TYPE(g), str__run, own__run);
    if (own < 0)
        return -1;
    if (run != NULL && run != Py_None) {
        if (!PyCallable_Check(run))
            return not_callable();
        if (!own)
            return PyObject_SetAttr((PyObject *)g, str__run, run);
        Py_XSETREF(g->run, Py_NewRef(run));
        return 0;
    }
    if (own)
        return 0;
    run = PyObject_GetAttr((PyObject *)g, str__run);
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
    Py_XSETREF(g->kwargs, kwargs);
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
    if (COIR__UNLIKELY(copy_context) && inherit_context(g) < 0)
        return -1;
    return track_tree ? track(g, spawner) : 0;
}

static int
green_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *run = NULL;
    PyObject *rest = NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        kwargs = PyDict_Copy(kwargs);
        if (kwargs == NULL)
            return -1;
        PyObject *given = PyDict_GetItemWithError(kwargs, str_run);
        if (given != NULL && n > 0) {
            PyErr_SetString(PyExc_TypeError,
                            "Greenlet() got multiple values for 'run'");
            goto fail;
        }
        if (given != NULL) {
            run = Py_NewRef(given);
            if (PyDict_DelItem(kwargs, str_run) < 0)
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
    return type->tp_new == green_new && type->tp_init == green_init;
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
        if (PyUnicode_Compare(key, str_run) == 0) {
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
        op = green_new(type, NULL, NULL);
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

static PyObject *
green_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf,
                 PyObject *kwnames)
{
    return green_make((PyTypeObject *)type, args, PyVectorcall_NARGS(nargsf),
                      kwnames);
}

static PyObject *
green_spawn(PyObject *type, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *op = green_make((PyTypeObject *)type, args, nargs, kwnames);
    if (op == NULL)
        return NULL;
    int err;
    if (Py_IS_TYPE(op, &coir__green_type)) {
        err = start((GreenObject *)op);
    }
    else {
        PyObject *res = PyObject_CallMethodNoArgs(op, str_start);
        err = res != NULL ? 0 : -1;
        Py_XDECREF(res);
    }
    if (err < 0)
        Py_CLEAR(op);
    return op;
}

static PyObject *
green_spawn_later(PyObject *type, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
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

static int
green_traverse(PyObject *op, visitproc visit, void *arg)
{
    GreenObject *g = (GreenObject *)op;
    Py_VISIT(g->links);
    Py_VISIT(g->run);
    Py_VISIT(g->args);
    Py_VISIT(g->kwargs);
    Py_VISIT(g->value);
    Py_VISIT(g->exc);
    Py_VISIT(g->tb);
    Py_VISIT(g->timer);
    Py_VISIT(g->spawner);
    Py_VISIT(g->locals);
    return coir__greenlet_type.tp_traverse(op, visit, arg);
}

static int
green_clear(PyObject *op)
{
    GreenObject *g = (GreenObject *)op;
    Py_CLEAR(g->links);
    Py_CLEAR(g->run);
    Py_CLEAR(g->args);
    Py_CLEAR(g->kwargs);
    Py_CLEAR(g->value);
    Py_CLEAR(g->exc);
    Py_CLEAR(g->tb);
    Py_CLEAR(g->timer);
    Py_CLEAR(g->spawner);
    Py_CLEAR(g->locals);
    return coir__greenlet_type.tp_clear(op);
}

static void
green_dealloc(PyObject *op)
{
    GreenObject *g = (GreenObject *)op;
    if (coir__greenlet_resurrect(op))
        return;
    PyObject_GC_UnTrack(op);
    Py_TRASHCAN_BEGIN(op, green_dealloc);
    (void)green_clear(op);
    Py_CLEAR(g->ident);
    Py_CLEAR(g->info);
    if (g->stack != NULL)
        coir__spawn_stack_free(g->stack);
    g->stack = NULL;
    coir__greenlet_type.tp_dealloc(op);
    Py_TRASHCAN_END
}

/* --- waiting for the end ------------------------------------------------- */

static PyObject *
reraise(GreenObject *g)
{
    if (g->exc == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this Greenlet has not failed");
        return NULL;
    }
    /* Not with what it went through when it was raised the last time. */
    (void)PyException_SetTraceback(g->exc, g->tb != NULL ? g->tb : Py_None);
    coir__error_give(Py_NewRef(g->exc));
    return NULL;
}

static PyObject *
result_of(GreenObject *g)
{
    if (g->exc != NULL)
        return reraise(g);
    return Py_NewRef(g->value != NULL ? g->value : Py_None);
}

/* Wait until it has ended. 0, 1 after the timeout, or -1. */
static int
park(GreenObject *g, const char *what, int64_t timeout_ns)
{
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    int how;
    PyObject *res =
        coir__park(t, hub, &g->waiters, what, (PyObject *)g, timeout_ns, &how);
    if (res == NULL)
        return -1;
    if (COIR__UNLIKELY(how == COIR_WOKEN_BY_OTHER))
        coir__gevent_error("InvalidSwitchError",
                           "Invalid switch into Greenlet.%s(): %R", what, res);
    Py_DECREF(res);
    if (COIR__UNLIKELY(how == COIR_WOKEN_BY_OTHER))
        return -1;
    return how == COIR_WOKEN_BY_TIME;
}

/* The same with a gevent.Timeout, which is started unless it is pending, and
 * raised in any case. */
static COIR__COLD int
park_with_timeout(GreenObject *g, const char *what, PyObject *timeout)
{
    PyObject *pending = PyObject_GetAttrString(timeout, "pending");
    int on = pending != NULL ? PyObject_IsTrue(pending) : -1;
    Py_XDECREF(pending);
    if (on == 0) {
        PyObject *res = PyObject_CallMethod(timeout, "start", NULL);
        on = res != NULL ? 1 : -1;
        Py_XDECREF(res);
    }
    if (on < 0)
        return -1;
    int err = park(g, what, COIR_FOREVER);
    PyObject *exc = coir__error_take();
    PyObject *res = PyObject_CallMethod(timeout, "cancel", NULL);
    Py_XDECREF(res);
    if (exc != NULL) {
        PyErr_Clear();
        coir__error_give(exc);
        return -1;
    }
    return res != NULL ? err : -1;
}

/* 0, 1 after the timeout, which is not raised if it is a number; or -1. */
static int
wait_for(GreenObject *g, const char *what, PyObject *timeout)
{
    if (timeout == NULL || timeout == Py_None)
        return park(g, what, COIR_FOREVER);
    if (!PyNumber_Check(timeout) && PyObject_HasAttrString(timeout, "pending"))
        return park_with_timeout(g, what, timeout);
    int64_t ns;
    if (coir__timeout_ns(timeout, &ns) < 0)
        return -1;
    return park(g, what, ns);
}

static int
one_argument(const char *name, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames, const char *const *names, PyObject **values,
             Py_ssize_t count)
{
    if (nargs > count) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes at most %zd arguments (%zd given)", name,
                     count, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        values[i] = args[i];
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t k = 0; k < nkw; k++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, k);
        Py_ssize_t i = 0;
        while (i < count &&
               PyUnicode_CompareWithASCIIString(key, names[i]) != 0)
            i++;
        if (i == count || i < nargs) {
            PyErr_Format(PyExc_TypeError,
                         i == count
                             ? "%s() got an unexpected keyword argument %R"
                             : "%s() got multiple values for argument %R",
                         name, key);
            return -1;
        }
        values[i] = args[nargs + k];
    }
    return 0;
}

static PyObject *
green_join(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"timeout"};
    GreenObject *g = (GreenObject *)op;
    PyObject *timeout = NULL;
    if (one_argument("join", args, nargs, kwnames, names, &timeout, 1) < 0)
        return NULL;
    if (!coir__green_ready(g) && wait_for(g, "join", timeout) < 0) {
        PyObject *exc = coir__error_take();
        if (exc != timeout) {
            coir__error_give(exc);
            return NULL;
        }
        Py_DECREF(exc);
    }
    Py_RETURN_NONE;
}

static PyObject *
green_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    static const char *const names[] = {"block", "timeout"};
    GreenObject *g = (GreenObject *)op;
    PyObject *values[2] = {NULL, NULL};
    if (one_argument("get", args, nargs, kwnames, names, values, 2) < 0)
        return NULL;
    if (coir__green_ready(g))
        return result_of(g);
    int block = values[0] != NULL ? PyObject_IsTrue(values[0]) : 1;
    if (block < 0)
        return NULL;
    int late = block ? wait_for(g, "get", values[1]) : 1;
    if (late < 0)
        return NULL;
    if (late) {
        coir__timeout_error(block ? values[1] : NULL);
        return NULL;
    }
    return result_of(g);
}

/* --- killing ------------------------------------------------------------- */

/* Make what throw() is given the pending exception, as if raised. */
static void
raise_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = nargs > 0 ? args[0] : coir__core.exit;
    PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *tb = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    if (PyExceptionInstance_Check(type)) {
        value = type;
        type = (PyObject *)Py_TYPE(value);
    }
    if (!PyExceptionClass_Check(type)) {
        PyObject *tuple = PyTuple_New(nargs);
        for (Py_ssize_t i = 0; tuple != NULL && i < nargs; i++)
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
        if (tuple != NULL)
            PyErr_SetObject(PyExc_BaseException, tuple);
        Py_XDECREF(tuple);
        return;
    }
    PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(tb));
}

/* It was killed before it ran: that has to be told, too. */
static int
report_early_death(GreenObject *g, PyObject *const *args, Py_ssize_t nargs)
{
    if (g->finished || !is_dead(g))
        return 0;
    raise_thrown(args, nargs);
    return report_error_of(g);
}

/* Returns 1 if it is dead now, 0 if it still has to be killed; -1. */
static int
kill_before_start(GreenObject *g, PyObject *exception)
{
    cancel_start(g);
    if (!is_dead(g))
        return 0;
    drop_run(g);
    PyObject *const *args = &exception;
    Py_ssize_t nargs = 1;
    if (PyTuple_Check(exception) && PyTuple_GET_SIZE(exception) == 3) {
        args = &PyTuple_GET_ITEM(exception, 0);
        nargs = 3;
    }
    return report_early_death(g, args, nargs) < 0 ? -1 : 1;
}

static PyObject *
green_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    GreenObject *g = (GreenObject *)op;
    if (nargs > 3) {
        PyErr_Format(PyExc_TypeError,
                     "throw() takes at most 3 arguments (%zd given)", nargs);
        return NULL;
    }
    cancel_start(g);
    PyObject *res = Py_NewRef(Py_None);
    if (!is_dead(g))
        Py_SETREF(res,
                  coir__greenlet_throw(
                      &g->base, nargs > 0 ? args[0] : coir__core.exit,
                      nargs > 1 ? args[1] : NULL, nargs > 2 ? args[2] : NULL));
    PyObject *exc = coir__error_take();
    if (report_early_death(g, args, nargs) < 0) {
        Py_XDECREF(exc);
        Py_CLEAR(res);
        return NULL;
    }
    coir__error_give(exc);
    return res;
}

/* A kill() on its way; owned by the queue and by who waits for it. */
typedef struct {
    coir_ready ready;
    coir_list waiters;
    PyObject *green;     /* strong */
    PyObject *exception; /* strong */
    int refs;
} killing;

static void
killing_release(killing *k)
{
    if (--k->refs > 0)
        return;
    Py_DECREF(k->green);
    Py_DECREF(k->exception);
    PyMem_Free(k);
}

static void
run_killing(coir_ready *r, LoopObject *loop)
{
    killing *k = (killing *)r;
    PyObject *res;
    PyObject *exception = k->exception;
    if (PyTuple_Check(exception) && PyTuple_GET_SIZE(exception) == 3)
        res = PyObject_CallMethod(
            k->green, "throw", "OOO", PyTuple_GET_ITEM(exception, 0),
            PyTuple_GET_ITEM(exception, 1), PyTuple_GET_ITEM(exception, 2));
    else
        res = PyObject_CallMethod(k->green, "throw", "(O)", exception);
    if (res == NULL)
        coir__loop_error(loop, k->green);
    Py_XDECREF(res);
    while (k->waiters.head != NULL)
        coir__wake(coir__wait_of(k->waiters.head), NULL);
    killing_release(k);
}

/* Have it thrown into `g` by the hub; if `block`, wait until it was. */
static int
kill_soon(GreenObject *g, PyObject *exception, int block)
{
    LoopObject *loop = loop_of(g);
    if (loop == NULL)
        return -1;
    killing *k = PyMem_Calloc(1, sizeof *k);
    if (k == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    k->green = Py_NewRef((PyObject *)g);
    k->exception = Py_NewRef(exception);
    k->refs = 1 + block;
    k->ready.run = run_killing;
    coir__loop_ready(loop, &k->ready);
    if (!block)
        return 0;
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    PyObject *res = NULL;
    int how;
    if (hub != NULL)
        res = coir__park(t, hub, &k->waiters, "kill", (PyObject *)g,
                         COIR_FOREVER, &how);
    killing_release(k);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static PyObject *
green_kill(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    static const char *const names[] = {"exception", "block", "timeout"};
    GreenObject *g = (GreenObject *)op;
    PyObject *values[3] = {coir__core.exit, Py_True, Py_None};
    if (one_argument("kill", args, nargs, kwnames, names, values, 3) < 0)
        return NULL;
    int block = PyObject_IsTrue(values[1]);
    if (block < 0)
        return NULL;
    int dead = kill_before_start(g, values[0]);
    if (dead < 0)
        return NULL;
    if (dead || coir__green_ready(g))
        Py_RETURN_NONE;
    if (kill_soon(g, values[0], block) < 0)
        return NULL;
    if (!block)
        Py_RETURN_NONE;
    if (!Py_IS_TYPE(op, &coir__green_type))
        return PyObject_CallMethodOneArg(op, str_join, values[2]);
    return green_join(op, &values[2], 1, NULL);
}

/* --- other methods ------------------------------------------------------- */

static PyObject *
green_start(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return start((GreenObject *)op) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
green_start_later(PyObject *op, PyObject *seconds)
{
    return start_later((GreenObject *)op, seconds) == 0 ? Py_NewRef(Py_None)
                                                        : NULL;
}

static PyObject *
green_run(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return run_body((GreenObject *)op);
}

static PyObject *
green_ready(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(coir__green_ready((GreenObject *)op));
}

static PyObject *
green_successful(PyObject *op, PyObject *Py_UNUSED(unused))
{
    const GreenObject *g = (GreenObject *)op;
    return PyBool_FromLong(g->finished && g->exc == NULL);
}

static PyObject *
green_raise_exception(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return reraise((GreenObject *)op);
}

static PyObject *
green_report_error(PyObject *op, PyObject *info)
{
    if (!PyTuple_Check(info) || PyTuple_GET_SIZE(info) != 3) {
        PyErr_SetString(PyExc_TypeError,
                        "_report_error() needs an exc_info tuple");
        return NULL;
    }
    raise_thrown(&PyTuple_GET_ITEM(info, 0), 3);
    return report_error((GreenObject *)op) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
green_maybe_kill(PyObject *op, PyObject *exception)
{
    int dead = kill_before_start((GreenObject *)op, exception);
    return dead >= 0 ? PyBool_FromLong(dead) : NULL;
}

static PyObject *
green_has_links(PyObject *op, PyObject *Py_UNUSED(unused))
{
    const GreenObject *g = (GreenObject *)op;
    Py_ssize_t n = 0;
    if (g->links != NULL)
        n = PyList_CheckExact(g->links) ? PyList_GET_SIZE(g->links) : 1;
    for (coir_node *at = g->waiters.head; at != NULL; at = at->next)
        n++;
    return PyLong_FromSsize_t(n);
}

static PyObject *
green_rawlink(PyObject *op, PyObject *callback)
{
    if (!PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "Expected callable: %R", callback);
        return NULL;
    }
    return coir__green_link((GreenObject *)op, callback) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

/* The three ways to link. */
static PyObject *
link_as(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
        PyObject *kwnames, enum coir_link_kind kind)
{
    static const char *const names[] = {"callback", "SpawnedLink"};
    PyObject *values[2] = {NULL, (PyObject *)&coir__link_types[kind]};
    if (one_argument("link", args, nargs, kwnames, names, values, 2) < 0)
        return NULL;
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "link() needs a callback");
        return NULL;
    }
    PyObject *link = PyObject_CallOneArg(values[1], values[0]);
    if (link == NULL)
        return NULL;
    PyObject *res;
    if (Py_IS_TYPE(op, &coir__green_type))
        res = green_rawlink(op, link);
    else
        res = PyObject_CallMethod(op, "rawlink", "(O)", link);
    Py_DECREF(link);
    return res;
}

static PyObject *
green_link(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    return link_as(op, args, nargs, kwnames, COIR_LINK_ANY);
}

static PyObject *
green_link_value(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    return link_as(op, args, nargs, kwnames, COIR_LINK_VALUE);
}

static PyObject *
green_link_exception(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    return link_as(op, args, nargs, kwnames, COIR_LINK_EXCEPTION);
}

static PyObject *
green_unlink(PyObject *op, PyObject *callback)
{
    return coir__green_unlink((GreenObject *)op, callback) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

static PyObject *
green_unlink_all(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_CLEAR(((GreenObject *)op)->links);
    Py_RETURN_NONE;
}

static PyObject *
green_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(op);
}

static PyObject *
green_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *res;
    if (nargs == 3 && args[0] != Py_None) {
        PyObject *info = PyTuple_Pack(3, args[0], args[1], args[2]);
        if (info == NULL)
            return NULL;
        res = PyObject_CallMethodOneArg(op, str_kill, info);
        Py_DECREF(info);
    }
    else {
        PyObject *joined = PyObject_CallMethodNoArgs(op, str_join);
        PyObject *exc = joined == NULL ? coir__error_take() : NULL;
        res = PyObject_CallMethodNoArgs(op, str_kill);
        if (res != NULL && exc != NULL) {
            Py_CLEAR(res);
            coir__error_give(exc);
        }
        else {
            Py_XDECREF(exc);
        }
        Py_XDECREF(joined);
    }
    Py_XDECREF(res);
    return res != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
green_add_spawn_callback(PyObject *Py_UNUSED(unused), PyObject *callback)
{
    if (spawn_callbacks == NULL && (spawn_callbacks = PySet_New(NULL)) == NULL)
        return NULL;
    return PySet_Add(spawn_callbacks, callback) == 0 ? Py_NewRef(Py_None)
                                                     : NULL;
}

static PyObject *
green_remove_spawn_callback(PyObject *Py_UNUSED(unused), PyObject *callback)
{
    if (spawn_callbacks != NULL) {
        if (PySet_Discard(spawn_callbacks, callback) < 0)
            return NULL;
        if (PySet_GET_SIZE(spawn_callbacks) == 0)
            Py_CLEAR(spawn_callbacks);
    }
    Py_RETURN_NONE;
}

/* --- names --------------------------------------------------------------- */

/* The class's own `_run`: does nothing, for who was given nothing to run. */
static PyObject *
run_nothing(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_NONE;
}

static PyMethodDef run_nothing_def = {
    "_run", run_nothing, METH_NOARGS,
    "Does nothing: for classes to override."};

static PyObject *
get__run(PyObject *op, void *Py_UNUSED(closure))
{
    const GreenObject *g = (GreenObject *)op;
    if (g->run != NULL)
        return Py_NewRef(g->run);
    return PyCFunction_New(&run_nothing_def, op);
}

static int
set__run(PyObject *op, PyObject *run, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    if (run == NULL && g->run == NULL) {
        PyErr_SetObject(PyExc_AttributeError, str__run);
        return -1;
    }
    Py_XSETREF(g->run, Py_XNewRef(run));
    return 0;
}

/* How the function is called in the repr: a new reference. */
static PyObject *
function_name(PyObject *op, PyObject *func)
{
    PyObject *self = PyObject_GetAttr(func, str_self);
    if (self == NULL)
        PyErr_Clear();
    Py_XDECREF(self); /* only compared; `func` keeps it */
    if (self == op)
        return Py_NewRef(str__run);
    if (self != NULL && self != Py_None && !PyModule_Check(self))
        return PyObject_Repr(func);
    PyObject *name = PyObject_GetAttr(func, str___name__);
    if (name != NULL && PyUnicode_Check(name) && PyUnicode_GET_LENGTH(name))
        return name;
    Py_XDECREF(name);
    PyErr_Clear();
    return PyObject_Repr(func);
}

/* Append ", name=value" to `text`, whose reference is used up. */
static PyObject *
add_argument(PyObject *text, PyObject *name, PyObject *value, int first)
{
    PyObject *repr = text != NULL ? PyObject_Repr(value) : NULL;
    PyObject *res = NULL;
    if (repr != NULL && name != NULL)
        res = PyUnicode_FromFormat("%U%s%S=%.50U", text, first ? "(" : ", ",
                                   name, repr);
    else if (repr != NULL)
        res =
            PyUnicode_FromFormat("%U%s%.50U", text, first ? "(" : ", ", repr);
    Py_XDECREF(repr);
    Py_XDECREF(text);
    return res;
}

/* "function(arguments)", kept for when it has ended: a new reference. */
static PyObject *
format_info(GreenObject *g)
{
    if (g->info != NULL)
        return Py_NewRef(g->info);
    PyObject *func = PyObject_GetAttr((PyObject *)g, str__run);
    if (func == NULL)
        return NULL;
    PyObject *text = function_name((PyObject *)g, func);
    Py_DECREF(func);
    int first = 1;
    PyObject *args = Py_XNewRef(g->args);
    PyObject *kwargs = Py_XNewRef(g->kwargs);
    for (Py_ssize_t i = 0; args != NULL && i < PyTuple_GET_SIZE(args); i++) {
        text = add_argument(text, NULL, PyTuple_GET_ITEM(args, i), first);
        first = 0;
    }
    PyObject *items = kwargs != NULL ? PyDict_Items(kwargs) : NULL;
    for (Py_ssize_t i = 0; items != NULL && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        text = add_argument(text, PyTuple_GET_ITEM(item, 0),
                            PyTuple_GET_ITEM(item, 1), first);
        first = 0;
    }
    Py_XDECREF(items);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    if (text != NULL && !first)
        Py_SETREF(text, PyUnicode_FromFormat("%U)", text));
    if (text != NULL)
        Py_XSETREF(g->info, Py_NewRef(text));
    return text;
}

static PyObject *
green_formatinfo(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return format_info((GreenObject *)op);
}

static PyObject *
get_ident(PyObject *op, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    if (g->ident == NULL) {
        HubObject *hub = coir__green_hub(g);
        PyObject *registry =
            hub != NULL
                ? PyObject_GetAttrString((PyObject *)hub, "ident_registry")
                : NULL;
        if (registry == NULL)
            return NULL;
        PyObject *ident =
            PyObject_CallMethod(registry, "get_ident", "(O)", op);
        Py_DECREF(registry);
        if (ident == NULL)
            return NULL;
        Py_XSETREF(g->ident, ident);
    }
    return Py_NewRef(g->ident);
}

/* The name that was given, borrowed, or NULL. */
static PyObject *
given_name(PyObject *op)
{
    PyObject *dict = ((GreenletObject *)op)->dict;
    return dict != NULL ? PyDict_GetItemWithError(dict, str_name) : NULL;
}

static PyObject *
get_name(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *name = given_name(op);
    if (name != NULL)
        return Py_NewRef(name);
    PyObject *ident = get_ident(op, NULL);
    if (ident == NULL)
        return NULL;
    name = PyUnicode_FromFormat("Greenlet-%S", ident);
    Py_DECREF(ident);
    return name;
}

static int
set_name(PyObject *op, PyObject *name, void *Py_UNUSED(closure))
{
    PyObject *dict = PyObject_GenericGetDict(op, NULL);
    if (dict == NULL)
        return -1;
    int err = name != NULL ? PyDict_SetItem(dict, str_name, name)
                           : PyDict_DelItem(dict, str_name);
    Py_DECREF(dict);
    return err;
}

static PyObject *
green_repr(PyObject *op)
{
    GreenObject *g = (GreenObject *)op;
    PyObject *name = NULL;
    PyObject *res = NULL;
    PyObject *info = format_info(g);
    PyObject *class = PyObject_GetAttr((PyObject *)Py_TYPE(op), str___name__);
    if (info == NULL || class == NULL)
        goto done;
    if (g->ident != NULL || given_name(op) != NULL) {
        name = PyObject_GetAttr(op, str_name);
        if (name == NULL)
            goto done;
    }
    const char *colon = PyUnicode_GET_LENGTH(info) > 0 ? ": " : "";
    if (name != NULL)
        res = PyUnicode_FromFormat("<%U \"%S\" at %p%s%U>", class, name,
                                   (void *)op, colon, info);
    else
        res = PyUnicode_FromFormat("<%U at %p%s%U>", class, (void *)op, colon,
                                   info);
done:
    Py_XDECREF(name);
    Py_XDECREF(class);
    Py_XDECREF(info);
    return res;
}

/* --- attributes ---------------------------------------------------------- */

static PyObject *
get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    HubObject *hub = coir__green_hub((GreenObject *)op);
    return hub != NULL ? PyObject_GetAttrString((PyObject *)hub, "loop")
                       : NULL;
}

static PyObject *
get_dead(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(is_dead((GreenObject *)op));
}

static int
green_bool(PyObject *op)
{
    const GreenObject *g = (GreenObject *)op;
    return g->start != COIR_GREEN_NEW && !g->finished;
}

static PyObject *
get_started(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(green_bool(op));
}

static PyObject *
get_args(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *args = ((GreenObject *)op)->args;
    return Py_NewRef(args != NULL ? args : coir__core.empty_tuple);
}

static int
set_args(PyObject *op, PyObject *args, void *Py_UNUSED(closure))
{
    if (args == NULL || !PyTuple_Check(args)) {
        PyErr_SetString(PyExc_TypeError, "args must be a tuple");
        return -1;
    }
    Py_XSETREF(((GreenObject *)op)->args, Py_NewRef(args));
    return 0;
}

static PyObject *
get_kwargs(PyObject *op, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    if (g->kwargs == NULL)
        g->kwargs = PyDict_New();
    return Py_XNewRef(g->kwargs);
}

static int
set_kwargs(PyObject *op, PyObject *kwargs, void *Py_UNUSED(closure))
{
    if (kwargs == NULL || !PyDict_Check(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "kwargs must be a dict");
        return -1;
    }
    Py_XSETREF(((GreenObject *)op)->kwargs, Py_NewRef(kwargs));
    return 0;
}

static PyObject *
get_value(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *value = ((GreenObject *)op)->value;
    return Py_NewRef(value != NULL ? value : Py_None);
}

static int
set_value(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((GreenObject *)op)->value, Py_XNewRef(value));
    return 0;
}

static PyObject *
get_exception(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *exc = ((GreenObject *)op)->exc;
    return Py_NewRef(exc != NULL ? exc : Py_None);
}

static PyObject *
get_exc_info(PyObject *op, void *Py_UNUSED(closure))
{
    const GreenObject *g = (GreenObject *)op;
    if (g->exc == NULL)
        Py_RETURN_NONE;
    return PyTuple_Pack(3, (PyObject *)Py_TYPE(g->exc), g->exc,
                        g->tb != NULL ? g->tb : Py_None);
}

static PyObject *
get_spawner(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *ref = ((GreenObject *)op)->spawner;
    return Py_NewRef(ref != NULL ? ref : Py_None);
}

static PyObject *
get_locals(PyObject *op, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    if (g->locals == NULL) {
        if (!g->tracked)
            Py_RETURN_NONE;
        g->locals = PyDict_New();
    }
    return Py_XNewRef(g->locals);
}

static int
set_locals(PyObject *op, PyObject *locals, void *Py_UNUSED(closure))
{
    if (locals == NULL || (locals != Py_None && !PyDict_Check(locals))) {
        PyErr_SetString(PyExc_TypeError,
                        "spawn_tree_locals must be a dict or None");
        return -1;
    }
    Py_XSETREF(((GreenObject *)op)->locals, Py_NewRef(locals));
    return 0;
}

static PyObject *
get_stack(PyObject *op, void *Py_UNUSED(closure))
{
    return coir__spawn_stack_frames(((GreenObject *)op)->stack);
}

/* --- the type ------------------------------------------------------------ */

PyDoc_STRVAR(
    green_doc,
    "Greenlet(run=None, *args, **kwargs)\n--\n\n"
    "A greenlet that the hub starts, and whose end can be waited for.\n\n"
    ":param run: what it calls, with the other arguments; if None, its\n"
    "    method _run(), which subclasses override\n"
    ":raises TypeError: if that is not callable\n\n"
    "As a context manager it is joined at the end of the block, or killed if\n"
    "the block fails.");

PyDoc_STRVAR(spawn_doc,
             "spawn(run, *args, **kwargs) -> Greenlet\n\n"
             "Make a Greenlet of these arguments and start it. Does not "
             "switch.");
PyDoc_STRVAR(spawn_later_doc,
             "spawn_later(seconds, run, *args, **kwargs) -> Greenlet\n\n"
             "The same, started after so many seconds.");
PyDoc_STRVAR(start_doc,
             "start()\n--\n\n"
             "Have it run at the next turn of its hub. Only the first call "
             "counts.");
PyDoc_STRVAR(start_later_doc,
             "start_later(seconds)\n--\n\n"
             "Have it run after so many seconds. Only the first call counts.");
PyDoc_STRVAR(run_doc, "run()\n--\n\n"
                      "What happens in the greenlet: calls _run().");
PyDoc_STRVAR(ready_doc, "ready()\n--\n\nWhether it has ended.");
PyDoc_STRVAR(successful_doc,
             "successful()\n--\n\n"
             "Whether it has ended and not by an error; GreenletExit is "
             "none.");
PyDoc_STRVAR(join_doc,
             "join(timeout=None)\n--\n\n"
             "Wait until it has ended, or until the timeout is over.\n\n"
             ":param timeout: seconds, None for no limit");
PyDoc_STRVAR(
    get_doc,
    "get(block=True, timeout=None)\n--\n\n"
    "Wait until it has ended and return its value, or raise its error.\n\n"
    ":param block: False not to wait\n"
    ":param timeout: seconds, None for no limit\n"
    ":raises gevent.Timeout: if it has not ended by then");
PyDoc_STRVAR(
    kill_doc,
    "kill(exception=GreenletExit, block=True, timeout=None)\n--\n\n"
    "Have the exception raised in it, where it waits. One that never ran\n"
    "never will, and has failed with the exception.\n\n"
    ":param block: wait until it has ended, too; it may catch the exception\n"
    ":param timeout: seconds for that, None for no limit");
PyDoc_STRVAR(throw_doc,
             "throw([typ[, val[, tb]]])\n\n"
             "Switch to it and raise an exception there, at once. For the "
             "hub: any other\n"
             "greenlet that calls it is not resumed by anybody. See kill().");
PyDoc_STRVAR(rawlink_doc,
             "rawlink(callback)\n--\n\n"
             "Have callback(greenlet) called in the hub, where it must not "
             "wait, when this\nhas ended; also if it has already.");
PyDoc_STRVAR(link_doc,
             "link(callback, SpawnedLink=SpawnedLink)\n--\n\n"
             "Have callback(greenlet) called in a raw greenlet of its own "
             "when this has\nended; also if it has already.");
PyDoc_STRVAR(link_value_doc,
             "link_value(callback, SpawnedLink=SuccessSpawnedLink)\n--\n\n"
             "As link(), if it ends without an error.");
PyDoc_STRVAR(link_exception_doc,
             "link_exception(callback, SpawnedLink=FailureSpawnedLink)\n--\n\n"
             "As link(), if it ends by an error.");
PyDoc_STRVAR(unlink_doc, "unlink(callback)\n--\n\n"
                         "Forget a callback, however it was linked.");
PyDoc_STRVAR(unlink_all_doc, "unlink_all()\n--\n\nForget all callbacks.");
PyDoc_STRVAR(has_links_doc,
             "has_links()\n--\n\nHow many callbacks and waiters there are.");
PyDoc_STRVAR(add_spawn_callback_doc,
             "add_spawn_callback(callback)\n--\n\n"
             "Have callback(greenlet) called by each start of a Greenlet.");
PyDoc_STRVAR(remove_spawn_callback_doc,
             "remove_spawn_callback(callback)\n--\n\n"
             "Undo add_spawn_callback(); nothing if it was not added.");

#define FAST METH_FASTCALL | METH_KEYWORDS

static PyMethodDef green_methods[] = {
    {"spawn", _PyCFunction_CAST(green_spawn), FAST | METH_CLASS, spawn_doc},
    {"spawn_later", _PyCFunction_CAST(green_spawn_later), FAST | METH_CLASS,
     spawn_later_doc},
    {"start", green_start, METH_NOARGS, start_doc},
    {"start_later", green_start_later, METH_O, start_later_doc},
    {"run", green_run, METH_NOARGS, run_doc},
    {"ready", green_ready, METH_NOARGS, ready_doc},
    {"successful", green_successful, METH_NOARGS, successful_doc},
    {"join", _PyCFunction_CAST(green_join), FAST, join_doc},
    {"get", _PyCFunction_CAST(green_get), FAST, get_doc},
    {"kill", _PyCFunction_CAST(green_kill), FAST, kill_doc},
    {"throw", _PyCFunction_CAST(green_throw), METH_FASTCALL, throw_doc},
    {"rawlink", green_rawlink, METH_O, rawlink_doc},
    {"link", _PyCFunction_CAST(green_link), FAST, link_doc},
    {"link_value", _PyCFunction_CAST(green_link_value), FAST, link_value_doc},
    {"link_exception", _PyCFunction_CAST(green_link_exception), FAST,
     link_exception_doc},
    {"unlink", green_unlink, METH_O, unlink_doc},
    {"unlink_all", green_unlink_all, METH_NOARGS, unlink_all_doc},
    {"has_links", green_has_links, METH_NOARGS, has_links_doc},
    {"add_spawn_callback", green_add_spawn_callback, METH_O | METH_STATIC,
     add_spawn_callback_doc},
    {"remove_spawn_callback", green_remove_spawn_callback,
     METH_O | METH_STATIC, remove_spawn_callback_doc},
    {"_raise_exception", green_raise_exception, METH_NOARGS,
     "Raise what it failed with."},
    {"_report_error", green_report_error, METH_O,
     "Called with the exc_info of a failure, to note and to report it."},
    {"_maybe_kill_before_start", green_maybe_kill, METH_O,
     "Kill it if it has not run; whether it is dead now."},
    {"_formatinfo", green_formatinfo, METH_NOARGS,
     "What it runs, for the repr."},
    {"__enter__", green_enter, METH_NOARGS, NULL},
    {"__exit__", _PyCFunction_CAST(green_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef green_getset[] = {
    {"_run", get__run, set__run, "What it calls.", NULL},
    {"args", get_args, set_args, "What _run is called with.", NULL},
    {"kwargs", get_kwargs, set_kwargs, "What _run is called with.", NULL},
    {"value", get_value, set_value,
     "What it returned, or its GreenletExit; None before its end.", NULL},
    {"exception", get_exception, NULL, "What it failed with, or None.", NULL},
    {"exc_info", get_exc_info, NULL,
     "(type, exception, traceback) of its failure, or None.", NULL},
    {"loop", get_loop, NULL, "The loop of its hub.", NULL},
    {"dead", get_dead, NULL, "Whether it has ended or will never run.", NULL},
    {"started", get_started, NULL, "The same as bool(greenlet).", NULL},
    {"minimal_ident", get_ident, NULL,
     "A small number that no other greenlet of this hub has now.", NULL},
    {"name", get_name, set_name,
     "\"Greenlet-\" and the minimal_ident, unless it was set.", NULL},
    {"spawning_greenlet", get_spawner, NULL,
     "A weak reference to the greenlet that made it, or None.", NULL},
    {"spawn_tree_locals", get_locals, set_locals,
     "A dict shared with those that its spawner spawned, and its own; or "
     "None.",
     NULL},
    {"spawning_stack", get_stack, NULL,
     "Where it was made, as objects like frames, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyNumberMethods green_number = {
    .nb_bool = green_bool,
};

PyTypeObject coir__green_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.greenlet.Greenlet",
    .tp_basicsize = sizeof(GreenObject),
    .tp_dealloc = green_dealloc,
    .tp_repr = green_repr,
    .tp_as_number = &green_number,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = green_doc,
    .tp_traverse = green_traverse,
    .tp_clear = green_clear,
    .tp_methods = green_methods,
    .tp_getset = green_getset,
    .tp_base = &coir__greenlet_type,
    .tp_init = green_init,
    .tp_new = green_new,
    .tp_vectorcall = green_vectorcall,
};

/* --- set-up -------------------------------------------------------------- */

static PyObject *
set_track_greenlet_tree(PyObject *Py_UNUSED(module), PyObject *flag)
{
    int on = PyObject_IsTrue(flag);
    if (on < 0)
        return NULL;
    track_tree = on;
    Py_RETURN_NONE;
}

static PyObject *
set_copy_context(PyObject *Py_UNUSED(module), PyObject *flag)
{
    int on = PyObject_IsTrue(flag);
    if (on < 0)
        return NULL;
    copy_context = on;
    Py_RETURN_NONE;
}

static PyMethodDef module_functions[] = {
    {"set_track_greenlet_tree", set_track_greenlet_tree, METH_O,
     "set_track_greenlet_tree(bool) -> None\n\n"
     "Whether Greenlets note by whom and where they were made; they do."},
    {"set_copy_context", set_copy_context, METH_O,
     "set_copy_context(bool) -> None\n\n"
     "Whether Greenlets start in a copy of their spawner's context; else in\n"
     "an empty one, as gevent's do."},
    {NULL, NULL, 0, NULL},
};

static int
names_init(void)
{
    static const struct {
        PyObject **at;
        const char *text;
    } names[] = {
        {&str__run, "_run"},
        {&str_run, "run"},
        {&str_name, "name"},
        {&str_locals, "spawn_tree_locals"},
        {&str_limit, "spawning_stack_limit"},
        {&str_start, "start"},
        {&str_join, "join"},
        {&str_kill, "kill"},
        {&str_handle_error, "handle_error"},
        {&str_report_error, "_report_error"},
        {&str_self, "__self__"},
        {&str___name__, "__name__"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *names[i].at = PyUnicode_InternFromString(names[i].text);
        if (*names[i].at == NULL)
            return -1;
    }
    return 0;
}

static int
type_init(void)
{
    if (names_init() < 0 || PyType_Ready(&coir__green_type) < 0)
        return -1;
    PyObject *dict = coir__green_type.tp_dict;
    PyObject *limit = PyLong_FromLong(10);
    if (limit == NULL)
        return -1;
    int err = PyDict_SetItem(dict, str_limit, limit);
    Py_DECREF(limit);
    if (err < 0)
        return -1;
    PyType_Modified(&coir__green_type);
    own_run = PyDict_GetItemWithError(dict, str_run);
    own__run = PyDict_GetItemWithError(dict, str__run);
    return own_run != NULL && own__run != NULL ? 0 : -1;
}

int
coir__green_types_init(PyObject *module)
{
    if (!PyType_HasFeature(&coir__green_type, Py_TPFLAGS_READY) &&
        type_init() < 0)
        return -1;
    if (PyModule_AddObjectRef(module, "Greenlet",
                              (PyObject *)&coir__green_type) < 0 ||
        PyModule_AddFunctions(module, module_functions) < 0)
        return -1;
    return coir__greenlink_types_init(module);
}
