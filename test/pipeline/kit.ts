/** Stages for tests: small, honest about what they hold, and checking what they get. */
import { expect } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import type { InputPad, Maybe } from "../../src/pipeline/base/pad.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform, type TransformMode } from "../../src/pipeline/base/transform.ts";
import type { Caps } from "../../src/pipeline/caps.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import type { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../src/pipeline/stream-format.ts";

export const BLOCK: StreamFormat = byteFormat(64);

/** Numbers its buffers in their first four bytes. */
export class Numbers extends Source {
  count: number;
  made = 0;
  format: StreamFormat;
  holdsBack = 0;
  failAt = -1;
  seeks: unknown[] = [];
  readonly #held: MediaBuffer[] = [];

  constructor(name: string, count: number, format: StreamFormat = BLOCK, caps?: Caps) {
    super(name, caps);
    this.count = count;
    this.format = format;
  }

  override get retainedBuffers(): number {
    return this.holdsBack;
  }

  next(): StreamFormat | undefined {
    return this.made < this.count ? this.format : undefined;
  }

  override fill(buffer: MediaBuffer): void {
    if (this.made === this.failAt) throw new Error(`${this.name} fails at ${this.made}`);
    const { bytes } = buffer;
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, this.made);
    buffer.pts = BigInt(this.made);
    this.made++;
    if (this.holdsBack === 0) return;
    this.#held.push(buffer.retain());
    if (this.#held.length > this.holdsBack) this.#held.shift()!.release();
  }

  override seek(position: unknown): void {
    this.seeks.push(position);
    if (typeof position === "number") this.made = position;
  }

