/* server.h - what the files of coir/http_server.h share.
 *
 * A connection is in one state at a time, and in the list of that state:
 *
 *     accept --> SHAKING --> HEAD --> QUEUED --> ACTIVE --> IDLE
 *                              |         |        |  ^       |
 *                              +---------|--------|--|-------+ first byte:
 *                              |         |        v  |         HEAD
 *                              |         |     DRAINING
 *                              v         v        v
 *                              LINGERING --> closed
 *
 * ACTIVE has a green thread, all others are driven by callbacks of the loop.
 * Its buffers, and what was parsed, are in a coir__http_x, which comes from a
 * pool when there are bytes to be read. It is the connection's while a head is
 * being parsed, queued or handled, and goes back in between; a part of a head
 * that has to wait for more is kept in a block of its own size (`partial`).
 *
 * All waits of a state have the same length, so each list is in the order of
 * deadlines, and one timer for the whole server looks at the heads of the
 * lists. No request starts or stops a timer. What a handler waits for has a
 * timeout of its own, armed by the host.
 *
 * A read that falls short has emptied the descriptor (`dry`): the loop's edge
 * tells of what comes later, and a read that would only find EAGAIN is not
 * made.
 *
 * The server stays while somebody holds it: functions that are called from
 * outside hold it, and the last to let go tells that it has stopped, and frees
 * it if that was asked for. */
#ifndef COIR__HTTP_SERVER_INTERNAL_H
#define COIR__HTTP_SERVER_INTERNAL_H

#include <coir/http_server.h>

#include <netinet/in.h>
#include <sys/uio.h>

#include "base/platform.h"

#define COIR__HTTP_BUFFER 8192 /* to read into, at first */
#define COIR__HTTP_ROOM 2048   /* at least, for reading a body */
#define COIR__HTTP_OUT 2048    /* to write from, at first */
#define COIR__HTTP_POOL 256    /* so many unused ones are kept */
#define COIR__HTTP_SCRATCH 16384
#define COIR__HTTP_LINE 8192 /* of the access log */
#define COIR__HTTP_ROW 8     /* so many before others are looked at */
/* Who is younger is not closed for another one before its first request. */
#define COIR__HTTP_YOUNG_NS (500 * COIR_NS_PER_MS)
/* While the server stops a new connection, or one that was in use so long ago,
 * may take so long for one more request; and one that was answered, to end. */
#define COIR__HTTP_LAST_NS (500 * COIR_NS_PER_MS)
#define COIR__HTTP_LINGER_MAX                                                 \
    (1024 * 1024) /* bytes read and dropped at most */

enum coir__http_state {
    COIR__HTTP_SHAKING,
    COIR__HTTP_HEAD, /* new, or with a part of a head */
    COIR__HTTP_IDLE,
    COIR__HTTP_QUEUED,
    COIR__HTTP_ACTIVE,
    COIR__HTTP_UNTIMED, /* ACTIVE, past its deadline, or upgraded */
    COIR__HTTP_DRAINING,
    COIR__HTTP_LINGERING,
    COIR__HTTP_STATES
};

typedef struct coir__http_conn coir__http_conn;
typedef struct coir__http_x coir__http_x;
typedef struct coir__http_listener coir__http_listener;

typedef struct coir__http_list {
    coir__http_conn *head, *tail;
    uint64_t count;
} coir__http_list;

struct coir__http_conn {
    coir_edge edge; /* first */
    coir_http_server *server;
    coir__http_conn *next, *prev;
    int64_t deadline_ns;
    coir__http_x *x;
    char *partial;
    coir_http_parser parser;
    const coir_http_transport *transport; /* NULL: plain */
    void *transport_state;
    void *data;    /* the host's */
    uint64_t left; /* to drain, or to drop while lingering */
    uint32_t partial_len;
    uint32_t requests;
    int32_t listener;
    uint8_t state;
    uint8_t dry;        /* reading would find nothing */
    uint8_t want_read;  /* events reading waits for */
    uint8_t want_write; /* and writing */
    uint8_t lost;       /* its descriptor is not ours any more */
    uint8_t row;        /* requests since the loop was looked at */
    uint8_t is_tcp;
    uint16_t peer_len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer;
};

/* How the body of a response is framed. */
enum coir__http_mode {
    COIR__HTTP_NO_BODY, /* counted, not sent */
    COIR__HTTP_BY_LENGTH,
    COIR__HTTP_BY_CHUNKS,
    COIR__HTTP_BY_CLOSE
};

/* Fields that the handler has given. */
enum coir__http_given { COIR__HTTP_GAVE_DATE = 1, COIR__HTTP_GAVE_SERVER = 2 };

