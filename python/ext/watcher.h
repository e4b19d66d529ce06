/* watcher.h - what the files of a loop's watchers share. */
#ifndef COIR_WATCHER_H
#define COIR_WATCHER_H

#include "link.h"

enum watcher_kind {
    KIND_IO,
    KIND_TIMER,
    KIND_SIGNAL,
    KIND_CHILD,
    KIND_STAT,
    KIND_IDLE,
    KIND_PREPARE,
    KIND_CHECK,
    KIND_FORK,
    KIND_ASYNC,
    KINDS
};

typedef struct {
    PyObject_HEAD LoopObject *loop; /* strong; NULL: closed */
    PyObject *callback;             /* strong or NULL */
    PyObject *args;                 /* strong, a tuple, or NULL */
    PyObject *weakreflist;
    coir_node node; /* in loop->watchers while active */
    uint8_t kind;
    uint8_t no_ref;         /* is not to keep the loop running */
    uint8_t is_unrefd;      /* and does not, at present */
    uint8_t is_active;      /* as its user sees it */
    uint8_t pass_events;    /* the events come first among the arguments */
    int pid, rpid, rstatus; /* of a child */
    int pidfd;
    PyObject *path;  /* of a stat: strong, bytes */
    double interval; /* the same: as it was asked for */
    union {
        coir_watcher any;
        coir_io io;
        coir_timer timer;
        coir_signal signal;
        coir_stat stat;
        coir_idle idle;
        coir_prepare prepare;
        coir_check check;
        coir_fork fork;
        coir_async async;
    } w;
} WatcherObject;

#define SELF ((WatcherObject *)op)

/* --- watcher.c ----------------------------------------------------------- */

/* Whether it can be used; else ValueError is set. */
COIR__HIDDEN int coir__watcher_is_alive(const WatcherObject *self);
/* Whether it keeps the loop running, if active, is as `no_ref` says. */
COIR__HIDDEN void coir__watcher_apply_ref(WatcherObject *self);
/* Those of an io watcher. 0, or -1 with an exception. */
COIR__HIDDEN int coir__watcher_check_fd(PyObject *op, int *fd);
COIR__HIDDEN int coir__watcher_check_events(int events);

/* --- watcherattr.c: attributes of all, and by kind ----------------------- */

extern PyGetSetDef coir__watcher_getset[] COIR__HIDDEN;
extern PyGetSetDef *const coir__watcher_getsets[KINDS] COIR__HIDDEN;

#endif
