/* test_periodic.c - watchers on the wall clock. */
#include <math.h>

#include "loop_helper.h"

static int calls;
static int64_t called_at;

static void
note(coir_loop *loop, coir_periodic *w, int revents)
{
    CHECK_EQ(revents, COIR_PERIODIC);
    calls++;
    called_at = coir_loop_wall_now(loop);
    if (w->data != NULL)
        trace(w->data);
}

static void
start(coir_loop *loop, coir_periodic *w, int64_t offset, int64_t interval)
{
    coir_periodic_init(w, note, offset, interval, NULL);
    w->data = NULL;
    CHECK_EQ(coir_periodic_start(loop, w), 0);
}

static void
once(coir_loop *loop)
{
    (void)coir_loop_run(loop, COIR_RUN_ONCE);
    coir_loop_verify(loop);
}

TEST(periodic, absolute_time_comes_once)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, FAKE_WALL + 90 * S, 0);
    CHECK_EQ(w.at_ns, FAKE_WALL + 90 * S);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(calls, 1);
    CHECK_EQ(called_at, FAKE_WALL + 90 * S);
    CHECK(!coir_is_active(&w));
    start(loop, &w, FAKE_WALL, 0); /* is past */
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(calls, 2);
    coir_loop_free(loop);
}

TEST(periodic, interval_is_counted_from_the_offset)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, 7 * S, 60 * S);
    int64_t first = FAKE_WALL - FAKE_WALL % (60 * S) + 7 * S;
    if (first <= FAKE_WALL)
        first += 60 * S;
    CHECK_EQ(w.at_ns, first);
    while (calls < 1)
        once(loop);
    CHECK_EQ(called_at, first);
    while (calls < 2)
        once(loop);
    CHECK_EQ(called_at, first + 60 * S);
    coir_periodic_stop(loop, &w);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

TEST(periodic, times_missed_come_once)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, 0, 10 * S);
    fake_advance(&f, 95 * S);
    once(loop);
    CHECK_EQ(calls, 1);
    CHECK_EQ(w.at_ns, FAKE_WALL + 100 * S);
    coir_periodic_stop(loop, &w);
    coir_loop_free(loop);
}

/* Those of coir/ev.h: doubles in the same places. */
static double
start_seconds(coir_loop *loop, coir_periodic *w, double offset,
              double interval)
{
    coir_periodic_init(w, note, 0, 0, NULL);
    w->data = NULL;
    memcpy(&w->offset_ns, &offset, sizeof offset);
    memcpy(&w->interval_ns, &interval, sizeof interval);
    CHECK_EQ(coir__periodic_start(loop, w, COIR__SECONDS), 0);
    double at;
    memcpy(&at, &w->at_ns, sizeof at);
    return at;
}

TEST(periodic, intervals_in_seconds_keep_their_phase)
{
    static const double intervals[] = {0.07, 1 / 17.0, 0.1, 1.1, 3600};
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) {
        coir_periodic w;
        double n = start_seconds(loop, &w, 0, intervals[i]) / intervals[i];
        CHECK(fabs(n - nearbyint(n)) < 1e-5);
        int64_t begin = f.wall;
        calls = 0;
        while (calls < 100)
            once(loop);
        int64_t since = called_at - begin;
        CHECK(fabs((double)since * 1e-9 / intervals[i] - 100) < 1);
        coir_periodic_stop(loop, &w);
    }
    coir_loop_free(loop);
}

/* An interval that begins now: the next time is one interval away. */
TEST(periodic, intervals_in_seconds_may_begin_now)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    for (int i = 0; i < 1000; i++) {
        fake_advance(&f, 1234567 + i);
        coir_loop_now_update(loop);
        double now = coir__to_seconds(coir_loop_wall_now(loop));
        coir_periodic w;
        double at = start_seconds(loop, &w, fmod(now, 3600), 3600);
        CHECK(fabs(at - now - 3600) < 1e-6);
        coir_periodic_stop(loop, &w);
    }
    coir_loop_free(loop);
}

static int64_t
next_prime_second(coir_periodic *w, int64_t now)
{
    (void)w;
    static const int primes[] = {2, 3, 5, 7, 11};
    for (int i = 0; i < 5; i++)
        if (FAKE_WALL + primes[i] * S > now)
            return FAKE_WALL + primes[i] * S;
    return COIR_FOREVER;
}

TEST(periodic, reschedule_says_when)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    coir_periodic_init(&w, note, 0, 0, next_prime_second);
    w.data = NULL;
    CHECK_EQ(coir_periodic_start(loop, &w), 0);
    for (int i = 1; i <= 5; i++)
        while (calls < i)
            once(loop);
    CHECK_EQ(called_at, FAKE_WALL + 11 * S);
    CHECK_EQ(w.at_ns, COIR_FOREVER);
    coir_periodic_stop(loop, &w);
    coir_loop_free(loop);
}

TEST(periodic, again_takes_new_fields)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, 0, 1000 * S);
    w.interval_ns = 10 * S;
    CHECK_EQ(coir_periodic_again(loop, &w), 0);
    CHECK_EQ(w.at_ns, FAKE_WALL + 10 * S);
    coir_periodic_stop(loop, &w);
    CHECK_EQ(coir_periodic_again(loop, &w), 0);
    CHECK(coir_is_active(&w));
    coir_periodic_stop(loop, &w);
    coir_loop_free(loop);
}

TEST(periodic, follows_the_clock_forward)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, FAKE_WALL + 3600 * S, 0);
    coir_loop_set_timer_collect(loop, 0);
    f.wall += 3600 * S; /* set, while the monotonic clock stands */
    f.monotonic += S;
    once(loop);
    CHECK_EQ(calls, 1);
    coir_loop_free(loop);
}

