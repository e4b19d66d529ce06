/* websocket.c - the codec of WebSocket: frames to messages, and the reverse.
 *
 * Receiving is a machine of two states, in a head or in a payload, that goes
 * on wherever the bytes stopped. A message of one frame that is there as a
 * whole and not compressed, which is most of them, is unmasked where it lies
 * and not copied. All else is gathered in `in`.
 *
 * Order of checks: of a head, what its first two bytes say before the rest has
 * come; then its length against the limits, before a byte of the payload is
 * looked at. `in` grows with what has come, so that an announced length costs
 * nothing. What a compressed message unpacks to is limited while it is
 * unpacked (deflate.c).
 *
 * What has to be sent in answer is not sent but due: the pong for the last
 * ping, and one close frame. A close frame counts as sent as soon as it is
 * due, so nothing can come after it.
 *
 * Failures: the first error of receiving stays; a close frame is due for it,
 * unless one was sent. After a close frame that came, bytes are skipped. */
#include "websocket.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* Buffers up to this size are kept for the next message. */
#define KEPT_SIZE 65536

#define CONTINUATION 0
#define MAX_CONTROL ((size_t)COIR_WS_MAX_CONTROL)
#define IS_CONTROL(opcode) ((opcode)&8)

struct coir_ws {
    coir_ws_attr attr;
    int error;
    uint8_t state; /* enum coir_ws_state */
    /* The frame that comes. */
    uint8_t in_payload;
    uint8_t head_len; /* how much of it is in `head` */
    uint8_t opcode, is_fin, is_masked;
    uint8_t control_len;
    uint8_t head[COIR_WS_MAX_HEAD];
    uint8_t mask[4];
    uint64_t frame_len, left;
    /* The message that comes. */
    uint8_t type; /* 0: none */
    uint8_t is_compressed;
    uint8_t is_delivered; /* what is in `in` was returned */
    unsigned fragments;
    uint64_t wire_len;
    coir__utf8 utf8;
    coir__bytes in;
    coir__inflater *inflater;
    uint8_t control[COIR_WS_MAX_CONTROL];
    /* What is due. */
    uint8_t has_pong, pong_len, has_close;
    uint8_t pong[COIR_WS_MAX_CONTROL];
    uint8_t close_len;
    uint8_t close[COIR_WS_MAX_CONTROL];
    /* The message that is sent. */
    uint8_t sending; /* its type, between its fragments */
    uint8_t sends_compressed;
    uint8_t can_pack; /* agreed on, and zlib can */
    uint8_t masks_left;
    uint8_t send_head[COIR_WS_MAX_HEAD];
    int deflate_error;
    coir__utf8 send_utf8;
    coir__bytes out;
    coir__deflater *deflater;
    uint8_t masks[64][4];
};

/* --- errors -------------------------------------------------------------- */

const char *
coir_ws_strerror(int error)
{
    switch (error) {
#define CASE(name, value, code, text)                                         \
    case name:                                                                \
        return text;
        COIR_WS_ERRORS(CASE)
#undef CASE
    default:
        return coir_strerror(error);
    }
}

int
coir_ws_error_code(int error)
{
    static const struct {
        int error, code;
    } codes[] = {
#define CODE(name, value, code, text) {name, code},
        COIR_WS_ERRORS(CODE)
#undef CODE
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].error == error)
            return codes[i].code;
    return 1011;
}

int
coir_ws_code_is_valid(int code)
{
    if (code >= 3000 && code <= 4999)
        return 1;
    return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 &&
           code != 1006;
}

/* --- memory -------------------------------------------------------------- */

int
coir__bytes_reserve(coir__bytes *b, size_t more, size_t limit)
{
    if (b->size - b->len >= more)
        return 0;
    if (more > SIZE_MAX - b->len)
        return COIR_ENOMEM;
    size_t size = b->size > SIZE_MAX / 2 ? SIZE_MAX : 2 * b->size;
    if (size > limit)
        size = limit;
    if (size < b->len + more)
        size = b->len + more;
    uint8_t *data = coir_realloc(b->data, size);
    if (data == NULL)
        return COIR_ENOMEM;
    b->data = data;
    b->size = size;
    return 0;
}

void
coir__bytes_free(coir__bytes *b)
{
    coir_free(b->data);
    *b = (coir__bytes){NULL, 0, 0};
}

