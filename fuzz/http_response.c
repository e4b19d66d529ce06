/* http_response.c - fuzz target: HTTP responses with their bodies. */
#include "http_pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pieces_messages(data, size, 1);
    return 0;
}
