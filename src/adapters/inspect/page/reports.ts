/** Reports of starvation, newest first; the newest is said to screen readers, at most once in five seconds. */
import { el, KeyedList, setText, show } from "./dom.ts";
import type { ProcessModel, Report } from "./model.ts";
import {
  cut,
  cutFront,
  firstLine,
  formatCount,
  formatDuration,
  formatTime,
  nameOf,
  plural,
  shortPlace,
  visible,
} from "./text.ts";
import type { Scene } from "./view.ts";

/** Reports that are listed. */
const MAX_LISTED = 20;
/** Holders that a report names. */
const MAX_NAMED = 4;
const SAY_MS = 5000;

/** See the module text. */
export class Reports {
  /** Its place in the page. */
  readonly element: HTMLElement;
  readonly #list: HTMLElement = el("ol");
  readonly #scroll: HTMLElement;
  readonly #count: HTMLElement = el("span", { class: "note num" });
  readonly #empty: HTMLElement;
  readonly #live: HTMLElement = el("p", { class: "sr", role: "status", "aria-live": "polite" });
  readonly #items: KeyedList<Report, ReportItem> = new KeyedList(this.#list, () => new ReportItem());
  #said: { readonly process: ProcessModel; readonly count: number; readonly time: number } | undefined;

  /** Empty until the first update. */
  constructor() {
    this.#scroll = el(
      "div",
      { class: "scroll", role: "group", tabindex: "0", "aria-labelledby": "reports-title" },
      this.#list,
    );
    this.#empty = el("p", { class: "empty" });
    this.element = el(
      "section",
      { class: "reports", "aria-labelledby": "reports-title" },
      el("div", { class: "bar" }, el("h2", { id: "reports-title" }, "Starvation"), this.#count),
      this.#scroll,
      this.#empty,
      this.#live,
    );
  }

  /** Lists what is new. */
  update({ process, chosen, isOne, now }: Scene): void {
    const keys = new Set(chosen.map(({ key }) => key));
    const reports = process.reports.filter(({ key }) => !isOne || keys.has(key));
    const listed = reports.slice(0, MAX_LISTED);
    this.element.classList.toggle("alert", listed.length > 0 && now - listed[0]!.time < 10_000);
    show(this.#scroll, listed.length > 0);
    show(this.#empty, listed.length === 0);
    const of = isOne ? " for a lease of this pool" : "";
    const since = `No wait${of} has been reported as too long since this page was opened.`;
    setText(this.#empty, `${since} Reports of starvation show up here as they happen, with who held the slots.`);
    setText(
      this.#count,
      reports.length > listed.length
        ? `the newest ${listed.length} of ${formatCount(reports.length)}`
        : plural(reports.length, "report"),
    );
    show(this.#count, reports.length > 0);
    this.#items.update(
      listed,
      ({ key, time }) => `${key} ${time}`,
      (view, report) => view.update(report),
    );
    this.#say(process, now);
  }

  #say(process: ProcessModel, now: number): void {
    const said = this.#said;
    const { reported, reports } = process;
    // What had happened before the page was opened is listed, and not said.
    if (said === undefined || said.process !== process) {
      this.#said = { process, count: reported, time: Number.NEGATIVE_INFINITY };
      return;
    }
    if (reported === said.count || now - said.time < SAY_MS) return;
    this.#said = { process, count: reported, time: now };
    setText(this.#live, `Starvation: ${inWords(reports[0]!)}`);
  }
}

function inWords({ pool, waited, waiting }: Report): string {
  return `a wait for a lease of ${cut(visible(nameOf({ name: pool })), 60)} has lasted ${formatDuration(waited)}; ${waiting === 1 ? "1 call waits" : `${formatCount(waiting)} calls wait`}.`;
}

class ReportItem {
  readonly element: HTMLElement;
  readonly #time: HTMLElement = el("span", { class: "num soft" });
  readonly #what: HTMLElement = el("b");
  readonly #who: HTMLElement = el("span", { class: "who" });

  constructor() {
    this.element = el("li", {}, this.#time, " ", this.#what, " ", this.#who);
  }

  update(report: Report): void {
    setText(this.#time, formatTime(report.time));
    const words = inWords(report);
    setText(this.#what, words[0]!.toUpperCase() + words.slice(1));
    setText(this.#who, holdersInWords(report));
  }
}

function holdersInWords({ holders }: Report): string {
  if (holders === undefined) return "";
  if (holders.length === 0) return "No lease was out: the pool had no memory to give.";
  const named = holders.slice(0, MAX_NAMED);
  // Most of the time all of them were taken at one place: it is said once.
  const places = new Set(named.map(({ site }) => (site === undefined ? undefined : placeOf(site))));
  const [common] = places.size === 1 ? places : [];
  const texts = named.map(({ slot, tag, age, members, site }) => {
    const by = tag !== undefined ? ` by ${cut(visible(tag), 40)}` : "";
    const member = members !== undefined && members.length > 0 ? ` by member ${members.join(", ")}` : "";
    const since = age === null ? "" : ` for ${formatDuration(age)}`;
    const at = site === undefined || common !== undefined ? "" : ` (taken at ${placeOf(site)})`;
    return `slot ${slot}${since}${by}${member}${at}`;
  });
  const more = holders.length > MAX_NAMED ? `; and ${holders.length - MAX_NAMED} more` : "";
  return `Held then: ${texts.join("; ")}${more}.${common === undefined ? "" : ` Taken at ${common}.`}`;
}

function placeOf(site: string): string {
  return cutFront(shortPlace(firstLine(site)), 48);
}
