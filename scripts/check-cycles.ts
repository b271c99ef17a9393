/**
 * No file of src/ needs itself to load: a circle of imports at run time is refused wherever it is. Types may point back
 * inside one folder (a pool and its helper know each other); a circle that only types close is refused where it crosses
 * folders.
 */
import { posix } from "node:path";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { moduleReferences } from "./lib/imports.ts";
import { parseTree, rootFromArguments } from "./lib/source-tree.ts";

interface Edge {
  readonly to: string;
  readonly line: number;
  readonly isType: boolean;
}

type Graph = ReadonlyMap<string, readonly Edge[]>;

function readGraph(root: string): Graph {
  const files = parseTree(root, "src");
  const known = new Set(files.map(({ path }) => path));
  return new Map(
    files.map((file) => [
      file.path,
      moduleReferences(file).flatMap(({ specifier, line, kind }) => {
        // What is imported while the program runs is not needed to load.
        if (!specifier.startsWith(".") || kind === "lazy" || kind === "builtin") return [];
        const to = posix.join(posix.dirname(file.path), specifier);
        if (!known.has(to)) return [];
        const isType = kind === "type";
        return isType && KNOWN.some(([from, target]) => from === file.path && target === to)
          ? []
          : [{ to, line, isType }];
      }),
    ]),
  );
}

/** Types that a file may name although they close a circle, each with its reason. */
const KNOWN: readonly (readonly [from: string, to: string, why: string])[] = [
  ["src/media/buffer/media-buffer.ts", "src/pools/buffer/buffer-pool.ts", "`buffer.pool` is a BufferPool to users"],
  ["src/media/meta/meta.ts", "src/media/buffer/media-buffer.ts", "a meta's hooks get the buffers that it is on"],
  ["src/media/meta/attach.ts", "src/media/buffer/media-buffer.ts", "the part of MediaBuffer that keeps its metas"],
];

/** One finding for each set of files that need each other, by the shortest circle through its first file. */
export function checkCycles(root: string): Finding[] {
  const graph = readGraph(root);
  const atRunTime: Graph = new Map([...graph].map(([file, edges]) => [file, edges.filter(({ isType }) => !isType)]));
  const found = components(atRunTime).map((files) => describe(atRunTime, files, "need each other to load"));
  const reported = new Set(found.map(({ file }) => file));
  for (const files of components(graph)) {
    if (new Set(files.map((file) => posix.dirname(file))).size === 1) continue;
    const finding = describe(graph, files, "know each other's types across folders");
    if (!reported.has(finding.file)) found.push(finding);
  }
  return found;
}

/** The sets of two files and more in which each reaches each (Tarjan's strongly connected components). */
function components(graph: Graph): string[][] {
  const found: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const onStack = new Set<string>();
  const visit = (file: string): void => {
    index.set(file, index.size);
    low.set(file, index.get(file)!);
    stack.push(file);
    onStack.add(file);
    for (const { to } of graph.get(file) ?? []) {
      if (!index.has(to)) {
        visit(to);
        low.set(file, Math.min(low.get(file)!, low.get(to)!));
      } else if (onStack.has(to)) low.set(file, Math.min(low.get(file)!, index.get(to)!));
    }
    if (low.get(file) !== index.get(file)) return;
    const files = stack.splice(stack.indexOf(file));
    for (const member of files) onStack.delete(member);
    if (files.length > 1) found.push(files.sort());
  };
  for (const file of graph.keys()) if (!index.has(file)) visit(file);
  return found.sort((a, b) => (a[0]! < b[0]! ? -1 : 1));
}

function describe(graph: Graph, files: readonly string[], what: string): Finding {
  const members = new Set(files);
  const start = files[0]!;
  // Breadth first: the first way back is the shortest.
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const file of queue) {
    for (const { to } of graph.get(file) ?? []) {
      if (!members.has(to) || cameFrom.has(to)) continue;
      cameFrom.set(to, file);
      queue.push(to);
    }
  }
  const circle = [start];
  do circle.unshift(cameFrom.get(circle[0]!)!);
  while (circle[0] !== start);
  const line = graph.get(start)!.find(({ to }) => to === circle[1])!.line;
  const short = circle.map((file) => file.replace(/^src\//, ""));
  return { file: start, line, message: `${files.length} files ${what}: ${short.join(" -> ")}` };
}

if (import.meta.main) {
  reportFindings("cycles", checkCycles(rootFromArguments()), "no file needs itself to load");
}
