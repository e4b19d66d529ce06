/* coir/tstate.h - what a greenlet keeps of the interpreter's thread state.
 *
 * A Python thread state describes one line of execution: its frames, where
 * the next frame goes, how deep it is, the exception it handles, its context.
 * Greenlets share a thread state, so each keeps these words while parked, in
 * a coir_pystate, and puts them back when it runs. The design is told in
 * tstate.c and docs/design/0003-python-state.md; only these two files touch
 * private fields of PyThreadState or frames.
 *
 * Life of one, `ts` being the thread state of the calling thread always:
 *
 *     coir_pystate_init(&g->py);             with the greenlet
 *     coir_pystate_save(&from->py, ts);      right before the machine switch
 *     ... machine switch ...
 *     coir_pystate_restore(&me->py, ts);     right after, on the resumed side
 *     coir_pystate_enter(&me->py, ts, ...);  or this, on a new stack
 *     coir_pystate_leave(&me->py, ts);       last, when the body has returned
 *
 * save() followed by restore() of the same state without a machine switch in
 * between changes nothing: a switch that fails does that. Between save() and
 * restore() or enter() no Python code may run and no object be released.
 * leave() is not followed by save(): the next thing is the machine switch to
 * the one that goes on, and its restore() or enter().
 *
 * The main greenlet of a thread has a coir_pystate too: init() once, then
 * save() and restore(); never enter(), leave() or abandon().
 *
 * What belongs to the thread and not to the greenlet, and is left alone: the
 * pending exception, trace and profile functions and the `tracing` count, the
 * running asyncio loop and task, asynchronous exceptions, async generator
 * hooks, the trashcan's list, the cached chunk.
 *
 * Owner:   a coir_pystate is embedded in the greenlet's own memory and must
 *          not move between enter() and leave(): the thread state points into
 *          it. Nothing is allocated by init() or enter().
 * Threads: with the GIL held, on the greenlet's thread; get_context(),
 *          set_context(), frame(), traverse() and abandon() of one that does
 *          not run may come from any thread. */
#ifndef COIR_TSTATE_H
#define COIR_TSTATE_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x03100000
#error "coir knows the thread state of CPython 3.11 to 3.15 only"
#endif
#if defined(PYPY_VERSION)
#error "coir needs CPython"
#endif
#if defined(Py_GIL_DISABLED)
#error "coir does not support the free-threaded build"
#endif
#if defined(Py_LIMITED_API)
#error "coir cannot be built with the limited API"
#endif

/* What differs between the versions, named. */
#define COIR__PY_CFRAME (PY_VERSION_HEX < 0x030D0000) /* 3.11, 3.12 */
#define COIR__PY_C_COUNT                                                      \
    (PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000)
#define COIR__PY_C_BOUNDS (PY_VERSION_HEX >= 0x030E0000) /* 3.14 and on */
#define COIR__PY_ENTRIES (PY_VERSION_HEX >= 0x030C0000)  /* on the C stack */

/* Fewest bytes of a root chunk: its header and one slot. Anything less than
 * a frame only means that the first frame makes a chunk of its own. */
#define COIR_PYSTATE_CHUNK_MIN (sizeof(_PyStackChunk))

struct _PyInterpreterFrame;

typedef struct coir_pystate {
    /* Kept while parked; these two are NULL while running. */
    PyObject *context;                 /* strong; may be NULL */
    struct _PyInterpreterFrame *frame; /* innermost; its thread's memory */

    /* Valid while parked only. */
    _PyErr_StackItem *exc_info;
    _PyStackChunk *chunk;
    PyObject **chunk_top;
    PyObject **chunk_limit;
    int py_depth; /* not "remaining": survives sys.setrecursionlimit() */
    int headroom;
#if COIR__PY_C_COUNT
    int c_remaining;
#endif
#if COIR__PY_CFRAME
    int trash_nesting;
    _PyCFrame *cframe;
#endif
#if COIR__PY_C_BOUNDS
    uintptr_t c_stack[3]; /* top, soft limit, hard limit */
    PyObject *executor;   /* strong; JIT builds only, else NULL */
#endif
#if PY_VERSION_HEX >= 0x030F0000
    struct _PyExitData *jit_exit;
#endif

    /* Its stack is copied away while parked: a slice, or main beside one. */
    int moves;
    struct _PyInterpreterFrame *hidden; /* list of frames that moved away */

    /* The thread state points here from enter() to leave(). */
    _PyErr_StackItem exc_item; /* exc_value: strong, may be NULL */
#if COIR__PY_CFRAME
    _PyCFrame root_cframe;
#endif
} coir_pystate;

