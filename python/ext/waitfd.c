/* waitfd.c - waiting for descriptors of others: by watchers made for one wait,
 * which stand in memory of their own, as a stack may move while it is parked.
 */
#include "socket.h"

#define EVENTS (COIR_READ | COIR_WRITE)

struct watch;

struct watched {
    coir_io io;
    struct watch *watch;
    int revents; /* 0 until it came */
};

/* One wait, for one descriptor or several. */
struct watch {
    coir_wait *wait;
    LoopObject *loop; /* strong */
    int revents;      /* of whichever came last */
    int is_unref;     /* for each that is active the loop was told so */
    Py_ssize_t count;
    struct watched ios[];
};

static void
stop_one(struct watch *w, struct watched *one)
{
    if (!coir_is_active(&one->io)) {
        coir_io_stop(w->loop->loop, &one->io); /* it may be pending */
        return;
    }
    if (w->is_unref)
        coir_loop_ref(w->loop->loop);
    coir_io_stop(w->loop->loop, &one->io);
}

static void
stop_all(struct watch *w)
{
    if (w->loop->loop == NULL)
        return; /* it went, with its watchers */
    for (Py_ssize_t i = 0; i < w->count; i++)
        stop_one(w, &w->ios[i]);
}

static void
is_ready(coir_loop *Py_UNUSED(loop), coir_io *io, int revents)
{
    struct watched *one = (struct watched *)io; /* its first member */
    struct watch *w = one->watch;
    if (w->is_unref && !coir_is_active(io)) {
        /* The loop has stopped it, as its descriptor is closed. */
        coir_loop_ref(w->loop->loop);
    }
    stop_one(w, one);
    w->revents = one->revents = revents;
    w->loop->tells = w->loop->in_order;
    if (w->wait->is_waiting && w->wait->woken == COIR_WOKEN_WAITS)
        coir__wake(w->wait, NULL);
    w->loop->tells = 0;
}

