/* wire.c - streams and datagrams on their way.
 *
 * A stream has two halves, one per direction. What is sent is cut into packets
 * that stand in line, for order is kept: the first one has a timer. When that
 * comes, and the hosts are parted, the packet is sent again some time later,
 * as TCP does, and all behind it wait; after some minutes of that the stream
 * breaks. Else the packet goes to those that arrived, which are read by the
 * socket at that end.
 *
 *     sender --> wire (first: timer) --> ready --> reader
 *                |______ unread, at most `limit` ______|
 *
 * Streams within a host that need no network (pairs, pipes, AF_UNIX) have no
 * wire: what is sent has arrived.
 *
 * Datagrams each have a timer of their own, so they overtake each other. */
#include "sim/network.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Until a packet is sent again, the first time; then twice as long, ... */
#define AGAIN_NS (200 * COIR_NS_PER_MS)
#define TRIES_MAX 12
/* Bytes sent at once are at most so many packets. */
#define PIECES_MAX 3

void
coir__sim_at(coir__sim *sim, coir_timer *timer, coir_timer_fn *fn, void *data,
             int64_t at_ns)
{
    coir_timer_stop(sim->loop, timer);
    coir_timer_init(timer, fn, at_ns - coir_loop_now(sim->loop), 0);
    timer->data = data;
    coir_timer_start(sim->loop, timer);
}

/* --- packets ------------------------------------------------------------- */

static void
gather(char *to, const struct iovec *iov, size_t offset, size_t len)
{
    for (; len > 0; iov++) {
        if (offset >= iov->iov_len) {
            offset -= iov->iov_len;
            continue;
        }
        size_t n = iov->iov_len - offset;
        if (n > len)
            n = len;
        memcpy(to, (const char *)iov->iov_base + offset, n);
        to += n;
        len -= n;
        offset = 0;
    }
}

coir__sim_packet *
coir__sim_packet_new(int kind, const struct iovec *iov, size_t offset,
                     size_t len)
{
    coir__sim_packet *packet = coir_malloc(sizeof *packet + len);
    if (packet == NULL)
        return NULL;
    memset(packet, 0, sizeof *packet);
    packet->kind = kind;
    packet->len = len;
    gather(packet->data, iov, offset, len);
    return packet;
}

