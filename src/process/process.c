/* process.c - processes, from their start to their end.
 *
 * Start. vfork(): the child borrows our memory until its exec, and we stand
 * still, so that nothing is copied. All it may do is what `plan` says, without
 * an allocation and with all signals blocked; handlers are gone before they
 * are not. What fails is left in the plan. Where vfork() is only a fork()
 * (sanitizers, emulators) the plan is not shared: `was_here` tells, and then
 * the error comes through a pipe, which the exec closes.
 *
 * End. Whoever waits, waits for the pidfd, each for himself, and then asks for
 * the status, which is kept. Where there are no pidfds a thread waits for the
 * process, and sets an event. The same thread is started for a process that is
 * given up while it runs, so that it does not stay a zombie.
 *
 * A default loop (coir/loop.h) reaps all children; it tells us what it got.
 * For that there is a list of those whose status is not known yet.
 *
 * The lock of the list is that of a wait queue, as these know of forks: what
 * is in the list in a child of this process are no children of it. */
#include <coir/process.h>
#include <coir/sync.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fork.h"
#include "loop/internal.h"
#include "process/internal.h"
#include "sync/waitq.h"

struct coir_process {
    int pid;
    int pidfd;      /* -1: none, then a thread sets `ended` */
    unsigned forks; /* whose child it is */
    int holders;    /* its owner, and a thread that waits */
    int state;      /* enum state */
    int status;
    coir_event ended;
    coir_process *next, *prev; /* while it is running, for all we know */
};

enum state { RUNNING, ENDED, LOST };

static struct {
    coir_waitq lock;
    unsigned forks;
    coir_process *first;
} list;

int coir__process_without_pidfd;
atomic_int coir__process_threads;

/* --- the list ------------------------------------------------------------ */

static void
lock(void)
{
    coir__waitq_lock(&list.lock);
    if (list.forks != coir__forks) {
        list.forks = coir__forks;
        list.first = NULL;
    }
}

static void
unlock(void)
{
    coir__waitq_unlock(&list.lock);
}

static void
link_process(coir_process *p)
{
    p->prev = NULL;
    p->next = list.first;
    if (p->next != NULL)
        p->next->prev = p;
    list.first = p;
}

static void
unlink_process(coir_process *p)
{
    if (p->next != NULL)
        p->next->prev = p->prev;
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        list.first = p->next;
}

/* With the lock. */
static void
set_state(coir_process *p, int state, int status)
{
    unlink_process(p);
    p->state = state;
    p->status = status;
}

/* A default loop has got the status of a child. */
static void
reaped_by_loop(int pid, int status)
{
    if (!WIFEXITED(status) && !WIFSIGNALED(status))
        return;
    coir_process *found = NULL;
    lock();
    /* The oldest: a newer one has got its number since. */
    for (coir_process *p = list.first; p != NULL; p = p->next)
        if (p->pid == pid)
            found = p;
    if (found != NULL)
        set_state(found, ENDED, status);
    unlock();
}

/* --- in the child -------------------------------------------------------- */

typedef struct plan {
    const char *const *argv;
    const char *const *env;
    const coir_process_attr *attr;
    const char *path; /* to look in; NULL: argv[0] is a path */
    char *name;       /* room for one */
    int fds[3];       /* to become 0, 1, 2; -1: as it is */
    int fd_max;       /* there is none above */
    int report;       /* pipe for the error */
    sigset_t mask;    /* of the caller */
    volatile int was_here;
    volatile int error;
} plan;

/* Everything returns 0, or an errno value. */
static int
set_stdio(plan *p)
{
    for (int i = 0; i < 3; i++)
        if (p->fds[i] >= 0 && p->fds[i] < 3 && p->fds[i] != i) {
            p->fds[i] = fcntl(p->fds[i], F_DUPFD_CLOEXEC, 3);
            if (p->fds[i] < 0)
                return errno;
        }
    for (int i = 0; i < 3; i++) {
        int fd = p->fds[i];
        if (fd >= 0 && (fd == i ? fcntl(fd, F_SETFD, 0) : dup2(fd, i)) < 0)
            return errno;
    }
    return 0;
}

static int
set_descriptors(const plan *p)
{
    const coir_process_attr *attr = p->attr;
    if (!(attr->flags & COIR_PROCESS_KEEP_FDS) &&
        syscall(COIR__SYS_CLOSE_RANGE, 3U, ~0U, COIR__CLOSE_RANGE_CLOEXEC) < 0)
        for (int fd = 3; fd <= p->fd_max; fd++)
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    for (size_t i = 0; i < attr->fd_count; i++)
        if (fcntl(attr->fds[i], F_SETFD, 0) < 0)
            return errno;
    return 0;
}

static int
set_place(const coir_process_attr *attr)
{
    if ((attr->flags & COIR_PROCESS_SESSION) && setsid() < 0)
        return errno;
    if ((attr->flags & COIR_PROCESS_GROUP) && setpgid(0, attr->group) < 0)
        return errno;
    if (attr->flags & COIR_PROCESS_UMASK)
        (void)umask((mode_t)attr->umask);
    return attr->cwd != NULL && chdir(attr->cwd) < 0 ? errno : 0;
}

/* The handlers are ours, and this memory is. */
static void
set_signals(plan *p)
{
    int keep = (p->attr->flags & COIR_PROCESS_KEEP_SIGNALS) != 0;
    for (int signum = 1; signum < NSIG; signum++) {
        struct sigaction action;
        if (sigaction(signum, NULL, &action) < 0 ||
            action.sa_handler == SIG_DFL ||
            (keep && action.sa_handler == SIG_IGN))
            continue;
        action = (struct sigaction){.sa_handler = SIG_DFL};
        (void)sigaction(signum, &action, NULL);
    }
    /* Those that libc keeps for itself, and from us, may have been ignored by
     * whoever started this process. The kernel's structure, all default. */
    static const uint64_t by_default[4];
    for (int signum = 32; !keep && signum < SIGRTMIN; signum++)
        (void)syscall(SYS_rt_sigaction, signum, by_default, NULL, 8);
    if (!keep)
        (void)sigemptyset(&p->mask);
    (void)sigprocmask(SIG_SETMASK, &p->mask, NULL);
}

/* Try argv[0] in each directory, as execvp() does. */
static int
execute(const plan *p)
{
    char *const *argv = (char *const *)(uintptr_t)p->argv;
    char *const *env = (char *const *)(uintptr_t)p->env;
    if (p->path == NULL) {
        (void)execve(argv[0], argv, env);
        return errno;
    }
    int error = ENOENT;
    for (const char *dir = p->path;; dir++) {
        size_t len = strcspn(dir, ":");
        memcpy(p->name, dir, len);
        if (len > 0)
            p->name[len++] = '/';
        memcpy(p->name + len, argv[0], strlen(argv[0]) + 1);
        (void)execve(p->name, argv, env);
        if (errno == EACCES)
            error = EACCES; /* unless there is one further on */
        else if (errno != ENOENT && errno != ENOTDIR)
            return errno;
        dir += strcspn(dir, ":");
        if (*dir == '\0')
            return error;
    }
}

static COIR__NOINLINE _Noreturn void
run_child(plan *p)
{
    p->was_here = 1;
    int error = set_stdio(p);
    if (error == 0)
        error = set_descriptors(p);
    if (error == 0)
        error = set_place(p->attr);
    if (error == 0) {
        set_signals(p);
        error = execute(p);
    }
    p->error = error;
    (void)!write(p->report, &error, sizeof error);
    _exit(127);
}

/* --- starting ------------------------------------------------------------ */

/* Returns the number of the process, or an error. */
static int
start(plan *p)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return COIR_ERRNO(errno);
    /* Not in the way of the child's standard descriptors. */
    p->report =
        report[1] > 2 ? report[1] : fcntl(report[1], F_DUPFD_CLOEXEC, 3);
    if (p->report != report[1])
        (void)close(report[1]);
    int result = -1;
    if (p->report >= 0) {
        sigset_t all;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &p->mask);
        sigset_t mask = p->mask;
        result = vfork(); /* NOLINT: for all that is said above */
        if (result == 0)
            run_child(p); /* NOLINT */
        int saved = errno;
        (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
        (void)close(p->report);
        errno = saved;
    }
    int pid = result;
    if (pid < 0)
        result = COIR_ERRNO(errno);
    else {
        int error = p->error;
        if (!p->was_here)
            while (read(report[0], &error, sizeof error) < 0 && errno == EINTR)
                ;
        if (error != 0) {
            (void)waitpid(pid, NULL, 0);
            result = COIR_ERRNO(error);
        }
    }
    (void)close(report[0]);
    return result;
}

