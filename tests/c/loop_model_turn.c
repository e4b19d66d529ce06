/* loop_model_turn.c - the plain model of a loop, see loop_model.h: turns.
 *
 * A turn is a machine of phases, a frame per coir_loop_run() under way:
 *
 *     INVOKE_FIRST -> [INVOKE_FORK] -> [INVOKE_PREPARE] -> APPLY -> WAIT
 *                           ^                                        |
 *                           +------------ INVOKE_LAST <--------------+
 *
 * It moves when the loop is seen to do something, not before: then it passes
 * all phases in which nothing is left to be seen, and stops at one in which
 * this may come. Watchers of the loop's own are called in passing. So nothing
 * needs to be known of the loop but what it must do. */
#include "loop/internal.h"
#include "loop_model.h"

/* As in the loop: how long it waits at most while it looks for closed
 * descriptors, and for jumps of the wall clock. */
#define AUDIT_WAIT_NS (100 * COIR_NS_PER_MS)
#define JUMP_WAIT_NS (60 * COIR_NS_PER_S)

/* --- phases -------------------------------------------------------------- */

static void
invoke_phase(model *m, model_frame *f, model_phase phase)
{
    f->phase = phase;
    f->hook = m->hook;
    f->skip = 0;
}

static int64_t
wait_limit(const model *m)
{
    /* At most: some timers are exact. */
    int64_t due = model__due_in(m, m->timer_slack);
    return due > m->timer_collect ? due : m->timer_collect;
}

/* Is there nothing yet that the wait is to end for? */
static int
waits_on(model *m, const model_frame *f)
{
    if (!f->blocks || f->interrupted || m->pending_count > 0 ||
        m->reset != 0 || m->wake_pending)
        return 0;
    model_time_update(m);
    return model__due_in(m, 0) > 0;
}

static void
leave_wait(model *m, model_frame *f)
{
    m->wake_wanted = 0;
    if (!f->fed_always)
        model__feed_always(m);
    model_time_update(m);
    m->epoch++;
    if (m->wake_pending)
        model__feed(m, ITEM_WAKE, COIR_CUSTOM, 0);
    model__expire_timers(m);
    model__expire_periodics(m);
    model__feed_idle(m);
    model__feed_kind(m, KIND_CHECK, COIR_CHECK);
    invoke_phase(m, f, PHASE_INVOKE_LAST);
}

/* From the end of an INVOKE phase to the next one. */
static void
next_phase(model *m, model_frame *f)
{
    switch (f->phase) {
    case PHASE_INVOKE_LAST:
        if (m->active <= 0 || m->done != COIR_BREAK_CANCEL ||
            (f->flags & (COIR_RUN_ONCE | COIR_RUN_NOWAIT))) {
            f->phase = PHASE_DONE;
            break;
        }
        /* fall through */
    case PHASE_INVOKE_FIRST:
        if (m->reset == COIR__RESET_FORK && model__has_kind(m, KIND_FORK)) {
            model__feed_kind(m, KIND_FORK, COIR_FORK);
            invoke_phase(m, f, PHASE_INVOKE_FORK);
            return;
        }
        /* fall through */
    case PHASE_INVOKE_FORK:
        if (model__has_kind(m, KIND_PREPARE)) {
            model__feed_kind(m, KIND_PREPARE, COIR_PREPARE);
            invoke_phase(m, f, PHASE_INVOKE_PREPARE);
            return;
        }
        /* fall through */
    default:
        if (m->done == COIR_BREAK_CANCEL) {
            f->phase = PHASE_APPLY;
            return;
        }
        f->phase = PHASE_DONE;
    }
    if (m->done == COIR_BREAK_ONE)
        m->done = COIR_BREAK_CANCEL;
}

static model_frame *
push(model *m)
{
    CHECK(m->depth < MODEL_FRAMES);
    m->frames[m->depth++] = (model_frame){.before = m->world->running};
    m->world->running = m;
    return model__top(m);
}

