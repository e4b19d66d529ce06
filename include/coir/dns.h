/* coir/dns.h - names and addresses, looked up while the green threads go on;
 * connections by name.
 *
 *     coir_socket *s;
 *     int err = coir_tcp_connect(&s, "example.org", "http",
 *                                10 * COIR_NS_PER_S);
 *
 * Look-ups are libc's own, on threads (COIR_LANE_DNS of coir/pool.h), so the
 * results, their order and the errors are the system's. Addresses that are
 * numeric need no thread, and who asks for what is being looked up already
 * waits for that. c-ares can be chosen instead, which needs no threads.
 *
 * Threads: any. One without a hub makes the call itself.
 * Forks:   look-ups in progress are the parent's.
 * Blocks:  what takes a timeout: nanoseconds, COIR_FOREVER for no limit.
 *          When a wait ends early the look-up is left to itself.
 * Errors:  0 or a negative error: COIR_E* of coir/base.h; COIR_EAI(EAI_NONAME)
 *          and so on, what getaddrinfo(3) says, but for EAI_SYSTEM, in whose
 *          place COIR_ERRNO() is. coir_strerror() has the text of all. */
#ifndef COIR_DNS_H
#define COIR_DNS_H

#include <coir/hub.h>
#include <coir/net.h>

#include <netdb.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

struct addrinfo; /* <netdb.h> has it where POSIX is asked for */

/* A value of getaddrinfo(3), EAI_*, as an error of this library, ... */
#define COIR_EAI(e) (-(8192 + ((e) < 0 ? -(e) : (e))))

/* ... and back: EAI_SYSTEM of an error that is none of those, 0 of 0. */
COIR_API int coir_eai(int error);

/* As getaddrinfo(3). `*result` is to be freed by coir_freeaddrinfo(), and by
 * nothing else, as a whole. */
COIR_API int coir_getaddrinfo(const char *host, const char *service,
                              const struct addrinfo *hints,
                              struct addrinfo **result, int64_t timeout_ns);
/* NULL is ignored. */
COIR_API void coir_freeaddrinfo(struct addrinfo *result);

/* As getnameinfo(3). */
COIR_API int coir_getnameinfo(const struct sockaddr *addr, socklen_t len,
                              char *host, size_t host_size, char *service,
                              size_t service_size, int flags,
                              int64_t timeout_ns);

/* Connect to a host by name: all its addresses, alternating between IPv6 and
 * IPv4, are tried in the order of getaddrinfo(3), each when the one before it
 * has failed or 250 ms have passed, and the first that connects is taken (RFC
 * 8305). The timeout is for all of it. Else: the error of the look-up, or that
 * of the first address. */
COIR_API int coir_tcp_connect(coir_socket **out, const char *host,
                              const char *service, int64_t timeout_ns);

/* --- who looks up -------------------------------------------------------- */

enum coir_resolver {
    COIR_RESOLVER_THREAD, /* libc, on threads */
    COIR_RESOLVER_ARES    /* c-ares, in the hub's loop */
};

/* For coir_getaddrinfo() from now on, in the whole process. At first it is
 * what the environment variable COIR_RESOLVER says, "thread" or "ares", else
 * COIR_RESOLVER_THREAD. With c-ares names come from /etc/hosts and DNS only,
 * and services that are not numeric from /etc/services. COIR_ENOSYS: this
 * library was built without c-ares; COIR_EINVAL. */
COIR_API int coir_resolver_set(enum coir_resolver resolver);
COIR_API enum coir_resolver coir_resolver_get(void);

/* The servers that c-ares asks, "192.0.2.1:53,[2001:db8::1]:53", NULL: those
 * of /etc/resolv.conf. For hubs that have not looked anything up with c-ares
 * yet. COIR_ENOSYS; COIR_ENOMEM. */
COIR_API int coir_resolver_set_servers(const char *servers);

#ifdef __cplusplus
}
#endif

#endif
