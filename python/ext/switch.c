/* switch.c - switching, starting and finishing greenlets.
 *
 * A switch hands over three things through the thread's record: who left
 * (`origin`), who runs now (`current`), and the payload. They are written
 * right before the machine switch and read right after it, with no Python
 * code in between; an exception that is brought stays where it is, pending in
 * the thread state.
 *
 *     running greenlet                     the other one, resumed
 *     swap(): origin, current, payload
 *             coir_pystate_save()
 *             coir_coro_switch()  ----->   coir_coro_switch() returns
 *                                          coir_pystate_restore()
 *                                          arrive(): trace, drop origin
 *
 * A new greenlet begins in body() instead, with coir_pystate_enter(). Its end,
 * finish(), cannot fail: whoever is to go on is found, and if NEW has got its
 * stack, before the last step.
 *
 * The target of a switch is the nearest ancestor that is not dead; a NEW one
 * is started. To find what a NEW one runs, attributes are looked up, so that
 * any code may run, which may start it, kill it, or move it in the tree: all
 * is looked at again afterwards. */
#include "hub.h"
#include "running.h"

#include <errno.h>

/* The root chunk of a greenlet's Python frames grows up from where its C stack
 * grows down. With as much of the shared page left to the stack as it needs
 * down to a shallow wait, a suspended greenlet touches one page. Of all that
 * wait in a function in Python, recv() needs the most; a patched thread's call
 * of its function on 3.11, and whatever was called before, need some more.
 * What is left has room for a dozen frames. */
#define SHARED_STACK ((size_t)2304) /* measured: 1,520 to 2,300 bytes */
#define ROOT_CHUNK_SIZE ((size_t)16384 - SHARED_STACK)
/* That of a slice lies on the heap: room for a dozen frames. */
#define SLICE_CHUNK_SIZE ((size_t)2048)

/* --- arriving ------------------------------------------------------------ */

/* What switch() returns for what was brought. Steals both references. */
static PyObject *
unpack(PyObject *args, PyObject *kwargs)
{
    PyObject *res;
    if (kwargs != NULL) {
        if (PyTuple_GET_SIZE(args) == 0) {
            Py_DECREF(args);
            return kwargs;
        }
        res = PyTuple_Pack(2, args, kwargs);
        Py_DECREF(kwargs);
    }
    else if (PyTuple_GET_SIZE(args) == 1) {
        res = Py_NewRef(PyTuple_GET_ITEM(args, 0));
    }
    else {
        return args;
    }
    Py_DECREF(args);
    return res;
}

static void
payload_drop(coir_payload *p)
{
    Py_CLEAR(p->value);
    Py_CLEAR(p->kwargs);
}

/* First thing in a greenlet that was switched to. */
static inline PyObject *
arrive(coir_pythread *t)
{
    GreenletObject *from = t->origin;
    coir_payload p = t->payload;
    t->origin = NULL;
    t->payload.value = NULL;
    if (COIR__UNLIKELY(t->tracefunc != NULL))
        coir__trace_switch(t, from, &p);
    /* May be its last reference, and then it unwinds here and now; what it
     * brought us is safe in `p`. */
    Py_DECREF(from);
    if (COIR__LIKELY(!p.packed || p.value == NULL))
        return p.value;
    return unpack(p.value, p.kwargs);
}

/* --- leaving ------------------------------------------------------------- */

static COIR__COLD void
swap_failed(coir_pythread *t)
{
    t->current = t->origin;
    t->origin = NULL;
    payload_drop(&t->payload);
    PyErr_NoMemory();
}

/* Go to `to`, ACTIVE or just prepared, of this thread and not the current one.
 * Takes over the reference to it: a suspended greenlet keeps nobody alive just
 * for having switched to them.
 * Returns 0 when somebody has come back; -1 with MemoryError if there was no
 * way to go: then nothing but the payload is lost, and the reference is the
 * caller's again. */
