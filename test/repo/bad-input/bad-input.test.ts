/**
 * Every public call x hostile values: nothing but the library's own errors comes out, a refused call has changed
 * nothing, and no call takes long. The calls are read from the built declarations, so that a new one cannot be
 * forgotten.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { HANGS_MS, REPEATED, times } from "../../helpers/effort.ts";
import { reachableBytes } from "../../helpers/heap.ts";
import { build, CannotBuild, fits, optionKeys } from "./build.ts";
import { ALLOCATED, ANSWERS, alternativesOf, GIVEN, IMPLEMENTED, LEFT_OPEN, LEFT_OUT, makeRecipes } from "./recipes.ts";
import { type PublicCall, readSurface } from "./surface.ts";
import { HOSTILE, HostileError, LARGE } from "./values.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const MANIFEST = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  exports: Record<string, string | { types: string; default: string }>;
};
const ENTRIES = Object.entries(MANIFEST.exports).flatMap(([subpath, target]) =>
  typeof target === "string" ? [] : [[subpath, target.types, target.default] as const],
);
const CPU_LIMIT_MS = 200;
const TOO_SLOW = `took more than ${CPU_LIMIT_MS} ms of processor time`;

const SURFACE = readSurface(
  ROOT,
  ENTRIES.map(([subpath, types]) => [subpath, types] as const),
);
/** Whether one of those patterns is about a call, one of its arguments or one key of it. */
function isListed(list: readonly (readonly [pattern: RegExp, ...unknown[]])[], ...places: readonly string[]): boolean {
  return list.some(([pattern]) => places.some((place) => pattern.test(place)));
}
const CALLS = SURFACE.calls.filter(({ key }) => !isListed(LEFT_OUT, key));
const modules: Record<string, Readonly<Record<string, unknown>>> = {};
for (const [subpath, , file] of ENTRIES) modules[subpath] = await import(pathToFileURL(join(ROOT, file)).href);
const recipes = await makeRecipes(modules);

/** What went wrong: a call and an argument, the value, and what came out. */
interface Trouble {
  readonly call: string;
  readonly value: string;
  readonly what: string;
}

/** One line for each call, argument and outcome, with the values that lead there. */
function summarize(troubles: readonly Trouble[]): string[] {
  const lines = new Map<string, string[]>();
  for (const { call, value, what } of troubles) {
    const line = `${call}: ${what}`;
    lines.set(line, [...(lines.get(line) ?? []), value]);
  }
  return [...lines].map(
    ([line, values]) =>
      `${line} (${values.slice(0, 4).join(", ")}${values.length > 4 ? `, ${values.length - 4} more` : ""})`,
  );
}

function instanceFor(entry: string): (name: string) => unknown {
  return (name) => {
    const recipe = [entry, ".", "./pipeline", "./shared", "./arena", "./meta", "./testing"]
      .map((from) => recipes[`${from}#${name}`])
      .find((found) => found !== undefined);
    if (recipe !== undefined) return recipe();
    for (const from of [entry, ".", "./shared", "./arena", "./meta", "./webgpu"]) {
      const found = modules[from]?.[name];
      if (typeof found !== "function" || !/^class\b/.test(Function.prototype.toString.call(found))) continue;
      const construct = SURFACE.calls.find(({ key }) => key === `${from}#new ${name}`);
      const args = construct?.parameters.map((type, i) =>
        construct.optional[i] ? undefined : build(SURFACE.checker, type, instanceFor(from)),
      );
      return Reflect.construct(found, args ?? []);
    }
    return undefined;
  };
}

interface Callee {
  readonly self: unknown;
  readonly call: (args: readonly unknown[]) => unknown;
}

function calleeOf({ entry, kind, owner, name }: PublicCall): Callee {
  const module = modules[entry]!;
  if (kind === "function")
    return { self: undefined, call: (args) => (module[name] as (...args: readonly unknown[]) => unknown)(...args) };
  const type = module[owner!] as object;
  if (kind === "construct") return { self: undefined, call: (args) => Reflect.construct(type as never, args) };
  if (kind === "static") {
    return {
      self: undefined,
      call: (args) =>
        ((type as Record<string, unknown>)[name] as (...args: readonly unknown[]) => unknown).apply(type, [...args]),
    };
  }
  const self = instanceFor(entry)(owner!) as Record<string, unknown> | undefined;
  if (self === undefined || self === null) throw new CannotBuild(owner!);
  if (kind === "setter")
    return {
      self,
      call: ([value]) => {
        self[name] = value;
        return undefined;
      },
    };
  return { self, call: (args) => (self[name] as (...args: readonly unknown[]) => unknown).apply(self, [...args]) };
}

