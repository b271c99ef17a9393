/**
 * The list of pools: a listbox with one tab stop, whose first option stands for all of them. Arrows move and choose at
 * once, as in a list of radio buttons.
 */
import { el, KeyedList, setAttribute, setName, setText, show } from "./dom.ts";
import type { PoolModel } from "./model.ts";
import { formatBytes, formatCount, nameOf, plural, visible } from "./text.ts";
import type { Scene } from "./view.ts";

/** Key of the option that stands for all pools; keys of pools have a dot. */
const ALL = "all";
/** Characters of a name in the list. */
const NAME = 40;
/** Pools that are listed. */
const MAX_LISTED = 200;
/** Members that are named. */
const MEMBERS = 8;

/** See the module text. */
export class PoolList {
  /** Its place in the page. */
  readonly element: HTMLElement;
  readonly #list: HTMLElement;
  readonly #title: HTMLElement;
  readonly #empty: HTMLElement;
  readonly #more: HTMLElement = el("p", { class: "note" });
  readonly #options: KeyedList<PoolModel | null, PoolOption>;
  readonly #onChoose: (key: string | undefined) => void;
  #chosen: string = ALL;

  /** `onChoose` is called with a pool's key; undefined: all of them. */
  constructor(onChoose: (key: string | undefined) => void) {
    this.#onChoose = onChoose;
    this.#title = el("h2", { id: "pools-title" }, "Pools");
    this.#list = el("div", { class: "pools", role: "listbox", tabindex: "0", "aria-labelledby": "pools-title" });
    this.#empty = el(
      "p",
      { class: "empty" },
      "This program has no pools yet. A pool is listed here as soon as the program makes one, for example with ",
      el("code", {}, "BufferPool.create({ size, max })"),
      ".",
    );
    this.#options = new KeyedList(this.#list, (pool) => new PoolOption(pool?.key ?? ALL));
    this.element = el(
      "div",
      { class: "panel" },
      el("div", { class: "bar" }, this.#title),
      this.#list,
      this.#more,
      this.#empty,
    );
    this.#list.addEventListener("click", ({ target }) => {
      const option = target instanceof Element ? target.closest("[data-key]") : null;
      if (option !== null) this.#choose(option.getAttribute("data-key")!);
    });
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** Draws what is new. */
  update({ pools, process, isOne, chosen }: Scene): void {
    this.#chosen = isOne ? chosen[0]!.key : ALL;
    show(this.#empty, pools.length === 0);
    show(this.#list, pools.length > 0);
    setText(this.#title, pools.length === 0 ? "Pools" : `Pools (${formatCount(pools.length)})`);
    // The one that was chosen stays, wherever it is.
    const listed = pools.slice(0, MAX_LISTED);
    if (isOne && !listed.includes(chosen[0]!)) listed.push(chosen[0]!);
    const options = pools.length === 0 ? [] : [null, ...listed];
    show(this.#more, pools.length > listed.length);
    setText(this.#more, `The first ${formatCount(listed.length)} are listed.`);
    const thread = process.snapshot.realms.length > 1;
    this.#options.update(
      options,
      (pool) => pool?.key ?? ALL,
      (option, pool) => {
        if (pool === null) option.updateAll(pools);
        else option.update(pool, thread);
        option.select((pool?.key ?? ALL) === this.#chosen);
      },
    );
    setAttribute(this.#list, "aria-activedescendant", this.#options.views.get(this.#chosen)?.element.id);
  }

  #choose(key: string): void {
    // At once, and not with the next frame: the next key may be pressed before.
    this.#options.views.get(this.#chosen)?.select(false);
    this.#chosen = key;
    const option = this.#options.views.get(key);
    option?.select(true);
    setAttribute(this.#list, "aria-activedescendant", option?.element.id);
    option?.element.scrollIntoView({ block: "nearest" });
    this.#onChoose(key === ALL ? undefined : key);
  }

  #onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const order = [...this.#list.children].map((child) => child.getAttribute("data-key")!);
    if (order.length === 0) return;
    const at = Math.max(0, order.indexOf(this.#chosen));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: order.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(order[Math.max(0, Math.min(order.length - 1, to))]!);
  }
}

let made = 0;

/** One pool of the list. */
class PoolOption {
  readonly element: HTMLElement;
  readonly key: string;
  readonly #name: HTMLElement = el("bdi", { class: "name" });
  readonly #kind: HTMLElement = el("span", { class: "kind" });
  readonly #bar: HTMLElement = el("i");
  readonly #leased: HTMLElement = el("b", { class: "num" });
  readonly #free: HTMLElement = el("span", { class: "num" });
  readonly #waiting: HTMLElement = el("span", { class: "num" });
  readonly #bytes: HTMLElement = el("span", { class: "num" });
  readonly #members: HTMLElement = el("div", { class: "members" });
  #filled = -1;

  constructor(key: string) {
    this.key = key;
    this.element = el(
      "div",
      { class: "pool", role: "option", id: `pool-option-${++made}`, "data-key": key },
      el("div", { class: "top" }, this.#name, " ", this.#kind),
      el("div", { class: "meter", "aria-hidden": "true" }, this.#bar),
      el(
        "div",
        { class: "counts" },
        el("span", {}, this.#leased, " leased "),
        this.#free,
        " ",
        this.#waiting,
        " ",
        this.#bytes,
      ),
      this.#members,
    );
  }

  select(isChosen: boolean): void {
    setAttribute(this.element, "aria-selected", String(isChosen));
    this.element.classList.toggle("active", isChosen);
  }

  updateAll(pools: readonly PoolModel[]): void {
    const sum = (of: (pool: PoolModel) => number): number => pools.reduce((total, pool) => total + of(pool), 0);
    setText(this.#name, "All pools");
    setText(this.#kind, plural(pools.length, "pool"));
    const [leased, count] = [sum(({ info }) => info.leased), sum(({ info }) => info.count)];
    const waiting = sum(({ info }) => info.waiting);
    const bytes = sum(({ info }) => info.bytes);
    this.#numbers(leased, count, `of ${formatCount(count)}`, waiting, bytes);
    show(this.#members, false);
  }

  update({ info }: PoolModel, manyThreads: boolean): void {
    setName(this.#name, nameOf(info), NAME);
    const { kind, phase, silent } = info;
    const thread = info.shared === undefined && manyThreads ? `, thread ${info.threads[0]}` : "";
    setText(this.#kind, `${kind}${phase === "active" ? "" : `, ${phase}`}${thread}${silent ? ", silent" : ""}`);
    const free = info.free === null ? `of ${formatCount(info.count)}` : `${formatCount(info.free)} free`;
    this.#numbers(info.leased, info.count, free, info.waiting, info.bytes);
    const { members } = info;
    show(this.#members, members.length > 0);
    if (members.length === 0) return;
    const names = members.slice(0, MEMBERS).map(({ member, thread: of, holds, state, pid }) => {
      const where = of !== undefined ? ` (thread ${of})` : pid ? ` (process ${pid})` : "";
      return `${member}${where}${state === "live" ? "" : ` ${visible(state)}`} holds ${formatCount(holds)}`;
    });
    const more = members.length > MEMBERS ? ` and ${members.length - MEMBERS} more` : "";
    setText(this.#members, `Shared by members ${names.join(", ")}${more}`);
  }

  #numbers(leased: number, count: number, free: string, waiting: number, bytes: number): void {
    setText(this.#leased, formatCount(leased));
    setText(this.#free, free);
    setText(this.#waiting, `${formatCount(waiting)} waiting`);
    this.#waiting.classList.toggle("wait", waiting > 0);
    setText(this.#bytes, formatBytes(bytes));
    const filled = count > 0 ? Math.min(1, Math.round((leased / count) * 200) / 200) : 0;
    if (filled === this.#filled) return;
    this.#filled = filled;
    this.#bar.style.width = `${filled * 100}%`;
  }
}
