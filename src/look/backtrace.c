/* backtrace.c - the calls that a green thread is in.
 *
 * They are found by the unwinder of the compiler's run-time library, from the
 * tables that exceptions use; programs need no frame pointers. It starts from
 * where it is called. For one that is suspended it is called from beneath a
 * frame that is described as the continuation of the suspended ones (see
 * ctx/unwind.h): so nothing runs on their stack, which may be nearly full.
 *
 * Addresses are those behind a call, that is, return addresses; that of an
 * instruction which a signal has interrupted is made to look like one. */
#include "look/internal.h"

#include <unwind.h>

#include "ctx/unwind.h"

typedef struct walk {
    const void **addresses;
    int size;
    int count;
    int skip;        /* frames of ours */
    int till_signal; /* and all that a signal has put on top */
    int reason;
} walk;

static _Unwind_Reason_Code
add(struct _Unwind_Context *context, void *arg)
{
    walk *w = arg;
    int is_exact = 0;
    uintptr_t ip = (uintptr_t)_Unwind_GetIPInfo(context, &is_exact);
    if (ip == 0 || w->count == w->size)
        return _URC_END_OF_STACK;
    if (w->till_signal && is_exact)
        w->till_signal = 0;
    if (w->skip > 0)
        w->skip--;
    else if (!w->till_signal)
        w->addresses[w->count++] = (const void *)(ip + (unsigned)is_exact);
    return _URC_NO_REASON;
}

/* Its own frame is the first. The reason is kept so that this is no jump. */
static COIR__NOINLINE void
unwind(void *arg)
{
    walk *w = arg;
    w->reason = (int)_Unwind_Backtrace(add, w);
}

/* What unwinds is not instrumented, and reads another's stack. */
int
coir__backtrace(const coir_green *g, const void **addresses, int size)
{
    const coir_coro *co = g->co;
    if (g->kept || g->state == COIR_GREEN_ENDED ||
        co->state != COIR_CORO_SUSPENDED ||
        (co->policy == COIR_POLICY_SLICE && co->u.slice.stack_saved > 0))
        return 0;
    walk w = {.addresses = addresses, .size = size, .skip = 2};
    return coir__ctx_beneath(&co->ctx, unwind, &w) ? w.count : 0;
}

COIR__NOINLINE int
coir__backtrace_here(const void **addresses, int size, int in_handler)
{
    walk w = {.addresses = addresses,
              .size = size,
              .skip = 2,
              .till_signal = in_handler};
    unwind(&w);
    return w.count;
}

int
coir_green_backtrace(const coir_green *g, const void **addresses, int size)
{
    if (g->hub->current == g)
        return coir__backtrace_here(addresses, size, 0);
    return coir__backtrace(g, addresses, size);
}
