/* waitq.h - the queue in which everything of coir/sync.h waits. See waitq.c.
 */
#ifndef COIR__SYNC_WAITQ_H
#define COIR__SYNC_WAITQ_H

#include <coir/sync.h>

#include "hub/internal.h"

/* For a moment only: no call in between may wait. */
void coir__waitq_lock(coir_waitq *q);
void coir__waitq_unlock(coir_waitq *q);

/* Who asks: a green thread, an OS thread without a hub, or nobody who may
 * wait. */
typedef struct coir__caller {
    coir_green *green;
    int may_wait;
} coir__caller;

coir__caller coir__caller_get(void);
/* As an owner of mutexes: an address that is this caller's alone. */
const void *coir__caller_id(const coir__caller *caller);

/* With `q` locked: stand in line. `own` is room for the waiter of an OS
 * thread, which must stay until the wait is over. NULL, and `*err`, if the
 * caller may not wait. */
coir_waiter *coir__waitq_append(coir_waitq *q, const coir__caller *caller,
                                coir_waiter *own, int64_t timeout_ns,
                                int *err);
/* The same for a `q` that has no lock of its own: that of `guard` is held. */
coir_waiter *coir__waitq_append_to(coir_waitq *q, coir_waitq *guard,
                                   const coir__caller *caller,
                                   coir_waiter *own, int64_t timeout_ns,
                                   int *err);

/* With `q` unlocked: wait until woken. The waiter's result, 0 unless it was
 * set, or why not. */
int coir__waitq_block(coir_waiter *w, const char *what, const void *object,
                      int64_t timeout_ns);

/* All of that; unlocks `q`. */
int coir__waitq_wait(coir_waitq *q, const coir__caller *caller,
                     const char *what, const void *object, int64_t timeout_ns);

/* With `q` locked: take the first one out, NULL if there is none. To be woken
 * once `q` is unlocked. */
coir_waiter *coir__waitq_pop(coir_waitq *q);
void coir__waiter_wake(coir_waiter *w);
/* The same for all: take them out, as a list, ... */
coir_waiter *coir__waitq_pop_all(coir_waitq *q);
/* ... and wake them in order. */
void coir__waiter_wake_all(coir_waiter *list);

#endif
