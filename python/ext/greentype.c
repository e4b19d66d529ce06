/* greentype.c - the type gevent.Greenlet: its methods, attributes, names. */
#include "green.h"

/* --- other methods ------------------------------------------------------- */

static PyObject *
green_start(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__green_start((GreenObject *)op) == 0 ? Py_NewRef(Py_None)
                                                     : NULL;
}

static PyObject *
green_start_later(PyObject *op, PyObject *seconds)
{
    return coir__green_start_later((GreenObject *)op, seconds) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

static PyObject *
green_run(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__green_run((GreenObject *)op);
}

static PyObject *
green_ready(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(coir__green_ready((GreenObject *)op));
}

static PyObject *
green_successful(PyObject *op, PyObject *Py_UNUSED(unused))
{
    const GreenObject *g = (GreenObject *)op;
    return PyBool_FromLong(g->finished && g->exc == NULL);
}

static PyObject *
green_raise_exception(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return coir__green_reraise((GreenObject *)op);
}

static PyObject *
green_report_error(PyObject *op, PyObject *info)
{
    if (!PyTuple_Check(info) || PyTuple_GET_SIZE(info) != 3) {
        PyErr_SetString(PyExc_TypeError,
                        "_report_error() needs an exc_info tuple");
        return NULL;
    }
    coir__green_raise(&PyTuple_GET_ITEM(info, 0), 3);
    return coir__green_report_error((GreenObject *)op) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

static PyObject *
green_maybe_kill(PyObject *op, PyObject *exception)
{
    int dead = coir__green_kill_before_start((GreenObject *)op, exception);
    return dead >= 0 ? PyBool_FromLong(dead) : NULL;
}

static PyObject *
green_has_links(PyObject *op, PyObject *Py_UNUSED(unused))
{
    const GreenObject *g = (GreenObject *)op;
    Py_ssize_t n = 0;
    if (g->links != NULL)
        n = PyList_CheckExact(g->links) ? PyList_GET_SIZE(g->links) : 1;
    for (coir_node *at = g->waiters.head; at != NULL; at = at->next)
        n++;
    return PyLong_FromSsize_t(n);
}

static PyObject *
green_rawlink(PyObject *op, PyObject *callback)
{
    if (!PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "Expected callable: %R", callback);
        return NULL;
    }
    return coir__green_link((GreenObject *)op, callback) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

/* self.link(callback, SpawnedLink=type), of a subclass. */
static PyObject *
link_as_overridden(PyObject *op, PyObject *callback, PyObject *type)
{
    PyObject *names = PyTuple_Pack(1, coir__green.str_link_class);
    if (names == NULL)
        return NULL;
    PyObject *args[] = {op, callback, type};
    PyObject *res =
        PyObject_VectorcallMethod(coir__green.str_link, args, 2, names);
    Py_DECREF(names);
    return res;
}

/* The three ways to link. */
static PyObject *
link_as(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
        PyObject *kwnames, enum coir_link_kind kind)
{
    static const char *const names[] = {"callback", "SpawnedLink"};
    PyObject *values[2] = {NULL, Py_None};
    if (coir__arguments("link", names, 2, args, nargs, kwnames, values) < 0)
        return NULL;
    if (values[1] == Py_None)
        values[1] = (PyObject *)&coir__link_types[kind];
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "link() needs a callback");
        return NULL;
    }
    int is_ours = Py_IS_TYPE(op, &coir__green_type);
    if (!is_ours && kind != COIR_LINK_ANY)
        return link_as_overridden(op, values[0], values[1]);
    PyObject *link = PyObject_CallOneArg(values[1], values[0]);
    if (link == NULL)
        return NULL;
    PyObject *res =
        is_ours ? green_rawlink(op, link)
                : PyObject_CallMethodOneArg(op, coir__green.str_rawlink, link);
    Py_DECREF(link);
    return res;
}

static PyObject *
green_link(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    return link_as(op, args, nargs, kwnames, COIR_LINK_ANY);
}

