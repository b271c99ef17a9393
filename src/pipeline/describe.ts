/**
 * Description: what a pipeline is, what its stages settled, and why each proposal won or lost. As text for a terminal,
 * as Mermaid for a page, as SVG for anything else.
 */

import { word } from "../util/validate.ts";
import type { Element } from "./base/element.ts";
import type { Decision } from "./negotiate/pool.ts";
import { formatText } from "./stream-format.ts";

const BOX_WIDTH = 168;
const BOX_HEIGHT = 48;
const COLUMN_GAP = 168;
const ROW_GAP = 44;
const MARGIN = 24;
const LINE = 15;

/** A stage as described. */
export interface DescribedElement {
  /** Its name. */
  readonly name: string;
  /** Its class. */
  readonly kind: string;
  /** What it does with buffers. */
  readonly role: string;
}

/** A link as described. */
export interface DescribedLink {
  /** Name of the stage that gives. */
  readonly from: string;
  /** Name of the stage that takes. */
  readonly to: string;
  /** What flows, in words. */
  readonly format: string;
  /** Buffers that went through. */
  readonly buffers: number;
  /** The pool that was settled at this link; undefined where buffers of others pass. */
  readonly decision: Decision | undefined;
}

function roleOf(element: Element): string {
  const role = element.answeredNow("role", "text", element.role);
  return word(element.answerOf("role"), role);
}

/** A snapshot. */
export class Description {
  /** The pipeline's name. */
  readonly name: string;
  /** The stages, from the sources to the sinks. */
  readonly elements: readonly DescribedElement[];
  /** The links. */
  readonly links: readonly DescribedLink[];
  /** Every decision of the present or last run, in order. */
  readonly decisions: readonly Decision[];

  /** @internal Made by {@link Pipeline.describe}. */
  constructor(name: string, elements: readonly Element[], decisions: readonly Decision[]) {
    this.name = name;
    this.decisions = decisions.slice();
    this.elements = elements.map((element) => ({
      name: element.name,
      kind: element.constructor.name,
      role: roleOf(element),
    }));
    this.links = elements.flatMap((element) =>
      element.outputs.flatMap((pad) => {
        if (pad.peer === null) return [];
        const { format, buffers } = pad;
        const decision = decisions.findLast((one) => one.pad === String(pad));
        const text = format === null ? "" : formatText(format);
        return [{ from: element.name, to: pad.peer.element.name, format: text, buffers, decision }];
      }),
    );
  }

  /** For a terminal: the stages, then the decision in force of each pad, with its sum and its candidates. */
  text(): string {
    const lines = [this.name];
    const width = Math.max(0, ...this.elements.map((one) => one.name.length));
    for (const { name, kind, role } of this.elements) {
      const to = this.links.filter((link) => link.from === name);
      const next = to.map(
        (link) => `-> ${link.to}${link.format === "" ? "" : ` (${link.format}, ${link.buffers} buffers)`}`,
      );
      lines.push(`  ${name.padEnd(width)}  ${kind}: ${role}`.trimEnd());
      for (const one of next) lines.push(`  ${" ".repeat(width)}  ${one}`);
    }
    for (const decision of this.latest) lines.push("", ...decisionLines(decision));
    return lines.join("\n");
  }

  /** The last decision of each pad, in the order in which they were first made: what is in force. */
  get latest(): readonly Decision[] {
    const latest = new Map<string, Decision>();
    for (const decision of this.decisions) latest.set(decision.pad, decision);
    return [...latest.values()];
  }

  /** A Mermaid flowchart. */
  mermaid(): string {
    const lines = ["flowchart LR"];
    const ids = new Map(this.elements.map(({ name }, i) => [name, `e${i}`]));
    for (const { name, role } of this.elements) {
      lines.push(`  ${ids.get(name)}["${escapeMarkup(name)}<br/><small>${escapeMarkup(role)}</small>"]`);
    }
    for (const link of this.links) {
      const label = linkLabel(link).map(escapeMarkup).join("<br/>");
      const arrow = label === "" ? "-->" : `-- "${label}" -->`;
      lines.push(`  ${ids.get(link.from)} ${arrow} ${ids.get(link.to)}`);
    }
    return lines.join("\n");
  }

  /** An SVG document of its own, with the decisions as tooltips and as a legend. */
  svg(): string {
    return drawSvg(this);
  }

  /** The text. */
  toString(): string {
    return this.text();
  }
}

/** One decision, as lines. */
function decisionLines(decision: Decision): string[] {
  const { pad, pool, size, count, params, allocator, candidates, notes, metas, round } = decision;
  const lines = [`${pad}${round > 1 ? `, round ${round}` : ""}: ${formatText(decision.format)}`];
  const extra = [
    params.prefix > 0 ? `prefix ${params.prefix}` : "",
    params.padding > 0 ? `padding ${params.padding}` : "",
  ].filter((word) => word !== "");
  const align = [`align ${params.align}`, ...extra].join(", ");
  lines.push(
    `  ${count} buffer${count === 1 ? "" : "s"} of ${size} bytes from pool "${pool}" (${align}, allocator "${allocator}")`,
  );
  lines.push(`  ${count} ${sumText(decision)}`);
  for (const { won, by, what, why } of candidates) lines.push(`  ${won ? "won " : "lost"} ${what} of ${by}: ${why}`);
  for (const note of notes) lines.push(`  note ${note}`);
  if (metas.length > 0) lines.push(`  metas ${metas.map((meta) => meta.api).join(", ")}`);
  return lines;
}

