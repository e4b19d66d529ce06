/* signals.c - signals, collected for green threads.
 *
 * A set of watchers in the loop of the hub, and a mask of what has come. The
 * semaphore has as many units as the mask has bits that nobody has taken, so
 * that who gets one finds a bit. */
#include <coir/process.h>
#include <coir/sync.h>

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>

struct coir_signals {
    coir_semaphore come;
    atomic_uint_least64_t pending; /* bit n: signal n + 1 */
    coir_loop *loop;
    int count;
    coir_signal watchers[];
};

_Static_assert(NSIG - 1 <= 64, "all signals fit into the mask");

static void
has_come(coir_loop *loop, coir_signal *w, int revents)
{
    (void)loop;
    (void)revents;
    coir_signals *s = w->data;
    uint64_t bit = UINT64_C(1) << (w->signum - 1);
    if (!(atomic_fetch_or(&s->pending, bit) & bit))
        coir_semaphore_release(&s->come, 1);
}

int
coir_signals_open(coir_signals **out, const sigset_t *set)
{
    int count = 0;
    for (int signum = 1; signum < NSIG; signum++)
        count += sigismember(set, signum) == 1;
    if (count == 0)
        return COIR_EINVAL;
    coir_hub *hub = coir_hub_get();
    if (hub == NULL)
        return COIR_ENOMEM;
    coir_signals *s =
        coir_calloc(1, sizeof *s + (size_t)count * sizeof *s->watchers);
    if (s == NULL)
        return COIR_ENOMEM;
    s->loop = coir_hub_loop(hub);
    for (int signum = 1; signum < NSIG; signum++) {
        if (sigismember(set, signum) != 1)
            continue;
        coir_signal *w = &s->watchers[s->count];
        coir_signal_init(w, has_come, signum);
        w->data = s;
        int err = coir_signal_start(s->loop, w);
        if (err < 0) {
            coir_signals_close(s);
            return err;
        }
        s->count++;
    }
    *out = s;
    return 0;
}

int
coir_signals_wait(coir_signals *s, int64_t timeout_ns)
{
    int err = coir_semaphore_acquire(&s->come, timeout_ns);
    if (err < 0)
        return err;
    uint64_t pending = atomic_load(&s->pending);
    do
        assert(pending != 0);
    while (!atomic_compare_exchange_weak(&s->pending, &pending,
                                         pending & (pending - 1)));
    return __builtin_ctzll(pending) + 1;
}

void
coir_signals_close(coir_signals *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < s->count; i++)
        coir_signal_stop(s->loop, &s->watchers[i]);
    coir_free(s);
}

int
coir_signal_wait(const sigset_t *set, int64_t timeout_ns)
{
    coir_signals *s;
    int err = coir_signals_open(&s, set);
    if (err < 0)
        return err;
    int result = coir_signals_wait(s, timeout_ns);
    coir_signals_close(s);
    return result;
}
