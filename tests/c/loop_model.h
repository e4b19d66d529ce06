/* loop_model.h - what a loop is to do: a plain model of loop.h.
 *
 * The model is told what a program does with watchers and loops, by the same
 * verbs, and then of all that the loop does: its calls of watchers, of the
 * backend, of the clock's sleep. Each must be what the model expects next,
 * or the test fails. Where the order is not specified it follows the loop.
 *
 * It knows no lists and no wheel: watchers are items of an array, and what is
 * looked for is searched in all of it. */
#ifndef COIR_TESTS_LOOP_MODEL_H
#define COIR_TESTS_LOOP_MODEL_H

#include <coir/loop.h>

#include "harness.h"

enum {
    MODEL_SLOTS = 24,  /* watchers of the program */
    MODEL_TIMERS = 4,  /* called in a turn */
    MODEL_ONCES = 4,   /* coir_once() under way */
    MODEL_FDS = 10,    /* descriptors */
    MODEL_SIGNALS = 3, /* those of model_signals[] */
    MODEL_FILES = 3,
    MODEL_FRAMES = 24, /* nested runs and the like */

    /* Items: the program's watchers, then those of the loop itself. */
    ITEM_PART_A = MODEL_SLOTS,               /* of a stat: timer; embed: io */
    ITEM_PART_B = ITEM_PART_A + MODEL_SLOTS, /* of an embed: prepare */
    ITEM_PART_C = ITEM_PART_B + MODEL_SLOTS, /* of an embed: fork */
    ITEM_ONCE = ITEM_PART_C + MODEL_SLOTS,   /* io and timer of each */
    ITEM_WAKE = ITEM_ONCE + 2 * MODEL_ONCES, /* io of async.c */
    MODEL_ITEMS
};

typedef enum model_kind {
    KIND_NONE,
    KIND_IO,
    KIND_TIMER,
    KIND_PERIODIC,
    KIND_IDLE,
    KIND_PREPARE,
    KIND_CHECK,
    KIND_FORK,
    KIND_CLEANUP,
    KIND_ASYNC,
    KIND_SIGNAL,
    KIND_STAT,
    KIND_EMBED,
    KIND_EDGE,
    KINDS
} model_kind;

typedef int64_t model_rule(int64_t offset, int64_t interval, int64_t now);

typedef struct model_item {
    model_kind kind;
    int own; /* the loop's: not counted, and called without a word */
    int active;
    int pending;
    int priority;
    int revents;
    uint64_t epoch;  /* of its feeding: the last comes first ... */
    uint64_t rank;   /* ... and within one, the lowest */
    int fd;          /* io: index of a descriptor */
    int events;      /* edge: waited for */
    int ready;       /* edge: and not told */
    int is_new;      /* initialised since it was started */
    int64_t timeout; /* timer */
    int64_t repeat;
    int64_t deadline;
    uint64_t sequence;
    int64_t at; /* periodic */
    int64_t offset;
    int64_t interval;
    model_rule *rule;
    int sent;   /* async */
    int signum; /* signal: index, or -1 */
    int file;   /* stat: index */
    int64_t version;
    int sweeps;               /* embed: has no callback */
    const coir_watcher *real; /* embed, and its parts */
    unsigned resets; /* embed: of the other loop, when its io was started */
} model_item;

typedef struct model_fd {
    int registered; /* events the backend was told of */
    int always;
    int changed;
    int renew;
} model_fd;

typedef enum model_phase {
    PHASE_INVOKE_FIRST, /* what is pending when a run begins */
    PHASE_INVOKE_FORK,
    PHASE_INVOKE_PREPARE,
    PHASE_APPLY, /* the backend is told, up to the wait */
    PHASE_WAIT,
    PHASE_INVOKE_LAST,
    PHASE_DONE,
    PHASE_INVOKE_ALONE /* coir_loop_invoke_pending(), coir_loop_free() */
} model_phase;

/* What an embed is in the middle of, the inner loop running. */
typedef enum model_sweep {
    SWEEP_NONE,
    SWEEP_READABLE,
    SWEEP_PREPARE,
    SWEEP_FORK
} model_sweep;

typedef struct model_frame {
    model_phase phase;
    int flags; /* of coir_loop_run() */
    int hook;  /* the function for pending watchers is still to be called */
    int skip;  /* it calls none */
    int fed_always;
    int64_t limit; /* of the present wait */
    int blocks;
    int interrupted;
    int64_t napped;
    int early; /* waits that ended before the limit */
    model_sweep sweep;
    int is_sweep;         /* this run is the outer loop's */
    int is_telling;       /* ... and not a run: the backend is told */
    int sweeps;           /* how often, so far */
    struct model *before; /* what was `running` before it */
} model_frame;

