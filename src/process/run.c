/* run.c - a program from its start to its end, with all it writes.
 *
 * Its pipes are served by green threads of a scope, one each, so that neither
 * side ever waits for the other in vain. */
#include <coir/process.h>

#include <errno.h>
#include <signal.h>
#include <string.h>

#define LIMIT ((size_t)64 << 20)

typedef struct text {
    coir_socket *pipe;
    char *data;
    size_t len;
    size_t size;
    size_t limit;
} text;

/* Room for more, and for a NUL. */
static int
grow(text *t)
{
    if (t->size - t->len > 1)
        return 0;
    size_t size = t->size > 0 ? 2 * t->size : 4096;
    char *data = coir_realloc(t->data, size);
    if (data == NULL)
        return COIR_ENOMEM;
    t->data = data;
    t->size = size;
    return 0;
}

/* Read to the end. */
static int
collect(void *arg)
{
    text *t = arg;
    for (;;) {
        int err = grow(t);
        if (err < 0)
            return err;
        ssize_t n = coir_read(t->pipe, t->data + t->len, t->size - t->len - 1,
                              COIR_FOREVER);
        if (n < 0)
            return (int)n;
        t->len += (size_t)n;
        if (t->len > t->limit)
            return COIR_ERRNO(EMSGSIZE);
        if (n == 0) {
            t->data[t->len] = '\0';
            return 0;
        }
    }
}

typedef struct feeding {
    coir_socket *pipe;
    const coir_process_io *io;
} feeding;

/* A program need not read all of its input. */
static int
feed(void *arg)
{
    feeding *f = arg;
    int err = coir_write_all(f->pipe, f->io->input, f->io->input_len, NULL,
                             COIR_FOREVER);
    (void)coir_socket_close(f->pipe);
    f->pipe = NULL;
    return err == COIR_ERRNO(EPIPE) ? 0 : err;
}

/* Serve the pipes that there are, until all are closed. */
static int
communicate(feeding *in, text texts[2])
{
    coir_scope *scope;
    int err = coir_scope_begin(&scope);
    if (err < 0)
        return err;
    if (in->pipe != NULL)
        err = coir_scope_spawn(scope, feed, in, NULL);
    for (int i = 0; i < 2 && err == 0; i++)
        if (texts[i].pipe != NULL)
            err = coir_scope_spawn(scope, collect, &texts[i], NULL);
    if (err < 0)
        coir_scope_cancel(scope);
    int end = coir_scope_end(scope);
    return err < 0 ? err : end;
}

static void
close_pipe(coir_socket *s)
{
    if (s != NULL)
        (void)coir_socket_close(s);
}

int
coir_process_run(coir_process_io *io, const char *const argv[],
                 const coir_process_attr *attr, int64_t timeout_ns)
{
    if (coir_hub_get() == NULL)
        return COIR_ENOMEM;
    coir_process_attr own = {0};
    if (attr != NULL)
        own = *attr;
    feeding in = {.io = io};
    size_t limit = io->limit > 0 ? io->limit : LIMIT;
    text texts[2] = {{.limit = limit}, {.limit = limit}};
    own.in = (coir_stdio){.kind = COIR_STDIO_NULL};
    if (io->input != NULL)
        own.in = (coir_stdio){.kind = COIR_STDIO_PIPE, .pipe = &in.pipe};
    own.out = (coir_stdio){.kind = COIR_STDIO_PIPE, .pipe = &texts[0].pipe};
    if (own.err.kind == COIR_STDIO_INHERIT)
        own.err =
            (coir_stdio){.kind = COIR_STDIO_PIPE, .pipe = &texts[1].pipe};
    coir_process *p;
    int err = coir_process_spawn(&p, argv, &own);
    if (err < 0)
        return err;
    int status = 0;
    coir_deadline deadline;
    coir_deadline_begin(&deadline, timeout_ns);
    err = communicate(&in, texts);
    if (err == 0)
        err = coir_process_wait(p, &status, COIR_FOREVER);
    (void)coir_deadline_end(&deadline);
    if (err < 0)
        (void)coir_process_kill(p, SIGKILL);
    coir_process_free(p);
    close_pipe(in.pipe);
    close_pipe(texts[0].pipe);
    close_pipe(texts[1].pipe);
    if (err < 0) {
        coir_free(texts[0].data);
        coir_free(texts[1].data);
        return err;
    }
    io->out = texts[0].data;
    io->out_len = texts[0].len;
    io->err = texts[1].data;
    io->err_len = texts[1].len;
    io->status = status;
    return 0;
}
