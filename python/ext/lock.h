/* lock.h - what lock.c and rlock.c share: what is taken and given back. */
#ifndef COIR_LOCK_H
#define COIR_LOCK_H

#include "link.h"

typedef struct {
    LinkableObject link;
    Py_ssize_t counter; /* how many are free */
    Py_ssize_t initial; /* BoundedSemaphore */
} SemaphoreObject;

extern PyTypeObject coir__semaphore_type COIR__HIDDEN;
extern PyTypeObject coir__thread_lock_type COIR__HIDDEN;

/* A new one of such a type, of which one is free. */
COIR__HIDDEN PyObject *coir__semaphore_new(PyTypeObject *type, PyObject *args,
                                           PyObject *kwargs);

/* Take one that is not there. `object`: what it is part of, for reports. 1; 0
 * if the time is over; or -1 with an exception. */
COIR__HIDDEN int coir__semaphore_wait(SemaphoreObject *self, PyObject *object,
                                      int64_t ns);
/* Give one back where somebody may wait, or there are too many. */
COIR__HIDDEN int coir__semaphore_give_slowly(SemaphoreObject *self);

/* The same; 0, too, if there is none and it is not to block. */
static inline int
coir__semaphore_take(SemaphoreObject *self, PyObject *object, int block,
                     int64_t ns)
{
    if (COIR__LIKELY(self->counter > 0)) {
        self->counter--;
        return 1;
    }
    return block ? coir__semaphore_wait(self, object, ns) : 0;
}

/* Take it for who has waited for a condition, and will release it in any case:
 * who is killed meanwhile still has it first, unless it is killed once more.
 * `has` tells. 0, or -1 with an exception. */
COIR__HIDDEN int coir__semaphore_take_again(SemaphoreObject *self,
                                            PyObject *object, int *has);

/* 0, or -1 with OverflowError. */
static inline int
coir__semaphore_give(SemaphoreObject *self)
{
    if (COIR__UNLIKELY(self->counter == PY_SSIZE_T_MAX ||
                       coir__linkable_is_awaited(&self->link)))
        return coir__semaphore_give_slowly(self);
    self->counter++;
    return 0;
}

/* --- acquire() ----------------------------------------------------------- */

/* Its arguments. */
typedef struct {
    int block;
    PyObject *timeout; /* borrowed; NULL: was not given */
    int64_t ns;
} coir_acquire;

/* As gevent has them, and as threading.Lock has them. 0, or -1 with an
 * exception. */
COIR__HIDDEN int coir__acquire_args(PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames, coir_acquire *how);
COIR__HIDDEN int coir__thread_acquire_args(PyObject *const *args,
                                           Py_ssize_t nargs, PyObject *kwnames,
                                           coir_acquire *how);

/* Both ways to have acquire() call `take`: 1, 0, or -1 with an exception. */
typedef int coir_take(PyObject *op, int block, int64_t ns);

static inline PyObject *
coir__acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames, coir_take *take)
{
    coir_acquire how = {1, NULL, COIR_FOREVER};
    if (COIR__UNLIKELY(nargs > 0 || kwnames != NULL) &&
        coir__acquire_args(args, nargs, kwnames, &how) < 0)
        return NULL;
    int took = take(op, how.block, how.ns);
    if (COIR__UNLIKELY(took < 0 || (took == 0 && how.block &&
                                    coir__timeout_is_over(how.timeout) < 0)))
        return NULL;
    return PyBool_FromLong(took);
}

/* A lock of threads was not free for one who does not wait: in gevent others
 * have a turn then, in eventlet not. 0, or -1 with an exception. */
COIR__HIDDEN int coir__lock_refused(void);

static inline PyObject *
coir__thread_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames, coir_take *take)
{
    coir_acquire how = {1, NULL, COIR_FOREVER};
    if (COIR__UNLIKELY(nargs > 0 || kwnames != NULL) &&
        coir__thread_acquire_args(args, nargs, kwnames, &how) < 0)
        return NULL;
    int took = take(op, how.block, how.ns);
    if (took < 0 || (took == 0 && !how.block && coir__lock_refused() < 0))
        return NULL;
    return PyBool_FromLong(took);
}

COIR__HIDDEN int coir__rlock_types_init(PyObject *module); /* rlock.c */

#endif
