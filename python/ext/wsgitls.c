/* wsgitls.c - TLS by the interpreter's own ssl module, as a transport of
 * libcoir's server.
 *
 * A connection has an ssl.SSLObject between two ssl.MemoryBIO; what is read
 * from the descriptor goes into one, what is to be written comes out of the
 * other. The extension links no OpenSSL, and everything an SSLContext can do
 * works: SNI, ALPN, client certificates. Its methods are called on the C
 * object below SSLObject, so no frame of Python's is on the way, but of
 * callbacks that the context has. It is driven by the loop as plain
 * connections are: one that shakes hands has no greenlet.
 *
 * Writing encrypts a piece and sends it. If the descriptor takes less, the
 * rest is kept, and the call says that it wants to write; called again with
 * the same bytes it sends the rest and then owns up to what it has encrypted
 * (`owed`).
 *
 * Errors of OpenSSL end the connection. Nothing of Python's is pending when
 * these functions are called, nor when they return. */
#include "wsgi.h"
#include "socket.h"

#include <sys/uio.h>
#include <unistd.h>

#define PIECE 65536 /* encrypted at a time */
#define RECORD 16384

struct tls {
    int fd;
    PyObject *object; /* strong: ssl.SSLObject */
    PyObject *ssl;    /* strong: the _ssl._SSLSocket in it */
    PyObject *in;     /* strong: ssl.MemoryBIO */
    PyObject *out;
    PyObject *rest; /* strong: bytes to be sent; or NULL */
    Py_ssize_t rest_at;
    size_t owed;
    int is_at_end;
};

/* Of the ssl module; strong. */
static PyObject *memory_bio, *want_read, *zero_return, *eof_error;
static PyObject *str_read, *str_write, *str_wrap_bio, *str_sslobj,
    *str_handshake, *str_pending, *str_shutdown, *str_write_eof;

int
coir__ssl_load(void)
{
    if (str_write_eof != NULL)
        return 0;
    PyObject *module = PyImport_ImportModule("ssl");
    if (module == NULL)
        return -1;
    memory_bio = PyObject_GetAttrString(module, "MemoryBIO");
    want_read = PyObject_GetAttrString(module, "SSLWantReadError");
    zero_return = PyObject_GetAttrString(module, "SSLZeroReturnError");
    eof_error = PyObject_GetAttrString(module, "SSLEOFError");
    Py_DECREF(module);
    if (memory_bio == NULL || want_read == NULL || zero_return == NULL ||
        eof_error == NULL)
        return -1;
    str_read = PyUnicode_InternFromString("read");
    str_write = PyUnicode_InternFromString("write");
    str_wrap_bio = PyUnicode_InternFromString("wrap_bio");
    str_sslobj = PyUnicode_InternFromString("_sslobj");
    str_handshake = PyUnicode_InternFromString("do_handshake");
    str_pending = PyUnicode_InternFromString("pending");
    str_shutdown = PyUnicode_InternFromString("shutdown");
    if (str_read == NULL || str_write == NULL || str_wrap_bio == NULL ||
        str_sslobj == NULL || str_handshake == NULL || str_pending == NULL ||
        str_shutdown == NULL)
        return -1;
    str_write_eof = PyUnicode_InternFromString("write_eof");
    return str_write_eof != NULL ? 0 : -1;
}

PyObject *
coir__ssl_object(void *state)
{
    return ((struct tls *)state)->object;
}

/* --- the descriptor ------------------------------------------------------ */