static PyObject *
green_link_value(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    return link_as(op, args, nargs, kwnames, COIR_LINK_VALUE);
}

static PyObject *
green_link_exception(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    return link_as(op, args, nargs, kwnames, COIR_LINK_EXCEPTION);
}

static PyObject *
green_unlink(PyObject *op, PyObject *callback)
{
    return coir__green_unlink((GreenObject *)op, callback) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

static PyObject *
green_unlink_all(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Py_CLEAR(((GreenObject *)op)->links);
    Py_RETURN_NONE;
}

static PyObject *
green_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(op);
}

static PyObject *
green_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *res;
    if (nargs == 3 && args[0] != Py_None) {
        PyObject *info = PyTuple_Pack(3, args[0], args[1], args[2]);
        if (info == NULL)
            return NULL;
        res = PyObject_CallMethodOneArg(op, coir__green.str_kill, info);
        Py_DECREF(info);
    }
    else {
        PyObject *joined = PyObject_CallMethodNoArgs(op, coir__green.str_join);
        PyObject *exc = joined == NULL ? coir__error_take() : NULL;
        res = PyObject_CallMethodNoArgs(op, coir__green.str_kill);
        if (res != NULL && exc != NULL) {
            Py_CLEAR(res);
            coir__error_give(exc);
        }
        else {
            Py_XDECREF(exc);
        }
        Py_XDECREF(joined);
    }
    Py_XDECREF(res);
    return res != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
green_add_spawn_callback(PyObject *Py_UNUSED(unused), PyObject *callback)
{
    if (coir__green.spawn_callbacks == NULL &&
        (coir__green.spawn_callbacks = PySet_New(NULL)) == NULL)
        return NULL;
    return PySet_Add(coir__green.spawn_callbacks, callback) == 0
               ? Py_NewRef(Py_None)
               : NULL;
}

static PyObject *
green_remove_spawn_callback(PyObject *Py_UNUSED(unused), PyObject *callback)
{
    if (coir__green.spawn_callbacks != NULL) {
        if (PySet_Discard(coir__green.spawn_callbacks, callback) < 0)
            return NULL;
        if (PySet_GET_SIZE(coir__green.spawn_callbacks) == 0)
            Py_CLEAR(coir__green.spawn_callbacks);
    }
    Py_RETURN_NONE;
}

/* --- names --------------------------------------------------------------- */

/* The class's own `_run`: does nothing, for who was given nothing to run. */
static PyObject *
run_nothing(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_NONE;
}

static PyMethodDef run_nothing_def = {
    "_run", run_nothing, METH_NOARGS,
    "Does nothing: for classes to override."};

static PyObject *
get__run(PyObject *op, void *Py_UNUSED(closure))
{
    const GreenObject *g = (GreenObject *)op;
    if (g->run != NULL)
        return Py_NewRef(g->run);
    return PyCFunction_New(&run_nothing_def, op);
}

static int
set__run(PyObject *op, PyObject *run, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    if (run == NULL && g->run == NULL) {
        PyErr_SetObject(PyExc_AttributeError, coir__green.str__run);
        return -1;
    }
    Py_XSETREF(g->run, Py_XNewRef(run));
    return 0;
}

/* How the function is called in the repr: a new reference. */
static PyObject *
function_name(PyObject *op, PyObject *func)
{
    PyObject *self = PyObject_GetAttr(func, coir__green.str_self);
    if (self == NULL)
        PyErr_Clear();
    Py_XDECREF(self); /* only compared; `func` keeps it */
    if (self == op)
        return Py_NewRef(coir__green.str__run);
    if (self != NULL && self != Py_None && !PyModule_Check(self))
        return PyObject_Repr(func);
    PyObject *name = PyObject_GetAttr(func, coir__green.str___name__);
    if (name != NULL && PyUnicode_Check(name) && PyUnicode_GET_LENGTH(name))
        return name;
    Py_XDECREF(name);
    PyErr_Clear();
    return PyObject_Repr(func);
}

