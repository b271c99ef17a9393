/**
 * The trace of `--trace FILE`: what pools, stages, threads and the garbage collector did during a run.
 *
 * Life: `open` begins the file, so that a run need not end to hear that it cannot be written; `begin` begins to record;
 * `seal` ends that and does all writing that can fail; `commit` gives the file its name. `discard` before that leaves
 * nothing behind. Invariant: the file appears whole, or not at all.
 */
import { OutputFile } from "../../adapters/node/output-file.ts";
import { type Recorder, record } from "../../observe/recorder.ts";
import { MILLPOND_VERSION } from "../args.ts";
import { explain, Failure, Interruption } from "../exit.ts";

/** The last 20,000 frames or so of a run, at most 30 MB of trace. */
const RECORDED_EVENTS = 131_072;

/** See the module text. */
export class TraceFile {
  readonly #file: OutputFile;
  #recorder: Recorder | undefined;
  #isSealed = false;

  private constructor(file: OutputFile) {
    this.#file = file;
  }

  /** Throws {@link Failure} when the file cannot be written, and the signal's reason. */
  static async open(path: string, signal: AbortSignal): Promise<TraceFile> {
    try {
      return new TraceFile(await OutputFile.open(path, { signal }));
    } catch (error) {
      signal.throwIfAborted();
      throw cannotWrite(error);
    }
  }

  /** Records from now on. */
  begin(): void {
    this.#recorder = record({ thread: "main", capacity: RECORDED_EVENTS });
  }

  /** Writes what was recorded. Throws {@link Failure}. */
  async seal(): Promise<void> {
    const recorder = this.#recorder;
    if (recorder === undefined || this.#isSealed) return;
    this.#isSealed = true;
    recorder.stop();
    const trace = recorder.trace({ about: { program: `millpond ${MILLPOND_VERSION}` } });
    await this.#guard(async () => {
      await this.#file.write(Buffer.from(`${JSON.stringify(trace)}\n`));
      await this.#file.seal();
    });
  }

  /** The file gets its name. Throws {@link Failure}. */
  commit(): Promise<void> {
    return this.#guard(() => this.#file.commit());
  }

  /**
   * The run has failed: the trace shows how, so it stays, unless a signal has ended the run. That it cannot be written
   * is not worth a second message.
   */
  async keep(error: unknown): Promise<void> {
    if (error instanceof Interruption) return;
    try {
      await this.seal();
      await this.commit();
    } catch {
      await this.discard();
    }
  }

  /** Ends without a file; after {@link commit} it does nothing but stop to record. */
  async discard(): Promise<void> {
    this.#recorder?.stop();
    await this.#file.discard();
  }

  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      throw cannotWrite(error);
    }
  }
}

function cannotWrite(error: unknown): Failure {
  return new Failure(`the trace of --trace could not be written: ${explain(error)}`, 1, { cause: error });
}
