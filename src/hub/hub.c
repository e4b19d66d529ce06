/* hub.c - the scheduler of green threads.
 *
 * States of a green thread, and who moves it:
 *
 *     spawn --> READY --> RUNNING --> ENDED --> joined, or detached: unused
 *                 ^          |
 *                 |          v
 *                 +------ WAITING     by coir__ready(), in this thread only
 *
 * Whoever leaves the processor switches to the next ready one itself; the
 * hub's own coroutine is switched to when there is none, or when the budget of
 * this turn is used up. It runs the loop once, whose callbacks make others
 * ready, and goes on with these.
 *
 * A wait can be ended by several: what is waited for, the timer, a cancel, the
 * report of a deadlock. The one that wins is the one that takes the waiter out
 * of what it waits for (`leave`): what it waits for may belong to several
 * threads and has a lock of its own. All else happens in the hub's thread.
 *
 * Other threads put parcels into an inbox, a stack that is taken as a whole,
 * and wake the loop. Nothing else of a hub is touched by them.
 *
 * The coroutines of ended green threads are kept and used again, as they are:
 * to spawn is to fill in a few fields, to start is to resume, and to end is to
 * wait. Above a number of them, and for stacks of unusual kinds, the coroutine
 * ends, and only the control block is used again. */
#include "hub/internal.h"
#include "base/fork.h"
#include "coro/switch.h"
#include "loop/internal.h"

#include <assert.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUDGET 100
/* If they took less time than that, it is used again, so often at most. */
#define EARLY_NS 10000
#define ROUNDS_MAX 16
/* Coroutines that are kept when their green thread has ended. */
#define KEPT_MAX 1024
#define UNUSED_MAX 1024

COIR__THREAD_LOCAL coir_hub *coir__hub;

/* --- the ready queue ----------------------------------------------------- */

static inline void
push_ready(coir_hub *hub, coir_green *g)
{
    g->state = COIR_GREEN_READY;
    g->next_ready = NULL;
    *hub->ready_tail = g;
    hub->ready_tail = &g->next_ready;
}

/* Where there are many, most are not in the cache, and what a switch reads is
 * known only bit by bit: the control block, then where the stack is. So have
 * the stack of the next one fetched, and the control block of the one after
 * it, while this one runs. GCC takes a function that does nothing but prefetch
 * for one that does nothing: inlined before it is looked at. */
static inline __attribute__((always_inline)) void
fetch_ahead(const coir_green *next)
{
    if (next == NULL)
        return;
    /* A number: one that has not begun has no frame yet. */
    uintptr_t frame = (uintptr_t)next->co->ctx.sp;
    __builtin_prefetch((const void *)frame);
    __builtin_prefetch((const void *)(frame + 64));
    if (next->next_ready != NULL) {
        __builtin_prefetch(next->next_ready);
        __builtin_prefetch(&next->next_ready->coro);
    }
}

static inline coir_green *
pop_ready(coir_hub *hub)
{
    coir_green *g = hub->ready;
    hub->ready = g->next_ready;
    if (hub->ready == NULL)
        hub->ready_tail = &hub->ready;
    fetch_ahead(hub->ready);
    return g;
}

void
coir__ready(coir_hub *hub, coir_green *g, int result)
{
    assert(g->state == COIR_GREEN_WAITING);
    g->wake_result = result;
    push_ready(hub, g);
}

/* To start it, or with slices to be moved. */
static COIR__COLD int
switch_slowly(coir_coro *to)
{
    (void)coir_coro_switch(to, NULL, NULL);
    return !coir_coro_switch_failed();
}

/* Switch to a coroutine of this hub. Returns when the running one is resumed;
 * 0 at once if `to` is a slice for which there is no memory. Inlined: a call
 * less whose return would not be predicted. */
static inline __attribute__((always_inline)) int
switch_to(coir__thread *t, coir_coro *to)
{
    if (coir__unlikely(!coir__coro_is_swappable(t, to)))
        return switch_slowly(to);
    coir__coro_swap(t, to);
    return 1;
}

