/* base.c - errors, version, allocator.
 *
 * The allocator is one function pointer. It is set before anything else runs,
 * so that reading it needs no synchronisation. */
#include <coir/base.h>

#include <stdlib.h>
#include <string.h>

#include "base/platform.h"

static void *
system_allocator(void *ptr, size_t size)
{
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

static coir_allocator allocate = system_allocator;

const char *
coir_strerror(int error)
{
    switch (error) {
    case 0:
        return "no error";
#define CASE(name, value, text)                                               \
    case name:                                                                \
        return text;
        COIR_ERRORS(CASE)
#undef CASE
    default:
        return "unknown error";
    }
}

const char *
coir_version(void)
{
    return COIR_VERSION;
}

void
coir_set_allocator(coir_allocator allocator)
{
    allocate = allocator != NULL ? allocator : system_allocator;
}

void *
coir_malloc(size_t size)
{
    return allocate(NULL, size != 0 ? size : 1);
}

void *
coir_calloc(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    void *ptr = coir_malloc(total);
    if (ptr != NULL)
        memset(ptr, 0, total);
    return ptr;
}

void *
coir_realloc(void *ptr, size_t size)
{
    return allocate(ptr, size != 0 ? size : 1);
}

void
coir_free(void *ptr)
{
    if (ptr != NULL)
        (void)allocate(ptr, 0);
}
