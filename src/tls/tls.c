/* tls.c - TLS streams.
 *
 * OpenSSL never waits here. Its input and output (a BIO) are the calls of
 * coir/net.h that do not wait; when it can go no further it says what it
 * lacks, and we wait for that outside of it. So no other green thread runs
 * inside of a call of OpenSSL, and none finds its error queue in use: that is
 * emptied before each call, and read right after.
 *
 * Reading. What is waited for comes at once with its first bytes, those of a
 * record's head: waiting for a socket to be readable, and then reading, would
 * be one call more. These bytes (`head`) are the first that the BIO gives. To
 * read again before waiting is mostly in vain, so it is not tried after a
 * record was complete (`dry`).
 *
 * Writing. A record that could not be written in full must be, before any
 * other; a caller who is interrupted then does not come back with the same
 * bytes, so that the stream is torn for writing.
 *
 * Who reads holds `reading` until it is done, who writes `writing`; waits for
 * the socket happen in between. The calls of OpenSSL, which use one object for
 * both, are made with `ssl_lock`, a native lock, under which nothing waits.
 *
 * The memory of a stream goes with the last who uses it: the owner, until it
 * closes, and each call. It holds its socket for as long.
 *
 * Only the public parts of libcoir are used: this is another library. */
#include <coir/sync.h>
#include <coir/tls.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Of a record. */
#define HEAD_SIZE 5

typedef struct named {
    struct named *next;
    coir_tls_context *context;
    char name[];
} named;

struct coir_tls_context {
    SSL_CTX *ssl;
    atomic_int holders; /* the owner, streams, sessions, other contexts */
    int role;
    unsigned flags;
    unsigned char *alpn; /* as on the wire: lengths and names */
    unsigned alpn_len;
    named *hosts;
};

struct coir_tls_session {
    SSL_SESSION *ssl;
    coir_tls_context *context;
    char host[];
};

struct coir_tls {
    SSL *ssl;
    coir_socket *socket;
    coir_tls_context *context;
    coir_mutex reading;
    coir_mutex writing;
    pthread_mutex_t ssl_lock;
    atomic_int holders;
    atomic_int closed;
    int owns_socket;
    /* The rest with ssl_lock. */
    int error; /* for all calls from now on; 0: none */
    int torn;  /* for writing */
    int announced;
    int io_error; /* of the socket, in the call of OpenSSL; 0: none */
    int at_end;   /* the socket is */
    int dry;
    unsigned char head[HEAD_SIZE];
    uint8_t head_len;
    uint8_t head_used;
    char alpn[256];
    char host[256]; /* of a client: what it asked for */
};

/* --- errors -------------------------------------------------------------- */

static _Thread_local char reason[256];

const char *
coir_tls_error(void)
{
    return reason;
}

/* Take the text of OpenSSL's first error, the others follow from it, and leave
 * its queue empty. */
static int
tls_error(const char *what)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long e = ERR_peek_error_data(&data, &flags);
    const char *text = ERR_reason_error_string(e);
    if (e != 0 && ERR_SYSTEM_ERROR(e))
        text = strerror(ERR_GET_REASON(e));
    (void)snprintf(
        reason, sizeof reason, "%s: %s%s%s", what,
        text != NULL ? text : "failed",
        data != NULL && *data != '\0' && (flags & ERR_TXT_STRING) ? ": " : "",
        data != NULL && (flags & ERR_TXT_STRING) ? data : "");
    int is_memory = ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
    ERR_clear_error();
    return is_memory ? COIR_ENOMEM : COIR_ETLS;
}

/* --- input and output ---------------------------------------------------- */

