/* test_sync_model.c - random programs of coir/sync.h against a plain model.
 *
 * Main gives commands to some workers, which may wait, and does by itself what
 * never waits: one thing, or some without a pause, or it lets time pass, on a
 * clock that stands still otherwise. Then all who can run do so, and what they
 * have returned, who waits, and what the objects look like is compared with
 * the model. This is a few lists: who stands in which line, and who is to be
 * served is always the first. Callbacks stand in line as well.
 *
 * What happens to one that was woken when it runs, as to lock a mutex again
 * after a condition, is done in the model at the end of the step, in the order
 * of the wake-ups.
 *
 * COIR_TEST_SEED repeats a run, COIR_TEST_STEPS makes it longer. */
#include <coir/sync.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/internal.h"
#include "loop_helper.h"

enum { WORKERS = 8, CALLBACKS = 3, ALL = WORKERS + CALLBACKS, QUEUES = 3 };
enum { CASES = 3, PARTIES = 3, ITEMS = 64, NOBODY = -1 };

enum line_id {
    EVENT,
    SEMAPHORE,
    MUTEX,
    RWLOCK,
    CONDITION,
    BARRIER,
    GROUP,
    GETTERS,
    PUTTERS = GETTERS + QUEUES,
    LINES = PUTTERS + QUEUES
};

enum op {
    WAIT_EVENT,
    ACQUIRE,
    LOCK,
    UNLOCK,
    READ,
    WRITE,
    UNLOCK_RW,
    WAIT_CONDITION,
    WAIT_BARRIER,
    WAIT_GROUP,
    PUT,
    PUT_FRONT,
    GET,
    PEEK,
    SELECT,
    OPS,
    END = OPS
};

/* --- what is tested ------------------------------------------------------ */

static coir_event event;
static coir_semaphore semaphore;
static coir_mutex mutex;
static coir_rwlock rwlock;
static coir_condition condition;
static coir_barrier barrier;
static coir_group group;
static coir_queue queues[QUEUES];

typedef struct command {
    int op;
    int queue;
    int64_t timeout_ns;
    intptr_t item; /* to put; or got */
    coir_case cases[CASES];
    int result;
    int done;
} command;

typedef struct worker {
    coir_green *green;
    command c;
} worker;

static worker workers[WORKERS];
static coir_callback callbacks[CALLBACKS];
static int called[CALLBACKS];

static int
carry_out(command *c)
{
    coir_queue *q = &queues[c->queue];
    void *item = (void *)c->item;
    int err = 0;
    switch (c->op) {
    case WAIT_EVENT:
        return coir_event_wait(&event, c->timeout_ns);
    case ACQUIRE:
        return coir_semaphore_acquire(&semaphore, c->timeout_ns);
    case LOCK:
        return coir_mutex_lock(&mutex, c->timeout_ns);
    case UNLOCK:
        return coir_mutex_unlock(&mutex);
    case READ:
        return coir_rwlock_read(&rwlock, c->timeout_ns);
    case WRITE:
        return coir_rwlock_write(&rwlock, c->timeout_ns);
    case UNLOCK_RW:
        return coir_rwlock_unlock(&rwlock);
    case WAIT_CONDITION:
        return coir_condition_wait(&condition, &mutex, c->timeout_ns);
    case WAIT_BARRIER:
        return coir_barrier_wait(&barrier, c->timeout_ns);
    case WAIT_GROUP:
        return coir_group_wait(&group, c->timeout_ns);
    case PUT:
        return coir_queue_put(q, item, c->timeout_ns);
    case PUT_FRONT:
        return coir_queue_put_front(q, item, c->timeout_ns);
    case GET:
        err = coir_queue_get(q, &item, c->timeout_ns);
        break;
    case PEEK:
        err = coir_queue_peek(q, &item, c->timeout_ns);
        break;
    default:
        return coir_select(c->cases, CASES, c->timeout_ns);
    }
    c->item = (intptr_t)item;
    return err;
}

