/* macros.c - constants, configuration, EV_A and its like, names of libev 3. */
#include "case.h"

#include <stddef.h>

#define SAY_INT(name) say(#name " %#x", (unsigned)(name))
#define SAY_IF(name) say(#name " %d", !!(name))

CASE(constants_events)
{
    SAY_INT(EV_UNDEF);
    SAY_INT(EV_NONE);
    SAY_INT(EV_READ);
    SAY_INT(EV_WRITE);
    SAY_INT(EV_IO);
    SAY_INT(EV_TIMER);
    SAY_INT(EV_TIMEOUT);
    SAY_INT(EV_PERIODIC);
    SAY_INT(EV_SIGNAL);
    SAY_INT(EV_CHILD);
    SAY_INT(EV_STAT);
    SAY_INT(EV_IDLE);
    SAY_INT(EV_PREPARE);
    SAY_INT(EV_CHECK);
    SAY_INT(EV_EMBED);
    SAY_INT(EV_FORK);
    SAY_INT(EV_CLEANUP);
    SAY_INT(EV_ASYNC);
    SAY_INT(EV_CUSTOM);
    SAY_INT(EV_ERROR);
    SAY_INT(EV__IOFDSET);
}

CASE(constants_flags)
{
    SAY_INT(EVFLAG_AUTO);
    SAY_INT(EVFLAG_NOENV);
    SAY_INT(EVFLAG_FORKCHECK);
    SAY_INT(EVFLAG_NOINOTIFY);
    SAY_INT(EVFLAG_NOSIGFD);
    SAY_INT(EVFLAG_SIGNALFD);
    SAY_INT(EVFLAG_NOSIGMASK);
    SAY_INT(EVFLAG_NOTIMERFD);
    SAY_INT(EVBACKEND_SELECT);
    SAY_INT(EVBACKEND_POLL);
    SAY_INT(EVBACKEND_EPOLL);
    SAY_INT(EVBACKEND_KQUEUE);
    SAY_INT(EVBACKEND_DEVPOLL);
    SAY_INT(EVBACKEND_PORT);
    SAY_INT(EVBACKEND_LINUXAIO);
    SAY_INT(EVBACKEND_IOURING);
    SAY_INT(EVBACKEND_ALL);
    SAY_INT(EVBACKEND_MASK);
}

CASE(constants_run_and_break)
{
    SAY_INT(EVRUN_NOWAIT);
    SAY_INT(EVRUN_ONCE);
    SAY_INT(EVBREAK_CANCEL);
    SAY_INT(EVBREAK_ONE);
    SAY_INT(EVBREAK_ALL);
}

CASE(configuration)
{
    SAY_INT(EV_VERSION_MAJOR);
    SAY_INT(EV_VERSION_MINOR);
    SAY_INT(EV_FEATURES);
    SAY_INT(EV_FEATURE_CODE);
    SAY_INT(EV_FEATURE_DATA);
    SAY_INT(EV_FEATURE_CONFIG);
    SAY_INT(EV_FEATURE_API);
    SAY_INT(EV_FEATURE_WATCHERS);
    SAY_INT(EV_FEATURE_BACKENDS);
    SAY_INT(EV_FEATURE_OS);
    SAY_INT(EV_MINPRI);
    SAY_INT(EV_MAXPRI);
    SAY_INT(EV_COMPAT3);
    SAY_INT(EV_PROTOTYPES);
    SAY_IF(EV_PERIODIC_ENABLE);
    SAY_IF(EV_STAT_ENABLE);
    SAY_IF(EV_PREPARE_ENABLE);
    SAY_IF(EV_CHECK_ENABLE);
    SAY_IF(EV_IDLE_ENABLE);
    SAY_IF(EV_FORK_ENABLE);
    SAY_IF(EV_CLEANUP_ENABLE);
    SAY_IF(EV_SIGNAL_ENABLE);
    SAY_IF(EV_CHILD_ENABLE);
    SAY_IF(EV_ASYNC_ENABLE);
    SAY_IF(EV_WALK_ENABLE);
}

#if EV_MULTIPLICITY
CASE(configuration_with_multiplicity)
{
    SAY_IF(EV_MULTIPLICITY);
    SAY_IF(EV_EMBED_ENABLE);
}
#endif

