/* handshake.c - the opening handshake of WebSocket (RFC 6455, section 4), and
 * the negotiation of permessage-deflate (RFC 7692, section 7.1).
 *
 * Fields are given one by one, as they stand in a head, or joined by commas:
 * lists go on in further fields of the same name. The first thing that is
 * wrong with them is remembered, and told by the check at the end, so that a
 * caller need not look at each field's fate.
 *
 * SHA-1 is here as the protocol wants it, of 60 bytes that are no secret: it
 * protects nothing, but keeps HTTP servers from answering by accident. */
#include "websocket.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

enum seen {
    SEEN_KEY = 1,
    SEEN_VERSION = 2,
    SEEN_UPGRADE = 4,    /* to websocket */
    SEEN_CONNECTION = 8, /* with the token upgrade */
    SEEN_ACCEPT = 16,
    SEEN_PROTOCOL = 32,
    SEEN_DEFLATE = 64, /* agreed on */
    WANTS_DEFLATE = 128,
    OFFERED_SERVER_BITS = 256, /* what the client's offer had */
    OFFERED_CLIENT_BITS = 512,
    SEEN_ORIGIN = 1024
};

typedef struct span {
    const char *at;
    size_t len;
} span;

/* --- SHA-1 and base64 ---------------------------------------------------- */

static uint32_t
rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void
sha1_block(uint32_t state[5], const uint8_t block[64])
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3],
                    e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 |
               (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20)
            f = (b & c) | (~b & d), k = 0x5a827999;
        else if (i < 40)
            f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (i < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else
            f = b ^ c ^ d, k = 0xca62c1d6;
        const uint32_t next = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* Of less than 120 bytes: two blocks. */
static void
sha1(const uint8_t *data, size_t len, uint8_t out[20])
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
                         0xc3d2e1f0};
    uint8_t blocks[128] = {0};
    assert(len < 120);
    memcpy(blocks, data, len);
    blocks[len] = 0x80;
    const size_t size = len < 56 ? 64 : 128;
    blocks[size - 2] = (uint8_t)(len >> 5); /* the length, in bits */
    blocks[size - 1] = (uint8_t)(len << 3);
    for (size_t i = 0; i < size; i += 64)
        sha1_block(state, blocks + i);
    for (int i = 0; i < 20; i++)
        out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void
base64(const uint8_t *data, size_t len, char *out)
{
    for (size_t i = 0; i < len; i += 3) {
        const size_t n = len - i < 3 ? len - i : 3;
        const unsigned bits = (unsigned)data[i] << 16 |
                              (n > 1 ? (unsigned)data[i + 1] << 8 : 0) |
                              (n > 2 ? data[i + 2] : 0);
        out[0] = base64_digits[bits >> 18];
        out[1] = base64_digits[bits >> 12 & 63];
        out[2] = n > 1 ? base64_digits[bits >> 6 & 63] : '=';
        out[3] = n > 2 ? base64_digits[bits & 63] : '=';
        out += 4;
    }
    *out = '\0';
}

/* 16 bytes in base64: 22 digits, the last with 4 bits of nothing, and "==". */
static int
is_key(span s)
{
    if (s.len != 24 || memcmp(s.at + 22, "==", 2) != 0)
        return 0;
    for (int i = 0; i < 22; i++) {
        if (s.at[i] == '\0')
            return 0;
        const char *digit = strchr(base64_digits, s.at[i]);
        if (digit == NULL || (i == 21 && ((digit - base64_digits) & 15) != 0))
            return 0;
    }
    return 1;
}

static void
make_accept(coir_ws_handshake *h)
{
    char text[24 + 36 + 1];
    uint8_t digest[20];
    memcpy(text, h->key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 37);
    sha1((const uint8_t *)text, 60, digest);
    base64(digest, sizeof digest, h->accept);
}

/* --- pieces of values ---------------------------------------------------- */

static int
is_space(char c)
{
    return c == ' ' || c == '\t';
}

static span
stripped(span s)
{
    while (s.len > 0 && is_space(s.at[0]))
        s.at++, s.len--;
    while (s.len > 0 && is_space(s.at[s.len - 1]))
        s.len--;
    return s;
}

