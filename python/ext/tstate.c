/* tstate.c - what a greenlet keeps of the interpreter's thread state.
 *
 * States of a coir_pystate, and what is valid in them:
 *
 *   new       chunk == NULL, frame == NULL, context is ours
 *   running   chunk stale,   frame == NULL, context == NULL (the thread's)
 *   parked    chunk != NULL, frame is the innermost one, context is ours
 *   finished  as new
 *
 *   new -enter-> running -save-> parked -restore-> running -leave-> finished
 *                                parked -abandon-> finished
 *
 * Data stack. Frames of Python functions lie in chunks; the thread state knows
 * the newest chunk, the next free slot and the chunk's end. The interpreter
 * frees a chunk when the frame at its first slot is popped. enter() therefore
 * starts a greenlet in a root chunk of the caller's memory and leaves its
 * first slot free: the interpreter never frees it, makes and frees further
 * chunks above it as it does for threads, and greenlet start and end cost
 * neither mmap nor munmap.
 *
 * C stack. Before 3.14 the interpreter counts C calls (3.11 together with
 * Python calls); from 3.14 on it compares the stack pointer with bounds in the
 * thread state. Counts and bounds are the greenlet's own.
 *
 * Frames that move. Since 3.12 each run of the evaluation loop links a frame
 * of its own, an "entry", into the chain of frames, and that one lies on the C
 * stack. A slice's C stack is copied away while it is parked, so that the
 * chain would lead through memory that is somebody else's. For greenlets
 * marked by `moves` the entries are taken out of the chain while they are
 * parked, and put back at the end of the resume. The list of entries is kept
 * in fields that the interpreter does not use in them; it lies on the moving
 * stack itself, and is read only when the stack is back.
 *
 * Garbage. The references of parked frames are known: what is visited is what
 * the frame surely owns. Frames of generators belong to these. The evaluation
 * stack is visited where its height is stored: always from 3.14 on, where its
 * tags also tell borrowed references; before, in frames that called another
 * Python function without leaving the loop, and of others only the locals.
 *
 * Invariants: `context` and `frame` are NULL while running; exc_item is the
 * greenlet's last one: previous_item is NULL always; `hidden` is not NULL only
 * while parked with entries taken out. */
#define Py_BUILD_CORE_MODULE 1
#include "tstate.h"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#undef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#include <frameobject.h>
#if COIR__PY_C_BOUNDS
#include <internal/pycore_interpframe_structs.h>
#include <internal/pycore_tstate.h>
#endif
#include <internal/pycore_frame.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

typedef struct _PyInterpreterFrame pyframe;

/* ---- frames: what differs between the versions ---------------------------
 */

#if COIR__PY_C_BOUNDS

typedef _PyStackRef slot;

/* The object a slot owns, or NULL: the two low bits of a pure, counted
 * reference are clear; else it is a borrowed one, an immortal object, NULL, or
 * no object at all. */
static PyObject *
slot_owned(slot ref)
{
    return (ref.bits & 3) == 0 ? (PyObject *)ref.bits : NULL;
}

static PyCodeObject *
frame_code(const pyframe *f)
{
    return (PyCodeObject *)(f->f_executable.bits & ~(uintptr_t)3);
}

static int
frame_is_entry(const pyframe *f)
{
    return f->owner >= FRAME_OWNED_BY_INTERPRETER;
}

#else /* 3.11 to 3.13 */

typedef PyObject *slot;

static PyObject *
slot_owned(slot ref)
{
    return ref;
}

static PyCodeObject *
frame_code(const pyframe *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    return (PyCodeObject *)f->f_executable;
#else
    return f->f_code;
#endif
}

static int
frame_is_entry(const pyframe *f)
{
#if COIR__PY_ENTRIES
    return f->owner == FRAME_OWNED_BY_CSTACK;
#else
    (void)f;
    return 0;
#endif
}

#endif

static const _Py_CODEUNIT *
frame_instr(const pyframe *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    return f->instr_ptr;
#else
    return f->prev_instr;
#endif
}

