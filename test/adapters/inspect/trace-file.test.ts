import { describe, expect, it } from "vitest";
import { RecordingReader, recordingParts } from "../../../src/adapters/inspect/recording-parts.ts";
import { lastOf, traceFileSteps } from "../../../src/adapters/inspect/trace-file.ts";
import type { RecordedEvent, Recording } from "../../../src/observe/recorder.ts";
import { record } from "../../../src/observe/recorder.ts";
import { traceOf } from "../../../src/observe/trace.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { finish, ITEMS_A_STEP, type Steps } from "../../../src/util/steps.ts";

/** What steps yield, and how many there are. */
function readAll(steps: Steps<void, string | undefined>): { readonly pieces: string[]; readonly count: number } {
  const all = [...steps];
  return { pieces: all.filter((piece) => piece !== undefined), count: all.length };
}

function traceFile(...given: Parameters<typeof traceFileSteps>): string {
  return readAll(traceFileSteps(...given)).pieces.join("");
}

/** A pool that is traced, with so many leases. */
function recordLeases(count: number): Recording {
  const recorder = record();
  const pool = BufferPool.create({ name: "traced", size: 8, max: 2, trace: true });
  for (let i = 0; i < count; i++) pool.tryAcquire({ tag: `lease ${i}` })!.release();
  const recording = recorder.recording();
  recorder.stop();
  pool.close();
  return recording;
}

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

describe("a trace that takes long", () => {
  it("is made in steps of a few events each, and its pieces together are what a trace is at once", () => {
    const recording = recordLeases(3000);
    const about = { title: "app.js", pid: 77 };
    const { pieces, count } = readAll(traceFileSteps([recording], about));
    expect(pieces.length).toBeGreaterThan(5);
    expect(pieces.every((piece) => piece.length < 80_000)).toBe(true);
    // Each event is looked at in several of them.
    expect(count).toBeGreaterThan((4 * recording.events.length) / ITEMS_A_STEP);
    expect(JSON.parse(pieces.join(""))).toEqual(JSON.parse(JSON.stringify(traceOf([recording], { about }))));
  });

  it("is of the moment when it was asked for, though the program goes on between the steps", () => {
    const recorder = record({ capacity: 64 });
    const pool = BufferPool.create({ name: "goes on", size: 8, max: 1, trace: true });
    for (let i = 0; i < 100; i++) pool.tryAcquire({ tag: `before ${i}` })!.release();
    const wanted = recorder.recording().events;
    const steps = recorder.recordingSteps();
    steps.next();
    for (let i = 0; i < 100; i++) pool.tryAcquire({ tag: `after ${i}` })!.release();
    const { events, dropped } = finish(steps);
    recorder.stop();
    pool.close();
    expect(events).toEqual(wanted);
    expect(events[0]!.site ?? events[1]!.site).toContain("trace-file.test");
    // The ring was being filled while the places of older events were read.
    expect(recorder.events().every(({ text }) => text === undefined || text.startsWith("after"))).toBe(true);
    expect([events.length, dropped]).toEqual([64, 137]);
  });

  it("comes from a worker in parts, each text once, and is put together as it was", () => {
    const recording = recordLeases(700);
    const reader = new RecordingReader();
    expect(reader.recording).toBeUndefined();
    const given = function* (): Steps<Recording> {
      yield;
      return recording;
    };
    const { pieces } = readAll(recordingParts(given()));
    for (const piece of pieces) reader.add(piece);
    expect(reader.recording).toEqual(recording);
    const site = recording.events.find((event) => event.site !== undefined)!.site!;
    expect(pieces.join("").split(JSON.stringify(site)).length - 1).toBe(1);
  });
});
