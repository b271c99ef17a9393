/**
 * A filter graph of three DirectShow filters, ported as its authors wrote it: a source that fills samples, an in-place filter that
 * inverts them, a renderer that keeps the last one. The two connections are made in either order; the filters agree on one allocator
 * each time, and no byte is copied.
 *
 *   npx node examples/directshow-graph.ts
 */
import {
  type ALLOCATOR_PROPERTIES,
  BaseInputPin,
  BaseOutputPin,
  HRESULTS,
  HResultError,
  type IMediaSample,
  type IMemAllocator,
  type MemAllocator,
  TransInPlaceFilter,
} from "../src/compat/directshow.ts";

const { S_OK, VFW_E_NOT_COMMITTED } = HRESULTS;

const WIDTH = 320;
const HEIGHT = 240;
/** 100 ns units of a frame at 25 frames a second. */
const AVG_TIME_PER_FRAME = 400_000n;

/** A push source: `DecideBufferSize`, `FillBuffer`, and a loop that runs until the graph stops. */
class CBallSource {
  readonly pin = new BaseOutputPin({
    decideBufferSize: (pAlloc, pProperties) => this.DecideBufferSize(pAlloc, pProperties),
  });
  #iFrame = 0n;

  DecideBufferSize(pAlloc: IMemAllocator, pProperties: ALLOCATOR_PROPERTIES): void {
    pProperties.cBuffers = Math.max(pProperties.cBuffers, 2);
    pProperties.cbBuffer = Math.max(pProperties.cbBuffer, WIDTH * HEIGHT);
    const actual = pAlloc.SetProperties(pProperties);
    if (actual.cbBuffer < pProperties.cbBuffer) throw new HResultError("E_FAIL", "the frames do not fit");
  }

  FillBuffer(pms: IMediaSample): void {
    pms.GetPointer().fill(Number(this.#iFrame % 256n));
    pms.SetActualDataLength(WIDTH * HEIGHT);
    pms.SetTime(this.#iFrame * AVG_TIME_PER_FRAME, (this.#iFrame + 1n) * AVG_TIME_PER_FRAME);
    pms.SetSyncPoint(true);
    this.#iFrame++;
  }

  async DoBufferProcessingLoop(frames: number): Promise<void> {
    for (let i = 0; i < frames; i++) {
      const pSample = await this.pin.getDeliveryBuffer();
      this.FillBuffer(pSample);
      const hr = await this.pin.deliver(pSample);
      pSample.Release();
      if (hr !== S_OK) return;
    }
  }
}

/** A transform that changes what passes through. */
class CInvert extends TransInPlaceFilter {
  constructor() {
    super({
      transform(pSample) {
        const pData = pSample.GetPointer();
        for (let i = 0; i < pSample.GetActualDataLength(); i++) pData[i] = 255 - pData[i]!;
      },
    });
  }
}

/** A renderer: it asks for a buffer more, because it keeps the picture that is on the screen. */
class CRenderer {
  readonly pin = new BaseInputPin({
    requirements: { cBuffers: 3, cbAlign: 16 },
    receive: (pSample) => this.Receive(pSample),
  });
  cDrawn = 0;
  #pOnScreen: IMediaSample | null = null;

  Receive(pSample: IMediaSample): number {
    pSample.AddRef();
    this.#pOnScreen?.Release();
    this.#pOnScreen = pSample;
    this.cDrawn++;
    return S_OK;
  }

  get pixel(): number {
    return this.#pOnScreen!.GetPointer()[0]!;
  }

  Inactive(): void {
    this.#pOnScreen?.Release();
    this.#pOnScreen = null;
    this.pin.inactive();
  }
}

for (const order of ["source first", "renderer first"]) {
  const [source, invert, renderer] = [new CBallSource(), new CInvert(), new CRenderer()];
  if (order === "source first") {
    source.pin.connect(invert.input);
    invert.output.connect(renderer.pin); // connects the input again, now that the renderer is known
  } else {
    invert.output.connect(renderer.pin);
    source.pin.connect(invert.input);
  }
  const pAllocator = source.pin.allocator as MemAllocator;
  const isShared = pAllocator === renderer.pin.allocator;
  pAllocator.AddRef();

  // From the renderer upwards, as a graph pauses.
  for (const pin of [renderer.pin, invert.output, invert.input, source.pin]) pin.active();
  await source.DoBufferProcessingLoop(100);
  const { pixel } = renderer;
  // And stops: who waits for a buffer is refused.
  renderer.Inactive();
  for (const pin of [invert.input, invert.output, source.pin]) pin.inactive();
  const refused = await source.pin.getDeliveryBuffer().catch((error: HResultError) => error.hresult);

  const { cBuffers, cbBuffer, cbAlign } = pAllocator.GetProperties();
  console.log(
    `${order}: ${renderer.cDrawn} frames drawn, the last pixel is ${pixel} (255 - 99); one allocator: ${isShared}, ` +
      `${cBuffers} buffers of ${cbBuffer} bytes aligned to ${cbAlign}; copies: ${invert.copies}; ` +
      `stopped: ${refused === VFW_E_NOT_COMMITTED}, ${pAllocator.GetFreeCount()} of ${cBuffers} free`,
  );
  source.pin.disconnect();
  invert.output.disconnect();
  if (pAllocator.Release() !== 0) throw new Error("somebody still has a reference of the allocator");
}
