/* running.c - which loop of asyncio runs: one for each greenlet that runs one.
 *
 * asyncio keeps the running loop, and since 3.14 the running task, for the
 * native thread. Where the loop waits as green threads do, others run on that
 * thread meanwhile. They are not called by the loop: they may run another one,
 * and asyncio.get_running_loop() is to fail there.
 *
 * So whoever leaves for the hub takes along what it has of these, and puts it
 * back when it goes on; so does who switches to one that has left, by throw()
 * or from a finalizer. Any other greenlet that is switched to directly, as by
 * SQLAlchemy, is called by the task, and shares the loop with it.
 *
 * asyncio tells that a loop runs by _set_running_loop(), which set_running()
 * stands in for. That notes it in the thread's record, so that who runs no
 * loop pays for one comparison. A loop that came there by another way stays
 * the thread's; so does one that says so, by its attribute `is_of_thread`. */
#include "running.h"

#include <string.h>

/* asyncio's own functions: strong, NULL until they are replaced; the last one
 * stays NULL where the task does not belong to the thread. */
static PyObject *set_running_loop;
static PyObject *get_running_loop;
static PyObject *swap_current_task;

static void
swap(PyObject **a, PyObject **b)
{
    PyObject *was = *a;
    *a = *b;
    *b = was;
}

static void
swap_hooks(coir_running *r)
{
    PyThreadState *ts = PyThreadState_Get();
    swap(&r->firstiter, &ts->async_gen_firstiter);
    swap(&r->finalizer, &ts->async_gen_finalizer);
}

static PyObject *
set_task(PyObject *loop, PyObject *task)
{
    return PyObject_CallFunctionObjArgs(swap_current_task, loop, task, NULL);
}

/* Who leaves stands in a list already, and nobody may come in between. So
 * there is no code of Python's here, and nothing that starts a collection:
 * asyncio's functions are builtin ones. Errors wait. */
void
coir__running_take(coir_pythread *t, coir_running *r)
{
    memset(r, 0, sizeof *r);
    PyObject *now = PyObject_CallNoArgs(get_running_loop);
    if (now != t->running_loop) { /* in the child of a fork, for one */
        Py_XDECREF(now);
        PyErr_Clear();
        return;
    }
    r->loop = now;
    if (swap_current_task != NULL)
        r->task = set_task(r->loop, Py_None);
    PyObject *res = PyObject_CallOneArg(set_running_loop, Py_None);
    Py_XDECREF(res);
    swap(&r->record, &t->running_loop);
    swap_hooks(r);
    r->error = coir__error_take();
}

static void
report(PyObject *func)
{
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(func);
}

void
coir__running_put_back(coir_pythread *t, coir_running *r)
{
    if (r->loop == NULL)
        return;
    PyObject *exc = coir__error_take();
    coir__error_give(r->error);
    report(set_running_loop);
    swap_hooks(r);
    Py_XDECREF(PyObject_CallOneArg(set_running_loop, r->loop));
    report(set_running_loop);
    if (r->task != NULL && r->task != Py_None)
        Py_XDECREF(set_task(r->loop, r->task));
    report(swap_current_task);
    swap(&r->record, &t->running_loop);
    Py_XDECREF(r->record); /* none, unless a loop was left running */
    Py_DECREF(r->loop);
    Py_XDECREF(r->task);
    Py_XDECREF(r->firstiter);
    Py_XDECREF(r->finalizer);
    coir__error_give(exc);
}

/* --- in asyncio's place ---------------------------------------------------
 */

/* 1 or 0, or -1 with an exception. */
static int
is_of_thread(PyObject *loop)
{
    PyObject *value = PyObject_GetAttrString(loop, "is_of_thread");
    if (value == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    int is_true = PyObject_IsTrue(value);
    Py_DECREF(value);
    return is_true;
}

static PyObject *
set_running(PyObject *Py_UNUSED(module), PyObject *loop)
{
    coir_pythread *t = coir__pythread_get();
    int stays = loop != Py_None ? is_of_thread(loop) : 1;
    if (t == NULL || stays < 0)
        return NULL;
    PyObject *res = PyObject_CallOneArg(set_running_loop, loop);
    if (res != NULL)
        Py_XSETREF(t->running_loop, stays ? NULL : Py_NewRef(loop));
    return res;
}

static PyMethodDef set_running_def = {
    "_set_running_loop", set_running, METH_O,
    "_set_running_loop($module, loop, /)\n--\n\n"
    "Set, or with None forget, the loop that runs in this greenlet."};

static PyObject *
make_setter(PyObject *module, PyObject *args)
{
    PyObject *set, *get, *swap_task;
    if (!PyArg_ParseTuple(args, "O!O!O:running_loop_setter", &PyCFunction_Type,
                          &set, &PyCFunction_Type, &get, &swap_task))
        return NULL;
    if (swap_task != Py_None && !PyCFunction_Check(swap_task))
        return PyErr_Format(PyExc_TypeError, "not a builtin function: %R",
                            swap_task);
    PyObject *res = PyCFunction_New(&set_running_def, module);
    if (res == NULL)
        return NULL;
    Py_XSETREF(set_running_loop, Py_NewRef(set));
    Py_XSETREF(get_running_loop, Py_NewRef(get));
    Py_XSETREF(swap_current_task,
               swap_task != Py_None ? Py_NewRef(swap_task) : NULL);
    return res;
}

static PyMethodDef functions[] = {
    {"running_loop_setter", make_setter, METH_VARARGS,
     "running_loop_setter($module, set, get, swap_task, /)\n--\n\n"
     "What is to stand in for asyncio's _set_running_loop, which is `set`, "
     "so\n"
     "that greenlets run loops side by side. `get` is its _get_running_loop,\n"
     "`swap_task` its _swap_current_task, or None where tasks belong to "
     "their\n"
     "loops. All are builtin functions, or this raises TypeError."},
    {NULL, NULL, 0, NULL},
};

int
coir__running_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
