/* fork.c - notices forks of the process.
 *
 * A handler of fork() counts them in the child, so that looking costs no
 * system call. What is of another process than this one knows it by the number
 * it was made with, and is put in order by whoever comes upon it: most
 * children go on to an exec() and never do. What is forked without the
 * handlers, by _Fork() or clone(), is not noticed. */
#include "base/fork.h"

#include <pthread.h>

unsigned coir__forks;

static void
count_fork(void)
{
    coir__forks++;
}

/* Before any lock of the library can be held. Without memory for the handler
 * forks are not noticed. */
__attribute__((constructor)) static void
watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}
