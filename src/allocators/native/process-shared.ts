/**
 * Memory that other processes of the same user can open: each one a sealed object of its own, seen here as a
 * SharedArrayBuffer. It is handed on by descriptor (inherited or over a Unix socket) or by name, and what comes in is
 * checked before it is mapped.
 *
 * A peer may write at any time: read a header with `Atomics`, once, and check every offset that comes from it.
 */
import { Allocator } from "../../memory/allocator.ts";
import { isMemory, Memory } from "../../memory/memory.ts";
import type { ResolvedParams } from "../../memory/params.ts";
import { Region } from "../../memory/region.ts";
import { type DescriptorWait, receiveDescriptor, sendDescriptor } from "../../os/descriptors.ts";
import { checkOps } from "../../os/load.ts";
import { openName, type PublishedName, publishName } from "../../os/names.ts";
import type { NativeOps } from "../../os/native-ops.ts";
import { made, type NotDone, type Outcome, type Result } from "../../os/result.ts";
import { createSharedMemory, openSharedMemory, type SharedMemory } from "../../os/shared-memory.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, readOptions, show, text } from "../../util/validate.ts";

/** How a {@link ProcessSharedAllocator} is made. */
export interface ProcessSharedOptions {
  /** The name in messages; default "processShared". */
  readonly name?: string;
  /** What /proc/PID/maps shows for its objects; default "millpond". */
  readonly label?: string;
  /** @internal The operations; default this process's. */
  readonly ops?: NativeOps;
}

/** Alignment of every region: its first byte is on a page. 4 KiB is the smallest page there is. */
const PAGE_ALIGN = 4096;

/** Makes and opens memories that processes share. Regions are multiples of 64 KiB. */
export class ProcessSharedAllocator extends Allocator {
  readonly #ops: NativeOps;
  readonly #label: string;

  /** Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(options?: ProcessSharedOptions) {
    const given = checkOptions("options", options, ["name", "label", "ops"]);
    super(text("options.name", given.name, "processShared"), { memoryType: "ProcessSharedMemory" });
    this.#ops = checkOps("options.ops", given.ops);
    this.#label = text("options.label", given.label, "millpond");
  }

  /** Fresh objects are zero. */
  override get zeroInitialized(): boolean {
    return true;
  }

  /** The shared block behind a live memory of this allocator. Throws `ERR_FOREIGN_RELEASE`. */
  sharedOf(memory: Memory): SharedMemory {
    if (isMemory(memory) && memory.allocator === this && memory.refCount > 0)
      return memory.region.handle as SharedMemory;
    throw new MillpondError("ERR_FOREIGN_RELEASE", `${show(memory)} is not a live memory of allocator "${this.name}"`);
  }

  /**
   * The descriptor to let a child inherit: `spawn(file, args, { stdio: [0, 1, 2, descriptor] })`. Throws
   * `ERR_FOREIGN_RELEASE`.
   */
  descriptorOf(memory: Memory): number {
    return this.sharedOf(memory).descriptor;
  }

  /** Opens what a descriptor stands for, and takes the descriptor over. Refused unless sealed and of this user. */
  open(descriptor: number): Outcome<Memory> {
    return this.#adopted(openSharedMemory(descriptor, this.#ops));
  }

  /** Opens the memory that another process published by that name. */
  openName(name: string): Outcome<Memory> {
    return this.#adopted(openName(name, this.#ops));
  }

  /** Gives a memory a name for as long as this process lives and holds it. Throws `ERR_FOREIGN_RELEASE`. */
  publish(name: string, memory: Memory): Outcome<PublishedName> {
    return publishName(name, this.sharedOf(memory), this.#ops);
  }

  /** @internal Sends a memory over a connected Unix socket of `os/descriptors.ts`, with a note of 1 to 1024 bytes. */
  send(socket: number, memory: Memory, note?: Uint8Array): Result {
    return sendDescriptor(socket, this.descriptorOf(memory), note, this.#ops);
  }

  /** @internal Waits for a memory on a connected Unix socket. Rejects only when the signal is aborted. */
  async receive(
    socket: number,
    wait?: DescriptorWait,
  ): Promise<Outcome<{ readonly memory: Memory; readonly note: Uint8Array }>> {
    const received = await receiveDescriptor(socket, {
      ops: this.#ops,
      ...readOptions("wait", wait, ["timeout", "signal", "ops"]),
    });
    if (!received.ok) return received;
    const opened = this.open(received.value.descriptor);
    return opened.ok ? made({ memory: opened.value, note: received.value.note }) : opened;
  }

  #adopted(opened: Outcome<SharedMemory>): Outcome<Memory> {
    if (!opened.ok) return opened;
    const region = new Region(opened.value.bytes, opened.value);
    return made(this.adopt(new Memory(this, region, null, PAGE_ALIGN, 0, region.size, 0)));
  }

  /** A fresh object; throws `ERR_UNSUPPORTED` or `ERR_ALLOCATION_FAILED` with the step's answer in its details. */
  protected override allocateRegion(size: number, _params: ResolvedParams): Region | undefined {
    const created = createSharedMemory(Math.max(size, 1), this.#label, this.#ops);
    if (!created.ok) throw refusal(this.name, created);
    return new Region(created.value.bytes, created.value);
  }

  /** Ends the sharing for this process; other processes keep the bytes, and a view that was kept here reads zeros. */
  protected override freeRegion(region: Region): void {
    (region.handle as SharedMemory).retire();
  }
}

/** The error for an allocation that a native step refused. */
export function refusal(name: string, why: NotDone): MillpondError {
  return new MillpondError(
    why.status === "unsupported" ? "ERR_UNSUPPORTED" : "ERR_ALLOCATION_FAILED",
    `allocator "${name}": ${why.hint}`,
    { status: why.status, errno: why.errno },
  );
}
