/**
 * Pools and blocks that nobody closed: collected with their descriptor and their helper thread, and with nothing that a
 * view needs.
 */
import { readdirSync, readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { ProcessPool } from "../../src/native.ts";
import { nativeOps } from "../../src/os/load.ts";
import { openName, publishName } from "../../src/os/names.ts";
import { createSharedMemory } from "../../src/os/shared-memory.ts";
import { countOpen } from "../helpers/descriptors.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

const blocks = (label: string): number => countOpen(`/memfd:${label}`);

/** Collects until it is so, at most a minute: finalizers run when the engine finds time. */
async function collectUntil(isSo: () => boolean): Promise<boolean> {
  for (const end = performance.now() + 60_000; performance.now() < end; ) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (isSo()) return true;
  }
  return false;
}

const block = (label: string) => {
  const made = createSharedMemory(65536, label);
  if (!made.ok) throw new Error(made.hint);
  return made.value;
};

describe.runIf(nativeOps().availability.ok && process.platform === "linux")("forgotten", () => {
  it("250 process pools that nobody closed leave no descriptor", async () => {
    const before = blocks("millpond-pool");
    const make = (): void => {
      for (let i = 0; i < 250; i++) {
        const pool = ProcessPool.create({ size: 64, count: 1 });
        pool.release(pool.tryAcquire()!);
      }
    };
    make();
    expect(await collectUntil(() => blocks("millpond-pool") <= before)).toBe(true);
  });

  it("a pool that waited by a helper thread is collected too, and its thread ends", async () => {
    const before = blocks("millpond-pool");
    const threads = (): number => readdirSync("/proc/self/task").length;
    const idle = threads();
    const use = async (): Promise<void> => {
      const pool = ProcessPool.create({ size: 64, count: 1 });
      const slot = pool.tryAcquire()!;
      const waits = pool.acquire({ timeout: 100_000 });
      await new Promise((resolve) => setTimeout(resolve, 300));
      pool.release(slot);
      pool.release(await waits);
    };
    await use();
    expect(await collectUntil(() => blocks("millpond-pool") <= before && threads() <= idle)).toBe(true);
  });

  it("a view that was kept stays what it was when the descriptor is closed", async () => {
    let view: Uint8Array | undefined;
    const make = (): void => {
      const made = block("kept-view");
      view = made.bytes.subarray(100, 200);
      view.fill(7);
    };
    make();
    expect(await collectUntil(() => blocks("kept-view") === 0)).toBe(true);
    expect([
      view!.every((byte) => byte === 7),
      readFileSync("/proc/self/maps", "utf8").includes("memfd:kept-view"),
    ]).toEqual([true, true]);
    view!.fill(8);
  });

  it("a block that has a name keeps its descriptor until the name is withdrawn", async () => {
    const name = `forgotten-${process.pid}`;
    const make = () => {
      const made = publishName(name, block("named-block"));
      if (!made.ok) throw new Error(made.hint);
      return made.value;
    };
    const published = make();
    for (let i = 0; i < 5; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const opened = openName(name);
    expect(opened.ok).toBe(true);
    if (opened.ok) opened.value.retire();
    published.withdraw();
    published.withdraw();
    expect(await collectUntil(() => blocks("named-block") === 0)).toBe(true);
  });

  it("a descriptor that was closed by hand is closed once: its number may be another's by then", async () => {
    const numbers: number[] = [];
    const make = (): void => {
      for (let i = 0; i < 20; i++) {
        const made = block("closed-once");
        numbers.push(made.descriptor);
        made.retire();
      }
    };
    make();
    const others = Array.from({ length: 20 }, () => block("others"));
    for (let i = 0; i < 5; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(blocks("others")).toBe(20);
    for (const other of others) other.retire();
  });
});
