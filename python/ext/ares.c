/* ares.c - AresChannel: look-ups by c-ares in the loop of Python's hub.
 *
 * c-ares says which descriptors it waits for, and until when; a watcher for
 * each and one timer tell it. It keeps no descriptor while nothing is looked
 * up, so that an idle channel does not keep the loop running.
 *
 * No code of Python's runs below c-ares: an answer is made an object there,
 * and callback(value, error) is queued as loop.run_callback() does. Only the
 * collector may come in between, and a finalizer then end the channel: that
 * is put off (`busy`).
 *
 * A look-up keeps its channel alive, and ends with an error when that is
 * destroyed. In the child of a fork what the parent asks for is forgotten, as
 * are those that wait for it; for what is asked there a channel is made anew.
 */
#define PY_SSIZE_T_CLEAN
#include "hub.h"

#if COIR__EXT_CARES

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/time.h>

typedef struct channel_object ChannelObject;

typedef struct watched {
    coir_io io;
    struct watched *next;
} watched;

/* What a look-up is for. */
typedef struct {
    ChannelObject *channel; /* strong */
    PyObject *callback;     /* strong */
    int is_host;            /* its errors are those of gethostbyname() */
} query;

struct channel_object {
    PyObject_HEAD LoopObject *loop; /* strong; NULL before __init__() */
    ares_channel ares;              /* NULL: destroyed */
    watched *watched;
    coir_timer timer;
    coir_fork fork;
    int busy;       /* calls of c-ares that are in progress */
    int is_to_end;  /* once it is not busy */
    int forgets;    /* answers are nobody's */
    int pid;        /* of the process that `ares` is for */
    PyObject *list; /* strong: of servers, bytes; NULL: the system's */
    struct ares_options options;
    int mask;
};

#define SELF ((ChannelObject *)op)

/* --- errors -------------------------------------------------------------- */

static const char *const status_names[] = {
    "ARES_SUCCESS",
    "ARES_ENODATA",
    "ARES_EFORMERR",
    "ARES_ESERVFAIL",
    "ARES_ENOTFOUND",
    "ARES_ENOTIMP",
    "ARES_EREFUSED",
    "ARES_EBADQUERY",
    "ARES_EBADNAME",
    "ARES_EBADFAMILY",
    "ARES_EBADRESP",
    "ARES_ECONNREFUSED",
    "ARES_ETIMEOUT",
    "ARES_EOF",
    "ARES_EFILE",
    "ARES_ENOMEM",
    "ARES_EDESTRUCTION",
    "ARES_EBADSTR",
    "ARES_EBADFLAGS",
    "ARES_ENONAME",
    "ARES_EBADHINTS",
    "ARES_ENOTINITIALIZED",
    NULL,
    NULL,
    "ARES_ECANCELLED",
    "ARES_ESERVICE",
};

static PyObject *
error_text(int status)
{
    const char *name = NULL;
    if ((size_t)status < sizeof status_names / sizeof *status_names)
        name = status_names[status];
    return PyUnicode_FromFormat("%s: %s", name != NULL ? name : "ARES",
                                ares_strerror(status));
}

/* What the failure of a look-up raises: as the system's functions where they
 * have such an error, else with the number and text of c-ares. A new
 * reference, or NULL with an exception. */
static PyObject *
error_of(int status, int is_host)
{
    int is_none = status == ARES_ENOTFOUND || status == ARES_ENODATA;
    int number = status;
    PyObject *text;
    if (is_none) {
        number = is_host ? HOST_NOT_FOUND : EAI_NONAME;
        text = PyUnicode_FromString(is_host ? "Unknown host"
                                            : gai_strerror(EAI_NONAME));
    }
    else if (status == ARES_ESERVICE) {
        number = EAI_SERVICE;
        text = PyUnicode_FromString(gai_strerror(EAI_SERVICE));
    }
    else {
        text = error_text(status);
    }
    PyObject *socket = PyImport_ImportModule("_socket");
    PyObject *exc = NULL;
    if (socket != NULL && text != NULL)
        exc = PyObject_CallMethod(socket, is_host ? "herror" : "gaierror",
                                  "iO", number, text);
    Py_XDECREF(socket);
    Py_XDECREF(text);
    return exc;
}

