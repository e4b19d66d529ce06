/* evthread.c - eventlet's GreenThread, and what spawn_n() returns.
 *
 * Both are greenlets whose parent is the hub and whose body is C. To start
 * one, the coir_ready within it stands in the loop's queue, which owns a
 * reference to it, and gives that up when it runs.
 *
 * A GreenThread made by calling the class is different: it is a greenlet that
 * runs its `main`, with what it is switched to with, as programs that derive
 * from it expect.
 *
 * What a GreenThread comes to is sent to the coir_ev within it: that is what
 * wait() waits for. Then its links are called, in the GreenThread itself. An
 * exception is then the hub's to report, as if it had arrived there. */
#include "ev.h"

#include <stddef.h>

static PyTypeObject raw_type;

/* What the queue's reference is to, from the switch to the body's begin. */
static __thread SpawnObject *starting
    __attribute__((tls_model("initial-exec")));

/* Interned, strong. */
static PyObject *str_func, *str_handle_error, *str_main, *str_popleft,
    *str_append, *str_remove, *str_run;
static PyObject *deque_type; /* strong */

/* --- starting ------------------------------------------------------------ */

static SpawnObject *
spawn_of(coir_ready *r)
{
    return (SpawnObject *)((char *)r - offsetof(SpawnObject, ready));
}

static PyObject *fail_start(SpawnObject *s);

static void
run_start(coir_ready *r, LoopObject *loop)
{
    SpawnObject *s = spawn_of(r);
    s->queued = 0;
    PyObject_GC_Track(s);
    coir_pythread *t = coir__pythread_get();
    if (t == NULL || s->base.block->state == GREENLET_DEAD) {
        PyErr_Clear();
        Py_DECREF(s); /* it was killed */
        return;
    }
    starting = s;
    coir_payload p = {Py_NewRef(coir__core.empty_tuple), NULL, 1};
    PyObject *res = coir__greenlet_switch(t, &s->base, p);
    if (res == NULL && starting == s)
        res = fail_start(s);
    if (res == NULL)
        coir__loop_error(loop,
                         starting != s ? (PyObject *)t->main : (PyObject *)s);
    Py_XDECREF(res);
    if (starting == s) { /* it was switched to before */
        starting = NULL;
        Py_DECREF(s);
    }
}

static void
drop_start(coir_ready *r)
{
    SpawnObject *s = spawn_of(r);
    coir__list_remove(&r->node);
    s->queued = 0;
    PyObject_GC_Track(s);
    Py_DECREF(s);
}

static const coir_ready_kind start_kind = {run_start, drop_start, drop_start};

SpawnObject *
coir__evthread_of(coir_ready *r)
{
    return r->kind == &start_kind ? spawn_of(r) : NULL;
}

void
coir__evthread_start(SpawnObject *s, HubObject *hub)
{
    s->ready.kind = &start_kind;
    s->queued = 1;
    Py_INCREF(s);
    coir__loop_ready(hub->loop, &s->ready);
    PyObject_GC_UnTrack(s); /* no use to look at, see green.c */
}

/* --- running ------------------------------------------------------------- */

static PyObject *
call(PyObject *func, PyObject *args, PyObject *kwargs)
{
    if (kwargs != NULL)
        return PyObject_Call(func, args, kwargs);
    return PyObject_Vectorcall(func, &PyTuple_GET_ITEM(args, 0),
                               (size_t)PyTuple_GET_SIZE(args), NULL);
}

/* What spawn() was given, called. */
static PyObject *
call_func(SpawnObject *s)
{
    coir_block *b = s->base.block;
    if (starting == s) {
        starting = NULL;
        Py_DECREF(s); /* running, it is its thread's */
    }
    PyObject *func = s->func;
    if (func == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "there is nothing to run");
        return NULL;
    }
    /* The references are the block's: the collector must know them to find a
     * greenlet that is reachable only from itself. */
    b->callable = func;
    b->args = s->args != NULL ? s->args : Py_NewRef(coir__core.empty_tuple);
    b->kwargs = s->kwargs;
    s->func = s->args = s->kwargs = NULL;
    return call(func, b->args, b->kwargs);
}

