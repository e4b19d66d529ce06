/* load.c - the client of the echo rows: many connections, a message on its
 * way on each.
 *
 *     load --port P [--connections N] [--size B] [--seconds S] [...]
 *
 * Each connection sends a message, waits until it has come back as it was,
 * and sends the next one. Threads, each pinned to a CPU of its own if --cpus
 * says so, share the connections; a thread has an epoll set and does nothing
 * but this. Not written on Coir: a client must not flatter its server.
 *
 * Phases, which the main thread announces and the threads look at between two
 * events:
 *
 *     CONNECT   at most BATCH connections of a thread are under way at once
 *     RUN       once all are there: messages go to and fro, to warm up
 *     MEASURE   the same, and they are counted and timed
 *     STOP
 *
 * With --messages there is no clock: each connection sends so many and rests.
 *
 * Of the server, known by --pid, the CPU time of the whole process, the
 * kernel's part included, and the resident memory are read from outside, so
 * that it needs to know nothing of this. The last line printed is JSON. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define THREADS_MAX 16
#define TIMEOUT_MS 30000 /* without any event while some are expected */
#define TRACEPOINT "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id"

enum phase { CONNECT, RUN, MEASURE, STOP };

struct options {
    const char *host;
    unsigned port;
    unsigned connections;
    unsigned size;
    unsigned messages; /* of each connection; 0: as many as there is time */
    double seconds;
    double warmup;
    unsigned threads;
    unsigned addresses; /* from so many local addresses */
    int cpus[THREADS_MAX];
    int cpu_count;
    pid_t pid; /* of the server; 0: not known */
    int count_calls;
    int progress;
    int hold;
};

static struct options opt = {.host = "127.0.0.1",
                             .connections = 50,
                             .size = 64,
                             .seconds = 2,
                             .warmup = 0.5,
                             .threads = 1};

/* A histogram of nanoseconds: 64 steps for each power of two, so that a value
 * is known to 1.6 %. */
#define STEPS 64
struct histogram {
    uint64_t count[64 * STEPS];
};

struct conn {
    int fd;
    int connected;
    uint32_t number;
    uint32_t sequence;
    uint32_t sent, received; /* bytes of the message on its way */
    uint64_t since;          /* when it was begun */
    unsigned messages;
};

struct thread {
    pthread_t id;
    int index;
    int epoll;
    struct conn *conns;
    unsigned count;
    unsigned begun; /* connections */
    atomic_uint connected;
    unsigned resting; /* that have sent all their messages */
    char *pattern;    /* what a message is, but for its head */
    char *buffer;
    atomic_ullong messages; /* in phase MEASURE */
    struct histogram times;
    uint64_t cpu_ns;
};

static struct thread threads[THREADS_MAX];
static atomic_int phase;
static pthread_barrier_t all_connected, all_done;

static void die(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

static void
die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static uint64_t
clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        die("clock_gettime: %s", strerror(errno));
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* --- times --------------------------------------------------------------- */

static unsigned
step_of(uint64_t ns)
{
    if (ns < STEPS)
        return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    return (power - 5) * STEPS + (unsigned)(ns >> (power - 6)) - STEPS;
}

/* The middle of a step. */
static double
ns_of(unsigned step)
{
    if (step < STEPS)
        return step;
    unsigned power = step / STEPS + 5;
    double width = (double)(UINT64_C(1) << (power - 6));
    return ((double)(step % STEPS + STEPS) + 0.5) * width;
}

static double
quantile(const struct histogram *h, double part)
{
    uint64_t total = 0, seen = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < 64 * STEPS; i++)
        total += h->count[i];
    for (unsigned i = 0; i < 64 * STEPS && total > 0; i++) {
        if (h->count[i] == 0)
            continue;
        last = i;
        seen += h->count[i];
        if ((double)seen >= part * (double)total)
            break;
    }
    return ns_of(last);
}

/* --- messages ------------------------------------------------------------ */

/* The connection and the number of the message come first, as far as there is
 * room; so no two that are on their way at once are equal. */
static const char *
message(struct thread *t, const struct conn *c)
{
    uint32_t head[2] = {c->number, c->sequence};
    size_t len = opt.size < sizeof head ? opt.size : sizeof head;
    memcpy(t->pattern, head, len);
    return t->pattern;
}

