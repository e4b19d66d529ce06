/* test_sim_net.c - the simulated network, through coir/net.h: what arrives,
 * when, and what does not. COIR_SIM_RUNS=10000 for a thorough run. */
#include <arpa/inet.h>
#include <coir/dns.h>
#include <coir/net.h>
#include <coir/pool.h>
#include <coir/sim.h>
#include <coir/sync.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#define MS COIR_NS_PER_MS
#define S COIR_NS_PER_S
#define CHECKS COIR_SIM_CHECK
#define RUNS 300

static coir_sim_report report;

static void
passes(coir_green_fn *program)
{
    coir_sim_options options = {.flags = COIR_SIM_TWICE};
    coir_test_timeout(600);
    if (coir_sim_search(program, NULL, coir_test_is_slow() ? 10 : RUNS,
                        &options, &report) != 0)
        coir_test_fail(__FILE__, __LINE__, "seed %llu: %s",
                       (unsigned long long)report.seed, report.message);
}

static void
fails(coir_green_fn *program, const char *why)
{
    coir_sim_options options = {.flags = COIR_SIM_QUIET};
    CHECK_EQ(coir_sim_search(program, NULL, 1000, &options, &report), 1);
    if (strstr(report.message, why) == NULL)
        CHECK_STR(report.message, why);
}

static coir_green *
spawn(coir_green_fn *fn, void *arg)
{
    coir_green *g;
    CHECKS(coir_spawn(&g, fn, arg, NULL) == 0);
    return g;
}

static void
join(coir_green *g)
{
    int result = -1;
    CHECKS(coir_join(g, &result) == 0);
    CHECKS(result == 0);
}

static unsigned
below(unsigned limit)
{
    return (unsigned)coir_sim_random_below(limit);
}

static struct sockaddr_in
address(const char *host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    CHECKS(inet_pton(AF_INET, coir_sim_address(host, AF_INET), &in.sin_addr));
    return in;
}

static int
connect_to(coir_socket *s, const char *host, uint16_t port, int64_t timeout_ns)
{
    struct sockaddr_in in = address(host, port);
    return coir_connect(s, (struct sockaddr *)&in, sizeof in, timeout_ns);
}

static coir_socket *
open_socket(int type)
{
    coir_socket *s;
    CHECKS(coir_socket_open(&s, AF_INET, type, 0) == 0);
    return s;
}

static coir_socket *
listen_at(uint16_t port)
{
    char service[8];
    coir_socket *s;
    (void)snprintf(service, sizeof service, "%u", port);
    CHECKS(coir_tcp_listen(&s, NULL, service, 16) == 0);
    return s;
}

/* --- echo ---------------------------------------------------------------- */

enum { CLIENTS = 4 };

static int
echo(void *arg)
{
    coir_socket *s = arg;
    char buf[700];
    ssize_t n;
    while ((n = coir_read(s, buf, 1 + below(sizeof buf), COIR_FOREVER)) > 0)
        CHECKS(coir_write_all(s, buf, (size_t)n, NULL, COIR_FOREVER) == 0);
    CHECKS(n == 0);
    CHECKS(coir_socket_close(s) == 0);
    return 0;
}

static int
serve(void *arg)
{
    coir_green *g[CLIENTS];
    CHECKS(coir_sim_host("server") == 0);
    coir_socket *listener = listen_at(7);
    coir_event_set(arg);
    for (int i = 0; i < CLIENTS; i++) {
        coir_socket *s;
        CHECKS(coir_accept(listener, &s, NULL, NULL, COIR_FOREVER) == 0);
        g[i] = spawn(echo, s);
    }
    for (int i = 0; i < CLIENTS; i++)
        join(g[i]);
    CHECKS(coir_socket_close(listener) == 0);
    return 0;
}

static int
send_all(void *arg)
{
    coir_socket *s = arg;
    unsigned char buf[3000];
    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = (unsigned char)(i * 7);
    CHECKS(coir_write_all(s, buf, sizeof buf, NULL, COIR_FOREVER) == 0);
    CHECKS(coir_shutdown(s, SHUT_WR) == 0);
    return 0;
}

