/* greenlet.h - the C API of coir.greenlet, source compatible with greenlet's.
 *
 * An extension calls PyGreenlet_Import() once, in its module's set-up, and
 * checks PyErr_Occurred(). It finds the functions in a table of the module
 * `greenlet`: Coir's, where Coir is installed under that name, or greenlet's
 * own. The table and the object's layout are the same for both.
 *
 * References: what a function returns is a new reference. */
#ifndef Py_GREENLETOBJECT_H
#define Py_GREENLETOBJECT_H

#include <Python.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GREENLET_VERSION "1.0.0" /* of this interface; it does not change */

/* Types of other extensions may begin with it. */
typedef struct _greenlet {
    PyObject_HEAD PyObject *weakreflist;
    PyObject *dict;
    void *pimpl;
} PyGreenlet;

/* Places in the table. */
#define PyGreenlet_Type_NUM 0
#define PyExc_GreenletError_NUM 1
#define PyExc_GreenletExit_NUM 2
#define PyGreenlet_New_NUM 3
#define PyGreenlet_GetCurrent_NUM 4
#define PyGreenlet_Throw_NUM 5
#define PyGreenlet_Switch_NUM 6
#define PyGreenlet_SetParent_NUM 7
#define PyGreenlet_MAIN_NUM 8
#define PyGreenlet_STARTED_NUM 9
#define PyGreenlet_ACTIVE_NUM 10
#define PyGreenlet_GET_PARENT_NUM 11
#define PyGreenlet_API_pointers 12

static void **_PyGreenlet_API = NULL;

/* Sets an exception if it fails. */
#define PyGreenlet_Import()                                                   \
    {                                                                         \
        _PyGreenlet_API = (void **)PyCapsule_Import("greenlet._C_API", 0);    \
    }

#define PyGreenlet_Type (*(PyTypeObject *)_PyGreenlet_API[PyGreenlet_Type_NUM])
#define PyExc_GreenletError                                                   \
    ((PyObject *)_PyGreenlet_API[PyExc_GreenletError_NUM])
#define PyExc_GreenletExit                                                    \
    ((PyObject *)_PyGreenlet_API[PyExc_GreenletExit_NUM])

#define PyGreenlet_Check(op)                                                  \
    ((op) && PyObject_TypeCheck((op), &PyGreenlet_Type))

/* PyGreenlet *PyGreenlet_New(PyObject *run, PyGreenlet *parent)
 * greenlet(run, parent); both may be NULL. */
#define PyGreenlet_New                                                        \
    (*(PyGreenlet * (*)(PyObject *, PyGreenlet *))                            \
         _PyGreenlet_API[PyGreenlet_New_NUM])

/* PyGreenlet *PyGreenlet_GetCurrent(void)
 * getcurrent() */
#define PyGreenlet_GetCurrent                                                 \
    (*(PyGreenlet * (*)(void)) _PyGreenlet_API[PyGreenlet_GetCurrent_NUM])

/* PyObject *PyGreenlet_Throw(PyGreenlet *g, PyObject *typ, PyObject *val,
 *                            PyObject *tb)
 * g.throw(typ, val, tb); val and tb may be NULL. */
#define PyGreenlet_Throw                                                      \
    (*(PyObject * (*)(PyGreenlet *, PyObject *, PyObject *, PyObject *))      \
         _PyGreenlet_API[PyGreenlet_Throw_NUM])

/* PyObject *PyGreenlet_Switch(PyGreenlet *g, PyObject *args,
 *                             PyObject *kwargs)
 * g.switch(*args, **kwargs): a tuple and a dict; both may be NULL. */
#define PyGreenlet_Switch                                                     \
    (*(PyObject * (*)(PyGreenlet *, PyObject *, PyObject *))                  \
         _PyGreenlet_API[PyGreenlet_Switch_NUM])

/* int PyGreenlet_SetParent(PyGreenlet *g, PyGreenlet *parent)
 * g.parent = parent; 0, or -1 with an exception. */
#define PyGreenlet_SetParent                                                  \
    (*(int (*)(PyGreenlet *,                                                  \
               PyGreenlet *))_PyGreenlet_API[PyGreenlet_SetParent_NUM])

/* PyGreenlet *PyGreenlet_GetParent(PyGreenlet *g)
 * g.parent; NULL without an exception for a main greenlet. */
#define PyGreenlet_GetParent                                                  \
    (*(PyGreenlet * (*)(PyGreenlet *))                                        \
         _PyGreenlet_API[PyGreenlet_GET_PARENT_NUM])
#define PyGreenlet_GET_PARENT PyGreenlet_GetParent /* deprecated */

/* int PyGreenlet_MAIN(PyGreenlet *g): is it a thread's main greenlet?
 * STARTED: was it switched to? ACTIVE: and has it not finished?
 * -1 with TypeError for anything else. */
#define PyGreenlet_MAIN                                                       \
    (*(int (*)(PyGreenlet *))_PyGreenlet_API[PyGreenlet_MAIN_NUM])
#define PyGreenlet_STARTED                                                    \
    (*(int (*)(PyGreenlet *))_PyGreenlet_API[PyGreenlet_STARTED_NUM])
#define PyGreenlet_ACTIVE                                                     \
    (*(int (*)(PyGreenlet *))_PyGreenlet_API[PyGreenlet_ACTIVE_NUM])

#ifdef __cplusplus
}
#endif

#endif
