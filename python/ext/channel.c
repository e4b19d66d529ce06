/* channel.c - gevent.queue.Channel: put() waits for a get(), and has no place
 * to leave the item.
 *
 * So an item must be handed over: to a waiting getter by put(), or taken by
 * get() out of the hands of a putter. put() returns after the getter that it
 * woke had its chance to run. If that getter is killed, or its time is over,
 * before it runs, the item comes to the next getter, or is kept in `returned`,
 * from which getters are served first. */
#include "queue.h"

#include <stddef.h>

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    coir_list getters;
    coir_list putters;  /* timer.data: the item, borrowed from put() */
    PyObject *returned; /* strong: a list, or NULL */
} ChannelObject;

static PyTypeObject channel_type;

#define SELF ((ChannelObject *)op)

/* --- handing over -------------------------------------------------------- */

/* To the first getter, if there is one. */
static int
hand_over(ChannelObject *c, PyObject *item)
{
    if (c->getters.head == NULL)
        return 0;
    coir__wake(coir__wait_of(c->getters.head), Py_NewRef(item));
    return 1;
}

/* A getter did not come to run. Keeps the pending exception. */
static COIR__COLD void
give_back(ChannelObject *c, PyObject *item)
{
    if (hand_over(c, item))
        return;
    PyObject *exc = coir__error_take();
    if (c->returned == NULL)
        c->returned = PyList_New(0);
    if (c->returned == NULL || PyList_Append(c->returned, item) < 0)
        PyErr_WriteUnraisable((PyObject *)c);
    coir__error_give(exc);
}

/* An item that is there without waiting: a new reference, or NULL. */
static inline PyObject *
take(ChannelObject *c)
{
    if (COIR__UNLIKELY(c->returned != NULL)) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(c->returned, 0));
        if (PyList_GET_SIZE(c->returned) == 1)
            Py_CLEAR(c->returned);
        else if (PyList_SetSlice(c->returned, 0, 1, NULL) < 0)
            PyErr_WriteUnraisable((PyObject *)c);
        return item;
    }
    if (c->putters.head == NULL)
        return NULL;
    coir_wait *w = coir__wait_of(c->putters.head);
    PyObject *item = Py_NewRef((PyObject *)w->timer.data);
    coir__wake(w, NULL);
    return item;
}

/* --- get and put --------------------------------------------------------- */

static PyObject *
get(ChannelObject *c, PyObject *block, PyObject *timeout)
{
    PyObject *item = take(c);
    if (item != NULL)
        return item;
    coir_patience p;
    int may_wait = coir__patience_begin(&p, block, timeout);
    if (may_wait < 0)
        return NULL;
    if (!may_wait) {
        PyErr_SetNone(coir__exc_empty);
        return NULL;
    }
    int how;
    PyObject *res = coir__patience_wait(&p, &c->getters, (PyObject *)c, "get",
                                        "Channel.get", &how);
    if (res == NULL) {
        if (p.was_woken) {
            item = p.value != NULL ? p.value : Py_NewRef(Py_None);
            p.value = NULL;
            give_back(c, item);
            Py_DECREF(item);
        }
    }
    else if (how == COIR_WOKEN_BY_TIME) {
        Py_SETREF(res, take(c));
        if (res == NULL)
            PyErr_SetNone(coir__exc_empty);
    }
    return coir__patience_end(&p, res);
}

