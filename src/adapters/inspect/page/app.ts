/**
 * The built page, one module: the served document shows the program that serves it, and `mountInspector()` takes the
 * same module for a part of another document.
 */
import { HttpSource } from "./http-source.ts";
import { InspectorPage, type InspectorTheme } from "./page.ts";

export { InspectorPage };

/** Milliseconds between two updates. */
const INTERVAL_MS = 100;
const THEME = "millpond-theme";

/** The token, behind `?token=` or `#token=`. It stays in the address, so that the page can be loaded again. */
function tokenOf({ hash, search }: Location): string {
  return new URLSearchParams(hash.slice(1)).get("token") ?? new URLSearchParams(search).get("token") ?? "";
}

function storedTheme(): InspectorTheme {
  try {
    const theme = localStorage.getItem(THEME);
    return theme === "light" || theme === "dark" ? theme : "system";
  } catch {
    return "system";
  }
}

/** Fills the served document. */
export function showServer(): void {
  const token = tokenOf(location);
  const host = document.getElementById("inspector")!;
  const source = new HttpSource(new URL("./", location.href.replace(/[?#].*/s, "")), token, INTERVAL_MS);
  new InspectorPage(host, source, storedTheme(), (theme) => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(THEME, theme);
    } catch {
      // It is kept as long as the page is open.
    }
  });
  document.documentElement.dataset.theme = storedTheme();
}
