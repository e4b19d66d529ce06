/* bench_parse_pico.c - picohttpparser in the rows of parse_rows.h. */
#include <picohttpparser.h>

#include "bench.h"

static int
parse_head(const char *buf, size_t len)
{
    static struct phr_header fields[100];
    const char *method, *path;
    size_t method_len, path_len, count = 100;
    int minor;
    return phr_parse_request(buf, len, &method, &method_len, &path, &path_len,
                             &minor, fields, &count, 0) == (int)len;
}

static int
decode_chunks(char *buf, size_t len)
{
    struct phr_chunked_decoder decoder = {.consume_trailer = 1};
    return phr_decode_chunked(&decoder, buf, &len) == 0;
}

#include "parse_rows.h"

int
main(int argc, char **argv)
{
    return bench_main(argc, argv, parse_rows);
}
