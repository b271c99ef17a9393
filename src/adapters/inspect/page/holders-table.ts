/** The table of leases that are out, longest first. */
import { AT_LEAST } from "../../../observe/realm-inspector.ts";
import { el, KeyedList, setAttribute, setName, setPlace, setText, show } from "./dom.ts";
import { Mark, STATE_NAMES } from "./marks.ts";
import { type PoolModel, type SlotRow, SlotState } from "./model.ts";
import { formatBytes, formatCount, formatDuration, nameOf, plural } from "./text.ts";
import type { Scene } from "./view.ts";

/** Leases that are listed. */
const MAX_LISTED = 50;

interface Entry {
  readonly pool: PoolModel;
  readonly row: SlotRow;
  readonly age: number | null;
}

/** See the module text. */
export class HoldersTable {
  /** Its place in the page. */
  readonly element: HTMLElement;
  readonly #body: HTMLElement = el("tbody");
  readonly #more: HTMLElement = el("span", { class: "note num" });
  readonly #empty: HTMLElement = el("p", { class: "empty" }, "No lease is out: every slot is free.");
  readonly #scroll: HTMLElement;
  readonly #rows: KeyedList<Entry, HolderRow> = new KeyedList(this.#body, () => new HolderRow());

  /** Empty until the first update. */
  constructor() {
    const head = ["Pool", "Slot", "Held for", "Holder", "Thread, members", "Size", "Taken at"].map((text) => {
      return el("th", { scope: "col", ...(["Slot", "Held for", "Size"].includes(text) ? { class: "num" } : {}) }, text);
    });
    const table = el(
      "table",
      {},
      el("caption", { class: "sr" }, "Leases that are out, longest first"),
      el("thead", {}, el("tr", {}, ...head)),
      this.#body,
    );
    this.#scroll = el(
      "div",
      { class: "scroll", role: "group", tabindex: "0", "aria-labelledby": "holders-title" },
      table,
    );
    this.element = el(
      "section",
      { "aria-labelledby": "holders-title" },
      el("div", { class: "bar" }, el("h2", { id: "holders-title" }, "Holders"), this.#more),
      this.#scroll,
      this.#empty,
    );
  }

  /** Shows the leases of now. */
  update({ chosen, now, process }: Scene): void {
    const entries: Entry[] = [];
    for (const pool of chosen) {
      for (const row of pool.rows) {
        if (row.isOpen) entries.push({ pool, row, age: row.isTimed ? now - row.openSince : null });
      }
    }
    // Those of unknown age first: they may be the oldest.
    entries.sort((a, b) => (b.age ?? Number.MAX_VALUE) - (a.age ?? Number.MAX_VALUE));
    const leased = chosen.reduce((sum, { info }) => sum + info.leased, 0);
    const listed = entries.slice(0, MAX_LISTED);
    show(this.#scroll, listed.length > 0);
    show(this.#empty, listed.length === 0);
    const total = Math.max(leased, entries.length);
    setText(
      this.#more,
      total > listed.length
        ? `the ${formatCount(listed.length)} longest of ${plural(total, "lease")}`
        : plural(total, "lease"),
    );
    const threads = process.snapshot.realms.length > 1;
    this.#rows.update(
      listed,
      // By place: in a busy pool the leases change each time, and rows would be made and thrown away.
      (_, index) => String(index),
      (view, entry) => view.update(entry, threads),
    );
  }
}

class HolderRow {
  readonly element: HTMLElement;
  readonly #mark: Mark = new Mark();
  readonly #pool: HTMLElement = el("bdi");
  readonly #slot: HTMLElement = el("td", { class: "num" });
  readonly #age: HTMLElement = el("td", { class: "num" });
  readonly #tag: HTMLElement = el("bdi");
  readonly #where: HTMLElement = el("td", {});
  readonly #size: HTMLElement = el("td", { class: "num" });
  readonly #site: HTMLElement = el("bdi", { class: "mono" });

  constructor() {
    this.element = el(
      "tr",
      {},
      el("td", {}, this.#mark.element, this.#pool),
      this.#slot,
      this.#age,
      el("td", {}, this.#tag),
      this.#where,
      this.#size,
      el("td", { class: "wide" }, this.#site),
    );
  }

  update({ pool, row, age }: Entry, manyThreads: boolean): void {
    const { info } = pool;
    const { holder } = row;
    const state = pool.stateOf(
      row,
      pool.info.silent === undefined && age !== null ? row.openSince + age : row.openSince,
    );
    this.#mark.set(state);
    this.element.classList.toggle("old", state === SlotState.OLD);
    setAttribute(this.#mark.element, "title", STATE_NAMES[state]);
    setName(this.#pool, nameOf(info), 28);
    setText(this.#slot, String(row.slot));
    // It was out already when somebody began to look, and its pool does not know since when.
    const isAtLeast = holder?.note === AT_LEAST;
    setText(this.#age, age === null ? "not known" : `${isAtLeast ? "at least " : ""}${formatDuration(age)}`);
    setName(this.#tag, holder?.tag ?? row.tag ?? "\u2013", 32);
    const members = holder?.members ?? [];
    const threads = members.map((member) => {
      const of = info.members.find((other) => other.member === member)?.thread;
      return of === undefined ? `member ${member}` : `member ${member} (thread ${of})`;
    });
    const thread = manyThreads ? `thread ${holder?.thread ?? info.threads[0]}` : "\u2013";
    setText(this.#where, threads.length > 0 ? threads.join(", ") : thread);
    setText(this.#size, holder === null ? formatBytes(info.size) : formatBytes(holder.size));
    const site = holder?.site;
    if (site !== undefined) setPlace(this.#site, site, 80);
    else setName(this.#site, isAtLeast ? "\u2013" : (holder?.note ?? "\u2013"), 80);
  }
}
