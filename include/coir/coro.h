/* coir/coro.h - coroutines with greenlet's semantics.
 *
 * A coroutine is a function with a stack of its own. coir_coro_switch() goes
 * from the running one to any other of the same thread, with a value, and
 * returns when somebody switches back. Coroutines form a tree of parents; its
 * root is the thread's main coroutine, which is the thread itself. One that
 * finishes hands its result, or its error, to its parent: to the nearest
 * ancestor that has not finished, where the pending coir_coro_switch()
 * returns it. (An ancestor that has not been started is started by it.) If
 * one cannot be reached, because slices in its way find no memory to be saved
 * in, the next one gets COIR_ENOMEM instead. If not even the main coroutine
 * can be reached, the process is aborted with a message: the finished one has
 * nowhere to go back to.
 *
 * Two policies, free to mix in one thread:
 *   dedicated  a guarded stack from the thread's pool. A switch copies
 *              nothing and addresses on the stack stay valid while parked.
 *   slice      runs on the thread's own stack; when others need the room, the
 *              overlapping part of its stack is copied to the heap and back.
 *              As deep as the thread's stack, and a suspended one costs only
 *              its live bytes; but nobody else may hold an address on its
 *              stack while it is suspended.
 *
 * Errors:  a negative COIR_E* value. Any int below zero that a body returns
 *          is passed on as it is, so that callers may have errors of their
 *          own. COIR_ECANCELED is the request to unwind, greenlet's
 *          GreenletExit: returned from a body it counts as a normal end.
 * Owner:   see coir_coro_new() and coir_coro_init().
 * Threads: a coroutine belongs to the thread of its parent and never leaves
 *          it. Only that thread may use it. */
#ifndef COIR_CORO_H
#define COIR_CORO_H

#include <coir/base.h>
#include <coir/ctx.h>
#include <coir/stack.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_coro coir_coro;

/* Body of a coroutine, started by the first switch to it, which brings
 * `value`. Returns 0 with `*result` set (it is NULL beforehand), or a negative
 * error for the parent. */
typedef int (*coir_coro_fn)(void *arg, void *value, void **result);

enum coir_policy { COIR_POLICY_DEDICATED, COIR_POLICY_SLICE };

enum coir_coro_state {
    COIR_CORO_NEW,       /* not started */
    COIR_CORO_RUNNING,   /* the thread's current one */
    COIR_CORO_SUSPENDED, /* started, switched away */
    COIR_CORO_FINISHED
};

typedef struct coir_coro_attr {
    const char *name;  /* for reports; borrowed, must outlive it; or NULL */
    coir_coro *parent; /* NULL: the running coroutine */
    size_t stack_size; /* dedicated: bytes of C stack; 0: the thread's
                          default, COIR_STACK_DEFAULT unless changed */
    size_t reserve;    /* bytes for the owner's use right above the first
                          frame, see coir_coro_reserve(); a multiple of 16 */
    int policy;        /* enum coir_policy */
} coir_coro_attr;

/* The control block. Public so that it can be embedded; its members belong to
 * the library, except `user`. It must not move after coir_coro_init(). */
struct coir_coro {
    coir_ctx ctx; /* while suspended; ctx.sp is the slice's stack_start */
    uint64_t thread_id; /* never reused, unlike addresses */
    uint8_t state;
    uint8_t policy;
    uint8_t flags;
    coir_coro *parent; /* NULL for a main coroutine */
    coir_coro_fn fn;
    void *arg;
    const char *name;
    void *user; /* the embedder's own; NULL at first */
    size_t reserve_size;
    void *reserve; /* NULL unless it has its stack */
    union {
        struct {
            coir_stack stack; /* size: what to ask for, until it is taken */
        } dedicated;
        struct {
            char *stack_stop;   /* first frame is below; NULL: not started */
            char *stack_copy;   /* heap: the lowest stack_saved bytes */
            size_t stack_saved; /* of [ctx.sp, stack_stop) */
            coir_coro *stack_prev; /* next one up the thread's stack */
        } slice;
    } u;
    void
        *cxx_exceptions[2]; /* C++ exceptions being handled, while suspended */
    void *sanitizer;        /* fiber of ASan or TSan */
};

