/* platform.h - what depends on compiler and platform, in one place. */
#ifndef COIR__PLATFORM_H
#define COIR__PLATFORM_H

#include <stddef.h>

#include "coir_config.h"

#define coir__likely(x) __builtin_expect(!!(x), 1)
#define coir__unlikely(x) __builtin_expect(!!(x), 0)
#define COIR__NOINLINE __attribute__((noinline))
#define COIR__COLD __attribute__((cold, noinline))

/* In a loop that waits for another thread. */
#if defined(__x86_64__) || defined(__i386__)
#define coir__pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define coir__pause() __asm__ volatile("isb" ::: "memory")
#else
#define coir__pause() __asm__ volatile("" ::: "memory")
#endif

#if defined(__has_feature)
#define COIR__HAS_FEATURE(x) __has_feature(x)
#else
#define COIR__HAS_FEATURE(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || COIR__HAS_FEATURE(address_sanitizer)
#define COIR__ASAN 1
#else
#define COIR__ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || COIR__HAS_FEATURE(thread_sanitizer)
#define COIR__TSAN 1
#else
#define COIR__TSAN 0
#endif

/* For code that moves stacks about: instrumentation would look at memory
 * whose shadow says something else, or leave entries on a shadow stack. */
#if defined(__clang__)
#define COIR__NO_SANITIZE                                                     \
    __attribute__((no_sanitize("address", "thread", "undefined"),             \
                   disable_sanitizer_instrumentation))
#else
#define COIR__NO_SANITIZE                                                     \
    __attribute__((no_sanitize("address", "thread", "undefined")))
#endif

/* A coroutine never leaves its thread, so the address of a thread-local may
 * be cached across a switch. Initial-exec makes reading it one instruction,
 * also in a shared object; glibc keeps room for such small ones in objects
 * that are loaded late, other C libraries do not. */
#if defined(__GLIBC__)
#define COIR__THREAD_LOCAL                                                    \
    _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define COIR__THREAD_LOCAL _Thread_local
#endif

/* The structure that `ptr` is the `member` of. */
#define COIR__CONTAINER(ptr, type, member)                                    \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Is this the only thread of the process? Then nothing that threads share
 * needs an atomic exchange. Where it is not known: no. */
#if COIR__HAVE_SINGLE_THREADED
#include <sys/single_threaded.h>
#define coir__single_threaded() (__libc_single_threaded != 0)
#else
#define coir__single_threaded() 0
#endif

/* Vectors of 16 bytes that every CPU of the ABI has. */
#if defined(__SSE2__)
#define COIR__SSE2 1
#else
#define COIR__SSE2 0
#endif
#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__)
#define COIR__NEON 1
#else
#define COIR__NEON 0
#endif

/* Linux 6.13; older headers lack it. */
#define COIR__MADV_GUARD_INSTALL 102

/* The same numbers on all platforms but alpha; older headers lack them. */
#define COIR__SYS_PIDFD_SEND_SIGNAL 424
#define COIR__SYS_PIDFD_OPEN 434
#define COIR__SYS_CLOSE_RANGE 436
#define COIR__CLOSE_RANGE_CLOEXEC 4U

#endif