/* Append ", name=value" to `text`, whose reference is used up. */
static PyObject *
add_argument(PyObject *text, PyObject *name, PyObject *value, int first)
{
    PyObject *repr = text != NULL ? PyObject_Repr(value) : NULL;
    PyObject *res = NULL;
    if (repr != NULL && name != NULL)
        res = PyUnicode_FromFormat("%U%s%S=%.50U", text, first ? "(" : ", ",
                                   name, repr);
    else if (repr != NULL)
        res =
            PyUnicode_FromFormat("%U%s%.50U", text, first ? "(" : ", ", repr);
    Py_XDECREF(repr);
    Py_XDECREF(text);
    return res;
}

/* "function(arguments)", kept for when it has ended: a new reference. */
static PyObject *
format_info(GreenObject *g)
{
    PyObject *known = coir__green_rare(g, COIR_GREEN_INFO);
    if (known != NULL)
        return Py_NewRef(known);
    PyObject *func = PyObject_GetAttr((PyObject *)g, coir__green.str__run);
    if (func == NULL)
        return NULL;
    PyObject *text = function_name((PyObject *)g, func);
    Py_DECREF(func);
    int first = 1;
    PyObject *args = Py_XNewRef(g->args);
    PyObject *kwargs = Py_XNewRef(coir__green_rare(g, COIR_GREEN_KWARGS));
    for (Py_ssize_t i = 0; args != NULL && i < PyTuple_GET_SIZE(args); i++) {
        text = add_argument(text, NULL, PyTuple_GET_ITEM(args, i), first);
        first = 0;
    }
    PyObject *items = kwargs != NULL ? PyDict_Items(kwargs) : NULL;
    for (Py_ssize_t i = 0; items != NULL && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        text = add_argument(text, PyTuple_GET_ITEM(item, 0),
                            PyTuple_GET_ITEM(item, 1), first);
        first = 0;
    }
    Py_XDECREF(items);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    if (text != NULL && !first)
        Py_SETREF(text, PyUnicode_FromFormat("%U)", text));
    if (text != NULL &&
        coir__green_set_rare(g, COIR_GREEN_INFO, Py_NewRef(text)) < 0)
        Py_CLEAR(text);
    return text;
}

static PyObject *
green_formatinfo(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return format_info((GreenObject *)op);
}

static PyObject *
get_ident(PyObject *op, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    PyObject *ident = coir__green_rare(g, COIR_GREEN_IDENT);
    if (ident != NULL)
        return Py_NewRef(ident);
    HubObject *hub = coir__green_hub(g);
    PyObject *registry =
        hub != NULL ? PyObject_GetAttrString((PyObject *)hub, "ident_registry")
                    : NULL;
    if (registry == NULL)
        return NULL;
    ident = PyObject_CallMethod(registry, "get_ident", "(O)", op);
    Py_DECREF(registry);
    if (ident != NULL &&
        coir__green_set_rare(g, COIR_GREEN_IDENT, Py_NewRef(ident)) < 0)
        Py_CLEAR(ident);
    return ident;
}

/* The name that was given, borrowed, or NULL. */
static PyObject *
given_name(PyObject *op)
{
    PyObject *dict = ((GreenletObject *)op)->dict;
    return dict != NULL ? PyDict_GetItemWithError(dict, coir__green.str_name)
                        : NULL;
}

static PyObject *
get_name(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *name = given_name(op);
    if (name != NULL)
        return Py_NewRef(name);
    PyObject *ident = get_ident(op, NULL);
    if (ident == NULL)
        return NULL;
    name = PyUnicode_FromFormat("Greenlet-%S", ident);
    Py_DECREF(ident);
    return name;
}

