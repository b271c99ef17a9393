// Asks for more locked memory than may be had, as an ordinary user. limits.child.mjs FOLDER
import { loadNative } from "./raw.mjs";

const native = await loadNative(process.argv[2]);
const ops = native.nativeOps();
// Root may lock without limit: become nobody once the library is read.
if (process.geteuid() === 0) {
  process.setgid(65534);
  process.setuid(65534);
}
const allocator = new native.LockedAllocator();
const small = allocator.allocate(64 * 1024);
const large = allocator.allocate(8 * 1024 * 1024);
const mapping = large.map("write");
mapping.bytes.fill(1);
mapping.unmap();
const report = {
  limit: ops.limits().memlock,
  small: allocator.reportOf(small).lock,
  large: allocator.reportOf(large).lock,
  locked: native.lockReportOf(large),
  lockedBytes: allocator.lockedBytes,
};
small.release();
large.release();
console.log(JSON.stringify(report));