static int
is_same(span s, const char *name)
{
    return s.len == strlen(name) && strncasecmp(s.at, name, s.len) == 0;
}

static int
is_token_char(char c)
{
    return c > ' ' && c < 127 && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL;
}

static span
take_token(span *s)
{
    span token = {s->at, 0};
    while (token.len < s->len && is_token_char(s->at[token.len]))
        token.len++;
    s->at += token.len;
    s->len -= token.len;
    *s = stripped(*s);
    return token;
}

/* Take `c`, and white space around it. */
static int
take_char(span *s, char c)
{
    if (s->len == 0 || *s->at != c)
        return 0;
    *s = stripped((span){s->at + 1, s->len - 1});
    return 1;
}

/* The next element of a list: 1, 0 at its end. Empty ones are skipped. */
static int
next_element(span *s, span *element)
{
    while (s->len > 0) {
        const char *comma = memchr(s->at, ',', s->len);
        const size_t len = comma != NULL ? (size_t)(comma - s->at) : s->len;
        *element = stripped((span){s->at, len});
        const size_t used = comma != NULL ? len + 1 : len;
        s->at += used;
        s->len -= used;
        if (element->len > 0)
            return 1;
    }
    return 0;
}

static int
list_has(span s, const char *name)
{
    span element;
    while (next_element(&s, &element))
        if (is_same(element, name))
            return 1;
    return 0;
}

static void
refuse(coir_ws_handshake *h, int error)
{
    if (h->error == 0)
        h->error = error;
}

/* --- extensions ---------------------------------------------------------- */

/* One of the peer's: permessage-deflate with these parameters, or another. */
typedef struct extension {
    int is_deflate;
    int is_usable; /* all parameters are known, once there, with good values */
    int server_no_takeover, client_no_takeover;
    int has_server_bits, has_client_bits;
    int server_bits, client_bits; /* 0: without a value */
} extension;

/* 8 to 15, without leading zeros; 0: something else. */
static int
bits_of(span value)
{
    if (value.len == 1 && (value.at[0] == '8' || value.at[0] == '9'))
        return value.at[0] - '0';
    if (value.len == 2 && value.at[0] == '1' && value.at[1] >= '0' &&
        value.at[1] <= '5')
        return 10 + value.at[1] - '0';
    return 0;
}

static void
set_parameter(extension *e, span name, int has_value, span value)
{
    int *flag = NULL, *bits = NULL;
    if (is_same(name, "server_no_context_takeover"))
        flag = &e->server_no_takeover;
    else if (is_same(name, "client_no_context_takeover"))
        flag = &e->client_no_takeover;
    else if (is_same(name, "server_max_window_bits"))
        flag = &e->has_server_bits, bits = &e->server_bits;
    else if (is_same(name, "client_max_window_bits"))
        flag = &e->has_client_bits, bits = &e->client_bits;
    if (flag == NULL || *flag || (has_value && bits == NULL)) {
        e->is_usable = 0;
        return;
    }
    *flag = 1;
    if (has_value && (*bits = bits_of(value)) == 0)
        e->is_usable = 0;
}

/* The value of a parameter: a token, or a quoted string that is one. */
static int
take_value(span *s, span *value)
{
    if (s->len == 0 || *s->at != '"') {
        *value = take_token(s);
        return value->len > 0;
    }
    s->at++;
    s->len--;
    *value = (span){s->at, 0};
    while (value->len < s->len && is_token_char(s->at[value->len]))
        value->len++;
    if (value->len == 0 || value->len == s->len || s->at[value->len] != '"')
        return 0;
    *s = stripped((span){s->at + value->len + 1, s->len - value->len - 1});
    return 1;
}

/* Take one off a list: 1; 0: the end; -1: that is no list of extensions. */
static int
next_extension(span *s, extension *e)
{
    while (take_char(s, ','))
        ;
    if (s->len == 0)
        return 0;
    memset(e, 0, sizeof *e);
    e->is_usable = 1;
    span name = take_token(s);
    if (name.len == 0)
        return -1;
    e->is_deflate = is_same(name, "permessage-deflate");
    while (take_char(s, ';')) {
        span parameter = take_token(s), value = {NULL, 0};
        if (parameter.len == 0)
            return -1;
        int has_value = take_char(s, '=');
        if (has_value && !take_value(s, &value))
            return -1;
        set_parameter(e, parameter, has_value, value);
    }
    return s->len == 0 || *s->at == ',' ? 1 : -1;
}