/* It ends by the pending exception. If that would arrive in the hub, have it
 * reported here, as it would be there. */
static PyObject *
fail(SpawnObject *s)
{
    GreenletObject *parent = s->base.block->parent;
    if (parent == NULL ||
        !PyObject_TypeCheck((PyObject *)parent, &coir__hub_type) ||
        PyErr_ExceptionMatches(coir__core.exit))
        return NULL;
    PyObject *exc = coir__error_take();
    PyObject *tb = PyException_GetTraceback(exc);
    PyObject *args[] = {(PyObject *)parent, (PyObject *)s,
                        (PyObject *)Py_TYPE(exc), exc,
                        tb != NULL ? tb : Py_None};
    Py_INCREF(parent);
    PyObject *res = PyObject_VectorcallMethod(
        str_handle_error, args, 5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(parent);
    Py_XDECREF(tb);
    Py_DECREF(exc);
    return res;
}

static PyObject *
raw_entry(GreenletObject *base)
{
    PyObject *res = call_func((SpawnObject *)base);
    return COIR__LIKELY(res != NULL) ? res : fail((SpawnObject *)base);
}

#define SELF ((ThreadObject *)op)

/* The first one of what is linked, taken out; NULL if there are none, or with
 * an exception. */
static PyObject *
next_link(ThreadObject *self)
{
    PyObject *links = self->links;
    if (links == NULL)
        return NULL;
    if (PyTuple_CheckExact(links)) {
        self->links = NULL;
        return links;
    }
    return PyObject_Size(links) > 0
               ? PyObject_CallMethodNoArgs(links, str_popleft)
               : NULL;
}

/* Call a link, which is used up, with the thread before its arguments. */
static int
call_link(ThreadObject *self, PyObject *link)
{
    PyObject *func, *args, *kwargs, *res = NULL, *all = NULL;
    if (PyArg_ParseTuple(link, "OO!O", &func, &PyTuple_Type, &args, &kwargs)) {
        Py_ssize_t n = PyTuple_GET_SIZE(args);
        all = PyTuple_New(n + 1);
        for (Py_ssize_t i = 0; all != NULL && i < n; i++)
            PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    }
    if (all != NULL) {
        PyTuple_SET_ITEM(all, 0, Py_NewRef((PyObject *)self));
        res = PyObject_Call(func, all, kwargs != Py_None ? kwargs : NULL);
    }
    Py_XDECREF(all);
    Py_DECREF(link);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

/* Call what was linked. 0, or -1 with an exception. */
static int
resolve_links(ThreadObject *self)
{
    if (self->links == NULL || self->resolves)
        return 0;
    int err = 0;
    PyObject *link;
    self->resolves = 1;
    while (err == 0 && (link = next_link(self)) != NULL)
        err = call_link(self, link);
    self->resolves = 0;
    return err < 0 || PyErr_Occurred() ? -1 : 0;
}

/* It does not run any more. 0, or -1 with an exception. */
static inline int
leave_pool(ThreadObject *self)
{
    PyObject *pool = self->pool;
    if (COIR__LIKELY(pool == NULL))
        return 0;
    self->pool = NULL;
    int err = coir__evpool_done(pool, (PyObject *)self);
    Py_DECREF(pool);
    return err;
}

/* It came to `res`, which is used up, or failed: tell all. Returns None, or
 * NULL with the exception that it, or a link, ends by. */
static PyObject *
tell(ThreadObject *self, PyObject *res)
{
    if (COIR__LIKELY(res != NULL)) {
        int err = coir__ev_send(&self->ev, res, NULL);
        Py_DECREF(res);
        if (err < 0 || leave_pool(self) < 0 ||
            (self->links != NULL && resolve_links(self) < 0))
            return NULL;
        Py_RETURN_NONE;
    }
    PyObject *exc = coir__error_take();
    PyObject *tb = PyException_GetTraceback(exc);
    PyObject *info = PyTuple_Pack(3, (PyObject *)Py_TYPE(exc), exc,
                                  tb != NULL ? tb : Py_None);
    int err = info != NULL ? coir__ev_send(&self->ev, Py_None, info) : -1;
    if (err == 0)
        err = leave_pool(self);
    if (err == 0)
        err = resolve_links(self);
    Py_XDECREF(info);
    Py_XDECREF(tb);
    if (err == 0)
        coir__error_give(exc);
    else
        Py_DECREF(exc);
    return NULL;
}

static PyObject *
thread_entry(GreenletObject *base)
{
    PyObject *op = (PyObject *)base;
    PyObject *res = tell(SELF, call_func(&SELF->spawn));
    return COIR__LIKELY(res != NULL) ? res : fail(&SELF->spawn);
}

/* It could not begin, for lack of memory perhaps: that is its error. Returns
 * None, or NULL with the exception, which is to be reported. */
static PyObject *
fail_start(SpawnObject *s)
{
    PyObject *op = (PyObject *)s;
    if (s->base.block->entry != thread_entry ||
        s->base.block->state != GREENLET_NEW)
        return NULL;
    PyObject *exc = coir__error_take();
    Py_CLEAR(s->func);
    Py_CLEAR(s->args);
    Py_CLEAR(s->kwargs);
    coir__error_give(exc);
    return tell(SELF, NULL);
}

static PyObject *
thread_main(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    static const char *const names[] = {"function", "args", "kwargs"};
    PyObject *in[] = {NULL, NULL, NULL};
    if (coir__arguments("main", names, 3, args, nargs, kwnames, in) < 0)
        return NULL;
    if (in[0] == NULL || in[1] == NULL || in[2] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "main() takes a function, its arguments, and a dict "
                        "of more");
        return NULL;
    }
    PyObject *tuple = PySequence_Tuple(in[1]);
    if (tuple == NULL)
        return NULL;
    PyObject *res = tell(SELF, PyObject_Call(in[0], tuple, in[2]));
    Py_DECREF(tuple);
    return res;
}

/* --- making them --------------------------------------------------------- */

int
coir__ev_pack(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
              PyObject **tuple, PyObject **dict)
{
    PyObject *t = NULL, *d = NULL;
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs > 0) {
        t = PyTuple_New(nargs);
        if (t == NULL)
            return -1;
        for (Py_ssize_t i = 0; i < nargs; i++)
            PyTuple_SET_ITEM(t, i, Py_NewRef(args[i]));
    }
    if (nkw > 0 && (d = PyDict_New()) == NULL)
        goto fail;
    for (Py_ssize_t i = 0; i < nkw; i++)
        if (PyDict_SetItem(d, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) <
            0)
            goto fail;
    *tuple = t;
    *dict = d;
    return 0;

fail:
    Py_XDECREF(t);
    Py_XDECREF(d);
    return -1;
}

