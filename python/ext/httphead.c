/* httphead.c - what the answer of a server that Python code drives is made of:
 * the headers of an application, checked and encoded, the head, chunks, the
 * date. Each is one call, in place of some dozens of Python's. */
#include "httpread.h"

#include "socket.h"

#include <string.h>
#include <time.h>

/* --- headers of applications --------------------------------------------- */

/* What is known of them after they were encoded; borrowed, or NULL. */
struct seen {
    PyObject *length, *date, *connection;
};

static void
raise_about(PyObject *type, const char *text, PyObject *a, PyObject *b)
{
    PyObject *args = Py_BuildValue(b != NULL ? "(sOO)" : "(sO)", text, a, b);
    if (args != NULL)
        PyErr_SetObject(type, args);
    Py_XDECREF(args);
}

/* As bytes of latin-1, a new reference; NULL without an exception if it
 * cannot be. */
static PyObject *
encoded(PyObject *text)
{
    if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND)
        return NULL;
    return PyBytes_FromStringAndSize((const char *)PyUnicode_1BYTE_DATA(text),
                                     PyUnicode_GET_LENGTH(text));
}

static void
raise_not_latin1(PyObject *name, PyObject *value)
{
    PyObject *a = PyObject_Repr(name), *b = PyObject_Repr(value);
    if (a != NULL && b != NULL)
        raise_about(PyExc_UnicodeError, "Non-latin1 header", a, b);
    Py_XDECREF(a);
    Py_XDECREF(b);
}

static int
has_line_end(PyObject *bytes)
{
    const char *text = PyBytes_AS_STRING(bytes);
    size_t len = (size_t)PyBytes_GET_SIZE(bytes);
    return memchr(text, '\r', len) != NULL || memchr(text, '\n', len) != NULL;
}

static int
check(PyObject *name, PyObject *value, PyObject *name8, PyObject *value8)
{
    int err = coir_http_check_field(
        PyBytes_AS_STRING(name8), (size_t)PyBytes_GET_SIZE(name8),
        PyBytes_AS_STRING(value8), (size_t)PyBytes_GET_SIZE(value8));
    if (COIR__LIKELY(err == 0))
        return 0;
    if (has_line_end(name8))
        raise_about(PyExc_ValueError,
                    "carriage return or newline in header name", name, NULL);
    else if (err == COIR_HTTP_ENAME)
        raise_about(PyExc_ValueError, "invalid header name", name, NULL);
    else if (has_line_end(value8))
        raise_about(PyExc_ValueError,
                    "carriage return or newline in header value", value, NULL);
    else
        raise_about(PyExc_ValueError, "control character in header value",
                    value, NULL);
    return -1;
}

static void
notice(struct seen *seen, PyObject *name8, PyObject *value)
{
    Py_ssize_t len = PyBytes_GET_SIZE(name8);
    const char *name = PyBytes_AS_STRING(name8);
    if (len == 4 && strncasecmp(name, "date", 4) == 0)
        seen->date = value;
    else if (len == 10 && strncasecmp(name, "connection", 10) == 0)
        seen->connection = value;
    else if (len == 14 && strncasecmp(name, "content-length", 14) == 0)
        seen->length = value;
}

static PyObject *
encode_pair(PyObject *name, PyObject *value, struct seen *seen)
{
    if (!PyUnicode_Check(name)) {
        raise_about(PyExc_UnicodeError, "The header must be a native string",
                    name, value);
        return NULL;
    }
    if (!PyUnicode_Check(value)) {
        raise_about(PyExc_UnicodeError, "The value must be a native string",
                    name, value);
        return NULL;
    }
    PyObject *name8 = encoded(name), *value8 = encoded(value), *pair = NULL;
    if (name8 == NULL || value8 == NULL) {
        if (!PyErr_Occurred())
            raise_not_latin1(name, value);
    }
    else if (check(name, value, name8, value8) == 0) {
        notice(seen, name8, value);
        pair = PyTuple_Pack(2, name8, value8);
    }
    Py_XDECREF(name8);
    Py_XDECREF(value8);
    return pair;
}