static int
work(void *arg)
{
    worker *w = arg;
    for (;;) {
        coir_shield_begin(); /* one that is cancelled still gets commands */
        CHECK_EQ(coir_park("command", NULL, COIR_FOREVER), 0);
        coir_shield_end();
        if (w->c.op == END)
            return 0;
        w->c.result = carry_out(&w->c);
        w->c.done = 1;
    }
}

static void
is_called(coir_callback *cb)
{
    called[cb - callbacks]++;
}

/* --- the model ----------------------------------------------------------- */

typedef struct place {
    int who;
    int kind;  /* enum op; or of a case, enum coir_case_kind + OPS */
    int index; /* of the case */
    intptr_t item;
} place;

typedef struct line {
    place places[ALL * CASES];
    int count;
} line;

typedef struct person { /* a worker or a callback */
    int64_t deadline;
    intptr_t item;
    int result; /* expected */
    int case_result;
    int waits;
    unsigned since; /* what was armed first fires first */
    int finished;   /* and to be compared */
    int cancelled;
    int depth, saved_depth; /* of the mutex */
    int reads;
} person;

typedef struct store {
    intptr_t items[ITEMS];
    unsigned count, capacity;
    int closed;
} store;

static line lines[LINES];
static person persons[ALL];
static store stores[QUEUES];
static int set, owner, writer;
static unsigned units, readers, group_count, clock_ticks;
static place pending[4 * ALL]; /* what is done by those who were woken */
static int pending_count;

static void
enter(int id, place p)
{
    CHECK(lines[id].count < ALL * CASES);
    lines[id].places[lines[id].count++] = p;
}

/* Out of all lines. Returns whether it stood in one. */
static int
take_out(int who)
{
    int any = 0;
    for (int id = 0; id < LINES; id++) {
        line *l = &lines[id];
        int kept = 0;
        for (int i = 0; i < l->count; i++)
            if (l->places[i].who != who)
                l->places[kept++] = l->places[i];
        any |= kept != l->count;
        l->count = kept;
    }
    return any;
}

static void
finish(const place *p, int result, intptr_t item)
{
    person *who = &persons[p->who];
    int is_case = p->kind >= OPS;
    who->waits = 0;
    who->finished = 1;
    who->result = is_case ? p->index : result;
    who->case_result = result;
    who->item = item;
}

/* Serve the first in a line. Returns 0 if there is none. */
static int
pop(int id, place *out)
{
    if (lines[id].count == 0)
        return 0;
    *out = lines[id].places[0];
    (void)take_out(out->who);
    return 1;
}

static int
looks(const place *p)
{
    return p->kind == PEEK || p->kind == OPS + COIR_CASE_PEEK ||
           p->kind == OPS + COIR_CASE_AVAILABLE;
}

static void
later(place p)
{
    CHECK(pending_count < 4 * ALL);
    pending[pending_count++] = p;
}

/* What the errors of waits lead to. */
static void
give_up(int who, int err)
{
    for (int id = 0; id < LINES; id++)
        for (int i = 0; i < lines[id].count; i++) {
            place p = lines[id].places[i];
            if (p.who != who)
                continue;
            (void)take_out(who);
            persons[who].result = err;
            persons[who].waits = 0;
            if (p.kind == WAIT_CONDITION || id == RWLOCK)
                later(p);
            else
                persons[who].finished = 1;
            return;
        }
    /* It waits for nothing else than time: a select without cases. */
    if (persons[who].waits) {
        persons[who].result = err;
        persons[who].waits = 0;
        persons[who].finished = 1;
    }
}

static void
let_in(void)
{
    while (lines[RWLOCK].count > 0 && writer == NOBODY) {
        place first = lines[RWLOCK].places[0];
        if (first.kind == WRITE && readers > 0)
            break;
        (void)take_out(first.who);
        if (first.kind == WRITE)
            writer = first.who;
        else {
            readers++;
            persons[first.who].reads++;
        }
        finish(&first, 0, 0);
    }
}

