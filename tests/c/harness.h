/* harness.h - test harness for the C tests.
 *
 *     TEST(stack, acquire_without_memory_leaves_out_alone)
 *     {
 *         coir_stack s = {0};
 *         coir_test_fail_alloc(0);
 *         CHECK_EQ(coir_stack_acquire(pool, 16384, &s), COIR_ENOMEM);
 *         CHECK_NULL(s.base);
 *     }
 *
 * A test registers itself; harness.c has main(). Each runs in a process of its
 * own with a time limit. It passes if its body returns and nothing is left:
 * no coroutine alive, no memory of the library's allocator, no mapping made
 * by it, no open descriptor. A failing check ends the test at once, from
 * whatever coroutine or thread it is in.
 *
 *     test_stack              runs all, prints TAP
 *     test_stack --list       names them
 *     test_stack 'stack.a*'   runs those that match
 *     test_stack --no-fork stack.x    in this process, for a debugger
 *
 * COIR_TEST_TIMEOUT_SCALE multiplies the time limits. */
#ifndef COIR_TESTS_HARNESS_H
#define COIR_TESTS_HARNESS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__SANITIZE_ADDRESS__)
#define COIR_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COIR_TEST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define COIR_TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COIR_TEST_TSAN 1
#endif
#endif
#ifndef COIR_TEST_ASAN
#define COIR_TEST_ASAN 0
#endif
#ifndef COIR_TEST_TSAN
#define COIR_TEST_TSAN 0
#endif

/* -- tests ---------------------------------------------------------------- */

typedef struct coir_test {
    const char *module;
    const char *name;
    const char *variant; /* appended to the name; or NULL */
    void (*run)(int param);
    int param;
    struct coir_test *next;
} coir_test;

void coir_test_register(coir_test *test);

#define COIR__TEST_REGISTER(id, module, name, variant, fn, param)             \
    __attribute__((constructor)) static void coir__register_##id(void)        \
    {                                                                         \
        static coir_test coir__test = {#module, #name, variant,               \
                                       fn,      param, NULL};                 \
        coir_test_register(&coir__test);                                      \
    }

/* Define a test: TEST(module, name) { body } */
#define TEST(module, name)                                                    \
    static void coir__test_##module##_##name(int);                            \
    COIR__TEST_REGISTER(module##_##name, module, name, NULL,                  \
                        coir__test_##module##_##name, 0)                      \
    static void coir__test_##module##_##name(                                 \
        __attribute__((unused)) int coir__param)

