/* wsgi.c - a request from its head to its end, in a greenlet of its own.
 *
 *     start() --ready queue--> running --finish()--> over
 *        \--cancel()--> never runs the application: 503
 *
 * The server of libcoir calls start() in the loop when a head is complete. A
 * RequestObject is made, and a greenlet whose body is C; both wait in the
 * ready queue. The body makes environ, calls the application, sends what it
 * returns, and tells the server that it has finished. If the connection has
 * the next request by then that one gets a greenlet of its own: a context and
 * locals are one request's.
 *
 * The RequestObject is also what the application knows as start_response. It,
 * environ and wsgi.input refer to each other: at the end the request lets go
 * of environ and the exchange, and what the application kept only raises
 * errors.
 *
 * Whatever ends a wait in one of libcoir's calls as an exception (a kill, a
 * timeout) is kept in the request while that call returns, and raised behind
 * it. The other way round, an error of such a call is raised as one of the
 * exceptions below; that the client is gone is no error of the application's,
 * and not reported if it lets it pass. */
#include "wsgi.h"

#include <errno.h>
#include <stddef.h>

struct coir__wsgi coir__wsgi;

/* --- calls that may wait ------------------------------------------------- */

int
coir__request_enter(RequestObject *r)
{
    if (COIR__UNLIKELY(r->x == NULL)) {
        PyErr_SetString(PyExc_ValueError, "the request is over");
        return -1;
    }
    const coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return -1;
    if (COIR__UNLIKELY(t->hub != r->server->hub)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a request belongs to the thread of its server");
        return -1;
    }
    r->calls++;
    return 0;
}

void
coir__request_leave(RequestObject *r)
{
    r->calls--;
    if (COIR__UNLIKELY(r->calls == 0 && r->waits_calls)) {
        coir_wait *w = r->green->block->wait;
        if (w != NULL && w->is_waiting && w->woken == COIR_WOKEN_WAITS)
            coir__wake(w, NULL);
    }
}

/* What is raised in it when it is cancelled. */
static PyObject *
cancel_exception(const RequestObject *r)
{
    return r->cancelled == COIR_ETIMEDOUT ? coir__wsgi.out_of_time
                                          : coir__core.exit;
}

static COIR__COLD PyObject *
exception_of(const RequestObject *r, int error)
{
    const struct coir__wsgi *c = &coir__wsgi;
    if (error == COIR_ECANCELED || r->cancelled == error)
        return cancel_exception(r);
    if (error == COIR_ETIMEDOUT)
        return c->too_slow;
    if (error == COIR_HTTP_EBODYLEN)
        return c->too_large;
    if (error == COIR_ENOMEM)
        return PyExc_MemoryError;
    if (error == COIR_EINVAL || error == COIR_EBUSY)
        return PyExc_RuntimeError;
    if (error <= COIR_HTTP_EEMPTY && error != COIR_HTTP_ECUT)
        return c->malformed;
    return c->disconnected;
}

int
coir__request_raise(RequestObject *r, int slot, int error)
{
    PyObject *exc = r->error[slot];
    if (exc != NULL) {
        r->error[slot] = NULL;
        coir__error_give(exc);
        return -1;
    }
    PyObject *type = exception_of(r, error);
    const char *text = error == COIR_EEOF ? "the client closed the connection"
                                          : coir_http_error_text(error);
    if (error < -4096 && error > COIR_HTTP_EEMPTY) {
        PyObject *args = Py_BuildValue("(is)", coir_errno(error), text);
        if (args != NULL)
            PyErr_SetObject(type, args);
        Py_XDECREF(args);
        return -1;
    }
    PyErr_SetString(type, text);
    return -1;
}

/* --- making one ---------------------------------------------------------- */

static RequestObject *
request_of(coir_ready *ready)
{
    return (RequestObject *)((char *)ready - offsetof(RequestObject, ready));
}

