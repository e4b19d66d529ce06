/* greenlet.c - the type greenlet.greenlet: objects, attributes, collection.
 *
 * The types are static, not made from a spec: extensions may derive from
 * greenlet.greenlet with static types of their own, which CPython allows from
 * static types only; and like greenlet's it must be immutable. There is one
 * interpreter, see module.c.
 *
 * The end of a greenlet object. A suspended one has a stack full of references
 * and `finally` blocks: it must unwind first, by GreenletExit, and that may
 * bring it back to life. Who finds it first does it:
 * - tp_dealloc, for the last reference: the object is given a reference for
 *   the time it unwinds;
 * - tp_finalize, for one that is garbage in a cycle. To find these, traverse
 *   visits what parked frames hold. A type that overrides __del__ has no such
 *   tp_finalize, so its instances' frames are not visited: a cycle through
 *   them is not found, a cycle through attributes is, and ends in tp_dealloc.
 * If it has not ended then, its frames are no longer visited, so that what
 * they hold cannot be collected under it.
 *
 * A chain of a million parents is released without recursion: by CPython's
 * trashcan, and those that must unwind, since from 3.14 on that lets the stack
 * fill, by the queue of the condemned. */
#include "hub.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/* --- blocks -------------------------------------------------------------- */

/* Blocks that are free, linked by `next`: halves the time of a create. */
#define BLOCKS_KEPT 256

static coir_block *free_blocks;
static int free_count;

static coir_block *
block_new(GreenletObject *g)
{
    coir_block *b = free_blocks;
    if (b != NULL) {
        free_blocks = b->next;
        free_count--;
    }
    else {
        b = PyMem_Malloc(sizeof *b);
        if (b == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    /* The coroutine is set up when it starts. */
    memset(b, 0, offsetof(coir_block, py));
    coir_pystate_init(&b->py);
    b->self = g;
    return b;
}

static void
block_free(coir_block *b)
{
    if (b->flags & GREENLET_LOST)
        return; /* a stack nobody returns to still points to it */
    if (b->wait != NULL)
        coir__wait_free(b->wait);
    if (free_count < BLOCKS_KEPT) {
        b->next = free_blocks;
        free_blocks = b;
        free_count++;
        return;
    }
    PyMem_Free(b);
}

/* --- making greenlets ---------------------------------------------------- */

/* An object with an empty block and no parent, tracked. */
static GreenletObject *
object_new(PyTypeObject *type)
{
    GreenletObject *g;
    if (type == &coir__greenlet_type) {
        g = PyObject_GC_New(GreenletObject, type);
        if (g == NULL)
            return NULL;
        g->weakreflist = NULL;
        g->dict = NULL;
        g->block = NULL;
        g->block = block_new(g);
        if (g->block == NULL) {
            PyObject_GC_Del(g);
            return NULL;
        }
        PyObject_GC_Track(g);
        return g;
    }
    /* The block first: no instance is without one, not even for its __del__.
     * object.__new__() refuses abstract classes, and makes 3.11's instances a
     * dict that is seldom used. */
    coir_block *b = block_new(NULL);
    if (b == NULL)
        return NULL;
    if (PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
        g = (GreenletObject *)PyBaseObject_Type.tp_new(
            type, coir__core.empty_tuple, NULL);
    else
        g = (GreenletObject *)type->tp_alloc(type, 0);
    if (g == NULL) {
        block_free(b);
        return NULL;
    }
    b->self = g;
    g->block = b;
    return g;
}

/* A new greenlet whose parent is the running one. */
static GreenletObject *
child_new(PyTypeObject *type)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    if (COIR__UNLIKELY(t->condemned != NULL))
        coir__pythread_drain(t);
    GreenletObject *g = object_new(type);
    if (g == NULL)
        return NULL;
    /* That may have collected garbage and let other threads run, but this
     * thread is still in the same greenlet. */
    coir__block_set_parent(
        g->block, (GreenletObject *)Py_NewRef((PyObject *)t->current));
    return g;
}

GreenletObject *
coir__greenlet_new_main(coir_pythread *t)
{
    coir_coro *co = coir_coro_main();
    if (co == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    GreenletObject *g = object_new(&coir__greenlet_type);
    if (g == NULL)
        return NULL;
    coir_block *b = g->block;
    b->flags = GREENLET_MAIN;
    b->state = GREENLET_ACTIVE;
    b->co = co;
    b->main = g;
    b->thread = t;
    coir__core.main_count++;
    return g;
}

static PyObject *
greenlet_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
             PyObject *Py_UNUSED(kwargs))
{
    return (PyObject *)child_new(type);
}

static int set_run(GreenletObject *g, PyObject *run);

/* `run` and `parent` may be NULL, and parent None, for not given. */
static int
init(GreenletObject *g, PyObject *run, PyObject *parent)
{
    if (run != NULL && set_run(g, run) < 0)
        return -1;
    if (parent != NULL && parent != Py_None)
        return coir__greenlet_set_parent(g, parent);
    return 0;
}

static int
greenlet_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"run", "parent", NULL};
    PyObject *run = NULL;
    PyObject *parent = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:green", names, &run,
                                     &parent))
        return -1;
    return init((GreenletObject *)op, run, parent);
}

