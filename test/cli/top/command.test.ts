import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { parseCommand } from "../../../src/cli/args.ts";
import type { InspectorUpdate, ProcessSnapshot } from "../../../src/observe/snapshot.ts";
import { ask, PRELOAD, scratch, updatesOf, updateWhere } from "../../adapters/inspect/kit.ts";
import { type Exit, exitOf, kill } from "../../helpers/child.ts";
import { FULL, HANGS_MS, REPEATED, times } from "../../helpers/effort.ts";
import { FakeProgram } from "../../helpers/fake-program.ts";
import { MAIN } from "../command.ts";
import { isHosted, runHosted } from "../command-host.ts";

const APP = fileURLToPath(new URL("../../adapters/inspect/app.ts", import.meta.url));

function env(runtime: string): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, FORCE_COLOR: __, ...given } = process.env;
  return { ...given, ...places(runtime) };
}

function places(runtime: string): Readonly<Record<string, string>> {
  return { XDG_RUNTIME_DIR: runtime, TMPDIR: runtime, LANG: "C.UTF-8", LC_ALL: "C.UTF-8" };
}

/** A program that serves, in a runtime folder of its own. */
async function served(runtime: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ["--import", PRELOAD, APP, "plain"], {
    env: env(runtime),
    stdio: ["pipe", "pipe", "inherit", "ipc"],
  });
  onTestFinished(() => kill(child));
  const socket = join(runtime, "millpond/inspect", `${child.pid}.sock`);
  await expect.poll(() => existsSync(socket)).toBe(true);
  return child;
}

