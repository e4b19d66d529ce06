/* module.c - coir._core: set-up of the module and functions without a type.
 *
 * Multi-phase initialisation, but one interpreter: what a greenlet parks of
 * the thread state is the main interpreter's, types are shared by all modules
 * of the process, and a thread's greenlets are found by a thread-local. Any
 * other interpreter is refused. Hence the one coir_core, which a module that
 * is imported a second time shares with the first. */
#include "ev.h"
#include "httpread.h"
#include "hub.h"
#include "running.h"
#include "websocket.h"

#include <time.h>

coir_core coir__core;

/* --- counters and switches of greenlet's --------------------------------- */

static PyObject *
get_pending_cleanup_count(PyObject *Py_UNUSED(module),
                          PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSsize_t(coir__core.condemned_count);
}

static PyObject *
get_total_main_greenlets(PyObject *Py_UNUSED(module),
                         PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSsize_t(coir__core.main_count);
}

static PyObject *
enable_optional_cleanup(PyObject *Py_UNUSED(module), PyObject *flag)
{
    int on = PyObject_IsTrue(flag);
    if (on < 0)
        return NULL;
    coir__core.cleanup = on;
    Py_RETURN_NONE;
}

static PyObject *
get_clocks_used_doing_optional_cleanup(PyObject *Py_UNUSED(module),
                                       PyObject *Py_UNUSED(unused))
{
    if (!coir__core.cleanup)
        Py_RETURN_NONE;
    return PyLong_FromLong(coir__core.cleanup_clocks);
}

static PyObject *
set_thread_local(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *key, *value;
    if (!PyArg_ParseTuple(args, "OO", &key, &value))
        return NULL;
    PyObject *dict = PyThreadState_GetDict(); /* borrowed */
    if (dict == NULL)
        return PyErr_NoMemory();
    if (PyDict_SetItem(dict, key, value) < 0)
        return NULL;
    Py_RETURN_NONE;
}

#if PY_VERSION_HEX < 0x030D0000
static PyObject *
get_tstate_trash_delete_nesting(PyObject *Py_UNUSED(module),
                                PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(coir_pystate_trash_nesting(PyThreadState_Get()));
}
#endif

static PyObject *
getcurrent(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return coir__getcurrent();
}

static int
call_pending(void *arg)
{
    PyObject *func = arg;
    PyObject *res = PyObject_CallNoArgs(func);
    Py_DECREF(func);
    Py_XDECREF(res);
    return res != NULL ? 0 : -1;
}

static PyObject *
call_in_main_thread(PyObject *Py_UNUSED(module), PyObject *func)
{
    if (Py_AddPendingCall(call_pending, Py_NewRef(func)) == 0)
        Py_RETURN_TRUE;
    Py_DECREF(func);
    Py_RETURN_FALSE;
}

/* The types of coir.gevent are static: their modules are in their names. */
static PyObject *
name_types(PyObject *module, PyObject *package)
{
    PyObject *prefix = PyUnicode_FromFormat("coir.%U.", package);
    const char *text = prefix != NULL ? PyUnicode_AsUTF8(prefix) : NULL;
    PyObject *key, *value, *dict = PyModule_GetDict(module);
    Py_ssize_t pos = 0;
    while (text != NULL && PyDict_Next(dict, &pos, &key, &value)) {
        PyTypeObject *type = (PyTypeObject *)value;
        if (PyType_Check(value) &&
            !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) &&
            strncmp(type->tp_name, text, strlen(text)) == 0)
            type->tp_name += strlen("coir.");
    }
    Py_XDECREF(prefix);
    return text != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef core_methods[] = {
    {"name_types", name_types, METH_O,
     "name_types($module, package, /)\n--\n\n"
     "What of coir.PACKAGE is in C says from now on that it is of PACKAGE."},
    {"call_in_main_thread", call_in_main_thread, METH_O,
     "call_in_main_thread($module, func, /)\n--\n\n"
     "Have func() called there soon, between two bytecodes of whoever runs;\n"
     "what it raises, that one raises. It must not switch. False: there is\n"
     "no room for one more call now."},
    {"getcurrent", getcurrent, METH_NOARGS,
     "getcurrent($module)\n--\n\nThe greenlet that calls this function."},
    {"settrace", coir__settrace, METH_VARARGS,
     "settrace($module, callback, /)\n--\n\n"
     "Set this thread's trace function, None for none, called as\n"
     "callback(event, (origin, target)) after each switch. Returns the\n"
     "previous one."},
    {"gettrace", coir__gettrace, METH_NOARGS,
     "gettrace($module)\n--\n\nThis thread's trace function, or None."},
    {"set_thread_local", set_thread_local, METH_VARARGS,
     "set_thread_local($module, key, value, /)\n--\n\n"
     "Set an item of the thread state's dict. For tests."},
    {"get_pending_cleanup_count", get_pending_cleanup_count, METH_NOARGS,
     "get_pending_cleanup_count($module)\n--\n\n"
     "Greenlets that wait for their thread to unwind them."},
    {"get_total_main_greenlets", get_total_main_greenlets, METH_NOARGS,
     "get_total_main_greenlets($module)\n--\n\nMain greenlets that exist."},
    {"enable_optional_cleanup", enable_optional_cleanup, METH_O,
     "enable_optional_cleanup($module, enabled, /)\n--\n\n"
     "Whether greenlets that are suspended when their thread exits unwind by\n"
     "GreenletExit; they do by default. If not, they are just dead."},
    {"get_clocks_used_doing_optional_cleanup",
     get_clocks_used_doing_optional_cleanup, METH_NOARGS,
     "get_clocks_used_doing_optional_cleanup($module)\n--\n\n"
     "Processor time spent on unwinding greenlets at the exit of threads, in\n"
     "units of 1 / CLOCKS_PER_SEC seconds; None if it is disabled."},
#if PY_VERSION_HEX < 0x030D0000
    {"get_tstate_trash_delete_nesting", get_tstate_trash_delete_nesting,
     METH_NOARGS,
     "get_tstate_trash_delete_nesting($module)\n--\n\n"
     "How deep this greenlet is in nested deallocations. For tests."},
#endif
    {NULL, NULL, 0, NULL},
};

/* --- set-up -------------------------------------------------------------- */

/* Make what all modules share, unless it is there. */
static int
core_init(void)
{
    coir_core *c = &coir__core;
    if (c->str_stack_policy != NULL)
        return 0;
    if (coir_pystate_selftest() < 0 || coir__settings_init() < 0)
        return -1;
    c->cleanup = 1;
    /* greenlet/__init__.py renames them where they go by the other name. */
    c->error = PyErr_NewException("coir.greenlet.error", NULL, NULL);
    c->exit = PyErr_NewException("coir.greenlet.GreenletExit",
                                 PyExc_BaseException, NULL);
    c->empty_tuple = PyTuple_New(0);
    c->str_run = PyUnicode_InternFromString("run");
    c->str_stack_size = PyUnicode_InternFromString("stack_size");
    c->str_module = PyUnicode_InternFromString("__module__");
    c->str_is_scheduler = PyUnicode_InternFromString("is_scheduler");
    c->str_handle_error = PyUnicode_InternFromString("handle_error");
    c->str_destroy = PyUnicode_InternFromString("destroy");
    if (c->error == NULL || c->exit == NULL || c->empty_tuple == NULL ||
        c->str_run == NULL || c->str_stack_size == NULL ||
        c->str_module == NULL || c->str_is_scheduler == NULL ||
        c->str_handle_error == NULL || c->str_destroy == NULL)
        return -1;
    if (coir__greenlet_types_init() < 0)
        return -1;
    c->str_stack_policy = PyUnicode_InternFromString("stack_policy");
    return c->str_stack_policy != NULL ? 0 : -1;
}

/* These are classes of Python's own in gevent and eventlet: programs, and
 * above all their tests, replace methods of them. Types in C refuse that
 * unless they are told otherwise. */
static int
open_types(PyObject *m)
{
    static const char *const names[] = {
        "EvBoundedSemaphore",
        "EvEvent",
        "EvGreenThread",
        "EvLifoQueue",
        "EvLightQueue",
        "EvLock",
        "EvPriorityQueue",
        "EvQueue",
        "EvSemaphore",
        "EvTimeout",
        "Input",
        "LockType",
        "Timeout",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        PyObject *type = PyObject_GetAttrString(m, names[i]);
        if (type == NULL)
            return -1;
        assert(PyType_Check(type));
        ((PyTypeObject *)type)->tp_flags &= ~Py_TPFLAGS_IMMUTABLETYPE;
        PyType_Modified((PyTypeObject *)type);
        Py_DECREF(type);
    }
    return 0;
}

static int
core_exec(PyObject *m)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "coir works in the main interpreter only, not in "
                        "subinterpreters: import it there");
        return -1;
    }
    if (core_init() < 0)
        return -1;
    PyObject *capsule = coir__capi_new();
    int err =
        capsule != NULL ? PyModule_AddObjectRef(m, "_C_API", capsule) : -1;
    Py_XDECREF(capsule);
    if (err < 0 || PyModule_AddFunctions(m, coir__settings_methods) < 0 ||
        PyModule_AddFunctions(m, coir__info_methods) < 0 ||
        PyModule_AddObjectRef(m, "greenlet",
                              (PyObject *)&coir__greenlet_type) < 0 ||
        PyModule_AddObjectRef(m, "UnswitchableGreenlet",
                              (PyObject *)&coir__unswitchable_type) < 0 ||
        PyModule_AddObjectRef(m, "error", coir__core.error) < 0 ||
        PyModule_AddObjectRef(m, "GreenletExit", coir__core.exit) < 0 ||
        PyModule_AddIntConstant(m, "GREENLET_USE_GC", 1) < 0 ||
        PyModule_AddIntConstant(m, "GREENLET_USE_TRACING", 1) < 0 ||
        PyModule_AddIntConstant(m, "GREENLET_USE_CONTEXT_VARS", 1) < 0 ||
        PyModule_AddIntConstant(m, "GREENLET_USE_STANDARD_THREADING", 1) < 0 ||
        PyModule_AddIntConstant(m, "CLOCKS_PER_SEC", CLOCKS_PER_SEC) < 0)
        return -1;
    static int (*const inits[])(PyObject *) = {
        coir__ready_types_init,   coir__loop_types_init,
        coir__syserr_init,        coir__watcher_types_init,
        coir__hub_types_init,     coir__green_types_init,
        coir__event_types_init,   coir__lock_types_init,
        coir__timeout_types_init, coir__queue_types_init,
        coir__local_types_init,   coir__socket_types_init,
        coir__tracing_types_init, coir__wsgi_types_init,
        coir__http_types_init,    coir__websocket_types_init,
        coir__ev_types_init,      coir__evthread_types_init,
        coir__evsem_types_init,   coir__evtimeout_types_init,
        coir__evqueue_types_init, coir__ares_types_init,
        coir__evhub_types_init,   coir__evpool_types_init,
        coir__evalarm_types_init, coir__running_init,
    };
    for (size_t i = 0; i < sizeof inits / sizeof *inits; i++)
        if (inits[i](m) < 0)
            return -1;
    return open_types(m);
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, (void *)core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "coir._core",
    .m_doc = "The engine of coir: greenlets.",
    .m_methods = core_methods,
    .m_slots = core_slots,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