/* Slots of the frame that hold valid references for certain. */
static Py_ssize_t
frame_slots(const pyframe *f)
{
#if COIR__PY_C_BOUNDS
    return f->stackpointer ? f->stackpointer - f->localsplus : 0;
#else
    /* -1 while the height is in a register of the evaluation loop. */
    return f->stacktop >= 0 ? f->stacktop : frame_code(f)->co_nlocalsplus;
#endif
}

/* As the interpreter has it: no frame object is made of a frame before its
 * first traceable instruction. */
static int
frame_is_complete(const pyframe *f)
{
    if (frame_is_entry(f))
        return 0;
    if (f->owner == FRAME_OWNED_BY_GENERATOR)
        return 1;
    PyCodeObject *code = frame_code(f);
    const _Py_CODEUNIT *start = (const _Py_CODEUNIT *)code->co_code_adaptive;
    return frame_instr(f) >= start + code->_co_firsttraceable;
}

static pyframe *
frame_first_complete(pyframe *f)
{
    while (f && !frame_is_complete(f))
        f = f->previous;
    return f;
}

/* ---- the thread state: what differs between the versions ---------------- */

static pyframe *
current_frame(const PyThreadState *ts)
{
#if COIR__PY_CFRAME
    return ts->cframe->current_frame;
#else
    return ts->current_frame;
#endif
}

/* The frame object of the first complete frame from `f` on: a new reference;
 * NULL, with no exception set, if there is none or no memory for it.
 * The interpreter's own function for that is not exported, but the one that
 * answers for a thread state's innermost frame is. */
static PyFrameObject *
frame_object(pyframe *f, PyThreadState *ts)
{
    /* A collection now would run code under a false idea of the frames. */
    int gc_was_on = PyGC_Disable();
#if COIR__PY_CFRAME
    _PyCFrame *running = ts->cframe;
    _PyCFrame asked = *running;
    asked.current_frame = f;
    ts->cframe = &asked;
    PyFrameObject *res = PyThreadState_GetFrame(ts);
    ts->cframe = running;
#else
    pyframe *running = ts->current_frame;
    ts->current_frame = f;
    PyFrameObject *res = PyThreadState_GetFrame(ts);
    ts->current_frame = running;
#endif
    if (gc_was_on)
        PyGC_Enable();
    return res;
}

#if COIR__PY_C_COUNT
#if defined(Py_C_RECURSION_LIMIT)
#define C_COUNT_LIMIT Py_C_RECURSION_LIMIT
#else
#define C_COUNT_LIMIT C_RECURSION_LIMIT
#endif
/* Bytes of stack for one counted C call. Measured need for the worst of the
 * usual (sorted() with a Python key, json, repr, comparison, the parser); the
 * guard below the stack is for the rest. */
#define C_CALL_SIZE 2600
/* The trashcan of 3.13 postpones all deallocation within 50 of the limit, and
 * resumes it 100 away from it. */
#define C_COUNT_MIN 160

static int
c_count(uintptr_t room)
{
    uintptr_t count = room / C_CALL_SIZE;
    if (count < C_COUNT_MIN)
        count = C_COUNT_MIN;
    return count < C_COUNT_LIMIT ? (int)count : C_COUNT_LIMIT;
}
#endif

#if COIR__PY_C_BOUNDS
size_t coir__pystate_c_stack;

/* How far above a stack's low end the interpreter puts the two limits. */
static uintptr_t soft_margin, hard_margin;

static uintptr_t *
c_stack_words(PyThreadState *ts)
{
    return (uintptr_t *)((char *)ts + coir__pystate_c_stack);
}
#endif