static int
bio_read(BIO *bio, char *buf, size_t len, size_t *done)
{
    coir_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->head_used < t->head_len) {
        size_t left = (size_t)(t->head_len - t->head_used);
        *done = len < left ? len : left;
        memcpy(buf, t->head + t->head_used, *done);
        t->head_used += (uint8_t)*done;
        return 1;
    }
    ssize_t n = COIR_ETIMEDOUT;
    if (!t->dry && !t->at_end)
        n = coir_read(t->socket, buf, len, 0);
    if (n > 0) {
        *done = (size_t)n;
        return 1;
    }
    if (n == 0)
        t->at_end = 1;
    else if (n != COIR_ETIMEDOUT)
        t->io_error = (int)n;
    else if (!t->at_end) {
        t->dry = 1;
        BIO_set_retry_read(bio);
    }
    return 0;
}

static int
bio_write(BIO *bio, const char *buf, size_t len, size_t *done)
{
    coir_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = coir_write(t->socket, buf, len, 0);
    if (n >= 0) {
        *done = (size_t)n;
        return 1;
    }
    if (n == COIR_ETIMEDOUT)
        BIO_set_retry_write(bio);
    else
        t->io_error = (int)n;
    return 0;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *arg)
{
    const coir_tls *t = BIO_get_data(bio);
    (void)number;
    (void)arg;
    switch (command) {
    case BIO_CTRL_EOF:
        return t->at_end && t->head_used == t->head_len;
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    default:
        return 0;
    }
}

static BIO_METHOD *bio_method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
set_up(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
                                 "coir socket");
    if (m == NULL)
        return;
    if (!BIO_meth_set_read_ex(m, bio_read) ||
        !BIO_meth_set_write_ex(m, bio_write) ||
        !BIO_meth_set_ctrl(m, bio_ctrl)) {
        BIO_meth_free(m);
        return;
    }
    bio_method = m;
}

/* --- contexts ------------------------------------------------------------ */

static coir_tls_context *
hold_context(coir_tls_context *c)
{
    atomic_fetch_add(&c->holders, 1);
    return c;
}

static void
drop_context(coir_tls_context *c)
{
    if (atomic_fetch_sub(&c->holders, 1) > 1)
        return;
    SSL_CTX_free(c->ssl);
    named *h;
    while ((h = c->hosts) != NULL) {
        c->hosts = h->next;
        drop_context(h->context);
        coir_free(h);
    }
    coir_free(c->alpn);
    coir_free(c);
}

void
coir_tls_context_free(coir_tls_context *c)
{
    if (c != NULL)
        drop_context(c);
}

void *
coir_tls_context_handle(const coir_tls_context *c)
{
    return c->ssl;
}

/* The first of ours that the client has, too. */
static int
choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
            const unsigned char *theirs, unsigned theirs_len, void *arg)
{
    (void)ssl;
    const coir_tls_context *c = arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, c->alpn, c->alpn_len, theirs,
                              theirs_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int
is_for_host(const named *h, const char *name)
{
    if (h->name[0] != '*')
        return strcasecmp(h->name, name) == 0;
    const char *dot = strchr(name, '.');
    return dot != NULL && dot != name && strcasecmp(h->name + 1, dot) == 0;
}

static int
choose_host(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    const coir_tls_context *c = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL)
        return SSL_TLSEXT_ERR_OK;
    for (const named *h = c->hosts; h != NULL; h = h->next)
        if (is_for_host(h, name)) {
            (void)SSL_set_SSL_CTX(ssl, h->context->ssl);
            break;
        }
    return SSL_TLSEXT_ERR_OK;
}

/* To what the wire has. */
static int
set_alpn(coir_tls_context *c, const char *const *names)
{
    size_t len = 0;
    for (const char *const *n = names; *n != NULL; n++) {
        size_t name_len = strlen(*n);
        if (name_len == 0 || name_len > 255)
            return COIR_EINVAL;
        len += 1 + name_len;
    }
    if (len == 0 || len > 65535)
        return COIR_EINVAL;
    unsigned char *at = c->alpn = coir_malloc(len);
    if (at == NULL)
        return COIR_ENOMEM;
    for (const char *const *n = names; *n != NULL; n++) {
        size_t name_len = strlen(*n);
        *at++ = (unsigned char)name_len;
        memcpy(at, *n, name_len);
        at += name_len;
    }
    c->alpn_len = (unsigned)len;
    if (c->role == COIR_TLS_SERVER)
        SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, c);
    else if (SSL_CTX_set_alpn_protos(c->ssl, c->alpn, c->alpn_len) != 0)
        return COIR_ENOMEM;
    return 0;
}

