// Shares its realm with other files: nothing that it changes outlives it.
/** Formats that a stage did not take, by an error or since a seek came: no buffer of such a format gets to it. */
import { describe, expect, it } from "vitest";
import { BufferPool } from "../../src/index.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Element } from "../../src/pipeline/base/element.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform } from "../../src/pipeline/base/transform.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../src/pipeline/stream-format.ts";
import { codeOf } from "../helpers/code-of.ts";
import { expectHome, runOrStall, turns } from "./kit.ts";

/** Three buffers of a size. */
class Blocks extends Source {
  left = 3;
  readonly #format: StreamFormat;
  constructor(name: string, size: number) {
    super(name);
    this.#format = byteFormat(size);
  }
  next(): StreamFormat | undefined {
    return this.left-- > 0 ? this.#format : undefined;
  }
  override fill(): void {}
}

/** A copy; notes the sizes of what it gets beside those of what it may fill. */
class Copies extends Transform {
  readonly short: string[] = [];
  copies = 0;
  readonly #refuses: (format: StreamFormat) => void | Promise<void>;
  constructor(refuses: (format: StreamFormat) => void | Promise<void> = () => {}) {
    super("copies");
    this.#refuses = refuses;
  }
  override configure(format: StreamFormat): void | Promise<void> {
    return this.#refuses(format);
  }
  override transform(input: MediaBuffer, output: MediaBuffer): void {
    this.copies++;
    if (output.size < input.size) this.short.push(`${input.size} into ${output.size}`);
  }
}

/** Passes formats and the end on; what it does with buffers is the test's. */
abstract class Forwards extends Element {
  readonly in = this.addInput("in");
  readonly out = this.addOutput("out");
  formatChanged(format: StreamFormat): void | Promise<void> {
    return this.out.setFormat(format);
  }
  onEos(): void | Promise<void> {
    return this.out.end();
  }
  abstract override chain(buffer: MediaBuffer): Promise<void>;
}

const is64 = (format: StreamFormat): boolean => format.kind === "bytes" && format.size === 64;

describe("a format that a stage throws at", () => {
  it.each(["at once", "later"])("is not in force for the other streams of a funnel (%s)", async (when) => {
    const copies = new Copies((format) => {
      if (!is64(format)) return undefined;
      // The funnel's first format is taken; meanwhile others wait for their turn.
      if (when === "later") return turns(3).then(() => Promise.reject(new Error("not of 64")));
      throw new Error("not of 64");
    });
    const funnel = new Funnel();
    const pipeline = new Pipeline().link(new Blocks("a", 16), funnel);
    pipeline.link(new Blocks("b", 64), funnel);
    pipeline.link(new Blocks("c", 64), funnel);
    pipeline.link(funnel, copies, new NullSink());
    expect(String(await runOrStall(pipeline))).toBe("Error: not of 64");
    expect(copies.short).toEqual([]);
    expectHome(pipeline);
  });

  it("leaves the pad without one: pushes get its error and are released, until another format is taken", async () => {
    const pool = BufferPool.create({ size: 64, max: 4 });
    const outcomes: string[] = [];
    class Insists extends Forwards {
      override async chain(buffer: MediaBuffer): Promise<void> {
        buffer.release();
        if (outcomes.length > 0) return;
        const attempt = async (size: number): Promise<void> => {
          outcomes.push(await codeOf(Promise.resolve().then(() => this.out.setFormat(byteFormat(size)))));
          outcomes.push(`${this.out.closed} ${this.out.format === null}`);
          outcomes.push(await codeOf(Promise.resolve().then(() => this.out.push(pool.tryAcquire()!))));
          outcomes.push(`${pool.outstanding} out`);
        };
        await attempt(64);
        await attempt(64);
        await attempt(16);
      }
    }
    const copies = new Copies((format) => {
      if (is64(format)) throw new Error("not of 64");
    });
    const pipeline = new Pipeline().link(new Blocks("a", 16), new Insists("insists"), copies, new NullSink());
    expect(await runOrStall(pipeline)).toBe("done");
    const refused = ["Error: not of 64", "true true", "Error: not of 64", "0 out"];
    expect(outcomes).toEqual([...refused, ...refused, "ok", "false false", "ok", "0 out"]);
  });

  it("late, stays out of the way of another one that was taken meanwhile", async () => {
    const outcomes: string[] = [];
    const pool = BufferPool.create({ size: 16, max: 4 });
    class Hurries extends Forwards {
      override async chain(buffer: MediaBuffer): Promise<void> {
        buffer.release();
        if (outcomes.length > 0) return;
        const first = codeOf(Promise.resolve(this.out.setFormat(byteFormat(64))));
        outcomes.push(await codeOf(Promise.resolve(this.out.setFormat(byteFormat(16)))), await first);
        outcomes.push(await codeOf(Promise.resolve(this.out.push(pool.tryAcquire()!))));
      }
    }
    const copies = new Copies((format) =>
      is64(format) ? turns(5).then(() => Promise.reject(new Error("not of 64"))) : undefined,
    );
    const pipeline = new Pipeline().link(new Blocks("a", 16), new Hurries("hurries"), copies, new NullSink());
    expect(await runOrStall(pipeline)).toBe("done");
    expect(outcomes).toEqual(["ok", "Error: not of 64", "ok"]);
    expect({ outstanding: pool.outstanding, copies: copies.copies }).toEqual({ outstanding: 0, copies: 1 });
  });

  it("says nothing to the next run", async () => {
    let refuses = true;
    const copies = new Copies((format) => {
      if (refuses && is64(format)) throw new Error("not of 64");
    });
    const source = new Blocks("a", 64);
    const pipeline = new Pipeline().link(source, copies, new NullSink());
    expect(String(await runOrStall(pipeline))).toBe("Error: not of 64");
    refuses = false;
    source.left = 3;
    expect(await runOrStall(pipeline)).toBe("done");
    expect(copies.copies).toBe(3);
  });
});

