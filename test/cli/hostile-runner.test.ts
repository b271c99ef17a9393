// Shares its realm with other files: nothing that it changes outlives it.
/** The runner of the hostile tables itself: it sees what it is there to see. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { expectOneEnd, type HostileResult, hold, hostileRuns } from "./hostile.ts";

function result(change: Partial<HostileResult>): HostileResult {
  const stderr = change.stderr ?? "millpond: a.mp4: there is no such file (ENOENT)\n";
  const message = stderr.replace(/\s+/g, " ").trim();
  return { code: 1, signal: null, stdout: Buffer.alloc(0), stderr, message, elapsed: 1, isHung: false, ...change };
}

describe("the runner of hostile runs", () => {
  it("accepts one message with the right code", () => {
    expectOneEnd(result({}), { code: 1, message: /no such file/ });
    expectOneEnd(result({ stderr: "millpond: warning: x\nmillpond: y\n  z\n" }), { code: [1, 2] });
    expectOneEnd(result({ code: 0, stderr: "" }), { code: 0 });
  });

  it.each<[string, Partial<HostileResult>]>([
    ["another code", { code: 0 }],
    ["a signal", { code: null, signal: "SIGSEGV" }],
    ["a hang", { isHung: true }],
    ["no message", { stderr: "" }],
    ["two messages", { stderr: "millpond: one\nmillpond: two\n" }],
    ["a stack", { stderr: "millpond: one\n    at main (file:///a/main.js:3:4)\n" }],
    ["what a library wrote past us", { stderr: "[h264 @ 0x1] error while decoding MB 1 2\nmillpond: one\n" }],
    ["a bug's message", { stderr: "millpond: x (an unforeseen TypeError)\n" }],
    ["the name of a temporary file", { stderr: "millpond: .a.mp4.17.part: no space\n" }],
  ])("refuses %s", (_, change) => {
    expect(() => expectOneEnd(result(change), { code: 1 })).toThrow();
  });

  it("refuses a run that changed what was there", async () => {
    const run = {
      name: "changes",
      code: 0,
      arrange: (folder: string) => writeFileSync(join(folder, "a.y4m"), "old"),
      args: ["run", "pattern frames=1 ! y4msink a.y4m", "--quiet"],
    };
    await expect(hold(run)).rejects.toThrow(/a\.y4m/);
    await hold({ ...run, changes: ["a.y4m"] });
  });

  hostileRuns([
    { name: "takes a table", args: ["run", "absent.mp4"], code: 1, message: /absent\.mp4: there is no such file/ },
  ]);
});
