/* coir/base.h - version, errors, allocator.
 * Threads: everything here may be called from any thread, except
 *          coir_set_allocator(), which belongs at the start of the program. */
#ifndef COIR_BASE_H
#define COIR_BASE_H

#include <stddef.h>
#include <stdint.h>

#define COIR_VERSION_MAJOR 0
#define COIR_VERSION_MINOR 1
#define COIR_VERSION_PATCH 0
#define COIR_VERSION "0.1.0"

#if defined(COIR_STATIC)
#define COIR_API
#else
#define COIR_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Every error of the library: name, value, text. Functions that can fail
 * return 0 or one of these negative values; outputs stay untouched then. */
#define COIR_ERRORS(X)                                                        \
    X(COIR_EINVAL, -1, "invalid argument")                                    \
    X(COIR_ENOMEM, -2, "out of memory, address space or mappings")            \
    X(COIR_ECANCELED, -3, "cancelled")                                        \
    X(COIR_EBUSY, -4, "still in use")                                         \
    X(COIR_ETHREAD, -5, "coroutine belongs to another thread")                \
    X(COIR_ECYCLE, -6, "parents would form a cycle")                          \
    X(COIR_EDEAD, -7, "coroutine has finished")                               \
    X(COIR_ENOSYS, -8, "not supported on this platform or by this build")     \
    X(COIR_ETIMEDOUT, -9, "timed out")                                        \
    X(COIR_EDEADLK, -10, "would wait for ever")                               \
    X(COIR_ECLOSED, -11, "closed")                                            \
    X(COIR_EEOF, -12, "end of stream")                                        \
    X(COIR_ETORN, -13, "torn by an interrupted transfer")                     \
    X(COIR_ETLS, -14, "refused by TLS")                                       \
    X(COIR_EAGAIN, -15, "more is needed")

enum coir_error {
#define COIR__ERROR_VALUE(name, value, text) name = (value),
    COIR_ERRORS(COIR__ERROR_VALUE)
#undef COIR__ERROR_VALUE
};

/* What a system call refused: errno value `e`, as an error of this library. */
#define COIR_ERRNO(e) (-(4096 + (e)))

/* Text for an error returned by this library; never NULL. The string is
 * static. 0 gives "no error", unknown values "unknown error". */
COIR_API const char *coir_strerror(int error);

/* The errno value that says the same: `e` of COIR_ERRNO(e), ETIMEDOUT of
 * COIR_ETIMEDOUT, EBADF of COIR_ECLOSED, and so on; EINVAL of what has none;
 * 0 of 0. */
COIR_API int coir_errno(int error);

/* Version of the library that is linked, as "major.minor.patch". */
COIR_API const char *coir_version(void);

/* The library allocates through one function, with realloc's contract:
 * size 0 frees and returns NULL; NULL `ptr` allocates; on failure it returns
 * NULL and `ptr` is untouched. It may be called from any thread that uses the
 * library, and must not switch coroutines. */
typedef void *(*coir_allocator)(void *ptr, size_t size);

/* Replace the allocator; NULL restores malloc. To be called before any other
 * function of the library: memory is freed by whatever is set then. */
COIR_API void coir_set_allocator(coir_allocator allocator);

/* As malloc() and friends, but for size 0: coir_malloc() and coir_calloc()
 * return memory all the same, coir_realloc() frees and returns NULL. */
COIR_API void *coir_malloc(size_t size);
COIR_API void *coir_calloc(size_t count, size_t size);
COIR_API void *coir_realloc(void *ptr, size_t size);
COIR_API void coir_free(void *ptr);

#ifdef __cplusplus
}
#endif

#endif
