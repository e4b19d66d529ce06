/* internal.h - what the files of coir/net.h share. See socket.c. */
#ifndef COIR__NET_INTERNAL_H
#define COIR__NET_INTERNAL_H

#include <coir/net.h>

#include <errno.h>
#include <stdatomic.h>

#include "base/fork.h"
#include "hub/internal.h"
#include "sim/sys.h"
#include "sync/waitq.h"

/* Directions: those who read or accept, and those who write or connect. */
enum { COIR__IN, COIR__OUT };

/* `state` of a socket: two counts and flags. */
#define COIR__BUSY UINT64_C(1) /* in system calls, in all threads */
#define COIR__BUSY_MASK UINT64_C(0xfffff)
#define COIR__HOLD (COIR__BUSY_MASK + 1) /* who may still use its memory */
#define COIR__HOLD_MASK (UINT64_C(0xfffffffff) * COIR__HOLD)
#define COIR__TORN(dir) (UINT64_C(1) << (60 + (dir)))
#define COIR__CLOSED (UINT64_C(1) << 62)
#define COIR__GONE (UINT64_C(1) << 63) /* and the descriptor is not ours */

/* Bytes that were spliced from a socket and not to another one yet. */
typedef struct coir__inner_pipe {
    coir_mutex mutex; /* one call at a time */
    int reader;
    int writer;
    size_t len;
} coir__inner_pipe;

struct coir_socket {
    coir_edge edge; /* in the loop of `hub` */
    _Atomic uint64_t state;
    int fd;
    unsigned forks; /* in which process it was last used, see base/fork.h */
    uint8_t is_socket;
    uint8_t is_stream; /* of bytes: what falls short was all there is */
    /* Only in the thread of `hub`. Bit per direction: the last transfer fell
     * short, and it has not become ready since. */
    uint8_t drained;

    /* Those who wait in `hub`, by direction. The first one's lock guards all
     * that follows. */
    coir_waitq lines[2];
    coir_waitq strangers;    /* who wait in other hubs */
    atomic_uchar turn[2];    /* one was taken out to try */
    coir_hub *_Atomic hub;   /* NULL: nobody has waited yet */
    coir__guest guest;       /* of the hub */
    coir__parcel parcel;     /* to the hub: closed */
    coir__inner_pipe *inner; /* NULL: has not been needed */
};

/* Counting. A process of one thread does without the bus lock. */
static inline uint64_t
coir__state_sub(coir_socket *s, uint64_t less)
{
    if (!coir__single_threaded())
        return atomic_fetch_sub(&s->state, less);
    uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    atomic_store_explicit(&s->state, state - less, memory_order_relaxed);
    return state;
}

/* Unless one of the flags in `unless` is set. Returns the state before. */
static inline uint64_t
coir__state_add(coir_socket *s, uint64_t more, uint64_t unless)
{
    uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    if (coir__single_threaded()) {
        if (coir__likely(!(state & unless)))
            atomic_store_explicit(&s->state, state + more,
                                  memory_order_relaxed);
        return state;
    }
    while (!(state & unless) &&
           !atomic_compare_exchange_weak(&s->state, &state, state + more))
        ;
    return state;
}

/* It is used for the first time in this process. */
void coir__socket_forked(coir_socket *s);

static inline void
coir__socket_check_fork(coir_socket *s)
{
    if (coir__unlikely(s->forks != coir__forks))
        coir__socket_forked(s);
}

static inline coir_hub *
coir__socket_hub(const coir_socket *s)
{
    return atomic_load_explicit(&s->hub, memory_order_relaxed);
}

/* Must one that comes now wait for others? */
static inline int
coir__socket_is_crowded(const coir_socket *s, int dir)
{
    return __atomic_load_n(&s->lines[dir].count, __ATOMIC_RELAXED) > 0 ||
           atomic_load_explicit(&s->turn[dir], memory_order_relaxed);
}

/* What a system call left in errno, as an error. */
static inline int
coir__error_of(int e)
{
    return e == ENOMEM ? COIR_ENOMEM : COIR_ERRNO(e);
}

/* Undo a coir_socket_hold(), without closing. */
void coir__socket_drop(coir_socket *s);

