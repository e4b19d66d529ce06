/* group.c - what gevent.pool's Group and Pool do for each greenlet.
 *
 * A group is linked to its greenlets by one object for all of them, which
 * lives as long as it is linked to any: the greenlets keep the group, the
 * group only points to the link. A Greenlet that ends and has no other link
 * is discarded at once, not in the hub: that only wakes others.
 *
 * A group with a semaphore is a pool. Who overrides add(), start() or
 * _discard(), in a class or for one object, has it called. */
#include "green.h"

#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD PyObject *weakreflist;
    PyObject *dict;
    PyObject *greenlets; /* strong: a set */
    PyObject *dying;     /* strong: a set */
    PyObject *empty;     /* strong: an event */
    PyObject *semaphore; /* strong; NULL: any number of greenlets */
    PyObject *link;      /* borrowed: the LinkObject, or NULL */
    int is_custom;       /* this very object overrides something */
} GroupObject;

typedef struct {
    PyObject_HEAD GroupObject *group; /* strong; NULL once cleared */
} LinkObject;

static PyTypeObject group_type;

/* What may be overridden; interned, and the type's own, borrowed. */
enum { ADD, START, DISCARD, OVERRIDABLE };
static PyObject *names[OVERRIDABLE];
static PyObject *own[OVERRIDABLE];

static PyObject *str_acquire; /* strong, as are all names */
static PyObject *str_release;
static PyObject *str_set;
static PyObject *str_clear;
static PyObject *str_rawlink;
static PyObject *str_unlink;
static PyObject *str_class;
static PyObject *kw_acquire; /* strong: the names of its arguments */

/* --- overriding ---------------------------------------------------------- */

/* Does the class leave it all to us? -1 with an exception. */
static int
is_plain_class(PyTypeObject *type)
{
    static PyTypeObject *last;
    static unsigned version;
    if (type == last && version != 0 && type->tp_version_tag == version)
        return 1;
    for (int i = 0; i < OVERRIDABLE; i++) {
        PyObject *found = PyObject_GetAttr((PyObject *)type, names[i]);
        if (found == NULL)
            return -1;
        Py_DECREF(found);
        if (found != own[i])
            return 0;
    }
    last = type;
    version = type->tp_version_tag;
    return 1;
}

static int
is_plain(const GroupObject *group)
{
    return group->is_custom ? 0 : is_plain_class(Py_TYPE(group));
}

static int
group_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    for (int i = 0; i < OVERRIDABLE; i++)
        if (PyUnicode_Check(name) && PyUnicode_Compare(name, names[i]) == 0)
            ((GroupObject *)op)->is_custom = 1;
    return PyObject_GenericSetAttr(op, name, value);
}

/* --- discarding ---------------------------------------------------------- */

static int
call(PyObject *op, PyObject *method)
{
    if (op == NULL)
        return 0;
    Py_INCREF(op);
    PyObject *res = PyObject_CallMethodNoArgs(op, method);
    Py_DECREF(op);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static int
discard(GroupObject *group, PyObject *green)
{
    int had = PySet_Discard(group->greenlets, green);
    if (had < 0 || PySet_Discard(group->dying, green) < 0)
        return -1;
    if (PySet_GET_SIZE(group->greenlets) == 0 && call(group->empty, str_set))
        return -1;
    /* Discarded twice it has made room once. */
    return had ? call(group->semaphore, str_release) : 0;
}

static int
discard_as_overridden(GroupObject *group, PyObject *green)
{
    PyObject *res =
        PyObject_CallMethodOneArg((PyObject *)group, names[DISCARD], green);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

int
coir__group_tell(PyObject *link, PyObject *green)
{
    GroupObject *group = ((LinkObject *)link)->group;
    int plain = group != NULL ? is_plain(group) : 0;
    if (plain <= 0)
        return plain;
    Py_INCREF(group);
    int err = discard(group, green);
    Py_DECREF(group);
    return err < 0 ? -1 : 1;
}

/* --- the link ------------------------------------------------------------ */

static PyObject *
link_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *green;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O:discard", &green))
        return NULL;
    int told = coir__group_tell(op, green);
    GroupObject *group = ((LinkObject *)op)->group;
    if (told == 0 && group != NULL)
        told = discard_as_overridden(group, green);
    return told >= 0 ? Py_NewRef(Py_None) : NULL;
}

static int
link_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((LinkObject *)op)->group);
    return 0;
}

