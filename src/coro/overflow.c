/* overflow.c - the report for a coroutine that has run out of stack.
 *
 * An overflow faults in the guard. The handler runs on an alternate stack, of
 * which every thread needs its own, and only uses what is safe there: it reads
 * the thread's record, writes with write(), and aborts. A fault that is not in
 * the guard of the running coroutine goes to the handler that was there
 * before.
 *
 * A thread that has an alternate stack keeps its own. */
#include "coro/internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_int enabled = 1;
static pthread_once_t install_once = PTHREAD_ONCE_INIT;
static struct sigaction previous;

typedef struct text {
    char data[512];
    size_t len;
} text;

static void
put(text *out, const char *s)
{
    while (*s != '\0' && out->len < sizeof out->data)
        out->data[out->len++] = *s++;
}

static void
put_number(text *out, size_t n, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n != 0);
    put(out, digits + at);
}

static void
report(const coir_coro *co, const void *address)
{
    text out = {.len = 0};
    size_t size = co->u.dedicated.stack.size - co->reserve_size;
    put(&out, "coir: stack overflow in coroutine \"");
    put(&out, co->name != NULL ? co->name : "unnamed");
    put(&out, "\" (0x");
    put_number(&out, (uintptr_t)co, 16);
    put(&out, "): fault at 0x");
    put_number(&out, (uintptr_t)address, 16);
    put(&out, ", stack of ");
    put_number(&out, size, 10);
    put(&out, " bytes, high-water mark ");
    put_number(&out, coir_coro_stack_high_water(co), 10);
    put(&out, " bytes.\nGive it a larger stack (stack_size; "
              "COIR_STACK_SIZE in Python) or the slice policy.\n");
    /* Nothing is left to do if stderr is gone. */
    ssize_t written = write(STDERR_FILENO, out.data, out.len);
    (void)written;
}

static void
on_fault(int sig, siginfo_t *info, void *ucontext)
{
    const coir__thread *t = coir__self;
    if (t != NULL && t->current->policy == COIR_POLICY_DEDICATED &&
        info->si_code > 0) {
        const coir_stack *stack = &t->current->u.dedicated.stack;
        void *low;
        size_t size = coir_stack_guard_bounds(stack, &low);
        uintptr_t at = (uintptr_t)info->si_addr;
        if (size != 0 && at >= (uintptr_t)low && at < (uintptr_t)stack->base) {
            report(t->current, info->si_addr);
            abort();
        }
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(sig, info, ucontext);
    }
    else if (previous.sa_handler != SIG_DFL &&
             previous.sa_handler != SIG_IGN) {
        previous.sa_handler(sig);
    }
    else {
        /* Back to the default: the instruction faults again and kills; a
         * signal that was sent must be sent again for that. */
        (void)signal(sig, SIG_DFL);
        if (info->si_code <= 0)
            (void)raise(sig);
    }
}

static void
install(void)
{
    const char *setting = getenv("COIR_OVERFLOW_REPORT");
    if (setting != NULL && strcmp(setting, "0") == 0)
        atomic_store(&enabled, 0);
    if (!atomic_load(&enabled))
        return;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, NULL, &previous) != 0 ||
        sigaction(SIGSEGV, &action, NULL) != 0)
        atomic_store(&enabled, 0);
}

static size_t
signal_stack_size(void)
{
    size_t size = 64 * 1024; /* room for a previous handler */
#ifdef _SC_MINSIGSTKSZ
    long least = sysconf(_SC_MINSIGSTKSZ); /* depends on the CPU's registers */
    if (least > 0 && (size_t)least + 16384 > size)
        size = (size_t)least + 16384;
#endif
    return size;
}

void
coir__overflow_init(coir__thread *t)
{
    (void)pthread_once(&install_once, install);
    if (!atomic_load(&enabled))
        return;
    stack_t now;
    if (sigaltstack(NULL, &now) != 0 || !(now.ss_flags & SS_DISABLE))
        return;
    size_t size = signal_stack_size();
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    stack_t own = {.ss_sp = memory, .ss_size = size};
    if (sigaltstack(&own, NULL) != 0) {
        (void)munmap(memory, size);
        return;
    }
    t->signal_stack = memory;
}

void
coir__overflow_fini(coir__thread *t)
{
    if (t->signal_stack == NULL)
        return;
    stack_t now;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == t->signal_stack) {
        stack_t none = {.ss_flags = SS_DISABLE};
        if (sigaltstack(&none, NULL) != 0)
            return; /* in use right now: leave it */
    }
    (void)munmap(t->signal_stack, signal_stack_size());
    t->signal_stack = NULL;
}

void
coir_overflow_report(int enable)
{
    atomic_store(&enabled, enable != 0);
}