/* Sends while it receives, ends its half, gets the rest. */
static int
be_client(void *arg)
{
    unsigned char buf[3001];
    char name[16];
    static unsigned number;
    (void)snprintf(name, sizeof name, "client%u", number++ % CLIENTS);
    CHECKS(coir_sim_host(name) == 0);
    coir_socket *s = open_socket(SOCK_STREAM);
    CHECKS(coir_event_wait(arg, COIR_FOREVER) == 0);
    int err;
    do /* the first packet, too, may be lost again and again */
        err = connect_to(s, "server", 7, COIR_FOREVER);
    while (err == COIR_ERRNO(ETIMEDOUT));
    CHECKS(err == 0);
    coir_green *sender = spawn(send_all, s);
    size_t have = 0;
    ssize_t n;
    while ((n = coir_recv(s, buf + have, sizeof buf - have, 0, COIR_FOREVER)) >
           0)
        have += (size_t)n;
    CHECKS(n == 0 && have == 3000);
    for (unsigned i = 0; i < have; i++)
        CHECKS(buf[i] == (unsigned char)(i * 7));
    join(sender);
    CHECKS(coir_socket_close(s) == 0);
    return 0;
}

static int
echo_world(void *arg)
{
    coir_event ready = COIR_EVENT_INIT;
    coir_green *g[CLIENTS + 1];
    (void)arg;
    g[CLIENTS] = spawn(serve, &ready);
    for (int i = 0; i < CLIENTS; i++)
        g[i] = spawn(be_client, &ready);
    for (int i = 0; i <= CLIENTS; i++)
        join(g[i]);
    return 0;
}

TEST(sim_net, echo)
{
    passes(echo_world);
}

/* The link is slow, loses pieces, and comes and goes. */
static int
cut_now_and_then(void *arg)
{
    for (int i = 0; i < 3; i++) {
        CHECKS(coir_sleep((int64_t)below(100) * MS) == 0);
        CHECKS(coir_sim_set_parted("server", arg, 1) == 0);
        CHECKS(coir_sleep((int64_t)below(3000) * MS) == 0);
        CHECKS(coir_sim_set_parted("server", arg, 0) == 0);
    }
    return 0;
}

static int
echo_in_bad_world(void *arg)
{
    static const coir_sim_link bad = {.delay_ns = 10 * MS,
                                      .jitter_ns = 50 * MS,
                                      .bytes_per_s = 100000,
                                      .buffer = 500,
                                      .drop = 1000};
    CHECKS(coir_sim_set_link(NULL, NULL, &bad) == 0);
    coir_green *a = spawn(cut_now_and_then, NULL);
    coir_green *b = spawn(cut_now_and_then, (void *)(uintptr_t) "client1");
    int err = echo_world(arg);
    join(a);
    join(b);
    return err;
}

TEST(sim_net, streams_come_through_losses_and_partitions)
{
    passes(echo_in_bad_world);
    CHECK(report.time_ns > 100 * MS);
}

/* --- connecting ---------------------------------------------------------- */

static int
connect_in_all_ways(void *arg)
{
    (void)arg;
    coir_socket *s = open_socket(SOCK_STREAM), *listener;
    CHECKS(connect_to(s, "far", 80, COIR_FOREVER) == COIR_ERRNO(ECONNREFUSED));
    /* It may be tried again. */
    CHECKS(coir_sim_set_parted("far", NULL, 1) == 0);
    CHECKS(connect_to(s, "far", 80, S) == COIR_ETIMEDOUT);
    CHECKS(connect_to(s, "far", 80, COIR_FOREVER) == COIR_ERRNO(ETIMEDOUT));
    CHECKS(coir_sim_set_parted("far", NULL, 0) == 0);
    CHECKS(coir_sim_host("far") == 0);
    listener = listen_at(80);
    CHECKS(coir_sim_host("localhost") == 0);
    CHECKS(connect_to(s, "far", 80, COIR_FOREVER) == 0);
    CHECKS(connect_to(s, "far", 80, COIR_FOREVER) == COIR_ERRNO(EISCONN));
    coir_socket *t;
    struct sockaddr_in from, peer, name = address("localhost", 0);
    struct sockaddr_in6 from6;
    socklen_t len = sizeof from6;
    /* A listener for both families sees IPv4 in the form of IPv6. */
    CHECKS(coir_accept(listener, &t, (struct sockaddr *)&from6, &len,
                       COIR_FOREVER) == 0);
    CHECKS(len == sizeof from6 && IN6_IS_ADDR_V4MAPPED(&from6.sin6_addr));
    CHECKS(memcmp(&from6.sin6_addr.s6_addr[12], &name.sin_addr, 4) == 0);
    len = sizeof from;
    CHECKS(coir_getsockname(s, (struct sockaddr *)&from, &len) == 0);
    CHECKS(from.sin_port == from6.sin6_port && from.sin_port != 0);
    CHECKS(from.sin_addr.s_addr == name.sin_addr.s_addr);
    CHECKS(coir_getpeername(s, (struct sockaddr *)&peer, &len) == 0);
    CHECKS(peer.sin_port == htons(80));
    CHECKS(coir_socket_close(s) == 0);
    char c;
    CHECKS(coir_read(t, &c, 1, COIR_FOREVER) == 0);
    CHECKS(coir_socket_close(t) == 0);
    CHECKS(coir_socket_close(listener) == 0);
    return 0;
}

