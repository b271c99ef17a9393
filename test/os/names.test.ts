/** Names of shared memory: who gets one that was left behind, and what a refused publication leaves. */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ProcessPool } from "../../src/native.ts";
import { nativeOps } from "../../src/os/load.ts";
import { openName, type PublishedName, publishName } from "../../src/os/names.ts";
import { pidNamespace } from "../../src/os/process-liveness.ts";
import { notDone, type Outcome } from "../../src/os/result.ts";
import { createSharedMemory, openSharedMemory, type SharedMemory } from "../../src/os/shared-memory.ts";
import { code } from "../pools/buffer/pools.ts";

/** A disk that is full when a file has been made and has no bytes yet, or from which nothing can be removed. */
const disk = vi.hoisted(() => ({ isFull: false, isReadOnly: false }));
vi.mock("node:fs", async (original) => {
  const real = await original<typeof import("node:fs")>();
  const write: typeof real.writeFileSync = (file, data, options) => {
    real.writeFileSync(file, disk.isFull ? "" : data, options);
    if (disk.isFull) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  };
  const unlink: typeof real.unlinkSync = (file) => {
    if (disk.isReadOnly) throw Object.assign(new Error("read-only file system"), { code: "EROFS" });
    real.unlinkSync(file);
  };
  return { ...real, writeFileSync: write, unlinkSync: unlink };
});

const value = <T>(outcome: Outcome<T>): T => {
  if (!outcome.ok) throw new Error(`${outcome.status} ${outcome.errno}: ${outcome.hint}`);
  return outcome.value;
};

