import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { isPreloaded, preloadedBy, splitOptions } from "../../../src/adapters/inspect/preload.ts";
import { mergePools, type ProcessSnapshot } from "../../../src/observe/snapshot.ts";
import { exitOf, kill } from "../../helpers/child.ts";
import { FULL } from "../../helpers/effort.ts";
import { ask, PRELOAD, scratch, sendRaw, updatesOf, updateWhere } from "./kit.ts";

const APP = fileURLToPath(new URL("app.ts", import.meta.url));

interface Running {
  readonly child: ChildProcess;
  readonly folder: string;
  readonly socketPath: string;
}

function start(
  mode: string,
  { env = {}, args = ["--import", PRELOAD] }: { env?: object; args?: string[] } = {},
): Running {
  const runtime = scratch();
  const { NODE_OPTIONS: _, ...given } = process.env;
  const child = spawn(process.execPath, [...args, APP, mode], {
    env: { ...given, XDG_RUNTIME_DIR: runtime, ...env },
    stdio: ["pipe", "pipe", "pipe", "ipc"],
  });
  onTestFinished(() => kill(child));
  const folder = join(runtime, "millpond/inspect");
  return { child, folder, socketPath: join(folder, `${child.pid}.sock`) };
}

async function said(child: ChildProcess, text: string): Promise<void> {
  for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
    if (String(chunk).includes(text)) return;
  }
  throw new Error(`it did not say ${text}`);
}

async function ready(mode: string, options?: { env?: object; args?: string[] }): Promise<Running> {
  const running = start(mode, options);
  await said(running.child, "ready");
  await expect.poll(() => existsSync(running.socketPath)).toBe(true);
  return running;
}

async function snapshotWhere(
  { socketPath }: Running,
  isWanted: (snapshot: ProcessSnapshot) => boolean,
): Promise<ProcessSnapshot> {
  let found: ProcessSnapshot | undefined;
  await expect
    .poll(async () => {
      found = JSON.parse((await ask({ socketPath }, "/snapshot")).body) as ProcessSnapshot;
      return isWanted(found);
    })
    .toBe(true);
  return found!;
}

const namesOf = (snapshot: ProcessSnapshot): string[][] =>
  snapshot.realms.map(({ pools }) => pools.map(({ name }) => name));

