/* coir/http_server.h - HTTP/1.1 server.
 *
 *     static int
 *     hello(coir_http_exchange *x, void *arg)
 *     {
 *         coir_http_begin(x, 200, NULL);
 *         coir_http_add_field(x, "Content-Type", "text/plain");
 *         return coir_http_send(x, "Hello\n", 6);
 *     }
 *
 *     coir_http_server *server;
 *     coir_http_server_new(&server, hello, NULL, NULL);
 *     coir_http_server_bind(server, "127.0.0.1", "8080", 0, NULL, NULL);
 *     coir_http_server_start(server);
 *     coir_http_server_join(server, COIR_FOREVER);
 *
 * A connection is a few hundred bytes that the loop's callbacks drive: while
 * it is silent, shakes hands, or has sent a part of a head, it holds no green
 * thread and no stack. When a head is complete it becomes an exchange, which a
 * green thread handles in straight-line code: it reads the body, begins a
 * response, sends it, and is done. What the client sends meanwhile waits in
 * the kernel, so that pipelined requests are answered in order, and one client
 * takes no more than its buffer.
 *
 * Owner:   the server owns its connections and exchanges. An exchange is the
 *          handler's from its call until it returns.
 * Threads: a server belongs to the thread of its loop. Several of them, in one
 *          or in several threads, know nothing of each other.
 * Sockets: are the system's: COIR_ENOSYS in simulations.
 * Forks:   in a child nothing may be done with a server, not even to free it.
 * Blocks:  what says so waits, the green thread only. How long is limited by
 *          what the options allow a client: see there.
 * Errors:  0 or a negative COIR_E* error. Reading and writing fail with
 *          COIR_ETIMEDOUT (the client is too slow), COIR_ECANCELED (the
 *          handler was cancelled, also by the end of the server), COIR_EEOF
 *          (the client ended its side too early), COIR_ECLOSED (the server
 *          closed the connection), COIR_ERRNO(e). After such an error the
 *          handler is to clean up and return: nothing more can be said. */
#ifndef COIR_HTTP_SERVER_H
#define COIR_HTTP_SERVER_H

#include <coir/http.h>
#include <coir/loop.h>

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_http_server coir_http_server;
typedef struct coir_http_exchange coir_http_exchange;
typedef struct coir_http_transport coir_http_transport;
typedef struct coir_http_host coir_http_host;

/* --- options ------------------------------------------------------------- */

enum coir_http_log_format {
    COIR_HTTP_LOG_NONE,     /* no log */
    COIR_HTTP_LOG_COMMON,   /* Apache's Common Log Format */
    COIR_HTTP_LOG_COMBINED, /* and Referer, User-Agent */
    COIR_HTTP_LOG_JSON      /* an object a line */
};

enum coir_http_server_flags {
    COIR_HTTP_NO_KEEP_ALIVE = 1, /* one request a connection */
    COIR_HTTP_NO_DATE = 2        /* no Date field by itself */
};

/* 0 in any of them: the default. For a time that is to have no limit
 * COIR_FOREVER; for a number, its greatest value. */
typedef struct coir_http_server_options {
    int64_t handshake_timeout_ns; /* TLS: 10 s */
    int64_t head_timeout_ns;      /* from a connection, or the first byte of a
                                     request, to its complete head: 20 s */
    int64_t idle_timeout_ns;      /* between two requests: 75 s */
    int64_t request_timeout_ns;   /* from a complete head to the end of the
                                     response; then the handler is cancelled,
                                     and the answer is 503. Not of one that was
                                     upgraded. No limit */
    int64_t linger_timeout_ns;    /* after the last response, for what the
                                     client still sends: 5 s */
    /* How long reading a body, or writing, may wait for the client, all its
     * waits taken together: this, and for each `min_rate` bytes that moved a
     * second more. */
    int64_t rate_grace_ns;    /* 20 s */
    uint32_t min_rate;        /* bytes a second: 240 */
    uint32_t max_connections; /* half of what RLIMIT_NOFILE allows, and not
                                 more than 100,000 */
    uint32_t max_active;      /* exchanges at a time, more wait: no limit */
    uint32_t max_requests;    /* of a connection: no limit */
    uint64_t max_drain;       /* of a body that the handler left unread are
                                 read by the server, else the connection is
                                 closed: 64 KiB */
    const coir_http_options *parser; /* limits of heads and bodies; copied */
    const char *server_name;         /* value of the field Server; copied.
                                        NULL: no such field */
    int log_format;                  /* enum coir_http_log_format */
    int log_fd;     /* where lines go, 0: to the host. A write that would block
                       loses them, and counts that. Not closed */
    unsigned flags; /* enum coir_http_server_flags */
} coir_http_server_options;

