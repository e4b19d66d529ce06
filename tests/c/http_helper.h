/* http_helper.h - a server and its clients on one hub, for the tests of
 * coir/http_server.h. The test is a client itself, with sockets of
 * coir/net.h. */
#ifndef COIR_TESTS_HTTP_HELPER_H
#define COIR_TESTS_HTTP_HELPER_H

#include <coir/http_server.h>
#include <coir/net.h>
#include <coir/sync.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "green_helper.h"

#define MS COIR_NS_PER_MS
#define S COIR_NS_PER_S
/* No test waits so long but one that fails. */
#define LONG (60 * S)

/* A server that listens on a port of 127.0.0.1. */
static inline coir_http_server *
serve(coir_http_handler *handler, void *arg,
      const coir_http_server_options *options)
{
    coir_http_server *s;
    CHECK_EQ(coir_http_server_new(&s, handler, arg, options), 0);
    CHECK_EQ(coir_http_server_bind(s, "127.0.0.1", "0", 0, NULL, NULL), 0);
    CHECK_EQ(coir_http_server_start(s), 0);
    return s;
}

/* Stop it at once, and free it. */
static inline void
drop(coir_http_server *s)
{
    coir_http_server_stop(s, 0, 0);
    CHECK_EQ(coir_http_server_join(s, LONG), 0);
    CHECK_EQ(coir_http_server_state(s), COIR_HTTP_STOPPED);
    coir_http_server_free(s);
}

/* At the end of a test. */
static inline void
leave(void)
{
    CHECK_EQ(coir_hub_run(), 0);
    CHECK_EQ(coir_hub_fini(), 0);
}

static inline coir_http_counters
counters(const coir_http_server *s)
{
    coir_http_counters c;
    coir_http_server_counters(s, &c);
    CHECK_EQ(c.connections, c.shaking + c.idle + c.reading + c.queued +
                                c.active + c.lingering);
    return c;
}

/* Wait until a counter has a value, by the name of its member. */
#define UNTIL(server, member, value)                                          \
    while (counters(server).member != (value))                                \
    (void)coir_sleep(1 * MS)

static inline coir_socket *
dial(const coir_http_server *s)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    int fd = coir_http_server_fd(s, 0);
    CHECK(fd >= 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    coir_socket *c;
    CHECK_EQ(coir_socket_open(&c, AF_INET, SOCK_STREAM, 0), 0);
    CHECK_EQ(coir_connect(c, (struct sockaddr *)&addr, len, LONG), 0);
    return c;
}

static inline void
say_n(coir_socket *c, const char *text, size_t len)
{
    CHECK_EQ(coir_write_all(c, text, len, NULL, LONG), 0);
}

static inline void
say(coir_socket *c, const char *text)
{
    say_n(c, text, strlen(text));
}

/* What a client got: one response, or what came until the end. */
typedef struct reply {
    int status;
    int closes; /* "Connection: close" */
    char head[4096];
    char body[8192];
    size_t len; /* of the body */
} reply;

static inline void
read_to(coir_socket *c, char *buf, size_t len)
{
    CHECK_EQ(coir_read_exact(c, buf, len, NULL, LONG), 0);
}

static inline void
read_line(coir_socket *c, char *buf, size_t size)
{
    size_t len = 0;
    do {
        CHECK(len + 1 < size);
        read_to(c, buf + len, 1);
    } while (buf[len++] != '\n');
    buf[len] = '\0';
}

static inline void
read_chunks(coir_socket *c, reply *r)
{
    for (;;) {
        char line[64];
        read_line(c, line, sizeof line);
        size_t size = strtoul(line, NULL, 16);
        CHECK(r->len + size < sizeof r->body);
        read_to(c, r->body + r->len, size);
        r->len += size;
        read_line(c, line, sizeof line);
        CHECK_STR(line, "\r\n");
        if (size == 0)
            return;
    }
}

/* Read a response; `has_body` 0: to HEAD. */
static inline void
hear_some(coir_socket *c, reply *r, int has_body)
{
    size_t len = 0;
    memset(r, 0, sizeof *r);
    do {
        read_line(c, r->head + len, sizeof r->head - len);
        len += strlen(r->head + len);
    } while (len < 4 || strcmp(r->head + len - 4, "\r\n\r\n") != 0);
    CHECK_EQ(sscanf(r->head, "HTTP/1.1 %d", &r->status), 1);
    r->closes = strstr(r->head, "\r\nConnection: close\r\n") != NULL;
    const char *length = strstr(r->head, "\r\nContent-Length: ");
    if (!has_body || r->status < 200 || r->status == 204 || r->status == 304)
        return;
    if (length != NULL) {
        r->len = strtoul(length + 18, NULL, 10);
        CHECK(r->len < sizeof r->body);
        read_to(c, r->body, r->len);
    }
    else if (strstr(r->head, "\r\nTransfer-Encoding: chunked\r\n") != NULL)
        read_chunks(c, r);
    else {
        ssize_t n;
        while ((n = coir_read(c, r->body + r->len, sizeof r->body - 1 - r->len,
                              LONG)) > 0)
            r->len += (size_t)n;
        CHECK_EQ(n, 0);
    }
}

static inline void
hear(coir_socket *c, reply *r)
{
    hear_some(c, r, 1);
}

/* The connection ends here, in order. */
static inline void
hear_end(coir_socket *c)
{
    char byte;
    CHECK_EQ(coir_read(c, &byte, 1, LONG), 0);
    (void)coir_socket_close(c);
}

static inline void
ask(coir_socket *c, const char *request, reply *r)
{
    say(c, request);
    hear(c, r);
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* A handler: 200 "hello". */
static inline int
hello(coir_http_exchange *x, void *arg)
{
    (void)arg;
    CHECK_EQ(coir_http_begin(x, 200, NULL), 0);
    CHECK_EQ(coir_http_add_field(x, "Content-Type", "text/plain"), 0);
    return coir_http_send(x, "hello", 5);
}

#endif