static PyObject *
encode_item(PyObject *item, struct seen *seen)
{
    if (COIR__LIKELY(PyTuple_CheckExact(item) && PyTuple_GET_SIZE(item) == 2))
        return encode_pair(PyTuple_GET_ITEM(item, 0),
                           PyTuple_GET_ITEM(item, 1), seen);
    PyObject *seq = PySequence_Tuple(item), *pair = NULL;
    if (seq == NULL)
        return NULL;
    if (PyTuple_GET_SIZE(seq) == 2)
        pair = encode_pair(PyTuple_GET_ITEM(seq, 0), PyTuple_GET_ITEM(seq, 1),
                           seen);
    else
        PyErr_Format(PyExc_ValueError,
                     "a header is a name and a value, not %R", item);
    Py_DECREF(seq);
    return pair;
}

/* What is in `seen` lives as long as the application's list, which is held
 * here: `seq`. */
static PyObject *
encode_headers(PyObject *Py_UNUSED(module), PyObject *headers)
{
    struct seen seen = {NULL, NULL, NULL};
    PyObject *seq = PySequence_Tuple(headers);
    if (seq == NULL)
        return NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(seq);
    PyObject *list = PyList_New(n), *res = NULL;
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        PyObject *pair = encode_item(PyTuple_GET_ITEM(seq, i), &seen);
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, pair);
    }
    if (list != NULL)
        res =
            PyTuple_Pack(4, list, seen.length != NULL ? seen.length : Py_None,
                         seen.date != NULL ? seen.date : Py_None,
                         seen.connection != NULL ? seen.connection : Py_None);
    Py_XDECREF(list);
    Py_DECREF(seq);
    return res;
}

/* --- heads --------------------------------------------------------------- */

/* The length of a part, bytes; -1 with TypeError. */
static Py_ssize_t
part_length(PyObject *part)
{
    if (PyBytes_Check(part))
        return PyBytes_GET_SIZE(part);
    PyErr_Format(PyExc_TypeError, "a head is made of bytes, not %.100s",
                 Py_TYPE(part)->tp_name);
    return -1;
}

static char *
put(char *to, const void *from, Py_ssize_t len)
{
    memcpy(to, from, (size_t)len);
    return to + len;
}

/* "HTTP/1.1 " status CR LF, fields, CR LF. -1 with an exception. */
static Py_ssize_t
head_length(PyObject *status, PyObject *headers)
{
    Py_ssize_t sum = part_length(status);
    if (sum < 0)
        return -1;
    sum += 9 + 2 + 2;
    if (!PyList_Check(headers)) {
        PyErr_SetString(PyExc_TypeError, "headers must be a list");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        PyObject *pair = PyList_GET_ITEM(headers, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "a header must be a pair");
            return -1;
        }
        Py_ssize_t a = part_length(PyTuple_GET_ITEM(pair, 0));
        Py_ssize_t b = a < 0 ? -1 : part_length(PyTuple_GET_ITEM(pair, 1));
        if (b < 0)
            return -1;
        sum += a + b + 4;
    }
    return sum;
}

static char *
put_bytes(char *to, PyObject *bytes)
{
    return put(to, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
}

static char *
put_head(char *to, PyObject *status, PyObject *headers)
{
    to = put(to, "HTTP/1.1 ", 9);
    to = put_bytes(to, status);
    to = put(to, "\r\n", 2);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        PyObject *pair = PyList_GET_ITEM(headers, i);
        to = put_bytes(to, PyTuple_GET_ITEM(pair, 0));
        to = put(to, ": ", 2);
        to = put_bytes(to, PyTuple_GET_ITEM(pair, 1));
        to = put(to, "\r\n", 2);
    }
    return put(to, "\r\n", 2);
}

