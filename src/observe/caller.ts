/** Who called: the stack of an error that was made to remember a place, without the library's own lines. */

/** Files of the layers that an application calls into; their lines tell nobody where the mistake is. */
const OWN = /[\\/](pools|media|memory)[\\/][a-z-]+\.[jt]s/;

/** The lines of a stack below the library's own. Formatting costs about 20 us, so only reports ask for it. */
export function callerOf(site: Error): string {
  const lines = (site.stack ?? "").split("\n").slice(1);
  const first = lines.findIndex((line) => !OWN.test(line));
  return lines
    .slice(Math.max(first, 0))
    .map((line) => line.trim())
    .join("\n");
}
