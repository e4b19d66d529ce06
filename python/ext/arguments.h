/* arguments.h - arguments of methods in C, by position or by name. */
#ifndef COIR_ARGUMENTS_H
#define COIR_ARGUMENTS_H

#include "state.h"

/* As coir__arguments(), which see; for names, and for too many. */
COIR__HIDDEN int coir__named_arguments(const char *func,
                                       const char *const *names, int max,
                                       PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames, PyObject **out);

/* Arguments of a vectorcall, by position or by one of the `max` names, into
 * `out`, borrowed; what is not given stays as it is. 0, or -1 with
 * TypeError. */
static inline int
coir__arguments(const char *func, const char *const *names, int max,
                PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                PyObject **out)
{
    if (COIR__UNLIKELY(nargs > max || kwnames != NULL))
        return coir__named_arguments(func, names, max, args, nargs, kwnames,
                                     out);
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    return 0;
}

/* The same of a tuple and a dict, or NULL. */
COIR__HIDDEN int coir__tuple_arguments(const char *func,
                                       const char *const *names, int max,
                                       PyObject *args, PyObject *kwargs,
                                       PyObject **out);

/* The only argument of a vectorcall, by position or by its name, borrowed; or
 * NULL with TypeError. */
COIR__HIDDEN PyObject *coir__one_argument(const char *func, const char *name,
                                          PyObject *const *args,
                                          Py_ssize_t nargs, PyObject *kwnames);

/* A method of one argument. */
typedef struct {
    PyCFunction impl;
    const char *func;
    const char *name;
} coir_one;

/* Call it with the argument that is given by its name; or TypeError. */
COIR__HIDDEN PyObject *coir__call_one(const coir_one *one, PyObject *op,
                                      PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames);

/* Defines `impl`_one: what METH_O's `impl` does, for COIR__ONE, so that the
 * argument of the method `func` may be given by its name. */
#define COIR__DEFINE_ONE(impl, func, name)                                    \
    static PyObject *impl##_one(PyObject *op, PyObject *const *args,          \
                                Py_ssize_t nargs, PyObject *kwnames)          \
    {                                                                         \
        static const coir_one one = {impl, func, name};                       \
        if (COIR__LIKELY(nargs == 1 && kwnames == NULL))                      \
            return impl(op, args[0]);                                         \
        return coir__call_one(&one, op, args, nargs, kwnames);                \
    }

/* The function and the flags of such a method. */
#define COIR__ONE(impl)                                                       \
    (PyCFunction)(void (*)(void)) impl##_one, METH_FASTCALL | METH_KEYWORDS

#endif
