/* deflate.c - permessage-deflate on zlib: one direction each, a stream that
 * goes on over messages, or is reset after each.
 *
 * A message ends with an empty stored block whose last four bytes are not
 * sent: they are cut off here, and given to zlib at the end of what came.
 * After them zlib must stand between two blocks; else the message was cut, and
 * the rest of its block would be taken from the next one.
 *
 * A sender may mark a block as the last (RFC 7692 7.2.3.4). Then zlib ends its
 * stream; a new one begins for what follows, with the same window.
 *
 * Unpacked bytes go where they are to be, in steps that grow; the room is
 * never more than one byte above the limit, and that byte says that it is
 * exceeded. So a small message that unpacks to a huge one costs what the limit
 * allows. */
#include "websocket.h"

#include <string.h>

#include "base/platform.h"

#if COIR__HAVE_ZLIB
#include <limits.h>
#include <zlib.h>

#define STEP 4096
#define WINDOW_SIZE 32768

struct coir__inflater {
    z_stream z;
};

struct coir__deflater {
    z_stream z;
};

static const uint8_t tail[4] = {0x00, 0x00, 0xff, 0xff};

int
coir_ws_has_deflate(void)
{
    return 1;
}

static voidpf
zalloc(voidpf opaque, uInt count, uInt size)
{
    (void)opaque;
    return coir_calloc(count, size);
}

static void
zfree(voidpf opaque, voidpf ptr)
{
    (void)opaque;
    coir_free(ptr);
}

/* --- receiving ----------------------------------------------------------- */

static int
make_inflater(coir__inflater **out, unsigned bits)
{
    coir__inflater *f = coir_calloc(1, sizeof *f);
    if (f == NULL)
        return COIR_ENOMEM;
    f->z.zalloc = zalloc;
    f->z.zfree = zfree;
    /* Some who agree on 8 use 9: their zlib knows no 8. */
    if (inflateInit2(&f->z, -(int)(bits == 0  ? 15
                                   : bits < 9 ? 9
                                              : bits)) != Z_OK) {
        coir_free(f);
        return COIR_ENOMEM;
    }
    *out = f;
    return 0;
}

void
coir__inflater_free(coir__inflater *f)
{
    if (f == NULL)
        return;
    (void)inflateEnd(&f->z);
    coir_free(f);
}

/* A block said that it is the last. */
static int
begin_anew(z_stream *z)
{
    uInt len = 0;
    uint8_t *window = coir_malloc(WINDOW_SIZE);
    if (window == NULL)
        return COIR_ENOMEM;
    int ok = inflateGetDictionary(z, window, &len) == Z_OK &&
             inflateReset(z) == Z_OK &&
             (len == 0 || inflateSetDictionary(z, window, len) == Z_OK);
    coir_free(window);
    return ok ? 0 : COIR_ENOMEM;
}

/* Unpack what `z` has as its input. */
static int
unpack(z_stream *z, coir__bytes *out, size_t limit)
{
    const size_t room = limit < SIZE_MAX ? limit + 1 : limit;
    for (;;) {
        size_t more = room - out->len < STEP ? room - out->len : STEP;
        int err = coir__bytes_reserve(out, more, room);
        if (err < 0)
            return err;
        more = out->size - out->len;
        if (more > room - out->len) /* the buffer is an older one, and big */
            more = room - out->len;
        if (more > UINT_MAX)
            more = UINT_MAX;
        z->next_out = out->data + out->len;
        z->avail_out = (uInt)more;
        int res = inflate(z, Z_SYNC_FLUSH);
        out->len += more - z->avail_out;
        if (out->len > limit)
            return COIR_WS_EMESSAGE;
        if (res == Z_STREAM_END) {
            if ((err = begin_anew(z)) < 0)
                return err;
            if (z->avail_in == 0)
                return 0;
            continue;
        }
        if (res == Z_MEM_ERROR)
            return COIR_ENOMEM;
        if (res != Z_OK && res != Z_BUF_ERROR)
            return COIR_WS_EDEFLATE;
        if (z->avail_out > 0)
            return z->avail_in == 0 ? 0 : COIR_WS_EDEFLATE;
    }
}

static int
unpack_all(z_stream *z, const uint8_t *data, size_t len, coir__bytes *out,
           size_t limit)
{
    while (len > 0) {
        const uInt n = len > UINT_MAX ? UINT_MAX : (uInt)len;
        z->next_in = (Bytef *)(uintptr_t)data;
        z->avail_in = n;
        int err = unpack(z, out, limit);
        if (err < 0)
            return err;
        data += n;
        len -= n;
    }
    return 0;
}

