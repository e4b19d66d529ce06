/* base.c - errors, version, allocator.
 *
 * The allocator is one function pointer. It is set before anything else runs,
 * so that reading it needs no synchronisation. */
#include <coir/base.h>

#include <stdlib.h>
#include <string.h>

#include "base/platform.h"

static coir_allocator custom; /* NULL: malloc and friends */

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
    custom = allocator;
}

void *
coir_malloc(size_t size)
{
    if (size == 0)
        size = 1; /* NULL means failure, and only that */
    return coir__likely(custom == NULL) ? malloc(size) : custom(NULL, size);
}

void *
coir_calloc(size_t count, size_t size)
{
    if (coir__likely(custom == NULL))
        return calloc(count != 0 ? count : 1, size != 0 ? size : 1);
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
    if (size == 0) {
        coir_free(ptr);
        return NULL;
    }
    return coir__likely(custom == NULL) ? realloc(ptr, size)
                                        : custom(ptr, size);
}

void
coir_free(void *ptr)
{
    if (coir__likely(custom == NULL))
        free(ptr);
    else if (ptr != NULL)
        (void)custom(ptr, 0);
}
