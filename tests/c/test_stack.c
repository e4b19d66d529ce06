/* test_stack.c - pool of guarded stacks: include/coir/stack.h.
 *
 * Whether an address faults is found out in two ways: by dying of it in a
 * child process, and, where many are asked, by handing it to the kernel, which
 * answers EFAULT. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <coir/stack.h>

#include "harness.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

static coir_stack_pool *
new_pool(coir_stack_pool_attr attr)
{
    coir_stack_pool *pool = NULL;
    CHECK_EQ(coir_stack_pool_new(&pool, &attr), 0);
    CHECK(pool != NULL);
    return pool;
}

static coir_stack
take(coir_stack_pool *pool, size_t size)
{
    coir_stack stack = {0};
    CHECK_EQ(coir_stack_acquire(pool, size, &stack), 0);
    CHECK(stack.base != NULL);
    CHECK(stack.size >= size);
    return stack;
}

static coir_stack_pool_stats
stats(const coir_stack_pool *pool)
{
    coir_stack_pool_stats s;
    memset(&s, 0xff, sizeof s);
    coir_stack_pool_get_stats(pool, &s);
    CHECK_EQ(s.stacks, s.in_use + s.idle_warm + s.idle_cold);
    return s;
}

static size_t
page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static int
faults(const void *address)
{
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    ssize_t n = write(fds[1], address, 1);
    int error = errno;
    close(fds[0]);
    close(fds[1]);
    CHECK(n == 1 || error == EFAULT);
    return n != 1;
}

/* Does the kernel know MADV_GUARD_INSTALL? Some emulators take any advice for
 * good and do nothing, so look at what it did. (Valgrind does not understand
 * what it does, so that the pool does without it there.) */
static int
has_madv_guard(void)
{
    if (coir_test_on_valgrind())
        return 0;
    size_t page = page_size();
    char *map = mmap(NULL, page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    int has = madvise(map, page, MADV_GUARD_INSTALL) == 0 && faults(map);
    munmap(map, page);
    return has;
}

static int
has_guard(int guard)
{
    return guard == COIR_GUARD_MADV ? has_madv_guard() : 1;
}

/* First and last words, which a neighbour's overflow would hit first. */
static void
mark(const coir_stack *stack, uint64_t mark_value)
{
    memcpy(stack->base, &mark_value, sizeof mark_value);
    memcpy((char *)stack->base + stack->size - sizeof mark_value, &mark_value,
           sizeof mark_value);
}

static void
check_mark(const coir_stack *stack, uint64_t mark_value)
{
    CHECK(memcmp(stack->base, &mark_value, sizeof mark_value) == 0);
    CHECK(memcmp((char *)stack->base + stack->size - sizeof mark_value,
                 &mark_value, sizeof mark_value) == 0);
}

/* -- making and freeing --------------------------------------------------- */

TEST(stack, new_pool_maps_nothing)
{
    long mapped = coir_test_calls(COIR_TEST_MMAP);
    coir_stack_pool *pool = NULL;
    CHECK_EQ(coir_stack_pool_new(&pool, NULL), 0);
    CHECK(pool != NULL);
    coir_stack_pool_stats s = stats(pool);
    CHECK_EQ(s.stacks, 0);
    CHECK_EQ(s.slabs, 0);
    CHECK_EQ(s.mapped_bytes, 0);
    CHECK_EQ(s.high_water, 0);
    CHECK_EQ(coir_test_calls(COIR_TEST_MMAP), mapped);
    coir_stack_pool_free(pool);
    coir_stack_pool_free(NULL);
}

TEST(stack, new_pool_without_memory_leaves_out_alone)
{
    EACH_ALLOC_FAILURE(n)
    {
        coir_stack_pool *pool = NULL;
        int err = coir_stack_pool_new(&pool, NULL);
        if (err < 0) {
            CHECK_EQ(err, COIR_ENOMEM);
            CHECK_NULL(pool);
        }
        coir_stack_pool_free(pool);
    }
    CHECK(coir_test_failures(COIR_TEST_ALLOC) > 0);
}

TEST(stack, new_pool_refuses_unknown_guards)
{
    static const int wrong[] = {-1, COIR_GUARD_NONE + 1, 1000};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        coir_stack_pool *pool = NULL;
        coir_stack_pool_attr attr = {.guard = wrong[i]};
        CHECK_EQ(coir_stack_pool_new(&pool, &attr), COIR_EINVAL);
        CHECK_NULL(pool);
    }
}