static int
link_clear(PyObject *op)
{
    GroupObject *group = ((LinkObject *)op)->group;
    if (group != NULL && group->link == op)
        group->link = NULL;
    Py_CLEAR(((LinkObject *)op)->group);
    return 0;
}

static void
link_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)link_clear(op);
    PyObject_GC_Del(op);
}

PyTypeObject coir__group_link_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.GroupLink",
    .tp_basicsize = sizeof(LinkObject),
    .tp_dealloc = link_dealloc,
    .tp_call = link_call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "Discards from a group the greenlets that have ended.",
    .tp_traverse = link_traverse,
    .tp_clear = link_clear,
};

/* The group's, a new reference. */
static PyObject *
link_of(GroupObject *group)
{
    if (group->link != NULL)
        return Py_NewRef(group->link);
    LinkObject *link = PyObject_GC_New(LinkObject, &coir__group_link_type);
    if (link == NULL)
        return NULL;
    link->group = (GroupObject *)Py_NewRef((PyObject *)group);
    PyObject_GC_Track(link);
    group->link = (PyObject *)link;
    return (PyObject *)link;
}

/* --- adding -------------------------------------------------------------- */

/* greenlet.rawlink(link), or unlink(); plain greenlets have neither. */
static int
call_link_method(PyObject *green, PyObject *method, PyObject *link)
{
    PyObject *func = PyObject_GetAttr(green, method);
    if (func == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    PyObject *res = PyObject_CallOneArg(func, link);
    Py_DECREF(func);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static int
track(GroupObject *group, PyObject *green)
{
    PyObject *link = link_of(group);
    if (link == NULL)
        return -1;
    int err = PySet_Add(group->greenlets, green);
    if (err == 0 && PySet_GET_SIZE(group->greenlets) == 1)
        err = call(group->empty, str_clear);
    if (err == 0)
        err = Py_IS_TYPE(green, &coir__green_type)
                  ? coir__green_link((GreenObject *)green, link)
                  : call_link_method(green, str_rawlink, link);
    Py_DECREF(link);
    return err;
}

static COIR__COLD int
raise_full(void)
{
    PyObject *m = PyImport_ImportModule("coir.gevent.pool");
    PyObject *class = m != NULL ? PyObject_GetAttrString(m, "PoolFull") : NULL;
    if (class != NULL)
        PyErr_SetNone(class);
    Py_XDECREF(class);
    Py_XDECREF(m);
    return -1;
}

/* Wait for room. The arguments may be NULL. */
static int
acquire(GroupObject *group, PyObject *blocking, PyObject *timeout)
{
    PyObject *semaphore = group->semaphore;
    if (semaphore == NULL)
        return 0;
    PyObject *args[] = {semaphore, blocking != NULL ? blocking : Py_True,
                        timeout != NULL ? timeout : Py_None};
    Py_INCREF(semaphore);
    PyObject *res;
    if (blocking == NULL && timeout == NULL)
        res = PyObject_CallMethodNoArgs(semaphore, str_acquire);
    else
        res = PyObject_VectorcallMethod(str_acquire, args, 1, kw_acquire);
    Py_DECREF(semaphore);
    int ok = res != NULL ? PyObject_IsTrue(res) : -1;
    Py_XDECREF(res);
    return ok == 0 ? raise_full() : ok < 0 ? -1 : 0;
}

static int
add(GroupObject *group, PyObject *green, PyObject *blocking, PyObject *timeout)
{
    if (group->greenlets == NULL || group->dying == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Group.__init__() was not called");
        return -1;
    }
    int has = PySet_Contains(group->greenlets, green);
    if (has != 0)
        return has < 0 ? -1 : 0;
    if (acquire(group, blocking, timeout) < 0)
        return -1;
    int err = track(group, green);
    if (err < 0) {
        PyObject *exc = coir__error_take();
        if (PySet_Add(group->greenlets, green) < 0 ||
            discard(group, green) < 0)
            PyErr_WriteUnraisable((PyObject *)group);
        coir__error_give(exc);
    }
    return err;
}

/* --- methods ------------------------------------------------------------- */

static PyObject *
group_add(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    static const char *const keys[] = {"greenlet", "blocking", "timeout"};
    GroupObject *group = (GroupObject *)op;
    PyObject *values[3] = {NULL, NULL, NULL};
    int most = group->semaphore != NULL ? 3 : 1;
    if (coir__arguments("add", keys, most, args, nargs, kwnames, values) < 0)
        return NULL;
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "add() needs a greenlet");
        return NULL;
    }
    return add(group, values[0], values[1], values[2]) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

static PyObject *
group_start(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *add_method = PyObject_GetAttr(op, names[ADD]);
    if (add_method == NULL)
        return NULL;
    PyObject *res =
        PyObject_Vectorcall(add_method, args, (size_t)nargs, kwnames);
    Py_DECREF(add_method);
    if (res == NULL)
        return NULL;
    Py_DECREF(res);
    PyObject *green = nargs > 0 ? args[0] : NULL;
    for (Py_ssize_t i = 0; green == NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i),
                                             "greenlet") == 0)
            green = args[nargs + i];
    return green != NULL
               ? PyObject_CallMethodNoArgs(green, names[START])
               : PyErr_Format(PyExc_TypeError, "start() needs a greenlet");
}

