/** CMSimpleQueue by the rules of its header, in one thread and between two. */
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CFGetTypeID,
  CFRelease,
  CMSimpleQueue,
  CMSimpleQueueAttach,
  CMSimpleQueueCreate,
  CMSimpleQueueDequeue,
  CMSimpleQueueEnqueue,
  CMSimpleQueueGetCapacity,
  CMSimpleQueueGetCount,
  CMSimpleQueueGetFullness,
  CMSimpleQueueGetHead,
  CMSimpleQueueGetTypeID,
  CMSimpleQueueReset,
  kCMSimpleQueueError_ParameterOutOfRange,
  kCMSimpleQueueError_QueueIsFull,
  kCMSimpleQueueError_RequiredParameterMissing,
} from "../../src/compat/coremedia.ts";
import { REPEATED, times } from "../helpers/effort.ts";
import { thrownBy } from "./thrown-by.ts";

describe("a simple queue in one thread", () => {
  it("is first in, first out, for whatever is not null; an empty one answers null", () => {
    const queue = CMSimpleQueueCreate(8);
    const elements = [{}, "b", 0, -0, 7, -1, 1.5, Number.NaN, 2 ** 31, 5n, false, () => {}, Symbol("s")];
    const seen: unknown[] = [];
    for (const element of elements) {
      CMSimpleQueueEnqueue(queue, element as NonNullable<unknown>);
      expect(Object.is(CMSimpleQueueGetHead(queue), element)).toBe(true);
      seen.push(CMSimpleQueueDequeue(queue));
    }
    expect(seen.every((element, i) => Object.is(element, elements[i]))).toBe(true);
    expect([CMSimpleQueueDequeue(queue), CMSimpleQueueGetHead(queue)]).toEqual([null, null]);
  });

  it("has any capacity, and is full with exactly that many, whatever the order of calls", () => {
    const step = fc.constantFrom("in", "in", "object", "out", "out", "head", "reset");
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), fc.array(step, { maxLength: 400 }), (capacity, plan) => {
        const queue = CMSimpleQueueCreate(capacity);
        const model: unknown[] = [];
        let n = 0;
        for (const what of plan) {
          if (what === "in" || what === "object") {
            const element = what === "in" ? n++ : { n: n++ };
            if (model.length < capacity) {
              CMSimpleQueueEnqueue(queue, element);
              model.push(element);
            } else {
              const error = thrownBy(() => CMSimpleQueueEnqueue(queue, element));
              expect(error).toMatchObject({ status: kCMSimpleQueueError_QueueIsFull, code: "ERR_POOL_FULL" });
            }
          } else if (what === "out") expect(CMSimpleQueueDequeue(queue)).toBe(model.shift() ?? null);
          else if (what === "head") expect(CMSimpleQueueGetHead(queue)).toBe(model[0] ?? null);
          else if (n % 7 === 0) {
            CMSimpleQueueReset(queue);
            model.length = 0;
          }
          expect(CMSimpleQueueGetCount(queue)).toBe(model.length);
          expect(CMSimpleQueueGetFullness(queue)).toBe(model.length / capacity);
        }
        expect(CMSimpleQueueGetCapacity(queue)).toBe(capacity);
      }),
    );
  });

  it("is full with exactly its capacity where the ring below publishes pops an eighth at a time", () => {
    for (const capacity of [28, 29, 32, 56, 57, 64, 100, 200]) {
      const queue = CMSimpleQueueCreate(capacity);
      for (let n = 0; n < capacity; n++) CMSimpleQueueEnqueue(queue, n);
      for (let n = 0; n < 5 * capacity; n++) {
        expect(thrownBy(() => CMSimpleQueueEnqueue(queue, 0)).status).toBe(kCMSimpleQueueError_QueueIsFull);
        expect(CMSimpleQueueDequeue(queue)).toBe(n);
        CMSimpleQueueEnqueue(queue, n + capacity);
      }
    }
  });

  it("a capacity that cannot be is -12772, no element or no queue -12771", () => {
    for (const capacity of [0, -1, 1.5, Number.NaN, 2 ** 20, "8", null, undefined, {}] as never[])
      expect(thrownBy(() => CMSimpleQueueCreate(capacity)).status).toBe(kCMSimpleQueueError_ParameterOutOfRange);
    const queue = CMSimpleQueueCreate(1);
    for (const element of [null, undefined] as never[])
      expect(thrownBy(() => CMSimpleQueueEnqueue(queue, element))).toMatchObject({
        status: kCMSimpleQueueError_RequiredParameterMissing,
        code: "ERR_INVALID_ARG_TYPE",
      });
    for (const forged of [null, undefined, 5, {}, Object.create(CMSimpleQueue.prototype)] as never[])
      for (const call of [
        () => CMSimpleQueueEnqueue(forged, 1),
        () => CMSimpleQueueDequeue(forged),
        () => CMSimpleQueueGetHead(forged),
        () => CMSimpleQueueReset(forged),
        () => CMSimpleQueueGetCapacity(forged),
        () => CMSimpleQueueGetCount(forged),
        () => CMSimpleQueueGetFullness(forged),
      ])
        expect(thrownBy(call).status).toBe(kCMSimpleQueueError_RequiredParameterMissing);
  });

  it("is made by CMSimpleQueueCreate() only, says what it is, and is refused after its last release", () => {
    // @ts-expect-error the constructor is private
    expect(thrownBy(() => new CMSimpleQueue()).message).toMatch(/CMSimpleQueueCreate\(\)/);
    const queue = CMSimpleQueueCreate(3);
    CMSimpleQueueEnqueue(queue, 5);
    expect([String(queue), CFGetTypeID(queue)]).toEqual([
      "CMSimpleQueue of 3 elements (1 in it)",
      CMSimpleQueueGetTypeID(),
    ]);
    CFRelease(queue);
    expect(thrownBy(() => CMSimpleQueueDequeue(queue))).toMatchObject({
      status: -12771,
      code: "ERR_USE_AFTER_RELEASE",
    });
  });
});

