/* io.c - descriptors.
 *
 * One slot per descriptor number, in an array that grows: its watchers, and
 * what the backend was told. Starting and stopping only change the list and
 * put the slot into the list of changed ones; coir__io_apply() tells the
 * backend once per turn, and nothing if things are as before.
 *
 * Watchers are often stopped just to be started again. Where a registration
 * costs nothing while nothing happens, it is kept when its last watcher stops,
 * and is taken back with its first event, which nobody is told of. At a start
 * it is made sure of, as the number may mean another file by then.
 *
 * Numbers are reused. coir_io_init() marks the watcher, so that at its start
 * the slot is renewed: the kernel's registration may be of a file that was
 * closed since. Each registration has a generation, which its events carry.
 *
 * Files can be closed behind our back. Poll and select see that at once. The
 * others forget the file, or keep watching it, without a word; so after
 * callbacks ran, all registered descriptors are audited, a few per turn, and
 * a loop that waits for events stops for it after 100 ms. Watchers of one that
 * is gone are stopped and told COIR_ERROR. Events of a registration that is
 * not the slot's come from a file that lives on through a duplicate after its
 * number was closed: only a new set of kernel objects gets rid of it. */
#include "loop/internal.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An edge stands in the lists of coir_io watchers. */
_Static_assert(offsetof(coir_edge, next) == offsetof(coir_io, next) &&
                   offsetof(coir_edge, fd) == offsetof(coir_io, fd) &&
                   offsetof(coir_edge, events) == offsetof(coir_io, events),
               "coir_edge and coir_io begin alike");

#define MIN_FDS 64
/* One descriptor is audited in so much time, a system call each: less than a
 * hundredth of the processor. And so many at once. */
#define AUDIT_EVERY_NS 100000
#define AUDIT_MAX 4096
/* When events have come, which wait meanwhile. */
#define AUDIT_BUSY 4

static inline int
is_edge(const coir_io *w)
{
    return w->active & COIR__EDGE;
}

static int
grow_to(coir_loop *loop, int fd)
{
    if (fd < loop->fd_count)
        return fd >= 0 ? 0 : COIR_EINVAL;
    if (fd >= INT32_MAX / 2)
        return COIR_EINVAL;
    int count = loop->fd_count > 0 ? loop->fd_count : MIN_FDS;
    while (count <= fd)
        count *= 2;
    coir__fd *fds = coir_realloc(loop->fds, (size_t)count * sizeof *fds);
    if (fds == NULL)
        return COIR_ENOMEM;
    memset(fds + loop->fd_count, 0,
           (size_t)(count - loop->fd_count) * sizeof *fds);
    loop->fds = fds;
    loop->fd_count = count;
    if (loop->fd_dirty > 0)
        loop->fd_dirty = count; /* the audit goes a longer way round */
    return 0;
}

static void apply(coir_loop *loop, int fd, int how);

/* What the backend is to watch for. */
static int
wanted(const coir_loop *loop, const coir__fd *slot)
{
    int events = 0;
    for (const coir_io *w = slot->head; w != NULL; w = w->next)
        events |= w->events;
    if (loop->backend->edge && slot->head != NULL && is_edge(slot->head) &&
        slot->head->next == NULL &&
        (events || (slot->registered & COIR__REGISTERED_EDGE)))
        return COIR_READ | COIR_WRITE | COIR__REGISTERED_EDGE;
    return events;
}

static void
change(coir_loop *loop, int fd, int how)
{
    coir__fd *slot = &loop->fds[fd];
    if (!slot->changed) {
        slot->next_change = -1;
        if (loop->fd_changes < 0)
            loop->fd_changes = fd;
        else
            loop->fds[loop->fd_changes_end].next_change = fd;
        loop->fd_changes_end = fd;
    }
    slot->changed |= (uint8_t)(COIR__FD_CHANGED | how);
}

static int
start(coir_loop *loop, coir_io *w, int active)
{
    if (coir_is_active(w))
        return 0;
    if ((w->events & ~(COIR_READ | COIR_WRITE | COIR__FDSET)) != 0)
        return COIR_EINVAL;
    int err = grow_to(loop, w->fd);
    if (err < 0)
        return err;
    coir__clamp_priority((coir_watcher *)w);
    change(loop, w->fd, w->events & COIR__FDSET ? COIR__FD_RENEW : 0);
    w->events &= ~COIR__FDSET;
    w->active = active;
    w->next = loop->fds[w->fd].head;
    loop->fds[w->fd].head = w;
    return 0;
}