TEST(stack, stacks_in_use_outlive_their_pool)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack a = take(pool, 64 * KIB);
    coir_stack b = take(pool, 1 * MIB);
    coir_stack idle = take(pool, 32 * KIB);
    coir_stack_release(pool, &idle);
    mark(&a, 1);
    mark(&b, 2);
    coir_stack_pool_free(pool);
    check_mark(&a, 1);
    check_mark(&b, 2);
    CHECK(coir_test_mapped_bytes() > 0);
    coir_stack_release(pool, &b);
    check_mark(&a, 1);
    coir_stack_release(pool, &a);
    CHECK_EQ(coir_test_mapped_bytes(), 0);
    CHECK_EQ(coir_test_live_blocks(), 0);
}

/* -- sizes ---------------------------------------------------------------- */

/* Powers of two and their halfway points. */
static size_t
size_class(size_t size)
{
    size_t power = COIR_STACK_MIN;
    while (power < size && power + power / 2 < size)
        power *= 2;
    return power >= size ? power : power + power / 2;
}

TEST(stack, sizes_are_classes)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    static const size_t sizes[] = {0,
                                   1,
                                   4096,
                                   16 * KIB,
                                   16 * KIB + 1,
                                   24 * KIB,
                                   24 * KIB + 1,
                                   32 * KIB,
                                   33 * KIB,
                                   48 * KIB,
                                   64 * KIB,
                                   65 * KIB,
                                   96 * KIB,
                                   100 * KIB,
                                   128 * KIB,
                                   256 * KIB,
                                   300 * KIB,
                                   1 * MIB,
                                   1 * MIB + 1,
                                   2 * MIB,
                                   8 * MIB,
                                   100 * MIB,
                                   512 * MIB,
                                   COIR_STACK_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        coir_stack stack = take(pool, sizes[i]);
        size_t expected = size_class(sizes[i]);
        if (page_size() <= 4096)
            CHECK_EQ(stack.size, expected);
        CHECK_EQ((uintptr_t)stack.base % page_size(), 0);
        CHECK_EQ(stack.size % page_size(), 0);
        mark(&stack, i);
        check_mark(&stack, i);
        coir_stack_release(pool, &stack);
    }
    coir_stack_pool_free(pool);
}

TEST(stack, too_large_is_refused)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    static const size_t sizes[] = {COIR_STACK_MAX + 1, SIZE_MAX / 2 + 1,
                                   SIZE_MAX - 4096, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        coir_stack stack = {0};
        CHECK_EQ(coir_stack_acquire(pool, sizes[i], &stack), COIR_EINVAL);
        CHECK_NULL(stack.base);
        CHECK_EQ(stack.size, 0);
        CHECK_NULL(stack.slot);
    }
    CHECK_EQ(stats(pool).stacks, 0);
    coir_stack_pool_free(pool);
}

TEST(stack, classes_do_not_mix)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack small = take(pool, 16 * KIB);
    void *small_base = small.base;
    coir_stack_release(pool, &small);
    coir_stack large = take(pool, 256 * KIB);
    CHECK(large.size >= 256 * KIB);
    CHECK_NE(large.base, small_base);
    coir_stack again = take(pool, 16 * KIB);
    CHECK_EQ(again.base, small_base);
    coir_stack_release(pool, &again);
    coir_stack_release(pool, &large);
    coir_stack_pool_free(pool);
}

/* -- reuse ---------------------------------------------------------------- */

TEST(stack, last_in_is_first_out)
{
    enum { COUNT = 50 };
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stacks[COUNT];
    for (int i = 0; i < COUNT; i++)
        stacks[i] = take(pool, 64 * KIB);
    for (int i = 0; i < COUNT; i++)
        coir_stack_release(pool, &(coir_stack){stacks[i].base, stacks[i].size,
                                               stacks[i].slot});
    for (int i = COUNT - 1; i >= 0; i--) {
        coir_stack again = take(pool, 64 * KIB);
        CHECK_EQ(again.base, stacks[i].base);
    }
    for (int i = 0; i < COUNT; i++)
        coir_stack_release(pool, &stacks[i]);
    coir_stack_pool_free(pool);
}

TEST(stack, warm_path_makes_no_system_call)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stack = take(pool, 64 * KIB);
    mark(&stack, 1);
    coir_stack_release(pool, &stack);
    long before = 0;
    for (int call = COIR_TEST_ALLOC; call < COIR_TEST_CALLS; call++)
        before += coir_test_calls(call);
    for (int i = 0; i < 1000; i++) {
        stack = take(pool, 64 * KIB);
        coir_stack_release(pool, &stack);
    }
    long after = 0;
    for (int call = COIR_TEST_ALLOC; call < COIR_TEST_CALLS; call++)
        after += coir_test_calls(call);
    CHECK_EQ(after, before);
    coir_stack_pool_free(pool);
}

