/* internal.h - for tests of processes. */
#ifndef COIR__PROCESS_INTERNAL_H
#define COIR__PROCESS_INTERNAL_H

#include <stdatomic.h>

/* As if the kernel had no pidfds. */
extern int coir__process_without_pidfd;

/* That wait for processes, and are not quite done. */
extern atomic_int coir__process_threads;

#endif
