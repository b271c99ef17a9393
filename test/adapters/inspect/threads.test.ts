import { BroadcastChannel, threadId } from "node:worker_threads";
import { expect, it, onTestFinished, vi } from "vitest";
import { answerMainThread, channelOf } from "../../../src/adapters/inspect/threads.ts";
import { RealmInspector } from "../../../src/observe/realm-inspector.ts";

it("a worker whose server closes while it prepares its first answer does not begin to record", async () => {
  const look = vi.spyOn(RealmInspector.prototype, "look");
  onTestFinished(() => look.mockRestore());
  const close = answerMainThread();
  const main = new BroadcastChannel(channelOf(threadId));
  onTestFinished(() => main.close());
  // Hears the question in the same turn as the worker, which has to load its answer first.
  const spy = new BroadcastChannel(channelOf(threadId));
  const asked = new Promise<void>((resolve) => {
    spy.onmessage = () => resolve();
  });
  main.postMessage({ type: "poll", record: true, from: 0 });
  await asked;
  close();
  spy.close();
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(look).not.toHaveBeenCalled();
});