TEST(sim_net, connecting_ends_in_all_ways)
{
    passes(connect_in_all_ways);
}

static int
use_names(void *arg)
{
    (void)arg;
    CHECKS(strcmp(coir_sim_address("a", AF_INET), "10.0.0.1") == 0);
    CHECKS(strcmp(coir_sim_address("a", AF_INET6), "fd00::1") == 0);
    CHECKS(strcmp(coir_sim_address("192.0.2.7", AF_INET), "192.0.2.7") == 0);
    CHECKS(strcmp(coir_sim_address("2001:db8::7", AF_INET6), "2001:db8::7") ==
           0);
    CHECKS(coir_sim_host("a") == 0);
    coir_socket *s[4];
    CHECKS(coir_tcp_listen(&s[0], "10.0.0.1", "80", 1) == 0);
    CHECKS(coir_tcp_listen(&s[1], "127.0.0.1", "80", 1) == 0);
    CHECKS(coir_tcp_listen(&s[2], "fd00::1", "80", 1) == 0);
    CHECKS(coir_tcp_listen(&s[3], "::1", "80", 1) == 0);
    coir_socket *other;
    CHECKS(coir_tcp_listen(&other, "10.0.0.1", "80", 1) ==
           COIR_ERRNO(EADDRINUSE));
    CHECKS(coir_tcp_listen(&other, NULL, "80", 1) == COIR_ERRNO(EADDRINUSE));
    CHECKS(coir_tcp_listen(&other, "192.0.2.7", "80", 1) ==
           COIR_ERRNO(EADDRNOTAVAIL));
    CHECKS(coir_sim_host("192.0.2.7") == 0);
    CHECKS(coir_tcp_listen(&other, "192.0.2.7", "80", 1) == 0);
    CHECKS(coir_socket_close(other) == 0);
    other = open_socket(SOCK_STREAM);
    struct sockaddr_in nobody = address("a", 80);
    nobody.sin_addr.s_addr = htonl(0x08080808);
    CHECKS(coir_connect(other, (struct sockaddr *)&nobody, sizeof nobody,
                        COIR_FOREVER) == COIR_ERRNO(EHOSTUNREACH));
    /* Of another host. */
    CHECKS(connect_to(other, "a", 81, COIR_FOREVER) ==
           COIR_ERRNO(ECONNREFUSED));
    CHECKS(connect_to(other, "a", 80, COIR_FOREVER) == 0);
    coir_socket *got;
    CHECKS(coir_accept(s[0], &got, NULL, NULL, COIR_FOREVER) == 0);
    CHECKS(coir_accept(s[1], &got, NULL, NULL, 0) == COIR_ETIMEDOUT);
    CHECKS(coir_socket_close(got) == 0);
    CHECKS(coir_socket_close(other) == 0);
    for (int i = 0; i < 4; i++)
        CHECKS(coir_socket_close(s[i]) == 0);
    return 0;
}

TEST(sim_net, hosts_have_addresses)
{
    passes(use_names);
}

TEST(sim_net, needs_a_simulation)
{
    const coir_sim_link link = {.delay_ns = 0};
    CHECK_EQ(coir_sim_host("a"), COIR_EINVAL);
    CHECK_NULL(coir_sim_address("a", AF_INET));
    CHECK_EQ(coir_sim_set_link("a", "b", &link), COIR_EINVAL);
    CHECK_EQ(coir_sim_set_parted("a", "b", 1), COIR_EINVAL);
    CHECK_EQ(coir_sim_reset("a", "b"), COIR_EINVAL);
}

/* --- ends ---------------------------------------------------------------- */

static void
connected(coir_socket **a, coir_socket **b)
{
    CHECKS(coir_sim_host("b") == 0);
    coir_socket *listener = listen_at(1);
    CHECKS(coir_sim_host("a") == 0);
    *a = open_socket(SOCK_STREAM);
    CHECKS(connect_to(*a, "b", 1, COIR_FOREVER) == 0);
    CHECKS(coir_accept(listener, b, NULL, NULL, COIR_FOREVER) == 0);
    CHECKS(coir_socket_close(listener) == 0);
}

static int
read_reset(void *arg)
{
    char c;
    CHECKS(coir_read(arg, &c, 1, COIR_FOREVER) == COIR_ERRNO(ECONNRESET));
    CHECKS(coir_read(arg, &c, 1, COIR_FOREVER) == 0);
    CHECKS(coir_write(arg, &c, 1, COIR_FOREVER) == COIR_ERRNO(EPIPE));
    return 0;
}

static int
reset_connections(void *arg)
{
    coir_socket *a, *b, *c, *d;
    (void)arg;
    connected(&a, &b);
    connected(&c, &d);
    coir_green *g[2] = {spawn(read_reset, a), spawn(read_reset, b)};
    CHECKS(coir_sleep(S) == 0);
    CHECKS(coir_sim_reset("a", "c") == 0); /* not these */
    CHECKS(coir_sleep(S) == 0);
    CHECKS(coir_green_state(g[0]) == COIR_GREEN_WAITING);
    CHECKS(coir_sim_reset("b", NULL) == 0);
    join(g[0]);
    join(g[1]);
    (void)read_reset(c);
    (void)read_reset(d);
    /* One that is closed with bytes that were not read. */
    CHECKS(coir_socket_close(a) == 0 && coir_socket_close(b) == 0);
    CHECKS(coir_socket_close(c) == 0 && coir_socket_close(d) == 0);
    connected(&a, &b);
    CHECKS(coir_write(a, "hello", 5, COIR_FOREVER) == 5);
    CHECKS(coir_socket_wait(b, COIR_READ, COIR_FOREVER) == COIR_READ);
    CHECKS(coir_socket_close(b) == 0);
    (void)read_reset(a);
    CHECKS(coir_socket_close(a) == 0);
    return 0;
}

TEST(sim_net, resets_are_told)
{
    passes(reset_connections);
}

static int
write_until_full(void *arg)
{
    static const coir_sim_link small = {.buffer = 1000};
    char buf[4000] = {0};
    coir_socket *a, *b;
    (void)arg;
    CHECKS(coir_sim_set_link("a", "b", &small) == 0);
    connected(&a, &b);
    CHECKS(coir_write(a, buf, sizeof buf, COIR_FOREVER) == 1000);
    CHECKS(coir_write(a, buf, sizeof buf, 0) == COIR_ETIMEDOUT);
    size_t done = 0;
    CHECKS(coir_write_all(a, buf, 100, &done, S) == COIR_ETIMEDOUT);
    CHECKS(done == 0);
    CHECKS(coir_read_exact(b, buf, 900, NULL, COIR_FOREVER) == 0);
    CHECKS(coir_write_all(a, buf, 2000, &done, S) == COIR_ETIMEDOUT);
    CHECKS(done == 900);
    CHECKS(coir_write(a, buf, 1, 0) == COIR_ETORN);
    CHECKS(coir_socket_close(a) == 0);
    CHECKS(coir_read_exact(b, buf, 1000, NULL, COIR_FOREVER) == 0);
    CHECKS(coir_read(b, buf, 1, COIR_FOREVER) == 0);
    CHECKS(coir_socket_close(b) == 0);
    return 0;
}

