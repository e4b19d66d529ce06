/* sim.c - runs of a program from a seed.
 *
 * A simulation is a hub on a loop of its own: its clock is a number, and its
 * backend, when it is to wait, sets that number on and returns. The main green
 * thread is a coroutine made for it, not the thread's, so that a run can be
 * left from wherever it fails: by one switch, to the coroutine that called
 * coir_sim_run() (the runner). That drops the rest: nothing of a program that
 * has ended runs any more, as after exit().
 *
 *     runner --> program, the main green thread <--> others, hub
 *        ^          |                                  |
 *        +----------+----- end, or coir_sim_fail() ----+
 *
 * Everything that a run decides goes into a hash, with the time: two runs with
 * the same hash took the same steps. */
#include "sim/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coro/internal.h"

#define STEP_NS 1000
#define LATE_NS INT64_C(100000)
#define MAX_STEPS 1000000
#define STACK_SIZE ((size_t)256 * 1024)
/* Of COIR_SIM_ALWAYS times: how often a timer is late. */
#define LATE 2500

/* Time begins here: on the wall clock, at 2001-09-09 01:46:40 UTC. */
#define BEGIN_NS (1000 * COIR_NS_PER_S)
#define BEGIN_WALL_NS (INT64_C(1000000000) * COIR_NS_PER_S)

coir__sim *
coir__sim_here(void)
{
    return coir__hub != NULL ? coir__hub->sim : NULL;
}

int
coir_sim_active(void)
{
    return coir__sim_here() != NULL;
}

/* --- the trace ----------------------------------------------------------- */

static COIR__NOINLINE void
format_text(char *text, size_t size, const char *format, va_list args)
{
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
    (void)vsnprintf(text, size, format, args);
}

/* Of a function with the arguments (..., format, ...), into an array. */
#define FORMAT(text, format)                                                  \
    do {                                                                      \
        va_list args;                                                         \
        va_start(args, format);                                               \
        format_text(text, sizeof(text), format, args);                        \
        va_end(args);                                                         \
    } while (0)

void
coir__sim_decided(coir__sim *sim, uint64_t value, const char *format, ...)
{
    uint64_t *hash = &sim->report.hash;
    *hash = coir__mix(*hash + (uint64_t)sim->now_ns);
    *hash = coir__mix(*hash + value);
    if (coir__likely(!(sim->options.flags & COIR_SIM_TRACE)))
        return;
    char text[256];
    FORMAT(text, format);
    int64_t us = (sim->now_ns - BEGIN_NS) / 1000;
    (void)fprintf(stderr, "[%" PRId64 ".%06d] %s\n", us / 1000000,
                  (int)(us % 1000000), text);
}

void
coir_sim_note(const char *format, ...)
{
    coir__sim *sim = coir__sim_here();
    if (sim == NULL)
        return;
    char text[256];
    FORMAT(text, format);
    uint64_t value = 0;
    for (const char *c = text; *c != '\0'; c++)
        value = value * 31 + (unsigned char)*c;
    coir__sim_decided(sim, value, "%s", text);
}

/* --- time ---------------------------------------------------------------- */

static int64_t
read_monotonic(void *user)
{
    return ((coir__sim *)user)->now_ns;
}

static int64_t
read_wall(void *user)
{
    return ((coir__sim *)user)->now_ns - BEGIN_NS + BEGIN_WALL_NS;
}

static void
pass(void *user, int64_t ns)
{
    coir__sim *sim = user;
    sim->now_ns =
        ns < COIR_FOREVER - sim->now_ns ? sim->now_ns + ns : COIR_FOREVER;
}

static int
backend_nothing(coir_loop *loop)
{
    (void)loop;
    return 0;
}

static void
backend_fini(coir_loop *loop)
{
    (void)loop;
}

/* The kernel's descriptors are not of this world. */
static int
backend_modify(coir_loop *loop, int fd, int events)
{
    if (fd == loop->wake_fd)
        return 0;
    return coir__sim_network_modify(loop->backend_data, fd, events);
}

void
coir__sim_step(coir__sim *sim)
{
    if (++sim->report.steps > sim->options.max_steps)
        coir_sim_fail("%" PRIu64 " steps and no end: a livelock?",
                      sim->options.max_steps);
}

/* Nothing is ready: on to the next timer, or a bit after it, so that others
 * that are due soon come at the same time. */
