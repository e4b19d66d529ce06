/* test_dns.c - names, and connections by name: what can be known without a
 * network, compared with libc.
 *
 * Look-ups are held back by a call that occupies the only thread of their
 * lane until a gate is opened. */
#include <arpa/inet.h>
#include <coir/dns.h>
#include <coir/pool.h>
#include <coir/sync.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dns/dns.h"
#include "gate_helper.h"
#include "green_helper.h"
#include "harness.h"

#define MS COIR_NS_PER_MS
#define S COIR_NS_PER_S
#define FOREVER COIR_FOREVER

static coir_green *holder;

static void
finish(void)
{
    CHECK_EQ(coir_pool_fini(FOREVER), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

static coir_pool_stats
stats(void)
{
    coir_pool_stats s;
    coir_pool_get_stats(coir_pool_lane(COIR_LANE_DNS), &s);
    return s;
}

static void
hold_look_ups(void)
{
    coir_pool_set_limit(coir_pool_lane(COIR_LANE_DNS), 1);
    holder = spawn(occupy, coir_pool_lane(COIR_LANE_DNS));
    CHECK_EQ(coir_semaphore_acquire(&begun, FOREVER), 0);
}

static void
let_look_ups_go(void)
{
    coir_semaphore_release(&gate, 1);
    CHECK_EQ(join(holder), 0);
}

/* --- the same as libc's -------------------------------------------------- */

static void
check_same(const struct addrinfo *a, const struct addrinfo *b)
{
    for (; a != NULL && b != NULL; a = a->ai_next, b = b->ai_next) {
        CHECK_EQ(a->ai_flags, b->ai_flags);
        CHECK_EQ(a->ai_family, b->ai_family);
        CHECK_EQ(a->ai_socktype, b->ai_socktype);
        CHECK_EQ(a->ai_protocol, b->ai_protocol);
        CHECK_EQ(a->ai_addrlen, b->ai_addrlen);
        CHECK_EQ(memcmp(a->ai_addr, b->ai_addr, a->ai_addrlen), 0);
        CHECK_EQ(a->ai_canonname != NULL, b->ai_canonname != NULL);
        if (a->ai_canonname != NULL)
            CHECK_STR(a->ai_canonname, b->ai_canonname);
    }
    CHECK(a == NULL && b == NULL);
}

static void
compare(const char *host, const char *service, const struct addrinfo *hints)
{
    struct addrinfo *theirs, *ours = NULL;
    int eai = getaddrinfo(host, service, hints, &theirs);
    int err = coir_getaddrinfo(host, service, hints, &ours, FOREVER);
    if (eai != 0) {
        CHECK_EQ(err, COIR_EAI(eai));
        CHECK_EQ(coir_eai(err), eai);
        CHECK_STR(coir_strerror(err), gai_strerror(eai));
        CHECK_NULL(ours);
        return;
    }
    CHECK_EQ(err, 0);
    check_same(ours, theirs);
    freeaddrinfo(theirs);
    coir_freeaddrinfo(ours);
}

static void
compare_many(void)
{
    static const char *const hosts[] = {
        NULL,        "127.0.0.1", "127.1",          "0x7f.1",
        "::1",       "::",        "::ffff:1.2.3.4", "fe80::1%lo",
        "localhost", "",          "1.2.3.4.5x",     "256.1.1.1x"};
    static const char *const services[] = {
        NULL, "80", "http", "0", "65536", "no-such-service", ""};
    static const struct addrinfo hints[] = {
        {.ai_socktype = SOCK_STREAM},
        {.ai_family = AF_INET},
        {.ai_family = AF_INET6, .ai_flags = AI_V4MAPPED | AI_ALL},
        {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_DGRAM},
        {.ai_flags = AI_CANONNAME},
        {.ai_flags = AI_NUMERICHOST},
        {.ai_flags = AI_NUMERICSERV},
        {.ai_flags = AI_ADDRCONFIG, .ai_socktype = SOCK_STREAM},
        {.ai_family = 12345},
        {.ai_socktype = 12345},
        {.ai_flags = 0x40000000},
    };
    for (size_t h = 0; h < sizeof hosts / sizeof *hosts; h++) {
        /* What is no address is asked of no server here. */
        int is_name = hosts[h] != NULL && strchr(hosts[h], 'x') != NULL &&
                      hosts[h][0] != '0';
        for (size_t s = 0; s < sizeof services / sizeof *services; s++) {
            if (!is_name)
                compare(hosts[h], services[s], NULL);
            for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
                if (!is_name || hints[i].ai_flags & AI_NUMERICHOST)
                    compare(hosts[h], services[s], &hints[i]);
        }
    }
}

/* A system that was just unpacked may lack /etc/hosts. */
static void
skip_without_localhost(void)
{
    struct addrinfo *list;
    if (getaddrinfo("localhost", NULL, NULL, &list) != 0)
        SKIP("this machine does not know localhost");
    freeaddrinfo(list);
}

TEST(dns, answers_as_libc_does)
{
    CHECK(coir_hub_get() != NULL);
    compare_many();
    finish();
}

TEST(dns, thread_without_hub_looks_up_itself)
{
    compare_many();
    CHECK_EQ(stats().threads, 0);
}

TEST(dns, numeric_needs_no_thread)
{
    CHECK(coir_hub_get() != NULL);
    compare("127.0.0.1", "80", NULL);
    compare("::1", NULL, NULL);
    compare(NULL, "443", NULL);
    compare("name", "80", &(struct addrinfo){.ai_flags = AI_NUMERICHOST});
    CHECK_EQ(stats().done + stats().running + stats().queued, 1);
    finish();
}

/* Also where nobody may wait. */
static void
look_up_in_callback(coir_call *c)
{
    struct addrinfo *list;
    atomic_int *done = c->data;
    CHECK_EQ(coir_getaddrinfo("127.0.0.1", NULL, NULL, &list, FOREVER), 0);
    coir_freeaddrinfo(list);
    CHECK_EQ(coir_getaddrinfo("localhost", NULL, NULL, &list, FOREVER),
             COIR_EINVAL);
    atomic_store(done, 1);
}

TEST(dns, callback_may_ask_for_what_is_numeric)
{
    atomic_int done = 0;
    coir_call c = {.fn = look_up_in_callback, .data = &done};
    coir_hub_post(coir_hub_get(), &c);
    while (!atomic_load(&done))
        CHECK_EQ(coir_sleep(1), 0);
    finish();
}

TEST(dns, errors_have_a_place_of_their_own)
{
    CHECK_EQ(coir_eai(0), 0);
    CHECK_EQ(coir_eai(COIR_EAI(EAI_NONAME)), EAI_NONAME);
    CHECK_EQ(coir_eai(COIR_EAI(EAI_AGAIN)), EAI_AGAIN);
    CHECK_EQ(coir_eai(COIR_ETIMEDOUT), EAI_SYSTEM);
    CHECK_EQ(coir_eai(COIR_ERRNO(EIO)), EAI_SYSTEM);
    CHECK_EQ(coir_eai(COIR_ERRNO(4095)), EAI_SYSTEM);
    CHECK(COIR_EAI(EAI_BADFLAGS) < COIR_ERRNO(4095));
    CHECK_STR(coir_strerror(COIR_EAI(EAI_NONAME)), gai_strerror(EAI_NONAME));
}

/* --- many who ask -------------------------------------------------------- */

static int
ask_localhost(void *arg)
{
    struct addrinfo *list = NULL;
    int err = coir_getaddrinfo("localhost", arg, NULL, &list, FOREVER);
    CHECK_EQ(err == 0, list != NULL);
    coir_freeaddrinfo(list);
    return err;
}

TEST(dns, equal_questions_are_asked_once)
{
    skip_without_localhost();
    enum { ASKING = 10 };
    hold_look_ups();
    coir_green *g[ASKING];
    for (int i = 0; i < ASKING; i++)
        g[i] = spawn(ask_localhost, i % 2 ? "80" : NULL);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(stats().queued, 2);
    coir_cancel(g[0]); /* who asked first */
    CHECK_EQ(join(g[0]), COIR_ECANCELED);
    CHECK_EQ(stats().queued, 2);
    let_look_ups_go();
    for (int i = 1; i < ASKING; i++)
        CHECK_EQ(join(g[i]), 0);
    CHECK_EQ(ask_localhost(NULL), 0); /* is asked anew */
    finish();
    CHECK_EQ(stats().done, 4);
}

TEST(dns, question_that_nobody_asks_any_more_is_taken_back)
{
    struct addrinfo *list = NULL;
    hold_look_ups();
    CHECK_EQ(coir_getaddrinfo("localhost", NULL, NULL, &list, MS),
             COIR_ETIMEDOUT);
    CHECK_EQ(coir_getaddrinfo("localhost", NULL, NULL, &list, 0),
             COIR_ETIMEDOUT);
    CHECK_NULL(list);
    CHECK_EQ(stats().queued, 0);
    let_look_ups_go();
    finish();
    CHECK_EQ(stats().done, 1);
}

static int
ask_and_leave(void *arg)
{
    struct addrinfo *list;
    int err = coir_getaddrinfo("localhost", arg, NULL, &list, 1);
    if (err == 0)
        coir_freeaddrinfo(list);
    return err;
}

TEST(dns, leaving_while_it_is_looked_up)
{
    skip_without_localhost();
    CHECK(coir_hub_get() != NULL);
    coir_green *g[50];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++)
            g[i] = spawn(i % 3 ? ask_and_leave : ask_localhost,
                         i % 2 ? "80" : NULL);
        for (int i = 0; i < 50; i++) {
            int err = join(g[i]);
            CHECK(err == 0 || (i % 3 && err == COIR_ETIMEDOUT));
        }
    }
    finish();
}

