/* bench_hub_st.c - the rows of green threads on State Threads: one OS thread,
 * mutexes and condition variables. It has no yield but a sleep of no time. */
#include <st.h>

#include "bench.h"

#include <string.h>

#define STACK_SIZE (64 * 1024)

typedef void *gt_result;

struct gt {
    st_thread_t thread;
};

struct mutex {
    st_mutex_t mutex;
};

struct tickets {
    st_cond_t given;
    unsigned count;
};

struct gate {
    st_cond_t opened;
};

#define HUB_HAS_CANCEL
#define HUB_MAIN

static void
hub_start(void)
{
    if (st_set_eventsys(ST_EVENTSYS_ALT) < 0 || st_init() < 0)
        bench_die("st_init");
    if (strcmp(st_get_eventsys_name(), "epoll") != 0)
        bench_die("this State Threads was built without epoll");
}

static const char *
hub_version(void)
{
    return "1.9";
}

static inline void
gt_spawn(struct gt *gt, void *(*fn)(void *), void *arg)
{
    gt->thread = st_thread_create(fn, arg, 1, STACK_SIZE);
    if (gt->thread == NULL)
        bench_die("st_thread_create");
}

static inline void
gt_join(struct gt *gt)
{
    if (st_thread_join(gt->thread, NULL) < 0)
        bench_die("st_thread_join");
}

static inline void
gt_cancel(struct gt *gt)
{
    st_thread_interrupt(gt->thread);
}

static inline void
gt_yield(void)
{
    (void)st_usleep(0);
}

static inline void
gt_sleep_ms(unsigned ms)
{
    (void)st_usleep(ms * (st_utime_t)1000);
}

static void
mutex_init(struct mutex *m)
{
    m->mutex = st_mutex_new();
}

static inline void
mutex_lock(struct mutex *m)
{
    if (st_mutex_lock(m->mutex) < 0)
        bench_die("st_mutex_lock");
}

static inline void
mutex_unlock(struct mutex *m)
{
    if (st_mutex_unlock(m->mutex) < 0)
        bench_die("st_mutex_unlock");
}

static void
tickets_init(struct tickets *t)
{
    t->given = st_cond_new();
    t->count = 0;
}

static inline void
tickets_give(struct tickets *t)
{
    t->count++;
    (void)st_cond_signal(t->given);
}

/* It may be cancelled. */
static inline void
tickets_take(struct tickets *t)
{
    while (t->count == 0)
        if (st_cond_wait(t->given) < 0)
            return;
    t->count--;
}

static inline void
tickets_take_timed(struct tickets *t, unsigned ms)
{
    while (t->count == 0)
        if (st_cond_timedwait(t->given, ms * (st_utime_t)1000) < 0)
            bench_die("st_cond_timedwait");
    t->count--;
}

static void
gate_init(struct gate *g)
{
    g->opened = st_cond_new();
}

static inline void
gate_wait(struct gate *g)
{
    (void)st_cond_wait(g->opened);
}

static inline void
gate_open(struct gate *g)
{
    (void)st_cond_broadcast(g->opened);
}

#include "hub_rows.h"