static uint8_t
least_bits(unsigned ours, int theirs)
{
    if (ours == 0)
        ours = 15;
    return (uint8_t)(theirs != 0 && (unsigned)theirs < ours ? (unsigned)theirs
                                                            : ours);
}

/* Server: can this offer be accepted? Then it is. */
static void
accept_offer(coir_ws_handshake *h, const extension *e)
{
    coir_ws_deflate *d = &h->deflate;
    if (!e->is_deflate || !e->is_usable || !(h->seen & WANTS_DEFLATE) ||
        (h->seen & SEEN_DEFLATE))
        return;
    if (e->has_server_bits && e->server_bits == 0)
        return; /* here a value must be */
    h->seen |= SEEN_DEFLATE;
    d->is_on = 1;
    d->server_no_takeover |= (uint8_t)e->server_no_takeover;
    d->client_no_takeover |= (uint8_t)e->client_no_takeover;
    d->server_bits = least_bits(d->server_bits, e->server_bits);
    /* Who does not offer it does not understand it. */
    d->client_bits =
        e->has_client_bits ? least_bits(d->client_bits, e->client_bits) : 15;
    if (e->has_server_bits)
        h->seen |= OFFERED_SERVER_BITS;
    if (e->has_client_bits)
        h->seen |= OFFERED_CLIENT_BITS;
}

/* Client: is what the server agrees to within what was offered? */
static void
take_agreement(coir_ws_handshake *h, const extension *e)
{
    coir_ws_deflate *d = &h->deflate;
    const int most = d->server_bits == 0 ? 15 : d->server_bits;
    if (!e->is_deflate || !e->is_usable || !(h->seen & WANTS_DEFLATE) ||
        (h->seen & SEEN_DEFLATE) ||
        (e->has_server_bits && e->server_bits == 0) ||
        (d->server_bits != 0 && d->server_bits < 15 &&
         (!e->has_server_bits || e->server_bits > most)) ||
        (e->has_client_bits && e->client_bits == 0) ||
        (d->server_no_takeover && !e->server_no_takeover)) {
        refuse(h, COIR_WS_EEXTENSION);
        return;
    }
    h->seen |= SEEN_DEFLATE;
    d->is_on = 1;
    d->server_no_takeover = (uint8_t)e->server_no_takeover;
    d->client_no_takeover |= (uint8_t)e->client_no_takeover;
    if (e->has_server_bits)
        d->server_bits = (uint8_t)e->server_bits;
    d->client_bits = least_bits(d->client_bits, e->client_bits);
}

static void
take_extensions(coir_ws_handshake *h, span value)
{
    extension e;
    int res;
    while ((res = next_extension(&value, &e)) > 0) {
        if (h->role == COIR_WS_SERVER)
            accept_offer(h, &e);
        else
            take_agreement(h, &e);
    }
    if (res < 0)
        refuse(h, COIR_WS_EFIELD);
}

/* --- text that may not fit ----------------------------------------------- */

typedef struct text {
    char *at;
    size_t size, len;
} text;

static void
add(text *t, const char *s)
{
    const size_t len = strlen(s);
    if (t->len < t->size)
        memcpy(t->at + t->len, s,
               len < t->size - t->len ? len : t->size - t->len);
    t->len += len;
}

static void
add_bits(text *t, const char *name, unsigned bits)
{
    char number[8];
    (void)snprintf(number, sizeof number, "=%u", bits & 15);
    add(t, name);
    add(t, number);
}

static void
add_field(text *t, const char *name, const char *value)
{
    add(t, name);
    add(t, ": ");
    add(t, value);
    add(t, "\r\n");
}