/* Out of its list. */
static void
unlink_io(coir_loop *loop, coir_io *w)
{
    assert(w->fd >= 0 && w->fd < loop->fd_count &&
           "fd must not be changed while the watcher is active");
    coir_io **at = &loop->fds[w->fd].head;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    w->active = 0;
}

static int
stop(coir_loop *loop, coir_io *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return 0;
    unlink_io(loop, w);
    change(loop, w->fd, 0);
    return 1;
}

int
coir__io_reserve(coir_loop *loop, int fd)
{
    return grow_to(loop, fd);
}

int
coir_io_start(coir_loop *loop, coir_io *w)
{
    int was_active = w->active;
    int err = start(loop, w, 1);
    if (err == 0 && !was_active)
        loop->active++;
    return err;
}

void
coir_io_stop(coir_loop *loop, coir_io *w)
{
    if (stop(loop, w))
        loop->active--;
}

int
coir__io_start_own(coir_loop *loop, coir_io *w)
{
    return start(loop, w, 1 | COIR__OWN);
}

void
coir__io_stop_own(coir_loop *loop, coir_io *w)
{
    (void)stop(loop, w);
}

void
coir_io_modify(coir_loop *loop, coir_io *w, int events)
{
    w->events = (w->events & COIR__FDSET) | events;
    if (coir_is_active(w))
        change(loop, w->fd, 0);
}

/* --- edges --------------------------------------------------------------- */

int
coir_edge_start(coir_loop *loop, coir_edge *w)
{
    if (coir_is_active(w))
        return 0;
    w->events = 0;
    w->ready = 0;
    int err = grow_to(loop, w->fd);
    if (err < 0)
        return err;
    coir__clamp_priority((coir_watcher *)w);
    coir__fd *slot = &loop->fds[w->fd];
    /* The backend learns of it when it is first waited for: many never are. */
    if (slot->registered || slot->always || slot->changed)
        change(loop, w->fd, COIR__FD_RENEW);
    w->active = 1 | COIR__EDGE;
    w->next = slot->head;
    slot->head = (coir_io *)w;
    return 0;
}

int
coir_edge_wait(coir_loop *loop, coir_edge *w, int events)
{
    assert(coir_is_active(w) && (events & ~(COIR_READ | COIR_WRITE)) == 0);
    int ready = w->ready & events;
    if (ready) {
        if (!(w->ready & COIR__ALWAYS))
            w->ready &= ~ready;
        return ready;
    }
    if ((w->ready & COIR__ONCE_MORE) && (events & COIR_READ)) {
        w->ready &= ~COIR__ONCE_MORE;
        return COIR_READ;
    }
    if (!w->events)
        loop->active++;
    w->events |= events;
    if (!(loop->fds[w->fd].registered & COIR__REGISTERED_EDGE))
        change(loop, w->fd, 0);
    return 0;
}

void
coir_edge_cancel(coir_loop *loop, coir_edge *w, int events)
{
    if (w->pending) {
        w->revents &= ~events;
        if (w->revents == 0)
            (void)coir__unfeed(loop, (coir_watcher *)w);
    }
    if (!coir_is_active(w) || !(w->events & events))
        return;
    w->events &= ~events;
    loop->active -= !w->events;
    if (!(loop->fds[w->fd].registered & COIR__REGISTERED_EDGE))
        change(loop, w->fd, 0);
}

void
coir_edge_stop(coir_loop *loop, coir_edge *w)
{
    coir_edge_cancel(loop, w, COIR_READ | COIR_WRITE);
    (void)stop(loop, (coir_io *)w);
}

int
coir_edge_close(coir_loop *loop, coir_edge *w)
{
    coir_edge_cancel(loop, w, COIR_READ | COIR_WRITE);
    (void)coir__unfeed(loop, (coir_watcher *)w); /* COIR_ERROR */
    if (coir_is_active(w)) {
        unlink_io(loop, (coir_io *)w);
        coir__fd *slot = &loop->fds[w->fd];
        if (slot->registered & COIR__REGISTERED_EDGE) {
            /* The kernel forgets it with the file. */
            slot->registered = 0;
            slot->generation++;
        }
        else
            /* Now, as some backends hold the file open. */
            apply(loop, w->fd, 0);
    }
    return coir__close_watched(w->fd);
}

