/* pool_mix.c - a mix of green threads, calls on a pool of threads, files and
 * a name: hash a file with all that is needed, while a clock ticks. */
#include <coir.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTS 8
#define PART_SIZE 100000

static int fd;
static int ticks;
static int done;

typedef struct part {
    int index;
    unsigned char data[PART_SIZE];
    unsigned hash;
} part;

/* A lot of work, on a thread of the pool. */
static int
hash_part(void *arg)
{
    part *p = arg;
    p->hash = 2166136261U;
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < PART_SIZE; i++)
            p->hash = (p->hash ^ p->data[i]) * 16777619U;
    return 0;
}

/* A green thread: what it waits for, others do meanwhile. */
static int
handle_part(void *arg)
{
    part *p = arg;
    off_t at = (off_t)p->index * PART_SIZE;
    if (coir_file_pread(fd, p->data, PART_SIZE, at, COIR_FOREVER) != PART_SIZE)
        return -1;
    return coir_blocking(NULL, hash_part, p, NULL, NULL, COIR_FOREVER);
}

static int
tick(void *arg)
{
    while (!done) {
        ticks++;
        coir_sleep(COIR_NS_PER_MS);
    }
    return 0;
}

static int
write_file(void)
{
    char path[] = "/tmp/pool_mix-XXXXXX";
    static unsigned char data[PART_SIZE];
    fd = mkstemp(path);
    if (fd < 0)
        return -1;
    unlink(path);
    for (int i = 0; i < PARTS; i++) {
        memset(data, i, sizeof data);
        if (coir_file_write(fd, data, sizeof data, COIR_FOREVER) !=
            sizeof data)
            return -1;
    }
    return 0;
}

int
main(void)
{
    static part parts[PARTS];
    coir_green *clock;
    coir_scope *scope;
    struct addrinfo *list;
    if (write_file() < 0 || coir_spawn(&clock, tick, NULL, NULL) < 0 ||
        coir_scope_begin(&scope) < 0)
        return 1;
    for (int i = 0; i < PARTS; i++) {
        parts[i].index = i;
        coir_scope_spawn(scope, handle_part, &parts[i], NULL);
    }
    int err = coir_scope_end(scope);
    if (err < 0) {
        printf("failed: %s\n", coir_strerror(err));
        return 1;
    }
    for (int i = 0; i < PARTS; i++)
        printf("part %d: %08x\n", i, parts[i].hash);
    if (coir_getaddrinfo("127.0.0.1", "80", NULL, &list, COIR_FOREVER) == 0) {
        printf("looked up a name\n");
        coir_freeaddrinfo(list);
    }
    done = 1;
    coir_join(clock, NULL);
    printf("the clock ticked meanwhile: %s\n", ticks > 1 ? "yes" : "no");
    close(fd);
    return coir_pool_fini(COIR_FOREVER);
}