#if COIR__PY_C_BOUNDS
/* Where the three words of the C stack lie behind a PyThreadState, in bytes;
 * found by coir_pystate_selftest(), because releases of 3.14 differ. */
extern size_t coir__pystate_c_stack;
#endif

/* To be called once per process when the module is imported, before anything
 * else here. Checks that the interpreter is one this file was written for and
 * that save, enter, leave, restore give back what was there.
 * Returns 0, or -1 with ImportError set. */
int coir_pystate_selftest(void);

/* A new greenlet: nothing kept, context NULL. */
void coir_pystate_init(coir_pystate *s);

/* First act on a new greenlet's stack, after its starter's save().
 * The root chunk of its frames goes to [chunk, chunk + size), memory of the
 * caller, pointer-aligned, at least COIR_PYSTATE_CHUNK_MIN bytes, that stays
 * the greenlet's until leave() or abandon(). The Python depth is taken over
 * from the starter; a context set before becomes the thread's.
 *
 * Dedicated stack: `thread` is NULL and [stack_low, stack_high) the bounds of
 * the stack. C recursion is limited to what it holds.
 * Slice: `thread` is the state of the thread's main greenlet, which is parked
 * or has been saved, and the bounds are those of the thread's stack, or NULL,
 * NULL if they cannot be had. C recursion is limited as on the thread. */
void coir_pystate_enter(coir_pystate *s, PyThreadState *ts, void *chunk,
                        size_t size, void *stack_low, void *stack_high,
                        const coir_pystate *thread);

/* Last act of a finished greenlet, still on its stack: drops the context and
 * the handled exception, and frees chunks beyond the root, so that the root's
 * memory is the caller's again. Dropping may run any code, even switch away
 * and back, before it returns. A pending exception is kept. */
void coir_pystate_leave(coir_pystate *s, PyThreadState *ts);

/* Give up a parked greenlet that will never be resumed: its thread is gone,
 * or it refused to finish. Frees its chunks, root excepted, and drops its
 * context and handled exception; what its frames hold is leaked. Frame objects
 * that others still refer to are detached first and stay usable, so that the
 * caller may reuse chunk and stack. For one that is new or finished it only
 * drops the context. */
void coir_pystate_abandon(coir_pystate *s);

/* Tell that the C stack of this greenlet is copied away while it is parked.
 * enter() knows by itself for a slice; this is for the thread's main greenlet
 * when the thread starts its first slice. May be called at any time. */
void coir_pystate_set_moves(coir_pystate *s);

/* gr_frame: the innermost Python frame of a parked greenlet as a new reference
 * to its frame object, or to None (not started, finished, no Python frames).
 * Returns NULL with an exception on failure. Its f_back chain ends inside the
 * greenlet and can be walked at any later time.
 * `ts` is the calling thread's. Not for the running greenlet. */
PyObject *coir_pystate_frame(coir_pystate *s, PyThreadState *ts);

/* Where a Python frame is: `lasti` in bytes, as in frame.f_lasti. */
typedef struct {
    PyCodeObject *code; /* borrowed from the frame */
    int lasti;
} coir_pyplace;

/* Where the running greenlet is: its innermost frames, at most `limit`, the
 * innermost first. Makes no frame objects, cannot fail. Returns how many. */
int coir_pystate_places(const PyThreadState *ts, coir_pyplace *places,
                        int limit);

/* gr_context: a new reference to the context, or to None. `running` is the
 * thread state the greenlet runs on right now, NULL if it does not run. */
PyObject *coir_pystate_get_context(const coir_pystate *s,
                                   const PyThreadState *running);

/* Set it: a contextvars.Context, or None for none. A running greenlet's takes
 * effect at once. May release the old one, thus run any code, last.
 * Returns 0, or -1 with TypeError. */
int coir_pystate_set_context(coir_pystate *s, PyThreadState *running,
                             PyObject *context);

/* For tp_traverse: visit the strong references of the greenlet's Python state
 * that are known for certain, each once: context, handled exception, and what
 * the parked frames hold. A running one visits only what it owns itself. It
 * suits any state, from init() on.
 *
 * A collected greenlet must unwind before the collector clears what its frames
 * refer to: throw GreenletExit into it in tp_finalize. If it is still
 * suspended after that, it must not be visited again (visiting less keeps it
 * alive): C code on its stack may hold borrowed references. */
int coir_pystate_traverse(const coir_pystate *s, visitproc visit, void *arg);

#if COIR__PY_ENTRIES
/* Slices only, see tstate.c. */
void coir__pystate_hide(coir_pystate *s, const PyThreadState *ts);
void coir__pystate_reveal(coir_pystate *s);
#endif

