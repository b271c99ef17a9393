/**
 * What any hook may answer: a promise where nobody waits for one, and what throws when it is looked at. The table has
 * every hook that the base classes have.
 */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Element } from "../../src/pipeline/base/element.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform, type TransformMode } from "../../src/pipeline/base/transform.ts";
import { AppSource } from "../../src/pipeline/elements/app-source.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { type AllocationQuery, registerMetaMerger } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import type { StreamFormat } from "../../src/pipeline/stream-format.ts";
import { lateRejections } from "../helpers/late-errors.ts";
import { BLOCK, Collector, expectHome, Numbers } from "./kit.ts";

/** Where a hook stands in the pipeline of the tests. */
type Place = "source" | "stage" | "copy" | "in-place" | "sink" | "queue";

/** How its answer is used: waited for, an answer at once, or not at all. */
type Use = "awaited" | "at once" | "nothing";

interface Hook {
  readonly name: string;
  readonly place: Place;
  readonly use: Use;
  /** Also what the base class does with the call. */
  readonly isGetter?: boolean;
  /** What makes it be called. */
  readonly by?: "link" | "seek" | "end" | "again" | "describe";
}

const on = (place: Place, use: Use, names: readonly string[], more: Partial<Hook> = {}): Hook[] =>
  names.map((name) => ({ name, place, use, ...more }));

const HOOKS: readonly Hook[] = [
  ...on("stage", "awaited", ["start", "commit", "stop", "chain", "formatChanged", "onEos", "proposeAllocation"]),
  ...on("stage", "awaited", ["outputFor", "configure", "inspect", "drain"]),
  ...on("stage", "at once", ["acceptedCaps", "inputsFor"]),
  ...on("stage", "at once", ["freeInput", "freeOutput"], { by: "link" }),
  ...on("stage", "at once", ["waits"], { by: "link", isGetter: true }),
  ...on("stage", "at once", ["role"], { by: "describe", isGetter: true }),
  ...on("stage", "at once", ["retainedBuffers", "isPacedFromOutside", "task"], { isGetter: true }),
  ...on("stage", "nothing", ["unlock"]),
  ...on("stage", "nothing", ["onFlush"], { by: "seek" }),
  ...on("stage", "nothing", ["outputFinished"], { by: "end" }),
  ...on("stage", "nothing", ["reconfigureRequested"], { by: "again" }),
  ...on("copy", "awaited", ["transform", "decideAllocation"]),
  ...on("copy", "at once", ["keepsMeta", "sharesOutput"]),
  ...on("copy", "at once", ["retainedOutputBuffers"], { isGetter: true }),
  ...on("in-place", "awaited", ["transformInPlace"]),
  ...on("source", "awaited", ["next", "fill", "create", "decideAllocation"]),
  ...on("source", "awaited", ["seek"], { by: "seek" }),
  ...on("source", "at once", ["sharesOutput"]),
  ...on("source", "at once", ["usesPool", "retainedBuffers", "expectedBuffers"], { isGetter: true }),
  ...on("sink", "awaited", ["render", "configure", "finish"]),
  ...on("sink", "at once", ["retainedBuffers"], { isGetter: true }),
  ...on("queue", "awaited", ["begin"]),
  ...on("queue", "nothing", ["addRetained", "formatPassed"]),
];

/** Of the base classes: what is no hook, or is none that answers. */
const OTHERS: ReadonlySet<string> = new Set([
  ...["constructor", "addInput", "addOutput", "running", "mode", "copiesFirst", "agree", "lastBuffer", "requestEos"],
  // What users do not see.
  ...["isHeldOutside", "isIdle", "boundsChain", "onFormat", "prepare", "attach", "runningOrNull", "wakeWaiters"],
  ...["answerOf", "promiseOf", "tell", "answeredNow", "checkedAnswer", "answeredCaps", "answeredCount", "answeredWell"],
  ...["pace", "turnDue", "inLine", "settlement", "settling", "bounded", "boundedCall", "callHook", "addWaiters"],
]);

test("the table has every hook of the base classes", () => {
  const known = new Set([...HOOKS.map(({ name }) => name), ...OTHERS]);
  const all = [Element, Source, Transform, Sink].flatMap((base) => Object.getOwnPropertyNames(base.prototype));
  expect(all.filter((name) => !known.has(name))).toEqual([]);
});

