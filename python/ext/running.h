/* running.h - which loop of asyncio runs: one for each greenlet that runs one.
 *
 * Told in running.c. */
#ifndef COIR_RUNNING_H
#define COIR_RUNNING_H

#include "state.h"

/* What asyncio keeps of a thread, while who it belongs to waits. */
typedef struct {
    PyObject *loop;                  /* strong; NULL: nothing was taken */
    PyObject *task;                  /* strong: may be NULL, or None */
    PyObject *firstiter, *finalizer; /* strong or NULL: generators' hooks */
    PyObject *record;                /* strong: of coir_pythread */
    PyObject *error;                 /* strong or NULL: to be reported */
} coir_running;

/* The running greenlet, in which a loop runs by the thread's record, leaves
 * for the hub. Runs no Python code, cannot fail. */
COIR__HIDDEN void coir__running_take(coir_pythread *t, coir_running *r);

/* It goes on. An exception that is pending stays. Runs any code. */
COIR__HIDDEN void coir__running_put_back(coir_pythread *t, coir_running *r);

COIR__HIDDEN int coir__running_init(PyObject *module);

#endif
