import { createServer } from "node:net";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { servePage } from "../../../src/adapters/inspect/proxy.ts";
import { ask, scratch } from "./kit.ts";

/** What a process may answer that is no inspector, or lies. */
const ODD: Readonly<Record<string, string>> = {
  "a status that HTTP has not": "HTTP/1.1 099 X\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi",
  "another protocol": "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhi",
  "a way to somebody else": "HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
  "a page": "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nSet-Cookie: a=b\r\n\r\n<script>1</script>",
  "a line too many in a header": "HTTP/1.1 200 X\r\nContent-Type: text/plain\r\n x: y\r\n\r\nhi",
  "no HTTP": "\u0000\u0001\r\n\r\n",
};

it("the page's server sends on what an inspector answers, and nothing else that a process says", async () => {
  const path = join(scratch(), "s");
  let said = "";
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(Buffer.from(said, "latin1")));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => void server.close());
  const page = await servePage(path, 0);
  onTestFinished(() => page.close());
  const { port, searchParams } = new URL(page.url);
  const where = { host: "127.0.0.1", port: Number(port) };
  for (const [what, text] of Object.entries(ODD)) {
    said = text;
    const { status, headers, body } = await ask(where, `/snapshot?token=${searchParams.get("token")}`);
    expect([what, status, headers["set-cookie"], headers.location]).toEqual([what, 502, undefined, undefined]);
    // It lives, and is not said to have ended.
    expect([what, body]).toEqual([what, "the process does not answer as an inspector does\n"]);
  }
  said =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nSet-Cookie: a=b\r\nConnection: close\r\n\r\n{}";
  const { status, headers, body } = await ask(where, `/snapshot?token=${searchParams.get("token")}`);
  expect([status, headers["set-cookie"], body]).toEqual([200, undefined, "{}"]);
});
