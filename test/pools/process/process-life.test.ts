/** Who has ended: by what the kernel says of him, and by nothing less. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { hasEnded, ownIdentity, parseStat, START_MASK } from "../../../src/os/process-liveness.ts";

const startOf = (pid: number): number => parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"))!.start;

/** "gone": somebody has waited for it between two looks. */
function stateOf(pid: number): string {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"))?.state ?? "gone";
  } catch {
    return "gone";
  }
}

describe.runIf(existsSync("/proc/self/stat"))("a process", () => {
  it("that runs has not ended; under another start it is another one, and that one has", () => {
    const { pid, start, namespace } = ownIdentity();
    expect([pid, start]).toEqual([process.pid, startOf(process.pid)]);
    expect(namespace).not.toBe(0);
    expect(hasEnded(pid, start!)).toBe(false);
    expect(hasEnded(pid, start! + 1)).toBe(true);
  });

  it("that was killed has ended, waited for or not; that is stopped has not", async () => {
    // The shell becomes a sleep that waits for nobody, so that its child stays a zombie; while it is a shell yet, it
    // may wait.
    const shell = spawn("sh", ["-c", "sleep 1000 & echo $!; exec sleep 1000"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const pid = Number(String((await once(shell.stdout, "data"))[0]));
    const start = startOf(pid);
    const own = startOf(shell.pid!);
    process.kill(pid, "SIGSTOP");
    expect(hasEnded(pid, start)).toBe(false);
    process.kill(pid, "SIGKILL");
    while (existsSync(`/proc/${pid}`) && stateOf(pid) !== "Z") {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(hasEnded(pid, start)).toBe(true);
    expect(hasEnded(shell.pid!, own)).toBe(false);
    shell.kill("SIGKILL");
    await once(shell, "exit");
    expect(hasEnded(shell.pid!, own)).toBe(true);
  });
});

describe.runIf(existsSync("/proc/self/stat"))("a process that can open no file more", () => {
  it("still sees that another one has ended, so that what that one held comes free", async () => {
    const ended = spawn("true");
    await once(ended, "exit");
    const file = new URL("../../../src/os/process-liveness.ts", import.meta.url).href;
    const program = `
      import { openSync } from "node:fs";
      import { hasEnded } from ${JSON.stringify(file)};
      try { for (;;) openSync("/dev/null"); } catch {}
      process.exitCode = hasEnded(${ended.pid}, 1) && !hasEnded(process.ppid, 1) ? 7 : 8;`;
    const child = spawn(
      "sh",
      ["-c", 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, program],
      {
        stdio: "inherit",
      },
    );
    expect(await once(child, "exit")).toEqual([7, null]);
  });
});

describe("the text of a stat", () => {
  const line = (name: string, state: string, threads: string, start: string): string =>
    `12 (${name}) ${state} 1 ${"0 ".repeat(15)}${threads} 0 ${start} 0 0`;

  it("is read behind a name that has anything in it", () => {
    expect(parseStat(line("a) Z 1 (b", "S", "3", "77"))).toEqual({ state: "S", threads: 3, start: 77 });
    expect(parseStat(line("x", "Z", "2", String(START_MASK + 6)))).toEqual({ state: "Z", threads: 2, start: 5 });
  });

  it("is refused when it is none", () => {
    for (const text of ["", "12 (x", line("x", "S", "many", "77"), line("x", "S", "1", "-7")]) {
      expect(parseStat(text)).toBeUndefined();
    }
  });
});
