/**
 * What `millpond top` shows: snapshots go in, keys go in, lines come out. It knows no terminal and no clock.
 *
 * Invariants: no line has more cells than the terminal has columns, there are at most as many lines as rows, and the
 * pool that is chosen stays chosen while others come, go and change places.
 */
import { AT_LEAST } from "../../observe/realm-inspector.ts";
import { mergePools, type ProcessSnapshot, type ShownHolder, type ShownPool } from "../../observe/snapshot.ts";
import { bytes, type Paint } from "../terminal.ts";
import { cells, clip, duration, pad, rate, shown } from "./cells.ts";

/** What keys do. */
export type Action =
  | "up"
  | "down"
  | "pageUp"
  | "pageDown"
  | "first"
  | "last"
  | "open"
  | "back"
  | "sort"
  | "pause"
  | "help"
  | "quit";

const ORDERS = ["as made", "name", "waiting", "leased", "acquires/s", "oldest", "bytes"] as const;

/** The orders that a table of pools may have. */
type Order = (typeof ORDERS)[number];

/** A pool with what two snapshots say together. */
interface Row {
  readonly pool: ShownPool;
  /** Its place among pools as they were made. */
  readonly made: number;
  /** Leases a second; null: not known. */
  readonly rate: number | null;
  readonly oldest: ShownHolder | undefined;
}

/** How characters are drawn. */
export interface Look {
  /** Colors, or none. */
  readonly paint: Paint;
  /** Whether the terminal shows more than ASCII. */
  readonly unicode: boolean;
}

interface Totals {
  readonly time: number;
  readonly cpu: number;
  readonly gcMs: number;
  readonly taken: ReadonlyMap<string, number>;
}

const HELP = [
  ["up, down, j, k", "choose a pool; Page Up, Page Down, Home, End"],
  ["Enter", "its holders; Esc goes back"],
  ["s", "sort by the next column"],
  ["p, Space", "pause, and go on"],
  ["?", "this page"],
  ["q, Ctrl-C", "quit"],
] as const;

/** See the module text. */
export class TopModel {
  #snapshot: ProcessSnapshot | undefined;
  #rows: Row[] = [];
  #totals: Totals | undefined;
  #cpu: number | null = null;
  #gcMs: number | null = null;
  #order: Order = "as made";
  #chosen: string | undefined;
  #chosenAt = 0;
  #page: "pools" | "holders" | "help" = "pools";
  /** The first pool that is shown, and the first holder. */
  #from = 0;
  #scroll = 0;
  #maxScroll = 0;
  #isPaused = false;
  /** Lines of the screen that was drawn last. */
  #height = 24;