static PyObject *
put(ChannelObject *c, PyObject *item, PyObject *block, PyObject *timeout)
{
    coir_patience p;
    int may_wait = coir__patience_begin(&p, block, timeout);
    if (may_wait < 0)
        return NULL;
    PyObject *res = NULL;
    if (hand_over(c, item)) {
        res = Py_NewRef(Py_None);
        if (!may_wait)
            return res;
        HubObject *hub = coir__hub_get(p.t);
        if (hub == NULL || coir__yield(p.t, hub, 0) < 0)
            Py_CLEAR(res);
        return coir__patience_end(&p, res);
    }
    if (!may_wait) {
        PyErr_SetNone(coir__exc_full);
        return NULL;
    }
    coir_wait *w = coir__wait_get(p.t);
    if (w != NULL) {
        int how;
        w->timer.data = item;
        res = coir__patience_wait(&p, &c->putters, (PyObject *)c, "put",
                                  "Channel.put", &how);
        if (res != NULL && how == COIR_WOKEN_BY_TIME) {
            Py_CLEAR(res);
            PyErr_SetNone(coir__exc_full);
        }
        Py_CLEAR(p.value);
    }
    return coir__patience_end(&p, res);
}

/* --- methods ------------------------------------------------------------- */

static PyObject *
channel_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *in[2] = {NULL, NULL};
    if (coir__queue_get_args("get", args, nargs, kwnames, in) < 0)
        return NULL;
    return get(SELF, in[0], in[1]);
}

static PyObject *
channel_put(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *in[3] = {NULL, NULL, NULL};
    if (coir__queue_put_args(args, nargs, kwnames, in) < 0)
        return NULL;
    return put(SELF, in[0], in[1], in[2]);
}

static PyObject *
channel_get_nowait(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if (!Py_IS_TYPE(op, &channel_type))
        return PyObject_CallMethodOneArg(op, coir__queue_names[NAME_GET],
                                         Py_False);
    return get(SELF, Py_False, NULL);
}

static PyObject *
channel_put_nowait(PyObject *op, PyObject *item)
{
    if (!Py_IS_TYPE(op, &channel_type)) {
        PyObject *args[] = {op, item, Py_False};
        return PyObject_VectorcallMethod(coir__queue_names[NAME_PUT], args, 3,
                                         NULL);
    }
    return put(SELF, item, Py_False, NULL);
}

static PyObject *
channel_iternext(PyObject *op)
{
    PyObject *item =
        Py_IS_TYPE(op, &channel_type)
            ? get(SELF, NULL, NULL)
            : PyObject_CallMethodNoArgs(op, coir__queue_names[NAME_GET]);
    return coir__queue_next(item);
}

static PyObject *
channel_next(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *item = channel_iternext(op);
    if (item == NULL && !PyErr_Occurred())
        PyErr_SetNone(PyExc_StopIteration);
    return item;
}

static PyObject *
channel_qsize(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(0);
}

static PyObject *
channel_true(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_TRUE;
}

static PyObject *
get_balance(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(coir__list_length(&SELF->putters) -
                              coir__list_length(&SELF->getters));
}

/* The greenlets that wait, first come first. */
static PyObject *
waiting(PyObject *op, void *closure)
{
    const coir_list *list = closure != NULL ? &SELF->putters : &SELF->getters;
    PyObject *res = PyList_New(0);
    for (coir_node *n = list->head; n != NULL && res != NULL; n = n->next)
        if (PyList_Append(res, (PyObject *)coir__wait_of(n)->green) < 0)
            Py_CLEAR(res);
    return res;
}

static PyObject *
format_channel(PyObject *op, int with_id)
{
    PyObject *name = PyType_GetName(Py_TYPE(op));
    if (name == NULL)
        return NULL;
    PyObject *text = with_id ? PyUnicode_FromFormat("<%U at %p", name, op)
                             : PyUnicode_FromFormat("<%U", name);
    Py_DECREF(name);
    if (SELF->getters.head != NULL)
        COIR__APPEND(text, " getters[%zd]", coir__list_length(&SELF->getters));
    if (SELF->putters.head != NULL)
        COIR__APPEND(text, " putters[%zd]", coir__list_length(&SELF->putters));
    COIR__APPEND(text, ">");
    return text;
}

static PyObject *
channel_repr(PyObject *op)
{
    return format_channel(op, 1);
}

static PyObject *
channel_str(PyObject *op)
{
    return format_channel(op, 0);
}

/* --- the type ------------------------------------------------------------ */

