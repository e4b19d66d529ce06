/* idioms.c - what the manual advises, in small programs. */
#include "case.h"

#include <stddef.h>

/* --- data of one's own with a watcher ------------------------------------ */

struct session {
    int number;
    ev_io io;
    ev_timer timeout;
};

ON(io, of_session)
{
    struct session *s =
        (struct session *)(void *)((char *)w - offsetof(struct session, io));
    say("session %d, io", s->number);
    ev_io_stop(EV_A_ w);
    ev_timer_again(EV_A_ &s->timeout);
}

ON(timer, session_timeout)
{
    struct session *s = (struct session *)w->data;
    say("session %d, timeout", s->number);
    ev_timer_stop(EV_A_ w);
}

/* Watchers inside a structure, found by offsetof() or by `data`. */
CASE(idiom_watchers_in_a_structure)
{
    DEFAULT_LOOP;
    struct session s;
    int fds[2];
    make_pipe(fds);
    s.number = 17;
    ev_io_init(&s.io, of_session, fds[1], EV_WRITE);
    ev_init(&s.timeout, session_timeout);
    s.timeout.repeat = 0.01;
    s.timeout.data = &s;
    ev_io_start(EV_A_ &s.io);
    say("runs on %d", ev_run(EV_A_ 0));
}

struct sub_io {
    ev_io io; /* first, so that a cast does */
    const char *text;
};

ON(io, of_sub_io)
{
    say("%s", ((struct sub_io *)w)->text);
    ev_io_stop(EV_A_ w);
}

CASE(idiom_subclass)
{
    DEFAULT_LOOP;
    struct sub_io s;
    int fds[2];
    make_pipe(fds);
    ev_io_init(&s.io, of_sub_io, fds[1], EV_WRITE);
    s.text = "mine";
    ev_io_start(EV_A_ &s.io);
    ev_run(EV_A_ 0);
}

/* --- timeouts ------------------------------------------------------------ */

static ev_tstamp last_activity;
static int checks;

/* A timer that looks at the last activity when it expires. */
ON(timer, lazy_timeout)
{
    ev_tstamp left = last_activity - ev_now(EV_A) + 0.06;
    checks++;
    if (left > 0) {
        ev_timer_set(w, left, 0);
        ev_timer_start(EV_A_ w);
    }
    else
        say("timeout");
}

ON(timer, be_active)
{
    static int times;
    last_activity = ev_now(EV_A);
    if (++times == 4)
        ev_timer_stop(EV_A_ w);
}

CASE(idiom_lazy_timeout)
{
    DEFAULT_LOOP;
    ev_timer timeout, activity;
    last_activity = ev_now(EV_A);
    ev_init(&timeout, lazy_timeout);
    ev_invoke(EV_A_ &timeout, EV_TIMER);
    ev_timer_init(&activity, be_active, 0.02, 0.02);
    ev_timer_start(EV_A_ &activity);
    say("runs on %d", ev_run(EV_A_ 0));
    say("checked more than once %d, less than five times %d", checks > 1,
        checks < 5);
}

ON(timer, inactive)
{
    say("inactive");
    ev_timer_stop(EV_A_ w);
}

static ev_timer inactivity;

ON(timer, touch)
{
    static int times;
    say("active");
    ev_timer_again(EV_A_ &inactivity);
    if (++times == 3)
        ev_timer_stop(EV_A_ w);
}

/* A timeout that is put off with every activity. */
CASE(idiom_timer_again)
{
    DEFAULT_LOOP;
    ev_timer activity;
    ev_init(&inactivity, inactive);
    inactivity.repeat = 0.1;
    ev_timer_again(EV_A_ &inactivity);
    ev_timer_init(&activity, touch, 0.03, 0.03);
    ev_timer_start(EV_A_ &activity);
    ev_run(EV_A_ 0);
}

/* Whatever the loop's time is: from now on. */
CASE(idiom_timer_relative_to_real_time)
{
    DEFAULT_LOOP;
    ev_timer w;
    ev_now_update(EV_A);
    ev_sleep(0.05);
    ev_init(&w, say_timer);
    NAME(&w, "timer");
    ev_tstamp start = ev_time();
    ev_timer_set(&w, 0.03 + (ev_time() - ev_now(EV_A)), 0);
    ev_timer_start(EV_A_ &w);
    ev_run(EV_A_ 0);
    say("%d", ev_time() - start > 0.029);
}

/* --- a periodic with a phase of its own ---------------------------------- */

CASE(idiom_periodic_from_now)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, fmod(ev_now(EV_A), 0.05), 0.05, NULL);
    NAME(&w, "periodic");
    ev_periodic_start(EV_A_ &w);
    ev_tstamp left = ev_periodic_at(&w) - ev_now(EV_A);
    say("%d", left > 0 && left < 0.051);
    ev_run(EV_A_ EVRUN_ONCE);
}

