/* test_timer.c - timers of the event loop, on a clock that stands still. */
#include <stdlib.h>

#include "loop_helper.h"

typedef struct named {
    coir_timer timer;
    int calls;
    int64_t called_at;
} named;

static void
note(coir_loop *loop, coir_timer *w, int revents)
{
    CHECK_EQ(revents, COIR_TIMER);
    named *n = (named *)(void *)w;
    n->calls++;
    n->called_at = coir_loop_now(loop);
    if (w->data != NULL)
        trace(w->data);
}

static void
start(coir_loop *loop, named *n, const char *name, int64_t timeout,
      int64_t repeat)
{
    n->calls = 0;
    coir_timer_init(&n->timer, note, timeout, repeat);
    n->timer.data = (void *)(uintptr_t)name;
    coir_timer_start(loop, &n->timer);
}

static void
run(coir_loop *loop)
{
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    coir_loop_verify(loop);
}

static void
run_at(coir_loop *loop, fake *f, int64_t time)
{
    fake_advance(f, time - f->monotonic);
    run(loop);
}

TEST(timer, never_early)
{
    static const int64_t timeouts[] = {1,
                                       999,
                                       MS - 1,
                                       MS,
                                       MS + 1,
                                       S,
                                       S + 1,
                                       70 * S,
                                       70 * S + 1,
                                       5000 * S,
                                       100000 * S + 12345,
                                       86400 * 60 * S,
                                       86400 * 365 * 40 * S};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        fake f = {.monotonic = 1234567891, .wall = FAKE_WALL};
        coir_loop *loop = fake_loop(&f);
        named n;
        start(loop, &n, NULL, timeouts[i], 0);
        int64_t deadline = f.monotonic + timeouts[i];
        coir_loop_verify(loop);
        run_at(loop, &f, deadline - 1);
        CHECK_EQ(n.calls, 0);
        run_at(loop, &f, deadline);
        CHECK_EQ(n.calls, 1);
        CHECK(!coir_is_active(&n.timer));
        coir_loop_free(loop);
    }
}

TEST(timer, wait_ends_exactly_then)
{
    static const int64_t timeouts[] = {1,        MS,     200 * MS,
                                       300 * MS, 70 * S, 20000 * S + 7};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        fake f = {.monotonic = 987654321, .wall = FAKE_WALL};
        coir_loop *loop = fake_loop(&f);
        named n;
        start(loop, &n, NULL, timeouts[i], 0);
        int64_t deadline = f.monotonic + timeouts[i];
        CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
        CHECK_EQ(n.calls, 1);
        CHECK_EQ(n.called_at, deadline);
        CHECK(f.waits <= 4); /* a level of the wheel each */
        coir_loop_free(loop);
    }
}

TEST(timer, equal_deadlines_in_the_order_of_starting)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n[6];
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    int64_t deadline = f.monotonic + 100 * S;
    for (int i = 0; i < 6; i++) {
        /* From different distances, thus levels of the wheel. */
        static const int64_t steps[] = {0,       99 * S, 900 * MS,
                                        99 * MS, MS / 2, MS / 4};
        fake_advance(&f, steps[i]);
        run(loop);
        start(loop, &n[i], names[i], deadline - coir_loop_now(loop), 0);
    }
    run_at(loop, &f, deadline);
    CHECK_TRACE("a b c d e f");
    coir_loop_free(loop);
}

TEST(timer, those_that_are_due_together_in_the_order_of_deadlines)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n[4];
    start(loop, &n[0], "3s", 3 * S, 0);
    start(loop, &n[1], "1ns", 1, 0);
    start(loop, &n[2], "2ms", 2 * MS, 0);
    start(loop, &n[3], "past", -5 * S, 0);
    run_at(loop, &f, f.monotonic + 10 * S);
    CHECK_TRACE("past 1ns 2ms 3s");
    coir_loop_free(loop);
}

TEST(timer, repeats_on_its_grid)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n;
    int64_t begin = f.monotonic;
    start(loop, &n, NULL, 100 * MS, 30 * MS);
    run_at(loop, &f, begin + 100 * MS);
    CHECK_EQ(n.calls, 1);
    run_at(loop, &f, begin + 135 * MS); /* 5 ms late */
    CHECK_EQ(n.calls, 2);
    CHECK_EQ(coir_timer_remaining(loop, &n.timer), 25 * MS);
    run_at(loop, &f, begin + 160 * MS);
    CHECK_EQ(n.calls, 3);
    run_at(loop, &f, begin + 1000 * MS); /* missed: come as one */
    CHECK_EQ(n.calls, 4);
    run(loop);
    CHECK_EQ(n.calls, 4);
    coir_timer_stop(loop, &n.timer);
    coir_loop_free(loop);
}

