/** How each class of the package is brought to life, and what its calls take where the type alone does not say it. */
import { Readable, Writable } from "node:stream";
import { MessageChannel } from "node:worker_threads";
import { metrics } from "@opentelemetry/api";

/** The built entry points, by subpath. */
export type Modules = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Makes instances by class name: of the entry point that is being tried, else of any. */
export async function makeRecipes(modules: Modules): Promise<Record<string, () => unknown>> {
  const core = modules["."] as unknown as typeof import("../../../src/index.ts");
  const shared = modules["./shared"] as unknown as typeof import("../../../src/shared.ts");
  const arena = modules["./arena"] as unknown as typeof import("../../../src/arena.ts");
  const meta = modules["./meta"] as unknown as typeof import("../../../src/meta.ts");
  const testing = modules["./testing"] as unknown as typeof import("../../../src/testing.ts");
  const observe = modules["./observe"] as unknown as typeof import("../../../src/observe.ts");
  const pipeline = modules["./pipeline"] as unknown as typeof import("../../../src/pipeline.ts");
  const pixels = modules["./video"] as unknown as typeof import("../../../src/video.ts");
  const gst = modules["./compat/gstreamer"] as unknown as typeof import("../../../src/compat/gstreamer.ts");
  const show = modules["./compat/directshow"] as unknown as typeof import("../../../src/compat/directshow.ts");
  const cm = modules["./compat/coremedia"] as unknown as typeof import("../../../src/compat/coremedia.ts");
  const cork = modules["./compat/cork"] as unknown as typeof import("../../../src/compat/cork.ts");
  const native = modules["./native"] as unknown as typeof import("../../../src/native.ts");
  const mediabunny = modules["./mediabunny"] as unknown as typeof import("../../../src/mediabunny.ts");
  const node = modules["./node"] as unknown as typeof import("../../../src/node.ts");
  const realtime = modules["./compat/realtime"] as unknown as typeof import("../../../src/compat/realtime.ts");

  const activePool = (): unknown => {
    const pool = new core.BufferPool({ name: "pool" });
    pool.configure({ size: 64, max: 2 });
    pool.activate();
    return pool;
  };
  const sharedPool = (): InstanceType<typeof shared.SharedPool> => shared.SharedPool.create({ size: 64, count: 4 });
  const video = (): unknown => core.VideoInfo.of({ format: "I420", width: 16, height: 16 });
  const buffer = (): InstanceType<typeof core.MediaBuffer> => core.MediaBuffer.allocate(64);
  const gstMeta = (): unknown =>
    gst.Buffer.new_allocate(null, 64, null)!.add_reference_timestamp_meta({ clock: "x" }, 1n, 2n);
  // What a decoder of mediabunny's gives.
  const videoSample = (): unknown => ({
    format: "I420",
    visibleRect: { width: 16, height: 16 },
    timestamp: 0,
    duration: 0,
    copyTo: () => Promise.resolve(),
    close: () => undefined,
  });
  // GetBuffer answers later: one sample serves every call, with a reference for each.
  const samples = new show.MemAllocator();
  let made: Awaited<ReturnType<typeof samples.GetBuffer>> | undefined;
  samples.SetProperties({ cBuffers: 1, cbBuffer: 64, cbAlign: 1, cbPrefix: 0 });
  samples.Commit();
  void samples.GetBuffer().then((sample) => {
    made = sample;
  });
  const sample = (): unknown => {
    made?.AddRef();
    return made;
  };
  // Between two memberships of this thread; the other end takes what comes and lets it go. Its window is never used up.
  const pool = shared.SharedPool.create({ size: 64, count: 1024 });
  const { port1, port2 } = new MessageChannel();
  const received = shared.receiveLane(port2 as never).then(async (far) => {
    for await (const { lease: slot } of far) far.pool.release(slot);
  });
  received.catch(() => {});
  const lane = await pool.connect(port1 as never, { window: 2 ** 20 });
  port1.unref();
  port2.unref();
  let isForLane = false;
  let processPool: InstanceType<typeof native.ProcessPool> | undefined;
  const linked = (): InstanceType<typeof pipeline.PatternSource> => {
    const source = new pipeline.PatternSource();
    new pipeline.Pipeline().link(source, new pipeline.NullSink());
    return source;
  };
  let names = 0;
  let lastShared: ReturnType<typeof sharedPool> | undefined;
  let queue: ReturnType<typeof cm.CMBufferQueueCreate> | undefined;

  return {
    ".#Memory": () => core.allocators.default.allocate(64),
    ".#Allocator": () => new core.SystemAllocator(`allocator-${names++}`),
    ".#SystemAllocator": () => new core.SystemAllocator(`allocator-${names++}`),
    ".#SharedAllocator": () => new core.SharedAllocator(),
    ".#WasmAllocator": () => new core.WasmAllocator(),
    "./arena#SizeClassArena": () => arena.SizeClassArena.create({ source: new ArrayBuffer(1 << 16) }),
    "./arena#TlsfArena": () => arena.TlsfArena.create({ source: new ArrayBuffer(1 << 16) }),
    ".#AudioInfo": () => core.AudioInfo.of({ format: "f32", sampleRate: 48_000, channels: 2, frames: 128 }),
    ".#VideoInfo": video,
    ".#MediaBufferList": () => new core.MediaBufferList([buffer()]),
    ".#MediaBuffer": buffer,
    ".#Mapping": () => buffer().map("read"),
    "./meta#Meta": () => buffer().addMeta(meta.VideoMeta, video() as never),
    "./meta#MetaType": () => meta.VideoMeta,
    ".#Region": () => core.opaqueRegion(64, {}),
    "./observe#Recorder": () => observe.record({ capacity: 16, pools: [] }),
    "./otel#Meter": () => metrics.getMeter("none"),
    "./observe#PoolInfo": () => observe.pools()[0]!,
    "./testing#FakeClock": () => new testing.FakeClock(),
    ".#Clock": () => new testing.FakeClock(),
    ".#BufferPool": activePool,
    ".#PagePool": () => core.PagePool.create({ maxBytes: 1 << 20 }),
    ".#RealtimePool": () => core.RealtimePool.create({ totalSize: 1 << 16 }),
    "./shared#SharedBufferPool": () => new shared.SharedBufferPool(),
    "./shared#SharedPool": () => {
      isForLane = false;
      lastShared = sharedPool();
      return lastShared;
    },
    "./shared#Lane": () => {
      isForLane = true;
      return lane;
    },
    // Of the pool that the same call is made on.
    "./shared#Lease": () => (isForLane ? pool : (lastShared ?? sharedPool())).tryAcquire(),
    "./shared#SpscRing": () => shared.SpscRing.create(16),
    "./shared#LeaseRing": () => shared.LeaseRing.create(sharedPool(), 16, "push"),
    ".#SlabPool": () => core.SlabPool.create({ elementSize: 64 }),
    "./shared#TransferPool": () => shared.TransferPool.create({ size: 64, count: 2 }),
    ".#MessagePort": () => new MessageChannel().port1,
    "./shared#LanePort": () => new MessageChannel().port1,
    ".#MillpondError": () => new core.MillpondError("ERR_BAD_DATA", "message"),

    "./pipeline#Caps": () => pipeline.Caps.any,
    "./pipeline#AllocationQuery": () => new pipeline.AllocationQuery(pipeline.byteFormat(64)),
    "./pipeline#Pipeline": () => new pipeline.Pipeline(),
    "./pipeline#Element": () => new pipeline.Identity(),
    "./pipeline#Description": () => new pipeline.Pipeline().describe(),
    "./pipeline#ElementFactory": () => ({
      word: "name",
      help: "a stage",
      create: (_: unknown, name: string | undefined) => new pipeline.NullSink(name === undefined ? {} : { name }),
    }),
    "./pipeline#StreamFormat": () => pipeline.videoFormat(video() as never),
    "./pipeline#OutputPad": () => linked().out,
    "./pipeline#InputPad": () => linked().out.peer,
    "./video#FrameConverter": () => new pixels.FrameConverter(video() as never, video() as never),

    "./mediabunny#InputVideoTrack": () => ({ canDecode: () => true, getCodedWidth: () => 16 }),
    "./mediabunny#VideoFileFrame": () => new mediabunny.VideoFileFrame(videoSample() as never, {} as never),
    "./raw-video#Readable": () => Readable.from([]),
    "./webcodecs#CopyableFrame": () => ({
      ...(videoSample() as object),
      displayWidth: 16,
      displayHeight: 16,
      allocationSize: () => 384,
    }),
    "./web-streams#ReadableStream": () => new ReadableStream({ type: "bytes" }),
    "./node#Readable": () => Readable.from([]),
    // Nobody is there: it fails in the next turn, without a descriptor.
    "./node#PooledSocket": () =>
      node.connectSocket({ path: "/nobody/listens/here" }, core.BufferPool.create({ size: 64, max: 1 })),
    "./node#FrameStream": () => node.frames(Readable.from([]), 2),
    "./node#Writable": () => new Writable({ write: (_chunk, _encoding, done) => done() }),
    "./node#FrameWriter": () => node.frameWriter(new Writable({ write: (_chunk, _encoding, done) => done() })),
    "./node#FrameProcess": () => node.spawnFrames("no-such-program", [], { count: 1 }),
    // One for all calls while it lives: each has a descriptor.
    "./native#ProcessPool": () => {
      if (processPool === undefined || processPool.isOver)
        processPool = native.ProcessPool.create({ size: 64, count: 64 });
      return processPool;
    },
    "./native#PageOps": () => native.pageOps(),
    "./native#Readable": () => Readable.from([]),

    "./compat/gstreamer#Memory": () => gst.Memory.new_wrapped(0, new Uint8Array(64), 64, 0, 64),
    "./compat/gstreamer#Allocator": () => gst.Allocator.find(null),
    "./compat/gstreamer#AllocationParams": () => new gst.AllocationParams(),
    "./compat/gstreamer#MetaInfo": () => gst.Meta.get_info("GstReferenceTimestampMeta"),
    "./compat/gstreamer#MetaInstance": gstMeta,
    "./compat/gstreamer#MetaHandle": gstMeta,
    "./compat/gstreamer#Buffer": () => gst.Buffer.new_allocate(null, 64, null),
    "./compat/gstreamer#BufferPool": () => gst.BufferPool.new(),
    "./compat/gstreamer#PoolConfig": () => gst.BufferPool.new().get_config(),
    "./compat/gstreamer#Query": () => gst.Query.new_allocation({ format: "x" }, true),
    "./compat/gstreamer#MapInfo": () => gst.Buffer.new_wrapped(new Uint8Array(64)).map(1)[1],

    "./compat/directshow#IMemAllocator": () => new show.MemAllocator(),
    "./compat/directshow#MemAllocator": () => new show.MemAllocator(),
    "./compat/directshow#BaseInputPin": () => new show.BaseInputPin({ receive: () => 0 }),
    "./compat/directshow#IMemInputPin": () => new show.BaseInputPin({ receive: () => 0 }),
    "./compat/directshow#BaseOutputPin": () => new show.BaseOutputPin({ decideBufferSize: () => undefined }),

    "./compat/directshow#MediaSample": sample,
    "./compat/directshow#IMediaSample": sample,

    "./compat/coremedia#CMBlockBuffer": () =>
      cm.CMBlockBufferCreateWithMemoryBlock(null, new Uint8Array(64), 64, null, null, 0, 64, 0),
    "./compat/coremedia#CMBufferQueue": () => {
      queue = cm.CMBufferQueueCreate(8, { getDuration: () => 0n });
      return queue;
    },
    // Of the queue that was made last: the one that the same call gets.
    "./compat/coremedia#CMBufferQueueTriggerToken": () => cm.CMBufferQueueInstallTrigger(queue!, null, null, 9),
    "./compat/coremedia#CMSimpleQueue": () => cm.CMSimpleQueueCreate(8),
    "./compat/coremedia#CFType": () => cm.CMMemoryPoolCreate(),
    "./compat/coremedia#CMMemoryPool": () => cm.CMMemoryPoolCreate(),
    "./compat/coremedia#Allocator": () => cm.CMMemoryPoolGetAllocator(cm.CMMemoryPoolCreate()),
    "./compat/coremedia#Memory": () => cm.CFAllocatorAllocate(cm.CMMemoryPoolGetAllocator(cm.CMMemoryPoolCreate()), 64),
    "./compat/cork#cork_mempool": () => {
      const pool = new cork.cork_mempool();
      cork.cork_mempool_init_size(pool, 64);
      return pool;
    },
    "./compat/realtime#BMediaRoster": () => realtime.BMediaRoster.Roster(),
    "./compat/realtime#rtm_pool": () => realtime.rtm_create_pool(1 << 16),
    "./compat/realtime#rtm_block": () => realtime.rtm_alloc(realtime.rtm_create_pool(1 << 16), 64),
  };
}

