"""An extension compiled against our greenlet.h, and a C++ one."""

import importlib.machinery
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sysconfig
import textwrap

import coir.greenlet
import pytest

coir.install_as("greenlet")

HEADERS = pathlib.Path(coir.greenlet.__file__).parent / "include"

C_SOURCE = r"""
#include <Python.h>
#include <greenlet/greenlet.h>

static PyObject *
body(PyObject *self, PyObject *args)
{
    PyGreenlet *me = PyGreenlet_GetCurrent();
    PyGreenlet *parent = PyGreenlet_GetParent(me);
    PyObject *got = PyGreenlet_Switch(parent, args, NULL);
    Py_DECREF(parent);
    Py_DECREF(me);
    return got;
}

static PyMethodDef body_def = {"body", body, METH_VARARGS, NULL};

static PyObject *
run(PyObject *self, PyObject *Py_UNUSED(arg))
{
    PyObject *function = PyCFunction_New(&body_def, NULL);
    PyGreenlet *g = PyGreenlet_New(function, NULL);
    Py_DECREF(function);
    if (g == NULL)
        return NULL;
    if (!PyGreenlet_Check((PyObject *)g) || PyGreenlet_STARTED(g) ||
        PyGreenlet_ACTIVE(g) || PyGreenlet_MAIN(g))
        return PyErr_Format(PyExc_AssertionError, "a new one");
    PyObject *args = Py_BuildValue("(i)", 1);
    PyObject *first = PyGreenlet_Switch(g, args, NULL);
    if (!PyGreenlet_STARTED(g) || !PyGreenlet_ACTIVE(g))
        return PyErr_Format(PyExc_AssertionError, "a started one");
    PyObject *second = PyGreenlet_Switch(g, args, NULL);
    Py_DECREF(args);
    PyObject *res = Py_BuildValue("NNi", first, second, PyGreenlet_ACTIVE(g));
    Py_DECREF(g);
    return res;
}

static PyObject *
throw_into(PyObject *self, PyObject *g)
{
    return PyGreenlet_Throw((PyGreenlet *)g, PyExc_KeyError, NULL, NULL);
}

static PyObject *
set_parent(PyObject *self, PyObject *args)
{
    PyObject *g, *parent;
    if (!PyArg_ParseTuple(args, "OO", &g, &parent) ||
        PyGreenlet_SetParent((PyGreenlet *)g, (PyGreenlet *)parent) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A subtype in C that embeds the greenlet. */
typedef struct {
    PyGreenlet base;
    int number;
} Derived;

static PyObject *
derived_number(PyObject *self, void *closure)
{
    return PyLong_FromLong(((Derived *)self)->number++);
}

static PyGetSetDef derived_getset[] = {{"number", derived_number}, {NULL}};

static PyTypeObject DerivedType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "capi.Derived",
    .tp_basicsize = sizeof(Derived),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_getset = derived_getset,
};

static PyMethodDef methods[] = {
    {"run", run, METH_NOARGS, NULL},
    {"throw_into", throw_into, METH_O, NULL},
    {"set_parent", set_parent, METH_VARARGS, NULL},
    {NULL},
};

static PyModuleDef def = {PyModuleDef_HEAD_INIT, "capi", NULL, -1, methods};

PyMODINIT_FUNC
PyInit_capi(void)
{
    PyGreenlet_Import();
    if (_PyGreenlet_API == NULL)
        return NULL;
    DerivedType.tp_base = &PyGreenlet_Type;
    if (PyType_Ready(&DerivedType) < 0)
        return NULL;
    PyObject *m = PyModule_Create(&def);
    if (m == NULL || PyModule_AddObjectRef(m, "Derived",
                                           (PyObject *)&DerivedType) < 0)
        return NULL;
    return m;
}
"""

CXX_SOURCE = r"""
#include <Python.h>
#include <exception>
#include <stdexcept>
#include <string>

/* Calls `switcher` inside a catch block; the exception stays this one's. */
static PyObject *
catch_and_call(PyObject *, PyObject *args)
{
    const char *name;
    PyObject *switcher;
    if (!PyArg_ParseTuple(args, "sO", &name, &switcher))
        return nullptr;
    try {
        throw std::runtime_error(name);
    } catch (const std::runtime_error &) {
        PyObject *got = PyObject_CallNoArgs(switcher);
        if (got == nullptr)
            return nullptr;
        Py_DECREF(got);
        try {
            throw; /* the one being handled */
        } catch (const std::runtime_error &again) {
            return PyUnicode_FromString(again.what());
        }
    }
}

static PyMethodDef methods[] = {
    {"catch_and_call", catch_and_call, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

static PyModuleDef def = {PyModuleDef_HEAD_INIT, "cxx", nullptr, -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC
PyInit_cxx(void)
{
    return PyModule_Create(&def);
}
"""


def build(directory, name, compiler, suffix, source):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    path = directory / f"{name}{suffix}"
    path.write_text(textwrap.dedent(source))
    target = directory / f"{name}.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall",
         "-Wno-missing-field-initializers", f"-I{HEADERS}",
         "-isystem", sysconfig.get_path("include"), str(path),
         "-o", str(target)],
        capture_output=True, text=True, check=False)
    if "Python.h: No such file" in done.stderr:
        pytest.skip("Python.h is not installed")
    assert done.returncode == 0, done.stderr
    loader = importlib.machinery.ExtensionFileLoader(name, str(target))
    spec = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def capi(tmp_path_factory):
    return build(tmp_path_factory.mktemp("capi"), "capi",
                 os.environ.get("CC", "cc"), ".c", C_SOURCE)


@pytest.fixture(scope="module")
def cxx(tmp_path_factory):
    return build(tmp_path_factory.mktemp("cxx"), "cxx",
                 os.environ.get("CXX", "c++"), ".cpp", CXX_SOURCE)


def test_life_of_a_greenlet_from_c(capi):
    assert capi.run() == (1, 1, 0)


def test_throw_and_parents_from_c(capi):
    main = coir.greenlet.getcurrent()

    def child():
        try:
            main.switch()
        except KeyError:
            return "thrown"

    g = coir.greenlet.greenlet(child)
    g.switch()
    assert capi.throw_into(g) == "thrown"
    other = coir.greenlet.greenlet(child)
    capi.set_parent(other, g)
    assert other.parent is g
    with pytest.raises(ValueError):
        capi.set_parent(g, other)


def test_subtype_in_c(capi):
    main = coir.greenlet.getcurrent()

    class More(capi.Derived):
        def run(self, value):
            return main.switch(value + self.number)

    g = More()
    assert (g.number, g.number) == (0, 1)
    assert g.switch(5) == 7
    assert g.switch(1) == 1
    assert g.dead and g.number == 3


def test_exceptions_in_flight_belong_to_their_greenlet(cxx):
    main = coir.greenlet.getcurrent()
    some = [
        coir.greenlet.greenlet(
            lambda name=name: cxx.catch_and_call(name, main.switch))
        for name in ("first", "second", "third")
    ]
    for g in some:
        g.switch()
    assert [g.switch() for g in reversed(some)] == ["third", "second", "first"]
