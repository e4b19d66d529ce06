/* coir/websocket.h - WebSocket (RFC 6455) with permessage-deflate (RFC 7692).
 *
 * Two halves. The codec, coir_ws, does no input or output: bytes that came go
 * in, messages come out, and the reverse. The connection, coir_websocket, is
 * the codec on a stream, for green threads: see its own part below.
 *
 *     coir_ws *ws;
 *     coir_ws_attr attr = {.role = COIR_WS_SERVER};
 *     coir_ws_new(&ws, &attr);
 *     ...
 *     ssize_t n = coir_ws_receive(ws, buf, len, &event);
 *     if (n >= 0 && event.type == COIR_WS_TEXT)
 *         ... event.data, event.len ...; go on at buf + n
 *
 * The peer is not trusted. Sizes are checked before memory is taken for them,
 * and memory is taken for what came, never for what was announced; what a
 * compressed message unpacks to counts as its size, while it is unpacked.
 *
 * Owner:   a codec owns its buffers; what it returns is valid until its next
 *          call of the same direction.
 * Threads: one at a time for each direction; coir_ws_receive() and
 *          coir_ws_take_due() need the same one, or a lock.
 * Errors:  COIR_WS_E* below, COIR_EINVAL, COIR_ENOMEM, COIR_ECLOSED. */
#ifndef COIR_WEBSOCKET_H
#define COIR_WEBSOCKET_H

#include <coir/base.h>

#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is wrong with what came: name, number, the close code (or, of an
 * opening handshake, the HTTP status) that says so to the peer, text. */
#define COIR_WS_ERRORS(X)                                                     \
    X(COIR_WS_ERSV, 1, 1002, "reserved bits are set")                         \
    X(COIR_WS_EOPCODE, 2, 1002, "reserved opcode")                            \
    X(COIR_WS_ENOMASK, 3, 1002, "frame of a client without a mask")           \
    X(COIR_WS_EMASKED, 4, 1002, "frame of a server with a mask")              \
    X(COIR_WS_ELENGTH, 5, 1002, "length not in its shortest form")            \
    X(COIR_WS_EHUGE, 6, 1002, "length of more than 63 bits")                  \
    X(COIR_WS_ECONTROL, 7, 1002, "control frame of more than 125 bytes")      \
    X(COIR_WS_ESPLIT, 8, 1002, "control frame in fragments")                  \
    X(COIR_WS_ENOSTART, 9, 1002, "continuation of no message")                \
    X(COIR_WS_ENESTED, 10, 1002, "message within a message")                  \
    X(COIR_WS_EUTF8, 11, 1007, "text is not UTF-8")                           \
    X(COIR_WS_ECLOSE, 12, 1002, "close frame of one byte")                    \
    X(COIR_WS_ECODE, 13, 1002, "close code that must not be sent")            \
    X(COIR_WS_EREASON, 14, 1007, "reason is not UTF-8")                       \
    X(COIR_WS_EFRAME, 15, 1009, "frame is too big")                           \
    X(COIR_WS_EMESSAGE, 16, 1009, "message is too big")                       \
    X(COIR_WS_EFRAGMENTS, 17, 1009, "message of too many fragments")          \
    X(COIR_WS_EDEFLATE, 18, 1007, "compressed data is broken")                \
    X(COIR_WS_EMETHOD, 31, 405, "method is not GET")                          \
    X(COIR_WS_EHTTP, 32, 400, "older than HTTP/1.1")                          \
    X(COIR_WS_EUPGRADE, 33, 426, "no upgrade to WebSocket is asked for")      \
    X(COIR_WS_EKEY, 34, 400, "no, or a wrong, Sec-WebSocket-Key")             \
    X(COIR_WS_EVERSION, 35, 426, "version of WebSocket is not 13")            \
    X(COIR_WS_EFIELD, 36, 400, "field of the handshake is malformed")         \
    X(COIR_WS_EORIGIN, 37, 403, "origin is not allowed")                      \
    X(COIR_WS_ESTATUS, 38, 502, "server does not switch protocols")           \
    X(COIR_WS_EACCEPT, 39, 502, "wrong Sec-WebSocket-Accept")                 \
    X(COIR_WS_EPROTOCOL, 40, 502, "subprotocol that was not offered")         \
    X(COIR_WS_EEXTENSION, 41, 502, "extension that was not offered")

enum coir_ws_error {
#define COIR__WS_ERROR_VALUE(name, number, code, text)                        \
    name = -16384 - (number),
    COIR_WS_ERRORS(COIR__WS_ERROR_VALUE)
#undef COIR__WS_ERROR_VALUE
};

