/* local.c - */
#include "hub.h"

int
coir__local_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
