/* timeout.c - */
#include "hub.h"

int
coir__timeout_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
