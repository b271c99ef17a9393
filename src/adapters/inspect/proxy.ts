/**
 * Serves the inspector of another process, which is on a socket, on a port of 127.0.0.1 with a token: for a browser,
 * which cannot open sockets. The same checks apply as in the process itself, and the page is this package's own.
 */
import { type RequestListener, request as requestTo } from "node:http";
import { isNoAnswer } from "./client.ts";
import { Listener, loopbackHosts } from "./listener.ts";
import { readPage } from "./page-file.ts";
import { answerWith, type Gate } from "./requests.ts";
import { makeToken } from "./token.ts";

/** A page that is served. */
export interface ServedPage {
  /** With its token. */
  readonly url: string;
  /** Ends it. */
  close(): Promise<void>;
}

/** Listens on that port, 0 for any. Rejects with the system's error. */
export async function servePage(socketPath: string, port: number): Promise<ServedPage> {
  const { token, isToken } = makeToken();
  let hosts: Gate["hosts"] = [];
  const gate: Gate = {
    get hosts() {
      return hosts;
    },
    isToken,
  };
  const listener = new Listener(async () => forward(socketPath, gate), { keepsAlive: true });
  await listener.listen({ host: "127.0.0.1", port });
  hosts = loopbackHosts(listener.port);
  return { url: `http://127.0.0.1:${listener.port}/?token=${token}`, close: () => listener.close() };
}

/** What a process answers; anything else is not sent on, because it is not one of ours. */
const STATUSES: ReadonlySet<unknown> = new Set([200, 400, 404, 500, 503]);
const TYPES: ReadonlySet<unknown> = new Set([
  "application/json; charset=utf-8",
  "application/x-ndjson; charset=utf-8",
  "text/event-stream",
  "text/plain; charset=utf-8",
]);

const ODD = "the process does not answer as an inspector does";

function forward(socketPath: string, gate: Gate): RequestListener {
  return answerWith(gate, readPage, (request, response, path, values) => {
    const query = new URLSearchParams(values);
    query.delete("token");
    const { accept } = request.headers;
    const asked = requestTo({
      socketPath,
      path: query.size === 0 ? path : `${path}?${query}`,
      headers: accept === undefined ? {} : { accept },
      agent: false,
    });
    const refuse = (text: string): void => {
      if (response.headersSent) response.destroy();
      else {
        response.statusCode = 502;
        response.setHeader("Content-Type", "text/plain; charset=utf-8");
        response.end(`${text}\n`);
      }
    };
    asked.on("response", (answer) => {
      const { "content-type": type, "content-disposition": disposition } = answer.headers;
      answer.on("error", () => response.destroy());
      if (!STATUSES.has(answer.statusCode) || !TYPES.has(type)) {
        asked.destroy();
        refuse(ODD);
        return;
      }
      response.statusCode = answer.statusCode!;
      response.setHeader("Content-Type", type!);
      if (disposition !== undefined) response.setHeader("Content-Disposition", disposition);
      answer.pipe(response);
    });
    // Nobody asked it to speak something else.
    asked.on("upgrade", (_answer, socket) => {
      socket.destroy();
      refuse(ODD);
    });
    asked.on("error", (error) => refuse(isNoAnswer(error) ? ODD : "the process has ended, or serves no more"));
    response.on("close", () => asked.destroy());
    asked.end();
  });
}