static void
hand_over_mutex(void)
{
    place p;
    owner = NOBODY;
    if (!pop(MUTEX, &p))
        return;
    owner = p.who;
    person *who = &persons[owner];
    if (p.kind == WAIT_CONDITION) {
        who->depth = who->saved_depth;
        who->waits = 0;
        who->finished = 1;
    }
    else {
        who->depth = 1;
        finish(&p, 0, 0);
    }
}

static void
run_pending(void)
{
    for (int i = 0; i < pending_count; i++) {
        place p = pending[i];
        person *who = &persons[p.who];
        if (p.kind != WAIT_CONDITION) {
            let_in();
            who->finished = 1;
        }
        else if (owner == NOBODY) {
            owner = p.who;
            who->depth = who->saved_depth;
            who->finished = 1;
        }
        else
            enter(MUTEX, p);
    }
    pending_count = 0;
}

static void
wake_from_condition(const place *p)
{
    persons[p->who].result = 0;
    persons[p->who].waits = 0;
    later(*p);
}

static void
model_release(unsigned n)
{
    place p;
    while (n > 0 && pop(SEMAPHORE, &p)) {
        n -= !looks(&p);
        finish(&p, 0, 0);
    }
    units += n;
}

static void
insert(store *s, const place *p)
{
    CHECK(s->count < ITEMS);
    if (p->kind == PUT_FRONT) {
        memmove(s->items + 1, s->items, s->count * sizeof s->items[0]);
        s->items[0] = p->item;
    }
    else
        s->items[s->count] = p->item;
    s->count++;
}

static void
let_put(int q)
{
    place p;
    while (stores[q].count < stores[q].capacity && pop(PUTTERS + q, &p)) {
        insert(&stores[q], &p);
        finish(&p, 0, p.item);
    }
}

enum { MUST_WAIT = 1 };

/* 0, MUST_WAIT or an error. */
static int
model_put(int q, const place *putter)
{
    store *s = &stores[q];
    place p;
    if (s->closed)
        return COIR_ECLOSED;
    while (pop(GETTERS + q, &p)) {
        finish(&p, 0, putter->item);
        if (!looks(&p))
            return 0;
    }
    if (s->count >= s->capacity)
        return MUST_WAIT;
    insert(s, putter);
    return 0;
}

static int
model_get(int q, intptr_t *item)
{
    store *s = &stores[q];
    place p;
    if (s->count > 0) {
        *item = s->items[0];
        s->count--;
        memmove(s->items, s->items + 1, s->count * sizeof s->items[0]);
        let_put(q);
        return 0;
    }
    if (pop(PUTTERS + q, &p)) {
        *item = p.item;
        finish(&p, 0, p.item);
        return 0;
    }
    return s->closed ? COIR_ECLOSED : MUST_WAIT;
}

static int
model_peek(int q, intptr_t *item)
{
    const store *s = &stores[q];
    if (s->capacity == 0)
        return COIR_EINVAL;
    if (s->count == 0)
        return s->closed ? COIR_ECLOSED : MUST_WAIT;
    *item = s->items[0];
    return 0;
}

static void
close_all(int id)
{
    place p;
    while (pop(id, &p))
        finish(&p, COIR_ECLOSED, p.item);
}

static void
model_set_capacity(int q, unsigned capacity)
{
    line *l = &lines[GETTERS + q];
    stores[q].capacity = capacity;
    for (int i = 0; capacity == 0 && i < l->count;) {
        place p = l->places[i];
        if (looks(&p)) {
            (void)take_out(p.who);
            finish(&p, COIR_EINVAL, 0);
        }
        else
            i++;
    }
    let_put(q);
}

/* --- a command in the model ---------------------------------------------- */

static int
queue_of(const coir_case *c)
{
    return (int)((coir_queue *)c->object - queues);
}

