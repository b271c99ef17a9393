/**
 * Description: what a pipeline is, what its stages settled, and why each proposal won or lost. As text for a terminal, as
 * Mermaid for a page, as SVG for anything else.
 */

import type { Element } from "./base/element.ts";
import { drawSvg } from "./describe-svg.ts";
import type { Decision } from "./negotiate/pool.ts";
import { formatText } from "./stream-format.ts";

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
      role: element.role,
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
      lines.push(`  ${ids.get(name)}["${escapeMermaid(name)}<br/><small>${escapeMermaid(role)}</small>"]`);
    }
    for (const link of this.links) {
      const label = linkLabel(link).map(escapeMermaid).join("<br/>");
      const arrow = label === "" ? "-->" : `-- "${label}" -->`;
      lines.push(`  ${ids.get(link.from)} ${arrow} ${ids.get(link.to)}`);
    }
    return lines.join("\n");
  }

  /** An SVG document of its own, with the verdicts as tooltips and as a legend. */
  svg(): string {
    return drawSvg(this);
  }

  /** The text. */
  toString(): string {
    return this.text();
  }
}

/** @internal One decision, as lines. */
export function decisionLines(decision: Decision): string[] {
  const { pad, pool, size, count, params, allocator, parts, candidates, notes, metas, round } = decision;
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
  if (parts.length === 0) lines.pop();
  return lines;
}

function sumText({ count, parts }: Decision): string {
  const needed = parts.reduce((sum, part) => sum + part.count, 0);
  const terms = parts.map((part) => `${part.count} ${part.by} (${part.why})`).join(" + ");
  return needed === count ? `= ${terms}` : `offered, ${needed} needed = ${terms}`;
}

/** @internal What stands at a link. */
export function linkLabel({ format, decision }: DescribedLink): string[] {
  const lines = format === "" ? [] : [format];
  if (decision !== undefined) lines.push(`${decision.count} x ${decision.size} bytes`, decision.pool);
  return lines;
}

function escapeMermaid(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
