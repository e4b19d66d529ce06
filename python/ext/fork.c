/* fork.c - what of a thread's queues and watchers goes on in the child of a
 * fork: what is of the greenlet that forked, and of the main one.
 *
 * Greenlets that wait are dealt with in hub.c. Here are those that were to be
 * started or resumed by the queue or by a watcher, and callbacks, of which
 * nobody knows who asked for them: unless it was for one of the two, they are
 * the parent's. Watchers of others stay, as libev's do: whose they are, the
 * program knows. */
#include "ev.h"

/* What a bound method is bound to, borrowed, or NULL. */
static PyObject *
bound_to(PyObject *func)
{
    if (func != NULL && PyCFunction_Check(func))
        return PyCFunction_GET_SELF(func);
    if (func != NULL && PyMethod_Check(func))
        return PyMethod_GET_SELF(func);
    return NULL;
}

static int
is_kept(const coir_pythread *t, const PyObject *op)
{
    return op == (PyObject *)t->current || op == (PyObject *)t->main ||
           op == (PyObject *)t->hub;
}

static int
is_left_greenlet(const coir_pythread *t, PyObject *op)
{
    return op != NULL && PyObject_TypeCheck(op, &coir__greenlet_type) &&
           !is_kept(t, op);
}

/* Take one out of the queue that is not to happen: whether there was one. */
static int
forget_ready(const coir_pythread *t, LoopObject *loop)
{
    for (coir_node *n = loop->ready.head; n != NULL; n = n->next) {
        coir_ready *r = (coir_ready *)n; /* its first member */
        if (r->kind == NULL || r->kind->forget == NULL)
            continue;
        const CallbackObject *cb = coir__callback_of(r);
        PyObject *op = cb != NULL ? bound_to(cb->func) : NULL;
        if (op != NULL && (is_kept(t, op) || coir__is_waiter(op)))
            continue; /* who waits there may be one of the two */
        r->kind->forget(r);
        return 1;
    }
    return 0;
}

/* The same of a watcher that is to switch to somebody. */
static int
forget_watcher(const coir_pythread *t, LoopObject *loop)
{
    for (coir_node *n = loop->watchers.head; n != NULL; n = n->next) {
        PyObject *op = bound_to(coir__watcher_callback(n));
        if (!is_left_greenlet(t, op))
            continue;
        Py_INCREF(op);
        coir__watcher_stop_node(n);
        coir__green_forget_later(op);
        Py_DECREF(op);
        return 1;
    }
    return 0;
}

/* What goes may run any code, which may change the lists: look anew. */
void
coir__loop_forget(const coir_pythread *t, LoopObject *loop)
{
    coir__standin_release(loop);
    (void)coir__ready_any(loop);
    while (forget_ready(t, loop))
        ;
    while (forget_watcher(t, loop))
        ;
    while (loop->links.head != NULL)
        coir__linkable_drop_node(loop->links.head);
}