/* Set up a coroutine in the caller's memory; attr NULL for the defaults. No
 * stack is taken before the first switch.
 * Returns 0; COIR_EINVAL (policy, sizes); COIR_ENOMEM; COIR_ETHREAD if the
 * parent belongs to another thread. */
COIR_API int coir_coro_init(coir_coro *co, coir_coro_fn fn, void *arg,
                            const coir_coro_attr *attr);

/* End the use of a coroutine set up by coir_coro_init(): after it the memory
 * may go. Its children must have been re-parented, or never be used again:
 * even a finished one leads to its parent.
 * Returns 0; COIR_EBUSY if it is running or suspended: then nothing happened,
 * and coir_coro_cancel() comes first. */
COIR_API int coir_coro_fini(coir_coro *co);

/* The same with memory from coir_malloc(). coir_coro_free(NULL) is allowed. */
COIR_API int coir_coro_new(coir_coro **out, coir_coro_fn fn, void *arg,
                           const coir_coro_attr *attr);
COIR_API int coir_coro_free(coir_coro *co);

/* Switch to `to` and bring it `value`: its pending switch returns 0 with it,
 * or its body starts with it. Returns when somebody switches back: 0 with
 * `*out` set to the value brought, or the error brought; `out` may be NULL.
 * Switching to the running coroutine returns `value` at once; to a finished
 * one goes to its nearest living ancestor.
 * Fails with COIR_ETHREAD, or with COIR_ENOMEM if `to` could not get a stack
 * or the slices in its way no room on the heap: nothing happened then, and
 * the switch can be tried again. (To tell such a failure from an error that
 * was brought, see coir_coro_switch_failed().)
 * errno is the thread's, not the coroutine's, and is not kept: after a switch
 * it is what the others left in it. Save it before if it is needed after. */
COIR_API int coir_coro_switch(coir_coro *to, void *value, void **out);

/* Switch to `to` and bring it an error, below zero: its pending switch returns
 * it. If it was not started it finishes without running (for good, even if the
 * switch then fails), and its parent gets the error; if it has finished, its
 * parent gets it. COIR_ECANCELED is fulfilled by that: the parent gets the
 * value NULL instead.
 * Otherwise as coir_coro_switch(). Returns COIR_EINVAL if `error` >= 0. */
COIR_API int coir_coro_throw(coir_coro *to, int error, void **out);

/* True if the last coir_coro_switch(), throw or cancel of this thread came
 * back because it could not switch at all. */
COIR_API int coir_coro_switch_failed(void);

/* Make `co` unwind: the caller becomes its parent, and it is resumed with
 * COIR_ECANCELED. Returns 0 once it has finished (at once if it had, or was
 * never started); COIR_EBUSY if it switched away instead and is still alive;
 * COIR_EINVAL for the running or the main coroutine, or an ancestor of the
 * caller (which could not become its child); COIR_ETHREAD; COIR_ENOMEM. An
 * error that it ends with is dropped. `co` must stay until this returns. */
COIR_API int coir_coro_cancel(coir_coro *co);

/* Finish the running coroutine from anywhere on its stack, without unwinding
 * it, and switch to `to` instead of the parent, with a value (status 0) or an
 * error. For language bindings, whose tree of parents is their own.
 * `to` must be alive, of this thread and not the caller; a NEW one must have
 * been prepared by coir_coro_prepare(). */
COIR_API __attribute__((noreturn)) void
coir_coro_exit(coir_coro *to, int status, void *value);

/* Take the stack of a NEW coroutine ahead of its first switch, so that this
 * cannot fail for want of memory (a switch from or to a slice may still).
 * Returns 0; COIR_ENOMEM; COIR_EINVAL if it is not NEW. */
COIR_API int coir_coro_prepare(coir_coro *co);

/* The running coroutine, and the main one, of this thread. They exist for any
 * thread that asks; NULL only if memory for that ran out. */
COIR_API coir_coro *coir_coro_current(void);
COIR_API coir_coro *coir_coro_main(void);