TEST(periodic, follows_the_clock_back)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, 0, 100 * S);
    CHECK_EQ(w.at_ns, FAKE_WALL + 100 * S);
    f.wall -= 86400 * S;
    f.monotonic += S;
    coir_loop_now_update(loop);
    CHECK_EQ(w.at_ns, FAKE_WALL - 86400 * S + 100 * S);
    coir_loop_verify(loop);
    coir_periodic_stop(loop, &w);
    coir_loop_free(loop);
}

TEST(periodic, earliest_is_called_first)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    static const int order[] = {2, 0, 3, 1};
    for (int i = 0; i < 4; i++) {
        start(loop, &w[order[i]], FAKE_WALL + (order[i] + 1) * S, 0);
        w[order[i]].data = (void *)(uintptr_t)names[order[i]];
    }
    coir_loop_verify(loop);
    fake_advance(&f, 10 * S);
    once(loop);
    CHECK_TRACE("a b c d");
    coir_loop_free(loop);
}

TEST(periodic, random_ones_keep_their_order)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_test_random random;
    coir_test_random_init(&random);
    enum { COUNT = 300 };
    static coir_periodic w[COUNT];
    for (int i = 0; i < COUNT; i++)
        start(loop, &w[i],
              FAKE_WALL + (int64_t)coir_test_random_below(&random, 100) * S,
              coir_test_random_below(&random, 2) ? 7 * S : 0);
    for (int step = 0; step < 2000; step++) {
        coir_periodic *p = &w[coir_test_random_below(&random, COUNT)];
        if (coir_is_active(p))
            coir_periodic_stop(loop, p);
        else
            CHECK_EQ(coir_periodic_start(loop, p), 0);
        if (step % 50 == 0) {
            fake_advance(&f, S);
            (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
            for (int i = 0; i < COUNT; i++)
                CHECK(!coir_is_active(&w[i]) || w[i].at_ns > f.wall);
        }
        coir_loop_verify(loop);
    }
    for (int i = 0; i < COUNT; i++)
        coir_periodic_stop(loop, &w[i]);
    coir_loop_free(loop);
}

TEST(periodic, bad_interval_is_refused)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    coir_periodic_init(&w, note, 0, -1, NULL);
    CHECK_EQ(coir_periodic_start(loop, &w), COIR_EINVAL);
    CHECK(!coir_is_active(&w));
    coir_loop_free(loop);
}

TEST(periodic, without_memory_it_does_not_start)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    coir_periodic_init(&w, note, 0, S, NULL);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_periodic_start(loop, &w), COIR_ENOMEM);
    CHECK(!coir_is_active(&w));
    coir_loop_free(loop);
}

/* On the real clock: the kernel tells of jumps by a descriptor. */
TEST_EACH_BACKEND(periodic, on_the_real_clock)
{
    coir_loop *loop = backend_loop(backend);
    coir_periodic w;
    start(loop, &w, 0, 5 * MS);
    while (calls < 3)
        once(loop);
    coir_periodic_stop(loop, &w);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

TEST(periodic, offset_in_the_farthest_past_is_due_at_once)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, INT64_MIN, 0);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(calls, 1);
    CHECK_EQ(f.waited, 0);
    coir_loop_free(loop);
}

TEST(periodic, again_that_fails_changes_nothing)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w;
    start(loop, &w, FAKE_WALL + 90 * S, 10 * S);
    coir_feed_event(loop, &w, COIR_PERIODIC);
    w.interval_ns = -1;
    CHECK_EQ(coir_periodic_again(loop, &w), COIR_EINVAL);
    CHECK(coir_is_active(&w));
    CHECK(coir_is_pending(&w));
    coir_periodic_stop(loop, &w);
    w.interval_ns = S;
    coir_loop_free(loop);

    loop = fake_loop(&f); /* its array has no room yet */
    coir_feed_event(loop, &w, COIR_PERIODIC);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_periodic_again(loop, &w), COIR_ENOMEM);
    CHECK(coir_is_pending(&w));
    coir_test_fail_none();
    (void)coir_clear_pending(loop, &w);
    coir_loop_free(loop);
}

static coir_periodic *stopped;

static void
walk_and_stop(coir_loop *loop, int type, void *w)
{
    CHECK_EQ(type, COIR_PERIODIC);
    trace(((coir_periodic *)w)->data);
    if (w == stopped || stopped == NULL)
        coir_periodic_stop(loop, w);
}

/* In the heap the last one of these takes the place of one that is stopped,
 * and from there goes up. */
TEST(periodic, walk_calls_each_once_though_some_are_stopped)
{
    static const struct {
        int64_t at;
        char name[3];
    } all[] = {{1, "1"},   {10, "10"}, {2, "2"}, {11, "11"},
               {12, "12"}, {3, "3"},   {4, "4"}};
    enum { COUNT = sizeof all / sizeof *all };
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_periodic w[COUNT];
    for (int i = 0; i < COUNT; i++) {
        start(loop, &w[i], FAKE_WALL + all[i].at * S, 0);
        w[i].data = (void *)all[i].name;
    }
    stopped = &w[3];
    coir_loop_walk(loop, COIR_PERIODIC, walk_and_stop);
    CHECK_TRACE("12 11 10 4 3 2 1");
    coir_loop_verify(loop);
    stopped = NULL;
    coir_loop_walk(loop, COIR_PERIODIC, walk_and_stop);
    CHECK_TRACE("12 10 4 3 2 1");
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    CHECK_EQ(calls, 0);
    coir_loop_free(loop);
}
