/* What gst-launch-1.0 does with `fakesrc ! identity ! identity ! identity ! fakesink`, one buffer of 1080p I420 an operation. */
#include "bench.h"
#include <gst/gst.h>

#define FRAME_1080P 3110400

static const char *fill = "nothing";

static void loop(uint64_t n) {
  char text[512];
  snprintf(text, sizeof text,
           "fakesrc num-buffers=%llu sizetype=fixed sizemax=%d filltype=%s ! identity ! identity ! identity ! "
           "fakesink sync=false",
           (unsigned long long)n, FRAME_1080P, fill);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch(text, &error);
  if (!pipeline || error) {
    fprintf(stderr, "gst: %s\n", error ? error->message : "no pipeline");
    exit(1);
  }
  gst_element_set_state(pipeline, GST_STATE_PLAYING);
  GstBus *bus = gst_element_get_bus(pipeline);
  GstMessage *message =
      gst_bus_timed_pop_filtered(bus, GST_CLOCK_TIME_NONE, (GstMessageType)(GST_MESSAGE_EOS | GST_MESSAGE_ERROR));
  if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
    fprintf(stderr, "gst: the pipeline failed\n");
    exit(1);
  }
  gst_message_unref(message);
  gst_object_unref(bus);
  gst_element_set_state(pipeline, GST_STATE_NULL);
  gst_object_unref(pipeline);
}

int main(int argc, char **argv) {
  static char library[64];
  gst_init(NULL, NULL);
  if (argc > 1 && strcmp(argv[1], "zero") == 0) fill = "zero";
  snprintf(library, sizeof library, "GStreamer %d.%d.%d", GST_VERSION_MAJOR, GST_VERSION_MINOR, GST_VERSION_MICRO);
  /* A pipeline streams in a thread of its own, and starting it is part of every repetition. */
  return bench((struct operation){library, loop, 1});
}
