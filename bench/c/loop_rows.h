/* loop_rows.h - the rows that every event loop can run.
 *
 * To be included by a program that defines
 *     struct loop
 *     loop_open(loop)
 *     loop_run(loop)                     until nothing is active, or:
 *     loop_break(loop)                   from a callback
 *     loop_turn(loop)                    one turn that does not block
 *     loop_now_update(loop)              read the clock
 *     loop_collect(loop)                 wait for 1 ms at least
 *     struct timer                       zeroed memory
 *     timer_init(loop, timer, repeat_ms)
 *     timer_start(loop, timer, us)       set the timeout and start
 *     timer_stop(loop, timer), timer_again(loop, timer)
 *     struct io
 *     io_init(loop, io, fd)              for reading
 *     io_start(loop, io), io_stop(loop, io)
 *     struct async                       what other threads wake a loop by
 *     async_init(loop, async)            and start
 *     async_send(loop, async)
 *     loop_version()                     of the library, a string
 * and, if it defines LOOP_HAS_OPERATIONS,
 *     struct op                          an operation that completes
 *     op_receive(loop, op, fd, byte)     start to receive a byte
 *     op_send(loop, op, fd)              start to send one
 *     op_receive_many(loop, op, fd)      receive bytes on and on, one by one
 * and whose callbacks call on_timer(), on_readable(), on_async() and, of a
 * byte that was received, on_received(). With LOOP_IS_RAW there are neither
 * timers nor asyncs, and an io is never stopped. Time is CPU time of the
 * thread, but for a round trip between two threads. */
#ifndef BENCH_LOOP_ROWS_H
#define BENCH_LOOP_ROWS_H

#include "bench.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct loop loop;

static void *
make_zeroed(size_t count, size_t size)
{
    void *many = calloc(count, size);
    if (many == NULL)
        bench_die("calloc");
    return many;
}

#ifndef LOOP_IS_RAW

/* The same numbers for all. */
static uint32_t
next_random(void)
{
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static void
sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

/* --- timers -------------------------------------------------------------- */

#define MS 1000 /* in microseconds */
#define LEAD_MS                                                               \
    500 /* the first timeout: later than the last timer is armed              \
         */

static struct timers {
    struct timer *timers;
    uint32_t *us;    /* their timeouts */
    uint32_t *order; /* a random permutation */
    size_t count;
    size_t fired;
    int stop; /* those that fire, as they would come again */
} set;

static void
on_timer(struct timer *timer)
{
    set.fired++;
    if (set.stop)
        timer_stop(&loop, timer);
}

/* Timeouts are random multiples of `grain`, from `first` to `last`. */
static void
make_timers(size_t count, uint32_t first, uint32_t last, uint32_t grain)
{
    if (bench_profiled_ops() > 0)
        count = bench_profiled_ops();
    loop_open(&loop);
    set.count = count;
    set.timers = make_zeroed(count, sizeof(*set.timers));
    set.us = make_zeroed(count, sizeof(*set.us));
    set.order = make_zeroed(count, sizeof(*set.order));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = next_random() % (i + 1);
        set.us[i] = first + next_random() % ((last - first) / grain) * grain;
        set.order[i] = set.order[j];
        set.order[j] = i;
        timer_init(&loop, &set.timers[i], set.us[i] / MS);
    }
}

static void
batch_arm(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        timer_start(&loop, &set.timers[i], set.us[i]);
}

static void
batch_cancel(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        timer_stop(&loop, &set.timers[i]);
}

static void
batch_cancel_random(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        timer_stop(&loop, &set.timers[set.order[i]]);
}

static void
batch_again(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        timer_again(&loop, &set.timers[i]);
}

/* All that are armed; the loop then ends by itself. */
static void
batch_fire(size_t ops, void *arg)
{
    (void)arg;
    set.fired = 0;
    loop_run(&loop);
    if (set.fired != ops)
        bench_die("not every timer fired once");
}

static void
batch_again_fire(size_t ops, void *arg)
{
    batch_again(ops, arg);
    batch_fire(ops, arg);
}

