/* coir/hub.h - green threads: blocking-style code, thousands in one thread.
 *
 *     static int
 *     worker(void *arg)
 *     {
 *         coir_sleep(COIR_NS_PER_S);
 *         return 0;
 *     }
 *
 *     coir_green *g;
 *     int result;
 *     coir_spawn(&g, worker, NULL, NULL);
 *     coir_join(g, &result);
 *
 * A green thread is a coroutine that the hub of its OS thread schedules. Each
 * OS thread has a hub of its own, made when it is first needed. One green
 * thread runs at a time, until it waits or yields; then the next ready one is
 * switched to, first come, first served. When none is ready, and now and then
 * in between, the hub looks what its event loop has. What the OS thread ran
 * before it had a hub is a green thread, too: the main one.
 *
 * Owner:   a green thread that was spawned lives until it has ended and has
 *          been joined, or, if detached, until it has ended.
 * Threads: a green thread never leaves its OS thread. All here is for that
 *          thread, but for coir_hub_post() and coir_cancel().
 * Forks:   only the green thread that forked lives on in the child: see
 *          coir_hub_fork().
 * Blocks:  what waits says so. It blocks the green thread, not the others.
 * Errors:  0 or a negative COIR_E* error. A wait ends with COIR_ECANCELED
 *          (coir_cancel()), COIR_ETIMEDOUT (its own timeout, or a deadline
 *          around it) or, in the main green thread only, with COIR_EDEADLK:
 *          no green thread can ever run again. In a callback of the loop or
 *          the hub, which must not wait, it fails with COIR_EINVAL. */
#ifndef COIR_HUB_H
#define COIR_HUB_H

#include <coir/coro.h>
#include <coir/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_green coir_green;
typedef struct coir_hub coir_hub;
typedef struct coir_scope coir_scope;

/* What a green thread runs; what it returns is its result. */
typedef int coir_green_fn(void *arg);

typedef struct coir_green_attr {
    const char *name;  /* for reports; borrowed, must outlive it; or NULL */
    size_t stack_size; /* 0: the default, see coir_coro_attr */
    int policy;        /* enum coir_policy */
    int detached;      /* is not joined */
} coir_green_attr;

/* --- green threads ------------------------------------------------------- */

/* Make a green thread; it runs for the first time when this one waits or
 * yields. `attr` NULL for the defaults; `out` may be NULL if it is detached.
 * It inherits the deadlines that are in force. COIR_EINVAL; COIR_ENOMEM. */
COIR_API int coir_spawn(coir_green **out, coir_green_fn *fn, void *arg,
                        const coir_green_attr *attr);

/* Wait until it has ended, then free it; `*result` is what it returned, if
 * `result` is not NULL. If the wait fails it can be joined again. One may join
 * it. COIR_EINVAL: the running one, or one that is detached. */
COIR_API int coir_join(coir_green *g, int *result);

/* Nobody will join it, nor waits to: it is freed when it has ended. */
COIR_API void coir_detach(coir_green *g);

/* Let the others that are ready run first. Returns 0 or COIR_ECANCELED. */
COIR_API int coir_yield(void);

/* Wait for a time: 0 once it is over. */
COIR_API int coir_sleep(int64_t timeout_ns);

/* The running green thread; NULL in the hub's own callbacks, or if there is no
 * memory for a hub. */
COIR_API coir_green *coir_self(void);

enum coir_green_state {
    COIR_GREEN_READY,   /* to run when its turn comes */
    COIR_GREEN_RUNNING, /* the running one */
    COIR_GREEN_WAITING,
    COIR_GREEN_ENDED /* not joined yet */
};

COIR_API int coir_green_state(const coir_green *g);
COIR_API const char *coir_green_name(const coir_green *g); /* or "" */
/* What it waits for ("sleep", "event", ...), "" if it does not. */
COIR_API const char *coir_green_waits_for(const coir_green *g);

/* --- cancelling ---------------------------------------------------------- */

/* Ask it to end: the wait that it is in, and all that it begins from now on,
 * fail with COIR_ECANCELED, except in shields. It is to clean up and return.
 * One that has not run yet will not, and what was to be freed by it, its
 * argument, is left to whoever cancels. The main one may be cancelled, too.
 * Any thread; but for another one it is up to the caller that `g` is not
 * joined before this returns, nor detached. */
COIR_API void coir_cancel(coir_green *g);
/* That, or a scope that it has begun was cancelled. */
COIR_API int coir_is_cancelled(const coir_green *g);

/* Between the two the running green thread's waits do not end by
 * coir_cancel(), so that it can wait while it cleans up. They nest. */
COIR_API void coir_shield_begin(void);
COIR_API void coir_shield_end(void);

/* A deadline: the waits of the running green thread between begin and end,
 * taken together, may last so long. They nest; the earliest counts. In the
 * caller's memory, for instance on its stack. */
typedef struct coir_deadline {
    struct coir_deadline *outer;
    int64_t at_ns; /* [ro] of the loop's clock */
} coir_deadline;

/* timeout_ns: from now; COIR_FOREVER for none. */
COIR_API void coir_deadline_begin(coir_deadline *d, int64_t timeout_ns);
/* In the reverse order of begin. Returns whether it has passed. */
COIR_API int coir_deadline_end(coir_deadline *d);
/* Until the earliest of those in force: COIR_FOREVER if there is none, 0 if it
 * has passed. */