CASE(types)
{
    ev_tstamp stamp = 0.25;
    EV_TSTAMP_T same = stamp;
    EV_ATOMIC_T atomic = 5;
    say("%d %d", sizeof stamp == sizeof(double), same == stamp);
    say("%d", (int)atomic);
    ev_statdata data;
    say("%d", sizeof data == sizeof(struct stat));
    /* Whatever the library checks, these are what one may look at. */
    ev_watcher *w;
    ev_watcher_list *list;
    ev_watcher_time *timed;
    ev_timer timer;
    ev_io io;
    w = (ev_watcher *)&timer;
    timed = (ev_watcher_time *)&timer;
    list = (ev_watcher_list *)&io;
    ev_timer_init(&timer, say_timer, 1.5, 0);
    ev_io_init(&io, say_io, 0, EV_READ);
    timer.data = &io;
    say("%d %g %d", w->data == &io, timed->at, list->active);
}

/* Structures that begin as watchers do. */
struct mine {
    EV_WATCHER(mine)
    int more;
};

struct mine_in_list {
    EV_WATCHER_LIST(mine_in_list)
};

struct mine_timed {
    EV_WATCHER_TIME(mine_timed)
};

static void
on_mine(EV_P_ struct mine *w, int revents)
{
    say("%d %s", w->more, names_of(revents));
}

CASE(EV_WATCHER)
{
    DEFAULT_LOOP;
    struct mine w;
    struct mine_in_list list;
    struct mine_timed timed;
    ev_init(&w, on_mine);
    w.more = 17;
    ev_feed_event(EV_A_ &w, EV_CUSTOM);
    ev_run(EV_A_ EVRUN_NOWAIT);
    timed.at = 1.5;
    list.next = NULL;
    say("%g %d", timed.at, list.next == NULL);
    say("%d",
        offsetof(struct mine, data) == offsetof(ev_watcher, data) &&
            offsetof(struct mine_in_list, next) ==
                offsetof(ev_watcher_list, next) &&
            offsetof(struct mine_timed, at) == offsetof(ev_watcher_time, at));
}

CASE(ev_any_watcher)
{
    DEFAULT_LOOP;
    union ev_any_watcher w;
    ev_timer_init(&w.timer, say_timer, 0, 0);
    NAME(&w.timer, "as a timer");
    ev_timer_start(EV_A_ &w.timer);
    ev_run(EV_A_ 0);
    ev_idle_init(&w.idle, say_idle);
    NAME(&w.idle, "as an idle");
    ev_idle_start(EV_A_ &w.idle);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_idle_stop(EV_A_ &w.idle);
    say("%d", ev_is_active(&w.w));
}

/* --- EV_P, EV_A, EV_DEFAULT ---------------------------------------------- */

static int
nothing_else(EV_P)
{
    return ev_is_default_loop(EV_A);
}

static int
more(EV_P_ int a, int b)
{
    return a + b + ev_is_default_loop(EV_A);
}

CASE(EV_P)
{
    DEFAULT_LOOP;
    say("%d", nothing_else(EV_A));
}

CASE(EV_P_)
{
    DEFAULT_LOOP;
    say("%d", more(EV_A_ 1, 2));
}

CASE(EV_DEFAULT)
{
    DEFAULT_LOOP;
    say("%d", nothing_else(EV_DEFAULT));
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

CASE(EV_DEFAULT_)
{
    DEFAULT_LOOP;
    say("%d", more(EV_DEFAULT_ 1, 2));
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_DEFAULT_ &w);
    ev_run(EV_A_ 0);
}

CASE(EV_DEFAULT_UC)
{
    DEFAULT_LOOP;
    say("%d", nothing_else(EV_DEFAULT_UC));
    say("%d", nothing_else(EV_A));
}

CASE(EV_DEFAULT_UC_)
{
    DEFAULT_LOOP;
    say("%d", more(EV_DEFAULT_UC_ 1, 2));
    say("%d", more(EV_A_ 1, 2));
}

static EV_CB(timer, by_macro)
{
    say("%d %s", ev_is_active(w), names_of(revents));
}

CASE(EV_CB)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, by_macro, 0, 0);
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

CASE(EV_CB_INVOKE)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    EV_CB_INVOKE(&w, EV_CUSTOM);
    say("%d", nothing_else(EV_A));
}

struct with_callback {
    EV_CB_DECLARE(ev_timer)
};

CASE(EV_CB_DECLARE)
{
    struct with_callback s;
    s.cb = say_timer;
    say("%d", s.cb == say_timer);
}