static int
set_files(coir_tls_context *c, const coir_tls_attr *attr)
{
    if (attr->cert_file != NULL &&
        SSL_CTX_use_certificate_chain_file(c->ssl, attr->cert_file) != 1)
        return tls_error(attr->cert_file);
    if (attr->key_file != NULL &&
        (SSL_CTX_use_PrivateKey_file(c->ssl, attr->key_file,
                                     SSL_FILETYPE_PEM) != 1 ||
         SSL_CTX_check_private_key(c->ssl) != 1))
        return tls_error(attr->key_file);
    if (attr->ca_file != NULL) {
        if (SSL_CTX_load_verify_file(c->ssl, attr->ca_file) != 1)
            return tls_error(attr->ca_file);
        if (c->role == COIR_TLS_SERVER) {
            STACK_OF(X509_NAME) *names =
                SSL_load_client_CA_file(attr->ca_file);
            if (names == NULL)
                return tls_error(attr->ca_file);
            SSL_CTX_set_client_CA_list(c->ssl, names);
        }
    }
    else if (c->role == COIR_TLS_CLIENT &&
             SSL_CTX_set_default_verify_paths(c->ssl) != 1)
        return tls_error("the system's certificates");
    return 0;
}

static int
set_verify(coir_tls_context *c)
{
    int mode = SSL_VERIFY_NONE;
    if (c->role == COIR_TLS_CLIENT) {
        if (!(c->flags & COIR_TLS_NO_VERIFY))
            mode = SSL_VERIFY_PEER;
    }
    else if (c->flags & (COIR_TLS_ASK_PEER | COIR_TLS_NEED_PEER))
        mode = SSL_VERIFY_PEER;
    if (c->flags & COIR_TLS_NEED_PEER)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(c->ssl, mode, NULL);
    /* So that sessions are of this context's rules. */
    static const unsigned char id[] = "coir";
    return SSL_CTX_set_session_id_context(c->ssl, id, sizeof id - 1) == 1
               ? 0
               : COIR_ENOMEM;
}

static int
init_context(coir_tls_context *c, const coir_tls_attr *attr)
{
    SSL_CTX *ssl = c->ssl =
        SSL_CTX_new(c->role == COIR_TLS_CLIENT ? TLS_client_method()
                                               : TLS_server_method());
    if (ssl == NULL || SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1)
        return tls_error("OpenSSL");
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION |
                                       SSL_OP_NO_COMPRESSION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* Without RELEASE_BUFFERS an idle stream would hold 34 KiB. */
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                    SSL_MODE_RELEASE_BUFFERS);
    if (c->role == COIR_TLS_CLIENT)
        (void)SSL_CTX_set_session_cache_mode(
            ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    int err = set_files(c, attr);
    if (err == 0)
        err = set_verify(c);
    if (err == 0 && attr->alpn != NULL)
        err = set_alpn(c, attr->alpn);
    return err;
}

int
coir_tls_context_new(coir_tls_context **out, int role,
                     const coir_tls_attr *attr)
{
    static const coir_tls_attr defaults;
    if (attr == NULL)
        attr = &defaults;
    unsigned peer = COIR_TLS_ASK_PEER | COIR_TLS_NEED_PEER;
    if ((attr->cert_file == NULL) != (attr->key_file == NULL) ||
        (role != COIR_TLS_CLIENT && role != COIR_TLS_SERVER) ||
        (role == COIR_TLS_CLIENT && (attr->flags & peer)) ||
        (role == COIR_TLS_SERVER &&
         (attr->cert_file == NULL || (attr->flags & COIR_TLS_NO_VERIFY) ||
          ((attr->flags & peer) && attr->ca_file == NULL))))
        return COIR_EINVAL;
    (void)pthread_once(&once, set_up);
    coir_tls_context *c =
        bio_method != NULL ? coir_calloc(1, sizeof *c) : NULL;
    if (c == NULL)
        return COIR_ENOMEM;
    atomic_init(&c->holders, 1);
    c->role = role;
    c->flags = attr->flags;
    ERR_clear_error();
    int err = init_context(c, attr);
    if (err < 0) {
        drop_context(c);
        return err;
    }
    *out = c;
    return 0;
}