static inline int
swap(coir_pythread *t, GreenletObject *to, const coir_payload *p)
{
    GreenletObject *from = t->current;
    coir_block *b = from->block;
    PyThreadState *ts = t->tstate;
    int saved_errno = errno;
    t->origin = from; /* the reference moves */
    t->current = to;
    t->payload = *p;
    coir_pystate_save(&b->py, ts);
    int err = coir_coro_switch(to->block->co, NULL, NULL);
    coir_pystate_restore(&b->py, ts);
    errno = saved_errno;
    if (COIR__UNLIKELY(b->wait != NULL && b->wait->is_waiting))
        coir__wait_left(b->wait);
    if (COIR__UNLIKELY(err < 0)) {
        swap_failed(t);
        return -1;
    }
    return 0;
}

/* --- starting ------------------------------------------------------------ */

static int body(void *arg, void *value, void **result);

/* What `g` would run: a new reference, or NULL with an exception. */
static PyObject *
find_run(GreenletObject *g)
{
    if (!Py_IS_TYPE((PyObject *)g, &coir__greenlet_type))
        return PyObject_GetAttr((PyObject *)g, coir__core.str_run);
    if (g->block->run != NULL)
        return Py_NewRef(g->block->run);
    PyErr_SetObject(PyExc_AttributeError, coir__core.str_run);
    return NULL;
}

static COIR__COLD int
thread_error(coir_pythread *t, GreenletObject *main)
{
    if (main == NULL)
        PyErr_SetString(coir__core.error,
                        "cannot switch to a garbage collected greenlet");
    else if (main->block->thread == NULL)
        PyErr_SetString(coir__core.error,
                        "cannot switch to a different thread (which happens "
                        "to have exited)");
    else
        PyErr_Format(coir__core.error,
                     "Cannot switch to a different thread\n"
                     "\tCurrent:  %R\n\tExpected: %R",
                     (PyObject *)t->main, (PyObject *)main);
    return -1;
}

static COIR__COLD void
scheduler_error(void)
{
    PyErr_SetString(coir__core.error,
                    "cannot switch to a scheduler whose thread ends");
}

/* May this thread switch to `g`? A NEW one belongs to the thread of its
 * nearest ancestor that was started. Returns 0, or -1 with an exception. */
static int
check_thread(coir_pythread *t, GreenletObject *g)
{
    GreenletObject *main = NULL;
    for (; g != NULL; g = g->block->parent) {
        if (g->block->main != NULL) {
            main = g->block->main;
            break;
        }
    }
    return main == t->main ? 0 : thread_error(t, main);
}

/* Find what a NEW greenlet runs and take its stack. Runs any code.
 * Returns 0 if it can be started, by commit() and a switch with no Python code
 * in between; 1 if it is no longer NEW, or -1 with an exception. */
static int
prepare(coir_pythread *t, GreenletObject *g)
{
    coir_block *b = g->block;
    coir_coro_attr attr = {0};
    attr.parent = t->main->block->co;
    attr.reserve = ROOT_CHUNK_SIZE;
    attr.name = "greenlet";
    attr.stack_size = coir__core.stack_size;
    attr.policy = coir__core.policy;

    PyObject *run = NULL;
    if (b->entry == NULL && (run = find_run(g)) == NULL)
        return -1;
    /* Only classes made in Python have such attributes. */
    if (PyType_HasFeature(Py_TYPE(g), Py_TPFLAGS_HEAPTYPE) &&
        coir__settings_of(Py_TYPE(g), &attr.stack_size, &attr.policy) < 0)
        goto fail;
    if (COIR__UNLIKELY(t->exits) && coir__starts_scheduler(g, run)) {
        scheduler_error();
        goto fail;
    }
    if (check_thread(t, g) < 0)
        goto fail;
    if (b->state != GREENLET_NEW) {
        Py_XDECREF(run);
        return 1;
    }
    if (b->flags & GREENLET_FAIL) {
        PyErr_SetString(PyExc_SystemError, "Failed to switch stacks into a "
                                           "greenlet for the first time.");
        goto fail;
    }
    if (attr.policy == COIR__POLICY_AUTO)
        attr.policy = coir__settings_choose(attr.stack_size);
    attr.stack_size -= ROOT_CHUNK_SIZE;
    if (COIR__UNLIKELY(attr.policy == COIR_POLICY_SLICE))
        attr.reserve = SLICE_CHUNK_SIZE;
    int err = coir_coro_init(&b->coro, body, b, &attr);
    if (err == 0)
        err = coir_coro_prepare(&b->coro);
    if (err < 0) {
        PyErr_NoMemory();
        goto fail;
    }
    if (COIR__UNLIKELY(attr.policy == COIR_POLICY_SLICE))
        coir_pystate_set_moves(&t->main->block->py);
    b->callable = run;
    return 0;

fail:
    Py_XDECREF(run);
    return -1;
}