/* Leave the running green thread, which is in the ready queue, waits or has
 * ended. */
static void
switch_away(coir_hub *hub, coir_green *self)
{
    if (coir__likely(hub->ready != NULL && hub->left > 0)) {
        hub->left--;
        coir_green *next = pop_ready(hub);
        next->state = COIR_GREEN_RUNNING;
        if (next == self)
            return;
        hub->current = next;
        if (coir__likely(switch_to(hub->thread, next->co)))
            return;
        push_ready(hub, next); /* later */
    }
    hub->current = NULL;
    (void)switch_to(hub->thread, &hub->coro);
}

/* --- waiting ------------------------------------------------------------- */

int
coir__interrupt(coir_green *g, int err)
{
    if (g->state != COIR_GREEN_WAITING || (g->leave != NULL && !g->leave(g)))
        return 0;
    coir__ready(g->hub, g, err);
    return 1;
}

/* For waits that only the hub ends: coir_unpark() is not for them. */
static int
leave_at_once(coir_green *g)
{
    (void)g;
    return 1;
}

static void
time_is_over(coir_loop *loop, coir_timer *timer, int revents)
{
    (void)loop;
    (void)revents;
    coir_green *g = timer->data;
    (void)coir__interrupt(g, COIR_ETIMEDOUT);
}

int
coir__park(coir_hub *hub, coir_green *g, const char *what, const void *object,
           int64_t deadline_ns, int (*leave)(coir_green *g), void *wait_data)
{
    g->state = COIR_GREEN_WAITING;
    g->leave = leave;
    g->wait_data = wait_data;
    g->what = what;
    g->object = object;
    g->since_ns = coir_loop_now(hub->loop);
    if (g->deadline_ns < deadline_ns)
        deadline_ns = g->deadline_ns;
    if (deadline_ns != COIR_FOREVER) {
        coir_timer_init(&g->timer, time_is_over,
                        deadline_ns - coir_loop_now(hub->loop), 0);
        g->timer.data = g;
        coir_timer_start(hub->loop, &g->timer);
    }
    switch_away(hub, g);
    if (deadline_ns != COIR_FOREVER)
        coir_timer_stop(hub->loop, &g->timer);
    g->what = "";
    return g->wake_result;
}

int
coir_park(const char *what, const void *object, int64_t timeout_ns)
{
    coir_green *g = coir__running();
    if (g == NULL)
        return coir__hub != NULL ? COIR_EINVAL : COIR_ENOMEM;
    int err = coir__may_wait(g);
    if (err < 0)
        return err;
    return coir__park(g->hub, g, what, object,
                      coir__deadline_after(g->hub, timeout_ns), NULL, NULL);
}

int
coir_unpark(coir_green *g, int result)
{
    if (g->state != COIR_GREEN_WAITING || g->leave != NULL)
        return 0;
    coir__ready(g->hub, g, result);
    return 1;
}

int
coir_yield(void)
{
    coir_green *g = coir__running();
    if (g == NULL)
        return coir__hub != NULL ? COIR_EINVAL : COIR_ENOMEM;
    push_ready(g->hub, g);
    switch_away(g->hub, g);
    return coir__may_wait(g);
}

int
coir_sleep(int64_t timeout_ns)
{
    coir_green *g = coir__running();
    if (g == NULL)
        return coir__hub != NULL ? COIR_EINVAL : COIR_ENOMEM;
    int64_t at = coir__deadline_after(g->hub, timeout_ns);
    int err = coir__may_wait(g);
    if (err == 0)
        err = coir__park(g->hub, g, "sleep", NULL, at, leave_at_once, NULL);
    /* Its own time is over, or a deadline before that. */
    return err == COIR_ETIMEDOUT && at <= g->deadline_ns ? 0 : err;
}

/* --- green threads that come and go -------------------------------------- */

