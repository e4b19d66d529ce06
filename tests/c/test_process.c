/* test_process.c - processes, and signals for green threads. */
#include <coir/process.h>
#include <coir/sync.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "process/internal.h"

#define S COIR_NS_PER_S
#define MS COIR_NS_PER_MS

static int
has_child(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* No child is left, nor a thread that waits for one. */
static void
finish(void)
{
    while (atomic_load(&coir__process_threads) > 0 || has_child())
        CHECK_EQ(coir_sleep(MS), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

/* Each test with pidfds, and as if there were none. */
#define TEST_BOTH(module, name)                                               \
    static void coir__body_##module##_##name(void);                           \
    static void coir__test_##module##_##name(int without)                     \
    {                                                                         \
        coir__process_without_pidfd = without;                                \
        coir__body_##module##_##name();                                       \
        finish();                                                             \
    }                                                                         \
    COIR__TEST_REGISTER(module##_##name##_pidfd, module, name, "pidfd",       \
                        coir__test_##module##_##name, 0)                      \
    COIR__TEST_REGISTER(module##_##name##_thread, module, name, "thread",     \
                        coir__test_##module##_##name, 1)                      \
    static void coir__body_##module##_##name(void)

/* What a shell says of itself. */
static const char *const *
shell(const char *script)
{
    static _Thread_local const char *argv[] = {"/bin/sh", "-c", NULL, NULL};
    argv[2] = script;
    return argv;
}

static coir_process *
spawn(const char *script, const coir_process_attr *attr)
{
    coir_process *p;
    CHECK_EQ(coir_process_spawn(&p, shell(script), attr), 0);
    return p;
}

/* Wait for it, and free it: its exit status. */
static int
end_of(coir_process *p)
{
    int status;
    CHECK_EQ(coir_process_wait(p, &status, 10 * S), 0);
    CHECK(WIFEXITED(status));
    coir_process_free(p);
    return WEXITSTATUS(status);
}

TEST_BOTH(process, exit_status)
{
    coir_process *p = spawn("exit 42", NULL);
    CHECK(coir_process_pid(p) > 0);
    int status = -1;
    CHECK_EQ(coir_process_wait(p, NULL, COIR_FOREVER), 0);
    CHECK_EQ(coir_process_wait(p, &status, 0), 0); /* it is known */
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    CHECK_EQ(coir_process_kill(p, SIGTERM), COIR_ERRNO(ESRCH));
    coir_process_free(p);
    coir_process_free(NULL);
    CHECK(!has_child());
}

TEST_BOTH(process, kill)
{
    coir_process *p = spawn("exec sleep 100", NULL);
    int status = 1234;
    CHECK_EQ(coir_process_wait(p, &status, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_process_wait(p, &status, MS), COIR_ETIMEDOUT);
    CHECK_EQ(status, 1234);
    CHECK_EQ(coir_process_kill(p, 0), 0);
    CHECK_EQ(coir_process_kill(p, 1000), COIR_ERRNO(EINVAL));
    CHECK_EQ(coir_process_kill(p, SIGTERM), 0);
    CHECK_EQ(coir_process_wait(p, &status, COIR_FOREVER), 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    coir_process_free(p);
}

static int
wait_for_it(void *arg)
{
    int status;
    int err = coir_process_wait(arg, &status, COIR_FOREVER);
    return err < 0 ? err : WTERMSIG(status);
}

static void *
wait_in_thread(void *arg)
{
    CHECK_EQ(wait_for_it(arg), SIGKILL);
    return NULL;
}

TEST_BOTH(process, several_wait)
{
    coir_process *p = spawn("exec sleep 100", NULL);
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_spawn(&g[i], wait_for_it, p, NULL), 0);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, wait_in_thread, p), 0);
    CHECK_EQ(coir_yield(), 0);
    coir_cancel(g[0]);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_process_kill(p, SIGKILL), 0);
    int results[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_join(g[i], &results[i]), 0);
    CHECK_EQ(results[0], COIR_ECANCELED);
    CHECK_EQ(results[1], SIGKILL);
    CHECK_EQ(results[2], SIGKILL);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    coir_process_free(p);
}

/* One that is freed while it runs does not stay a zombie. */
TEST_BOTH(process, given_up)
{
    int alive[2];
    CHECK_EQ(pipe2(alive, O_CLOEXEC), 0);
    coir_process_attr attr = {.in = {COIR_STDIO_FD, .fd = alive[0]}};
    coir_process *p = spawn("read x", &attr);
    coir_process_free(p);
    CHECK(has_child());
    (void)close(alive[1]);
    (void)close(alive[0]);
}

/* --- errors -------------------------------------------------------------- */

TEST_BOTH(process, errors_of_exec)
{
    coir_process *p = NULL;
    const char *none[] = {NULL};
    CHECK_EQ(coir_process_spawn(&p, none, NULL), COIR_EINVAL);
    const char *missing[] = {"no-such-program-is-here", NULL};
    CHECK_EQ(coir_process_spawn(&p, missing, NULL), COIR_ERRNO(ENOENT));
    missing[0] = "./no-such-program-is-here";
    CHECK_EQ(coir_process_spawn(&p, missing, NULL), COIR_ERRNO(ENOENT));
    const char *directory[] = {"/", NULL};
    CHECK_EQ(coir_process_spawn(&p, directory, NULL), COIR_ERRNO(EACCES));
    coir_process_attr attr = {.cwd = "/no/such/directory"};
    CHECK_EQ(coir_process_spawn(&p, shell("true"), &attr), COIR_ERRNO(ENOENT));
    int fd = 1000; /* not open */
    attr = (coir_process_attr){.fds = &fd, .fd_count = 1};
    CHECK_EQ(coir_process_spawn(&p, shell("true"), &attr), COIR_ERRNO(EBADF));
    attr = (coir_process_attr){.out = {COIR_STDIO_FD, .fd = 1000}};
    CHECK_EQ(coir_process_spawn(&p, shell("true"), &attr), COIR_ERRNO(EBADF));
    attr = (coir_process_attr){.flags = COIR_PROCESS_GROUP, .group = INT_MAX};
    int err = coir_process_spawn(&p, shell("true"), &attr);
    CHECK(err == COIR_ERRNO(EPERM) || err == COIR_ERRNO(ESRCH));
    coir_stdio wrong[] = {{.kind = 77},
                          {.kind = COIR_STDIO_PIPE},
                          {.kind = COIR_STDIO_FD, .fd = -1},
                          {.kind = COIR_STDIO_OUT}};
    for (int i = 0; i < 4; i++) {
        attr = (coir_process_attr){.out = wrong[i]};
        CHECK_EQ(coir_process_spawn(&p, shell("true"), &attr), COIR_EINVAL);
    }
    CHECK_NULL(p);
    CHECK(!has_child());
}

TEST_BOTH(process, without_memory)
{
    coir_socket *in, *out;
    coir_process_attr attr = {.in = {COIR_STDIO_PIPE, .pipe = &in},
                              .out = {COIR_STDIO_PIPE, .pipe = &out}};
    const char *argv[] = {"true", NULL};
    EACH_ALLOC_FAILURE(n)
    {
        coir_process *p = NULL;
        in = out = NULL;
        int err = coir_process_spawn(&p, argv, &attr);
        if (err == 0) {
            (void)coir_socket_close(in);
            (void)coir_socket_close(out);
            while ((err = coir_process_wait(p, NULL, 10 * S)) == COIR_ENOMEM)
                ;
            CHECK_EQ(err, 0);
            coir_process_free(p);
            continue;
        }
        CHECK_EQ(err, COIR_ENOMEM);
        CHECK_NULL(p);
        CHECK_NULL(in);
        CHECK_NULL(out);
    }
    coir_test_fail_none();
}

TEST(process, without_descriptors)
{
    coir_socket *in = NULL, *out = NULL;
    coir_process_attr attr = {.in = {COIR_STDIO_PIPE, .pipe = &in},
                              .out = {COIR_STDIO_PIPE, .pipe = &out},
                              .err = {.kind = COIR_STDIO_NULL}};
    struct rlimit before, none;
    CHECK(coir_hub_get() != NULL);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    int free_fd = dup(0);
    (void)close(free_fd);
    int failed = 0;
    for (int more = 0; more < 20; more++) {
        none = before;
        none.rlim_cur = (rlim_t)free_fd + (rlim_t)more;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
        coir_process *p = NULL;
        int err = coir_process_spawn(&p, shell("exit 3"), &attr);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (err < 0) {
            CHECK(err == COIR_ERRNO(EMFILE) || err == COIR_ENOMEM);
            CHECK_NULL(p);
            CHECK_NULL(in);
            failed++;
            continue;
        }
        (void)coir_socket_close(in);
        (void)coir_socket_close(out);
        CHECK_EQ(end_of(p), 3);
        break;
    }
    CHECK(failed > 0);
    finish();
}

/* --- what it has --------------------------------------------------------- */

/* All that it writes to its standard output. */
static const char *
output_of(const char *script, const coir_process_attr *attr)
{
    static char text[4000];
    coir_socket *out;
    coir_process_attr own = {0};
    if (attr != NULL)
        own = *attr;
    own.out = (coir_stdio){COIR_STDIO_PIPE, .pipe = &out};
    coir_process *p = spawn(script, &own);
    size_t len = 0;
    ssize_t n;
    while ((n = coir_read(out, text + len, sizeof text - 1 - len, 10 * S)) > 0)
        len += (size_t)n;
    CHECK_EQ(n, 0);
    text[len] = '\0';
    CHECK_EQ(coir_socket_close(out), 0);
    CHECK_EQ(end_of(p), 0);
    return text;
}

TEST(process, directory_environment_umask)
{
    const char *env[] = {"ONE=1", "TWO=2", NULL};
    coir_process_attr attr = {
        .cwd = "/", .env = env, .flags = COIR_PROCESS_UMASK, .umask = 0123};
    CHECK_STR(output_of("pwd; echo $ONE$TWO; umask", &attr), "/\n12\n0123\n");
    CHECK_EQ(setenv("THREE", "3", 1), 0);
    CHECK_STR(output_of("echo $THREE", NULL), "3\n");
    finish();
}

TEST(process, search)
{
    char dir[] = "/tmp/coir.XXXXXX", file[100];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(file, sizeof file, "%s/coir-test-program", dir);
    int fd = open(file, O_CREAT | O_WRONLY, 0644);
    CHECK(fd >= 0);
    CHECK(write(fd, "#!/bin/sh\nexit 17\n", 18) == 18);
    (void)close(fd);
    char path[200];
    snprintf(path, sizeof path, "PATH=/none:%s:/bin", dir);
    const char *env[] = {path, NULL}, *argv[] = {"coir-test-program", NULL};
    coir_process_attr attr = {.env = env};
    coir_process *p;
    CHECK_EQ(coir_process_spawn(&p, argv, &attr), COIR_ERRNO(EACCES));
    CHECK_EQ(chmod(file, 0755), 0);
    CHECK_EQ(coir_process_spawn(&p, argv, &attr), 0);
    CHECK_EQ(end_of(p), 17);
    /* An empty entry is the directory it is in. */
    env[0] = "PATH=/none:";
    attr.cwd = dir;
    CHECK_EQ(coir_process_spawn(&p, argv, &attr), 0);
    CHECK_EQ(end_of(p), 17);
    const char *no_path[] = {NULL};
    const char *sh[] = {"sh", "-c", "exit 5", NULL};
    attr.env = no_path;
    CHECK_EQ(coir_process_spawn(&p, sh, &attr), 0);
    CHECK_EQ(end_of(p), 5);
    CHECK_EQ(unlink(file), 0);
    CHECK_EQ(rmdir(dir), 0);
    finish();
}

TEST(process, group_and_session)
{
    coir_process_attr attr = {.flags = COIR_PROCESS_GROUP};
    coir_process *p = spawn("sleep 100 & wait", &attr);
    int pid = coir_process_pid(p);
    CHECK_EQ(getpgid(pid), pid);
    CHECK(getsid(pid) != pid);
    CHECK_EQ(kill(-pid, SIGKILL), 0); /* the whole group */
    CHECK_EQ(coir_process_wait(p, NULL, 10 * S), 0);
    coir_process_free(p);
    attr.flags = COIR_PROCESS_SESSION;
    p = spawn("exec sleep 100", &attr);
    pid = coir_process_pid(p);
    CHECK_EQ(getsid(pid), pid);
    coir_process *q;
    attr =
        (coir_process_attr){.flags = COIR_PROCESS_GROUP, .group = getpgrp()};
    CHECK_EQ(coir_process_spawn(&q, shell("true"), &attr), 0);
    CHECK_EQ(end_of(q), 0);
    CHECK_EQ(coir_process_kill(p, SIGKILL), 0);
    CHECK_EQ(coir_process_wait(p, NULL, 10 * S), 0);
    coir_process_free(p);
    finish();
}

static void
ignore_it(int signum)
{
    (void)signum;
}

/* As the kernel shows the masks of a process. */
#define MASKS "sed -n '/^Sig[BIC]/p' /proc/self/status"

/* What an emulator was started with and keeps to itself; else nothing. */
static uint64_t
ignored_by_emulator(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    CHECK(f != NULL);
    char line[300];
    uintmax_t ignored = 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "SigIgn: %jx", &ignored) == 1)
            break;
    CHECK_EQ(fclose(f), 0);
    CHECK(ignored == 0 || getenv("QEMU_LD_PREFIX") != NULL);
    return ignored;
}

static const char *
masks(uint64_t blocked, uint64_t ignored)
{
    static char text[100];
    snprintf(text, sizeof text,
             "SigBlk:\t%016jx\nSigIgn:\t%016jx\nSigCgt:\t%016jx\n",
             (uintmax_t)blocked, (uintmax_t)ignored, (uintmax_t)0);
    return text;
}

TEST(process, signals_are_reset)
{
    struct sigaction action = {.sa_handler = ignore_it};
    /* Whoever started this may have some ignored; libc refuses two of them. */
    static const uint64_t by_default[4];
    for (int i = 1; i < NSIG; i++)
        (void)syscall(SYS_rt_sigaction, i, by_default, NULL, 8);
    uint64_t kept = ignored_by_emulator();
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    sigset_t set, now;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGHUP);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    CHECK_STR(output_of("exec " MASKS, NULL), masks(0, kept));
    coir_process_attr attr = {.flags = COIR_PROCESS_KEEP_SIGNALS};
    CHECK_STR(output_of("exec " MASKS, &attr), masks(1, kept | 0x1800));
    /* Nothing of this process has changed. */
    CHECK_EQ(sigaction(SIGUSR1, NULL, &action), 0);
    CHECK(action.sa_handler == ignore_it);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
    CHECK(sigismember(&now, SIGHUP) == 1);
    CHECK(sigismember(&now, SIGTERM) == 0);
    finish();
}

