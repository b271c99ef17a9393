import { BroadcastChannel } from "node:worker_threads";
import { expect, it, onTestFinished, vi } from "vitest";
import { RealmHub } from "../../../src/adapters/inspect/realms.ts";
import { Share, SLICE_MS } from "../../../src/adapters/inspect/share.ts";
import { channelOf, HELLO, makeInspector, post, type Question } from "../../../src/adapters/inspect/threads.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import type { Steps } from "../../../src/util/steps.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Lets time pass whenever nothing else happens. */
async function until<T>(clock: FakeClock, done: Promise<T>): Promise<T> {
  let isOver = false;
  const finish = (): void => {
    isOver = true;
  };
  done.then(finish, finish);
  while (!isOver) {
    await turn();
    clock.advance(Number.POSITIVE_INFINITY);
  }
  return await done;
}

/** Work of so many steps of a millisecond each, which notes when it worked. */
function* work(clock: FakeClock, name: string, steps: number, notes: string[]): Steps<string> {
  for (let i = 0; i < steps; i++) {
    clock.advance(1);
    notes.push(`${name} ${clock.now()}`);
    yield;
  }
  return name;
}

it("long work is done in slices, and all that stands in the line takes one part of the time", async () => {
  const clock = new FakeClock();
  const share = new Share(4, clock);
  const notes: string[] = [];
  const both = Promise.all([
    share.finish(work(clock, "a", 40, notes)),
    share.finish(work(clock, "b", 40, notes)),
    share.run(() => notes.push("piece")),
  ]);
  expect(await until(clock, both)).toEqual(["a", "b", expect.any(Number)]);
  // In turn: a slice of one, a slice of the other, and not the one after the other.
  const order = notes.map((note) => note[0]).join("");
  expect(order.match(/a+|b+|p+/g)!.every((run) => run.length <= SLICE_MS)).toBe(true);
  expect(order.match(/a+/g)).toHaveLength(40 / SLICE_MS);
  expect(clock.now()).toBe(5 * 80);
});

it("what nobody waits for any more is given up", async () => {
  const clock = new FakeClock();
  const share = new Share(4, clock);
  const notes: string[] = [];
  const steps = work(clock, "a", 1000, notes);
  expect(
    await until(
      clock,
      share.finish(steps, () => notes.length < 20),
    ),
  ).toBeUndefined();
  expect(notes.length).toBeLessThan(20 + SLICE_MS);
  expect(steps.next().done).toBe(true);
});

it("work that throws ends nothing else", async () => {
  const clock = new FakeClock();
  const share = new Share(19, clock);
  const failed = share.run(() => {
    throw new Error("its own");
  });
  await expect(until(clock, failed)).rejects.toThrow("its own");
  expect(
    await until(
      clock,
      share.run(() => 7),
    ),
  ).toBe(7);
});

it("however many look, the realms are read once for all of them, and take a twentieth of the time", async () => {
  const clock = new FakeClock();
  const own = await makeInspector();
  const snapshot = own.snapshot.bind(own);
  const reads = vi.spyOn(own, "snapshot").mockImplementation(() => {
    clock.advance(10);
    return snapshot();
  });
  const hub = new RealmHub(own, clock);
  onTestFinished(() => hub.close());
  const stop = hub.look();
  const sent = new Set<unknown>();
  for (let round = 1; round <= 5; round++) {
    const viewers = Array.from({ length: 8 }, () =>
      hub.view((view) => {
        // A millisecond to send it.
        clock.advance(1);
        sent.add(view.update(0, false));
      }),
    );
    await until(clock, Promise.all(viewers));
    expect([reads.mock.calls.length, sent.size]).toEqual([round, round]);
  }
  stop();
  // Five rounds of 18 ms, and a pause after each but the last.
  expect(clock.now()).toBe(4 * 18 * 20 + 18);
});