TEST(stack, statistics_count)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stacks[8];
    for (int i = 0; i < 8; i++) {
        stacks[i] = take(pool, 64 * KIB);
        coir_stack_pool_stats s = stats(pool);
        CHECK_EQ(s.in_use, i + 1);
        CHECK_EQ(s.high_water, i + 1);
        CHECK(s.slabs >= 1);
        CHECK(s.mapped_bytes >= s.stacks * 64 * KIB);
        CHECK_EQ(s.mapped_bytes, coir_test_mapped_bytes());
        CHECK_NE(s.guard, COIR_GUARD_AUTO);
        memset(stacks[i].base, 1, stacks[i].size);
    }
    for (int i = 0; i < 8; i++)
        coir_stack_release(pool, &stacks[i]);
    coir_stack_pool_stats s = stats(pool);
    CHECK_EQ(s.in_use, 0);
    CHECK_EQ(s.high_water, 8);
    CHECK_EQ(s.idle_warm, 8);
    CHECK_EQ(s.idle_cold, 0);
    stacks[0] = take(pool, 64 * KIB);
    s = stats(pool);
    CHECK_EQ(s.in_use, 1);
    CHECK_EQ(s.idle_warm, 7);
    CHECK_EQ(s.high_water, 8);
    coir_stack_release(pool, &stacks[0]);
    coir_stack_pool_free(pool);
}

/* Memory is given back in batches of this many. */
enum { GIVE_BACK_BATCH = 256 };

TEST(stack, beyond_the_warm_limit_memory_goes_back)
{
    enum { COUNT = 2000, WARM = 10 };
    coir_stack_pool *pool =
        new_pool((coir_stack_pool_attr){.warm_limit = WARM});
    static coir_stack stacks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(pool, 32 * KIB);
        memset(stacks[i].base, 1, stacks[i].size);
        CHECK_EQ(coir_stack_high_water(&stacks[i]), stacks[i].size);
    }
    size_t full = coir_test_rss();
    for (int i = 0; i < COUNT; i++) {
        coir_stack_release(pool, &stacks[i]);
        CHECK(stats(pool).idle_warm < WARM + GIVE_BACK_BATCH);
    }
    size_t back = COUNT - stats(pool).idle_warm;
    CHECK_EQ(stats(pool).idle_cold, back);
    if (!coir_test_is_slow() && full > 0)
        CHECK(full - coir_test_rss() > (back - 20) * 32 * KIB);
    /* All come again, whole: none of the memory was lost. */
    size_t touched = 0;
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(pool, 32 * KIB);
        touched += coir_stack_high_water(&stacks[i]) > 0;
    }
    CHECK_EQ(touched, COUNT - back);
    for (int i = 0; i < COUNT; i++)
        memset(stacks[i].base, i, stacks[i].size);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(*(char *)stacks[i].base, (char)i);
        coir_stack_release(pool, &stacks[i]);
    }
    coir_stack_pool_free(pool);
}

TEST(stack, trim_gives_all_memory_back)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    /* Two of one slab, one of them in use: the slab stays. */
    coir_stack kept = take(pool, 64 * KIB);
    coir_stack other = take(pool, 64 * KIB);
    memset(other.base, 1, other.size);
    memset(kept.base, 1, kept.size);
    void *base = other.base;
    coir_stack_release(pool, &other);
    CHECK_EQ(coir_stack_pool_trim(pool), 0);
    CHECK_EQ(stats(pool).idle_warm, 0);
    CHECK_EQ(stats(pool).idle_cold, 1);
    other = take(pool, 64 * KIB);
    CHECK_EQ(other.base, base);
    CHECK_EQ(coir_stack_high_water(&other), 0);
    CHECK_EQ(coir_stack_high_water(&kept), kept.size);
    coir_stack_release(pool, &other);
    coir_stack_release(pool, &kept);
    coir_stack_pool_free(pool);
}

TEST(stack, a_touched_page_is_one_page)
{
    if (coir_test_is_slow())
        SKIP("memory figures mean nothing here");
    enum { COUNT = 1000 };
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    static coir_stack stacks[COUNT];
    for (int i = 0; i < COUNT; i++)
        stacks[i] = take(pool, 256 * KIB);
    size_t before = coir_test_rss();
    for (int i = 0; i < COUNT; i++)
        ((char *)stacks[i].base)[stacks[i].size - 1] = 1;
    /* With huge pages it would be hundreds of times as much. */
    CHECK(coir_test_rss() - before < COUNT * page_size() * 5 / 4);
    for (int i = 0; i < COUNT; i++)
        coir_stack_release(pool, &stacks[i]);
    coir_stack_pool_free(pool);
}