/* Send what is encrypted. 0, COIR_HTTP_WANT_WRITE, or an error. */
static int
flush(struct tls *t)
{
    for (;;) {
        if (t->rest == NULL) {
            PyObject *data = PyObject_CallMethodNoArgs(t->out, str_read);
            if (data == NULL) {
                PyErr_Clear();
                return COIR_ENOMEM;
            }
            if (PyBytes_GET_SIZE(data) == 0) {
                Py_DECREF(data);
                return 0;
            }
            t->rest = data;
            t->rest_at = 0;
        }
        ssize_t n = send(t->fd, PyBytes_AS_STRING(t->rest) + t->rest_at,
                         (size_t)(PyBytes_GET_SIZE(t->rest) - t->rest_at),
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? COIR_HTTP_WANT_WRITE : COIR_ERRNO(errno);
        t->rest_at += n;
        if (t->rest_at == PyBytes_GET_SIZE(t->rest))
            Py_CLEAR(t->rest);
    }
}

/* Feed what has come. 0, COIR_HTTP_WANT_READ, or an error. */
static int
feed(struct tls *t)
{
    char buf[RECORD + 512];
    ssize_t n;
    do {
        n = recv(t->fd, buf, sizeof buf, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? COIR_HTTP_WANT_READ : COIR_ERRNO(errno);
    PyObject *res;
    if (n == 0) {
        if (t->is_at_end)
            return COIR_EEOF;
        t->is_at_end = 1;
        res = PyObject_CallMethodNoArgs(t->in, str_write_eof);
    }
    else {
        PyObject *data = PyBytes_FromStringAndSize(buf, n);
        res = data != NULL ? PyObject_CallMethodOneArg(t->in, str_write, data)
                           : NULL;
        Py_XDECREF(data);
    }
    if (res == NULL) {
        PyErr_Clear();
        return COIR_ENOMEM;
    }
    Py_DECREF(res);
    return 0;
}

/* A call of OpenSSL's has failed. 0: try again, what it lacked is there; a
 * want, or an error. */
static int
after_error(struct tls *t)
{
    int wants = PyErr_ExceptionMatches(want_read);
    PyErr_Clear();
    int err = flush(t);
    if (!wants)
        return COIR_ETLS;
    return err != 0 ? err : feed(t);
}

/* --- the transport ------------------------------------------------------- */

static int
fail(void)
{
    int memory = PyErr_ExceptionMatches(PyExc_MemoryError);
    PyErr_Clear();
    return memory ? COIR_ENOMEM : COIR_ETLS;
}

static void
tls_close(void *state)
{
    struct tls *t = state;
    PyObject *exc = coir__error_take();
    Py_XDECREF(t->ssl);
    Py_XDECREF(t->object);
    Py_XDECREF(t->in);
    Py_XDECREF(t->out);
    Py_XDECREF(t->rest);
    PyMem_Free(t);
    coir__error_give(exc);
}

static int
tls_open(void *context, int fd, void **state)
{
    struct tls *t = PyMem_Calloc(1, sizeof *t);
    if (t == NULL)
        return COIR_ENOMEM;
    t->fd = fd;
    t->in = PyObject_CallNoArgs(memory_bio);
    t->out = t->in != NULL ? PyObject_CallNoArgs(memory_bio) : NULL;
    if (t->out != NULL) {
        PyObject *args[4] = {context, t->in, t->out, Py_True};
        t->object = PyObject_VectorcallMethod(
            str_wrap_bio, args, 4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    if (t->object != NULL)
        t->ssl = PyObject_GetAttr(t->object, str_sslobj);
    if (t->ssl == NULL) {
        int err = fail();
        tls_close(t);
        return err;
    }
    *state = t;
    return 0;
}

static int
tls_handshake(void *state)
{
    struct tls *t = state;
    for (;;) {
        PyObject *res = PyObject_CallMethodNoArgs(t->ssl, str_handshake);
        if (res != NULL) {
            Py_DECREF(res);
            return flush(t);
        }
        int err = after_error(t);
        if (err < 0)
            return err;
    }
}

static ssize_t
tls_read(void *state, void *buf, size_t len)
{
    struct tls *t = state;
    if (len > INT32_MAX)
        len = INT32_MAX;
    PyObject *size = PyLong_FromSize_t(len);
    PyObject *view =
        PyMemoryView_FromMemory(buf, (Py_ssize_t)len, PyBUF_WRITE);
    ssize_t n = COIR_ENOMEM;
    while (size != NULL && view != NULL) {
        PyObject *args[3] = {t->ssl, size, view};
        PyObject *res = PyObject_VectorcallMethod(
            str_read, args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        if (res != NULL) {
            n = PyLong_AsSsize_t(res);
            Py_DECREF(res);
            break;
        }
        if (PyErr_ExceptionMatches(zero_return) ||
            PyErr_ExceptionMatches(eof_error)) {
            /* An end without a goodbye is one, too: that a body is cut off
             * shows by its length. */
            PyErr_Clear();
            n = 0;
            break;
        }
        n = after_error(t);
        if (n < 0)
            break;
    }
    Py_XDECREF(size);
    Py_XDECREF(view);
    PyErr_Clear();
    return n;
}

/* Encrypt some bytes: how many, or an error. */
static ssize_t
encrypt(struct tls *t, const char *buf, size_t len)
{
    PyObject *view =
        PyMemoryView_FromMemory((char *)buf, (Py_ssize_t)len, PyBUF_READ);
    PyObject *res = view != NULL
                        ? PyObject_CallMethodOneArg(t->ssl, str_write, view)
                        : NULL;
    Py_XDECREF(view);
    if (res == NULL)
        return fail();
    Py_ssize_t n = PyLong_AsSsize_t(res);
    Py_DECREF(res);
    return n;
}

/* As much as a piece of what is to be written: how much, or an error. Short
 * buffers are put together, for a record has a price of its own. */
static ssize_t
encrypt_some(struct tls *t, const struct iovec *iov, int count)
{
    char joined[RECORD];
    size_t done = 0, len = 0;
    int i = 0;
    while (i < count && len + iov[i].iov_len <= sizeof joined) {
        if (iov[i].iov_len > 0)
            memcpy(joined + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i++].iov_len;
    }
    if (len > 0) {
        ssize_t n = encrypt(t, joined, len);
        if (n < 0 || (size_t)n < len)
            return n;
        done = len;
    }
    for (; i < count && done < PIECE; i++) {
        const char *buf = iov[i].iov_base;
        size_t left = iov[i].iov_len;
        if (left > PIECE - done)
            left = PIECE - done;
        ssize_t n = left > 0 ? encrypt(t, buf, left) : 0;
        if (n < 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
        if ((size_t)n < iov[i].iov_len)
            break;
    }
    return (ssize_t)done;
}

static ssize_t
tls_writev(void *state, const struct iovec *iov, int count)
{
    struct tls *t = state;
    if (t->owed == 0) {
        ssize_t n = encrypt_some(t, iov, count);
        if (n <= 0)
            return n;
        t->owed = (size_t)n;
    }
    int err = flush(t);
    if (err < 0)
        return err;
    ssize_t done = (ssize_t)t->owed;
    t->owed = 0;
    return done;
}

static int
tls_pending(void *state)
{
    const struct tls *t = state;
    PyObject *res = PyObject_CallMethodNoArgs(t->ssl, str_pending);
    long n = res != NULL ? PyLong_AsLong(res) : 0;
    Py_XDECREF(res);
    if (n == 0) {
        res = PyObject_GetAttr(t->in, str_pending);
        n = res != NULL ? PyLong_AsLong(res) : 0;
        Py_XDECREF(res);
    }
    PyErr_Clear();
    return n > 0;
}

static int
tls_shutdown(void *state)
{
    struct tls *t = state;
    if (t->rest == NULL) {
        PyObject *res = PyObject_CallMethodNoArgs(t->ssl, str_shutdown);
        Py_XDECREF(res);
        PyErr_Clear(); /* it lacks the client's answer, as a rule */
    }
    return flush(t);
}

const coir_http_transport coir__ssl_transport = {
    .scheme = "https",
    .open = tls_open,
    .handshake = tls_handshake,
    .read = tls_read,
    .writev = tls_writev,
    .pending = tls_pending,
    .shutdown = tls_shutdown,
    .close = tls_close,
};