/* C recursion of a greenlet that starts now. */
static void
enter_c_stack(PyThreadState *ts, void *stack_low, void *stack_high,
              const coir_pystate *thread)
{
#if COIR__PY_C_COUNT
    if (thread == NULL) {
        ts->c_recursion_remaining =
            c_count((uintptr_t)stack_high - (uintptr_t)stack_low);
    }
    else if (stack_low != NULL) {
        /* Below all that is parked on the thread's stack, how deep that may
         * be: the room counts, not the count of who started us. */
        int room = c_count((uintptr_t)&room - (uintptr_t)stack_low);
        ts->c_recursion_remaining = Py_MIN(room, thread->c_remaining);
    }
    else if (thread->c_remaining < ts->c_recursion_remaining) {
        ts->c_recursion_remaining = thread->c_remaining;
    }
#elif COIR__PY_C_BOUNDS
    uintptr_t *words = c_stack_words(ts);
    if (thread != NULL) {
        memcpy(words, thread->c_stack, sizeof(thread->c_stack));
        return;
    }
    uintptr_t low = (uintptr_t)stack_low;
    uintptr_t size = (uintptr_t)stack_high - low;
    words[0] = (uintptr_t)stack_high;
    /* A stack of a few pages still has to run something. */
    words[1] = low + Py_MIN(soft_margin, size / 2);
    words[2] = low + Py_MIN(hard_margin, size / 4);
#else
    (void)ts, (void)stack_low, (void)stack_high, (void)thread;
#endif
}

/* ---- life ----------------------------------------------------------------
 */

void
coir_pystate_init(coir_pystate *s)
{
    memset(s, 0, sizeof(*s));
}

void
coir_pystate_enter(coir_pystate *s, PyThreadState *ts, void *chunk,
                   size_t size, void *stack_low, void *stack_high,
                   const coir_pystate *thread)
{
    assert(size >= COIR_PYSTATE_CHUNK_MIN);
    _PyStackChunk *root = chunk;
    root->previous = NULL;
    root->size = size & ~(sizeof(PyObject *) - 1);
    root->top = 0;
    ts->datastack_chunk = root;
    ts->datastack_top = &root->data[1];
    ts->datastack_limit = (PyObject **)((char *)root + root->size);

    s->moves = thread != NULL;
    s->hidden = NULL;
    s->frame = NULL;
    s->exc_item.exc_value = NULL;
    s->exc_item.previous_item = NULL;
    ts->exc_info = &s->exc_item;
    ts->recursion_headroom = 0;
    if (ts->context != s->context) {
        ts->context = s->context;
        ts->context_ver++;
    }
    s->context = NULL;
    enter_c_stack(ts, stack_low, stack_high, thread);

#if COIR__PY_CFRAME
    s->root_cframe = ts->root_cframe;
    s->root_cframe.current_frame = NULL;
    s->root_cframe.previous = &ts->root_cframe;
    ts->cframe = &s->root_cframe;
#elif PY_VERSION_HEX >= 0x030F0000
    /* The sampling profiler takes a chain that ends elsewhere for torn. */
    ts->current_frame = ts->base_frame;
#else
    ts->current_frame = NULL;
#endif
#if PY_VERSION_HEX < 0x030C0000
    coir__pystate_trace(ts);
    ts->trash_delete_nesting = 0;
#elif PY_VERSION_HEX < 0x030D0000
    ts->trash.delete_nesting = 0;
#endif
#if COIR__PY_C_BOUNDS
    ts->current_executor = NULL;
#endif
#if PY_VERSION_HEX >= 0x030F0000
    ts->jit_exit = NULL;
#endif
}

#if PY_VERSION_HEX < 0x030D0000

/* A function whose calls just cross the end of a chunk would map and unmap the
 * next one each time; newer interpreters keep one for that themselves. Here
 * the last one that was freed waits for the next. Interpreters with locks of
 * their own share it. */
static PyObjectArenaAllocator arena;
static _Atomic(void *) spare_chunk;
#define CHUNK_SIZE ((size_t)16384) /* the interpreter's */

static void *
arena_alloc(void *Py_UNUSED(ctx), size_t size)
{
    void *chunk = NULL;
    if (size == CHUNK_SIZE)
        chunk = atomic_exchange(&spare_chunk, NULL);
    return chunk ? chunk : arena.alloc(arena.ctx, size);
}

static void
arena_free(void *Py_UNUSED(ctx), void *memory, size_t size)
{
    if (size == CHUNK_SIZE)
        memory = atomic_exchange(&spare_chunk, memory);
    if (memory)
        arena.free(arena.ctx, memory, size);
}

static void
keep_spare_chunk(void)
{
    PyObject_GetArenaAllocator(&arena);
    PyObjectArenaAllocator ours = {NULL, arena_alloc, arena_free};
    PyObject_SetArenaAllocator(&ours);
}

#endif

