/* ares.c - look-ups by c-ares, in the hub's loop.
 *
 * Each hub has a channel, made with its first look-up. c-ares says which
 * descriptors it waits for, and until when; a watcher for each and one timer
 * tell it. It keeps no descriptor when nothing is looked up.
 *
 * A look-up cannot be taken back: who gives up waiting leaves it to itself.
 * The hub ends them all when it goes. In the child of a fork the channel is
 * the parent's, and with it what is in progress, for which nobody waits there;
 * the child drops it, and makes its own. */
#include "dns/dns.h"

#include "loop/internal.h"

#if COIR__HAVE_CARES

#include <ares.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/fork.h"

typedef struct watched {
    coir_io io;
    struct watched *next;
} watched;

typedef struct channel {
    ares_channel ares;
    coir_hub *hub;
    coir_timer timer;
    watched *watched;
    unsigned forks;
    int forgotten;
    coir__guest guest;
} channel;

static COIR__THREAD_LOCAL channel *here;

static coir_waitq servers_lock; /* for its lock only */
static char *servers;

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void
begin_library(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

int
coir__ares_begin(void)
{
    (void)pthread_once(&library_once, begin_library);
    return library_status == ARES_SUCCESS ? 0 : COIR_ENOMEM;
}

int
coir_resolver_set_servers(const char *list)
{
    char *copy = NULL;
    if (list != NULL) {
        copy = coir_malloc(strlen(list) + 1);
        if (copy == NULL)
            return COIR_ENOMEM;
        memcpy(copy, list, strlen(list) + 1);
    }
    coir__waitq_lock(&servers_lock);
    char *old = servers;
    servers = copy;
    coir__waitq_unlock(&servers_lock);
    coir_free(old);
    return 0;
}

/* --- the channel and the loop -------------------------------------------- */

static void process(channel *c, ares_socket_t readable,
                    ares_socket_t writable);

static void
io_ready(coir_loop *loop, coir_io *io, int revents)
{
    (void)loop;
    process(io->data, revents & COIR_READ ? io->fd : ARES_SOCKET_BAD,
            revents & COIR_WRITE ? io->fd : ARES_SOCKET_BAD);
}

static void
time_is_over(coir_loop *loop, coir_timer *timer, int revents)
{
    (void)loop;
    (void)revents;
    process(timer->data, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

/* When c-ares wants to be called next, whatever happens. */
static void
set_timer(channel *c)
{
    struct timeval tv;
    coir_timer_stop(c->hub->loop, &c->timer);
    if (ares_timeout(c->ares, NULL, &tv) == NULL)
        return;
    coir_timer_init(&c->timer, time_is_over,
                    tv.tv_sec * COIR_NS_PER_S + tv.tv_usec * 1000, 0);
    c->timer.data = c;
    coir_timer_start(c->hub->loop, &c->timer);
}

static void
process(channel *c, ares_socket_t readable, ares_socket_t writable)
{
    ares_process_fd(c->ares, readable, writable);
    set_timer(c);
}

/* c-ares waits for this, or no more. Without memory for a watcher the answer
 * is not seen; it asks again later. */
static void
watch(void *data, ares_socket_t fd, int readable, int writable)
{
    channel *c = data;
    watched **at = &c->watched;
    while (*at != NULL && (*at)->io.fd != fd)
        at = &(*at)->next;
    watched *w = *at;
    if (w != NULL)
        coir_io_stop(c->hub->loop, &w->io);
    if (!readable && !writable) {
        if (w != NULL) {
            *at = w->next;
            coir_free(w);
        }
        return;
    }
    if (w == NULL) {
        w = coir_calloc(1, sizeof *w);
        if (w == NULL)
            return;
        *at = w;
    }
    coir_io_init(&w->io, io_ready, fd,
                 (readable ? COIR_READ : 0) | (writable ? COIR_WRITE : 0));
    w->io.data = c;
    (void)coir_io_start(c->hub->loop, &w->io);
}

/* Ends all look-ups. */
static void
channel_free(coir__guest *guest)
{
    channel *c = COIR__CONTAINER(guest, channel, guest);
    coir__guest_remove(guest);
    ares_destroy(c->ares); /* and stops watching */
    here = NULL;
    coir_timer_stop(c->hub->loop, &c->timer);
    coir_free(c);
}

/* It is the parent's: without answers, for nobody is left who waits. */
static void
forget(channel *c)
{
    c->forgotten = 1;
    channel_free(&c->guest);
}

/* Those that were set, if any. */
static int
set_servers(ares_channel ares)
{
    int status = ARES_SUCCESS;
    char *list = NULL;
    coir__waitq_lock(&servers_lock);
    if (servers != NULL)
        list = strdup(servers);
    int wanted = servers != NULL;
    coir__waitq_unlock(&servers_lock);
    if (wanted)
        status = list != NULL ? ares_set_servers_ports_csv(ares, list)
                              : ARES_ENOMEM;
    free(list);
    return status;
}

static int
channel_new(channel **out, coir_hub *hub)
{
    channel *c = coir_calloc(1, sizeof *c);
    if (c == NULL)
        return COIR_ENOMEM;
    struct ares_options options = {.sock_state_cb = watch,
                                   .sock_state_cb_data = c};
    if (ares_init_options(&c->ares, &options, ARES_OPT_SOCK_STATE_CB) !=
        ARES_SUCCESS) {
        coir_free(c);
        return COIR_ENOMEM;
    }
    c->hub = hub;
    c->forks = coir__forks;
    coir_timer_init(&c->timer, time_is_over, 0, 0);
    if (set_servers(c->ares) != ARES_SUCCESS) {
        ares_destroy(c->ares);
        coir_free(c);
        return COIR_EINVAL;
    }
    c->guest.leave = channel_free;
    coir__guest_add(hub, &c->guest);
    *out = here = c;
    return 0;
}

/* --- results ------------------------------------------------------------- */

static int
from_ares(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return COIR_EAI(EAI_NONAME);
    case ARES_ESERVFAIL:
    case ARES_EREFUSED:
    case ARES_ECONNREFUSED:
    case ARES_ETIMEOUT:
        return COIR_EAI(EAI_AGAIN);
    case ARES_EBADFAMILY:
        return COIR_EAI(EAI_FAMILY);
    case ARES_EBADFLAGS:
    case ARES_EBADHINTS:
        return COIR_EAI(EAI_BADFLAGS);
    case ARES_ESERVICE:
        return COIR_EAI(EAI_SERVICE);
    case ARES_ENOMEM:
        return COIR_ENOMEM;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return COIR_ECANCELED;
    default:
        return COIR_EAI(EAI_FAIL);
    }
}

/* libc gives an address once for each of these that fits the hints. */
static const struct addrinfo kinds[] = {
    {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP},
    {.ai_socktype = SOCK_DGRAM, .ai_protocol = IPPROTO_UDP},
    {.ai_socktype = SOCK_RAW, .ai_protocol = IPPROTO_IP}};

enum { KINDS = sizeof kinds / sizeof *kinds };

static int
fits(const struct addrinfo *kind, const struct addrinfo *hints)
{
    return (hints->ai_socktype == 0 ||
            hints->ai_socktype == kind->ai_socktype) &&
           (hints->ai_protocol == 0 || kind->ai_protocol == IPPROTO_IP ||
            hints->ai_protocol == kind->ai_protocol);
}

static char *
canonical_name(const struct ares_addrinfo *from)
{
    const struct ares_addrinfo_cname *cname = from->cnames;
    while (cname != NULL && cname->next != NULL)
        cname = cname->next;
    return cname != NULL ? cname->name : from->name;
}

/* As libc would have put it. */
static int
convert(const coir__lookup *l, const struct ares_addrinfo *from,
        struct addrinfo **out)
{
    size_t count = 0, n = 0;
    for (const struct ares_addrinfo_node *a = from->nodes; a != NULL;
         a = a->ai_next)
        count++;
    struct addrinfo *list = coir_calloc(KINDS * count + 1, sizeof *list);
    if (list == NULL)
        return COIR_ENOMEM;
    for (const struct ares_addrinfo_node *a = from->nodes; a != NULL;
         a = a->ai_next)
        for (int i = 0; i < KINDS; i++) {
            if (!fits(&kinds[i], &l->hints))
                continue;
            if (n > 0)
                list[n - 1].ai_next = &list[n];
            list[n++] =
                (struct addrinfo){.ai_flags = l->hints.ai_flags,
                                  .ai_family = a->ai_family,
                                  .ai_socktype = kinds[i].ai_socktype,
                                  .ai_protocol = l->hints.ai_protocol != 0
                                                     ? l->hints.ai_protocol
                                                     : kinds[i].ai_protocol,
                                  .ai_addrlen = a->ai_addrlen,
                                  .ai_addr = a->ai_addr};
        }
    if (l->hints.ai_flags & AI_CANONNAME)
        list[0].ai_canonname = canonical_name(from);
    int err = n > 0 ? coir__addrinfo_copy(out, list) : COIR_EAI(EAI_NONAME);
    coir_free(list);
    return err;
}

static void
answered(void *arg, int status, int timeouts, struct ares_addrinfo *from)
{
    (void)timeouts;
    coir__lookup *l = arg;
    struct addrinfo *result = NULL;
    if (here->forgotten) {
        coir_free(l);
        return;
    }
    int err = from_ares(status);
    if (err == 0)
        err = convert(l, from, &result);
    if (from != NULL)
        ares_freeaddrinfo(from);
    coir__lookup_done(l, err, result);
}

/* --- look-ups ------------------------------------------------------------ */

static int
flags_for_ares(int flags)
{
    static const int both[][2] = {{AI_CANONNAME, ARES_AI_CANONNAME},
                                  {AI_NUMERICHOST, ARES_AI_NUMERICHOST},
                                  {AI_PASSIVE, ARES_AI_PASSIVE},
                                  {AI_NUMERICSERV, ARES_AI_NUMERICSERV},
                                  {AI_V4MAPPED, ARES_AI_V4MAPPED},
                                  {AI_ALL, ARES_AI_ALL},
                                  {AI_ADDRCONFIG, ARES_AI_ADDRCONFIG}};
    int result = 0;
    for (size_t i = 0; i < sizeof both / sizeof *both; i++)
        if (flags & both[i][0])
            result |= both[i][1];
    return result;
}

int
coir__ares_lookup(coir_hub *hub, coir__lookup *l)
{
    channel *c = here;
    if (c != NULL && c->forks != coir__forks) {
        forget(c);
        c = NULL;
    }
    int err = c == NULL ? channel_new(&c, hub) : 0;
    if (err < 0)
        return err;
    if (!l->has_hints)
        l->hints.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG; /* as libc */
    const struct ares_addrinfo_hints hints = {
        .ai_flags = flags_for_ares(l->hints.ai_flags),
        .ai_family = l->hints.ai_family,
        .ai_socktype = l->hints.ai_socktype,
        .ai_protocol = l->hints.ai_protocol};
    ares_getaddrinfo(c->ares, l->host, l->service, &hints, answered, l);
    set_timer(c);
    return 0;
}

#else

int
coir__ares_begin(void)
{
    return COIR_ENOSYS;
}

int
coir__ares_lookup(coir_hub *hub, coir__lookup *l)
{
    (void)hub;
    (void)l;
    return COIR_ENOSYS;
}

int
coir_resolver_set_servers(const char *servers)
{
    (void)servers;
    return COIR_ENOSYS;
}

#endif
