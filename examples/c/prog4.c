/* prog4.c - attributes: an explicit parent, a name.
 *
 * The name shows in reports, such as the one for a stack that overflows. */
#include <coir.h>
#include <stdint.h>
#include <stdio.h>

static coir_coro *gr1, *gr2;

static int
test1(void *arg, void *n, void **result)
{
    printf("test1: %d\n", (int)(intptr_t)n);
    int err = coir_coro_switch(gr2, (void *)(intptr_t)32, NULL);
    if (err < 0)
        return err;
    puts("test1: over");
    return 0;
}

static int
test2(void *arg, void *n, void **result)
{
    printf("test2: %d\n", (int)(intptr_t)n);
    int err = coir_coro_switch(gr1, (void *)(intptr_t)23, NULL);
    if (err < 0)
        return err;
    puts("test2: over");
    return 0;
}

int
main(void)
{
    /* The running coroutine is main, which is the default parent, too. */
    coir_coro *current = coir_coro_current();
    coir_coro_attr attr1 = {.parent = current, .name = "test1"};
    coir_coro_attr attr2 = {.parent = current, .name = "test2"};
    if (coir_coro_new(&gr1, test1, NULL, &attr1) < 0 ||
        coir_coro_new(&gr2, test2, NULL, &attr2) < 0)
        return 1;
    coir_coro_switch(gr1, (void *)(intptr_t)2, NULL);

    coir_coro_cancel(gr2);
    coir_coro_free(gr2);
    coir_coro_free(gr1);
    return 0;
}