describe("a program that has the inspector preloaded", () => {
  it("is seen with its workers, a shared pool as one entry with the thread of each member", async () => {
    const running = await ready("workers");
    const snapshot = await snapshotWhere(
      running,
      ({ realms }) => realms.length === 2 && realms[1]!.silent === undefined,
    );
    expect(namesOf(snapshot)).toEqual([
      ["frames", "slots"],
      ["slots", "of worker 1"],
    ]);
    const [, slots] = mergePools(snapshot);
    expect(slots).toMatchObject({ name: "slots", leased: 2, threads: [0, 1] });
    expect(slots!.members.map(({ thread, holds }) => [thread, holds])).toEqual([
      [0, 1],
      [1, 1],
    ]);
  });

  it("is seen with workers of workers; each is gone when it or the one that made it has ended", async () => {
    const running = await ready("nested");
    await snapshotWhere(running, (snapshot) => snapshot.realms.length === 3);
    running.child.send("terminate");
    const left = await snapshotWhere(running, (snapshot) => snapshot.realms.length === 1);
    expect(namesOf(left)).toEqual([["frames", "slots"]]);
  });

  it("is seen without a worker that has ended by itself", FULL, async () => {
    const running = await ready("workers");
    await snapshotWhere(running, (snapshot) => snapshot.realms.length === 2);
    running.child.send("exit");
    await snapshotWhere(running, (snapshot) => snapshot.realms.length === 1);
  });

  it("is seen while a worker is blocked: as it was, with the time for which it is silent, asked once", async () => {
    const running = await ready("blocked");
    await snapshotWhere(running, ({ realms }) => realms.length === 2 && realms[1]!.pools.length === 2);
    const updates = updatesOf(running, "/stream?interval=50");
    await updateWhere(updates, () => true);
    running.child.send("block");
    await said(running.child, "blocked");
    const first = await updateWhere(updates, ({ snapshot }) => (snapshot.realms[1]!.silent ?? 0) > 100);
    const later = await updateWhere(updates, ({ snapshot }) => (snapshot.realms[1]!.silent ?? 0) > 400);
    const [before, after] = [first.snapshot.realms, later.snapshot.realms];
    expect(after[1]!.pools.map(({ name }) => name)).toEqual(["slots", "of worker 1"]);
    expect(after[1]!.time).toBe(before[1]!.time);
    expect(after[0]!.time).toBeGreaterThan(before[0]!.time);
    expect(after[0]).not.toHaveProperty("silent");
  });

  it("is seen with the leases of a blocked worker, which a viewer had asked for rarely", async () => {
    const running = await ready("blocked");
    await snapshotWhere(running, ({ realms }) => realms.length === 2 && realms[1]!.pools.length === 2);
    const updates = updatesOf(running, "/stream?interval=50&holders=60000");
    await updateWhere(updates, ({ snapshot }) => snapshot.realms[1]!.pools.some(({ unlisted }) => unlisted));
    running.child.send("block");
    await said(running.child, "blocked");
    await updateWhere(updates, ({ snapshot }) => snapshot.realms[1]!.silent !== undefined);
    const { realms } = await snapshotWhere(running, () => true);
    expect(realms[1]!.pools.map(({ name, holders }) => [name, holders.length])).toEqual([
      ["slots", 2],
      ["of worker 1", 300],
    ]);
  });

  it("is seen when a worker was blocked before anybody looked", async () => {
    const running = await ready("blocked");
    running.child.send("block");
    await said(running.child, "blocked");
    const snapshot = await snapshotWhere(running, () => true);
    // Blocked before it could say that it is there, or before it could answer.
    for (const realm of snapshot.realms.slice(1)) expect(realm).toMatchObject({ thread: 1, pools: [] });
    expect(snapshot.realms[0]!.pools).toHaveLength(2);
  });

  it("ends when it would, as it would, and its socket with it", async () => {
    const short = start("short");
    const { code, stderr } = await exitOf(short.child);
    expect([code, stderr]).toEqual([7, ""]);
    expect(readdirSync(short.folder)).toEqual([]);
    const thrown = start("throw");
    const exit = await exitOf(thrown.child);
    expect(exit.code).toBe(1);
    expect(exit.stderr).toContain("the program's own");
    expect(readdirSync(thrown.folder)).toEqual([]);
    const killed = await ready("plain");
    killed.child.kill("SIGTERM");
    const [, signal] = (await once(killed.child, "exit")) as [number | null, string | null];
    expect(signal).toBe("SIGTERM");
  });

  it("ends when nothing of its own is left, though somebody looks", async () => {
    const running = await ready("input");
    const updates = updatesOf(running, "/stream?interval=50");
    await updateWhere(updates, () => true);
    const { socket } = sendRaw(running, "GET /half");
    await once(socket, "connect");
    running.child.stdin!.end();
    const [code, signal] = (await once(running.child, "exit")) as [number | null, string | null];
    expect([code, signal]).toEqual([0, null]);
    expect(readdirSync(running.folder)).toEqual([]);
  });

  it("is seen though it deletes process and the timers from its globals", async () => {
    const running = await ready("bare");
    const { realms } = await snapshotWhere(running, () => true);
    expect(realms[0]!.pools.map(({ name }) => name)).toEqual(["frames", "slots"]);
    await updateWhere(updatesOf(running, "/stream?interval=50"), () => true);
    expect((await ask(running, "/trace?seconds=1")).status).toBe(200);
  });

  it("starts where the folders cannot be made, and is then found in the temporary one", async () => {
    const folder = scratch();
    // The system says there that the folder above is missing, which it is not.
    const { child } = start("plain", { env: { XDG_RUNTIME_DIR: "/proc/nothing", TMPDIR: folder } });
    await said(child, "ready");
    const path = join(folder, `millpond-${process.geteuid!()}/inspect/${child.pid}.sock`);
    await expect.poll(() => existsSync(path)).toBe(true);
    expect((await ask({ socketPath: path }, "/snapshot")).status).toBe(200);
  });

  for (const [others, tag] of [[40, {}] as const, [0, FULL] as const]) {
    const title = `while it has closed its standard error, whose number a connection gets, beside ${others} others`;
    it(`is not looked at, and goes on, ${title}`, tag, async () => {
      const { child, socketPath } = await ready("no-stderr");
      const told = async (text: string): Promise<unknown> => {
        child.send(text);
        return ((await once(child, "message")) as unknown[])[0];
      };
      const heard: string[] = [];
      const connected = (): Socket => {
        const socket = connect(socketPath).on("data", (bytes: Buffer) => heard.push(String(bytes)));
        onTestFinished(() => void socket.destroy());
        return socket.on("error", () => {});
      };
      const idle = Array.from({ length: others }, connected);
      await Promise.all(idle.map((socket) => socket.connecting && once(socket, "connect")));
      expect(await told("close")).toBe("done");
      for (let look = 0; look < 3; look++) await expect(ask({ socketPath }, "/snapshot")).rejects.toThrow();
      const late = connected();
      await once(late, "close");
      expect(await told("write")).toBe("EBADF");
      expect(heard).toEqual([]);
      const exit = once(child, "exit");
      child.disconnect();
      expect(await exit).toEqual([0, null]);
    });
  }

  it("ends as it would though it has spoiled what an exit listener uses", async () => {
    const { child, folder } = await ready("spoiled");
    child.disconnect();
    await said(child, "the program's last word");
    const [code] = (await once(child, "exit")) as [number];
    expect([code, readdirSync(folder)]).toEqual([0, []]);
  });

  it("may exit in the middle of an answer", async () => {
    const running = await ready("plain");
    const updates = updatesOf(running, "/stream?interval=50");
    await updateWhere(updates, () => true);
    running.child.disconnect();
    const [code] = (await once(running.child, "exit")) as [number | null];
    expect(code).toBe(0);
    await expect(updateWhere(updates, () => false)).rejects.toThrow();
    expect(existsSync(running.socketPath)).toBe(false);
  });

  it("gives a trace: of what is recorded, or of the next seconds when nothing is", async () => {
    const running = await ready("workers");
    await snapshotWhere(running, ({ realms }) => realms.length === 2 && realms[1]!.silent === undefined);
    const parts = ["frames", "slots", "of worker 1", "main holds it", "worker holds it"];
    let body = "";
    let seconds = 1;
    await expect
      .poll(async () => {
        // Two at once: neither gets the other's parts.
        const [other, answer] = await Promise.all(
          [seconds + 1, seconds].map((some) => ask(running, `/trace?seconds=${some}`)),
        );
        // A worker that a busy machine made rest for so long is left out.
        seconds *= 2;
        expect(parts.filter((part) => !other!.body.includes(part))).toEqual([]);
        const name = `attachment; filename="millpond-${running.child.pid}.json"`;
        expect(answer!.headers["content-disposition"]).toBe(name);
        body = answer!.body;
        return parts.filter((part) => !body.includes(part));
      })
      .toEqual([]);
    const { otherData } = JSON.parse(body) as { readonly otherData: object };
    expect(otherData).toMatchObject({ pid: running.child.pid, title: "app.ts workers" });
  });

  it("serves though a killed process left its socket, and though another one has the place", async () => {
    const runtime = scratch();
    const env = { XDG_RUNTIME_DIR: runtime };
    const first = start("plain", { env });
    await said(first.child, "ready");
    const folder = join(runtime, "millpond/inspect");
    await expect.poll(() => existsSync(join(folder, `${first.child.pid}.sock`))).toBe(true);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    expect(readdirSync(folder)).toEqual([`${first.child.pid}.sock`]);
    const second = start("plain", { env });
    await said(second.child, "ready");
    // Two seconds after its start.
    await expect.poll(() => readdirSync(folder)).toEqual([`${second.child.pid}.sock`]);
  });

  it("runs on with a warning where nothing can be served", async () => {
    const runtime = scratch();
    writeFileSync(join(runtime, "millpond"), "");
    const { child } = start("short", { env: { XDG_RUNTIME_DIR: runtime, TMPDIR: join(runtime, "millpond") } });
    const { code, stderr } = await exitOf(child);
    expect(code).toBe(7);
    // It may end before it is warned.
    expect(stderr.replace(/.*the inspector is not served: .*\n.*\n?/, "")).toBe("");
  });

  it("is served by NODE_OPTIONS too, and not by an ordinary import", async () => {
    await ready("plain", { args: [], env: { NODE_OPTIONS: `--import=${PRELOAD}` } });
    const { child, folder } = start("plain", {
      args: ["-e", `import(${JSON.stringify(PRELOAD)}).then(() => console.log("ready"))`],
    });
    await said(child, "ready");
    expect(existsSync(folder)).toBe(false);
  });
});

