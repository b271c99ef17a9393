/** Lanes between a page and its workers, over both transports, in a real browser. */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined) {
  console.log(
    "the lane tests in a browser are skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)",
  );
}

describe.skipIf(chromium === undefined)("a lane in Chromium", () => {
  it.each(["shared", "transfer"] as const)("over %s memory: there, back, a terminated worker", async (transport) => {
    const result = await runInChromium(`
      const { isMillpondError } = await import("/dist/index.js");
      const { leasePool } = await import("/dist/shared.js");
      const source = \`
        import { receiveLane } from "\${location.origin}/dist/shared.js";
        const lane = await receiveLane(self);
        for await (const { lease, data } of lane) {
          lane.pool.bytes(lease)[0] += data.add;
          if (data.add < 9) await lane.send(lease, { add: data.add + 1 });
        }\`;
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      const worker = new Worker(url, { type: "module" });
      const pool = leasePool({ size: 64, count: 2, transport: "${transport}" });
      const lane = await pool.connect(worker, { timeout: 30000 });
      const lease = pool.tryAcquire();
      pool.bytes(lease)[0] = 40;
      await lane.send(lease, { add: 2 });
      const code = (fn) => { try { fn(); return "ok"; } catch (error) { return isMillpondError(error) ? error.code : String(error); } };
      const after = code(() => pool.bytes(lease));
      const back = await lane.receive();
      const answer = [pool.bytes(back.lease)[0], back.data.add];
      pool.release(back.lease);
      // It keeps both, and is terminated with them in its hands: the port's end tells.
      for (let i = 0; i < 2; i++) await lane.send(await pool.acquire({ timeout: 30000 }), { add: 9 });
      worker.terminate();
      const ended = await lane.receive().catch((error) => error.code);
      const freed = await pool.acquire({ timeout: 30000 }).then(() => "free again", (error) => error.code);
      const blocked = "${transport}" === "shared" ? (pool.tryAcquire(), code(() => pool.acquireSync(60_000))) : "ERR_UNSUPPORTED";
      send({ transport: pool.transport, after, answer, ended, freed, blocked });`);
    expect(result).toEqual({
      transport,
      after: "ERR_USE_AFTER_RELEASE",
      answer: [42, 3],
      ended: "ERR_INACTIVE",
      freed: "free again",
      blocked: "ERR_UNSUPPORTED",
    });
  });
});
