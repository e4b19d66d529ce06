/* watchdog.c - tells who keeps the others from running.
 *
 * A hub leaves its mark anyway: the loop counts its turns, and within a turn
 * the hub counts down how many may run. So these two together change with
 * every switch, and the watchdog's thread, which compares them a few times in
 * the time that is allowed, costs a hub nothing. While the loop sleeps it
 * shows that, too, for those who might have to wake it.
 *
 * What has not changed for too long is asked for its backtrace by a signal.
 * The handler takes addresses and some facts, no more: names are looked up by
 * the watchdog's thread. There is one request at a time:
 *
 *     IDLE -> number of the thread -> BUSY -> DONE -> IDLE
 *        the watchdog            the handler     the watchdog
 *
 * and one that is not taken in time, by a thread that blocks the signal, is
 * taken back; the handler, when it comes late, finds nothing to do. So it
 * stays installed when the watchdog ends.
 *
 * A process that was stopped, by a debugger say, has not been blocked: where
 * the watchdog has slept for much longer than it meant to, only what it meant
 * to counts. Its clock does not go on while the machine is suspended. */
#include "look/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How often it looks in the time allowed. */
#define LOOKS 4
#define LOOK_MAX_NS (250 * COIR_NS_PER_MS)
/* So much later it may wake up on a machine that is busy. */
#define LATE_MAX_NS (COIR_NS_PER_S / 2)
#define STACK_SIZE (128 * 1024)
/* How long, in milliseconds, a thread may take to answer. */
#define PATIENCE 100

/* Other than the number of any thread. */
enum { IDLE = 0, BUSY = -1, DONE = -2 };

typedef struct sample {
    atomic_int state;
    unsigned iteration, left;
    coir_block block;
} sample;

typedef struct watchdog {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    int is_running;
    int is_to_stop;
    int64_t limit_ns;
    int64_t interval_ns;
    coir_watchdog_attr attr;
    pthread_t thread;
} watchdog;

static watchdog dog = {.lock = PTHREAD_MUTEX_INITIALIZER};
static sample request;

/* --- in the thread that is asked ----------------------------------------- */

/* Read by another thread as they change: each is right at some moment. */
static COIR__NO_SANITIZE void
position(const coir_hub *hub, unsigned *iteration, unsigned *left)
{
    *iteration = *(const volatile unsigned *)&hub->loop->iteration;
    *left = *(const volatile unsigned *)&hub->left;
}

static COIR__NO_SANITIZE void
describe(const coir_green *g, coir_block *b)
{
    b->id = g->id;
    b->spawner = g->spawner;
    b->spawned_at = g->spawned_at;
    b->fn = g->fn;
    const char *name = coir_coro_name(g->co);
    for (size_t i = 0; i < sizeof b->name - 1 && name[i] != '\0'; i++)
        b->name[i] = name[i];
}

static void
on_signal(int signum)
{
    (void)signum;
    int saved = errno;
    int tid = (int)syscall(SYS_gettid);
    if (atomic_compare_exchange_strong(&request.state, &tid, BUSY)) {
        const coir_hub *hub = coir__hub;
        if (hub != NULL) {
            position(hub, &request.iteration, &request.left);
            if (hub->current != NULL)
                describe(hub->current, &request.block);
            request.block.count = coir__backtrace_here(request.block.addresses,
                                                       COIR_BLOCK_FRAMES, 1);
        }
        atomic_store(&request.state, DONE);
    }
    errno = saved;
}

int
coir__watchdog_is_handler(const struct sigaction *action)
{
    return action->sa_handler == on_signal;
}

/* --- reports ------------------------------------------------------------- */

static void
print(const coir_block *b)
{
    coir__out out = {.fd = STDERR_FILENO};
    coir__put(&out, "coir: OS thread %d: ", b->tid);
    if (b->id > 0)
        coir__put(&out, "#%" PRIu64, b->id);
    else
        coir__put(&out, "a callback");
    if (b->name[0] != '\0')
        coir__put(&out, " \"%s\"", b->name);
    if (b->is_over) {
        coir__put(&out, " lets others run again, after %" PRId64 " ms\n",
                  b->blocked_ns / COIR_NS_PER_MS);
        return;
    }
    coir__put(&out,
              " has let no other run for %" PRId64 " ms, %" PRId64
              " ms of that on a processor\n",
              b->blocked_ns / COIR_NS_PER_MS, b->cpu_ns / COIR_NS_PER_MS);
    coir__symbols *symbols = coir__symbols_new();
    coir__put_backtrace(&out, symbols, b->addresses, b->count);
    if (b->spawned_at != NULL) {
        coir__put(&out, "        spawned by #%" PRIu64 " at ", b->spawner);
        coir__put_place(&out, symbols, b->spawned_at);
        coir__put(&out, "\n");
    }
    coir__flush(&out);
    coir__symbols_free(symbols);
}

static void
sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

/* Ask the thread for what it is at; `*b` is left as it is if there is no
 * answer, or if it comes from elsewhere already. */
