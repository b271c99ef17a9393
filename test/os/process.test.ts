import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { exitOf, kill } from "../helpers/child.ts";
import { FULL } from "../helpers/effort.ts";

const fileOf = (name: string): string => fileURLToPath(new URL(`../../src/${name}.ts`, import.meta.url));

/** Reads its input when it has been told to, and says so before that. */
const PROGRAM = `
  console.log("ready");
  try { console.log(require("node:fs").readFileSync(0, "utf8")); } catch (error) { console.log(error.code); }
`;

const ENTRIES = ["inspect", "native", "node", "pipeline-node"];

/** In the fast lane all of them in one process. */
for (const names of [ENTRIES, ...ENTRIES.map((name) => [name])])
  it(`millpond/${names.join(", ")} does not open the standard input`, names === ENTRIES ? {} : FULL, async () => {
    const child = spawn(process.execPath, [...names.flatMap((name) => ["--import", fileOf(name)]), "-e", PROGRAM], {
      // One that is opened does not wait: the read fails with EAGAIN where nothing has come yet.
      stdio: ["pipe", "pipe", "pipe"],
    });
    onTestFinished(() => kill(child));
    const exit = exitOf(child);
    child.stdout.once("data", () => setTimeout(() => child.stdin.end("input"), 200));
    const { stdout } = await exit;
    expect(stdout).toBe("ready\ninput\n");
  });