static PyObject *
raise_status(int status)
{
    if (status == ARES_ENOMEM)
        return PyErr_NoMemory();
    PyObject *exc = error_of(status, 0);
    if (exc != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_XDECREF(exc);
    return NULL;
}

/* --- the channel and the loop -------------------------------------------- */

static void channel_end(ChannelObject *self);

static void
leave_ares(ChannelObject *self)
{
    if (--self->busy == 0 && self->is_to_end)
        channel_end(self);
}

static void process(ChannelObject *self, ares_socket_t readable,
                    ares_socket_t writable);

static void
io_ready(coir_loop *Py_UNUSED(loop), coir_io *io, int revents)
{
    process(io->data, revents & COIR_READ ? io->fd : ARES_SOCKET_BAD,
            revents & COIR_WRITE ? io->fd : ARES_SOCKET_BAD);
}

static void
time_is_over(coir_loop *Py_UNUSED(loop), coir_timer *timer,
             int Py_UNUSED(revents))
{
    process(timer->data, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

/* When c-ares wants to be called next, whatever happens. */
static void
set_timer(ChannelObject *self)
{
    struct timeval tv;
    coir_loop *loop = self->loop->loop;
    if (loop == NULL || self->ares == NULL)
        return;
    coir_timer_stop(loop, &self->timer);
    if (ares_timeout(self->ares, NULL, &tv) == NULL)
        return;
    coir_loop_now_update(loop);
    coir_timer_init(&self->timer, time_is_over,
                    tv.tv_sec * COIR_NS_PER_S + tv.tv_usec * 1000, 0);
    self->timer.data = self;
    coir_timer_start(loop, &self->timer);
}

static void
process(ChannelObject *self, ares_socket_t readable, ares_socket_t writable)
{
    if (self->ares == NULL)
        return;
    Py_INCREF(self); /* the last look-up may end */
    self->busy++;
    ares_process_fd(self->ares, readable, writable);
    leave_ares(self);
    set_timer(self);
    Py_DECREF(self);
}

static void
stop_io(ChannelObject *self, watched *w)
{
    if (self->loop->loop != NULL)
        coir_io_stop(self->loop->loop, &w->io);
}

/* c-ares waits for this, or no more. Without memory for a watcher the answer
 * is not seen; it asks again later. */
static void
watch(void *data, ares_socket_t fd, int readable, int writable)
{
    ChannelObject *self = data;
    watched **at = &self->watched;
    while (*at != NULL && (*at)->io.fd != fd)
        at = &(*at)->next;
    watched *w = *at;
    if (w != NULL)
        stop_io(self, w);
    if (!readable && !writable) {
        if (w != NULL) {
            *at = w->next;
            PyMem_Free(w);
        }
        return;
    }
    if (w == NULL) {
        w = PyMem_Calloc(1, sizeof *w);
        if (w == NULL)
            return;
        *at = w;
    }
    coir_io_init(&w->io, io_ready, fd,
                 (readable ? COIR_READ : 0) | (writable ? COIR_WRITE : 0));
    w->io.data = self;
    if (self->loop->loop != NULL)
        (void)coir_io_start(self->loop->loop, &w->io);
}

static int
set_list(ares_channel ares, PyObject *list)
{
    if (list == NULL)
        return ARES_SUCCESS;
    return ares_set_servers_ports_csv(ares, PyBytes_AS_STRING(list));
}

static int
channel_begin(ChannelObject *self)
{
    self->options.sock_state_cb = watch;
    self->options.sock_state_cb_data = self;
    int status = ares_init_options(&self->ares, &self->options,
                                   self->mask | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS && self->list != NULL) {
        status = set_list(self->ares, self->list);
        if (status != ARES_SUCCESS)
            ares_destroy(self->ares);
    }
    if (status != ARES_SUCCESS)
        self->ares = NULL;
    self->pid = (int)getpid();
    return status;
}

/* Ends all look-ups. */
static void
channel_end(ChannelObject *self)
{
    ares_channel ares = self->ares;
    if (self->busy > 0) {
        self->is_to_end = 1;
        return;
    }
    self->is_to_end = 0;
    if (ares == NULL)
        return;
    self->ares = NULL;
    Py_INCREF(self); /* the last look-up may end */
    ares_destroy(ares);
    /* Those of a channel without sockets it does not tell of. */
    while (self->watched != NULL)
        watch(self, self->watched->io.fd, 0, 0);
    if (self->loop->loop != NULL)
        coir_timer_stop(self->loop->loop, &self->timer);
    Py_DECREF(self);
}

/* What is in progress is the parent's. */
static void
forget(ChannelObject *self)
{
    if (self->ares == NULL || self->pid == (int)getpid() || self->busy > 0)
        return;
    self->forgets = 1;
    channel_end(self);
    self->forgets = 0;
    (void)channel_begin(self);
}

static void
forked(coir_loop *Py_UNUSED(loop), coir_fork *w, int Py_UNUSED(revents))
{
    forget(w->data);
}

static void
watch_forks(ChannelObject *self)
{
    coir_fork_init(&self->fork, forked);
    self->fork.data = self;
    if (coir_fork_start(self->loop->loop, &self->fork) == 0)
        coir_loop_unref(self->loop->loop);
}

static void
unwatch_forks(ChannelObject *self)
{
    if (self->loop == NULL || self->loop->loop == NULL ||
        !coir_is_active(&self->fork))
        return;
    coir_loop_ref(self->loop->loop);
    coir_fork_stop(self->loop->loop, &self->fork);
}

/* --- answers ------------------------------------------------------------- */

/* Steals `value`; NULL, with an exception or without, and `status` say what
 * went wrong. */
static void
answer(query *q, int status, PyObject *value)
{
    ChannelObject *self = q->channel;
    PyObject *exc = coir__error_take();
    if (exc == NULL && value == NULL && !self->forgets)
        exc = error_of(status, q->is_host);
    if (exc == NULL && value == NULL && !self->forgets)
        exc = coir__error_take();
    if (!self->forgets && self->loop->loop != NULL) {
        PyObject *args = PyTuple_Pack(2, value != NULL ? value : Py_None,
                                      exc != NULL ? exc : Py_None);
        PyObject *cb = NULL;
        if (args != NULL)
            cb = (PyObject *)coir__loop_call(self->loop, q->callback, args);
        if (cb == NULL)
            PyErr_WriteUnraisable(q->callback);
        Py_XDECREF(cb);
        Py_XDECREF(args);
    }
    Py_XDECREF(value);
    Py_XDECREF(exc);
    Py_DECREF(q->callback);
    PyMem_Free(q);
    Py_DECREF((PyObject *)self);
}

/* (address, port[, flow, scope]) */
static PyObject *
address_of(const struct sockaddr *sa)
{
    char text[INET6_ADDRSTRLEN];
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        return Py_BuildValue("(siII)", text, (int)ntohs(in6->sin6_port),
                             (unsigned)ntohl(in6->sin6_flowinfo),
                             (unsigned)in6->sin6_scope_id);
    }
    const struct sockaddr_in *in = (const void *)sa;
    (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    return Py_BuildValue("(si)", text, (int)ntohs(in->sin_port));
}

/* The list that getaddrinfo() gives. */
static PyObject *
list_of(const struct ares_addrinfo *info)
{
    const char *name = "";
    for (const struct ares_addrinfo_cname *c = info->cnames; c != NULL;
         c = c->next)
        name = c->name;
    PyObject *list = PyList_New(0);
    for (const struct ares_addrinfo_node *n = info->nodes;
         n != NULL && list != NULL; n = n->ai_next) {
        PyObject *address = address_of(n->ai_addr);
        PyObject *item =
            address == NULL
                ? NULL
                : Py_BuildValue("(iiisN)", n->ai_family, n->ai_socktype,
                                n->ai_protocol, name, address);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static void
got_addrinfo(void *arg, int status, int Py_UNUSED(timeouts),
             struct ares_addrinfo *info)
{
    PyObject *value = NULL;
    if (status == ARES_SUCCESS)
        value = list_of(info);
    if (info != NULL)
        ares_freeaddrinfo(info);
    answer(arg, status, value);
}

/* A list of texts; of addresses if there is a family. */
static PyObject *
texts_of(char *const *at, int family)
{
    char text[INET6_ADDRSTRLEN];
    PyObject *list = PyList_New(0);
    for (; list != NULL && at != NULL && *at != NULL; at++) {
        PyObject *item = NULL;
        if (family == 0)
            item = PyUnicode_DecodeFSDefault(*at);
        else if (inet_ntop(family, *at, text, sizeof text) != NULL)
            item = PyUnicode_FromString(text);
        else
            PyErr_SetFromErrno(PyExc_OSError);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* (family, name, aliases, addresses) */
static void
got_host(void *arg, int status, int Py_UNUSED(timeouts), struct hostent *host)
{
    PyObject *value = NULL;
    if (status == ARES_SUCCESS) {
        PyObject *name = PyUnicode_DecodeFSDefault(host->h_name);
        PyObject *aliases = name != NULL ? texts_of(host->h_aliases, 0) : NULL;
        PyObject *addresses =
            aliases != NULL ? texts_of(host->h_addr_list, host->h_addrtype)
                            : NULL;
        if (addresses != NULL)
            value = Py_BuildValue("(iOOO)", host->h_addrtype, name, aliases,
                                  addresses);
        Py_XDECREF(name);
        Py_XDECREF(aliases);
        Py_XDECREF(addresses);
    }
    answer(arg, status, value);
}

static void
got_names(void *arg, int status, int Py_UNUSED(timeouts), char *node,
          char *service)
{
    PyObject *value = NULL;
    if (status == ARES_SUCCESS)
        value = Py_BuildValue("(zz)", node, service);
    answer(arg, status, value);
}

/* --- look-ups ------------------------------------------------------------ */

static PyObject *
check_open(ChannelObject *self)
{
    if (self->loop != NULL && self->loop->loop == NULL)
        channel_end(self);
    if (self->loop != NULL)
        forget(self);
    if (self->ares != NULL && !self->is_to_end)
        return (PyObject *)self;
    PyObject *socket = PyImport_ImportModule("_socket");
    PyObject *error =
        socket != NULL ? PyObject_GetAttrString(socket, "gaierror") : NULL;
    PyObject *args = Py_BuildValue("(is)", ARES_EDESTRUCTION,
                                   "this ares channel has been destroyed");
    if (error != NULL && args != NULL)
        PyErr_SetObject(error, args);
    Py_XDECREF(args);
    Py_XDECREF(error);
    Py_XDECREF(socket);
    return NULL;
}

/* The channel is busy until end_query(). */
static query *
begin_query(ChannelObject *self, PyObject *callback, int is_host)
{
    if (!PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "%R cannot be called", callback);
        return NULL;
    }
    if (check_open(self) == NULL)
        return NULL;
    query *q = PyMem_Calloc(1, sizeof *q);
    if (q == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    q->channel = (ChannelObject *)Py_NewRef((PyObject *)self);
    q->callback = Py_NewRef(callback);
    q->is_host = is_host;
    self->busy++;
    return q;
}

static PyObject *
end_query(ChannelObject *self)
{
    leave_ares(self);
    set_timer(self);
    Py_RETURN_NONE;
}

static const int addrinfo_flags[][2] = {
    {AI_CANONNAME, ARES_AI_CANONNAME},     {AI_PASSIVE, ARES_AI_PASSIVE},
    {AI_NUMERICHOST, ARES_AI_NUMERICHOST}, {AI_ALL, ARES_AI_ALL},
    {AI_NUMERICSERV, ARES_AI_NUMERICSERV}, {AI_V4MAPPED, ARES_AI_V4MAPPED},
    {AI_ADDRCONFIG, ARES_AI_ADDRCONFIG},
};

static const int nameinfo_flags[][2] = {
    {NI_NOFQDN, ARES_NI_NOFQDN},     {NI_NUMERICHOST, ARES_NI_NUMERICHOST},
    {NI_NAMEREQD, ARES_NI_NAMEREQD}, {NI_NUMERICSERV, ARES_NI_NUMERICSERV},
    {NI_DGRAM, ARES_NI_DGRAM},
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static int
translate(int flags, const int (*pairs)[2], size_t count)
{
    int result = 0;
    for (size_t i = 0; i < count; i++)
        if (flags & pairs[i][0])
            result |= pairs[i][1];
    return result;
}

static PyObject *
channel_getaddrinfo(PyObject *op, PyObject *args)
{
    PyObject *callback, *named = Py_None;
    const char *host, *service = NULL;
    struct ares_addrinfo_hints hints = {0, 0, 0, 0};
    if (!PyArg_ParseTuple(args, "Oy|Oiiii:getaddrinfo", &callback, &host,
                          &named, &hints.ai_family, &hints.ai_socktype,
                          &hints.ai_protocol, &hints.ai_flags))
        return NULL;
    if (named != Py_None && (service = PyBytes_AsString(named)) == NULL)
        return NULL;
    hints.ai_flags =
        translate(hints.ai_flags, addrinfo_flags, LENGTH(addrinfo_flags));
    query *q = begin_query(SELF, callback, 0);
    if (q == NULL)
        return NULL;
    ares_getaddrinfo(SELF->ares, host, service, &hints, got_addrinfo, q);
    return end_query(SELF);
}

static PyObject *
channel_gethostbyname(PyObject *op, PyObject *args)
{
    PyObject *callback;
    const char *name;
    int family = AF_INET;
    if (!PyArg_ParseTuple(args, "Oy|i:gethostbyname", &callback, &name,
                          &family))
        return NULL;
    query *q = begin_query(SELF, callback, 1);
    if (q == NULL)
        return NULL;
    ares_gethostbyname(SELF->ares, name, family, got_host, q);
    return end_query(SELF);
}

/* The family of a packed address; -1 with ValueError. */
static int
family_of(Py_ssize_t len)
{
    if (len == sizeof(struct in_addr))
        return AF_INET;
    if (len == sizeof(struct in6_addr))
        return AF_INET6;
    PyErr_SetString(PyExc_ValueError, "an address has 4 or 16 bytes");
    return -1;
}

static PyObject *
channel_gethostbyaddr(PyObject *op, PyObject *args)
{
    PyObject *callback;
    const char *packed;
    Py_ssize_t len;
    if (!PyArg_ParseTuple(args, "Oy#:gethostbyaddr", &callback, &packed, &len))
        return NULL;
    int family = family_of(len);
    query *q = family < 0 ? NULL : begin_query(SELF, callback, 1);
    if (q == NULL)
        return NULL;
    ares_gethostbyaddr(SELF->ares, packed, (int)len, family, got_host, q);
    return end_query(SELF);
}

static PyObject *
channel_getnameinfo(PyObject *op, PyObject *args)
{
    PyObject *callback;
    const char *packed;
    Py_ssize_t len;
    int flags, port;
    unsigned flow = 0, scope = 0;
    if (!PyArg_ParseTuple(args, "Oy#ii|II:getnameinfo", &callback, &packed,
                          &len, &port, &flags, &flow, &scope))
        return NULL;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct sockaddr_in in = {.sin_family = AF_INET};
    in6.sin6_port = in.sin_port = htons((uint16_t)port);
    in6.sin6_flowinfo = htonl(flow);
    in6.sin6_scope_id = scope;
    int family = family_of(len);
    query *q = family < 0 ? NULL : begin_query(SELF, callback, 0);
    if (q == NULL)
        return NULL;
    memcpy(family == AF_INET ? (void *)&in.sin_addr : &in6.sin6_addr, packed,
           (size_t)len);
    ares_getnameinfo(SELF->ares,
                     family == AF_INET ? (struct sockaddr *)&in
                                       : (struct sockaddr *)&in6,
                     family == AF_INET ? sizeof in : sizeof in6,
                     translate(flags, nameinfo_flags, LENGTH(nameinfo_flags)) |
                         ARES_NI_LOOKUPHOST | ARES_NI_LOOKUPSERVICE,
                     got_names, q);
    return end_query(SELF);
}

/* --- the type ------------------------------------------------------------ */

static PyObject *
channel_set_servers(PyObject *op, PyObject *list)
{
    if (!PyBytes_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "the list must be bytes");
        return NULL;
    }
    if (check_open(SELF) == NULL)
        return NULL;
    int status = set_list(SELF->ares, list);
    if (status != ARES_SUCCESS)
        return raise_status(status);
    Py_XSETREF(SELF->list, Py_NewRef(list));
    Py_RETURN_NONE;
}

static PyObject *
channel_destroy(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (SELF->loop != NULL) {
        unwatch_forks(SELF);
        channel_end(SELF);
    }
    Py_RETURN_NONE;
}

/* Of an argument that was given; -1 is c-ares' own choice. */
static int
option(int value, int *field, int flag)
{
    *field = value;
    return value >= 0 ? flag : 0;
}

static int
channel_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop",  "flags",    "timeout_ms", "tries",
                            "ndots", "udp_port", "tcp_port",   NULL};
    PyObject *loop;
    int flags = -1, timeout = -1, tries = -1, ndots = -1, udp = -1, tcp = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|iiiiii:AresChannel",
                                     names, &coir__loop_type, &loop, &flags,
                                     &timeout, &tries, &ndots, &udp, &tcp))
        return -1;
    if (SELF->loop != NULL || ((LoopObject *)loop)->loop == NULL) {
        PyErr_SetString(PyExc_ValueError, SELF->loop != NULL
                                              ? "it has been initialized"
                                              : "operation on destroyed loop");
        return -1;
    }
    struct ares_options *o = &SELF->options;
    SELF->mask = option(flags, &o->flags, ARES_OPT_FLAGS) |
                 option(timeout, &o->timeout, ARES_OPT_TIMEOUTMS) |
                 option(tries, &o->tries, ARES_OPT_TRIES) |
                 option(ndots, &o->ndots, ARES_OPT_NDOTS);
    o->udp_port = (unsigned short)udp;
    o->tcp_port = (unsigned short)tcp;
    SELF->mask |= udp >= 0 ? ARES_OPT_UDP_PORT : 0;
    SELF->mask |= tcp >= 0 ? ARES_OPT_TCP_PORT : 0;
    SELF->loop = (LoopObject *)Py_NewRef(loop);
    int status = channel_begin(SELF);
    if (status != ARES_SUCCESS) {
        Py_CLEAR(SELF->loop);
        (void)raise_status(status);
        return -1;
    }
    watch_forks(SELF);
    return 0;
}

static PyObject *
channel_get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *loop = (PyObject *)SELF->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

static PyObject *
channel_get_destroyed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SELF->ares == NULL || SELF->is_to_end);
}

static PyObject *
channel_get_watched(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *list = PyList_New(0);
    for (const watched *w = SELF->watched; w != NULL && list != NULL;
         w = w->next) {
        PyObject *fd = PyLong_FromLong(w->io.fd);
        if (fd == NULL || PyList_Append(list, fd) < 0)
            Py_CLEAR(list);
        Py_XDECREF(fd);
    }
    return list;
}

static int
channel_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->loop);
    return 0;
}

