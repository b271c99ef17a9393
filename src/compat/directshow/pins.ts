/**
 * DirectShow's pins: an output decides whose allocator is used, an input may ask, offer and veto. The decision is the core's
 * ({@link chooseFirst}): candidates in order, and a verdict for each, which nobody could see there.
 */
import { type Candidate, chooseFirst, type Verdict } from "../../pipeline/candidates.ts";
import { type ALLOCATOR_PROPERTIES, type IMemAllocator, MemAllocator } from "./allocator.ts";
import { HRESULTS, HResultError } from "./codes.ts";
import { type IMediaSample, MediaSample } from "./sample.ts";

/** What an output pin may ask of an input pin. `Promise` stands where the original blocks the thread. */
export interface IMemInputPin {
  /** The allocator that it would like; the selected one after the selection. Throws `VFW_E_NO_ALLOCATOR`: none. */
  GetAllocator(): IMemAllocator;
  /** The decision. Throws to refuse it. */
  NotifyAllocator(allocator: IMemAllocator, readOnly: boolean): void;
  /** What it needs; zeros: does not care. Throws `E_NOTIMPL` when it has no opinion. */
  GetAllocatorRequirements(): ALLOCATOR_PROPERTIES;
  /** One sample, borrowed: AddRef to keep it. `S_OK`: go on; `S_FALSE`: stop sending, which is no error. */
  Receive(sample: IMediaSample): Promise<number>;
  /** Several samples; how many were accepted. Fewer than there were: stop sending. */
  ReceiveMultiple(samples: readonly IMediaSample[]): Promise<number>;
  /** Whether Receive may wait. */
  ReceiveCanBlock(): boolean;
}

/** How a {@link BaseInputPin} behaves. */
export interface InputPinOptions {
  /** Takes a sample; a code, `S_OK` or `S_FALSE`. What it throws is fatal until the pin is stopped. */
  receive(sample: IMediaSample): number | Promise<number>;
  /** What it needs; absent: no opinion. */
  requirements?: Partial<ALLOCATOR_PROPERTIES>;
  /** Makes the allocator that it offers; null: it offers none. Default: a {@link MemAllocator}. */
  createAllocator?(): IMemAllocator | null;
  /** Looks at the decision; throws to refuse it. Default: accepts. */
  acceptAllocator?(allocator: IMemAllocator, readOnly: boolean): void;
  /** Whether Receive may wait. Default: as {@link outputs} say, and true without any. */
  canBlock?: boolean;
  /** The output pins of the same filter, which Receive delivers to. */
  outputs?(): readonly BaseOutputPin[];
}

/** An input pin. */
export class BaseInputPin implements IMemInputPin {
  /** The selected allocator, or the one that was offered. */
  allocator: IMemAllocator | null = null;
  /** Whether samples may only be looked at. A property of the connection, not of the samples. */
  readOnly = false;
  readonly #options: InputPinOptions;
  #isStopped = true;
  #isFlushing = false;
  #hasFailed = false;

  /** A stopped, unconnected pin. */
  constructor(options: InputPinOptions) {
    this.#options = options;
  }