COIR_API int64_t coir_deadline_remaining(void);

/* --- scopes -------------------------------------------------------------- */

/* A scope is left only when all green threads that were spawned in it have
 * ended, however it is left, and if one fails the others are cancelled:
 *
 *     coir_scope *scope;
 *     coir_scope_begin(&scope);
 *     for (int i = 0; i < count; i++)
 *         coir_scope_spawn(scope, fetch, &pages[i], NULL);
 *     int err = coir_scope_end(scope);
 *
 * Scopes nest; a scope belongs to the green thread that began it. COIR_ENOMEM;
 * COIR_EINVAL in a callback. */
COIR_API int coir_scope_begin(coir_scope **out);

/* Spawn in the scope, from the one that began it or from one in it. There is
 * nothing to join, and attr->detached counts for nothing: it fails if what it
 * returns is negative. COIR_ECANCELED if the scope is; as coir_spawn(). */
COIR_API int coir_scope_spawn(coir_scope *s, coir_green_fn *fn, void *arg,
                              const coir_green_attr *attr);

/* Cancel all in it, and the waits of the one that began it until the end of
 * the scope. In this thread only. */
COIR_API void coir_scope_cancel(coir_scope *s);
COIR_API int coir_scope_is_cancelled(const coir_scope *s);

/* Wait until all in it have ended, and free it. If this wait fails (cancelled,
 * the time of a deadline over) all in it are cancelled, and waited for. What
 * the first that failed has returned; else why the wait failed; else 0, also
 * if it was cancelled by coir_scope_cancel(). */
COIR_API int coir_scope_end(coir_scope *s);

/* --- values of a green thread -------------------------------------------- */

/* A value for the running green thread alone, under a key that is compared as
 * an address: that of a static variable, say. `fini`, if it is not NULL, is
 * called with it when another one is set, or when the green thread has ended.
 * COIR_ENOMEM. */
COIR_API int coir_local_set(const void *key, void *value,
                            void (*fini)(void *value));
/* NULL if there is none. */
COIR_API void *coir_local_get(const void *key);

/* --- the hub ------------------------------------------------------------- */

/* This thread's, made if need be. NULL: no memory, or no descriptors for its
 * loop. */
COIR_API coir_hub *coir_hub_get(void);

/* Its loop: watchers may be started in it. Run by the hub only. */
COIR_API coir_loop *coir_hub_loop(coir_hub *hub);

/* In the main green thread: wait until all others have ended. Returns 0;
 * COIR_EDEADLK, after a report on stderr of who waits for what, if they never
 * will; COIR_EINVAL in another one. */
COIR_API int coir_hub_run(void);

/* Free this thread's hub. COIR_EBUSY: there are other green threads, or this
 * is not the main one. Happens by itself when the thread ends; if green
 * threads wait then, they are abandoned, and the hub is lost with them. */
COIR_API int coir_hub_fini(void);

/* How many green threads may run before the hub looks at its loop; at least 1.
 * At first 100, or more as long as that takes no more than 10 us. */
COIR_API void coir_hub_set_budget(coir_hub *hub, unsigned budget);

/* A call to be made in the hub: not in a green thread, so it must not wait. */
typedef struct coir_call {
    void (*fn)(struct coir_call *call);
    void *data;
    struct coir_call *next;
} coir_call;

/* Have it called soon. `call` must stay until then. Any thread, signal
 * handlers too; the hub must not be freed meanwhile. */
COIR_API void coir_hub_post(coir_hub *hub, coir_call *call);

/* --- forks --------------------------------------------------------------- */

/* As fork(): 0 in the child, there its number; but errors are negative.
 *
 * In the child the green thread that forked goes on, in the place of the main
 * one: what it returns is the exit status of the process. The others are
 * dropped as they are, without unwinding: they have ended with COIR_ECANCELED,
 * what they hold stays taken (a mutex locked, memory allocated), values of
 * theirs are not finished, and nobody waits for anything any more. Calls that
 * were posted and not made yet are dropped, too. Watchers in the hub's loop go
 * on, on kernel objects of the child's own. The parent notices nothing.
 *
 * fork() does the same, but the others are only dropped when the child uses
 * its hub; one that goes on to an exec never does. If a callback of the loop
 * forks, it is the main one that lives on, and its wait fails with
 * COIR_ECANCELED. Of other OS threads nothing lives on, nor do their hubs; an
 * object that one of them was changing at that very moment is not to be used
 * in the child. */
COIR_API int coir_hub_fork(void);

/* --- to build on --------------------------------------------------------- */

/* Make the running green thread wait, until coir_unpark(), for at most
 * timeout_ns (COIR_FOREVER: no limit). `what`, a static string, and `object`,
 * or NULL, are for reports. Returns what coir_unpark() was given, or the error
 * of a wait. */
COIR_API int coir_park(const char *what, const void *object,
                       int64_t timeout_ns);

/* End the wait of one that is in coir_park(). Returns 1; 0 if it is not. */
COIR_API int coir_unpark(coir_green *g, int result);

#ifdef __cplusplus
}
#endif

#endif