TEST(sim_net, buffers_are_limited)
{
    passes(write_until_full);
}

static int
wait_for_nobody(void *arg)
{
    (void)arg;
    coir_socket *s = listen_at(1), *t;
    int err = coir_accept(s, &t, NULL, NULL, COIR_FOREVER);
    CHECKS(coir_socket_close(s) == 0);
    return err;
}

TEST(sim_net, nobody_can_come_any_more)
{
    fails(wait_for_nobody, "-10 (would wait for ever)");
}

static int
be_broken(void *arg)
{
    static const coir_sim_link breaks = {.reset = COIR_SIM_ALWAYS};
    char c;
    coir_socket *a, *b;
    (void)arg;
    CHECKS(coir_sim_set_link("a", "b", &breaks) == 0);
    connected(&a, &b);
    CHECKS(coir_write(a, "x", 1, COIR_FOREVER) == 1);
    CHECKS(coir_read(b, &c, 1, COIR_FOREVER) == COIR_ERRNO(ECONNRESET));
    CHECKS(coir_read(a, &c, 1, COIR_FOREVER) == COIR_ERRNO(ECONNRESET));
    CHECKS(coir_socket_close(a) == 0 && coir_socket_close(b) == 0);
    /* A host that is away for long. */
    CHECKS(coir_sim_set_link("a", "b", &(coir_sim_link){.delay_ns = MS}) == 0);
    connected(&a, &b);
    CHECKS(coir_sim_set_parted("a", "b", 1) == 0);
    CHECKS(coir_write(a, "x", 1, COIR_FOREVER) == 1);
    int64_t begin = coir_clock_monotonic();
    CHECKS(coir_read(a, &c, 1, COIR_FOREVER) == COIR_ERRNO(ETIMEDOUT));
    CHECKS(coir_clock_monotonic() - begin > 60 * S);
    CHECKS(coir_socket_close(a) == 0 && coir_socket_close(b) == 0);
    return 0;
}

TEST(sim_net, connections_break)
{
    passes(be_broken);
}

/* --- datagrams ----------------------------------------------------------- */

/* A server that answers each number, until it is told to end by 0. */
static int
answer(void *arg)
{
    coir_socket *s = arg;
    for (;;) {
        unsigned n;
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        if (coir_recvfrom(s, &n, sizeof n, 0, (struct sockaddr *)&from, &len,
                          COIR_FOREVER) != sizeof n)
            return 1;
        n++;
        if (coir_sendto(s, &n, sizeof n, 0, (struct sockaddr *)&from, len,
                        COIR_FOREVER) != sizeof n)
            return 1;
    }
}

static coir_socket *
datagram_socket(const char *host, uint16_t port)
{
    CHECKS(coir_sim_host(host) == 0);
    coir_socket *s = open_socket(SOCK_DGRAM);
    struct sockaddr_in in = address(host, port);
    CHECKS(coir_bind(s, (struct sockaddr *)&in, sizeof in) == 0);
    return s;
}

/* One question: without retries, or with them, and old answers passed over. */
static int
ask(coir_socket *s, unsigned n, int retries)
{
    for (int i = 0; i <= retries; i++) {
        unsigned m = 0;
        ssize_t err = coir_send(s, &n, sizeof n, 0, COIR_FOREVER);
        while (err == sizeof n && m != n + 1) {
            err = coir_recv(s, &m, sizeof m, 0,
                            retries > 0 ? 100 * MS : COIR_FOREVER);
            if (retries == 0)
                break;
        }
        if (err != COIR_ETIMEDOUT) {
            if (err < 0)
                return (int)err;
            CHECKS(m == n + 1);
            return 0;
        }
    }
    return COIR_ETIMEDOUT;
}