static RequestObject *
request_new(ServerObject *s, coir_http_exchange *x)
{
    RequestObject *r = PyObject_GC_New(RequestObject, &coir__request_type);
    if (r == NULL)
        return NULL;
    memset((char *)r + offsetof(RequestObject, call), 0,
           sizeof *r - offsetof(RequestObject, call));
    r->call = coir__start_response;
    r->x = x;
    r->server = (ServerObject *)Py_NewRef((PyObject *)s);
    r->length = -1;
    PyObject_GC_Track(r);
    return r;
}

static PyObject *body(GreenletObject *g);
static void finish(RequestObject *r);

/* There is no stack for it: answer without one, as far as that does not have
 * to wait. */
static COIR__COLD void
refuse(RequestObject *r)
{
    (void)coir_http_send_error(r->x, 503);
    coir_http_close_after(r->x);
    finish(r);
}

/* The queue has a reference, which is now the caller's. */
static void
begin(coir_ready *ready, LoopObject *loop)
{
    RequestObject *r = request_of(ready);
    r->is_queued = 0;
    coir_pythread *t = coir__pythread_get();
    coir_payload p = {Py_NewRef(coir__core.empty_tuple), NULL, 1};
    GreenletObject *g = r->green;
    Py_INCREF(g);
    PyObject *res = t != NULL ? coir__greenlet_switch(t, g, p) : NULL;
    if (res == NULL)
        coir__loop_error(loop, (PyObject *)g);
    if (COIR__UNLIKELY(g->block->state == GREENLET_NEW))
        refuse(r);
    Py_XDECREF(res);
    Py_DECREF(r);
    Py_DECREF(g);
}

static void
drop(coir_ready *ready)
{
    RequestObject *r = request_of(ready);
    coir__list_remove(&ready->node);
    r->is_queued = 0;
    Py_DECREF(r);
}

static const coir_ready_kind begin_kind = {begin, drop, NULL};

int
coir__request_start(ServerObject *s, coir_http_exchange *x)
{
    RequestObject *r = request_new(s, x);
    if (r == NULL)
        goto fail;
    r->green = coir__greenlet_new(NULL, &s->hub->base);
    if (r->green == NULL)
        goto fail;
    coir_block *b = r->green->block;
    b->entry = body;
    b->args = Py_NewRef((PyObject *)r); /* until it has ended */
    x->user = r;
    r->ready.kind = &begin_kind;
    r->is_queued = 1;
    coir__loop_ready(s->loop, &r->ready); /* our reference is the queue's */
    return 0;

fail:
    PyErr_Clear();
    Py_XDECREF((PyObject *)r);
    return COIR_ENOMEM;
}

void
coir__request_run(ServerObject *s, coir_http_exchange *x)
{
    RequestObject *r = x->user;
    const coir_pythread *t = coir__pythread_get();
    if (COIR__UNLIKELY(t == NULL)) {
        PyErr_Clear();
        return;
    }
    if (t->current != &s->hub->base || !coir__loop_may_switch(s->loop))
        return; /* when its turn comes */
    coir__list_remove(&r->ready.node);
    begin(&r->ready, s->loop);
}

/* --- cancelling ---------------------------------------------------------- */

/* In the hub: throw into the greenlet, wherever it waits. */
static void
throw_in(coir_ready *ready, LoopObject *loop)
{
    RequestObject *r = request_of(ready);
    r->is_queued = 0;
    GreenletObject *g = (GreenletObject *)Py_XNewRef((PyObject *)r->green);
    if (g != NULL && r->x != NULL && !r->is_told &&
        g->block->state == GREENLET_ACTIVE) {
        r->is_told = 1;
        PyObject *res =
            coir__greenlet_throw(g, cancel_exception(r), NULL, NULL);
        if (res == NULL)
            coir__loop_error(loop, (PyObject *)g);
        Py_XDECREF(res);
    }
    Py_XDECREF((PyObject *)g);
    Py_DECREF(r);
}

static const coir_ready_kind throw_kind = {throw_in, drop, NULL};

