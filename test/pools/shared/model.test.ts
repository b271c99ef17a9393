// Shares its realm with other files: nothing that it changes outlives it.
/** SharedPool beside a naive model: three attached threads do anything in any order; invariants after each step. */
import fc from "fast-check";
import { expect, it } from "vitest";
import type { LeaseData, Lease as PoolLease } from "../../../src/pools/common/lease.ts";
import { receiveLease, sendLease } from "../../../src/pools/lane/shared-transport.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";

const THREADS = 3;

/** A lease as the model sees it: holds by thread. */
interface Lease {
  readonly slot: PoolLease;
  readonly holds: number[];
  /** The thread whose object `slot` is; -1: a membership that is no more. */
  maker: number;
  /** Whether that thread has given it up once. */
  isOver: boolean;
}

interface Model {
  readonly count: number;
  leases: Lease[];
  /** Leases that are over. */
  over: PoolLease[];
}

interface Real {
  readonly pools: SharedPool[];
}

type Command = fc.Command<Model, Real>;

const outcome = (fn: () => void): string => {
  try {
    fn();
    return "ok";
  } catch (error) {
    if (isMillpondError(error)) return error.code;
    throw error;
  }
};

/** Compares all that can be seen. */
function settle(model: Model, { pools }: Real): void {
  for (const pool of pools) pool.validate();
  const { free, held, heldByMany, members } = pools[0]!.stats();
  const many = model.leases.filter((lease) => lease.holds.filter((n) => n > 0).length > 1).length;
  expect([free, held, heldByMany]).toEqual([model.count - model.leases.length, model.leases.length, many]);
  pools.forEach((pool, thread) => {
    const holds = model.leases.filter((lease) => lease.holds[thread]! > 0).length;
    expect(members.find((member) => member.member === pool.member)?.holds).toBe(holds);
    for (const { slot, holds: by } of model.leases) expect(pool.isHeld(slot.id)).toBe(by[thread]! > 0);
    for (const slot of model.over) expect(pool.isHeld(slot.id)).toBe(false);
  });
}

function command(name: string, run: (model: Model, real: Real) => void): Command {
  return {
    check: () => true,
    run(model, real) {
      run(model, real);
      settle(model, real);
    },
    toString: () => name,
  };
}

/** What a thread calls a lease by: its own object is over for good with its hold, also when the lease comes back. */
function slotFor(t: number, lease: Lease, call: (over: LeaseData) => void): LeaseData {
  if (t !== lease.maker || !lease.isOver) return lease.slot;
  expect(outcome(() => call(lease.slot))).toMatch(/^ERR_(DOUBLE_RELEASE|FOREIGN_RELEASE|USE_AFTER_RELEASE)$/);
  const { id, index, pool } = lease.slot;
  return { id, index, pool };
}

const end = (model: Model, lease: Lease): void => {
  lease.isOver ||= lease.holds[lease.maker] === 0;
  if (lease.holds.some((n) => n > 0)) return;
  model.leases = model.leases.filter((other) => other !== lease);
  model.over = [...model.over, lease.slot].slice(-8);
};

const thread = fc.nat({ max: THREADS - 1 });
const pick = fc.nat({ max: 7 });

