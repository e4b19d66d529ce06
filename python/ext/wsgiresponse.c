/* wsgiresponse.c - what an application answers: start_response(), write(), and
 * sending what it returns.
 *
 * start_response() hands status and fields to the server at once, so that what
 * is wrong with them is raised where it was written, and what happens to the
 * list afterwards changes nothing. Nothing is sent before the first byte of
 * the body, or its end: until then start_response() with exc_info replaces
 * all of it.
 *
 * A list or tuple is known as a whole: it is sent in one go with the head, and
 * with its length. Of other iterables each item is sent as it comes. An
 * application that announces a Content-Length and gives more, or less, has an
 * error, which is reported; the client never sees more than was announced, and
 * if it is less the connection is closed. */
#include "wsgi.h"

/* Items of a list that go with one system call; and of those of more, how
 * many bytes are put together. */
#define MOST_PIECES 64

static int
closed_early(const RequestObject *r)
{
    return coir_http_response_state(r->x) >= COIR_HTTP_SENDING;
}

/* --- status and fields --------------------------------------------------- */

static COIR__COLD int
bad_type(const char *what, const char *wanted, PyObject *got)
{
    PyErr_Format(PyExc_TypeError, "%s must be %s, not %.200s", what, wanted,
                 Py_TYPE(got)->tp_name);
    return -1;
}

/* The Latin-1 bytes of a native string. 0, or -1 with an exception. */
static int
latin1(const char *what, PyObject *str, const char **bytes, size_t *len)
{
    if (COIR__UNLIKELY(!PyUnicode_Check(str)))
        return bad_type(what, "a str", str);
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(str) < 0)
        return -1;
#endif
    if (COIR__UNLIKELY(PyUnicode_KIND(str) != PyUnicode_1BYTE_KIND)) {
        PyErr_Format(PyExc_ValueError,
                     "%s has characters that are not Latin-1: %R", what, str);
        return -1;
    }
    *bytes = (const char *)PyUnicode_1BYTE_DATA(str);
    *len = (size_t)PyUnicode_GET_LENGTH(str);
    return 0;
}

static inline int
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int
begin(RequestObject *r, PyObject *status)
{
    const char *s;
    size_t len;
    if (latin1("the status", status, &s, &len) < 0)
        return -1;
    int code = 0;
    if (len >= 3 && is_digit(s[0]) && is_digit(s[1]) && is_digit(s[2]) &&
        (len == 3 || s[3] == ' '))
        code = (s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0');
    size_t skip = len > 3 ? 4 : 3;
    int err = code >= 100 ? coir_http_begin_n(r->x, code, s + skip, len - skip)
                          : COIR_EINVAL;
    r->code = code;
    if (COIR__LIKELY(err == 0))
        return 0;
    if (err == COIR_ENOMEM)
        PyErr_NoMemory();
    else
        PyErr_Format(PyExc_ValueError,
                     "a status is like '200 OK', without control characters; "
                     "not %R",
                     status);
    return -1;
}

static COIR__COLD int
refuse_field(PyObject *name, PyObject *value, const char *n, size_t n_len,
             const char *v, size_t v_len, int err)
{
    if (err == COIR_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    int why = coir_http_check_field(n, n_len, v, v_len);
    int id = coir_http_field_id(n, n_len);
    if (why < 0)
        PyErr_Format(PyExc_ValueError, "%s: %R: %R", coir_http_error_text(why),
                     name, value);
    else if (coir_http_is_hop_by_hop(id))
        PyErr_Format(PyExc_ValueError,
                     "%R is about the connection: it is for the server to "
                     "send, not for an application",
                     name);
    else
        PyErr_Format(PyExc_ValueError, "not a valid field: %R: %R", name,
                     value);
    return -1;
}

/* Its number; what is none is refused by the server. */
static int64_t
parse_length(const char *v, size_t len)
{
    int64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(v[i]) || n > INT64_MAX / 10 - 1)
            return -1;
        n = n * 10 + (v[i] - '0');
    }
    return n;
}

static int
add_field(RequestObject *r, PyObject *pair)
{
    if (COIR__UNLIKELY(!PyTuple_Check(pair) && !PyList_Check(pair)))
        return bad_type("a header", "a tuple", pair);
    if (COIR__UNLIKELY(PySequence_Fast_GET_SIZE(pair) != 2)) {
        PyErr_Format(PyExc_ValueError, "a header is a name and a value: %R",
                     pair);
        return -1;
    }
    PyObject *name = PySequence_Fast_GET_ITEM(pair, 0);
    PyObject *value = PySequence_Fast_GET_ITEM(pair, 1);
    const char *n, *v;
    size_t n_len, v_len;
    if (latin1("the name of a header", name, &n, &n_len) < 0 ||
        latin1("the value of a header", value, &v, &v_len) < 0)
        return -1;
    int err = coir_http_add_field_n(r->x, n, n_len, v, v_len);
    if (COIR__UNLIKELY(err < 0))
        return refuse_field(name, value, n, n_len, v, v_len, err);
    if (n_len == 14 && coir_http_equal(n, n_len, "content-length", 14))
        r->length = parse_length(v, v_len);
    return 0;
}

