/* prog3.c - a switch carries a value.
 *
 * The first switch to a coroutine starts its body with the value; later ones
 * are returned by the switch that it waits in. A value is a pointer; a number
 * that fits goes as it is. */
#include <coir.h>
#include <stdint.h>
#include <stdio.h>

static coir_coro *gr1, *gr2;

static void *
number(intptr_t n)
{
    return (void *)n;
}

static int
test1(void *arg, void *value, void **result)
{
    puts("12");
    void *y;
    int err = coir_coro_switch(gr2, number(56), &y);
    if (err < 0)
        return err;
    printf("%d\n", (int)(intptr_t)y);
    return 0;
}

static int
test2(void *arg, void *x, void **result)
{
    printf("%d\n", (int)(intptr_t)x);
    int err = coir_coro_switch(gr1, number(34), NULL);
    if (err < 0)
        return err;
    puts("78");
    return 0;
}

int
main(void)
{
    if (coir_coro_new(&gr1, test1, NULL, NULL) < 0 ||
        coir_coro_new(&gr2, test2, NULL, NULL) < 0)
        return 1;
    coir_coro_switch(gr1, NULL, NULL);

    coir_coro_cancel(gr2); /* it waits in its switch to gr1 */
    coir_coro_free(gr2);
    coir_coro_free(gr1);
    return 0;
}
