import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch, availableParallelism, cpus, loadavg, release, totalmem, type } from "node:os";
import { findSystemNode } from "../../scripts/lib/system-node.ts";

/** What a reader must know about the machine to judge a figure; no name, user or path of it. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly kernel: string;
  readonly node: string;
  readonly v8: string;
  readonly systemNode: string | null;
  readonly compiler: string | null;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${distribution()} ${arch()}`,
    kernel: `${type()} ${release()}`,
    node: process.version,
    v8: process.versions.v8,
    systemNode: findSystemNode()?.version ?? null,
    compiler: firstLine("gcc", ["--version"]),
  };
}

/** Load averages over 1, 5 and 15 minutes, to two digits. */
export function load(): number[] {
  return loadavg().map((value) => Math.round(value * 100) / 100);
}

/**
 * Waits for a moment in which at least one core's worth is idle, for at most `limitMs`.
 * Answers whether it came: a run that starts without it is counted, not hidden.
 */
export async function waitForIdle(limitMs: number): Promise<boolean> {
  const end = performance.now() + limitMs;
  for (;;) {
    const before = idleAndTotal();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const after = idleAndTotal();
    const total = after.total - before.total;
    // 0.85 of a core: the measuring process needs one, and something always ticks.
    if (total > 0 && ((after.idle - before.idle) / total) * availableParallelism() >= 0.85) return true;
    if (performance.now() > end) return false;
  }
}

function idleAndTotal(): { idle: number; total: number } {
  let idle = 0;
  let total = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.irq + times.idle;
  }
  return { idle, total };
}

function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? type();
  } catch {
    return type();
  }
}

function firstLine(command: string, args: readonly string[]): string | null {
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8" });
  return status === 0 ? (stdout.split("\n")[0] ?? null) : null;
}
