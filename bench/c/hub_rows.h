/* hub_rows.h - the rows that every library of green threads can run.
 *
 * To be included, in C or C++, by a program that defines
 *     gt_result                        what a green thread's function returns
 *     struct gt                        a green thread
 *     gt_spawn(gt, fn, arg)
 *     gt_join(gt)
 *     gt_yield()
 *     gt_sleep_ms(ms)
 *     struct mutex                     zeroed memory, as all of these
 *     mutex_init(m), mutex_lock(m), mutex_unlock(m)
 *     struct tickets                   a counting semaphore, at 0
 *     tickets_init(t), tickets_take(t), tickets_give(t)
 *     tickets_take_timed(t, ms)        for so long at most
 *     struct gate                      what many wait for together
 *     gate_init(g), gate_wait(g)
 *     gate_open(g)                     let all through that wait
 *     hub_version()                    a string
 * and, as far as it has them,
 *     HUB_HAS_CHANNELS   struct channel, channel_init(c, capacity),
 *                        channel_put(c, item), channel_get(c)
 *     HUB_HAS_THREADS    OS threads with green threads of their own, and
 *                        tickets that work between them;
 *                        hub_thread_init(), hub_thread_fini()
 *     HUB_HAS_CANCEL     gt_cancel(gt): its wait for tickets ends
 *     HUB_HAS_BLOCKING   blocking_call(fn, arg): on a thread of a pool
 *     HUB_MAIN           hub_start() is called first, in main()
 *
 * main() is a green thread. Time is CPU time of the thread, but where it says
 * otherwise. */
#ifndef BENCH_HUB_ROWS_H
#define BENCH_HUB_ROWS_H

#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct gt *
make_gts(size_t count)
{
    struct gt *many = (struct gt *)calloc(count, sizeof *many);
    if (many == NULL)
        bench_die("calloc");
    return many;
}

