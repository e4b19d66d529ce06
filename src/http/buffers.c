/* buffers.c - the pool of exchanges, with their buffers.
 *
 * The one that was used last is the next one, as it is in the cache. Those
 * whose buffers have grown are not kept: a few large requests would hold what
 * they needed for ever.
 *
 * One is put by when the server is made (`spare`), and taken when there is no
 * memory for another: to read the request, and to answer it with 503. No
 * handler is started while it is in use, so that it comes back at once. */
#include "http/server.h"

#include <string.h>

static int
reserve(coir_http_server *s, char **buf, size_t *size, size_t wanted)
{
    size_t grown = *size;
    while (grown < wanted)
        grown *= 2;
    if (grown == *size)
        return 0;
    char *more = coir_realloc(*buf, grown);
    if (more == NULL)
        return COIR_ENOMEM;
    s->buffers += grown - *size;
    *buf = more;
    *size = grown;
    return 0;
}

int
coir__http_x_reserve(coir__http_x *x, size_t size)
{
    int err = reserve(x->conn->server, &x->buf, &x->size, size);
    x->pub.base = x->buf;
    return err;
}

int
coir__http_x_reserve_out(coir__http_x *x, size_t size)
{
    return reserve(x->conn->server, &x->out, &x->out_size, size);
}

static void
x_free(coir_http_server *s, coir__http_x *x)
{
    s->buffers -= x->size + x->out_size;
    coir_free(x->buf);
    coir_free(x->out);
    coir_free(x);
}

static coir__http_x *
x_new(coir_http_server *s)
{
    uint32_t fields = s->parser.max_fields;
    coir__http_x *x = coir_calloc(1, sizeof *x + fields * sizeof x->fields[0]);
    if (x == NULL)
        return NULL;
    x->buf = coir_malloc(COIR__HTTP_BUFFER);
    x->out = coir_malloc(COIR__HTTP_OUT);
    if (x->buf == NULL || x->out == NULL) {
        coir_free(x->buf);
        coir_free(x->out);
        coir_free(x);
        return NULL;
    }
    x->size = COIR__HTTP_BUFFER;
    x->out_size = COIR__HTTP_OUT;
    s->buffers += x->size + x->out_size;
    x->head.fields = x->fields;
    x->head.capacity = fields;
    x->pub.server = s;
    x->pub.head = &x->head;
    return x;
}

int
coir__http_x_reserve_spare(coir_http_server *s)
{
    s->spare = x_new(s);
    return s->spare != NULL ? 0 : COIR_ENOMEM;
}

static coir__http_x *
x_get(coir_http_server *s)
{
    coir__http_x *x = s->unused;
    if (coir__likely(x != NULL)) {
        s->unused = x->next_free;
        s->unused_count--;
        return x;
    }
    x = x_new(s);
    if (x == NULL) {
        x = s->spare;
        s->spare = NULL;
    }
    return x;
}

int
coir__http_x_take(coir__http_conn *c)
{
    coir__http_x *x = x_get(c->server);
    if (coir__unlikely(x == NULL))
        return COIR_ENOMEM;
    x->conn = c;
    x->len = 0;
    x->pos = 0;
    x->pub.base = x->buf;
    c->x = x;
    if (coir__likely(c->partial == NULL))
        return 0;
    int err = coir__http_x_reserve(x, c->partial_len);
    if (err < 0)
        return err;
    memcpy(x->buf, c->partial, c->partial_len);
    x->len = c->partial_len;
    coir_free(c->partial);
    c->partial = NULL;
    c->partial_len = 0;
    return 0;
}

void
coir__http_x_give(coir__http_conn *c)
{
    coir_http_server *s = c->server;
    coir__http_x *x = c->x;
    c->x = NULL;
    x->conn = NULL;
    if (coir__unlikely(s->spare == NULL)) {
        s->spare = x;
        return;
    }
    if (s->unused_count >= COIR__HTTP_POOL || x->size > COIR__HTTP_BUFFER ||
        x->out_size > 4 * COIR__HTTP_OUT) {
        x_free(s, x);
        return;
    }
    x->next_free = s->unused;
    s->unused = x;
    s->unused_count++;
}

void
coir__http_x_free_all(coir_http_server *s)
{
    while (s->unused != NULL) {
        coir__http_x *x = s->unused;
        s->unused = x->next_free;
        x_free(s, x);
    }
    s->unused_count = 0;
    if (s->spare != NULL)
        x_free(s, s->spare);
    s->spare = NULL;
}
