/**
 * DirectShow's pins: an output decides whose allocator is used, an input may ask, offer and veto. The decision is the
 * core's ({@link selectFirst}): candidates in order, and a result for each, which nobody could see there.
 */
import { type Candidate, type CandidateResult, selectFirst } from "../../pipeline/negotiate/pool.ts";
import { show } from "../../util/validate.ts";
import { type ALLOCATOR_PROPERTIES, type IMemAllocator, MemAllocator } from "./allocator.ts";
import { checkFields, checkHresult, type FieldType, HRESULTS, HResultError, readOptions, released } from "./codes.ts";
import { type IMediaSample, isSample, referencesOf } from "./sample.ts";
import { addRef, type IUnknown, queryInterface, ReferenceCount, release } from "./unknown.ts";

/** What an output pin may ask of an input pin. `Promise` stands where the original blocks the thread. */
export interface IMemInputPin extends IUnknown {
  /**
   * The allocator that it would like, the selected one after the selection; with a reference for the caller. Throws
   * `VFW_E_NO_ALLOCATOR`: none.
   */
  GetAllocator(): IMemAllocator;
  /** The decision. Throws to refuse it. */
  NotifyAllocator(allocator: IMemAllocator, readOnly: boolean): void;
  /** What it needs; zeros: does not care. Throws `E_NOTIMPL` when it has no opinion. */
  GetAllocatorRequirements(): ALLOCATOR_PROPERTIES;
  /**
   * One sample, valid during the call: AddRef to keep it. `S_OK`: go on; `S_FALSE`: stop sending, which is not an
   * error.
   */
  Receive(sample: IMediaSample): Promise<number>;
  /** Several samples; how many were accepted. Fewer than there were: stop sending. */
  ReceiveMultiple(samples: readonly IMediaSample[]): Promise<number>;
  /** Whether Receive may wait. */
  ReceiveCanBlock(): boolean;
}

/** How a {@link BaseInputPin} behaves. */
export interface InputPinOptions {
  /**
   * Takes a sample; `S_OK`, `S_FALSE`, or a failure, which `Receive` throws. That, and what it throws, is fatal until
   * the pin is stopped.
   */
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

const INPUT_OPTIONS: Readonly<Record<keyof InputPinOptions, FieldType>> = {
  receive: "function",
  requirements: "object",
  createAllocator: "function",
  acceptAllocator: "function",
  canBlock: "boolean",
  outputs: "function",
};

/** A copy of what a pin requires, each field read once. Throws `E_INVALIDARG`. */
function checkRequirements(given: Partial<ALLOCATOR_PROPERTIES>): Partial<ALLOCATOR_PROPERTIES> {
  checkFields("requirements", given, ["cBuffers", "cbBuffer", "cbAlign", "cbPrefix"]);
  const own = { ...given };
  for (const [name, value] of Object.entries(own)) {
    if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) continue;
    const text = `requirements.${name} must be a 32-bit whole number, but it is ${show(value)}`;
    throw new HResultError("E_INVALIDARG", text);
  }
  return own;
}

/** One side of a connection: its allocator, and who is at the other end. */
interface InputEnd {
  readonly allocator: IMemAllocator | null;
  readonly readOnly: boolean;
  readonly peer: BaseOutputPin | null;
}

let endOf: (pin: BaseInputPin) => InputEnd;
let setEnd: (pin: BaseInputPin, end: InputEnd) => void;
let setConnecting: (pin: BaseInputPin, on: boolean) => void;
let isConnecting: (pin: BaseInputPin) => boolean;
let outputsOf: (pin: BaseInputPin) => readonly BaseOutputPin[];

const PLAIN_PROPERTY = { configurable: true, enumerable: true, writable: true };

const NO_END: InputEnd = { allocator: null, readOnly: false, peer: null };

/** An input pin. `new` gives one reference; the last `Release()` lets its allocator go. */
export class BaseInputPin implements IMemInputPin {
  readonly #options: InputPinOptions;
  readonly #references = new ReferenceCount(this, () => this.disconnect());
  #allocator: IMemAllocator | null = null;
  #readOnly = false;
  #peer: BaseOutputPin | null = null;
  #isStopped = true;
  #isFlushing = false;
  #hasFailed = false;
  #isConnecting = false;