/* An instance whose body is `entry`; the rest as coir__evthread_new(). */
static SpawnObject *
make(PyTypeObject *type, coir_entry *entry, PyObject *func, PyObject *args,
     PyObject *kwargs)
{
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__ev_hub(t) : NULL;
    SpawnObject *s = NULL;
    if (hub != NULL)
        s = (SpawnObject *)coir__greenlet_type.tp_new(type, NULL, NULL);
    if (s == NULL) {
        Py_DECREF(func);
        Py_XDECREF(args);
        Py_XDECREF(kwargs);
        return NULL;
    }
    s->func = func;
    s->args = args;
    s->kwargs = kwargs;
    s->base.block->entry = entry;
    if (s->base.block->parent != &hub->base)
        coir__block_set_parent(s->base.block,
                               (GreenletObject *)Py_NewRef((PyObject *)hub));
    return s;
}

ThreadObject *
coir__evthread_new(PyObject *func, PyObject *args, PyObject *kwargs)
{
    return (ThreadObject *)make(&coir__evthread_type, thread_entry, func, args,
                                kwargs);
}

/* Where a name is; -1 with TypeError, as `func` cannot do without it. */
static Py_ssize_t
find_name(const char *func, const char *name, PyObject *kwnames)
{
    Py_ssize_t count = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i),
                                             name) == 0)
            return i;
    PyErr_Format(PyExc_TypeError,
                 "%s() missing 1 required positional argument: '%s'", func,
                 name);
    return -1;
}

