/* harness.c - runner, checks and injected failures, see harness.h.
 *
 * Every test is a fork of the runner, which never makes a thread or calls the
 * library, so that a fork is safe anywhere (sanitizers included). Parent and
 * child share one page: what the child says besides its exit status (time
 * limit, reason for skipping, where its files are). The child's output comes
 * through a pipe and goes out as TAP comments.
 *
 *     exit 0    passed           77   skipped
 *     exit 1    a check failed   else died
 *
 * The library's memory is counted by an allocator of our own, its mappings by
 * wrapped system calls; both can be told to fail. The allocator moves at each
 * realloc and fills fresh and freed memory, so that stale pointers and
 * uninitialised members show. All counters are atomic: tests have threads. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <coir/base.h>
#include <coir/coro.h>

enum { EXIT_SKIPPED = 77, DEFAULT_TIMEOUT = 20, MAX_DESCRIPTORS = 1024 };

static coir_test *first_test;
static coir_test **last_test = &first_test;

struct shared {
    atomic_uint timeout;
    char skip_reason[200];
    char dir[200]; /* "": none was asked for */
};

static struct shared *shared;

static struct {
    atomic_long calls;
    atomic_long failures;
    atomic_long skip;  /* calls that still pass */
    atomic_long times; /* calls that fail after those */
    atomic_int error;
} calls[COIR_TEST_CALLS];

static atomic_int failing_advice = -1;
static atomic_int failing_advice_error;
static atomic_size_t live_blocks;
static atomic_size_t live_bytes;
static atomic_size_t mapped_bytes;
static int on_valgrind;

/* -- checks --------------------------------------------------------------- */

void
coir_test_register(coir_test *test)
{
    *last_test = test;
    last_test = &test->next;
}

void
coir_test_fail(const char *file, int line, const char *format, ...)
{
    char text[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    fflush(NULL);
    _exit(EXIT_FAILURE);
}

void
coir_test_skip(const char *reason)
{
    fflush(NULL);
    snprintf(shared->skip_reason, sizeof shared->skip_reason, "%s", reason);
    _exit(EXIT_SKIPPED);
}

void
coir_test_check_eq(const char *file, int line, const char *a_text,
                   const char *b_text, intmax_t a, intmax_t b)
{
    if (a != b)
        coir_test_fail(file, line, "CHECK_EQ(%s, %s): %jd != %jd", a_text,
                       b_text, a, b);
}

void
coir_test_check_ne(const char *file, int line, const char *a_text,
                   const char *b_text, intmax_t a, intmax_t b)
{
    if (a == b)
        coir_test_fail(file, line, "CHECK_NE(%s, %s): both are %jd", a_text,
                       b_text, a);
}

void
coir_test_check_str(const char *file, int line, const char *a_text,
                    const char *a, const char *b)
{
    if (a == NULL || b == NULL || strcmp(a, b) != 0)
        coir_test_fail(file, line, "CHECK_STR(%s): \"%s\" != \"%s\"", a_text,
                       a != NULL ? a : "NULL", b != NULL ? b : "NULL");
}

void
coir_test_timeout(unsigned seconds)
{
    atomic_store(&shared->timeout, seconds);
}

int
coir_test_on_valgrind(void)
{
    return on_valgrind;
}

static double
timeout_scale(void)
{
    const char *text = getenv("COIR_TEST_TIMEOUT_SCALE");
    if (text != NULL && atof(text) > 0)
        return atof(text);
    return on_valgrind ? 30 : COIR_TEST_ASAN || COIR_TEST_TSAN ? 10 : 1;
}

int
coir_test_is_slow(void)
{
    return timeout_scale() > 1;
}

/* -- files ---------------------------------------------------------------- */

const char *
coir_test_dir(void)
{
    if (shared->dir[0] != '\0')
        return shared->dir;
    const char *tmp = getenv("TMPDIR");
    if (tmp == NULL || *tmp == '\0')
        tmp = "/tmp";
    int len =
        snprintf(shared->dir, sizeof shared->dir, "%s/coir-test-XXXXXX", tmp);
    CHECK(len > 0 && (size_t)len < sizeof shared->dir);
    CHECK(mkdtemp(shared->dir) != NULL);
    return shared->dir;
}

static int
remove_entry(const char *path, const struct stat *st, int type,
             struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

/* By the process that outlives the test, when nothing writes there now. */
static void
remove_dir(void)
{
    if (shared->dir[0] != '\0')
        (void)nftw(shared->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    shared->dir[0] = '\0';
}

/* -- processes ------------------------------------------------------------ */

static int64_t
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

typedef struct text {
    char *data; /* ends with a zero byte; NULL while empty */
    size_t len;
} text;

static void
text_append(text *out, const char *data, size_t len)
{
    char *grown = realloc(out->data, out->len + len + 1);
    if (grown == NULL)
        return;
    memcpy(grown + out->len, data, len);
    out->data = grown;
    out->len += len;
    grown[out->len] = '\0';
}

/* Read until the other side closes. Returns 0 if the time ran out first; the
 * limit is looked up anew each second, as the child may change it. */
static int
read_output(int fd, text *out)
{
    int64_t start = now_ms();
    char buf[4096];
    for (;;) {
        double limit_s = atomic_load(&shared->timeout) * timeout_scale();
        int64_t left = start + (int64_t)(limit_s * 1000) - now_ms();
        if (left <= 0)
            return 0;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, left < 1000 ? (int)left : 1000) <= 0)
            continue;
        ssize_t n = read(fd, buf, sizeof buf);
        if (n == 0)
            return 1;
        if (n > 0)
            text_append(out, buf, (size_t)n);
    }
}

/* Fork with stdout and stderr of the child in a pipe. Returns the pid, 0 in
 * the child. */
static pid_t
fork_with_pipe(int *out)
{
    int fds[2];
    fflush(NULL);
    if (pipe(fds) != 0) {
        perror("pipe");
        _exit(2);
    }
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        _exit(2);
    }
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        return 0;
    }
    close(fds[1]);
    *out = fds[0];
    return pid;
}

