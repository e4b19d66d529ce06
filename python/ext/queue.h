/* queue.h - what the files of queues and channels share. */
#ifndef COIR_QUEUE_H
#define COIR_QUEUE_H

#include "link.h"

/* --- patience.c: waiting ----------------------------------- */

/* queue.Empty, queue.Full and queue.ShutDown, strong, once coir__queue_load()
 * was called; before Python 3.13, which has it, the last is our own. */
extern PyObject *coir__exc_empty COIR__HIDDEN;
extern PyObject *coir__exc_full COIR__HIDDEN;
extern PyObject *coir__exc_shutdown COIR__HIDDEN;

/* Import what is needed of the standard library, with the first queue: not
 * every program that has greenlets has queues. 0, or -1 with an exception. */
COIR__HIDDEN int coir__queue_load(void);

/* How long a call waits. */
typedef struct {
    coir_pythread *t;
    PyObject *timeout; /* borrowed: a gevent.Timeout that was given, or NULL */
    int64_t ns;        /* in all, COIR_FOREVER for no limit */
    int64_t start;     /* set by the first wait */
    int in_hub;        /* the hub calls */
    int waited;
    uint8_t may_expire; /* as in coir_wait, for the waits to come */
    /* Of the last wait, if it did not end by being woken: had it been woken,
     * and unless it ended by time, what was it brought (strong or NULL)? */
    int was_woken;
    PyObject *value;
} coir_patience;

/* For a call that found it has to wait; both objects may be NULL for not
 * given. Returns 1 if it may wait; 0 if not: this is the hub, or `block` is
 * false; or -1 with an exception. After 1, coir__patience_end(). */
COIR__HIDDEN int coir__patience_begin(coir_patience *p, PyObject *block,
                                      PyObject *timeout);

/* Wait in `list`: what it is brought, a new reference, or NULL with an
 * exception. *how as coir__park() has it; being switched to by somebody else
 * is an exception here, InvalidSwitchError naming `func`. */
COIR__HIDDEN PyObject *coir__patience_wait(coir_patience *p, coir_list *list,
                                           PyObject *object, const char *what,
                                           const char *func, int *how);

/* Returns `res`, which may be NULL with an exception. */
COIR__HIDDEN PyObject *coir__patience_end(coir_patience *p, PyObject *res);

/* For getters of a property `hub`: this thread's. */
COIR__HIDDEN PyObject *coir__queue_get_hub(PyObject *op, void *closure);

/* `obj.__next__()` for the item that is next; steals it. */
static inline PyObject *
coir__queue_next(PyObject *item)
{
    if (item == PyExc_StopIteration)
        Py_CLEAR(item); /* NULL without an exception is the end */
    return item;
}

/* How many wait in it. */
static inline Py_ssize_t
coir__list_length(const coir_list *list)
{
    Py_ssize_t n = 0;
    for (const coir_node *node = list->head; node != NULL; node = node->next)
        n++;
    return n;
}

/* Append a formatted text to the string `text`; NULL stays NULL. */
#define COIR__APPEND(text, ...)                                               \
    do {                                                                      \
        PyObject *more_ = (text) ? PyUnicode_FromFormat(__VA_ARGS__) : NULL;  \
        PyUnicode_AppendAndDel(&(text), more_);                               \
    } while (0)

/* --- queueitems.c: the items of a queue ---------------------------------- */

enum coir_queue_kind { FIFO, LIFO, PRIORITY };

/* Which methods a subclass has for itself. */
enum coir_overridden {
    OVER_QSIZE = 1,
    OVER_PUT = 2,
    OVER_GET = 4,
    OVER_PEEK = 8,
    OVER_INIT = 16,
    OVER_CREATE = 32,
    OVER_SIZE = 64, /* qsize(), of gevent's */
};

enum { COIR__QUEUE_OVER = 7 }; /* how many flags */

