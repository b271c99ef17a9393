// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, it } from "vitest";
import { parseCommand, type RunOptions } from "../../src/cli/args.ts";
import { Failure } from "../../src/cli/exit.ts";
import { millpond } from "./command.ts";

function options(...args: string[]): RunOptions {
  const command = parseCommand(["run", ...args]);
  if (command.kind !== "run") throw new Error(`parsed as ${command.kind}`);
  return command.options;
}

function refusal(...args: string[]): string {
  try {
    parseCommand(args);
  } catch (error) {
    expect(error).toBeInstanceOf(Failure);
    return (error as Failure).message;
  }
  throw new Error("it was accepted");
}

describe("arguments", () => {
  it("has defaults that hold together", () => {
    const { workers, buffers, tiles, patience, compare, json, quiet, out } = options("a.mp4");
    expect(workers).toBeGreaterThanOrEqual(2);
    expect(buffers).toBe(2 * workers + 2);
    expect({ tiles, patience, compare, json, quiet, out }).toEqual({
      tiles: 20,
      patience: 30_000,
      compare: false,
      json: false,
      quiet: false,
      out: undefined,
    });
  });

  it("reads sizes and rates as people write them", () => {
    const raw = ["-", "--format", "I420", "--size", "1920x1080"];
    expect(options(...raw).size).toEqual({ width: 1920, height: 1080 });
    expect(options(...raw, "--fps", "25").fps).toEqual({ num: 25, den: 1 });
    expect(options(...raw, "--fps", "29.97").fps).toEqual({ num: 2997, den: 100 });
    expect(options(...raw, "--fps", "30000/1001").fps).toEqual({ num: 30000, den: 1001 });
  });

  it("takes a patience of any length, though no timer of the platform does", () => {
    for (const [text, ms] of [
      ["2100000", 2_100_000_000],
      ["2200000", 0x7fffffff],
      ["1e300", 0x7fffffff],
      ["Infinity", 0x7fffffff],
      ["1e-9", 1],
    ] as const) {
      expect(options("a.mp4", "--patience", text).patience).toBe(ms);
    }
    expect(parseCommand(["run", "pattern ! null", "--patience", "0.5"])).toMatchObject({ options: { patience: 500 } });
  });

  it.each([
    [["run"], /which file/],
    [["run", "a", "b"], /one file at a time/],
    [["walk"], /no command "walk"/],
    [["run", "a", "--speed"], /Unknown option '--speed'/],
    [["run", "-", "--format", "I420"], /belong together/],
    [["run", "--elements", "--json"], /--elements stands alone, without --json/],
    [["run", "-", "--size", "0x10", "--format", "I420"], /--size is width x height/],
    [["run", "-", "--fps", "0"], /--fps is a number/],
    [["run", "-", "--compare"], /comes only once/],
    [["run", "a", "--workers", "0"], /whole number from 1 to 19/],
    [["run", "a", "--buffers", "1.5"], /whole number/],
    [["run", "a", "--patience", "-1"], /'--patience' argument is ambiguous|above 0/],
    [["run", "a", "--workrs", "2"], /did you mean --workers\?/],
    [["run", "a", "--workers", "2", "--workers", "3"], /--workers is given twice/],
    [["run", "a", "--json", "--json"], /--json is given twice/],
    [["run", "a", "--patience", ""], /seconds above 0, not ""/],
    [["run", "a", "--patience=-1"], /seconds above 0, not "-1"/],
    [["run", "a", "--patience", "NaN"], /above 0/],
    [["run", "a", "--out"], /--out needs a value/],
    [["run", "a", "--out="], /--out needs the name of a folder/],
    [["run", "a", "--json=1"], /--json takes no value/],
    [["run", "a", "extra.mp4"], /one file at a time, and here are 2: "a", "extra\.mp4"/],
    [["doctr"], /did you mean "doctor"\?/],
  ])("refuses %j in words", (args, pattern) => {
    expect(refusal(...args)).toMatch(pattern);
  });

  it("prints help on standard output with code 0, and a hint on standard error with code 1", async () => {
    const help = await millpond(["run", "--help"]);
    expect(help.code).toBe(0);
    expect(help.stdout).toContain("--compare");
    expect(help.stdout.split("\n").every((line) => line.length <= 100)).toBe(true);
    const wrong = await millpond(["run"]);
    expect(wrong.code).toBe(1);
    expect(wrong.stdout).toBe("");
    expect(wrong.stderr).toContain("--help");
    const version = await millpond(["--version"]);
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+/);
  });
});