/* NULL for a main coroutine. */
COIR_API coir_coro *coir_coro_parent(const coir_coro *co);

/* Returns 0; COIR_EINVAL for a main coroutine or a NULL parent; COIR_ETHREAD;
 * COIR_ECYCLE if `co` is `parent` or one of its ancestors. */
COIR_API int coir_coro_set_parent(coir_coro *co, coir_coro *parent);

COIR_API int coir_coro_state(const coir_coro *co); /* enum coir_coro_state */
COIR_API const char *coir_coro_name(const coir_coro *co); /* or "" */
COIR_API int coir_coro_policy(const coir_coro *co);

/* The memory asked for by attr.reserve: from its start to its end it is the
 * owner's, and for a dedicated coroutine its first bytes share a page with the
 * first frames. NULL if none was asked for or it does not run. Contents are
 * stale at first. A slice's lies on the heap. */
COIR_API void *coir_coro_reserve(const coir_coro *co);

/* Bounds of the stack `co` runs on: [*low, *high). For a slice and for main
 * these are the thread's. Returns 0; COIR_EDEAD if it has no stack (not
 * started, finished); COIR_ENOSYS if the thread's bounds cannot be had. */
COIR_API int coir_coro_stack_bounds(const coir_coro *co, void **low,
                                    void **high);

/* Bytes of stack that a suspended coroutine holds right now; 0 if it has
 * none. For a slice: live bytes, wherever they are. */
COIR_API size_t coir_coro_stack_used(const coir_coro *co);

/* Bytes of a slice's stack that lie on the heap; 0 for any other. */
COIR_API size_t coir_coro_stack_saved(const coir_coro *co);

/* Page-granular high-water mark of a dedicated stack, see
 * coir_stack_high_water(); 0 if there is none. */
COIR_API size_t coir_coro_stack_high_water(const coir_coro *co);

/* What the hook is told about a switch. */
enum coir_switch_event { COIR_EVENT_SWITCH, COIR_EVENT_THROW };

/* Called in the coroutine that was switched to, before anything else runs
 * there; once per switch, the ones at a coroutine's end included. `from` may
 * have finished. It must not switch. */
typedef void (*coir_switch_hook)(coir_coro *from, coir_coro *to, int event,
                                 void *user);

/* Set this thread's hook, NULL for none; one per thread.
 * Returns 0 or COIR_ENOMEM. */
COIR_API int coir_thread_set_hook(coir_switch_hook hook, void *user);

/* Default stack size of this thread's new coroutines, in bytes; 0 restores
 * COIR_STACK_DEFAULT. Returns 0; COIR_EINVAL; COIR_ENOMEM. */
COIR_API int coir_thread_set_stack_size(size_t size);

/* The pool the thread's dedicated stacks come from: made on first use with the
 * attributes of coir_thread_set_pool_attr(), else the defaults. Borrowed.
 * NULL if memory ran out. */
COIR_API coir_stack_pool *coir_thread_pool(void);
/* Returns 0; COIR_EINVAL; COIR_ENOMEM; COIR_EBUSY once there is a pool. */
COIR_API int coir_thread_set_pool_attr(const coir_stack_pool_attr *attr);

/* Free what this thread holds for its coroutines: pool, main coroutine. All
 * but main must have finished (returns COIR_EBUSY else), and the caller must
 * be main. Happens by itself at thread exit, where suspended coroutines are
 * abandoned with their stacks: they stay suspended for ever. */
COIR_API int coir_thread_fini(void);

/* Overflow of a dedicated stack hits its guard. A SIGSEGV handler on an
 * alternate stack then names the coroutine, its stack size and high-water mark
 * on stderr and aborts; all other faults go to the handler that was there
 * before. It is installed by a thread's first dedicated coroutine, unless
 * COIR_OVERFLOW_REPORT=0 is in the environment or this was called with 0
 * before. */
COIR_API void coir_overflow_report(int enabled);

/* Verify the invariants of this thread's coroutines; aborts with a message on
 * a violation. For tests. */
COIR_API void coir_thread_check(void);

#ifdef __cplusplus
}
#endif

#endif
