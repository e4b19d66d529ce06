/* wsgiserver.c - the type HTTPServer: libcoir's server on Python's scheduler.
 *
 * libcoir's server drives connections from callbacks of the loop. What it
 * needs of a scheduler is here, as its host: a request gets a greenlet that
 * stands in the hub's ready queue (wsgi.c); who has to wait for a connection
 * parks as everybody does, and is woken through his coir_wait, to which the
 * exchange has a pointer.
 *
 * A server that was started has a reference to itself until it is stopped. If
 * its loop is destroyed before, it goes with it.
 *
 * Threads: all of it in the thread of the hub it was made in, but for join().
 */
#include "wsgi.h"

#include <errno.h>
#include <stddef.h>

#define SELF ((ServerObject *)op)

/* --- the host ------------------------------------------------------------ */

static int
host_start(void *ctx, coir_http_exchange *x)
{
    return coir__request_start(ctx, x);
}

static void
host_run(void *ctx, coir_http_exchange *x)
{
    coir__request_run(ctx, x);
}

static int
host_wait(void *ctx, coir_http_exchange *x, int slot, int64_t timeout_ns)
{
    const ServerObject *s = ctx;
    RequestObject *r = x->user;
    coir_pythread *t = coir__pythread_get();
    coir_wait *w = t != NULL ? coir__wait_get(t) : NULL;
    if (COIR__UNLIKELY(w == NULL)) {
        Py_XSETREF(r->error[slot], coir__error_take());
        return COIR_ECANCELED;
    }
    int how = COIR_WOKEN_WAITS;
    r->result[slot] = COIR_ECANCELED;
    x->waiting[slot] = w;
    PyObject *res =
        coir__park(t, s->hub, NULL, slot == COIR_HTTP_READER ? "recv" : "send",
                   (PyObject *)r, timeout_ns, &how);
    x->waiting[slot] = NULL;
    if (COIR__LIKELY(res != NULL && how == COIR_WOKEN_BY_WAKE)) {
        Py_DECREF(res);
        return r->result[slot];
    }
    if (res != NULL) {
        Py_DECREF(res);
        if (how == COIR_WOKEN_BY_TIME)
            return COIR_ETIMEDOUT;
        PyErr_SetString(coir__core.error,
                        "a request that waits for its client was switched "
                        "to by somebody else");
    }
    Py_XSETREF(r->error[slot], coir__error_take());
    return COIR_ECANCELED;
}

static void
host_wake(void *Py_UNUSED(ctx), coir_http_exchange *x, int slot, int result)
{
    coir_wait *w = x->waiting[slot];
    RequestObject *r = x->user;
    if (w == NULL || !w->is_waiting || w->woken != COIR_WOKEN_WAITS)
        return;
    r->result[slot] = result;
    if (result < 0 && r->cancelled != 0 && w->green == r->green)
        r->is_told = 1;
    coir__wake(w, NULL);
}

static void
host_cancel(void *Py_UNUSED(ctx), coir_http_exchange *x, int reason)
{
    coir__request_cancel(x, reason);
}

static void
host_log(void *ctx, const char *line, size_t len)
{
    const ServerObject *s = ctx;
    if (s->on_log == NULL)
        return;
    PyObject *text = PyUnicode_DecodeLatin1(line, (Py_ssize_t)len, NULL);
    PyObject *res = text != NULL ? PyObject_CallOneArg(s->on_log, text) : NULL;
    if (res == NULL)
        PyErr_WriteUnraisable(s->on_log);
    Py_XDECREF(text);
    Py_XDECREF(res);
}

static void
host_stopped(void *ctx, coir_http_server *Py_UNUSED(http))
{
    ServerObject *s = ctx;
    while (s->waiters.head != NULL)
        coir__wake(coir__wait_of(s->waiters.head), NULL);
    if (s->is_running) {
        s->is_running = 0;
        Py_DECREF(s);
    }
}

static const coir_http_host host = {
    .start = host_start,
    .run = host_run,
    .wait = host_wait,
    .wake = host_wake,
    .cancel = host_cancel,
    .log = host_log,
    .stopped = host_stopped,
};

