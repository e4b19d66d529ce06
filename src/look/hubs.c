/* hubs.c - all hubs of the process, and when nothing can happen any more.
 *
 * A hub that has nothing ready, and whose loop has no watchers, is asleep:
 * only somebody else can wake it. An OS thread without a hub that waits for
 * ever is, too. Once all of them are, and the process has no other threads
 * than these and idle ones of the library's own, nobody is left to wake
 * anybody: the last one to fall asleep says so, and tells the main green
 * thread of each hub.
 *
 * All that is under one lock, which a hub takes when it falls asleep and when
 * it awakes. So while it is held those that are asleep stay so, and may be
 * looked at. Who wakes a hub puts something into its inbox first, and a hub
 * empties its inbox only after it has awoken: a hub that is asleep and has
 * nothing in its inbox has not been woken.
 *
 * A handler of a signal may wake, too, by coir_hub_post(): where there is one
 * nothing is certain. Those of faults are not counted, nor the loop's, as a
 * loop that watches signals is not asleep, nor the watchdog's.
 *
 * Rather silent than wrong: other threads that only look as if they could
 * wake somebody keep the report from being made. Such a thread may be about to
 * end: one that was joined is still there for a moment. So while it is only
 * they that keep it from being made, a hub looks again, a few times. */
#include "look/internal.h"

#include <coir/sync.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static coir_hub *hubs;
static coir__native *natives;
static atomic_int idle_threads;

void
coir__hubs_lock(void)
{
    (void)pthread_mutex_lock(&lock);
}

void
coir__hubs_unlock(void)
{
    (void)pthread_mutex_unlock(&lock);
}

coir_hub *
coir__hubs_first(void)
{
    return hubs;
}

coir__native *
coir__natives_first(void)
{
    return natives;
}

void
coir__idle_threads_add(int count)
{
    atomic_fetch_add(&idle_threads, count);
}

void
coir__idle_thread_sleeps(void)
{
    coir__hubs_lock();
    for (const coir_hub *h = hubs; h != NULL; h = h->listed.next)
        if (h->listed.asleep)
            coir_loop_wakeup(h->loop);
    coir__hubs_unlock();
}

/* --- who there is -------------------------------------------------------- */

static void
find_thread(coir_hub *hub)
{
    coir__listed *l = &hub->listed;
    l->thread = pthread_self();
    l->tid = (int)syscall(SYS_gettid);
    if (pthread_getcpuclockid(l->thread, &l->watch.cpu_clock) != 0)
        l->watch.cpu_clock = CLOCK_THREAD_CPUTIME_ID;
}

/* Of the parent's threads a child has only the one that forked, which was not
 * asleep. */
static void
in_child(void)
{
    natives = NULL;
    atomic_store(&idle_threads, 0);
    coir_hub *own = hubs;
    while (own != NULL && !pthread_equal(own->listed.thread, pthread_self()))
        own = own->listed.next;
    hubs = own;
    if (own != NULL) {
        own->listed.next = own->listed.prev = NULL;
        find_thread(own);
    }
    coir__hubs_unlock();
    coir__watchdog_in_child();
}

static void
set_up(void)
{
    (void)pthread_atfork(coir__hubs_lock, coir__hubs_unlock, in_child);
}

void
coir__hub_enlist(coir_hub *hub)
{
    (void)pthread_once(&once, set_up);
    find_thread(hub);
    coir__hubs_lock();
    hub->listed.next = hubs;
    if (hubs != NULL)
        hubs->listed.prev = hub;
    hubs = hub;
    coir__hubs_unlock();
    coir__watchdog_init();
}

void
coir__hub_delist(coir_hub *hub)
{
    coir__hubs_lock();
    if (hub->listed.next != NULL)
        hub->listed.next->listed.prev = hub->listed.prev;
    if (hub->listed.prev != NULL)
        hub->listed.prev->listed.next = hub->listed.next;
    else
        hubs = hub->listed.next;
    coir__hubs_unlock();
}

/* --- is anybody left? ---------------------------------------------------- */

/* How many OS threads this process has; 0: not known. */
static unsigned
count_threads(void)
{
    struct stat st;
    if (stat("/proc/self/task", &st) != 0 || st.st_nlink <= 2)
        return 0;
    return (unsigned)st.st_nlink - 2;
}

static int
is_fault(int signum)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE,  SIGILL,
                                 SIGABRT, SIGSYS, SIGTRAP, SIGPIPE};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (signum == faults[i])
            return 1;
    return 0;
}

static int
has_signal_handlers(void)
{
    for (int i = 1; i < NSIG; i++) {
        struct sigaction action;
        if (is_fault(i) || sigaction(i, NULL, &action) != 0 ||
            coir__watchdog_is_handler(&action))
            continue;
        /* One with SA_SIGINFO is in the same place. */
        if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN &&
            action.sa_handler != coir_feed_signal)
            return 1;
    }
    return 0;
}

/* With the list locked: do all of the library's that could wake somebody
 * sleep? `*count` is how many OS threads they are. */
static int
all_asleep(unsigned *count)
{
    int idle = atomic_load(&idle_threads);
    *count = idle > 0 ? (unsigned)idle : 0;
    for (const coir_hub *h = hubs; h != NULL; h = h->listed.next, ++*count)
        if (!h->listed.asleep)
            return 0;
    for (const coir__native *t = natives; t != NULL; t = t->next, ++*count)
        if (__atomic_load_n(&t->waiter->word, __ATOMIC_RELAXED))
            return 0;
    return 1;
}