static int
set_name(PyObject *op, PyObject *name, void *Py_UNUSED(closure))
{
    PyObject *dict = PyObject_GenericGetDict(op, NULL);
    if (dict == NULL)
        return -1;
    int err = name != NULL ? PyDict_SetItem(dict, coir__green.str_name, name)
                           : PyDict_DelItem(dict, coir__green.str_name);
    Py_DECREF(dict);
    if (err < 0 && PyErr_ExceptionMatches(PyExc_KeyError))
        PyErr_SetString(PyExc_AttributeError, "name");
    return err;
}

/* _formatinfo(), which a subclass may have for itself. */
static PyObject *
format_info_of(PyObject *op)
{
    if (Py_IS_TYPE(op, &coir__green_type))
        return format_info((GreenObject *)op);
    PyObject *info = PyObject_CallMethodNoArgs(op, coir__green.str_formatinfo);
    if (info != NULL)
        Py_SETREF(info, PyObject_Str(info));
    return info;
}

static PyObject *
green_repr(PyObject *op)
{
    GreenObject *g = (GreenObject *)op;
    PyObject *name = NULL;
    PyObject *res = NULL;
    PyObject *info = format_info_of(op);
    PyObject *class =
        PyObject_GetAttr((PyObject *)Py_TYPE(op), coir__green.str___name__);
    if (info == NULL || class == NULL)
        goto done;
    if (coir__green_rare(g, COIR_GREEN_IDENT) != NULL ||
        given_name(op) != NULL) {
        name = PyObject_GetAttr(op, coir__green.str_name);
        if (name == NULL)
            goto done;
    }
    const char *colon = PyUnicode_GET_LENGTH(info) > 0 ? ": " : "";
    if (name != NULL)
        res = PyUnicode_FromFormat("<%U \"%S\" at %p%s%U>", class, name,
                                   (void *)op, colon, info);
    else
        res = PyUnicode_FromFormat("<%U at %p%s%U>", class, (void *)op, colon,
                                   info);
done:
    Py_XDECREF(name);
    Py_XDECREF(class);
    Py_XDECREF(info);
    return res;
}

/* --- attributes ---------------------------------------------------------- */

static PyObject *
get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    HubObject *hub = coir__green_hub((GreenObject *)op);
    return hub != NULL ? PyObject_GetAttrString((PyObject *)hub, "loop")
                       : NULL;
}

static PyObject *
get_dead(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(coir__green_dead((GreenObject *)op));
}

static int
green_bool(PyObject *op)
{
    const GreenObject *g = (GreenObject *)op;
    return g->start != COIR_GREEN_NEW && !g->finished;
}

static PyObject *
get_started(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(green_bool(op));
}

static PyObject *
get_args(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *args = ((GreenObject *)op)->args;
    return Py_NewRef(args != NULL ? args : coir__core.empty_tuple);
}

static int
set_args(PyObject *op, PyObject *args, void *Py_UNUSED(closure))
{
    if (args == NULL || !PyTuple_Check(args)) {
        PyErr_SetString(PyExc_TypeError, "args must be a tuple");
        return -1;
    }
    Py_XSETREF(((GreenObject *)op)->args, Py_NewRef(args));
    return 0;
}

static PyObject *
get_kwargs(PyObject *op, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    PyObject *kwargs = coir__green_rare(g, COIR_GREEN_KWARGS);
    if (kwargs != NULL)
        return Py_NewRef(kwargs);
    kwargs = PyDict_New();
    if (kwargs == NULL ||
        coir__green_set_rare(g, COIR_GREEN_KWARGS, Py_NewRef(kwargs)) < 0)
        Py_CLEAR(kwargs);
    return kwargs;
}

static int
set_kwargs(PyObject *op, PyObject *kwargs, void *Py_UNUSED(closure))
{
    if (kwargs == NULL || !PyDict_Check(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "kwargs must be a dict");
        return -1;
    }
    return coir__green_set_rare((GreenObject *)op, COIR_GREEN_KWARGS,
                                Py_NewRef(kwargs));
}

static PyObject *
get_value(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *value = ((GreenObject *)op)->value;
    return Py_NewRef(value != NULL ? value : Py_None);
}

static int
set_value(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((GreenObject *)op)->value, Py_XNewRef(value));
    return 0;
}