static void
link_all(coir_hub *hub, coir_green *g)
{
    g->prev = NULL;
    g->next = hub->all;
    if (hub->all != NULL)
        hub->all->prev = g;
    hub->all = g;
}

static void
unlink_all(coir_hub *hub, coir_green *g)
{
    if (g->next != NULL)
        g->next->prev = g->prev;
    if (g->prev != NULL)
        g->prev->next = g->next;
    else
        hub->all = g->next;
}

/* Free a control block that has no coroutine. */
static void
free_green(coir_hub *hub, coir_green *g)
{
    unlink_all(hub, g);
    coir_free(g);
}

/* NULL: there is none. */
static coir_green *
take_unused(coir_hub *hub)
{
    coir_green *g = hub->unused;
    if (g != NULL) {
        hub->unused = g->next_ready;
        hub->unused_count--;
    }
    return g;
}

/* Nobody knows it any more. It may be the one that is just ending. */
void
coir__dispose(coir_hub *hub, coir_green *g)
{
    g->disposed = 1;
    if (atomic_load_explicit(&g->cancel_sent, memory_order_relaxed))
        return; /* on its way here: open_cancel() */
    hub->greens--;
    if (g->kept) {
        g->next_ready = hub->idle;
        hub->idle = g;
        return;
    }
    /* The newest one may still run, so room is made by the one before. */
    if (coir__unlikely(hub->unused_count == UNUSED_MAX))
        free_green(hub, take_unused(hub));
    g->next_ready = hub->unused;
    hub->unused = g;
    hub->unused_count++;
}

/* Take the coroutine of an idle one away, and its stack. */
static COIR__COLD void
drop(coir_hub *hub, coir_green *g)
{
    g->kept = 0;
    hub->kept--;
    coir__coro_abandon(&g->coro);
    free_green(hub, g);
}

/* Returns whether there were any. */
static COIR__COLD int
drop_idle(coir_hub *hub)
{
    int any = hub->idle != NULL;
    coir_green *g;
    while ((g = hub->idle) != NULL) {
        hub->idle = g->next_ready;
        drop(hub, g);
    }
    return any;
}

/* What differs from one use to the next. */
static inline void
set_up(coir_green *g)
{
    g->cancelled = 0;
    g->disposed = 0;
    g->shields = 0;
    g->what = "";
    g->deadline_ns = g->inherited_ns = COIR_FOREVER;
    g->deadlines = NULL;
    g->joiner = NULL;
    g->scope = NULL;
    g->scopes = NULL;
    g->id = ++g->hub->last_id;
    g->spawner = 0;
}

/* The running one has ended: tell who waits for that. */
static void
announce_end(coir_hub *hub, coir_green *g)
{
    if (coir__unlikely(g->locals != NULL))
        coir__drop_locals(g);
    g->state = COIR_GREEN_ENDED;
    hub->alive--;
    if (g->joiner != NULL)
        coir__ready(hub, g->joiner, 0);
    if (coir__unlikely(g->scope != NULL))
        coir__scope_child_ended(g);
    if (hub->alive == 0 && hub->main_waits_for_all) {
        hub->main_waits_for_all = 0;
        coir__ready(hub, hub->main, 0);
    }
}

/* End its coroutine: on to another one. */
static _Noreturn void
leave_for_good(coir_hub *hub, coir_green *g)
{
    if (g->detached)
        coir__dispose(hub, g);
    coir_coro *to = &hub->coro;
    hub->current = NULL;
    /* The thread's stack may be in use by slices, for whose copies there may
     * be no memory; the hub tries such switches again, one that has ended
     * cannot. */
    if (hub->ready != NULL && hub->left > 0 &&
        (!hub->has_slices || (hub->ready != &hub->first &&
                              hub->ready->co->policy != COIR_POLICY_SLICE))) {
        coir_green *next = pop_ready(hub);
        hub->left--;
        next->state = COIR_GREEN_RUNNING;
        hub->current = next;
        to = next->co;
    }
    coir_coro_exit(to, 0, NULL);
}