TEST(dns, without_memory)
{
    skip_without_localhost();
    CHECK(coir_hub_get() != NULL);
    CHECK_EQ(ask_localhost(NULL), 0);
    /* Has the loop wait, which with io_uring takes memory the first time. */
    CHECK_EQ(coir_sleep(1), 0);
    EACH_ALLOC_FAILURE(n)
    {
        int err = ask_localhost("80");
        CHECK_EQ(err, n <= coir_test_failures(COIR_TEST_ALLOC) - 1
                          ? COIR_ENOMEM
                          : 0);
    }
    finish();
}

TEST(dns, without_a_thread)
{
    skip_without_localhost();
    CHECK(coir_hub_get() != NULL);
    coir_test_fail_call(COIR_TEST_THREAD, 0, 1, EAGAIN);
    CHECK_EQ(ask_localhost(NULL), COIR_ERRNO(EAGAIN));
    CHECK_EQ(ask_localhost(NULL), 0);
    finish();
}

TEST(dns, child_of_a_fork_asks_anew)
{
    skip_without_localhost();
    if (COIR_TEST_TSAN)
        SKIP("TSan allows no threads in the child of a process with threads");
    if (coir_test_on_valgrind())
        SKIP("libc loses what it had for the threads of the parent");
    hold_look_ups();
    coir_green *g = spawn(ask_localhost, NULL);
    CHECK_EQ(coir_yield(), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(ask_localhost(NULL) == 0 ? 0 : 1);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    let_look_ups_go();
    CHECK_EQ(join(g), 0);
    finish();
}

/* --- names of addresses -------------------------------------------------- */

static void
compare_names(const struct sockaddr *addr, socklen_t len, int flags,
              size_t host_size, size_t service_size)
{
    char host[2][NI_MAXHOST] = {"", ""}, service[2][NI_MAXSERV] = {"", ""};
    int eai = getnameinfo(addr, len, host[0], (socklen_t)host_size, service[0],
                          (socklen_t)service_size, flags);
    CHECK_EQ(coir_getnameinfo(addr, len, host[1], host_size, service[1],
                              service_size, flags, FOREVER),
             eai == 0 ? 0 : COIR_EAI(eai));
    if (eai == 0) {
        CHECK_STR(host[1], host[0]);
        CHECK_STR(service[1], service[0]);
    }
}

TEST(dns, names_as_libc_does)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct sockaddr *addr = (const struct sockaddr *)&in;
    struct sockaddr odd = {.sa_family = 12345};
    static const int flags[] = {0, NI_NUMERICHOST, NI_NUMERICSERV,
                                NI_NUMERICHOST | NI_NUMERICSERV,
                                NI_NAMEREQD | NI_DGRAM};
    CHECK(coir_hub_get() != NULL);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        compare_names(addr, sizeof in, flags[i], NI_MAXHOST, NI_MAXSERV);
        compare_names(addr, sizeof in, flags[i], NI_MAXHOST, 0);
        compare_names(addr, sizeof in, flags[i], 0, NI_MAXSERV);
        compare_names(addr, sizeof in, flags[i], 0, 0);
        compare_names(addr, sizeof in, flags[i], 2, 2);
        compare_names(addr, 3, flags[i], NI_MAXHOST, NI_MAXSERV);
        compare_names(&odd, sizeof odd, flags[i], NI_MAXHOST, NI_MAXSERV);
    }
    char host[NI_MAXHOST];
    CHECK_EQ(
        coir_getnameinfo(addr, 4096, host, sizeof host, NULL, 0, 0, FOREVER),
        COIR_EAI(EAI_FAMILY));
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_getnameinfo(addr, sizeof in, host, sizeof host, NULL, 0, 0,
                              FOREVER),
             COIR_ENOMEM);
    hold_look_ups();
    CHECK_EQ(
        coir_getnameinfo(addr, sizeof in, host, sizeof host, NULL, 0, 0, MS),
        COIR_ETIMEDOUT);
    let_look_ups_go();
    finish();
}

