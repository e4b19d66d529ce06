/* base.c - errors, version, allocator.
 *
 * The allocator is one function pointer. It is set before anything else runs,
 * so that reading it needs no synchronisation. */
#include <coir/base.h>
#include <coir/http.h> /* the table of its errors, no more */

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "base/platform.h"

static coir_allocator custom; /* NULL: malloc and friends */

/* The kernel's errno values are below 4096. */
static int
is_errno(int error)
{
    return error < COIR_ERRNO(0) && error > COIR_ERRNO(4096);
}

/* COIR_EAI() of coir/dns.h. */
static int
is_gai_error(int error)
{
    return error < -8192 && error > -8192 - 256;
}

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
#define CASE(name, number, status, text)                                      \
    case name:                                                                \
        return text;
        COIR_HTTP_ERRORS(CASE)
#undef CASE
    default:
        break;
    }
    if (is_gai_error(error))
        return gai_strerror(EAI_NONAME < 0 ? error + 8192 : -(error + 8192));
    return is_errno(error) ? strerror(COIR_ERRNO(0) - error) : "unknown error";
}

/* Of coir/http.h. */
static int
is_http_error(int error)
{
    return error < -12288 && error > -12288 - 256;
}

int
coir_errno(int error)
{
    if (is_errno(error))
        return COIR_ERRNO(0) - error;
    if (is_http_error(error))
        return EPROTO;
    switch (error) {
    case 0:
        return 0;
    case COIR_ENOMEM:
        return ENOMEM;
    case COIR_ECANCELED:
        return ECANCELED;
    case COIR_EBUSY:
        return EBUSY;
    case COIR_ENOSYS:
        return ENOSYS;
    case COIR_ETIMEDOUT:
        return ETIMEDOUT;
    case COIR_EDEADLK:
        return EDEADLK;
    case COIR_ECLOSED:
        return EBADF;
    case COIR_EEOF:
        return ECONNRESET;
    case COIR_ETORN:
        return ECONNABORTED;
    case COIR_ETLS:
        return EPROTO;
    case COIR_EAGAIN:
        return EAGAIN;
    default:
        return EINVAL;
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
