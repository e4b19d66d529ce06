/* parse_rows.h - the rows that every parser of HTTP can run.
 *
 * To be included by a program that defines
 *     parse_head(buf, len)          a request's head; true if it was all of
 * buf decode_chunks(buf, len)       a chunked body, in place; the same An
 * operation is a whole head, or body. The bytes lie in the cache. */
#ifndef BENCH_PARSE_ROWS_H
#define BENCH_PARSE_ROWS_H

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define END "\r\n"

/* As wrk sends it. */
static const char head_least[] =
    "GET / HTTP/1.1" END "Host: 127.0.0.1:8080" END END;

static const char head_curl[] =
    "GET /api/items?page=2&size=50 HTTP/1.1" END "Host: api.example.com" END
    "User-Agent: curl/7.88.1" END "Accept: */*" END END;

/* As a browser sends it for a page of its own site. */
static const char head_browser[] =
    "GET /catalogue/shelf/42?sort=price&order=asc&page=3 HTTP/1.1" END
    "Host: shop.example.com" END "Connection: keep-alive" END
    "sec-ch-ua: \"Chromium\";v=\"124\", \"Not-A.Brand\";v=\"99\"" END
    "sec-ch-ua-mobile: ?0" END "sec-ch-ua-platform: \"Linux\"" END
    "Upgrade-Insecure-Requests: 1" END
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, "
    "like Gecko) Chrome/124.0.0.0 Safari/537.36" END
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,"
    "image/avif,image/webp,*/*;q=0.8" END "Sec-Fetch-Site: same-origin" END
    "Sec-Fetch-Mode: navigate" END "Sec-Fetch-User: ?1" END
    "Sec-Fetch-Dest: document" END
    "Referer: https://shop.example.com/catalogue/shelf/42?page=2" END
    "Accept-Encoding: gzip, deflate, br, zstd" END
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8" END
    "Cookie: session=0a1b2c3d4e5f60718293a4b5c6d7e8f9; theme=dark; cart=3" END
        END;

/* As an application posts it behind a proxy. */
static const char head_post[] =
    "POST /v1/orders HTTP/1.1" END "Host: orders.internal:9000" END
    "X-Real-IP: 203.0.113.7" END "X-Forwarded-For: 203.0.113.7, 10.0.0.2" END
    "X-Forwarded-Proto: https" END
    "X-Request-ID: 6f9619ff-8b86-d011-b42d-00cf4fc964ff" END
    "Content-Length: 348" END
    "Content-Type: application/json; charset=utf-8" END
    "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0."
    "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U" END
    "Accept: application/json" END "Idempotency-Key: 7a3f0c52" END
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" END
    "User-Agent: python-requests/2.31.0" END END;

static void
batch_head(size_t ops, void *arg)
{
    const char *text = arg;
    size_t len = strlen(text);
    for (size_t i = 0; i < ops; i++) {
        if (!parse_head(text, len))
            bench_die("parse_head");
    }
}

#define HEAD_ROW(name)                                                        \
    static void row_##name(int quick, struct bench_result *out)               \
    {                                                                         \
        bench_measure(batch_head, (void *)(uintptr_t)head_##name, quick,      \
                      out);                                                   \
        bench_note(out, "bytes", sizeof(head_##name) - 1);                    \
    }

HEAD_ROW(least)
HEAD_ROW(curl)
HEAD_ROW(browser)
HEAD_ROW(post)

/* Sixteen chunks of 64 bytes. Decoding in place needs them anew each time,
 * which is a copy of 1.2 KB, for all the same. */
static void
batch_chunks(size_t ops, void *arg)
{
    static char buf[2048];
    const char *text = arg;
    size_t len = strlen(text);
    for (size_t i = 0; i < ops; i++) {
        memcpy(buf, text, len);
        if (!decode_chunks(buf, len))
            bench_die("decode_chunks");
    }
}

static void
row_chunks(int quick, struct bench_result *out)
{
    static char text[2048];
    static const char chunk[] = "40" END "0123456789abcdef0123456789abcdef"
                                "0123456789abcdef0123456789abcdef" END;
    for (int i = 0; i < 16; i++)
        strcat(text, chunk);
    strcat(text, "0" END END);
    bench_measure(batch_chunks, text, quick, out);
}

static const struct bench_entry parse_rows[] = {
    {"head_least", row_least},     {"head_curl", row_curl},
    {"head_browser", row_browser}, {"head_post", row_post},
    {"chunks", row_chunks},        {NULL, NULL}};

#endif
