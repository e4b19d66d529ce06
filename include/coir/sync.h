/* coir/sync.h - events, semaphores, mutexes, conditions and queues, for green
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

/* Those who wait. For the types below only. */
typedef struct coir_waiter coir_waiter;
typedef struct coir_waitq {
    int lock;
    coir_waiter *head;
    coir_waiter *tail;
} coir_waitq;

/* --- event: a flag to wait for ------------------------------------------- */

typedef struct coir_event {
    coir_waitq queue;
    int set;
} coir_event;

#define COIR_EVENT_INIT                                                       \
    {                                                                         \
        {0, NULL, NULL}, 0                                                    \
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
        {0, NULL, NULL}, count                                                \
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
        {0, NULL, NULL}, 0, 0, NULL                                           \
    }
#define COIR_MUTEX_RECURSIVE_INIT                                             \
    {                                                                         \
        {0, NULL, NULL}, 1, 0, NULL                                           \
    }

COIR_API void coir_mutex_init(coir_mutex *m, int recursive);
/* The owner is the green thread, or the OS thread that has no hub.
 * COIR_EDEADLK: it has it already, and it is not recursive. */
COIR_API int coir_mutex_lock(coir_mutex *m, int64_t timeout_ns);
/* It is handed to the first who waits. COIR_EINVAL: not the owner. */
COIR_API int coir_mutex_unlock(coir_mutex *m);
COIR_API int coir_mutex_is_locked(const coir_mutex *m);

/* --- condition ----------------------------------------------------------- */

typedef struct coir_condition {
    coir_waitq queue;
} coir_condition;

#define COIR_CONDITION_INIT                                                   \
    {                                                                         \
        {                                                                     \
            0, NULL, NULL                                                     \
        }                                                                     \
    }

COIR_API void coir_condition_init(coir_condition *c);
/* Unlock the mutex, which the caller owns once, wait for a notification, lock
 * it again. The mutex is owned on return, whatever is returned, but with
 * COIR_EDEADLK, or COIR_EINVAL, when it was not owned (once) before. */
COIR_API int coir_condition_wait(coir_condition *c, coir_mutex *m,
                                 int64_t timeout_ns);
/* Wake the first, or all, of those who wait. */
COIR_API void coir_condition_notify(coir_condition *c);
COIR_API void coir_condition_notify_all(coir_condition *c);

/* --- queue --------------------------------------------------------------- */

/* Of pointers. With a capacity of 0 it is a channel: who puts waits until
 * somebody has got it. */
typedef struct coir_queue {
    coir_waitq getters; /* its lock is that of the whole queue */
    coir_waitq putters;
    void **items;
    unsigned capacity;
    unsigned head;
    unsigned count;
    int closed;
} coir_queue;

/* COIR_ENOMEM; COIR_EINVAL above 2^30. */
COIR_API int coir_queue_init(coir_queue *q, unsigned capacity);
/* Free what init took. Nobody may wait; items that are left are forgotten. */
COIR_API void coir_queue_fini(coir_queue *q);
/* Wait for room. COIR_ECLOSED: it was not put. */
COIR_API int coir_queue_put(coir_queue *q, void *item, int64_t timeout_ns);
/* Wait for an item. COIR_ECLOSED: there are none left, nor will be. */
COIR_API int coir_queue_get(coir_queue *q, void **item, int64_t timeout_ns);
/* Those who wait to put, and to get, are given COIR_ECLOSED; items that are in
 * it can still be got. */
COIR_API void coir_queue_close(coir_queue *q);
COIR_API unsigned coir_queue_count(const coir_queue *q);

#ifdef __cplusplus
}
#endif

#endif