static void
pop(model *m, model_phase phase)
{
    CHECK_EQ(model__top(m)->phase, phase);
    CHECK_EQ(m->world->running, m);
    m->world->running = model__top(m)->before;
    m->depth--;
}

/* The outer loop runs the inner one. */
static void
run_inner(model *m)
{
    model_run(m, COIR_RUN_NOWAIT);
    model__top(m)->is_sweep = 1;
}

static void
begin_sweep(model *m, model_sweep why)
{
    model_frame *f = model__top(m);
    f->sweep = why;
    f->sweeps = 0;
    run_inner(m->inner);
}

/* Between two turns of the inner loop its backend is told of changes. */
static void
tell_inner(model *m)
{
    model_frame *f = push(m);
    f->phase = PHASE_APPLY;
    f->is_sweep = f->is_telling = 1;
}

/* All that embed it watch its descriptor, if that is a new one. */
static void
follow_inner(model *m)
{
    for (int i = 0; i < MODEL_SLOTS; i++) {
        const model_item *w = &m->items[i];
        if (w->kind != KIND_EMBED || !w->active ||
            w->resets == m->inner->resets)
            continue;
        model_stop(m, ITEM_PART_A + i);
        model__start_embed_io(m, i);
    }
}

/* The inner loop has run, or told its backend. */
static void
end_sweep(model *m, model_frame *f)
{
    model *inner = m->inner;
    int told = model__top(inner)->is_telling;
    pop(inner, PHASE_DONE);
    if (f->sweep == SWEEP_PREPARE && !told && inner->reset == 0) {
        tell_inner(inner);
        return;
    }
    if (f->sweep == SWEEP_PREPARE && ++f->sweeps < 3 &&
        (model__has_changes(inner) || inner->pending_count > 0)) {
        run_inner(inner);
        return;
    }
    if (f->sweep == SWEEP_PREPARE)
        follow_inner(m);
    f->sweep = SWEEP_NONE;
}

static void
run_stat(model *m, int slot)
{
    model_item *w = &m->items[slot];
    if (w->version == m->world->versions[w->file])
        return;
    w->version = m->world->versions[w->file];
    m->epoch++;
    model__feed(m, slot, COIR_STAT, 0);
}

static int
is_shown(int item)
{
    return item < MODEL_SLOTS || (item >= ITEM_ONCE && item < ITEM_WAKE);
}

/* The loop's own watcher that it calls next, or has called; -1: the next is
 * one of the program's. */
static int
next_own(const model *m)
{
    const model_item *first = &m->items[model__first_pending(m)];
    int own = -1, shown = 0;
    for (int i = 0; i < MODEL_ITEMS; i++) {
        const model_item *w = &m->items[i];
        if (!w->pending || model__comes_before(first, w))
            continue;
        if (is_shown(i))
            shown = 1;
        else if (own < 0 || !coir_is_pending(w->real))
            own = i;
    }
    /* Where the order is not specified, it follows what was done. */
    return own >= 0 && shown && coir_is_pending(m->items[own].real) ? -1 : own;
}

/* Call a watcher of the loop's own, if one is next. */
static int
run_own(model *m)
{
    int i = next_own(m);
    if (i < 0)
        return 0;
    model__unfeed(m, i);
    int slot = i % MODEL_SLOTS;
    if (i == ITEM_WAKE)
        model__run_wake(m, m->items[i].revents);
    else if (m->items[i].kind == KIND_TIMER)
        run_stat(m, slot);
    else if (i >= ITEM_PART_C) {
        m->inner->reset = COIR__RESET_FORK;
        begin_sweep(m, SWEEP_FORK);
    }
    else if (i >= ITEM_PART_B) {
        if (model__has_changes(m->inner))
            begin_sweep(m, SWEEP_PREPARE);
        else
            follow_inner(m);
    }
    else if (m->items[slot].sweeps)
        begin_sweep(m, SWEEP_READABLE);
    else {
        m->epoch++;
        model__feed(m, slot, COIR_EMBED, 0);
    }
    return 1;
}

