/** Without mediabunny the calls that need it say what to install, and touch nothing. */
import { expect, it, vi } from "vitest";
import { pooledSamples } from "../../src/adapters/mediabunny/browser-samples.ts";
import { PooledSampleResource } from "../../src/adapters/mediabunny/sample-resource.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { openPool } from "../pools/buffer/pools.ts";

vi.mock("mediabunny", () => {
  throw new Error("Cannot find package 'mediabunny'");
});

const missing = {
  code: "ERR_UNSUPPORTED",
  message: expect.stringContaining('npm install mediabunny"'),
  details: { missing: "mediabunny" },
};

it("pooledSamples and PooledSampleResource say what is missing, and the lease stays its holder's", async () => {
  const pool = openPool({ size: 96, max: 1 });
  const track = { canDecode: () => true, getCodedWidth: () => 8 };
  expect(
    await pooledSamples(track as never, pool)
      .next()
      .catch((error: unknown) => error),
  ).toMatchObject(missing);
  const buffer = await pool.acquire();
  const info = VideoInfo.of({ format: "I420", width: 8, height: 8 });
  expect(await PooledSampleResource.create(buffer, { info }).catch((error: unknown) => error)).toMatchObject(missing);
  expect(buffer.isLive).toBe(true);
  buffer.release();
  pool.close();
});