PyObject *
coir__ev_first_by_name(coir_ev_method *method, const char *func,
                       const char *name, PyObject *op, PyObject *const *args,
                       PyObject *kwnames)
{
    Py_ssize_t at = find_name(func, name, kwnames);
    if (at < 0)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(kwnames);
    PyObject **values = PyMem_New(PyObject *, (size_t)count);
    PyObject *names = PyTuple_New(count - 1), *res = NULL;
    if (values == NULL)
        PyErr_NoMemory();
    else if (names != NULL) {
        values[0] = args[at];
        for (Py_ssize_t i = 0, to = 0; i < count; i++)
            if (i != at) {
                PyTuple_SET_ITEM(names, to,
                                 Py_NewRef(PyTuple_GET_ITEM(kwnames, i)));
                values[++to] = args[i];
            }
        res = method(op, values, 1, names);
    }
    Py_XDECREF(names);
    PyMem_Free(values);
    return res;
}

/* spawn(func, *args, **kwargs), not started. */
static SpawnObject *
make_for(PyTypeObject *type, coir_entry *entry, PyObject *const *args,
         Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *tuple, *dict;
    if (coir__ev_pack(args + 1, nargs - 1, kwnames, &tuple, &dict) < 0)
        return NULL;
    return make(type, entry, Py_NewRef(args[0]), tuple, dict);
}

static PyObject *
start(SpawnObject *s)
{
    if (s != NULL)
        coir__evthread_start(s, coir__pythread->hub);
    return (PyObject *)s;
}

static PyObject *
ev_spawn(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
         PyObject *kwnames)
{
    if (COIR__UNLIKELY(nargs < 1))
        return coir__ev_first_by_name(ev_spawn, "spawn", "func", module, args,
                                      kwnames);
    return start(
        make_for(&coir__evthread_type, thread_entry, args, nargs, kwnames));
}

static PyObject *
ev_spawn_n(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    if (COIR__UNLIKELY(nargs < 1))
        return coir__ev_first_by_name(ev_spawn_n, "spawn_n", "func", module,
                                      args, kwnames);
    return start(make_for(&raw_type, raw_entry, args, nargs, kwnames));
}

static PyObject *
ev_prepare(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    if (COIR__UNLIKELY(nargs < 1))
        return coir__ev_first_by_name(ev_prepare, "prepare", "func", module,
                                      args, kwnames);
    return (PyObject *)make_for(&coir__evthread_type, thread_entry, args,
                                nargs, kwnames);
}

/* --- GreenThread --------------------------------------------------------- */

/* GreenThread(parent): a greenlet that runs self.main(). */
static int
thread_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"parent", NULL};
    PyObject *parent;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:GreenThread", names,
                                     &parent))
        return -1;
    if (parent != Py_None &&
        coir__greenlet_set_parent(&SELF->spawn.base, parent) < 0)
        return -1;
    PyObject *run = PyObject_GetAttr(op, str_main);
    int err = run != NULL ? PyObject_SetAttr(op, str_run, run) : -1;
    Py_XDECREF(run);
    return err;
}

static PyObject *
thread_wait(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__ev_wait(&SELF->ev, op, COIR_FOREVER);
}

/* What is to be called: the first argument, or that of the name "func", which
 * is taken out of `kwargs`, or NULL. New. */
static PyObject *
link_function(PyObject *args, PyObject *kwargs)
{
    PyObject *func = NULL;
    if (PyTuple_GET_SIZE(args) > 0)
        return Py_NewRef(PyTuple_GET_ITEM(args, 0));
    if (PyDict_Check(kwargs)) {
        func = PyDict_GetItemWithError(kwargs, str_func);
        Py_XINCREF(func);
    }
    if (func != NULL && PyDict_DelItem(kwargs, str_func) < 0)
        Py_CLEAR(func);
    if (func == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError,
                        "missing 1 required positional argument: 'func'");
    return func;
}

