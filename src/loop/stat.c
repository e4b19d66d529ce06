/* stat.c - watching what lstat() says of a path.
 *
 * inotify tells when to look, where it can: on file systems of this machine,
 * for a path that exists, or whose nearest existing directory does. A timer
 * looks as well, every `interval`, unless inotify is enough: remote and
 * unknown file systems change without telling, and in a directory that is
 * not the parent nothing shows when the parent appears.
 * Either way lstat() is asked, and a change in what it says is an event. */
#include "loop/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

/* libev's: a little off whole seconds, which programs like to change at. */
#define DEFAULT_NS INT64_C(5007489100)
#define MIN_NS INT64_C(107489100)

#define FILE_EVENTS                                                           \
    (IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_MODIFY | IN_CREATE |      \
     IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DONT_FOLLOW | IN_MASK_ADD)
#define PARENT_EVENTS                                                         \
    (IN_DELETE_SELF | IN_MOVE_SELF | IN_CREATE | IN_DELETE | IN_MOVED_FROM |  \
     IN_MOVED_TO | IN_DONT_FOLLOW | IN_MASK_ADD)
#define NO_WD (-1)

/* --- looking ------------------------------------------------------------- */

void
coir_stat_stat(coir_loop *loop, coir_stat *w)
{
    (void)loop;
    struct stat st;
    if (lstat(w->path, &st) < 0)
        memset(&st, 0, sizeof st);
    else if (st.st_nlink == 0)
        st.st_nlink = 1; /* 0 says that it does not exist */
    w->attr = st;
}

static int
same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static int
same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
           a->st_mode == b->st_mode && a->st_nlink == b->st_nlink &&
           a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
           a->st_rdev == b->st_rdev && a->st_size == b->st_size &&
           same_time(a->st_atim, b->st_atim) &&
           same_time(a->st_mtim, b->st_mtim) &&
           same_time(a->st_ctim, b->st_ctim);
}

/* --- inotify ------------------------------------------------------------- */

/* Does inotify see every change on its file system? */
static int
is_local(const char *path)
{
    static const unsigned types[] = {
        0xef53,     /* ext2, ext3, ext4 */
        0x58465342, /* XFS */
        0x9123683e, /* btrfs */
        0x01021994, /* tmpfs */
        0x858458f6, /* ramfs */
        0xf2f52010, /* F2FS */
        0x2fc12fc1, /* ZFS */
        0xca451a4e, /* bcachefs */
        0x4d44,     /* FAT */
        0x3153464a, /* JFS */
    };
    struct statfs fs;
    if (statfs(path, &fs) < 0)
        return 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((unsigned)fs.f_type == types[i])
            return 1;
    return 0;
}

static void
forget_wd(coir_loop *loop, coir_stat *w)
{
    int wd = w->wd;
    w->wd = NO_WD;
    if (wd < 0)
        return;
    for (const coir_stat *other = loop->stats; other != NULL;
         other = other->next)
        if (other->wd == wd)
            return; /* one file, several watchers, one watch descriptor */
    (void)inotify_rm_watch(loop->inotify_fd, wd);
}

/* The nearest directory above the path that can be watched. */
static int
watch_parent(coir_loop *loop, const char *path)
{
    char parent[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof parent)
        return NO_WD;
    memcpy(parent, path, len + 1);
    char *slash;
    while ((slash = strrchr(parent, '/')) != NULL) {
        int is_root = slash == parent;
        slash[is_root] = '\0';
        int wd = inotify_add_watch(loop->inotify_fd, parent, PARENT_EVENTS);
        if (wd >= 0 || is_root || (errno != ENOENT && errno != ENOTDIR))
            return wd;
    }
    return inotify_add_watch(loop->inotify_fd, ".", PARENT_EVENTS);
}

/* Ask inotify, and start or stop the timer accordingly. */
static void
watch(coir_loop *loop, coir_stat *w)
{
    int enough = 0;
    w->wd = NO_WD;
    if (loop->inotify_fd >= 0) {
        w->wd = inotify_add_watch(loop->inotify_fd, w->path, FILE_EVENTS);
        if (w->wd >= 0)
            enough = is_local(w->path);
        else if (errno == ENOENT || errno == EACCES || errno == ENOTDIR)
            w->wd = watch_parent(loop, w->path);
    }
    if (enough)
        coir_timer_stop(loop, &w->timer);
    else if (!coir_is_active(&w->timer)) {
        w->timer.timeout_ns = w->timer.repeat_ns;
        coir__timer_start(loop, &w->timer, COIR__OWN);
    }
}

