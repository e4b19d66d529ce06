/* random.c - random operations on watchers of most types, in callbacks too:
 * the same sequence of calls on both sides. The numbers are the program's own,
 * so that a case does the same each time. */
#include "case.h"

#define EACH 3
#define STEPS 400

static unsigned long long state;

static unsigned
draw(unsigned below)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % below;
}

static ev_io ios[EACH];
static ev_timer timers[EACH];
static ev_periodic periodics[EACH];
static ev_signal signals[EACH];
static ev_idle idles[EACH];
static ev_prepare prepares[EACH];
static ev_check checks[EACH];
static ev_async asyncs[EACH];
static int fds[2];
static int callbacks;

/* Has been sent. What becomes of a signal whose watcher is stopped meanwhile,
 * for more than a turn, is not documented: none of these is stopped again. */
static int fed[EACH];

static void operate(EV_P);

/* All of them have a name in `data`, as in "timer 2". */
#define CALLBACK(type)                                                        \
    ON(type, on_##type)                                                       \
    {                                                                         \
        say("  %s: %s, active %d", (const char *)w->data, names_of(revents),  \
            !!ev_is_active(w));                                               \
        if (++callbacks < 20 * STEPS && draw(3) == 0)                         \
            operate(EV_A);                                                    \
    }
CALLBACK(io)
CALLBACK(timer)
CALLBACK(periodic)
CALLBACK(signal)
CALLBACK(idle)
CALLBACK(prepare)
CALLBACK(check)
CALLBACK(async)

/* Deadlines are all in the past, and later from start to start, since those of
 * the same deadline have no order in libev. */
static void
set_timer(ev_timer *w)
{
    static int started;
    ev_timer_set(w, -1 + 0.0001 * ++started, 0);
}

static void
set_periodic(ev_periodic *w)
{
    static int started;
    ev_periodic_set(w, 1000 + ++started, 0, NULL);
}

/* One operation on a watcher of any type; `prepared` comes before a start. */
#define OPERATE(type, w, prepared)                                            \
    switch (draw(6)) {                                                        \
    case 0:                                                                   \
    case 1:                                                                   \
        if (!ev_is_active(w)) {                                               \
            prepared;                                                         \
            ev_##type##_start(EV_A_(w));                                      \
        }                                                                     \
        break;                                                                \
    case 2:                                                                   \
        ev_##type##_stop(EV_A_(w));                                           \
        break;                                                                \
    case 3:                                                                   \
        ev_feed_event(EV_A_(w), EV_CUSTOM);                                   \
        break;                                                                \
    case 4:                                                                   \
        say("  cleared %d", ev_clear_pending(EV_A_(w)));                      \
        break;                                                                \
    case 5:                                                                   \
        if (!ev_is_active(w) && !ev_is_pending(w))                            \
            ev_set_priority((w), (int)draw(5) - 2);                           \
        break;                                                                \
    }

static void
operate(EV_P)
{
    unsigned i = draw(EACH);
    switch (draw(12)) {
    case 0:
        OPERATE(io, &ios[i], (void)0)
        break;
    case 1:
        OPERATE(timer, &timers[i], set_timer(&timers[i]))
        break;
    case 2:
        OPERATE(periodic, &periodics[i], set_periodic(&periodics[i]))
        break;
    case 3:
        if (!fed[i])
            OPERATE(signal, &signals[i], (void)0)
        break;
    case 4:
        OPERATE(idle, &idles[i], (void)0)
        break;
    case 5:
        OPERATE(prepare, &prepares[i], (void)0)
        break;
    case 6:
        OPERATE(check, &checks[i], (void)0)
        break;
    case 7:
        OPERATE(async, &asyncs[i], (void)0)
        break;
    case 8:
        if (ev_is_active(&asyncs[i]))
            ev_async_send(EV_A_ &asyncs[i]);
        break;
    case 9:
        if (ev_is_active(&signals[i])) {
            ev_feed_signal(signals[i].signum);
            fed[i] = 1;
        }
        break;
    case 10:
        if (ev_depth(EV_A) < 3) {
            say("  run in %u", ev_depth(EV_A));
            ev_run(EV_A_ EVRUN_NOWAIT);
            say("  back in %u", ev_depth(EV_A));
        }
        break;
    case 11:
        if (ev_depth(EV_A) > 0)
            ev_break(EV_A_(int) draw(3));
        break;
    }
}

static char names[8][EACH][16];

#define INIT(number, type, plural, ...)                                       \
    for (int i = 0; i < EACH; i++) {                                          \
        (void)sprintf(names[number][i], #type " %d", i);                      \
        ev_##type##_init(&plural[i], on_##type, ##__VA_ARGS__);               \
        NAME(&plural[i], names[number][i]);                                   \
    }

static void
run_random(unsigned seed)
{
    static const int signums[EACH] = {SIGUSR1, SIGHUP, SIGUSR2};
    DEFAULT_LOOP;
    state = seed;
    make_pipe(fds);
    INIT(0, io, ios, fds[1], EV_WRITE)
    INIT(1, timer, timers, 0, 0)
    INIT(2, periodic, periodics, 1, 0, NULL)
    INIT(3, signal, signals, signums[i])
    INIT(4, idle, idles)
    INIT(5, prepare, prepares)
    INIT(6, check, checks)
    INIT(7, async, asyncs)
    for (int step = 0; step < STEPS; step++) {
        for (unsigned n = draw(6); n > 0; n--)
            operate(EV_A);
        say("%d: runs on %d", step, !!ev_run(EV_A_ EVRUN_NOWAIT));
        ev_verify(EV_A);
    }
    say("callbacks %d", callbacks > STEPS);
}

#define RANDOM_CASE(seed)                                                     \
    CASE(random_##seed)                                                       \
    {                                                                         \
        run_random(seed);                                                     \
    }
RANDOM_CASE(1)
RANDOM_CASE(2)
RANDOM_CASE(3)
RANDOM_CASE(4)
RANDOM_CASE(5)
RANDOM_CASE(6)
RANDOM_CASE(7)
RANDOM_CASE(8)
