/**
 * What is committed names no package registry, no path of one machine and no download address:
 * such a line is wrong on every other machine, and a lock with addresses installs only where they answer.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

// First folders of an absolute path that exist on one machine only. /dev, /proc, /sys and /usr mean the same
// everywhere.
const MACHINE_FOLDERS = ["work", "farm", "home", "root", "tmp", "Users", "private", "mnt", "workspace", "builds"];
const MACHINE_PATH = new RegExp(
  `(?:^|[\\s"'\`(=:,;<>[{|])(?:file://)?/(?:${MACHINE_FOLDERS.join("|")})/[\\w.@-]|\\b[A-Z]:\\\\(?:Users|Windows)\\\\`,
);
const REGISTRY_HOST =
  /\b(?:registry|npm|packages?|artifactory|nexus|verdaccio|proxy)\.(?:[a-z0-9-]+\.)+(?:org|com|net|io|dev|cn|cloud)\b/i;

/** Every tracked line under root that would be wrong on another machine. */
export function checkClean(root: string, registry: string | undefined = process.env.npm_config_registry): Finding[] {
  const configured = registryHost(registry);
  return trackedFiles(root).flatMap((file) => {
    const bytes = readFileSync(join(root, file));
    // A zero byte marks media and images, which have no lines to judge.
    if (bytes.includes(0)) return [];
    return bytes
      .toString("utf8")
      .split("\n")
      .flatMap((text, index) =>
        problemsIn(file, text, configured).map((message) => ({ file, line: index + 1, message })),
      );
  });
}

function problemsIn(file: string, text: string, configuredHost: string | undefined): string[] {
  const found: string[] = [];
  const path = MACHINE_PATH.exec(text);
  if (path !== null) found.push(`names a path of one machine: ${path[0].trim()}...`);
  const host = REGISTRY_HOST.exec(text);
  if (host !== null) found.push(`names a package registry: ${host[0]}`);
  else if (configuredHost !== undefined && text.includes(configuredHost)) {
    found.push("names the registry that this machine is configured with");
  }
  if (/(?:^|\/)package-lock\.json$/.test(file) && /^\s*"resolved"\s*:/.test(text)) {
    found.push(
      'carries a download address ("resolved"); npm install with omit-lockfile-registry-resolved leaves it out',
    );
  }
  return found;
}

/** Host of the configured registry; undefined for plain localhost, which is a word that documentation may use. */
function registryHost(registry: string | undefined): string | undefined {
  if (registry === undefined || !URL.canParse(registry)) return undefined;
  const { host, hostname } = new URL(registry);
  return hostname === "localhost" && host === hostname ? undefined : host;
}

function trackedFiles(root: string): string[] {
  return execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 })
    .split("\0")
    .filter((file) => file !== "" && existsSync(join(root, file)));
}

if (import.meta.main) {
  reportFindings("clean", checkClean(rootFromArguments()), "no registry, machine path or download address is tracked");
}