static int
backend_wait(coir_loop *loop, int64_t timeout_ns)
{
    coir__sim *sim = loop->backend_data;
    if (coir__sim_network_tell(sim) || timeout_ns <= 0)
        return 0;
    coir__sim_step(sim);
    if (timeout_ns == COIR_FOREVER) {
        sim->is_stuck = 1;
        return EINTR; /* as if by a signal: to the hub */
    }
    pass(sim, timeout_ns);
    if (sim->options.late_ns > 0 && coir__random_chance(&sim->times, LATE))
        pass(sim, (int64_t)coir__random_below(
                      &sim->times, (uint64_t)sim->options.late_ns + 1));
    return 0;
}

int
coir__sim_is_stuck(coir_hub *hub)
{
    int is_stuck = hub->sim->is_stuck;
    hub->sim->is_stuck = 0;
    return is_stuck && hub->main->state == COIR_GREEN_WAITING;
}

static const coir__backend backend = {.name = "simulation",
                                      .edge = 1,
                                      .init = backend_nothing,
                                      .fini = backend_fini,
                                      .reset = backend_nothing,
                                      .modify = backend_modify,
                                      .wait = backend_wait};

/* --- a run --------------------------------------------------------------- */

static void
set_options(coir__sim *sim, const coir_sim_options *options)
{
    coir_sim_options *o = &sim->options;
    if (options != NULL)
        *o = *options;
    if (o->step_ns == 0)
        o->step_ns = STEP_NS;
    if (o->late_ns == 0)
        o->late_ns = LATE_NS;
    if (o->max_steps == 0)
        o->max_steps = MAX_STEPS;
    if (o->stack_size == 0)
        o->stack_size = STACK_SIZE;
    sim->report.seed = o->seed;
    /* Far from each other, also for seeds that are next to each other. */
    coir__random seeds = {o->seed};
    sim->choices.state = coir__random_next(&seeds);
    sim->times.state = coir__random_next(&seeds);
    sim->network.state = coir__random_next(&seeds);
    sim->numbers.state = coir__random_next(&seeds);
}

static _Noreturn void
leave(coir__sim *sim)
{
    (void)coir_coro_switch(sim->runner, NULL, NULL);
    abort(); /* nobody comes back */
}

static int
program_body(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    coir__sim *sim = arg;
    int status = sim->fn(sim->arg);
    sim->report.result = status;
    if (status < 0)
        coir_sim_fail("the program returned %d (%s)", status,
                      coir_strerror(status));
    coir__hub_end_main(sim->hub, sim->runner);
}

static int
set_up(coir__sim *sim)
{
    sim->now_ns = BEGIN_NS;
    sim->clock = (coir__clock){read_monotonic, read_wall, pass, sim};
    coir__sim_network_init(sim);
    int err = coir__sim_schedule_init(sim);
    if (err < 0)
        return err;
    err =
        coir__loop_new_with(&sim->loop, COIR_LOOP_NOENV | COIR_LOOP_NOTIMERFD,
                            &backend, &sim->clock);
    if (err < 0)
        goto fail_schedule;
    sim->loop->backend_data = sim;
    coir_coro_attr attr = {.name = "main",
                           .stack_size = sim->options.stack_size};
    err = coir_coro_init(&sim->program, program_body, sim, &attr);
    if (err < 0)
        goto fail_loop;
    err = coir_coro_prepare(&sim->program);
    if (err < 0)
        goto fail_coro;
    sim->hub = coir__hub_make_sim(sim->loop, &sim->program, sim);
    if (sim->hub != NULL) {
        coir__sim_spawned(sim->hub, &sim->hub->first);
        return 0;
    }
    err = COIR_ENOMEM;
fail_coro:
    (void)coir_coro_fini(&sim->program);
fail_loop:
    coir_loop_free(sim->loop);
fail_schedule:
    coir__sim_schedule_fini(sim);
    return err;
}

static void
tear_down(coir__sim *sim)
{
    /* Of a program that has ended; and what is pending must not be called. */
    sim->loop->cleanups.count = 0;
    coir__sim_network_fini(sim);
    coir__hub_abandon(sim->hub);
    coir_loop_free(sim->loop);
    coir__sim_schedule_fini(sim);
}

