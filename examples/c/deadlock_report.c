/* deadlock_report.c - two who wait for each other, and how that is told.
 *
 * The report on stderr names the cycle, each lock with its holder, and where
 * in the program everybody waits. */
#include <coir.h>
#include <stdio.h>

static coir_mutex paper = COIR_MUTEX_INIT;
static coir_mutex pen = COIR_MUTEX_INIT;

static int
take_both(coir_mutex *first, coir_mutex *second)
{
    int err = coir_mutex_lock(first, COIR_FOREVER);
    if (err < 0)
        return err;
    coir_sleep(COIR_NS_PER_MS); /* the other one takes its first */
    err = coir_mutex_lock(second, COIR_FOREVER);
    if (err == 0)
        coir_mutex_unlock(second);
    coir_mutex_unlock(first);
    return err;
}

static int
writer(void *arg)
{
    return take_both(&paper, &pen);
}

static int
painter(void *arg)
{
    return take_both(&pen, &paper);
}

int
main(void)
{
    coir_green *ann, *bob;
    coir_green_attr as_ann = {.name = "ann"}, as_bob = {.name = "bob"};
    int result;
    if (coir_spawn(&ann, writer, NULL, &as_ann) < 0 ||
        coir_spawn(&bob, painter, NULL, &as_bob) < 0)
        return 1;
    printf("run: %s\n", coir_strerror(coir_hub_run()));

    coir_cancel(ann); /* her wait ends, she unlocks, and bob goes on */
    coir_join(ann, &result);
    printf("ann: %s\n", coir_strerror(result));
    coir_join(bob, &result);
    printf("bob: %s\n", coir_strerror(result));
    return 0;
}
