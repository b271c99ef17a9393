/** What hangs on a pool besides its leases: lanes, and connections that are being made. They end with the pool. */

/** How a pool ends in a thread: closed with no lease out, closed by force, or left by this thread alone. */
export type PoolEnd = "closed" | "forced" | "left";

/** Something that ends with its pool. */
interface PoolUser {
  /** The pool was closed here, or this thread left it. */
  poolEnded(error: Error, end: PoolEnd): void;
}

const usersOf: WeakMap<object, Set<PoolUser>> = new WeakMap();

/** Has `user` told of the pool's end in this thread; returns what ends that. */
export function onPoolEnd(pool: object, user: PoolUser): () => void {
  const users = usersOf.get(pool) ?? new Set<PoolUser>();
  usersOf.set(pool, users);
  users.add(user);
  return () => users.delete(user);
}

/** The pool is over in this thread. */
export function endUsers(pool: object, error: () => Error, end: PoolEnd): void {
  const users = usersOf.get(pool);
  if (users === undefined || users.size === 0) return;
  const made = error();
  for (const user of [...users]) user.poolEnded(made, end);
}
