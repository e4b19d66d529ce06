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

#include "arguments.h"

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

static inline void
coir__list_prepend(coir_list *list, coir_node *n)
{
    n->list = list;
    n->prev = NULL;
    n->next = list->head;
    if (list->head != NULL)
        list->head->prev = n;
    else
        list->tail = n;
    list->head = n;
}

/* --- the ready queue ----------------------------------------------------- */

typedef struct coir_loop_object LoopObject;
typedef struct coir_hub_object HubObject;
typedef struct coir_ready coir_ready;

/* What is to be done with one. */
typedef struct coir_ready_kind {
    /* Its turn has come: called in the hub, without a pending exception, and
     * leaves none; it may do anything. It has been taken out before. */
    void (*run)(coir_ready *r, LoopObject *loop);
    /* It is not going to happen, as the loop goes: take it out. */
    void (*drop)(coir_ready *r);
    /* The same in the child of a fork; NULL: there, too, it is to happen. */
    void (*forget)(coir_ready *r);
} coir_ready_kind;

/* Something that is to happen in the hub, soon. */
struct coir_ready {
    coir_node node;
    const coir_ready_kind *kind; /* NULL: a coir_wait, a greenlet to go on */
    int64_t mark;                /* see ready.c: the stamp, and a bit */
};

/* Of which batch it is, by the last bit of the number: there are two at most.
 */
static inline uint32_t
coir__batch_of(const coir_ready *r)
{
    return (uint32_t)r->mark & 1;
}

static inline int64_t
coir__stamp_of(const coir_ready *r)
{
    return r->mark >> 1;
}

static inline void
coir__ready_mark(coir_ready *r, uint32_t batch, int64_t stamp_ns)
{
    r->mark = stamp_ns * 2 + (batch & 1);
}

/* `loop.run_callback()` as a type: `func(*args)` in the hub. */
typedef struct {
    PyObject_HEAD coir_ready ready;
    LoopObject *loop; /* strong while it is queued, else NULL */
    PyObject *func;   /* strong; NULL: stopped, or called */
    PyObject *args;   /* strong, a tuple */
} CallbackObject;

/* A loop. `loop` is NULL once it was destroyed. */
struct coir_loop_object {
    PyObject_HEAD coir_loop *loop;
    coir_list ready;
    PyObject *error_handler; /* strong; has handle_error(), or is callable */
    PyObject *weakreflist;
    PyObject *dict;
    unsigned long thread; /* ident of the one that made it */
    unsigned flags;       /* it was made with */
    unsigned left;        /* that may run before libcoir's loop is looked at */
    unsigned direct;      /* see coir__loop_may_switch() */
    int64_t direct_ns, direct_cpu_ns;
    int depth; /* of run() */
    int is_default;
    int stop;          /* break_() */
    int destroyed;     /* or it is to be, once it has returned */
    int may_block;     /* in this turn */
    int blocks;        /* waits without the GIL */
    int foreign_waits; /* in it that other threads could end */
    uint8_t in_order;  /* this and the next ones: see ready.c */
    uint8_t is_timed;
    uint8_t has_past;
    uint8_t wants_look;
    uint8_t is_tired;
    uint8_t tells;
    uint8_t has_told;
    uint8_t looks;
    uint32_t batch;
    coir_list due, told;
    int waits_fds;           /* sockets and others that it may be told of */
    coir_list alarms;        /* that are pending: see evalarm.c */
    PyObject *pending_error; /* that is to leave run() */
    coir_list watchers;      /* that are active: see watcher.c */
    coir_list timeouts;      /* that are pending: see timeout.c */
    coir_list links;         /* that will be called in it: see link.c */
    PyObject *stand_in;      /* strong: hub.loop instead of it, or NULL */
    coir_list held;          /* for that, see standin.c */
    int watches_signals;
    coir_io signal_io;
    coir_timer signal_guard;
};

/* A hub: the greenlet that runs the loop. */
struct coir_hub_object {
    GreenletObject base;
    LoopObject *loop; /* strong, or NULL once destroyed */
    /* Code written for eventlet waits in it: that has its own ideas of errors,
     * and of what it means that nothing is left to do. */
    char uses_eventlet;
    struct coir_ev_canceled *canceled; /* owned, or NULL: see evhub.c */
};

extern PyTypeObject coir__loop_type COIR__HIDDEN;
extern PyTypeObject coir__callback_type COIR__HIDDEN;
extern PyTypeObject coir__hub_type COIR__HIDDEN;

/* A part of the budget is over: look at the clock. */
COIR__HIDDEN void coir__loop_check_budget(LoopObject *loop);

/* Somebody is about to run. */
static inline void
coir__loop_use_budget(LoopObject *loop)
{
    if (COIR__UNLIKELY((--loop->left & 7) == 0))
        coir__loop_check_budget(loop);
}

