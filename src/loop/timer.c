/* timer.c - timers: a hierarchical wheel in front of a heap.
 *
 * The wheel counts ticks of about a millisecond. A timer is filed in the slot
 * of the highest digit, to base 256, in which the tick of its deadline differs
 * from the wheel's own; when the wheel comes to that slot it is filed again,
 * one level down at least. So arming and cancelling are a few writes, however
 * many timers there are, and each is moved a few times in its life.
 *
 *     level    0        1       2       3         4          5
 *     a slot   1 ms     268 ms  69 s    4.9 h     52 days    37 years
 *
 * Those of the wheel's present tick, and of earlier ones, are in a pairing
 * heap, by deadline and then by order of arming: to the nanosecond, never
 * early, FIFO. A slot of level 0 comes into it in order, as a chain of only
 * children, off which the first is taken at no cost; the heap is for those
 * that are armed meanwhile. All of it is made of the timers' own members, so
 * that no call here can fail.
 *
 * With a million timers the time is that of fetching them from memory, so a
 * walk through a slot goes along several lists at a time, and the members that
 * it touches lie side by side.
 *
 * The wheel may be ahead of the clock, by level 0 at most: to know the first
 * deadline exactly its slot is emptied into the heap, if the heap is empty.
 * Of one that is further away the beginning of its slot is known; the loop
 * wakes there, to learn more.
 *
 * A deadline that is put off is just noted: deadline_ns. The timer stays where
 * it is filed, under filed_ns, and is filed again when that comes. */
#include "loop/internal.h"

#include <assert.h>
#include <string.h>

#define TICK_SHIFT 20 /* ns to ticks */
#define DIGIT 8
#define SLOTS (1 << DIGIT)
#define LEVELS 6 /* 6 * 8 bits hold all 43 bits of a tick */
#define WORDS (SLOTS / 64)
/* A slot is several lists, so that a walk through them waits for as many
 * timers at a time to come from memory. Those armed together are neighbours in
 * one list, for the sake of order. */
#define LANES 8
#define LANE_OF(w) ((w)->sequence >> 6 & (LANES - 1))
#define RUNS 48

/* In `active`, with COIR__SECONDS and COIR__OWN. */
#define ACTIVE 1

typedef struct slot {
    coir_timer *lanes[LANES];
} slot;

struct coir__timers {
    uint64_t tick;       /* all filed under it or before are in the heap */
    uint64_t sequence;   /* of the last one armed */
    int64_t exact_until; /* no timer that is to be exact is due later */
    coir_timer *root;
    /* Bit: the level, the slot, may have timers; it is cleared when it is
     * found empty. There is no count, which a stop would have to write. */
    unsigned levels;
    uint64_t used[LEVELS][WORDS];
    slot slots[LEVELS][SLOTS];
};

/* --- units --------------------------------------------------------------- */

int64_t
coir__from_seconds(double seconds)
{
    double ns = seconds * 1e9;
    if (ns >= 9223372036854775807.0)
        return COIR_FOREVER;
    if (ns <= -9223372036854775808.0)
        return INT64_MIN;
    if (ns != ns) /* not a number */
        return 0;
    int64_t whole = (int64_t)ns;
    return whole + (ns > (double)whole);
}

double
coir__to_seconds(int64_t ns)
{
    return (double)ns * 1e-9;
}

static inline int64_t
get(const int64_t *field, int flags)
{
    if (coir__likely(!(flags & COIR__SECONDS)))
        return *field;
    double seconds;
    memcpy(&seconds, field, sizeof seconds);
    return coir__from_seconds(seconds);
}

static void
set_timeout(coir_timer *w, int64_t ns)
{
    if (w->active & COIR__SECONDS) {
        double seconds = coir__to_seconds(ns);
        memcpy(&w->timeout_ns, &seconds, sizeof seconds);
    }
    else
        w->timeout_ns = ns;
}

static inline int64_t
after(int64_t now, int64_t timeout_ns)
{
    if (timeout_ns <= 0)
        return now;
    return timeout_ns < COIR_FOREVER - now ? now + timeout_ns : COIR_FOREVER;
}

