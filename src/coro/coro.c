/* coro.c - coroutines: life, switching, parents.
 *
 * States:   NEW -> RUNNING <-> SUSPENDED, RUNNING -> FINISHED;
 *           NEW -> FINISHED when an error is thrown into it.
 * A switch: the target is resolved (finished ones stand for their nearest
 *           living ancestor), gets its stack if it is NEW, and then there is
 *           no way to fail. Value and status travel in the thread's record.
 * An end:   coir__coro_entry() marks the coroutine FINISHED and returns the
 *           context that goes on. A stack cannot free itself: the coroutine is
 *           left as the thread's zombie, and whoever runs next releases its
 *           stack.
 *
 * Invariants: t->current is RUNNING and no other one is; a coroutine has a
 * stack iff it is PREPARED, RUNNING, SUSPENDED or the zombie; parents have no
 * cycle and end at the main coroutine; a running coroutine of policy slice,
 * main included, is t->slice_top. */
#include "coro/internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "coro/sanitizer.h"
#include "coro/switch.h"

/* --- life ---------------------------------------------------------------- */

int
coir_coro_init(coir_coro *co, coir_coro_fn fn, void *arg,
               const coir_coro_attr *attr)
{
    coir__thread *t = coir__thread_get();
    if (t == NULL)
        return COIR_ENOMEM;
    static const coir_coro_attr defaults;
    if (attr == NULL)
        attr = &defaults;
    coir_coro *parent = attr->parent != NULL ? attr->parent : t->current;
    if (parent->thread_id != t->id)
        return COIR_ETHREAD;
    size_t stack_size =
        attr->stack_size != 0 ? attr->stack_size : t->stack_size;
    if (fn == NULL || attr->reserve % 16 != 0 || stack_size > COIR_STACK_MAX ||
        attr->reserve > COIR_STACK_MAX ||
        stack_size + attr->reserve > COIR_STACK_MAX ||
        (attr->policy != COIR_POLICY_DEDICATED &&
         attr->policy != COIR_POLICY_SLICE))
        return COIR_EINVAL;

    /* Member by member, since clearing the block and then filling it in would
     * be most of the cost of a coroutine that is never started. */
    co->ctx.sp = NULL;
    co->thread_id = t->id;
    co->state = COIR_CORO_NEW;
    co->policy = (uint8_t)attr->policy;
    co->flags = 0;
    co->parent = parent;
    co->fn = fn;
    co->arg = arg;
    co->name = attr->name;
    co->user = NULL;
    co->reserve_size = attr->reserve;
    co->reserve = NULL;
    if (attr->policy == COIR_POLICY_DEDICATED) {
        co->u.dedicated.stack.base = NULL;
        co->u.dedicated.stack.size = stack_size + attr->reserve;
        co->u.dedicated.stack.slot = NULL;
    }
    else {
        co->u.slice.stack_stop = NULL;
        co->u.slice.stack_copy = NULL;
        co->u.slice.stack_saved = 0;
        co->u.slice.stack_prev = NULL;
    }
    co->cxx_exceptions[0] = NULL;
    co->cxx_exceptions[1] = NULL;
    co->sanitizer = NULL;
    return 0;
}

/* Release what a coroutine that will not run again holds. */
static void
release_stack(coir__thread *t, coir_coro *co)
{
    coir__fiber_fini(co);
    if (co->policy == COIR_POLICY_DEDICATED)
        coir_stack_release(t->pool, &co->u.dedicated.stack);
    else if (co->reserve != NULL)
        coir_free(co->reserve);
    co->reserve = NULL;
}

int
coir_coro_fini(coir_coro *co)
{
    if (co->state == COIR_CORO_RUNNING || co->state == COIR_CORO_SUSPENDED)
        return COIR_EBUSY;
    if (co->flags & COIR__CORO_PREPARED) {
        coir__thread *t = coir__self;
        if (t == NULL || co->thread_id != t->id)
            return COIR_ETHREAD;
        co->flags &= (uint8_t)~COIR__CORO_PREPARED;
        release_stack(t, co);
    }
    co->state = COIR_CORO_FINISHED;
    return 0;
}

int
coir_coro_new(coir_coro **out, coir_coro_fn fn, void *arg,
              const coir_coro_attr *attr)
{
    coir_coro *co = coir_malloc(sizeof *co);
    if (co == NULL)
        return COIR_ENOMEM;
    int err = coir_coro_init(co, fn, arg, attr);
    if (err < 0) {
        coir_free(co);
        return err;
    }
    *out = co;
    return 0;
}

