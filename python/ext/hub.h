/* hub.h - how the types that wait share the scheduler: lists of who waits, the
 * ready queue, parking and waking. Implemented by hub.c and loop.c.
 *
 * A greenlet that has to wait parks: it stands in a list, and switches to the
 * next ready one, or to the hub if there is none. Who wakes it takes it out of
 * the list and puts it at the end of the ready queue of its loop, in which
 * callbacks (`loop.run_callback()`) stand, too: first come, first served. The
 * hub calls callbacks; greenlets that are ready are switched to directly by
 * whoever leaves the processor.
 *
 * All of this is guarded by the GIL, so it may be used from every thread that
 * holds it; only what says so must happen in the loop's own thread. */
#ifndef COIR_HUB_H
#define COIR_HUB_H

#include "state.h"

#include <coir/loop.h>

/* --- lists --------------------------------------------------------------- */

typedef struct coir_list coir_list;

/* A place in a list, of whatever waits: embedded. */
typedef struct coir_node {
    struct coir_node *next, *prev;
    coir_list *list; /* NULL: in none */
} coir_node;

/* First in, first out. All zero is an empty one. */
struct coir_list {
    coir_node *head, *tail;
};

static inline void
coir__list_append(coir_list *list, coir_node *n)
{
    n->list = list;
    n->next = NULL;
    n->prev = list->tail;
    if (list->tail != NULL)
        list->tail->next = n;
    else
        list->head = n;
    list->tail = n;
}

/* Nothing, if it is in none. */
static inline void
coir__list_remove(coir_node *n)
{
    coir_list *list = n->list;
    if (list == NULL)
        return;
    if (n->next != NULL)
        n->next->prev = n->prev;
    else
        list->tail = n->prev;
    if (n->prev != NULL)
        n->prev->next = n->next;
    else
        list->head = n->next;
    n->list = NULL;
}

/* --- the ready queue ----------------------------------------------------- */

typedef struct coir_loop_object LoopObject;
typedef struct coir_hub_object HubObject;
typedef struct coir_ready coir_ready;

/* Something that is to happen in the hub, soon. `run` is called there, without
 * a pending exception, and leaves none; it may do anything. It has been taken
 * out of the queue before. NULL: it is a coir_wait, a greenlet to go on. */
struct coir_ready {
    coir_node node;
    void (*run)(coir_ready *r, LoopObject *loop);
};

/* `loop.run_callback()` as a type: `func(*args)` in the hub. */
typedef struct {
    PyObject_HEAD
    coir_ready ready;
    LoopObject *loop; /* strong while it is queued, else NULL */
    PyObject *func;   /* strong; NULL: stopped, or called */
    PyObject *args;   /* strong, a tuple */
} CallbackObject;

/* A loop. `loop` is NULL once it was destroyed. */
struct coir_loop_object {
    PyObject_HEAD
    coir_loop *loop;
    coir_list ready;
    PyObject *error_handler; /* strong; has handle_error(), or is callable */
    PyObject *weakreflist;
    PyObject *dict;
    unsigned long thread; /* ident of the one that made it */
    unsigned left;        /* greenlets that may run before the loop is run */
    int depth;            /* of run() */
    int is_default;
    int stop; /* break_() */
    int blocks; /* waits without the GIL */
    PyObject *pending_error; /* that is to leave run() */
};

/* A hub: the greenlet that runs the loop. */
struct coir_hub_object {
    GreenletObject base;
    LoopObject *loop; /* strong, or NULL once destroyed */
};

extern PyTypeObject coir__loop_type COIR__HIDDEN;
extern PyTypeObject coir__callback_type COIR__HIDDEN;
extern PyTypeObject coir__hub_type COIR__HIDDEN;

/* Put it at the end, and wake the loop if it sleeps. It must stay until it ran
 * or was removed (coir__list_remove(&r->node)). */
COIR__HIDDEN void coir__loop_ready(LoopObject *loop, coir_ready *r);

/* loop.run_callback(func, *args): a new reference to the callback, or NULL
 * with an exception. `args` is a tuple, or NULL for none. */
COIR__HIDDEN CallbackObject *
coir__loop_call(LoopObject *loop, PyObject *func, PyObject *args);

/* Report the pending exception as that of `context` (borrowed, may be NULL) to
 * the loop's error handler; no exception is pending afterwards. */
COIR__HIDDEN void coir__loop_error(LoopObject *loop, PyObject *context);

/* --- this thread's hub --------------------------------------------------- */

/* This thread's hub, borrowed; it is made if there is none. NULL with an
 * exception. */
COIR__HIDDEN HubObject *coir__hub_get(coir_pythread *t);
/* The same, but NULL without an exception if there is none. */
COIR__HIDDEN HubObject *coir__hub_if_any(coir_pythread *t);

/* --- parking ------------------------------------------------------------- */

