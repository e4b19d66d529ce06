/* socket.c - */
#include "hub.h"

int
coir__socket_types_init(PyObject *module)
{
    (void)module;
    return 0;
}