function describeState(self: unknown): string {
  if (self === undefined || self === null || typeof self !== "object") return "";
  const facts: Record<string, unknown> = {};
  for (let at: object | null = self; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
    for (const [key, property] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      // What counts refusals may count one more.
      if (
        key.startsWith("$") ||
        ["failures", "misuse", "refused"].includes(key) ||
        (property.get === undefined && typeof property.value === "function")
      )
        continue;
      try {
        const value = (self as Record<string, unknown>)[key];
        if (value === null || !["object", "function"].includes(typeof value)) facts[key] = String(value);
      } catch {
        facts[key] = "throws";
      }
    }
  }
  const { stats } = self as { stats?: () => object };
  if (typeof stats === "function") {
    try {
      // What counts refusals may count one more.
      const { refused: _, misuse: __, failures: ___, ...rest } = stats.call(self) as Record<string, unknown>;
      facts.stats = rest;
    } catch {
      facts.stats = "throws";
    }
  }
  return JSON.stringify(facts, (_, value: unknown) => (typeof value === "bigint" ? `${value}n` : value));
}

/** What the caller's own value has thrown, or the engine about it. */
function isCallers(error: unknown): boolean {
  return isThrownByCaller(error) || isEngines(error);
}

function isThrownByCaller(error: unknown): boolean {
  if (error instanceof HostileError) return true;
  // The file system's, about a path that says nothing wrong but leads nowhere.
  return error instanceof Error && "syscall" in error && "path" in error && "errno" in error;
}

function isEngines(error: unknown): boolean {
  return (
    error instanceof TypeError &&
    (error.message.includes("proxy that has been revoked") || error.message.startsWith("Class constructor Hostile"))
  );
}

/** Calls where each revoked proxy and each class in a function's place is told by an error of the library. */
const TOLD =
  /^\.\/native#(ProcessPool\.(create|attach|prototype\.reclaim)|ProcessSharedAllocator|connectProcess|receiveProcess|serveProcesses|connectToPool|describeResult)/;

function isOwnError(error: unknown, key: string): boolean {
  if (isThrownByCaller(error) || (isEngines(error) && !TOLD.test(key))) return true;
  return (
    error instanceof Error &&
    typeof (error as { code?: unknown }).code === "string" &&
    (error.name === "MillpondError" ||
      (modules["."]!.MillpondError as { [Symbol.hasInstance](x: unknown): boolean })[Symbol.hasInstance](error))
  );
}

function textOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message.slice(0, 160)}` : typeof error;
  } catch {
    return "an error that cannot be shown";
  }
}

/** Calls once with one value replaced, and says what is wrong with what happened. */
async function tryOne(
  call: PublicCall,
  mayPass: boolean,
  change: (args: unknown[]) => void,
): Promise<string | undefined> {
  const callee = calleeOf(call);
  const args = call.parameters.map((type, i) => {
    const given = GIVEN.find(([pattern]) => pattern.test(`${call.key} argument ${i}`));
    if (given !== undefined) return given[1];
    try {
      return build(SURFACE.checker, type, instanceFor(call.entry));
    } catch (error) {
      if (error instanceof CannotBuild && call.optional[i]) return undefined;
      throw error;
    }
  });
  change(args);
  const before = describeState(callee.self);
  const began = performance.now();
  const cpu = process.cpuUsage();
  let failed: { error: unknown } | undefined;
  let pending: Promise<unknown> | undefined;
  try {
    const result = callee.call(args);
    if (result instanceof Promise) pending = result;
    // Every pool that is made later would be recorded.
    if (call.key === "./observe#record") (result as { stop(): void }).stop();
  } catch (error) {
    failed = { error };
  }
  // What took less time than that on the clock took less of the processor, too.
  if (performance.now() - began > CPU_LIMIT_MS) {
    const { user, system } = process.cpuUsage(cpu);
    if ((user + system) / 1000 > CPU_LIMIT_MS) return TOO_SLOW;
  }
  if (pending !== undefined) {
    // A server that was given a good path would leave its socket in the working folder.
    if (/#serve/.test(call.key)) pending = pending.then((server) => (server as { close(): unknown }).close());
    let limit: NodeJS.Timeout | undefined;
    const settled = await Promise.race([
      pending.then(
        () => undefined,
        (error: unknown) => ({ error }),
      ),
      // What has to be refused may take its time, for which a busy machine needs no limit; what may wait is not waited
      // for.
      new Promise<"waits">((resolve) => {
        limit = setTimeout(resolve, mayPass ? 2 : HANGS_MS / 2, "waits");
      }),
    ]);
    clearTimeout(limit);
    if (settled === "waits") pending.catch(() => undefined);
    else failed = settled;
  }
  if (failed === undefined) return mayPass ? undefined : "accepted";
  if (!isOwnError(failed.error, call.key)) return textOf(failed.error);
  const after = describeState(callee.self);
  if (after !== before) return `refused, but changed ${before} to ${after}`;
  return undefined;
}

/**
 * Of the values of an argument or option the fast lane takes each sixteenth; which, goes round from one to the next.
 */
const SHARE = times(16, 1);
let places = 0;

/** The share of the next place. */
function shareOf<T>(values: readonly T[]): T[] {
  const first = places++ % SHARE;
  return values.filter((_, n) => n % SHARE === first);
}

async function tryCall(call: PublicCall): Promise<Trouble[]> {
  const troubles: Trouble[] = [];
  const attempt = async (
    place: string,
    value: string,
    mayPass: boolean,
    change: (args: unknown[]) => void,
  ): Promise<void> => {
    if (process.env.MILLPOND_BAD_INPUT_VERBOSE)
      appendFileSync(process.env.MILLPOND_BAD_INPUT_VERBOSE, `${call.key} ${place}: ${value}\n`);
    let what: string | undefined;
    try {
      what = await tryOne(call, mayPass, change);
      // A garbage collection counts as this process's time, but does not come twice in a row; nor do the thousands of
      // pools count that were made here and are not collected yet, where a call looks at all that there are.
      for (let again = 0; what === TOO_SLOW && again < 2; again++) {
        await reachableBytes();
        what = await tryOne(call, mayPass, change);
      }
    } catch (error) {
      what =
        error instanceof CannotBuild
          ? `no recipe makes ${error.message}`
          : `the harness failed: ${(error as Error).stack}`;
    }
    if (what !== undefined) troubles.push({ call: `${call.key} ${place}`, value, what });
  };
  for (const [i, type] of call.parameters.entries()) {
    const argument = `${call.key} argument ${i}`;
    const answers = isListed(ANSWERS, call.key, argument);
    const values = isListed(ALLOCATED, call.key, argument)
      ? HOSTILE.filter(([name]) => !LARGE.includes(name))
      : HOSTILE;
    for (const [name, make] of shareOf(values)) {
      const mayPass = answers || fits(SURFACE.checker, type, call.optional[i]!, make());
      await attempt(`argument ${i}`, name, mayPass, (args) => {
        args[i] = make();
      });
    }
    const keys = isListed(IMPLEMENTED, call.key, argument)
      ? []
      : optionKeys(SURFACE.checker, type, call.own).filter(({ key }) => !isListed(IMPLEMENTED, `${argument}.${key}`));
    for (const { key, type: of, optional } of keys) {
      for (const [name, make] of shareOf(values)) {
        await attempt(`argument ${i}.${key}`, name, fits(SURFACE.checker, of, optional, make()), (args) => {
          args[i] = { ...(args[i] as object | undefined), [key]: make() };
        });
      }
      await attempt(`argument ${i}.${key}`, "a getter that throws", true, (args) => {
        args[i] = Object.defineProperty({ ...(args[i] as object | undefined) }, key, {
          enumerable: true,
          get() {
            throw new HostileError();
          },
        });
      });
      // What is read twice can be something else the second time.
      await attempt(`argument ${i}.${key}`, "a getter that changes", true, (args) => {
        const given = { ...(args[i] as Record<string, unknown> | undefined) };
        let first: unknown = given[key] ?? build(SURFACE.checker, of, instanceFor(call.entry));
        args[i] = Object.defineProperty(given, key, {
          enumerable: true,
          get() {
            const value = first;
            first = Symbol("the second reading");
            return value;
          },
        });
      });
    }
    if (keys.length > 0 && !isListed(LEFT_OPEN, call.key, argument)) {
      await attempt(`argument ${i}`, "an unknown option", false, (args) => {
        args[i] = { ...(args[i] as object | undefined), zeros: true };
      });
    }
  }
  return troubles;
}

/** Every place that an exception can be about. */
function placesOf(call: PublicCall): string[] {
  const places = [call.key];
  for (const [i, type] of call.parameters.entries()) {
    const argument = `${call.key} argument ${i}`;
    places.push(argument);
    for (const { key } of optionKeys(SURFACE.checker, type, call.own)) places.push(`${argument}.${key}`);
  }
  return places;
}

const groups = new Map<string, PublicCall[]>();
for (const call of CALLS) {
  const group = `${call.entry} ${call.owner ?? "functions"}`;
  groups.set(group, [...(groups.get(group) ?? []), call]);
}

describe("hostile values", () => {
  const late: string[] = [];
  beforeAll(() => {
    process.on("unhandledRejection", (error) => late.push(`unhandled: ${textOf(error)}`));
    // What a callback of the caller's throws comes out in a later turn, as documented.
    process.on("uncaughtException", (error) => {
      if (!isCallers(error)) late.push(textOf(error));
    });
  });
  test.each([...groups])("to %s get the library's own errors and change nothing", REPEATED, async (_, calls) => {
    const troubles: Trouble[] = [];
    for (const call of calls) troubles.push(...(await tryCall(call)));
    expect(summarize(troubles)).toEqual([]);
  });
  test("are kept from calls that there are, so that a renamed call is tried again", () => {
    const places = SURFACE.calls.flatMap(placesOf);
    const patterns = [...LEFT_OUT, ...ANSWERS, ...LEFT_OPEN, ...IMPLEMENTED, ...ALLOCATED, ...GIVEN].flatMap(
      ([pattern]) => alternativesOf(pattern),
    );
    expect(patterns.filter((pattern) => !places.some((place) => pattern.test(place))).map(String)).toEqual([]);
  });
  test("leave no error behind that nobody catches", async () => {
    await new Promise((resolve) => setImmediate(resolve));
    expect(late).toEqual([]);
  });
});