static int
ask_a_server(int retries)
{
    const coir_sim_link lossy = {
        .jitter_ns = 20 * MS, .drop = 500, .duplicate = retries > 0 ? 500 : 0};
    CHECKS(coir_sim_set_link(NULL, NULL, &lossy) == 0);
    coir_socket *server = datagram_socket("server", 53);
    coir_green *g = spawn(answer, server);
    coir_socket *s = datagram_socket("client", 1000);
    CHECKS(connect_to(s, "server", 53, 0) == 0);
    int err = 0;
    for (unsigned n = 0; n < 10 && err == 0; n++)
        err = ask(s, 10 * n, retries);
    coir_cancel(g);
    CHECKS(coir_join(g, NULL) == 0);
    CHECKS(coir_socket_close(s) == 0);
    CHECKS(coir_socket_close(server) == 0);
    return err;
}

static int
ask_once(void *arg)
{
    (void)arg;
    return ask_a_server(0);
}

static int
ask_again(void *arg)
{
    (void)arg;
    return ask_a_server(20);
}

TEST(sim_net, finds_a_protocol_without_retries)
{
    fails(ask_once, "-10 (would wait for ever)");
    passes(ask_again);
}

static unsigned lost, doubled; /* of all runs */

static int
count_datagrams(void *arg)
{
    enum { COUNT = 50 };
    static const coir_sim_link odd = {
        .jitter_ns = 20 * MS, .drop = 2000, .duplicate = 2000};
    unsigned in_order = 0, got[COUNT] = {0}, last = 0, sum = 0, n;
    (void)arg;
    CHECKS(coir_sim_set_link("a", "b", &odd) == 0);
    coir_socket *b = datagram_socket("b", 2), *a = datagram_socket("a", 1);
    CHECKS(connect_to(a, "b", 2, 0) == 0);
    for (n = 0; n < COUNT; n++)
        CHECKS(coir_send(a, &n, sizeof n, 0, 0) == sizeof n);
    while (coir_recv(b, &n, sizeof n, 0, S) == sizeof n) {
        CHECKS(n < COUNT && ++got[n] <= 2);
        in_order += n > last;
        last = n;
        sum++;
    }
    CHECKS(sum > 10 && in_order < sum);
    for (n = 0; n < COUNT; n++) {
        lost += got[n] == 0;
        doubled += got[n] == 2;
    }
    CHECKS(coir_sim_set_parted("a", "b", 1) == 0);
    CHECKS(coir_send(a, &n, sizeof n, 0, 0) == sizeof n);
    CHECKS(coir_recv(b, &n, sizeof n, 0, S) == COIR_ETIMEDOUT);
    CHECKS(coir_socket_close(a) == 0 && coir_socket_close(b) == 0);
    return 0;
}

TEST(sim_net, datagrams_are_lost_doubled_and_reordered)
{
    passes(count_datagrams);
    CHECK(lost > 50 && doubled > 50);
}

/* --- within a host ------------------------------------------------------- */

static int
copy_through(coir_socket *from, coir_socket *to)
{
    char buf[100];
    CHECKS(coir_write_all(from, "hello", 5, NULL, COIR_FOREVER) == 0);
    CHECKS(coir_read(to, buf, sizeof buf, COIR_FOREVER) == 5);
    CHECKS(memcmp(buf, "hello", 5) == 0);
    CHECKS(coir_read(to, buf, sizeof buf, 0) == COIR_ETIMEDOUT);
    CHECKS(coir_socket_close(from) == 0);
    CHECKS(coir_read(to, buf, sizeof buf, COIR_FOREVER) == 0);
    CHECKS(coir_socket_close(to) == 0);
    return 0;
}

