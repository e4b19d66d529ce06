/* standin.c - what was put in the place of `hub.loop` and is no Loop: a proxy
 * that counts or delays, a fake clock.
 *
 * The engine keeps its loop. But where gevent calls a method of `hub.loop`, to
 * have a link, the start of a Greenlet or a kill happen in the hub, to sleep,
 * or to start a Timeout, that object's is called then. What waits for a
 * descriptor, or in a queue, is the engine's own affair, and so is how long.
 *
 * What is to happen in the hub stands in the list `held` of the loop, in
 * order; run_callback() of the object is given a function that has the first
 * of it happen. So what is taken out before that needs no more than to leave
 * the list: one call of that function is in vain then. */
#include "link.h"

static PyObject *
run_held(PyObject *op, PyObject *Py_UNUSED(unused))
{
    LoopObject *loop = (LoopObject *)op;
    coir_node *n = loop->held.head;
    if (n == NULL)
        Py_RETURN_NONE;
    coir_ready *r = (coir_ready *)n; /* its first member */
    coir__list_remove(n);
    const coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        PyErr_Clear();
    if (t != NULL && t->hub != NULL && t->hub->loop == loop &&
        t->current == &t->hub->base)
        r->kind->run(r, loop);
    else
        coir__loop_ready(loop, r);
    Py_RETURN_NONE;
}

static PyMethodDef run_held_def = {"run_held", run_held, METH_NOARGS, NULL};

void
coir__standin_ask(LoopObject *loop)
{
    PyObject *exc = coir__error_take();
    PyObject *self = Py_NewRef((PyObject *)loop);
    PyObject *by = Py_XNewRef(loop->stand_in);
    PyObject *func = PyCFunction_New(&run_held_def, self);
    PyObject *res = NULL;
    if (by != NULL && func != NULL)
        res = PyObject_CallMethod(by,
                                  PyThread_get_thread_ident() == loop->thread
                                      ? "run_callback"
                                      : "run_callback_threadsafe",
                                  "O", func);
    if (res == NULL) { /* then without its help */
        if (PyErr_Occurred())
            coir__loop_error(loop, by);
        coir__standin_release(loop);
    }
    Py_XDECREF(res);
    Py_XDECREF(func);
    Py_XDECREF(by);
    Py_DECREF(self);
    coir__error_give(exc);
}

void
coir__standin_ready(LoopObject *loop, coir_ready *r)
{
    coir__list_append(&loop->held, &r->node);
    coir__standin_ask(loop);
}

void
coir__standin_release(LoopObject *loop)
{
    while (loop->held.head != NULL) {
        coir_node *n = loop->held.head;
        coir__list_remove(n);
        coir__loop_ready(loop, (coir_ready *)n);
    }
}

PyObject *
coir__standin_timer(LoopObject *loop, PyObject *seconds, int ref, int priority)
{
    PyObject *by = Py_NewRef(loop->stand_in);
    PyObject *timer = NULL;
    PyObject *func = PyObject_GetAttrString(by, "timer");
    PyObject *args = PyTuple_Pack(1, seconds);
    PyObject *kwargs = Py_BuildValue(
        "{s:O,s:i}", "ref", ref ? Py_True : Py_False, "priority", priority);
    if (func != NULL && args != NULL && kwargs != NULL)
        timer = PyObject_Call(func, args, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(func);
    Py_DECREF(by);
    return timer;
}

int
coir__standin_start(PyObject *timer, PyObject *func)
{
    PyObject *res = NULL;
    PyObject *start = PyObject_GetAttrString(timer, "start");
    PyObject *args = PyTuple_Pack(1, func);
    PyObject *kwargs = Py_BuildValue("{s:O}", "update", Py_True);
    if (start != NULL && args != NULL && kwargs != NULL)
        res = PyObject_Call(start, args, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(start);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

void
coir__standin_stop(PyObject *timer)
{
    static const char *const names[] = {"stop", "close"};
    PyObject *exc = coir__error_take();
    for (size_t i = 0; i < 2; i++) {
        PyObject *res = PyObject_CallMethod(timer, names[i], NULL);
        if (res == NULL)
            PyErr_WriteUnraisable(timer);
        Py_XDECREF(res);
    }
    coir__error_give(exc);
}

PyObject *
coir__standin_sleep(HubObject *hub, double seconds, int ref)
{
    PyObject *module = PyImport_ImportModule("coir.gevent.hub");
    PyObject *res = NULL;
    if (module != NULL)
        res = PyObject_CallMethod(module, "_sleep_on", "OdO", (PyObject *)hub,
                                  seconds, ref ? Py_True : Py_False);
    Py_XDECREF(module);
    return res;
}