/** Sizes that are really allocated where the machine has that much: 2^31 and 2^32 bytes would be most of the run. */
export const ALLOCATED: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/Allocator\.prototype\.(allocate|alloc|vfunc_alloc)$/, "bytes, prefix and padding"],
  [/#MediaBuffer\.allocate$/, "bytes, prefix and padding"],
  [/#Buffer\.new_allocate$/, "bytes, prefix and padding"],
  [/#CFAllocatorAllocate argument 1$/, "bytes"],
  [/typedarray-pool#malloc\w* argument 0$/, "elements, of up to 8 bytes each"],
];

/** What an argument is while another one is hostile, where the first value of its type would do harm. */
export const GIVEN: readonly (readonly [pattern: RegExp, value: unknown, why: string])[] = [
  [
    /native#ProcessPool\.attach argument 0$/,
    "nobody-has-this-name",
    "a descriptor is taken over: a number would close a file of this process",
  ],
  [/native#ProcessSharedAllocator\.prototype\.open argument 0$/, 12_345, "the same, and nobody has this number"],
];

/** The patterns that one with alternatives of plain words stands for. */
export function alternativesOf(pattern: RegExp): RegExp[] {
  const [group, words] = /\(((?:[\w/\\]+\|)+[\w/\\]+)\)(?!\?)/.exec(pattern.source) ?? [];
  if (group === undefined || words === undefined) return [pattern];
  return words.split("|").flatMap((word) => alternativesOf(new RegExp(pattern.source.replace(group, () => word))));
}

/** Calls that are not tried, each with its reason. */
export const LEFT_OUT: readonly (readonly [pattern: RegExp, why: string])[] = [
  [
    /BMediaRoster\.prototype\.SetRealtimeFlags$/,
    "it answers a status, never an error: B_BAD_VALUE for what it refuses",
  ],
  [/Error\.(captureStackTrace|prepareStackTrace)$/, "the engine's, inherited from Error"],
  [
    /^\.\/(?:pipeline|pipeline\/node|video|webcodecs)#\w+\.prototype\.(chain|start|stop|unlock|onFlush|formatChanged|onEos|outputFinished|reconfigureRequested|configure|render|finish|next|fill|drain|freeInput|freeOutput|sharesOutput|outputFor|inputsFor|keepsMeta|acceptedCaps|proposeAllocation|decideAllocation|transform|transformInPlace|inspect)$/,
    "a hook that the pipeline calls, not a user",
  ],
  [
    /Meta(Type\.prototype)?\.init$/,
    "the hook of a meta type, which addMeta() calls; addMeta() is tried with every built-in type",
  ],
  [
    /Ring\.prototype\.(pushSync|popSync)$/,
    "blocks the thread for as long as the time says, as documented; ring-waits.test.ts",
  ],
  [
    /^\.\/inspect\/page#/,
    "needs a browser's document; test/browser/inspector-mount.test.ts tries hostile values there",
  ],
];

/** Questions that may be asked of any value and answer no; they still may throw nothing that is not the library's. */
export const ANSWERS: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/Arena\.prototype\.(isLive|isTagged)$/, "whether anything at all is a live pointer"],
  [/Pool\.prototype\.(isLive|isHeld)$/, "whether anything at all is a live lease"],
  [/(Audio|Video)Info\.prototype\.equals$/, "whether anything at all is the same layout"],
  [/\.#isMillpondError$/, "asked in a catch, of whatever was thrown"],
  [/#new RtmError argument 1$/, "the library throws it, and does not check its own words"],
  [/node#PooledSocket\.prototype\.destroy$/, "the reason may be anything, as AbortController.abort() takes it"],
  [/MediaBuffer\.prototype\.getMeta$/, "an API by name is as good as a type"],
  [/typedarray-pool#malloc argument 1$/, "null for a data type that is none, as in the package"],
];

/** Calls whose object takes keys of the caller's own, each with its reason. */
export const LEFT_OPEN: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/Caps\.(video|audio|bytes)$/, "caps have the fields that their users agree on"],
  [
    /\/shared#(receiveLane|slicedWaiter) argument 0$/,
    "the first argument is an object of the platform's or the caller's, known by its methods",
  ],
  [/SharedPool\.prototype\.(bytes|retain|release) argument 0$/, "the argument is a lease, an object of the library's"],
  [/Lane\.prototype\.(send|trySend) argument 0$/, "the same"],
  [
    /(Shared|Transfer|Process)Pool\.prototype\.connect argument 0$/,
    "the first argument is a Worker or a port of the platform's",
  ],
  [
    /#new (MillpondError|DoorError|CMMemoryPoolError|DirectShowError|HResultError|RtmError)$/,
    "details are open, and the engine takes what it knows of ErrorOptions",
  ],
  [/#new WebGpuAllocator argument 0$/, "the device is an object of the platform's"],
  [
    /TimedQueue\.prototype\.addTrigger argument 0$/,
    "the first argument is an object of the caller's, known by its methods, which may have a state of its own",
  ],
  [/native#describeResult argument 0$/, "what a native step answered, whose value may be anything"],
  [/#struct argument 0$/, "the keys are the struct's fields"],
  [/BufferPool\.(config_|prototype\.(vfunc_)?set_config)/, "a subclass's configuration has fields of its own"],
  [/buffer_pool_config_[gs]et_video_alignment$/, "the same configuration"],
  [/BufferPool\.prototype\.(vfunc_)?(acquire|alloc)_buffer$/, "a subclass's acquire params have fields of their own"],
];

/**
 * Calls whose object is not options that the library reads but an interface that the caller implements and the library
 * calls.
 */
export const IMPLEMENTED: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/MemAllocator\.prototype\.SetNotify$/, "IMemAllocatorNotifyCallbackTemp"],
  [/OutputPin\.prototype\.connect$/, "IMemInputPin"],
  [/#pooledFrames argument 0$/, "FrameSource"],
  [/SharedPool\.prototype\.\w+ argument 0\.index$/, "Lease: its id says all, and the index is for the caller"],
  [/Lane\.prototype\.\w+ argument 0\.index$/, "the same"],
  [/typedarray-pool#configure argument 0\.onMisuse$/, "it would get what the calls after it are to throw"],
];
