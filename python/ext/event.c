/* event.c - */
#include "hub.h"

int
coir__event_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