static int
use_local_sockets(void *arg)
{
    (void)arg;
    coir_socket *pair[2], *listener, *client, *server;
    CHECKS(coir_pipe(&pair[0], &pair[1]) == 0);
    (void)copy_through(pair[1], pair[0]);
    CHECKS(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0) == 0);
    (void)copy_through(pair[0], pair[1]);
    CHECKS(coir_unix_connect(&client, "/run/x", S) == COIR_ERRNO(ENOENT));
    CHECKS(coir_unix_connect(&client, "@x", S) == COIR_ERRNO(ECONNREFUSED));
    CHECKS(coir_unix_listen(&listener, "/run/x", 5) == 0);
    CHECKS(coir_unix_connect(&client, "/run/x", COIR_FOREVER) == 0);
    CHECKS(coir_sim_host("other") == 0);
    CHECKS(coir_unix_connect(&server, "/run/x", S) == COIR_ERRNO(ENOENT));
    CHECKS(coir_accept(listener, &server, NULL, NULL, COIR_FOREVER) == 0);
    struct sockaddr_un un;
    socklen_t len = sizeof un;
    CHECKS(coir_getpeername(client, (struct sockaddr *)&un, &len) == 0);
    CHECKS(strcmp(un.sun_path, "/run/x") == 0);
    (void)copy_through(client, server);
    CHECKS(coir_socket_close(listener) == 0);
    /* Messages keep their bounds. */
    char buf[3];
    CHECKS(coir_socket_pair(pair, AF_UNIX, SOCK_SEQPACKET, 0) == 0);
    CHECKS(coir_send(pair[0], "abcd", 4, 0, 0) == 4);
    CHECKS(coir_send(pair[0], "e", 1, 0, 0) == 1);
    CHECKS(coir_recv(pair[1], buf, 2, MSG_PEEK, 0) == 2 && buf[0] == 'a');
    CHECKS(coir_recv(pair[1], buf, 2, 0, 0) == 2 && buf[1] == 'b');
    CHECKS(coir_recv(pair[1], buf, 2, 0, 0) == 1 && buf[0] == 'e');
    CHECKS(coir_socket_close(pair[0]) == 0 && coir_socket_close(pair[1]) == 0);
    return 0;
}

TEST(sim_net, pipes_pairs_and_unix_sockets)
{
    passes(use_local_sockets);
}

static int
wait_for_close(void *arg)
{
    char c;
    CHECKS(coir_read(arg, &c, 1, COIR_FOREVER) == COIR_ECLOSED);
    return 0;
}

static int
close_under_readers(void *arg)
{
    (void)arg;
    coir_socket *a, *b;
    connected(&a, &b);
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        g[i] = spawn(wait_for_close, coir_socket_hold(b));
    CHECKS(coir_sleep(S) == 0);
    CHECKS(coir_socket_close(b) == 0);
    for (int i = 0; i < 3; i++) {
        join(g[i]);
        CHECKS(coir_socket_close(b) == COIR_ECLOSED);
    }
    CHECKS(coir_socket_close(a) == 0);
    return 0;
}

TEST(sim_net, close_wakes_who_waits)
{
    passes(close_under_readers);
}

static int
wait_for_descriptor(void *arg)
{
    (void)arg;
    coir_socket *a, *b;
    connected(&a, &b);
    CHECKS(coir_wait_fd(coir_socket_fd(b), COIR_READ, S) == COIR_ETIMEDOUT);
    CHECKS(coir_write(a, "x", 1, 0) == 1);
    CHECKS(coir_wait_fd(coir_socket_fd(b), COIR_READ, S) == COIR_READ);
    CHECKS(coir_wait_fd(coir_socket_fd(b), COIR_READ | COIR_WRITE, S) > 0);
    CHECKS(coir_socket_close(a) == 0 && coir_socket_close(b) == 0);
    return 0;
}

TEST(sim_net, descriptors_can_be_waited_for)
{
    passes(wait_for_descriptor);
}

static int
send_a_file(void *arg)
{
    (void)arg;
    coir_socket *a, *b;
    char buf[10];
    off_t at = 3;
    FILE *f = tmpfile();
    CHECKS(f != NULL && fputs("0123456789", f) >= 0 && fflush(f) == 0);
    connected(&a, &b);
    CHECKS(coir_sendfile(a, fileno(f), &at, 4, COIR_FOREVER) == 4 && at == 7);
    CHECKS(coir_read_exact(b, buf, 4, NULL, COIR_FOREVER) == 0);
    CHECKS(memcmp(buf, "3456", 4) == 0);
    CHECKS(coir_splice(a, b, 4, COIR_FOREVER) == COIR_ERRNO(EOPNOTSUPP));
    CHECKS(coir_socket_close(a) == 0 && coir_socket_close(b) == 0);
    CHECKS(fclose(f) == 0);
    return 0;
}

TEST(sim_net, files_can_be_sent)
{
    passes(send_a_file);
}

/* --- blocking calls and names -------------------------------------------- */

static int
count_call(void *arg)
{
    ++*(int *)arg;
    return 42;
}

static int dropped;

