/* local.c - local: attributes of which each greenlet has its own.
 *
 * A local has a dict for each greenlet that used it. Such an entry is found by
 * the greenlet's block in the local's hash table, and hangs in a list of that
 * block, too: it goes when the greenlet ends (switch.c, thread.c, greenlet.c
 * call coir__locals_drop()), or when the local does. The dict belongs to the
 * local alone, so the collector finds cycles through it.
 *
 * To look at attributes, the dict of the running greenlet is put where
 * CPython's own code expects an instance's: `dict` is borrowed, and read at
 * once by PyObject_Generic*Attr(), before anything else can run. It is also
 * the cache: valid for `cached` only. Slots of subclasses are thus shared by
 * all greenlets, and go first, as with threading.local.
 *
 * A greenlet's first use makes the entry, then calls the subclass's __init__
 * with the arguments of the constructor. */
#include "hub.h"

#include <stddef.h>

typedef struct {
    PyObject_HEAD PyObject *dict; /* borrowed: of `cached`; or NULL */
    const coir_block *cached;     /* borrowed, only compared */
    PyObject *weakreflist;
    PyObject *args;   /* strong: for __init__ */
    PyObject *kwargs; /* strong or NULL */
    coir_local_entry **buckets;
    coir_local_entry *first; /* the only bucket of most */
    size_t mask;
    size_t used;
} LocalObject;

struct coir_local_entry {
    LocalObject *owner;     /* borrowed */
    coir_block *block;      /* borrowed */
    PyObject *dict;         /* strong */
    coir_local_entry *next; /* in the bucket */
    coir_local_entry *down; /* in the block's list */
    coir_local_entry **up;  /* what points to it there */
};

static PyTypeObject local_type;

/* --- entries ------------------------------------------------------------- */

static coir_local_entry **
bucket_of(LocalObject *self, const coir_block *b)
{
    uint64_t h = (uint64_t)(uintptr_t)b * UINT64_C(0x9E3779B97F4A7C15);
    return &self->buckets[(h >> 32) & self->mask];
}

static coir_local_entry *
find(LocalObject *self, const coir_block *b)
{
    coir_local_entry *e = *bucket_of(self, b);
    while (e != NULL && e->block != b)
        e = e->next;
    return e;
}

/* If there is no memory for more buckets, the old ones get longer. */
static void
grow(LocalObject *self)
{
    size_t n = (self->mask + 1) * 4;
    coir_local_entry **old = self->buckets;
    coir_local_entry **fresh = PyMem_Calloc(n, sizeof(coir_local_entry *));
    if (fresh == NULL)
        return;
    size_t old_n = self->mask + 1;
    self->buckets = fresh;
    self->mask = n - 1;
    for (size_t i = 0; i < old_n; i++) {
        for (coir_local_entry *e = old[i], *next; e != NULL; e = next) {
            next = e->next;
            coir_local_entry **bucket = bucket_of(self, e->block);
            e->next = *bucket;
            *bucket = e;
        }
    }
    if (old != &self->first)
        PyMem_Free(old);
}

/* Take it out of both lists; returns its dict, a reference. */
static PyObject *
entry_free(coir_local_entry *e)
{
    LocalObject *self = e->owner;
    coir_local_entry **p = bucket_of(self, e->block);
    while (*p != e)
        p = &(*p)->next;
    *p = e->next;
    self->used--;
    if (self->cached == e->block) {
        self->cached = NULL;
        self->dict = NULL;
    }
    *e->up = e->down;
    if (e->down != NULL)
        e->down->up = e->up;
    PyObject *dict = e->dict;
    PyMem_Free(e);
    return dict;
}

void
coir__locals_drop(coir_block *b)
{
    /* What the dicts held may use locals again while it goes: that is left
     * until the greenlet object itself goes. */
    size_t n = 0;
    for (coir_local_entry *e = b->locals; e != NULL; e = e->down)
        n++;
    while (n-- > 0 && b->locals != NULL)
        Py_DECREF(entry_free(b->locals));
}

