/* GStreamer: buffer pool, mapping, shallow copy, metadata. Thread-safe throughout, as its users need it. */
#include <gst/gst.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"

static GstBufferPool *pool;
static GstBuffer *buffer;
static GstMemory *memory;
static const GstMetaInfo *meta_info;

typedef struct {
  GstMeta meta;
  guint64 value;
} CountMeta;

static gboolean count_meta_init(GstMeta *meta, gpointer params, GstBuffer *owner) {
  (void)params;
  (void)owner;
  ((CountMeta *)meta)->value = 0;
  return TRUE;
}

static void acquire_release(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    GstBuffer *b;
    if (gst_buffer_pool_acquire_buffer(pool, &b, NULL) != GST_FLOW_OK) exit(1);
    sink = b;
    gst_buffer_unref(b);
  }
}

static void *acquire_release_thread(void *count) {
  acquire_release(*(uint64_t *)count);
  return NULL;
}

/* Wall time over all operations of both threads. */
static void two_threads(uint64_t n) {
  uint64_t each = n / 2 + 1;
  pthread_t other;
  if (pthread_create(&other, NULL, acquire_release_thread, &each) != 0) exit(1);
  acquire_release(each);
  pthread_join(other, NULL);
}

/* From one thread to the other: a queue of 64 places with a line for each counter, as the subjects in TypeScript have. */
#define PLACES 64u
static GstBuffer *places[PLACES];
static _Alignas(64) _Atomic uint64_t pushed;
static _Alignas(64) _Atomic uint64_t popped;

static void *consume(void *count) {
  uint64_t end = atomic_load(&popped) + *(uint64_t *)count;
  for (uint64_t at = atomic_load(&popped); at < end; at++) {
    while (atomic_load(&pushed) == at) {
    }
    GstBuffer *b = places[at % PLACES];
    atomic_store(&popped, at + 1);
    gst_buffer_unref(b);
  }
  return NULL;
}

static void hop(uint64_t n) {
  pthread_t other;
  if (pthread_create(&other, NULL, consume, &n) != 0) exit(1);
  uint64_t at = atomic_load(&pushed);
  for (uint64_t i = 0; i < n; i++, at++) {
    GstBuffer *b;
    if (gst_buffer_pool_acquire_buffer(pool, &b, NULL) != GST_FLOW_OK) exit(1);
    while (at - atomic_load(&popped) == PLACES) {
    }
    places[at % PLACES] = b;
    atomic_store(&pushed, at + 1);
  }
  pthread_join(other, NULL);
}

static void buffer_map(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    GstMapInfo info;
    if (!gst_buffer_map(buffer, &info, GST_MAP_READ)) exit(1);
    sink = info.data;
    gst_buffer_unmap(buffer, &info);
  }
}

static void memory_map(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    GstMapInfo info;
    if (!gst_memory_map(memory, &info, GST_MAP_READ)) exit(1);
    sink = info.data;
    gst_memory_unmap(memory, &info);
  }
}

static void shallow_copy(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    GstBuffer *b = gst_buffer_copy(buffer);
    sink = b;
    gst_buffer_unref(b);
  }
}

static void add_remove_meta(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    GstMeta *meta = gst_buffer_add_meta(buffer, meta_info, NULL);
    sink = meta;
    gst_buffer_remove_meta(buffer, meta);
  }
}

int main(int argc, char **argv) {
  gst_init(NULL, NULL);
  static const gchar *tags[] = {NULL};
  GType api = gst_meta_api_type_register("MillpondBenchMetaAPI", tags);
  meta_info = gst_meta_register(api, "MillpondBenchMeta", sizeof(CountMeta), count_meta_init, NULL, NULL);

  pool = gst_buffer_pool_new();
  GstStructure *config = gst_buffer_pool_get_config(pool);
  gst_buffer_pool_config_set_params(config, NULL, FRAME_BYTES, 4, 0);
  if (!gst_buffer_pool_set_config(pool, config) || !gst_buffer_pool_set_active(pool, TRUE)) return 1;
  buffer = gst_buffer_new_allocate(NULL, FRAME_BYTES, NULL);
  memory = gst_allocator_alloc(NULL, FRAME_BYTES, NULL);

  gchar *library = gst_version_string();
  const char *names[] = {"pool", "pool-two-threads", "buffer-map", "memory-map", "copy", "meta", "hop"};
  struct operation ops[] = {
      {library, acquire_release, 0}, {library, two_threads, 1},  {library, buffer_map, 0},
      {library, memory_map, 0},      {library, shallow_copy, 0}, {library, add_remove_meta, 0},
      {library, hop, 1},
  };
  return bench_named(argc, argv, 7, names, ops);
}