static PyObject *
get_exception(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *exc = ((GreenObject *)op)->exc;
    return Py_NewRef(exc != NULL ? exc : Py_None);
}

static PyObject *
get_exc_info(PyObject *op, void *Py_UNUSED(closure))
{
    const GreenObject *g = (GreenObject *)op;
    if (g->exc == NULL)
        Py_RETURN_NONE;
    PyObject *tb = coir__green_rare(g, COIR_GREEN_TRACEBACK);
    return PyTuple_Pack(3, (PyObject *)Py_TYPE(g->exc), g->exc,
                        tb != NULL ? tb : Py_None);
}

static PyObject *
get_spawner(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *ref = ((GreenObject *)op)->spawner;
    return Py_NewRef(ref != NULL ? ref : Py_None);
}

static PyObject *
get_locals(PyObject *op, void *Py_UNUSED(closure))
{
    GreenObject *g = (GreenObject *)op;
    if (g->locals == NULL) {
        if (!g->tracked)
            Py_RETURN_NONE;
        g->locals = PyDict_New();
    }
    return Py_XNewRef(g->locals);
}

static int
set_locals(PyObject *op, PyObject *locals, void *Py_UNUSED(closure))
{
    if (locals == NULL || (locals != Py_None && !PyDict_Check(locals))) {
        PyErr_SetString(PyExc_TypeError,
                        "spawn_tree_locals must be a dict or None");
        return -1;
    }
    Py_XSETREF(((GreenObject *)op)->locals, Py_NewRef(locals));
    return 0;
}

static PyObject *
get_stack(PyObject *op, void *Py_UNUSED(closure))
{
    return coir__spawn_stack_frames(((GreenObject *)op)->stack);
}

/* --- the type ------------------------------------------------------------ */

PyDoc_STRVAR(
    green_doc,
    "Greenlet(run=None, *args, **kwargs)\n--\n\n"
    "A greenlet that the hub starts, and whose end can be waited for.\n\n"
    ":param run: what it calls, with the other arguments; if None, its\n"
    "    method _run(), which subclasses override\n"
    ":raises TypeError: if that is not callable\n\n"
    "As a context manager it is joined at the end of the block, or killed if\n"
    "the block fails.");

PyDoc_STRVAR(spawn_doc,
             "spawn($type, *args, **kwargs)\n--\n\n"
             "Make a Greenlet of these arguments and start it. Does not "
             "switch.");
PyDoc_STRVAR(spawn_later_doc,
             "spawn_later($type, seconds, *args, **kwargs)\n--\n\n"
             "The same, started after so many seconds.");
PyDoc_STRVAR(start_doc,
             "start($self, /)\n--\n\n"
             "Have it run at the next turn of its hub. Only the first call "
             "counts.");
PyDoc_STRVAR(start_later_doc,
             "start_later($self, seconds)\n--\n\n"
             "Have it run after so many seconds. Only the first call counts.");
PyDoc_STRVAR(run_doc, "run($self, /)\n--\n\n"
                      "What happens in the greenlet: calls _run().");
PyDoc_STRVAR(ready_doc, "ready($self, /)\n--\n\nWhether it has ended.");
PyDoc_STRVAR(successful_doc,
             "successful($self, /)\n--\n\n"
             "Whether it has ended and not by an error; GreenletExit is "
             "none.");
PyDoc_STRVAR(join_doc,
             "join($self, timeout=None)\n--\n\n"
             "Wait until it has ended, or until the timeout is over.\n\n"
             ":param timeout: seconds, None for no limit");
PyDoc_STRVAR(
    get_doc,
    "get($self, block=True, timeout=None)\n--\n\n"
    "Wait until it has ended and return its value, or raise its error.\n\n"
    ":param block: False not to wait\n"
    ":param timeout: seconds, None for no limit\n"
    ":raises gevent.Timeout: if it has not ended by then");
