/* socket.h - waiting for descriptors. */
#ifndef COIR_SOCKET_H
#define COIR_SOCKET_H

#include "hub.h"

#include <errno.h>
#include <fcntl.h>

/* Wait for `fd` by a watcher of its own, in `list` (may be NULL), `ref`: and
 * keep the loop running. Returns the events; 0 when time is over; or -1 with
 * an exception. `what` and `op`, which may be NULL, are for reports. */
COIR__HIDDEN int coir__wait_alone(coir_pythread *t, HubObject *hub, int fd,
                                  int events, coir_list *list, int ref,
                                  const char *what, PyObject *op,
                                  int64_t timeout_ns);

/* OSError of an errno value, and InvalidSwitchError. Return -1. */
COIR__HIDDEN int coir__set_oserror(int e);
COIR__HIDDEN int coir__set_bad_switch(const char *what, PyObject *op);

COIR__HIDDEN extern PyMethodDef coir__waitfd_methods[];

static inline int
coir__fd_is_open(int fd)
{
    return fd >= 0 && fcntl(fd, F_GETFD) >= 0;
}

/* Arguments of methods: 0, or -1 with an exception. */
static inline int
coir__check_count(const char *name, Py_ssize_t nargs, Py_ssize_t min,
                  Py_ssize_t max)
{
    if (COIR__LIKELY(nargs >= min && nargs <= max))
        return 0;
    PyErr_Format(PyExc_TypeError,
                 "%s() takes from %zd to %zd arguments (%zd given)", name, min,
                 max, nargs);
    return -1;
}

static inline int
coir__to_int(PyObject *arg, int *value)
{
    long l = PyLong_AsLong(arg);
    if (l == -1 && PyErr_Occurred())
        return -1;
    if (l < INT32_MIN || l > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C int");
        return -1;
    }
    *value = (int)l;
    return 0;
}

#endif
