// Shares its realm with other files: nothing that it changes outlives it.
/** Where native code is missing, forbidden or limited, each step has a named status, nothing throws, and pools work. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { whyNot } from "../../src/os/koffi.ts";
import { findOps, nativeOps } from "../../src/os/load.ts";
import { innerPages, outerPages } from "../../src/os/pages.ts";
import { notDone } from "../../src/os/result.ts";
import { answerOf, MAY_KEEP_CODE, run } from "../helpers/child.ts";
import { compiled, withoutPackages } from "./build.ts";
import { runtimes, tagOf } from "./runtimes.ts";

interface Steps {
  readonly name: string;
  readonly statuses: Record<string, string>;
  readonly errno: string;
  readonly lockReason: string;
  readonly backing: string;
  readonly refused: { code: string; status: string; errno: string };
}

const STEPS = join(import.meta.dirname, "steps.child.mjs");
const LIMITS = join(import.meta.dirname, "limits.child.mjs");
let folder = "";
let bare = "";
beforeAll(() => {
  folder = compiled();
  bare = withoutPackages(folder);
});
afterAll(() => rmSync(bare, { recursive: true, force: true }));

const expectNothingNative = (steps: Steps, errno: string): void => {
  expect(steps.name).toBe("none");
  expect(steps.errno).toBe(errno);
  expect(new Set(Object.values(steps.statuses))).toEqual(new Set(["unsupported"]));
  expect(steps.lockReason).toContain(errno);
  expect(steps.backing).toBe("wasm");
  expect(steps.refused).toEqual({ code: "ERR_UNSUPPORTED", status: "unsupported", errno });
};

describe("koffi is not installed", () => {
  for (const runtime of runtimes()) {
    it(`${runtime.name}: every step is unsupported (KOFFI_ABSENT), and pools work`, tagOf(runtime), async (context) => {
      if (runtime.command === undefined) return context.skip(runtime.reason);
      expectNothingNative(answerOf<Steps>(await run([...runtime.command, STEPS, bare])), "KOFFI_ABSENT");
    });
  }
});

describe("native code is forbidden", () => {
  it("node --permission: every step is unsupported (KOFFI_FORBIDDEN), and pools work", async () => {
    const command = [process.execPath, "--permission", "--allow-fs-read=*", ...MAY_KEEP_CODE, STEPS, folder];
    expectNothingNative(answerOf<Steps>(await run(command)), "KOFFI_FORBIDDEN");
  });

  it("node --no-addons: every step is unsupported (KOFFI_FORBIDDEN), and pools work", async () => {
    expectNothingNative(
      answerOf<Steps>(await run([process.execPath, "--no-addons", STEPS, folder])),
      "KOFFI_FORBIDDEN",
    );
  });

  it("deno without --allow-ffi: every step is unsupported, and pools work", async (context) => {
    const deno = runtimes().find(({ name }) => name === "deno")!;
    if (deno.command === undefined) return context.skip(deno.reason);
    const command = [
      deno.command[0]!,
      "run",
      "--no-prompt",
      "--allow-read",
      "--allow-env",
      "--allow-sys",
      STEPS,
      folder,
    ];
    expectNothingNative(answerOf<Steps>(await run(command)), "KOFFI_FORBIDDEN");
  });
});

describe.skipIf(process.platform === "win32")("a limit is in the way (needs ulimit)", () => {
  for (const [name, limit, kib] of [
    ["too small", 256 * 1024, 256],
    ["zero", 0, 0],
  ] as const) {
    it(`RLIMIT_MEMLOCK ${name}: "limit", with the bytes that were needed, and the memory is there`, async (context) => {
      if (!nativeOps().availability.ok) return context.skip("nothing native runs here");
      const script = `ulimit -l ${kib} && exec "$@"`;
      const exit = await run(["sh", "-c", script, "sh", process.execPath, LIMITS, folder]);
      const answer = answerOf<
        Record<"small" | "large" | "locked", Record<string, unknown>> & { limit: number; lockedBytes: number }
      >(exit);
      expect(answer.limit).toBe(limit);
      expect(answer.small).toMatchObject(limit === 0 ? { ok: false, status: "limit" } : { ok: true, bytes: 65536 });
      expect(answer.large).toMatchObject({ ok: false, status: "limit", errno: limit === 0 ? "EPERM" : "ENOMEM" });
      expect(answer.large.hint).toContain(`${8 * 1024 * 1024} bytes`);
      expect(answer.locked).toMatchObject({ locked: false, lockedBytes: 0 });
      expect(answer.lockedBytes).toBe(limit === 0 ? 0 : 65536);
    });
  }
});

describe("finding the operations", () => {
  it("an unknown platform is named, and koffi is not even looked for", () => {
    const ops = findOps(() => expect.unreachable("koffi was loaded"), "plan9", "x64");
    expect(ops.availability).toMatchObject({ ok: false, status: "unsupported", errno: "NO_PLATFORM" });
    expect(findOps(() => expect.unreachable("koffi was loaded"), "linux", "ia32").availability.ok).toBe(false);
  });

  it("a koffi that loads and cannot call is KOFFI_BROKEN, not an exception", () => {
    const koffi = { load: () => ({ func: () => expect.unreachable("no such symbol") }) };
    for (const platform of ["linux", "darwin", "win32"]) {
      const ops = findOps(() => ({ ok: true, value: koffi as never }), platform, "x64");
      expect(ops.availability, platform).toMatchObject({ ok: false, errno: "KOFFI_BROKEN" });
      expect(ops.lock(new Uint8Array(1 << 20))).toEqual(ops.availability);
    }
  });

  it("what loading threw becomes one of three reasons", () => {
    const failure = (code: string): Error => Object.assign(new Error("why\nstack"), { code });
    expect(whyNot(failure("MODULE_NOT_FOUND")).errno).toBe("KOFFI_ABSENT");
    expect(whyNot(failure("ERR_DLOPEN_DISABLED")).errno).toBe("KOFFI_FORBIDDEN");
    expect(whyNot(failure("ERR_ACCESS_DENIED")).errno).toBe("KOFFI_FORBIDDEN");
    expect(whyNot(Object.assign(new Error("x"), { name: "NotCapable" })).errno).toBe("KOFFI_FORBIDDEN");
    expect(whyNot(failure("ERR_DLOPEN_FAILED"))).toMatchObject({
      errno: "KOFFI_BROKEN",
      hint: expect.not.stringContaining("stack"),
    });
    expect(whyNot("odd").errno).toBe("KOFFI_BROKEN");
    expect(notDone("limit", "X", "y")).toEqual({ ok: false, status: "limit", errno: "X", hint: "y" });
  });
});

describe("page arithmetic", () => {
  it("outer pages hold every byte, inner pages hold no foreign one", () => {
    for (let lead = 0; lead < 40; lead++) {
      for (let bytes = 1; bytes < 60; bytes++) {
        const address = 160n + BigInt(lead);
        const outer = outerPages(address, bytes, 16);
        const inner = innerPages(address, bytes, 16);
        const end = address + BigInt(bytes);
        expect(outer.address % 16n === 0n && outer.bytes % 16 === 0).toBe(true);
        expect(outer.address <= address && outer.address + BigInt(outer.bytes) >= end).toBe(true);
        expect(address - outer.address < 16n && outer.address + BigInt(outer.bytes) - end < 16n).toBe(true);
        expect(inner.bytes % 16).toBe(0);
        if (inner.bytes === 0) continue;
        expect(
          inner.address % 16n === 0n && inner.address >= address && inner.address + BigInt(inner.bytes) <= end,
        ).toBe(true);
        expect(inner.address - address < 16n && end - inner.address - BigInt(inner.bytes) < 16n).toBe(true);
      }
    }
  });
});
