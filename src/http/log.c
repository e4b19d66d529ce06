/* log.c - the access log.
 *
 * A line is made in the server, as stacks are small. Everything that came from
 * the client is escaped, so that a line is one line, and cut, so that it is
 * not longer than COIR__HTTP_LINE. Lines for a descriptor are gathered: they
 * are written when there are many, and after a while. */
#include "http/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of one value, escaped. */
#define VALUE_MAX 2000
#define GATHERED_MAX 32768
#define GATHER_NS (200 * COIR_NS_PER_MS)

typedef struct line {
    size_t len;
    int is_json;
    char *text;
} line;

static void
put(line *l, const char *text, size_t len)
{
    size_t room = COIR__HTTP_LINE - 1 - l->len;
    if (len > room)
        len = room;
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

static void
put_text(line *l, const char *text)
{
    put(l, text, strlen(text));
}

/* As Apache does it: \" \\ \n \t \xhh; for JSON \u00hh. */
static size_t
escape(const line *l, unsigned char c, char out[8])
{
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c >= 0x20 && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    return (size_t)snprintf(out, 8, l->is_json ? "\\u%04x" : "\\x%02x", c);
}

static inline int
is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void
put_escaped(line *l, const char *text, size_t len)
{
    size_t end = l->len + VALUE_MAX;
    for (size_t i = 0; i < len && l->len < end;) {
        size_t run = 0;
        while (i + run < len && l->len + run < end &&
               is_plain((unsigned char)text[i + run]))
            run++;
        put(l, text + i, run);
        i += run;
        if (i < len && l->len < end) {
            char out[8];
            put(l, out, escape(l, (unsigned char)text[i++], out));
        }
    }
}

static void
put_span(line *l, const coir__http_x *x, coir_http_span span)
{
    put_escaped(l, x->buf + span.at, span.len);
}

static void
put_number(line *l, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(l, digits + at, sizeof digits - at);
}

/* What there is of a request that is none: its first line. */
static size_t
raw_line(const coir__http_x *x)
{
    size_t len = 0;
    while (len < x->len && x->buf[len] != '\r' && x->buf[len] != '\n')
        len++;
    return len;
}

static coir_http_span
field(const coir__http_x *x, int id)
{
    const coir_http_field *f =
        x->head_len > 0 ? coir_http_find(&x->head, id, NULL) : NULL;
    return f != NULL ? f->value : (coir_http_span){0, 0};
}

static uint64_t
body_sent(const coir__http_x *x)
{
    return x->state >= COIR_HTTP_SENDING && x->mode != COIR__HTTP_NO_BODY
               ? x->sent
               : 0;
}

/* Of a second, but for what follows it: made once for all its lines. */
static void
make_time(coir_http_server *s, int64_t seconds, int is_json)
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr",
                                         "May", "Jun", "Jul", "Aug",
                                         "Sep", "Oct", "Nov", "Dec"};
    time_t at = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&at, &tm) == NULL)
        memset(&tm, 0, sizeof tm);
    if (is_json)
        (void)snprintf(s->log_time, sizeof s->log_time,
                       "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                       tm.tm_sec);
    else
        (void)snprintf(s->log_time, sizeof s->log_time,
                       "[%02d/%s/%04d:%02d:%02d:%02d +0000]", tm.tm_mday,
                       months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
                       tm.tm_min, tm.tm_sec);
    s->log_time_s = seconds;
}

static void
put_time(line *l, coir_http_server *s)
{
    int64_t wall = coir_loop_wall_now(s->loop);
    if (wall / COIR_NS_PER_S != s->log_time_s)
        make_time(s, wall / COIR_NS_PER_S, l->is_json);
    put_text(l, s->log_time);
    if (l->is_json) {
        char text[16];
        int ms = (int)(wall % COIR_NS_PER_S / COIR_NS_PER_MS);
        put(l, text, (size_t)snprintf(text, sizeof text, ".%03dZ", ms));
    }
}

static void
put_quoted(line *l, const coir__http_x *x, int id)
{
    coir_http_span value = field(x, id);
    put_text(l, " \"");
    if (value.len > 0)
        put_span(l, x, value);
    else
        put_text(l, "-");
    put_text(l, "\"");
}