#if PY_VERSION_HEX < 0x030C0000
/* 3.11 keeps in each _PyCFrame whether to trace; that may have been turned on
 * or off since this one ran last. */
static inline void
coir__pystate_trace(PyThreadState *ts)
{
    int traced = ts->tracing == 0 && (ts->c_tracefunc || ts->c_profilefunc);
    ts->cframe->use_tracing = traced ? 255 : 0;
}
#endif

/* Running -> parked. No memory is allocated, nothing can fail. */
static inline void
coir_pystate_save(coir_pystate *s, PyThreadState *ts)
{
    /* The reference moves; ts->context stays for restore() to compare. */
    s->context = ts->context;
    s->exc_info = ts->exc_info;
    s->chunk = ts->datastack_chunk;
    s->chunk_top = ts->datastack_top;
    s->chunk_limit = ts->datastack_limit;
    s->headroom = ts->recursion_headroom;
#if PY_VERSION_HEX >= 0x030C0000
    s->py_depth = ts->py_recursion_limit - ts->py_recursion_remaining;
#else
    s->py_depth = ts->recursion_limit - ts->recursion_remaining;
#endif
#if COIR__PY_CFRAME
    s->cframe = ts->cframe;
    /* A slice's _PyCFrame is on its stack, out of reach while parked. */
    s->frame = ts->cframe->current_frame;
#else
    s->frame = ts->current_frame;
#endif
#if PY_VERSION_HEX < 0x030C0000
    s->trash_nesting = ts->trash_delete_nesting;
#elif PY_VERSION_HEX < 0x030D0000
    s->trash_nesting = ts->trash.delete_nesting;
#endif
#if COIR__PY_C_COUNT
    s->c_remaining = ts->c_recursion_remaining;
#endif
#if COIR__PY_C_BOUNDS
    const uintptr_t *words =
        (const uintptr_t *)((const char *)ts + coir__pystate_c_stack);
    s->c_stack[0] = words[0];
    s->c_stack[1] = words[1];
    s->c_stack[2] = words[2];
    s->executor = Py_XNewRef(ts->current_executor);
#endif
#if PY_VERSION_HEX >= 0x030F0000
    s->jit_exit = ts->jit_exit;
#endif
#if COIR__PY_ENTRIES
    if (s->moves)
        coir__pystate_hide(s, ts);
#endif
}

/* Parked -> running, on the resumed stack. */
static inline void
coir_pystate_restore(coir_pystate *s, PyThreadState *ts)
{
#if COIR__PY_ENTRIES
    if (s->hidden)
        coir__pystate_reveal(s); /* first: it may change s->frame */
#endif
    if (ts->context != s->context) {
        ts->context = s->context;
        ts->context_ver++; /* or ContextVar.get() believes its cache */
    }
    s->context = NULL;
    ts->exc_info = s->exc_info;
    ts->datastack_chunk = s->chunk;
    ts->datastack_top = s->chunk_top;
    ts->datastack_limit = s->chunk_limit;
    ts->recursion_headroom = s->headroom;
#if PY_VERSION_HEX >= 0x030C0000
    ts->py_recursion_remaining = ts->py_recursion_limit - s->py_depth;
#else
    ts->recursion_remaining = ts->recursion_limit - s->py_depth;
#endif
#if COIR__PY_CFRAME
    ts->cframe = s->cframe;
#else
    ts->current_frame = s->frame;
#endif
    s->frame = NULL;
#if PY_VERSION_HEX < 0x030C0000
    ts->trash_delete_nesting = s->trash_nesting;
    coir__pystate_trace(ts);
#elif PY_VERSION_HEX < 0x030D0000
    ts->trash.delete_nesting = s->trash_nesting;
#endif
#if COIR__PY_C_COUNT
    ts->c_recursion_remaining = s->c_remaining;
#endif
#if COIR__PY_C_BOUNDS
    uintptr_t *words = (uintptr_t *)((char *)ts + coir__pystate_c_stack);
    words[0] = s->c_stack[0];
    words[1] = s->c_stack[1];
    words[2] = s->c_stack[2];
    ts->current_executor = s->executor;
    if (s->executor)
        Py_CLEAR(s->executor); /* the interpreter's is not a reference */
#endif
#if PY_VERSION_HEX >= 0x030F0000
    ts->jit_exit = s->jit_exit;
#endif
}

#if COIR__PY_CFRAME
/* How deep the running greenlet is in nested deallocations. */
static inline int
coir_pystate_trash_nesting(const PyThreadState *ts)
{
#if PY_VERSION_HEX < 0x030C0000
    return ts->trash_delete_nesting;
#else
    return ts->trash.delete_nesting;
#endif
}
#endif

#endif
