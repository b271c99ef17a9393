// Shares its realm with other files: nothing that it changes outlives it.
/** The example that uploads frames to a GPU, in a real browser, on a software adapter where there is no other. */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined) {
  console.log("the WebGPU upload is skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)");
}

describe.skipIf(chromium === undefined)("examples/webgpu-upload", () => {
  it("60 frames go through at most three staging buffers, and the texture has the last one", async (context) => {
    const told = await runInChromium(`
      const { upload } = await import("/examples/webgpu-upload/main.js");
      send((await upload({ frames: 60 })) ?? null);`);
    if (told === null) context.skip("this Chromium has no WebGPU adapter");
    const { buffers, ...rest } = told as { buffers: number };
    expect(rest).toEqual({ pixel: [59, 59, 59, 59], leases: 0 });
    // As many as were under way at a time: a fast adapter needs fewer.
    expect([1, 2, 3]).toContain(buffers);
  });
});