static ev_tstamp
next_whole_second(ev_periodic *w, ev_tstamp now) EV_NOEXCEPT
{
    return floor(now) + 1;
}

CASE(idiom_periodic_rule)
{
    DEFAULT_LOOP;
    ev_periodic w;
    ev_periodic_init(&w, say_periodic, 0, 0, next_whole_second);
    ev_periodic_start(EV_A_ &w);
    ev_tstamp at = ev_periodic_at(&w);
    say("%d %d", at == floor(at), at > ev_now(EV_A));
}

/* --- priorities ---------------------------------------------------------- */

static ev_idle deferred;
static ev_io source;

ON(io, defer)
{
    say("io: deferred");
    ev_io_stop(EV_A_ w);
    ev_idle_start(EV_A_ &deferred);
}

ON(idle, process)
{
    static int times;
    say("processed when idle");
    drain(source.fd);
    ev_idle_stop(EV_A_ w);
    if (++times < 2)
        ev_io_start(EV_A_ &source);
}

/* io of a low priority, by an idle watcher. */
CASE(idiom_low_priority_io)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_idle_init(&deferred, process);
    ev_io_init(&source, defer, fds[0], EV_READ);
    ev_io_start(EV_A_ &source);
    ev_timer timer;
    ev_timer_init(&timer, say_timer, 0, 0);
    NAME(&timer, "timer");
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_ONCE);
    put(fds[1], "y");
    say("runs on %d", ev_run(EV_A_ 0));
}

/* --- another library's descriptors --------------------------------------- */

static ev_io foreign_io;
static ev_timer foreign_timer;
static int foreign_fd, foreign_turns;

ON(prepare, foreign_prepare)
{
    say("prepare");
    ev_io_init(&foreign_io, say_io, foreign_fd, EV_READ);
    NAME(&foreign_io, "foreign io");
    ev_io_start(EV_A_ &foreign_io);
    ev_timer_init(&foreign_timer, say_timer, 5, 0);
    ev_timer_start(EV_A_ &foreign_timer);
}

ON(check, foreign_check)
{
    int events = ev_clear_pending(EV_A_ &foreign_io);
    say("check: %s", names_of(events));
    ev_io_stop(EV_A_ &foreign_io);
    ev_timer_stop(EV_A_ &foreign_timer);
    if (events & EV_READ)
        drain(foreign_fd);
    if (++foreign_turns == 2)
        ev_break(EV_A_ EVBREAK_ONE);
}

/* Watchers made before each wait and undone after it. */
CASE(idiom_prepare_and_check)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    foreign_fd = fds[0];
    put(fds[1], "x");
    ev_prepare prepare;
    ev_check check;
    ev_idle idle;
    ev_prepare_init(&prepare, foreign_prepare);
    ev_check_init(&check, foreign_check);
    ev_set_priority(&check, EV_MAXPRI);
    ev_idle_init(&idle, say_idle);
    NAME(&idle, "idle");
    ev_idle_start(EV_A_ &idle);
    ev_prepare_start(EV_A_ &prepare);
    ev_check_start(EV_A_ &check);
    ev_run(EV_A_ 0);
}

/* --- a modal run --------------------------------------------------------- */

static int answered;

ON(timer, answer)
{
    say("answered");
    answered = 1;
}

ON(timer, ask)
{
    ev_timer reply;
    say("asks");
    ev_timer_init(&reply, answer, 0.01, 0);
    ev_timer_start(EV_A_ &reply);
    while (!answered)
        ev_run(EV_A_ EVRUN_ONCE);
    say("goes on");
}

CASE(idiom_modal_run)
{
    DEFAULT_LOOP;
    ev_timer w, other;
    ev_timer_init(&w, ask, 0, 0);
    ev_timer_init(&other, say_timer, 0.005, 0);
    NAME(&other, "meanwhile");
    ev_timer_start(EV_A_ &w);
    ev_timer_start(EV_A_ &other);
    ev_run(EV_A_ 0);
}

ON(timer, leave_one)
{
    say("leaves the inner run");
    ev_break(EV_A_ EVBREAK_ONE);
}

ON(timer, enter)
{
    ev_timer inner;
    say("enters");
    ev_timer_init(&inner, leave_one, 0, 0);
    ev_timer_start(EV_A_ &inner);
    ev_run(EV_A_ 0);
    say("depth %u", ev_depth(EV_A));
}

CASE(idiom_nested_run)
{
    DEFAULT_LOOP;
    ev_timer w, after;
    ev_timer_init(&w, enter, 0, 0);
    ev_timer_init(&after, say_timer, 0.01, 0);
    NAME(&after, "the outer run goes on");
    ev_timer_start(EV_A_ &w);
    ev_timer_start(EV_A_ &after);
    ev_run(EV_A_ 0);
}

/* --- a loop in a thread, shared by a lock -------------------------------- */

