/* prog2.c - a coroutine's end goes to its parent.
 *
 * gr2 is made with gr1 as its parent. When test2() returns, gr1 goes on from
 * its switch; when test1() returns, main does. */
#include <coir.h>
#include <stdio.h>

static coir_coro *gr1, *gr2;

static int
test1(void *arg, void *value, void **result)
{
    puts("12");
    int err = coir_coro_switch(gr2, NULL, NULL);
    if (err < 0)
        return err;
    puts("34");
    return 0;
}

static int
test2(void *arg, void *value, void **result)
{
    puts("56");
    return 0;
}

int
main(void)
{
    if (coir_coro_new(&gr1, test1, NULL, NULL) < 0)
        return 1;
    coir_coro_attr attr = {.parent = gr1};
    if (coir_coro_new(&gr2, test2, NULL, &attr) < 0)
        return 1;
    coir_coro_switch(gr1, NULL, NULL);
    puts("78");

    coir_coro_free(gr2); /* both have finished */
    coir_coro_free(gr1);
    return 0;
}
