/* dns.c - getaddrinfo() and getnameinfo() for green threads.
 *
 * What needs neither files nor servers, numeric hosts and services, libc does
 * at once. All else is a look-up: one for each question that is in progress,
 * found by a hash, however many wait for it.
 *
 *     asked --> in progress, in the table --> done: out of the table, then the
 *               event is set; each who waits takes a copy
 *
 * Who gives up waiting only lets go of it. The last one takes it out of the
 * queue of the pool if it was not begun.
 *
 * Results are copied, for libc's can be freed by libc only and each who waits
 * gets one. A copy is one block of memory.
 *
 * In the child of a fork nothing is in progress. */
#include "dns/dns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fork.h"
#include "sim/sys.h"

#define BUCKETS 64

/* Its lock guards the table, and who holds a look-up. */
static coir_waitq table;
static unsigned table_forks;
static coir__lookup *buckets[BUCKETS];

static int resolver = -1; /* enum coir_resolver; -1: ask the environment */

static void
lock_table(void)
{
    coir__waitq_lock(&table);
    if (coir__unlikely(table_forks != coir__forks)) {
        table_forks = coir__forks;
        memset(buckets, 0, sizeof buckets);
    }
}

static void
unlock_table(void)
{
    coir__waitq_unlock(&table);
}

/* --- errors -------------------------------------------------------------- */

/* What getaddrinfo() returned. */
static int
from_eai(int eai)
{
    if (eai == 0)
        return 0;
    return eai == EAI_SYSTEM ? COIR_ERRNO(errno) : COIR_EAI(eai);
}

int
coir_eai(int error)
{
    if (error == 0)
        return 0;
    int value = -(error + 8192);
    if (value <= 0 || value >= 256)
        return EAI_SYSTEM;
    return EAI_NONAME < 0 ? -value : value;
}

/* --- results ------------------------------------------------------------- */

static size_t
rounded(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

int
coir__addrinfo_copy(struct addrinfo **out, const struct addrinfo *list)
{
    size_t size = 0;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        size += rounded(sizeof *ai) + rounded(ai->ai_addrlen);
        if (ai->ai_canonname != NULL)
            size += rounded(strlen(ai->ai_canonname) + 1);
    }
    char *at = coir_malloc(size);
    if (at == NULL)
        return COIR_ENOMEM;
    struct addrinfo *first = NULL, **next = &first;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        struct addrinfo *copy = (struct addrinfo *)(void *)at;
        at += rounded(sizeof *copy);
        *copy = *ai;
        copy->ai_next = NULL;
        if (ai->ai_addr != NULL) {
            copy->ai_addr = memcpy(at, ai->ai_addr, ai->ai_addrlen);
            at += rounded(ai->ai_addrlen);
        }
        if (ai->ai_canonname != NULL) {
            size_t len = strlen(ai->ai_canonname) + 1;
            copy->ai_canonname = memcpy(at, ai->ai_canonname, len);
            at += rounded(len);
        }
        *next = copy;
        next = &copy->ai_next;
    }
    *out = first;
    return 0;
}

void
coir_freeaddrinfo(struct addrinfo *result)
{
    coir_free(result);
}

/* libc's, here and now. */
static int
look_up(const char *host, const char *service, const struct addrinfo *hints,
        struct addrinfo **result)
{
    struct addrinfo *list;
    int err = from_eai(getaddrinfo(host, service, hints, &list));
    if (err < 0)
        return err;
    err = coir__addrinfo_copy(result, list);
    freeaddrinfo(list);
    return err;
}

/* --- look-ups in progress ------------------------------------------------ */