/* (func, args, kwargs), as links are kept; None instead of an empty dict. */
static PyObject *
make_link(PyObject *args, PyObject *kwargs)
{
    PyObject *dict = kwargs != NULL ? PyDict_Copy(kwargs) : Py_NewRef(Py_None);
    PyObject *func = dict != NULL ? link_function(args, dict) : NULL;
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *link = NULL;
    if (func != NULL && rest != NULL) {
        if (dict != Py_None && PyDict_GET_SIZE(dict) == 0)
            Py_SETREF(dict, Py_NewRef(Py_None));
        link = PyTuple_Pack(3, func, rest, dict);
    }
    Py_XDECREF(func);
    Py_XDECREF(rest);
    Py_XDECREF(dict);
    return link;
}

/* deque.name(link), with a link as users see them. */
static PyObject *
call_deque(PyObject *deque, PyObject *name, PyObject *link)
{
    if (PyTuple_GET_ITEM(link, 2) != Py_None)
        return PyObject_CallMethodOneArg(deque, name, link);
    PyObject *dict = PyDict_New(), *res = NULL;
    if (dict == NULL)
        return NULL;
    PyObject *whole = PyTuple_Pack(3, PyTuple_GET_ITEM(link, 0),
                                   PyTuple_GET_ITEM(link, 1), dict);
    if (whole != NULL)
        res = PyObject_CallMethodOneArg(deque, name, whole);
    Py_XDECREF(whole);
    Py_DECREF(dict);
    return res;
}

/* Put all links into a deque. 0, or -1 with an exception. */
static int
use_deque(ThreadObject *self)
{
    if (self->links == NULL || !PyTuple_CheckExact(self->links))
        return 0;
    PyObject *deque = PyObject_CallNoArgs(deque_type);
    PyObject *res = NULL;
    if (deque != NULL)
        res = call_deque(deque, str_append, self->links);
    if (res == NULL) {
        Py_XDECREF(deque);
        return -1;
    }
    Py_DECREF(res);
    Py_SETREF(self->links, deque);
    return 0;
}

static int
add_link(ThreadObject *self, PyObject *link)
{
    if (self->links == NULL) {
        self->links = Py_NewRef(link);
        return 0;
    }
    PyObject *res = NULL;
    if (use_deque(self) == 0)
        res = call_deque(self->links, str_append, link);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static PyObject *
thread_link(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *link = make_link(args, kwargs);
    int err = link != NULL ? add_link(SELF, link) : -1;
    Py_XDECREF(link);
    if (err == 0 && SELF->ev.result != NULL)
        err = resolve_links(SELF);
    return err == 0 ? Py_NewRef(Py_None) : NULL;
}

/* Whether it was linked, and is not any more; or -1 with an exception. */
static int
remove_link(ThreadObject *self, PyObject *link)
{
    PyObject *links = self->links;
    if (links == NULL)
        return 0;
    if (PyTuple_CheckExact(links)) {
        Py_INCREF(links);
        int same = PyObject_RichCompareBool(links, link, Py_EQ);
        if (same > 0 && self->links == links)
            Py_CLEAR(self->links);
        Py_DECREF(links);
        return same;
    }
    PyObject *res = call_deque(links, str_remove, link);
    if (res == NULL && !PyErr_ExceptionMatches(PyExc_ValueError))
        return -1;
    PyErr_Clear();
    Py_XDECREF(res);
    return res != NULL;
}

static PyObject *
thread_unlink(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *link = make_link(args, kwargs);
    if (link == NULL)
        return NULL;
    int was = remove_link(SELF, link);
    Py_DECREF(link);
    return was >= 0 ? PyBool_FromLong(was) : NULL;
}

static PyObject *
thread_resolve_links(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return resolve_links(SELF) == 0 ? Py_NewRef(Py_None) : NULL;
}

/* The rest is written in Python: `module.name(self, *args)`. */
static PyObject *
call_python(const char *module, const char *name, PyObject *op, PyObject *args)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *func = m != NULL ? PyObject_GetAttrString(m, name) : NULL;
    PyObject *self = PyTuple_Pack(1, op);
    PyObject *all = self != NULL ? PySequence_Concat(self, args) : NULL;
    PyObject *res = NULL;
    if (func != NULL && all != NULL)
        res = PyObject_CallObject(func, all);
    Py_XDECREF(m);
    Py_XDECREF(func);
    Py_XDECREF(self);
    Py_XDECREF(all);
    return res;
}

