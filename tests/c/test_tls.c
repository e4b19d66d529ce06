/* test_tls.c - TLS streams, with certificates made here. */
#include <arpa/inet.h>
#include <coir/process.h>
#include <coir/tls.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define S COIR_NS_PER_S
#define MS COIR_NS_PER_MS

/* --- certificates -------------------------------------------------------- */

static char dir[] = "/tmp/coir-tls.XXXXXX";

typedef struct identity {
    X509 *cert;
    EVP_PKEY *key;
    char cert_file[60];
    char key_file[60];
} identity;

static identity ca, other_ca, server, wildcard, expired, client;

static void
extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    CHECK(e != NULL);
    CHECK_EQ(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* `names` as in "DNS:a,IP:1.2.3.4"; NULL: an authority. */
static void
make(identity *who, const char *common, const char *names,
     const identity *issuer, long valid_from, long valid_to)
{
    static long serial;
    who->key = EVP_EC_gen("P-256");
    X509 *x = who->cert = X509_new();
    CHECK(who->key != NULL && x != NULL);
    if (issuer == NULL)
        issuer = who;
    (void)X509_set_version(x, X509_VERSION_3);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), valid_from);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), valid_to);
    (void)X509_set_pubkey(x, who->key);
    X509_NAME *name = X509_get_subject_name(x);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                     (const unsigned char *)common, -1, -1, 0);
    (void)X509_set_issuer_name(x, X509_get_subject_name(issuer->cert));
    extend(x, issuer->cert, NID_basic_constraints,
           names == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    if (names != NULL)
        extend(x, issuer->cert, NID_subject_alt_name, names);
    CHECK(X509_sign(x, issuer->key, EVP_sha256()) > 0);
    snprintf(who->cert_file, sizeof who->cert_file, "%s/%s.pem", dir, common);
    snprintf(who->key_file, sizeof who->key_file, "%s/%s.key", dir, common);
    FILE *f = fopen(who->cert_file, "w");
    CHECK(f != NULL && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    f = fopen(who->key_file, "w");
    CHECK(f != NULL &&
          PEM_write_PrivateKey(f, who->key, NULL, NULL, 0, NULL, NULL) == 1 &&
          fclose(f) == 0);
}

static void
forget(const identity *who)
{
    X509_free(who->cert);
    EVP_PKEY_free(who->key);
    (void)unlink(who->cert_file);
    (void)unlink(who->key_file);
}

#define DAY (24L * 3600)

static void
begin(void)
{
    CHECK(mkdtemp(dir) != NULL);
    make(&ca, "ca", NULL, NULL, -DAY, DAY);
    make(&other_ca, "other", NULL, NULL, -DAY, DAY);
    make(&server, "server", "DNS:server.test,IP:127.0.0.1,IP:::1", &ca, -DAY,
         DAY);
    make(&wildcard, "wildcard", "DNS:*.wild.test", &ca, -DAY, DAY);
    make(&expired, "expired", "DNS:server.test", &ca, -2 * DAY, -DAY);
    make(&client, "client", "DNS:client.test", &ca, -DAY, DAY);
}

static void
finish(void)
{
    const identity *all[] = {&ca,       &other_ca, &server,
                             &wildcard, &expired,  &client};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        forget(all[i]);
    CHECK_EQ(rmdir(dir), 0);
    CHECK_EQ(ERR_peek_error(), 0); /* nothing was left in the queue */
    CHECK_EQ(coir_hub_fini(), 0);
}

/* --- both sides ---------------------------------------------------------- */

static coir_tls_context *
context(int role, const coir_tls_attr *attr)
{
    coir_tls_context *c;
    int err = coir_tls_context_new(&c, role, attr);
    if (err < 0)
        FAIL(coir_tls_error());
    return c;
}

static coir_tls_context *
server_context(const identity *who)
{
    coir_tls_attr attr = {.cert_file = who->cert_file,
                          .key_file = who->key_file};
    return context(COIR_TLS_SERVER, &attr);
}

static coir_tls_context *
client_context(void)
{
    coir_tls_attr attr = {.ca_file = ca.cert_file};
    return context(COIR_TLS_CLIENT, &attr);
}

typedef struct side {
    coir_tls_context *context;
    coir_socket *socket;
    const char *host;
    coir_tls_session *session;
    coir_tls *t;
    int err;
    char why[256];
} side;

static int
accept_side(void *arg)
{
    side *s = arg;
    s->err = coir_tls_accept(&s->t, s->context, s->socket, 20 * S);
    snprintf(s->why, sizeof s->why, "%s",
             s->err == COIR_ETLS ? coir_tls_error() : "");
    if (s->err < 0)
        (void)coir_socket_close(s->socket);
    return 0;
}

static side a, b; /* client, server */

/* Returns how it ended for the client. */
static int
shake(coir_tls_context *cc, coir_tls_context *sc, const char *host,
      coir_tls_session *session)
{
    coir_socket *pair[2];
    CHECK_EQ(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
    a = (side){.context = cc, .socket = pair[0]};
    b = (side){.context = sc, .socket = pair[1]};
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, accept_side, &b, NULL), 0);
    a.err = coir_tls_connect(&a.t, cc, pair[0], host, session, 20 * S);
    snprintf(a.why, sizeof a.why, "%s",
             a.err == COIR_ETLS ? coir_tls_error() : "");
    if (a.err < 0)
        CHECK_EQ(coir_socket_close(pair[0]), 0);
    CHECK_EQ(coir_join(g, NULL), 0);
    return a.err;
}