int
coir_coro_free(coir_coro *co)
{
    if (co == NULL)
        return 0;
    int err = coir_coro_fini(co);
    if (err == 0)
        coir_free(co);
    return err;
}

/* Take the stack of a NEW coroutine. */
static int
take_stack(coir__thread *t, coir_coro *co)
{
    if (co->policy == COIR_POLICY_DEDICATED) {
        if (coir__unlikely(t->pool == NULL) && coir_thread_pool() == NULL)
            return COIR_ENOMEM;
        coir_stack *stack = &co->u.dedicated.stack;
        int err = coir_stack_acquire(t->pool, stack->size, stack);
        if (err < 0)
            return err;
        if (co->reserve_size != 0)
            co->reserve = (char *)stack->base + stack->size - co->reserve_size;
    }
    else {
        int err = coir__slice_prepare(t);
        if (err < 0)
            return err;
        if (co->reserve_size != 0) {
            co->reserve = coir_malloc(co->reserve_size);
            if (co->reserve == NULL)
                return COIR_ENOMEM;
        }
    }
    coir__fiber_init(co);
    co->flags |= COIR__CORO_PREPARED;
    return 0;
}

int
coir_coro_prepare(coir_coro *co)
{
    coir__thread *t = coir__thread_get();
    if (t == NULL)
        return COIR_ENOMEM;
    if (co->thread_id != t->id)
        return COIR_ETHREAD;
    if (co->state != COIR_CORO_NEW)
        return COIR_EINVAL;
    return co->flags & COIR__CORO_PREPARED ? 0 : take_stack(t, co);
}

/* --- switching ----------------------------------------------------------- */

void
coir__coro_reap(coir__thread *t)
{
    coir_coro *co = t->zombie;
    t->zombie = NULL;
    release_stack(t, co);
}

void
coir__coro_abandon(coir_coro *co)
{
    coir__thread *t = coir__self;
    assert(co->state == COIR_CORO_SUSPENDED && co->thread_id == t->id &&
           !(co->flags & COIR__CORO_MAIN));
    co->state = COIR_CORO_FINISHED;
    t->alive--;
    if (co->policy == COIR_POLICY_SLICE)
        coir__slice_abandon(t, co);
    release_stack(t, co);
}

/* Leave `from` for `to`, which is SUSPENDED, or NEW and prepared. Returns 0
 * when `from` is resumed, never if it has finished; COIR_ENOMEM if a slice
 * could not be moved, and then nothing happened. */
static inline int
leave(coir__thread *t, coir_coro *from, coir_coro *to)
{
    if (coir__unlikely(coir__on_thread_stack(to)) &&
        !coir__slice_in_place(t, to))
        return coir__slice_switch(t, from, to);
    uint8_t state = to->state;
    if (from->state == COIR_CORO_RUNNING)
        from->state = COIR_CORO_SUSPENDED;
    coir__swap_cxx_exceptions(t, from, to);
    coir__fiber_leave(t, from, to);
    t->current = to;
    to->state = COIR_CORO_RUNNING;
    if (coir__likely(state == COIR_CORO_SUSPENDED)) {
        (void)coir_ctx_swap(&from->ctx, &to->ctx, NULL);
    }
    else {
        to->flags &= (uint8_t)~COIR__CORO_PREPARED;
        const coir_stack *stack = &to->u.dedicated.stack;
        (void)coir_ctx_start(
            &from->ctx, (char *)stack->base + stack->size - to->reserve_size,
            coir__coro_entry, t);
    }
    return 0;
}

/* Replace `to` by the one that is switched to in its place, with what it is
 * brought: living ancestors for finished ones, and for NEW ones that an error
 * reaches, which finish by it. */
static coir_coro *
resolve(coir_coro *to, int *status, void **value)
{
    for (;;) {
        if (to->state == COIR_CORO_NEW && *status < 0)
            (void)coir_coro_fini(to);
        if (to->state != COIR_CORO_FINISHED)
            return to;
        if (*status == COIR_ECANCELED) {
            /* A request to unwind that is fulfilled is a normal end. */
            *status = 0;
            *value = NULL;
        }
        to = to->parent;
    }
}

static COIR__NOINLINE int
start_failed(coir__thread *t, int err)
{
    t->switch_failed = 1;
    return err;
}

static COIR__COLD int
foreign_thread(void)
{
    coir__thread *t = coir__thread_get();
    return t == NULL ? COIR_ENOMEM : start_failed(t, COIR_ETHREAD);
}

