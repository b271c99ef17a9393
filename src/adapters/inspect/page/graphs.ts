/**
 * The graphs: leases, waiters, acquires a second and garbage collection of the last minute, drawn by uPlot. The
 * numbers at their axes are elements: a text on a canvas takes half a millisecond, and there are 32 of them four times
 * a second.
 */
import uPlot from "uplot";
import { el, setAttribute, setText, show } from "./dom.ts";
import { MAX_SAMPLES, SAMPLE_MS, type Sample } from "./model.ts";
import type { Palette } from "./style.ts";
import { formatCount, formatDuration, formatRate } from "./text.ts";
import type { Scene } from "./view.ts";

const SECONDS = (MAX_SAMPLES * SAMPLE_MS) / 1000;
/** Pixels of the drawing, and of the numbers at its left. */
const HEIGHT = 84;
const LABELS = 38;

/** Along the time. */
const TICKS = ["\u221260 s", "\u221230 s", "now"];

interface Measure {
  readonly title: string;
  readonly unit: (value: number) => string;
  readonly color: (palette: Palette) => string;
  readonly isStepped: boolean;
  /** The value of a moment; null: there is none. */
  of(sample: Sample, scene: Scene): number | null;
}

function sumOf(field: "leased" | "waiting" | "rate"): Measure["of"] {
  return ({ pools }, { chosen }) => {
    let sum: number | null = null;
    for (const { key } of chosen) {
      const value = pools.get(key);
      if (value !== undefined) sum = (sum ?? 0) + value[field];
    }
    return sum;
  };
}

const MEASURES: readonly Measure[] = [
  { title: "Leased", unit: formatCount, color: ({ accent }) => accent, isStepped: true, of: sumOf("leased") },
  { title: "Waiting", unit: formatCount, color: ({ alarm }) => alarm, isStepped: true, of: sumOf("waiting") },
  {
    title: "Acquires/s",
    unit: formatRate,
    color: ({ states }) => states[2]!,
    isStepped: false,
    of: sumOf("rate"),
  },
  {
    title: "GC, ms/s",
    unit: (value) => (value === 0 ? "0" : formatDuration(value)),
    color: ({ states }) => states[5]!,
    isStepped: false,
    of: ({ gc }, { thread }) => {
      let sum: number | null = null;
      for (const [of, ms] of gc) if (thread === undefined || thread === of) sum = (sum ?? 0) + ms;
      return sum;
    },
  },
];

/** See the module text. */
export class Graphs {
  /** Its place in the page. */
  readonly element: HTMLElement;
  readonly #graphs: readonly Graph[];
  readonly #resize: ResizeObserver;

  /** Empty until the first update. */
  constructor() {
    this.#graphs = MEASURES.map((measure) => new Graph(measure));
    const list = el("div", { class: "graphs" }, ...this.#graphs.map(({ element }) => element));
    this.element = el(
      "section",
      { "aria-labelledby": "graphs-title" },
      el("div", { class: "bar" }, el("h2", { id: "graphs-title" }, "The last minute")),
      list,
    );
    this.#resize = new ResizeObserver(() => {
      for (const graph of this.#graphs) graph.resize();
    });
    this.#resize.observe(list);
  }