/* --- servers ------------------------------------------------------------- */

/* Called in a green thread. What it left unsaid is sent when it returns: if it
 * has begun no response the answer is 500, or what it failed with. A negative
 * result in the midst of a response closes the connection, so that the client
 * sees that it is not complete. */
typedef int coir_http_handler(coir_http_exchange *x, void *arg);

/* On this thread's hub. `options` NULL for the defaults. COIR_EINVAL;
 * COIR_ENOMEM. */
COIR_API int coir_http_server_new(coir_http_server **out,
                                  coir_http_handler *handler, void *arg,
                                  const coir_http_server_options *options);

/* On a loop, with other green threads: see "hosts". */
COIR_API int coir_http_server_new_on(coir_http_server **out, coir_loop *loop,
                                     const coir_http_host *host, void *ctx,
                                     const coir_http_server_options *options);

/* Add a listening stream socket, and own it from then on. `transport` NULL:
 * plain. COIR_EINVAL: it is none. COIR_ENOMEM. On failure it stays the
 * caller's. Listening may go on elsewhere, by duplicates of it. */
COIR_API int coir_http_server_listen(coir_http_server *s, int fd,
                                     const coir_http_transport *transport,
                                     void *transport_ctx);

enum coir_http_bind_flags {
    COIR_HTTP_REUSE_PORT = 1, /* share the port with other sockets that do */
    COIR_HTTP_ONLY_V6 = 2     /* "::" is not for IPv4 as well */
};

/* Make one. `host` is a numeric address, NULL for any, or "unix:" and a path,
 * where "unix:@" begins an abstract name; `service` is a number, "0" for any
 * port, or NULL. A Unix socket that nobody listens on any more is replaced.
 * Returns its number in the order of listeners, from 0; COIR_ERRNO(e). */
COIR_API int coir_http_server_bind(coir_http_server *s, const char *host,
                                   const char *service, unsigned flags,
                                   const coir_http_transport *transport,
                                   void *transport_ctx);

/* The descriptor of the listener of that number; -1 if there is none, or not
 * any more. */
COIR_API int coir_http_server_fd(const coir_http_server *s, unsigned number);

/* Accept connections. May be called again after coir_http_server_pause(). */
COIR_API int coir_http_server_start(coir_http_server *s);
/* Accept none for now; they wait in the kernel. */
COIR_API void coir_http_server_pause(coir_http_server *s);

/* Serve a connection that was accepted elsewhere; the descriptor, a stream
 * socket, is the server's from then on, also on failure. The server need not
 * be started. COIR_ENOMEM; COIR_EBUSY: there are as many as may be;
 * COIR_ECLOSED: the server stops. */
COIR_API int coir_http_server_adopt(coir_http_server *s, int fd,
                                    const coir_http_transport *transport,
                                    void *transport_ctx);

/* Stop, in these steps:
 * 1. At once: what waits to be accepted is, then the listeners are closed.
 *    Connections between two requests are closed; those that had one in the
 *    last half second, and new ones, so much later, as another one may be on
 *    its way. Who has begun one is served, and told by "Connection: close"
 *    that it was the last.
 * 2. After `grace_ns`: what has no handler is closed, and the handlers are
 *    cancelled.
 * 3. `cancel_ns` later: the connections of those that still run are closed.
 * The server is stopped when the last handler has returned. A second call
 * shortens the times of the first, and never makes them longer. */
