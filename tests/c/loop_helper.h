/* loop_helper.h - for the tests of the event loop.
 *
 *     TEST_EACH_BACKEND(io, reports_what_is_readable)
 *     {
 *         coir_loop *loop = backend_loop(backend);
 *         ...
 *         coir_loop_free(loop);
 *     }
 *
 * runs once per backend, skipped where this system lacks it. fake_loop() makes
 * a loop whose clocks stand still but while it waits, and which waits for
 * nothing but time: no test of timers takes any. */
#ifndef COIR_TESTS_LOOP_HELPER_H
#define COIR_TESTS_LOOP_HELPER_H

#include <coir/loop.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "loop/backend.h"
#include "loop/internal.h"

#define MS COIR_NS_PER_MS
#define S COIR_NS_PER_S

/* -- on each backend ------------------------------------------------------ */

#define LOOP__REGISTER(module, name, suffix)                                  \
    COIR__TEST_REGISTER(module##_##name##_##suffix, module, name, #suffix,    \
                        coir__test_##module##_##name, backend_##suffix)

#define TEST_EACH_BACKEND(module, name)                                       \
    static void coir__body_##module##_##name(const coir__backend *backend);   \
    static void coir__test_##module##_##name(int param)                       \
    {                                                                         \
        coir__body_##module##_##name(backend_table(param));                   \
    }                                                                         \
    LOOP__REGISTER(module, name, epoll)                                       \
    LOOP__REGISTER(module, name, uring)                                       \
    LOOP__REGISTER(module, name, poll)                                        \
    LOOP__REGISTER(module, name, select)                                      \
    static void coir__body_##module##_##name(const coir__backend *backend)

enum { backend_epoll, backend_uring, backend_poll, backend_select };

static inline const coir__backend *
backend_table(int index)
{
    static const coir__backend *const table[] = {
        &coir__backend_epoll, &coir__backend_uring, &coir__backend_poll,
        &coir__backend_select};
    return table[index];
}

/* A loop on the real clock. */
static inline coir_loop *
backend_loop(const coir__backend *backend)
{
    coir_loop *loop;
    int err = coir__loop_new_with(&loop, COIR_LOOP_NOENV, backend,
                                  &coir__clock_system);
    if (err == COIR_ENOSYS)
        SKIP(coir_loop_error());
    CHECK_EQ(err, 0);
    return loop;
}

/* For tests that end a wait by a signal or from a thread: valgrind lets
 * nothing else of the process run during io_uring_enter(). */
static inline void
skip_what_valgrind_cannot(const coir__backend *backend)
{
    if (backend == &coir__backend_uring && coir_test_on_valgrind())
        SKIP("valgrind blocks the process in io_uring_enter()");
}

/* For tests of more than FD_SETSIZE descriptors. */
static inline void
skip_what_emulators_cannot(const coir__backend *backend)
{
    if (backend == &coir__backend_select && getenv("QEMU_LD_PREFIX") != NULL)
        SKIP("qemu ends when select() is given more than 1,024 descriptors");
}

/* -- fake time ------------------------------------------------------------ */

/* 2001-09-09 01:46:40 UTC, a multiple of 1,000 seconds. */
#define FAKE_WALL (INT64_C(1000000000) * S)

typedef struct fake {
    int64_t monotonic;
    int64_t wall;
    int64_t slept;     /* by the clock's sleep */
    int64_t last_wait; /* what the loop last asked for */
    int has_threads;   /* which may wake it */
    int64_t waited;    /* in all */
    int waits;
    int resets;
    int modified_fd; /* what the loop last told the backend */
    int modified_events;
    int modifications;
    int modify_error; /* what it is answered */
    int edge;         /* it can do edges */
    int ready_fd;     /* reported at the next wait, unless 0 */
    int ready_events;
} fake;

static fake *fake_now; /* of the test's process, for the backend */

static inline int64_t
fake_monotonic(void *user)
{
    return ((fake *)user)->monotonic;
}

static inline int64_t
fake_wall(void *user)
{
    return ((fake *)user)->wall;
}

static inline void
fake_advance(fake *f, int64_t ns)
{
    f->monotonic += ns;
    f->wall += ns;
}

static inline void
fake_sleep(void *user, int64_t ns)
{
    fake_advance(user, ns);
    ((fake *)user)->slept += ns;
}

static inline int
fake_init(coir_loop *loop)
{
    loop->backend_data = fake_now;
    return 0;
}

static inline void
fake_fini(coir_loop *loop)
{
    (void)loop;
}

static inline int
fake_reset(coir_loop *loop)
{
    ((fake *)loop->backend_data)->resets++;
    return 0;
}

static inline int
fake_modify(coir_loop *loop, int fd, int events)
{
    fake *f = loop->backend_data;
    if (fd == loop->wake_fd)
        return 0;
    f->modifications++;
    f->modified_fd = fd;
    f->modified_events = events;
    return f->modify_error;
}

static inline int
fake_wait(coir_loop *loop, int64_t timeout_ns)
{
    fake *f = loop->backend_data;
    f->waits++;
    f->last_wait = timeout_ns;
    if (f->ready_fd > 0) {
        coir__io_ready(loop, f->ready_fd, loop->fds[f->ready_fd].generation,
                       f->ready_events);
        f->ready_fd = 0;
        return 0;
    }
    if (timeout_ns == COIR_FOREVER && f->has_threads) {
        (void)sched_yield();
        return 0;
    }
    if (timeout_ns == COIR_FOREVER)
        FAIL("the loop would wait for ever");
    fake_advance(f, timeout_ns);
    f->waited += timeout_ns;
    return 0;
}

/* A loop on `f`, whose members but the clocks start as they are. */
static inline coir_loop *
fake_loop(fake *f)
{
    static coir__backend backend = {.flag = COIR_BACKEND_EPOLL,
                                    .name = "fake",
                                    .init = fake_init,
                                    .fini = fake_fini,
                                    .reset = fake_reset,
                                    .modify = fake_modify,
                                    .wait = fake_wait};
    backend.edge = f->edge;
    coir__clock clock = {fake_monotonic, fake_wall, fake_sleep, f};
    if (f->monotonic == 0) {
        f->monotonic = 1000 * S;
        f->wall = FAKE_WALL;
    }
    fake_now = f;
    coir_loop *loop;
    CHECK_EQ(coir__loop_new_with(&loop, COIR_LOOP_NOENV, &backend, &clock), 0);
    return loop;
}

/* -- a log of calls ------------------------------------------------------- */

/* What callbacks did, in order: "a b c". */
static char trace_text[4096];

static inline void
trace(const char *word)
{
    size_t len = strlen(trace_text);
    if (len + strlen(word) + 2 > sizeof trace_text)
        FAIL("the trace is too long");
    if (len > 0)
        trace_text[len++] = ' ';
    memcpy(trace_text + len, word, strlen(word) + 1);
}

/* Compare, and start anew. */
#define CHECK_TRACE(text)                                                     \
    do {                                                                      \
        CHECK_STR(trace_text, text);                                          \
        trace_text[0] = '\0';                                                 \
    } while (0)

#endif