static void
send_rest(struct thread *t, struct conn *c)
{
    const char *bytes = message(t, c);
    while (c->sent < opt.size) {
        ssize_t n =
            send(c->fd, bytes + c->sent, opt.size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            die("connection %u: send: %s", c->number, strerror(errno));
        c->sent += (uint32_t)n;
    }
}

static void
begin_message(struct thread *t, struct conn *c)
{
    if (opt.messages > 0 && c->messages == opt.messages) {
        t->resting++;
        return;
    }
    c->sent = c->received = 0;
    c->sequence++;
    c->since = clock_ns(CLOCK_MONOTONIC);
    send_rest(t, c);
}

static void
end_message(struct thread *t, struct conn *c)
{
    c->messages++;
    if (atomic_load_explicit(&phase, memory_order_relaxed) == MEASURE) {
        uint64_t ns = clock_ns(CLOCK_MONOTONIC) - c->since;
        t->times.count[step_of(ns)]++;
        /* Nobody else writes it. */
        uint64_t n = atomic_load_explicit(&t->messages, memory_order_relaxed);
        atomic_store_explicit(&t->messages, n + 1, memory_order_relaxed);
    }
    begin_message(t, c);
}

static void
receive(struct thread *t, struct conn *c)
{
    size_t wanted = opt.size - c->received;
    ssize_t n = recv(c->fd, t->buffer, wanted, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        die("connection %u: recv: %s", c->number, strerror(errno));
    if (n == 0)
        die("connection %u was closed by the server", c->number);
    if (memcmp(t->buffer, message(t, c) + c->received, (size_t)n) != 0)
        die("connection %u: message %u came back changed", c->number,
            c->sequence);
    c->received += (uint32_t)n;
    if (c->received == opt.size)
        end_message(t, c);
    else if ((size_t)n == wanted)
        receive(t, c);
}

/* --- connections --------------------------------------------------------- */

static void
begin_connection(struct thread *t, struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)opt.port)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    if (inet_pton(AF_INET, opt.host, &to.sin_addr) != 1)
        die("not an address: %s", opt.host);
    if (opt.addresses > 1) {
        /* One local address has no more than 28,000 ports. */
        int on = 1;
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr =
            htonl(INADDR_LOOPBACK + 1 + c->number % opt.addresses);
        (void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
                         sizeof on);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0)
            die("bind: %s", strerror(errno));
    }
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 &&
        errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                .data.ptr = c};
    if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

static void
end_connect(struct thread *t, struct conn *c)
{
    int err;
    socklen_t len = sizeof err;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err != 0)
        die("connection %u: %s", c->number, strerror(err));
    c->connected = 1;
    atomic_fetch_add_explicit(&t->connected, 1, memory_order_relaxed);
}

static void
on_event(struct thread *t, struct conn *c, uint32_t events)
{
    if (!c->connected) {
        end_connect(t, c);
        return; /* nothing was sent yet */
    }
    if ((events & EPOLLOUT) != 0 && c->sent < opt.size && c->sequence > 0)
        send_rest(t, c);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        receive(t, c);
}

static void
turn(struct thread *t)
{
    static const int wait_ms = 100;
    static _Thread_local int idle_ms;
    struct epoll_event events[256];
    int n = epoll_wait(t->epoll, events, 256, wait_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++)
        on_event(t, events[i].data.ptr, events[i].events);
    idle_ms = n > 0 ? 0 : idle_ms + wait_ms;
    if (idle_ms > TIMEOUT_MS)
        die("the server does not answer: %u of %u connected, nothing "
            "happened for %d s",
            atomic_load(&t->connected), t->count, TIMEOUT_MS / 1000);
}

/* --- threads ------------------------------------------------------------- */

static void *
run_thread(void *arg)
{
    struct thread *t = arg;
    if (opt.cpu_count > 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)opt.cpus[t->index % opt.cpu_count], &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0)
            die("sched_setaffinity: %s", strerror(errno));
    }
    while (atomic_load(&t->connected) < t->count) {
        while (t->begun < t->count &&
               t->begun - atomic_load(&t->connected) < BATCH)
            begin_connection(t, &t->conns[t->begun++]);
        turn(t);
    }
    (void)pthread_barrier_wait(&all_connected);
    (void)pthread_barrier_wait(&all_connected); /* the main one has looked */

    uint64_t cpu = 0;
    int now = RUN;
    for (unsigned i = 0; i < t->count; i++)
        begin_message(t, &t->conns[i]);
    while (now != STOP && t->resting < t->count) {
        turn(t);
        int next = atomic_load(&phase);
        if (next == MEASURE && now == RUN)
            cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        now = next;
    }
    t->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    (void)pthread_barrier_wait(&all_done);
    return NULL;
}