class Pass extends Transform {
  constructor(mode: TransformMode) {
    super("hooked", { mode });
  }
  override transform(input: MediaBuffer, output: MediaBuffer): void {
    const mapped = input.map("read");
    output.fill(0, mapped.bytes);
    mapped.unmap();
  }
  override transformInPlace(): void {}
}

class Ask extends Collector {
  constructor(limit: number, again: boolean) {
    super(again || limit < 9 ? "sink" : "hooked", { limit, propose: ask });
  }
}

const ask = (query: AllocationQuery): boolean => {
  query.addMeta("test.kept");
  return true;
};

/** A pipeline with one hook that answers so, run in the way that calls it. */
async function runWith(hook: Hook, answer: () => unknown): Promise<void> {
  const { name, place, by, isGetter } = hook;
  const source = place === "source" ? new Numbers("hooked", 4) : new Numbers("numbers", 4);
  const modes: Partial<Record<Place, TransformMode>> = { copy: "copy", "in-place": "in-place" };
  const middle = place === "queue" ? new Queue({ name: "hooked" }) : new Pass(modes[place] ?? "passthrough");
  if (place === "source" || place === "sink") Object.defineProperty(middle, "name", { value: "middle" });
  const sink = new Ask(by === "end" ? 2 : 9, place !== "sink");
  const hooked: Element = place === "source" ? source : place === "sink" ? sink : middle;
  Object.defineProperty(hooked, name, isGetter === true ? { get: answer } : { value: answer });
  // Asks what is behind it, so that the hooks that say so are called.
  const next = source.next.bind(source);
  if (name !== "next") {
    Object.defineProperty(source, "next", {
      value: (): StreamFormat | undefined => {
        source.out.peerCaps();
        void middle.expectedBuffers;
        return next();
      },
    });
  }
  const pipeline = new Pipeline().link(source, middle, sink);
  if (by === "describe") return void pipeline.describe();
  let acted = false;
  const act = (): void => {
    if (acted) return;
    acted = true;
    if (by === "seek") void pipeline.seek(0).catch(() => {});
    if (by === "again") sink.in.reconfigure();
  };
  const render = sink.render.bind(sink);
  const renderAndAct = (buffer: MediaBuffer): unknown => {
    act();
    return render(buffer);
  };
  if (by === "seek" || by === "again") Object.defineProperty(sink, "render", { value: renderAndAct });
  try {
    await pipeline.run();
  } finally {
    // What the tests have in the place of these releases nothing.
    if (name !== "chain" && name !== "begin") expectHome(pipeline);
  }
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error;
  }
}

const rows = HOOKS.map((hook) => [`${hook.name}${hook.isGetter ? "" : "()"} of a ${hook.place}`, hook] as const);

describe("a promise that rejects is told, and is never an unhandled rejection:", () => {
  test.each(rows)("%s", async (_, hook) => {
    let error: unknown;
    const late = await lateRejections(async () => {
      error = await errorOf(runWith(hook, () => Promise.reject(new Error("later"))));
    });
    expect(late).toEqual([]);
    // At a link and in a description there is no run whose error it could be.
    const isRun = hook.by !== "link" && hook.by !== "describe";
    const typed = { code: "ERR_INVALID_ARG_TYPE" };
    if (hook.use === "at once") expect(error).toMatchObject(isLater(error) && isRun ? {} : typed);
    else expect(error).toMatchObject({ message: "later" });
  });

  const isLater = (error: unknown): boolean => (error as Error | undefined)?.message === "later";

  test.each(rows.filter(([, { use }]) => use === "at once"))("%s: one that resolves is no answer", async (_, hook) => {
    const error = await errorOf(runWith(hook, () => Promise.resolve(0)));
    expect(error).toMatchObject({ code: "ERR_INVALID_ARG_TYPE", details: { name: named(hook) } });
  });

  test("onProgress and onWarning of a run", async () => {
    const later = (): never => Promise.reject(new Error("later")) as never;
    class Warns extends NullSink {
      override configure(): void {
        this.running.warn("lossy", this);
      }
      override render(): Promise<void> {
        return new Promise((resolve) => setImmediate(resolve));
      }
    }
    const late = await lateRejections(async () => {
      const pipeline = new Pipeline().link(new Numbers("numbers", 4), new Warns());
      await expect(pipeline.run({ onWarning: later })).rejects.toThrow("later");
      await new Pipeline().link(new Numbers("numbers", 4), new NullSink()).run({ onProgress: later });
    });
    expect(late).toEqual([]);
  });

  test("the merger of a meta", async () => {
    const api = "test.unread-answers.rejects";
    registerMetaMerger(api, () => Promise.reject(new Error("later")) as never);
    const late = await lateRejections(() => expect(runTee(api)).rejects.toThrow());
    expect(late).toEqual([]);
  });
});

