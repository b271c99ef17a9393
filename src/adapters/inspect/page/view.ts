/** What the parts of the page have in common: what is shown now, and the colors to draw with. */
import type { PoolModel, ProcessModel } from "./model.ts";
import type { Palette } from "./style.ts";

/** What is shown. */
export interface Scene {
  /** The process. */
  readonly process: ProcessModel;
  /** Its pools in the thread that was chosen. */
  readonly pools: readonly PoolModel[];
  /** The pool that was chosen, as a list of one; else all of {@link pools}. */
  readonly chosen: readonly PoolModel[];
  /** Whether one pool was chosen. */
  readonly isOne: boolean;
  /** The thread that was chosen; undefined: all. */
  readonly thread: number | undefined;
  /** The program's time. */
  readonly now: number;
  /** Whether what is read is updated too, and not the drawings only. */
  readonly isRead: boolean;
  /** What canvases draw with. */
  readonly palette: Palette;
}