int
coir_test_death_step(coir_test_death *death)
{
    if (death->in_child) {
        fprintf(stderr, "%s:%d: it survived\n", death->file, death->line);
        fflush(NULL);
        _exit(0);
    }
    int fd;
    pid_t pid = fork_with_pipe(&fd);
    if (pid == 0) {
        death->in_child = 1;
        return 1;
    }
    text out = {0};
    char buf[4096];
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            text_append(&out, buf, (size_t)n);
    }
    close(fd);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    int died = WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
    /* Sanitizers turn a fatal signal into a report and an exit status. */
    int as_asked = death->signal == 0 || COIR_TEST_ASAN || COIR_TEST_TSAN ||
                   (WIFSIGNALED(status) && WTERMSIG(status) == death->signal);
    if (!died || !as_asked)
        coir_test_fail(death->file, death->line,
                       "CHECK_DIES: wait status %#x, signal %d expected; "
                       "output:\n%s",
                       (unsigned)status, death->signal,
                       out.data != NULL ? out.data : "");
    if (death->text != NULL && *death->text != '\0' &&
        (out.data == NULL || strstr(out.data, death->text) == NULL))
        coir_test_fail(death->file, death->line,
                       "CHECK_DIES: \"%s\" is not in its output:\n%s",
                       death->text, out.data != NULL ? out.data : "");
    free(out.data);
    return 0;
}

/* -- injected failures ---------------------------------------------------- */

void
coir_test_fail_call(int call, long skip, long times, int error)
{
    atomic_store(&calls[call].times, 0);
    atomic_store(&calls[call].error, error);
    atomic_store(&calls[call].skip, skip);
    atomic_store(&calls[call].times, times);
}

void
coir_test_fail_alloc(long n)
{
    coir_test_fail_call(COIR_TEST_ALLOC, n, 1, ENOMEM);
}

void
coir_test_fail_map(long n)
{
    coir_test_fail_call(COIR_TEST_MMAP, n, 1, ENOMEM);
}