/* ls has the directory open, too. */
#define DESCRIPTORS "exec ls /proc/self/fd"

TEST(process, descriptors)
{
    int keep = open("/dev/null", O_RDWR | O_CLOEXEC);
    int open_one = open("/dev/null", O_RDWR); /* not close-on-exec */
    CHECK(fcntl(keep, F_DUPFD_CLOEXEC, 50) == 50);
    CHECK(fcntl(open_one, F_DUPFD, 60) == 60);
    CHECK_STR(output_of(DESCRIPTORS, NULL), "0\n1\n2\n3\n");
    int fds[] = {50};
    coir_process_attr attr = {.fds = fds, .fd_count = 1};
    CHECK_STR(output_of(DESCRIPTORS, &attr), "0\n1\n2\n3\n50\n");
    attr.flags = COIR_PROCESS_KEEP_FDS;
    const char *text = output_of(DESCRIPTORS, &attr);
    CHECK(strstr(text, "\n50\n") != NULL);
    CHECK(strstr(text, "\n60\n") != NULL);
    (void)close(keep);
    (void)close(open_one);
    (void)close(50);
    (void)close(60);
    finish();
}

/* The standard descriptors of the caller may be closed, or in the way. */
static void
exchange_and_run(int in, int out, int err, const char *text)
{
    int file = memfd_create("coir", MFD_CLOEXEC);
    int other = memfd_create("coir", MFD_CLOEXEC);
    CHECK(file > 2 && other > 2);
    int saved[3];
    for (int i = 0; i < 3; i++)
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
    CHECK(dup2(file, 1) == 1);
    CHECK(dup2(other, 2) == 2);
    if (in < 0)
        (void)close(0);
    coir_process_attr attr = {.in = {.kind = COIR_STDIO_NULL},
                              .out = {COIR_STDIO_FD, .fd = out},
                              .err = {COIR_STDIO_FD, .fd = err}};
    coir_process *p;
    int failed =
        coir_process_spawn(&p, shell("echo out; echo err >&2"), &attr);
    for (int i = 0; i < 3; i++) {
        CHECK(dup2(saved[i], i) == i);
        (void)close(saved[i]);
    }
    CHECK_EQ(failed, 0);
    CHECK_EQ(end_of(p), 0);
    char got[100] = "";
    CHECK(pread(file, got, 50, 0) >= 0);
    size_t len = strlen(got);
    got[len++] = '|';
    CHECK(pread(other, got + len, 40, 0) >= 0);
    CHECK_STR(got, text);
    (void)close(file);
    (void)close(other);
}

TEST(process, standard_descriptors_change_places)
{
    exchange_and_run(0, 1, 2, "out\n|err\n");
    exchange_and_run(0, 2, 1, "err\n|out\n");
    exchange_and_run(0, 2, 2, "|out\nerr\n");
    exchange_and_run(-1, 2, 1, "err\n|out\n");
    finish();
}

TEST(process, error_goes_where_output_goes)
{
    coir_process_attr attr = {.err = {.kind = COIR_STDIO_OUT}};
    CHECK_STR(output_of("echo a; echo b >&2; echo c", &attr), "a\nb\nc\n");
    attr.in = (coir_stdio){.kind = COIR_STDIO_NULL};
    CHECK_STR(output_of("cat", &attr), "");
    finish();
}

/* --- many, and in threads ------------------------------------------------ */

static int
run_one(void *arg)
{
    char script[50];
    int n = (int)(intptr_t)arg;
    snprintf(script, sizeof script, "exit %d", n);
    CHECK_EQ(end_of(spawn(script, NULL)), n);
    return 0;
}

static void *
run_ten(void *arg)
{
    coir_green *g[10];
    for (int i = 0; i < 10; i++)
        CHECK_EQ(coir_spawn(&g[i], run_one, (void *)(intptr_t)i, NULL), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(coir_join(g[i], NULL), 0);
    return arg;
}

TEST_BOTH(process, many_in_several_threads)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run_ten, NULL), 0);
    (void)run_ten(NULL);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* --- others who wait for children ---------------------------------------- */

