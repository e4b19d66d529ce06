/* timeout.h - an exception that is raised after some time: what gevent's
 * Timeout and eventlet's have in common. In timeout.c. */
#ifndef COIR_TIMEOUT_H
#define COIR_TIMEOUT_H

#include "link.h"

typedef struct {
    PyBaseExceptionObject base;
    PyObject *weakreflist;
    PyObject *seconds;     /* strong */
    PyObject *exception;   /* strong */
    LoopObject *loop;      /* strong while pending, else NULL */
    GreenletObject *green; /* the same: in whom it is raised */
    PyObject *throws;      /* the same: what is raised; NULL for itself */
    PyObject *by;          /* the same: what stands in for `timer`, or NULL */
    coir_node node;        /* in the loop's list while pending */
    coir_ready ready;      /* its timer has fired */
    coir_timer timer;
    int64_t ns;
    int priority;
    char ref;      /* keeps the loop running */
    char one_shot; /* cancel() closes it */
    char closed;
} TimeoutObject;

static inline int
coir__timeout_is_pending(const TimeoutObject *self)
{
    return self->loop != NULL && self->loop->loop != NULL;
}

/* A new one of that type, of no time. */
COIR__HIDDEN PyObject *coir__timeout_new(PyTypeObject *type, PyObject *args,
                                         PyObject *kwargs);
/* Have `throws` (borrowed; NULL: itself) raised in the running greenlet in
 * self->ns. Not one that is pending. */
COIR__HIDDEN void coir__timeout_start(TimeoutObject *self, coir_pythread *t,
                                      HubObject *hub, PyObject *throws);
/* Not pending any more. Releases references last. */
COIR__HIDDEN void coir__timeout_stop(TimeoutObject *self);
/* Slots of its types. */
COIR__HIDDEN PyObject *coir__timeout_repr(PyObject *op);
COIR__HIDDEN int coir__timeout_traverse(PyObject *op, visitproc visit,
                                        void *arg);
COIR__HIDDEN int coir__timeout_clear(PyObject *op);
COIR__HIDDEN void coir__timeout_dealloc(PyObject *op);

/* str(): the time, and `with_more`, a format of seconds, "s" and exception, if
 * there is more to say. */
COIR__HIDDEN PyObject *coir__timeout_text(const TimeoutObject *self,
                                          int has_more, const char *with_more);
/* __exit__(*args), after close() or cancel() has returned `res`, which may be
 * NULL with an exception. */
COIR__HIDDEN PyObject *coir__timeout_exit(PyObject *op, PyObject *const *args,
                                          Py_ssize_t nargs, PyObject *res);
/* Attributes: `pending`; `seconds` without a closure, else `exception`. */
COIR__HIDDEN PyObject *coir__timeout_get_pending(PyObject *op, void *closure);
COIR__HIDDEN PyObject *coir__timeout_get(PyObject *op, void *closure);

#endif
