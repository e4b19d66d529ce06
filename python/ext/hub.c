/* hub.c - */
#include "hub.h"

int
coir__hub_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
