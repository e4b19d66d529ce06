/* wsgi.h - what the files of the WSGI server share: the server, its requests,
 * and what an application is given of them. See wsgiserver.c. */
#ifndef COIR_WSGI_H
#define COIR_WSGI_H

#include "hub.h"

#include <coir/http_server.h>

/* --- names --------------------------------------------------------------- */

/* Keys of environ that are the same in every request, then those that are
 * not, then those that not each one has. */
#define COIR_WSGI_KEYS(X)                                                     \
    X(GATEWAY_INTERFACE, "GATEWAY_INTERFACE")                                 \
    X(SERVER_SOFTWARE, "SERVER_SOFTWARE")                                     \
    X(SERVER_NAME, "SERVER_NAME")                                             \
    X(SERVER_PORT, "SERVER_PORT")                                             \
    X(SCRIPT_NAME, "SCRIPT_NAME")                                             \
    X(WSGI_VERSION, "wsgi.version")                                           \
    X(WSGI_URL_SCHEME, "wsgi.url_scheme")                                     \
    X(WSGI_ERRORS, "wsgi.errors")                                             \
    X(WSGI_MULTITHREAD, "wsgi.multithread")                                   \
    X(WSGI_MULTIPROCESS, "wsgi.multiprocess")                                 \
    X(WSGI_RUN_ONCE, "wsgi.run_once")                                         \
    X(WSGI_FILE_WRAPPER, "wsgi.file_wrapper")                                 \
    X(WSGI_INPUT_TERMINATED, "wsgi.input_terminated")                         \
    X(REQUEST_METHOD, "REQUEST_METHOD")                                       \
    X(PATH_INFO, "PATH_INFO")                                                 \
    X(QUERY_STRING, "QUERY_STRING")                                           \
    X(REQUEST_URI, "REQUEST_URI")                                             \
    X(RAW_URI, "RAW_URI")                                                     \
    X(SERVER_PROTOCOL, "SERVER_PROTOCOL")                                     \
    X(REMOTE_ADDR, "REMOTE_ADDR")                                             \
    X(REMOTE_PORT, "REMOTE_PORT")                                             \
    X(WSGI_INPUT, "wsgi.input")                                               \
    X(HTTP_HOST, "HTTP_HOST")                                                 \
    X(CONTENT_TYPE, "CONTENT_TYPE")                                           \
    X(CONTENT_LENGTH, "CONTENT_LENGTH")                                       \
    X(HTTPS, "HTTPS")                                                         \
    X(COIR_SSL_OBJECT, "coir.ssl_object")                                     \
    X(COIR_UPGRADE, "coir.upgrade")

enum coir_wsgi_key {
#define COIR__KEY(name, text) KEY_##name,
    COIR_WSGI_KEYS(COIR__KEY)
#undef COIR__KEY
        COIR_WSGI_KEY_COUNT
};

/* Made once; all strong. */
struct coir__wsgi {
    PyObject *keys[COIR_WSGI_KEY_COUNT];
    PyObject *str_close;
    PyObject *str_read;
    /* Exceptions. */
    PyObject *request_error, *disconnected, *too_slow, *malformed, *too_large,
        *out_of_time;
};

extern struct coir__wsgi coir__wsgi COIR__HIDDEN;

/* --- servers: wsgiserver.c ----------------------------------------------- */

typedef struct coir_wsgi_server ServerObject;
typedef struct coir_wsgi_request RequestObject;

struct coir_wsgi_server {
    PyObject_HEAD coir_http_server *http; /* NULL once stopped */
    LoopObject *loop;                     /* strong */
    HubObject *hub;                       /* strong */
    PyObject *app;                        /* strong */
    PyObject *on_error;                   /* strong, or NULL: (environ, exc) */
    PyObject *on_log;                     /* strong, or NULL: (line) */
    PyObject *on_done;     /* strong, or NULL: see tell() in wsgi.c */
    PyObject *environs;    /* strong: a list of dicts, one a listener */
    PyObject *contexts;    /* strong: a list, what transports are made of */
    PyObject *script_name; /* strong, or NULL */
    PyObject *peer;        /* strong: the last REMOTE_ADDR, or NULL */
    uint32_t peer_v4;      /* whose that is, if it is one of IPv4; or 0 */
    PyObject *weakreflist;
    coir_list waiters; /* of coir_wait: who joins */
    coir_cleanup cleanup;
    int is_running; /* has a reference to itself */
};

