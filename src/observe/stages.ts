/**
 * Stages: the second kind of thing that is observed. A stage works on a buffer or waits for something, and says so when
 * it is over: `since = stageClock()`, the work, `stageDone(stage, activity, since)`. Whether anybody records is one
 * variable; nothing else happens while nobody does.
 *
 * An observer is one of the library's own, is told in the stage's own turn, and never throws.
 */

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
}

let observers: readonly StageObserver[] = [];
let isWatched = false;

/** Tells `observer` of every stage of this realm from now on; returns what ends that. */
export function watchStages(observer: StageObserver): () => void {
  observers = [...observers, observer];
  isWatched = true;
  return () => {
    observers = observers.filter((other) => other !== observer);
    isWatched = observers.length > 0;
  };
}

/** When a stage begins; 0: nobody records, and {@link stageDone} does nothing. @realtime */
export function stageClock(): number {
  return isWatched ? performance.now() : 0;
}

/** The stage is done with what it began at `since`. @realtime while nobody records */
export function stageDone(stage: Stage, activity: string, since: number): void {
  if (since !== 0) tell(stage, activity, false, since);
}

/** The same for what ends with a promise, well or not. */
export function stageDoneLater(stage: Stage, activity: string, since: number, work: PromiseLike<unknown>): void {
  if (since === 0) return;
  const done = (): void => tell(stage, activity, false, since);
  work.then(done, done);
}

/** A wait of the stage that began at `since` is over. */
export function stageWaited(stage: Stage, activity: string, since: number): void {
  if (since !== 0) tell(stage, activity, true, since);
}

/** The same for a wait that ends with a promise, well or not. */
export function stageWaits(stage: Stage, activity: string, work: PromiseLike<unknown>): void {
  if (!isWatched) return;
  const since = performance.now();
  const done = (): void => tell(stage, activity, true, since);
  work.then(done, done);
}

function tell(stage: Stage, activity: string, isWait: boolean, since: number): void {
  for (const observer of observers) observer.onStage(stage, activity, isWait, since);
}
