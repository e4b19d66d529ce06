/* capi.c - greenlet's C API: what extensions that were compiled against
 * greenlet's header, or ours, find in the capsule greenlet._C_API.
 *
 * The order and the signatures never change. */
#include "state.h"

/* Returns 0, or -1 with TypeError. */
static int
check(const GreenletObject *g)
{
    if (greenlet_check(g))
        return 0;
    PyErr_BadArgument();
    return -1;
}

static GreenletObject *
capi_new(PyObject *run, GreenletObject *parent)
{
    return coir__greenlet_new(run, parent);
}

static GreenletObject *
capi_getcurrent(void)
{
    return (GreenletObject *)coir__getcurrent();
}

static PyObject *
capi_throw(GreenletObject *g, PyObject *typ, PyObject *val, PyObject *tb)
{
    if (check(g) < 0)
        return NULL;
    return coir__greenlet_throw(g, typ, val, tb);
}

static PyObject *
capi_switch(GreenletObject *g, PyObject *args, PyObject *kwargs)
{
    if (check(g) < 0)
        return NULL;
    if (args == NULL)
        args = coir__core.empty_tuple;
    if (!PyTuple_Check(args)) {
        PyErr_BadArgument();
        return NULL;
    }
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    coir_payload p = {Py_NewRef(args), NULL, 1};
    if (kwargs != NULL && PyDict_Check(kwargs) && PyDict_GET_SIZE(kwargs) > 0)
        p.kwargs = Py_NewRef(kwargs);
    return coir__greenlet_switch(t, g, p);
}

static int
capi_set_parent(GreenletObject *g, GreenletObject *parent)
{
    if (check(g) < 0)
        return -1;
    return coir__greenlet_set_parent(g, (PyObject *)parent);
}

static int
capi_main(GreenletObject *g)
{
    if (check(g) < 0)
        return -1;
    return (g->block->flags & GREENLET_MAIN) != 0;
}

static int
capi_started(GreenletObject *g)
{
    if (check(g) < 0)
        return -1;
    return g->block->state != GREENLET_NEW;
}

static int
capi_active(GreenletObject *g)
{
    if (check(g) < 0)
        return -1;
    return g->block->state == GREENLET_ACTIVE;
}

/* NULL without an exception for a main greenlet. */
static GreenletObject *
capi_get_parent(GreenletObject *g)
{
    if (check(g) < 0)
        return NULL;
    return (GreenletObject *)Py_XNewRef((PyObject *)g->block->parent);
}

PyObject *
coir__capi_new(void)
{
    static void *api[12];
    api[0] = &coir__greenlet_type;
    api[1] = coir__core.error;
    api[2] = coir__core.exit;
    api[3] = (void *)capi_new;
    api[4] = (void *)capi_getcurrent;
    api[5] = (void *)capi_throw;
    api[6] = (void *)capi_switch;
    api[7] = (void *)capi_set_parent;
    api[8] = (void *)capi_main;
    api[9] = (void *)capi_started;
    api[10] = (void *)capi_active;
    api[11] = (void *)capi_get_parent;
    return PyCapsule_New(api, "greenlet._C_API", NULL);
}
