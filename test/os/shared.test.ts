/**
 * Memory between processes: it arrives by every way there is, is what the kernel says, and nothing unsafe is let in.
 */

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Memory } from "../../src/memory/memory.ts";
import { ProcessSharedAllocator } from "../../src/native.ts";
import {
  closeDescriptor,
  connectDescriptors,
  descriptorPair,
  receiveDescriptor,
  receiveDescriptorSync,
  sendDescriptor,
  serveDescriptors,
} from "../../src/os/descriptors.ts";
import type { Koffi } from "../../src/os/koffi.ts";
import { nativeOps } from "../../src/os/load.ts";
import { openName, publishName } from "../../src/os/names.ts";
import type { Outcome } from "../../src/os/result.ts";
import { createSharedMemory, openSharedMemory } from "../../src/os/shared-memory.ts";
import { waitForChange, wakeWaiters } from "../../src/os/wait.ts";
import { answerOf, type Exit, run } from "../helpers/child.ts";
import { countOpen } from "../helpers/descriptors.ts";
import { code } from "../pools/buffer/pools.ts";
import { compiled } from "./build.ts";
import { factsOfRange } from "./proc.ts";
import { runtimes, tagOf } from "./runtimes.ts";

const CHILD = join(import.meta.dirname, "shared.child.mjs");
const NODE: readonly string[] = [process.execPath];
const ops = nativeOps();
const isRoot: boolean = process.geteuid?.() === 0;
const value = <T>(outcome: Outcome<T>): T => {
  if (!outcome.ok) throw new Error(`${outcome.status} ${outcome.errno}: ${outcome.hint}`);
  return outcome.value;
};
const linkOf = (name: string): string => {
  try {
    return readlinkSync(`/proc/self/fd/${name}`);
  } catch {
    return "";
  }
};
const openBlocks = (): number => countOpen("/memfd:");