static unsigned
hash_text(unsigned hash, const char *text)
{
    for (; text != NULL && *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619U;
    return hash * 16777619U;
}

static int
same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static int
same_question(const coir__lookup *a, const coir__lookup *b)
{
    const struct addrinfo *x = &a->hints, *y = &b->hints;
    return a->hash == b->hash && a->hub == b->hub &&
           a->has_hints == b->has_hints && x->ai_flags == y->ai_flags &&
           x->ai_family == y->ai_family && x->ai_socktype == y->ai_socktype &&
           x->ai_protocol == y->ai_protocol && same_text(a->host, b->host) &&
           same_text(a->service, b->service);
}

static coir__lookup *
lookup_new(const char *host, const char *service, const struct addrinfo *hints)
{
    size_t host_len = host != NULL ? strlen(host) + 1 : 0;
    size_t service_len = service != NULL ? strlen(service) + 1 : 0;
    coir__lookup *l = coir_malloc(sizeof *l + host_len + service_len);
    if (l == NULL)
        return NULL;
    *l = (coir__lookup){.refs = 2};
    char *text = (char *)(l + 1);
    if (host != NULL)
        l->host = memcpy(text, host, host_len);
    if (service != NULL)
        l->service = memcpy(text + host_len, service, service_len);
    if (hints != NULL) {
        l->has_hints = 1;
        l->hints = (struct addrinfo){.ai_flags = hints->ai_flags,
                                     .ai_family = hints->ai_family,
                                     .ai_socktype = hints->ai_socktype,
                                     .ai_protocol = hints->ai_protocol};
    }
    l->hash = hash_text(hash_text(2166136261U, host), service);
    return l;
}

static void
lookup_free(coir__lookup *l)
{
    coir_free(l->result);
    coir_free(l);
}

/* With the table locked. */
static void
remove_lookup(coir__lookup *l)
{
    coir__lookup **at = &buckets[l->hash % BUCKETS];
    while (*at != NULL && *at != l)
        at = &(*at)->next;
    if (*at == l)
        *at = l->next;
}

/* The one in progress that asks the same as `l`, which is then held, or `l`
 * itself, which is put there. */
static coir__lookup *
join_or_begin(coir__lookup *l)
{
    coir__lookup **at = &buckets[l->hash % BUCKETS];
    lock_table();
    coir__lookup *other = *at;
    while (other != NULL && !same_question(other, l))
        other = other->next;
    if (other != NULL)
        other->refs++;
    else {
        l->next = *at;
        *at = l;
    }
    unlock_table();
    return other != NULL ? other : l;
}

/* Returns whether that was the last. */
static int
let_go(coir__lookup *l)
{
    lock_table();
    int last = --l->refs == 0;
    unlock_table();
    return last;
}

void
coir__lookup_done(coir__lookup *l, int err, struct addrinfo *result)
{
    l->err = err;
    l->result = result;
    lock_table();
    remove_lookup(l);
    unlock_table();
    coir_event_set(&l->done);
    if (let_go(l))
        lookup_free(l);
}

static void
run_lookup(coir__job *job, int err)
{
    coir__lookup *l = COIR__CONTAINER(job, coir__lookup, job);
    struct addrinfo *result = NULL;
    if (err == 0)
        err = look_up(l->host, l->service, l->has_hints ? &l->hints : NULL,
                      &result);
    coir__lookup_done(l, err, result);
}

static void
begin_lookup(coir__lookup *l)
{
    l->job.run = run_lookup;
    int err = l->hub != NULL
                  ? coir__ares_lookup(l->hub, l)
                  : coir__pool_submit(coir_pool_lane(COIR_LANE_DNS), &l->job);
    if (err < 0)
        coir__lookup_done(l, err, NULL);
}

/* The wait for it has ended early. */
static void
leave_lookup(coir__lookup *l)
{
    lock_table();
    int unwanted = --l->refs == 1 && l->hub == NULL &&
                   coir__pool_withdraw(coir_pool_lane(COIR_LANE_DNS), &l->job);
    if (unwanted)
        remove_lookup(l);
    int last = unwanted || l->refs == 0;
    unlock_table();
    if (last)
        lookup_free(l);
}

/* It is done. */
static int
take_result(coir__lookup *l, struct addrinfo **result)
{
    int err = l->err;
    if (err == 0)
        err = coir__addrinfo_copy(result, l->result);
    if (let_go(l))
        lookup_free(l);
    return err;
}

/* --- the calls ----------------------------------------------------------- */

/* May it be one that needs no look-up? All numeric forms of IPv4 begin with a
 * digit, all of IPv6 have a colon. */
static int
may_be_numeric(const char *host)
{
    return host == NULL || (*host >= '0' && *host <= '9') ||
           strchr(host, ':') != NULL;
}

static int
is_number(const char *service)
{
    return service == NULL || (*service != '\0' &&
                               service[strspn(service, "0123456789")] == '\0');
}

/* Without any look-up, if that will do: returns whether it did. */
static int
at_once(const char *host, const char *service, const struct addrinfo *hints,
        struct addrinfo **result, int *err)
{
    /* What libc's default for no hints is. */
    struct addrinfo numeric = {.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG};
    if ((host == NULL && service == NULL) || !may_be_numeric(host) ||
        !is_number(service))
        return 0;
    if (hints != NULL)
        numeric = *hints;
    int asked = numeric.ai_flags;
    numeric.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    *err = look_up(host, service, &numeric, result);
    if (*err == 0)
        for (struct addrinfo *ai = *result; ai != NULL; ai = ai->ai_next)
            ai->ai_flags = asked;
    /* It is not numeric, or nobody could say more of it. */
    return *err != COIR_EAI(EAI_NONAME) || (asked & AI_NUMERICHOST);
}

int
coir_getaddrinfo(const char *host, const char *service,
                 const struct addrinfo *hints, struct addrinfo **result,
                 int64_t timeout_ns)
{
    int err;
    const coir_hub *hub = coir__hub_if_any();
    if (hub == NULL)
        return look_up(host, service, hints, result);
    if (at_once(host, service, hints, result, &err))
        return err;
    if (host != NULL && coir__sys_in_sim()) {
        err = coir__sim_resolve(
            &host, hints != NULL ? hints->ai_family : AF_UNSPEC, timeout_ns);
        return err > 0    ? COIR_EAI(EAI_NONAME)
               : err == 0 ? look_up(host, service, hints, result)
                          : err;
    }
    coir__caller caller = coir__caller_get();
    err = coir__caller_may_wait(&caller, timeout_ns);
    if (err < 0)
        return err;
    coir__lookup *own = lookup_new(host, service, hints);
    if (own == NULL)
        return COIR_ENOMEM;
    if (coir_resolver_get() == COIR_RESOLVER_ARES && host != NULL)
        own->hub = coir__hub;
    coir__lookup *l = join_or_begin(own);
    if (l == own)
        begin_lookup(l);
    else
        coir_free(own);
    err = coir_event_wait(&l->done, timeout_ns);
    if (err == 0)
        return take_result(l, result);
    leave_lookup(l);
    return err;
}

/* A getnameinfo() on its way. */
typedef struct naming {
    struct sockaddr_storage addr;
    socklen_t len;
    int flags;
    int err;
    socklen_t host_size, service_size;
    char host[NI_MAXHOST];
    char service[NI_MAXSERV];
} naming;

static int
find_names(void *arg)
{
    naming *n = arg;
    n->err = from_eai(getnameinfo(
        (const struct sockaddr *)&n->addr, n->len,
        n->host_size > 0 ? n->host : NULL, n->host_size,
        n->service_size > 0 ? n->service : NULL, n->service_size, n->flags));
    return 0;
}

static socklen_t
at_most(size_t size, size_t most)
{
    return (socklen_t)(size < most ? size : most);
}

int
coir_getnameinfo(const struct sockaddr *addr, socklen_t len, char *host,
                 size_t host_size, char *service, size_t service_size,
                 int flags, int64_t timeout_ns)
{
    if ((size_t)len > sizeof(struct sockaddr_storage))
        return COIR_EAI(EAI_FAMILY);
    int has_host = host != NULL && host_size > 0;
    int has_service = service != NULL && service_size > 0;
    if (coir__sys_in_sim())
        flags |= NI_NUMERICHOST; /* nobody is to be asked */
    if (coir__hub_if_any() == NULL ||
        ((!has_host || flags & NI_NUMERICHOST) &&
         (!has_service || flags & NI_NUMERICSERV)))
        return from_eai(getnameinfo(addr, len, host,
                                    at_most(host_size, NI_MAXHOST), service,
                                    at_most(service_size, NI_MAXSERV), flags));
    naming *n = coir_calloc(1, sizeof *n);
    if (n == NULL)
        return COIR_ENOMEM;
    memcpy(&n->addr, addr, len);
    n->len = len;
    n->flags = flags;
    n->host_size = has_host ? at_most(host_size, NI_MAXHOST) : 0;
    n->service_size = has_service ? at_most(service_size, NI_MAXSERV) : 0;
    int err = coir_blocking(coir_pool_lane(COIR_LANE_DNS), find_names, n,
                            coir_free, NULL, timeout_ns);
    if (err < 0)
        return err; /* and it is freed by then, or later */
    err = n->err;
    if (err == 0 && has_host)
        memcpy(host, n->host, strlen(n->host) + 1);
    if (err == 0 && has_service)
        memcpy(service, n->service, strlen(n->service) + 1);
    coir_free(n);
    return err;
}

/* --- which resolver ------------------------------------------------------ */

int
coir_resolver_set(enum coir_resolver which)
{
    if (which != COIR_RESOLVER_THREAD && which != COIR_RESOLVER_ARES)
        return COIR_EINVAL;
    int err = which == COIR_RESOLVER_ARES ? coir__ares_begin() : 0;
    if (err == 0)
        __atomic_store_n(&resolver, (int)which, __ATOMIC_RELAXED);
    return err;
}

enum coir_resolver
coir_resolver_get(void)
{
    int which = __atomic_load_n(&resolver, __ATOMIC_RELAXED);
    if (which < 0) {
        const char *name = getenv("COIR_RESOLVER");
        which = name != NULL && strcmp(name, "ares") == 0 &&
                        coir__ares_begin() == 0
                    ? COIR_RESOLVER_ARES
                    : COIR_RESOLVER_THREAD;
        __atomic_store_n(&resolver, which, __ATOMIC_RELAXED);
    }
    return (enum coir_resolver)which;
}
