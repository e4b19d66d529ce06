/* echo_st.c - an echo server on State Threads, a thread per connection, with
 * its epoll. */
#include "echo.h"

#include <st.h>

static void *
serve(void *arg)
{
    char buffer[ECHO_BUFFER];
    ssize_t n;
    while ((n = st_read(arg, buffer, sizeof buffer, ST_UTIME_NO_TIMEOUT)) > 0)
        if (st_write(arg, buffer, (size_t)n, ST_UTIME_NO_TIMEOUT) != n)
            break;
    st_netfd_close(arg);
    return NULL;
}

int
main(void)
{
    int fd = echo_listen(0);
    if (st_set_eventsys(ST_EVENTSYS_ALT) < 0 || st_init() < 0)
        echo_die("st_init");
    st_netfd_t listener = st_netfd_open_socket(fd), conn;
    if (listener == NULL)
        echo_die("st_netfd_open_socket");
    while ((conn = st_accept(listener, NULL, NULL, ST_UTIME_NO_TIMEOUT)) !=
           NULL)
        if (st_thread_create(serve, conn, 0, 64 * 1024) == NULL)
            echo_die("st_thread_create");
    echo_die("st_accept");
}