struct coir__http_x {
    coir_http_exchange pub; /* first */
    coir__http_conn *conn;
    coir__http_x *next_free;

    /* What was read: the head, then from `pos` to `len` what was not used. */
    char *buf;
    size_t size, len, pos;
    size_t head_len;
    coir_http_body body;
    coir_http_parser trailers;
    int64_t started_ns;

    /* What is to be written: the response's head. */
    char *out;
    size_t out_size, out_len;
    uint64_t length; /* of its body, UINT64_MAX: not known */
    uint64_t sent;   /* of its body */
    uint64_t wrote;  /* bytes in all, for the log */
    int status;
    uint8_t state;   /* enum coir_http_response_state */
    uint8_t mode;    /* enum coir__http_mode, from COIR_HTTP_SENDING on */
    uint8_t given;   /* enum coir__http_given */
    uint8_t keep;    /* the connection, as far as is known */
    uint8_t interim; /* a 1xx that others follow */
    uint8_t upgraded;
    uint8_t heeds_stop;    /* reading ends when the server begins to stop */
    uint8_t must_continue; /* the client waits for 100 */
    uint8_t aborted;
    uint8_t is_cancelled; /* host->cancel() was called */

    int read_error; /* why the body cannot be read; 0 */
    int write_error;
    int killed; /* by the server: all waits end with it; 0 */

    /* Waits, by slot. */
    uint8_t waits;   /* bit per slot */
    uint8_t want[2]; /* events */
    int64_t waited_ns[2];
    uint64_t moved[2];

    char peer[INET6_ADDRSTRLEN];
    coir_http_head head;
    coir_http_field fields[];
};

struct coir__http_listener {
    coir_io io;
    coir_http_server *server;
    coir__http_listener *next;
    const coir_http_transport *transport;
    void *transport_ctx;
    int number;
    int fd;
    int is_tcp;
};

struct coir_http_server {
    coir_loop *loop;
    const coir_http_host *host;
    void *ctx;
    int frees_ctx;                    /* it goes with the server */
    coir_http_server_options options; /* without a 0 that means a default */
    coir_http_options parser;
    char *server_name;

    coir__http_list lists[COIR__HTTP_STATES];
    uint64_t connections;
    coir__http_x *unused;
    coir_http_exchange *begun; /* that was started last */
    coir__http_x *spare;       /* for when there is no memory; NULL: in use */
    unsigned unused_count;
    size_t buffers; /* bytes */

    coir__http_listener *listeners; /* the last one first */
    int listener_count;
    int accepts; /* was started, and not paused */
    int paused;  /* no descriptors, or too many connections */
    int64_t resume_ns;
    int64_t back_off_ns;

    coir_timer timer;
    coir_timer queue_timer; /* at once: some are queued for the loop */
    int64_t timer_ns;       /* when it fires, or earlier than that */

    uint8_t state; /* enum coir_http_server_state */
    uint8_t told;  /* host->stopped() was called */
    uint8_t freed; /* by its owner */
    unsigned held;
    int64_t stop_ns; /* end of the step of stopping */
    int64_t cancel_ns;

    int64_t date_s; /* of `date` */
    size_t date_len;
    char date[48]; /* "Date: ...\r\n" */
    char *log;     /* lines that were not written yet */
    size_t log_len;
    int64_t log_ns;     /* when they are to be */
    int64_t log_time_s; /* of `log_time` */
    char log_time[64];
    char line[COIR__HTTP_LINE];
    char scratch[COIR__HTTP_SCRATCH];
    coir_http_counters counters;
};

/* Of this exchange. */
static inline coir__http_x *
coir__http_of(const coir_http_exchange *x)
{
    return (coir__http_x *)(uintptr_t)x;
}

/* --- server.c ------------------------------------------------------------ */

static inline void
coir__http_hold(coir_http_server *s)
{
    s->held++;
}
/* It may be gone after that. */
void coir__http_let_go(coir_http_server *s);

/* Have the timer fire then, at the latest. */
void coir__http_wake_at(coir_http_server *s, int64_t deadline_ns);

static inline int64_t
coir__http_after(const coir_http_server *s, int64_t timeout_ns)
{
    int64_t now = coir_loop_now(s->loop);
    return timeout_ns < COIR_FOREVER - now ? now + timeout_ns : COIR_FOREVER;
}

static inline int
coir__http_stops(const coir_http_server *s)
{
    return s->state >= COIR_HTTP_STOPPING;
}

/* --- listen.c ------------------------------------------------------------ */

