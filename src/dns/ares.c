#include "dns/dns.h"

int
coir__ares_begin(void)
{
    return COIR_ENOSYS;
}

int
coir__ares_lookup(coir_hub *hub, coir__lookup *l)
{
    (void)hub;
    (void)l;
    return COIR_ENOSYS;
}