/* An entry for a greenlet that has none; NULL with MemoryError. */
static coir_local_entry *
entry_new(LocalObject *self, coir_block *b)
{
    coir_local_entry *e = PyMem_Malloc(sizeof *e);
    if (e == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    e->dict = PyDict_New();
    if (e->dict == NULL) {
        PyMem_Free(e);
        return NULL;
    }
    if (self->used >= 2 * (self->mask + 1))
        grow(self);
    coir_local_entry **bucket = bucket_of(self, b);
    e->owner = self;
    e->block = b;
    e->next = *bucket;
    *bucket = e;
    e->down = b->locals;
    e->up = &b->locals;
    if (e->down != NULL)
        e->down->up = &e->down;
    b->locals = e;
    self->used++;
    return e;
}

/* --- the dict of the running greenlet ------------------------------------ */

/* This greenlet uses it for the first time. 0, or -1 with an exception. */
static COIR__COLD int
enter(LocalObject *self, coir_block *b)
{
    /* That may collect garbage, and a destructor may have been here. */
    coir_local_entry *e = find(self, b);
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    if (e == NULL) {
        e = entry_new(self, b);
        if (e == NULL)
            return -1;
        if (type->tp_init != PyBaseObject_Type.tp_init &&
            type->tp_init((PyObject *)self, self->args, self->kwargs) < 0) {
            e = find(self, b);
            if (e != NULL) {
                PyObject *exc = coir__error_take();
                Py_DECREF(entry_free(e));
                coir__error_give(exc);
            }
            return -1;
        }
        e = find(self, b);
        if (e == NULL) {
            PyErr_SetString(PyExc_RuntimeError,
                            "the greenlet has ended in __init__()");
            return -1;
        }
    }
    self->dict = e->dict;
    self->cached = b;
    return 0;
}

/* Put the running greenlet's dict in place. 0, or -1 with an exception. */
static inline int
set_dict(LocalObject *self)
{
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return -1;
    coir_block *b = t->current->block;
    if (COIR__LIKELY(self->cached == b))
        return 0;
    const coir_local_entry *e = find(self, b);
    if (e == NULL)
        return enter(self, b);
    self->dict = e->dict;
    self->cached = b;
    return 0;
}

/* --- the type ------------------------------------------------------------ */

static PyObject *
local_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (type->tp_init == PyBaseObject_Type.tp_init &&
        (PyTuple_GET_SIZE(args) > 0 ||
         (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0))) {
        PyErr_SetString(PyExc_TypeError,
                        "Initialization arguments are not supported");
        return NULL;
    }
    coir_pythread *t = coir__pythread_get();
    if (t == NULL)
        return NULL;
    PyObject *op =
        PyBaseObject_Type.tp_new(type, coir__core.empty_tuple, NULL);
    if (op == NULL)
        return NULL;
    LocalObject *self = (LocalObject *)op;
    Py_CLEAR(self->dict); /* 3.11 makes one; here it is borrowed */
    self->buckets = &self->first;
    self->args = Py_NewRef(args);
    self->kwargs = Py_XNewRef(kwargs);
    /* Here __init__() is about to be called anyway. */
    if (entry_new(self, t->current->block) == NULL)
        Py_CLEAR(op);
    return op;
}

static int
local_traverse(PyObject *op, visitproc visit, void *arg)
{
    LocalObject *self = (LocalObject *)op;
    Py_VISIT(self->args);
    Py_VISIT(self->kwargs);
    for (size_t i = 0; self->used > 0 && i <= self->mask; i++) {
        for (const coir_local_entry *e = self->buckets[i]; e; e = e->next)
            Py_VISIT(e->dict);
    }
    return 0;
}

static int
local_clear(PyObject *op)
{
    LocalObject *self = (LocalObject *)op;
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    for (size_t i = 0; self->used > 0 && i <= self->mask; i++) {
        while (self->used > 0 && i <= self->mask && self->buckets[i] != NULL)
            Py_DECREF(entry_free(self->buckets[i]));
    }
    return 0;
}

static void
local_dealloc(PyObject *op)
{
    LocalObject *self = (LocalObject *)op;
    PyObject_GC_UnTrack(op);
    if (self->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    if (self->buckets != NULL)
        (void)local_clear(op);
    if (self->buckets != &self->first)
        PyMem_Free(self->buckets);
    Py_TYPE(op)->tp_free(op);
}

static PyObject *
local_getattro(PyObject *op, PyObject *name)
{
    if (set_dict((LocalObject *)op) < 0)
        return NULL;
    return PyObject_GenericGetAttr(op, name);
}

static int
set_read_only(PyObject *op, PyObject *Py_UNUSED(value),
              void *Py_UNUSED(closure))
{
    PyErr_Format(PyExc_AttributeError,
                 "'%.100s' object attribute '__dict__' is read-only",
                 Py_TYPE(op)->tp_name);
    return -1;
}

/* As threading.local, which asks before it cares what a name is. */
static COIR__COLD int
setattr_by_no_string(PyObject *op, PyObject *name, PyObject *value)
{
    PyObject *dict_name = PyUnicode_FromString("__dict__");
    if (dict_name == NULL)
        return -1;
    int same = PyObject_RichCompareBool(name, dict_name, Py_EQ);
    Py_DECREF(dict_name);
    if (same < 0)
        return -1;
    if (same)
        return set_read_only(op, value, NULL);
    /* The comparison may have switched. */
    if (set_dict((LocalObject *)op) < 0)
        return -1;
    return PyObject_GenericSetAttr(op, name, value);
}

static int
local_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    if (COIR__UNLIKELY(!PyUnicode_CheckExact(name)))
        return setattr_by_no_string(op, name, value);
    if (set_dict((LocalObject *)op) < 0)
        return -1;
    return PyObject_GenericSetAttr(op, name, value);
}