/* greenlet(run) and greenlet(run, parent), without an argument tuple. */
static PyObject *
greenlet_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf,
                    PyObject *kwnames)
{
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (type != (PyObject *)&coir__greenlet_type || nargs > 2 ||
        kwnames != NULL) {
        PyObject *tuple = PyTuple_New(nargs);
        if (tuple == NULL)
            return NULL;
        for (Py_ssize_t i = 0; i < nargs; i++)
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
        PyObject *kwargs = NULL;
        if (kwnames != NULL) {
            kwargs = PyDict_New();
            for (Py_ssize_t i = 0;
                 kwargs != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
                if (PyDict_SetItem(kwargs, PyTuple_GET_ITEM(kwnames, i),
                                   args[nargs + i]) < 0)
                    Py_CLEAR(kwargs);
            }
            if (kwargs == NULL) {
                Py_DECREF(tuple);
                return NULL;
            }
        }
        PyObject *res = PyType_Type.tp_call(type, tuple, kwargs);
        Py_DECREF(tuple);
        Py_XDECREF(kwargs);
        return res;
    }
    GreenletObject *g = child_new(&coir__greenlet_type);
    if (g == NULL)
        return NULL;
    if (init(g, nargs > 0 ? args[0] : NULL, nargs > 1 ? args[1] : NULL) < 0) {
        Py_DECREF(g);
        return NULL;
    }
    return (PyObject *)g;
}

GreenletObject *
coir__greenlet_new(PyObject *run, GreenletObject *parent)
{
    GreenletObject *g = child_new(&coir__greenlet_type);
    if (g != NULL && init(g, run, (PyObject *)parent) < 0)
        Py_CLEAR(g);
    return g;
}

PyObject *
coir__getcurrent(void)
{
    if (COIR__UNLIKELY(coir__is_finalizing())) {
        PyErr_SetString(PyExc_RuntimeError, "greenlet is being finalized");
        return NULL;
    }
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    if (COIR__UNLIKELY(t->condemned != NULL))
        coir__pythread_drain(t);
    return Py_NewRef((PyObject *)t->current);
}

/* --- collection ---------------------------------------------------------- */

static int
can_unwind(const coir_block *b)
{
    return b != NULL && b->state == GREENLET_ACTIVE &&
           !(b->flags & (GREENLET_MAIN | GREENLET_CLOSED)) &&
           !coir__is_finalizing();
}

static void
unwind(PyObject *op)
{
    coir_block *b = ((GreenletObject *)op)->block;
    PyObject *exc = coir__error_take();
    coir__greenlet_condemn((GreenletObject *)op);
    if (b->state == GREENLET_ACTIVE)
        b->flags |= GREENLET_UNVISITED;
    coir__error_give(exc);
}

/* For the collector; for the last reference to an instance of a subclass,
 * too, but then tp_dealloc does what was not done here. */
static void
greenlet_finalize(PyObject *op)
{
    coir_block *b = ((GreenletObject *)op)->block;
    if (!can_unwind(b))
        return;
    PyObject *exc = coir__error_take();
    int keep = coir__is_scheduler((GreenletObject *)op);
    coir__error_give(exc);
    if (keep)
        b->flags |= GREENLET_UNVISITED; /* lives on, as with greenlet */
    else
        unwind(op);
}