static inline uint64_t
tick_of(int64_t ns)
{
    return ns > 0 ? (uint64_t)ns >> TICK_SHIFT : 0;
}

/* A timer in the wheel is its own child. What a move touches lies side by
 * side, and not in `active`. */
static inline int
is_in_wheel(const coir_timer *w)
{
    return w->child == w;
}

/* What is touched next of a timer that is not in the cache. */
static inline void
prefetch(const coir_timer *w)
{
    __builtin_prefetch(&w->next, 1);
    __builtin_prefetch(&w->sequence, 1);
}

/* --- the heap ------------------------------------------------------------ */

static inline int
is_before(const coir_timer *a, const coir_timer *b)
{
    return a->filed_ns != b->filed_ns ? a->filed_ns < b->filed_ns
                                      : a->sequence < b->sequence;
}

/* Join two heaps; returns the root, whose next and at are the caller's. */
static inline coir_timer *
meld(coir_timer *a, coir_timer *b)
{
    if (is_before(b, a)) {
        coir_timer *c = a;
        a = b;
        b = c;
    }
    /* Neither is NULL. NOLINTNEXTLINE(clang-analyzer-core.*) */
    b->next = a->child;
    if (b->next != NULL)
        b->next->at = &b->next;
    b->at = &a->child;
    a->child = b;
    return a;
}

/* One heap of a list of them: in pairs from the left, then the pairs from the
 * right. NULL for none. */
static coir_timer *
meld_all(coir_timer *first)
{
    coir_timer *pairs = NULL;
    while (first != NULL) {
        coir_timer *a = first, *b = a->next;
        first = NULL;
        if (b != NULL) {
            first = b->next;
            a = meld(a, b);
        }
        a->next = pairs;
        pairs = a;
    }
    coir_timer *root = pairs;
    if (root == NULL)
        return NULL;
    pairs = root->next;
    while (pairs != NULL) {
        coir_timer *next = pairs->next;
        root = meld(root, pairs);
        pairs = next;
    }
    root->next = NULL;
    root->at = NULL;
    return root;
}

static void
heap_add(coir__timers *t, coir_timer *w)
{
    w->child = NULL;
    w->next = NULL;
    w->at = NULL;
    t->root = t->root != NULL ? meld(t->root, w) : w;
    t->root->next = NULL;
    t->root->at = NULL;
}

static void
heap_remove(coir__timers *t, coir_timer *w)
{
    coir_timer *rest = meld_all(w->child);
    if (w == t->root) {
        t->root = rest;
        return;
    }
    *w->at = w->next;
    if (w->next != NULL)
        w->next->at = w->at;
    if (rest == NULL)
        return;
    t->root = meld(t->root, rest);
    t->root->next = NULL;
    t->root->at = NULL;
}

/* Join two lists, each in order. */
static coir_timer *
merge(coir_timer *a, coir_timer *b)
{
    coir_timer *first, **tail = &first;
    while (a != NULL && b != NULL) {
        coir_timer **from = is_before(b, a) ? &b : &a;
        *tail = *from;
        tail = &(*from)->next;
        *from = *tail;
    }
    *tail = a != NULL ? a : b;
    return first;
}

/* runs[i] is a list made of about 2^i runs, or NULL. */
static void
add_run(coir_timer **runs, coir_timer *run)
{
    while (*runs != NULL) {
        run = merge(*runs, run);
        *runs++ = NULL;
    }
    *runs = run;
}

/* Take all timers of a slot, as a list in order. Those of a lane are in order
 * already if they are due at the same time, or backwards. */
