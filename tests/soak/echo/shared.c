/* shared.c - see echo.h. */
#include "echo.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RSS_MORE (8L << 20)
#define KEPT_MORE 8 /* how many are kept depends a little on the moment */
#define STALL_S 60

struct options options = {
    .minutes = 1, .connections = 5000, .tide_s = 60, .kills = 200, .seed = 1};

void
fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "soak: FAILED: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    coir_dump(STDERR_FILENO);
    _exit(1);
}

int64_t
now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * COIR_NS_PER_S + t.tv_nsec;
}

uint32_t
random_below(uint32_t bound)
{
    options.seed ^= options.seed << 13;
    options.seed ^= options.seed >> 7;
    options.seed ^= options.seed << 17;
    return (uint32_t)((options.seed >> 32) % bound);
}

/* --- hangs --------------------------------------------------------------- */

static void
on_alarm(int signal)
{
    static const char text[] = "soak: FAILED: the hub hangs\n";
    (void)signal;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    abort();
}

void
still_alive(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm(STALL_S);
}

/* --- leaks --------------------------------------------------------------- */

static atomic_long blocks;

static void *
counting(void *ptr, size_t size)
{
    if (size == 0) {
        blocks -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    void *memory = realloc(ptr, size);
    blocks += ptr == NULL && memory != NULL;
    return memory;
}

void
count_blocks(void)
{
    coir_set_allocator(counting);
}

static long
count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    long count = -1; /* its own */
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

static long
resident(void)
{
    long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &size, &pages) != 2)
        fail("cannot read /proc/self/statm");
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Ended green threads are kept, so many of them, to be used again. */
#define MORE_THAN_KEPT 3000

static int
yield_once(void *arg)
{
    (void)arg;
    return coir_yield();
}

void
fill_caches(void)
{
    coir_scope *scope;
    int err = coir_scope_begin(&scope);
    for (int i = 0; i < MORE_THAN_KEPT && err == 0; i++)
        err = coir_scope_spawn(scope, yield_once, NULL, NULL);
    if (err < 0 || coir_scope_end(scope) < 0)
        fail("caches: %s", coir_strerror(err));
}

struct holds
look(void)
{
    coir_stack_pool_stats stats;
    coir_stack_pool_get_stats(coir_thread_pool(), &stats);
    struct holds now = {.descriptors = count_descriptors(),
                        .stacks = (long)stats.in_use,
                        .blocks = blocks,
                        .rss = resident()};
    return now;
}

static int
grew(const char *who, const char *what, long first, long now, long more)
{
    if (now <= first + more)
        return 0;
    printf("LEAK: %s: %s: %ld at the first ebb, %ld now\n", who, what, first,
           now);
    return 1;
}

int
compare(const char *who, const struct holds *first, const struct holds *now)
{
    return grew(who, "descriptors", first->descriptors, now->descriptors, 0) +
           grew(who, "stacks in use", first->stacks, now->stacks, KEPT_MORE) +
           grew(who, "blocks", first->blocks, now->blocks, 2 * KEPT_MORE) +
           (SOAK_RSS &&
            grew(who, "resident bytes", first->rss, now->rss, RSS_MORE));
}

/* --- kills --------------------------------------------------------------- */

static struct target **targets;
static unsigned count, room;

void
target_enter(struct target *t)
{
    if (count == room) {
        room = room > 0 ? 2 * room : 1024;
        targets = realloc(targets, room * sizeof *targets);
        if (targets == NULL)
            fail("no memory");
    }
    t->green = coir_self();
    t->index = count;
    targets[count++] = t;
}

void
target_leave(struct target *t)
{
    targets[t->index] = targets[--count];
    targets[t->index]->index = t->index;
}

unsigned
target_count(void)
{
    return count;
}

/* Several at a time, as timers are not that exact. */
int
kill_some(void *killed_count)
{
    uint64_t *killed = killed_count;
    unsigned owed = 0;
    for (;;) {
        int err = coir_sleep(10 * COIR_NS_PER_MS);
        if (err < 0)
            return err;
        for (owed += options.kills; owed >= 100; owed -= 100) {
            if (count == 0)
                continue;
            coir_cancel(targets[random_below(count)]->green);
            ++*killed;
        }
    }
}

/* --- content ------------------------------------------------------------- */

static inline unsigned char
byte_at(uint32_t stream, size_t offset)
{
    return (unsigned char)(stream * 31 + offset * 7 + (offset >> 8));
}

void
fill(unsigned char *buf, size_t len, uint32_t stream, size_t offset)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = byte_at(stream, offset + i);
}

int
matches(const unsigned char *buf, size_t len, uint32_t stream, size_t offset)
{
    for (size_t i = 0; i < len; i++)
        if (buf[i] != byte_at(stream, offset + i))
            return 0;
    return 1;
}