/* What is sampled and what comes before and after, each for all timers. */
static void
sample_timers(bench_batch before, long pause_ms, bench_batch timed,
              bench_batch after, size_t samples, struct bench_result *out)
{
    if (bench_profiled_ops() > 0)
        samples = 1;
    out->unit = "ns";
    for (size_t i = 0; i < samples; i++) {
        loop_now_update(&loop);
        if (before != NULL)
            before(set.count, NULL);
        sleep_ms(pause_ms);
        loop_now_update(&loop);
        uint64_t taken = bench_timed(timed, set.count, NULL);
        bench_add(out, (double)taken / (double)set.count);
        if (after != NULL)
            after(set.count, NULL);
        loop_turn(&loop);
    }
}

/* Timeouts of up to a minute, as those of connections. */
static void
row_arm(size_t count, struct bench_result *out)
{
    make_timers(count, MS, 60000 * MS, MS);
    sample_timers(NULL, 0, batch_arm, batch_cancel, 9, out);
}

static void
row_cancel(size_t count, struct bench_result *out)
{
    make_timers(count, MS, 60000 * MS, MS);
    sample_timers(batch_arm, 0, batch_cancel, NULL, 9, out);
}

static void
row_cancel_random(size_t count, struct bench_result *out)
{
    make_timers(count, MS, 60000 * MS, MS);
    sample_timers(batch_arm, 0, batch_cancel_random, NULL, 9, out);
}

/* They are put off by a little: 5 ms passed since they were armed. */
static void
row_again(size_t count, struct bench_result *out)
{
    make_timers(count, MS, 60000 * MS, MS);
    sample_timers(batch_arm, 5, batch_again, batch_cancel, 9, out);
}

/* A second in which all fire, in real time: about a thousand turns. */
static void
row_fire(size_t count, struct bench_result *out)
{
    make_timers(count, LEAD_MS * MS, (LEAD_MS + 1000) * MS, MS);
    set.stop = 1;
    sample_timers(batch_arm, 0, batch_fire, NULL, 2, out);
}

/* The same without their gathering in milliseconds; a loop that counts in
 * these rounds. */
static void
row_fire_apart(size_t count, struct bench_result *out)
{
    make_timers(count, LEAD_MS * MS, (LEAD_MS + 1000) * MS, 1);
    set.stop = 1;
    sample_timers(batch_arm, 0, batch_fire, NULL, 2, out);
}

static void
row_fire_collected(size_t count, struct bench_result *out)
{
    make_timers(count, LEAD_MS * MS, (LEAD_MS + 1000) * MS, 1);
    loop_collect(&loop);
    set.stop = 1;
    sample_timers(batch_arm, 0, batch_fire, NULL, 2, out);
}

/* The same at once, after the loop was held up. */
static void
row_fire_late(size_t count, struct bench_result *out)
{
    make_timers(count, LEAD_MS * MS, (LEAD_MS + 1000) * MS, MS);
    set.stop = 1;
    sample_timers(batch_arm, LEAD_MS + 1000, batch_fire, NULL, 2, out);
}

/* A loop may note a new deadline and do the work later: both parts. */
static void
row_again_fire(size_t count, struct bench_result *out)
{
    make_timers(count, LEAD_MS * MS, (LEAD_MS + 1000) * MS, MS);
    set.stop = 1;
    sample_timers(batch_arm, 5, batch_again_fire, NULL, 2, out);
}

#define TIMER_ROW(name)                                                       \
    static void row_##name##_100k(int quick, struct bench_result *out)        \
    {                                                                         \
        row_##name(quick ? 10000 : 100000, out);                              \
    }                                                                         \
                                                                              \
    static void row_##name##_1m(int quick, struct bench_result *out)          \
    {                                                                         \
        row_##name(quick ? 100000 : 1000000, out);                            \
    }