typedef struct model {
    model_item items[MODEL_ITEMS];
    model_fd fds[MODEL_FDS];
    int wake_changed; /* as fds[].changed, of the eventfd */
    int can_edge;     /* the backend can be edge-triggered */
    int closing;      /* coir_edge_close() of it is under way, or -1 */
    int64_t now;
    int64_t wall;
    int64_t wall_offset;
    int64_t wall_checked;
    int64_t io_collect;
    int64_t timer_collect;
    int64_t timer_slack;
    int active; /* watchers that keep it running, and refs */
    int done;
    int reset;       /* enum coir__reset */
    unsigned resets; /* so far */
    int hook;        /* coir_loop_set_invoke_pending() is in use */
    unsigned iteration;
    uint64_t epoch;
    uint64_t sequence;
    int wake_wanted; /* see async.c */
    int wake_pending;
    int async_pending;
    int signal_pending;
    int eventfd; /* is readable */
    int signals[MODEL_SIGNALS];
    int taking_back; /* descriptor whose change failed, -1: none */
    int taking_error;
    int unresolved; /* always ready, if there is memory for it; -1: none */
    long failures;  /* of allocations, before that */
    int direct;     /* coir_invoke() is under way: the item, or -1 */
    int direct_events;
    unsigned pending_count;
    model_frame frames[MODEL_FRAMES];
    int depth;           /* of frames */
    struct model *inner; /* the loop that may be embedded in this one */
    struct model *outer; /* the reverse */
    struct model_world *world;
} model;

/* What models share. */
typedef struct model_world {
    struct model *running; /* has the innermost frame */
    int64_t monotonic;
    int64_t wall;
    int64_t versions[MODEL_FILES]; /* 0: there is no such file */
} model_world;

void model_init(model *m, model_world *world);

/* --- what the program does ----------------------------------------------- */

/* The item's fields are to be set. */
void model_start(model *m, int item);
/* It failed for want of memory. */
void model_start_failed(model *m, int item);
void model_stop(model *m, int item);
void model_modify(model *m, int item, int events);
void model_again(model *m, int item);
void model_defer(model *m, int item, int64_t timeout);
/* Returns what the call is to return. */
int model_edge_wait(model *m, int item, int events);
void model_edge_cancel(model *m, int item, int events);
/* Around coir_edge_close(). */
void model_edge_close(model *m, int item);
void model_edge_closed(model *m);
void model_periodic_again(model *m, int item);
void model_feed(model *m, int item, int revents);
int model_clear(model *m, int item);
void model_invoke(model *m, int item, int revents);
void model_feed_fd(model *m, int fd, int revents);
void model_send(model *m, int item);
void model_wakeup(model *m);
void model_signal(model *m, int signum);       /* coir_feed_signal() */
void model_signal_event(model *m, int signum); /* ..._event() */
/* Returns which coir_once() is free, or -1. */
int model_once_room(const model *m);
/* `fd` -1: none. */
void model_once(model *m, int which, int fd, int events, int64_t timeout);
void model_time_update(model *m);
void model_suspend(model *m);
void model_resume(model *m);
/* Around coir_loop_run(), coir_loop_invoke_pending(), coir_loop_free(),
 * coir_embed_sweep(). Returns whether there is room for one more. */
int model_has_room(const model *m);
void model_run(model *m, int flags);
void model_ran(model *m);
void model_invoke_pending(model *m);
void model_invoked_pending(model *m);
void model_free(model *m);

/* --- what the loop does -------------------------------------------------- */

void model_on_call(model *m, int item, int revents);
void model_on_once(model *m, int which, int revents);
void model_on_hook(model *m, int skip);
void model_on_reset(model *m, int err);
void model_on_modify(model *m, int fd, int events, int err);
void model_on_audit(model *m, int fd, int err);
void model_on_sleep(model *m, int64_t timeout);
void model_on_wait(model *m, int64_t timeout);
/* From within the wait. */
void model_on_ready(model *m, int fd, int events);
void model_on_stale(model *m);
void model_on_woken(model *m); /* the eventfd is reported */
void model_on_interrupt(model *m);

/* --- looking ------------------------------------------------------------- */

int model_wanted(const model *m, int fd); /* events of its watchers */

/* --- between the two files of the model ---------------------------------- */

model_frame *model__top(model *m);
void model__feed(model *m, int item, int revents, uint64_t rank);
void model__unfeed(model *m, int item);
void model__feed_kind(model *m, model_kind kind, int revents);
int model__has_kind(const model *m, model_kind kind);
int model__comes_before(const model_item *a, const model_item *b);
int model__first_pending(const model *m);
void model__start_embed_io(model *m, int item);
void model__resolve(model *m);
void model__check_applied(model *m);
int model__has_changes(const model *m);
int model__has_always(const model *m);
void model__feed_always(model *m);
void model__run_wake(model *m, int revents);
int64_t model__due_in(const model *m, int64_t slack);
void model__expire_timers(model *m);
void model__expire_periodics(model *m);
void model__feed_idle(model *m);
/* Before the loop does something; before it tells its backend of a change. */
void model__proceed(model *m);
void model__proceed_to_modify(model *m);

#endif