/* Until `deadline_ns`, for one of several waits. */
static inline int64_t
coir__remaining(int64_t deadline_ns)
{
    if (deadline_ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t left = deadline_ns - coir__deadline_after(coir__hub, 0);
    return left > 0 ? left : 0;
}

/* One call on a socket, on the caller's stack. */
typedef struct coir__use {
    coir_socket *s;
    const char *what;
    int64_t timeout_ns;
    int64_t deadline_ns; /* once it has waited */
    uint8_t dir;
    uint8_t busy;   /* is counted as that */
    uint8_t waited; /* deadline_ns is set */
    uint8_t turn;   /* it is its turn */
} coir__use;

/* New socket on `fd`; on failure that stays open. */
int coir__socket_new(coir_socket **out, int fd, int is_socket, int is_stream);

/* Wait until it may try, again. */
int coir__use_wait(coir__use *u);
/* It makes no system call from now on, but is not over. */
void coir__use_set_idle(coir__use *u);
/* It does, again. 0 or COIR_ECLOSED. */
int coir__use_set_busy(coir__use *u);
/* Rare things before, and after a call. */
int coir__use_begin_slowly(coir__use *u);
/* There are others in line. */
void coir__use_pass_turn(coir__use *u);
void coir__socket_last(coir_socket *s, int fd, uint64_t before,
                       uint64_t after);

/* Make it the socket's, unless that has one; which is returned. */
coir__inner_pipe *coir__inner_pipe_set(coir_socket *s,
                                       coir__inner_pipe *inner);
void coir__inner_pipe_free(coir__inner_pipe *inner); /* NULL is ignored */

/* Calls a green thread may make without waiting before others get a turn. */
#define COIR__CALLS_MAX 32

/* Begin a call, to be ended by coir__use_end() in any case. 0, or the error
 * of one of the flags in `unless`. */
static inline int
coir__use_enter(coir__use *u, coir_socket *s, int dir, const char *what,
                int64_t timeout_ns, uint64_t unless)
{
    u->s = s;
    u->what = what;
    u->timeout_ns = timeout_ns;
    u->dir = (uint8_t)dir;
    u->busy = u->waited = u->turn = 0;
    coir__socket_check_fork(s);
    uint64_t state = coir__state_add(s, COIR__HOLD + COIR__BUSY, unless);
    if (coir__unlikely(state & unless)) {
        atomic_fetch_add(&s->state, COIR__HOLD);
        return state & COIR__CLOSED ? COIR_ECLOSED : COIR_ETORN;
    }
    u->busy = 1;
    return 0;
}

/* The same for one that may have to wait: 0, try. `sure`: if the last one fell
 * short, there is nothing to try for. */
static inline int
coir__use_begin(coir__use *u, coir_socket *s, int dir, const char *what,
                int64_t timeout_ns, int sure)
{
    coir__sim_point(timeout_ns);
    int err = coir__use_enter(u, s, dir, what, timeout_ns,
                              COIR__CLOSED | COIR__TORN(dir));
    if (err < 0)
        return err;
    coir_hub *hub = coir__hub;
    if (hub == NULL)
        return 0;
    if (coir__unlikely(++hub->calls_made > COIR__CALLS_MAX) ||
        coir__unlikely(coir__socket_is_crowded(s, dir)))
        return coir__use_begin_slowly(u);
    if (sure && timeout_ns != 0 && coir__socket_hub(s) == hub &&
        (s->drained & 1 << dir))
        return coir__use_wait(u);
    return 0;
}

/* A system call failed: 0, try again; or an error. */
static inline int
coir__use_again(coir__use *u, int e)
{
    if (e == EAGAIN || e == EWOULDBLOCK)
        return coir__use_wait(u);
    return e == EINTR ? 0 : coir__error_of(e);
}

/* `n` of `len` bytes were transferred. */
static inline void
coir__use_done(const coir__use *u, ssize_t n, size_t len)
{
    coir_socket *s = u->s;
    if (!s->is_stream || coir__hub == NULL || coir__socket_hub(s) != coir__hub)
        return;
    if (n > 0 && (size_t)n < len)
        s->drained |= (uint8_t)(1 << u->dir);
    else
        s->drained &= (uint8_t) ~(1 << u->dir);
}

static inline ssize_t
coir__use_end(coir__use *u, ssize_t result)
{
    coir_socket *s = u->s;
    if (u->turn) {
        if (coir__unlikely(coir_waitq_count(&s->lines[u->dir]) > 0))
            coir__use_pass_turn(u);
        else
            atomic_store_explicit(&s->turn[u->dir], 0, memory_order_relaxed);
    }
    uint64_t mine = COIR__HOLD + (u->busy ? COIR__BUSY : 0);
    int fd = s->fd; /* it may be gone after this */
    uint64_t before = coir__state_sub(s, mine);
    if (coir__unlikely(before & COIR__CLOSED))
        coir__socket_last(s, fd, before, before - mine);
    return result;
}

/* The middle of a call: try `call` until it succeeds. */
#define COIR__TRY(u, err, n, call)                                            \
    while ((err) == 0 && ((n) = (call)) < 0)                                  \
    (err) = coir__use_again(u, errno)

#endif
