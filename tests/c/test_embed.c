/* test_embed.c - a loop inside another, on each backend of the outer one. */
#include <sys/wait.h>
#include <unistd.h>

#include "loop_helper.h"

static int inner_calls, outer_calls;

static void
inner_ready(coir_loop *loop, coir_io *w, int revents)
{
    (void)loop;
    (void)revents;
    char c;
    CHECK_EQ(read(w->fd, &c, 1), 1);
    inner_calls++;
}

static void
sweep(coir_loop *loop, coir_embed *w, int revents)
{
    CHECK_EQ(revents, COIR_EMBED);
    outer_calls++;
    coir_embed_sweep(loop, w);
}

static void
check_embed(const coir__backend *backend, coir_embed_fn *cb)
{
    coir_loop *outer = backend_loop(backend);
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    coir_embed embed;
    coir_embed_init(&embed, cb, inner);
    CHECK_EQ(coir_embed_start(outer, &embed), 0);
    coir_io io;
    coir_io_init(&io, inner_ready, fds[0], COIR_READ);
    CHECK_EQ(coir_io_start(inner, &io), 0);
    /* The turn that tells the inner backend of it would sweep, too. */
    (void)coir_loop_run(outer, COIR_RUN_NOWAIT);
    for (int i = 1; i <= 3; i++) {
        CHECK_EQ(write(fds[1], "x", 1), 1);
        while (inner_calls < i)
            (void)coir_loop_run(outer, COIR_RUN_ONCE);
    }
    coir_loop_verify(outer);
    CHECK_EQ(coir_loop_run(outer, COIR_RUN_NOWAIT), 1);
    coir_embed_stop(outer, &embed);
    CHECK_EQ(coir_loop_run(outer, 0), 0);
    coir_io_stop(inner, &io);
    coir_loop_free(inner);
    coir_loop_free(outer);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

TEST_EACH_BACKEND(embed, swept_by_itself)
{
    check_embed(backend, NULL);
}

TEST_EACH_BACKEND(embed, swept_by_the_callback)
{
    check_embed(backend, sweep);
    CHECK(outer_calls >= 3);
}

TEST_EACH_BACKEND(embed, works_after_a_fork)
{
    coir_loop *outer = backend_loop(backend);
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    coir_embed embed;
    coir_embed_init(&embed, NULL, inner);
    CHECK_EQ(coir_embed_start(outer, &embed), 0);
    (void)coir_loop_run(outer, COIR_RUN_NOWAIT);
    pid_t child = fork();
    if (child == 0) {
        int fds[2];
        coir_io io;
        CHECK_EQ(pipe(fds), 0);
        coir_io_init(&io, inner_ready, fds[0], COIR_READ);
        CHECK_EQ(coir_io_start(inner, &io), 0);
        (void)coir_loop_run(outer, COIR_RUN_NOWAIT);
        CHECK_EQ(write(fds[1], "x", 1), 1);
        while (inner_calls < 1)
            (void)coir_loop_run(outer, COIR_RUN_ONCE);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    coir_embed_stop(outer, &embed);
    coir_loop_free(inner);
    coir_loop_free(outer);
}

TEST(embed, only_some_backends)
{
    coir_loop *outer = backend_loop(&coir__backend_epoll);
    coir_loop *inner = backend_loop(&coir__backend_poll);
    coir_embed embed;
    coir_embed_init(&embed, NULL, inner);
    CHECK_EQ(coir_embed_start(outer, &embed), COIR_EINVAL);
    CHECK_EQ(coir_loop_embeddable(), COIR_BACKEND_EPOLL);
    coir_loop_free(inner);
    coir_loop_free(outer);
}

TEST(embed, without_memory_it_does_not_start)
{
    coir_loop *outer = backend_loop(&coir__backend_epoll);
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    coir_embed embed;
    EACH_ALLOC_FAILURE(n)
    {
        coir_embed_init(&embed, NULL, inner);
        int err = coir_embed_start(outer, &embed);
        coir_test_fail_none();
        CHECK(err == 0 || err == COIR_ENOMEM);
        CHECK_EQ(coir_is_active(&embed), err == 0);
        coir_embed_stop(outer, &embed);
        CHECK_EQ(coir_loop_run(outer, COIR_RUN_NOWAIT), 0);
    }
    coir_loop_free(inner);
    coir_loop_free(outer);
}

static coir_loop *outer_loop;
static coir_embed *freed;

static void
stop_and_overwrite(void)
{
    if (freed == NULL)
        return;
    coir_embed_stop(outer_loop, freed);
    memset(freed, 0, sizeof *freed);
    freed = NULL;
}

static void
free_in_prepare(coir_loop *loop, coir_prepare *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
    stop_and_overwrite();
}

static void
free_in_fork(coir_loop *loop, coir_fork *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
    stop_and_overwrite();
}

static coir_loop *
outer_with_embed(coir_loop *inner)
{
    outer_loop = backend_loop(&coir__backend_epoll);
    static coir_embed embed;
    freed = &embed;
    coir_embed_init(freed, NULL, inner);
    CHECK_EQ(coir_embed_start(outer_loop, freed), 0);
    return outer_loop;
}

TEST(embed, freed_by_a_callback_of_the_inner_loop)
{
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    coir_loop *outer = outer_with_embed(inner);
    coir_prepare w;
    coir_prepare_init(&w, free_in_prepare);
    CHECK_EQ(coir_prepare_start(inner, &w), 0);
    CHECK_EQ(coir_loop_run(outer, COIR_RUN_NOWAIT), 0);
    CHECK_NULL(freed);
    coir_loop_verify(outer);
    coir_prepare_stop(inner, &w);
    coir_loop_free(outer);
    coir_loop_free(inner);
}

TEST(embed, freed_by_a_fork_watcher_of_the_inner_loop)
{
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    coir_loop *outer = outer_with_embed(inner);
    coir_fork w;
    coir_fork_init(&w, free_in_fork);
    CHECK_EQ(coir_fork_start(inner, &w), 0);
    coir_loop_fork(outer);
    CHECK_EQ(coir_loop_run(outer, COIR_RUN_NOWAIT), 0);
    CHECK_NULL(freed);
    coir_loop_verify(outer);
    coir_fork_stop(inner, &w);
    coir_loop_free(outer);
    coir_loop_free(inner);
}

static fake outer_fake;
static int told;

static void
replace_in_fork(coir_loop *loop, coir_fork *w, int revents)
{
    (void)w;
    (void)revents;
    coir_embed *embed = freed;
    if (embed == NULL)
        return;
    stop_and_overwrite();
    coir_embed_init(embed, NULL, loop);
    CHECK_EQ(coir_embed_start(outer_loop, embed), 0);
    (void)coir_loop_run(outer_loop, COIR_RUN_NOWAIT);
    told = outer_fake.modifications;
    CHECK(told > 0);
}

/* The outer loop must not take it for the one that it swept. */
TEST(embed, started_where_one_was_freed_is_not_started_again)
{
    outer_loop = fake_loop(&outer_fake);
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    static coir_embed embed;
    freed = &embed;
    coir_embed_init(&embed, NULL, inner);
    CHECK_EQ(coir_embed_start(outer_loop, &embed), 0);
    coir_fork w;
    coir_fork_init(&w, replace_in_fork);
    CHECK_EQ(coir_fork_start(inner, &w), 0);
    coir_loop_fork(outer_loop);
    CHECK_EQ(coir_loop_run(outer_loop, COIR_RUN_NOWAIT), 1);
    CHECK_NULL(freed);
    CHECK_EQ(outer_fake.modifications, told);
    coir_loop_verify(outer_loop);
    coir_fork_stop(inner, &w);
    coir_embed_stop(outer_loop, &embed);
    coir_loop_free(outer_loop);
    coir_loop_free(inner);
}

/* As who glues another library's descriptors to a loop does it. */
static coir_io glued;

static void
start_glued(coir_loop *loop, coir_prepare *w, int revents)
{
    (void)w;
    (void)revents;
    CHECK_EQ(coir_io_start(loop, &glued), 0);
}

static void
stop_glued(coir_loop *loop, coir_check *w, int revents)
{
    (void)w;
    (void)revents;
    coir_io_stop(loop, &glued);
}

TEST(embed, changes_in_each_turn_of_the_inner_loop_do_not_keep_the_outer_one)
{
    coir_loop *outer = backend_loop(&coir__backend_epoll);
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    coir_embed embed;
    coir_embed_init(&embed, NULL, inner);
    CHECK_EQ(coir_embed_start(outer, &embed), 0);
    coir_io_init(&glued, inner_ready, fds[0], COIR_READ);
    coir_prepare prepare;
    coir_check check;
    coir_prepare_init(&prepare, start_glued);
    coir_check_init(&check, stop_glued);
    CHECK_EQ(coir_prepare_start(inner, &prepare), 0);
    CHECK_EQ(coir_check_start(inner, &check), 0);
    for (int i = 0; i < 3; i++)
        (void)coir_loop_run(outer, COIR_RUN_NOWAIT);
    CHECK_EQ(inner_calls, 0);
    coir_prepare_stop(inner, &prepare);
    coir_check_stop(inner, &check);
    coir_embed_stop(outer, &embed);
    coir_loop_free(outer);
    coir_loop_free(inner);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

TEST_EACH_BACKEND(embed, inner_loop_that_got_rid_of_stale_registrations)
{
    coir_loop *outer = backend_loop(backend);
    coir_loop *inner = backend_loop(&coir__backend_epoll);
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    coir_embed embed;
    coir_embed_init(&embed, NULL, inner);
    CHECK_EQ(coir_embed_start(outer, &embed), 0);
    coir_io io;
    coir_io_init(&io, inner_ready, fds[0], COIR_READ);
    CHECK_EQ(coir_io_start(inner, &io), 0);
    (void)coir_loop_run(outer, COIR_RUN_NOWAIT);
    /* The file lives on, under another number. */
    int duplicate = dup(fds[0]);
    (void)close(fds[0]);
    coir_io_stop(inner, &io);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    int before = coir__backend_epoll.descriptor(inner);
    while (coir__backend_epoll.descriptor(inner) == before)
        (void)coir_loop_run(outer, COIR_RUN_NOWAIT);
    coir_io_init(&io, inner_ready, duplicate, COIR_READ);
    CHECK_EQ(coir_io_start(inner, &io), 0);
    /* The turn that tells the inner backend of it sweeps, too. */
    (void)coir_loop_run(outer, COIR_RUN_NOWAIT);
    CHECK_EQ(inner_calls, 1);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    while (inner_calls < 2)
        (void)coir_loop_run(outer, COIR_RUN_ONCE);
    coir_io_stop(inner, &io);
    coir_embed_stop(outer, &embed);
    coir_loop_free(outer);
    coir_loop_free(inner);
    (void)close(duplicate);
    (void)close(fds[1]);
}
