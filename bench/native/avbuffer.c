/* FFmpeg's AVBufferPool: get and unref of one 8 MiB buffer; thread-safe. */
#include <libavutil/avutil.h>
#include <libavutil/buffer.h>

#include "bench.h"

static AVBufferPool *pool;

static void get_unref(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    AVBufferRef *ref = av_buffer_pool_get(pool);
    if (!ref) exit(1);
    sink = ref->data;
    av_buffer_unref(&ref);
  }
}

int main(int argc, char **argv) {
  pool = av_buffer_pool_init(FRAME_BYTES, NULL);
  char library[64];
  unsigned v = avutil_version();
  snprintf(library, sizeof library, "libavutil %u.%u.%u", AV_VERSION_MAJOR(v), AV_VERSION_MINOR(v), AV_VERSION_MICRO(v));
  const char *names[] = {"pool"};
  struct operation ops[] = {{library, get_unref, 0}};
  return bench_named(argc, argv, 1, names, ops);
}
