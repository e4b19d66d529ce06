/* server.c - the soak of green threads and sockets: its main program and the
 * server.
 *
 *     echo_soak [--minutes M] [--connections N] [--tide SECONDS]
 *               [--kills PER_SECOND] [--seed S]
 *
 * The server echoes whatever comes. A connection ends when the client ends it,
 * when nothing came for IDLE_NS, when the client does not take what is sent to
 * it for SLOW_NS, or when its green thread is killed. Every ten seconds a line
 * says how it stands; at an ebb both processes are compared with the first
 * ebb (echo.h). It fails if something leaks, if a byte comes back changed, if
 * what must end does not, or if a hub hangs. The last line is
 * "N passed, M failed, K skipped". */
#include "echo.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDLE_NS (20 * COIR_NS_PER_S)
#define SLOW_NS (1 * COIR_NS_PER_S)
#define ENDS_NS (30 * COIR_NS_PER_S) /* for all connections to end */
#define REPORT_NS (10 * COIR_NS_PER_S)

static struct {
    uint64_t accepted, bytes, killed;
    uint64_t by_client, by_reset, by_kill, by_idle, by_slow;
    uint64_t refused; /* accept() failed for lack of something */
} counts;

static coir_event ended = COIR_EVENT_INIT; /* set: no connection is left */
static struct holds first_ebb;
static unsigned ebbs;
static int leaks;

/* --- connections --------------------------------------------------------- */

static void
count_end(ssize_t err, int writing)
{
    if (err == 0)
        counts.by_client++;
    else if (err == COIR_ECANCELED)
        counts.by_kill++;
    else if (err == COIR_ETIMEDOUT)
        ++*(writing ? &counts.by_slow : &counts.by_idle);
    else if (err == COIR_ERRNO(ECONNRESET) || err == COIR_ERRNO(EPIPE))
        counts.by_reset++;
    else
        fail("a connection ended with: %s", coir_strerror((int)err));
}

static int
serve(void *arg)
{
    coir_socket *s = arg;
    struct target target;
    char buf[4096];
    int small = 8192; /* so that a client that does not read is felt */
    ssize_t n, err = 0;
    (void)setsockopt(coir_socket_fd(s), SOL_SOCKET, SO_SNDBUF, &small,
                     sizeof small);
    target_enter(&target);
    while ((n = coir_read(s, buf, sizeof buf, IDLE_NS)) > 0) {
        err = coir_write_all(s, buf, (size_t)n, NULL, SLOW_NS);
        if (err < 0)
            break;
        counts.bytes += (uint64_t)n;
    }
    count_end(err < 0 ? err : n, err < 0);
    target_leave(&target);
    if (target_count() == 0)
        coir_event_set(&ended);
    return coir_socket_close(s);
}

static int
accept_all(void *listener)
{
    static const coir_green_attr attr = {.name = "connection", .detached = 1};
    for (;;) {
        coir_socket *s;
        int err = coir_accept(listener, &s, NULL, NULL, COIR_FOREVER);
        if (err == COIR_ECANCELED)
            return err;
        if (err < 0) {
            counts.refused++;
            (void)coir_sleep(10 * COIR_NS_PER_MS);
            continue;
        }
        counts.accepted++;
        coir_event_clear(&ended);
        err = coir_spawn(NULL, serve, s, &attr);
        if (err < 0)
            fail("coir_spawn: %s", coir_strerror(err));
    }
}

/* --- reports ------------------------------------------------------------- */

static int64_t began;

static void
report(void)
{
    static int64_t last;
    static uint64_t last_accepted, last_bytes;
    int64_t now = now_ns();
    double seconds = (double)(now - (last != 0 ? last : began)) / 1e9;
    struct holds h = look();
    printf("%6.0f s  %5u connections, %6.0f new/s, %7.2f MB/s, killed %llu, "
           "fds %ld, stacks %ld, blocks %ld, RSS %.1f MB\n",
           (double)(now - began) / 1e9, target_count(),
           (double)(counts.accepted - last_accepted) / seconds,
           (double)(counts.bytes - last_bytes) / seconds / 1e6,
           (unsigned long long)counts.killed, h.descriptors, h.stacks,
           h.blocks, (double)h.rss / 1048576);
    fflush(stdout);
    last = now;
    last_accepted = counts.accepted;
    last_bytes = counts.bytes;
}

static int
report_often(void *arg)
{
    (void)arg;
    for (;;) {
        still_alive();
        int err = coir_sleep(REPORT_NS);
        if (err < 0)
            return err;
        report();
    }
}

/* --- tides --------------------------------------------------------------- */

/* All clients have ended; so shall all connections. */
static void
ebb(void)
{
    if (target_count() > 0 && coir_event_wait(&ended, ENDS_NS) < 0)
        fail("%u connections do not end", target_count());
    for (int i = 0; i < 3; i++)
        (void)coir_yield(); /* the last one ends */
    struct holds now = look();
    if (ebbs++ == 0)
        first_ebb = now;
    leaks += compare("server", &first_ebb, &now);
    printf("  ebb %u: server: fds %ld, stacks %ld, blocks %ld, RSS %.1f MB\n",
           ebbs, now.descriptors, now.stacks, now.blocks,
           (double)now.rss / 1048576);
    fflush(stdout);
}

