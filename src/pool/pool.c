/* pool.c - pools of OS threads.
 *
 * A pool is a queue of jobs and a queue of threads that have none; the lock of
 * the latter guards all. The threads wait like everybody else (sync/waitq.c),
 * so a job may use green threads and leave its thread a hub: that thread waits
 * for the next job by it.
 *
 * A thread is searching from when it is woken, or started, until it has taken
 * a job or sleeps again. At most one is: who submits a job wakes or starts a
 * thread only if none is, and who takes one does the same if there are more.
 * So many short jobs are done by few threads, which need not be woken, and
 * many long ones by many. What always holds when the lock is given up:
 *
 *     jobs are queued  =>  a thread is searching, or all that there may be
 *                          have a job
 *
 * The thread that has been idle for the shortest time is woken first, so that
 * the others come to their end. One whose time is over looks at the queue once
 * more, so no job is left behind.
 *
 * To wake a thread takes longer than many a job. So where jobs follow each
 * other quickly the thread that searches spins for a while before it sleeps,
 * and the hub, if a thread was searching and jobs take little, before it looks
 * at its loop. Where they do not nobody spins.
 *
 * Whoever takes a job out of the queue, under the lock, decides what becomes
 * of it: a thread, the one that withdraws it, or the one that closes the pool.
 *
 * Threads are counted before they are started, and uncount themselves under
 * the lock as the last thing they do with the pool.
 *
 * In the child of a fork a pool is set to rights when it is next locked: it
 * has no threads and no jobs there, and its queues and its lock see to
 * themselves. A thread that finds itself in a child when it comes back from
 * its job, which has forked, returns. */
#include "pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "base/fork.h"
#include "sim/sys.h"
#include "sync/waitq.h"

#define MAX_THREADS 32
#define IDLE_NS (5 * COIR_NS_PER_S)
#define SPIN_NS 50000     /* a thread that searches */
#define HUB_SPIN_NS 20000 /* a hub that waits for a call */
#define SHORT_NS 10000    /* a job that a hub may spin for */
#define LANES 3

struct coir_pool {
    coir_waitq idle;    /* threads; its lock guards the whole pool */
    coir_waitq leavers; /* those who wait until all threads have ended */
    coir__job *head, *tail;
    unsigned queued;    /* jobs; also read without the lock */
    unsigned threads;   /* that run or are being started */
    unsigned searching; /* of these; 0 or 1, or more for a moment */
    unsigned running;   /* that have a job */
    unsigned blocked;   /* of these, wait for a job of some pool */
    unsigned max;
    unsigned forks; /* of which process all this is */
    int closed;
    int64_t idle_ns;
    int64_t last_ns;    /* when a job was done */
    int64_t gap_ns;     /* until the next one came: a moving average */
    int64_t usual_ns;   /* that a job takes: a moving average */
    int64_t longest_ns; /* that a job has waited */
    uint64_t done, dropped, refused;
    size_t stack_size;
    char name[16];
};

static coir_pool lanes[LANES] = {
    {.name = "coir-user", .max = 32, .idle_ns = IDLE_NS},
    {.name = "coir-file", .max = 16, .idle_ns = IDLE_NS},
    {.name = "coir-dns", .max = 16, .idle_ns = IDLE_NS},
};

/* The pool that this thread is of, in which process, and in how many calls
 * that wait for a pool its green threads are. */
static COIR__THREAD_LOCAL struct {
    coir_pool *pool;
    unsigned forks;
    unsigned waits;
} here;

/* In the child of a fork, whose parent had it in whatever state. */
static COIR__COLD void
begin_anew(coir_pool *pool)
{
    pool->forks = coir__forks;
    pool->head = pool->tail = NULL;
    pool->queued = pool->threads = pool->searching = 0;
    pool->running = pool->blocked = 0;
}

static void
lock(coir_pool *pool)
{
    coir__waitq_lock(&pool->idle);
    if (coir__unlikely(pool->forks != coir__forks))
        begin_anew(pool);
}

static void
unlock(coir_pool *pool)
{
    coir__waitq_unlock(&pool->idle);
}

