import ts from "typescript";

/** Columns that a line of a comment may have: what the formatter gives to code. */
export const WIDTH = 120;

/** What cannot be broken, and what would mean something else on another line. */
const FIXED = /^(?:\||```|\s{2,}|biome-ignore|@ts-|#)|\S {2,}\S|https?:\/\/\S{40}/;
/** What begins a paragraph of its own: a tag, an item of a list. */
const START = /^(?:@\w|[-*] |\d+[.)] )/;

/**
 * The text with every paragraph of a comment that is too wide filled anew; code and all other comments stay as they
 * are.
 */
export function wrapComments(text: string): string {
  let wrapped = "";
  let at = 0;
  for (const { pos, end, indent } of comments(text)) {
    wrapped += text.slice(at, pos);
    const comment = text.slice(pos, end);
    const isWide = `${indent}${comment}`.split("\n").some((line) => line.length > WIDTH);
    wrapped += isWide ? (comment.startsWith("//") ? wrapLines(comment, indent) : wrapBlock(comment, indent)) : comment;
    at = end;
  }
  return wrapped + text.slice(at);
}

/** Block comments and runs of line comments that have their lines to themselves. */
function comments(text: string): { pos: number; end: number; indent: string }[] {
  const found: { pos: number; end: number; indent: string; isLine: boolean }[] = [];
  const source = ts.createSourceFile("a.ts", text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  const seen = new Set<number>();
  const add = (ranges: readonly ts.CommentRange[] | undefined): void => {
    for (const { pos, end, kind } of ranges ?? []) {
      if (seen.has(pos)) continue;
      seen.add(pos);
      const indent = text.slice(text.lastIndexOf("\n", pos - 1) + 1, pos);
      if (indent.trim() !== "" || !/^\s*(?:\n|$)/.test(text.slice(end, end + 200))) continue;
      found.push({ pos, end, indent, isLine: kind === ts.SyntaxKind.SingleLineCommentTrivia });
    }
  };
  const visit = (node: ts.Node): void => {
    add(ts.getLeadingCommentRanges(text, node.getFullStart()));
    // Comments before a closing bracket, where no node begins.
    if (node.getChildCount(source) === 0) return;
    for (const child of node.getChildren(source)) visit(child);
  };
  visit(source);
  found.sort((a, b) => a.pos - b.pos);
  const merged: typeof found = [];
  for (const comment of found) {
    const last = merged.at(-1);
    const gap = last === undefined ? "" : text.slice(last.end, comment.pos);
    if (last?.isLine && comment.isLine && last.indent === comment.indent && gap === `\n${comment.indent}`)
      last.end = comment.end;
    else merged.push({ ...comment });
  }
  return merged;
}

function wrapLines(comment: string, indent: string): string {
  const lines = comment.split("\n").map((line) => line.trim().replace(/^\/\/ ?/, ""));
  return fill(lines, WIDTH - indent.length - 3)
    .map((line) => `//${line === "" ? "" : ` ${line}`}`)
    .join(`\n${indent}`);
}

function wrapBlock(comment: string, indent: string): string {
  const opening = comment.startsWith("/**") ? "/**" : "/*";
  const lines = comment
    .slice(opening.length, -2)
    .split("\n")
    .map((line, index) => (index === 0 ? line.trim() : line.replace(/^\s*\* ?/, "").trimEnd()));
  if (lines[0] === "") lines.shift();
  if (lines.at(-1) === "") lines.pop();
  const filled = fill(lines, WIDTH - indent.length - 3).map((line) => ` *${line === "" ? "" : ` ${line}`}`);
  return [opening, ...filled, " */"].join(`\n${indent}`);
}

/** Fills the paragraphs that have a line wider than this; the others stay as they are. */
function fill(lines: readonly string[], width: number): string[] {
  const filled: string[] = [];
  let paragraph: string[] = [];
  const flush = (): void => {
    if (paragraph.every((line) => line.length <= width)) filled.push(...paragraph);
    else {
      // What continues an item of a list, or a tag, keeps the indentation of its second line.
      const hanging = /^\s*/.exec(paragraph[1] ?? "")![0];
      let line = "";
      for (const word of paragraph
        .join(" ")
        .split(/\s+/)
        .filter((part) => part !== "")) {
        if (line === "") line = word;
        else if (line.length + 1 + word.length <= width) line += ` ${word}`;
        else {
          filled.push(line);
          line = hanging + word;
        }
      }
      filled.push(line);
    }
    paragraph = [];
  };
  let isFence = false;
  for (const line of lines) {
    if (line.startsWith("```")) isFence = !isFence;
    const isHanging =
      paragraph.length > 0 && START.test(paragraph[0]!) && /^ {2,3}\S/.test(line) && !/\S {2,}\S/.test(line);
    if (isFence || line === "" || (!isHanging && FIXED.test(line))) {
      flush();
      filled.push(line);
    } else {
      if (START.test(line)) flush();
      paragraph.push(line);
    }
  }
  flush();
  return filled;
}
