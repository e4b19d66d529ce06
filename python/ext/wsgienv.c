/* wsgienv.c - environ of a request (PEP 3333).
 *
 * What is the same in all requests of a listener is in a dict of the server's,
 * which is copied; what differs is set in the copy. Keys are made once; that
 * of a field without an id of the parser's is looked for in a small table
 * first. Strings that come again and again are made once: methods, versions,
 * the address of the client before, and of each field with an id its last
 * value if that was short and is no secret.
 *
 * Text is what PEP 3333 calls native strings: bytes as Latin-1. PATH_INFO is
 * decoded from %XX, QUERY_STRING isn't.
 *
 * Left out are fields
 * - with an underscore in their names, which would be the same key as one with
 *   a hyphen: a proxy in front may have checked the other one;
 * - Proxy, since HTTP_PROXY means something else to many programs.
 * What is sent several times is joined by "," (Cookie by "; ") as one list
 * (RFC 9110, 5.3). Host is that of an absolute target, if there is one
 * (RFC 9112, 3.2.2). */
#include "wsgi.h"

#include <stdio.h>

/* --- keys of fields ------------------------------------------------------ */

#define SLOTS 256       /* a power of 2 */
#define LONGEST_NAME 48 /* of those that are remembered */
#define LONGEST_VALUE 160

/* Names without an id, as they were sent. */
static struct slot {
    PyObject *key; /* strong, or NULL */
    uint8_t len;
    char name[LONGEST_NAME];
} slots[SLOTS];

/* The last values of fields with an id: strong, or NULL. */
static PyObject *last_values[COIR_FIELD_IDS];

static inline char
upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

/* "HTTP_" and the name; NULL with an exception. */
static PyObject *
make_key(const char *name, size_t len)
{
    PyObject *key = PyUnicode_New((Py_ssize_t)len + 5, 127);
    if (key == NULL)
        return NULL;
    char *out = (char *)PyUnicode_1BYTE_DATA(key);
    memcpy(out, "HTTP_", 5);
    for (size_t i = 0; i < len; i++)
        out[5 + i] = name[i] == '-' ? '_' : upper(name[i]);
    PyUnicode_InternInPlace(&key);
    return key;
}

/* A new reference, or NULL with an exception. */
static PyObject *
find_key(const char *name, size_t len)
{
    if (len > LONGEST_NAME)
        return make_key(name, len);
    unsigned hash = (unsigned)len;
    for (size_t i = 0; i < len; i++)
        hash = hash * 31 + (unsigned char)name[i];
    struct slot *slot = &slots[(hash ^ (hash >> 11)) & (SLOTS - 1)];
    if (slot->key != NULL && slot->len == len &&
        memcmp(slot->name, name, len) == 0)
        return Py_NewRef(slot->key);
    PyObject *key = make_key(name, len);
    if (key == NULL)
        return NULL;
    Py_XSETREF(slot->key, Py_NewRef(key));
    slot->len = (uint8_t)len;
    memcpy(slot->name, name, len);
    return key;
}

/* --- values -------------------------------------------------------------- */

static inline PyObject *
text(const char *bytes, size_t len)
{
    return PyUnicode_DecodeLatin1(bytes, (Py_ssize_t)len, NULL);
}

static inline PyObject *
span_text(const char *base, coir_http_span span)
{
    if (span.len == 0)
        return Py_NewRef(coir__wsgi.empty);
    return text(base + span.at, span.len);
}

static inline int
is_same(PyObject *str, const char *bytes, size_t len)
{
    return (size_t)PyUnicode_GET_LENGTH(str) == len &&
           memcmp(PyUnicode_1BYTE_DATA(str), bytes, len) == 0;
}

static PyObject *
field_value(const char *base, const coir_http_field *f)
{
    const char *bytes = base + f->value.at;
    size_t len = f->value.len;
    if (f->id == COIR_FIELD_OTHER || len > LONGEST_VALUE ||
        f->id == COIR_FIELD_COOKIE || f->id == COIR_FIELD_AUTHORIZATION ||
        f->id == COIR_FIELD_PROXY_AUTHORIZATION)
        return span_text(base, f->value);
    PyObject *last = last_values[f->id];
    if (last != NULL && is_same(last, bytes, len))
        return Py_NewRef(last);
    PyObject *value = text(bytes, len);
    if (value != NULL)
        Py_XSETREF(last_values[f->id], Py_NewRef(value));
    return value;
}

/* --- setting ------------------------------------------------------------- */

/* Set a key; the reference to the value, which may be NULL with an exception,
 * is used up. 0, or -1 with an exception. */
static inline int
set(PyObject *environ, enum coir_wsgi_key key, PyObject *value)
{
    if (COIR__UNLIKELY(value == NULL))
        return -1;
    int err = PyDict_SetItem(environ, coir__wsgi.keys[key], value);
    Py_DECREF(value);
    return err;
}