size_t
coir_ws_handshake_extensions(const coir_ws_handshake *h, char out[128])
{
    const coir_ws_deflate *d = &h->deflate;
    const int is_client = h->role == COIR_WS_CLIENT;
    text t = {out, 127, 0};
    if (h->seen & (is_client ? WANTS_DEFLATE : SEEN_DEFLATE)) {
        const int has_server_bits = d->server_bits != 0 && d->server_bits < 15;
        add(&t, "permessage-deflate");
        if (d->server_no_takeover)
            add(&t, "; server_no_context_takeover");
        if (d->client_no_takeover)
            add(&t, "; client_no_context_takeover");
        if (has_server_bits || (h->seen & OFFERED_SERVER_BITS))
            add_bits(&t, "; server_max_window_bits", d->server_bits);
        if (is_client && (d->client_bits == 0 || d->client_bits == 15))
            add(&t, "; client_max_window_bits");
        else if (is_client || (h->seen & OFFERED_CLIENT_BITS))
            add_bits(&t, "; client_max_window_bits", d->client_bits);
    }
    out[t.len] = '\0';
    return t.len;
}

/* --- the handshake ------------------------------------------------------- */

int
coir_ws_handshake_init(coir_ws_handshake *h, int role,
                       const char *const *protocols,
                       const coir_ws_deflate *deflate)
{
    if (role != COIR_WS_SERVER && role != COIR_WS_CLIENT)
        return COIR_EINVAL;
    if (deflate != NULL && deflate->is_on) {
        if (!coir_ws_has_deflate())
            return COIR_ENOSYS;
        if ((deflate->server_bits != 0 &&
             (deflate->server_bits < 9 || deflate->server_bits > 15)) ||
            (deflate->client_bits != 0 &&
             (deflate->client_bits < 9 || deflate->client_bits > 15)))
            return COIR_EINVAL;
    }
    for (size_t i = 0; protocols != NULL && protocols[i] != NULL; i++) {
        span name = {protocols[i], strlen(protocols[i])};
        if (take_token(&name).len == 0 || name.len > 0)
            return COIR_EINVAL;
    }
    memset(h, 0, sizeof *h);
    h->role = role;
    h->protocols = protocols;
    if (deflate != NULL && deflate->is_on) {
        h->deflate = *deflate;
        h->deflate.is_on = 0; /* until it is agreed on */
        h->seen = WANTS_DEFLATE;
    }
    if (role == COIR_WS_CLIENT) {
        uint8_t key[16];
        while (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
            ; /* interrupted */
        base64(key, sizeof key, h->key);
        make_accept(h);
    }
    return 0;
}

/* Server: the first that the client wants and we have. Client: what the
 * server chose. */
static void
take_protocols(coir_ws_handshake *h, span value)
{
    span wanted;
    const int is_client = h->role == COIR_WS_CLIENT;
    if (is_client && (h->seen & SEEN_PROTOCOL))
        refuse(h, COIR_WS_EPROTOCOL);
    h->seen |= SEEN_PROTOCOL;
    while (h->protocol == NULL && next_element(&value, &wanted)) {
        for (size_t i = 0; h->protocols != NULL && h->protocols[i] != NULL;
             i++)
            if (wanted.len == strlen(h->protocols[i]) &&
                memcmp(wanted.at, h->protocols[i], wanted.len) == 0) {
                h->protocol = h->protocols[i];
                break;
            }
        if (is_client && h->protocol == NULL)
            refuse(h, COIR_WS_EPROTOCOL);
    }
    if (is_client && stripped(value).len > 0)
        refuse(h, COIR_WS_EPROTOCOL); /* it chose two */
}

static void
take_server_field(coir_ws_handshake *h, span name, span value)
{
    if (is_same(name, "Sec-WebSocket-Key")) {
        if ((h->seen & SEEN_KEY) || !is_key(value)) {
            refuse(h, COIR_WS_EKEY);
            return;
        }
        h->seen |= SEEN_KEY;
        memcpy(h->key, value.at, value.len);
        make_accept(h);
    }
    else if (is_same(name, "Sec-WebSocket-Version")) {
        if ((h->seen & SEEN_VERSION) || !is_same(value, "13"))
            refuse(h, COIR_WS_EVERSION);
        h->seen |= SEEN_VERSION;
    }
    else if (is_same(name, "Origin")) {
        if (h->seen & SEEN_ORIGIN)
            refuse(h, COIR_WS_EFIELD);
        h->seen |= SEEN_ORIGIN;
        h->origin = value.at;
        h->origin_len = value.len;
    }
}

void
coir_ws_handshake_field(coir_ws_handshake *h, const char *name,
                        size_t name_len, const char *value, size_t value_len)
{
    const span n = {name, name_len}, v = stripped((span){value, value_len});
    if (is_same(n, "Upgrade")) {
        if (list_has(v, "websocket"))
            h->seen |= SEEN_UPGRADE;
    }
    else if (is_same(n, "Connection")) {
        if (list_has(v, "upgrade"))
            h->seen |= SEEN_CONNECTION;
    }
    else if (is_same(n, "Sec-WebSocket-Protocol")) {
        take_protocols(h, v);
    }
    else if (is_same(n, "Sec-WebSocket-Extensions")) {
        take_extensions(h, v);
    }
    else if (h->role == COIR_WS_SERVER) {
        take_server_field(h, n, v);
    }
    else if (is_same(n, "Sec-WebSocket-Accept")) {
        if ((h->seen & SEEN_ACCEPT) || v.len != 28 ||
            memcmp(v.at, h->accept, 28) != 0)
            refuse(h, COIR_WS_EACCEPT);
        h->seen |= SEEN_ACCEPT;
    }
}

int
coir_ws_handshake_check_request(coir_ws_handshake *h, const char *method,
                                size_t len, int minor)
{
    const unsigned both = SEEN_UPGRADE | SEEN_CONNECTION;
    if (len != 3 || memcmp(method, "GET", 3) != 0)
        return COIR_WS_EMETHOD;
    if (minor < 1)
        return COIR_WS_EHTTP;
    if ((h->seen & both) != both)
        return COIR_WS_EUPGRADE;
    if (!(h->seen & SEEN_VERSION))
        return COIR_WS_EVERSION;
    if (!(h->seen & SEEN_KEY) && h->error == 0)
        return COIR_WS_EKEY;
    return h->error;
}

int
coir_ws_handshake_check_response(coir_ws_handshake *h, int status)
{
    const unsigned both = SEEN_UPGRADE | SEEN_CONNECTION;
    if (status != 101)
        return COIR_WS_ESTATUS;
    if ((h->seen & both) != both)
        return COIR_WS_EUPGRADE;
    if (!(h->seen & SEEN_ACCEPT))
        return COIR_WS_EACCEPT;
    return h->error;
}

size_t
coir_ws_handshake_response(const coir_ws_handshake *h, const char *more,
                           char *out, size_t size)
{
    char extensions[128];
    text t = {out, size, 0};
    add(&t, "HTTP/1.1 101 Switching Protocols\r\n");
    add_field(&t, "Upgrade", "websocket");
    add_field(&t, "Connection", "Upgrade");
    add_field(&t, "Sec-WebSocket-Accept", h->accept);
    if (h->protocol != NULL)
        add_field(&t, "Sec-WebSocket-Protocol", h->protocol);
    if (coir_ws_handshake_extensions(h, extensions) > 0)
        add_field(&t, "Sec-WebSocket-Extensions", extensions);
    if (more != NULL)
        add(&t, more);
    add(&t, "\r\n");
    return t.len;
}

size_t
coir_ws_handshake_request(const coir_ws_handshake *h, const char *host,
                          const char *target, const char *more, char *out,
                          size_t size)
{
    char extensions[128];
    text t = {out, size, 0};
    add(&t, "GET ");
    add(&t, target);
    add(&t, " HTTP/1.1\r\n");
    add_field(&t, "Host", host);
    add_field(&t, "Upgrade", "websocket");
    add_field(&t, "Connection", "Upgrade");
    add_field(&t, "Sec-WebSocket-Key", h->key);
    add_field(&t, "Sec-WebSocket-Version", "13");
    for (size_t i = 0; h->protocols != NULL && h->protocols[i] != NULL; i++) {
        add(&t, i == 0 ? "Sec-WebSocket-Protocol: " : ", ");
        add(&t, h->protocols[i]);
        if (h->protocols[i + 1] == NULL)
            add(&t, "\r\n");
    }
    if (coir_ws_handshake_extensions(h, extensions) > 0)
        add_field(&t, "Sec-WebSocket-Extensions", extensions);
    if (more != NULL)
        add(&t, more);
    add(&t, "\r\n");
    return t.len;
}
