/** For attach.test.ts: takes turns with the main thread on one arena; the word behind `turn` says whose turn it is. */
import { workerData } from "node:worker_threads";
import { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { alternate } from "./turns.ts";

const { shared, turn } = workerData as { shared: SharedArrayBuffer; turn: SharedArrayBuffer };
alternate(TlsfArena.attach({ source: shared }), new Int32Array(turn), 1);
