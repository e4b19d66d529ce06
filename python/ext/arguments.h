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

/* As coir__one_argument(), which see; for a name, and for a wrong number. */
COIR__HIDDEN PyObject *coir__one_named_argument(const char *func,
                                                const char *name,
                                                PyObject *const *args,
                                                Py_ssize_t nargs,
                                                PyObject *kwnames);

/* The only argument of a vectorcall, borrowed; or NULL with TypeError. */
static inline PyObject *
coir__one_argument(const char *func, const char *name, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames)
{
    if (COIR__LIKELY(nargs == 1 && kwnames == NULL))
        return args[0];
    return coir__one_named_argument(func, name, args, nargs, kwnames);
}

/* Defines `impl`_one: what METH_O's `impl` does, for COIR__ONE, so that the
 * argument of the method `func` may be given by its name. */
#define COIR__DEFINE_ONE(impl, func, name)                                    \
    static PyObject *impl##_one(PyObject *op, PyObject *const *args,          \
                                Py_ssize_t nargs, PyObject *kwnames)          \
    {                                                                         \
        PyObject *arg = coir__one_argument(func, name, args, nargs, kwnames); \
        return arg != NULL ? impl(op, arg) : NULL;                            \
    }

/* The function and the flags of such a method. */
#define COIR__ONE(impl)                                                       \
    (PyCFunction)(void (*)(void)) impl##_one, METH_FASTCALL | METH_KEYWORDS

#endif