/* Who waits for items, or for places. */
typedef struct {
    coir_list list;
    Py_ssize_t woken; /* out of the list, but did not run since */
} coir_line;

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    PyObject **ring; /* owned; a power of two of strong references */
    size_t cap;
    size_t head;
    size_t count;
    PyObject *queue;    /* strong; instead of the ring if not NULL */
    PyObject *dict;     /* strong, or NULL: eventlet's have attributes */
    Py_ssize_t maxsize; /* -1: none */
    coir_line getters;  /* and who peeks */
    coir_line putters;
    coir_list joiners;
    Py_ssize_t unfinished;
    uint8_t kind;   /* enum coir_queue_kind */
    uint8_t over;   /* enum coir_overridden */
    uint8_t counts; /* has join() */
    uint8_t is_shutdown;
} QueueObject;

/* The names of methods that may be overridden, in the order of the flags, and
 * of those that call them. Strong, and never released. */
enum coir_queue_name {
    NAME_QSIZE_,
    NAME_PUT_,
    NAME_GET_,
    NAME_PEEK_,
    NAME_INIT_,
    NAME_CREATE_,
    NAME_QSIZE,
    NAME_PUT,
    NAME_GET,
    NAME_PEEK,
    QUEUE_NAMES
};
extern PyObject *coir__queue_names[QUEUE_NAMES] COIR__HIDDEN;

COIR__HIDDEN int coir__queue_items_init(void);
/* Import what is needed of the standard library. */
COIR__HIDDEN int coir__queue_items_load(void);

/* Drop what is in the ring. Runs any code. */
COIR__HIDDEN void coir__queue_ring_clear(QueueObject *q);
/* The items in a new list. */
COIR__HIDDEN PyObject *coir__queue_list(const QueueObject *q);
/* From now on they are in a deque, q->queue. 0, or -1 with an exception. */
COIR__HIDDEN int coir__queue_use_deque(QueueObject *q);
/* Items given to the constructor: not limited by maxsize, and not counted. */
COIR__HIDDEN int coir__queue_add_items(QueueObject *q, PyObject *items);
/* A new container of the kind for them. */
COIR__HIDDEN PyObject *coir__queue_create(const QueueObject *q,
                                          PyObject *items);

/* _qsize(), _put(), _get() and _peek(), not overridden. */
COIR__HIDDEN Py_ssize_t coir__queue_base_qsize(const QueueObject *q);
COIR__HIDDEN int coir__queue_base_put(QueueObject *q, PyObject *item);
COIR__HIDDEN PyObject *coir__queue_base_get(QueueObject *q);
COIR__HIDDEN PyObject *coir__queue_base_peek(const QueueObject *q);

/* The same as the subclass has them; `name`: qsize(), or _qsize(). */
COIR__HIDDEN Py_ssize_t coir__queue_call_qsize(QueueObject *q,
                                               enum coir_queue_name name);
COIR__HIDDEN int coir__queue_put_item(QueueObject *q, PyObject *item);
COIR__HIDDEN PyObject *coir__queue_get_item(QueueObject *q, int peek);

static inline Py_ssize_t
coir__queue_size(QueueObject *q)
{
    if (COIR__UNLIKELY(q->over & (OVER_QSIZE | OVER_SIZE)))
        return coir__queue_call_qsize(q, q->over & OVER_SIZE ? NAME_QSIZE
                                                             : NAME_QSIZE_);
    if (COIR__LIKELY(q->queue == NULL))
        return (Py_ssize_t)q->count;
    return coir__queue_base_qsize(q);
}

/* --- queuebase.c: what gevent's queues share with eventlet's ------------- */

/* How many may be put, of `n` that are there; PY_SSIZE_T_MAX without a limit.
 * `more`: getters that are about to wait. */
COIR__HIDDEN Py_ssize_t coir__queue_room(const QueueObject *q, Py_ssize_t n,
                                         Py_ssize_t more);

/* How many stand in it, or did and have not run since. */
static inline Py_ssize_t
coir__queue_standing(const coir_line *l)
{
    return l->woken + coir__list_length(&l->list);
}

