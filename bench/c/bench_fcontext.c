/* bench_fcontext.c - the core rows on the switch of boost.context. */
#include <stddef.h>

/* The library's C interface; its own header is C++. */
typedef void *fcontext;
struct transfer {
    fcontext context; /* who jumped here */
    void *data;
};
extern struct transfer jump_fcontext(fcontext to, void *data);
extern fcontext make_fcontext(void *high, size_t size,
                              void (*entry)(struct transfer));

typedef fcontext peer_context;
#include "peer.h"

/* Whoever is jumped to learns where the other one stands, and where that is
 * to be kept. */
static inline void
peer_arrive(struct transfer transfer)
{
    *(peer_context *)transfer.data = transfer.context;
}

static inline void
peer_swap(peer_context *from, peer_context *to)
{
    peer_arrive(jump_fcontext(*to, from));
}

static struct co *starting;

static void
fcontext_entry(struct transfer transfer)
{
    peer_arrive(transfer);
    peer_entry(starting);
}

static inline void
peer_start(peer_context *from, char *low, size_t size, struct co *co)
{
    starting = co;
    fcontext fresh = make_fcontext(low + size, size, fcontext_entry);
    peer_arrive(jump_fcontext(fresh, from));
}

int
main(int argc, char **argv)
{
    return bench_main(argc, argv, peer_rows);
}
