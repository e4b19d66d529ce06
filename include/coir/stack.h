/* coir/stack.h - pool of guarded coroutine stacks.
 *
 * Stacks of one size class are cut from slabs, one mapping each. Below every
 * stack, and its margin if there is one, lies a guard that faults. Released
 * stacks are reused last in, first out; once there are 256 beyond the warm
 * limit, the 256 used longest ago give their memory back to the kernel but
 * stay mapped.
 *
 * Owner:   coir_stack_pool_free() unmaps idle stacks only; a slab with a
 *          stack in use goes when its last stack is released.
 * Threads: only the thread that made the pool. */
#ifndef COIR_STACK_H
#define COIR_STACK_H

#include <coir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Smallest and largest stack that can be asked for, in bytes. */
#define COIR_STACK_MIN ((size_t)16 * 1024)
#define COIR_STACK_MAX ((size_t)1024 * 1024 * 1024)
/* What a C coroutine gets unless it asks otherwise. */
#define COIR_STACK_DEFAULT ((size_t)64 * 1024)

typedef struct coir_stack_pool coir_stack_pool;

typedef struct coir_stack {
    void *base;  /* lowest usable address, on a page boundary */
    size_t size; /* usable bytes from base up */
    void *slot;  /* the pool's own */
} coir_stack;

/* How stacks are kept from running into each other. */
enum coir_stack_guard {
    COIR_GUARD_AUTO,     /* MADV, else MPROTECT within its budget, else fail */
    COIR_GUARD_MADV,     /* MADV_GUARD_INSTALL, Linux 6.13 and later */
    COIR_GUARD_MPROTECT, /* PROT_NONE pages; each costs a mapping or two */
    COIR_GUARD_NONE      /* none: an overflow corrupts the neighbour */
};

typedef struct coir_stack_pool_attr {
    int guard;           /* enum coir_stack_guard */
    int allow_unguarded; /* with AUTO: go on without guards where none can be
                            had, instead of COIR_ENOMEM */
    size_t guard_size;   /* bytes, rounded up to pages; 0: 64 KiB, but never
                            more than the stack itself */
    size_t warm_limit;   /* idle stacks that keep their memory; 0: 1024 */
    size_t margin;       /* bytes between guard and stack for code that needs
                            more than it was told to use, in its size not
                            counted; rounded up to pages, never more than the
                            stack itself; 0: none */
} coir_stack_pool_attr;

typedef struct coir_stack_pool_stats {
    size_t stacks; /* mapped, of all sizes */
    size_t in_use;
    size_t idle_warm;  /* idle with their memory */
    size_t idle_cold;  /* idle, memory given back */
    size_t high_water; /* most ever in use at once */
    size_t slabs;
    size_t mapped_bytes;
    int guard; /* the kind in use: never AUTO once a stack exists */
} coir_stack_pool_stats;

/* Make a pool; attr NULL for the defaults.
 * Returns 0; COIR_EINVAL; COIR_ENOMEM. Nothing is mapped yet. */
COIR_API int coir_stack_pool_new(coir_stack_pool **out,
                                 const coir_stack_pool_attr *attr);

/* Unmap all idle stacks and forget the pool. Stacks in use stay valid and may
 * still be released. NULL is allowed. */
COIR_API void coir_stack_pool_free(coir_stack_pool *pool);

/* Take a stack of at least `size` usable bytes, rounded up to the size class
 * (powers of two and their halfway points, from COIR_STACK_MIN).
 * The caller owns `*out` until coir_stack_release(); contents are stale.
 * Returns 0; COIR_EINVAL above COIR_STACK_MAX; COIR_ENOMEM at any limit of
 * memory, address space or mappings, after which the caller can go on. */
COIR_API int coir_stack_acquire(coir_stack_pool *pool, size_t size,
                                coir_stack *out);

/* Give a stack back. Nobody may be running on it. */
COIR_API void coir_stack_release(coir_stack_pool *pool, coir_stack *stack);

/* Give the memory of all idle stacks back to the kernel and unmap slabs
 * without a stack in use. Returns the number of bytes unmapped. */
COIR_API size_t coir_stack_pool_trim(coir_stack_pool *pool);

COIR_API void coir_stack_pool_get_stats(const coir_stack_pool *pool,
                                        coir_stack_pool_stats *out);

/* Bytes of the stack that have ever been touched since its memory was last
 * given back, counted from its top, in whole pages, the margin's included: an
 * upper bound of what its users needed so far, but for pages that are swapped
 * out. Asks the kernel. */
COIR_API size_t coir_stack_high_water(const coir_stack *stack);

/* Bounds of the guard below the stack and its margin.
 * Returns its size, from *low up, 0 if unguarded. */
COIR_API size_t coir_stack_guard_bounds(const coir_stack *stack, void **low);

#ifdef __cplusplus
}
#endif

#endif
