/* rights.c - descriptors in messages of Unix sockets.
 *
 * The kernel fills as many descriptors in as the buffer has room for, and room
 * is rounded up: there may be one more than was asked for. It is closed. */
#include <string.h>
#include <unistd.h>

#include "net/internal.h"

#define FDS_MAX 253 /* the kernel's SCM_MAX_FD */

typedef union control {
    struct cmsghdr header; /* for its alignment */
    char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
} control;

ssize_t
coir_send_fds(coir_socket *s, const void *buf, size_t len, const int *fds,
              size_t count, int64_t timeout_ns)
{
    if (count > FDS_MAX)
        return COIR_EINVAL;
    control c;
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        size_t size = count * sizeof *fds;
        memset(&c, 0, CMSG_SPACE(size));
        msg.msg_control = &c;
        msg.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(header), fds, size);
    }
    return coir_sendmsg(s, &msg, 0, timeout_ns);
}

/* Hand `room` descriptors over, close the others. Returns how many. */
static size_t
take_fds(struct msghdr *msg, int *fds, size_t room)
{
    size_t count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h != NULL;
         h = CMSG_NXTHDR(msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t came = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < came; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (count < room)
                fds[count++] = fd;
            else
                (void)close(fd);
        }
    }
    return count;
}

ssize_t
coir_recv_fds(coir_socket *s, void *buf, size_t len, int *fds, size_t *count,
              int64_t timeout_ns)
{
    if (*count > FDS_MAX)
        return COIR_EINVAL;
    control c;
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &c,
                         .msg_controllen = CMSG_SPACE(*count * sizeof *fds)};
    ssize_t n = coir_recvmsg(s, &msg, MSG_CMSG_CLOEXEC, timeout_ns);
    if (n >= 0)
        *count = take_fds(&msg, fds, *count);
    return n;
}
