/**
 * DMA buffers on Linux, by the dma-heap and udmabuf devices. Experimental: written from the kernel's documentation and
 * tried against kernels that have neither device, where each step answers `unsupported`.
 */

import { alignUp } from "../../util/align.ts";
import type { KoffiLibrary, NativeFunction } from "../koffi.ts";
import type { DmaOps } from "../native-ops.ts";
import type { PosixMemory } from "../posix/posix.ts";
import { done, made, type NotDone, notDone, systemFailure } from "../result.ts";

const O_RDWR = 2;
const O_CLOEXEC = 0o2000000;
/** _IOWR('H', 0, struct dma_heap_allocation_data): u64 length, u32 descriptor, u32 its flags, u64 heap flags. */
const DMA_HEAP_IOCTL_ALLOC = 0xc0184800;
/** _IOW('u', 0x42, struct udmabuf_create): u32 memfd, u32 flags, u64 offset, u64 size. */
const UDMABUF_CREATE = 0x40187542;
const UDMABUF_FLAGS_CLOEXEC = 1;
/** _IOW('b', 0, struct dma_buf_sync): u64 flags. */
const DMA_BUF_IOCTL_SYNC = 0x40086200;
const SYNC_MODE = { read: 1n, write: 2n, readwrite: 3n } as const;
const SYNC_END = 4n;
/** Each try waits for the device's own fence; a signal a try is the usual reason for another. */
const MAX_SYNC_TRIES = 100;

/** Throws what koffi throws when libc lacks a call. */
export function linuxDma(libc: KoffiLibrary, memory: PosixMemory): DmaOps {
  const open = libc.func("open", "int", ["str", "int"]);
  const close = libc.func("close", "int", ["int"]);
  const ioctl = libc.func("ioctl", "int", ["int", "ulong", "void *"]);
  const openDevice = (path: string): number | NotDone => openOrWhy(open, memory, path);
  return {
    fromHeap(bytes, heap = "system") {
      // The heap's name becomes a path.
      if (!/^[\w.-]+$/.test(heap) || heap.startsWith("."))
        return notDone("refused", "BAD_HEAP", `"${heap}" names no heap`);
      const device = openDevice(`/dev/dma_heap/${heap}`);
      if (typeof device !== "number") return device;
      const request = new DataView(new ArrayBuffer(24));
      request.setBigUint64(0, BigInt(alignUp(bytes, memory.pageSize)), true);
      request.setUint32(12, O_RDWR | O_CLOEXEC, true);
      const status = Number(ioctl(device, DMA_HEAP_IOCTL_ALLOC, new Uint8Array(request.buffer)));
      const failure = status < 0 ? memory.failed("ioctl", `${bytes} bytes from the dma-heap "${heap}"`) : undefined;
      close(device);
      return failure ?? made(request.getUint32(8, true));
    },
    fromShared(descriptor, bytes) {
      const device = openDevice("/dev/udmabuf");
      if (typeof device !== "number") return device;
      const request = new DataView(new ArrayBuffer(24));
      request.setUint32(0, descriptor, true);
      request.setUint32(4, UDMABUF_FLAGS_CLOEXEC, true);
      request.setBigUint64(16, BigInt(bytes), true);
      const buffer = Number(ioctl(device, UDMABUF_CREATE, new Uint8Array(request.buffer)));
      const failure = buffer < 0 ? memory.failed("ioctl", `udmabuf over ${bytes} bytes`) : undefined;
      close(device);
      return failure ?? made(buffer);
    },
    map(descriptor, bytes) {
      const mapped = memory.map(bytes);
      if (!mapped.ok) return mapped;
      const laid = memory.overlay(mapped.value.address, bytes, descriptor, 0);
      if (laid.ok) return mapped;
      memory.retire(mapped.value.address, bytes);
      return laid;
    },
    sync(descriptor, phase, mode) {
      const flags = new BigUint64Array([SYNC_MODE[mode] | (phase === "end" ? SYNC_END : 0n)]);
      let errno = "EAGAIN";
      // The driver may be interrupted and wants to be asked again; a device that never lets go must not hang us for
      // ever.
      for (let tries = 0; tries < MAX_SYNC_TRIES && (errno === "EINTR" || errno === "EAGAIN"); tries++) {
        if (Number(ioctl(descriptor, DMA_BUF_IOCTL_SYNC, flags)) === 0) return done(0);
        errno = memory.errno();
      }
      return systemFailure("ioctl", errno, `the ${phase} of an access by the processor`);
    },
  };
}

function openOrWhy(open: NativeFunction, memory: PosixMemory, path: string): number | NotDone {
  const descriptor = Number(open(path, O_RDWR | O_CLOEXEC));
  if (descriptor >= 0) return descriptor;
  const errno = memory.errno();
  if (errno === "ENOENT" || errno === "ENXIO" || errno === "ENODEV") {
    return notDone("unsupported", errno, `this kernel has no ${path}`);
  }
  return memory.failed("open", path);
}
