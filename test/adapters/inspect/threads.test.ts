import { BroadcastChannel, threadId } from "node:worker_threads";
import { expect, it, onTestFinished, vi } from "vitest";
import {
  answerMainThread,
  channelOf,
  type Question,
  type RecordingAnswer,
} from "../../../src/adapters/inspect/threads.ts";
import type { Recording } from "../../../src/observe/recorder.ts";
import type { Steps } from "../../../src/util/steps.ts";

/** The inspector's module loads when the test says so. */
const load = vi.hoisted(() => {
  const state = { began: () => {}, end: () => {}, looks: 0 };
  const hasBegun = new Promise<void>((resolve) => {
    state.began = resolve;
  });
  const hasEnded = new Promise<void>((resolve) => {
    state.end = resolve;
  });
  return Object.assign(state, { hasBegun, hasEnded });
});
vi.mock("../../../src/observe/realm-inspector.ts", async () => {
  load.began();
  await load.hasEnded;
  return {
    RealmInspector: class {
      look(): () => void {
        load.looks++;
        return () => {};
      }
      snapshot(): object {
        return {};
      }
      eventsFrom(): object {
        return {};
      }
      *recordingSteps(): Steps<Recording> {
        const text = "t".repeat(200);
        const events = Array.from({ length: 4000 }, (_, i) => {
          return { type: "acquire", time: i, pool: 1, subject: 0, value: i, text: `${i}${text}` } as const;
        });
        return { thread: "worker", pools: [], events, spans: [], dropped: 0, droppedSpans: 0, from: 0, to: 1 };
      }
    },
  };
});

it("a worker whose server closes while it prepares its first answer does not begin to record", async () => {
  const close = answerMainThread();
  const main = new BroadcastChannel(channelOf(threadId));
  onTestFinished(() => main.close());
  main.postMessage({ type: "poll", record: true, from: 0 });
  await load.hasBegun;
  close();
  load.end();
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(load.looks).toBe(0);
});

it("a worker that is asked for too many recordings says which is lost, and begins none of them a second time", async () => {
  load.end();
  onTestFinished(answerMainThread());
  const main = new BroadcastChannel(channelOf(threadId));
  onTestFinished(() => main.close());
  const answers = new Map<number, RecordingAnswer[]>();
  main.onmessage = (event: unknown) => {
    const { data: answer } = event as { readonly data: RecordingAnswer };
    answers.set(answer.trace, [...(answers.get(answer.trace) ?? []), answer]);
  };
  const askFor = async (trace: number, copy?: number): Promise<RecordingAnswer> => {
    const count = answers.get(trace)?.length ?? 0;
    main.postMessage({ type: "recording", trace, copy } satisfies Question);
    await expect.poll(() => answers.get(trace)?.length, { timeout: 20_000 }).toBe(count + 1);
    return answers.get(trace)!.at(-1)!;
  };
  const { copy } = await askFor(1);
  for (const trace of [2, 3, 4]) await askFor(trace);
  // Asked for again: it is not the oldest any more.
  expect((await askFor(1, copy)).isLost).toBeUndefined();
  for (const trace of [5, 6]) await askFor(trace);
  expect(await askFor(2, copy)).toMatchObject({ parts: [], isLast: true, isLost: true });
  expect(await askFor(3, copy)).toMatchObject({ parts: [], isLast: true, isLost: true });
  const parts: string[] = answers.get(1)!.flatMap((answer) => answer.parts);
  for (let isLast = false; !isLast; ) {
    const answer = await askFor(1, copy);
    expect(answer.isLost).toBeUndefined();
    parts.push(...answer.parts);
    isLast = answer.isLast;
  }
  const events = parts.flatMap((part) => (JSON.parse(part) as { readonly events?: unknown[] }).events ?? []);
  expect(events).toHaveLength(4000);
});