  /** Whether updates are left out. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** A new snapshot; one that comes while it is paused is left out. */
  accept(snapshot: ProcessSnapshot): void {
    if (this.#isPaused && this.#snapshot !== undefined) return;
    const pools = mergePools(snapshot);
    const taken = new Map<string, number>();
    const before = this.#totals;
    const seconds = before === undefined ? 0 : (snapshot.time - before.time) / 1000;
    this.#rows = pools.map((pool, made): Row => {
      const count = pool.acquires ?? pool.taken;
      if (count !== undefined) taken.set(pool.key, count);
      const last = before?.taken.get(pool.key);
      const change = count === undefined || last === undefined || seconds <= 0 ? null : (count - last) / seconds;
      return { pool, made, rate: change === null || change < 0 ? null : change, oldest: oldestOf(pool) };
    });
    const { user, system } = snapshot.cpu;
    const gcMs = snapshot.realms.reduce((sum, { gc }) => sum + gc.ms, 0);
    if (before !== undefined && seconds > 0) {
      this.#cpu = Math.max(0, (100 * (user + system - before.cpu)) / seconds);
      this.#gcMs = Math.max(0, (gcMs - before.gcMs) / seconds);
    }
    this.#totals = { time: snapshot.time, cpu: user + system, gcMs, taken };
    this.#snapshot = snapshot;
    this.#sort();
  }

  /** A key; true: it asks for the end. */
  act(action: Action): boolean {
    const page = Math.max(1, this.#height - 6);
    switch (action) {
      case "quit":
        return true;
      case "up":
        this.#move(-1);
        break;
      case "down":
        this.#move(1);
        break;
      case "pageUp":
        this.#move(-page);
        break;
      case "pageDown":
        this.#move(page);
        break;
      case "first":
        this.#move(Number.NEGATIVE_INFINITY);
        break;
      case "last":
        this.#move(Number.POSITIVE_INFINITY);
        break;
      case "open":
        if (this.#page === "pools" && this.#rows.length > 0) this.#show("holders");
        else this.#show("pools");
        break;
      case "back":
        this.#show("pools");
        break;
      case "help":
        this.#show(this.#page === "help" ? "pools" : "help");
        break;
      case "sort":
        this.#order = ORDERS[(ORDERS.indexOf(this.#order) + 1) % ORDERS.length]!;
        this.#sort();
        break;
      case "pause":
        this.#isPaused = !this.#isPaused;
        break;
    }
    return false;
  }

  /**
   * The screen.
   *
   * @param silent milliseconds that the process has not answered for, when that is longer than it should be
   */
  render(columns: number, rows: number, look: Look, silent?: number): string[] {
    this.#height = rows;
    const writer = new LineWriter(columns, look);
    if (this.#snapshot === undefined) {
      const since = silent === undefined ? "" : ` for ${duration(silent)}`;
      return [writer.line([`waiting for the first answer${since}  q quit`, look.paint.dim])];
    }
    // On a low screen the pools are what matters.
    const head = this.#head(writer, look, silent).slice(0, rows < LOW ? 1 : undefined);
    const foot = this.#foot(writer, look);
    const room = Math.max(0, rows - head.length - 1);
    const body =
      this.#page === "help"
        ? this.#help(writer, look)
        : this.#page === "holders"
          ? this.#holders(writer, look, room)
          : this.#pools(writer, look, room);
    const lines = [...head, ...body.slice(0, room)];
    while (lines.length < rows - 1) lines.push("");
    return [...lines.slice(0, rows - 1), foot];
  }

  /** The table of pools alone, for what is no terminal. */
  table(columns: number, look: Look): string[] {
    const writer = new LineWriter(columns, look);
    if (this.#snapshot === undefined) return [];
    return [...this.#head(writer, look), ...this.#pools(writer, look, Number.POSITIVE_INFINITY, false)];
  }

  #show(page: "pools" | "holders" | "help"): void {
    this.#page = page;
    this.#scroll = 0;
  }

  #move(by: number): void {
    if (this.#page !== "pools") {
      this.#scroll = Math.max(0, Math.min(this.#scroll + by, this.#maxScroll));
      return;
    }
    const last = this.#rows.length - 1;
    this.#chosenAt = Math.max(0, Math.min(last, this.#chosenAt + by));
    this.#chosen = this.#rows[this.#chosenAt]?.pool.key;
  }

  #sort(): void {
    const value = (row: Row): number => {
      switch (this.#order) {
        case "waiting":
          return row.pool.waiting;
        case "leased":
          return row.pool.leased / Math.max(1, boundOf(row.pool) ?? row.pool.count);
        case "acquires/s":
          return row.rate ?? -1;
        case "oldest":
          return row.oldest?.age ?? -1;
        case "bytes":
          return row.pool.bytes;
        default:
          return 0;
      }
    };
    this.#rows.sort((a, b) => {
      const byName = this.#order === "name" ? (a.pool.name < b.pool.name ? -1 : a.pool.name > b.pool.name ? 1 : 0) : 0;
      return byName || value(b) - value(a) || a.made - b.made;
    });
    const at = this.#rows.findIndex(({ pool }) => pool.key === this.#chosen);
    // A pool that has ended leaves the choice to the one in its place.
    this.#chosenAt = at === -1 ? Math.max(0, Math.min(this.#chosenAt, this.#rows.length - 1)) : at;
    this.#chosen = this.#rows[this.#chosenAt]?.pool.key;
    if (at === -1 && this.#page === "holders") this.#show("pools");
  }

  #head(writer: LineWriter, { paint }: Look, silent?: number): string[] {
    const { pid, title, uptime, rss, realms } = this.#snapshot!;
    const [main] = realms;
    const threads = realms.length === 1 ? "" : `  ${realms.length} threads`;
    const sum = (of: (realm: (typeof realms)[number]) => number): number =>
      realms.reduce((all, one) => all + of(one), 0);
    const first = writer.line(
      [shown(title), paint.bold],
      [`  pid ${pid}  ${shown(main?.runtime ?? "")}  up ${duration(1000 * uptime)}${threads}`, paint.dim],
      this.#isPaused ? ["  paused", paint.warn] : "",
    );
    const gc = `${sum((realm) => realm.gc.major)} major of ${sum((realm) => realm.gc.count)}`;
    const facts = [
      `cpu ${this.#cpu === null ? "-" : `${Math.round(this.#cpu)} %`}`,
      `rss ${bytes(rss)}`,
      `heap ${bytes(sum((realm) => realm.heap?.used ?? 0))}`,
      `external ${bytes(sum((realm) => realm.heap?.external ?? 0))}`,
      `gc ${gc}${this.#gcMs === null ? "" : `, ${this.#gcMs.toFixed(1)} ms/s`}`,
    ];
    const second =
      silent === undefined
        ? writer.line([facts.join("  "), paint.dim])
        : writer.line([`does not answer for ${duration(silent)}: its main thread is blocked or stopped`, paint.bad]);
    const blocked = realms.filter((realm) => (realm.silent ?? 0) >= BLOCKED_MS);
    const warnings = blocked.map((realm) => {
      return `thread ${realm.thread} does not answer for ${duration(realm.silent!)}: it is blocked; shown as it was`;
    });
    return [first, second, ...(warnings.length === 0 ? [] : [writer.line([warnings.join("; "), paint.warn])]), ""];
  }

  #foot(writer: LineWriter, { paint }: Look): string {
    if (this.#page !== "pools") return writer.line(["Esc back  q quit", paint.dim]);
    return writer.line([`q quit  Enter holders  s sort (${this.#order})  p pause  ? help`, paint.dim]);
  }

  #help(writer: LineWriter, { paint }: Look): string[] {
    return [
      ...HELP.map(([keys, what]) => writer.line([pad(keys, 16), paint.accent], what)),
      "",
      writer.line(["A bar has a place for each slot: leased, idle, not made yet.", paint.dim]),
      writer.line(["While this looks, pools record their leases; nothing else changes.", paint.dim]),
    ];
  }

  #pools(writer: LineWriter, look: Look, room: number, hasChoice = true): string[] {
    const { paint } = look;
    if (this.#rows.length === 0) return [writer.line(["there are no pools in this process", paint.dim])];
    const columns = chooseColumns(this.#rows, writer.columns - 2);
    const title = writer.line("  ", [
      columns.map(({ column, width }) => pad(column.title, width, column.align)).join("  "),
      paint.dim,
    ]);
    const visible = Math.min(this.#rows.length, Math.max(1, room - 1));
    const from = hasChoice ? this.#firstVisible(visible) : 0;
    const lines = this.#rows.slice(from, from + visible).map((row) => {
      const isChosen = hasChoice && row.pool.key === this.#chosen;
      const mark = isChosen ? (look.unicode ? "▸ " : "> ") : "  ";
      const parts = columns.flatMap(({ column, width }, i): Part[] => {
        const [text, color] = column.cell(row, width, look);
        return [i === 0 ? "" : "  ", [pad(text, width, column.align), isChosen && i === 0 ? paint.bold : color]];
      });
      return writer.line([mark, paint.accent], ...parts);
    });
    return room < 2 ? lines : [title, ...lines];
  }

  #firstVisible(visible: number): number {
    const last = Math.max(0, this.#rows.length - visible);
    if (this.#chosenAt < this.#from) this.#from = this.#chosenAt;
    if (this.#chosenAt >= this.#from + visible) this.#from = this.#chosenAt - visible + 1;
    this.#from = Math.min(this.#from, last);
    return this.#from;
  }

  #holders(writer: LineWriter, look: Look, room: number): string[] {
    const row = this.#rows[this.#chosenAt];
    if (row === undefined) return [];
    const { paint } = look;
    const { pool } = row;
    const lines = [
      writer.line([shown(pool.name), paint.bold], [shown(`  ${pool.kind}, ${pool.phase}`), paint.dim]),
      writer.line(barOf(pool, Math.min(40, writer.columns), look)),
      writer.line([factsOf(row), paint.dim]),
    ];
    if (pool.starvedLast !== undefined) {
      const { time, waited, waiting } = pool.starvedLast;
      const ago = duration(Math.max(0, this.#snapshot!.time - time));
      lines.push(writer.line([`starved ${ago} ago: ${waiting} waited, the first for ${duration(waited)}`, paint.bad]));
    }
    if (pool.members.length > 0) {
      const members = pool.members.map(({ member, thread, pid, holds, waiting, state }) => {
        const who =
          thread === undefined ? (pid === undefined || pid === 0 ? "" : ` pid ${pid}`) : ` ${threadName(thread)}`;
        return `${member}${who} holds ${holds}${waiting ? ", waits" : ""}${state === "live" ? "" : `, ${shown(state)}`}`;
      });
      lines.push(writer.line([`members: ${members.join("; ")}`, paint.dim]));
    }
    // On a low screen the list is what matters.
    while (lines.length > 1 && lines.length > room - 5) lines.pop();
    if (room > 8) lines.push("");
    const columns = fitColumns(HOLDER_COLUMNS, pool.holders, writer.columns);
    if (pool.holders.length === 0) {
      return [...lines, writer.line([pool.leased === 0 ? "no lease is out" : "its leases are not listed", paint.dim])];
    }
    lines.push(
      writer.line([columns.map(({ column, width }) => pad(column.title, width, column.align)).join("  "), paint.dim]),
    );
    const list = pool.holders.map((holder) =>
      writer.line(
        ...columns.flatMap(({ column, width }, i): Part[] => [
          i === 0 ? "" : "  ",
          [pad(column.cell(holder, width), width, column.align), column.title === "AGE" ? paint.accent : undefined],
        ]),
      ),
    );
    const more = pool.leased - pool.holders.length;
    if (more > 0) list.push(writer.line([`and ${more} more`, paint.dim]));
    const visible = Math.max(1, room - lines.length);
    this.#maxScroll = Math.max(0, list.length - visible);
    this.#scroll = Math.min(this.#scroll, this.#maxScroll);
    return [...lines, ...list.slice(this.#scroll, this.#scroll + visible)];
  }
}

/** Rows of a screen that has no room for more than a line about the process. */
const LOW = 8;

/** A worker is shown as blocked from then on; a busy machine makes any thread wait for some turns. */
const BLOCKED_MS = 1000;

type Part = string | readonly [text: string, color: ((text: string) => string) | undefined];

/** Lines of so many cells: what does not fit is cut. */
class LineWriter {
  readonly columns: number;
  readonly #look: Look;

  constructor(columns: number, look: Look) {
    this.columns = columns;
    this.#look = look;
  }

  line(...parts: readonly Part[]): string {
    let room = this.columns;
    let line = "";
    for (const part of parts) {
      const [text, color] = typeof part === "string" ? [part, undefined] : part;
      if (room <= 0) break;
      const cut = clip(text, room);
      room -= cells(cut);
      const visible = this.#look.unicode ? cut : toAscii(cut);
      line += color === undefined || visible === "" ? visible : color(visible);
    }
    return line.trimEnd();
  }
}

/** For terminals that show nothing else; as many characters as before. */
function toAscii(text: string): string {
  return text.replaceAll("…", "~").replaceAll(/[^\u0020-\u007e]/gu, "?");
}

/** A column of a table of `R`. */
interface AnyColumn<R> {
  readonly title: string;
  readonly align: "left" | "right";
  /** The lower, the longer it stays when there is little room. */
  readonly rank: number;
  readonly least: number;
  /** What it gets before a column of a higher rank gets anything. */
  readonly good: number;
  readonly most: number;
  /** How much it wants to show what it has; undefined: `least`. */
  wants?(row: R): number;
}

interface Column extends AnyColumn<Row> {
  cell(row: Row, width: number, look: Look): readonly [text: string, color: ((text: string) => string) | undefined];
}

const COLUMNS: readonly Column[] = [
  {
    title: "POOL",
    align: "left",
    rank: 0,
    least: 8,
    good: 18,
    most: 28,
    wants: ({ pool }) => cells(shown(pool.name)),
    cell: ({ pool }, _width, { paint }) => [shown(pool.name), pool.silent === undefined ? undefined : paint.dim],
  },
  {
    title: "KIND",
    align: "left",
    rank: 8,
    least: 8,
    good: 8,
    most: 8,
    cell: ({ pool }, _width, { paint }) => [shown(pool.kind.replace(/Pool$/, "")), paint.dim],
  },
  {
    title: "THREAD",
    align: "left",
    rank: 9,
    least: 6,
    good: 7,
    most: 12,
    wants: ({ pool }) => pool.threads.map(threadName).join(",").length,
    cell: ({ pool }, _width, { paint }) => [pool.threads.map(threadName).join(","), paint.dim],
  },
  {
    title: "SLOTS",
    align: "left",
    rank: 1,
    least: 6,
    good: 12,
    most: 24,
    wants: ({ pool }) => boundOf(pool) ?? pool.count,
    cell: ({ pool }, width, look) => {
      const [text, color] = barOf(pool, width, look);
      return [text, color];
    },
  },
  {
    title: "LEASED",
    align: "right",
    rank: 2,
    least: 6,
    good: 9,
    most: 13,
    wants: ({ pool }) => leasedOf(pool).length,
    cell: ({ pool }) => [leasedOf(pool), undefined],
  },
  {
    title: "FREE",
    align: "right",
    rank: 10,
    least: 5,
    good: 5,
    most: 8,
    cell: ({ pool }) => [pool.free === null ? "-" : count(pool.free), undefined],
  },
  {
    title: "WAIT",
    align: "right",
    rank: 3,
    least: 4,
    good: 4,
    most: 5,
    cell: ({ pool }, _width, { paint }) => [count(pool.waiting), pool.waiting > 0 ? paint.bad : undefined],
  },
  {
    title: "BYTES",
    align: "right",
    rank: 6,
    least: 7,
    good: 7,
    most: 7,
    cell: ({ pool }) => [bytes(pool.bytes), undefined],
  },
  {
    title: "ACQ/S",
    align: "right",
    rank: 5,
    least: 6,
    good: 6,
    most: 6,
    cell: (row) => [row.rate === null ? "-" : rate(row.rate), undefined],
  },
  {
    title: "OLDEST",
    align: "right",
    rank: 4,
    least: 7,
    good: 7,
    most: 8,
    cell: ({ oldest }) => [oldest === undefined ? "-" : ageOf(oldest), undefined],
  },
  {
    title: "HELD BY",
    align: "left",
    rank: 7,
    least: 8,
    good: 12,
    most: 40,
    wants: ({ oldest }) => (oldest === undefined ? 0 : cells(holderName(oldest))),
    cell: ({ oldest }, _width, { paint }) => [oldest === undefined ? "" : holderName(oldest), paint.dim],
  },
];

interface HolderColumn extends AnyColumn<ShownHolder> {
  cell(holder: ShownHolder, width: number): string;
}

function holderColumn(
  title: string,
  rank: number,
  align: "left" | "right",
  most: number,
  text: (holder: ShownHolder) => string,
): HolderColumn {
  return {
    title,
    rank,
    align,
    least: title.length,
    good: Math.min(most, 20),
    most,
    wants: (holder) => cells(text(holder)),
    cell: (holder, width) => clip(text(holder), width, title === "TAKEN AT" ? "end" : "start"),
  };
}

const HOLDER_COLUMNS: readonly HolderColumn[] = [
  holderColumn("SLOT", 0, "right", 16, ({ slot }) => String(slot)),
  holderColumn("AGE", 1, "right", 8, ageOf),
  holderColumn("TAG", 2, "left", 40, ({ tag }) => shown(tag ?? "")),
  holderColumn("TAKEN AT", 3, "left", 70, ({ site }) => siteOf(site)),
  holderColumn("THREAD", 4, "left", 12, ({ thread }) => threadName(thread)),
  holderColumn("SIZE", 5, "right", 8, ({ size }) => bytes(size)),
  holderColumn("LEASE", 6, "right", 12, ({ lease }) => (lease === null ? "-" : String(lease))),
  holderColumn("NOTE", 7, "left", 40, ({ note }) => (note === AT_LEAST ? "" : shown(note ?? ""))),
];

interface Fitted<C> {
  readonly column: C;
  readonly width: number;
}

const GAP = 2;
/** Columns up to this rank are there on any screen that has room for their least. */
const VITAL = 4;

function chooseColumns(rows: readonly Row[], room: number): Fitted<Column>[] {
  const hasThreads = rows.some(({ pool }) => pool.threads.some((thread) => thread !== 0));
  return fitColumns(
    COLUMNS.filter(({ title }) => title !== "THREAD" || hasThreads),
    rows,
    room,
  );
}

/** The columns that there is room for, by rank; what is left over goes to those that want it, by rank too. */
function fitColumns<R, C extends AnyColumn<R>>(all: readonly C[], rows: readonly R[], room: number): Fitted<C>[] {
  const wanted = new Map<C, number>();
  for (const column of all) {
    const wish = rows.reduce((most, row) => Math.max(most, column.wants?.(row) ?? 0), column.title.length);
    wanted.set(column, Math.max(column.least, Math.min(column.most, wish)));
  }
  const widths = new Map<C, number>();
  let left = room + GAP;
  const ranked = all
    .filter(({ wants, rank }) => rank < 2 || wants === undefined || rows.some((row) => wants(row) > 0))
    .sort((a, b) => a.rank - b.rank);
  for (const [i, column] of ranked.entries()) {
    // Comfort for one must not cost another its place that says more.
    const reserved = ranked.slice(i + 1).reduce((sum, { rank, least }) => sum + (rank <= VITAL ? least + GAP : 0), 0);
    const comfort = Math.min(left - GAP - reserved, column.good, wanted.get(column)!);
    const width = Math.min(left - GAP, Math.max(column.least, comfort));
    if (width < column.least) break;
    widths.set(column, width);
    left -= width + GAP;
  }
  for (const [column, width] of widths) {
    const more = Math.max(0, Math.min(left, wanted.get(column)! - width));
    widths.set(column, width + more);
    left -= more;
  }
  return all.filter((column) => widths.has(column)).map((column) => ({ column, width: widths.get(column)! }));
}

function oldestOf(pool: ShownPool): ShownHolder | undefined {
  let oldest: ShownHolder | undefined = pool.holders[0];
  for (const holder of pool.holders) if ((holder.age ?? -1) > (oldest?.age ?? -1)) oldest = holder;
  return oldest;
}

function ageOf({ age, note }: ShownHolder): string {
  if (age === null) return "-";
  return `${note?.startsWith(AT_LEAST) === true ? ">" : ""}${duration(age)}`;
}

function holderName({ tag, site, thread, members }: ShownHolder): string {
  if (tag !== undefined) return shown(tag);
  if (site !== undefined) return siteOf(site);
  return members === undefined ? "" : threadName(thread);
}

/** Characters of a site that are looked at: as many as a process sends. */
const MAX_SITE = 2000;

/** `at makeThumb (file:///app/src/thumbs.ts:31:28)`, several lines: the first as `makeThumb (thumbs.ts:31:28)`. */
function siteOf(site: string | undefined): string {
  const [first = ""] = (site ?? "").slice(0, MAX_SITE).split("\n", 1);
  return shown(first.replace(/^\s*at /, "").replace(/(?<![^\s()])[^\s()]*[\\/](?=[^\\/()]+\)?$)/, ""));
}

/** 0 is the main thread. */
function threadName(thread: number): string {
  return thread === 0 ? "main" : `w${thread}`;
}

function leasedOf(pool: ShownPool): string {
  const { leased, count: made } = pool;
  const bound = boundOf(pool);
  return `${count(leased)}/${bound === null ? `${count(made)}+` : count(bound)}`;
}

/** A bound that is far away says nothing of how full a pool is. */
function boundOf({ max, count: made }: ShownPool): number | null {
  return max === null || max > FAR * Math.max(1, made) ? null : max;
}

const FAR = 64;

function count(value: number): string {
  return value < 10_000 ? String(value) : rate(value);
}

function factsOf({ pool, rate: perSecond }: Row): string {
  const optional = (name: string, value: number | null): string[] =>
    value === null ? [] : [`${name} ${count(value)}`];
  return [
    `${leasedOf(pool)} leased`,
    ...optional("free", pool.free),
    ...optional("waiting", pool.waiting),
    `${bytes(pool.bytes)}${pool.maxBytes === null || pool.maxBytes === pool.bytes ? "" : ` of ${bytes(pool.maxBytes)}`}`,
    ...(pool.size === 0 ? [] : [`${bytes(pool.size)} each`]),
    ...(perSecond === null ? [] : [`${rate(perSecond)} acquires/s`]),
    ...optional("misses", pool.misses),
    ...optional("waits", pool.waits),
    ...optional("starved", pool.starved),
    ...optional("discarded", pool.discarded),
    ...optional("most leased", pool.highWater),
  ].join("  ");
}

/**
 * A place for each slot where there is room, else in proportion: leased, idle, not made yet. Never a full bar with free
 * slots.
 */
function barOf(pool: ShownPool, room: number, { paint, unicode }: Look): readonly [string, (text: string) => string] {
  const whole = Math.max(boundOf(pool) ?? pool.count, pool.leased, 1);
  const width = Math.min(room, Math.max(1, whole));
  const scale = (value: number): number => {
    const exact = (value * width) / whole;
    // One of a thousand shows, and 999 of a thousand are not all.
    return value > 0 && exact < 1 ? 1 : value < whole && exact > width - 1 ? width - 1 : Math.round(exact);
  };
  const leased = Math.min(width, scale(pool.leased));
  const made = Math.max(leased, Math.min(width, scale(Math.max(pool.count, pool.leased))));
  const [full, idle, absent] = unicode ? ["█", "▒", "·"] : ["#", "-", "."];
  const text = full!.repeat(leased) + idle!.repeat(made - leased) + absent!.repeat(width - made);
  const isFull = pool.leased >= whole;
  return [text, pool.waiting > 0 ? paint.bad : isFull ? paint.warn : paint.good];
}
