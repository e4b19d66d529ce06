/* waits.c - who waits for whom.
 *
 * Of most waits it cannot be known who will end them. But a mutex is unlocked
 * by its owner, as is a read-write lock that is held to write, and a green
 * thread that is joined ends by itself: there is one who has to act. So each
 * waiter has at most one successor, and a cycle is found by following them,
 * marking all that is passed with the number of the walk: who comes back to a
 * mark of the same walk has closed a cycle, and what an earlier walk has
 * passed need not be followed again. */
#include "look/internal.h"

#include <stdlib.h>
#include <string.h>

#include "sync/waitq.h"

/* Who has to act before a wait can end. NULL: not known. */
static const void *
holder(const char *what, const void *object)
{
    /* By their addresses: texts of others may be equal. */
    if (what == coir__what_join)
        return object;
    if (what == coir__what_mutex)
        return coir__mutex_owner(object);
    if (what == coir__what_read || what == coir__what_write)
        return coir__rwlock_writer(object); /* readers are only counted */
    return NULL;
}

static int
by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const coir__node *)a)->who;
    uintptr_t y = (uintptr_t)((const coir__node *)b)->who;
    return (x > y) - (x < y);
}

const coir__node *
coir__waits_find(const coir__waits *w, const void *who)
{
    coir__node key = {.who = who};
    return w->count > 0 ? bsearch(&key, w->nodes, (size_t)w->count, sizeof key,
                                  by_address)
                        : NULL;
}

static void
add_green(coir__waits *w, const coir_green *g)
{
    coir__node *n = &w->nodes[w->count++];
    *n = (coir__node){.who = g,
                      .id = g->id,
                      .tid = g->hub->listed.tid,
                      .state = g->state,
                      .is_timed = coir_is_active(&g->timer),
                      .what = coir_green_waits_for(g),
                      .object = g->object,
                      .next = -1};
    (void)strncpy(n->name, g == g->hub->main ? "main" : coir_green_name(g),
                  sizeof n->name - 1);
}

static void
add_native(coir__waits *w, const coir__native *t)
{
    w->nodes[w->count++] = (coir__node){.who = t,
                                        .tid = t->tid,
                                        .state = COIR_GREEN_WAITING,
                                        .what = t->what,
                                        .object = t->object,
                                        .next = -1};
}

/* That of a simulation is not in the list of hubs. */
static void
each_hub(coir__waits *w, const coir_hub *own,
         void (*fn)(coir__waits *w, const coir_hub *hub))
{
    fn(w, own);
    for (const coir_hub *h = coir__hubs_first(); h != NULL; h = h->listed.next)
        if (h != own && h->listed.asleep)
            fn(w, h);
}

static void
count_greens(coir__waits *w, const coir_hub *hub)
{
    for (const coir_green *g = hub->all; g != NULL; g = g->next)
        w->count++;
}

static void
add_greens(coir__waits *w, const coir_hub *hub)
{
    for (const coir_green *g = hub->all; g != NULL; g = g->next)
        add_green(w, g);
}

static void
find_holder(coir__waits *w, coir__node *n)
{
    const void *who =
        n->state == COIR_GREEN_WAITING ? holder(n->what, n->object) : NULL;
    if (who == NULL)
        return;
    const coir__node *by = coir__waits_find(w, who);
    if (by == NULL) {
        n->holder = COIR__HOLDER_FOREIGN;
        return;
    }
    n->holder = by->state == COIR_GREEN_ENDED ? COIR__HOLDER_ENDED
                                              : COIR__HOLDER_KNOWN;
    n->next = (int)(by - w->nodes);
}

/* `marks`: the number of the walk that has passed a node. */
static void
find_cycles(coir__waits *w, int *marks)
{
    for (int i = 0; i < w->count; i++) {
        int at = i;
        while (at >= 0 && marks[at] == 0) {
            marks[at] = i + 1;
            at = w->nodes[at].is_timed ? -1 : w->nodes[at].next;
        }
        if (at < 0 || marks[at] != i + 1 || w->nodes[at].cycle > 0)
            continue;
        w->cycles++;
        for (; w->nodes[at].cycle == 0; at = w->nodes[at].next)
            w->nodes[at].cycle = w->cycles;
    }
}

void
coir__waits_init(coir__waits *w, const coir_hub *own)
{
    *w = (coir__waits){0};
    each_hub(w, own, count_greens);
    for (const coir__native *t = coir__natives_first(); t != NULL; t = t->next)
        w->count++;
    size_t count = (size_t)w->count;
    w->count = 0;
    w->nodes = coir_calloc(count, sizeof *w->nodes);
    if (w->nodes == NULL)
        return;
    each_hub(w, own, add_greens);
    for (const coir__native *t = coir__natives_first(); t != NULL; t = t->next)
        add_native(w, t);
    qsort(w->nodes, count, sizeof *w->nodes, by_address);
    for (int i = 0; i < w->count; i++)
        find_holder(w, &w->nodes[i]);
    int *marks = coir_calloc(count, sizeof *marks);
    if (marks != NULL)
        find_cycles(w, marks);
    coir_free(marks);
}

void
coir__waits_fini(coir__waits *w)
{
    coir_free(w->nodes);
    w->nodes = NULL;
}
