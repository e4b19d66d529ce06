/* dump.c - green threads in words.
 *
 *     #2 "ann" 0x55e197d1e120 waits for mutex 0x55e193543400 (pen), held by #3
 *         for 1 ms, 544 of 65536 bytes of stack
 *         take_both+0x3b (prog+0x3f13)
 *         spawned by #1 at main+0x5c (prog+0x3fc6)
 *
 * It is written by lines, with write(): the text may be cut off at any time.
 * What a backtrace begins with, the library's way into the wait, and ends
 * with, its way into the green thread, is left out. */
#include "look/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES = 32 };

/* --- text ---------------------------------------------------------------- */

void
coir__flush(coir__out *out)
{
    const char *from = out->data;
    while (out->len > 0) {
        ssize_t n = write(out->fd, from, out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        from += n;
        out->len -= (unsigned)n;
    }
    out->len = 0;
}

void
coir__put(coir__out *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = sizeof out->data - out->len;
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
    int n = vsnprintf(out->data + out->len, room, format, args);
    va_end(args);
    if (n < 0)
        return;
    out->len += (size_t)n < room ? (unsigned)n : (unsigned)room - 1;
    if (out->data[out->len - 1] == '\n' || out->len > sizeof out->data / 2)
        coir__flush(out);
}

void
coir__put_place(coir__out *out, coir__symbols *symbols, const void *address)
{
    coir__place p = coir__symbols_find(symbols, (const char *)address - 1);
    if (p.function != NULL)
        coir__put(out, "%s+0x%zx ", p.function, p.offset + 1);
    if (p.file != NULL)
        coir__put(out, "(%s+0x%" PRIxPTR ")", p.file, p.address);
    else
        coir__put(out, "%p", address);
}

/* --- backtraces ---------------------------------------------------------- */

/* Functions of ours that green threads are left by, before those whose names
 * say that they are ours. */
static int
is_switch(const char *function)
{
    static const char *const names[] = {
        "coir_ctx_swap", "coir_coro_switch", "transfer", "switch_to",
        "switch_slowly", "switch_away",      "put_green"};
    /* A compiler names parts of functions "name.part.0" and the like. */
    size_t len = strcspn(function, ".");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == len && memcmp(function, names[i], len) == 0)
            return 1;
    return 0;
}

static const char *
function_at(coir__symbols *symbols, const void *address)
{
    const char *name =
        coir__symbols_find(symbols, (const char *)address - 1).function;
    return name != NULL ? name : "";
}

void
coir__put_backtrace(coir__out *out, coir__symbols *symbols,
                    const void *const *addresses, int count)
{
    int i = 0;
    while (i < count && is_switch(function_at(symbols, addresses[i])))
        i++;
    while (i < count &&
           strncmp(function_at(symbols, addresses[i]), "coir__", 6) == 0)
        i++;
    for (; i < count; i++) {
        /* Ours is called by body(), that by the entry. */
        if (i + 1 < count && strcmp(function_at(symbols, addresses[i + 1]),
                                    "coir__coro_entry") == 0)
            break;
        coir__put(out, "        ");
        coir__put_place(out, symbols, addresses[i]);
        coir__put(out, "\n");
    }
    if (count == FRAMES)
        coir__put(out, "        ...\n");
}

/* --- green threads ------------------------------------------------------- */

static void
put_node(coir__out *out, const coir__node *n, int own_tid)
{
    if (n->id == 0) {
        coir__put(out, "OS thread %d", n->tid);
        return;
    }
    coir__put(out, "#%" PRIu64, n->id);
    if (n->name[0] != '\0')
        coir__put(out, " \"%s\"", n->name);
    if (n->tid != own_tid)
        coir__put(out, " of OS thread %d", n->tid);
}