/* The prepared greenlet is switched to next. */
static void
commit(coir_pythread *t, GreenletObject *g)
{
    coir_block *b = g->block;
    b->co = &b->coro;
    b->state = GREENLET_ACTIVE;
    b->main = (GreenletObject *)Py_NewRef((PyObject *)t->main);
    coir__link_live(t, b);
}

/* The switch after commit() has failed: as if it had never been tried. */
static COIR__COLD void
rollback(coir_pythread *t, GreenletObject *g)
{
    coir_block *b = g->block;
    PyObject *exc = coir__error_take();
    coir__unlink_live(t, b);
    (void)coir_coro_fini(&b->coro);
    b->co = NULL;
    b->state = GREENLET_NEW;
    Py_CLEAR(b->main);
    Py_CLEAR(b->callable);
    coir__error_give(exc);
}

/* --- the way to the target ----------------------------------------------- */

static COIR__COLD PyObject *
switch_fails(const coir_block *b)
{
    if (b->flags & GREENLET_CRASH)
        Py_FatalError("greenlet: Failed to switch stacks.");
    if (b->flags & GREENLET_CLOSED) {
        scheduler_error();
        return NULL;
    }
    PyErr_SetString(PyExc_SystemError,
                    "Failed to switch stacks into a running greenlet.");
    return NULL;
}

/* Switch to a greenlet that can be anything. Steals the payload. */
static __attribute__((noinline)) PyObject *
switch_slowly(coir_pythread *t, GreenletObject *to, coir_payload p)
{
    PyObject *res = NULL;
    /* The exception that is brought must survive the code that runs here. */
    PyObject *exc = p.value == NULL ? coir__error_take() : NULL;
    Py_INCREF(to);

    if (check_thread(t, to) < 0)
        goto fail;
    for (;;) {
        coir_block *b = to->block;
        int start = 0;
        if (b->state == GREENLET_NEW) {
            int err = prepare(t, to);
            if (err < 0)
                goto fail;
            if (err > 0)
                continue;
            start = 1;
        }
        else if (b->state == GREENLET_ACTIVE) {
            if (b->main != t->main) {
                (void)thread_error(t, b->main);
                goto fail;
            }
            if (b->flags & GREENLET_GUARDED) {
                (void)switch_fails(b);
                goto fail;
            }
        }
        else {
            GreenletObject *parent = b->parent;
            if (parent == NULL)
                parent = t->main;
            Py_INCREF(parent);
            Py_SETREF(to, parent);
            continue;
        }

        if (exc != NULL)
            coir__error_give(exc);
        if (to == t->current) {
            t->origin = (GreenletObject *)Py_NewRef((PyObject *)to);
            t->payload = p;
            res = arrive(t);
        }
        else {
            if (start)
                commit(t, to);
            if (swap(t, to, &p) == 0)
                return arrive(t);
            if (start)
                rollback(t, to);
        }
        Py_DECREF(to);
        return res;
    }

fail:
    payload_drop(&p);
    Py_XDECREF(exc);
    Py_DECREF(to);
    return NULL;
}

