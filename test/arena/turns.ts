/** Two threads that take turns on one arena, each freeing what the other allocated. */
import type { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";

/** Rounds that each thread plays. */
export const ROUNDS = 2000;

/** Words of the turn buffer: whose turn it is, how many went wrong, then the pointers of the last round. */
export const TURN_WORDS = 16;

/** Waits for its turn, checks and frees what the other left, leaves blocks of its own, and passes the turn on. */
export function alternate(arena: TlsfArena, turn: Int32Array, me: number): void {
  for (let round = 0; round < ROUNDS; round++) {
    while (Atomics.load(turn, 0) !== me) Atomics.wait(turn, 0, 1 - me, 10_000);
    for (let k = 2; k < TURN_WORDS; k++) {
      const pointer = turn[k]!;
      if (pointer === 0) continue;
      if (arena.bytes[pointer] !== 2 - me) Atomics.add(turn, 1, 1);
      arena.free(pointer);
    }
    for (let k = 2; k < TURN_WORDS; k++) {
      const size = 1 + ((round * 31 + k * 977) % 900);
      const pointer = arena.alloc(size);
      turn[k] = pointer;
      if (pointer !== 0) arena.bytes.fill(me + 1, pointer, pointer + size);
    }
    Atomics.store(turn, 0, 1 - me);
    Atomics.notify(turn, 0);
  }
}