let folder = "";
let names = "";
const blocks: SharedMemory[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mp-"));
  names = join(folder, "millpond");
  vi.stubEnv("XDG_RUNTIME_DIR", folder);
  mkdirSync(names, { mode: 0o700 });
});
afterEach(() => {
  for (const block of blocks.splice(0)) block.retire();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

function make(): SharedMemory {
  const block = value(createSharedMemory(65536));
  blocks.push(block);
  return block;
}

/** A number that no process has: the kernel gives 2^22 at most. */
const NOBODY: number = 2 ** 22 + 1;

/** What a publisher leaves that was killed. */
function leave(name: string, more: object = {}): void {
  writeFileSync(join(names, name), JSON.stringify({ pid: NOBODY, descriptor: 3, inode: "1", token: "old", ...more }));
}

const listed = (): string[] => readdirSync(names);

describe.runIf(nativeOps().availability.ok)("a name", () => {
  it("that was left behind goes to one of two that take it over at once", () => {
    leave("cam");
    const real = nativeOps();
    const [first, second] = [make(), make()];
    let others: Outcome<PublishedName> | undefined;
    // Between the look at the old entry and its removal.
    const openOf = (pid: number, descriptor: number): Outcome<number> => {
      const answer = real.shared.openOf(pid, descriptor);
      others ??= publishName("cam", second);
      return answer;
    };
    const firsts = publishName("cam", first, { ...real, shared: { ...real.shared, openOf } });
    expect([firsts.ok, others!.ok].filter(Boolean)).toHaveLength(1);
    const opened = value(openName("cam"));
    expect(opened.inode).toBe(firsts.ok ? first.inode : second.inode);
    opened.retire();
  });

  it("is refused, and not waited for, while a process that was stopped has the lock; a free one needs no lock", () => {
    leave("cam");
    const lock = value(nativeOps().shared.lockFolder(names));
    const block = make();
    expect(publishName("cam", block)).toMatchObject({ ok: false, errno: "EAGAIN" });
    expect(publishName("other", block)).toMatchObject({ ok: true });
    nativeOps().shared.close(lock);
    expect(publishName("cam", block)).toMatchObject({ ok: true });
  });

  it("that cannot be written leaves no file", () => {
    const block = make();
    disk.isFull = true;
    try {
      expect(publishName("cam", block)).toMatchObject({ ok: false, errno: "ENOSPC" });
    } finally {
      disk.isFull = false;
    }
    expect(listed()).toEqual([]);
  });

  it("of another PID namespace is neither opened nor taken over: nobody here knows whether its publisher lives", () => {
    leave("cam", { namespace: pidNamespace()! + 1 });
    expect(openName("cam")).toMatchObject({ ok: false, errno: "OTHER_NAMESPACE" });
    expect(publishName("cam", make())).toMatchObject({ ok: false, errno: "EEXIST" });
    leave("here", { namespace: pidNamespace() });
    expect(publishName("here", make())).toMatchObject({ ok: true });
  });

  it.each([
    ["an empty file", (file: string) => writeFileSync(file, "")],
    ["a file with a mark of its encoding", (file: string) => writeFileSync(file, '\ufeff{"pid":1,"descriptor":3}')],
    ["a link", (file: string) => symlinkSync("other", file)],
    ["a socket", (file: string) => nativeOps().shared.close(value(nativeOps().sockets.listen(file)))],
    ["a folder", (file: string) => mkdirSync(file)],
    ["a file of other numbers", (file: string) => writeFileSync(file, '{"pid":-1,"descriptor":3}')],
  ])("in whose place %s lies is damaged, and not absent", (_, lie) => {
    expect(openName("cam")).toMatchObject({ errno: "ENOENT", hint: "there is no such name" });
    lie(join(names, "cam"));
    expect(openName("cam")).toMatchObject({ status: "refused", errno: "BAD_NAME_FILE" });
    expect(publishName("cam", make())).toMatchObject({ status: "refused", errno: "BAD_NAME_FILE" });
    expect(listed()).toEqual(["cam"]);
  });

  it.each([
    ["words", "precious"],
    ["a part of JSON", "{"],
    ["a list", "[]"],
    ["null", "null"],
    ["nothing", ""],
    ["more than a name's file has", `${" ".repeat(5000)}{}`],
  ])("in whose file somebody has written %s is withdrawn, and the file stays", (_, text) => {
    const published = value(publishName("cam", make()));
    const file = join(names, "cam");
    // The same file by its number, as one that is made in its place may be.
    writeFileSync(file, text);
    utimesSync(file, 1, 1);
    expect([published.withdraw(), published.withdraw()]).toMatchObject([{ ok: true }, { ok: true }]);
    expect(readFileSync(file, "utf8")).toBe(text);
    expect(publishName("cam", make())).toMatchObject({ errno: "BAD_NAME_FILE" });
  });

  it("that cannot be removed says so, and can be withdrawn later, also when its block has gone", () => {
    const block = make();
    const [early, late] = [value(publishName("early", block)), value(publishName("late", block))];
    disk.isReadOnly = true;
    try {
      expect(early.withdraw()).toMatchObject({ ok: false, errno: "EROFS" });
      expect(late.withdraw()).toMatchObject({ ok: false, errno: "EROFS" });
      value(openName("early")).retire();
      disk.isReadOnly = false;
      expect(early.withdraw()).toMatchObject({ ok: true });
      disk.isReadOnly = true;
      block.retire();
    } finally {
      disk.isReadOnly = false;
    }
    expect(listed()).toEqual(["late"]);
    expect(openName("late")).toMatchObject({ errno: "STALE_NAME" });
    expect(late.withdraw()).toMatchObject({ ok: true });
    expect(listed()).toEqual([]);
  });

  it("whose descriptor was closed by its number says that no lock can be had, and can be withdrawn later", () => {
    const block = make();
    const real = nativeOps();
    let isFull = true;
    const lockFolder = (path: string): Outcome<number> =>
      isFull ? notDone("limit", "EMFILE", "open: too many open files") : real.shared.lockFolder(path);
    const published = value(publishName("cam", block, { ...real, shared: { ...real.shared, lockFolder } }));
    real.shared.close(block.descriptor);
    expect(published.withdraw()).toMatchObject({ ok: false, status: "limit", errno: "EMFILE" });
    isFull = false;
    expect(published.withdraw()).toMatchObject({ ok: true });
    expect(listed()).toEqual([]);
  });

  it("that is another one's by now stays, and one whose file was touched goes", () => {
    const [mine, other] = [value(publishName("cam", make())), value(publishName("touched", make()))];
    rmSync(join(names, "cam"));
    const next = value(publishName("cam", make()));
    utimesSync(join(names, "touched"), 1, 1);
    for (const published of [mine, other]) expect(published.withdraw()).toMatchObject({ ok: true });
    expect(listed()).toEqual(["cam"]);
    next.withdraw();
  });

  it("goes with the pool that has it", () => {
    const pool = ProcessPool.create({ size: 64, count: 1 });
    value(pool.publish("cam"));
    expect(listed()).toEqual(["cam"]);
    pool.close();
    expect(listed()).toEqual([]);
  });
});

describe.runIf(nativeOps().availability.ok)("a descriptor", () => {
  it("has one owner: a second block of its number is refused, and closes nothing", () => {
    const block = make();
    expect(openSharedMemory(block.descriptor)).toMatchObject({ ok: false, errno: "OWNED" });
    const pool = ProcessPool.create({ size: 64, count: 1 });
    expect(code(() => ProcessPool.attach(pool.descriptor))).toBe("ERR_BAD_DATA");
    expect(pool.processes().filter((pid) => pid !== 0)).toHaveLength(1);
    pool.release(pool.tryAcquire()!);
    expect(nativeOps().shared.inspect(pool.descriptor).ok).toBe(true);
    pool.close();
  });

  it("whose number is another file's by now, because somebody closed it, is not closed with its block", () => {
    const block = make();
    const number = block.descriptor;
    const other = make();
    nativeOps().shared.close(number);
    // The lowest free number.
    const again = openSync(`/proc/self/fd/${other.descriptor}`, "r+");
    expect(again).toBe(number);
    const opened = value(openSharedMemory(again));
    expect(block.descriptor).toBe(-1);
    block.retire();
    expect(value(nativeOps().shared.inspect(opened.descriptor)).inode).toBe(other.inode);
    opened.retire();
    const file = openSync(join(folder, "file"), "w+");
    expect(readFileSync(file, "utf8")).toBe("");
    closeSync(file);
  });
});
