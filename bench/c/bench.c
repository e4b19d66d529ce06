/* See bench.h. */
#include "bench.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TRACEPOINT "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id"

static size_t profiled_ops;   /* by --ops; 0: measure */
static int call_counter = -1; /* of this process's system calls */

/* Before any thread is started, as they inherit it. */
static void
open_call_counter(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT,
                                   .size = sizeof(attr),
                                   .disabled = 1,
                                   .inherit = 1};
    FILE *file = fopen(TRACEPOINT, "r");
    if (file == NULL)
        return;
    if (fscanf(file, "%llu", &attr.config) == 1)
        call_counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
    fclose(file);
}

static void
count_calls(void)
{
    if (call_counter >= 0)
        (void)ioctl(call_counter, PERF_EVENT_IOC_ENABLE, 0);
    (void)getppid();
}

static void
print_calls(void)
{
    uint64_t calls;
    (void)getppid();
    if (call_counter < 0 ||
        ioctl(call_counter, PERF_EVENT_IOC_DISABLE, 0) < 0 ||
        read(call_counter, &calls, sizeof(calls)) != (ssize_t)sizeof(calls))
        return;
    /* Less those of the counting. */
    printf("{\"system_calls\": %llu}\n", (unsigned long long)calls - 4);
    fflush(stdout);
}

uint64_t
bench_clock(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) < 0)
        bench_die("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void
bench_die(const char *what)
{
    fprintf(stderr, "benchmark failed: %s\n", what);
    exit(1);
}

void
bench_add(struct bench_result *out, double sample)
{
    if (out->count == sizeof(out->samples) / sizeof(out->samples[0]))
        bench_die("too many samples");
    out->samples[out->count++] = sample;
}

void
bench_note(struct bench_result *out, const char *name, double value)
{
    size_t i = 0;
    while (out->note[i] != NULL)
        if (++i == sizeof(out->note) / sizeof(out->note[0]))
            bench_die("too many notes");
    out->note[i] = name;
    out->note_value[i] = value;
}

__attribute__((noinline)) uint64_t
bench_timed(bench_batch batch, size_t ops, void *arg)
{
    uint64_t start = bench_clock();
    if (profiled_ops > 0)
        count_calls();
    batch(ops, arg);
    uint64_t taken = bench_clock() - start;
    if (profiled_ops > 0)
        print_calls();
    return taken;
}

size_t
bench_profiled_ops(void)
{
    return profiled_ops;
}

static size_t
round_up(size_t ops, size_t step)
{
    return (ops + step - 1) / step * step;
}

void
bench_measure(bench_batch batch, void *arg, int quick,
              struct bench_result *out)
{
    bench_measure_by(1, batch, arg, quick, out);
}

void
bench_measure_by(size_t step, bench_batch batch, void *arg, int quick,
                 struct bench_result *out)
{
    if (profiled_ops > 0) {
        (void)bench_timed(batch, profiled_ops, arg);
        _exit(0);
    }
    uint64_t aim = quick ? 5000000 : 25000000;
    uint64_t taken;
    size_t ops = round_up(1000, step);
    for (;; ops *= 2) {
        taken = bench_timed(batch, ops, arg);
        if (taken >= aim / 4)
            break;
    }
    ops = (size_t)((double)ops * (double)aim / (double)taken) + 1;
    ops = round_up(ops, step);

    out->unit = "ns";
    for (int i = 0; i < (quick ? 3 : 9); i++) {
        taken = bench_timed(batch, ops, arg);
        bench_add(out, (double)taken / (double)ops);
    }
}

double
bench_rss(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size, resident;
    if (file == NULL || fscanf(file, "%lu %lu", &size, &resident) != 2)
        bench_die("cannot read /proc/self/statm");
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

double
bench_page_tables(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kib = 0;
    if (file == NULL)
        bench_die("cannot read /proc/self/status");
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmPTE: %lu", &kib) == 1)
            break;
    fclose(file);
    return (double)kib * 1024;
}

static void
print_result(const struct bench_result *result)
{
    printf("{\"unit\": \"%s\", \"samples\": [", result->unit);
    for (size_t i = 0; i < result->count; i++)
        printf("%s%.4f", i == 0 ? "" : ", ", result->samples[i]);
    printf("], \"note\": {");
    for (size_t i = 0; i < 4 && result->note[i] != NULL; i++)
        printf("%s\"%s\": %.4f", i == 0 ? "" : ", ", result->note[i],
               result->note_value[i]);
    printf("}}\n");
}

int
bench_main(int argc, char **argv, const struct bench_entry *entries)
{
    const char *name = argc > 1 ? argv[1] : "";
    const char *option = argc > 2 ? argv[2] : "";
    int list = argc == 2 && strcmp(name, "--list") == 0;
    int quick = argc == 3 && strcmp(option, "--quick") == 0;
    if (argc == 4 && strcmp(option, "--ops") == 0)
        profiled_ops = strtoul(argv[3], NULL, 10);
    if (argc < 2 || (argc > 2 && !quick && profiled_ops == 0)) {
        fprintf(stderr, "usage: %s ROW [--quick | --ops N] | --list\n",
                argv[0]);
        return 2;
    }
    for (; entries->name != NULL; entries++) {
        if (list) {
            puts(entries->name);
        }
        else if (strcmp(name, entries->name) == 0) {
            struct bench_result result = {0};
            if (profiled_ops > 0)
                open_call_counter();
            entries->row(quick, &result);
            print_result(&result);
            fflush(stdout);
            /* A million suspended coroutines are left to the kernel. */
            _exit(0);
        }
    }
    if (!list)
        fprintf(stderr, "%s: no row %s\n", argv[0], name);
    return list ? 0 : 2;
}