static int
line_of_case(const coir_case *c)
{
    switch (c->kind) {
    case COIR_CASE_EVENT:
        return EVENT;
    case COIR_CASE_ACQUIRE:
    case COIR_CASE_AVAILABLE:
        return SEMAPHORE;
    case COIR_CASE_GROUP:
        return GROUP;
    case COIR_CASE_PUT:
        return PUTTERS + queue_of(c);
    default:
        return GETTERS + queue_of(c);
    }
}

/* Do it, if it can happen: 0, MUST_WAIT, or an error. */
static int
model_case(const coir_case *c, intptr_t *item)
{
    switch (c->kind) {
    case COIR_CASE_NONE:
        return MUST_WAIT;
    case COIR_CASE_EVENT:
        return set ? 0 : MUST_WAIT;
    case COIR_CASE_ACQUIRE:
        if (units == 0)
            return MUST_WAIT;
        units--;
        return 0;
    case COIR_CASE_AVAILABLE:
        return units > 0 ? 0 : MUST_WAIT;
    case COIR_CASE_GROUP:
        return group_count == 0 ? 0 : MUST_WAIT;
    case COIR_CASE_PUT: {
        place p = {.kind = PUT, .item = (intptr_t)c->item};
        return model_put(queue_of(c), &p);
    }
    case COIR_CASE_GET:
        return model_get(queue_of(c), item);
    default:
        return model_peek(queue_of(c), item);
    }
}

static place
place_of_case(int who, int index, const coir_case *c)
{
    return (place){.who = who,
                   .kind = OPS + c->kind,
                   .index = index,
                   .item = (intptr_t)c->item};
}

/* Any that can happen may: go by what did. */
static int
model_select(int who, const command *before, const command *after)
{
    person *p = &persons[who];
    if (after->done && after->result >= 0) {
        int at = after->result;
        intptr_t item = (intptr_t)before->cases[at].item;
        int err = model_case(&before->cases[at], &item);
        CHECK_EQ(after->cases[at].result, err);
        CHECK(err == 0 || err == COIR_ECLOSED);
        p->result = at;
        p->case_result = err;
        p->item = item;
        p->finished = 1;
        return 0;
    }
    int channels = 0; /* that are to be peeked at */
    for (int i = 0; i < CASES; i++) {
        const coir_case *c = &before->cases[i];
        channels +=
            c->kind == COIR_CASE_PEEK && stores[queue_of(c)].capacity == 0;
    }
    if (channels > 0) {
        CHECK(after->done);
        return COIR_EINVAL;
    }
    for (int i = 0; i < CASES; i++) {
        intptr_t item;
        CHECK_EQ(model_case(&before->cases[i], &item), MUST_WAIT);
    }
    return MUST_WAIT;
}

static int
model_lock(int who)
{
    if (owner != NOBODY && owner != who)
        return MUST_WAIT;
    owner = who;
    persons[who].depth++;
    return 0;
}

