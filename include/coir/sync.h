/* coir/sync.h - events, semaphores, locks, conditions and queues, for green
 * threads and native threads together.
 *
 * All of them wait in the same way, in a queue, first come, first served. A
 * green thread that waits lets the others of its OS thread run; an OS thread
 * that has no hub just blocks. Either may release what the other waits for.
 *
 *     static coir_event ready = COIR_EVENT_INIT;
 *
 *     coir_event_wait(&ready, COIR_FOREVER);     in one thread
 *     coir_event_set(&ready);                    in another
 *
 * Owner:   the caller's memory, zero-initialised or by X_init(). There is
 *          nothing to be freed but of a queue; and it must stay until all who
 *          wait have returned.
 * Threads: any, and callbacks of loops and hubs, for all that does not wait.
 *          Not for signal handlers.
 * Blocks:  what takes a timeout: nanoseconds, COIR_FOREVER for no limit, 0 not
 *          to wait at all.
 * Errors:  0, or COIR_ETIMEDOUT, COIR_ECANCELED, COIR_EDEADLK or COIR_EINVAL
 *          as for the waits of coir/hub.h; then nothing was taken. */
#ifndef COIR_SYNC_H
#define COIR_SYNC_H

#include <coir/hub.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Those who wait: a part of all types below. Public so that it can be
 * embedded; its members belong to the library. */
typedef struct coir_waiter coir_waiter;
typedef struct coir_waitq {
    int lock;
    unsigned count;
    coir_waiter *head;
    coir_waiter *tail;
} coir_waitq;

/* A place in a queue, likewise. */
struct coir_waiter {
    coir_waiter *next, *prev;
    coir_waitq *queue;           /* NULL: taken out */
    coir_waitq *guard;           /* whose lock guards `queue` */
    coir_green *green;           /* NULL: `thread` or `callback` */
    struct coir__select *select; /* of which it is a part; or NULL */
    void *value;                 /* what is handed over; or who it is */
    int result;                  /* what its wait is to return */
    int word;                    /* of an OS thread: 1 once it is woken */
    unsigned forks;              /* of which process it is */
    uint8_t callback;            /* it is that of a coir_callback */
    uint8_t variant;             /* takes nothing; or puts at the front */
};

/* How many wait, to look at: `queue` of what is below. */
COIR_API unsigned coir_waitq_count(const coir_waitq *queue);

#define COIR__WAITQ_INIT                                                      \
    {                                                                         \
        0, 0, NULL, NULL                                                      \
    }

/* --- event: a flag to wait for ------------------------------------------- */

typedef struct coir_event {
    coir_waitq queue;
    int set;
} coir_event;

#define COIR_EVENT_INIT                                                       \
    {                                                                         \
        COIR__WAITQ_INIT, 0                                                   \
    }

COIR_API void coir_event_init(coir_event *e);
/* Set it, and wake all who wait; it stays set. */
COIR_API void coir_event_set(coir_event *e);
COIR_API void coir_event_clear(coir_event *e);
COIR_API int coir_event_is_set(const coir_event *e);
/* 0 once it is set, also if it was cleared again meanwhile. */
COIR_API int coir_event_wait(coir_event *e, int64_t timeout_ns);

/* --- semaphore ----------------------------------------------------------- */

typedef struct coir_semaphore {
    coir_waitq queue;
    unsigned count;
} coir_semaphore;

#define COIR_SEMAPHORE_INIT(count)                                            \
    {                                                                         \
        COIR__WAITQ_INIT, count                                               \
    }

COIR_API void coir_semaphore_init(coir_semaphore *s, unsigned count);
/* Take one. Who waits is served before who comes later. */
COIR_API int coir_semaphore_acquire(coir_semaphore *s, int64_t timeout_ns);
/* Give `count`: to those who wait, the rest is kept. */
COIR_API void coir_semaphore_release(coir_semaphore *s, unsigned count);
COIR_API unsigned coir_semaphore_count(const coir_semaphore *s);

/* --- mutex --------------------------------------------------------------- */

typedef struct coir_mutex {
    coir_waitq queue;
    int recursive;
    int depth;
    const void *owner;
} coir_mutex;

#define COIR_MUTEX_INIT                                                       \
    {                                                                         \
        COIR__WAITQ_INIT, 0, 0, NULL                                          \
    }
#define COIR_MUTEX_RECURSIVE_INIT                                             \
    {                                                                         \
        COIR__WAITQ_INIT, 1, 0, NULL                                          \
    }

