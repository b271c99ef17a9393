/**
 * The served page's source: `/stream` of the server that the page came from, as lines of JSON. The token is the one in
 * the page's address, and goes to that server only.
 *
 * Life-cycle: connects at subscribe, connects again after a second (then 2, 4, 8) when the stream breaks, until what
 * subscribe returned is called.
 */
import type { InspectorUpdate } from "../../../observe/snapshot.ts";
import { updateIn } from "../check.ts";
import { HOLDERS_MS, type PageSource, type SourceStatus } from "./source.ts";

/** Milliseconds before the first new try; each further try waits twice as long. */
const RETRY_MS = 1000;
const LONGEST_RETRY_MS = 8000;
/** Seconds that a server is asked for at most. */
const MAX_SECONDS = 60;
/** Characters of one line: a program with more than this to tell is not shown. */
const MAX_LINE = 64 * 1024 * 1024;

/** See the module text. */
export class HttpSource implements PageSource {
  readonly #base: URL;
  readonly #token: string;
  readonly #interval: number;
  readonly #fetch: typeof fetch;

  /** Updates from the server at `base`, one in `interval` milliseconds. */
  constructor(base: URL, token: string, interval: number, fetcher: typeof fetch = globalThis.fetch.bind(globalThis)) {
    this.#base = base;
    this.#token = token;
    this.#interval = interval;
    this.#fetch = fetcher;
  }

  /** See {@link PageSource}. */
  subscribe(
    onUpdate: (update: InspectorUpdate) => void,
    onStatus: (status: SourceStatus) => void = () => {},
  ): () => void {
    const end = new AbortController();
    let wait = RETRY_MS;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const run = async (): Promise<void> => {
      let reason = "the program has ended or was stopped";
      try {
        const response = await this.#get(`stream?interval=${this.#interval}&holders=${HOLDERS_MS}`, end.signal);
        for await (const line of linesOf(response.body!)) {
          if (end.signal.aborted) return;
          wait = RETRY_MS;
          const update = line === "" ? undefined : updateIn(line);
          if (update !== undefined) onUpdate(update);
        }
      } catch (error) {
        if (error instanceof Refused) reason = error.message;
      }
      if (end.signal.aborted) return;
      onStatus({ state: "lost", reason });
      timer = setTimeout(() => void run(), wait);
      wait = Math.min(LONGEST_RETRY_MS, wait * 2);
    };
    onStatus({ state: "connecting" });
    void run();
    return () => {
      end.abort();
      clearTimeout(timer);
    };
  }

  /** See {@link PageSource}. */
  async trace(seconds?: number): Promise<Blob> {
    const response = await this.#get(
      seconds === undefined ? "trace" : `trace?seconds=${Math.min(MAX_SECONDS, seconds)}`,
    );
    return response.blob();
  }

  async #get(path: string, signal?: AbortSignal): Promise<Response> {
    const url = new URL(path, this.#base);
    if (this.#token !== "") url.searchParams.set("token", this.#token);
    const response = await this.#fetch(url, {
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      ...(signal === undefined ? {} : { signal }),
    });
    if (response.status === 401 || response.status === 403) {
      throw new Refused("the token in this page's address is not that of the program; open the address that it prints");
    }
    if (!response.ok || response.body === null) throw new Refused(`the server answered ${response.status}`);
    return response;
  }
}

class Refused extends Error {}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let parts: string[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const text = decoder.decode(value, { stream: true });
      let from = 0;
      for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
        parts.push(text.slice(from, at));
        yield parts.length === 1 ? parts[0]! : parts.join("");
        parts = [];
        length = 0;
        from = at + 1;
      }
      if (from < text.length) parts.push(text.slice(from));
      length += text.length - from;
      if (length > MAX_LINE) throw new Error("a line is too long");
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
