/* settings.c - stack size and policy of greenlets.
 *
 * In order of precedence:
 * - the attributes `stack_size` (bytes) and `stack_policy` ("auto",
 *   "dedicated" or "slice") of a subclass, looked up when one of its instances
 * starts;
 * - set_stack_size() and set_stack_policy(), for greenlets that start later;
 * - COIR_STACK_SIZE (bytes; suffix K or M) and COIR_STACK in the environment
 *   at import;
 * - a default by version. It is address space: a stack takes up the pages it
 *   has touched, and page tables by its size. CPython 3.14 knows the bounds of
 *   the stack and raises RecursionError before they are reached: 512 KB, room
 *   for the largest frames of C code that asks nobody. 3.12 and 3.13 count
 *   calls, of which the parser's are the largest: 1 MB. 3.11 has no limit to C
 *   recursion but the Python recursion limit: 3 MB, what a thousand nested
 *   sorted(key=) take. */
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#if PY_VERSION_HEX < 0x030C0000
#define DEFAULT_SIZE ((size_t)3 << 20)
#elif PY_VERSION_HEX < 0x030E0000
#define DEFAULT_SIZE ((size_t)1 << 20)
#else
#define DEFAULT_SIZE ((size_t)512 << 10)
#endif
/* Room for the root chunk and the interpreter's own margin. */
#define MIN_SIZE ((size_t)64 << 10)
#define MAX_SIZE COIR_STACK_MAX

static const char *const policy_names[] = {
    [COIR_POLICY_DEDICATED] = "dedicated",
    [COIR_POLICY_SLICE] = "slice",
    [COIR__POLICY_AUTO] = "auto",
};
/* Of policy auto: so many of a thread have stacks of their own. */
#define AUTO_LIMIT 10000
#define ASK_EVERY 64

/* Returns the policy, or -1. */
static int
find_policy(const char *name)
{
    for (int i = 0; i <= COIR__POLICY_AUTO; i++) {
        if (strcmp(name, policy_names[i]) == 0)
            return i;
    }
    return -1;
}

static int
policy_from(PyObject *value, int *policy)
{
    const char *name = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    int found = name != NULL ? find_policy(name) : -1;
    if (found < 0) {
        PyErr_Clear(); /* a surrogate in the name */
        PyErr_Format(PyExc_ValueError,
                     "stack_policy must be 'auto', 'dedicated' or "
                     "'slice', not %R",
                     value);
        return -1;
    }
    *policy = found;
    return 0;
}

static int
size_from(PyObject *value, size_t *size)
{
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError,
                     "stack_size must be an int, in bytes, not %s",
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    size_t n = PyLong_AsSize_t(value);
    if ((n == (size_t)-1 && PyErr_Occurred()) || n < MIN_SIZE ||
        n > MAX_SIZE) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError,
                     "stack_size must be from %zu to %zu bytes, not %R",
                     MIN_SIZE, MAX_SIZE, value);
        return -1;
    }
    *size = n & ~(size_t)15;
    return 0;
}

/* A new reference in `*value`, NULL if there is no such attribute. */
static int
optional_attr(PyTypeObject *type, PyObject *name, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr((PyObject *)type, name, value);
#else
    return _PyObject_LookupAttr((PyObject *)type, name, value);
#endif
}

int
coir__settings_of(PyTypeObject *type, size_t *size, int *policy)
{
    PyObject *value;
    int err = 0;
    if (optional_attr(type, coir__core.str_stack_size, &value) < 0)
        return -1;
    if (value != NULL) {
        err = size_from(value, size);
        Py_DECREF(value);
    }
    if (err < 0 ||
        optional_attr(type, coir__core.str_stack_policy, &value) < 0)
        return -1;
    if (value != NULL) {
        err = policy_from(value, policy);
        Py_DECREF(value);
    }
    return err;
}

/* Bytes of the thread's stack below whoever a slice would start below. */
static size_t
thread_room(void)
{
    const coir_coro *main = coir_coro_main();
    void *low, *high;
    if (coir_coro_stack_bounds(main, &low, &high) < 0)
        return 0;
    uintptr_t sp = (uintptr_t)high - coir_coro_stack_used(main);
    if (coir_coro_policy(coir_coro_current()) == COIR_POLICY_SLICE)
        sp = (uintptr_t)&sp;
    return sp - (uintptr_t)low;
}

/* How many stacks are too many where the memory of a process is limited: each
 * counts in full. Slabs of them double, so that with a quarter of the limit
 * half of it is left at least, for the heap and stacks of native threads. */