static void
put_holder(coir__out *out, const coir__waits *waits, const coir__node *n,
           int own_tid)
{
    if (n == NULL || n->holder == COIR__HOLDER_NONE)
        return;
    int is_join = n->what == coir__what_join;
    if (n->holder == COIR__HOLDER_FOREIGN) {
        coir__put(out, ", held by another OS thread, or one that has ended");
        return;
    }
    coir__put(out, is_join ? " of " : ", held by ");
    put_node(out, &waits->nodes[n->next], own_tid);
    if (n->holder == COIR__HOLDER_ENDED)
        coir__put(out, ", which has ended");
}

/* "mutex 0x1234 (name)" */
static void
put_object(coir__out *out, coir__symbols *symbols, const char *what,
           const void *object)
{
    coir__put(out, "%s", what);
    if (object == NULL || what == coir__what_join)
        return;
    coir__put(out, " %p", object);
    size_t offset = 0;
    const char *name = coir__symbols_find_variable(symbols, object, &offset);
    if (name != NULL && offset == 0)
        coir__put(out, " (%s)", name);
    else if (name != NULL)
        coir__put(out, " (%s+0x%zx)", name, offset);
}

static void
put_wait(coir__out *out, coir__symbols *symbols, const coir__waits *waits,
         const coir_green *g, const coir_green_info *info)
{
    const coir__node *n = coir__waits_find(waits, g);
    coir__put(out, " for ");
    put_object(out, symbols, info->what, info->object);
    put_holder(out, waits, n, g->hub->listed.tid);
    if (n != NULL && n->cycle > 0)
        coir__put(out, " (cycle %d)", n->cycle);
}

/* "for 12 ms, for 88 ms more, cancelled, 544 of 65536 bytes of stack" */
static void
put_numbers(coir__out *out, const coir_green_info *info)
{
    const char *between = "        ";
    if (info->state == COIR_GREEN_WAITING) {
        coir__put(out, "%sfor %" PRId64 " ms", between,
                  info->waiting_ns / COIR_NS_PER_MS);
        between = ", ";
    }
    if (info->left_ns != COIR_FOREVER)
        coir__put(out, ", for %" PRId64 " ms more",
                  info->left_ns / COIR_NS_PER_MS);
    if (info->is_cancelled) {
        coir__put(out, "%scancelled", between);
        between = ", ";
    }
    if (info->stack_used > 0) {
        coir__put(out, "%s%zu ", between, info->stack_used);
        if (info->stack_size > 0)
            coir__put(out, "of %zu ", info->stack_size);
        coir__put(out, "bytes of stack");
        between = ", ";
    }
    if (*between == ',')
        coir__put(out, "\n");
}

static void
put_green(coir__out *out, coir__symbols *symbols, const coir__waits *waits,
          const coir_green *g)
{
    static const char *const states[] = {"ready", "running", "waits", "ended"};
    coir_green_info info;
    coir_green_get_info(g, &info);
    coir__put(out, "    #%" PRIu64 " ", info.id);
    if (info.is_main)
        coir__put(out, "main ");
    else if (info.name[0] != '\0')
        coir__put(out, "\"%s\" ", info.name);
    coir__put(out, "%p %s", (const void *)g, states[info.state]);
    if (info.state == COIR_GREEN_WAITING)
        put_wait(out, symbols, waits, g, &info);
    coir__put(out, "\n");
    put_numbers(out, &info);

    const void *addresses[FRAMES];
    int count = g->hub->current == g && g->hub == coir__hub
                    ? coir__backtrace_here(addresses, FRAMES, 0)
                    : coir__backtrace(g, addresses, FRAMES);
    coir__put_backtrace(out, symbols, addresses, count);
    if (info.spawned_at != NULL) {
        coir__put(out, "        spawned by #%" PRIu64 " at ", info.spawner);
        coir__put_place(out, symbols, info.spawned_at);
        coir__put(out, "\n");
    }
}

void
coir__dump_hub(coir__out *out, coir__symbols *symbols,
               const coir__waits *waits, const coir_hub *hub)
{
    if (hub->sim != NULL)
        coir__put(out, "green threads of a simulation:\n");
    else
        coir__put(out, "green threads of OS thread %d:\n", hub->listed.tid);
    const coir_green *g = hub->all;
    while (g->next != NULL)
        g = g->next;
    for (; g != NULL; g = g->prev)
        if (!g->disposed)
            put_green(out, symbols, waits, g);
    coir__flush(out);
}

