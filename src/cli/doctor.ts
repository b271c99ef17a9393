/**
 * `millpond doctor`: tries each native step on 8 MiB of this machine and says what came of it, and how long it took.
 */
import { DmabufAllocator } from "../allocators/native/dmabuf.ts";
import { PagesAllocator, type PagesOptions } from "../allocators/native/pages.ts";
import { descriptorPair, receiveDescriptorSync, sendDescriptor } from "../os/descriptors.ts";
import { nativeOps } from "../os/load.ts";
import { openName, publishName } from "../os/names.ts";
import type { NativeOps } from "../os/native-ops.ts";
import { describeResult, type NotDone, type Outcome, type Result } from "../os/result.ts";
import { createSharedMemory, openSharedMemory, type SharedMemory } from "../os/shared-memory.ts";
import { wakeWaiters } from "../os/wait.ts";
import { describeRealtimePreference, realtimeWords } from "../pools/realtime/preference.ts";
import { MILLPOND_VERSION } from "./args.ts";

/** A 1080p frame in NV12 is 3 MB, in RGBA 8: the larger one. */
const SIZE: number = 8 * 1024 * 1024;

/** What one step gave. */
interface Finding {
  /** What was tried. */
  readonly step: string;
  /** "ok", or the step's {@link NotDone.status}. */
  readonly status: "ok" | NotDone["status"];
  /** What it covered, or why not and what would mend it. */
  readonly detail: string;
  /** Milliseconds that it took, once, cold. */
  readonly milliseconds: number;
}

/** Everything that the doctor found. */
interface Diagnosis {
  /** Version of millpond. */
  readonly millpond: string;
  /** Platform, architecture and runtime. */
  readonly machine: string;
  /** What system calls go through. */
  readonly native: NativeOps["name"];
  /** True when this platform's system calls have been tested. */
  readonly proven: boolean;
  /** Bytes in a page; null: not looked, because there are no native calls. */
  readonly pageSize: number | null;
  /** Bytes in a huge page; 0: none; null: not looked. */
  readonly hugePageSize: number | null;
  /** Bytes that may be locked; null: no limit, or not looked. */
  readonly memlock: number | null;
  /** Why the three above were not looked at; null: they were. */
  readonly notLooked: string | null;
  /**
   * The user's realtime preference: words, where it was stated, and a value of MILLPOND_REALTIME that was not
   * understood.
   */
  readonly realtime: { readonly words: string; readonly from: string; readonly ignored: string | null };
  /** Each step, in order. */
  readonly findings: readonly Finding[];
}

/** Tries every step. Nothing that it makes is left behind. */
export function diagnose(ops: NativeOps = nativeOps()): Diagnosis {
  const findings: Finding[] = [];
  const attempt = <T extends Result | Outcome<unknown>>(step: string, take: () => T): T => {
    const began = performance.now();
    const result = take();
    const milliseconds = performance.now() - began;
    const status = result.ok ? "ok" : result.status;
    findings.push({ step, status, detail: describeResult(result), milliseconds });
    return result;
  };
  attempt("native calls", () => ops.availability);
  pageSteps(ops, attempt);
  sharingSteps(ops, attempt);
  const dma = attempt("DMA buffer", () => new DmabufAllocator({ ops, required: true }).probe());
  if (dma.ok) findings[findings.length - 1] = { ...findings.at(-1)!, detail: `ok, by ${dma.value.kind}` };
  const { memlock } = ops.limits();
  const { availability } = ops;
  const isLooked = availability.ok;
  const notLooked = isLooked ? null : availability.errno === "KOFFI_ABSENT" ? "koffi is missing" : availability.hint;
  const { flags, from, ignored } = describeRealtimePreference();
  const { bun, deno, node } = process.versions as Record<string, string | undefined>;
  const runtime = bun !== undefined ? `bun ${bun}` : deno !== undefined ? `deno ${deno}` : `node ${node}`;
  return {
    millpond: MILLPOND_VERSION,
    machine: `${process.platform} ${process.arch}, ${runtime}`,
    native: ops.name,
    proven: ops.proven,
    // What stands for them without native calls are guesses that serve for rounding.
    pageSize: isLooked ? ops.pageSize : null,
    hugePageSize: isLooked ? ops.hugePageSize : null,
    memlock: isLooked && Number.isFinite(memlock) ? memlock : null,
    notLooked,
    realtime: { words: realtimeWords(flags), from, ignored: ignored ?? null },
    findings,
  };
}

