/* environ.h - what a request's head tells, as a WSGI environ has it. */
#ifndef COIR_ENVIRON_H
#define COIR_ENVIRON_H

#include "state.h"

#include <coir/http.h>

/* Put into `env`, a dict, what the head of a request tells (PEP 3333):
 * REQUEST_METHOD, PATH_INFO (decoded, as latin-1), QUERY_STRING,
 * SERVER_PROTOCOL, CONTENT_TYPE, CONTENT_LENGTH, and HTTP_* of all other
 * fields. Of fields with the same name the values are joined by commas,
 * cookies by "; "; of several Content-Type the first counts. Fields whose name
 * has an underscore are left out: they would look like others; so is Proxy,
 * for HTTP_PROXY means something else to many programs. HTTP_HOST of an
 * absolute target is what that names. SCRIPT_NAME is not touched.
 * 0, or -1 with an exception. */
COIR__HIDDEN int coir__environ_fill(PyObject *env, const char *buf,
                                    const coir_http_head *head);

/* The method as a string: a new reference, or NULL with an exception. */
COIR__HIDDEN PyObject *coir__environ_method(const char *buf,
                                            const coir_http_head *head);
/* "HTTP/1.1" or "HTTP/1.0"; the same. */
COIR__HIDDEN PyObject *coir__environ_version(const coir_http_head *head);

/* A span as a string of latin-1; the same. */
static inline PyObject *
coir__environ_text(const char *buf, coir_http_span span)
{
    return PyUnicode_DecodeLatin1(buf + span.at, (Py_ssize_t)span.len, NULL);
}

#endif
