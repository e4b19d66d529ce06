/* internal.h - what the layers on the hub share with it. */
#ifndef COIR__HUB_INTERNAL_H
#define COIR__HUB_INTERNAL_H

#include <coir/hub.h>
#include <coir/sync.h> /* for the place in a queue: sync/waitq.c */

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/platform.h"
#include "sim/hooks.h"
#include "coro/internal.h"

typedef struct coir__local coir__local;

enum coir__cancelled {
    COIR__CANCELLED = 1,       /* itself */
    COIR__CANCELLED_SCOPE = 2, /* one of the scopes that it has begun */
};

/* Something another thread brings to a hub. */
typedef struct coir__parcel {
    struct coir__parcel *next;
    void (*open)(struct coir__parcel *parcel); /* in the hub */
} coir__parcel;

/* What has to let go of a hub before that is freed; in the hub's thread. */
typedef struct coir__guest {
    struct coir__guest *next, **at;           /* at: NULL, if it is no guest */
    void (*leave)(struct coir__guest *guest); /* coir__guest_remove() it */
} coir__guest;

/* An OS thread without a hub: its address is its own as an owner of locks. The
 * rest is set while it waits for ever. */
typedef struct coir__native {
    struct coir__native *next, *prev;
    int tid;
    const char *what;
    const void *object;
    const coir_waiter *waiter;
} coir__native;

struct coir_green {
    /* First what a switch and a wake-up touch. */
    coir_coro *co; /* own, or the thread's main coroutine */
    coir_hub *hub;
    coir_green *next_ready;
    uint8_t state; /* enum coir_green_state */
    uint8_t detached;
    uint8_t cancelled;  /* enum coir__cancelled */
    uint8_t kept;       /* ended, but its coroutine was kept */
    uint8_t disposed;   /* nobody knows it: idle, or unused */
    uint8_t is_special; /* its coroutine is not to be kept */
    unsigned shields;
    int wake_result;
    /* Of the wait it is in: takes it out of whatever would end it. Returns
     * whether that was in time; else its result is on its way. NULL: nothing
     * but coir_unpark() knows of it. */
    int (*leave)(coir_green *g);
    void *wait_data; /* of `leave` */
    const char *what;
    const void *object;
    int64_t since_ns;
    coir_timer timer;
    coir_waiter waiter;
    coir__parcel parcel;

    int64_t deadline_ns; /* the earliest of those in force */
    int64_t inherited_ns;
    coir_deadline *deadlines;
    coir_green_fn *fn;
    void *arg;
    int result;
    coir_green *joiner; /* the one that waits in coir_join() */
    coir__local *locals;
    coir_scope *scope;  /* that it belongs to */
    coir_scope *scopes; /* that it has begun, the innermost */
    coir_green *scope_next, *scope_prev;
    coir__parcel cancel_parcel;
    atomic_int cancel_sent; /* by another thread, and not there yet */
    size_t stack_size;      /* the default when its coroutine was made */
    uint64_t id;            /* see coir_green_info */
    uint64_t spawner;
    const void *spawned_at;
    coir_green *next, *prev; /* of all of this hub, the disposed, too */
    coir__sim_green sim;     /* in a simulation only */
    coir_coro coro;
};

/* What the watchdog has seen of it, see look/watchdog.c. */
typedef struct coir__watch {
    clockid_t cpu_clock; /* of its OS thread */
    unsigned iteration, left;
    int is_reported;
    int64_t blocked_ns;
    int64_t cpu_ns; /* when that began */
    uint64_t id;    /* who it was */
    char name[32];
} coir__watch;

/* A hub among all of the process, see look/hubs.c. */
typedef struct coir__listed {
    coir_hub *next, *prev;
    pthread_t thread;
    int tid;
    int mode;    /* enum coir_deadlock_mode */
    int asleep;  /* nothing can happen in it by itself */
    int is_told; /* of a deadlock that another hub has found */
    int looks;   /* again, in a row, whether there is a deadlock */
    int has_looked;
    coir_timer look;
    coir__watch watch;
} coir__listed;

struct coir_hub {
    coir_green *current; /* NULL: the hub itself runs */
    coir_green *ready, **ready_tail;
    unsigned left; /* that may run before the loop is looked at */
    unsigned budget;
    unsigned rounds; /* how often it was used since */
    int budget_is_set;
    coir_loop *loop;
    coir__thread *thread;
    coir_green *idle;   /* disposed, with a coroutine: to be used again */
    coir_green *unused; /* disposed, without */
    unsigned kept;      /* coroutines of ended ones */
    unsigned unused_count;
    int alive;  /* that have not ended, without the main one */
    int greens; /* the same with those that were not joined */
    coir_green *all;
    coir__parcel *_Atomic inbox;
    coir_call *_Atomic calls;
    atomic_int senders; /* other threads that are about to wake the loop */
    unsigned forks;     /* in which process it is alive, see base/fork.h */
    coir__guest *guests;
    unsigned calls_made; /* on sockets, since one had to wait */
    int stop;
    int main_waits_for_all; /* in coir_hub_run() */
    int owns_loop;
    int has_slices; /* some were spawned */
    int deadlocked; /* main is being told so */
    uint64_t last_id;
    coir__listed listed;
    coir__sim *sim;   /* NULL: this is no simulation */
    coir_green *main; /* `first`; in the child of a fork the one that forked */
    coir_green first; /* what the thread ran before */
    struct coir__select *selects; /* of sync/select.c: all blocks */
    struct coir__select *unused_selects;
    uint32_t random; /* of the next select */
    coir_coro coro;
};

/* This thread's. NULL if it has none, or has one that is not put in order yet
 * in the child of a fork: see coir__hub_if_any(). */