/* Free the chunks above the root of a chain of chunks; returns the root. */
static _PyStackChunk *
free_chunks(_PyStackChunk *chunk)
{
    PyObjectArenaAllocator now;
    PyObject_GetArenaAllocator(&now);
    while (chunk->previous) {
        _PyStackChunk *previous = chunk->previous;
        now.free(now.ctx, chunk, chunk->size);
        chunk = previous;
    }
    return chunk;
}

void
coir_pystate_leave(coir_pystate *s, PyThreadState *ts)
{
    /* Whatever runs now may handle exceptions or enter contexts in turn. */
    while (ts->context || s->exc_item.exc_value) {
        PyObject *context = ts->context;
        ts->context = NULL;
        ts->context_ver++;
        Py_XDECREF(context);
        Py_CLEAR(s->exc_item.exc_value);
    }
    ts->datastack_chunk = free_chunks(ts->datastack_chunk);
    s->chunk = NULL;
}

static void
drop_own(coir_pystate *s)
{
    Py_CLEAR(s->exc_item.exc_value);
#if COIR__PY_C_BOUNDS
    Py_CLEAR(s->executor);
#endif
    Py_CLEAR(s->context);
}

#if COIR__PY_C_BOUNDS
/* Give a copied slot a reference of its own. */
static slot
slot_own(slot ref)
{
    if ((ref.bits & 3) != 1)
        return ref;
    PyObject *op = (PyObject *)(ref.bits & ~(uintptr_t)3);
    if (op == NULL || _Py_IsImmortal(op))
        return ref;
    ref.bits = (uintptr_t)Py_NewRef(op);
    return ref;
}
#endif

/* Let a frame object go on without its frame, as the interpreter does when a
 * frame ends that somebody still refers to: it takes over the references, and
 * its locals are a copy. What is on the evaluation stack is leaked. */
static void
detach_frame_object(pyframe *f, PyThreadState *ts)
{
    PyFrameObject *op = f->frame_obj;
    f->frame_obj = NULL;
    if (Py_REFCNT(op) == 1)
        return; /* nobody else's: leaked with its frame */

    pyframe *copy = (pyframe *)op->_f_frame_data;
    int nlocals = frame_code(f)->co_nlocalsplus;
    memcpy(copy, f,
           offsetof(pyframe, localsplus) + (size_t)nlocals * sizeof(slot));
#if COIR__PY_C_BOUNDS
    copy->f_executable = slot_own(copy->f_executable);
    copy->f_funcobj = slot_own(copy->f_funcobj);
    for (int i = 0; i < nlocals; i++)
        copy->localsplus[i] = slot_own(copy->localsplus[i]);
    copy->stackpointer = copy->localsplus + nlocals;
    copy->visited = 0;
#else
    copy->stacktop = nlocals;
#endif
    copy->owner = FRAME_OWNED_BY_FRAME_OBJECT;
    copy->previous = NULL;
    op->f_frame = copy;
    op->f_back = NULL;
    pyframe *back = frame_first_complete(f->previous);
    if (back)
        op->f_back = frame_object(back, ts); /* or none, for want of memory */
    if (!PyObject_GC_IsTracked((PyObject *)op))
        PyObject_GC_Track(op);
    Py_DECREF(op); /* the frame's reference; others are left */
}

void
coir_pystate_abandon(coir_pystate *s)
{
    PyThreadState *ts = PyThreadState_Get();
    pyframe *f = s->frame;
    s->frame = NULL;
    s->hidden = NULL;
    while (f) {
        pyframe *previous = f->previous;
        if (f->owner == FRAME_OWNED_BY_THREAD && f->frame_obj)
            detach_frame_object(f, ts);
        else if (f->owner == FRAME_OWNED_BY_GENERATOR)
            f->previous = NULL;
        f = previous;
    }
    if (s->chunk)
        free_chunks(s->chunk);
    s->chunk = NULL;
    drop_own(s);
}

/* ---- frames that move ----------------------------------------------------
 */

void
coir_pystate_set_moves(coir_pystate *s)
{
    s->moves = 1;
}

#if COIR__PY_ENTRIES
/* In an entry, f_globals holds the link that led to it (a pyframe **), and
 * f_builtins the entry hidden before it. */