static void
random_bytes(void *buf, size_t len)
{
    uint8_t *p = buf;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        assert((n > 0 || errno == EINTR) && "getrandom() gives a few bytes");
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

static int
check_deflate(const coir_ws_deflate *d)
{
    if (!d->is_on)
        return 0;
    if (!coir_ws_has_deflate())
        return COIR_ENOSYS;
    if ((d->server_bits != 0 && (d->server_bits < 8 || d->server_bits > 15)) ||
        (d->client_bits != 0 && (d->client_bits < 8 || d->client_bits > 15)) ||
        d->level < 0 || d->level > 9 || d->mem > 9)
        return COIR_EINVAL;
    return 0;
}

int
coir_ws_new(coir_ws **out, const coir_ws_attr *attr)
{
    static const coir_ws_attr by_default = {.role = COIR_WS_SERVER};
    if (attr == NULL)
        attr = &by_default;
    if (attr->role != COIR_WS_SERVER && attr->role != COIR_WS_CLIENT)
        return COIR_EINVAL;
    int err = check_deflate(&attr->deflate);
    if (err < 0)
        return err;
    coir_ws *ws = coir_calloc(1, sizeof *ws);
    if (ws == NULL)
        return COIR_ENOMEM;
    ws->attr = *attr;
    if (ws->attr.max_message == 0)
        ws->attr.max_message = COIR_WS_MAX_MESSAGE;
    if (ws->attr.max_unpacked == 0)
        ws->attr.max_unpacked = ws->attr.max_message;
    if (ws->attr.max_frame == 0)
        ws->attr.max_frame = SIZE_MAX;
    if (ws->attr.max_fragments == 0)
        ws->attr.max_fragments = COIR_WS_MAX_FRAGMENTS;
    if (ws->attr.deflate.threshold == 0)
        ws->attr.deflate.threshold = 64;
    if (ws->attr.random == NULL)
        ws->attr.random = random_bytes;
    /* zlib has no such window to pack with, so all is sent as it is. */
    ws->can_pack =
        attr->deflate.is_on &&
        (attr->role == COIR_WS_SERVER ? attr->deflate.server_bits
                                      : attr->deflate.client_bits) != 8;
    *out = ws;
    return 0;
}

void
coir_ws_free(coir_ws *ws)
{
    if (ws == NULL)
        return;
    coir__bytes_free(&ws->in);
    coir__bytes_free(&ws->out);
    coir__inflater_free(ws->inflater);
    coir__deflater_free(ws->deflater);
    coir_free(ws);
}

unsigned
coir_ws_state(const coir_ws *ws)
{
    return ws->state;
}

static void
forget_message(coir_ws *ws)
{
    ws->is_delivered = 0;
    ws->in.len = 0;
}

void
coir_ws_trim(coir_ws *ws)
{
    if (ws->is_delivered)
        forget_message(ws);
    if (ws->in.len == 0 && ws->in.size > KEPT_SIZE)
        coir__bytes_free(&ws->in);
    if (ws->out.size > KEPT_SIZE)
        coir__bytes_free(&ws->out);
}

/* --- heads of frames ----------------------------------------------------- */

static void
next_mask(coir_ws *ws, uint8_t mask[4])
{
    if (ws->masks_left == 0) {
        ws->attr.random(ws->masks, sizeof ws->masks);
        ws->masks_left = sizeof ws->masks / sizeof *ws->masks;
    }
    memcpy(mask, ws->masks[--ws->masks_left], 4);
}

/* Write the head of a frame; `mask` NULL for none. Returns its length. */
static size_t
write_head(uint8_t *out, unsigned first, uint64_t len, const uint8_t *mask)
{
    const uint8_t masked = mask != NULL ? 0x80 : 0;
    size_t n = 2;
    out[0] = (uint8_t)first;
    if (len <= 125) {
        out[1] = (uint8_t)(masked | len);
    }
    else {
        const unsigned bytes = len <= 0xffff ? 2 : 8;
        out[1] = (uint8_t)(masked | (bytes == 2 ? 126 : 127));
        for (unsigned i = bytes; i-- > 0; n++)
            out[n] = (uint8_t)(len >> (8 * i));
    }
    if (mask != NULL) {
        memcpy(out + n, mask, 4);
        n += 4;
    }
    return n;
}

static size_t
head_len_of(uint64_t len, int masked)
{
    return (len <= 125 ? 2U : len <= 0xffff ? 4U : 10U) + (masked ? 4U : 0U);
}

/* A whole control frame. Returns its length. */
static size_t
write_control(coir_ws *ws, uint8_t *out, unsigned opcode, const uint8_t *data,
              size_t len)
{
    uint8_t mask[4];
    if (ws->attr.role == COIR_WS_SERVER) {
        size_t n = write_head(out, 0x80 | opcode, len, NULL);
        memcpy(out + n, data, len);
        return n + len;
    }
    next_mask(ws, mask);
    size_t n = write_head(out, 0x80 | opcode, len, mask);
    coir_ws_mask(out + n, data, len, mask, 0);
    return n + len;
}

/* --- what is due --------------------------------------------------------- */

int
coir_ws_has_due(const coir_ws *ws)
{
    return ws->has_pong || ws->has_close;
}

size_t
coir_ws_take_due(coir_ws *ws, void *out)
{
    uint8_t *p = out;
    if (ws->has_pong)
        p += write_control(ws, p, COIR_WS_PONG, ws->pong, ws->pong_len);
    if (ws->has_close)
        p += write_control(ws, p, COIR_WS_CLOSE, ws->close, ws->close_len);
    ws->has_pong = ws->has_close = 0;
    return (size_t)(p - (uint8_t *)out);
}

static void
put_close(coir_ws *ws, int code, const void *reason, size_t len)
{
    ws->close_len = 0;
    if (code != 0) {
        ws->close[0] = (uint8_t)(code >> 8);
        ws->close[1] = (uint8_t)code;
        memcpy(ws->close + 2, reason, len);
        ws->close_len = (uint8_t)(2 + len);
    }
    ws->has_close = 1;
    ws->state |= COIR_WS_SENT_CLOSE;
}

static int
fail(coir_ws *ws, int error)
{
    ws->error = error;
    ws->state |= COIR_WS_FAILED;
    coir__bytes_free(&ws->in);
    coir__inflater_free(ws->inflater);
    ws->inflater = NULL;
    const char *text = coir_ws_strerror(error);
    if (!(ws->state & COIR_WS_SENT_CLOSE))
        put_close(ws, coir_ws_error_code(error), text, strlen(text));
    return error;
}

/* --- receiving: heads ---------------------------------------------------- */

/* What the first two bytes of a head say. 0 or an error. */
static int
check_first_bytes(const coir_ws *ws, unsigned first, unsigned second)
{
    const unsigned opcode = first & 15;
    const int is_fin = (first & 0x80) != 0, is_rsv1 = (first & 0x40) != 0;
    if (first & 0x30)
        return COIR_WS_ERSV;
    if ((opcode > COIR_WS_BINARY && opcode < COIR_WS_CLOSE) ||
        opcode > COIR_WS_PONG)
        return COIR_WS_EOPCODE;
    /* Only the first frame of a message says that it is compressed. */
    if (is_rsv1 && (!ws->attr.deflate.is_on || IS_CONTROL(opcode) ||
                    opcode == CONTINUATION))
        return COIR_WS_ERSV;
    if (ws->attr.role == COIR_WS_SERVER && !(second & 0x80))
        return COIR_WS_ENOMASK;
    if (ws->attr.role == COIR_WS_CLIENT && (second & 0x80))
        return COIR_WS_EMASKED;
    if (IS_CONTROL(opcode)) {
        if (!is_fin)
            return COIR_WS_ESPLIT;
        return (second & 0x7f) > MAX_CONTROL ? COIR_WS_ECONTROL : 0;
    }
    if (opcode == CONTINUATION)
        return ws->type == 0 ? COIR_WS_ENOSTART : 0;
    return ws->type != 0 ? COIR_WS_ENESTED : 0;
}

/* The length of the payload, from a complete head. */
static int
read_length(const uint8_t *head, uint64_t *len)
{
    const unsigned short_len = head[1] & 0x7f;
    if (short_len <= 125) {
        *len = short_len;
        return 0;
    }
    const unsigned bytes = short_len == 126 ? 2 : 8;
    uint64_t n = 0;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | head[2 + i];
    if (n >> 63)
        return COIR_WS_EHUGE;
    if (n <= (bytes == 2 ? 125 : 0xffff))
        return COIR_WS_ELENGTH;
    *len = n;
    return 0;
}

/* What of a message may come over the wire: compressed, it may be somewhat
 * longer than unpacked. */
static uint64_t
wire_limit(const coir_ws *ws)
{
    if (!ws->is_compressed)
        return ws->attr.max_message;
    const uint64_t max = ws->attr.max_unpacked;
    return max < UINT64_MAX / 2 ? max + max / 8 + 1024 : max;
}

/* A frame of a message begins. */
static int
begin_data(coir_ws *ws, unsigned first)
{
    if (ws->frame_len > ws->attr.max_frame)
        return COIR_WS_EFRAME;
    if (ws->opcode != CONTINUATION) {
        ws->type = ws->opcode;
        ws->is_compressed = (first & 0x40) != 0;
        ws->fragments = 0;
        ws->wire_len = 0;
        ws->utf8 = (coir__utf8){0, 0, 0};
    }
    if (ws->fragments == ws->attr.max_fragments)
        return COIR_WS_EFRAGMENTS;
    ws->fragments++;
    if (ws->frame_len > wire_limit(ws) - ws->wire_len)
        return COIR_WS_EMESSAGE;
    ws->wire_len += ws->frame_len;
    return 0;
}

/* Take bytes for the head, until it is complete: 1; 0: there are none left. */
static int
take_head(coir_ws *ws, const uint8_t *p, size_t len, size_t *used)
{
    size_t need = 2;
    for (;;) {
        while (ws->head_len < need) {
            if (*used == len)
                return 0;
            ws->head[ws->head_len++] = p[(*used)++];
        }
        if (need > 2)
            break;
        int err = check_first_bytes(ws, ws->head[0], ws->head[1]);
        if (err < 0)
            return err;
        const unsigned short_len = ws->head[1] & 0x7f;
        need += short_len == 126 ? 2 : short_len == 127 ? 8 : 0;
        need += ws->head[1] & 0x80 ? 4 : 0;
        if (need == 2)
            break;
    }
    int err = read_length(ws->head, &ws->frame_len);
    if (err < 0)
        return err;
    ws->is_fin = ws->head[0] >> 7;
    ws->opcode = ws->head[0] & 15;
    ws->is_masked = ws->head[1] >> 7;
    if (ws->is_masked)
        memcpy(ws->mask, ws->head + need - 4, 4);
    ws->head_len = 0;
    ws->left = ws->frame_len;
    ws->control_len = 0;
    ws->in_payload = 1;
    if (!IS_CONTROL(ws->opcode) && (err = begin_data(ws, ws->head[0])) < 0)
        return err;
    return 1;
}

/* --- receiving: payloads ------------------------------------------------- */

static void
unmask(const coir_ws *ws, uint8_t *to, const uint8_t *from, size_t len)
{
    const size_t offset = (size_t)((ws->frame_len - ws->left) & 3);
    if (ws->is_masked)
        coir_ws_mask(to, from, len, ws->mask, offset);
    else if (to != from && len > 0)
        memcpy(to, from, len);
}

static int
close_came(coir_ws *ws, coir_ws_event *event)
{
    int code = 1005;
    if (event->len == 1)
        return COIR_WS_ECLOSE;
    if (event->len > 1) {
        code = event->data[0] << 8 | event->data[1];
        if (!coir_ws_code_is_valid(code))
            return COIR_WS_ECODE;
        event->data += 2;
        event->len -= 2;
        if (!coir_ws_is_utf8(event->data, event->len))
            return COIR_WS_EREASON;
    }
    event->code = code;
    ws->state |= COIR_WS_GOT_CLOSE;
    if (!(ws->state & COIR_WS_SENT_CLOSE))
        put_close(ws, code == 1005 ? 0 : code, "", 0);
    return 0;
}

static int
take_control(coir_ws *ws, uint8_t *p, size_t n, coir_ws_event *event)
{
    const int is_end = n == ws->left;
    uint8_t *data = p;
    if (n == ws->frame_len && n > 0) {
        unmask(ws, p, p, n);
    }
    else {
        data = ws->control;
        unmask(ws, data + ws->control_len, p, n);
    }
    ws->control_len = (uint8_t)(ws->control_len + n);
    if (!is_end)
        return 0;
    event->data = data;
    event->len = ws->control_len;
    if (ws->opcode == COIR_WS_CLOSE) {
        int err = close_came(ws, event);
        if (err < 0)
            return err;
    }
    if (ws->opcode == COIR_WS_PING && !(ws->state & COIR_WS_SENT_CLOSE)) {
        memcpy(ws->pong, data, event->len);
        ws->pong_len = (uint8_t)event->len;
        ws->has_pong = 1;
    }
    event->type = ws->opcode;
    return 0;
}

/* Add what came to the message. */
static int
gather(coir_ws *ws, uint8_t *p, size_t n, int is_end)
{
    const size_t before = ws->in.len;
    int err;
    if (ws->is_compressed) {
        const coir_ws_deflate *d = &ws->attr.deflate;
        const int is_server = ws->attr.role == COIR_WS_SERVER;
        unmask(ws, p, p, n);
        err = coir__inflate(
            &ws->inflater, is_server ? d->client_bits : d->server_bits,
            is_server ? d->client_no_takeover : d->server_no_takeover, p, n,
            is_end, &ws->in, ws->attr.max_unpacked);
    }
    else {
        err = coir__bytes_reserve(&ws->in, n, ws->attr.max_message);
        if (err == 0 && n > 0) {
            unmask(ws, ws->in.data + ws->in.len, p, n);
            ws->in.len += n;
        }
    }
    /* First of what there is, so that it is the same error however the bytes
     * are split. */
    if (ws->type == COIR_WS_TEXT && ws->in.len > before &&
        !coir__utf8_check(&ws->utf8, ws->in.data + before,
                          ws->in.len - before))
        return COIR_WS_EUTF8;
    return err;
}

static int
take_data(coir_ws *ws, uint8_t *p, size_t n, coir_ws_event *event)
{
    const int is_end = n == ws->left && ws->is_fin;
    if (is_end && ws->fragments == 1 && n == ws->frame_len && n > 0 &&
        !ws->is_compressed) {
        unmask(ws, p, p, n);
        if (ws->type == COIR_WS_TEXT && !coir__utf8_check(&ws->utf8, p, n))
            return COIR_WS_EUTF8;
        event->data = p;
        event->len = n;
    }
    else {
        int err = gather(ws, p, n, is_end);
        if (err < 0)
            return err;
        if (!is_end)
            return 0;
        event->data = ws->in.len > 0 ? ws->in.data : ws->control;
        event->len = ws->in.len;
        ws->is_delivered = 1;
    }
    if (ws->utf8.left > 0)
        return COIR_WS_EUTF8;
    event->was_compressed = ws->is_compressed;
    event->type = ws->type;
    ws->type = 0;
    return 0;
}

ssize_t
coir_ws_receive(coir_ws *ws, void *buf, size_t len, coir_ws_event *event)
{
    uint8_t *p = buf;
    size_t used = 0;
    memset(event, 0, sizeof *event);
    if (ws->error < 0)
        return ws->error;
    if (ws->state & COIR_WS_GOT_CLOSE)
        return (ssize_t)len;
    if (ws->is_delivered)
        forget_message(ws);
    while (event->type == 0) {
        if (!ws->in_payload) {
            int is_complete = take_head(ws, p, len, &used);
            if (is_complete < 0)
                return fail(ws, is_complete);
            if (!is_complete)
                break;
        }
        size_t n = len - used;
        if (n > ws->left)
            n = (size_t)ws->left;
        if (n == 0 && ws->left > 0)
            break;
        int err = IS_CONTROL(ws->opcode) ? take_control(ws, p + used, n, event)
                                         : take_data(ws, p + used, n, event);
        if (err < 0) {
            memset(event, 0, sizeof *event);
            return fail(ws, err);
        }
        used += n;
        ws->left -= n;
        ws->in_payload = ws->left > 0;
    }
    return (ssize_t)used;
}

uint64_t
coir_ws_wanted(const coir_ws *ws)
{
    return ws->in_payload ? ws->left : 0;
}

/* --- sending ------------------------------------------------------------- */

static int
check_send(coir_ws *ws, int type, const void *data, size_t len, unsigned flags)
{
    if (ws->state & COIR_WS_SENT_CLOSE)
        return COIR_ECLOSED;
    if (type == COIR_WS_PING || type == COIR_WS_PONG)
        return flags & COIR_WS_MORE || len > MAX_CONTROL ? COIR_EINVAL : 0;
    if ((type != COIR_WS_TEXT && type != COIR_WS_BINARY) ||
        (ws->sending != 0 && type != ws->sending))
        return COIR_EINVAL;
    if (type == COIR_WS_BINARY || flags & COIR_WS_VALID)
        return 0;
    coir__utf8 u = ws->send_utf8;
    if ((len > 0 && !coir__utf8_check(&u, data, len)) ||
        (u.left > 0 && !(flags & COIR_WS_MORE)))
        return COIR_WS_EUTF8;
    ws->send_utf8 = u;
    return 0;
}

/* Put the payload into `out`, behind room for the head: packed, if it is to
 * be, and masked. */
static int
build_frame(coir_ws *ws, unsigned first, const void *data, size_t len,
            int is_packed, struct iovec *frame)
{
    coir__bytes *out = &ws->out;
    out->len = 0;
    int err = coir__bytes_reserve(
        out, is_packed ? COIR_WS_MAX_HEAD : COIR_WS_MAX_HEAD + len, SIZE_MAX);
    if (err < 0)
        return err;
    out->len = COIR_WS_MAX_HEAD;
    if (is_packed) {
        err = coir__deflate(&ws->deflater, &ws->attr.deflate, ws->attr.role,
                            data, len, (first & 0x80) != 0, out);
        if (err < 0)
            return err;
        len = out->len - COIR_WS_MAX_HEAD;
        data = out->data + COIR_WS_MAX_HEAD;
    }
    uint8_t mask[4];
    const int is_client = ws->attr.role == COIR_WS_CLIENT;
    if (is_client) {
        next_mask(ws, mask);
        coir_ws_mask(out->data + COIR_WS_MAX_HEAD, data, len, mask, 0);
    }
    const size_t head_len = head_len_of(len, is_client);
    uint8_t *start = out->data + COIR_WS_MAX_HEAD - head_len;
    (void)write_head(start, first, len, is_client ? mask : NULL);
    frame[0] = (struct iovec){start, head_len + len};
    frame[1] = (struct iovec){NULL, 0};
    return 0;
}

int
coir_ws_send(coir_ws *ws, int type, const void *data, size_t len,
             unsigned flags, struct iovec out[2])
{
    const coir__utf8 utf8_before = ws->send_utf8;
    int err = check_send(ws, type, data, len, flags);
    if (err < 0)
        return err;
    const int is_more = (flags & COIR_WS_MORE) != 0;
    const int is_control = IS_CONTROL(type);
    const int is_first = ws->sending == 0;
    int is_packed = 0;
    if (!is_control)
        is_packed =
            is_first ? ws->can_pack && !(flags & COIR_WS_PLAIN) && len > 0 &&
                           (is_more || len >= ws->attr.deflate.threshold)
                     : ws->sends_compressed;
    if (is_packed && ws->deflate_error < 0)
        return ws->deflate_error;
    unsigned first = is_more ? 0 : 0x80;
    first |= is_control || is_first ? (unsigned)type : CONTINUATION;
    if (is_packed && is_first)
        first |= 0x40;
    if (is_packed || ws->attr.role == COIR_WS_CLIENT) {
        err = build_frame(ws, first, data, len, is_packed, out);
        if (err < 0) {
            if (is_packed)
                ws->deflate_error = COIR_WS_EDEFLATE;
            ws->send_utf8 = utf8_before;
            return err;
        }
    }
    else {
        out[0].iov_base = ws->send_head;
        out[0].iov_len = write_head(ws->send_head, first, len, NULL);
        out[1] = (struct iovec){(void *)(uintptr_t)data, len};
    }
    if (!is_control) {
        ws->sending = is_more ? (uint8_t)type : 0;
        ws->sends_compressed = (uint8_t)is_packed;
        if (!is_more)
            ws->send_utf8 = (coir__utf8){0, 0, 0};
    }
    return 0;
}

ssize_t
coir_ws_close(coir_ws *ws, int code, const void *reason, size_t len, void *out)
{
    if (ws->state & COIR_WS_SENT_CLOSE)
        return COIR_ECLOSED;
    if ((code != 0 && !coir_ws_code_is_valid(code)) ||
        (code == 0 && len > 0) || len > MAX_CONTROL - 2)
        return COIR_EINVAL;
    if (!coir_ws_is_utf8(reason, len))
        return COIR_WS_EREASON;
    put_close(ws, code, len > 0 ? reason : "", len);
    return (ssize_t)coir_ws_take_due(ws, out);
}
