/* switch.h - the parts of a switch, for those who put it together themselves:
 * coro.c, and the hub, which knows more of its coroutines and less can happen.
 */
#ifndef COIR__CORO_SWITCH_H
#define COIR__CORO_SWITCH_H

#include "coro/internal.h"
#include "coro/sanitizer.h"

/* Exceptions that are being handled (the switch is inside a catch block)
 * belong to their coroutine, not to the thread. */
static inline void
coir__swap_cxx_exceptions(coir__thread *t, coir_coro *from, coir_coro *to)
{
    void **globals = t->cxx_globals;
    if (globals == NULL)
        return;
    from->cxx_exceptions[0] = globals[0];
    from->cxx_exceptions[1] = globals[1];
    globals[0] = to->cxx_exceptions[0];
    globals[1] = to->cxx_exceptions[1];
}

/* Release the stack of the zombie. */
void coir__coro_reap(coir__thread *t);

/* First thing that happens in a coroutine that was switched to. */
static inline void
coir__coro_arrive(coir__thread *t)
{
    coir__fiber_arrive(t->current);
    if (coir__unlikely(t->zombie != NULL))
        coir__coro_reap(t);
    if (coir__unlikely(t->hook != NULL))
        t->hook(t->hook_from, t->current, t->hook_event, t->hook_user);
}

/* Can `to` be resumed by nothing but a swap of contexts? */
static inline int
coir__coro_is_swappable(const coir__thread *t, const coir_coro *to)
{
    return to->state == COIR_CORO_SUSPENDED &&
           (coir__likely(!coir__on_thread_stack(to)) ||
            coir__slice_in_place(t, to));
}

/* Resume such a one, with no value; returns when the running one is resumed.
 * Always inline: the swap should have one place in the caller, for the sake of
 * the prediction of its return. */
static inline __attribute__((always_inline)) void
coir__coro_swap(coir__thread *t, coir_coro *to)
{
    coir_coro *from = t->current;
    t->value = NULL;
    t->status = 0;
    t->switch_failed = 0;
    if (coir__unlikely(t->hook != NULL)) {
        t->hook_from = from;
        t->hook_event = COIR_EVENT_SWITCH;
    }
    from->state = COIR_CORO_SUSPENDED;
    coir__swap_cxx_exceptions(t, from, to);
    coir__fiber_leave(t, from, to);
    t->current = to;
    to->state = COIR_CORO_RUNNING;
    (void)coir_ctx_swap(&from->ctx, &to->ctx, NULL);
    coir__coro_arrive(t);
}

#endif
