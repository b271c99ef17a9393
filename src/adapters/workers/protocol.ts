/**
 * The messages between a workers stage and its threads. Bytes lie in shared memory, and a message says where; only a
 * stage whose frames move to the thread sends them along.
 */
import type { MessagePort } from "node:worker_threads";
import type { Recording } from "../../observe/recorder.ts";
import type { SharedHandle } from "../../pools/shared/attach.ts";

/** A frame as a worker's function sees it. */
export interface WorkerFrame {
  /** Its bytes, in shared memory; valid until the function (or its promise) is done. */
  readonly bytes: Uint8Array;
  /** Counts the frames of the stage, from 0. */
  readonly index: number;
  /** Presentation time in nanoseconds; undefined: none. */
  readonly pts: bigint | undefined;
  /** Nanoseconds that it is shown for; undefined: unknown. */
  readonly duration: bigint | undefined;
  /** What the bytes are, as plain data. */
  readonly format: WorkerFormat;
}

/** A format as plain data: what a message can carry. */
export interface WorkerFormat {
  /** "video", "audio" or "bytes". */
  readonly kind: "video" | "audio" | "bytes";
  /** The name of the pixel or sample format. */
  readonly format?: string;
  /** Columns. */
  readonly width?: number;
  /** Rows. */
  readonly height?: number;
  /** Planes of video: offset, stride, width, height, rowBytes; of audio: offset, size. */
  readonly planes?: readonly Readonly<Record<string, number>>[];
  /** Audio frames a second. */
  readonly sampleRate?: number;
  /** Audio channels. */
  readonly channels?: number;
}

/** What a thread begins with. */
export interface ThreadData {
  /** The address of the module. */
  readonly module: string;
  /** For every call. */
  readonly options: unknown;
  /** What the stage and the thread talk through; taken away before the module is loaded. */
  port?: MessagePort;
  /** What its recording calls it and its stage, and the events that it keeps; absent: it does not record. */
  readonly record?: { readonly thread: string; readonly stage: string; readonly capacity: number };
}

/** Stage to thread. */
export type ToThread =
  /** A pool to take part in. */
  | { readonly type: "pool"; readonly handle: SharedHandle }
  /** That pool is at its end. */
  | { readonly type: "leave"; readonly pool: number }
  /** Shared memory that belongs to no shared pool. */
  | { readonly type: "memory"; readonly id: number; readonly buffer: SharedArrayBuffer }
  | { readonly type: "format"; readonly format: WorkerFormat }
  | {
      readonly type: "work";
      readonly index: number;
      /**
       * Where the bytes are: a lease that the thread joins while it looks, memory by its number, or moved with the
       * message.
       */
      readonly place:
        | { readonly pool: number; readonly lease: number }
        | { readonly memory: number }
        | { readonly moved: ArrayBuffer };
      /** From the start of the slot or the memory. */
      readonly offset: number;
      readonly length: number;
      readonly pts: bigint | undefined;
      readonly duration: bigint | undefined;
    }
  /** The frames are done: the thread is to send what it recorded. */
  | { readonly type: "recording" }
  | { readonly type: "stop" };

/** Thread to stage. */
export type FromThread =
  /** Its own files are loaded; the module comes next. */
  | { readonly type: "loading" }
  | { readonly type: "ready" }
  | { readonly type: "broken"; readonly message: string }
  | { readonly type: "done"; readonly index: number; readonly result: unknown }
  | { readonly type: "failed"; readonly index: number; readonly message: string }
  | { readonly type: "recording"; readonly recording: Recording };

/**
 * True for a message of a thread. What a module that has found the port posts there may be anything that can be cloned:
 * plain data without getters.
 */
export function isFromThread(message: unknown): message is FromThread {
  if (typeof message !== "object" || message === null) return false;
  const { type, index, message: text, recording } = message as Readonly<Record<string, unknown>>;
  switch (type) {
    case "loading":
    case "ready":
      return true;
    case "broken":
      return typeof text === "string";
    case "done":
      return typeof index === "number";
    case "failed":
      return typeof index === "number" && typeof text === "string";
    case "recording":
      return isRecording(recording);
    default:
      return false;
  }
}

function isRecording(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { thread, pools, events, spans } = value as Readonly<Record<string, unknown>>;
  return typeof thread === "string" && [pools, events, spans].every((list) => Array.isArray(list));
}
