/* unwind.h - a look at the frames of a suspended context. */
#ifndef COIR__CTX_UNWIND_H
#define COIR__CTX_UNWIND_H

#include <coir/ctx.h>

/* Call fn(arg) on the caller's stack, so that an unwinder in it which has left
 * `fn` finds the frames of `ctx`, the last one first. Nothing of the context
 * is run or written. Returns 1; 0, and nothing was called, where this build
 * cannot. */
int coir__ctx_beneath(const coir_ctx *ctx, void (*fn)(void *arg), void *arg);

#endif
