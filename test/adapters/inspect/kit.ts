/** Requests to an inspector, written byte by byte where a client library would not send them. */
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { InspectorUpdate } from "../../../src/observe/snapshot.ts";

export const PRELOAD: string = fileURLToPath(new URL("../../../src/inspect.ts", import.meta.url));

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export type Where = { readonly socketPath: string } | { readonly host: string; readonly port: number };

export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export function ask(where: Where, path: string, { method = "GET", headers = {}, body }: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...where, path, method, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body: text }));
      response.on("error", reject);
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

/** Updates of a stream, one after the other; the stream ends with the test. */
export function updatesOf(where: Where, path: string): AsyncGenerator<InspectorUpdate> {
  const asked = request({ ...where, path, agent: false });
  // The server may end in the middle of an answer that nobody reads any more.
  asked.on("error", () => {});
  asked.on("response", (response) => response.on("error", () => {}));
  onTestFinished(() => void asked.destroy());
  return (async function* () {
    const response = await new Promise<AsyncIterable<Buffer>>((resolve, reject) => {
      asked.on("response", resolve).on("error", reject).end();
    });
    let text = "";
    for await (const chunk of response) {
      text += chunk.toString();
      for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
        yield JSON.parse(text.slice(0, end)) as InspectorUpdate;
        text = text.slice(end + 1);
      }
    }
  })();
}

/** The first update that is as it should be. */
export async function updateWhere(
  updates: AsyncGenerator<InspectorUpdate>,
  isWanted: (update: InspectorUpdate) => boolean,
): Promise<InspectorUpdate> {
  for (;;) {
    const { value, done } = await updates.next();
    if (done === true) throw new Error("the stream ended");
    if (isWanted(value)) return value;
  }
}

/** Sends bytes as they are; resolves with all that comes back until the end. */
export function sendRaw(where: Where, bytes: string): { readonly socket: Socket; readonly answer: Promise<string> } {
  const socket = "socketPath" in where ? connect(where.socketPath) : connect(where.port, where.host);
  onTestFinished(() => void socket.destroy());
  const answer = new Promise<string>((resolve) => {
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    socket.on("error", () => resolve(text));
    socket.on("close", () => resolve(text));
  });
  socket.write(bytes);
  return { socket, answer };
}

/** A folder that is gone after the test; short, because the path of a socket has 107 bytes at most. */
export function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), "mp-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
