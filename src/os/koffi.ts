/**
 * Loads koffi, the optional peer that makes system calls from JavaScript without a compiler, and says why when it
 * cannot. The interface is structural, so that neither this file's users nor the published types need the package.
 */
import { createRequire } from "node:module";
import { made, type NotDone, notDone, type Outcome } from "./result.ts";

/** A C function; numbers and addresses in, a number out (bigint beyond 2^53). */
export type NativeFunction = (...args: readonly unknown[]) => number | bigint;

/** What is used of a loaded library. */
export interface KoffiLibrary {
  /** Declares a function of it; throws when there is no such symbol. */
  func(name: string, result: string, args: readonly string[]): NativeFunction;
}

/** What is used of koffi. */
export interface Koffi {
  /** Loads a library; null: what the process has loaded already, libc among it. */
  load(path: string | null): KoffiLibrary;
  /** The address of a typed array's first byte. */
  address(view: ArrayBufferView): bigint;
  /** An ArrayBuffer over foreign memory. */
  view(address: bigint, bytes: number): ArrayBuffer;
  /** The errno that the last call of this thread left. */
  errno(): number;
  /** The platform's error numbers by name. */
  readonly os: { readonly errno: Readonly<Record<string, number>> };
}

let loaded: Outcome<Koffi> | undefined;

/** koffi, or why it cannot be had: "KOFFI_ABSENT", "KOFFI_FORBIDDEN", "KOFFI_BROKEN". Tried once per thread. */
export function loadKoffi(): Outcome<Koffi> {
  loaded ??= tryKoffi();
  return loaded;
}

function tryKoffi(): Outcome<Koffi> {
  try {
    const require = createRequire(import.meta.url);
    const koffi = require("koffi") as Koffi;
    // The package may load and its binary not: a first call shows it.
    koffi.address(new Uint8Array(8));
    return made(koffi);
  } catch (error) {
    return whyNot(error);
  }
}

/** Turns what loading threw into an answer. */
export function whyNot(error: unknown): NotDone {
  const code = String((error as { code?: unknown } | null)?.code ?? (error as Error | null)?.name ?? "");
  const message = error instanceof Error ? (error.message.split("\n", 1)[0] ?? "") : String(error);
  if (code === "ERR_DLOPEN_DISABLED" || code === "ERR_ACCESS_DENIED" || /NotCapable|PermissionDenied/.test(code)) {
    return notDone(
      "unsupported",
      "KOFFI_FORBIDDEN",
      `this process may not load native code (${code}); allow it with --allow-addons (Node) or --allow-ffi (Deno)`,
    );
  }
  if (code === "MODULE_NOT_FOUND" || code === "ERR_MODULE_NOT_FOUND") {
    return notDone(
      "unsupported",
      "KOFFI_ABSENT",
      'the package "koffi" is not installed; npm install koffi, it needs no compiler',
    );
  }
  return notDone("unsupported", "KOFFI_BROKEN", `koffi does not load here: ${message}`);
}