static coir_timer *
take_sorted(slot *s)
{
    coir_timer *runs[RUNS] = {NULL};
    coir_timer *first[LANES] = {NULL}, *last[LANES];
    for (int some = 1; some;) {
        some = 0;
        for (int i = 0; i < LANES; i++) {
            coir_timer *w = s->lanes[i];
            if (w == NULL)
                continue;
            some = 1;
            s->lanes[i] = w->next;
            if (w->next != NULL) {
                prefetch(w->next);
                __builtin_prefetch(w->next, 1);
            }
            if (first[i] != NULL && is_before(w, first[i])) {
                w->next = first[i];
                first[i] = w;
                continue;
            }
            if (first[i] != NULL && is_before(last[i], w))
                last[i]->next = w;
            else {
                if (first[i] != NULL)
                    add_run(runs, first[i]);
                first[i] = w;
            }
            last[i] = w;
            w->next = NULL;
        }
    }
    for (int i = 0; i < LANES; i++)
        if (first[i] != NULL)
            add_run(runs, first[i]);
    coir_timer *all = NULL;
    for (int i = 0; i < RUNS; i++)
        if (runs[i] != NULL)
            all = merge(runs[i], all);
    return all;
}

/* A list in order becomes a heap in which each has one child. */
static void
heap_add_sorted(coir__timers *t, coir_timer *list)
{
    if (list == NULL)
        return;
    for (coir_timer *w = list, *next; w != NULL; w = next) {
        next = w->next;
        w->child = next;
        if (next != NULL)
            next->at = &w->child;
        w->next = NULL;
    }
    t->root = t->root != NULL ? meld(t->root, list) : list;
    t->root->next = NULL;
    t->root->at = NULL;
}

/* --- the wheel ----------------------------------------------------------- */

static inline void
file(coir__timers *t, coir_timer *w)
{
    uint64_t tick = tick_of(w->filed_ns);
    if (tick <= t->tick) {
        heap_add(t, w);
        return;
    }
    unsigned level = (63U - (unsigned)__builtin_clzll(tick ^ t->tick)) / DIGIT;
    unsigned index = (unsigned)(tick >> (level * DIGIT)) & (SLOTS - 1);
    coir_timer **head = &t->slots[level][index].lanes[LANE_OF(w)];
    w->child = w;
    w->next = *head;
    w->at = head;
    if (*head != NULL)
        (*head)->at = &w->next;
    *head = w;
    uint64_t *used = &t->used[level][index / 64];
    uint64_t bit = UINT64_C(1) << index % 64;
    if (coir__unlikely(!(*used & bit))) {
        *used |= bit;
        t->levels |= 1U << level;
    }
}

static inline void
wheel_remove(coir_timer *w)
{
    /* Only that of the heap's root is NULL. */
    *w->at = w->next; /* NOLINT(clang-analyzer-core.NullDereference) */
    if (w->next != NULL)
        w->next->at = w->at;
}

static inline void
unfile(coir__timers *t, coir_timer *w)
{
    if (is_in_wheel(w))
        wheel_remove(w);
    else
        heap_remove(t, w);
}

static inline int
is_empty(const slot *s)
{
    for (int i = 0; i < LANES; i++)
        if (s->lanes[i] != NULL)
            return 0;
    return 1;
}

/* The first slot of a level after `index` that has timers, or -1. */
static int
next_slot(coir__timers *t, unsigned level, unsigned index)
{
    for (unsigned i = index + 1; i < SLOTS; i = (i | 63U) + 1) {
        uint64_t *word = &t->used[level][i / 64];
        uint64_t bits;
        while ((bits = *word & (~UINT64_C(0) << i % 64)) != 0) {
            unsigned found = (i & ~63U) + (unsigned)__builtin_ctzll(bits);
            if (!is_empty(&t->slots[level][found]))
                return (int)found;
            *word &= ~(UINT64_C(1) << found % 64);
        }
    }
    return -1;
}

/* The tick at which the next slot with timers begins; UINT64_MAX: none. */
static uint64_t
next_tick(coir__timers *t)
{
    while (t->levels != 0) {
        unsigned level = (unsigned)__builtin_ctz(t->levels);
        unsigned shift = level * DIGIT;
        int index =
            next_slot(t, level, (unsigned)(t->tick >> shift) & (SLOTS - 1));
        if (index >= 0)
            return (t->tick >> (shift + DIGIT) << (shift + DIGIT)) |
                   (uint64_t)index << shift;
        /* Slots before the wheel's own are empty: no timer is filed there. */
        t->levels &= ~(1U << level);
    }
    return UINT64_MAX;
}