/* Of the environment that it will have. */
static const char *
find_path(const char *const *env)
{
    for (; *env != NULL; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return "/bin:/usr/bin";
}

static int
limit_of_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX)
        return 1 << 20;
    return (int)limit.rlim_cur - 1;
}

/* Both ends of what it has as its descriptors 0, 1, 2. */
typedef struct stdio {
    int own[3]; /* to be closed here once it runs; -1: none */
    coir_socket *pipes[3];
} stdio;

static int
open_pipe(stdio *io, int i)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return COIR_ERRNO(errno);
    int ours = i == 0;
    int err = coir_socket_adopt(&io->pipes[i], ends[ours]);
    if (err < 0)
        (void)close(ends[ours]);
    io->own[i] = ends[!ours];
    return err;
}

static int
open_stdio(stdio *io, const coir_process_attr *attr, int fds[3])
{
    const coir_stdio *how[3] = {&attr->in, &attr->out, &attr->err};
    for (int i = 0; i < 3; i++) {
        int err = 0;
        switch (how[i]->kind) {
        case COIR_STDIO_INHERIT:
            fds[i] = -1;
            continue;
        case COIR_STDIO_FD:
            fds[i] = how[i]->fd;
            if (fds[i] < 0)
                return COIR_EINVAL;
            continue;
        case COIR_STDIO_OUT:
            if (i != 2)
                return COIR_EINVAL;
            fds[2] = fds[1] >= 0 ? fds[1] : 1;
            continue;
        case COIR_STDIO_NULL:
            io->own[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
            if (io->own[i] < 0)
                err = COIR_ERRNO(errno);
            break;
        case COIR_STDIO_PIPE:
            err = how[i]->pipe != NULL ? open_pipe(io, i) : COIR_EINVAL;
            break;
        default:
            err = COIR_EINVAL;
        }
        if (err < 0)
            return err;
        fds[i] = io->own[i];
    }
    return 0;
}

static void *wait_in_thread(void *process);

/* Have a thread wait for it. */
static int
start_thread(coir_process *p)
{
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0)
        return COIR_ENOMEM;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN + 65536);
    sigset_t all, mask;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &mask);
    p->holders++; /* nobody else holds it yet, or any more */
    atomic_fetch_add(&coir__process_threads, 1);
    pthread_t thread;
    int failed = pthread_create(&thread, &attr, wait_in_thread, p);
    if (failed) {
        p->holders--;
        atomic_fetch_sub(&coir__process_threads, 1);
    }
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    (void)pthread_attr_destroy(&attr);
    return failed ? COIR_ENOMEM : 0;
}

/* Start it, and put it into the list. A default loop in another thread must
 * not come in between: then nobody would know the status. */
static int
start_in_list(coir_process *process, plan *p)
{
    atomic_store(&coir__child_reaped, reaped_by_loop);
    int has_reaper = coir__default_loop != NULL;
    if (has_reaper)
        lock();
    process->pid = start(p);
    if (!has_reaper)
        lock();
    if (process->pid > 0)
        link_process(process);
    unlock();
    return process->pid > 0 ? 0 : process->pid;
}

/* It was started: how to know when it has ended. */
static int
watch(coir_process *p)
{
    p->holders = 1;
    p->forks = coir__forks;
    p->pidfd = -1;
    if (!coir__process_without_pidfd)
        p->pidfd = (int)syscall(COIR__SYS_PIDFD_OPEN, p->pid, 0);
    if (p->pidfd >= 0)
        return 0;
    int err = start_thread(p);
    if (err < 0) {
        (void)kill(p->pid, SIGKILL);
        (void)waitpid(p->pid, NULL, 0);
        lock();
        if (p->state == RUNNING)
            set_state(p, LOST, 0);
        unlock();
    }
    return err;
}