const named = ({ name }: Hook): string => `what ${name}() of "hooked" answered`;

async function runTee(api: string): Promise<void> {
  const pipeline = new Pipeline();
  const tee = new Tee();
  pipeline.link(new Numbers("numbers", 1), tee);
  for (const name of ["a", "b"]) {
    const propose = (query: AllocationQuery): boolean => {
      query.addMeta(api, { from: name });
      return true;
    };
    pipeline.link(tee, new Collector(name, { propose }));
  }
  await pipeline.run();
}

function revoked(): never {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy as never;
}

const thrower = (): never => {
  throw new Error("looked at");
};

const UNREADABLE: readonly [string, () => unknown][] = [
  ["a revoked proxy", revoked],
  ["an object whose getters throw", () => new Proxy({}, { get: thrower })],
  ["what throws whatever is asked of it", () => new Proxy({}, { get: thrower, getPrototypeOf: thrower, has: thrower })],
];

describe.each(UNREADABLE)("%s is refused with ERR_INVALID_ARG_TYPE, which names hook and stage:", (_, answer) => {
  test.each(rows)("%s", async (_, hook) => {
    const error = await errorOf(runWith(hook, answer));
    expect(error).toMatchObject({ code: "ERR_INVALID_ARG_TYPE", details: { name: named(hook) } });
  });

  test("the merger of a meta", async () => {
    const api = `test.unread-answers.${String(UNREADABLE.findIndex((one) => one[1] === answer))}`;
    registerMetaMerger(api, answer as never);
    const name = `what the merger of meta "${api}" answered`;
    await expect(runTee(api)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE", details: { name } });
  });
});

test("a format or caps whose fields throw, or that only have the prototype, are refused as well", async () => {
  const format = {
    kind: "bytes",
    get size(): number {
      return thrower();
    },
  };
  for (const hook of [
    { name: "next", place: "source", use: "awaited" },
    { name: "outputFor", place: "stage", use: "awaited" },
  ] as const) {
    const refusal = { code: "ERR_INVALID_ARG_TYPE", details: { name: named(hook) }, cause: { message: "looked at" } };
    await expect(runWith(hook, () => format)).rejects.toMatchObject(refusal);
    await expect(runWith(hook, () => Promise.resolve(format))).rejects.toMatchObject(refusal);
  }
  const { Caps } = await import("../../src/pipeline/caps.ts");
  for (const bad of [Object.create(Caps.prototype), new Proxy(Caps.any, {})] as unknown[]) {
    const hook: Hook = { name: "acceptedCaps", place: "stage", use: "at once" };
    const refusal = { code: "ERR_INVALID_ARG_TYPE", details: { name: named(hook) } };
    await expect(runWith(hook, () => bad)).rejects.toMatchObject(refusal);
  }
});

test("a source whose format throws in mid-stream fails the run, and its buffers are back", async () => {
  let looks = 0;
  class Late extends Source {
    made = 0;
    next(): StreamFormat {
      if (this.made++ < 2) return BLOCK;
      return {
        get kind(): never {
          looks++;
          return thrower();
        },
      } as never;
    }
    override fill(): void {}
  }
  const pipeline = new Pipeline().link(new Late("hooked"), new NullSink());
  const name = 'what next() of "hooked" answered';
  await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE", details: { name } });
  expect(looks).toBe(1);
  expect(pipeline.failedIn).toBe("hooked");
  expectHome(pipeline);
});

test.each<[string, () => unknown]>([
  ["a proxy of a promise", () => new Proxy(Promise.resolve(), {})],
  // biome-ignore lint/suspicious/noThenProperty: it stands for a promise of another library.
  ["a then() that throws", () => ({ then: thrower })],
])("%s is refused with the hook's name", async (_, answer) => {
  for (const hook of HOOKS.filter(({ name, place }) => place === "stage" && ["start", "unlock"].includes(name))) {
    const refusal = { code: "ERR_INVALID_ARG_TYPE", details: { name: named(hook) } };
    await expect(runWith(hook, answer)).rejects.toMatchObject(refusal);
  }
});

test.each(["chain", "formatChanged", "onEos", "stop", "unlock", "sharesOutput", "next"])(
  "a stage whose %s() is not there is refused before it starts",
  async (name) => {
    const source = new Numbers("hooked", 2);
    let starts = 0;
    Object.defineProperty(source, "start", { value: () => void starts++ });
    Object.defineProperty(source, name, { value: undefined });
    const pipeline = new Pipeline().link(source, new NullSink());
    const refusal = { code: "ERR_INVALID_ARG_TYPE", details: { name: `${name}() of "hooked"` } };
    await expect(pipeline.run()).rejects.toMatchObject(refusal);
    expect([pipeline.failedIn, starts]).toEqual(["hooked", 0]);
  },
);

describe.each(UNREADABLE)("%s among the items of an AppSource is refused with its name:", (_, answer) => {
  test.each<[string, () => Iterable<never>, string]>([
    ["an item", () => [answer() as never], 'an item of "hooked"'],
    [
      "a result",
      () => ({ [Symbol.iterator]: () => ({ next: answer as never }) }),
      'what next() of the items of "hooked" gave',
    ],
  ])("%s", async (_, items, name) => {
    const source = new AppSource(items(), { format: BLOCK, name: "hooked" });
    const refusal = { code: "ERR_INVALID_ARG_TYPE", details: { name } };
    await expect(new Pipeline().link(source, new NullSink()).run()).rejects.toMatchObject(refusal);
  });
});

describe("isPacedFromOutside, which is read for each wait,", () => {
  const ANSWERS: readonly [string, () => unknown, object][] = [
    ["a promise that rejects", () => Promise.reject(new Error("later")), {}],
    ["a revoked proxy", revoked, { code: "ERR_INVALID_ARG_TYPE" }],
    ["what it throws", thrower, { message: "looked at" }],
  ];

  /** A run in which each stage waits; the getter answers so from its nth read on. Returns the reads. */
  async function runPaced(place: Place, from: number, answer: () => unknown): Promise<number> {
    let reads = 0;
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    const source = new Numbers("source", 3);
    Object.defineProperty(source, "fill", { value: () => turn().then(() => void source.made++) });
    const stage = new Pass("copy");
    Object.defineProperty(stage, "transform", { value: turn });
    const sink = new NullSink({ name: "sink" });
    Object.defineProperty(sink, "render", { value: turn });
    const hooked = { source, sink }[place as "source" | "sink"] ?? stage;
    const get = (): unknown => (++reads < from ? false : answer());
    Object.defineProperty(hooked, "isPacedFromOutside", { get });
    const pipeline = new Pipeline({ acquireTimeout: 60_000 }).link(source, stage, new Queue(), sink);
    try {
      await pipeline.run();
    } finally {
      expectHome(pipeline);
    }
    return reads;
  }

  test.each(ANSWERS)("fails the run with %s, at whatever read, and never unhandled", async (_, answer, error) => {
    const late = await lateRejections(async () => {
      for (const place of ["source", "stage", "sink"] as const) {
        const reads = await runPaced(place, Number.POSITIVE_INFINITY, answer);
        expect(reads).toBeGreaterThan(3);
        for (let from = 1; from <= reads; from++)
          await expect(runPaced(place, from, answer)).rejects.toMatchObject(error);
      }
    });
    expect(late).toEqual([]);
  });
});

describe("a native promise that has rejected, with a then() of its own that throws, is not left unhandled:", () => {
  const own = (descriptor: PropertyDescriptor) => (): unknown =>
    // biome-ignore lint/suspicious/noThenProperty: that is what it is about.
    Object.defineProperty(Promise.reject(new Error("later")), "then", descriptor);

  class Odd extends Promise<void> {
    // biome-ignore lint/suspicious/noThenProperty: it stands for a promise of another library.
    override then(): never {
      return thrower();
    }
  }

  test.each<[string, () => unknown, object]>([
    // It is waited for as by `await`, which does not look at that.
    ["its own", own({ value: thrower }), { message: "later" }],
    ["a getter", own({ get: thrower }), { code: "ERR_INVALID_ARG_TYPE" }],
    ["its class's", () => Odd.reject(new Error("later")), { code: "ERR_INVALID_ARG_TYPE" }],
  ])("%s", async (_, answer, error) => {
    const late = await lateRejections(async () => {
      for (const hook of HOOKS.filter(({ name }) => ["start", "next", "unlock", "fill", "keepsMeta"].includes(name))) {
        const typed = hook.use === "at once" ? {} : error;
        await expect(runWith(hook, answer)).rejects.toMatchObject(typed);
      }
    });
    expect(late).toEqual([]);
  });
});

test.each(["passthrough", "in-place", "copy"] as const)(
  "super.chain() of a transform in mode %s with what is no buffer is refused",
  async (mode) => {
    for (const value of [undefined, null, {}, 5]) {
      class Own extends Pass {
        override chain(buffer: MediaBuffer): void | Promise<void> {
          buffer.release();
          return super.chain(value as never);
        }
      }
      const pipeline = new Pipeline().link(new Numbers("numbers", 2), new Own(mode), new NullSink());
      const refusal = { code: "ERR_INVALID_ARG_TYPE", details: { name: "buffer" } };
      await expect(pipeline.run()).rejects.toMatchObject(refusal);
      expectHome(pipeline);
    }
  },
);

test("what has a then() of its own is waited for, and that is called once", async () => {
  let calls = 0;
  const thenable = {
    // biome-ignore lint/suspicious/noThenProperty: it stands for a promise of another library.
    then: (resolve: (value: undefined) => void) => {
      calls++;
      setImmediate(() => resolve(undefined));
    },
  };
  await runWith({ name: "start", place: "stage", use: "awaited" }, () => thenable);
  expect(calls).toBe(1);
});

describe("a stage whose own chain() leaves buffers to the base class", () => {
  test.each([
    ["copy", "transform", undefined],
    ["in-place", "transformInPlace", undefined],
    ["in-place", "transformInPlace", 5],
    ["passthrough", "inspect", null],
  ] as const)("in mode %s whose %s() is %s fails with the hook's name", async (mode, hook, value) => {
    class Own extends Transform {
      override chain(buffer: MediaBuffer): void | Promise<void> {
        return super.chain(buffer);
      }
    }
    const stage = new Own("hooked", { mode });
    Object.defineProperty(stage, hook, { value });
    const pipeline = new Pipeline().link(new Numbers("numbers", 2), stage, new NullSink());
    const failure = expect(pipeline.run()).rejects;
    await failure.toMatchObject({ code: "ERR_INVALID_ARG_TYPE", details: { name: `${hook}() of "hooked"` } });
    await expect(pipeline.run()).rejects.toThrow(`must be a function, since its mode is "${mode}"`);
    expect(pipeline.failedIn).toBe("hooked");
    expectHome(pipeline);
  });

  test("and a sink without render(), with and without a chain() of its own", async () => {
    class Own extends NullSink {
      override chain(buffer: MediaBuffer): void | Promise<void> {
        return super.chain(buffer);
      }
    }
    for (const sink of [new Own({ name: "hooked" }), new NullSink({ name: "hooked" })]) {
      Object.defineProperty(sink, "render", { value: undefined });
      const pipeline = new Pipeline().link(new Numbers("numbers", 2), sink);
      const name = 'render() of "hooked"';
      await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE", details: { name } });
      expect(pipeline.failedIn).toBe("hooked");
      expectHome(pipeline);
    }
  });
});

test.each([[null], [false], [true], [0], [5], [{}], [[]], [() => "copy"], [Promise.resolve(null)]])(
  "configure() of a transform that answers %s, neither a mode nor nothing, is refused",
  async (answer) => {
    const hook: Hook = { name: "configure", place: "copy", use: "awaited" };
    const refusal = { code: "ERR_INVALID_ARG_TYPE", details: { name: named(hook) } };
    await expect(runWith(hook, () => answer)).rejects.toMatchObject(refusal);
  },
);