/* EV_COMMON is what all watchers have for the user. */
struct with_common {
    EV_COMMON
};

CASE(EV_COMMON)
{
    struct with_common s;
    s.data = &s;
    say("%d", s.data == &s);
}

EV_INLINE int
inlined(void) EV_NOEXCEPT
{
    return 40;
}

/* The name of EV_NOEXCEPT before libev 4.25. */
static int
old_name(void) EV_THROW
{
    return 2;
}

#ifdef __cplusplus
#define IS_CPP 1
#else
#define IS_CPP 0
#endif

CASE(EV_INLINE)
{
    say("%d, C++ %d", inlined() + old_name(), 0 EV_CPP(+1) == IS_CPP);
}

/* A typedef for ev_set_invoke_pending_cb(). */
CASE(ev_loop_callback)
{
    DEFAULT_LOOP;
    ev_loop_callback cb = ev_invoke_pending;
    ev_set_invoke_pending_cb(EV_A_ cb);
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

/* Macros evaluate what is not the watcher at most once. */
CASE(macros_evaluate_once)
{
    int fd = 3, events = EV_READ, calls = 0;
    ev_io io;
    ev_io_init(&io, (calls++, say_io), fd++, events++);
    ev_io_set(&io, fd++, events++);
    ev_io_modify(&io, events++);
    say("fd %d, events %d, calls %d", fd, events, calls);
    ev_tstamp after = 1;
    ev_timer timer;
    ev_timer_init(&timer, (calls++, say_timer), after += 1, after += 1);
    ev_timer_set(&timer, after += 1, after += 1);
    say("after %g, calls %d", after, calls);
    ev_set_cb(&timer, (calls++, say_timer));
    int priority = 0;
    ev_set_priority(&timer, priority++);
    say("priority %d, calls %d", priority, calls);
}

/* Each is one statement. */
CASE(macros_are_statements)
{
    ev_timer w;
    for (int i = 0; i < 2; i++)
        if (i)
            ev_timer_init(&w, say_timer, 1, 2);
        else
            ev_init(&w, say_timer);
    if (w.repeat == 2)
        ev_timer_set(&w, 1, 3);
    else
        say("no");
    say("%g", w.repeat);
}

/* --- names of libev 3 ---------------------------------------------------- */

CASE(EVLOOP_NONBLOCK)
{
    SAY_INT(EVLOOP_NONBLOCK);
    SAY_INT(EVLOOP_ONESHOT);
    SAY_INT(EVUNLOOP_CANCEL);
    SAY_INT(EVUNLOOP_ONE);
    SAY_INT(EVUNLOOP_ALL);
}

CASE(ev_loop)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(EV_A_ &w);
    ev_loop(EV_A_ 0);
    ev_loop(EV_A_ EVLOOP_NONBLOCK);
    ev_loop(EV_A_ EVLOOP_ONESHOT);
    say("done");
}

ON(timer, unloop)
{
    say("unloop");
    ev_unloop(EV_A_ EVUNLOOP_ALL);
}

CASE(ev_unloop)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, unloop, 0, 100);
    ev_timer_start(EV_A_ &w);
    ev_loop(EV_A_ 0);
    say("active %d", !!ev_is_active(&w));
}

ON(timer, say_counts)
{
    say("depth %u, count %d", ev_loop_depth(EV_A),
        ev_loop_count(EV_A) == ev_iteration(EV_A));
}

CASE(ev_loop_count)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_timer_init(&w, say_counts, 0, 0);
    ev_timer_start(EV_A_ &w);
    say("depth %u", ev_loop_depth(EV_A));
    ev_loop(EV_A_ 0);
    ev_loop_verify(EV_A);
}

CASE(ev_default_destroy)
{
    DEFAULT_LOOP;
    ev_cleanup w;
    ev_cleanup_init(&w, say_cleanup);
    NAME(&w, "cleanup");
    ev_cleanup_start(EV_A_ &w);
    ev_default_destroy();
    say("destroyed");
}

CASE(ev_default_fork)
{
    DEFAULT_LOOP;
    ev_fork w;
    ev_fork_init(&w, say_fork);
    NAME(&w, "fork");
    ev_fork_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        ev_default_fork();
        ev_run(EV_A_ EVRUN_NOWAIT);
        _exit(0);
    }
    need(waitpid(pid, NULL, 0) == pid, "waitpid");
}
