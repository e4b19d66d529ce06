/* greenwait.c - waiting for the end of a Greenlet, and bringing it about.
 *
 * kill() has the hub throw: a greenlet that is left by throw() is resumed by
 * nobody. What is on its way is a record of its own, since both the killer and
 * the one to be killed may be gone when its turn comes. */
#include "green.h"

/* --- waiting for the end ------------------------------------------------- */

PyObject *
coir__green_reraise(GreenObject *g)
{
    if (g->exc == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this Greenlet has not failed");
        return NULL;
    }
    /* Not with what it went through when it was raised the last time. */
    PyObject *tb = coir__green_rare(g, COIR_GREEN_TRACEBACK);
    (void)PyException_SetTraceback(g->exc, tb != NULL ? tb : Py_None);
    /* As by `raise`: what is being handled here becomes its context. */
    PyObject *exc = Py_NewRef(g->exc);
    PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_DECREF(exc);
    return NULL;
}

/* What this method says, which a subclass may have for itself; `mine`: what
 * ours would. -1 with an exception. */
static int
ask(GreenObject *g, PyObject *name, PyObject *own, int mine)
{
    if (COIR__LIKELY(Py_IS_TYPE((PyObject *)g, &coir__green_type)))
        return mine;
    int is_own = coir__green_has_own(Py_TYPE(g), name, own);
    if (is_own != 0)
        return is_own < 0 ? -1 : mine;
    PyObject *said = PyObject_CallMethodNoArgs((PyObject *)g, name);
    int is_true = said != NULL ? PyObject_IsTrue(said) : -1;
    Py_XDECREF(said);
    return is_true;
}

static inline int
ask_ready(GreenObject *g)
{
    return ask(g, coir__green.str_ready, coir__green.own_ready,
               coir__green_ready(g));
}

static PyObject *
result_of(GreenObject *g)
{
    int is_good = ask(g, coir__green.str_successful,
                      coir__green.own_successful, g->exc == NULL);
    if (is_good <= 0)
        return is_good < 0 ? NULL : coir__green_reraise(g);
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
        coir__raise_named("InvalidSwitchError",
                          "Invalid switch into Greenlet.%s(): %R", what, res);
    Py_DECREF(res);
    if (COIR__UNLIKELY(how == COIR_WOKEN_BY_OTHER))
        return -1;
    return how == COIR_WOKEN_BY_TIME;
}

/* 0, 1 after the timeout, which is not raised; or -1. */
static int
wait_for(GreenObject *g, const char *what, PyObject *timeout)
{
    int64_t ns;
    if (coir__timeout_arg(timeout, &ns) < 0)
        return -1;
    int late = park(g, what, ns);
    return late > 0 && coir__timeout_is_over(timeout) < 0 ? -1 : late;
}

PyObject *
coir__green_join(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    static const char *const names[] = {"timeout"};
    GreenObject *g = (GreenObject *)op;
    PyObject *timeout = NULL;
    if (coir__arguments("join", names, 1, args, nargs, kwnames, &timeout) < 0)
        return NULL;
    int ready = ask_ready(g);
    if (ready < 0 ||
        (!ready && !coir__green_ready(g) && wait_for(g, "join", timeout) < 0))
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
coir__green_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const char *const names[] = {"block", "timeout"};
    GreenObject *g = (GreenObject *)op;
    PyObject *values[2] = {NULL, NULL};
    if (coir__arguments("get", names, 2, args, nargs, kwnames, values) < 0)
        return NULL;
    int ready = ask_ready(g);
    if (ready != 0)
        return ready < 0 ? NULL : result_of(g);
    int block = values[0] != NULL ? PyObject_IsTrue(values[0]) : 1;
    if (block < 0)
        return NULL;
    int late = 1;
    if (block) /* a subclass may deny that it has ended */
        late = coir__green_ready(g) ? 0 : wait_for(g, "get", values[1]);
    if (late < 0)
        return NULL;
    if (late) {
        coir__timeout_raise(block ? values[1] : NULL);
        return NULL;
    }
    return result_of(g);
}

