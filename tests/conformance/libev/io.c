/* io.c - ev_io. */
#include "case.h"

ON(io, read_and_say)
{
    char buf[32];
    ssize_t n = read(w->fd, buf, sizeof buf);
    say("%s: %s, %zd bytes", (const char *)w->data, names_of(revents), n);
    if (n <= 0)
        ev_io_stop(EV_A_ w);
}

ON(io, say_and_stop)
{
    say("%s: %s", (const char *)w->data, names_of(revents));
    ev_io_stop(EV_A_ w);
}

CASE(ev_io_init)
{
    ev_io w;
    ev_io_init(&w, say_io, 7, EV_READ | EV_WRITE);
    say("fd %d, events %s, active %d, pending %d, priority %d", w.fd,
        names_of(w.events & (EV_READ | EV_WRITE)), ev_is_active(&w),
        ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_io_set)
{
    DEFAULT_LOOP;
    int a[2], b[2];
    make_pipe(a);
    make_pipe(b);
    put(a[1], "a");
    put(b[1], "bb");
    ev_io w;
    ev_io_init(&w, read_and_say, a[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_io_stop(EV_A_ &w);
    ev_io_set(&w, b[0], EV_READ);
    say("the other one %d", w.fd == b[0]);
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_io_start)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io w;
    ev_io_init(&w, read_and_say, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    say("active %d, events %s", !!ev_is_active(&w), names_of(w.events));
    say("runs on %d", !!ev_run(EV_A_ EVRUN_NOWAIT));
    put(fds[1], "abc");
    ev_run(EV_A_ EVRUN_ONCE);
    (void)close(fds[1]);
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_io_stop)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io w;
    ev_io_init(&w, say_io, fds[1], EV_WRITE);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_io_stop(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_io_modify)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    put(fds[1], "x");
    ev_io w;
    ev_io_init(&w, say_io, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_io_stop(EV_A_ &w);
    ev_io_modify(&w, EV_WRITE);
    say("the same fd %d, events %s", w.fd == fds[0], names_of(w.events));
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_io_stop(EV_A_ &w);
    ev_io_modify(&w, EV_READ | EV_WRITE);
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_io_modify_to_nothing)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    ev_io w;
    ev_timer timer;
    ev_io_init(&w, say_io, fds[0], EV_WRITE);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_io_stop(EV_A_ &w);
    ev_io_modify(&w, EV_NONE);
    ev_io_start(EV_A_ &w);
    ev_timer_init(&timer, break_one, 0.02, 0);
    ev_timer_start(EV_A_ &timer);
    say("runs on %d", !!ev_run(EV_A_ 0));
    ev_io_stop(EV_A_ &w);
    ev_io_modify(&w, EV_WRITE);
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(EV_READ)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    ev_io w;
    ev_timer timer;
    ev_io_init(&w, read_and_say, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_timer_init(&timer, say_timer, 0.02, 0);
    NAME(&timer, "nothing to read");
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_ONCE);
    put(fds[1], "x");
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(EV_WRITE)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    ev_io w;
    ev_timer timer;
    ev_io_init(&w, say_io, fds[0], EV_WRITE);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    static char block[65536];
    while (write(fds[0], block, sizeof block) > 0)
        ;
    ev_timer_init(&timer, say_timer, 0.02, 0);
    NAME(&timer, "full");
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ EVRUN_ONCE);
    (void)fcntl(fds[1], F_SETFL, O_NONBLOCK);
    while (read(fds[1], block, sizeof block) > 0)
        ;
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_io_both_events)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    put(fds[1], "x");
    ev_io w;
    ev_io_init(&w, say_io, fds[0], EV_READ | EV_WRITE);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    drain(fds[0]);
    ev_run(EV_A_ EVRUN_ONCE);
}

/* It is called again as long as the condition lasts. */
CASE(ev_io_level_triggered)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    ev_io w;
    ev_io_init(&w, say_io, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    for (int i = 0; i < 3; i++)
        ev_run(EV_A_ EVRUN_NOWAIT);
    drain(fds[0]);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_io_several_on_one_fd)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    ev_io first, second, writer;
    ev_io_init(&first, say_and_stop, fds[0], EV_READ);
    NAME(&first, "first");
    ev_io_init(&second, say_io, fds[0], EV_READ);
    NAME(&second, "second");
    ev_io_init(&writer, say_and_stop, fds[0], EV_WRITE);
    NAME(&writer, "writer");
    ev_io_start(EV_A_ &first);
    ev_io_start(EV_A_ &second);
    ev_io_start(EV_A_ &writer);
    put(fds[1], "x");
    ev_run(EV_A_ EVRUN_ONCE);
    say("again");
    ev_run(EV_A_ EVRUN_ONCE);
}

