/* test_ctx.c - the switch of machine contexts.
 *
 * Most tests have two sides: the test itself, suspended in `here`, and one
 * context on stacks[0], suspended in `there`. */
#include "harness.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unwind.h>

#include <coir/ctx.h>

#include "coir_config.h"
#if COIR__HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) ((void)(low), (void)(high))
#endif

#define NOINLINE __attribute__((noinline, noclone))
#define NO_ASAN __attribute__((no_sanitize("address")))
/* At the end of a function: the call before it is no tail call, so that the
 * function stays in the chain of frames. */
#define KEEP_FRAME() __asm__ volatile("")

#if defined(__GNUC__) && !defined(__clang__)
#undef NO_ASAN
#define NO_ASAN __attribute__((no_sanitize_address))
#else
#undef NOINLINE
#define NOINLINE __attribute__((noinline))
#endif

enum { STACK_SIZE = 64 * 1024, STACKS = 64 };

static char stacks[STACKS][STACK_SIZE] __attribute__((aligned(64)));
static coir_ctx here;
static coir_ctx there;

/* Valgrind takes a small move of the stack pointer for a call. */
__attribute__((constructor)) static void
register_stacks(void)
{
    for (int i = 0; i < STACKS; i++)
        VALGRIND_STACK_REGISTER(stacks[i], stacks[i] + STACK_SIZE);
}

static void *
start(coir_ctx_fn fn, void *arg)
{
    return coir_ctx_start(&here, stacks[0] + STACK_SIZE, fn, arg);
}

/* -- values and stacks ---------------------------------------------------- */

static coir_ctx *
echo(void *arg)
{
    void *value = arg;
    for (;;)
        value = coir_ctx_swap(&there, &here, (char *)value + 1);
    return NULL;
}

TEST(ctx, values_go_both_ways)
{
    char range[1000];
    CHECK_EQ(start(echo, range), range + 1);
    for (int i = 1; i < 999; i++)
        CHECK_EQ(coir_ctx_swap(&here, &there, range + i), range + i + 1);
}

/* Resumed at a place other than the one that is suspended, and at the same
 * one: the assembly tells these apart. */
NOINLINE static void *
swap_from_one_place(coir_ctx *from, coir_ctx *to, void *value)
{
    value = coir_ctx_swap(from, to, value);
    KEEP_FRAME();
    return value;
}

static coir_ctx *
echo_from_one_place(void *arg)
{
    void *value = arg;
    for (;;)
        value = swap_from_one_place(&there, &here, (char *)value + 1);
    return NULL;
}

TEST(ctx, swaps_from_the_same_and_from_other_places)
{
    char range[1000];
    CHECK_EQ(start(echo_from_one_place, range), range + 1);
    for (int i = 1; i < 999; i += 2) {
        CHECK_EQ(swap_from_one_place(&here, &there, range + i), range + i + 1);
        CHECK_EQ(coir_ctx_swap(&here, &there, range + i), range + i + 1);
    }
}

struct alignment {
    uintptr_t frame;
    float vector[4];
};

static coir_ctx *
check_alignment(void *arg)
{
    /* The compiler takes the ABI's word for it: aligned loads and stores. */
    typedef float vector __attribute__((vector_size(16)));
    volatile vector v = {1, 2, 3, 4};
    struct alignment *out = arg;
    v = v + v;
    vector result = v;
    memcpy(out->vector, &result, sizeof result);
    out->frame = (uintptr_t)__builtin_frame_address(0);
    coir_ctx_swap(&there, &here, NULL);
    return NULL;
}

TEST(ctx, stack_is_aligned_at_entry)
{
    for (size_t odd = 0; odd < 32; odd++) {
        struct alignment out;
        CHECK_NULL(coir_ctx_start(&here, stacks[0] + STACK_SIZE - odd,
                                  check_alignment, &out));
        CHECK_EQ(out.frame % 16, 0);
        CHECK_EQ(out.vector[3], 8);
    }
}

static coir_ctx *
note_frame(void *arg)
{
    volatile char local = 1;
    *(uintptr_t *)arg = (uintptr_t)&local;
    coir_ctx_swap(&there, &here, NULL);
    return NULL;
}

