/* mutex.c - mutexes and conditions.
 *
 * A mutex that is unlocked is handed to the first who waits for it, who is its
 * owner from then on, before it runs: nobody can take it in between. */
#include "sync/waitq.h"

const char coir__what_mutex[] = "mutex";

/* It is read without the lock, too. */
static inline void
set_owner(coir_mutex *m, const void *owner, int depth)
{
    __atomic_store_n(&m->owner, owner, __ATOMIC_RELAXED);
    m->depth = depth;
}

static inline const void *
get_owner(const coir_mutex *m)
{
    return __atomic_load_n(&m->owner, __ATOMIC_RELAXED);
}

const void *
coir__mutex_owner(const void *mutex)
{
    return get_owner(mutex);
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
    void *value = (void *)me; /* who is to be its owner */
    int err = 0;
    coir__sim_point(timeout_ns);
    coir__waitq_lock(&m->queue);
    if (coir__likely(m->owner == NULL))
        set_owner(m, me, 1);
    else if (m->owner != me)
        return coir__waitq_wait(&m->queue, m, coir__what_mutex, &value, 0,
                                timeout_ns);
    else if (m->recursive)
        m->depth++;
    else
        err = COIR_EDEADLK;
    coir__waitq_unlock(&m->queue);
    return err;
}

/* By its owner, as often as it was locked: hand it over. */
static void
let_go(coir_mutex *m)
{
    coir__wakes wakes = {NULL, NULL};
    coir__waitq_lock(&m->queue);
    coir_waiter *w = coir__waitq_pop(&m->queue);
    if (w != NULL) {
        set_owner(m, w->value, 1);
        coir__wakes_add(&wakes, w);
    }
    else
        set_owner(m, NULL, 0);
    coir__waitq_unlock(&m->queue);
    coir__wake(&wakes);
}

int
coir_mutex_unlock(coir_mutex *m)
{
    coir__caller caller = coir__caller_get();
    /* Nobody else makes the caller its owner, or another one if it is. */
    if (get_owner(m) != coir__caller_id(&caller))
        return COIR_EINVAL;
    if (coir__unlikely(m->depth > 1))
        m->depth--;
    else
        let_go(m);
    return 0;
}

int
coir_mutex_is_locked(const coir_mutex *m)
{
    return get_owner(m) != NULL;
}

/* --- conditions ---------------------------------------------------------- */

void
coir_condition_init(coir_condition *c)
{
    *c = (coir_condition)COIR_CONDITION_INIT;
}

/* Whatever happened: neither a cancel nor a deadline ends this. */
static int
lock_again(coir_mutex *m, coir_green *g, int depth)
{
    int64_t deadline_ns = COIR_FOREVER;
    if (g != NULL) {
        deadline_ns = g->deadline_ns;
        g->deadline_ns = COIR_FOREVER;
        g->shields++;
    }
    int err = coir_mutex_lock(m, COIR_FOREVER);
    if (g != NULL) {
        g->shields--;
        g->deadline_ns = deadline_ns;
    }
    if (err == 0)
        m->depth = depth;
    return err;
}

int
coir_condition_wait(coir_condition *c, coir_mutex *m, int64_t timeout_ns)
{
    coir__caller caller = coir__caller_get();
    if (get_owner(m) != coir__caller_id(&caller))
        return COIR_EINVAL;
    int depth = m->depth;
    coir_waiter own;
    int err;
    coir__waitq_lock(&c->queue);
    coir_waiter *w =
        coir__waitq_enter(&c->queue, c, &caller, &own, timeout_ns, &err);
    coir__waitq_unlock(&c->queue);
    if (w == NULL)
        return err;
    /* In line already: a notification from now on is ours. */
    let_go(m);
    err = coir__waitq_block(w, "condition", c, timeout_ns);
    int locked = lock_again(m, caller.green, depth);
    return locked < 0 ? locked : err;
}

int
coir_condition_wait_for(coir_condition *c, coir_mutex *m,
                        int (*holds)(void *arg), void *arg, int64_t timeout_ns)
{
    coir__caller caller = coir__caller_get();
    const coir_hub *hub = caller.green != NULL ? caller.green->hub : NULL;
    int64_t deadline_ns = coir__deadline_after(hub, timeout_ns);
    while (!holds(arg)) {
        int64_t left_ns = COIR_FOREVER;
        if (deadline_ns != COIR_FOREVER) {
            left_ns = deadline_ns - coir__deadline_after(hub, 0);
            if (left_ns < 0)
                left_ns = 0;
        }
        int err = coir_condition_wait(c, m, left_ns);
        /* A notification may have come with the end of the time. */
        if (err < 0)
            return err == COIR_ETIMEDOUT && holds(arg) ? 0 : err;
    }
    return 0;
}

static void
notify(coir_condition *c, int all)
{
    coir__wakes wakes = {NULL, NULL};
    coir__waitq_lock(&c->queue);
    coir_waiter *w;
    while ((w = coir__waitq_pop(&c->queue)) != NULL) {
        coir__wakes_add(&wakes, w);
        if (!all)
            break;
    }
    coir__waitq_unlock(&c->queue);
    coir__wake(&wakes);
}

void
coir_condition_notify(coir_condition *c)
{
    notify(c, 0);
}

void
coir_condition_notify_all(coir_condition *c)
{
    notify(c, 1);
}
