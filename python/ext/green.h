/* green.h - what green.c and greenlink.c share: gevent's Greenlet, the links
 * to its end, and where it was spawned. */
#ifndef COIR_GREEN_H
#define COIR_GREEN_H

#include "hub.h"

/* --- where something was spawned: greenlink.c ---------------------------- */

/* Frames at most that are noted. */
#define COIR_SPAWN_PLACES 64

/* Shared by all that were spawned at the same place, one after another. */
typedef struct {
    Py_ssize_t refs;
    int count;
    coir_pyplace places[]; /* code: strong */
} coir_spawn_stack;

/* The running greenlet's innermost `limit` frames, NULL for none or if there
 * is no memory. No exception is set. */
COIR__HIDDEN coir_spawn_stack *coir__spawn_stack_take(int limit);
COIR__HIDDEN void coir__spawn_stack_free(coir_spawn_stack *s);
/* As objects that look like frames, the innermost; None for none. */
COIR__HIDDEN PyObject *coir__spawn_stack_frames(const coir_spawn_stack *s);

/* --- Greenlet: green.c --------------------------------------------------- */

enum coir_green_start {
    COIR_GREEN_NEW,       /* nobody has asked for a start */
    COIR_GREEN_QUEUED,    /* stands in the ready queue, which owns it */
    COIR_GREEN_LATER,     /* `timer` runs, which owns it */
    COIR_GREEN_CANCELLED, /* killed before it ran: it never will */
    COIR_GREEN_STARTED
};

/* `ready` stands in the queue for its start, after its end for the links. */
typedef struct {
    GreenletObject base;
    coir_ready ready;
    coir_list waiters; /* of coir_wait: who joins it */
    PyObject *links;   /* strong: NULL, one callable, or a list of them */
    PyObject *run;     /* strong: `_run` of this very object; or NULL */
    PyObject *args;    /* strong: a tuple, or NULL */
    PyObject *kwargs;  /* strong: a dict, or NULL */
    PyObject *value;   /* strong or NULL */
    PyObject *exc;     /* strong: what it failed with, or NULL */
    PyObject *tb;      /* strong: its traceback then, or NULL */
    PyObject *timer;   /* strong: that will start it, or NULL */
    PyObject *ident;   /* strong: minimal_ident once asked for, or NULL */
    PyObject *info;    /* strong: the function's name for repr, or NULL */
    PyObject *spawner; /* strong: a weak reference, or NULL */
    PyObject *locals;  /* strong: spawn_tree_locals, or NULL: not yet */
    coir_spawn_stack *stack; /* or NULL */
    uint8_t start;           /* enum coir_green_start */
    uint8_t finished;        /* has a value, or an exception */
    uint8_t tracked;         /* spawner, locals and stack are kept */
    uint8_t notifies;        /* stands in the queue for its links' sake */
} GreenObject;

extern PyTypeObject coir__green_type COIR__HIDDEN;

static inline int
green_check(PyObject *op)
{
    return PyObject_TypeCheck(op, &coir__green_type);
}

COIR__HIDDEN int coir__green_ready(GreenObject *g);
/* Call `callback` in the hub when it has ended. 0, or -1 with an exception. */
COIR__HIDDEN int coir__green_link(GreenObject *g, PyObject *callback);
/* Nothing, if it isn't linked. 0, or -1 with an exception. */
COIR__HIDDEN int coir__green_unlink(GreenObject *g, PyObject *callback);
/* The hub it belongs to, borrowed, or NULL with TypeError. */
COIR__HIDDEN HubObject *coir__green_hub(GreenObject *g);

/* --- links and iwait(): greenlink.c -------------------------------------- */

/* What calls a link in a greenlet of its own; by how the source ended. */
enum coir_link_kind { COIR_LINK_ANY, COIR_LINK_VALUE, COIR_LINK_EXCEPTION };

extern PyTypeObject coir__link_types[3] COIR__HIDDEN;
extern PyTypeObject coir__iwait_type COIR__HIDDEN;

/* `source`, which is linked to the iwait(), has ended: called at once, not in
 * the hub. 0, or -1 with MemoryError. */
COIR__HIDDEN int coir__iwait_notify(PyObject *iwait, PyObject *source);
/* An exception class of coir.gevent.exceptions, raised with a message. */
COIR__HIDDEN void coir__gevent_error(const char *name, const char *format,
                                     ...);
/* Raise Timeout(seconds). */
COIR__HIDDEN void coir__timeout_error(PyObject *seconds);

COIR__HIDDEN int coir__greenlink_types_init(PyObject *module);

#endif
