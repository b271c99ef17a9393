/** Which operations there are in this process: found once a thread, lazily, and never by throwing. */
import { wrongType } from "../util/validate.ts";
import { darwinOps } from "./darwin.ts";
import { type Koffi, loadKoffi } from "./koffi.ts";
import { linuxOps } from "./linux/madvise.ts";
import type { NativeOps } from "./native-ops.ts";
import { type NotDone, notDone, type Outcome } from "./result.ts";
import { absentOps } from "./unsupported.ts";
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
 * The operations of this process. Where nothing native can run, each of them answers `unsupported` and `availability` says
 * why ("KOFFI_ABSENT", "KOFFI_FORBIDDEN", "KOFFI_BROKEN", "NO_PLATFORM"). Loads koffi at the first call: 6 to 7 ms.
 */
export function nativeOps(): NativeOps {
  found ??= findOps(loadKoffi, process.platform, process.arch);
  return found;
}

/** Checks the operations that a caller gave; absent: this process's. Throws `ERR_INVALID_ARG_TYPE`. */
export function checkOps(name: string, value: NativeOps | undefined): NativeOps {
  if (value === undefined) return nativeOps();
  const isObject = typeof value === "object" && value !== null;
  const parts = isObject ? [value.availability, value.shared, value.sockets, value.dma, value.futex] : [undefined];
  if (parts.some((part) => typeof part !== "object" || part === null)) {
    throw wrongType(name, "the native operations of a process", value);
  }
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
    return build(koffi.value);
  } catch (error) {
    return absentOps(brokenLibrary(error), platform);
  }
}

function brokenLibrary(error: unknown): NotDone {
  return notDone("unsupported", "KOFFI_BROKEN", `the system's library lacks a call: ${(error as Error).message}`);
}