/* --- killing ------------------------------------------------------------- */

/* Make what throw() is given the pending exception, as if raised. */
void
coir__green_raise(PyObject *const *args, Py_ssize_t nargs)
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
int
coir__green_report_early_death(GreenObject *g, PyObject *const *args,
                               Py_ssize_t nargs)
{
    if (g->finished || !coir__green_dead(g))
        return 0;
    coir__green_raise(args, nargs);
    return coir__green_report(g);
}

/* Returns 1 if it is dead now, 0 if it still has to be killed; -1. */
int
coir__green_kill_before_start(GreenObject *g, PyObject *exception)
{
    coir__green_cancel_start(g);
    if (!coir__green_dead(g))
        return 0;
    coir__green_drop_run(g);
    PyObject *const *args = &exception;
    Py_ssize_t nargs = 1;
    if (PyTuple_Check(exception) && PyTuple_GET_SIZE(exception) == 3) {
        args = &PyTuple_GET_ITEM(exception, 0);
        nargs = 3;
    }
    return coir__green_report_early_death(g, args, nargs) < 0 ? -1 : 1;
}

PyObject *
coir__green_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    GreenObject *g = (GreenObject *)op;
    if (nargs > 3) {
        PyErr_Format(PyExc_TypeError,
                     "throw() takes at most 3 arguments (%zd given)", nargs);
        return NULL;
    }
    coir__green_cancel_start(g);
    PyObject *res = Py_NewRef(Py_None);
    if (!coir__green_dead(g))
        Py_SETREF(res,
                  coir__greenlet_throw(
                      &g->base, nargs > 0 ? args[0] : coir__core.exit,
                      nargs > 1 ? args[1] : NULL, nargs > 2 ? args[2] : NULL));
    PyObject *exc = coir__error_take();
    if (coir__green_report_early_death(g, args, nargs) < 0) {
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

/* Its turn is next, as gevent's hub switches to it at once: what it kills one
 * to replace is replaced before others look. */
static void
wake_killer(coir_wait *w, LoopObject *loop)
{
    coir__wake(w, NULL);
    if (w->loop != loop || loop->in_order)
        return; /* eventlet's order has its own rules */
    coir__list_remove(&w->ready.node);
    coir__list_prepend(&loop->ready, &w->ready.node);
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
    if (k->waiters.head != NULL)
        wake_killer(coir__wait_of(k->waiters.head), loop);
    killing_release(k);
}

static void
drop_killing(coir_ready *r)
{
    coir__list_remove(&r->node);
    killing_release((killing *)r);
}

static const coir_ready_kind killing_kind = {run_killing, drop_killing,
                                             drop_killing};

/* Have it thrown into `g` by the hub; if `block`, wait until it was. */
static int
kill_soon(GreenObject *g, PyObject *exception, int block)
{
    LoopObject *loop = coir__green_loop(g);
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
    k->ready.kind = &killing_kind;
    coir__loop_soon(loop, &k->ready);
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

PyObject *
coir__green_kill(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    static const char *const names[] = {"exception", "block", "timeout"};
    GreenObject *g = (GreenObject *)op;
    PyObject *values[3] = {Py_None, Py_True, Py_None};
    if (coir__arguments("kill", names, 3, args, nargs, kwnames, values) < 0)
        return NULL;
    if (values[0] == Py_None)
        values[0] = coir__core.exit;
    int block = PyObject_IsTrue(values[1]);
    if (block < 0)
        return NULL;
    int dead = coir__green_kill_before_start(g, values[0]);
    if (dead < 0)
        return NULL;
    if (dead || coir__green_ready(g))
        Py_RETURN_NONE;
    if (kill_soon(g, values[0], block) < 0)
        return NULL;
    if (!block)
        Py_RETURN_NONE;
    if (!Py_IS_TYPE(op, &coir__green_type))
        return PyObject_CallMethodOneArg(op, coir__green.str_join, values[2]);
    return coir__green_join(op, &values[2], 1, NULL);
}