COIR_API void coir_mutex_init(coir_mutex *m, int recursive);
/* The owner is the green thread, or the OS thread that has no hub.
 * COIR_EDEADLK: it has it already, and it is not recursive. */
COIR_API int coir_mutex_lock(coir_mutex *m, int64_t timeout_ns);
/* It is handed to the first who waits. COIR_EINVAL: not the owner. */
COIR_API int coir_mutex_unlock(coir_mutex *m);
COIR_API int coir_mutex_is_locked(const coir_mutex *m);

/* --- lock for readers and writers ---------------------------------------- */

/* Many may read, or one may write. Who comes while somebody waits, waits, too:
 * neither writers nor readers starve. So who reads must not lock it again, not
 * even to read: it may wait for a writer who waits for it. */
typedef struct coir_rwlock {
    coir_waitq queue;
    unsigned readers;
    const void *writer;
} coir_rwlock;

#define COIR_RWLOCK_INIT                                                      \
    {                                                                         \
        COIR__WAITQ_INIT, 0, NULL                                             \
    }

COIR_API void coir_rwlock_init(coir_rwlock *l);
/* COIR_EDEADLK: the caller is the one that writes. */
COIR_API int coir_rwlock_read(coir_rwlock *l, int64_t timeout_ns);
COIR_API int coir_rwlock_write(coir_rwlock *l, int64_t timeout_ns);
/* Let go of what the caller has: as the one that writes, else as one of those
 * that read. COIR_EINVAL: neither can be. */
COIR_API int coir_rwlock_unlock(coir_rwlock *l);

/* --- condition ----------------------------------------------------------- */

typedef struct coir_condition {
    coir_waitq queue;
} coir_condition;

#define COIR_CONDITION_INIT                                                   \
    {                                                                         \
        COIR__WAITQ_INIT                                                      \
    }

COIR_API void coir_condition_init(coir_condition *c);
/* Unlock the mutex, however often the caller has locked it, wait for a
 * notification, lock it as often again. The mutex is owned on return, whatever
 * is returned, but with COIR_EDEADLK, or COIR_EINVAL, when it was not owned
 * before. */
COIR_API int coir_condition_wait(coir_condition *c, coir_mutex *m,
                                 int64_t timeout_ns);
/* Wait until `holds(arg)`, which is asked with the mutex locked, now and after
 * each notification. */
COIR_API int coir_condition_wait_for(coir_condition *c, coir_mutex *m,
                                     int (*holds)(void *arg), void *arg,
                                     int64_t timeout_ns);
/* Wake the first, or all, of those who wait. */
COIR_API void coir_condition_notify(coir_condition *c);
COIR_API void coir_condition_notify_all(coir_condition *c);

/* --- barrier, wait group, once ------------------------------------------- */

/* All wait until so many have come; then it is as it was at first. */
typedef struct coir_barrier {
    coir_waitq queue;
    unsigned parties;
} coir_barrier;

#define COIR_BARRIER_INIT(parties)                                            \
    {                                                                         \
        COIR__WAITQ_INIT, parties                                             \
    }

COIR_API void coir_barrier_init(coir_barrier *b, unsigned parties);
/* 1 for the last to come, 0 for the others. One whose wait fails has not
 * come. */
COIR_API int coir_barrier_wait(coir_barrier *b, int64_t timeout_ns);

/* A number of things that are not done yet. */
typedef struct coir_group {
    coir_waitq queue;
    unsigned count;
} coir_group;

#define COIR_GROUP_INIT(count)                                                \
    {                                                                         \
        COIR__WAITQ_INIT, count                                               \
    }

COIR_API void coir_group_init(coir_group *g, unsigned count);
COIR_API void coir_group_add(coir_group *g, unsigned count);
/* One is done. COIR_EINVAL: all were. */
COIR_API int coir_group_done(coir_group *g);
/* 0 once all are done, also if some were added again meanwhile. */
COIR_API int coir_group_wait(coir_group *g, int64_t timeout_ns);
COIR_API unsigned coir_group_count(const coir_group *g);

/* Something that is to be done once. */
typedef struct coir_once_flag {
    coir_mutex mutex;
    int done;
} coir_once_flag;

#define COIR_ONCE_FLAG_INIT                                                   \
    {                                                                         \
        COIR_MUTEX_INIT, 0                                                    \
    }

