/**
 * `millpond doctor` says what is so, on a machine with everything and on one with nothing, and leaves nothing behind.
 */
import { describe, expect, it } from "vitest";
import { parseCommand } from "../../src/cli/args.ts";
import { diagnose, printable } from "../../src/cli/doctor.ts";
import { nativeOps } from "../../src/os/load.ts";
import { absentOps } from "../../src/os/native-ops.ts";
import { notDone } from "../../src/os/result.ts";
import { countOpen } from "../helpers/descriptors.ts";
import { lockedBytesOfProcess } from "./proc.ts";

const memfds = (): number => countOpen("/memfd:");

describe("millpond doctor", () => {
  it.skipIf(process.platform !== "linux")("tries every step here and leaves nothing locked or open (Linux)", () => {
    const before = [lockedBytesOfProcess(), memfds()];
    const diagnosis = diagnose();
    expect([lockedBytesOfProcess(), memfds()]).toEqual(before);
    expect(diagnosis).toMatchObject({ native: "koffi", pageSize: nativeOps().pageSize });
    const statuses = Object.fromEntries(diagnosis.findings.map(({ step, status }) => [step, status]));
    expect(statuses).toMatchObject({
      "native calls": "ok",
      "map 8 MiB": "ok",
      "release the mapping": "ok",
      "shared memory, sealed": "ok",
      "its descriptor over a socket": "ok",
      "open it by name": "ok",
      "end the sharing": "ok",
    });
    expect(printable(diagnosis).split("\n").length).toBe(diagnosis.findings.length + 5 + (diagnosis.proven ? 0 : 1));
  });

  it("without native code it names the reason for each step and does not fail", () => {
    const diagnosis = diagnose(absentOps(notDone("unsupported", "KOFFI_ABSENT", "npm install koffi")));
    expect(new Set(diagnosis.findings.map(({ status }) => status))).toEqual(new Set(["unsupported"]));
    expect(printable(diagnosis)).toContain("unsupported (KOFFI_ABSENT): npm install koffi");
  });

  it("without koffi it says that it has not looked, not that there is nothing", () => {
    const diagnosis = diagnose(absentOps(notDone("unsupported", "KOFFI_ABSENT", "npm install koffi")));
    expect(diagnosis).toMatchObject({ pageSize: null, hugePageSize: null, memlock: null });
    expect(printable(diagnosis)).toContain("not looked: koffi is missing");
    expect(printable(diagnosis)).not.toMatch(/none|no limit|4096/);
  });

  it("shows the realtime preference, and where it was stated", () => {
    const diagnosis = diagnose(absentOps(notDone("unsupported", "KOFFI_ABSENT", "npm install koffi")));
    expect(diagnosis.realtime).toEqual({ words: "allocator", from: "default", ignored: null });
    expect(printable(diagnosis)).toContain("realtime preference: allocator (from default)");
    const mistaken = { ...diagnosis, realtime: { ...diagnosis.realtime, ignored: "alocator" } };
    expect(printable(mistaken)).toContain("allocator (MILLPOND_REALTIME=alocator has a word that is not understood)");
  });

  it("has one option and a help text, and refuses other options by name", () => {
    expect(parseCommand(["doctor"])).toEqual({ kind: "doctor", json: false });
    expect(parseCommand(["doctor", "--json"])).toEqual({ kind: "doctor", json: true });
    expect(parseCommand(["doctor", "--help"])).toEqual({ kind: "help", topic: "doctor" });
    expect(() => parseCommand(["doctor", "--jsno"])).toThrow('not "--jsno"');
  });
});