/* --- connections by name ------------------------------------------------- */

typedef struct place {
    struct sockaddr_in addr;
    struct addrinfo ai;
    coir_socket *listener;
    int filler[8]; /* connections that fill its queue */
} place;

/* An address that nobody listens at. */
static void
make_place(place *p)
{
    *p = (place){.addr = {.sin_family = AF_INET}};
    p->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->ai = (struct addrinfo){.ai_family = AF_INET,
                              .ai_socktype = SOCK_STREAM,
                              .ai_addr = (struct sockaddr *)&p->addr,
                              .ai_addrlen = sizeof p->addr};
    memset(p->filler, -1, sizeof p->filler);
    CHECK_EQ(coir_socket_open(&p->listener, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_bind(p->listener, p->ai.ai_addr, sizeof p->addr), 0);
    socklen_t len = sizeof p->addr;
    CHECK_EQ(getsockname(coir_socket_fd(p->listener), p->ai.ai_addr, &len), 0);
}

static void
listen_there(place *p, int backlog)
{
    make_place(p);
    CHECK_EQ(coir_listen(p->listener, backlog), 0);
}

/* One that does not answer: its queue is full, so the kernel lets those who
 * come wait. */
static void
make_silent(place *p)
{
    listen_there(p, 0);
    for (int i = 0; i < 8; i++) {
        p->filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(p->filler[i] >= 0);
        (void)connect(p->filler[i], p->ai.ai_addr, sizeof p->addr);
    }
}

static void
leave_place(place *p)
{
    for (int i = 0; i < 8; i++)
        if (p->filler[i] >= 0)
            (void)close(p->filler[i]);
    CHECK_EQ(coir_socket_close(p->listener), 0);
}

/* Connected to this one? Then close it. */
static void
check_peer(coir_socket *s, const place *p)
{
    struct sockaddr_in peer = {0};
    socklen_t len = sizeof peer;
    CHECK_EQ(getpeername(coir_socket_fd(s), (struct sockaddr *)&peer, &len),
             0);
    CHECK_EQ(peer.sin_port, p->addr.sin_port);
    CHECK_EQ(coir_socket_close(s), 0);
}

TEST(dns, connects_by_name)
{
    skip_without_localhost();
    place p;
    listen_there(&p, 5);
    char port[16];
    (void)snprintf(port, sizeof port, "%d", ntohs(p.addr.sin_port));
    coir_socket *s = NULL;
    CHECK_EQ(coir_tcp_connect(&s, "127.0.0.1", port, 20 * S), 0);
    check_peer(s, &p);
    CHECK_EQ(coir_tcp_connect(&s, "localhost", port, 20 * S), 0);
    CHECK_EQ(coir_socket_close(s), 0);
    s = NULL;
    CHECK_EQ(coir_tcp_connect(&s, "127.0.0.1", "no-such-service", 20 * S),
             COIR_EAI(EAI_SERVICE));
    CHECK_EQ(coir_tcp_connect(&s, "127.0.0.1", port, 0), COIR_ETIMEDOUT);
    CHECK_NULL(s);
    leave_place(&p);
    CHECK_EQ(coir_tcp_connect(&s, "127.0.0.1", port, 20 * S),
             COIR_ERRNO(ECONNREFUSED));
    finish();
}

/* Of these, in order: 'r'efuses, 's'ilent, 'l'istens. */
static place places[4];

static const struct addrinfo *
list_of(const char *kinds)
{
    for (int i = 0; kinds[i] != '\0'; i++) {
        if (kinds[i] == 'r')
            make_place(&places[i]);
        else if (kinds[i] == 's')
            make_silent(&places[i]);
        else
            listen_there(&places[i], 5);
        if (i > 0)
            places[i - 1].ai.ai_next = &places[i].ai;
    }
    return &places[0].ai;
}

static void
leave_list(const char *kinds)
{
    for (int i = 0; kinds[i] != '\0'; i++)
        leave_place(&places[i]);
}

TEST(dns, goes_on_at_once_from_one_that_refuses)
{
    coir_socket *s = NULL;
    const struct addrinfo *list = list_of("rrl");
    int64_t begin = coir_clock_monotonic();
    CHECK_EQ(coir__connect_any(&s, list), 0);
    CHECK(coir_clock_monotonic() - begin < 250 * MS || coir_test_is_slow());
    check_peer(s, &places[2]);
    leave_list("rrl");
    finish();
}

TEST(dns, goes_on_after_a_while_from_one_that_is_silent)
{
    coir_socket *s = NULL;
    const struct addrinfo *list = list_of("sl");
    int64_t begin = coir_clock_monotonic();
    CHECK_EQ(coir__connect_any(&s, list), 0);
    CHECK(coir_clock_monotonic() - begin >= 250 * MS);
    check_peer(s, &places[1]);
    leave_list("sl");
    finish();
}

TEST(dns, first_that_listens_wins)
{
    coir_socket *s = NULL;
    CHECK_EQ(coir__connect_any(&s, list_of("lll")), 0);
    check_peer(s, &places[0]);
    leave_list("lll");
    finish();
}

TEST(dns, all_refuse)
{
    coir_socket *s = NULL;
    CHECK_EQ(coir__connect_any(&s, list_of("rrr")), COIR_ERRNO(ECONNREFUSED));
    CHECK_NULL(s);
    leave_list("rrr");
    finish();
}

static int
connect_to_list(void *arg)
{
    coir_socket *s = NULL;
    return coir__connect_any(&s, arg);
}

TEST(dns, connecting_is_cancelled)
{
    const struct addrinfo *list = list_of("rss");
    coir_green *g = spawn(connect_to_list, (void *)(uintptr_t)list);
    CHECK_EQ(coir_sleep(20 * MS), 0);
    coir_cancel(g);
    CHECK_EQ(join(g), COIR_ECANCELED);
    leave_list("rss");
    finish();
}

TEST(dns, connecting_takes_too_long)
{
    coir_socket *s = NULL;
    const struct addrinfo *list = list_of("ss");
    coir_deadline d;
    coir_deadline_begin(&d, 20 * MS);
    CHECK_EQ(coir__connect_any(&s, list), COIR_ETIMEDOUT);
    CHECK(coir_deadline_end(&d));
    CHECK_NULL(s);
    leave_list("ss");
    finish();
}

TEST(dns, connecting_without_memory)
{
    const struct addrinfo *list = list_of("rl");
    EACH_ALLOC_FAILURE(n)
    {
        coir_socket *s = NULL;
        int err = coir__connect_any(&s, list);
        CHECK(err == 0 || err == COIR_ENOMEM || err == COIR_ERRNO(ENOMEM) ||
              err == COIR_ERRNO(ECONNREFUSED));
        if (err == 0)
            check_peer(s, &places[1]);
        else
            CHECK_NULL(s);
    }
    leave_list("rl");
    finish();
}

TEST(dns, families_take_turns)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT,
                               .sin6_port = htons(1)};
    struct addrinfo six[3];
    const struct addrinfo *list = list_of("sl");
    for (int i = 0; i < 3; i++)
        six[i] = (struct addrinfo){.ai_family = AF_INET6,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_addr = (struct sockaddr *)&in6,
                                   .ai_addrlen = sizeof in6,
                                   .ai_next = i < 2 ? &six[i + 1] : NULL};
    /* s l 6 6 6 is tried as s 6 l: at l after one silence, for nobody is at
     * the port of IPv6. */
    places[1].ai.ai_next = &six[0];
    coir_socket *s = NULL;
    int64_t begin = coir_clock_monotonic();
    CHECK_EQ(coir__connect_any(&s, list), 0);
    CHECK(coir_clock_monotonic() - begin < 500 * MS || coir_test_is_slow());
    check_peer(s, &places[1]);
    leave_list("sl");
    finish();
}