static PyObject *
thread_kill(PyObject *op, PyObject *args)
{
    return call_python("coir.eventlet.greenthread", "kill", op, args);
}

static PyObject *
thread_cancel(PyObject *op, PyObject *args)
{
    return call_python("coir.eventlet.greenthread", "cancel", op, args);
}

static PyObject *
thread_await(PyObject *op)
{
    return call_python("coir.eventlet.hubs.asyncio", "await_green_thread", op,
                       coir__core.empty_tuple);
}

static PyObject *
thread_get_event(PyObject *op, void *Py_UNUSED(closure))
{
    if (SELF->event == NULL)
        SELF->event = coir__ev_event_of(op, &SELF->ev);
    return Py_XNewRef(SELF->event);
}

static PyObject *
thread_get_links(PyObject *op, void *Py_UNUSED(closure))
{
    if (use_deque(SELF) < 0)
        return NULL;
    return Py_NewRef(SELF->links != NULL ? SELF->links : Py_None);
}

static PyObject *
thread_get_resolves(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->resolves);
}

/* --- collection ---------------------------------------------------------- */

static int
spawn_traverse(PyObject *op, visitproc visit, void *arg)
{
    SpawnObject *s = (SpawnObject *)op;
    Py_VISIT(s->func);
    Py_VISIT(s->args);
    Py_VISIT(s->kwargs);
    return coir__greenlet_type.tp_traverse(op, visit, arg);
}

static int
spawn_clear(PyObject *op)
{
    SpawnObject *s = (SpawnObject *)op;
    Py_CLEAR(s->func);
    Py_CLEAR(s->args);
    Py_CLEAR(s->kwargs);
    return coir__greenlet_type.tp_clear(op);
}

static void
raw_dealloc(PyObject *op)
{
    if (coir__greenlet_resurrect(op))
        return;
    PyObject_GC_UnTrack(op);
    (void)spawn_clear(op);
    coir__greenlet_type.tp_dealloc(op);
}

static int
thread_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->event);
    Py_VISIT(SELF->links);
    Py_VISIT(SELF->pool);
    int err = coir__ev_traverse(&SELF->ev, visit, arg);
    return err == 0 ? spawn_traverse(op, visit, arg) : err;
}

static int
thread_clear(PyObject *op)
{
    Py_CLEAR(SELF->event);
    Py_CLEAR(SELF->links);
    Py_CLEAR(SELF->pool);
    coir__ev_clear(&SELF->ev);
    return spawn_clear(op);
}

static void
thread_dealloc(PyObject *op)
{
    if (coir__greenlet_resurrect(op))
        return;
    PyObject_GC_UnTrack(op);
    Py_TRASHCAN_BEGIN(op, thread_dealloc);
    while (SELF->ev.waiters.head != NULL)
        coir__list_remove(SELF->ev.waiters.head);
    (void)thread_clear(op);
    coir__greenlet_type.tp_dealloc(op);
    Py_TRASHCAN_END
}

/* --- types and functions ------------------------------------------------- */

#define FAST(func)                                                            \
    (PyCFunction)(void (*)(void))(func), METH_FASTCALL | METH_KEYWORDS
#define SLOW(func)                                                            \
    (PyCFunction)(void (*)(void))(func), METH_VARARGS | METH_KEYWORDS

