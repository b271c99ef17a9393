/** The limits of tests that repeat themselves. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const TESTS = join(import.meta.dirname, "..");

describe("a test that is soaked", () => {
  it("may take longer than it is soaked", () => {
    const file = join(TESTS, "helpers", "effort.ts");
    const print = `import(${JSON.stringify(file)}).then(({ REPEATED }) => console.log(REPEATED.timeout))`;
    const env = { ...process.env, MILLPOND_SOAK_MS: "3600000" };
    expect(Number(execFileSync(process.execPath, ["-e", print], { env, encoding: "utf8" }))).toBeGreaterThan(3_600_000);
  });

  it("takes its time from the one place, and has the limit that follows it", () => {
    const variable = ["MILLPOND", "SOAK_MS"].join("_");
    const files = readdirSync(TESTS, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".test.ts"));
    for (const name of files) {
      const text = readFileSync(join(TESTS, name), "utf8");
      if (name !== join("repo", "effort.test.ts")) expect(text, name).not.toContain(variable);
      // Each test in its own braces; its title and tag come before them.
      for (const part of text.split(/^ {2}it(?=\()/m)) {
        if (/\bSOAK_MS\b/.test(part) && !part.includes("import ")) expect(part, name).toContain("REPEATED");
      }
    }
  });
});
