/* local.c - values that a green thread keeps under keys: a list, since there
 * are few. */
#include "hub/internal.h"

struct coir__local {
    coir__local *next;
    const void *key;
    void *value;
    void (*fini)(void *value);
};

int
coir_local_set(const void *key, void *value, void (*fini)(void *value))
{
    coir_green *g = coir__running();
    if (g == NULL)
        return coir__hub != NULL ? COIR_EINVAL : COIR_ENOMEM;
    coir__local *l = g->locals;
    while (l != NULL && l->key != key)
        l = l->next;
    if (l == NULL) {
        l = coir_malloc(sizeof *l);
        if (l == NULL)
            return COIR_ENOMEM;
        *l = (coir__local){.next = g->locals, .key = key};
        g->locals = l;
    }
    void *old = l->value;
    void (*old_fini)(void *) = l->fini;
    l->value = value;
    l->fini = fini;
    if (old_fini != NULL)
        old_fini(old);
    return 0;
}

void *
coir_local_get(const void *key)
{
    const coir_green *g = coir__running();
    if (g == NULL)
        return NULL;
    for (const coir__local *l = g->locals; l != NULL; l = l->next)
        if (l->key == key)
            return l->value;
    return NULL;
}

void
coir__drop_locals(coir_green *g)
{
    coir__local *l;
    while ((l = g->locals) != NULL) {
        g->locals = l->next;
        if (l->fini != NULL)
            l->fini(l->value);
        coir_free(l);
    }
}

void
coir__forget_locals(coir_green *g)
{
    for (coir__local *l = g->locals; l != NULL; l = l->next)
        l->fini = NULL;
    coir__drop_locals(g);
}