extern PyTypeObject coir__server_type COIR__HIDDEN;

/* --- requests: wsgi.c ---------------------------------------------------- */

/* One request: the application's start_response, and what is known of it. */
struct coir_wsgi_request {
    PyObject_HEAD vectorcallfunc call;
    coir_ready ready;      /* to begin, or to be cancelled */
    coir_http_exchange *x; /* NULL once it is over */
    ServerObject *server;  /* strong */
    GreenletObject *green; /* strong, until it is over */
    PyObject *environ;     /* the same */
    PyObject *status;      /* the same: of start_response; or NULL */
    PyObject *headers;     /* the same; or NULL */
    PyObject *error[2];    /* strong: what ended the wait of a slot */
    int result[2];         /* what wake() said; by slot */
    int cancelled;         /* COIR_E*: why, or 0 */
    int code;              /* of the status */
    unsigned calls;        /* that are in `x` */
    int64_t length;        /* Content-Length of the response; -1: none */
    uint64_t sent;         /* bytes of the body */
    uint8_t has_started;   /* start_response() was called */
    uint8_t is_upgraded;
    uint8_t is_queued;   /* `ready` is */
    uint8_t is_told;     /* that it was cancelled, by the end of a wait */
    uint8_t waits_calls; /* its greenlet waits for the end of others' calls */
};

extern PyTypeObject coir__request_type COIR__HIDDEN;

/* host->start(), run() and cancel(). */
COIR__HIDDEN int coir__request_start(ServerObject *s, coir_http_exchange *x);
COIR__HIDDEN void coir__request_run(ServerObject *s, coir_http_exchange *x);
COIR__HIDDEN void coir__request_cancel(coir_http_exchange *x, int reason);

/* Around a call of coir/http_server.h that may wait: a request isn't over
 * before all of them have returned. 0, or -1 with an exception: it is over,
 * or this is another thread. */
COIR__HIDDEN int coir__request_enter(RequestObject *r);
COIR__HIDDEN void coir__request_leave(RequestObject *r);
/* That call failed with this error: raise what ended its wait, or what says
 * the same. Returns -1. */
COIR__HIDDEN int coir__request_raise(RequestObject *r, int slot, int error);

/* --- environ: wsgienv.c -------------------------------------------------- */

COIR__HIDDEN int coir__wsgienv_init(void);
/* A new reference, or NULL with an exception. */
COIR__HIDDEN PyObject *coir__environ_new(RequestObject *r);

/* --- wsgi.input: wsgiinput.c --------------------------------------------- */

extern PyTypeObject coir__input_type COIR__HIDDEN;
COIR__HIDDEN PyObject *coir__input_new(RequestObject *r);

/* --- responses: wsgiresponse.c ------------------------------------------- */

/* start_response(status, headers, exc_info=None). */
COIR__HIDDEN PyObject *coir__start_response(PyObject *op,
                                            PyObject *const *args,
                                            size_t nargsf, PyObject *kwnames);
/* Begin a response: 0, or -1 with an exception. */
COIR__HIDDEN int coir__response_begin(RequestObject *r, PyObject *status,
                                      PyObject *headers);
/* Send what the application returned. 0, or -1 with an exception. */
COIR__HIDDEN int coir__response_send(RequestObject *r, PyObject *result);

/* --- files: wsgifile.c --------------------------------------------------- */

extern PyTypeObject coir__file_wrapper_type COIR__HIDDEN;

/* Send a file by the kernel: 1; 0 if it is not one that can be; or -1 with an
 * exception. */
COIR__HIDDEN int coir__response_sendfile(RequestObject *r, PyObject *wrapper);

/* --- raw streams: wsgistream.c ------------------------------------------- */

extern PyTypeObject coir__http_stream_type COIR__HIDDEN;
extern PyMethodDef coir__upgrade_def COIR__HIDDEN;

/* --- TLS: wsgitls.c ------------------------------------------------------ */

extern const coir_http_transport coir__ssl_transport COIR__HIDDEN;
/* 0, or -1 with an exception. Looked up when first needed. */
COIR__HIDDEN int coir__ssl_load(void);
/* The ssl.SSLObject of a connection: borrowed. */
COIR__HIDDEN PyObject *coir__ssl_object(void *state);

#endif
