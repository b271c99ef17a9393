/**
 * An audio callback that allocates: 128 frames at 48 kHz, so 2.67 ms each, in which a mixer takes scratch blocks of changing
 * sizes for its voices and gives them back. Once from a RealtimePool, by integers; once as plain Float32Arrays, in the same
 * program with the same heap of other objects beside it. A callback that takes longer than until the next one is a miss, and
 * would be heard.
 *
 *   npx node examples/realtime-audio.ts [callbacks]
 */
import { constants, PerformanceObserver } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { RealtimePool } from "../src/index.ts";

const RATE = 48_000;
const FRAMES = 128;
const PERIOD = (FRAMES / RATE) * 1000;
const CALLBACKS = Number(process.argv[2] ?? 1500);
const VOICES = 32;
/** Frames of the longest scratch block: a partition of a reverb's impulse response. */
const LONGEST = 32_768;

/** What an application has beside its audio: half a million live objects, which every full collection has to look at. */
const application = Array.from({ length: 500_000 }, (_, id) => ({ id, name: `clip ${id}`, tags: [id % 7] }));

let seed = 1;
/** Frames that a voice needs this time. */
function framesWanted(): number {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
  return FRAMES + ((seed >>> 8) % (LONGEST - FRAMES));
}

const output = new Float32Array(FRAMES);

/** A voice: a ramp into its scratch block, mixed to the output from there. */
function play(samples: Float32Array, start: number, voice: number): void {
  for (let i = 0; i < FRAMES; i++) samples[start + i] = (voice + i) / (VOICES * FRAMES);
  for (let i = 0; i < FRAMES; i++) output[i]! += samples[start + i]!;
}

const pool = RealtimePool.create({ totalSize: VOICES * LONGEST * 4 + VOICES * 8, name: "mixer" });
const memory = new Float32Array(pool.buffer, pool.byteOffset);
const blocks = new Int32Array(VOICES);

function pooled(): void {
  output.fill(0);
  for (let voice = 0; voice < VOICES; voice++) {
    blocks[voice] = pool.alloc(framesWanted() * 4);
    play(memory, blocks[voice]! >> 2, voice);
  }
  for (let voice = 0; voice < VOICES; voice++) pool.free(blocks[voice]!);
}

const arrays: Float32Array[] = [];

function plain(): void {
  output.fill(0);
  for (let voice = 0; voice < VOICES; voice++) {
    arrays[voice] = new Float32Array(framesWanted());
    play(arrays[voice]!, 0, voice);
  }
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const took = new Float64Array(CALLBACKS);
/** The least work that each callback has taken, over all rounds. */
const least = new Float64Array(CALLBACKS);

/**
 * Milliseconds that this thread has worked: a miss while another process had the core is the machine's, which has no audio
 * thread here, and is told apart. Before Node 22.19 that cannot be seen, and never what a hypervisor takes.
 */
const { threadCpuUsage } = process;
const cpuTime: () => number =
  threadCpuUsage === undefined
    ? () => performance.now()
    : () => {
        const { user, system } = threadCpuUsage.call(process);
        return (user + system) / 1000;
      };

/**
 * Calls `callback` as a sound card would, and counts the times it was late. Each round asks for the same sizes in the same order, so
 * what a callback takes by its own work it takes in every round; what a machine takes away strikes elsewhere each time. A collection
 * does so too: those are counted over all rounds.
 */
async function run(name: string, callback: () => void, rounds: number): Promise<void> {
  // The compiler's work is not the allocator's: it is done before the music starts.
  for (let i = 0; i < 300; i++) callback();
  // Both begin with a clean heap: a collection that building the application began is nobody's miss.
  collectGarbage();
  let collections = 0;
  let full = 0;
  const count = (entries: readonly object[]): void => {
    for (const entry of entries) {
      collections++;
      if ((entry as { detail?: { kind?: number } }).detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR) full++;
    }
  };
  const observer = new PerformanceObserver((list) => count(list.getEntries()));
  observer.observe({ entryTypes: ["gc"] });
  let misses = 0;
  least.fill(Number.POSITIVE_INFINITY);
  for (let round = 0; round < rounds; round++) {
    seed = 1;
    misses = 0;
    let due = performance.now();
    for (let i = 0; i < CALLBACKS; i++) {
      while (performance.now() < due);
      const worked = cpuTime();
      const began = performance.now();
      callback();
      const ended = performance.now();
      took[i] = ended - began;
      least[i] = Math.min(least[i]!, cpuTime() - worked, took[i]!);
      if (took[i]! > PERIOD) misses++;
      due = Math.max(due + PERIOD, ended);
    }
  }
  const own = least.filter((work) => work > PERIOD).length;
  // Entries arrive through the event loop, which the callbacks did not let turn.
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  count(observer.takeRecords());
  observer.disconnect();
  took.sort();
  const at = (share: number): string => `${(took[Math.floor(share * (CALLBACKS - 1))]! * 1000).toFixed(0)} us`;
  console.log(
    `${name}: ${misses} of ${CALLBACKS} callbacks missed, ${own} by their own work; median ${at(0.5)}, 99 % ${at(0.99)}, longest ${at(1)} ` +
      `of ${(PERIOD * 1000).toFixed(0)} us; ${collections} collections, ${full} of them full`,
  );
}

console.log(`${VOICES} voices, ${application.length} objects beside them; locked: ${pool.locked} (${pool.lockReason})`);
await run("RealtimePool     ", pooled, 3);
await run("new Float32Array ", plain, 1);
pool.close();
