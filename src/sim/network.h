/* network.h - what the files of the simulated network share.
 *
 *     host.c      hosts, their addresses, the links between them
 *     wire.c      streams and datagrams on their way
 *     socket.c    descriptors: what a kernel does for them */
#ifndef COIR__SIM_NETWORK_H
#define COIR__SIM_NETWORK_H

#include "sim/internal.h"

#include <netinet/in.h>
#include <sys/un.h>

struct coir__sim_host {
    coir__sim_host *next;
    struct in_addr ip4;
    struct in6_addr ip6;
    char text4[INET_ADDRSTRLEN];
    char text6[INET6_ADDRSTRLEN];
    uint16_t last_port; /* given to one that did not ask for any */
    char name[];
};

/* From one host to another; NULL: any. */
typedef struct coir__sim_link {
    struct coir__sim_link *next;
    const coir__sim_host *from, *to;
    coir_sim_link set;
    int is_set;
    int is_parted;
    int64_t busy_until_ns; /* with what was sent before */
} coir__sim_link;

/* An address of the internet families. */
typedef struct coir__sim_address {
    coir__sim_host *host; /* NULL: none yet, or any */
    uint16_t port;
    uint8_t family;
    uint8_t is_loopback;
} coir__sim_address;

/* Of the family AF_UNIX; len 0: none. */
typedef struct coir__sim_path {
    size_t len;
    char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
} coir__sim_path;

enum coir__sim_packet_kind {
    COIR__SIM_DATA,
    COIR__SIM_SYNACK, /* the connection is made */
    COIR__SIM_FIN,
    COIR__SIM_RST,
    COIR__SIM_BREAK /* both ends are told of a reset */
};

/* A piece of a stream, or a message: on its way, then until it was read. */
typedef struct coir__sim_packet {
    struct coir__sim_packet *next;
    int64_t at_ns; /* when it arrives */
    int kind;
    coir__sim_address from; /* of a datagram */
    coir__sim_path from_path;
    size_t len;
    size_t done; /* so much was read */
    char data[];
} coir__sim_packet;

typedef struct coir__sim_packets {
    coir__sim_packet *head, **tail;
} coir__sim_packets;

typedef struct coir__sim_socket coir__sim_socket;
typedef struct coir__sim_stream coir__sim_stream;

/* One direction of a stream. */
typedef struct coir__sim_half {
    coir__sim_stream *stream;
    coir__sim_packets wire;  /* on the way, in order */
    coir__sim_packets ready; /* arrived */
    coir_timer timer;        /* of the first on the way */
    unsigned tries;          /* of it, that failed */
    int64_t last_ns;         /* arrival of what was sent last */
    size_t unread;           /* bytes, on the way or arrived */
    size_t limit;            /* of them */
    uint8_t is_full;         /* the sender was told so */
    uint8_t has_fin;         /* it was sent */
    uint8_t at_end;          /* it arrived */
} coir__sim_half;

struct coir__sim_stream {
    coir__sim_stream *next, **at; /* of all */
    coir__sim_stream *next_to_accept;
    coir__sim *sim;
    coir__sim_half to[2];
    coir__sim_socket *end[2]; /* NULL: closed, or not accepted yet */
    coir__sim_address address[2];
    coir__sim_path path[2];
    int to_be_accepted;
    int holds;       /* who uses it still */
    int is_instant;  /* not over the network */
    int is_messages; /* SOCK_SEQPACKET */
    int is_reset;
};

/* A datagram on its way. */
typedef struct coir__sim_datagram {
    struct coir__sim_datagram *next, **at; /* of all */
    coir__sim *sim;
    coir_timer timer;
    coir__sim_address to;
    coir__sim_packet *packet;
} coir__sim_datagram;

enum coir__sim_socket_state {
    COIR__SIM_NEW,
    COIR__SIM_LISTENING,
    COIR__SIM_CONNECTING,
    COIR__SIM_CONNECTED
};

/* What a descriptor stands for. */
struct coir__sim_socket {
    coir__sim *sim;
    int fd;
    int domain, type;
    int state; /* enum coir__sim_socket_state */
    coir__sim_host *host;
    coir__sim_address local, peer;
    coir__sim_path path, peer_path;
    int is_bound;
    int ipv6_only;
    int error; /* to be told, an errno value */
    int shut;  /* bit 0: reading, bit 1: writing */
    coir__sim_stream *stream;
    int side;
    coir_timer timer; /* connecting: the attempt */
    unsigned tries;
    int is_attempt; /* and nobody was told yet that it succeeded */
    coir__sim_stream *to_accept, **to_accept_tail;
    int to_accept_count, backlog;
    coir__sim_packets inbox; /* datagrams */
    size_t inbox_len;
    /* For the loop. */
    int watched;
    int is_edge;
    int fired; /* events to be told */
    int in_fired;
    coir__sim_socket *next_fired;
};

