/* case.h - cases of libev's API.
 *
 *     CASE(ev_timer_again_stops)
 *     {
 *         DEFAULT_LOOP;
 *         ...
 *         say("active %d", !!ev_is_active(&w));
 *     }
 *
 * A case uses one function or macro and says what it sees: never a time or an
 * address, only what any right implementation must do the same way. The
 * program runs the case whose name it is given, or prints all names.
 *
 * The same file is compiled as C and as C++, with libev's ev.h and with
 * Coir's, with and without EV_MULTIPLICITY; so a case that gets by with the
 * default loop says EV_A and EV_P, and others are left out without it. */
#ifndef COIR_TESTS_LIBEV_CASE_H
#define COIR_TESTS_LIBEV_CASE_H

#include <ev.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAYBE_UNUSED __attribute__((unused))

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};

static struct test_case *cases;

#define CASE(name)                                                            \
    static void case_##name(void);                                            \
    static struct test_case node_##name = {#name, case_##name, NULL};         \
    __attribute__((constructor)) static void add_##name(void)                 \
    {                                                                         \
        node_##name.next = cases;                                             \
        cases = &node_##name;                                                 \
    }                                                                         \
    static void case_##name(void)

/* A callback; w is the watcher. */
#define ON(type, name)                                                        \
    MAYBE_UNUSED static void name(EV_P_ struct ev_##type *w, int revents)

/* Declares the default loop, so that EV_A is valid. */
#if EV_MULTIPLICITY
#define DEFAULT_LOOP struct ev_loop *loop = ev_default_loop(0)
#else
#define DEFAULT_LOOP (void)ev_default_loop(0)
#endif

__attribute__((format(printf, 1, 2))) MAYBE_UNUSED static void
say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
    (void)fflush(stdout); /* before a fork, or an abort */
}

/* What must succeed for the case to make sense. */
MAYBE_UNUSED static void
need(int success, const char *what)
{
    if (!success) {
        say("%s: %s", what, strerror(errno));
        exit(3);
    }
}

/* The names of events, as in "READ WRITE"; good until the next call but 3. */
MAYBE_UNUSED static const char *
names_of(int revents)
{
    static const struct {
        int bit;
        const char *name;
    } table[] = {{EV_READ, "READ"},       {EV_WRITE, "WRITE"},
                 {EV_TIMER, "TIMER"},     {EV_PERIODIC, "PERIODIC"},
                 {EV_SIGNAL, "SIGNAL"},   {EV_CHILD, "CHILD"},
                 {EV_STAT, "STAT"},       {EV_IDLE, "IDLE"},
                 {EV_PREPARE, "PREPARE"}, {EV_CHECK, "CHECK"},
                 {EV_EMBED, "EMBED"},     {EV_FORK, "FORK"},
                 {EV_CLEANUP, "CLEANUP"}, {EV_ASYNC, "ASYNC"},
                 {EV_CUSTOM, "CUSTOM"},   {(int)EV_ERROR, "ERROR"}};
    static char buffers[4][160];
    static int turn;
    char *out = buffers[turn++ % 4];
    out[0] = '\0';
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (revents & table[i].bit) {
            if (out[0] != '\0')
                (void)strcat(out, " ");
            (void)strcat(out, table[i].name);
            revents &= ~table[i].bit;
        }
    if (revents || out[0] == '\0')
        (void)sprintf(out + strlen(out), "%s%#x", out[0] ? " " : "",
                      (unsigned)revents);
    return out;
}

/* Callbacks that say the watcher's name, its `data`, and the events. */
#define SAYER(type)                                                           \
    ON(type, say_##type)                                                      \
    {                                                                         \
        say("%s: %s", (const char *)w->data, names_of(revents));              \
    }
SAYER(io)
SAYER(timer)
SAYER(periodic)
SAYER(signal)
SAYER(child)
SAYER(stat)
SAYER(idle)
SAYER(prepare)
SAYER(check)
SAYER(fork)
SAYER(cleanup)
SAYER(async)
#if EV_MULTIPLICITY
SAYER(embed)
#endif

#define NAME(w, text) ((w)->data = (void *)(text))

/* A timer that ends the loop, for cases that wait for something else. */
ON(timer, give_up)
{
    say("timed out");
    ev_break(EV_A_ EVBREAK_ALL);
}

ON(timer, break_one)
{
    ev_break(EV_A_ EVBREAK_ONE);
}

#if EV_MULTIPLICITY
/* The default loop with flags, which LIBEV_FLAGS would replace. */
MAYBE_UNUSED static struct ev_loop *
loop_with(unsigned flags)
{
    (void)unsetenv("LIBEV_FLAGS");
    return ev_default_loop(flags);
}
#endif

MAYBE_UNUSED static void
make_pipe(int fds[2])
{
    need(pipe(fds) == 0, "pipe");
}

MAYBE_UNUSED static void
make_socketpair(int fds[2])
{
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
}

MAYBE_UNUSED static void
put(int fd, const char *text)
{
    need(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

/* Read what is there; says nothing. */
MAYBE_UNUSED static void
drain(int fd)
{
    char buf[64];
    need(read(fd, buf, sizeof buf) >= 0, "read");
}

int
main(int argc, char **argv)
{
    (void)alarm(20);
    for (struct test_case *c = cases; c != NULL; c = c->next)
        if (argc < 2)
            say("%s", c->name);
        else if (strcmp(argv[1], c->name) == 0) {
            c->run();
            return 0;
        }
    return argc < 2 ? 0 : 2;
}

#endif