static size_t
most_stacks(size_t stack_size)
{
    size_t most = AUTO_LIMIT;
    struct rlimit limits[2];
    if (getrlimit(RLIMIT_DATA, &limits[0]) < 0 ||
        getrlimit(RLIMIT_AS, &limits[1]) < 0)
        return most;
    for (int i = 0; i < 2; i++) {
        rlim_t bytes = limits[i].rlim_cur;
        if (bytes != RLIM_INFINITY && bytes / 4 / stack_size < most)
            most = (size_t)(bytes / 4 / stack_size);
    }
    return most;
}

int
coir__settings_choose(size_t stack_size)
{
    const coir_stack_pool *pool = coir_thread_pool();
    if (pool == NULL)
        return COIR_POLICY_DEDICATED; /* which will say so */
    coir_stack_pool_stats stats;
    coir_stack_pool_get_stats(pool, &stats);
    static unsigned asked;
    static size_t most = AUTO_LIMIT;
    if (asked++ % ASK_EVERY == 0)
        most = most_stacks(stack_size); /* it may be set at any time */
    if (stats.in_use < most)
        return COIR_POLICY_DEDICATED;
    return thread_room() < stack_size ? COIR_POLICY_DEDICATED
                                      : COIR_POLICY_SLICE;
}

/* "65536", "256K", "2M": bytes, 0 if it is no such thing or out of range. */
static size_t
parse_size(const char *text)
{
    if (*text < '0' || *text > '9')
        return 0;
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    int shift = 0;
    if (*end == 'K' || *end == 'k')
        shift = 10;
    else if (*end == 'M' || *end == 'm')
        shift = 20;
    if (shift != 0)
        end++;
    if (*end != '\0' || n > MAX_SIZE >> shift || n << shift < MIN_SIZE)
        return 0;
    return (size_t)(n << shift) & ~(size_t)15;
}

int
coir__settings_init(void)
{
    coir__core.stack_size = DEFAULT_SIZE;
    coir__core.policy = COIR__POLICY_AUTO;

    const char *text = getenv("COIR_STACK_SIZE");
    if (text != NULL && *text != '\0') {
        size_t size = parse_size(text);
        if (size != 0)
            coir__core.stack_size = size;
        else if (PyErr_WarnFormat(
                     PyExc_RuntimeWarning, 1,
                     "COIR_STACK_SIZE=%s is ignored: give a number of bytes "
                     "from %zu to %zu, like 1048576, 1024K or 1M",
                     text, MIN_SIZE, MAX_SIZE) < 0)
            return -1;
    }
    text = getenv("COIR_STACK");
    if (text != NULL && *text != '\0') {
        int policy = find_policy(text);
        if (policy >= 0)
            coir__core.policy = policy;
        else if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                                  "COIR_STACK=%s is ignored: give "
                                  "'auto', 'dedicated' or 'slice'",
                                  text) < 0)
            return -1;
    }
    return 0;
}

static PyObject *
get_stack_size(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSize_t(coir__core.stack_size);
}

static PyObject *
set_stack_size(PyObject *Py_UNUSED(module), PyObject *value)
{
    if (size_from(value, &coir__core.stack_size) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
get_stack_policy(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyUnicode_FromString(policy_names[coir__core.policy]);
}

static PyObject *
set_stack_policy(PyObject *Py_UNUSED(module), PyObject *value)
{
    if (policy_from(value, &coir__core.policy) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef coir__settings_methods[] = {
    {"get_stack_size", get_stack_size, METH_NOARGS,
     "get_stack_size($self)\n--\n\n"
     "Bytes of stack that a greenlet gets by default."},
    {"set_stack_size", set_stack_size, METH_O,
     "set_stack_size($self, size, /)\n--\n\n"
     "Set the bytes of stack of greenlets that start from now on, unless\n"
     "their class says otherwise. Only address space: a stack takes up the\n"
     "pages it has touched."},
    {"get_stack_policy", get_stack_policy, METH_NOARGS,
     "get_stack_policy($self)\n--\n\n"
     "\"auto\", \"dedicated\" or \"slice\"."},
    {"set_stack_policy", set_stack_policy, METH_O,
     "set_stack_policy($self, policy, /)\n--\n\n"
     "Set how greenlets that start from now on keep their C stack, unless\n"
     "their class says otherwise: \"dedicated\", a stack of their own,\n"
     "\"slice\", on the thread's, copied away while suspended, or \"auto\":\n"
     "dedicated until a thread has 10,000 of them, then slices."},
    {NULL, NULL, 0, NULL},
};
