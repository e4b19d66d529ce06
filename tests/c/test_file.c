/* test_file.c - regular files: in the page cache and not, by threads and by
 * the kernel. What would have to wait is a FIFO, or the file lane is held. */
#include <coir/file.h>
#include <coir/pool.h>
#include <coir/sync.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gate_helper.h"
#include "hub/internal.h"
#include "loop_helper.h"

#define FOREVER COIR_FOREVER

static char path[220];
static coir_loop *loop;

/* A new file at `path`. Returns its descriptor. */
static int
make_file(void)
{
    (void)snprintf(path, sizeof path, "%s/file", coir_test_dir());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    return fd;
}

/* A hub on this backend, and a file. */
static int
begin(const coir__backend *backend)
{
    skip_what_valgrind_cannot(backend);
    loop = backend_loop(backend);
    CHECK(coir__hub_make(loop) != NULL);
    return make_file();
}

static void
finish(int fd)
{
    (void)close(fd);
    CHECK_EQ(coir_pool_fini(FOREVER), 0);
    CHECK_EQ(coir_hub_fini(), 0);
    coir_loop_free(loop);
}

static coir_pool_stats
stats(void)
{
    coir_pool_stats s;
    coir_pool_get_stats(coir_pool_lane(COIR_LANE_FILE), &s);
    return s;
}

static void
fill(char *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (char)(seed + i * 7 + i / 256);
}

TEST_EACH_BACKEND(file, reads_what_was_written)
{
    static char out[3 << 20], in[3 << 20];
    int fd = begin(backend);
    fill(out, sizeof out, 1);
    CHECK_EQ(coir_file_write(fd, out, sizeof out, FOREVER), sizeof out);
    CHECK_EQ(coir_file_read(fd, in, sizeof in, FOREVER), 0);
    CHECK_EQ(coir_file_pread(fd, in, sizeof in, 0, FOREVER), sizeof in);
    CHECK_EQ(memcmp(in, out, sizeof in), 0);
    CHECK_EQ(coir_file_pwrite(fd, "here", 4, 10, FOREVER), 4);
    CHECK_EQ(lseek(fd, 8, SEEK_SET), 8);
    CHECK_EQ(coir_file_read(fd, in, 6, FOREVER), 6);
    CHECK_EQ(memcmp(in + 2, "here", 4), 0);
    CHECK_EQ(coir_file_read(fd, in, 0, FOREVER), 0);
    /* To the end, and no further. */
    CHECK_EQ(coir_file_pread(fd, in, 100, sizeof out - 10, FOREVER), 10);
    CHECK_EQ(coir_file_pread(fd, in, 100, sizeof out, FOREVER), 0);
    CHECK_EQ(coir_file_sync(fd, 0, FOREVER), 0);
    CHECK_EQ(coir_file_sync(fd, 1, FOREVER), 0);
    finish(fd);
}

/* Out of the page cache, as far as the kernel lets it go. */
TEST_EACH_BACKEND(file, reads_what_is_not_in_memory)
{
    static char out[2 << 20], in[2 << 20];
    int fd = begin(backend);
    fill(out, sizeof out, 2);
    CHECK_EQ(coir_file_write(fd, out, sizeof out, FOREVER), sizeof out);
    CHECK_EQ(fsync(fd), 0);
    for (int i = 0; i < 3; i++) {
        (void)posix_fadvise(fd, 4096 * i, 0, POSIX_FADV_DONTNEED);
        memset(in, 0, sizeof in);
        CHECK_EQ(coir_file_pread(fd, in, sizeof in, 0, FOREVER), sizeof in);
        CHECK_EQ(memcmp(in, out, sizeof in), 0);
    }
    finish(fd);
}

TEST_EACH_BACKEND(file, cache_needs_no_thread)
{
    char buf[100] = {0};
    int fd = begin(backend);
    CHECK_EQ(write(fd, buf, sizeof buf), sizeof buf);
    struct iovec iov = {buf, 1};
    if (preadv2(fd, &iov, 1, 0, RWF_NOWAIT) != 1) {
        finish(fd);
        SKIP("this file system cannot tell what is in memory");
    }
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coir_file_pread(fd, buf, 50, i % 50, 0), 50);
    CHECK_EQ(stats().done + stats().threads, 0);
    finish(fd);
}

