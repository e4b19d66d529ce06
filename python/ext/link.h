/* link.h - what event.c, lock.c and timeout.c share: objects that are ready at
 * some time, to be waited for and linked to. */
#ifndef COIR_LINK_H
#define COIR_LINK_H

#include "hub.h"

/* --- arguments ----------------------------------------------------------- */

/* Arguments of a vectorcall, by position or by one of the `max` names, into
 * `out`, borrowed; what is not given stays as it is. 0, or -1 with
 * TypeError. In timeout.c. */
COIR__HIDDEN int coir__arguments(const char *func, const char *const *names,
                                 int max, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *kwnames,
                                 PyObject **out);

/* --- timeouts ------------------------------------------------------------ */

extern PyTypeObject coir__timeout_type COIR__HIDDEN;

/* As coir__timeout_ns(), but a Timeout will do: its time, or what is left of
 * it if it is pending. NULL counts as None. */
COIR__HIDDEN int coir__timeout_arg(PyObject *timeout, int64_t *ns);

/* Raise a Timeout of so many seconds, or the given one; NULL or None: one
 * without. */
COIR__HIDDEN void coir__timeout_raise(PyObject *seconds);

/* Raise the exception of coir.gevent.exceptions of this name. */
COIR__HIDDEN void coir__raise_named(const char *name, const char *format,
                                    ...);

/* --- objects to wait for ------------------------------------------------- */

/* gevent's AbstractLinkable. Who waits stands in `waiters`, in the order in
 * which they came; what is to be called, and threads that wait without a hub,
 * in `links`. Each of them has a number, so that the two are one queue. */
typedef struct {
    PyObject_HEAD
    PyObject *weakreflist;
    PyObject *hub;     /* strong or NULL; for users who look at it */
    coir_list waiters; /* of coir_wait, their `tag` is the number */
    coir_list links;   /* of what is in event.c */
    int next;          /* number */
    int woken;         /* waiters that have not run since */
} LinkObject;

extern PyTypeObject coir__linkable_type COIR__HIDDEN;

/* Wait in it until woken or `timeout_ns` is over. Returns 1 or 0 for that; or
 * -1 with an exception, of which being switched to by a stranger is one. Then,
 * if *was_woken is set, the caller is to pass on what it was woken for. A
 * thread that has no hub, and so has no other greenlets to run, and is not the
 * main thread, is blocked as a whole, and gets none. `first`: at the head.
 * *value, if not NULL, is what it was woken with, or NULL: it is a number
 * there. */
COIR__HIDDEN int coir__link_wait(LinkObject *self, const char *what,
                                 int64_t timeout_ns, int first, int *handed,
                                 int *was_woken);

/* Wake one who waits, the first: whether there was one. `handed` is what it
 * finds in *handed. */
COIR__HIDDEN int coir__link_wake_one(LinkObject *self, int handed);

/* Wake all, and have all links called in their hubs. `all` is 0 for those that
 * will check themselves whether the object is ready: then it is links only. */
COIR__HIDDEN void coir__link_call(LinkObject *self);
#endif
