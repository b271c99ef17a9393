/**
 * Channels of `node:diagnostics_channel` that pools publish to. Where the platform has none, or nobody subscribes,
 * nothing is built and nothing is called. A subscriber gets plain data, and never a pool, a lease or bytes.
 *
 * | channel             | kind    | published                                                            |
 * | ------------------- | ------- | -------------------------------------------------------------------- |
 * | `millpond:pool`     | plain   | a pool was made or has ended: {@link PoolMessage}                    |
 * | `millpond:wait`     | tracing | an acquire waits: {@link WaitMessage}, the same object at every step |
 * | `millpond:starved`  | plain   | a wait lasts too long, or ended in vain: {@link StarvedMessage}      |
 * | `millpond:discard`  | plain   | a slot was freed instead of kept: {@link DiscardMessage}             |
 * | `millpond:leak`     | plain   | a lease was collected without a release: {@link LeakMessage}         |
 */
import type { PoolHolder, PoolKind } from "./pool-info.ts";

/** Which pool a message is about. */
export interface PoolIdentity {
  /** The pool's number in this realm. */
  readonly id: number;
  /** Its kind. */
  readonly kind: PoolKind;
  /** Its name. */
  readonly name: string;
}

/** On `millpond:pool`. */
export interface PoolMessage extends PoolIdentity {
  /** What happened. */
  readonly event: "create" | "close";
}

/**
 * On `millpond:wait`, a tracing channel: `start` and `end` when the wait begins, `asyncStart` and `asyncEnd` at its
 * end.
 */
export interface WaitMessage extends PoolIdentity {
  /** Waiters in front of this one. */
  readonly ahead: number;
  /** Milliseconds that it lasted; set from `asyncStart` on. */
  waited?: number;
  /** Why no lease came; set before `error` is published. */
  error?: unknown;
}

/** On `millpond:starved`. */
export interface StarvedMessage extends PoolIdentity {
  /** Milliseconds that the first in line has waited. */
  readonly waited: number;
  /** How many wait. */
  readonly waiting: number;
  /** Who has the leases, oldest first, at most 64. */
  readonly holders: readonly PoolHolder[];
}

/** On `millpond:discard`. */
export interface DiscardMessage extends PoolIdentity {
  /** The slot. */
  readonly slot: number;
  /** Why it was not kept. */
  readonly reason: string;
}

/** On `millpond:leak`. */
export interface LeakMessage extends PoolIdentity {
  /** The lease that nobody released. */
  readonly holder: PoolHolder;
}

interface Channel {
  readonly hasSubscribers: boolean;
  publish(message: unknown): void;
}

interface TracingChannel {
  /** Whether any of the five below has subscribers. */
  readonly hasSubscribers?: boolean;
  readonly start: Channel;
  readonly end: Channel;
  readonly asyncStart: Channel;
  readonly asyncEnd: Channel;
  readonly error: Channel;
}

interface DiagnosticsChannel {
  channel(name: string): Channel;
  tracingChannel?(name: string): TracingChannel;
}

const SILENT: Channel = { hasSubscribers: false, publish() {} };

/** Not an import: the core has none of a runtime. Node has this call since 20.16, Deno and Bun have it too. */
function diagnostics(): DiagnosticsChannel | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  try {
    return process?.getBuiltinModule?.("node:diagnostics_channel") as DiagnosticsChannel | undefined;
  } catch {
    return undefined;
  }
}

const module = /* @__PURE__ */ diagnostics();

/** Their calls are marked, so that a bundler drops the channels that a program publishes nothing to. */
function channel(name: string): Channel {
  return module?.channel(name) ?? SILENT;
}

function tracingChannel(name: string): TracingChannel {
  const silent = { start: SILENT, end: SILENT, asyncStart: SILENT, asyncEnd: SILENT, error: SILENT };
  return module?.tracingChannel?.(name) ?? silent;
}

/** Pools that are made and that end. */
export const poolChannel: Channel = /* @__PURE__ */ channel("millpond:pool");
/** Waits that last too long. */
export const starvedChannel: Channel = /* @__PURE__ */ channel("millpond:starved");
/** Slots that were not kept. */
export const discardChannel: Channel = /* @__PURE__ */ channel("millpond:discard");
/** Leases that were never released. */
export const leakChannel: Channel = /* @__PURE__ */ channel("millpond:leak");
/** Waits. */
export const waitChannel: TracingChannel = /* @__PURE__ */ tracingChannel("millpond:wait");
