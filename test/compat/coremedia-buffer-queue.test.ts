// Shares its realm with other files: nothing that it changes outlives it.
/**
 * CMBufferQueue by the rules of its header, under its own names; every buffer's reference is where it belongs at the
 * end of every path.
 */
import { describe, expect, it } from "vitest";
import {
  CFGetRetainCount,
  CFGetTypeID,
  CFRelease,
  type CFTypeRef,
  type CMBlockBuffer,
  CMBlockBufferCreateEmpty,
  type CMBufferCallbacks,
  CMBufferQueue,
  CMBufferQueueCallForEachBuffer,
  CMBufferQueueContainsEndOfData,
  CMBufferQueueCopyHead,
  CMBufferQueueCreate,
  CMBufferQueueDequeueAndRetain,
  CMBufferQueueDequeueIfDataReadyAndRetain,
  CMBufferQueueEnqueue,
  CMBufferQueueGetBufferCount,
  CMBufferQueueGetCallbacksForSampleBuffersSortedByOutputPTS,
  CMBufferQueueGetCallbacksForUnsortedSampleBuffers,
  CMBufferQueueGetDuration,
  CMBufferQueueGetEndPresentationTimeStamp,
  CMBufferQueueGetFirstDecodeTimeStamp,
  CMBufferQueueGetFirstPresentationTimeStamp,
  CMBufferQueueGetHead,
  CMBufferQueueGetMaxPresentationTimeStamp,
  CMBufferQueueGetMinDecodeTimeStamp,
  CMBufferQueueGetMinPresentationTimeStamp,
  CMBufferQueueGetTotalSize,
  CMBufferQueueGetTypeID,
  CMBufferQueueInstallTrigger,
  CMBufferQueueInstallTriggerWithIntegerThreshold,
  CMBufferQueueIsAtEndOfData,
  CMBufferQueueIsEmpty,
  CMBufferQueueMarkEndOfData,
  CMBufferQueueRemoveTrigger,
  CMBufferQueueReset,
  CMBufferQueueResetWithCallback,
  CMBufferQueueSetValidationCallback,
  CMBufferQueueTestTrigger,
  CMBufferQueueTriggerToken,
  kCMBufferQueueError_BadTriggerDuration,
  kCMBufferQueueError_CannotModifyQueueFromTriggerCallback,
  kCMBufferQueueError_EnqueueAfterEndOfData,
  kCMBufferQueueError_InvalidBuffer,
  kCMBufferQueueError_InvalidCMBufferCallbacksStruct,
  kCMBufferQueueError_InvalidTriggerCondition,
  kCMBufferQueueError_InvalidTriggerToken,
  kCMBufferQueueError_QueueIsFull,
  kCMBufferQueueError_RequiredParameterMissing,
  kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan,
  kCMBufferQueueTrigger_WhenBufferCountBecomesLessThan,
  kCMBufferQueueTrigger_WhenDataBecomesReady,
  kCMBufferQueueTrigger_WhenDurationBecomesGreaterThan,
  kCMBufferQueueTrigger_WhenDurationBecomesGreaterThanOrEqualTo,
  kCMBufferQueueTrigger_WhenDurationBecomesLessThan,
  kCMBufferQueueTrigger_WhenDurationBecomesLessThanOrEqualTo,
  kCMBufferQueueTrigger_WhenEndOfDataReached,
  kCMBufferQueueTrigger_WhenMaxPresentationTimeStampChanges,
  kCMBufferQueueTrigger_WhenMinPresentationTimeStampChanges,
  kCMBufferQueueTrigger_WhenReset,
} from "../../src/compat/coremedia.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { thrownBy } from "./thrown-by.ts";

const unsorted = CMBufferQueueGetCallbacksForUnsortedSampleBuffers();
const byOutputPts = CMBufferQueueGetCallbacksForSampleBuffersSortedByOutputPTS();

function timed(pts: bigint, duration = 10n, bytes = 4, dts: bigint = pts): MediaBuffer {
  const buffer = MediaBuffer.allocate(bytes);
  buffer.pts = pts;
  buffer.dts = dts;
  buffer.duration = duration;
  return buffer;
}