/* May the collector see what a suspended greenlet's frames hold? */
static int
shows_frames(PyObject *op, const coir_block *b)
{
    return !(b->flags & (GREENLET_MAIN | GREENLET_UNVISITED)) &&
           Py_TYPE(op)->tp_finalize == greenlet_finalize;
}

static int
greenlet_traverse(PyObject *op, visitproc visit, void *arg)
{
    GreenletObject *g = (GreenletObject *)op;
    const coir_block *b = g->block;
    Py_VISIT(g->dict);
    if (b == NULL)
        return 0;
    Py_VISIT(b->parent);
    Py_VISIT(b->run);
    if (!(b->flags & GREENLET_MAIN))
        Py_VISIT(b->main);
    if (b->state != GREENLET_ACTIVE && !(b->flags & GREENLET_LOST)) {
        /* Nothing else, and there may be very many of them. */
        Py_VISIT(b->py.context);
        return 0;
    }
    if (b->state == GREENLET_ACTIVE && !shows_frames(op, b))
        return 0;
    Py_VISIT(b->callable);
    Py_VISIT(b->args);
    Py_VISIT(b->kwargs);
    return coir_pystate_traverse(&b->py, visit, arg);
}

static int
greenlet_clear(PyObject *op)
{
    GreenletObject *g = (GreenletObject *)op;
    coir_block *b = g->block;
    if (b != NULL) {
        /* What an active one runs with is still in use. Without a parent it
         * would end in its thread's main greenlet. */
        coir__block_set_parent(b, NULL);
        Py_CLEAR(b->run);
        if (b->state != GREENLET_ACTIVE)
            (void)coir_pystate_set_context(&b->py, NULL, Py_None);
    }
    Py_CLEAR(g->dict);
    return 0;
}

int
coir__greenlet_resurrect(PyObject *op)
{
    coir_block *b = ((GreenletObject *)op)->block;
    if (b == NULL || b->state != GREENLET_ACTIVE || (b->flags & GREENLET_MAIN))
        return 0;
    if (!can_unwind(b)) {
        coir__greenlet_abandon(b);
        return 0;
    }
    Py_SET_REFCNT(op, 1);
    unwind(op);
    if (Py_REFCNT(op) == 1 && b->state == GREENLET_ACTIVE) {
        PyObject *exc = coir__error_take();
        PySys_FormatStderr("GreenletExit did not kill %R\n", op);
        coir__error_give(exc);
        Py_INCREF(op); /* its thread asks it again when it exits */
    }
    if (Py_REFCNT(op) == 1) {
        Py_SET_REFCNT(op, 0);
        return 0;
    }
    Py_SET_REFCNT(op, Py_REFCNT(op) - 1);
    /* A subclass's tp_dealloc releases the type after this returns, believing
     * that the object is gone. */
    if (PyType_HasFeature(Py_TYPE(op), Py_TPFLAGS_HEAPTYPE))
        Py_INCREF(Py_TYPE(op));
    return 1;
}

/* Drop what it holds. Of many parents that go, and unwind, only some do so
 * within each other; the others when these have returned. */
static void
clear_in_turn(PyObject *op)
{
    coir_pythread *t = coir__pythread;
    coir_block *running = t != NULL ? t->current->block : NULL;
    if (running == NULL || running->self == (GreenletObject *)op) {
        (void)greenlet_clear(op);
        return;
    }
    uint8_t depth = running->drop_depth;
    if (depth < UINT8_MAX)
        running->drop_depth++;
    (void)greenlet_clear(op);
    running->drop_depth = depth;
    if (depth == 0 && COIR__UNLIKELY(t->condemned != NULL)) {
        PyObject *exc = coir__error_take();
        coir__pythread_drain(t);
        coir__error_give(exc);
    }
}

