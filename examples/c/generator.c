/* generator.c - walks two trees side by side, each by plain recursion.
 *
 * Do two search trees hold the same numbers, whatever their shapes? Each walk
 * recurses as deep as its tree and hands out one number at a time, from the
 * middle of the recursion: as a coroutine it needs no explicit stack and no
 * callback, and the two stop at the first difference. */
#include <coir.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct tree {
    struct tree *left;
    struct tree *right;
    int number;
} tree;

/* -- a generator ---------------------------------------------------------- */

/* Hand a number to whoever asked for it, who is the parent. */
static int
yield(int *number)
{
    coir_coro *self = coir_coro_current();
    return coir_coro_switch(coir_coro_parent(self), number, NULL);
}

static int
walk(tree *t)
{
    if (t == NULL)
        return 0;
    int err = walk(t->left);
    if (err == 0)
        err = yield(&t->number);
    if (err == 0)
        err = walk(t->right);
    return err; /* COIR_ECANCELED if nobody wants the rest */
}

static int
walk_all(void *root, void *value, void **result)
{
    return walk(root); /* *result stays NULL: no more numbers */
}

/* The next number of the walk, or NULL after the last. */
static int *
next(coir_coro *walker)
{
    void *number = NULL;
    if (coir_coro_switch(walker, NULL, &number) < 0)
        return NULL;
    return number;
}

/* -- trees ---------------------------------------------------------------- */

static void
insert(tree **t, int number)
{
    while (*t != NULL)
        t = number < (*t)->number ? &(*t)->left : &(*t)->right;
    *t = calloc(1, sizeof **t);
    if (*t == NULL)
        abort();
    (*t)->number = number;
}

static void
destroy(tree *t)
{
    if (t == NULL)
        return;
    destroy(t->left);
    destroy(t->right);
    free(t);
}

static void
compare(tree *a, tree *b)
{
    coir_coro *walk_a, *walk_b;
    if (coir_coro_new(&walk_a, walk_all, a, NULL) < 0 ||
        coir_coro_new(&walk_b, walk_all, b, NULL) < 0)
        abort();
    int *x, *y;
    do {
        x = next(walk_a);
        y = next(walk_b);
    } while (x != NULL && y != NULL && *x == *y);
    if (x == NULL && y == NULL)
        puts("the same numbers");
    else if (x == NULL || y == NULL)
        puts("one holds more");
    else
        printf("first difference: %d, %d\n", *x, *y);

    coir_coro_cancel(walk_a); /* unwinds what was left in the middle */
    coir_coro_cancel(walk_b);
    coir_coro_free(walk_a);
    coir_coro_free(walk_b);
}

int
main(void)
{
    static const int mixed[] = {5, 2, 8, 1, 9, 3, 7};
    static const int sorted[] = {1, 2, 3, 5, 7, 8, 9};
    tree *a = NULL, *b = NULL;
    for (int i = 0; i < 7; i++) {
        insert(&a, mixed[i]);
        insert(&b, sorted[i]);
    }
    compare(a, b);
    insert(&b, 6);
    compare(a, b);
    insert(&a, 6);
    insert(&a, 10);
    compare(a, b);
    destroy(a);
    destroy(b);
    return 0;
}