/* It became ready: what of it is to be told. */
static int
edge_ready(coir_loop *loop, coir_edge *w, int events)
{
    int got = w->events & events;
    w->ready |= events & ~got;
    if (got) {
        w->events &= ~got;
        loop->active -= !w->events;
        if (!(loop->fds[w->fd].registered & COIR__REGISTERED_EDGE))
            change(loop, w->fd, 0);
    }
    return got;
}

/* --- ready descriptors --------------------------------------------------- */

static inline void
feed_slot(coir_loop *loop, const coir__fd *slot, int events)
{
    for (coir_io *w = slot->head; w != NULL; w = w->next) {
        int got = coir__unlikely(is_edge(w))
                      ? edge_ready(loop, (coir_edge *)w, events)
                      : w->events & events;
        if (got)
            coir__feed(loop, (coir_watcher *)w, got);
    }
}

void
coir__io_ready(coir_loop *loop, int fd, uint32_t generation, int events)
{
    if (coir__likely(fd >= 0 && fd < loop->fd_count)) {
        const coir__fd *slot = &loop->fds[fd];
        if (coir__likely(slot->generation == generation && slot->registered)) {
            if (coir__unlikely(slot->kept)) {
                change(loop, fd, COIR__FD_DROP);
                loop->fd_drop = 1;
            }
            feed_slot(loop, slot, events);
            return;
        }
    }
    if (loop->reset == 0)
        loop->reset = COIR__RESET_STALE;
}

void
coir_feed_fd_event(coir_loop *loop, int fd, int revents)
{
    if (fd >= 0 && fd < loop->fd_count && !loop->fds[fd].changed)
        feed_slot(loop, &loop->fds[fd], revents);
}

void
coir__io_kill(coir_loop *loop, int fd)
{
    coir_io *w;
    while ((w = loop->fds[fd].head) != NULL) {
        int kind = coir__pending_kind((coir_watcher *)w);
        if (is_edge(w))
            coir_edge_stop(loop, (coir_edge *)w);
        else if (kind == COIR__PENDING_OWN)
            coir__io_stop_own(loop, w);
        else
            coir_io_stop(loop, w);
        coir__feed(loop, (coir_watcher *)w,
                   COIR_ERROR | COIR_READ | COIR_WRITE);
        w->pending = kind;
    }
}

/* --- those that are always ready ----------------------------------------- */

static int
always_add(coir_loop *loop, int fd)
{
    if (loop->always_count == loop->always_size) {
        int size = loop->always_size > 0 ? 2 * loop->always_size : 8;
        int *always =
            coir_realloc(loop->always, (size_t)size * sizeof *always);
        if (always == NULL)
            return ENOMEM;
        loop->always = always;
        loop->always_size = size;
    }
    loop->always[loop->always_count++] = fd;
    loop->fds[fd].always = 1;
    return 0;
}

static void
always_remove(coir_loop *loop, int fd)
{
    for (int i = 0; i < loop->always_count; i++)
        if (loop->always[i] == fd)
            loop->always[i] = loop->always[--loop->always_count];
    loop->fds[fd].always = 0;
}

void
coir__io_always(coir_loop *loop)
{
    for (int i = 0; i < loop->always_count; i++)
        feed_slot(loop, &loop->fds[loop->always[i]], COIR_READ | COIR_WRITE);
}

/* A descriptor that cannot be watched, as it never blocks. Edges are told once
 * and for all, so that the loop may block. 0 or an errno value. */
static int
always_ready(coir_loop *loop, int fd)
{
    int others = 0;
    for (coir_io *w = loop->fds[fd].head; w != NULL; w = w->next) {
        if (!is_edge(w)) {
            others = 1;
            continue;
        }
        coir_edge *edge = (coir_edge *)w;
        int got = edge_ready(loop, edge, COIR_READ | COIR_WRITE);
        edge->ready = COIR_READ | COIR_WRITE | COIR__ALWAYS;
        if (got)
            coir__feed(loop, (coir_watcher *)w, got);
    }
    return others ? always_add(loop, fd) : 0;
}

/* --- telling the backend ------------------------------------------------- */