  /** Says the newest numbers; draws them where somebody sees it. */
  update(scene: Scene, isSeen: boolean): void {
    for (const graph of this.#graphs) graph.update(scene, isSeen);
  }

  /** Ends what they observe. */
  close(): void {
    this.#resize.disconnect();
    for (const graph of this.#graphs) graph.close();
  }
}

class Graph {
  readonly element: HTMLElement;
  readonly #measure: Measure;
  readonly #value: HTMLElement = el("span", { class: "num" });
  readonly #canvas: HTMLElement = el("div", { class: "canvas" });
  readonly #top: HTMLElement = el("span");
  readonly #middle: HTMLElement = el("span");
  readonly #plot: HTMLElement = el(
    "div",
    { class: "plot num", role: "img" },
    el("div", { class: "scale" }, this.#top, this.#middle, el("span", {}, "0")),
    this.#canvas,
    el("div", { class: "ticks" }, ...TICKS.map((text) => el("span", {}, text))),
  );
  readonly #none: HTMLElement = el("p", { class: "note" }, "None seen. Browsers do not tell of theirs.");
  #chart: uPlot | undefined;
  #scene: Scene | undefined;
  #palette: Palette | undefined;
  #width = 0;
  #most = 1;

  constructor(measure: Measure) {
    this.#measure = measure;
    this.element = el("figure", { class: "graph" }, el("h3", {}, measure.title, this.#value), this.#plot, this.#none);
    show(this.#none, false);
  }

  resize(): void {
    const width = this.element.clientWidth;
    if (width === this.#width || width === 0) return;
    this.#width = width;
    this.#chart?.setSize({ width: width - LABELS, height: HEIGHT });
  }

  update(scene: Scene, isDrawn: boolean): void {
    this.#scene = scene;
    const { samples, now } = scene.process;
    const times: number[] = [];
    const values: (number | null)[] = [];
    let most = 0;
    let newest: number | null = null;
    for (const sample of samples) {
      const value = this.#measure.of(sample, scene);
      times.push((sample.time - now) / 1000);
      values.push(value);
      if (value !== null && value > most) most = value;
      newest = value;
    }
    const { unit, title } = this.#measure;
    setText(this.#value, newest === null ? "" : `${unit(newest)}, most ${unit(most)}`);
    setAttribute(
      this.#plot,
      "aria-label",
      newest === null
        ? `${title}: nothing yet`
        : `${title}: now ${unit(newest)}, at most ${unit(most)} in the last minute`,
    );
    if (title.startsWith("GC")) {
      const isSeen = scene.process.snapshot.realms.some(({ gc }) => gc.count > 0) || most > 0;
      show(this.#none, !isSeen);
      show(this.#plot, isSeen);
      if (!isSeen) return;
    }
    this.#most = Math.max(most, 1);
    setText(this.#top, short(ceiling(this.#most)));
    setText(this.#middle, short(ceiling(this.#most) / 2));
    if (!isDrawn) return;
    if (this.#width === 0) this.resize();
    if (this.#width === 0) return;
    if (this.#chart === undefined) {
      this.#palette = scene.palette;
      this.#chart = new uPlot(this.#options(), [times, values], this.#canvas);
      return;
    }
    // The axes are laid out anew only where their numbers or colors changed.
    this.#palette = scene.palette;
    this.#chart.setData([times, values]);
  }

  close(): void {
    this.#chart?.destroy();
    this.#chart = undefined;
  }

  #options(): uPlot.Options {
    const { color, isStepped, unit } = this.#measure;
    const palette = (): Palette => this.#palette!;
    const axis: uPlot.Axis = {
      size: 0,
      grid: { stroke: () => palette().line, width: 1 },
      ticks: { show: false },
      values: (_, splits) => splits.map(() => null),
    };
    return {
      width: this.#width - LABELS,
      height: HEIGHT,
      padding: [4, 1, 2, 1],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: () => [-SECONDS, 0] },
        // A round number above what was reached, so that the axis does not change at each update.
        y: { range: () => [0, ceiling(this.#most)] },
      },
      axes: [
        { ...axis, splits: () => [-60, -45, -30, -15, 0] },
        { ...axis, splits: () => [0, ceiling(this.#most) / 2, ceiling(this.#most)] },
      ],
      series: [
        {},
        {
          stroke: () => color(palette()),
          width: 1.5,
          fill: () => `${color(palette())}22`,
          points: { show: false },
          ...(isStepped ? { paths: uPlot.paths.stepped!({ align: 1 }) } : {}),
        },
      ],
      hooks: {
        setCursor: [
          (chart) => {
            const { idx } = chart.cursor;
            const scene = this.#scene;
            if (scene === undefined || idx === null || idx === undefined) return;
            const value = chart.data[1]![idx];
            const time = chart.data[0][idx];
            if (value === undefined || value === null || time === undefined) return;
            setText(this.#value, `${unit(value)}, ${Math.round(-time)} s ago`);
          },
        ],
      },
    };
  }
}

/** 1, 2, 5, 10, 20, 50: the next of them. */
function ceiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const factor of [1, 2, 4, 6, 8, 10]) if (value <= factor * power) return factor * power;
  return 10 * power;
}

function short(value: number): string {
  if (value >= 1e9) return `${Number((value / 1e9).toFixed(1))}G`;
  if (value >= 1e6) return `${Number((value / 1e6).toFixed(1))}M`;
  if (value >= 1e4) return `${Number((value / 1e3).toFixed(1))}k`;
  return String(Number(value.toFixed(1)));
}