static void
greenlet_dealloc(PyObject *op)
{
    GreenletObject *g = (GreenletObject *)op;
    coir_block *b = g->block;
    if (coir__greenlet_resurrect(op))
        return;
    PyObject_GC_UnTrack(op);
    Py_TRASHCAN_BEGIN(op, greenlet_dealloc) if (g->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    clear_in_turn(op);
    if (b != NULL) {
        if (COIR__UNLIKELY(b->locals != NULL)) {
            PyObject *exc = coir__error_take();
            coir__locals_drop(b);
            coir__error_give(exc);
        }
        if (b->flags & GREENLET_MAIN)
            coir__core.main_count--;
        else
            Py_CLEAR(b->main);
        if (!(b->flags & GREENLET_LOST)) {
            Py_CLEAR(b->callable);
            Py_CLEAR(b->args);
            Py_CLEAR(b->kwargs);
        }
        g->block = NULL;
        block_free(b);
    }
    Py_TYPE(op)->tp_free(op);
    Py_TRASHCAN_END
}

/* --- attributes ---------------------------------------------------------- */

#define SELF_BLOCK(op) (((GreenletObject *)(op))->block)

static PyObject *
get_run(PyObject *op, void *Py_UNUSED(closure))
{
    const coir_block *b = SELF_BLOCK(op);
    if (b->flags & GREENLET_MAIN) {
        PyErr_SetString(PyExc_AttributeError,
                        "Main greenlets do not have a run attribute.");
        return NULL;
    }
    if (b->state != GREENLET_NEW || b->run == NULL) {
        PyErr_SetObject(PyExc_AttributeError, coir__core.str_run);
        return NULL;
    }
    return Py_NewRef(b->run);
}

/* NULL deletes. */
static int
set_run(GreenletObject *g, PyObject *run)
{
    coir_block *b = g->block;
    if (b->flags & GREENLET_MAIN) {
        PyErr_SetString(PyExc_AttributeError,
                        "Main greenlets do not have a run attribute.");
        return -1;
    }
    if (b->state != GREENLET_NEW) {
        PyErr_SetString(PyExc_AttributeError,
                        "run cannot be set after the start of the greenlet");
        return -1;
    }
    Py_XSETREF(b->run, Py_XNewRef(run));
    return 0;
}

static int
greenlet_set_run(PyObject *op, PyObject *run, void *Py_UNUSED(closure))
{
    return set_run((GreenletObject *)op, run);
}

static PyObject *
get_parent(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *parent = (PyObject *)SELF_BLOCK(op)->parent;
    return Py_NewRef(parent != NULL ? parent : Py_None);
}

int
coir__greenlet_set_parent(GreenletObject *g, PyObject *parent)
{
    coir_block *b = g->block;
    if (parent == NULL) {
        PyErr_SetString(PyExc_AttributeError, "can't delete attribute");
        return -1;
    }
    if (b->flags & GREENLET_MAIN) {
        PyErr_SetString(PyExc_AttributeError,
                        "cannot set the parent of a main greenlet");
        return -1;
    }
    if (!greenlet_check(parent)) {
        PyErr_Format(PyExc_TypeError,
                     "GreenletChecker: Expected any type of greenlet, not %s",
                     Py_TYPE(parent)->tp_name);
        return -1;
    }
    GreenletObject *up = (GreenletObject *)parent;
    /* Only one with children can be above its new parent: programs that build
     * a long chain of parents need not pay for looking at all of it. */
    for (GreenletObject *p = up; p != NULL; p = p->block->parent) {
        if (p == g) {
            PyErr_SetString(PyExc_ValueError, "cyclic parent chain");
            return -1;
        }
        if (b->children == 0)
            break;
    }
    while (b->main != NULL && up->block->main == NULL &&
           up->block->parent != NULL)
        up = up->block->parent;
    const GreenletObject *main = up->block->main;
    if (main == NULL && up->block->parent == NULL) {
        PyErr_SetString(PyExc_ValueError,
                        "parent must not be garbage collected");
        return -1;
    }
    if (b->main != NULL && b->main != main) {
        PyErr_SetString(PyExc_ValueError,
                        "parent cannot be on a different thread");
        return -1;
    }
    coir__block_set_parent(b, (GreenletObject *)Py_NewRef(parent));
    return 0;
}

static int
greenlet_set_parent(PyObject *op, PyObject *parent, void *Py_UNUSED(closure))
{
    return coir__greenlet_set_parent((GreenletObject *)op, parent);
}

static PyObject *
get_frame(PyObject *op, void *Py_UNUSED(closure))
{
    coir_block *b = SELF_BLOCK(op);
    if (b->state != GREENLET_ACTIVE || coir__is_running(b))
        Py_RETURN_NONE;
    return coir_pystate_frame(&b->py, PyThreadState_Get());
}

/* The thread state it runs on, NULL if it doesn't run; -1 with ValueError if
 * that is another thread's. */
static int
context_thread(const coir_block *b, const char *verb, PyThreadState **ts)
{
    *ts = NULL;
    if (!coir__is_running(b))
        return 0;
    const coir_pythread *t = coir__block_thread(b);
    if (t != coir__pythread) {
        PyErr_Format(PyExc_ValueError,
                     "cannot %s context of a greenlet that is running in a "
                     "different thread",
                     verb);
        return -1;
    }
    *ts = t->tstate;
    return 0;
}

static PyObject *
get_context(PyObject *op, void *Py_UNUSED(closure))
{
    const coir_block *b = SELF_BLOCK(op);
    PyThreadState *ts;
    if (context_thread(b, "get", &ts) < 0)
        return NULL;
    return coir_pystate_get_context(&b->py, ts);
}

static int
set_context(PyObject *op, PyObject *context, void *Py_UNUSED(closure))
{
    coir_block *b = SELF_BLOCK(op);
    if (context == NULL) {
        PyErr_SetString(PyExc_AttributeError,
                        "can't delete context attribute");
        return -1;
    }
    if (context != Py_None && !PyContext_CheckExact(context)) {
        PyErr_SetString(PyExc_TypeError, "greenlet context must be a "
                                         "contextvars.Context or None");
        return -1;
    }
    PyThreadState *ts;
    if (context_thread(b, "set", &ts) < 0)
        return -1;
    return coir_pystate_set_context(&b->py, ts, context);
}

static PyObject *
get_dead(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF_BLOCK(op)->state == GREENLET_DEAD);
}