static PyObject *
get_dict(PyObject *op, void *Py_UNUSED(closure))
{
    if (set_dict((LocalObject *)op) < 0)
        return NULL;
    return Py_NewRef(((LocalObject *)op)->dict);
}

static PyObject *
local_copy(PyObject *op, PyObject *Py_UNUSED(unused))
{
    LocalObject *self = (LocalObject *)op;
    if (set_dict(self) < 0)
        return NULL;
    PyObject *dict = PyDict_Copy(self->dict);
    if (dict == NULL)
        return NULL;
    PyObject *res =
        PyObject_Call((PyObject *)Py_TYPE(op), self->args, self->kwargs);
    if (res != NULL) {
        if (!PyObject_TypeCheck(res, &local_type)) {
            PyErr_SetString(PyExc_TypeError, "not a local");
            Py_CLEAR(res);
        }
        else if (set_dict((LocalObject *)res) < 0) {
            Py_CLEAR(res);
        }
    }
    if (res != NULL) {
        PyObject *to = Py_NewRef(((LocalObject *)res)->dict);
        PyDict_Clear(to);
        if (PyDict_Update(to, dict) < 0)
            Py_CLEAR(res);
        Py_DECREF(to);
    }
    Py_DECREF(dict);
    return res;
}

static PyMethodDef local_methods[] = {
    {"__copy__", local_copy, METH_NOARGS,
     "__copy__($self)\n--\n\n"
     "One made with the same arguments, whose attributes in this greenlet\n"
     "are the same as here."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef local_getset[] = {
    {"__dict__", get_dict, set_read_only, "Attributes in this greenlet.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject local_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.local.local",
    .tp_basicsize = sizeof(LocalObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "local(*args, **kwargs)\n--\n\n"
              "An object whose attributes each greenlet has for itself.\n\n"
              "A subclass's __init__() is called with the arguments in each\n"
              "greenlet that uses the object; what its __slots__ name is\n"
              "shared by all. A greenlet's attributes go when it ends.",
    .tp_new = local_new,
    .tp_dealloc = local_dealloc,
    .tp_traverse = local_traverse,
    .tp_clear = local_clear,
    .tp_getattro = local_getattro,
    .tp_setattro = local_setattro,
    .tp_methods = local_methods,
    .tp_getset = local_getset,
    .tp_weaklistoffset = offsetof(LocalObject, weakreflist),
    .tp_dictoffset = offsetof(LocalObject, dict),
};

/* --- the module ---------------------------------------------------------- */

static PyObject *
all_local_dicts_for_greenlet(PyObject *Py_UNUSED(module), PyObject *op)
{
    if (!greenlet_check(op)) {
        PyErr_Format(PyExc_TypeError, "not a greenlet: %R", op);
        return NULL;
    }
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    const coir_block *b = ((GreenletObject *)op)->block;
    for (const coir_local_entry *e = b->locals; e != NULL; e = e->down) {
        PyObject *id = PyLong_FromVoidPtr(e->owner);
        PyObject *item = NULL;
        if (id != NULL)
            item = Py_BuildValue("((ON)O)", Py_TYPE((PyObject *)e->owner), id,
                                 e->dict);
        int err = item != NULL ? PyList_Append(list, item) : -1;
        Py_XDECREF(item);
        if (err < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

COIR__DEFINE_ONE(all_local_dicts_for_greenlet, "all_local_dicts_for_greenlet",
                 "greenlet")

static PyMethodDef functions[] = {
    {"all_local_dicts_for_greenlet", COIR__ONE(all_local_dicts_for_greenlet),
     "all_local_dicts_for_greenlet($module, greenlet)\n--\n\n"
     "What the greenlet has in locals: ((type, id), dict) for each of them."},
    {NULL, NULL, 0, NULL},
};

int
coir__local_types_init(PyObject *module)
{
    if (PyType_Ready(&local_type) < 0 ||
        PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "local", (PyObject *)&local_type);
}
