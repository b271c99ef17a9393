// Shares its realm with other files: nothing that it changes outlives it.
/** Lists of values in caps: how many they may have, and how often an intersection looks at one. */
import { describe, expect, test } from "vitest";
import { VideoInfo } from "../../src/media/video/info.ts";
import { Caps, type CapsScalar, type CapsStructure, valuesLookedAt } from "../../src/pipeline/caps.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { CapsFilter } from "../../src/pipeline/elements/pass-through.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { videoFormat } from "../../src/pipeline/stream-format.ts";
import { FULL, REPEATED, times } from "../helpers/effort.ts";

const MOST = 4096;
/** What one intersection may cost; what comes on top is one list of one structure. */
const BOUND = (1 << 22) + 32 * MOST;

const values = <T>(make: (i: number) => T, count: number = MOST): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

/** How often a value was looked at. */
function looks(work: () => unknown): number {
  const before = valuesLookedAt();
  work();
  return valuesLookedAt() - before;
}

const KINDS: readonly [string, string, (i: number) => CapsScalar][] = [
  ["numbers", "width", (i) => i + 16],
  ["names", "format", (i) => `F${i}`],
  ["ratios", "frameRate", (i) => ({ num: i + 1, den: 1001 })],
  ["ratios of large terms", "frameRate", (i) => ({ num: 2 ** 40 + i, den: 2 ** 39 + 1 })],
];

describe("lists of thousands of values", () => {
  test.each(KINDS)("are intersected by looking at each value a few times: %s", (_, field, make) => {
    const a = Caps.video({ [field]: values(make) });
    const b = Caps.video({ [field]: values((i) => make(MOST - i)) });
    let common: Caps = Caps.none;
    expect(looks(() => (common = a.intersect(b)))).toBeLessThan(MOST * 60);
    const left = common.structures[0]!.fields[field] as readonly CapsScalar[];
    expect([left.length, left[0]]).toEqual([MOST - 1, make(1)]);
    expect(left).toEqual(values(make).slice(1));
    // The same again: the index is there.
    expect(looks(() => a.intersect(b))).toBeLessThan(MOST * 60);
  });

  test.each(KINDS)("are found to be within one another by looking at each value a few times: %s", (_, field, make) => {
    const all = Caps.video({ [field]: values(make) });
    const some = Caps.video({ [field]: values((i) => make(MOST - 1 - i), MOST - 1) });
    const both = all.or(some);
    let common: Caps = Caps.none;
    expect(looks(() => (common = both.intersect(Caps.video())))).toBeLessThan(MOST * 60);
    expect(common.structures).toEqual(all.structures);
  });

  test("are compared with a range by looking at each value once", () => {
    const list = Caps.video({ width: values((i) => i + 1) });
    const range = Caps.video({ width: { min: 1, max: 8192, step: 2 } });
    for (const work of [() => list.intersect(range), () => range.intersect(list)])
      expect(looks(work)).toBeLessThan(MOST * 8);
    expect(range.intersect(list).structures[0]!.fields.width).toHaveLength(MOST / 2);
  });

  const hundreds: readonly (readonly [string, object, (i: number) => CapsStructure])[] = [
    [
      "two lists in each",
      FULL,
      (i) => ({
        kind: "video",
        fields: {
          format: values((k) => `F${(k * 7 + i) % 500}`, 300),
          width: values((k) => ((k * 7 + i) % 900) + 1, 300),
        },
      }),
    ],
    [
      "rates",
      {},
      (i) => ({ kind: "video", fields: { frameRate: values((k) => ({ num: k + i + 1, den: 1001 }), 200) } }),
    ],
    [
      "lists that differ in their last value",
      FULL,
      (i) => ({ kind: "video", fields: { width: values((k) => (k < MOST - 1 ? k : 5000 + i)) } }),
    ],
    [
      "long names",
      {},
      (i) => ({ kind: "video", fields: { format: values((k) => `${"x".repeat(4000)}${k + i}`, 30) } }),
    ],
  ];
  for (const [name, tag, make] of hundreds)
    test(
      `in hundreds of alternatives are settled, or refused, within the bound of one intersection: ${name}`,
      tag,
      () => {
        const a = new Caps(values(make, 200));
        const b = new Caps(values((i) => make(i + 3), 200));
        let refused = 0;
        const attempt = (): void => {
          try {
            a.intersect(b);
          } catch (error) {
            expect(error).toMatchObject({ code: "ERR_NOT_NEGOTIATED" });
            refused++;
          }
        };
        expect(looks(attempt)).toBeLessThan(BOUND);
        expect(refused).toBe(1);
      },
    );

  test.each(KINDS)(
    "of 300 alternatives at full length are fixed by looking at each value once: %s",
    REPEATED,
    (...kind) => {
      const [, field, make] = kind;
      const count = times(20, 300);
      const all = values(
        (i): CapsStructure => ({ kind: "video", fields: { [field]: values((k) => make(k + i * 7)) } }),
        count,
      );
      const caps = new Caps(all);
      const prefer = { [field]: field === "format" ? "none" : { num: 1, den: 999_983 } };
      expect(looks(() => caps.fixate(prefer))).toBeLessThanOrEqual(count * MOST * 2);
    },
  );

  test("are looked at for a format without the text of each, and without an index", () => {
    const caps = new Caps(values((i) => ({ kind: "video", fields: { width: values((k) => 100 + k + i) } }), 300));
    const small = videoFormat(VideoInfo.of({ format: "I420", width: 16, height: 16 }));
    expect(looks(() => expect(caps.accepts(small)).toBe(false))).toBeLessThanOrEqual(301 * MOST);
    expect(caps.whyNot(small)).toMatch(/^width is 16, and 399\|400\|.* is wanted$/);
  });

  test("are not fixed where there are more than can be looked at: ERR_NOT_NEGOTIATED", () => {
    let caps = new Caps(values((i) => ({ kind: "video", fields: { width: values((k) => 100 + k + i) } }), 100));
    for (let i = 0; i < 5; i++) caps = caps.or(caps);
    const attempt = (): void => {
      expect(() => caps.fixate({ width: 7 })).toThrow(/take too long to compare.*ERR_NOT_NEGOTIATED/);
    };
    expect(looks(attempt)).toBeLessThan(BOUND);
  });

  test("run through a pipeline of filters", async () => {
    const filter = (from: number): CapsFilter => new CapsFilter(Caps.video({ width: values((i) => i + from) }));
    const sink = new NullSink();
    const pipeline = new Pipeline();
    pipeline.link(new PatternSource({ frames: 2, width: 64, height: 48 }), filter(16), filter(17), sink);
    await expect(pipeline.run()).resolves.toMatchObject({ sinks: { [sink.name]: 2 } });
  });

  test("above 4096 are refused with ERR_OUT_OF_RANGE, which names the field, before one of them is read", () => {
    let reads = 0;
    const list = new Proxy(
      values((i) => i, MOST + 1),
      {
        get: (target, key, receiver) => {
          if (key !== "length") reads++;
          return Reflect.get(target, key, receiver) as unknown;
        },
      },
    );
    const refusal = { code: "ERR_OUT_OF_RANGE", details: { name: "width.length", value: MOST + 1 } };
    expect(() => Caps.video({ width: list })).toThrow(expect.objectContaining(refusal) as Error);
    expect(() => new Caps([{ kind: "video", fields: { width: list } }])).toThrow(
      expect.objectContaining(refusal) as Error,
    );
    expect(reads).toBe(0);
    expect(Caps.video({ width: values((i) => i) }).structures[0]!.fields.width).toHaveLength(MOST);
    const sparse: number[] = [];
    sparse.length = 2 ** 32 - 1;
    expect(() => Caps.video({ width: sparse })).toThrow(/width\.length.*at most 4096.*ERR_OUT_OF_RANGE/);
  });
});

