/* server.c - servers: options, the timer, stopping. See server.h.
 *
 * States of a server:
 *
 *     NEW <--> RUNNING --stop--> STOPPING --time--> CANCELING --time-->
 *     CLOSING --last handler returns--> STOPPED
 *
 * From STOPPING on a step is left out when there is nothing left to wait for.
 * Whoever lets go of the server last looks at that. */
#include "http/server.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEFAULT_SECONDS(field, seconds)                                       \
    do {                                                                      \
        if (o->field == 0)                                                    \
            o->field = (seconds)*COIR_NS_PER_S;                               \
    } while (0)
#define DEFAULT(field, value)                                                 \
    do {                                                                      \
        if (o->field == 0)                                                    \
            o->field = (value);                                               \
    } while (0)
#define CONNECTIONS_MAX 100000

/* --- options ------------------------------------------------------------- */

static uint32_t
default_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
        limit.rlim_cur / 2 >= CONNECTIONS_MAX)
        return CONNECTIONS_MAX;
    return limit.rlim_cur < 4 ? 1 : (uint32_t)limit.rlim_cur / 2;
}

static void
set_options(coir_http_server *s, const coir_http_server_options *options)
{
    coir_http_server_options *o = &s->options;
    if (options != NULL)
        *o = *options;
    DEFAULT_SECONDS(handshake_timeout_ns, 10);
    DEFAULT_SECONDS(head_timeout_ns, 20);
    DEFAULT_SECONDS(idle_timeout_ns, 75);
    DEFAULT_SECONDS(linger_timeout_ns, 5);
    DEFAULT_SECONDS(rate_grace_ns, 20);
    DEFAULT(request_timeout_ns, COIR_FOREVER);
    DEFAULT(min_rate, 240);
    DEFAULT(max_connections, default_connections());
    DEFAULT(max_active, UINT32_MAX);
    DEFAULT(max_requests, UINT32_MAX);
    DEFAULT(max_drain, 65536);
    if (o->parser != NULL)
        s->parser = *o->parser;
    o->parser = &s->parser;
    if (s->parser.max_fields == 0)
        s->parser.max_fields = 100;
    if (s->parser.max_trailers == 0)
        s->parser.max_trailers = 8192;
}

static int
are_valid(const coir_http_server_options *o)
{
    if (o == NULL)
        return 1;
    const char *name = o->server_name;
    return o->handshake_timeout_ns >= 0 && o->head_timeout_ns >= 0 &&
           o->idle_timeout_ns >= 0 && o->request_timeout_ns >= 0 &&
           o->linger_timeout_ns >= 0 && o->rate_grace_ns >= 0 &&
           o->log_format >= COIR_HTTP_LOG_NONE &&
           o->log_format <= COIR_HTTP_LOG_JSON &&
           (name == NULL ||
            coir_http_check_field("Server", 6, name, strlen(name)) == 0);
}

/* --- the timer ----------------------------------------------------------- */

void
coir__http_wake_at(coir_http_server *s, int64_t deadline_ns)
{
    if (deadline_ns >= s->timer_ns)
        return;
    int64_t left = deadline_ns - coir_loop_now(s->loop);
    coir_timer_stop(s->loop, &s->timer);
    s->timer.timeout_ns = left > 0 ? left : 0;
    coir_timer_start(s->loop, &s->timer);
    s->timer_ns = deadline_ns;
}

static void next_step(coir_http_server *s);

/* When something is to be done next. */
static int64_t
next_deadline(const coir_http_server *s)
{
    int64_t next = COIR_FOREVER;
    for (int state = 0; state < COIR__HTTP_STATES; state++) {
        const coir__http_conn *c = s->lists[state].head;
        if (c != NULL && c->deadline_ns < next)
            next = c->deadline_ns;
    }
    if (s->paused && s->resume_ns < next)
        next = s->resume_ns;
    if (s->log_len > 0 && s->log_ns < next)
        next = s->log_ns;
    if (coir__http_stops(s) && s->stop_ns < next)
        next = s->stop_ns;
    return next;
}

