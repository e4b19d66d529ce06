/* state.h - what the files of coir._core share about greenlets.
 *
 * One greenlet is two pieces of memory: the object Python sees, whose layout
 * is fixed by extensions that embed it, and its block, which holds the
 * coroutine, the parked part of the interpreter's thread state, and the rest.
 *
 *     GreenletObject  --block-->  coir_block { coro, py, parent, run, ... }
 *
 * Tree of parents: kept here, in Python references. For libcoir every
 * coroutine's parent is the thread's main one, until its end: then it is
 * whoever goes on.
 *
 * Threads: everything needs the GIL. A greenlet belongs to the thread whose
 *          main greenlet is its `main`; only that thread may switch to it.
 *
 * References are marked strong or borrowed. A call that may switch, or may
 * run Python code at all, can change anything below: hold strong references
 * across it and read again after it. */
#ifndef COIR_STATE_H
#define COIR_STATE_H

#include <Python.h>
#include <coir/coro.h>

#include "tstate.h"

#define COIR__LIKELY(x) __builtin_expect(!!(x), 1)
#define COIR__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define COIR__COLD __attribute__((cold, noinline))
#define COIR__HIDDEN __attribute__((visibility("hidden")))

typedef struct coir_block coir_block;
typedef struct coir_pythread coir_pythread;
struct coir_wait;
struct coir_hub_object;
typedef struct coir_local_entry coir_local_entry;

/* Exactly greenlet's: gevent and others embed it as their first member. */
typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    PyObject *dict;    /* strong; NULL until somebody asks for it */
    coir_block *block; /* owned; `pimpl` for others */
} GreenletObject;

enum greenlet_state {
    GREENLET_NEW,    /* never switched to */
    GREENLET_ACTIVE, /* started and not finished: running or suspended */
    GREENLET_DEAD    /* finished, or its thread is gone */
};

enum greenlet_flags {
    GREENLET_MAIN = 1,      /* a thread's main greenlet */
    GREENLET_UNVISITED = 2, /* the collector no longer sees its frames */
    GREENLET_LOST = 4,      /* abandoned: the stack still uses the block */
    GREENLET_FAIL = 8,      /* UnswitchableGreenlet: switching to it fails */
    GREENLET_CRASH = 16,    /* the same, fatally */
    GREENLET_CLOSED = 32,   /* a scheduler whose thread exits */
    GREENLET_GUARDED = GREENLET_FAIL | GREENLET_CRASH | GREENLET_CLOSED
};

/* What a switch brings: a value, arguments, or nothing and then the pending
 * exception of the thread is what it brings. */
typedef struct {
    PyObject *value;  /* strong: the value, or if packed, a tuple; or NULL */
    PyObject *kwargs; /* strong: a dict that is not empty, or NULL */
    int packed;
} coir_payload;

/* The body of a greenlet that is written in C: called on its own stack, it
 * returns what `run` would. May put what the collector has to know into the
 * block's `callable`, `args` and `kwargs`. */
typedef PyObject *coir_entry(GreenletObject *g);

struct coir_block {
    coir_coro *co; /* &coro, or the thread's main coroutine; NULL when NEW */
    uint8_t state; /* enum greenlet_state */
    uint8_t flags; /* enum greenlet_flags */
    uint8_t kill_depth;     /* how many are unwinding each other above it */
    uint8_t drop_depth;     /* of deallocations of parents within each other */
    int32_t children;       /* how many have it as their parent, at most */
    GreenletObject *self;   /* borrowed */
    GreenletObject *main;   /* strong, NULL when NEW; a main's own: borrowed */
    GreenletObject *parent; /* strong; NULL for main, or cleared by the GC */
    PyObject *run;          /* strong: set by the user; NULL once started */
    PyObject *callable;     /* strong: what is running */
    PyObject *args;         /* strong: what it was started with */
    PyObject *kwargs;       /* strong or NULL */
    union {
        coir_entry *entry;     /* not main: runs in place of `run`; or NULL */
        coir_pythread *thread; /* main: its thread, NULL once that exited */
    };
    coir_block *next; /* in the thread's list of started ones, a ring */
    coir_block *prev;
    coir_block *queued;       /* next in a queue of condemned ones */
    struct coir_wait *wait;   /* owned: see hub.h; NULL if it never waited */
    coir_local_entry *locals; /* what it has in locals, a list; local.c */
    coir_pystate py;
    coir_coro coro;
};

/* Greenlets of one thread. Found through a thread-local, freed by a capsule
 * in the thread state's dict when Python is done with the thread. */