static PyObject *
channel_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
            PyObject *Py_UNUSED(kwargs))
{
    return coir__queue_load() < 0 ? NULL : type->tp_alloc(type, 0);
}

static int
channel_init(PyObject *Py_UNUSED(op), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", NULL};
    PyObject *maxsize = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Channel", names,
                                     &maxsize))
        return -1;
    if (maxsize == NULL)
        return 0;
    int is_one = 0;
    if (PyLong_Check(maxsize)) {
        int overflow;
        is_one = PyLong_AsLongAndOverflow(maxsize, &overflow) == 1;
    }
    if (!is_one)
        PyErr_SetString(PyExc_ValueError, "the maxsize of a channel is 1");
    return is_one ? 0 : -1;
}

static int
channel_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(SELF->returned);
    int err = coir__list_traverse(&SELF->getters, visit, arg);
    return err == 0 ? coir__list_traverse(&SELF->putters, visit, arg) : err;
}

static int
channel_clear(PyObject *op)
{
    Py_CLEAR(SELF->returned);
    return 0;
}

static void
channel_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (SELF->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)channel_clear(op);
    Py_TYPE(op)->tp_free(op);
}

#define FAST(func) ((PyCFunction)(void (*)(void))(func))

COIR__DEFINE_ONE(channel_put_nowait, "put_nowait", "item")

static PyMethodDef channel_methods[] = {
    {"get", FAST(channel_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, block=True, timeout=None)\n--\n\n"
     "Take the item of who waits in put(). If nobody does, wait for one, at\n"
     "most `timeout` seconds; or, if not `block`, do not wait: then Empty is\n"
     "raised. In the hub it never waits."},
    {"get_nowait", channel_get_nowait, METH_NOARGS,
     "get_nowait($self)\n--\n\nget(False)."},
    {"put", FAST(channel_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, item, block=True, timeout=None)\n--\n\n"
     "Give the item to who waits in get(), and let it run. If nobody does,\n"
     "wait for one, at most `timeout` seconds; or, if not `block`, do not\n"
     "wait: then Full is raised. In the hub it never waits."},
    {"put_nowait", COIR__ONE(channel_put_nowait),
     "put_nowait($self, item)\n--\n\nput(item, False)."},
    {"qsize", channel_qsize, METH_NOARGS,
     "qsize($self)\n--\n\n0: a channel holds no items."},
    {"empty", channel_true, METH_NOARGS,
     "empty($self)\n--\n\nTrue: a channel holds no items."},
    {"full", channel_true, METH_NOARGS,
     "full($self)\n--\n\nTrue: there is no free place."},
    {"next", channel_next, METH_NOARGS, "next($self)\n--\n\nget()."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "For annotations: Channel[int]."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef channel_getset[] = {
    {"balance", get_balance, NULL,
     "How many more wait in put() than in get().", NULL},
    {"getters", waiting, NULL, "Greenlets that wait in get().", NULL},
    {"putters", waiting, NULL, "Greenlets that wait in put().",
     (void *)channel_methods},
    {"hub", coir__queue_get_hub, NULL, "This thread's hub.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject channel_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.queue.Channel",
    .tp_basicsize = sizeof(ChannelObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Channel(maxsize=1)\n--\n\n"
              "put() and get() wait for each other, and hand over an item.\n"
              "Iterating takes items until one is the class StopIteration.",
    .tp_new = channel_new,
    .tp_init = channel_init,
    .tp_dealloc = channel_dealloc,
    .tp_traverse = channel_traverse,
    .tp_clear = channel_clear,
    .tp_repr = channel_repr,
    .tp_str = channel_str,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = channel_iternext,
    .tp_methods = channel_methods,
    .tp_getset = channel_getset,
    .tp_weaklistoffset = offsetof(ChannelObject, weakreflist),
};

int
coir__channel_types_init(PyObject *module)
{
    if (PyType_Ready(&channel_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Channel", (PyObject *)&channel_type);
}
