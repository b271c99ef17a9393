/*
 * For subjects in C: measures an operation as bench/lib/subject.ts does (20th percentile of many short repetitions,
 * p99.9 of single operations with the timer in) and prints the JSON line that the harness reads.
 * Header only: each subject is one file, built by one gcc call.
 */
#ifndef MILLPOND_BENCH_H
#define MILLPOND_BENCH_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define TRACE_LENGTH 65536u
#define LIVE_OBJECTS 10000u
#define SETTLE (2 * LIVE_OBJECTS)
#define FRAME_BYTES (8u * 1024u * 1024u)

/* Results go here, so that the compiler cannot prove the work useless. */
static void *volatile sink;

struct operation {
  /* Name and version of what is measured. */
  const char *library;
  /* Does the operation n times. */
  void (*loop)(uint64_t n);
  /*
   * Nonzero for a loop that runs threads. Its repetitions are 20 times longer, to make little of starting them; the
   * median counts, because the fastest ones are those in which a thread waited for a core and nothing contended; and
   * no single operation is timed.
   */
  int threads;
};

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double setting(const char *name, double fallback) {
  const char *text = getenv(name);
  return text && *text ? atof(text) : fallback;
}

static double cpu_ns(const struct rusage *usage) {
  return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e9 +
         (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1e3;
}

/* Peak resident bytes. VmHWM is this program's own; ru_maxrss still remembers the process that started it. */
static long long peak_rss(const struct rusage *usage) {
  char line[128];
  long long kib = 0;
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status))
    if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
  if (status) fclose(status);
  return (kib ? kib : (long long)usage->ru_maxrss) * 1024;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Nearest rank, as percentile() in bench/lib/statistics.ts. Sorts in place. */
static double percentile(double *values, size_t count, double share) {
  qsort(values, count, sizeof *values, compare_doubles);
  size_t rank = (size_t)ceil(share * (double)count);
  return values[rank == 0 ? 0 : rank - 1];
}

/* Memory for the harness's own tables, mapped so that the allocator under measurement never sees it. */
static void *table(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return p;
}

/* The same choices as trace() in bench/lib/trace.ts. */
__attribute__((unused)) static uint32_t *trace(uint32_t limit) {
  uint32_t *choices = table(TRACE_LENGTH * sizeof *choices);
  uint32_t state = 2463534242u;
  for (uint32_t i = 0; i < TRACE_LENGTH; i++) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    choices[i] = state % limit;
  }
  return choices;
}

/* The same sizes as traceSizes() in bench/lib/trace.ts. */
__attribute__((unused)) static uint32_t *trace_sizes(void) {
  uint32_t *sizes = table(TRACE_LENGTH * sizeof *sizes);
  uint32_t state = 88675123u;
  for (uint32_t i = 0; i < TRACE_LENGTH; i++) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    uint32_t octave = 1u << (4 + state % 12);
    sizes[i] = octave + ((state >> 8) & (octave - 1));
  }
  return sizes;
}

static int bench(struct operation op) {
  double repetition_ns = setting("BENCH_REPETITION_NS", 1.2e6) * (op.threads ? 20 : 1);
  size_t repetitions = (size_t)setting("BENCH_REPETITIONS", 41);
  size_t samples = (size_t)setting("BENCH_SAMPLES", 200000);
  double *times = table(repetitions * sizeof *times);
  double *singles = table(samples * sizeof *singles);

  double end = now_ns() + setting("BENCH_WARM_UP_NS", 150e6);
  uint64_t n = 1;
  double per_operation;
  do {
    double started = now_ns();
    op.loop(n);
    double elapsed = now_ns() - started;
    per_operation = elapsed / (double)n > 0.01 ? elapsed / (double)n : 0.01;
    if (elapsed < repetition_ns) n *= 2;
  } while (now_ns() < end);
  n = (uint64_t)(repetition_ns / per_operation + 0.5);
  if (n == 0) n = 1;

  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  double opened = now_ns();
  for (size_t i = 0; i < repetitions; i++) {
    double started = now_ns();
    op.loop(n);
    times[i] = (now_ns() - started) / (double)n;
  }
  size_t taken = 0;
  if (!op.threads) {
    double stop = now_ns() + setting("BENCH_SAMPLE_NS", 1e9);
    while (taken < samples) {
      double started = now_ns();
      op.loop(1);
      double finished = now_ns();
      singles[taken++] = finished - started;
      if (finished > stop) break;
    }
  }
  getrusage(RUSAGE_SELF, &after);
  double cores = (cpu_ns(&after) - cpu_ns(&before)) / (now_ns() - opened);

  printf("{\"ns\":%.4f,\"p999\":", percentile(times, repetitions, op.threads ? 0.5 : 0.2));
  if (op.threads) printf("null");
  else printf("%.1f", percentile(singles, taken, 0.999));
  printf(",\"ops\":%llu,\"gc\":null,\"gcMajor\":null", (unsigned long long)(n * repetitions + taken));
  printf(",\"faultsMinor\":%ld,\"faultsMajor\":%ld", after.ru_minflt - before.ru_minflt,
         after.ru_majflt - before.ru_majflt);
  printf(",\"rss\":%lld,\"cores\":%.2f,\"library\":\"%s\",\"extra\":{\"samples\":%zu}}\n",
         peak_rss(&after), cores, op.library, taken);
  return 0;
}

/* The operation that the first argument names; says which there are when it names none. */
static int bench_named(int argc, char **argv, size_t count, const char *const *names, const struct operation *ops) {
  for (size_t i = 0; i < count; i++)
    if (argc > 1 && strcmp(argv[1], names[i]) == 0) return bench(ops[i]);
  fprintf(stderr, "which one? ");
  for (size_t i = 0; i < count; i++) fprintf(stderr, "%s%s", i ? ", " : "", names[i]);
  fprintf(stderr, "\n");
  return 2;
}

#endif
