/** The picture of a pipeline: stages as boxes in columns, links as arrows with what was settled, verdicts below. */
import { type Description, decisionLines, linkLabel } from "./describe.ts";

const BOX_WIDTH = 168;
const BOX_HEIGHT = 48;
const COLUMN_GAP = 168;
const ROW_GAP = 44;
const MARGIN = 24;
const LINE = 15;

interface Place {
  readonly x: number;
  readonly y: number;
}

/** @internal */
export function drawSvg(description: Description): string {
  const places = arrange(description);
  const columns = Math.max(0, ...[...places.values()].map((place) => place.x)) + BOX_WIDTH + MARGIN;
  const bottom = Math.max(0, ...[...places.values()].map((place) => place.y)) + BOX_HEIGHT + MARGIN;
  const legend = description.latest.flatMap((decision) => [...decisionLines(decision), ""]);
  // 6.3 px is the advance of 11 px monospace glyphs in common fonts, rounded up.
  const width = Math.max(columns, MARGIN * 2 + 6.7 * Math.max(0, ...legend.map((line) => line.length)));
  const height = bottom + (legend.length > 0 ? legend.length * LINE + MARGIN : 0);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${height}" ` +
      `viewBox="0 0 ${Math.ceil(width)} ${height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">`,
    `<title>${escapeXml(description.name)}</title>`,
    "<style>.box{fill:#f4f7fb;stroke:#4a6a8a}.pool{stroke:#2a7a4a;stroke-width:2}text{fill:#1c2733}.dim{fill:#66788a}" +
      "@media (prefers-color-scheme:dark){svg{background:#11161c}.box{fill:#1b2530;stroke:#7fa3c7}.pool{stroke:#62c48a}" +
      "text{fill:#dfe7ef}.dim{fill:#93a5b7}}</style>",
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">' +
      '<path d="M0 0 8 4 0 8z" fill="#4a6a8a"/></marker></defs>',
    ...drawLinks(description, places),
    ...drawBoxes(description, places),
    ...legend.map(
      (line, i) =>
        `<text class="dim" xml:space="preserve" x="${MARGIN}" y="${bottom + (i + 1) * LINE}">${escapeXml(line)}</text>`,
    ),
    "</svg>",
  ];
  return parts.join("\n");
}

/** Columns by the longest way from a source, rows in the order of appearance. */
function arrange({ elements, links }: Description): Map<string, Place> {
  const column = new Map<string, number>();
  // The elements come sorted from sources to sinks, so that whoever gives to one is placed before it.
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
      `<g><title>${escapeXml(`${kind}: ${role}`)}</title>` +
      `<rect class="box${decides ? " pool" : ""}" x="${x}" y="${y}" width="${BOX_WIDTH}" height="${BOX_HEIGHT}" rx="6"/>` +
      `<text x="${x + 10}" y="${y + 20}" font-weight="bold">${escapeXml(clip(name))}</text>` +
      `<text class="dim" x="${x + 10}" y="${y + 36}">${escapeXml(clip(role))}</text></g>`
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
      link.decision === undefined ? "" : `<title>${escapeXml(decisionLines(link.decision).join("\n"))}</title>`;
    // Beside the arrow's head, where arrows that fan out are apart.
    const [lx, ly] = [x2 - COLUMN_GAP / 2, y2];
    const texts = labels.map((label, i) => {
      const y = i === 0 ? ly - 6 : ly + 2 + i * (LINE - 3);
      return `<text x="${lx}" y="${y}" text-anchor="middle" font-size="9">${escapeXml(clip(label, 32))}</text>`;
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

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
