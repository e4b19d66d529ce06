/* stack.c - pool of guarded coroutine stacks.
 *
 * A slab is one mapping, cut into equal cells: [guard | margin | usable]. A
 * cell is carved, which installs its guard, when it is first handed out; its
 * slot, a small record outside of the stack, says where it stands:
 *
 *   fresh  -> in use          carve
 *   in use -> warm            release: on top of the class's LIFO list
 *   warm   -> in use          acquire: no system call
 *   warm   -> cold            in batches, once there are too many
 *   cold   -> in use          acquire: its pages fault in again
 *   idle   -> unmapped        trim or free, a slab at a time
 *
 * Nothing is ever stored in an idle stack: a cold one would come to life.
 *
 * Guards. MADV_GUARD_INSTALL does not split the mapping, so a million stacks
 * are a few mappings. Where the kernel lacks it, mprotect() makes two of each
 * and is stopped well before vm.max_map_count, which the whole process
 * shares. Where both fail the stack is refused, unless the user allowed
 * unguarded ones.
 *
 * Giving back takes batches of neighbours: one MADV_DONTNEED over a run of
 * cells, guards included (it leaves them in place), costs a fraction of one
 * call per cell.
 *
 * Failures leave the pool as it was; a slab that can't be mapped is tried
 * again with fewer cells, and then only if the program keeps some room. */
#include <coir/stack.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/platform.h"
#if COIR__HAVE_VALGRIND
#include <valgrind/memcheck.h>
#endif

enum {
    CLASS_COUNT = 34, /* 16 KiB, 24, 32, 48 ... 1 GiB */
    SLAB_CELLS_MIN = 16,
    SLAB_CELLS_MAX = 4096,
    GIVE_BACK_BATCH = 256,
    WARM_LIMIT_DEFAULT = 1024
};
#define GUARD_SIZE_DEFAULT ((size_t)64 * 1024)
/* What is left to the rest of the program where address space runs out. */
#define SPARE ((size_t)1024 * 1024)

typedef struct slab slab;

typedef struct slot {
    struct slot *next; /* idle list: used longer ago */
    struct slot *prev; /* warm list only: used later */
    slab *slab;
    unsigned valgrind_id;
    unsigned char guard; /* enum coir_stack_guard; AUTO: not carved yet */
    unsigned char in_use;
    unsigned char cold;
} slot;

typedef struct stack_class {
    slot *warm;     /* last used first */
    slot *warm_end; /* used longest ago; NULL iff there is none */
    slot *cold;
    size_t warm_count;
    slab *carving; /* slab with fresh cells, or NULL */
    size_t cells;  /* in all slabs: the next slab doubles it */
} stack_class;

struct slab {
    slab *next; /* all slabs of the pool */
    slab *prev;
    coir_stack_pool *pool; /* NULL: the pool is gone */
    char *memory;
    size_t cell_size;
    size_t guard_size;
    size_t margin;
    size_t cells;
    size_t fresh; /* cells from here on are not carved */
    size_t in_use;
    unsigned class_index;
    slot slots[];
};

struct coir_stack_pool {
    stack_class classes[CLASS_COUNT];
    slab *slabs;
    coir_stack_pool_attr attr;
    coir_stack_pool_stats stats;
#if COIR__HAVE_VALGRIND
    bool on_valgrind;
#endif
};

/* Mappings that mprotect() guards of all pools have cost so far. */
static atomic_size_t guard_mappings;

static size_t
page_size(void)
{
    static atomic_size_t cached;
    size_t size = atomic_load_explicit(&cached, memory_order_relaxed);
    if (size == 0) {
        size = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&cached, size, memory_order_relaxed);
    }
    return size;
}

static size_t
round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t
class_size(unsigned index)
{
    size_t power = COIR_STACK_MIN << (index / 2);
    return index % 2 == 0 ? power : power + power / 2;
}