/* In the hub: may what a callback of libcoir's loop has made ready be switched
 * to by that callback, before others that are ready? Not once these have
 * taken as long as may be, nor if the loop is to end. */
COIR__HIDDEN int coir__loop_may_switch(LoopObject *loop);

/* Put it at the end. It must stay until it ran or was removed
 * (coir__list_remove(&r->node)). */
static inline void
coir__ready_append(LoopObject *loop, coir_ready *r)
{
    coir__ready_mark(r, loop->batch + loop->in_order,
                     COIR__UNLIKELY(loop->is_timed) ? coir_clock_monotonic()
                                                    : 0);
    coir__list_append(&loop->ready, &r->node);
}

/* The same, and wake the loop if it sleeps. */
COIR__HIDDEN void coir__loop_ready(LoopObject *loop, coir_ready *r);
/* It is a wait for what the loop has just been told of: a descriptor. */
COIR__HIDDEN void coir__loop_told(LoopObject *loop, coir_ready *r);
/* Its timer has just fired: in order, among all that is due. */
COIR__HIDDEN void coir__loop_due(LoopObject *loop, coir_ready *r,
                                 const coir_timer *timer);
/* It was to happen so long ago. */
COIR__HIDDEN void coir__loop_ready_past(LoopObject *loop, coir_ready *r,
                                        int64_t ago_ns);
/* From now on all happens in eventlet's order. */
COIR__HIDDEN void coir__loop_keep_order(LoopObject *loop);
/* No longer. */
COIR__HIDDEN void coir__loop_leave_order(LoopObject *loop);
COIR__HIDDEN int coir__batch_begins_slowly(LoopObject *loop);
/* In the hub: bring in what the loop was told of. Whether there is something
 * to run. */
COIR__HIDDEN int coir__ready_any(LoopObject *loop);
/* The loop has looked; `is_between`: between two batches, at the first of
 * which, `is_first`, there was nothing to run. */
COIR__HIDDEN void coir__ready_looked(LoopObject *loop, int is_between,
                                     int is_first);

/* Is it of the batch that runs? */
static inline int
coir__is_current(const LoopObject *loop, const coir_ready *r)
{
    return coir__batch_of(r) == (loop->batch & 1);
}

/* Is the next one of the queue of another batch than what ran last? */
static inline int
coir__is_between(const LoopObject *loop)
{
    const coir_ready *r = (const coir_ready *)loop->ready.head;
    return r == NULL || !coir__is_current(loop, r);
}

/* The head of the queue is of another batch than what ran last: may that
 * begin? If not, the loop is to look at timers and descriptors first. */
static inline int
coir__batch_begins(LoopObject *loop)
{
    if (COIR__UNLIKELY(loop->is_timed | loop->wants_look | loop->is_tired ||
                       loop->told.head != NULL))
        return coir__batch_begins_slowly(loop);
    loop->batch++;
    loop->looks = loop->has_told = 0;
    return 1;
}

/* Before the next batch the loop is to look at descriptors, if there are any.
 */
static inline void
coir__loop_want_look(LoopObject *loop)
{
    loop->wants_look = loop->waits_fds > 0 || loop->watchers.head != NULL;
}

/* A timer of something that goes into the queue when it fires is armed. */
static inline void
coir__loop_armed(LoopObject *loop)
{
    loop->is_timed = loop->in_order;
}

/* For what gevent calls methods of `hub.loop`: if that was replaced by what is
 * no Loop, these are called. In standin.c. */
COIR__HIDDEN void coir__standin_ready(LoopObject *loop, coir_ready *r);
/* Have one more happen of those that are held. */
COIR__HIDDEN void coir__standin_ask(LoopObject *loop);
/* Those that are held are ready now. */
COIR__HIDDEN void coir__standin_release(LoopObject *loop);
/* Its timer(seconds, ref=, priority=), a new reference, or NULL with an
 * exception; start(func, update=True) of that: 0, or -1; and stop() with
 * close(). */
COIR__HIDDEN PyObject *coir__standin_timer(LoopObject *loop, PyObject *seconds,
                                           int ref, int priority);
COIR__HIDDEN int coir__standin_start(PyObject *timer, PyObject *func);
COIR__HIDDEN void coir__standin_stop(PyObject *timer);
/* sleep() on it. */
COIR__HIDDEN PyObject *coir__standin_sleep(HubObject *hub, double seconds,
                                           int ref);

/* As coir__loop_ready(), but may run any code: as run_callback() of what is
 * `hub.loop`. */
static inline void
coir__loop_soon(LoopObject *loop, coir_ready *r)
{
    if (COIR__LIKELY(loop->stand_in == NULL))
        coir__loop_ready(loop, r);
    else
        coir__standin_ready(loop, r);
}

/* loop.run_callback(func, *args): a new reference to the callback, or NULL
 * with an exception. `args` is a tuple, or NULL for none. */