static inline int
transfer(coir__thread *t, coir_coro *to, int status, void *value, int event,
         void **out)
{
    coir_coro *from = t->current;
    t->switch_failed = 0;
    if (coir__unlikely(to->state != COIR_CORO_SUSPENDED)) {
        to = resolve(to, &status, &value);
        if (to == from) {
            if (status == 0 && out != NULL)
                *out = value;
            return status;
        }
        if (to->state == COIR_CORO_NEW && !(to->flags & COIR__CORO_PREPARED)) {
            int err = take_stack(t, to);
            if (err < 0)
                return start_failed(t, err);
        }
    }
    t->value = value;
    t->status = status;
    t->hook_from = from;
    t->hook_event = event;
    int err = leave(t, from, to);
    if (coir__unlikely(err < 0))
        return start_failed(t, err);
    coir__coro_arrive(t);
    status = t->status;
    if (status == 0 && out != NULL)
        *out = t->value;
    return status;
}

int
coir_coro_switch(coir_coro *to, void *value, void **out)
{
    coir__thread *t = coir__self;
    if (coir__unlikely(t == NULL || to->thread_id != t->id))
        return foreign_thread();
    return transfer(t, to, 0, value, COIR_EVENT_SWITCH, out);
}

int
coir_coro_throw(coir_coro *to, int error, void **out)
{
    coir__thread *t = coir__self;
    if (coir__unlikely(t == NULL || to->thread_id != t->id))
        return foreign_thread();
    if (error >= 0)
        return start_failed(t, COIR_EINVAL);
    return transfer(t, to, error, NULL, COIR_EVENT_THROW, out);
}

int
coir_coro_switch_failed(void)
{
    const coir__thread *t = coir__self;
    return t == NULL || t->switch_failed;
}

/* Is `co` `other` or above it in the tree of parents? */
static int
is_ancestor(const coir_coro *co, const coir_coro *other)
{
    for (; other != NULL; other = other->parent) {
        if (other == co)
            return 1;
    }
    return 0;
}

int
coir_coro_cancel(coir_coro *co)
{
    coir__thread *t = coir__self;
    if (coir__unlikely(t == NULL || co->thread_id != t->id))
        return foreign_thread();
    if (co->state == COIR_CORO_NEW)
        return coir_coro_fini(co);
    if (co->state == COIR_CORO_FINISHED)
        return 0;
    if (is_ancestor(co, t->current)) /* the running one and main included */
        return start_failed(t, COIR_EINVAL);
    coir_coro *parent = co->parent;
    co->parent = t->current;
    int err = transfer(t, co, COIR_ECANCELED, NULL, COIR_EVENT_THROW, NULL);
    if (coir__unlikely(t->switch_failed)) {
        co->parent = parent;
        return err;
    }
    return co->state == COIR_CORO_FINISHED ? 0 : COIR_EBUSY;
}

/* The running coroutine has ended. Returns the context to go on with, or
 * leaves for good where there is more to do than to resume it. */
static COIR__NO_SANITIZE coir_ctx *
finish(coir__thread *t, coir_coro *from, coir_coro *to, int status,
       void *value, int event)
{
    from->state = COIR_CORO_FINISHED;
    t->alive--;
    t->zombie = from;
    t->switch_failed = 0;
    if (from->policy == COIR_POLICY_SLICE)
        t->slice_top = from->u.slice.stack_prev;
    for (;;) {
        to = resolve(to, &status, &value);
        int err = 0;
        if (to->state == COIR_CORO_NEW && !(to->flags & COIR__CORO_PREPARED))
            err = take_stack(t, to);
        t->value = value;
        t->status = status;
        t->hook_from = from;
        t->hook_event = event;
        if (coir__likely(
                to->state == COIR_CORO_SUSPENDED &&
                (!coir__on_thread_stack(to) || coir__slice_in_place(t, to)))) {
            coir__swap_cxx_exceptions(t, from, to);
            coir__fiber_leave(t, from, to);
            t->current = to;
            to->state = COIR_CORO_RUNNING;
            return &to->ctx;
        }
        if (err == 0)
            err = leave(t, from, to);
        /* Only for want of memory does it come back. What cannot be reached
         * can't be told; its parent can, main at last. */
        if (to->flags & COIR__CORO_MAIN) {
            fputs("coir: out of memory: a coroutine has finished, and the "
                  "slices in the way of the main coroutine cannot be moved\n",
                  stderr);
            abort();
        }
        to = to->parent;
        status = err;
    }
}

