/* loop.c - */
#include "hub.h"

int
coir__loop_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