/* --- c-ares -------------------------------------------------------------- */

/* A name server on the loopback: "six.example" is known with 2001:db8::7,
 * "silent.example" gets no answer, "none.example" does not exist, and all
 * others are 192.0.2.7. */
static struct {
    coir_socket *socket;
    coir_green *green;
    char address[40];
    int questions;
} server;

static size_t
answer(unsigned char *packet, size_t len)
{
    static const unsigned char four[] = {0xc0, 12, 0, 1, 0,   1, 0, 0,
                                         0,    60, 0, 4, 192, 0, 2, 7};
    static const unsigned char six[] = {
        0xc0, 12,   0, 28, 0, 1, 0, 0, 0, 60, 0, 16, 0x20, 0x01,
        0x0d, 0xb8, 0, 0,  0, 0, 0, 0, 0, 0,  0, 0,  0,    7};
    const char *name = (const char *)packet + 13;
    size_t end = 12 + strlen((const char *)packet + 12) + 1;
    CHECK(end + 4 <= len);
    int type = packet[end + 1], is_six = strncmp(name, "six", 3) == 0;
    packet[2] |= 0x84; /* an answer, with authority */
    packet[3] = 0x80;
    memset(packet + 6, 0, 6);
    if (strncmp(name, "none", 4) == 0)
        packet[3] |= 3;
    else if (type == (is_six ? 28 : 1)) {
        const unsigned char *data = is_six ? six : four;
        size_t size = is_six ? sizeof six : sizeof four;
        packet[7] = 1;
        memcpy(packet + end + 4, data, size);
        return end + 4 + size;
    }
    return end + 4;
}