static PyObject *
group_spawn(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    GroupObject *group = (GroupObject *)op;
    PyObject *class = PyObject_GetAttr(op, str_class);
    if (class == NULL)
        return NULL;
    PyObject *green = PyObject_Vectorcall(class, args, (size_t)nargs, kwnames);
    Py_DECREF(class);
    if (green == NULL)
        return NULL;
    int err = is_plain(group);
    if (err == 0) {
        PyObject *res = PyObject_CallMethodOneArg(op, names[START], green);
        Py_XDECREF(res);
        err = res != NULL ? 0 : -1;
    }
    else if (err > 0) {
        err = add(group, green, NULL, NULL);
        if (err == 0 && Py_IS_TYPE(green, &coir__green_type))
            err = coir__green_start((GreenObject *)green);
        else if (err == 0)
            err = call(green, names[START]);
    }
    if (err < 0)
        Py_CLEAR(green);
    return green;
}

static PyObject *
group__discard(PyObject *op, PyObject *green)
{
    return discard((GroupObject *)op, green) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
group_discard(PyObject *op, PyObject *green)
{
    GroupObject *group = (GroupObject *)op;
    PyObject *link = Py_XNewRef(group->link);
    int err = discard_as_overridden(group, green);
    if (err == 0 && link != NULL)
        err = call_link_method(green, str_unlink, link);
    Py_XDECREF(link);
    return err == 0 ? Py_NewRef(Py_None) : NULL;
}

/* --- the type ------------------------------------------------------------ */

static Py_ssize_t
group_length(PyObject *op)
{
    return PySet_Size(((GroupObject *)op)->greenlets);
}

static int
group_contains(PyObject *op, PyObject *green)
{
    return PySet_Contains(((GroupObject *)op)->greenlets, green);
}

static PyObject *
group_iter(PyObject *op)
{
    return PyObject_GetIter(((GroupObject *)op)->greenlets);
}

static PyObject *
group_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
          PyObject *Py_UNUSED(kwargs))
{
    GroupObject *group = (GroupObject *)type->tp_alloc(type, 0);
    if (group == NULL)
        return NULL;
    group->greenlets = PySet_New(NULL);
    group->dying = PySet_New(NULL);
    if (group->greenlets == NULL || group->dying == NULL)
        Py_CLEAR(group);
    return (PyObject *)group;
}

static int
group_traverse(PyObject *op, visitproc visit, void *arg)
{
    const GroupObject *group = (GroupObject *)op;
    Py_VISIT(group->dict);
    Py_VISIT(group->greenlets);
    Py_VISIT(group->dying);
    Py_VISIT(group->empty);
    Py_VISIT(group->semaphore);
    return 0;
}

static int
group_clear(PyObject *op)
{
    GroupObject *group = (GroupObject *)op;
    Py_CLEAR(group->dict);
    Py_CLEAR(group->greenlets);
    Py_CLEAR(group->dying);
    Py_CLEAR(group->empty);
    Py_CLEAR(group->semaphore);
    return 0;
}

static void
group_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (((GroupObject *)op)->weakreflist != NULL)
        PyObject_ClearWeakRefs(op);
    (void)group_clear(op);
    Py_TYPE(op)->tp_free(op);
}

