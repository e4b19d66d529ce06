// bench_hub_fiber.cpp - the rows of green threads on boost.fiber: with pooled
// stacks, which have no guards, and with the round-robin scheduler.
#include <boost/fiber/all.hpp>
#include <boost/version.hpp>

#include "bench.h"

namespace fibers = boost::fibers;

typedef int gt_result;

static auto &
stacks()
{
    // Never freed: fibers are left over at the end.
    static auto *pool = new fibers::pooled_fixedsize_stack(64 * 1024, 1024);
    return *pool;
}

struct gt {
    fibers::fiber *fiber;
};

struct mutex {
    fibers::mutex *mutex;
};

struct tickets {
    fibers::mutex *mutex;
    fibers::condition_variable *given;
    unsigned count;
};

struct gate {
    fibers::mutex *mutex;
    fibers::condition_variable *opened;
};

#define HUB_HAS_CHANNELS
struct channel {
    fibers::unbuffered_channel<void *> *unbuffered;
    fibers::buffered_channel<void *> *buffered;
};

#define HUB_HAS_THREADS

static const char *
hub_version(void)
{
    return BOOST_LIB_VERSION;
}

static inline void
gt_spawn(struct gt *gt, int (*fn)(void *), void *arg)
{
    gt->fiber = new fibers::fiber(std::allocator_arg, stacks(), fn, arg);
}

static inline void
gt_join(struct gt *gt)
{
    gt->fiber->join();
    delete gt->fiber;
}

static inline void
gt_yield(void)
{
    boost::this_fiber::yield();
}

static inline void
gt_sleep_ms(unsigned ms)
{
    boost::this_fiber::sleep_for(std::chrono::milliseconds(ms));
}

static void
mutex_init(struct mutex *m)
{
    m->mutex = new fibers::mutex;
}

static inline void
mutex_lock(struct mutex *m)
{
    m->mutex->lock();
}

static inline void
mutex_unlock(struct mutex *m)
{
    m->mutex->unlock();
}

static void
tickets_init(struct tickets *t)
{
    t->mutex = new fibers::mutex;
    t->given = new fibers::condition_variable;
    t->count = 0;
}

static inline void
tickets_give(struct tickets *t)
{
    {
        std::unique_lock<fibers::mutex> lock(*t->mutex);
        t->count++;
    }
    t->given->notify_one();
}

static inline void
tickets_take(struct tickets *t)
{
    std::unique_lock<fibers::mutex> lock(*t->mutex);
    while (t->count == 0)
        t->given->wait(lock);
    t->count--;
}

static inline void
tickets_take_timed(struct tickets *t, unsigned ms)
{
    std::unique_lock<fibers::mutex> lock(*t->mutex);
    if (!t->given->wait_for(lock, std::chrono::milliseconds(ms),
                            [t] { return t->count > 0; }))
        bench_die("wait_for");
    t->count--;
}

static void
gate_init(struct gate *g)
{
    g->mutex = new fibers::mutex;
    g->opened = new fibers::condition_variable;
}

static inline void
gate_wait(struct gate *g)
{
    std::unique_lock<fibers::mutex> lock(*g->mutex);
    g->opened->wait(lock);
}

static inline void
gate_open(struct gate *g)
{
    g->opened->notify_all();
}

static void
channel_init(struct channel *c, unsigned capacity)
{
    if (capacity == 0)
        c->unbuffered = new fibers::unbuffered_channel<void *>;
    else
        c->buffered = new fibers::buffered_channel<void *>(capacity + 1);
}

static inline void
channel_put(struct channel *c, void *item)
{
    if (c->unbuffered != nullptr)
        c->unbuffered->push(item);
    else
        c->buffered->push(item);
}

static inline void *
channel_get(struct channel *c)
{
    void *item = nullptr;
    if (c->unbuffered != nullptr)
        c->unbuffered->pop(item);
    else
        c->buffered->pop(item);
    return item;
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