TIMER_ROW(arm)
TIMER_ROW(cancel)
TIMER_ROW(cancel_random)
TIMER_ROW(again)
TIMER_ROW(fire)
TIMER_ROW(fire_apart)
TIMER_ROW(fire_collected)
TIMER_ROW(fire_late)
TIMER_ROW(again_fire)

#endif

/* --- descriptors --------------------------------------------------------- */

#define SPARE_FDS 64 /* for all but the pairs */

struct pair {
    struct io io; /* of the first; the second is written to */
#ifdef LOOP_HAS_OPERATIONS
    struct op receive; /* instead of `io` */
    struct op send;    /* to the next pair */
    char byte;
#endif
    int fds[2];
    struct pair *next;
};

static struct pairs {
    struct pair *pairs;
    size_t count;
    size_t active;
    size_t to_write;
    size_t to_read;
} ring;

static void
pass_on(struct pair *pair)
{
    if (write(pair->fds[1], "", 1) != 1)
        bench_die("write");
}

/* Read the byte, and pass it on to the next pair. */
static void
on_readable(struct io *io)
{
    struct pair *pair = (struct pair *)(void *)io;
    char byte;
    if (read(pair->fds[0], &byte, 1) != 1)
        bench_die("read");
    if (ring.to_write > 0) {
        ring.to_write--;
        pass_on(pair->next);
    }
    if (--ring.to_read == 0)
        loop_break(&loop);
}

static void
watch(struct pair *pair)
{
    io_init(&loop, &pair->io, pair->fds[0]);
    io_start(&loop, &pair->io);
}

/* As many pairs as are asked for, or those that the limit of descriptors
 * allows, if that is nearly as many. */
static size_t
affordable_pairs(size_t count)
{
    struct rlimit limit;
    rlim_t wanted = 2 * count + SPARE_FDS;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < wanted) {
        struct rlimit more = {wanted, wanted};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return count;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        bench_die("setrlimit");
    if (limit.rlim_max >= wanted)
        return count;
    size_t pairs = (limit.rlim_max - SPARE_FDS) / 2;
    if (pairs < count - count / 10)
        bench_die("too few descriptors (ulimit -n)");
    return pairs;
}

static void
make_pairs(size_t count, void (*begin)(struct pair *pair))
{
    count = affordable_pairs(count);
    loop_open(&loop);
    ring.count = count;
    ring.pairs = make_zeroed(count, sizeof(*ring.pairs));
    for (size_t i = 0; i < count; i++) {
        struct pair *pair = &ring.pairs[i];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair->fds) < 0)
            bench_die("socketpair");
        pair->next = &ring.pairs[(i + 1) % count];
        begin(pair);
    }
    loop_turn(&loop); /* all are registered */
}

/* An operation is a byte that was read, and the next one written. */
static void
batch_pass(size_t ops, void *arg)
{
    (void)arg;
    size_t active = ops < ring.active ? ops : ring.active;
    ring.to_read = ops;
    ring.to_write = ops - active;
    for (size_t i = 0; i < active; i++)
        pass_on(&ring.pairs[i * (ring.count / active)]);
    loop_run(&loop);
}

static void
row_pass(size_t count, size_t active, void (*begin)(struct pair *pair),
         int quick, struct bench_result *out)
{
    make_pairs(count, begin);
    ring.active = active;
    bench_measure(batch_pass, NULL, quick, out);
    if (ring.count < count)
        bench_note(out, "pairs", (double)ring.count);
}

#define PASS_ROW(count, active)                                               \
    static void row_pass_##count##_##active(int quick,                        \
                                            struct bench_result *out)         \
    {                                                                         \
        row_pass(count, active, watch, quick, out);                           \
    }

PASS_ROW(100, 1)
PASS_ROW(100, 100)
PASS_ROW(1000, 1)
PASS_ROW(1000, 100)
PASS_ROW(1000, 1000)
PASS_ROW(10000, 1)
PASS_ROW(10000, 100)
PASS_ROW(10000, 1000)

#ifdef LOOP_HAS_OPERATIONS

/* The same, where the loop receives and sends. */
static int many;