TEST(ctx, stays_between_sp_and_the_top_of_the_stack)
{
    char *top = stacks[0] + STACK_SIZE - 1024;
    memset(stacks[0], 0x5a, STACK_SIZE);
    uintptr_t frame;
    CHECK_NULL(coir_ctx_start(&here, top, note_frame, &frame));
    CHECK((uintptr_t)there.sp < (uintptr_t)top);
#if !COIR_TEST_ASAN /* its locals may lie on a fake stack */
    CHECK((uintptr_t)there.sp <= frame && frame < (uintptr_t)top);
#endif
    for (int i = 0; i < 1024; i++)
        CHECK_EQ(top[i], 0x5a);
}

/* What the slice policy does: keep [sp, top) elsewhere, use the stack for
 * something else, and put it back. (In loops of our own, since a sanitizer
 * would find that memcpy() touches the guards between locals.) */
NO_ASAN static void
copy_bytes(char *to, const char *from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((volatile char *)to)[i] = from[i];
}

NO_ASAN static void
fill_bytes(char *to, char byte, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((volatile char *)to)[i] = byte;
}

NO_ASAN static coir_ctx *
count_from(void *arg)
{
    volatile uintptr_t count = (uintptr_t)arg;
    for (;;) {
        void *step = coir_ctx_swap(&there, &here, (void *)count);
        count += (uintptr_t)step;
    }
    return NULL;
}

TEST(ctx, all_of_a_suspended_context_lies_at_or_above_sp)
{
    char *top = stacks[0] + STACK_SIZE;
    uintptr_t count = 100;
    CHECK_EQ(start(count_from, (void *)count), count);
    for (uintptr_t step = 1; step < 10; step++) {
        size_t len = (size_t)(top - (char *)there.sp);
        CHECK(len < STACK_SIZE);
        copy_bytes(stacks[1], there.sp, len);
        fill_bytes(stacks[0], (char)0xa5, STACK_SIZE);
        copy_bytes(there.sp, stacks[1], len);
        count += step;
        CHECK_EQ(coir_ctx_swap(&here, &there, (void *)step), count);
    }
}

/* -- many, and nested ----------------------------------------------------- */

static coir_ctx chain[STACKS + 1];
static int chain_ends;

static coir_ctx *
chain_link(void *arg)
{
    int i = (int)(intptr_t)arg;
    if (i + 1 < STACKS)
        CHECK_EQ(coir_ctx_start(&chain[i], stacks[i + 1] + STACK_SIZE,
                                chain_link, (void *)(intptr_t)(i + 1)),
                 i + 1);
    chain_ends++;
    /* Back to who started this one: chain[STACKS] is the test's. */
    int starter = i == 0 ? STACKS : i - 1;
    coir_ctx_swap(&chain[i], &chain[starter], arg);
    return NULL;
}

TEST(ctx, starts_nest)
{
    CHECK_EQ(coir_ctx_start(&chain[STACKS], stacks[0] + STACK_SIZE, chain_link,
                            NULL),
             0);
    CHECK_EQ(chain_ends, STACKS);
}

/* Descend, and switch on the way down and on the way up. */
NOINLINE static intptr_t
descend(intptr_t depth)
{
    volatile intptr_t local[8];
    for (int i = 0; i < 8; i++)
        local[i] = depth * 8 + i;
    CHECK_EQ(coir_ctx_swap(&there, &here, (void *)depth), depth);
    intptr_t sum = depth < 40 ? descend(depth + 1) : 0;
    CHECK_EQ(coir_ctx_swap(&there, &here, (void *)-depth), -depth);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(local[i], depth * 8 + i);
        sum += local[i];
    }
    return sum;
}

static coir_ctx *
descend_from_1(void *arg)
{
    (void)arg;
    coir_ctx_swap(&there, &here, (void *)descend(1));
    return NULL;
}

TEST(ctx, switches_inside_nested_calls)
{
    intptr_t last = (intptr_t)start(descend_from_1, NULL);
    CHECK_EQ(last, 1);
    for (int i = 1; i < 80; i++) {
        last = (intptr_t)coir_ctx_swap(&here, &there, (void *)last);
        CHECK_EQ(last, i < 40 ? i + 1 : i - 80);
    }
    intptr_t sum = 0;
    for (intptr_t i = 8; i < 41 * 8; i++)
        sum += i;
    CHECK_EQ(coir_ctx_swap(&here, &there, (void *)last), sum);
}