static void
look(coir_loop *loop, coir_stat *w)
{
    struct stat before = w->attr;
    coir_stat_stat(loop, w);
    if (same(&before, &w->attr))
        return;
    w->prev = before;
    if (loop->inotify_fd >= 0) {
        /* It may be another file by now; look again, for what happened
         * until the new one was watched. */
        forget_wd(loop, w);
        watch(loop, w);
        coir_stat_stat(loop, w);
    }
    coir__feed(loop, (coir_watcher *)w, COIR_STAT);
}

static void
on_timer(coir_loop *loop, coir_timer *timer, int revents)
{
    (void)revents;
    look(loop, timer->data);
}

static void
on_event(coir_loop *loop, const struct inotify_event *event)
{
    int gone = (event->mask & (IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF)) != 0;
    for (coir_stat *w = loop->stats; w != NULL; w = w->next) {
        if (w->wd != event->wd && !(event->mask & IN_Q_OVERFLOW))
            continue;
        if (gone) {
            w->wd = NO_WD;
            watch(loop, w);
        }
        look(loop, w);
    }
}

static void
read_events(coir_loop *loop, coir_io *io, int revents)
{
    coir__io_retry(loop, io, revents);
    _Alignas(struct inotify_event) char buf[4096];
    ssize_t len = read(io->fd, buf, sizeof buf);
    for (ssize_t at = 0; at < len;) {
        const struct inotify_event *event = (void *)(buf + at);
        on_event(loop, event);
        at += (ssize_t)(sizeof *event + event->len);
    }
}

static void
open_inotify(coir_loop *loop)
{
    loop->inotify_fd = -1;
    if (loop->flags & COIR_LOOP_NOINOTIFY)
        return;
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0)
        return; /* too many instances: the timers do it */
    coir_io_init(&loop->inotify_io, read_events, fd, COIR_READ);
    loop->inotify_io.priority = COIR_MAXPRI;
    if (coir__io_start_own(loop, &loop->inotify_io) < 0)
        (void)close(fd);
    else
        loop->inotify_fd = fd;
}

static void
close_inotify(coir_loop *loop)
{
    if (loop->inotify_fd < 0)
        return;
    coir__io_stop_own(loop, &loop->inotify_io);
    (void)close(loop->inotify_fd);
    loop->inotify_fd = -2;
}

/* --- the watcher --------------------------------------------------------- */

static int64_t
interval_of(const coir_stat *w, int flags)
{
    int64_t interval = w->interval_ns;
    if (flags & COIR__SECONDS) {
        double seconds;
        memcpy(&seconds, &w->interval_ns, sizeof seconds);
        interval = coir__from_seconds(seconds);
    }
    if (interval <= 0)
        return DEFAULT_NS;
    return interval < MIN_NS ? MIN_NS : interval;
}

int
coir__stat_start(coir_loop *loop, coir_stat *w, int flags)
{
    if (coir_is_active(w))
        return 0;
    if (w->path == NULL)
        return COIR_EINVAL;
    if (loop->inotify_fd == -2)
        open_inotify(loop);
    coir__clamp_priority((coir_watcher *)w);
    coir_stat_stat(loop, w);
    coir_timer_init(&w->timer, on_timer, 0, interval_of(w, flags));
    w->timer.priority = w->priority;
    w->timer.data = w;
    watch(loop, w);
    w->next = loop->stats;
    loop->stats = w;
    w->active = 1;
    loop->active++;
    return 0;
}

int
coir_stat_start(coir_loop *loop, coir_stat *w)
{
    return coir__stat_start(loop, w, 0);
}

void
coir_stat_stop(coir_loop *loop, coir_stat *w)
{
    (void)coir__unfeed(loop, (coir_watcher *)w);
    if (!coir_is_active(w))
        return;
    coir_stat **at = &loop->stats;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    forget_wd(loop, w);
    coir_timer_stop(loop, &w->timer);
    w->active = 0;
    loop->active--;
    if (loop->stats == NULL)
        close_inotify(loop);
}

void
coir__stats_fini(coir_loop *loop)
{
    close_inotify(loop);
}

void
coir__stats_forked(coir_loop *loop)
{
    if (loop->stats == NULL)
        return;
    close_inotify(loop); /* it is the parent's */
    open_inotify(loop);
    for (coir_stat *w = loop->stats; w != NULL; w = w->next)
        watch(loop, w);
}
