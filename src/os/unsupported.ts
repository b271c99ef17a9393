/** The operations of a place where nothing native can run: every step says so, with the reason, and nothing throws. */
import type { DmaOps, FutexOps, NativeOps, SharedOps, SocketOps } from "./native-ops.ts";
import type { NotDone } from "./result.ts";

/** Shared objects where there are none. */
export function absentShared(why: NotDone): SharedOps {
  const no = (): NotDone => why;
  return { create: no, inspect: no, overlay: no, openOf: no, close: no };
}

/** Descriptor sockets where there are none. */
export function absentSockets(why: NotDone): SocketOps {
  const no = (): NotDone => why;
  return { pair: no, listen: no, connect: no, accept: no, peer: no, send: no, receive: no };
}

/** Waiting across processes where it cannot be done. */
export function absentFutex(why: NotDone): FutexOps {
  const no = (): NotDone => why;
  return { wait: no, wake: no };
}

/** Memory of devices where there is none. */
export function absentDma(why: NotDone): DmaOps {
  const no = (): NotDone => why;
  return { fromHeap: no, fromShared: no, map: no, sync: no };
}

/** Operations of which every one answers `why`. */
export function absentOps(why: NotDone, platform = "none"): NativeOps {
  const no = (): NotDone => why;
  return {
    name: "none",
    platform,
    availability: why,
    proven: true,
    // 4 KiB: nothing is done with it but rounding, and every page size is a multiple of it.
    pageSize: 4096,
    hugePageSize: 0,
    releaseZeroes: false,
    recyclesRanges: false,
    limits: () => ({ memlock: 0, addressSpace: Number.POSITIVE_INFINITY }),
    addressOf: () => 0n,
    lock: no,
    unlock: no,
    advise: no,
    map: no,
    retire: no,
    shared: absentShared(why),
    sockets: absentSockets(why),
    futex: absentFutex(why),
    dma: absentDma(why),
  };
}