/* Nothing is looked up: that would keep it alive. The loop stays, the
 * watchers need it; it refers to nobody who refers here. */
static void
channel_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->ares != NULL) {
        unwatch_forks(SELF);
        ares_destroy(SELF->ares);
    }
    Py_CLEAR(SELF->list);
    Py_CLEAR(SELF->loop);
    Py_TYPE(op)->tp_free(op);
}

static PyMethodDef channel_methods[] = {
    {"getaddrinfo", channel_getaddrinfo, METH_VARARGS,
     "getaddrinfo($self, callback, host, service=None, family=0, type=0, "
     "proto=0, flags=0, /)\n--\n\n"
     "Brings what socket.getaddrinfo() returns. Host and service are bytes."},
    {"gethostbyname", channel_gethostbyname, METH_VARARGS,
     "gethostbyname($self, callback, name, family=2, /)\n--\n\n"
     "Brings (family, name, aliases, addresses)."},
    {"gethostbyaddr", channel_gethostbyaddr, METH_VARARGS,
     "gethostbyaddr($self, callback, packed, /)\n--\n\n"
     "The same for an address of 4 or 16 bytes."},
    {"getnameinfo", channel_getnameinfo, METH_VARARGS,
     "getnameinfo($self, callback, packed, port, flags, flowinfo=0, "
     "scope_id=0, /)\n--\n\n"
     "Brings (host, service)."},
    {"set_servers", channel_set_servers, METH_O,
     "set_servers($self, list, /)\n--\n\n"
     "Ask these from now on: bytes, addresses with commas between them."},
    {"destroy", channel_destroy, METH_NOARGS,
     "destroy($self)\n--\n\nEnd all look-ups, with an error. Idempotent."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef channel_getset[] = {
    {"loop", channel_get_loop, NULL, "In which it works.", NULL},
    {"destroyed", channel_get_destroyed, NULL, "Whether it was.", NULL},
    {"watched", channel_get_watched, NULL,
     "Descriptors by which it talks to servers now.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject channel_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.AresChannel",
    .tp_basicsize = sizeof(ChannelObject),
    .tp_dealloc = channel_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "AresChannel(loop, flags=-1, timeout_ms=-1, tries=-1, "
              "ndots=-1,\n            udp_port=-1, tcp_port=-1)\n\n"
              "Look-ups by c-ares. Each returns at once, and calls\n"
              "callback(value, None) or callback(None, error) in the hub.",
    .tp_traverse = channel_traverse,
    .tp_methods = channel_methods,
    .tp_getset = channel_getset,
    .tp_init = channel_init,
    .tp_new = PyType_GenericNew,
};

int
coir__ares_types_init(PyObject *module)
{
    static int is_begun;
    if (!is_begun && ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        PyErr_NoMemory();
        return -1;
    }
    is_begun = 1;
    if (PyType_Ready(&channel_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "AresChannel",
                                 (PyObject *)&channel_type);
}

#else

/* Without it the module has no such name. */
int
coir__ares_types_init(PyObject *Py_UNUSED(module))
{
    return 0;
}

#endif