static inline PyObject *
switch_to(coir_pythread *t, GreenletObject *to, coir_payload p)
{
    if (COIR__UNLIKELY(t->condemned != NULL)) {
        PyObject *exc = p.value == NULL ? coir__error_take() : NULL;
        coir__pythread_drain(t);
        if (exc != NULL)
            coir__error_give(exc);
    }
    const coir_block *b = to->block;
    if (COIR__LIKELY(b->state == GREENLET_ACTIVE && b->main == t->main &&
                     to != t->current && (b->flags & GREENLET_GUARDED) == 0)) {
        Py_INCREF(to);
        if (COIR__LIKELY(swap(t, to, &p) == 0))
            return arrive(t);
        Py_DECREF(to);
        return NULL;
    }
    return switch_slowly(t, to, p);
}

/* Who is switched to has left for the hub, and so is not called by the loop
 * that runs here, from a finalizer for instance: it puts back its own. */
static COIR__COLD PyObject *
switch_from_loop(coir_pythread *t, GreenletObject *to, coir_payload p)
{
    PyObject *exc = p.value == NULL ? coir__error_take() : NULL;
    coir_running r;
    coir__running_take(t, &r);
    coir__error_give(exc);
    PyObject *res = switch_to(t, to, p);
    coir__running_put_back(t, &r);
    return res;
}

PyObject *
coir__greenlet_switch(coir_pythread *t, GreenletObject *to, coir_payload p)
{
    if (COIR__UNLIKELY(t->running_loop != NULL)) {
        const coir_wait *w = to->block->wait;
        if (w != NULL && w->is_waiting)
            return switch_from_loop(t, to, p);
    }
    return switch_to(t, to, p);
}

/* A function of sys.settrace() is set, and who waited goes on. Some, as that
 * of coverage, keep a stack for each greenlet, and look who runs at a call or
 * a return. In a wait of the originals there are such. So have one, of
 * nothing. `res` is what the wait brought, or NULL with an exception. */
static COIR__COLD PyObject *
show_tracer(PyObject *res, coir_wait *w, int how)
{
    static PyObject *nothing;
    PyObject *exc = res == NULL ? coir__error_take() : NULL;
    PyObject *handed = w->value;
    int was_woken = w->was_woken;
    w->value = NULL;
    if (nothing == NULL) {
        PyObject *code =
            Py_CompileString("lambda: None", "<coir>", Py_eval_input);
        PyObject *globals = code != NULL ? PyDict_New() : NULL;
        if (globals != NULL)
            nothing = PyEval_EvalCode(code, globals, globals);
        Py_XDECREF(code);
        Py_XDECREF(globals);
    }
    PyObject *none = nothing != NULL ? PyObject_CallNoArgs(nothing) : NULL;
    if (none == NULL && res != NULL) { /* as if it were thrown after a wake */
        if (how == COIR_WOKEN_BY_WAKE) {
            was_woken = 1;
            Py_XSETREF(handed, res != Py_None ? Py_NewRef(res) : NULL);
        }
        Py_CLEAR(res);
    }
    w->was_woken = was_woken != 0;
    Py_XSETREF(w->value, handed);
    if (none == NULL)
        Py_XDECREF(exc);
    else if (exc != NULL)
        coir__error_give(exc);
    Py_XDECREF(none);
    return res;
}