CASE(ev_io_stop_one_of_two)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    put(fds[1], "x");
    ev_io a, b;
    ev_io_init(&a, say_io, fds[0], EV_READ);
    NAME(&a, "a");
    ev_io_init(&b, say_io, fds[0], EV_WRITE);
    NAME(&b, "b");
    ev_io_start(EV_A_ &a);
    ev_io_start(EV_A_ &b);
    ev_io_stop(EV_A_ &b);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_io_start(EV_A_ &b);
    ev_io_stop(EV_A_ &a);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* Of one priority, what became ready first. */
CASE(ev_io_priorities)
{
    DEFAULT_LOOP;
    static ev_io w[3];
    static const char *const names[] = {"a", "b", "c"};
    static const int priorities[] = {0, 2, -1};
    for (int i = 0; i < 3; i++) {
        int fds[2];
        make_pipe(fds);
        ev_io_init(&w[i], say_io, fds[1], EV_WRITE);
        NAME(&w[i], names[i]);
        ev_set_priority(&w[i], priorities[i]);
        ev_io_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* Of one priority: the manual does not say. */
CASE(ev_io_order)
{
    DEFAULT_LOOP;
    static ev_io w[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    static int ends[5];
    for (int i = 0; i < 5; i++) {
        int fds[2];
        make_pipe(fds);
        ends[i] = fds[1];
        ev_io_init(&w[i], say_io, fds[0], EV_READ);
        NAME(&w[i], names[i]);
        ev_io_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
    for (int i = 0; i < 5; i++)
        put(ends[i * 2 % 5], "x");
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* All ready before the loop asks for the first time. */
CASE(ev_io_order_of_starting)
{
    DEFAULT_LOOP;
    static ev_io w[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++) {
        int fds[2];
        make_pipe(fds);
        ev_io_init(&w[i], say_io, fds[1], EV_WRITE);
        NAME(&w[i], names[i]);
        ev_io_start(EV_A_ &w[i]);
    }
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* Not allowed. */
CASE(ev_io_negative_fd)
{
    DEFAULT_LOOP;
    ev_io w;
    ev_io_init(&w, say_io, -1, EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    say("active %d", ev_is_active(&w));
    ev_run(EV_A_ EVRUN_NOWAIT);
}

CASE(ev_io_end_of_file)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io w;
    ev_io_init(&w, read_and_say, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    (void)close(fds[1]);
    ev_run(EV_A_ 0);
}

/* A write that would fail does not block, either. */
CASE(ev_io_broken_pipe)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io w;
    ev_io_init(&w, say_and_stop, fds[1], EV_WRITE);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    (void)close(fds[0]);
    ev_run(EV_A_ 0);
}

CASE(ev_io_peer_closed)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    ev_io w;
    ev_io_init(&w, read_and_say, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    (void)close(fds[1]);
    ev_run(EV_A_ 0);
}

CASE(ev_io_listening_socket)
{
    DEFAULT_LOOP;
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr address;
    memset(&address, 0, sizeof address);
    address.sa_family = AF_UNIX; /* no path: the kernel chooses a name */
    need(bind(server, &address, sizeof(sa_family_t)) == 0, "bind");
    need(listen(server, 5) == 0, "listen");
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    need(getsockname(server, (struct sockaddr *)&name, &len) == 0, "name");
    ev_io w;
    ev_io_init(&w, say_and_stop, server, EV_READ);
    NAME(&w, "server");
    ev_io_start(EV_A_ &w);
    need(connect(client, (struct sockaddr *)&name, len) == 0, "connect");
    ev_run(EV_A_ 0);
    int accepted = accept(server, NULL, NULL);
    ev_io_init(&w, say_and_stop, accepted, EV_WRITE);
    NAME(&w, "accepted");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

/* A file can always be read and written. */
CASE(ev_io_regular_file)
{
    DEFAULT_LOOP;
    FILE *file = tmpfile();
    need(file != NULL, "tmpfile");
    ev_io w;
    ev_io_init(&w, say_io, fileno(file), EV_READ);
    NAME(&w, "file");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_io_stop(EV_A_ &w);
    ev_io_set(&w, fileno(file), EV_READ | EV_WRITE);
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_io_stop(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ EVRUN_NOWAIT));
}

CASE(ev_io_dev_null)
{
    DEFAULT_LOOP;
    ev_io w;
    int fd = open("/dev/null", O_RDWR);
    ev_io_init(&w, read_and_say, fd, EV_READ);
    NAME(&w, "null");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ 0);
}

/* Nothing is open there: the watcher is stopped and told so. */
CASE(ev_io_closed_before_start)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    (void)close(fds[0]);
    ev_io w;
    ev_io_init(&w, say_io, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    say("active %d", ev_is_active(&w));
}

CASE(EV_ERROR)
{
    DEFAULT_LOOP;
    ev_io a, b;
    ev_io_init(&a, say_io, 50, EV_READ);
    NAME(&a, "a");
    ev_set_priority(&a, 1);
    ev_io_init(&b, say_io, 50, EV_WRITE);
    NAME(&b, "b");
    ev_io_start(EV_A_ &a);
    ev_io_start(EV_A_ &b);
    say("runs on %d", ev_run(EV_A_ 0));
}

/* Stopped, closed, opened again under the same number. */
CASE(ev_io_fd_reused)
{
    DEFAULT_LOOP;
    int old[2];
    make_pipe(old);
    ev_io w;
    ev_io_init(&w, read_and_say, old[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_io_stop(EV_A_ &w);
    (void)close(old[0]);
    int fresh[2];
    make_pipe(fresh);
    need(fresh[0] == old[0], "the same number");
    put(fresh[1], "xyz");
    ev_io_set(&w, fresh[0], EV_READ);
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
}

/* The old file lives on through a duplicate, and tells nothing any more. */
CASE(ev_io_fd_reused_with_duplicate)
{
    DEFAULT_LOOP;
    int old[2];
    make_pipe(old);
    int duplicate = dup(old[0]);
    ev_io w;
    ev_timer timer;
    ev_io_init(&w, read_and_say, old[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_io_stop(EV_A_ &w);
    (void)close(old[0]);
    int fresh[2];
    make_pipe(fresh);
    need(fresh[0] == old[0], "the same number");
    ev_io_set(&w, fresh[0], EV_READ);
    ev_io_start(EV_A_ &w);
    put(old[1], "old");
    ev_timer_init(&timer, say_timer, 0.02, 0);
    NAME(&timer, "nothing new");
    ev_timer_start(EV_A_ &timer);
    while (ev_is_active(&timer))
        ev_run(EV_A_ EVRUN_ONCE);
    put(fresh[1], "fresh");
    ev_run(EV_A_ EVRUN_ONCE);
    (void)close(duplicate);
}

/* Two descriptors of one file. */
CASE(ev_io_duplicates)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    put(fds[1], "x");
    int other = dup(fds[0]);
    ev_io a, b;
    ev_io_init(&a, say_io, fds[0], EV_READ);
    NAME(&a, "a");
    ev_set_priority(&a, 1);
    ev_io_init(&b, say_io, other, EV_READ);
    NAME(&b, "b");
    ev_io_start(EV_A_ &a);
    ev_io_start(EV_A_ &b);
    ev_run(EV_A_ EVRUN_ONCE);
    ev_run(EV_A_ EVRUN_NOWAIT);
}

/* Closed while it is watched: poll and select see that, epoll does not. */
CASE(ev_io_closed_while_active)
{
    DEFAULT_LOOP;
    int fds[2];
    make_pipe(fds);
    ev_io w;
    ev_timer timer;
    ev_io_init(&w, say_io, fds[0], EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_NOWAIT);
    (void)close(fds[0]);
    ev_timer_init(&timer, say_timer, 0.3, 0);
    NAME(&timer, "timer");
    ev_timer_start(EV_A_ &timer);
    while (ev_is_active(&timer))
        ev_run(EV_A_ EVRUN_ONCE);
    say("active %d", !!ev_is_active(&w));
}

CASE(ev_io_high_fd)
{
    DEFAULT_LOOP;
    struct rlimit limit;
    need(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max < 3000 ? limit.rlim_max : 3000;
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    int fds[2];
    make_pipe(fds);
    int high = fcntl(fds[0], F_DUPFD, 2500);
    need(high >= 0, "F_DUPFD");
    put(fds[1], "x");
    ev_io w;
    ev_io_init(&w, read_and_say, high, EV_READ);
    NAME(&w, "w");
    ev_io_start(EV_A_ &w);
    ev_run(EV_A_ EVRUN_ONCE);
}

static int total;

ON(io, count)
{
    drain(w->fd);
    total++;
}

CASE(ev_io_many)
{
    DEFAULT_LOOP;
    static ev_io w[200];
    static int ends[200];
    for (int i = 0; i < 200; i++) {
        int fds[2];
        make_pipe(fds);
        ends[i] = fds[1];
        ev_io_init(&w[i], count, fds[0], EV_READ);
        ev_io_start(EV_A_ &w[i]);
    }
    for (int round = 1; round <= 3; round++) {
        total = 0;
        int expected = 0;
        for (int i = 0; i < 200; i += round, expected++)
            put(ends[i], "x");
        while (total < expected)
            ev_run(EV_A_ EVRUN_ONCE);
        ev_run(EV_A_ EVRUN_NOWAIT);
        say("%d", total);
    }
}

ON(io, start_next)
{
    say("%s: %s", (const char *)w->data, names_of(revents));
    ev_io_stop(EV_A_ w);
    if (strcmp((const char *)w->data, "writer") == 0)
        return;
    ev_io_set(w, w->fd, EV_WRITE);
    NAME(w, "writer");
    ev_io_start(EV_A_ w);
}

/* One watcher that turns from reading to writing in its callback. */
CASE(ev_io_restart_in_callback)
{
    DEFAULT_LOOP;
    int fds[2];
    make_socketpair(fds);
    put(fds[1], "x");
    ev_io w;
    ev_io_init(&w, start_next, fds[0], EV_READ);
    NAME(&w, "reader");
    ev_io_start(EV_A_ &w);
    say("runs on %d", ev_run(EV_A_ 0));
}
