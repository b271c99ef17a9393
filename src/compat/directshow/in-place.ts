/**
 * An in-place filter (CTransInPlaceFilter): the same allocator on both sides where that may be, so that data is changed
 * without a copy; two allocators and a copy a sample where upstream's samples are read-only.
 */
import type { ALLOCATOR_PROPERTIES, IMemAllocator } from "./allocator.ts";
import { type FieldType, HResultError, readOptions } from "./codes.ts";
import {
  BaseInputPin,
  BaseOutputPin,
  type Detached,
  detach,
  type IMemInputPin,
  remember,
  undoSizingOf,
} from "./pins.ts";
import type { IMediaSample } from "./sample.ts";

/** How an in-place filter works. */
export interface InPlaceOptions {
  /** Looks at a sample, or changes it. */
  transform(sample: IMediaSample): void | Promise<void>;
  /** Whether it changes data. Default true. */
  modifiesData?: boolean;
}

const OPTIONS: Readonly<Record<keyof InPlaceOptions, FieldType>> = { transform: "function", modifiesData: "boolean" };

/**
 * A filter with one input and one output. They may be connected in either order: when the output is connected last, the
 * input is connected again, so that upstream hears of what is downstream.
 */
export class TransInPlaceFilter {
  /** Its input. */
  readonly input: BaseInputPin;
  /** Its output. */
  readonly output: BaseOutputPin;
  readonly #options: InPlaceOptions;

  /** Unconnected and stopped. Throws `E_POINTER` without a `transform`. */
  constructor(options: InPlaceOptions) {
    const why = "which looks at samples or changes them";
    const own = readOptions("an in-place filter", options, OPTIONS, "transform", why);
    this.#options = own;
    const filter = this;
    this.output = new (class extends BaseOutputPin {
      /** As {@link BaseOutputPin.connect}; then connects the input again where it is connected. */
      override connect(input: IMemInputPin): void {
        const downstream = remember(input);
        let before: Detached | undefined;
        try {
          super.connect(input);
          const upstream = filter.input.connectedTo;
          if (upstream !== null) {
            before = detach(upstream);
            upstream.connect(filter.input);
          }
        } catch (error) {
          if (before === undefined) {
            downstream.forget();
            throw error;
          }
          // As it was: the output unconnected, the input connected without regard to what is downstream. Nobody is
          // asked again, since a pin that has refused once may do so twice.
          undoSizingOf(this);
          this.disconnect();
          downstream.restore();
          before.restore();
          throw error;
        }
        downstream.forget();
        before?.drop();
      }
    })({ decideBufferSize: (allocator, request) => this.#decide(allocator, request) });
    this.input = new (class extends BaseInputPin {
      /** What is downstream, passed up. */
      override GetAllocator(): IMemAllocator {
        return filter.output.connectedTo?.GetAllocator() ?? super.GetAllocator();
      }
      override GetAllocatorRequirements(): ALLOCATOR_PROPERTIES {
        return filter.output.connectedTo?.GetAllocatorRequirements() ?? super.GetAllocatorRequirements();
      }
    })({
      receive: (sample) => this.#receive(sample),
      acceptAllocator: (allocator, readOnly) => this.#accept(allocator, readOnly),
      outputs: () => [this.output],
    });
  }

  /** True when every sample is copied: upstream's are read-only, and this filter writes. */
  get copies(): boolean {
    return this.output.connectedTo !== null && this.input.allocator !== this.output.allocator;
  }

  /** In place only upstream knows the sizes; until it is connected, one buffer of what downstream asks for will do. */
  #decide(allocator: IMemAllocator, request: ALLOCATOR_PROPERTIES): void {
    const { input } = this;
    const upstream = input.connectedTo === null ? undefined : input.allocator?.GetProperties();
    request.cBuffers = Math.max(1, request.cBuffers, upstream?.cBuffers ?? 0);
    request.cbBuffer = Math.max(1, request.cbBuffer, upstream?.cbBuffer ?? 0);
    request.cbAlign = Math.max(1, request.cbAlign, upstream?.cbAlign ?? 0);
    assertHolds(allocator.SetProperties(request), request, "the allocator of the output");
  }

  #accept(allocator: IMemAllocator, readOnly: boolean): void {
    const { output } = this;
    const downstream = output.connectedTo;
    if (downstream === null) return;
    if (!readOnly || this.#options.modifiesData === false) {
      downstream.NotifyAllocator(allocator, readOnly);
      output.setAllocator(allocator);
      return;
    }
    if (allocator === output.allocator) {
      throw new HResultError("E_FAIL", "samples that are read-only cannot be changed in the allocator they came from");
    }
    const own = output.allocator!;
    const before = own.GetProperties();
    const wanted = allocator.GetProperties();
    try {
      assertHolds(own.SetProperties(wanted), wanted, "the allocator downstream");
      downstream.NotifyAllocator(own, false);
    } catch (error) {
      if (before.cbAlign > 0) own.SetProperties(before);
      throw error;
    }
  }

  async #receive(sample: IMediaSample): Promise<number> {
    if (!this.copies) {
      await this.#options.transform(sample);
      return this.output.deliver(sample);
    }
    const copy = await this.#buffer();
    try {
      fill(copy, sample);
      await this.#options.transform(copy);
      return await this.output.deliver(copy);
    } finally {
      copy.Release();
    }
  }

  async #buffer(): Promise<IMediaSample> {
    try {
      return await this.output.getDeliveryBuffer();
    } catch (cause) {
      throw new HResultError("E_UNEXPECTED", "the in-place filter has no buffer for its copy", { cause });
    }
  }

  /** What this filter is. */
  toString(): string {
    return `in-place filter (${this.input}, ${this.output}${this.copies ? ", copies" : ""})`;
  }
}

/** Data, length, times, flags, type and stream of a sample. Throws `VFW_E_BUFFER_OVERFLOW`. */
function fill(copy: IMediaSample, sample: IMediaSample): void {
  const { lActual, dwSampleFlags, dwTypeSpecificFlags, dwStreamId, tStart, tStop, pMediaType } = sample.GetProperties();
  if (lActual > copy.GetSize()) {
    const text = `the copy's buffer has ${copy.GetSize()} bytes, and the sample ${lActual}`;
    throw new HResultError("VFW_E_BUFFER_OVERFLOW", text);
  }
  copy.GetPointer().set(sample.GetPointer().subarray(0, lActual));
  copy.SetProperties({ lActual, dwSampleFlags, dwTypeSpecificFlags, dwStreamId, tStart, tStop, pMediaType });
  const { offset, offsetEnd } = sample.buffer;
  if (offset !== undefined) copy.SetMediaTime(offset, offsetEnd ?? offset);
}

/** Throws `E_FAIL` where an allocator does not give what was asked for. */
function assertHolds(actual: ALLOCATOR_PROPERTIES, wanted: ALLOCATOR_PROPERTIES, what: string): void {
  for (const field of ["cBuffers", "cbBuffer", "cbAlign"] as const) {
    if (actual[field] >= wanted[field]) continue;
    throw new HResultError("E_FAIL", `${what} gives ${field} ${actual[field]} where ${wanted[field]} are needed`);
  }
}
