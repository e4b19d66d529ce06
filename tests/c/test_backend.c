/* test_backend.c - what the backends differ in below the same semantics. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "io_helper.h"

/* -- descriptors ---------------------------------------------------------- */

TEST_EACH_BACKEND(backend, changed_after_it_was_closed_is_an_error)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2], other[2];
    make_pair(fds);
    make_pair(other);
    coir_io w, x;
    seen s, t;
    watch(loop, &w, &s, fds[0], COIR_READ);
    watch(loop, &x, &t, other[0], COIR_READ);
    turn(loop);
    (void)close(fds[0]);
    coir_io_modify(loop, &w, COIR_READ | COIR_WRITE);
    until(loop, &s, 1);
    CHECK(s.events & COIR_ERROR);
    CHECK(!coir_is_active(&w));
    /* The others go on, and the loop is calm. */
    put(other[1]);
    until(loop, &t, 1);
    CHECK_EQ(t.events, COIR_READ);
    coir_io_stop(loop, &x);
    (void)close(fds[1]);
    close_pair(other);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(backend, descriptor_becomes_readable)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2], fd = coir_loop_fd(loop);
    if (fd == COIR_EINVAL) {
        CHECK(backend->descriptor == NULL);
        coir_loop_free(loop);
        return;
    }
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    struct pollfd p = {fd, POLLIN, 0};
    CHECK_EQ(poll(&p, 1, 0), 0);
    put(fds[1]);
    CHECK_EQ(poll(&p, 1, 1000), 1);
    until(loop, &s, 1);
    coir_io_stop(loop, &w);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(backend, change_without_memory_is_an_error)
{
    /* For each allocation of a turn that registers and changes. */
    EACH_ALLOC_FAILURE(n)
    {
        coir_test_fail_none();
        coir_loop *loop = backend_loop(backend);
        int fds[2], far;
        make_pair(fds);
        far = fcntl(fds[0], F_DUPFD, 900);
        CHECK_EQ(far, 900);
        coir_io w, x;
        seen s, t;
        watch(loop, &w, &s, fds[0], COIR_READ);
        watch(loop, &x, &t, far, COIR_READ);
        coir_test_fail_alloc(n);
        turn(loop);
        coir_io_modify(loop, &w, COIR_READ | COIR_WRITE);
        turn(loop);
        int failed = !coir_is_active(&w) || !coir_is_active(&x);
        CHECK_EQ(failed, (s.events | t.events) < 0);
        coir_io_stop(loop, &w);
        coir_io_stop(loop, &x);
        turn(loop);
        turn(loop);
        (void)close(far);
        close_pair(fds);
        coir_loop_free(loop);
    }
}

TEST_EACH_BACKEND(backend, stopped_watcher_does_not_keep_a_file_open)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    coir_io_stop(loop, &w);
    (void)close(fds[0]);
    coir_io peer; /* sees the end once the other side is closed for good */
    watch(loop, &peer, &s, fds[1], COIR_READ);
    until(loop, &s, 1);
    char c;
    CHECK_EQ(read(fds[1], &c, 1), 0);
    coir_io_stop(loop, &peer);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(backend, closed_under_a_watcher_does_not_stay_open)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w, peer;
    seen s, t;
    watch(loop, &w, &s, fds[0], COIR_READ);
    turn(loop);
    (void)close(fds[0]);
    coir_io_modify(loop, &w, COIR_WRITE);
    watch(loop, &peer, &t, fds[1], COIR_READ);
    until(loop, &t, 1);
    char c;
    CHECK_EQ(read(fds[1], &c, 1), 0);
    CHECK(s.events & COIR_ERROR);
    coir_io_stop(loop, &peer);
    (void)close(fds[1]);
    coir_loop_free(loop);
}

/* More than the queues of io_uring hold: started, changed, ready and stopped
 * in one turn each. */