static void
close_both(void)
{
    if (a.t != NULL)
        CHECK_EQ(coir_tls_close(a.t), 0);
    if (b.t != NULL)
        CHECK_EQ(coir_tls_close(b.t), 0);
}

static void
exchange(void)
{
    char buf[100];
    CHECK_EQ(coir_tls_write_all(a.t, "hello", 5, 20 * S), 0);
    CHECK_EQ(coir_tls_read(b.t, buf, sizeof buf, 20 * S), 5);
    CHECK_EQ(memcmp(buf, "hello", 5), 0);
    CHECK_EQ(coir_tls_write_all(b.t, "you", 3, 20 * S), 0);
    CHECK_EQ(coir_tls_read(a.t, buf, 2, 20 * S), 2);
    CHECK_EQ(coir_tls_read(a.t, buf + 2, 2, 0), 1); /* it is here */
    CHECK_EQ(memcmp(buf, "you", 3), 0);
    CHECK_EQ(coir_tls_read(a.t, buf, 1, 0), COIR_ETIMEDOUT);
    CHECK_EQ(coir_tls_read(a.t, buf, 1, MS), COIR_ETIMEDOUT);
}

TEST(tls, exchange)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    CHECK_EQ(b.err, 0);
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    coir_tls_context_free(NULL);
    exchange();
    CHECK_STR(coir_tls_version(a.t), "TLSv1.3");
    CHECK(strlen(coir_tls_cipher(a.t)) > 0);
    CHECK_STR(coir_tls_alpn(a.t), "");
    CHECK_STR(coir_tls_host(a.t), "server.test");
    CHECK_STR(coir_tls_host(b.t), "server.test");
    CHECK(coir_tls_is_verified(a.t));
    CHECK(!coir_tls_is_verified(b.t));
    CHECK(coir_tls_socket(a.t) == a.socket);
    CHECK(coir_tls_handle(a.t) != NULL);
    /* Each direction ends by itself, and is known to. */
    char buf[10];
    CHECK_EQ(coir_tls_shutdown(a.t, S), 0);
    CHECK_EQ(coir_tls_shutdown(a.t, S), 0);
    CHECK_EQ(coir_tls_write_all(a.t, "x", 1, S), COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_tls_read(b.t, buf, sizeof buf, S), 0);
    CHECK_EQ(coir_tls_read(b.t, buf, sizeof buf, S), 0);
    CHECK_EQ(coir_tls_read(b.t, buf, 0, S), 0);
    CHECK_EQ(coir_tls_write_all(b.t, "still", 5, S), 0);
    CHECK_EQ(coir_tls_write_all(b.t, "", 0, S), 0);
    CHECK_EQ(coir_tls_close(b.t), 0);
    CHECK_EQ(coir_tls_read(a.t, buf, sizeof buf, S), 5);
    CHECK_EQ(coir_tls_read(a.t, buf, sizeof buf, S), 0);
    CHECK_EQ(coir_tls_close(a.t), 0);
    finish();
}

/* --- who is trusted ------------------------------------------------------ */

