/**
 * mediabunny and @mediabunny/server (its decoders for Node): optional peers, loaded when they are first needed, once.
 * The scaler that comes with the decoders is offered to `VideoScale` from here.
 */
import { MillpondError } from "../../util/errors.ts";
import { type ConverterMaker, offerConverters } from "../../video/picture-converter.ts";
import { chooseCopier, copyNatively, importLibav, type Libav, useLibav } from "./libav.ts";
import { converterMaker } from "./libav-converter.ts";
import { warnOfMissingBounds } from "./mediabunny-hooks.ts";
import type { Mediabunny } from "./package.ts";
import type { CopyPast } from "./samples.ts";

let loaded: Promise<Mediabunny> | undefined;

/**
 * mediabunny, with the server decoders registered (in software: frames have to reach the CPU anyway). Loaded once.
 * Rejects with `ERR_UNSUPPORTED` and the command that installs them when a package is absent.
 */
export function loadMediabunny(): Promise<typeof import("mediabunny")> {
  loaded ??= importPackages();
  return loaded;
}

let areDecodersQuiet = false;

/**
 * Keeps mediabunny and libav from writing to the console and to standard error by themselves; all that matters of it
 * reaches the caller in errors and counts. For a program that owns both; call it before anything is opened.
 */
export function quietDecoders(): void {
  areDecodersQuiet = true;
}

// AV_LOG_ERROR: a picture or a packet is damaged. Warnings below it are about habits of encoders.
const ERROR_LEVEL = 16;

/**
 * Catches what libav's decoders and encoders say of damaged data from now on: they write it to standard error by
 * themselves, past everything that a program does about its output.
 */
function catchLibavLog({ Log }: Libav): void {
  Log.setLevel(ERROR_LEVEL);
  // What a message is about is marked on the frame too, and counted there; this one only keeps it from standard error.
  Log.setCallback(() => {}, { maxLevel: ERROR_LEVEL });
}

/** The code of the warning that pictures are scaled and converted in JavaScript, although the packages are there. */
const SLOW_SCALE = "MILLPOND_SLOW_SCALE";

async function loadConverters(): Promise<ConverterMaker | undefined> {
  let server: string;
  try {
    server = import.meta.resolve("@mediabunny/server");
  } catch {
    // Not installed, which is nothing to talk about.
    return undefined;
  }
  const libav = await importLibav(server);
  if (libav === undefined) return undefined;
  if (areDecodersQuiet) catchLibavLog(libav);
  const copier = chooseCopier(libav);
  const maker = typeof copier === "string" ? copier : converterMaker(libav, copier);
  if (typeof maker === "function") return maker;
  process.emitWarning(
    `pictures are scaled and converted in JavaScript, because the installed node-av is not one that this version of millpond was tested with (${maker})`,
    { code: SLOW_SCALE },
  );
  return undefined;
}

/**
 * Offers libav's scaler to `VideoScale`. node-av, which @mediabunny/server brings along, is loaded for the first
 * picture that is scaled; without it the pixels are computed in JavaScript.
 */
export function offerLibavScaler(): void {
  offerConverters(loadConverters);
}

async function importPackages(): Promise<Mediabunny> {
  let missing = "mediabunny";
  try {
    const mediabunny = await import("mediabunny");
    missing = "@mediabunny/server";
    const server = await import("@mediabunny/server");
    server.registerMediabunnyServer({ hardwareContext: null });
    warnOfMissingBounds(mediabunny);
    const libav = await importLibav(import.meta.resolve("@mediabunny/server"));
    if (libav !== undefined) useLibav(libav, server);
    offerLibavScaler();
    if (areDecodersQuiet) {
      mediabunny.Logging.level = mediabunny.LogLevel.Silent;
      if (libav !== undefined) catchLibavLog(libav);
    }
    return mediabunny;
  } catch (cause) {
    loaded = undefined;
    const why = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `video files are decoded with mediabunny and @mediabunny/server, which are optional: ${missing} cannot be loaded ` +
        `(${why}). Install them with "npm install mediabunny @mediabunny/server", or pipe raw frames in`,
      { missing },
      { cause },
    );
  }
}

/**
 * The native copies of frames that @mediabunny/server decodes, for a program that has registered it in its own way;
 * undefined where it is not installed.
 */
export async function nativeCopies(): Promise<CopyPast | undefined> {
  let server: typeof import("@mediabunny/server");
  try {
    server = await import("@mediabunny/server");
  } catch {
    return undefined;
  }
  const libav = await importLibav(import.meta.resolve("@mediabunny/server"));
  if (libav === undefined) return undefined;
  useLibav(libav, server);
  return copyNatively;
}
