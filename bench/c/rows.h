/* rows.h - the rows that every implementation of coroutines can run.
 *
 * To be included by a program that defines
 *     struct co                     control block, may be zeroed memory
 *     co_start(co, body)            set up and switch to it
 *     co_enter(co)                  main -> coroutine
 *     co_leave(co)                  coroutine -> main
 *     co_end(co)                    after its body has returned
 * where body is void body(struct co *) and its return comes back to main. As
 * all is compiled into one program, an implementation made of inline functions
 * has the advantage of inlining, and one in a library has not. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include "bench.h"

#include <stdlib.h>

static void
body_loop(struct co *co)
{
    for (;;)
        co_leave(co);
}

static void
body_once(struct co *co)
{
    co_leave(co);
}

static void
body_nothing(struct co *co)
{
    (void)co;
}

static struct co *
make_many(size_t count)
{
    struct co *many = calloc(count, sizeof(*many));
    if (many == NULL)
        bench_die("calloc");
    return many;
}

/* An operation is one way, so half a round trip. */
static void
batch_switch(size_t ops, void *arg)
{
    struct co *co = arg;
    for (size_t i = 0; i < ops / 2; i++)
        co_enter(co);
}

static void
row_switch(int quick, struct bench_result *out)
{
    static struct co co;
    co_start(&co, body_loop);
    bench_measure(batch_switch, &co, quick, out);
}

static void
batch_spawn(size_t ops, void *arg)
{
    struct co *co = arg;
    for (size_t i = 0; i < ops; i++) {
        co_start(co, body_nothing);
        co_end(co);
    }
}

static void
row_spawn(int quick, struct bench_result *out)
{
    static struct co co;
    bench_measure(batch_spawn, &co, quick, out);
}

/* 1,000 are started, switch back once, and only then the first one is resumed
 * to its end; an operation is one of them, with a round trip more than in
 * row_spawn(). */
#define ALIVE 1000

static void
batch_spawn_alive(size_t ops, void *arg)
{
    struct co *many = arg;
    for (size_t done = 0; done < ops; done += ALIVE) {
        for (size_t i = 0; i < ALIVE; i++)
            co_start(&many[i], body_once);
        for (size_t i = 0; i < ALIVE; i++) {
            co_enter(&many[i]);
            co_end(&many[i]);
        }
    }
}

static void
row_spawn_alive(int quick, struct bench_result *out)
{
    struct co *many = make_many(ALIVE);
    bench_measure(batch_spawn_alive, many, quick, out);
}

/* First use of fresh, guarded stacks: start, switch back, stay suspended. */
static void
row_spawn_cold(int quick, struct bench_result *out)
{
    size_t count = quick ? 500 : 2000;
    size_t rounds = quick ? 3 : 9;
    struct co *many = make_many(count * rounds);
    out->unit = "ns";
    for (size_t round = 0; round < rounds; round++, many += count) {
        uint64_t start = bench_clock();
        for (size_t i = 0; i < count; i++)
            co_start(&many[i], body_loop);
        bench_add(out, (double)(bench_clock() - start) / (double)count);
    }
}

/* Enter each of many suspended ones and come back, in an order that no cache
 * foresees; an operation is a round trip. */
static void
row_switch_random(int quick, struct bench_result *out)
{
    size_t count = quick ? 10000 : 100000;
    struct co *many = make_many(count);
    size_t *order = calloc(count, sizeof(*order));
    if (order == NULL)
        bench_die("calloc");
    for (size_t i = 0; i < count; i++) {
        co_start(&many[i], body_loop);
        size_t j = (size_t)random() % (i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    out->unit = "ns";
    for (int round = -1; round < 7; round++) {
        uint64_t start = bench_clock();
        for (size_t i = 0; i < count; i++)
            co_enter(&many[order[i]]);
        uint64_t taken = bench_clock() - start;
        if (round >= 0) /* the first warms up */
            bench_add(out, (double)taken / (double)count);
    }
}

/* Resident bytes of a suspended coroutine, its control block included. */
static void
row_rss(int quick, struct bench_result *out)
{
    size_t count = quick ? 100000 : 1000000;
    double rss = bench_rss();
    double page_tables = bench_page_tables();
    struct co *many = make_many(count);
    for (size_t i = 0; i < count; i++)
        co_start(&many[i], body_loop);
    out->unit = "B";
    bench_add(out, (bench_rss() - rss) / (double)count);
    bench_note(out, "page_tables",
               (bench_page_tables() - page_tables) / (double)count);
    bench_note(out, "count", (double)count);
}

#endif
