/* sanitizer.h - telling ASan and TSan which stack runs.
 *
 * Without a sanitizer all of it is empty. A coroutine's `sanitizer` member is,
 * while it is suspended, ASan's fake stack; for TSan its fiber from start to
 * end. Valgrind learns of stacks in the stack pool. */
#ifndef COIR__SANITIZER_H
#define COIR__SANITIZER_H

#include "coro/internal.h"

#if COIR__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#elif COIR__TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Nobody's frames lie in [low, high) of the thread's stack any more: what ASan
 * marked there must not meet who grows into it next. */
static inline __attribute__((always_inline)) void
coir__stack_forget(void *low, const char *high)
{
#if COIR__ASAN
    if ((char *)low < high)
        __asan_unpoison_memory_region(low, (size_t)(high - (char *)low));
#else
    (void)low;
    (void)high;
#endif
}

/* `co` has got its stack. */
static inline void
coir__fiber_init(coir_coro *co)
{
#if COIR__ASAN
    co->sanitizer = NULL;
    if (co->policy == COIR_POLICY_DEDICATED)
        __lsan_register_root_region(co->u.dedicated.stack.base,
                                    co->u.dedicated.stack.size);
#elif COIR__TSAN
    co->sanitizer = __tsan_create_fiber(0);
#else
    (void)co;
#endif
}

/* `co` is about to lose it; another one is running. */
static inline void
coir__fiber_fini(coir_coro *co)
{
#if COIR__ASAN
    if (co->policy == COIR_POLICY_DEDICATED) {
        const coir_stack *stack = &co->u.dedicated.stack;
        __lsan_unregister_root_region(stack->base, stack->size);
        __asan_unpoison_memory_region(stack->base, stack->size);
    }
#elif COIR__TSAN
    __tsan_destroy_fiber(co->sanitizer);
#endif
    co->sanitizer = NULL;
}

/* `from` is about to switch to `to`. */
/* Inlined, so that no instrumented epilogue runs for the other fiber. */
static inline __attribute__((always_inline)) void
coir__fiber_leave(coir__thread *t, coir_coro *from, coir_coro *to)
{
#if COIR__ASAN
    const void *low;
    size_t size;
    if (to->policy == COIR_POLICY_DEDICATED) {
        low = to->u.dedicated.stack.base;
        size = to->u.dedicated.stack.size;
    }
    else {
        (void)coir__thread_find_bounds(t);
        low = t->stack_low;
        size = (size_t)(t->stack_high - t->stack_low);
    }
    /* NULL frees the fake stack of one that ends. */
    __sanitizer_start_switch_fiber(
        from->state == COIR_CORO_FINISHED ? NULL : &from->sanitizer, low,
        size);
#elif COIR__TSAN
    (void)t;
    (void)from;
    __tsan_switch_to_fiber(to->sanitizer, 0);
#else
    (void)t;
    (void)from;
    (void)to;
#endif
}

/* `co` has been switched to. */
static inline __attribute__((always_inline)) void
coir__fiber_arrive(coir_coro *co)
{
#if COIR__ASAN
    __sanitizer_finish_switch_fiber(co->sanitizer, NULL, NULL);
#else
    (void)co;
#endif
}

#endif