TEST_EACH_BACKEND(file, memory_needs_no_thread)
{
    char buf[100] = {0};
    int fd = begin(backend), memory = memfd_create("coir-test", MFD_CLOEXEC);
    CHECK(memory >= 0);
    CHECK_EQ(coir_file_write(memory, "some words", 10, 0), 10);
    CHECK_EQ(coir_file_pread(memory, buf, sizeof buf, 5, 0), 5);
    CHECK_EQ(memcmp(buf, "words", 5), 0);
    CHECK_EQ(stats().done + stats().threads, 0);
    (void)close(memory);
    finish(fd);
}

static int
count_turns(void *arg)
{
    while (coir_yield() == 0)
        ++*(int *)arg;
    return 0;
}

TEST_EACH_BACKEND(file, reader_lets_others_run)
{
    int turns = 0;
    char c;
    int fd = begin(backend);
    CHECK_EQ(write(fd, "x", 1), 1);
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, count_turns, &turns, NULL), 0);
    for (int i = 0; i < 10000; i++)
        CHECK_EQ(coir_file_pread(fd, &c, 1, 0, FOREVER), 1);
    CHECK(turns >= 10);
    coir_cancel(g);
    CHECK_EQ(coir_join(g, NULL), 0);
    finish(fd);
}

TEST_EACH_BACKEND(file, opens_looks_and_closes)
{
    struct stat a, b;
    int fd = begin(backend);
    CHECK_EQ(coir_file_stat(path, &a, FOREVER), 0);
    int other = coir_file_open(path, O_RDONLY, 0, FOREVER);
    CHECK(other >= 0);
    CHECK(fcntl(other, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(coir_file_fstat(other, &b, FOREVER), 0);
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_EQ(coir_file_close(other, FOREVER), 0);
    CHECK_EQ(coir_file_close(-1, FOREVER), COIR_ERRNO(EBADF));
    CHECK_EQ(unlink(path), 0);
    a.st_size = 1234;
    CHECK_EQ(coir_file_stat(path, &a, FOREVER), COIR_ERRNO(ENOENT));
    CHECK_EQ(a.st_size, 1234);
    CHECK_EQ(coir_file_open(path, O_RDONLY, 0, FOREVER), COIR_ERRNO(ENOENT));
    int made = coir_file_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, FOREVER);
    CHECK(made >= 0);
    CHECK_EQ(fstat(made, &b), 0);
    CHECK_EQ(b.st_mode & 0777, 0600);
    (void)close(made);
    finish(fd);
}

TEST_EACH_BACKEND(file, errors)
{
    char c = 'x';
    struct stat st;
    int fd = begin(backend);
    CHECK_EQ(coir_file_read(-1, &c, 1, FOREVER), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_file_write(-1, &c, 1, FOREVER), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_file_pread(fd, &c, 1, -1, FOREVER), COIR_EINVAL);
    CHECK_EQ(coir_file_pwrite(fd, &c, 1, -2, FOREVER), COIR_EINVAL);
    CHECK_EQ(coir_file_fstat(-1, &st, FOREVER), COIR_ERRNO(EBADF));
    CHECK_EQ(coir_file_sync(-1, 0, FOREVER), COIR_ERRNO(EBADF));
    int only = open(path, O_RDONLY);
    CHECK_EQ(coir_file_write(only, &c, 1, FOREVER), COIR_ERRNO(EBADF));
    (void)close(only);
    CHECK_EQ(c, 'x');
    finish(fd);
}

/* --- what waits ---------------------------------------------------------- */

TEST_EACH_BACKEND(file, read_is_left_to_itself)
{
    int fd = begin(backend), fds[2];
    char buf[10] = "untouched";
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(coir_file_read(fds[0], buf, sizeof buf, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_file_read(fds[0], buf, sizeof buf, 20 * MS), COIR_ETIMEDOUT);
    /* If a thread has it, it ends now. */
    CHECK_EQ(write(fds[1], "x", 1), 1);
    (void)close(fds[1]);
    CHECK_EQ(coir_pool_fini(FOREVER), 0);
    CHECK_STR(buf, "untouched");
    (void)close(fds[0]);
    finish(fd);
}

static int
read_one(void *arg)
{
    char c;
    return (int)coir_file_read(*(int *)arg, &c, 1, FOREVER);
}

TEST_EACH_BACKEND(file, read_is_cancelled)
{
    int fd = begin(backend), fds[2];
    CHECK_EQ(pipe(fds), 0);
    coir_green *g;
    int result = 0;
    CHECK_EQ(coir_spawn(&g, read_one, &fds[0], NULL), 0);
    CHECK_EQ(coir_sleep(10 * MS), 0);
    coir_cancel(g);
    CHECK_EQ(coir_join(g, &result), 0);
    CHECK_EQ(result, COIR_ECANCELED);
    (void)close(fds[1]);
    CHECK_EQ(coir_pool_fini(FOREVER), 0);
    (void)close(fds[0]);
    finish(fd);
}

TEST_EACH_BACKEND(file, pipe_gives_what_it_has)
{
    int fd = begin(backend), fds[2];
    char buf[10];
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(write(fds[1], "abc", 3), 3);
    CHECK_EQ(coir_file_read(fds[0], buf, sizeof buf, FOREVER), 3);
    (void)close(fds[1]);
    CHECK_EQ(coir_file_read(fds[0], buf, sizeof buf, FOREVER), 0);
    (void)close(fds[0]);
    finish(fd);
}

TEST_EACH_BACKEND(file, what_is_opened_too_late_is_closed)
{
    int fd = begin(backend);
    char fifo[sizeof path + 8];
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(fifo, sizeof fifo, "%s.fifo", path);
    CHECK_EQ(mkfifo(fifo, 0600), 0);
    coir_pool_stats stats;
    do { /* on a busy machine it may have been taken back before it began */
        CHECK_EQ(coir_file_open(fifo, O_RDONLY, 0, 20 * MS), COIR_ETIMEDOUT);
        coir_pool_get_stats(coir_pool_lane(COIR_LANE_FILE), &stats);
    } while (stats.running == 0);
    int writer;
    /* Until the thread has got to its open(), which waits for us. */
    while ((writer = open(fifo, O_WRONLY | O_NONBLOCK)) < 0)
        CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_pool_fini(FOREVER), 0);
    CHECK_EQ(write(writer, "x", 1) < 0 ? errno : 0, EPIPE);
    (void)close(writer);
    finish(fd);
}

TEST_EACH_BACKEND(file, what_is_not_begun_is_closed_all_the_same)
{
    int fd = begin(backend);
    coir_green *g;
    coir_pool_set_limit(coir_pool_lane(COIR_LANE_FILE), 1);
    CHECK_EQ(coir_spawn(&g, occupy, coir_pool_lane(COIR_LANE_FILE), NULL), 0);
    CHECK_EQ(coir_semaphore_acquire(&begun, FOREVER), 0);
    int other = dup(fd);
    CHECK_EQ(coir_file_close(other, MS), COIR_ETIMEDOUT);
    CHECK(fcntl(other, F_GETFD) < 0);
    coir_semaphore_release(&gate, 1);
    CHECK_EQ(coir_join(g, NULL), 0);
    finish(fd);
}

TEST_EACH_BACKEND(file, without_memory)
{
    struct stat st;
    char c;
    int fd = begin(backend), fds[2];
    CHECK_EQ(pipe(fds), 0);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_file_stat(path, &st, FOREVER), COIR_ENOMEM);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_file_read(fds[0], &c, 1, FOREVER), COIR_ENOMEM);
    int other = dup(fd);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_file_close(other, FOREVER), COIR_ENOMEM);
    CHECK(fcntl(other, F_GETFD) < 0);
    coir_test_fail_alloc(1);
    CHECK_EQ(coir_file_open(path, O_RDONLY, 0, FOREVER), COIR_ENOMEM);
    (void)close(fds[0]);
    (void)close(fds[1]);
    finish(fd);
}

TEST(file, thread_without_hub_makes_the_call_itself)
{
    char buf[4];
    struct stat st;
    int fd = make_file();
    CHECK_EQ(coir_file_write(fd, "abc", 3, 0), 3);
    CHECK_EQ(coir_file_pread(fd, buf, 4, 1, 0), 2);
    CHECK_EQ(coir_file_stat(path, &st, 0), 0);
    CHECK_EQ(st.st_size, 3);
    CHECK_EQ(coir_file_close(fd, 0), 0);
    CHECK_EQ(stats().threads, 0);
}
