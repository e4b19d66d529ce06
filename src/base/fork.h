/* fork.h - forks of the process are noticed by a number that differs. */
#ifndef COIR__FORK_H
#define COIR__FORK_H

/* How many forks lie between the first process that had the library and this
 * one: another number in each process of the line. Set in the child, by a
 * handler of fork(), while it has one thread. */
extern unsigned coir__forks;

#endif