COIR_API void coir_http_server_stop(coir_http_server *s, int64_t grace_ns,
                                    int64_t cancel_ns);

enum coir_http_server_state {
    COIR_HTTP_NEW,       /* not started yet, or paused */
    COIR_HTTP_RUNNING,   /* accepts */
    COIR_HTTP_STOPPING,  /* step 1 */
    COIR_HTTP_CANCELING, /* step 2 */
    COIR_HTTP_CLOSING,   /* step 3 */
    COIR_HTTP_STOPPED    /* no listener, no connection, no handler */
};

/* Where it stands. */
COIR_API int coir_http_server_state(const coir_http_server *s);

/* Wait until it is stopped, for those of coir_http_server_new(). 0, or the
 * error of a wait. Blocks. */
COIR_API int coir_http_server_join(coir_http_server *s, int64_t timeout_ns);

/* Free it; what is not stopped is, without grace. Handlers that still run keep
 * its memory until they have returned. NULL is ignored. */
COIR_API void coir_http_server_free(coir_http_server *s);

typedef struct coir_http_counters {
    /* At the moment. */
    uint64_t connections; /* all, in these states: */
    uint64_t shaking;     /* TLS handshake */
    uint64_t idle;        /* no byte of a request yet, or between two */
    uint64_t reading;     /* a part of a head, or of a body nobody wants */
    uint64_t queued;      /* a head, but `max_active` handlers run */
    uint64_t active;      /* with a handler */
    uint64_t lingering;   /* answered, until the client closes */
    uint64_t buffers;     /* bytes of the read and write buffers */
    /* Since the beginning. */
    uint64_t accepted;      /* connections, adopted ones too */
    uint64_t requests;      /* heads that were complete and right */
    uint64_t responses;     /* also to what was no request */
    uint64_t by_class[6];   /* of those, 1: 1xx that ended one, ... 5: 5xx */
    uint64_t upgraded;      /* that became raw streams */
    uint64_t aborted;       /* responses that were not sent to their end */
    uint64_t bytes_read;    /* without what TLS adds */
    uint64_t bytes_written; /* the same */
    uint64_t handshake_timeouts; /* closed after `handshake_timeout_ns` */
    uint64_t head_timeouts;      /* after `head_timeout_ns` */
    uint64_t idle_timeouts;      /* after `idle_timeout_ns` */
    uint64_t request_timeouts;   /* cancelled after `request_timeout_ns` */
    uint64_t read_timeouts;      /* given up: a body came too slowly, */
    uint64_t write_timeouts;     /* or was read too slowly */
    uint64_t handshake_errors;   /* of transports */
    uint64_t bad_requests;       /* refused by the parser */
    uint64_t refused;            /* 503: no memory, no green thread */
    uint64_t evicted;            /* idle ones closed for new ones */
    uint64_t accept_pauses;      /* no descriptors, or too many connections */
    uint64_t accept_errors; /* of accept(), but for those that need not be */
    uint64_t log_lost;      /* lines */
} coir_http_counters;

/* Copy them; the server goes on counting. */
COIR_API void coir_http_server_counters(const coir_http_server *s,
                                        coir_http_counters *out);

/* --- the request --------------------------------------------------------- */

/* What is public of an exchange. */
struct coir_http_exchange {
    coir_http_server *server;   /* [ro] */
    const coir_http_head *head; /* [ro] of the request; its spans are offsets
                                   into `base`, until the end of the exchange
                                 */
    const char *base;           /* [ro] */
    void *user;       /* [rw] the host's; NULL when host->start() is called */
    void *waiting[2]; /* [rw] the host's: who waits to read, and to write */
};

/* Bytes of the body: what Content-Length says; -1 if it is chunked; 0 if there
 * is none. */