void
coir_test_fail_mprotect(long n)
{
    coir_test_fail_call(COIR_TEST_MPROTECT, n, 1, ENOMEM);
}

void
coir_test_fail_madvise(long n)
{
    coir_test_fail_call(COIR_TEST_MADVISE, n, 1, ENOMEM);
}

void
coir_test_fail_munmap(long n)
{
    coir_test_fail_call(COIR_TEST_MUNMAP, n, 1, ENOMEM);
}

void
coir_test_fail_advice(int advice, int error)
{
    atomic_store(&failing_advice_error, error);
    atomic_store(&failing_advice, advice);
}

void
coir_test_fail_none(void)
{
    for (int call = 0; call < COIR_TEST_CALLS; call++)
        atomic_store(&calls[call].times, 0);
    atomic_store(&failing_advice, -1);
}

long
coir_test_calls(int call)
{
    return atomic_load(&calls[call].calls);
}

long
coir_test_failures(int call)
{
    return atomic_load(&calls[call].failures);
}

int
coir_test_next_failure(int call, long n)
{
    static long failures_before;
    if (n > 0 && coir_test_failures(call) == failures_before) {
        coir_test_fail_none();
        return 0;
    }
    failures_before = coir_test_failures(call);
    coir_test_fail_call(call, n, 1, ENOMEM);
    return 1;
}

/* Count a call; true, with errno set, if it is to fail. */
static int
is_to_fail(int call)
{
    atomic_fetch_add(&calls[call].calls, 1);
    if (atomic_load(&calls[call].times) <= 0)
        return 0;
    if (atomic_fetch_sub(&calls[call].skip, 1) > 0)
        return 0;
    if (atomic_fetch_sub(&calls[call].times, 1) <= 0)
        return 0;
    atomic_fetch_add(&calls[call].failures, 1);
    errno = atomic_load(&calls[call].error);
    return 1;
}

/* In front of each block, of the size that keeps malloc's alignment. */
typedef union header {
    size_t size;
    max_align_t align;
} header;

static void *
test_allocate(void *ptr, size_t size)
{
    header *old = ptr != NULL ? (header *)ptr - 1 : NULL;
    header *fresh = NULL;
    if (size > 0) {
        if (is_to_fail(COIR_TEST_ALLOC) || size > SIZE_MAX - sizeof *fresh)
            return NULL;
        fresh = malloc(sizeof *fresh + size);
        if (fresh == NULL)
            return NULL;
        fresh->size = size;
        /* valgrind sees uninitialised memory better than a pattern does. */
        if (!on_valgrind)
            memset(fresh + 1, 0xa5, size);
        atomic_fetch_add(&live_blocks, 1);
        atomic_fetch_add(&live_bytes, size);
    }
    if (old != NULL) {
        if (fresh != NULL)
            memcpy(fresh + 1, old + 1, old->size < size ? old->size : size);
        atomic_fetch_sub(&live_blocks, 1);
        atomic_fetch_sub(&live_bytes, old->size);
        memset(old + 1, 0x5a, old->size);
        free(old);
    }
    return fresh != NULL ? fresh + 1 : NULL;
}

/* With 64-bit offsets asked for, the C library's mmap is called mmap64. */
#define WRAPPED_MMAP(name)                                                    \
    void *__real_##name(void *addr, size_t len, int prot, int flags, int fd,  \
                        long offset);                                         \
    void *__wrap_##name(void *addr, size_t len, int prot, int flags, int fd,  \
                        long offset);                                         \
    void *__wrap_##name(void *addr, size_t len, int prot, int flags, int fd,  \
                        long offset)                                          \
    {                                                                         \
        if (is_to_fail(COIR_TEST_MMAP))                                       \
            return MAP_FAILED;                                                \
        void *map = __real_##name(addr, len, prot, flags, fd, offset);        \
        if (map != MAP_FAILED && !(flags & MAP_FIXED))                        \
            atomic_fetch_add(&mapped_bytes, len);                             \
        return map;                                                           \
    }

WRAPPED_MMAP(mmap)
WRAPPED_MMAP(mmap64)

