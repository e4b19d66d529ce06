/* backend.h - how a loop waits, and where its time comes from.
 *
 * All that is asked of the kernel to know what is ready goes through this
 * table, all reading of clocks through the other; tests put their own in. */
#ifndef COIR__LOOP_BACKEND_H
#define COIR__LOOP_BACKEND_H

#include <coir/op.h>

#include "base/platform.h"

typedef struct coir__backend {
    unsigned flag; /* COIR_BACKEND_* */
    const char *name;
    int edge;       /* can watch edge-triggered */
    int embeddable; /* its descriptor becomes readable with events */
    /* To take a registration back costs a system call, and to leave it none:
     * it goes with its file. The loop leaves it until its first event. */
    int lasting;

    /* Set up loop->backend_data. 0, COIR_ENOMEM, or COIR_ENOSYS after
     * coir__loop_explain(). */
    int (*init)(coir_loop *loop);
    void (*fini)(coir_loop *loop);

    /* Fresh kernel objects, with nothing registered: in the child after a
     * fork, where the parent's must not be touched, or when there are stale
     * registrations. Returns 0 or an errno value; the loop tries again. */
    int (*reset)(coir_loop *loop);

    /* A descriptor is to be watched for `events` (COIR_READ | COIR_WRITE, 0:
     * not any more; with COIR__REGISTERED_EDGE, if `edge`, edge-triggered),
     * before it was for slot->registered; it may have become another file
     * since. Returns 0 or an errno value: EPERM says that it is always ready,
     * others stop its watchers; what was watched for before is taken back by a
     * second call. Never fails for 0 events. */
    int (*modify)(coir_loop *loop, int fd, int events);

    /* Block until something is ready, at most timeout_ns (COIR_FOREVER: no
     * limit; 0: do not block), not shorter without an event but for
     * rounding. Calls coir__io_ready() for each descriptor. Returns 0, or
     * EINTR if a signal handler ended the wait. */
    int (*wait)(coir_loop *loop, int64_t timeout_ns);

    /* Is this registered descriptor still the one the kernel watches? Returns
     * 0 or an errno value. NULL: wait() always sees what the number means. */
    int (*audit)(coir_loop *loop, int fd);

    /* For embedding: a descriptor that is readable when there are events, or
     * -1. NULL if not embeddable. */
    int (*descriptor)(coir_loop *loop);

    /* Operations, if the kernel can do them; else all are NULL. Start returns
     * whether it did; the index and the generation are the operation's name.
     * Cancelled ones complete as others do. */
    int (*op_start)(coir_loop *loop, coir_op *op, uint32_t generation);
    void (*op_cancel)(coir_loop *loop, unsigned index, uint32_t generation);
    /* Have the kernel choose buffers of a group: sets b->kernel and b->group,
     * if it can; and give one back. */
    void (*buffers_init)(coir_buffers *b);
    void (*buffers_fini)(coir_buffers *b);
    void (*buffers_release)(coir_buffers *b, unsigned index);
} coir__backend;

extern const coir__backend coir__backend_epoll;
extern const coir__backend coir__backend_uring;
extern const coir__backend coir__backend_poll;
extern const coir__backend coir__backend_select;

typedef struct coir__clock {
    int64_t (*monotonic)(void *user);
    int64_t (*wall)(void *user);
    void (*sleep)(void *user, int64_t timeout_ns);
    void *user;
} coir__clock;

extern const coir__clock coir__clock_system;

/* What coir_clock_monotonic() and its like read in this thread, if not the
 * system's clocks: in a simulation. */
extern COIR__THREAD_LOCAL const coir__clock *coir__clock_here;

/* coir_loop_new() with a given backend, and a clock, which is copied. */
int coir__loop_new_with(coir_loop **out, unsigned flags,
                        const coir__backend *backend,
                        const coir__clock *clock);

#endif
