/**
 * An in-place filter (CTransInPlaceFilter): the same allocator on both sides where that may be, so that data is changed
 * without a copy; two allocators and a copy a sample where upstream's samples are read-only.
 */
import type { ALLOCATOR_PROPERTIES, IMemAllocator } from "./allocator.ts";
import { HResultError } from "./codes.ts";
import { BaseInputPin, BaseOutputPin } from "./pins.ts";
import { type IMediaSample, MediaSample } from "./sample.ts";

/** How an in-place filter works. */
export interface InPlaceOptions {
  /** Looks at a sample, or changes it. */
  transform(sample: IMediaSample): void | Promise<void>;
  /** Whether it changes data. Default true. */
  modifiesData?: boolean;
}

/** A filter with one input and one output. Connect the output first: the input then offers what is downstream. */
export class TransInPlaceFilter {
  /** Its input. */
  readonly input: BaseInputPin;
  /** Its output. */
  readonly output: BaseOutputPin;
  readonly #options: InPlaceOptions;

  /** Unconnected and stopped. */
  constructor(options: InPlaceOptions) {
    this.#options = options;
    this.output = new BaseOutputPin({ decideBufferSize: (allocator, request) => sized(allocator, request) });
    const filter = this;
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
    return this.input.allocator !== this.output.allocator;
  }

  #accept(allocator: IMemAllocator, readOnly: boolean): void {
    const { output } = this;
    const downstream = output.connectedTo;
    if (downstream === null) return;
    if (!readOnly || this.#options.modifiesData === false) {
      downstream.NotifyAllocator(allocator, readOnly);
      output.allocator = allocator;
      return;
    }
    if (allocator === output.allocator) {
      throw new HResultError("E_FAIL", "samples that are read-only cannot be changed in the allocator they came from");
    }
    const own = output.allocator!;
    const wanted = allocator.GetProperties();
    const actual = own.SetProperties(wanted);
    if (actual.cBuffers < wanted.cBuffers || actual.cbBuffer < wanted.cbBuffer || actual.cbAlign < wanted.cbAlign) {
      throw new HResultError("E_FAIL", "the allocator downstream cannot hold what comes from upstream");
    }
    downstream.NotifyAllocator(own, false);
  }

  async #receive(sample: IMediaSample): Promise<number> {
    if (!this.copies) {
      await this.#options.transform(sample);
      return this.output.deliver(sample);
    }
    const copy = await this.#copy(sample);
    try {
      await this.#options.transform(copy);
      return await this.output.deliver(copy);
    } finally {
      copy.Release();
    }
  }

  async #copy(sample: IMediaSample): Promise<IMediaSample> {
    let copy: IMediaSample;
    try {
      copy = await this.output.getDeliveryBuffer();
    } catch (cause) {
      throw new HResultError("E_UNEXPECTED", "no buffer for the copy", { cause });
    }
    if (!(copy instanceof MediaSample)) return copy;
    const length = sample.GetActualDataLength();
    copy.GetPointer().set(sample.GetPointer().subarray(0, length));
    copy.SetActualDataLength(length);
    const { dwSampleFlags, tStart, tStop, pMediaType } = sample.GetProperties();
    copy.SetProperties({ dwSampleFlags, tStart, tStop, pMediaType });
    const { offset, offsetEnd } = sample.buffer;
    if (offset !== undefined) copy.SetMediaTime(offset, offsetEnd ?? offset);
    return copy;
  }
}

/** In place nobody but upstream knows the sizes; until it says, one buffer of what downstream asks for will do. */
function sized(allocator: IMemAllocator, { cBuffers, cbBuffer, cbAlign, cbPrefix }: ALLOCATOR_PROPERTIES): void {
  allocator.SetProperties({ cBuffers: Math.max(1, cBuffers), cbBuffer: Math.max(1, cbBuffer), cbAlign, cbPrefix });
}