TEST(stack, trim_unmaps_what_is_idle)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack kept = take(pool, 64 * KIB);
    mark(&kept, 7);
    enum { COUNT = 500 };
    static coir_stack stacks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(pool, 64 * KIB);
        mark(&stacks[i], 1);
    }
    for (int i = 0; i < COUNT; i++)
        coir_stack_release(pool, &stacks[i]);

    size_t before = stats(pool).mapped_bytes;
    size_t unmapped = coir_stack_pool_trim(pool);
    coir_stack_pool_stats s = stats(pool);
    CHECK(unmapped > 0);
    CHECK_EQ(s.mapped_bytes, before - unmapped);
    CHECK_EQ(s.mapped_bytes, coir_test_mapped_bytes());
    CHECK_EQ(s.in_use, 1);
    CHECK_EQ(s.idle_warm, 0);
    CHECK_EQ(s.slabs, 1);
    check_mark(&kept, 7);
    CHECK_EQ(coir_stack_pool_trim(pool), 0);

    coir_stack again = take(pool, 64 * KIB);
    mark(&again, 8);
    check_mark(&kept, 7);
    coir_stack_release(pool, &again);
    coir_stack_release(pool, &kept);
    coir_stack_pool_trim(pool);
    CHECK_EQ(stats(pool).mapped_bytes, 0);
    CHECK_EQ(coir_test_mapped_bytes(), 0);
    CHECK_EQ(coir_stack_pool_trim(pool), 0);
    kept = take(pool, 64 * KIB);
    coir_stack_release(pool, &kept);
    coir_stack_pool_free(pool);
}

TEST(stack, high_water_counts_pages_from_the_top)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){.warm_limit = 1});
    coir_stack stack = take(pool, 256 * KIB);
    char *top = (char *)stack.base + stack.size;
    size_t page = page_size();
    CHECK_EQ(coir_stack_high_water(&stack), 0);
    top[-1] = 1;
    CHECK_EQ(coir_stack_high_water(&stack), page);
    *(top - 10 * page) = 1;
    CHECK_EQ(coir_stack_high_water(&stack), 10 * page);
    *(top - 3 * page) = 1; /* higher up: no change */
    CHECK_EQ(coir_stack_high_water(&stack), 10 * page);
    *(char *)stack.base = 1;
    CHECK_EQ(coir_stack_high_water(&stack), stack.size);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
}

TEST(stack, margin_lies_between_guard_and_stack)
{
    size_t page = page_size();
    static const struct {
        size_t asked, stack, expected;
    } cases[] = {
        {0, 64 * KIB, 0},
        {1, 64 * KIB, 1}, /* one page */
        {192 * KIB, 1 * MIB, 192 * KIB},
        {192 * KIB, 64 * KIB, 64 * KIB}, /* never more than the stack */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        coir_stack_pool *pool =
            new_pool((coir_stack_pool_attr){.margin = cases[i].asked});
        coir_stack stack = take(pool, cases[i].stack);
        coir_stack below = take(pool, cases[i].stack);
        CHECK_EQ(stack.size, cases[i].stack);
        size_t margin = (cases[i].expected + page - 1) / page * page;
        void *low;
        size_t guard = coir_stack_guard_bounds(&stack, &low);
        CHECK_EQ((char *)low + guard + margin, stack.base);
        memset((char *)stack.base - margin, 1, margin + stack.size);
        CHECK_EQ(coir_stack_high_water(&stack), stack.size + margin);
        CHECK_EQ(coir_stack_high_water(&below), 0);
        coir_stack_release(pool, &stack);
        coir_stack_pool_trim(pool); /* the margin's memory too */
        stack = take(pool, cases[i].stack);
        CHECK_EQ(coir_stack_high_water(&stack), 0);
        coir_stack_release(pool, &stack);
        coir_stack_release(pool, &below);
        coir_stack_pool_free(pool);
    }
    coir_stack_pool *pool = NULL;
    coir_stack_pool_attr large = {.margin = COIR_STACK_MAX + 1};
    CHECK_EQ(coir_stack_pool_new(&pool, &large), COIR_EINVAL);
    CHECK_NULL(pool);
}

