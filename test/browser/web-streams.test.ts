// Shares its realm with other files: nothing that it changes outlives it.
/** The built stream adapter in a real browser: bodies of fetches, files and responses, into slots and out of them. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined)
  console.log("browser tests are skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)");

const FILE = join(import.meta.dirname, "../../dist/_buffer-pool.js");

describe.skipIf(chromium === undefined)("streams in Chromium", () => {
  it("read the body of a fetch and a file into slots, byob where the stream has it, and back out", async () => {
    const result = (await runInChromium(`
      const { BufferPool } = await import("/dist/index.js");
      const { readInto, toReadable } = await import("/dist/web-streams.js");
      const digest = async (bytes) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].join();
      const whole = async (stream) => new Uint8Array(await new Response(stream).arrayBuffer());
      const expected = await whole((await fetch("/dist/_buffer-pool.js")).body);
      const kinds = {
        fetch: async () => (await fetch("/dist/_buffer-pool.js")).body,
        blob: async () => new Blob([expected]).stream(),
        file: async () => new File([expected], "a.js").stream(),
        chunks: async () => new Blob([expected]).stream().pipeThrough(new TransformStream()),
        bytes: async () => new ReadableStream({ type: "bytes", start(c) { c.enqueue(expected.slice()); c.close(); } }),
      };
      const answers = {};
      for (const [name, make] of Object.entries(kinds)) {
        const pool = BufferPool.create({ size: 4096, max: 2 });
        const stream = await make();
        let isByob = true;
        try { stream.getReader({ mode: "byob" }).releaseLock(); } catch { isByob = false; }
        const out = new Uint8Array(expected.length);
        let at = 0, whole = true;
        for await (const buffer of readInto(stream, pool)) {
          out.set(buffer.bytes, at);
          at += buffer.size;
          whole &&= buffer.size === 4096 || at === expected.length;
          buffer.release();
        }
        pool.validate();
        const { outstanding, discards, misses } = pool.stats();
        answers[name] = { isByob, same: await digest(out) === await digest(expected), whole, locked: stream.locked, outstanding, discards, misses };
      }
      const pool = BufferPool.create({ size: 4096, max: 2 });
      const round = await whole(toReadable(readInto(new Blob([expected]).stream(), pool)));
      const byob = toReadable(readInto(new Blob([expected]).stream(), pool)).getReader({ mode: "byob" });
      const first = await byob.read(new Uint8Array(10));
      await byob.cancel();
      // Left under a read: the body never ends.
      let canceled = 0;
      const stop = new AbortController();
      const endless = new ReadableStream({ type: "bytes", pull: () => new Promise(() => {}), cancel() { canceled++; } });
      const read = readInto(endless, pool, { signal: stop.signal }).next();
      await new Promise((resolve) => setTimeout(resolve));
      stop.abort(new Error("stop"));
      const reason = await read.catch((error) => error.message);
      pool.validate();
      send({ answers, round: await digest(round) === await digest(expected), first: first.value.length,
        reason, canceled, outstanding: pool.outstanding, discards: pool.stats().discards, length: expected.length });`)) as {
      answers: Record<string, { isByob: boolean }>;
    };
    const sound = { same: true, whole: true, locked: false, outstanding: 0, discards: {}, misses: 1 };
    expect(result).toEqual({
      answers: {
        fetch: { ...sound, isByob: result.answers.fetch?.isByob },
        blob: { ...sound, isByob: result.answers.blob?.isByob },
        file: { ...sound, isByob: result.answers.file?.isByob },
        chunks: { ...sound, isByob: false },
        bytes: { ...sound, isByob: true },
      },
      round: true,
      first: 10,
      reason: "stop",
      canceled: 1,
      outstanding: 0,
      discards: { detached: 1 },
      length: statSync(FILE).size,
    });
    console.log(
      `byte streams of this Chromium: ${Object.entries(result.answers)
        .filter(([, { isByob }]) => isByob)
        .map(([name]) => name)
        .join(", ")}`,
    );
  });
});
