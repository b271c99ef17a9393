/** A pool between processes on every runtime that is here: by name and by socket, waiting, killed, and in order. */
import { join } from "node:path";
import { beforeAll, describe, expect, it as test } from "vitest";
import { nativeOps } from "../../../src/os/load.ts";
import { answerOf, run } from "../../helpers/child.ts";
import { compiled } from "../../os/build.ts";
import { runtimes, tagOf } from "../../os/runtimes.ts";

const CHILD = join(import.meta.dirname, "process-runtimes.child.mjs");

let folder = "";
beforeAll(() => {
  folder = compiled();
});

describe.runIf(nativeOps().availability.ok)("a pool between two processes", () => {
  for (const runtime of runtimes()) {
    const { name, command, reason } = runtime;
    if (command === undefined) {
      console.log(`skipped: ${reason}`);
      continue;
    }
    test(`${name}: both take, wait and clear, and every slot comes back`, tagOf(runtime), async () => {
      const env = { ...process.env, CHILD_FLAGS: command.slice(1).join(" ") };
      expect(answerOf(await run([...command, CHILD, folder], { env }))).toEqual({
        waits: "futex",
        cleared: true,
        right: 50,
        exit: 0,
        free: 3,
        processes: 1,
      });
    });
  }
});