function sumText({ count, parts }: Decision): string {
  const needed = parts.reduce((sum, part) => sum + part.count, 0);
  const terms = parts.map((part) => `${part.count} ${part.by} (${part.why})`).join(" + ");
  return needed === count ? `= ${terms}` : `offered, ${needed} needed = ${terms}`;
}

/** What stands at a link. */
function linkLabel({ format, decision }: DescribedLink): string[] {
  const lines = format === "" ? [] : [format];
  if (decision !== undefined) lines.push(`${decision.count} x ${decision.size} bytes`, decision.pool);
  return lines;
}

/** Mermaid's labels and SVG's text need the same four characters escaped. */
function escapeMarkup(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

interface Place {
  readonly x: number;
  readonly y: number;
}

/** The picture: stages as boxes in columns, links as arrows with what was settled, decisions below. */
function drawSvg(description: Description): string {
  const places = arrange(description);
  const columns = Math.max(0, ...[...places.values()].map((place) => place.x)) + BOX_WIDTH + MARGIN;
  const bottom = Math.max(0, ...[...places.values()].map((place) => place.y)) + BOX_HEIGHT + MARGIN;
  const legend = description.latest.flatMap((decision) => [...decisionLines(decision), ""]);
  // The advance of 11 px monospace glyphs is 6.3 px in common fonts; 6.7 leaves room for wider ones.
  const width = Math.max(columns, MARGIN * 2 + 6.7 * Math.max(0, ...legend.map((line) => line.length)));
  const height = bottom + (legend.length > 0 ? legend.length * LINE + MARGIN : 0);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${height}" ` +
      `viewBox="0 0 ${Math.ceil(width)} ${height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">`,
    `<title>${escapeMarkup(description.name)}</title>`,
    "<style>.box{fill:#f4f7fb;stroke:#4a6a8a}.pool{stroke:#2a7a4a;stroke-width:2}text{fill:#1c2733}.dim{fill:#66788a}" +
      "@media (prefers-color-scheme:dark){svg{background:#11161c}.box{fill:#1b2530;stroke:#7fa3c7}.pool{stroke:#62c48a}" +
      "text{fill:#dfe7ef}.dim{fill:#93a5b7}}</style>",
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">' +
      '<path d="M0 0 8 4 0 8z" fill="#4a6a8a"/></marker></defs>',
    ...drawLinks(description, places),
    ...drawBoxes(description, places),
    ...legend.map(
      (line, i) =>
        `<text class="dim" xml:space="preserve" x="${MARGIN}" y="${bottom + (i + 1) * LINE}">${escapeMarkup(line)}</text>`,
    ),
    "</svg>",
  ];
  return parts.join("\n");
}

/** Columns by the longest way from a source, rows in the order of appearance. */
function arrange({ elements, links }: Description): Map<string, Place> {
  const column = new Map<string, number>();
  // The elements come sorted from sources to sinks, so that each is placed behind those that feed it.
  for (const { name } of elements) {
    const before = links.filter((link) => link.to === name).map((link) => column.get(link.from) ?? 0);
    column.set(name, before.length === 0 ? 0 : Math.max(...before) + 1);
  }
  const rows = new Map<number, number>();
  const places = new Map<string, Place>();
  for (const { name } of elements) {
    const c = column.get(name)!;
    const r = rows.get(c) ?? 0;
    rows.set(c, r + 1);
    places.set(name, { x: MARGIN + c * (BOX_WIDTH + COLUMN_GAP), y: MARGIN + 16 + r * (BOX_HEIGHT + ROW_GAP) });
  }
  return places;
}

function drawBoxes({ elements, links }: Description, places: Map<string, Place>): string[] {
  return elements.map(({ name, kind, role }) => {
    const { x, y } = places.get(name)!;
    const decides = links.some((link) => link.from === name && link.decision !== undefined);
    return (
      `<g><title>${escapeMarkup(`${kind}: ${role}`)}</title>` +
      `<rect class="box${decides ? " pool" : ""}" x="${x}" y="${y}" width="${BOX_WIDTH}" height="${BOX_HEIGHT}" rx="6"/>` +
      `<text x="${x + 10}" y="${y + 20}" font-weight="bold">${escapeMarkup(clip(name))}</text>` +
      `<text class="dim" x="${x + 10}" y="${y + 36}">${escapeMarkup(clip(role))}</text></g>`
    );
  });
}

function drawLinks({ links }: Description, places: Map<string, Place>): string[] {
  return links.map((link) => {
    const from = places.get(link.from)!;
    const to = places.get(link.to)!;
    const [x1, y1] = [from.x + BOX_WIDTH, from.y + BOX_HEIGHT / 2];
    const [x2, y2] = [to.x, to.y + BOX_HEIGHT / 2];
    const bend = COLUMN_GAP / 2;
    const labels = linkLabel(link);
    const tip =
      link.decision === undefined ? "" : `<title>${escapeMarkup(decisionLines(link.decision).join("\n"))}</title>`;
    // Beside the arrow's head, where arrows that fan out are apart.
    const [lx, ly] = [x2 - COLUMN_GAP / 2, y2];
    const texts = labels.map((label, i) => {
      const y = i === 0 ? ly - 6 : ly + 2 + i * (LINE - 3);
      return `<text x="${lx}" y="${y}" text-anchor="middle" font-size="9">${escapeMarkup(clip(label, 32))}</text>`;
    });
    return (
      `<g>${tip}<path d="M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}" fill="none" ` +
      `stroke="#4a6a8a" marker-end="url(#tip)"/>${texts.join("")}</g>`
    );
  });
}

function clip(text: string, length = 22): string {
  return text.length > length ? `${text.slice(0, length - 1)}\u2026` : text;
}
