/* watcher.c - */
#include "hub.h"

int
coir__watcher_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