struct coir_pythread {
    PyThreadState *tstate;   /* borrowed: whose dict holds the capsule */
    GreenletObject *current; /* strong */
    GreenletObject *main;    /* strong */
    /* In transit between two stacks, read first thing on the other side. */
    GreenletObject *origin; /* strong: who was left */
    coir_payload payload;
    PyObject *tracefunc;   /* strong or NULL */
    coir_block *live;      /* ring of ACTIVE ones but main, or NULL */
    coir_block *condemned; /* queue, each with a strong reference to self */
    coir_block **condemned_tail;
    int exits; /* its greenlets are being unwound; no scheduler starts */
    struct coir_hub_object *hub; /* strong or NULL */
    PyObject *next_loop;         /* for the hub after it: strong or NULL */
    PyObject *running_loop;      /* asyncio's, of `current`: strong or NULL */
};

/* There is one, never freed: other interpreters are refused, and modules that
 * are imported again share the types with what is left of the first. */
typedef struct {
    PyObject *error;   /* strong: greenlet.error */
    PyObject *exit;    /* strong: greenlet.GreenletExit */
    PyObject *str_run; /* strong, as are the other names */
    PyObject *str_stack_size;
    PyObject *str_stack_policy;
    PyObject *str_module;
    PyObject *str_is_scheduler;
    PyObject *str_handle_error;
    PyObject *str_destroy;
    PyObject *empty_tuple;
    size_t stack_size;          /* default in bytes, the root chunk included */
    int policy;                 /* default, as the settings have it */
    int cleanup;                /* unwind a thread's greenlets when it exits */
    long cleanup_clocks;        /* clock() spent on that */
    Py_ssize_t main_count;      /* main greenlets that exist */
    Py_ssize_t condemned_count; /* in all queues */
} coir_core;

extern coir_core coir__core COIR__HIDDEN;
extern PyTypeObject coir__greenlet_type COIR__HIDDEN;
extern PyTypeObject coir__unswitchable_type COIR__HIDDEN;
extern __thread coir_pythread *coir__pythread COIR__HIDDEN
    __attribute__((tls_model("initial-exec")));

static inline int
greenlet_check(const void *op)
{
    return op != NULL &&
           PyObject_TypeCheck((PyObject *)op, &coir__greenlet_type);
}

/* Set or clear the parent; the reference to the new one is used up. May
 * release the old one, thus run any code, last. */
static inline void
coir__block_set_parent(coir_block *b, GreenletObject *parent)
{
    GreenletObject *old = b->parent;
    b->parent = parent;
    if (parent != NULL)
        parent->block->children++;
    if (old != NULL) {
        old->block->children--;
        Py_DECREF(old);
    }
}

/* --- thread.c: threads, the condemned ------------------------------------ */

/* This thread's record; made by the first call. NULL with an exception. */
COIR__HIDDEN coir_pythread *coir__pythread_make(void);

static inline coir_pythread *
coir__pythread_get(void)
{
    coir_pythread *t = coir__pythread;
    /* An OS thread may get a second thread state after its first is gone. */
    if (COIR__LIKELY(t != NULL && t->tstate == PyThreadState_Get()))
        return t;
    return coir__pythread_make();
}

/* Unwind what other threads, or too deep a nesting, left to this thread. */
COIR__HIDDEN void coir__pythread_drain(coir_pythread *t);

/* Make a suspended greenlet unwind, now if this is its thread and the nesting
 * is not too deep, later else. The caller holds a reference and no exception
 * is pending; errors are reported as unraisable. */
COIR__HIDDEN void coir__greenlet_condemn(GreenletObject *g);

/* Declare an ACTIVE greenlet dead without unwinding it. */
COIR__HIDDEN void coir__greenlet_abandon(coir_block *b);

/* --- scheduler.c: whom unwinding would not end --------------------------- */

/* Is this ACTIVE or DEAD greenlet a scheduler? */
COIR__HIDDEN int coir__is_scheduler(GreenletObject *g);
/* Will it be one when it runs `run`? */
COIR__HIDDEN int coir__starts_scheduler(GreenletObject *g, PyObject *run);

/* The ring of a thread's ACTIVE greenlets. */
static inline void
coir__link_live(coir_pythread *t, coir_block *b)
{
    if (t->live == NULL) {
        t->live = b->next = b->prev = b;
        return;
    }
    b->next = t->live;
    b->prev = t->live->prev;
    b->prev->next = b;
    b->next->prev = b;
}

static inline void
coir__unlink_live(coir_pythread *t, coir_block *b)
{
    assert(b->next != NULL && b->prev != NULL && "it is in the ring");
    b->next->prev = b->prev;
    b->prev->next = b->next;
    if (t->live == b)
        t->live = b->next != b ? b->next : NULL;
    b->next = b->prev = NULL;
}

