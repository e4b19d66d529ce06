/* blocking.c - blocking calls and look-ups of names, in a simulation.
 *
 * There are no other threads: a call is made by the green thread itself, some
 * time later, and its result comes some time after that. So what it does to
 * the world is there before its caller goes on, or after that has given up. */
#include "sim/network.h"

#include <string.h>

/* What a call takes at most, before it begins, and until its result comes. */
#define CALL_NS (2 * COIR_NS_PER_MS)

/* 0, or why the wait ended early. */
static int
take_time(coir__sim *sim, int64_t timeout_ns)
{
    int64_t nap = (int64_t)coir__random_below(&sim->times, CALL_NS + 1);
    coir_deadline d;
    coir_deadline_begin(&d, timeout_ns);
    int err = coir_sleep(nap);
    (void)coir_deadline_end(&d);
    return err;
}

int
coir__sim_blocking(int (*fn)(void *arg), void *arg, void (*drop)(void *arg),
                   int *result, int64_t timeout_ns)
{
    coir__sim *sim = coir__sim_here();
    int64_t begin = sim->now_ns;
    int err = take_time(sim, timeout_ns);
    if (err == 0) {
        int value = fn(arg);
        /* Without `drop` the caller waits, once it has begun. */
        if (drop != NULL && timeout_ns != COIR_FOREVER)
            timeout_ns -= sim->now_ns - begin;
        if (drop != NULL)
            err = take_time(sim, timeout_ns);
        if (err == 0 && result != NULL)
            *result = value;
    }
    if (err < 0 && drop != NULL)
        drop(arg);
    return err;
}

int
coir__sim_resolve(const char **name, int family, int64_t timeout_ns)
{
    coir__sim *sim = coir__sim_here();
    int err = take_time(sim, timeout_ns);
    if (err < 0)
        return err;
    const coir__sim_host *host = sim->net.hosts;
    while (host != NULL && strcmp(host->name, *name) != 0)
        host = host->next;
    if (host == NULL)
        return 1;
    *name = family == AF_INET6 ? host->text6 : host->text4;
    return 0;
}