/* Head, and data, as one chunk if `is_chunk`. */
static PyObject *
join(PyObject *status, PyObject *headers, const Py_buffer *data, int is_chunk)
{
    char line[COIR_HTTP_CHUNK_SIZE];
    Py_ssize_t head = status != NULL ? head_length(status, headers) : 0;
    if (head < 0)
        return NULL;
    Py_ssize_t size = 0;
    is_chunk = is_chunk && data->len > 0;
    if (is_chunk)
        size = (Py_ssize_t)coir_http_chunk_head((uint64_t)data->len, line);
    PyObject *res = PyBytes_FromStringAndSize(NULL, head + size + data->len +
                                                        (is_chunk ? 2 : 0));
    if (res == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(res);
    if (status != NULL)
        to = put_head(to, status, headers);
    to = put(to, line, size);
    to = put(to, data->buf, data->len);
    if (is_chunk)
        put(to, "\r\n", 2);
    return res;
}

static PyObject *
response_head(PyObject *Py_UNUSED(module), PyObject *const *args,
              Py_ssize_t nargs)
{
    if (coir__check_count("http_response", nargs, 3, 4) < 0)
        return NULL;
    int is_chunk = nargs > 3 ? PyObject_IsTrue(args[3]) : 0;
    Py_buffer data;
    if (is_chunk < 0 || PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *res = join(args[0], args[1], &data, is_chunk);
    PyBuffer_Release(&data);
    return res;
}

static PyObject *
chunk(PyObject *Py_UNUSED(module), PyObject *arg)
{
    Py_buffer data;
    if (PyObject_GetBuffer(arg, &data, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *res = join(NULL, NULL, &data, 1);
    PyBuffer_Release(&data);
    return res;
}

/* --- the date ------------------------------------------------------------ */

/* That of this second: it is asked for in every answer. */
static struct {
    PyObject *text; /* strong */
    int64_t seconds;
} today;

static PyObject *
date_of(int64_t seconds)
{
    char text[COIR_HTTP_DATE_SIZE];
    coir_http_date(seconds, text);
    return PyBytes_FromString(text);
}

static PyObject *
date(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (coir__check_count("http_date", nargs, 0, 1) < 0)
        return NULL;
    if (nargs > 0) {
        double seconds = PyFloat_AsDouble(args[0]);
        if (seconds == -1 && PyErr_Occurred())
            return NULL;
        if (!(seconds > -1e12 && seconds < 1e12)) {
            PyErr_SetString(PyExc_ValueError, "no such date");
            return NULL;
        }
        return date_of((int64_t)seconds);
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (today.text == NULL || today.seconds != now.tv_sec) {
        PyObject *text = date_of(now.tv_sec);
        if (text == NULL)
            return NULL;
        Py_XSETREF(today.text, text);
        today.seconds = now.tv_sec;
    }
    return Py_NewRef(today.text);
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))

PyMethodDef coir__httphead_methods[] = {
    {"http_encode_headers", encode_headers, METH_O,
     "http_encode_headers($module, headers, /)\n--\n\n"
     "Check and encode the headers of a WSGI application: pairs of bytes;\n"
     "and the values, or None, of Content-Length, Date and Connection.\n"
     "UnicodeError: not str, or not of latin-1; ValueError: not allowed."},
    {"http_response", FAST(response_head), METH_FASTCALL,
     "http_response($module, status, headers, data, chunked=False, /)\n--\n\n"
     "A response up to its data, these included, as a chunk if chunked.\n"
     "All is bytes, headers a list of pairs, status with its reason."},
    {"http_chunk", chunk, METH_O,
     "http_chunk($module, data, /)\n--\n\nThe data as one chunk."},
    {"http_sendall", FAST(coir__http_sendall), METH_FASTCALL,
     "http_sendall($module, socket, data, timeout, rate, /)\n--\n\n"
     "socket.sendall(data), in `timeout` seconds and one more for `rate`\n"
     "bytes; None or 0: for as long as it takes. A client that needs longer\n"
     "has gone: BrokenPipeError."},
    {"http_date", FAST(date), METH_FASTCALL,
     "http_date([seconds]) -> bytes\n\n"
     "A date as HTTP writes it: of now, or of seconds since 1970."},
    {NULL, NULL, 0, NULL},
};