/* The thread a greenlet belongs to; NULL if NEW, or its thread has exited. */
static inline coir_pythread *
coir__block_thread(const coir_block *b)
{
    return b->main != NULL ? b->main->block->thread : NULL;
}

static inline int
coir__is_running(const coir_block *b)
{
    const coir_pythread *t = coir__block_thread(b);
    return t != NULL && t->current == b->self;
}

static inline int
coir__is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* --- greenlet.c: the type ------------------------------------------------ */

/* A main greenlet for a new thread, not known to it yet. */
COIR__HIDDEN GreenletObject *coir__greenlet_new_main(coir_pythread *t);
COIR__HIDDEN GreenletObject *coir__greenlet_new(PyObject *run,
                                                GreenletObject *parent);
COIR__HIDDEN int coir__greenlet_set_parent(GreenletObject *g,
                                           PyObject *parent);
/* In a tp_dealloc, for an ACTIVE greenlet whose last reference is gone: let it
 * unwind. 1 if it is alive again, and then there is nothing left to do. */
COIR__HIDDEN int coir__greenlet_resurrect(PyObject *op);
/* New reference to the running greenlet. */
COIR__HIDDEN PyObject *coir__getcurrent(void);
COIR__HIDDEN int coir__greenlet_types_init(void);

/* --- switch.c ------------------------------------------------------------ */

/* Go to `g` with what `p` holds; it is used up in any case. Returns what is
 * brought back, a new reference, or NULL with an exception. */
COIR__HIDDEN PyObject *
coir__greenlet_switch(coir_pythread *t, GreenletObject *g, coir_payload p);
/* The same with an exception; checks the arguments as raise would. val and tb
 * may be NULL. */
COIR__HIDDEN PyObject *coir__greenlet_throw(GreenletObject *g, PyObject *typ,
                                            PyObject *val, PyObject *tb);

/* --- local.c ------------------------------------------------------------- */

/* A greenlet ends: forget what it has in locals. Runs any code; no exception
 * is pending. */
COIR__HIDDEN void coir__locals_drop(coir_block *b);

/* --- settings.c: stack size and policy ----------------------------------- */

/* Beside enum coir_policy: decide when a greenlet starts. */
#define COIR__POLICY_AUTO 2

/* Read the environment; warn about what makes no sense.
 * Returns 0, or -1 with an exception if warnings are errors. */
COIR__HIDDEN int coir__settings_init(void);

/* Size and policy for a greenlet of this type.
 * Returns 0, or -1 with TypeError or ValueError. */
COIR__HIDDEN int coir__settings_of(PyTypeObject *type, size_t *size,
                                   int *policy);

/* What a greenlet of policy auto gets that starts now: enum coir_policy. */
COIR__HIDDEN int coir__settings_choose(size_t stack_size);
COIR__HIDDEN extern PyMethodDef coir__settings_methods[];

/* --- info.c -------------------------------------------------------------- */

COIR__HIDDEN extern PyMethodDef coir__info_methods[];

/* --- tracing.c ----------------------------------------------------------- */

/* Adds SwitchTracer to coir._core. 0, or -1 with an exception. */
COIR__HIDDEN int coir__tracing_types_init(PyObject *module);

/* Whether this trace function does no more than count switches: it need not
 * see one to the hub for each. */
COIR__HIDDEN int coir__trace_only_counts(PyObject *func);
/* Call the trace function about the switch that has just happened. If it
 * fails it is removed, and its exception takes the place of `p`. */
COIR__HIDDEN void coir__trace_switch(coir_pythread *t, GreenletObject *from,
                                     coir_payload *p);
COIR__HIDDEN PyObject *coir__settrace(PyObject *module, PyObject *args);
COIR__HIDDEN PyObject *coir__gettrace(PyObject *module, PyObject *unused);

/* --- capi.c -------------------------------------------------------------- */

/* The capsule greenlet._C_API. */
COIR__HIDDEN PyObject *coir__capi_new(void);

/* --- the pending exception, as one object -------------------------------- */

/* Take it away: a new reference, or NULL if none is pending. */
static inline PyObject *
coir__error_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL) {
        (void)PyException_SetTraceback(value, tb);
        Py_DECREF(tb);
    }
    Py_DECREF(type);
    return value;
#endif
}

/* Put it back; the reference is used up. NULL clears. */
static inline void
coir__error_give(PyObject *exc)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exc);
#else
    if (exc == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), exc,
                  PyException_GetTraceback(exc));
#endif
}

/* --- arguments.c: names -------------------------------------------------- */

typedef struct {
    PyObject **to; /* strong, and never released */
    const char *text;
} coir_name;

/* Make those that are not there yet. 0, or -1 with an exception. */
COIR__HIDDEN int coir__intern(const coir_name *names, size_t count);

#endif
