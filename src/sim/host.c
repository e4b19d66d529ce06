/* host.c - hosts, their addresses, and the links between them.
 *
 * A link is looked for from the most to the least special that was said: from
 * the one host to the other, from the one to any, from any to the other, from
 * any to any. What nothing was said of is as the seed has it. */
#include "sim/network.h"

#include <arpa/inet.h>
#include <string.h>

/* Within a host a packet takes so long at most. */
#define LOOPBACK_NS 10000

void
coir__sim_network_init(coir__sim *sim)
{
    static const int64_t delays[] = {10000, 200000, 5000000};
    struct coir__sim_network *net = &sim->net;
    net->hosts_tail = &net->hosts;
    net->fired_tail = &net->fired;
    net->usual.delay_ns = delays[coir__random_below(&sim->network, 3)];
    net->usual.jitter_ns = delays[coir__random_below(&sim->network, 3)];
}

/* --- hosts --------------------------------------------------------------- */

static void
set_addresses(coir__sim_host *host, uint32_t number)
{
    host->ip4.s_addr = htonl(UINT32_C(10) << 24 | number);
    host->ip6.s6_addr[0] = 0xfd;
    for (int i = 0; i < 4; i++)
        host->ip6.s6_addr[15 - i] = (uint8_t)(number >> 8 * i);
    (void)inet_pton(AF_INET, host->name, &host->ip4);
    (void)inet_pton(AF_INET6, host->name, &host->ip6);
    (void)inet_ntop(AF_INET, &host->ip4, host->text4, sizeof host->text4);
    (void)inet_ntop(AF_INET6, &host->ip6, host->text6, sizeof host->text6);
}

coir__sim_host *
coir__sim_host_get(coir__sim *sim, const char *name)
{
    struct coir__sim_network *net = &sim->net;
    for (coir__sim_host *host = net->hosts; host != NULL; host = host->next)
        if (strcmp(host->name, name) == 0)
            return host;
    size_t size = strlen(name) + 1;
    coir__sim_host *host = coir_calloc(1, sizeof *host + size);
    if (host == NULL)
        return NULL;
    memcpy(host->name, name, size);
    host->last_port = 32767;
    set_addresses(host, ++net->host_count);
    *net->hosts_tail = host;
    net->hosts_tail = &host->next;
    return host;
}

coir__sim_host *
coir__sim_host_here(coir__sim *sim)
{
    coir_green *g = sim->hub->current;
    if (g == NULL)
        return coir__sim_host_get(sim, "localhost");
    if (g->sim.host == NULL)
        g->sim.host = coir__sim_host_get(sim, "localhost");
    return g->sim.host;
}

coir__sim_host *
coir__sim_host_by_ip4(coir__sim *sim, struct in_addr ip)
{
    coir__sim_host *host = sim->net.hosts;
    while (host != NULL && host->ip4.s_addr != ip.s_addr)
        host = host->next;
    return host;
}

coir__sim_host *
coir__sim_host_by_ip6(coir__sim *sim, const struct in6_addr *ip)
{
    coir__sim_host *host = sim->net.hosts;
    while (host != NULL && memcmp(&host->ip6, ip, sizeof *ip) != 0)
        host = host->next;
    return host;
}

/* This thread's simulation, and two hosts of it, where NULL is any; 0 or an
 * error. */
static int
find_hosts(coir__sim **sim, const char *const names[2],
           coir__sim_host *hosts[2])
{
    *sim = coir__sim_here();
    if (*sim == NULL)
        return COIR_EINVAL;
    for (int i = 0; i < 2; i++) {
        hosts[i] = NULL;
        if (names[i] == NULL)
            continue;
        hosts[i] = coir__sim_host_get(*sim, names[i]);
        if (hosts[i] == NULL)
            return COIR_ENOMEM;
    }
    return 0;
}

int
coir_sim_host(const char *name)
{
    coir__sim *sim = coir__sim_here();
    if (sim == NULL || name == NULL || sim->hub->current == NULL)
        return COIR_EINVAL;
    coir__sim_host *host = coir__sim_host_get(sim, name);
    if (host == NULL)
        return COIR_ENOMEM;
    sim->hub->current->sim.host = host;
    return 0;
}

const char *
coir_sim_address(const char *name, int family)
{
    coir__sim *sim = coir__sim_here();
    if (sim == NULL || name == NULL)
        return NULL;
    const coir__sim_host *host = coir__sim_host_get(sim, name);
    if (host == NULL)
        return NULL;
    return family == AF_INET6 ? host->text6 : host->text4;
}

/* --- links --------------------------------------------------------------- */

static coir__sim_link *
find_link(coir__sim *sim, const coir__sim_host *from, const coir__sim_host *to)
{
    coir__sim_link *link = sim->net.links;
    while (link != NULL && (link->from != from || link->to != to))
        link = link->next;
    return link;
}