/* File the timers of a slot again, at lower levels. */
static void
file_again(coir__timers *t, slot *s)
{
    for (int some = 1; some;) {
        some = 0;
        for (int i = 0; i < LANES; i++) {
            coir_timer *w = s->lanes[i];
            if (w == NULL)
                continue;
            some = 1;
            s->lanes[i] = w->next;
            if (w->next != NULL)
                prefetch(w->next);
            file(t, w);
        }
    }
}

/* Empty the slots that begin at the wheel's tick; of level 0 into the heap. */
static void
empty_slots(coir__timers *t)
{
    for (unsigned level = LEVELS; level-- > 0;) {
        unsigned shift = level * DIGIT;
        if (t->tick & ((UINT64_C(1) << shift) - 1))
            continue;
        unsigned index = (unsigned)(t->tick >> shift) & (SLOTS - 1);
        slot *s = &t->slots[level][index];
        t->used[level][index / 64] &= ~(UINT64_C(1) << index % 64);
        if (level > 0)
            file_again(t, s);
        else
            heap_add_sorted(t, take_sorted(s));
    }
}

/* Turn the wheel to a tick, at most; it stops when there is something in the
 * heap. */
static void
turn(coir__timers *t, uint64_t tick)
{
    while (t->root == NULL && t->tick < tick) {
        uint64_t next = next_tick(t);
        t->tick = next < tick ? next : tick;
        if (next <= tick)
            empty_slots(t);
    }
}

/* --- the watcher --------------------------------------------------------- */

/* A deadline is given: is there to be no slack for it? */
static inline void
note_exact(coir_loop *loop, int64_t deadline)
{
    if (deadline - loop->now < loop->timer_exact &&
        deadline > loop->timers->exact_until)
        loop->timers->exact_until = deadline;
}

static inline void
arm(coir_loop *loop, coir_timer *w, int64_t deadline)
{
    note_exact(loop, deadline);
    w->filed_ns = w->deadline_ns = deadline;
    w->sequence = ++loop->timers->sequence;
    file(loop->timers, w);
}

void
coir__timer_start(coir_loop *loop, coir_timer *w, int flags)
{
    if (coir_is_active(w))
        return;
    coir__clamp_priority((coir_watcher *)w);
    w->active = ACTIVE | flags;
    arm(loop, w, after(loop->now, get(&w->timeout_ns, flags)));
    loop->active += !(flags & COIR__OWN);
}

void
coir_timer_start(coir_loop *loop, coir_timer *w)
{
    coir__timer_start(loop, w, 0);
}

/* It is filed no more. */
static inline void
stopped(coir_loop *loop, coir_timer *w)
{
    set_timeout(w, w->deadline_ns - loop->now);
    loop->active -= !(w->active & COIR__OWN);
    w->active = 0;
}

static __attribute__((noinline)) void
stop_in_heap(coir_loop *loop, coir_timer *w)
{
    heap_remove(loop->timers, w);
    stopped(loop, w);
}

/* The time of many stops is that of their writes to memory that is not in the
 * cache, which the processor does one after the other, with all other writes
 * between them: as few as can be, and none to the stack. */
void
coir_timer_stop(coir_loop *loop, coir_timer *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return;
    if (coir__unlikely(!is_in_wheel(w))) {
        stop_in_heap(loop, w);
        return;
    }
    wheel_remove(w);
    stopped(loop, w);
}

/* Of an active one, to any time. */
static void
move(coir_loop *loop, coir_timer *w, int64_t deadline)
{
    /* In the heap the sequence is part of the order: not there. */
    if (deadline >= w->filed_ns && is_in_wheel(w)) {
        note_exact(loop, deadline);
        w->deadline_ns = deadline;
        w->sequence = ++loop->timers->sequence;
        return;
    }
    unfile(loop->timers, w);
    arm(loop, w, deadline);
}

void
coir__timer_again(coir_loop *loop, coir_timer *w, int flags)
{
    if (!coir_is_active(w))
        w->active = 0;
    (void)coir__unfeed(loop, (coir_watcher *)w);
    int64_t repeat = get(&w->repeat_ns, flags);
    if (coir_is_active(w)) {
        if (repeat > 0)
            move(loop, w, after(loop->now, repeat));
        else
            coir_timer_stop(loop, w);
    }
    else if (repeat > 0) {
        memcpy(&w->timeout_ns, &w->repeat_ns, sizeof w->repeat_ns);
        coir__timer_start(loop, w, flags);
    }
}

