/** Waits that nobody hears of, in a process of their own: each pool tells of them once. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Exit, run } from "../helpers/child.ts";

const source = (entry: string): string => new URL(`../../src/${entry}.ts`, import.meta.url).href;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "unheard-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
/** Runs a program; its last line is how many warnings of pools there were, by pool. */
async function program(text: string): Promise<Exit & { readonly warned: readonly string[] }> {
  const file = join(folder, `program-${count++}.mjs`);
  writeFileSync(
    file,
    `import { BufferPool, PagePool } from ${JSON.stringify(source("index"))};
import { SharedPool, TransferPool } from ${JSON.stringify(source("shared"))};
const warned = [];
process.on("warning", (warning) => warned.push(warning.code + " " + warning.details?.pool + " " + warning.details?.holders.length));
process.on("exit", () => console.log(JSON.stringify(warned)));
${text}`,
  );
  const exit = await run([process.execPath, file], { cwd: fileURLToPath(new URL("../..", import.meta.url)) });
  return { ...exit, warned: JSON.parse(exit.stdout.trim().split("\n").at(-1) ?? "null") };
}

it("a loop that forgets to release ends with who holds the buffers, beside Node's own exit code 13", async () => {
  const { code, stderr, warned } = await program(`
const pool = BufferPool.create({ name: "frames", size: 8, max: 2 });
for (;;) await pool.acquire({ tag: "decoder" });`);
  expect([code, warned]).toEqual([13, ["ERR_STARVED frames 2"]]);
  expect(stderr).toMatch(/no buffer of pool "frames" came back .*held: slot 0 .*by "decoder"; slot 1 .*by "decoder"/);
});

it("a wait for a page, shared or transfer pool that the process ends with is told of, and does not keep it alive", async () => {
  // What a program no longer refers to may be collected, with its waits, before the end.
  const { code, warned } = await program(`
const page = PagePool.create({ name: "page", maxBytes: 4096 }); page.allocate(4096); void page.acquire(4096);
const shared = SharedPool.create({ name: "shared", size: 8, count: 1 }); shared.tryAcquire(); void shared.acquire();
const moved = TransferPool.create({ name: "transfer", size: 8, count: 1 }); moved.tryAcquire(); void moved.acquire();
globalThis.kept = [page, shared, moved];`);
  const told = ["page", "shared", "transfer"].map((name) => `ERR_STARVED ${name} 1`);
  expect([code, warned.toSorted()]).toEqual([0, told]);
});

it("a pool is told of once, however often the process goes on, and one without a wait never", async () => {
  const { code, warned } = await program(`
BufferPool.create({ name: "idle", size: 8, max: 1 }).tryAcquire();
const served = BufferPool.create({ name: "served", size: 8, max: 1 });
const frame = await served.acquire();
const next = served.acquire();
frame.release();
await next;
const pool = BufferPool.create({ name: "frames", size: 8, max: 1 });
globalThis.kept = pool;
await pool.acquire();
void pool.acquire();
void pool.acquire();
let turns = 0;
process.on("beforeExit", () => { if (turns++ < 3) setImmediate(() => void pool.acquire()); });`);
  expect([code, warned]).toEqual([0, ["ERR_STARVED frames 1"]]);
});

it("a wait without a timeout that lasts longer than starvedAfter is told of once while the process lives", async () => {
  const { code, warned } = await program(`
const pool = BufferPool.create({ name: "frames", size: 8, max: 1, starvedAfter: 1 });
await pool.acquire();
const waits = [pool.acquire(), pool.acquire()].map((wait) => wait.catch(() => {}));
const keep = setInterval(() => {}, 1000);
process.once("warning", () => setTimeout(() => { pool.close({ force: true }); clearInterval(keep); }, 50));
await Promise.all(waits);`);
  expect([code, warned]).toEqual([0, ["ERR_STARVED frames 1"]]);
});

it("who listens, who gave a timeout, and who ends the wait hears of it that way alone", async () => {
  const { code, warned, stdout } = await program(`
const heard = BufferPool.create({ name: "heard", size: 8, max: 1, starvedAfter: 1 });
await heard.acquire();
await new Promise((resolve) => { heard.on("starved", resolve); void heard.acquire().catch(() => {}); globalThis.keep = setInterval(() => {}, 1000); });
heard.close({ force: true });
const timed = BufferPool.create({ name: "timed", size: 8, max: 1, starvedAfter: 1 });
await timed.acquire();
console.log(await timed.acquire({ timeout: 40 }).catch((error) => error.code));
const never = BufferPool.create({ name: "never", size: 8, max: 1, starvedAfter: Infinity });
await never.acquire();
const wait = never.acquire().catch((error) => error.code);
setTimeout(() => never.close({ force: true }), 30);
console.log(await wait);
clearInterval(globalThis.keep);`);
  expect([code, warned, stdout.split("\n").slice(0, 2)]).toEqual([0, [], ["ERR_STARVED", "ERR_POOL_DEAD"]]);
});

it("what a subclass throws when it is asked who holds what does not change how the process ends", async () => {
  const { code, warned } = await program(`
class Odd extends BufferPool { holders() { throw new Error("no"); } }
const pool = Odd.create({ name: "odd", size: 8, max: 1 });
globalThis.kept = pool;
await pool.acquire();
void pool.acquire();`);
  expect([code, warned]).toEqual([0, []]);
});