COIR_API int64_t coir_http_body_length(const coir_http_exchange *x);

/* Read some of the body: how much, 0 at its end. "100 Continue" is sent first
 * if the client waits for that. Besides the errors above there are those of
 * the parser, enum coir_http_error: a chunked body that is wrong, or too long.
 * The connection is closed after these, and the answer, unless one was begun,
 * is theirs. Blocks. */
COIR_API ssize_t coir_http_read(coir_http_exchange *x, void *buf, size_t len);

/* Bytes of the body that reading returns without a wait; there may be more. */
COIR_API size_t coir_http_readable(coir_http_exchange *x);

/* Of the client, as text: an address without a port, "" of a Unix socket. And
 * its port, 0 of a Unix socket. */
COIR_API const char *coir_http_peer(coir_http_exchange *x, unsigned *port);
/* As getpeername(), without a system call, and as getsockname(), with one. */
COIR_API int coir_http_peer_addr(coir_http_exchange *x, struct sockaddr *addr,
                                 socklen_t *len);
COIR_API int coir_http_local_addr(coir_http_exchange *x, struct sockaddr *addr,
                                  socklen_t *len);

/* Which listener it came by, -1: it was adopted. */
COIR_API int coir_http_listener(const coir_http_exchange *x);
/* The descriptor of its connection; not to be read, written, or closed. */
COIR_API int coir_http_connection_fd(const coir_http_exchange *x);
/* What transport->open() made; NULL: plain. */
COIR_API void *coir_http_transport_state(const coir_http_exchange *x);
/* Which request of its connection it is, from 1. */
COIR_API uint32_t coir_http_request_number(const coir_http_exchange *x);
/* When its head was complete, on the loop's clock. */
COIR_API int64_t coir_http_started_ns(const coir_http_exchange *x);

/* A value of the host's for the connection; host->closed() is called with it
 * if it is not NULL. */
COIR_API void coir_http_set_connection_data(coir_http_exchange *x, void *data);
COIR_API void *coir_http_connection_data(const coir_http_exchange *x);

/* --- the response -------------------------------------------------------- */

/* A response is begun, gets its fields, then its body. Nothing is sent before
 * the first byte of the body, or the end. The server adds Date, Server,
 * Connection, and Content-Length or Transfer-Encoding, unless the handler has
 * given the former itself. The body of an answer to HEAD, and of statuses that
 * have none, is counted and not sent. */

/* `reason` NULL: the usual one. COIR_EINVAL: not 100 to 999, not a possible
 * reason, or a response was begun already; an interim one (1xx, but for 101)
 * is sent with coir_http_flush(), and another one may be begun. */
COIR_API int coir_http_begin(coir_http_exchange *x, int status,
                             const char *reason);
/* The same; the reason need not end with a NUL. */
COIR_API int coir_http_begin_n(coir_http_exchange *x, int status,
                               const char *reason, size_t reason_len);

/* One field. COIR_EINVAL: a name that is no token, a value with control
 * characters (CR, LF and NUL among them), a Content-Length that is no number
 * or differs from an earlier one, or a field that is the server's:
 * Transfer-Encoding; Connection, Upgrade (but with 101), Keep-Alive, TE,
 * Trailer, Proxy-Connection and other hop-by-hop ones. Connection: close is
 * heeded. COIR_EBUSY: the head was sent already. COIR_ENOMEM. */
COIR_API int coir_http_add_field(coir_http_exchange *x, const char *name,
                                 const char *value);
COIR_API int coir_http_add_field_n(coir_http_exchange *x, const char *name,
                                   size_t name_len, const char *value,
                                   size_t value_len);

/* As the field; for a body whose length is known. */
COIR_API int coir_http_set_length(coir_http_exchange *x, uint64_t length);

/* Forget what was begun, if its head was not sent yet (COIR_EBUSY). */
COIR_API int coir_http_restart(coir_http_exchange *x);