describe("a list", () => {
  test("has each value once, at its first place; ratios that are equal are one value", () => {
    const caps = Caps.video({
      format: ["I420", "NV12", "I420", "RGBA", "NV12"],
      width: [32, 16, 32],
      height: [16, 16],
      frameRate: [
        { num: 25, den: 1 },
        { num: 30_000, den: 1001 },
        { num: 50, den: 2 },
        { num: 60_000, den: 2002 },
      ],
    });
    const text = "video { format: I420|NV12|RGBA, width: 32|16, height: 16, frameRate: 25|30000/1001 }";
    expect([String(caps), String(caps.intersect(caps)), String(caps.intersect(Caps.any))]).toEqual([text, text, text]);
  });

  test("tells ratios apart that are equal only where their products are rounded", () => {
    const [a, b] = [
      { num: 2 ** 53 - 1, den: 2 ** 53 - 2 },
      { num: 2 ** 53 - 3, den: 2 ** 53 - 4 },
    ] as const;
    const more = values((i) => ({ num: i + 1, den: 7 }), 20);
    expect([
      Caps.video({ frameRate: a }).intersect(Caps.video({ frameRate: b })).isEmpty,
      Caps.video({ frameRate: [a, ...more] }).intersect(Caps.video({ frameRate: b })).isEmpty,
      Caps.video({ frameRate: [a, ...more] }).intersect(Caps.video({ frameRate: a })).isEmpty,
      (Caps.video({ frameRate: [a, b] }).structures[0]!.fields.frameRate as readonly unknown[]).length,
    ]).toEqual([true, true, false, 2]);
  });

  test("has no list and no range in it, and is a copy: what its maker does with it later changes nothing", () => {
    for (const bad of [[[1]], [{ min: 1, max: 9 }], [1, null], [undefined], [true]])
      expect(() => Caps.video({ width: bad as never })).toThrow(/^width must be a list of .*ERR_INVALID_ARG_TYPE/);
    let reads = 0;
    class Rate {
      get num(): number {
        return reads++ === 0 ? 25 : Number.NaN;
      }
      readonly den = 1;
    }
    const caps = Caps.video({ frameRate: [new Rate(), { num: 30, den: 1 }] });
    expect(String(caps)).toBe("video { frameRate: 25|30 }");
    expect(String(caps)).toBe("video { frameRate: 25|30 }");
  });
});

test("a revoked proxy is refused with ERR_INVALID_ARG_TYPE wherever caps take data", () => {
  const revoked = (target: object): never => {
    const { proxy, revoke } = Proxy.revocable(target, {});
    revoke();
    return proxy as never;
  };
  for (const work of [
    () => new Caps([revoked({})]),
    () => new Caps(revoked([])),
    () => Caps.video(revoked({})),
    () => Caps.video({ width: revoked([]) }),
    () => Caps.video({ width: revoked({}) }),
    () => Caps.video({ width: [revoked({})] }),
    () => Caps.any.fixate(revoked({})),
    () => Caps.any.fixate({ width: revoked({}) }),
  ])
    expect(work).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }) as Error);
});

describe("memory of caps", () => {
  test("without any field is any; one field that is restricted makes it system memory", () => {
    const dma = videoFormat(VideoInfo.of({ format: "I420", width: 16, height: 16 }), { memory: "memory:DMABuf" });
    expect([Caps.video(), Caps.any, Caps.video({ width: 16 })].map((caps) => caps.accepts(dma))).toEqual([
      true,
      true,
      false,
    ]);
    expect(String(Caps.video().intersect(Caps.video({ memory: "memory:DMABuf" })))).toBe(
      "video { memory: memory:DMABuf }",
    );
  });
});
