// Shares its realm with other files: nothing that it changes outlives it.
/** Caps features that say what kind of memory flows: they are intersected, and the pool has to have it. */
import { describe, expect, test } from "vitest";
import { Allocator, type SystemAllocator, systemAllocator } from "../../src/memory/allocator.ts";
import { Region } from "../../src/memory/region.ts";
import { Caps } from "../../src/pipeline/caps.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, formatText, sameFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { code } from "../pools/buffer/pools.ts";
import { Collector, Numbers } from "./kit.ts";

const DMA = "memory:DMABuf";
const SYSTEM = "memory:SystemMemory";
const IN_DMA = byteFormat(64, undefined, { memory: DMA });

class Card extends Allocator {
  constructor(memoryType = "DMABuf") {
    super("card", { memoryType });
  }
  protected override allocateRegion(size: number): Region {
    return new Region(new Uint8Array(size));
  }
  protected override freeRegion(): void {}
}

const failure = async (pipeline: Pipeline): Promise<Error> => {
  const error = await pipeline.run().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Error);
  return error as Error;
};

describe("caps with memory features", () => {
  test("a structure that restricts something means system memory, unless it says other; one without fields means whatever", () => {
    const plain = Caps.video({ width: 4 });
    const dma = Caps.video({ width: 4, memory: DMA });
    const both = Caps.video({ width: 4, memory: [DMA, SYSTEM] });
    expect([
      plain.intersect(dma).isEmpty,
      plain.intersect(both).isEmpty,
      dma.intersect(both).toString(),
      Caps.any.intersect(dma).toString(),
      plain.intersect(Caps.video({ memory: SYSTEM })).isEmpty,
    ]).toEqual([
      true,
      false,
      "video { width: 4, memory: memory:DMABuf }",
      "video { width: 4, memory: memory:DMABuf }",
      false,
    ]);
    expect(both.fixate()?.fields.memory).toBe(DMA);
    expect(both.fixate({ memory: SYSTEM })?.fields.memory).toBe(SYSTEM);
  });

  test("a format says its memory: it is accepted by pads that take it, and is another format than in system memory", () => {
    expect([
      Caps.bytes({ memory: DMA }).accepts(IN_DMA),
      Caps.any.accepts(IN_DMA),
      Caps.bytes({ type: "x" }).whyNot(IN_DMA),
      Caps.bytes({ memory: DMA }).whyNot(byteFormat(64)),
      Caps.of(IN_DMA).accepts(IN_DMA),
      sameFormat(IN_DMA, byteFormat(64)),
      formatText(IN_DMA),
    ]).toEqual([
      true,
      true,
      "it is in memory:DMABuf, and memory:SystemMemory is wanted",
      "it is in memory:SystemMemory, and memory:DMABuf is wanted",
      true,
      false,
      "bytes, blocks of 64 in memory:DMABuf",
    ]);
    expect(code(() => byteFormat(4, undefined, { memory: "DMABuf" }))).toBe("ERR_INVALID_ARG_TYPE");
  });
});

describe("negotiation of memory", () => {
  test("a sink that takes system memory refuses a stream in DMA buffers before a byte moves", async () => {
    const sink = new Collector("sink", { caps: Caps.bytes({ memory: SYSTEM }) });
    const error = await failure(new Pipeline().link(new Numbers("src", 2, IN_DMA), sink));
    expect(error.message).toMatch(/memory:DMABuf/);
    expect(sink.seen).toEqual([]);
  });

  test("the pool's bytes come from an allocator that has the feature, not from the first that is asked for", async () => {
    const card = new Card();
    const sink = new Collector("sink", {
      caps: Caps.bytes({ memory: [SYSTEM, DMA] }),
      propose(query) {
        query.addParams(systemAllocator() as SystemAllocator, { align: 64 });
        query.addParams(card);
        return true;
      },
    });
    const pipeline = new Pipeline().link(new Numbers("src", 3, IN_DMA), new Identity("through"), sink);
    await pipeline.run();
    expect(pipeline.describe().decisions[0]).toMatchObject({ allocator: "card" });
    expect([sink.seen, card.stats().allocations > 0, card.stats().liveMemories]).toEqual([[0, 1, 2], true, 0]);
  });

  test("an offered pool of other memory loses, and one of the right memory wins", async () => {
    const right = new BufferPool({ name: "right" });
    right.configure({ size: 64, max: 8, allocator: new Card() });
    const sink = new Collector("sink", {
      caps: Caps.bytes({ memory: DMA }),
      propose(query) {
        query.addPool({ pool: new BufferPool({ name: "wrong" }) });
        query.addPool({ pool: right });
        return true;
      },
    });
    const pipeline = new Pipeline().link(new Numbers("src", 2, IN_DMA), sink);
    await pipeline.run();
    const decision = pipeline.describe().decisions[0]!;
    expect(decision.pool).toBe("right");
    expect(decision.candidates[0]).toMatchObject({
      won: false,
      why: expect.stringContaining("memory:DMABuf is needed"),
    });
  });

  test("where nothing makes the memory the run is refused with every reason, and system memory never takes its place", async () => {
    const sink = new Collector("sink", {
      caps: Caps.bytes({ memory: "memory:Card" }),
      propose(query) {
        query.addParams(new Card("OtherMemory"));
        return true;
      },
    });
    const format = byteFormat(64, undefined, { memory: "memory:Card" });
    const error = await failure(new Pipeline().link(new Numbers("src", 2, format), sink));
    expect(error.message).toMatch(/no memory is memory:Card here \(allocator "card": its memory is OtherMemory\)/);
    expect(sink.seen).toEqual([]);
  });
});
