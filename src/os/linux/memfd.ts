/**
 * Memory that processes share on Linux: a memfd whose size is sealed, so that no peer can shrink it under a view (which
 * would end this process by SIGBUS). Whatever comes from outside is mapped only when the kernel says that it is sealed.
 */
import { readlinkSync } from "node:fs";
import { alignUp } from "../../util/align.ts";
import type { KoffiLibrary } from "../koffi.ts";
import type { DescriptorFacts, SharedOps } from "../native-ops.ts";
import type { PosixMemory } from "../posix/posix.ts";
import { done, made, notDone, type Outcome } from "../result.ts";

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Linux 6.3: the object can never be executed. Older kernels answer EINVAL. */
const MFD_NOEXEC_SEAL = 8;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const O_RDWR = 2;
const O_CLOEXEC = 0o2000000;
// statx rather than fstat: its struct is the same on every architecture. Rather than the runtime's own, because that
// wants a permission on Deno, and counts descriptors in its own way there.
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BYTES = 256;

/** Throws what koffi throws when libc lacks a call (memfd_create: glibc before 2.27). */
export function linuxShared(libc: KoffiLibrary, memory: PosixMemory): SharedOps {
  const memfdCreate = libc.func("memfd_create", "int", ["str", "uint"]);
  const ftruncate = libc.func("ftruncate", "int", ["int", "int64_t"]);
  const fchmod = libc.func("fchmod", "int", ["int", "uint"]);
  const fcntl = libc.func("fcntl", "int", ["int", "int", "int"]);
  const open = libc.func("open", "int", ["str", "int"]);
  const statx = libc.func("statx", "int", ["int", "str", "int", "uint", "void *"]);
  const geteuid = libc.func("geteuid", "uint", []);
  const closeDescriptor = libc.func("close", "int", ["int"]);

  const inspect = (descriptor: number): Outcome<DescriptorFacts> => {
    const seals = Number(fcntl(descriptor, F_GET_SEALS, 0));
    if (seals < 0) {
      const errno = memory.errno();
      if (errno === "EBADF") return notDone("failed", errno, `descriptor ${descriptor} is not open`);
      return notDone("refused", "NOT_SEALED", `descriptor ${descriptor} is not a memfd: it can have no seals`);
    }
    const facts = new DataView(new ArrayBuffer(STATX_BYTES));
    if (Number(statx(descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS, new Uint8Array(facts.buffer))) < 0) {
      return memory.failed("statx", `descriptor ${descriptor}`);
    }
    const uid = facts.getUint32(20, true);
    return made({
      bytes: Number(facts.getBigUint64(40, true)),
      inode: facts.getBigUint64(32, true),
      uid,
      isOwn: uid === Number(geteuid()),
      mode: facts.getUint16(28, true) & 0o777,
      sizeSealed: (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) === (F_SEAL_SHRINK | F_SEAL_GROW),
      sealsSealed: (seals & F_SEAL_SEAL) !== 0,
    });
  };

  return {
    create(bytes, label) {
      const whole = alignUp(bytes, memory.pageSize);
      const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
      let descriptor = Number(memfdCreate(label, flags | MFD_NOEXEC_SEAL));
      if (descriptor < 0) descriptor = Number(memfdCreate(label, flags));
      if (descriptor < 0) return memory.failed("memfd_create", "no shared object could be made");
      const sized =
        Number(ftruncate(descriptor, whole)) === 0 &&
        Number(fchmod(descriptor, 0o600)) === 0 &&
        Number(fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) === 0;
      if (sized) return made(descriptor);
      const failure = memory.failed("memfd", `${whole} bytes could not be sized and sealed (see ulimit -f)`);
      closeDescriptor(descriptor);
      return failure;
    },
    inspect,
    overlay(target, descriptor, offset = 0) {
      const facts = inspect(descriptor);
      if (!facts.ok) return facts;
      if (!facts.value.sizeSealed) {
        return notDone(
          "refused",
          "NOT_SEALED",
          "a peer could shrink it and end this process by SIGBUS; seal SHRINK and GROW",
        );
      }
      const address = memory.addressOf(target);
      const { pageSize } = memory;
      if (
        target.length === 0 ||
        target.length % pageSize !== 0 ||
        address % BigInt(pageSize) !== 0n ||
        offset % pageSize !== 0
      ) {
        return notDone("refused", "NOT_PAGES", `whole pages of ${pageSize} bytes can be laid over, and nothing else`);
      }
      if (offset + target.length > facts.value.bytes) {
        return notDone(
          "refused",
          "TOO_SHORT",
          `the object has ${facts.value.bytes} bytes, ${offset + target.length} were asked for`,
        );
      }
      return memory.overlay(address, target.length, descriptor, offset);
    },
    openOf(pid, descriptor) {
      const path = `/proc/${pid}/fd/${descriptor}`;
      try {
        // Opening a fifo or a device blocks or acts; only a memfd is opened.
        if (!readlinkSync(path).startsWith("/memfd:")) {
          return notDone("refused", "NOT_SEALED", `descriptor ${descriptor} of process ${pid} is not a memfd`);
        }
      } catch (error) {
        const code = String((error as { code?: unknown }).code ?? "ENOENT");
        const status = code === "EACCES" || code === "EPERM" ? "forbidden" : "failed";
        return notDone(status, code, `process ${pid} has no descriptor ${descriptor} that this process may open`);
      }
      const opened = Number(open(path, O_RDWR | O_CLOEXEC));
      return opened < 0 ? memory.failed("open", `descriptor ${descriptor} of process ${pid}`) : made(opened);
    },
    close(descriptor) {
      return Number(closeDescriptor(descriptor)) === 0 ? done(0) : memory.failed("close", `descriptor ${descriptor}`);
    },
  };
}
