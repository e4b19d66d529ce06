/* http_chunked.c - fuzz target: chunked bodies with trailers. */
#include "http_pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pieces_chunks(data, size);
    return 0;
}
