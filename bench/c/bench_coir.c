/* bench_coir.c - the core rows on libcoir, through its public interface and
 * with its defaults. */
#include <coir.h>

#include "bench.h"

struct co {
    coir_coro coro;
    void (*body)(struct co *);
};

static coir_coro *main_coro;
static coir_coro_attr attr;

static int
coir_entry(void *arg, void *value, void **result)
{
    struct co *co = arg;
    (void)value;
    (void)result;
    co->body(co);
    return 0;
}

static inline void
co_enter(struct co *co)
{
    if (coir_coro_switch(&co->coro, NULL, NULL) < 0)
        bench_die("coir_coro_switch");
}

static inline void
co_leave(struct co *co)
{
    (void)co;
    if (coir_coro_switch(main_coro, NULL, NULL) < 0)
        bench_die("coir_coro_switch to main");
}

static inline void
co_start(struct co *co, void (*body)(struct co *))
{
    co->body = body;
    if (coir_coro_init(&co->coro, coir_entry, co, &attr) < 0)
        bench_die("coir_coro_init");
    co_enter(co);
}

static inline void
co_end(struct co *co)
{
    if (coir_coro_fini(&co->coro) < 0)
        bench_die("coir_coro_fini");
}

#include "rows.h"

/* The bare switch of machine contexts, below coroutines. */
static coir_ctx context_main, context_other;

static coir_ctx *
context_loop(void *arg)
{
    (void)arg;
    for (;;)
        (void)coir_ctx_swap(&context_other, &context_main, NULL);
    return NULL;
}

static void
batch_context(size_t ops, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < ops / 2; i++)
        (void)coir_ctx_swap(&context_main, &context_other, NULL);
}

static void
row_context(int quick, struct bench_result *out)
{
    static _Alignas(16) char stack[64 * 1024];
    (void)coir_ctx_start(&context_main, stack + sizeof(stack), context_loop,
                         NULL);
    bench_measure(batch_context, NULL, quick, out);
}

/* The same rows with the other policy. */
static void
row_slice_switch(int quick, struct bench_result *out)
{
    attr.policy = COIR_POLICY_SLICE;
    row_switch(quick, out);
}

static void
row_slice_spawn(int quick, struct bench_result *out)
{
    attr.policy = COIR_POLICY_SLICE;
    row_spawn(quick, out);
}

static void
row_slice_rss(int quick, struct bench_result *out)
{
    attr.policy = COIR_POLICY_SLICE;
    row_rss(quick, out);
}

/* What kernels without MADV_GUARD_INSTALL get. */
static void
row_spawn_cold_mprotect(int quick, struct bench_result *out)
{
    coir_stack_pool_attr pool_attr = {.guard = COIR_GUARD_MPROTECT};
    if (coir_thread_set_pool_attr(&pool_attr) < 0)
        bench_die("coir_thread_set_pool_attr");
    row_spawn_cold(quick, out);
}

/* How this build works: figures are of enum coir_stack_guard. */
static void
row_info(int quick, struct bench_result *out)
{
    static struct co co;
    coir_stack_pool_stats stats;
    (void)quick;
    co_start(&co, body_nothing);
    co_end(&co);
    coir_stack_pool_get_stats(coir_thread_pool(), &stats);
    out->unit = coir_ctx_backend();
    bench_add(out, stats.guard);
    bench_note(out, "control_block", (double)sizeof(coir_coro));
}

static const struct bench_entry rows[] = {
    {"context", row_context},
    {"switch", row_switch},
    {"spawn", row_spawn},
    {"spawn_alive", row_spawn_alive},
    {"spawn_cold", row_spawn_cold},
    {"spawn_cold_mprotect", row_spawn_cold_mprotect},
    {"switch_random", row_switch_random},
    {"rss", row_rss},
    {"slice_switch", row_slice_switch},
    {"slice_spawn", row_slice_spawn},
    {"slice_rss", row_slice_rss},
    {"info", row_info},
    {NULL, NULL},
};

int
main(int argc, char **argv)
{
    main_coro = coir_coro_main();
    if (main_coro == NULL)
        bench_die("coir_coro_main");
    return bench_main(argc, argv, rows);
}
