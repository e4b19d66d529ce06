/* link.h - objects that are ready at some time, to be waited for and linked
 * to, and timeouts. */
#ifndef COIR_LINK_H
#define COIR_LINK_H

#include "hub.h"

/* --- timeouts ------------------------------------------------------------ */

extern PyTypeObject coir__timeout_type COIR__HIDDEN;

/* As coir__timeout_ns(), but a Timeout will do: its time, or what is left of
 * it if it is pending. NULL counts as None. */
COIR__HIDDEN int coir__timeout_arg(PyObject *timeout, int64_t *ns);

/* Raise a Timeout of so many seconds, or the given one; NULL or None: one
 * without. */
COIR__HIDDEN void coir__timeout_raise(PyObject *seconds);

/* The wait that `timeout` limits has ended by it: 0; or, if it is a Timeout
 * with an exception of its own, -1 with that. */
COIR__HIDDEN int coir__timeout_is_over(PyObject *timeout);

/* Raise the exception of coir.gevent.exceptions of this name. */
COIR__HIDDEN void coir__raise_named(const char *name, const char *format, ...);

/* --- objects to wait for ------------------------------------------------- */

/* gevent's AbstractLinkable. Who came is numbered, so that the three lists are
 * one queue. */
typedef struct coir_linkable LinkableObject;

struct coir_linkable {
    PyObject_HEAD PyObject *weakreflist;
    PyObject *hub;     /* strong or NULL: for users who look at it */
    coir_list waiters; /* greenlets: coir_wait, whose `tag` is the number */
    coir_list threads; /* that wait as a whole: see link.c */
    coir_list links;   /* what is to be called: see link.c */
    int (*is_ready)(const LinkableObject *self);
    unsigned next;      /* number */
    int woken;          /* waiters and threads that have not run since */
    unsigned forks;     /* of the process when `woken` was counted */
    unsigned unlinked;  /* how many links went */
    int calls_if_ready; /* links, one by one; else all */
};

extern PyTypeObject coir__linkable_type COIR__HIDDEN;

/* What ended a wait; what is passed on to who waits. */
enum coir_link_wake {
    COIR_LINK_TIME,  /* nobody: the time is over */
    COIR_LINK_WOKEN, /* it became ready, and may be still */
    COIR_LINK_GIVEN  /* the waker left what it had to this one */
};

/* Wait until woken or `timeout_ns` is over: enum coir_link_wake, or -1 with an
 * exception; being switched to by a stranger is one. In that case *lost is
 * what it had been woken for already, to be passed on, else 0.
 *
 * *number: -1 to stand at the end of the queue, and is set; if it is the
 * number of an earlier wait: to stand at its head, as one who is to be given
 * what comes next.
 *
 * `object`, the object itself or what it is part of, and `what` are for
 * reports. A thread that has no hub, thus no other greenlets, is blocked as a
 * whole if there are others, and needs none. */
COIR__HIDDEN int coir__linkable_wait(LinkableObject *self, PyObject *object,
                                     const char *what, int64_t timeout_ns,
                                     int *number, int *lost);

/* Wake `count` of those who wait, and let links be called in their hubs. Runs
 * Python code only to call a link of a thread without a hub. */
COIR__HIDDEN void coir__linkable_notify(LinkableObject *self, int count);

/* Give to the first who waits, if it has waited twice: whether there is one
 * like that. */
COIR__HIDDEN int coir__linkable_give(LinkableObject *self);

static inline int
coir__linkable_is_awaited(const LinkableObject *self)
{
    return self->waiters.head != NULL || self->threads.head != NULL ||
           self->links.head != NULL;
}

/* How many wait or are linked. */
COIR__HIDDEN Py_ssize_t coir__linkable_count(const LinkableObject *self);

/* Is `woken` out of date, because it was counted by the parent process? Sets
 * it right. */
COIR__HIDDEN void coir__linkable_check_fork(LinkableObject *self);

/* Nobody waits there any more, nothing is linked: in the child of a fork. */
COIR__HIDDEN void coir__linkable_forget(LinkableObject *self);

/* Add the type; before those derived from it. 0, or -1 with an exception. */
COIR__HIDDEN int coir__link_type_init(PyObject *module);

/* A new one, of a type derived from it. */
COIR__HIDDEN PyObject *
coir__linkable_new(PyTypeObject *type,
                   int (*is_ready)(const LinkableObject *self));
/* Slots and a method of such types, which inherit them. */
COIR__HIDDEN PyObject *coir__linkable_ready(PyObject *op, PyObject *unused);
COIR__HIDDEN int coir__linkable_traverse(PyObject *op, visitproc visit,
                                         void *arg);
COIR__HIDDEN int coir__linkable_clear(PyObject *op);
COIR__HIDDEN void coir__linkable_dealloc(PyObject *op);

/* Let others run that are ready, unless this is the hub, or there is none. 0,
 * or -1 with an exception. */
COIR__HIDDEN int coir__yield_if_possible(void);

/* The part of a type's name after the last dot. */
static inline const char *
coir__type_name(const PyTypeObject *type)
{
    const char *dot = strrchr(type->tp_name, '.');
    return dot != NULL ? dot + 1 : type->tp_name;
}

#endif
