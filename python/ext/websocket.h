/* websocket.h - what the files of WebSocket share: the codec, the handshake
 * and the connection on a stream. */
#ifndef COIR_EXT_WEBSOCKET_H
#define COIR_EXT_WEBSOCKET_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif

#include "state.h"

#include <coir/websocket.h>

/* coir.websocket.WebSocketError and its subclasses, strong. */
extern PyObject *coir__ws_error COIR__HIDDEN;
extern PyObject *coir__ws_protocol_error COIR__HIDDEN;
extern PyObject *coir__ws_closed COIR__HIDDEN;
extern PyObject *coir__ws_handshake_error COIR__HIDDEN;

typedef struct {
    PyObject_HEAD coir_ws *ws;
    coir_ws_attr attr;
    int close_code;         /* of the peer's close frame; 0: none came */
    PyObject *close_reason; /* strong: a str, or NULL */
    /* Since the beginning; bytes are of messages, not of frames. */
    unsigned long long messages_received, messages_sent;
    unsigned long long bytes_received, bytes_sent;
    unsigned long long wire_received, wire_sent;
} CodecObject;

extern PyTypeObject coir__ws_codec_type COIR__HIDDEN;
extern PyTypeObject coir__ws_handshake_type COIR__HIDDEN;
extern PyTypeObject coir__ws_base_type COIR__HIDDEN;

/* A new one, or NULL with an exception. */
COIR__HIDDEN PyObject *coir__ws_codec_new(const coir_ws_attr *attr);

/* Limits given as Python objects, NULL for the defaults, None for no limit.
 * 0, or -1 with an exception. */
COIR__HIDDEN int coir__ws_limits(coir_ws_attr *attr, PyObject *max_message,
                                 PyObject *max_frame, PyObject *max_fragments);
/* None, or a tuple as coir.websocket.Deflate makes it. */
COIR__HIDDEN int coir__ws_deflate(coir_ws_deflate *out, PyObject *deflate);

/* Take one event off `buf`: 1, with the message in `*out` (str or bytes; of a
 * close frame None) and its type in `*type`; 0: all is used up; -1 with an
 * exception. `*used` is set in any case. */
COIR__HIDDEN int coir__ws_take(CodecObject *c, char *buf, size_t len,
                               size_t *used, int *type, PyObject **out);

/* A message, str or bytes-like, as a frame of its own or a part of one. The
 * head in `*frame`; the payload behind it in there, or in `*rest`, which is
 * NULL else: both are strong. 0, or -1 with an exception. */
COIR__HIDDEN int coir__ws_make(CodecObject *c, PyObject *message, int type,
                               unsigned flags, size_t join_limit,
                               PyObject **frame, PyObject **rest);

/* Frames that are due, as bytes; NULL with an exception. */
COIR__HIDDEN PyObject *coir__ws_due(CodecObject *c);

/* Raise what says this error; returns NULL. */
COIR__HIDDEN PyObject *coir__ws_raise(int error);

COIR__HIDDEN int coir__wsstream_init(void);
COIR__HIDDEN int coir__websocket_types_init(PyObject *module);

#endif
