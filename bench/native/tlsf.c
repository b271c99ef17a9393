/*
 * Matthew Conte's TLSF in C, the same algorithm as TlsfArena. Its source is not kept here: with TLSF_SOURCE set to a folder
 * that has tlsf.c and tlsf.h, or to what git can clone, the harness puts it into bench/.cache/tlsf-source.
 */
#if !__has_include("../.cache/tlsf-source/tlsf.c")
#error "no source of TLSF here (TLSF_SOURCE: a folder or a git address); published for a prototype: C 79 to 87 ns, TypeScript 67 to 93 ns, p99.9 386 to 447"
#endif
/* As it is shipped to be used: without its assertions. */
#define NDEBUG
#include "../.cache/tlsf-source/tlsf.c"
#include "bench.h"

#define ARENA (256u * 1024u * 1024u)

static tlsf_t heap;
static uint32_t *choices;
static uint32_t *sizes;
static uint32_t at;
static void **live;

static void pair(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    void *p = tlsf_malloc(heap, 64);
    sink = p;
    tlsf_free(heap, p);
  }
}

static void mixed(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint32_t j = at++ & (TRACE_LENGTH - 1);
    uint32_t k = choices[j];
    tlsf_free(heap, live[k]);
    live[k] = tlsf_malloc(heap, sizes[j]);
    if (!live[k]) exit(1);
  }
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  heap = tlsf_create_with_pool(table(ARENA), ARENA);
  choices = trace(LIVE_OBJECTS);
  sizes = trace_sizes();
  live = table(LIVE_OBJECTS * sizeof *live);
  if (strcmp(what, "mixed") == 0) {
    for (uint32_t i = 0; i < LIVE_OBJECTS; i++) live[i] = tlsf_malloc(heap, sizes[i]);
    mixed(SETTLE);
  }
  const char *names[] = {"pair", "mixed"};
  struct operation ops[] = {{"mattconte/tlsf", pair, 0}, {"mattconte/tlsf", mixed, 0}};
  return bench_named(argc, argv, 2, names, ops);
}
