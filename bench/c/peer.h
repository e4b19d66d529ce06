/* peer.h - a coroutine written by hand on a bare context switch, as a program
 * that uses one would do it: control block in the caller's memory, stacks of
 * 64 KiB kept on a free list, last in, first out.
 *
 * To be included by a program that defines
 *     peer_context                       a suspended context
 *     peer_start(from, low, size, co)    run peer_entry(co) on a new stack
 *     peer_swap(from, to)
 * A guard is one mprotect() below each stack, so that the kernel's limit of
 * mappings (vm.max_map_count) ends it at about 32,000 stacks; beyond that
 * rows are run with PEER_GUARD 0, and say so. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "bench.h"

#include <stddef.h>
#include <sys/mman.h>

#define PEER_STACK_SIZE ((size_t)64 * 1024)
#define PEER_GUARD_SIZE ((size_t)64 * 1024)

/* At the high end of each stack, which begins below it. */
struct peer_stack {
    _Alignas(16) struct peer_stack *next; /* idle ones */
};

struct co {
    peer_context context;
    void (*body)(struct co *);
    struct peer_stack *stack;
};

static peer_context peer_main;
static struct peer_stack *peer_idle;
static int peer_guard = 1;
static char *peer_slab, *peer_slab_end;

/* Unguarded stacks are cut from large mappings. */
static struct peer_stack *
peer_map(void)
{
    size_t size = PEER_STACK_SIZE;
    char *low;
    if (peer_guard) {
        size += PEER_GUARD_SIZE;
        low = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (low == MAP_FAILED || mprotect(low, PEER_GUARD_SIZE, PROT_NONE) < 0)
            bench_die("no memory or mappings for a stack");
    }
    else {
        if (peer_slab == peer_slab_end) {
            size_t slab_size = PEER_STACK_SIZE * 1024;
            peer_slab =
                mmap(NULL, slab_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (peer_slab == MAP_FAILED)
                bench_die("no memory for stacks");
            (void)madvise(peer_slab, slab_size, MADV_NOHUGEPAGE);
            peer_slab_end = peer_slab + slab_size;
        }
        low = peer_slab;
        peer_slab += size;
    }
    return (struct peer_stack *)(void *)(low + size) - 1;
}

static inline struct peer_stack *
peer_acquire(void)
{
    struct peer_stack *stack = peer_idle;
    if (stack == NULL)
        return peer_map();
    peer_idle = stack->next;
    return stack;
}

static inline void peer_swap(peer_context *from, peer_context *to);
static inline void peer_start(peer_context *from, char *low, size_t size,
                              struct co *co);

/* The first and last function on a coroutine's stack. */
static __attribute__((noreturn)) void
peer_entry(struct co *co)
{
    co->body(co);
    peer_swap(&co->context, &peer_main);
    bench_die("a finished coroutine was resumed");
}

static inline void
co_start(struct co *co, void (*body)(struct co *))
{
    co->body = body;
    co->stack = peer_acquire();
    char *high = (char *)co->stack;
    size_t size = PEER_STACK_SIZE - sizeof(*co->stack);
    peer_start(&peer_main, high - size, size, co);
}

static inline void
co_enter(struct co *co)
{
    peer_swap(&peer_main, &co->context);
}

static inline void
co_leave(struct co *co)
{
    peer_swap(&co->context, &peer_main);
}

static inline void
co_end(struct co *co)
{
    co->stack->next = peer_idle;
    peer_idle = co->stack;
}

#include "rows.h"

static void
row_switch_random_unguarded(int quick, struct bench_result *out)
{
    peer_guard = 0;
    row_switch_random(quick, out);
}

static void
row_rss_unguarded(int quick, struct bench_result *out)
{
    peer_guard = 0;
    row_rss(quick, out);
}

static const struct bench_entry peer_rows[] = {
    {"context", row_switch}, /* there is nothing between the two */
    {"switch", row_switch},
    {"spawn", row_spawn},
    {"spawn_alive", row_spawn_alive},
    {"spawn_cold", row_spawn_cold},
    {"switch_random", row_switch_random_unguarded},
    {"rss", row_rss_unguarded},
    {NULL, NULL},
};

#endif
