/* http.c - fuzz target: pipelined HTTP requests with their bodies. */
#include "http.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_messages(data, size, 0);
    return 0;
}