/* It is there already: a list of both. */
static COIR__COLD int
join(PyObject *environ, PyObject *key, PyObject *old, PyObject *value, int id)
{
    PyObject *both = PyUnicode_FromFormat(
        id == COIR_FIELD_COOKIE ? "%U; %U" : "%U,%U", old, value);
    int err = both != NULL ? PyDict_SetItem(environ, key, both) : -1;
    Py_XDECREF(both);
    return err;
}

static int
is_left_out(const char *name, size_t len)
{
    return memchr(name, '_', len) != NULL ||
           coir_http_equal(name, len, "proxy", 5);
}

/* The key of a field; *old is its value so far, borrowed, or NULL. Returns a
 * new reference, or NULL: with an exception, or because it is left out. */
static PyObject *
key_of(PyObject *environ, const coir_http_head *head, const char *base,
       const coir_http_field *f, PyObject **old)
{
    PyObject *key;
    *old = NULL;
    if (COIR__LIKELY(f->id != COIR_FIELD_OTHER)) {
        key = Py_NewRef(coir__wsgi.fields[f->id]);
        if (COIR__LIKELY(&head->fields[head->first[f->id] - 1] == f))
            return key;
    }
    else {
        const char *name = base + f->name.at;
        if (is_left_out(name, f->name.len))
            return NULL;
        key = find_key(name, f->name.len);
        if (key == NULL)
            return NULL;
    }
    *old = PyDict_GetItemWithError(environ, key);
    if (COIR__UNLIKELY(*old == NULL && PyErr_Occurred()))
        Py_CLEAR(key);
    return key;
}

static int
set_fields(PyObject *environ, const coir_http_head *head, const char *base)
{
    for (uint32_t i = 0; i < head->count; i++) {
        const coir_http_field *f = &head->fields[i];
        PyObject *old, *key = key_of(environ, head, base, f, &old);
        if (key == NULL) {
            if (PyErr_Occurred())
                return -1;
            continue;
        }
        PyObject *value = field_value(base, f);
        int err = value == NULL ? -1
                  : old == NULL ? PyDict_SetItem(environ, key, value)
                                : join(environ, key, old, value, (int)f->id);
        Py_XDECREF(value);
        Py_DECREF(key);
        if (COIR__UNLIKELY(err < 0))
            return -1;
    }
    return 0;
}

/* --- the request line ---------------------------------------------------- */

static PyObject *
method_of(const coir_http_head *head, const char *base)
{
    PyObject *name = head->method_id <= COIR_HTTP_PATCH
                         ? coir__wsgi.methods[head->method_id]
                         : NULL;
    return name != NULL ? Py_NewRef(name) : span_text(base, head->method);
}

/* Where the application's path begins in `path`: behind SCRIPT_NAME, if that
 * is what it begins with. */
static size_t
skip_script_name(const ServerObject *s, const char *path, size_t len)
{
    if (COIR__LIKELY(s->script_name == NULL))
        return 0;
    size_t n = (size_t)PyUnicode_GET_LENGTH(s->script_name);
    if (len < n || memcmp(path, PyUnicode_1BYTE_DATA(s->script_name), n) != 0)
        return 0;
    return len == n || path[n] == '/' ? n : 0;
}

#define SHORT_PATH 1024

static PyObject *
path_info(const ServerObject *s, const coir_http_head *head, const char *base)
{
    const char *path = base + head->path.at;
    size_t len = head->path.len;
    if (len == 0) {
        if (head->form == COIR_HTTP_ABSOLUTE)
            return Py_NewRef(coir__wsgi.slash);
        if (head->form == COIR_HTTP_AUTHORITY)
            return Py_NewRef(coir__wsgi.empty);
        return span_text(base, head->target); /* "*" */
    }
    char small[SHORT_PATH], *decoded = NULL;
    if (COIR__UNLIKELY(memchr(path, '%', len) != NULL)) {
        char *out = small;
        if (len > sizeof small && (out = decoded = PyMem_Malloc(len)) == NULL)
            return PyErr_NoMemory();
        len = coir_http_percent_decode(path, len, out);
        path = out;
    }
    else if (len == 1 && s->script_name == NULL) {
        return Py_NewRef(coir__wsgi.slash);
    }
    size_t skip = skip_script_name(s, path, len);
    PyObject *res = text(path + skip, len - skip);
    PyMem_Free(decoded);
    return res;
}

/* --- the client ---------------------------------------------------------- */