static void
start_threads(void)
{
    unsigned number = 0;
    for (unsigned i = 0; i < opt.threads; i++) {
        struct thread *t = &threads[i];
        t->index = (int)i;
        t->count = (opt.connections + i) / opt.threads;
        t->epoll = epoll_create1(EPOLL_CLOEXEC);
        t->conns = calloc(t->count, sizeof *t->conns);
        t->pattern = malloc(opt.size);
        t->buffer = malloc(opt.size);
        if (t->epoll < 0 || t->conns == NULL || t->pattern == NULL ||
            t->buffer == NULL)
            die("no memory");
        for (unsigned k = 0; k < opt.size; k++)
            t->pattern[k] = (char)('a' + k % 26);
        for (unsigned k = 0; k < t->count; k++)
            t->conns[k].number = number++;
        int err = pthread_create(&t->id, NULL, run_thread, t);
        if (err != 0)
            die("pthread_create: %s", strerror(err));
    }
}

/* --- the server, from outside -------------------------------------------- */

static uint64_t
server_cpu(void)
{
    clockid_t clock;
    if (opt.pid == 0)
        return 0;
    if (clock_getcpuclockid(opt.pid, &clock) != 0)
        die("there is no process %d", opt.pid);
    return clock_ns(clock);
}

static double
server_rss(void)
{
    char path[64];
    unsigned long size, resident = 0;
    if (opt.pid == 0)
        return 0;
    (void)snprintf(path, sizeof path, "/proc/%d/statm", opt.pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%lu %lu", &size, &resident) != 2)
        die("cannot read %s", path);
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

/* Counters of the system calls of all of the server's threads. */
static int counters[64];
static int counter_count;

static void
open_counters(void)
{
    char path[64];
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT, .size = sizeof attr, .inherit = 1};
    FILE *file = fopen(TRACEPOINT, "r");
    if (file == NULL)
        return;
    int known = fscanf(file, "%llu", &attr.config) == 1;
    fclose(file);
    (void)snprintf(path, sizeof path, "/proc/%d/task", opt.pid);
    DIR *dir = known ? opendir(path) : NULL;
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int tid = atoi(entry->d_name);
        if (tid == 0 || counter_count == 64)
            continue;
        int fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, 0);
        if (fd >= 0)
            counters[counter_count++] = fd;
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static uint64_t
counted_calls(void)
{
    uint64_t calls = 0, one;
    for (int i = 0; i < counter_count; i++)
        if (read(counters[i], &one, sizeof one) == (ssize_t)sizeof one)
            calls += one;
    return calls;
}

/* --- main ---------------------------------------------------------------- */

static uint64_t
all_messages(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < opt.threads; i++)
        sum += atomic_load(&threads[i].messages);
    return sum;
}

static void
sleep_ns(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    (void)nanosleep(&t, NULL);
}

static void
show_connecting(void)
{
    for (unsigned sum = 0; opt.progress && sum < opt.connections;) {
        sleep_ns(200000000);
        sum = 0;
        for (unsigned i = 0; i < opt.threads; i++)
            sum += atomic_load(&threads[i].connected);
        printf("{\"connected\": %u}\n", sum);
        fflush(stdout);
    }
}

static void
measure_for(double seconds)
{
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    uint64_t end = start + (uint64_t)(seconds * 1e9);
    for (;;) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now >= end)
            return;
        uint64_t left = end - now;
        uint64_t step = opt.progress ? 500000000 : left;
        sleep_ns(left < step ? left : step);
        if (opt.progress) {
            printf("{\"seconds\": %.1f, \"messages\": %llu}\n",
                   (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e9,
                   (unsigned long long)all_messages());
            fflush(stdout);
        }
    }
}

static void
print_result(double seconds, double cpu_ns, double calls, double rss_before,
             double rss_connected)
{
    static struct histogram all;
    double n = (double)all_messages();
    double client_ns = 0;
    for (unsigned i = 0; i < opt.threads; i++) {
        client_ns += (double)threads[i].cpu_ns;
        for (unsigned k = 0; k < 64 * STEPS; k++)
            all.count[k] += threads[i].times.count[k];
    }
    printf("{\"connections\": %u, \"size\": %u, \"seconds\": %.3f, "
           "\"messages\": %.0f, \"rate\": %.1f",
           opt.connections, opt.size, seconds, n, n / seconds);
    if (n > 0)
        printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
               "\"max_us\": %.1f, \"client_cpu_us\": %.4f",
               quantile(&all, 0.5) / 1e3, quantile(&all, 0.99) / 1e3,
               quantile(&all, 0.999) / 1e3, quantile(&all, 1) / 1e3,
               client_ns / n / 1e3);
    if (n > 0 && opt.pid != 0)
        printf(", \"server_cpu_us\": %.4f", cpu_ns / n / 1e3);
    if (n > 0 && counter_count > 0)
        printf(", \"server_calls\": %.4f", calls / n);
    if (opt.pid != 0)
        printf(", \"rss_before\": %.0f, \"rss_connected\": %.0f, "
               "\"rss_end\": %.0f",
               rss_before, rss_connected, server_rss());
    printf("}\n");
    fflush(stdout);
}