/* How a wait ended. */
enum coir_woken {
    COIR_WOKEN_WAITS,    /* not yet */
    COIR_WOKEN_BY_WAKE,  /* coir__wake() */
    COIR_WOKEN_BY_TIME,  /* its timeout is over */
    COIR_WOKEN_BY_OTHER, /* somebody switched to it, or threw into it */
};

/* What a greenlet waits in; owned by its block, made when it first waits. A
 * greenlet waits in one list at a time. */
typedef struct coir_wait {
    coir_ready ready;    /* first; node: in the ready queue */
    coir_node node;      /* in the list it waits in */
    LoopObject *loop;    /* borrowed while it waits */
    GreenletObject *green; /* borrowed: whose it is */
    PyObject *value;     /* strong: what it is brought; NULL for None */
    uint8_t woken;       /* enum coir_woken */
    uint8_t is_waiting;  /* in a list, or in the ready queue */
    uint8_t throws;      /* `value` is an exception to be raised in it */
    int tag;             /* the caller's, to tell kinds of waiters apart */
    void *data;          /* the same; valid while it waits */
    const char *what;    /* a verb: "get", "acquire" */
    PyObject *object;    /* borrowed: what it waits for */
    int64_t since_ns;
    coir_timer timer;
} coir_wait;

/* The running greenlet's, to set `tag` and `data` before coir__park(). NULL
 * with MemoryError. */
COIR__HIDDEN coir_wait *coir__wait_get(coir_pythread *t);

static inline coir_wait *
coir__wait_of(coir_node *n)
{
    return (coir_wait *)((char *)n - offsetof(coir_wait, node));
}

/* Wait at the end of `list` (NULL: in none, for coir__wake() by who knows the
 * coir_wait) until woken, or until `timeout_ns` is over: COIR_FOREVER for no
 * limit; 0 lets others run once. Call it again to go on waiting.
 *
 * Returns what it was brought, a new reference (Py_None after a timeout), and
 * in *how, enum coir_woken, the reason; or NULL with an exception, one that
 * was thrown into it for instance, or one because this is the hub itself or
 * nothing else can ever happen (LoopExit). It is in no list then.
 * `what` and `object` are for reports. Runs any code. */
COIR__HIDDEN PyObject *
coir__park(coir_pythread *t, HubObject *hub, coir_list *list, const char *what,
           PyObject *object, int64_t timeout_ns, int *how);

/* The same at the head of the list. */
COIR__HIDDEN PyObject *
coir__park_first(coir_pythread *t, HubObject *hub, coir_list *list,
                 const char *what, PyObject *object, int64_t timeout_ns,
                 int *how);

/* End the wait of one that waits: takes it out of its list and makes it ready.
 * Steals `value`, NULL for None. Any thread that holds the GIL. Runs no
 * Python code. */
COIR__HIDDEN void coir__wake(coir_wait *w, PyObject *value);
/* The same; the exception (stolen) is raised in it. */
COIR__HIDDEN void coir__wake_with_error(coir_wait *w, PyObject *exc);

/* Let the running greenlet go on after all that are ready now: sleep(0).
 * 0, or -1 with an exception. */
COIR__HIDDEN int coir__yield(coir_pythread *t, HubObject *hub);

/* Switch to `g` when its turn comes, from the ready queue; for a NEW one:
 * start it. Used by spawn. `r` must be embedded in what lives as long as `g`
 * and is queued as coir__loop_ready() does; its `run` is set. */

/* --- helpers ------------------------------------------------------------- */

/* A timeout in seconds, None for none: *ns is COIR_FOREVER or >= 0 (negative
 * ones count as 0). 0, or -1 with TypeError or ValueError (NaN). */
COIR__HIDDEN int coir__timeout_ns(PyObject *seconds, int64_t *ns);
/* The same for a number of seconds. */
COIR__HIDDEN int64_t coir__seconds_to_ns(double seconds);

/* Each adds its types to coir._core; 0, or -1 with an exception. Called once
 * per module object; static types are to be made ready only once. */
COIR__HIDDEN int coir__loop_types_init(PyObject *module);     /* loop.c */
COIR__HIDDEN int coir__watcher_types_init(PyObject *module);  /* watcher.c */
COIR__HIDDEN int coir__hub_types_init(PyObject *module);      /* hub.c */
COIR__HIDDEN int coir__green_types_init(PyObject *module);    /* green.c */
COIR__HIDDEN int coir__event_types_init(PyObject *module);    /* event.c */
COIR__HIDDEN int coir__lock_types_init(PyObject *module);     /* lock.c */
COIR__HIDDEN int coir__timeout_types_init(PyObject *module);  /* timeout.c */
COIR__HIDDEN int coir__queue_types_init(PyObject *module);    /* queue.c */
COIR__HIDDEN int coir__local_types_init(PyObject *module);    /* local.c */
COIR__HIDDEN int coir__socket_types_init(PyObject *module);   /* socket.c */

#endif
