/* host.c - servers on libcoir's own green threads.
 *
 * A green thread per call of start(); it handles request after request as long
 * as there is one at once. It is cancelled by coir_cancel(), but for one that
 * has not run yet: that would never do, and its exchange has to be finished.
 * So it is noted in `user`, and it cancels itself. */
#include "http/server.h"

#include "hub/internal.h"

#include <coir/sim.h>
#include <coir/sync.h>

#include <string.h>

typedef struct hub_server {
    coir_http_handler *handler;
    void *arg;
    coir_event stopped;
} hub_server;

/* In `user` of an exchange: its green thread, or one of these. */
static char not_started, is_cancelled;

/* The handler has failed. */
static void
fail(coir_http_exchange *x)
{
    switch (coir_http_response_state(x)) {
    case COIR_HTTP_BEGUN:
        (void)coir_http_restart(x);
        break;
    case COIR_HTTP_SENDING:
        coir_http_abort(x);
        break;
    default:
        break;
    }
}

static int
handle(void *arg)
{
    coir_http_exchange *x = arg;
    const hub_server *h = coir_http_server_ctx(x->server);
    int more;
    do {
        coir_green *self = coir_self();
        if (x->user == &is_cancelled)
            coir_cancel(self);
        x->user = self;
        if (h->handler(x, h->arg) < 0)
            fail(x);
        more = coir_http_finish(x);
        if (more)
            (void)coir_yield();
    } while (more);
    return 0;
}

static int
host_start(void *ctx, coir_http_exchange *x)
{
    static const coir_green_attr attr = {.name = "http", .detached = 1};
    (void)ctx;
    x->user = &not_started;
    return coir_spawn(NULL, handle, x, &attr);
}

static void
host_run(void *ctx, coir_http_exchange *x)
{
    (void)ctx;
    (void)x;
    coir__hub_run_only(coir__hub);
}

static int
host_wait(void *ctx, coir_http_exchange *x, int slot, int64_t timeout_ns)
{
    (void)ctx;
    x->waiting[slot] = coir_self();
    if (x->waiting[slot] == NULL)
        return COIR_EINVAL;
    int result = coir_park(
        slot == COIR_HTTP_READER ? "http read" : "http write", x, timeout_ns);
    x->waiting[slot] = NULL;
    return result;
}

static void
host_wake(void *ctx, coir_http_exchange *x, int slot, int result)
{
    (void)ctx;
    (void)coir_unpark(x->waiting[slot], result);
}

static void
host_cancel(void *ctx, coir_http_exchange *x, int reason)
{
    (void)ctx;
    (void)reason;
    if (x->user == &not_started)
        x->user = &is_cancelled;
    else if (x->user != &is_cancelled)
        coir_cancel(x->user);
}

static void
host_stopped(void *ctx, coir_http_server *s)
{
    hub_server *h = ctx;
    (void)s;
    coir_event_set(&h->stopped);
}

static const coir_http_host hub_host = {
    .start = host_start,
    .run = host_run,
    .wait = host_wait,
    .wake = host_wake,
    .cancel = host_cancel,
    .stopped = host_stopped,
};

int
coir_http_server_new(coir_http_server **out, coir_http_handler *handler,
                     void *arg, const coir_http_server_options *options)
{
    if (coir_sim_active())
        return COIR_ENOSYS; /* its sockets are the system's */
    coir_hub *hub = coir_hub_get();
    hub_server *h = hub != NULL ? coir_calloc(1, sizeof *h) : NULL;
    if (h == NULL)
        return COIR_ENOMEM;
    h->handler = handler;
    h->arg = arg;
    coir_event_init(&h->stopped);
    int err = coir_http_server_new_on(out, coir_hub_loop(hub), &hub_host, h,
                                      options);
    if (err < 0)
        coir_free(h);
    else
        (*out)->frees_ctx = 1;
    return err;
}

int
coir_http_server_join(coir_http_server *s, int64_t timeout_ns)
{
    if (s->host != &hub_host)
        return COIR_EINVAL;
    hub_server *h = s->ctx;
    return coir_event_wait(&h->stopped, timeout_ns);
}
