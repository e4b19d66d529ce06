/* client.c - the clients of the soak: lives, thousands at once, each a green
 * thread with a connection, that ends by itself, by a kill of its own or of
 * the server's. All that is received is compared with what was sent; a
 * connection that breaks off is nobody's fault, a changed byte is.
 *
 * Ways of life:
 *     talk      messages of random sizes, with pauses
 *     stream    much data, both ways at once: a second green thread writes
 *     slow      much data that is read in small bits: the server gives up
 *     reset     leaves in the middle of an answer, with RST
 *     half      sends all, says so, and reads until the end
 *     silent    says nothing
 * A flood of lives is kept up by a semaphore, of which each has a ticket. */
#include "echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_NS (30 * COIR_NS_PER_S)
#define ANSWER_NS (30 * COIR_NS_PER_S)
#define ENDS_NS (60 * COIR_NS_PER_S) /* for all lives to end */
#define PIECE 2048

struct life {
    struct target target;
    coir_socket *s;
    uint32_t stream;
    size_t sent, received; /* bytes, of the stream */
};

static const struct sockaddr *server;
static socklen_t server_len;
static coir_semaphore tickets;
static uint64_t lives, killed, broken_off, done;
static uint32_t streams;

/* --- parts of lives ------------------------------------------------------ */

/* What may happen to a connection whose server kills at random. */
static int
is_expected(ssize_t err)
{
    return err == COIR_ERRNO(ECONNRESET) || err == COIR_ERRNO(EPIPE) ||
           err == COIR_ERRNO(ENOTCONN) || err == COIR_ECANCELED ||
           err == COIR_EEOF;
}

static int
checked(const struct life *l, const char *what, ssize_t err)
{
    if (err < 0 && !is_expected(err))
        fail("stream %u: %s: %s", l->stream, what, coir_strerror((int)err));
    return err < 0 ? (int)err : 0;
}

static int
send_some(struct life *l, size_t len)
{
    unsigned char buf[PIECE];
    while (len > 0) {
        size_t piece = len < PIECE ? len : PIECE;
        fill(buf, piece, l->stream, l->sent);
        int err = coir_write_all(l->s, buf, piece, NULL, ANSWER_NS);
        if (err < 0)
            return checked(l, "write", err);
        l->sent += piece;
        len -= piece;
    }
    return 0;
}

static void
check(struct life *l, const unsigned char *buf, size_t len)
{
    if (!matches(buf, len, l->stream, l->received))
        fail("stream %u: bytes %zu to %zu came back changed", l->stream,
             l->received, l->received + len);
    l->received += len;
}

static int
receive_some(struct life *l, size_t len)
{
    unsigned char buf[PIECE];
    while (len > 0) {
        size_t piece = len < PIECE ? len : PIECE, got;
        int err = coir_read_exact(l->s, buf, piece, &got, ANSWER_NS);
        check(l, buf, got);
        if (err < 0)
            return checked(l, "read", err);
        len -= piece;
    }
    return 0;
}

static int
pause_ms(uint32_t bound)
{
    return coir_sleep(random_below(bound) * COIR_NS_PER_MS);
}

/* --- ways of life -------------------------------------------------------- */

static int
talk(struct life *l)
{
    int err = 0;
    for (uint32_t left = 1 + random_below(10); left > 0 && err == 0; left--) {
        size_t len = 1 + random_below(3000);
        err = send_some(l, len);
        if (err == 0)
            err = receive_some(l, len);
        if (err == 0)
            err = pause_ms(1000);
    }
    return err;
}

#define MUCH (128 * 1024)

static int
write_much(void *arg)
{
    return send_some(arg, MUCH);
}

static int
stream(struct life *l)
{
    coir_scope *scope;
    int err = coir_scope_begin(&scope);
    if (err < 0)
        fail("coir_scope_begin: %s", coir_strerror(err));
    err = coir_scope_spawn(scope, write_much, l, NULL);
    if (err == 0)
        err = receive_some(l, MUCH);
    if (err < 0)
        coir_scope_cancel(scope);
    int ended = coir_scope_end(scope);
    return err < 0 ? err : ended;
}

static int
read_slowly(struct life *l)
{
    unsigned char buf[64];
    for (int i = 0; i < 200; i++) {
        ssize_t n = coir_read(l->s, buf, sizeof buf, ANSWER_NS);
        if (n <= 0)
            return n < 0 ? checked(l, "read", n) : COIR_EEOF;
        check(l, buf, (size_t)n);
        int err = coir_sleep(20 * COIR_NS_PER_MS);
        if (err < 0)
            return err;
    }
    return 0;
}

static int
slow(struct life *l)
{
    int small = 4096;
    coir_scope *scope;
    (void)setsockopt(coir_socket_fd(l->s), SOL_SOCKET, SO_RCVBUF, &small,
                     sizeof small);
    int err = coir_scope_begin(&scope);
    if (err < 0)
        fail("coir_scope_begin: %s", coir_strerror(err));
    err = coir_scope_spawn(scope, write_much, l, NULL);
    if (err == 0)
        err = read_slowly(l);
    coir_scope_cancel(scope);
    (void)coir_scope_end(scope);
    return err;
}

static int
reset(struct life *l)
{
    struct linger now = {.l_onoff = 1};
    int err = send_some(l, 1 + random_below(20000));
    if (err == 0 && random_below(2) == 0)
        err = receive_some(l, 1 + random_below((uint32_t)l->sent));
    (void)setsockopt(coir_socket_fd(l->s), SOL_SOCKET, SO_LINGER, &now,
                     sizeof now);
    return err;
}