void
coir_timer_again(coir_loop *loop, coir_timer *w)
{
    coir__timer_again(loop, w, 0);
}

void
coir_timer_defer(coir_loop *loop, coir_timer *w, int64_t timeout_ns)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (coir_is_active(w)) {
        move(loop, w, after(loop->now, timeout_ns));
        return;
    }
    w->timeout_ns = timeout_ns;
    coir_timer_start(loop, w);
}

int64_t
coir_timer_remaining(coir_loop *loop, const coir_timer *w)
{
    return coir_is_active(w) ? w->deadline_ns - loop->now : w->timeout_ns;
}

/* --- for the loop -------------------------------------------------------- */

int
coir__timers_init(coir_loop *loop)
{
    loop->timers = coir_calloc(1, sizeof *loop->timers);
    if (loop->timers == NULL)
        return COIR_ENOMEM;
    loop->timers->tick = tick_of(loop->now);
    return 0;
}

void
coir__timers_fini(coir_loop *loop)
{
    coir_free(loop->timers);
}

/* It was put off since it was filed: file it under its deadline. */
static void
refile(coir__timers *t, coir_timer *w)
{
    heap_remove(t, w);
    w->filed_ns = w->deadline_ns;
    file(t, w);
}

int64_t
coir__timers_next(coir_loop *loop)
{
    coir__timers *t = loop->timers;
    for (;;) {
        if (t->root == NULL && t->levels != 0) {
            turn(t, tick_of(loop->now));
            if (t->root == NULL) {
                uint64_t next = next_tick(t);
                /* Of level 0: the tick differs in the last digit only. */
                if ((next ^ t->tick) >= SLOTS)
                    return next < UINT64_MAX ? (int64_t)(next << TICK_SHIFT)
                                             : COIR_FOREVER;
                turn(t, next);
            }
        }
        coir_timer *w = t->root;
        if (w == NULL)
            return COIR_FOREVER;
        if (w->filed_ns > loop->now || w->deadline_ns == w->filed_ns)
            return w->filed_ns;
        refile(t, w); /* or the loop would wake up for nothing */
    }
}

int64_t
coir_loop_next_timer(coir_loop *loop)
{
    const coir__timers *t = loop->timers;
    return t->root != NULL || t->levels != 0 ? coir__timers_next(loop)
                                             : COIR_FOREVER;
}

int64_t
coir__timers_wake(coir_loop *loop)
{
    if (loop->timers->root == NULL && loop->timers->levels == 0)
        return COIR_FOREVER;
    int64_t next = coir__timers_next(loop);
    if (next <= loop->now || next <= loop->timers->exact_until)
        return next;
    return after(next, loop->timer_slack);
}

/* Its time has come: queue it, and file it again if it repeats. */
static void
expire(coir_loop *loop, coir_timer *w, coir__batch *batch)
{
    int64_t repeat = get(&w->repeat_ns, w->active);
    if (repeat > 0) {
        int64_t deadline = after(w->deadline_ns, repeat);
        /* Those that were missed come as one. Later than now, or it would
         * come again in this turn. */
        arm(loop, w, deadline > loop->now ? deadline : loop->now + 1);
    }
    else {
        set_timeout(w, w->deadline_ns - loop->now);
        loop->active -= !(w->active & COIR__OWN);
        w->active = 0;
    }
    coir__batch_add(batch, (coir_watcher *)w, COIR_TIMER);
}

static __attribute__((noinline)) void
expire_due(coir_loop *loop, coir__timers *t, uint64_t tick)
{
    coir__batch batch;
    coir__batch_init(&batch);
    for (unsigned left = loop->timer_budget; left > 0;) {
        turn(t, tick);
        coir_timer *w = t->root;
        if (w == NULL || w->filed_ns > loop->now)
            break;
        if (coir__unlikely(w->deadline_ns > w->filed_ns)) {
            refile(t, w);
            continue;
        }
        heap_remove(t, w);
        expire(loop, w, &batch);
        left--;
    }
    coir__batch_feed(loop, &batch);
}

