/* timers.c - a hundred thousand timers.
 *
 * Each has a deadline in the next fifth of a second. Half of them are stopped,
 * a tenth is put off. The others, and those, are called: never early, by their
 * deadlines, and those with the same deadline in the order in which they were
 * started or put off. None of these calls gets slower with the number. */
#include <coir.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 100000, SPREAD_MS = 200 };

typedef struct task {
    coir_timer timer; /* first, so that it can be cast back */
    int64_t deadline_ns;
    int order; /* of the starts */
} task;

static task tasks[COUNT];
static task last; /* as it was when it was called */
static int started, called, early, misplaced;

static void
fire(coir_loop *loop, coir_timer *w, int revents)
{
    task *t = (task *)w;
    called++;
    early += coir_clock_monotonic() < t->deadline_ns;
    misplaced += t->deadline_ns < last.deadline_ns ||
                 (t->deadline_ns == last.deadline_ns && t->order < last.order);
    last.deadline_ns = t->deadline_ns;
    last.order = t->order;
}

/* Whole milliseconds: with some 500 timers for each many are equal. */
static int64_t
some_time(void)
{
    return (1 + rand() % SPREAD_MS) * COIR_NS_PER_MS;
}

static void
start(coir_loop *loop, task *t)
{
    int64_t timeout_ns = some_time();
    coir_timer_init(&t->timer, fire, timeout_ns, 0);
    coir_timer_start(loop, &t->timer);
    t->deadline_ns = coir_loop_now(loop) + timeout_ns;
    t->order = ++started;
}

static void
put_off(coir_loop *loop, task *t)
{
    int64_t timeout_ns = SPREAD_MS * COIR_NS_PER_MS + some_time();
    coir_timer_defer(loop, &t->timer, timeout_ns);
    t->deadline_ns = coir_loop_now(loop) + timeout_ns;
    t->order = ++started;
}

int
main(void)
{
    coir_loop *loop;
    if (coir_loop_new(&loop, 0) < 0)
        return 1;
    for (int i = 0; i < COUNT; i++)
        start(loop, &tasks[i]);
    for (int i = 0; i < COUNT; i += 2)
        coir_timer_stop(loop, &tasks[i].timer);
    for (int i = 1; i < COUNT; i += 10)
        put_off(loop, &tasks[i]);
    coir_loop_run(loop, 0); /* until no timer is active */
    printf("%d called, %d early, %d out of order\n", called, early, misplaced);
    coir_loop_free(loop);
    return 0;
}