static int
serve(void *arg)
{
    unsigned char packet[600];
    struct sockaddr_in from;
    ssize_t n;
    (void)arg;
    for (;;) {
        socklen_t len = sizeof from;
        n = coir_recvfrom(server.socket, packet, 512, 0,
                          (struct sockaddr *)&from, &len, FOREVER);
        if (n < 0)
            return (int)n;
        server.questions++;
        if (strncmp((const char *)packet + 13, "silent", 6) == 0)
            continue;
        size_t size = answer(packet, (size_t)n);
        (void)coir_sendto(server.socket, packet, size, 0,
                          (struct sockaddr *)&from, len, FOREVER);
    }
}

static void
begin_ares(void)
{
    int err = coir_resolver_set(COIR_RESOLVER_ARES);
    if (err == COIR_ENOSYS)
        SKIP("built without c-ares");
    CHECK_EQ(err, 0);
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t len = sizeof in;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(coir_socket_open(&server.socket, AF_INET, SOCK_DGRAM, 0), 0);
    CHECK_EQ(coir_bind(server.socket, (struct sockaddr *)&in, len), 0);
    CHECK_EQ(getsockname(coir_socket_fd(server.socket), (struct sockaddr *)&in,
                         &len),
             0);
    (void)snprintf(server.address, sizeof server.address, "127.0.0.1:%d",
                   ntohs(in.sin_port));
    CHECK_EQ(coir_resolver_set_servers(server.address), 0);
    server.green = spawn(serve, NULL);
}