static void
on_timer(coir_loop *loop, coir_timer *w, int revents)
{
    (void)revents;
    coir_http_server *s = w->data;
    int64_t now = coir_loop_now(loop);
    s->timer_ns = COIR_FOREVER;
    coir__http_hold(s);
    for (int state = 0; state < COIR__HTTP_STATES; state++) {
        coir__http_conn *c;
        while ((c = s->lists[state].head) != NULL && c->deadline_ns <= now)
            coir__http_conn_overdue(c);
    }
    if (s->paused && s->resume_ns <= now)
        coir__http_resume(s);
    if (s->log_len > 0 && s->log_ns <= now)
        coir__http_log_flush(s);
    while (coir__http_stops(s) && s->stop_ns <= now)
        next_step(s);
    int64_t next = next_deadline(s);
    if (next != COIR_FOREVER)
        coir__http_wake_at(s, next);
    coir__http_let_go(s);
}

static void
on_queue_timer(coir_loop *loop, coir_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    coir_http_server *s = w->data;
    coir__http_hold(s);
    if (coir__unlikely(coir__http_stops(s) && s->listeners != NULL)) {
        coir__http_accept_rest(s);
        coir__http_close_listeners(s);
    }
    coir__http_conn_run_queue(s);
    coir__http_let_go(s);
}

/* --- making and freeing -------------------------------------------------- */

static int
copy_name(coir_http_server *s)
{
    const char *name = s->options.server_name;
    if (name == NULL)
        return 0;
    size_t size = strlen(name) + 1;
    s->server_name = coir_malloc(size);
    if (s->server_name == NULL)
        return COIR_ENOMEM;
    memcpy(s->server_name, name, size);
    s->options.server_name = s->server_name;
    return 0;
}

int
coir_http_server_new_on(coir_http_server **out, coir_loop *loop,
                        const coir_http_host *host, void *ctx,
                        const coir_http_server_options *options)
{
    if (!are_valid(options))
        return COIR_EINVAL;
    coir_http_server *s = coir_calloc(1, sizeof *s);
    if (s == NULL)
        return COIR_ENOMEM;
    s->loop = loop;
    s->host = host;
    s->ctx = ctx;
    set_options(s, options);
    if (copy_name(s) < 0 || coir__http_x_reserve_spare(s) < 0) {
        coir_free(s->server_name);
        coir_free(s);
        return COIR_ENOMEM;
    }
    s->date_s = -1;
    s->log_time_s = -1;
    s->timer_ns = COIR_FOREVER;
    s->stop_ns = COIR_FOREVER;
    coir_timer_init(&s->timer, on_timer, 0, 0);
    s->timer.data = s;
    coir_timer_init(&s->queue_timer, on_queue_timer, 0, 0);
    s->queue_timer.data = s;
    *out = s;
    return 0;
}

static void
free_now(coir_http_server *s)
{
    coir_timer_stop(s->loop, &s->timer);
    coir_timer_stop(s->loop, &s->queue_timer);
    coir__http_log_flush(s);
    coir__http_x_free_all(s);
    coir_free(s->log);
    coir_free(s->server_name);
    if (s->frees_ctx)
        coir_free(s->ctx);
    coir_free(s);
}

static int
is_over(const coir_http_server *s)
{
    return coir__http_stops(s) && s->connections == 0 && s->listeners == NULL;
}

void
coir__http_let_go(coir_http_server *s)
{
    if (coir__likely(s->held > 1 || !is_over(s))) {
        s->held--;
        return;
    }
    if (!s->told) {
        s->told = 1;
        s->state = COIR_HTTP_STOPPED;
        coir_timer_stop(s->loop, &s->timer);
        coir_timer_stop(s->loop, &s->queue_timer);
        s->timer_ns = COIR_FOREVER;
        s->stop_ns = COIR_FOREVER;
        coir__http_log_flush(s);
        if (s->host->stopped != NULL)
            s->host->stopped(s->ctx, s); /* may free it: it is held */
    }
    s->held--;
    if (s->freed)
        free_now(s);
}

void
coir_http_server_free(coir_http_server *s)
{
    if (s == NULL)
        return;
    coir__http_hold(s);
    s->freed = 1;
    coir_http_server_stop(s, 0, 0);
    coir__http_let_go(s);
}

/* --- stopping ------------------------------------------------------------ */

static void
close_all(coir_http_server *s, int state)
{
    while (s->lists[state].head != NULL)
        coir__http_conn_close(s->lists[state].head);
}

static void
kill_all(coir_http_server *s, int error)
{
    static const uint8_t states[] = {COIR__HTTP_ACTIVE, COIR__HTTP_UNTIMED};
    for (size_t i = 0; i < sizeof states; i++) {
        coir__http_conn *next;
        for (coir__http_conn *c = s->lists[states[i]].head; c != NULL;
             c = next) {
            next = c->next;
            coir__http_conn_kill(c, error);
        }
    }
}