/* Bytes of C stack it holds while suspended, wherever they are. */
static PyObject *
get_stack_saved(PyObject *op, void *Py_UNUSED(closure))
{
    const coir_block *b = SELF_BLOCK(op);
    size_t size = 0;
    if (b->state == GREENLET_ACTIVE && !coir__is_running(b))
        size = coir_coro_stack_used(b->co);
    return PyLong_FromSize_t(size);
}

static int
greenlet_bool(PyObject *op)
{
    return SELF_BLOCK(op)->state == GREENLET_ACTIVE;
}

static PyObject *
greenlet_repr(PyObject *op)
{
    const coir_block *b = SELF_BLOCK(op);
    const char *name = Py_TYPE(op)->tp_name;
    void *thread = coir__block_thread(b);
    if (b->state == GREENLET_DEAD)
        return PyUnicode_FromFormat(
            "<%s object at %p (otid=%p) %sdead>", name, (void *)op, thread,
            b->main != NULL && thread == NULL ? "(thread exited) " : "");
    const char *what = " pending";
    if (b->state == GREENLET_ACTIVE) {
        /* Main is never called running elsewhere: it was left somehow. */
        const coir_pythread *t = coir__pythread;
        what = t != NULL && t->current == (GreenletObject *)op
                   ? " current active started"
                   : " suspended active started";
    }
    return PyUnicode_FromFormat("<%s object at %p (otid=%p)%s%s>", name,
                                (void *)op, thread, what,
                                b->flags & GREENLET_MAIN ? " main" : "");
}

/* --- methods ------------------------------------------------------------- */

/* Make a dict of the keyword arguments of a vectorcall. */
static PyObject *
keywords(PyObject *const *values, PyObject *kwnames)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        if (PyDict_SetItem(dict, PyTuple_GET_ITEM(kwnames, i), values[i]) <
            0) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

