/** Transfers the bytes of the one lease that comes, and posts what each call on it answers. */
import { parentPort } from "node:worker_threads";
import { receiveLane } from "../../../src/pools/lane/receive.ts";

const lane = await receiveLane(parentPort!);
const { lease } = (await lane.receive())!;
const bytes = lane.pool.bytes(lease);
structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
const calls = [
  () => lane.pool.bytes(lease),
  () => lane.trySend(lease),
  () => lane.pool.release(lease),
  () => lane.pool.release(lease),
];
parentPort!.postMessage(
  calls.map((call) => {
    try {
      call();
      return "done";
    } catch (error) {
      return (error as { code?: string }).code;
    }
  }),
);
