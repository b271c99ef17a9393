/**
 * The inspector inside a web application: the page that `millpond top --web` serves, in an element of the application,
 * for the application's own pools.
 *
 * ```ts
 * const inspector = mountInspector(document.querySelector("#pools")!);
 * inspector.unmount();
 * ```
 * Life-cycle: records from {@link mountInspector} until {@link MountedInspector.unmount}; before and after, the pools'
 * fast paths are open and nothing runs.
 */
import type { InspectorSource } from "../../../observe/snapshot.ts";
import { disposeBy } from "../../../util/dispose.ts";
import { MillpondError } from "../../../util/errors.ts";
import { oneOf, readOptions, wholeNumber, withMethods, wrongType } from "../../../util/validate.ts";
import { LocalSource } from "./local-source.ts";
import { InspectorPage, type InspectorTheme } from "./page.ts";

/** How {@link mountInspector} shows the pools. */
export interface MountOptions {
  /** Which colors; default: `system`, those that the system asks for. */
  readonly theme?: InspectorTheme;
  /** Milliseconds between two updates, 50 to 60,000; default 100. Not with `source`. */
  readonly interval?: number;
  /** Where the data comes from; default: the pools of this page. */
  readonly source?: InspectorSource;
}

const THEMES: readonly InspectorTheme[] = ["system", "light", "dark"];
const DEFAULT_INTERVAL = 100;
const MIN_INTERVAL = 50;
const MAX_INTERVAL = 60_000;

/** What {@link mountInspector} gives back. */
export class MountedInspector {
  /** Unmounts, for `using` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  readonly #page: InspectorPage;
  readonly #host: HTMLElement;

  /** @internal Made by {@link mountInspector}. */
  constructor(page: InspectorPage, host: HTMLElement) {
    this.#page = page;
    this.#host = host;
  }

  /**
   * Ends the recording and takes the inspector out of the document. A second time nothing happens. Throws what a source
   * of the application throws at the end of its subscription; the inspector is gone all the same.
   */
  unmount(): void {
    try {
      this.#page.close();
    } finally {
      this.#host.remove();
    }
  }
}
disposeBy(MountedInspector, "unmount");

/**
 * Shows the pools of this page, live, as the last child of `element`. It lives in a shadow root: no style of the page
 * reaches in, and none of it reaches out. While it is mounted, the pools are recorded (about 100 ns an acquire and its
 * release). Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, and `ERR_UNSUPPORTED` where
 * there is no document.
 */
export function mountInspector(element: HTMLElement, options: MountOptions = {}): MountedInspector {
  if (typeof element !== "object" || element === null || !isElement(element)) {
    throw wrongType("element", "an element of the document", element);
  }
  const given = readOptions("options", options, ["theme", "interval", "source"]);
  const theme = oneOf("options.theme", given.theme ?? "system", THEMES);
  const interval = wholeNumber("options.interval", given.interval ?? DEFAULT_INTERVAL, MIN_INTERVAL, MAX_INTERVAL);
  const expected = "an object with subscribe() and trace()";
  const source =
    given.source === undefined
      ? undefined
      : withMethods("options.source", expected, given.source, ["subscribe", "trace"]);
  if (typeof document === "undefined" || typeof ResizeObserver === "undefined") {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      "mountInspector() needs a browser's document; in Node, serveInspector() of millpond/inspect serves the page",
    );
  }
  const host = document.createElement("div");
  element.append(host);
  try {
    return new MountedInspector(new InspectorPage(host, source ?? new LocalSource(interval), theme), host);
  } catch (error) {
    // What a source of the application throws at subscribe() leaves nothing behind.
    host.remove();
    throw error;
  }
}

/** Also one of another window, which is no instance of this window's class. */
function isElement(value: object): boolean {
  try {
    const { nodeType, append } = value as { readonly nodeType?: unknown; readonly append?: unknown };
    return nodeType === 1 && typeof append === "function";
  } catch {
    return false;
  }
}