static __attribute__((noinline)) int
pack(coir_payload *p, PyObject *const *args, Py_ssize_t nargs,
     PyObject *kwnames)
{
    if (nargs == 0) {
        p->value = Py_NewRef(coir__core.empty_tuple);
    }
    else {
        p->value = PyTuple_New(nargs);
        if (p->value == NULL)
            return -1;
        for (Py_ssize_t i = 0; i < nargs; i++)
            PyTuple_SET_ITEM(p->value, i, Py_NewRef(args[i]));
    }
    p->packed = 1;
    if (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0) {
        p->kwargs = keywords(args + nargs, kwnames);
        if (p->kwargs == NULL) {
            Py_DECREF(p->value);
            return -1;
        }
    }
    return 0;
}

static PyObject *
greenlet_switch(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    coir_pythread *t = coir__pythread_get();
    if (COIR__UNLIKELY(t == NULL))
        return NULL;
    coir_payload p = {NULL, NULL, 0};
    if (nargs == 1 && kwnames == NULL)
        p.value = Py_NewRef(args[0]);
    else if (pack(&p, args, nargs, kwnames) < 0)
        return NULL;
    return coir__greenlet_switch(t, (GreenletObject *)op, p);
}

static PyObject *
greenlet_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs > 3) {
        PyErr_Format(PyExc_TypeError,
                     "throw() takes at most 3 arguments (%zd given)", nargs);
        return NULL;
    }
    return coir__greenlet_throw(
        (GreenletObject *)op, nargs > 0 ? args[0] : coir__core.exit,
        nargs > 1 ? args[1] : NULL, nargs > 2 ? args[2] : NULL);
}

static PyObject *
greenlet_getstate(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyErr_Format(PyExc_TypeError, "cannot serialize '%s' object",
                 Py_TYPE(op)->tp_name);
    return NULL;
}

PyDoc_STRVAR(greenlet_doc,
             "greenlet(run=None, parent=None)\n--\n\n"
             "Create a greenlet, without running it.\n\n"
             ":param run: the callable that its first switch() starts\n"
             ":param parent: where its end leads; the current greenlet if "
             "None");

PyDoc_STRVAR(
    switch_doc,
    "switch($self, *args, **kwargs)\n--\n\n"
    "Switch to this greenlet; returns when something switches back.\n\n"
    "One that was never switched to is started by run(*args, **kwargs). In a\n"
    "suspended one, the pending call of switch() returns what is brought: "
    "the\n"
    "argument if there is one, a tuple of arguments, or a dict of keyword\n"
    "arguments, or a tuple of both. In place of a dead one its parent is\n"
    "switched to.");

PyDoc_STRVAR(
    throw_doc,
    "throw($self, *typ_val_tb)\n--\n\n"
    "Switch to this greenlet and raise an exception there, GreenletExit by\n"
    "default. One that was never switched to ends by it without running; a\n"
    "GreenletExit that is not caught ends a greenlet normally, and is\n"
    "returned in its parent.");

PyDoc_STRVAR(getcurrent_doc, "getcurrent()\n--\n\n"
                             "The greenlet that calls this function.");

static PyMethodDef greenlet_methods[] = {
    {"switch", _PyCFunction_CAST(greenlet_switch),
     METH_FASTCALL | METH_KEYWORDS, switch_doc},
    {"throw", _PyCFunction_CAST(greenlet_throw), METH_FASTCALL, throw_doc},
    {"__getstate__", greenlet_getstate, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef greenlet_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"run", get_run, greenlet_set_run, "What the first switch() calls.", NULL},
    {"parent", get_parent, greenlet_set_parent,
     "Where the end of this greenlet leads; None for a main greenlet.", NULL},
    {"gr_frame", get_frame, NULL,
     "The innermost frame while suspended, else None.", NULL},
    {"gr_context", get_context, set_context,
     "The contextvars.Context it runs in, or None.", NULL},
    {"dead", get_dead, NULL, "True if it has finished.", NULL},
    {"_stack_saved", get_stack_saved, NULL,
     "Bytes of C stack held while suspended.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyNumberMethods greenlet_number = {
    .nb_bool = greenlet_bool,
};

PyTypeObject coir__greenlet_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "greenlet.greenlet",
    .tp_basicsize = sizeof(GreenletObject),
    .tp_dealloc = greenlet_dealloc,
    .tp_repr = greenlet_repr,
    .tp_as_number = &greenlet_number,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = greenlet_doc,
    .tp_traverse = greenlet_traverse,
    .tp_clear = greenlet_clear,
    .tp_weaklistoffset = offsetof(GreenletObject, weakreflist),
    .tp_methods = greenlet_methods,
    .tp_getset = greenlet_getset,
    .tp_dictoffset = offsetof(GreenletObject, dict),
    .tp_init = greenlet_init,
    .tp_alloc = PyType_GenericAlloc,
    .tp_new = greenlet_new,
    .tp_free = PyObject_GC_Del,
    .tp_finalize = greenlet_finalize,
    .tp_vectorcall = greenlet_vectorcall,
};

