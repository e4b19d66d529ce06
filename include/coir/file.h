/* coir/file.h - regular files, while the green threads go on.
 *
 * A file that is not in memory makes its reader wait for a disk, or a server;
 * no loop can tell when it is ready. What is in the page cache is read at
 * once, at the price of the plain call. Else the kernel reads, if the hub's
 * loop is on io_uring, or a thread of COIR_LANE_FILE (coir/pool.h).
 *
 *     int fd = coir_file_open("data", O_RDONLY, 0, COIR_FOREVER);
 *     ssize_t n = coir_file_pread(fd, buf, sizeof buf, 0, COIR_FOREVER);
 *
 * The descriptors are plain ones. What has no function here is a case for
 * coir_blocking(). Pipes and sockets are for coir/net.h; here they would keep
 * a thread.
 *
 * Owner:   buffers are the caller's again when a call returns, whatever it
 *          returns; memory between is the library's.
 * Threads: any. One without a hub makes the call itself.
 * Blocks:  all: nanoseconds, COIR_FOREVER for no limit, 0 only what can be
 *          done at once. When a wait ends early the call may have been made
 *          all the same, or be made yet: then nothing is known of what was
 *          written, or of the file's position.
 * Errors:  COIR_ERRNO(e); COIR_ENOMEM; COIR_ETIMEDOUT, COIR_ECANCELED,
 *          COIR_EINVAL as for all waits (see coir/hub.h); what coir_blocking()
 *          returns. */
#ifndef COIR_FILE_H
#define COIR_FILE_H

#include <coir/hub.h>

#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As open(2), with O_CLOEXEC; returns the descriptor. If the wait ends early
 * the file is not left open. */
COIR_API int coir_file_open(const char *path, int flags, mode_t mode,
                            int64_t timeout_ns);

/* As close(2); the descriptor is closed in any case, if only later, so it must
 * not be used any more. */
COIR_API int coir_file_close(int fd, int64_t timeout_ns);

/* As read(2), write(2), pread(2) and pwrite(2). A regular file is read up to
 * its end, or `len`; so with an error after some bytes these are returned. */
COIR_API ssize_t coir_file_read(int fd, void *buf, size_t len,
                                int64_t timeout_ns);
COIR_API ssize_t coir_file_write(int fd, const void *buf, size_t len,
                                 int64_t timeout_ns);
COIR_API ssize_t coir_file_pread(int fd, void *buf, size_t len, off_t offset,
                                 int64_t timeout_ns);
COIR_API ssize_t coir_file_pwrite(int fd, const void *buf, size_t len,
                                  off_t offset, int64_t timeout_ns);

/* As fsync(2), or fdatasync(2) if `data_only`. */
COIR_API int coir_file_sync(int fd, int data_only, int64_t timeout_ns);

/* As stat(2), and as fstat(2). */
COIR_API int coir_file_stat(const char *path, struct stat *out,
                            int64_t timeout_ns);
COIR_API int coir_file_fstat(int fd, struct stat *out, int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif
