// Shares its realm with other files: nothing that it changes outlives it.
/**
 * docs/layouts.md shows what frames cost in whole pages; its tables are measured here, from a PagePool's own counters,
 * and have to agree with the file. MILLPOND_WRITE_DOCS=1 writes them instead.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { VideoPixelFormat } from "../../../src/media/video/format.ts";
import { VideoInfo } from "../../../src/media/video/info.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";

const FILE = new URL("../../../docs/layouts.md", import.meta.url);
const FORMATS: readonly VideoPixelFormat[] = ["I420", "NV12", "I422", "I444", "RGBA", "I420P10"];
const SIZES = [
  [640, 360],
  [854, 480],
  [1280, 720],
  [1920, 1080],
  [3840, 2160],
] as const;
/** Row alignments: none, a cache line, a WebGPU copy. */
const ALIGNS = [1, 64, 256] as const;

/** Bytes that a pool with pages of `pageSize` holds for one frame. */
function held(info: VideoInfo, pageSize: number): number {
  const pool = PagePool.create({ pageSize });
  const memory = pool.allocator.allocate(info.size);
  const { bytes } = pool.stats();
  memory.release();
  pool.invalidate();
  return bytes;
}

function powerOfTwo(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}

const percent = (bytes: number, payload: number): string => ((bytes / payload - 1) * 100).toFixed(2);

/** Percent of a frame's payload that is held beyond it, by a row for each format. */
function table(width: number, height: number): string {
  const rows = FORMATS.map((format) => {
    const infos = ALIGNS.map((strideAlign) => VideoInfo.of({ format, width, height, strideAlign }));
    const [tight] = infos as [VideoInfo, ...VideoInfo[]];
    const cells = [
      ...infos.map((info) => percent(held(info, 4096), info.payload)),
      percent(held(tight, 16_384), tight.payload),
      percent(powerOfTwo(tight.size), tight.payload),
    ];
    return `| ${format} | ${tight.payload.toLocaleString("en")} | ${cells.join(" | ")} |`;
  });
  return [
    `### ${width} x ${height}`,
    "",
    "| format | payload, bytes | tight rows | 64-byte rows | 256-byte rows | tight, 16 KiB pages | power of two |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...rows,
  ].join("\n");
}

it("docs/layouts.md has the page waste that a page pool counts", () => {
  const measured = SIZES.map(([width, height]) => table(width, height)).join("\n\n");
  const doc = readFileSync(FILE, "utf8");
  const [begin, end] = ["<!-- measured -->\n", "<!-- end -->"].map((mark) => doc.indexOf(mark)) as [number, number];
  expect(begin > 0 && end > begin, "both marks are there").toBe(true);
  const wanted = `${doc.slice(0, begin)}<!-- measured -->\n\n${measured}\n\n${doc.slice(end)}`;
  if (process.env.MILLPOND_WRITE_DOCS === "1") writeFileSync(FILE, wanted);
  else expect(doc).toBe(wanted);
});