enum coir_http_response_state {
    COIR_HTTP_NOT_BEGUN, /* nothing */
    COIR_HTTP_BEGUN,     /* the head is not sent yet */
    COIR_HTTP_SENDING,   /* it is */
    COIR_HTTP_SENT       /* all of it */
};
/* Where the response stands. */
COIR_API int coir_http_response_state(const coir_http_exchange *x);

/* Write some of the body, with the head before it if that was not sent yet.
 * It has left when this returns; the buffers are the caller's again. Where the
 * length was not given the body is chunked, or, to HTTP/1.0, ends with the
 * connection. COIR_EINVAL: no response was begun, or this is more than the
 * length that was given: nothing of it was sent. Blocks. */
COIR_API int coir_http_write(coir_http_exchange *x, const void *buf,
                             size_t len);
COIR_API int coir_http_writev(coir_http_exchange *x, const struct iovec *iov,
                              int count);

/* The rest of the body, of which nothing follows. In one go with the head, and
 * with its length if none was given. Blocks. */
COIR_API int coir_http_send(coir_http_exchange *x, const void *buf,
                            size_t len);
COIR_API int coir_http_sendv(coir_http_exchange *x, const struct iovec *iov,
                             int count);

/* `count` bytes of a file as a part of the body. COIR_EEOF: the file is
 * shorter, the connection will be closed. Blocks. */
COIR_API int coir_http_sendfile(coir_http_exchange *x, int file_fd,
                                off_t offset, uint64_t count);

/* Send the head now, if it was not. Blocks. */
COIR_API int coir_http_flush(coir_http_exchange *x);

/* A whole small response that says no more than its status. What was begun and
 * not sent is forgotten; COIR_EBUSY if it was. Blocks. */
COIR_API int coir_http_send_error(coir_http_exchange *x, int status);

/* This is the last request of its connection. */
COIR_API void coir_http_close_after(coir_http_exchange *x);

/* Close the connection as soon as the handler returns, so that the client sees
 * that the response is not complete. */
COIR_API void coir_http_abort(coir_http_exchange *x);

/* --- raw streams --------------------------------------------------------- */

/* After coir_http_begin() with 101, or, to CONNECT, 2xx, and its fields: send
 * the head, and have the connection as a stream of bytes from then on, with
 * what the client sent already. It ends with the exchange. Timeouts are those
 * of the calls alone. COIR_EINVAL. Blocks. */
COIR_API int coir_http_upgrade(coir_http_exchange *x);

/* Read some, 0 at the end. One may read while another one writes; a second
 * one of a kind gets COIR_EBUSY. Blocks, for at most timeout_ns. */
COIR_API ssize_t coir_http_raw_read(coir_http_exchange *x, void *buf,
                                    size_t len, int64_t timeout_ns);
/* Write all, or fail: after COIR_ETIMEDOUT or COIR_ECANCELED the stream is
 * torn, and writing fails with COIR_ETORN. `iov` may be changed. */
COIR_API int coir_http_raw_writev(coir_http_exchange *x, struct iovec *iov,
                                  int count, int64_t timeout_ns);
/* No more will be written; reading may go on. */
COIR_API int coir_http_raw_shutdown(coir_http_exchange *x);
/* Have reading fail with COIR_ECANCELED as soon as the server begins to stop,
 * while writing goes on: for protocols that can say farewell. Who wants to
 * read on calls it with 0. COIR_EINVAL. */
COIR_API int coir_http_raw_heed_stop(coir_http_exchange *x, int heeds);

/* --- hosts --------------------------------------------------------------- */

/* Which wait: of who reads, of who writes. */
enum coir_http_slot { COIR_HTTP_READER, COIR_HTTP_WRITER };

/* The scheduler of a server: what runs exchanges in green threads. It calls
 *
 *     do {
 *         ... handle the request ...
 *     } while (coir_http_finish(x));
 *
 * in a green thread per call of start(), and lets others run in between. All
 * functions get the `ctx` of the server; `cancel`, `log`, `closed`, `stopped`
 * and `run` may be NULL. All but wait() and run() are called in the loop, or
 * in a green thread that is in a call of this header, and must not wait. */
