/* fan_out.c - fetch many pages at once, as a crawler does.
 *
 * A scope holds the green threads: it is left only when all have ended. Each
 * page may take so long, and all together so long; a semaphore keeps it to so
 * many at a time. The sites are made up: each answers after a time of its own,
 * and one does not answer at all. */
#include <coir.h>
#include <stdio.h>

#define AT_ONCE 3
#define PAGE_NS (200 * COIR_NS_PER_MS)
#define ALL_NS (2 * COIR_NS_PER_S)

struct page {
    const char *url;
    int takes_ms; /* to answer */
    int err;      /* or 0: it was fetched */
};

static coir_semaphore slots = COIR_SEMAPHORE_INIT(AT_ONCE);

/* In its place would be coir_connect(), coir_write_all(), coir_read(): none of
 * which needs to know of the deadlines. */
static int
fetch(const struct page *page)
{
    return coir_sleep(page->takes_ms * COIR_NS_PER_MS);
}

static int
visit(void *arg)
{
    struct page *page = arg;
    coir_deadline deadline;
    page->err = coir_semaphore_acquire(&slots, COIR_FOREVER);
    if (page->err < 0)
        return 0;
    coir_deadline_begin(&deadline, PAGE_NS);
    page->err = fetch(page);
    coir_deadline_end(&deadline);
    coir_semaphore_release(&slots, 1);
    return 0; /* a negative value would cancel the others */
}

int
main(void)
{
    struct page pages[] = {
        {"/index", 10, COIR_ECANCELED},    {"/news", 20, COIR_ECANCELED},
        {"/hangs", 60000, COIR_ECANCELED}, {"/about", 30, COIR_ECANCELED},
        {"/links", 10, COIR_ECANCELED},    {"/search", 40, COIR_ECANCELED},
        {"/images", 20, COIR_ECANCELED},   {"/last", 10, COIR_ECANCELED},
    };
    size_t count = sizeof pages / sizeof pages[0];
    coir_deadline all;
    coir_scope *scope;

    coir_deadline_begin(&all, ALL_NS);
    if (coir_scope_begin(&scope) < 0)
        return 1;
    for (size_t i = 0; i < count; i++)
        if (coir_scope_spawn(scope, visit, &pages[i], NULL) < 0)
            break;
    int err = coir_scope_end(scope);
    coir_deadline_end(&all);

    for (size_t i = 0; i < count; i++)
        printf("%-8s %s\n", pages[i].url,
               pages[i].err < 0 ? coir_strerror(pages[i].err) : "ok");
    printf("all: %s\n", err < 0 ? coir_strerror(err) : "ok");
    return err < 0;
}
