/* syserr.c - what Python code is told of system calls of loops that fail. */
#include "hub.h"

#include <errno.h>

static PyObject *syserr_cb; /* strong */

/* With the GIL or without. What the callback raises is reported. */
static void
syserr(const char *call)
{
    int saved = errno;
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *func = Py_XNewRef(syserr_cb);
    PyObject *exc = coir__error_take();
    if (func != NULL) {
        PyObject *res = PyObject_CallFunction(func, "si", call, saved);
        if (res == NULL)
            PyErr_WriteUnraisable(func);
        Py_XDECREF(res);
        Py_DECREF(func);
    }
    coir__error_give(exc);
    PyGILState_Release(state);
    errno = saved;
}

static PyObject *
set_syserr_cb(PyObject *Py_UNUSED(module), PyObject *func)
{
    if (func != Py_None && !PyCallable_Check(func)) {
        PyErr_Format(PyExc_TypeError, "Expected callable or None, got %R",
                     func);
        return NULL;
    }
    coir_set_syserr(func != Py_None ? syserr : NULL);
    Py_XSETREF(syserr_cb, func != Py_None ? Py_NewRef(func) : NULL);
    Py_RETURN_NONE;
}

COIR__DEFINE_ONE(set_syserr_cb, "set_syserr_cb", "callback")

static PyMethodDef functions[] = {
    {"set_syserr_cb", COIR__ONE(set_syserr_cb),
     "set_syserr_cb($module, callback)\n--\n\n"
     "callback(name, errno) is called when a system call of a loop fails for\n"
     "a reason that may pass, and the call then tried again. None, as in the\n"
     "beginning: the process is aborted."},
    {NULL, NULL, 0, NULL},
};

int
coir__syserr_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
