/* cancel.c - cancelling green threads, and shields against it.
 *
 * A cancel is a mark, which every wait finds, and ends the wait that goes on.
 * That of another thread is a parcel to its hub. */
#include "hub/internal.h"

#include <assert.h>

void
coir__cancel(coir_green *g, unsigned how)
{
    g->cancelled |= (uint8_t)how;
    if (g->shields == 0)
        (void)coir__interrupt(g, COIR_ECANCELED);
}

/* What another thread sent has come. */
static void
open_cancel(coir__parcel *parcel)
{
    coir_green *g = COIR__CONTAINER(parcel, coir_green, cancel_parcel);
    atomic_store_explicit(&g->cancel_sent, 0, memory_order_relaxed);
    if (g->disposed)
        coir__dispose(g->hub, g);
    else
        coir__cancel(g, COIR__CANCELLED);
}

void
coir_cancel(coir_green *g)
{
    if (coir__likely(g->hub == coir__hub_if_any())) {
        coir__cancel(g, COIR__CANCELLED);
        return;
    }
    if (atomic_exchange(&g->cancel_sent, 1) == 0) {
        g->cancel_parcel.open = open_cancel;
        coir__send(g->hub, &g->cancel_parcel);
    }
}

int
coir_is_cancelled(const coir_green *g)
{
    return g->cancelled != 0;
}

void
coir_shield_begin(void)
{
    coir_green *g = coir__running();
    if (g != NULL)
        g->shields++;
}

void
coir_shield_end(void)
{
    coir_green *g = coir__running();
    if (g != NULL) {
        assert(g->shields > 0);
        g->shields--;
    }
}
