/* file_watch.c - a file that changes.
 *
 * A temporary file is watched while a timer writes to it; when that is seen it
 * is removed, and when that is seen the program ends. The kernel tells the
 * loop of changes where it can (inotify); elsewhere, as on file systems of
 * other machines, the loop looks at intervals. */
#include <coir.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[] = "/tmp/coir-file_watch-XXXXXX";
static int fd;

static void
change(coir_loop *loop, coir_timer *w, int revents)
{
    if (write(fd, "hello", 5) != 5)
        exit(1);
}

static void
changed(coir_loop *loop, coir_stat *w, int revents)
{
    /* What lstat() says now, and what it said before. */
    if (w->attr.st_nlink == 0) {
        puts("removed");
        coir_stat_stop(loop, w);
        return;
    }
    printf("from %d bytes to %d\n", (int)w->prev.st_size,
           (int)w->attr.st_size);
    unlink(w->path);
}

int
main(void)
{
    coir_loop *loop;
    coir_stat file;
    coir_timer timer;
    fd = mkstemp(path);
    if (fd < 0 || coir_loop_new(&loop, 0) < 0)
        return 1;
    /* The interval matters only where the kernel does not tell. */
    coir_stat_init(&file, changed, path, COIR_NS_PER_S / 5);
    if (coir_stat_start(loop, &file) < 0)
        return 1;
    coir_timer_init(&timer, change, 10 * COIR_NS_PER_MS, 0);
    coir_timer_start(loop, &timer);
    coir_loop_run(loop, 0);
    coir_loop_free(loop);
    return close(fd);
}
