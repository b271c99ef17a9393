/**
 * Draws a part of a trace as SVG, for the docs:
 *
 *     node examples/slow-worker.ts trace.json
 *     node scripts/draw-trace.ts trace.json docs/images/trace.svg 300 700
 *
 * The two numbers are the milliseconds of the trace that it shows.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { Trace, TraceEvent } from "../src/observe/trace.ts";

const [, , input, output, fromText = "0", toText = "1000"] = process.argv;
if (input === undefined || output === undefined) throw new Error("which trace, and where to?");
const [from, to] = [Number(fromText) * 1000, Number(toText) * 1000];
const { traceEvents } = JSON.parse(readFileSync(input, "utf8")) as Trace;

const WIDTH = 1000;
const LABELS = 170;
const ROW = 17;
const scale = (WIDTH - LABELS - 8) / (to - from);
const x = (ts: number): number => Math.round((LABELS + (Math.min(to, Math.max(from, ts)) - from) * scale) * 10) / 10;
const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Colors of Okabe and Ito, which people who see few colors tell apart. */
const COLORS = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#7fc8a9"];
const names = new Map<string, string>();
/** One color for each name; a thread's frames differ only by their numbers. */
function colorOf({ name, cat }: TraceEvent): string {
  if (cat === "wait") return "url(#wait)";
  const key = name.replace(/\d+$/, name.startsWith("frame") ? "" : "$&");
  if (!names.has(key)) names.set(key, COLORS[names.size % COLORS.length]!);
  return names.get(key)!;
}

const meta = (name: string, key: "pid" | "tid"): Map<number, string | number> =>
  new Map(
    traceEvents.filter((one) => one.name === name).map((one) => [one[key], Object.values(one.args!)[0]] as never),
  );
const processes = meta("process_name", "pid");
const tracks = meta("thread_name", "tid");
const order = meta("thread_sort_index", "tid");
const shown = traceEvents.filter(({ ts = -1, dur = 0, ph }) => ph !== "M" && ts <= to && ts + dur >= from);

let y = 6;
const parts: string[] = [];
const text = (at: number, label: string, kind = ""): void => {
  parts.push(`<text x="${at}" y="${y + 12}"${kind === "" ? "" : ` class="${kind}"`}>${escaped(label)}</text>`);
};

for (const [pid, title] of processes) {
  const own = shown.filter((one) => one.pid === pid);
  if (own.length === 0) continue;
  text(6, String(title), "title");
  y += ROW + 2;
  const tids = [...new Set(own.filter(({ ph }) => ph !== "C").map(({ tid }) => tid))];
  for (const tid of tids.sort((a, b) => Number(order.get(a)) - Number(order.get(b)))) {
    text(16, String(tracks.get(tid)));
    for (const one of own.filter((each) => each.tid === tid)) {
      const [ts, end] = [one.ts!, one.ts! + (one.dur ?? 0)];
      if (one.ph === "C") continue;
      const width = Math.max(one.ph === "i" ? 2 : 0.6, x(end) - x(ts));
      const box = `x="${x(ts)}" y="${y + 1}" width="${Math.round(width * 10) / 10}" height="${ROW - 3}"`;
      parts.push(`<rect ${box} rx="1.5" fill="${one.ph === "i" ? "#d55e00" : colorOf(one)}"/>`);
      const room = Math.floor((width - 6) / 5.8);
      if (room >= Math.min(4, one.name.length)) {
        const label = one.name.length <= room ? one.name : `${one.name.slice(0, room - 1)}.`;
        parts.push(`<text x="${x(ts) + 3}" y="${y + 12}" class="span">${escaped(label)}</text>`);
      }
    }
    y += ROW;
  }
  for (const counter of new Set(own.filter(({ ph }) => ph === "C").flatMap(({ args }) => Object.keys(args!)))) {
    const samples = traceEvents.filter((one) => one.ph === "C" && one.pid === pid && counter in one.args!);
    const most = Math.max(...samples.map(({ args }) => Number(args![counter])));
    if (most === 0) continue;
    const height = (value: number): number => Math.round((y + 22 - (20 * value) / most) * 10) / 10;
    let path = `M${LABELS} ${y + 22}`;
    let before = 0;
    for (const { ts, args } of samples) {
      const value = Number(args![counter]);
      if (ts! >= from && ts! <= to) path += `H${x(ts!)}V${height(value)}`;
      else if (ts! < from) path = `M${LABELS} ${y + 22}V${height(value)}`;
      before = ts! <= to ? value : before;
    }
    parts.push(`<path d="${path}H${x(to)}V${y + 22}Z" class="counter"/>`);
    text(16, `${counter} (of ${most})`);
    y += 25;
  }
  y += 5;
}

const ticks: string[] = [];
const step = [10, 20, 50, 100, 200, 500].find((ms) => (to - from) / 1000 / ms <= 12) ?? 1000;
for (let ms = Math.ceil(from / 1000 / step) * step; ms * 1000 <= to; ms += step) {
  ticks.push(`<path d="M${x(ms * 1000)} 4V${y}" class="tick"/>`);
  ticks.push(`<text x="${x(ms * 1000)}" y="${y + 13}" text-anchor="middle">${ms} ms</text>`);
}

const style = `
text { font: 11px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .span { fill: #000; font-size: 10px }
.tick { stroke: #8884; fill: none } .counter { fill: #56b4e988; stroke: #0072b2; stroke-width: .7 } .back { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .back { fill: #0d1117 } .span { fill: #000 } }`;
writeFileSync(
  output,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 20}" role="img" aria-label="Trace of a run">
<style>${style}</style>
<pattern id="wait" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#c9ced6"/><path d="M0 0V6" stroke="#8b939e" stroke-width="3"/></pattern>
<rect class="back" width="${WIDTH}" height="${y + 20}"/>
${[...ticks, ...parts].join("\n")}
</svg>
`,
);
