/* slice.c - coroutines that share the thread's own stack.
 *
 * A slice runs at a fixed place of the thread's stack: [ctx.sp, stack_stop)
 * while it is suspended, stack_stop being where the stack's end was when it
 * started. Several may claim the same place. The main coroutine is a slice
 * too, with stack_stop at the end of the address space.
 *
 *     high  +--------------------+ main.stack_stop
 *           | main               |
 *           +--------------------+ A.stack_stop, B.stack_stop: both were
 *           | A        |         |     started by main from the same depth
 *           |          | B       |
 *           +----------+         |
 *     low              +---------+
 *
 * Those that lie on the stack, whole or in part, are chained from the lowest,
 * t->slice_top, by stack_prev up to main. What is missing of one is always its
 * lower end: stack_saved bytes from ctx.sp up, in stack_copy on the heap.
 *
 * A NEW one begins right below what is on the stack. A dedicated one, whose
 * frames are elsewhere, may start any number in turn, which would fill the
 * stack: from some bytes on all of them are saved, and it begins below main.
 *
 * To run `to`, everything below to.stack_stop must go: those that end below
 * it are saved whole and leave the chain, and of the next one what lies below
 * to.stack_stop. Then the saved part of `to` is copied back.
 *
 * This cannot be done on the stack that is overwritten, so it runs on a small
 * scratch stack, started anew each time. It is plain C but for sanitizers,
 * which must not look at it.
 *
 * Failure: the only one is memory for a copy. Copies made of suspended ones by
 * then are right and stay; that of the running one is dropped, since it runs
 * on. */
#include "coro/internal.h"

#include <assert.h>
#include <string.h>

#include "coro/sanitizer.h"
#if COIR__HAVE_VALGRIND
#include <valgrind/memcheck.h>
#endif

enum {
    SCRATCH_SIZE = 64 * 1024,
    VALGRIND_FRAME = 16 * 1024,
    /* Bytes of slices side by side below main, started by dedicated ones. */
    SIDE_BY_SIDE = 64 * 1024
};

typedef struct move {
    coir__thread *thread;
    coir_coro *from;
    coir_coro *to;
    int error;
} move;

int
coir__slice_prepare(coir__thread *t)
{
    if (t->scratch.base != NULL)
        return 0;
    if (coir_thread_pool() == NULL)
        return COIR_ENOMEM;
    return coir_stack_acquire(t->pool, SCRATCH_SIZE, &t->scratch);
}

/* memcpy() for stacks: sanitizers replace that one by a checking one. */
static COIR__NO_SANITIZE void
copy(char *to, const char *from, size_t size)
{
#if COIR__ASAN || COIR__TSAN
    volatile char *dest = to;
    for (size_t i = 0; i < size; i++)
        dest[i] = from[i];
#else
    memcpy(to, from, size);
#endif
}

static COIR__NO_SANITIZE char *
stack_stop(const coir_coro *co)
{
    return co->u.slice.stack_stop;
}

/* Save what `co` has on the stack below `stop`. 0 or COIR_ENOMEM. */
static COIR__NO_SANITIZE int
save(coir_coro *co, const char *stop)
{
    char *start = co->ctx.sp;
    if (stop <= start)
        return 0;
    size_t size = (size_t)(stop - start);
    size_t done = co->u.slice.stack_saved;
    if (size <= done)
        return 0;
    char *heap = coir_realloc(co->u.slice.stack_copy, size);
    if (heap == NULL)
        return COIR_ENOMEM;
    copy(heap + done, start + done, size - done);
    co->u.slice.stack_copy = heap;
    co->u.slice.stack_saved = size;
    coir__stack_forget(start, stop);
    return 0;
}

static COIR__NO_SANITIZE void
drop_copy(coir_coro *co)
{
    coir_free(co->u.slice.stack_copy);
    co->u.slice.stack_copy = NULL;
    co->u.slice.stack_saved = 0;
}

static COIR__NO_SANITIZE void
restore(coir_coro *co)
{
    size_t size = co->u.slice.stack_saved;
    if (size == 0)
        return;
    char *start = co->ctx.sp;
    coir__stack_forget(start, start + size);
#if COIR__HAVE_VALGRIND
    VALGRIND_MAKE_MEM_UNDEFINED(start, size);
#endif
    copy(start, co->u.slice.stack_copy, size);
    drop_copy(co);
}