static PyMethodDef thread_methods[] = {
    {"wait", thread_wait, METH_NOARGS,
     "wait($self)\n--\n\n"
     "What its function returned; or raises what that raised. Blocks until\n"
     "it has ended."},
    {"link", SLOW(thread_link),
     "link($self, func, *args, **kwargs)\n--\n\n"
     "Call ``func(self, *args, **kwargs)`` when it has ended: in itself, or\n"
     "if that was before, now."},
    {"unlink", SLOW(thread_unlink),
     "unlink($self, func, *args, **kwargs)\n--\n\n"
     "Undo a link() with the same arguments: whether there was one."},
    {"main", FAST(thread_main),
     "main($self, function, args, kwargs)\n--\n\n"
     "Call the function and tell all that wait what it came to."},
    {"kill", thread_kill, METH_VARARGS,
     "kill($self, *throw_args)\n--\n\n"
     "Have GreenletExit, or what throw() takes, raised in it, now."},
    {"cancel", thread_cancel, METH_VARARGS,
     "cancel($self, *throw_args)\n--\n\nkill() it if it has not begun."},
    {"_resolve_links", thread_resolve_links, METH_NOARGS,
     "_resolve_links($self)\n--\n\nCall what is linked."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef thread_getset[] = {
    {"_exit_event", thread_get_event, NULL, "The Event of its end.", NULL},
    {"_exit_funcs", thread_get_links, NULL, "What is linked, or None.", NULL},
    {"_resolving_links", thread_get_resolves, NULL,
     "Whether links are being called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods thread_async = {.am_await = thread_await};

PyTypeObject coir__evthread_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name =
        "coir.eventlet.greenthread.GreenThread",
    .tp_basicsize = sizeof(ThreadObject),
    .tp_dealloc = thread_dealloc,
    .tp_as_async = &thread_async,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "GreenThread(parent)\n--\n\n"
              "A greenlet whose result can be waited for. Made by spawn().",
    .tp_traverse = thread_traverse,
    .tp_clear = thread_clear,
    .tp_methods = thread_methods,
    .tp_getset = thread_getset,
    .tp_base = &coir__greenlet_type,
    .tp_init = thread_init,
};

static PyTypeObject raw_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.eventlet.greenthread."
                                             "SpawnedGreenlet",
    .tp_basicsize = sizeof(SpawnObject),
    .tp_dealloc = raw_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "A greenlet that spawn_n() has made.",
    .tp_traverse = spawn_traverse,
    .tp_clear = spawn_clear,
    .tp_base = &coir__greenlet_type,
};

/* Users know them as those of coir.eventlet.greenthread. */
static PyMethodDef functions[] = {
    {"spawn", FAST(ev_spawn),
     "spawn($module, func, *args, **kwargs)\n--\n\n"
     "Have ``func(*args, **kwargs)`` run in a green thread, soon. Does not\n"
     "block."},
    {"spawn_n", FAST(ev_spawn_n),
     "spawn_n($module, func, *args, **kwargs)\n--\n\n"
     "The same, in a greenlet that nobody can wait for: a little faster."},
    {"prepare", FAST(ev_prepare),
     "prepare($module, func, *args, **kwargs)\n--\n\n"
     "The same as spawn(), but it is not started: switch to it, in the hub."},
    {NULL, NULL, 0, NULL},
};

static int
names_ready(void)
{
    static const struct {
        PyObject **where;
        const char *text;
    } names[] = {
        {&str_func, "func"},     {&str_handle_error, "handle_error"},
        {&str_main, "main"},     {&str_popleft, "popleft"},
        {&str_append, "append"}, {&str_remove, "remove"},
        {&str_run, "run"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (*names[i].where == NULL &&
            (*names[i].where = PyUnicode_InternFromString(names[i].text)) ==
                NULL)
            return -1;
    if (deque_type == NULL) {
        PyObject *module = PyImport_ImportModule("_collections");
        if (module == NULL)
            return -1;
        deque_type = PyObject_GetAttrString(module, "deque");
        Py_DECREF(module);
    }
    return deque_type != NULL ? 0 : -1;
}

int
coir__evthread_types_init(PyObject *module)
{
    if (names_ready() < 0 || PyType_Ready(&coir__evthread_type) < 0 ||
        PyType_Ready(&raw_type) < 0 ||
        coir__ev_add_functions(module, functions) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "EvGreenThread",
                                 (PyObject *)&coir__evthread_type);
}