/* -- registers ------------------------------------------------------------ */

/* coir_ctx_swap() with known values in all registers that a callee has to
 * keep; `out` gets them as they are after it. */
#if defined(__x86_64__)
enum { KEPT = 6 };
__asm__(".text\n"
        ".type swap_with_registers, @function\n"
        "swap_with_registers:\n"
        "    .cfi_startproc\n"
        "    .irp reg, %rbx, %rbp, %r12, %r13, %r14, %r15\n"
        "    pushq \\reg\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset \\reg, 0\n"
        "    .endr\n"
        "    pushq %r8\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    movq 0(%rcx), %rbx\n"
        "    movq 8(%rcx), %rbp\n"
        "    movq 16(%rcx), %r12\n"
        "    movq 24(%rcx), %r13\n"
        "    movq 32(%rcx), %r14\n"
        "    movq 40(%rcx), %r15\n"
        "    call coir_ctx_swap@PLT\n"
        "    popq %r8\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    movq %rbx, 0(%r8)\n"
        "    movq %rbp, 8(%r8)\n"
        "    movq %r12, 16(%r8)\n"
        "    movq %r13, 24(%r8)\n"
        "    movq %r14, 32(%r8)\n"
        "    movq %r15, 40(%r8)\n"
        "    .irp reg, %r15, %r14, %r13, %r12, %rbp, %rbx\n"
        "    popq \\reg\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore \\reg\n"
        "    .endr\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size swap_with_registers, . - swap_with_registers\n");
#elif defined(__aarch64__)
enum { KEPT = 19 }; /* x19 to x29, d8 to d15 */
__asm__(".text\n"
        ".type swap_with_registers, %function\n"
        "swap_with_registers:\n"
        "    stp x29, x30, [sp, #-176]!\n"
        "    stp x19, x20, [sp, #16]\n"
        "    stp x21, x22, [sp, #32]\n"
        "    stp x23, x24, [sp, #48]\n"
        "    stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    str x4, [sp, #160]\n"
        "    ldp x19, x20, [x3]\n"
        "    ldp x21, x22, [x3, #16]\n"
        "    ldp x23, x24, [x3, #32]\n"
        "    ldp x25, x26, [x3, #48]\n"
        "    ldp x27, x28, [x3, #64]\n"
        "    ldr x29, [x3, #80]\n"
        "    ldp d8, d9, [x3, #88]\n"
        "    ldp d10, d11, [x3, #104]\n"
        "    ldp d12, d13, [x3, #120]\n"
        "    ldp d14, d15, [x3, #136]\n"
        "    bl coir_ctx_swap\n"
        "    ldr x4, [sp, #160]\n"
        "    stp x19, x20, [x4]\n"
        "    stp x21, x22, [x4, #16]\n"
        "    stp x23, x24, [x4, #32]\n"
        "    stp x25, x26, [x4, #48]\n"
        "    stp x27, x28, [x4, #64]\n"
        "    str x29, [x4, #80]\n"
        "    stp d8, d9, [x4, #88]\n"
        "    stp d10, d11, [x4, #104]\n"
        "    stp d12, d13, [x4, #120]\n"
        "    stp d14, d15, [x4, #136]\n"
        "    ldp x19, x20, [sp, #16]\n"
        "    ldp x21, x22, [sp, #32]\n"
        "    ldp x23, x24, [sp, #48]\n"
        "    ldp x25, x26, [sp, #64]\n"
        "    ldp x27, x28, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldp x29, x30, [sp], #176\n"
        "    ret\n"
        ".size swap_with_registers, . - swap_with_registers\n");
#else
enum { KEPT = 0 };
#endif

#if defined(__x86_64__) || defined(__aarch64__)
void *swap_with_registers(coir_ctx *from, coir_ctx *to, void *value,
                          const uint64_t *in, uint64_t *out);

/* Values that no two registers and no two swaps share. */
static void
make_pattern(uint64_t *pattern, int seed)
{
    for (int i = 0; i < KEPT; i++)
        pattern[i] = 0x1111111100000000u * (unsigned int)seed +
                     (unsigned int)i * 0x01010101u;
}