int
coir__response_begin(RequestObject *r, PyObject *status, PyObject *headers)
{
    if (COIR__UNLIKELY(!PyList_Check(headers) && !PyTuple_Check(headers)))
        return bad_type("the headers", "a list of tuples", headers);
    r->length = -1;
    if (begin(r, status) < 0)
        return -1;
    /* Nothing here runs code of others: the list stays as it is. */
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(headers); i++)
        if (add_field(r, PySequence_Fast_GET_ITEM(headers, i)) < 0) {
            (void)coir_http_restart(r->x);
            return -1;
        }
    Py_XSETREF(r->status, Py_NewRef(status));
    Py_XSETREF(r->headers, Py_NewRef(headers));
    r->has_started = 1;
    return 0;
}

/* --- write() ------------------------------------------------------------- */

/* A call of the server's failed. */
static COIR__COLD int
not_sent(RequestObject *r, int err)
{
    if (err == COIR_EINVAL && r->length >= 0) {
        PyErr_Format(PyExc_ValueError,
                     "the body is longer than its Content-Length of %lld",
                     (long long)r->length);
        return -1;
    }
    return coir__request_raise(r, COIR_HTTP_WRITER, err);
}

static COIR__COLD int
not_started(void)
{
    PyErr_SetString(PyExc_RuntimeError,
                    "there is no response: start_response() was not called");
    return -1;
}

/* Some of the body. 0, or -1 with an exception. */
static int
send_some(RequestObject *r, PyObject *data)
{
    if (COIR__UNLIKELY(!PyBytes_Check(data)))
        return bad_type("an item of the body", "bytes", data);
    if (COIR__UNLIKELY(!r->has_started))
        return not_started();
    Py_ssize_t len = PyBytes_GET_SIZE(data);
    if (len == 0)
        return 0;
    if (coir__request_enter(r) < 0)
        return -1;
    int err = coir_http_write(r->x, PyBytes_AS_STRING(data), (size_t)len);
    if (COIR__UNLIKELY(err < 0))
        (void)not_sent(r, err);
    else
        r->sent += (uint64_t)len;
    coir__request_leave(r);
    return err < 0 ? -1 : 0;
}

static PyObject *
write_data(PyObject *op, PyObject *data)
{
    return send_some((RequestObject *)op, data) < 0 ? NULL
                                                    : Py_NewRef(Py_None);
}

static PyMethodDef write_def = {
    "write", write_data, METH_O,
    "write($self, data)\n--\n\nSend some of the body, now. Waits."};

/* --- start_response() ---------------------------------------------------- */

/* There was a response already. 0: it is forgotten; -1 with an exception. */
static int
start_again(RequestObject *r, PyObject *exc_info)
{
    if (exc_info == NULL || exc_info == Py_None) {
        PyErr_SetString(PyExc_AssertionError,
                        "start_response() was called before, and has no "
                        "exc_info now");
        return -1;
    }
    if (!PyTuple_Check(exc_info) || PyTuple_GET_SIZE(exc_info) != 3)
        return bad_type("exc_info", "a tuple of three", exc_info);
    if (!closed_early(r)) {
        if (coir_http_response_state(r->x) != COIR_HTTP_NOT_BEGUN)
            (void)coir_http_restart(r->x);
        return 0;
    }
    /* It is too late for another one: whoever calls is to give up. */
    PyObject *type = PyTuple_GET_ITEM(exc_info, 0);
    PyObject *value = PyTuple_GET_ITEM(exc_info, 1);
    PyObject *tb = PyTuple_GET_ITEM(exc_info, 2);
    if (!PyExceptionInstance_Check(value))
        return bad_type("exc_info[1]", "an exception", value);
    PyErr_Restore(Py_NewRef(type), Py_NewRef(value),
                  tb != Py_None ? Py_NewRef(tb) : NULL);
    return -1;
}

static COIR__COLD int
parse_names(PyObject *const *values, Py_ssize_t nargs, PyObject *kwnames,
            PyObject *given[3])
{
    static const char *const names[] = {"status", "headers", "exc_info"};
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(kwnames); k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        int i = 0;
        while (i < 3 && PyUnicode_CompareWithASCIIString(name, names[i]) != 0)
            i++;
        if (i == 3 || given[i] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "start_response() got an unexpected argument %R",
                         name);
            return -1;
        }
        given[i] = values[nargs + k];
    }
    return 0;
}