int __real_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len);
int __real_mprotect(void *addr, size_t len, int prot);
int __wrap_mprotect(void *addr, size_t len, int prot);
int __real_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice);

int
__wrap_munmap(void *addr, size_t len)
{
    if (is_to_fail(COIR_TEST_MUNMAP))
        return -1;
    int result = __real_munmap(addr, len);
    if (result == 0)
        atomic_fetch_sub(&mapped_bytes, len);
    return result;
}

int
__wrap_mprotect(void *addr, size_t len, int prot)
{
    if (is_to_fail(COIR_TEST_MPROTECT))
        return -1;
    return __real_mprotect(addr, len, prot);
}

int
__wrap_madvise(void *addr, size_t len, int advice)
{
    if (is_to_fail(COIR_TEST_MADVISE))
        return -1;
    if (advice == atomic_load(&failing_advice)) {
        errno = atomic_load(&failing_advice_error);
        return -1;
    }
    return __real_madvise(addr, len, advice);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*body)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*body)(void *), void *arg);

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                      void *(*body)(void *), void *arg)
{
    if (is_to_fail(COIR_TEST_THREAD))
        return errno;
    return __real_pthread_create(thread, attr, body, arg);
}

size_t
coir_test_live_blocks(void)
{
    return atomic_load(&live_blocks);
}

size_t
coir_test_live_bytes(void)
{
    return atomic_load(&live_bytes);
}

size_t
coir_test_mapped_bytes(void)
{
    return atomic_load(&mapped_bytes);
}

