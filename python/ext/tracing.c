/* tracing.c - greenlet.settrace().
 *
 * One function per thread, called as f(event, (origin, target)) in the
 * greenlet that was switched to, before anything else runs there; event is
 * "switch", or "throw" if an exception is brought. It may switch itself: what
 * the traced switch brings is out of the way by then. */
#include "state.h"

void
coir__trace_switch(coir_pythread *t, GreenletObject *from, coir_payload *p)
{
    PyThreadState *ts = t->tstate;
    PyObject *func = Py_NewRef(t->tracefunc);
    PyObject *exc = NULL;
    if (p->value == NULL)
        exc = coir__error_take();

    PyThreadState_EnterTracing(ts); /* it is not to be traced itself */
    PyObject *res =
        PyObject_CallFunction(func, "s(OO)", exc != NULL ? "throw" : "switch",
                              (PyObject *)from, (PyObject *)t->current);
    PyThreadState_LeaveTracing(ts);
    Py_DECREF(func);

    if (res != NULL) {
        Py_DECREF(res);
        if (exc != NULL)
            coir__error_give(exc);
        return;
    }
    PyObject *error = coir__error_take();
    Py_CLEAR(t->tracefunc);
    Py_CLEAR(p->value);
    Py_CLEAR(p->kwargs);
    Py_XDECREF(exc);
    coir__error_give(error);
}

PyObject *
coir__settrace(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *func;
    if (!PyArg_ParseTuple(args, "O", &func))
        return NULL;
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    PyObject *old = t->tracefunc;
    t->tracefunc = func == Py_None ? NULL : Py_NewRef(func);
    return old != NULL ? old : Py_NewRef(Py_None);
}

PyObject *
coir__gettrace(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    return Py_NewRef(t->tracefunc != NULL ? t->tracefunc : Py_None);
}