void
coir__request_cancel(coir_http_exchange *x, int reason)
{
    RequestObject *r = x->user;
    if (r == NULL || r->cancelled != 0)
        return;
    r->cancelled = reason;
    if (r->is_queued) /* it has not begun, and will see it */
        return;
    r->ready.kind = &throw_kind;
    r->is_queued = 1;
    Py_INCREF(r);
    coir__loop_ready(r->server->loop, &r->ready);
}

/* --- the end ------------------------------------------------------------- */

/* Other greenlets are in calls for this request: end these, wait for them. */
static COIR__COLD void
wait_for_calls(RequestObject *r, coir_http_exchange *x)
{
    coir_pythread *t = coir__pythread_get();
    r->waits_calls = 1;
    while (r->calls > 0 && t != NULL) {
        for (int slot = 0; slot < 2; slot++) {
            coir_wait *w = x->waiting[slot];
            r->result[slot] = COIR_ECANCELED;
            if (w != NULL && w->woken == COIR_WOKEN_WAITS)
                coir__wake(w, NULL);
        }
        int how;
        PyObject *res = coir__park(t, r->server->hub, NULL, "finish",
                                   (PyObject *)r, COIR_FOREVER, &how);
        if (res == NULL)
            PyErr_Clear(); /* being killed changes nothing about it */
        Py_XDECREF(res);
    }
    r->waits_calls = 0;
}

/* on_done(environ, status, headers, sent, seconds) */
static COIR__COLD void
tell(RequestObject *r, int64_t started_ns)
{
    coir_loop *loop = r->server->loop->loop;
    if (loop == NULL || r->environ == NULL)
        return;
    coir_loop_now_update(loop);
    double seconds = (double)(coir_loop_now(loop) - started_ns) / 1e9;
    PyObject *res =
        PyObject_CallFunction(r->server->on_done, "OOOKd", r->environ,
                              r->status != NULL ? r->status : Py_None,
                              r->headers != NULL ? r->headers : Py_None,
                              (unsigned long long)r->sent, seconds);
    if (res == NULL)
        PyErr_WriteUnraisable(r->server->on_done);
    Py_XDECREF(res);
}

/* The connection has another request, for which there is no memory. */
static COIR__COLD void
refuse_next(coir_http_exchange *x)
{
    do {
        (void)coir_http_send_error(x, 503);
        coir_http_close_after(x);
    } while (coir_http_finish(x));
}

static void
finish(RequestObject *r)
{
    coir_http_exchange *x = r->x;
    int64_t started_ns = coir_http_started_ns(x);
    r->x = NULL; /* nobody can begin a call from here on */
    if (COIR__UNLIKELY(r->calls > 0))
        wait_for_calls(r, x);
    if (coir_http_finish(x)) {
        x->user = NULL;
        if (coir__request_start(r->server, x) < 0) {
            x->user = r;
            refuse_next(x);
        }
    }
    if (COIR__UNLIKELY(r->server->on_done != NULL))
        tell(r, started_ns);
    Py_CLEAR(r->environ);
    Py_CLEAR(r->status);
    Py_CLEAR(r->headers);
    Py_CLEAR(r->green);
    Py_CLEAR(r->error[0]);
    Py_CLEAR(r->error[1]);
}

/* --- failures ------------------------------------------------------------ */

/* Have an exception reported; it stays the caller's. */
static COIR__COLD void
report(RequestObject *r, PyObject *exc)
{
    PyObject *func = r->server->on_error;
    PyObject *env = r->environ != NULL ? r->environ : Py_None;
    PyObject *res = NULL;
    if (func != NULL)
        res = PyObject_CallFunctionObjArgs(func, env, exc, NULL);
    if (res == NULL) {
        if (PyErr_Occurred())
            PyErr_WriteUnraisable(func);
        coir__error_give(Py_NewRef(exc));
        PyErr_WriteUnraisable(r->server->app);
    }
    Py_XDECREF(res);
}