  /** A stopped, unconnected pin. Throws `E_POINTER` without a `receive`. */
  constructor(options: InputPinOptions) {
    const own = readOptions("an input pin", options, INPUT_OPTIONS, "receive", "which takes its samples");
    if (own.requirements !== undefined) own.requirements = checkRequirements(own.requirements);
    this.#options = own;
  }

  static {
    endOf = (pin) => ({ allocator: pin.#allocator, readOnly: pin.#readOnly, peer: pin.#peer });
    setEnd = (pin, { allocator, readOnly, peer }) => {
      pin.#allocator = allocator;
      pin.#readOnly = readOnly;
      pin.#peer = peer;
    };
    isConnecting = (pin) => pin.#isConnecting;
    setConnecting = (pin, on) => {
      pin.#isConnecting = on;
    };
    outputsOf = (pin) => pin.#options.outputs?.call(pin.#options) ?? [];
  }

  /** The selected allocator, or the one that was offered. */
  get allocator(): IMemAllocator | null {
    return this.#allocator;
  }

  /** Whether samples may only be looked at. A property of the connection, not of the samples. */
  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** The output pin that it is connected to. */
  get connectedTo(): BaseOutputPin | null {
    return this.#peer;
  }

  /** Interfaces: IUnknown, IMemInputPin. Throws `E_NOINTERFACE`, `E_POINTER`. */
  QueryInterface(iid: string): this {
    return queryInterface(this, iid, ["IMemInputPin"]);
  }

  /** One reference more; returns the count. Throws `ERR_USE_AFTER_RELEASE`. */
  AddRef(): number {
    return this.#references.add();
  }

  /** One reference less; the last one disconnects. Returns the count. Throws `ERR_DOUBLE_RELEASE`. */
  Release(): number {
    return this.#references.drop();
  }

  /**
   * Made when it is first asked for, and the same on every call, with a reference for the caller. Throws
   * `VFW_E_NO_ALLOCATOR`.
   */
  GetAllocator(): IMemAllocator {
    this.#references.assert("GetAllocator");
    if (this.#allocator === null) {
      const { createAllocator } = this.#options;
      if (createAllocator === undefined) this.#allocator = new MemAllocator();
      else {
        const made = createAllocator.call(this.#options);
        if (made === null) throw new HResultError("VFW_E_NO_ALLOCATOR", "this pin offers no allocator");
        assertAllocator("createAllocator", made);
        // Its maker keeps the first reference; the pin has one of its own.
        addRef(made);
        this.#allocator = made;
      }
    }
    addRef(this.#allocator);
    return this.#allocator;
  }

  /**
   * Replaces the allocator. May be called again on a live connection. Throws `E_POINTER`, and what the pin refuses
   * with.
   */
  NotifyAllocator(allocator: IMemAllocator, readOnly: boolean): void {
    this.#references.assert("NotifyAllocator");
    assertAllocator("NotifyAllocator", allocator);
    if (typeof readOnly !== "boolean") {
      throw new HResultError(
        "E_INVALIDARG",
        `NotifyAllocator(): readOnly must be a boolean, but it is ${show(readOnly)}`,
      );
    }
    this.#options.acceptAllocator?.(allocator, readOnly);
    const old = this.#allocator;
    addRef(allocator);
    this.#allocator = allocator;
    this.#readOnly = readOnly;
    // Last: its Release() may call back.
    release(old);
  }

  /** Zeros where the pin does not care. Throws `E_NOTIMPL` when it has no requirements at all. */
  GetAllocatorRequirements(): ALLOCATOR_PROPERTIES {
    const { requirements } = this.#options;
    if (requirements === undefined) throw new HResultError("E_NOTIMPL", "this pin has no requirements");
    return { cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0, ...requirements };
  }

  /** Starts to receive. */
  active(): void {
    this.#references.assert("active");
    this.#isStopped = false;
  }

  /** Stops: decommits the allocator, which ends a producer's wait in GetBuffer. Throws `VFW_E_NO_ALLOCATOR`. */
  inactive(): void {
    if (this.#allocator === null) {
      throw new HResultError(
        "VFW_E_NO_ALLOCATOR",
        "inactive(): no allocator was agreed; connect() an output pin to this one",
      );
    }
    this.#isStopped = true;
    this.#isFlushing = false;
    this.#hasFailed = false;
    this.#allocator.Decommit();
  }

  /** Refuses samples (`S_FALSE`) until {@link endFlush}. */
  beginFlush(): void {
    this.#references.assert("beginFlush");
    this.#isFlushing = true;
  }

  /** Takes samples again; a fatal error is forgotten. */
  endFlush(): void {
    this.#references.assert("endFlush");
    this.#isFlushing = false;
    this.#hasFailed = false;
  }

  /**
   * Rejects with `E_POINTER`, `VFW_E_WRONG_STATE` (stopped), `VFW_E_RUNTIME_ERROR` (failed before), in this order with
   * flushing between.
   */
  async Receive(sample: IMediaSample): Promise<number> {
    this.#references.assert("Receive");
    if (!isSample(sample)) throw new HResultError("E_POINTER", "Receive(): the sample is missing");
    if (referencesOf(sample) === 0) throw released("Receive", String(sample));
    if (this.#isStopped) throw new HResultError("VFW_E_WRONG_STATE", "the pin is stopped; active() it first");
    if (this.#isFlushing) return HRESULTS.S_FALSE;
    if (this.#hasFailed) {
      throw new HResultError(
        "VFW_E_RUNTIME_ERROR",
        "the pin has failed; inactive(), or beginFlush() and endFlush(), first",
      );
    }
    try {
      return checkHresult("receive()", await this.#options.receive(sample));
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
  }

  /**
   * One after another, up to the first that is not `S_OK`; the caller still owns all of them. Resolves with the number
   * that was accepted; rejects as {@link Receive}, with that number as `accepted` on the error.
   */
  async ReceiveMultiple(samples: readonly IMediaSample[]): Promise<number> {
    this.#references.assert("ReceiveMultiple");
    if (!Array.isArray(samples)) throw new HResultError("E_POINTER", "ReceiveMultiple(): the samples are missing");
    let accepted = 0;
    for (const sample of samples) {
      try {
        if ((await this.Receive(sample)) !== HRESULTS.S_OK) break;
      } catch (error) {
        // A frozen one stays as it is.
        if (error instanceof Error) Reflect.defineProperty(error, "accepted", { ...PLAIN_PROPERTY, value: accepted });
        throw error;
      }
      accepted++;
    }
    return accepted;
  }

  /** False only when the pin says so, or when there is a connected output and none of the connected ones may wait. */
  ReceiveCanBlock(): boolean {
    const { canBlock } = this.#options;
    if (canBlock !== undefined) return canBlock;
    const connected = outputsOf(this).filter((pin) => pin.connectedTo !== null);
    return connected.length === 0 || connected.some((pin) => pin.connectedTo!.ReceiveCanBlock());
  }

  /** Ends the connection: decommits, and lets the allocator go. */
  disconnect(): void {
    const allocator = this.#allocator;
    setEnd(this, NO_END);
    letGo(allocator);
  }

  /** What this pin is, and whom it is connected to. */
  toString(): string {
    return `input pin (${this.#peer === null ? "not connected" : "connected"}, ${this.#allocator ?? "no allocator"})`;
  }
}

/** How a {@link BaseOutputPin} decides. */
export interface OutputPinOptions {
  /**
   * Sets the properties of a candidate: starts from the request (what the input asked for, changed by earlier tries),
   * calls SetProperties, compares the actual result with its least, and throws when that is not met.
   */
  decideBufferSize(allocator: IMemAllocator, request: ALLOCATOR_PROPERTIES): void;
  /** Makes an allocator of its own. Default: a {@link MemAllocator}. */
  createAllocator?(): IMemAllocator;
  /** Announced to the input: look, but do not write. Tees say true. Default false. */
  readOnly?: boolean;
  /** Does not consider the input's allocator: what tees do, whose allocator is their input's. Default false. */
  ownOnly?: boolean;
}

const OUTPUT_OPTIONS: Readonly<Record<keyof OutputPinOptions, FieldType>> = {
  decideBufferSize: "function",
  createAllocator: "function",
  readOnly: "boolean",
  ownOnly: "boolean",
};

let detachOutput: (pin: BaseOutputPin) => Detached;
let rememberOutput: (pin: BaseOutputPin) => Remembered | undefined;
let undoSizing: (pin: BaseOutputPin) => void;

/** A connection that is laid aside: both ends are unconnected, and nothing of it has been released or decommitted. */
export interface Detached {
  /** Connects both ends again as they were; no callback is asked. */
  restore(): void;
  /** Ends it for good, as `disconnect()` does. */
  drop(): void;
}

/** What connections agreed on, with references of their allocators. */
interface Remembered {
  /**
   * Gives each connection that still stands its allocator back, and the allocator its properties; no callback is asked.
   */
  restore(): void;
  /** Lets the references go. */
  forget(): void;
}

/**
 * An output pin: it decides whose allocator is used, sets its properties, commits and decommits it. `new` gives one
 * reference.
 */
export class BaseOutputPin implements IUnknown {
  /** Every candidate of the last connection, and why it won or lost. */
  candidates: readonly CandidateResult[] = [];
  readonly #options: OutputPinOptions;
  readonly #references = new ReferenceCount(this, () => this.disconnect());
  #allocator: IMemAllocator | null = null;
  #connectedTo: IMemInputPin | null = null;
  #isConnecting = false;
  #undoSizing: () => void = nothing;

  static {
    detachOutput = (pin) => pin.#detach();
    rememberOutput = (pin) => pin.#remember();
    undoSizing = (pin) => pin.#undoSizing();
  }

  /** An unconnected pin. Throws `E_POINTER` without a `decideBufferSize`. */
  constructor(options: OutputPinOptions) {
    const why = "which sets an allocator's properties";
    const own = readOptions("an output pin", options, OUTPUT_OPTIONS, "decideBufferSize", why);
    this.#options = own;
  }

  /** The selected allocator. */
  get allocator(): IMemAllocator | null {
    return this.#allocator;
  }

  /** The pin it is connected to. */
  get connectedTo(): IMemInputPin | null {
    return this.#connectedTo;
  }

  /** Interfaces: IUnknown. Throws `E_NOINTERFACE`, `E_POINTER`. */
  QueryInterface(iid: string): this {
    return queryInterface(this, iid, []);
  }

  /** One reference more; returns the count. Throws `ERR_USE_AFTER_RELEASE`. */
  AddRef(): number {
    return this.#references.add();
  }

  /** One reference less; the last one disconnects. Returns the count. Throws `ERR_DOUBLE_RELEASE`. */
  Release(): number {
    return this.#references.drop();
  }

  /**
   * Decides: the input's allocator if it offers one, it can be sized and it is accepted; else one of its own. Throws
   * `VFW_E_ALREADY_CONNECTED` (either pin, also from a callback while they are being connected),
   * `VFW_E_CIRCULAR_GRAPH`, `E_POINTER`, and the error of the last candidate when none serves; neither pin keeps an
   * allocator then, and allocators have the properties they had.
   */
  connect(input: IMemInputPin): void {
    this.#references.assert("connect");
    if (typeof input?.NotifyAllocator !== "function") {
      throw new HResultError("E_POINTER", `connect() needs an input pin, not ${show(input)}`);
    }
    if (this.#connectedTo !== null) {
      throw new HResultError("VFW_E_ALREADY_CONNECTED", "this output pin is connected; disconnect() it first");
    }
    const own = input instanceof BaseInputPin ? input : undefined;
    if (own !== undefined && endOf(own).peer !== null) {
      throw new HResultError(
        "VFW_E_ALREADY_CONNECTED",
        "the input pin is connected to another one; disconnect() that first",
      );
    }
    if (this.#isConnecting || (own !== undefined && isConnecting(own))) {
      throw new HResultError("VFW_E_ALREADY_CONNECTED", "connect() cannot be called while the pin is being connected");
    }
    if (pinsBehind(input).has(this)) {
      throw new HResultError("VFW_E_CIRCULAR_GRAPH", "connect(): the output pin is downstream of that input pin");
    }
    // Callbacks may release the pins: they are held until it is decided.
    addRef(input);
    this.#references.add();
    this.#isConnecting = true;
    if (own !== undefined) setConnecting(own, true);
    let isConnected = false;
    try {
      const { selected, results, error } = selectFirst(this.#candidates(input));
      this.candidates = results;
      if (selected === undefined) {
        own?.disconnect();
        throw error;
      }
      this.#allocator = selected;
      this.#connectedTo = input;
      if (own !== undefined) setEnd(own, { ...endOf(own), peer: this });
      isConnected = true;
    } finally {
      this.#isConnecting = false;
      if (own !== undefined) setConnecting(own, false);
      if (!isConnected) release(input);
      this.#references.drop();
    }
  }

  #remember(): Remembered | undefined {
    const [allocator, input] = [this.#allocator, this.#connectedTo];
    if (allocator === null || !(input instanceof BaseInputPin) || endOf(input).peer !== this) return undefined;
    const end = endOf(input);
    const undo = sizingOf(allocator);
    addRef(allocator);
    if (end.allocator !== null) addRef(end.allocator);
    const forget = (): void => {
      release(allocator);
      release(end.allocator);
    };
    const restore = (): void => {
      if (this.#connectedTo !== input || endOf(input).peer !== this) {
        forget();
        return;
      }
      const now = [this.#allocator, endOf(input).allocator];
      this.#allocator = allocator;
      setEnd(input, end);
      undo();
      for (const one of now) release(one);
    };
    return { restore, forget };
  }

  #detach(): Detached {
    const [allocator, input] = [this.#allocator, this.#connectedTo];
    const own = input instanceof BaseInputPin && endOf(input).peer === this ? input : undefined;
    const end = own === undefined ? NO_END : endOf(own);
    this.#allocator = null;
    this.#connectedTo = null;
    if (own !== undefined) setEnd(own, NO_END);
    return {
      restore: () => {
        this.#allocator = allocator;
        this.#connectedTo = input;
        if (own !== undefined) setEnd(own, end);
      },
      drop: () => {
        try {
          letGo(allocator);
        } finally {
          try {
            letGo(end.allocator);
          } finally {
            release(input);
          }
        }
      },
    };
  }

  #candidates(input: IMemInputPin): Candidate<IMemAllocator>[] {
    const { readOnly = false, ownOnly = false } = this.#options;
    const request: ALLOCATOR_PROPERTIES = { cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0 };
    try {
      Object.assign(request, checkRequirements(input.GetAllocatorRequirements()));
    } catch {
      // No opinion is the usual answer; one that cannot be read is none.
    }
    if (request.cbAlign === 0) request.cbAlign = 1;
    const candidate = (by: string, get: () => IMemAllocator): Candidate<IMemAllocator> => ({
      by,
      what: `the ${by} pin's allocator`,
      why: "it could be sized, and was accepted",
      take: () => {
        // With a reference, which the pin keeps or gives back.
        const allocator = get();
        const undo = sizingOf(allocator);
        try {
          this.#options.decideBufferSize(allocator, request);
          input.NotifyAllocator(allocator, readOnly);
          this.#undoSizing = undo;
          return allocator;
        } catch (error) {
          undo();
          release(allocator);
          throw error;
        }
      },
    });
    const own = candidate("output", () => this.#createAllocator());
    return ownOnly ? [own] : [candidate("input", () => offerOf(input)), own];
  }

  #createAllocator(): IMemAllocator {
    const { createAllocator } = this.#options;
    if (createAllocator === undefined) return new MemAllocator();
    const made = createAllocator.call(this.#options);
    assertAllocator("createAllocator", made);
    addRef(made);
    return made;
  }

  /**
   * Takes another allocator for the present connection, as an in-place filter does when its input is notified.
   * Throws `E_POINTER`, `VFW_E_NOT_CONNECTED`.
   */
  setAllocator(allocator: IMemAllocator): void {
    assertAllocator("setAllocator", allocator);
    if (this.#connectedTo === null)
      throw new HResultError("VFW_E_NOT_CONNECTED", "setAllocator(): connect() the pin first");
    const old = this.#allocator;
    addRef(allocator);
    this.#allocator = allocator;
    // Last: its Release() may call back.
    release(old);
  }

  /** Ends the connection: both sides decommit and let the allocator go. Unconnected: nothing. */
  disconnect(): void {
    this.#detach().drop();
  }

  /** Starts: commits the allocator. Throws `VFW_E_NO_ALLOCATOR`, and what Commit throws. */
  active(): void {
    this.#agreed().Commit();
  }

  /**
   * Stops: decommits the allocator, for every connection that uses it (commits are not counted). Throws
   * `VFW_E_NO_ALLOCATOR`.
   */
  inactive(): void {
    this.#agreed().Decommit();
  }

  #agreed(): IMemAllocator {
    if (this.#allocator === null)
      throw new HResultError("VFW_E_NO_ALLOCATOR", "no allocator was agreed; connect() first");
    return this.#allocator;
  }

  /** A buffer to fill. Rejects with `E_NOINTERFACE` without an allocator, and as `GetBuffer` does. */
  async getDeliveryBuffer(start?: bigint | null, end?: bigint | null, flags = 0): Promise<IMediaSample> {
    if (this.#allocator === null) {
      throw new HResultError(
        "E_NOINTERFACE",
        "getDeliveryBuffer(): there is no allocator to get a buffer from; connect() first",
      );
    }
    return this.#allocator.GetBuffer(start, end, flags);
  }

  /**
   * Hands a sample to the input, which may use it during the call: the caller releases its reference afterwards.
   * Rejects with `VFW_E_NOT_CONNECTED`, as the input's Receive does, and with `E_UNEXPECTED` when that answers no
   * HRESULT.
   */
  async deliver(sample: IMediaSample): Promise<number> {
    if (this.#connectedTo === null) throw new HResultError("VFW_E_NOT_CONNECTED", "deliver(): connect() the pin first");
    return checkHresult("Receive()", await this.#connectedTo.Receive(sample));
  }

  /** What this pin is, and whom it is connected to. */
  toString(): string {
    return `output pin (${this.#connectedTo === null ? "not connected" : "connected"}, ${this.#allocator ?? "no allocator"})`;
  }
}

/** Lays the connection of an output pin aside. */
export const detach: (pin: BaseOutputPin) => Detached = detachOutput;

/** Remembers all connections downstream of an input, as far as filters say what their outputs are. */
export function remember(input: IMemInputPin): Remembered {
  const all = [...pinsBehind(input)].map((pin) => rememberOutput(pin)).filter((one) => one !== undefined);
  return {
    restore: () => {
      for (const one of all) one.restore();
    },
    forget: () => {
      for (const one of all) one.forget();
    },
  };
}

/** Gives the allocator of an output pin's last connection the properties back that it had before. */
export const undoSizingOf: (pin: BaseOutputPin) => void = undoSizing;

function nothing(): void {}

/** Decommits an allocator and gives the reference back. */
function letGo(allocator: IMemAllocator | null): void {
  try {
    allocator?.Decommit();
  } finally {
    release(allocator);
  }
}

/**
 * How to give an allocator the properties back that it has now. One that was never sized has nobody who counts on them.
 */
function sizingOf(allocator: IMemAllocator): () => void {
  const before = propertiesOf(allocator);
  if (before === undefined || before.cbAlign < 1) return nothing;
  return () => {
    const now = propertiesOf(allocator);
    if (now === undefined || SIZING.every((field) => now[field] === before[field])) return;
    try {
      allocator.SetProperties(before);
    } catch {
      // It was committed meanwhile, so it is in use as it is.
    }
  };
}

const SIZING = ["cBuffers", "cbBuffer", "cbAlign", "cbPrefix"] as const;

/** Undefined where an allocator answers only once it is committed, or what is no properties. */
function propertiesOf(allocator: IMemAllocator): ALLOCATOR_PROPERTIES | undefined {
  try {
    const { cBuffers, cbBuffer, cbAlign, cbPrefix } = allocator.GetProperties();
    const known = { cBuffers, cbBuffer, cbAlign, cbPrefix };
    return Object.values(known).every(Number.isInteger) ? known : undefined;
  } catch {
    return undefined;
  }
}

/** The allocator that an input pin offers, with a reference. Throws `E_POINTER`, `VFW_E_NO_ALLOCATOR`. */
function offerOf(input: IMemInputPin): IMemAllocator {
  if (typeof input.GetAllocator !== "function") {
    throw new HResultError("E_POINTER", "the input pin has no GetAllocator()");
  }
  const offered = input.GetAllocator();
  assertAllocator("GetAllocator", offered);
  return offered;
}

/**
 * The output pins that samples which `input` receives reach, as far as filters say what their outputs are. O(pins
 * downstream).
 */
function pinsBehind(input: IMemInputPin | null, found: Set<BaseOutputPin> = new Set()): Set<BaseOutputPin> {
  if (!(input instanceof BaseInputPin)) return found;
  for (const pin of outputsOf(input)) {
    if (found.has(pin)) continue;
    found.add(pin);
    pinsBehind(pin.connectedTo, found);
  }
  return found;
}

function assertAllocator(call: string, allocator: IMemAllocator): void {
  if (typeof allocator?.GetBuffer === "function") return;
  throw new HResultError("E_POINTER", `${call}(): the allocator is missing, it is ${show(allocator)}`);
}
