/* ev.h - what the files of eventlet's types share. */
#ifndef COIR_EV_H
#define COIR_EV_H

#include "link.h"

/* --- waiting as eventlet has it: ev.c ------------------------------------ */

COIR__HIDDEN HubObject *coir__ev_hub_slowly(coir_pythread *t, HubObject *hub);

/* Code written for eventlet uses it. */
static inline void
coir__ev_use(HubObject *hub)
{
    hub->uses_eventlet = 1;
    if (COIR__UNLIKELY(!hub->loop->in_order))
        coir__loop_keep_order(hub->loop);
}

/* This thread's hub, for the running greenlet to wait in: borrowed, or NULL
 * with an exception. Who waits is from then on a child of the hub. */
static inline HubObject *
coir__ev_hub(coir_pythread *t)
{
    HubObject *hub = coir__hub_get(t);
    if (COIR__UNLIKELY(hub == NULL))
        return NULL;
    coir__ev_use(hub);
    const GreenletObject *parent = t->current->block->parent;
    if (COIR__LIKELY((parent == &hub->base || parent == NULL) &&
                     hub->base.block->state != GREENLET_DEAD))
        return hub;
    return coir__ev_hub_slowly(t, hub);
}

/* Add functions that users know as those of coir.eventlet.greenthread, each
 * as ev_NAME. 0, or -1 with an exception. */
COIR__HIDDEN int coir__ev_add_functions(PyObject *module, PyMethodDef *defs);

/* A function or method that takes what spawn() does. */
typedef PyObject *coir_ev_method(PyObject *op, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *kwnames);

/* Call `method` with the argument of that name as its first by position, where
 * none is given by position; TypeError, of `func`, if there is none. */
COIR__HIDDEN PyObject *coir__ev_first_by_name(coir_ev_method *call,
                                              const char *func,
                                              const char *name, PyObject *op,
                                              PyObject *const *args,
                                              PyObject *kwnames);

/* A result, or an exception, for all that wait for it. */
typedef struct {
    coir_list waiters;
    PyObject *result; /* strong; NULL: nothing came yet */
    PyObject *exc;    /* strong: a tuple as for throw(); NULL for none */
} coir_ev;

/* The result or the exception, waiting for it if it is not there: `owner`
 * contains `ev`, and is held by the caller. None after the timeout. */
COIR__HIDDEN PyObject *coir__ev_wait(coir_ev *ev, PyObject *owner,
                                     int64_t timeout_ns);
/* Bring it; `exc` is a tuple, or NULL. 0, or -1 with AssertionError if that
 * was done before. Runs no code. */
COIR__HIDDEN int coir__ev_send(coir_ev *ev, PyObject *result, PyObject *exc);
/* Raise what throw(*args) would. */
COIR__HIDDEN void coir__ev_raise(PyObject *args);
COIR__HIDDEN int coir__ev_traverse(coir_ev *ev, visitproc visit, void *arg);
COIR__HIDDEN void coir__ev_clear(coir_ev *ev);
/* The greenlets in a list, as a new set. */
COIR__HIDDEN PyObject *coir__ev_waiters(const coir_list *list);
/* An Event that is the one in `owner`, which lies in `ev`. */
COIR__HIDDEN PyObject *coir__ev_event_of(PyObject *owner, coir_ev *ev);

/* Put a new Event in the place of one (strong). 0, or -1 with MemoryError. */
COIR__HIDDEN int coir__ev_event_renew(PyObject **event);
/* send(None), unless it was sent, or is no Event. */
COIR__HIDDEN void coir__ev_event_send_once(PyObject *event);

/* Let others run that are ready: as sleep(0). 0, or -1 with an exception. */
COIR__HIDDEN int coir__ev_yield(void);

/* --- GreenThread: evthread.c --------------------------------------------- */

/* A greenlet that is, or was, to be started by the hub. */
typedef struct {
    GreenletObject base;
    coir_ready ready;
    PyObject *func;   /* strong, as the next two; NULL once it runs, or if */
    PyObject *args;   /* it was not made by spawn() */
    PyObject *kwargs; /* or NULL */
    uint8_t queued;   /* it stands in the ready queue, which owns it */
} SpawnObject;

typedef struct {
    SpawnObject spawn;
    coir_ev ev;
    PyObject *event;  /* strong: the Event that stands for `ev`, or NULL */
    PyObject *links;  /* strong: one link, as most have no more, a deque of
                       * them, or NULL */
    PyObject *pool;   /* strong: a GreenPool that waits for its end, or NULL */
    uint8_t resolves; /* links are being called */
} ThreadObject;

extern PyTypeObject coir__evthread_type COIR__HIDDEN;

/* A GreenThread for `func(*args, **kwargs)`, all new references that are
 * used up; `args` may be NULL for none, `kwargs` too. A child of this
 * thread's hub, not to be started yet. NULL with an exception. */
COIR__HIDDEN ThreadObject *coir__evthread_new(PyObject *func, PyObject *args,
                                              PyObject *kwargs);
/* Have the hub start it. */
COIR__HIDDEN void coir__evthread_start(SpawnObject *s, HubObject *hub);
/* Whose start it is in the ready queue, borrowed; or NULL. */
COIR__HIDDEN SpawnObject *coir__evthread_of(coir_ready *r);
/* (args[n:], kwnames) as what a function is called with: new references, or
 * NULL for none. 0, or -1 with an exception. */
COIR__HIDDEN int coir__ev_pack(PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames, PyObject **tuple,
                               PyObject **dict);

/* --- Semaphore: evsem.c -------------------------------------------------- */

COIR__HIDDEN int coir__evsem_check(PyObject *op);
/* acquire(), without a limit: 1, or -1 with an exception. */
COIR__HIDDEN int coir__evsem_take(PyObject *op);
/* release(). Runs no code. */
COIR__HIDDEN void coir__evsem_give(PyObject *op);
COIR__HIDDEN Py_ssize_t coir__evsem_counter(PyObject *op);
COIR__HIDDEN Py_ssize_t coir__evsem_balance(PyObject *op);

/* --- GreenPool: evpool.c ------------------------------------------------- */

/* A GreenThread of the pool has ended. 0, or -1 with an exception. */
COIR__HIDDEN int coir__evpool_done(PyObject *op, PyObject *green);

/* --- the timers that were cancelled: evhub.c ----------------------------- */

/* A number for the present turn of the loop: another one when anything has run
 * in it meanwhile. Not 0. */
COIR__HIDDEN uint64_t coir__ev_stamp(const LoopObject *loop);
/* One that was scheduled at that stamp is cancelled before its time. */
COIR__HIDDEN void coir__ev_note_canceled(HubObject *hub, int64_t due_ns,
                                         uint64_t scheduled);
COIR__HIDDEN void coir__ev_forget_canceled(HubObject *hub);

/* --- each adds its types to coir._core ----------------------------------- */

COIR__HIDDEN int coir__ev_types_init(PyObject *module);       /* ev.c */
COIR__HIDDEN int coir__evthread_types_init(PyObject *module); /* evthread.c */
COIR__HIDDEN int coir__evsem_types_init(PyObject *module);    /* evsem.c */
COIR__HIDDEN int
coir__evtimeout_types_init(PyObject *module);                /* evtimeout.c */
COIR__HIDDEN int coir__evqueue_types_init(PyObject *module); /* evqueue.c */
COIR__HIDDEN int coir__evhub_types_init(PyObject *module);   /* evhub.c */
COIR__HIDDEN int coir__evpool_types_init(PyObject *module);  /* evpool.c */
COIR__HIDDEN int coir__evalarm_types_init(PyObject *module); /* evalarm.c */

#endif