TEST_BOTH(process, default_loop_reaps)
{
    coir_loop *loop = coir_loop_default(0);
    CHECK(loop != NULL);
    coir_process *p = spawn("exit 9", NULL);
    while (has_child())
        (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(end_of(p), 9);
    coir_loop_free(loop);
}

TEST_BOTH(process, somebody_else_reaps)
{
    coir_process *p = spawn("exit 9", NULL);
    CHECK_EQ(waitpid(coir_process_pid(p), NULL, 0), coir_process_pid(p));
    int status = 1234;
    CHECK_EQ(coir_process_wait(p, &status, COIR_FOREVER), COIR_ERRNO(ECHILD));
    CHECK_EQ(status, 1234);
    CHECK_EQ(coir_process_kill(p, SIGKILL), COIR_ERRNO(ESRCH));
    coir_process_free(p);
}

TEST_BOTH(process, is_not_the_childs)
{
    if (COIR_TEST_TSAN)
        SKIP("TSan does not follow a process with threads into its children");
    coir_process *p = spawn("exec sleep 100", NULL);
    int pid = fork();
    if (pid == 0) {
        CHECK_EQ(coir_process_wait(p, NULL, COIR_FOREVER), COIR_ERRNO(ECHILD));
        CHECK_EQ(coir_process_kill(p, SIGKILL), COIR_ERRNO(ESRCH));
        CHECK_EQ(end_of(spawn("exit 3", NULL)), 3);
        coir_process_free(p);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(coir_process_kill(p, SIGKILL), 0);
    CHECK_EQ(coir_process_wait(p, NULL, COIR_FOREVER), 0);
    coir_process_free(p);
}

/* --- run ----------------------------------------------------------------- */

TEST_BOTH(process, run)
{
    size_t size = 1 << 20; /* more than any pipe holds */
    char *text = malloc(size);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + i % 26);
    coir_process_io io = {.input = text, .input_len = size};
    CHECK_EQ(
        coir_process_run(&io, shell("tee /dev/stderr; exit 3"), NULL, 20 * S),
        0);
    CHECK_EQ(WEXITSTATUS(io.status), 3);
    CHECK_EQ(io.out_len, size);
    CHECK_EQ(io.err_len, size);
    CHECK_EQ(memcmp(io.out, text, size), 0);
    CHECK_EQ(memcmp(io.err, text, size), 0);
    CHECK_EQ(io.out[size], 0);
    coir_free(io.out);
    coir_free(io.err);
    free(text);
}

TEST_BOTH(process, run_what_does_not_read)
{
    size_t size = 1 << 20;
    char *text = calloc(1, size);
    coir_process_io io = {.input = text, .input_len = size};
    coir_process_attr attr = {.err = {.kind = COIR_STDIO_OUT}};
    CHECK_EQ(coir_process_run(&io, shell("echo x >&2"), &attr, 20 * S), 0);
    CHECK_STR(io.out, "x\n");
    CHECK_NULL(io.err);
    coir_free(io.out);
    free(text);
}

TEST_BOTH(process, run_with_limits)
{
    coir_process_io io = {.limit = 100000};
    CHECK_EQ(coir_process_run(&io, shell("exec yes"), NULL, COIR_FOREVER),
             COIR_ERRNO(EMSGSIZE));
    CHECK_EQ(coir_process_run(&io, shell("exec sleep 100"), NULL, 20 * MS),
             COIR_ETIMEDOUT);
    coir_deadline deadline;
    coir_deadline_begin(&deadline, 20 * MS);
    CHECK_EQ(coir_process_run(&io, shell("exec sleep 100"), NULL, 20 * S),
             COIR_ETIMEDOUT);
    CHECK(coir_deadline_end(&deadline));
    const char *missing[] = {"/none", NULL};
    CHECK_EQ(coir_process_run(&io, missing, NULL, COIR_FOREVER),
             COIR_ERRNO(ENOENT));
    CHECK_NULL(io.out);
    CHECK_EQ(io.status, 0);
}

TEST_BOTH(process, run_without_memory)
{
    EACH_ALLOC_FAILURE(n)
    {
        coir_process_io io = {.input = "x", .input_len = 1};
        int err = coir_process_run(&io, shell("exec cat"), NULL, 20 * S);
        if (err == 0) {
            CHECK_STR(io.out, "x");
            coir_free(io.out);
            coir_free(io.err);
            continue;
        }
        CHECK_EQ(err, COIR_ENOMEM);
        CHECK_NULL(io.out);
    }
    coir_test_fail_none();
}

/* --- signals ------------------------------------------------------------- */

static sigset_t
set_of(int a, int b)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, a);
    (void)sigaddset(&set, b);
    return set;
}

