/**
 * Damaged files by the thousand, of every container that the command reads: cuts, flipped bits and large numbers at
 * random places. A child process opens each file and reads all its frames; a file that takes it more than 5 s, or ends
 * it, is kept, and so the limit of `millpond run` is measured on it: within 20 s, with exit code 0, 1 or 2, without a
 * signal. `node scripts/soak-hostile.ts [files] [seconds]`; the defaults of 5,000 files and 600 s take ten minutes at
 * most. Needs `npm run build`, and ffmpeg for MPEG-TS. The seed is printed; MILLPOND_SEED repeats it.
 */
import { type ChildProcess, execFileSync, fork, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openInput } from "../src/adapters/node/input-stream.ts";
import { openRawVideo } from "../src/adapters/raw-video/raw-video.ts";
import { openVideoFile, quietDecoders } from "../src/mediabunny.ts";
import { mulberry32 } from "../test/helpers/random.ts";

const SLOW_MS = 5_000;
const KILL_MS = 8_000;
const BOUND_MS = 20_000;
const MAIN = fileURLToPath(new URL("../dist/cli.js", import.meta.url));

if (process.argv[2] === "read") {
  quietDecoders();
  process.on("unhandledRejection", () => {});
  process.on("message", (path: string) => void readAll(path).then((end) => process.send?.(end)));
} else await soak(Number(process.argv[2] ?? 5_000), Number(process.argv[3] ?? 600));

/** Opens the file, reads every frame, and says how that ended. */
async function readAll(path: string): Promise<string> {
  let frames = 0;
  try {
    const file = path.endsWith(".y4m") ? await openRawVideo(openInput(path)) : await openVideoFile(path);
    try {
      for (let frame = await file.next(); frame !== undefined; frame = await file.next()) {
        frames++;
        frame.close();
      }
      return `${frames} frames, ${file.shortfall ?? "whole"}`;
    } finally {
      await file.close();
    }
  } catch (error) {
    return `${frames} frames, ${String(error)}`;
  }
}

async function soak(files: number, seconds: number): Promise<void> {
  const seed = Number(process.env.MILLPOND_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`MILLPOND_SEED=${seed}`);
  const random = mulberry32(seed);
  const scratch = mkdtempSync(join(tmpdir(), "millpond-soak-"));
  const kept: string[] = [];
  let child: ChildProcess | undefined;
  let done = 0;
  try {
    const names = makeContainers(scratch);
    const wholes = names.map((name) => readFileSync(join(scratch, name)));
    const until = performance.now() + seconds * 1000;
    for (; done < files && performance.now() < until; done++) {
      const at = done % names.length;
      const path = join(scratch, `in-${names[at]}`);
      writeFileSync(path, damage(wholes[at]!, random));
      child ??= fork(fileURLToPath(import.meta.url), ["read"], { stdio: ["ignore", "ignore", "ignore", "ipc"] });
      const began = performance.now();
      const end = await answerOf(child, path);
      const took = performance.now() - began;
      if (end === undefined) child = undefined;
      if (end !== undefined && took < SLOW_MS) continue;
      const copy = join(tmpdir(), `millpond-${seed}-${done}-${names[at]}`);
      copyFileSync(path, copy);
      const verdict = judge(copy);
      console.log(`${copy}: ${end ?? "no answer"} after ${(took / 1000).toFixed(1)} s; ${verdict.text}`);
      if (!verdict.isRight) kept.push(copy);
    }
  } finally {
    child?.kill("SIGKILL");
    rmSync(scratch, { recursive: true, force: true });
  }
  console.log(`${done} damaged files; ${kept.length} break a promise of the command`);
  if (kept.length > 0) process.exitCode = 1;
}

/** What the child says of a file; undefined when it had to be killed, or ended by itself. */
function answerOf(child: ChildProcess, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const end = (said?: unknown): void => {
      clearTimeout(bound);
      child.removeAllListeners();
      if (typeof said !== "string") child.kill("SIGKILL");
      resolve(typeof said === "string" ? said : undefined);
    };
    const bound = setTimeout(end, KILL_MS);
    child.once("message", end);
    child.once("exit", () => end());
    child.send(path);
  });
}

/** Runs the command itself on the file. */
function judge(path: string): { readonly isRight: boolean; readonly text: string } {
  const began = performance.now();
  const { status, signal, stderr } = spawnSync(process.execPath, [MAIN, "run", path, "--quiet"], {
    encoding: "utf8",
    timeout: BOUND_MS,
    killSignal: "SIGKILL",
  });
  const took = ((performance.now() - began) / 1000).toFixed(1);
  const text = `the command: code ${status}, signal ${signal}, ${took} s: ${stderr.replace(/\s+/g, " ").trim()}`;
  return { isRight: status === 0 || status === 1 || status === 2, text };
}

function makeContainers(scratch: string): string[] {
  const names = ["a.mp4", "a.mov", "a.mkv", "a.webm"];
  const pictures = "pattern width=64 height=48 frames=60";
  for (const name of names) {
    execFileSync(process.execPath, [MAIN, "run", `${pictures} ! encode ${join(scratch, name)}`, "--quiet"]);
  }
  execFileSync(process.execPath, [MAIN, "run", `${pictures} ! y4msink ${join(scratch, "a.y4m")}`, "--quiet"]);
  names.push("a.y4m");
  if (spawnSync("ffmpeg", ["-version"], { stdio: "ignore" }).status !== 0) {
    console.log("ffmpeg is not installed: MPEG-TS and fragmented MP4 are left out");
    return names;
  }
  const copy = ["-v", "error", "-y", "-i", join(scratch, "a.mp4"), "-c", "copy"];
  execFileSync("ffmpeg", [...copy, "-bsf:v", "h264_mp4toannexb", join(scratch, "a.ts")]);
  execFileSync("ffmpeg", [...copy, "-movflags", "frag_keyframe+empty_moov", join(scratch, "fragments.mp4")]);
  execFileSync("ffmpeg", [...copy, "-movflags", "faststart", join(scratch, "first.mp4")]);
  return [...names, "a.ts", "fragments.mp4", "first.mp4"];
}

/** One kind of damage of four. Half of it is done to the first or the last 2,000 bytes, where tables are. */
function damage(whole: Buffer, random: () => number): Uint8Array {
  const kind = Math.floor(random() * 4);
  const somewhere = (): number => {
    const place = random();
    const within = Math.floor(random() * Math.min(2_000, whole.length));
    if (place < 0.25) return within;
    return place < 0.5 ? whole.length - 1 - within : Math.floor(random() * whole.length);
  };
  if (kind === 0) return whole.subarray(0, 1 + Math.floor(random() * (whole.length - 1)));
  const bytes = Buffer.from(whole);
  const places = 1 + Math.floor(random() ** 2 * 24);
  for (let n = 0; n < places; n++) {
    const at = somewhere();
    if (kind === 1) bytes[at]! ^= 1 << (random() * 8);
    else if (kind === 2) bytes[at] = random() < 0.5 ? 0xff : 0x7f;
    else bytes[at] = random() * 256;
  }
  return bytes;
}
