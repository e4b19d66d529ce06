/* environ.c - what a request's head tells, as a WSGI environ has it.
 *
 * Text is what PEP 3333 calls native strings: bytes as latin-1.
 *
 * What comes again and again is made once and kept: the keys of fields that
 * have an id, methods, versions; in a small table the keys of names without an
 * id, as they were sent; and of each field with an id the last value, if that
 * was short and is no secret. All else is made for each request. */
#include "environ.h"

#include <string.h>

/* Longest path that is decoded without allocating. */
#define SHORT_PATH 1024

/* Made once; strong. */
static struct {
    PyObject *fields[COIR_FIELD_IDS]; /* "HTTP_HOST" and so on */
    PyObject *methods[COIR_HTTP_PATCH + 1];
    PyObject *versions[2]; /* 1.0, 1.1 */
    PyObject *method, *path_info, *query_string, *protocol;
    PyObject *asterisk, *root, *empty;
} names;

#define SLOTS 256       /* a power of 2 */
#define LONGEST_NAME 48 /* of those that are kept */
#define LONGEST_VALUE 160

/* Keys of names without an id. */
static struct slot {
    PyObject *key; /* strong, or NULL */
    uint8_t len;
    char name[LONGEST_NAME];
} slots[SLOTS];

/* The last values of fields with an id: strong, or NULL. */
static PyObject *last_values[COIR_FIELD_IDS];

/* --- names --------------------------------------------------------------- */

/* What a field's name is in an environ: "HTTP_", upper case, '_' for '-'. */
static PyObject *
key_of(const char *name, size_t len)
{
    static const char prefix[] = {'H', 'T', 'T', 'P', '_'};
    PyObject *key = PyUnicode_New((Py_ssize_t)(sizeof prefix + len), 127);
    if (key == NULL)
        return NULL;
    char *to = (char *)PyUnicode_1BYTE_DATA(key);
    memcpy(to, prefix, sizeof prefix);
    to += sizeof prefix;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        to[i] = c == '-' ? '_' : c;
    }
    return key;
}

static PyObject *
field_key(int id)
{
    if (id == COIR_FIELD_CONTENT_TYPE)
        return PyUnicode_InternFromString("CONTENT_TYPE");
    if (id == COIR_FIELD_CONTENT_LENGTH)
        return PyUnicode_InternFromString("CONTENT_LENGTH");
    const char *name = coir_http_field_name(id);
    PyObject *key = key_of(name, strlen(name));
    if (key != NULL)
        PyUnicode_InternInPlace(&key);
    return key;
}

/* Of a name without an id: a new reference, or NULL with an exception. */
static PyObject *
other_key(const char *name, size_t len)
{
    if (len > LONGEST_NAME)
        return key_of(name, len);
    unsigned hash = (unsigned)len;
    for (size_t i = 0; i < len; i++)
        hash = hash * 31 + (unsigned char)name[i];
    struct slot *slot = &slots[(hash ^ (hash >> 11)) & (SLOTS - 1)];
    if (slot->key != NULL && slot->len == len &&
        memcmp(slot->name, name, len) == 0)
        return Py_NewRef(slot->key);
    PyObject *key = key_of(name, len);
    if (key == NULL)
        return NULL;
    Py_XSETREF(slot->key, Py_NewRef(key));
    slot->len = (uint8_t)len;
    memcpy(slot->name, name, len);
    return key;
}

static int
make_names(void)
{
    for (int id = COIR_FIELD_OTHER + 1; id < COIR_FIELD_IDS; id++)
        if (names.fields[id] == NULL &&
            (names.fields[id] = field_key(id)) == NULL)
            return -1;
    for (int m = COIR_HTTP_GET; m <= COIR_HTTP_PATCH; m++)
        if (names.methods[m] == NULL &&
            (names.methods[m] =
                 PyUnicode_InternFromString(coir_http_method_name(m))) == NULL)
            return -1;
    const coir_name others[] = {
        {&names.versions[0], "HTTP/1.0"},
        {&names.versions[1], "HTTP/1.1"},
        {&names.method, "REQUEST_METHOD"},
        {&names.path_info, "PATH_INFO"},
        {&names.query_string, "QUERY_STRING"},
        {&names.protocol, "SERVER_PROTOCOL"},
        {&names.asterisk, "*"},
        {&names.root, "/"},
        {&names.empty, ""}, /* the last: then all are there */
    };
    return coir__intern(others, sizeof others / sizeof *others);
}

static inline int
need_names(void)
{
    return COIR__LIKELY(names.empty != NULL) ? 0 : make_names();
}

PyObject *
coir__environ_method(const char *buf, const coir_http_head *head)
{
    if (need_names() < 0)
        return NULL;
    if (head->method_id != COIR_HTTP_OTHER)
        return Py_NewRef(names.methods[head->method_id]);
    return coir__environ_text(buf, head->method);
}

PyObject *
coir__environ_version(const coir_http_head *head)
{
    if (need_names() < 0)
        return NULL;
    return Py_NewRef(names.versions[head->version > 10]);
}

/* --- the target ---------------------------------------------------------- */

static PyObject *
decoded(const char *text, size_t len)
{
    if (memchr(text, '%', len) == NULL)
        return PyUnicode_DecodeLatin1(text, (Py_ssize_t)len, NULL);
    char some[SHORT_PATH], *out = some;
    if (len > sizeof some && (out = PyMem_Malloc(len)) == NULL)
        return PyErr_NoMemory();
    size_t n = coir_http_percent_decode(text, len, out);
    PyObject *res = PyUnicode_DecodeLatin1(out, (Py_ssize_t)n, NULL);
    if (out != some)
        PyMem_Free(out);
    return res;
}

