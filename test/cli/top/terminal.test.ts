/** The live table in a real terminal: tmux is one that can be asked what it shows. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { PRELOAD, scratch } from "../../adapters/inspect/kit.ts";
import { kill } from "../../helpers/child.ts";
import { MAIN } from "../command.ts";

const APP = fileURLToPath(new URL("../../adapters/inspect/app.ts", import.meta.url));

function hasTmux(): boolean {
  try {
    execFileSync("tmux", ["-V"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

class Terminal {
  readonly #socket: string;

  /** A shell-less terminal of that size that runs a command, then says how it ended, and stays. */
  constructor(runtime: string, columns: number, rows: number, args: readonly string[]) {
    this.#socket = join(runtime, "tmux");
    const command = [process.execPath, MAIN, "top", ...args].map((word) => `'${word}'`).join(" ");
    const env = `XDG_RUNTIME_DIR='${runtime}' TMPDIR='${runtime}' LC_ALL=C.UTF-8 NODE_OPTIONS=`;
    const script = `stty -a | grep -o -- '-\\?icanon' ; env ${env} ${command}; echo "ended $?"; stty -a | grep -o -- '-\\?icanon'; cat`;
    const size = ["-x", String(columns), "-y", String(rows)];
    this.#tmux("-f", "/dev/null", "new-session", "-d", ...size, "sh", "-c", script);
    onTestFinished(() => {
      try {
        this.#tmux("kill-server");
      } catch {
        // It has ended.
      }
    });
  }

  get lines(): string[] {
    return this.#tmux("capture-pane", "-p").split("\n");
  }

  get text(): string {
    return this.lines.join("\n").trimEnd();
  }

  /** Whether the other screen is shown, and whether the cursor is. */
  get modes(): string {
    return this.#tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").trim();
  }

  press(...keys: string[]): void {
    this.#tmux("send-keys", ...keys);
  }

  resize(columns: number, rows: number): void {
    this.#tmux("resize-window", "-x", String(columns), "-y", String(rows));
  }

  shows(part: string | RegExp): Promise<void> {
    return expect.poll(() => this.text).toMatch(part);
  }

  #tmux(...args: string[]): string {
    return execFileSync("tmux", ["-S", this.#socket, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }
}

async function served(runtime: string): Promise<ChildProcess> {
  const { NODE_OPTIONS: _, ...given } = process.env;
  const child = spawn(process.execPath, ["--import", PRELOAD, APP, "plain"], {
    env: { ...given, XDG_RUNTIME_DIR: runtime },
    stdio: ["pipe", "pipe", "inherit", "ipc"],
  });
  onTestFinished(() => kill(child));
  const socket = join(runtime, "millpond/inspect", `${child.pid}.sock`);
  await expect.poll(() => existsSync(socket)).toBe(true);
  return child;
}

describe("millpond top in a terminal", () => {
  it("draws on another screen at any size, obeys keys, and gives the terminal back when it is quit", async (context) => {
    if (!hasTmux()) return context.skip("no tmux here");
    const runtime = scratch();
    await served(runtime);
    const terminal = new Terminal(runtime, 80, 24, []);
    await terminal.shows(/▸ frames +█··· +1\/4 .*\n {2}slots/);
    expect(terminal.modes).toBe("1 0");
    expect(terminal.lines[23]).toMatch(/^q quit/);
    terminal.press("Down", "Enter");
    await terminal.shows(/slots {2}SharedPool, active/);
    terminal.press("Escape");
    await terminal.shows("▸ slots");
    terminal.press("?");
    await terminal.shows("Enter           its holders");
    terminal.press("?", "s", "p");
    await terminal.shows(/paused[\s\S]*s sort \(name\)/);
    terminal.press("p");
    for (const [columns, rows] of [
      [40, 12],
      [100, 30],
      [20, 5],
    ] as const) {
      terminal.resize(columns, rows);
      const drawn = (): unknown[] => {
        const { lines } = terminal;
        return [lines[rows - 1]?.slice(0, 6), lines.filter((line) => line.startsWith("▸")).length];
      };
      await expect.poll(drawn).toEqual(["q quit", 1]);
    }
    terminal.press("q");
    await terminal.shows("ended 0");
    expect(terminal.modes).toBe("0 1");
    // The line discipline is as it was.
    expect(terminal.text.match(/-?icanon/g)).toEqual(["icanon", "icanon"]);
  });

  it("gives the terminal back when it is interrupted, and when the process ends, which it says", async (context) => {
    if (!hasTmux()) return context.skip("no tmux here");
    const runtime = scratch();
    const program = await served(runtime);
    const interrupted = new Terminal(runtime, 80, 24, []);
    await interrupted.shows("▸ frames");
    interrupted.press("C-c");
    await interrupted.shows("ended 0");
    expect(interrupted.modes).toBe("0 1");
    const other = scratch();
    const second = await served(other);
    const terminal = new Terminal(other, 100, 24, [String(second.pid)]);
    await terminal.shows("▸ frames");
    second.kill("SIGKILL");
    await terminal.shows(`process ${second.pid} (app.ts plain) has ended\nended 0`);
    expect(terminal.modes).toBe("0 1");
    expect(terminal.text.match(/-?icanon/g)).toEqual(["icanon", "icanon"]);
    expect(program.exitCode).toBeNull();
  });

  it("has the terminal while it waits for the first answer, and gives it back when none comes", async (context) => {
    if (!hasTmux()) return context.skip("no tmux here");
    const runtime = scratch();
    const folder = join(runtime, "millpond/inspect");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const server = createServer((_request, response) => response.flushHeaders());
    await new Promise<void>((resolve) => {
      server.listen(join(folder, `${process.pid}.sock`), resolve);
    });
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const terminal = new Terminal(runtime, 80, 24, [String(process.pid)]);
    await terminal.shows(/waiting for the first answer.* q quit/);
    await terminal.shows(/does not answer: its main thread is blocked or stopped\nended 1/);
    expect(terminal.modes).toBe("0 1");
  });

  it("lets the user choose one of several processes", async (context) => {
    if (!hasTmux()) return context.skip("no tmux here");
    const runtime = scratch();
    const programs = [await served(runtime), await served(runtime)].sort((a, b) => a.pid! - b.pid!);
    const list = (name: string): RegExp => new RegExp(`> ${programs[0]!.pid}  ${name}\n  ${programs[1]!.pid}  ${name}`);
    let terminal = new Terminal(runtime, 80, 24, []);
    await terminal.shows(list(".*"));
    // A program that a busy machine does not let answer within a second is listed without its name.
    while (terminal.text.includes("does not answer")) {
      terminal.press("q");
      await terminal.shows("ended 0");
      terminal = new Terminal(runtime, 80, 24, []);
      await terminal.shows(list(".*"));
    }
    expect(terminal.text).toMatch(list("app.ts plain"));
    terminal.press("Down", "Enter");
    await terminal.shows(`pid ${programs[1]!.pid}`);
    terminal.press("q");
    await terminal.shows("ended 0");
    expect(terminal.modes).toBe("0 1");
  });
});