it("a viewer that comes and goes begins and ends the recording as rarely as looking may take time", async () => {
  const clock = new FakeClock();
  const own = await makeInspector();
  const look = own.look.bind(own);
  let ends = 0;
  const looks = vi.spyOn(own, "look").mockImplementation(() => {
    clock.advance(20);
    const end = look();
    return () => {
      clock.advance(20);
      ends++;
      end();
    };
  });
  const hub = new RealmHub(own, clock);
  onTestFinished(() => hub.close());
  for (let i = 0; i < 100; i++) {
    const end = hub.look();
    await turn();
    end();
    clock.advance(5);
    await turn();
  }
  // 500 ms: one beginning, of which 380 ms of rest come, and at most one end of the same price.
  expect([looks.mock.calls.length, ends <= 1]).toEqual([1, true]);
  for (let i = 0; i < 10; i++) {
    clock.advance(400);
    await turn();
  }
  expect([hub.isRecording, own.isRecording, looks.mock.calls.length, ends]).toEqual([false, false, 1, 1]);
});

it("a recording comes from one copy of the package in a worker, though several hear the question", async () => {
  const thread = 4000;
  const clock = new FakeClock();
  const hub = new RealmHub(await makeInspector(), clock);
  onTestFinished(() => hub.close());
  post(HELLO, { type: "started", thread });
  const about = { thread: "worker", pools: [], dropped: 0, droppedSpans: 0, from: 0, to: 1 };
  const copies = [1, 2].map((copy) => {
    const channel = new BroadcastChannel(channelOf(thread));
    onTestFinished(() => channel.close());
    const heard: unknown[] = [];
    channel.onmessage = (event: unknown) => {
      const { data: question } = event as { readonly data: Question };
      if (question.type === "poll") {
        channel.postMessage({ snapshot: "{}", events: [], dropped: 0, next: 0, pause: 0 });
      } else if (question.type === "recording") {
        heard.push(question.copy);
        if ((question.copy ?? copy) !== copy) return;
        const isLast = heard.length === 3;
        const part = heard.length === 1 ? { about } : { texts: [`copy ${copy}`] };
        channel.postMessage({ trace: question.trace, copy, parts: [JSON.stringify(part)], isLast });
      }
    };
    return heard;
  });
  await until(
    clock,
    hub.view(() => {}),
  );
  expect(await until(clock, hub.recordings())).toEqual([{ ...about, events: [], spans: [] }]);
  const [first] = copies;
  expect(first![0]).toBeUndefined();
  expect(new Set(first!.slice(1)).size).toBe(1);
  expect([1, 2]).toContain(first![1]);
  expect(copies[1]).toEqual(first);
});

it("a recording is left out whose worker ends before its next part, or says that it is lost", async () => {
  const clock = new FakeClock();
  const hub = new RealmHub(await makeInspector(), clock);
  onTestFinished(() => hub.close());
  const threads = [4001, 4002];
  for (const thread of threads) {
    post(HELLO, { type: "started", thread });
    const channel = new BroadcastChannel(channelOf(thread));
    onTestFinished(() => channel.close());
    let asked = 0;
    channel.onmessage = (event: unknown) => {
      const { data: question } = event as { readonly data: Question };
      if (question.type === "poll") {
        channel.postMessage({ snapshot: "{}", events: [], dropped: 0, next: 0, pause: 0 });
      } else if (question.type === "recording") {
        const { trace } = question;
        if (++asked > 1 && thread === 4001) post(HELLO, { type: "ended", thread });
        else if (asked > 1) channel.postMessage({ trace, copy: 1, parts: [], isLast: true, isLost: true });
        else {
          const about = { thread: "worker", pools: [], dropped: 0, droppedSpans: 0, from: 0, to: 1 };
          channel.postMessage({ trace, copy: 1, parts: [JSON.stringify({ about })], isLast: false });
        }
      }
    };
  }
  await until(
    clock,
    hub.view(() => {}),
  );
  expect(await until(clock, hub.recordings())).toEqual([]);
});
