/* backend_select.c - select(), with sets as large as the descriptors need.
 *
 * FD_SETSIZE is a limit of the C library's type, not of the kernel: the sets
 * are our own, handed to the system call itself. */
#include "loop/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORD ((int)(sizeof(unsigned long) * CHAR_BIT))

/* Read and write, as told and as answered: four bitmaps of `words` each. */
enum { READ_IN, WRITE_IN, READ_OUT, WRITE_OUT, SETS };

typedef struct select_set {
    unsigned long *bits; /* SETS times words */
    int words;
} select_set;

static int
select_init(coir_loop *loop)
{
    loop->backend_data = coir_calloc(1, sizeof(select_set));
    return loop->backend_data != NULL ? 0 : COIR_ENOMEM;
}

static void
select_fini(coir_loop *loop)
{
    select_set *s = loop->backend_data;
    coir_free(s->bits);
    coir_free(s);
}

static int
select_reset(coir_loop *loop)
{
    select_set *s = loop->backend_data;
    if (s->bits != NULL)
        memset(s->bits, 0, (size_t)(SETS * s->words) * sizeof *s->bits);
    return 0;
}

static unsigned long *
set(select_set *s, int which)
{
    return s->bits + (ptrdiff_t)which * s->words;
}

static int
grow(select_set *s, int fd)
{
    int words = s->words > 0 ? s->words : 1024 / WORD;
    while (words * WORD <= fd)
        words *= 2;
    unsigned long *bits = coir_calloc(SETS * (size_t)words, sizeof *bits);
    if (bits == NULL)
        return ENOMEM;
    for (int which = 0; which < SETS && s->words > 0; which++)
        memcpy(bits + (ptrdiff_t)which * words, set(s, which),
               (size_t)s->words * sizeof *bits);
    coir_free(s->bits);
    s->bits = bits;
    s->words = words;
    return 0;
}

static void
put(select_set *s, int which, int fd, int on)
{
    unsigned long bit = 1UL << fd % WORD;
    if (on)
        set(s, which)[fd / WORD] |= bit;
    else
        set(s, which)[fd / WORD] &= ~bit;
}

static int
has(select_set *s, int which, int fd)
{
    return (int)(set(s, which)[fd / WORD] >> fd % WORD & 1);
}

static int
select_modify(coir_loop *loop, int fd, int events)
{
    select_set *s = loop->backend_data;
    /* The kernel ignores numbers above all that were ever open. */
    if (events != 0 && fcntl(fd, F_GETFD) < 0)
        return errno;
    if (fd >= s->words * WORD) {
        if (events == 0)
            return 0;
        int err = grow(s, fd);
        if (err != 0)
            return err;
    }
    put(s, READ_IN, fd, events & COIR_READ);
    put(s, WRITE_IN, fd, events & COIR_WRITE);
    return 0;
}

/* The kernel does not say which one it was. */
static void
kill_closed(coir_loop *loop)
{
    for (int fd = 0; fd < loop->fd_count; fd++)
        if (loop->fds[fd].registered && fcntl(fd, F_GETFD) < 0 &&
            errno == EBADF)
            coir__io_kill(loop, fd);
}

/* The highest first, so that the lowest is called first. */
static void
report(coir_loop *loop, select_set *s)
{
    const unsigned long *readable = set(s, READ_OUT);
    const unsigned long *writable = set(s, WRITE_OUT);
    for (int i = s->words; i-- > 0;) {
        unsigned long any = readable[i] | writable[i];
        while (any != 0) {
            int bit = WORD - 1 - __builtin_clzl(any);
            int fd = i * WORD + bit;
            any &= ~(1UL << bit);
            coir__io_ready(loop, fd, loop->fds[fd].generation,
                           (has(s, READ_OUT, fd) ? COIR_READ : 0) |
                               (has(s, WRITE_OUT, fd) ? COIR_WRITE : 0));
        }
    }
}

/* The kernel's own form: two 64-bit words on every architecture. */
struct timeout {
    int64_t seconds;
    int64_t nanoseconds;
};

static int
select_wait(coir_loop *loop, int64_t timeout_ns)
{
    select_set *s = loop->backend_data;
    struct timeout timeout = {timeout_ns / COIR_NS_PER_S,
                              timeout_ns % COIR_NS_PER_S};
    if (s->words > 0)
        memcpy(set(s, READ_OUT), set(s, READ_IN),
               2 * (size_t)s->words * sizeof *s->bits);
    coir__release(loop);
    long n = syscall(SYS_pselect6, s->words * WORD,
                     s->words > 0 ? set(s, READ_OUT) : NULL,
                     s->words > 0 ? set(s, WRITE_OUT) : NULL, NULL,
                     timeout_ns == COIR_FOREVER ? NULL : &timeout, NULL);
    int err = errno;
    coir__acquire(loop);
    if (n > 0)
        report(loop, s);
    else if (n < 0 && err == EINTR)
        return EINTR;
    else if (n < 0 && err == EBADF)
        kill_closed(loop);
    else if (n < 0) {
        errno = err;
        coir__syserr("pselect");
    }
    return 0;
}

const coir__backend coir__backend_select = {
    .flag = COIR_BACKEND_SELECT,
    .name = "select",
    .init = select_init,
    .fini = select_fini,
    .reset = select_reset,
    .modify = select_modify,
    .wait = select_wait,
};