static void
again_at_once(coir_loop *loop, coir_timer *w, int revents)
{
    (void)revents;
    trace("again");
    coir_timer_init(w, again_at_once, 0, 0);
    coir_timer_start(loop, w);
}

TEST(timer, one_that_starts_itself_does_not_starve_the_loop)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_timer w;
    coir_timer_init(&w, again_at_once, 0, 0);
    coir_timer_start(loop, &w);
    run(loop);
    CHECK_TRACE("again");
    run(loop);
    CHECK_TRACE("again");
    coir_timer_stop(loop, &w);
    coir_loop_free(loop);
}

TEST(timer, stop_takes_a_pending_call_back)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n;
    start(loop, &n, "n", 0, S);
    coir_feed_event(loop, &n.timer, COIR_TIMER);
    coir_timer_stop(loop, &n.timer);
    CHECK(!coir_is_pending(&n.timer));
    run(loop);
    CHECK_TRACE("");
    coir_timer_stop(loop, &n.timer); /* again does nothing */
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

TEST(timer, start_after_stop_goes_on_with_the_rest)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n;
    start(loop, &n, NULL, 10 * S, 0);
    run_at(loop, &f, f.monotonic + 4 * S);
    coir_timer_stop(loop, &n.timer);
    CHECK_EQ(coir_timer_remaining(loop, &n.timer), 6 * S);
    run_at(loop, &f, f.monotonic + 100 * S);
    coir_timer_start(loop, &n.timer);
    run_at(loop, &f, f.monotonic + 6 * S - 1);
    CHECK_EQ(n.calls, 0);
    run_at(loop, &f, f.monotonic + 1);
    CHECK_EQ(n.calls, 1);
    coir_loop_free(loop);
}

TEST(timer, again_starts_restarts_and_stops)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n;
    n.calls = 0;
    coir_timer_init(&n.timer, note, 0, 10 * S);
    n.timer.data = NULL;
    coir_timer_again(loop, &n.timer);
    CHECK(coir_is_active(&n.timer));
    for (int i = 0; i < 5; i++) {
        run_at(loop, &f, f.monotonic + 9 * S);
        coir_timer_again(loop, &n.timer);
    }
    CHECK_EQ(n.calls, 0);
    run_at(loop, &f, f.monotonic + 10 * S);
    CHECK_EQ(n.calls, 1);
    n.timer.repeat_ns = S; /* a shorter interval counts at once */
    coir_timer_again(loop, &n.timer);
    run_at(loop, &f, f.monotonic + S);
    CHECK_EQ(n.calls, 2);
    n.timer.repeat_ns = 0;
    coir_timer_again(loop, &n.timer);
    CHECK(!coir_is_active(&n.timer));
    coir_timer_again(loop, &n.timer); /* neither active nor repeating */
    CHECK(!coir_is_active(&n.timer));
    coir_loop_free(loop);
}

TEST(timer, deferred_comes_later_or_earlier)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n;
    start(loop, &n, NULL, 10 * S, 0);
    for (int i = 0; i < 100; i++) {
        run_at(loop, &f, f.monotonic + S);
        coir_timer_defer(loop, &n.timer, 10 * S);
        CHECK_EQ(coir_timer_remaining(loop, &n.timer), 10 * S);
    }
    run_at(loop, &f, f.monotonic + 10 * S - 1);
    CHECK_EQ(n.calls, 0);
    run_at(loop, &f, f.monotonic + 1);
    CHECK_EQ(n.calls, 1);
    coir_timer_defer(loop, &n.timer, 10 * S); /* starts it */
    coir_timer_defer(loop, &n.timer, S);
    run_at(loop, &f, f.monotonic + S);
    CHECK_EQ(n.calls, 2);
    coir_loop_free(loop);
}

TEST(timer, deferred_does_not_end_a_wait_before)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n;
    start(loop, &n, "timer", 100 * MS, 0);
    coir_timer_defer(loop, &n.timer, 10 * S);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
    CHECK_TRACE("timer");
    CHECK_EQ(f.waited, 10 * S);
    coir_loop_free(loop);
}

