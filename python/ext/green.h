/* green.h - what green.c and greenlink.c share: gevent's Greenlet, the links
 * to its end, and where it was spawned. */
#ifndef COIR_GREEN_H
#define COIR_GREEN_H

#include "link.h"

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

/* What few Greenlets have: each of them strong, or NULL. */
enum coir_green_rare {
    COIR_GREEN_KWARGS,    /* what it was given by name, a dict */
    COIR_GREEN_TRACEBACK, /* of `exc`, when that ended it */
    COIR_GREEN_TIMER,     /* that will start it */
    COIR_GREEN_IDENT,     /* minimal_ident, once asked for */
    COIR_GREEN_INFO,      /* what it runs, for the repr */
    COIR_GREEN_RARE
};

/* `ready` stands in the queue for its start, after its end for the links. */
typedef struct {
    GreenletObject base;
    coir_ready ready;
    coir_list waiters; /* of coir_wait: who joins it */
    PyObject *links;   /* strong: NULL, one callable, or a list of them */
    PyObject *run;     /* strong: `_run` of this very object; or NULL */
    PyObject *args;    /* strong: a tuple, or NULL */
    PyObject *value;   /* strong or NULL */
    PyObject *exc;     /* strong: what it failed with, or NULL */
    PyObject *spawner; /* strong: a weak reference, or NULL */
    PyObject *locals;  /* strong: spawn_tree_locals, or NULL: not yet */
    coir_spawn_stack *stack; /* or NULL */
    PyObject **rare;         /* COIR_GREEN_RARE of them, owned; or NULL */
    uint8_t start;           /* enum coir_green_start */
    uint8_t finished;        /* has a value, or an exception */
    uint8_t tracked;         /* spawner, locals and stack are kept */
    uint8_t notifies;        /* stands in the queue for its links' sake */
} GreenObject;

/* What all Greenlets share; made once. */
typedef struct {
    int track_tree;   /* config.track_greenlet_tree */
    int copy_context; /* they start in a copy of their spawner's context */
    PyObject *spawn_callbacks; /* strong: a set, or NULL if there are none */
    /* The type's own, borrowed, to tell who overrides them. */
    PyObject *own_run;
    PyObject *own__run;
    PyObject *own_ready;
    PyObject *own_successful;
    /* Strong: interned names. */
    PyObject *str__run;
    PyObject *str_run;
    PyObject *str_name;
    PyObject *str_locals;
    PyObject *str_limit;
    PyObject *str_start;
    PyObject *str_join;
    PyObject *str_kill;
    PyObject *str_handle_error;
    PyObject *str_report_error;
    PyObject *str_self;
    PyObject *str_link;
    PyObject *str_link_class;
    PyObject *str_rawlink;
    PyObject *str_formatinfo;
    PyObject *str_ready;
    PyObject *str_successful;
    PyObject *str___name__;
} coir_green_state;

extern coir_green_state coir__green COIR__HIDDEN;
extern PyTypeObject coir__green_type COIR__HIDDEN;

/* Borrowed, or NULL. */
static inline PyObject *
coir__green_rare(const GreenObject *g, enum coir_green_rare which)
{
    return g->rare != NULL ? g->rare[which] : NULL;
}

/* Set it, or clear it if `value`, which is stolen, is NULL. 0, or -1 with
 * MemoryError. */
COIR__HIDDEN int coir__green_set_rare(GreenObject *g,
                                      enum coir_green_rare which,
                                      PyObject *value);

static inline int
green_check(PyObject *op)
{
    return PyObject_TypeCheck(op, &coir__green_type);
}

COIR__HIDDEN int coir__green_ready(GreenObject *g);
/* Is this attribute, of a class that may be derived, still the one of ours?
 * -1 with an exception. */
COIR__HIDDEN int coir__green_has_own(PyTypeObject *type, PyObject *name,
                                     PyObject *own);
/* Call `callback` in the hub when it has ended. 0, or -1 with an exception. */
COIR__HIDDEN int coir__green_link(GreenObject *g, PyObject *callback);
/* Nothing, if it isn't linked. 0, or -1 with an exception. */
COIR__HIDDEN int coir__green_unlink(GreenObject *g, PyObject *callback);
/* The hub it belongs to, borrowed, or NULL with TypeError. */
COIR__HIDDEN HubObject *coir__green_hub(GreenObject *g);
/* Its loop, borrowed, or NULL with an exception. */
COIR__HIDDEN LoopObject *coir__green_loop(GreenObject *g);

/* Has it ended, or been killed before it ran? Not while it runs. */
static inline int
coir__green_dead(const GreenObject *g)
{
    /* Of a queued one the block, which is cold, is not looked at. */
    const coir_pythread *t = coir__pythread;
    if (g->start == COIR_GREEN_QUEUED || (t && t->current == &g->base))
        return 0;
    return g->start == COIR_GREEN_CANCELLED ||
           g->base.block->state == GREENLET_DEAD;
}

