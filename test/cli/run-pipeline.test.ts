// Shares its realm with other files: nothing that it changes outlives it.
/** `millpond run "a ! b"`, as a user runs it. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { REPEATED } from "../helpers/effort.ts";
import { CLIP, millpond, start } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-run-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("millpond run with a pipeline", REPEATED, () => {
  it("decodes, scales, measures in workers and writes a contact sheet", async () => {
    const module = join(folder, "measure.mjs");
    writeFileSync(module, "export default ({ bytes, format }) => ({ first: bytes[0], width: format.width });\n");
    const [sheet, results, graph] = [join(folder, "out.png"), join(folder, "results.jsonl"), join(folder, "graph.svg")];
    const text = `file ${CLIP} ! decode ! scale width=320 ! workers n=2 ${module} results=${results} ! contactsheet ${sheet}`;
    const { code, stdout, stderr } = await millpond(["run", text, "--graph", graph, "--describe"]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toContain("contactsheet  75 buffers in");
    expect(stdout).toContain('allocator "shared"');
    expect([...readFileSync(sheet).subarray(1, 4)]).toEqual([0x50, 0x4e, 0x47]);
    const lines = readFileSync(results, "utf8").trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { frame: number }).frame)).toEqual(
      Array.from({ length: 75 }, (_, i) => i),
    );
    expect(JSON.parse(lines[0]!)).toMatchObject({ result: { width: 320 } });
    expect(readFileSync(graph, "utf8")).toContain("</svg>");
  });

  it("is whole when the last stage has had enough, whatever the file still holds", async () => {
    const { code, stdout, stderr } = await millpond(["run", `file ${CLIP} ! decode ! null limit=3`]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("3 buffers in");
    expect(stdout).not.toContain("missing");
  });

  it("points at the word that is wrong, and fails", async () => {
    const { code, stderr } = await millpond(["run", "file a.mp4 ! decoed ! null"]);
    expect(code).toBe(1);
    expect(stderr).toBe(
      'millpond: there is no element "decoed"; did you mean "decode"?\n  file a.mp4 ! decoed ! null\n               ^^^^^^\n',
    );
  });

  it("names a missing file as the system does, below the stage that wanted it", async () => {
    const { code, stderr } = await millpond(["run", "file", "absent.mp4", "!", "decode", "!", "null"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /absent\.mp4: there is no such file \(ENOENT\)\n {2}file absent\.mp4 ! decode ! null\n {20}\^\^\^\^\^\^/,
    );
  });

  it("settles without running, tells in JSON, lists its elements, and refuses options of the other kind", async () => {
    const [dry, json, list, other, early] = await Promise.all([
      millpond(["run", "pattern ! queue ! null", "--dry-run"]),
      millpond(["run", "pattern frames=3 ! null", "--json"]),
      millpond(["run", "--elements"]),
      millpond(["run", "pattern ! null", "--tiles", "3"]),
      millpond(["run", "clip.mp4", "--dry-run"]),
    ]);
    expect(dry.stdout).toContain("= 1 pattern (being filled) + 5 queue (4 in line, 1 on its way out)");
    expect(JSON.parse(json.stdout)).toMatchObject({ sinks: { null: 3 }, holders: [] });
    expect(list.stdout).toContain("contactsheet PATH [tiles=]");
    expect(other.stderr).toMatch(/--tiles is for a file/);
    expect(early.stderr).toMatch(/--dry-run is for a pipeline/);
  });

  it("refuses a pipeline whose pools need more than it may have", async () => {
    const { code, stderr } = await millpond([
      "run",
      "pattern width=640 height=480 ! queue ! null",
      "--max-bytes",
      "1000000",
    ]);
    expect(code).toBe(1);
    expect(stderr.replaceAll(/\s+/g, " ")).toMatch(
      /all pools together would have 2764800 bytes, and the pipeline may have 1000000/,
    );
  });

  it("leaves nothing behind when it is interrupted", async () => {
    const file = join(folder, "endless.y4m");
    const { child, done } = start(["run", `pattern width=640 height=480 ! y4msink ${file}`]);
    while (!readdirSync(folder).some((name) => name.includes("endless")))
      await new Promise((later) => setTimeout(later, 20));
    child.kill("SIGINT");
    const { code, stderr } = await done;
    expect(stderr).toContain("interrupted");
    expect(code).toBe(130);
    expect(existsSync(file)).toBe(false);
    expect(readdirSync(folder).filter((name) => name.includes("endless"))).toEqual([]);
  });
});