static uint64_t
wall_clock(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
        bench_die("clock_gettime");
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void
row_version(int quick, struct bench_result *out)
{
    (void)quick;
    out->unit = hub_version();
}

/* --- yield --------------------------------------------------------------- */

static gt_result
yields(void *arg)
{
    (void)arg;
    for (;;)
        gt_yield();
    return 0;
}

/* Each time main yields, all others do once. */
static void
batch_yield(size_t ops, void *arg)
{
    const size_t *count = (const size_t *)arg;
    for (size_t done = 0; done < ops; done += *count)
        gt_yield();
}

static void
row_yield(size_t count, int quick, struct bench_result *out)
{
    struct gt *others = make_gts(count);
    for (size_t i = 1; i < count; i++)
        gt_spawn(&others[i], yields, NULL);
    batch_yield(count * 2, &count); /* all have begun */
    bench_measure_by(count, batch_yield, &count, quick, out);
}

static void
row_yield_2(int quick, struct bench_result *out)
{
    row_yield(2, quick, out);
}

static void
row_yield_100(int quick, struct bench_result *out)
{
    row_yield(100, quick, out);
}

static void
row_yield_10k(int quick, struct bench_result *out)
{
    row_yield(10000, quick, out);
}

/* --- spawn --------------------------------------------------------------- */

static gt_result
ends(void *arg)
{
    (void)arg;
    return 0;
}

static gt_result
yields_once(void *arg)
{
    (void)arg;
    gt_yield();
    return 0;
}

static void
batch_spawn(size_t ops, void *arg)
{
    struct gt *g = (struct gt *)arg;
    for (size_t i = 0; i < ops; i++) {
        gt_spawn(g, ends, NULL);
        gt_join(g);
    }
}

static void
row_spawn(int quick, struct bench_result *out)
{
    bench_measure(batch_spawn, make_gts(1), quick, out);
}

/* 1,000 are alive at a time: all have begun before the first one ends. */
#define ALIVE 1000

static void
spawn_and_join(struct gt *many, size_t count, gt_result (*fn)(void *arg))
{
    for (size_t i = 0; i < count; i++)
        gt_spawn(&many[i], fn, NULL);
    for (size_t i = 0; i < count; i++)
        gt_join(&many[i]);
}

static void
batch_spawn_alive(size_t ops, void *arg)
{
    for (size_t done = 0; done < ops; done += ALIVE)
        spawn_and_join((struct gt *)arg, ALIVE, yields_once);
}

static void
row_spawn_alive(int quick, struct bench_result *out)
{
    bench_measure_by(ALIVE, batch_spawn_alive, make_gts(ALIVE), quick, out);
}

static void
batch_spawn_many(size_t ops, void *arg)
{
    spawn_and_join((struct gt *)arg, ops, yields_once);
}

/* The first time all stacks are cold, later those beyond what the library
 * keeps. */
static void
row_spawn_many(int quick, struct bench_result *out)
{
    size_t count = quick ? 10000 : 100000;
    struct gt *many = make_gts(count);
    out->unit = "ns";
    for (int i = 0; i < 3; i++) {
        uint64_t taken = bench_timed(batch_spawn_many, count, many);
        bench_add(out, (double)taken / (double)count);
    }
}

/* --- sleep --------------------------------------------------------------- */

static gt_result
sleeps(void *arg)
{
    gt_sleep_ms(*(const unsigned *)arg);
    return 0;
}

static struct sleepers {
    struct gt *gts;
    unsigned *ms;
    double rss_before, rss;
} sleepers;

static void
batch_sleep(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        gt_spawn(&sleepers.gts[i], sleeps, &sleepers.ms[i]);
    gt_yield();
    sleepers.rss = bench_rss();
    for (size_t i = 0; i < ops; i++)
        gt_join(&sleepers.gts[i]);
}

/* 100,000, each for 1 to 1,000 ms, from spawn to join. */
static void
row_sleep(int quick, struct bench_result *out)
{
    size_t count = quick ? 10000 : 100000;
    if (bench_profiled_ops() > 0)
        count = bench_profiled_ops();
    sleepers.gts = make_gts(count);
    sleepers.ms = (unsigned *)calloc(count, sizeof *sleepers.ms);
    if (sleepers.ms == NULL)
        bench_die("calloc");
    uint64_t state = 88172645463325252; /* the same numbers for all */
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sleepers.ms[i] = 1 + (unsigned)((state >> 32) % 1000);
    }
    out->unit = "ns";
    double rss = bench_rss();
    for (int i = 0; i < (quick ? 1 : 3); i++) {
        uint64_t taken = bench_timed(batch_sleep, count, NULL);
        bench_add(out, (double)taken / (double)count);
        if (i == 0)
            bench_note(out, "RSS_of_each",
                       (sleepers.rss - rss) / (double)count);
    }
}

/* --- mutex --------------------------------------------------------------- */

static struct mutex mutex;

static void
batch_mutex(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++) {
        mutex_lock(&mutex);
        mutex_unlock(&mutex);
    }
}

static void
row_mutex(int quick, struct bench_result *out)
{
    mutex_init(&mutex);
    bench_measure(batch_mutex, NULL, quick, out);
}

/* An operation is one time that the mutex is held, with a yield meanwhile, so
 * that the others come to wait for it. */
static size_t held, held_wanted;

static gt_result
holds(void *arg)
{
    (void)arg;
    for (;;) {
        mutex_lock(&mutex);
        held++;
        gt_yield();
        mutex_unlock(&mutex);
    }
    return 0;
}

static void
batch_mutex_held(size_t ops, void *arg)
{
    (void)arg;
    held = 0;
    held_wanted = ops;
    while (held < held_wanted) {
        mutex_lock(&mutex);
        held++;
        gt_yield();
        mutex_unlock(&mutex);
    }
}

static void
row_mutex_held(size_t count, int quick, struct bench_result *out)
{
    struct gt *others = make_gts(count);
    mutex_init(&mutex);
    for (size_t i = 1; i < count; i++)
        gt_spawn(&others[i], holds, NULL);
    bench_measure(batch_mutex_held, NULL, quick, out);
}

static void
row_mutex_2(int quick, struct bench_result *out)
{
    row_mutex_held(2, quick, out);
}

