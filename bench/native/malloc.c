/* malloc and free: glibc's as it stands, or mimalloc's or jemalloc's when built with -DMIMALLOC or -DJEMALLOC. */
#include "bench.h"

#if defined(MIMALLOC)
#include <mimalloc.h>
#define ALLOCATE mi_malloc
#define RELEASE mi_free
#elif defined(JEMALLOC)
#include <jemalloc/jemalloc.h>
#define ALLOCATE malloc
#define RELEASE free
#else
#include <gnu/libc-version.h>
#define ALLOCATE malloc
#define RELEASE free
#endif

static const uint32_t page_kib[8] = {64, 128, 512, 1024, 3072, 4096, 8192, 12288};
static uint32_t *choices;
static uint32_t *sizes;
static uint32_t at;
static void **live;

static void pair(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    void *p = ALLOCATE(64);
    sink = p;
    RELEASE(p);
  }
}

static void replace(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint32_t k = choices[at++ & (TRACE_LENGTH - 1)];
    RELEASE(live[k]);
    live[k] = ALLOCATE(64);
  }
}

static void mixed(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint32_t j = at++ & (TRACE_LENGTH - 1);
    uint32_t k = choices[j];
    RELEASE(live[k]);
    live[k] = ALLOCATE(sizes[j]);
  }
}

static void pages(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    void *p = ALLOCATE((size_t)page_kib[choices[at++ & (TRACE_LENGTH - 1)]] * 1024);
    sink = p;
    RELEASE(p);
  }
}

static void frame(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    void *p = ALLOCATE(FRAME_BYTES);
    sink = p;
    RELEASE(p);
  }
}

static const char *library(void) {
  static char text[64];
#if defined(MIMALLOC)
  int v = mi_version();
  snprintf(text, sizeof text, "mimalloc %d.%d.%d", v / 100, v / 10 % 10, v % 10);
#elif defined(JEMALLOC)
  const char *v = "?";
  size_t size = sizeof v;
  /* Fails to link, or to answer, where malloc is not jemalloc's. */
  if (mallctl("version", (void *)&v, &size, NULL, 0) != 0) exit(1);
  snprintf(text, sizeof text, "jemalloc %.20s", v);
#else
  snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
#endif
  return text;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  choices = trace(strcmp(what, "pages") == 0 ? 8 : LIVE_OBJECTS);
  live = table(LIVE_OBJECTS * sizeof *live);
  if (strcmp(what, "replace") == 0)
    for (uint32_t i = 0; i < LIVE_OBJECTS; i++) live[i] = ALLOCATE(64);
  sizes = trace_sizes();
  if (strcmp(what, "mixed") == 0) {
    for (uint32_t i = 0; i < LIVE_OBJECTS; i++) live[i] = ALLOCATE(sizes[i]);
    mixed(SETTLE);
  }
  const char *names[] = {"pair", "replace", "pages", "frame", "mixed"};
  struct operation ops[] = {
      {library(), pair, 0}, {library(), replace, 0}, {library(), pages, 0}, {library(), frame, 0}, {library(), mixed, 0}};
  return bench_named(argc, argv, 5, names, ops);
}