static int
is_invoking(const model_frame *f)
{
    return f->phase != PHASE_APPLY && f->phase != PHASE_WAIT &&
           f->phase != PHASE_DONE;
}

/* Go on to where the loop can do something that shows, or return. */
static void
advance(model *m)
{
    CHECK_EQ(m->taking_back, -1);
    CHECK_EQ(m->direct, -1);
    model__resolve(m);
    model_frame *f = model__top(m);
    CHECK(f != NULL);
    if (f->phase == PHASE_WAIT && !waits_on(m, f))
        leave_wait(m, f);
    while (is_invoking(f) && !f->hook) {
        if (f->sweep != SWEEP_NONE) {
            CHECK(m->inner != NULL);
            if (m->world->running != m->inner ||
                model__top(m->inner)->phase != PHASE_DONE)
                return;
            end_sweep(m, f);
        }
        else if (!f->skip && m->pending_count > 0) {
            if (!run_own(m))
                return;
        }
        else if (f->phase == PHASE_INVOKE_ALONE)
            return;
        else
            next_phase(m, f);
    }
}

/* It does something else than to tell its backend. */
static void
end_telling(model *m)
{
    if (m->depth == 0 || !model__top(m)->is_telling || m->world->running != m)
        return;
    model__resolve(m);
    model__check_applied(m);
    model__top(m)->phase = PHASE_DONE;
}

/* The loop did something: go on to where it can. Runs of the inner loop by
 * the outer one do not show by themselves. */
static void
proceed(model *m, int tells)
{
    model *inner = m->inner, *outer = m->outer;
    while (inner != NULL && m->world->running == inner &&
           model__top(inner)->is_sweep) {
        end_telling(inner);
        advance(inner);
        CHECK_EQ(model__top(inner)->phase, PHASE_DONE);
        advance(m);
    }
    if (outer != NULL && m->world->running == outer)
        advance(outer);
    if (!tells)
        end_telling(m);
    advance(m);
    while (outer != NULL && model__top(m)->is_sweep &&
           model__top(m)->phase == PHASE_DONE) {
        advance(outer);
        CHECK_EQ(m->world->running, m);
        if (!tells)
            end_telling(m);
        advance(m);
    }
    CHECK_EQ(m->world->running, m);
}

void
model__proceed(model *m)
{
    proceed(m, 0);
}

void
model__proceed_to_modify(model *m)
{
    proceed(m, 1);
}

int
model_has_room(const model *m)
{
    return m->depth < MODEL_FRAMES / 4;
}

void
model_run(model *m, int flags)
{
    model_frame *f = push(m);
    f->flags = flags;
    m->done = COIR_BREAK_CANCEL;
    invoke_phase(m, f, PHASE_INVOKE_FIRST);
}

void
model_ran(model *m)
{
    model__proceed(m);
    pop(m, PHASE_DONE);
}

void
model_invoke_pending(model *m)
{
    push(m)->phase = PHASE_INVOKE_ALONE;
}

void
model_invoked_pending(model *m)
{
    model__proceed(m);
    model_frame *f = model__top(m);
    CHECK(!f->hook && (f->skip || m->pending_count == 0));
    pop(m, PHASE_INVOKE_ALONE);
}

void
model_free(model *m)
{
    model_frame *f = push(m);
    f->phase = PHASE_INVOKE_ALONE;
    f->skip = !model__has_kind(m, KIND_CLEANUP);
    f->hook = m->hook && !f->skip;
    if (!f->skip)
        model__feed_kind(m, KIND_CLEANUP, COIR_CLEANUP);
}

/* --- what the loop does -------------------------------------------------- */