static int
send_it(void *arg)
{
    return kill(getpid(), (int)(intptr_t)arg);
}

static int
wait_signal(void *arg)
{
    return coir_signals_wait(arg, 10 * S);
}

TEST(process, signals)
{
    coir_signals *s;
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    CHECK_EQ(coir_signals_open(&s, &set), 0);
    CHECK_EQ(coir_signals_wait(s, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_signals_wait(s, MS), COIR_ETIMEDOUT);
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    int a = coir_signals_wait(s, 10 * S), b = coir_signals_wait(s, 10 * S);
    CHECK(a + b == SIGUSR1 + SIGUSR2 && a != b);
    CHECK_EQ(coir_signals_wait(s, MS), COIR_ETIMEDOUT);
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_spawn(&g[i], i == 2 ? send_it : wait_signal,
                            i == 2 ? (void *)(intptr_t)SIGUSR1 : s, NULL),
                 0);
    CHECK_EQ(coir_sleep(20 * MS), 0);
    CHECK_EQ(coir_green_state(g[0]), COIR_GREEN_ENDED); /* one of the two */
    CHECK_EQ(coir_green_state(g[1]), COIR_GREEN_WAITING);
    coir_cancel(g[1]);
    int results[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_join(g[i], &results[i]), 0);
    CHECK_EQ(results[0], SIGUSR1);
    CHECK_EQ(results[1], COIR_ECANCELED);
    coir_signals_close(s);
    coir_signals_close(NULL);
    finish();
}

