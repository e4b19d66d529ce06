/* lock.c - */
#include "hub.h"

int
coir__lock_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