PyDoc_STRVAR(
    add_doc,
    "add($self, greenlet, blocking=True, timeout=None)\n--\n\n"
    "Make a greenlet one of the group until it ends. In a pool, wait for "
    "room\n"
    "first; best for one that is not started: what runs meanwhile is not\n"
    "limited.\n\n"
    ":param blocking: False not to wait; in a pool\n"
    ":param timeout: seconds to wait, None for no limit; in a pool\n"
    ":raises PoolFull: if there is no room by then");
PyDoc_STRVAR(start_doc,
             "start($self, greenlet, *args, **kwargs)\n--\n\n"
             "Add a greenlet, with the arguments of add(), and start it.");
PyDoc_STRVAR(spawn_doc,
             "spawn($self, *args, **kwargs)\n--\n\n"
             "Make a greenlet of these arguments, add it, start it.");
PyDoc_STRVAR(discard_doc, "discard($self, greenlet)\n--\n\n"
                          "Have nothing more to do with a greenlet.");

#define FAST METH_FASTCALL | METH_KEYWORDS

COIR__DEFINE_ONE(group_discard, "discard", "greenlet")
COIR__DEFINE_ONE(group__discard, "_discard", "greenlet")

static PyMethodDef group_methods[] = {
    {"add", _PyCFunction_CAST(group_add), FAST, add_doc},
    {"start", _PyCFunction_CAST(group_start), FAST, start_doc},
    {"spawn", _PyCFunction_CAST(group_spawn), FAST, spawn_doc},
    {"discard", COIR__ONE(group_discard), discard_doc},
    {"_discard", COIR__ONE(group__discard),
     "Called when a greenlet of the group has ended."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef group_members[] = {
    {"greenlets", T_OBJECT_EX, offsetof(GroupObject, greenlets), 0,
     "A set: those that run."},
    {"dying", T_OBJECT_EX, offsetof(GroupObject, dying), 0,
     "A set: those that were killed, so as not to do it twice."},
    {"_empty_event", T_OBJECT_EX, offsetof(GroupObject, empty), 0,
     "Set while the group is empty."},
    {"_semaphore", T_OBJECT_EX, offsetof(GroupObject, semaphore), 0,
     "Has what room there is, in a pool."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef group_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PySequenceMethods group_sequence = {
    .sq_length = group_length,
    .sq_contains = group_contains,
};

static PyTypeObject group_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir._core.GroupBase",
    .tp_basicsize = sizeof(GroupObject),
    .tp_dealloc = group_dealloc,
    .tp_as_sequence = &group_sequence,
    .tp_setattro = group_setattro,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "What gevent.pool.Group is made of.",
    .tp_traverse = group_traverse,
    .tp_clear = group_clear,
    .tp_weaklistoffset = offsetof(GroupObject, weakreflist),
    .tp_iter = group_iter,
    .tp_methods = group_methods,
    .tp_members = group_members,
    .tp_getset = group_getset,
    .tp_dictoffset = offsetof(GroupObject, dict),
    .tp_new = group_new,
};

/* --- set-up -------------------------------------------------------------- */

static int
names_init(void)
{
    static const coir_name all[] = {
        {&names[ADD], "add"},          {&names[START], "start"},
        {&names[DISCARD], "_discard"}, {&str_acquire, "acquire"},
        {&str_release, "release"},     {&str_set, "set"},
        {&str_clear, "clear"},         {&str_rawlink, "rawlink"},
        {&str_unlink, "unlink"},       {&str_class, "greenlet_class"},
    };
    if (coir__intern(all, sizeof all / sizeof *all) < 0)
        return -1;
    kw_acquire = Py_BuildValue("(ss)", "blocking", "timeout");
    return kw_acquire != NULL ? 0 : -1;
}

static int
types_init(void)
{
    if (names_init() < 0 || PyType_Ready(&coir__group_link_type) < 0 ||
        PyType_Ready(&group_type) < 0)
        return -1;
    for (int i = 0; i < OVERRIDABLE; i++) {
        own[i] = PyDict_GetItemWithError(group_type.tp_dict, names[i]);
        if (own[i] == NULL)
            return -1;
    }
    return 0;
}

int
coir__group_types_init(PyObject *module)
{
    if (!PyType_HasFeature(&group_type, Py_TPFLAGS_READY) && types_init() < 0)
        return -1;
    return PyModule_AddObjectRef(module, "GroupBase", (PyObject *)&group_type);
}