/* Returns the clients' leaks. */
static int
follow_tides(coir_socket *control)
{
    int clients_leaks = 0;
    for (;;) {
        int leaked;
        int err = coir_read_exact(control, &leaked, sizeof leaked, NULL,
                                  COIR_FOREVER);
        if (err == COIR_EEOF)
            return clients_leaks;
        if (err < 0)
            fail("control: %s", coir_strerror(err));
        clients_leaks += leaked;
        ebb();
        err = coir_write_all(control, "f", 1, NULL, COIR_FOREVER);
        if (err < 0)
            fail("control: %s", coir_strerror(err));
    }
}

static void
end_green(coir_green *g)
{
    coir_cancel(g);
    (void)coir_join(g, NULL);
}

static int
run_server(coir_socket *listener, int control_fd)
{
    coir_green *accepting, *killing, *reporting;
    coir_socket *control;
    began = now_ns();
    fill_caches();
    if (coir_socket_adopt(&control, control_fd) < 0 ||
        coir_spawn(&accepting, accept_all, listener, NULL) < 0 ||
        coir_spawn(&killing, kill_some, &counts.killed, NULL) < 0 ||
        coir_spawn(&reporting, report_often, NULL, NULL) < 0)
        fail("the server does not start");
    int clients_leaks = follow_tides(control);
    end_green(reporting);
    end_green(killing);
    end_green(accepting);
    (void)coir_socket_close(listener);
    (void)coir_socket_close(control);
    if (coir_hub_fini() < 0)
        fail("green threads are left over");
    return clients_leaks;
}

/* --- main ---------------------------------------------------------------- */

static void
usage(void)
{
    fputs("usage: echo_soak [--minutes M] [--connections N] [--tide SECONDS]\n"
          "                 [--kills PER_SECOND] [--seed S]\n",
          stderr);
    exit(2);
}

static void
parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"minutes", required_argument, NULL, 'm'},
        {"connections", required_argument, NULL, 'c'},
        {"tide", required_argument, NULL, 't'},
        {"kills", required_argument, NULL, 'k'},
        {"seed", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        const char *value = optarg != NULL ? optarg : "";
        unsigned long number = strtoul(value, NULL, 10);
        switch (c) {
        case 'm':
            options.minutes = strtod(value, NULL);
            break;
        case 'c':
            options.connections = (unsigned)number;
            break;
        case 't':
            options.tide_s = (unsigned)number;
            break;
        case 'k':
            options.kills = (unsigned)number;
            break;
        case 's':
            options.seed = number;
            break;
        default:
            usage();
        }
    }
    if (optind != argc || options.minutes <= 0 || options.connections == 0 ||
        options.seed == 0)
        usage();
}

/* Fewer connections where no more descriptors are allowed. */
static void
allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < options.connections + 64) {
        options.connections = (unsigned)limit.rlim_max - 64;
        printf("only %u connections: no more open files are allowed\n",
               options.connections);
    }
}

static void
print_summary(int status, int clients_leaks)
{
    int ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    printf(
        "server: %llu connections, %.1f MB echoed; ended by client %llu, "
        "reset %llu, kill %llu (of %llu), slow client %llu, silence %llu; "
        "accept failed %llu times\n",
        (unsigned long long)counts.accepted, (double)counts.bytes / 1e6,
        (unsigned long long)counts.by_client,
        (unsigned long long)counts.by_reset,
        (unsigned long long)counts.by_kill, (unsigned long long)counts.killed,
        (unsigned long long)counts.by_slow, (unsigned long long)counts.by_idle,
        (unsigned long long)counts.refused);
    int failed = (leaks != 0) + (clients_leaks != 0) + !ended_well +
                 (counts.accepted == 0);
    printf("no leak in the server: %s\n", leaks == 0 ? "ok" : "FAILED");
    printf("no leak in the clients: %s\n",
           clients_leaks == 0 ? "ok" : "FAILED");
    printf("every byte came back as it was, all clients ended: %s\n",
           ended_well ? "ok" : "FAILED");
    printf("connections were served: %s\n",
           counts.accepted > 0 ? "ok" : "FAILED");
    printf("%d passed, %d failed, 0 skipped\n", 4 - failed, failed);
}

int
main(int argc, char **argv)
{
    parse(argc, argv);
    count_blocks();
    allow_descriptors();

    coir_socket *listener;
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    int control[2], status;
    if (coir_tcp_listen(&listener, "127.0.0.1", "0", 4096) < 0 ||
        getsockname(coir_socket_fd(listener), (struct sockaddr *)&at, &len) <
            0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, control) < 0)
        fail("no sockets");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        (void)coir_socket_close(listener);
        (void)close(control[0]);
        _exit(run_clients((struct sockaddr *)&at, len, control[1]));
    }
    (void)close(control[1]);
    int clients_leaks = run_server(listener, control[0]);
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    print_summary(status, clients_leaks);
    return leaks + clients_leaks != 0 || status != 0;
}