/* Smallest class that holds `size`, which is at most COIR_STACK_MAX. */
static unsigned
class_of(size_t size)
{
    if (size <= COIR_STACK_MIN)
        return 0;
    unsigned power = 63u - (unsigned)__builtin_clzll(size - 1);
    unsigned index = 2 * (power - 14); /* 2^14 = COIR_STACK_MIN */
    size_t base = (size_t)1 << power;
    return size <= base + base / 2 ? index + 1 : index + 2;
}

int
coir_stack_pool_new(coir_stack_pool **out, const coir_stack_pool_attr *attr)
{
    coir_stack_pool_attr a = {0};
    if (attr != NULL)
        a = *attr;
    if (a.guard < COIR_GUARD_AUTO || a.guard > COIR_GUARD_NONE ||
        a.guard_size > COIR_STACK_MAX || a.margin > COIR_STACK_MAX)
        return COIR_EINVAL;
    if (a.guard_size == 0)
        a.guard_size = GUARD_SIZE_DEFAULT;
    if (a.warm_limit == 0)
        a.warm_limit = WARM_LIMIT_DEFAULT;

    coir_stack_pool *pool = coir_calloc(1, sizeof *pool);
    if (pool == NULL)
        return COIR_ENOMEM;
    pool->attr = a;
    pool->stats.guard = a.guard;
#if COIR__HAVE_VALGRIND
    pool->on_valgrind = RUNNING_ON_VALGRIND != 0;
#endif
    *out = pool;
    return 0;
}

/* --- slabs --------------------------------------------------------------- */

/* The lowest byte of a cell above its guard. */
static char *
cell_low(const slab *sl, size_t index)
{
    return sl->memory + index * sl->cell_size + sl->guard_size;
}

static size_t
slot_index(const slot *s)
{
    return (size_t)(s - s->slab->slots);
}

/* Unmap the memory of a slab. Where the kernel has merged it with mappings
 * next to it, that can fail for want of a mapping: returns false then. */
static bool
unmap_slab(slab *sl)
{
    if (munmap(sl->memory, sl->cells * sl->cell_size) != 0)
        return false;
    for (size_t i = 0; i < sl->fresh; i++) {
        if (sl->slots[i].guard == COIR_GUARD_MPROTECT)
            atomic_fetch_sub(&guard_mappings, 2);
#if COIR__HAVE_VALGRIND
        VALGRIND_STACK_DEREGISTER(sl->slots[i].valgrind_id);
#endif
    }
    sl->memory = NULL;
    return true;
}

/* The pool of this slab is gone, or will be: nobody can try again. */
static void
drop_slab(slab *sl)
{
    if (!unmap_slab(sl))
        (void)madvise(sl->memory, sl->cells * sl->cell_size, MADV_DONTNEED);
    coir_free(sl);
}

static void
link_slab(coir_stack_pool *pool, slab *sl)
{
    sl->pool = pool;
    sl->prev = NULL;
    sl->next = pool->slabs;
    if (sl->next != NULL)
        sl->next->prev = sl;
    pool->slabs = sl;
    pool->stats.slabs++;
    pool->stats.mapped_bytes += sl->cells * sl->cell_size;
}

static void
unlink_slab(coir_stack_pool *pool, slab *sl)
{
    if (sl->prev != NULL)
        sl->prev->next = sl->next;
    else
        pool->slabs = sl->next;
    if (sl->next != NULL)
        sl->next->prev = sl->prev;
    pool->stats.slabs--;
    pool->stats.mapped_bytes -= sl->cells * sl->cell_size;
}

/* Map a slab of `cells` cells. Returns NULL if memory or space ran out, or if
 * less than `spare` bytes of address space would be left. */