let folder = "";
let scratch = "";
beforeAll(() => {
  folder = compiled();
  scratch = mkdtempSync(join(tmpdir(), "mp-"));
  // For the user that a test becomes.
  chmodSync(scratch, 0o755);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Report {
  readonly size: number;
  readonly first: number;
  readonly isShared: boolean;
  readonly truncate: string;
  readonly waited: string;
  readonly woken: number;
  readonly afterFree: number;
}

/** The parent's side: both add, the parent says go on, the child answers in the bytes. */
async function meet(allocator: ProcessSharedAllocator, memory: Memory, exit: Promise<Exit>): Promise<Report> {
  const mapping = memory.map("readwrite");
  const words = new Int32Array(mapping.bytes.buffer, 0, 16);
  // Both wait here in slices, so that a child that fails early is seen.
  let ended = false;
  void exit.then(() => {
    ended = true;
  });
  while (waitForChange(words, 0, 0, { timeout: 20 }).ok && Atomics.load(words, 0) === 0 && !ended) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  for (let round = 0; round < 100_000; round++) Atomics.add(words, 1, 1);
  Atomics.store(words, 2, 1);
  wakeWaiters(words, 2);
  const report = answerOf<Report>(await exit);
  expect(Atomics.load(words, 1)).toBe(200_000);
  expect(mapping.bytes[4097]).toBe(77);
  mapping.unmap();
  expect(allocator.sharedOf(memory).size).toBe(report.size);
  return report;
}

const EXPECTED = { size: 131072, first: 42, isShared: true, waited: "changed", afterFree: 0 };

function prepared(): { allocator: ProcessSharedAllocator; memory: Memory } {
  const allocator = new ProcessSharedAllocator();
  const memory = allocator.allocate(100_000);
  const mapping = memory.map("write");
  mapping.bytes[4096] = 42;
  mapping.unmap();
  return { allocator, memory };
}

describe.skipIf(process.platform !== "linux")("two processes (Linux)", () => {
  for (const runtime of runtimes()) {
    it(`${runtime.name} shares a block that it inherited as a descriptor`, tagOf(runtime), async (context) => {
      if (runtime.command === undefined) return context.skip(runtime.reason);
      const { allocator, memory } = prepared();
      const exit = run([...runtime.command, CHILD, folder, "inherit", "3"], {
        stdio: ["ignore", "pipe", "pipe", allocator.descriptorOf(memory)],
      });
      const report = await meet(allocator, memory, exit);
      expect(report).toMatchObject(EXPECTED);
      // Deno's ftruncate takes numbers of its own making, so it is not asked there.
      expect(report.truncate).toBe(runtime.name === "deno" ? "done" : "EPERM");
      memory.release();
    });

    it(`${runtime.name} shares a block that came over a Unix socket`, tagOf(runtime), async (context) => {
      if (runtime.command === undefined) return context.skip(runtime.reason);
      const { allocator, memory } = prepared();
      const server = value(serveDescriptors(join(scratch, `s${Math.random()}`)));
      expect(statSync(server.path).mode & 0o777).toBe(0o600);
      const exit = run([...runtime.command, CHILD, folder, "socket", server.path]);
      const socket = value(await server.accept({ timeout: 60_000 }));
      expect(allocator.send(socket, memory)).toMatchObject({ ok: true });
      expect(await meet(allocator, memory, exit)).toMatchObject(EXPECTED);
      closeDescriptor(socket);
      server.close();
      memory.release();
    });

    it(`${runtime.name} shares a block that it found by name`, tagOf(runtime), async (context) => {
      if (runtime.command === undefined) return context.skip(runtime.reason);
      const { allocator, memory } = prepared();
      const name = `test-${process.pid}-${Math.random()}`;
      const published = value(allocator.publish(name, memory));
      const exit = run([...runtime.command, CHILD, folder, "name", name]);
      expect(await meet(allocator, memory, exit)).toMatchObject(EXPECTED);
      published.withdraw();
      expect(allocator.openName(name)).toMatchObject({ ok: false, errno: "ENOENT" });
      memory.release();
    });
  }
});

describe.skipIf(process.platform !== "linux")("seals and checks (Linux)", () => {
  it("a block cannot be resized by anybody, by descriptor or by path", () => {
    const block = value(createSharedMemory(65536));
    const path = `/proc/self/fd/${block.descriptor}`;
    expect(() => truncateSync(path, 0)).toThrow("EPERM");
    expect(() => truncateSync(path, 1 << 20)).toThrow("EPERM");
    expect(value(ops.shared.inspect(block.descriptor))).toMatchObject({
      bytes: 65536,
      mode: 0o600,
      sizeSealed: true,
      sealsSealed: true,
    });
    block.retire();
  });

  it("an object that a peer could shrink is refused, and its descriptor closed", () => {
    const koffi = createRequire(import.meta.url)("koffi") as Koffi;
    const libc = koffi.load(null);
    const unsealed = Number(libc.func("memfd_create", "int", ["str", "uint"])("unsealed", 3));
    libc.func("ftruncate", "int", ["int", "int64_t"])(unsealed, 65536);
    expect(openSharedMemory(unsealed)).toMatchObject({ ok: false, status: "refused", errno: "NOT_SEALED" });
    expect(linkOf(String(unsealed))).not.toContain("unsealed");
    // Half sealed is not sealed.
    const half = Number(libc.func("memfd_create", "int", ["str", "uint"])("half", 3));
    libc.func("ftruncate", "int", ["int", "int64_t"])(half, 65536);
    libc.func("fcntl", "int", ["int", "int", "int"])(half, 1033, 4);
    expect(openSharedMemory(half)).toMatchObject({ ok: false, status: "refused", errno: "NOT_SEALED" });
    // A file is no memfd at all, and an odd size no pages.
    expect(openSharedMemory(openSync(import.meta.filename, "r"))).toMatchObject({ ok: false, errno: "NOT_SEALED" });
    expect(openSharedMemory(12345)).toMatchObject({ ok: false, errno: "EBADF" });
    const odd = Number(libc.func("memfd_create", "int", ["str", "uint"])("odd", 3));
    libc.func("ftruncate", "int", ["int", "int64_t"])(odd, 100);
    libc.func("fcntl", "int", ["int", "int", "int"])(odd, 1033, 7);
    expect(openSharedMemory(odd)).toMatchObject({ ok: false, errno: "BAD_SIZE" });
    expect(createSharedMemory(0)).toMatchObject({ ok: false, errno: "BAD_SIZE" });
    expect(createSharedMemory(Number.NaN)).toMatchObject({ ok: false, errno: "BAD_SIZE" });
    expect(createSharedMemory(2 ** 33)).toMatchObject({ ok: false, errno: "BAD_SIZE" });
  });

  it("only whole pages of a sealed object are laid over, and nothing past its end", () => {
    const block = value(createSharedMemory(65536));
    const target = value(ops.map(2 * 65536)).bytes;
    const overlay = (from: number, to: number, offset = 0): unknown =>
      ops.shared.overlay(target.subarray(from, to), block.descriptor, offset);
    expect(overlay(1, 4097)).toMatchObject({ ok: false, errno: "NOT_PAGES" });
    expect(overlay(0, 100)).toMatchObject({ ok: false, errno: "NOT_PAGES" });
    expect(overlay(0, 0)).toMatchObject({ ok: false, errno: "NOT_PAGES" });
    expect(overlay(0, 2 * 65536)).toMatchObject({ ok: false, errno: "TOO_SHORT" });
    expect(overlay(0, 65536, 4096)).toMatchObject({ ok: false, errno: "TOO_SHORT" });
    expect(overlay(0, 4096, 61440)).toMatchObject({ ok: true });
    block.retire();
  });

  it("retire ends the sharing here and nowhere else; the descriptors are gone", () => {
    const before = openBlocks();
    const allocator = new ProcessSharedAllocator({ label: "two-of-us" });
    const one = allocator.allocate(65536);
    const bytes = one.map("readwrite");
    const two = value(allocator.open(Number(dup(allocator.descriptorOf(one)))));
    const other = two.map("readwrite");
    bytes.bytes[9] = 9;
    expect(other.bytes[9]).toBe(9);
    const address = ops.addressOf(bytes.bytes);
    expect([...factsOfRange(address, 65536).names].join()).toContain("memfd:two-of-us");
    const stale = bytes.bytes;
    bytes.unmap();
    one.release();
    expect([...factsOfRange(address, 65536).names].join()).not.toContain("memfd");
    stale[9] = 1;
    expect(other.bytes[9]).toBe(9);
    other.unmap();
    two.release();
    expect(openBlocks()).toBe(before);
    expect(code(() => allocator.sharedOf(two))).toBe("ERR_FOREIGN_RELEASE");
  });

  it("a descriptor stays open for as long as it is needed only", () => {
    const block = value(createSharedMemory(65536));
    block.closeDescriptor();
    expect(block.descriptor).toBe(-1);
    block.bytes[0] = 1;
    expect(block.bytes[0]).toBe(1);
    expect(publishName("closed", block)).toMatchObject({ ok: false, errno: "CLOSED" });
    expect(block.retire()).toMatchObject({ ok: true });
    expect(block.retire()).toEqual({ ok: true, bytes: 0 });
  });
});

describe.skipIf(process.platform !== "linux")("names (Linux)", () => {
  it("a name is one block's, until it is withdrawn; a file of it is for this user only", () => {
    const name = `taken-${process.pid}`;
    const block = value(createSharedMemory(65536));
    const published = value(publishName(name, block));
    expect(publishName(name, block)).toMatchObject({ ok: false, status: "refused", errno: "EEXIST" });
    const again = value(openName(name));
    expect(again.inode).toBe(block.inode);
    again.retire();
    published.withdraw();
    published.withdraw();
    expect(openName(name)).toMatchObject({ ok: false, errno: "ENOENT" });
    const once = value(publishName(name, block));
    published.withdraw();
    value(openName(name)).retire();
    once.withdraw();
    block.retire();
  });

  it("a name whose process is gone is stale, and can be taken over", async () => {
    const name = `stale-${process.pid}`;
    await run([...NODE, CHILD, folder, "publish", name, "killed"]);
    expect(openName(name)).toMatchObject({ ok: false, errno: "STALE_NAME" });
    const block = value(createSharedMemory(65536));
    const published = value(publishName(name, block));
    value(openName(name)).retire();
    // This process lives, and no longer holds it: somebody closed the descriptor by its number.
    nativeOps().shared.close(block.descriptor);
    expect(openName(name)).toMatchObject({ ok: false, errno: "STALE_NAME" });
    published.withdraw();
    expect(openName(name)).toMatchObject({ ok: false, errno: "ENOENT" });
  });

  it("a name goes with its block, and with a process that ends by itself", async () => {
    const name = `gone-${process.pid}`;
    expect(answerOf(await run([...NODE, CHILD, folder, "publish", name]))).toEqual({ ok: true });
    expect(openName(name)).toMatchObject({ ok: false, errno: "ENOENT" });
    const block = value(createSharedMemory(65536));
    const published = value(publishName(name, block));
    block.retire();
    expect(openName(name)).toMatchObject({ ok: false, errno: "ENOENT" });
    // And is another one's by now.
    const other = value(createSharedMemory(65536));
    const others = value(publishName(name, other));
    published.withdraw();
    value(openName(name)).retire();
    others.withdraw();
    other.retire();
  });

  it("what lies in a name's place and is no name's file is refused: text, a fifo, a folder, a file without end", () => {
    const block = value(createSharedMemory(65536));
    vi.stubEnv("XDG_RUNTIME_DIR", scratch);
    const names = join(scratch, "millpond");
    mkdirSync(names, { recursive: true });
    const refusals = (make: (file: string) => void): unknown[] => {
      const file = join(names, `odd-${process.pid}`);
      make(file);
      const opened = openName(`odd-${process.pid}`);
      const published = publishName(`odd-${process.pid}`, block);
      rmSync(file, { recursive: true });
      return [opened.ok, opened.ok || opened.errno, published.ok || published.errno];
    };
    const none = [false, "BAD_NAME_FILE", "BAD_NAME_FILE"];
    for (const text of ["null", "5", "[]", "{}"]) {
      expect([text, ...refusals((file) => writeFileSync(file, text))]).toEqual([text, ...none]);
    }
    expect(refusals((file) => execFileSync("mkfifo", [file]))).toEqual(none);
    expect(refusals((file) => mkdirSync(file))).toEqual(none);
    expect(
      refusals((file) => {
        writeFileSync(file, "");
        truncateSync(file, 2 ** 40);
      }),
    ).toEqual(none);
    vi.unstubAllEnvs();
    block.retire();
  });

  it.each(["", ".", "..", "a/b", "../x", "a b", "\0", "x".repeat(65)])(
    "%j is refused as the name of a block",
    (name) => {
      const block = value(createSharedMemory(65536));
      expect(publishName(name, block)).toMatchObject({ ok: false, status: "refused", errno: "BAD_NAME" });
      expect(openName(name)).toMatchObject({ ok: false, errno: "BAD_NAME" });
      block.retire();
    },
  );
});

describe.skipIf(process.platform !== "linux")("sockets (Linux)", () => {
  it("a note travels with a descriptor, messages stay apart, and a wait ends", async () => {
    const [left, right] = value(descriptorPair());
    const block = value(createSharedMemory(65536));
    expect(sendDescriptor(left, block.descriptor, new Uint8Array([1, 2, 3]))).toMatchObject({ ok: true });
    expect(sendDescriptor(left, block.descriptor, new Uint8Array(1024).fill(4))).toMatchObject({ ok: true });
    expect(sendDescriptor(left, block.descriptor, new Uint8Array(1025))).toMatchObject({
      ok: false,
      errno: "BAD_NOTE",
    });
    expect(sendDescriptor(left, block.descriptor, new Uint8Array(0))).toMatchObject({ ok: false, errno: "BAD_NOTE" });
    expect(sendDescriptor(left, 12345)).toMatchObject({ ok: false, errno: "EBADF" });
    const first = value(receiveDescriptorSync(right, 1000));
    expect([...first.note]).toEqual([1, 2, 3]);
    const second = value(await receiveDescriptor(right));
    expect(second.note).toEqual(new Uint8Array(1024).fill(4));
    expect(value(ops.shared.inspect(second.descriptor)).inode).toBe(block.inode);
    for (const { descriptor } of [first, second]) closeDescriptor(descriptor);

    expect(await receiveDescriptor(right, { timeout: 20 })).toMatchObject({ ok: false, status: "timeout" });
    expect(receiveDescriptorSync(right, 5)).toMatchObject({ ok: false, status: "timeout" });
    const stopped = receiveDescriptor(right, { signal: AbortSignal.timeout(10) });
    await expect(stopped).rejects.toMatchObject({ name: "TimeoutError" });
    closeDescriptor(left);
    expect(await receiveDescriptor(right)).toMatchObject({ ok: false, errno: "PEER_GONE" });
    closeDescriptor(right);
    block.retire();
  });

  it("a peer that does not read, or does not accept, holds nobody", () => {
    const [left, right] = value(descriptorPair());
    const block = value(createSharedMemory(65536));
    let sent = 0;
    let last = sendDescriptor(left, block.descriptor);
    for (; last.ok && sent < 5000; sent++) last = sendDescriptor(left, block.descriptor);
    expect(last).toMatchObject({ ok: false, status: "limit" });
    expect(sent).toBeGreaterThan(0);
    for (const end of [left, right]) closeDescriptor(end);

    const server = value(serveDescriptors(join(scratch, "busy")));
    const sockets: Outcome<number>[] = [];
    do sockets.push(connectDescriptors(server.path));
    while (sockets.at(-1)!.ok && sockets.length < 200);
    expect(sockets.at(-1)).toMatchObject({ ok: false, status: "limit", errno: "EAGAIN" });
    for (const socket of sockets) if (socket.ok) closeDescriptor(socket.value);
    server.close();
    block.retire();
  });

  it("paths that cannot be are refused; a closed server answers nobody", async () => {
    expect(serveDescriptors("x".repeat(108))).toMatchObject({ ok: false, errno: "ENAMETOOLONG" });
    expect(serveDescriptors("\0abstract")).toMatchObject({ ok: false, errno: "ENAMETOOLONG" });
    expect(connectDescriptors(join(scratch, "nobody"))).toMatchObject({ ok: false, errno: "ENOENT" });
    const path = join(scratch, "closed");
    const server = value(serveDescriptors(path));
    expect(serveDescriptors(path)).toMatchObject({ ok: false, errno: "EADDRINUSE" });
    server.close();
    server.close();
    expect(await server.accept()).toMatchObject({ ok: false, errno: "CLOSED" });
    value(serveDescriptors(path)).close();
  });
});

describe("bad input gets a typed error", () => {
  const words = new Int32Array(4);
  const cases: readonly (readonly [name: string, call: () => unknown, code: string])[] = [
    ["a wait on no words", () => waitForChange([0] as never, 0, 0), "ERR_INVALID_ARG_TYPE"],
    ["a wait past the end", () => waitForChange(words, 4, 0), "ERR_OUT_OF_RANGE"],
    ["a wait before the start", () => waitForChange(words, -1, 0), "ERR_OUT_OF_RANGE"],
    ["a wait of NaN", () => waitForChange(words, 0, 0, { timeout: Number.NaN }), "ERR_OUT_OF_RANGE"],
    ["an odd stop word", () => waitForChange(words, 0, 0, { stop: { words, index: 9 } }), "ERR_OUT_OF_RANGE"],
    ["a wake past the end", () => wakeWaiters(words, 4), "ERR_OUT_OF_RANGE"],
    ["a wake of half a waiter", () => wakeWaiters(words, 0, 0.5), "ERR_OUT_OF_RANGE"],
    ["a path that is none", () => serveDescriptors(null as never), "ERR_INVALID_ARG_TYPE"],
    [
      "operations without methods",
      () => connectDescriptors("x", { ...nativeOps(), sockets: {} as never }),
      "ERR_INVALID_ARG_TYPE",
    ],
    ["a name that is none", () => openName(5 as never), "ERR_INVALID_ARG_TYPE"],
    ["operations that are null", () => openName("x", null as never), "ERR_INVALID_ARG_TYPE"],
    ["a block that is none", () => publishName("x", null as never), "ERR_INVALID_ARG_TYPE"],
    [
      "a descriptor that is none",
      () => publishName("x", { inode: 1n, descriptor: "1" } as never),
      "ERR_INVALID_ARG_TYPE",
    ],
    [
      "an expected value that is none",
      () => waitForChange(words, 0, "0" as never, { timeout: 0 }),
      "ERR_INVALID_ARG_TYPE",
    ],
    ["an unknown option of a wait", () => waitForChange(words, 0, 0, { timeot: 0 } as never), "ERR_INVALID_ARG_VALUE"],
    ["a connection to nothing", () => connectDescriptors(7 as never), "ERR_INVALID_ARG_TYPE"],
    ["a descriptor in letters", () => openSharedMemory("3" as never), "ERR_INVALID_ARG_TYPE"],
    ["a descriptor below zero", () => openSharedMemory(-1), "ERR_OUT_OF_RANGE"],
    ["a note in letters", () => sendDescriptor(1, 2, "hi" as never), "ERR_INVALID_ARG_TYPE"],
    ["a socket that is none", () => receiveDescriptorSync(Number.NaN, 0), "ERR_OUT_OF_RANGE"],
    ["a label that is none", () => createSharedMemory(1, 5 as never), "ERR_INVALID_ARG_TYPE"],
    ["a memory that is none", () => new ProcessSharedAllocator().descriptorOf(null as never), "ERR_FOREIGN_RELEASE"],
  ];
  it.each(cases)("%s is refused", (_, call, expected) => expect(code(call)).toBe(expected));

  it("what is asynchronous rejects with it", async () => {
    await expect(receiveDescriptor(0, { timeout: -1 })).rejects.toMatchObject({ code: "ERR_OUT_OF_RANGE" });
  });
});

describe.skipIf(process.platform !== "linux")("another user (Linux, as root)", () => {
  const asNobody = (...args: readonly string[]): Promise<Exit> => run([...NODE, CHILD, ...args, "nobody"]);

  it("cannot open a block that it inherited, nor one by process and descriptor", async (context) => {
    if (!isRoot) return context.skip("needs root, to become another user");
    const block = value(createSharedMemory(65536));
    const exit = await run([...NODE, CHILD, folder, "inherit", "3", "nobody"], {
      stdio: ["ignore", "pipe", "pipe", block.descriptor],
    });
    expect(answerOf(exit)).toMatchObject({ ok: false, status: "refused", errno: "FOREIGN_USER" });
    block.retire();
  });

  it("cannot connect; with the path opened up for it, both ends still refuse", async (context) => {
    if (!isRoot) return context.skip("needs root, to become another user");
    const server = value(serveDescriptors(join(scratch, "private")));
    expect(answerOf(await asNobody(folder, "socket", server.path))).toMatchObject({ ok: false, status: "forbidden" });
    chmodSync(server.path, 0o777);
    const [exit, accepted] = await Promise.all([
      asNobody(folder, "socket", server.path),
      server.accept({ timeout: 60_000 }),
    ]);
    expect(answerOf(exit)).toMatchObject({ ok: false, status: "refused", errno: "FOREIGN_USER" });
    expect(accepted).toMatchObject({ ok: false, status: "refused", errno: "FOREIGN_USER" });
    server.close();
  });
});

describe.skipIf(process.platform !== "linux")("waiting across processes (Linux)", () => {
  it("frames go from one process to another through one inherited block", async () => {
    const exit = await run([...NODE, join(import.meta.dirname, "frames.child.ts")]);
    // The byte of each frame, 0 to 99 with 760 pages in each: 4950 * 760.
    expect({ code: exit.code, stderr: exit.stderr }).toEqual({ code: 0, stderr: "" });
    expect(exit.stdout).toContain("reader: 100 frames, sum 3762000");
  });

  it("a worker that waits without a timeout can be terminated", async () => {
    const block = value(createSharedMemory(65536));
    const worker = new Worker(
      `const { workerData, parentPort } = require("node:worker_threads");
       import(workerData.native).then(({ waitForChange }) => {
         parentPort.postMessage("waiting");
         waitForChange(new Int32Array(workerData.buffer), 0, 0);
       });`,
      { eval: true, workerData: { native: `file://${folder}/os/wait.js`, buffer: block.buffer } },
    );
    await once(worker, "message");
    // It waits in slices of 50 ms. A wait in one piece would never end, and neither would this.
    expect(await worker.terminate()).toBe(1);
    block.retire();
  });

  it("ends on a change, a timeout, a stop word, and says which", () => {
    const block = value(createSharedMemory(65536));
    const words = new Int32Array(block.buffer, 0, 4);
    expect(waitForChange(words, 0, 1)).toEqual({ ok: true, value: "changed" });
    const began = performance.now();
    expect(waitForChange(words, 0, 0, { timeout: 70 })).toEqual({ ok: true, value: "timeout" });
    expect(performance.now() - began).toBeGreaterThanOrEqual(69);
    words[1] = 1;
    expect(waitForChange(words, 0, 0, { stop: { words, index: 1 } })).toEqual({ ok: true, value: "stopped" });
    expect(wakeWaiters(words, 0)).toEqual({ ok: true, value: 0 });
    block.retire();
  });
});

function dup(descriptor: number): number {
  const koffi = createRequire(import.meta.url)("koffi") as Koffi;
  return Number(koffi.load(null).func("dup", "int", ["int"])(descriptor));
}
