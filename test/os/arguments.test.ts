// Shares its realm with other files: nothing that it changes outlives it.
/** What the calls for processes and descriptors refuse, before they ask the system for anything. */
import { describe, expect, it } from "vitest";
import { DmabufAllocator } from "../../src/allocators/native/dmabuf.ts";
import { PagesAllocator } from "../../src/allocators/native/pages.ts";
import { ProcessSharedAllocator } from "../../src/allocators/native/process-shared.ts";
import {
  closeDescriptor,
  connectDescriptors,
  descriptorPair,
  receiveDescriptor,
  receiveDescriptorSync,
  sendDescriptor,
  serveDescriptors,
} from "../../src/os/descriptors.ts";
import { connectProcess, receiveProcess } from "../../src/pools/process/connect.ts";
import { ProcessPool } from "../../src/pools/process/process-pool.ts";
import { connectToPool, serveProcesses } from "../../src/pools/process/server.ts";
import { MillpondError } from "../../src/util/errors.ts";

async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    return error instanceof MillpondError ? error.code : String(error);
  }
  return "accepted";
}

const BAD_OPS = [null, 5, "ops", {}, { shared: {} }, () => undefined] as never[];
const BAD_OPTIONS = [null, 5, "text", [], () => undefined] as never[];
const MISSPELLED = { zeros: true } as never;
const child = { send: () => true, on() {}, once() {}, removeListener() {}, connected: true };

describe("native calls refuse at the call", () => {
  it("operations that are not operations", async () => {
    for (const ops of BAD_OPS) {
      for (const call of [
        () => descriptorPair(ops),
        () => closeDescriptor(9999, ops),
        () => connectDescriptors("/nowhere", ops),
        () => serveDescriptors("/nowhere/at/all", ops),
        () => sendDescriptor(9999, 9999, undefined, ops),
        () => receiveDescriptorSync(9999, 0, ops),
        () => receiveDescriptor(9999, { ops }),
        () => ProcessPool.create({ size: 64, count: 1, ops }),
        () => ProcessPool.attach("name", { ops }),
        () => connectToPool("/nowhere", { ops }),
        () => new PagesAllocator({ ops }),
        () => new DmabufAllocator({ ops }),
        () => new ProcessSharedAllocator({ ops }),
      ]) {
        expect([String(call), await codeOf(call)]).toEqual([String(call), "ERR_INVALID_ARG_TYPE"]);
      }
    }
  });

  it("options that are not an object, and names that are not an option", async () => {
    const calls = [
      (options: never) => receiveDescriptor(9999, options),
      (options: never) => ProcessPool.create(options),
      (options: never) => ProcessPool.attach("name", options),
      (options: never) => connectToPool("/nowhere", options),
      (options: never) => receiveProcess(options),
      (options: never) => new ProcessSharedAllocator().receive(9999, options),
    ];
    for (const call of calls) {
      for (const options of BAD_OPTIONS) expect(await codeOf(() => call(options))).toBe("ERR_INVALID_ARG_TYPE");
      expect([String(call), await codeOf(() => call(MISSPELLED))]).toEqual([String(call), "ERR_INVALID_ARG_VALUE"]);
    }
  });

  it("signals and clocks of another shape, before anybody waits", async () => {
    for (const wrong of [null, 5, {}, "now"] as never[]) {
      expect(await codeOf(() => receiveDescriptor(9999, { signal: wrong }))).toBe("ERR_INVALID_ARG_TYPE");
      expect(await codeOf(() => connectToPool("/nowhere", { signal: wrong }))).toBe("ERR_INVALID_ARG_TYPE");
      expect(await codeOf(() => connectToPool("/nowhere", { clock: wrong }))).toBe("ERR_INVALID_ARG_TYPE");
      expect(await codeOf(() => receiveProcess({ signal: wrong, source: child as never }))).toBe(
        "ERR_INVALID_ARG_TYPE",
      );
      expect(await codeOf(() => receiveProcess({ source: wrong }))).toBe("ERR_INVALID_ARG_TYPE");
      expect(await codeOf(() => ProcessPool.create({ size: 64, count: 1, clock: wrong }))).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(await codeOf(() => receiveProcess({ descriptor: -1, source: child as never }))).toBe("ERR_OUT_OF_RANGE");
  });

  it("sources of a pool that are no block, whatever their prototype is", async () => {
    const unfit = [
      Object.create(Uint8Array.prototype),
      new Proxy(new Uint8Array(8), {}),
      new Uint8Array(8),
      {},
    ] as never[];
    for (const source of unfit) expect(await codeOf(() => ProcessPool.attach(source))).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("pools that are not a ProcessPool", async () => {
    for (const wrong of [undefined, null, 5, {}, { block: {} }] as never[]) {
      expect(await codeOf(() => connectProcess(wrong, child))).toBe("ERR_INVALID_ARG_TYPE");
      expect(await codeOf(() => serveProcesses(wrong, "/nowhere"))).toBe("ERR_INVALID_ARG_TYPE");
    }
  });
});
