/* loop_ops_world.h - what the files of loop_ops.h share: the two loops, and
 * the clock and kernel that they run on. */
#ifndef COIR_TESTS_LOOP_OPS_WORLD_H
#define COIR_TESTS_LOOP_OPS_WORLD_H

#include "harness.h"
#include "loop/backend.h"
#include "loop/internal.h"
#include "loop_model.h"
#include "loop_ops.h"

enum {
    OUTER_SLOTS = 16, /* the others are of the inner loop */
    EMBED_FD = 0,     /* by which the inner loop tells of events */
    MAX_CALLS = 10    /* callbacks within callbacks */
};
/* No program gets there. */
#define LAST_TIME (INT64_C(1) << 60)

typedef union any {
    coir_watcher base;
    coir_io io;
    coir_timer timer;
    coir_periodic periodic;
    coir_idle idle;
    coir_prepare prepare;
    coir_check check;
    coir_fork fork;
    coir_cleanup cleanup;
    coir_async async;
    coir_signal signal;
    coir_stat stat;
    coir_embed embed;
    coir_edge edge;
} any;

typedef struct kernel_fd {
    int events; /* watched for; 0: not registered */
    uint32_t generation;
    int is_open;
    int error; /* of modify() */
    int ready;
    int told; /* edge-triggered: is not told again */
} kernel_fd;

typedef struct side {
    coir_loop *loop;
    model m;
    kernel_fd fds[MODEL_FDS];
    int reset_errors; /* how often reset() still fails */
    int stale;        /* the next wait reports a registration that is gone */
} side;

typedef struct ops_state {
    const uint8_t *next;
    const uint8_t *end;
    side sides[2];
    any *slots[MODEL_SLOTS];
    model_world world;
    int calls;    /* callbacks under way */
    int draining; /* callbacks are to do nothing */
    int freeing;  /* the loops go */
    int trace;
    int64_t last_version;
    char paths[MODEL_FILES][220]; /* "": none yet */
} ops_state;

extern ops_state ops;
extern const int ops_fd_numbers[MODEL_FDS];
extern const int ops_signals[MODEL_SIGNALS];
extern const char *const ops_kind_names[KINDS];

/* --- loop_ops_world.c ---------------------------------------------------- */

/* With COIR_TEST_TRACE, print. */
__attribute__((format(printf, 1, 2))) void ops_note(const char *format, ...);
/* The program has no more bytes; byte() gives 0 then. */
int ops_is_over(void);
unsigned ops_byte(void);
side *ops_side_of(int slot);
long ops_failures(void);
/* From nothing to a day, and for ever; many are equal. */
int64_t ops_duration(void);
/* All that can be seen is as the models say; and this loop is whole. */
void ops_compare(void);
void ops_verify(const side *s);
/* Returns 0 if that is too much. */
int ops_pass_time(int64_t ns);
/* As other threads may, too. */
void ops_send_to(int slot);
void ops_feed_signal(unsigned s);
void ops_wake_up(side *s);
/* A descriptor is ready for what the highest bits say, for nothing else. */
void ops_become_ready(side *s, unsigned b);
/* The edge that watches a descriptor, or NULL. */
const model_item *ops_edge_of(const side *s, int fd);
void ops_break_all(side *s);
/* Make a loop. */
void ops_open_side(side *s, unsigned backend_of);

/* --- loop_ops_watcher.c -------------------------------------------------- */

/* Callbacks. */
void ops_on_once(int revents, void *arg);
void ops_on_hook(coir_loop *loop);
/* For stat watchers; version 0: there is none. */
void ops_set_file(int file, int64_t version);
void ops_remove_files(void);
/* Set up a watcher of w->kind as the program says; start and stop one. */
void ops_init_kind(any *real, model_item *w);
int ops_start_real(coir_loop *loop, model_kind kind, any *w);
void ops_stop_real(coir_loop *loop, model_kind kind, any *w);

/* --- loop_ops.c ---------------------------------------------------------- */

/* Do the next operation. */
void ops_step(void);

#endif
