/* http_chunked.c - fuzz target: chunked bodies with trailers. */
#include "http.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_choice c = fuzz_choose(&data, &size);
    (void)fuzz_check_body(&c, NULL, (const char *)data, size);
    return 0;
}