static int
half(struct life *l)
{
    int err = send_some(l, 1 + random_below(20000));
    if (err == 0)
        err = checked(l, "shutdown", coir_shutdown(l->s, SHUT_WR));
    if (err == 0)
        err = receive_some(l, l->sent);
    if (err < 0)
        return err;
    unsigned char more;
    ssize_t n = coir_read(l->s, &more, 1, ANSWER_NS);
    if (n > 0)
        fail("stream %u: more came back than was sent", l->stream);
    return checked(l, "read", n);
}

static int
silent(struct life *l)
{
    (void)l;
    return pause_ms(5000);
}

static int (*const ways[])(struct life *l) = {
    talk, talk, talk, talk, talk, talk, talk,  talk,  talk,   talk,
    talk, talk, talk, half, half, slow, reset, reset, silent, stream};

/* --- a life -------------------------------------------------------------- */

static int
connect_from_anywhere(coir_socket *s)
{
    /* One local address has not ports enough for all that just ended. */
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + random_below(64));
    (void)setsockopt(coir_socket_fd(s), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT,
                     &on, sizeof on);
    int err = coir_bind(s, (struct sockaddr *)&from, sizeof from);
    return err < 0 ? err : coir_connect(s, server, server_len, CONNECT_NS);
}

static int
live(void *arg)
{
    struct life l = {.stream = ++streams};
    (void)arg;
    lives++;
    int err = coir_socket_open(&l.s, AF_INET, SOCK_STREAM, 0);
    if (err < 0)
        fail("coir_socket_open: %s", coir_strerror(err));
    target_enter(&l.target);
    err = checked(&l, "connect", connect_from_anywhere(l.s));
    if (err == 0)
        err = ways[random_below(sizeof ways / sizeof ways[0])](&l);
    ++*(err == 0 ? &done : &broken_off);
    target_leave(&l.target);
    (void)coir_socket_close(l.s);
    coir_semaphore_release(&tickets, 1);
    return 0;
}

/* --- tides --------------------------------------------------------------- */

static void
flood(int64_t until)
{
    static const coir_green_attr attr = {.name = "life", .detached = 1};
    while (now_ns() < until) {
        int err = coir_semaphore_acquire(&tickets, 100 * COIR_NS_PER_MS);
        if (err == COIR_ETIMEDOUT)
            continue;
        if (err < 0)
            fail("a ticket: %s", coir_strerror(err));
        err = coir_spawn(NULL, live, NULL, &attr);
        if (err < 0)
            fail("coir_spawn: %s", coir_strerror(err));
    }
}

/* Returns how many leaks there are. */
static int
ebb(void)
{
    static struct holds first;
    static int ebbs;
    coir_deadline deadline;
    coir_deadline_begin(&deadline, ENDS_NS);
    for (unsigned i = 0; i < options.connections; i++)
        if (coir_semaphore_acquire(&tickets, COIR_FOREVER) < 0)
            fail("%u lives do not end", target_count());
    (void)coir_deadline_end(&deadline);
    for (int i = 0; i < 3; i++)
        (void)coir_yield(); /* the last one ends */
    struct holds now = look();
    if (ebbs++ == 0)
        first = now;
    printf("  ebb %d: clients: %llu lives, %llu to the end, %llu broken off, "
           "killed %llu; fds %ld, stacks %ld, blocks %ld, RSS %.1f MB\n",
           ebbs, (unsigned long long)lives, (unsigned long long)done,
           (unsigned long long)broken_off, (unsigned long long)killed,
           now.descriptors, now.stacks, now.blocks, (double)now.rss / 1048576);
    fflush(stdout);
    coir_semaphore_release(&tickets, options.connections);
    return compare("clients", &first, &now);
}

static int
beat(void *arg)
{
    (void)arg;
    int err;
    do
        still_alive();
    while ((err = coir_sleep(10 * COIR_NS_PER_S)) == 0);
    return err;
}

int
run_clients(const struct sockaddr *address, socklen_t len, int control_fd)
{
    coir_green *killing, *beating;
    coir_socket *control;
    server = address;
    server_len = len;
    options.seed = options.seed * 2 + 1;
    coir_semaphore_init(&tickets, options.connections);
    fill_caches();
    if (coir_socket_adopt(&control, control_fd) < 0 ||
        coir_spawn(&killing, kill_some, &killed, NULL) < 0 ||
        coir_spawn(&beating, beat, NULL, NULL) < 0)
        fail("the clients do not start");
    int64_t end = now_ns() + (int64_t)(options.minutes * 60e9);
    while (now_ns() < end) {
        int64_t tide = now_ns() + options.tide_s * COIR_NS_PER_S;
        flood(tide < end ? tide : end);
        int leaks = ebb();
        char go_on;
        if (coir_write_all(control, &leaks, sizeof leaks, NULL, COIR_FOREVER) <
                0 ||
            coir_read_exact(control, &go_on, 1, NULL, COIR_FOREVER) < 0)
            fail("the server is gone");
    }
    coir_cancel(killing);
    coir_cancel(beating);
    (void)coir_join(killing, NULL);
    (void)coir_join(beating, NULL);
    (void)coir_socket_close(control);
    return 0;
}