/* Wake the first, who is brought `value`, or NULL. */
static inline void
coir__queue_wake_first(coir_line *l, PyObject *value)
{
    l->woken++;
    coir__wake(coir__wait_of(l->list.head), Py_XNewRef(value));
}

/* Wake waiting getters, or putters, for what there is for them. */
COIR__HIDDEN void coir__queue_wake_some(QueueObject *q, coir_line *l,
                                        Py_ssize_t more);

static inline void
coir__queue_wake(QueueObject *q, coir_line *l, Py_ssize_t more)
{
    if (COIR__UNLIKELY(l->list.head != NULL))
        coir__queue_wake_some(q, l, more);
}

/* Wait in line. 1: look again; 2: go ahead in any case, as True was brought;
 * 0: the time is over; -1 with an exception. */
COIR__HIDDEN int coir__queue_wait(QueueObject *q, coir_line *l,
                                  coir_patience *p, const char *what,
                                  const char *func);

/* Those who wait in join(). */
COIR__HIDDEN void coir__queue_wake_joiners(QueueObject *q);

/* The arguments (block, timeout) and (item, block, timeout) of a method. */
static inline int
coir__queue_get_args(const char *func, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames, PyObject **in)
{
    static const char *const names[] = {"block", "timeout"};
    if (COIR__LIKELY(nargs == 0 && kwnames == NULL))
        return 0;
    return coir__arguments(func, names, 2, args, nargs, kwnames, in);
}

static inline int
coir__queue_put_args(PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames, PyObject **in)
{
    static const char *const names[] = {"item", "block", "timeout"};
    if (COIR__LIKELY(nargs == 1 && kwnames == NULL)) {
        in[0] = args[0];
        return 0;
    }
    if (coir__arguments("put", names, 3, args, nargs, kwnames, in) < 0)
        return -1;
    if (in[0] != NULL)
        return 0;
    PyErr_SetString(PyExc_TypeError, "put() missing required argument 'item'");
    return -1;
}

/* A new one, empty: `types` are those without, and with join(), then the one
 * with priorities, and the one whose last is first; `names`: of the methods
 * in the order of coir_overridden, QUEUE_NAMES for none. */
COIR__HIDDEN PyObject *coir__queue_make(PyTypeObject *type,
                                        PyTypeObject *const *types,
                                        const enum coir_queue_name *names);

/* A number, or NULL or None for -1, into *n. 0, or -1 with an exception. */
COIR__HIDDEN int coir__queue_read_size(PyObject *value, Py_ssize_t *n);

/* Methods. */
COIR__HIDDEN PyObject *coir__queue_empty(PyObject *op, PyObject *unused);
COIR__HIDDEN PyObject *coir__queue_full(PyObject *op, PyObject *unused);
COIR__HIDDEN PyObject *coir__queue_task_done(PyObject *op, PyObject *unused);
COIR__HIDDEN PyObject *coir__queue_init_(PyObject *op, PyObject *maxsize);
COIR__HIDDEN PyObject *coir__queue_qsize_(PyObject *op, PyObject *unused);
COIR__HIDDEN PyObject *coir__queue_put_(PyObject *op, PyObject *item);
COIR__HIDDEN PyObject *coir__queue_get_(PyObject *op, PyObject *unused);

/* Attributes. */
COIR__HIDDEN PyObject *coir__queue_get_maxsize(PyObject *op, void *closure);
COIR__HIDDEN PyObject *coir__queue_get_queue(PyObject *op, void *closure);
COIR__HIDDEN int coir__queue_set_queue(PyObject *op, PyObject *value,
                                       void *closure);
COIR__HIDDEN PyObject *coir__queue_get_unfinished(PyObject *op, void *closure);

/* Slots. */
COIR__HIDDEN int coir__queue_traverse(PyObject *op, visitproc visit,
                                      void *arg);
COIR__HIDDEN int coir__queue_clear(PyObject *op);
COIR__HIDDEN void coir__queue_dealloc(PyObject *op);

/* --- channel.c ----------------------------------------------------------- */

COIR__HIDDEN int coir__channel_types_init(PyObject *module);

#endif