COIR__HIDDEN CallbackObject *coir__loop_call(LoopObject *loop, PyObject *func,
                                             PyObject *args);

/* Report the pending exception as that of `context` (borrowed, may be NULL) to
 * the loop's error handler; no exception is pending afterwards. */
COIR__HIDDEN void coir__loop_error(LoopObject *loop, PyObject *context);

/* One run(), flags of coir_loop_run(). Whether there is anything left to do,
 * or -1 with an exception. */
COIR__HIDDEN int coir__loop_run(LoopObject *loop, int flags);
/* Stop its watchers and free it, once it does not run. */
COIR__HIDDEN void coir__loop_destroy(LoopObject *loop);
/* It is about to block: have signals end that. */
COIR__HIDDEN void coir__loop_watch_signals(LoopObject *loop);
/* Stop the active watcher that stands in the loop's list with this node. */
COIR__HIDDEN void coir__watcher_stop_node(coir_node *n);
/* The same for a pending Timeout; and for whom it is. */
COIR__HIDDEN void coir__timeout_stop_node(coir_node *n);
COIR__HIDDEN GreenletObject *coir__timeout_of(coir_node *n);
/* The same for an alarm. */
COIR__HIDDEN void coir__alarm_stop_node(coir_node *n);
/* A link that was to be called in the loop is not. */
COIR__HIDDEN void coir__linkable_drop_node(coir_node *n);

/* In the child of a fork: of what was to happen in the loop only that is left
 * which is for the running greenlet, or the main one. In fork.c. */
COIR__HIDDEN void coir__loop_forget(const coir_pythread *t, LoopObject *loop);
/* The callback that it stands for, borrowed; NULL: it is none. In ready.c. */
COIR__HIDDEN CallbackObject *coir__callback_of(coir_ready *r);
COIR__HIDDEN int coir__is_waiter(PyObject *op);
/* What the watcher calls, borrowed, or NULL. */
COIR__HIDDEN PyObject *coir__watcher_callback(coir_node *n);
/* If it is a Greenlet that a timer was to start: it has ended. In green.c. */
COIR__HIDDEN void coir__green_forget_later(PyObject *op);

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
    coir_ready ready;      /* first */
    coir_node node;        /* in the list it waits in */
    LoopObject *loop;      /* strong: of the hub it waits in, or did last */
    GreenletObject *green; /* borrowed: whose it is */
    PyObject *value;       /* strong: what it is brought; NULL for None */
    uint8_t woken;         /* enum coir_woken */
    uint8_t is_waiting;    /* in a list, or in the ready queue */
    uint8_t was_woken;     /* before somebody else switched to it, see below */
    uint8_t holds;         /* a reference to `green` */
    uint8_t is_foreign;    /* counted in loop->foreign_waits */
    uint8_t may_expire;    /* the caller's, before it waits: see below */
    uint8_t throws;        /* `value` is an exception to be raised in it */
    uint8_t again;    /* the caller's: it is to be given what comes next */
    int tag;          /* the caller's, to tell kinds of waiters apart */
    const char *what; /* a verb: "get", "acquire" */
    PyObject *object; /* borrowed: what it waits for */
    int64_t since_ns;
    coir_timer timer; /* its `data` is the caller's, as `tag` is */
} coir_wait;

/* The running greenlet's, to set `tag` and `timer.data` before coir__park().
 * NULL with MemoryError. */
COIR__HIDDEN coir_wait *coir__wait_get(coir_pythread *t);

static inline coir_wait *
coir__wait_of(coir_node *n)
{
    return (coir_wait *)((char *)n - offsetof(coir_wait, node));
}

/* For tp_traverse of who owns a list of nothing but coir_waits: those who wait
 * there for ever are kept alive by it. */
COIR__HIDDEN int coir__list_traverse(const coir_list *list, visitproc visit,
                                     void *arg);

/* Wait at the end of `list` (NULL: in none, for coir__wake() by who knows the
 * coir_wait) until woken, or until `timeout_ns` is over: COIR_FOREVER for no
 * limit; 0 lets others run once. Call it again to go on waiting.
 *
 * Returns what it was brought, a new reference (Py_None after a timeout), and
 * in *how, enum coir_woken, the reason; or NULL with an exception, one that
 * was thrown into it for instance, or one because this is the hub itself or
 * nothing else can ever happen (LoopExit). It is in no list then.
 * After an exception, and after COIR_WOKEN_BY_OTHER, `was_woken` in its
 * coir_wait tells whether it had been woken already, but did not come to run
 * before somebody else switched to it: then `value` there is what it was
 * brought, and both are the caller's to pass on, now.
 * `what` and `object` are for reports. Runs any code. */