static coir__sim_link *
make_link(coir__sim *sim, const coir__sim_host *from, const coir__sim_host *to)
{
    coir__sim_link *link = find_link(sim, from, to);
    if (link != NULL)
        return link;
    link = coir_calloc(1, sizeof *link);
    if (link == NULL)
        return NULL;
    link->from = from;
    link->to = to;
    link->next = sim->net.links;
    sim->net.links = link;
    return link;
}

/* The n-th, of 4, that may say something of this way. */
static coir__sim_link *
candidate(coir__sim *sim, const coir__sim_host *from, const coir__sim_host *to,
          int n)
{
    return find_link(sim, n & 2 ? NULL : from, n & 1 ? NULL : to);
}

int
coir__sim_is_parted(coir__sim *sim, const coir__sim_host *from,
                    const coir__sim_host *to)
{
    if (from == to)
        return 0;
    for (int n = 0; n < 4; n++) {
        const coir__sim_link *link = candidate(sim, from, to, n);
        if (link != NULL && link->is_parted)
            return 1;
    }
    return 0;
}

static coir__sim_link *
link_that_is_set(coir__sim *sim, const coir__sim_host *from,
                 const coir__sim_host *to)
{
    for (int n = 0; n < 4; n++) {
        coir__sim_link *link = candidate(sim, from, to, n);
        if (link != NULL && link->is_set)
            return link;
    }
    return NULL;
}

const coir_sim_link *
coir__sim_link_between(coir__sim *sim, const coir__sim_host *from,
                       const coir__sim_host *to)
{
    static const coir_sim_link loopback = {.jitter_ns = LOOPBACK_NS};
    if (from == to)
        return &loopback;
    const coir__sim_link *link = link_that_is_set(sim, from, to);
    return link != NULL ? &link->set : &sim->net.usual;
}

int64_t
coir__sim_arrival(coir__sim *sim, const coir__sim_host *from,
                  const coir__sim_host *to, size_t len)
{
    const coir_sim_link *set = coir__sim_link_between(sim, from, to);
    int64_t at = sim->now_ns;
    if (set->bytes_per_s > 0) {
        coir__sim_link *link = link_that_is_set(sim, from, to);
        if (link->busy_until_ns > at)
            at = link->busy_until_ns;
        at += (int64_t)((unsigned __int128)len * COIR_NS_PER_S /
                        (uint64_t)set->bytes_per_s);
        link->busy_until_ns = at;
    }
    return at + set->delay_ns +
           (int64_t)coir__random_below(&sim->network,
                                       (uint64_t)set->jitter_ns + 1);
}

int
coir_sim_set_link(const char *from, const char *to, const coir_sim_link *link)
{
    if (link == NULL || link->delay_ns < 0 || link->jitter_ns < 0 ||
        link->bytes_per_s < 0)
        return COIR_EINVAL;
    coir__sim *sim;
    coir__sim_host *hosts[2];
    int err = find_hosts(&sim, (const char *[]){from, to}, hosts);
    if (err < 0)
        return err;
    coir__sim_link *made = make_link(sim, hosts[0], hosts[1]);
    if (made == NULL)
        return COIR_ENOMEM;
    made->set = *link;
    made->is_set = 1;
    return 0;
}

int
coir_sim_set_parted(const char *a, const char *b, int parted)
{
    coir__sim *sim;
    coir__sim_host *hosts[2];
    int err = find_hosts(&sim, (const char *[]){a, b}, hosts);
    if (err < 0)
        return err;
    coir__sim_link *there = make_link(sim, hosts[0], hosts[1]);
    coir__sim_link *back = make_link(sim, hosts[1], hosts[0]);
    if (there == NULL || back == NULL)
        return COIR_ENOMEM;
    there->is_parted = back->is_parted = parted != 0;
    coir__sim_decided(sim, (uint64_t)parted, "%s and %s are %s",
                      a != NULL ? a : "all", b != NULL ? b : "all",
                      parted ? "parted" : "joined");
    return 0;
}

static int
is_between(const coir__sim_stream *stream, const coir__sim_host *a,
           const coir__sim_host *b)
{
    const coir__sim_host *x = stream->address[0].host;
    const coir__sim_host *y = stream->address[1].host;
    return ((a == NULL || a == x) && (b == NULL || b == y)) ||
           ((a == NULL || a == y) && (b == NULL || b == x));
}

int
coir_sim_reset(const char *a, const char *b)
{
    coir__sim *sim;
    coir__sim_host *hosts[2];
    int err = find_hosts(&sim, (const char *[]){a, b}, hosts);
    if (err < 0)
        return err;
    coir__sim_stream *next;
    for (coir__sim_stream *s = sim->net.streams; s != NULL; s = next) {
        next = s->next;
        if (!s->is_instant && is_between(s, hosts[0], hosts[1]))
            coir__sim_stream_reset(s);
    }
    return 0;
}
