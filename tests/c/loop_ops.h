/* loop_ops.h - programs on watchers and loops, as bytes.
 *
 * A string of bytes is run as a program: operations on watchers, descriptors
 * and clocks of two loops, one of which may be embedded in the other. Those
 * that follow a coir_loop_run() are done from within the callbacks it makes.
 * Any string is a program. All that the loops do is compared with the model
 * of loop_model.h; a difference fails the test. */
#ifndef COIR_TESTS_LOOP_OPS_H
#define COIR_TESTS_LOOP_OPS_H

#include <stddef.h>
#include <stdint.h>

/* What programs did, in all: to see that tests do anything. */
typedef struct loop_ops_counts {
    long calls[14]; /* of callbacks, by enum model_kind; 0: of once */
    long operations[64];
    long failures; /* for want of memory */
    long waits;
} loop_ops_counts;

extern loop_ops_counts loop_ops_counted;

/* How many different operations there are. */
extern const size_t loop_ops_count;

/* With the environment's COIR_TEST_TRACE it says what it does. */
void loop_ops_run(const uint8_t *program, size_t len);

#endif