/** Enqueues buffers, which the queue alone holds then. */
function filled(times: readonly bigint[], callbacks: CMBufferCallbacks = unsorted): CMBufferQueue {
  const queue = CMBufferQueueCreate(0, callbacks);
  for (const pts of times) give(queue, timed(pts));
  return queue;
}

function give(queue: CMBufferQueue, buffer: MediaBuffer): MediaBuffer {
  CMBufferQueueEnqueue(queue, buffer);
  CFRelease(buffer);
  return buffer;
}

describe("a buffer queue", () => {
  it("is first in, first out with the callbacks for unsorted buffers, and by time with those for output PTS", () => {
    for (const [callbacks, order] of [
      [unsorted, [30n, 10n, 20n, 10n]],
      [byOutputPts, [10n, 10n, 20n, 30n]],
    ] as const) {
      const queue = filled([30n, 10n, 20n, 10n], callbacks);
      const out: (bigint | undefined)[] = [];
      for (let next = CMBufferQueueDequeueAndRetain(queue); next; next = CMBufferQueueDequeueAndRetain(queue)) {
        out.push(next.pts);
        CFRelease(next);
      }
      expect([out, CMBufferQueueGetHead(queue), CMBufferQueueCopyHead(queue)]).toEqual([order, null, null]);
    }
  });

  it("retains what is enqueued, and hands its reference to who dequeues", () => {
    const queue = CMBufferQueueCreate(0, unsorted);
    const buffer = timed(0n);
    CMBufferQueueEnqueue(queue, buffer);
    expect(buffer.refCount).toBe(2);
    expect([CMBufferQueueGetHead(queue), buffer.refCount]).toEqual([buffer, 2]);
    expect([CMBufferQueueCopyHead(queue), buffer.refCount]).toEqual([buffer, 3]);
    expect([CMBufferQueueDequeueAndRetain(queue), buffer.refCount]).toEqual([buffer, 3]);
    for (let i = 0; i < 3; i++) CFRelease(buffer);
    expect(buffer.isLive).toBe(false);
  });

  it("tells durations, sizes, and first, least, greatest and end times", () => {
    const queue = CMBufferQueueCreate(0, unsorted);
    for (const [pts, duration, bytes, dts] of [
      [30n, 5n, 1, 2n],
      [10n, 50n, 2, 1n],
      [20n, 7n, 4, 3n],
    ] as const)
      give(queue, timed(pts, duration, bytes, dts));
    expect([
      CMBufferQueueGetBufferCount(queue),
      CMBufferQueueGetDuration(queue),
      CMBufferQueueGetTotalSize(queue),
      CMBufferQueueGetFirstPresentationTimeStamp(queue),
      CMBufferQueueGetMinPresentationTimeStamp(queue),
      CMBufferQueueGetMaxPresentationTimeStamp(queue),
      CMBufferQueueGetEndPresentationTimeStamp(queue),
      CMBufferQueueGetFirstDecodeTimeStamp(queue),
      CMBufferQueueGetMinDecodeTimeStamp(queue),
    ]).toEqual([3, 62n, 7, 30n, 10n, 30n, 60n, 2n, 1n]);
    CMBufferQueueReset(queue);
    expect([CMBufferQueueGetDuration(queue), CMBufferQueueGetMinPresentationTimeStamp(queue)]).toEqual([0n, undefined]);
  });

  it("is full with its capacity, -12764, and 0 is no bound; a buffer that is refused is not retained", () => {
    const queue = CMBufferQueueCreate(1, unsorted);
    give(queue, timed(0n));
    const buffer = timed(1n);
    const error = thrownBy(() => CMBufferQueueEnqueue(queue, buffer));
    expect(error).toMatchObject({ status: kCMBufferQueueError_QueueIsFull, code: "ERR_POOL_FULL" });
    expect(buffer.refCount).toBe(1);
    expect(CMBufferQueueGetBufferCount(filled(Array(500).fill(1n)))).toBe(500);
  });

  it("takes nothing after the end of data, -12763, is at its end once empty, and a reset opens it", () => {
    const queue = filled([1n]);
    const buffer = timed(2n);
    CMBufferQueueMarkEndOfData(queue);
    expect(thrownBy(() => CMBufferQueueEnqueue(queue, buffer)).status).toBe(kCMBufferQueueError_EnqueueAfterEndOfData);
    expect([buffer.refCount, CMBufferQueueContainsEndOfData(queue), CMBufferQueueIsAtEndOfData(queue)]).toEqual([
      1,
      true,
      false,
    ]);
    CFRelease(CMBufferQueueDequeueAndRetain(queue)!);
    expect([CMBufferQueueIsAtEndOfData(queue), CMBufferQueueIsEmpty(queue)]).toEqual([true, true]);
    CMBufferQueueReset(queue);
    expect([CMBufferQueueContainsEndOfData(queue), CMBufferQueueIsAtEndOfData(queue)]).toEqual([false, false]);
    CMBufferQueueEnqueue(queue, buffer);
  });

  it("null is empty and always at its end, as the header says", () => {
    expect([
      CMBufferQueueIsEmpty(null),
      CMBufferQueueContainsEndOfData(null),
      CMBufferQueueIsAtEndOfData(null),
    ]).toEqual([true, true, true]);
  });

  it("a forgotten argument is not null: undefined is refused where null is a value, with -12761", () => {
    const queue = CMBufferQueueCreate(0, unsorted);
    for (const call of [
      () => CMBufferQueueIsEmpty(undefined as never),
      () => CMBufferQueueContainsEndOfData(undefined as never),
      () => CMBufferQueueIsAtEndOfData(undefined as never),
      () => CMBufferQueueInstallTrigger(queue, undefined as never, null, 9),
      () => CMBufferQueueInstallTriggerWithIntegerThreshold(queue, undefined as never, null, 10, 1),
      () => CMBufferQueueSetValidationCallback(queue, undefined as never),
    ]) {
      const error = thrownBy(call);
      expect([String(call), error.code, error.status]).toEqual([
        String(call),
        "ERR_INVALID_ARG_TYPE",
        kCMBufferQueueError_RequiredParameterMissing,
      ]);
    }
    CFRelease(queue);
  });

  it("a time that is not a bigint is refused with -12765 also where the condition needs none", () => {
    const queue = CMBufferQueueCreate(0, unsorted);
    for (const time of [null, 5, "1", Number.NaN, {}, Symbol("1")] as never[])
      expect(thrownBy(() => CMBufferQueueInstallTrigger(queue, null, null, 9, time)).status).toBe(
        kCMBufferQueueError_BadTriggerDuration,
      );
    CMBufferQueueInstallTrigger(queue, null, null, 9, 1n);
    CMBufferQueueInstallTrigger(queue, null, null, 9);
    CFRelease(queue);
  });

  it("releases its buffers when it is reset, and with its last release", () => {
    const buffers = [timed(0n), timed(1n)];
    const queue = CMBufferQueueCreate(0, unsorted);
    give(queue, buffers[0]!);
    CMBufferQueueReset(queue);
    give(queue, buffers[1]!);
    expect(buffers.map((buffer) => buffer.isLive)).toEqual([false, true]);
    CFRelease(queue);
    expect(buffers[1]!.isLive).toBe(false);
    expect(thrownBy(() => CMBufferQueueGetBufferCount(queue))).toMatchObject({
      status: kCMBufferQueueError_RequiredParameterMissing,
      code: "ERR_USE_AFTER_RELEASE",
    });
  });

  it("ResetWithCallback shows each buffer first; CallForEachBuffer stops at a status; what a callback throws changes nothing", () => {
    const queue = filled([1n, 2n, 3n]);
    const seen: unknown[] = [];
    const status = CMBufferQueueCallForEachBuffer(
      queue,
      (buffer, refcon) => {
        seen.push([buffer.pts, refcon]);
        return buffer.pts === 2n ? -5 : 0;
      },
      "r",
    );
    expect([status, seen]).toEqual([
      -5,
      [
        [1n, "r"],
        [2n, "r"],
      ],
    ]);
    expect(CMBufferQueueCallForEachBuffer(queue, () => 0)).toBe(0);
    expect(() =>
      CMBufferQueueResetWithCallback(queue, () => {
        throw new Error("mine");
      }),
    ).toThrow("mine");
    expect(CMBufferQueueGetBufferCount(queue)).toBe(3);
    const shown: unknown[] = [];
    CMBufferQueueResetWithCallback(queue, (buffer) => shown.push(buffer.pts));
    expect([shown, CMBufferQueueGetBufferCount(queue)]).toEqual([[1n, 2n, 3n], 0]);
  });

  it("holds whatever CFRetain takes, with callbacks that know its times", () => {
    const times = new Map<CFTypeRef, bigint>();
    const queue = CMBufferQueueCreate<CMBlockBuffer>(0, {
      getDuration: (buf, refcon) => (refcon as Map<CFTypeRef, bigint>).get(buf)!,
      compare: (a, b) => Number(times.get(a)! - times.get(b)!),
      refcon: times,
    });
    const packets = [CMBlockBufferCreateEmpty(null, 0, 0), CMBlockBufferCreateEmpty(null, 0, 0)];
    packets.forEach((packet, i) => {
      times.set(packet, BigInt(9 - i));
      CMBufferQueueEnqueue(queue, packet);
    });
    expect([CMBufferQueueGetHead(queue) === packets[1], CMBufferQueueGetDuration(queue)]).toEqual([true, 17n]);
    expect([CFGetRetainCount(packets[0]!), CMBufferQueueGetMinPresentationTimeStamp(queue)]).toEqual([2, undefined]);
    CFRelease(queue);
    expect(packets.map(CFGetRetainCount)).toEqual([1, 1]);
  });

  it("asks a validation callback, and throws what it answers; the buffer is not retained", () => {
    const queue = CMBufferQueueCreate(0, unsorted);
    const buffer = timed(0n);
    CMBufferQueueSetValidationCallback(
      queue,
      (its, buf, refcon) => (its === queue && buf === buffer ? Number(refcon) : 0),
      -77,
    );
    expect(thrownBy(() => CMBufferQueueEnqueue(queue, buffer))).toMatchObject({ status: -77, code: "ERR_BAD_DATA" });
    CMBufferQueueSetValidationCallback(queue, () => "no" as never);
    expect(thrownBy(() => CMBufferQueueEnqueue(queue, buffer)).status).toBe(kCMBufferQueueError_InvalidBuffer);
    CMBufferQueueSetValidationCallback(queue, () => {
      throw new RangeError("mine");
    });
    expect(() => CMBufferQueueEnqueue(queue, buffer)).toThrow(RangeError);
    expect([buffer.refCount, CMBufferQueueGetBufferCount(queue)]).toEqual([1, 0]);
    CMBufferQueueSetValidationCallback(queue, null);
    CMBufferQueueEnqueue(queue, buffer);
  });

  it("a callback that throws, or gives what is not a time, costs no reference: -12769", () => {
    const buffer = timed(0n);
    for (const bad of [undefined, null, 5, -1n, "1"] as never[]) {
      const queue = CMBufferQueueCreate(0, { getDuration: () => bad });
      expect(thrownBy(() => CMBufferQueueEnqueue(queue, buffer)).status).toBe(kCMBufferQueueError_InvalidBuffer);
      const other = CMBufferQueueCreate(0, { ...unsorted, getPresentationTimeStamp: () => 5 as never });
      expect(thrownBy(() => CMBufferQueueEnqueue(other, buffer)).status).toBe(kCMBufferQueueError_InvalidBuffer);
    }
    const throws = CMBufferQueueCreate(0, {
      getDuration: () => {
        throw new RangeError("mine");
      },
    });
    expect(() => CMBufferQueueEnqueue(throws, buffer)).toThrow(RangeError);
    expect(buffer.refCount).toBe(1);
    CFRelease(buffer);
    expect(thrownBy(() => CMBufferQueueEnqueue(filled([]), buffer))).toMatchObject({
      status: kCMBufferQueueError_InvalidBuffer,
      code: "ERR_USE_AFTER_RELEASE",
    });
  });

  it("DequeueIfDataReady leaves a buffer that is not ready, and one whose callback throws", () => {
    let ready: boolean | Error = false;
    const queue = filled([1n], {
      ...unsorted,
      isDataReady: () => {
        if (ready instanceof Error) throw ready;
        return ready;
      },
    });
    expect(CMBufferQueueDequeueIfDataReadyAndRetain(queue)).toBeNull();
    ready = new Error("mine");
    expect(() => CMBufferQueueDequeueIfDataReadyAndRetain(queue)).toThrow("mine");
    expect(CMBufferQueueGetHead(queue)?.refCount).toBe(1);
    ready = true;
    expect(CMBufferQueueDequeueIfDataReadyAndRetain(queue)?.pts).toBe(1n);
    expect(CMBufferQueueDequeueIfDataReadyAndRetain(queue)).toBeNull();
  });

  it("callbacks of another version, or that are none, are -12762; none at all is -12761", () => {
    const getDuration = (): bigint => 0n;
    const wrong: unknown[] = [
      {},
      { getDuration: 5 },
      { getDuration, version: 2 },
      { getDuration, compare: 5 },
      { getDuration, isDataReady: "x" },
    ];
    for (const callbacks of wrong)
      expect(thrownBy(() => CMBufferQueueCreate(0, callbacks as never)).status).toBe(
        kCMBufferQueueError_InvalidCMBufferCallbacksStruct,
      );
    for (const call of [
      () => CMBufferQueueCreate(0, null as never),
      () => CMBufferQueueCreate(-1, unsorted),
      () => CMBufferQueueCreate("4" as never, unsorted),
    ])
      expect(thrownBy(call).status).toBe(kCMBufferQueueError_RequiredParameterMissing);
  });

  it("refuses a misspelled callback, which would never be called, and names the one that was meant", () => {
    const error = thrownBy(() => CMBufferQueueCreate(0, { ...unsorted, isDataRedy: () => false } as never));
    expect(error).toMatchObject({ status: -12762, code: "ERR_INVALID_ARG_VALUE" });
    expect(error.message).toContain('callbacks.isDataRedy is not an option here; did you mean "isDataReady"?');
  });

  it("is made by CMBufferQueueCreate() only, says what it is, and nothing else passes for one, or for a buffer", () => {
    // @ts-expect-error the constructor is private
    expect(thrownBy(() => new CMBufferQueue()).message).toMatch(/CMBufferQueueCreate\(\)/);
    // @ts-expect-error the constructor is private
    expect(thrownBy(() => new CMBufferQueueTriggerToken()).message).toMatch(/CMBufferQueueInstallTrigger\(\)/);
    const queue = filled([1n, 2n]);
    expect(CFGetTypeID(queue)).toBe(CMBufferQueueGetTypeID());
    CMBufferQueueMarkEndOfData(queue);
    expect(String(queue)).toBe("CMBufferQueue of any number of buffers (2 in it, 20 ns, marked with the end of data)");
    const calls: ((queue: never) => unknown)[] = [
      (q) => CMBufferQueueEnqueue(q, timed(0n) as never),
      CMBufferQueueDequeueAndRetain,
      CMBufferQueueDequeueIfDataReadyAndRetain,
      CMBufferQueueGetHead,
      CMBufferQueueMarkEndOfData,
      CMBufferQueueReset,
      CMBufferQueueGetDuration,
      CMBufferQueueGetMaxPresentationTimeStamp,
      (q) => CMBufferQueueCallForEachBuffer(q, () => 0),
      (q) => CMBufferQueueInstallTrigger(q, () => {}, null, 9),
    ];
    for (const forged of [5, {}, "q", Symbol("q"), Object.create(CMBufferQueue.prototype)] as never[])
      for (const call of [...calls, CMBufferQueueIsEmpty, CMBufferQueueIsAtEndOfData])
        expect(thrownBy(() => call(forged))).toMatchObject({ status: -12761, code: "ERR_INVALID_ARG_TYPE" });
    for (const buffer of [null, undefined, 5, {}, Object.create(MediaBuffer.prototype) && new Uint8Array(4)] as never[])
      expect(thrownBy(() => CMBufferQueueEnqueue(filled([]), buffer)).status).toBe(-12761);
  });
});