void
coir__pystate_hide(coir_pystate *s, const PyThreadState *ts)
{
    pyframe **link = &s->frame;
    for (pyframe *f; (f = *link) != NULL;) {
#if PY_VERSION_HEX >= 0x030F0000
        if (f == ts->base_frame)
            break; /* the thread's own, at the end of every chain */
#else
        (void)ts;
#endif
        if (!frame_is_entry(f)) {
            link = &f->previous;
            continue;
        }
        f->f_globals = (PyObject *)link;
        f->f_builtins = (PyObject *)s->hidden;
        s->hidden = f;
        *link = f->previous;
    }
}

void
coir__pystate_reveal(coir_pystate *s)
{
    while (s->hidden) {
        pyframe *f = s->hidden;
        s->hidden = (pyframe *)f->f_builtins;
        *(pyframe **)f->f_globals = f;
    }
}
#endif

/* ---- questions about a parked greenlet -----------------------------------
 */

PyObject *
coir_pystate_frame(coir_pystate *s, PyThreadState *ts)
{
    pyframe *f = frame_first_complete(s->frame);
    if (f == NULL)
        Py_RETURN_NONE;
    PyFrameObject *res = frame_object(f, ts);
    return res ? (PyObject *)res : PyErr_NoMemory();
}

PyObject *
coir_pystate_get_context(const coir_pystate *s, const PyThreadState *running)
{
    PyObject *context = running ? running->context : s->context;
    return Py_NewRef(context ? context : Py_None);
}

int
coir_pystate_set_context(coir_pystate *s, PyThreadState *running,
                         PyObject *context)
{
    if (context == Py_None) {
        context = NULL;
    }
    else if (!PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError,
                     "gr_context must be a contextvars.Context or None, "
                     "not %.200s",
                     Py_TYPE(context)->tp_name);
        return -1;
    }
    PyObject **where = running ? &running->context : &s->context;
    PyObject *old = *where;
    *where = Py_XNewRef(context);
    if (running)
        running->context_ver++;
    Py_XDECREF(old);
    return 0;
}

static int
visit_frame(const pyframe *f, visitproc visit, void *arg)
{
#if COIR__PY_C_BOUNDS
    Py_VISIT(slot_owned(f->f_executable));
    Py_VISIT(slot_owned(f->f_funcobj));
#elif COIR__PY_ENTRIES
    Py_VISIT(frame_code(f));
    Py_VISIT(f->f_funcobj);
#else
    Py_VISIT(f->f_code);
    Py_VISIT(f->f_func);
#endif
    Py_VISIT(f->f_locals);
    Py_VISIT(f->frame_obj);
    Py_ssize_t count = frame_slots(f);
    for (Py_ssize_t i = 0; i < count; i++)
        Py_VISIT(slot_owned(f->localsplus[i]));
    return 0;
}

int
coir_pystate_traverse(const coir_pystate *s, visitproc visit, void *arg)
{
    Py_VISIT(s->context);
    Py_VISIT(s->exc_item.exc_value);
#if PY_VERSION_HEX < 0x030C0000
    if (Py_Version < 0x030B0100)
        return 0; /* 3.11.0 leaves frames linked while it clears them */
#endif
    for (const pyframe *f = s->frame; f; f = f->previous) {
        if (f->owner != FRAME_OWNED_BY_THREAD)
            continue;
        int err = visit_frame(f, visit, arg);
        if (err)
            return err;
    }
    return 0;
}

int
coir_pystate_places(const PyThreadState *ts, coir_pyplace *places, int limit)
{
    int count = 0;
    const pyframe *f = frame_first_complete(current_frame(ts));
    for (; f && count < limit; f = frame_first_complete(f->previous)) {
        PyCodeObject *code = frame_code(f);
        const _Py_CODEUNIT *start =
            (const _Py_CODEUNIT *)code->co_code_adaptive;
        places[count].code = code;
        places[count].lasti =
            (int)((frame_instr(f) - start) * (int)sizeof(_Py_CODEUNIT));
        count++;
    }
    return count;
}

/* ---- self-test ------------------------------------------------------------
 */

static int
refuse(const char *why)
{
    PyErr_Format(PyExc_ImportError,
                 "coir was built for CPython %s and does not fit the one "
                 "that runs, %.100s: %s",
                 PY_VERSION, Py_GetVersion(), why);
    return -1;
}

#if COIR__PY_C_BOUNDS
/* Not in the first releases of 3.14: the import must not fail for the name,
 * but with the reason. */
#pragma weak PyUnstable_ThreadState_SetStackProtection
extern int PyUnstable_ThreadState_SetStackProtection(PyThreadState *, void *,
                                                     size_t);

/* Let the interpreter itself say where it keeps a stack's bounds, and how it
 * makes them: set bounds that stand out and look where they have gone. */
static int
find_c_stack(PyThreadState *ts)
{
    enum { first = offsetof(PyThreadState, exc_state) / sizeof(uintptr_t) };
    enum { end = sizeof(_PyThreadStateImpl) / sizeof(uintptr_t) };
    const uintptr_t low = (uintptr_t)0x5C01 << 24;
    const size_t size = (size_t)1 << 24;
    uintptr_t *words = (uintptr_t *)ts;
    uintptr_t before[end];

    if (!PyUnstable_ThreadState_SetStackProtection)
        return refuse("it does not let a greenlet have a stack of its own; "
                      "a later release of the same version does");
    memcpy(before, ts, sizeof(before));
    if (PyUnstable_ThreadState_SetStackProtection(ts, (void *)low, size) < 0)
        return -1;
    size_t at = first;
    while (at < end && words[at] != low + size)
        at++;
    if (at + 3 > end)
        return refuse("the bounds of the C stack cannot be found");

    soft_margin = words[at + 1] - low;
    hard_margin = words[at + 2] - low;
    memcpy(&words[at], &before[at], 3 * sizeof(uintptr_t));
    if (memcmp(words, before, sizeof(before)) != 0 ||
        soft_margin <= hard_margin || soft_margin > size / 4)
        return refuse("the bounds of the C stack are not as expected");
    coir__pystate_c_stack = at * sizeof(uintptr_t);
    return 0;
}
#endif

/* What the self-test's Python function is called with, and finds out. */
typedef struct probe {
    PyObject *func;
    coir_pystate *inner; /* NULL: it runs in the thread's own state */
    char *chunk;
    size_t size;
    const char *error;
    int ran;
} probe;

static const char *
check_frame(const probe *p, const pyframe *f, PyFrameObject *op, PyObject *arg)
{
    PyCodeObject *code = (PyCodeObject *)PyFunction_GET_CODE(p->func);
    if (op == NULL || f == NULL || f->frame_obj != op || op->f_frame != f)
        return "frames and frame objects are linked differently";
#if COIR__PY_C_BOUNDS
    PyObject *func = (PyObject *)(f->f_funcobj.bits & ~(uintptr_t)3);
    PyObject *local = (PyObject *)(f->localsplus[1].bits & ~(uintptr_t)3);
#else
    PyObject *local = f->localsplus[1];
#if COIR__PY_ENTRIES
    PyObject *func = f->f_funcobj;
#else
    PyObject *func = (PyObject *)f->f_func;
#endif
#endif
    if (frame_code(f) != code || func != p->func || local != arg ||
        f->f_globals != PyFunction_GET_GLOBALS(p->func) ||
        f->f_locals != NULL || f->owner != FRAME_OWNED_BY_THREAD)
        return "frames have other fields";
    Py_ssize_t count = frame_slots(f);
    if (count < 2 || count > code->co_nlocalsplus + code->co_stacksize)
        return "frames tell another height of their stack";
    const char *start = code->co_code_adaptive;
    if ((const char *)frame_instr(f) < start ||
        (const char *)frame_instr(f) >=
            start + Py_SIZE(code) * (Py_ssize_t)sizeof(_Py_CODEUNIT))
        return "frames tell another position";
    return NULL;
}