/* Define a test that runs once per policy; its body sees `int policy`. */
#define TEST_EACH_POLICY(module, name)                                        \
    static void coir__test_##module##_##name(int);                            \
    COIR__TEST_REGISTER(module##_##name##_d, module, name, "dedicated",       \
                        coir__test_##module##_##name, COIR_POLICY_DEDICATED)  \
    COIR__TEST_REGISTER(module##_##name##_s, module, name, "slice",           \
                        coir__test_##module##_##name, COIR_POLICY_SLICE)      \
    static void coir__test_##module##_##name(int policy)

/* Time limit of the running test in seconds, before scaling; 20 at first. */
void coir_test_timeout(unsigned seconds);

/* True under a sanitizer, valgrind or an emulator: do less. */
int coir_test_is_slow(void);
int coir_test_on_valgrind(void);

/* A directory for the files of the running test. It goes with all that is in
 * it when the test ends, however it does (with --no-fork: if it passes). */
const char *coir_test_dir(void);

/* -- checks --------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 3, 4))) void
coir_test_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn)) void coir_test_skip(const char *reason);
void coir_test_check_eq(const char *file, int line, const char *a_text,
                        const char *b_text, intmax_t a, intmax_t b);
void coir_test_check_ne(const char *file, int line, const char *a_text,
                        const char *b_text, intmax_t a, intmax_t b);
void coir_test_check_str(const char *file, int line, const char *a_text,
                         const char *a, const char *b);

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition))                                                     \
            coir_test_fail(__FILE__, __LINE__, "CHECK(%s)", #condition);      \
    } while (0)

/* For integers and pointers. */
#define CHECK_EQ(a, b)                                                        \
    coir_test_check_eq(__FILE__, __LINE__, #a, #b, (intmax_t)(a),             \
                       (intmax_t)(b))
#define CHECK_NE(a, b)                                                        \
    coir_test_check_ne(__FILE__, __LINE__, #a, #b, (intmax_t)(a),             \
                       (intmax_t)(b))
#define CHECK_NULL(pointer) CHECK_EQ(pointer, 0)
#define CHECK_STR(a, b) coir_test_check_str(__FILE__, __LINE__, #a, a, b)
#define FAIL(text) coir_test_fail(__FILE__, __LINE__, "%s", text)
#define SKIP(reason) coir_test_skip(reason)

/* Run the block that follows in a child process, which must die of `signal`
 * (0: of any, or by an exit status other than 0) after it wrote `text`. */
#define CHECK_DIES(signal, text)                                              \
    for (coir_test_death coir__death = {__FILE__, __LINE__, signal, text, 0}; \
         coir_test_death_step(&coir__death);)

typedef struct coir_test_death {
    const char *file;
    int line;
    int signal;
    const char *text;
    int in_child;
} coir_test_death;

int coir_test_death_step(coir_test_death *death);

/* -- injected failures ---------------------------------------------------- */

/* Calls of the library that can be made to fail: its allocator, and the system
 * calls that the linker was told to --wrap (the tests' meson.build). */
enum coir_test_call {
    COIR_TEST_ALLOC,
    COIR_TEST_MMAP,
    COIR_TEST_MUNMAP,
    COIR_TEST_MPROTECT,
    COIR_TEST_MADVISE,
    COIR_TEST_THREAD, /* pthread_create() */
    COIR_TEST_CALLS
};

/* Fail `times` calls after letting `skip` pass, with errno `error`. */
void coir_test_fail_call(int call, long skip, long times, int error);

/* The n-th next call (from 0) fails, once, with ENOMEM. */
void coir_test_fail_alloc(long n);
void coir_test_fail_map(long n);
void coir_test_fail_mprotect(long n);
void coir_test_fail_madvise(long n);
void coir_test_fail_munmap(long n);

/* madvise() with this advice fails with `error` until coir_test_fail_none():
 * EINVAL is what a kernel says that does not know it. */
void coir_test_fail_advice(int advice, int error);

/* No call fails any more. */
void coir_test_fail_none(void);

/* How often a call was made, and made to fail, since the test began. */
long coir_test_calls(int call);
long coir_test_failures(int call);

/* Run the block that follows for n = 0, 1, 2, ... with the n-th call failing,
 * up to and with the first run in which none failed. */
#define EACH_FAILURE(call, n)                                                 \
    for (long n = 0; coir_test_next_failure(call, n); n++)
#define EACH_ALLOC_FAILURE(n) EACH_FAILURE(COIR_TEST_ALLOC, n)

int coir_test_next_failure(int call, long n);

/* -- what the library holds ----------------------------------------------- */

size_t coir_test_live_blocks(void); /* of its allocator */
size_t coir_test_live_bytes(void);
size_t coir_test_mapped_bytes(void);

/* Resident memory of this process in bytes; 0 if not known. */
size_t coir_test_rss(void);

/* -- random numbers ------------------------------------------------------- */

/* A small generator (xorshift64*), so that a seed means the same anywhere. */
typedef struct coir_test_random {
    uint64_t state;
} coir_test_random;

/* Seeded by COIR_TEST_SEED, else by the clock; prints the seed. */
void coir_test_random_init(coir_test_random *random);
void coir_test_random_seed(coir_test_random *random, uint64_t seed);
uint64_t coir_test_random_next(coir_test_random *random);

/* A number from 0 to limit - 1. */
size_t coir_test_random_below(coir_test_random *random, size_t limit);

#ifdef __cplusplus
}
#endif

#endif