static void
refuse(coir_tls_context *cc, const identity *who, const char *host,
       const char *why)
{
    coir_tls_context *sc = server_context(who);
    CHECK_EQ(shake(cc, sc, host, NULL), COIR_ETLS);
    if (strstr(a.why, why) == NULL)
        FAIL(a.why);
    CHECK(a.t == NULL);
    /* The server learns it at once, or by an alert when it reads. */
    CHECK(b.t == NULL || b.err == 0);
    if (b.t != NULL) {
        char c;
        CHECK_EQ(coir_tls_read(b.t, &c, 1, S), COIR_ETLS);
        CHECK(strstr(coir_tls_error(), "alert") != NULL);
        CHECK_EQ(coir_tls_write_all(b.t, &c, 1, S), COIR_ETLS);
    }
    close_both();
    coir_tls_context_free(sc);
}

TEST(tls, certificates_are_checked)
{
    begin();
    coir_tls_context *cc = client_context();
    refuse(cc, &server, "wrong.test", "ostname mismatch");
    refuse(cc, &server, "xserver.test", "ostname mismatch");
    refuse(cc, &server, "127.0.0.2", "IP address mismatch");
    refuse(cc, &expired, "server.test", "expired");
    refuse(cc, &wildcard, "a.b.wild.test", "ostname mismatch");
    refuse(cc, &wildcard, "wild.test", "ostname mismatch");
    coir_tls_context_free(cc);
    coir_tls_attr attr = {.ca_file = other_ca.cert_file};
    cc = context(COIR_TLS_CLIENT, &attr);
    refuse(cc, &server, "server.test", "issuer certificate");
    coir_tls_context_free(cc);
    cc = context(COIR_TLS_CLIENT, NULL); /* the system knows nothing of it */
    refuse(cc, &server, "server.test", "issuer certificate");
    coir_tls_context_free(cc);
    finish();
}

TEST(tls, certificates_that_do)
{
    begin();
    static const struct {
        const identity *who;
        const char *host;
    } good[] = {{&server, "server.test"},
                {&server, "SERVER.test"},
                {&server, "127.0.0.1"},
                {&server, "::1"},
                {&wildcard, "a.wild.test"}};
    coir_tls_context *cc = client_context();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        coir_tls_context *sc = server_context(good[i].who);
        CHECK_EQ(shake(cc, sc, good[i].host, NULL), 0);
        exchange();
        close_both();
        coir_tls_context_free(sc);
    }
    coir_tls_context_free(cc);
    coir_tls_attr attr = {.flags = COIR_TLS_NO_VERIFY};
    cc = context(COIR_TLS_CLIENT, &attr);
    coir_tls_context *sc = server_context(&expired);
    CHECK_EQ(shake(cc, sc, NULL, NULL), 0);
    CHECK(!coir_tls_is_verified(a.t));
    exchange();
    close_both();
    coir_tls_context_free(sc);
    coir_tls_context_free(cc);
    finish();
}

TEST(tls, certificates_of_clients)
{
    begin();
    coir_tls_attr attr = {.ca_file = ca.cert_file,
                          .cert_file = server.cert_file,
                          .key_file = server.key_file,
                          .flags = COIR_TLS_NEED_PEER};
    coir_tls_context *need = context(COIR_TLS_SERVER, &attr);
    attr.flags = COIR_TLS_ASK_PEER;
    coir_tls_context *ask = context(COIR_TLS_SERVER, &attr);
    coir_tls_context *none = client_context();
    attr = (coir_tls_attr){.ca_file = ca.cert_file,
                           .cert_file = client.cert_file,
                           .key_file = client.key_file};
    coir_tls_context *with = context(COIR_TLS_CLIENT, &attr);
    coir_tls_context *const servers[] = {need, ask};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(shake(with, servers[i], "server.test", NULL), 0);
        CHECK_EQ(b.err, 0);
        CHECK(coir_tls_is_verified(b.t));
        exchange();
        close_both();
    }
    CHECK_EQ(shake(none, ask, "server.test", NULL), 0);
    CHECK(!coir_tls_is_verified(b.t));
    exchange();
    close_both();
    (void)shake(none, need, "server.test", NULL); /* it learns of it later */
    CHECK_EQ(b.err, COIR_ETLS);
    CHECK(strstr(b.why, "did not return a certificate") != NULL);
    close_both();
    coir_tls_context_free(need);
    coir_tls_context_free(ask);
    coir_tls_context_free(with);
    coir_tls_context_free(none);
    finish();
}

/* --- what is agreed on --------------------------------------------------- */