/* Text for one of these, or any other error of the library; never NULL. */
COIR_API const char *coir_ws_strerror(int error);
/* The close code or status that goes with it; 1011 for other errors. */
COIR_API int coir_ws_error_code(int error);

/* --- the codec ----------------------------------------------------------- */

typedef struct coir_ws coir_ws;

enum coir_ws_role { COIR_WS_SERVER, COIR_WS_CLIENT };

/* What a frame or message is: its opcode. */
enum coir_ws_type {
    COIR_WS_TEXT = 1,
    COIR_WS_BINARY = 2,
    COIR_WS_CLOSE = 8,
    COIR_WS_PING = 9,
    COIR_WS_PONG = 10
};

enum coir_ws_limits {
    COIR_WS_MAX_MESSAGE = 1 << 20,   /* bytes of a message, by default */
    COIR_WS_MAX_FRAGMENTS = 1 << 16, /* of a message, by default */
    COIR_WS_MAX_CONTROL = 125,       /* bytes in a control frame */
    COIR_WS_MAX_HEAD = 14,           /* of a frame */
    COIR_WS_MAX_DUE = 2 * (6 + 125)  /* see coir_ws_take_due() */
};

/* permessage-deflate: what is offered or accepted, and what was agreed on. */
typedef struct coir_ws_deflate {
    uint8_t is_on;              /* agreed: is it used? */
    uint8_t server_no_takeover; /* server_no_context_takeover */
    uint8_t client_no_takeover;
    uint8_t server_bits; /* server_max_window_bits: 9 to 15; 0: 15. Agreed on
                            it may be 8, then nothing is compressed */
    uint8_t client_bits;
    int8_t level;     /* of our own compression: 1 to 9; 0: 6 */
    uint8_t mem;      /* zlib's memLevel: 1 to 9; 0: 5 */
    size_t threshold; /* shorter messages are sent as they are; 0: 64 */
} coir_ws_deflate;

/* Was this library built with zlib? */
COIR_API int coir_ws_has_deflate(void);

typedef struct coir_ws_attr {
    int role;               /* our own, enum coir_ws_role */
    unsigned max_fragments; /* 0: COIR_WS_MAX_FRAGMENTS */
    size_t max_message;     /* 0: COIR_WS_MAX_MESSAGE; SIZE_MAX: no limit */
    size_t max_frame;       /* as sent; 0: as the message allows */
    size_t max_unpacked;    /* of compressed ones; 0: max_message */
    coir_ws_deflate deflate;
    /* Where masks come from; NULL: getrandom(). */
    void (*random)(void *buf, size_t len);
} coir_ws_attr;

/* `attr` NULL: a server's, all by default. COIR_EINVAL; COIR_ENOMEM;
 * COIR_ENOSYS: deflate, in a build without zlib. */
COIR_API int coir_ws_new(coir_ws **out, const coir_ws_attr *attr);
/* NULL is ignored. */
COIR_API void coir_ws_free(coir_ws *ws);

/* What came. `code` is that of a close frame, 1005 if it had none; then `data`
 * is the reason. */
typedef struct coir_ws_event {
    int type; /* enum coir_ws_type; 0: nothing is complete yet */
    int code;
    int was_compressed;
    uint8_t *data;
    size_t len;
} coir_ws_event;

/* Read frames, up to the end of the first message or control frame; payloads
 * are unmasked in place. Returns how many bytes of `buf` were used; all of
 * them if `event->type` is 0. `event->data` lies in `buf`, or is the codec's;
 * it may be changed.
 *
 * COIR_WS_E*, COIR_ENOMEM: nothing more can be received. What tells the peer
 * is due, and then the connection is to be closed. The same is returned from
 * then on. After a close frame all bytes are skipped. */
COIR_API ssize_t coir_ws_receive(coir_ws *ws, void *buf, size_t len,
                                 coir_ws_event *event);

/* So many bytes are missing of the payload that comes now; 0: none. For who
 * chooses how much to read. */
COIR_API uint64_t coir_ws_wanted(const coir_ws *ws);

/* Frames that the protocol wants us to send: a pong, of the last ping; a
 * close frame, in answer to one or for an error. To be called when `event` was
 * a ping or a close, or there was an error, as soon as no message is half
 * sent. Writes at most COIR_WS_MAX_DUE bytes; returns how many. */
COIR_API size_t coir_ws_take_due(coir_ws *ws, void *out);
COIR_API int coir_ws_has_due(const coir_ws *ws);