void
coir__sim_packets_init(coir__sim_packets *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

void
coir__sim_packets_add(coir__sim_packets *list, coir__sim_packet *packet)
{
    packet->next = NULL;
    *list->tail = packet;
    list->tail = &packet->next;
}

coir__sim_packet *
coir__sim_packets_take(coir__sim_packets *list)
{
    coir__sim_packet *packet = list->head;
    if (packet != NULL) {
        list->head = packet->next;
        if (list->head == NULL)
            list->tail = &list->head;
    }
    return packet;
}

void
coir__sim_packets_free(coir__sim_packets *list)
{
    coir__sim_packet *packet;
    while ((packet = coir__sim_packets_take(list)) != NULL)
        coir_free(packet);
}

/* --- streams ------------------------------------------------------------- */

coir__sim_stream *
coir__sim_stream_new(coir__sim *sim, int is_instant)
{
    coir__sim_stream *stream = coir_calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->sim = sim;
    stream->is_instant = is_instant;
    for (int i = 0; i < 2; i++) {
        stream->to[i].stream = stream;
        coir__sim_packets_init(&stream->to[i].wire);
        coir__sim_packets_init(&stream->to[i].ready);
    }
    stream->next = sim->net.streams;
    stream->at = &sim->net.streams;
    if (stream->next != NULL)
        stream->next->at = &stream->next;
    sim->net.streams = stream;
    return stream;
}

static void
clear_wire(coir__sim_stream *stream)
{
    for (int i = 0; i < 2; i++) {
        coir_timer_stop(stream->sim->loop, &stream->to[i].timer);
        coir__sim_packets_free(&stream->to[i].wire);
    }
}

static void
stream_free(coir__sim_stream *stream)
{
    clear_wire(stream);
    for (int i = 0; i < 2; i++)
        coir__sim_packets_free(&stream->to[i].ready);
    *stream->at = stream->next;
    if (stream->next != NULL)
        stream->next->at = stream->at;
    coir_free(stream);
}

void
coir__sim_stream_check(coir__sim_stream *stream)
{
    if (stream->end[0] == NULL && stream->end[1] == NULL &&
        !stream->to_be_accepted && stream->holds == 0 &&
        stream->to[0].wire.head == NULL && stream->to[1].wire.head == NULL)
        stream_free(stream);
}

static void
tell_error(coir__sim_socket *s, int e)
{
    if (s == NULL)
        return;
    s->error = e;
    if (s->state == COIR__SIM_CONNECTING)
        s->state = COIR__SIM_NEW;
    coir__sim_fire(s, COIR_READ | COIR_WRITE);
}

/* Nothing passes any more. The stream may be gone after this. */
static void
stream_break(coir__sim_stream *stream, int e0, int e1)
{
    stream->is_reset = 1;
    clear_wire(stream);
    stream->to[0].at_end = stream->to[1].at_end = 1;
    if (e0 != 0)
        tell_error(stream->end[0], e0);
    if (e1 != 0)
        tell_error(stream->end[1], e1);
    coir__sim_stream_check(stream);
}

/* The end `side` is told why. */
static void
break_for(coir__sim_stream *stream, int side, int e)
{
    stream_break(stream, side == 0 ? e : 0, side == 1 ? e : 0);
}

void
coir__sim_stream_reset(coir__sim_stream *stream)
{
    coir__sim_decided(stream->sim, 0, "a connection is reset");
    stream_break(stream, ECONNRESET, ECONNRESET);
}

static void
data_arrives(coir__sim_stream *stream, int side, coir__sim_packet *packet)
{
    if (stream->end[side] != NULL || stream->to_be_accepted) {
        coir__sim_packets_add(&stream->to[side].ready, packet);
        coir__sim_fire(stream->end[side], COIR_READ);
        return;
    }
    /* Nobody is there any more: who sent it is to know. */
    coir_free(packet);
    if (coir__sim_stream_send(stream, side, COIR__SIM_RST, NULL, 0, 0) != 0)
        break_for(stream, !side, ECONNRESET);
    else
        coir__sim_stream_check(stream);
}

/* A packet, which this takes over, has come to the end `side`. The stream may
 * be gone after this. */
static void
arrive(coir__sim_stream *stream, int side, coir__sim_packet *packet)
{
    coir__sim_socket *s = stream->end[side];
    int kind = packet->kind;
    if (kind == COIR__SIM_DATA) {
        data_arrives(stream, side, packet);
        return;
    }
    coir_free(packet);
    switch (kind) {
    case COIR__SIM_SYNACK:
        if (s != NULL)
            s->state = COIR__SIM_CONNECTED;
        coir__sim_fire(s, COIR_WRITE);
        break;
    case COIR__SIM_FIN:
        stream->to[side].at_end = 1;
        coir__sim_fire(s, COIR_READ);
        break;
    case COIR__SIM_RST:
        break_for(stream, side, ECONNRESET);
        return;
    default:
        coir__sim_stream_reset(stream);
        return;
    }
    coir__sim_stream_check(stream);
}

static void
say_arrival(const coir__sim_stream *stream, int side,
            const coir__sim_packet *packet)
{
    static const char *const kinds[] = {"data", "synack", "fin", "rst",
                                        "break"};
    const coir__sim_host *from = stream->address[!side].host;
    const coir__sim_host *to = stream->address[side].host;
    coir__sim_decided(stream->sim, packet->len, "%s -> %s: %s %zu", from->name,
                      to->name, kinds[packet->kind], packet->len);
}

static void first_arrives(coir_loop *loop, coir_timer *timer, int revents);

/* Its hosts are parted: later, or never. */
static void
try_again(coir__sim_half *half)
{
    coir__sim_stream *stream = half->stream;
    if (half->tries == TRIES_MAX) {
        break_for(stream, half == &stream->to[0], ETIMEDOUT);
        return;
    }
    coir__sim_at(stream->sim, &half->timer, first_arrives, half,
                 stream->sim->now_ns + (AGAIN_NS << half->tries));
    half->tries++;
}

static void
first_arrives(coir_loop *loop, coir_timer *timer, int revents)
{
    (void)loop;
    (void)revents;
    coir__sim_half *half = timer->data;
    coir__sim_stream *stream = half->stream;
    int side = half == &stream->to[1];
    if (coir__sim_is_parted(stream->sim, stream->address[!side].host,
                            stream->address[side].host)) {
        try_again(half);
        return;
    }
    half->tries = 0;
    coir__sim_packet *packet = coir__sim_packets_take(&half->wire);
    const coir__sim_packet *next = half->wire.head;
    if (next != NULL)
        coir__sim_at(stream->sim, timer, first_arrives, half, next->at_ns);
    say_arrival(stream, side, packet);
    arrive(stream, side, packet);
}

/* From `side`, over the network. */
static void
put_on_wire(coir__sim_stream *stream, int side, coir__sim_packet *packet)
{
    coir__sim *sim = stream->sim;
    const coir__sim_host *from = stream->address[side].host;
    const coir__sim_host *to = stream->address[!side].host;
    const coir_sim_link *link = coir__sim_link_between(sim, from, to);
    coir__sim_half *half = &stream->to[!side];
    packet->at_ns = coir__sim_arrival(sim, from, to, packet->len);
    if (coir__random_chance(&sim->network, link->drop))
        packet->at_ns += AGAIN_NS;
    if (packet->kind == COIR__SIM_DATA &&
        coir__random_chance(&sim->network, link->reset))
        packet->kind = COIR__SIM_BREAK;
    if (packet->at_ns < half->last_ns)
        packet->at_ns = half->last_ns;
    half->last_ns = packet->at_ns;
    int is_first = half->wire.head == NULL;
    coir__sim_packets_add(&half->wire, packet);
    if (is_first)
        coir__sim_at(sim, &half->timer, first_arrives, half, packet->at_ns);
}

/* Into how many pieces so much is cut. */
static size_t
pieces_of(coir__sim_stream *stream, size_t len)
{
    if (stream->is_instant || len < 2)
        return 1;
    return 1 + coir__random_below(&stream->sim->network,
                                  len < PIECES_MAX ? len : PIECES_MAX);
}

int
coir__sim_stream_send(coir__sim_stream *stream, int side, int kind,
                      const struct iovec *iov, size_t offset, size_t len)
{
    coir__sim_packet *packets[PIECES_MAX];
    size_t count = pieces_of(stream, len), left = len;
    for (size_t i = 0; i < count; i++) {
        size_t n = i + 1 == count ? left : left / (count - i);
        packets[i] = coir__sim_packet_new(kind, iov, offset, n);
        if (packets[i] == NULL) {
            while (i > 0)
                coir_free(packets[--i]);
            return ENOMEM;
        }
        offset += n;
        left -= n;
    }
    stream->to[!side].unread += len;
    for (size_t i = 0; i < count; i++)
        if (stream->is_instant)
            arrive(stream, !side, packets[i]);
        else
            put_on_wire(stream, side, packets[i]);
    return 0;
}

/* --- datagrams ----------------------------------------------------------- */

static void
datagram_free(coir__sim_datagram *d)
{
    *d->at = d->next;
    if (d->next != NULL)
        d->next->at = d->at;
    coir_timer_stop(d->sim->loop, &d->timer);
    coir_free(d);
}

static void
datagram_arrives(coir_loop *loop, coir_timer *timer, int revents)
{
    (void)loop;
    (void)revents;
    coir__sim_datagram *d = timer->data;
    coir__sim *sim = d->sim;
    coir__sim_packet *packet = d->packet;
    const coir__sim_address to = d->to;
    datagram_free(d);
    int is_lost = coir__sim_is_parted(sim, packet->from.host, to.host);
    coir__sim_decided(sim, packet->len, "%s -> %s: datagram %zu%s",
                      packet->from.host->name, to.host->name, packet->len,
                      is_lost ? ", lost" : "");
    if (is_lost)
        coir_free(packet);
    else
        coir__sim_socket_receive(sim, &to, packet);
}

static int
send_copy(coir__sim *sim, const coir__sim_address *to,
          const coir__sim_packet *packet)
{
    coir__sim_datagram *d = coir_calloc(1, sizeof *d);
    if (d == NULL)
        return ENOMEM;
    size_t size = sizeof *packet + packet->len;
    d->packet = coir_malloc(size);
    if (d->packet == NULL) {
        coir_free(d);
        return ENOMEM;
    }
    memcpy(d->packet, packet, size);
    d->sim = sim;
    d->to = *to;
    d->next = sim->net.datagrams;
    d->at = &sim->net.datagrams;
    if (d->next != NULL)
        d->next->at = &d->next;
    sim->net.datagrams = d;
    coir__sim_at(
        sim, &d->timer, datagram_arrives, d,
        coir__sim_arrival(sim, packet->from.host, to->host, packet->len));
    return 0;
}

int
coir__sim_datagram_send(coir__sim *sim, const coir__sim_address *to,
                        const coir__sim_packet *packet)
{
    const coir__sim_host *from = packet->from.host;
    const coir_sim_link *link = coir__sim_link_between(sim, from, to->host);
    if (coir__random_chance(&sim->network, link->drop)) {
        coir__sim_decided(sim, packet->len, "%s -> %s: datagram %zu is lost",
                          from->name, to->host->name, packet->len);
        return 0;
    }
    int err = send_copy(sim, to, packet);
    if (err == 0 && coir__random_chance(&sim->network, link->duplicate))
        err = send_copy(sim, to, packet);
    return err;
}

void
coir__sim_wire_fini(coir__sim *sim)
{
    while (sim->net.streams != NULL)
        stream_free(sim->net.streams);
    while (sim->net.datagrams != NULL) {
        coir_free(sim->net.datagrams->packet);
        datagram_free(sim->net.datagrams);
    }
}