/* --- the queue of jobs; with the pool locked ----------------------------- */

static void
set_queued(coir_pool *pool, unsigned count)
{
    __atomic_store_n(&pool->queued, count, __ATOMIC_RELAXED);
}

static void
append(coir_pool *pool, coir__job *job)
{
    job->next = NULL;
    job->prev = pool->tail;
    if (pool->tail != NULL)
        pool->tail->next = job;
    else
        pool->head = job;
    pool->tail = job;
    job->pool = pool;
    set_queued(pool, pool->queued + 1);
}

static void
take_out(coir_pool *pool, coir__job *job)
{
    if (job->next != NULL)
        job->next->prev = job->prev;
    else
        pool->tail = job->prev;
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        pool->head = job->next;
    job->pool = NULL;
    set_queued(pool, pool->queued - 1);
}

/* All of them, as a list. */
static coir__job *
take_all(coir_pool *pool)
{
    coir__job *list = pool->head;
    for (coir__job *job = list; job != NULL; job = job->next)
        job->pool = NULL;
    pool->head = pool->tail = NULL;
    set_queued(pool, 0);
    return list;
}

/* Unlocked. */
static void
refuse_all(coir__job *list, int err)
{
    while (list != NULL) {
        coir__job *next = list->next;
        list->run(list, err);
        list = next;
    }
}

/* --- threads ------------------------------------------------------------- */

static int start_thread(coir_pool *pool, coir__job *own);

static unsigned
limit(const coir_pool *pool)
{
    return pool->max + pool->blocked;
}

/* With the pool locked: a thread begins to sleep, or was taken out of the
 * queue. What sleeps there wakes nobody, so it does not keep a deadlock from
 * being one; who takes it out is awake itself. One with a hub has a timer. */
static void
count_idle(const coir_waiter *w, int change)
{
    if (w->green == NULL)
        coir__idle_threads_add(change);
}

/* What is to be done to have the queue looked at, once the lock is given up.
 */
typedef struct recruit {
    coir__wakes wakes;
    int start;
} recruit;

/* With the pool locked. */
static recruit
find_thread(coir_pool *pool)
{
    recruit r = {{NULL, NULL}, 0};
    if (pool->head == NULL || pool->searching > 0)
        return r;
    coir_waiter *w = pool->idle.tail;
    if (w != NULL) {
        (void)coir__waitq_take(&pool->idle, w);
        count_idle(w, -1);
        w->value = pool; /* it is one that searches */
        coir__wakes_add(&r.wakes, w);
    }
    else if (pool->threads < limit(pool)) {
        pool->threads++;
        r.start = 1;
    }
    pool->searching += w != NULL || r.start;
    return r;
}

/* Unlocked. An error: `own` will not be run. */
static int
call_thread(coir_pool *pool, const recruit *r, coir__job *own)
{
    coir__wake(&r->wakes);
    return r->start ? start_thread(pool, own) : 0;
}

/* A moving average over about eight values; of what is not more than a
 * millisecond, so that it soon forgets a pause. */
static void
average(int64_t *of, int64_t value)
{
    if (value > COIR_NS_PER_MS)
        value = COIR_NS_PER_MS;
    *of += (value - *of) / 8;
}

static int
may_spin(void)
{
    static int cpus; /* any thread finds the same */
    int n = __atomic_load_n(&cpus, __ATOMIC_RELAXED);
    if (n == 0) {
        cpu_set_t set;
        n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
        __atomic_store_n(&cpus, n, __ATOMIC_RELAXED);
    }
    return n > 1;
}

/* Until *word is not 0. */
static void
spin(const unsigned *word, int64_t limit_ns)
{
    int64_t end_ns = coir_clock_monotonic() + limit_ns;
    do
        for (int i = 0; i < 32; i++) {
            if (__atomic_load_n(word, __ATOMIC_RELAXED) != 0)
                return;
            coir__pause();
        }
    while (coir_clock_monotonic() < end_ns);
}

/* With the pool locked, which it is again afterwards: sleep until there may be
 * something. Returns whether this thread was made one that searches; `*over`
 * is set if its idle time is. */