/* --- options ------------------------------------------------------------- */

struct options {
    coir_http_server_options server;
    coir_http_options parser;
};

enum kind { TIME, SMALL, LARGE, NUMBER, FLAG };

#define OF_SERVER(field) offsetof(struct options, server.field)
#define OF_PARSER(field) offsetof(struct options, parser.field)

/* Times are in seconds, None or 0 for no limit; so it is for other limits. */
static const struct {
    const char *name;
    size_t at;
    enum kind kind;
    unsigned flag;
} known[] = {
    {"handshake_timeout", OF_SERVER(handshake_timeout_ns), TIME, 0},
    {"head_timeout", OF_SERVER(head_timeout_ns), TIME, 0},
    {"idle_timeout", OF_SERVER(idle_timeout_ns), TIME, 0},
    {"request_timeout", OF_SERVER(request_timeout_ns), TIME, 0},
    {"linger_timeout", OF_SERVER(linger_timeout_ns), TIME, 0},
    {"rate_grace", OF_SERVER(rate_grace_ns), TIME, 0},
    {"min_rate", OF_SERVER(min_rate), NUMBER, 0},
    {"max_connections", OF_SERVER(max_connections), SMALL, 0},
    {"max_active", OF_SERVER(max_active), SMALL, 0},
    {"max_keep_alive_requests", OF_SERVER(max_requests), SMALL, 0},
    {"max_drain", OF_SERVER(max_drain), LARGE, 0},
    {"log_format", OF_SERVER(log_format), NUMBER, 0},
    {"log_fd", OF_SERVER(log_fd), NUMBER, 0},
    {"keep_alive", OF_SERVER(flags), FLAG, COIR_HTTP_NO_KEEP_ALIVE},
    {"date", OF_SERVER(flags), FLAG, COIR_HTTP_NO_DATE},
    {"max_line", OF_PARSER(max_line), SMALL, 0},
    {"max_field", OF_PARSER(max_field), SMALL, 0},
    {"max_fields", OF_PARSER(max_fields), SMALL, 0},
    {"max_head", OF_PARSER(max_head), SMALL, 0},
    {"max_trailers", OF_PARSER(max_trailers), SMALL, 0},
    {"max_body", OF_PARSER(max_body), LARGE, 0},
};

static int
set_number(const char *name, PyObject *value, long long most, long long *out)
{
    long long n = value != Py_None ? PyLong_AsLongLong(value) : 0;
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n < 0 || n > most) {
        PyErr_Format(PyExc_ValueError, "%s must be from 0 to %lld, not %lld",
                     name, most, n);
        return -1;
    }
    *out = n;
    return 0;
}

static int
set_option(struct options *o, size_t i, PyObject *value)
{
    void *at = (char *)o + known[i].at;
    const char *name = known[i].name;
    long long n = 0;
    int on;
    switch (known[i].kind) {
    case TIME:
        if (coir__timeout_ns(value, at) < 0)
            return -1;
        if (*(int64_t *)at == 0)
            *(int64_t *)at = COIR_FOREVER;
        return 0;
    case LARGE:
        if (set_number(name, value, INT64_MAX, &n) < 0)
            return -1;
        *(uint64_t *)at = n > 0 ? (uint64_t)n : (uint64_t)INT64_MAX;
        return 0;
    case FLAG:
        on = PyObject_IsTrue(value);
        if (on == 0)
            *(unsigned *)at |= known[i].flag;
        return on < 0 ? -1 : 0;
    default:
        if (set_number(name, value, INT32_MAX, &n) < 0)
            return -1;
        if (n == 0 && known[i].kind == SMALL)
            n = UINT32_MAX;
        *(uint32_t *)at = (uint32_t)n;
        return 0;
    }
}

