/* thread.c - what a thread holds for its coroutines.
 *
 * The record is made when a thread first asks for anything and goes with
 * coir_thread_fini() or, through a pthread key, when the thread ends.
 * Coroutines name their thread by a number that is never used again, so one
 * that outlives its thread is never mistaken for a later thread's. */
#include "coro/internal.h"

#include <assert.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coro/sanitizer.h"

COIR__THREAD_LOCAL coir__thread *coir__self;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;

static void
thread_free(coir__thread *t)
{
    coir__overflow_fini(t);
    if (t->scratch.base != NULL)
        coir_stack_release(t->pool, &t->scratch);
    coir_free(t->main.u.slice.stack_copy);
    coir_stack_pool_free(t->pool);
    coir__self = NULL;
    coir_free(t);
}

static void
at_thread_exit(void *thread)
{
    coir__thread *t = thread;
    if (t != coir__self)
        return;
    if (t->at_exit != NULL)
        t->at_exit();
    /* A thread that ends inside a coroutine still stands on its stack. */
    if (t->current == &t->main)
        thread_free(t);
}

static void
make_key(void)
{
    key_error = pthread_key_create(&key, at_thread_exit);
}

coir__thread *
coir__thread_make(void)
{
    static atomic_uint_least64_t last_id;
    (void)pthread_once(&key_once, make_key);
    if (key_error != 0)
        return NULL;
    coir__thread *t = coir_calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    if (pthread_setspecific(key, t) != 0) {
        coir_free(t);
        return NULL;
    }
    t->id = atomic_fetch_add(&last_id, 1) + 1;
    t->stack_size = COIR_STACK_DEFAULT;
    coir_coro *m = &t->main;
    m->thread_id = t->id;
    m->state = COIR_CORO_RUNNING;
    m->policy = COIR_POLICY_SLICE;
    m->flags = COIR__CORO_MAIN;
    m->name = "main";
    m->u.slice.stack_stop = (char *)UINTPTR_MAX;
#if COIR__TSAN
    m->sanitizer = __tsan_get_current_fiber();
#endif
    t->current = m;
    t->slice_top = m;
    coir__thread_find_cxx(t);
    coir__self = t;
    return t;
}

/* Of the Itanium C++ ABI: the exceptions being handled, innermost first, and
 * a count of uncaught ones. Weak: only if the program has a C++ runtime. */
extern void *__cxa_get_globals(void) __attribute__((weak));

/* Libraries loaded by this process so far, from the first entry alone. */
static int
count_loads(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    *(unsigned long long *)out = info->dlpi_adds;
    return 1;
}

void
coir__thread_find_cxx(coir__thread *t)
{
    if (t->cxx_globals != NULL)
        return;
    unsigned long long loads = 0;
    (void)dl_iterate_phdr(count_loads, &loads);
    if (loads == t->cxx_loads)
        return;
    t->cxx_loads = loads;
    void *(*get_globals)(void) = __cxa_get_globals;
    if (get_globals == NULL) {
        /* Loaded later, or privately by a plug-in. NOLOAD finds it without
         * loading anything; whoever loaded it keeps it. */
        void *library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
        if (library == NULL)
            library = dlopen("libc++abi.so.1", RTLD_LAZY | RTLD_NOLOAD);
        if (library == NULL)
            return;
        void *symbol = dlsym(library, "__cxa_get_globals");
        (void)dlclose(library);
        memcpy(&get_globals, &symbol, sizeof get_globals);
    }
    if (get_globals != NULL)
        t->cxx_globals = get_globals();
}

int
coir__thread_find_bounds(coir__thread *t)
{
    if (t->stack_high != NULL)
        return 0;
    pthread_attr_t attr;
    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return COIR_ENOSYS;
    void *low;
    size_t size;
    int failed = pthread_attr_getstack(&attr, &low, &size);
    (void)pthread_attr_destroy(&attr);
    if (failed != 0)
        return COIR_ENOSYS;
    t->stack_low = low;
    t->stack_high = t->stack_low + size;
    return 0;
}

int
coir_thread_set_hook(coir_switch_hook hook, void *user)
{
    coir__thread *t = coir__thread_get();
    if (t == NULL)
        return COIR_ENOMEM;
    t->hook = hook;
    t->hook_user = user;
    return 0;
}

int
coir_thread_set_stack_size(size_t size)
{
    coir__thread *t = coir__thread_get();
    if (t == NULL)
        return COIR_ENOMEM;
    if (size > COIR_STACK_MAX)
        return COIR_EINVAL;
    t->stack_size = size != 0 ? size : COIR_STACK_DEFAULT;
    return 0;
}

coir_stack_pool *
coir_thread_pool(void)
{
    coir__thread *t = coir__thread_get();
    if (t == NULL)
        return NULL;
    if (t->pool == NULL && coir_stack_pool_new(&t->pool, &t->pool_attr) == 0)
        coir__overflow_init(t);
    return t->pool;
}

int
coir_thread_set_pool_attr(const coir_stack_pool_attr *attr)
{
    coir__thread *t = coir__thread_get();
    if (t == NULL)
        return COIR_ENOMEM;
    if (t->pool != NULL)
        return COIR_EBUSY;
    /* Let the pool itself judge the attributes. */
    coir_stack_pool *pool;
    int err = coir_stack_pool_new(&pool, attr);
    if (err < 0)
        return err;
    coir_stack_pool_free(pool);
    if (attr != NULL)
        t->pool_attr = *attr;
    else
        memset(&t->pool_attr, 0, sizeof t->pool_attr);
    return 0;
}

int
coir_thread_fini(void)
{
    coir__thread *t = coir__self;
    if (t == NULL)
        return 0;
    if (t->alive != 0 || t->current != &t->main)
        return COIR_EBUSY;
    (void)pthread_setspecific(key, NULL);
    thread_free(t);
    return 0;
}

/* --- invariants ---------------------------------------------------------- */

static void
require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "coir: broken invariant: %s\n", what);
        abort();
    }
}

void
coir_thread_check(void)
{
    const coir__thread *t = coir__self;
    if (t == NULL)
        return;
    require(t->current != NULL, "somebody runs");
    require(t->current->thread_id == t->id, "it is of this thread");
    require(t->current->state == COIR_CORO_RUNNING, "and marked so");
    require(t->zombie == NULL, "the finished one has been reaped");
    for (const coir_coro *co = t->current; co != &t->main; co = co->parent)
        require(co != NULL, "parents end at main");
    if (coir__on_thread_stack(t->current))
        require(coir__slice_in_place(t, t->current),
                "a running slice is in place");
    const char *stop = NULL;
    for (const coir_coro *co = t->slice_top; co != NULL;
         co = co->u.slice.stack_prev) {
        require(co->policy == COIR_POLICY_SLICE, "the chain is of slices");
        require(co->u.slice.stack_stop > stop, "the chain goes up");
        stop = co->u.slice.stack_stop;
        require(co->state == COIR_CORO_RUNNING ||
                    co->state == COIR_CORO_SUSPENDED,
                "the chain is of living ones");
        if (co->u.slice.stack_saved != 0)
            require((char *)co->ctx.sp + co->u.slice.stack_saved <= stop,
                    "a copy is no longer than the stack");
    }
    require(stop == t->main.u.slice.stack_stop, "the chain ends at main");
}