static int
spawn(coir_process *process, plan *p, stdio *io)
{
    int err = open_stdio(io, p->attr, p->fds);
    if (err < 0)
        return err;
    if (strchr(p->argv[0], '/') == NULL) {
        p->path = find_path(p->env);
        p->name = coir_malloc(strlen(p->path) + strlen(p->argv[0]) + 2);
        if (p->name == NULL)
            return COIR_ENOMEM;
    }
    p->fd_max = limit_of_descriptors();
    err = start_in_list(process, p);
    coir_free(p->name);
    return err == 0 ? watch(process) : err;
}

int
coir_process_spawn(coir_process **out, const char *const argv[],
                   const coir_process_attr *attr)
{
    static const coir_process_attr defaults;
    if (argv == NULL || argv[0] == NULL)
        return COIR_EINVAL;
    if (attr == NULL)
        attr = &defaults;
    coir_process *process = coir_calloc(1, sizeof *process);
    if (process == NULL)
        return COIR_ENOMEM;
    plan p = {.argv = argv, .env = attr->env, .attr = attr};
    if (p.env == NULL)
        p.env = (const char *const *)(uintptr_t)environ;
    stdio io = {.own = {-1, -1, -1}};
    int err = spawn(process, &p, &io);
    for (int i = 0; i < 3; i++) {
        if (io.own[i] >= 0)
            (void)close(io.own[i]);
        if (err < 0 && io.pipes[i] != NULL)
            (void)coir_socket_close(io.pipes[i]);
    }
    if (err < 0) {
        coir_free(process);
        return err;
    }
    const coir_stdio *how[3] = {&attr->in, &attr->out, &attr->err};
    for (int i = 0; i < 3; i++)
        if (io.pipes[i] != NULL)
            *how[i]->pipe = io.pipes[i];
    *out = process;
    return 0;
}

/* --- the end ------------------------------------------------------------- */

/* Ask for its status. */
static int
look(coir_process *p)
{
    lock();
    if (p->forks != coir__forks)
        p->state = LOST; /* it is the parent's; and in no list */
    else if (p->state == RUNNING) {
        int status;
        int pid;
        do
            pid = waitpid(p->pid, &status, WNOHANG);
        while (pid < 0 && errno == EINTR);
        if (pid == p->pid)
            set_state(p, ENDED, status);
        else if (pid < 0)
            set_state(p, LOST, 0);
    }
    int state = p->state;
    unlock();
    return state;
}

static void
let_go(coir_process *p)
{
    lock();
    /* In the child of a fork there is no thread that holds it. */
    int last = --p->holders == 0 || p->forks != coir__forks;
    unlock();
    if (!last)
        return;
    if (look(p) == RUNNING) {
        lock();
        unlink_process(p);
        unlock();
    }
    if (p->pidfd >= 0)
        (void)close(p->pidfd);
    coir_free(p);
}

static void *
wait_in_thread(void *process)
{
    coir_process *p = process;
    siginfo_t info;
    while (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOWAIT) < 0 &&
           errno == EINTR)
        ;
    coir_event_set(&p->ended);
    let_go(p);
    atomic_fetch_sub(&coir__process_threads, 1);
    return NULL;
}

int
coir_process_pid(const coir_process *p)
{
    return p->pid;
}

int
coir_process_wait(coir_process *p, int *status, int64_t timeout_ns)
{
    int state;
    while ((state = look(p)) == RUNNING) {
        int err = p->pidfd >= 0 ? coir_wait_fd(p->pidfd, COIR_READ, timeout_ns)
                                : coir_event_wait(&p->ended, timeout_ns);
        if (err < 0)
            return err;
    }
    if (state == LOST)
        return COIR_ERRNO(ECHILD);
    if (status != NULL)
        *status = p->status;
    return 0;
}

int
coir_process_kill(coir_process *p, int signum)
{
    /* Not reaped by us meanwhile: the number stays its own. */
    lock();
    int err = ESRCH;
    if (p->state == RUNNING) {
        long failed = p->pidfd >= 0 ? syscall(COIR__SYS_PIDFD_SEND_SIGNAL,
                                              p->pidfd, signum, NULL, 0)
                                    : kill(p->pid, signum);
        err = failed < 0 ? errno : 0;
    }
    unlock();
    return err != 0 ? COIR_ERRNO(err) : 0;
}

void
coir_process_free(coir_process *p)
{
    if (p == NULL)
        return;
    if (look(p) == RUNNING && p->pidfd >= 0)
        (void)start_thread(p);
    let_go(p);
}