/* For the last time: all that waits, whatever the limits say. */
void coir__http_accept_rest(coir_http_server *s);
void coir__http_close_listeners(coir_http_server *s);
/* A connection was closed, or the time of a pause is over. */
void coir__http_resume(coir_http_server *s);

/* --- conn.c -------------------------------------------------------------- */

/* Serve `fd`, which is closed on failure. `addr` NULL: not known. */
int coir__http_conn_new(coir_http_server *s, int fd,
                        const struct sockaddr *addr, socklen_t addr_len,
                        const coir_http_transport *transport,
                        void *transport_ctx, int listener, int is_tcp);
/* Close the oldest idle one, for another one. Whether there was one. */
int coir__http_evict(coir_http_server *s);
/* Its deadline has passed. */
void coir__http_conn_overdue(coir__http_conn *c);
/* Between two requests, as the server stops. */
void coir__http_conn_stop(coir__http_conn *c);
/* Close it, whatever it does, but an active one. */
void coir__http_conn_close(coir__http_conn *c);
/* End all waits of its handler with this, and cancel it. */
void coir__http_conn_kill(coir__http_conn *c, int error);
/* The server begins to stop: tell who reads and wants to know. */
void coir__http_conn_tell(coir__http_conn *c);
/* Into the list of a state, with a deadline. */
void coir__http_conn_move(coir__http_conn *c, int state, int64_t timeout_ns);

/* As read(), or COIR_EAGAIN: wait for c->want_read. */
ssize_t coir__http_conn_read(coir__http_conn *c, void *buf, size_t len);
/* As writev(), or COIR_EAGAIN: wait for c->want_write. */
ssize_t coir__http_conn_writev(coir__http_conn *c, const struct iovec *iov,
                               int count, int more);
/* Nothing more will be written. Whether that worked. */
int coir__http_conn_half_close(coir__http_conn *c);
/* Start those that are queued, as many as may be. */
void coir__http_conn_run_queue(coir_http_server *s);
/* Its handler is done, and it is to live on: 1 if the next request is there.
 */
int coir__http_conn_next(coir__http_conn *c);
/* Its handler is done, and that was the last response. */
enum coir__http_end {
    COIR__HTTP_CUT,      /* it is not complete */
    COIR__HTTP_IN_ORDER, /* the client knows, and sends nothing more */
    COIR__HTTP_LINGER    /* it may be sending */
};
void coir__http_conn_end(coir__http_conn *c, enum coir__http_end how);

/* --- buffers.c ----------------------------------------------------------- */

/* For this connection, with the part of a head that it had. 0, or COIR_ENOMEM:
 * it may have got one, with room for an answer. */
int coir__http_x_take(coir__http_conn *c);
void coir__http_x_give(coir__http_conn *c);
/* Room for `size` bytes in all. COIR_ENOMEM. */
int coir__http_x_reserve(coir__http_x *x, size_t size);
int coir__http_x_reserve_out(coir__http_x *x, size_t size);
/* Put one by, for when there is no memory. 0 or COIR_ENOMEM. */
int coir__http_x_reserve_spare(coir_http_server *s);
void coir__http_x_free_all(coir_http_server *s);

/* --- exchange.c ---------------------------------------------------------- */

/* In a green thread: until `events`, or an error. */
int coir__http_wait(coir__http_x *x, int slot, int events, int64_t timeout_ns);
/* The same within what a slow client is allowed. */
int coir__http_wait_client(coir__http_x *x, int slot, int events);
/* Use of what was read the body's part, and copy its data to `buf` (NULL: drop
 * them). How much, 0 at its end; COIR_EAGAIN: more is to be read; an enum
 * coir_http_error. */
ssize_t coir__http_body_take(coir__http_x *x, char *buf, size_t len);
/* Where to read more to: how much fits. */
size_t coir__http_body_room(coir__http_x *x);

/* --- response.c ---------------------------------------------------------- */

/* Nothing was answered yet. */
void coir__http_response_reset(coir__http_x *x);
/* Make the response to what is no request, in x->out. */
int coir__http_refusal(coir__http_x *x, int status);
/* In a green thread: write all; `more` follows. `iov` is changed. */
int coir__http_write_all(coir__http_x *x, struct iovec *iov, int count,
                         int more);
/* `n` bytes of these were transferred; empty ones go with those before. */
static inline void
coir__http_advance(struct iovec **iov, int *count, size_t n)
{
    while (*count > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}
/* Answer what was not, and end the body. 0, or the connection is of no use. */
int coir__http_complete(coir__http_x *x);

/* --- log.c --------------------------------------------------------------- */

void coir__http_log(coir__http_x *x);
void coir__http_log_flush(coir_http_server *s);

#endif