/* Of each coroutine: it runs one green thread after the other. While it has
 * none it is suspended here, like one that waits. */
static int
body(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    coir_green *g = arg;
    coir_hub *hub = g->hub;
    for (;;) {
        g->result = g->cancelled ? COIR_ECANCELED : g->fn(g->arg);
        if (coir__unlikely(g == hub->main))
            exit(g->result); /* it took the place of main(), by a fork */
        announce_end(hub, g);
        if (g->is_special || hub->kept >= KEPT_MAX)
            leave_for_good(hub, g);
        g->kept = 1;
        hub->kept++;
        if (g->detached)
            coir__dispose(hub, g);
        switch_away(hub, g);
        g->kept = 0;
        hub->kept--;
        coir__coro_starts(hub->thread);
    }
}

/* Make one with a coroutine, with its stack, so that it can be switched to for
 * sure. */
static COIR__NOINLINE int
make_green(coir_hub *hub, coir_green **out, const coir_green_attr *attr)
{
    coir_green *g = take_unused(hub);
    if (g == NULL) {
        g = coir_calloc(1, sizeof *g);
        if (g == NULL)
            return COIR_ENOMEM;
        g->hub = hub;
        link_all(hub, g);
    }
    hub->greens++;
    g->stack_size = hub->thread->stack_size;
    coir_coro_attr coro = {.parent = &hub->coro,
                           .stack_size = attr->stack_size,
                           .policy = attr->policy};
    int err;
    do {
        err = coir_coro_init(&g->coro, body, g, &coro);
        if (err < 0)
            break;
        err = coir_coro_prepare(&g->coro);
        if (err < 0)
            (void)coir_coro_fini(&g->coro);
    } while (err == COIR_ENOMEM && drop_idle(hub));
    if (err < 0) {
        coir__dispose(hub, g);
        return err;
    }
    g->co = &g->coro;
    g->is_special =
        attr->stack_size != 0 || attr->policy != COIR_POLICY_DEDICATED;
    hub->has_slices |= attr->policy == COIR_POLICY_SLICE;
    *out = g;
    return 0;
}

/* One whose coroutine has a stack of the size that is the default now. NULL:
 * there is none. */
static inline coir_green *
take_idle(coir_hub *hub)
{
    coir_green *g;
    while ((g = hub->idle) != NULL) {
        hub->idle = g->next_ready;
        if (coir__likely(g->stack_size == hub->thread->stack_size)) {
            hub->greens++;
            break;
        }
        drop(hub, g);
    }
    return g;
}

int
coir__spawn(coir_hub *hub, coir_green **out, coir_green_fn *fn, void *arg,
            const coir_green_attr *attr)
{
    coir_green *g = NULL;
    if (coir__likely(attr->stack_size == 0 &&
                     attr->policy == COIR_POLICY_DEDICATED))
        g = take_idle(hub);
    if (coir__unlikely(g == NULL)) {
        int err = make_green(hub, &g, attr);
        if (err < 0)
            return err;
    }
    set_up(g);
    g->coro.name = attr->name;
    g->fn = fn;
    g->arg = arg;
    g->detached = attr->detached != 0;
    if (hub->current != NULL) {
        g->spawner = hub->current->id;
        g->deadline_ns = g->inherited_ns = hub->current->deadline_ns;
    }
    hub->alive++;
    if (coir__unlikely(hub->sim != NULL))
        coir__sim_spawned(hub, g);
    push_ready(hub, g);
    *out = g;
    return 0;
}

int
coir_spawn(coir_green **out, coir_green_fn *fn, void *arg,
           const coir_green_attr *attr)
{
    static const coir_green_attr defaults;
    if (attr == NULL)
        attr = &defaults;
    if (fn == NULL || (out == NULL && !attr->detached))
        return COIR_EINVAL;
    coir_hub *hub = coir_hub_get();
    if (hub == NULL)
        return COIR_ENOMEM;
    coir_green *g;
    int err = coir__spawn(hub, &g, fn, arg, attr);
    if (err < 0)
        return err;
    g->spawned_at = __builtin_return_address(0);
    if (out != NULL)
        *out = g;
    return 0;
}