/* As carry_out(); MUST_WAIT: and in which line. */
static int
model_do(int who, const command *c, const command *after, int *id)
{
    person *p = &persons[who];
    place self = {who, c->op, 0, c->item};
    place other;
    switch (c->op) {
    case WAIT_EVENT:
        *id = EVENT;
        return set ? 0 : MUST_WAIT;
    case ACQUIRE:
        *id = SEMAPHORE;
        if (units == 0)
            return MUST_WAIT;
        units--;
        return 0;
    case LOCK:
        *id = MUTEX;
        return model_lock(who);
    case UNLOCK:
        if (owner != who)
            return COIR_EINVAL;
        if (--p->depth == 0)
            hand_over_mutex();
        return 0;
    case READ:
    case WRITE:
        *id = RWLOCK;
        if (writer == who)
            return COIR_EDEADLK;
        if (writer != NOBODY || lines[RWLOCK].count > 0 ||
            (c->op == WRITE && readers > 0))
            return MUST_WAIT;
        if (c->op == WRITE)
            writer = who;
        else {
            readers++;
            p->reads++;
        }
        return 0;
    case UNLOCK_RW:
        if (readers > 0) {
            readers--;
            p->reads--;
        }
        else if (writer == who)
            writer = NOBODY;
        else
            return COIR_EINVAL;
        let_in();
        return 0;
    case WAIT_CONDITION:
        *id = CONDITION;
        return owner == who ? MUST_WAIT : COIR_EINVAL;
    case WAIT_BARRIER:
        *id = BARRIER;
        if (lines[BARRIER].count + 1 < PARTIES)
            return MUST_WAIT;
        while (pop(BARRIER, &other))
            finish(&other, 0, 0);
        return 1 + MUST_WAIT; /* 1, that is */
    case WAIT_GROUP:
        *id = GROUP;
        return group_count == 0 ? 0 : MUST_WAIT;
    case PUT:
    case PUT_FRONT:
        *id = PUTTERS + c->queue;
        return model_put(c->queue, &self);
    case GET:
        *id = GETTERS + c->queue;
        return model_get(c->queue, &p->item);
    case PEEK:
        *id = GETTERS + c->queue;
        return model_peek(c->queue, &p->item);
    default:
        *id = NOBODY;
        return model_select(who, c, after);
    }
}

static void
model_command(int who, const command *c, const command *after, int64_t now)
{
    person *p = &persons[who];
    int id = NOBODY;
    p->item = c->item;
    int err = model_do(who, c, after, &id);
    if (p->finished) /* a select */
        return;
    if (err == MUST_WAIT && (p->cancelled || c->timeout_ns == 0))
        err = p->cancelled ? COIR_ECANCELED : COIR_ETIMEDOUT;
    else if (err == MUST_WAIT) {
        p->waits = 1;
        p->since = clock_ticks++;
        p->deadline =
            c->timeout_ns == COIR_FOREVER ? COIR_FOREVER : now + c->timeout_ns;
        if (id != NOBODY)
            enter(id, (place){who, c->op, 0, c->item});
        for (int i = 0; c->op == SELECT && i < CASES; i++)
            if (c->cases[i].kind != COIR_CASE_NONE)
                enter(line_of_case(&c->cases[i]),
                      place_of_case(who, i, &c->cases[i]));
        if (c->op == WAIT_CONDITION) {
            p->saved_depth = p->depth;
            p->depth = 0;
            hand_over_mutex();
        }
        return;
    }
    p->result = err == 1 + MUST_WAIT ? 1 : err;
    p->finished = 1;
}

/* Up to a time. Those whose times are the same are told before one runs. */
static void
model_time(int64_t until)
{
    for (;;) {
        int64_t at = COIR_FOREVER;
        for (int i = 0; i < WORKERS; i++)
            if (persons[i].waits && persons[i].deadline < at)
                at = persons[i].deadline;
        if (at > until)
            return;
        for (;;) {
            int first = NOBODY;
            for (int i = 0; i < WORKERS; i++)
                if (persons[i].waits && persons[i].deadline == at &&
                    (first == NOBODY ||
                     persons[i].since < persons[first].since))
                    first = i;
            if (first == NOBODY)
                break;
            persons[first].deadline = COIR_FOREVER;
            give_up(first, COIR_ETIMEDOUT);
        }
        run_pending();
    }
}

/* --- comparing ----------------------------------------------------------- */

static void
check_waitq(const coir_waitq *q, int id)
{
    CHECK_EQ(coir_waitq_count(q), lines[id].count);
    int count = 0;
    for (const coir_waiter *w = q->head; w != NULL; w = w->next, count++)
        CHECK(w->queue == q && (w->next != NULL || q->tail == w));
    CHECK_EQ(count, lines[id].count);
}

