/**
 * What a server says is data of a process that its viewers, the page and the terminal, know nothing of: an update of
 * which any part has another shape than it should have is none. So nothing behind this check meets a text where a
 * number belongs, or a list that is none. Loads in a browser. O(holders + events).
 */
import type { InspectorUpdate, ProcessSnapshot } from "../../observe/snapshot.ts";

type Check = (value: unknown) => boolean;
type Shape = Readonly<Record<string, Check>>;

/** How long something took: by a clock of the program's own, which may go back, or be no number, which JSON has not. */
const isDuration: Check = (value) => value === null || (typeof value === "number" && Math.abs(value) < 1e300);
const isCount: Check = (value) => typeof value === "number" && value >= 0 && value !== Number.POSITIVE_INFINITY;
const isText: Check = (value) => typeof value === "string";
const isFlag: Check = (value) => typeof value === "boolean";

function orNull(check: Check): Check {
  return (value) => value === null || check(value);
}

function orAbsent(check: Check): Check {
  return (value) => value === undefined || check(value);
}

function listOf(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

function shapeOf(shape: Shape): Check {
  const entries = Object.entries(shape);
  return (value) => {
    if (typeof value !== "object" || value === null) return false;
    for (const [key, check] of entries) if (!check((value as Readonly<Record<string, unknown>>)[key])) return false;
    return true;
  };
}

const isHolder = shapeOf({
  slot: isCount,
  lease: orNull(isCount),
  size: isCount,
  age: isDuration,
  tag: orAbsent(isText),
  note: orAbsent(isText),
  site: orAbsent(isText),
  members: orAbsent(listOf(isCount)),
});

const isMember = shapeOf({
  member: isCount,
  self: isFlag,
  state: isText,
  holds: isCount,
  waiting: isFlag,
  pid: orAbsent(isCount),
});

const isPool = shapeOf({
  id: isCount,
  kind: isText,
  name: isText,
  phase: isText,
  ...Object.fromEntries(["size", "count", "bytes", "leased", "waiting"].map((name) => [name, isCount])),
  ...Object.fromEntries(
    ["max", "maxBytes", "free", "acquires", "misses", "waits", "starved", "discarded", "highWater"].map((name) => {
      return [name, orNull(isCount)];
    }),
  ),
  shared: orAbsent(isCount),
  taken: orAbsent(isCount),
  holders: listOf(isHolder),
  unlisted: orAbsent((value) => value === true),
  members: listOf(isMember),
  starvedLast: orAbsent(shapeOf({ time: isCount, waited: isDuration, waiting: isCount, holders: listOf(isHolder) })),
});

const isRealm = shapeOf({
  time: isCount,
  thread: isCount,
  runtime: isText,
  pools: listOf(isPool),
  gc: shapeOf({ count: isCount, major: isCount, ms: isCount }),
  heap: orNull(shapeOf({ used: isCount, external: isCount })),
  silent: orAbsent(isCount),
});

const isSnapshot = shapeOf({
  version: (value) => value === 1,
  time: isCount,
  pid: isCount,
  title: isText,
  uptime: isCount,
  rss: isCount,
  cpu: shapeOf({ user: isCount, system: isCount }),
  realms: listOf(isRealm),
});

const areEvents = listOf(
  shapeOf({
    type: isText,
    time: isCount,
    pool: isCount,
    subject: isCount,
    value: isDuration,
    thread: isCount,
    text: orAbsent(isText),
    site: orAbsent(isText),
  }),
);

/** The snapshot that a text holds; undefined: it holds none. */
export function snapshotIn(text: string): ProcessSnapshot | undefined {
  const value = valueIn(text);
  return isSnapshot(value) ? (value as ProcessSnapshot) : undefined;
}

/** The update that a text holds; undefined: it holds none. */
export function updateIn(text: string): InspectorUpdate | undefined {
  const { snapshot, events = [], dropped = 0 } = (valueIn(text) ?? {}) as Partial<InspectorUpdate>;
  if (!isSnapshot(snapshot) || !areEvents(events) || !isCount(dropped)) return undefined;
  return { snapshot: snapshot!, events, dropped };
}

function valueIn(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