static int
set_peer(PyObject *environ, ServerObject *s, coir_http_exchange *x)
{
    unsigned port = 0;
    const char *addr = coir_http_peer(x, &port);
    size_t len = strlen(addr);
    if (s->peer == NULL || !is_same(s->peer, addr, len))
        Py_XSETREF(s->peer, text(addr, len));
    if (s->peer == NULL || set(environ, KEY_REMOTE_ADDR, Py_NewRef(s->peer)))
        return -1;
    char digits[16];
    int n = len > 0 ? snprintf(digits, sizeof digits, "%u", port) : 0;
    return set(environ, KEY_REMOTE_PORT, text(digits, (size_t)n));
}

static COIR__COLD int
set_tls(PyObject *environ, void *state)
{
    PyObject *object = coir__ssl_object(state);
    return set(environ, KEY_HTTPS, PyUnicode_FromString("on")) < 0 ||
                   set(environ, KEY_COIR_SSL_OBJECT, Py_NewRef(object)) < 0
               ? -1
               : 0;
}

/* --- all of it ----------------------------------------------------------- */

static int
set_target(PyObject *environ, const ServerObject *s,
           const coir_http_head *head, const char *base)
{
    PyObject *target = span_text(base, head->target);
    if (target == NULL || set(environ, KEY_RAW_URI, Py_NewRef(target)) < 0) {
        Py_XDECREF(target);
        return -1;
    }
    if (set(environ, KEY_REQUEST_URI, target) < 0 ||
        set(environ, KEY_PATH_INFO, path_info(s, head, base)) < 0 ||
        set(environ, KEY_QUERY_STRING, span_text(base, head->query)) < 0)
        return -1;
    if (COIR__LIKELY(head->form != COIR_HTTP_ABSOLUTE))
        return 0;
    return set(environ, KEY_HTTP_HOST, span_text(base, head->authority));
}

static int
fill(PyObject *environ, RequestObject *r)
{
    coir_http_exchange *x = r->x;
    const coir_http_head *head = x->head;
    const char *base = x->base;
    if (set(environ, KEY_REQUEST_METHOD, method_of(head, base)) < 0 ||
        set(environ, KEY_SERVER_PROTOCOL,
            Py_NewRef(coir__wsgi.protocols[head->version >= 11])) < 0 ||
        set_peer(environ, r->server, x) < 0 ||
        set(environ, KEY_WSGI_INPUT, coir__input_new(r)) < 0 ||
        set_fields(environ, head, base) < 0 ||
        set_target(environ, r->server, head, base) < 0)
        return -1;
    if (COIR__UNLIKELY((head->flags & COIR_HTTP_UPGRADE) ||
                       head->method_id == COIR_HTTP_CONNECT) &&
        set(environ, KEY_COIR_UPGRADE,
            PyCFunction_New(&coir__upgrade_def, (PyObject *)r)) < 0)
        return -1;
    void *tls = coir_http_transport_state(x);
    return COIR__UNLIKELY(tls != NULL) ? set_tls(environ, tls) : 0;
}

PyObject *
coir__environ_new(RequestObject *r)
{
    PyObject *all = r->server->environs;
    Py_ssize_t number = coir_http_listener(r->x);
    if (number < 0 || number >= PyList_GET_SIZE(all))
        number = 0; /* it was adopted */
    PyObject *environ = PyDict_Copy(PyList_GET_ITEM(all, number));
    if (environ != NULL && fill(environ, r) < 0)
        Py_CLEAR(environ);
    return environ;
}

/* --- set-up -------------------------------------------------------------- */

static PyObject *
intern(const char *name)
{
    return PyUnicode_InternFromString(name);
}

static int
init_fields(void)
{
    for (int id = 1; id < COIR_FIELD_IDS; id++) {
        const char *name = coir_http_field_name(id);
        PyObject *key;
        if (id == COIR_FIELD_CONTENT_TYPE)
            key = Py_NewRef(coir__wsgi.keys[KEY_CONTENT_TYPE]);
        else if (id == COIR_FIELD_CONTENT_LENGTH)
            key = Py_NewRef(coir__wsgi.keys[KEY_CONTENT_LENGTH]);
        else
            key = make_key(name, strlen(name));
        if (key == NULL)
            return -1;
        Py_XSETREF(coir__wsgi.fields[id], key);
    }
    return 0;
}

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
        if ((c->keys[i] = intern(keys[i])) == NULL)
            return -1;
    for (int i = COIR_HTTP_GET; i <= COIR_HTTP_PATCH; i++)
        if ((c->methods[i] = intern(coir_http_method_name(i))) == NULL)
            return -1;
    c->protocols[0] = intern("HTTP/1.0");
    c->protocols[1] = intern("HTTP/1.1");
    c->empty = intern("");
    c->slash = intern("/");
    c->str_close = intern("close");
    c->str_read = intern("read");
    if (c->protocols[0] == NULL || c->protocols[1] == NULL ||
        c->empty == NULL || c->slash == NULL || c->str_close == NULL ||
        c->str_read == NULL)
        return -1;
    return init_fields();
}
