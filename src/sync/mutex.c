/* mutex.c - mutexes and conditions.
 *
 * A mutex that is unlocked is handed to the first who waits for it, who is its
 * owner from then on, before it runs: nobody can take it in between. */
#include "sync/waitq.h"

/* It is read without the lock, too. */
static void
set_owner(coir_mutex *m, const void *owner, int depth)
{
    __atomic_store_n(&m->owner, owner, __ATOMIC_RELAXED);
    m->depth = depth;
}

void
coir_mutex_init(coir_mutex *m, int recursive)
{
    *m = (coir_mutex)COIR_MUTEX_INIT;
    m->recursive = recursive;
}

int
coir_mutex_lock(coir_mutex *m, int64_t timeout_ns)
{
    coir__caller caller = coir__caller_get();
    const void *me = coir__caller_id(&caller);
    int err = 0;
    coir__waitq_lock(&m->queue);
    if (coir__likely(m->owner == NULL)) {
        set_owner(m, me, 1);
    }
    else if (m->owner != me)
        return coir__waitq_wait(&m->queue, &caller, "mutex", m, timeout_ns);
    else if (m->recursive)
        m->depth++;
    else
        err = COIR_EDEADLK;
    coir__waitq_unlock(&m->queue);
    return err;
}

int
coir_mutex_unlock(coir_mutex *m)
{
    coir__caller caller = coir__caller_get();
    const void *me = coir__caller_id(&caller);
    coir_waiter *w = NULL;
    int err = 0;
    coir__waitq_lock(&m->queue);
    if (m->owner != me)
        err = COIR_EINVAL;
    else if (--m->depth == 0) {
        w = coir__waitq_pop(&m->queue);
        set_owner(m, w != NULL ? w->owner : NULL, w != NULL);
    }
    coir__waitq_unlock(&m->queue);
    if (w != NULL)
        coir__waiter_wake(w);
    return err;
}

int
coir_mutex_is_locked(const coir_mutex *m)
{
    return __atomic_load_n(&m->owner, __ATOMIC_RELAXED) != NULL;
}

/* --- conditions ---------------------------------------------------------- */

void
coir_condition_init(coir_condition *c)
{
    *c = (coir_condition)COIR_CONDITION_INIT;
}

/* Whatever happened: neither a cancel nor a deadline ends this. */
static int
lock_again(coir_mutex *m, coir_green *g)
{
    if (g == NULL)
        return coir_mutex_lock(m, COIR_FOREVER);
    int64_t deadline_ns = g->deadline_ns;
    g->deadline_ns = COIR_FOREVER;
    g->shields++;
    int err = coir_mutex_lock(m, COIR_FOREVER);
    g->shields--;
    g->deadline_ns = deadline_ns;
    return err;
}

int
coir_condition_wait(coir_condition *c, coir_mutex *m, int64_t timeout_ns)
{
    coir__caller caller = coir__caller_get();
    if (__atomic_load_n(&m->owner, __ATOMIC_RELAXED) !=
            coir__caller_id(&caller) ||
        m->depth != 1)
        return COIR_EINVAL;
    coir_waiter own;
    int err;
    coir__waitq_lock(&c->queue);
    coir_waiter *w =
        coir__waitq_append(&c->queue, &caller, &own, timeout_ns, &err);
    coir__waitq_unlock(&c->queue);
    if (w == NULL)
        return err;
    /* In line already: a notification from now on is ours. */
    (void)coir_mutex_unlock(m);
    err = coir__waitq_block(w, "condition", c, timeout_ns);
    int locked = lock_again(m, caller.green);
    return locked < 0 ? locked : err;
}

void
coir_condition_notify(coir_condition *c)
{
    coir__waitq_lock(&c->queue);
    coir_waiter *w = coir__waitq_pop(&c->queue);
    coir__waitq_unlock(&c->queue);
    if (w != NULL)
        coir__waiter_wake(w);
}

void
coir_condition_notify_all(coir_condition *c)
{
    coir__waitq_lock(&c->queue);
    coir_waiter *list = coir__waitq_pop_all(&c->queue);
    coir__waitq_unlock(&c->queue);
    coir__waiter_wake_all(list);
}
