/** One stream of HTTP/2 with both of its ends, as three classes of Node. */
import { once } from "node:events";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";

/** The two ends of one request. */
export interface Http2Exchange {
  readonly client: http2.ClientHttp2Stream;
  readonly server: http2.ServerHttp2Stream;
  /** The server's end as its compatibility layer has it. */
  readonly request: http2.Http2ServerRequest;
  readonly response: http2.Http2ServerResponse;
  close(): void;
}

/** A request that is open at both ends; its errors are received by nobody else. */
export async function http2Exchange(headers: http2.OutgoingHttpHeaders = {}): Promise<Http2Exchange> {
  const server = http2.createServer();
  server.on("session", (session) => session.on("error", () => {}));
  const arrived = once(server, "request") as Promise<[http2.Http2ServerRequest, http2.Http2ServerResponse]>;
  await once(server.listen(0, "127.0.0.1"), "listening");
  const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  session.on("error", () => {});
  const client = session.request({ ":method": "POST", ...headers });
  client.on("error", () => {});
  const [request, response] = await arrived;
  request.stream.on("error", () => {});
  return {
    client,
    server: request.stream,
    request,
    response,
    close() {
      session.destroy();
      server.close();
    },
  };
}