static struct watch *
watch_new(coir_pythread *t, HubObject *hub, Py_ssize_t count)
{
    coir_wait *wait = coir__wait_get(t);
    if (wait == NULL)
        return NULL;
    if (hub->loop == NULL || hub->loop->loop == NULL) {
        PyErr_SetString(PyExc_ValueError, "operation on destroyed loop");
        return NULL;
    }
    struct watch *w =
        PyMem_Calloc(1, sizeof *w + (size_t)count * sizeof(struct watched));
    if (w == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    w->wait = wait;
    w->loop = (LoopObject *)Py_NewRef((PyObject *)hub->loop);
    w->loop->waits_fds++;
    return w;
}

static void
watch_free(struct watch *w)
{
    stop_all(w);
    w->loop->waits_fds--;
    Py_DECREF((PyObject *)w->loop);
    PyMem_Free(w);
}

static int
watch_add(struct watch *w, int fd, int events)
{
    struct watched *one = &w->ios[w->count];
    one->watch = w;
    coir_io_init(&one->io, is_ready, fd, events);
    if (coir_io_start(w->loop->loop, &one->io) < 0)
        return coir__set_oserror(EBADF);
    w->count++;
    return 0;
}

/* Returns as coir__wait_alone(). */
static int
watch_wait(struct watch *w, coir_pythread *t, HubObject *hub, coir_list *list,
           const char *what, PyObject *op, int64_t timeout_ns)
{
    int how = COIR_WOKEN_WAITS;
    PyObject *value = coir__park(t, hub, list, what, op, timeout_ns, &how);
    if (value == NULL)
        return -1;
    Py_DECREF(value);
    if (how == COIR_WOKEN_BY_OTHER)
        return coir__set_bad_switch(what, op);
    return how == COIR_WOKEN_BY_TIME ? 0 : w->revents & ~COIR_ERROR;
}

int
coir__wait_alone(coir_pythread *t, HubObject *hub, int fd, int events,
                 coir_list *list, int ref, const char *what, PyObject *op,
                 int64_t timeout_ns)
{
    struct watch *w = watch_new(t, hub, 1);
    if (w == NULL)
        return -1;
    int res = watch_add(w, fd, events);
    if (res == 0) {
        if (!ref) {
            w->is_unref = 1;
            coir_loop_unref(w->loop->loop);
        }
        res = watch_wait(w, t, hub, list, what, op, timeout_ns);
        if (res > 0 && (w->revents & COIR_ERROR))
            res = coir__set_oserror(coir__fd_is_open(fd) ? ENOMEM : EBADF);
    }
    watch_free(w);
    return res;
}

/* --- functions ----------------------------------------------------------- */

static int
to_events(PyObject *arg, int *events)
{
    if (coir__to_int(arg, events) < 0)
        return -1;
    if (*events > 0 && (*events & ~EVENTS) == 0)
        return 0;
    PyErr_SetString(PyExc_ValueError, "events must be 1, 2 or 3");
    return -1;
}

static HubObject *
find_hub(coir_pythread **t)
{
    *t = coir__pythread_get();
    return *t != NULL ? coir__hub_get(*t) : NULL;
}

static PyObject *
wait_fd(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    int fd, events;
    int64_t timeout_ns = COIR_FOREVER;
    if (coir__check_count("wait_fd", nargs, 2, 3) < 0 ||
        coir__to_int(args[0], &fd) < 0 || to_events(args[1], &events) < 0 ||
        (nargs > 2 && coir__timeout_ns(args[2], &timeout_ns) < 0))
        return NULL;
    if (fd < 0) {
        (void)coir__set_oserror(EBADF);
        return NULL;
    }
    coir_pythread *t;
    HubObject *hub = find_hub(&t);
    if (hub == NULL)
        return NULL;
    int got = coir__wait_alone(t, hub, fd, events, NULL, 1, "wait", NULL,
                               timeout_ns);
    return got >= 0 ? PyLong_FromLong(got) : NULL;
}

static int
add_pair(struct watch *w, PyObject *fd, PyObject *events)
{
    int number, which;
    if (!PyLong_Check(fd) || !PyLong_Check(events)) {
        PyErr_SetString(PyExc_TypeError, "fds must map int to int");
        return -1; /* others could change the dict as they are converted */
    }
    if (coir__to_int(fd, &number) < 0 || to_events(events, &which) < 0)
        return -1;
    return watch_add(w, number, which);
}

/* What came, as a dict; nobody may find it again: others that watch the same
 * descriptor have had their turn, too. */
static PyObject *
what_came(const struct watch *w)
{
    PyObject *came = PyDict_New();
    for (Py_ssize_t i = 0; came != NULL && i < w->count; i++) {
        const struct watched *one = &w->ios[i];
        if (one->revents == 0)
            continue;
        PyObject *fd = PyLong_FromLong(one->io.fd);
        PyObject *events = PyLong_FromLong(one->revents & EVENTS);
        if (fd == NULL || events == NULL ||
            PyDict_SetItem(came, fd, events) < 0)
            Py_CLEAR(came);
        Py_XDECREF(fd);
        Py_XDECREF(events);
    }
    return came;
}

static PyObject *
wait_fds(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *fds, *timeout = Py_None;
    int64_t timeout_ns;
    if (!PyArg_ParseTuple(args, "O!|O:wait_fds", &PyDict_Type, &fds,
                          &timeout) ||
        coir__timeout_ns(timeout, &timeout_ns) < 0)
        return NULL;
    coir_pythread *t;
    HubObject *hub = find_hub(&t);
    if (hub == NULL)
        return NULL;
    struct watch *w = watch_new(t, hub, PyDict_GET_SIZE(fds));
    if (w == NULL)
        return NULL;
    int res = 0;
    Py_ssize_t at = 0;
    PyObject *fd, *events;
    while (res == 0 && PyDict_Next(fds, &at, &fd, &events))
        res = add_pair(w, fd, events);
    if (res == 0)
        res = watch_wait(w, t, hub, NULL, "select", NULL, timeout_ns);
    PyObject *came = res >= 0 ? what_came(w) : NULL;
    watch_free(w);
    return came;
}

PyMethodDef coir__waitfd_methods[] = {
    {"wait_fd", (PyCFunction)(void (*)(void))wait_fd, METH_FASTCALL,
     "wait_fd($module, fd, events, timeout=None, /)\n--\n\n"
     "Wait until a descriptor can be read from (1), written to (2) or either\n"
     "(3). Returns which; 0 when the timeout, in seconds, is over."},
    {"wait_fds", wait_fds, METH_VARARGS,
     "wait_fds($module, fds, timeout=None, /)\n--\n\n"
     "The same for any of several, a dict of their events. Returns those\n"
     "that came, empty when the timeout is over. Those that are closed\n"
     "meanwhile count as ready."},
    {NULL, NULL, 0, NULL},
};
