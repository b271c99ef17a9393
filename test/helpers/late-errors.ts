/** Catches what surfaces as an uncaught error in a later turn, which is where the errors of misbehaving hooks go. */
import { afterEach, beforeEach } from "vitest";

/** Notes the uncaught errors of each test of the file, or of the describe, in which it is called. */
export function uncaughtErrors(): readonly unknown[] {
  const uncaught: unknown[] = [];
  const note = (error: unknown): void => void uncaught.push(error);
  beforeEach(() => {
    uncaught.length = 0;
    process.on("uncaughtException", note);
  });
  afterEach(() => {
    process.off("uncaughtException", note);
  });
  return uncaught;
}

/** Runs `fn` and gives the messages of the errors that surfaced after it. */
export async function lateErrors(fn: () => unknown): Promise<string[]> {
  const late: string[] = [];
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => late.push(error.message));
  try {
    await fn();
    await new Promise((resolve) => setTimeout(resolve, 0));
    return late;
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
}

/** Runs `fn` and gives the messages of the rejections that nobody handled by some turns after it. */
export async function lateRejections(fn: () => unknown): Promise<string[]> {
  const late: string[] = [];
  const listeners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", (error) => late.push(error instanceof Error ? error.message : String(error)));
  try {
    await fn();
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
    return late;
  } finally {
    process.removeAllListeners("unhandledRejection");
    for (const listener of listeners) process.on("unhandledRejection", listener);
  }
}
