/* patience.c - how calls of queues and channels wait: as long as `block` and
 * `timeout` say.
 *
 * No references are taken for the time of the wait: the caller has them, in a
 * frame that the collector can see, unlike this stack. */
#include "queue.h"

#include <time.h>

PyObject *coir__exc_empty, *coir__exc_full, *coir__exc_shutdown;

int
coir__queue_load(void)
{
    if (coir__exc_full != NULL)
        return 0;
    PyObject *module = PyImport_ImportModule("queue");
    if (module == NULL)
        return -1;
#if PY_VERSION_HEX >= 0x030D0000
    Py_XSETREF(coir__exc_shutdown, PyObject_GetAttrString(module, "ShutDown"));
    if (coir__exc_shutdown == NULL) {
        Py_DECREF(module);
        return -1;
    }
#endif
    Py_XSETREF(coir__exc_empty, PyObject_GetAttrString(module, "Empty"));
    if (coir__exc_empty != NULL)
        coir__exc_full = PyObject_GetAttrString(module, "Full");
    Py_DECREF(module);
    return coir__exc_full != NULL ? 0 : -1;
}

static int64_t
now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* A timeout that is an object with pending, start() and cancel(). */
static COIR__COLD int
start_timeout(coir_patience *p, PyObject *timeout)
{
    PyObject *pending = PyObject_GetAttrString(timeout, "pending");
    if (pending == NULL) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "must be real number, not %.100s",
                     Py_TYPE(timeout)->tp_name);
        return -1;
    }
    int is_pending = PyObject_IsTrue(pending);
    Py_DECREF(pending);
    if (is_pending < 0)
        return -1;
    if (!is_pending) {
        PyObject *res = PyObject_CallMethod(timeout, "start", NULL);
        if (res == NULL)
            return -1;
        Py_DECREF(res);
    }
    p->timeout = timeout;
    return 0;
}

int
coir__patience_begin(coir_patience *p, PyObject *block, PyObject *timeout)
{
    p->t = coir__pythread_get();
    if (p->t == NULL)
        return -1;
    p->timeout = NULL;
    p->value = NULL;
    p->waited = 0;
    p->may_expire = 0;
    p->ns = COIR_FOREVER;
    const HubObject *hub = coir__hub_if_any(p->t);
    p->in_hub = hub != NULL && p->t->current == &hub->base;
    if (p->in_hub)
        return 0;
    if (block != NULL && block != Py_True) {
        int err = PyObject_IsTrue(block);
        if (err <= 0)
            return err;
    }
    if (timeout == NULL || timeout == Py_None)
        return 1;
    if (PyFloat_Check(timeout) || PyIndex_Check(timeout))
        return coir__timeout_ns(timeout, &p->ns) < 0 ? -1 : 1;
    return start_timeout(p, timeout) < 0 ? -1 : 1;
}

/* What is left of the time. */
static int64_t
left_ns(coir_patience *p)
{
    if (p->ns == COIR_FOREVER)
        return COIR_FOREVER;
    int64_t now = now_ns();
    if (!p->waited)
        p->start = now;
    int64_t passed = now - p->start;
    return passed < p->ns ? p->ns - passed : 0;
}

static COIR__COLD void
invalid_switch(const char *func, PyObject *value)
{
    PyObject *module = PyImport_ImportModule("coir.gevent.exceptions");
    PyObject *exc = NULL;
    if (module != NULL)
        exc = PyObject_GetAttrString(module, "InvalidSwitchError");
    if (exc != NULL)
        PyErr_Format(exc, "Invalid switch into %s: %R", func, value);
    Py_XDECREF(exc);
    Py_XDECREF(module);
}

PyObject *
coir__patience_wait(coir_patience *p, coir_list *list, PyObject *object,
                    const char *what, const char *func, int *how)
{
    p->was_woken = 0;
    p->value = NULL;
    coir_wait *w = coir__wait_get(p->t);
    HubObject *hub = coir__hub_get(p->t);
    if (w == NULL || hub == NULL)
        return NULL;
    w->was_woken = 0;
    w->may_expire = p->may_expire;
    int64_t ns = left_ns(p);
    PyObject *res;
    if (COIR__LIKELY(!p->waited))
        res = coir__park(p->t, hub, list, what, object, ns, how);
    else
        res = coir__park_first(p->t, hub, list, what, object, ns, how);
    p->waited = 1;
    if (COIR__LIKELY(res != NULL && *how == COIR_WOKEN_BY_WAKE))
        return res;
    p->was_woken = w->was_woken;
    if (res != NULL && *how == COIR_WOKEN_BY_TIME)
        return res;
    if (p->was_woken) {
        p->value = w->value;
        w->value = NULL;
    }
    if (res != NULL) {
        invalid_switch(func, res);
        Py_DECREF(res);
    }
    return NULL;
}

PyObject *
coir__patience_end(coir_patience *p, PyObject *res)
{
    if (COIR__LIKELY(p->timeout == NULL))
        return res;
    PyObject *exc = coir__error_take();
    PyObject *done = PyObject_CallMethod(p->timeout, "cancel", NULL);
    if (done == NULL && exc == NULL) {
        Py_XDECREF(res);
        return NULL;
    }
    Py_XDECREF(done);
    coir__error_give(exc);
    return res;
}

PyObject *
coir__queue_get_hub(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    coir_pythread *t = coir__pythread_get();
    return t != NULL ? Py_XNewRef((PyObject *)coir__hub_get(t)) : NULL;
}
