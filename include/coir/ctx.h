/* coir/ctx.h - switch of machine contexts.
 *
 * A context is a suspended flow of control: all that its stack does not hold
 * is the address of its top. Nothing here knows who owns the stack.
 * Saved across a switch: the ABI's callee-saved registers and, unless the
 * library was built with -Dfpu_state=false, the floating-point control words
 * (MXCSR and x87 control word; FPCR). The signal mask is not touched.
 *
 * Owner:   the caller owns stacks and coir_ctx objects.
 * Threads: a context is resumed only by the thread that suspended it. */
#ifndef COIR_CTX_H
#define COIR_CTX_H

#include <coir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_ctx {
    void *sp; /* stack pointer while suspended: lowest address in use */
} coir_ctx;

/* Body of a context. It must never return: its last act is a swap. */
typedef void (*coir_ctx_fn)(void *arg);

/* Suspend the caller into `*from` and call fn(arg) on a fresh stack that
 * grows down from `stack_top`, aligned down to 16 bytes.
 * Returns, when somebody swaps back to `*from`, what that swap passed. */
COIR_API void *coir_ctx_start(coir_ctx *from, void *stack_top, coir_ctx_fn fn,
                              void *arg);

/* Suspend the caller into `*from` and resume `*to`, another object, where the
 * swap or start that suspended it returns `value`. */
COIR_API void *coir_ctx_swap(coir_ctx *from, coir_ctx *to, void *value);

/* "x86_64_sysv", "aarch64_aapcs64" or "ucontext". */
COIR_API const char *coir_ctx_backend(void);

#ifdef __cplusplus
}
#endif

#endif