static void
check_bursts(const coir__backend *backend, int count)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)count + 50;
    if (limit.rlim_cur > limit.rlim_max ||
        setrlimit(RLIMIT_NOFILE, &limit) < 0)
        SKIP("not so many descriptors here");
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io *ws = calloc((size_t)count, sizeof *ws);
    seen *seen_by = calloc((size_t)count, sizeof *seen_by);
    CHECK(ws != NULL && seen_by != NULL);
    for (int i = 0; i < count; i++)
        watch(loop, &ws[i], &seen_by[i], dup(fds[0]), COIR_READ);
    turn(loop);
    for (int i = 0; i < count; i++)
        coir_io_modify(loop, &ws[i], COIR_READ | COIR_WRITE);
    for (int i = 0; i < count; i++)
        until(loop, &seen_by[i], 2);
    put(fds[1]);
    for (int i = 0; i < count; i++)
        while (seen_by[i].events != (COIR_READ | COIR_WRITE))
            until(loop, &seen_by[i], seen_by[i].calls + 1);
    for (int i = 0; i < count; i++) {
        coir_io_modify(loop, &ws[i], COIR_READ);
        seen_by[i].calls = 0;
    }
    for (int i = 0; i < count; i++)
        until(loop, &seen_by[i], 1);
    for (int i = 0; i < count; i++)
        coir_io_stop(loop, &ws[i]);
    for (int i = 0; i < 5; i++) {
        turn(loop);
        for (int j = 0; j < count; j++)
            seen_by[j].calls = 0;
    }
    turn(loop);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(seen_by[i].calls, 0);
        (void)close(ws[i].fd);
    }
    free(ws);
    free(seen_by);
    close_pair(fds);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(backend, more_changes_in_a_turn_than_a_queue_holds)
{
    check_bursts(backend, 800);
}

TEST_EACH_BACKEND(backend, more_events_in_a_turn_than_a_queue_holds)
{
    coir_test_timeout(60);
    if (coir_test_is_slow())
        SKIP("takes long");
    skip_what_emulators_cannot(backend);
    check_bursts(backend, 9000);
}

/* -- waiting -------------------------------------------------------------- */

static void
interrupted(int signum)
{
    (void)signum;
}

/* A handler of the program's, of which the loop knows nothing: what it left
 * behind is to be seen by prepare and check watchers. */
TEST_EACH_BACKEND(backend, signal_ends_a_wait)
{
    skip_what_valgrind_cannot(backend);
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    struct sigaction action = {.sa_handler = interrupted};
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval once = {.it_value = {0, 20000}};
    for (int i = 0; i < 2; i++) { /* with a change to tell, and without */
        if (i == 0)
            watch(loop, &w, &s, fds[0], COIR_READ);
        CHECK_EQ(setitimer(ITIMER_REAL, &once, NULL), 0);
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
    }
    CHECK_EQ(s.calls, 0);
    coir_io_stop(loop, &w);
    close_pair(fds);
    coir_loop_free(loop);
}

/* -- threads -------------------------------------------------------------- */

typedef struct moved {
    coir_loop *loop;
    seen *s;
    int calls;
} moved;

static void *
run_elsewhere(void *arg)
{
    moved *m = arg;
    until(m->loop, m->s, m->calls);
    return NULL;
}

TEST_EACH_BACKEND(backend, loop_may_be_handed_to_another_thread)
{
    coir_loop *loop = backend_loop(backend);
    int fds[2];
    make_pair(fds);
    coir_io w;
    seen s;
    watch(loop, &w, &s, fds[0], COIR_READ);
    put(fds[1]);
    for (int i = 1; i <= 3; i++) { /* new, and after it ran elsewhere */
        moved m = {loop, &s, s.calls + 2};
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, run_elsewhere, &m), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(s.events, COIR_READ);
    }
    until(loop, &s, s.calls + 1);
    coir_io_stop(loop, &w);
    close_pair(fds);
    coir_loop_free(loop);
}

/* -- io_uring refused ----------------------------------------------------- */

static void
refuse(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 425, 0, 1), /* io_uring_setup */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        SKIP("no seccomp filters here");
}

static void
check_refused(int error, int expected, const char *reason)
{
    if (!(coir_loop_supported() & COIR_BACKEND_IOURING))
        SKIP("built without liburing");
    refuse(error);
    coir_loop *loop = NULL;
    CHECK_EQ(coir_loop_new(&loop, COIR_LOOP_NOENV | COIR_BACKEND_IOURING),
             expected);
    CHECK_NULL(loop);
    if (strstr(coir_loop_error(), reason) == NULL)
        FAIL(coir_loop_error());
    if (expected != COIR_ENOSYS)
        return;
    /* With another to fall back on there is a loop, and still the reason. */
    CHECK_EQ(coir_loop_new(&loop, COIR_LOOP_NOENV | COIR_BACKEND_IOURING |
                                      COIR_BACKEND_POLL),
             0);
    CHECK_EQ(coir_loop_backend(loop), COIR_BACKEND_POLL);
    CHECK(strstr(coir_loop_error(), reason) != NULL);
    coir_loop_free(loop);
}

TEST(backend, io_uring_refused_by_a_filter_says_so)
{
    check_refused(EPERM, COIR_ENOSYS, "seccomp");
}

TEST(backend, io_uring_of_an_old_kernel_says_so)
{
    check_refused(ENOSYS, COIR_ENOSYS, "5.11");
}

TEST(backend, io_uring_without_descriptors_is_no_memory)
{
    check_refused(EMFILE, COIR_ENOMEM, strerror(EMFILE));
}
