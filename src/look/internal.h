/* internal.h - what the files that look inside share. */
#ifndef COIR__LOOK_INTERNAL_H
#define COIR__LOOK_INTERNAL_H

#include <coir/look.h>
#include <signal.h>

#include "hub/internal.h"
#include "loop/internal.h"
#include "look/symbols.h"

/* --- backtrace.c --------------------------------------------------------- */

/* Of one that is known not to run meanwhile. */
int coir__backtrace(const coir_green *g, const void **addresses, int size);
/* Of the caller; `in_handler`: of what its signal has interrupted. */
int coir__backtrace_here(const void **addresses, int size, int in_handler);

/* --- waits.c: who waits for whom ----------------------------------------- */

enum coir__holder {
    COIR__HOLDER_NONE,   /* nobody in particular has to act */
    COIR__HOLDER_KNOWN,  /* `next` has */
    COIR__HOLDER_ENDED,  /* `next` has, and never will */
    COIR__HOLDER_FOREIGN /* of another OS thread, or it has ended */
};

/* A green thread, or an OS thread without a hub that waits. */
typedef struct coir__node {
    const void *who; /* as an owner of mutexes */
    uint64_t id;     /* 0: an OS thread */
    int tid;
    int state; /* enum coir_green_state */
    int is_timed;
    char name[32];
    const char *what;
    const void *object;
    int holder; /* enum coir__holder */
    int next;   /* index of the holder; -1: none */
    int cycle;  /* 0; else the same number for all in one cycle */
} coir__node;

typedef struct coir__waits {
    coir__node *nodes; /* sorted by `who` */
    int count;
    int cycles;
} coir__waits;

/* Those of this hub, and with the list of hubs locked of all that are asleep.
 * Without memory there are none. */
void coir__waits_init(coir__waits *w, const coir_hub *own);
void coir__waits_fini(coir__waits *w);
/* NULL: it is not there. */
const coir__node *coir__waits_find(const coir__waits *w, const void *who);

/* --- dump.c -------------------------------------------------------------- */

/* A text that goes to a descriptor in lines. */
typedef struct coir__out {
    int fd;
    unsigned len;
    char data[512];
} coir__out;

void coir__put(coir__out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void coir__flush(coir__out *out);
/* "function+0x12 (file+0x1234)"; `address` is behind the call. */
void coir__put_place(coir__out *out, coir__symbols *symbols,
                     const void *address);
/* Lines, indented, without the library's own innermost frames. */
void coir__put_backtrace(coir__out *out, coir__symbols *symbols,
                         const void *const *addresses, int count);
/* All green threads of a hub that does not run meanwhile. */
void coir__dump_hub(coir__out *out, coir__symbols *symbols,
                    const coir__waits *waits, const coir_hub *hub);
/* Those who wait in a cycle, or for one that has ended; returns how many times
 * there is something to say. */
int coir__put_hopeless(coir__out *out, coir__symbols *symbols,
                       const coir__waits *waits, int own_tid);

/* --- watchdog.c ---------------------------------------------------------- */

/* A hub comes: start it if the environment asks for it. */
void coir__watchdog_init(void);
/* The thread is not in the child of a fork. */
void coir__watchdog_in_child(void);
/* Is that its handler of a signal? */
int coir__watchdog_is_handler(const struct sigaction *action);

/* --- hubs.c -------------------------------------------------------------- */

void coir__hubs_lock(void);
void coir__hubs_unlock(void);
/* With the list locked: all hubs; NULL ends them. */
coir_hub *coir__hubs_first(void);
/* OS threads without a hub that wait for something for ever. */
coir__native *coir__natives_first(void);

#endif
