import { describe, expect, it, vi } from "vitest";
import { abortable, onAbort } from "../../src/util/abortable.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { lateErrors } from "../helpers/late-errors.ts";

/** A signal that counts its listeners, and does what a test wants of it. */
class CountingSignal extends EventTarget {
  aborted = false;
  reason: unknown = undefined;
  readonly listeners: Set<unknown> = new Set();
  override addEventListener(type: string, listener: never, options?: never): void {
    this.listeners.add(listener);
    super.addEventListener(type, listener, options);
  }
  override removeEventListener(type: string, listener: never): void {
    this.listeners.delete(listener);
    super.removeEventListener(type, listener);
  }
  abort(reason: unknown): void {
    this.aborted = true;
    this.reason = reason;
    this.dispatchEvent(new Event("abort"));
  }
  get signal(): AbortSignal {
    return this as unknown as AbortSignal;
  }
}

const settled = (wait: Promise<unknown>): Promise<unknown> =>
  wait.then(
    (value) => ["resolved", value],
    (error: unknown) => ["rejected", error],
  );

describe("a wait that a signal can end", () => {
  it("a signal that is aborted before ends it with its reason, and nothing is begun", async () => {
    const signal = new CountingSignal();
    const reason = { why: "before" };
    signal.abort(reason);
    const begin = vi.fn();
    expect(await settled(abortable(signal.signal, begin))).toEqual(["rejected", reason]);
    expect([begin.mock.calls.length, signal.listeners.size]).toEqual([0, 0]);
  });

  it("a signal that is aborted while it waits ends it with its very reason, then what was set up is undone", async () => {
    const signal = new CountingSignal();
    const reason = { why: "during" };
    const undone: string[] = [];
    const wait = abortable<void>(signal.signal, ({ onEnd }) => {
      onEnd(() => undone.push("first"));
      onEnd(() => undone.push("second"));
    });
    expect([signal.listeners.size, undone]).toEqual([1, []]);
    signal.abort(reason);
    expect([signal.listeners.size, undone]).toEqual([0, ["second", "first"]]);
    const [how, why] = (await settled(wait)) as [string, unknown];
    expect([how, why === reason]).toEqual(["rejected", true]);
  });

  it.each([
    ["a value", "resolve", "resolved"],
    ["an error", "reject", "rejected"],
  ] as const)(
    "a wait that ended with %s listens no more, and an abort after it changes nothing",
    async (_, verb, how) => {
      const signal = new CountingSignal();
      const undo = vi.fn();
      const wait = abortable<number>(signal.signal, (own) => {
        own.onEnd(undo);
        own[verb](7);
      });
      expect([signal.listeners.size, undo.mock.calls.length]).toEqual([0, 1]);
      signal.abort("late");
      expect(await settled(wait)).toEqual([how, 7]);
      expect(undo).toHaveBeenCalledTimes(1);
    },
  );

  it("only the first end counts, and what is to be undone after the end is undone at once", async () => {
    const undo = vi.fn();
    const wait = abortable<number>(undefined, ({ resolve, reject, onEnd }) => {
      resolve(1);
      reject(new Error("no"));
      resolve(2);
      onEnd(undo);
    });
    expect(undo).toHaveBeenCalledTimes(1);
    expect(await settled(wait)).toEqual(["resolved", 1]);
  });

  it("what begin throws ends it, and what it had set up until then is undone", async () => {
    const signal = new CountingSignal();
    const undo = vi.fn();
    const broken = new Error("no port");
    const wait = abortable(signal.signal, ({ onEnd }) => {
      onEnd(undo);
      throw broken;
    });
    expect(await settled(wait)).toEqual(["rejected", broken]);
    expect([undo.mock.calls.length, signal.listeners.size]).toEqual([1, 0]);
  });

  it("a clock that aborts the signal while the timer is set leaves no timer behind", async () => {
    const signal = new CountingSignal();
    const clock = new FakeClock();
    const wait = abortable<void>(signal.signal, ({ resolve, onEnd }) => {
      signal.abort("in the clock");
      const timer = clock.setTimer(() => resolve(), 5, true);
      onEnd(() => clock.clearTimer(timer));
    });
    expect(await settled(wait)).toEqual(["rejected", "in the clock"]);
    expect(clock.pending).toBe(0);
  });

  it("an undoing that throws stops neither the others nor the answer, and surfaces", async () => {
    const broken = new Error("undo");
    const last = vi.fn();
    let answer: unknown;
    const seen = await lateErrors(async () => {
      const wait = abortable<number>(undefined, ({ resolve, onEnd }) => {
        onEnd(last);
        onEnd(() => {
          throw broken;
        });
        resolve(3);
      });
      answer = await settled(wait);
    });
    expect([answer, seen, last.mock.calls.length]).toEqual([["resolved", 3], [broken.message], 1]);
  });
});

describe("a hostile signal", () => {
  it("whose addEventListener throws ends the wait with that, and nothing is begun", async () => {
    const signal = new CountingSignal();
    const broken = new Error("no listeners");
    signal.addEventListener = () => {
      throw broken;
    };
    const begin = vi.fn();
    expect(await settled(abortable(signal.signal, begin))).toEqual(["rejected", broken]);
    expect(begin).not.toHaveBeenCalled();
  });

  it("that aborts itself inside addEventListener, without an event, is heard", async () => {
    const signal = new CountingSignal();
    signal.addEventListener = () => {
      signal.aborted = true;
      signal.reason = "inside";
    };
    expect(await settled(abortable(signal.signal, () => {}))).toEqual(["rejected", "inside"]);
  });

  it("that calls its listener twice, and after it was removed, is heard once", () => {
    const signal = new CountingSignal();
    let kept: () => void = () => {};
    signal.addEventListener = (_type: string, listener: never) => {
      kept = listener;
    };
    const heard = vi.fn();
    const stop = onAbort(signal.signal, heard);
    kept();
    kept();
    expect(heard).toHaveBeenCalledTimes(1);
    const second = vi.fn();
    onAbort(signal.signal, second)();
    kept();
    stop();
    expect(second).not.toHaveBeenCalled();
  });

  it("whose reason cannot be read ends the wait with what that throws", async () => {
    const signal = new CountingSignal();
    const broken = new Error("no reason");
    const wait = abortable(signal.signal, () => {});
    Object.defineProperty(signal, "reason", {
      get() {
        throw broken;
      },
      set() {},
    });
    signal.abort("unread");
    expect(await settled(wait)).toEqual(["rejected", broken]);
  });

  it("whose removeEventListener throws does not keep the wait from ending; the error surfaces", async () => {
    const signal = new CountingSignal();
    const broken = new Error("cannot remove");
    signal.removeEventListener = () => {
      throw broken;
    };
    let answer: unknown;
    const seen = await lateErrors(async () => {
      answer = await settled(abortable<number>(signal.signal, ({ resolve }) => resolve(4)));
    });
    expect([answer, seen]).toEqual([["resolved", 4], [broken.message]]);
  });
});