int
coir_tls_context_add_host(coir_tls_context *c, const char *name,
                          coir_tls_context *other)
{
    if (c->role != COIR_TLS_SERVER || other->role != COIR_TLS_SERVER ||
        other == c || *name == '\0')
        return COIR_EINVAL;
    size_t size = strlen(name) + 1;
    named *h = coir_malloc(sizeof *h + size);
    if (h == NULL)
        return COIR_ENOMEM;
    memcpy(h->name, name, size);
    h->context = hold_context(other);
    h->next = c->hosts;
    c->hosts = h;
    (void)SSL_CTX_set_tlsext_servername_callback(c->ssl, choose_host);
    (void)SSL_CTX_set_tlsext_servername_arg(c->ssl, c);
    return 0;
}

/* --- calls --------------------------------------------------------------- */

/* One call on a stream: it may wait several times, together no longer than
 * its timeout. */
typedef struct call {
    coir_tls *t;
    int64_t timeout_ns;
    int has_deadline;
    coir_deadline deadline;
} call;

static void
drop(coir_tls *t)
{
    if (atomic_fetch_sub(&t->holders, 1) > 1)
        return;
    SSL_free(t->ssl);
    if (t->owns_socket)
        (void)coir_socket_close(t->socket);
    drop_context(t->context);
    (void)pthread_mutex_destroy(&t->ssl_lock);
    coir_free(t);
}

/* With a hub: who owns a mutex must not become another one meanwhile. */
static int
begin(call *c, coir_tls *t, int64_t timeout_ns)
{
    if (coir_hub_get() == NULL)
        return COIR_ENOMEM;
    atomic_fetch_add(&t->holders, 1);
    c->t = t;
    c->timeout_ns = timeout_ns;
    c->has_deadline = 0;
    return 0;
}

static void
end(call *c)
{
    if (c->has_deadline)
        (void)coir_deadline_end(&c->deadline);
    drop(c->t);
}

/* The time for a wait that begins now. */
static int64_t
timeout_of(call *c)
{
    if (c->timeout_ns == 0 || c->timeout_ns == COIR_FOREVER)
        return c->timeout_ns;
    if (!c->has_deadline) {
        coir_deadline_begin(&c->deadline, c->timeout_ns);
        c->has_deadline = 1;
    }
    return COIR_FOREVER;
}

typedef int wait_fn(call *c);

static int
wait_to_read(call *c)
{
    coir_tls *t = c->t;
    ssize_t n = coir_read(t->socket, t->head, HEAD_SIZE, timeout_of(c));
    if (n < 0)
        return (int)n;
    (void)pthread_mutex_lock(&t->ssl_lock);
    t->head_used = 0;
    t->head_len = (uint8_t)n;
    t->at_end = n == 0;
    t->dry = 0;
    (void)pthread_mutex_unlock(&t->ssl_lock);
    return 0;
}

static int
wait_to_write(call *c)
{
    int result = coir_socket_wait(c->t->socket, COIR_WRITE, timeout_of(c));
    return result < 0 ? result : 0;
}

/* A call of OpenSSL has not succeeded: 0, it will when it is made again after
 * the wait that `*wait` is set to; or an error. With the lock. */
static int
what_now(coir_tls *t, int result, const char *what, wait_fn **wait)
{
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *wait = wait_to_read;
        return 0;
    case SSL_ERROR_WANT_WRITE:
        *wait = wait_to_write;
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return COIR_EEOF;
    case SSL_ERROR_SYSCALL:
        t->error = t->io_error < 0 ? t->io_error : tls_error(what);
        break;
    default:
        if (ERR_GET_REASON(ERR_peek_error()) ==
            SSL_R_UNEXPECTED_EOF_WHILE_READING)
            t->error = COIR_EEOF;
        else
            t->error = tls_error(what);
    }
    ERR_clear_error();
    return t->error;
}