/* Strings are borrowed from the dict. */
static int
parse_options(PyObject *dict, struct options *o)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    memset(o, 0, sizeof *o);
    while (PyDict_Next(dict, &at, &key, &value)) {
        size_t i = 0, count = sizeof known / sizeof *known;
        const char *name = PyUnicode_AsUTF8(key);
        if (name == NULL)
            return -1;
        if (strcmp(name, "server_name") == 0) {
            o->server.server_name =
                value != Py_None ? PyUnicode_AsUTF8(value) : NULL;
            if (o->server.server_name == NULL && PyErr_Occurred())
                return -1;
            continue;
        }
        while (i < count && strcmp(name, known[i].name) != 0)
            i++;
        if (i == count) {
            PyErr_Format(PyExc_TypeError, "no such option: %R", key);
            return -1;
        }
        if (set_option(o, i, value) < 0)
            return -1;
    }
    o->server.parser = &o->parser;
    return 0;
}

/* --- making and freeing -------------------------------------------------- */

/* The loop goes: everything of the server has to leave it now. */
static void
loop_goes(coir_loop *Py_UNUSED(loop), coir_cleanup *w, int Py_UNUSED(revents))
{
    ServerObject *s = w->data;
    coir_http_server *http = s->http;
    s->http = NULL;
    coir_http_server_free(http); /* calls host_stopped() */
}

static PyObject *
raise_error(int err)
{
    if (err == COIR_ENOMEM)
        return PyErr_NoMemory();
    if (err <= COIR_ERRNO(0)) {
        errno = coir_errno(err);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyErr_SetString(PyExc_ValueError, coir_strerror(err));
    return NULL;
}

static int
is_function(const char *name, PyObject **func)
{
    if (*func == Py_None || *func == NULL)
        *func = NULL;
    else if (!PyCallable_Check(*func)) {
        PyErr_Format(PyExc_TypeError, "%s must be callable", name);
        return 0;
    }
    return 1;
}

static int
init_loop(ServerObject *s, const struct options *o)
{
    coir_pythread *t = coir__pythread_get();
    HubObject *hub = t != NULL ? coir__hub_get(t) : NULL;
    if (hub == NULL)
        return -1;
    if (hub->loop == NULL || hub->loop->loop == NULL) {
        PyErr_SetString(PyExc_ValueError, "operation on destroyed loop");
        return -1;
    }
    s->hub = (HubObject *)Py_NewRef((PyObject *)hub);
    s->loop = (LoopObject *)Py_NewRef((PyObject *)hub->loop);
    coir_cleanup_init(&s->cleanup, loop_goes);
    s->cleanup.data = s;
    int err = coir_cleanup_start(s->loop->loop, &s->cleanup);
    if (err == 0)
        err = coir_http_server_new_on(&s->http, s->loop->loop, &host, s,
                                      &o->server);
    return err == 0 ? 0 : (raise_error(err), -1);
}

static PyObject *
server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"app",     "options",     "on_error", "on_log",
                            "on_done", "script_name", NULL};
    PyObject *app, *dict, *on_error = NULL, *on_log = NULL, *on_done = NULL;
    PyObject *script = NULL;
    struct options o;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!|OOOU:HTTPServer",
                                     names, &app, &PyDict_Type, &dict,
                                     &on_error, &on_log, &on_done, &script) ||
        parse_options(dict, &o) < 0 || !is_function("app", &app) ||
        !is_function("on_error", &on_error) ||
        !is_function("on_log", &on_log) || !is_function("on_done", &on_done))
        return NULL;
    if (app == NULL) {
        PyErr_SetString(PyExc_TypeError, "app must be callable");
        return NULL;
    }
    if (script != NULL && (PyUnicode_KIND(script) != PyUnicode_1BYTE_KIND)) {
        PyErr_SetString(PyExc_ValueError, "script_name must be Latin-1");
        return NULL;
    }
    ServerObject *s = (ServerObject *)type->tp_alloc(type, 0);
    if (s == NULL)
        return NULL;
    s->app = Py_NewRef(app);
    s->on_error = Py_XNewRef(on_error);
    s->on_log = Py_XNewRef(on_log);
    s->on_done = Py_XNewRef(on_done);
    if (script != NULL && PyUnicode_GET_LENGTH(script) > 0)
        s->script_name = Py_NewRef(script);
    s->environs = PyList_New(0);
    s->contexts = PyList_New(0);
    if (s->environs == NULL || s->contexts == NULL || init_loop(s, &o) < 0)
        Py_CLEAR(s);
    return (PyObject *)s;
}

