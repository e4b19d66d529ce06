/* bench_parse_coir.c - Coir's parser of HTTP in the rows of parse_rows.h. */
#include <coir/http.h>

#include "bench.h"

static int
parse_head(const char *buf, size_t len)
{
    static coir_http_field fields[100];
    static coir_http_head head = {.fields = fields, .capacity = 100};
    coir_http_parser parser;
    coir_http_parser_init(&parser, NULL);
    return coir_http_parse_request(&parser, buf, len, &head) == (ssize_t)len;
}

static int
decode_chunks(char *buf, size_t len)
{
    coir_http_body body;
    size_t out;
    coir_http_body_init(&body, NULL, NULL);
    return coir_http_body_decode(&body, buf, len, &out) == (ssize_t)len;
}

#include "parse_rows.h"

int
main(int argc, char **argv)
{
    return bench_main(argc, argv, parse_rows);
}
