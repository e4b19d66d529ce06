/* queue.h - what the files of queues and channels share. */
#ifndef COIR_QUEUE_H
#define COIR_QUEUE_H

#include "hub.h"

/* --- patience.c: arguments and waiting ----------------------------------- */

/* queue.Empty, queue.Full and queue.ShutDown, strong, once coir__queue_load()
 * was called; before Python 3.13, which has it, the last is our own. */
extern PyObject *coir__exc_empty COIR__HIDDEN;
extern PyObject *coir__exc_full COIR__HIDDEN;
extern PyObject *coir__exc_shutdown COIR__HIDDEN;

/* Import what is needed of the standard library, with the first queue: not
 * every program that has greenlets has queues. 0, or -1 with an exception. */
COIR__HIDDEN int coir__queue_load(void);

/* Arguments of a method by position or name, into `out`; what is missing
 * stays as it is there. The first `min` (0 or 1) must be given. Borrowed.
 * 0, or -1 with TypeError. */
COIR__HIDDEN int coir__parse(const char *func, PyObject *const *args,
                             Py_ssize_t nargs, PyObject *kwnames,
                             Py_ssize_t min, Py_ssize_t max,
                             const char *const *names, PyObject **out);

/* How long a call waits. */
typedef struct {
    coir_pythread *t;
    PyObject *timeout; /* borrowed: a gevent.Timeout that was given, or NULL */
    int64_t ns;        /* in all, COIR_FOREVER for no limit */
    int64_t start;     /* set by the first wait */
    int in_hub;        /* the hub calls */
    int waited;
    /* Of the last wait, if it did not end by being woken or by time: had it
     * been woken, and what was it brought (strong or NULL)? */
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
};

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

/* The names of methods that may be overridden, in the order of the flags. */
extern PyObject *coir__queue_names[4] COIR__HIDDEN;

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

/* _qsize(), _put(), _get() and _peek(), not overridden. */
COIR__HIDDEN Py_ssize_t coir__queue_base_qsize(const QueueObject *q);
COIR__HIDDEN int coir__queue_base_put(QueueObject *q, PyObject *item);
COIR__HIDDEN PyObject *coir__queue_base_get(QueueObject *q);
COIR__HIDDEN PyObject *coir__queue_base_peek(const QueueObject *q);

/* The same as the subclass has them. */
COIR__HIDDEN Py_ssize_t coir__queue_call_qsize(QueueObject *q);
COIR__HIDDEN int coir__queue_put_item(QueueObject *q, PyObject *item);
COIR__HIDDEN PyObject *coir__queue_get_item(QueueObject *q, int peek);

static inline Py_ssize_t
coir__queue_size(QueueObject *q)
{
    if (COIR__UNLIKELY(q->over & OVER_QSIZE))
        return coir__queue_call_qsize(q);
    if (COIR__LIKELY(q->queue == NULL))
        return (Py_ssize_t)q->count;
    return coir__queue_base_qsize(q);
}

/* --- channel.c ----------------------------------------------------------- */

COIR__HIDDEN int coir__channel_types_init(PyObject *module);

#endif
