/* green_helper.h - green threads in tests. */
#ifndef COIR_TEST_GREEN_HELPER_H
#define COIR_TEST_GREEN_HELPER_H

#include <coir/hub.h>

#include "harness.h"

static inline coir_green *
spawn(coir_green_fn *fn, const void *arg)
{
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, fn, (void *)(uintptr_t)arg, NULL), 0);
    return g;
}

/* Its result. */
static inline int
join(coir_green *g)
{
    int result = 1234;
    CHECK_EQ(coir_join(g, &result), 0);
    return result;
}

#endif