static int
sleep_idle(coir_pool *pool, int *over)
{
    coir__caller caller = coir__caller_get();
    coir_waiter own;
    int err;
    coir_waiter *w = coir__waitq_enter(&pool->idle, pool, &caller, &own,
                                       pool->idle_ns, &err);
    *over = 1;
    if (w == NULL)
        return 0; /* it must not wait: what ran here has cancelled it */
    w->value = NULL;
    count_idle(w, 1);
    unlock(pool);
    coir__idle_thread_sleeps();
    err = coir__waitq_block(w, "a job", pool, pool->idle_ns);
    lock(pool);
    *over = err < 0;
    if (err < 0)
        count_idle(w, -1);
    return err == 0 && w->value != NULL;
}

/* With the pool locked, which it is again afterwards: the queue is empty. */
static int
wait_for_jobs(coir_pool *pool, int *over)
{
    if (pool->searching == 0 && pool->gap_ns < SPIN_NS && may_spin()) {
        pool->searching++;
        unlock(pool);
        spin(&pool->queued, SPIN_NS);
        lock(pool);
        if (pool->head != NULL)
            return 1;
        pool->searching--;
        if (pool->closed || pool->threads > limit(pool))
            return 0;
    }
    return sleep_idle(pool, over);
}

/* With the pool locked: the next job, with it unlocked; or NULL, with it
 * locked, if the thread is to end. */
static coir__job *
next_job(coir_pool *pool, int searching)
{
    int over = 0;
    while (pool->head == NULL && !pool->closed && !over &&
           pool->threads <= limit(pool)) {
        pool->searching -= (unsigned)searching;
        searching = wait_for_jobs(pool, &over);
    }
    pool->searching -= (unsigned)searching;
    coir__job *job = pool->head;
    if (job == NULL || pool->threads > limit(pool))
        return NULL;
    take_out(pool, job);
    pool->running++;
    recruit r = find_thread(pool);
    unlock(pool);
    (void)call_thread(pool, &r, NULL);
    return job;
}

/* With the pool locked, which is unlocked: this thread is none of its any
 * more. Nor is the pool there for sure. */
static void
leave(coir_pool *pool)
{
    coir__wakes wakes = {NULL, NULL};
    if (--pool->threads == 0)
        coir__waitq_pop_all(&pool->leavers, &wakes, 0);
    unlock(pool);
    coir__wake(&wakes);
}

/* Run it; returns with the pool locked, 0 in a child of a fork. */
static int
run_job(coir_pool *pool, coir__job *job)
{
    int64_t since_ns = job->since_ns, begin_ns = coir_clock_monotonic();
    job->run(job, 0);
    if (here.forks != coir__forks)
        return 0;
    int64_t end_ns = coir_clock_monotonic();
    lock(pool);
    pool->running--;
    pool->done++;
    pool->last_ns = end_ns;
    average(&pool->usual_ns, end_ns - begin_ns);
    if (begin_ns - since_ns > pool->longest_ns)
        pool->longest_ns = begin_ns - since_ns;
    return 1;
}

static void *
thread_body(void *arg)
{
    coir_pool *pool = arg;
    int searching = 1;
    here.pool = pool;
    here.forks = coir__forks;
    (void)pthread_setname_np(pthread_self(), pool->name);
    lock(pool);
    do {
        coir__job *job;
        while ((job = next_job(pool, searching)) != NULL) {
            searching = 0;
            if (!run_job(pool, job))
                return NULL;
        }
        searching = 0;
        /* While it still counts, so that who waits for its end finds nothing
         * left of it; but then there may be a job again. */
        unlock(pool);
        if (coir_hub_fini() == 0)
            (void)coir_thread_fini();
        lock(pool);
    } while (pool->head != NULL && pool->threads <= limit(pool));
    /* If it is one too many there may be jobs, and others that sleep. */
    recruit r = find_thread(pool);
    leave(pool);
    coir__wake(&r.wakes);
    return NULL;
}

/* Signals are for the program's threads; those of faults are for this one. */
static void
signals_to_block(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                 SIGTRAP, SIGABRT, SIGSYS};
    (void)sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        (void)sigdelset(set, faults[i]);
}

static int
create(coir_pool *pool)
{
    pthread_attr_t attr;
    int err = pthread_attr_init(&attr);
    if (err != 0)
        return err;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pool->stack_size > 0)
        (void)pthread_attr_setstacksize(&attr, pool->stack_size);
    sigset_t blocked, before;
    signals_to_block(&blocked);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
    pthread_t thread;
    err = pthread_create(&thread, &attr, thread_body, pool);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    return err;
}

/* One was counted, and is started now. If it cannot be, those that are there
 * must do; if there are none, no job of the queue can be run. Returns why, if
 * `own` is one of them. */
static int
start_thread(coir_pool *pool, coir__job *own)
{
    int err = create(pool);
    if (err == 0)
        return 0;
    err = COIR_ERRNO(err);
    int mine = 0;
    lock(pool);
    pool->refused++;
    pool->searching--;
    while (pool->threads == 1 && pool->head != NULL) {
        if (own != NULL && own->pool == pool) {
            take_out(pool, own);
            mine = 1;
            own = NULL;
        }
        coir__job *list = take_all(pool);
        unlock(pool);
        refuse_all(list, err);
        lock(pool);
    }
    leave(pool);
    return mine ? err : 0;
}

/* --- jobs ---------------------------------------------------------------- */

int
coir__pool_submit(coir_pool *pool, coir__job *job)
{
    job->pool = NULL;
    job->since_ns = coir_clock_monotonic();
    lock(pool);
    if (pool->closed) {
        unlock(pool);
        return COIR_ECLOSED;
    }
    average(&pool->gap_ns, job->since_ns - pool->last_ns);
    append(pool, job);
    recruit r = find_thread(pool);
    unlock(pool);
    return call_thread(pool, &r, job);
}

int
coir__pool_withdraw(coir_pool *pool, coir__job *job)
{
    lock(pool);
    int in_time = job->pool == pool;
    if (in_time)
        take_out(pool, job);
    unlock(pool);
    return in_time;
}

/* Some green thread here waits for a pool, so this thread does not do the job
 * that it has: let another one do what is queued. Returns the pool to be told
 * when the wait is over. */
static coir_pool *
begin_wait_here(void)
{
    coir_pool *pool = here.pool;
    if (pool == NULL || here.forks != coir__forks)
        return NULL;
    if (here.waits++ > 0)
        return pool;
    lock(pool);
    pool->blocked++;
    recruit r = find_thread(pool);
    unlock(pool);
    (void)call_thread(pool, &r, NULL);
    return pool;
}

static void
end_wait_here(coir_pool *pool)
{
    if (pool == NULL || --here.waits > 0)
        return;
    lock(pool);
    pool->blocked--;
    unlock(pool);
}

/* --- calls --------------------------------------------------------------- */

/* A job with somebody who waits for it. In memory of its own: whoever comes
 * last, the waiter or the thread, frees it. */
typedef struct call {
    coir__job job;
    coir_waitq queue;  /* where the one waits; its lock guards what follows */
    unsigned finished; /* also read without the lock */
    int abandoned;
    int error; /* it could not be run */
    int result;
    coir_blocking_fn *fn;
    void *arg;
    void (*drop)(void *arg);
    coir_pool *pool;
} call;

static void
run_call(coir__job *job, int err)
{
    call *c = COIR__CONTAINER(job, call, job);
    c->error = err;
    if (err == 0)
        c->result = c->fn(c->arg);
    coir__waitq_lock(&c->queue);
    if (!c->abandoned) {
        __atomic_store_n(&c->finished, 1, __ATOMIC_RELAXED);
        coir__wakes wakes = {NULL, NULL};
        coir__waitq_pop_all(&c->queue, &wakes, 0);
        /* From here on it is the waiter's. */
        coir__waitq_unlock(&c->queue);
        coir__wake(&wakes);
        return;
    }
    coir__waitq_unlock(&c->queue);
    lock(c->pool);
    c->pool->dropped++;
    unlock(c->pool);
    c->drop(c->arg);
    coir_free(c);
}

