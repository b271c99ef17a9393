/**
 * The cursors over the blocks of each pool, so that a block that goes back to its source leaves no cursor behind that
 * reads and writes it. Held weakly: a cursor is forgotten with its last user. Adding one is O(1) amortized; leaving
 * blocks is O(cursors). Nothing here is on the path of `at()` or of a field.
 */

/** Makes a cursor leave a block: where it stands on one of `gone`, it gets `ended` in its place. */
type LeaveBlocks = (cursor: object, gone: ReadonlySet<DataView>, ended: DataView) => void;

interface CursorList {
  readonly leave: LeaveBlocks;
  refs: WeakRef<object>[];
  /** How long the list may grow before those that were collected are taken out. */
  limit: number;
}

const lists: WeakMap<object, CursorList> = new WeakMap();

/** Notes a cursor over the elements of `source`. */
export function addCursor(source: object, cursor: object, leave: LeaveBlocks): void {
  let list = lists.get(source);
  if (list === undefined) {
    list = { leave, refs: [], limit: 8 };
    lists.set(source, list);
  }
  if (list.refs.length >= list.limit) {
    list.refs = list.refs.filter((ref) => ref.deref() !== undefined);
    list.limit = Math.max(8, 2 * list.refs.length);
  }
  list.refs.push(new WeakRef(cursor));
}

/** Makes every cursor of `source` leave the blocks that go; what it reads or writes then throws `error()`. */
export function leaveBlocks(source: object, gone: ReadonlySet<DataView>, error: () => Error): void {
  const list = lists.get(source);
  if (list === undefined) return;
  const ended = endedView(error);
  for (const ref of list.refs) {
    const cursor = ref.deref();
    if (cursor !== undefined) list.leave(cursor, gone, ended);
  }
}

/** A view whose every member throws: the accessors of a cursor need no check of their own. */
function endedView(error: () => Error): DataView {
  const view = new DataView(new ArrayBuffer(0));
  const get = (): never => {
    throw error();
  };
  for (const name of Object.getOwnPropertyNames(DataView.prototype)) {
    if (name !== "constructor") Object.defineProperty(view, name, { get });
  }
  return view;
}