static int
server_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->loop);
    Py_VISIT(SELF->hub);
    Py_VISIT(SELF->app);
    Py_VISIT(SELF->on_error);
    Py_VISIT(SELF->on_log);
    Py_VISIT(SELF->on_done);
    Py_VISIT(SELF->environs);
    Py_VISIT(SELF->contexts);
    return coir__list_traverse(&SELF->waiters, visit, arg);
}

static int
server_clear(PyObject *op)
{
    Py_CLEAR(SELF->app);
    Py_CLEAR(SELF->on_error);
    Py_CLEAR(SELF->on_log);
    Py_CLEAR(SELF->on_done);
    return 0;
}

static void
server_dealloc(PyObject *op)
{
    ServerObject *s = SELF;
    PyObject_GC_UnTrack(op);
    if (s->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    s->is_running = 0;
    if (s->loop != NULL && s->loop->loop != NULL) {
        coir_cleanup_stop(s->loop->loop, &s->cleanup);
        coir_http_server_free(s->http);
    }
    (void)server_clear(op);
    Py_XDECREF(s->environs);
    Py_XDECREF(s->contexts);
    Py_XDECREF(s->script_name);
    Py_XDECREF(s->peer);
    Py_XDECREF((PyObject *)s->loop);
    Py_XDECREF((PyObject *)s->hub);
    Py_TYPE(op)->tp_free(op);
}

/* --- methods ------------------------------------------------------------- */

/* May it be used here and now? Else NULL with an exception. */
static coir_http_server *
http_of(PyObject *op)
{
    const coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    if (t->hub != SELF->hub) {
        PyErr_SetString(PyExc_RuntimeError,
                        "an HTTPServer belongs to the thread and hub it was "
                        "made in");
        return NULL;
    }
    if (SELF->http == NULL)
        PyErr_SetString(PyExc_ValueError, "the server's hub was destroyed");
    return SELF->http;
}

/* All keys that each request has, so that a copy has room for them, and for
 * some fields. */
static PyObject *
make_environ(PyObject *given)
{
    PyObject *env = PyDict_New();
    for (int i = 0; env != NULL && i <= KEY_WSGI_INPUT; i++)
        if (PyDict_SetItem(env, coir__wsgi.keys[i], Py_None) < 0)
            Py_CLEAR(env);
    if (env != NULL && PyDict_Update(env, given) < 0)
        Py_CLEAR(env);
    return env;
}

static const coir_http_transport *
transport_of(PyObject *op, PyObject *context, void **ctx)
{
    *ctx = NULL;
    if (context == NULL || context == Py_None)
        return NULL;
    if (coir__ssl_load() < 0 || PyList_Append(SELF->contexts, context) < 0)
        return NULL;
    *ctx = context;
    return &coir__ssl_transport;
}

static PyObject *
server_listen(PyObject *op, PyObject *args)
{
    int fd;
    PyObject *given, *context = NULL;
    coir_http_server *http = http_of(op);
    if (http == NULL || !PyArg_ParseTuple(args, "iO!|O:listen", &fd,
                                          &PyDict_Type, &given, &context))
        return NULL;
    void *ctx;
    const coir_http_transport *transport = transport_of(op, context, &ctx);
    PyObject *env = PyErr_Occurred() ? NULL : make_environ(given);
    if (env == NULL)
        return NULL;
    int err = PyList_Append(SELF->environs, env);
    Py_DECREF(env);
    if (err < 0)
        return NULL;
    err = coir_http_server_listen(http, fd, transport, ctx);
    Py_ssize_t count = PyList_GET_SIZE(SELF->environs);
    if (err < 0) {
        (void)PyList_SetSlice(SELF->environs, count - 1, count, NULL);
        return raise_error(err);
    }
    return PyLong_FromSsize_t(count - 1);
}

/* It is at work: nobody need know it for that. */
static void
hold(ServerObject *s)
{
    if (!s->is_running) {
        s->is_running = 1;
        Py_INCREF(s);
    }
}

static PyObject *
server_start(PyObject *op, PyObject *Py_UNUSED(unused))
{
    coir_http_server *http = http_of(op);
    if (http == NULL)
        return NULL;
    int err = coir_http_server_start(http);
    if (err < 0)
        return raise_error(err);
    hold(SELF);
    Py_RETURN_NONE;
}

static PyObject *
server_adopt(PyObject *op, PyObject *args)
{
    int fd;
    PyObject *context = NULL;
    coir_http_server *http = http_of(op);
    if (http == NULL || !PyArg_ParseTuple(args, "i|O:adopt", &fd, &context))
        return NULL;
    void *ctx;
    const coir_http_transport *transport = transport_of(op, context, &ctx);
    if (PyErr_Occurred())
        return NULL;
    if (PyList_GET_SIZE(SELF->environs) == 0) {
        PyErr_SetString(PyExc_ValueError, "there is no environ: call listen() "
                                          "first");
        return NULL;
    }
    int err = coir_http_server_adopt(http, fd, transport, ctx);
    if (err < 0)
        return raise_error(err);
    hold(SELF);
    Py_RETURN_NONE;
}

static PyObject *
server_pause(PyObject *op, PyObject *Py_UNUSED(unused))
{
    coir_http_server *http = http_of(op);
    if (http == NULL)
        return NULL;
    coir_http_server_pause(http);
    Py_RETURN_NONE;
}

static PyObject *
server_stop(PyObject *op, PyObject *args)
{
    PyObject *grace, *cancel;
    int64_t grace_ns, cancel_ns;
    coir_http_server *http = http_of(op);
    if (http == NULL || !PyArg_ParseTuple(args, "OO:stop", &grace, &cancel) ||
        coir__timeout_ns(grace, &grace_ns) < 0 ||
        coir__timeout_ns(cancel, &cancel_ns) < 0)
        return NULL;
    coir_loop_now_update(SELF->loop->loop);
    coir_http_server_stop(http, grace_ns, cancel_ns);
    Py_RETURN_NONE;
}

static int
is_stopped(const ServerObject *s)
{
    return s->http == NULL ||
           coir_http_server_state(s->http) == COIR_HTTP_STOPPED;
}

static PyObject *
server_join(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    int64_t timeout_ns = COIR_FOREVER;
    if (nargs > 1) {
        PyErr_SetString(PyExc_TypeError, "join() takes a timeout at most");
        return NULL;
    }
    if (nargs > 0 && coir__timeout_ns(args[0], &timeout_ns) < 0)
        return NULL;
    if (!is_stopped(SELF)) {
        coir_pythread *t = coir__pythread_get();
        HubObject *hub = t == NULL ? NULL : coir__hub_get(t);
        if (hub == NULL || (hub == SELF->hub && http_of(op) == NULL))
            return NULL;
        int how;
        PyObject *res = hub == SELF->hub
                            ? coir__park_own(t, hub, &SELF->waiters, "join",
                                             op, timeout_ns, &how)
                            : coir__park(t, hub, &SELF->waiters, "join", op,
                                         timeout_ns, &how);
        if (res == NULL)
            return NULL;
        Py_DECREF(res);
    }
    return PyBool_FromLong(is_stopped(SELF));
}

static PyObject *
server_fd(PyObject *op, PyObject *arg)
{
    unsigned long number = PyLong_AsUnsignedLong(arg);
    if (number == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    return PyLong_FromLong(
        SELF->http != NULL && number < UINT32_MAX
            ? coir_http_server_fd(SELF->http, (unsigned)number)
            : -1);
}

/* clang-format off */
#define COUNTERS(X)                                                           \
    X(connections) X(shaking) X(idle) X(reading) X(queued) X(active)          \
    X(lingering) X(buffers) X(accepted) X(requests) X(responses) X(upgraded)  \
    X(aborted) X(bytes_read) X(bytes_written) X(handshake_timeouts)           \
    X(head_timeouts) X(idle_timeouts) X(request_timeouts) X(read_timeouts)    \
    X(write_timeouts) X(handshake_errors) X(bad_requests) X(refused)          \
    X(evicted) X(accept_pauses) X(accept_errors) X(log_lost)
/* clang-format on */

static PyObject *
server_counters(PyObject *op, PyObject *Py_UNUSED(unused))
{
    coir_http_counters c = {0};
    if (SELF->http != NULL)
        coir_http_server_counters(SELF->http, &c);
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
#define COIR__COUNTER(name) {#name, c.name},
        COUNTERS(COIR__COUNTER)
#undef COIR__COUNTER
            {"responses_1xx", c.by_class[1]},
        {"responses_2xx", c.by_class[2]},
        {"responses_3xx", c.by_class[3]},
        {"responses_4xx", c.by_class[4]},
        {"responses_5xx", c.by_class[5]},
    };
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < sizeof all / sizeof *all; i++) {
        PyObject *n = PyLong_FromUnsignedLongLong(all[i].value);
        if (n == NULL || PyDict_SetItemString(dict, all[i].name, n) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(n);
    }
    return dict;
}

static PyObject *
server_get_state(PyObject *op, void *Py_UNUSED(closure))
{
    static const char *const names[] = {
        [COIR_HTTP_NEW] = "new",           [COIR_HTTP_RUNNING] = "running",
        [COIR_HTTP_STOPPING] = "stopping", [COIR_HTTP_CANCELING] = "canceling",
        [COIR_HTTP_CLOSING] = "closing",   [COIR_HTTP_STOPPED] = "stopped",
    };
    return PyUnicode_FromString(SELF->http != NULL
                                    ? names[coir_http_server_state(SELF->http)]
                                    : "stopped");
}

/* --- the type ------------------------------------------------------------ */

static PyMethodDef server_methods[] = {
    {"listen", server_listen, METH_VARARGS,
     "listen($self, fd, environ, ssl_context=None, /)\n--\n\n"
     "Add a listening socket, which is the server's from then on. What is\n"
     "in environ is in that of each request that comes by it."},
    {"start", server_start, METH_NOARGS,
     "start($self)\n--\n\nAccept connections, also again after pause()."},
    {"pause", server_pause, METH_NOARGS,
     "pause($self)\n--\n\nAccept none for now."},
    {"adopt", server_adopt, METH_VARARGS,
     "adopt($self, fd, ssl_context=None, /)\n--\n\n"
     "Serve a connection that was accepted elsewhere; it is the server's "
     "from\n"
     "then on, also after an error."},
    {"stop", server_stop, METH_VARARGS,
     "stop($self, grace, cancel, /)\n--\n\n"
     "Stop: requests may go on for `grace` seconds, then get GreenletExit,\n"
     "and `cancel` seconds later lose their connections. Does not wait."},
    {"join", (PyCFunction)(void (*)(void))server_join, METH_FASTCALL,
     "join($self, timeout=None, /)\n--\n\nWait until it is stopped: whether "
     "it "
     "is. "
     "In any thread."},
    {"fd", server_fd, METH_O,
     "fd($self, number, /)\n--\n\nThe descriptor of a listener, -1 without "
     "one."},
    {"counters", server_counters, METH_NOARGS,
     "counters($self)\n--\n\nWhat it does, and has done: see the reference."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"state", server_get_state, NULL,
     "new, running, stopping, canceling, closing or stopped.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject coir__server_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.HTTPServer",
    .tp_basicsize = sizeof(ServerObject),
    .tp_dealloc = server_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "HTTPServer(app, options, on_error=None, on_log=None, "
              "on_done=None, script_name='')\n\n"
              "A server of a WSGI application, in this thread's hub. See "
              "coir.http.Server.",
    .tp_traverse = server_traverse,
    .tp_clear = server_clear,
    .tp_weaklistoffset = offsetof(ServerObject, weakreflist),
    .tp_methods = server_methods,
    .tp_getset = server_getset,
    .tp_new = server_new,
};
