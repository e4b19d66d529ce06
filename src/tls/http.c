/* http.c - TLS as a transport of coir/http_server.h.
 *
 * The server drives it from its loop and from green threads alike, so nothing
 * waits: what OpenSSL lacks goes back as a want. Its input and output (a BIO)
 * are recv() and send() of the connection's descriptor. A recv() that falls
 * short has emptied it (`dry`), and the rest of a call of OpenSSL does not try
 * again; as OpenSSL reads ahead, a request is one recv(), as without TLS. */
#include <coir/http_server.h>
#include <coir/tls.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

/* A record's data: what comes in pieces is put together. */
#define RECORD_MAX 16384

typedef struct stream {
    SSL *ssl;
    int fd;
    int dry;
    int io_error; /* an errno value */
} stream;

/* --- input and output ---------------------------------------------------- */

static int
bio_read(BIO *bio, char *buf, size_t len, size_t *done)
{
    stream *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = -1;
    errno = EAGAIN;
    while (!t->dry && (n = recv(t->fd, buf, len, 0)) < 0 && errno == EINTR)
        ;
    if (n > 0) {
        t->dry = (size_t)n < len;
        *done = (size_t)n;
        return 1;
    }
    *done = 0;
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    else if (errno == EAGAIN) {
        t->dry = 1;
        BIO_set_retry_read(bio);
    }
    else
        t->io_error = errno;
    return 0;
}

static int
bio_write(BIO *bio, const char *buf, size_t len, size_t *done)
{
    stream *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n;
    do
        n = send(t->fd, buf, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    *done = n > 0 ? (size_t)n : 0;
    if (n >= 0)
        return 1;
    if (errno == EAGAIN)
        BIO_set_retry_write(bio);
    else
        t->io_error = errno;
    return 0;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *arg)
{
    (void)number;
    (void)arg;
    switch (command) {
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    default:
        return 0;
    }
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *bio_method;

static void
set_up(void)
{
    BIO_METHOD *m =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "coir http");
    if (m == NULL)
        return;
    if (BIO_meth_set_read_ex(m, bio_read) &&
        BIO_meth_set_write_ex(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl))
        bio_method = m;
    else
        BIO_meth_free(m);
}

/* --- the transport ------------------------------------------------------- */

static int
http_open(void *context, int fd, void **state)
{
    (void)pthread_once(&once, set_up);
    stream *t = coir_calloc(1, sizeof *t);
    if (t == NULL)
        return COIR_ENOMEM;
    t->fd = fd;
    t->ssl = SSL_new(coir_tls_context_handle(context));
    BIO *bio =
        t->ssl != NULL && bio_method != NULL ? BIO_new(bio_method) : NULL;
    if (bio == NULL) {
        ERR_clear_error();
        SSL_free(t->ssl);
        coir_free(t);
        return COIR_ENOMEM;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_accept_state(t->ssl);
    SSL_set_read_ahead(t->ssl, 1);
    *state = t;
    return 0;
}

/* A call of OpenSSL has not succeeded. */
static int
what_now(stream *t, int result)
{
    int err;
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return COIR_HTTP_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return COIR_HTTP_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        err = t->io_error != 0 ? COIR_ERRNO(t->io_error) : COIR_EEOF;
        break;
    default:
        err = ERR_GET_REASON(ERR_peek_error()) ==
                      SSL_R_UNEXPECTED_EOF_WHILE_READING
                  ? COIR_EEOF
                  : COIR_ETLS;
    }
    ERR_clear_error();
    return err;
}

static int
http_handshake(void *state)
{
    stream *t = state;
    ERR_clear_error();
    t->dry = 0;
    int result = SSL_do_handshake(t->ssl);
    if (result == 1)
        return 0;
    int err = what_now(t, result);
    return err == 0 ? COIR_EEOF : err;
}

static ssize_t
http_read(void *state, void *buf, size_t len)
{
    stream *t = state;
    size_t done;
    ERR_clear_error();
    t->dry = 0;
    int result = SSL_read_ex(t->ssl, buf, len, &done);
    return result == 1 ? (ssize_t)done : what_now(t, result);
}

/* Bytes of records that were read and not used are as good as those that the
 * descriptor may still have. */
static int
http_pending(void *state)
{
    const stream *t = state;
    return !t->dry || SSL_has_pending(t->ssl);
}

static ssize_t
http_write(stream *t, const void *buf, size_t len)
{
    size_t done;
    ERR_clear_error();
    int result = SSL_write_ex(t->ssl, buf, len, &done);
    if (result == 1)
        return (ssize_t)done;
    int err = what_now(t, result);
    return err == 0 ? COIR_ERRNO(EPIPE) : err;
}

/* Small pieces go into one record: the same ones each time until it is
 * written, as OpenSSL asks for. */
static ssize_t
http_writev(void *state, const struct iovec *iov, int count)
{
    static _Thread_local char record[RECORD_MAX]; /* stacks are small */
    size_t len = 0;
    if (count == 1 || iov[0].iov_len >= RECORD_MAX)
        return http_write(state, iov[0].iov_base, iov[0].iov_len);
    for (int i = 0; i < count && len < sizeof record; i++) {
        size_t piece = iov[i].iov_len;
        if (piece > sizeof record - len)
            piece = sizeof record - len;
        memcpy(record + len, iov[i].iov_base, piece);
        len += piece;
    }
    return http_write(state, record, len);
}

static int
http_shutdown(void *state)
{
    stream *t = state;
    ERR_clear_error();
    int result = SSL_shutdown(t->ssl);
    return result >= 0 ? 0 : what_now(t, result);
}

static void
http_close(void *state)
{
    stream *t = state;
    SSL_free(t->ssl);
    coir_free(t);
}

const coir_http_transport *
coir_tls_http(void)
{
    static const coir_http_transport transport = {
        .scheme = "https",
        .open = http_open,
        .handshake = http_handshake,
        .read = http_read,
        .writev = http_writev,
        .pending = http_pending,
        .shutdown = http_shutdown,
        .close = http_close,
    };
    return &transport;
}

void *
coir_tls_http_handle(void *state)
{
    return ((stream *)state)->ssl;
}