void
model_on_call(model *m, int item, int revents)
{
    if (m->direct >= 0) {
        CHECK_EQ(item, m->direct);
        CHECK_EQ(revents, m->direct_events);
        m->direct = -1;
        return;
    }
    model__proceed(m);
    CHECK(is_invoking(model__top(m)) && !model__top(m)->hook &&
          !model__top(m)->skip);
    const model_item *w = &m->items[item];
    CHECK(w->pending);
    CHECK(!model__comes_before(&m->items[model__first_pending(m)], w));
    CHECK_EQ(revents, w->revents);
    model__unfeed(m, item);
}

void
model_on_once(model *m, int which, int revents)
{
    int item = ITEM_ONCE + 2 * which;
    model__proceed(m);
    CHECK(is_invoking(model__top(m)));
    const model_item *first = &m->items[model__first_pending(m)];
    int is_first = 0, expected = 0;
    for (int i = item; i < item + 2; i++) {
        if (!m->items[i].pending)
            continue;
        is_first |= !model__comes_before(first, &m->items[i]);
        expected |= m->items[i].revents;
    }
    CHECK(is_first);
    CHECK_EQ(revents, expected);
    model_stop(m, item);
    model_stop(m, item + 1);
    m->active--;
}

void
model_on_hook(model *m, int skip)
{
    model__proceed(m);
    CHECK(is_invoking(model__top(m)) && model__top(m)->hook);
    model__top(m)->hook = 0;
    model__top(m)->skip = skip;
}

/* Returns what io_collect asks for. */
static int64_t
begin_wait(model *m)
{
    model_frame *f = model__top(m);
    CHECK(f->phase == PHASE_APPLY && m->reset == 0);
    model__check_applied(m);
    int64_t before = m->now;
    model_time_update(m);
    m->wake_wanted = 1;
    m->iteration++;
    f->phase = PHASE_WAIT;
    f->fed_always = f->interrupted = f->early = 0;
    int blocks = !(f->flags & COIR_RUN_NOWAIT) && m->active > 0 &&
                 !model__has_kind(m, KIND_IDLE) && !model__has_always(m) &&
                 m->pending_count == 0 && !m->wake_pending;
    f->limit = blocks ? wait_limit(m) : 0;
    f->blocks = f->limit > 0;
    int64_t nap = m->io_collect - (m->now - before);
    if (m->io_collect == 0 || nap <= 0)
        return 0;
    return nap < f->limit ? nap : f->limit;
}

void
model_on_sleep(model *m, int64_t timeout)
{
    model__proceed(m);
    int64_t nap = begin_wait(m);
    /* Shorter to turn the wheel of timers. */
    CHECK(timeout > 0 && timeout <= nap);
    CHECK(timeout == nap || model__has_kind(m, KIND_TIMER));
    model__top(m)->limit -= timeout;
    model__top(m)->napped = timeout;
}

void
model_on_wait(model *m, int64_t timeout)
{
    model_frame *f = model__top(m);
    int64_t napped = f != NULL ? f->napped : 0;
    if (napped > 0)
        f->napped = 0;
    else {
        model__proceed(m);
        f = model__top(m);
        if (f->phase == PHASE_WAIT)
            f->limit = wait_limit(m);
        else
            CHECK_EQ(begin_wait(m), 0);
    }
    CHECK(timeout >= 0 && timeout <= f->limit);
    CHECK(timeout > 0 || f->limit == 0 || napped > 0);
    if (timeout < f->limit && timeout != AUDIT_WAIT_NS &&
        (timeout + napped != JUMP_WAIT_NS ||
         !model__has_kind(m, KIND_PERIODIC))) {
        /* To turn the wheel of timers, and for those that were put off. */
        CHECK(model__has_kind(m, KIND_TIMER));
        CHECK(++f->early <= 8 * MODEL_ITEMS);
    }
}

void
model_on_interrupt(model *m)
{
    model__top(m)->interrupted = 1;
}