static void
usage(void)
{
    fputs("usage: load --port P [--host A] [--connections N] [--size BYTES]\n"
          "            [--seconds S] [--warmup S] [--messages N]"
          " [--threads N]\n"
          "            [--cpus A,B,...] [--addresses N] [--pid SERVER]\n"
          "            [--count-calls] [--progress] [--hold]\n"
          "--messages: each connection sends so many, without warm-up\n"
          "--addresses: from 127.0.0.2 and so on, for more connections than\n"
          "             one address has ports\n"
          "--count-calls: the server's system calls, which makes it slower\n"
          "--hold: keep the connections until the end of standard input\n",
          stderr);
    exit(2);
}

static void
parse_cpus(char *text)
{
    for (char *one = strtok(text, ","); one != NULL; one = strtok(NULL, ","))
        if (opt.cpu_count < THREADS_MAX)
            opt.cpus[opt.cpu_count++] = atoi(one);
}

static void
parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'},
        {"size", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},
        {"messages", required_argument, NULL, 'm'},
        {"threads", required_argument, NULL, 't'},
        {"cpus", required_argument, NULL, 'u'},
        {"addresses", required_argument, NULL, 'a'},
        {"pid", required_argument, NULL, 'i'},
        {"count-calls", no_argument, &opt.count_calls, 1},
        {"progress", no_argument, &opt.progress, 1},
        {"hold", no_argument, &opt.hold, 1},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        static char none[] = "";
        char *value = optarg != NULL ? optarg : none;
        unsigned number = (unsigned)strtoul(value, NULL, 10);
        switch (c) {
        case 0:
            break;
        case 'h':
            opt.host = value;
            break;
        case 'p':
            opt.port = number;
            break;
        case 'c':
            opt.connections = number;
            break;
        case 'b':
            opt.size = number;
            break;
        case 's':
            opt.seconds = strtod(value, NULL);
            break;
        case 'w':
            opt.warmup = strtod(value, NULL);
            break;
        case 'm':
            opt.messages = number;
            break;
        case 't':
            opt.threads = number;
            break;
        case 'u':
            parse_cpus(value);
            break;
        case 'a':
            opt.addresses = number;
            break;
        case 'i':
            opt.pid = (pid_t)number;
            break;
        default:
            usage();
        }
    }
    if (optind != argc || opt.port == 0 || opt.connections == 0 ||
        opt.size == 0 || opt.threads == 0 || opt.threads > THREADS_MAX)
        usage();
    if (opt.threads > opt.connections)
        opt.threads = opt.connections;
}

static void
allow_descriptors(void)
{
    struct rlimit limit;
    rlim_t wanted = opt.connections + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit: %s", strerror(errno));
    if (limit.rlim_max < wanted)
        die("%u connections need %lu open files; the limit is %lu",
            opt.connections, (unsigned long)wanted,
            (unsigned long)limit.rlim_max);
    if (limit.rlim_cur < wanted)
        limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("setrlimit: %s", strerror(errno));
}

int
main(int argc, char **argv)
{
    parse(argc, argv);
    allow_descriptors();
    (void)pthread_barrier_init(&all_connected, NULL, opt.threads + 1);
    (void)pthread_barrier_init(&all_done, NULL, opt.threads + 1);

    double rss_before = server_rss();
    start_threads();
    show_connecting();
    (void)pthread_barrier_wait(&all_connected);
    sleep_ns(100000000); /* the server has seen them all */
    double rss_connected = server_rss();
    if (opt.count_calls && opt.pid != 0)
        open_counters();
    if (opt.messages > 0)
        atomic_store(&phase, MEASURE);
    uint64_t start = clock_ns(CLOCK_MONOTONIC), cpu = server_cpu();
    (void)pthread_barrier_wait(&all_connected);

    uint64_t calls = counted_calls();
    if (opt.messages == 0) {
        sleep_ns((uint64_t)(opt.warmup * 1e9));
        start = clock_ns(CLOCK_MONOTONIC);
        cpu = server_cpu();
        calls = counted_calls();
        atomic_store(&phase, MEASURE);
        measure_for(opt.seconds);
        atomic_store(&phase, STOP);
    }
    else {
        (void)pthread_barrier_wait(&all_done);
    }
    uint64_t taken = clock_ns(CLOCK_MONOTONIC) - start;
    double cpu_ns = (double)(server_cpu() - cpu);
    double made = (double)(counted_calls() - calls);
    if (opt.messages == 0)
        (void)pthread_barrier_wait(&all_done);
    print_result((double)taken / 1e9, cpu_ns, made, rss_before, rss_connected);
    while (opt.hold && getchar() != EOF)
        continue;
    return 0;
}