TEST(timer, extreme_times)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named never, past, soon;
    start(loop, &never, "never", COIR_FOREVER, 0);
    start(loop, &past, "past", INT64_MIN, 0);
    start(loop, &soon, "soon", 1, COIR_FOREVER);
    CHECK_EQ(coir_timer_remaining(loop, &never.timer),
             COIR_FOREVER - f.monotonic);
    run_at(loop, &f, f.monotonic + S);
    CHECK_TRACE("past soon");
    run_at(loop, &f, f.monotonic + INT64_C(1000000000) * S);
    CHECK_TRACE("");
    coir_timer_stop(loop, &never.timer);
    coir_timer_stop(loop, &soon.timer);
    coir_loop_free(loop);
}

TEST(timer, starting_needs_no_memory)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    enum { COUNT = 1000 };
    static named n[COUNT];
    long before = coir_test_calls(COIR_TEST_ALLOC);
    for (int i = 0; i < COUNT; i++)
        start(loop, &n[i], NULL, (i * 7919 % COUNT) * MS, 0);
    run_at(loop, &f, f.monotonic + S);
    CHECK_EQ(coir_test_calls(COIR_TEST_ALLOC), before);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(n[i].calls, 1);
    coir_loop_free(loop);
}

static named *victims[3];

static void
stop_others(coir_loop *loop, coir_timer *w, int revents)
{
    (void)revents;
    trace("stop");
    for (int i = 0; i < 3; i++)
        coir_timer_stop(loop, &victims[i]->timer);
    (void)w;
    for (int i = 0; i < 3; i++)
        memset(victims[i], 0x55, sizeof *victims[i]);
}

TEST(timer, callback_may_stop_and_free_others_that_are_due)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    static named n[3];
    for (int i = 0; i < 3; i++) {
        victims[i] = &n[i];
        start(loop, &n[i], "n", S, i == 1 ? S : 0);
    }
    coir_timer killer;
    coir_timer_init(&killer, stop_others, S - 1, 0);
    coir_timer_start(loop, &killer);
    run_at(loop, &f, f.monotonic + S);
    CHECK_TRACE("stop");
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

/* --- against a plain model ----------------------------------------------- */

enum { MODEL = 2000, MODEL_TURN = 64 };

typedef struct model {
    int active;
    int64_t deadline;
    int64_t repeat;
    uint64_t order;
} model;

static named real[MODEL];
static model plain[MODEL];
static int fired[4 * MODEL];
static int fired_count;

static void
note_index(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    if (fired_count < 4 * MODEL)
        fired[fired_count++] = (int)((named *)(void *)w - real);
}

