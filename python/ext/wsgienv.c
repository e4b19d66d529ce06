/* wsgienv.c - environ of a request (PEP 3333).
 *
 * What is the same in all requests of a listener is in a dict of the server's,
 * which is copied; what differs is set in the copy. What the head tells is
 * environ.c's. */
#include "wsgi.h"
#include "environ.h"

#include <netinet/in.h>

/* Set a key; the reference to the value, which may be NULL with an exception,
 * is used up. 0, or -1 with an exception. */
static inline int
set(PyObject *env, enum coir_wsgi_key key, PyObject *value)
{
    if (COIR__UNLIKELY(value == NULL))
        return -1;
    int err = PyDict_SetItem(env, coir__wsgi.keys[key], value);
    Py_DECREF(value);
    return err;
}

/* --- the client ---------------------------------------------------------- */

/* The address of the client as text, borrowed: that of the one before, as a
 * rule. NULL with an exception. */
static PyObject *
find_peer(ServerObject *s, coir_http_exchange *x, unsigned *port)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    int is_v4 = coir_http_peer_addr(x, (struct sockaddr *)&addr, &len) == 0 &&
                len == sizeof addr && addr.sin_family == AF_INET;
    if (COIR__LIKELY(is_v4 && s->peer != NULL &&
                     s->peer_v4 == addr.sin_addr.s_addr)) {
        *port = ntohs(addr.sin_port);
        return s->peer;
    }
    Py_XSETREF(s->peer, PyUnicode_FromString(coir_http_peer(x, port)));
    s->peer_v4 = is_v4 ? addr.sin_addr.s_addr : 0;
    return s->peer;
}

static PyObject *
decimal(unsigned n)
{
    char digits[16];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return PyUnicode_DecodeLatin1(digits + at,
                                  (Py_ssize_t)(sizeof digits - at), NULL);
}

static int
set_peer(PyObject *env, ServerObject *s, coir_http_exchange *x)
{
    unsigned port = 0;
    PyObject *peer = find_peer(s, x, &port);
    if (peer == NULL || set(env, KEY_REMOTE_ADDR, Py_NewRef(peer)) < 0)
        return -1;
    return set(env, KEY_REMOTE_PORT,
               PyUnicode_GET_LENGTH(peer) > 0 ? decimal(port)
                                              : PyUnicode_FromString(""));
}

static COIR__COLD int
set_tls(PyObject *env, void *state)
{
    PyObject *object = coir__ssl_object(state);
    return set(env, KEY_HTTPS, PyUnicode_FromString("on")) < 0 ||
                   set(env, KEY_COIR_SSL_OBJECT, Py_NewRef(object)) < 0
               ? -1
               : 0;
}

/* --- the target ---------------------------------------------------------- */

static int
set_target(PyObject *env, const char *base, coir_http_span span)
{
    PyObject *target = coir__environ_text(base, span);
    if (target == NULL || set(env, KEY_RAW_URI, Py_NewRef(target)) < 0) {
        Py_XDECREF(target);
        return -1;
    }
    return set(env, KEY_REQUEST_URI, target);
}

/* The application's path begins behind SCRIPT_NAME, if that is there: a proxy
 * may have taken it away. */
static COIR__COLD int
cut_path(PyObject *env, PyObject *script)
{
    PyObject *path =
        PyDict_GetItemWithError(env, coir__wsgi.keys[KEY_PATH_INFO]);
    if (path == NULL)
        return -1;
    Py_ssize_t len = PyUnicode_GET_LENGTH(path);
    Py_ssize_t n = PyUnicode_GET_LENGTH(script);
    if (len < n || PyUnicode_Tailmatch(path, script, 0, len, -1) != 1 ||
        (len > n && PyUnicode_READ_CHAR(path, n) != '/'))
        return 0;
    return set(env, KEY_PATH_INFO, PyUnicode_Substring(path, n, len));
}

/* --- all of it ----------------------------------------------------------- */

static int
fill(PyObject *env, RequestObject *r)
{
    coir_http_exchange *x = r->x;
    const coir_http_head *head = x->head;
    PyObject *script = r->server->script_name;
    if (coir__environ_fill(env, x->base, head) < 0 ||
        set_target(env, x->base, head->target) < 0 ||
        set_peer(env, r->server, x) < 0 ||
        set(env, KEY_WSGI_INPUT, coir__input_new(r)) < 0 ||
        (script != NULL && cut_path(env, script) < 0))
        return -1;
    if (COIR__UNLIKELY((head->flags & COIR_HTTP_UPGRADE) ||
                       head->method_id == COIR_HTTP_CONNECT) &&
        set(env, KEY_COIR_UPGRADE,
            PyCFunction_New(&coir__upgrade_def, (PyObject *)r)) < 0)
        return -1;
    void *tls = coir_http_transport_state(x);
    return COIR__UNLIKELY(tls != NULL) ? set_tls(env, tls) : 0;
}

PyObject *
coir__environ_new(RequestObject *r)
{
    PyObject *all = r->server->environs;
    Py_ssize_t number = coir_http_listener(r->x);
    if (number < 0 || number >= PyList_GET_SIZE(all))
        number = 0; /* it was adopted */
    PyObject *env = PyDict_Copy(PyList_GET_ITEM(all, number));
    if (env != NULL && fill(env, r) < 0)
        Py_CLEAR(env);
    return env;
}

/* --- set-up -------------------------------------------------------------- */

int
coir__wsgienv_init(void)
{
    static const char *const keys[] = {
#define COIR__KEY(name, text) text,
        COIR_WSGI_KEYS(COIR__KEY)
#undef COIR__KEY
    };
    struct coir__wsgi *c = &coir__wsgi;
    for (size_t i = 0; i < COIR_WSGI_KEY_COUNT; i++)
        if ((c->keys[i] = PyUnicode_InternFromString(keys[i])) == NULL)
            return -1;
    c->str_close = PyUnicode_InternFromString("close");
    c->str_read = PyUnicode_InternFromString("read");
    return c->str_close != NULL && c->str_read != NULL ? 0 : -1;
}
