/* libcork's cork_mempool: 64-byte objects carved from blocks, an intrusive free list, no checks. */
#include <libcork/core.h>

#include "bench.h"

static struct cork_mempool *pool;
static uint32_t *choices;
static uint32_t at;
static void **live;

static void pair(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    void *p = cork_mempool_new_object(pool);
    sink = p;
    cork_mempool_free_object(pool, p);
  }
}

static void replace(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint32_t k = choices[at++ & (TRACE_LENGTH - 1)];
    cork_mempool_free_object(pool, live[k]);
    live[k] = cork_mempool_new_object(pool);
  }
}

int main(int argc, char **argv) {
  pool = cork_mempool_new_size(64);
  choices = trace(LIVE_OBJECTS);
  live = table(LIVE_OBJECTS * sizeof *live);
  if (argc > 1 && strcmp(argv[1], "replace") == 0)
    for (uint32_t i = 0; i < LIVE_OBJECTS; i++) live[i] = cork_mempool_new_object(pool);
  char library[64];
  snprintf(library, sizeof library, "libcork %s", cork_version_string());
  const char *names[] = {"pair", "replace"};
  struct operation ops[] = {{library, pair, 0}, {library, replace, 0}};
  return bench_named(argc, argv, 2, names, ops);
}