TEST(tls, alpn)
{
    begin();
    static const char *const two[] = {"h2", "http/1.1", NULL};
    static const char *const one[] = {"http/1.1", NULL};
    static const char *const none[] = {"gopher", NULL};
    coir_tls_attr attr = {.cert_file = server.cert_file,
                          .key_file = server.key_file,
                          .alpn = two};
    coir_tls_context *sc = context(COIR_TLS_SERVER, &attr);
    attr = (coir_tls_attr){.ca_file = ca.cert_file, .alpn = two};
    coir_tls_context *cc = context(COIR_TLS_CLIENT, &attr);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    CHECK_STR(coir_tls_alpn(a.t), "h2");
    CHECK_STR(coir_tls_alpn(b.t), "h2");
    close_both();
    coir_tls_context_free(cc);
    attr.alpn = one;
    cc = context(COIR_TLS_CLIENT, &attr);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    CHECK_STR(coir_tls_alpn(b.t), "http/1.1");
    close_both();
    coir_tls_context_free(cc);
    attr.alpn = none;
    cc = context(COIR_TLS_CLIENT, &attr);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), COIR_ETLS);
    CHECK(strstr(a.why, "no application protocol") != NULL);
    coir_tls_context_free(cc);
    cc = client_context(); /* asks for none */
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    CHECK_STR(coir_tls_alpn(b.t), "");
    close_both();
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