describe("a simple queue between threads", () => {
  it(
    "hands 20,000 numbers at full length to a worker and back in order, through queues of 100 and 3",
    REPEATED,
    async () => {
      const total = times(1_000, 20_000);
      const [numbers, echoes] = [CMSimpleQueueCreate(100), CMSimpleQueueCreate(3)];
      const workerData = { numbers: numbers.handle, echoes: echoes.handle, total };
      const worker = new Worker(new URL("./coremedia.worker.ts", import.meta.url), { workerData, execArgv: [] });
      const failed = new Promise<never>((_, reject) => worker.once("error", reject));
      const ended = new Promise<number>((resolve) => worker.once("message", resolve));
      let sent = 0;
      let got = 0;
      let most = 0;
      while (got < total) {
        for (let burst = 0; burst < 1000 && got < total; burst++) {
          if (sent < total && CMSimpleQueueGetCount(numbers) < 100) CMSimpleQueueEnqueue(numbers, sent++);
          most = Math.max(most, CMSimpleQueueGetCount(echoes));
          const echo = CMSimpleQueueDequeue(echoes);
          if (echo === null) continue;
          if (echo !== 2 * got) throw new Error(`${String(echo)} came in the place of ${2 * got}`);
          got++;
        }
        // Lets the worker's error through.
        await Promise.race([failed, new Promise((resolve) => setImmediate(resolve))]);
      }
      await Promise.race([failed, ended]);
      expect([got, sent, CMSimpleQueueGetCount(numbers), most <= 3]).toEqual([total, total, 0, true]);
      await worker.terminate();
    },
  );

  it("takes whole numbers only once its handle was taken, and gives no handle while it has others in it", () => {
    const queue = CMSimpleQueueCreate(4);
    CMSimpleQueueEnqueue(queue, "not for another thread");
    expect(thrownBy(() => queue.handle)).toMatchObject({ status: -12772, code: "ERR_ACTIVE" });
    CMSimpleQueueReset(queue);
    const there = CMSimpleQueueAttach(queue.handle);
    for (const element of [{}, "7", -1, 0.5, 2 ** 31, true])
      expect(thrownBy(() => CMSimpleQueueEnqueue(queue, element)).status).toBe(-12772);
    CMSimpleQueueEnqueue(queue, 2 ** 31 - 1);
    expect([CMSimpleQueueGetCount(there), String(there)]).toEqual([
      1,
      "CMSimpleQueue of 4 elements (1 in it, between threads)",
    ]);
  });

  it("a second one that enqueues or dequeues is refused: two would take each other's elements", () => {
    const here = CMSimpleQueueCreate(4);
    const there = CMSimpleQueueAttach(here.handle);
    CMSimpleQueueEnqueue(here, 1);
    expect(CMSimpleQueueDequeue(there)).toBe(1);
    for (const call of [
      () => CMSimpleQueueEnqueue(there, 2),
      () => CMSimpleQueueDequeue(here),
      () => CMSimpleQueueGetHead(here),
      () => CMSimpleQueueReset(here),
    ]) {
      const error = thrownBy(call);
      expect(error).toMatchObject({ status: kCMSimpleQueueError_ParameterOutOfRange, code: "ERR_ALREADY_EXISTS" });
    }
    CMSimpleQueueEnqueue(here, 3);
    CMSimpleQueueReset(there);
    expect(CMSimpleQueueGetCount(here)).toBe(0);
  });

  it("a handle that is none, or that was tampered with, is refused", () => {
    const { handle } = CMSimpleQueueCreate(40);
    const wrong: unknown[] = [
      null,
      5,
      {},
      { memory: new SharedArrayBuffer(64), capacity: 4 },
      { ...handle, capacity: 70 },
      { ...handle, capacity: 0 },
      { ...handle, capacity: "40" },
      { memory: new ArrayBuffer(64), capacity: 40 },
    ];
    for (const one of wrong)
      expect(thrownBy(() => CMSimpleQueueAttach(one as never)).status).toBe(kCMSimpleQueueError_ParameterOutOfRange);
    expect(CMSimpleQueueGetCapacity(CMSimpleQueueAttach(structuredClone(handle)))).toBe(40);
  });

  it("counters that were damaged are told of, and give nothing out", () => {
    const queue = CMSimpleQueueCreate(4);
    const { memory } = queue.handle;
    Atomics.store(new Int32Array(memory), 16, 100);
    expect(thrownBy(() => CMSimpleQueueDequeue(queue))).toMatchObject({ status: -12772, code: "ERR_CORRUPTED" });
  });
});
