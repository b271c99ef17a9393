/** The worker's side of a connection, and the pool that takes whichever transport there is. */

import { abortable } from "../../util/abortable.ts";
import { type Clock, checkClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import {
  abortSignal,
  callback,
  methodsOf,
  oneOf,
  readOptions,
  wholeNumber,
  word,
  wrongType,
} from "../../util/validate.ts";
import type { LeasePool } from "../common/lease.ts";
import { SharedPool } from "../shared/shared-pool.ts";
import type { Answer, ConnectRequest } from "./connect.ts";
import { Lane } from "./lane.ts";
import { holdLivenessLock } from "./liveness.ts";
import { RemoteTransferPool } from "./remote-transfer-pool.ts";
import { type SharedOffer, sharedCarrier } from "./shared-transport.ts";
import { type TransferOffer, TransferPool } from "./transfer-pool.ts";

/** Where messages come from: a worker's global scope, Node's parentPort, a MessagePort. */
export interface LaneSource {
  /** As EventTarget's; Node's parentPort has it too. */
  addEventListener(type: "message", listener: (event: unknown) => void): void;
  /** As EventTarget's. */
  removeEventListener(type: "message", listener: (event: unknown) => void): void;
  /** As MessagePort's. */
  start?(): void;
}

/**
 * Waits for the thread that calls `pool.connect(worker)`, and answers. Call it as the worker starts: browsers drop
 * messages that come before anybody listens. Rejects with the signal's reason, and with what {@link SharedPool.attach}
 * throws.
 *
 * @param source `self` in a browser's worker, `parentPort` in Node's
 */
export async function receiveLane<Data = unknown>(
  source: LaneSource,
  options: { signal?: AbortSignal; clock?: Clock } = {},
): Promise<Lane<Data>> {
  const listening = {
    ...methodsOf("source", "a worker's global scope or its parentPort", source, [
      "addEventListener",
      "removeEventListener",
    ]),
    start: callback("source.start", source.start)?.bind(source),
  };
  const { signal: given, clock: own } = readOptions("options", options, ["signal", "clock"]);
  const signal = abortSignal("options.signal", given);
  const clock = checkClock("options.clock", own);
  const { port, offer, window, lock } = checkConnectRequest(await connectRequest(listening, signal));
  const ready: Answer = { kind: "millpond.ready", holds: await holdLivenessLock(lock) };
  const settings = window === undefined ? { clock } : { clock, window };
  if ((offer as SharedOffer).transport === "shared") {
    const { handle, from } = offer as SharedOffer;
    const pool = SharedPool.attach(handle);
    try {
      const lane = new Lane<Data>(
        port,
        sharedCarrier(pool, from, false, () => {}),
        settings,
      );
      port.postMessage(ready);
      return lane;
    } catch (error) {
      pool.leave({ force: true });
      throw error;
    }
  }
  let lane: Lane<Data> | undefined;
  const pool = new RemoteTransferPool(
    offer as TransferOffer,
    (message, transfer) => lane?.control(message, transfer),
    clock,
  );
  lane = new Lane<Data>(port, pool.carrier, settings);
  port.postMessage(ready);
  return lane;
}

/**
 * What came in a message may be anything: of another version of the library, or of a program that guesses. Throws
 * `ERR_BAD_DATA`.
 */
function checkConnectRequest(given: ConnectRequest): ConnectRequest {
  try {
    methodsOf("port", "a MessagePort", given.port, ["postMessage", "addEventListener", "close"]);
    const offer = given.offer as Partial<SharedOffer> | Partial<TransferOffer>;
    if (oneOf("offer.transport", offer?.transport, ["shared", "transfer"]) === "transfer") {
      const { name, pool, size, count } = offer as TransferOffer;
      word("offer.name", name);
      wholeNumber("offer.pool", pool, 1);
      wholeNumber("offer.size", size, 1, 2 ** 30);
      wholeNumber("offer.count", count, 1, 2 ** 16);
    }
    if (given.window !== undefined) wholeNumber("window", given.window, 1, 2 ** 20);
  } catch (cause) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `a message asks for a lane, but it makes no sense: ${(cause as Error).message}; use the same version of millpond on both sides`,
      {},
      { cause },
    );
  }
  return given;
}

function connectRequest(source: LaneSource, signal: AbortSignal | undefined): Promise<ConnectRequest> {
  return abortable(signal, ({ resolve, onEnd }) => {
    const listen = (event: unknown): void => {
      const data = (event as { readonly data: unknown }).data as Partial<ConnectRequest> | null;
      if (data?.kind === "millpond.lane" && data.port !== undefined) resolve(data as ConnectRequest);
    };
    source.addEventListener("message", listen);
    onEnd(() => source.removeEventListener("message", listen));
    source.start?.();
  });
}

/** How {@link leasePool} makes a pool. */
export interface LeasePoolOptions {
  /** Bytes of a slot. */
  size: number;
  /** Slots. */
  count: number;
  /** For messages. */
  name?: string;
  /** "auto" (default): shared memory where there is some, else transfer. */
  transport?: "auto" | "shared" | "transfer";
}

/**
 * A pool whose leases move between threads, by shared memory where it exists and by transfer where not. Throws as their
 * makers.
 */
export function leasePool(options: LeasePoolOptions): (SharedPool | TransferPool) & LeasePool {
  if (options === undefined) throw wrongType("options", "an object of options", options);
  const given = readOptions("options", options, ["size", "count", "name", "transport"]);
  const { transport = "auto", ...rest } = given;
  const wanted = oneOf("options.transport", transport, ["auto", "shared", "transfer"]);
  const shared = wanted === "shared" || (wanted === "auto" && typeof SharedArrayBuffer === "function");
  return shared ? SharedPool.create(rest) : TransferPool.create(rest);
}