/* --- handshake ----------------------------------------------------------- */

static int
handshake(call *c)
{
    coir_tls *t = c->t;
    for (;;) {
        wait_fn *wait = NULL;
        int err = 0;
        (void)pthread_mutex_lock(&t->ssl_lock);
        ERR_clear_error();
        int result = SSL_do_handshake(t->ssl);
        if (result != 1)
            err = what_now(t, result, "handshake", &wait);
        (void)pthread_mutex_unlock(&t->ssl_lock);
        if (err == COIR_ETLS && SSL_get_verify_result(t->ssl) != X509_V_OK)
            (void)snprintf(
                reason, sizeof reason,
                "handshake: certificate verify failed: %s",
                X509_verify_cert_error_string(SSL_get_verify_result(t->ssl)));
        if (err < 0 || wait == NULL)
            return err;
        err = wait(c);
        if (err < 0)
            return err;
    }
}

static int
is_address(const char *text)
{
    unsigned char address[16];
    return inet_pton(AF_INET, text, address) == 1 ||
           inet_pton(AF_INET6, text, address) == 1;
}

/* What the certificate must be for. */
static int
set_host(coir_tls *t, const char *name)
{
    if (name == NULL)
        return t->context->flags & COIR_TLS_NO_VERIFY ? 0 : COIR_EINVAL;
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof t->host)
        return COIR_EINVAL;
    memcpy(t->host, name, len + 1);
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), name) == 1
                   ? 0
                   : COIR_ENOMEM;
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(t->ssl, name) == 1 &&
                   SSL_set1_host(t->ssl, name) == 1
               ? 0
               : COIR_ENOMEM;
}

static int
set_session(coir_tls *t, const coir_tls_session *session)
{
    if (session == NULL)
        return 0;
    if (session->context != t->context || strcmp(session->host, t->host) != 0)
        return COIR_EINVAL;
    return SSL_set_session(t->ssl, session->ssl) == 1 ? 0
                                                      : tls_error("session");
}

