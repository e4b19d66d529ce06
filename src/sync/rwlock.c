/* rwlock.c - a lock that many may have to read, or one to write.
 *
 * Readers and writers stand in one line. Who comes while nobody waits, and can
 * have it, has it; else it waits. Whoever lets go hands it on: to a writer, if
 * one is the first in line, else to all readers in front of the first writer.
 * So does one that gave up waiting, for it may be a writer who kept readers
 * back. */
#include "sync/waitq.h"

const char coir__what_read[] = "rwlock, to read";
const char coir__what_write[] = "rwlock, to write";

/* It is read without the lock, too. */
static inline void
set_writer(coir_rwlock *l, const void *writer)
{
    __atomic_store_n(&l->writer, writer, __ATOMIC_RELAXED);
}

const void *
coir__rwlock_writer(const void *lock)
{
    return __atomic_load_n(&((const coir_rwlock *)lock)->writer,
                           __ATOMIC_RELAXED);
}

void
coir_rwlock_init(coir_rwlock *l)
{
    *l = (coir_rwlock)COIR_RWLOCK_INIT;
}

/* With the lock held. The value of a writer's waiter is who it is, that of a
 * reader's NULL. */
static void
hand_on(coir_rwlock *l, coir__wakes *wakes)
{
    const coir_waiter *first;
    while ((first = l->queue.head) != NULL && l->writer == NULL) {
        if (first->value != NULL) {
            if (l->readers > 0)
                break;
            set_writer(l, first->value);
        }
        else
            l->readers++;
        coir__wakes_add(wakes, coir__waitq_pop(&l->queue));
    }
}

static int
wait_for(coir_rwlock *l, const char *what, const void *writer,
         int64_t timeout_ns)
{
    void *value = (void *)writer;
    int err = coir__waitq_wait(&l->queue, l, what, &value, 0, timeout_ns);
    if (err < 0) {
        coir__wakes wakes = {NULL, NULL};
        coir__waitq_lock(&l->queue);
        hand_on(l, &wakes);
        coir__waitq_unlock(&l->queue);
        coir__wake(&wakes);
    }
    return err;
}

int
coir_rwlock_read(coir_rwlock *l, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    coir__caller caller = coir__caller_get();
    int err = 0;
    coir__waitq_lock(&l->queue);
    if (coir__likely(l->writer == NULL && l->queue.head == NULL))
        l->readers++;
    else if (l->writer != coir__caller_id(&caller))
        return wait_for(l, coir__what_read, NULL, timeout_ns);
    else
        err = COIR_EDEADLK;
    coir__waitq_unlock(&l->queue);
    return err;
}

int
coir_rwlock_write(coir_rwlock *l, int64_t timeout_ns)
{
    coir__sim_point(timeout_ns);
    coir__caller caller = coir__caller_get();
    const void *me = coir__caller_id(&caller);
    int err = 0;
    coir__waitq_lock(&l->queue);
    if (coir__likely(l->writer == NULL && l->readers == 0 &&
                     l->queue.head == NULL))
        set_writer(l, me);
    else if (l->writer != me)
        return wait_for(l, coir__what_write, me, timeout_ns);
    else
        err = COIR_EDEADLK;
    coir__waitq_unlock(&l->queue);
    return err;
}

int
coir_rwlock_unlock(coir_rwlock *l)
{
    coir__caller caller = coir__caller_get();
    coir__wakes wakes = {NULL, NULL};
    int err = 0;
    coir__waitq_lock(&l->queue);
    if (l->readers > 0)
        l->readers--;
    else if (l->writer != NULL && l->writer == coir__caller_id(&caller))
        set_writer(l, NULL);
    else
        err = COIR_EINVAL;
    hand_on(l, &wakes);
    coir__waitq_unlock(&l->queue);
    coir__wake(&wakes);
    return err;
}