static void
apply(coir_loop *loop, int fd, int how)
{
    coir__fd *slot = &loop->fds[fd];
    int renew = (how & COIR__FD_RENEW) || slot->kept;
    int events = wanted(loop, slot);
    if (slot->always) {
        if (events && !renew)
            return;
        always_remove(loop, fd);
    }
    if (events == slot->registered && !(renew && events))
        return;
    if (events == 0 && loop->backend->lasting && !(how & COIR__FD_DROP)) {
        slot->kept = 1;
        return;
    }
    slot->kept = 0;
    slot->generation++;
    int err = loop->backend->modify(loop, fd, events);
    if (err != 0 && slot->registered)
        (void)loop->backend->modify(loop, fd, 0); /* what was there before */
    slot->registered = 0;
    if (err == EPERM)
        err = always_ready(loop, fd);
    else if (err == 0)
        slot->registered = (uint8_t)events;
    if (err != 0)
        coir__io_kill(loop, fd);
}

void
coir__io_apply(coir_loop *loop)
{
    loop->fd_drop = 0;
    while (loop->fd_changes >= 0) {
        int fd = loop->fd_changes;
        coir__fd *slot = &loop->fds[fd];
        int how = slot->changed;
        loop->fd_changes = slot->next_change;
        slot->changed = 0;
        apply(loop, fd, how);
    }
}

void
coir__io_forget(coir_loop *loop)
{
    for (int fd = 0; fd < loop->fd_count; fd++) {
        coir__fd *slot = &loop->fds[fd];
        if (slot->registered || slot->always) {
            slot->registered = 0;
            slot->kept = 0;
            slot->generation++;
            change(loop, fd, COIR__FD_RENEW);
        }
    }
}

/* --- audit --------------------------------------------------------------- */

static int
is_own(const coir_loop *loop, int fd)
{
    return fd == loop->wake_fd || fd == loop->signal_fd ||
           fd == loop->timer_fd || fd == loop->inotify_fd;
}

/* Not those that nobody waits for, nor the loop's own, which nobody else
 * knows. */
static int
is_to_audit(const coir_loop *loop, int fd)
{
    const coir__fd *slot = &loop->fds[fd];
    const coir_io *head = slot->head;
    return slot->registered && !slot->changed && head != NULL &&
           (!is_edge(head) || head->events != 0) && !is_own(loop, fd);
}

void
coir__io_audit(coir_loop *loop, int idle)
{
    if (loop->backend->audit == NULL)
        return;
    int64_t due = (loop->now - loop->fd_audited) / AUDIT_EVERY_NS;
    if (due <= 0)
        return;
    loop->fd_audited = loop->now;
    int max = idle ? AUDIT_MAX : AUDIT_BUSY;
    for (int n = 0; n < max && n < due && loop->fd_dirty > 0; n++) {
        loop->fd_dirty--;
        if (++loop->fd_audit >= loop->fd_count)
            loop->fd_audit = 0;
        int fd = loop->fd_audit;
        coir__fd *slot = &loop->fds[fd];
        if (is_to_audit(loop, fd) && loop->backend->audit(loop, fd) != 0) {
            slot->registered = 0;
            slot->generation++;
            for (coir_io *w = slot->head; w != NULL; w = w->next)
                if (is_edge(w))
                    ((coir_edge *)w)->ready |= COIR__NOT_OURS;
            coir__io_kill(loop, fd);
        }
    }
}

void
coir__io_fini(coir_loop *loop)
{
    coir_free(loop->fds);
    coir_free(loop->always);
}

void
coir__io_verify(coir_loop *loop)
{
    for (int fd = 0; fd < loop->fd_count; fd++) {
        const coir__fd *slot = &loop->fds[fd];
        for (const coir_io *w = slot->head; w != NULL; w = w->next) {
            if (!coir_is_active(w))
                coir__damaged("an io watcher was overwritten while active");
            if (w->fd != fd)
                coir__damaged("fd was changed while active");
        }
        if (slot->kept && !slot->changed && wanted(loop, slot) != 0)
            coir__damaged("a registration is kept that somebody waits for");
        if (!slot->changed && !slot->always && !slot->kept &&
            wanted(loop, slot) != slot->registered)
            coir__damaged("the backend was not told of a descriptor");
    }
}