NOINLINE static void
swap_and_check_registers(coir_ctx *from, coir_ctx *to, int seed)
{
    uint64_t in[KEPT];
    uint64_t out[KEPT] = {0};
    make_pattern(in, seed);
    swap_with_registers(from, to, NULL, in, out);
    for (int i = 0; i < KEPT; i++)
        CHECK_EQ(out[i], in[i]);
}

static coir_ctx *
keep_registers(void *arg)
{
    (void)arg;
    coir_ctx_swap(&there, &here, NULL);
    for (int i = 0;; i++)
        swap_and_check_registers(&there, &here, 2 + 2 * (i % 6));
    return NULL;
}

TEST(ctx, registers_are_kept)
{
    start(keep_registers, NULL);
    for (int i = 0; i < 100; i++)
        swap_and_check_registers(&here, &there, 1 + 2 * (i % 7));
}
#endif

/* -- floating-point control words ----------------------------------------- */

struct rounding {
    int mode;
    double third;      /* SSE on x86-64 */
    long double tenth; /* x87 there */
};

NOINLINE static struct rounding
observe_rounding(void)
{
    volatile double one = 1, three = 3;
    volatile long double long_one = 1, ten = 10;
    struct rounding r = {fegetround(), one / three, long_one / ten};
    return r;
}

static void
check_rounding(struct rounding expected)
{
    struct rounding r = observe_rounding();
    CHECK_EQ(r.mode, expected.mode);
    CHECK(r.third == expected.third);
    CHECK(r.tenth == expected.tenth);
}

static coir_ctx *
round_another_way(void *arg)
{
    /* A context begins with the words of its starter. */
    check_rounding(*(struct rounding *)arg);
    fesetround(FE_DOWNWARD);
    struct rounding r = observe_rounding();
    for (;;) {
        coir_ctx_swap(&there, &here, &r);
        check_rounding(r);
    }
    return NULL;
}

TEST(ctx, rounding_mode_is_kept)
{
#if COIR__CONTEXT_ASM && !COIR__FPU_STATE
    SKIP("built without fpu_state");
#endif
    if (coir_test_on_valgrind())
        SKIP("valgrind does not have these modes");
    CHECK_EQ(fesetround(FE_UPWARD), 0);
    struct rounding mine = observe_rounding();
    struct rounding theirs =
        *(struct rounding *)start(round_another_way, &mine);
    CHECK_NE(theirs.mode, mine.mode);
    CHECK(theirs.third < mine.third);
    CHECK(theirs.tenth < mine.tenth);
    for (int i = 0; i < 10; i++) {
        check_rounding(mine);
        coir_ctx_swap(&here, &there, NULL);
    }
}

/* -- what a switch leaves alone ------------------------------------------- */

static int
is_blocked(int number)
{
    sigset_t set;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
    return sigismember(&set, number);
}

static void
change_mask(int how, int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    CHECK_EQ(pthread_sigmask(how, &set, NULL), 0);
}

static coir_ctx *
block_there(void *arg)
{
    (void)arg;
    CHECK(is_blocked(SIGUSR1));
    change_mask(SIG_BLOCK, SIGUSR2);
    coir_ctx_swap(&there, &here, NULL);
    CHECK(!is_blocked(SIGUSR1));
    CHECK(is_blocked(SIGUSR2));
    change_mask(SIG_UNBLOCK, SIGUSR2);
    coir_ctx_swap(&there, &here, NULL);
    return NULL;
}

TEST(ctx, signal_mask_is_the_threads)
{
    change_mask(SIG_BLOCK, SIGUSR1);
    start(block_there, NULL);
    CHECK(is_blocked(SIGUSR1));
    CHECK(is_blocked(SIGUSR2));
    change_mask(SIG_UNBLOCK, SIGUSR1);
    coir_ctx_swap(&here, &there, NULL);
    CHECK(!is_blocked(SIGUSR2));
}

TEST(ctx, backend_is_the_one_built)
{
#if !COIR__CONTEXT_ASM
    CHECK_STR(coir_ctx_backend(), "ucontext");
#elif defined(__x86_64__)
    CHECK_STR(coir_ctx_backend(), "x86_64_sysv");
#else
    CHECK_STR(coir_ctx_backend(), "aarch64_aapcs64");
#endif
}