/* Wait until it is finished: 0, or why not. */
static int
wait_for(call *c, int64_t timeout_ns)
{
    void *value = NULL;
    coir__waitq_lock(&c->queue);
    if (c->finished) {
        coir__waitq_unlock(&c->queue);
        return 0;
    }
    return coir__waitq_wait(&c->queue, &c->queue, "a blocking call", &value, 0,
                            timeout_ns);
}

/* The call has begun and uses what is the caller's. */
static void
wait_to_the_end(call *c)
{
    coir_green *g = coir__hub->current;
    int64_t deadline_ns = g->deadline_ns;
    g->deadline_ns = COIR_FOREVER;
    g->shields++;
    while (wait_for(c, COIR_FOREVER) < 0)
        continue;
    g->shields--;
    g->deadline_ns = deadline_ns;
}

/* The wait failed. Returns 0 if the call is finished all the same. Else it is
 * nobody's any more, or the thread's that runs it: not to be touched. */
static int
give_up(call *c, int err)
{
    coir__waitq_lock(&c->queue);
    int withdrawn = 0;
    unsigned finished = c->finished;
    if (!finished) {
        /* Under the lock: while it is not finished the pool is still there. */
        withdrawn = coir__pool_withdraw(c->pool, &c->job);
        c->abandoned = !withdrawn && c->drop != NULL;
    }
    int abandoned = c->abandoned;
    coir__waitq_unlock(&c->queue);
    if (finished || abandoned)
        return finished ? 0 : err;
    if (!withdrawn) {
        wait_to_the_end(c);
        return 0;
    }
    if (c->drop != NULL)
        c->drop(c->arg);
    coir_free(c);
    return err;
}

/* Is there a thread that would have done a job before the hub could sleep? */
static int
is_quick(coir_pool *pool)
{
    lock(pool);
    int quick = pool->searching > 0 && pool->usual_ns < SHORT_NS;
    unlock(pool);
    return quick;
}

/* A green thread's. `*taken`: `arg` was seen to. */
static int
call_in_pool(coir_pool *pool, coir_blocking_fn *fn, void *arg,
             void (*drop)(void *arg), int *result, int64_t timeout_ns,
             int *taken)
{
    coir_green *g = coir__hub->current;
    int err = g == NULL ? COIR_EINVAL : coir__may_wait(g);
    if (err == 0 && timeout_ns == 0)
        err = COIR_ETIMEDOUT;
    if (err < 0)
        return err;
    call *c = coir_malloc(sizeof *c);
    if (c == NULL)
        return COIR_ENOMEM;
    *c = (call){.job = {.run = run_call},
                .fn = fn,
                .arg = arg,
                .drop = drop,
                .pool = pool};
    int hot = is_quick(pool);
    err = coir__pool_submit(pool, &c->job);
    if (err == 0) {
        if (hot && coir__hub->ready == NULL)
            spin(&c->finished, HUB_SPIN_NS);
        err = wait_for(c, timeout_ns);
        if (err < 0) {
            err = give_up(c, err);
            if (err < 0) {
                *taken = 1;
                return err;
            }
        }
        err = c->error;
    }
    if (err == 0 && result != NULL)
        *result = c->result;
    coir_free(c);
    return err;
}

int
coir_blocking(coir_pool *pool, coir_blocking_fn *fn, void *arg,
              void (*drop)(void *arg), int *result, int64_t timeout_ns)
{
    if (coir__hub_if_any() == NULL) {
        int value = fn(arg);
        if (result != NULL)
            *result = value;
        return 0;
    }
    if (coir__sys_in_sim())
        return coir__sim_blocking(fn, arg, drop, result, timeout_ns);
    int taken = 0;
    coir_pool *waits = begin_wait_here();
    int err =
        call_in_pool(pool != NULL ? pool : coir_pool_lane(COIR_LANE_USER), fn,
                     arg, drop, result, timeout_ns, &taken);
    end_wait_here(waits);
    if (err < 0 && !taken && drop != NULL)
        drop(arg);
    return err;
}