static void
row_mutex_100(int quick, struct bench_result *out)
{
    row_mutex_held(100, quick, out);
}

/* --- tickets ------------------------------------------------------------- */

static struct tickets ping, pong;

static void
batch_tickets(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++) {
        tickets_give(&ping);
        tickets_take(&ping);
    }
}

static void
row_tickets(int quick, struct bench_result *out)
{
    tickets_init(&ping);
    bench_measure(batch_tickets, NULL, quick, out);
}

static gt_result
ticket_partner(void *arg)
{
    (void)arg;
    for (;;) {
        tickets_take(&ping);
        tickets_give(&pong);
    }
    return 0;
}

/* An operation is one wake-up. */
static void
batch_wake(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i += 2) {
        tickets_give(&ping);
        tickets_take(&pong);
    }
}

static void
row_wake(int quick, struct bench_result *out)
{
    tickets_init(&ping);
    tickets_init(&pong);
    gt_spawn(make_gts(1), ticket_partner, NULL);
    bench_measure(batch_wake, NULL, quick, out);
}

static gt_result
timed_partner(void *arg)
{
    (void)arg;
    for (;;) {
        tickets_take_timed(&ping, 10000);
        tickets_give(&pong);
    }
    return 0;
}

static void
batch_wake_timed(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i += 2) {
        tickets_give(&ping);
        tickets_take_timed(&pong, 10000);
    }
}

static void
row_wake_timed(int quick, struct bench_result *out)
{
    tickets_init(&ping);
    tickets_init(&pong);
    gt_spawn(make_gts(1), timed_partner, NULL);
    bench_measure(batch_wake_timed, NULL, quick, out);
}

/* --- gate ---------------------------------------------------------------- */

#define WAITERS 10000
static struct gate gate;

static gt_result
waits_at_gate(void *arg)
{
    (void)arg;
    for (;;)
        gate_wait(&gate);
    return 0;
}

/* All go through, and wait again. */
static void
batch_gate(size_t ops, void *arg)
{
    (void)arg;
    for (size_t done = 0; done < ops; done += WAITERS) {
        gate_open(&gate);
        gt_yield();
    }
}

static void
row_gate(int quick, struct bench_result *out)
{
    struct gt *many = make_gts(WAITERS);
    gate_init(&gate);
    for (size_t i = 0; i < WAITERS; i++)
        gt_spawn(&many[i], waits_at_gate, NULL);
    for (int i = 0; i < 3; i++)
        gt_yield(); /* until they wait */
    bench_measure_by(WAITERS, batch_gate, NULL, quick, out);
}

/* --- channels ------------------------------------------------------------ */

#ifdef HUB_HAS_CHANNELS
static struct channel there, back;
static char item;

static gt_result
channel_partner(void *arg)
{
    (void)arg;
    for (;;)
        channel_put(&back, channel_get(&there));
    return 0;
}

static void
batch_channel(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i += 2) {
        channel_put(&there, &item);
        if (channel_get(&back) != &item)
            bench_die("another item came back");
    }
}

static void
row_channel(int quick, struct bench_result *out)
{
    channel_init(&there, 0);
    channel_init(&back, 0);
    gt_spawn(make_gts(1), channel_partner, NULL);
    bench_measure(batch_channel, NULL, quick, out);
}

static gt_result
channel_producer(void *arg)
{
    (void)arg;
    for (;;)
        channel_put(&there, &item);
    return 0;
}

static void
batch_channel_get(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        if (channel_get(&there) != &item)
            bench_die("another item was got");
}

static void
row_channel_stream(unsigned capacity, int quick, struct bench_result *out)
{
    channel_init(&there, capacity);
    gt_spawn(make_gts(1), channel_producer, NULL);
    bench_measure(batch_channel_get, NULL, quick, out);
}

static void
row_channel_0(int quick, struct bench_result *out)
{
    row_channel_stream(0, quick, out);
}

/* A power of two, less one: what those hold that want one. */
static void
row_channel_127(int quick, struct bench_result *out)
{
    row_channel_stream(127, quick, out);
}
#endif

/* --- cancel -------------------------------------------------------------- */

