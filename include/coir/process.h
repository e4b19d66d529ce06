/* coir/process.h - processes, and signals, for green threads.
 *
 *     const char *argv[] = {"sort", "-u", NULL};
 *     coir_socket *in, *out;
 *     coir_process_attr attr = {.in = {COIR_STDIO_PIPE, .pipe = &in},
 *                               .out = {COIR_STDIO_PIPE, .pipe = &out}};
 *     coir_process *p;
 *     int status, err = coir_process_spawn(&p, argv, &attr);
 *     ... coir_write_all(in, ...), coir_socket_close(in), coir_read(out, ...)
 *     err = coir_process_wait(p, &status, COIR_FOREVER);
 *     coir_process_free(p);
 *
 * A process starts as by vfork() and exec(): what it costs does not depend on
 * how much memory this one has. Its end is known by a descriptor (pidfd):
 * there is no handler of SIGCHLD, and children that are not of this layer are
 * left alone. No zombie stays.
 *
 * Owner:   a coir_process is freed by coir_process_free(), pipes are the
 *          caller's sockets.
 * Threads: any, for processes; for signals see there.
 * Forks:   a process is no child of this one's children: there waiting for it
 *          fails with COIR_ERRNO(ECHILD).
 * Blocks:  what takes a timeout, the green thread only. To spawn blocks the OS
 *          thread until the program was found and begins.
 * Errors:  COIR_ERRNO(e) for what the kernel refused; COIR_ENOMEM; waits as in
 *          coir/hub.h. */
#ifndef COIR_PROCESS_H
#define COIR_PROCESS_H

#include <coir/net.h>

#include <sys/select.h> /* sigset_t, without the macros of POSIX, too */

#ifdef __cplusplus
extern "C" {
#endif

/* --- processes ----------------------------------------------------------- */

typedef struct coir_process coir_process;

/* What a process has as its standard input, output or error. */
enum coir_stdio_kind {
    COIR_STDIO_INHERIT, /* what this process has */
    COIR_STDIO_NULL,    /* /dev/null */
    COIR_STDIO_PIPE,    /* a pipe, whose other end is *pipe */
    COIR_STDIO_FD,      /* a descriptor of the caller's, which it keeps */
    COIR_STDIO_OUT      /* of the error: where the output goes */
};

typedef struct coir_stdio {
    int kind;           /* enum coir_stdio_kind */
    int fd;             /* of COIR_STDIO_FD */
    coir_socket **pipe; /* of COIR_STDIO_PIPE: set when it was spawned */
} coir_stdio;

enum coir_process_flags {
    COIR_PROCESS_SESSION = 1,      /* begins a session, and a group */
    COIR_PROCESS_GROUP = 2,        /* is in attr.group; 0: begins one */
    COIR_PROCESS_UMASK = 4,        /* has attr.umask */
    COIR_PROCESS_KEEP_FDS = 8,     /* has all that are not close-on-exec */
    COIR_PROCESS_KEEP_SIGNALS = 16 /* ignores and blocks what the caller does,
                                     instead of none */
};

typedef struct coir_process_attr {
    coir_stdio in, out, err;
    const char *const *env; /* "NAME=value", ..., NULL; NULL: this one's */
    const char *cwd;        /* NULL: this one's */
    const int *fds;         /* that it is to have, too, under the same numbers,
                               from 3 */
    size_t fd_count;
    unsigned flags; /* enum coir_process_flags */
    int group;
    unsigned umask;
} coir_process_attr;

/* Start a program: argv[0], which is looked up in the PATH of its environment
 * if it has no slash. `attr` NULL for the defaults. Errors of the exec, the
 * change of directory and the like are reported here: COIR_ERRNO(ENOENT) and
 * so on. COIR_EINVAL. */
COIR_API int coir_process_spawn(coir_process **out, const char *const argv[],
                                const coir_process_attr *attr);

COIR_API int coir_process_pid(const coir_process *p);

/* Wait until it has ended. `*status`, if not NULL, is as from waitpid(). May
 * be called again, and by several. COIR_ERRNO(ECHILD): somebody else has
 * waited for it, or SIGCHLD is ignored. */
COIR_API int coir_process_wait(coir_process *p, int *status,
                               int64_t timeout_ns);

/* Send it a signal. COIR_ERRNO(ESRCH): it has been waited for. It never
 * reaches another process that has got the same number. */
COIR_API int coir_process_kill(coir_process *p, int signum);

/* Forget it. One that runs goes on; when it ends there is no zombie. Nobody
 * may wait. NULL is ignored. */
COIR_API void coir_process_free(coir_process *p);

/* What a program read and wrote. To begin with, all but the first three are 0.
 */
typedef struct coir_process_io {
    const void *input; /* for its standard input, NULL: /dev/null */
    size_t input_len;
    size_t limit; /* of what it may write to each; 0: 64 MiB */
    char *out;    /* to be freed by coir_free(); a NUL follows the text */
    size_t out_len;
    char *err; /* the same; NULL if attr.err was set */
    size_t err_len;
    int status; /* as from waitpid() */
} coir_process_io;

/* Run a program to its end, and collect what it writes. attr.in and .out are
 * not looked at, attr.err is captured unless it is set. If the time is over,
 * the caller is cancelled, or it writes more than the limit
 * (COIR_ERRNO(EMSGSIZE)), it is killed, and nothing is in `io`. */
COIR_API int coir_process_run(coir_process_io *io, const char *const argv[],
                              const coir_process_attr *attr,
                              int64_t timeout_ns);

/* --- signals ------------------------------------------------------------- */

/* Signals that come to this process are collected, from open to close, instead
 * of doing what they do else:
 *
 *     sigset_t set = ...;
 *     coir_signals *s;
 *     coir_signals_open(&s, &set);
 *     while ((signum = coir_signals_wait(s, COIR_FOREVER)) > 0)
 *         ...
 *
 * Several of one signal that come before they are waited for are one. Of
 * several collections each gets all signals that it is for. They are opened
 * and closed in one OS thread, that of the hub whose loop watches the signals:
 * two hubs cannot watch the same one. Waiting may any thread. */
typedef struct coir_signals coir_signals;

/* COIR_EBUSY: the loop of another thread watches one of them. COIR_EINVAL:
 * there are none, or one that cannot be caught. */
COIR_API int coir_signals_open(coir_signals **out, const sigset_t *set);

/* The number of one that has come. */
COIR_API int coir_signals_wait(coir_signals *s, int64_t timeout_ns);

/* Nobody may wait. NULL is ignored. */
COIR_API void coir_signals_close(coir_signals *s);

/* Open, wait for one, close. */
COIR_API int coir_signal_wait(const sigset_t *set, int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif
