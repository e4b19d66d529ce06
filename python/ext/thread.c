/* thread.c - the greenlets of a thread, and how abandoned ones end.
 *
 * A record is made when a thread first uses a greenlet, and found through a
 * thread-local. A capsule in the thread state's dict owns it: Python drops
 * that dict when the thread exits, still on the thread, with the thread state
 * usable. Then GreenletExit is thrown into every greenlet that is suspended,
 * so that its `finally` blocks run, whoever may still refer to it: it can
 * never run again. What refuses to end is abandoned. (That is what
 * enable_optional_cleanup() turns off and on.)
 * Schedulers, see scheduler.c, are not resumed, and new ones are not started.
 * They are closed: a switch to one of them, from a `finally` say, is an error,
 * and in the end they are abandoned as greenlet does it.
 *
 * Condemned is a suspended greenlet that nobody can reach any more: its last
 * reference went, or the collector found it in a cycle. It unwinds at once by
 * GreenletExit if it can; it is queued with its thread, which gets to it at
 * its next switch, creation or getcurrent(), if
 * - this is another thread: a greenlet runs only on its own;
 * - KILL_DEPTH greenlets are unwinding each other already: a greenlet that
 *   unwinds drops what its frames hold, among them other greenlets, a million
 *   in a row if someone wrote a recursion. Each one's depth is one more than
 *   its killer's; it is a property of the greenlet, so that no counter goes
 *   wrong when one switches away instead of ending;
 * - so many drop their parents within each other, in one greenlet: then when
 *   the first of these is done.
 *
 * While the interpreter finalizes nothing unwinds: suspended greenlets are
 * abandoned, as greenlet does. */
#include "hub.h"

#include <time.h>

#define KILL_DEPTH 50
/* At thread exit: how often each that refuses to end is asked again. */
#define EXIT_ROUNDS 8
/* Largest frames of C code that asks nobody for room: 256 KB, in libmpdec. The
 * interpreter's limits end above the margin. */
#define POOL_MARGIN ((size_t)192 * 1024)
#define POOL_GUARD ((size_t)64 * 1024)

static const char capsule_name[] = "coir.greenlet.thread";

__thread coir_pythread *coir__pythread
    __attribute__((tls_model("initial-exec")));

/* --- the condemned ------------------------------------------------------- */

static int
is_ancestor(const GreenletObject *g, const GreenletObject *of)
{
    if (g->block->children == 0 && g != of)
        return 0;
    while (of != NULL && of != g)
        of = of->block->parent;
    return of != NULL;
}

/* Throw GreenletExit into a suspended greenlet of this thread, as its parent,
 * so that its end leads back here. The caller holds a reference. */
static void
kill_now(coir_pythread *t, GreenletObject *g)
{
    coir_block *b = g->block;
    GreenletObject *killer = t->current;
    if ((b->flags & GREENLET_CLOSED) || is_ancestor(g, killer))
        return; /* a scheduler; or someone came to hold it after all */
    GreenletObject *parent = b->parent;
    b->parent = NULL; /* kept for later, and still counts b as its child */
    coir__block_set_parent(b, (GreenletObject *)Py_NewRef((PyObject *)killer));
    b->kill_depth = (uint8_t)(killer->block->kill_depth + 1);

    PyErr_SetNone(coir__core.exit);
    coir_payload p = {NULL, NULL, 0};
    PyObject *res = coir__greenlet_switch(t, g, p);
    if (res == NULL)
        PyErr_WriteUnraisable((PyObject *)g);
    Py_XDECREF(res);

    b->kill_depth = 0;
    /* Unless it was moved meanwhile, or what was its parent is below it now:
     * a cycle of dead ones would be an endless way to a living one. */
    if (b->parent == killer && (parent == NULL || !is_ancestor(g, parent))) {
        coir__block_set_parent(b, NULL);
        b->parent = parent;
    }
    else if (parent != NULL) {
        parent->block->children--;
        Py_DECREF(parent);
    }
}

static void
enqueue(coir_pythread *t, GreenletObject *g)
{
    coir_block *b = g->block;
    if (b->queued != NULL || t->condemned_tail == &b->queued)
        return; /* it is in the queue */
    Py_INCREF(g);
    *t->condemned_tail = b;
    t->condemned_tail = &b->queued;
    coir__core.condemned_count++;
}

static coir_block *
dequeue(coir_pythread *t)
{
    coir_block *b = t->condemned;
    t->condemned = b->queued;
    if (t->condemned == NULL)
        t->condemned_tail = &t->condemned;
    b->queued = NULL;
    coir__core.condemned_count--;
    return b;
}

void
coir__pythread_drain(coir_pythread *t)
{
    while (t->condemned != NULL &&
           t->current->block->kill_depth < KILL_DEPTH) {
        GreenletObject *g = dequeue(t)->self;
        if (g->block->state == GREENLET_ACTIVE && t->current != g)
            kill_now(t, g);
        Py_DECREF(g);
    }
}

void
coir__greenlet_condemn(GreenletObject *g)
{
    coir_pythread *owner = coir__block_thread(g->block);
    assert(owner != NULL && "greenlets of a thread that exited are dead");
    if (owner != coir__pythread || owner->tstate != PyThreadState_Get() ||
        owner->current->block->kill_depth >= KILL_DEPTH ||
        owner->current->block->drop_depth >= KILL_DEPTH) {
        enqueue(owner, g);
        return;
    }
    kill_now(owner, g);
    if (owner->condemned != NULL)
        coir__pythread_drain(owner);
}

/* --- abandoning ---------------------------------------------------------- */

void
coir__greenlet_abandon(coir_block *b)
{
    coir_pythread *t = coir__block_thread(b);
    int running = t->current == b->self;
    coir__unlink_live(t, b);
    b->state = GREENLET_DEAD;
    b->flags |= GREENLET_LOST;
    /* One that runs, on a thread that did not survive a fork, has left its
     * state in a thread state that is gone too. */
    if (!running)
        coir_pystate_abandon(&b->py);
    if (b->wait != NULL && b->wait->is_waiting)
        coir__wait_left(b->wait);
}

/* --- threads ------------------------------------------------------------- */

/* Call `act` once for each that is suspended now; it may end them. */
static void
each_live(coir_pythread *t, void (*act)(coir_pythread *, GreenletObject *))
{
    if (t->live == NULL)
        return;
    size_t n = 0;
    coir_block *b = t->live;
    do {
        n++;
        b = b->next;
    } while (b != t->live);
    for (; n > 0 && t->live != NULL; n--) {
        b = t->live;
        t->live = b->next; /* a ring: now it is the last */
        GreenletObject *g = (GreenletObject *)Py_NewRef((PyObject *)b->self);
        act(t, g);
        Py_DECREF(g);
    }
}

static void
close_scheduler(coir_pythread *Py_UNUSED(t), GreenletObject *g)
{
    if (coir__is_scheduler(g))
        g->block->flags |= GREENLET_CLOSED;
}

static void
unwind(coir_pythread *t, GreenletObject *g)
{
    /* One that has unwound may have left others waiting in a loop. */
    close_scheduler(t, g);
    if (g->block->state == GREENLET_ACTIVE)
        kill_now(t, g);
}

static void
unwind_all(coir_pythread *t)
{
    t->exits = 1;
    /* All of them first: nobody who unwinds shall get into one. */
    each_live(t, close_scheduler);
    for (int round = 0; round < EXIT_ROUNDS && t->live != NULL; round++) {
        each_live(t, unwind);
        coir__pythread_drain(t);
    }
}

static void
thread_free(coir_pythread *t)
{
    HubObject *hub = t->hub;
    t->hub = NULL;
    if (hub != NULL)
        coir__hub_thread_ends(hub);
    if (coir__pythread == t)
        coir__pythread = NULL;
    while (t->live != NULL)
        coir__greenlet_abandon(t->live);
    while (t->condemned != NULL)
        Py_DECREF(dequeue(t)->self);
    /* Those who still hold the main greenlet, every greenlet of the thread
     * among them, see by it that the thread is gone. */
    coir_block *b = t->main->block;
    b->state = GREENLET_DEAD;
    b->thread = NULL;
    b->co = NULL;
    Py_DECREF(t->current);
    Py_DECREF(t->main);
    Py_XDECREF(t->tracefunc);
    Py_XDECREF(hub);
    Py_XDECREF(t->next_loop);
    Py_XDECREF(t->running_loop);
    PyMem_Free(t);
}

/* Our own hub, unlike other schedulers, can be told to end. */
static void
destroy_hub(coir_pythread *t)
{
    PyObject *hub = Py_XNewRef((PyObject *)t->hub);
    if (hub == NULL)
        return;
    t->hub->base.block->flags &= (uint8_t)~GREENLET_CLOSED;
    PyObject *res =
        PyObject_CallMethodOneArg(hub, coir__core.str_destroy, Py_True);
    if (res == NULL)
        PyErr_WriteUnraisable(hub);
    Py_XDECREF(res);
    Py_DECREF(hub);
}

/* The thread state's dict goes: the thread exits, or it does not exist in this
 * process (after a fork), or the interpreter ends. */
static void
capsule_free(PyObject *capsule)
{
    coir_pythread *t = PyCapsule_GetPointer(capsule, capsule_name);
    PyObject *exc = coir__error_take();
    if (t == coir__pythread && t->tstate == PyThreadState_Get() &&
        !coir__is_finalizing()) {
        if (t->live != NULL && coir__core.cleanup) {
            clock_t start = clock();
            unwind_all(t);
            coir__core.cleanup_clocks += (long)(clock() - start);
        }
        destroy_hub(t);
        coir__locals_drop(t->main->block);
    }
    thread_free(t);
    coir__error_give(exc);
}

static coir_pythread *
thread_new(void)
{
    coir_pythread *t = PyMem_Calloc(1, sizeof *t);
    if (t == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    t->tstate = PyThreadState_Get();
    t->condemned_tail = &t->condemned;
    t->main = coir__greenlet_new_main(t);
    if (t->main == NULL) {
        PyMem_Free(t);
        return NULL;
    }
    t->current = (GreenletObject *)Py_NewRef((PyObject *)t->main);
    return t;
}

coir_pythread *
coir__pythread_make(void)
{
    PyObject *dict = PyThreadState_GetDict(); /* borrowed */
    if (dict == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    /* There is one if this OS thread goes to and fro between two. */
    PyObject *known = PyDict_GetItemString(dict, capsule_name);
    if (known != NULL) {
        coir__pythread = PyCapsule_GetPointer(known, capsule_name);
        return coir__pythread;
    }
    coir__pythread = NULL; /* an earlier thread state's, its capsule owns it */
    coir_stack_pool_attr attr = {0};
    attr.guard_size = POOL_GUARD;
    attr.margin = POOL_MARGIN;
    (void)coir_thread_set_pool_attr(&attr); /* too late if C code had one */
    coir_pythread *t = thread_new();
    if (t == NULL)
        return NULL;
    PyObject *capsule = PyCapsule_New(t, capsule_name, capsule_free);
    if (capsule == NULL) {
        thread_free(t);
        return NULL;
    }
    if (coir__pythread != NULL) {
        /* A collection ran meanwhile, and a destructor was here before us. */
        Py_DECREF(capsule);
        return coir__pythread;
    }
    coir__pythread = t;
    int err = PyDict_SetItemString(dict, capsule_name, capsule);
    Py_DECREF(capsule); /* frees t if it did not get into the dict */
    return err < 0 ? NULL : t;
}