TEST(stack, longest_idle_go_back_first_also_after_a_trim)
{
    enum { WARM = 10, COUNT = WARM + GIVE_BACK_BATCH };
    coir_stack_pool *pool =
        new_pool((coir_stack_pool_attr){.warm_limit = WARM});
    static coir_stack stacks[COUNT], other;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            stacks[i] = take(pool, 32 * KIB);
            mark(&stacks[i], 1);
        }
        /* Of a slab that stays: the trim drops others from the list. */
        other = take(pool, 32 * KIB);
        void *last[WARM];
        for (int i = 0; i < COUNT; i++) {
            if (i >= COUNT - WARM)
                last[i - (COUNT - WARM)] = stacks[i].base;
            coir_stack_release(pool, &stacks[i]);
        }
        CHECK_EQ(stats(pool).idle_warm, WARM);
        for (int i = WARM; i-- > 0;) {
            stacks[i] = take(pool, 32 * KIB);
            CHECK_EQ(stacks[i].base, last[i]);
            CHECK(coir_stack_high_water(&stacks[i]) > 0);
        }
        for (int i = 0; i < WARM; i++)
            coir_stack_release(pool, &stacks[i]);
        (void)coir_stack_pool_trim(pool);
        CHECK_EQ(stats(pool).idle_warm, 0);
        coir_stack_release(pool, &other);
        CHECK_EQ(stats(pool).idle_warm, 1);
    }
    coir_stack_pool_free(pool);
}

/* -- guards --------------------------------------------------------------- */

static const int guard_kinds[] = {COIR_GUARD_AUTO, COIR_GUARD_MADV,
                                  COIR_GUARD_MPROTECT};

static void
check_guard(const coir_stack *stack)
{
    void *low = NULL;
    size_t size = coir_stack_guard_bounds(stack, &low);
    CHECK(size >= page_size());
    CHECK_EQ(size % page_size(), 0);
    CHECK_EQ((char *)low + size, stack->base);
    if (coir_test_on_valgrind())
        return; /* it would call the probe an error */
    for (size_t at = 0; at < size; at += page_size())
        CHECK(faults((char *)low + at));
    CHECK(faults((char *)stack->base - 1));
    CHECK(!faults(stack->base));
    CHECK(!faults((char *)stack->base + stack->size - 1));
}

TEST(stack, guards_fault)
{
    for (size_t i = 0; i < sizeof guard_kinds / sizeof *guard_kinds; i++) {
        int kind = guard_kinds[i];
        if (!has_guard(kind))
            continue;
        coir_stack_pool *pool =
            new_pool((coir_stack_pool_attr){.guard = kind});
        coir_stack a = take(pool, 64 * KIB);
        coir_stack b = take(pool, 64 * KIB);
        int used = stats(pool).guard;
        CHECK(kind == COIR_GUARD_AUTO
                  ? used == COIR_GUARD_MADV || used == COIR_GUARD_MPROTECT
                  : used == kind);
        check_guard(&a);
        check_guard(&b);
        CHECK_DIES(SIGSEGV, "")
        {
            ((volatile char *)a.base)[-1] = 1;
        }
        CHECK_DIES(SIGSEGV, "")
        {
            void *low;
            coir_stack_guard_bounds(&b, &low);
            *(volatile char *)low = 1;
        }
        coir_stack_release(pool, &a);
        coir_stack_release(pool, &b);
        coir_stack_pool_free(pool);
    }
}

TEST(stack, guards_stay_through_reuse)
{
    for (size_t i = 0; i < sizeof guard_kinds / sizeof *guard_kinds; i++) {
        if (!has_guard(guard_kinds[i]))
            continue;
        coir_stack_pool *pool = new_pool(
            (coir_stack_pool_attr){.guard = guard_kinds[i], .warm_limit = 2});
        enum { COUNT = 2 * GIVE_BACK_BATCH };
        static coir_stack stacks[COUNT];
        for (int round = 0; round < 3; round++) {
            for (int k = 0; k < COUNT; k++) {
                stacks[k] = take(pool, 32 * KIB);
                memset(stacks[k].base, k, stacks[k].size);
                check_guard(&stacks[k]);
            }
            for (int k = 0; k < COUNT; k++)
                coir_stack_release(pool, &stacks[k]);
            if (round == 1)
                coir_stack_pool_trim(pool);
        }
        coir_stack_pool_free(pool);
    }
}

TEST(stack, guard_sizes)
{
    size_t page = page_size();
    static const struct {
        size_t asked, stack, expected;
    } cases[] = {
        {0, 64 * KIB, 64 * KIB},
        {0, 1 * MIB, 64 * KIB},
        {1, 64 * KIB, 1}, /* one page */
        {100 * KIB, 1 * MIB, 100 * KIB},
        {256 * KIB, 256 * KIB, 256 * KIB},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        coir_stack_pool *pool =
            new_pool((coir_stack_pool_attr){.guard_size = cases[i].asked});
        coir_stack stack = take(pool, cases[i].stack);
        void *low;
        CHECK_EQ(coir_stack_guard_bounds(&stack, &low),
                 (cases[i].expected + page - 1) / page * page);
        check_guard(&stack);
        coir_stack_release(pool, &stack);
        coir_stack_pool_free(pool);
    }
    /* By default never more than the stack itself. */
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stack = take(pool, COIR_STACK_MIN);
    void *low;
    CHECK(coir_stack_guard_bounds(&stack, &low) <= stack.size);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
}

