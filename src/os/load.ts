/** Which operations there are in this process: found once a thread, lazily, and never by throwing. */
import { oneOf, withMethods, wrongType } from "../util/validate.ts";
import { plainBytes } from "./bytes.ts";
import { darwinOps } from "./darwin.ts";
import { type Koffi, loadKoffi } from "./koffi.ts";
import { linuxOps } from "./linux.ts";
import { ADVICE, absentOps, type NativeOps, type PageOps } from "./native-ops.ts";
import { type NotDone, notDone, type Outcome } from "./result.ts";
import { windowsOps } from "./windows.ts";

/** 64-bit, little-endian: the struct layouts here are theirs. */
const ARCHITECTURES: readonly string[] = ["x64", "arm64", "riscv64", "loong64", "ppc64"];

const PLATFORMS: Readonly<Record<string, (koffi: Koffi) => NativeOps>> = {
  linux: linuxOps,
  darwin: darwinOps,
  win32: windowsOps,
};

/** Found without asking the runtime, which may want a permission for it. */
const LITTLE_ENDIAN: boolean = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

let found: NativeOps | undefined;

/**
 * The operations of this process. Where nothing native can run, each of them answers `unsupported` and `availability`
 * says why ("KOFFI_ABSENT", "KOFFI_FORBIDDEN", "KOFFI_BROKEN", "NO_PLATFORM"). Loads koffi at the first call: 6 to 7
 * ms.
 */
export function nativeOps(): NativeOps {
  found ??= findOps(loadKoffi, process.platform, process.arch);
  return found;
}

/**
 * The steps for pages of your own: lock, advise, limits. Where nothing native can run, each answers `unsupported` and
 * `availability` says why. Loads koffi at the first call: 6 to 7 ms.
 */
export function pageOps(): PageOps {
  return nativeOps();
}

/**
 * What each part of a {@link NativeOps} can do: enough to tell one from an object that only looks like it at a glance.
 */
const PARTS = {
  shared: ["create", "inspect", "overlay", "openOf", "lockFolder", "close"],
  sockets: ["pair", "listen", "connect", "accept", "peer", "send", "receive"],
  futex: ["wait", "wake"],
  dma: ["fromHeap", "fromShared", "map", "sync"],
} as const;

/**
 * Checks the operations that a caller gave, down to their methods; absent: this process's. Throws
 * `ERR_INVALID_ARG_TYPE`.
 */
export function checkOps(name: string, value: NativeOps | undefined): NativeOps {
  if (value === undefined) return nativeOps();
  if (value === found) return value;
  const expected = "the native operations of a process";
  withMethods(name, expected, value, ["limits", "addressOf", "lock", "unlock", "advise", "map", "retire"]);
  if (typeof value.availability?.ok !== "boolean")
    throw wrongType(`${name}.availability`, "a Result", value.availability);
  withMethods(`${name}.shared`, expected, value.shared, PARTS.shared);
  withMethods(`${name}.sockets`, expected, value.sockets, PARTS.sockets);
  withMethods(`${name}.futex`, expected, value.futex, PARTS.futex);
  withMethods(`${name}.dma`, expected, value.dma, PARTS.dma);
  return value;
}

/** @internal for tests */
export function findOps(load: () => Outcome<Koffi>, platform: string, arch: string): NativeOps {
  const build = PLATFORMS[platform];
  if (build === undefined || !ARCHITECTURES.includes(arch) || !LITTLE_ENDIAN) {
    return absentOps(
      notDone("unsupported", "NO_PLATFORM", `no system calls are known for ${platform} on ${arch}`),
      platform,
    );
  }
  const koffi = load();
  if (!koffi.ok) return absentOps(koffi, platform);
  try {
    return checked(build(koffi.value));
  } catch (error) {
    return absentOps(brokenLibrary(error), platform);
  }
}

/** Operations that reach the bytes which they were given, and no others, whatever the view says of itself. */
function checked(ops: NativeOps): NativeOps {
  const { shared, sockets } = ops;
  return {
    ...ops,
    lock: (bytes) => ops.lock(plainBytes("bytes", bytes)),
    unlock: (bytes) => ops.unlock(plainBytes("bytes", bytes)),
    advise: (bytes, advice) => ops.advise(plainBytes("bytes", bytes), oneOf("advice", advice, ADVICE)),
    shared: {
      ...shared,
      overlay: (target, descriptor, offset) => shared.overlay(plainBytes("target", target), descriptor, offset),
    },
    sockets: {
      ...sockets,
      send: (socket, descriptor, note) => sockets.send(socket, descriptor, plainBytes("note", note)),
    },
  };
}

function brokenLibrary(error: unknown): NotDone {
  return notDone("unsupported", "KOFFI_BROKEN", `the system's library lacks a call: ${(error as Error).message}`);
}