/* A stream that has not shaken hands yet. */
static int
new_stream(coir_tls **out, coir_tls_context *c, coir_socket *s)
{
    coir_tls *t = coir_calloc(1, sizeof *t);
    if (t == NULL)
        return COIR_ENOMEM;
    ERR_clear_error();
    t->ssl = SSL_new(c->ssl);
    BIO *bio = t->ssl != NULL ? BIO_new(bio_method) : NULL;
    if (bio == NULL) {
        ERR_clear_error();
        SSL_free(t->ssl);
        coir_free(t);
        return COIR_ENOMEM;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    (void)pthread_mutex_init(&t->ssl_lock, NULL);
    t->context = hold_context(c);
    t->socket = s; /* the caller's, until the handshake was done */
    atomic_init(&t->holders, 1);
    *out = t;
    return 0;
}

static int
shake_hands(coir_tls *t, int64_t timeout_ns)
{
    call c;
    int err = begin(&c, t, timeout_ns);
    if (err < 0)
        return err;
    err = handshake(&c);
    end(&c);
    if (err < 0)
        return err;
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(t->ssl, &name, &len);
    memcpy(t->alpn, name != NULL ? (const char *)name : "", len);
    if (t->host[0] == '\0') {
        const char *asked =
            SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
        if (asked != NULL)
            (void)snprintf(t->host, sizeof t->host, "%s", asked);
    }
    return 0;
}

static int
start(coir_tls **out, coir_tls *t, int64_t timeout_ns)
{
    int err = shake_hands(t, timeout_ns);
    if (err < 0) {
        drop(t);
        return err;
    }
    /* Twice: for who closes, and for the calls that are in progress then. */
    (void)coir_socket_hold(t->socket);
    t->owns_socket = 1;
    *out = t;
    return 0;
}

int
coir_tls_connect(coir_tls **out, coir_tls_context *c, coir_socket *s,
                 const char *host, const coir_tls_session *session,
                 int64_t timeout_ns)
{
    if (c->role != COIR_TLS_CLIENT)
        return COIR_EINVAL;
    coir_tls *t;
    int err = new_stream(&t, c, s);
    if (err < 0)
        return err;
    SSL_set_connect_state(t->ssl);
    err = set_host(t, host);
    if (err == 0)
        err = set_session(t, session);
    if (err == 0)
        return start(out, t, timeout_ns);
    ERR_clear_error();
    drop(t);
    return err;
}

int
coir_tls_accept(coir_tls **out, coir_tls_context *c, coir_socket *s,
                int64_t timeout_ns)
{
    if (c->role != COIR_TLS_SERVER)
        return COIR_EINVAL;
    coir_tls *t;
    int err = new_stream(&t, c, s);
    if (err < 0)
        return err;
    SSL_set_accept_state(t->ssl);
    return start(out, t, timeout_ns);
}

/* --- transfer ------------------------------------------------------------ */

/* Only one reads, and one writes. */
static int
take_turn(call *c, coir_mutex *mutex)
{
    int err = coir_mutex_lock(mutex, 0);
    if (err == COIR_ETIMEDOUT && c->timeout_ns != 0)
        err = coir_mutex_lock(mutex, timeout_of(c));
    return err;
}

/* With the lock. */
static int
state_of(const coir_tls *t)
{
    return atomic_load(&t->closed) ? COIR_ECLOSED : t->error;
}

/* Try. Returns as what_now(), or 0 with `*wait` NULL: it is done. */
static int
try_read(coir_tls *t, void *buf, size_t len, size_t *done, wait_fn **wait)
{
    *wait = NULL;
    (void)pthread_mutex_lock(&t->ssl_lock);
    int err = state_of(t);
    if (err == 0) {
        ERR_clear_error();
        int result = SSL_read_ex(t->ssl, buf, len, done);
        if (result != 1)
            err = what_now(t, result, "reading", wait);
        t->dry = 1;
        if (err == COIR_EEOF && t->error == 0) { /* as announced */
            *done = 0;
            err = 0;
        }
    }
    (void)pthread_mutex_unlock(&t->ssl_lock);
    return err;
}

ssize_t
coir_tls_read(coir_tls *t, void *buf, size_t len, int64_t timeout_ns)
{
    if (len == 0)
        return 0;
    call c;
    int err = begin(&c, t, timeout_ns);
    if (err < 0)
        return err;
    err = take_turn(&c, &t->reading);
    if (err == 0) {
        size_t done = 0;
        wait_fn *wait;
        do {
            err = try_read(t, buf, len, &done, &wait);
            if (err == 0 && wait != NULL)
                err = wait(&c);
        } while (err == 0 && wait != NULL);
        (void)coir_mutex_unlock(&t->reading);
        if (err == 0) {
            end(&c);
            return (ssize_t)done;
        }
    }
    end(&c);
    return err;
}

static int
try_write(coir_tls *t, const void *buf, size_t len, size_t *done,
          wait_fn **wait)
{
    *wait = NULL;
    *done = 0;
    (void)pthread_mutex_lock(&t->ssl_lock);
    int err = state_of(t);
    if (err == 0 && t->torn)
        err = COIR_ETORN;
    if (err == 0 && t->announced)
        err = COIR_ERRNO(EPIPE);
    if (err == 0) {
        ERR_clear_error();
        int result = SSL_write_ex(t->ssl, buf, len, done);
        if (result != 1)
            err = what_now(t, result, "writing", wait);
    }
    (void)pthread_mutex_unlock(&t->ssl_lock);
    return err;
}

static int
try_shutdown(coir_tls *t, wait_fn **wait)
{
    *wait = NULL;
    (void)pthread_mutex_lock(&t->ssl_lock);
    int err = state_of(t);
    if (err == 0 && t->torn)
        err = COIR_ETORN;
    if (err == 0 && !t->announced) {
        ERR_clear_error();
        int result = SSL_shutdown(t->ssl);
        if (result < 0)
            err = what_now(t, result, "shutdown", wait);
        t->announced = err == 0 && *wait == NULL;
    }
    (void)pthread_mutex_unlock(&t->ssl_lock);
    return err;
}

static void
tear(coir_tls *t)
{
    (void)pthread_mutex_lock(&t->ssl_lock);
    t->torn = 1;
    (void)pthread_mutex_unlock(&t->ssl_lock);
}

/* All of `buf`, or if that is NULL, the announcement of the end. */
static int
write_or_end(coir_tls *t, const char *buf, size_t len, int64_t timeout_ns)
{
    call c;
    int err = begin(&c, t, timeout_ns);
    if (err < 0)
        return err;
    err = take_turn(&c, &t->writing);
    if (err == 0) {
        size_t at = 0;
        wait_fn *wait = NULL;
        do {
            size_t done = 0;
            err = buf != NULL ? try_write(t, buf + at, len - at, &done, &wait)
                              : try_shutdown(t, &wait);
            at += done;
            if (err == 0 && wait != NULL) {
                err = wait(&c);
                if (err < 0)
                    tear(t);
            }
        } while (err == 0 && (wait != NULL || at < len));
        (void)coir_mutex_unlock(&t->writing);
    }
    end(&c);
    return err;
}

int
coir_tls_write_all(coir_tls *t, const void *buf, size_t len,
                   int64_t timeout_ns)
{
    return len > 0 ? write_or_end(t, buf, len, timeout_ns) : 0;
}

int
coir_tls_shutdown(coir_tls *t, int64_t timeout_ns)
{
    return write_or_end(t, NULL, 0, timeout_ns);
}

int
coir_tls_close(coir_tls *t)
{
    wait_fn *wait;
    (void)try_shutdown(t, &wait);
    if (atomic_exchange(&t->closed, 1))
        return COIR_ECLOSED;
    int err = coir_socket_close(t->socket);
    drop(t);
    return err;
}

/* --- what was agreed on -------------------------------------------------- */

const char *
coir_tls_alpn(const coir_tls *t)
{
    return t->alpn;
}

const char *
coir_tls_host(const coir_tls *t)
{
    return t->host;
}

const char *
coir_tls_version(const coir_tls *t)
{
    return SSL_get_version(t->ssl);
}

const char *
coir_tls_cipher(const coir_tls *t)
{
    return SSL_get_cipher_name(t->ssl);
}

int
coir_tls_is_resumed(const coir_tls *t)
{
    return SSL_session_reused(t->ssl);
}

int
coir_tls_is_verified(const coir_tls *t)
{
    return SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE &&
           SSL_get0_peer_certificate(t->ssl) != NULL &&
           SSL_get_verify_result(t->ssl) == X509_V_OK;
}

int
coir_tls_get_session(const coir_tls *t, coir_tls_session **out)
{
    if (t->context->role != COIR_TLS_CLIENT)
        return COIR_EINVAL;
    SSL_SESSION *ssl = SSL_get1_session(t->ssl);
    if (ssl == NULL || !SSL_SESSION_is_resumable(ssl)) {
        SSL_SESSION_free(ssl);
        return COIR_EINVAL;
    }
    size_t size = strlen(t->host) + 1;
    coir_tls_session *session = coir_malloc(sizeof *session + size);
    if (session == NULL) {
        SSL_SESSION_free(ssl);
        return COIR_ENOMEM;
    }
    session->ssl = ssl;
    session->context = hold_context(t->context);
    memcpy(session->host, t->host, size);
    *out = session;
    return 0;
}

void
coir_tls_session_free(coir_tls_session *session)
{
    if (session == NULL)
        return;
    SSL_SESSION_free(session->ssl);
    drop_context(session->context);
    coir_free(session);
}

coir_socket *
coir_tls_socket(const coir_tls *t)
{
    return t->socket;
}

void *
coir_tls_handle(const coir_tls *t)
{
    return t->ssl;
}