static void
finish_ares(void)
{
    coir_cancel(server.green);
    CHECK_EQ(join(server.green), COIR_ECANCELED);
    CHECK_EQ(coir_socket_close(server.socket), 0);
    CHECK_EQ(coir_resolver_set_servers(NULL), 0);
    finish();
}

/* What a name is found to be, as text. */
static const char *
found(const char *host, int family)
{
    static char text[INET6_ADDRSTRLEN];
    const struct addrinfo hints = {.ai_family = family,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int err = coir_getaddrinfo(host, "80", &hints, &list, 20 * S);
    if (err < 0)
        return coir_strerror(err);
    CHECK_EQ(list->ai_socktype, SOCK_STREAM);
    CHECK_EQ(list->ai_protocol, IPPROTO_TCP);
    CHECK_EQ(coir_getnameinfo(list->ai_addr, list->ai_addrlen, text,
                              sizeof text, NULL, 0, NI_NUMERICHOST, 0),
             0);
    CHECK_EQ(((struct sockaddr_in *)(void *)list->ai_addr)->sin_port,
             htons(80));
    coir_freeaddrinfo(list);
    return text;
}

TEST(dns, ares_asks_servers)
{
    begin_ares();
    CHECK_EQ(coir_resolver_get(), COIR_RESOLVER_ARES);
    CHECK_STR(found("four.example", AF_INET), "192.0.2.7");
    CHECK_STR(found("four.example", AF_UNSPEC), "192.0.2.7");
    CHECK_STR(found("six.example", AF_INET6), "2001:db8::7");
    CHECK_STR(found("none.example", AF_INET), gai_strerror(EAI_NONAME));
    CHECK_STR(found("six.example", AF_INET), gai_strerror(EAI_NONAME));
    CHECK(server.questions >= 5);
    int before = server.questions;
    CHECK_STR(found("127.0.0.1", AF_INET), "127.0.0.1");
    CHECK_STR(found("localhost", AF_INET), "127.0.0.1");
    CHECK_EQ(server.questions, before);
    CHECK_EQ(stats().done, 0);
    finish_ares();
}

TEST(dns, ares_gives_all_kinds)
{
    begin_ares();
    const struct addrinfo hints = {.ai_family = AF_INET,
                                   .ai_flags = AI_CANONNAME};
    struct addrinfo *list;
    CHECK_EQ(coir_getaddrinfo("four.example", NULL, &hints, &list, 20 * S), 0);
    CHECK_STR(list->ai_canonname, "four.example");
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW};
    const struct addrinfo *ai = list;
    for (int i = 0; i < 3; i++, ai = ai->ai_next) {
        CHECK(ai != NULL);
        CHECK_EQ(ai->ai_socktype, types[i]);
        CHECK_EQ(ai->ai_flags, AI_CANONNAME);
    }
    CHECK_NULL(ai);
    coir_freeaddrinfo(list);
    finish_ares();
}