/* Uninstrumented: its epilogue would run for another fiber. */
COIR__NO_SANITIZE coir_ctx *
coir__coro_entry(void *thread)
{
    coir__thread *t = thread;
    coir_coro *co = t->current;
    t->alive++;
    coir__coro_starts(t);
    coir__coro_arrive(t);
    void *result = NULL;
    /* A NEW coroutine is only ever reached by a value: see resolve(). */
    int status = co->fn(co->arg, t->value, &result);
    if (status >= 0 || status == COIR_ECANCELED)
        return finish(t, co, co->parent, 0, result, COIR_EVENT_SWITCH);
    return finish(t, co, co->parent, status, NULL, COIR_EVENT_THROW);
}

COIR__NO_SANITIZE void
coir_coro_exit(coir_coro *to, int status, void *value)
{
    coir__thread *t = coir__self;
    coir_coro *from = t->current;
    assert(!(from->flags & COIR__CORO_MAIN) && "main cannot exit");
    assert(to != from && to->thread_id == t->id);
    if (coir__on_thread_stack(from))
        coir__stack_forget(__builtin_frame_address(0),
                           from->u.slice.stack_stop);
    coir_ctx gone;
    (void)coir_ctx_swap(
        &gone,
        finish(t, from, to, status < 0 ? status : 0, value,
               status < 0 ? COIR_EVENT_THROW : COIR_EVENT_SWITCH),
        NULL);
    __builtin_unreachable();
}

/* --- parents and queries ------------------------------------------------- */

coir_coro *
coir_coro_current(void)
{
    const coir__thread *t = coir__thread_get();
    return t != NULL ? t->current : NULL;
}

coir_coro *
coir_coro_main(void)
{
    coir__thread *t = coir__thread_get();
    return t != NULL ? &t->main : NULL;
}

coir_coro *
coir_coro_parent(const coir_coro *co)
{
    return co->parent;
}

int
coir_coro_set_parent(coir_coro *co, coir_coro *parent)
{
    const coir__thread *t = coir__self;
    if (parent == NULL || (co->flags & COIR__CORO_MAIN))
        return COIR_EINVAL;
    if (t == NULL || co->thread_id != t->id || parent->thread_id != t->id)
        return COIR_ETHREAD;
    if (is_ancestor(co, parent))
        return COIR_ECYCLE;
    co->parent = parent;
    return 0;
}

int
coir_coro_state(const coir_coro *co)
{
    return co->state;
}

const char *
coir_coro_name(const coir_coro *co)
{
    return co->name != NULL ? co->name : "";
}

int
coir_coro_policy(const coir_coro *co)
{
    return co->policy;
}

void *
coir_coro_reserve(const coir_coro *co)
{
    return co->reserve;
}

static int
has_stack(const coir_coro *co)
{
    return co->state == COIR_CORO_RUNNING ||
           co->state == COIR_CORO_SUSPENDED ||
           (co->flags & COIR__CORO_PREPARED);
}

int
coir_coro_stack_bounds(const coir_coro *co, void **low, void **high)
{
    if (!has_stack(co))
        return COIR_EDEAD;
    if (co->policy == COIR_POLICY_DEDICATED) {
        const coir_stack *stack = &co->u.dedicated.stack;
        *low = stack->base;
        *high = (char *)stack->base + stack->size - co->reserve_size;
        return 0;
    }
    coir__thread *t = coir__self;
    if (t == NULL || co->thread_id != t->id)
        return COIR_ETHREAD;
    int err = coir__thread_find_bounds(t);
    if (err < 0)
        return err;
    *low = t->stack_low;
    *high = t->stack_high;
    return 0;
}

size_t
coir_coro_stack_used(const coir_coro *co)
{
    if (co->state != COIR_CORO_SUSPENDED)
        return 0;
    const char *high;
    if (co->policy == COIR_POLICY_DEDICATED) {
        const coir_stack *stack = &co->u.dedicated.stack;
        high = (char *)stack->base + stack->size - co->reserve_size;
    }
    else if (co->flags & COIR__CORO_MAIN) {
        coir__thread *t = coir__self;
        if (t == NULL || co->thread_id != t->id ||
            coir__thread_find_bounds(t) < 0)
            return 0;
        high = t->stack_high;
    }
    else {
        high = co->u.slice.stack_stop;
    }
    return (size_t)(high - (const char *)co->ctx.sp);
}

size_t
coir_coro_stack_saved(const coir_coro *co)
{
    return co->policy == COIR_POLICY_SLICE ? co->u.slice.stack_saved : 0;
}

size_t
coir_coro_stack_high_water(const coir_coro *co)
{
    if (co->policy != COIR_POLICY_DEDICATED || !has_stack(co))
        return 0;
    size_t touched = coir_stack_high_water(&co->u.dedicated.stack);
    return touched > co->reserve_size ? touched - co->reserve_size : 0;
}