/* `here`, so that whoever started it goes on. */
static coir_ctx *
return_here(void *arg)
{
    *(void **)arg = arg;
    return &here;
}

TEST(ctx, body_returns_who_goes_on)
{
    void *seen = NULL;
    for (int i = 0; i < 3; i++) {
        CHECK_NULL(start(return_here, &seen));
        CHECK_EQ(seen, &seen);
        seen = NULL;
    }
}

static coir_ctx *
return_nobody(void *arg)
{
    (void)arg;
    return NULL;
}

TEST(ctx, body_that_returns_nobody_faults)
{
    CHECK_DIES(SIGSEGV, "")
    start(return_nobody, NULL);
}

/* -- unwinding ------------------------------------------------------------ */

enum { MAX_FRAMES = 64 };

struct frames {
    int len;
    uintptr_t functions[MAX_FRAMES];
};

static _Unwind_Reason_Code
note_function(struct _Unwind_Context *context, void *arg)
{
    struct frames *frames = arg;
    if (_Unwind_GetIP(context) == 0)
        return _URC_NO_REASON; /* how the end is told */
    if (frames->len == MAX_FRAMES)
        return _URC_NORMAL_STOP;
    frames->functions[frames->len++] = _Unwind_GetRegionStart(context);
    return _URC_NO_REASON;
}

static int
find_function(const struct frames *frames, uintptr_t function)
{
    for (int i = 0; i < frames->len; i++)
        if (frames->functions[i] == function)
            return i;
    return -1;
}

NOINLINE static void
unwind_here(void *arg)
{
    struct frames *frames = arg;
    CHECK_EQ(_Unwind_Backtrace(note_function, frames), _URC_END_OF_STACK);
    KEEP_FRAME();
}

NOINLINE static void
unwind_nested(void *arg)
{
    unwind_here(arg);
    KEEP_FRAME();
}

static coir_ctx *
unwind_in_context(void *arg)
{
    unwind_nested(arg);
    /* And once more after a swap. */
    unwind_nested(coir_ctx_swap(&there, &here, NULL));
    coir_ctx_swap(&there, &here, NULL);
    return NULL;
}

static void
check_frames_of_context(const struct frames *frames)
{
    int here_at = find_function(frames, (uintptr_t)unwind_here);
    int body_at = find_function(frames, (uintptr_t)unwind_in_context);
    CHECK(here_at >= 0);
    CHECK_EQ(frames->functions[here_at + 1], (uintptr_t)unwind_nested);
    CHECK_EQ(body_at, here_at + 2);
    /* The outermost frame: where the body would return to. ucontext has a
     * function of ours there and one of the C library. */
    int extra = frames->len - 1 - body_at;
    CHECK(COIR__CONTEXT_ASM ? extra == 1 : extra <= 2);
}

NOINLINE static void
unwind_two_contexts(void *arg)
{
    (void)arg;
    struct frames frames = {0};
    start(unwind_in_context, &frames);
    check_frames_of_context(&frames);
    memset(&frames, 0, sizeof frames);
    coir_ctx_swap(&here, &there, &frames);
    check_frames_of_context(&frames);
    /* The starter is not among them, but it is among its own. */
    CHECK_EQ(find_function(&frames, (uintptr_t)unwind_two_contexts), -1);
    memset(&frames, 0, sizeof frames);
    unwind_nested(&frames);
    CHECK(find_function(&frames, (uintptr_t)unwind_two_contexts) >= 0);
}

TEST(ctx, unwinding_ends_at_the_entry)
{
    unwind_two_contexts(NULL);
}

#if COIR__CONTEXT_ASM
/* For those who walk frame pointers: asking for its frame's address makes a
 * function keep one, and there it has saved its caller's. */
static coir_ctx *
note_saved_frame_pointer(void *arg)
{
    *(uintptr_t *)arg = *(uintptr_t *)__builtin_frame_address(0);
    coir_ctx_swap(&there, &here, NULL);
    return NULL;
}

TEST(ctx, frame_pointers_end_at_the_entry)
{
    uintptr_t saved = 1;
    start(note_saved_frame_pointer, &saved);
    CHECK_EQ(saved, 0);
}
#endif

