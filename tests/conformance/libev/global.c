/* global.c - functions that need no loop. */
#include "case.h"

CASE(ev_version_major)
{
    say("%d %d", ev_version_major(), EV_VERSION_MAJOR);
}

CASE(ev_version_minor)
{
    say("%d %d", ev_version_minor(), EV_VERSION_MINOR);
}

/* The check at the start of a program that the manual advises. */
CASE(ev_version_check)
{
    say("%d", ev_version_major() == EV_VERSION_MAJOR &&
                  ev_version_minor() >= EV_VERSION_MINOR);
}

CASE(ev_supported_backends)
{
    unsigned usual = EVBACKEND_SELECT | EVBACKEND_POLL | EVBACKEND_EPOLL;
    unsigned others = EVBACKEND_KQUEUE | EVBACKEND_DEVPOLL | EVBACKEND_PORT;
    say("%x %x", ev_supported_backends() & usual,
        ev_supported_backends() & others);
}

CASE(ev_supported_backends_linuxaio)
{
    say("%x", ev_supported_backends() & EVBACKEND_LINUXAIO);
}

CASE(ev_recommended_backends)
{
    say("%x", ev_recommended_backends());
    say("%d", (ev_recommended_backends() & ~ev_supported_backends()) == 0);
}

CASE(ev_embeddable_backends)
{
    unsigned usable = ev_embeddable_backends() & ev_supported_backends();
    say("%x", usable & (EVBACKEND_SELECT | EVBACKEND_POLL | EVBACKEND_EPOLL));
}

CASE(ev_time)
{
    ev_tstamp first = ev_time();
    ev_tstamp second = ev_time();
    say("near the clock %d", fabs(first - (ev_tstamp)time(NULL)) < 2);
    say("goes on %d", second >= first);
    say("has fractions %d", first != floor(first) || second != floor(second));
}

CASE(ev_sleep)
{
    ev_tstamp start = ev_time();
    ev_sleep(0.02);
    ev_tstamp slept = ev_time() - start;
    say("long enough %d, not too long %d", slept > 0.019, slept < 5);
}

CASE(ev_sleep_not_at_all)
{
    ev_tstamp start = ev_time();
    ev_sleep(0);
    ev_sleep(-5);
    say("%d", ev_time() - start < 1);
}

/* --- ev_set_allocator ---------------------------------------------------- */

#if EV_MULTIPLICITY
static int allocations;
static int blocks;

static void *
allocate(void *ptr, long size) EV_NOEXCEPT
{
    allocations++;
    if (size == 0) {
        blocks -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    blocks += ptr == NULL;
    return realloc(ptr, (size_t)size);
}

CASE(ev_set_allocator)
{
    ev_set_allocator(allocate);
    struct ev_loop *loop = ev_loop_new(0);
    int fds[2];
    make_pipe(fds);
    ev_io io;
    ev_io_init(&io, say_io, fds[0], EV_READ);
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "timer");
    ev_io_start(loop, &io);
    ev_timer_start(loop, &timer);
    ev_run(loop, EVRUN_NOWAIT);
    say("called %d, blocks %d", allocations > 0, blocks > 0);
    ev_io_stop(loop, &io);
    ev_timer_stop(loop, &timer);
    ev_loop_destroy(loop);
    say("left %d", blocks);
}

/* --- ev_set_syserr_cb ---------------------------------------------------- */

/* Close epoll's descriptor behind the loop's back. */
static void
sabotage(EV_P)
{
    need(ev_backend(EV_A) == EVBACKEND_EPOLL, "epoll");
    ev_run(EV_A_ EVRUN_NOWAIT); /* it has told the kernel all it had to */
    for (int fd = 3; fd < 64; fd++) {
        char path[40], target[40] = "";
        (void)sprintf(path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0 &&
            strcmp(target, "anon_inode:[eventpoll]") == 0)
            (void)close(fd);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("not reached");
}

static void
on_syserr(const char *msg) EV_NOEXCEPT
{
    say("has a message %d, errno %s", msg != NULL && *msg != '\0',
        errno == EBADF ? "EBADF" : strerror(errno));
    exit(7);
}

CASE(ev_set_syserr_cb)
{
    ev_set_syserr_cb(on_syserr);
    sabotage(ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV));
}

/* The default is to print a message and abort. */
CASE(ev_set_syserr_cb_default)
{
    sabotage(ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV));
}

CASE(ev_set_syserr_cb_restored)
{
    ev_set_syserr_cb(on_syserr);
    ev_set_syserr_cb(NULL);
    sabotage(ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV));
}
#endif

/* --- ev_feed_signal ------------------------------------------------------ */

CASE(ev_feed_signal)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "usr1");
    ev_signal_start(EV_A_ &w);
    ev_feed_signal(SIGUSR1);
    ev_feed_signal(SIGUSR1);
    ev_feed_signal(SIGUSR2); /* nobody watches it */
    say("pending %d", !!ev_is_pending(&w));
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

static void
feed(int signum)
{
    ev_feed_signal(signum);
}

/* From a handler of one's own, as the manual has it. */
CASE(ev_feed_signal_from_handler)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "usr1");
    ev_signal_start(EV_A_ &w);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = feed;
    need(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    (void)raise(SIGUSR1);
    ev_run(EV_A_ EVRUN_ONCE);
}

static void *
feed_in_thread(void *arg)
{
    ev_sleep(0.02);
    ev_feed_signal(SIGUSR1);
    return arg;
}

/* It ends a wait. */
CASE(ev_feed_signal_from_thread)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_signal_init(&w, say_signal, SIGUSR1);
    NAME(&w, "usr1");
    ev_signal_start(EV_A_ &w);
    pthread_t thread;
    need(pthread_create(&thread, NULL, feed_in_thread, NULL) == 0, "thread");
    ev_run(EV_A_ EVRUN_ONCE);
    (void)pthread_join(thread, NULL);
}