static void
put_node_wait(coir__out *out, coir__symbols *symbols, const coir__waits *waits,
              const coir__node *n, int own_tid)
{
    coir__put(out, "    ");
    put_node(out, n, own_tid);
    coir__put(out, " waits for ");
    put_object(out, symbols, n->what, n->object);
    put_holder(out, waits, n, own_tid);
    coir__put(out, "\n");
}

int
coir__put_hopeless(coir__out *out, coir__symbols *symbols,
                   const coir__waits *waits, int own_tid)
{
    int found = 0;
    for (int i = 0; i < waits->count; i++) {
        const coir__node *n = &waits->nodes[i];
        if (n->holder != COIR__HOLDER_ENDED || n->is_timed)
            continue;
        if (found++ == 0)
            coir__put(out, "wait for what nobody will give up:\n");
        put_node_wait(out, symbols, waits, n, own_tid);
    }
    for (int cycle = 1; cycle <= waits->cycles; cycle++) {
        int first = 0;
        while (waits->nodes[first].cycle != cycle)
            first++;
        coir__put(out, "cycle %d: wait for each other\n", cycle);
        int at = first;
        do {
            put_node_wait(out, symbols, waits, &waits->nodes[at], own_tid);
            at = waits->nodes[at].next;
        } while (at != first);
    }
    return found + waits->cycles;
}

/* --- in public ----------------------------------------------------------- */

void
coir_green_get_info(const coir_green *g, coir_green_info *info)
{
    coir_hub *hub = g->hub;
    const coir_coro *co = g->co;
    int waits = g->state == COIR_GREEN_WAITING;
    const coir__clock *clock = &hub->loop->clock;
    int64_t now = clock->monotonic(clock->user);
    *info = (coir_green_info){.id = g->id,
                              .name = coir_green_name(g),
                              .state = g->state,
                              .is_main = g == hub->main,
                              .is_detached = g->detached,
                              .is_cancelled = coir_is_cancelled(g),
                              .what = coir_green_waits_for(g),
                              .object = waits ? g->object : NULL,
                              .waiting_ns = waits ? now - g->since_ns : 0,
                              .left_ns = COIR_FOREVER,
                              .spawner = g->spawner,
                              .spawned_at = g->spawned_at,
                              .fn = g->fn,
                              .stack_used = g->state != COIR_GREEN_ENDED
                                                ? coir_coro_stack_used(co)
                                                : 0};
    if (waits && coir_is_active(&g->timer))
        info->left_ns = coir_timer_remaining(hub->loop, &g->timer);
    void *low, *high;
    if (co->policy == COIR_POLICY_DEDICATED &&
        coir_coro_stack_bounds(co, &low, &high) == 0)
        info->stack_size = (size_t)((char *)high - (char *)low);
}

int
coir_green_each(int (*fn)(coir_green *g, void *arg), void *arg)
{
    const coir_hub *hub = coir__hub_if_any();
    if (hub == NULL)
        return 0;
    coir_green *g = hub->all;
    while (g->next != NULL)
        g = g->next;
    int result = 0;
    for (; g != NULL && result == 0; g = g->prev)
        if (!g->disposed)
            result = fn(g, arg);
    return result;
}

void
coir_dump(int fd)
{
    const coir_hub *hub = coir__hub_if_any();
    if (hub == NULL)
        return;
    coir__out out = {.fd = fd};
    coir__waits waits;
    coir__hubs_lock();
    coir__waits_init(&waits, hub);
    coir__hubs_unlock();
    coir__symbols *symbols = coir__symbols_new();
    (void)coir__put_hopeless(&out, symbols, &waits, hub->listed.tid);
    coir__dump_hub(&out, symbols, &waits, hub);
    coir__symbols_free(symbols);
    coir__waits_fini(&waits);
}