COIR__HIDDEN PyObject *coir__park(coir_pythread *t, HubObject *hub,
                                  coir_list *list, const char *what,
                                  PyObject *object, int64_t timeout_ns,
                                  int *how);

/* Who sets `may_expire` in its coir_wait before has it as eventlet does: of a
 * timeout and a wake-up that both are due the earlier one counts. After
 * COIR_WOKEN_BY_TIME `was_woken` tells whether it was woken too late; what it
 * was to be brought is gone. */

/* The same at the head of the list. */
COIR__HIDDEN PyObject *coir__park_first(coir_pythread *t, HubObject *hub,
                                        coir_list *list, const char *what,
                                        PyObject *object, int64_t timeout_ns,
                                        int *how);

/* The same as coir__park() in a list that only this thread's hub wakes from:
 * other threads are no hope for the loop. */
COIR__HIDDEN PyObject *coir__park_own(coir_pythread *t, HubObject *hub,
                                      coir_list *list, const char *what,
                                      PyObject *object, int64_t timeout_ns,
                                      int *how);

/* End the wait of one that waits: takes it out of its list and makes it ready.
 * Steals `value`, NULL for None. Any thread that holds the GIL. Runs no
 * Python code. */
COIR__HIDDEN void coir__wake(coir_wait *w, PyObject *value);
/* The same; the exception (stolen) is raised in it. */
COIR__HIDDEN void coir__wake_with_error(coir_wait *w, PyObject *exc);

/* It was just woken: if this is the hub in which it waits, switch to it at
 * once, as is expected of callbacks; else it goes on when its turn comes. */
COIR__HIDDEN void coir__go_on(coir_wait *w);

/* From run(): switch to a greenlet that was in the ready queue. */
COIR__HIDDEN void coir__resume(coir_ready *r, LoopObject *loop);
/* The greenlet was switched to while it waited: it waits no more. Called by
 * switch.c, before any Python code runs. */
COIR__HIDDEN void coir__wait_left(coir_wait *w);
/* Its block goes. */
COIR__HIDDEN void coir__wait_free(coir_wait *w);

/* Switch from the running greenlet, which waits in `w`, to `to`; as
 * coir__greenlet_switch(), and *how is how the wait ended. In switch.c. */
COIR__HIDDEN PyObject *coir__greenlet_park(coir_pythread *t,
                                           GreenletObject *to, coir_payload p,
                                           coir_wait *w, int *how);
/* The thread ends, or its record does: destroy its hub's loop. */
COIR__HIDDEN void coir__hub_thread_ends(HubObject *hub);

/* How many other threads there are that may do anything. */
COIR__HIDDEN int coir__other_threads(void);

/* Let the running greenlet go on after all that are ready now: sleep(0); or,
 * in eventlet's order, as if it had been made ready so long ago.
 * 0, or -1 with an exception. */
COIR__HIDDEN int coir__yield(coir_pythread *t, HubObject *hub, int64_t ago_ns);

/* --- helpers ------------------------------------------------------------- */

/* A timeout in seconds, None for none: *ns is COIR_FOREVER or >= 0 (negative
 * ones count as 0). 0, or -1 with TypeError or ValueError (NaN). */
COIR__HIDDEN int coir__timeout_ns(PyObject *seconds, int64_t *ns);
/* The same for a number of seconds. */
COIR__HIDDEN int64_t coir__seconds_to_ns(double seconds);

/* Each adds its types to coir._core; 0, or -1 with an exception. Called once
 * per module object; static types are to be made ready only once. */
COIR__HIDDEN int coir__ready_types_init(PyObject *module);   /* ready.c */
COIR__HIDDEN int coir__loop_types_init(PyObject *module);    /* loop.c */
COIR__HIDDEN int coir__syserr_init(PyObject *module);        /* syserr.c */
COIR__HIDDEN int coir__watcher_types_init(PyObject *module); /* watcher.c */
COIR__HIDDEN int coir__hub_types_init(PyObject *module);     /* hub.c */
COIR__HIDDEN int coir__green_types_init(PyObject *module);   /* green.c */
COIR__HIDDEN int coir__event_types_init(PyObject *module);   /* event.c */
COIR__HIDDEN int coir__lock_types_init(PyObject *module);    /* lock.c */
COIR__HIDDEN int coir__timeout_types_init(PyObject *module); /* timeout.c */
COIR__HIDDEN int coir__waiter_types_init(PyObject *module);  /* waiter.c */
COIR__HIDDEN int coir__queue_types_init(PyObject *module);   /* queue.c */
COIR__HIDDEN int coir__local_types_init(PyObject *module);   /* local.c */
COIR__HIDDEN int coir__socket_types_init(PyObject *module);  /* socket.c */
COIR__HIDDEN int coir__wsgi_types_init(PyObject *module);    /* wsgi.c */
COIR__HIDDEN int coir__ares_types_init(PyObject *module);    /* ares.c */

#endif