TEST(tls, hosts)
{
    begin();
    coir_tls_context *cc = client_context();
    coir_tls_context *sc = server_context(&server);
    coir_tls_context *wild = server_context(&wildcard);
    CHECK_EQ(coir_tls_context_add_host(sc, "*.wild.test", wild), 0);
    CHECK_EQ(coir_tls_context_add_host(sc, "", wild), COIR_EINVAL);
    CHECK_EQ(coir_tls_context_add_host(sc, "x", sc), COIR_EINVAL);
    CHECK_EQ(coir_tls_context_add_host(sc, "x", cc), COIR_EINVAL);
    coir_test_fail_alloc(0);
    CHECK_EQ(coir_tls_context_add_host(sc, "x", wild), COIR_ENOMEM);
    coir_tls_context_free(wild);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    close_both();
    CHECK_EQ(shake(cc, sc, "a.wild.test", NULL), 0);
    close_both();
    CHECK_EQ(shake(cc, sc, "b.a.wild.test", NULL), COIR_ETLS);
    close_both();
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

TEST(tls, sessions)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        CHECK_EQ(SSL_CTX_set_max_proto_version(coir_tls_context_handle(cc),
                                               version),
                 1);
        coir_tls_session *session = NULL;
        CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
        CHECK(!coir_tls_is_resumed(a.t));
        CHECK_EQ(coir_tls_get_session(b.t, &session), COIR_EINVAL);
        exchange(); /* which brings it, with TLS 1.3 */
        coir_test_fail_alloc(0);
        CHECK_EQ(coir_tls_get_session(a.t, &session), COIR_ENOMEM);
        CHECK_NULL(session);
        CHECK_EQ(coir_tls_get_session(a.t, &session), 0);
        close_both();
        CHECK_EQ(shake(cc, sc, "server.test", session), 0);
        CHECK(coir_tls_is_resumed(a.t));
        CHECK(coir_tls_is_resumed(b.t));
        CHECK(coir_tls_is_verified(a.t));
        exchange();
        close_both();
        /* What was checked for one host says nothing about another. */
        coir_socket *pair[2];
        CHECK_EQ(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
        coir_tls *t = NULL;
        CHECK_EQ(coir_tls_connect(&t, cc, pair[0], "127.0.0.1", session, S),
                 COIR_EINVAL);
        coir_tls_context *more = client_context();
        CHECK_EQ(
            coir_tls_connect(&t, more, pair[0], "server.test", session, S),
            COIR_EINVAL);
        CHECK_NULL(t);
        coir_tls_context_free(more);
        (void)coir_socket_close(pair[0]);
        (void)coir_socket_close(pair[1]);
        coir_tls_session_free(session);
        coir_tls_session_free(NULL);
    }
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

/* --- misuse, and files --------------------------------------------------- */

TEST(tls, contexts_that_cannot_be)
{
    begin();
    coir_tls_context *c = NULL;
    coir_tls_attr wrong[] = {
        {.cert_file = server.cert_file},
        {.key_file = server.key_file},
        {.flags = COIR_TLS_NEED_PEER},
        {.alpn = (const char *const[]){NULL}},
        {.alpn = (const char *const[]){"", NULL}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_EQ(coir_tls_context_new(&c, COIR_TLS_CLIENT, &wrong[i]),
                 COIR_EINVAL);
    CHECK_EQ(coir_tls_context_new(&c, 7, NULL), COIR_EINVAL);
    CHECK_EQ(coir_tls_context_new(&c, COIR_TLS_SERVER, NULL), COIR_EINVAL);
    coir_tls_attr attr = {.cert_file = server.cert_file,
                          .key_file = server.key_file,
                          .flags = COIR_TLS_ASK_PEER};
    CHECK_EQ(coir_tls_context_new(&c, COIR_TLS_SERVER, &attr), COIR_EINVAL);
    attr = (coir_tls_attr){.ca_file = "/no/such/file"};
    CHECK_EQ(coir_tls_context_new(&c, COIR_TLS_CLIENT, &attr), COIR_ETLS);
    CHECK(strstr(coir_tls_error(), "/no/such/file: ") != NULL);
    CHECK(strstr(coir_tls_error(), "No such file") != NULL);
    attr = (coir_tls_attr){.ca_file = server.key_file};
    CHECK_EQ(coir_tls_context_new(&c, COIR_TLS_CLIENT, &attr), COIR_ETLS);
    attr = (coir_tls_attr){.cert_file = server.cert_file,
                           .key_file = wildcard.key_file};
    CHECK_EQ(coir_tls_context_new(&c, COIR_TLS_SERVER, &attr), COIR_ETLS);
    CHECK(strstr(coir_tls_error(), "mismatch") != NULL);
    CHECK_NULL(c);
    /* Of the wrong side; without a name. */
    coir_socket *pair[2];
    CHECK_EQ(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    coir_tls *t = NULL;
    char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const char *names[] = {NULL, "", long_name};
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_tls_connect(&t, cc, pair[0], names[i], NULL, S),
                 COIR_EINVAL);
    CHECK_EQ(coir_tls_connect(&t, sc, pair[0], "x", NULL, S), COIR_EINVAL);
    CHECK_EQ(coir_tls_accept(&t, cc, pair[0], S), COIR_EINVAL);
    CHECK_NULL(t);
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    (void)coir_socket_close(pair[0]);
    (void)coir_socket_close(pair[1]);
    finish();
}

TEST(tls, without_memory)
{
    begin();
    static const char *const alpn[] = {"x", NULL};
    CHECK(coir_hub_get() != NULL);
    EACH_ALLOC_FAILURE(n)
    {
        coir_tls_attr attr = {.ca_file = ca.cert_file, .alpn = alpn};
        coir_tls_context *cc = NULL, *sc = NULL;
        if (coir_tls_context_new(&cc, COIR_TLS_CLIENT, &attr) == 0) {
            attr = (coir_tls_attr){.cert_file = server.cert_file,
                                   .key_file = server.key_file};
            (void)coir_tls_context_new(&sc, COIR_TLS_SERVER, &attr);
        }
        coir_socket *pair[2];
        if (sc != NULL &&
            coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0) == 0) {
            coir_tls *t = NULL;
            int err = coir_tls_connect(&t, cc, pair[0], "x", NULL, 0);
            CHECK(err == COIR_ENOMEM || err == COIR_ETIMEDOUT);
            err = coir_tls_accept(&t, sc, pair[1], 0);
            CHECK(err == COIR_ENOMEM || err == COIR_ETLS ||
                  err == COIR_ETIMEDOUT);
            CHECK_NULL(t);
            (void)coir_socket_close(pair[0]);
            (void)coir_socket_close(pair[1]);
        }
        coir_tls_context_free(cc);
        coir_tls_context_free(sc);
    }
    finish();
}

/* --- peers that do not do what they should ------------------------------- */

TEST(tls, silence)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    coir_socket *pair[2];
    CHECK_EQ(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
    coir_tls *t = NULL;
    CHECK_EQ(coir_tls_accept(&t, sc, pair[0], 10 * MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_tls_connect(&t, cc, pair[1], "server.test", NULL, 10 * MS),
             COIR_ETIMEDOUT);
    coir_deadline deadline;
    coir_deadline_begin(&deadline, 10 * MS);
    CHECK_EQ(coir_tls_connect(&t, cc, pair[1], "server.test", NULL, 100 * S),
             COIR_ETIMEDOUT);
    CHECK(coir_deadline_end(&deadline));
    CHECK_NULL(t);
    (void)coir_socket_close(pair[0]);
    (void)coir_socket_close(pair[1]);
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

static int
send_slowly(void *arg)
{
    coir_socket *s = arg;
    static const unsigned char head[] = {22, 3, 1, 0x10, 0};
    int err = coir_write_all(s, head, sizeof head, NULL, S);
    while (err == 0) {
        err = coir_sleep(MS);
        if (err == 0)
            err = coir_write_all(s, "", 1, NULL, S);
    }
    return err;
}

/* One byte after the other does not make it last longer. */
TEST(tls, slowness)
{
    begin();
    coir_tls_context *sc = server_context(&server);
    coir_socket *pair[2];
    CHECK_EQ(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
    coir_tls *t = NULL;
    coir_green *g;
    CHECK_EQ(coir_spawn(&g, send_slowly, pair[1], NULL), 0);
    CHECK_EQ(coir_tls_accept(&t, sc, pair[0], 50 * MS), COIR_ETIMEDOUT);
    CHECK_NULL(t);
    coir_cancel(g);
    CHECK_EQ(coir_join(g, NULL), 0);
    (void)coir_socket_close(pair[0]);
    (void)coir_socket_close(pair[1]);
    coir_tls_context_free(sc);
    finish();
}

TEST(tls, nonsense)
{
    begin();
    coir_tls_context *sc = server_context(&server);
    coir_socket *pair[2];
    CHECK_EQ(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
    coir_tls *t = NULL;
    CHECK_EQ(coir_write_all(pair[1], "GET / HTTP/1.0\r\n\r\n", 18, NULL, S),
             0);
    CHECK_EQ(coir_tls_accept(&t, sc, pair[0], S), COIR_ETLS);
    CHECK(strstr(coir_tls_error(), "http request") != NULL);
    (void)coir_socket_close(pair[0]);
    (void)coir_socket_close(pair[1]);
    CHECK_EQ(coir_socket_pair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
    (void)coir_socket_close(pair[1]);
    CHECK_EQ(coir_tls_accept(&t, sc, pair[0], S), COIR_EEOF);
    CHECK_NULL(t);
    (void)coir_socket_close(pair[0]);
    coir_tls_context_free(sc);
    finish();
}

/* The end of the connection alone is not the end of the stream. */
TEST(tls, truncated)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    CHECK_EQ(coir_tls_write_all(b.t, "half", 4, S), 0);
    CHECK_EQ(coir_shutdown(coir_tls_socket(b.t), SHUT_RDWR), 0);
    char buf[10];
    CHECK_EQ(coir_tls_read(a.t, buf, sizeof buf, S), 4);
    CHECK_EQ(coir_tls_read(a.t, buf, sizeof buf, S), COIR_EEOF);
    CHECK_EQ(coir_tls_read(a.t, buf, sizeof buf, S), COIR_EEOF);
    CHECK_EQ(coir_tls_write_all(a.t, buf, 4, S), COIR_EEOF);
    CHECK_EQ(coir_tls_shutdown(a.t, S), COIR_EEOF);
    close_both();
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    CHECK_EQ(coir_tls_close(b.t), 0);
    int err;
    while ((err = coir_tls_write_all(a.t, buf, 1, S)) == 0)
        ;
    CHECK_EQ(err, COIR_ERRNO(EPIPE));
    CHECK_EQ(coir_tls_close(a.t), 0);
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

/* --- transfer ------------------------------------------------------------ */

#define BIG ((size_t)3 << 20)

static unsigned char
byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761U >> 13);
}

static int
send_big(void *arg)
{
    unsigned char *data = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        data[i] = byte_at(i);
    size_t sizes[] = {1, 100, 16384, 16385, 100000};
    for (size_t at = 0, n = 0; at < BIG; n++) {
        size_t len = sizes[n % 5] < BIG - at ? sizes[n % 5] : BIG - at;
        CHECK_EQ(coir_tls_write_all(arg, data + at, len, 20 * S), 0);
        at += len;
    }
    free(data);
    return coir_tls_shutdown(arg, 20 * S);
}

static int
receive_big(void *arg)
{
    unsigned char buf[10000];
    size_t at = 0;
    for (;;) {
        ssize_t n = coir_tls_read(arg, buf, 1 + at % sizeof buf, 20 * S);
        CHECK(n >= 0);
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++, at++)
            CHECK_EQ(buf[i], byte_at(at));
    }
    CHECK_EQ(at, BIG);
    return 0;
}

/* Both ways at once, on one stream. */
TEST(tls, big_transfers)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        CHECK_EQ(SSL_CTX_set_max_proto_version(coir_tls_context_handle(cc),
                                               version),
                 1);
        CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
        coir_green *g[4];
        CHECK_EQ(coir_spawn(&g[0], send_big, a.t, NULL), 0);
        CHECK_EQ(coir_spawn(&g[1], receive_big, b.t, NULL), 0);
        CHECK_EQ(coir_spawn(&g[2], send_big, b.t, NULL), 0);
        CHECK_EQ(coir_spawn(&g[3], receive_big, a.t, NULL), 0);
        for (int i = 0; i < 4; i++) {
            int result;
            CHECK_EQ(coir_join(g[i], &result), 0);
            CHECK_EQ(result, 0);
        }
        close_both();
    }
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

static void *
big_in_thread(void *arg)
{
    coir_green *g[2];
    CHECK_EQ(coir_spawn(&g[0], send_big, arg, NULL), 0);
    CHECK_EQ(coir_spawn(&g[1], receive_big, arg, NULL), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coir_join(g[i], NULL), 0);
    return NULL;
}

static void *
send_in_thread(void *arg)
{
    CHECK_EQ(send_big(arg), 0);
    return NULL;
}

TEST(tls, in_several_threads)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    pthread_t threads[2];
    CHECK_EQ(pthread_create(&threads[0], NULL, big_in_thread, b.t), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, send_in_thread, a.t), 0);
    CHECK_EQ(receive_big(a.t), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    close_both();
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

static int
write_words(void *arg)
{
    for (int i = 0; i < 50; i++) {
        char word[4000];
        memset(word, *(char *)arg, sizeof word);
        CHECK_EQ(coir_tls_write_all(a.t, word, sizeof word, 20 * S), 0);
    }
    return 0;
}

/* What one writes is not torn apart by the others. */
TEST(tls, writers_take_turns)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    static char names[] = "xyz";
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_spawn(&g[i], write_words, &names[i], NULL), 0);
    for (int words = 0; words < 150; words++) {
        char word[4000];
        size_t at = 0;
        while (at < sizeof word) {
            ssize_t n =
                coir_tls_read(b.t, word + at, sizeof word - at, 20 * S);
            CHECK(n > 0);
            at += (size_t)n;
        }
        for (size_t i = 1; i < sizeof word; i++)
            CHECK_EQ(word[i], word[0]);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_join(g[i], NULL), 0);
    close_both();
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

static int
read_one(void *arg)
{
    char c;
    return (int)coir_tls_read(arg, &c, 1, COIR_FOREVER);
}

TEST(tls, interrupted)
{
    begin();
    coir_tls_context *cc = client_context(), *sc = server_context(&server);
    CHECK_EQ(shake(cc, sc, "server.test", NULL), 0);
    coir_green *g[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coir_spawn(&g[i], read_one, a.t, NULL), 0);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_yield(), 0);
    coir_cancel(g[0]); /* reading can go on after that */
    int result;
    CHECK_EQ(coir_join(g[0], &result), 0);
    CHECK_EQ(result, COIR_ECANCELED);
    CHECK_EQ(coir_tls_write_all(b.t, "x", 1, S), 0);
    CHECK_EQ(coir_join(g[1], &result), 0);
    CHECK_EQ(result, 1);
    char *big = calloc(1, BIG);
    CHECK_EQ(coir_tls_write_all(b.t, big, BIG, 20 * MS), COIR_ETIMEDOUT);
    CHECK_EQ(coir_tls_write_all(b.t, big, 1, 20 * MS), COIR_ETORN);
    CHECK_EQ(coir_tls_shutdown(b.t, 20 * MS), COIR_ETORN);
    free(big);
    CHECK_EQ(coir_join(g[2], &result), 0);
    CHECK_EQ(result, 1);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coir_spawn(&g[i], read_one, b.t, NULL), 0);
    CHECK_EQ(coir_yield(), 0);
    CHECK_EQ(coir_tls_close(b.t), 0); /* they are told */
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(coir_join(g[i], &result), 0);
        CHECK_EQ(result, COIR_ECLOSED);
    }
    CHECK_EQ(coir_tls_close(a.t), 0);
    coir_tls_context_free(cc);
    coir_tls_context_free(sc);
    finish();
}

