/* hub_helper.h - a hub in tests, on a clock that stands still. */
#ifndef COIR_TEST_HUB_HELPER_H
#define COIR_TEST_HUB_HELPER_H

#include "hub/internal.h"
#include "loop_helper.h"

static fake f;
static coir_loop *loop;

/* This thread's hub, on fake time. */
static inline void
begin(void)
{
    loop = fake_loop(&f);
    CHECK(coir__hub_make(loop) != NULL);
}

static inline void
finish(void)
{
    CHECK_EQ(coir_hub_fini(), 0);
    coir_loop_free(loop);
}

#endif
