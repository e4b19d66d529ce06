/* bench_parse_llhttp.c - llhttp in the rows of parse_rows.h. Its callbacks
 * keep where names and values are, as who uses it must. */
#include <llhttp.h>

#include "bench.h"

static struct {
    const char *at;
    size_t len;
} spans[256];

static size_t count;
static int complete;
static char *decoded;

static int
on_span(llhttp_t *parser, const char *at, size_t len)
{
    (void)parser;
    spans[count].at = at;
    spans[count++].len = len;
    return 0;
}

static int
on_complete(llhttp_t *parser)
{
    (void)parser;
    complete = 1;
    return 0;
}

static int
on_body(llhttp_t *parser, const char *at, size_t len)
{
    (void)parser;
    __builtin_memmove(decoded, at, len);
    decoded += len;
    return 0;
}

static int
parse_head(const char *buf, size_t len)
{
    static llhttp_settings_t settings;
    settings.on_url = on_span;
    settings.on_header_field = on_span;
    settings.on_header_value = on_span;
    settings.on_headers_complete = on_complete;
    llhttp_t parser;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    count = 0;
    complete = 0;
    return llhttp_execute(&parser, buf, len) == HPE_OK && complete;
}

static int
decode_chunks(char *buf, size_t len)
{
    static const char head[] =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    static llhttp_settings_t settings;
    static llhttp_t behind_head;
    if (settings.on_body == NULL) {
        settings.on_body = on_body;
        settings.on_message_complete = on_complete;
        llhttp_init(&behind_head, HTTP_REQUEST, &settings);
        (void)llhttp_execute(&behind_head, head, sizeof(head) - 1);
    }
    llhttp_t parser = behind_head;
    decoded = buf;
    complete = 0;
    return llhttp_execute(&parser, buf, len) == HPE_OK && complete;
}

#include "parse_rows.h"

int
main(int argc, char **argv)
{
    return bench_main(argc, argv, parse_rows);
}