static void
on_received(struct op *op)
{
    struct pair *pair =
        (struct pair *)(void *)((char *)op - offsetof(struct pair, receive));
    if (ring.to_write > 0) {
        ring.to_write--;
        op_send(&loop, &pair->send, pair->next->fds[1]);
    }
    if (!many)
        op_receive(&loop, &pair->receive, pair->fds[0], &pair->byte);
    if (--ring.to_read == 0)
        loop_break(&loop);
}

static void
receive(struct pair *pair)
{
    op_receive(&loop, &pair->receive, pair->fds[0], &pair->byte);
}

static void
receive_many(struct pair *pair)
{
    many = 1;
    op_receive_many(&loop, &pair->receive, pair->fds[0]);
}

#define OPERATION_ROW(name, count, active, begin)                             \
    static void row_##name##_##count##_##active(int quick,                    \
                                                struct bench_result *out)     \
    {                                                                         \
        row_pass(count, active, begin, quick, out);                           \
    }

OPERATION_ROW(operations, 100, 1, receive)
OPERATION_ROW(operations, 100, 100, receive)
OPERATION_ROW(operations, 1000, 100, receive)
OPERATION_ROW(operations, 10000, 1000, receive)
OPERATION_ROW(operations_many, 1000, 100, receive_many)
OPERATION_ROW(operations_many, 10000, 1000, receive_many)

#endif

#ifndef LOOP_IS_RAW

/* The rest has two descriptors, of which one keeps the loop alive. */

static void
batch_turn(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        loop_turn(&loop);
}

static void
row_turn(int quick, struct bench_result *out)
{
    make_pairs(2, watch);
    bench_measure(batch_turn, NULL, quick, out);
}

static void
batch_start_stop(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++) {
        io_stop(&loop, &ring.pairs[1].io);
        io_start(&loop, &ring.pairs[1].io);
    }
    loop_turn(&loop);
}

static void
row_start_stop(int quick, struct bench_result *out)
{
    make_pairs(2, watch);
    bench_measure(batch_start_stop, NULL, quick, out);
}

static void
batch_start_stop_turns(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++) {
        io_stop(&loop, &ring.pairs[1].io);
        loop_turn(&loop);
        io_start(&loop, &ring.pairs[1].io);
        loop_turn(&loop);
    }
}

static void
row_start_stop_turns(int quick, struct bench_result *out)
{
    make_pairs(2, watch);
    bench_measure(batch_start_stop_turns, NULL, quick, out);
}

/* --- wake-ups across threads --------------------------------------------- */

/* A loop and what wakes it; there are two, each run by a thread. */
static struct side {
    struct async async; /* first */
    struct loop loop;
    struct side *other; /* woken in turn; NULL: none */
    size_t left;        /* wake-ups before it leaves */
    atomic_size_t woken;
} here, there;

static void
on_async(struct async *async)
{
    struct side *side = (struct side *)(void *)async;
    atomic_store_explicit(&side->woken, side->woken + 1, memory_order_relaxed);
    if (side->left > 0 && --side->left == 0) {
        loop_break(&side->loop);
        return;
    }
    if (side->other != NULL)
        async_send(&side->other->loop, &side->other->async);
}

static void
make_sides(void)
{
    loop_open(&here.loop);
    loop_open(&there.loop);
    async_init(&here.loop, &here.async);
    async_init(&there.loop, &there.async);
}

/* A thread's main function; instructions are counted in it too. */
void *bench_thread(void *arg);

__attribute__((noinline)) void *
bench_thread(void *arg)
{
    struct side *side = arg;
    loop_run(&side->loop);
    return NULL;
}

static void
start_thread(struct side *side)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, bench_thread, side) != 0 ||
        pthread_detach(thread) != 0)
        bench_die("pthread_create");
}

