/* scheduler.c - whom unwinding would not end.
 *
 * A scheduler is a greenlet that runs an event loop for others. Such a loop
 * takes what is thrown into it for the failure of a callback, reports it, and
 * waits for events again: for ever, if nobody is left to make any. So it is
 * not resumed to unwind where greenlet would not do so either, at the end of
 * its thread and by the collector; there greenlet abandons everybody.
 *
 * What a greenlet is going to do next cannot be known. A scheduler is one
 * - whose class says so: `is_scheduler = True`;
 * - that is gevent's Hub, or runs a method of eventlet's BaseHub;
 * - that is suspended in a callback of asyncio's loop.
 * The first two can be told before it starts. */
#include "state.h"

#include <string.h>

/* Is `type` the class `name` of `module`, or derived from it? */
static int
derives_from(PyTypeObject *type, const char *module, const char *name)
{
    PyObject *mro = type->tp_mro; /* borrowed: the type keeps it */
    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        const char *dot = strrchr(base->tp_name, '.');
        if (strcmp(dot != NULL ? dot + 1 : base->tp_name, name) != 0)
            continue;
        PyObject *where =
            PyObject_GetAttr((PyObject *)base, coir__core.str_module);
        int found = where != NULL && PyUnicode_Check(where) &&
                    PyUnicode_CompareWithASCIIString(where, module) == 0;
        PyErr_Clear();
        Py_XDECREF(where);
        if (found)
            return 1;
    }
    return 0;
}

/* Only True itself: others may use the name for something else. */
static int
says_so(PyTypeObject *type)
{
    PyObject *value =
        PyObject_GetAttr((PyObject *)type, coir__core.str_is_scheduler);
    PyErr_Clear();
    Py_XDECREF(value);
    return value == Py_True;
}

/* The code of asyncio's loop, which uvloop's is not: a new reference. NULL,
 * without an exception, if there is none in this process. */
static PyObject *
loop_code(void)
{
    static const char *const path[] = {"BaseEventLoop", "run_forever",
                                       "__code__"};
    PyObject *name = PyUnicode_FromString("asyncio.base_events");
    PyObject *at = name != NULL ? PyImport_GetModule(name) : NULL;
    Py_XDECREF(name);
    for (size_t i = 0; at != NULL && i < sizeof path / sizeof *path; i++)
        Py_SETREF(at, PyObject_GetAttrString(at, path[i]));
    PyErr_Clear();
    return at;
}

/* Is `code` running in one of the frames of a suspended greenlet? */
static int
is_inside(coir_block *b, const PyObject *code)
{
    int found = 0;
    PyObject *frame = coir_pystate_frame(&b->py, PyThreadState_Get());
    while (!found && frame != NULL && frame != Py_None) {
        PyFrameObject *f = (PyFrameObject *)frame;
        PyCodeObject *running = PyFrame_GetCode(f);
        found = (const PyObject *)running == code;
        Py_DECREF(running);
        PyObject *back = (PyObject *)PyFrame_GetBack(f);
        Py_SETREF(frame, back);
    }
    PyErr_Clear();
    Py_XDECREF(frame);
    return found;
}

int
coir__starts_scheduler(GreenletObject *g, PyObject *run)
{
    PyTypeObject *type = Py_TYPE(g);
    if (type != &coir__greenlet_type &&
        (says_so(type) || derives_from(type, "gevent.hub", "Hub")))
        return 1;
    return run != NULL && PyMethod_Check(run) &&
           derives_from(Py_TYPE(PyMethod_GET_SELF(run)), "eventlet.hubs.hub",
                        "BaseHub");
}

int
coir__is_scheduler(GreenletObject *g)
{
    coir_block *b = g->block;
    if (b->state != GREENLET_ACTIVE)
        return 0;
    if (coir__starts_scheduler(g, b->callable))
        return 1;
    PyObject *code = loop_code();
    int found = code != NULL && is_inside(b, code);
    Py_XDECREF(code);
    return found;
}