static slab *
map_slab(const coir_stack_pool *pool, unsigned class_index, size_t cells,
         size_t spare)
{
    size_t usable = class_size(class_index);
    size_t guard = round_up(least(pool->attr.guard_size, usable), page_size());
    if (pool->attr.guard == COIR_GUARD_NONE)
        guard = 0;
    size_t margin = round_up(least(pool->attr.margin, usable), page_size());

    slab *sl = coir_calloc(1, sizeof *sl + cells * sizeof(slot));
    if (sl == NULL)
        return NULL;
    sl->class_index = class_index;
    sl->guard_size = guard;
    sl->margin = margin;
    sl->cell_size = guard + margin + usable;
    sl->cells = cells;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#ifdef MAP_STACK
    flags |= MAP_STACK;
#endif
    size_t size = cells * sl->cell_size;
    char *memory =
        mmap(NULL, size + spare, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) {
        coir_free(sl);
        return NULL;
    }
    if (spare > 0)
        (void)munmap(memory + size, spare); /* no harm if it stays */
    sl->memory = memory;
#ifdef MADV_NOHUGEPAGE
    /* A huge page would make every stack as large as itself. The call fails
     * on kernels without huge pages, which is as good. */
    (void)madvise(memory, size, MADV_NOHUGEPAGE);
#endif
    return sl;
}

/* Add a slab to the class: as many cells again as there are, or fewer where
 * the address space is tight. */
static slab *
grow_class(coir_stack_pool *pool, unsigned class_index)
{
    stack_class *cl = &pool->classes[class_index];
    size_t cells = cl->cells;
    if (cells < SLAB_CELLS_MIN)
        cells = SLAB_CELLS_MIN;
    if (cells > SLAB_CELLS_MAX)
        cells = SLAB_CELLS_MAX;
    /* Rare giants come one by one. */
    while (cells > 1 && cells * class_size(class_index) > COIR_STACK_MAX * 8)
        cells /= 2;
    for (size_t spare = 0; cells > 0; cells /= 2, spare = SPARE) {
        slab *sl = map_slab(pool, class_index, cells, spare);
        if (sl != NULL) {
            link_slab(pool, sl);
            cl->cells += cells;
            cl->carving = sl;
            return sl;
        }
    }
    return NULL;
}

/* --- guards -------------------------------------------------------------- */

/* How many mappings guards may cost: three quarters of the kernel's limit for
 * the process, which has other uses for them too. */
static size_t
guard_budget(void)
{
    static atomic_size_t cached;
    size_t budget = atomic_load_explicit(&cached, memory_order_relaxed);
    if (budget != 0)
        return budget;
    long limit = 65530; /* the kernel's default */
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        char text[32];
        ssize_t n = read(fd, text, sizeof text - 1);
        (void)close(fd);
        if (n > 0) {
            text[n] = '\0';
            long value = strtol(text, NULL, 10);
            if (value > 0)
                limit = value;
        }
    }
    budget = (size_t)limit / 4 * 3;
    atomic_store_explicit(&cached, budget, memory_order_relaxed);
    return budget;
}

/* Emulators answer 0 to advice they have never heard of. Ask the kernel to
 * read a signal set, all zeros, from the page: a guard gives EFAULT. */
static bool
is_guarded(const void *page)
{
    return syscall(SYS_rt_sigprocmask, SIG_BLOCK, page, NULL, 8) != 0 &&
           errno == EFAULT;
}

/* Returns 0; COIR_ENOSYS if the kernel can't do it here; COIR_ENOMEM. */
static int
guard_by_madvise(void *low, size_t size)
{
    enum { UNKNOWN, WORKS, BROKEN };
    static atomic_int verdict;
    int known = atomic_load_explicit(&verdict, memory_order_relaxed);
#if COIR__HAVE_VALGRIND
    /* It believes the page to be readable, and reads it itself. */
    if (RUNNING_ON_VALGRIND)
        known = BROKEN;
#endif
    if (known == BROKEN)
        return COIR_ENOSYS;
    while (madvise(low, size, COIR__MADV_GUARD_INSTALL) != 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        return errno == ENOMEM ? COIR_ENOMEM : COIR_ENOSYS;
    }
    if (coir__likely(known == WORKS))
        return 0;
    known = is_guarded(low) ? WORKS : BROKEN;
    atomic_store_explicit(&verdict, known, memory_order_relaxed);
    return known == WORKS ? 0 : COIR_ENOSYS;
}