type Attempt = <T extends Result | Outcome<unknown>>(step: string, take: () => T) => T;

function pageSteps(ops: NativeOps, attempt: Attempt): void {
  const block = (options: PagesOptions, use: (bytes: Uint8Array) => void): void => {
    const memory = new PagesAllocator({ ...options, ops }).allocate(SIZE);
    const mapping = memory.map("readwrite");
    use(mapping.bytes);
    mapping.unmap();
    memory.release();
  };
  block({}, (bytes) => {
    attempt("lock 8 MiB", () => ops.lock(bytes));
    attempt("unlock it", () => ops.unlock(bytes));
    attempt("give its pages back", () => ops.advise(bytes, "release"));
    attempt("make them present", () => ops.advise(bytes, "populate"));
  });
  block({ huge: true }, (bytes) => {
    attempt("ask for huge pages", () => ops.advise(bytes, "huge"));
    attempt("make huge pages present", () => ops.advise(bytes, "populate"));
  });
  const mapped = attempt("map 8 MiB", () => ops.map(SIZE));
  if (mapped.ok) attempt("release the mapping", () => ops.retire(mapped.value.address, mapped.value.bytes.length));
}

function sharingSteps(ops: NativeOps, attempt: Attempt): void {
  const block = attempt("shared memory, sealed", () => createSharedMemory(SIZE, "millpond-doctor", ops));
  if (!block.ok) return;
  attempt("its descriptor over a socket", () => overSocket(block.value, ops));
  attempt("open it by name", () => byName(block.value, ops));
  const words = new Int32Array(block.value.buffer, 0, 1);
  attempt("wake waiters in other processes", () => wakeWaiters(words, 0, 1, ops));
  attempt("end the sharing", () => block.value.retire());
}

function overSocket(block: SharedMemory, ops: NativeOps): Outcome<unknown> | Result {
  const pair = descriptorPair(ops);
  if (!pair.ok) return pair;
  const [left, right] = pair.value;
  const sent = sendDescriptor(left, block.descriptor, undefined, ops);
  // It was sent to ourselves: it is there, or it never comes.
  const received = sent.ok ? receiveDescriptorSync(right, 0, ops) : sent;
  for (const socket of pair.value) ops.shared.close(socket);
  if (!received.ok) return received;
  return closed(openSharedMemory(received.value.descriptor, ops));
}

function byName(block: SharedMemory, ops: NativeOps): Outcome<unknown> | Result {
  const name = `doctor-${process.pid}`;
  const published = publishName(name, block, ops);
  if (!published.ok) return published;
  const opened = openName(name, ops);
  const withdrawn = published.value.withdraw();
  const answer = closed(opened);
  return withdrawn.ok ? answer : withdrawn;
}

function closed(opened: Outcome<SharedMemory>): Outcome<unknown> | Result {
  return opened.ok ? opened.value.retire() : opened;
}

function preferenceText({ words, from, ignored }: Diagnosis["realtime"]): string {
  const why = ignored === null ? `from ${from}` : `MILLPOND_REALTIME=${ignored} has a word that is not understood`;
  return `realtime preference: ${words} (${why})`;
}

/** The diagnosis for people. */
export function printable(diagnosis: Diagnosis): string {
  const { findings, memlock, pageSize, hugePageSize, proven, notLooked } = diagnosis;
  const width = Math.max(...findings.map(({ step }) => step.length));
  const lines = findings.map(({ step, status, detail, milliseconds }) => {
    const time = status === "ok" ? `${milliseconds.toFixed(2)} ms` : "";
    return `  ${step.padEnd(width)}  ${time.padStart(9)}  ${detail}`;
  });
  return [
    `millpond ${diagnosis.millpond} on ${diagnosis.machine}`,
    notLooked === null
      ? `pages of ${pageSize} bytes; ${hugePageSize === 0 ? "no huge pages" : `huge pages of ${hugePageSize} bytes`}; ` +
        (memlock === null ? "no limit to locked memory" : `at most ${memlock} bytes of locked memory`)
      : `pages, huge pages, locked memory: not looked: ${notLooked}`,
    preferenceText(diagnosis.realtime),
    ...(proven ? [] : ["this platform's system calls are UNTESTED: please report what npm run test:native says"]),
    "",
    ...lines,
    "",
  ].join("\n");
}