static void
ask(coir_block *b, const coir__watch *seen, int signum)
{
    request.block = *b;
    atomic_store(&request.state, b->tid);
    if (syscall(SYS_tgkill, getpid(), b->tid, signum) != 0) {
        atomic_store(&request.state, IDLE);
        return;
    }
    for (int i = 0; i < PATIENCE; i++) {
        if (atomic_load(&request.state) == DONE)
            break;
        sleep_ms(1);
    }
    int tid = b->tid;
    if (atomic_compare_exchange_strong(&request.state, &tid, IDLE))
        return;
    while (atomic_load(&request.state) != DONE)
        sleep_ms(1);
    if (request.iteration == seen->iteration && request.left == seen->left)
        *b = request.block;
    atomic_store(&request.state, IDLE);
}

static void
report(coir_block *b, const coir__watch *seen, const coir_watchdog_attr *attr)
{
    if (!b->is_over && attr->signum > 0)
        ask(b, seen, attr->signum);
    if (attr->report != NULL)
        attr->report(b, attr->arg);
    else
        print(b);
}

/* --- looking ------------------------------------------------------------- */

static int64_t
cpu_time(const coir_hub *hub)
{
    struct timespec time;
    if (clock_gettime(hub->listed.watch.cpu_clock, &time) != 0)
        return 0;
    return (int64_t)time.tv_sec * COIR_NS_PER_S + time.tv_nsec;
}

/* Is there anybody else who might run? Main does not count: it waits. */
static COIR__NO_SANITIZE int
does_harm(const coir_hub *hub)
{
    const coir_green *current = *(coir_green *const volatile *)&hub->current;
    int self = current != NULL && current != hub->main;
    return *(const volatile int *)&hub->alive > self ||
           *(const volatile int *)&hub->loop->active > 0;
}

/* It goes on, or sleeps. Between two looks it began, and between two it has
 * ended: so it took one `elapsed_ns` longer than was seen, more or less. */
static int
look_at_moving(coir_hub *hub, unsigned iteration, unsigned left,
               int64_t elapsed_ns, coir_block *b)
{
    coir__watch *w = &hub->listed.watch;
    int was_reported = w->is_reported;
    int64_t now = cpu_time(hub);
    if (was_reported) {
        *b = (coir_block){.tid = hub->listed.tid,
                          .is_over = 1,
                          .blocked_ns = w->blocked_ns + elapsed_ns,
                          .cpu_ns = now - w->cpu_ns,
                          .id = w->id};
        (void)memcpy(b->name, w->name, sizeof b->name);
    }
    *w = (coir__watch){.cpu_clock = w->cpu_clock,
                       .iteration = iteration,
                       .left = left,
                       .cpu_ns = now};
    return was_reported;
}

/* Look at a hub, `elapsed_ns` after the last time. Returns 1 if `*b` is to be
 * reported. */
static int
look_at(coir_hub *hub, int64_t elapsed_ns, int64_t limit_ns, coir_block *b)
{
    coir__watch *w = &hub->listed.watch;
    unsigned iteration, left;
    position(hub, &iteration, &left);
    if (iteration != w->iteration || left != w->left || !does_harm(hub) ||
        atomic_load_explicit(&hub->loop->wake_wanted, memory_order_relaxed))
        return look_at_moving(hub, iteration, left, elapsed_ns, b);
    w->blocked_ns += elapsed_ns;
    if (w->is_reported || w->blocked_ns < limit_ns)
        return 0;
    w->is_reported = 1;
    *b = (coir_block){.tid = hub->listed.tid,
                      .blocked_ns = w->blocked_ns,
                      .cpu_ns = cpu_time(hub) - w->cpu_ns};
    return 1;
}

/* Remember who it was, for the end of it. */
static void
remember(const coir_block *b)
{
    coir__hubs_lock();
    for (coir_hub *h = coir__hubs_first(); h != NULL; h = h->listed.next)
        if (h->listed.tid == b->tid && h->listed.watch.is_reported) {
            h->listed.watch.id = b->id;
            (void)memcpy(h->listed.watch.name, b->name, sizeof b->name);
        }
    coir__hubs_unlock();
}

/* Reports are made with nothing locked: they take their time. */
static void
look_at_all(int64_t elapsed_ns, int64_t limit_ns,
            const coir_watchdog_attr *attr)
{
    enum { AT_ONCE = 8 };
    coir_block blocks[AT_ONCE];
    coir__watch seen[AT_ONCE];
    int count = 0;
    coir__hubs_lock();
    for (coir_hub *h = coir__hubs_first(); h != NULL && count < AT_ONCE;
         h = h->listed.next)
        if (look_at(h, elapsed_ns, limit_ns, &blocks[count]))
            seen[count++] = h->listed.watch;
    coir__hubs_unlock();
    for (int i = 0; i < count; i++) {
        report(&blocks[i], &seen[i], attr);
        if (!blocks[i].is_over)
            remember(&blocks[i]);
    }
}

/* --- the thread ---------------------------------------------------------- */

static struct timespec
after(int64_t now_ns, int64_t time_ns)
{
    int64_t at = now_ns + time_ns;
    return (struct timespec){at / COIR_NS_PER_S, at % COIR_NS_PER_S};
}