static COIR__COLD void
answer(RequestObject *r, int status)
{
    if (coir_http_send_error(r->x, status) < 0) {
        coir_http_abort(r->x);
        return;
    }
    Py_XSETREF(r->status, PyUnicode_FromFormat("%d %s", status,
                                               coir_http_reason(status)));
    if (r->status == NULL)
        PyErr_Clear();
    Py_CLEAR(r->headers);
    r->sent = 0;
}

/* The application, or what sent its response, failed with the pending
 * exception. Returns it if the whole program is to end by it, else NULL. */
static COIR__COLD PyObject *
fail(RequestObject *r)
{
    PyObject *exc = coir__error_take();
    int is_exit = PyErr_GivenExceptionMatches(exc, coir__core.exit);
    int is_fatal = PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt) ||
                   PyErr_GivenExceptionMatches(exc, PyExc_SystemExit);
    if (is_exit || r->cancelled != 0) {
        /* Being asked to end is no error. */
        answer(r, 503);
    }
    else if (PyErr_GivenExceptionMatches(exc, coir__wsgi.request_error)) {
        /* Of the client's; the server knows, and answers if that helps. */
        if (coir_http_response_state(r->x) >= COIR_HTTP_SENDING)
            coir_http_abort(r->x);
        else
            (void)coir_http_restart(r->x);
    }
    else {
        if (!is_fatal)
            report(r, exc);
        answer(r, 500);
    }
    if (is_fatal)
        return exc;
    Py_DECREF(exc);
    return NULL;
}

/* --- the body ------------------------------------------------------------ */

/* Call the result's close(), if it has one. With an exception pending that
 * one stays. 0, or -1 with an exception. */
static int
close_result(RequestObject *r, PyObject *result)
{
    if (PyList_CheckExact(result) || PyTuple_CheckExact(result))
        return 0;
    PyObject *exc = coir__error_take();
    PyObject *close = PyObject_GetAttr(result, coir__wsgi.str_close);
    PyObject *res = NULL;
    if (close != NULL)
        res = PyObject_CallNoArgs(close);
    else if (PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    Py_XDECREF(close);
    Py_XDECREF(res);
    if (exc == NULL)
        return PyErr_Occurred() ? -1 : 0;
    PyObject *second = coir__error_take();
    if (second != NULL &&
        !PyErr_GivenExceptionMatches(second, coir__core.exit))
        report(r, second);
    Py_XDECREF(second);
    coir__error_give(exc);
    return -1;
}

/* 0, or -1 with an exception. */
static int
serve(RequestObject *r)
{
    r->environ = coir__environ_new(r);
    if (r->environ == NULL)
        return -1;
    PyObject *app = Py_NewRef(r->server->app);
    PyObject *args[3] = {NULL, r->environ, (PyObject *)r};
    PyObject *result = PyObject_Vectorcall(
        app, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(app);
    if (result == NULL)
        return -1;
    int err = r->is_upgraded ? 0 : coir__response_send(r, result);
    if (close_result(r, result) < 0)
        err = -1;
    Py_DECREF(result);
    return err;
}

/* The coir_entry. */
static PyObject *
body(GreenletObject *g)
{
    RequestObject *r = (RequestObject *)g->block->args;
    PyObject *fatal = NULL;
    if (COIR__UNLIKELY(r->cancelled != 0))
        answer(r, 503);
    else if (COIR__UNLIKELY(serve(r) < 0))
        fatal = fail(r);
    finish(r);
    if (COIR__LIKELY(fatal == NULL))
        return Py_NewRef(Py_None);
    coir__error_give(fatal);
    return NULL;
}

/* --- the type ------------------------------------------------------------ */

#define SELF ((RequestObject *)op)

static int
request_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->server);
    Py_VISIT(SELF->green);
    Py_VISIT(SELF->environ);
    Py_VISIT(SELF->status);
    Py_VISIT(SELF->headers);
    Py_VISIT(SELF->error[0]);
    Py_VISIT(SELF->error[1]);
    return 0;
}

static int
request_clear(PyObject *op)
{
    Py_CLEAR(SELF->server);
    Py_CLEAR(SELF->green);
    Py_CLEAR(SELF->environ);
    Py_CLEAR(SELF->status);
    Py_CLEAR(SELF->headers);
    Py_CLEAR(SELF->error[0]);
    Py_CLEAR(SELF->error[1]);
    return 0;
}

static void
request_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)request_clear(op);
    PyObject_GC_Del(op);
}

PyTypeObject coir__request_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.start_response",
    .tp_basicsize = sizeof(RequestObject),
    .tp_dealloc = request_dealloc,
    .tp_vectorcall_offset = offsetof(RequestObject, call),
    .tp_call = PyVectorcall_Call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "start_response(status, headers, exc_info=None) -> write\n\n"
              "As PEP 3333 has it; of one request.",
    .tp_traverse = request_traverse,
    .tp_clear = request_clear,
};

/* --- set-up -------------------------------------------------------------- */

static const struct {
    const char *name;
    const char *doc;
    PyObject **at;
    PyObject **second_base;
} exceptions[] = {
    {"coir.http.RequestError",
     "A request, or the client that sent it, failed while it was handled.\n\n"
     "An application may let it pass: it is not reported as an error.",
     &coir__wsgi.request_error, &PyExc_OSError},
    {"coir.http.ClientDisconnected",
     "The client is gone: there is no more to read, or nobody to answer.",
     &coir__wsgi.disconnected, &PyExc_ConnectionError},
    {"coir.http.ClientTimeout", "The client was slower than is allowed.",
     &coir__wsgi.too_slow, &PyExc_TimeoutError},
    {"coir.http.BodyError", "The body of the request is malformed.",
     &coir__wsgi.malformed, NULL},
    {"coir.http.BodyTooLarge",
     "The body of the request is larger than is allowed.",
     &coir__wsgi.too_large, NULL},
    {"coir.http.RequestTimeout",
     "The time of a request is over (`request_timeout`).\n\n"
     "As a timeout of gevent's it is no Exception, so that what catches\n"
     "those lets it pass; the answer is 503 then.",
     &coir__wsgi.out_of_time, &PyExc_BaseException},
};

static int
make_exceptions(void)
{
    PyObject *base = NULL;
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++) {
        PyObject *second =
            exceptions[i].second_base ? *exceptions[i].second_base : NULL;
        PyObject *bases = base == NULL || second == PyExc_BaseException
                              ? PyTuple_Pack(1, second)
                          : second != NULL ? PyTuple_Pack(2, base, second)
                                           : PyTuple_Pack(1, base);
        if (bases == NULL)
            return -1;
        *exceptions[i].at = PyErr_NewExceptionWithDoc(
            exceptions[i].name, exceptions[i].doc, bases, NULL);
        Py_DECREF(bases);
        if (*exceptions[i].at == NULL)
            return -1;
        base = coir__wsgi.request_error;
    }
    return 0;
}

int
coir__wsgi_types_init(PyObject *module)
{
    static const struct {
        const char *name;
        PyTypeObject *type;
    } types[] = {
        {"HTTPServer", &coir__server_type},
        {"FileWrapper", &coir__file_wrapper_type},
        {"HTTPStream", &coir__http_stream_type},
        {NULL, &coir__request_type},
        {NULL, &coir__input_type},
    };
    if (coir__wsgi.out_of_time == NULL &&
        (coir__wsgienv_init() < 0 || make_exceptions() < 0))
        return -1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (PyType_Ready(types[i].type) < 0 ||
            (types[i].name != NULL &&
             PyModule_AddObjectRef(module, types[i].name,
                                   (PyObject *)types[i].type) < 0))
            return -1;
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++)
        if (PyModule_AddObjectRef(module, strrchr(exceptions[i].name, '.') + 1,
                                  *exceptions[i].at) < 0)
            return -1;
    return 0;
}