static int
ask_four(void *arg)
{
    CHECK_STR(found(arg, AF_INET), "192.0.2.7");
    return 0;
}

TEST(dns, ares_asks_many_at_once)
{
    enum { ASKING = 50 };
    coir_green *g[ASKING];
    char names[ASKING][20];
    begin_ares();
    for (int i = 0; i < ASKING; i++) {
        (void)snprintf(names[i], sizeof *names, "n%d.example", i / 2);
        g[i] = spawn(ask_four, names[i]);
    }
    for (int i = 0; i < ASKING; i++)
        CHECK_EQ(join(g[i]), 0);
    CHECK_EQ(server.questions, ASKING / 2); /* equal ones once */
    finish_ares();
}

TEST(dns, ares_look_up_is_left_to_itself)
{
    struct addrinfo *list;
    begin_ares();
    CHECK_EQ(coir_getaddrinfo("silent.example", NULL, NULL, &list, 20 * MS),
             COIR_ETIMEDOUT);
    CHECK_STR(found("four.example", AF_INET), "192.0.2.7");
    finish_ares(); /* which ends what is in progress */
}

TEST(dns, ares_in_the_child_of_a_fork)
{
    if (COIR_TEST_TSAN)
        SKIP("TSan mixes up the green threads of parent and child");
    struct addrinfo *list;
    begin_ares();
    CHECK_STR(found("four.example", AF_INET), "192.0.2.7");
    CHECK_EQ(coir_getaddrinfo("silent.example", NULL, NULL, &list, MS),
             COIR_ETIMEDOUT);
    pid_t pid = fork();
    if (pid == 0) /* nobody there answers it */
        _exit(coir_getaddrinfo("silent.example", NULL, NULL, &list, 20 * MS) ==
                      COIR_ETIMEDOUT
                  ? 0
                  : 1);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_STR(found("four.example", AF_INET), "192.0.2.7");
    finish_ares();
}