describe("a trigger on a buffer queue", () => {
  const conditions: [string, number, (queue: CMBufferQueue) => void, number[]][] = [
    ["duration < 25", kCMBufferQueueTrigger_WhenDurationBecomesLessThan, () => {}, [0, 2]],
    ["duration <= 20", kCMBufferQueueTrigger_WhenDurationBecomesLessThanOrEqualTo, () => {}, [0, 2]],
    ["duration > 20", kCMBufferQueueTrigger_WhenDurationBecomesGreaterThan, () => {}, [3]],
    ["duration >= 20", kCMBufferQueueTrigger_WhenDurationBecomesGreaterThanOrEqualTo, () => {}, [2]],
  ];

  it.each(conditions)("fires once a crossing: %s", (name, condition, _, expected) => {
    const queue = filled([]);
    const fired: number[] = [];
    const time = BigInt(name.split(" ").at(-1)!);
    CMBufferQueueInstallTrigger(queue, () => fired.push(CMBufferQueueGetBufferCount(queue)), null, condition, time);
    for (const pts of [1n, 2n, 3n, 4n]) give(queue, timed(pts));
    for (let i = 0; i < 4; i++) CFRelease(CMBufferQueueDequeueAndRetain(queue)!);
    expect(fired).toEqual(expected);
  });

  it("fires for the number of buffers, for changes of the times, the end of data and resets", () => {
    const queue = filled([]);
    const fired: string[] = [];
    const note = (refcon: unknown): void => void fired.push(String(refcon));
    CMBufferQueueInstallTriggerWithIntegerThreshold(
      queue,
      note,
      "more than 1",
      kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan,
      1,
    );
    CMBufferQueueInstallTriggerWithIntegerThreshold(
      queue,
      note,
      "less than 2",
      kCMBufferQueueTrigger_WhenBufferCountBecomesLessThan,
      2,
    );
    CMBufferQueueInstallTrigger(queue, note, "min", kCMBufferQueueTrigger_WhenMinPresentationTimeStampChanges);
    CMBufferQueueInstallTrigger(queue, note, "max", kCMBufferQueueTrigger_WhenMaxPresentationTimeStampChanges);
    CMBufferQueueInstallTrigger(queue, note, "end", kCMBufferQueueTrigger_WhenEndOfDataReached);
    CMBufferQueueInstallTrigger(queue, note, "reset", kCMBufferQueueTrigger_WhenReset);
    const since = (run: () => void): string[] => {
      fired.length = 0;
      run();
      return [...fired];
    };
    expect(fired).toEqual(["less than 2"]);
    expect(since(() => give(queue, timed(5n)))).toEqual(["min", "max"]);
    expect(since(() => give(queue, timed(9n)))).toEqual(["more than 1", "max"]);
    expect(since(() => CFRelease(CMBufferQueueDequeueAndRetain(queue)!))).toEqual(["less than 2", "min"]);
    expect(since(() => CMBufferQueueMarkEndOfData(queue))).toEqual([]);
    expect(since(() => CFRelease(CMBufferQueueDequeueAndRetain(queue)!))).toEqual(["min", "max", "end"]);
    expect(since(() => CMBufferQueueReset(queue))).toEqual(["reset"]);
  });

  it("fires when the next buffer becomes ready, also when the queue is told of it", () => {
    let ready = false;
    const queue = filled([], { ...unsorted, isDataReady: () => ready });
    let fired = 0;
    const token = CMBufferQueueInstallTrigger(queue, () => fired++, null, kCMBufferQueueTrigger_WhenDataBecomesReady);
    give(queue, timed(1n));
    expect([fired, CMBufferQueueTestTrigger(queue, token)]).toEqual([0, false]);
    ready = true;
    queue.dataBecameReady();
    expect([fired, CMBufferQueueTestTrigger(queue, token)]).toEqual([1, true]);
  });

  it("gets its refcon and its token, and fires at once where the condition holds already", () => {
    const queue = filled([]);
    const got: unknown[] = [];
    const token = CMBufferQueueInstallTrigger(queue, (...args) => got.push(...args), "r", 1, 10n);
    expect([got.length, got[0], got[1] === token]).toEqual([2, "r", true]);
    const removesItself = CMBufferQueueInstallTrigger(
      queue,
      (_, its) => CMBufferQueueRemoveTrigger(queue, its),
      null,
      1,
      10n,
    );
    expect(thrownBy(() => CMBufferQueueTestTrigger(queue, removesItself)).status).toBe(
      kCMBufferQueueError_InvalidTriggerToken,
    );
    expect([String(token), String(removesItself)]).toEqual([
      "CMBufferQueueTriggerToken (installed)",
      "CMBufferQueueTriggerToken (removed)",
    ]);
  });

  it("may ask the queue everything; changing it is -12766, and nothing changes", () => {
    const queue = filled([]);
    const buffer = timed(9n);
    const seen: unknown[] = [];
    CMBufferQueueInstallTriggerWithIntegerThreshold(
      queue,
      (_, token) => {
        seen.push(
          CMBufferQueueGetBufferCount(queue),
          CMBufferQueueGetHead(queue)?.pts,
          CMBufferQueueTestTrigger(queue, token),
        );
        for (const change of [
          () => CMBufferQueueEnqueue(queue, buffer),
          () => CMBufferQueueDequeueAndRetain(queue),
          () => CMBufferQueueDequeueIfDataReadyAndRetain(queue),
          () => CMBufferQueueReset(queue),
          () => CMBufferQueueMarkEndOfData(queue),
          () => CMBufferQueueInstallTrigger(queue, () => {}, null, 9),
          () => CFRelease(queue),
        ])
          expect(thrownBy(change)).toMatchObject({
            status: kCMBufferQueueError_CannotModifyQueueFromTriggerCallback,
            code: "ERR_REENTRANT",
          });
      },
      null,
      kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan,
      0,
    );
    give(queue, timed(1n));
    expect([seen, buffer.refCount, CMBufferQueueGetBufferCount(queue)]).toEqual([[1, 1n, true], 1, 1]);
  });

  it("without a callback can be tested; removed, it neither fires nor can be tested", () => {
    const queue = filled([]);
    let fired = 0;
    const greater = kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan;
    const silent = CMBufferQueueInstallTriggerWithIntegerThreshold(queue, null, null, greater, 0);
    const token = CMBufferQueueInstallTriggerWithIntegerThreshold(queue, () => fired++, null, greater, 0);
    CMBufferQueueRemoveTrigger(queue, token);
    give(queue, timed(1n));
    expect([fired, CMBufferQueueTestTrigger(queue, silent)]).toEqual([0, true]);
    for (const bad of [token, {}, null, 5, Object.create(CMBufferQueueTriggerToken.prototype)] as never[])
      for (const call of [CMBufferQueueTestTrigger, CMBufferQueueRemoveTrigger])
        expect(thrownBy(() => call(queue, bad)).status).toBe(kCMBufferQueueError_InvalidTriggerToken);
    expect(thrownBy(() => CMBufferQueueTestTrigger(filled([]), silent)).status).toBe(
      kCMBufferQueueError_InvalidTriggerToken,
    );
  });

  it("a condition that is none is -12767, a time or threshold that is not a number -12765", () => {
    const queue = filled([]);
    for (const condition of [0, 10, 12, 1.5, "1", null] as never[])
      expect(thrownBy(() => CMBufferQueueInstallTrigger(queue, null, null, condition, 1n)).status).toBe(
        kCMBufferQueueError_InvalidTriggerCondition,
      );
    expect(thrownBy(() => CMBufferQueueInstallTriggerWithIntegerThreshold(queue, null, null, 1, 1)).status).toBe(
      -12767,
    );
    for (const time of [undefined, null, 5, "1", Number.NaN] as never[])
      expect(thrownBy(() => CMBufferQueueInstallTrigger(queue, null, null, 1, time)).status).toBe(
        kCMBufferQueueError_BadTriggerDuration,
      );
    for (const threshold of [1.5, Number.NaN, 1n, "1", null] as never[])
      expect(
        thrownBy(() => CMBufferQueueInstallTriggerWithIntegerThreshold(queue, null, null, 10, threshold)).status,
      ).toBe(-12765);
    expect(thrownBy(() => CMBufferQueueInstallTrigger(queue, 5 as never, null, 9)).status).toBe(-12761);
  });

  it("goes with the queue: the last release fires none", () => {
    const queue = filled([1n]);
    let fired = 0;
    CMBufferQueueInstallTrigger(queue, () => fired++, null, kCMBufferQueueTrigger_WhenReset);
    CFRelease(queue);
    expect(fired).toBe(0);
  });
});
