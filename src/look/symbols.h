/* symbols.h - names for addresses of code. See symbols.c. */
#ifndef COIR__LOOK_SYMBOLS_H
#define COIR__LOOK_SYMBOLS_H

#include <coir/base.h>

typedef struct coir__symbols coir__symbols;

/* What is at an address of code. The strings are valid until
 * coir__symbols_free(). */
typedef struct coir__place {
    const char *function; /* NULL: not known */
    size_t offset;        /* in it */
    const char *file;     /* without its directory; NULL: not known */
    uintptr_t address;    /* in the file, as addr2line wants it */
} coir__place;

/* Look which files the process has mapped. NULL: no memory. What cannot be
 * read gives places of which nothing is known. */
coir__symbols *coir__symbols_new(void);
void coir__symbols_free(coir__symbols *s);

/* NULL for `s` is allowed: nothing is known. */
coir__place coir__symbols_find(coir__symbols *s, const void *address);
/* The name of the static variable at an address, and where in it that is;
 * NULL: there is none. */
const char *coir__symbols_find_variable(coir__symbols *s, const void *address,
                                        size_t *offset);

#endif
