/*
 * How long a thread that waits for an object takes to have it: a condition variable under a mutex. The object comes back so
 * many microseconds after the wait began (the argument). The figure is the median of single wake-ups.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bench.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t returned = PTHREAD_COND_INITIALIZER;
static int is_free;
static double given;
static _Atomic int waiting, rounds, stop;
static double *latencies;

static void *take(void *unused) {
  (void)unused;
  while (!atomic_load(&stop)) {
    atomic_store(&waiting, 1);
    pthread_mutex_lock(&lock);
    while (!is_free) pthread_cond_wait(&returned, &lock);
    is_free = 0;
    latencies[atomic_load(&rounds)] = now_ns() - given;
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&rounds, 1);
  }
  return NULL;
}

int main(int argc, char **argv) {
  double delay = argc > 1 ? atof(argv[1]) * 1e3 : 0;
  if (delay <= 0) {
    fprintf(stderr, "after how many microseconds?\n");
    return 2;
  }
  /* A hundredth of the samples of other subjects: each takes as long as the wait. */
  int samples = (int)(setting("BENCH_SAMPLES", 200000) / 100) + 1;
  latencies = table((size_t)samples * sizeof *latencies);
  pthread_t thread;
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  double opened = now_ns();
  if (pthread_create(&thread, NULL, take, NULL) != 0) return 1;
  for (int i = 0; i < samples; i++) {
    while (!atomic_exchange(&waiting, 0)) {
    }
    for (double end = now_ns() + delay; now_ns() < end;) {
    }
    if (i + 1 == samples) atomic_store(&stop, 1);
    pthread_mutex_lock(&lock);
    is_free = 1;
    given = now_ns();
    pthread_cond_signal(&returned);
    pthread_mutex_unlock(&lock);
    while (atomic_load(&rounds) <= i) {
    }
  }
  pthread_join(thread, NULL);
  getrusage(RUSAGE_SELF, &after);
  double cores = (cpu_ns(&after) - cpu_ns(&before)) / (now_ns() - opened);
  printf("{\"ns\":%.1f,\"p999\":%.1f", percentile(latencies, (size_t)samples, 0.5),
         percentile(latencies, (size_t)samples, 0.999));
  printf(",\"ops\":%d,\"gc\":null,\"gcMajor\":null,\"faultsMinor\":%ld,\"faultsMajor\":%ld", samples,
         after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt);
  printf(",\"rss\":%lld,\"cores\":%.2f,\"library\":\"C, pthread cond\"}\n", peak_rss(&after), cores);
  return 0;
}