describe("options that preload", () => {
  it("are found in every form, and nothing else is", () => {
    const args = [
      "--import",
      "a",
      "--import=b",
      "-r",
      "c",
      "--require",
      "d",
      "--require=e",
      "--imports=f",
      "g",
      "--import",
    ];
    expect(preloadedBy(args)).toEqual(["a", "b", "c", "d", "e"]);
    expect(splitOptions(' --import  x "--import=/a b/\\"c\\\\.js"  --y')).toEqual([
      "--import",
      "x",
      '--import=/a b/"c\\.js',
      "--y",
    ]);
    expect(splitOptions("")).toEqual([]);
    expect(isPreloaded(new URL("./other.js", import.meta.url).href)).toBe(false);
  });
});

describe("a socket of this process's number that others have", () => {
  it("stays theirs: the inspector takes another name", async () => {
    const runtime = scratch();
    const folder = join(runtime, "millpond/inspect");
    const before = process.env.XDG_RUNTIME_DIR;
    process.env.XDG_RUNTIME_DIR = runtime;
    onTestFinished(() => {
      if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
      else process.env.XDG_RUNTIME_DIR = before;
    });
    const { socketFolder } = await import("../../../src/adapters/inspect/sockets.ts");
    expect(socketFolder()).toBe(folder);
    const other = createServer((socket) => void socket.on("error", () => {}).end("other"));
    const taken = join(folder, `${process.pid}.sock`);
    await new Promise<void>((resolve) => other.listen(taken, resolve));
    onTestFinished(() => void other.close());
    const { serveInspector } = await import("../../../src/adapters/inspect/server.ts");
    const server = await serveInspector();
    expect(server.path).not.toBe(taken);
    expect((await ask({ socketPath: server.path! }, "/snapshot")).status).toBe(200);
    await server.close();
    expect(readdirSync(folder)).toEqual([`${process.pid}.sock`]);
  });
});
