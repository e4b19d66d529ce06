/* prog1.c - two coroutines hand over to each other.
 *
 * A coroutine is a function with a stack of its own. coir_coro_switch() leaves
 * the running one where it is and goes on in another; it returns when somebody
 * switches back. A coroutine that ends goes on in its parent, which is the one
 * that made it, here main. */
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
    int err = coir_coro_switch(gr1, NULL, NULL);
    if (err < 0)
        return err; /* this is where it ends, see main */
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
    puts("end");

    /* gr2 still waits in the middle of test2(). Cancelling makes its switch
     * return an error, COIR_ECANCELED, so that it can clean up and return. */
    coir_coro_cancel(gr2);
    coir_coro_free(gr2);
    coir_coro_free(gr1);
    return 0;
}