_Static_assert(sizeof(GreenletObject) == 40 || sizeof(void *) != 8,
               "extensions embed the object");

/* --- UnswitchableGreenlet ------------------------------------------------ */

/* For tests of what happens if a switch fails. The closure is the flag. */
static PyObject *
get_flag(PyObject *op, void *closure)
{
    uint8_t flag = (uint8_t)(uintptr_t)closure;
    return PyBool_FromLong(SELF_BLOCK(op)->flags & flag);
}

static int
set_flag(PyObject *op, PyObject *value, void *closure)
{
    uint8_t flag = (uint8_t)(uintptr_t)closure;
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "Cannot delete %s",
                     flag == GREENLET_FAIL ? "force_switch_error"
                                           : "force_slp_switch_error");
        return -1;
    }
    int on = PyObject_IsTrue(value);
    if (on < 0)
        return -1;
    coir_block *b = SELF_BLOCK(op);
    b->flags = (uint8_t)(on ? b->flags | flag : b->flags & ~flag);
    return 0;
}

static PyGetSetDef unswitchable_getset[] = {
    {"force_switch_error", get_flag, set_flag, "Switching to it fails.",
     (void *)(uintptr_t)GREENLET_FAIL},
    {"force_slp_switch_error", get_flag, set_flag, "Switching to it is fatal.",
     (void *)(uintptr_t)GREENLET_CRASH},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__unswitchable_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name =
        "greenlet._greenlet.UnswitchableGreenlet",
    .tp_basicsize = sizeof(GreenletObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "A greenlet that refuses to be switched to; for tests.",
    .tp_traverse = greenlet_traverse,
    .tp_clear = greenlet_clear,
    .tp_dealloc = greenlet_dealloc,
    .tp_getset = unswitchable_getset,
    .tp_base = &coir__greenlet_type,
    .tp_init = greenlet_init,
    .tp_new = greenlet_new,
};

/* --- set-up -------------------------------------------------------------- */

static PyObject *
getcurrent(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return coir__getcurrent();
}

/* What is reachable from the class too. */
static PyMethodDef class_functions[] = {
    {"getcurrent", getcurrent, METH_NOARGS, getcurrent_doc},
    {"settrace", coir__settrace, METH_VARARGS,
     "settrace(callback) -> object\n\n"
     "Set this thread's trace function, None for none, called as\n"
     "callback(event, (origin, target)) after each switch. Returns the\n"
     "previous one."},
    {"gettrace", coir__gettrace, METH_NOARGS,
     "gettrace()\n--\n\nThis thread's trace function, or None."},
    {NULL, NULL, 0, NULL},
};

/* Immutable for others, and seen by nobody yet. */
static int
class_set(const char *name, PyObject *value)
{
    return PyDict_SetItemString(coir__greenlet_type.tp_dict, name, value);
}

int
coir__greenlet_types_init(void)
{
    if (PyType_HasFeature(&coir__greenlet_type, Py_TPFLAGS_READY))
        return 0; /* imported again */
    if (PyType_Ready(&coir__greenlet_type) < 0 ||
        PyType_Ready(&coir__unswitchable_type) < 0)
        return -1;
    for (PyMethodDef *def = class_functions; def->ml_name != NULL; def++) {
        PyObject *func = PyCFunction_New(def, NULL);
        if (func == NULL)
            return -1;
        int err = class_set(def->ml_name, func);
        Py_DECREF(func);
        if (err < 0)
            return -1;
    }
    if (class_set("error", coir__core.error) < 0 ||
        class_set("GreenletExit", coir__core.exit) < 0)
        return -1;
    PyType_Modified(&coir__greenlet_type);
    return 0;
}