TEST(dns, ares_without_memory)
{
    begin_ares();
    coir_test_fail_alloc(0); /* for the look-up */
    CHECK_STR(found("four.example", AF_INET), coir_strerror(COIR_ENOMEM));
    coir_test_fail_alloc(1); /* for the channel */
    CHECK_STR(found("four.example", AF_INET), coir_strerror(COIR_ENOMEM));
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_resolver_set_servers("127.0.0.1:1"), COIR_ENOMEM);
    CHECK_STR(found("four.example", AF_INET), "192.0.2.7");
    finish_ares();
}

TEST(dns, ares_refuses_servers_that_are_none)
{
    begin_ares();
    CHECK_EQ(coir_resolver_set_servers("neither:nor"), 0);
    CHECK_STR(found("four.example", AF_INET), coir_strerror(COIR_EINVAL));
    CHECK_EQ(coir_resolver_set_servers(server.address), 0);
    CHECK_STR(found("four.example", AF_INET), "192.0.2.7");
    finish_ares();
}

TEST(dns, resolver_is_one_of_those)
{
    CHECK_EQ(coir_resolver_set((enum coir_resolver)7), COIR_EINVAL);
    CHECK_EQ(coir_resolver_get(), COIR_RESOLVER_THREAD);
    CHECK_EQ(coir_resolver_set(COIR_RESOLVER_THREAD), 0);
}
