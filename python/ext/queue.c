/* queue.c - */
#include "hub.h"

int
coir__queue_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
