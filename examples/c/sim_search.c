/* sim_search.c - find a bug that needs an unlucky order, and see it gone.
 *
 * A cache is filled by whoever finds it empty. Filling takes time, in which
 * another one may find it empty, too: seldom in life, soon in a simulation. */
#include <coir.h>
#include <stdio.h>

#define USERS 3
#define SEEDS 10000

typedef struct cache {
    coir_mutex mutex;
    int is_careful;
    int is_filled;
    int fills;
} cache;

/* Over a slow network, or from one that answers at once. */
static int
fill(cache *c)
{
    c->fills++;
    int err = coir_sleep((int64_t)coir_sim_random_below(3) * COIR_NS_PER_MS);
    c->is_filled = 1;
    return err;
}

static int
use(void *arg)
{
    cache *c = arg;
    int err = coir_sleep((int64_t)coir_sim_random_below(60) * COIR_NS_PER_S);
    if (err == 0 && c->is_careful)
        err = coir_mutex_lock(&c->mutex, COIR_FOREVER);
    if (err == 0 && !c->is_filled)
        err = fill(c);
    if (err == 0 && c->is_careful)
        err = coir_mutex_unlock(&c->mutex);
    return err;
}

static int
program(void *arg)
{
    cache c = {.mutex = COIR_MUTEX_INIT, .is_careful = arg != NULL};
    coir_green *users[USERS];
    int err = 0;
    for (int i = 0; i < USERS && err == 0; i++)
        err = coir_spawn(&users[i], use, &c, NULL);
    for (int i = 0; i < USERS && err == 0; i++)
        err = coir_join(users[i], NULL);
    if (c.fills > 1)
        coir_sim_fail("the cache was filled %d times", c.fills);
    return err;
}

int
main(void)
{
    static int careful;
    coir_sim_options options = {.flags = COIR_SIM_QUIET};
    coir_sim_report first, again;

    if (coir_sim_search(program, NULL, SEEDS, &options, &first) != 1)
        return 1;
    printf("careless: %s\n", first.message);

    options.seed = first.seed;
    if (coir_sim_run(program, NULL, &options, &again) != 1)
        return 1;
    printf("the same seed does the same: %s\n",
           again.hash == first.hash ? "yes" : "no");

    options.seed = 0;
    if (coir_sim_search(program, &careful, SEEDS, &options, &first) != 0)
        return 1;
    printf("careful: %d seeds pass\n", SEEDS);
    return 0;
}