static int
guard_by_mprotect(void *low, size_t size)
{
    if (atomic_fetch_add(&guard_mappings, 2) + 2 > guard_budget() ||
        mprotect(low, size, PROT_NONE) != 0) {
        atomic_fetch_sub(&guard_mappings, 2);
        return COIR_ENOMEM;
    }
    return 0;
}

/* Install a guard of the best kind that can be had; sets `*kind`. */
static int
install_guard(coir_stack_pool *pool, void *low, size_t size,
              unsigned char *kind)
{
    int wanted = pool->attr.guard;
    int err = COIR_ENOSYS;
    /* stats.guard remembers that the kernel lacks MADV_GUARD_INSTALL. */
    if (wanted == COIR_GUARD_MADV ||
        (wanted == COIR_GUARD_AUTO &&
         pool->stats.guard != COIR_GUARD_MPROTECT)) {
        err = guard_by_madvise(low, size);
        *kind = COIR_GUARD_MADV;
        if (err == 0 || wanted == COIR_GUARD_MADV)
            return err == COIR_ENOSYS ? COIR_ENOMEM : err;
    }
    if (err == COIR_ENOSYS && wanted != COIR_GUARD_NONE) {
        err = guard_by_mprotect(low, size);
        *kind = COIR_GUARD_MPROTECT;
        if (err == 0)
            return 0;
    }
    if (wanted == COIR_GUARD_NONE || pool->attr.allow_unguarded) {
        *kind = COIR_GUARD_NONE;
        return 0;
    }
    return err;
}

/* --- acquire and release ------------------------------------------------- */

/* Carve the next fresh cell. Returns 0 or COIR_ENOMEM. */
static int
carve(coir_stack_pool *pool, unsigned class_index, slot **out)
{
    stack_class *cl = &pool->classes[class_index];
    slab *sl = cl->carving;
    if (sl == NULL || sl->fresh == sl->cells) {
        sl = grow_class(pool, class_index);
        if (sl == NULL)
            return COIR_ENOMEM;
    }
    slot *s = &sl->slots[sl->fresh];
    unsigned char kind = COIR_GUARD_NONE;
    if (sl->guard_size > 0) {
        char *low = sl->memory + sl->fresh * sl->cell_size;
        int err = install_guard(pool, low, sl->guard_size, &kind);
        if (err < 0)
            return err;
    }
    s->slab = sl;
    s->guard = kind;
#if COIR__HAVE_VALGRIND
    /* Its end is in, or the first push would not be on it. */
    char *low = cell_low(sl, sl->fresh);
    s->valgrind_id = VALGRIND_STACK_REGISTER(low, low + sl->margin +
                                                      class_size(class_index));
#endif
    pool->stats.guard = kind;
    pool->stats.stacks++;
    sl->fresh++;
    *out = s;
    return 0;
}

/* An idle slot of the class, or a fresh one. Returns 0 or COIR_ENOMEM. */
static int
take_slot(coir_stack_pool *pool, unsigned class_index, slot **out)
{
    stack_class *cl = &pool->classes[class_index];
    slot *s = cl->warm;
    if (coir__likely(s != NULL)) {
        cl->warm = s->next; /* no system call */
        if (s->next != NULL)
            s->next->prev = NULL;
        else
            cl->warm_end = NULL;
        cl->warm_count--;
        pool->stats.idle_warm--;
    }
    else if ((s = cl->cold) != NULL) {
        cl->cold = s->next;
        s->cold = 0;
        pool->stats.idle_cold--;
    }
    else {
        return carve(pool, class_index, out);
    }
    *out = s;
    return 0;
}

