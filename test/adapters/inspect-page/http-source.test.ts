/** The served page's source: lines of JSON in any pieces, a connection that breaks, a token that is refused. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { HttpSource } from "../../../src/adapters/inspect/page/http-source.ts";
import type { SourceStatus } from "../../../src/adapters/inspect/page/source.ts";
import type { InspectorUpdate } from "../../../src/observe/snapshot.ts";
import { FakeProgram } from "../../helpers/fake-program.ts";

const BASE = new URL("http://127.0.0.1:9/");

function bodyOf(parts: readonly (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(typeof part === "string" ? encoder.encode(part) : part);
      controller.close();
    },
  });
}

interface Run {
  readonly updates: InspectorUpdate[];
  readonly states: SourceStatus[];
  readonly asked: string[];
  readonly end: () => void;
  /** Resolves when the connection has been lost so often. */
  lost(times: number): Promise<void>;
}

function run(answer: (path: string) => Response | Promise<Response>, token = "secret"): Run {
  const updates: InspectorUpdate[] = [];
  const states: SourceStatus[] = [];
  const asked: string[] = [];
  let heard = (): void => {};
  const source = new HttpSource(BASE, token, 100, (async (input: URL) => {
    asked.push(`${input.pathname}${input.search}`);
    return answer(input.pathname);
  }) as typeof fetch);
  const end = source.subscribe(
    (update) => updates.push(update),
    (status) => {
      states.push(status);
      heard();
    },
  );
  const lost = async (times: number): Promise<void> => {
    while (states.filter(({ state }) => state === "lost").length < times) {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
    }
  };
  return { updates, states, asked, end, lost };
}

/** What a kind of pool may not count, a thread not see, or a holder not know. */
const NULLABLE: ReadonlySet<string> = new Set(
  "lease age waited value heap max maxBytes free acquires misses waits starved discarded highWater".split(" "),
);

afterEach(() => {
  vi.useRealTimers();
});

describe("the stream", () => {
  test("is read line by line, however it is cut, also inside a character", async () => {
    const program = new FakeProgram({ title: "größe 👍" });
    const first = program.update();
    program.time += 100;
    const lines = `${JSON.stringify(first)}\n${JSON.stringify(program.update())}\n`;
    const bytes = new TextEncoder().encode(lines);
    for (const size of [1, 7, 1000, bytes.length]) {
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
        bytes.slice(i * size, (i + 1) * size),
      );
      const { updates, lost, end } = run(() => new Response(bodyOf(parts)));
      await lost(1);
      end();
      expect(updates.map(({ snapshot }) => [snapshot.title, snapshot.time])).toEqual([
        ["größe 👍", 1_700_000_000_000],
        ["größe 👍", 1_700_000_000_100],
      ]);
    }
  });

  test("passes over what is no update, and does without events", async () => {
    const { snapshot } = new FakeProgram().update();
    const lines = ["", "null", "3", '{"snapshot":{"version":2,"realms":[]}}', JSON.stringify({ snapshot })];
    const { updates, lost, end } = run(() => new Response(bodyOf([`${lines.join("\n")}\n`])));
    await lost(1);
    end();
    expect(updates).toEqual([{ snapshot, events: [], dropped: 0 }]);
  });

  test("passes over an update of which any part is not what it should be", async () => {
    const program = new FakeProgram();
    const members = [{ member: 0, self: true, state: "live", holds: 1, waiting: false }];
    const pool = program.pool({ name: "frames", kind: "SharedPool", count: 4, shared: 7, members });
    pool.acquire(0, "decode", "at decode (file:///app.js:1:1)");
    pool.starve(1000, 1);
    const good = program.update();
    const lines: string[] = [];
    const damage = (parent: Record<string, unknown>): void => {
      for (const [key, value] of Object.entries(parent)) {
        for (const bad of [-1, "text", null, {}, [null], 1, true]) {
          const isSame = typeof bad === typeof value && bad !== null && !Array.isArray(bad) && bad !== -1;
          // A clock may go back.
          if (bad === -1 && ["age", "waited", "value"].includes(key)) continue;
          const isNull = NULLABLE.has(key) && (bad === null || (value === null && bad === 1));
          if (isSame || isNull || key === "recording" || (key === "version" && !("pid" in parent))) continue;
          parent[key] = bad;
          lines.push(JSON.stringify(good));
        }
        parent[key] = value;
        if (typeof value === "object" && value !== null) damage(value as Record<string, unknown>);
      }
    };
    damage(good as unknown as Record<string, unknown>);
    lines.push("{", JSON.stringify(good));
    const { updates, lost, end } = run(() => new Response(bodyOf([`${lines.join("\n")}\n`])));
    await lost(1);
    end();
    expect(lines.length).toBeGreaterThan(300);
    expect(updates).toEqual([good]);
  });

  test("asks with the token, and connects again when it breaks: after 1 s, 2 s, 4 s, 8 s and 8 s", async () => {
    vi.useFakeTimers();
    const { asked, lost, end, states } = run(() => Promise.reject(new TypeError("connection refused")));
    await lost(1);
    for (const [i, ms] of [1000, 2000, 4000, 8000, 8000].entries()) {
      await vi.advanceTimersByTimeAsync(ms - 1);
      expect(asked).toHaveLength(i + 1);
      await vi.advanceTimersByTimeAsync(1);
      expect(asked).toHaveLength(i + 2);
    }
    end();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toHaveLength(6);
    expect(new Set(asked)).toEqual(new Set(["/stream?interval=100&holders=1000&token=secret"]));
    expect(states[0]).toEqual({ state: "connecting" });
  });

  test("says so when the token is refused", async () => {
    const { states, lost, end } = run(() => new Response("no", { status: 401 }));
    await lost(1);
    end();
    expect(states.at(-1)!.reason).toContain("token");
  });

  test("tells nobody after its end, also when a line is on its way", async () => {
    let push: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        push = controller;
      },
    });
    const { updates, states, end } = run(() => new Response(body));
    await new Promise((resolve) => setImmediate(resolve));
    end();
    push!.enqueue(new TextEncoder().encode(`${JSON.stringify(new FakeProgram().update())}\n`));
    await new Promise((resolve) => setImmediate(resolve));
    expect([updates, states]).toEqual([[], [{ state: "connecting" }]]);
  });
});

test("a trace is asked for at most a minute, and a refusal is an error", async () => {
  const asked: string[] = [];
  let status = 200;
  const source = new HttpSource(BASE, "", 100, (async (input: URL) => {
    asked.push(`${input.pathname}${input.search}`);
    return new Response("{}", { status });
  }) as typeof fetch);
  expect(await (await source.trace(5)).text()).toBe("{}");
  await source.trace(4000);
  await source.trace();
  expect(asked).toEqual(["/trace?seconds=5", "/trace?seconds=60", "/trace"]);
  status = 500;
  await expect(source.trace(1)).rejects.toThrow("500");
});
