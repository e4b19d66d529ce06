/* connect.c - connections by name.
 *
 * The addresses are tried one after the other, and more at a time if one takes
 * long: each attempt is a green thread in a scope, and connects, or fails, and
 * tells. The first that connects wins; to leave the scope the others are
 * cancelled, and close what they have. An attempt never fails as a green
 * thread: that would cancel the rest.
 *
 * What the attempts share is not on the stack of the caller, which may be a
 * slice. */
#include <netinet/in.h>

#include "dns/dns.h"

#define STAGGER_NS (250 * COIR_NS_PER_MS) /* RFC 8305, section 5 */

typedef struct race race;

typedef struct attempt {
    race *race;
    const struct addrinfo *ai;
    int err;
} attempt;

struct race {
    coir_event told; /* something became of an attempt */
    coir_socket *winner;
    unsigned count;
    unsigned begun;
    unsigned failed;
    attempt attempts[];
};

static int
connect_to(coir_socket **out, const struct addrinfo *ai, int64_t timeout_ns)
{
    coir_socket *s;
    int err =
        coir_socket_open(&s, ai->ai_family, ai->ai_socktype, ai->ai_protocol);
    if (err < 0)
        return err;
    err = coir_connect(s, ai->ai_addr, ai->ai_addrlen, timeout_ns);
    if (err < 0)
        (void)coir_socket_close(s);
    else
        *out = s;
    return err;
}

static int
run_attempt(void *arg)
{
    attempt *a = arg;
    race *r = a->race;
    coir_socket *s;
    a->err = connect_to(&s, a->ai, COIR_FOREVER);
    if (a->err < 0)
        r->failed++;
    else if (r->winner == NULL)
        r->winner = s;
    else
        (void)coir_socket_close(s);
    coir_event_set(&r->told);
    return 0;
}

/* The next one of the list that is, or is not, of a family. */
static const struct addrinfo *
next_of(const struct addrinfo *ai, int family, int is)
{
    while (ai != NULL && (ai->ai_family == family) != is)
        ai = ai->ai_next;
    return ai;
}

/* In libc's order, but the family of the first and the others in turn. */
static void
put_in_order(race *r, const struct addrinfo *list)
{
    int family = list->ai_family;
    const struct addrinfo *next[2] = {next_of(list, family, 0), list};
    for (int turn = 1; r->count == 0 || next[0] != NULL || next[1] != NULL;
         turn = !turn) {
        const struct addrinfo *ai = next[turn];
        if (ai == NULL)
            continue;
        r->attempts[r->count++] = (attempt){.race = r, .ai = ai};
        next[turn] = next_of(ai->ai_next, family, turn);
    }
}

/* Until one has won, or all have failed. */
static int
run(race *r, coir_scope *scope)
{
    while (r->winner == NULL && r->failed < r->count) {
        int err = 0;
        if (r->begun < r->count) {
            unsigned failed = r->failed;
            err = coir_scope_spawn(scope, run_attempt,
                                   &r->attempts[r->begun++], NULL);
            /* Until it is this one's time no longer, or any has failed. */
            while (err == 0 && r->winner == NULL && r->failed == failed) {
                coir_event_clear(&r->told);
                err = coir_event_wait(
                    &r->told, r->begun < r->count ? STAGGER_NS : COIR_FOREVER);
            }
        }
        else {
            coir_event_clear(&r->told);
            err = coir_event_wait(&r->told, COIR_FOREVER);
        }
        if (err < 0 && r->winner == NULL &&
            (err != COIR_ETIMEDOUT || coir_deadline_remaining() == 0))
            return err;
    }
    return r->winner != NULL ? 0 : r->attempts[0].err;
}

/* With the race set up. */
static int
connect_first(race *r)
{
    coir_scope *scope;
    int err = coir_scope_begin(&scope);
    if (err < 0)
        return err;
    err = run(r, scope);
    coir_scope_cancel(scope);
    (void)coir_scope_end(scope);
    /* One may have connected while the others were waited for. */
    return r->winner != NULL ? 0 : err;
}

int
coir__connect_any(coir_socket **out, const struct addrinfo *list)
{
    size_t count = 0;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next)
        count++;
    if (count == 0)
        return COIR_EINVAL;
    if (count == 1)
        return connect_to(out, list, COIR_FOREVER);
    race *r = coir_malloc(sizeof *r + count * sizeof *r->attempts);
    if (r == NULL)
        return COIR_ENOMEM;
    *r = (race){.told = COIR_EVENT_INIT};
    put_in_order(r, list);
    int err = connect_first(r);
    if (err == 0)
        *out = r->winner;
    coir_free(r);
    return err;
}

int
coir_tcp_connect(coir_socket **out, const char *host, const char *service,
                 int64_t timeout_ns)
{
    const struct addrinfo hints = {.ai_flags = AI_ADDRCONFIG,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_protocol = IPPROTO_TCP};
    struct addrinfo *list;
    coir_deadline deadline;
    coir_deadline_begin(&deadline, timeout_ns);
    int err = coir_getaddrinfo(host, service, &hints, &list, COIR_FOREVER);
    if (err == 0) {
        err = coir__connect_any(out, list);
        coir_freeaddrinfo(list);
    }
    (void)coir_deadline_end(&deadline);
    return err;
}
