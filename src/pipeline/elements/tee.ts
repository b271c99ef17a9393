/**
 * Tee: every buffer to every branch, shared, not copied. No stage behind it may write; negotiation tells them before
 * the first buffer comes. After GStreamer's tee and DirectShow's infinite tee.
 *
 * Invariants: every branch has a reference of its own. A branch that fails does not keep a buffer from the others; its
 * error is thrown when all of them are through.
 *
 * Complexity: O(branches) for each buffer.
 */

import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../media/buffer/release.ts";
import { type AllocationParams, DEFAULT_PARAMS } from "../../memory/params.ts";
import { isMillpondError } from "../../util/errors.ts";
import { frozenData } from "../../util/same-data.ts";
import { wrongType } from "../../util/validate.ts";
import { Element, promiseIn, unreadableError } from "../base/element.ts";
import type { InputPad, Maybe, OutputPad } from "../base/pad.ts";
import type { Caps } from "../caps.ts";
import {
  type AllocationQuery,
  findMetaMerger,
  type MetaProposal,
  mergeParams,
  AllocationQuery as Query,
} from "../negotiate/allocation-query.ts";
import type { StreamFormat } from "../stream-format.ts";

/** A stage with one input and as many outputs as are linked. */
export class Tee extends Element {
  /** Its input. */
  readonly in: InputPad = this.addInput("in");

  /** Adds an output. */
  override freeOutput(): OutputPad {
    return super.freeOutput() ?? this.addOutput(`out${this.outputs.length}`);
  }

  /** One reference for each branch. The branches run side by side; the slowest one holds the source back. */
  override chain(buffer: MediaBuffer): Maybe<void> {
    const { outputs } = this;
    if (outputs.length === 1) return outputs[0]!.push(buffer);
    let waits: Promise<void>[] | undefined;
    let failure: { error: unknown } | undefined;
    for (const pad of outputs) {
      if (pad.finished) continue;
      buffer.retain();
      try {
        const pushed = pad.push(buffer);
        if (pushed !== undefined) {
          waits ??= [];
          waits.push(pushed);
        }
      } catch (error) {
        failure ??= { error };
      }
    }
    try {
      releaseOrPass(buffer);
    } catch (error) {
      failure ??= { error };
    }
    if (waits !== undefined) return settleAll(waits, failure);
    if (failure !== undefined) throw failure.error;
    return undefined;
  }

  /** To every branch. */
  override formatChanged(format: StreamFormat): Maybe<void> {
    return this.#each((pad) => pad.setFormat(format));
  }

  /** To every branch. */
  override onEos(): Maybe<void> {
    return this.#each((pad) => pad.end());
  }

  #each(what: (pad: OutputPad) => Maybe<void>): Maybe<void> {
    const waits: Promise<void>[] = [];
    let failure: { error: unknown } | undefined;
    for (const pad of this.outputs) {
      try {
        const done = what(pad);
        if (done !== undefined) waits.push(done);
      } catch (error) {
        failure ??= { error };
      }
    }
    return settleAll(waits, failure);
  }

  /** What all branches take. */
  override acceptedCaps(pad: InputPad): Caps {
    let caps = pad.caps;
    for (const out of this.outputs) caps = caps.intersect(out.peerCaps());
    return caps;
  }

  /** With two branches or more no stage has a buffer alone. */
  override sharesOutput(): boolean {
    return this.outputs.length > 1 || this.in.isShared;
  }

  /**
   * Asks every branch, without asking for pools, and merges: the largest alignment, prefix, padding and size; no flags;
   * metas that all understand. Counts are added, not the largest taken as in the reference: a branch may keep an old
   * buffer while another keeps new ones, and then the largest starves. One more when several branches hold, so that a
   * slow one does not stop the others. What is behind a place where branches meet again counts once. A branch that does
   * not answer requires nothing.
   */
  override proposeAllocation(query: AllocationQuery): Maybe<boolean> {
    if (this.outputs.length === 1) return this.outputs[0]!.query(query);
    return this.#merge(query);
  }

  async #merge(query: AllocationQuery): Promise<boolean> {
    const answers: AllocationQuery[] = [];
    let silent = false;
    for (const pad of this.outputs) {
      const one = new Query(query.format, { needPool: false, readOnly: true });
      one.known = query.known;
      if (await pad.query(one)) answers.push(one);
      else silent = true;
    }
    query.answering = this.name;
    let params = DEFAULT_PARAMS;
    let wantsParams = false;
    let size = 0;
    let isHeld = 0;
    for (const answer of answers) {
      answer.withholdPools(`${this.name} has several branches`);
      // Where branches meet again, both have heard it.
      for (const note of answer.notes) if (!query.notes.includes(note)) query.note(note);
      for (const entry of answer.params) {
        // Flags are what one consumer asks for its own bytes; no other branch asked for them.
        params = mergeParams(params, { ...entry.params, flags: 0 });
        wantsParams = true;
      }
      const [first] = answer.pools;
      if (first === undefined) continue;
      size = Math.max(size, first.size);
      if (first.min > 0) isHeld++;
      query.adopt(answer);
    }
    if (isHeld > 1) query.raise(1, "so that a slow branch does not stop the others");
    if (size > 0) query.enlarge(size);
    if (wantsParams) query.addParams(null, params satisfies AllocationParams);
    // A branch that is silent understands no meta.
    if (!silent) addMetas(query, answers, this);
    return true;
  }

  /** `2 branches, shared`. */
  override get role(): string {
    return this.outputs.length > 1 ? `${this.outputs.length} branches share each buffer` : "one branch";
  }
}

async function settleAll(waits: Promise<void>[], failure: { error: unknown } | undefined): Promise<void> {
  // All of them, so that no branch is still at work with a buffer when the error is already being handled.
  for (const result of await Promise.allSettled(waits)) {
    if (result.status === "rejected") failure ??= { error: result.reason };
  }
  if (failure !== undefined) throw failure.error;
}

/** Metas that every branch understands: without params, or with params that can be merged. */
function addMetas(query: AllocationQuery, answers: readonly AllocationQuery[], tee: Tee): void {
  const [first, ...others] = answers;
  for (const meta of first?.metas ?? []) {
    let params: MetaProposal["params"] | undefined = meta.params;
    for (const other of others) {
      const twin = other.metas[other.findMeta(meta.api)];
      if (twin === undefined) {
        query.note(`meta "${meta.api}" of ${meta.by} is dropped: not every branch understands it`);
        params = undefined;
      } else if (params !== undefined) params = mergeMeta(meta.api, params, twin.params, tee);
      if (params === undefined) break;
    }
    if (params !== undefined) query.addMeta(meta.api, params);
  }
}

function mergeMeta(
  api: string,
  a: MetaProposal["params"],
  b: MetaProposal["params"],
  tee: Tee,
): MetaProposal["params"] | undefined {
  if (a === null && b === null) return null;
  const merged: unknown = findMetaMerger(api)?.(a, b);
  if (merged === undefined || merged === null) return merged;
  const name = `what the merger of meta "${api}" answered`;
  const work = promiseIn(name, merged);
  if (work !== undefined) tee.callHook("merge", () => work);
  else if (typeof merged === "object" && !Array.isArray(merged)) return readParams(name, merged);
  throw wrongType(name, "an object of data, null or undefined", merged);
}

/** A copy, since what is read here once may throw the next time. */
function readParams(name: string, params: object): MetaProposal["params"] {
  try {
    return frozenData(name, params) as MetaProposal["params"];
  } catch (error) {
    throw isMillpondError(error) ? error : unreadableError(name, params, error);
  }
}