#if EV_MULTIPLICITY
struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t called;
    pthread_t thread;
    ev_async wake;
    int waiting;
};

static void
release(EV_P) EV_NOEXCEPT
{
    struct shared *s = (struct shared *)ev_userdata(EV_A);
    (void)pthread_mutex_unlock(&s->mutex);
}

static void
acquire(EV_P) EV_NOEXCEPT
{
    struct shared *s = (struct shared *)ev_userdata(EV_A);
    (void)pthread_mutex_lock(&s->mutex);
}

static void *
run_loop(void *arg)
{
    struct ev_loop *loop = (struct ev_loop *)arg;
    acquire(loop);
    ev_run(loop, 0);
    release(loop);
    return NULL;
}

/* Let the other thread call the callbacks. */
static void
invoke_elsewhere(EV_P)
{
    struct shared *s = (struct shared *)ev_userdata(EV_A);
    while (ev_pending_count(EV_A)) {
        s->waiting = 1;
        (void)pthread_cond_broadcast(&s->called);
        (void)pthread_cond_wait(&s->called, &s->mutex);
    }
}

static pthread_t main_thread;

ON(timer, say_thread)
{
    say("in the main thread %d", pthread_equal(pthread_self(), main_thread));
    ev_break(EV_A_ EVBREAK_ALL);
}

ON(async, woken)
{
}

CASE(idiom_callbacks_in_another_thread)
{
    struct shared s;
    (void)pthread_mutex_init(&s.mutex, NULL);
    (void)pthread_cond_init(&s.called, NULL);
    s.waiting = 0;
    main_thread = pthread_self();
    struct ev_loop *loop = ev_loop_new(0);
    ev_async_init(&s.wake, woken);
    ev_async_start(loop, &s.wake);
    ev_set_userdata(loop, &s);
    ev_set_loop_release_cb(loop, release, acquire);
    ev_set_invoke_pending_cb(loop, invoke_elsewhere);
    need(pthread_create(&s.thread, NULL, run_loop, loop) == 0, "thread");

    /* A watcher added while the loop runs there. */
    (void)pthread_mutex_lock(&s.mutex);
    ev_timer w;
    ev_timer_init(&w, say_thread, 0.02, 0);
    ev_timer_start(loop, &w);
    ev_async_send(loop, &s.wake);
    while (ev_is_active(&w) || ev_is_pending(&w)) {
        while (!s.waiting)
            (void)pthread_cond_wait(&s.called, &s.mutex);
        s.waiting = 0;
        ev_invoke_pending(loop);
        (void)pthread_cond_broadcast(&s.called);
    }
    (void)pthread_mutex_unlock(&s.mutex);
    (void)pthread_join(s.thread, NULL);
    say("joined");
}
#endif

/* --- stdin, a timeout, an end -------------------------------------------- */

static ev_timer input_timeout;

ON(io, on_input)
{
    char buf[16] = "";
    ssize_t n = read(w->fd, buf, sizeof buf - 1);
    if (n <= 0) {
        say("end of input");
        ev_io_stop(EV_A_ w);
        ev_timer_stop(EV_A_ &input_timeout);
        return;
    }
    say("input: %s", buf);
    ev_timer_again(EV_A_ &input_timeout);
}

CASE(idiom_input_with_timeout)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    need(dup2(fds[0], 0) == 0, "dup2");
    put(fds[1], "hello");
    ev_io w;
    ev_io_init(&w, on_input, 0, EV_READ);
    ev_io_start(EV_A_ &w);
    ev_timer_init(&input_timeout, give_up, 5, 5);
    ev_timer_start(EV_A_ &input_timeout);
    ev_run(EV_A_ EVRUN_ONCE);
    put(fds[1], "world");
    ev_run(EV_A_ EVRUN_ONCE);
    (void)close(fds[1]);
    ev_run(EV_A_ 0);
}

/* --- a signal that ends the program -------------------------------------- */

ON(signal, terminate)
{
    say("terminates");
    ev_break(EV_A_ EVBREAK_ALL);
}

CASE(idiom_sigint)
{
    DEFAULT_LOOP;
    ev_signal w;
    ev_timer timer;
    ev_signal_init(&w, terminate, SIGINT);
    ev_signal_start(EV_A_ &w);
    ev_timer_init(&timer, give_up, 10, 0);
    ev_timer_start(EV_A_ &timer);
    (void)raise(SIGINT);
    say("runs on %d", !!ev_run(EV_A_ 0));
}

/* --- fork and a child ---------------------------------------------------- */

ON(child, reaped)
{
    ev_child_stop(EV_A_ w);
    say("status %d", WEXITSTATUS(w->rstatus));
}

CASE(idiom_fork_and_child)
{
    DEFAULT_LOOP;
    ev_child w;
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0)
        exit(1);
    ev_child_init(&w, reaped, pid, 0);
    ev_child_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}
