/* clock.c - to be preloaded: a monotonic clock that stands still until
 * somebody sleeps, or sets it forward. So a program with one thread takes the
 * same course however fast it runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

static int64_t now_ns = NS_PER_S;

void
order_advance(int64_t ns)
{
    now_ns += ns;
}

static void
sleep_until(const struct timespec *t)
{
    int64_t ns = t->tv_sec * NS_PER_S + t->tv_nsec;
    if (ns > now_ns)
        now_ns = ns;
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
    if (id != CLOCK_MONOTONIC)
        return (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec = now_ns / NS_PER_S;
    t->tv_nsec = now_ns % NS_PER_S;
    return 0;
}

int
clock_nanosleep(clockid_t id, int flags, const struct timespec *t,
                struct timespec *left)
{
    (void)id;
    (void)left;
    if (flags & TIMER_ABSTIME)
        sleep_until(t);
    else
        now_ns += t->tv_sec * NS_PER_S + t->tv_nsec;
    return 0;
}

/* Wait with a limit: by the clock, if nothing has happened. */
static long
wait_for(long fd, long events, long count, int64_t limit_ns)
{
    long n = syscall(SYS_epoll_pwait, fd, events, count, 0, NULL, 8);
    if (n == 0)
        now_ns += limit_ns;
    return n;
}

int
epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    if (timeout >= 0)
        return (int)wait_for(fd, (long)events, count, timeout * 1000000L);
    return (int)syscall(SYS_epoll_pwait, fd, events, count, -1, NULL, 8);
}

long
syscall(long number, ...)
{
    static long (*real)(long, ...);
    if (real == NULL)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list args;
    va_start(args, number);
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_epoll_pwait2 && a[3] != 0) {
        const struct timespec *t = (const struct timespec *)a[3];
        return wait_for(a[0], a[1], a[2], t->tv_sec * NS_PER_S + t->tv_nsec);
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