#if COIR__CONTEXT_ASM && defined(__x86_64__)
/* Unwind from each instruction of start and swap: the processor's trap flag
 * stops after every one, and the signal handler looks at the chain of frames
 * and at the registers that the CFI says the caller had. */

static struct {
    int swap; /* instructions seen */
    int start;
    int wrong; /* chains or registers that were not right */
    uintptr_t first_wrong;
} steps;

struct step {
    int frames;            /* below the signal frame */
    uintptr_t interrupted; /* function */
    int has_pattern;       /* called by swap_with_registers() */
    int seed;              /* whose pattern was in the registers, or 0 */
    int in_test;           /* chain went to the test, */
    int in_body;           /* or to the context's body */
};

static coir_ctx *step_in_context(void *arg);
static void step_in_test(void *arg);

static _Unwind_Reason_Code
note_step(struct _Unwind_Context *context, void *arg)
{
    /* rbx, rbp, r12 to r15 in DWARF's numbers */
    static const int numbers[KEPT] = {3, 6, 12, 13, 14, 15};
    struct step *step = arg;
    uintptr_t function = _Unwind_GetRegionStart(context);
    if (step->frames == 0 && function != step->interrupted)
        return _URC_NO_REASON; /* the handler, and what called it */
    if (_Unwind_GetIP(context) == 0)
        return _URC_NO_REASON; /* how the end is told */
    step->frames++;
    if (function == (uintptr_t)swap_with_registers) {
        step->has_pattern = 1;
        for (int seed = 1; seed <= 2; seed++) {
            uint64_t pattern[KEPT];
            int same = 0;
            make_pattern(pattern, seed);
            for (int i = 0; i < KEPT; i++)
                same += _Unwind_GetGR(context, numbers[i]) == pattern[i];
            if (same == KEPT)
                step->seed = seed;
        }
    }
    step->in_test |= function == (uintptr_t)step_in_test;
    step->in_body |= function == (uintptr_t)step_in_context;
    return step->frames > MAX_FRAMES ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

static void
on_step(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    uintptr_t address = (uintptr_t)info->si_addr;
    /* A whole instruction behind us: + 1 finds the function also of the
     * first one. */
    struct step step = {0};
    step.interrupted =
        (uintptr_t)_Unwind_FindEnclosingFunction((void *)(address + 1));
    int is_swap = step.interrupted == (uintptr_t)coir_ctx_swap;
    int is_start = step.interrupted == (uintptr_t)coir_ctx_start;
    if (!is_swap && !is_start)
        return;
    int ended = _Unwind_Backtrace(note_step, &step) == _URC_END_OF_STACK;
    int right;
    if (is_swap)
        /* Test and body have a pattern each; the first swap back resumes
         * a start, which has none. */
        right = step.in_test != step.in_body &&
                step.seed == (step.in_body ? 2 : step.has_pattern);
    else
        /* On the new stack start is the outermost frame. */
        right = (step.in_test || step.frames == 1) && !step.in_body;
    steps.swap += is_swap;
    steps.start += is_start;
    if (!(ended && right) && steps.wrong++ == 0)
        steps.first_wrong = address - step.interrupted;
}

#define TRAP_FLAG "0x100"

static coir_ctx *
step_in_context(void *arg)
{
    (void)arg;
    swap_and_check_registers(&there, &here, 2);
    swap_and_check_registers(&there, &here, 2);
    KEEP_FRAME();
    return NULL;
}

NOINLINE static void
step_in_test(void *arg)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n"
                     "orq $" TRAP_FLAG ", (%%rsp)\n popfq\n"
                     "lea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
    start(step_in_context, arg);
    swap_and_check_registers(&here, &there, 1);
    __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n"
                     "andq $~" TRAP_FLAG ", (%%rsp)\n popfq\n"
                     "lea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
}

TEST(ctx, every_instruction_can_be_unwound)
{
    if (coir_test_on_valgrind())
        SKIP("valgrind has no trap flag");
    struct sigaction action = {0};
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
    step_in_test(NULL);
    if (steps.wrong != 0)
        coir_test_fail(__FILE__, __LINE__, "%d wrong, the first at +%#lx",
                       steps.wrong, (unsigned long)steps.first_wrong);
    CHECK(steps.start > 10);
    CHECK(steps.swap > 60); /* three swaps */
}
#endif
