/* coir/tls.h - TLS streams over sockets, on OpenSSL.
 *
 *     coir_tls_context *context;
 *     coir_tls_context_new(&context, COIR_TLS_CLIENT, NULL);
 *
 *     coir_tls *t;
 *     err = coir_tls_connect(&t, context, socket, "example.org", NULL,
 *                            10 * COIR_NS_PER_S);
 *     ... coir_tls_write_all(t, ...), coir_tls_read(t, ...)
 *     coir_tls_close(t);
 *
 * TLS 1.2 and 1.3. A client checks the server's certificate, and that it is
 * for the host that it asked for, unless it is told not to. There is no
 * renegotiation and no compression.
 *
 * In a library of its own, libcoir-tls (coir-tls.pc), so that only programs
 * that use it load OpenSSL.
 *
 * Owner:   a context may be freed while streams use it. A stream owns its
 *          socket from a successful handshake on.
 * Threads: a context any, once it is set up. A stream any; one may read while
 *          another writes, and several of one kind take turns.
 * Forks:   a stream must go on in one process only.
 * Blocks:  what takes a timeout, the green thread only, as in coir/net.h.
 * Errors:  as in coir/net.h, and COIR_ETLS, of which coir_tls_error() gives
 *          the reason. After it the stream is of no more use. */
#ifndef COIR_TLS_H
#define COIR_TLS_H

#include <coir/net.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coir_tls_context coir_tls_context;
typedef struct coir_tls_session coir_tls_session;
typedef struct coir_tls coir_tls;

/* Why the last call of this thread returned COIR_ETLS, in one line; "" if none
 * did. To be read before the next wait. */
COIR_API const char *coir_tls_error(void);

/* --- contexts ------------------------------------------------------------ */

enum coir_tls_role { COIR_TLS_CLIENT, COIR_TLS_SERVER };

enum coir_tls_flags {
    COIR_TLS_NO_VERIFY = 1, /* client: accept any certificate, of anybody */
    COIR_TLS_ASK_PEER = 2,  /* server: ask for a certificate, which is checked
                               if there is one */
    COIR_TLS_NEED_PEER = 4  /* and without one there is no connection */
};

typedef struct coir_tls_attr {
    /* PEM. Certificates of authorities that are trusted; NULL: those of the
     * system, for clients. */
    const char *ca_file;
    /* The own certificate, followed by those between it and the authority, and
     * its key; a server must have them. */
    const char *cert_file;
    const char *key_file;
    const char *const *alpn; /* protocols, the best first; NULL at the end */
    unsigned flags;          /* enum coir_tls_flags */
} coir_tls_attr;

/* `attr` NULL for the defaults. COIR_ETLS: a file that cannot be read, or is
 * not what it should be. COIR_EINVAL; COIR_ENOMEM. */
COIR_API int coir_tls_context_new(coir_tls_context **out, int role,
                                  const coir_tls_attr *attr);

/* Server: for clients that ask for the host `name` use the certificate of
 * `other`, another server's context. `name` may begin with "*.", for one more
 * label. Before the first connection. COIR_EINVAL; COIR_ENOMEM. */
COIR_API int coir_tls_context_add_host(coir_tls_context *c, const char *name,
                                       coir_tls_context *other);

/* NULL is ignored. */
COIR_API void coir_tls_context_free(coir_tls_context *c);

/* --- streams ------------------------------------------------------------- */

/* Handshake as the client, over a connected socket; all of it within the
 * timeout. `host`, a name or an address, is what the certificate must be for;
 * NULL only with COIR_TLS_NO_VERIFY. `session`, or NULL: try to go on with
 * that. On failure the socket stays the caller's, but is of no use but to be
 * closed. COIR_EINVAL: the session is of another host or context. */
COIR_API int coir_tls_connect(coir_tls **out, coir_tls_context *c,
                              coir_socket *s, const char *host,
                              const coir_tls_session *session,
                              int64_t timeout_ns);

/* Handshake as the server. */
COIR_API int coir_tls_accept(coir_tls **out, coir_tls_context *c,
                             coir_socket *s, int64_t timeout_ns);

/* Returns how much was read; 0 at the end that the peer has announced. Where
 * the connection just ends, which anybody on the way may have caused, it is
 * COIR_EEOF. */
COIR_API ssize_t coir_tls_read(coir_tls *t, void *buf, size_t len,
                               int64_t timeout_ns);

/* Write all of it, or fail. Interrupted by a timeout or a cancel the stream is
 * torn, and all further writing fails with COIR_ETORN. */
COIR_API int coir_tls_write_all(coir_tls *t, const void *buf, size_t len,
                                int64_t timeout_ns);

/* Announce the end of what is written (close_notify). Reading may go on. */
COIR_API int coir_tls_shutdown(coir_tls *t, int64_t timeout_ns);

/* Close the stream and its socket. The end is announced, if it was not and
 * that need not wait. Those who wait for the stream get COIR_ECLOSED. */
COIR_API int coir_tls_close(coir_tls *t);

/* --- what was agreed on -------------------------------------------------- */

/* The protocol chosen by ALPN, "" if none. */
COIR_API const char *coir_tls_alpn(const coir_tls *t);
/* Server: the host the client asked for, "" if none. Client: what it did. */
COIR_API const char *coir_tls_host(const coir_tls *t);
COIR_API const char *coir_tls_version(const coir_tls *t); /* "TLSv1.3" */
COIR_API const char *coir_tls_cipher(const coir_tls *t);
/* Did it go on with a session? */
COIR_API int coir_tls_is_resumed(const coir_tls *t);
/* Has the peer shown a certificate that was checked? */
COIR_API int coir_tls_is_verified(const coir_tls *t);

/* Client: what a later connection to the same host may go on with. With TLS
 * 1.3 it comes after the handshake: read first. COIR_EINVAL: there is none. */
COIR_API int coir_tls_get_session(const coir_tls *t, coir_tls_session **out);
COIR_API void coir_tls_session_free(coir_tls_session *session);

COIR_API coir_socket *coir_tls_socket(const coir_tls *t);
/* OpenSSL's SSL, and SSL_CTX, for what is not here; not to be read, written,
 * or freed. */
COIR_API void *coir_tls_handle(const coir_tls *t);
COIR_API void *coir_tls_context_handle(const coir_tls_context *c);

/* --- HTTP servers -------------------------------------------------------- */

/* A transport for coir/http_server.h, whose context is a server's, of
 * coir_tls_context_new(), that must stay as long as the HTTP server. */
COIR_API const struct coir_http_transport *coir_tls_http(void);
/* OpenSSL's SSL of what coir_http_transport_state() gives. */
COIR_API void *coir_tls_http_handle(void *state);

#ifdef __cplusplus
}
#endif

#endif