/* Bits of data_type that zlib documents: bits that are left in the last byte,
 * and that it stands right after a block. */
#define LEFT_BITS 63
#define BETWEEN_BLOCKS 128

int
coir__inflate(coir__inflater **inflater, unsigned bits, int no_takeover,
              const uint8_t *data, size_t len, int is_end, coir__bytes *out,
              size_t limit)
{
    int err;
    if (*inflater == NULL && (err = make_inflater(inflater, bits)) < 0)
        return err;
    z_stream *z = &(*inflater)->z;
    err = unpack_all(z, data, len, out, limit);
    if (err < 0 || !is_end)
        return err;
    err = unpack_all(z, tail, sizeof tail, out, limit);
    if (err < 0)
        return err;
    if (!(z->data_type & BETWEEN_BLOCKS) || (z->data_type & LEFT_BITS) != 0)
        return COIR_WS_EDEFLATE;
    if (no_takeover)
        (void)inflateReset(z);
    return 0;
}

/* --- sending ------------------------------------------------------------- */

static int
make_deflater(coir__deflater **out, const coir_ws_deflate *how, unsigned bits)
{
    coir__deflater *f = coir_calloc(1, sizeof *f);
    if (f == NULL)
        return COIR_ENOMEM;
    f->z.zalloc = zalloc;
    f->z.zfree = zfree;
    if (deflateInit2(&f->z, how->level == 0 ? 6 : how->level, Z_DEFLATED,
                     -(int)(bits == 0 ? 15 : bits),
                     how->mem == 0 ? 5 : how->mem,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        coir_free(f);
        return COIR_ENOMEM;
    }
    *out = f;
    return 0;
}

void
coir__deflater_free(coir__deflater *f)
{
    if (f == NULL)
        return;
    (void)deflateEnd(&f->z);
    coir_free(f);
}

/* Pack what `z` has as its input, and flush if it is to. */
static int
pack(z_stream *z, int flush, coir__bytes *out)
{
    do {
        int err = coir__bytes_reserve(out, STEP, SIZE_MAX);
        if (err < 0)
            return err;
        size_t room = out->size - out->len;
        if (room > UINT_MAX)
            room = UINT_MAX;
        z->next_out = out->data + out->len;
        z->avail_out = (uInt)room;
        (void)deflate(z, flush); /* cannot fail: Z_BUF_ERROR is no error */
        out->len += room - z->avail_out;
    } while (z->avail_out == 0);
    return 0;
}

int
coir__deflate(coir__deflater **deflater, const coir_ws_deflate *how, int role,
              const void *data, size_t len, int is_end, coir__bytes *out)
{
    const int is_server = role == COIR_WS_SERVER;
    const unsigned bits = is_server ? how->server_bits : how->client_bits;
    const size_t before = out->len;
    int err;
    if (*deflater == NULL && (err = make_deflater(deflater, how, bits)) < 0)
        return err;
    z_stream *z = &(*deflater)->z;
    const uint8_t *p = data;
    do {
        const uInt n = len > UINT_MAX ? UINT_MAX : (uInt)len;
        z->next_in = (Bytef *)(uintptr_t)p;
        z->avail_in = n;
        if ((err = pack(z, n == len ? Z_SYNC_FLUSH : Z_NO_FLUSH, out)) < 0)
            return err;
        p += n;
        len -= n;
    } while (len > 0);
    if (!is_end)
        return 0;
    if (out->len - before >= sizeof tail)
        out->len -= sizeof tail;
    else /* nothing to flush: the begin of an empty block, whose rest is cut */
        out->data[out->len++] = 0x00;
    if (is_server ? how->server_no_takeover : how->client_no_takeover)
        (void)deflateReset(z);
    return 0;
}

#else

int
coir_ws_has_deflate(void)
{
    return 0;
}

/* Never called: the codec refuses to be made with deflate. */
int
coir__inflate(coir__inflater **inflater, unsigned bits, int no_takeover,
              const uint8_t *data, size_t len, int is_end, coir__bytes *out,
              size_t limit)
{
    (void)inflater, (void)bits, (void)no_takeover, (void)data, (void)len;
    (void)is_end, (void)out, (void)limit;
    return COIR_ENOSYS;
}

void
coir__inflater_free(coir__inflater *f)
{
    (void)f;
}

int
coir__deflate(coir__deflater **deflater, const coir_ws_deflate *how, int role,
              const void *data, size_t len, int is_end, coir__bytes *out)
{
    (void)deflater, (void)how, (void)role, (void)data, (void)len;
    (void)is_end, (void)out;
    return COIR_ENOSYS;
}

void
coir__deflater_free(coir__deflater *f)
{
    (void)f;
}

#endif