int
coir_stack_acquire(coir_stack_pool *pool, size_t size, coir_stack *out)
{
    if (size > COIR_STACK_MAX)
        return COIR_EINVAL;
    unsigned index = class_of(size);
    slot *s;
    int err = take_slot(pool, index, &s);
    /* Idle stacks of other classes may be what is in the way. */
    if (coir__unlikely(err < 0) && coir_stack_pool_trim(pool) > 0)
        err = take_slot(pool, index, &s);
    if (coir__unlikely(err < 0))
        return err;
    s->in_use = 1;
    s->slab->in_use++;
    if (++pool->stats.in_use > pool->stats.high_water)
        pool->stats.high_water = pool->stats.in_use;
    out->base = cell_low(s->slab, slot_index(s)) + s->slab->margin;
    out->size = class_size(index);
    out->slot = s;
#if COIR__HAVE_VALGRIND
    /* What its last user had popped is out of bounds to memcheck. */
    if (coir__unlikely(pool->on_valgrind))
        (void)VALGRIND_MAKE_MEM_UNDEFINED(out->base, out->size);
#endif
    return 0;
}

static int
by_address(const void *a, const void *b)
{
    const slot *x = *(slot *const *)a;
    const slot *y = *(slot *const *)b;
    return x < y ? -1 : x > y;
}

/* Give back the memory of `count` slots, in any order, and put them on the
 * cold list. */
static void
chill(coir_stack_pool *pool, stack_class *cl, slot **batch, size_t count)
{
    /* Slots of one slab lie in one array, in the order of their cells. */
    qsort(batch, count, sizeof *batch, by_address);
    for (size_t i = 0; i < count;) {
        size_t run = 1;
        while (i + run < count && batch[i + run] == batch[i] + run &&
               batch[i + run]->slab == batch[i]->slab)
            run++;
        const slab *sl = batch[i]->slab;
        char *low = cell_low(sl, slot_index(batch[i]));
        size_t size = run * sl->cell_size - sl->guard_size;
        /* Locked memory can't be given back: then it just stays. */
        (void)madvise(low, size, MADV_DONTNEED);
        i += run;
    }
    for (size_t i = count; i-- > 0;) {
        batch[i]->cold = 1;
        batch[i]->next = cl->cold;
        cl->cold = batch[i];
    }
    cl->warm_count -= count;
    pool->stats.idle_warm -= count;
    pool->stats.idle_cold += count;
}

/* Give back up to a batch of the class: what was used longest ago. */
static void
give_back(coir_stack_pool *pool, stack_class *cl)
{
    slot *batch[GIVE_BACK_BATCH];
    size_t count = 0;
    slot *s = cl->warm_end;
    for (; s != NULL && count < GIVE_BACK_BATCH; s = s->prev)
        batch[count++] = s;
    if (count == 0)
        return;
    cl->warm_end = s;
    if (s != NULL)
        s->next = NULL;
    else
        cl->warm = NULL;
    chill(pool, cl, batch, count);
}

/* Too many stacks are warm. */
static COIR__COLD void
give_back_most(coir_stack_pool *pool)
{
    stack_class *most = &pool->classes[0];
    for (unsigned i = 1; i < CLASS_COUNT; i++) {
        if (pool->classes[i].warm_count > most->warm_count)
            most = &pool->classes[i];
    }
    give_back(pool, most);
}