enum coir_ws_send_flags {
    COIR_WS_MORE = 1,  /* a fragment: more of the message follows */
    COIR_WS_PLAIN = 2, /* not to be compressed */
    COIR_WS_VALID = 4  /* text: it is known to be UTF-8 */
};

/* Make a frame. It is in `out[0]` and `out[1]`, in this order, of which the
 * second may be empty, and may be `data` itself. `type` is that of the message
 * for each of its fragments. COIR_EINVAL: a type that does not fit, too long
 * for a control frame; COIR_WS_EUTF8; COIR_ECLOSED: after a close frame.
 * COIR_ENOMEM: nothing was made; if a message was to be compressed nothing can
 * be compressed any more, which is COIR_WS_EDEFLATE from then on. */
COIR_API int coir_ws_send(coir_ws *ws, int type, const void *data, size_t len,
                          unsigned flags, struct iovec out[2]);

/* The same for a close frame. `code` 0: without one. COIR_EINVAL: a code that
 * must not be sent, a reason of more than 123 bytes; COIR_WS_EREASON;
 * COIR_ECLOSED: there was one, or it is due. Into `out`, of
 * COIR_WS_MAX_DUE bytes; returns how many. */
COIR_API ssize_t coir_ws_close(coir_ws *ws, int code, const void *reason,
                               size_t len, void *out);

/* Give back buffers that got big, and with them what was returned. For before
 * a longer wait. */
COIR_API void coir_ws_trim(coir_ws *ws);

enum coir_ws_state {
    COIR_WS_SENT_CLOSE = 1, /* or it is due */
    COIR_WS_GOT_CLOSE = 2,
    COIR_WS_FAILED = 4 /* receiving has */
};

/* Flags of enum coir_ws_state. */
COIR_API unsigned coir_ws_state(const coir_ws *ws);

/* May this code stand in a close frame? */
COIR_API int coir_ws_code_is_valid(int code);

/* --- the opening handshake ----------------------------------------------- */

enum coir_ws_key_sizes {
    COIR_WS_KEY_SIZE = 25,   /* of a key, with the 0 at its end */
    COIR_WS_ACCEPT_SIZE = 29 /* of the answer to it */
};

/* What one of the two sides knows of a handshake. Zeroed by its init; fields
 * of the peer's head are given to it one by one, then it is checked. Spans
 * point into the values that were given. */
typedef struct coir_ws_handshake {
    int role;                     /* our own */
    const char *const *protocols; /* ours, NULL at the end; or NULL */
    coir_ws_deflate deflate;      /* ours, then what was agreed on */
    const char *protocol;         /* agreed on: one of ours, or NULL */
    const char *origin;           /* the client's, or NULL */
    size_t origin_len;
    char key[COIR_WS_KEY_SIZE];
    char accept[COIR_WS_ACCEPT_SIZE];
    unsigned seen; /* private */
    int error;     /* private */
} coir_ws_handshake;

/* A client gets a fresh key. `deflate` NULL: none is wanted; what its `is_on`
 * says counts. COIR_EINVAL: bad parameters; COIR_ENOSYS. */
COIR_API int coir_ws_handshake_init(coir_ws_handshake *h, int role,
                                    const char *const *protocols,
                                    const coir_ws_deflate *deflate);

/* A field of the head; those that are of no concern are ignored. Values with
 * or without white space around them. */
COIR_API void coir_ws_handshake_field(coir_ws_handshake *h, const char *name,
                                      size_t name_len, const char *value,
                                      size_t value_len);

/* Server: may the request be answered by 101? `minor` is of its version,
 * HTTP/1.minor. 0 or COIR_WS_E*. */
COIR_API int coir_ws_handshake_check_request(coir_ws_handshake *h,
                                             const char *method, size_t len,
                                             int minor);
/* Client: is this the answer to our request? */
COIR_API int coir_ws_handshake_check_response(coir_ws_handshake *h,
                                              int status);

/* The own value of Sec-WebSocket-Extensions: what a client offers, or a server
 * agrees to. Returns its length, 0 for none; at most 127. */
COIR_API size_t coir_ws_handshake_extensions(const coir_ws_handshake *h,
                                             char out[128]);

/* Server: the head that says 101. `more` are further fields, each ended by
 * CRLF, or NULL. Returns its length, of which at most `size` bytes were
 * written. */
COIR_API size_t coir_ws_handshake_response(const coir_ws_handshake *h,
                                           const char *more, char *out,
                                           size_t size);
/* Client: the head of the request. */
COIR_API size_t coir_ws_handshake_request(const coir_ws_handshake *h,
                                          const char *host, const char *target,
                                          const char *more, char *out,
                                          size_t size);