static void
make_common(line *l, coir__http_x *x)
{
    const char *peer = coir_http_peer(&x->pub, NULL);
    put_text(l, *peer != '\0' ? peer : "-");
    put_text(l, " - - ");
    put_time(l, x->pub.server);
    put_text(l, " \"");
    if (x->head_len > 0) {
        put_span(l, x, x->head.method);
        put_text(l, " ");
        put_span(l, x, x->head.target);
        put_text(l, x->head.version >= 11 ? " HTTP/1.1" : " HTTP/1.0");
    }
    else
        put_escaped(l, x->buf, raw_line(x));
    put_text(l, "\" ");
    if (x->status > 0)
        put_number(l, (uint64_t)x->status);
    else
        put_text(l, "-");
    put_text(l, " ");
    if (body_sent(x) > 0)
        put_number(l, body_sent(x));
    else
        put_text(l, "-");
    if (x->pub.server->options.log_format == COIR_HTTP_LOG_COMBINED) {
        put_quoted(l, x, COIR_FIELD_REFERER);
        put_quoted(l, x, COIR_FIELD_USER_AGENT);
    }
}

static void
put_member(line *l, const char *name, const char *text, size_t len)
{
    put_text(l, ",\"");
    put_text(l, name);
    put_text(l, "\":\"");
    put_escaped(l, text, len);
    put_text(l, "\"");
}

static void
put_number_member(line *l, const char *name, uint64_t number)
{
    put_text(l, ",\"");
    put_text(l, name);
    put_text(l, "\":");
    put_number(l, number);
}

static void
make_json(line *l, coir__http_x *x)
{
    static const struct {
        const char *name;
        int id;
    } fields[] = {{"host", COIR_FIELD_HOST},
                  {"referer", COIR_FIELD_REFERER},
                  {"user_agent", COIR_FIELD_USER_AGENT}};
    const char *peer = coir_http_peer(&x->pub, NULL);
    put_text(l, "{\"time\":\"");
    put_time(l, x->pub.server);
    put_text(l, "\"");
    put_member(l, "remote", peer, strlen(peer));
    if (x->head_len > 0) {
        put_member(l, "method", x->buf + x->head.method.at,
                   x->head.method.len);
        put_member(l, "target", x->buf + x->head.target.at,
                   x->head.target.len);
        put_member(l, "version", x->head.version >= 11 ? "1.1" : "1.0", 3);
    }
    else
        put_member(l, "raw", x->buf, raw_line(x));
    put_number_member(l, "status", (uint64_t)x->status);
    put_number_member(l, "bytes", body_sent(x));
    int64_t took = coir_clock_monotonic() - x->started_ns;
    put_number_member(l, "duration_us", took > 0 ? (uint64_t)took / 1000 : 0);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        coir_http_span value = field(x, fields[i].id);
        if (value.len > 0)
            put_member(l, fields[i].name, x->buf + value.at, value.len);
    }
    put_text(l, "}");
}

void
coir__http_log_flush(coir_http_server *s)
{
    size_t at = 0;
    while (at < s->log_len) {
        ssize_t n = write(s->options.log_fd, s->log + at, s->log_len - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            break;
    }
    for (; at < s->log_len; at++)
        s->counters.log_lost += s->log[at] == '\n';
    s->log_len = 0;
}

static void
gather(coir_http_server *s, const line *l)
{
    if (s->log == NULL && (s->log = coir_malloc(GATHERED_MAX)) == NULL) {
        s->counters.log_lost++;
        return;
    }
    if (s->log_len + l->len > GATHERED_MAX)
        coir__http_log_flush(s);
    if (s->log_len == 0) {
        s->log_ns = coir__http_after(s, GATHER_NS);
        coir__http_wake_at(s, s->log_ns);
    }
    memcpy(s->log + s->log_len, l->text, l->len);
    s->log_len += l->len;
}

void
coir__http_log(coir__http_x *x)
{
    coir_http_server *s = x->pub.server;
    if (s->options.log_format == COIR_HTTP_LOG_NONE ||
        (s->options.log_fd == 0 && s->host->log == NULL))
        return;
    line l = {0, s->options.log_format == COIR_HTTP_LOG_JSON, s->line};
    if (l.is_json)
        make_json(&l, x);
    else
        make_common(&l, x);
    l.text[l.len++] = '\n';
    if (s->options.log_fd > 0)
        gather(s, &l);
    else
        s->host->log(s->ctx, l.text, l.len);
}
