/* internal.h - what the files of the coroutine layer share. */
#ifndef COIR__CORO_INTERNAL_H
#define COIR__CORO_INTERNAL_H

#include <coir/coro.h>

#include "base/platform.h"

/* coir_coro.flags */
enum {
    COIR__CORO_MAIN = 1,
    COIR__CORO_PREPARED = 2 /* NEW, and has its stack */
};

/* One per OS thread that uses coroutines. */
typedef struct coir__thread {
    /* Touched by every switch. */
    uint64_t id;
    coir_coro *current;
    coir_coro *zombie;    /* finished; whoever runs next takes its stack */
    coir_coro *slice_top; /* whose frames are the lowest on the thread's own
                             stack; the others up from it by stack_prev */
    void *value;          /* what the switch brings: value, or error */
    int status;
    int switch_failed;
    void **cxx_globals; /* C++ runtime's per-thread state, or NULL */
    coir_switch_hook hook;
    void *hook_user;
    coir_coro *hook_from;
    int hook_event;

    unsigned
        starts;   /* of coroutines, for a look at cxx_globals now and then */
    size_t alive; /* started, not finished, main not counted */
    size_t stack_size;
    coir_stack_pool *pool;
    coir_stack_pool_attr pool_attr;
    void (*at_exit)(void); /* when the thread ends, before this goes */
    coir_stack scratch; /* where slices are moved from; base NULL: none yet */
    char *stack_low, *stack_high; /* of the thread; NULL: not asked yet */
    void *signal_stack;
    unsigned long long cxx_loads; /* libraries loaded when last looked */
    coir_coro main;
} coir__thread;

extern COIR__THREAD_LOCAL coir__thread *coir__self;

/* This thread's state, made if needed; NULL if memory ran out. */
coir__thread *coir__thread_make(void);

static inline coir__thread *
coir__thread_get(void)
{
    coir__thread *t = coir__self;
    return coir__likely(t != NULL) ? t : coir__thread_make();
}

/* Look for the C++ runtime again if libraries were loaded since. */
void coir__thread_find_cxx(coir__thread *t);

/* A coroutine starts, or begins something new: do so now and then. */
static inline void
coir__coro_starts(coir__thread *t)
{
    if (coir__unlikely((++t->starts & 63) == 0))
        coir__thread_find_cxx(t);
}

/* Ask the system for the bounds of the thread's stack. 0 or COIR_ENOSYS. */
int coir__thread_find_bounds(coir__thread *t);

/* Install the overflow report for this thread; failing is not an error. */
void coir__overflow_init(coir__thread *t);
void coir__overflow_fini(coir__thread *t);

/* A suspended coroutine of this thread has nothing left to do: take its stack
 * away. Nothing of it is unwound. */
void coir__coro_abandon(coir_coro *co);

/* Body of every context that a coroutine runs in. */
coir_ctx *coir__coro_entry(void *thread);

/* --- slices (slice.c) ---------------------------------------------------- */

static inline int
coir__on_thread_stack(const coir_coro *co)
{
    return co->policy == COIR_POLICY_SLICE; /* main counts as one */
}

/* Can `co`, SUSPENDED or NEW, run without anything being moved? When the one
 * below it has finished it may be the lowest and still miss its lower end. */
static inline int
coir__slice_in_place(const coir__thread *t, const coir_coro *co)
{
    return co == t->slice_top && co->u.slice.stack_saved == 0;
}

/* Get ready for coir__slice_switch(). Returns 0 or COIR_ENOMEM. */
int coir__slice_prepare(coir__thread *t);

/* Suspend `from` and run `to`, moving slices out of the way and back. `to` is
 * of policy slice (or main), NEW or suspended, and not in place. t->current is
 * `from` still, which is finished if it will not be resumed.
 * Returns 0 once `from` is resumed; COIR_ENOMEM if nothing happened. */
int coir__slice_switch(coir__thread *t, coir_coro *from, coir_coro *to);

/* Forget the stack of one that is suspended and will not run again. */
void coir__slice_abandon(coir__thread *t, coir_coro *co);

#endif
