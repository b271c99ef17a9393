/**
 * Stages: the second kind of thing that is observed. A stage works on a buffer or waits for something, and each span of
 * it is told when it is over. A stage with threads of its own hands on what these recorded.
 *
 * While nobody records, a hook costs one look at {@link stagesWatched}, and a wait nothing that a wait would notice:
 * the three calls below are for the case that somebody does, or for a promise that is there anyway.
 *
 * An observer is one of the library's own, is told in the stage's own turn, and never throws.
 */

import type { Recording } from "./recorder.ts";

/** What works or waits. Its name is read when it is told of first. */
export interface Stage {
  /** What it is called. */
  readonly name: string;
}

/** Who is told of what stages do. */
export interface StageObserver {
  /**
   * It is over now.
   *
   * @param isWait whether the stage waited for something outside of it
   * @param since when it began, as `performance.now()` counts
   */
  onStage(stage: Stage, activity: string, isWait: boolean, since: number): void;
  /** Threads of a stage are to record, too: the events that all of one stage keep, and who gets them at its end. */
  readonly threads?: { readonly capacity: number; onRecording(recording: Recording): void } | undefined;
}

let observers: readonly StageObserver[] = [];

/** Whether anybody records. */
export let stagesWatched = false;

/** Tells `observer` of every stage of this realm from now on; returns what ends that. */
export function watchStages(observer: StageObserver): () => void {
  observers = [...observers, observer];
  stagesWatched = true;
  return () => {
    observers = observers.filter((other) => other !== observer);
    stagesWatched = observers.length > 0;
  };
}

/** Events that the threads of a stage which begins now are to keep together; 0: they need not record. */
export function eventsWanted(): number {
  return observers.reduce((most, { threads }) => Math.max(most, threads?.capacity ?? 0), 0);
}

/** A thread of a stage has recorded this. */
export function threadRecorded(recording: Recording): void {
  for (const observer of observers) observer.threads?.onRecording(recording);
}

/**
 * Calls a hook of a stage, and tells of it when it is over, or the promise that it gave. To be called where
 * {@link stagesWatched} is true; otherwise the hook itself.
 */
export function watchedCall<S extends Stage, A extends readonly unknown[], R>(
  stage: S,
  activity: string,
  hook: (this: S, ...args: A) => R,
  ...args: A
): R {
  const since = performance.now();
  let result: R | undefined;
  try {
    result = hook.apply(stage, args as never);
    return result;
  } finally {
    tellLater(stage, activity, false, since, result);
  }
}

/** The stage works until a promise has ended. */
export function stageWorks(stage: Stage, activity: string, work: PromiseLike<unknown>): void {
  if (stagesWatched) tellLater(stage, activity, false, performance.now(), work);
}

/** The stage waits until a promise has ended. */
export function stageWaits(stage: Stage, activity: string, work: PromiseLike<unknown>): void {
  if (stagesWatched) tellLater(stage, activity, true, performance.now(), work);
}

function tellLater(stage: Stage, activity: string, isWait: boolean, since: number, result: unknown): void {
  const done = (): void => {
    for (const observer of observers) observer.onStage(stage, activity, isWait, since);
  };
  // Of an answer that cannot be read, the stage itself makes the error.
  try {
    if (typeof (result as PromiseLike<unknown> | null | undefined)?.then === "function") {
      (result as PromiseLike<unknown>).then(done, done);
      return;
    }
  } catch {}
  done();
}