/* --- parts that others may need ------------------------------------------ */

/* Is the whole of it UTF-8, and complete? */
COIR_API int coir_ws_is_utf8(const void *data, size_t len);

/* out = data ^ mask, from byte `offset` of the mask on. May be the same. */
COIR_API void coir_ws_mask(void *out, const void *data, size_t len,
                           const uint8_t mask[4], size_t offset);

/* --- connections --------------------------------------------------------- */

/* A WebSocket on an exchange of coir/http_server.h, on libcoir's own green
 * threads: in the handler, and in others while it has not returned.
 *
 *     static int
 *     echo(coir_http_exchange *x, void *arg)
 *     {
 *         coir_websocket *ws;
 *         int err = coir_websocket_accept(x, NULL, &ws);
 *         if (err < 0)
 *             return 0;
 *         coir_ws_event e;
 *         while (coir_websocket_recv(ws, &e, COIR_FOREVER) == 0 &&
 *                e.type != COIR_WS_CLOSE)
 *             coir_websocket_send(ws, e.type, e.data, e.len, 0);
 *         coir_websocket_free(ws);
 *         return 0;
 *     }
 *
 * One may receive while others send; those wait for each other. Pings are
 * answered, and close frames, while somebody receives. When the server begins
 * to stop, who receives tells the peer (1001) and gets COIR_ECANCELED. */
typedef struct coir_websocket coir_websocket;
struct coir_http_exchange;

typedef struct coir_websocket_options {
    const char *const *protocols; /* subprotocols, NULL at the end; or NULL */
    coir_ws_deflate deflate;      /* accepted if its `is_on` is set */
    size_t max_message;           /* see coir_ws_attr */
    size_t max_frame;
    unsigned max_fragments;
    /* May who has this origin connect? `origin` is NULL if the client named
     * none, as programs do that are no browsers. NULL: everybody may; a site
     * that knows its users by cookies must look. */
    int (*check_origin)(const char *origin, size_t len, void *arg);
    void *arg;
    const char *fields; /* more of the answer, each ended by CRLF; or NULL */
    int64_t write_timeout_ns; /* of each frame; 0: 20 s */
    int64_t close_timeout_ns; /* for the peer's close frame; 0: 5 s */
} coir_websocket_options;

/* Answer the request by 101. If it is refused, COIR_WS_E*, it was answered,
 * too, and the handler has only to return. COIR_EINVAL: a response was begun,
 * or the options make no sense; COIR_ENOMEM; the errors of writing. Blocks. */
COIR_API int coir_websocket_accept(struct coir_http_exchange *x,
                                   const coir_websocket_options *options,
                                   coir_websocket **out);

/* The next message, or the peer's close frame, which was answered; 0. Data is
 * valid until the next call. COIR_WS_E*: the peer has broken the protocol, and
 * was told. COIR_EEOF: it went without a word. COIR_ETIMEDOUT: nothing was
 * lost. COIR_ECANCELED; COIR_ECLOSED: after a close frame; COIR_EBUSY: another
 * one receives; COIR_ENOMEM; the errors of reading. Blocks. */
COIR_API int coir_websocket_recv(coir_websocket *ws, coir_ws_event *event,
                                 int64_t timeout_ns);

/* Send a message, or with COIR_WS_MORE a part of one: see coir_ws_send(). Who
 * sends in parts must be the only one who sends messages. It has left when
 * this returns. The errors of coir_ws_send(), and of writing. Blocks. */
COIR_API int coir_websocket_send(coir_websocket *ws, int type,
                                 const void *data, size_t len, unsigned flags);

/* At most COIR_WS_MAX_CONTROL bytes. Blocks. */
COIR_API int coir_websocket_ping(coir_websocket *ws, const void *data,
                                 size_t len);

/* Send a close frame, unless one was sent, and wait for the peer's, if nobody
 * else receives; messages that come before it are dropped. COIR_ETIMEDOUT: it
 * did not come. COIR_EINVAL: see coir_ws_close(). Blocks. */
COIR_API int coir_websocket_close(coir_websocket *ws, int code,
                                  const char *reason);

/* Free it, before the handler returns; one that is open is closed by 1000. The
 * connection ends with the exchange. NULL is ignored. Blocks. */
COIR_API void coir_websocket_free(coir_websocket *ws);

/* The subprotocol that was agreed on, or NULL. */
COIR_API const char *coir_websocket_protocol(const coir_websocket *ws);
/* Its codec: for its state. */
COIR_API const coir_ws *coir_websocket_codec(const coir_websocket *ws);

#ifdef __cplusplus
}
#endif

#endif