/* Each collection gets it, and what is closed does not count. */
TEST(process, signals_for_all_who_collect)
{
    coir_signals *s[2];
    sigset_t set = set_of(SIGUSR1, SIGRTMIN);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coir_signals_open(&s[i], &set), 0);
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, send_it, (void *)(intptr_t)SIGRTMIN, NULL), 0);
    CHECK_EQ(coir_signal_wait(&set, 10 * S), SIGRTMIN);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coir_signals_wait(s[i], 10 * S), SIGRTMIN);
    coir_signals_close(s[0]);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(coir_signals_wait(s[1], 10 * S), SIGUSR1);
    coir_signals_close(s[1]);
    CHECK_EQ(coir_join(g, NULL), 0);
    struct sigaction action;
    CHECK_EQ(sigaction(SIGUSR1, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
    finish();
}

static void *
signals_in_thread(void *arg)
{
    coir_signals *s = arg, *own;
    sigset_t set = set_of(SIGUSR2, SIGUSR1);
    CHECK_EQ(coir_signals_open(&own, &set), COIR_EBUSY);
    CHECK_EQ(coir_signals_wait(s, 10 * S), SIGUSR1);
    set = set_of(SIGUSR2, SIGUSR2);
    CHECK_EQ(coir_signals_open(&own, &set), 0); /* nothing stays watched */
    coir_signals_close(own);
    return NULL;
}

TEST(process, signals_and_threads)
{
    coir_signals *s;
    sigset_t set = set_of(SIGUSR1, SIGUSR1);
    CHECK_EQ(coir_signals_open(&s, &set), 0);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, signals_in_thread, s), 0);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(coir_sleep(MS), 0); /* the loop that watches has to run */
    CHECK_EQ(pthread_join(thread, NULL), 0);
    coir_signals_close(s);
    finish();
}

TEST(process, signals_that_cannot_be)
{
    coir_signals *s = NULL;
    sigset_t set;
    (void)sigemptyset(&set);
    CHECK_EQ(coir_signals_open(&s, &set), COIR_EINVAL);
    set = set_of(SIGUSR1, SIGKILL);
    CHECK_EQ(coir_signals_open(&s, &set), COIR_EINVAL);
    CHECK_EQ(coir_signal_wait(&set, 0), COIR_EINVAL);
    CHECK_NULL(s);
    CHECK_EQ(coir_hub_fini(), 0);
    set = set_of(SIGUSR1, SIGUSR2);
    EACH_ALLOC_FAILURE(n)
    {
        if (coir_signals_open(&s, &set) == 0) {
            coir_signals_close(s);
            s = NULL;
        }
        CHECK_NULL(s);
        CHECK_EQ(coir_hub_fini(), 0);
        CHECK_EQ(coir_thread_fini(), 0);
    }
}
