import { describe, expect, it } from "vitest";
import { lastOf, traceFile } from "../../../src/adapters/inspect/trace-file.ts";
import type { RecordedEvent, Recording } from "../../../src/observe/recorder.ts";
import { record } from "../../../src/observe/recorder.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";

function event(time: number, type: RecordedEvent["type"], subject: number): RecordedEvent {
  return { time, type, pool: 1, subject, value: 1 };
}

describe("the end of a recording", () => {
  it("has what happened in its last seconds, and what began before and went on", () => {
    const recorder = record();
    const whole: Recording = {
      ...recorder.recording(),
      from: 0,
      to: 10_000,
      events: [
        event(1, "resize", 2),
        event(2, "resize", 4),
        event(10, "acquire", 0),
        event(20, "acquire", 1),
        event(30, "release", 0),
        event(40, "wait", 7),
        event(50, "wait", 8),
        event(60, "waitEnd", 7),
        event(8500, "release", 1),
        event(9000, "acquire", 0),
      ],
      spans: [
        { type: "gc", time: 5, duration: 10, track: 0, name: "GC", text: "minor GC" },
        { type: "work", time: 7000, duration: 1500, track: 1, name: "scale", text: "work" },
      ],
    };
    recorder.stop();
    const end = lastOf(whole, 2);
    expect(end.events.map(({ time }) => time)).toEqual([2, 20, 50, 8500, 9000]);
    expect(end.spans.map(({ name }) => name)).toEqual(["scale"]);
    expect(lastOf(whole, 100).events).toEqual(whole.events);
    expect(lastOf({ ...whole, to: 60_000 }, 1).events.map(({ time }) => time)).toEqual([2, 50, 9000]);
  });

  it("is a Trace Event file with a span for each lease, and says of which process", () => {
    const recorder = record();
    const pool = BufferPool.create({ name: "traced", size: 8, max: 2 });
    for (let i = 0; i < 3; i++) pool.tryAcquire({ tag: `lease ${i}` })!.release();
    const file = JSON.parse(traceFile([recorder.recording()], { title: "app.js", pid: 77 }, 60)) as {
      readonly traceEvents: readonly { readonly cat?: string }[];
      readonly otherData: object;
    };
    recorder.stop();
    pool.close();
    expect(file.traceEvents.filter(({ cat }) => cat === "lease")).toHaveLength(3);
    expect(file.otherData).toMatchObject({ title: "app.js", pid: 77 });
    expect(JSON.parse(traceFile([], { title: "app.js", pid: 77 }))).toMatchObject({ traceEvents: [] });
  });
});