void
coir_stack_release(coir_stack_pool *pool, coir_stack *stack)
{
    slot *s = stack->slot;
    slab *sl = s->slab;
    assert(s->in_use && "stack released twice");
    s->in_use = 0;
    sl->in_use--;
    pool = sl->pool;
    stack->base = NULL;
    stack->slot = NULL;
    if (coir__unlikely(pool == NULL)) {
        if (sl->in_use == 0)
            drop_slab(sl);
        return;
    }
    stack_class *cl = &pool->classes[sl->class_index];
    s->prev = NULL;
    s->next = cl->warm;
    if (s->next != NULL)
        s->next->prev = s;
    else
        cl->warm_end = s;
    cl->warm = s;
    cl->warm_count++;
    pool->stats.in_use--;
    if (coir__unlikely(++pool->stats.idle_warm >=
                       pool->attr.warm_limit + GIVE_BACK_BATCH))
        give_back_most(pool);
}

/* --- the whole pool ------------------------------------------------------ */

/* Drop the slots of unmapped slabs from a list, and link the others both ways.
 * Returns how many; `*end` is the last that stays, or NULL. */
static size_t
forget_unmapped(slot **list, slot **end)
{
    size_t dropped = 0;
    slot *last = NULL;
    while (*list != NULL) {
        if ((*list)->slab->memory != NULL) {
            (*list)->prev = last;
            last = *list;
            list = &(*list)->next;
        }
        else {
            *list = (*list)->next;
            dropped++;
        }
    }
    *end = last;
    return dropped;
}

size_t
coir_stack_pool_trim(coir_stack_pool *pool)
{
    size_t bytes = 0;
    slab *unmapped = NULL;
    for (slab *sl = pool->slabs, *next; sl != NULL; sl = next) {
        next = sl->next;
        if (sl->in_use != 0 || !unmap_slab(sl))
            continue;
        bytes += sl->cells * sl->cell_size;
        pool->classes[sl->class_index].cells -= sl->cells;
        unlink_slab(pool, sl);
        sl->next = unmapped;
        unmapped = sl;
    }
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        stack_class *cl = &pool->classes[i];
        slot *cold_end;
        size_t warm = forget_unmapped(&cl->warm, &cl->warm_end);
        size_t cold = forget_unmapped(&cl->cold, &cold_end);
        cl->warm_count -= warm;
        pool->stats.idle_warm -= warm;
        pool->stats.idle_cold -= cold;
        pool->stats.stacks -= warm + cold;
        if (cl->carving != NULL && cl->carving->memory == NULL)
            cl->carving = NULL;
        while (cl->warm != NULL)
            give_back(pool, cl);
    }
    for (slab *next; unmapped != NULL; unmapped = next) {
        next = unmapped->next;
        coir_free(unmapped);
    }
    return bytes;
}

void
coir_stack_pool_free(coir_stack_pool *pool)
{
    if (pool == NULL)
        return;
    for (slab *sl = pool->slabs, *next; sl != NULL; sl = next) {
        next = sl->next;
        sl->pool = NULL;
        if (sl->in_use == 0)
            drop_slab(sl);
    }
    coir_free(pool);
}

void
coir_stack_pool_get_stats(const coir_stack_pool *pool,
                          coir_stack_pool_stats *out)
{
    *out = pool->stats;
}

size_t
coir_stack_high_water(const coir_stack *stack)
{
    enum { PAGES = 256 };
    unsigned char resident[PAGES];
    size_t page = page_size();
    size_t margin = ((const slot *)stack->slot)->slab->margin;
    char *low = (char *)stack->base - margin;
    size_t whole = stack->size + margin;
    for (size_t at = 0; at < whole; at += PAGES * page) {
        size_t size = least(whole - at, PAGES * page);
        if (mincore(low + at, size, resident) != 0)
            return whole; /* no better bound to be had */
        for (size_t i = 0; i * page < size; i++) {
            if (resident[i] & 1)
                return whole - at - i * page;
        }
    }
    return 0;
}

size_t
coir_stack_guard_bounds(const coir_stack *stack, void **low)
{
    const slot *s = stack->slot;
    if (s == NULL || s->guard == COIR_GUARD_NONE)
        return 0;
    *low = cell_low(s->slab, slot_index(s)) - s->slab->guard_size;
    return s->slab->guard_size;
}