#ifdef HUB_HAS_CANCEL
static gt_result
waits_in_vain(void *arg)
{
    tickets_take((struct tickets *)arg);
    return 0;
}

static void
batch_cancel(size_t ops, void *arg)
{
    struct gt *g = (struct gt *)arg;
    for (size_t i = 0; i < ops; i++) {
        gt_spawn(g, waits_in_vain, &ping);
        gt_yield();
        gt_cancel(g);
        gt_join(g);
    }
}

static void
row_cancel(int quick, struct bench_result *out)
{
    tickets_init(&ping);
    bench_measure(batch_cancel, make_gts(1), quick, out);
}
#endif

/* --- threads ------------------------------------------------------------- */

/* The time of a round trip is the wall clock's; a further figure is the CPU
 * time of all threads. */
static inline void
measure_trips(bench_batch batch, int quick, struct bench_result *out)
{
    size_t ops = quick ? 2000 : 20000;
    size_t samples = quick ? 3 : 9;
    if (bench_profiled_ops() > 0) {
        ops = bench_profiled_ops();
        samples = 1;
    }
    batch(100, NULL); /* the other thread runs */
    out->unit = "ns";
    struct timespec before, after;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    for (size_t i = 0; i < samples; i++) {
        uint64_t start = wall_clock();
        (void)bench_timed(batch, ops, NULL);
        bench_add(out, (double)(wall_clock() - start) / (double)ops);
    }
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    bench_note(out, "CPU_of_all",
               ((double)(after.tv_sec - before.tv_sec) * 1e9 +
                (double)(after.tv_nsec - before.tv_nsec)) /
                   (double)(samples * ops));
}

#ifdef HUB_HAS_THREADS
/* Counted in by callgrind: see counts.py. */
void *bench_thread(void *arg);

__attribute__((noinline)) void *
bench_thread(void *arg)
{
    hub_thread_init();
    (void)ticket_partner(arg);
    hub_thread_fini();
    return NULL;
}

static void
batch_round_trip(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++) {
        tickets_give(&ping);
        tickets_take(&pong);
    }
}

static void
row_round_trip(int quick, struct bench_result *out)
{
    pthread_t id;
    tickets_init(&ping);
    tickets_init(&pong);
    if (pthread_create(&id, NULL, bench_thread, NULL) != 0)
        bench_die("pthread_create");
    measure_trips(batch_round_trip, quick, out);
}
#endif

#ifdef HUB_HAS_BLOCKING
static int
does_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void
batch_blocking(size_t ops, void *arg)
{
    for (size_t i = 0; i < ops; i++)
        blocking_call(does_nothing, arg);
}

/* One after the other, there and back. */
static void
row_blocking(int quick, struct bench_result *out)
{
    measure_trips(batch_blocking, quick, out);
}
#endif

static const struct bench_entry rows[] = {
    {"version", row_version},
    {"yield_2", row_yield_2},
    {"yield_100", row_yield_100},
    {"yield_10k", row_yield_10k},
    {"spawn", row_spawn},
    {"spawn_alive", row_spawn_alive},
    {"spawn_many", row_spawn_many},
    {"sleep", row_sleep},
    {"mutex", row_mutex},
    {"mutex_2", row_mutex_2},
    {"mutex_100", row_mutex_100},
    {"tickets", row_tickets},
    {"wake", row_wake},
    {"wake_timed", row_wake_timed},
    {"gate", row_gate},
#ifdef HUB_HAS_CHANNELS
    {"channel", row_channel},
    {"channel_0", row_channel_0},
    {"channel_127", row_channel_127},
#endif
#ifdef HUB_HAS_CANCEL
    {"cancel", row_cancel},
#endif
#ifdef HUB_HAS_THREADS
    {"round_trip", row_round_trip},
#endif
#ifdef HUB_HAS_BLOCKING
    {"blocking", row_blocking},
#endif
    {NULL, NULL},
};

int
main(int argc, char **argv)
{
#ifdef HUB_MAIN
    hub_start();
#endif
    return bench_main(argc, argv, rows);
}

#endif
