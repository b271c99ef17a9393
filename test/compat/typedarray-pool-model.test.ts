// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The drop-in for typedarray-pool against a naive model: any order of mallocs, frees, second frees, frees of what is
 * foreign, transfers before and after a free, ages, bounds and options. Whatever happens, an array that is out has its
 * own bytes, and they are what its owner wrote.
 */
import { expect, it } from "vitest";
import { createTypedArrayPool, type Freeable } from "../../src/compat/typedarray-pool/pool.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { mulberry32 } from "../helpers/random.ts";
import { code } from "../pools/buffer/pools.ts";

const MALLOCS = [
  "mallocUint8",
  "mallocInt16",
  "mallocUint32",
  "mallocFloat",
  "mallocDouble",
  "mallocBigInt64",
  "mallocDataView",
  "mallocBuffer",
  "mallocArrayBuffer",
] as const;

interface Live {
  readonly array: Freeable;
  readonly bytes: Uint8Array;
  readonly sign: number;
}

function bytesOf(array: Freeable): Uint8Array {
  return ArrayBuffer.isView(array)
    ? new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
    : new Uint8Array(array);
}

function play(seed: number, steps: number): void {
  const random = mulberry32(seed);
  const below = (n: number): number => Math.floor(random() * n);
  const clock = new FakeClock();
  const pool = createTypedArrayPool();
  pool.configure({ clock, ageOut: 100, maxIdleBytes: 1 << 12, revoke: random() < 0.3 });
  let live: Live[] = [];
  const stale: Freeable[] = [];
  const counts = { mallocs: 0, frees: 0, refused: 0, detached: 0 };
  const take = (): Live | undefined => live.splice(below(live.length), 1)[0];
  /** Refused, or an ArrayBuffer that cannot be told from its next lease: the model does not try that. */
  const refuse = (array: unknown, codes: readonly string[]): void => {
    expect(codes).toContain(code(() => pool.free("free", array as never)));
    counts.refused++;
  };
  for (let step = 0; step < steps; step++) {
    const kind = below(12);
    if (kind < 5) {
      const array = pool[MALLOCS[below(MALLOCS.length)]!](below(below(4) === 0 ? 300 : 20)) as Freeable;
      const bytes = bytesOf(array);
      bytes.fill(step);
      live.push({ array, bytes, sign: step & 0xff });
      counts.mallocs++;
    } else if (kind < 8) {
      const owner = take();
      if (owner !== undefined) {
        pool.free("free", owner.array);
        counts.frees++;
        if (ArrayBuffer.isView(owner.array)) stale.push(owner.array);
      }
    } else if (kind === 8 && stale.length > 0) refuse(stale[below(stale.length)], ["ERR_DOUBLE_RELEASE"]);
    else if (kind === 9) {
      const foreign = [new Uint8Array(8), new ArrayBuffer(64), Buffer.alloc(4), {}, 5, undefined];
      refuse(foreign[below(foreign.length)], ["ERR_FOREIGN_RELEASE", "ERR_INVALID_ARG_TYPE"]);
    } else if (kind === 10) {
      const owner = take();
      if (owner !== undefined) {
        structuredClone(0, { transfer: [owner.bytes.buffer as ArrayBuffer] });
        refuse(owner.array, ["ERR_DETACHED"]);
        refuse(owner.array, ["ERR_DOUBLE_RELEASE"]);
        counts.detached++;
      }
    } else if (random() < 0.5) clock.advance(below(60));
    else if (random() < 0.2) pool.clearCache();
    else if (random() < 0.3) {
      // Somebody transfers what he has freed: the bytes of the present holder go with it, as he had a view of them.
      const late = stale[below(stale.length)];
      const { buffer } = (late ?? new Uint8Array(0)) as Uint8Array<ArrayBuffer>;
      if (buffer.byteLength > 0 && live.every(({ bytes }) => bytes.buffer !== buffer)) {
        structuredClone(0, { transfer: [buffer] });
      }
    } else pool.configure({ ageOut: [0, 50, 100, Infinity][below(4)]!, revoke: random() < 0.3 });
    for (const { bytes, sign } of live) {
      if (bytes.length > 0 && (bytes[0] !== sign || bytes.at(-1) !== sign))
        throw new Error(`step ${step}: overwritten`);
    }
    if (new Set(live.map(({ bytes }) => bytes.buffer)).size !== live.length)
      throw new Error(`step ${step}: two owners`);
    const stats = pool.stats();
    const { mallocs, frees, refused } = stats;
    expect({ mallocs, frees, refused, live: stats.live }).toEqual({
      mallocs: counts.mallocs,
      frees: counts.frees,
      refused: counts.refused,
      live: live.length,
    });
    expect(stats.idleBytes).toBeLessThanOrEqual(1 << 12);
    expect(stats.detached).toBeGreaterThanOrEqual(counts.detached);
  }
  for (const { array } of live) pool.free("free", array);
  live = [];
  pool.clearCache();
  expect(pool.stats()).toMatchObject({ live: 0, liveBytes: 0, idle: 0, idleBytes: 0 });
  expect(clock.pending).toBe(0);
}

it("any order of calls leaves every array with bytes of its own", REPEATED, () => {
  const seed = seedOf("typedarray-pool");
  for (let n = 0; n < times(25, 1000); n++) play(seed + n, 300);
});