TEST(stack, without_guards_there_are_no_bounds)
{
    coir_stack_pool *pool =
        new_pool((coir_stack_pool_attr){.guard = COIR_GUARD_NONE});
    coir_stack stack = take(pool, 64 * KIB);
    void *low;
    CHECK_EQ(coir_stack_guard_bounds(&stack, &low), 0);
    CHECK_EQ(stats(pool).guard, COIR_GUARD_NONE);
    CHECK_EQ(coir_test_calls(COIR_TEST_MPROTECT), 0);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
}

TEST(stack, kernel_without_guard_advice)
{
    coir_test_fail_advice(MADV_GUARD_INSTALL, EINVAL);
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stack = take(pool, 64 * KIB);
    CHECK_EQ(stats(pool).guard, COIR_GUARD_MPROTECT);
    check_guard(&stack);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);

    /* Asked for by name it must not be replaced by something else. */
    pool = new_pool((coir_stack_pool_attr){.guard = COIR_GUARD_MADV});
    stack = (coir_stack){0};
    CHECK_EQ(coir_stack_acquire(pool, 64 * KIB, &stack), COIR_ENOMEM);
    CHECK_NULL(stack.base);
    coir_stack_pool_free(pool);
}

TEST(stack, kernel_without_any_guard)
{
    coir_test_fail_advice(MADV_GUARD_INSTALL, EINVAL);
    coir_test_fail_call(COIR_TEST_MPROTECT, 0, 1000000, ENOMEM);
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stack = {0};
    CHECK_EQ(coir_stack_acquire(pool, 64 * KIB, &stack), COIR_ENOMEM);
    CHECK_NULL(stack.base);
    CHECK_EQ(stats(pool).mapped_bytes, coir_test_mapped_bytes());
    /* Nothing is remembered against the kernel: it works as soon as it can. */
    coir_test_fail_none();
    coir_test_fail_advice(MADV_GUARD_INSTALL, EINVAL);
    stack = take(pool, 64 * KIB);
    check_guard(&stack);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
}

TEST(stack, unguarded_if_allowed)
{
    coir_test_fail_advice(MADV_GUARD_INSTALL, EINVAL);
    coir_test_fail_call(COIR_TEST_MPROTECT, 0, 1000000, ENOMEM);
    coir_stack_pool *pool =
        new_pool((coir_stack_pool_attr){.allow_unguarded = 1});
    coir_stack stack = take(pool, 64 * KIB);
    void *low;
    CHECK_EQ(coir_stack_guard_bounds(&stack, &low), 0);
    CHECK_EQ(stats(pool).guard, COIR_GUARD_NONE);
    mark(&stack, 1);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
}

TEST(stack, kernel_without_huge_page_advice)
{
    coir_test_fail_advice(MADV_NOHUGEPAGE, EINVAL);
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stack = take(pool, 64 * KIB);
    mark(&stack, 1);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
}

/* -- limits --------------------------------------------------------------- */

static void
check_acquire_with_failures(int call, coir_stack_pool_attr attr)
{
    EACH_FAILURE(call, n)
    {
        coir_stack_pool *pool = NULL;
        if (coir_stack_pool_new(&pool, &attr) < 0)
            continue;
        coir_stack stacks[40];
        int count = 0;
        for (int i = 0; i < 40; i++) {
            static const size_t sizes[] = {64 * KIB, 256 * KIB, 16 * KIB};
            coir_stack stack = {0};
            int err = coir_stack_acquire(pool, sizes[i % 3], &stack);
            if (err < 0) {
                CHECK_EQ(err, COIR_ENOMEM);
                CHECK_NULL(stack.base);
                CHECK_EQ(stack.size, 0);
                CHECK_NULL(stack.slot);
            }
            else {
                mark(&stack, (uint64_t)count);
                stacks[count++] = stack;
            }
        }
        CHECK(count >= 39); /* one call failed: one stack at most */
        CHECK_EQ(stats(pool).in_use, count);
        for (int i = 0; i < count; i++) {
            check_mark(&stacks[i], (uint64_t)i);
            coir_stack_release(pool, &stacks[i]);
        }
        coir_stack_pool_free(pool);
        CHECK_EQ(coir_test_live_blocks(), 0);
        CHECK_EQ(coir_test_mapped_bytes(), 0);
    }
}