struct coir_http_host {
    /* Have `x` handled soon, in a green thread; not now. Negative: it cannot
     * be, the answer is 503. */
    int (*start)(void *ctx, coir_http_exchange *x);

    /* In a green thread: wait for a call of wake() with this slot, for at most
     * `timeout_ns`. Returns what wake() was given; COIR_ETIMEDOUT; or another
     * error, COIR_ECANCELED say, which the call it waited in will return. */
    int (*wait)(void *ctx, coir_http_exchange *x, int slot,
                int64_t timeout_ns);

    /* End the wait of the slot. Not called for one in which nobody waits, nor
     * twice before the next wait(), unless that was ended by something else
     * meanwhile. */
    void (*wake)(void *ctx, coir_http_exchange *x, int slot, int result);

    /* End what the handler does: waits of this header are ended by wake(), so
     * this is for others, and for one that was not started yet. `reason` is
     * COIR_ETIMEDOUT (its time as a request is over) or COIR_ECANCELED (the
     * server stops). The handler still returns, and finish() is called. */
    void (*cancel)(void *ctx, coir_http_exchange *x, int reason);

    /* A line of the access log, with its line feed; gone after the call. */
    void (*log)(void *ctx, const char *line, size_t len);

    /* A connection is closed that has this value. */
    void (*closed)(void *ctx, void *connection_data);

    /* The server is stopped: it may be freed in here. */
    void (*stopped)(void *ctx, coir_http_server *s);

    /* At the end of a callback of the loop that has called start(): `x` may be
     * handled now, until it ends or has to wait, instead of soon. What one
     * needs is in the cache then for the next, whose head is read after that.
     */
    void (*run)(void *ctx, coir_http_exchange *x);
};

/* The request was handled. What was not sent yet is (blocks), and the body
 * that was left unread is dealt with. 1: the next request of the connection is
 * in `x`, to be handled; 0: `x` is gone. */
COIR_API int coir_http_finish(coir_http_exchange *x);

/* What it was made with. */
COIR_API void *coir_http_server_ctx(const coir_http_server *s);
COIR_API coir_loop *coir_http_server_loop(const coir_http_server *s);

/* --- transports ---------------------------------------------------------- */

/* Results of a transport: the call is to be made again when the descriptor is
 * ready for that. */
#define COIR_HTTP_WANT_READ (-8001)
#define COIR_HTTP_WANT_WRITE (-8002)

/* What bytes go through on their way from and to a non-blocking socket: TLS,
 * say. Called in the loop and in green threads, so nothing here may wait. */
struct coir_http_transport {
    const char *scheme; /* that of its URLs: "https" */

    /* For a new connection: make its state. Negative: it is closed. */
    int (*open)(void *transport_ctx, int fd, void **state);

    /* Shake hands: 0 once that is done, or wants, or an error. It is called
     * first, and until it is done, with what the timeout of handshakes allows.
     */
    int (*handshake)(void *state);

    /* As read() and writev(): how much; 0 is the end; wants, or an error.
     * Where write wants something it will be called again with the same bytes,
     * or, at the end of a connection, not at all. */
    ssize_t (*read)(void *state, void *buf, size_t len);
    ssize_t (*writev)(void *state, const struct iovec *iov, int count);

    /* May read() return bytes at once? There are some that it has not given
     * out yet, or its last read of the descriptor did not fall short, so that
     * there may be more. If not, the server waits for the descriptor. */
    int (*pending)(void *state);

    /* Announce the end of what is written, as far as that is possible now: 0,
     * wants, or an error. The socket is half closed after it. */
    int (*shutdown)(void *state);

    /* Free the state. The descriptor is closed after that, not by it. */
    void (*close)(void *state);
};

#ifdef __cplusplus
}
#endif

#endif
