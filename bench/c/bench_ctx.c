/* bench_ctx.c - one way of a switch of contexts, side by side with peers.
 *
 * Two sides switch back and forth, each in a loop, in four ways that differ in
 * what the processor can predict:
 *
 *     same_place     both from one place, in no function
 *     other_place    each from a place of its own
 *     same_chain     both inside three nested calls, which return after it
 *     other_chain    each inside three nested calls of its own
 *
 * All implementations are in this one program and take turns round by round,
 * so that whatever disturbs the machine disturbs them all. One line of JSON
 * per row. `bench_ctx [ROUNDS]`. */
#include <coir/ctx.h>

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

/* Both sides run the same function, not copies of it made for each. */
#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif
/* So that no two functions are the same code, nor a call the last act. */
#define UNIQUE(text) __asm__ volatile("/* " text " */")
#define PADDED(text) __asm__ volatile("nop /* " text " */")

enum { MAX_ROUNDS = 101, OPS = 100000, STACK_SIZE = 64 * 1024 };

/* The library's C interface; its own header is C++. */
typedef void *fcontext;
struct fcontext_transfer {
    fcontext from;
    void *data;
};
extern struct fcontext_transfer jump_fcontext(fcontext to, void *data);
extern fcontext make_fcontext(void *high, size_t size,
                              void (*entry)(struct fcontext_transfer));

/* Side 0 is the program, side 1 has a stack of its own. */
struct pair {
    union {
        coir_ctx coir[2];
        fcontext boost[2];
        ucontext_t ucontext[2];
    } side;
    void (*body)(struct pair *);
    char *top;
};

/* -- implementations: switch away from a side, and start side 1 ----------- */

static inline __attribute__((always_inline)) void
coir_leave(struct pair *p, int side)
{
    (void)coir_ctx_swap(&p->side.coir[side], &p->side.coir[!side], NULL);
}

static coir_ctx *
coir_entry(void *arg)
{
    struct pair *p = arg;
    p->body(p); /* never returns */
    return NULL;
}

static void
coir_begin(struct pair *p)
{
    (void)coir_ctx_start(&p->side.coir[0], p->top, coir_entry, p);
}

#if BENCH_NO_FPU
/* The same source assembled again, without the control words. */
void *bench_no_fpu_swap(coir_ctx *from, coir_ctx *to, void *value);
void *bench_no_fpu_start(coir_ctx *from, void *stack_top, coir_ctx_fn fn,
                         void *arg);

static inline __attribute__((always_inline)) void
no_fpu_leave(struct pair *p, int side)
{
    (void)bench_no_fpu_swap(&p->side.coir[side], &p->side.coir[!side], NULL);
}

static void
no_fpu_begin(struct pair *p)
{
    (void)bench_no_fpu_start(&p->side.coir[0], p->top, coir_entry, p);
}
#endif

#if BENCH_BOOST
static inline __attribute__((always_inline)) void
boost_leave(struct pair *p, int side)
{
    p->side.boost[!side] = jump_fcontext(p->side.boost[!side], p).from;
}

static void
boost_entry(struct fcontext_transfer transfer)
{
    struct pair *p = transfer.data;
    p->side.boost[0] = transfer.from;
    p->body(p);
}

static void
boost_begin(struct pair *p)
{
    p->side.boost[1] = make_fcontext(p->top, STACK_SIZE, boost_entry);
    boost_leave(p, 0);
}
#endif

static inline __attribute__((always_inline)) void
ucontext_leave(struct pair *p, int side)
{
    if (swapcontext(&p->side.ucontext[side], &p->side.ucontext[!side]) < 0)
        bench_die("swapcontext");
}

static struct pair *ucontext_starting;

static void
ucontext_entry(void)
{
    ucontext_starting->body(ucontext_starting);
}

static void
ucontext_begin(struct pair *p)
{
    ucontext_t *fresh = &p->side.ucontext[1];
    if (getcontext(fresh) < 0)
        bench_die("getcontext");
    fresh->uc_stack.ss_sp = p->top - STACK_SIZE;
    fresh->uc_stack.ss_size = STACK_SIZE;
    fresh->uc_link = NULL;
    makecontext(fresh, ucontext_entry, 0);
    ucontext_starting = p;
    ucontext_leave(p, 0);
}

/* -- the four ways -------------------------------------------------------- */

