/* dns.h - look-ups in progress: between dns.c and the resolvers. */
#ifndef COIR__DNS_DNS_H
#define COIR__DNS_DNS_H

#include <coir/dns.h>

#include "pool/pool.h"
#include "sync/waitq.h"

/* One question, asked by one or several. */
typedef struct coir__lookup {
    coir__job job;
    struct coir__lookup *next; /* in progress, with the same hash */
    unsigned refs;             /* those who wait, and who looks up */
    coir_hub *hub;             /* whose c-ares looks up; NULL: a thread */
    coir_event done;
    int err;
    struct addrinfo *result; /* as copied by coir__addrinfo_copy() */
    /* The question. */
    unsigned hash;
    int has_hints;
    struct addrinfo hints;
    const char *host, *service; /* or NULL; in the same memory */
} coir__lookup;

/* The answer has come; once. */
void coir__lookup_done(coir__lookup *l, int err, struct addrinfo *result);

/* All of a list in one block, for coir_freeaddrinfo(). */
int coir__addrinfo_copy(struct addrinfo **out, const struct addrinfo *list);

/* To the one of these that is the first to connect. */
int coir__connect_any(coir_socket **out, const struct addrinfo *list);

/* With c-ares (ares.c). COIR_ENOSYS without. */
int coir__ares_begin(void);
int coir__ares_lookup(coir_hub *hub, coir__lookup *l);

#endif