/* In a simulation that is set up. */
static void
run(coir__sim *sim)
{
    sim->runner = coir_coro_current();
    coir__clock_here = &sim->clock;
    __atomic_fetch_add(&coir__sims, 1, __ATOMIC_RELAXED);
    (void)coir_coro_switch(&sim->program, NULL, NULL);
    __atomic_fetch_sub(&coir__sims, 1, __ATOMIC_RELAXED);
    coir__clock_here = NULL;
    sim->report.time_ns = sim->now_ns - BEGIN_NS;
}

int
coir_sim_run(coir_green_fn *program, void *arg,
             const coir_sim_options *options, coir_sim_report *report)
{
    if (program == NULL)
        return COIR_EINVAL;
    if (coir__hub != NULL)
        return COIR_EBUSY;
    coir__sim *sim = coir_calloc(1, sizeof *sim);
    if (sim == NULL)
        return COIR_ENOMEM;
    sim->fn = program;
    sim->arg = arg;
    set_options(sim, options);
    int err = set_up(sim);
    if (err == 0) {
        run(sim);
        tear_down(sim);
        err = sim->failed;
        if (report != NULL)
            *report = sim->report;
    }
    coir_free(sim);
    return err;
}

/* --- many runs ----------------------------------------------------------- */

static uint64_t
number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = secure_getenv(name);
    if (text == NULL || *text == '\0')
        return otherwise;
    char *end;
    uint64_t number = strtoull(text, &end, 0);
    return *end == '\0' ? number : otherwise;
}

/* One seed, once or twice. */
static int
run_seed(coir_green_fn *program, void *arg, const coir_sim_options *options,
         coir_sim_report *report)
{
    int err = coir_sim_run(program, arg, options, report);
    if (err != 0 || !(options->flags & COIR_SIM_TWICE))
        return err;
    uint64_t hash = report->hash;
    err = coir_sim_run(program, arg, options, report);
    if (err != 0 || report->hash == hash)
        return err;
    (void)snprintf(report->message, sizeof report->message,
                   "the same seed did something else: hash %016" PRIx64
                   ", then %016" PRIx64,
                   hash, report->hash);
    return 1;
}

int
coir_sim_search(coir_green_fn *program, void *arg, uint64_t runs,
                const coir_sim_options *options, coir_sim_report *report)
{
    coir_sim_options o = {0};
    coir_sim_report own;
    if (options != NULL)
        o = *options;
    if (report == NULL)
        report = &own;
    runs = number_from_environment("COIR_SIM_RUNS", runs);
    if (secure_getenv("COIR_SIM_SEED") != NULL) {
        o.seed = number_from_environment("COIR_SIM_SEED", o.seed);
        runs = 1;
    }
    if (number_from_environment("COIR_SIM_TRACE", 0))
        o.flags |= COIR_SIM_TRACE;
    for (; runs > 0; runs--, o.seed++) {
        int err = run_seed(program, arg, &o, report);
        if (err == 0)
            continue;
        if (err > 0 && !(o.flags & COIR_SIM_QUIET))
            (void)fprintf(stderr,
                          "coir: simulation: %s\n"
                          "coir: simulation: again with COIR_SIM_SEED=%" PRIu64
                          " (%" PRIu64 " steps, hash %016" PRIx64 ")\n",
                          report->message, report->seed, report->steps,
                          report->hash);
        return err;
    }
    return 0;
}

/* --- for the program ----------------------------------------------------- */

void
coir_sim_fail(const char *format, ...)
{
    coir__sim *sim = coir__sim_here();
    char text[sizeof sim->report.message];
    FORMAT(text, format);
    if (sim == NULL) {
        (void)fprintf(stderr, "coir: %s\n", text);
        abort();
    }
    memcpy(sim->report.message, text, sizeof text);
    sim->failed = 1;
    coir__sim_decided(sim, 0, "failed: %s", text);
    leave(sim);
}

uint64_t
coir_sim_random(void)
{
    coir__sim *sim = coir__sim_here();
    if (sim != NULL)
        return coir__random_next(&sim->numbers);
    uint64_t number;
    while (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        ; /* a signal came first */
    return number;
}

uint64_t
coir_sim_random_below(uint64_t limit)
{
    if (limit <= 1)
        return 0;
    return (uint64_t)(((unsigned __int128)coir_sim_random() * limit) >> 64);
}

void
coir_sim_point(void)
{
    coir__sim_point(COIR_FOREVER);
}