static uint64_t
read_clock(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
batch_round_trips(size_t ops, void *arg)
{
    (void)arg;
    here.left = ops;
    async_send(&there.loop, &there.async);
    loop_run(&here.loop);
}

/* The time of a round trip is the wall clock's; a further figure is the CPU
 * time of both threads. */
static void
row_round_trip(int quick, struct bench_result *out)
{
    size_t ops = quick ? 2000 : 20000;
    size_t samples = quick ? 3 : 9;
    if (bench_profiled_ops() > 0) {
        ops = bench_profiled_ops();
        samples = 1;
    }
    make_sides();
    here.other = &there;
    there.other = &here;
    start_thread(&there);
    batch_round_trips(100, NULL); /* until it runs */
    out->unit = "ns";
    uint64_t cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < samples; i++) {
        uint64_t start = read_clock(CLOCK_MONOTONIC);
        (void)bench_timed(batch_round_trips, ops, NULL);
        uint64_t taken = read_clock(CLOCK_MONOTONIC) - start;
        bench_add(out, (double)taken / (double)ops);
    }
    cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    bench_note(out, "CPU_of_both", (double)cpu / (double)(samples * ops));
}

static size_t sends;

static void
batch_send(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops; i++)
        async_send(&there.loop, &there.async);
    sends += ops;
}

/* One sends as fast as it can to a loop that does nothing but be woken. */
static void
row_send(int quick, struct bench_result *out)
{
    make_sides();
    start_thread(&there);
    while (atomic_load(&there.woken) == 0) { /* until it runs */
        async_send(&there.loop, &there.async);
        sleep_ms(1);
    }
    bench_measure(batch_send, NULL, quick, out);
    sleep_ms(10);
    bench_note(out, "sends_for_one_callback",
               (double)sends / (double)atomic_load(&there.woken));
}

#endif

static void
row_version(int quick, struct bench_result *out)
{
    (void)quick;
    out->unit = loop_version();
}

static const struct bench_entry rows[] = {
    {"version", row_version},
#ifndef LOOP_IS_RAW
    {"arm_100k", row_arm_100k},
    {"arm_1m", row_arm_1m},
    {"cancel_100k", row_cancel_100k},
    {"cancel_1m", row_cancel_1m},
    {"cancel_random_100k", row_cancel_random_100k},
    {"cancel_random_1m", row_cancel_random_1m},
    {"again_100k", row_again_100k},
    {"again_1m", row_again_1m},
    {"fire_100k", row_fire_100k},
    {"fire_1m", row_fire_1m},
    {"fire_apart_100k", row_fire_apart_100k},
    {"fire_apart_1m", row_fire_apart_1m},
    {"fire_collected_100k", row_fire_collected_100k},
    {"fire_collected_1m", row_fire_collected_1m},
    {"fire_late_100k", row_fire_late_100k},
    {"fire_late_1m", row_fire_late_1m},
    {"again_fire_100k", row_again_fire_100k},
    {"again_fire_1m", row_again_fire_1m},
#endif
    {"pass_100_1", row_pass_100_1},
    {"pass_100_100", row_pass_100_100},
    {"pass_1000_1", row_pass_1000_1},
    {"pass_1000_100", row_pass_1000_100},
    {"pass_1000_1000", row_pass_1000_1000},
    {"pass_10000_1", row_pass_10000_1},
    {"pass_10000_100", row_pass_10000_100},
    {"pass_10000_1000", row_pass_10000_1000},
#ifdef LOOP_HAS_OPERATIONS
    {"operations_100_1", row_operations_100_1},
    {"operations_100_100", row_operations_100_100},
    {"operations_1000_100", row_operations_1000_100},
    {"operations_10000_1000", row_operations_10000_1000},
    {"operations_many_1000_100", row_operations_many_1000_100},
    {"operations_many_10000_1000", row_operations_many_10000_1000},
#endif
#ifndef LOOP_IS_RAW
    {"turn", row_turn},
    {"start_stop", row_start_stop},
    {"start_stop_turns", row_start_stop_turns},
    {"round_trip", row_round_trip},
    {"send", row_send},
#endif
    {NULL, NULL},
};

int
main(int argc, char **argv)
{
    return bench_main(argc, argv, rows);
}

#endif
