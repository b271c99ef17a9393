/** millpond/arena: how one region is divided. The arithmetic under SlabPool and RealtimePool, for pools of your own. */
export { SizeClassArena, type SizeClassCount, type SizeClassStats } from "./arena/size-class/size-class-arena.ts";
export {
  type ArenaBlock,
  type ArenaHolder,
  type ArenaOptions,
  type ArenaSource,
  type ArenaStats,
  TlsfArena,
  type WorstCase,
} from "./arena/tlsf/tlsf-arena.ts";