static int
by_deadline(const void *a, const void *b)
{
    const model *x = &plain[*(const int *)a], *y = &plain[*(const int *)b];
    if (x->deadline != y->deadline)
        return x->deadline < y->deadline ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* What the model expects to fire now, in order, a turn's share; it moves on.
 */
static int
expect(int64_t now, int expected[], uint64_t *order)
{
    int count = 0;
    for (int i = 0; i < MODEL; i++)
        if (plain[i].active && plain[i].deadline <= now)
            expected[count++] = i;
    qsort(expected, (size_t)count, sizeof *expected, by_deadline);
    if (count > MODEL_TURN)
        count = MODEL_TURN;
    for (int k = 0; k < count; k++) {
        model *m = &plain[expected[k]];
        m->active = m->repeat > 0;
        m->deadline += m->repeat;
        if (m->deadline <= now)
            m->deadline = now + 1;
        m->order = ++*order;
    }
    return count;
}

static int64_t
random_time(coir_test_random *r)
{
    static const int64_t scales[] = {10, 1000,    MS,       10 * MS,
                                     S,  100 * S, 10000 * S};
    int64_t scale = scales[coir_test_random_below(r, 7)];
    return (int64_t)coir_test_random_below(r, (size_t)scale);
}

static void
random_operation(coir_loop *loop, coir_test_random *r, uint64_t *order)
{
    int i = (int)coir_test_random_below(r, MODEL);
    coir_timer *w = &real[i].timer;
    model *m = &plain[i];
    int64_t now = coir_loop_now(loop), time = random_time(r);
    switch (coir_test_random_below(r, 5)) {
    case 0:
        coir_timer_stop(loop, w);
        m->active = 0;
        break;
    case 1:
        coir_timer_defer(loop, w, time);
        m->repeat = w->repeat_ns;
        m->active = 1;
        m->deadline = now + time;
        m->order = ++*order;
        break;
    case 2:
        coir_timer_again(loop, w);
        m->repeat = w->repeat_ns;
        m->active = m->repeat > 0;
        m->deadline = now + m->repeat;
        m->order = ++*order;
        break;
    default:
        if (m->active)
            return;
        m->repeat = coir_test_random_below(r, 3) == 0 ? time + 1 : 0;
        coir_timer_init(w, note_index, time, m->repeat);
        coir_timer_start(loop, w);
        m->active = 1;
        m->deadline = now + time;
        m->order = ++*order;
    }
}

static void
run_and_compare(coir_loop *loop, const fake *f, uint64_t *order)
{
    static int expected[MODEL];
    fired_count = 0;
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    int count = expect(f->monotonic, expected, order);
    CHECK_EQ(fired_count, count);
    for (int k = 0; k < count; k++)
        CHECK_EQ(fired[k], expected[k]);
}

TEST(timer, model)
{
    coir_test_timeout(60);
    coir_test_random r;
    coir_test_random_init(&r);
    fake f = {.monotonic = 1 + random_time(&r), .wall = FAKE_WALL};
    coir_loop *loop = fake_loop(&f);
    loop->timer_budget = MODEL_TURN;
    uint64_t order = 0;
    for (int i = 0; i < MODEL; i++)
        coir_timer_init(&real[i].timer, note_index, 0, 0);
    int steps = coir_test_is_slow() ? 3000 : 100000;
    for (int step = 0; step < steps; step++) {
        random_operation(loop, &r, &order);
        if (coir_test_random_below(&r, 10) == 0) {
            fake_advance(&f, random_time(&r));
            run_and_compare(loop, &f, &order);
        }
        if (step % 64 == 0)
            coir_loop_verify(loop);
    }
    run_and_compare(loop, &f, &order); /* what was started as due */
    int active = 0;
    for (int i = 0; i < MODEL; i++) {
        active += plain[i].active;
        CHECK_EQ(coir_is_active(&real[i].timer), plain[i].active);
        if (plain[i].active)
            CHECK_EQ(coir_timer_remaining(loop, &real[i].timer),
                     plain[i].deadline - coir_loop_now(loop));
    }
    CHECK_EQ(loop->active, active);
    for (int i = 0; i < MODEL; i++)
        coir_timer_stop(loop, &real[i].timer);
    coir_loop_free(loop);
}

/* A million that are due must not keep descriptors waiting. */
TEST(timer, those_of_many_that_are_due_come_in_several_turns)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    enum { MANY = 2500 };
    static named n[MANY];
    for (int i = 0; i < MANY; i++)
        start(loop, &n[i], NULL, S + i % 7, 0);
    fake_advance(&f, 2 * S);
    int called = 0, waits = f.waits;
    for (int turn = 1; turn <= 3; turn++) {
        CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE) == 0, turn == 3);
        CHECK_EQ(f.waits, waits + turn);
        CHECK_EQ(coir_loop_now(loop), f.monotonic);
        called = 0;
        for (int i = 0; i < MANY; i++)
            called += n[i].calls;
        CHECK_EQ(called, turn < 3 ? 1024 * turn : MANY);
    }
    for (int i = 1; i < MANY; i++)
        CHECK_EQ(n[i].calls, 1);
    coir_loop_free(loop);
}

/* --- slack --------------------------------------------------------------- */

TEST(timer, slack_calls_those_that_are_due_close_together_at_once)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_loop_set_timer_slack(loop, MS);
    named n[4];
    int64_t begin = f.monotonic;
    start(loop, &n[0], "100", 100 * MS, 0);
    start(loop, &n[1], "100.5", 100 * MS + MS / 2, 0);
    start(loop, &n[2], "101", 101 * MS, 0);
    start(loop, &n[3], "101+", 101 * MS + 1, 0);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    CHECK_TRACE("100 100.5 101");
    CHECK_EQ(f.monotonic, begin + 101 * MS);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
    CHECK_EQ(f.monotonic, begin + 102 * MS + 1);
    coir_loop_free(loop);
}

TEST(timer, slack_does_not_delay_what_is_due)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_loop_set_timer_slack(loop, MS);
    loop->timer_budget = 1;
    named n[2];
    start(loop, &n[0], "a", S, 0);
    start(loop, &n[1], "b", S, 0);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    int64_t now = f.monotonic;
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
    CHECK_EQ(f.monotonic, now);
    CHECK_TRACE("a b");
    coir_loop_free(loop);
}