const char coir__what_join[] = "join";

static int
leave_join(coir_green *g)
{
    ((coir_green *)g->wait_data)->joiner = NULL;
    return 1;
}

int
coir_join(coir_green *g, int *result)
{
    coir_green *self = coir__running();
    if (self == NULL || self == g || g->detached || g->joiner != NULL)
        return COIR_EINVAL;
    coir__sim_point(COIR_FOREVER);
    if (g->state != COIR_GREEN_ENDED) {
        int err = coir__may_wait(self);
        if (err < 0)
            return err;
        g->joiner = self;
        err = coir__park(self->hub, self, coir__what_join, g, COIR_FOREVER,
                         leave_join, g);
        if (err < 0)
            return err;
    }
    if (result != NULL)
        *result = g->result;
    coir__dispose(self->hub, g);
    return 0;
}

void
coir_detach(coir_green *g)
{
    assert(!g->detached && g->joiner == NULL);
    g->detached = 1;
    if (g->state == COIR_GREEN_ENDED)
        coir__dispose(g->hub, g);
}

coir_green *
coir_self(void)
{
    return coir__running();
}

int
coir_green_state(const coir_green *g)
{
    return g->state;
}

const char *
coir_green_name(const coir_green *g)
{
    return coir_coro_name(g->co);
}

const char *
coir_green_waits_for(const coir_green *g)
{
    return g->state == COIR_GREEN_WAITING ? g->what : "";
}

/* --- the hub's coroutine ------------------------------------------------- */

/* In a simulation `left` stays 0, so that all who leave the processor come
 * here. */
static void
run_ready(coir_hub *hub)
{
    if (coir__unlikely(hub->sim != NULL)) {
        hub->left = 0;
        coir__sim_run_ready(hub);
        return;
    }
    hub->left = hub->budget;
    while (hub->ready != NULL && hub->left > 0) {
        hub->left--;
        coir_green *next = pop_ready(hub);
        next->state = COIR_GREEN_RUNNING;
        hub->current = next;
        if (coir__unlikely(!switch_to(hub->thread, next->co)))
            push_ready(hub, next);
        hub->current = NULL;
    }
}

/* The budget is used up. Is it too early to look at the loop? That is a system
 * call, and takes as long as twenty switches or more. */
static int
is_early(coir_hub *hub)
{
    if (hub->ready == NULL || hub->budget_is_set || !hub->owns_loop ||
        hub->sim != NULL || ++hub->rounds >= ROUNDS_MAX)
        return 0;
    return coir_clock_monotonic() - coir_loop_now(hub->loop) < EARLY_NS;
}

/* What keeps the loop from running for lack of watchers is that another thread
 * may wake it. */
static void
run_loop(coir_hub *hub)
{
    hub->rounds = 0;
    if (hub->ready != NULL) {
        (void)coir_loop_run(hub->loop, COIR_RUN_NOWAIT);
        return;
    }
    int has_nothing = coir__unlikely(hub->sim != NULL)
                          ? coir__sim_is_stuck(hub)
                          : !coir_loop_is_active(hub->loop);
    if (coir__unlikely(has_nothing) && coir__hub_falls_asleep(hub))
        return;
    coir_loop_ref(hub->loop);
    (void)coir_loop_run(hub->loop, COIR_RUN_ONCE);
    coir_loop_unref(hub->loop);
    if (coir__unlikely(has_nothing))
        coir__hub_awakes(hub);
}