/* --- pools --------------------------------------------------------------- */

coir_pool *
coir_pool_lane(enum coir_lane lane)
{
    assert((unsigned)lane < LANES);
    return &lanes[lane];
}

int
coir_pool_new(coir_pool **out, const coir_pool_attr *attr)
{
    static const coir_pool_attr defaults;
    if (attr == NULL)
        attr = &defaults;
    if (attr->idle_ns < 0)
        return COIR_EINVAL;
    coir_pool *pool = coir_calloc(1, sizeof *pool);
    if (pool == NULL)
        return COIR_ENOMEM;
    const char *name = attr->name != NULL ? attr->name : "coir-pool";
    memcpy(pool->name, name, strnlen(name, sizeof pool->name - 1));
    pool->max = attr->max_threads > 0 ? attr->max_threads : MAX_THREADS;
    pool->idle_ns = attr->idle_ns > 0 ? attr->idle_ns : IDLE_NS;
    pool->stack_size = attr->stack_size;
    pool->forks = coir__forks;
    *out = pool;
    return 0;
}

/* Until all threads have ended. */
static int
close_pool(coir_pool *pool, int64_t timeout_ns)
{
    lock(pool);
    pool->closed = 1;
    coir__job *jobs = take_all(pool);
    coir__wakes wakes = {NULL, NULL};
    for (const coir_waiter *w = pool->idle.head; w != NULL; w = w->next)
        count_idle(w, -1);
    coir__waitq_pop_all(&pool->idle, &wakes, 0);
    unlock(pool);
    coir__wake(&wakes);
    refuse_all(jobs, COIR_ECLOSED);
    coir__caller caller = coir__caller_get();
    lock(pool);
    if (pool->threads == 0) {
        unlock(pool);
        return 0;
    }
    coir_waiter own;
    int err;
    coir_waiter *w = coir__waitq_enter(&pool->leavers, pool, &caller, &own,
                                       timeout_ns, &err);
    unlock(pool);
    if (w == NULL)
        return err;
    return coir__waitq_block(w, "threads to end", pool, timeout_ns);
}

int
coir_pool_free(coir_pool *pool, int64_t timeout_ns)
{
    if (pool == NULL)
        return 0;
    if (pool == here.pool || (pool >= lanes && pool < lanes + LANES))
        return COIR_EINVAL;
    int err = close_pool(pool, timeout_ns);
    if (err < 0)
        return err;
    coir_free(pool);
    return 0;
}

int
coir_pool_fini(int64_t timeout_ns)
{
    int err = 0;
    for (int i = 0; i < LANES && err == 0; i++) {
        if (here.pool == &lanes[i])
            return COIR_EINVAL;
        err = close_pool(&lanes[i], timeout_ns);
    }
    for (int i = 0; i < LANES; i++) {
        lock(&lanes[i]);
        lanes[i].closed = 0;
        unlock(&lanes[i]);
    }
    return err;
}

void
coir_pool_set_limit(coir_pool *pool, unsigned max_threads)
{
    lock(pool);
    pool->max = max_threads > 0 ? max_threads : 1;
    recruit r = find_thread(pool);
    unlock(pool);
    (void)call_thread(pool, &r, NULL);
}

void
coir_pool_get_stats(coir_pool *pool, coir_pool_stats *out)
{
    if (pool == NULL)
        pool = &lanes[COIR_LANE_USER];
    int64_t now_ns = coir_clock_monotonic();
    lock(pool);
    *out = (coir_pool_stats){.max_threads = pool->max,
                             .threads = pool->threads,
                             .running = pool->running,
                             .queued = pool->queued,
                             .oldest_ns = pool->head != NULL &&
                                                  pool->head->since_ns < now_ns
                                              ? now_ns - pool->head->since_ns
                                              : 0,
                             .longest_ns = pool->longest_ns,
                             .done = pool->done,
                             .dropped = pool->dropped,
                             .refused = pool->refused};
    unlock(pool);
}
