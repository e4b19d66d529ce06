/* test_http_tls.c - the HTTP server over TLS. */
#include <coir/tls.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http_helper.h"

static char cert_file[200], key_file[200];

/* A certificate that its owner has signed. */
static coir_tls_context *
server_context(void)
{
    (void)snprintf(cert_file, sizeof cert_file, "%s/cert.pem",
                   coir_test_dir());
    (void)snprintf(key_file, sizeof key_file, "%s/key.pem", coir_test_dir());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    CHECK(key != NULL && x != NULL);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    (void)X509_set_pubkey(x, key);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN",
                                     MBSTRING_ASC, (const unsigned char *)"a",
                                     -1, -1, 0);
    (void)X509_set_issuer_name(x, X509_get_subject_name(x));
    CHECK(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(cert_file, "w");
    CHECK(f != NULL && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    f = fopen(key_file, "w");
    CHECK(f != NULL &&
          PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 &&
          fclose(f) == 0);
    X509_free(x);
    EVP_PKEY_free(key);
    coir_tls_attr attr = {.cert_file = cert_file, .key_file = key_file};
    coir_tls_context *context;
    CHECK_EQ(coir_tls_context_new(&context, COIR_TLS_SERVER, &attr), 0);
    return context;
}

static coir_http_server *
serve_tls(coir_http_handler *handler, void *arg, coir_tls_context *context,
          const coir_http_server_options *options)
{
    coir_http_server *s;
    CHECK_EQ(coir_http_server_new(&s, handler, arg, options), 0);
    CHECK_EQ(coir_http_server_bind(s, "127.0.0.1", "0", 0, coir_tls_http(),
                                   context),
             0);
    CHECK_EQ(coir_http_server_start(s), 0);
    return s;
}

static coir_tls_context *client_context;

static coir_tls *
dial_tls(const coir_http_server *s)
{
    coir_tls_attr attr = {.flags = COIR_TLS_NO_VERIFY};
    coir_tls *t;
    if (client_context == NULL)
        CHECK_EQ(coir_tls_context_new(&client_context, COIR_TLS_CLIENT, &attr),
                 0);
    CHECK_EQ(coir_tls_connect(&t, client_context, dial(s), "a", NULL, LONG),
             0);
    return t;
}

static void
say_tls(coir_tls *t, const char *text)
{
    CHECK_EQ(coir_tls_write_all(t, text, strlen(text), LONG), 0);
}

/* Read until the text ends so. */
static void
hear_tls(coir_tls *t, char *text, size_t size, const char *end)
{
    size_t len = 0;
    do {
        ssize_t n = coir_tls_read(t, text + len, size - 1 - len, LONG);
        CHECK(n > 0);
        len += (size_t)n;
        text[len] = '\0';
    } while (len < strlen(end) || strcmp(text + len - strlen(end), end) != 0);
}

static void
leave_tls(coir_tls_context *context)
{
    coir_tls_context_free(context);
    coir_tls_context_free(client_context);
    CHECK_EQ(ERR_peek_error(), 0);
    leave();
}

static int
hello_tls(coir_http_exchange *x, void *arg)
{
    const SSL *ssl = coir_tls_http_handle(coir_http_transport_state(x));
    CHECK(SSL_is_init_finished(ssl));
    return hello(x, arg);
}

TEST(http_tls, answers_one_request_after_another)
{
    coir_tls_context *context = server_context();
    coir_http_server *s = serve_tls(hello_tls, NULL, context, NULL);
    coir_tls *t = dial_tls(s);
    char text[4096], byte;
    for (int i = 0; i < 3; i++) {
        say_tls(t, GET);
        hear_tls(t, text, sizeof text, "\r\n\r\nhello");
    }
    for (size_t i = 0; i < sizeof GET - 1; i++) {
        CHECK_EQ(coir_tls_write_all(t, &GET[i], 1, LONG), 0);
        (void)coir_yield();
    }
    hear_tls(t, text, sizeof text, "\r\n\r\nhello");
    say_tls(t, GET GET);
    UNTIL(s, responses, 6);
    hear_tls(t, text, sizeof text, "\r\n\r\nhello");
    if (strstr(text + 20, "HTTP/1.1") == NULL)
        hear_tls(t, text, sizeof text, "\r\n\r\nhello");
    CHECK_EQ(counters(s).idle, 1);
    /* The end is announced. */
    coir_http_server_stop(s, LONG, LONG);
    CHECK_EQ(coir_tls_read(t, &byte, 1, LONG), 0);
    (void)coir_tls_close(t);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    coir_http_server_free(s);
    leave_tls(context);
}

#define MUCH ((size_t)3 << 20)

static char much[MUCH];

static int
run_much(coir_http_exchange *x, void *arg)
{
    static char got[MUCH];
    size_t len = 0;
    ssize_t n;
    (void)arg;
    while (len < MUCH && (n = coir_http_read(x, got + len, MUCH - len)) > 0)
        len += (size_t)n;
    CHECK_EQ(len, MUCH);
    CHECK_EQ(memcmp(got, much, MUCH), 0);
    CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    return coir_http_send(x, much, MUCH);
}

static int
upload(void *arg)
{
    CHECK_EQ(coir_tls_write_all(arg, much, MUCH, LONG), 0);
    return 0;
}

TEST(http_tls, carries_much_both_ways)
{
    static char got[MUCH];
    coir_tls_context *context = server_context();
    coir_http_server *s = serve_tls(run_much, NULL, context, NULL);
    coir_tls *t = dial_tls(s);
    char text[200];
    for (size_t i = 0; i < MUCH; i++)
        much[i] = (char)(i * 2654435761U >> 13);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(text, sizeof text,
                       "PUT / HTTP/1.1\r\nHost: a\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       MUCH);
        say_tls(t, text);
        coir_green *g = spawn(upload, t);
        size_t len = 0;
        do
            CHECK_EQ(coir_tls_read(t, text + len++, 1, LONG), 1);
        while (len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0);
        for (len = 0; len < MUCH;) {
            ssize_t n = coir_tls_read(t, got + len, MUCH - len, LONG);
            CHECK(n > 0);
            len += (size_t)n;
            if (len < 100000)
                (void)coir_sleep(1 * MS); /* slower than the server */
        }
        CHECK_EQ(memcmp(got, much, MUCH), 0);
        CHECK_EQ(join(g), 0);
    }
    (void)coir_tls_close(t);
    drop(s);
    leave_tls(context);
}

TEST(http_tls, drives_handshakes_without_green_threads)
{
    coir_http_server_options options = {.handshake_timeout_ns = 200 * MS};
    coir_tls_context *context = server_context();
    coir_http_server *s = serve_tls(hello_tls, NULL, context, &options);
    coir_socket *silent = dial(s), *plain = dial(s);
    char byte;
    say(plain, GET); /* no handshake at all */
    UNTIL(s, handshake_errors, 1);
    while (coir_read(plain, &byte, 1, LONG) > 0)
        ; /* an alert */
    (void)coir_socket_close(plain);
    CHECK_EQ(counters(s).active, 0);
    hear_end(silent);
    CHECK_EQ(counters(s).handshake_timeouts, 1);
    /* One that ends in the midst of it. */
    coir_socket *c = dial(s);
    say_n(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
    (void)coir_yield();
    (void)coir_socket_close(c);
    UNTIL(s, connections, 0);
    drop(s);
    leave_tls(context);
}

TEST(http_tls, without_memory_clients_are_refused)
{
    coir_tls_context *context = server_context();
    coir_http_server *s = serve_tls(hello_tls, NULL, context, NULL);
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    coir_test_fail_alloc(1);
    CHECK_EQ(coir_http_server_adopt(s, fds[0], coir_tls_http(), context),
             COIR_ENOMEM);
    coir_test_fail_none();
    CHECK_EQ(counters(s).connections, 0);
    (void)close(fds[1]);
    drop(s);
    leave_tls(context);
}