/* --- others' implementations of it --------------------------------------- */

/* OpenSSL's own program, "openssl ARGS...". */
static coir_process *
run_openssl(coir_socket **in, coir_socket **out, const char *const argv[])
{
    coir_process_attr attr = {.in = {.kind = COIR_STDIO_PIPE, .pipe = in},
                              .out = {.kind = COIR_STDIO_PIPE, .pipe = out},
                              .err = {.kind = COIR_STDIO_OUT}};
    coir_process *p;
    int err = coir_process_spawn(&p, argv, &attr);
    if (err == COIR_ERRNO(ENOENT))
        SKIP("no program openssl");
    CHECK_EQ(err, 0);
    return p;
}

static void
read_until(coir_socket *s, char *text, size_t size, const char *word)
{
    size_t len = 0;
    do {
        ssize_t n = coir_read(s, text + len, size - 1 - len, 20 * S);
        if (n <= 0)
            FAIL(text);
        len += (size_t)n;
        text[len] = '\0';
    } while (strstr(text, word) == NULL || text[len - 1] != '\n');
}

static void
end_openssl(coir_process *p, coir_socket *in, coir_socket *out)
{
    if (in != NULL)
        CHECK_EQ(coir_socket_close(in), 0);
    (void)coir_process_kill(p, SIGTERM);
    CHECK_EQ(coir_process_wait(p, NULL, 20 * S), 0);
    coir_process_free(p);
    CHECK_EQ(coir_socket_close(out), 0);
}

