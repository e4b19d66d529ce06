/* stat.c - ev_stat. */
#include "case.h"

static char dir[] = "/tmp/ev_stat.XXXXXX";
static char path[64];

static void
remove_files(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
}

static void
make_dir(void)
{
    need(mkdtemp(dir) != NULL, "mkdtemp");
    (void)sprintf(path, "%s/file", dir);
    (void)atexit(remove_files);
}

static void
append(const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    need(fd >= 0, "open");
    put(fd, text);
    (void)close(fd);
}

static int
size_of(const ev_statdata *data)
{
    return data->st_nlink != 0 ? (int)data->st_size : -1;
}

ON(stat, say_change)
{
    /* Of a file that is missing st_nlink alone says anything. */
    say("%s: size %d, before %d", names_of(revents), size_of(&w->attr),
        size_of(&w->prev));
    ev_break(EV_A_ EVBREAK_ONE);
}

CASE(ev_stat_init)
{
    ev_stat w;
    ev_stat_init(&w, say_stat, "/nowhere", 2.5);
    say("path %s, interval %g, active %d, pending %d, priority %d", w.path,
        w.interval, ev_is_active(&w), ev_is_pending(&w), ev_priority(&w));
}

CASE(ev_stat_set)
{
    ev_stat w;
    ev_stat_init(&w, say_stat, "/nowhere", 2.5);
    ev_stat_set(&w, "/elsewhere", 0);
    say("path %s, interval %g", w.path, w.interval);
}

/* The attributes are read at the start. */
CASE(ev_stat_start)
{
    DEFAULT_LOOP;
    make_dir();
    append("abc");
    ev_stat w;
    ev_stat_init(&w, say_stat, path, 0);
    ev_stat_start(EV_A_ &w);
    say("active %d, exists %d, a file %d, size %d", !!ev_is_active(&w),
        w.attr.st_nlink != 0, S_ISREG(w.attr.st_mode), (int)w.attr.st_size);
    say("runs on %d", !!ev_run(EV_A_ EVRUN_NOWAIT));
}

CASE(ev_stat_missing)
{
    DEFAULT_LOOP;
    make_dir();
    ev_stat w;
    ev_stat_init(&w, say_stat, path, 0);
    ev_stat_start(EV_A_ &w);
    say("exists %d", w.attr.st_nlink != 0);
}

static ev_timer patience;

/* All changes to one file, one after the other. */
static void
change_file(EV_P_ ev_tstamp interval)
{
    ev_stat w;
    make_dir();
    ev_stat_init(&w, say_change, path, interval);
    ev_stat_start(EV_A_ &w);
    ev_timer_init(&patience, give_up, 15, 0);
    ev_timer_start(EV_A_ &patience);
    ev_run(EV_A_ EVRUN_NOWAIT);
    append("abc");
    ev_run(EV_A_ 0);
    ev_sleep(0.02); /* another mtime */
    append("defg");
    ev_run(EV_A_ 0);
    ev_sleep(0.02);
    need(chmod(path, 0400) == 0, "chmod");
    ev_run(EV_A_ 0);
    (void)unlink(path);
    ev_run(EV_A_ 0);
    ev_stat_stop(EV_A_ &w);
    ev_timer_stop(EV_A_ &patience);
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_stat_changes)
{
    DEFAULT_LOOP;
    change_file(EV_A_ 0.15);
}

#if EV_MULTIPLICITY
CASE(EVFLAG_NOINOTIFY)
{
    change_file(loop_with(EVFLAG_NOINOTIFY), 0.15);
}
#endif

ON(stat, say_existence)
{
    say("%s: exists %d, before %d", names_of(revents), w->attr.st_nlink != 0,
        w->prev.st_nlink != 0);
    ev_break(EV_A_ EVBREAK_ONE);
}

CASE(ev_stat_directory)
{
    DEFAULT_LOOP;
    make_dir();
    ev_stat w;
    ev_stat_init(&w, say_existence, dir, 0.15);
    ev_stat_start(EV_A_ &w);
    ev_timer_init(&patience, give_up, 1, 0);
    ev_timer_start(EV_A_ &patience);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_sleep(0.02);
    append("x");
    ev_run(EV_A_ 0);
}

/* It reads, and forgets the change. */
CASE(ev_stat_stat)
{
    DEFAULT_LOOP;
    make_dir();
    append("abc");
    ev_stat w;
    ev_timer timer;
    ev_stat_init(&w, say_change, path, 0.15);
    ev_stat_stat(EV_A_ &w);
    say("size %d, active %d", (int)w.attr.st_size, ev_is_active(&w));
    ev_stat_start(EV_A_ &w);
    ev_sleep(0.02);
    append("de");
    ev_stat_stat(EV_A_ &w);
    say("size %d", (int)w.attr.st_size);
    ev_timer_init(&timer, break_one, 0.4, 0);
    ev_timer_start(EV_A_ &timer);
    ev_run(EV_A_ 0);
}

CASE(ev_stat_stop)
{
    DEFAULT_LOOP;
    make_dir();
    ev_stat w;
    ev_stat_init(&w, say_stat, path, 0.15);
    ev_stat_start(EV_A_ &w);
    ev_stat_stop(EV_A_ &w);
    append("x");
    say("active %d", ev_is_active(&w));
    say("runs on %d", ev_run(EV_A_ 0));
}

CASE(ev_stat_two_on_one_path)
{
    DEFAULT_LOOP;
    make_dir();
    append("x");
    ev_stat a, b;
    ev_stat_init(&a, say_stat, path, 0.15);
    NAME(&a, "a");
    ev_set_priority(&a, 1);
    ev_stat_init(&b, say_stat, path, 0.15);
    NAME(&b, "b");
    ev_stat_start(EV_A_ &a);
    ev_stat_start(EV_A_ &b);
    ev_run(EV_A_ EVRUN_NOWAIT);
    ev_sleep(0.02);
    append("y");
    while (a.attr.st_size != 2 || b.attr.st_size != 2)
        ev_run(EV_A_ EVRUN_ONCE);
}

/* A least interval is enforced, and seen in the field. */
CASE(ev_stat_interval)
{
    DEFAULT_LOOP;
    ev_stat w;
    ev_stat_init(&w, say_stat, "/", 0.001);
    ev_stat_start(EV_A_ &w);
    say("as it was set %d", w.interval == 0.001);
}
