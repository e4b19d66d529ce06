/* arguments.c - arguments of methods in C, and other small things that most
 * types need. */
#include "link.h"

/* Which of the names it is, that was not given by position, as the first
 * `nargs` were; -1 with TypeError. */
static int
find_name(const char *func, const char *const *names, int max, PyObject *name,
          Py_ssize_t nargs)
{
    int at = 0;
    while (at < max && PyUnicode_CompareWithASCIIString(name, names[at]) != 0)
        at++;
    if (at >= nargs && at < max)
        return at;
    PyErr_Format(PyExc_TypeError,
                 at == max ? "%s() got an unexpected keyword argument %R"
                           : "%s() got multiple values for argument %R",
                 func, name);
    return -1;
}

int
coir__named_arguments(const char *func, const char *const *names, int max,
                      PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames, PyObject **out)
{
    if (nargs > max) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes at most %d arguments (%zd given)", func, max,
                     nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    Py_ssize_t named = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        int at = find_name(func, names, max, name, nargs);
        if (at < 0)
            return -1;
        out[at] = args[nargs + i];
    }
    return 0;
}

PyObject *
coir__one_argument(const char *func, const char *name, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *arg = NULL;
    if (coir__named_arguments(func, &name, 1, args, nargs, kwnames, &arg) < 0)
        return NULL;
    if (arg == NULL)
        PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", func,
                     name);
    return arg;
}

PyObject *
coir__call_one(const coir_one *one, PyObject *op, PyObject *const *args,
               Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *arg =
        coir__one_argument(one->func, one->name, args, nargs, kwnames);
    return arg != NULL ? one->impl(op, arg) : NULL;
}

int
coir__tuple_arguments(const char *func, const char *const *names, int max,
                      PyObject *args, PyObject *kwargs, PyObject **out)
{
    if (coir__arguments(func, names, max, &PyTuple_GET_ITEM(args, 0),
                        PyTuple_GET_SIZE(args), NULL, out) < 0)
        return -1;
    PyObject *name, *value;
    Py_ssize_t pos = 0;
    while (kwargs != NULL && PyDict_Next(kwargs, &pos, &name, &value)) {
        int at = find_name(func, names, max, name, PyTuple_GET_SIZE(args));
        if (at < 0)
            return -1;
        out[at] = value;
    }
    return 0;
}

int
coir__intern(const coir_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (*names[i].to == NULL)
            *names[i].to = PyUnicode_InternFromString(names[i].text);
        if (*names[i].to == NULL)
            return -1;
    }
    return 0;
}

void
coir__raise_named(const char *name, const char *format, ...)
{
    PyObject *module = PyImport_ImportModule("coir.gevent.exceptions");
    PyObject *type =
        module != NULL ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    if (type == NULL)
        return;
    va_list args;
    va_start(args, format);
    PyErr_FormatV(type, format, args);
    va_end(args);
    Py_DECREF(type);
}
