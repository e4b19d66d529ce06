/* test_stat.c - files in the event loop. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop_helper.h"

static int calls;
static char path[220];

static void
note(coir_loop *loop, coir_stat *w, int revents)
{
    (void)loop;
    (void)w;
    CHECK_EQ(revents, COIR_STAT);
    calls++;
}

static void
begin(void)
{
    (void)snprintf(path, sizeof path, "%s/file", coir_test_dir());
}

static void
put(const char *text)
{
    FILE *file = fopen(path, "a");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK_EQ(fclose(file), 0);
}

static void
start(coir_loop *loop, coir_stat *w, int64_t interval)
{
    coir_stat_init(w, note, path, interval);
    CHECK_EQ(coir_stat_start(loop, w), 0);
}

static void
until(coir_loop *loop, int n)
{
    while (calls < n)
        (void)coir_loop_run(loop, COIR_RUN_ONCE);
}

TEST_EACH_BACKEND(stat, change_is_told)
{
    begin();
    put("one");
    coir_loop *loop = backend_loop(backend);
    coir_stat w;
    start(loop, &w, 0);
    CHECK_EQ(w.attr.st_size, 3);
    put("two");
    until(loop, 1);
    CHECK_EQ(w.prev.st_size, 3);
    CHECK_EQ(w.attr.st_size, 6);
    calls = 0;
    CHECK_EQ(chmod(path, 0600), 0);
    until(loop, 1);
    CHECK_EQ(w.attr.st_mode & 0777, 0600);
    coir_stat_stop(loop, &w);
    CHECK_EQ(coir_loop_run(loop, 0), 0);
    coir_loop_free(loop);
}

TEST_EACH_BACKEND(stat, coming_and_going_is_told)
{
    begin();
    coir_loop *loop = backend_loop(backend);
    coir_stat w;
    start(loop, &w, 0);
    CHECK_EQ(w.attr.st_nlink, 0);
    put("here");
    until(loop, 1);
    CHECK_EQ(w.prev.st_nlink, 0);
    CHECK(w.attr.st_nlink > 0);
    while (w.attr.st_nlink != 0) {
        (void)unlink(path);
        until(loop, calls + 1);
    }
    put("and again");
    until(loop, calls + 1);
    CHECK(w.attr.st_nlink > 0);
    coir_stat_stop(loop, &w);
    coir_loop_free(loop);
}

TEST(stat, several_watchers_of_one_file)
{
    begin();
    put("one");
    coir_loop *loop = backend_loop(&coir__backend_poll);
    coir_stat a, b;
    start(loop, &a, 0);
    start(loop, &b, 0);
    coir_stat_stop(loop, &a); /* and the other one is still told */
    put("two");
    until(loop, 1);
    CHECK_EQ(b.attr.st_size, 6);
    coir_stat_stop(loop, &b);
    coir_loop_free(loop);
}

/* Without inotify a timer looks; on a fake clock it takes no time. */
TEST(stat, without_inotify_it_looks_at_intervals)
{
    begin();
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    loop->flags |= COIR_LOOP_NOINOTIFY;
    coir_stat w;
    start(loop, &w, 2 * S);
    put("new");
    until(loop, 1);
    CHECK_EQ(f.waited, 2 * S);
    coir_stat_stop(loop, &w);
    start(loop, &w, 1); /* not that often */
    put("er");
    f.waited = 0;
    until(loop, 2);
    CHECK(f.waited > 100 * MS);
    coir_stat_stop(loop, &w);
    CHECK_EQ(coir_loop_run(loop, COIR_RUN_NOWAIT), 0);
    coir_loop_free(loop);
}

TEST(stat, same_is_no_change)
{
    begin();
    put("one");
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    loop->flags |= COIR_LOOP_NOINOTIFY;
    coir_stat w;
    start(loop, &w, S);
    fake_advance(&f, 10 * S);
    (void)coir_loop_run(loop, COIR_RUN_NOWAIT);
    CHECK_EQ(calls, 0);
    coir_stat_stat(loop, &w);
    CHECK_EQ(w.attr.st_size, 3);
    coir_stat_stop(loop, &w);
    coir_loop_free(loop);
}

TEST(stat, without_a_path_it_is_refused)
{
    fake f = {0};
    coir_loop *loop = fake_loop(&f);
    coir_stat w;
    coir_stat_init(&w, note, NULL, 0);
    CHECK_EQ(coir_stat_start(loop, &w), COIR_EINVAL);
    coir_loop_free(loop);
}