const commands = [
  thread.map((t) =>
    command(`acquire(${t})`, (model, { pools }) => {
      const slot = pools[t]!.tryAcquire();
      expect(slot === undefined).toBe(model.leases.length === model.count);
      if (slot === undefined) return;
      expect(model.leases.map((lease) => lease.slot.index)).not.toContain(slot.index);
      model.leases.push({
        slot,
        maker: t,
        isOver: false,
        holds: Array.from({ length: THREADS }, (_, i) => (i === t ? 1 : 0)),
      });
    }),
  ),
  fc.tuple(thread, pick).map(([t, n]) =>
    command(`release(${t}, ${n})`, (model, { pools }) => {
      const lease = model.leases[n];
      if (lease === undefined) return;
      const mine = lease.holds[t]! > 0;
      const slot = slotFor(t, lease, (over) => pools[t]!.release(over));
      const code = outcome(() => pools[t]!.release(slot));
      if (mine) {
        expect(code).toBe("ok");
        lease.holds[t]!--;
        end(model, lease);
      } else expect(["ERR_FOREIGN_RELEASE", "ERR_DOUBLE_RELEASE"]).toContain(code);
    }),
  ),
  fc.tuple(thread, pick).map(([t, n]) =>
    command(`retain(${t}, ${n})`, (model, { pools }) => {
      const lease = model.leases[n];
      if (lease === undefined) return;
      pools[t]!.retain(slotFor(t, lease, (over) => pools[t]!.retain(over)));
      lease.holds[t]!++;
    }),
  ),
  fc.tuple(thread, pick).map(([t, n]) =>
    command(`old lease(${t}, ${n})`, (model, { pools }) => {
      const slot = model.over[n];
      if (slot === undefined) return;
      const pool = pools[t]!;
      const codes = [() => pool.release(slot), () => pool.bytes(slot), () => pool.retain(slot)].map(outcome);
      expect(codes).toEqual(["ERR_DOUBLE_RELEASE", "ERR_USE_AFTER_RELEASE", "ERR_USE_AFTER_RELEASE"]);
    }),
  ),
  fc.tuple(thread, thread, pick).map(([from, to, n]) =>
    command(`send(${from}, ${to}, ${n})`, (model, { pools }) => {
      const lease = model.leases[n];
      if (lease === undefined || from === to) return;
      const [giver, taker] = [pools[from]!, pools[to]!];
      const membership = { member: taker.member, status: taker.core.status };
      let posted: unknown;
      const code = outcome(() =>
        sendLease(giver, lease.slot.id, membership, () => {
          posted = lease.slot.id;
        }),
      );
      if (lease.holds[from] === 0) expect(["ERR_FOREIGN_RELEASE", "ERR_USE_AFTER_RELEASE"]).toContain(code);
      else if (lease.holds[to]! > 0) expect(code).toBe("ERR_ALREADY_EXISTS");
      else {
        expect(code).toBe("ok");
        const back = { member: giver.member, status: giver.core.status };
        expect(receiveLease(taker, posted, back)).toEqual(lease.slot);
        lease.holds[from]!--;
        lease.holds[to]!++;
        end(model, lease);
      }
    }),
  ),
  thread.map((t) =>
    command(`die(${t})`, (model, real) => {
      const other = real.pools[(t + 1) % THREADS]!;
      const dead = real.pools[t]!;
      const alone = model.leases.filter((lease) => lease.holds.every((n, i) => n > 0 === (i === t)));
      expect(other.reclaim(dead.member)).toBe(alone.length);
      for (const lease of [...model.leases]) {
        lease.holds[t] = 0;
        if (lease.maker === t) lease.maker = -1;
        end(model, lease);
      }
      expect(outcome(() => dead.tryAcquire() ?? dead.releaseId(0))).toBe("ERR_POOL_DEAD");
      real.pools[t] = SharedPool.attach(other.handle);
    }),
  ),
];

it.each([
  { count: 1, zero: "fresh" },
  { count: 5, zero: "release" },
  { count: 300, zero: "fresh" },
] as const)("%o: what the model says", REPEATED, ({ count, zero }) => {
  const numRuns = Math.ceil(times(50, 1000, "MILLPOND_WALKS") / (count > 100 ? 10 : 1));
  fc.assert(
    fc.property(fc.commands(commands, { maxCommands: 60, size: "max" }), (list) => {
      fc.modelRun(() => {
        const pool = SharedPool.create({ size: 4, count, zero });
        const pools = [pool, ...Array.from({ length: THREADS - 1 }, () => SharedPool.attach(pool.handle))];
        return { model: { count, leases: [], over: [] }, real: { pools } };
      }, list);
    }),
    { numRuns, seed: seedOf("shared-pool model") },
  );
});