TEST(stack, acquire_with_failing_allocations)
{
    check_acquire_with_failures(COIR_TEST_ALLOC, (coir_stack_pool_attr){0});
    CHECK(coir_test_failures(COIR_TEST_ALLOC) > 0);
}

TEST(stack, acquire_with_failing_mappings)
{
    check_acquire_with_failures(COIR_TEST_MMAP, (coir_stack_pool_attr){0});
    CHECK(coir_test_failures(COIR_TEST_MMAP) > 0);
}

TEST(stack, acquire_with_failing_protection)
{
    check_acquire_with_failures(
        COIR_TEST_MPROTECT,
        (coir_stack_pool_attr){.guard = COIR_GUARD_MPROTECT});
    CHECK(coir_test_failures(COIR_TEST_MPROTECT) > 0);
}

TEST(stack, acquire_with_failing_advice)
{
    if (!has_madv_guard())
        SKIP("no MADV_GUARD_INSTALL here");
    check_acquire_with_failures(
        COIR_TEST_MADVISE, (coir_stack_pool_attr){.guard = COIR_GUARD_MADV});
    CHECK(coir_test_failures(COIR_TEST_MADVISE) > 0);
}

TEST(stack, release_with_failing_advice)
{
    enum { COUNT = 2 * GIVE_BACK_BATCH };
    static coir_stack stacks[COUNT];
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){.warm_limit = 1});
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(pool, 64 * KIB);
        mark(&stacks[i], 1);
    }
    coir_test_fail_call(COIR_TEST_MADVISE, 0, 1000000, ENOMEM);
    for (int i = 0; i < COUNT; i++)
        coir_stack_release(pool, &stacks[i]);
    coir_stack_pool_trim(pool);
    coir_test_fail_none();
    CHECK(coir_test_failures(COIR_TEST_MADVISE) > 0);
    CHECK_EQ(stats(pool).in_use, 0);
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(pool, 64 * KIB);
        mark(&stacks[i], (uint64_t)i);
    }
    for (int i = 0; i < COUNT; i++) {
        check_mark(&stacks[i], (uint64_t)i);
        coir_stack_release(pool, &stacks[i]);
    }
    coir_stack_pool_free(pool);
}

TEST(stack, trim_with_failing_munmap)
{
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    coir_stack stack = take(pool, 64 * KIB);
    coir_stack_release(pool, &stack);
    size_t mapped = stats(pool).mapped_bytes;
    coir_test_fail_munmap(0);
    size_t unmapped = coir_stack_pool_trim(pool);
    CHECK_EQ(stats(pool).mapped_bytes, mapped - unmapped);
    CHECK_EQ(stats(pool).mapped_bytes, coir_test_mapped_bytes());
    coir_test_fail_none();
    stack = take(pool, 64 * KIB);
    mark(&stack, 1);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
    CHECK_EQ(coir_test_mapped_bytes(), 0);
}

/* Take stacks until there are no more. */
static size_t
take_all(coir_stack_pool *pool, size_t size, coir_stack *stacks, size_t limit)
{
    size_t count = 0;
    for (; count < limit; count++) {
        coir_stack stack = {0};
        int err = coir_stack_acquire(pool, size, &stack);
        if (err < 0) {
            CHECK_EQ(err, COIR_ENOMEM);
            CHECK_NULL(stack.base);
            break;
        }
        mark(&stack, count);
        stacks[count] = stack;
    }
    return count;
}

static void
check_limit(coir_stack_pool *pool, size_t size, size_t limit)
{
    coir_stack *stacks = calloc(limit, sizeof *stacks);
    CHECK(stacks != NULL);
    size_t count = take_all(pool, size, stacks, limit);
    CHECK(count > 1);
    CHECK(count < limit);
    /* The program around it can go on: memory, and mappings, can be had. */
    void *memory = malloc(100000);
    CHECK(memory != NULL);
    free(memory);
    /* Room for one is room for one. */
    for (int i = 0; i < 3; i++) {
        check_mark(&stacks[count - 1], count - 1);
        coir_stack_release(pool, &stacks[count - 1]);
        stacks[count - 1] = take(pool, size);
        mark(&stacks[count - 1], count - 1);
    }
    for (size_t i = 0; i < count; i++)
        check_mark(&stacks[i], i);
    for (size_t i = 0; i < count; i++)
        coir_stack_release(pool, &stacks[i]);
    coir_stack_pool_trim(pool);
    CHECK_EQ(stats(pool).mapped_bytes, 0);
    /* And the whole again, after everything went back. */
    size_t again = take_all(pool, size, stacks, limit);
    CHECK(again + again / 10 + 2 >= count);
    for (size_t i = 0; i < again; i++)
        coir_stack_release(pool, &stacks[i]);
    free(stacks);
}

