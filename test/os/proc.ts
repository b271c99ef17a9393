/** What the kernel says about this process's memory: an opinion that does not come from the code under test. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

/** Bytes that this process has locked (VmLck of /proc/self/status). */
export function lockedBytesOfProcess(): number {
  return 1024 * Number(/^VmLck:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

/** What lies in a range, in bytes. */
export interface RangeFacts {
  /** Of the pages of the range alone: a mapping may have grown together with its neighbor. */
  rss: number;
  locked: number;
  huge: number;
  /** Bytes of the range in mappings that the kernel marks as locked ("lo"). */
  marked: number;
  /** What is mapped there: file names, "" for anonymous memory. */
  names: Set<string>;
}

const PAGE = 4096n;
/** Bytes of a page's entry in pagemap; the highest bit says whether it is in RAM. */
const ENTRY = 8;

/** Bytes of the range's pages that are in RAM, from /proc/self/pagemap. */
function residentBytes(address: bigint, end: bigint): number {
  const first = address / PAGE;
  const pages = Number((end + PAGE - 1n) / PAGE - first);
  const entries = Buffer.alloc(pages * ENTRY);
  const file = openSync("/proc/self/pagemap", "r");
  const read = readSync(file, entries, 0, entries.length, first * BigInt(ENTRY));
  closeSync(file);
  let resident = 0;
  for (let at = ENTRY - 1; at < read; at += ENTRY) if ((entries[at]! & 0x80) !== 0) resident++;
  return resident * Number(PAGE);
}

/** Reads smaps for the mappings that begin inside `[address, address + bytes)` or cover its start. */
export function factsOfRange(address: bigint, bytes: number): RangeFacts {
  const end = address + BigInt(bytes);
  const facts: RangeFacts = { rss: residentBytes(address, end), locked: 0, huge: 0, marked: 0, names: new Set() };
  let inside = false;
  let overlap = 0;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)$/.exec(line);
    if (head !== null) {
      const from = BigInt(`0x${head[1]}`);
      const to = BigInt(`0x${head[2]}`);
      inside = from < end && to > address;
      overlap = Number((to < end ? to : end) - (from > address ? from : address));
      if (inside) facts.names.add(head[3]!);
      continue;
    }
    if (!inside) continue;
    const field = /^(\w+):\s+(\d+) kB/.exec(line);
    if (field?.[1] === "Locked") facts.locked += Number(field[2]) * 1024;
    else if (field?.[1] === "AnonHugePages") facts.huge += Number(field[2]) * 1024;
    else if (/^VmFlags:.*\blo\b/.test(line)) facts.marked += overlap;
  }
  return facts;
}
