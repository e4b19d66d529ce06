/* bench.h - what the benchmark programs share: sampling, memory, output.
 *
 * A program measures one row per run, `bench_x ROW [--quick | --ops N]`, and
 * prints one line of JSON: unit, samples and further figures; `--list` names
 * its rows, `--ops` does about N operations of a short row once, for
 * profilers. A sample is the time of one operation, from a batch of many, as
 * CPU time of the thread (user and system), so that other programs on the
 * machine disturb as little as can be. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Does `ops` operations. */
typedef void (*bench_batch)(size_t ops, void *arg);

struct bench_result {
    const char *unit;
    size_t count; /* samples */
    double samples[16];
    const char *note[4]; /* names of further figures, NULL beyond the last */
    double note_value[4];
};

/* One row; `quick` asks for smaller numbers. Aborts if it cannot measure. */
typedef void (*bench_row)(int quick, struct bench_result *out);

struct bench_entry {
    const char *name;
    bench_row row;
};

/* CPU time of this thread in nanoseconds. */
uint64_t bench_clock(void);

/* Sample a short operation: warm up, find a batch of some milliseconds, take
 * samples of nanoseconds per operation. */
void bench_measure(bench_batch batch, void *arg, int quick,
                   struct bench_result *out);

/* The same, for a batch that does a multiple of `step` operations. */
void bench_measure_by(size_t step, bench_batch batch, void *arg, int quick,
                      struct bench_result *out);

/* Run a batch once; returns the CPU time it took, in nanoseconds. Every batch
 * that is measured runs through here, so that instructions can be counted in
 * this function alone. With `--ops` system calls are, if the kernel's
 * tracepoints may be used: a line of JSON says how many. For strace, getppid()
 * is called before and after. */
uint64_t bench_timed(bench_batch batch, size_t ops, void *arg);

/* The N of `--ops`, 0 without. */
size_t bench_profiled_ops(void);

void bench_add(struct bench_result *out, double sample);
void bench_note(struct bench_result *out, const char *name, double value);

/* Resident memory and page tables of this process, in bytes. */
double bench_rss(void);
double bench_page_tables(void);

/* Say what failed and leave. */
void bench_die(const char *what) __attribute__((noreturn));

/* main() of a program; `entries` ends with a NULL name. */
int bench_main(int argc, char **argv, const struct bench_entry *entries);

#ifdef __cplusplus
}
#endif

#endif