static int
hub_body(void *arg, void *value, void **result)
{
    (void)value;
    (void)result;
    coir_hub *hub = arg;
    while (!hub->stop) {
        run_ready(hub);
        if (hub->stop)
            break;
        if (!is_early(hub))
            run_loop(hub);
        if (coir__unlikely(coir__hub == NULL)) /* a callback has forked */
            (void)coir__hub_back();
        if (atomic_load_explicit(&hub->inbox, memory_order_acquire) != NULL)
            coir__open_inbox(hub);
        if (atomic_load_explicit(&hub->calls, memory_order_acquire) != NULL)
            coir__make_calls(hub);
    }
    return 0;
}

static int
leave_run(coir_green *g)
{
    g->hub->main_waits_for_all = 0;
    return 1;
}

int
coir_hub_run(void)
{
    coir_green *g = coir__running();
    if (g == NULL || g != g->hub->main)
        return g == NULL && coir__hub == NULL ? COIR_ENOMEM : COIR_EINVAL;
    int err = coir__may_wait(g);
    if (err < 0 || g->hub->alive == 0)
        return err;
    g->hub->main_waits_for_all = 1;
    return coir__park(g->hub, g, "all others to end", NULL, COIR_FOREVER,
                      leave_run, NULL);
}

void
coir_hub_set_budget(coir_hub *hub, unsigned budget)
{
    hub->budget = budget > 0 ? budget : 1;
    hub->budget_is_set = 1;
}

coir_loop *
coir_hub_loop(coir_hub *hub)
{
    return hub->loop;
}

/* --- making and freeing -------------------------------------------------- */

static void
free_hub(coir_hub *hub)
{
    (void)drop_idle(hub);
    coir_green *g;
    while ((g = take_unused(hub)) != NULL)
        coir_free(g);
    coir__drop_locals(&hub->first);
    coir__selects_free(hub);
    if (hub->owns_loop)
        coir_loop_free(hub->loop);
    coir_free(hub);
}

static void
send_guests_away(coir_hub *hub)
{
    while (hub->guests != NULL)
        hub->guests->leave(hub->guests);
}

/* The thread ends; its coroutines are abandoned after this. */
static void
at_thread_exit(void)
{
    coir_hub *hub = coir__hub;
    if (hub == NULL || coir_hub_fini() == 0)
        return;
    send_guests_away(hub);
    coir__hub = NULL;
    coir__hub_delist(hub);
    /* It stays, with its loop, as other threads may come to wake those who
     * wait; in a list, so that leak checkers find it. */
    static coir_hub *_Atomic abandoned;
    coir_hub *next = atomic_load(&abandoned);
    do
        hub->listed.next = next;
    while (!atomic_compare_exchange_weak(&abandoned, &next, hub));
}

/* A loop that is not ours already, in hub->loop, stays the caller's. */
static int
init_hub(coir_hub *hub, coir_coro *main_co)
{
    int err = 0;
    if (main_co == NULL)
        return COIR_ENOMEM;
    hub->thread = coir__self;
    hub->forks = coir__forks;
    hub->ready_tail = &hub->ready;
    hub->budget = hub->left = BUDGET;
    hub->owns_loop = hub->loop == NULL;
    if (hub->owns_loop)
        err = coir_loop_new(&hub->loop, 0);
    if (err < 0)
        return err;
    coir_coro_attr attr = {.name = "hub", .parent = main_co};
    err = coir_coro_init(&hub->coro, hub_body, hub, &attr);
    if (err == 0) {
        err = coir_coro_prepare(&hub->coro);
        if (err < 0)
            (void)coir_coro_fini(&hub->coro);
    }
    if (err < 0) {
        if (hub->owns_loop)
            coir_loop_free(hub->loop);
        return err;
    }
    coir_green *g = hub->main = hub->current = &hub->first;
    g->hub = hub;
    link_all(hub, g);
    set_up(g);
    g->co = main_co;
    g->state = COIR_GREEN_RUNNING;
    return 0;
}

COIR__COLD coir_hub *
coir__hub_make(coir_loop *loop)
{
    coir_hub *hub = coir_calloc(1, sizeof *hub);
    if (hub == NULL)
        return NULL;
    hub->loop = loop;
    if (init_hub(hub, coir_coro_main()) < 0) {
        coir_free(hub);
        return NULL;
    }
    hub->thread->at_exit = at_thread_exit;
    coir__hub_watch_forks();
    coir__hub = hub;
    coir__hub_enlist(hub);
    return hub;
}

coir_hub *
coir_hub_get(void)
{
    coir_hub *hub = coir__hub_if_any();
    return coir__likely(hub != NULL) ? hub : coir__hub_make(NULL);
}

int
coir_hub_fini(void)
{
    coir_hub *hub = coir__hub_if_any();
    if (hub == NULL)
        return 0;
    coir__open_inbox(hub); /* which may dispose of some */
    if (hub->greens > 0 || hub->current != &hub->first)
        return COIR_EBUSY;
    if (hub->sim != NULL)
        return 0; /* it goes with the simulation */
    /* The hub's coroutine ends by returning, to its parent: us. */
    if (coir_coro_state(&hub->coro) != COIR_CORO_NEW) {
        hub->stop = 1;
        hub->current = NULL;
        (void)coir_coro_switch(&hub->coro, NULL, NULL);
    }
    (void)coir_coro_fini(&hub->coro);
    send_guests_away(hub);
    while (atomic_load(&hub->senders) > 0)
        (void)sched_yield();
    coir__open_inbox(hub); /* what was sent to guests */
    coir__hub = NULL;
    coir__hub_delist(hub);
    hub->thread->at_exit = NULL;
    free_hub(hub);
    return 0;
}

/* --- for simulations ----------------------------------------------------- */

coir_hub *
coir__hub_make_sim(coir_loop *loop, coir_coro *main_co, coir__sim *sim)
{
    coir_hub *hub = coir_calloc(1, sizeof *hub);
    if (hub == NULL)
        return NULL;
    hub->loop = loop;
    if (init_hub(hub, main_co) < 0) {
        coir_free(hub);
        return NULL;
    }
    hub->sim = sim;
    hub->left = 0;
    coir__hub = hub;
    return hub;
}

_Noreturn void
coir__hub_end_main(coir_hub *hub, coir_coro *to)
{
    coir__drop_locals(&hub->first);
    coir_coro_exit(to, 0, NULL);
}

static void
abandon_coro(coir_coro *co)
{
    if (coir_coro_state(co) == COIR_CORO_SUSPENDED)
        coir__coro_abandon(co);
    else
        (void)coir_coro_fini(co);
}

void
coir__hub_abandon(coir_hub *hub)
{
    coir_green *g = hub->all;
    while (g != NULL) {
        coir_green *next = g->next;
        abandon_coro(g->co);
        coir__forget_locals(g);
        if (g != &hub->first)
            coir_free(g);
        g = next;
    }
    abandon_coro(&hub->coro);
    coir__selects_free(hub);
    coir__hub = NULL;
    coir_free(hub);
}

coir_green *
coir__hub_pop_ready(coir_hub *hub)
{
    return pop_ready(hub);
}

void
coir__hub_push_ready(coir_hub *hub, coir_green *g)
{
    push_ready(hub, g);
}

void
coir__hub_run_one(coir_hub *hub, coir_green *g)
{
    g->state = COIR_GREEN_RUNNING;
    hub->current = g;
    if (coir__unlikely(!switch_to(hub->thread, g->co)))
        push_ready(hub, g);
    hub->current = NULL;
}

void
coir__hub_run_only(coir_hub *hub)
{
    if (hub == NULL || hub->current != NULL || hub->ready == NULL ||
        hub->ready->next_ready != NULL || hub->left == 0)
        return;
    hub->left--;
    coir__hub_run_one(hub, pop_ready(hub));
}

void
coir__hub_yield(coir_hub *hub, coir_green *g)
{
    push_ready(hub, g);
    switch_away(hub, g);
}
