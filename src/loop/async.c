/* async.c - waking a loop from other threads and from signal handlers.
 *
 *     sender                              loop
 *     what it has to say (sent, pending)  wake_wanted = 1
 *     wake_pending = 1                    wake_pending? then do not block
 *     wake_wanted? then write             block
 *                                         wake_pending = 0, then look what
 *                                         there is to say
 *
 * All of these are sequentially consistent, so that either the sender sees
 * that it must write or the loop that it must not block. The first sender
 * since the loop last looked is the only one that does anything, and the
 * eventfd is written at most once per wait. To send again what was sent and
 * not called yet is one exchange. */
#include "loop/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void
coir_loop_wakeup(coir_loop *loop)
{
    if (atomic_exchange(&loop->wake_pending, 1) ||
        !atomic_load(&loop->wake_wanted) ||
        !atomic_exchange(&loop->wake_wanted, 0))
        return;
    int saved = errno; /* we may be in a signal handler */
    uint64_t one = 1;
    (void)!write(loop->wake_fd, &one, sizeof one);
    errno = saved;
}

/* What is fed last is called first: that is to be the one started first. */
static void
collect_asyncs(coir_loop *loop)
{
    for (int i = loop->asyncs.count; i-- > 0;) {
        coir_async *w = (coir_async *)loop->asyncs.items[i];
        /* An exchange, so that we see what the last one that sent wrote. */
        if (__atomic_load_n(&w->sent, __ATOMIC_RELAXED) &&
            __atomic_exchange_n(&w->sent, 0, __ATOMIC_SEQ_CST)) {
            coir__feed(loop, (coir_watcher *)w, COIR_ASYNC);
        }
    }
}

static void
woken(coir_loop *loop, coir_io *w, int revents)
{
    coir__io_retry(loop, w, revents);
    if (revents & COIR_READ) {
        uint64_t count;
        (void)!read(w->fd, &count, sizeof count);
    }
    atomic_store(&loop->wake_pending, 0);
    if (atomic_exchange(&loop->signal_pending, 0))
        coir__signals_collect(loop);
    if (atomic_exchange(&loop->async_pending, 0))
        collect_asyncs(loop);
}

int
coir__wake_init(coir_loop *loop)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        coir__loop_explain("eventfd: %s", strerror(errno));
        return COIR_ENOMEM;
    }
    coir_io_init(&loop->wake_io, woken, fd, COIR_READ);
    loop->wake_io.priority = COIR_MAXPRI;
    int err = coir__io_start_own(loop, &loop->wake_io);
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    loop->wake_fd = fd;
    return 0;
}

void
coir__wake_fini(coir_loop *loop)
{
    coir__io_stop_own(loop, &loop->wake_io);
    (void)close(loop->wake_fd);
    loop->wake_fd = -1;
}

void
coir__wake_forked(coir_loop *loop)
{
    /* The parent listens to this one. */
    coir__wake_fini(loop);
    while (coir__wake_init(loop) < 0)
        coir__syserr("eventfd");
    /* A thread that is not here may have been about to say that it sent. */
    for (int i = 0; i < loop->asyncs.count; i++) {
        if (coir_async_pending((const coir_async *)loop->asyncs.items[i])) {
            atomic_store(&loop->async_pending, 1);
            coir_loop_wakeup(loop);
        }
    }
}

int
coir_async_start(coir_loop *loop, coir_async *w)
{
    if (coir_is_active(w))
        return 0;
    __atomic_store_n(&w->sent, 0, __ATOMIC_RELAXED);
    return coir__array_add(loop, &loop->asyncs, (coir_watcher *)w);
}

void
coir_async_stop(coir_loop *loop, coir_async *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (coir_is_active(w))
        coir__array_remove(loop, &loop->asyncs, (coir_watcher *)w);
}

void
coir_async_send(coir_loop *loop, coir_async *w)
{
    /* If it was sent already, whoever did that sees to the rest. */
    if (__atomic_exchange_n(&w->sent, 1, __ATOMIC_SEQ_CST))
        return;
    atomic_store(&loop->async_pending, 1);
    coir_loop_wakeup(loop);
}

int
coir_async_pending(const coir_async *w)
{
    return __atomic_load_n(&w->sent, __ATOMIC_SEQ_CST);
}