static void
check_worker(int i)
{
    command *c = &workers[i].c;
    person *p = &persons[i];
    CHECK_EQ(c->done, p->finished);
    if (!p->finished)
        return;
    c->done = p->finished = 0;
    CHECK_EQ(c->result, p->result);
    if (p->result >= 0 && c->op == SELECT) {
        CHECK_EQ(c->cases[p->result].result, p->case_result);
        if (p->case_result == 0 && c->cases[p->result].kind >= COIR_CASE_PUT)
            CHECK_EQ(c->cases[p->result].item, p->item);
    }
    else if (p->result == 0 && (c->op == GET || c->op == PEEK))
        CHECK_EQ(c->item, p->item);
    c->op = END; /* idle */
}

static void
check_all(void)
{
    for (int i = 0; i < WORKERS; i++)
        check_worker(i);
    for (int i = 0; i < CALLBACKS; i++) {
        person *p = &persons[WORKERS + i];
        CHECK_EQ(called[i], p->finished);
        if (p->finished) {
            CHECK_EQ(callbacks[i].what.result, p->case_result);
            if (p->case_result == 0 && callbacks[i].what.kind >= COIR_CASE_PUT)
                CHECK_EQ(callbacks[i].what.item, p->item);
        }
        called[i] = p->finished = 0;
    }
    CHECK_EQ(coir_event_is_set(&event), set);
    CHECK_EQ(coir_semaphore_count(&semaphore), units);
    CHECK(mutex.owner == (owner == NOBODY ? NULL : workers[owner].green));
    if (owner != NOBODY)
        CHECK_EQ(mutex.depth, persons[owner].depth);
    CHECK(rwlock.writer == (writer == NOBODY ? NULL : workers[writer].green));
    CHECK_EQ(rwlock.readers, readers);
    CHECK_EQ(coir_group_count(&group), group_count);
    check_waitq(&event.queue, EVENT);
    check_waitq(&semaphore.queue, SEMAPHORE);
    check_waitq(&mutex.queue, MUTEX);
    check_waitq(&rwlock.queue, RWLOCK);
    check_waitq(&condition.queue, CONDITION);
    check_waitq(&barrier.queue, BARRIER);
    check_waitq(&group.queue, GROUP);
    for (int q = 0; q < QUEUES; q++) {
        CHECK_EQ(coir_queue_count(&queues[q]), stores[q].count);
        check_waitq(&queues[q].getters, GETTERS + q);
        check_waitq(&queues[q].putters, PUTTERS + q);
    }
}

/* --- random programs ----------------------------------------------------- */

static coir_test_random rng;
static fake f;
static coir_loop *loop;

static int
below(int limit)
{
    return (int)coir_test_random_below(&rng, (size_t)limit);
}

static int64_t
some_timeout(void)
{
    /* Never at the same time as main's. */
    int kind = below(8);
    return kind == 0 ? 0 : kind == 1 ? COIR_FOREVER : 10 * below(20) + 5;
}

/* Let all run who can, and make the calls. */
static void
settle(void)
{
    run_pending();
    CHECK_EQ(coir_sleep(0), 0);
    check_all();
}

static void
hire(int i)
{
    memset(&persons[i], 0, sizeof persons[i]);
    workers[i].c.op = END;
    CHECK_EQ(coir_spawn(&workers[i].green, work, &workers[i], NULL), 0);
    CHECK_EQ(coir_sleep(0), 0);
}

static coir_case
some_case(int put_too)
{
    static void *const objects[] = {NULL,       &event, &semaphore,
                                    &semaphore, &group, NULL};
    int kind = below(2) ? COIR_CASE_PUT + below(3) : below(COIR_CASE_PUT);
    if (kind == COIR_CASE_PUT && !put_too)
        kind = COIR_CASE_GET;
    coir_case c = {.kind = kind};
    c.object = kind < COIR_CASE_PUT ? objects[kind] : &queues[below(QUEUES)];
    if (kind == COIR_CASE_PUT)
        c.item = (void *)(intptr_t)(1 + below(1000000));
    return c;
}

