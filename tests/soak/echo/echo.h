/* echo.h - the soak of green threads and sockets: what its two processes
 * share.
 *
 * One is an echo server, the other its clients; both are made of green
 * threads, and both kill theirs at random. Between them is a control
 * connection, for the tides: 5,000 clients come and go for some time, then all
 * end (ebb), and both processes look at what they have left: descriptors,
 * stacks, blocks of memory, resident memory. From ebb to ebb none of it may
 * grow. See server.c and client.c. */
#ifndef SOAK_ECHO_H
#define SOAK_ECHO_H

#include <coir.h>

#include <stdint.h>
#include <stdio.h>

struct options {
    double minutes;
    unsigned connections;
    unsigned tide_s; /* from ebb to ebb */
    unsigned kills;  /* per second, in each process */
    uint64_t seed;
};

extern struct options options;

/* What a process holds when nothing goes on. */
struct holds {
    long descriptors;
    long stacks;
    long blocks; /* of memory, of the library */
    long rss;
};

/* Count the library's blocks; before anything else. */
void count_blocks(void);
/* So that what is held at an ebb does not depend on how high the tide was. */
void fill_caches(void);
struct holds look(void);
/* Compare with what was held at the first ebb; returns how many leaks, each of
 * which is reported. */
int compare(const char *who, const struct holds *first,
            const struct holds *now);

int64_t now_ns(void);

/* Below `bound`. */
uint32_t random_below(uint32_t bound);

/* End the process, unless it is called again within a minute: a hub that runs
 * none of its green threads cannot say so itself. */
void still_alive(void);

/* Green threads that may be killed, at random: each enters itself with memory
 * of its own, and leaves before it ends. */
struct target {
    coir_green *green;
    unsigned index;
};

void target_enter(struct target *t);
void target_leave(struct target *t);
unsigned target_count(void);
/* A green thread's function, for ever: so many kills per second. */
int kill_some(void *killed_count);

/* Ready to be told apart from all others at any place of the stream. */
void fill(unsigned char *buf, size_t len, uint32_t stream, size_t offset);
int matches(const unsigned char *buf, size_t len, uint32_t stream,
            size_t offset);

/* Prints what went wrong, all green threads, and ends the process. */
void fail(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

/* The clients' process, from beginning to end; 0 if all was as it should. */
int run_clients(const struct sockaddr *server, socklen_t len, int control);

#endif