/* Clear the place of `to`, and chain it up. 0 or COIR_ENOMEM. */
static COIR__NO_SANITIZE int
make_room(coir__thread *t, coir_coro *to)
{
    const char *stop = stack_stop(to);
    coir_coro *owner = t->slice_top;
    for (; owner != to && stack_stop(owner) < stop;
         owner = owner->u.slice.stack_prev) {
        if (save(owner, stack_stop(owner)) < 0)
            return COIR_ENOMEM;
    }
    if (owner != to) {
        if (save(owner, stop) < 0)
            return COIR_ENOMEM;
        /* One that ends where `to` ends has been saved whole. */
        while (stack_stop(owner) <= stop)
            owner = owner->u.slice.stack_prev;
        to->u.slice.stack_prev = owner;
    }
    t->slice_top = to;
    return 0;
}

/* Find a place for `to`, which is NEW. 0 or COIR_ENOMEM. */
static COIR__NO_SANITIZE int
place_new(coir__thread *t, const coir_coro *from, coir_coro *to)
{
    coir_coro *above = t->slice_top;
    const char *top = t->main.ctx.sp;
    if (!coir__on_thread_stack(from) &&
        (size_t)(top - (const char *)above->ctx.sp) > SIDE_BY_SIDE) {
        for (; above != &t->main; above = above->u.slice.stack_prev) {
            if (save(above, stack_stop(above)) < 0)
                return COIR_ENOMEM;
        }
    }
    to->u.slice.stack_prev = above;
    to->u.slice.stack_stop =
        (char *)((uintptr_t)above->ctx.sp & ~(uintptr_t)15);
    t->slice_top = to;
    return 0;
}

/* Body of the scratch context. */
static COIR__NO_SANITIZE coir_ctx *
relocate(void *arg)
{
    /* The record lies on the stack of `from`, which may be overwritten. */
    move *m = arg;
    coir__thread *t = m->thread;
    coir_coro *from = m->from;
    coir_coro *to = m->to;
    int alive = from->state != COIR_CORO_FINISHED;

    int is_new = to->state != COIR_CORO_SUSPENDED;
    int err = is_new ? place_new(t, from, to) : make_room(t, to);
    if (err < 0) {
        if (alive && coir__on_thread_stack(from))
            drop_copy(from);
        m->error = err;
        return &from->ctx;
    }
    if (!is_new)
        restore(to);
    if (alive)
        from->state = COIR_CORO_SUSPENDED;
    t->current = to;
    to->state = COIR_CORO_RUNNING;
    if (!is_new)
        return &to->ctx;
    to->flags &= (uint8_t)~COIR__CORO_PREPARED;
#if COIR__HAVE_VALGRIND
    /* Memcheck misses that the first pushes make the stack grow, when they
     * come right after the move to it; that the first frame does, too, where
     * it begins a page. */
    VALGRIND_MAKE_MEM_UNDEFINED(stack_stop(to) - VALGRIND_FRAME,
                                VALGRIND_FRAME);
#endif
    coir_ctx gone;
    (void)coir_ctx_start(&gone, stack_stop(to), coir__coro_entry, t);
    __builtin_unreachable();
}

/* Uninstrumented, since one that has finished never comes back from it: marks
 * of its frame would stay. */
COIR__NO_SANITIZE int
coir__slice_switch(coir__thread *t, coir_coro *from, coir_coro *to)
{
    assert(t->scratch.base != NULL);
    move m = {t, from, to, 0};
    void *cxx[2] = {NULL, NULL};
    if (t->cxx_globals != NULL) {
        cxx[0] = from->cxx_exceptions[0] = t->cxx_globals[0];
        cxx[1] = from->cxx_exceptions[1] = t->cxx_globals[1];
        t->cxx_globals[0] = to->cxx_exceptions[0];
        t->cxx_globals[1] = to->cxx_exceptions[1];
    }
    coir__fiber_leave(t, from, to);
    coir_ctx *save_to = &from->ctx;
    char *top = (char *)t->scratch.base + t->scratch.size;
    (void)coir_ctx_start(save_to, top, relocate, &m);
    if (coir__likely(m.error == 0))
        return 0;
    /* Back without having left. */
    coir__fiber_arrive(from);
    coir__fiber_leave(t, from, from);
    coir__fiber_arrive(from);
    if (t->cxx_globals != NULL) {
        t->cxx_globals[0] = cxx[0];
        t->cxx_globals[1] = cxx[1];
    }
    return m.error;
}

void
coir__slice_abandon(coir__thread *t, coir_coro *co)
{
    coir_coro **at = &t->slice_top;
    while (*at != NULL && *at != co)
        at = &(*at)->u.slice.stack_prev;
    if (*at != NULL) { /* the rest of it lies on the stack */
        coir__stack_forget((char *)co->ctx.sp + co->u.slice.stack_saved,
                           stack_stop(co));
        *at = co->u.slice.stack_prev;
    }
    drop_copy(co);
}