static void
give_command(int i, const command *c)
{
    workers[i].c = *c;
    CHECK_EQ(coir_unpark(workers[i].green, 0), 1);
    CHECK_EQ(coir_yield(), 0);
    model_command(i, c, &workers[i].c, f.monotonic);
}

static void
retire(int i)
{
    CHECK_EQ(coir_unpark(workers[i].green, 0), 1);
    CHECK_EQ(coir_join(workers[i].green, NULL), 0);
}

static int
is_idle(int i)
{
    return workers[i].c.op == END;
}

static void
command_worker(int i)
{
    const person *p = &persons[i];
    if (!is_idle(i))
        return;
    if (p->cancelled && owner != i && writer != i && p->reads == 0 &&
        below(2)) {
        retire(i);
        hire(i);
        return;
    }
    command c = {.op = below(OPS),
                 .queue = below(QUEUES),
                 .timeout_ns = some_timeout(),
                 .item = 1 + below(1000000)};
    for (int j = 0; j < CASES; j++)
        c.cases[j] = some_case(1);
    /* Or hardly anybody would have what others wait for. */
    if (owner == i && below(2) == 0)
        c.op = below(2) ? UNLOCK : WAIT_CONDITION;
    if ((writer == i || p->reads > 0) && below(3) == 0)
        c.op = UNLOCK_RW;
    /* One that reads must not lock again, and one that does not must not let
     * go for others. */
    if (p->reads > 0 && (c.op == READ || c.op == WRITE))
        c.op = UNLOCK_RW;
    if (p->reads == 0 && readers > 0 && c.op == UNLOCK_RW)
        c.op = READ;
    if (stores[c.queue].count > ITEMS / 2 &&
        (c.op == PUT || c.op == PUT_FRONT))
        c.op = GET;
    if (stores[2].count > ITEMS / 2 && c.op == SELECT)
        c.op = GET;
    give_command(i, &c);
}

static void
cancel_worker(int i)
{
    coir_cancel(workers[i].green);
    persons[i].cancelled = 1;
    if (persons[i].waits)
        give_up(i, COIR_ECANCELED);
}

static void
start_callback(int i)
{
    int who = WORKERS + i;
    if (persons[who].waits || persons[who].finished)
        return;
    coir_callback *cb = &callbacks[i];
    coir_case c;
    do
        c = some_case(0);
    while (c.kind == COIR_CASE_NONE);
    *cb = (coir_callback){.fn = is_called, .what = c};
    intptr_t item = 0;
    int err = model_case(&c, &item);
    int started = coir_callback_start(cb, coir_hub_get());
    CHECK_EQ(started, err == COIR_EINVAL ? err : 0);
    place p = place_of_case(who, 0, &c);
    if (err == MUST_WAIT) {
        persons[who].waits = 1;
        enter(line_of_case(&c), p);
    }
    else if (started == 0)
        finish(&p, err, item);
}

static void
change_queue(int q)
{
    static const unsigned capacities[] = {0, 1, 2, 3, 5, COIR_QUEUE_UNBOUNDED};
    unsigned capacity = capacities[below(6)];
    if (stores[q].closed) { /* a new one: nobody waits */
        coir_queue_fini(&queues[q]);
        stores[q] = (store){.capacity = capacity};
        CHECK_EQ(coir_queue_init(&queues[q], capacity), 0);
    }
    else if (below(3) == 0) {
        coir_queue_close(&queues[q]);
        stores[q].closed = 1;
        close_all(GETTERS + q);
        close_all(PUTTERS + q);
    }
    else {
        CHECK_EQ(coir_queue_set_capacity(&queues[q], capacity), 0);
        model_set_capacity(q, capacity);
    }
}

static void
change_group(void)
{
    place p;
    if (group_count < 3 && below(3) == 0) {
        coir_group_add(&group, 2);
        group_count += 2;
    }
    CHECK_EQ(coir_group_done(&group), group_count > 0 ? 0 : COIR_EINVAL);
    if (group_count > 0 && --group_count == 0)
        while (pop(GROUP, &p))
            finish(&p, 0, 0);
}

