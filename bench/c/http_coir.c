/* http_coir.c - a hello server on coir/http_server.h, a green thread for each
 * request. Also what other rows of the suite ask for: /json (10 KB), /file
 * (1 MB, from memory), /upload, /sleep (100 ms). */
#include <coir.h>

#include <string.h>

#include "echo.h"

static char json[10240], file[1024 * 1024];

static int
answer(coir_http_exchange *x, const char *type, const void *body, size_t len)
{
    int err = coir_http_begin(x, 200, NULL);
    if (err == 0)
        err = coir_http_add_field(x, "Content-Type", type);
    return err == 0 ? coir_http_send(x, body, len) : err;
}

static int
upload(coir_http_exchange *x)
{
    static char dropped[65536];
    ssize_t n;
    while ((n = coir_http_read(x, dropped, sizeof dropped)) > 0)
        ;
    return n < 0 ? (int)n : answer(x, "text/plain", "taken\n", 6);
}

static int
serve(coir_http_exchange *x, void *arg)
{
    const char *path = x->base + x->head->path.at;
    (void)arg;
    switch (x->head->path.len > 1 ? path[1] : '\0') {
    case 'j':
        return answer(x, "application/json", json, sizeof json);
    case 'f':
        return answer(x, "application/octet-stream", file, sizeof file);
    case 'u':
        return upload(x);
    case 's':
        (void)coir_sleep(100 * COIR_NS_PER_MS);
        break;
    default:
        break;
    }
    return answer(x, "text/plain", "Hello, World!\n", 14);
}

int
main(void)
{
    coir_http_server *server;
    memset(json, 'x', sizeof json);
    memset(file, 'x', sizeof file);
    int err = coir_http_server_new(&server, serve, NULL, NULL);
    if (err == 0)
        err = coir_http_server_listen(server, echo_listen(SOCK_NONBLOCK), NULL,
                                      NULL);
    if (err == 0)
        err = coir_http_server_start(server);
    if (err == 0)
        err = coir_http_server_join(server, COIR_FOREVER);
    fprintf(stderr, "http_coir: %s\n", coir_strerror(err));
    return 1;
}
