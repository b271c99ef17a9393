/** Reads from a process that serves its inspector on a socket. What comes is checked whole. */
import { type IncomingMessage, request } from "node:http";
import type { InspectorUpdate, ProcessSnapshot } from "../../observe/snapshot.ts";
import { snapshotIn, updateIn } from "./check.ts";

/** Bytes of one update: 2,000 pools with their holders have 4 MB. */
const MAX_UPDATE = 64 * 2 ** 20;

/** Why a process could not be read. */
export class ReadError extends Error {
  /** "gone": nobody listens; "silent": it does not answer; "busy": too many look; "odd": it is not an inspector. */
  readonly kind: "gone" | "silent" | "busy" | "odd";

  /** Says why. */
  constructor(kind: "gone" | "silent" | "busy" | "odd", message: string) {
    super(message);
    this.kind = kind;
  }
}

/** One snapshot. Rejects with {@link ReadError}, "silent" after so many milliseconds. */
export async function readSnapshot(path: string, timeout: number): Promise<ProcessSnapshot> {
  const response = await open(path, "/snapshot", timeout);
  const timer = setTimeout(() => response.destroy(new ReadError("silent", "it stopped in the middle")), timeout);
  try {
    let text = "";
    for await (const chunk of response.setEncoding("utf8")) {
      text += chunk as string;
      if (text.length > MAX_UPDATE) throw new ReadError("odd", "its answer is too long");
    }
    return orOdd(snapshotIn(text));
  } catch (error) {
    throw error instanceof ReadError ? error : new ReadError("gone", String(error));
  } finally {
    clearTimeout(timer);
  }
}

/** How a stream is read. */
interface WatchOptions {
  /** The socket. */
  readonly path: string;
  /** Milliseconds between updates. */
  readonly interval: number;
  /** Milliseconds that the answer may take to begin, and then its first update. */
  readonly timeout: number;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/**
 * Updates, without events, until the process ends; it rejects with {@link ReadError} when there is no first one in
 * time, and when one is odd.
 */
export async function* watchProcess({
  path,
  interval,
  timeout,
  signal,
}: WatchOptions): AsyncGenerator<InspectorUpdate> {
  const response = await open(path, `/stream?interval=${interval}&events=0`, timeout, signal);
  // What blocks a process may come after the beginning of its answer.
  const timer = setTimeout(() => response.destroy(new ReadError("silent", "it tells nothing")), timeout);
  let text = "";
  try {
    for await (const chunk of response.setEncoding("utf8")) {
      text += chunk as string;
      if (text.length > MAX_UPDATE) throw new ReadError("odd", "its answer is too long");
      for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const update = orOdd(updateIn(line));
        clearTimeout(timer);
        yield update;
      }
    }
  } catch (error) {
    // Reset by a process that ended.
    if (error instanceof ReadError) throw error;
  } finally {
    clearTimeout(timer);
    response.destroy();
  }
}

function orOdd<T>(value: T | undefined): T {
  if (value === undefined) throw new ReadError("odd", "it is no snapshot of this version");
  return value;
}

/**
 * Whether that is what an HTTP client says of an answer that is none: somebody lives there and speaks something else.
 */
export function isNoAnswer({ code }: NodeJS.ErrnoException): boolean {
  return code?.startsWith("HPE_") === true;
}

function open(path: string, target: string, timeout: number, signal?: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request({
      socketPath: path,
      path: target,
      agent: false,
      ...(signal === undefined ? {} : { signal }),
    });
    const timer = setTimeout(() => asked.destroy(new ReadError("silent", "it does not answer")), timeout);
    asked.on("response", (response) => {
      clearTimeout(timer);
      // What is not read to its end must not surface as an uncaught error.
      response.on("error", () => {});
      if (response.statusCode === 200) resolve(response);
      else {
        response.destroy();
        reject(new ReadError(response.statusCode === 503 ? "busy" : "odd", `it answers ${response.statusCode}`));
      }
    });
    asked.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(error instanceof ReadError ? error : new ReadError(isNoAnswer(error) ? "odd" : "gone", error.message));
    });
    asked.end();
  });
}