  override onFlush(): void {
    super.onFlush();
    for (const buffer of this.#held.splice(0)) buffer.release();
  }

  override stop(): void {
    super.stop();
    for (const buffer of this.#held.splice(0)) buffer.release();
  }
}

export function numberOf(buffer: MediaBuffer): number {
  const bytes = buffer.map("read");
  try {
    return new DataView(bytes.bytes.buffer, bytes.bytes.byteOffset).getUint32(0);
  } finally {
    bytes.unmap();
  }
}

export interface CollectorOptions {
  keepFirst?: number;
  keepLast?: number;
  propose?: (query: AllocationQuery) => boolean;
  slow?: number;
  caps?: Caps;
  limit?: number;
}

/** Checks the order of what it gets; may keep the first and the last ones. */
export class Collector extends Sink {
  readonly seen: number[] = [];
  readonly formats: StreamFormat[] = [];
  finishes = 0;
  failAt = -1;
  readonly #options: CollectorOptions;
  readonly #first: MediaBuffer[] = [];
  readonly #latest: MediaBuffer[] = [];

  constructor(name: string, options: CollectorOptions = {}) {
    super(name, options.caps);
    this.#options = options;
  }

  override get retainedBuffers(): number {
    return (this.#options.keepFirst ?? 0) + (this.#options.keepLast ?? 0);
  }

  override proposeAllocation(query: AllocationQuery, pad: InputPad): Maybe<boolean> {
    const answered = super.proposeAllocation(query, pad);
    return this.#options.propose === undefined ? answered : this.#options.propose(query);
  }

  override configure(format: StreamFormat): void {
    this.formats.push(format);
  }

  override render(buffer: MediaBuffer): Maybe<void> {
    const n = numberOf(buffer);
    expect(buffer.pts).toBe(BigInt(n));
    if (this.seen.length === this.failAt) throw new Error(`${this.name} fails at ${n}`);
    this.seen.push(n);
    if (this.seen.length === this.#options.limit) this.requestEos();
    const { keepFirst = 0, keepLast = 0, slow = 0 } = this.#options;
    if (this.#first.length < keepFirst) this.#first.push(buffer.retain());
    else if (keepLast > 0) {
      // Lets go only of what is too much: holds up to keepLast across calls.
      this.#latest.push(buffer.retain());
      if (this.#latest.length > keepLast) this.#latest.shift()!.release();
    }
    return slow === 0 ? undefined : turns(slow);
  }

  override finish(): void {
    this.finishes++;
  }

  #letGo(): void {
    for (const buffer of [...this.#first.splice(0), ...this.#latest.splice(0)]) buffer.release();
  }

  override onFlush(): void {
    super.onFlush();
    this.#letGo();
  }

  override stop(): void {
    void super.stop();
    this.#letGo();
  }
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await nextTurn();
}

/** Does one of the three things; "in-place" adds one to the number and to the time, "copy" copies. */
export class Step extends Transform {
  delay = 0;
  readonly #held: MediaBuffer[] = [];
  slow = 0;
  metas: string[] = [];
  propose: ((query: AllocationQuery) => void) | undefined;

  constructor(name: string, mode: TransformMode, delay = 0) {
    super(name, { mode });
    this.delay = delay;
  }

  /** A passthrough with a delay keeps buffers before it passes them on. */
  override get retainedBuffers(): number {
    return this.delay;
  }

  override chain(buffer: MediaBuffer): Maybe<void> {
    if (this.delay === 0) return super.chain(buffer);
    this.#held.push(buffer);
    return this.#held.length > this.delay ? super.chain(this.#held.shift()!) : undefined;
  }

  override async drain(): Promise<void> {
    // One by one: what is not passed on yet must still be found here when the run ends in the middle.
    while (this.#held.length > 0) await super.chain(this.#held.shift()!);
  }

  override transformInPlace(buffer: MediaBuffer): Maybe<void> {
    const n = numberOf(buffer);
    const { bytes } = buffer;
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, n + 1);
    buffer.pts = BigInt(n + 1);
    return this.slow === 0 ? undefined : turns(this.slow);
  }

  override transform(input: MediaBuffer, output: MediaBuffer): Maybe<void> {
    const mapped = input.map("read");
    output.fill(0, mapped.bytes);
    mapped.unmap();
    return this.slow === 0 ? undefined : turns(this.slow);
  }

  override keepsMeta(api: string): boolean {
    return this.metas.includes(api);
  }

  override proposeAllocation(query: AllocationQuery): Maybe<boolean> {
    const answered = super.proposeAllocation(query);
    if (this.propose === undefined) return answered;
    if (typeof answered === "boolean") {
      this.propose(query);
      return true;
    }
    return answered.then(() => {
      this.propose!(query);
      return true;
    });
  }

  override onFlush(): void {
    for (const buffer of this.#held.splice(0)) buffer.release();
  }

  override stop(): void {
    for (const buffer of this.#held.splice(0)) buffer.release();
  }
}

/** Runs, or fails when nothing has moved for 2000 turns of the event loop: a stall is a failure, not a timeout. */
export async function runOrStall(pipeline: Pipeline, options?: { signal?: AbortSignal }): Promise<"done" | Error> {
  let result: "done" | Error | undefined;
  const stop = new AbortController();
  const signal = options?.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const run = pipeline.run({ signal }).then(
    () => {
      result = "done";
    },
    (error: Error) => {
      result = error;
    },
  );
  let last = -1;
  let idle = 0;
  while (result === undefined && idle < 2000) {
    await nextTurn();
    const now = pipeline.elements.reduce((sum, one) => sum + [...one.inputs].reduce((n, pad) => n + pad.buffers, 0), 0);
    idle = now === last ? idle + 1 : 0;
    last = now;
  }
  if (result !== undefined) return result;
  const text = pipeline.describe().text();
  stop.abort(new Error("stalled"));
  await run;
  return new Error(`stalled:\n${text}`);
}

/** Every buffer of every pool of the last run is back. */
export function expectHome(pipeline: Pipeline): void {
  for (const element of pipeline.elements) {
    for (const { pool } of element.outputs) {
      if (pool === null) continue;
      expect(pool.outstanding, `${pool.name} has leases out`).toBe(0);
      pool.validate();
    }
  }
}
