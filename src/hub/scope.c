/* scope.c - scopes: what is spawned in one has ended when it ends.
 *
 * A scope has a list of those in it that have not ended yet. It is cancelled
 * by the first of them that fails, by coir_scope_cancel(), or when the wait
 * for its end fails; then all of them are cancelled, and its owner is, for as
 * long as the scope lasts: code between begin and end should not go on to wait
 * for somebody who has failed. Cancelling a green thread reaches the scopes
 * that it has begun when its wait fails and it comes to their ends.
 *
 * It lies on the heap: those in it use it while its owner's stack, perhaps a
 * slice, is elsewhere. */
#include "hub/internal.h"

#include <assert.h>

struct coir_scope {
    coir_hub *hub;
    coir_green *owner;        /* NULL: given up, goes with the last in it */
    coir_scope *outer;        /* of the same owner */
    coir_green *first, *last; /* in it, as they were spawned */
    int error;                /* of the first that failed */
    uint8_t cancelled;
    uint8_t ending; /* the owner waits for the end */
};

int
coir_scope_begin(coir_scope **out)
{
    coir_hub *hub = coir_hub_get();
    coir_green *g = hub != NULL ? hub->current : NULL;
    if (g == NULL)
        return hub != NULL ? COIR_EINVAL : COIR_ENOMEM;
    coir_scope *s = coir_malloc(sizeof *s);
    if (s == NULL)
        return COIR_ENOMEM;
    *s = (coir_scope){.hub = hub, .owner = g, .outer = g->scopes};
    g->scopes = s;
    *out = s;
    return 0;
}

int
coir_scope_spawn(coir_scope *s, coir_green_fn *fn, void *arg,
                 const coir_green_attr *attr)
{
    if (fn == NULL)
        return COIR_EINVAL;
    if (s->hub != coir__hub_if_any())
        return COIR_ETHREAD;
    if (s->cancelled || s->owner == NULL)
        return COIR_ECANCELED;
    coir_green_attr detached = {0};
    if (attr != NULL)
        detached = *attr;
    detached.detached = 1;
    coir_green *g;
    int err = coir__spawn(s->hub, &g, fn, arg, &detached);
    if (err < 0)
        return err;
    g->spawned_at = __builtin_return_address(0);
    g->scope = s;
    g->scope_next = NULL;
    g->scope_prev = s->last;
    if (s->last != NULL)
        s->last->scope_next = g;
    else
        s->first = g;
    s->last = g;
    return 0;
}

/* None of those in it runs before we have returned. */
void
coir_scope_cancel(coir_scope *s)
{
    if (s->cancelled)
        return;
    s->cancelled = 1;
    for (coir_green *g = s->first; g != NULL; g = g->scope_next)
        coir__cancel(g, COIR__CANCELLED);
    if (s->owner == NULL)
        return;
    if (s->ending) /* it waits for nothing else */
        s->owner->cancelled |= COIR__CANCELLED_SCOPE;
    else
        coir__cancel(s->owner, COIR__CANCELLED_SCOPE);
}

int
coir_scope_is_cancelled(const coir_scope *s)
{
    return s->cancelled;
}

static void
take_out(coir_scope *s, coir_green *g)
{
    if (g->scope_next != NULL)
        g->scope_next->scope_prev = g->scope_prev;
    else
        s->last = g->scope_prev;
    if (g->scope_prev != NULL)
        g->scope_prev->scope_next = g->scope_next;
    else
        s->first = g->scope_next;
}

void
coir__scope_forget(coir_green *g)
{
    coir_scope *s = g->scope;
    if (s == NULL)
        return;
    g->scope = NULL;
    take_out(s, g);
    if (s->first == NULL && s->owner == NULL)
        coir_free(s);
}

void
coir__scopes_give_up(coir_green *g)
{
    coir_scope *s;
    while ((s = g->scopes) != NULL) {
        g->scopes = s->outer;
        if (s->first == NULL)
            coir_free(s);
        else
            s->owner = NULL;
    }
}

void
coir__scope_child_ended(coir_green *g)
{
    coir_scope *s = g->scope;
    take_out(s, g);
    if (g->result < 0 && !s->cancelled) {
        s->error = g->result;
        coir_scope_cancel(s);
    }
    if (s->first != NULL)
        return;
    if (s->owner == NULL)
        coir_free(s);
    else if (s->ending)
        coir__ready(s->hub, s->owner, 0);
}

static int
leave_scope(coir_green *g)
{
    ((coir_scope *)g->wait_data)->ending = 0;
    return 1;
}

/* The last wait: nothing but the last one in the scope ends it, unless there
 * is none that ever will. */
static int
leave_if_hopeless(coir_green *g)
{
    return g->hub->deadlocked;
}

/* Is the owner cancelled, with this scope left aside? */
static int
is_cancelled_outside(const coir_scope *s)
{
    if (s->owner->cancelled & COIR__CANCELLED)
        return 1;
    for (const coir_scope *o = s->outer; o != NULL; o = o->outer)
        if (o->cancelled)
            return 1;
    return 0;
}

static int
wait_for_end(coir_scope *s, int (*leave)(coir_green *g))
{
    coir_green *g = s->owner;
    s->ending = 1;
    return coir__park(g->hub, g, "scope", s, COIR_FOREVER, leave, s);
}

int
coir_scope_end(coir_scope *s)
{
    coir_green *g = s->owner;
    assert(g == g->hub->current && g->scopes == s);
    int err = 0;
    if (s->first != NULL && g->shields == 0 && is_cancelled_outside(s))
        err = COIR_ECANCELED;
    else if (s->first != NULL && !s->cancelled)
        err = wait_for_end(s, leave_scope);
    if (s->first != NULL) {
        coir_scope_cancel(s);
        int last = wait_for_end(s, leave_if_hopeless);
        if (last < 0)
            err = last;
    }
    if (s->error < 0)
        err = s->error;
    g->scopes = s->outer;
    g->cancelled &= (uint8_t)~COIR__CANCELLED_SCOPE;
    if (is_cancelled_outside(s) && !(g->cancelled & COIR__CANCELLED))
        g->cancelled |= COIR__CANCELLED_SCOPE;
    if (s->first == NULL)
        coir_free(s);
    else
        s->owner = NULL;
    return err;
}
