/** Reads from a process that serves its inspector on a socket. What comes is checked on its first level. */
import { type IncomingMessage, request } from "node:http";
import type { InspectorUpdate, ProcessSnapshot } from "../../observe/snapshot.ts";

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
    return checked(parse<ProcessSnapshot>(text));
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
  /** Milliseconds that the first answer may take. */
  readonly timeout: number;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Updates, without events, until the process ends; it rejects with {@link ReadError} when it does not begin. */
export async function* watchProcess({
  path,
  interval,
  timeout,
  signal,
}: WatchOptions): AsyncGenerator<InspectorUpdate> {
  const response = await open(path, `/stream?interval=${interval}&events=0`, timeout, signal);
  let text = "";
  try {
    for await (const chunk of response.setEncoding("utf8")) {
      text += chunk as string;
      if (text.length > MAX_UPDATE) throw new ReadError("odd", "its answer is too long");
      for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const update = parse<InspectorUpdate | null>(line);
        checked(update?.snapshot);
        yield update!;
      }
    }
  } catch (error) {
    // Reset by a process that ended.
    if (error instanceof ReadError) throw error;
  } finally {
    response.destroy();
  }
}

/** That it is a snapshot of this version, as far as its first level tells. */
function checked(snapshot: ProcessSnapshot | null | undefined): ProcessSnapshot {
  if (snapshot?.version === 1 && Array.isArray(snapshot.realms)) return snapshot;
  throw new ReadError("odd", "it is no snapshot of this version");
}

function parse<T>(text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ReadError("odd", "it does not answer in JSON");
  }
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
      reject(
        error instanceof ReadError
          ? error
          : new ReadError(error.code === "HPE_INVALID_CONSTANT" ? "odd" : "gone", error.message),
      );
    });
    asked.end();
  });
}