function command(runtime: string, ...args: string[]): { readonly child: ChildProcess; readonly exit: Promise<Exit> } {
  const child = spawn(process.execPath, [MAIN, "top", ...args], {
    env: env(runtime),
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => kill(child));
  return { child, exit: exitOf(child) };
}

/** The socket of this process's number, in a folder that is made as a program that serves makes it. */
function socketIn(runtime: string): string {
  const folder = join(runtime, "millpond/inspect");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return join(folder, `${process.pid}.sock`);
}

/** A server on the socket of this process's number, in a runtime folder of its own. */
async function pretender(
  answer: (path: string, response: ServerResponse) => void,
): Promise<{ readonly runtime: string }> {
  const runtime = scratch();
  const server = createServer(({ url }, response) => answer(url!, response));
  await new Promise<void>((resolve) => server.listen(socketIn(runtime), resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { runtime };
}

/** Runs it to its end; in the fast lane without a process of its own. */
async function top(runtime: string, ...args: string[]): Promise<Exit> {
  const told = ["top", ...args];
  const given = places(runtime);
  if (!isHosted(told, given)) return command(runtime, ...args).exit;
  const hosted = await runHosted(told, runtime, given, HANGS_MS);
  return { ...hosted, stdout: hosted.stdout.toString(), stderr: hosted.stderr.toString() };
}

describe("millpond top", REPEATED, () => {
  it("prints a plain table to a pipe, one snapshot as JSON, or one a line until the process has ended", async () => {
    const runtime = scratch();
    const program = await served(runtime);
    const table = await top(runtime);
    expect(table).toMatchObject({ code: 0, stderr: "" });
    expect(table.stdout).not.toContain("\u001b");
    expect(table.stdout).toContain(`app.ts plain  pid ${program.pid}`);
    expect(table.stdout).toMatch(/frames +Buffer +█··· +1\/4 .* main holds it\n/);
    const one = await top(runtime, String(program.pid), "--json");
    expect(one).toMatchObject({ code: 0, stderr: "" });
    const snapshot = JSON.parse(one.stdout) as ProcessSnapshot;
    expect(snapshot.pid).toBe(program.pid);
    expect(snapshot.realms[0]!.pools.map(({ name }) => name)).toEqual(["frames", "slots"]);
    const lines = command(runtime, "--json", "--interval", "0.05");
    await once(lines.child.stdout!, "data");
    program.disconnect();
    const { code, stdout, stderr } = await lines.exit;
    expect([code, stderr]).toEqual([0, `millpond: process ${program.pid} has ended\n`]);
    const times = stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as ProcessSnapshot).time);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  it("names the processes when there are several and nobody can choose, and says how to serve when there is none", async () => {
    const runtime = scratch();
    const none = await top(runtime);
    expect(none.code).toBe(1);
    expect(none.stderr.replaceAll(/\s+/g, " ")).toContain(
      "no process of this user serves an inspector; start the program with: node --import millpond/inspect app.js",
    );
    const [first, second] = [await served(runtime), await served(runtime)];
    let text: string;
    // A program that a busy machine does not let answer within a second is listed without its name.
    do {
      const several = await top(runtime, "--json");
      expect([several.code, several.stdout]).toEqual([1, ""]);
      text = several.stderr.replaceAll(/\s+/g, " ");
    } while (text.includes("does not answer"));
    for (const { pid } of [first, second]) expect(text).toContain(`${pid} (app.ts plain)`);
    const other = await top(runtime, String(process.pid));
    expect(other.stderr.replaceAll(/\s+/g, " ")).toContain(
      `process ${process.pid} serves no inspector to this user; these do: `,
    );
    expect((await top(runtime, String(second.pid), "--json")).code).toBe(0);
    const absent = await top(runtime, "2147483647");
    expect(absent).toMatchObject({ code: 1, stderr: "millpond: there is no process 2147483647\n" });
  });

  it("takes the socket that knows more pools where a process has two", async () => {
    const runtime = scratch();
    const program = await served(runtime);
    const folder = join(runtime, "millpond/inspect");
    const real = JSON.parse(
      (await ask({ socketPath: join(folder, `${program.pid}.sock`) }, "/snapshot")).body,
    ) as object;
    const empty = { ...real, title: "empty", realms: [] };
    const server = createServer((_request, response) => void response.end(JSON.stringify(empty)));
    await new Promise<void>((resolve) => server.listen(join(folder, `${program.pid}.abc.sock`), resolve));
    onTestFinished(() => void server.close());
    let title: string;
    // A program that a busy machine does not let answer in time counts as one that knows none.
    do {
      const { stdout } = await top(runtime, String(program.pid), "--json");
      ({ title } = JSON.parse(stdout) as ProcessSnapshot);
    } while (title === "empty");
    expect(title).toBe("app.ts plain");
  });

  it("removes the socket of a process that was killed, and never that of one that lives", async () => {
    const runtime = scratch();
    const [killed, living] = [await served(runtime), await served(runtime)];
    await kill(killed);
    const folder = join(runtime, "millpond/inspect");
    expect(readdirSync(folder)).toHaveLength(2);
    expect((await top(runtime, "--json")).code).toBe(0);
    expect(readdirSync(folder)).toEqual([`${living.pid}.sock`]);
  });

  it("says that a process does not answer, or not as an inspector does, and shows nothing of it", async () => {
    const runtime = scratch();
    const answers = ["<html>", "{}", '{"version":1,"realms":null}', "null", `{"version":2,"realms":[]}`];
    let answer = "";
    const server = createServer((_request, response) => void response.end(`${answer}\n`));
    await new Promise<void>((resolve) => server.listen(socketIn(runtime), resolve));
    onTestFinished(() => void server.close());
    for (answer of answers) {
      for (const args of answer === "{}" ? [[], ["--interval", "1"]] : [[]]) {
        const { code, stdout, stderr } = await top(runtime, String(process.pid), ...args);
        expect([answer, code, stdout]).toEqual([answer, 1, ""]);
        expect(stderr).toContain("does not answer as an inspector of this version does");
      }
    }
  });

  it("shows nothing of an update of which any part has another shape, in no form", async () => {
    const evil = "\u001b]0;title\u0007\u001b[2J";
    const spoils: readonly (readonly [place: string, value: unknown])[] = [
      ["pid", evil],
      ["realms.0.pools.0.holders.0.slot", evil],
      ["realms.0.pools.0.members.0.pid", evil],
      ["realms.0.pools.0.members.0.state", 5],
      ["realms.0.pools.0.starvedLast", null],
      ["realms.0.pools.0.starvedLast.waiting", evil],
    ];
    const program = new FakeProgram();
    const member = { member: 0, self: true, state: "live", holds: 1, waiting: false };
    const options = { name: "frames", kind: "SharedPool", count: 4, shared: 7, members: [member] } as const;
    const pool = program.pool(options);
    pool.acquire(0, "decode");
    pool.starve(1000, 1);
    const good = JSON.stringify(program.update());
    let answer = good;
    const { runtime } = await pretender((path, response) => {
      if (path === "/snapshot") response.end(JSON.stringify((JSON.parse(answer) as InspectorUpdate).snapshot));
      else response.write(`${answer}\n${answer}\n`);
    });
    expect(await top(runtime, String(process.pid))).toMatchObject({ code: 0, stderr: "" });
    for (const [place, value] of spoils) {
      const update = JSON.parse(good) as InspectorUpdate;
      const keys = place.split(".");
      const last = keys.pop()!;
      let parent = update.snapshot as unknown as Record<string, unknown>;
      for (const key of keys) parent = parent[key] as Record<string, unknown>;
      parent[last] = value;
      answer = JSON.stringify(update);
      const exits = await Promise.all(
        [[], ["--json"], ["--web"]].map((args) => top(runtime, String(process.pid), ...args)),
      );
      for (const { code, stdout, stderr } of exits) {
        expect([place, code, stdout]).toEqual([place, 1, ""]);
        expect(stderr.replaceAll(/\s+/g, " ")).toContain("does not answer as an inspector of this version does");
      }
    }
  });

  it("says that a process does not answer which is blocked after the beginning of its answer", async () => {
    const { runtime } = await pretender((_path, response) => response.flushHeaders());
    // Together, in processes of their own: each waits for some seconds.
    const ways = [["--json", "--interval", "0.05"], []].slice(0, times(1, 2));
    for (const { code, stdout, stderr } of await Promise.all(
      ways.map((args) => command(runtime, String(process.pid), ...args).exit),
    )) {
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr.replaceAll(/\s+/g, " ")).toContain("does not answer: its main thread is blocked or stopped");
    }
  });

  it("says that a process does not answer whose answers end before an update", async () => {
    const { runtime } = await pretender((_path, response) => void response.end('{"version":1}'));
    const { code, stdout, stderr } = await top(runtime);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`process ${process.pid} does not answer`);
  });

  it("prints what a process told once that is blocked since, and says so", async () => {
    const update = JSON.stringify(new FakeProgram({ title: "told once" }).update());
    const { runtime } = await pretender((_path, response) => void response.write(`${update}\n`));
    const waiting = command(runtime, String(process.pid)).exit;
    const { child, exit } = command(runtime, String(process.pid), "--interval", "0.05");
    let said = "";
    child.stderr!.on("data", (data) => {
      said += data;
      child.kill("SIGTERM");
    });
    expect((await exit).stdout).toContain("told once  pid ");
    expect(said.replaceAll(/\s+/g, " ")).toContain(
      "does not answer: its main thread is blocked or stopped; it is waited for",
    );
    const once = await waiting;
    expect(once.code).toBe(1);
    expect(once.stdout).toContain("told once  pid ");
    expect(once.stderr).toContain("does not answer: its main thread is blocked or stopped");
  });

  it("serves the page on a port with a token, and what the process's socket says, until the process has ended", async () => {
    const runtime = scratch();
    const program = await served(runtime);
    const { child, exit } = command(runtime, "--web");
    const [line] = (await once(child.stdout!, "data")) as [Buffer];
    const url = new URL(String(line).trim());
    const token = url.searchParams.get("token")!;
    const where = { host: "127.0.0.1", port: Number(url.port) };
    expect((await ask(where, `/?token=${token}`)).headers["content-type"]).toBe("text/html; charset=utf-8");
    const { status, headers, body } = await ask(where, `/snapshot?token=${token}`);
    expect([status, (JSON.parse(body) as ProcessSnapshot).pid]).toEqual([200, program.pid]);
    expect(headers).toMatchObject({ "x-content-type-options": "nosniff", "cache-control": "no-store" });
    const update: InspectorUpdate = await updateWhere(
      updatesOf(where, `/stream?interval=50&token=${token}`),
      () => true,
    );
    expect(update.snapshot.pid).toBe(program.pid);
    for (const path of ["/", "/snapshot", "/stream", "/trace"]) {
      expect((await ask(where, path)).status).toBe(401);
      expect((await ask(where, `${path}?token=${token}x`)).status).toBe(401);
      expect((await ask(where, `${path}?token=${token}`, { headers: { host: "evil.example" } })).status).toBe(403);
      expect((await ask(where, `${path}?token=${token}`, { headers: { origin: "http://evil.example" } })).status).toBe(
        403,
      );
      expect((await ask(where, `${path}?token=${token}`, { method: "POST" })).status).toBe(405);
    }
    expect((await ask(where, `/other?token=${token}`)).status).toBe(404);
    expect((await ask(where, `/stream?token=${token}&interval=1`)).status).toBe(400);
    const taken = await top(runtime, "--web", "--port", url.port);
    expect([taken.code, taken.stdout]).toEqual([1, ""]);
    expect(taken.stderr).toContain("it is in use");
    program.disconnect();
    expect((await exit).code).toBe(0);
  });

  it("goes on when the process cuts its stream off, and says when it serves no more", async () => {
    const runtime = scratch();
    const { snapshot } = new FakeProgram().update();
    let streams = 0;
    const server = createServer((_request, response) => {
      streams++;
      response.write(`${JSON.stringify({ snapshot: { ...snapshot, uptime: streams }, events: [], dropped: 0 })}\n`);
      setTimeout(() => response.destroy(), 50);
    });
    // A socket of a living process's number.
    await new Promise<void>((resolve) => server.listen(socketIn(runtime), resolve));
    const { exit } = command(runtime, String(process.pid), "--json", "--interval", "0.05");
    await expect.poll(() => streams).toBeGreaterThan(2);
    server.close();
    server.closeAllConnections();
    const { code, stdout, stderr } = await exit;
    expect([code, stderr]).toEqual([0, `millpond: process ${process.pid} serves its inspector no more\n`]);
    const uptimes = stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as ProcessSnapshot).uptime);
    expect(uptimes.slice(0, 3)).toEqual([1, 2, 3]);
  });

  for (const [signal, code, tag] of [
    ["SIGINT", 130, {}],
    ["SIGTERM", 143, FULL],
  ] as const) {
    it(`ends with the code of ${signal} when it is told to`, tag, async () => {
      const runtime = scratch();
      await served(runtime);
      const { child, exit } = command(runtime, "--json", "--interval", "0.05");
      await once(child.stdout!, "data");
      child.kill(signal);
      expect((await exit).code).toBe(code);
    });
  }

  it.each([
    [["top", "x"], /takes the number of a process, not "x"/],
    [["top", "0"], /takes the number/],
    [["top", "1.5"], /takes the number/],
    [["top", "1", "2"], /one process, and here are 2/],
    [["top", "--jsn"], /did you mean --json\?/],
    [["top", "--interval"], /--interval needs a value/],
    [["top", "--interval", "0"], /--interval is a number of seconds from 0.05 to 60, not "0"/],
    [["top", "--interval", "-1"], /not "-1"/],
    [["top", "--interval", ""], /--interval is a number/],
    [["top", "--json=1"], /--json takes no value/],
    [["top", "--json", "--json"], /--json is given twice/],
    [["top", "--web", "--json"], /exclude each other/],
    [["top", "--web", "--interval", "1"], /not for --web/],
    [["top", "--port", "80"], /--port belongs to --web/],
    [["top", "--web", "--port", "65536"], /--port is a whole number from 0 to 65535/],
    [["topp"], /did you mean "top"\?/],
    [["top", "4294967297"], /takes the number/],
  ])("refuses %j before it looks at any process", (args, message) => {
    expect(() => parseCommand(args)).toThrow(message);
  });

  it("reads the process, the form and the interval from its options", () => {
    const defaults = { pid: undefined, json: false, interval: undefined, web: false, port: 0 };
    expect(parseCommand(["top"])).toEqual({ kind: "top", options: defaults });
    expect(parseCommand(["top", "12", "--json", "--interval", "0.25"])).toEqual({
      kind: "top",
      options: { ...defaults, pid: 12, json: true, interval: 250 },
    });
    expect(parseCommand(["top", "--web", "--port=9000"])).toMatchObject({ options: { web: true, port: 9000 } });
    for (const args of [
      ["top", "--help"],
      ["help", "top"],
    ])
      expect(parseCommand(args)).toEqual({ kind: "help", topic: "top" });
  });
});
