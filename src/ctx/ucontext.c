/* ctx: the portable fallback, on makecontext() and swapcontext().
 *
 * For systems without assembly of ours, and to check the assembly against. It
 * is some hundred times slower: these functions set the signal mask, so each
 * switch makes system calls. The mask that a context was suspended with would
 * even come back with it; since a switch must not touch the mask, swap asks
 * for the current one first and puts it into the context it resumes. That is
 * two system calls per swap.
 *
 * A suspended context is a `struct frame` among the locals of suspend(), on
 * the context's own stack, so that who copies [sp, top of the stack) has all
 * of it. ctx.sp lies BELOW bytes under it, to cover what else suspend() and
 * swapcontext() have on the stack down there: spilled registers, arguments,
 * a return address. An assertion watches that.
 *
 * Not as good as the assembly: a chain of frame pointers does not end at the
 * entry (what makecontext() starts inherits the register). Unwinding by CFI
 * ends where the C library's own code says so. Control words are always kept,
 * whatever COIR__FPU_STATE says. */
#include <coir/ctx.h>

#include <assert.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#include "ctx/unwind.h"

enum {
    BELOW = 512,
    /* makecontext() wants a size, but only base + size matters to it. */
    PRETENDED_SIZE = 16 * 1024
};

struct frame {
    ucontext_t uc;
    void *value; /* for the suspended start or swap to return */
};

/* Parameters of enter(), in the starter's frame. */
struct entry {
    coir_ctx_fn fn;
    void *arg;
};

/* The frame must lie on the stack, not on AddressSanitizer's fake one. */
#define ON_TRUE_STACK __attribute__((noinline, no_sanitize("address")))

/* An address below all frames of its callers. */
__attribute__((noinline)) static uintptr_t
frame_below(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}

ON_TRUE_STACK static void *
suspend(coir_ctx *from, const ucontext_t *next)
{
    struct frame frame;
    from->sp = (void *)((uintptr_t)&frame - BELOW);
    assert(frame_below() > (uintptr_t)from->sp + BELOW / 4);
    /* Fails only for want of memory on systems that allocate here; there is
     * no way to go on. */
    if (swapcontext(&frame.uc, next) < 0)
        abort();
    return frame.value;
}

/* What to go to in order to resume `to`, with `value`. */
static const ucontext_t *
resume(coir_ctx *to, void *value)
{
    struct frame *target = (struct frame *)((char *)to->sp + BELOW);
    target->value = value;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &target->uc.uc_sigmask);
    return &target->uc;
}

/* makecontext() passes ints: the pointer comes in two halves. */
static void
enter(unsigned int high, unsigned int low)
{
    uint64_t bits = (uint64_t)high << 32 | low;
    struct entry entry = *(struct entry *)(uintptr_t)bits;
    (void)setcontext(resume(entry.fn(entry.arg), NULL));
    abort(); /* as in suspend() */
}

ON_TRUE_STACK void *
coir_ctx_start(coir_ctx *from, void *stack_top, coir_ctx_fn fn, void *arg)
{
    struct entry entry = {fn, arg};
    uint64_t bits = (uintptr_t)&entry;
    uintptr_t top = (uintptr_t)stack_top & ~(uintptr_t)15;
    ucontext_t fresh;
    if (getcontext(&fresh) < 0)
        abort();
    fresh.uc_stack.ss_sp = (void *)(top - PRETENDED_SIZE);
    fresh.uc_stack.ss_size = PRETENDED_SIZE;
    fresh.uc_link = NULL;
    makecontext(&fresh, (void (*)(void))enter, 2, (unsigned int)(bits >> 32),
                (unsigned int)bits);
    return suspend(from, &fresh);
}

void *
coir_ctx_swap(coir_ctx *from, coir_ctx *to, void *value)
{
    return suspend(from, resume(to, value));
}

/* It takes assembly to say where the registers are. */
int
coir__ctx_beneath(const coir_ctx *ctx, void (*fn)(void *arg), void *arg)
{
    (void)ctx;
    (void)fn;
    (void)arg;
    return 0;
}

const char *
coir_ctx_backend(void)
{
    return "ucontext";
}