static void *
watch(void *arg)
{
    (void)arg;
    (void)pthread_setname_np(pthread_self(), "coir-watchdog");
    (void)pthread_mutex_lock(&dog.lock);
    int64_t last = coir_clock_monotonic(), looked = last;
    while (!dog.is_to_stop) {
        /* From when the reports were made; these count in full. */
        struct timespec at = after(looked, dog.interval_ns);
        while (!dog.is_to_stop &&
               pthread_cond_timedwait(&dog.wake, &dog.lock, &at) == 0)
            ;
        int64_t now = coir_clock_monotonic();
        int64_t slept = now - looked;
        if (slept > dog.interval_ns + LATE_MAX_NS)
            slept = dog.interval_ns; /* the process was stopped */
        int64_t elapsed = looked - last + slept;
        last = now;
        (void)pthread_mutex_unlock(&dog.lock);
        look_at_all(elapsed, dog.limit_ns, &dog.attr);
        looked = coir_clock_monotonic();
        (void)pthread_mutex_lock(&dog.lock);
    }
    (void)pthread_mutex_unlock(&dog.lock);
    return NULL;
}

/* Install the handler; 0, or COIR_EBUSY, COIR_EINVAL. Chooses a signal if
 * none is given. */
static int
install(coir_watchdog_attr *attr)
{
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = SA_RESTART | SA_ONSTACK};
    (void)sigemptyset(&action.sa_mask);
    int is_given = attr->signum > 0;
    int signum = is_given ? attr->signum : SIGRTMAX - 2;
    for (; signum >= (is_given ? attr->signum : SIGRTMIN); signum--) {
        struct sigaction before;
        if (sigaction(signum, NULL, &before) != 0)
            return COIR_EINVAL;
        if (!coir__watchdog_is_handler(&before) &&
            before.sa_handler != SIG_DFL)
            continue;
        if (sigaction(signum, &action, NULL) != 0)
            return COIR_EINVAL;
        attr->signum = signum;
        return 0;
    }
    return COIR_EBUSY;
}

/* With all signals blocked: they are for others. */
static int
make_thread(void)
{
    pthread_attr_t attr;
    pthread_condattr_t cond_attr;
    sigset_t all, before;
    if (pthread_attr_init(&attr) != 0)
        return COIR_ENOMEM;
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    (void)pthread_condattr_init(&cond_attr);
    (void)pthread_condattr_setclock(&cond_attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&dog.wake, &cond_attr);
    (void)pthread_condattr_destroy(&cond_attr);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&dog.thread, &attr, watch, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    if (err != 0)
        (void)pthread_cond_destroy(&dog.wake);
    return err == 0 ? 0 : COIR_ENOMEM;
}

static int
start(int64_t limit_ns, const coir_watchdog_attr *given)
{
    coir_watchdog_attr attr = {0};
    if (given != NULL)
        attr = *given;
    if (limit_ns < COIR_NS_PER_MS || attr.signum < -1 || attr.signum >= NSIG)
        return COIR_EINVAL;
    if (dog.is_running)
        return COIR_EBUSY;
    int err = attr.signum >= 0 ? install(&attr) : 0;
    if (err < 0)
        return err;
    /* Once, so that the unwinder is loaded before a handler needs it. */
    const void *address;
    (void)coir__backtrace_here(&address, 1, 0);
    dog.limit_ns = limit_ns;
    dog.interval_ns = limit_ns / LOOKS;
    if (dog.interval_ns > LOOK_MAX_NS)
        dog.interval_ns = LOOK_MAX_NS;
    dog.attr = attr;
    dog.is_to_stop = 0;
    err = make_thread();
    if (err < 0)
        return err;
    dog.is_running = 1;
    coir__idle_threads_add(1); /* it never wakes anybody */
    return 0;
}

int
coir_watchdog_start(int64_t limit_ns, const coir_watchdog_attr *attr)
{
    (void)pthread_mutex_lock(&dog.lock);
    int err = start(limit_ns, attr);
    (void)pthread_mutex_unlock(&dog.lock);
    return err;
}

void
coir_watchdog_stop(void)
{
    (void)pthread_mutex_lock(&dog.lock);
    int was_running = dog.is_running;
    pthread_t thread = dog.thread;
    dog.is_running = 0;
    dog.is_to_stop = 1;
    if (was_running)
        (void)pthread_cond_signal(&dog.wake);
    (void)pthread_mutex_unlock(&dog.lock);
    if (!was_running)
        return;
    (void)pthread_join(thread, NULL);
    (void)pthread_cond_destroy(&dog.wake);
    coir__idle_threads_add(-1);
}

void
coir__watchdog_init(void)
{
    const char *ms = getenv("COIR_WATCHDOG_MS");
    long limit = ms != NULL ? strtol(ms, NULL, 10) : 0;
    if (limit > 0)
        (void)coir_watchdog_start(limit * COIR_NS_PER_MS, NULL);
}

/* Whatever the thread was at when the parent forked. */
void
coir__watchdog_in_child(void)
{
    (void)pthread_mutex_init(&dog.lock, NULL);
    dog.is_running = 0;
    atomic_store(&request.state, IDLE);
}
