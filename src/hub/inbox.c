/* inbox.c - what other threads send to a hub: a stack, taken as a whole. */
#include "hub/internal.h"

void
coir__send(coir_hub *hub, coir__parcel *parcel)
{
    /* Once the parcel is there the receiver may end, and its hub with it. */
    atomic_fetch_add(&hub->senders, 1);
    coir__parcel *head =
        atomic_load_explicit(&hub->inbox, memory_order_relaxed);
    do
        parcel->next = head;
    while (!atomic_compare_exchange_weak(&hub->inbox, &head, parcel));
    coir_loop_wakeup(hub->loop);
    atomic_fetch_sub(&hub->senders, 1);
}

void
coir_hub_post(coir_hub *hub, coir_call *call)
{
    /* As above: the call may end it. */
    atomic_fetch_add(&hub->senders, 1);
    coir_call *head = atomic_load_explicit(&hub->calls, memory_order_relaxed);
    do
        call->next = head;
    while (!atomic_compare_exchange_weak(&hub->calls, &head, call));
    coir_loop_wakeup(hub->loop);
    atomic_fetch_sub(&hub->senders, 1);
}

void
coir__open_inbox(coir_hub *hub)
{
    coir__parcel *stack = atomic_exchange(&hub->inbox, NULL), *list = NULL;
    while (stack != NULL) { /* first come, first served */
        coir__parcel *next = stack->next;
        stack->next = list;
        list = stack;
        stack = next;
    }
    while (list != NULL) {
        coir__parcel *next = list->next;
        list->open(list);
        list = next;
    }
}

void
coir__make_calls(coir_hub *hub)
{
    coir_call *stack = atomic_exchange(&hub->calls, NULL), *list = NULL;
    while (stack != NULL) {
        coir_call *next = stack->next;
        stack->next = list;
        list = stack;
        stack = next;
    }
    while (list != NULL) {
        coir_call *next = list->next;
        list->fn(list);
        list = next;
    }
}