/* What start(), start_later() and run() do. */
COIR__HIDDEN int coir__green_start(GreenObject *g);
COIR__HIDDEN int coir__green_start_later(GreenObject *g, PyObject *seconds);
COIR__HIDDEN PyObject *coir__green_run(GreenObject *g);
/* queued_greenlets(loop): those that are to start; the collector doesn't know
 * them. */
COIR__HIDDEN PyObject *coir__green_queued(PyObject *module, PyObject *loop);
/* There will be no start from now on. */
COIR__HIDDEN void coir__green_cancel_start(GreenObject *g);
/* It needs no longer what it was to run. */
COIR__HIDDEN void coir__green_drop_run(GreenObject *g);
/* It ends by the pending exception: note it and tell all. 0, or -1 with an
 * exception, if the hub doesn't want to hear of it. */
COIR__HIDDEN int coir__green_report_error(GreenObject *g);
/* The same by way of a subclass's _report_error(exc_info). */
COIR__HIDDEN int coir__green_report(GreenObject *g);

/* Slots and methods of the type. */
COIR__HIDDEN PyObject *coir__green_new(PyTypeObject *type, PyObject *args,
                                       PyObject *kwargs);
COIR__HIDDEN int coir__green_init(PyObject *op, PyObject *args,
                                  PyObject *kwargs);
COIR__HIDDEN int coir__green_traverse(PyObject *op, visitproc visit,
                                      void *arg);
COIR__HIDDEN int coir__green_clear(PyObject *op);
COIR__HIDDEN void coir__green_dealloc(PyObject *op);
COIR__HIDDEN PyObject *coir__green_vectorcall(PyObject *type,
                                              PyObject *const *args,
                                              size_t nargsf,
                                              PyObject *kwnames);
COIR__HIDDEN PyObject *coir__green_spawn(PyObject *type, PyObject *const *args,
                                         Py_ssize_t nargs, PyObject *kwnames);
COIR__HIDDEN PyObject *coir__green_spawn_later(PyObject *type,
                                               PyObject *const *args,
                                               Py_ssize_t nargs,
                                               PyObject *kwnames);

/* --- waiting and killing: greenwait.c ------------------------------------ */

COIR__HIDDEN PyObject *coir__green_join(PyObject *op, PyObject *const *args,
                                        Py_ssize_t nargs, PyObject *kwnames);
COIR__HIDDEN PyObject *coir__green_get(PyObject *op, PyObject *const *args,
                                       Py_ssize_t nargs, PyObject *kwnames);
COIR__HIDDEN PyObject *coir__green_kill(PyObject *op, PyObject *const *args,
                                        Py_ssize_t nargs, PyObject *kwnames);
COIR__HIDDEN PyObject *coir__green_throw(PyObject *op, PyObject *const *args,
                                         Py_ssize_t nargs);
/* Raise what it failed with. */
COIR__HIDDEN PyObject *coir__green_reraise(GreenObject *g);
/* Make what throw() is given the pending exception, as if raised. */
COIR__HIDDEN void coir__green_raise(PyObject *const *args, Py_ssize_t nargs);
/* If it was killed before it ran, that has to be told, too. 0, or -1. */
COIR__HIDDEN int coir__green_report_early_death(GreenObject *g,
                                                PyObject *const *args,
                                                Py_ssize_t nargs);
/* Kill it if it has not run. 1 if it is dead now, 0 if not; -1. */
COIR__HIDDEN int coir__green_kill_before_start(GreenObject *g,
                                               PyObject *exception);

/* --- links and iwait(): greenlink.c -------------------------------------- */

/* What calls a link in a greenlet of its own; by how the source ended. */
enum coir_link_kind { COIR_LINK_ANY, COIR_LINK_VALUE, COIR_LINK_EXCEPTION };

extern PyTypeObject coir__link_types[3] COIR__HIDDEN;
extern PyTypeObject coir__iwait_type COIR__HIDDEN;

/* `source`, which is linked to the iwait(), has ended: called at once, not in
 * the hub. 0, or -1 with MemoryError. */
COIR__HIDDEN int coir__iwait_notify(PyObject *iwait, PyObject *source);

/* --- groups: group.c ----------------------------------------------------- */

extern PyTypeObject coir__group_link_type COIR__HIDDEN;

/* `green`, to which the group's link is linked, has ended. Called at once: 1;
 * 0 if the link is to be called in the hub, since somebody overrides what it
 * does; or -1 with an exception. */
COIR__HIDDEN int coir__group_tell(PyObject *link, PyObject *green);
COIR__HIDDEN int coir__group_types_init(PyObject *module);

COIR__HIDDEN int coir__greenlink_types_init(PyObject *module);

#endif
