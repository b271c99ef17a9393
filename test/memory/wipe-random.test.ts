/**
 * Random walks over leases of a revoking and of a force-closed pool: whatever is copied, merged, resized, shared, kept
 * and released in whatever order, no region reaches its allocator with a view or a secret of a lease.
 */
import { expect, test } from "vitest";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Allocator, setDefaultAllocator, systemAllocator } from "../../src/memory/allocator.ts";
import { Memory } from "../../src/memory/memory.ts";
import { Region } from "../../src/memory/region.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { generator } from "../helpers/random.ts";

const SECRET = 0x53;

class Judge extends Allocator {
  /** Views that leases have shown, by their buffer. */
  readonly shown: Map<ArrayBufferLike, Uint8Array[]> = new Map();
  judges = true;
  zeroed = false;
  live = 0;
  readonly wrong: string[] = [];

  constructor() {
    super("judge");
  }

  show(view: Uint8Array): void {
    const views = this.shown.get(view.buffer) ?? [];
    views.push(view);
    this.shown.set(view.buffer, views);
  }

  protected override allocateRegion(size: number): Region {
    this.live++;
    return new Region(new Uint8Array(size));
  }

  protected override freeRegion(region: Region): void {
    this.live--;
    if (!this.judges || region.isDetached) return;
    const views = this.shown.get(region.bytes.buffer)?.filter((view) => view.length > 0) ?? [];
    if (views.length > 0) this.wrong.push(`${views.length} views of ${region.size} bytes`);
    if (this.zeroed && region.bytes.includes(SECRET)) this.wrong.push(`a secret in ${region.size} bytes`);
  }
}

type Holder = { readonly kind: "lease" | "own"; readonly it: MediaBuffer | Memory };

/** One walk; answers what was wrong. */
function walk(seed: number, mode: "revoke" | "force", viaPages: boolean): string[] {
  const next = generator(seed);
  const judge = new Judge();
  judge.zeroed = mode === "revoke";
  judge.judges = mode === "revoke";
  setDefaultAllocator(judge);
  const pages = viaPages
    ? PagePool.create({ source: judge, pageSize: 512, timer: false, ageOut: mode === "force" ? 0 : 500 })
    : undefined;
  const allocator = pages?.allocator ?? judge;
  const pool = BufferPool.create({
    size: 96,
    max: 3,
    allocator,
    ...(mode === "revoke" ? { revoke: true, zero: "release" } : {}),
  });
  const held: Holder[] = [];
  const pick = (): Holder | undefined => held[next(held.length)];
  const see = (holder: Holder, view: Uint8Array, writes: boolean): void => {
    if (mode === "revoke" || holder.kind === "lease") judge.show(view);
    if (writes) view.fill(SECRET);
  };
  const steps: (() => void)[] = [
    () => {
      const lease = pool.tryAcquire();
      if (lease !== undefined) held.push({ kind: "lease", it: lease });
    },
    () => {
      const holder = pick();
      if (holder?.it instanceof MediaBuffer) see(holder, holder.it.bytes, true);
    },
    () => {
      const holder = pick();
      if (holder === undefined) return;
      const mode = (["read", "readwrite", "write"] as const)[next(3)]!;
      const mapping = holder.it.map(mode);
      try {
        see(holder, mapping.bytes, mode !== "read");
      } finally {
        mapping.unmap();
      }
    },
    () => {
      const holder = pick();
      if (holder?.it instanceof MediaBuffer) held.push({ kind: "own", it: holder.it.copy({ deep: next(3) === 0 }) });
    },
    () => {
      const holder = pick();
      if (!(holder?.it instanceof MediaBuffer) || holder.it.memoryCount === 0) return;
      const memory = holder.it.memoryAt(next(holder.it.memoryCount));
      held.push({ kind: "own", it: next(2) === 0 ? memory.retain() : memory.share(0) });
    },
    () => {
      const holder = pick();
      // What nobody releases is taken back with the pages.
      if (holder?.it instanceof Memory) holder.it.makeWritable();
    },
    () => {
      const [holder, other] = [pick(), pick()];
      if (!(holder?.it instanceof MediaBuffer) || other === undefined || other.kind === "lease") return;
      // A copy of the pool's bytes, or the bytes themselves: what is added is as secret as what is there.
      const memory = other.it instanceof Memory ? other.it : other.it.memoryAt(0);
      holder.it.append(next(2) === 0 ? memory.retain() : memory.copy());
    },
    () => {
      const holder = pick();
      if (holder?.it instanceof MediaBuffer && holder.it.memoryCount > 1)
        holder.it.remove(next(holder.it.memoryCount), 1);
    },
    () => {
      const holder = pick();
      if (holder?.it instanceof MediaBuffer) holder.it.resize(next(5), next(holder.it.size + 1));
    },
    () => {
      const holder = pick();
      if (holder?.it instanceof MediaBuffer) holder.it.fill(next(8), new Uint8Array(next(64)).fill(SECRET));
    },
    () => {
      // A temporary run of a retained buffer.
      const holder = pick();
      if (!(holder?.it instanceof MediaBuffer) || holder.it.memoryCount < 2) return;
      holder.it.retain();
      const mapping = holder.it.map("read");
      try {
        if (mode === "revoke") see(holder, mapping.bytes, false);
      } finally {
        mapping.unmap();
        holder.it.release();
      }
    },
    () => {
      // A view that is kept after a release is its holder's mistake where nothing is revoked.
      const at = next(held.length);
      if (held.length > 0 && (mode === "revoke" || held[at]!.kind === "own")) held.splice(at, 1)[0]!.it.release();
    },
  ];
  for (let i = 0; i < 60; i++) {
    try {
      steps[next(steps.length)]!();
    } catch (error) {
      if (!isMillpondError(error)) throw error;
    }
  }
  judge.judges = true;
  pool.close({ force: true });
  for (const { it } of held.sort(() => next(3) - 1)) {
    try {
      while (it.refCount > 0) it.release();
    } catch (error) {
      if (!isMillpondError(error)) throw error;
    }
  }
  pages?.close({ force: true });
  setDefaultAllocator(systemAllocator());
  return judge.wrong;
}

const WALKS = times(100, 20_000);

for (const mode of ["revoke", "force"] as const) {
  for (const viaPages of [false, true]) {
    test(
      `${WALKS} walks (${mode}${viaPages ? ", over a PagePool" : ""}): nothing of a lease is left where others get it`,
      REPEATED,
      () => {
        const first = seedOf("wipe");
        for (let i = 0; i < WALKS; i++) {
          expect({ seed: first + i, wrong: walk(first + i, mode, viaPages) }).toEqual({ seed: first + i, wrong: [] });
        }
      },
    );
  }
}