TEST(tls, with_s_client)
{
    begin();
    coir_tls_context *sc = server_context(&server);
    coir_socket *listener, *connection, *in, *out;
    CHECK_EQ(coir_tcp_listen(&listener, "127.0.0.1", "0", 10), 0);
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    CHECK_EQ(getsockname(coir_socket_fd(listener), (void *)&addr, &len), 0);
    char where[40], text[4000] = "";
    snprintf(where, sizeof where, "127.0.0.1:%d", ntohs(addr.sin_port));
    const char *argv[] = {
        "openssl", "s_client",    "-quiet",           "-connect",
        where,     "-servername", "some.test",        "-verify_return_error",
        "-CAfile", ca.cert_file,  "-verify_hostname", "server.test",
        NULL};
    coir_process *p = run_openssl(&in, &out, argv);
    CHECK_EQ(coir_accept(listener, &connection, NULL, NULL, 20 * S), 0);
    coir_tls *t;
    CHECK_EQ(coir_tls_accept(&t, sc, connection, 20 * S), 0);
    CHECK_STR(coir_tls_host(t), "some.test");
    CHECK_EQ(coir_write_all(in, "question\n", 9, NULL, S), 0);
    CHECK_EQ(coir_tls_read(t, text, sizeof text, 20 * S), 9);
    CHECK_EQ(memcmp(text, "question\n", 9), 0);
    CHECK_EQ(coir_tls_write_all(t, "answer\n", 7, S), 0);
    read_until(out, text, sizeof text, "answer\n");
    CHECK_EQ(coir_tls_close(t), 0);
    end_openssl(p, in, out);
    CHECK_EQ(coir_socket_close(listener), 0);
    coir_tls_context_free(sc);
    finish();
}

TEST(tls, with_s_server)
{
    begin();
    coir_tls_context *cc = client_context();
    const char *argv[] = {
        "openssl",        "s_server", "-accept",       "127.0.0.1:0", "-cert",
        server.cert_file, "-key",     server.key_file, "-rev",        NULL};
    coir_socket *in, *out, *connection;
    coir_process *p = run_openssl(&in, &out, argv);
    char text[4000] = "";
    read_until(out, text, sizeof text, "ACCEPT ");
    const char *port = strrchr(text, ':');
    CHECK(port != NULL);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)atoi(port + 1)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_EQ(coir_socket_open(&connection, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(connection, (void *)&addr, sizeof addr, 20 * S), 0);
    coir_tls *t;
    CHECK_EQ(coir_tls_connect(&t, cc, connection, "127.0.0.1", NULL, 20 * S),
             0);
    CHECK_EQ(coir_tls_write_all(t, "stressed\n", 9, S), 0);
    CHECK_EQ(coir_tls_read(t, text, sizeof text, 20 * S), 9);
    CHECK_EQ(memcmp(text, "desserts\n", 9), 0);
    CHECK_EQ(coir_tls_close(t), 0);
    end_openssl(p, in, out);
    coir_tls_context_free(cc);
    finish();
}