PyDoc_STRVAR(
    kill_doc,
    "kill($self, exception=None, block=True, timeout=None)\n--\n\n"
    "Have the exception raised in it, where it waits. One that never ran\n"
    "never will, and has failed with the exception.\n\n"
    ":param block: wait until it has ended, too; it may catch the exception\n"
    ":param timeout: seconds for that, None for no limit");
PyDoc_STRVAR(throw_doc,
             "throw($self, *args)\n--\n\n"
             "Switch to it and raise an exception there, at once. For the "
             "hub: any other\n"
             "greenlet that calls it is not resumed by anybody. See kill().");
PyDoc_STRVAR(rawlink_doc,
             "rawlink($self, callback)\n--\n\n"
             "Have callback(greenlet) called in the hub, where it must not "
             "wait, when this\nhas ended; also if it has already.");
PyDoc_STRVAR(link_doc,
             "link($self, callback, SpawnedLink=None)\n--\n\n"
             "Have callback(greenlet) called in a raw greenlet of its own "
             "when this has\nended; also if it has already.");
PyDoc_STRVAR(link_value_doc,
             "link_value($self, callback, SpawnedLink=None)\n--\n\n"
             "As link(), if it ends without an error.");
PyDoc_STRVAR(link_exception_doc,
             "link_exception($self, callback, SpawnedLink=None)\n--\n\n"
             "As link(), if it ends by an error.");
PyDoc_STRVAR(unlink_doc, "unlink($self, callback)\n--\n\n"
                         "Forget a callback, however it was linked.");
PyDoc_STRVAR(unlink_all_doc,
             "unlink_all($self, /)\n--\n\nForget all callbacks.");
PyDoc_STRVAR(
    has_links_doc,
    "has_links($self, /)\n--\n\nHow many callbacks and waiters there are.");
PyDoc_STRVAR(add_spawn_callback_doc,
             "add_spawn_callback(callback)\n--\n\n"
             "Have callback(greenlet) called by each start of a Greenlet.");
PyDoc_STRVAR(remove_spawn_callback_doc,
             "remove_spawn_callback(callback)\n--\n\n"
             "Undo add_spawn_callback(); nothing if it was not added.");

#define FAST METH_FASTCALL | METH_KEYWORDS

COIR__DEFINE_ONE(green_start_later, "start_later", "seconds")
COIR__DEFINE_ONE(green_rawlink, "rawlink", "callback")
COIR__DEFINE_ONE(green_unlink, "unlink", "callback")
COIR__DEFINE_ONE(green_add_spawn_callback, "add_spawn_callback", "callback")
COIR__DEFINE_ONE(green_remove_spawn_callback, "remove_spawn_callback",
                 "callback")
COIR__DEFINE_ONE(green_report_error, "_report_error", "exc_info")
COIR__DEFINE_ONE(green_maybe_kill, "_maybe_kill_before_start", "exception")