size_t
coir_test_rss(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%*s %zu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* -- random numbers ------------------------------------------------------- */

void
coir_test_random_seed(coir_test_random *random, uint64_t seed)
{
    random->state = seed * 2 + 1; /* never 0, which is a fixed point */
}

void
coir_test_random_init(coir_test_random *random)
{
    const char *given = getenv("COIR_TEST_SEED");
    uint64_t seed;
    if (given != NULL) {
        seed = strtoull(given, NULL, 0);
    }
    else {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        seed = ((uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec) >> 10;
    }
    printf("COIR_TEST_SEED=%ju\n", (uintmax_t)seed);
    fflush(stdout);
    coir_test_random_seed(random, seed);
}

uint64_t
coir_test_random_next(coir_test_random *random)
{
    uint64_t x = random->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return x * 0x2545f4914f6cdd1dull;
}

size_t
coir_test_random_below(coir_test_random *random, size_t limit)
{
    return (size_t)((coir_test_random_next(random) >> 11) % limit);
}

/* -- runner --------------------------------------------------------------- */

static void
list_descriptors(char *open)
{
    for (int fd = 0; fd < MAX_DESCRIPTORS; fd++)
        open[fd] = fcntl(fd, F_GETFD) >= 0;
}

/* Run the body and look for what it left. */
static void
run_body(const coir_test *test)
{
    char before[MAX_DESCRIPTORS];
    char after[MAX_DESCRIPTORS];
    list_descriptors(before);
    atomic_store(&mapped_bytes, 0); /* the runner's own */
    coir_set_allocator(test_allocate);
    test->run(test->param);
    coir_test_fail_none();

    int err = coir_thread_fini();
    if (err < 0)
        coir_test_fail(test->module, 0, "left behind: coir_thread_fini(): %s",
                       coir_strerror(err));
    if (live_blocks > 0)
        coir_test_fail(test->module, 0, "left behind: %zu blocks, %zu bytes",
                       coir_test_live_blocks(), coir_test_live_bytes());
    if (mapped_bytes > 0)
        coir_test_fail(test->module, 0, "left behind: %zu bytes of mappings",
                       coir_test_mapped_bytes());
    list_descriptors(after);
    for (int fd = 0; fd < MAX_DESCRIPTORS; fd++) {
        if (before[fd] != after[fd])
            coir_test_fail(test->module, 0, "left behind: descriptor %d", fd);
    }
    fflush(NULL);
}

static void
test_name(const coir_test *test, char *out, size_t size)
{
    snprintf(out, size, "%s.%s%s%s", test->module, test->name,
             test->variant != NULL ? "." : "",
             test->variant != NULL ? test->variant : "");
}

static void
print_as_comment(const text *out)
{
    const char *line = out->data;
    while (line != NULL && *line != '\0') {
        int len = (int)strcspn(line, "\n");
        printf("# %.*s\n", len, line);
        line += len + (line[len] == '\n');
    }
}

/* Run one test in a child and print its line. Returns its exit status, or
 * another one than 0, 1 and 77 if it died. */
static int
run_test(const coir_test *test, int number)
{
    char name[200];
    test_name(test, name, sizeof name);
    memset(shared, 0, sizeof *shared);
    shared->timeout = DEFAULT_TIMEOUT;

    int64_t start = now_ms();
    int fd;
    pid_t pid = fork_with_pipe(&fd);
    if (pid == 0) {
#ifdef __linux__
        prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
        setpgid(0, 0);
        run_body(test);
        exit(EXIT_SUCCESS); /* not _exit: leak checkers report at exit */
    }
    text out = {0};
    int in_time = read_output(fd, &out);
    close(fd);
    if (!in_time) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    remove_dir();
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
    printf("%s %d - %s", code == 0 || code == EXIT_SKIPPED ? "ok" : "not ok",
           number, name);
    if (code == EXIT_SKIPPED)
        printf(" # SKIP %s", shared->skip_reason);
    printf("\n");
    print_as_comment(&out);
    if (!in_time)
        printf("# timed out after %.1f s\n",
               (double)(now_ms() - start) / 1000);
    else if (WIFSIGNALED(status))
        printf("# died of signal %d (%s)\n", WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    else if (code != 0 && code != EXIT_SKIPPED)
        printf("# exit status %d\n", code);
    fflush(stdout);
    free(out.data);
    return code;
}

static int
is_selected(const coir_test *test, char **patterns, int count)
{
    char name[200];
    test_name(test, name, sizeof name);
    for (int i = 0; i < count; i++) {
        if (fnmatch(patterns[i], name, 0) == 0)
            return 1;
    }
    return count == 0;
}

static int
run_selected(char **patterns, int count)
{
    int total = 0;
    int failed = 0;
    int skipped = 0;
    for (coir_test *t = first_test; t != NULL; t = t->next)
        total += is_selected(t, patterns, count);
    printf("TAP version 13\n1..%d\n", total);
    if (total == 0) {
        fprintf(stderr, "no test matches\n");
        return 2;
    }
    int number = 0;
    for (coir_test *t = first_test; t != NULL; t = t->next) {
        if (!is_selected(t, patterns, count))
            continue;
        int code = run_test(t, ++number);
        failed += code != 0 && code != EXIT_SKIPPED;
        skipped += code == EXIT_SKIPPED;
    }
    printf("# %d passed, %d failed, %d skipped\n", total - failed - skipped,
           failed, skipped);
    if (failed > 0)
        return 1;
    /* A TAP reader takes any status but 0 for an error, so skipping shows in
     * the status only where tests were asked for by name. */
    return count > 0 && skipped == total ? EXIT_SKIPPED : 0;
}

int
main(int argc, char **argv)
{
    const char *preload = getenv("LD_PRELOAD");
    on_valgrind = preload != NULL && strstr(preload, "vgpreload") != NULL;

    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (coir_test *t = first_test; t != NULL; t = t->next) {
            char name[200];
            test_name(t, name, sizeof name);
            puts(name);
        }
        return 0;
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    if (argc > 1 && strcmp(argv[1], "--no-fork") == 0) {
        for (coir_test *t = first_test; t != NULL; t = t->next) {
            if (!is_selected(t, argv + 2, argc - 2))
                continue;
            run_body(t);
            remove_dir();
        }
        return 0;
    }
    if (argc > 1 && argv[1][0] == '-') {
        fprintf(stderr, "usage: %s [--list | [--no-fork] [pattern ...]]\n",
                argv[0]);
        return 2;
    }
    return run_selected(argv + 1, argc - 1);
}
