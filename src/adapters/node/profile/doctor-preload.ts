/**
 * What `millpond doctor app.js` loads into the program before its first line, and into each worker and forked child of
 * it. It counts ({@link Recorder}) and writes what it knows into a private folder: at the thread's end, and every
 * second before it, because a thread that is terminated or killed has no end in order. It keeps nothing alive.
 *
 * It imports nothing of the package but its neighbors, so that it sees the program as it is, and loads on Node 20.11.
 */
import { join } from "node:path";
import { isMainThread, threadId } from "node:worker_threads";
import {
  byteLength,
  closeSync,
  list,
  openSync,
  renameSync,
  resourceUsage,
  type SafeSet,
  textOf,
  writeSync,
} from "./originals.ts";
import { patch } from "./patches.ts";
import { PROFILE_FORMAT, type ResourceProfile, type ThreadProfile } from "./profile.ts";
import { Recorder } from "./recorder.ts";

/** What the command asks of the preload. */
export interface PreloadOptions {
  /** The folder for what is known. */
  readonly folder: string;
  /** Bytes; smaller buffers are not looked at. */
  readonly threshold: number;
  /** Where this package lies. */
  readonly root: string;
}

/** A short program is interrupted in its first second, too. */
const FIRST_WRITES_MS = [100, 300] as const;
const WRITE_MS = 1000;

const { setInterval: every, setTimeout: later } = globalThis;
const { pid, version } = process;

/** Begins to count. Called once, by the file that the command writes. */
export function start({ folder, threshold, root }: PreloadOptions): void {
  const recorder = new Recorder(root);
  const file = join(folder, `${pid}-${threadId}.json`);
  let isDone = false;
  let nextWrite = WRITE_MS;

  const write = (isFinal: boolean): void => {
    if (isDone) return;
    isDone = isFinal;
    nextWrite = recorder.age + WRITE_MS;
    try {
      const profile: ThreadProfile = {
        format: PROFILE_FORMAT,
        pid,
        thread: threadId,
        node: version,
        wallMs: recorder.age,
        isFinal,
        // Before the last collection, which is the doctor's.
        ...(isMainThread && { resources: resources() }),
        ...recorder.profile(isFinal, !isMainThread),
        addons: listOf(recorder.addons),
        programs: listOf(recorder.programs),
      };
      replace(file, textOf(profile));
    } catch {
      // The folder has gone with the command, the program may not write, or it has changed what this is made of.
    }
  };

  patch(recorder, threshold, () => {
    if (recorder.age > nextWrite) write(false);
  });
  for (const delay of FIRST_WRITES_MS) later(() => write(false), delay).unref();
  every(() => write(false), WRITE_MS).unref();
  // One listener more must not be the one that Node warns of.
  process.setMaxListeners(process.getMaxListeners() + 1);
  process.on("exit", () => write(true));
}

/** Whole or not at all: the process may be killed meanwhile, or the disk be full. */
function replace(file: string, text: string): void {
  const descriptor = openSync(`${file}.part`, "w", 0o600);
  let written = 0;
  try {
    written = writeSync(descriptor, text);
  } finally {
    closeSync(descriptor);
  }
  if (written === byteLength(text)) renameSync(`${file}.part`, file);
}

function listOf(names: SafeSet<string>): string[] {
  const all = list<string>();
  names.forEach((name) => {
    all[all.length] = name;
  });
  return all;
}

function resources(): ResourceProfile {
  const { userCPUTime, systemCPUTime, minorPageFault, majorPageFault, maxRSS } = resourceUsage();
  return {
    userMs: userCPUTime / 1000,
    systemMs: systemCPUTime / 1000,
    minorFaults: minorPageFault,
    majorFaults: majorPageFault,
    maxRss: maxRSS * 1024,
  };
}