/* Call `fn(arg)`, unless that has been done; while another one does, wait. If
 * it returns a negative error that is returned, and the next one calls it.
 * COIR_EDEADLK: called by `fn` itself. */
COIR_API int coir_call_once(coir_once_flag *o, int (*fn)(void *arg),
                            void *arg);

/* --- queue --------------------------------------------------------------- */

/* Of pointers. With a capacity of 0 it is a channel: who puts waits until
 * somebody has got it. */
typedef struct coir_queue {
    coir_waitq getters; /* its lock is that of the whole queue */
    coir_waitq putters;
    void **items; /* a ring */
    unsigned size;
    unsigned capacity;
    unsigned head;
    unsigned count;
    int closed;
} coir_queue;

#define COIR_QUEUE_UNBOUNDED UINT32_MAX

/* Memory for `capacity` items is taken now; for one that is unbounded, by
 * those who put. COIR_ENOMEM; COIR_EINVAL above 2^30. */
COIR_API int coir_queue_init(coir_queue *q, unsigned capacity);
/* Free what it took. Nobody may wait; items that are left are forgotten. */
COIR_API void coir_queue_fini(coir_queue *q);
/* Wait for room. COIR_ECLOSED: it was not put. COIR_ENOMEM, if unbounded. */
COIR_API int coir_queue_put(coir_queue *q, void *item, int64_t timeout_ns);
/* The same, to be got before those that are in it. */
COIR_API int coir_queue_put_front(coir_queue *q, void *item,
                                  int64_t timeout_ns);
/* Wait for an item. COIR_ECLOSED: there are none left, nor will be. */
COIR_API int coir_queue_get(coir_queue *q, void **item, int64_t timeout_ns);
/* The same, but leave it there. COIR_EINVAL: a channel has no place for it. */
COIR_API int coir_queue_peek(coir_queue *q, void **item, int64_t timeout_ns);
/* Those who wait to put, and to get, are given COIR_ECLOSED; items that are in
 * it can still be got. */
COIR_API void coir_queue_close(coir_queue *q);
/* Items above the new capacity stay, but none is put until there is room.
 * COIR_ENOMEM; COIR_EINVAL as for init. */
COIR_API int coir_queue_set_capacity(coir_queue *q, unsigned capacity);
COIR_API unsigned coir_queue_count(const coir_queue *q);

/* --- one of several ------------------------------------------------------ */

enum coir_case_kind {
    COIR_CASE_NONE,      /* never happens */
    COIR_CASE_EVENT,     /* coir_event_wait() */
    COIR_CASE_ACQUIRE,   /* coir_semaphore_acquire() */
    COIR_CASE_AVAILABLE, /* the same, but leave it there */
    COIR_CASE_GROUP,     /* coir_group_wait() */
    COIR_CASE_PUT,       /* coir_queue_put(), of `item` */
    COIR_CASE_GET,       /* coir_queue_get(), to `item` */
    COIR_CASE_PEEK       /* coir_queue_peek(), to `item` */
};

typedef struct coir_case {
    int kind;     /* enum coir_case_kind */
    int result;   /* 0, or COIR_ECLOSED, once it has happened */
    void *object; /* the event, ... */
    void *item;
} coir_case;

/* Wait until one of `count` cases has happened: returns its index. Exactly one
 * does; of several that can, any. COIR_ENOMEM. */
COIR_API int coir_select(coir_case *cases, unsigned count, int64_t timeout_ns);

/* --- to wait without a thread -------------------------------------------- */

/* A call that the hub makes when a case has happened, as if a green thread had
 * waited for it: it stands in line like that, and what it takes is its own. To
 * build on: such are a future of another library, or a link to an event. */
typedef struct coir_callback {
    void (*fn)(struct coir_callback *cb);
    void *data;     /* for the caller */
    coir_case what; /* what to wait for; in the call, what happened */
    coir_hub *hub;
    coir_waiter waiter;
    coir_call call;
} coir_callback;

/* Set `fn`, `data` and `what`; then start it, in any thread: `fn` is called
 * once, in `hub`, which must stay, soon if the case can happen now. The memory
 * must stay until then. COIR_EINVAL: not a case to wait for; COIR_ENOMEM. */
COIR_API int coir_callback_start(coir_callback *cb, coir_hub *hub);
/* Returns 1: it waits no more, and is not called. 0: it does not wait; it was
 * called, or will be, as the case has happened. */
COIR_API int coir_callback_stop(coir_callback *cb);

#ifdef __cplusplus
}
#endif

#endif
