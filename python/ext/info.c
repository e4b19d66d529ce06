/* info.c - what this build is made of, for `coir info`. */
#include "state.h"

#include <coir/ctx.h>

#if defined(__clang__)
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const char *
guard_name(int guard)
{
    switch (guard) {
    case COIR_GUARD_MADV:
        return "MADV_GUARD_INSTALL";
    case COIR_GUARD_MPROTECT:
        return "mprotect";
    case COIR_GUARD_NONE:
        return "none";
    default:
        return NULL; /* decided when the first stack is made */
    }
}

static PyObject *
info(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    coir_stack_pool_stats stats = {0};
    coir_stack_pool *pool = coir_thread_pool();
    if (pool != NULL)
        coir_stack_pool_get_stats(pool, &stats);
    return Py_BuildValue(
        "{s:s,s:s,s:s,s:s,s:z,s:n}", "version", coir_version(), "python",
        PY_VERSION, "compiler", COMPILER, "context", coir_ctx_backend(),
        "guard", guard_name(stats.guard), "stacks", (Py_ssize_t)stats.in_use);
}

PyMethodDef coir__info_methods[] = {
    {"_info", info, METH_NOARGS,
     "_info($self)\n--\n\n"
     "Version, Python it was compiled for, compiler, how contexts are\n"
     "switched, what guards this thread's stacks (None before the first),\n"
     "and how many are in use."},
    {NULL, NULL, 0, NULL},
};