static void
next_step(coir_http_server *s)
{
    s->state++;
    if (s->state == COIR_HTTP_CANCELING) {
        coir__http_close_listeners(s);
        static const uint8_t states[] = {
            COIR__HTTP_SHAKING, COIR__HTTP_HEAD,     COIR__HTTP_IDLE,
            COIR__HTTP_QUEUED,  COIR__HTTP_DRAINING, COIR__HTTP_LINGERING};
        for (size_t i = 0; i < sizeof states; i++)
            close_all(s, states[i]);
        kill_all(s, COIR_ECANCELED);
        s->stop_ns = coir__http_after(s, s->cancel_ns);
    }
    else {
        s->state = COIR_HTTP_CLOSING;
        s->stop_ns = COIR_FOREVER;
        kill_all(s, COIR_ECLOSED);
        close_all(s, COIR__HTTP_LINGERING); /* of those that were cancelled */
        close_all(s, COIR__HTTP_DRAINING);
    }
}

/* The first call: no new connections, and none between two requests. The
 * listeners are closed in the next turn: until the loop has told the kernel
 * that it watches them no more one that is closed may live on, and connections
 * come in that nobody will accept. */
static void
begin_to_stop(coir_http_server *s)
{
    s->state = COIR_HTTP_STOPPING;
    coir__http_accept_rest(s);
    coir_timer_start(s->loop, &s->queue_timer);
    int64_t last = coir__http_after(s, COIR__HTTP_LAST_NS);
    static const uint8_t hurried[] = {COIR__HTTP_HEAD, COIR__HTTP_LINGERING};
    for (size_t i = 0; i < sizeof hurried; i++)
        for (coir__http_conn *c = s->lists[hurried[i]].head; c != NULL;
             c = c->next)
            if (c->deadline_ns > last)
                c->deadline_ns = last;
    coir__http_list *idle = &s->lists[COIR__HTTP_IDLE];
    while (idle->head != NULL)
        coir__http_conn_stop(idle->head);
    coir__http_wake_at(s, last);
    /* Who heeds it has been upgraded. */
    for (coir__http_conn *c = s->lists[COIR__HTTP_UNTIMED].head; c != NULL;
         c = c->next)
        coir__http_conn_tell(c);
}

void
coir_http_server_stop(coir_http_server *s, int64_t grace_ns, int64_t cancel_ns)
{
    coir__http_hold(s);
    if (!coir__http_stops(s)) {
        s->cancel_ns = cancel_ns;
        begin_to_stop(s);
    }
    if (cancel_ns < s->cancel_ns)
        s->cancel_ns = cancel_ns;
    /* In CANCELING it is `cancel_ns` that is still to come. */
    int64_t stop_ns = coir__http_after(
        s, s->state == COIR_HTTP_STOPPING ? grace_ns : cancel_ns);
    if (s->state < COIR_HTTP_CLOSING && stop_ns < s->stop_ns) {
        s->stop_ns = stop_ns;
        coir__http_wake_at(s, stop_ns);
    }
    int64_t now = coir_loop_now(s->loop);
    while (s->state < COIR_HTTP_CLOSING && s->stop_ns <= now)
        next_step(s);
    coir__http_let_go(s);
}

/* --- what there is to know ----------------------------------------------- */

int
coir_http_server_state(const coir_http_server *s)
{
    return s->state;
}

void *
coir_http_server_ctx(const coir_http_server *s)
{
    return s->ctx;
}

coir_loop *
coir_http_server_loop(const coir_http_server *s)
{
    return s->loop;
}

void
coir_http_server_counters(const coir_http_server *s, coir_http_counters *out)
{
    const coir__http_list *lists = s->lists;
    *out = s->counters;
    out->connections = s->connections;
    out->shaking = lists[COIR__HTTP_SHAKING].count;
    out->idle = lists[COIR__HTTP_IDLE].count;
    out->reading = lists[COIR__HTTP_DRAINING].count;
    out->queued = lists[COIR__HTTP_QUEUED].count;
    out->active =
        lists[COIR__HTTP_ACTIVE].count + lists[COIR__HTTP_UNTIMED].count;
    out->lingering = lists[COIR__HTTP_LINGERING].count;
    out->buffers = s->buffers;
    for (const coir__http_conn *c = lists[COIR__HTTP_HEAD].head; c != NULL;
         c = c->next) {
        out->buffers += c->partial_len;
        if (c->partial_len > 0)
            out->reading++;
        else
            out->idle++;
    }
}