static PyObject *
path_info(const char *buf, const coir_http_head *head)
{
    if (head->form == COIR_HTTP_AUTHORITY)
        return coir__environ_text(buf, head->target);
    if (head->form == COIR_HTTP_ASTERISK)
        return Py_NewRef(names.asterisk);
    if (head->path.len > 1)
        return decoded(buf + head->path.at, head->path.len);
    if (head->path.len == 1)
        return Py_NewRef(names.root);
    /* An absolute target without a path (RFC 9112, 3.2.4). */
    return Py_NewRef(head->method_id == COIR_HTTP_OPTIONS ? names.asterisk
                                                          : names.root);
}

/* Steals `value`, which may be NULL with an exception. */
static inline int
put(PyObject *env, PyObject *key, PyObject *value)
{
    int err = value != NULL ? PyDict_SetItem(env, key, value) : -1;
    Py_XDECREF(value);
    return err;
}

/* --- fields -------------------------------------------------------------- */

static int
is_secret(uint32_t id)
{
    return id == COIR_FIELD_COOKIE || id == COIR_FIELD_AUTHORIZATION ||
           id == COIR_FIELD_PROXY_AUTHORIZATION;
}

static PyObject *
field_value(const char *buf, const coir_http_field *f)
{
    size_t len = f->value.len;
    if (f->id == COIR_FIELD_OTHER || len > LONGEST_VALUE || is_secret(f->id))
        return coir__environ_text(buf, f->value);
    PyObject *last = last_values[f->id];
    if (last != NULL && (size_t)PyUnicode_GET_LENGTH(last) == len &&
        memcmp(PyUnicode_1BYTE_DATA(last), buf + f->value.at, len) == 0)
        return Py_NewRef(last);
    PyObject *value = coir__environ_text(buf, f->value);
    if (value != NULL)
        Py_XSETREF(last_values[f->id], Py_NewRef(value));
    return value;
}

/* What could be taken for another one: with an underscore it would have the
 * key of one with a hyphen, which somebody in front may have checked; and
 * HTTP_PROXY means something else to many programs. */
static int
is_left_out(const char *name, size_t len)
{
    return memchr(name, '_', len) != NULL ||
           coir_http_equal(name, len, "proxy", 5);
}

/* The key of a field; *before is its value so far, borrowed, or NULL. Returns
 * a new reference, or NULL: with an exception, or because it is left out. */
static PyObject *
find_key(PyObject *env, const char *buf, const coir_http_head *head,
         uint32_t at, PyObject **before)
{
    const coir_http_field *f = &head->fields[at];
    const char *name = buf + f->name.at;
    PyObject *key;
    *before = NULL;
    if (COIR__LIKELY(f->id != COIR_FIELD_OTHER)) {
        key = Py_NewRef(names.fields[f->id]);
        if (COIR__LIKELY(head->first[f->id] == at + 1))
            return key;
    }
    else if (is_left_out(name, f->name.len) ||
             (key = other_key(name, f->name.len)) == NULL) {
        return NULL;
    }
    *before = PyDict_GetItemWithError(env, key);
    if (COIR__UNLIKELY(*before == NULL && PyErr_Occurred()))
        Py_CLEAR(key);
    return key;
}

static int
is_cookie(const char *buf, const coir_http_field *f)
{
    return f->name.len >= 6 &&
           coir_http_equal(buf + f->name.at, 6, "cookie", 6);
}

/* There is one of this name already: a list of both. */
static COIR__COLD int
join(PyObject *env, PyObject *key, PyObject *before, const char *buf,
     const coir_http_field *f)
{
    if (f->id == COIR_FIELD_CONTENT_TYPE)
        return 0;
    PyObject *value = coir__environ_text(buf, f->value);
    if (value == NULL)
        return -1;
    PyObject *both = PyUnicode_FromFormat(
        is_cookie(buf, f) ? "%U; %U" : "%U,%U", before, value);
    Py_DECREF(value);
    return put(env, key, both);
}

static inline int
put_field(PyObject *env, const char *buf, const coir_http_head *head,
          uint32_t at)
{
    const coir_http_field *f = &head->fields[at];
    PyObject *before, *key = find_key(env, buf, head, at, &before);
    if (key == NULL)
        return PyErr_Occurred() ? -1 : 0;
    int err = COIR__LIKELY(before == NULL) ? put(env, key, field_value(buf, f))
                                           : join(env, key, before, buf, f);
    Py_DECREF(key);
    return err;
}

int
coir__environ_fill(PyObject *env, const char *buf, const coir_http_head *head)
{
    if (need_names() < 0 ||
        put(env, names.method, coir__environ_method(buf, head)) < 0 ||
        put(env, names.path_info, path_info(buf, head)) < 0 ||
        put(env, names.query_string,
            head->query.len > 0 ? coir__environ_text(buf, head->query)
                                : Py_NewRef(names.empty)) < 0 ||
        PyDict_SetItem(env, names.protocol,
                       names.versions[head->version > 10]) < 0)
        return -1;
    for (uint32_t i = 0; i < head->count; i++)
        if (put_field(env, buf, head, i) < 0)
            return -1;
    if (head->form == COIR_HTTP_ABSOLUTE)
        return put(env, names.fields[COIR_FIELD_HOST],
                   coir__environ_text(buf, head->authority));
    return 0;
}