PyObject *
coir__greenlet_park(coir_pythread *t, GreenletObject *to, coir_payload p,
                    coir_wait *w, int *how)
{
    const coir_block *b = to->block;
    if (COIR__LIKELY(t->condemned == NULL && b->state == GREENLET_ACTIVE &&
                     b->main == t->main && to != t->current &&
                     (b->flags & GREENLET_GUARDED) == 0)) {
        Py_INCREF(to);
        int err = swap(t, to, &p);
        /* Before any code runs that may wait, too. */
        *how = w->woken;
        PyObject *handed = w->value;
        int was_woken = w->was_woken;
        w->value = NULL;
        if (COIR__UNLIKELY(err < 0)) {
            Py_DECREF(to);
            return NULL;
        }
        PyObject *res = arrive(t);
        if (COIR__UNLIKELY(was_woken)) {
            w->was_woken = 1;
            Py_XSETREF(w->value, handed);
        }
        return COIR__LIKELY(t->tstate->c_tracefunc == NULL)
                   ? res
                   : show_tracer(res, w, *how);
    }
    PyObject *res = switch_to(t, to, p);
    if (w->is_waiting) /* it never left */
        coir__wait_left(w);
    *how = w->woken;
    return COIR__LIKELY(t->tstate->c_tracefunc == NULL)
               ? res
               : show_tracer(res, w, *how);
}

/* --- a greenlet's life --------------------------------------------------- */