static void
notify(int all)
{
    place p;
    while (pop(CONDITION, &p)) {
        wake_from_condition(&p);
        if (!all)
            break;
    }
}

static void
stop_callback(int i)
{
    int waits = take_out(WORKERS + i);
    CHECK_EQ(coir_callback_stop(&callbacks[i]), waits);
    persons[WORKERS + i].waits = 0;
}

/* What does not wait. */
static void
act(void)
{
    int n = below(3);
    place p;
    switch (below(10)) {
    case 0:
        coir_event_set(&event);
        set = 1;
        while (pop(EVENT, &p))
            finish(&p, 0, 0);
        break;
    case 1:
        coir_event_clear(&event);
        set = 0;
        break;
    case 2:
        if (units < 4) {
            coir_semaphore_release(&semaphore, (unsigned)n);
            model_release((unsigned)n);
        }
        break;
    case 3:
    case 9:
        if (n > 0)
            coir_condition_notify(&condition);
        else
            coir_condition_notify_all(&condition);
        notify(n == 0);
        break;
    case 4:
        change_group();
        break;
    case 5:
        if (n == 0)
            change_queue(below(QUEUES));
        break;
    case 6:
        start_callback(below(CALLBACKS));
        break;
    case 7:
        stop_callback(below(CALLBACKS));
        break;
    default:
        cancel_worker(below(WORKERS));
        break;
    }
}

static void
step(void)
{
    int what = below(8);
    if (what < 5)
        command_worker(below(WORKERS));
    else if (what < 7)
        for (int n = 1 + below(4); n > 0; n--)
            act();
    else {
        int64_t ns = 10 * below(20);
        int64_t until = f.monotonic + ns;
        model_time(until);
        CHECK_EQ(coir_sleep(ns), 0);
        CHECK_EQ(f.monotonic, until);
    }
    settle();
}

static void
begin(void)
{
    loop = fake_loop(&f);
    CHECK(coir__hub_make(loop) != NULL);
    coir_barrier_init(&barrier, PARTIES);
    coir_mutex_init(&mutex, 1);
    owner = writer = NOBODY;
    for (int q = 0; q < QUEUES; q++) {
        stores[q].capacity = q == 2 ? COIR_QUEUE_UNBOUNDED : (unsigned)q * 2;
        CHECK_EQ(coir_queue_init(&queues[q], stores[q].capacity), 0);
    }
    for (int i = 0; i < WORKERS; i++)
        hire(i);
}

/* Cancel all, have them let go of what they hold, and end. */
static void
end(void)
{
    for (int i = 0; i < CALLBACKS; i++)
        stop_callback(i);
    for (int i = 0; i < WORKERS; i++)
        cancel_worker(i);
    settle();
    for (int i = 0; owner != NOBODY || writer != NOBODY || readers > 0;
         i = (i + 1) % WORKERS) {
        /* One that reads may wait for the mutex again, after a condition. */
        command c = {.op = owner == i ? UNLOCK : UNLOCK_RW};
        if (is_idle(i) && (owner == i || writer == i || persons[i].reads > 0))
            give_command(i, &c);
        settle();
    }
    for (int i = 0; i < WORKERS; i++)
        retire(i);
    for (int q = 0; q < QUEUES; q++)
        coir_queue_fini(&queues[q]);
    CHECK_EQ(coir_hub_fini(), 0);
    coir_loop_free(loop);
}

TEST(sync_model, random_programs)
{
    const char *text = getenv("COIR_TEST_STEPS");
    long steps = text != NULL          ? atol(text)
                 : coir_test_is_slow() ? 3000
                                       : 50000;
    coir_test_timeout(20 + (unsigned)(steps / 2000));
    coir_test_random_init(&rng);
    begin();
    for (long i = 0; i < steps; i++)
        step();
    end();
}