  /** Made when it is first asked for, and the same on every call. Throws `VFW_E_NO_ALLOCATOR`. */
  GetAllocator(): IMemAllocator {
    if (this.allocator !== null) return this.allocator;
    const { createAllocator } = this.#options;
    const made = createAllocator === undefined ? new MemAllocator() : createAllocator.call(this.#options);
    if (made === null) throw new HResultError("VFW_E_NO_ALLOCATOR", "this pin offers no allocator");
    this.allocator = made;
    return made;
  }

  /** Replaces the allocator. May be called again on a live connection. Throws `E_POINTER`, and what the pin refuses with. */
  NotifyAllocator(allocator: IMemAllocator, readOnly: boolean): void {
    if (allocator === null || typeof allocator !== "object")
      throw new HResultError("E_POINTER", "the allocator is missing");
    this.#options.acceptAllocator?.(allocator, readOnly);
    this.allocator = allocator;
    this.readOnly = readOnly;
  }

  /** Zeros where the pin does not care. Throws `E_NOTIMPL` when it has no requirements at all. */
  GetAllocatorRequirements(): ALLOCATOR_PROPERTIES {
    const { requirements } = this.#options;
    if (requirements === undefined) throw new HResultError("E_NOTIMPL", "this pin has no requirements");
    return { cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0, ...requirements };
  }

  /** Starts to receive. */
  active(): void {
    this.#isStopped = false;
  }

  /** Stops: decommits the allocator, which ends a producer's wait in GetBuffer. Throws `VFW_E_NO_ALLOCATOR`. */
  inactive(): void {
    this.#isStopped = true;
    this.#isFlushing = false;
    this.#hasFailed = false;
    if (this.allocator === null) throw new HResultError("VFW_E_NO_ALLOCATOR", "no allocator was agreed");
    this.allocator.Decommit();
  }

  /** Refuses samples (`S_FALSE`) until {@link endFlush}. */
  beginFlush(): void {
    this.#isFlushing = true;
  }

  /** Takes samples again; a fatal error is forgotten. */
  endFlush(): void {
    this.#isFlushing = false;
    this.#hasFailed = false;
  }

  /** Rejects with `E_POINTER`, `VFW_E_WRONG_STATE` (stopped), `VFW_E_RUNTIME_ERROR` (failed before), in this order with flushing between. */
  async Receive(sample: IMediaSample): Promise<number> {
    if (!(sample instanceof MediaSample)) throw new HResultError("E_POINTER", "the sample is missing");
    if (this.#isStopped) throw new HResultError("VFW_E_WRONG_STATE", "the pin is stopped");
    if (this.#isFlushing) return HRESULTS.S_FALSE;
    if (this.#hasFailed) throw new HResultError("VFW_E_RUNTIME_ERROR", "the pin has failed; stop it, or flush, first");
    try {
      return await this.#options.receive(sample);
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
  }

  /**
   * One after another, up to the first that is not `S_OK`; the caller still owns all of them. Resolves with the number that
   * was accepted; rejects as {@link Receive}, with that number as `accepted` on the error.
   */
  async ReceiveMultiple(samples: readonly IMediaSample[]): Promise<number> {
    let accepted = 0;
    for (const sample of samples) {
      try {
        if ((await this.Receive(sample)) !== HRESULTS.S_OK) break;
      } catch (error) {
        throw error instanceof Error ? Object.assign(error, { accepted }) : error;
      }
      accepted++;
    }
    return accepted;
  }

  /** False only when the pin says so, or when there is a connected output and none of the connected ones may wait. */
  ReceiveCanBlock(): boolean {
    const { canBlock, outputs } = this.#options;
    if (canBlock !== undefined) return canBlock;
    const connected = outputs?.call(this.#options).filter((pin) => pin.connectedTo !== null) ?? [];
    return connected.length === 0 || connected.some((pin) => pin.connectedTo!.ReceiveCanBlock());
  }

  /** Ends the connection: decommits, and forgets the allocator. */
  disconnect(): void {
    this.allocator?.Decommit();
    this.allocator = null;
    this.readOnly = false;
  }
}

/** How a {@link BaseOutputPin} decides. */
export interface OutputPinOptions {
  /**
   * Sets the properties of a candidate: starts from the request (what the input asked for, changed by earlier tries), calls
   * SetProperties, compares the actual result with its least, and throws when that is not met.
   */
  decideBufferSize(allocator: IMemAllocator, request: ALLOCATOR_PROPERTIES): void;
  /** Makes an allocator of its own. Default: a {@link MemAllocator}. */
  createAllocator?(): IMemAllocator;
  /** Announced to the input: look, but do not write. Tees say true. Default false. */
  readOnly?: boolean;
  /** Does not consider the input's allocator: what tees do, whose allocator is their input's. Default false. */
  ownOnly?: boolean;
}

/** An output pin: it decides whose allocator is used, sets its properties, commits and decommits it. */
export class BaseOutputPin {
  /** The selected allocator. */
  allocator: IMemAllocator | null = null;
  /** The pin it is connected to. */
  connectedTo: IMemInputPin | null = null;
  /** Every candidate of the last connection, and why it won or lost. */
  verdicts: readonly Verdict[] = [];
  readonly #options: OutputPinOptions;

  /** An unconnected pin. */
  constructor(options: OutputPinOptions) {
    this.#options = options;
  }

  /**
   * Decides: the input's allocator if it offers one, it can be sized and it is accepted; else one of its own. Throws
   * `VFW_E_ALREADY_CONNECTED`, and the error of the last candidate when none serves.
   */
  connect(input: IMemInputPin): void {
    if (this.connectedTo !== null) throw new HResultError("VFW_E_ALREADY_CONNECTED", "disconnect() first");
    const { readOnly = false, ownOnly = false } = this.#options;
    const request: ALLOCATOR_PROPERTIES = { cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0 };
    try {
      Object.assign(request, input.GetAllocatorRequirements());
    } catch {
      // No opinion is the usual answer.
    }
    if (request.cbAlign === 0) request.cbAlign = 1;
    const candidate = (by: string, get: () => IMemAllocator): Candidate<IMemAllocator> => ({
      by,
      what: `the ${by} pin's allocator`,
      why: "it could be sized, and was accepted",
      take: () => {
        const allocator = get();
        this.#options.decideBufferSize(allocator, request);
        input.NotifyAllocator(allocator, readOnly);
        return allocator;
      },
    });
    const own = candidate("output", () => this.#options.createAllocator?.() ?? new MemAllocator());
    const candidates = ownOnly ? [own] : [candidate("input", () => input.GetAllocator()), own];
    const { chosen, verdicts, error } = chooseFirst(candidates);
    this.verdicts = verdicts;
    if (chosen === undefined) throw error;
    this.allocator = chosen;
    this.connectedTo = input;
  }

  /** Ends the connection: both sides decommit and let the allocator go. Unconnected: nothing. */
  disconnect(): void {
    const input = this.connectedTo;
    this.allocator?.Decommit();
    this.allocator = null;
    this.connectedTo = null;
    if (input instanceof BaseInputPin) input.disconnect();
  }

  /** Starts: commits the allocator. Throws `VFW_E_NO_ALLOCATOR`, and what Commit throws. */
  active(): void {
    this.#agreed().Commit();
  }

  /** Stops: decommits the allocator, for every connection that uses it (commits are not counted). Throws `VFW_E_NO_ALLOCATOR`. */
  inactive(): void {
    this.#agreed().Decommit();
  }

  #agreed(): IMemAllocator {
    if (this.allocator === null)
      throw new HResultError("VFW_E_NO_ALLOCATOR", "no allocator was agreed; connect() first");
    return this.allocator;
  }

  /** A buffer to fill. Rejects with `E_NOINTERFACE` without an allocator, and as `GetBuffer` does. */
  async getDeliveryBuffer(start?: bigint | null, end?: bigint | null, flags = 0): Promise<IMediaSample> {
    if (this.allocator === null) throw new HResultError("E_NOINTERFACE", "there is no allocator to get a buffer from");
    return this.allocator.GetBuffer(start, end, flags);
  }

  /** Hands a sample to the input, which borrows it: the caller releases its reference afterwards. Rejects with `VFW_E_NOT_CONNECTED`. */
  async deliver(sample: IMediaSample): Promise<number> {
    if (this.connectedTo === null) throw new HResultError("VFW_E_NOT_CONNECTED", "the pin is not connected");
    return this.connectedTo.Receive(sample);
  }
}
