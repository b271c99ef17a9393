/**
 * Faults on purpose, so that tests can see how the command ends when a worker dies or the disk is full. They are asked
 * for through MILLPOND_TEST_FAULT, which no user sets: `throw:N`, `exit:N`, `crash:N`, `hang:N` at frame N in a worker,
 * `disk:N` after N bytes of a result file, `leak:N` keeps the buffer of frame N.
 */
import type { WorkerFault } from "./protocol.ts";

/** What was asked for. */
export interface Faults {
  /** In a worker. */
  readonly worker: WorkerFault | undefined;
  /** Bytes after which the disk is full. */
  readonly diskAfter: number | undefined;
  /** Frame whose buffer is not given back. */
  readonly leakAt: number | undefined;
}

/** Reads the variable; anything that is not understood asks for nothing. */
export function readFaults(text: string | undefined = process.env.MILLPOND_TEST_FAULT): Faults {
  const match = /^(throw|exit|crash|hang|disk|leak):(\d+)$/.exec(text ?? "");
  const kind = match?.[1];
  const at = Number(match?.[2]);
  return {
    worker:
      kind === "throw" || kind === "exit" || kind === "crash" || kind === "hang" ? { kind, frame: at } : undefined,
    diskAfter: kind === "disk" ? at : undefined,
    leakAt: kind === "leak" ? at : undefined,
  };
}