PyObject *
coir__start_response(PyObject *op, PyObject *const *args, size_t nargsf,
                     PyObject *kwnames)
{
    RequestObject *r = (RequestObject *)op;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *given[3] = {NULL, NULL, NULL};
    for (Py_ssize_t i = 0; i < nargs && i < 3; i++)
        given[i] = args[i];
    if (kwnames != NULL && nargs <= 3 &&
        parse_names(args, nargs, kwnames, given) < 0)
        return NULL;
    if (given[0] == NULL || given[1] == NULL || nargs > 3) {
        PyErr_SetString(PyExc_TypeError,
                        "start_response() takes a status, headers, and maybe "
                        "exc_info");
        return NULL;
    }
    if (coir__request_enter(r) < 0)
        return NULL;
    int err = 0;
    if (r->is_upgraded) {
        PyErr_SetString(PyExc_RuntimeError, "the connection was upgraded");
        err = -1;
    }
    if (err == 0 && r->has_started)
        err = start_again(r, given[2]);
    if (err == 0)
        err = coir__response_begin(r, given[0], given[1]);
    coir__request_leave(r);
    return err < 0 ? NULL : PyCFunction_New(&write_def, op);
}

/* --- what was returned --------------------------------------------------- */

/* Nothing follows. 0, or -1 with an exception. */
static int
end(RequestObject *r)
{
    coir_http_exchange *x = r->x;
    if (COIR__UNLIKELY(!r->has_started))
        return not_started();
    if (coir_http_response_state(x) == COIR_HTTP_SENT)
        return 0;
    if (COIR__UNLIKELY(r->length >= 0 && r->sent < (uint64_t)r->length &&
                       coir_http_may_have_body(x->head->method_id, r->code))) {
        PyErr_Format(PyExc_ValueError,
                     "the body has %llu bytes, its Content-Length is %lld",
                     (unsigned long long)r->sent, (long long)r->length);
        return -1;
    }
    int err = coir_http_sendv(x, NULL, 0);
    return err < 0 ? not_sent(r, err) : 0;
}

/* All of a list or tuple, which only we know while it waits: `items` are held.
 * 0, or -1 with an exception. */
static int
send_pieces(RequestObject *r, PyObject *const *items, Py_ssize_t count)
{
    struct iovec iov[MOST_PIECES];
    uint64_t total = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (COIR__UNLIKELY(!PyBytes_Check(items[i])))
            return bad_type("an item of the body", "bytes", items[i]);
        iov[i].iov_base = PyBytes_AS_STRING(items[i]);
        iov[i].iov_len = (size_t)PyBytes_GET_SIZE(items[i]);
        total += iov[i].iov_len;
    }
    if (COIR__UNLIKELY(!r->has_started))
        return not_started();
    if (COIR__UNLIKELY(r->length >= 0 &&
                       r->sent + total < (uint64_t)r->length)) {
        /* end() says what is wrong. */
        for (Py_ssize_t i = 0; i < count; i++)
            if (send_some(r, items[i]) < 0)
                return -1;
        return end(r);
    }
    int err = coir_http_sendv(r->x, iov, (int)count);
    if (COIR__UNLIKELY(err < 0))
        return not_sent(r, err);
    r->sent += total;
    return 0;
}

/* A new reference; NULL with an exception. join() would take any buffers. */
static PyObject *
joined(PyObject *seq)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(seq); i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(seq, i);
        if (!PyBytes_Check(item)) {
            (void)bad_type("an item of the body", "bytes", item);
            return NULL;
        }
    }
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    if (empty == NULL)
        return NULL;
    PyObject *res = PyObject_CallMethod(empty, "join", "O", seq);
    Py_DECREF(empty);
    return res;
}

/* A list or tuple, exactly. */
static int
send_sequence(RequestObject *r, PyObject *seq)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(seq);
    PyObject *held[MOST_PIECES];
    if (COIR__UNLIKELY(count > MOST_PIECES)) {
        /* Rare enough: one copy, and not a system call for each. */
        held[0] = joined(seq);
        if (held[0] == NULL)
            return -1;
        count = 1;
    }
    else {
        for (Py_ssize_t i = 0; i < count; i++)
            held[i] = Py_NewRef(PySequence_Fast_GET_ITEM(seq, i));
    }
    int err = send_pieces(r, held, count);
    for (Py_ssize_t i = 0; i < count; i++)
        Py_DECREF(held[i]);
    return err;
}

static int
send_items(RequestObject *r, PyObject *iterable)
{
    PyObject *iter = PyObject_GetIter(iterable);
    if (iter == NULL)
        return -1;
    PyObject *item;
    int err = 0;
    while (err == 0 && (item = PyIter_Next(iter)) != NULL) {
        err = send_some(r, item);
        Py_DECREF(item);
    }
    Py_DECREF(iter);
    return err < 0 || PyErr_Occurred() ? -1 : end(r);
}

int
coir__response_send(RequestObject *r, PyObject *result)
{
    if (COIR__LIKELY(PyList_CheckExact(result) || PyTuple_CheckExact(result)))
        return send_sequence(r, result);
    if (PyBytes_Check(result) || PyUnicode_Check(result))
        return bad_type("what an application returns", "an iterable of bytes",
                        result);
    if (Py_IS_TYPE(result, &coir__file_wrapper_type)) {
        int done = coir__response_sendfile(r, result);
        if (done != 0)
            return done < 0 ? -1 : end(r);
    }
    return send_items(r, result);
}