TEST(timer, short_timeouts_are_exact_with_slack)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_loop_set_timer_slack(loop, MS);
    named a, b;
    start(loop, &a, NULL, 100 * MS, 0);
    fake_advance(&f, 95 * MS);
    run(loop);
    start(loop, &b, NULL, 16 * MS - 1, 0);
    /* The one before it, too: who is exact is not known of each. */
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    CHECK_EQ(a.called_at, a.timer.deadline_ns);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
    CHECK_EQ(b.called_at, b.timer.deadline_ns);
    /* Repeated, put off. */
    start(loop, &a, NULL, 100 * MS, 10 * MS);
    start(loop, &b, NULL, 50 * MS, 0);
    coir_timer_defer(loop, &b.timer, 10 * MS);
    int64_t due = f.monotonic + 10 * MS;
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    CHECK_EQ(b.called_at, due);
    due = a.timer.deadline_ns;
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    CHECK_EQ(a.called_at, due + MS);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 1);
    CHECK_EQ(a.called_at, due + 10 * MS);
    coir_timer_stop(loop, &a.timer);
    /* Put off within its slot, to a time that is short of now. */
    start(loop, &a, NULL, 400 * MS, 0);
    fake_advance(&f, 390 * MS);
    run(loop);
    coir_timer_defer(loop, &a.timer, 15 * MS);
    due = f.monotonic + 15 * MS;
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
    CHECK_EQ(a.called_at, due);
    coir_loop_free(loop);
}

TEST(timer, slack_can_be_none_or_endless)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    named n;
    static const int64_t none[] = {0, -5, INT64_MIN};
    for (int i = 0; i < 3; i++) {
        coir_loop_set_timer_slack(loop, none[i]);
        start(loop, &n, NULL, 100 * MS, 0);
        CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
        CHECK_EQ(n.called_at, n.timer.deadline_ns);
    }
    coir_loop_set_timer_slack(loop, COIR_FOREVER); /* all are short */
    start(loop, &n, NULL, 100 * S, 0);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_ONCE), 0);
    CHECK_EQ(n.called_at, n.timer.deadline_ns);
    coir_loop_free(loop);
}

/* Of the clock that users have; what others do in fakes they set. */
TEST(timer, slack_is_a_millisecond_by_default)
{
    coir_loop *loop;
    CHECK_EQ(coir_loop_new(&loop, 0), 0);
    CHECK_EQ(loop->timer_slack, MS);
    coir_loop_free(loop);
}

TEST(timer, hundred_thousand)
{
    coir_test_timeout(60);
    coir_test_random r;
    coir_test_random_init(&r);
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    int count = coir_test_is_slow() ? 5000 : 100000;
    named *n = calloc((size_t)count, sizeof *n);
    CHECK(n != NULL);
    int64_t last = 0;
    for (int i = 0; i < count; i++)
        start(loop, &n[i], NULL, random_time(&r), 0);
    coir_loop_verify(loop);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(n[i].calls, 1);
        CHECK(n[i].called_at >= n[i].timer.deadline_ns);
        if (n[i].called_at > last)
            last = n[i].called_at;
    }
    CHECK_EQ(last, coir_loop_now(loop));
    free(n);
    coir_loop_free(loop);
}

TEST(timer, next_is_known_exactly_when_it_is_near)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    CHECK_EQ(coir_loop_next_timer(loop), COIR_FOREVER);
    named far = {0}, near = {0};
    start(loop, &far, NULL, 5000 * S, 0);
    int64_t deadline = far.timer.deadline_ns;
    CHECK(coir_loop_next_timer(loop) > coir_loop_now(loop));
    CHECK(coir_loop_next_timer(loop) <= deadline);
    start(loop, &near, NULL, MS + 7, 0);
    CHECK_EQ(coir_loop_next_timer(loop), near.timer.deadline_ns);
    coir_timer_stop(loop, &near.timer);
    CHECK(coir_loop_next_timer(loop) > coir_loop_now(loop) + S);
    CHECK(coir_loop_next_timer(loop) <= deadline);
    coir_loop_verify(loop);
    run_at(loop, &f, deadline - 1);
    CHECK_EQ(far.calls, 0);
    CHECK_EQ(coir_loop_next_timer(loop), deadline);
    run_at(loop, &f, deadline);
    CHECK_EQ(far.calls, 1);
    CHECK_EQ(coir_loop_next_timer(loop), COIR_FOREVER);
    coir_loop_free(loop);
}

TEST(timer, seconds_are_rounded_up)
{
    CHECK_EQ(coir__from_seconds(1.0), S);
    CHECK_EQ(coir__from_seconds(0.1), 100 * MS);
    CHECK_EQ(coir__from_seconds(1e-10), 1);
    CHECK_EQ(coir__from_seconds(0.0), 0);
    CHECK_EQ(coir__from_seconds(-1.5), -1500 * MS);
    CHECK_EQ(coir__from_seconds(1e300), COIR_FOREVER);
    CHECK_EQ(coir__from_seconds(-1e300), INT64_MIN);
    CHECK_EQ(coir__from_seconds(__builtin_nan("")), 0);
}
