/* test_base.c - version, errors, allocator. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coir/base.h>

#include "harness.h"

TEST(base, version_is_the_headers)
{
    char text[40];
    snprintf(text, sizeof text, "%d.%d.%d", COIR_VERSION_MAJOR,
             COIR_VERSION_MINOR, COIR_VERSION_PATCH);
    CHECK_STR(coir_version(), text);
    CHECK_STR(coir_version(), COIR_VERSION);
}

TEST(base, every_error_has_its_text)
{
#define CHECK_ERROR(name, value, text)                                        \
    CHECK_EQ(name, value);                                                    \
    CHECK(name < 0);                                                          \
    CHECK_STR(coir_strerror(name), text);
    COIR_ERRORS(CHECK_ERROR)
#undef CHECK_ERROR
}

TEST(base, unknown_errors_have_a_text_too)
{
    CHECK_STR(coir_strerror(0), "no error");
    static const int unknown[] = {1, -1000, -10000, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK_STR(coir_strerror(unknown[i]), "unknown error");
}

TEST(base, system_errors_keep_their_errno_and_text)
{
    static const int some[] = {EPERM, EINVAL, ECONNRESET, EHWPOISON};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        CHECK(COIR_ERRNO(some[i]) < COIR_ETORN);
        CHECK_EQ(coir_errno(COIR_ERRNO(some[i])), some[i]);
        CHECK_STR(coir_strerror(COIR_ERRNO(some[i])), strerror(some[i]));
    }
}

TEST(base, every_error_has_an_errno_value)
{
    CHECK_EQ(coir_errno(0), 0);
    CHECK_EQ(coir_errno(COIR_ENOMEM), ENOMEM);
    CHECK_EQ(coir_errno(COIR_ECANCELED), ECANCELED);
    CHECK_EQ(coir_errno(COIR_EBUSY), EBUSY);
    CHECK_EQ(coir_errno(COIR_ENOSYS), ENOSYS);
    CHECK_EQ(coir_errno(COIR_ETIMEDOUT), ETIMEDOUT);
    CHECK_EQ(coir_errno(COIR_EDEADLK), EDEADLK);
    CHECK_EQ(coir_errno(COIR_EEOF), ECONNRESET);
    CHECK_EQ(coir_errno(COIR_ETORN), ECONNABORTED);
    CHECK_EQ(coir_errno(COIR_ECLOSED), EBADF);
    static const int others[] = {COIR_EINVAL, COIR_ECYCLE, 1, INT32_MIN};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK_EQ(coir_errno(others[i]), EINVAL);
}

TEST(base, malloc_and_free_pair)
{
    size_t before = coir_test_live_blocks();
    char *p = coir_malloc(100);
    CHECK(p != NULL);
    memset(p, 1, 100);
    CHECK_EQ(coir_test_live_blocks(), before + 1);
    CHECK_EQ(coir_test_live_bytes(), 100);
    coir_free(p);
    CHECK_EQ(coir_test_live_blocks(), before);
    coir_free(NULL);
}

TEST(base, memory_is_aligned_for_any_type)
{
    for (size_t size = 1; size < 200; size++) {
        void *p = coir_malloc(size);
        CHECK_EQ((uintptr_t)p % _Alignof(max_align_t), 0);
        coir_free(p);
    }
}

TEST(base, calloc_zeroes)
{
    unsigned char *p = coir_calloc(30, 7);
    CHECK(p != NULL);
    for (size_t i = 0; i < 210; i++)
        CHECK_EQ(p[i], 0);
    coir_free(p);
}

TEST(base, calloc_refuses_overflow)
{
    CHECK_NULL(coir_calloc(SIZE_MAX / 2, 3));
    CHECK_NULL(coir_calloc(3, SIZE_MAX / 2));
    CHECK_NULL(coir_calloc(SIZE_MAX, SIZE_MAX));
}

TEST(base, realloc_keeps_contents)
{
    char *p = coir_realloc(NULL, 4);
    CHECK(p != NULL);
    memcpy(p, "abc", 4);
    p = coir_realloc(p, 4000);
    CHECK_STR(p, "abc");
    p = coir_realloc(p, 4);
    CHECK_STR(p, "abc");
    CHECK_NULL(coir_realloc(p, 0));
    CHECK_EQ(coir_test_live_blocks(), 0);
}

TEST(base, no_bytes_are_memory_too)
{
    /* So that NULL from these always means failure. */
    char *p = coir_malloc(0);
    CHECK(p != NULL);
    coir_free(p);
    p = coir_calloc(0, 8);
    CHECK(p != NULL);
    coir_free(p);
}

TEST(base, failure_leaves_memory_alone)
{
    char *p = coir_malloc(4);
    CHECK(p != NULL);
    memcpy(p, "abc", 4);
    coir_test_fail_alloc(0);
    CHECK_NULL(coir_realloc(p, 8000));
    CHECK_STR(p, "abc");
    coir_test_fail_alloc(0);
    CHECK_NULL(coir_malloc(1));
    coir_test_fail_alloc(0);
    CHECK_NULL(coir_calloc(1, 1));
    coir_free(p);
}

static size_t own_calls;

static void *
own_allocator(void *ptr, size_t size)
{
    own_calls++;
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

TEST(base, allocator_can_be_replaced)
{
    coir_set_allocator(own_allocator);
    void *p = coir_malloc(10);
    p = coir_realloc(p, 20);
    coir_free(p);
    p = coir_calloc(2, 5);
    coir_free(p);
    CHECK_EQ(own_calls, 5);

    coir_set_allocator(NULL); /* malloc again */
    p = coir_malloc(10);
    CHECK(p != NULL);
    p = realloc(p, 20);
    coir_free(p);
    CHECK_EQ(own_calls, 5);
}