static PyMethodDef green_methods[] = {
    {"spawn", _PyCFunction_CAST(coir__green_spawn), FAST | METH_CLASS,
     spawn_doc},
    {"spawn_later", _PyCFunction_CAST(coir__green_spawn_later),
     FAST | METH_CLASS, spawn_later_doc},
    {"start", green_start, METH_NOARGS, start_doc},
    {"start_later", COIR__ONE(green_start_later), start_later_doc},
    {"run", green_run, METH_NOARGS, run_doc},
    {"ready", green_ready, METH_NOARGS, ready_doc},
    {"successful", green_successful, METH_NOARGS, successful_doc},
    {"join", _PyCFunction_CAST(coir__green_join), FAST, join_doc},
    {"get", _PyCFunction_CAST(coir__green_get), FAST, get_doc},
    {"kill", _PyCFunction_CAST(coir__green_kill), FAST, kill_doc},
    {"throw", _PyCFunction_CAST(coir__green_throw), METH_FASTCALL, throw_doc},
    {"rawlink", COIR__ONE(green_rawlink), rawlink_doc},
    {"link", _PyCFunction_CAST(green_link), FAST, link_doc},
    {"link_value", _PyCFunction_CAST(green_link_value), FAST, link_value_doc},
    {"link_exception", _PyCFunction_CAST(green_link_exception), FAST,
     link_exception_doc},
    {"unlink", COIR__ONE(green_unlink), unlink_doc},
    {"unlink_all", green_unlink_all, METH_NOARGS, unlink_all_doc},
    {"has_links", green_has_links, METH_NOARGS, has_links_doc},
    {"add_spawn_callback", COIR__ONE(green_add_spawn_callback) | METH_STATIC,
     add_spawn_callback_doc},
    {"remove_spawn_callback",
     COIR__ONE(green_remove_spawn_callback) | METH_STATIC,
     remove_spawn_callback_doc},
    {"_raise_exception", green_raise_exception, METH_NOARGS,
     "Raise what it failed with."},
    {"_report_error", COIR__ONE(green_report_error),
     "Called with the exc_info of a failure, to note and to report it."},
    {"_maybe_kill_before_start", COIR__ONE(green_maybe_kill),
     "Kill it if it has not run; whether it is dead now."},
    {"_formatinfo", green_formatinfo, METH_NOARGS,
     "What it runs, for the repr."},
    {"__enter__", green_enter, METH_NOARGS, NULL},
    {"__exit__", _PyCFunction_CAST(green_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef green_getset[] = {
    {"_run", get__run, set__run, "What it calls.", NULL},
    {"args", get_args, set_args, "What _run is called with.", NULL},
    {"kwargs", get_kwargs, set_kwargs, "What _run is called with.", NULL},
    {"value", get_value, set_value,
     "What it returned, or its GreenletExit; None before its end.", NULL},
    {"exception", get_exception, NULL, "What it failed with, or None.", NULL},
    {"exc_info", get_exc_info, NULL,
     "(type, exception, traceback) of its failure, or None.", NULL},
    {"loop", get_loop, NULL, "The loop of its hub.", NULL},
    {"dead", get_dead, NULL, "Whether it has ended or will never run.", NULL},
    {"started", get_started, NULL, "The same as bool(greenlet).", NULL},
    {"minimal_ident", get_ident, NULL,
     "A small number that no other greenlet of this hub has now.", NULL},
    {"name", get_name, set_name,
     "\"Greenlet-\" and the minimal_ident, unless it was set.", NULL},
    {"spawning_greenlet", get_spawner, NULL,
     "A weak reference to the greenlet that made it, or None.", NULL},
    {"spawn_tree_locals", get_locals, set_locals,
     "A dict shared with those that its spawner spawned, and its own; or "
     "None.",
     NULL},
    {"spawning_stack", get_stack, NULL,
     "Where it was made, as objects like frames, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyNumberMethods green_number = {
    .nb_bool = green_bool,
};

PyTypeObject coir__green_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "coir.gevent.greenlet.Greenlet",
    .tp_basicsize = sizeof(GreenObject),
    .tp_dealloc = coir__green_dealloc,
    .tp_repr = green_repr,
    .tp_as_number = &green_number,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = green_doc,
    .tp_traverse = coir__green_traverse,
    .tp_clear = coir__green_clear,
    .tp_methods = green_methods,
    .tp_getset = green_getset,
    .tp_base = &coir__greenlet_type,
    .tp_init = coir__green_init,
    .tp_new = coir__green_new,
    .tp_vectorcall = coir__green_vectorcall,
};

/* --- set-up -------------------------------------------------------------- */

static PyObject *
spawn_frames(PyObject *Py_UNUSED(module), PyObject *arg)
{
    int limit = (int)PyLong_AsLong(arg);
    if (limit == -1 && PyErr_Occurred())
        return NULL;
    coir_spawn_stack *s = coir__spawn_stack_take(limit);
    PyObject *frames = coir__spawn_stack_frames(s);
    if (s != NULL)
        coir__spawn_stack_free(s);
    return frames;
}

static PyObject *
set_track_greenlet_tree(PyObject *Py_UNUSED(module), PyObject *flag)
{
    int on = PyObject_IsTrue(flag);
    if (on < 0)
        return NULL;
    coir__green.track_tree = on;
    Py_RETURN_NONE;
}

static PyObject *
set_copy_context(PyObject *Py_UNUSED(module), PyObject *flag)
{
    int on = PyObject_IsTrue(flag);
    if (on < 0)
        return NULL;
    coir__green.copy_context = on;
    Py_RETURN_NONE;
}

static PyMethodDef module_functions[] = {
    {"queued_greenlets", coir__green_queued, METH_O,
     "queued_greenlets($module, loop, /)\n--\n\n"
     "The Greenlets that are to start soon; gc.get_objects() does not have\n"
     "them."},
    {"spawn_frames", spawn_frames, METH_O,
     "spawn_frames($module, limit, /)\n--\n\n"
     "Where the caller is, that many frames at most, without keeping it."},
    {"set_track_greenlet_tree", set_track_greenlet_tree, METH_O,
     "set_track_greenlet_tree($module, flag, /)\n--\n\n"
     "Whether Greenlets note by whom and where they were made; they do."},
    {"set_copy_context", set_copy_context, METH_O,
     "set_copy_context($module, flag, /)\n--\n\n"
     "Whether Greenlets start in a copy of their spawner's context; else in\n"
     "an empty one, as gevent's do."},
    {NULL, NULL, 0, NULL},
};

static int
names_init(void)
{
    static const coir_name names[] = {
        {&coir__green.str__run, "_run"},
        {&coir__green.str_run, "run"},
        {&coir__green.str_name, "name"},
        {&coir__green.str_locals, "spawn_tree_locals"},
        {&coir__green.str_limit, "spawning_stack_limit"},
        {&coir__green.str_start, "start"},
        {&coir__green.str_join, "join"},
        {&coir__green.str_kill, "kill"},
        {&coir__green.str_handle_error, "handle_error"},
        {&coir__green.str_report_error, "_report_error"},
        {&coir__green.str_self, "__self__"},
        {&coir__green.str_link, "link"},
        {&coir__green.str_link_class, "SpawnedLink"},
        {&coir__green.str_rawlink, "rawlink"},
        {&coir__green.str_formatinfo, "_formatinfo"},
        {&coir__green.str_ready, "ready"},
        {&coir__green.str_successful, "successful"},
        {&coir__green.str___name__, "__name__"},
    };
    return coir__intern(names, sizeof names / sizeof *names);
}

static int
type_init(void)
{
    if (names_init() < 0 || PyType_Ready(&coir__green_type) < 0)
        return -1;
    PyObject *dict = coir__green_type.tp_dict;
    PyObject *limit = PyLong_FromLong(10);
    if (limit == NULL)
        return -1;
    int err = PyDict_SetItem(dict, coir__green.str_limit, limit);
    Py_DECREF(limit);
    if (err < 0)
        return -1;
    PyType_Modified(&coir__green_type);
    const struct {
        PyObject **to;
        PyObject *name;
    } own[] = {
        {&coir__green.own_run, coir__green.str_run},
        {&coir__green.own__run, coir__green.str__run},
        {&coir__green.own_ready, coir__green.str_ready},
        {&coir__green.own_successful, coir__green.str_successful},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if ((*own[i].to = PyDict_GetItemWithError(dict, own[i].name)) == NULL)
            return -1;
    return 0;
}

int
coir__green_types_init(PyObject *module)
{
    if (!PyType_HasFeature(&coir__green_type, Py_TPFLAGS_READY) &&
        type_init() < 0)
        return -1;
    if (PyModule_AddObjectRef(module, "Greenlet",
                              (PyObject *)&coir__green_type) < 0 ||
        PyModule_AddFunctions(module, module_functions) < 0)
        return -1;
    if (coir__greenlink_types_init(module) < 0)
        return -1;
    return coir__group_types_init(module);
}
