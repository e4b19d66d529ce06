/* harness.c - what the fuzz targets need of tests/c/harness.h.
 *
 * A failing check aborts, so that libFuzzer keeps the input. The library's
 * allocator counts blocks and can be told to fail; all else is found by the
 * sanitizers. Files go where tools/fuzz.sh says by TMPDIR, and go with it. */
#include "harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <coir/base.h>

static long left_to_failure = -1; /* allocations; -1: none fails */
static long failures;
static size_t live_blocks;

void
coir_test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%s:%d: ", file, line);
    (void)vfprintf(stderr, format, args);
    (void)fputs("\n", stderr);
    va_end(args);
    abort();
}

void
coir_test_check_eq(const char *file, int line, const char *a_text,
                   const char *b_text, intmax_t a, intmax_t b)
{
    if (a != b)
        coir_test_fail(file, line, "CHECK_EQ(%s, %s): %jd != %jd", a_text,
                       b_text, a, b);
}

const char *
coir_test_dir(void)
{
    static char dir[200];
    if (dir[0] != '\0')
        return dir;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%s/coir-fuzz-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(dir) != NULL);
    return dir;
}

void
coir_test_fail_alloc(long n)
{
    left_to_failure = n;
}

void
coir_test_fail_none(void)
{
    left_to_failure = -1;
}

long
coir_test_failures(int call)
{
    return call == COIR_TEST_ALLOC ? failures : 0;
}

size_t
coir_test_live_blocks(void)
{
    return live_blocks;
}

static void *
allocate(void *ptr, size_t size)
{
    if (size == 0) {
        live_blocks -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (left_to_failure >= 0 && left_to_failure-- == 0) {
        failures++;
        return NULL;
    }
    live_blocks += ptr == NULL;
    return realloc(ptr, size);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    coir_set_allocator(allocate);
    return 0;
}
