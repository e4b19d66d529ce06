/* green.c - */
#include "hub.h"

int
coir__green_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
