/**
 * What libav's decoders and encoders have to say of damaged data. They write it to standard error by themselves, past everything
 * that a program does about its output; here it is caught instead.
 */
import { createRequire } from "node:module";

/** What is used of node-av; the package belongs to @mediabunny/server, which is optional. */
interface NodeAv {
  readonly Log: {
    setLevel(level: number): void;
    setCallback(callback: (level: number, message: string) => void, options: { maxLevel: number }): void;
  };
}

// AV_LOG_ERROR: a picture or a packet is damaged. Warnings below it are about habits of encoders.
const ERROR_LEVEL = 16;

/** Catches what libav says from now on. `server` is where @mediabunny/server lies, which brings libav along. */
export async function catchLibavLog(server: string): Promise<void> {
  // Resolved from there: package managers differ in whether it can be seen from here.
  const path = createRequire(server).resolve("node-av");
  const { Log } = (await import(path)) as NodeAv;
  Log.setLevel(ERROR_LEVEL);
  // What a message is about is marked on the frame too, and counted there; this one only keeps it from standard error.
  Log.setCallback(() => {}, { maxLevel: ERROR_LEVEL });
}
