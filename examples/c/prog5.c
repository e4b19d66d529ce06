/* prog5.c - a result goes to the parent, not to who switched.
 *
 * func2() was switched to by gr1, but its parent is main: its result is what
 * main's own switch, the one to gr1, returns. gr1 waits for ever, until it is
 * cancelled. */
#include <coir.h>
#include <stdio.h>

static coir_coro *gr1, *gr2;

static int
func1(void *arg, void *value, void **result)
{
    puts("enter func1()");
    int err = coir_coro_switch(gr2, NULL, NULL);
    if (err < 0)
        return err;
    puts("out func2()");
    return 0;
}

static int
func2(void *arg, void *value, void **result)
{
    puts("enter func2()");
    puts("out func2()");
    *result = "return from func2";
    return 0;
}

int
main(void)
{
    if (coir_coro_new(&gr1, func1, NULL, NULL) < 0 ||
        coir_coro_new(&gr2, func2, NULL, NULL) < 0)
        return 1;
    void *result;
    if (coir_coro_switch(gr1, NULL, &result) < 0)
        return 1;
    puts(result);

    coir_coro_cancel(gr1);
    coir_coro_free(gr1);
    coir_coro_free(gr2);
    return 0;
}
