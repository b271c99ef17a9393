import { BroadcastChannel, threadId } from "node:worker_threads";
import { expect, it, onTestFinished, vi } from "vitest";
import { answerMainThread, channelOf } from "../../../src/adapters/inspect/threads.ts";

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
