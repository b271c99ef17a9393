/** A membership that one process reserved and another one has: it is its holder's. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ProcessPool } from "../../../src/native.ts";
import { createSharedMemory } from "../../../src/os/shared-memory.ts";
import type { SharedHandle } from "../../../src/pools/shared/attach.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const CHILD = fileURLToPath(new URL("./travel.child.ts", import.meta.url));

describe.runIf(createSharedMemory(4096).ok)("a handle that another process reserved", () => {
  const attach = {
    "SharedPool.attach": (handle: SharedHandle, memory: SharedArrayBuffer) => SharedPool.attach(handle, { memory }),
    "ProcessPool.attach": (handle: SharedHandle, memory: SharedArrayBuffer) =>
      ProcessPool.attach({ ...handle, memory }),
  };
  for (const [name, join] of Object.entries(attach)) {
    it(`makes a member by ${name} that the end of that process does not end`, async () => {
      const pool = ProcessPool.create({ size: 64, count: 1, watch: Number.POSITIVE_INFINITY });
      const child = spawn(process.execPath, [CHILD], { stdio: ["ignore", "pipe", "inherit", pool.descriptor] });
      const handle = JSON.parse(String((await once(child.stdout!, "data"))[0])) as SharedHandle;
      const mine = join(handle, pool.memory);
      const id = mine.tryAcquireId();
      child.kill("SIGKILL");
      await once(child, "exit");
      // The child's own.
      expect(pool.reclaimEnded().members).toBe(1);
      expect(pool.holders()).toMatchObject([{ members: [mine.member] }]);
      expect(pool.tryAcquire()).toBeUndefined();
      mine.releaseId(id);
      mine.leave();
      expect(pool.stats().members).toHaveLength(1);
      pool.reclaimEnded();
      expect(pool.processes().filter((pid) => pid !== 0)).toEqual([process.pid]);
      pool.close();
    });
  }
});