/* Only after the threads have been counted: one may send something, and end.
 */
static int
nothing_sent(void)
{
    for (coir_hub *h = hubs; h != NULL; h = h->listed.next)
        if (atomic_load(&h->inbox) != NULL || atomic_load(&h->calls) != NULL)
            return 0;
    for (const coir__native *t = natives; t != NULL; t = t->next)
        if (__atomic_load_n(&t->waiter->word, __ATOMIC_ACQUIRE))
            return 0;
    return 1;
}

/* `*unsure` is set if it is, but for threads that are nobody's here. */
static int
is_deadlock(const coir_hub *hub, int *unsure)
{
    unsigned count;
    *unsure = 0;
    if (hub->listed.mode == COIR_DEADLOCK_NEVER)
        return 0;
    if (hub->listed.mode == COIR_DEADLOCK_IDLE || hub->sim != NULL)
        return atomic_load(&hub->inbox) == NULL &&
               atomic_load(&hub->calls) == NULL;
    if (!all_asleep(&count))
        return 0;
    unsigned threads = count_threads();
    *unsure = threads > count;
    return threads == count && nothing_sent() && !has_signal_handlers();
}

/* --- the report ---------------------------------------------------------- */

static void
report(const coir_hub *own)
{
    coir__out out = {.fd = STDERR_FILENO};
    coir__waits waits;
    coir__waits_init(&waits, own);
    coir__symbols *symbols = coir__symbols_new();
    coir__put(&out, "coir: deadlock: no green thread can ever run again\n");
    (void)coir__put_hopeless(&out, symbols, &waits, own->listed.tid);
    coir__dump_hub(&out, symbols, &waits, own);
    for (const coir_hub *h = hubs; h != NULL; h = h->listed.next)
        if (h != own && h->listed.asleep)
            coir__dump_hub(&out, symbols, &waits, h);
    for (const coir__native *t = natives; t != NULL; t = t->next)
        coir__put(&out, "OS thread %d waits for %s %p\n", t->tid, t->what,
                  t->object);
    coir__flush(&out);
    coir__symbols_free(symbols);
    coir__waits_fini(&waits);
}

static int
tell(coir_hub *hub)
{
    hub->deadlocked = 1;
    int is_told = coir__interrupt(hub->main, COIR_EDEADLK);
    hub->deadlocked = 0;
    return is_told;
}

/* Where one hub has no hope all have none. */
static void
tell_others(const coir_hub *own)
{
    for (coir_hub *h = hubs; h != NULL; h = h->listed.next) {
        if (h == own || !h->listed.asleep ||
            h->listed.mode == COIR_DEADLOCK_NEVER)
            continue;
        h->listed.asleep = 0;
        h->listed.is_told = 1;
        coir_loop_wakeup(h->loop);
    }
}

/* The hub has been woken by it, and will fall asleep anew. */
static void
on_look(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    ((coir_hub *)w->data)->listed.has_looked = 1;
}

static void
look_again(coir_hub *hub)
{
    static const int64_t after[] = {COIR_NS_PER_MS * 10, COIR_NS_PER_MS * 100,
                                    COIR_NS_PER_S, COIR_NS_PER_S * 10};
    coir__listed *l = &hub->listed;
    if ((size_t)l->looks == sizeof after / sizeof *after)
        return;
    coir_timer_init(&l->look, on_look, after[l->looks++], 0);
    l->look.data = hub;
    coir_timer_start(hub->loop, &l->look);
}

int
coir__hub_falls_asleep(coir_hub *hub)
{
    int unsure;
    coir__hubs_lock();
    hub->listed.asleep = 1;
    int found = is_deadlock(hub, &unsure);
    if (found) {
        report(hub);
        if (hub->listed.mode == COIR_DEADLOCK_AUTO && hub->sim == NULL)
            tell_others(hub);
        found = tell(hub);
        hub->listed.asleep = !found;
    }
    coir__hubs_unlock();
    if (unsure)
        look_again(hub);
    return found;
}

void
coir__hub_awakes(coir_hub *hub)
{
    coir__hubs_lock();
    hub->listed.asleep = 0;
    int is_told = hub->listed.is_told;
    hub->listed.is_told = 0;
    coir__hubs_unlock();
    if (!hub->listed.has_looked) { /* something else has woken it */
        coir_timer_stop(hub->loop, &hub->listed.look);
        hub->listed.looks = 0;
    }
    hub->listed.has_looked = 0;
    if (is_told)
        (void)tell(hub);
}

void
coir__native_falls_asleep(coir__native *t)
{
    if (t->tid == 0)
        t->tid = (int)syscall(SYS_gettid);
    t->prev = NULL;
    coir__hubs_lock();
    t->next = natives;
    if (natives != NULL)
        natives->prev = t;
    natives = t;
    coir__hubs_unlock();
}

void
coir__native_awakes(coir__native *t)
{
    coir__hubs_lock();
    if (t->next != NULL)
        t->next->prev = t->prev;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        natives = t->next;
    coir__hubs_unlock();
}

void
coir_hub_set_deadlock(coir_hub *hub, int mode)
{
    hub->listed.mode = mode;
}