/* Call what it runs, with what the first switch brought. */
static PyObject *
call_run(coir_block *b, coir_payload *p)
{
    PyObject *run = b->callable;
    if (b->entry != NULL) {
        payload_drop(p);
        return b->entry(b->self);
    }
    /* The references are the block's while it runs: the collector must know
     * them to find a greenlet that is reachable only from itself. */
    b->args = p->value;
    b->kwargs = p->kwargs;
    if (!p->packed) {
        PyObject *stack[2] = {NULL, p->value};
        return PyObject_Vectorcall(run, stack + 1,
                                   1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    if (p->kwargs == NULL && PyTuple_GET_SIZE(p->value) == 0)
        return PyObject_CallNoArgs(run);
    return PyObject_Call(run, p->value, p->kwargs);
}

/* Where the end of `g` leads first: a new reference. One whose parent was
 * cleared by the collector still has a thread to go on. */
static GreenletObject *
next_up(coir_pythread *t, const GreenletObject *g)
{
    GreenletObject *up = g->block->parent;
    return (GreenletObject *)Py_NewRef((PyObject *)(up ? up : t->main));
}

/* Who goes on when `g` has ended: ACTIVE, or NEW and prepared; a new
 * reference. `*value` or `*exc` is what it is brought; if somebody on the way
 * up cannot be started, the next one gets to know why. References are dropped
 * before the one above is looked at, never after: that may run any code. */
static GreenletObject *
find_heir(coir_pythread *t, GreenletObject *g, PyObject **value,
          PyObject **exc)
{
    GreenletObject *up = next_up(t, g);
    for (;;) {
        while (up->block->state == GREENLET_DEAD ||
               (up->block->flags & GREENLET_CLOSED))
            Py_SETREF(up, next_up(t, up));
        if (up->block->state == GREENLET_NEW) {
            int err = prepare(t, up);
            if (err == 0)
                return up;
            if (err > 0)
                continue;
        }
        else {
            if (up->block->main == t->main)
                return up;
            (void)thread_error(t, up->block->main);
        }
        Py_XSETREF(*exc, coir__error_take());
        Py_CLEAR(*value);
        Py_SETREF(up, next_up(t, up));
    }
}

/* The end of the running greenlet, with a result or a pending exception. What
 * is left to do is to return from its body: the heir is its parent then. */
static void
finish(coir_pythread *t, GreenletObject *g, PyObject *result)
{
    coir_block *b = g->block;
    PyThreadState *ts = t->tstate;
    PyObject *exc = NULL;
    if (result == NULL) {
        exc = coir__error_take();
        if (PyErr_GivenExceptionMatches(exc, coir__core.exit)) {
            result = exc; /* being asked to end is not an error */
            exc = NULL;
        }
    }
    Py_CLEAR(b->callable);
    Py_CLEAR(b->args);
    Py_CLEAR(b->kwargs);
    if (COIR__UNLIKELY(b->locals != NULL))
        coir__locals_drop(b);
    GreenletObject *heir = find_heir(t, g, &result, &exc);

    /* No Python code from here on. The context outlives the greenlet, as
     * gr_context; since it is held here, leave() releases nothing. */
    PyObject *context = coir_pystate_get_context(&b->py, ts);
    coir_pystate_leave(&b->py, ts);
    (void)coir_pystate_set_context(&b->py, NULL, context);
    Py_DECREF(context);
    b->state = GREENLET_DEAD;
    coir__unlink_live(t, b);
    t->origin = g; /* the reference moves */
    t->current = heir;
    t->payload.value = result;
    t->payload.kwargs = NULL;
    t->payload.packed = 0;
    if (exc != NULL)
        coir__error_give(exc);
    if (heir->block->state == GREENLET_NEW)
        commit(t, heir);
    int err = coir_coro_set_parent(b->co, heir->block->co);
    assert(err == 0);
    (void)err;
}

/* Arrive in a new greenlet and run it. */
static __attribute__((noinline)) PyObject *
run_first(coir_pythread *t, coir_block *b)
{
    GreenletObject *from = t->origin;
    coir_payload p = t->payload;
    t->origin = NULL;
    t->payload.value = NULL;
    /* Code that runs here, in a destructor, runs in this greenlet. */
    Py_CLEAR(b->run);
    if (COIR__UNLIKELY(t->tracefunc != NULL))
        coir__trace_switch(t, from, &p);
    Py_DECREF(from);
    return p.value != NULL ? call_run(b, &p) : NULL;
}

/* The body of every greenlet's coroutine. */
static int
body(void *arg, void *Py_UNUSED(value), void **Py_UNUSED(result))
{
    coir_block *b = arg;
    coir_pythread *t = coir__pythread;
    void *low = NULL, *high = NULL;
    (void)coir_coro_stack_bounds(b->co, &low, &high);
    const coir_pystate *thread = NULL;
    if (COIR__UNLIKELY(coir_coro_policy(b->co) == COIR_POLICY_SLICE))
        thread = &t->main->block->py;
    coir_pystate_enter(&b->py, t->tstate, coir_coro_reserve(b->co),
                       b->co->reserve_size, low, high, thread);
    finish(t, b->self, run_first(t, b));
    return 0;
}

/* --- throw --------------------------------------------------------------- */

/* Make (typ, val, tb) the pending exception, or raise TypeError instead. */
static int
set_error(PyObject *typ, PyObject *val, PyObject *tb)
{
    if (tb == Py_None)
        tb = NULL;
    if (tb != NULL && !PyTraceBack_Check(tb)) {
        PyErr_SetString(PyExc_TypeError,
                        "throw() third argument must be a traceback object");
        return -1;
    }
    if (PyExceptionClass_Check(typ)) {
        PyErr_Restore(Py_NewRef(typ), Py_XNewRef(val), Py_XNewRef(tb));
        return 0;
    }
    if (!PyExceptionInstance_Check(typ)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes, or instances, not %.100s",
                     Py_TYPE(typ)->tp_name);
        return -1;
    }
    if (val != NULL && val != Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        "instance exception may not have a separate value");
        return -1;
    }
    PyErr_Restore(Py_NewRef(PyExceptionInstance_Class(typ)), Py_NewRef(typ),
                  tb != NULL ? Py_NewRef(tb) : PyException_GetTraceback(typ));
    return 0;
}

PyObject *
coir__greenlet_throw(GreenletObject *g, PyObject *typ, PyObject *val,
                     PyObject *tb)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL || set_error(typ, val, tb) < 0)
        return NULL;
    coir_payload p = {NULL, NULL, 0};
    if (g->block->state == GREENLET_DEAD &&
        PyErr_ExceptionMatches(coir__core.exit))
        p.value = coir__error_take(); /* it has ended: nothing to ask for */
    return coir__greenlet_switch(t, g, p);
}
