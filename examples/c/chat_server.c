/* chat_server.c - what one says, all others hear. Lines; the first one is the
 * speaker's name.
 *     chat_server PORT     serves TCP: try it with nc
 *     chat_server          lets three made-up people talk
 *
 * A member has two green threads: one reads lines and puts them into the
 * queues of all others, one takes from the member's own queue and writes. So
 * who reads slowly keeps nobody waiting: its queue is full, and it misses
 * what is said meanwhile. */
#include <coir.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUED 100
#define LINE 256

struct member {
    coir_socket *conn;
    char name[LINE];
    coir_queue lines; /* to be written, allocated */
    struct member *next;
};

static struct member *members;

static void
tell_others(const struct member *from, const char *format, const char *text)
{
    char line[2 * LINE];
    snprintf(line, sizeof line, format, from->name, text);
    for (struct member *m = members; m != NULL; m = m->next) {
        char *copy = m != from ? strdup(line) : NULL;
        if (copy != NULL && coir_queue_put(&m->lines, copy, 0) < 0)
            free(copy);
    }
}

static int
write_lines(void *arg)
{
    struct member *m = arg;
    void *line;
    int err = 0;
    /* Until the queue is closed and empty. */
    while (coir_queue_get(&m->lines, &line, COIR_FOREVER) == 0) {
        if (err == 0)
            err = coir_write_all(m->conn, line, strlen(line), NULL,
                                 COIR_NS_PER_S);
        free(line);
    }
    return err;
}

static void
read_lines(struct member *m)
{
    char buf[LINE];
    size_t len = 0;
    ssize_t n;
    while ((n = coir_read(m->conn, buf + len, sizeof buf - 1 - len,
                          COIR_FOREVER)) > 0) {
        char *end;
        buf[len + (size_t)n] = '\0';
        while ((end = strchr(buf, '\n')) != NULL) {
            *end = '\0';
            if (m->name[0] != '\0') {
                tell_others(m, "%s: %s\n", buf);
            }
            else {
                snprintf(m->name, sizeof m->name, "%s", buf);
                tell_others(m, "* %s is here%s\n", "");
            }
            memmove(buf, end + 1, strlen(end + 1) + 1);
        }
        len = strlen(buf);
        if (len == sizeof buf - 1)
            return; /* too long a line */
    }
}

static void
leave(const struct member *m)
{
    struct member **link = &members;
    while (*link != NULL && *link != m)
        link = &(*link)->next;
    if (*link != NULL)
        *link = m->next;
}

static int
serve(void *conn)
{
    struct member m = {.conn = conn, .next = members};
    coir_green *writer;
    if (coir_queue_init(&m.lines, QUEUED) == 0) {
        if (coir_spawn(&writer, write_lines, &m, NULL) == 0) {
            members = &m;
            read_lines(&m);
            tell_others(&m, "* %s is gone%s\n", "");
            leave(&m);
            coir_queue_close(&m.lines);
            coir_join(writer, NULL);
        }
        coir_queue_fini(&m.lines);
    }
    return coir_socket_close(conn);
}

static coir_green_attr detached = {.name = "member", .detached = 1};

static int
serve_tcp(const char *port)
{
    coir_socket *server, *conn;
    int err = coir_tcp_listen(&server, NULL, port, 100);
    while (err == 0) {
        err = coir_accept(server, &conn, NULL, NULL, COIR_FOREVER);
        if (err == 0)
            err = coir_spawn(NULL, serve, conn, &detached);
    }
    return fprintf(stderr, "chat_server: %s\n", coir_strerror(err)), 1;
}

/* --- made-up people ------------------------------------------------------ */

static coir_socket *
join(const char *name)
{
    coir_socket *ends[2];
    if (coir_socket_pair(ends, AF_UNIX, SOCK_STREAM, 0) < 0 ||
        coir_spawn(NULL, serve, ends[1], &detached) < 0)
        exit(1);
    coir_write_all(ends[0], name, strlen(name), NULL, COIR_FOREVER);
    coir_yield(); /* to be served before anybody says something */
    return ends[0];
}

static void
say(coir_socket *s, const char *line)
{
    coir_write_all(s, line, strlen(line), NULL, COIR_FOREVER);
}

static void
hear(const char *name, coir_socket *s)
{
    char line[LINE], *p = line;
    while (coir_read(s, p, 1, COIR_FOREVER) == 1 && *p++ != '\n')
        continue;
    printf("%s hears %.*s", name, (int)(p - line), line);
}

int
main(int argc, char **argv)
{
    if (argc > 1)
        return serve_tcp(argv[1]);
    coir_socket *ann = join("ann\n"), *bob = join("bob\n");
    hear("ann", ann);
    coir_socket *eve = join("eve\n");
    hear("ann", ann);
    hear("bob", bob);
    say(ann, "hello, all\nwho is new here?\n");
    hear("bob", bob);
    hear("bob", bob);
    hear("eve", eve);
    hear("eve", eve);
    say(eve, "I am\n");
    hear("ann", ann);
    hear("bob", bob);
    coir_socket_close(bob);
    hear("ann", ann);
    hear("eve", eve);
    coir_socket_close(ann);
    coir_socket_close(eve);
    return coir_hub_run();
}
