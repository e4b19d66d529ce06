/* bench_hub_coir.c - the rows of green threads on libcoir. */
#include <coir.h>

#include "bench.h"

typedef int gt_result;

struct gt {
    coir_green *green;
};

struct mutex {
    coir_mutex mutex;
};

struct tickets {
    coir_semaphore semaphore;
};

struct gate {
    coir_event event;
};

#define HUB_HAS_CHANNELS
struct channel {
    coir_queue queue;
};

#define HUB_HAS_CANCEL
#define HUB_HAS_THREADS
#define HUB_HAS_BLOCKING
#define HUB_MAIN

/* A thread without a hub makes a blocking call itself. */
static void
hub_start(void)
{
    if (coir_hub_get() == NULL)
        bench_die("coir_hub_get");
}

static const char *
hub_version(void)
{
    return coir_version();
}

/* An error of what may not fail ends the program. */
static inline void
must(int err)
{
    if (__builtin_expect(err < 0, 0))
        bench_die(coir_strerror(err));
}

static inline void
gt_spawn(struct gt *gt, coir_green_fn *fn, void *arg)
{
    must(coir_spawn(&gt->green, fn, arg, NULL));
}

static inline void
gt_join(struct gt *gt)
{
    must(coir_join(gt->green, NULL));
}

static inline void
gt_cancel(struct gt *gt)
{
    coir_cancel(gt->green);
}

static inline void
gt_yield(void)
{
    must(coir_yield());
}

static inline void
gt_sleep_ms(unsigned ms)
{
    must(coir_sleep(ms * COIR_NS_PER_MS));
}

static inline void
mutex_init(struct mutex *m)
{
    coir_mutex_init(&m->mutex, 0);
}

static inline void
mutex_lock(struct mutex *m)
{
    must(coir_mutex_lock(&m->mutex, COIR_FOREVER));
}

static inline void
mutex_unlock(struct mutex *m)
{
    must(coir_mutex_unlock(&m->mutex));
}

static inline void
tickets_init(struct tickets *t)
{
    coir_semaphore_init(&t->semaphore, 0);
}

static inline void
tickets_give(struct tickets *t)
{
    coir_semaphore_release(&t->semaphore, 1);
}

/* It may be cancelled. */
static inline void
tickets_take(struct tickets *t)
{
    int err = coir_semaphore_acquire(&t->semaphore, COIR_FOREVER);
    if (err != COIR_ECANCELED)
        must(err);
}

static inline void
tickets_take_timed(struct tickets *t, unsigned ms)
{
    must(coir_semaphore_acquire(&t->semaphore, ms * COIR_NS_PER_MS));
}

static inline void
gate_init(struct gate *g)
{
    coir_event_init(&g->event);
}

static inline void
gate_wait(struct gate *g)
{
    must(coir_event_wait(&g->event, COIR_FOREVER));
}

static inline void
gate_open(struct gate *g)
{
    coir_event_set(&g->event);
    coir_event_clear(&g->event);
}

static void
channel_init(struct channel *c, unsigned capacity)
{
    must(coir_queue_init(&c->queue, capacity));
}

static inline void
channel_put(struct channel *c, void *item)
{
    must(coir_queue_put(&c->queue, item, COIR_FOREVER));
}

static inline void *
channel_get(struct channel *c)
{
    void *item;
    must(coir_queue_get(&c->queue, &item, COIR_FOREVER));
    return item;
}

static inline void
blocking_call(int (*fn)(void *), void *arg)
{
    must(coir_blocking(NULL, fn, arg, NULL, NULL, COIR_FOREVER));
}

static void
hub_thread_init(void)
{
}

static void
hub_thread_fini(void)
{
}

#include "hub_rows.h"