TEST(stack, address_space_runs_out)
{
    if (coir_test_is_slow())
        SKIP("RLIMIT_AS does not go with sanitizers, valgrind or emulators");
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    size_t used = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL);
    CHECK_EQ(fscanf(f, "%zu", &used), 1);
    fclose(f);
    used *= page_size();
    struct rlimit limit = {used + 256 * MIB, used + 256 * MIB};
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    check_limit(pool, 1 * MIB, 100000);
    check_limit(pool, 64 * KIB, 100000);
    coir_stack_pool_free(pool);
}

TEST(stack, mappings_run_out)
{
    if (coir_test_is_slow())
        SKIP("too many mappings for sanitizers, valgrind or emulators");
    coir_test_timeout(60);
    coir_stack_pool *pool =
        new_pool((coir_stack_pool_attr){.guard = COIR_GUARD_MPROTECT});
    check_limit(pool, 16 * KIB, 1000000);
    coir_stack_pool_free(pool);
}

TEST(stack, mappings_run_out_with_other_sizes_after)
{
    if (coir_test_is_slow())
        SKIP("too many mappings for sanitizers, valgrind or emulators");
    coir_test_timeout(60);
    enum { LIMIT = 200000 };
    static coir_stack stacks[LIMIT];
    coir_stack_pool *pool =
        new_pool((coir_stack_pool_attr){.guard = COIR_GUARD_MPROTECT});
    size_t count = take_all(pool, 16 * KIB, stacks, LIMIT);
    CHECK(count < LIMIT);
    for (size_t i = 0; i < count; i++)
        coir_stack_release(pool, &stacks[i]);
    /* Idle stacks of one size must not keep another one from being had. */
    coir_stack stack = take(pool, 1 * MIB);
    coir_stack_release(pool, &stack);
    coir_stack_pool_free(pool);
}

TEST(stack, two_hundred_thousand_with_guard_advice)
{
    if (coir_test_is_slow())
        SKIP("too many for sanitizers, valgrind or emulators");
    if (!has_madv_guard())
        SKIP("no MADV_GUARD_INSTALL here");
    coir_test_timeout(60);
    enum { COUNT = 200000 };
    static coir_stack stacks[COUNT];
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){0});
    for (int i = 0; i < COUNT; i++)
        stacks[i] = take(pool, 64 * KIB);
    CHECK_EQ(stats(pool).in_use, COUNT);
    for (int i = 0; i < COUNT; i++)
        coir_stack_release(pool, &stacks[i]);
    coir_stack_pool_free(pool);
}

/* -- at random ------------------------------------------------------------ */

TEST(stack, random_use)
{
    enum { LIMIT = 300 };
    static coir_stack stacks[LIMIT];
    static uint64_t marks[LIMIT];
    size_t count = 0;
    coir_test_random random;
    coir_test_random_init(&random);
    coir_stack_pool *pool = new_pool((coir_stack_pool_attr){
        .warm_limit = 1 + coir_test_random_below(&random, 40),
        .guard = (int)coir_test_random_below(&random, 2) * 2});
    int steps = coir_test_is_slow() ? 3000 : 50000;
    size_t most = 0;
    for (int step = 0; step < steps; step++) {
        size_t dice = coir_test_random_below(&random, 1000);
        if (dice == 0) {
            coir_stack_pool_trim(pool);
        }
        else if (dice < 500 && count < LIMIT) {
            size_t size = COIR_STACK_MIN << coir_test_random_below(&random, 6);
            stacks[count] =
                take(pool, size + coir_test_random_below(&random, size));
            marks[count] = coir_test_random_next(&random);
            mark(&stacks[count], marks[count]);
            count++;
        }
        else if (count > 0) {
            size_t i = coir_test_random_below(&random, count);
            check_mark(&stacks[i], marks[i]);
            coir_stack_release(pool, &stacks[i]);
            count--;
            stacks[i] = stacks[count];
            marks[i] = marks[count];
        }
        most = count > most ? count : most;
        if (step % 100 == 0) {
            coir_stack_pool_stats s = stats(pool);
            CHECK_EQ(s.in_use, count);
            CHECK_EQ(s.high_water, most);
            CHECK_EQ(s.mapped_bytes, coir_test_mapped_bytes());
        }
    }
    while (count > 0) {
        count--;
        check_mark(&stacks[count], marks[count]);
        coir_stack_release(pool, &stacks[count]);
    }
    coir_stack_pool_free(pool);
}