void
coir__timers_expire(coir_loop *loop)
{
    coir__timers *t = loop->timers;
    uint64_t tick = tick_of(loop->now);
    if (t->root != NULL ? t->root->filed_ns <= loop->now
                        : t->levels != 0 && t->tick < tick)
        expire_due(loop, t, tick);
}

/* Take all out, as a list that timers can be taken from by unfile(). */
static void
take_all(coir__timers *t, coir_timer **list)
{
    *list = NULL;
    for (unsigned i = 0; i < LEVELS * SLOTS * LANES; i++) {
        coir_timer **lane = &t->slots[0][0].lanes[0] + i;
        while (*lane != NULL || t->root != NULL) {
            coir_timer *w = *lane != NULL ? *lane : t->root;
            unfile(t, w);
            w->child = w;
            w->next = *list;
            w->at = list;
            if (w->next != NULL)
                w->next->at = &w->next;
            *list = w;
        }
    }
}

static void
put_back(coir__timers *t, coir_timer *list, int64_t delta)
{
    while (list != NULL) {
        coir_timer *w = list;
        list = w->next;
        w->deadline_ns = after(w->deadline_ns, delta);
        w->filed_ns = after(w->filed_ns, delta);
        file(t, w);
    }
}

void
coir__timers_shift(coir_loop *loop, int64_t delta_ns)
{
    coir_timer *list;
    take_all(loop->timers, &list);
    put_back(loop->timers, list, delta_ns);
    loop->timers->exact_until = after(loop->timers->exact_until, delta_ns);
}

void
coir__timers_walk(coir_loop *loop,
                  void (*cb)(coir_loop *loop, coir_timer *w, void *arg),
                  void *arg)
{
    coir_timer *list;
    take_all(loop->timers, &list);
    for (coir_timer *w = list, *next; w != NULL; w = next) {
        next = w->next;
        cb(loop, w, arg);
    }
    put_back(loop->timers, list, 0);
}

static void
verify_lane(const coir__timers *t, unsigned level, unsigned index,
            unsigned lane)
{
    coir_timer *const *at = &t->slots[level][index].lanes[lane];
    for (; *at != NULL; at = &(*at)->next) {
        const coir_timer *w = *at;
        uint64_t tick = tick_of(w->filed_ns);
        if (!coir_is_active(w) || !is_in_wheel(w) || w->at != at)
            coir__damaged("a timer was overwritten while active");
        if (w->deadline_ns < w->filed_ns || tick <= t->tick ||
            (63U - (unsigned)__builtin_clzll(tick ^ t->tick)) / DIGIT !=
                level ||
            (tick >> level * DIGIT & (SLOTS - 1)) != index)
            coir__damaged("a timer is in a slot that is not its own");
        if (!(t->levels >> level & 1) ||
            !(t->used[level][index / 64] >> index % 64 & 1))
            coir__damaged("a slot with timers is not marked");
    }
}

/* Takes the heap apart and builds it anew: a walk down it would need a stack
 * as deep as the heap, which may be one long chain. */
static void
verify_heap(coir__timers *t)
{
    coir_timer *todo = t->root;
    t->root = NULL;
    while (todo != NULL) {
        coir_timer *w = todo;
        todo = w->next;
        if (!coir_is_active(w) || is_in_wheel(w) ||
            w->deadline_ns < w->filed_ns)
            coir__damaged("a timer was overwritten while active");
        coir_timer **at = &w->child;
        for (; *at != NULL; at = &(*at)->next)
            if (is_before(*at, w) || (*at)->at != at)
                coir__damaged("the heap of timers");
        *at = todo;
        todo = w->child;
        heap_add(t, w);
    }
}

void
coir__timers_verify(coir_loop *loop)
{
    coir__timers *t = loop->timers;
    for (unsigned level = 0; level < LEVELS; level++)
        for (unsigned index = 0; index < SLOTS; index++)
            for (unsigned lane = 0; lane < LANES; lane++)
                verify_lane(t, level, index, lane);
    verify_heap(t);
}
