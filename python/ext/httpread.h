/* httpread.h - requests and bodies, read from any kind of connection. */
#ifndef COIR_HTTPREAD_H
#define COIR_HTTPREAD_H

#include "environ.h"
#include "hub.h"

/* --- reading ------------------------------------------------------------- */

enum coir_http_source {
    COIR_SOURCE_GREEN,  /* a Socket of coir._core, the recv() of which is ours
                         */
    COIR_SOURCE_SOCKET, /* something with recv() */
    COIR_SOURCE_FILE    /* something with read() and readline() */
};

/* Bytes that came in and were not used yet are buf[start .. end - 1]. */
typedef struct {
    PyObject_HEAD PyObject *source; /* strong; NULL once closed */
    PyObject *weakreflist;
    char *buf; /* owned; NULL: none */
    size_t start, end, size;
    int64_t idle_ns, head_ns, body_ns; /* COIR_FOREVER: no limit */
    uint32_t body_rate;  /* bytes that allow a second more; 0: no limit */
    Py_ssize_t requests; /* that were read */
    coir_http_options options;
    uint8_t kind; /* enum coir_http_source */
    uint8_t at_end;
    uint8_t turns; /* requests in a row that were there already */
} HTTPReaderObject;

extern PyTypeObject coir__httpreader_type COIR__HIDDEN;
extern PyTypeObject coir__httprequest_type COIR__HIDDEN;
extern PyTypeObject coir__httpinput_type COIR__HIDDEN;

/* Strong: HTTPError, a ValueError, for heads, and HTTPInputError, an OSError,
 * for bodies. Both have the attributes status, reason and code. */
extern PyObject *coir__http_error COIR__HIDDEN;
extern PyObject *coir__http_input_error COIR__HIDDEN;

/* Raise one of them for an enum coir_http_error. */
COIR__HIDDEN void coir__http_raise(PyObject *type, int error);

/* A new one; NULL with an exception: TypeError if `source` is none. */
COIR__HIDDEN HTTPReaderObject *coir__httpreader_new(PyObject *source);

/* Read what there is into the buffer, after waiting for it: from a file a
 * line if `line`, else `want` bytes, and at most that from a file in any case.
 * Returns how many; 0 at the end; -1 with an exception. Others may have run
 * meanwhile, and the buffer may have moved. */
COIR__HIDDEN Py_ssize_t coir__httpreader_fill(HTTPReaderObject *r, size_t want,
                                              int line, int64_t limit_ns);
/* The same past the buffer, which is empty, into memory of the caller's. */
COIR__HIDDEN Py_ssize_t coir__httpreader_direct(HTTPReaderObject *r, char *to,
                                                size_t want, int64_t limit_ns);
/* Have a socket wait no longer than that. *before is its own timeout, a new
 * reference; NULL: it is left alone. 0 or -1. */
COIR__HIDDEN int coir__limit_socket(PyObject *socket, int64_t limit_ns,
                                    PyObject **before);
/* Steals `before`. With the exception that is pending, if there is one. */
COIR__HIDDEN void coir__unlimit_socket(PyObject *socket, PyObject *before);
/* http_sendall(). */
COIR__HIDDEN PyObject *
coir__http_sendall(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* n bytes of the buffer were used. */
COIR__HIDDEN void coir__httpreader_use(HTTPReaderObject *r, size_t n);

/* In httpinput.c: the argument of read() and the like that may be missing,
 * None or negative: no limit, PY_SSIZE_T_MAX. -1 with an exception. */
COIR__HIDDEN Py_ssize_t coir__http_size_arg(const char *name,
                                            PyObject *const *args,
                                            Py_ssize_t nargs);
/* readlines() of what gives its lines, bytes, by `next`. */
COIR__HIDDEN PyObject *coir__http_readlines(PyObject *op,
                                            PyObject *const *args,
                                            Py_ssize_t nargs,
                                            iternextfunc next);

static inline size_t
coir__httpreader_has(const HTTPReaderObject *r)
{
    return r->end - r->start;
}

/* --- requests ------------------------------------------------------------ */

/* A head that was read; never changes. */
typedef struct {
    PyObject_VAR_HEAD coir_http_head head; /* its fields are in `memory` */
    char *buf;                             /* the same */
    size_t len;
    _Alignas(coir_http_field) char memory[];
} HTTPRequestObject;

/* A copy of a head that was parsed in buf[0 .. len - 1]. */
COIR__HIDDEN PyObject *coir__httprequest_new(const char *buf, size_t len,
                                             const coir_http_head *head);

/* The body of a request: an Input. `socket` is to be told 100 (Continue); it
 * may be None, or NULL. */
COIR__HIDDEN PyObject *coir__httpinput_new(PyObject *rfile,
                                           const coir_http_head *head,
                                           PyObject *socket);
COIR__HIDDEN int coir__httpinput_init(void);

COIR__HIDDEN extern PyMethodDef coir__httphead_methods[];
COIR__HIDDEN int coir__http_types_init(PyObject *module);

#endif
