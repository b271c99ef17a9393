/*
 * What a C programmer writes by hand for two threads and 1024 objects: a list under a mutex, and a Treiber stack with
 * a 32-bit tag against ABA in one 64-bit head.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "bench.h"

#define OBJECTS 1024u
#define NONE 0xffffffffu

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t mutex_head;
static uint32_t mutex_next[OBJECTS];

/* A line of its own, or the table's neighbors would travel with it between the cores. */
static _Alignas(64) _Atomic uint64_t stack_head;
static _Alignas(64) _Atomic uint32_t stack_next[OBJECTS];

static void mutex_pairs(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    pthread_mutex_lock(&lock);
    uint32_t k = mutex_head;
    mutex_head = mutex_next[k];
    pthread_mutex_unlock(&lock);
    sink = &mutex_next[k];
    pthread_mutex_lock(&lock);
    mutex_next[k] = mutex_head;
    mutex_head = k;
    pthread_mutex_unlock(&lock);
  }
}

static void stack_pairs(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint64_t head = atomic_load(&stack_head), want;
    uint32_t k;
    do {
      k = (uint32_t)head;
      want = ((head >> 32) + 1) << 32 | atomic_load_explicit(&stack_next[k], memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(&stack_head, &head, want));
    sink = (void *)&stack_next[k];
    head = atomic_load(&stack_head);
    do {
      atomic_store_explicit(&stack_next[k], (uint32_t)head, memory_order_relaxed);
      want = ((head >> 32) + 1) << 32 | k;
    } while (!atomic_compare_exchange_weak(&stack_head, &head, want));
  }
}

struct work {
  void (*loop)(uint64_t n);
  uint64_t count;
};

static void *run(void *argument) {
  struct work *work = argument;
  work->loop(work->count);
  return NULL;
}

static void in_two_threads(void (*loop)(uint64_t n), uint64_t n) {
  struct work work = {loop, n / 2 + 1};
  pthread_t other;
  if (pthread_create(&other, NULL, run, &work) != 0) exit(1);
  run(&work);
  pthread_join(other, NULL);
}

static void mutex_two(uint64_t n) { in_two_threads(mutex_pairs, n); }
static void stack_two(uint64_t n) { in_two_threads(stack_pairs, n); }

static void *idle(void *argument) {
  sem_wait(argument);
  return NULL;
}

int main(int argc, char **argv) {
  /* A second thread that sleeps: glibc leaves the atomics out of a mutex while a process has only one. */
  static sem_t never;
  pthread_t sleeper;
  sem_init(&never, 0, 0);
  if (pthread_create(&sleeper, NULL, idle, &never) != 0) return 1;
  for (uint32_t i = 0; i < OBJECTS; i++) {
    mutex_next[i] = i + 1 < OBJECTS ? i + 1 : NONE;
    stack_next[i] = i + 1 < OBJECTS ? i + 1 : NONE;
  }
  const char *names[] = {"mutex", "stack", "mutex-two-threads", "stack-two-threads"};
  struct operation ops[] = {{"C, pthread mutex", mutex_pairs, 0},
                            {"C, Treiber stack", stack_pairs, 0},
                            {"C, pthread mutex", mutex_two, 1},
                            {"C, Treiber stack", stack_two, 1}};
  return bench_named(argc, argv, 4, names, ops);
}