extern COIR__THREAD_LOCAL coir_hub *coir__hub;

/* Put it in order, if there is one. */
coir_hub *coir__hub_back(void);

static inline coir_hub *
coir__hub_if_any(void)
{
    return coir__likely(coir__hub != NULL) ? coir__hub : coir__hub_back();
}

/* The running green thread, of a hub that is made if there is none. NULL:
 * there is no memory for it, or the hub itself runs: in a callback of the
 * loop. */
static inline coir_green *
coir__running(void)
{
    coir_hub *hub = coir__hub;
    if (coir__unlikely(hub == NULL)) {
        hub = coir_hub_get();
        if (hub == NULL)
            return NULL;
    }
    return hub->current;
}

/* Have forks noticed. */
void coir__hub_watch_forks(void);

/* Make this thread's hub, on this loop, which stays the caller's; NULL: on one
 * of its own. */
coir_hub *coir__hub_make(coir_loop *loop);

/* The same in a simulation, for it to free: `main_co` stands for the thread's
 * main coroutine. */
coir_hub *coir__hub_make_sim(coir_loop *loop, coir_coro *main_co,
                             coir__sim *sim);
/* The function of its main green thread has returned: on to `to`, not of it.
 */
_Noreturn void coir__hub_end_main(coir_hub *hub, coir_coro *to);
/* Free it with all its green threads, which are not unwound. It was left by a
 * switch from whichever coroutine to one that is not of it. */
void coir__hub_abandon(coir_hub *hub);

/* For a simulation: the ready queue; from the hub's coroutine, let `g` run
 * until it leaves the processor; let others run, if `g` is the running one. */
coir_green *coir__hub_pop_ready(coir_hub *hub);
void coir__hub_push_ready(coir_hub *hub, coir_green *g);
void coir__hub_run_one(coir_hub *hub, coir_green *g);
void coir__hub_yield(coir_hub *hub, coir_green *g);

/* At the end of a callback of the loop that has made one green thread ready:
 * let it run until it leaves the processor, unless others are ready, too, the
 * budget is used up, or it is not the hub that runs the loop. `hub` may be
 * NULL: this is the child of a fork. */
void coir__hub_run_only(coir_hub *hub);

/* The deadline of a wait that begins now. */
int64_t coir__deadline_after(const coir_hub *hub, int64_t timeout_ns);

/* Make `g`, the running green thread of `hub`, wait until `deadline_ns`, of
 * the loop's clock. */
int coir__park(coir_hub *hub, coir_green *g, const char *what,
               const void *object, int64_t deadline_ns,
               int (*leave)(coir_green *g), void *wait_data);

/* coir_spawn(), with all its arguments. */
int coir__spawn(coir_hub *hub, coir_green **out, coir_green_fn *fn, void *arg,
                const coir_green_attr *attr);

/* Of this thread. */
void coir__cancel(coir_green *g, unsigned how);

/* The running one, which has begun a scope, or is of one, has ended. */
void coir__scope_child_ended(coir_green *g);

/* Take one that will not run any more out of its scope, and give up those that
 * it has begun. */
void coir__scope_forget(coir_green *g);
void coir__scopes_give_up(coir_green *g);

/* Nobody knows it any more. */
void coir__dispose(coir_hub *hub, coir_green *g);

/* Free its values: each `fini` is called, and may set others; none is. */
void coir__drop_locals(coir_green *g);
void coir__forget_locals(coir_green *g);

/* End the wait of one of this thread: `leave` is not asked. */
void coir__ready(coir_hub *hub, coir_green *g, int result);

/* Free what sync keeps in it. */
void coir__selects_free(coir_hub *hub);

static inline void
coir__guest_add(coir_hub *hub, coir__guest *guest)
{
    guest->next = hub->guests;
    guest->at = &hub->guests;
    if (guest->next != NULL)
        guest->next->at = &guest->next;
    hub->guests = guest;
}

static inline void
coir__guest_remove(coir__guest *guest)
{
    *guest->at = guest->next;
    if (guest->next != NULL)
        guest->next->at = guest->at;
    guest->at = NULL;
}

/* Any thread. */
void coir__send(coir_hub *hub, coir__parcel *parcel);

/* Open what was sent, and call what was posted, in that order each. */
void coir__open_inbox(coir_hub *hub);
void coir__make_calls(coir_hub *hub);

/* End a wait early, if that is in time; returns whether it was. */
int coir__interrupt(coir_green *g, int err);

/* What coir_join() waits for. */
extern const char coir__what_join[];

/* --- look/hubs.c --------------------------------------------------------- */

/* A hub comes, and goes. */
void coir__hub_enlist(coir_hub *hub);
void coir__hub_delist(coir_hub *hub);

/* Nothing of this hub can happen by itself. Returns 1 if main was told that
 * nothing ever will; else the hub is to sleep, and then to call awakes(). */
int coir__hub_falls_asleep(coir_hub *hub);
void coir__hub_awakes(coir_hub *hub);

/* The same for an OS thread without a hub, in a wait without a limit. */
void coir__native_falls_asleep(coir__native *t);
void coir__native_awakes(coir__native *t);

/* So many more threads of the library's own have nothing to do, and will have
 * nothing to say until somebody gives them something to do: to be taken back
 * by who does. */
void coir__idle_threads_add(int count);
/* One of them was added: have hubs that are asleep look again whether anything
 * can happen still. */
void coir__idle_thread_sleeps(void);

/* May `g` begin to wait? 0 or COIR_ECANCELED. */
static inline int
coir__may_wait(const coir_green *g)
{
    return coir__unlikely(g->cancelled) && g->shields == 0 ? COIR_ECANCELED
                                                           : 0;
}

#endif