describe("a format that a seek interrupts", () => {
  /** Buffers of 64 bytes, from the tenth on of 128. */
  class Grows extends Source {
    at = 0;
    next(): StreamFormat | undefined {
      return this.at < 20 ? byteFormat(this.at < 10 ? 64 : 128) : undefined;
    }
    override async fill(): Promise<undefined> {
      this.at++;
      await turns(1);
      return undefined;
    }
    override seek(position: unknown): void {
      this.at = position as number;
    }
  }

  it.each(["directly", "a queue", "a tee and a queue"])("is announced again after it, through %s", async (way) => {
    const pipeline = new Pipeline();
    let sought: Promise<string> | undefined;
    /** Gives the last one at the end of a format, which a seek may refuse. */
    class Last extends Copies {
      #kept: MediaBuffer | undefined;
      override transform(input: MediaBuffer, output: MediaBuffer): void {
        super.transform(input, output);
        this.#kept?.release();
        this.#kept = output.retain();
      }
      override get retainedOutputBuffers(): number {
        return 1;
      }
      override async drain(): Promise<void> {
        sought ??= codeOf(pipeline.seek(12));
        await turns(2);
        const kept = this.#kept;
        this.#kept = undefined;
        if (kept !== undefined) await this.out.push(kept);
      }
      override onFlush(): void {
        this.#kept?.release();
        this.#kept = undefined;
      }
      override stop(): void {
        this.onFlush();
      }
    }
    const last = new Last();
    const sink = new NullSink();
    const source = new Grows("grows");
    if (way === "directly") pipeline.link(source, last, sink);
    else if (way === "a queue") pipeline.link(source, new Queue(), last, sink);
    else {
      const tee = new Tee();
      pipeline.link(source, tee, new NullSink());
      pipeline.link(tee, new Queue(), last, sink);
    }
    expect(await runOrStall(pipeline)).toBe("done");
    expect(await sought).toBe("ok");
    expect(source.at).toBe(20);
    expect(last.short).toEqual([]);
    expect(last.copies).toBe(10 + 8);
    expectHome(pipeline);
  });
});