/* --- host.c -------------------------------------------------------------- */

/* NULL: no memory. */
coir__sim_host *coir__sim_host_get(coir__sim *sim, const char *name);
/* Where the running green thread is. */
coir__sim_host *coir__sim_host_here(coir__sim *sim);
/* NULL: there is none. */
coir__sim_host *coir__sim_host_by_ip4(coir__sim *sim, struct in_addr ip);
coir__sim_host *coir__sim_host_by_ip6(coir__sim *sim,
                                      const struct in6_addr *ip);

int coir__sim_is_parted(coir__sim *sim, const coir__sim_host *from,
                        const coir__sim_host *to);
const coir_sim_link *coir__sim_link_between(coir__sim *sim,
                                            const coir__sim_host *from,
                                            const coir__sim_host *to);
/* When something that is sent now arrives. */
int64_t coir__sim_arrival(coir__sim *sim, const coir__sim_host *from,
                          const coir__sim_host *to, size_t len);

/* --- wire.c -------------------------------------------------------------- */

coir__sim_stream *coir__sim_stream_new(coir__sim *sim, int is_instant);
/* If nobody has it any more. */
void coir__sim_stream_check(coir__sim_stream *stream);
/* Send from `side`. 0, or ENOMEM. */
int coir__sim_stream_send(coir__sim_stream *stream, int side, int kind,
                          const struct iovec *iov, size_t offset, size_t len);
/* Both ends are told so at once. */
void coir__sim_stream_reset(coir__sim_stream *stream);

/* NULL: no memory. */
coir__sim_packet *coir__sim_packet_new(int kind, const struct iovec *iov,
                                       size_t offset, size_t len);
void coir__sim_packets_init(coir__sim_packets *list);
void coir__sim_packets_add(coir__sim_packets *list, coir__sim_packet *packet);
coir__sim_packet *coir__sim_packets_take(coir__sim_packets *list);
void coir__sim_packets_free(coir__sim_packets *list);

/* A copy of it is on its way, or more, or none. 0, or ENOMEM. */
int coir__sim_datagram_send(coir__sim *sim, const coir__sim_address *to,
                            const coir__sim_packet *packet);
/* All streams and datagrams. */
void coir__sim_wire_fini(coir__sim *sim);

/* Call `fn` at a time. */
void coir__sim_at(coir__sim *sim, coir_timer *timer, coir_timer_fn *fn,
                  void *data, int64_t at_ns);

/* --- socket.c ------------------------------------------------------------ */

#define COIR__SIM_INBOX_MAX ((size_t)64 * 1024) /* datagrams to be read */

enum { COIR__SIM_NO_READING = 1, COIR__SIM_NO_WRITING = 2 };

/* Of this thread's simulation. NULL, and errno: there is none. */
coir__sim_socket *coir__sim_socket_get(int fd);
/* Events that poll() would tell. */
int coir__sim_readiness(const coir__sim_socket *s);
/* How many bytes may be sent. */
size_t coir__sim_room(const coir__sim_socket *s);

/* An address that is given to this socket: 0 or an errno value. `host` is NULL
 * for the address of all; that of nobody is EADDRNOTAVAIL. */
int coir__sim_read_address(const coir__sim_socket *s,
                           const struct sockaddr *addr, socklen_t len,
                           coir__sim_address *out);
int coir__sim_read_path(const struct sockaddr *addr, socklen_t len,
                        coir__sim_path *out);
/* As a socket of this domain sees it. */
void coir__sim_write_address(int domain, const coir__sim_address *a,
                             const coir__sim_path *path, struct sockaddr *addr,
                             socklen_t *len);
/* Who gets a datagram; NULL: nobody. */
coir__sim_socket *coir__sim_find_receiver(coir__sim *sim,
                                          const coir__sim_address *to);
coir__sim_socket *coir__sim_find_path(const coir__sim_socket *from,
                                      const coir__sim_path *path);
/* Before something is sent to `peer`: have a name. 0 or an errno value. */
int coir__sim_bind_for(coir__sim_socket *s, const coir__sim_address *peer);

/* It has become ready. NULL is ignored. */
void coir__sim_fire(coir__sim_socket *s, int events);
/* A datagram arrives; takes it over. */
void coir__sim_socket_receive(coir__sim *sim, const coir__sim_address *to,
                              coir__sim_packet *packet);

#endif
