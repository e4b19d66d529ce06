/* websocket.h - what the files of the WebSocket codec share. */
#ifndef COIR__HTTP_WEBSOCKET_H
#define COIR__HTTP_WEBSOCKET_H

#include <coir/websocket.h>

/* --- UTF-8, in pieces ---------------------------------------------------- */

/* What the next byte must be; all zero: the first of a character. */
typedef struct coir__utf8 {
    uint8_t left; /* bytes of the character that are missing */
    uint8_t low, high;
} coir__utf8;

/* Check one more piece. 0: it cannot be UTF-8. */
int coir__utf8_check(coir__utf8 *u, const uint8_t *data, size_t len);

/* --- memory that grows --------------------------------------------------- */

typedef struct coir__bytes {
    uint8_t *data;
    size_t len, size;
} coir__bytes;

/* Room for `more` bytes; it grows by doubling, to `limit` at most, which is
 * what `len` and `more` sum up to or more. 0 or COIR_ENOMEM. */
int coir__bytes_reserve(coir__bytes *b, size_t more, size_t limit);
void coir__bytes_free(coir__bytes *b);

/* --- permessage-deflate: deflate.c --------------------------------------- */

typedef struct coir__inflater coir__inflater;
typedef struct coir__deflater coir__deflater;

/* Unpack `data` to the end of `out`, which never gets longer than `limit`.
 * `is_end`: it is the end of a message. Makes the inflater, if there is none.
 * COIR_WS_EDEFLATE; COIR_WS_EMESSAGE; COIR_ENOMEM. */
int coir__inflate(coir__inflater **inflater, unsigned bits, int no_takeover,
                  const uint8_t *data, size_t len, int is_end,
                  coir__bytes *out, size_t limit);
void coir__inflater_free(coir__inflater *inflater);

/* Pack `data` to the end of `out`. */
int coir__deflate(coir__deflater **deflater, const coir_ws_deflate *how,
                  int role, const void *data, size_t len, int is_end,
                  coir__bytes *out);
void coir__deflater_free(coir__deflater *deflater);

#endif
