/* bench_ucontext.c - the core rows on the C library's ucontext. Each switch
 * is a system call for the signal mask. */
#include <stddef.h>
#include <ucontext.h>

typedef ucontext_t peer_context;
#include "peer.h"

static inline void
peer_swap(peer_context *from, peer_context *to)
{
    if (swapcontext(from, to) < 0)
        bench_die("swapcontext");
}

static struct co *starting;

static void
ucontext_entry(void)
{
    peer_entry(starting);
}

static inline void
peer_start(peer_context *from, char *low, size_t size, struct co *co)
{
    starting = co;
    if (getcontext(&co->context) < 0)
        bench_die("getcontext");
    co->context.uc_stack.ss_sp = low;
    co->context.uc_stack.ss_size = size;
    co->context.uc_link = NULL;
    makecontext(&co->context, ucontext_entry, 0);
    peer_swap(from, &co->context);
}

int
main(int argc, char **argv)
{
    return bench_main(argc, argv, peer_rows);
}