static void
drop_call(void *arg)
{
    (void)arg;
    dropped++;
}

static int
make_blocking_calls(void *arg)
{
    (void)arg;
    int calls = 0, result = 0, succeeded = 0;
    dropped = 0;
    CHECKS(coir_blocking(NULL, count_call, &calls, NULL, &result,
                         COIR_FOREVER) == 0);
    CHECKS(calls == 1 && result == 42);
    for (int i = 0; i < 10; i++) {
        int err =
            coir_blocking(NULL, count_call, &calls, drop_call, NULL, 2 * MS);
        CHECKS(err == 0 || err == COIR_ETIMEDOUT);
        succeeded += err == 0;
    }
    CHECKS(succeeded + dropped == 10 && calls >= 1 + succeeded);
    return 0;
}

TEST(sim_net, blocking_calls_are_made_some_time)
{
    passes(make_blocking_calls);
}

static int
connect_by_name(void *arg)
{
    (void)arg;
    coir_socket *s, *t;
    CHECKS(coir_sim_host("db.example") == 0);
    coir_socket *listener = listen_at(5432);
    CHECKS(coir_sim_host("web.example") == 0);
    CHECKS(coir_tcp_connect(&s, "nobody.example", "5432", S) < 0);
    CHECKS(coir_tcp_connect(&s, "db.example", "5432", S) == 0);
    CHECKS(coir_accept(listener, &t, NULL, NULL, S) == 0);
    CHECKS(coir_socket_close(s) == 0 && coir_socket_close(t) == 0);
    CHECKS(coir_socket_close(listener) == 0);
    return 0;
}

TEST(sim_net, hosts_are_found_by_name)
{
    passes(connect_by_name);
}

/* --- failures ------------------------------------------------------------ */

static int
leave_all_open(void *arg)
{
    coir_socket *a, *b;
    (void)arg;
    connected(&a, &b);
    CHECKS(coir_write(a, "hello", 5, 0) == 5);
    CHECKS(coir_sim_set_link("a", "b", &(coir_sim_link){.delay_ns = S}) == 0);
    coir_socket *d = datagram_socket("a", 9);
    CHECKS(connect_to(d, "b", 9, 0) == 0);
    CHECKS(coir_send(d, "x", 1, 0, 0) == 1);
    coir_free(a); /* what a program loses that leaves its sockets */
    coir_free(b);
    coir_free(d);
    return 0;
}

TEST(sim_net, what_is_on_the_way_is_dropped_with_the_program)
{
    passes(leave_all_open);
}

/* What a program does that finds no memory: ends, and tidies up. */
static int
talk_if_there_is_memory(void *arg)
{
    coir_socket *listener = NULL, *a = NULL, *b = NULL;
    char c = 0;
    (void)arg;
    int err = coir_sim_host("x");
    if (err == 0)
        err = coir_tcp_listen(&listener, NULL, "1", 5);
    if (err == 0)
        err = coir_socket_open(&a, AF_INET, SOCK_STREAM, 0);
    if (err == 0)
        err = connect_to(a, "x", 1, 10 * S);
    if (err == 0)
        err = coir_accept(listener, &b, NULL, NULL, 10 * S);
    if (err == 0)
        err = (int)coir_write(a, "x", 1, 10 * S) - 1;
    if (err == 0)
        err = (int)coir_read(b, &c, 1, 10 * S) - 1;
    if (err == 0)
        CHECKS(c == 'x');
    if (a != NULL)
        (void)coir_socket_close(a);
    if (err == 0 && coir_read(b, &c, 1, 10 * S) != 0)
        err = -1;
    if (b != NULL)
        (void)coir_socket_close(b);
    if (listener != NULL)
        (void)coir_socket_close(listener);
    return err;
}

TEST(sim_net, without_memory_calls_fail)
{
    coir_sim_options options = {.flags = COIR_SIM_QUIET};
    EACH_ALLOC_FAILURE(n)
    {
        int err =
            coir_sim_run(talk_if_there_is_memory, NULL, &options, &report);
        CHECK(err == 0 || coir_test_failures(COIR_TEST_ALLOC) > 0);
        CHECK_EQ(coir_thread_fini(), 0);
    }
}