/* x_chain is a chain of three calls, x_other_chain another one. */
#define DEFINE_CHAIN(x, chain, UNLIKE)                                        \
    NOINLINE static void x##_##chain##_1(struct pair *p, int side)            \
    {                                                                         \
        x##_leave(p, side);                                                   \
        UNLIKE(#chain "1");                                                   \
    }                                                                         \
    NOINLINE static void x##_##chain##_2(struct pair *p, int side)            \
    {                                                                         \
        x##_##chain##_1(p, side);                                             \
        UNLIKE(#chain "2");                                                   \
    }                                                                         \
    NOINLINE static void x##_##chain(struct pair *p, int side)                \
    {                                                                         \
        x##_##chain##_2(p, side);                                             \
        UNLIKE(#chain "3");                                                   \
    }

#define DEFINE_LOOP(x, name, call, UNLIKE)                                    \
    NOINLINE static void x##_##name(struct pair *p, int side, long n)         \
    {                                                                         \
        for (long i = 0; i < n; i++) {                                        \
            call(p, side);                                                    \
            UNLIKE(#name);                                                    \
        }                                                                     \
    }                                                                         \
    static void x##_##name##_body(struct pair *p)                             \
    {                                                                         \
        for (;;)                                                              \
            x##_##name(p, 1, OPS);                                            \
    }

#define DEFINE(x)                                                             \
    DEFINE_CHAIN(x, chain, UNIQUE)                                            \
    DEFINE_CHAIN(x, other_chain, PADDED)                                      \
    DEFINE_LOOP(x, loop, x##_leave, UNIQUE)                                   \
    DEFINE_LOOP(x, other_loop, x##_leave, PADDED)                             \
    DEFINE_LOOP(x, chain_loop, x##_chain, UNIQUE)                             \
    DEFINE_LOOP(x, other_chain_loop, x##_other_chain, PADDED)

struct row {
    const char *name;
    const char *impl;
    void (*begin)(struct pair *p);
    void (*loop)(struct pair *p, int side, long n);
    void (*body)(struct pair *p);
    struct pair pair;
    double ns[MAX_ROUNDS];
};

#define ROWS(x, impl)                                                         \
    {.name = "same_place",                                                    \
     .loop = x##_loop,                                                        \
     .body = x##_loop_body,                                                   \
     ROW(x, impl)},                                                           \
        {.name = "other_place",                                               \
         .loop = x##_loop,                                                    \
         .body = x##_other_loop_body,                                         \
         ROW(x, impl)},                                                       \
        {.name = "same_chain",                                                \
         .loop = x##_chain_loop,                                              \
         .body = x##_chain_loop_body,                                         \
         ROW(x, impl)},                                                       \
    {                                                                         \
        .name = "other_chain", .loop = x##_chain_loop,                        \
        .body = x##_other_chain_loop_body, ROW(x, impl)                       \
    }
#define ROW(x, impl_name) .begin = x##_begin, .impl = impl_name

DEFINE(coir)
#if BENCH_NO_FPU
DEFINE(no_fpu)
#endif
#if BENCH_BOOST
DEFINE(boost)
#endif
DEFINE(ucontext)

static struct row rows[] = {
    ROWS(coir, BENCH_COIR),
#if BENCH_NO_FPU
    ROWS(no_fpu, "coir, asm, no control words"),
#endif
#if BENCH_BOOST
    ROWS(boost, "boost.context"),
#endif
    ROWS(ucontext, "swapcontext"),
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 21;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_ctx [ROUNDS], 1 to %d\n", MAX_ROUNDS);
        return 2;
    }
    for (int i = 0; i < ROW_COUNT; i++) {
        struct row *row = &rows[i];
        char *stack = aligned_alloc(4096, STACK_SIZE);
        if (stack == NULL)
            bench_die("no memory");
        row->pair.top = stack + STACK_SIZE;
        row->pair.body = row->body;
        row->begin(&row->pair);
    }
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < ROW_COUNT; i++) {
            struct row *row = &rows[i];
            row->loop(&row->pair, 0, OPS / 50); /* warm up */
            uint64_t before = bench_clock();
            row->loop(&row->pair, 0, OPS);
            row->ns[round] = (double)(bench_clock() - before) / (2.0 * OPS);
        }
    }
    for (int i = 0; i < ROW_COUNT; i++) {
        struct row *row = &rows[i];
        qsort(row->ns, (size_t)rounds, sizeof(row->ns[0]), compare);
        printf("{\"name\": \"%s\", \"impl\": \"%s\", \"ns_median\": %.2f, "
               "\"ns_min\": %.2f, \"rounds\": %d}\n",
               row->name, row->impl, row->ns[rounds / 2], row->ns[0], rounds);
    }
    return 0;
}
