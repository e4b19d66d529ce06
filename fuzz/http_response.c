/* http_response.c - fuzz target: HTTP responses with their bodies. */
#include "http.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_messages(data, size, 1);
    return 0;
}