/* Park and resume the greenlet that the self-test pretends to be in. */
static const char *
check_parking(probe *p, PyThreadState *ts, pyframe *f)
{
    if ((char *)f < p->chunk || (char *)f >= p->chunk + p->size)
        return "frames do not go to the chunk they were given";
    pyframe *linked = f->previous;
    coir_pystate_save(p->inner, ts);
    PyObject *op = coir_pystate_frame(p->inner, ts);
    pyframe *bottom = f;
    while (bottom->previous)
        bottom = bottom->previous;
    coir_pystate_restore(p->inner, ts);
    if (op != (PyObject *)f->frame_obj) {
        Py_XDECREF(op);
        return "a parked frame is not found";
    }
    Py_DECREF(op);
#if PY_VERSION_HEX >= 0x030F0000
    if (bottom != ts->base_frame)
        return "frames end in another way";
#elif COIR__PY_ENTRIES
    if (bottom != f || linked == NULL || linked->previous != NULL)
        return "frames begin in another way";
#endif
    return f->previous == linked ? NULL : "parked frames are not put back";
}

static PyObject *
run_probe(PyObject *self, PyObject *arg)
{
    probe *p = PyCapsule_GetPointer(self, NULL);
    if (p == NULL)
        return NULL;
    PyThreadState *ts = PyThreadState_Get();
    pyframe *f = frame_first_complete(current_frame(ts));
    PyFrameObject *op = PyThreadState_GetFrame(ts);
    p->error = check_frame(p, f, op, arg);
    if (p->error == NULL && p->inner)
        p->error = check_parking(p, ts, f);
    p->ran = 1;
    Py_XDECREF(op);
    Py_RETURN_NONE;
}

/* Run the function once in the thread's state and once in a new one. */
static int
check_run(probe *p, PyObject *function, PyThreadState *ts)
{
    _Alignas(void *) char chunk[2048];
    coir_pystate outer, inner;

    PyObject *res = PyObject_CallOneArg(p->func, function);
    if (res == NULL)
        return -1;
    Py_DECREF(res);
    if (p->error || !p->ran)
        return refuse(p->error ? p->error : "functions do not run");

    PyThreadState before;
    memcpy(&before, ts, sizeof(before)); /* padding, too */
    coir_pystate_init(&outer);
    coir_pystate_save(&outer, ts);
    coir_pystate_restore(&outer, ts);
    if (memcmp(&before, ts, sizeof(before)) != 0)
        return refuse("parking and resuming does not give back the same");

    coir_pystate_init(&inner);
    p->inner = &inner;
    p->chunk = chunk;
    p->size = sizeof(chunk);
    coir_pystate_save(&outer, ts);
    coir_pystate_enter(&inner, ts, chunk, sizeof(chunk), NULL, NULL, &outer);
    res = PyObject_CallOneArg(p->func, function);
    coir_pystate_leave(&inner, ts);
    coir_pystate_restore(&outer, ts);
    p->inner = NULL;
    p->chunk = NULL;
    if (res == NULL)
        return -1;
    Py_DECREF(res);
    return p->error ? refuse(p->error) : 0;
}

int
coir_pystate_selftest(void)
{
    static const char source[] = "def function(probe):\n"
                                 "    local = probe\n"
                                 "    probe(local)\n";
    static PyMethodDef method = {"probe", run_probe, METH_O, NULL};
    probe p = {0};
    PyObject *capsule = NULL, *function = NULL, *res = NULL;
    int err = -1;

    if (Py_Version >> 16 != PY_VERSION_HEX >> 16)
        return refuse("it is another version");
    PyThreadState *ts = PyThreadState_Get();
#if COIR__PY_C_BOUNDS
    if (find_c_stack(ts) < 0)
        return -1;
#endif
    PyObject *globals =
        Py_BuildValue("{s:O}", "__builtins__", PyEval_GetBuiltins());
    if (globals)
        res = PyRun_String(source, Py_file_input, globals, globals);
    if (res)
        p.func = PyDict_GetItemString(globals, "function"); /* borrowed */
    if (p.func)
        capsule = PyCapsule_New(&p, NULL, NULL);
    if (capsule)
        function = PyCFunction_New(&method, capsule);
    if (function)
        err = check_run(&p, function, ts);
    Py_XDECREF(function);
    Py_XDECREF(capsule);
    Py_XDECREF(res);
    Py_XDECREF(globals);
#if PY_VERSION_HEX < 0x030D0000
    if (err == 0)
        keep_spare_chunk();
#endif
    return err;
}
