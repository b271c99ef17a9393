/** Two threads on one arena, each with a view of its own: what one allocates the other frees, and nothing is lost. */
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { alternate, TURN_WORDS } from "./turns.ts";

describe("an arena that two threads attach to", () => {
  it("stays whole while they take turns on it", async () => {
    const shared = new SharedArrayBuffer(64 * 1024);
    const turn = new SharedArrayBuffer(TURN_WORDS * 4);
    const arena = TlsfArena.create({ source: shared });
    const worker = new Worker(new URL("./attach-worker.ts", import.meta.url), { workerData: { shared, turn } });
    const ended = new Promise<number>((resolve, reject) => worker.once("error", reject).once("exit", resolve));
    alternate(arena, new Int32Array(turn), 0);
    expect(await ended).toBe(0);
    arena.validate();
    const words = new Int32Array(turn);
    expect(words[1]).toBe(0);
    for (let k = 2; k < TURN_WORDS; k++) if (words[k] !== 0) arena.free(words[k]!);
    expect(arena.stats()).toMatchObject({ used: 0, liveBlocks: 0, freeBlocks: 1 });
  });
});
